// Tasks on devices: order, copies, versions, results, failures. On virtual GPUs, which run the kernels' CPU twins;
// and a second time (MANTA_CUDA_LIBRARY) on the CUDA driver over the fake library, which runs them, too.
#include "fakes/int_kernels.h"
#include "support/runtime_fixture.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <set>

using namespace manta_testing;

// ---- kernels and tasks ----------------------------------------------------------------------------

MANTA_KERNEL(dv_word_kernel, int32_t, int32_t *);
static void dv_word_twin(const manta_grid_t *, void *const *args)
{
    **static_cast<int32_t **>(args[1]) = *static_cast<int32_t *>(args[0]);
}
MANTA_KERNEL_TWIN(dv_word_kernel, dv_word_twin);

MANTA_KERNEL(dv_copy_kernel, const int64_t *, int64_t *, size_t, size_t,
             size_t); // from, to, first, step, n
static void dv_copy_twin(const manta_grid_t *, void *const *args)
{
    const int64_t *from = *static_cast<const int64_t **>(args[0]);
    int64_t *to = *static_cast<int64_t **>(args[1]);
    size_t first = *static_cast<size_t *>(args[2]), step = *static_cast<size_t *>(args[3]),
           n = *static_cast<size_t *>(args[4]);
    for (size_t i = 0; i < n; i++)
        to[i] = from[first + i * step];
}
MANTA_KERNEL_TWIN(dv_copy_kernel, dv_copy_twin);

MANTA_KERNEL(dv_sum_kernel, const int64_t *, int64_t *, size_t);
static void dv_sum_twin(const manta_grid_t *, void *const *args)
{
    const uint64_t *x = *static_cast<const uint64_t **>(args[0]); // wraps, as axpy_ints does
    **static_cast<uint64_t **>(args[1]) =
        std::accumulate(x, x + *static_cast<size_t *>(args[2]), uint64_t{0});
}
MANTA_KERNEL_TWIN(dv_sum_kernel, dv_sum_twin);

MANTA_KERNEL(dv_unknown_kernel, int64_t *); // no code object brings it

static const uint8_t kR = FAKE_CUDA_READ, kW = FAKE_CUDA_WRITE;
static const FakeCode
    fake_code("device_test.fatbin",
              {fake_axpy_ints(),
               fake_fill_ints(),
               {&dv_word_kernel_kernel,
                dv_word_twin,
                {0, kW},
                [](uint32_t, const fake_cuda_shape_t *, void *const *) { return sizeof(int32_t); }},
               {&dv_copy_kernel_kernel,
                dv_copy_twin,
                {kR, kW, 0, 0, 0},
                [](uint32_t i, const fake_cuda_shape_t *, void *const *args) {
                    size_t n = ints_extent(args, 4);
                    return i == 1 || n == 0 ? n
                                            : ints_extent(args, 2) +
                                                  (n - 8) * *static_cast<size_t *>(args[3]) + 8;
                }},
               {&dv_sum_kernel_kernel,
                dv_sum_twin,
                {kR, kW, 0},
                [](uint32_t i, const fake_cuda_shape_t *, void *const *args) {
                    return i == 1 ? sizeof(int64_t) : ints_extent(args, 2);
                }}});

#define dv_axpy_PARAMS MANTA_VAL(int64_t, a), MANTA_IN(int64_t, x), MANTA_INOUT(int64_t, y)
MANTA_TASK_DECLARE(dv_axpy);
MANTA_TASK(dv_axpy)
{
    for (size_t i = 0; i < y.count; i++)
        y[i] += a * x[i];
    return MANTA_OK;
}
MANTA_CUDA(dv_axpy)
{
    return MANTA_LAUNCH(axpy_ints, manta_grid_1d(y.count, 128), a, x.data, y.data, y.count);
}

#define dv_fill_PARAMS MANTA_VAL(int64_t, value), MANTA_VAL(uint64_t, n), MANTA_OUT(int64_t, y, n)
MANTA_TASK_DECLARE(dv_fill);
MANTA_TASK(dv_fill)
{
    std::fill_n(y.data, y.count, value);
    return MANTA_OK;
}
MANTA_CUDA(dv_fill)
{
    return MANTA_LAUNCH(fill_ints, manta_grid_1d(y.count, 128), value, y.data, y.count);
}

MANTA_TASK(dv_sum, MANTA_IN(int64_t, x), MANTA_OUT(int64_t, sum, 1))
{
    sum[0] = std::accumulate(x.begin(), x.end(), int64_t{0});
    return MANTA_OK;
}

#define dv_total_PARAMS MANTA_IN(int64_t, x), MANTA_OUT(int64_t, sum, 1)
MANTA_TASK_DECLARE(dv_total);
MANTA_TASK(dv_total)
{
    sum[0] = std::accumulate(x.begin(), x.end(), int64_t{0});
    return MANTA_OK;
}
MANTA_CUDA(dv_total)
{
    return MANTA_LAUNCH(dv_sum_kernel, manta_grid_1d(1, 1), x.data, sum.data, x.count);
}

#define dv_deal_PARAMS                                                                             \
    MANTA_IN(int64_t, x), MANTA_OUT(int64_t, odd, x.count / 2),                                    \
        MANTA_OUT(int64_t, even, x.count - x.count / 2)
MANTA_TASK_DECLARE(dv_deal);
MANTA_CUDA(dv_deal)
{
    manta_status_t status = MANTA_LAUNCH(dv_copy_kernel, manta_grid_1d(odd.count, 64), x.data,
                                         odd.data, size_t{1}, size_t{2}, odd.count);
    if (status != MANTA_OK) return status;
    return MANTA_LAUNCH(dv_copy_kernel, manta_grid_1d(even.count, 64), x.data, even.data, size_t{0},
                        size_t{2}, even.count);
}

#define dv_join_PARAMS MANTA_IN_LIST(int64_t, parts), MANTA_OUT(int64_t, y)
MANTA_TASK_DECLARE(dv_join);
MANTA_CUDA(dv_join)
{
    size_t n = 0;
    for (size_t i = 0; i < parts.count; i++)
        n += parts[i].count;
    manta_status_t status = manta_out_resize(y, n);
    int64_t *to = y.data;
    for (size_t i = 0; i < parts.count && status == MANTA_OK; i++) {
        status = MANTA_LAUNCH(dv_copy_kernel, manta_grid_1d(parts[i].count, 64), parts[i].data, to,
                              size_t{0}, size_t{1}, parts[i].count);
        to += parts[i].count;
    }
    return status;
}

MANTA_TASK(dv_split, MANTA_IN(int64_t, x), MANTA_OUT(int64_t, odd, x.count / 2),
           MANTA_OUT(int64_t, even, x.count - x.count / 2))
{
    for (size_t i = 0; i < x.count; i++)
        (i % 2 ? odd[i / 2] : even[i / 2]) = x[i];
    return MANTA_OK;
}

MANTA_TASK(dv_concat, MANTA_IN_LIST(int64_t, parts), MANTA_OUT(int64_t, y))
{
    size_t n = 0;
    for (size_t i = 0; i < parts.count; i++)
        n += parts[i].count;
    manta_status_t status = manta_out_resize(y, n);
    if (status != MANTA_OK) return status;
    int64_t *to = y.data;
    for (size_t i = 0; i < parts.count; i++)
        to = std::copy(parts[i].begin(), parts[i].end(), to);
    return MANTA_OK;
}

