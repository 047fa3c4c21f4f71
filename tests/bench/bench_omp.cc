// OpenMP tasks; built twice, over libgomp and over LLVM's libomp.
//
// A team's threads run tasks, the submitter being one of them. With one thread both libraries run a
// task inside its submission (libgomp queues a few when there are dependencies): a floor.
#include "harness.h"

#include <omp.h>

#include <condition_variable>
#include <mutex>

#ifdef __clang__
#define IS_LIBOMP 1
#else
#define IS_LIBOMP 0
#endif

namespace
{

using bench::Run;
using bench::tick;

// Runs |body| on one thread of a team of |threads|; the others run tasks at the closing barrier.
template <typename F> void on_team(int threads, F &&body)
{
#pragma omp parallel num_threads(threads) default(shared)
#pragma omp master
    body();
}

void independent(Run &run)
{
    const size_t n = run.size(300000);
    on_team(run.workers, [&] {
        run.each(n, n, [n] {
            for (size_t i = 0; i < n; i++) {
#pragma omp task
                tick();
            }
#pragma omp taskwait
        });
    });
}

// Functions of their own: clang 14 crashes over a taskloop whose bounds a lambda has captured.
void taskloop_of_single_items(size_t n)
{
#pragma omp taskloop grainsize(1)
    for (size_t i = 0; i < n; i++)
        tick();
}

void taskloop_of_its_choice(size_t n)
{
#pragma omp taskloop
    for (size_t i = 0; i < n; i++)
        tick();
}

void bulk(Run &run)
{
    const size_t n = run.size(500000);
    on_team(run.workers, [&] { run.each(n, n, [n] { taskloop_of_single_items(n); }); });
}

void bulk_auto(Run &run)
{
    const size_t n = run.size(500000);
    on_team(run.workers, [&] { run.each(n, n, [n] { taskloop_of_its_choice(n); }); });
}

void chain(Run &run)
{
    const size_t n = run.size(100000);
    on_team(run.workers, [&] {
        run.each(n, n, [&] {
            uint64_t value = 0;
            for (size_t i = 0; i < n; i++) {
#pragma omp task depend(inout : value) shared(value)
                {
                    tick();
                    value++;
                }
            }
#pragma omp taskwait
            if (value != n) run.fail("wrong sum at the end of the chain");
        });
    });
}

void fan(Run &run)
{
    const size_t rounds = run.size(100), width = 1000;
    const size_t n = rounds * (width + 2);
    on_team(run.workers, [&] {
        run.each(n, n, [&] {
            for (size_t r = 0; r < rounds; r++) {
#pragma omp task
                tick();
#pragma omp taskwait
                for (size_t i = 0; i < width; i++) {
#pragma omp task
                    tick();
                }
#pragma omp taskwait
#pragma omp task
                tick();
#pragma omp taskwait
            }
        });
    });
}

void wavefront(Run &run)
{
    const size_t side = run.quick ? 24 : 512;
    const size_t stride = side + 1; // row and column 0 are zero and nobody's result
    std::vector<uint32_t> cells(stride * stride);
    on_team(run.workers, [&] {
        run.each(side * side, side * side, [&] {
            uint32_t *cell = cells.data();
            for (size_t i = 1; i <= side; i++)
                for (size_t j = 1; j <= side; j++) {
                    uint32_t *here = cell + i * stride + j;
                    const uint32_t *left = here - 1, *up = here - stride;
#pragma omp task depend(in : *left, *up) depend(out : *here) firstprivate(here, left, up)
                    {
                        tick();
                        *here = std::max(*left, *up) + 1;
                    }
                }
#pragma omp taskwait
        });
    });
    if (cells.back() != 2 * side - 1) run.fail("wrong value in the last cell");
}

uint64_t fib(int n)
{
    if (n < 2) return static_cast<uint64_t>(n);
    uint64_t x = 0;
#pragma omp task shared(x) firstprivate(n)
    {
        tick();
        x = fib(n - 1);
    }
    const uint64_t y = fib(n - 2);
#pragma omp taskwait
    return x + y;
}

void fib30(Run &run)
{
    const int n = run.quick ? 16 : 30;
    const size_t spawns = run.quick ? 1596 : 1346268;
    const uint64_t expected = run.quick ? 987 : 832040;
    on_team(run.workers, [&] {
        run.each(spawns, spawns, [&] {
            if (fib(n) != expected) run.fail("wrong number");
        });
    });
}

void latency_inline(Run &run)
{
    on_team(run.workers, [&] {
        run.rounds(run.size(4000), 32, [] {
#pragma omp task
            tick();
#pragma omp taskwait
        });
    });
}

void idle(Run &run)
{
    on_team(run.workers, [&] {
        for (size_t i = 0; i < 100000; i++) {
#pragma omp task
            tick();
        }
#pragma omp taskwait
    });
    bench::measure_idle(run);
}

#if IS_LIBOMP

// Waits for |*done| == |round|, without the runtime's help; false if it takes ten seconds.
bool spin_until(const std::atomic<uint64_t> &done, uint64_t round)
{
    const double deadline = bench::now_ns() + 1e10;
    for (uint64_t spins = 0; done.load(std::memory_order_acquire) != round; spins++) {
        bench::cpu_pause();
        if (spins % 65536 == 65535 && bench::now_ns() > deadline) return false;
    }
    return true;
}

void latency_cross(Run &run)
{
    alignas(128) std::atomic<uint64_t> done{0};
    on_team(2, [&] {
        uint64_t round = 0;
        run.rounds(run.size(2000), 16, [&] {
            round++;
#pragma omp task firstprivate(round) shared(done)
            done.store(round, std::memory_order_release);
            if (!spin_until(done, round)) run.fail("the other thread never ran the task");
        });
    });
}

// A task that the caller sleeps for; the other thread of the team runs it.
void submit_and_block(Run &run)
{
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
#pragma omp task shared(mutex, changed, done)
    {
        const std::lock_guard<std::mutex> lock(mutex);
        done = true;
        changed.notify_one();
    }
    std::unique_lock<std::mutex> lock(mutex);
    if (changed.wait_for(lock, std::chrono::seconds(2), [&] { return done; })) return;
    run.fail("the other thread slept on and never ran the task");
    lock.unlock();
#pragma omp taskwait
}

void latency_blocking(Run &run)
{
    on_team(2, [&] { run.rounds(run.size(1000), 8, [&] { submit_and_block(run); }); });
}

void latency_parked(Run &run)
{
    on_team(2, [&] {
        run.prepared(
            run.size(2000), 3e8,
            [&] {
                if (!bench::wait_others_asleep()) run.fail("its thread never sleeps");
            },
            [&] { submit_and_block(run); });
    });
}

void latency_parked_2ms(Run &run)
{
    on_team(2, [&] {
        run.prepared(
            run.size(100), 4e8, [] { bench::sleep_ns(2000000); }, [&] { submit_and_block(run); });
    });
}

void memory(Run &run)
{
    // Fewer than the others: opening the gate takes libomp time with the square of their number.
    const size_t n = run.size(100000);
    on_team(run.workers, [&] {
        const uint64_t before = bench::ticks_total();
        const size_t resident = bench::resident_bytes();
        char gate = 0;
        omp_event_handle_t open{};
        // The body ends at once; the task is complete when the event is fulfilled.
#pragma omp task depend(out : gate) detach(open)
        {
        }
        for (size_t i = 0; i < n; i++) {
            const uint64_t a = i, b = i;
#pragma omp task depend(in : gate) firstprivate(a, b)
            if (a == b) tick();
        }
        run.value(static_cast<double>(bench::resident_bytes() - resident) / static_cast<double>(n));
        if (bench::ticks_total() != before) run.fail("tasks ran before the gate opened");
        omp_fulfill_event(open);
#pragma omp taskwait
        if (bench::ticks_total() - before != n) run.fail("some tasks never ran");
    });
}

#endif

} // namespace

