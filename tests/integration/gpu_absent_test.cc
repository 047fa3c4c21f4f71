// What happens to tasks when GPUs are there and can't be used: the driver is broken (MANTA_CUDA_LIBRARY names one that
// answers with an error), or, on the fake driver, a device can't be opened, or is lost before a task got to it.
#include "fakes/fake_kernels.h"
#include "support/runtime_fixture.h"

#include <cstring>

using namespace manta_testing;

MANTA_KERNEL(ga_kernel, int64_t, int64_t *, size_t);
static void ga_twin(const manta_grid_t *, void *const *args)
{
    std::fill_n(*static_cast<int64_t **>(args[1]), *static_cast<size_t *>(args[2]),
                *static_cast<int64_t *>(args[0]));
}
MANTA_KERNEL_TWIN(ga_kernel, ga_twin);

static const FakeCode fake_code("gpu_absent_test.fatbin",
                                {{&ga_kernel_kernel,
                                  ga_twin,
                                  {0, FAKE_CUDA_WRITE, 0},
                                  [](uint32_t, const fake_cuda_shape_t *, void *const *args) {
                                      return *static_cast<size_t *>(args[2]) * sizeof(int64_t);
                                  }}});

#define ga_fill_PARAMS MANTA_VAL(int64_t, value), MANTA_OUT(int64_t, y, 8)
MANTA_TASK_DECLARE(ga_fill);
MANTA_TASK(ga_fill)
{
    for (int64_t &one : y)
        one = -value; // who ran can be told
    return MANTA_OK;
}
MANTA_CUDA(ga_fill)
{
    return MANTA_LAUNCH(ga_kernel, manta_grid_1d(y.count, 64), value, y.data, y.count);
}

#define ga_add_PARAMS MANTA_IN(int64_t, x), MANTA_INOUT(int64_t, y)
MANTA_TASK_DECLARE(ga_add);
MANTA_TASK(ga_add)
{
    for (size_t i = 0; i < y.count; i++)
        y[i] += x[i];
    return MANTA_OK;
}
MANTA_CUDA(ga_add)
{
    (void)x;
    return MANTA_LAUNCH(ga_kernel, manta_grid_1d(y.count, 64), int64_t{1000}, y.data, y.count);
}

MANTA_TASK(ga_cpu, MANTA_OUT(int64_t, y, 1))
{
    y[0] = 7;
    return MANTA_OK;
}

class GpuAbsentTest : public RuntimeTest
{
  protected:
    void configure(manta_runtime_options_t *options) override
    {
        options->sim_gpus = -1;
        if (!is_broken()) {
            fake_cuda_options_t fake = {};
            fake.devices = 2;
            fake_cuda()->reset(&fake);
        }
    }
    // A library that says no, and not the fake.
    static bool is_broken() { return !has_fake_cuda(); }
    static manta_status_t get(manta_ref_t ref)
    {
        manta_view_t view = {};
        manta_status_t status = manta_get(ref, &view, MANTA_FOREVER);
        manta_view_release(&view);
        return status;
    }
    // One line, with |says|, and no other.
    void expect_one_line(const char *says)
    {
        std::vector<std::string> lines = take_log();
        ASSERT_EQ(1u, lines.size()) << ::testing::PrintToString(lines);
        EXPECT_NE(std::string::npos, lines[0].find(says)) << lines[0];
    }
};
MANTA_TEST_WORKERS(GpuAbsentTest);

TEST_P(GpuAbsentTest, ABrokenDriverRefusesOnlyWhatNeedsIt)
{
    if (!is_broken()) GTEST_SKIP() << "the driver works";
    MANTA_SCOPE();
    EXPECT_EQ(7, value_of<int64_t>(ga_cpu_remote()));
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(-5, values_of<int64_t>(ga_fill_remote(5))[7]);
        manta_ref_t y = ga_fill_with(MANTA_OPTIONS(.where = MANTA_GPU), 5);
        EXPECT_STATUS(MANTA_ERR_SYSTEM, manta_ref_status(y));
        EXPECT_NE(nullptr, strstr(manta_error_message(), "ga_fill")) << manta_error_message();
        EXPECT_NE(nullptr, strstr(manta_error_message(), "803")) << manta_error_message();
        y = ga_fill_with(MANTA_OPTIONS(.where = manta_gpu(1)), 5);
        EXPECT_STATUS(MANTA_ERR_SYSTEM, manta_ref_status(y));
        y = ga_cpu_with(MANTA_OPTIONS(.gpus = 0.5));
        EXPECT_STATUS(MANTA_ERR_SYSTEM, manta_ref_status(y));
        EXPECT_EQ(0, manta_gpu_count(runtime_));
        EXPECT_NE(nullptr, strstr(manta_error_message(), "803")) << manta_error_message();
    }
    expect_one_line("803");
}

