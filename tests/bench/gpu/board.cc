// What both systems use: devices, streams, memory, clocks.
#include "bench/gpu/bench_gpu.h"

#include <algorithm>
#include <cstring>
#include <ctime>

#include <sched.h>
#include <sys/mman.h>

namespace gpu_bench
{

double process_cpu_ns()
{
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

static double median_of(std::vector<double> values)
{
    if (values.empty()) return 0;
    std::sort(values.begin(), values.end());
    const size_t mid = values.size() / 2;
    return values.size() % 2 ? values[mid] : (values[mid - 1] + values[mid]) / 2;
}

void chain_rows(Run &run, const Spent &spent, size_t n, const char *unit, double unit_ns)
{
    const double each = unit_ns * static_cast<double>(n);
    run.value(spent.wall_ns / each);
    run.also({"-cpu", unit, Better::lower, spent.cpu_ns / each});
}

void done_rows(Run &run, const std::vector<double> &times_ns, bool is_long)
{
    const double us = median_of(times_ns) / 1e3;
    if (us <= 0 && !run.quick)
        throw Void("this host sees the ends of kernels too late to tell: too few cores");
    if (is_long)
        run.also({"-long", "us", Better::lower, us});
    else
        run.value(us);
}

void must(const mti_cu_api_t *cu, CUresult result, const char *what)
{
    if (result == CUDA_SUCCESS) return;
    const char *name = nullptr;
    cu->cuGetErrorName(result, &name);
    throw Failure(std::string(what) + ": " + (name ? name : "an unknown error"));
}

// ---- memory ---------------------------------------------------------------------------------------

Pinned::Pinned(const mti_cu_api_t *cu, size_t bytes) : cu_(cu), bytes_((bytes + 4095) / 4096 * 4096)
{
    void *data = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) throw Failure("no host memory");
    data_ = static_cast<char *>(data);
    memset(data_, 1, bytes_);
    const CUresult result = cu->cuMemHostRegister(
        data_, bytes_, CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP);
    if (result == CUDA_SUCCESS) return;
    munmap(data_, bytes_);
    must(cu, result, "cuMemHostRegister");
}

Pinned::~Pinned()
{
    cu_->cuMemHostUnregister(data_);
    munmap(data_, bytes_);
}

CUdeviceptr Pinned::device() const
{
    CUdeviceptr ptr = 0;
    BENCH_CU(cu_, cuMemHostGetDevicePointer(&ptr, data_, 0));
    return ptr;
}

// ---- devices ----------------------------------------------------------------------------------------

static CUfunction function_of(const mti_cu_api_t *cu, CUlibrary library, const char *name)
{
    CUkernel kernel = nullptr;
    CUfunction function = nullptr;
    BENCH_CU(cu, cuLibraryGetKernel(&kernel, library, name));
    BENCH_CU(cu, cuKernelGetFunction(&function, kernel));
    if (cu->cuFuncLoad) BENCH_CU(cu, cuFuncLoad(function)); // else its first launch does
    return function;
}

void Board::open(Gpu *gpu, int ordinal)
{
    gpu->ordinal = ordinal;
    BENCH_CU(cu, cuDeviceGet(&gpu->device, ordinal));
    BENCH_CU(cu, cuDevicePrimaryCtxRetain(&gpu->context, gpu->device));
    BENCH_CU(cu, cuCtxSetCurrent(gpu->context));
    BENCH_CU(cu, cuLibraryLoadData(&gpu->library, device_image(), nullptr, nullptr, 0, nullptr,
                                   nullptr, 0));
    gpu->step = function_of(cu, gpu->library, "bench_step");
    gpu->leaf = function_of(cu, gpu->library, "bench_leaf");
    gpu->join = function_of(cu, gpu->library, "bench_join");
    gpu->ends = function_of(cu, gpu->library, "bench_ends");
    gpu->stamp = function_of(cu, gpu->library, "bench_stamp");
    for (CUstream &stream : gpu->streams)
        BENCH_CU(cu, cuStreamCreateWithPriority(&stream, CU_STREAM_NON_BLOCKING, 0));
    for (CUevent &event : gpu->events)
        BENCH_CU(cu, cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    BENCH_CU(cu, cuMemAlloc(&gpu->small, 4096 + kStampsMost * 16));

    int pools = 0;
    BENCH_CU(cu,
             cuDeviceGetAttribute(&pools, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, gpu->device));
    if (!pools) {
        BENCH_CU(cu, cuMemAlloc(&gpu->large, large_bytes_));
        return;
    }
    CUmemPoolProps props;
    memset(&props, 0, sizeof props);
    props.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    props.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    props.location.id = gpu->device;
    BENCH_CU(cu, cuMemPoolCreate(&gpu->pool, &props));
    BENCH_CU(cu, cuMemAllocFromPoolAsync(&gpu->large, large_bytes_, gpu->pool, gpu->streams[0]));
    BENCH_CU(cu, cuStreamSynchronize(gpu->streams[0]));
}

Board::Board(size_t large_bytes) : cu(nullptr), large_bytes_(large_bytes)
{
    if (mti_cu_api_get(&cu) != MANTA_OK) throw Failure(manta_error_message());
    if (!device_image()) throw Failure("no device code in this build: there was no nvcc");
    gpus.resize(cu->device_count > 1 ? 2 : 1);
    for (size_t i = 0; i < gpus.size(); i++)
        open(&gpus[i], static_cast<int>(i));
    // Both ways, where there is a way; without it the driver goes through the host.
    for (size_t i = 0; gpus.size() == 2 && i < 2; i++) {
        CUmemAccessDesc access;
        memset(&access, 0, sizeof access);
        access.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
        access.location.id = gpus[1 - i].device;
        access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
        int can = 0;
        BENCH_CU(cu, cuDeviceCanAccessPeer(&can, gpus[1 - i].device, gpus[i].device));
        if (can && gpus[i].pool) BENCH_CU(cu, cuMemPoolSetAccess(gpus[i].pool, &access, 1));
    }
    use(0);
    words_ = std::make_unique<Pinned>(cu, 4096 * 2);
    memset(words_->data(), 0, words_->bytes());
    words_device_ = words_->device();
    flag_device_ = words_device_ + 4096;
    pinned_ = std::make_unique<Pinned>(cu, large_bytes);
    pageable_ = std::make_unique<char[]>(large_bytes);
    memset(pageable_.get(), 1, large_bytes);
    int words = 0;
    BENCH_CU(cu, cuDeviceGetAttribute(&words, CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS,
                                      gpus[0].device));
    if (!words || !cu->cuStreamWriteValue64)
        BENCH_CU(cu, cuEventCreate(&done_, CU_EVENT_DISABLE_TIMING));
}

// Everything is over; what fails now has been told before.
Board::~Board()
{
    for (Gpu &gpu : gpus) {
        cu->cuCtxSetCurrent(gpu.context);
        if (gpu.pool)
            cu->cuMemFreeAsync(gpu.large, gpu.streams[0]);
        else
            cu->cuMemFree(gpu.large);
        for (CUstream stream : gpu.streams) {
            cu->cuStreamSynchronize(stream);
            cu->cuStreamDestroy(stream);
        }
        for (CUevent event : gpu.events)
            cu->cuEventDestroy(event);
        if (gpu.pool) cu->cuMemPoolDestroy(gpu.pool);
        cu->cuMemFree(gpu.small);
        cu->cuLibraryUnload(gpu.library);
    }
    cu->cuCtxSetCurrent(gpus[0].context);
    if (done_) cu->cuEventDestroy(done_);
    words_.reset();
    pinned_.reset();
    cu->cuCtxSetCurrent(nullptr);
    for (Gpu &gpu : gpus)
        cu->cuDevicePrimaryCtxRelease(gpu.device);
}

void Board::use(int gpu) const
{
    BENCH_CU(cu, cuCtxSetCurrent(gpus[static_cast<size_t>(gpu)].context));
}

void Board::launch(CUfunction function, CUstream stream, void **args) const
{
    CUlaunchConfig config;
    memset(&config, 0, sizeof config);
    config.gridDimX = config.gridDimY = config.gridDimZ = 1;
    config.blockDimX = 32;
    config.blockDimY = config.blockDimZ = 1;
    config.hStream = stream;
    BENCH_CU(cu, cuLaunchKernelEx(&config, function, args, nullptr));
}

// Spins; now and then it asks the driver, which alone knows of errors.
template <typename F> static void spin_until(const mti_cu_api_t *cu, CUstream stream, F is_done)
{
    for (uint64_t i = 1; !is_done(); i++) {
        if (i % 65536 != 0) {
            bench::cpu_pause();
            continue;
        }
        const CUresult result = cu->cuStreamQuery(stream);
        if (result != CUDA_ERROR_NOT_READY) must(cu, result, "cuStreamQuery");
        sched_yield();
    }
}

void Board::finish(int index, size_t at)
{
    const CUstream stream = gpus[static_cast<size_t>(index)].streams[at];
    if (done_) {
        if (index != 0) { // its event is of the other context
            spin_until(cu, stream, [&] { return cu->cuStreamQuery(stream) == CUDA_SUCCESS; });
            return;
        }
        BENCH_CU(cu, cuEventRecord(done_, stream));
        spin_until(cu, stream, [&] { return cu->cuEventQuery(done_) == CUDA_SUCCESS; });
        return;
    }
    const uint64_t seq = ++seq_;
    auto *word = reinterpret_cast<uint64_t *>(words_->data());
    const CUdeviceptr device = index == 0 ? words_device_ : words_->device();
    BENCH_CU(cu, cuStreamWriteValue64(stream, device, seq, CU_STREAM_WRITE_VALUE_DEFAULT));
    spin_until(cu, stream, [&] { return __atomic_load_n(word, __ATOMIC_ACQUIRE) == seq; });
}

// ---- times of the device ------------------------------------------------------------------------------

std::vector<uint64_t> Board::stamps_read(size_t n)
{
    use(0);
    BENCH_CU(cu, cuMemcpyAsync(reinterpret_cast<CUdeviceptr>(pinned_->data()), stamps(0), n * 16,
                               gpus[0].streams[0]));
    BENCH_CU(cu, cuStreamSynchronize(gpus[0].streams[0]));
    std::vector<uint64_t> read(2 * n);
    memcpy(read.data(), pinned_->data(), n * 16);
    return read;
}

std::atomic<uint64_t> *Board::flag() const
{
    static_assert(sizeof(std::atomic<uint64_t>) == 8, "a kernel writes it");
    return reinterpret_cast<std::atomic<uint64_t> *>(words_->data() + 4096);
}

static double between(uint64_t from, uint64_t to)
{
    return static_cast<double>(to) - static_cast<double>(from);
}

double mean_gap(const std::vector<uint64_t> &stamps, size_t n)
{
    const size_t first = n / 8;
    double sum = 0;
    for (size_t i = first; i + 1 < n; i++)
        sum += between(stamps[2 * i + 1], stamps[2 * i + 2]);
    return sum / static_cast<double>(n - 1 - first);
}

double mean_fork_gap(const std::vector<uint64_t> &stamps, size_t rounds)
{
    const size_t first = rounds / 8;
    double sum = 0;
    for (size_t i = first; i < rounds; i++) {
        const uint64_t *at = &stamps[6 * i]; // fork, child, child
        sum += between(at[1], std::max(at[2], at[4]));
    }
    return sum / static_cast<double>(rounds - first);
}

Observer::Observer(Board &board, size_t rounds) : board_(board), seen_(rounds + 1)
{
    // relaxed, all of these: a thread that is not there yet, and times that are asked for by value.
    board.flag()->store(0, std::memory_order_relaxed);
    thread_ = std::thread([this] {
        uint64_t last = 0;
        while (!stop_.load(std::memory_order_relaxed)) {
            const uint64_t now = board_.flag()->load(std::memory_order_relaxed);
            if (now == last || now >= seen_.size()) {
                bench::cpu_pause();
                continue;
            }
            last = now;
            seen_[now].store(bench::now_ns(), std::memory_order_relaxed);
        }
    });
}

Observer::~Observer()
{
    stop_.store(true, std::memory_order_relaxed);
    thread_.join();
}

double Observer::ns_until(double now_ns, uint64_t value) const
{
    double seen;
    while ((seen = seen_[value].load(std::memory_order_relaxed)) == 0)
        sched_yield();
    return std::max(now_ns - seen, 0.0);
}

} // namespace gpu_bench
