// Lanes: tasks on devices, and where the bytes of objects are. Between the files of core.
//
// A *lane* drives one device. A task that is to run there goes: inbox of the runtime's lanes → routed (claimed,
// its device chosen) → ready list of a lane → placed (operands brought over, waits, body, results assigned) →
// in flight on a queue → complete. All of it happens in mti_lanes_help(), by whoever comes by and gets the
// *right* of the lane with one try: the lanes' own thread, workers without work, waiters. Nobody waits for a
// right, and no lock is held while it is used.
//
// A *tier* says where the bytes of one object are: at most one replica on each device, and one for the host.
#ifndef MTI_CORE_LANE_H
#define MTI_CORE_LANE_H

#include "core/core.h"
#include "devices/device.h"
#include "store/store.h"

#include <manta/kernel.h>

typedef struct mti_lane mti_lane_t;

// ---- orders (lane_actor.c) -----------------------------------------------------------------------

enum { MTI_LANE_OWN_QUEUES = 8 }; // of a device, to be given away to actors

// The order of an actor's calls on a device. Belongs to the right of its lane.
typedef struct mti_lane_order {
    mti_fence_t last;       // of the call that was placed last
    uint64_t blocked_round; // the lane's round in which one of them could not be placed
    int own;                // a queue of its own, -1: none
} mti_lane_order_t;

// False: no queue is left to be given away.
bool mti_lane_order_init(mti_lanes_t *lanes, uint32_t index, bool own_queue,
                         mti_lane_order_t *order);
void mti_lane_order_deinit(mti_lanes_t *lanes, uint32_t index, mti_lane_order_t *order);
// How many actors are on the device, before |change|.
uint32_t mti_lane_actors(mti_lanes_t *lanes, uint32_t index, int change);
// Gives the queued method |t|, which has no dependencies left, to the device. Its end comes by
// mti_actor_call_over(). Without locks; calls of one |order| by one thread at a time.
void mti_lanes_call(mti_lanes_t *lanes, mti_ctx_t *ctx, mti_record_t *t, uint32_t gen,
                    uint32_t index, mti_lane_order_t *order);
// Device memory for the state of the actor whose CUDA body runs; NULL: no memory, which the task was told.
mti_block_t *mti_lane_actor_block(manta_task_t *task, size_t size_bytes);
// The running CUDA body has failed with |status| and this thread's message, whatever it returns.
manta_status_t mti_lane_body_fail(manta_task_t *task, manta_status_t status);

// ---- tiers (tier.c) ------------------------------------------------------------------------------

typedef enum mti_host_state {
    MTI_HOST_NONE = 0, // the bytes are on devices only
    MTI_HOST_COMING,   // a copy is under way
    MTI_HOST_VALID,    // |object->u.mem.data| has them
} mti_host_state_t;

// Written by the holder of that lane's right with the tier's lock held; read with either.
typedef struct mti_replica {
    mti_block_t *block; // NULL: none
    mti_fence_t ready;  // the bytes are there when this is done
    bool is_copy; // it was brought here, by the operations in (before, ready.seq] of that queue
    uint64_t before;
} mti_replica_t;

enum { MTI_TIER_PEERS = 4 };

struct mti_tier {
    mti_mutex_t lock; // innermost; nothing is called while it is held
    mti_object_t *object;
    size_t size_bytes;
    mti_storage_t
        origin; // how the host's bytes are given back: HEAP, PARENT, WRAPPED; NONE: |host_block|
    void *origin_data;
    union {
        mti_object_t *parent;
        mti_wrap_t *wrap;
    };
    mti_block_t *host_block; // pinned, of a fetch
    mti_atomic_u32_t host;   // mti_host_state_t; stores with |lock|
    // Tasks on devices that read it, are placed, and hold a count of the object for it: no holders for INOUT.
    // Those that have no attempts left, that is. Raised after the count is taken, lowered before it is given back.
    mti_atomic_u32_t readers;
    bool requested;               // guarded by lock; a fetch was asked for
    bool is_second_fetch;         // guarded by lock; the first one failed by itself
    uint32_t fetched_from;        // guarded by lock; the device, |device_count|: none was left
    manta_status_t fetch_failure; // the lane's that fetches; OK: none
    uint64_t
        links; // guarded by lock; links of CPU tasks and forwards that wait for the host's bytes
    manta_error_t *error; // it failed after it was assigned: one count, NULL: it did not
    uint32_t cause_argument;
    mti_object_t *cause; // through that argument, one internal count, or NULL
    mti_tier_t *next;    // of a lane's list of fetches
    mti_fence_t fetched; // the copy to the host
    mti_fence_t
        peers[MTI_TIER_PEERS]; // guarded by lock; copies to other devices that read a replica
    uint32_t peer_count;       // guarded by lock
    uint32_t device_count;
    mti_replica_t at[];
};