#define dv_mode_PARAMS MANTA_VAL(int, mode), MANTA_IN(int64_t, x), MANTA_OUT(int64_t, y, x.count)
MANTA_TASK_DECLARE(dv_mode);

enum {
    kUnknownKernel,
    kBlockTooLarge,
    kNothing,
    kWaits,
    kFails,
    kShrinks,
    kGrows,
    kWordZero,
    kWordBad
};

static manta_ref_t g_ref;
static std::atomic<int> g_made, g_destroyed;
static void *local_make(manta_task_t *)
{
    g_made++;
    return &g_made;
}
static void local_destroy(void *)
{
    g_destroyed++;
}

MANTA_CUDA(dv_mode)
{
    size_t n = x.count;
    switch (mode) {
    case kUnknownKernel:
        return MANTA_LAUNCH(dv_unknown_kernel, manta_grid_1d(n, 64), y.data);
    case kBlockTooLarge:
        return MANTA_LAUNCH(fill_ints, manta_grid_1d(n, 1 << 20), int64_t{1}, y.data, n);
    case kNothing:
        return MANTA_OK;
    case kWaits: {
        manta_view_t view;
        return manta_get(g_ref, &view, MANTA_FOREVER);
    }
    case kFails:
        return manta_fail(task, MANTA_ERR_USER + 7, "not today");
    case kShrinks:
        n = 3;
        break;
    case kGrows:
        n = x.count * 100;
        break;
    default:
        break;
    }
    if (n != y.count) {
        manta_status_t status = manta_out_resize(y, n);
        if (status != MANTA_OK) return status;
    }
    if (mode == kWordZero || mode == kWordBad) {
        int32_t *word = static_cast<int32_t *>(manta_scratch(task, 4));
        static const char key = 0;
        if (!word || !manta_queue_local(task, &key, local_make, local_destroy))
            return MANTA_ERR_RESOURCE_EXHAUSTED;
        manta_status_t status =
            MANTA_LAUNCH(dv_word_kernel, manta_grid_1d(1, 1), mode == kWordBad ? 42 : 0, word);
        if (status == MANTA_OK) status = manta_status_word(task, word);
        if (status != MANTA_OK) return status;
    }
    return MANTA_LAUNCH(fill_ints, manta_grid_1d(n, 64), int64_t{5}, y.data, n);
}

MANTA_TASK(dv_forward, MANTA_VAL(manta_ref_t, what), MANTA_OUT(int64_t, y, 0))
{
    return manta_forward(task, what);
}

// ---- the machines ---------------------------------------------------------------------------------

enum Kind { kThreads, kVirtual, kCuda, kCudaEvents, kCudaApart };

struct Machine {
    int workers, gpus;
    Kind kind;
};

class DeviceTest : public ::testing::TestWithParam<Machine>
{
  protected:
    void SetUp() override { start(GetParam().gpus); }
    // |gpus| < 0: none.
    void start(int gpus)
    {
        if (is_cuda()) {
            fake_cuda_options_t fake = {};
            fake.devices = static_cast<uint32_t>(gpus > 0 ? gpus : 1);
            fake.no_words = GetParam().kind == kCudaEvents;
            fake.no_peers = GetParam().kind == kCudaApart;
            fake_cuda()->reset(&fake);
        }
        manta_runtime_options_t options;
        manta_runtime_options_init(&options);
        options.workers = GetParam().workers;
        options.sim_gpus = is_cuda() ? -1 : gpus;
        options.sim_virtual_clock = GetParam().kind == kVirtual;
        options.no_cuda = !is_cuda() || gpus < 0;
        options.log = Log::write;
        options.log_user = &log_;
        ASSERT_OK(manta_init(&options));
    }
    void stop()
    {
        ASSERT_OK(manta_shutdown(MANTA_S(60)));
        if (!is_cuda()) return;
        EXPECT_EQ(std::vector<std::string>(), fake_violations());
        EXPECT_EQ(std::vector<std::string>(), fake_leaks());
    }
    void TearDown() override
    {
        manta_stats_t stats = stats_of(manta_runtime_default());
        EXPECT_EQ(0u, stats.live_refs) << printed_refs(manta_runtime_default());
        stop();
        EXPECT_TRUE(log_.take().empty());
    }
    bool is_cuda() const { return GetParam().kind >= kCuda; }
    int gpus() const { return GetParam().gpus; }
    manta_where_t gpu(int i) const { return manta_gpu(i % gpus()); }

    Log log_;
};

static std::vector<Machine> machines()
{
    if (has_fake_cuda())
        return {{0, 1, kCuda},       {1, 1, kCuda},      {2, 3, kCuda}, {0, 2, kCuda},
                {2, 2, kCudaEvents}, {2, 2, kCudaApart}, {2, 1, kCuda}};
    return {{0, 1, kVirtual}, {0, 3, kVirtual}, {0, 1, kThreads}, {1, 1, kThreads},
            {2, 3, kThreads}, {1, 2, kVirtual}, {2, 1, kThreads}};
}
static std::string machine_name(const ::testing::TestParamInfo<Machine> &at)
{
    static const char *const kinds[] = {"", "virtual", "cuda", "cudaEvents", "cudaApart"};
    return std::to_string(at.param.workers) + "workers" + std::to_string(at.param.gpus) + "gpus" +
           kinds[at.param.kind];
}
INSTANTIATE_TEST_SUITE_P(Machines, DeviceTest, ::testing::ValuesIn(machines()), machine_name);

// Only a virtual GPU can run a CPU body.
#define SKIP_ON_CUDA()                                                                             \
    if (is_cuda()) GTEST_SKIP() << "CUDA devices run no CPU bodies"

static std::vector<int64_t> iota(size_t n, int64_t first = 0)
{
    std::vector<int64_t> v(n);
    std::iota(v.begin(), v.end(), first);
    return v;
}
static manta::ref<int64_t> put(const std::vector<int64_t> &v)
{
    return manta_put(v.data(), v.size() * sizeof v[0]);
}

// ---- order and copies ------------------------------------------------------------------------------

TEST_P(DeviceTest, GpusAreCountedAndDescribed)
{
    EXPECT_EQ(gpus(), manta_gpu_count(manta_runtime_default()));
    manta_gpu_info_t info = {};
    info.struct_size = sizeof info;
    ASSERT_OK(manta_gpu_describe(manta_runtime_default(), 0, &info));
    EXPECT_EQ(!is_cuda(), info.is_virtual);
    EXPECT_FALSE(info.is_lost);
    EXPECT_GT(info.memory_bytes, 0u);
    EXPECT_STATUS(MANTA_ERR_OUT_OF_RANGE,
                  manta_gpu_describe(manta_runtime_default(), gpus(), &info));
}

TEST_P(DeviceTest, ChainUpdatesInPlaceAndInOrder)
{
    MANTA_SCOPE();
    manta::ref<int64_t> x = put(iota(1000)), y = put(std::vector<int64_t>(1000, 1));
    for (int i = 0; i < 200; i++)
        y = dv_axpy_with(MANTA_OPTIONS(.where = gpu(0)), 1, x, y);
    std::vector<int64_t> got = values_of<int64_t>(y);
    ASSERT_EQ(1000u, got.size());
    for (size_t i = 0; i < got.size(); i++)
        ASSERT_EQ(1 + 200 * (int64_t)i, got[i]);
}

