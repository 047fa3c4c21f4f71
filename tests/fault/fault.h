// Runs a scenario again and again, each time with another allocation failing, until none is left to
// fail. What must hold each time: calls give OK or a typed error, nothing hangs, nothing leaks, and
// the runtime still works afterwards.
#ifndef TESTS_FAULT_FAULT_H
#define TESTS_FAULT_FAULT_H

#include "support/runtime_fixture.h"
#include "unit/failing.h"

#include <cstdlib>
#include <functional>
#include <set>
#include <thread>

namespace fault
{

using namespace manta_testing;

// Memory with a count of what is out.
class CountingAllocator
{
  public:
    manta_allocator_t get()
    {
        manta_allocator_t allocator = {};
        allocator.alloc = [](void *user, size_t size, size_t align) -> void * {
            void *ptr = nullptr;
            if (align < sizeof(void *)) align = sizeof(void *);
            if (posix_memalign(&ptr, align, size) != 0) return nullptr;
            static_cast<CountingAllocator *>(user)->bytes_ += static_cast<int64_t>(size);
            return ptr;
        };
        allocator.free = [](void *user, void *ptr, size_t size) {
            static_cast<CountingAllocator *>(user)->bytes_ -= static_cast<int64_t>(size);
            free(ptr);
        };
        allocator.user = this;
        return allocator;
    }
    int64_t bytes() const { return bytes_; }

  private:
    std::atomic<int64_t> bytes_{0};
};

inline manta_runtime_options_t small_options(int workers, CountingAllocator *allocator, Log *log)
{
    manta_runtime_options_t options;
    manta_runtime_options_init(&options);
    options.workers = workers;
    options.topology_synthetic = "core:2 pu:1"; // found fast
    options.allocator = allocator->get();
    options.log = Log::write;
    options.log_user = log;
    options.report_leaks = true;
    static const manta_resource_t tape = {"tape", 1};
    options.resources = &tape;
    options.resource_count = 1;
    return options;
}

MANTA_TASK(ft_double, MANTA_VAL(int, a), MANTA_OUT(int, twice, 1))
{
    twice[0] = 2 * a;
    return MANTA_OK;
}

// What a call may give while memory is short.
inline bool fine(manta_status_t status)
{
    return status == MANTA_OK || status == MANTA_ERR_OUT_OF_MEMORY;
}
#define EXPECT_FINE(call)                                                                          \
    do {                                                                                           \
        manta_status_t fine_status = (call);                                                       \
        EXPECT_TRUE(::fault::fine(fine_status))                                                    \
            << #call << " gives " << manta_status_name(fine_status) << ": "                        \
            << manta_error_message();                                                              \
    } while (0)

// Waits for |ref|: its bytes, or that there was no memory for them. Says which.
template <class T> bool got(manta_ref_t ref, const T &expected)
{
    T value{};
    manta_status_t status = manta_read(ref, &value, sizeof value, MANTA_FOREVER);
    EXPECT_FINE(status);
    if (status == MANTA_OK) {
        EXPECT_EQ(expected, value);
    }
    return status == MANTA_OK;
}

inline bool is_error(manta_ref_t ref)
{
    return ref.id >> 63 != 0;
}

// Releasing needs no memory.
inline void drop(manta_ref_t ref)
{
    EXPECT_OK(manta_release(ref));
}

struct Case {
    std::string name;
    std::function<void()> run;   // with failures; on a thread that manta has not seen
    std::function<void()> check; // after the shutdown
    std::function<void(manta_runtime_options_t *)> configure = {};
    bool may_log = false; // there are failures that nobody else would hear of
};

// One round against the default runtime. Returns whether the failure was reached.
template <class Fail> bool round(const Case &test, int workers, long first, long count)
{
    CountingAllocator allocator;
    Log log;
    bool reached = false;
    {
        manta_runtime_options_t options = small_options(workers, &allocator, &log);
        if (test.configure) test.configure(&options);
        EXPECT_OK(manta_init(&options));
        watchdog_name_runtime(manta_runtime_default());
        std::thread([&] {
            Fail fail(first, count);
            test.run();
            reached = Fail::seen() >= first;
        }).join();
        // It still works.
        manta_ref_t twice = ft_double_remote(21);
        EXPECT_EQ(42, value_of<int>(twice));
        EXPECT_OK(manta_release(twice));
        EXPECT_OK(manta_drain(MANTA_S(30)));
        manta_stats_t stats = settled_stats_of({0});
        EXPECT_EQ(0u, stats.live_refs) << printed_refs({0});
        EXPECT_EQ(0u, stats.live_bytes) << printed_refs({0});
        EXPECT_EQ(stats.submitted, stats.completed);
        EXPECT_OK(manta_shutdown(MANTA_S(30)));
    }
    if (test.check) test.check();
    for (const std::string &line : log.take())
        if (!test.may_log) ADD_FAILURE() << "logged: " << line;
    EXPECT_EQ(0, allocator.bytes());
    return reached;
}

// All rounds: each failure alone, and no memory at all from some point on.
template <class Fail> void all_rounds(const Case &test, int workers)
{
    for (long count : {1L, kAll}) {
        long n = 1;
        for (; n < 3000; n++) {
            SCOPED_TRACE(test.name + ": " + (count == 1 ? "only" : "all from") + " failure " +
                         std::to_string(n));
            if (!round<Fail>(test, workers, n, count)) break;
            if (::testing::Test::HasFailure()) return;
        }
        EXPECT_LT(n, 3000);
    }
}

} // namespace fault

#endif
