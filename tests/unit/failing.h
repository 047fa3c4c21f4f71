// Makes the runtime's allocations, or its creation of threads, fail.
#ifndef TESTS_UNIT_FAILING_H
#define TESTS_UNIT_FAILING_H

#include <cstddef>

#include <pthread.h>

extern "C" {
#include "base/alloc.h"
#include "base/thread.h"
}

#include <atomic>

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
