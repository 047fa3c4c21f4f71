// User code with streams and device memory of its own beside tasks: manta_cuda_wait() and manta_wrap_cuda(), on the
// fake CUDA driver, which reports every use of memory that nothing orders.
#include "fakes/int_kernels.h"
#include "support/runtime_fixture.h"

#include <cuda.h>
#include <cudaTypedefs.h>
#include <dlfcn.h>
#include <thread>

using namespace manta_testing;

static const FakeCode fake_code("cuda_join_test.fatbin", {fake_axpy_ints()});

#define cj_add_PARAMS MANTA_VAL(int64_t, a), MANTA_IN(int64_t, x), MANTA_INOUT(int64_t, y)
MANTA_TASK_DECLARE(cj_add);
MANTA_CUDA(cj_add)
{
    return MANTA_LAUNCH(axpy_ints, manta_grid_1d(y.count, 128), a, x.data, y.data, y.count);
}

MANTA_TASK(cj_fail, MANTA_OUT(int64_t, y, 4))
{
    (void)y;
    return manta_fail(task, MANTA_ERR_USER + 3, "no luck");
}

MANTA_TASK(cj_gate, MANTA_LOCAL(Gate *, gate), MANTA_VAL(int64_t, value), MANTA_OUT(int64_t, y, 64))
{
    gate->pass();
    std::fill_n(y.data, y.count, value);
    return MANTA_OK;
}

static manta_status_t g_in_body;
#define cj_waits_PARAMS MANTA_IN(int64_t, x), MANTA_INOUT(int64_t, y)
MANTA_TASK_DECLARE(cj_waits);
MANTA_CUDA(cj_waits)
{
    manta_view_t view;
    g_in_body = manta_cuda_wait(nullptr, manta_ref_t{}, &view);
    return MANTA_LAUNCH(axpy_ints, manta_grid_1d(y.count, 128), int64_t{1}, x.data, y.data,
                        y.count);
}

// What a user's own CUDA code does, on one device.
class User
{
  public:
    template <class F> void load(F *out, const char *name, int version)
    {
        void *function = nullptr;
        CUdriverProcAddressQueryResult found;
        ASSERT_EQ(CUDA_SUCCESS,
                  get_(name, &function, version, CU_GET_PROC_ADDRESS_LEGACY_STREAM, &found));
        ASSERT_NE(nullptr, function) << name;
        *out = reinterpret_cast<F>(function);
    }
    void begin(int device)
    {
        void *library = dlopen(getenv("MANTA_CUDA_LIBRARY"), RTLD_NOW | RTLD_LOCAL);
        ASSERT_NE(nullptr, library);
        get_ = reinterpret_cast<decltype(get_)>(dlsym(library, "cuGetProcAddress_v2"));
        load(&init, "cuInit", 2000);
        load(&retain, "cuDevicePrimaryCtxRetain", 7000);
        load(&release, "cuDevicePrimaryCtxRelease", 11000);
        load(&set_current, "cuCtxSetCurrent", 4000);
        load(&stream_create, "cuStreamCreateWithPriority", 5050);
        load(&stream_destroy, "cuStreamDestroy", 4000);
        load(&synchronize, "cuStreamSynchronize", 2000);
        load(&alloc, "cuMemAlloc", 3020);
        load(&free, "cuMemFree", 3020);
        load(&pin, "cuMemHostRegister", 6050);
        load(&unpin, "cuMemHostUnregister", 4000);
        load(&copy, "cuMemcpyAsync", 4000);
        load(&fill, "cuMemsetD32Async", 3020);
        ASSERT_EQ(CUDA_SUCCESS, init(0));
        device_ = device;
        ASSERT_EQ(CUDA_SUCCESS, retain(&context, device));
        ASSERT_EQ(CUDA_SUCCESS, set_current(context));
        ASSERT_EQ(CUDA_SUCCESS, stream_create(&stream, CU_STREAM_NON_BLOCKING, 0));
        host = static_cast<int64_t *>(aligned_alloc(4096, 4096));
        ASSERT_EQ(CUDA_SUCCESS,
                  pin(host, 4096, CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP));
    }
    void end()
    {
        ASSERT_EQ(CUDA_SUCCESS, set_current(context));
        EXPECT_EQ(CUDA_SUCCESS, synchronize(stream));
        EXPECT_EQ(CUDA_SUCCESS, unpin(host));
        EXPECT_EQ(CUDA_SUCCESS, stream_destroy(stream));
        EXPECT_EQ(CUDA_SUCCESS, set_current(nullptr));
        EXPECT_EQ(CUDA_SUCCESS, release(device_));
        ::free(host);
    }
    // |n| values of 64 bits, each |value|, put into the stream.
    CUdeviceptr make(size_t n, uint32_t value)
    {
        CUdeviceptr ptr = 0;
        EXPECT_EQ(CUDA_SUCCESS, alloc(&ptr, n * 8));
        EXPECT_EQ(CUDA_SUCCESS, fill(ptr, 0, n * 2, stream));
        for (size_t i = 0; i < n; i++)
            EXPECT_EQ(CUDA_SUCCESS, fill(ptr + i * 8, value, 1, stream));
        return ptr;
    }
    std::vector<int64_t> read(const void *ptr, size_t n)
    {
        EXPECT_EQ(CUDA_SUCCESS, copy(reinterpret_cast<CUdeviceptr>(host),
                                     reinterpret_cast<CUdeviceptr>(ptr), n * 8, stream));
        EXPECT_EQ(CUDA_SUCCESS, synchronize(stream));
        return std::vector<int64_t>(host, host + n);
    }

