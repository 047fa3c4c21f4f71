// Inside of the lanes, between the lane_*.c files. lane.h tells the way of a task, docs/architecture.md the rules.
//
//   lane.c        the inbox, steps, the thread, start and stop, waiting for bytes
//   lane_route.c  which device a task goes to
//   lane_place.c  a task is given to a queue: operands, waits, body, results
//   lane_copy.c   queues and their order, copies to devices
//   lane_fetch.c  copies to the host
//   lane_times.c  how long tasks take, learned
//   lane_op.c     what is known of a task while it is routed, placed and in flight; its end
//   lane_body.c   what bodies call
//   lane_context.c  the thread that drives, and what bodies leave on it
//   lane_foreign.c  joining streams and device memory of others
//   lane_code.c   kernels on a device
//
// Everything in a lane that is not atomic belongs to the holder of its right. Other threads reach a lane
// through three lists, each with one word or a lock of its own: the inbox (ids of tasks, ready), the ready list
// (operations, claimed) and the stack of freed blocks. Whoever adds to one of them kicks the lanes' thread
// afterwards; that looks at them again after it has said that it sleeps (seq_cst both).
#ifndef MTI_CORE_LANE_IMPL_H
#define MTI_CORE_LANE_IMPL_H

#include "core/code.h"
#include "core/lane.h"

#include "base/alloc.h"
#include "devices/registry.h"

#include <string.h>

enum {
    MTI_LANE_COMPUTE_QUEUES = 8,
    MTI_LANE_QUEUE_URGENT = MTI_LANE_COMPUTE_QUEUES - 1, // for tasks of the higher bands alone
    // and one per direction, and those that actors have for themselves
    MTI_LANE_QUEUES = MTI_LANE_COMPUTE_QUEUES + 3 + MTI_LANE_OWN_QUEUES,
    MTI_LANE_QUEUE_IN = MTI_LANE_COMPUTE_QUEUES,
    MTI_LANE_QUEUE_OUT,
    MTI_LANE_QUEUE_PEER,
    MTI_LANE_QUEUE_OWN,
    MTI_LANE_BANDS = 4,      // urgent, high, normal, low
    MTI_LANE_SNAPSHOTS = 16, // what a queue knew of others, remembered
    MTI_OP_BUFFERS = 24,
    MTI_OP_COPIES = 4,
    MTI_LANE_FAILURES = 32, // copies that failed, remembered
    MTI_LANE_BATCH = 64,    // copies that are submitted together
    MTI_LANE_TRUSTED = 64,  // variants
    MTI_LANE_TIMES = 256,   // kinds of tasks
    // From here on they are, so that the first of them do not wait for many more, and the host fills the next
    // pinned buffer while these are under way.
    MTI_LANE_BATCH_BYTES = 2 << 20,
};

// Operations of a copy queue that brought an operand.
typedef struct mti_copies {
    mti_queue_t *queue;
    uint64_t before, last; // those in (before, last]
} mti_copies_t;

typedef struct mti_op mti_op_t;
typedef struct mti_lane_queue mti_lane_queue_t;

// A result that a CPU body made larger than was foreseen: from then on it is host memory.
typedef struct mti_op_grown mti_op_grown_t;
struct mti_op_grown {
    mti_op_grown_t *next;
    uint32_t result;
    void *data;
    size_t size_bytes;
};

// A task from the time it is routed until it is complete.
struct mti_op {
    mti_op_t *next;
    manta_task_t run; // what bodies see as their task
    mti_lane_t *lane;
    mti_lane_queue_t *queue;
    mti_lane_order_t *order; // of a method, else NULL
    uint32_t gen;
    uint64_t first_seq, seq; // its operations are those in (first_seq, seq]
    manta_status_t status;   // of placing it, or of its body
    bool enqueued;           // its body launched something, or asked for the stream
    bool is_foreign;         // … or ran code that may make another context current
    bool assigned;           // its results are
    bool is_reader;          // it counts among the readers of its arguments
    bool by_host;            // its CPU body runs in the place of a kernel
    bool is_learned;         // how long it took
    uint64_t times_key;      // its kind
    uint64_t expected_ns;    // what |lane| has ahead of others with it
    const manta_variant_t *variant;
    mti_copies_t
        copies[MTI_OP_COPIES]; // that were under way when it was placed; the last may be too wide
    uint32_t copy_count;
    mti_block_t *word_block; // pinned, gets the status word
    mti_block_t *scratch;    // linked by |next|
    mti_op_grown_t *grown;   // written by the body's thread, read when it is done
    size_t room_bytes;       // of |room|
    void *room;              // buffers and results beyond those below
    manta_buffer_t buffers[MTI_OP_BUFFERS];
    mti_object_t *results[MTI_OP_BUFFERS];
};

