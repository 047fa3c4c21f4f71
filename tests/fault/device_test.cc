// Devices under faults: memory and threads that can't be had, the n-th operation or allocation of a device that
// fails, devices that are lost at the n-th operation, queues that stand still. For every n: what ends well has
// its value, what does not has a code that says so, and afterwards the runtime works and nothing is left.
#include "fault/device_reach.h"
#include "fault/fault.h"

#include <initializer_list>
#include <numeric>

using namespace fault;

MANTA_TASK(fd_add, MANTA_VAL(int, a), MANTA_IN(int, x), MANTA_OUT(int, y, x.count))
{
    for (size_t i = 0; i < x.count; i++)
        y[i] = x[i] + a;
    return MANTA_OK;
}

MANTA_TASK(fd_inc, MANTA_INOUT(int, x))
{
    for (size_t i = 0; i < x.count; i++)
        x[i]++;
    return MANTA_OK;
}

MANTA_TASK(fd_halves, MANTA_IN(int, x), MANTA_OUT(int, low, x.count / 2),
           MANTA_OUT(int, high, x.count / 2))
{
    for (size_t i = 0; i < x.count / 2; i++) {
        low[i] = x[i];
        high[i] = x[x.count / 2 + i];
    }
    return MANTA_OK;
}

namespace
{

typedef std::set<manta_status_t> Codes;

// Reads |ref|: a value that begins with |first|, or one of |codes|. Says which, and releases it.
bool ends(manta_ref_t ref, int first, const Codes &codes, const char *what)
{
    manta_view_t view = {};
    manta_status_t status = manta_get(ref, &view, MANTA_FOREVER);
    if (status == MANTA_OK) {
        EXPECT_EQ(first, static_cast<const int *>(view.data)[0]) << what;
    } else {
        EXPECT_TRUE(codes.count(status))
            << what << " gives " << manta_status_name(status) << ": " << manta_error_message();
    }
    manta_view_release(&view);
    drop(ref);
    return status == MANTA_OK;
}

manta_task_options_t on(int gpu, int32_t retries = 0)
{
    manta_task_options_t options = MANTA_OPTIONS(.where = manta_gpu(gpu));
    options.max_retries = retries;
    return options;
}

// Chains on two devices, across them, and between them and CPUs. Returns whether all of it ended well.
bool program(const Codes &codes, int32_t retries = 0)
{
    std::vector<int> xs(300);
    std::iota(xs.begin(), xs.end(), 0);
    manta::ref<int> x = manta_put(xs.data(), xs.size() * sizeof(int));
    manta::ref<int> a = fd_add_with(on(0, retries), 1, x);
    manta::ref<int> b = fd_add_with(on(0, retries), 2, a);
    manta::ref<int> c = fd_add_with(on(1, retries), 3, b);
    fd_halves_out_t d = fd_halves_with(on(1, retries), c);
    manta::ref<int> e = fd_add_remote(10, d.high);
    manta::ref<int> f = fd_add_with(MANTA_OPTIONS(.where = MANTA_GPU), 20, e);
    manta::ref<int> g = manta_put(xs.data(), xs.size() * sizeof(int));
    for (int i = 0; i < 3; i++)
        g = fd_inc_with(on(0, retries), g);
    bool ok = ends(f, 186, codes, "f");
    ok &= ends(g, 3, codes, "g");
    ok &= ends(d.low, 6, codes, "d.low");
    ok &= ends(d.high, 156, codes, "d.high");
    ok &= ends(e, 166, codes, "e");
    ok &= ends(c, 6, codes, "c");
    ok &= ends(b, 3, codes, "b");
    ok &= ends(a, 1, codes, "a");
    if (is_error(x)) {
        EXPECT_FINE((manta_status_t)(uint32_t)x.id);
    } else {
        drop(x);
    }
    return ok;
}

class DeviceFaults : public ::testing::TestWithParam<int>
{
  protected:
    template <class Fail> void each(const Codes &codes)
    {
        Case test = {::testing::UnitTest::GetInstance()->current_test_info()->name(),
                     [&] { (void)program(codes); }, nullptr,
                     [](manta_runtime_options_t *options) { options->sim_gpus = 2; }, true};
        all_rounds<Fail>(test, GetParam());
    }
};
MANTA_TEST_WORKERS(DeviceFaults);

TEST_P(DeviceFaults, Allocations)
{
    each<FailingAlloc>({MANTA_ERR_OUT_OF_MEMORY});
}

TEST_P(DeviceFaults, Threads)
{
    each<FailingThreads>({MANTA_ERR_OUT_OF_MEMORY, MANTA_ERR_SYSTEM});
}

// ---- what drivers report --------------------------------------------------------------------------

struct Setup {
    int workers;
    bool virtual_clock;
};

class DriverFaults : public ::testing::TestWithParam<Setup>
{
  protected:
    void start()
    {
        manta_runtime_options_t options = small_options(GetParam().workers, &allocator_, &log_);
        options.sim_gpus = 2;
        options.sim_virtual_clock = GetParam().virtual_clock;
        ASSERT_OK(manta_init(&options));
        watchdog_name_runtime(manta_runtime_default());
        int one = 1;
        manta::ref<int> x = manta_put(&one, sizeof one);
        for (int i = 0; i < 2; i++) // the first task opens the device
            EXPECT_TRUE(ends(fd_add_with(on(i), 1, x), 2, {}, "before anything fails"));
        drop(x);
        ASSERT_OK(manta_drain(MANTA_S(60)));
    }
    bool is_lost(int index)
    {
        manta_gpu_info_t info = {};
        info.struct_size = sizeof info;
        EXPECT_OK(manta_gpu_describe({0}, index, &info));
        return info.is_lost;
    }
    void works()
    {
        int one = 1;
        manta::ref<int> x = manta_put(&one, sizeof one);
        manta::ref<int> y = fd_add_remote(1, x);
        EXPECT_TRUE(ends(y, 2, {}, "on a CPU"));
        for (int i = 0; i < 2; i++) {
            y = fd_add_with(on(i), 1, x);
            EXPECT_EQ(!is_lost(i), ends(y, 2, {MANTA_ERR_DEVICE_LOST, MANTA_ERR_RESOURCE_GONE},
                                        "on the device that was hit"));
        }
        y = fd_add_with(MANTA_OPTIONS(.where = MANTA_GPU), 1, x);
        EXPECT_EQ(!(is_lost(0) && is_lost(1)), ends(y, 2, {MANTA_ERR_RESOURCE_GONE}, "anywhere"));
        drop(x);
    }
    void finish()
    {
        expect_empty({0});
        EXPECT_OK(manta_shutdown(MANTA_S(60)));
        EXPECT_EQ(0, allocator_.bytes());
        log_.take();
    }
    // Every n until it is not reached any more, on each device.
    void every(Fault kind, const Codes &codes, int32_t retries = 0)
    {
        for (int at = 0; at < 2; at++) {
            int in_a_row = 0, hit = 0;
            for (uint32_t n = 1; in_a_row < 4; n++) {
                SCOPED_TRACE("GPU " + std::to_string(at) + ", number " + std::to_string(n));
                ASSERT_LT(n, 100u);
                start();
                inject(at, kind, n);
                bool ok = program(codes, retries);
                EXPECT_OK(manta_drain(MANTA_S(60)));
                if (!is_lost(at)) inject(at, Fault::kNone);
                ok = ok && !is_lost(at);
                in_a_row = ok ? in_a_row + 1 : 0;
                hit += !ok;
                works();
                finish();
                if (HasFailure()) return;
            }
            hits_[at] = hit;
        }
    }

