// The fake driver itself: right programs pass, and each wrong one is caught.
#include "fakes/fake_test.h"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" {
#include "devices/cuda/cuda_api.h"
}

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace
{

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using namespace manta_testing;

const uint32_t kPointerAndCount[] = {8, 8};
const uint8_t kReads[] = {FAKE_CUDA_READ | FAKE_CUDA_WHOLE, 0};
const uint8_t kWrites[] = {FAKE_CUDA_WRITE, 0};
size_t count_bytes(uint32_t, const fake_cuda_shape_t *, void *const *args)
{
    return *static_cast<uint64_t *>(args[1]);
}
void fill_twin(const fake_cuda_shape_t *, void *const *args)
{
    memset(*static_cast<void **>(args[0]), 0x77, *static_cast<uint64_t *>(args[1]));
}
// A kernel whose twin does what the test says.
std::function<void()> in_kernel;
void calling_twin(const fake_cuda_shape_t *, void *const *)
{
    in_kernel();
}

const char kImage[] = ".version 8.0 .entry reads .entry writes .entry calls";

class LibcudaTest : public FakeCudaTest
{
  protected:
    void SetUp() override
    {
        FakeCudaTest::SetUp();
        fake_cuda_kernel_t reads = {"reads", 2, kPointerAndCount, kReads, nullptr, nullptr, 0,
                                    0,       0};
        fake_cuda_kernel_t writes = {
            "writes", 2, kPointerAndCount, kWrites, count_bytes, fill_twin, 0, 256, 0};
        fake_cuda_kernel_t calls = {"calls", 0, nullptr, nullptr, nullptr, calling_twin, 0, 0, 0};
        for (const fake_cuda_kernel_t *kernel : {&reads, &writes, &calls})
            fake_cuda()->kernel_add(kernel);
        use(fake_cuda_options_t{});
    }
    // A fresh driver with |options|, its first device's context current.
    void use(const fake_cuda_options_t &options)
    {
        static const mti_cu_api_t *table = nullptr;
        fake_cuda()->reset(&options);
        if (!table) {
            static mti_cu_api_t loaded;
            ASSERT_EQ(MANTA_OK, mti_cu_api_load(nullptr, &loaded)) << manta_error_message();
            table = &loaded;
        }
        cu_ = table;
        int count = 0;
        ASSERT_EQ(CUDA_SUCCESS, cu_->cuDeviceGetCount(&count));
        contexts_.assign(static_cast<size_t>(count), nullptr);
        for (int i = 0; i < count; i++)
            ASSERT_EQ(CUDA_SUCCESS,
                      cu_->cuDevicePrimaryCtxRetain(&contexts_[static_cast<size_t>(i)], i));
        current(0);
        expects_leaks_ = true; // most tests end in the middle; LeaksAreListed looks at the rest
    }
    void two_devices(bool peers = true)
    {
        fake_cuda_options_t options{};
        options.devices = 2;
        options.no_peers = !peers;
        use(options);
    }
    void current(size_t device)
    {
        ASSERT_EQ(CUDA_SUCCESS, cu_->cuCtxSetCurrent(contexts_[device]));
    }
    // A function that manta does not use.
    template <class F> F extra(const char *name, int version)
    {
        void *library = dlopen(getenv("MANTA_CUDA_LIBRARY"), RTLD_NOW | RTLD_LOCAL);
        auto get =
            reinterpret_cast<PFN_cuGetProcAddress_v12000>(dlsym(library, "cuGetProcAddress_v2"));
        void *address = nullptr;
        CUdriverProcAddressQueryResult found;
        EXPECT_EQ(CUDA_SUCCESS,
                  get(name, &address, version, CU_GET_PROC_ADDRESS_LEGACY_STREAM, &found));
        return reinterpret_cast<F>(address);
    }
    CUstream stream()
    {
        CUstream stream = nullptr;
        EXPECT_EQ(CUDA_SUCCESS,
                  cu_->cuStreamCreateWithPriority(&stream, CU_STREAM_NON_BLOCKING, 0));
        return stream;
    }
    CUevent event()
    {
        CUevent event = nullptr;
        EXPECT_EQ(CUDA_SUCCESS, cu_->cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
        return event;
    }
    CUdeviceptr alloc(size_t bytes)
    {
        CUdeviceptr address = 0;
        EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemAlloc(&address, bytes));
        return address;
    }
    CUmemoryPool pool(int device = 0)
    {
        CUmemPoolProps props;
        memset(&props, 0, sizeof props);
        props.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
        props.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
        props.location.id = device;
        CUmemoryPool pool = nullptr;
        EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemPoolCreate(&pool, &props));
        return pool;
    }
    // Registered host memory; a different page for each call.
    char *host(size_t bytes,
               unsigned flags = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP)
    {
        pages_.emplace_back(new std::vector<char>(bytes));
        char *ptr = pages_.back()->data();
        EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemHostRegister(ptr, bytes, flags));
        return ptr;
    }
    void after(CUstream later, CUstream earlier)
    {
        CUevent e = event();
        EXPECT_EQ(CUDA_SUCCESS, cu_->cuEventRecord(e, earlier));
        EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamWaitEvent(later, e, 0));
    }
    CUfunction function(const char *name)
    {
        CUlibrary library = nullptr;
        CUkernel kernel = nullptr;
        CUfunction function = nullptr;
        EXPECT_EQ(CUDA_SUCCESS, cu_->cuLibraryLoadData(&library, kImage, nullptr, nullptr, 0,
                                                       nullptr, nullptr, 0));
        EXPECT_EQ(CUDA_SUCCESS, cu_->cuLibraryGetKernel(&kernel, library, name));
        EXPECT_EQ(CUDA_SUCCESS, cu_->cuKernelGetFunction(&function, kernel));
        EXPECT_EQ(CUDA_SUCCESS, cu_->cuFuncLoad(function));
        return function;
    }
    CUresult launch(CUfunction function, CUstream stream, CUdeviceptr address = 0,
                    uint64_t bytes = 0, unsigned threads = 32)
    {
        CUlaunchConfig config;
        memset(&config, 0, sizeof config);
        config.gridDimX = config.gridDimY = config.gridDimZ = 1;
        config.blockDimX = threads;
        config.blockDimY = config.blockDimZ = 1;
        config.hStream = stream;
        void *params[] = {&address, &bytes};
        return cu_->cuLaunchKernelEx(&config, function, params, nullptr);
    }
    CUresult fill(CUdeviceptr address, size_t bytes, CUstream stream)
    {
        return cu_->cuMemsetD8Async(address, 1, bytes, stream);
    }
    static uint64_t address_of(const void *ptr) { return reinterpret_cast<uint64_t>(ptr); }

    const mti_cu_api_t *cu_ = nullptr;
    std::vector<CUcontext> contexts_;
    std::vector<std::unique_ptr<std::vector<char>>> pages_;
};

