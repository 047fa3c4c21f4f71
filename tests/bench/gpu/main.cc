// bench_gpu --probe | --list | --scenario NAME [--system NAME] [--reps N] [--quick]
//
// Writes a line of JSON for each figure; tests/bench/run makes a table of them. In one scenario both systems
// take turns in this process: a round to warm up, then |reps| that count. 77: there is nothing to run on.
// --list leaves out what runs on the null driver (null_cuda.cc).
#include "bench/gpu/bench_gpu.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace gpu_bench
{

namespace
{

const Scenario scenarios[] = {
    {"gpu-chain", "-cpu", "us/task", Better::lower, 1, with_manta::chain, with_raw::chain},
    {"gpu-gap", nullptr, "us", Better::lower, 1, with_manta::gap, with_raw::gap},
    {"gpu-gap-across", nullptr, "us", Better::lower, 1, with_manta::gap_across,
     with_raw::gap_across},
    {"gpu-fork-join", nullptr, "us/task", Better::lower, 1, with_manta::fork_join,
     with_raw::fork_join},
    {"gpu-done", "-long", "us", Better::lower, 1, with_manta::done, with_raw::done},
    {"gpu-done-wait", "-long", "us", Better::lower, 1, with_manta::done_wait, with_raw::done},
    {"gpu-copy-in", nullptr, "GB/s", Better::higher, 1, with_manta::copy_in, with_raw::copy_in},
    {"gpu-copy-pageable", nullptr, "GB/s", Better::higher, 1, with_manta::copy_pageable,
     with_raw::copy_pageable},
    {"gpu-copy-out", nullptr, "GB/s", Better::higher, 1, with_manta::copy_out, with_raw::copy_out},
    {"gpu-copy-peer", nullptr, "GB/s", Better::higher, 2, with_manta::copy_peer,
     with_raw::copy_peer},
    {"gpu-small-put", nullptr, "us", Better::lower, 1, with_manta::small_put, with_raw::small_put},
    {"gpu-chain-host", "-cpu", "ns/task", Better::lower, 0, with_manta::chain_host,
     with_raw::chain_host},
};

std::string quoted(const std::string &text)
{
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
    return out + "\"";
}

void print_rows(const char *system, const char *contract, const Run &run)
{
    for (const bench::Row &row : run.rows())
        printf("{\"system\": \"%s\", \"suffix\": \"%s\", \"unit\": \"%s\", \"better\": \"%s\", "
               "\"contract\": \"%s\", \"value\": %.9g}\n",
               system, row.suffix.c_str(), row.unit.c_str(),
               row.better == Better::lower ? "lower" : "higher", contract, row.value);
    fflush(stdout);
}

int skip(const std::string &reason)
{
    printf("{\"skipped\": %s}\n", quoted(reason).c_str());
    return 77;
}

int fail(const char *system, const std::string &reason)
{
    printf("{\"system\": \"%s\", \"failed\": %s}\n", system, quoted(reason).c_str());
    return 1;
}

// |only|: one system, or NULL.
int run_scenario(const Scenario &scenario, const char *only, int reps, bool quick)
{
    const char *system = "raw";
    try {
        const Run sizes(1, quick, "", Better::lower);
        // Not taken down after a failure, when kernels may still write to it.
        Board *board = new Board(large_bytes(sizes));
        if (static_cast<int>(board->gpus.size()) < scenario.gpus) {
            delete board;
            return skip("it takes two GPUs");
        }
        system = "manta";
        with_manta::start();
        for (int rep = -1; rep < reps; rep++) {
            for (const bool is_manta : {true, false}) {
                system = is_manta ? "manta" : "raw";
                if (only && strcmp(only, system) != 0) continue;
                Run run(1, quick, scenario.unit, scenario.better);
                (is_manta ? scenario.manta : scenario.raw)(run, *board);
                // Raw calls keep no objects and build no dependencies.
                if (rep >= 0) print_rows(system, is_manta ? "same" : "floor", run);
            }
        }
        with_manta::stop();
        delete board;
        return 0;
    } catch (const Void &nothing) {
        return skip(nothing.what());
    } catch (const Failure &failure) {
        return fail(system, failure.what());
    }
}

int probe()
{
    const mti_cu_api_t *cu = nullptr;
    if (mti_cu_api_get(&cu) != MANTA_OK) return skip(manta_error_message());
    char name[128] = "";
    CUdevice device;
    if (cu->cuDeviceGet(&device, 0) != CUDA_SUCCESS ||
        cu->cuDeviceGetName(name, sizeof name, device) != CUDA_SUCCESS)
        return fail("raw", "the driver does not name its device");
    if (!device_image()) return skip("no device code in this build: there was no nvcc");
    printf("{\"device\": %s, \"gpus\": %d, \"driver\": \"%d.%d\"}\n", quoted(name).c_str(),
           cu->device_count, cu->driver_version / 1000, cu->driver_version % 1000 / 10);
    return 0;
}

int list()
{
    for (const Scenario &scenario : scenarios) {
        if (scenario.gpus == 0) continue;
        printf("%s", scenario.name);
        if (scenario.also) printf(" %s%s", scenario.name, scenario.also);
        printf("\n");
    }
    return 0;
}

int usage()
{
    fprintf(stderr, "usage: bench_gpu --probe | --list | --scenario NAME [--system NAME] "
                    "[--reps N] [--quick]\n");
    return 2;
}

} // namespace

int main(int argc, char **argv)
{
    const char *name = nullptr, *only = nullptr;
    int reps = 7;
    bool quick = false, probes = false, lists = false;
    for (int i = 1; i < argc; i++) {
        const std::string arg = argv[i];
        const char *value = i + 1 < argc ? argv[i + 1] : nullptr;
        if (arg == "--quick") {
            quick = true;
        } else if (arg == "--probe") {
            probes = true;
        } else if (arg == "--list") {
            lists = true;
        } else if (arg == "--scenario" && value) {
            name = argv[++i];
        } else if (arg == "--system" && value) {
            only = argv[++i];
        } else if (arg == "--reps" && value && atoi(value) > 0) {
            reps = atoi(argv[++i]);
        } else {
            return usage();
        }
    }
    if (lists) return list();
    fake_add_kernels();
    if (probes) return probe();
    for (const Scenario &scenario : scenarios)
        if (name && strcmp(name, scenario.name) == 0)
            return run_scenario(scenario, only, reps, quick);
    return usage();
}

} // namespace gpu_bench

int main(int argc, char **argv)
{
    return gpu_bench::main(argc, argv);
}
