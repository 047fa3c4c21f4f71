// The scenarios as tasks of manta, through its public headers, with all defaults. The main thread submits, and
// waits for ever.
#include "bench/gpu/bench_gpu.h"

#include <manta/manta.h>

#include <cstring>

MANTA_KERNEL(bench_step, uint64_t *);
MANTA_KERNEL(bench_leaf, const uint64_t *, uint64_t *);
struct bg_leaves {
    const uint64_t *at[gpu_bench::kLeaves];
};
MANTA_KERNEL(bench_join, bg_leaves, uint64_t *);
MANTA_KERNEL(bench_ends, uint64_t *, uint64_t, uint64_t);
MANTA_KERNEL(bench_stamp, uint64_t *, uint64_t, uint64_t *, uint64_t);

static manta_grid_t one_warp()
{
    return manta_grid_1d(32, 32);
}

// What a kernel of times is told; the addresses are the bench's own.
struct bg_stamp_t {
    uint64_t *stamps;
    uint64_t cycles;
    uint64_t *flag;
    uint64_t value;
};

static manta_status_t launch_stamp(const bg_stamp_t &at)
{
    return bench_stamp_launch(one_warp(), at.stamps, at.cycles, at.flag, at.value);
}

// A line of eight words, so that results live on the device and not in the ref.
#define bg_first_PARAMS MANTA_OUT(uint64_t, y, 8)
MANTA_TASK_DECLARE(bg_first);
MANTA_CUDA(bg_first)
{
    return bench_leaf_launch(one_warp(), nullptr, y.data);
}

#define bg_step_PARAMS MANTA_INOUT(uint64_t, y)
MANTA_TASK_DECLARE(bg_step);
MANTA_CUDA(bg_step)
{
    return bench_step_launch(one_warp(), y.data);
}

#define bg_leaf_PARAMS MANTA_IN(uint64_t, x), MANTA_OUT(uint64_t, y, 8)
MANTA_TASK_DECLARE(bg_leaf);
MANTA_CUDA(bg_leaf)
{
    return bench_leaf_launch(one_warp(), x.data, y.data);
}

#define bg_join_PARAMS MANTA_IN_LIST(uint64_t, leaves), MANTA_OUT(uint64_t, y, 8)
MANTA_TASK_DECLARE(bg_join);
MANTA_CUDA(bg_join)
{
    bg_leaves at;
    for (size_t i = 0; i < gpu_bench::kLeaves; i++)
        at.at[i] = leaves.items[i].data;
    return bench_join_launch(one_warp(), at, y.data);
}

#define bg_stamp_PARAMS MANTA_VAL(bg_stamp_t, at), MANTA_INOUT(uint64_t, y)
MANTA_TASK_DECLARE(bg_stamp);
MANTA_CUDA(bg_stamp)
{
    (void)y;
    return launch_stamp(at);
}

#define bg_fork_PARAMS                                                                             \
    MANTA_VAL(bg_stamp_t, at), MANTA_IN_LIST(uint64_t, after), MANTA_OUT(uint64_t, y, 8)
MANTA_TASK_DECLARE(bg_fork);
MANTA_CUDA(bg_fork)
{
    (void)after;
    (void)y;
    return launch_stamp(at);
}

// No result but its end.
#define bg_flag_PARAMS MANTA_VAL(bg_stamp_t, at)
MANTA_TASK_DECLARE(bg_flag);
MANTA_CUDA(bg_flag)
{
    return launch_stamp(at);
}

// On a CPU, behind the end of a task on the device.
MANTA_TASK(bg_seen, MANTA_IN(char, end), MANTA_LOCAL(double *, ns))
{
    (void)end;
    *ns = bench::now_ns();
    return MANTA_OK;
}

// Reads a word of what it was given, for the sake of having it there.
#define bg_touch_PARAMS MANTA_IN(uint64_t, x), MANTA_VAL(uint64_t, to)
MANTA_TASK_DECLARE(bg_touch);
MANTA_CUDA(bg_touch)
{
    return bench_leaf_launch(one_warp(), x.data, reinterpret_cast<uint64_t *>(to));
}

#define bg_large_PARAMS MANTA_VAL(uint64_t, count), MANTA_OUT(uint64_t, y, count)
MANTA_TASK_DECLARE(bg_large);
MANTA_CUDA(bg_large)
{
    return bench_ends_launch(one_warp(), y.data, y.count, 7);
}

#define bg_small_PARAMS MANTA_IN(uint64_t, x), MANTA_OUT(uint64_t, y, x.count)
MANTA_TASK_DECLARE(bg_small);
MANTA_CUDA(bg_small)
{
    return bench_leaf_launch(one_warp(), x.data, y.data);
}

