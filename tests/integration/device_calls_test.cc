// How many driver calls tasks on a CUDA device cost: a launch each and, in the long run, nothing else. Counted by the
// fake driver, with a serial runtime, so that the counts are the same each time. Bounds are what the lane needs today
// plus a little; who raises one says why.
#include "fakes/fake_kernels.h"
#include "support/runtime_fixture.h"

#include <cstdio>
#include <cstdlib>
#include <numeric>

#include <dlfcn.h>

using namespace manta_testing;

MANTA_KERNEL(dc_add_kernel, int64_t, const int64_t *, int64_t *, size_t);
static void dc_add_twin(const manta_grid_t *, void *const *args)
{
    int64_t a = *static_cast<int64_t *>(args[0]);
    const int64_t *x = *static_cast<const int64_t **>(args[1]);
    int64_t *y = *static_cast<int64_t **>(args[2]);
    size_t n = *static_cast<size_t *>(args[3]);
    for (size_t i = 0; i < n; i++) // wraps around: long diamonds grow fast
        y[i] = static_cast<int64_t>(static_cast<uint64_t>(y[i]) +
                                    static_cast<uint64_t>(x ? x[i] : 1) * static_cast<uint64_t>(a));
}
MANTA_KERNEL_TWIN(dc_add_kernel, dc_add_twin);

MANTA_KERNEL(dc_twice_kernel, int64_t *, size_t);
static void dc_twice_twin(const manta_grid_t *, void *const *args)
{
    for (size_t i = 0; i < *static_cast<size_t *>(args[1]); i++)
        (*static_cast<int64_t **>(args[0]))[i] *= 2;
}
MANTA_KERNEL_TWIN(dc_twice_kernel, dc_twice_twin);

static const FakeCode fake_code("device_calls_test.fatbin",
                                {{&dc_twice_kernel_kernel,
                                  dc_twice_twin,
                                  {FAKE_CUDA_READ | FAKE_CUDA_WRITE, 0},
                                  [](uint32_t, const fake_cuda_shape_t *, void *const *args) {
                                      return *static_cast<size_t *>(args[1]) * sizeof(int64_t);
                                  }},
                                 {&dc_add_kernel_kernel,
                                  dc_add_twin,
                                  {0, FAKE_CUDA_READ, FAKE_CUDA_READ | FAKE_CUDA_WRITE, 0},
                                  [](uint32_t, const fake_cuda_shape_t *, void *const *args) {
                                      return *static_cast<size_t *>(args[3]) * sizeof(int64_t);
                                  }}});

#define dc_bump_PARAMS MANTA_INOUT(int64_t, y)
MANTA_TASK_DECLARE(dc_bump);
MANTA_CUDA(dc_bump)
{
    return MANTA_LAUNCH(dc_add_kernel, manta_grid_1d(y.count, 128), int64_t{1}, nullptr, y.data,
                        y.count);
}

#define dc_twice_PARAMS MANTA_INOUT(int64_t, y)
MANTA_TASK_DECLARE(dc_twice);
MANTA_CUDA(dc_twice)
{
    return MANTA_LAUNCH(dc_twice_kernel, manta_grid_1d(y.count, 128), y.data, y.count);
}

#define dc_add_PARAMS MANTA_IN(int64_t, x), MANTA_INOUT(int64_t, y)
MANTA_TASK_DECLARE(dc_add);
MANTA_CUDA(dc_add)
{
    return MANTA_LAUNCH(dc_add_kernel, manta_grid_1d(y.count, 128), int64_t{1}, x.data, y.data,
                        y.count);
}

#define dc_join_PARAMS MANTA_IN_LIST(int64_t, parts), MANTA_INOUT(int64_t, y)
MANTA_TASK_DECLARE(dc_join);
MANTA_CUDA(dc_join)
{
    manta_status_t status = MANTA_OK;
    for (size_t i = 0; i < parts.count && status == MANTA_OK; i++)
        status = MANTA_LAUNCH(dc_add_kernel, manta_grid_1d(y.count, 128), int64_t{1}, parts[i].data,
                              y.data, y.count);
    return status;
}

MANTA_TASK(dc_sums, MANTA_IN_LIST(int64_t, parts), MANTA_OUT(int64_t, sums, parts.count))
{
    for (size_t k = 0; k < parts.count; k++)
        sums[k] = std::accumulate(parts[k].begin(), parts[k].end(), int64_t{0});
    return MANTA_OK;
}