    CountingAllocator allocator_;
    Log log_;
    int hits_[2] = {};
};
INSTANTIATE_TEST_SUITE_P(Setups, DriverFaults,
                         ::testing::Values(Setup{0, false}, Setup{1, false}, Setup{2, false},
                                           Setup{0, true}, Setup{2, true}),
                         [](const ::testing::TestParamInfo<Setup> &at) {
                             return std::to_string(at.param.workers) +
                                    (at.param.virtual_clock ? "Virtual" : "");
                         });

TEST_P(DriverFaults, EachOperationFails)
{
    every(Fault::kOperation, {MANTA_ERR_IO});
    EXPECT_GT(hits_[0], 4);
    EXPECT_GT(hits_[1], 2);
}

TEST_P(DriverFaults, EachOperationLosesTheDevice)
{
    every(Fault::kLose, {MANTA_ERR_DEVICE_LOST, MANTA_ERR_RESOURCE_GONE});
    EXPECT_GT(hits_[0], 4);
    EXPECT_GT(hits_[1], 2);
}

TEST_P(DriverFaults, EachAllocationOfADeviceFails)
{
    every(Fault::kMemory, {MANTA_ERR_OUT_OF_MEMORY});
}

// Waits, with timeouts, until GPU 0 has |n| tasks.
void await_in_flight(manta_ref_t ref, uint32_t n)
{
    manta_view_t view = {};
    while (in_flight(0) < n) {
        EXPECT_STATUS(MANTA_NOT_READY, manta_get(ref, &view, MANTA_US(100)));
    }
}

TEST_P(DriverFaults, QueuesThatStandStill)
{
    if (GetParam().virtual_clock) GTEST_SKIP() << "a virtual clock goes on to its end";
    if (GetParam().workers == 0) GTEST_SKIP() << "only waits for ever place tasks";
    start();
    ASSERT_TRUE(program({}));
    hold_queues(0, true);
    int one = 1;
    manta::ref<int> x = manta_put(&one, sizeof one);
    // One whose results can't grow may be followed on the device before it has run.
    manta::ref<int> a = fd_inc_with(on(0), manta_retain(x)),
                    b = fd_inc_with(on(0), manta_retain(a));
    manta::ref<int> c = fd_add_remote(3, b), d = fd_add_with(on(1), 4, x);
    EXPECT_TRUE(ends(d, 5, {}, "on the other device"));
    await_in_flight(c, 2);
    manta_task_options_t soon = on(0);
    soon.deadline_ns = MANTA_MS(2);
    manta::ref<int> late = fd_add_with(soon, 1, x);
    manta_view_t view = {};
    EXPECT_STATUS(MANTA_ERR_DEADLINE, manta_get(late, &view, MANTA_FOREVER));
    EXPECT_OK(manta_cancel(a));
    EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_get(a, &view, MANTA_FOREVER));
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(b)) << "in flight: it runs out";
    EXPECT_STATUS(MANTA_NOT_READY, manta_drain(MANTA_MS(1)));
    drop(x);
    drop(late);
    drop(a);
    hold_queues(0, false);
    EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_get(b, &view, MANTA_FOREVER));
    EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_get(c, &view, MANTA_FOREVER));
    drop(b);
    drop(c);
    works();
    finish();
}

TEST_P(DriverFaults, ShutdownWhileQueuesStandStill)
{
    if (GetParam().virtual_clock) GTEST_SKIP() << "a virtual clock goes on to its end";
    if (GetParam().workers == 0) GTEST_SKIP() << "only waits for ever place tasks";
    start();
    ASSERT_TRUE(program({}));
    manta_runtime_t runtime = manta_runtime_default();
    hold_queues(0, true);
    int one = 1;
    manta::ref<int> x = manta_put(&one, sizeof one);
    // One whose results can't grow may be followed on the device before it has run.
    manta::ref<int> a = fd_inc_with(on(0), manta_retain(x)),
                    b = fd_inc_with(on(0), manta_retain(a));
    await_in_flight(b, 2);
    drop(x);
    drop(a);
    drop(b);
    EXPECT_STATUS(MANTA_ERR_TIMEOUT,
                  manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_CANCEL, MANTA_MS(20)));
    hold_queues(0, false);
    EXPECT_OK(manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_CANCEL, MANTA_S(60)));
    EXPECT_EQ(0, allocator_.bytes());
}

} // namespace
