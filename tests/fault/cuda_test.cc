// The CUDA driver under faults, over the fake library: the n-th allocation, registration or launch fails, the
// device is lost at the n-th launch or operation. For every n: a value or a code that says so, and afterwards the
// other device works, nothing is left, and the fake has nothing to complain of.
#include "fakes/int_kernels.h"
#include "fault/fault.h"

#include <numeric>

using namespace fault;

static const FakeCode fake_code("fault_test.fatbin", {fake_axpy_ints(), fake_fill_ints()});

#define fc_fill_PARAMS MANTA_VAL(int64_t, value), MANTA_VAL(uint64_t, n), MANTA_OUT(int64_t, y, n)
MANTA_TASK_DECLARE(fc_fill);
MANTA_CUDA(fc_fill)
{
    return MANTA_LAUNCH(fill_ints, manta_grid_1d(y.count, 128), value, y.data, y.count);
}
#define fc_axpy_PARAMS MANTA_VAL(int64_t, a), MANTA_IN(int64_t, x), MANTA_INOUT(int64_t, y)
MANTA_TASK_DECLARE(fc_axpy);
MANTA_CUDA(fc_axpy)
{
    return MANTA_LAUNCH(axpy_ints, manta_grid_1d(y.count, 128), a, x.data, y.data, y.count);
}

namespace
{

constexpr int kIllegalAddress = 700, kLaunchOutOfResources = 701; // CUresult

bool is_typed(manta_status_t status)
{
    switch (status) {
    case MANTA_ERR_OUT_OF_MEMORY:
    case MANTA_ERR_RESOURCE_EXHAUSTED:
    case MANTA_ERR_DEVICE_LOST:
    case MANTA_ERR_RESOURCE_GONE:
        return true;
    default:
        return false;
    }
}

bool ends(manta_ref_t ref, int64_t first, const char *what)
{
    manta_view_t view = {};
    manta_status_t status = manta_get(ref, &view, MANTA_FOREVER);
    if (status == MANTA_OK) {
        EXPECT_EQ(first, static_cast<const int64_t *>(view.data)[0]) << what;
    } else {
        EXPECT_TRUE(is_typed(status))
            << what << " gives " << manta_status_name(status) << ": " << manta_error_message();
    }
    manta_view_release(&view);
    drop(ref);
    return status == MANTA_OK;
}

manta_task_options_t on(int gpu)
{
    return MANTA_OPTIONS(.where = manta_gpu(gpu));
}

bool program()
{
    std::vector<int64_t> xs(500, 7);
    manta::ref<int64_t> x = manta_put(xs.data(), xs.size() * sizeof(int64_t));
    manta::ref<int64_t> y = fc_fill_with(on(0), 1, xs.size());
    y = fc_axpy_with(on(0), 2, x, y); // 15
    manta::ref<int64_t> z = fc_fill_with(on(1), 5, xs.size());
    z = fc_axpy_with(on(1), 3, y, z);                                   // 50
    z = fc_axpy_with(on(1), 1, x, z);                                   // 57
    manta::ref<int64_t> w = fc_axpy_with(on(0), 1, z, manta_retain(y)); // 72
    bool ok = ends(w, 72, "w");
    ok &= ends(z, 57, "z");
    ok &= ends(y, 15, "y");
    drop(x);
    return ok;
}

// Tasks that may run on either device, have an attempt left, and take what the host has: all end well, whatever
// becomes of one of the devices.
bool movable_program()
{
    std::vector<int64_t> xs(500, 7);
    manta_task_options_t anywhere = MANTA_OPTIONS(.where = MANTA_GPU, .max_retries = 1);
    manta::ref<int64_t> x = manta_put(xs.data(), xs.size() * sizeof(int64_t));
    std::vector<manta::ref<int64_t>> ys;
    for (int i = 0; i < 6; i++)
        ys.push_back(fc_axpy_with(anywhere, i, x, manta_put(xs.data(), xs.size() * sizeof xs[0])));
    for (int i = 0; i < 6; i++) {
        manta_ref_t y = ys[(size_t)i];
        EXPECT_OK(manta_wait(&y, 1, 1, MANTA_FOREVER, nullptr, nullptr));
        EXPECT_OK(manta_ref_status(y)) << printed_error(y);
        (void)ends(y, 7 + 7 * i, "a task that may move"); // its bytes may have been there alone
    }
    drop(x);
    return true;
}

class CudaFaults : public ::testing::TestWithParam<int>
{
  protected:
    void every(const std::function<void(uint32_t, uint32_t)> &arm, int least)
    {
        for (uint32_t at = 0; at < 2; at++) {
            int in_a_row = 0, hits = 0;
            for (uint32_t n = 1; in_a_row < 4; n++) {
                SCOPED_TRACE("GPU " + std::to_string(at) + ", number " + std::to_string(n));
                ASSERT_LT(n, 100u);
                bool ok = round(arm, at, n);
                in_a_row = ok ? in_a_row + 1 : 0;
                hits += !ok;
                if (HasFailure()) return;
            }
            EXPECT_GE(hits, least);
        }
    }
    bool round(const std::function<void(uint32_t, uint32_t)> &arm, uint32_t at, uint32_t n)
    {
        fake_cuda_options_t machine = {};
        machine.devices = 2;
        fake_cuda()->reset(&machine);
        CountingAllocator allocator;
        Log log;
        manta_runtime_options_t options = small_options(GetParam(), &allocator, &log);
        options.sim_gpus = -1;
        if (from_start_) arm(at, n);
        EXPECT_OK(manta_init(&options));
        watchdog_name_runtime(manta_runtime_default());
        for (int i = 0; i < 2 && !from_start_; i++) // the first task opens the device
            EXPECT_TRUE(ends(fc_fill_with(on(i), 3, 10), 3, "before anything fails"));
        EXPECT_OK(manta_drain(MANTA_S(60)));
        if (!from_start_) arm(at, n);
        bool ok = program_();
        EXPECT_OK(manta_drain(MANTA_S(60)));
        arm(at, 0);
        bool lost = fake_cuda()->has_lost();
        int working = 0;
        for (int i = 0; i < 2; i++) {
            bool works = ends(fc_fill_with(on(i), 4, 10), 4, "afterwards");
            EXPECT_TRUE(works || from_start_ || (lost && i == (int)at)) << "GPU " << i;
            working += works;
        }
        EXPECT_GE(working, 1);
        expect_empty({0});
        EXPECT_OK(manta_shutdown(MANTA_S(60)));
        EXPECT_EQ(0, allocator.bytes());
        for (const std::string &line : fake_violations()) {
            // What reads from a device that is lost, and fails for that, has nothing to be ordered after.
            if (lost && line.find("nothing orders it after") != std::string::npos) continue;
            ADD_FAILURE() << line;
        }
        if (!lost) {
            EXPECT_EQ(std::vector<std::string>(), fake_leaks());
        }
        log.take();
        return ok && !lost;
    }