// What a queue knew: operations of it from |seq| on come behind |known[i]| of queue i.
typedef struct mti_lane_snapshot {
    uint64_t seq;
    uint64_t known[MTI_LANE_QUEUES];
} mti_lane_snapshot_t;

typedef struct mti_lane_local mti_lane_local_t;
struct mti_lane_local {
    mti_lane_local_t *next;
    const void *key;
    void *value;
    manta_local_destroy_fn_t destroy;
};

struct mti_lane_queue {
    mti_queue_t *queue;
    mti_op_t *first, *last; // in flight, in order
    uint32_t in_flight;
    uint32_t unrecorded; // tasks since the last record
    int64_t unrecorded_since_ns;
    uint64_t known[MTI_LANE_QUEUES];
    mti_lane_snapshot_t snapshots[MTI_LANE_SNAPSHOTS];
    uint32_t snapshot_next;
    mti_lane_local_t *locals;
    int64_t busy_since_ns; // the first in flight could run since then; by the device's clock
};

// A code object as devices see it.
typedef struct mti_lane_code mti_lane_code_t;
struct mti_lane_code {
    mti_lane_code_t *next;
    size_t bytes; // of this
    mti_code_t code;
    const manta_kernel_t **rows; // where kernels[i] comes from; behind |kernels|
    mti_kernel_desc_t kernels[];
};

// One that could not be loaded: who launches from it is told.
typedef struct mti_lane_unloaded mti_lane_unloaded_t;
struct mti_lane_unloaded {
    mti_lane_unloaded_t *next;
    const manta_code_t *code;
    manta_status_t status;
    char text[256];
};

// An object that is to have a replica on the device; the slot is counted until it has.
typedef struct mti_lane_wish mti_lane_wish_t;
struct mti_lane_wish {
    mti_lane_wish_t *next;
    mti_object_t *object;
    bool is_coming; // as of this step
};

// Whether a variant leaves the thread as it was.
typedef struct mti_lane_trust {
    const manta_variant_t *variant; // NULL: free
    uint32_t runs;                  // that were looked after
    bool strays;
} mti_lane_trust_t;

// A copy between the host and the device that is to be submitted with others.
typedef struct mti_lane_copy {
    mti_copy_t copy;
    mti_tier_t *tier;   // whose bytes they are, NULL: nobody's yet
    mti_block_t *block; // written
    mti_block_t *other; // read; of an upload a pinned buffer, which is given back then, or NULL
} mti_lane_copy_t;

typedef struct mti_lane_batch {
    uint32_t count;
    size_t bytes;
    mti_lane_copy_t of[MTI_LANE_BATCH];
} mti_lane_batch_t;

static inline bool mti_lane_batch_is_full(const mti_lane_batch_t *batch)
{
    return batch->count == MTI_LANE_BATCH || batch->bytes >= MTI_LANE_BATCH_BYTES;
}

struct mti_lane {
    mti_lanes_t *lanes;
    mti_device_t *device;
    uint32_t index;
    mti_atomic_u32_t right;   // 1: somebody has it
    manta_status_t failure;   // the right's. OK: it can be used; else not opened, or lost
    char failure_text[200];   // … and why
    mti_atomic_u32_t is_down; // the same for everybody: 1 if there is a failure

