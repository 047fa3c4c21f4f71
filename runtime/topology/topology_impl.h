// What the files of this module share.
#ifndef MTI_TOPOLOGY_TOPOLOGY_IMPL_H
#define MTI_TOPOLOGY_TOPOLOGY_IMPL_H

#include "topology/topology.h"

#include "base/refusal.h"

#include <errno.h>
#include <hwloc.h>
#include <stdio.h>
#include <string.h>

MANTA_BEGIN_DECLS

// What can fail in here, behind the hook for tests (base/refusal.h).
#define MTI_REFUSED(what) (!mti_refusal_allowed(MTI_REFUSAL_##what))
#define hwloc_topology_init(out)                                                                   \
    (MTI_REFUSED(HWLOC) ? (errno = ENOMEM, -1) : hwloc_topology_init(out))
#define hwloc_topology_load(topology)                                                              \
    (MTI_REFUSED(HWLOC) ? (errno = EIO, -1) : hwloc_topology_load(topology))
#define hwloc_topology_set_xml(topology, path)                                                     \
    (MTI_REFUSED(HWLOC) ? -1 : hwloc_topology_set_xml(topology, path))
#define hwloc_topology_set_synthetic(topology, text)                                               \
    (MTI_REFUSED(HWLOC) ? -1 : hwloc_topology_set_synthetic(topology, text))
#define hwloc_bitmap_alloc()        (MTI_REFUSED(HWLOC) ? NULL : hwloc_bitmap_alloc())
#define hwloc_bitmap_copy(to, from) (MTI_REFUSED(HWLOC) ? -1 : hwloc_bitmap_copy(to, from))
#define hwloc_bitmap_and(to, a, b)  (MTI_REFUSED(HWLOC) ? -1 : hwloc_bitmap_and(to, a, b))
#define hwloc_bitmap_set(set, bit)  (MTI_REFUSED(HWLOC) ? -1 : hwloc_bitmap_set(set, bit))
#define hwloc_bitmap_set_range(set, a, b)                                                          \
    (MTI_REFUSED(HWLOC) ? -1 : hwloc_bitmap_set_range(set, a, b))
#define hwloc_bitmap_list_asprintf(out, set)                                                       \
    (MTI_REFUSED(HWLOC) ? -1 : hwloc_bitmap_list_asprintf(out, set))
#define hwloc_get_cpubind(topology, set, flags)                                                    \
    (MTI_REFUSED(BIND) ? -1 : hwloc_get_cpubind(topology, set, flags))
#define hwloc_set_cpubind(topology, set, flags)                                                    \
    (MTI_REFUSED(BIND) ? (errno = EPERM, -1) : hwloc_set_cpubind(topology, set, flags))
#ifndef __cplusplus // only what the module calls itself
#define fopen(path, mode) (MTI_REFUSED(FILE) ? NULL : fopen(path, mode))
#define getline(line, capacity, file)                                                              \
    (MTI_REFUSED(FILE) ? (ssize_t)-1 : getline(line, capacity, file))
#define strdup(text) (MTI_REFUSED(FILE) ? NULL : strdup(text))
#endif

// One block from the allocator: the struct, its arrays and its strings. Immutable after create.
struct mti_topology {
    manta_allocator_t allocator;
    size_t block_size_bytes;
    hwloc_topology_t hwloc;
    hwloc_bitmap_t original_mask; // of the creating thread, before any binding of ours; or NULL
    mti_core_t *cores;
    mti_node_t *nodes;
    int *pus;        // OS indices, grouped by core
    int *node_cores; // core indices, grouped by home node
    const char *model;
    const char *source; // what to call it in messages: "this machine", "machine.xml", …
    int core_count, node_count, package_count, pu_count, l2_count, l3_count;
    int cpu_limit;
    bool this_machine;
    bool quota_limited;
    bool binds_memory; // more than one node, and the user set no policy of his own
};

// A loaded hwloc topology and what to call it in messages.
typedef struct mti_machine {
    hwloc_topology_t hwloc;
    const char *source; // borrowed from the options or the environment
    bool this_machine;
} mti_machine_t;

// Loads the machine that |options| or the environment name. On success the caller destroys
// |out_machine->hwloc|.
manta_status_t mti_machine_load(const mti_topology_options_t *options, mti_machine_t *out_machine);

// The tightest CPU quota that the control groups of this process set, v1 or v2, in thousandths of a
// CPU, rounded up; INT64_MAX if there is none. |root| is put before /proc and before mount points;
// NULL: nothing. What can't be read or parsed sets no limit.
int64_t mti_cgroup_quota_milli(const char *root);

// Parses the list syntax of cpusets, "0-3,8,16-", strictly; false if |text| is anything else, or
// memory ran out.
bool mti_cpuset_parse(const char *text, hwloc_bitmap_t out_set);

// The topology that the calling thread is bound by, NULL if none.
const mti_topology_t *mti_affinity_owner(void);

MANTA_END_DECLS

#endif
