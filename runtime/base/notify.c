#include "base/notify.h"

#include "base/clock.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// The same under a test's clock, which stands still or jumps: looks at it every millisecond.
static bool wait_hooked(mti_atomic_u32_t *word, uint32_t value, int64_t deadline_ns)
{
    struct timespec pause = {.tv_nsec = 1000000};
    while (mti_atomic_u32_load_acquire(word) == value) {
        if (mti_clock_ns() >= deadline_ns) return mti_atomic_u32_load_acquire(word) != value;
        (void)syscall(SYS_futex, &word->v, FUTEX_WAIT_PRIVATE, value, &pause, NULL, 0);
    }
    return true;
}

bool mti_notify_wait(mti_atomic_u32_t *word, uint32_t value, int64_t deadline_ns)
{
    if (deadline_ns != INT64_MAX && __atomic_load_n(&mti_clock_hook, __ATOMIC_ACQUIRE)) {
        return wait_hooked(word, value, deadline_ns);
    }
    // acquire: pairs with the waker's release store of the word
    while (mti_atomic_u32_load_acquire(word) == value) {
        struct timespec at = {.tv_sec = (time_t)(deadline_ns / 1000000000),
                              .tv_nsec = (long)(deadline_ns % 1000000000)};
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