    PFN_cuInit_v2000 init;
    PFN_cuDevicePrimaryCtxRetain_v7000 retain;
    PFN_cuDevicePrimaryCtxRelease_v11000 release;
    PFN_cuCtxSetCurrent_v4000 set_current;
    PFN_cuStreamCreateWithPriority_v5050 stream_create;
    PFN_cuStreamDestroy_v4000 stream_destroy;
    PFN_cuStreamSynchronize_v2000 synchronize;
    PFN_cuMemAlloc_v3020 alloc;
    PFN_cuMemFree_v3020 free;
    PFN_cuMemHostRegister_v6050 pin;
    PFN_cuMemHostUnregister_v4000 unpin;
    PFN_cuMemcpyAsync_v4000 copy;
    PFN_cuMemsetD32Async_v3020 fill;
    CUcontext context = nullptr;
    CUstream stream = nullptr;
    int64_t *host = nullptr;

  private:
    CUresult (*get_)(const char *, void **, int, cuuint64_t,
                     CUdriverProcAddressQueryResult *) = nullptr;
    int device_ = 0;
};

// What a deleter was called with. It gives the memory back, as users' deleters do.
struct Deleted {
    User *user;
    std::atomic<int> count{0};
    std::atomic<size_t> bytes{0};

    static void call(void *data, size_t size_bytes, void *self)
    {
        Deleted *deleted = static_cast<Deleted *>(self);
        deleted->bytes = size_bytes;
        EXPECT_EQ(CUDA_SUCCESS, deleted->user->set_current(deleted->user->context));
        EXPECT_EQ(CUDA_SUCCESS, deleted->user->free(reinterpret_cast<CUdeviceptr>(data)));
        deleted->count++;
    }
};

