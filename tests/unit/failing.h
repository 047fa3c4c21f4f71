// Makes the runtime's allocations, or its creation of threads, fail.
#ifndef TESTS_UNIT_FAILING_H
#define TESTS_UNIT_FAILING_H

#include <cstddef>

#include <pthread.h>

extern "C" {
#include "base/alloc.h"
#include "base/clock.h"
#include "base/refusal.h"
#include "base/thread.h"
}

#include <atomic>

// Makes allocations, or the creation of threads, fail from the |first|-th on (counted from 1), |count|
// of them; counts what it sees. One at a time. The hook stands there from the start, because threads
// of a runtime read it.
template <class Tag> class FailingHook
{
  public:
    explicit FailingHook(long first, long count = 1)
    {
        seen_ = 0;
        first_ = first;
        end_ = first + count;
    }
    ~FailingHook() { first_ = end_ = 0; }
    FailingHook(const FailingHook &) = delete;
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
    using FailingHook::FailingHook;

  private:
    static inline const bool installed = (
        mti_alloc_hook = [](size_t) { return next(); }, true);
};

class FailingThreads : public FailingHook<ThreadTag>
{
  public:
    using FailingHook::FailingHook;

  private:
    static inline const bool installed = (
        mti_thread_create_hook = [] { return next(); }, true);
};

struct SystemTag {
};

// Calls that the system, hwloc or the file system may refuse (base/refusal.h).
class FailingSystem : public FailingHook<SystemTag>
{
  public:
    using FailingHook::FailingHook;

  private:
    static inline const bool installed = (
        mti_refusal_hook = [](mti_refusal_t) { return next(); }, true);
};

constexpr long kAll = 1L << 40; // more failures than any test counts

#endif
