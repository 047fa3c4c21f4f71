// The CUDA driver of manta on the fake driver: what the conformance suite does not ask, because only
// this driver has it.
#include "fakes/fake_test.h"

#include <cstring>
#include <string>
#include <thread>
#include <vector>

extern "C" {
#include "base/clock.h"
#include "devices/cuda/cuda_api.h"
#include "devices/driver.h"
}

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace
{

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace manta_testing;

constexpr int64_t kSecond = 1000 * 1000 * 1000;

void axpy_twin(const fake_cuda_shape_t *, void *const *args)
{
    float a = *static_cast<float *>(args[0]);
    const float *x = *static_cast<float **>(args[1]);
    float *y = *static_cast<float **>(args[2]);
    uint64_t n = *static_cast<uint64_t *>(args[3]);
    for (uint64_t i = 0; i < n; i++)
        y[i] += a * x[i];
}
const uint32_t kAxpyBytes[] = {4, 8, 8, 8};
const uint8_t kAxpyAccess[] = {0, FAKE_CUDA_READ, FAKE_CUDA_READ | FAKE_CUDA_WRITE, 0};
size_t axpy_extent(uint32_t, const fake_cuda_shape_t *, void *const *args)
{
    return *static_cast<uint64_t *>(args[3]) * sizeof(float);
}
const char kImage[] = ".version 8.0 .entry axpy";

class CudaDriverTest : public FakeCudaTest
{
  protected:
    void SetUp() override { start(fake_cuda_options_t{}); }
    void start(const fake_cuda_options_t &options)
    {
        stop();
        fake_cuda()->reset(&options);
        fake_cuda_kernel_t axpy = {"axpy", 4, kAxpyBytes, kAxpyAccess, axpy_extent, axpy_twin,
                                   0,      0, 0};
        fake_cuda()->kernel_add(&axpy);
        mti_devices_options_t how{};
        how.sim_gpus = MTI_SIM_GPUS_NONE;
        ASSERT_EQ(MANTA_OK, mti_devices_create(&how, &set_)) << manta_error_message();
        for (uint32_t i = 0; i < mti_devices_gpu_count(set_); i++)
            ASSERT_EQ(MANTA_OK, mti_device_open(gpu(i))) << manta_error_message();
    }
    void stop()
    {
        EXPECT_EQ(MANTA_OK, mti_devices_destroy(set_, 10 * kSecond)) << manta_error_message();
        set_ = nullptr;
    }
    void TearDown() override
    {
        stop();
        FakeCudaTest::TearDown();
    }
    mti_device_t *gpu(uint32_t i = 0) { return mti_devices_gpu(set_, i); }
    mti_queue_t *queue(uint32_t device = 0)
    {
        mti_queue_t *queue = nullptr;
        EXPECT_EQ(MANTA_OK, mti_queue_create(gpu(device), nullptr, &queue))
            << manta_error_message();
        return queue;
    }
    mti_memory_t *alloc(size_t bytes, uint32_t device = 0)
    {
        mti_memory_t *memory = nullptr;
        EXPECT_EQ(MANTA_OK, mti_memory_alloc(gpu(device), bytes, &memory)) << manta_error_message();
        return memory;
    }
    mti_memory_t *host(size_t bytes, uint32_t device = 0)
    {
        mti_memory_t *memory = nullptr;
        EXPECT_EQ(MANTA_OK, mti_memory_alloc_host(gpu(device), bytes, -1, &memory))
            << manta_error_message();
        return memory;
    }
    // Waits for all of |queue|; false if its device was lost.
    bool finish(mti_queue_t *queue)
    {
        uint64_t seq = 0;
        if (mti_queue_signal(queue, &seq) != MANTA_OK) seq = queue->submitted;
        int64_t deadline = mti_clock_ns() + 20 * kSecond;
        while (mti_queue_completed(queue) < seq) {
            mti_poll_t poll;
            mti_device_poll(queue->device, &poll);
            if (poll.lost) return false;
            if (poll.advanced) continue;
            manta_status_t status = mti_device_block(queue->device, deadline);
            if (status != MANTA_OK) {
                ADD_FAILURE() << manta_status_name(status) << ": " << manta_error_message();
                return false;
            }
        }
        return true;
    }
    void load(uint32_t device = 0)
    {
        static const mti_kernel_desc_t kernels[] = {{"axpy", nullptr, kAxpyBytes, 4, 0, nullptr}};
        static const mti_code_t code = {"test", kImage, sizeof kImage, kernels, 1};
        ASSERT_EQ(MANTA_OK, mti_device_code_load(gpu(device), &code)) << manta_error_message();
    }
    manta_status_t axpy(mti_queue_t *queue, float a, const mti_memory_t *x, const mti_memory_t *y,
                        uint64_t n, uint32_t flags = 0)
    {
        void *args[] = {&a, const_cast<void **>(&x->ptr), const_cast<void **>(&y->ptr), &n};
        mti_launch_t launch{};
        launch.kernel = mti_device_kernel(queue->device, "axpy");
        launch.shape = {{1, 1, 1}, {256, 1, 1}, 0};
        launch.args = args;
        launch.arg_count = 4;
        return mti_queue_launch(queue, &launch, flags, nullptr);
    }
    mti_devices_t *set_ = nullptr;
};

TEST_F(CudaDriverTest, KnowsTheDevicesBeforeItOpensThem)
{
    fake_cuda_options_t options{};
    options.devices = 3;
    start(options);
    ASSERT_EQ(3u, mti_devices_gpu_count(set_));
    const mti_device_info_t &info = gpu(1)->info;
    EXPECT_STREQ("cuda:1", gpu(1)->name);
    EXPECT_STREQ("Fake GPU", info.name);
    EXPECT_STREQ("0000:a1:00.0", info.pci_id);
    EXPECT_EQ(1, info.uuid[15]);
    EXPECT_EQ(9, info.cc_major);
    EXPECT_EQ(256u << 20, info.memory_bytes);
    EXPECT_EQ(232448u, info.limits.max_shared_bytes);
    ASSERT_EQ(3u, info.peer_count);
    EXPECT_TRUE(info.peers[0].direct && info.peers[1].direct && info.peers[2].direct);
    EXPECT_GT(info.peers[1].bytes_per_s, 1000ull * 1000 * 1000 * 1000);
}

TEST_F(CudaDriverTest, ChainCostsOneLaunchEach)
{
    load();
    mti_queue_t *q = queue();
    mti_memory_t *x = alloc(4096), *y = alloc(4096), *h = host(4096);
    for (int i = 0; i < 1024; i++)
        static_cast<float *>(h->ptr)[i] = static_cast<float>(i);
    mti_copy_t in_x = {mti_place_at(x, 0), mti_place_at(h, 0), 4096};
    ASSERT_EQ(MANTA_OK, mti_queue_copy(q, &in_x, 0, nullptr));
    ASSERT_EQ(MANTA_OK, mti_queue_fill(q, mti_place_at(y, 0), 4096, 0, 4, 0, nullptr));
    ASSERT_TRUE(finish(q));

    mti_bound_t bound;
    mti_device_bind(gpu(), &bound);
    fake_cuda()->calls_clear();
    for (int i = 0; i < 100; i++)
        ASSERT_EQ(MANTA_OK, axpy(q, 1, x, y, 1024));
    EXPECT_EQ(100u, fake_cuda()->calls("cuLaunchKernelEx"));
    EXPECT_EQ(100u, fake_cuda()->calls(nullptr)) << "a launch in a chain takes other calls besides";
    uint64_t seq;
    ASSERT_EQ(MANTA_OK, mti_queue_signal(q, &seq));
    EXPECT_EQ(101u, fake_cuda()->calls(nullptr)) << "a record with words is one call";
    mti_device_unbind(gpu(), &bound);

    mti_copy_t out_y = {mti_place_at(h, 0), mti_place_at(y, 0), 4096};
    ASSERT_EQ(MANTA_OK, mti_queue_copy(q, &out_y, MTI_OP_RECORD, nullptr));
    ASSERT_TRUE(finish(q));
    for (int i = 0; i < 1024; i++)
        ASSERT_EQ(100.0f * static_cast<float>(i), static_cast<float *>(h->ptr)[i]) << i;
}

TEST_F(CudaDriverTest, UnboundCallsLeaveTheThreadAsItWas)
{
    mti_queue_t *q = queue();
    mti_memory_t *x = alloc(256);
    fake_cuda()->calls_clear();
    ASSERT_EQ(MANTA_OK, mti_queue_fill(q, mti_place_at(x, 0), 256, 7, 1, 0, nullptr));
    EXPECT_EQ(1u, fake_cuda()->calls("cuCtxGetCurrent"));
    EXPECT_EQ(2u, fake_cuda()->calls("cuCtxSetCurrent")) << "ours, and back";
    EXPECT_EQ(1u, fake_cuda()->calls("cuMemsetD8Async"));
    ASSERT_TRUE(finish(q));
}

TEST_F(CudaDriverTest, BindingNestsOverDevices)
{
    fake_cuda_options_t options{};
    options.devices = 2;
    start(options);
    mti_queue_t *q0 = queue(0), *q1 = queue(1);
    mti_memory_t *x0 = alloc(256, 0), *x1 = alloc(256, 1);
    mti_bound_t outer, inner;
    mti_device_bind(gpu(0), &outer);
    mti_device_bind(gpu(1), &inner);
    ASSERT_EQ(MANTA_OK, mti_queue_fill(q1, mti_place_at(x1, 0), 256, 1, 1, 0, nullptr));
    ASSERT_EQ(MANTA_OK, mti_queue_fill(q0, mti_place_at(x0, 0), 256, 1, 1, 0, nullptr));
    mti_device_unbind(gpu(1), &inner);
    ASSERT_EQ(MANTA_OK, mti_queue_fill(q0, mti_place_at(x0, 0), 256, 2, 1, 0, nullptr));
    mti_device_unbind(gpu(0), &outer);
    ASSERT_TRUE(finish(q0));
    ASSERT_TRUE(finish(q1));
}

TEST_F(CudaDriverTest, QueuesOfOneDeviceWaitByOneEvent)
{
    mti_queue_t *a = queue(), *b = queue(), *c = queue();
    mti_memory_t *x = alloc(1 << 16);
    uint64_t seq;
    ASSERT_EQ(MANTA_OK, mti_queue_fill(a, mti_place_at(x, 0), 1 << 16, 1, 1, 0, &seq));
    fake_cuda()->calls_clear();
    ASSERT_EQ(MANTA_OK, mti_queue_wait(b, a, seq));
    ASSERT_EQ(MANTA_OK, mti_queue_wait(c, a, seq));
    EXPECT_EQ(1u, fake_cuda()->calls("cuEventRecord")) << "the second wait can use the same";
    EXPECT_EQ(2u, fake_cuda()->calls("cuStreamWaitEvent"));
    // The fake says that these are ordered; each writes a half, so they need not be among themselves.
    ASSERT_EQ(MANTA_OK, mti_queue_fill(b, mti_place_at(x, 0), 1 << 15, 2, 1, 0, nullptr));
    ASSERT_EQ(MANTA_OK, mti_queue_fill(c, mti_place_at(x, 1 << 15), 1 << 15, 3, 1, 0, nullptr));
    ASSERT_TRUE(finish(b) && finish(c) && finish(a));
}

TEST_F(CudaDriverTest, FillsThatNobodyOrderedAreCaught)
{
    mti_queue_t *a = queue(), *b = queue();
    mti_memory_t *x = alloc(4096);
    ASSERT_EQ(MANTA_OK, mti_queue_fill(a, mti_place_at(x, 0), 4096, 1, 1, 0, nullptr));
    ASSERT_EQ(MANTA_OK, mti_queue_fill(b, mti_place_at(x, 4092), 4, 2, 4, 0, nullptr));
    EXPECT_THAT(fake_violations(),
                ElementsAre(HasSubstr("nothing orders it after cuMemsetD8Async")));
    ASSERT_TRUE(finish(a) && finish(b));
}

TEST_F(CudaDriverTest, QueuesOfTwoDevicesWait)
{
    fake_cuda_options_t options{};
    options.devices = 2;
    for (bool no_words : {false, true}) {
        options.no_words = no_words;
        start(options);
        mti_queue_t *a = queue(0), *b = queue(1);
        mti_memory_t *x = alloc(4096, 0), *y = alloc(4096, 1), *h = host(4096);
        uint64_t seq;
        ASSERT_EQ(MANTA_OK,
                  mti_queue_fill(a, mti_place_at(x, 0), 4096, 0x5A, 1, MTI_OP_RECORD, &seq));
        ASSERT_EQ(MANTA_OK, mti_queue_wait(b, a, seq)) << manta_error_message();
        mti_copy_t over = {mti_place_at(y, 0), mti_place_at(x, 0), 4096};
        ASSERT_EQ(MANTA_OK, mti_queue_copy(b, &over, 0, nullptr)) << manta_error_message();
        mti_copy_t out = {mti_place_at(h, 0), mti_place_at(y, 0), 4096};
        ASSERT_EQ(MANTA_OK, mti_queue_copy(b, &out, 0, nullptr)) << manta_error_message();
        ASSERT_TRUE(finish(b) && finish(a));
        for (int i = 0; i < 4096; i++)
            ASSERT_EQ(0x5A, static_cast<char *>(h->ptr)[i]) << i;
    }
}

TEST_F(CudaDriverTest, CopiesBetweenDevicesThatDoNotReachEachOtherAreStaged)
{
    fake_cuda_options_t options{};
    options.devices = 2;
    options.no_peers = true;
    start(options);
    EXPECT_FALSE(gpu(0)->info.peers[1].direct);
    EXPECT_EQ(0u, fake_cuda()->calls("cuMemPoolSetAccess"));
    mti_queue_t *q = queue(0);
    mti_memory_t *x = alloc(256, 0), *y = alloc(256, 1);
    ASSERT_EQ(MANTA_OK, mti_queue_fill(q, mti_place_at(x, 0), 256, 1, 1, 0, nullptr));
    mti_copy_t over = {mti_place_at(y, 0), mti_place_at(x, 0), 256};
    ASSERT_EQ(MANTA_OK, mti_queue_copy(q, &over, 0, nullptr)) << manta_error_message();
    EXPECT_EQ(1u, fake_cuda()->calls("cuMemcpyPeerAsync"));
    ASSERT_TRUE(finish(q));
}

TEST_F(CudaDriverTest, WithoutWordsEventsTell)
{
    fake_cuda_options_t options{};
    options.no_words = true;
    start(options);
    mti_queue_t *q = queue();
    mti_memory_t *x = alloc(256);
    // More records than there are events: those at the end share one.
    fake_cuda()->hold_stream(mti_queue_native(q), true);
    uint64_t last = 0;
    for (int i = 0; i < 200; i++) {
        manta_status_t status =
            mti_queue_fill(q, mti_place_at(x, 0), 256, 1, 1, MTI_OP_RECORD, &last);
        ASSERT_EQ(MANTA_OK, status) << manta_error_message();
    }
    EXPECT_EQ(200u, last);
    fake_cuda()->hold_stream(mti_queue_native(q), false);
    ASSERT_TRUE(finish(q));
    EXPECT_EQ(0u, fake_cuda()->calls("cuStreamWriteValue64"));
    EXPECT_LE(fake_cuda()->calls("cuEventCreate"), 32u);
}

TEST_F(CudaDriverTest, EventsAreUsedAgain)
{
    mti_memory_t *x = alloc(256);
    mti_queue_t *b = queue();
    for (int round = 0; round < 20; round++) {
        mti_queue_t *a = queue();
        uint64_t seq;
        ASSERT_EQ(MANTA_OK, mti_queue_fill(a, mti_place_at(x, 0), 256, 1, 1, 0, &seq));
        ASSERT_EQ(MANTA_OK, mti_queue_wait(b, a, seq));
        ASSERT_EQ(MANTA_OK, mti_queue_empty(b, MTI_OP_RECORD, nullptr));
        ASSERT_TRUE(finish(b) && finish(a));
        ASSERT_EQ(MANTA_OK, mti_queue_destroy(a)) << manta_error_message();
    }
    EXPECT_LE(fake_cuda()->calls("cuEventCreate"), 8u) << "made eight at a time";
}

TEST_F(CudaDriverTest, NoEventLeftIsAStatusAndNothingIsSubmitted)
{
    fake_cuda()->limit_events(1);
    mti_queue_t *a = queue(), *b = queue(), *c = queue();
    mti_memory_t *x = alloc(256);
    uint64_t first, second;
    ASSERT_EQ(MANTA_OK, mti_queue_fill(a, mti_place_at(x, 0), 128, 1, 1, 0, &first));
    ASSERT_EQ(MANTA_OK, mti_queue_fill(b, mti_place_at(x, 128), 128, 1, 1, 0, &second));
    ASSERT_EQ(MANTA_OK, mti_queue_wait(c, a, first));
    EXPECT_EQ(MANTA_ERR_RESOURCE_EXHAUSTED, mti_queue_wait(c, b, second));
    EXPECT_THAT(manta_error_message(), HasSubstr("cuEventCreate"));
    fake_cuda()->limit_events(0);
    EXPECT_EQ(MANTA_OK, mti_queue_wait(c, b, second));
    ASSERT_EQ(MANTA_OK, mti_queue_fill(c, mti_place_at(x, 0), 256, 1, 1, 0, nullptr));
    ASSERT_TRUE(finish(a) && finish(b) && finish(c));
}

TEST_F(CudaDriverTest, BatchesAreOneCall)
{
    mti_queue_t *q = queue();
    mti_memory_t *x = alloc(1 << 16), *h = host(1 << 16);
    memset(h->ptr, 9, 1 << 16);
    std::vector<mti_copy_t> copies;
    for (size_t i = 0; i < 60; i++)
        copies.push_back(
            {mti_place_at(x, i * 512), mti_place_at(h, i * 512), i % 7 == 3 ? 0 : i * 8});
    fake_cuda()->calls_clear();
    ASSERT_EQ(MANTA_OK, mti_queue_copy_batch(q, copies.data(), copies.size(), 0, nullptr))
        << manta_error_message();
#if MTI_CU_HAS_BATCH
    EXPECT_EQ(1u, fake_cuda()->calls("cuMemcpyBatchAsync"));
    EXPECT_EQ(0u, fake_cuda()->calls("cuMemcpyAsync"));
#endif
    ASSERT_TRUE(finish(q));
}

TEST_F(CudaDriverTest, OutOfMemoryIsAStatusThatCounts)
{
    fake_cuda_options_t options{};
    options.memory_bytes = 1 << 20;
    start(options);
    mti_memory_t *memory = nullptr;
    mti_memory_t *x = alloc(300000);
    EXPECT_EQ(MANTA_ERR_OUT_OF_MEMORY, mti_memory_alloc(gpu(), 900000, &memory));
    EXPECT_THAT(
        manta_error_message(),
        HasSubstr("cuda:0: no memory for 900000 bytes: 300000 of 1048576 bytes are in use"));
    fake_cuda()->fail_alloc(0, 2);
    mti_memory_t *y = alloc(64);
    EXPECT_EQ(MANTA_ERR_OUT_OF_MEMORY, mti_memory_alloc(gpu(), 64, &memory));
    EXPECT_THAT(manta_error_message(), HasSubstr("no memory for 64 bytes: 300064 of"));
    EXPECT_THAT(manta_error_message(), HasSubstr("cuMemAllocFromPoolAsync"));
    EXPECT_THAT(manta_error_message(), HasSubstr("of 1048576 bytes are free"));
    mti_memory_free(x);
    mti_memory_t *z = alloc(900000); // what was freed comes back
    mti_memory_free(y);
    mti_memory_free(z);
}

TEST_F(CudaDriverTest, PinnedMemoryThatIsRefusedIsAStatus)
{
    mti_memory_t *memory = nullptr;
    fake_cuda()->fail_host_register(1);
    EXPECT_EQ(MANTA_ERR_OUT_OF_MEMORY, mti_memory_alloc_host(gpu(), 4096, -1, &memory));
    EXPECT_THAT(manta_error_message(), HasSubstr("4096 bytes of pinned host memory"));
    mti_memory_t *h = host(5000, 0);
    EXPECT_EQ(5000u, h->size_bytes);
}

TEST_F(CudaDriverTest, ALaunchThatIsRefusedNamesTheKernel)
{
    load();
    mti_queue_t *q = queue();
    mti_memory_t *x = alloc(256), *y = alloc(256);
    fake_cuda()->fail_launch(0, 1, 701);
    EXPECT_EQ(MANTA_ERR_RESOURCE_EXHAUSTED, axpy(q, 1, x, y, 8));
    EXPECT_THAT(manta_error_message(), HasSubstr("cuda:0: kernel axpy: cuLaunchKernelEx"));
    EXPECT_THAT(manta_error_message(), HasSubstr("CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (701)"));
    EXPECT_EQ(MANTA_OK, axpy(q, 1, x, y, 8)) << manta_error_message();
    ASSERT_TRUE(finish(q));
}

TEST_F(CudaDriverTest, AStickyErrorLosesThatDeviceAndNoOther)
{
    fake_cuda_options_t options{};
    options.devices = 2;
    start(options);
    expects_leaks_ = true; // a lost context keeps what it has
    load(0);
    mti_queue_t *a = queue(0), *b = queue(1);
    mti_memory_t *x = alloc(256, 0), *y = alloc(256, 0), *z = alloc(256, 1);
    fake_cuda()->lose_at_launch(0, 2, 700);
    ASSERT_EQ(MANTA_OK, axpy(a, 1, x, y, 8));
    ASSERT_EQ(MANTA_OK, axpy(a, 1, x, y, 8));
    (void)axpy(a, 1, x, y, 8);
    EXPECT_FALSE(finish(a));
    EXPECT_EQ(MTI_DEVICE_LOST, mti_device_state(gpu(0)));
    EXPECT_EQ(MANTA_ERR_DEVICE_LOST, axpy(a, 1, x, y, 8));
    mti_memory_t *memory;
    EXPECT_EQ(MANTA_ERR_DEVICE_LOST, mti_memory_alloc(gpu(0), 64, &memory));
    mti_memory_free(x);

    EXPECT_EQ(MTI_DEVICE_OPEN, mti_device_state(gpu(1)));
    ASSERT_EQ(MANTA_OK, mti_queue_fill(b, mti_place_at(z, 0), 256, 1, 1, 0, nullptr));
    ASSERT_TRUE(finish(b));
}

TEST_F(CudaDriverTest, AWaitForALostDeviceIsOver)
{
    fake_cuda_options_t options{};
    options.devices = 2;
    start(options);
    expects_leaks_ = true;
    mti_queue_t *a = queue(0), *b = queue(1);
    uint64_t seq;
    fake_cuda()->hold_stream(mti_queue_native(a), true);
    ASSERT_EQ(MANTA_OK, mti_queue_empty(a, MTI_OP_RECORD, &seq));
    ASSERT_EQ(MANTA_OK, mti_queue_wait(b, a, seq));
    fake_cuda()->lose_now(0, 719);
    // Device 1 meets the loss first, by the driver's answer to its wait.
    EXPECT_EQ(MANTA_OK, mti_queue_wait(b, a, seq)) << manta_error_message();
    EXPECT_FALSE(finish(a));
    EXPECT_TRUE(finish(b));
}

TEST_F(CudaDriverTest, CodeThatDoesNotFitSaysSo)
{
    static const uint32_t three[] = {4, 8, 8}, wrong[] = {4, 8, 4, 8};
    static const mti_kernel_desc_t good = {"axpy", nullptr, kAxpyBytes, 4, 0, nullptr};
    static const mti_kernel_desc_t fewer = {"axpy", nullptr, three, 3, 0, nullptr};
    static const mti_kernel_desc_t sizes = {"axpy", nullptr, wrong, 4, 0, nullptr};
    static const mti_kernel_desc_t absent = {"nobody", nullptr, three, 3, 0, nullptr};
    static const mti_kernel_desc_t asks = {"mine", "axpy", nullptr, 0, 0, nullptr};
    struct row {
        const char *blob;
        const mti_kernel_desc_t *kernel;
        const char *says;
    };
    for (const row &at :
         {row{"FAKE error 209", &good, "nothing in it runs on Fake GPU (sm_90)"},
          row{"FAKE error 218", &good, "no such luck"}, row{"not code", &good, "cuLibraryLoadData"},
          row{nullptr, &good, "has no fatbin"},
          row{kImage, &fewer, "it takes more than the 3 parameters"},
          row{kImage, &sizes, "parameter 2 takes 8 bytes, declared are 4"},
          row{kImage, &absent, "kernel nobody"}}) {
        mti_code_t code = {"bad", at.blob, at.blob ? strlen(at.blob) : 0, at.kernel, 1};
        EXPECT_EQ(MANTA_ERR_INVALID_ARGUMENT, mti_device_code_load(gpu(), &code)) << at.says;
        EXPECT_THAT(manta_error_message(), HasSubstr(at.says));
        EXPECT_THAT(manta_error_message(), HasSubstr("code bad"));
    }
    static const mti_code_t code = {"asks", kImage, sizeof kImage, &asks, 1};
    ASSERT_EQ(MANTA_OK, mti_device_code_load(gpu(), &code)) << manta_error_message();
    const mti_kernel_t *kernel = mti_device_kernel(gpu(), "mine");
    ASSERT_NE(nullptr, kernel);
    ASSERT_EQ(4u, kernel->param_count);
    EXPECT_EQ(4u, kernel->param_bytes[0]);
    EXPECT_EQ(8u, kernel->param_bytes[3]);
    EXPECT_EQ(232448u, kernel->max_shared_bytes);
}

TEST_F(CudaDriverTest, WakeEndsABlock)
{
    mti_queue_t *q = queue();
    fake_cuda()->hold_stream(mti_queue_native(q), true);
    ASSERT_EQ(MANTA_OK, mti_queue_empty(q, MTI_OP_RECORD, nullptr));
    std::thread waker([&] { mti_device_wake(gpu()); });
    EXPECT_EQ(MANTA_OK, mti_device_block(gpu(), INT64_MAX));
    waker.join();
    fake_cuda()->hold_stream(mti_queue_native(q), false);
    ASSERT_TRUE(finish(q));
    EXPECT_EQ(MANTA_ERR_DEADLOCK, mti_device_block(gpu(), INT64_MAX));
    EXPECT_EQ(MANTA_NOT_READY, mti_device_block(gpu(), mti_clock_ns()));
}

TEST_F(CudaDriverTest, OpenThatFailsGivesEverythingBack)
{
    stop();
    fake_cuda_options_t options{};
    fake_cuda()->reset(&options);
    fake_cuda()->fail_host_register(1);
    mti_devices_options_t how{};
    how.sim_gpus = MTI_SIM_GPUS_NONE;
    ASSERT_EQ(MANTA_OK, mti_devices_create(&how, &set_));
    EXPECT_EQ(MANTA_ERR_OUT_OF_MEMORY, mti_device_open(gpu()));
    EXPECT_THAT(manta_error_message(), HasSubstr("cuda:0 (Fake GPU)"));
    EXPECT_EQ(std::vector<std::string>(), fake_leaks());
    EXPECT_EQ(MANTA_OK, mti_device_open(gpu())) << manta_error_message();
}

} // namespace
