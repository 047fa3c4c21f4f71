// oneTBB, used as its manual advises: task groups for fork and join, the flow graph for
// dependencies, parallel_for for ranges.
#include "harness.h"

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/flow_graph.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

#include <deque>
#include <future>

namespace
{

using bench::Run;
using bench::tick;
namespace flow = oneapi::tbb::flow;
using Node = flow::continue_node<flow::continue_msg>;

// |threads| threads that run tasks, the caller being one of them.
struct Pool {
    explicit Pool(int threads)
        : limit(oneapi::tbb::global_control::max_allowed_parallelism, static_cast<size_t>(threads)),
          arena(threads)
    {
    }
    oneapi::tbb::global_control limit;
    oneapi::tbb::task_arena arena;
};

// One worker beside the caller, who is not in the arena and so can't run its tasks.
struct OtherThread {
    OtherThread() : limit(oneapi::tbb::global_control::max_allowed_parallelism, 2), arena(1, 0) {}
    oneapi::tbb::global_control limit;
    oneapi::tbb::task_arena arena;
};

void independent(Run &run)
{
    Pool pool(run.workers);
    const size_t n = run.size(300000);
    pool.arena.execute([&] {
        run.each(n, n, [n] {
            oneapi::tbb::task_group group;
            for (size_t i = 0; i < n; i++)
                group.run([] { tick(); });
            group.wait();
        });
    });
}

template <typename Partitioner> void bulk(Run &run)
{
    Pool pool(run.workers);
    const size_t n = run.size(500000);
    pool.arena.execute([&] {
        run.each(n, n, [n] {
            oneapi::tbb::parallel_for(
                oneapi::tbb::blocked_range<size_t>(0, n, 1),
                [](const oneapi::tbb::blocked_range<size_t> &range) {
                    for (size_t i = range.begin(); i != range.end(); i++)
                        tick();
                },
                Partitioner());
        });
    });
}

void chain(Run &run)
{
    Pool pool(run.workers);
    const size_t n = run.size(100000);
    pool.arena.execute([&] {
        run.each(n, n, [&] {
            uint64_t value = 0;
            {
                flow::graph graph;
                std::deque<Node> nodes;
                for (size_t i = 0; i < n; i++) {
                    nodes.emplace_back(graph, [&value](const flow::continue_msg &) {
                        tick();
                        value++;
                    });
                    if (i > 0) flow::make_edge(nodes[i - 1], nodes[i]);
                }
                nodes.front().try_put(flow::continue_msg());
                graph.wait_for_all();
            }
            if (value != n) run.fail("wrong sum at the end of the chain");
        });
    });
}

void fan(Run &run)
{
    Pool pool(run.workers);
    const size_t rounds = run.size(100), width = 1000;
    const size_t n = rounds * (width + 2);
    pool.arena.execute([&] {
        run.each(n, n, [&] {
            oneapi::tbb::task_group group;
            for (size_t r = 0; r < rounds; r++) {
                group.run([] { tick(); });
                group.wait();
                for (size_t i = 0; i < width; i++)
                    group.run([] { tick(); });
                group.wait();
                group.run([] { tick(); });
                group.wait();
            }
        });
    });
}

void wavefront(Run &run)
{
    Pool pool(run.workers);
    const size_t side = run.quick ? 24 : 512;
    std::vector<uint32_t> cells(side * side);
    pool.arena.execute([&] {
        run.each(side * side, side * side, [&] {
            uint32_t *cell = cells.data();
            flow::graph graph;
            std::deque<Node> nodes;
            for (size_t i = 0; i < side; i++)
                for (size_t j = 0; j < side; j++) {
                    nodes.emplace_back(graph, [cell, side, i, j](const flow::continue_msg &) {
                        tick();
                        const uint32_t left = j ? cell[i * side + j - 1] : 0;
                        const uint32_t up = i ? cell[(i - 1) * side + j] : 0;
                        cell[i * side + j] = std::max(left, up) + 1;
                    });
                    if (j) flow::make_edge(nodes[i * side + j - 1], nodes[i * side + j]);
                    if (i) flow::make_edge(nodes[(i - 1) * side + j], nodes[i * side + j]);
                }
            nodes.front().try_put(flow::continue_msg());
            graph.wait_for_all();
        });
    });
    if (cells.back() != 2 * side - 1) run.fail("wrong value in the last cell");
}

uint64_t fib(int n)
{
    if (n < 2) return static_cast<uint64_t>(n);
    uint64_t x = 0;
    oneapi::tbb::task_group group;
    group.run([&x, n] {
        tick();
        x = fib(n - 1);
    });
    const uint64_t y = fib(n - 2);
    group.wait();
    return x + y;
}

void fib30(Run &run)
{
    Pool pool(run.workers);
    const int n = run.quick ? 16 : 30;
    const size_t spawns = run.quick ? 1596 : 1346268;
    const uint64_t expected = run.quick ? 987 : 832040;
    pool.arena.execute([&] {
        run.each(spawns, spawns, [&] {
            if (fib(n) != expected) run.fail("wrong number");
        });
    });
}

void latency_inline(Run &run)
{
    Pool pool(run.workers);
    pool.arena.execute([&] {
        oneapi::tbb::task_group group;
        run.rounds(run.size(4000), 32, [&] {
            group.run([] { tick(); });
            group.wait();
        });
    });
}

void latency_cross(Run &run)
{
    OtherThread other;
    alignas(128) std::atomic<uint64_t> done{0};
    uint64_t round = 0;
    run.rounds(run.size(2000), 16, [&] {
        round++;
        other.arena.enqueue([&done, round] { done.store(round, std::memory_order_release); });
        while (done.load(std::memory_order_acquire) != round)
            bench::cpu_pause();
    });
}

void submit_and_block(OtherThread &other)
{
    std::promise<void> promise;
    std::future<void> future = promise.get_future();
    other.arena.enqueue([&promise] { promise.set_value(); });
    future.get();
}

void latency_blocking(Run &run)
{
    OtherThread other;
    run.rounds(run.size(1000), 8, [&] { submit_and_block(other); });
}

void latency_parked(Run &run)
{
    OtherThread other;
    run.prepared(
        run.size(2000), 3e8,
        [&] {
            if (!bench::wait_others_asleep()) run.fail("its thread never sleeps");
        },
        [&] { submit_and_block(other); });
}

void latency_parked_2ms(Run &run)
{
    OtherThread other;
    run.prepared(
        run.size(100), 4e8, [] { bench::sleep_ns(2000000); }, [&] { submit_and_block(other); });
}

void idle(Run &run)
{
    Pool pool(run.workers);
    pool.arena.execute([] {
        oneapi::tbb::task_group group;
        for (int i = 0; i < 100000; i++)
            group.run([] { tick(); });
        group.wait();
    });
    bench::measure_idle(run);
}

void memory(Run &run)
{
    Pool pool(run.workers);
    const size_t n = run.size(1000000);
    pool.arena.execute([&] {
        flow::graph graph;
        Node gate(graph, [](const flow::continue_msg &) {});
        const uint64_t before = bench::ticks_total();
        const size_t resident = bench::resident_bytes();
        std::deque<Node> nodes;
        for (size_t i = 0; i < n; i++) {
            const uint64_t inline_bytes[2] = {i, i};
            nodes.emplace_back(graph, [inline_bytes](const flow::continue_msg &) {
                if (inline_bytes[0] == inline_bytes[1]) tick();
            });
            flow::make_edge(gate, nodes.back());
        }
        run.value(static_cast<double>(bench::resident_bytes() - resident) / static_cast<double>(n));
        gate.try_put(flow::continue_msg());
        graph.wait_for_all();
        if (bench::ticks_total() - before != n) run.fail("some tasks never ran");
    });
}

} // namespace

