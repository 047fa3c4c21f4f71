// Tasks with two kinds of bodies: what their definitions say, and that each body gets its arguments. The
// bodies are called as a device's lane would: there need not be one.
#include "cuda_tasks.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace
{

manta_status_t run(const manta_variant_t *variant, const void *args, manta_buffer_t *buffers)
{
    manta_call_t call = {nullptr, args, buffers, nullptr};
    return variant->invoke(&call);
}

// a = 5, x = {3, 4}, y = {0}: what the body left in y[0] and at the end of z.
std::pair<int, int> run_both(const manta_variant_t *variant)
{
    tc_both_c_args_t args = {5, MANTA_REF_NULL_ID, MANTA_REF_NULL_ID};
    int x[2] = {3, 4}, y[1] = {0}, z[4] = {0};
    manta_buffer_t buffers[3] = {{x, sizeof x}, {y, sizeof y}, {nullptr, 0}};
    size_t z_bytes = 0;
    manta_call_t call = {nullptr, &args, buffers, nullptr};
    EXPECT_EQ(variant->sizes(&call, &z_bytes), MANTA_OK);
    EXPECT_EQ(z_bytes, sizeof z);
    buffers[2] = {z, sizeof z};
    EXPECT_EQ(run(variant, &args, buffers), MANTA_OK);
    return {y[0], z[3]};
}

int run_one(const manta_variant_t *variant, int a)
{
    int z = 0;
    manta_buffer_t buffer = {&z, sizeof z};
    EXPECT_EQ(run(variant, &a, &buffer), MANTA_OK);
    return z;
}

void expect_whole(const manta_task_def_t &task, const char *name, uint32_t params, size_t bytes)
{
    EXPECT_STREQ(task.name, name);
    EXPECT_EQ(task.param_count, params);
    EXPECT_EQ(task.args_bytes, bytes);
    ASSERT_TRUE(task.params != nullptr);
}

} // namespace

TEST(CudaBodyTest, BothInOneFile)
{
    expect_whole(tc_both_c_task, "tc_both_c", 4, sizeof(tc_both_c_args_t));
    expect_whole(tc_both_cc_task, "tc_both_cc", 4, sizeof(tc_both_cc_args_t));
    EXPECT_EQ(run_both(tc_both_c_task.cpu), std::make_pair(8, 100));
    EXPECT_EQ(run_both(tc_both_c_task.cuda), std::make_pair(2, 200));
    EXPECT_EQ(run_both(tc_both_cc_task.cpu), std::make_pair(8, 300));
    EXPECT_EQ(run_both(tc_both_cc_task.cuda), std::make_pair(2, 400));
}

TEST(CudaBodyTest, InTwoFilesOfTwoLanguages)
{
    expect_whole(tc_c_cc_task, "tc_c_cc", 2, sizeof(int));
    expect_whole(tc_cc_c_task, "tc_cc_c", 2, sizeof(int));
    EXPECT_EQ(run_one(tc_c_cc_task.cpu, 1), 101);
    EXPECT_EQ(run_one(tc_c_cc_task.cuda, 1), 401);
    EXPECT_EQ(run_one(tc_cc_c_task.cpu, 1), 301);
    EXPECT_EQ(run_one(tc_cc_c_task.cuda, 1), 201);
}

TEST(CudaBodyTest, WithoutACpuBody)
{
    expect_whole(tc_only_c_task, "tc_only_c", 2, sizeof(int));
    expect_whole(tc_only_cc_task, "tc_only_cc", 2, sizeof(int));
    EXPECT_EQ(tc_only_c_task.cpu, nullptr);
    EXPECT_EQ(tc_only_cc_task.cpu, nullptr);
    EXPECT_EQ(run_one(tc_only_c_task.cuda, 2), 202);
    EXPECT_EQ(run_one(tc_only_cc_task.cuda, 2), 402);
}