// A body that leaves another context current, as one that calls cudaSetDevice() does; and one that looks.
static void *g_stray_to; // nullptr: it does not
static int (*g_get_current)(void **);
static int (*g_set_current)(void *);
static std::vector<void *> g_seen;

static void *current_context()
{
    void *context = nullptr;
    EXPECT_EQ(0, g_get_current(&context));
    return context;
}

#define dc_stray_PARAMS MANTA_INOUT(int64_t, y)
MANTA_TASK_DECLARE(dc_stray);
MANTA_CUDA(dc_stray)
{
    manta_status_t status = MANTA_LAUNCH(dc_add_kernel, manta_grid_1d(y.count, 128), int64_t{1},
                                         nullptr, y.data, y.count);
    if (g_stray_to) {
        EXPECT_EQ(0, g_set_current(g_stray_to));
    }
    return status;
}

#define dc_look_PARAMS MANTA_INOUT(int64_t, y)
MANTA_TASK_DECLARE(dc_look);
MANTA_CUDA(dc_look)
{
    g_seen.push_back(current_context());
    return MANTA_LAUNCH(dc_add_kernel, manta_grid_1d(y.count, 128), int64_t{1}, nullptr, y.data,
                        y.count);
}

class DeviceCallsTest : public ::testing::Test
{
  protected:
    enum { N = 64 };

    void SetUp() override
    {
        fake_cuda_options_t fake = {};
        fake.devices = devices_;
        fake_cuda()->reset(&fake);
        manta_runtime_options_t options;
        manta_runtime_options_init(&options);
        options.workers = 0;
        options.sim_gpus = -1;
        options.log = Log::write;
        options.log_user = &log_;
        ASSERT_OK(manta_init(&options));
    }
    void TearDown() override
    {
        EXPECT_EQ(0u, stats_of(manta_runtime_default()).live_refs);
        EXPECT_OK(manta_shutdown(MANTA_S(60)));
        EXPECT_EQ(std::vector<std::string>(), fake_violations());
        EXPECT_EQ(std::vector<std::string>(), fake_leaks());
        EXPECT_TRUE(log_.take().empty());
    }

    static manta::ref<int64_t> put(int64_t value)
    {
        std::vector<int64_t> v(N, value);
        return manta_put(v.data(), v.size() * sizeof v[0]);
    }
    // On the device, with whatever that takes.
    static manta::ref<int64_t> put_there(int64_t value, int device = 0)
    {
        manta::ref<int64_t> y =
            dc_bump_with(MANTA_OPTIONS(.where = manta_gpu(device)), put(value - 1));
        wait(y);
        return y;
    }
    static void wait(manta_ref_t ref)
    {
        EXPECT_OK(manta_wait(&ref, 1, 1, MANTA_FOREVER, nullptr, nullptr));
        EXPECT_OK(manta_ref_status(ref));
    }
    static void start_counting() { fake_cuda()->calls_clear(); }
    static uint64_t calls(const char *name) { return fake_cuda()->calls(name); }
    // Without what depends on how long things take, the question that is asked each quiet millisecond, and
    // events that are made once and used again (64 on each queue at most).
    static uint64_t all_calls()
    {
        return calls(nullptr) - calls("cuStreamQuery") - calls("cuEventCreate");
    }
    static uint64_t launches() { return calls("cuLaunchKernelEx"); }
    static void expect_one_batch()
    {
        if (!fake_cuda()->has_call("cuMemcpyBatchAsync")) return; // built with old headers
        EXPECT_EQ(1u, calls("cuMemcpyBatchAsync")) << counts();
        EXPECT_EQ(0u, calls("cuMemcpyAsync")) << counts();
    }
    static std::string counts()
    {
        std::string text = "calls:";
        for (const char *name :
             {"cuLaunchKernelEx", "cuStreamWriteValue64", "cuEventCreate", "cuEventRecord",
              "cuStreamWaitEvent", "cuMemcpyAsync", "cuMemcpyBatchAsync", "cuMemcpyPeerAsync",
              "cuCtxGetCurrent", "cuCtxSetCurrent", "cuStreamQuery", "cuStreamCreateWithPriority",
              "cuMemAllocFromPoolAsync", "cuMemHostRegister"}) {
            if (calls(name)) text += " " + std::string(name) + " " + std::to_string(calls(name));
        }
        return text + "; all " + std::to_string(calls(nullptr));
    }