class CudaJoinTest : public ::testing::TestWithParam<int>
{
  protected:
    void SetUp() override
    {
        fake_cuda_options_t fake = {};
        fake.devices = 2;
        fake_cuda()->reset(&fake);
        user_.begin(0);
        start(false);
    }
    void start(bool no_cuda)
    {
        manta_runtime_options_t options;
        manta_runtime_options_init(&options);
        options.workers = GetParam();
        options.sim_gpus = no_cuda ? 1 : -1;
        options.no_cuda = no_cuda;
        options.log = Log::write;
        options.log_user = &log_;
        ASSERT_OK(manta_init(&options));
    }
    void stop()
    {
        if (!is_running_) return;
        is_running_ = false;
        EXPECT_OK(manta_shutdown(MANTA_S(60)));
    }
    void TearDown() override
    {
        stop();
        user_.end();
        EXPECT_EQ(std::vector<std::string>(), fake_violations());
        EXPECT_EQ(std::vector<std::string>(), fake_leaks());
        EXPECT_EQ(std::vector<std::string>(), log_.take());
    }
    manta::ref<int64_t> wrap(CUdeviceptr ptr, size_t n, Deleted *deleted, CUstream stream)
    {
        return manta_wrap_cuda(reinterpret_cast<void *>(ptr), n * 8, MANTA_DTYPE(MANTA_I64, 8),
                               stream, deleted ? Deleted::call : nullptr, deleted);
    }
    // A serial runtime deletes when it is next waited in.
    void await(const Deleted &deleted, int count)
    {
        while (deleted.count < count)
            ASSERT_OK(manta_drain(MANTA_FOREVER));
    }
    static manta::ref<int64_t> put(size_t n, int64_t value)
    {
        std::vector<int64_t> values(n, value);
        return manta_put(values.data(), n * 8);
    }

    User user_;
    Log log_;
    bool is_running_ = true;
};
MANTA_TEST_WORKERS(CudaJoinTest);

static std::vector<int64_t> all(size_t n, int64_t value)
{
    return std::vector<int64_t>(n, value);
}

TEST_P(CudaJoinTest, AStreamWaitsForTheTasksBeforeIt)
{
    MANTA_SCOPE();
    manta::ref<int64_t> x = put(64, 1), y = put(64, 5);
    for (int i = 0; i < 10; i++)
        y = cj_add_with(MANTA_OPTIONS(.where = manta_gpu(i / 5)), 2, x, y);
    manta_view_t view = {};
    ASSERT_OK(manta_cuda_wait(user_.stream, y, &view));
    EXPECT_EQ(512u, view.size_bytes);
    EXPECT_EQ(64u, view.count);
    EXPECT_EQ(all(64, 25), user_.read(view.data, 64));
    // Whoever updates it meanwhile works on a copy.
    y = cj_add_with(MANTA_OPTIONS(.where = manta_gpu(0)), 1, x, y);
    EXPECT_EQ(all(64, 26), values_of<int64_t>(y));
    EXPECT_EQ(all(64, 25), user_.read(view.data, 64));
    manta_view_release(&view);
    EXPECT_EQ(nullptr, view.data);
}

TEST_P(CudaJoinTest, HostValuesSmallOnesAndNone)
{
    MANTA_SCOPE();
    for (size_t n : {400u, 2u, 1u}) {
        manta_view_t view = {};
        ASSERT_OK(manta_cuda_wait(user_.stream, put(n, (int64_t)n), &view));
        EXPECT_EQ(n * 8, view.size_bytes);
        EXPECT_EQ(all(n, (int64_t)n), user_.read(view.data, n));
        manta_view_release(&view);
    }
    manta_view_t view = {};
    ASSERT_OK(manta_cuda_wait(user_.stream, put(0, 0), &view));
    EXPECT_EQ(0u, view.size_bytes);
    EXPECT_EQ(nullptr, view.data);
    manta_view_release(&view);
}

