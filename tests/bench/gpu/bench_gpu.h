// Benches of GPUs: every scenario twice in one process, as tasks of manta (manta.cc) and as the driver calls
// that somebody who knows CUDA would write for just this (raw.cc). They take turns; main.cc has the table.
//
// The memory that kernels leave their times in belongs to neither: it is handed to both as an address, and so
// adds nothing to what is measured.
#ifndef TESTS_BENCH_GPU_BENCH_GPU_H
#define TESTS_BENCH_GPU_BENCH_GPU_H

#include "bench/harness.h"

extern "C" {
#include "devices/cuda/cuda_api.h"
}

#include <array>
#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace gpu_bench
{

using bench::Better;
using bench::Run;

constexpr size_t kLeaves = 8;   // of a fork
constexpr size_t kSmall = 4096; // bytes
constexpr size_t kHostChain = 100000;

// What goes wrong in a sample; it makes the sample void.
struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// ---- sizes, the same for both ---------------------------------------------------------------------

inline size_t large_bytes(const Run &run)
{
    return run.quick ? 1 << 20 : 64 << 20;
}
// How long the i-th kernel of a chain runs, in cycles of the device, about 20 us: long enough that the host
// stays ahead. No two in a row are alike, so that a coarse clock of the device errs both ways.
inline uint64_t cycles_of(const Run &run, size_t i)
{
    return run.quick ? 0 : 30000 + i * 7919 % 8192;
}
inline uint64_t cycles_short(const Run &run) // some 20 us: who waits still spins
{
    return run.quick ? 0 : 36000;
}
inline uint64_t cycles_long(const Run &run) // some 2 ms: who waits may have gone to sleep
{
    return run.quick ? 0 : 3600000;
}

// Of all threads of the process, the driver's among them.
double process_cpu_ns();
// Adds the median of |times| to |run|: its figure, or that of its long kernels.
void done_rows(Run &run, const std::vector<double> &times_ns, bool is_long);

// ---- what both use -----------------------------------------------------------------------------------

// A range of host memory that devices can write to.
class Pinned
{
  public:
    Pinned(const mti_cu_api_t *cu, size_t bytes);
    Pinned(const Pinned &) = delete;
    Pinned &operator=(const Pinned &) = delete;
    ~Pinned();
    char *data() const { return data_; }
    size_t bytes() const { return bytes_; }
    CUdeviceptr device() const; // in the current context

  private:
    const mti_cu_api_t *cu_;
    char *data_;
    size_t bytes_;
};

// One device for raw calls, in its primary context, which is manta's too.
struct Gpu {
    int ordinal = 0;
    CUdevice device = 0;
    CUcontext context = nullptr;
    CUlibrary library = nullptr;
    CUfunction step = nullptr, leaf = nullptr, join = nullptr, ends = nullptr, stamp = nullptr;
    std::array<CUstream, kLeaves> streams{};
    std::array<CUevent, kLeaves> events{};
    CUdeviceptr small = 0, large = 0; // |small|: a line of 128 bytes for each leaf and more
    CUmemoryPool pool = nullptr;      // where |large| is from: others may reach it
};

class Board
{
  public:
    explicit Board(size_t large_bytes);
    Board(const Board &) = delete;
    Board &operator=(const Board &) = delete;
    ~Board();

    const mti_cu_api_t *cu;
    std::vector<Gpu> gpus; // at most two

    void use(int gpu) const; // makes its context current
    // Waits, spinning, until the stream has done all it was given.
    void finish(int gpu, size_t stream);
    void launch(CUfunction function, CUstream stream, void **args) const;

    // Where kernels write when they began and ended: a pair for each.
    CUdeviceptr stamps(size_t i) const { return gpus[0].small + 4096 + i * 16; }
    // The first |n| pairs; all of them are written.
    std::vector<uint64_t> stamps_read(size_t n);

    // A word that kernels set and the host looks at.
    std::atomic<uint64_t> *flag() const;
    CUdeviceptr flag_device() const { return flag_device_; }

    const Pinned &pinned() const { return *pinned_; }
    char *pageable() const { return pageable_.get(); }

  private:
    void open(Gpu *gpu, int ordinal);

    size_t large_bytes_;
    std::unique_ptr<Pinned> words_, pinned_;
    std::unique_ptr<char[]> pageable_;
    CUdeviceptr words_device_ = 0, flag_device_ = 0;
    CUevent done_ = nullptr; // where streams can't write words
    uint64_t seq_ = 0;
};

constexpr size_t kStampsMost = 32768;

// Throws if |result| is no success; |what| is the call.
void must(const mti_cu_api_t *cu, CUresult result, const char *what);
#define BENCH_CU(cu, call) ::gpu_bench::must((cu), (cu)->call, #call)

// A thread that looks at the board's flag and remembers when it saw each value first: the earliest moment at which the
// host can know that a kernel is about to end.
class Observer
{
  public:
    Observer(Board &board, size_t rounds);
    Observer(const Observer &) = delete;
    Observer &operator=(const Observer &) = delete;
    ~Observer();
    // From when |value|, from 1, was seen until |now_ns|; 0 if this thread saw it late. Waits for it.
    double ns_until(double now_ns, uint64_t value) const;

  private:
    Board &board_;
    std::vector<std::atomic<double>> seen_;
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

// Of a chain of |n| tasks, in |unit|s of |unit_ns|: the wall clock and the CPU time of |spent|.
struct Spent {
    double wall_ns, cpu_ns;
};
void chain_rows(Run &run, const Spent &spent, size_t n, const char *unit, double unit_ns);

// A host that sees the ends of kernels late has nothing to tell.
struct Void : Failure {
    using Failure::Failure;
};

// Mean time from the end of each to the start of the next, of those at [n / 8, n).
double mean_gap(const std::vector<uint64_t> &stamps, size_t n);
// Mean time from the end of a fork to the start of the later one of its two children; three stamps a round.
double mean_fork_gap(const std::vector<uint64_t> &stamps, size_t rounds);

// ---- the two systems -------------------------------------------------------------------------------------

struct Scenario {
    const char *name;
    const char *also; // another row's name, or NULL
    const char *unit;
    Better better;
    int gpus; // 0: needs none, but the null driver
    void (*manta)(Run &run, Board &board);
    void (*raw)(Run &run, Board &board);
};

namespace with_manta
{
void start(); // the default runtime
void stop();
void chain(Run &run, Board &board);
void chain_host(Run &run, Board &board);
void gap(Run &run, Board &board);
void gap_across(Run &run, Board &board);
void fork_join(Run &run, Board &board);
void done(Run &run, Board &board);
void done_wait(Run &run, Board &board);
void copy_in(Run &run, Board &board);
void copy_pageable(Run &run, Board &board);
void copy_out(Run &run, Board &board);
void copy_peer(Run &run, Board &board);
void small_put(Run &run, Board &board);
} // namespace with_manta

namespace with_raw
{
void chain(Run &run, Board &board);
void chain_host(Run &run, Board &board);
void gap(Run &run, Board &board);
void gap_across(Run &run, Board &board);
void fork_join(Run &run, Board &board);
void done(Run &run, Board &board);
void copy_in(Run &run, Board &board);
void copy_pageable(Run &run, Board &board);
void copy_out(Run &run, Board &board);
void copy_peer(Run &run, Board &board);
void small_put(Run &run, Board &board);
} // namespace with_raw

// The fake driver takes kernels from here; nothing if the driver is a real one.
void fake_add_kernels();
// Device code as it is in the program, for raw calls; NULL: there is none.
const void *device_image();

} // namespace gpu_bench

#endif