TEST_P(DeviceTest, WorkMovesBetweenAllGpusAndTheHost)
{
    MANTA_SCOPE();
    manta::ref<int64_t> x = put(iota(100)), y = put(iota(100));
    for (int i = 0; i < 60; i++) {
        manta_where_t where = i % 4 == 3 ? MANTA_CPU : gpu(i);
        y = dv_axpy_with(MANTA_OPTIONS(.where = where), 1, x, y);
    }
    std::vector<int64_t> got = values_of<int64_t>(y);
    for (size_t i = 0; i < 100; i++)
        ASSERT_EQ(61 * (int64_t)i, got[i]);
}

TEST_P(DeviceTest, CpuBodyRunsInThePlaceOfAKernel)
{
    SKIP_ON_CUDA();
    MANTA_SCOPE();
    manta::ref<int64_t> y = dv_fill_with(MANTA_OPTIONS(.where = MANTA_GPU), 3, 500);
    manta::ref<int64_t> sum = dv_sum_with(MANTA_OPTIONS(.where = MANTA_GPU), y);
    EXPECT_EQ(1500, value_of<int64_t>(sum));
    EXPECT_EQ(1500, value_of<int64_t>(dv_sum_remote(y)));
}

// The argument closes between the looks of a submit, its bytes on the device only: the task must not run yet.
TEST_P(DeviceTest, AConsumerThatComesJustAsItsArgumentIsDoneFindsTheBytes)
{
    int pause = 1000;
    for (int round = 0; round < (kSanitized ? 300 : 3000); round++) {
        manta::ref<int64_t> x = dv_fill_with(MANTA_OPTIONS(.where = gpu(0)), round, 3);
        for (int i = 0; i < pause; i++) {
            if (i % 64 == 0) (void)manta_ref_status(x); // a little time
        }
        bool late = manta_ref_status(x) == MANTA_OK;
        pause = std::clamp(late ? pause - pause / 64 - 1 : pause + pause / 64 + 1, 1, 20000);
        manta::ref<int64_t> sum = dv_sum_remote(x);
        ASSERT_EQ(3 * round, value_of<int64_t>(sum)) << "round " << round;
        EXPECT_OK(manta_release(x));
        EXPECT_OK(manta_release(sum));
    }
}

TEST_P(DeviceTest, FanInFanOut)
{
    MANTA_SCOPE();
    manta::ref<int64_t> x = dv_fill_with(MANTA_OPTIONS(.where = gpu(0)), 1, 64);
    std::vector<manta_ref_t> leaves;
    for (int i = 0; i < 40; i++) {
        manta::ref<int64_t> y = dv_fill_with(MANTA_OPTIONS(.where = gpu(i)), i, 64);
        leaves.push_back(dv_axpy_with(MANTA_OPTIONS(.where = gpu(i + 1)), 2, x, y));
    }
    manta::ref<int64_t> all =
        dv_join_with(MANTA_OPTIONS(.where = gpu(2)), leaves.data(), leaves.size());
    EXPECT_EQ(64 * (40 * 39 / 2 + 40 * 2), value_of<int64_t>(dv_sum_remote(all)));
    if (is_cuda()) return;
    all = dv_concat_with(MANTA_OPTIONS(.where = gpu(1)), leaves.data(), leaves.size());
    EXPECT_EQ(64 * (40 * 39 / 2 + 40 * 2), value_of<int64_t>(dv_sum_remote(all)));
}

TEST_P(DeviceTest, AHeldVersionKeepsItsValue)
{
    MANTA_SCOPE();
    manta::ref<int64_t> x = put(iota(50)), y = put(iota(50));
    std::vector<manta::ref<int64_t>> versions;
    for (int i = 0; i < 20; i++) {
        versions.push_back(manta_retain(y));
        y = dv_axpy_with(MANTA_OPTIONS(.where = gpu(i)), 1, x, y);
    }
    for (size_t v = 0; v < versions.size(); v++) {
        std::vector<int64_t> got = values_of<int64_t>(versions[v]);
        ASSERT_EQ(50u, got.size());
        for (size_t i = 0; i < 50; i++)
            ASSERT_EQ((int64_t)((v + 1) * i), got[i]) << "version " << v;
        manta_release(versions[v]);
    }
}

TEST_P(DeviceTest, ReadersBeforeAnUpdateSeeTheOldVersion)
{
    MANTA_SCOPE();
    manta::ref<int64_t> one = put(std::vector<int64_t>(256, 1));
    manta::ref<int64_t> y = dv_fill_with(MANTA_OPTIONS(.where = gpu(0)), 0, 256);
    std::vector<manta::ref<int64_t>> seen;
    for (int i = 0; i < 50; i++) {
        manta::ref<int64_t> copy = dv_fill_with(MANTA_OPTIONS(.where = gpu(0)), 0, 256);
        seen.push_back(dv_axpy_with(MANTA_OPTIONS(.where = gpu(0)), 1, y, copy));
        y = dv_axpy_with(MANTA_OPTIONS(.where = gpu(0)), 1, one, y);
    }
    for (int i = 0; i < 50; i++)
        EXPECT_EQ(256 * i, value_of<int64_t>(dv_sum_remote(seen[i])));
}

TEST_P(DeviceTest, SmallAndEmptyValues)
{
    MANTA_SCOPE();
    for (size_t n : {0u, 1u, 2u, 3u}) {
        manta::ref<int64_t> x = put(iota(n, 1)), y = put(iota(n, 1));
        for (int i = 0; i < 5; i++)
            y = dv_axpy_with(MANTA_OPTIONS(.where = gpu(i)), 1, x, y);
        std::vector<int64_t> got = values_of<int64_t>(y);
        ASSERT_EQ(n, got.size());
        for (size_t i = 0; i < n; i++)
            EXPECT_EQ(6 * (int64_t)(i + 1), got[i]);
    }
}

TEST_P(DeviceTest, SeveralResults)
{
    MANTA_SCOPE();
    dv_deal_out_t dealt = dv_deal_with(MANTA_OPTIONS(.where = gpu(1)), put(iota(101)));
    EXPECT_EQ(2500, value_of<int64_t>(dv_total_with(MANTA_OPTIONS(.where = gpu(0)), dealt.odd)));
    EXPECT_EQ(2550, value_of<int64_t>(dv_sum_remote(dealt.even)));
    if (is_cuda()) return;
    dv_split_out_t parts = dv_split_with(MANTA_OPTIONS(.where = gpu(1)), put(iota(101)));
    EXPECT_EQ(2500, value_of<int64_t>(dv_sum_with(MANTA_OPTIONS(.where = gpu(0)), parts.odd)));
    EXPECT_EQ(2550, value_of<int64_t>(dv_sum_remote(parts.even)));
}

TEST_P(DeviceTest, LargeValuesGoThroughTheRing)
{
    MANTA_SCOPE();
    const size_t n = 3000000; // 24 MB: more than the pinned ring
    manta::ref<int64_t> x = put(iota(n)), y = dv_fill_with(MANTA_OPTIONS(.where = gpu(0)), 0, n);
    y = dv_axpy_with(MANTA_OPTIONS(.where = gpu(0)), 2, x, y);
    EXPECT_EQ((int64_t)(n * (n - 1)), value_of<int64_t>(dv_sum_remote(y)));
}

// ---- where the bytes are --------------------------------------------------------------------------