#define EXPECT_CAUGHT(...) EXPECT_THAT(fake_violations(), Contains(AllOf(__VA_ARGS__)))
#define EXPECT_CLEAN()     EXPECT_THAT(fake_violations(), IsEmpty())

// ---- Order ---------------------------------------------------------------------------------------

TEST_F(LibcudaTest, WritesOfTwoStreamsAreUnordered)
{
    CUstream a = stream(), b = stream();
    CUdeviceptr x = alloc(4096);
    EXPECT_EQ(CUDA_SUCCESS, fill(x, 4096, a));
    fake_cuda()->settle(); // that it happened to be over does not order it
    EXPECT_EQ(CUDA_SUCCESS, fill(x + 4095, 1, b));
    EXPECT_CAUGHT(HasSubstr("cuMemsetD8Async: writes"), HasSubstr("nothing orders it after"),
                  HasSubstr("wrote there"));
}

TEST_F(LibcudaTest, ReadAfterWriteAndWriteAfterReadAreUnordered)
{
    CUstream a = stream(), b = stream();
    CUdeviceptr x = alloc(64), y = alloc(64), z = alloc(64);
    EXPECT_EQ(CUDA_SUCCESS, fill(x, 64, a));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemcpyAsync(y, x, 64, b));
    EXPECT_CAUGHT(HasSubstr("cuMemcpyAsync: reads"));
    EXPECT_EQ(CUDA_SUCCESS, fill(x, 64, a));
    EXPECT_CAUGHT(HasSubstr("cuMemsetD8Async: writes"), HasSubstr("read there"));
    // Two readers are fine.
    fake_violations();
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamSynchronize(a));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamSynchronize(b));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemcpyAsync(y, x, 64, a));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemcpyAsync(z, x, 64, b));
    EXPECT_CLEAN();
}

TEST_F(LibcudaTest, NeighboursAndDisjointRowsAreNoConflict)
{
    CUstream a = stream(), b = stream();
    CUdeviceptr x = alloc(4096), y = alloc(4096);
    EXPECT_EQ(CUDA_SUCCESS, fill(x, 100, a));
    EXPECT_EQ(CUDA_SUCCESS, fill(x + 100, 100, b));
    // Two tiles of a matrix of 64-byte rows, side by side; then one that reaches over.
    auto tile = [&](size_t column, size_t width, CUstream s) {
        CUDA_MEMCPY2D copy;
        memset(&copy, 0, sizeof copy);
        copy.srcMemoryType = copy.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
        copy.srcDevice = y + column;
        copy.dstDevice = x + 1024 + column;
        copy.srcPitch = copy.dstPitch = 64;
        copy.WidthInBytes = width;
        copy.Height = 8;
        EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemcpy2DAsync(&copy, s));
    };
    tile(0, 32, a);
    tile(32, 32, b);
    EXPECT_CLEAN();
    tile(31, 2, b);
    EXPECT_CAUGHT(HasSubstr("cuMemcpy2DAsync: writes"));
}