void bench::register_scenarios()
{
    const auto queued = [](const char *name, const char *unit, void (*run)(Run &)) {
        Scenario scenario{name, unit, run, ""};
        scenario.floor_at_one = true;
        add(scenario);
    };
    const auto floor = [](const char *name, const char *unit, void (*run)(Run &)) {
        Scenario scenario{name, unit, run, ""};
        scenario.contract = Contract::floor;
        add(scenario);
    };
    queued("independent", "ns/task", independent);
    // libomp makes a task of every item; libgomp runs a loop of this size inside the call.
    if (IS_LIBOMP)
        queued("bulk", "ns/task", bulk);
    else
        floor("bulk", "ns/task", bulk);
    floor("bulk-auto", "ns/item", bulk_auto);
    queued("chain", "ns/task", chain);
    queued("fan", "ns/task", fan);
    queued("wavefront", "ns/task", wavefront);
    queued("fib30", "ns/spawn", fib30);
    queued("latency-inline", "ns", latency_inline);

    const auto at_one = [](const char *name, const char *unit, std::function<void(Run &)> run,
                           const char *reason) {
        Scenario scenario{name, unit, std::move(run), reason};
        scenario.workers = {1};
        add(scenario);
    };
#if IS_LIBOMP
    at_one("latency-cross", "ns", latency_cross, "");
    at_one("latency-blocking", "ns", latency_blocking, "");
    at_one("latency-parked", "ns", latency_parked, "");
    at_one("latency-parked-2ms", "ns", latency_parked_2ms, "");
#else
    const char *asleep = "no thread runs a task while the submitter waits outside the library";
    at_one("latency-cross", "ns", nullptr, asleep);
    at_one("latency-blocking", "ns", nullptr, asleep);
    at_one("latency-parked", "ns", nullptr, asleep);
    at_one("latency-parked-2ms", "ns", nullptr, asleep);
#endif
    Scenario idling{"idle", "ticks", idle, ""};
    idling.workers = {2};
    add(idling);
#if IS_LIBOMP
    at_one("memory", "bytes/task", memory, "");
#else
    at_one("memory", "bytes/task", nullptr,
           "waits inside the submission once 64 tasks per thread are in flight");
#endif
}