TEST_P(DeviceTest, ResultsStayOnTheDeviceUntilSomebodyWantsThem)
{
    MANTA_SCOPE();
    manta::ref<int64_t> y = dv_fill_with(MANTA_OPTIONS(.where = gpu(gpus() - 1)), 4, 100);
    manta_ref_t ref = y;
    ASSERT_OK(manta_wait(&ref, 1, 1, MANTA_FOREVER, nullptr, nullptr));
    bool host = true;
    uint64_t on = 0;
    ASSERT_OK(manta_where(y, &host, &on));
    EXPECT_FALSE(host);
    EXPECT_EQ(1ull << (gpus() - 1), on);
    EXPECT_EQ(400, value_of<int64_t>(dv_sum_remote(y)));
    ASSERT_OK(manta_where(y, &host, &on));
    EXPECT_TRUE(host);
    EXPECT_EQ(1ull << (gpus() - 1), on);
}

TEST_P(DeviceTest, PrefetchBringsThemToTheHost)
{
    MANTA_SCOPE();
    manta::ref<int64_t> y = dv_fill_with(MANTA_OPTIONS(.where = gpu(0)), 4, 100);
    manta_ref_t ref = y;
    ASSERT_OK(manta_wait(&ref, 1, 1, MANTA_FOREVER, nullptr, nullptr));
    ASSERT_OK(manta_prefetch(y, MANTA_CPU));
    EXPECT_EQ(4, values_of<int64_t>(y)[99]);
}

TEST_P(DeviceTest, PrefetchBringsThemToEveryDevice)
{
    MANTA_SCOPE();
    std::vector<int64_t> values = iota(5000);
    manta::ref<int64_t> from_host = put(values);
    manta::ref<int64_t> there = dv_fill_with(MANTA_OPTIONS(.where = gpu(0)), 4, 100);
    manta_ref_t ref = there;
    ASSERT_OK(manta_wait(&ref, 1, 1, MANTA_FOREVER, nullptr, nullptr));
    for (int i = 0; i < gpus(); i++) {
        ASSERT_OK(manta_prefetch(from_host, gpu(i)));
        ASSERT_OK(manta_prefetch(there, gpu(i)));
    }
    uint64_t all = (uint64_t{1} << gpus()) - 1;
    for (manta_ref_t one : {(manta_ref_t)from_host, (manta_ref_t)there}) {
        bool host;
        uint64_t on = 0;
        while (on != all) { // the watchdog ends it
            ASSERT_OK(manta_where(one, &host, &on));
            for (int i = 0; i < gpus(); i++) // a serial runtime does things while somebody waits
                EXPECT_EQ(5, value_of<int64_t>(dv_total_with(
                                 MANTA_OPTIONS(.where = gpu(i)),
                                 dv_fill_with(MANTA_OPTIONS(.where = gpu(i)), 1, 5))));
        }
    }
    for (int i = 0; i < gpus(); i++) {
        EXPECT_EQ(5000 * 4999 / 2,
                  value_of<int64_t>(dv_total_with(MANTA_OPTIONS(.where = gpu(i)), from_host)));
        EXPECT_EQ(400, value_of<int64_t>(dv_total_with(MANTA_OPTIONS(.where = gpu(i)), there)));
    }
    EXPECT_OK(manta_prefetch(there, MANTA_GPU));
    EXPECT_OK(manta_prefetch(put1<int64_t>(1), MANTA_GPU)); // small: nothing to do
    // Let go at once, also by an update in place.
    for (int i = 0; i < 20; i++) {
        manta::ref<int64_t> x = put(values), y = put(values);
        EXPECT_OK(manta_prefetch(x, gpu(i)));
        EXPECT_OK(manta_prefetch(y, gpu(i + 1)));
        y = dv_axpy_with(MANTA_OPTIONS(.where = gpu(i + 1)), 1, x, y);
        manta_release(x);
        if (i % 2) {
            EXPECT_EQ(2 * 4999, values_of<int64_t>(y)[4999]);
        }
        manta_release(y);
    }
    manta::ref<int64_t> pending = manta_promise_create(MANTA_DTYPE(MANTA_I64, 8));
    EXPECT_STATUS(MANTA_NOT_READY, manta_prefetch(pending, gpu(0)));
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE, manta_prefetch(there, manta_gpu(50)));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_prefetch(there, MANTA_ANY));
    manta_release(pending);
}

TEST_P(DeviceTest, SlicesAndForwardsOfWhatIsOnADevice)
{
    MANTA_SCOPE();
    manta::ref<int64_t> x = put(iota(100)),
                        y = dv_fill_with(MANTA_OPTIONS(.where = gpu(0)), 0, 100);
    y = dv_axpy_with(MANTA_OPTIONS(.where = gpu(0)), 1, x, y);
    manta::ref<int64_t> forwarded = dv_forward_remote(y);
    EXPECT_EQ(4950, value_of<int64_t>(dv_sum_remote(forwarded)));
    manta::ref<int64_t> slice = manta_slice(y, 80, 160);
    EXPECT_EQ(iota(20, 10), values_of<int64_t>(slice));
    manta::ref<int64_t> zero = dv_fill_with(MANTA_OPTIONS(.where = gpu(0)), 0, 20);
    EXPECT_EQ(390, value_of<int64_t>(dv_sum_remote(
                       dv_axpy_with(MANTA_OPTIONS(.where = gpu(1)), 1, slice, zero))));
}

TEST_P(DeviceTest, CallbacksAndQueuesHearOfResultsOnDevices)
{
    MANTA_SCOPE();
    static std::atomic<int> called;
    called = 0;
    manta::ref<int64_t> y = dv_fill_with(MANTA_OPTIONS(.where = gpu(0)), 1, 10);
    ASSERT_OK(manta_on_ready(
        y, [](manta_ref_t, manta_status_t status, void *) { called += status == MANTA_OK; },
        nullptr));
    EXPECT_EQ(10, value_of<int64_t>(dv_sum_remote(y)));
    ASSERT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(1, called);
}

TEST_P(DeviceTest, ACompletionQueueIsEnoughToWaitWith)
{
    MANTA_SCOPE();
    manta_cq_t cq;
    ASSERT_OK(manta_cq_create(&cq));
    manta::ref<int64_t> x = put(iota(100)), y = put(iota(100));
    for (int i = 0; i < 20; i++) {
        y = dv_axpy_with(MANTA_OPTIONS(.where = gpu(i)), 1, x, y);
        manta::ref<int64_t> sum = dv_sum_remote(y);
        ASSERT_OK(manta_cq_add(cq, sum, (uint64_t)i));
    }
    uint64_t seen = 0;
    while (seen != (1u << 20) - 1) {
        manta_cq_entry_t entries[8];
        size_t count = 0;
        ASSERT_OK(manta_cq_next(cq, entries, 8, &count, MANTA_FOREVER));
        for (size_t i = 0; i < count; i++) {
            EXPECT_OK(entries[i].status);
            seen |= (uint64_t)1 << entries[i].tag;
        }
    }
    manta_cq_destroy(cq);
}

// ---- bodies -----------------------------------------------------------------------------------------

TEST_P(DeviceTest, BodiesSizeTheirResults)
{
    MANTA_SCOPE();
    manta::ref<int64_t> x = put(iota(10));
    EXPECT_EQ(std::vector<int64_t>(3, 5), values_of<int64_t>(dv_mode_remote(kShrinks, x)));
    EXPECT_EQ(std::vector<int64_t>(1000, 5), values_of<int64_t>(dv_mode_remote(kGrows, x)));
}