    uint32_t devices_ = 1;
    Log log_;
};

TEST_F(DeviceCallsTest, AChainCostsALaunchEach)
{
    MANTA_SCOPE();
    manta::ref<int64_t> y = put_there(1);
    enum { LENGTH = 640 };
    start_counting();
    for (int i = 0; i < LENGTH; i++)
        y = dc_bump_with(MANTA_OPTIONS(.where = MANTA_GPU), y);
    wait(y);
    EXPECT_EQ(uint64_t{LENGTH}, launches());
    // A record for 16 tasks; the thread's context is looked at for 32.
    EXPECT_LE(all_calls() - launches(), LENGTH / 4 + 8u) << counts();
    EXPECT_EQ(0u, calls("cuStreamWaitEvent")) << counts();
    EXPECT_EQ(0u, calls("cuMemcpyAsync")) << counts();
    EXPECT_EQ(1 + LENGTH, values_of<int64_t>(y)[N - 1]);
}

TEST_F(DeviceCallsTest, AChainThatReadsTheSameInputsCostsNoMore)
{
    MANTA_SCOPE();
    manta::ref<int64_t> y = put_there(1), x = put(2);
    enum { LENGTH = 320 };
    start_counting();
    for (int i = 0; i < LENGTH; i++)
        y = dc_add_with(MANTA_OPTIONS(.where = MANTA_GPU), x, y);
    wait(y);
    EXPECT_EQ(uint64_t{LENGTH}, launches());
    EXPECT_LE(calls("cuMemcpyAsync"), 1u) << counts();     // x, once
    EXPECT_LE(calls("cuStreamWaitEvent"), 1u) << counts(); // for it
    EXPECT_LE(all_calls() - launches(), LENGTH / 4 + 16u) << counts();
    EXPECT_EQ(1 + 2 * LENGTH, values_of<int64_t>(y)[0]);
}

// Every task is looked at by somebody, so each is recorded; nothing else.
TEST_F(DeviceCallsTest, AHeldVersionCostsACopyAndARecord)
{
    MANTA_SCOPE();
    manta::ref<int64_t> y = put_there(1);
    std::vector<manta::ref<int64_t>> held;
    enum { LENGTH = 128 };
    start_counting();
    for (int i = 0; i < LENGTH; i++) {
        held.push_back(manta_retain(y));
        y = dc_bump_with(MANTA_OPTIONS(.where = MANTA_GPU), y);
    }
    wait(y);
    EXPECT_EQ(uint64_t{LENGTH}, launches());
    EXPECT_EQ(uint64_t{LENGTH}, calls("cuMemcpyAsync")) << counts();
    EXPECT_LE(all_calls() - launches(), LENGTH * 2 + LENGTH / 4 + 16u) << counts();
    for (manta::ref<int64_t> &ref : held)
        EXPECT_OK(manta_release(ref));
}

TEST_F(DeviceCallsTest, AForkAndJoinWaitsOncePerQueue)
{
    MANTA_SCOPE();
    enum { ROUNDS = 10, WIDTH = 32, QUEUES = 8 };
    std::vector<manta::ref<int64_t>> leaves;
    for (int k = 0; k < WIDTH; k++)
        leaves.push_back(put_there(1));
    manta::ref<int64_t> root = put_there(1);
    start_counting();
    for (int i = 0; i < ROUNDS; i++) {
        std::vector<manta_ref_t> parts;
        for (int k = 0; k < WIDTH; k++)
            parts.push_back(leaves[k] =
                                dc_add_with(MANTA_OPTIONS(.where = MANTA_GPU), root, leaves[k]));
        root = dc_join_with(MANTA_OPTIONS(.where = MANTA_GPU), parts.data(), parts.size(), root);
    }
    wait(root);
    const uint64_t tasks = ROUNDS * (WIDTH + 1);
    EXPECT_EQ(uint64_t{ROUNDS * WIDTH * 2}, launches()) << counts();
    // Forked to the other queues, and joined from them: a wait each, and an event to wait for.
    EXPECT_LE(calls("cuStreamWaitEvent"), ROUNDS * 2 * (QUEUES - 1)) << counts();
    EXPECT_LE(calls("cuEventRecord"), ROUNDS * QUEUES) << counts();
    // Every leaf has a ref of the test's, so its end is recorded.
    EXPECT_LE(all_calls() - launches() - calls("cuStreamWaitEvent") - calls("cuEventRecord"),
              tasks + tasks / 4 + 2 * QUEUES)
        << counts();
    int64_t leaf = 1, want = 1;
    for (int i = 0; i < ROUNDS; i++) {
        leaf += want;
        want += WIDTH * leaf;
    }
    EXPECT_EQ(want, values_of<int64_t>(root)[N - 1]);
}