TEST_P(GpuAbsentTest, TasksGoToTheDeviceThatOpens)
{
    if (is_broken()) GTEST_SKIP() << "the driver does not";
    MANTA_SCOPE();
    fake_cuda()->fail_host_register(1); // the first one to be opened fails
    manta::ref<int64_t> y = ga_fill_with(MANTA_OPTIONS(.where = MANTA_GPU), 5);
    EXPECT_EQ(5, values_of<int64_t>(y)[7]);
    EXPECT_EQ(5, values_of<int64_t>(ga_fill_remote(5))[0]);
    expect_one_line("can't be used");
}

TEST_P(GpuAbsentTest, ADeviceThatDoesNotOpenFailsWhoInsistsOnIt)
{
    if (is_broken()) GTEST_SKIP() << "the driver does not";
    MANTA_SCOPE();
    fake_cuda()->fail_host_register(1);
    manta::ref<int64_t> y = ga_fill_with(MANTA_OPTIONS(.where = manta_gpu(1)), 5);
    EXPECT_STATUS(MANTA_ERR_OUT_OF_MEMORY, get(y));
    std::string text = printed_error(y);
    EXPECT_NE(std::string::npos, text.find("cuda:1")) << text;
    EXPECT_NE(std::string::npos, text.find("ga_fill")) << text;
    y = ga_fill_with(MANTA_OPTIONS(.where = manta_gpu(0)), 5);
    EXPECT_EQ(5, values_of<int64_t>(y)[0]);
    expect_one_line("can't be used");
}

// With no device left a task that may run anywhere runs on a CPU, with what it waits for and what it updates.
TEST_P(GpuAbsentTest, WithoutADeviceLeftTasksGoHome)
{
    if (is_broken()) GTEST_SKIP() << "the driver does not";
    MANTA_SCOPE();
    std::vector<int64_t> ones(8, 1);
    manta::ref<int64_t> x = manta_put(ones.data(), sizeof ones[0] * ones.size());
    manta::ref<int64_t> y = manta_put(ones.data(), sizeof ones[0] * ones.size());
    // Both are lost at the first launch, each with tasks that were placed there, and more behind these.
    enum { ILLEGAL_ADDRESS = 700 };
    fake_cuda()->lose_at_launch(0, 1, ILLEGAL_ADDRESS);
    fake_cuda()->lose_at_launch(1, 1, ILLEGAL_ADDRESS);
    EXPECT_STATUS(MANTA_ERR_DEVICE_LOST,
                  get(ga_fill_with(MANTA_OPTIONS(.where = manta_gpu(0)), 1)));
    EXPECT_STATUS(MANTA_ERR_DEVICE_LOST,
                  get(ga_fill_with(MANTA_OPTIONS(.where = manta_gpu(1)), 1)));
    for (int i = 0; i < 10; i++)
        y = ga_add_remote(x, y);
    EXPECT_EQ(std::vector<int64_t>(8, 11), values_of<int64_t>(y));
    EXPECT_STATUS(MANTA_ERR_RESOURCE_GONE, get(ga_fill_with(MANTA_OPTIONS(.where = MANTA_GPU), 1)));
    EXPECT_STATUS(MANTA_ERR_RESOURCE_GONE, manta_ref_status(ga_cpu_with(MANTA_OPTIONS(.gpus = 1))));
}

// Those that were routed before their devices turned out not to open.
TEST_P(GpuAbsentTest, QueuedTasksGoHomeToo)
{
    if (is_broken()) GTEST_SKIP() << "the driver does not";
    manta_status_t status = MANTA_OK;
    {
        MANTA_SCOPE();
        std::vector<int64_t> ones(8, 1);
        manta::ref<int64_t> gate = manta_promise_create(MANTA_DTYPE(MANTA_I64, 8));
        manta::ref<int64_t> x = manta_put(ones.data(), sizeof ones[0] * ones.size());
        manta::ref<int64_t> y = manta_put(ones.data(), sizeof ones[0] * ones.size());
        y = ga_add_remote(gate, y);
        for (int i = 0; i < 5; i++)
            y = ga_add_remote(x, y);
        manta_ref_t cancelled = ga_add_remote(x, manta_retain(y));
        manta_ref_t shares = ga_fill_with(MANTA_OPTIONS(.gpus = 0.5), 3);
        fake_cuda()->fail_host_register(1);
        // The one opens, and is lost; the other does not open.
        fake_cuda()->lose_at_launch(0, 1, 700);
        fake_cuda()->lose_at_launch(1, 1, 700);
        (void)get(shares);
        (void)get(ga_fill_with(MANTA_OPTIONS(.where = manta_gpu(0)), 1));
        (void)get(ga_fill_with(MANTA_OPTIONS(.where = manta_gpu(1)), 1));
        ASSERT_OK(manta_cancel(cancelled));
        ASSERT_OK(manta_promise_set(gate, ones.data(), sizeof ones[0] * ones.size()));
        EXPECT_EQ(std::vector<int64_t>(8, 7), values_of<int64_t>(y));
        EXPECT_STATUS(MANTA_ERR_CANCELLED, get(cancelled));
        status = get(ga_fill_with(MANTA_OPTIONS(.where = MANTA_GPU), 1));
    }
    EXPECT_STATUS(MANTA_ERR_RESOURCE_GONE, status);
    expect_one_line("can't be used");
}
