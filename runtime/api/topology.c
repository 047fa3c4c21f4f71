// topology.h: the runtime's machine, for users.
#include "core/core.h"

#include <manta/topology.h>

#include <string.h>

static const mti_topology_t *machine(manta_runtime_t runtime)
{
    // Without a runtime yet: the default one's, as first use would start it.
    if (runtime.id == 0) runtime = manta_runtime_current();
    mti_runtime_t *rt = mti_runtime_resolve(runtime);
    return rt ? rt->topology : NULL;
}

// Copies what the caller's struct has room for.
static manta_status_t give(void *out, const void *full, size_t full_bytes)
{
    size_t bytes;
    memcpy(&bytes, out, sizeof bytes);
    memcpy((char *)out + sizeof bytes, (const char *)full + sizeof bytes,
           (bytes < full_bytes ? bytes : full_bytes) - sizeof bytes);
    return MANTA_OK;
}

static manta_status_t check(const char *what, const mti_topology_t *topology, const size_t *out)
{
    if (!out || *out < sizeof(size_t)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: struct_size is not set", what);
    }
    return topology ? MANTA_OK : MANTA_ERR_STALE_REF;
}

int manta_topology_cores(manta_runtime_t runtime)
{
    const mti_topology_t *topology = machine(runtime);
    return topology ? mti_topology_core_count(topology) : 0;
}

int manta_topology_nodes(manta_runtime_t runtime)
{
    const mti_topology_t *topology = machine(runtime);
    return topology ? mti_topology_node_count(topology) : 0;
}

int manta_topology_packages(manta_runtime_t runtime)
{
    const mti_topology_t *topology = machine(runtime);
    return topology ? mti_topology_package_count(topology) : 0;
}

bool manta_topology_is_this_machine(manta_runtime_t runtime)
{
    const mti_topology_t *topology = machine(runtime);
    return topology && mti_topology_is_this_machine(topology);
}

manta_status_t manta_topology_core_info(manta_runtime_t runtime, int index,
                                        manta_core_info_t *out_info)
{
    const mti_topology_t *topology = machine(runtime);
    manta_status_t status =
        check("topology_core_info", topology, out_info ? &out_info->struct_size : NULL);
    if (status != MANTA_OK) return status;
    const mti_core_t *core = mti_topology_core(topology, index);
    if (!core) return mti_fail(MANTA_ERR_OUT_OF_RANGE, "there is no core %d", index);
    manta_core_info_t info = {.core = core->core,
                              .pu = core->pu,
                              .node = core->node,
                              .package = core->package,
                              .l2 = core->l2,
                              .l3 = core->l3,
                              .smt_count = core->smt_count,
                              .l2_size_bytes = core->l2_size_bytes,
                              .l3_size_bytes = core->l3_size_bytes};
    return give(out_info, &info, sizeof info);
}

manta_status_t manta_topology_node_info(manta_runtime_t runtime, int index,
                                        manta_node_info_t *out_info)
{
    const mti_topology_t *topology = machine(runtime);
    manta_status_t status =
        check("topology_node_info", topology, out_info ? &out_info->struct_size : NULL);
    if (status != MANTA_OK) return status;
    const mti_node_t *node = mti_topology_node(topology, index);
    if (!node) return mti_fail(MANTA_ERR_OUT_OF_RANGE, "there is no NUMA node %d", index);
    manta_node_info_t info = {.node = node->node,
                              .os_index = node->os_index,
                              .package = node->package,
                              .core_count = node->core_count,
                              .memory_bytes = node->memory_bytes};
    return give(out_info, &info, sizeof info);
}

manta_status_t manta_topology_worker_binding(manta_runtime_t runtime, int worker,
                                             manta_worker_binding_t *out_info)
{
    const mti_topology_t *topology = machine(runtime);
    manta_status_t status =
        check("topology_worker_binding", topology, out_info ? &out_info->struct_size : NULL);
    if (status != MANTA_OK) return status;
    mti_runtime_t *rt = mti_runtime_resolve(runtime.id ? runtime : manta_runtime_current());
    if (worker < 0 || worker >= mti_sched_worker_count(rt->sched)) {
        return mti_fail(MANTA_ERR_OUT_OF_RANGE, "there is no worker %d", worker);
    }
    const mti_core_t *core = mti_topology_core(topology, mti_sched_seat_core(rt->sched, worker));
    manta_worker_binding_t info = {.worker = worker,
                                   .core = core->core,
                                   .pu = core->pu,
                                   .node = core->node,
                                   .bound = rt->bind && mti_topology_is_this_machine(topology)};
    return give(out_info, &info, sizeof info);
}

int manta_topology_describe(manta_runtime_t runtime, char *buffer, size_t size)
{
    const mti_topology_t *topology = machine(runtime);
    return topology ? mti_topology_format(topology, buffer, size) : 0;
}
