#include "harness.h"

#include <benchmark/benchmark.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fstream>
#include <iterator>
#include <sstream>
#include <time.h>
#include <unistd.h>

namespace bench
{

__thread Ticks *tl_ticks;

namespace
{

// More threads than any system here starts; the last slot would be shared, so it is never given out.
constexpr int kSlots = 4096;
Ticks g_ticks[kSlots];
std::atomic<int> g_ticks_used;

std::vector<Scenario> &scenarios()
{
    static std::vector<Scenario> all;
    return all;
}

std::string read_file(const std::string &path)
{
    std::ifstream in(path);
    return std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
}

// Calls |fn| with the id of every thread of this process but the caller.
template <typename F> void for_other_threads(F &&fn)
{
    DIR *dir = opendir("/proc/self/task");
    if (!dir) return;
    const std::string self = std::to_string(gettid());
    while (const dirent *entry = readdir(dir))
        if (entry->d_name[0] != '.' && self != entry->d_name) fn(std::string(entry->d_name));
    closedir(dir);
}

// The text of a stat file from the state field on: the name before it may hold anything.
std::string stat_from_state(const std::string &path)
{
    const std::string text = read_file(path);
    const size_t end = text.rfind(')');
    return end == std::string::npos || end + 2 >= text.size() ? "" : text.substr(end + 2);
}

uint64_t process_ticks()
{
    std::istringstream in(stat_from_state("/proc/self/stat"));
    std::string skipped;
    for (int field = 3; field < 14; field++)
        in >> skipped;
    uint64_t user = 0, system = 0;
    in >> user >> system;
    return user + system;
}

uint64_t voluntary_switches_of_others()
{
    uint64_t sum = 0;
    for_other_threads([&](const std::string &tid) {
        const std::string text = read_file("/proc/self/task/" + tid + "/status");
        const char *key = "\nvoluntary_ctxt_switches:";
        const size_t at = text.find(key);
        if (at != std::string::npos) sum += strtoull(text.c_str() + at + strlen(key), nullptr, 10);
    });
    return sum;
}

// What the driver needs to know beside the values, in the label: "suffix,unit,better,contract;...".
std::string label_of(const std::vector<Row> &rows, Contract contract)
{
    std::string label;
    for (const Row &row : rows) {
        if (!label.empty()) label += ';';
        label += row.suffix + "," + row.unit;
        label += row.better == Better::lower ? ",lower" : ",higher";
        label += contract == Contract::same ? ",same" : ",floor";
    }
    return label;
}

void run_scenario(benchmark::State &state, const Scenario &scenario, int workers, bool quick)
{
    if (!scenario.run) {
        state.SkipWithError(scenario.reason.c_str());
        return;
    }
    Run run(workers, quick, scenario.unit, scenario.better);
    const double start = now_ns();
    scenario.run(run);
    const double seconds = (now_ns() - start) / 1e9;
    if (run.failed()) {
        state.SkipWithError(run.error().c_str());
        return;
    }
    for (auto _ : state)
        state.SetIterationTime(seconds);
    const std::vector<Row> rows = run.rows();
    for (const Row &row : rows)
        state.counters["value" + row.suffix] = row.value;
    const bool floor =
        scenario.contract == Contract::floor || (scenario.floor_at_one && workers == 1);
    state.SetLabel(label_of(rows, floor ? Contract::floor : Contract::same));
}

// Takes --quick and --workers=1,2 out of the command line.
bool parse(int *argc, char **argv, bool *out_quick, std::vector<int> *out_workers)
{
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            *out_quick = true;
        } else if (strncmp(argv[i], "--workers=", 10) == 0) {
            out_workers->clear();
            for (const char *p = argv[i] + 10; *p != '\0';) {
                char *end = nullptr;
                const long n = strtol(p, &end, 10);
                if (end == p || n < 1 || n > 4096 || (*end != '\0' && *end != ',')) {
                    fprintf(stderr, "%s: --workers wants numbers from 1, say 1,2\n", argv[0]);
                    return false;
                }
                out_workers->push_back(static_cast<int>(n));
                p = *end == ',' ? end + 1 : end;
            }
        } else {
            argv[kept++] = argv[i];
        }
    }
    *argc = kept;
    argv[kept] = nullptr;
    return true;
}

} // namespace

Ticks *ticks_of_new_thread()
{
    const int slot = g_ticks_used.fetch_add(1, std::memory_order_relaxed);
    if (slot >= kSlots) {
        fprintf(stderr, "too many threads for this bench\n");
        abort();
    }
    return &g_ticks[slot];
}

uint64_t ticks_total()
{
    uint64_t sum = 0;
    const int used = std::min(kSlots, g_ticks_used.load(std::memory_order_relaxed));
    for (int i = 0; i < used; i++)
        sum += g_ticks[i].n.load(std::memory_order_relaxed);
    return sum;
}

double median(std::vector<double> values)
{
    if (values.empty()) return 0;
    std::sort(values.begin(), values.end());
    const size_t mid = values.size() / 2;
    return values.size() % 2 ? values[mid] : (values[mid - 1] + values[mid]) / 2;
}

void add(Scenario scenario)
{
    scenarios().push_back(std::move(scenario));
}

size_t resident_bytes()
{
    std::istringstream in(read_file("/proc/self/statm"));
    size_t total = 0, resident = 0;
    in >> total >> resident;
    return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

bool others_asleep()
{
    bool asleep = true;
    for_other_threads([&](const std::string &tid) {
        const std::string state = stat_from_state("/proc/self/task/" + tid + "/stat");
        if (!state.empty() && state[0] == 'R') asleep = false;
    });
    return asleep;
}

bool wait_others_asleep()
{
    const double deadline = now_ns() + 2e9;
    while (!others_asleep())
        if (now_ns() > deadline) return false;
    return true;
}

void sleep_ns(int64_t ns)
{
    timespec left{static_cast<time_t>(ns / 1000000000), static_cast<long>(ns % 1000000000)};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

void measure_idle(Run &run)
{
    // Whatever spins for a while after work has stopped by then: libomp's default is 200 ms.
    sleep_ns(run.quick ? 500000000 : 1000000000);
    const uint64_t ticks = process_ticks(), switches = voluntary_switches_of_others();
    const int seconds = run.quick ? 2 : 10;
    sleep_ns(seconds * 1000000000LL);
    const std::string per = " in " + std::to_string(seconds) + " s";
    run.value(static_cast<double>(process_ticks() - ticks));
    run.unit("ticks" + per);
    run.also({"-switches", "switches" + per, Better::lower,
              static_cast<double>(voluntary_switches_of_others()) - static_cast<double>(switches)});
}

} // namespace bench

int main(int argc, char **argv)
{
    bool quick = false;
    std::vector<int> workers{1, 2};
    if (!bench::parse(&argc, argv, &quick, &workers)) return 2;
    bench::register_scenarios();
    for (const bench::Scenario &scenario : bench::scenarios())
        for (int w : scenario.workers.empty() ? workers : scenario.workers)
            benchmark::RegisterBenchmark((scenario.name + "/workers:" + std::to_string(w)).c_str(),
                                         [&scenario, w, quick](benchmark::State &state) {
                                             bench::run_scenario(state, scenario, w, quick);
                                         })
                ->Iterations(1)
                ->UseManualTime();
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