TEST_F(LibcudaTest, WhatOrdersIsSeen)
{
    CUstream a = stream(), b = stream(), c = stream();
    CUdeviceptr x = alloc(64);
    EXPECT_EQ(CUDA_SUCCESS, fill(x, 64, a));
    after(b, a);
    EXPECT_EQ(CUDA_SUCCESS, fill(x, 64, b));
    after(c, b); // and so after a
    EXPECT_EQ(CUDA_SUCCESS, fill(x, 64, c));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamSynchronize(c)); // the host knows, and tells whoever comes
    EXPECT_EQ(CUDA_SUCCESS, fill(x, 64, a));
    CUevent e = event();
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuEventRecord(e, a));
    while (cu_->cuEventQuery(e) == CUDA_ERROR_NOT_READY)
        std::this_thread::yield();
    EXPECT_EQ(CUDA_SUCCESS, fill(x, 64, b));
    while (cu_->cuStreamQuery(b) == CUDA_ERROR_NOT_READY)
        std::this_thread::yield();
    EXPECT_EQ(CUDA_SUCCESS, fill(x, 64, c));
    EXPECT_CLEAN();
}

TEST_F(LibcudaTest, AnEventOrdersWhatWasBeforeIt)
{
    CUstream a = stream(), b = stream();
    CUdeviceptr x = alloc(64);
    CUevent e = event();
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuEventRecord(e, a));
    EXPECT_EQ(CUDA_SUCCESS, fill(x, 64, a)); // behind the event
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamWaitEvent(b, e, 0));
    EXPECT_EQ(CUDA_SUCCESS, fill(x, 64, b));
    EXPECT_CAUGHT(HasSubstr("nothing orders it after"));
}

TEST_F(LibcudaTest, AWordThatTheHostMaySeeOrders)
{
    CUstream a = stream(), b = stream();
    CUdeviceptr x = alloc(64);
    auto *word = reinterpret_cast<uint64_t *>(host(64));
    CUdeviceptr device_word = 0;
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemHostGetDevicePointer(&device_word, word, 0));
    EXPECT_EQ(CUDA_SUCCESS, fill(x, 64, a));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamWriteValue64(a, device_word, 7, 0));
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != 7)
        std::this_thread::yield();
    fake_cuda()->settle();
    EXPECT_EQ(CUDA_SUCCESS, fill(x, 64, b));
    EXPECT_CLEAN();
}

TEST_F(LibcudaTest, KernelsAreHeldToWhatTheyDeclare)
{
    CUstream a = stream(), b = stream();
    CUdeviceptr x = alloc(4096);
    CUfunction reads = function("reads"), writes = function("writes");
    EXPECT_EQ(CUDA_SUCCESS, launch(writes, a, x, 1024));
    EXPECT_EQ(CUDA_SUCCESS, launch(writes, b, x + 1024, 1024));
    EXPECT_CLEAN();
    EXPECT_EQ(CUDA_SUCCESS, launch(reads, b, x + 512)); // up to the end
    EXPECT_CAUGHT(HasSubstr("kernel reads: reads"), HasSubstr("kernel writes"));
    EXPECT_EQ(CUDA_SUCCESS, launch(writes, a, x + 4000, 97));
    EXPECT_CAUGHT(HasSubstr("kernel writes"), HasSubstr("leaves"));
    fake_cuda()->settle();
}

// ---- Life of memory ------------------------------------------------------------------------------

TEST_F(LibcudaTest, UseAfterAStreamOrderedFree)
{
    CUstream a = stream();
    CUmemoryPool p = pool();
    CUdeviceptr x = 0;
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemAllocFromPoolAsync(&x, 64, p, a));
    EXPECT_EQ(CUDA_SUCCESS, fill(x, 64, a));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemFreeAsync(x, a));
    EXPECT_CLEAN();
    EXPECT_NE(CUDA_SUCCESS, fill(x, 64, a));
    EXPECT_CAUGHT(HasSubstr("uses"), HasSubstr("after cuMemFreeAsync"));
    EXPECT_NE(CUDA_SUCCESS, cu_->cuMemFreeAsync(x, a));
    EXPECT_CAUGHT(HasSubstr("was freed already"));
}