TEST_P(DeviceTest, TheStatusWordDecides)
{
    g_made = g_destroyed = 0;
    {
        MANTA_SCOPE();
        manta::ref<int64_t> x = put(iota(10));
        EXPECT_EQ(std::vector<int64_t>(10, 5), values_of<int64_t>(dv_mode_remote(kWordZero, x)));
        manta::ref<int64_t> bad = dv_mode_remote(kWordBad, x);
        EXPECT_STATUS(MANTA_ERR_USER + 42,
                      manta_wait(&bad, 1, 1, MANTA_FOREVER, nullptr, nullptr) == MANTA_OK
                          ? manta_ref_status(bad)
                          : MANTA_NOT_READY);
        EXPECT_NE(std::string::npos, printed_error(bad).find("42")) << printed_error(bad);
    }
    EXPECT_GT(g_made, 0);
    EXPECT_EQ(0, g_destroyed);
    stop();
    EXPECT_EQ(g_made, g_destroyed);
    start(gpus());
}

// ---- failures ---------------------------------------------------------------------------------------

// Known when the stream has come there, with all of the chain submitted behind it; each version is held by the
// next task alone.
TEST_P(DeviceTest, ALateFailureRunsDownAChainThatNobodyElseHolds)
{
    for (int round = 0; round < 20; round++) {
        MANTA_SCOPE();
        manta::ref<int64_t> x = put(iota(10));
        manta::ref<int64_t> y = dv_mode_with(MANTA_OPTIONS(.where = gpu(0)), kWordBad, x);
        for (int i = 0; i < 10; i++)
            y = dv_axpy_with(MANTA_OPTIONS(.where = gpu(i / 4)), 1, x, y);
        manta::ref<int64_t> sum = dv_sum_remote(y);
        manta_view_t view = {};
        EXPECT_STATUS(MANTA_ERR_USER + 42, manta_get(sum, &view, MANTA_FOREVER));
        std::string text = printed_error(sum);
        EXPECT_NE(std::string::npos, text.find("task dv_mode")) << text;
        EXPECT_NE(std::string::npos, text.find("task dv_axpy: its argument y failed")) << text;
    }
}

TEST_P(DeviceTest, MistakesInABodyFailTheTaskAndSayWhat)
{
    MANTA_SCOPE();
    manta::ref<int64_t> x = put(iota(10));
    g_ref = x;
    struct {
        int mode;
        manta_status_t code;
        const char *says;
    } const cases[] = {{kUnknownKernel, MANTA_ERR_NOT_FOUND, "dv_unknown_kernel"},
                       {kBlockTooLarge, MANTA_ERR_OUT_OF_RANGE, "fill_ints"},
                       {kNothing, MANTA_ERR_INVALID_ARGUMENT, "enqueued nothing"},
                       {kWaits, MANTA_ERR_NOT_ALLOWED_HERE, ""},
                       {kFails, MANTA_ERR_USER + 7, "not today"}};
    for (const auto &at : cases) {
        manta::ref<int64_t> y = dv_mode_remote(at.mode, x);
        manta::ref<int64_t> after =
            dv_axpy_with(MANTA_OPTIONS(.where = gpu(0)), 1, x, manta_retain(y));
        manta::ref<int64_t> sum = dv_sum_remote(after);
        int64_t value;
        EXPECT_STATUS(at.code, manta_read(sum, &value, sizeof value, MANTA_FOREVER));
        EXPECT_STATUS(at.code, manta_ref_status(y));
        std::string text = printed_error(sum);
        EXPECT_NE(std::string::npos, text.find(at.says)) << text;
        EXPECT_NE(std::string::npos, text.find("dv_mode")) << text;
    }
    EXPECT_EQ(
        10, value_of<int64_t>(dv_sum_remote(dv_fill_with(MANTA_OPTIONS(.where = gpu(0)), 1, 10))));
}

TEST_P(DeviceTest, OutOfDeviceMemoryIsAnErrorOfThatTaskOnly)
{
    MANTA_SCOPE();
    manta::ref<int64_t> y = dv_fill_with(MANTA_OPTIONS(.where = gpu(0)), 1, uint64_t{1} << 42);
    manta_view_t view;
    EXPECT_STATUS(MANTA_ERR_OUT_OF_MEMORY, manta_get(y, &view, MANTA_FOREVER));
    std::string text = printed_error(y);
    EXPECT_NE(std::string::npos, text.find("35184372088832 bytes")) << text;
    EXPECT_NE(std::string::npos, text.find(is_cuda() ? "cuda:0" : "sim:0")) << text;
    EXPECT_EQ(
        10, value_of<int64_t>(dv_sum_remote(dv_fill_with(MANTA_OPTIONS(.where = gpu(0)), 1, 10))));
}

TEST_P(DeviceTest, WhatNoDeviceHereCanDoIsRefused)
{
    MANTA_SCOPE();
    manta::ref<int64_t> y = dv_fill_with(MANTA_OPTIONS(.where = manta_gpu(99)), 1, 10);
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE, manta_ref_status(y));
    EXPECT_NE(nullptr, strstr(manta_error_message(), "GPU 99"));
    manta::ref<int64_t> x = put(iota(3));
    y = dv_mode_with(MANTA_OPTIONS(.where = MANTA_CPU), kGrows, x);
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE, manta_ref_status(y));
    if (!is_cuda()) return;
    y = dv_sum_with(MANTA_OPTIONS(.where = MANTA_GPU), x);
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE, manta_ref_status(y));
    EXPECT_NE(nullptr, strstr(manta_error_message(), "no CUDA body"));
}

TEST_P(DeviceTest, WithoutAGpuTasksRunOnCpus)
{
    stop();
    start(-1);
    MANTA_SCOPE();
    EXPECT_EQ(0, manta_gpu_count(manta_runtime_default()));
    EXPECT_EQ(10, value_of<int64_t>(dv_sum_remote(dv_fill_remote(1, 10))));
    manta::ref<int64_t> y = dv_fill_with(MANTA_OPTIONS(.where = MANTA_GPU), 1, 10);
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE, manta_ref_status(y));
}

// ---- priorities, and arguments that may fail ------------------------------------------------------------

static std::mutex g_order_lock;
static std::vector<int64_t> g_order; // guarded by g_order_lock
MANTA_KERNEL(dv_order_kernel, int64_t, int64_t *);
static void dv_order_twin(const manta_grid_t *, void *const *args)
{
    std::lock_guard<std::mutex> hold(g_order_lock);
    g_order.push_back(**static_cast<int64_t **>(args[1]) = *static_cast<int64_t *>(args[0]));
}
MANTA_KERNEL_TWIN(dv_order_kernel, dv_order_twin);
static const FakeCode order_code("device_test_order.fatbin",
                                 {{&dv_order_kernel_kernel,
                                   dv_order_twin,
                                   {0, kW},
                                   [](uint32_t, const fake_cuda_shape_t *, void *const *) {
                                       return sizeof(int64_t);
                                   }}});

#define dv_order_PARAMS MANTA_VAL(int64_t, id), MANTA_IN(int64_t, gate), MANTA_OUT(int64_t, y, 1)
MANTA_TASK_DECLARE(dv_order);
MANTA_CUDA(dv_order)
{
    (void)gate;
    return MANTA_LAUNCH(dv_order_kernel, manta_grid_1d(1, 1), id, y.data);
}