// All of this is on its way while the first stream stands still.
TEST_P(CudaJoinTest, TheHostWaitsForNoStream)
{
    MANTA_SCOPE();
    Deleted deleted{&user_};
    CUstream other;
    ASSERT_EQ(CUDA_SUCCESS, user_.stream_create(&other, CU_STREAM_NON_BLOCKING, 0));
    fake_cuda()->hold_stream(other, true);
    CUdeviceptr memory = 0;
    ASSERT_EQ(CUDA_SUCCESS, user_.alloc(&memory, 512));
    ASSERT_EQ(CUDA_SUCCESS, user_.fill(memory, 0, 128, other));
    {
        MANTA_SCOPE();
        manta::ref<int64_t> x = wrap(memory, 64, &deleted, other), y = put(64, 3);
        y = cj_add_with(MANTA_OPTIONS(.where = manta_gpu(0)), 1, x, y);
        manta_view_t view = {};
        ASSERT_OK(manta_cuda_wait(user_.stream, y, &view));
        EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(x));
        EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(y));
        fake_cuda()->hold_stream(other, false);
        EXPECT_EQ(all(64, 3), user_.read(view.data, 64));
        manta_view_release(&view);
        EXPECT_EQ(all(64, 0), values_of<int64_t>(x));
        EXPECT_EQ(0, deleted.count);
    }
    await(deleted, 1);
    EXPECT_EQ(CUDA_SUCCESS, user_.synchronize(other));
    EXPECT_EQ(CUDA_SUCCESS, user_.stream_destroy(other));
}

TEST_P(CudaJoinTest, ItWaitsForProducersOnTheHost)
{
    if (GetParam() == 0) GTEST_SKIP() << "a serial runtime has nobody to open the gate";
    MANTA_SCOPE();
    Gate gate;
    manta::ref<int64_t> x = cj_gate_remote(&gate, 4), y = put(64, 1);
    y = cj_add_with(MANTA_OPTIONS(.where = manta_gpu(1)), 2, x, y);
    std::thread opener([&] { gate.open(); });
    manta_view_t view = {};
    ASSERT_OK(manta_cuda_wait(user_.stream, y, &view));
    opener.join();
    EXPECT_EQ(all(64, 9), user_.read(view.data, 64));
    manta_view_release(&view);
}

TEST_P(CudaJoinTest, WrappedMemoryIsAnObjectLikeOthers)
{
    Deleted deleted{&user_};
    CUdeviceptr memory = user_.make(64, 7);
    {
        MANTA_SCOPE();
        manta::ref<int64_t> x = wrap(memory, 64, &deleted, user_.stream);
        manta::ref<int64_t> far = put(64, 1), here = put(64, 2);
        far = cj_add_with(MANTA_OPTIONS(.where = manta_gpu(1)), 10, x, far);
        here = cj_add_with(MANTA_OPTIONS(.where = manta_gpu(0)), 1, x, here);
        bool host;
        uint64_t gpus;
        ASSERT_OK(manta_wait(&x, 1, 1, MANTA_FOREVER, nullptr, nullptr));
        ASSERT_OK(manta_where(x, &host, &gpus));
        EXPECT_TRUE(gpus & 1);
        EXPECT_EQ(all(64, 71), values_of<int64_t>(far));
        EXPECT_EQ(all(64, 9), values_of<int64_t>(here));
        EXPECT_EQ(all(64, 7), values_of<int64_t>(x));
        // The next version is a copy: the memory is the user's.
        manta::ref<int64_t> again = wrap(memory, 64, nullptr, user_.stream);
        manta::ref<int64_t> next = cj_add_with(MANTA_OPTIONS(.where = manta_gpu(0)), 1, far, again);
        EXPECT_EQ(all(64, 78), values_of<int64_t>(next));
        EXPECT_EQ(all(64, 7), user_.read(reinterpret_cast<void *>(memory), 64));
    }
    await(deleted, 1);
    EXPECT_EQ(512u, deleted.bytes);
    stop();
    EXPECT_EQ(1, deleted.count);
}

TEST_P(CudaJoinTest, TheDeleterComesAfterWhatUsesTheMemory)
{
    Deleted deleted{&user_};
    for (int i = 0; i < 20; i++) {
        CUdeviceptr memory = user_.make(64, 1);
        manta_ref_t x = wrap(memory, 64, &deleted, user_.stream);
        MANTA_SCOPE();
        manta::ref<int64_t> y = put(64, i);
        y = cj_add_with(MANTA_OPTIONS(.where = manta_gpu(i % 2)), 1, x, y);
        manta_release(x);
        EXPECT_EQ(all(64, i + 1), values_of<int64_t>(y));
    }
    await(deleted, 20);
    EXPECT_EQ(20, deleted.count);
}

