// The machine that a runtime schedules for: cores, caches, NUMA nodes, limits; and thread binding.
//
// A topology is an immutable snapshot, taken at create from this machine, from an hwloc XML file or
// from an hwloc synthetic string. All indices are dense and count only what the runtime may use:
// what the affinity mask of the creating thread and the cpuset option leave. OS indices are named so.
//
// I/O objects, instruction caches and CPU kinds are not discovered: start-up pays for what the
// scheduler reads, and hwloc's own load is the largest part of it already.
#ifndef MTI_TOPOLOGY_TOPOLOGY_H
#define MTI_TOPOLOGY_TOPOLOGY_H

#include <manta/allocator.h>
#include <manta/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

MANTA_BEGIN_DECLS

typedef struct mti_topology mti_topology_t;

// At most one of |xml_path| and |synthetic|. With neither, HWLOC_SYNTHETIC and HWLOC_XMLFILE of the
// environment are looked at, in hwloc's order, and then this machine. Strings are borrowed for the
// call. All zero is a good default. Files are trusted as far as hwloc trusts them: most damage is
// an error, but there are sets that contradict each other on which hwloc itself crashes (2.9.0).
typedef struct mti_topology_options {
    const char *xml_path;
    const char *synthetic;
    const char *cpuset;      // OS processors to use, hwloc list syntax "0-3,8"; NULL: all allowed
    const char *cgroup_root; // prefix of /proc and /sys for the CPU quota; NULL: none. For tests
    manta_allocator_t
        allocator; // zero: the C library's. What hwloc itself allocates is not under it
} mti_topology_options_t;

// One place for a worker: a physical core. A processor without a core object counts as a core.
typedef struct mti_core {
    int core;       // own index
    int pu;         // OS index of the processor that a worker is bound to: the first usable one
    int node;       // index of its home node, where its memory should be
    int package;    // index; 0 if the machine has no packages
    int l2, l3;     // index of the cache that it sits under, -1 if unknown
    int smt_count;  // usable hardware threads, >= 1
    const int *pus; // their OS indices, |smt_count| long; lives as long as the topology
    size_t l2_size_bytes, l3_size_bytes; // of those caches, 0 if unknown
} mti_core_t;

// One NUMA node. A node may have memory and no cores (CXL, HBM), or cores and no memory.
typedef struct mti_node {
    int node;              // own index
    int os_index;          // as the kernel numbers it
    int package;           // index of its package, -1 if it spans several or belongs to none
    int core_count;        // cores that call this node home; 0: memory only
    const int *cores;      // their indices, ascending; lives as long as the topology
    uint64_t memory_bytes; // 0 if unknown
} mti_node_t;

// How far two cores are from each other. Smaller is nearer; steal order follows it.
typedef enum mti_distance {
    MTI_DISTANCE_SAME = 0, // the same core
    MTI_DISTANCE_L2,       // share an L2 cache
    MTI_DISTANCE_L3,       // share an L3 cache and the home node
    MTI_DISTANCE_NODE,     // share the home node or, where nodes split an L3, that cache
    MTI_DISTANCE_PACKAGE,  // share a package
    MTI_DISTANCE_MACHINE   // share nothing nearer
} mti_distance_t;

// Takes a snapshot of the machine that |options| (NULL: defaults) name.
//
// Owns:    the caller destroys *out_topology.
// Threads: any thread.   Blocks: for the discovery, 1-10 ms.   Calls user code: the allocator.
// Errors:  IO file can't be read · INVALID_ARGUMENT not a machine, or no processor left by the
//          cpuset · OUT_OF_MEMORY · SYSTEM hwloc can't discover this machine.
manta_status_t mti_topology_create(const mti_topology_options_t *options,
                                   mti_topology_t **out_topology);

// Frees |topology|; NULL is fine. No thread may still be bound by it (mti_affinity_restore, or ended).
void mti_topology_destroy(mti_topology_t *topology);

// Counts of what the runtime may use; all >= 1 but the caches'. Threads: any. Blocks: never.
int mti_topology_core_count(const mti_topology_t *topology);
int mti_topology_node_count(const mti_topology_t *topology);
int mti_topology_package_count(const mti_topology_t *topology);
int mti_topology_pu_count(const mti_topology_t *topology);
int mti_topology_l2_count(const mti_topology_t *topology);
int mti_topology_l3_count(const mti_topology_t *topology);