// Where in the order |id| was.
static size_t place_of(int64_t id)
{
    std::lock_guard<std::mutex> hold(g_order_lock);
    return (size_t)(std::find(g_order.begin(), g_order.end(), id) - g_order.begin());
}

TEST_P(DeviceTest, HigherBandsAreSubmittedFirstAndLowOnesLast)
{
    if (GetParam().workers != 0) GTEST_SKIP() << "the lanes' thread begins before all is there";
    MANTA_SCOPE();
    enum { NORMAL = 300 };
    g_order.clear();
    int64_t one = 1;
    manta::ref<int64_t> gate = manta_promise_create(MANTA_DTYPE(MANTA_I64, 8));
    manta_task_options_t o = MANTA_OPTIONS(.where = gpu(0));
    std::vector<manta_ref_t> refs;
    auto submit = [&](int64_t id, manta_priority_t priority) {
        o.priority = priority;
        refs.push_back(dv_order_with(o, id, gate));
    };
    submit(-1, MANTA_PRIORITY_LOW);
    for (int i = 0; i < NORMAL; i++)
        submit(i, MANTA_PRIORITY_NORMAL);
    submit(1000, MANTA_PRIORITY_HIGH);
    submit(2000, MANTA_PRIORITY_URGENT);
    submit(2001, MANTA_PRIORITY_URGENT);
    ASSERT_OK(manta_promise_set(gate, &one, sizeof one));
    ASSERT_OK(manta_wait(refs.data(), refs.size(), refs.size(), MANTA_FOREVER, nullptr, nullptr));
    ASSERT_EQ((size_t)NORMAL + 4, g_order.size());
    EXPECT_LT(place_of(2000), place_of(2001));
    EXPECT_LT(place_of(2001), place_of(1000));
    // How queues run beside each other is known on the virtual clock only.
    if (GetParam().kind != kVirtual) return;
    EXPECT_LT(place_of(1000), NORMAL / 2u); // all were behind them
    // It was before all, and comes when every 64th is picked from below.
    EXPECT_GT(place_of(-1), 30u);
}

#define dv_any_PARAMS MANTA_IN(int64_t, x), MANTA_IN_LIST(int64_t, parts), MANTA_OUT(int64_t, y, 1)
MANTA_TASK_DECLARE(dv_any);
MANTA_CUDA(dv_any)
{
    int64_t got = (x.count ? 1 : 0) + (manta_arg_status(task, 0) == MANTA_OK ? 10 : 0);
    for (size_t i = 0; i < parts.count; i++)
        got += parts[i].count ? 100 : 0;
    return MANTA_LAUNCH(fill_ints, manta_grid_1d(1, 1), got, y.data, size_t{1});
}

TEST_P(DeviceTest, FailedArgumentsThatAreAcceptedAreEmpty)
{
    MANTA_SCOPE();
    manta::ref<int64_t> x = put(iota(10));
    for (int mode : {(int)kFails, (int)kNothing, (int)kWordBad}) {
        manta_task_options_t o = MANTA_OPTIONS(.where = gpu(1), .accept_failed = MANTA_ACCEPT_ALL);
        // The last one fails late, when the stream has come there: what accepts it waits for that.
        manta::ref<int64_t> bad = dv_mode_with(MANTA_OPTIONS(.where = gpu(0)), mode, x);
        manta_ref_t parts[] = {x, bad, x};
        EXPECT_EQ(200, value_of<int64_t>(dv_any_with(o, bad, parts, 3)));
        EXPECT_EQ(211, value_of<int64_t>(dv_any_with(o, x, parts, 3)));
        o.accept_failed = MANTA_ACCEPT(1);
        EXPECT_EQ(211, value_of<int64_t>(dv_any_with(o, x, parts, 3)));
        manta_view_t view;
        manta::ref<int64_t> refused = dv_any_with(o, bad, parts, 3);
        EXPECT_NE(MANTA_OK, manta_get(refused, &view, MANTA_FOREVER));
        manta::ref<int64_t> error = dv_fill_with(MANTA_OPTIONS(.where = manta_gpu(99)), 1, 1);
        o.accept_failed = MANTA_ACCEPT_ALL;
        EXPECT_EQ(200, value_of<int64_t>(dv_any_with(o, error, parts, 3)));
    }
}

// ---- cancel and shutdown -----------------------------------------------------------------------------

TEST_P(DeviceTest, CancelledTasksFailAtOnceAndFreeWhatTheyHold)
{
    MANTA_SCOPE();
    manta::ref<int64_t> gate = manta_promise_create(MANTA_DTYPE(MANTA_I64, 8));
    manta::ref<int64_t> x = put(iota(1000));
    std::vector<manta::ref<int64_t>> results;
    for (int i = 0; i < 20; i++) {
        manta::ref<int64_t> y = dv_axpy_with(MANTA_OPTIONS(.where = gpu(i)), 1, gate, put(iota(1)));
        results.push_back(dv_axpy_with(MANTA_OPTIONS(.where = gpu(i)), 1, y, put(iota(1))));
        EXPECT_OK(manta_cancel(y));
        EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_ref_status(y));
        EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_ref_status(results.back()));
    }
    int64_t one = 1;
    ASSERT_OK(manta_promise_set(gate, &one, sizeof one));
    for (int i = 0; i < 100; i++) { // on their way, or done: either is fine, nothing leaks
        manta::ref<int64_t> y = dv_fill_with(MANTA_OPTIONS(.where = gpu(i)), 1, 1000);
        y = dv_axpy_with(MANTA_OPTIONS(.where = gpu(i + 1)), 1, x, y);
        EXPECT_OK(manta_cancel(y));
        manta_status_t status = manta_ref_status(y);
        EXPECT_TRUE(status == MANTA_OK || status == MANTA_ERR_CANCELLED) << status;
    }
    ASSERT_OK(manta_drain(MANTA_FOREVER));
}

TEST_P(DeviceTest, ShutdownWithWorkUnderWay)
{
    for (int round = 0; round < 10; round++) {
        {
            MANTA_SCOPE();
            manta::ref<int64_t> x = put(iota(100)), y = put(iota(100));
            for (int i = 0; i < 30; i++)
                y = dv_axpy_with(MANTA_OPTIONS(.where = gpu(i)), 1, x, y);
        }
        manta_runtime_t runtime = manta_runtime_default();
        ASSERT_OK(manta_runtime_shutdown(
            runtime, round % 2 ? MANTA_SHUTDOWN_CANCEL : MANTA_SHUTDOWN_DRAIN, MANTA_S(60)));
        start(gpus());
    }
}

// ---- against a model ---------------------------------------------------------------------------------