// A tier for the result |object| of a task on a device, |size_bytes| > 0. NULL: no memory.
mti_tier_t *mti_tier_create(mti_lanes_t *lanes, mti_object_t *object, size_t size_bytes);
// The tier of a closed object of the caller's; made if need be. NULL: its bytes are inside the object line
// (up to MTI_INLINE_BYTES), or there is no memory (|*out_failed|).
mti_tier_t *mti_tier_of(mti_lanes_t *lanes, mti_object_t *object, bool *out_failed);
static inline mti_tier_t *mti_object_tier(const mti_object_t *object)
{
    // acquire: pairs with the release in mti_tier_of
    uint64_t bits = mti_atomic_u64_load_acquire(&object->size_bits);
    bool tiered = (mti_storage_t)(bits >> 48 & 0xff) == MTI_STORAGE_TIERED;
    return tiered ? __atomic_load_n(&object->u.mem.tier, __ATOMIC_RELAXED) : NULL;
}
// |data|, from the payload heap, is the value; there are no replicas.
void mti_tier_adopt(mti_tier_t *tier, void *data, size_t size_bytes);
// Whether some place that is not lost has the bytes.
bool mti_tier_lives(mti_lanes_t *lanes, mti_tier_t *tier);
// The host's copy is there, or failed (|ok| false, |code|): tells whoever waits for it, unless there is another
// place to fetch it from, or a first time. Needs no right.
void mti_tier_arrived(mti_ctx_t *ctx, mti_tier_t *tier, bool ok, manta_status_t code);

// ---- inside a CUDA body (lane.c); contracts in manta/kernel.h -------------------------------------

manta_status_t mti_lane_launch(manta_kernel_t *kernel, const manta_grid_t *grid, void *const *args,
                               uint32_t arg_count);
manta_status_t mti_lane_launch_native(void *kernel, const manta_grid_t *grid, void **args,
                                      const char *name);
void *mti_lane_stream(manta_task_t *task);
int mti_lane_device_index(const manta_task_t *task);
void *mti_lane_local(manta_task_t *task, const void *key, manta_local_make_fn_t make,
                     manta_local_destroy_fn_t destroy);
void *mti_lane_scratch(manta_task_t *task, size_t size_bytes);
manta_status_t mti_lane_status_word(manta_task_t *task, const void *device_ptr);

// ---- streams and memory of others (lane_foreign.c); contracts in manta/kernel.h ---------------------

manta_status_t mti_lanes_cuda_wait(void *stream, manta_ref_t ref, manta_view_t *out_view);
manta_ref_t mti_lanes_wrap_cuda(void *device_ptr, size_t size_bytes, manta_dtype_t dtype,
                                void *stream, manta_deleter_fn_t deleter, void *user);

// ---- lanes (lane.c) ------------------------------------------------------------------------------

void mti_lanes_fetch(mti_lanes_t *lanes, mti_tier_t *tier, uint32_t device);
// Brings a replica of the closed |object| of the caller's to GPU |index|, or a good one (UINT32_MAX). A hint:
// without memory on the device nothing happens. Errors: OUT_OF_MEMORY of the host · DEVICE_LOST.
manta_status_t mti_lanes_prefetch(mti_lanes_t *lanes, mti_object_t *object, uint32_t index);
uint32_t mti_lanes_count(const mti_lanes_t *lanes);
const manta_allocator_t *mti_lanes_allocator(const mti_lanes_t *lanes);
// Gives a block back to its heap, from any thread.
void mti_lanes_free_block(mti_lanes_t *lanes, mti_block_t *block);

#endif