void bench::register_scenarios()
{
    using oneapi::tbb::auto_partitioner;
    using oneapi::tbb::simple_partitioner;
    add({"independent", "ns/task", independent, ""});
    add({"bulk", "ns/task", bulk<simple_partitioner>, ""});
    Scenario bulk_auto{"bulk-auto", "ns/item", bulk<auto_partitioner>, ""};
    bulk_auto.contract = Contract::floor; // as few tasks as it likes
    add(bulk_auto);
    add({"chain", "ns/task", chain, ""});
    add({"fan", "ns/task", fan, ""});
    add({"wavefront", "ns/task", wavefront, ""});
    add({"fib30", "ns/spawn", fib30, ""});
    add({"latency-inline", "ns", latency_inline, ""});
    const auto at_one = [](const char *name, const char *unit, void (*run)(Run &)) {
        Scenario scenario{name, unit, run, ""};
        scenario.workers = {1};
        add(scenario);
    };
    at_one("latency-cross", "ns", latency_cross);
    at_one("latency-blocking", "ns", latency_blocking);
    at_one("latency-parked", "ns", latency_parked);
    at_one("latency-parked-2ms", "ns", latency_parked_2ms);
    Scenario idling{"idle", "ticks", idle, ""};
    idling.workers = {2};
    add(idling);
    at_one("memory", "bytes/task", memory);
}
