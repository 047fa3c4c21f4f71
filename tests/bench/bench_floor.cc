// What a step can't be cheaper than: rows of the table that manta is held beside, not competitors.
#include "harness.h"

#include <hwloc.h>

#include <cstdlib>
#include <cstring>

namespace
{

using bench::Run;

// Keeps the compiler from leaving out what nobody reads.
void used(const void *memory)
{
    asm volatile("" : : "r"(memory) : "memory");
}

void put_get(Run &run)
{
    char data[64] = {1};
    run.rounds(run.size(4000), 64, [&] {
        void *copy = malloc(sizeof data);
        memcpy(copy, data, sizeof data);
        used(copy);
        free(copy);
    });
}

// A copy into memory that was written before.
void put_get_large(Run &run)
{
    const size_t bytes = run.quick ? 1 << 20 : 64 << 20;
    std::vector<char> from(bytes, 1), to(bytes, 2);
    run.rounds(run.size(10), 1, [&] {
        memcpy(to.data(), from.data(), bytes);
        used(to.data());
    });
    const double ns = run.rows()[0].value;
    run.value(static_cast<double>(bytes) / ns);
}

void start_stop(Run &run)
{
    run.first_and_rounds(run.size(20), [&] {
        hwloc_topology_t topology = nullptr;
        if (hwloc_topology_init(&topology) != 0 || hwloc_topology_load(topology) != 0)
            run.fail("hwloc can't load the machine");
        hwloc_topology_destroy(topology);
    });
}

} // namespace

void bench::register_scenarios()
{
    const auto floor = [](Scenario scenario, std::vector<int> workers) {
        scenario.contract = Contract::floor;
        scenario.workers = std::move(workers);
        add(std::move(scenario));
    };
    floor({"put-get", "ns", put_get, ""}, {1});
    Scenario large{"put-get-large", "GB/s", put_get_large, ""};
    large.better = Better::higher;
    floor(large, {1});
    floor({"start-stop", "us", start_stop, ""}, {});
}