TEST_F(DeviceCallsTest, ADiamondWaitsTwice)
{
    MANTA_SCOPE();
    enum { ROUNDS = 100 };
    manta::ref<int64_t> a = put_there(1), b = put_there(1), c = put_there(1);
    start_counting();
    for (int i = 0; i < ROUNDS; i++) {
        a = dc_bump_with(MANTA_OPTIONS(.where = MANTA_GPU), a);
        b = dc_add_with(MANTA_OPTIONS(.where = MANTA_GPU), a, b);
        c = dc_add_with(MANTA_OPTIONS(.where = MANTA_GPU), a, c);
        a = dc_add_with(MANTA_OPTIONS(.where = MANTA_GPU), b, a);
        a = dc_add_with(MANTA_OPTIONS(.where = MANTA_GPU), c, a);
    }
    wait(a);
    EXPECT_EQ(uint64_t{ROUNDS * 5}, launches()) << counts();
    EXPECT_LE(calls("cuStreamWaitEvent"), 2u * ROUNDS + 4) << counts();
    EXPECT_LE(calls("cuEventRecord"), 2u * ROUNDS + 4) << counts();
    EXPECT_LE(all_calls() - launches() - calls("cuStreamWaitEvent") - calls("cuEventRecord"),
              ROUNDS * 5 / 4 + 32u)
        << counts();
}

// A kernel is on the device before anybody launches it: a driver that loads it at the first launch waits for all that
// runs, and the fake takes that for a violation.
TEST_F(DeviceCallsTest, TheFirstLaunchOfAKernelIsOneCall)
{
    MANTA_SCOPE();
    manta::ref<int64_t> y = put_there(1); // with another kernel
    start_counting();
    y = dc_twice_with(MANTA_OPTIONS(.where = MANTA_GPU), y);
    wait(y);
    EXPECT_EQ(1u, launches());
    for (const char *name : {"cuLibraryLoadData", "cuLibraryGetKernel", "cuKernelGetFunction",
                             "cuFuncLoad", "cuKernelSetAttribute"})
        EXPECT_EQ(0u, calls(name)) << name;
    EXPECT_EQ(2, values_of<int64_t>(y)[0]);
}

// Values inside the line of their object go along on the task's queue: a copy for all of them.
TEST_F(DeviceCallsTest, SmallArgumentsCostOneCopy)
{
    MANTA_SCOPE();
    manta::ref<int64_t> y = put_there(1);
    int64_t one = 1;
    enum { LENGTH = 64 };
    start_counting();
    for (int i = 0; i < LENGTH; i++) {
        manta_ref_t parts[] = {manta_put(&one, 8), manta_put(&one, 8), manta_put(&one, 8)};
        manta::ref<int64_t> z = put1<int64_t>(0);
        z = dc_join_with(MANTA_OPTIONS(.where = MANTA_GPU), parts, 3, z);
        y = z;
    }
    wait(y);
    EXPECT_EQ(3u * LENGTH, launches()) << counts();
    EXPECT_LE(calls("cuMemcpyAsync"), 2u * LENGTH) << counts(); // one more for the next version
    EXPECT_EQ(0u, calls("cuStreamWaitEvent")) << counts();
    EXPECT_EQ(3, value_of<int64_t>(y));
}

// Whatever their size, up to some MiB, and although the driver knows none of these bytes.
TEST_F(DeviceCallsTest, TheArgumentsOfATaskAreBroughtByOneCopy)
{
    MANTA_SCOPE();
    manta::ref<int64_t> y = put_there(0);
    std::vector<manta_ref_t> parts;
    std::vector<int64_t> bytes(40000, 3);
    for (size_t n : {64, 64, 1000, 30, 40000, 64, 5000, 12345})
        parts.push_back(manta_put(bytes.data(), std::max<size_t>(n, N) * sizeof bytes[0]));
    start_counting();
    y = dc_join_with(MANTA_OPTIONS(.where = MANTA_GPU), parts.data(), parts.size(), y);
    wait(y);
    expect_one_batch();
    EXPECT_LE(calls("cuStreamWaitEvent"), 1u) << counts();
    EXPECT_EQ(3 * 8, values_of<int64_t>(y)[N - 1]);
}