TEST(CudaBodyTest, WithoutParameters)
{
    expect_whole(tc_tick_task, "tc_tick", 0, 0);
    EXPECT_EQ(run(tc_tick_task.cpu, nullptr, nullptr), MANTA_ERR_USER + 100);
    EXPECT_EQ(run(tc_tick_task.cuda, nullptr, nullptr), MANTA_ERR_USER + 200);
    expect_whole(tc_bare_task, "tc_bare", 0, 0);
    EXPECT_EQ(run(tc_bare_task.cpu, nullptr, nullptr), MANTA_OK);
    EXPECT_EQ(run(tc_bare_task.cuda, nullptr, nullptr), MANTA_ERR_USER);
}

TEST(CudaBodyTest, WithTheListSaidAgain)
{
    expect_whole(tc_here_task, "tc_here", 2, sizeof(int));
    EXPECT_EQ(run_one(tc_here_task.cpu, 7), 107);
    EXPECT_EQ(run_one(tc_here_task.cuda, 7), 207);
}

TEST(CudaBodyTest, TaskWithBothRunsOnTheCpuWhereThereIsNoDevice)
{
    MANTA_SCOPE();
    int z = 0;
    ASSERT_EQ(tc_c_cc_result(tc_c_cc_with(MANTA_OPTIONS(.where = MANTA_CPU), 1), &z), MANTA_OK);
    EXPECT_EQ(z, 101);
}

TEST(CudaBodyTest, BodiesWithOtherParametersAreFoundOutAtSubmit)
{
    MANTA_SCOPE();
    EXPECT_EQ(manta_ref_status(tc_differ_call()), MANTA_ERR_TYPE_MISMATCH);
    EXPECT_NE(std::string(manta_error_message()).find("tc_differ"), std::string::npos);
    EXPECT_NE(std::string(manta_error_message()).find("parameter 2"), std::string::npos)
        << manta_error_message();
    EXPECT_EQ(manta_ref_status(tc_longer_call()), MANTA_ERR_TYPE_MISMATCH);
    EXPECT_NE(std::string(manta_error_message()).find("parameter 2"), std::string::npos)
        << manta_error_message();
}

MANTA_KERNEL(tc_no_such_kernel, int);
MANTA_TASK(tc_runs_nothing, MANTA_VAL(int, a), MANTA_OUT(int, z, 1))
{
    z[0] = a;
    return tc_no_such_kernel_run(manta_grid_1d(1, 1), a);
}

// The code alone is enough: the message is the call's.
TEST(CudaBodyTest, BodyThatReturnsTheCodeOfACallFailsWithItsMessage)
{
    MANTA_SCOPE();
    manta_ref_t z = tc_runs_nothing_remote(1);
    manta_view_t v;
    ASSERT_EQ(manta_get(z, &v, MANTA_FOREVER), MANTA_ERR_NOT_FOUND);
    const manta_error_t *error = manta_ref_error(z);
    EXPECT_NE(std::string(manta_error_text(error)).find("tc_no_such_kernel"), std::string::npos)
        << manta_error_text(error);
    EXPECT_STREQ(manta_error_task(error), "tc_runs_nothing");
    manta_error_release(error);
}

// What a CUDA body calls says so when no CUDA body is running.
TEST(CudaBodyTest, ItsCallsAreForItAlone)
{
    EXPECT_EQ(manta_cuda_stream(nullptr), nullptr);
    EXPECT_NE(std::string(manta_error_message()).find("manta_cuda_stream"), std::string::npos);
    EXPECT_EQ(manta_task_device(nullptr), -1);
    EXPECT_EQ(manta_scratch(nullptr, 16), nullptr);
    static const char key = 0;
    EXPECT_EQ(manta_queue_local(
                  nullptr, &key, [](manta_task_t *) -> void * { return nullptr; }, nullptr),
              nullptr);
    int word;
    EXPECT_EQ(manta_status_word(nullptr, &word), MANTA_ERR_NOT_ALLOWED_HERE);
    void *args[1] = {nullptr};
    EXPECT_NE(manta_launch_cufunction(nullptr, manta_grid_1d(1, 1), args, "f"), MANTA_OK);
    EXPECT_EQ(manta_ref_status(manta_wrap_cuda(&word, 4, 0, nullptr, nullptr, nullptr)),
              MANTA_ERR_NOT_SUPPORTED);
}
