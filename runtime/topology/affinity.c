// Binding of the calling thread, and what it remembers of it.
#include "topology/topology_impl.h"

#include "base/status.h"

#include <errno.h>
#include <string.h>

// What this thread was told. |owner| is only compared and, while the thread is bound, read: a bound
// thread ends or restores before its topology is destroyed.
static _Thread_local struct {
    const mti_topology_t *owner;
    mti_binding_t binding;
} affinity_self;

static const mti_binding_t affinity_none = {.kind = MTI_BINDING_NONE, .core = -1, .node = -1};

const mti_topology_t *mti_affinity_owner(void)
{
    return affinity_self.owner;
}

static void affinity_record(const mti_topology_t *topology, mti_binding_t binding)
{
    affinity_self.owner = topology;
    affinity_self.binding = binding;
}

static manta_status_t affinity_set_cpus(const mti_topology_t *topology, hwloc_const_bitmap_t set)
{
    if (hwloc_set_cpubind(topology->hwloc, set, HWLOC_CPUBIND_THREAD) == 0) return MANTA_OK;
    int error = errno;
    char text[256];
    hwloc_bitmap_list_snprintf(text, sizeof text, set);
    return mti_fail(MANTA_ERR_SYSTEM, "binding a thread to processors %s: %s", text,
                    strerror(error));
}

// Returns whether the kernel took the policy. HWLOC_MEMBIND_BIND without STRICT is a preference on
// Linux: a full node spills over.
static bool affinity_prefer_node(const mti_topology_t *topology, int node)
{
    if (!topology->binds_memory) return false;
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    if (!set) return false;
    unsigned os_index = (unsigned)topology->nodes[node].os_index;
    bool bound = hwloc_bitmap_set(set, os_index) == 0 &&
                 hwloc_set_membind(topology->hwloc, set, HWLOC_MEMBIND_BIND,
                                   HWLOC_MEMBIND_THREAD | HWLOC_MEMBIND_NOCPUBIND |
                                       HWLOC_MEMBIND_BYNODESET) == 0;
    hwloc_bitmap_free(set);
    return bound;
}

static void affinity_forget_node(const mti_topology_t *topology)
{
    if (!topology->binds_memory) return;
    hwloc_set_membind(topology->hwloc, hwloc_topology_get_complete_nodeset(topology->hwloc),
                      HWLOC_MEMBIND_DEFAULT,
                      HWLOC_MEMBIND_THREAD | HWLOC_MEMBIND_NOCPUBIND | HWLOC_MEMBIND_BYNODESET);
}

// Tells the kernel and, if it agrees, records |binding|. |prefer_node| < 0: memory where touched.
static manta_status_t affinity_apply(const mti_topology_t *topology, hwloc_const_bitmap_t set,
                                     int prefer_node, mti_binding_t binding)
{
    if (topology->this_machine) {
        manta_status_t status = affinity_set_cpus(topology, set);
        if (status != MANTA_OK) return status;
        binding.cpu_bound = true;
        if (prefer_node >= 0)
            binding.memory_bound = affinity_prefer_node(topology, prefer_node);
        else
            affinity_forget_node(topology);
    }
    affinity_record(topology, binding);
    return MANTA_OK;
}

static manta_status_t affinity_fail_memory(void)
{
    return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for a set of processors");
}

// Binds to the first processor of each of |cores|, which were checked.
static manta_status_t affinity_bind(const mti_topology_t *topology, const int *cores, size_t count,
                                    mti_binding_kind_t kind)
{
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    if (!set) return affinity_fail_memory();
    manta_status_t status = MANTA_OK;
    int node = topology->cores[cores[0]].node;
    bool one_node = true;
    for (size_t i = 0; i < count && status == MANTA_OK; i++) {
        const mti_core_t *core = &topology->cores[cores[i]];
        one_node = one_node && core->node == node;
        if (hwloc_bitmap_set(set, (unsigned)core->pu) != 0) status = affinity_fail_memory();
    }
    if (status == MANTA_OK)
        status = affinity_apply(topology, set, one_node ? node : -1,
                                (mti_binding_t){.kind = kind,
                                                .core = cores[0],
                                                .core_count = hwloc_bitmap_weight(set),
                                                .node = node});
    hwloc_bitmap_free(set);
    return status;
}

static manta_status_t affinity_check_core(const mti_topology_t *topology, int core)
{
    if (core >= 0 && core < topology->core_count) return MANTA_OK;
    return mti_fail(MANTA_ERR_OUT_OF_RANGE, "core %d of %d", core, topology->core_count);
}

manta_status_t mti_affinity_bind_core(const mti_topology_t *topology, int core)
{
    manta_status_t status = affinity_check_core(topology, core);
    return status == MANTA_OK ? affinity_bind(topology, &core, 1, MTI_BINDING_CORE) : status;
}

manta_status_t mti_affinity_bind_cores(const mti_topology_t *topology, const int *cores,
                                       size_t count)
{
    if (count == 0) return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "no cores to bind a thread to");
    for (size_t i = 0; i < count; i++) {
        manta_status_t status = affinity_check_core(topology, cores[i]);
        if (status != MANTA_OK) return status;
    }
    return affinity_bind(topology, cores, count, MTI_BINDING_CORES);
}

// All processors of cores that call |node| home; for a node of memory only those near it, and if
// the machine doesn't say which are near, all.
static bool affinity_find_node_set(const mti_topology_t *topology, const mti_node_t *node,
                                   hwloc_bitmap_t out_set, int *out_core_count)
{
    hwloc_const_bitmap_t near =
        hwloc_get_numanode_obj_by_os_index(topology->hwloc, (unsigned)node->os_index)->cpuset;
    bool anywhere = hwloc_bitmap_iszero(near);
    *out_core_count = 0;
    for (int i = 0; i < topology->core_count; i++) {
        const mti_core_t *core = &topology->cores[i];
        bool take = node->core_count > 0 ? core->node == node->node
                                         : anywhere || hwloc_bitmap_isset(near, (unsigned)core->pu);
        if (!take) continue;
        ++*out_core_count;
        for (int k = 0; k < core->smt_count; k++)
            if (hwloc_bitmap_set(out_set, (unsigned)core->pus[k]) != 0) return false;
    }
    return true;
}

manta_status_t mti_affinity_bind_node(const mti_topology_t *topology, int node)
{
    if (node < 0 || node >= topology->node_count)
        return mti_fail(MANTA_ERR_OUT_OF_RANGE, "NUMA node %d of %d", node, topology->node_count);
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    if (!set) return affinity_fail_memory();
    manta_status_t status;
    mti_binding_t binding = {.kind = MTI_BINDING_NODE, .core = -1, .node = node};
    if (affinity_find_node_set(topology, &topology->nodes[node], set, &binding.core_count))
        status = affinity_apply(topology, set, node, binding);
    else
        status = affinity_fail_memory();
    hwloc_bitmap_free(set);
    return status;
}

manta_status_t mti_affinity_restore(const mti_topology_t *topology)
{
    if (topology->this_machine) {
        manta_status_t status = affinity_set_cpus(topology, topology->original_mask);
        if (status != MANTA_OK) return status;
        if (affinity_self.owner == topology && affinity_self.binding.memory_bound)
            affinity_forget_node(topology);
    }
    affinity_record(NULL, affinity_none);
    return MANTA_OK;
}

mti_binding_t mti_affinity_current(const mti_topology_t *topology)
{
    return affinity_self.owner == topology ? affinity_self.binding : affinity_none;
}
