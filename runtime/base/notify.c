#include "base/notify.h"

#include "base/clock.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

bool mti_notify_wait(mti_atomic_u32_t *word, uint32_t value, int64_t deadline_ns)
{
    // acquire: pairs with the waker's release store of the word
    while (mti_atomic_u32_load_acquire(word) == value) {
        int64_t at_ns = deadline_ns - mti_clock_ahead();
        if (at_ns < 0) at_ns = 0;
        struct timespec at = {.tv_sec = (time_t)(at_ns / 1000000000),
                              .tv_nsec = (long)(at_ns % 1000000000)};
        // WAIT_BITSET takes an absolute CLOCK_MONOTONIC deadline.
        long rc = syscall(SYS_futex, &word->v, FUTEX_WAIT_BITSET_PRIVATE, value,
                          deadline_ns == INT64_MAX ? NULL : &at, NULL, FUTEX_BITSET_MATCH_ANY);
        if (rc != 0 && errno == ETIMEDOUT) return mti_atomic_u32_load_acquire(word) != value;
    }
    return true;
}

void mti_notify_wake(mti_atomic_u32_t *word, int n)
{
    (void)syscall(SYS_futex, &word->v, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}
