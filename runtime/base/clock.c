#include "base/clock.h"

#include "base/atomic.h"

#include <time.h>

int64_t (*mti_clock_hook)(void);

int64_t mti_clock_ns(void)
{
    int64_t (*hook)(void) = __atomic_load_n(&mti_clock_hook, __ATOMIC_ACQUIRE);
    if (hook) return hook();
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t mti_clock_deadline(int64_t timeout_ns)
{
    if (timeout_ns == INT64_MAX) return INT64_MAX;
    int64_t now = mti_clock_ns();
    if (timeout_ns < 0) timeout_ns = 0;
    return timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns;
}

uint32_t mti_clock_pauses(int64_t ns)
{
    enum { ROUNDS = 3, PAUSES = 64 };
    static mti_atomic_u64_t measured; // ns that PAUSES take; 0: not yet
    // relaxed: whoever else measures meanwhile finds about the same
    uint64_t each = mti_atomic_u64_load_relaxed(&measured);
    for (int round = 0; each == 0 || (round > 0 && round < ROUNDS); round++) {
        int64_t begin = mti_clock_ns();
        for (int i = 0; i < PAUSES; i++)
            mti_cpu_pause();
        uint64_t spent = (uint64_t)(mti_clock_ns() - begin) | 1;
        each = each == 0 || spent < each ? spent : each; // the least disturbed one
    }
    mti_atomic_u64_store_relaxed(&measured, each);
    uint64_t pauses = (uint64_t)ns * PAUSES / each;
    return pauses == 0 ? 1 : pauses > UINT32_MAX ? UINT32_MAX : (uint32_t)pauses;
}