// Borrowed until the topology is destroyed; NULL if |index| is out of range. Threads: any.
const mti_core_t *mti_topology_core(const mti_topology_t *topology, int index);
const mti_node_t *mti_topology_node(const mti_topology_t *topology, int index);

// The core that the processor with OS index |pu| belongs to, -1 if it is not one of ours.
// Walks all processors: for set-up, not for hot paths. Threads: any.
int mti_topology_core_of_pu(const mti_topology_t *topology, int pu);

// False for a machine from XML or a synthetic string: then nothing is bound for real, and neither
// affinity mask nor quota count.
bool mti_topology_is_this_machine(const mti_topology_t *topology);

// The most workers that make sense: the cores, capped by the cgroup CPU quota (v1 and v2, all levels
// of the hierarchy) rounded up. >= 1. The quota is read once, at create.
int mti_topology_cpu_limit(const mti_topology_t *topology);

// True if the quota, not the number of cores, set the limit. The quota says how much time there is,
// not where: other containers probably run on the same cores, and start counting at core 0 as well.
bool mti_topology_is_quota_limited(const mti_topology_t *topology);

// Threads: any. |core_a|, |core_b|: valid indices.
mti_distance_t mti_topology_distance(const mti_topology_t *topology, int core_a, int core_b);

// Writes all cores but |core| to |out_cores| (room for core_count - 1), nearest first, and returns
// how many. Equally near ones start behind |core| and wrap around, so that thieves spread out.
size_t mti_topology_steal_order(const mti_topology_t *topology, int core, int *out_cores);

// Writes a description for people, one to three lines without a final newline, as snprintf would:
// at most |size| bytes with the terminator. Returns the length that it needs.
int mti_topology_format(const mti_topology_t *topology, char *buffer, size_t size);

// ---- Binding of the calling thread ---------------------------------------------------------------
//
// On this machine the kernel is told; on any other the intended binding is only recorded. The record
// is the thread's own and is written only on success. The topology must outlive the binding.
//
// Memory goes to the node as a preference, not as a hard limit: a full node spills over instead of
// killing the process. It is left alone where there is one node, where the user chose a policy
// (numactl), and where the kernel refuses it (seccomp in containers), which is no error.

typedef enum mti_binding_kind {
    MTI_BINDING_NONE = 0,
    MTI_BINDING_CORE,  // one processor of one core
    MTI_BINDING_CORES, // one processor of each of several cores
    MTI_BINDING_NODE   // all processors of a node
} mti_binding_kind_t;

typedef struct mti_binding {
    mti_binding_kind_t kind;
    int core;          // first core, -1 for NONE and NODE
    int core_count;    // cores in the mask, 0 for NONE
    int node;          // -1 for NONE; for CORES the first core's
    bool cpu_bound;    // the kernel has the mask; false on another machine
    bool memory_bound; // the kernel has the memory policy
} mti_binding_t;

// Binds the calling thread to |core|'s first processor, its memory to the core's node.
// Errors: OUT_OF_RANGE no such core · SYSTEM the kernel refused · OUT_OF_MEMORY.
manta_status_t mti_affinity_bind_core(const mti_topology_t *topology, int core);

// Lets the calling thread, and threads that it starts, run on the first processor of each of
// |cores|; memory goes to the first core's node if they share one, else where it is touched.
// Errors: INVALID_ARGUMENT |count| is 0 · as mti_affinity_bind_core.
manta_status_t mti_affinity_bind_cores(const mti_topology_t *topology, const int *cores,
                                       size_t count);

// Lets the calling thread run on every processor of |node|, memory there. A node without cores of its
// own gives the processors that are near it.
// Errors: OUT_OF_RANGE no such node · as mti_affinity_bind_core.
manta_status_t mti_affinity_bind_node(const mti_topology_t *topology, int node);

// Gives the calling thread the affinity mask back that the process had when |topology| was created.
// Fine for a thread that was never bound.
manta_status_t mti_affinity_restore(const mti_topology_t *topology);

// The binding of the calling thread, intended or real; kind NONE if |topology| did not bind it.
mti_binding_t mti_affinity_current(const mti_topology_t *topology);

MANTA_END_DECLS

#endif