    bool (*program_)() = program;
    bool from_start_ = false;
};
INSTANTIATE_TEST_SUITE_P(Workers, CudaFaults, ::testing::Values(0, 2),
                         [](const ::testing::TestParamInfo<int> &at) {
                             return std::to_string(at.param);
                         });

// From the start, when devices are opened: one of them may stay unusable then, never both.
TEST_P(CudaFaults, EachCallThatMakesSomethingFails)
{
    enum { OUT_OF_MEMORY = 2 };
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    const uint32_t kEach = 12;
#else
    const uint32_t kEach = 50;
#endif
    for (const char *name :
         {"cuDevicePrimaryCtxRetain", "cuCtxGetCurrent", "cuCtxSetCurrent", "cuMemPoolCreate",
          "cuStreamCreateWithPriority", "cuEventCreate", "cuLibraryLoadData", "cuLibraryGetKernel",
          "cuKernelGetFunction", "cuFuncLoad", "cuKernelGetAttribute", "cuKernelSetAttribute",
          "cuKernelGetParamInfo", "cuMemHostRegister", "cuMemHostGetDevicePointer"}) {
        uint32_t n = 1;
        for (; n < 400; n += n < kEach ? 1 : 7) { // the frequent ones are much alike
            SCOPED_TRACE(std::string(name) + ", number " + std::to_string(n));
            from_start_ = true;
            round([&](uint32_t, uint32_t nth) { fake_cuda()->fail_call(name, nth, OUT_OF_MEMORY); },
                  0, n);
            if (HasFailure()) return;
            if (fake_cuda()->calls(name) < n) break;
        }
        EXPECT_GT(n, 2u) << name << " is not called at all";
        EXPECT_LT(n, 400u) << name;
    }
}

TEST_P(CudaFaults, EachLaunchIsRefused)
{
    every([](uint32_t at, uint32_t n) { fake_cuda()->fail_launch(at, n, kLaunchOutOfResources); },
          2);
}

TEST_P(CudaFaults, EachLaunchLosesTheDevice)
{
    every([](uint32_t at, uint32_t n) { fake_cuda()->lose_at_launch(at, n, kIllegalAddress); }, 2);
}

TEST_P(CudaFaults, WhatMayRunElsewhereOutlivesALossAtEachLaunch)
{
    program_ = movable_program;
    every([](uint32_t at, uint32_t n) { fake_cuda()->lose_at_launch(at, n, kIllegalAddress); }, 1);
}

TEST_P(CudaFaults, WhatMayRunElsewhereOutlivesALossAtEachOperation)
{
    program_ = movable_program;
    every([](uint32_t at, uint32_t n) { fake_cuda()->lose_at_op(at, n, kIllegalAddress); }, 2);
}

TEST_P(CudaFaults, EachOperationLosesTheDevice)
{
    every([](uint32_t at, uint32_t n) { fake_cuda()->lose_at_op(at, n, kIllegalAddress); }, 3);
}

TEST_P(CudaFaults, EachAllocationFails)
{
    every([](uint32_t at, uint32_t n) { fake_cuda()->fail_alloc(at, n); }, 0);
}

TEST_P(CudaFaults, EachRegistrationFails)
{
    every([](uint32_t, uint32_t n) { fake_cuda()->fail_host_register(n); }, 0);
}

} // namespace
