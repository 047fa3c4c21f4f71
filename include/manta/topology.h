// The machine as a runtime sees it: a read-only snapshot, taken when the runtime was made.
//
// It shows what the runtime may use: what the affinity mask and the cpuset option leave of this
// machine, or of the one that the options or the environment (HWLOC_XMLFILE, HWLOC_SYNTHETIC) put in
// its place. All indices are dense and start at 0; what the operating system numbers says so.
// A runtime {0} is the current one. Structs: set struct_size before the call.
#ifndef MANTA_TOPOLOGY_H
#define MANTA_TOPOLOGY_H

#include <manta/runtime.h>

MANTA_BEGIN_DECLS

// One physical core. A processor that belongs to no known core counts as one.
typedef struct manta_core_info {
    size_t struct_size;
    int core;
    int pu;   // operating system's index of the processor that a worker would be bound to
    int node; // NUMA node where its memory should be
    int package;
    int l2, l3;    // cache that it sits under; cores with the same number share it; -1: unknown
    int smt_count; // hardware threads that may be used
    size_t l2_size_bytes, l3_size_bytes; // 0: unknown
} manta_core_info_t;

// One NUMA node. It may have memory and no cores (CXL, HBM).
typedef struct manta_node_info {
    size_t struct_size;
    int node;
    int os_index;          // operating system's index
    int package;           // -1: spans several, or belongs to none
    int core_count;        // cores whose memory should be here
    uint64_t memory_bytes; // 0: unknown
} manta_node_info_t;

// Where a worker belongs.
typedef struct manta_worker_binding {
    size_t struct_size;
    int worker;
    int core, pu, node; // as in manta_core_info_t; -1: the worker has no core of its own
    bool bound; // the worker's thread is bound there. False: intended only, as with a machine that
                // is not this one, or with binding switched off
} manta_worker_binding_t;

// How many there are; 0 for a runtime that doesn't exist. Threads: any. Blocks: never.
MANTA_API int manta_topology_cores(manta_runtime_t runtime);
MANTA_API int manta_topology_nodes(manta_runtime_t runtime);
MANTA_API int manta_topology_packages(manta_runtime_t runtime);

// False if the machine comes from a file or a string: then nothing is bound for real.
MANTA_API bool manta_topology_is_this_machine(manta_runtime_t runtime);

// Fill in |out_info|, of which the first struct_size bytes are the caller's.
//
// Threads: any.  Blocks: never.
// Errors:  OUT_OF_RANGE no such core, node or worker · INVALID_ARGUMENT |out_info| NULL, or its
//          struct_size not set · STALE_REF no such runtime (any more).
MANTA_API MANTA_NODISCARD manta_status_t manta_topology_core_info(manta_runtime_t runtime, int core,
                                                                  manta_core_info_t *out_info);
MANTA_API MANTA_NODISCARD manta_status_t manta_topology_node_info(manta_runtime_t runtime, int node,
                                                                  manta_node_info_t *out_info);
MANTA_API MANTA_NODISCARD manta_status_t manta_topology_worker_binding(
    manta_runtime_t runtime, int worker, manta_worker_binding_t *out_info);

// Writes a description for people, one to three lines without a final newline, as snprintf would:
// at most |size| bytes with the terminator. Returns the length that it needs, 0 for a runtime that
// doesn't exist. Threads: any. Blocks: never.
MANTA_API int manta_topology_describe(manta_runtime_t runtime, char *buffer, size_t size);

MANTA_END_DECLS

#endif