namespace gpu_bench
{
namespace with_manta
{

namespace
{

void check(manta_status_t status)
{
    if (status != MANTA_OK)
        throw Failure(std::string(manta_status_name(status)) + ": " + manta_error_message());
}

void wait(manta_ref_t ref)
{
    check(manta_wait(&ref, 1, 1, MANTA_FOREVER, nullptr, nullptr));
    const manta_status_t status = manta_ref_status(ref);
    if (status == MANTA_OK) return;
    std::string text = manta_status_name(status);
    const manta_error_t *error = manta_ref_error(ref);
    if (error) text += std::string(": ") + manta_error_text(error);
    manta_error_release(error);
    throw Failure(text);
}

void finish(manta_ref_t ref)
{
    wait(ref);
    check(manta_release(ref));
}

manta_task_options_t on(int gpu)
{
    return MANTA_OPTIONS(.where = manta_gpu(gpu));
}

uint64_t *address(CUdeviceptr ptr)
{
    return reinterpret_cast<uint64_t *>(ptr);
}

// A line on the device.
manta::ref<uint64_t> first()
{
    const manta::ref<uint64_t> y = bg_first_with(on(0));
    wait(y);
    return y;
}

uint64_t read_word(manta_ref_t ref)
{
    uint64_t line[8];
    check(manta_read(ref, line, sizeof line, MANTA_FOREVER));
    return line[0];
}

} // namespace

void start()
{
    manta_runtime_options_t options;
    manta_runtime_options_init(&options);
    options.sim_gpus = -1;
    check(manta_init(&options));
    if (manta_gpu_count(manta_runtime_default()) == 0)
        throw Failure(std::string("manta finds no GPU: ") + manta_error_message());
}

void stop()
{
    (void)manta_shutdown(MANTA_S(60));
}

// Gives what the last task has left at |*y|.
static Spent chain_of(size_t n, manta::ref<uint64_t> *y)
{
    const manta_task_options_t there = on(0);
    *y = first();
    const double start = bench::now_ns(), cpu = process_cpu_ns();
    for (size_t i = 0; i < n; i++)
        *y = bg_step_with(there, *y);
    wait(*y);
    return {bench::now_ns() - start, process_cpu_ns() - cpu};
}

void chain(Run &run, Board &)
{
    const size_t n = run.size(20000);
    manta::ref<uint64_t> y;
    const Spent spent = chain_of(n, &y);
    if (read_word(y) != n) throw Failure("wrong number at the end of the chain");
    check(manta_release(y));
    chain_rows(run, spent, n, "us/task", 1e3);
}

void chain_host(Run &run, Board &)
{
    const size_t n = run.size(kHostChain);
    manta::ref<uint64_t> y;
    chain_rows(run, chain_of(n, &y), n, "ns/task", 1);
    check(manta_release(y));
}

void gap(Run &run, Board &board)
{
    const size_t n = run.size(2000);
    const manta_task_options_t there = on(0);
    manta::ref<uint64_t> y = first();
    for (size_t i = 0; i < n; i++)
        y = bg_stamp_with(there, {address(board.stamps(i)), cycles_of(run, i), nullptr, 0}, y);
    finish(y);
    run.value(mean_gap(board.stamps_read(n), n) / 1e3);
}

void gap_across(Run &run, Board &board)
{
    const size_t rounds = run.size(1000);
    const manta_task_options_t there = on(0);
    manta_ref_t ends[2] = {first(), first()};
    for (size_t i = 0; i < rounds; i++) {
        const auto at = [&](size_t k) {
            return bg_stamp_t{address(board.stamps(3 * i + k)), cycles_of(run, i + k), nullptr, 0};
        };
        const manta_ref_t fork = bg_fork_with(there, at(0), ends, 2);
        for (size_t k = 0; k < 2; k++) {
            check(manta_release(ends[k]));
            ends[k] = bg_fork_with(there, at(k + 1), &fork, 1);
        }
        check(manta_release(fork));
    }
    for (const manta_ref_t end : ends)
        finish(end);
    run.value(mean_fork_gap(board.stamps_read(3 * rounds), rounds) / 1e3);
}

void fork_join(Run &run, Board &)
{
    const size_t rounds = run.size(1000);
    const manta_task_options_t there = on(0);
    manta::ref<uint64_t> y = first();
    const double start = bench::now_ns();
    for (size_t r = 0; r < rounds; r++) {
        manta_ref_t leaves[kLeaves];
        for (manta_ref_t &leaf : leaves)
            leaf = bg_leaf_with(there, y);
        check(manta_release(y));
        y = bg_join_with(there, leaves, kLeaves);
        for (const manta_ref_t leaf : leaves)
            check(manta_release(leaf));
    }
    wait(y);
    const double spent = bench::now_ns() - start;
    if (read_word(y) != 2 * rounds) throw Failure("wrong number after the last join");
    check(manta_release(y));
    run.value(spent / 1e3 / static_cast<double>(rounds * (kLeaves + 1)));
}

// From what the observer saw to what |notice| says, which is given the end of a task on the device.
template <typename F> static void time_ends(Run &run, Board &board, F &&notice)
{
    const manta_task_options_t there = on(0);
    for (const bool is_long : {false, true}) {
        const size_t rounds = run.size(is_long ? 100 : 500);
        const uint64_t cycles = is_long ? cycles_long(run) : cycles_short(run);
        std::vector<double> times;
        Observer observer(board, rounds);
        for (uint64_t i = 1; i <= rounds; i++) {
            const manta_ref_t end = bg_flag_with(
                there, {address(board.stamps(0)), cycles, address(board.flag_device()), i});
            const double now = notice(end);
            times.push_back(observer.ns_until(now, i));
            check(manta_release(end));
        }
        done_rows(run, times, is_long);
    }
}

void done(Run &run, Board &board)
{
    time_ends(run, board, [](manta_ref_t end) {
        double ns = 0;
        finish(bg_seen_with(MANTA_OPTIONS(.where = MANTA_CPU), end, &ns));
        return ns;
    });
}

void done_wait(Run &run, Board &board)
{
    time_ends(run, board, [](manta_ref_t end) {
        wait(end);
        return bench::now_ns();
    });
}

// GB/s: |prepare| gives an object of |bytes|, |copy| has it copied and waits.
template <typename P, typename F> static void copies(Run &run, size_t bytes, P &&prepare, F &&copy)
{
    const size_t n = run.quick ? 2 : 8;
    double spent = 0;
    for (size_t i = 0; i < n; i++) {
        const manta_ref_t ref = prepare();
        const double start = bench::now_ns();
        copy(ref);
        spent += bench::now_ns() - start;
        check(manta_release(ref));
    }
    run.value(static_cast<double>(n * bytes) / spent);
}

// A new object each time: a replica stays where it is.
void copy_in(Run &run, Board &board)
{
    const size_t bytes = large_bytes(run);
    copies(
        run, bytes,
        [&] {
            manta_ref_t ref;
            void *data;
            check(manta_create(bytes, MANTA_DTYPE(MANTA_U64, 8), &ref, &data));
            memset(data, 1, bytes);
            check(manta_seal(ref));
            return ref;
        },
        [&](manta_ref_t ref) { finish(bg_touch_with(on(0), ref, board.gpus[0].small)); });
}

void copy_pageable(Run &run, Board &board)
{
    const size_t bytes = large_bytes(run);
    copies(
        run, bytes,
        [&] {
            return manta_wrap(board.pageable(), bytes, MANTA_DTYPE(MANTA_U64, 8), nullptr, nullptr);
        },
        [&](manta_ref_t ref) { finish(bg_touch_with(on(0), ref, board.gpus[0].small)); });
}

static manta_ref_t large_there(const Run &run)
{
    const manta_ref_t ref = bg_large_with(on(0), large_bytes(run) / 8);
    wait(ref);
    return ref;
}

void copy_out(Run &run, Board &)
{
    const size_t bytes = large_bytes(run);
    copies(
        run, bytes, [&] { return large_there(run); },
        [&](manta_ref_t ref) {
            manta_view_t view;
            check(manta_get(ref, &view, MANTA_FOREVER));
            const uint64_t *words = static_cast<const uint64_t *>(view.data);
            if (view.count != bytes / 8 || words[0] != 7 || words[view.count - 1] != 7)
                throw Failure("wrong bytes came back");
            manta_view_release(&view);
        });
}

void copy_peer(Run &run, Board &board)
{
    copies(
        run, large_bytes(run), [&] { return large_there(run); },
        [&](manta_ref_t ref) { finish(bg_touch_with(on(1), ref, board.gpus[1].small)); });
}

void small_put(Run &run, Board &)
{
    const size_t rounds = run.size(1000);
    const manta_task_options_t there = on(0);
    std::vector<uint64_t> data(kSmall / 8, 1);
    const double start = bench::now_ns();
    for (size_t i = 0; i < rounds; i++) {
        const manta::ref<uint64_t> x = manta_put(data.data(), kSmall);
        const manta_ref_t y = bg_small_with(there, x);
        manta_view_t view;
        check(manta_get(y, &view, MANTA_FOREVER));
        if (static_cast<const uint64_t *>(view.data)[0] != 2)
            throw Failure("wrong bytes came back");
        manta_view_release(&view);
        check(manta_release(x));
        check(manta_release(y));
    }
    run.value((bench::now_ns() - start) / 1e3 / static_cast<double>(rounds));
}

} // namespace with_manta
} // namespace gpu_bench
