// The runtime's own headers, which are C17, for tests in C++17.
#ifndef TESTS_UNIT_INTERNALS_H
#define TESTS_UNIT_INTERNALS_H

#include <cstddef>
#include <cstdint>
#include <cstdio>

#include <pthread.h>

#define _Alignas alignas
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
extern "C" {
#include "base/alloc.h"
#include "base/clock.h"
#include "base/fence.h"
#include "base/mutex.h"
#include "base/notify.h"
#include "base/status.h"
#include "base/thread.h"
#include "core/core.h"
#include "sched/sched.h"
#include "store/store.h"
}
#pragma GCC diagnostic pop
#undef _Alignas

#include <atomic>
#include <functional>

// Makes allocations, or the creation of threads, fail from the |first|-th on (counted from 1), |count|
// of them; counts what it sees. One at a time.
template <class Tag> class FailingHook
{
  public:
    explicit FailingHook(long first, long count = 1)
    {
        seen_ = 0;
        first_ = first;
        end_ = first + count;
    }
    static long seen() { return seen_; }
    static bool next()
    {
        long n = ++seen_;
        return n < first_ || n >= end_;
    }

  private:
    static inline std::atomic<long> seen_{0}, first_{0}, end_{0};
};

struct AllocTag {
};
struct ThreadTag {
};

class FailingAlloc : public FailingHook<AllocTag>
{
  public:
    explicit FailingAlloc(long first, long count = 1) : FailingHook(first, count)
    {
        mti_alloc_hook = [](size_t) { return next(); };
    }
    ~FailingAlloc() { mti_alloc_hook = nullptr; }
};

class FailingThreads : public FailingHook<ThreadTag>
{
  public:
    explicit FailingThreads(long first, long count = 1) : FailingHook(first, count)
    {
        mti_thread_create_hook = [] { return next(); };
    }
    ~FailingThreads() { mti_thread_create_hook = nullptr; }
};

constexpr long kAll = 1L << 40; // more failures than any test counts

#endif