    // Written by whoever comes.
    _Alignas(MTI_LINE_BYTES) mti_mutex_t lock;
    struct {
        mti_op_t *first, *last;
    } ready[MTI_LANE_BANDS];    // guarded by lock; oldest first
    uint32_t picks;             // guarded by lock
    mti_tier_t *fetches;        // guarded by lock; wanted at the host
    mti_lane_wish_t *wishes;    // guarded by lock; wanted here
    mti_atomic_ptr_t freed;     // mti_block_t *, a stack that is only ever taken whole
    mti_atomic_u32_t actors;    // that are on the device
    mti_atomic_u32_t own_taken; // a bit for each queue that is an actor's
    mti_atomic_u64_t ahead_ns;  // what its operations are expected to take, from routing to end
    mti_atomic_u32_t waiting;   // operations in |ready|, fetches wanted
    mti_atomic_u32_t in_flight; // tasks and fetches: is there anything to do?
    mti_atomic_u32_t
        record_wanted; // another device wants to wait for something that is not recorded

    // The right's.
    _Alignas(MTI_LINE_BYTES) mti_lane_queue_t queues[MTI_LANE_QUEUES];
    uint32_t queue_count; // compute queues that were made
    bool is_bound;        // this step has bound its thread to the device
    mti_bound_t bound;
    bool ran_trusted; // a body that was not looked after ran in this step
    mti_lane_trust_t trusted[MTI_LANE_TRUSTED];
    mti_devheap_t *heap, *host_heap;
    mti_tier_t *fetching, *fetching_last; // in order
    // Copies that failed, newest last: who finds a replica that they made makes it again. Those that stood
    // behind them on the device when they failed were told.
    mti_fence_t failures[MTI_LANE_FAILURES];
    uint32_t failure_count;
    // Gathered while a task is placed, or wishes are granted, and submitted at its end: nothing else goes to
    // the copy queue in between, so their number is known. Those to the host: while fetches are started.
    mti_lane_batch_t uploads, downloads;
    mti_lane_wish_t *granting; // wishes that are on their way
    mti_block_t *foreign;      // memory of others that nobody holds any more, but something may use
    // Placed again later: an operand is on its way through the host, or one before it in its order waits.
    mti_op_t *parked, *parked_last;
    uint64_t round;          // counts rounds of placing, from 1
    uint32_t code_seen;      // code objects that were loaded, or tried
    mti_lane_code_t *loaded; // what the device borrows of them
    mti_lane_unloaded_t *unloaded;
};

typedef struct mti_inbox {
    uint64_t *ids; // a ring
    size_t first, count;
} mti_inbox_t;

// 0: urgent … 3: low; at most 1: before the others.
static inline uint32_t mti_lane_band(uint32_t flags)
{
    if (!(flags & MTI_RECORD_BAND) || flags & MTI_RECORD_METHOD) return 2; // its actor orders them
    uint32_t band = flags >> MTI_RECORD_BAND_SHIFT & 3; // no table: tests in C++ read this, too
    return band == MTI_BAND_URGENT ? 0 : band == MTI_BAND_HIGH ? 1 : 3;
}

struct mti_lanes {
    mti_runtime_t *rt;
    manta_allocator_t allocator;
    mti_devices_t *devices;
    uint32_t count;
    manta_status_t failure; // why there are none, OK: there just are none; immutable
    char failure_text[200];
    bool is_virtual; // its clock: one thread at a time steps all; time moves when all stand still
    mti_atomic_u32_t stepping; // the right to step a virtual clock
    mti_atomic_u32_t hurry;    // somebody waits: record what is unrecorded

    // Tasks that are ready, by id. Room is reserved at submit, so that a push can't fail.
    mti_mutex_t inbox_lock;
    // Those of the higher bands have a ring of their own; each has room for all.
    mti_inbox_t inbox[2];                  // guarded by inbox_lock
    size_t inbox_capacity, inbox_reserved; // guarded by inbox_lock
    mti_atomic_u32_t inbox_hint;

    mti_atomic_u64_t times[MTI_LANE_TIMES]; // lane_times.c

    mti_atomic_u32_t told; // changes when something arrived at the host; waiters sleep on it
    mti_atomic_u32_t tell_waiters;

    pthread_t thread;
    bool has_thread;
    mti_ctx_t *ctx;          // the thread's
    mti_lane_t *thread_lane; // the thread's: which device it stays bound to between steps
    mti_bound_t thread_bound;
    mti_atomic_u32_t stop;
    mti_atomic_u32_t asleep;
    mti_atomic_u32_t wake;
    mti_lane_t lane[];
};

