// Whatever a machine is loaded from: if it loads, it hangs together.
#ifndef TESTS_FUZZ_FUZZ_TOPOLOGY_H
#define TESTS_FUZZ_FUZZ_TOPOLOGY_H

#include "fuzz.h"

#include "topology/topology.h"

static void fuzz_topology(const mti_topology_options_t *options)
{
    mti_topology_t *topology = NULL;
    manta_status_t status = mti_topology_create(options, &topology);
    FUZZ_CHECK((status == MANTA_OK) == (topology != NULL));
    if (!topology) return;
    int cores = mti_topology_core_count(topology), nodes = mti_topology_node_count(topology);
    FUZZ_CHECK(cores >= 1 && nodes >= 1 && mti_topology_pu_count(topology) >= cores);
    FUZZ_CHECK(mti_topology_cpu_limit(topology) >= 1);
    int of_nodes = 0;
    for (int i = 0; i < nodes; i++)
        of_nodes += mti_topology_node(topology, i)->core_count;
    FUZZ_CHECK(of_nodes == cores);
    int *order = malloc((size_t)cores * sizeof *order);
    for (int i = 0; i < cores && i < 64; i++) {
        const mti_core_t *core = mti_topology_core(topology, i);
        FUZZ_CHECK(core->core == i && core->node >= 0 && core->node < nodes &&
                   core->smt_count >= 1);
        FUZZ_CHECK(mti_topology_core_of_pu(topology, core->pu) == i);
        FUZZ_CHECK(mti_topology_steal_order(topology, i, order) == (size_t)cores - 1);
        for (int k = 1; k + 1 < cores; k++)
            FUZZ_CHECK(mti_topology_distance(topology, i, order[k - 1]) <=
                       mti_topology_distance(topology, i, order[k]));
        FUZZ_CHECK(mti_affinity_bind_core(topology, i) == MANTA_OK);
    }
    char text[300];
    FUZZ_CHECK(mti_topology_format(topology, text, sizeof text) > 0);
    (void)mti_affinity_restore(topology);
    free(order);
    mti_topology_destroy(topology);
}

#endif