TEST_F(LibcudaTest, FreeBeforeTheLastUse)
{
    CUstream a = stream(), b = stream();
    CUmemoryPool p = pool();
    CUdeviceptr x = 0;
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemAllocFromPoolAsync(&x, 64, p, a));
    after(b, a);
    EXPECT_EQ(CUDA_SUCCESS, fill(x, 64, b));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemFreeAsync(x, a));
    EXPECT_CAUGHT(HasSubstr("cuMemFreeAsync"),
                  HasSubstr("nothing orders it after cuMemsetD8Async"));
    CUdeviceptr y = alloc(64);
    EXPECT_EQ(CUDA_SUCCESS, fill(y, 64, b));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemFree(y));
    EXPECT_CAUGHT(HasSubstr("cuMemFree:"), HasSubstr("nothing orders it after"));
    fake_cuda()->settle();
}

TEST_F(LibcudaTest, UseBeforeAStreamOrderedAllocation)
{
    CUstream a = stream(), b = stream();
    CUdeviceptr x = 0;
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemAllocFromPoolAsync(&x, 64, pool(), a));
    EXPECT_EQ(CUDA_SUCCESS, fill(x, 64, b));
    EXPECT_CAUGHT(HasSubstr("nothing orders it after the allocation"));
}

TEST_F(LibcudaTest, UnregisteringWhatIsInUse)
{
    CUstream a = stream();
    CUdeviceptr x = alloc(64);
    char *h = host(64);
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemcpyAsync(x, address_of(h), 64, a));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemHostUnregister(h));
    EXPECT_CAUGHT(HasSubstr("cuMemHostUnregister"), HasSubstr("nothing orders it after"));
    EXPECT_EQ(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cu_->cuMemHostUnregister(h));
    EXPECT_CAUGHT(HasSubstr("not the start of registered memory"));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamSynchronize(a));
}

TEST_F(LibcudaTest, APoolThatIsInUseAndMemoryOfAnotherKind)
{
    CUmemoryPool p = pool();
    CUstream a = stream();
    CUdeviceptr x = 0;
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemAllocFromPoolAsync(&x, 64, p, a));
    EXPECT_EQ(CUDA_ERROR_INVALID_VALUE, cu_->cuMemFree(x));
    EXPECT_CAUGHT(HasSubstr("was not allocated in a way that this frees"));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemPoolDestroy(p));
    EXPECT_CAUGHT(HasSubstr("1 allocations of the pool are alive"));
    EXPECT_EQ(CUDA_ERROR_INVALID_HANDLE, cu_->cuMemPoolDestroy(p));
    EXPECT_CAUGHT(HasSubstr("pool"), HasSubstr("is not alive"));
}

TEST_F(LibcudaTest, RangesThatLeaveTheirMemory)
{
    CUstream a = stream();
    CUdeviceptr x = alloc(64), y = alloc(64);
    EXPECT_NE(CUDA_SUCCESS, fill(x + 60, 8, a));
    EXPECT_CAUGHT(HasSubstr("leaves device memory"));
    EXPECT_NE(CUDA_SUCCESS, cu_->cuMemcpyAsync(x, y, 65, a));
    EXPECT_CAUGHT(HasSubstr("cuMemcpyAsync"), HasSubstr("leaves"));
}

TEST_F(LibcudaTest, TheHostCannotTouchDeviceMemory)
{
    CUdeviceptr x = alloc(64);
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        volatile char *ptr = reinterpret_cast<volatile char *>(x);
        *ptr = 1;
        _exit(0);
    }
    int exit_status = 0;
    ASSERT_EQ(child, waitpid(child, &exit_status, 0));
    EXPECT_FALSE(WIFEXITED(exit_status) && WEXITSTATUS(exit_status) == 0);
}

// ---- Residency -----------------------------------------------------------------------------------

TEST_F(LibcudaTest, PageableMemoryInACopy)
{
    CUstream a = stream();
    CUdeviceptr x = alloc(64);
    std::vector<char> pageable(64);
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemcpyAsync(x, address_of(pageable.data()), 64, a));
    EXPECT_CAUGHT(HasSubstr("host memory that is not registered"));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamSynchronize(a));
    EXPECT_EQ(CUDA_ERROR_INVALID_VALUE, fill(address_of(pageable.data()), 64, a));
    EXPECT_CAUGHT(HasSubstr("is no device memory"));
}

TEST_F(LibcudaTest, MemoryOfAnotherDevice)
{
    two_devices();
    CUdeviceptr x = alloc(64);
    CUstream a = stream();
    CUfunction writes0 = function("writes");
    current(1);
    CUdeviceptr y = alloc(64);
    CUstream b = stream();
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemcpyAsync(y, x, 64, b));
    EXPECT_CAUGHT(HasSubstr("which device 1 cannot reach"));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamSynchronize(b));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemcpyPeerAsync(y, contexts_[1], x, contexts_[0], 64, b));
    EXPECT_CLEAN();
    EXPECT_NE(CUDA_SUCCESS, cu_->cuMemcpyPeerAsync(y, contexts_[0], x, contexts_[1], 64, b));
    EXPECT_CAUGHT(HasSubstr("and not memory of device"));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamSynchronize(b));
    current(0);
    EXPECT_EQ(CUDA_SUCCESS, launch(writes0, a, y, 64));
    EXPECT_CAUGHT(HasSubstr("kernel writes: parameter 0"), HasSubstr("on a stream of device 0"));
    fake_cuda()->settle();
}