TEST_F(DeviceCallsTest, WhatIsPrefetchedTogetherIsOneCopy)
{
    MANTA_SCOPE();
    manta::ref<int64_t> y = put_there(0);
    std::vector<manta_ref_t> parts;
    for (int i = 0; i < 10; i++)
        parts.push_back(put(i));
    start_counting();
    for (manta_ref_t part : parts)
        ASSERT_OK(manta_prefetch(part, manta_gpu(0)));
    y = dc_join_with(MANTA_OPTIONS(.where = MANTA_GPU), parts.data(), parts.size(), y);
    wait(y);
    expect_one_batch();
    EXPECT_EQ(45, values_of<int64_t>(y)[0]);
}

TEST_F(DeviceCallsTest, WhatACpuTaskWantsIsFetchedByOneCopy)
{
    MANTA_SCOPE();
    enum { WIDTH = 12 };
    std::vector<manta_ref_t> parts;
    for (int k = 0; k < WIDTH; k++)
        parts.push_back(put_there(k));
    start_counting();
    manta::ref<int64_t> sums = dc_sums_remote(parts.data(), parts.size());
    wait(sums);
    expect_one_batch();
    for (int k = 0; k < WIDTH; k++)
        EXPECT_EQ(k * N, values_of<int64_t>(sums)[k]);
}

// With several devices a record leaves an event behind, too; a chain on one of them needs few.
class TwoDevicesCallsTest : public DeviceCallsTest
{
  protected:
    TwoDevicesCallsTest() { devices_ = 2; }
};

TEST_F(TwoDevicesCallsTest, AChainCostsALaunchEach)
{
    MANTA_SCOPE();
    manta::ref<int64_t> y = put_there(1, 1);
    enum { LENGTH = 640 };
    start_counting();
    for (int i = 0; i < LENGTH; i++)
        y = dc_bump_with(MANTA_OPTIONS(.where = manta_gpu(1)), y);
    wait(y);
    EXPECT_EQ(uint64_t{LENGTH}, launches());
    EXPECT_LE(all_calls() - launches(), LENGTH / 3 + 8u) << counts();
}

TEST_F(TwoDevicesCallsTest, AHandOverCostsACopyAndItsOrder)
{
    MANTA_SCOPE();
    manta::ref<int64_t> y = put_there(1, 0);
    wait(dc_bump_with(MANTA_OPTIONS(.where = manta_gpu(1)), put(1)));
    enum { HOPS = 64 };
    start_counting();
    for (int i = 0; i < HOPS; i++)
        y = dc_bump_with(MANTA_OPTIONS(.where = manta_gpu((i + 1) % 2)), y);
    wait(y);
    EXPECT_EQ(uint64_t{HOPS}, launches());
    EXPECT_EQ(uint64_t{HOPS}, calls("cuMemcpyPeerAsync")) << counts();
    EXPECT_LE(calls("cuStreamWaitEvent"), 3u * HOPS) << counts();
    EXPECT_EQ(1 + HOPS, values_of<int64_t>(y)[0]);
}

// ---- the thread's context ------------------------------------------------------------------------