// ---- lane_route.c --------------------------------------------------------------------------------

// Whether |lane| can run |t|, whatever else is asked for.
bool mti_lane_can_run(const mti_lane_t *lane, const mti_record_t *t);
// Claims what is in the inbox, and chooses a device for it. False: there was nothing.
bool mti_lanes_route(mti_lanes_t *lanes, mti_ctx_t *ctx);
// |op| was routed to |lane|, which is down, and has not begun: it goes to another device, to a CPU, or fails.
void mti_lane_reroute(mti_lane_t *lane, mti_ctx_t *ctx, mti_op_t *op);

// Puts |op| on the ready list. Kick the lanes afterwards.
void mti_lane_ready(mti_lane_t *lane, mti_op_t *op);
// The lanes' thread is needed.
void mti_lanes_kick(mti_lanes_t *lanes);

// ---- lane_times.c --------------------------------------------------------------------------------

// |op| was routed to |lane|, or it is there no more.
void mti_lane_expect(mti_lane_t *lane, mti_op_t *op);
void mti_lane_expect_no_more(mti_op_t *op);
// Learns from what |q| is done with, before that is completed.
void mti_lane_learn(mti_lane_t *lane, mti_lane_queue_t *q);

// ---- lane_actor.c --------------------------------------------------------------------------------

// The queue that the next call of |order| goes to, if it has to be a certain one; else |*out_queue| stays.
manta_status_t mti_lane_order_queue(mti_lane_t *lane, const mti_lane_order_t *order,
                                    mti_lane_queue_t **out_queue);

// ---- lane_op.c -----------------------------------------------------------------------------------

// The operation whose CUDA body this thread runs.
extern __thread mti_op_t *mti_op_current __attribute__((tls_model("initial-exec")));

// Claims |t| for a device. False: it was cancelled, and is finished as that if nobody else does it.
bool mti_op_claim(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen);
// There is no memory for an operation: the claimed |t| fails.
void mti_op_refuse(mti_ctx_t *ctx, mti_record_t *t);
// For a task that was claimed. NULL: no memory.
mti_op_t *mti_op_create(mti_lanes_t *lanes, mti_record_t *t);
// Completes the task of |op|, which is on no list any more, and frees |op|.
void mti_op_complete(mti_ctx_t *ctx, mti_lanes_t *lanes, mti_op_t *op, manta_status_t status);
// Frees |op| alone.
void mti_op_destroy(mti_lanes_t *lanes, mti_op_t *op);
// Gives back what its body has allocated.
void mti_op_free_blocks(mti_lanes_t *lanes, mti_op_t *op);
// |op| fails with |status| and this thread's message, unless it has an error already.
void mti_op_set_error(mti_op_t *op, manta_status_t status, const char *text);
// Completes what |q| is done with, in order. False: nothing.
bool mti_lane_queue_complete(mti_lane_t *lane, mti_ctx_t *ctx, mti_lane_queue_t *q);
// Asks the device what is done, what failed, and whether it is lost.
void mti_lane_poll(mti_lane_t *lane, mti_ctx_t *ctx);
// The lane's device can't be used any more: tasks go elsewhere, or fail.
void mti_lane_fail(mti_lane_t *lane, mti_ctx_t *ctx, manta_status_t status, const char *text);
static inline bool mti_lane_is_down(const mti_lane_t *lane)
{
    // relaxed: a hint for who chooses; the right's holder decides
    return mti_atomic_u32_load_relaxed(&lane->is_down) != 0;
}

// ---- lane_context.c ------------------------------------------------------------------------------

// Makes the device's context current, once a step; what only looks does without.
void mti_lane_bind(mti_lane_t *lane);
// The thread is what it was before.
void mti_lane_unbind(mti_lane_t *lane);
// A body that |variant| is has returned: the context is current again for what follows. |is_foreign|: it ran code
// that is known to change it.
void mti_lane_body_over(mti_lane_t *lane, const manta_variant_t *variant, bool is_foreign);
// This thread is the lanes' own from now on.
void mti_lanes_thread_begin(void);
void mti_lanes_thread_unbind(mti_lanes_t *lanes);

// ---- lane_copy.c ---------------------------------------------------------------------------------