TEST_F(LibcudaTest, PoolsLetPeersInOnlyWhereThereAreSome)
{
    two_devices();
    CUmemoryPool p = pool(0);
    CUmemAccessDesc access = {{CU_MEM_LOCATION_TYPE_DEVICE, 1}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemPoolSetAccess(p, &access, 1));
    CUstream a = stream();
    CUdeviceptr x = 0;
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemAllocFromPoolAsync(&x, 64, p, a));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamSynchronize(a));
    current(1);
    CUstream b = stream();
    CUdeviceptr y = alloc(64);
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemcpyAsync(y, x, 64, b));
    EXPECT_CLEAN();
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamSynchronize(b));
    two_devices(false);
    p = pool(0);
    EXPECT_NE(CUDA_SUCCESS, cu_->cuMemPoolSetAccess(p, &access, 1));
    EXPECT_CAUGHT(HasSubstr("cannot reach"));
}

TEST_F(LibcudaTest, HostMemoryThatIsNotPortableOrNotMapped)
{
    two_devices();
    char *h = host(64, CU_MEMHOSTREGISTER_DEVICEMAP), *unmapped = host(64, 0);
    CUdeviceptr address;
    EXPECT_EQ(CUDA_ERROR_INVALID_VALUE, cu_->cuMemHostGetDevicePointer(&address, unmapped, 0));
    CUstream a = stream();
    EXPECT_NE(CUDA_SUCCESS, cu_->cuStreamWriteValue64(a, address_of(unmapped), 1, 0));
    EXPECT_CAUGHT(HasSubstr("is not mapped for devices"));
    EXPECT_NE(CUDA_SUCCESS, cu_->cuStreamWriteValue64(a, address_of(h) + 4, 1, 0));
    EXPECT_CAUGHT(HasSubstr("not an aligned word"));
    current(1);
    CUdeviceptr x = alloc(64);
    CUstream b = stream();
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemcpyAsync(x, address_of(h), 64, b));
    EXPECT_CAUGHT(HasSubstr("not portable"));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamSynchronize(b));
    EXPECT_EQ(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cu_->cuMemHostRegister(h + 8, 8, 0));
}

#if MTI_CU_HAS_BATCH
TEST_F(LibcudaTest, BatchesThatADriverWouldRefuse)
{
    CUstream a = stream();
    CUdeviceptr x = alloc(256), y = alloc(256);
    CUmemcpyAttributes attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
    size_t first = 0;
    CUdeviceptr dsts[] = {x, x + 32}, srcs[] = {y, y + 64};
    size_t sizes[] = {64, 64}, zero[] = {64, 0}, fine[] = {32, 32};
    EXPECT_EQ(CUDA_SUCCESS, cu_->batch_v13000(dsts, srcs, sizes, 2, &attributes, &first, 1, a));
    EXPECT_CAUGHT(HasSubstr("two entries write the same bytes"));
    EXPECT_NE(CUDA_SUCCESS, cu_->batch_v13000(dsts, srcs, zero, 2, &attributes, &first, 1, a));
    EXPECT_CAUGHT(HasSubstr("entry 1 is empty"));
    EXPECT_EQ(CUDA_SUCCESS, cu_->batch_v13000(dsts, srcs, fine, 2, &attributes, &first, 1, a));
    size_t failed = 0;
    EXPECT_EQ(CUDA_SUCCESS,
              cu_->batch_v12080(dsts, srcs, fine, 2, &attributes, &first, 1, &failed, a));
    attributes.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_INVALID;
    EXPECT_NE(CUDA_SUCCESS, cu_->batch_v13000(dsts, srcs, fine, 2, &attributes, &first, 1, a));
    EXPECT_CLEAN();
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamSynchronize(a));
}
#endif

// ---- Contexts ------------------------------------------------------------------------------------

TEST_F(LibcudaTest, NoContextAndTheWrongOne)
{
    two_devices();
    CUstream a = stream();
    CUdeviceptr x = alloc(64);
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuCtxSetCurrent(nullptr));
    EXPECT_EQ(CUDA_ERROR_INVALID_CONTEXT, fill(x, 64, a));
    EXPECT_CAUGHT(HasSubstr("no context is current"));
    current(1);
    EXPECT_EQ(CUDA_ERROR_INVALID_CONTEXT, fill(x, 64, a));
    EXPECT_CAUGHT(HasSubstr("a stream of device 0, while the context of device 1 is current"));
    // Another thread starts without one.
    std::thread([&] { EXPECT_EQ(CUDA_ERROR_INVALID_CONTEXT, fill(x, 64, a)); }).join();
    EXPECT_CAUGHT(HasSubstr("no context is current"));
}

