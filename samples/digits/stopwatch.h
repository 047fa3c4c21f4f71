// When the first Gram tile and the last factor tile were ready.
#ifndef DIGITS_STOPWATCH_H
#define DIGITS_STOPWATCH_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

// Shared by all tasks that stamp it; zero is "not yet".
typedef struct stopwatch {
    _Atomic int64_t first_ns;
    _Atomic int64_t last_ns;
} stopwatch_t;

static inline int64_t stopwatch_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

// Relaxed in both: nobody reads a stamp before the work that set it is waited for.
static inline void stopwatch_start(stopwatch_t *watch)
{
    if (atomic_load_explicit(&watch->first_ns, memory_order_relaxed)) return;
    int64_t unset = 0;
    atomic_compare_exchange_strong_explicit(&watch->first_ns, &unset, stopwatch_now_ns(),
                                            memory_order_relaxed, memory_order_relaxed);
}

static inline void stopwatch_stop(stopwatch_t *watch)
{
    atomic_store_explicit(&watch->last_ns, stopwatch_now_ns(), memory_order_relaxed);
}

static inline double stopwatch_seconds(stopwatch_t *watch)
{
    return (double)(watch->last_ns - watch->first_ns) * 1e-9;
}

#endif
