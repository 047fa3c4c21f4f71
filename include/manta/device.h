// Devices: which GPUs a runtime has, and where objects are.
//
// GPUs are looked for when the first task asks for one, or one of these calls is made; that there are
// none is a normal state. Virtual ones (MANTA_SIM_GPUS=4, or options) are as good as real ones for
// everything but speed.
#ifndef MANTA_DEVICE_H
#define MANTA_DEVICE_H

#include <manta/object.h>
#include <manta/task.h>

MANTA_BEGIN_DECLS

typedef struct manta_gpu_info {
    size_t struct_size;
    char name[64];          // "NVIDIA H200", "sim:2"
    char pci_id[16];        // "0000:3b:00.0", "" for a virtual one
    bool is_virtual;        // made by the runtime, runs kernels' CPU twins
    bool is_lost;           // an error has made it unusable; tasks go elsewhere
    int node;               // NUMA node near it as the operating system counts, -1: unknown
    uint64_t memory_bytes;  // that can be allocated at most
    int cc_major, cc_minor; // compute capability; 0.0 for a virtual one
    uint32_t max_block_threads;
    uint32_t max_shared_bytes; // dynamic, per block
} manta_gpu_info_t;

// How many GPUs |runtime| ({0}: the current one) has; 0 also if they could not be looked for, and then
// manta_error_message() says why. Threads: any. Blocks: the first call may take some ms.
MANTA_API int manta_gpu_count(manta_runtime_t runtime);

// Describes GPU |index|, as in manta_gpu(index). |out_info|->struct_size is set by the caller.
// Errors: OUT_OF_RANGE · INVALID_ARGUMENT · STALE_REF.
MANTA_API manta_status_t manta_gpu_describe(manta_runtime_t runtime, int index,
                                            manta_gpu_info_t *out_info);

// The GPUs that the running task has a share of (.gpus), bit i for GPU i; 0: none. Until the body returns.
// Threads: the body's.
MANTA_API uint64_t manta_task_gpus(const manta_task_t *task);

// Where the bytes of |ref| are now: bit i of |*out_gpus| for GPU i (up to 64), |*out_host| for the host.
// An object that is empty, pending or failed is nowhere; one on its way to a device counts as there.
// A snapshot. Errors: STALE_REF · INVALID_ARGUMENT · the code of an error ref.
MANTA_API manta_status_t manta_where(manta_ref_t ref, bool *out_host, uint64_t *out_gpus);

// Starts to copy the sealed |ref| to a place, so that who wants it there later finds it: the host (MANTA_CPU), a
// GPU (manta_gpu(i)), or one that has it already or little to do (MANTA_GPU). A hint: without room on the
// device nothing happens. A replica stays until the object goes; values of up to 16 bytes have none.
// Blocks: never. Errors: NOT_READY |ref| is pending · INFEASIBLE no such GPU · DEVICE_LOST · STALE_REF ·
// OUT_OF_MEMORY of the host · the object's own.
MANTA_API manta_status_t manta_prefetch(manta_ref_t ref, manta_where_t where);

MANTA_END_DECLS

#endif