TEST_F(LibcudaTest, EventsAndFunctionsOfAnotherDevice)
{
    two_devices();
    CUevent e = event();
    CUfunction writes = function("writes");
    CUstream a = stream();
    current(1);
    CUstream b = stream();
    CUdeviceptr x = alloc(64);
    EXPECT_EQ(CUDA_ERROR_INVALID_HANDLE, cu_->cuEventRecord(e, b));
    EXPECT_CAUGHT(HasSubstr("an event of device 0 on a stream of device 1"));
    EXPECT_EQ(CUDA_ERROR_INVALID_HANDLE, launch(writes, b, x, 8));
    EXPECT_CAUGHT(HasSubstr("a function of device 0 on a stream of device 1"));
    // To wait across devices is fine.
    current(0);
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuEventRecord(e, a));
    current(1);
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamWaitEvent(b, e, 0));
    EXPECT_CLEAN();
}

TEST_F(LibcudaTest, TheContextIsReleased)
{
    CUstream a = stream();
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuDevicePrimaryCtxRelease(0));
    EXPECT_CAUGHT(HasSubstr("still there: a stream of device 0"));
    EXPECT_EQ(CUDA_ERROR_CONTEXT_IS_DESTROYED, cu_->cuStreamQuery(a));
    EXPECT_CAUGHT(HasSubstr("the current context was released"));
    EXPECT_EQ(CUDA_ERROR_INVALID_CONTEXT, cu_->cuDevicePrimaryCtxRelease(0));
    EXPECT_CAUGHT(HasSubstr("is not retained"));
}

TEST_F(LibcudaTest, TheDefaultStreamAndTimedEvents)
{
    CUdeviceptr x = alloc(64);
    EXPECT_EQ(CUDA_ERROR_INVALID_HANDLE, fill(x, 64, nullptr));
    EXPECT_CAUGHT(HasSubstr("name a stream"));
    CUevent e;
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuEventCreate(&e, CU_EVENT_DEFAULT));
    EXPECT_CAUGHT(HasSubstr("timed event"));
    CUstream a = stream();
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamWaitEvent(a, e, 0));
    EXPECT_CAUGHT(HasSubstr("waits for nothing"));
}

// ---- Handles -------------------------------------------------------------------------------------

TEST_F(LibcudaTest, DoubleDestroys)
{
    CUstream a = stream();
    CUevent e = event();
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamDestroy(a));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuEventDestroy(e));
    EXPECT_CLEAN();
    EXPECT_EQ(CUDA_ERROR_INVALID_HANDLE, cu_->cuStreamDestroy(a));
    EXPECT_CAUGHT(HasSubstr("stream"), HasSubstr("is not alive"));
    EXPECT_EQ(CUDA_ERROR_INVALID_HANDLE, cu_->cuEventDestroy(e));
    EXPECT_CAUGHT(HasSubstr("event"), HasSubstr("is not alive"));
    CUlibrary library = nullptr;
    CUkernel kernel = nullptr;
    CUfunction f = nullptr;
    EXPECT_EQ(CUDA_SUCCESS,
              cu_->cuLibraryLoadData(&library, kImage, nullptr, nullptr, 0, nullptr, nullptr, 0));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuLibraryGetKernel(&kernel, library, "calls"));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuLibraryUnload(library));
    EXPECT_EQ(CUDA_ERROR_INVALID_HANDLE, cu_->cuKernelGetFunction(&f, kernel));
    EXPECT_CAUGHT(HasSubstr("library of a kernel"));
}

TEST_F(LibcudaTest, AStreamThatStillWorksIsDestroyed)
{
    CUstream a = stream();
    EXPECT_EQ(CUDA_SUCCESS, fill(alloc(64), 64, a));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamDestroy(a));
    EXPECT_CAUGHT(HasSubstr("the host does not know the end"));
}

TEST_F(LibcudaTest, LeaksAreListed)
{
    EXPECT_THAT(fake_leaks(), ElementsAre(HasSubstr("context of device 0")));
    CUstream a = stream();
    CUevent e = event();
    CUdeviceptr x = alloc(64);
    char *h = host(64);
    CUmemoryPool p = pool();
    EXPECT_THAT(fake_leaks(),
                AllOf(Contains(HasSubstr("a stream")), Contains(HasSubstr("an event")),
                      Contains(HasSubstr("device memory")), Contains(HasSubstr("a pool")),
                      Contains(HasSubstr("registered host memory"))));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamDestroy(a));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuEventDestroy(e));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemFree(x));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemHostUnregister(h));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemPoolDestroy(p));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuDevicePrimaryCtxRelease(0));
    EXPECT_THAT(fake_leaks(), IsEmpty());
    EXPECT_CLEAN();
}

