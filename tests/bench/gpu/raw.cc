// The scenarios as raw calls of the driver: one thread, no objects, buffers that are there already. What a
// library can be measured against, and not what it could be replaced by.
#include "bench/gpu/bench_gpu.h"

#include <cstring>

namespace gpu_bench
{
namespace with_raw
{

namespace
{

void step(const Board &board, const Gpu &gpu, CUstream stream, CUdeviceptr state)
{
    void *args[] = {&state};
    board.launch(gpu.step, stream, args);
}

void leaf(const Board &board, const Gpu &gpu, CUstream stream, CUdeviceptr in, CUdeviceptr out)
{
    void *args[] = {&in, &out};
    board.launch(gpu.leaf, stream, args);
}

void stamp(const Board &board, const Gpu &gpu, CUstream stream, size_t slot, uint64_t cycles,
           uint64_t value)
{
    CUdeviceptr stamps = board.stamps(slot), flag = value ? board.flag_device() : 0;
    void *args[] = {&stamps, &cycles, &flag, &value};
    board.launch(gpu.stamp, stream, args);
}

void order(const Board &board, CUevent event, CUstream before, CUstream after)
{
    BENCH_CU(board.cu, cuEventRecord(event, before));
    BENCH_CU(board.cu, cuStreamWaitEvent(after, event, CU_EVENT_WAIT_DEFAULT));
}

uint64_t read_word(Board &board, CUdeviceptr from)
{
    uint64_t value;
    char *to = board.pinned().data();
    BENCH_CU(board.cu, cuMemcpyAsync(reinterpret_cast<CUdeviceptr>(to), from, sizeof value,
                                     board.gpus[0].streams[0]));
    board.finish(0, 0);
    memcpy(&value, to, sizeof value);
    return value;
}

// GB/s of |copy|, which puts the copy of |bytes| into a stream and waits.
template <typename F> void copies(Run &run, size_t bytes, F &&copy)
{
    const size_t n = run.quick ? 2 : 8;
    const double start = bench::now_ns();
    for (size_t i = 0; i < n; i++)
        copy();
    run.value(static_cast<double>(n * bytes) / (bench::now_ns() - start));
}

void copy_up(Run &run, Board &board, const char *from)
{
    board.use(0);
    const Gpu &gpu = board.gpus[0];
    const size_t bytes = large_bytes(run);
    copies(run, bytes, [&] {
        BENCH_CU(board.cu, cuMemcpyAsync(gpu.large, reinterpret_cast<CUdeviceptr>(from), bytes,
                                         gpu.streams[0]));
        leaf(board, gpu, gpu.streams[0], gpu.large, gpu.small);
        board.finish(0, 0);
    });
}

} // namespace

static Spent chain_of(Board &board, size_t n)
{
    board.use(0);
    const Gpu &gpu = board.gpus[0];
    leaf(board, gpu, gpu.streams[0], 0, gpu.small);
    board.finish(0, 0);
    const double start = bench::now_ns(), cpu = process_cpu_ns();
    for (size_t i = 0; i < n; i++)
        step(board, gpu, gpu.streams[0], gpu.small);
    board.finish(0, 0);
    return {bench::now_ns() - start, process_cpu_ns() - cpu};
}

void chain(Run &run, Board &board)
{
    const size_t n = run.size(20000);
    const Spent spent = chain_of(board, n);
    if (read_word(board, board.gpus[0].small) != n)
        throw Failure("wrong number at the end of the chain");
    chain_rows(run, spent, n, "us/task", 1e3);
}

void chain_host(Run &run, Board &board)
{
    const size_t n = run.size(kHostChain);
    chain_rows(run, chain_of(board, n), n, "ns/task", 1);
}

void gap(Run &run, Board &board)
{
    board.use(0);
    const Gpu &gpu = board.gpus[0];
    const size_t n = run.size(2000);
    for (size_t i = 0; i < n; i++)
        stamp(board, gpu, gpu.streams[0], i, cycles_of(run, i), 0);
    board.finish(0, 0);
    run.value(mean_gap(board.stamps_read(n), n) / 1e3);
}

void gap_across(Run &run, Board &board)
{
    board.use(0);
    const Gpu &gpu = board.gpus[0];
    const size_t rounds = run.size(1000);
    const CUstream a = gpu.streams[0], b = gpu.streams[1];
    for (size_t i = 0; i < rounds; i++) {
        stamp(board, gpu, a, 3 * i, cycles_of(run, i), 0);
        order(board, gpu.events[0], a, b);
        stamp(board, gpu, a, 3 * i + 1, cycles_of(run, i + 1), 0);
        stamp(board, gpu, b, 3 * i + 2, cycles_of(run, i + 2), 0);
        order(board, gpu.events[1], b, a);
    }
    board.finish(0, 0);
    run.value(mean_fork_gap(board.stamps_read(3 * rounds), rounds) / 1e3);
}

void fork_join(Run &run, Board &board)
{
    board.use(0);
    const Gpu &gpu = board.gpus[0];
    const size_t rounds = run.size(1000);
    const auto line = [&](size_t i) { return gpu.small + i * 128; };
    leaf(board, gpu, gpu.streams[0], 0, line(0));
    board.finish(0, 0);
    const double start = bench::now_ns();
    for (size_t r = 0; r < rounds; r++) {
        BENCH_CU(board.cu, cuEventRecord(gpu.events[0], gpu.streams[0]));
        std::array<CUdeviceptr, kLeaves> leaves;
        for (size_t i = 0; i < kLeaves; i++) {
            const CUstream stream = gpu.streams[i];
            if (i) BENCH_CU(board.cu, cuStreamWaitEvent(stream, gpu.events[0], 0));
            leaf(board, gpu, stream, line(0), leaves[i] = line(1 + i));
        }
        for (size_t i = 1; i < kLeaves; i++)
            order(board, gpu.events[i], gpu.streams[i], gpu.streams[0]);
        CUdeviceptr out = line(0);
        void *args[] = {leaves.data(), &out};
        board.launch(gpu.join, gpu.streams[0], args);
    }
    board.finish(0, 0);
    const double spent = bench::now_ns() - start;
    if (read_word(board, line(0)) != 2 * rounds) throw Failure("wrong number after the last join");
    run.value(spent / 1e3 / static_cast<double>(rounds * (kLeaves + 1)));
}

void done(Run &run, Board &board)
{
    board.use(0);
    const Gpu &gpu = board.gpus[0];
    for (const bool is_long : {false, true}) {
        const size_t rounds = run.size(is_long ? 100 : 500);
        std::vector<double> times;
        Observer observer(board, rounds);
        for (uint64_t i = 1; i <= rounds; i++) {
            stamp(board, gpu, gpu.streams[0], 0, is_long ? cycles_long(run) : cycles_short(run), i);
            board.finish(0, 0);
            const double now = bench::now_ns();
            times.push_back(observer.ns_until(now, i));
        }
        done_rows(run, times, is_long);
    }
}

void copy_in(Run &run, Board &board)
{
    copy_up(run, board, board.pinned().data());
}

void copy_pageable(Run &run, Board &board)
{
    copy_up(run, board, board.pageable());
}

void copy_out(Run &run, Board &board)
{
    board.use(0);
    const Gpu &gpu = board.gpus[0];
    const size_t bytes = large_bytes(run);
    copies(run, bytes, [&] {
        BENCH_CU(board.cu, cuMemcpyAsync(reinterpret_cast<CUdeviceptr>(board.pinned().data()),
                                         gpu.large, bytes, gpu.streams[0]));
        board.finish(0, 0);
    });
}

void copy_peer(Run &run, Board &board)
{
    board.use(1);
    const Gpu &from = board.gpus[0], &to = board.gpus[1];
    const size_t bytes = large_bytes(run);
    copies(run, bytes, [&] {
        BENCH_CU(board.cu, cuMemcpyPeerAsync(to.large, to.context, from.large, from.context, bytes,
                                             to.streams[0]));
        leaf(board, to, to.streams[0], to.large, to.small);
        board.finish(1, 0);
    });
}

void small_put(Run &run, Board &board)
{
    board.use(0);
    const Gpu &gpu = board.gpus[0];
    const size_t rounds = run.size(1000);
    const std::array<char, kSmall> data{1};
    char *up = board.pinned().data(), *down = up + kSmall;
    const CUdeviceptr in = gpu.large, out = gpu.large + kSmall;
    const double start = bench::now_ns();
    for (size_t i = 0; i < rounds; i++) {
        memcpy(up, data.data(), kSmall);
        BENCH_CU(board.cu,
                 cuMemcpyAsync(in, reinterpret_cast<CUdeviceptr>(up), kSmall, gpu.streams[0]));
        leaf(board, gpu, gpu.streams[0], in, out);
        BENCH_CU(board.cu,
                 cuMemcpyAsync(reinterpret_cast<CUdeviceptr>(down), out, kSmall, gpu.streams[0]));
        board.finish(0, 0);
        if (down[0] != 2) throw Failure("wrong bytes came back");
    }
    run.value((bench::now_ns() - start) / 1e3 / static_cast<double>(rounds));
}

} // namespace with_raw
} // namespace gpu_bench
