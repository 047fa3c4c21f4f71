// The part of the benches that all systems share: scenarios, timing, counting, /proc.
//
// libgomp, libomp, oneTBB and manta get one executable each, because their thread pools can't share
// a process. Every executable registers the same scenario names with Google Benchmark; one run of a
// scenario warms up and then takes one sample. the script "run" alternates the executables and pairs the
// samples.
#ifndef MANTA_TESTS_BENCH_HARNESS_H
#define MANTA_TESTS_BENCH_HARNESS_H

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace bench
{

enum class Better { lower, higher };

// "same": tasks are queued, dependencies go through the system's own objects, and everything is
// built and freed inside the timing. "floor": something of that is left out.
enum class Contract { same, floor };

// One figure of a sample. |suffix| is appended to the scenario's name ("" is the main figure).
struct Row {
    std::string suffix;
    std::string unit;
    Better better;
    double value;
};

// ---- counting bodies --------------------------------------------------------------------------

// Every body ticks, so that a sample in which work got lost is an error and not a record. A thread
// writes its own line only.
struct alignas(128) Ticks {
    std::atomic<uint64_t> n;
};
extern __thread Ticks *tl_ticks;
Ticks *ticks_of_new_thread();

inline void tick()
{
    Ticks *mine = tl_ticks;
    if (!mine) mine = tl_ticks = ticks_of_new_thread();
    mine->n.store(mine->n.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

// Sum over all threads. Exact when all bodies are complete.
uint64_t ticks_total();

// ---- a sample -----------------------------------------------------------------------------------

inline double now_ns()
{
    return std::chrono::duration<double, std::nano>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

inline void cpu_pause()
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
}

double median(std::vector<double> values);

class Run
{
  public:
    Run(int workers_, bool quick_, std::string unit, Better better)
        : workers(workers_), quick(quick_), unit_(std::move(unit)), better_(better)
    {
    }

    const int workers;
    const bool quick; // a smoke test: tiny sizes

    size_t size(size_t full) const { return quick ? std::max<size_t>(full / 200, 2) : full; }

    // Runs |pass| once to warm up and once with the clock; the value is ns per item. |ticks| is how
    // many bodies a pass must run (0: not counted).
    template <typename F> void each(size_t items, size_t ticks, F &&pass)
    {
        for (int timed = 0; timed < 2 && error_.empty(); timed++) {
            const uint64_t before = ticks_total();
            const double start = now_ns();
            pass();
            const double spent = now_ns() - start;
            const uint64_t ran = ticks_total() - before;
            if (ticks != 0 && ran != ticks)
                fail(std::to_string(ran) + " bodies ran, not " + std::to_string(ticks));
            value_ = spent / static_cast<double>(items);
        }
    }

    // Runs |once| |per| times between two looks at the clock, |batches| times, after a tenth of that
    // to warm up; the value is the median ns per round.
    template <typename F> void rounds(size_t batches, size_t per, F &&once)
    {
        std::vector<double> times;
        times.reserve(batches);
        const size_t warm = batches / 10 + 1;
        for (size_t b = 0; b < warm + batches && error_.empty(); b++) {
            const double start = now_ns();
            for (size_t i = 0; i < per && error_.empty(); i++)
                once();
            if (b >= warm) times.push_back((now_ns() - start) / static_cast<double>(per));
        }
        value_ = median(std::move(times));
    }

    // Runs |once| in a process that never did before (row "-first"), then |count| times more; the
    // values are in us.
    template <typename F> void first_and_rounds(size_t count, F &&once)
    {
        const double start = now_ns();
        once();
        also({"-first", "us", Better::lower, (now_ns() - start) / 1000});
        rounds(count, 1, once);
        value_ /= 1000;
    }

    // Runs |prepare|, then |once| with the clock, up to |count| times or for |budget_ns|, but at
    // least five times; the value is the median ns.
    template <typename P, typename F>
    void prepared(size_t count, double budget_ns, P &&prepare, F &&once)
    {
        std::vector<double> times;
        const double begin = now_ns();
        for (size_t i = 0; i < count + 2 && error_.empty(); i++) {
            if (i >= 7 && now_ns() - begin > budget_ns) break;
            prepare();
            const double start = now_ns();
            once();
            if (i >= 2) times.push_back(now_ns() - start);
        }
        value_ = median(std::move(times));
    }

    void value(double v) { value_ = v; }
    void unit(std::string u) { unit_ = std::move(u); }
    // A second figure of the same sample.
    void also(Row row) { also_.push_back(std::move(row)); }
    // This sample is void; the first reason counts.
    void fail(const std::string &why)
    {
        if (error_.empty()) error_ = why;
    }
    bool failed() const { return !error_.empty(); }

    const std::string &error() const { return error_; }
    std::vector<Row> rows() const
    {
        std::vector<Row> all{{"", unit_, better_, value_}};
        all.insert(all.end(), also_.begin(), also_.end());
        return all;
    }

  private:
    std::string unit_;
    Better better_;
    double value_ = 0;
    std::vector<Row> also_;
    std::string error_;
};

// ---- registration -------------------------------------------------------------------------------

struct Scenario {
    std::string name;
    std::string unit;
    std::function<void(Run &)> run; // empty: skipped, |reason| says why
    std::string reason;
    Better better = Better::lower;
    Contract contract = Contract::same;
    bool floor_at_one = false;  // what one thread does is a floor (it runs inline)
    std::vector<int> workers{}; // empty: those of the command line
};

void add(Scenario scenario);

// The systems' files define this; it adds their scenarios.
void register_scenarios();

// ---- what the kernel knows ------------------------------------------------------------------

// Resident memory of this process.
size_t resident_bytes();

// Are all threads but the caller asleep?
bool others_asleep();
// Waits until they are, or for two seconds; false if they never were.
bool wait_others_asleep();

void sleep_ns(int64_t ns);

// Counts what an idle process should not do: take CPU ticks and wake up. Called after work was done,
// with the pool alive.
void measure_idle(Run &run);

} // namespace bench

#endif