// ---- Callbacks, forks, versions, deadlocks -------------------------------------------------------

TEST_F(LibcudaTest, CallsInsideHostFunctionsAndKernels)
{
    CUstream a = stream();
    auto launch_host = extra<PFN_cuLaunchHostFunc_v10000>("cuLaunchHostFunc", 10000);
    ASSERT_NE(nullptr, launch_host);
    static const mti_cu_api_t *api;
    api = cu_;
    static std::atomic<int> result;
    result = 0;
    EXPECT_EQ(CUDA_SUCCESS, launch_host(
                                a,
                                [](void *) {
                                    int count;
                                    result = api->cuDeviceGetCount(&count);
                                },
                                nullptr));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamSynchronize(a));
    EXPECT_EQ(CUDA_ERROR_NOT_PERMITTED, result);
    EXPECT_CAUGHT(HasSubstr("cuDeviceGetCount: called inside a kernel or host function"));
    in_kernel = [] { (void)api->cuCtxSetCurrent(nullptr); };
    EXPECT_EQ(CUDA_SUCCESS, launch(function("calls"), a));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamSynchronize(a));
    EXPECT_CAUGHT(HasSubstr("cuCtxSetCurrent: called inside"));
}

TEST_F(LibcudaTest, CallsInAForkedChild)
{
    int lines[2];
    ASSERT_EQ(0, pipe(lines));
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        int count;
        bool refused = cu_->cuDeviceGetCount(&count) == CUDA_ERROR_NOT_INITIALIZED;
        std::vector<std::string> said = fake_violations();
        bool good = refused && said.size() == 1 && said[0].find("forked") != std::string::npos;
        _exit(good ? 0 : 1);
    }
    int exit_status = -1;
    ASSERT_EQ(child, waitpid(child, &exit_status, 0));
    EXPECT_EQ(0, exit_status);
    close(lines[0]);
    close(lines[1]);
}

TEST_F(LibcudaTest, VersionsThatNobodyPinned)
{
    EXPECT_EQ(nullptr, extra<void *>("cuMemAlloc", 13000));
    EXPECT_CAUGHT(HasSubstr("cuMemAlloc at version 13000"), HasSubstr("other versions"));
    EXPECT_EQ(nullptr, extra<void *>("cuCtxSynchronize", 2000));
    EXPECT_CAUGHT(HasSubstr("nothing of that name"));
    EXPECT_EQ(nullptr, extra<void *>("cuInit", 99000));
    EXPECT_CAUGHT(HasSubstr("cannot know"));
    EXPECT_NE(nullptr, extra<void *>("cuMemAlloc", 3020));
    EXPECT_CLEAN();
}

TEST_F(LibcudaTest, ADeadlockIsToldAndEnds)
{
    CUstream a = stream(), b = stream();
    auto wait_value = extra<PFN_cuStreamWaitValue64_v11070>("cuStreamWaitValue64", 11070);
    auto *word = reinterpret_cast<uint64_t *>(host(64));
    *word = 0;
    EXPECT_EQ(CUDA_SUCCESS, wait_value(a, address_of(word), 1, CU_STREAM_WAIT_VALUE_GEQ));
    after(b, a);
    EXPECT_EQ(CUDA_ERROR_LAUNCH_TIMEOUT, cu_->cuStreamSynchronize(b));
    EXPECT_CAUGHT(HasSubstr("a deadlock"), HasSubstr("stream"));
    EXPECT_TRUE(fake_cuda()->is_stuck());
    __atomic_store_n(word, 1, __ATOMIC_RELEASE);
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamSynchronize(b));
    EXPECT_FALSE(fake_cuda()->is_stuck());
}

TEST_F(LibcudaTest, WhatNobodyTookFailsTheProcess)
{
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        // A new program in the place of the child, with a driver of its own.
        setenv("FAKE_CUDA_TEST_LEAVES_ONE", "1", 1);
        execl("/proc/self/exe", "libcuda_test", "--gtest_filter=*LeavesOneInAChild*",
              static_cast<char *>(nullptr));
        _exit(1);
    }
    int exit_status = -1;
    ASSERT_EQ(child, waitpid(child, &exit_status, 0));
    ASSERT_TRUE(WIFEXITED(exit_status));
    EXPECT_EQ(86, WEXITSTATUS(exit_status));
}