// MTI_LANE_QUEUES: |queue| is none of the lane's.
uint32_t mti_lane_queue_index(const mti_lane_t *lane, const mti_queue_t *queue);
// The lane's queue |index|, made if need be.
manta_status_t mti_lane_queue_get(mti_lane_t *lane, uint32_t index, mti_lane_queue_t **out);
// Whether what |q| is given comes behind |fence| anyway.
bool mti_lane_queue_is_after(const mti_lane_t *lane, const mti_lane_queue_t *q, mti_fence_t fence);
// Makes |q| wait for |fence|, unless that is implied by what it waited for before.
manta_status_t mti_lane_queue_after(mti_lane_t *lane, mti_lane_queue_t *q, mti_fence_t fence);
// The same for all users of |block|, as an overwrite needs.
manta_status_t mti_lane_block_after(mti_lane_t *lane, mti_lane_queue_t *q,
                                    const mti_block_t *block);
// The host wants to see the end of what |q| was given so far.
manta_status_t mti_lane_queue_record(mti_lane_queue_t *q);
// Submits |batch| to |queue|, as one operation, and notes it with the blocks. The batch stays as it is.
manta_status_t mti_lane_batch_submit(mti_lane_batch_t *batch, mti_queue_t *queue);
// Submits the uploads that were gathered. If that fails none of their replicas is there.
manta_status_t mti_lane_send(mti_lane_t *lane);
// Brings |size_bytes| host bytes, which the driver does not know, into a new block; |out_ready| is when they are there.
manta_status_t mti_lane_upload(mti_lane_t *lane, const void *from, size_t size_bytes,
                               mti_block_t **out_block, mti_fence_t *out_ready);
// Makes sure that the lane's device has a replica of |tier|: mti_lane_send() has to follow. NOT_READY: its bytes
// have to go through the host first, which was asked for.
manta_status_t mti_lane_bring(mti_lane_t *lane, mti_ctx_t *ctx, mti_tier_t *tier);
// Whether a copy that made |replica| has failed.
bool mti_lane_replica_failed(const mti_lane_t *lane, const mti_replica_t *replica);
// Forgets the replica that the lane's device has of |tier| if a copy that made it has failed.
void mti_lane_drop_failed(mti_lane_t *lane, mti_tier_t *tier);
// Starts the copies to this device that were wished for, and forgets those that are there. False: nothing moved.
bool mti_lane_grant(mti_lane_t *lane, mti_ctx_t *ctx);
// Forgets all wishes; the runtime ends.
void mti_lane_forget_wishes(mti_lane_t *lane);

// ---- lane_fetch.c --------------------------------------------------------------------------------

// Starts the copies to the host that are wanted, and tells of those that are there. False: nothing moved.
bool mti_lane_fetch(mti_lane_t *lane, mti_ctx_t *ctx);

// ---- lane_place.c --------------------------------------------------------------------------------

// Gives |op| to a queue. NOT_READY: try again later. Anything else is settled.
manta_status_t mti_lane_place(mti_lane_t *lane, mti_ctx_t *ctx, mti_op_t *op);

// ---- lane_foreign.c ------------------------------------------------------------------------------

// Memory that somebody else has allocated: no block of a heap.
static inline bool mti_block_is_foreign(const mti_block_t *block)
{
    return block->heap == NULL;
}
// Nobody holds |block| any more. Its deleter runs when what uses it is done.
void mti_lane_foreign_free(mti_lane_t *lane, mti_block_t *block);
// Queues the deleters that are due; |all| of them. False: there was none.
bool mti_lane_foreign_step(mti_lane_t *lane, mti_ctx_t *ctx, bool all);

// ---- lane_code.c ---------------------------------------------------------------------------------

// Loads all code that was registered since the last time. One that can't be loaded is skipped: who launches from it
// is told.
void mti_lane_load_code(mti_lane_t *lane);
// The kernel of |row| on the lane's device.
manta_status_t mti_lane_kernel(mti_lane_t *lane, const manta_kernel_t *row, manta_twin_fn_t twin,
                               const mti_kernel_t **out_kernel);
// Frees what the device borrowed; it is closed.
void mti_lane_forget_code(mti_lane_t *lane);

#endif