class StrayTest : public DeviceCallsTest
{
  protected:
    StrayTest() { devices_ = 2; }
    void SetUp() override
    {
        DeviceCallsTest::SetUp();
        void *library = dlopen(getenv("MANTA_CUDA_LIBRARY"), RTLD_NOW | RTLD_LOCAL);
        ASSERT_NE(nullptr, library);
        typedef int (*get_t)(const char *, void **, int, uint64_t, void *);
        auto get = reinterpret_cast<get_t>(dlsym(library, "cuGetProcAddress_v2"));
        ASSERT_NE(nullptr, get);
        int found;
        enum { LEGACY_STREAM = 1 };
        void *function = nullptr;
        ASSERT_EQ(0, get("cuCtxGetCurrent", &function, 4000, LEGACY_STREAM, &found));
        g_get_current = reinterpret_cast<int (*)(void **)>(function);
        ASSERT_EQ(0, get("cuCtxSetCurrent", &function, 4000, LEGACY_STREAM, &found));
        g_set_current = reinterpret_cast<int (*)(void *)>(function);
        g_stray_to = nullptr;
        g_seen.clear();
        for (int i = 0; i < 2; i++) {
            MANTA_SCOPE();
            wait(dc_look_with(on(i), put(1)));
            ASSERT_EQ(i + 1u, g_seen.size());
            contexts_[i] = g_seen.back();
        }
        ASSERT_NE(contexts_[0], contexts_[1]);
        g_seen.clear();
        user_ = current_context();
    }
    void TearDown() override
    {
        EXPECT_EQ(user_, current_context()) << "the thread's own context";
        DeviceCallsTest::TearDown();
    }
    static manta_task_options_t on(int device) { return MANTA_OPTIONS(.where = manta_gpu(device)); }
    // The fake notes the calls that it refused, and the lane made again.
    static void take_refused()
    {
        for (const std::string &line : fake_violations())
            EXPECT_NE(std::string::npos, line.find("while the context of device 1 is current"))
                << line;
    }
    void expect_seen(size_t n)
    {
        EXPECT_EQ(n, g_seen.size());
        for (size_t i = 0; i < g_seen.size(); i++)
            EXPECT_EQ(contexts_[0], g_seen[i]) << "body " << i;
        g_seen.clear();
    }

    void *contexts_[2] = {};
    void *user_ = nullptr;
};

TEST_F(StrayTest, TheNextBodyFindsItsContext)
{
    MANTA_SCOPE();
    manta::ref<int64_t> y = put_there(1);
    g_stray_to = contexts_[1];
    for (int i = 0; i < 100; i++) {
        y = dc_stray_with(on(0), y);
        y = dc_look_with(on(0), y);
    }
    wait(y);
    expect_seen(100);
    EXPECT_EQ(201, values_of<int64_t>(y)[0]);
}

// Once it is trusted it is not looked after each time, but as a step ends, or when the driver refuses a call for that:
// what follows finds its context, and so does everybody for a while.
TEST_F(StrayTest, OneThatStraysLateIsNoticed)
{
    MANTA_SCOPE();
    manta::ref<int64_t> y = put_there(1);
    for (int round = 0; round < 3; round++) {
        g_stray_to = nullptr;
        for (int i = 0; i < 40; i++)
            y = dc_stray_with(on(0), y);
        wait(y);
        g_stray_to = contexts_[1];
        y = dc_stray_with(on(0), y);
        wait(y); // the end of that step at the latest
        EXPECT_EQ(user_, current_context());
        for (int i = 0; i < 8; i++) {
            y = dc_stray_with(on(0), y);
            y = dc_look_with(on(0), y);
        }
        wait(y);
        expect_seen(8);
    }
    take_refused();
}

// What is made in the device's name is made there, whoever was current: its memory, say.
TEST_F(StrayTest, MemoryAndQueuesAreMadeInTheRightContext)
{
    MANTA_SCOPE();
    manta::ref<int64_t> y = put_there(1);
    for (int i = 0; i < 40; i++)
        y = dc_stray_with(on(0), y);
    wait(y);
    std::vector<manta::ref<int64_t>> more;
    std::vector<int64_t> bytes(300000, 1); // chunks of their own
    g_stray_to = contexts_[1];
    for (int i = 0; i < 20; i++) {
        manta::ref<int64_t> x = manta_put(bytes.data(), bytes.size() * sizeof bytes[0]);
        more.push_back(dc_stray_with(on(0), x));
    }
    for (manta::ref<int64_t> &ref : more)
        EXPECT_EQ(2, values_of<int64_t>(ref)[299999]);
    take_refused();
}

TEST_F(StrayTest, TrustedBodiesCostALaunchEach)
{
    MANTA_SCOPE();
    manta::ref<int64_t> y = put_there(1);
    enum { LENGTH = 640 };
    start_counting();
    for (int i = 0; i < LENGTH; i++)
        y = dc_stray_with(on(0), y);
    wait(y);
    EXPECT_EQ(uint64_t{LENGTH}, launches());
    EXPECT_LE(calls("cuCtxGetCurrent"), LENGTH / 32 * 3 + 16u) << counts();
}