TEST(LibcudaExitTest, LeavesOneInAChild)
{
    if (!getenv("FAKE_CUDA_TEST_LEAVES_ONE")) GTEST_SKIP() << "a part of another test";
    mti_cu_api_t api;
    ASSERT_EQ(MANTA_OK, mti_cu_api_load(nullptr, &api));
    EXPECT_EQ(CUDA_ERROR_INVALID_CONTEXT, api.cuStreamQuery(nullptr));
}

// ---- Faults --------------------------------------------------------------------------------------

TEST_F(LibcudaTest, AStickyErrorStopsItsDeviceAndNoOther)
{
    two_devices();
    CUstream a = stream();
    CUdeviceptr x = alloc(64);
    char *h = host(64);
    memset(h, 5, 64);
    fake_cuda()->lose_at_op(0, 2, CUDA_ERROR_ILLEGAL_ADDRESS);
    EXPECT_EQ(CUDA_SUCCESS, fill(x, 64, a));
    (void)cu_->cuMemcpyAsync(address_of(h), x, 64, a);
    EXPECT_EQ(CUDA_ERROR_ILLEGAL_ADDRESS, cu_->cuStreamSynchronize(a));
    EXPECT_EQ(5, h[0]) << "the operation that failed wrote";
    EXPECT_EQ(CUDA_ERROR_ILLEGAL_ADDRESS, fill(x, 64, a));
    EXPECT_EQ(CUDA_ERROR_ILLEGAL_ADDRESS, cu_->cuStreamQuery(a));
    CUdeviceptr y;
    EXPECT_EQ(CUDA_ERROR_ILLEGAL_ADDRESS, cu_->cuMemAlloc(&y, 64));
    current(1);
    CUstream b = stream();
    EXPECT_EQ(CUDA_SUCCESS, fill(alloc(64), 64, b));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamSynchronize(b));
}

TEST_F(LibcudaTest, MemoryEventsAndLaunchesFailWhenTold)
{
    CUdeviceptr x = 0;
    fake_cuda()->fail_alloc(0, 2);
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemAlloc(&x, 64));
    EXPECT_EQ(CUDA_ERROR_OUT_OF_MEMORY, cu_->cuMemAlloc(&x, 64));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuMemAlloc(&x, 64));
    fake_cuda()->limit_events(1);
    event();
    CUevent e;
    EXPECT_EQ(CUDA_ERROR_OUT_OF_MEMORY, cu_->cuEventCreate(&e, CU_EVENT_DISABLE_TIMING));
    fake_cuda()->fail_launch(0, 1, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    CUstream a = stream();
    CUfunction writes = function("writes");
    EXPECT_EQ(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, launch(writes, a, x, 64));
    EXPECT_EQ(CUDA_SUCCESS, launch(writes, a, x, 64));
    EXPECT_EQ(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, launch(writes, a, x, 64, 512)) << "it has 256";
    EXPECT_EQ(CUDA_ERROR_INVALID_VALUE, launch(writes, a, x, 64, 2048));
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamSynchronize(a));
    EXPECT_EQ(2u, fake_cuda()->calls("cuEventCreate"));
}

TEST_F(LibcudaTest, AHeldStreamWaits)
{
    CUstream a = stream();
    fake_cuda()->hold_stream(a, true);
    EXPECT_EQ(CUDA_SUCCESS, fill(alloc(64), 64, a));
    fake_cuda()->settle();
    EXPECT_EQ(CUDA_ERROR_NOT_READY, cu_->cuStreamQuery(a));
    fake_cuda()->hold_stream(a, false);
    EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamSynchronize(a));
}

TEST_F(LibcudaTest, OnAVirtualClockTheSameSeedGivesTheSameExecution)
{
    auto run = [&](uint64_t seed) {
        fake_cuda_options_t options{};
        options.virtual_clock = true;
        options.seed = seed;
        use(options);
        std::string order;
        CUstream streams[4];
        for (CUstream &s : streams)
            s = stream();
        static std::string *log;
        log = &order;
        auto launch_host = extra<PFN_cuLaunchHostFunc_v10000>("cuLaunchHostFunc", 10000);
        for (uintptr_t i = 0; i < 16; i++)
            EXPECT_EQ(CUDA_SUCCESS,
                      launch_host(
                          streams[i % 4],
                          [](void *at) {
                              *log += static_cast<char>('a' + reinterpret_cast<uintptr_t>(at));
                          },
                          reinterpret_cast<void *>(i)));
        for (CUstream s : streams)
            EXPECT_EQ(CUDA_SUCCESS, cu_->cuStreamSynchronize(s));
        return order;
    };
    std::string first = run(1);
    EXPECT_EQ(16u, first.size());
    EXPECT_EQ(first, run(1));
    bool differs = false;
    for (uint64_t seed = 2; seed < 10; seed++)
        differs = differs || run(seed) != first;
    EXPECT_TRUE(differs);
}

} // namespace