// Random programs over a few vectors; every version that is held has the value of a sequential run.
TEST_P(DeviceTest, RandomProgramsGiveWhatASequentialRunGives)
{
    const int rounds = kSanitized ? 15 : 60;
    for (int seed = 0; seed < rounds; seed++) {
        SCOPED_TRACE(seed);
        MANTA_SCOPE();
        std::mt19937 rng((unsigned)seed);
        auto below = [&](unsigned n) { return (int)(rng() % n); };
        struct Version {
            manta::ref<int64_t> ref;
            std::vector<int64_t> value;
        };
        const size_t n = 1 + (size_t)below(300);
        std::vector<Version> live;
        for (int i = 0; i < 4; i++)
            live.push_back({put(iota(n, i)), iota(n, i)});
        for (int step = 0; step < 60; step++) {
            manta_where_t where = below(3) == 0   ? MANTA_CPU
                                  : below(3) == 0 ? MANTA_GPU
                                                  : gpu(below(8));
            size_t a = (size_t)below((unsigned)live.size()),
                   b = (size_t)below((unsigned)live.size());
            switch (below(5)) {
            case 0:
            case 1: { // update b with a
                Version next = {{}, live[b].value};
                for (size_t i = 0; i < n; i++)
                    next.value[i] += 3 * live[a].value[i];
                bool keep = a == b || below(3) == 0;
                if (keep) (void)manta_retain(live[b].ref);
                next.ref = dv_axpy_with(MANTA_OPTIONS(.where = where), 3, live[a].ref, live[b].ref);
                if (keep) {
                    live.push_back(next);
                } else {
                    live[b] = next;
                }
                break;
            }
            case 2:
                live.push_back({dv_fill_with(MANTA_OPTIONS(.where = where), step, n),
                                std::vector<int64_t>(n, step)});
                break;
            case 3:
                EXPECT_EQ(std::accumulate(live[a].value.begin(), live[a].value.end(), int64_t{0}),
                          value_of<int64_t>(
                              is_cuda() || below(2) == 0
                                  ? dv_total_with(MANTA_OPTIONS(.where = where), live[a].ref)
                                  : dv_sum_with(MANTA_OPTIONS(.where = where), live[a].ref)));
                break;
            default:
                if (live.size() > 3) {
                    manta_release(live[a].ref);
                    live[a] = live.back();
                    live.pop_back();
                } else {
                    EXPECT_EQ(live[a].value, values_of<int64_t>(live[a].ref));
                }
            }
        }
        for (const Version &version : live) {
            EXPECT_EQ(version.value, values_of<int64_t>(version.ref));
            manta_release(version.ref);
        }
    }
}

// ---- bad input: bodies that block, lost devices, other architectures --------------------------------------

static Gate *g_gate;
MANTA_KERNEL(dv_open_kernel, int64_t *);
static void dv_open_twin(const manta_grid_t *, void *const *args)
{
    **static_cast<int64_t **>(args[0]) = 1;
    g_gate->open();
}
MANTA_KERNEL_TWIN(dv_open_kernel, dv_open_twin);
static const FakeCode open_code("device_test_open.fatbin",
                                {{&dv_open_kernel_kernel,
                                  dv_open_twin,
                                  {kW},
                                  [](uint32_t, const fake_cuda_shape_t *, void *const *) {
                                      return sizeof(int64_t);
                                  }}});

#define dv_block_PARAMS MANTA_VAL(int, blocks), MANTA_OUT(int64_t, y, 1)
MANTA_TASK_DECLARE(dv_block);
MANTA_CUDA(dv_block)
{
    if (!blocks) return MANTA_LAUNCH(dv_open_kernel, manta_grid_1d(1, 1), y.data);
    g_gate->arrive();
    g_gate->pass(); // which a body must not do
    return MANTA_LAUNCH(fill_ints, manta_grid_1d(1, 1), int64_t{2}, y.data, size_t{1});
}

TEST_P(DeviceTest, ABodyThatBlocksHoldsUpItsDeviceOnly)
{
    if (GetParam().workers < 2 || gpus() < 2 || GetParam().kind == kVirtual)
        GTEST_SKIP() << "somebody else has to drive the other device";
    MANTA_SCOPE();
    Gate gate;
    g_gate = &gate;
    manta::ref<int64_t> blocks = dv_block_with(MANTA_OPTIONS(.where = gpu(0)), 1);
    gate.await(1);
    manta::ref<int64_t> opens = dv_block_with(MANTA_OPTIONS(.where = gpu(1)), 0);
    EXPECT_EQ(2, value_of<int64_t>(blocks));
    EXPECT_EQ(1, value_of<int64_t>(opens));
}

// Only the fake can be told to lose a device.
TEST_P(DeviceTest, ALostDeviceFailsWhatIsThereAndNothingElse)
{
    if (!is_cuda() || gpus() < 2) GTEST_SKIP() << "needs two devices, one of which can be lost";
    {
        MANTA_SCOPE();
        manta::ref<int64_t> x = put(iota(100));
        manta::ref<int64_t> lost = dv_fill_with(MANTA_OPTIONS(.where = gpu(0)), 3, 100);
        manta::ref<int64_t> kept = dv_fill_with(MANTA_OPTIONS(.where = gpu(0)), 4, 100);
        manta::ref<int64_t> there = dv_fill_with(MANTA_OPTIONS(.where = gpu(1)), 5, 100);
        EXPECT_EQ(4, values_of<int64_t>(kept)[0]); // the host has a copy
        manta_ref_t refs[] = {lost, there};
        ASSERT_OK(manta_wait(refs, 2, 2, MANTA_FOREVER, nullptr, nullptr));
        enum { ILLEGAL_ADDRESS = 700 };
        fake_cuda()->lose_at_launch(0, 3, ILLEGAL_ADDRESS);
        manta::ref<int64_t> y = put(iota(100));
        for (int i = 0; i < 20; i++) // lost in the midst of it
            y = dv_axpy_with(MANTA_OPTIONS(.where = gpu(0)), 1, x, y);
        manta::ref<int64_t> sum = dv_total_with(MANTA_OPTIONS(.where = gpu(1)), y);
        manta_view_t view;
        EXPECT_STATUS(MANTA_ERR_DEVICE_LOST, manta_get(sum, &view, MANTA_FOREVER));
        std::string text = printed_error(sum);
        EXPECT_NE(std::string::npos, text.find("dv_axpy")) << text;
        EXPECT_NE(std::string::npos, text.find("cuda:0")) << text;
        EXPECT_STATUS(MANTA_ERR_DEVICE_LOST, manta_get(lost, &view, MANTA_FOREVER));
        EXPECT_STATUS(
            MANTA_ERR_DEVICE_LOST,
            manta_get(dv_total_with(MANTA_OPTIONS(.where = gpu(1)), lost), &view, MANTA_FOREVER));
        EXPECT_STATUS(
            MANTA_ERR_DEVICE_LOST,
            manta_get(dv_fill_with(MANTA_OPTIONS(.where = gpu(0)), 1, 10), &view, MANTA_FOREVER));
        manta_gpu_info_t info = {};
        info.struct_size = sizeof info;
        ASSERT_OK(manta_gpu_describe(manta_runtime_default(), 0, &info));
        EXPECT_TRUE(info.is_lost);
        EXPECT_EQ(500, value_of<int64_t>(dv_total_with(MANTA_OPTIONS(.where = gpu(1)), there)));
        EXPECT_EQ(400, value_of<int64_t>(dv_total_with(MANTA_OPTIONS(.where = gpu(1)), kept)));
        EXPECT_EQ(400, value_of<int64_t>(dv_total_with(MANTA_OPTIONS(.where = MANTA_GPU), kept)));
        EXPECT_EQ(400, value_of<int64_t>(dv_sum_remote(kept)));
    }
    ASSERT_OK(manta_shutdown(MANTA_S(60)));
    EXPECT_EQ(std::vector<std::string>(), fake_violations());
    start(gpus()); // what the lost device had can't be given back
}

MANTA_KERNEL(dv_foreign_kernel, int64_t *);
#define dv_foreign_PARAMS MANTA_OUT(int64_t, y, 1)
MANTA_TASK_DECLARE(dv_foreign);
MANTA_CUDA(dv_foreign)
{
    return MANTA_LAUNCH(dv_foreign_kernel, manta_grid_1d(1, 1), y.data);
}