TEST_P(CudaJoinTest, TheDeleterRunsAtShutdownForWhatIsStillHeld)
{
    Deleted deleted{&user_};
    (void)wrap(user_.make(8, 1), 8, &deleted, user_.stream).id;
    stop();
    EXPECT_EQ(1, deleted.count);
    (void)log_.take(); // what was leaked
}

TEST_P(CudaJoinTest, TheDeleterRunsIfTheMemoryWasNeverUsed)
{
    Deleted deleted{&user_};
    CUdeviceptr memory = user_.make(8, 1);
    ASSERT_EQ(CUDA_SUCCESS, user_.synchronize(user_.stream)); // nobody else waits for it
    manta_ref_t x = wrap(memory, 8, &deleted, user_.stream);
    manta_cancel(x);
    manta_release(x);
    stop();
    EXPECT_EQ(1, deleted.count);
}

TEST_P(CudaJoinTest, MistakesAreStatuses)
{
    MANTA_SCOPE();
    manta::ref<int64_t> y = put(64, 1);
    manta_view_t view = {};
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_cuda_wait(user_.stream, y, nullptr));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_cuda_wait(user_.stream, manta_ref_t{123}, &view));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT,
                  manta_cuda_wait(reinterpret_cast<void *>(2), y, &view));
    manta::ref<int64_t> failed = cj_fail_remote();
    EXPECT_STATUS(MANTA_ERR_USER + 3, manta_cuda_wait(user_.stream, failed, &view));
    manta::ref<int64_t> dependent = cj_add_with(MANTA_OPTIONS(.where = manta_gpu(0)), 1, failed, y);
    EXPECT_STATUS(MANTA_ERR_USER + 3, manta_cuda_wait(user_.stream, dependent, &view));

    manta::ref<int64_t> one = put(64, 1), two = put(64, 2);
    two = cj_waits_with(MANTA_OPTIONS(.where = manta_gpu(0)), one, two);
    EXPECT_EQ(all(64, 3), values_of<int64_t>(two));
    EXPECT_STATUS(MANTA_ERR_NOT_ALLOWED_HERE, g_in_body);

    CUdeviceptr memory = user_.make(8, 1);
    int64_t here[8];
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT,
                  manta_ref_status(wrap(memory, 9, nullptr, user_.stream)));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT,
                  manta_ref_status(wrap(memory + 8, 8, nullptr, user_.stream)));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_ref_status(wrap(0, 8, nullptr, user_.stream)));
    EXPECT_STATUS(
        MANTA_ERR_INVALID_ARGUMENT,
        manta_ref_status(wrap(reinterpret_cast<CUdeviceptr>(here), 8, nullptr, user_.stream)));
    EXPECT_EQ(all(7, 1), values_of<int64_t>(wrap(memory + 8, 7, nullptr, user_.stream)));
    ASSERT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(CUDA_SUCCESS, user_.free(memory));
}

TEST_P(CudaJoinTest, WithoutCudaItIsNotSupported)
{
    stop();
    start(true);
    is_running_ = true;
    MANTA_SCOPE();
    manta::ref<int64_t> y = put(64, 1);
    manta_view_t view = {};
    EXPECT_STATUS(MANTA_ERR_NOT_SUPPORTED, manta_cuda_wait(user_.stream, y, &view));
    CUdeviceptr memory = user_.make(8, 1);
    EXPECT_STATUS(MANTA_ERR_NOT_SUPPORTED,
                  manta_ref_status(wrap(memory, 8, nullptr, user_.stream)));
    EXPECT_EQ(CUDA_SUCCESS, user_.synchronize(user_.stream));
    EXPECT_EQ(CUDA_SUCCESS, user_.free(memory));
}
