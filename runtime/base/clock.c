#include "base/clock.h"

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