TEST_P(DeviceTest, CodeForAnotherArchitectureFailsWhoLaunchesIt)
{
    if (!is_cuda()) GTEST_SKIP() << "virtual GPUs run twins";
    static const char image[] = "FAKE error 209"; // no binary for this GPU
    static manta_kernel_t row;
    static manta_code_t code;
    if (!row.name) {
        row.name = dv_foreign_kernel_kernel.name;
        row.arg_bytes = dv_foreign_kernel_kernel.arg_bytes;
        row.arg_count = dv_foreign_kernel_kernel.arg_count;
        code.name = "foreign.fatbin";
        code.image = image;
        code.image_bytes = sizeof image;
        code.kernels = &row;
        code.kernel_count = 1;
        manta_code_register(&code);
    }
    MANTA_SCOPE();
    for (int i = 0; i < 2; i++) { // the first launch tries to load it
        manta_ref_t y = dv_foreign_with(MANTA_OPTIONS(.where = gpu(0)));
        manta_view_t view;
        EXPECT_NE(MANTA_OK, manta_get(y, &view, MANTA_FOREVER));
        std::string text = printed_error(y);
        EXPECT_NE(std::string::npos, text.find("dv_foreign_kernel")) << text;
        EXPECT_NE(std::string::npos, text.find("foreign.fatbin")) << text;
        EXPECT_NE(std::string::npos, text.find("cuda:0")) << text;
    }
    EXPECT_EQ(
        10, value_of<int64_t>(dv_sum_remote(dv_fill_with(MANTA_OPTIONS(.where = gpu(0)), 1, 10))));
}

// ---- the choice of a device ----------------------------------------------------------------------

static std::vector<int> g_ran_on; // by the order of placing

#define dv_long_PARAMS MANTA_VAL(uint64_t, n), MANTA_OUT(int64_t, y, n)
MANTA_TASK_DECLARE(dv_long);
MANTA_CUDA(dv_long)
{
    g_ran_on.push_back(manta_task_device(task));
    manta_status_t status = MANTA_OK;
    for (int i = 0; i < 200 && status == MANTA_OK; i++)
        status = MANTA_LAUNCH(fill_ints, manta_grid_1d(y.count, 128), int64_t{1}, y.data, n);
    return status;
}

#define dv_short_PARAMS MANTA_VAL(uint64_t, n), MANTA_OUT(int64_t, y, n)
MANTA_TASK_DECLARE(dv_short);
MANTA_CUDA(dv_short)
{
    g_ran_on.push_back(manta_task_device(task));
    return MANTA_LAUNCH(fill_ints, manta_grid_1d(y.count, 128), int64_t{1}, y.data, n);
}

// A launch takes 2.5 us on each of them, so a long task is as good as 200 short ones.
TEST(DeviceChoiceTest, FollowsWhatTasksHaveTaken)
{
    Log log;
    manta_runtime_options_t options;
    manta_runtime_options_init(&options);
    options.workers = 0;
    options.no_cuda = true;
    options.sim_gpus = 2;
    options.sim_virtual_clock = true;
    options.log = Log::write;
    options.log_user = &log;
    ASSERT_OK(manta_init(&options));
    {
        MANTA_SCOPE();
        auto wait = [](std::vector<manta_ref_t> refs) {
            ASSERT_OK(
                manta_wait(refs.data(), refs.size(), refs.size(), MANTA_FOREVER, nullptr, nullptr));
        };
        auto count = [](int device) {
            return std::count(g_ran_on.begin(), g_ran_on.end(), device);
        };
        const uint64_t n = 16;
        for (int i = 0; i < 8; i++) {
            wait({dv_long_with(MANTA_OPTIONS(.where = manta_gpu(0)), n)});
            wait({dv_short_with(MANTA_OPTIONS(.where = manta_gpu(0)), n)});
        }
        for (int round = 0; round < 2; round++) {
            g_ran_on.clear();
            std::vector<manta_ref_t> refs{dv_long_with(MANTA_OPTIONS(.where = MANTA_GPU), n)};
            for (int i = 0; i < 20; i++)
                refs.push_back(dv_short_with(MANTA_OPTIONS(.where = MANTA_GPU), n));
            wait(refs);
            ASSERT_EQ(21u, g_ran_on.size());
            EXPECT_EQ(1, count(0)) << "the long one alone";
            EXPECT_EQ(20, count(1));
            // Long ones alone are dealt out evenly.
            g_ran_on.clear();
            refs.clear();
            for (int i = 0; i < 6; i++)
                refs.push_back(dv_long_with(MANTA_OPTIONS(.where = MANTA_GPU), n));
            wait(refs);
            EXPECT_EQ(3, count(0));
        }
    }
    ASSERT_OK(manta_shutdown(MANTA_S(60)));
    EXPECT_TRUE(log.take().empty());
}

// ---- machines by text ----------------------------------------------------------------------------------

class MachineTextTest : public ::testing::Test
{
  protected:
    void start(const char *text)
    {
        manta_runtime_options_t options;
        manta_runtime_options_init(&options);
        options.workers = 0;
        options.no_cuda = true;
        options.sim_machine = text;
        options.log = Log::write;
        options.log_user = &log_;
        ASSERT_OK(manta_init(&options));
    }
    void TearDown() override { EXPECT_OK(manta_shutdown(MANTA_S(60))); }
    Log log_;
};

TEST_F(MachineTextTest, SaysWhatTheGpusAre)
{
    std::string text = "clock virtual\ngpu memory=1MiB cc=7.5 name=small\ngpu memory=2GiB node=0\n";
    start(text.c_str());
    text.assign(text.size(), 'x'); // it was copied
    MANTA_SCOPE();
    ASSERT_EQ(2, manta_gpu_count(manta_runtime_default()));
    manta_gpu_info_t info = {};
    info.struct_size = sizeof info;
    ASSERT_OK(manta_gpu_describe(manta_runtime_default(), 0, &info));
    EXPECT_EQ(7, info.cc_major);
    EXPECT_EQ(uint64_t{1} << 20, info.memory_bytes);
    manta_view_t view;
    EXPECT_STATUS(MANTA_ERR_OUT_OF_MEMORY,
                  manta_get(dv_fill_with(MANTA_OPTIONS(.where = manta_gpu(0)), 1, 1 << 20), &view,
                            MANTA_FOREVER));
    EXPECT_EQ(1 << 20, value_of<int64_t>(dv_sum_remote(
                           dv_fill_with(MANTA_OPTIONS(.where = manta_gpu(1)), 1, 1 << 20))));
    EXPECT_TRUE(log_.take().empty());
}

TEST_F(MachineTextTest, AMistakeIsToldToWhoAsksForAGpu)
{
    start("clock virtual\ngpu memory=lots\n");
    MANTA_SCOPE();
    EXPECT_EQ(10, value_of<int64_t>(dv_sum_remote(dv_fill_remote(1, 10)))); // on a CPU
    manta::ref<int64_t> y = dv_fill_with(MANTA_OPTIONS(.where = MANTA_GPU), 1, 10);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_ref_status(y));
    EXPECT_NE(nullptr, strstr(manta_error_message(), "line 2")) << manta_error_message();
    EXPECT_EQ(1u, log_.take().size());
}
