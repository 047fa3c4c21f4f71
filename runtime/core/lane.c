// Lanes: tasks on devices. lane.h tells the way of a task, docs/architecture.md the rules.
//
// What orders what: everything in a lane that is not atomic belongs to the holder of its right. Other threads
// reach a lane through three lists, each with one word or a lock of its own: the inbox (ids of tasks, ready), the
// ready list (operations, claimed) and the stack of freed blocks. Whoever adds to one of them calls lanes_kick()
// afterwards; the lanes' thread looks at them again after it has said that it sleeps (seq_cst both).
//
// A task in flight holds its arguments. It completes when its queue has passed it *and* its arguments are closed:
// it may have been placed behind a task that has not completed yet, and failed after all.
#include "core/lane.h"

#include "core/code.h"

#include "base/alloc.h"
#include "base/thread.h"
#include "devices/registry.h"

#include <manta/kernel.h>

#include <string.h>

enum {
    COMPUTE_QUEUES = 8,
    QUEUES = COMPUTE_QUEUES + 3, // and one per direction: in, out, peer
    QUEUE_IN = COMPUTE_QUEUES,
    QUEUE_OUT,
    QUEUE_PEER,
    ROUTE_BATCH = 32,
    PLACE_BATCH = 32,
    DEPTH_MAX = 256,   // tasks in flight on one queue
    RECORD_EVERY = 16, // tasks on a queue without a record
    RECORD_NS = 50000, // … and how long one waits for it
    SNAPSHOTS = 16,    // what a queue knew of others, remembered
    STAGE_BYTES = 2 << 20,
    STAGED_MAX = 64 << 20,
    SPIN_ROUNDS = 2000,
    NAP_MIN_NS = 20000,
    NAP_MAX_NS = 200000,
    BODY_BUFFERS = 24,
};

typedef struct lane_op lane_op_t;
typedef struct lane_queue lane_queue_t;

// A result that a CPU body made larger than was foreseen: from then on it is host memory.
typedef struct grown {
    struct grown *next;
    uint32_t result;
    void *data;
    size_t size_bytes;
} grown_t;

// A task from the time it is routed until it is complete.
struct lane_op {
    lane_op_t *next;
    manta_task_t run; // what bodies see as their task
    mti_lane_t *lane;
    lane_queue_t *queue;
    uint32_t gen;
    uint64_t first_seq, seq; // its operations are those in (first_seq, seq]
    manta_status_t status;   // of placing it, or of its body
    bool enqueued;           // its body launched something, or asked for the stream
    bool assigned;           // its results are
    bool by_host;            // its CPU body runs in the place of a kernel
    bool is_cancelled;       // before its body ran
    const manta_variant_t *variant;
    mti_block_t *word_block; // pinned, gets the status word
    mti_block_t *scratch;    // linked by |next|
    grown_t *grown;          // written by the body's thread, read when it is done
    size_t room_bytes;       // of |room|
    void *room;              // buffers and results beyond those below
    manta_buffer_t buffers[BODY_BUFFERS];
    mti_object_t *results[BODY_BUFFERS];
};

// What a queue knew: operations of it from |seq| on come behind |known[i]| of queue i.
typedef struct snapshot {
    uint64_t seq;
    uint64_t known[QUEUES];
} snapshot_t;

typedef struct local {
    struct local *next;
    const void *key;
    void *value;
    manta_local_destroy_fn_t destroy;
} local_t;

struct lane_queue {
    mti_queue_t *queue;
    lane_op_t *first, *last; // in flight, in order
    uint32_t in_flight;
    uint32_t unrecorded; // tasks since the last record
    int64_t unrecorded_since_ns;
    uint64_t known[QUEUES];
    snapshot_t snapshots[SNAPSHOTS];
    uint32_t snapshot_next;
    local_t *locals;
};

// A code object as devices see it.
typedef struct loaded_code {
    struct loaded_code *next;
    size_t bytes; // of this
    mti_code_t code;
    const manta_kernel_t **rows; // where kernels[i] comes from; behind |kernels|
    mti_kernel_desc_t kernels[];
} loaded_code_t;

struct mti_lane {
    mti_lanes_t *lanes;
    mti_device_t *device;
    uint32_t index;
    mti_atomic_u32_t right; // 1: somebody has it
    bool failed;            // could not be opened, or was lost
    manta_status_t failure;

    // Written by whoever comes.
    _Alignas(MTI_LINE_BYTES) mti_mutex_t lock;
    lane_op_t *ready, *ready_last; // guarded by lock
    mti_tier_t *fetches;           // guarded by lock; wanted at the host
    mti_atomic_ptr_t freed;        // mti_block_t *, a stack that is only ever taken whole
    mti_atomic_u32_t waiting;      // operations in |ready|, fetches wanted, blocks freed: a hint
    mti_atomic_u32_t
        in_flight; // tasks and fetches, for whoever asks whether there is anything to do

    // The right's.
    _Alignas(MTI_LINE_BYTES) lane_queue_t queues[QUEUES];
    uint32_t queue_count; // compute queues that were made
    mti_devheap_t *heap, *host_heap;
    mti_tier_t *fetching, *fetching_last; // in order
    lane_op_t *parked;     // placed again later: an operand is on its way through the host
    uint32_t code_seen;    // code objects that were loaded, or tried
    loaded_code_t *loaded; // what the device borrows of them
};

struct mti_lanes {
    mti_runtime_t *rt;
    manta_allocator_t allocator;
    mti_devices_t *devices;
    uint32_t count;
    bool
        is_virtual; // a virtual clock: one thread at a time steps all, and time moves when all stand still
    mti_atomic_u32_t stepping; // the right to step a virtual clock
    mti_atomic_u32_t hurry;    // somebody waits: record what is unrecorded

    // Tasks that are ready, by id. Room is reserved at submit, so that a push can't fail.
    mti_mutex_t inbox_lock;
    uint64_t *inbox; // guarded by inbox_lock, a ring
    size_t inbox_capacity, inbox_first, inbox_count, inbox_reserved;
    mti_atomic_u32_t inbox_hint;

    mti_atomic_u32_t told; // changes when something arrived at the host; waiters sleep on it
    mti_atomic_u32_t tell_waiters;

    pthread_t thread;
    bool has_thread;
    mti_ctx_t *ctx; // the thread's
    mti_atomic_u32_t stop;
    mti_atomic_u32_t asleep;
    mti_atomic_u32_t wake;
    mti_lane_t lane[];
};

// The operation whose CUDA body this thread runs.
static __thread lane_op_t *current_op __attribute__((tls_model("initial-exec")));

static mti_device_t *op_device(const lane_op_t *op)
{
    return op->lane->device;
}

uint32_t mti_lanes_count(const mti_lanes_t *lanes)
{
    return lanes->count;
}

const manta_allocator_t *mti_lanes_allocator(const mti_lanes_t *lanes)
{
    return &lanes->allocator;
}

mti_device_t *mti_lanes_device(const mti_lanes_t *lanes, uint32_t index)
{
    return lanes->lane[index].device;
}

// ---- telling -----------------------------------------------------------------------------------

static void lanes_kick(mti_lanes_t *lanes)
{
    // seq_cst: what was added comes before the look at |asleep|; pairs with the store in lanes_sleep
    if (mti_atomic_u32_load_seq_cst(&lanes->asleep) == 0) return;
    (void)mti_atomic_u32_fetch_add_acq_rel(&lanes->wake, 1);
    mti_notify_wake(&lanes->wake, 1);
}

void mti_lanes_tell(mti_runtime_t *rt)
{
    mti_lanes_t *lanes = mti_lanes_peek(rt);
    (void)mti_atomic_u32_fetch_add_seq_cst(&lanes->told, 1);
    if (mti_atomic_u32_load_seq_cst(&lanes->tell_waiters)) mti_notify_wake(&lanes->told, INT32_MAX);
}

void mti_lanes_free_block(mti_lanes_t *lanes, mti_block_t *block)
{
    mti_lane_t *lane = NULL;
    for (uint32_t i = 0; i < lanes->count && !lane; i++)
        if (lanes->lane[i].device == block->memory->device) lane = &lanes->lane[i];
    if (!lane) return;
    void *first = mti_atomic_ptr_load_relaxed(&lane->freed);
    do {
        block->next = first;
        // release: the block's users; pairs with the acquire in lane_collect
    } while (!mti_atomic_ptr_cas_acq_rel(&lane->freed, &first, block));
    // Not worth waking anybody up for: whoever needs memory collects first.
}

void mti_lanes_fetch(mti_lanes_t *lanes, mti_tier_t *tier, uint32_t device)
{
    mti_lane_t *lane = &lanes->lane[device < lanes->count ? device : 0];
    mti_mutex_lock(&lane->lock);
    tier->next = lane->fetches;
    lane->fetches = tier;
    mti_mutex_unlock(&lane->lock);
    (void)mti_atomic_u32_fetch_add_seq_cst(&lane->waiting, 1);
    lanes_kick(lanes);
}

bool mti_lanes_reserve(mti_lanes_t *lanes)
{
    bool ok = true;
    mti_mutex_lock(&lanes->inbox_lock);
    if (lanes->inbox_reserved == lanes->inbox_capacity) {
        size_t capacity = lanes->inbox_capacity ? 2 * lanes->inbox_capacity : 256;
        uint64_t *ring = mti_alloc(&lanes->allocator, capacity * sizeof *ring, 16);
        ok = ring != NULL;
        if (ok) {
            for (size_t i = 0; i < lanes->inbox_count; i++)
                ring[i] = lanes->inbox[(lanes->inbox_first + i) % lanes->inbox_capacity];
            mti_free(&lanes->allocator, lanes->inbox, lanes->inbox_capacity * sizeof *ring);
            lanes->inbox = ring;
            lanes->inbox_capacity = capacity;
            lanes->inbox_first = 0;
        }
    }
    lanes->inbox_reserved += ok;
    mti_mutex_unlock(&lanes->inbox_lock);
    return ok;
}

void mti_lanes_unreserve(mti_lanes_t *lanes)
{
    mti_mutex_lock(&lanes->inbox_lock);
    lanes->inbox_reserved--;
    mti_mutex_unlock(&lanes->inbox_lock);
}

void mti_lanes_push(mti_lanes_t *lanes, uint64_t id)
{
    mti_mutex_lock(&lanes->inbox_lock);
    size_t at = (lanes->inbox_first + lanes->inbox_count++) % lanes->inbox_capacity;
    lanes->inbox[at] = id;
    mti_mutex_unlock(&lanes->inbox_lock);
    (void)mti_atomic_u32_fetch_add_seq_cst(&lanes->inbox_hint, 1);
    lanes_kick(lanes);
}

// ---- operations ----------------------------------------------------------------------------------

static lane_op_t *op_create(mti_lanes_t *lanes, mti_record_t *t)
{
    lane_op_t *op = mti_alloc_zeroed(&lanes->allocator, sizeof *op, 16);
    if (!op) return NULL;
    op->run.record = t;
    op->run.buffers = op->buffers;
    op->run.results = op->results;
    op->gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    uint32_t buffers = mti_task_buffer_count(t->def);
    if (buffers + t->link_count <= BODY_BUFFERS && t->result_count <= BODY_BUFFERS) return op;
    // Lists have a buffer each besides.
    op->room_bytes = (buffers + t->link_count) * sizeof(manta_buffer_t) +
                     t->result_count * sizeof(mti_object_t *);
    op->room = mti_alloc_zeroed(&lanes->allocator, op->room_bytes, 16);
    if (!op->room) {
        mti_free(&lanes->allocator, op, sizeof *op);
        return NULL;
    }
    op->run.buffers = op->room;
    op->run.results = (mti_object_t **)(void *)(op->run.buffers + buffers + t->link_count);
    return op;
}

static void op_destroy(mti_lanes_t *lanes, lane_op_t *op)
{
    if (op->room) mti_free(&lanes->allocator, op->room, op->room_bytes);
    mti_free(&lanes->allocator, op, sizeof *op);
}

// Makes the results that outgrew their device memory the host's.
static void op_take_grown(mti_ctx_t *ctx, mti_lanes_t *lanes, lane_op_t *op)
{
    for (grown_t *grown; (grown = op->grown) != NULL;) {
        op->grown = grown->next;
        mti_object_t *object = op->run.results[grown->result];
        mti_tier_t *tier = mti_object_tier(object);
        mti_block_t *block = tier ? tier->at[op->lane->index].block : NULL;
        if (block) {
            tier->at[op->lane->index] = (mti_replica_t){0};
            mti_lanes_free_block(lanes, block);
        }
        if (!tier) tier = mti_tier_create(lanes, object, grown->size_bytes);
        if (tier) {
            mti_tier_adopt(tier, grown->data, grown->size_bytes);
        } else {
            mti_heap_free(&ctx->heap, grown->data, grown->size_bytes); // the task fails below
            op->status = MANTA_ERR_OUT_OF_MEMORY;
        }
        mti_free(&lanes->allocator, grown, sizeof *grown);
    }
}

// Completes the task of |op|, which is on no list any more.
static void op_complete(mti_ctx_t *ctx, mti_lanes_t *lanes, lane_op_t *op, manta_status_t status)
{
    mti_record_t *t = op->run.record;
    op->run.ctx = ctx;
    op->run.lane = NULL;
    if (op->lane && op->seq) { // it was placed: it counts among the readers of its arguments
        mti_arg_iter_t iter = {.t = t};
        for (manta_ref_t ref; mti_arg_next(&iter, &ref);) {
            mti_tier_t *tier = mti_object_tier(mti_object_held(ref));
            if (tier) (void)mti_atomic_u32_fetch_sub_acq_rel(&tier->readers, 1);
        }
    }
    op_take_grown(ctx, lanes, op);
    for (mti_block_t *block; (block = op->scratch) != NULL;) {
        op->scratch = block->next;
        mti_lanes_free_block(lanes, block);
    }
    if (op->word_block) mti_lanes_free_block(lanes, op->word_block);
    mti_task_complete(&op->run, status);
    op->run.error = NULL; // taken
    op_destroy(lanes, op);
    if (!ctx->sched.thread) mti_drain_check(ctx);
}

// Fails a task that is not placed: the message is this thread's.
static void op_fail(mti_ctx_t *ctx, mti_lanes_t *lanes, lane_op_t *op, manta_status_t status)
{
    mti_record_t *t = op->run.record;
    if (!op->run.error) {
        op->run.error = mti_error_create(
            status, status == MANTA_ERR_DEVICE_LOST ? MANTA_SCOPE_DEVICE : MANTA_SCOPE_TASK,
            mti_record_name(t), op->lane ? op_device(op)->name : "", 0, manta_error_message(),
            NULL);
    }
    op_complete(ctx, lanes, op, status);
}

// ---- routing -------------------------------------------------------------------------------------

// How long until |lane| could have run |t|, in ns: what is ahead of it, and what it would have to copy.
static uint64_t route_cost(mti_lane_t *lane, mti_record_t *t)
{
    const mti_device_info_t *info = &lane->device->info;
    uint64_t bytes = 0;
    mti_arg_iter_t iter = {.t = t};
    for (manta_ref_t ref; mti_arg_next(&iter, &ref);) {
        mti_object_t *object = mti_object_held(ref);
        mti_tier_t *tier = mti_object_tier(object);
        bool there = false;
        if (tier) {
            mti_mutex_lock(&tier->lock);
            there = tier->at[lane->index].block != NULL;
            mti_mutex_unlock(&tier->lock);
        }
        if (!there) bytes += mti_object_size(object);
    }
    uint64_t per_s = info->from_host.bytes_per_s ? info->from_host.bytes_per_s : 12000000000ull;
    uint64_t copies = (uint64_t)((double)bytes * 1e9 / (double)per_s);
    uint64_t ahead =
        mti_atomic_u32_load_relaxed(&lane->in_flight) + mti_atomic_u32_load_relaxed(&lane->waiting);
    return copies + ahead * 5000;
}

static mti_lane_t *route_choose(mti_lanes_t *lanes, mti_record_t *t)
{
    manta_where_t where = t->cold->where;
    if (where >= manta_gpu(0)) return &lanes->lane[where - manta_gpu(0)];
    mti_lane_t *best = NULL;
    uint64_t best_cost = UINT64_MAX;
    for (uint32_t i = 0; i < lanes->count; i++) {
        mti_lane_t *lane = &lanes->lane[i];
        if (mti_device_state(lane->device) == MTI_DEVICE_LOST) continue;
        if (!t->def->cuda && !mti_device_can(lane->device, MTI_CAP_HOST_FN)) continue;
        uint64_t cost = route_cost(lane, t);
        if (cost < best_cost) {
            best = lane;
            best_cost = cost;
        }
    }
    return best;
}

static void lane_ready(mti_lane_t *lane, lane_op_t *op)
{
    op->lane = lane;
    op->next = NULL;
    mti_mutex_lock(&lane->lock);
    if (lane->ready_last) {
        lane->ready_last->next = op;
    } else {
        lane->ready = op;
    }
    lane->ready_last = op;
    mti_mutex_unlock(&lane->lock);
    (void)mti_atomic_u32_fetch_add_seq_cst(&lane->waiting, 1);
}

static void route_one(mti_lanes_t *lanes, mti_ctx_t *ctx, uint64_t id)
{
    mti_record_t *t = mti_record_at((uint32_t)id);
    uint32_t gen = (uint32_t)(id >> 32);
    uint64_t queued = mti_claim_make(gen, 0, MTI_TASK_QUEUED);
    // No thread stands behind it while it runs: no waits of its own, nobody to wake.
    if (!mti_atomic_u64_cas_acq_rel(&t->claim, &queued,
                                    mti_claim_make(gen, MTI_CLAIM_NO_CTX, MTI_TASK_RUNNING))) {
        if (queued == mti_claim_make(gen, 0, MTI_TASK_CANCELLED) &&
            mti_atomic_u32_load_seq_cst(&t->deps) == 0) {
            mti_task_finish_cancelled(ctx, t, gen);
        }
        return;
    }
    lane_op_t *op = op_create(lanes, t);
    if (!op) {
        lane_op_t bare = {0};
        bare.run = (manta_task_t){.record = t, .ctx = ctx, .results = bare.results};
        (void)mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s: no memory to place it on a device",
                       mti_record_name(t));
        mti_task_complete(&bare.run, MANTA_ERR_OUT_OF_MEMORY);
        return;
    }
    mti_lane_t *lane = route_choose(lanes, t);
    if (!lane) {
        op_fail(ctx, lanes, op,
                mti_fail(MANTA_ERR_RESOURCE_GONE, "task %s: every device that could run it is lost",
                         mti_record_name(t)));
        return;
    }
    lane_ready(lane, op);
}

static bool lanes_route(mti_lanes_t *lanes, mti_ctx_t *ctx)
{
    if (mti_atomic_u32_load_acquire(&lanes->inbox_hint) == 0) return false;
    uint64_t ids[ROUTE_BATCH];
    uint32_t n = 0;
    mti_mutex_lock(&lanes->inbox_lock);
    while (n < ROUTE_BATCH && lanes->inbox_count) {
        ids[n++] = lanes->inbox[lanes->inbox_first];
        lanes->inbox_first = (lanes->inbox_first + 1) % lanes->inbox_capacity;
        lanes->inbox_count--;
    }
    mti_mutex_unlock(&lanes->inbox_lock);
    for (uint32_t i = 0; i < n; i++)
        route_one(lanes, ctx, ids[i]);
    // Only now: what moves on is counted where it goes before it is counted off here.
    if (n) (void)mti_atomic_u32_fetch_add_seq_cst(&lanes->inbox_hint, (uint32_t)0 - n);
    return n != 0;
}

// ---- order ---------------------------------------------------------------------------------------

static uint32_t queue_index(const mti_lane_t *lane, const mti_queue_t *queue)
{
    for (uint32_t i = 0; i < QUEUES; i++)
        if (lane->queues[i].queue == queue) return i;
    return QUEUES;
}

static manta_status_t queue_get(mti_lane_t *lane, uint32_t index, lane_queue_t **out)
{
    static const mti_queue_kind_t kinds[] = {MTI_QUEUE_COPY_IN, MTI_QUEUE_COPY_OUT,
                                             MTI_QUEUE_COPY_PEER};
    lane_queue_t *q = *out = &lane->queues[index];
    if (q->queue) return MANTA_OK;
    mti_queue_options_t options = {.kind = index < COMPUTE_QUEUES ? MTI_QUEUE_COMPUTE
                                                                  : kinds[index - COMPUTE_QUEUES]};
    manta_status_t status = mti_queue_create(lane->device, &options, &q->queue);
    if (status == MANTA_OK && index < COMPUTE_QUEUES) lane->queue_count = index + 1;
    return status;
}

// Makes |q| wait for |fence|, unless that is implied by what it waited for before.
static manta_status_t queue_after(mti_lane_t *lane, lane_queue_t *q, mti_fence_t fence)
{
    if (mti_fence_is_done(fence) || fence.queue == q->queue) return MANTA_OK;
    uint32_t other = fence.queue->device == lane->device ? queue_index(lane, fence.queue) : QUEUES;
    if (other == QUEUES) return mti_queue_wait(q->queue, fence.queue, fence.seq);
    if (q->known[other] >= fence.seq) return MANTA_OK;
    manta_status_t status = mti_queue_wait(q->queue, fence.queue, fence.seq);
    if (status != MANTA_OK) return status;
    q->known[other] = fence.seq;
    // What the other queue knew when that operation was submitted, this one knows from now on.
    const lane_queue_t *from = &lane->queues[other];
    const snapshot_t *best = NULL;
    for (uint32_t i = 0; i < SNAPSHOTS; i++) {
        const snapshot_t *s = &from->snapshots[i];
        if (s->seq && s->seq <= fence.seq && (!best || s->seq > best->seq)) best = s;
    }
    for (uint32_t i = 0; best && i < QUEUES; i++)
        if (best->known[i] > q->known[i]) q->known[i] = best->known[i];
    snapshot_t *mine = &q->snapshots[q->snapshot_next++ % SNAPSHOTS];
    mine->seq = q->queue->submitted + 1;
    memcpy(mine->known, q->known, sizeof mine->known);
    return MANTA_OK;
}

static manta_status_t queue_record(lane_queue_t *q)
{
    q->unrecorded = 0;
    uint64_t seq;
    return mti_queue_signal(q->queue, &seq);
}

// ---- operands ------------------------------------------------------------------------------------

// Copies host bytes that the driver does not know: through pinned blocks, which the heap hands out again when
// the copy is done. With many of them under way the driver may see to it itself, if it can.
static manta_status_t upload_pageable(mti_lane_t *lane, lane_queue_t *in, mti_block_t *to,
                                      const void *from, size_t size_bytes, uint64_t *out_seq)
{
    manta_status_t status = MANTA_OK;
    size_t piece;
    for (size_t done = 0; done < size_bytes && status == MANTA_OK; done += piece) {
        mti_place_t dst = {(char *)to->ptr + done, to->memory};
        const char *src = (const char *)from + done;
        piece = size_bytes - done;
        bool full = mti_devheap_usage(lane->host_heap).held_bytes > STAGED_MAX;
        if (full && mti_device_can(lane->device, MTI_CAP_PAGEABLE)) {
            mti_copy_t copy = {dst, mti_place_pageable((char *)(uintptr_t)src), piece};
            status = mti_queue_copy(in->queue, &copy, MTI_OP_NONE, out_seq);
            continue;
        }
        if (piece > STAGE_BYTES) piece = STAGE_BYTES;
        mti_block_t *stage;
        status = mti_devheap_alloc(lane->host_heap, NULL, piece, &stage);
        if (status != MANTA_OK) break;
        memcpy(stage->ptr, src, piece);
        mti_copy_t copy = {dst, {stage->ptr, stage->memory}, piece};
        status = mti_queue_copy(in->queue, &copy, MTI_OP_RECORD, out_seq);
        if (status == MANTA_OK) status = mti_block_use(stage, in->queue, *out_seq);
        mti_devheap_free(stage);
    }
    return status;
}

// Brings |size_bytes| host bytes into a new block; |out_ready| is when they are there.
static manta_status_t upload(mti_lane_t *lane, const void *from, mti_block_t *pinned,
                             size_t size_bytes, mti_block_t **out_block, mti_fence_t *out_ready)
{
    lane_queue_t *in;
    manta_status_t status = queue_get(lane, QUEUE_IN, &in);
    mti_block_t *block = NULL;
    if (status == MANTA_OK) status = mti_devheap_alloc(lane->heap, in->queue, size_bytes, &block);
    if (status != MANTA_OK) return status;
    uint64_t seq = 0;
    if (pinned) {
        mti_copy_t copy = {{block->ptr, block->memory}, {pinned->ptr, pinned->memory}, size_bytes};
        status = mti_queue_copy(in->queue, &copy, MTI_OP_RECORD, &seq);
    } else {
        status = upload_pageable(lane, in, block, from, size_bytes, &seq);
    }
    if (status == MANTA_OK) status = mti_block_use(block, in->queue, seq);
    if (status != MANTA_OK) {
        mti_devheap_free(block);
        return status;
    }
    *out_block = block;
    *out_ready = (mti_fence_t){in->queue, seq};
    return MANTA_OK;
}

// Brings the bytes over from another device. NOT_FOUND: no device has them, or none can be reached.
static manta_status_t bring_from_peer(mti_lane_t *lane, mti_tier_t *tier, mti_block_t **out_block,
                                      mti_fence_t *out_ready)
{
    mti_lanes_t *lanes = lane->lanes;
    uint32_t from = UINT32_MAX;
    mti_replica_t source = {0};
    mti_mutex_lock(&tier->lock);
    for (uint32_t i = 0; i < tier->device_count && from == UINT32_MAX; i++) {
        mti_device_t *device = lanes->lane[i].device;
        if (!tier->at[i].block || mti_device_state(device) == MTI_DEVICE_LOST) continue;
        if (!mti_device_reaches(lane->device, device)) continue;
        from = i;
        source = tier->at[i];
    }
    bool room = tier->peer_count < MTI_TIER_PEERS;
    mti_mutex_unlock(&tier->lock);
    if (from == UINT32_MAX || !room) return MANTA_ERR_NOT_FOUND;
    lane_queue_t *q;
    manta_status_t status = queue_get(lane, QUEUE_PEER, &q);
    mti_block_t *block = NULL;
    if (status == MANTA_OK) status = queue_after(lane, q, source.ready);
    if (status == MANTA_OK)
        status = mti_devheap_alloc(lane->heap, q->queue, tier->size_bytes, &block);
    if (status != MANTA_OK) return status;
    mti_copy_t copy = {
        {block->ptr, block->memory}, {source.block->ptr, source.block->memory}, tier->size_bytes};
    uint64_t seq = 0;
    status = mti_queue_copy(q->queue, &copy, MTI_OP_RECORD, &seq);
    if (status == MANTA_OK) status = mti_block_use(block, q->queue, seq);
    if (status != MANTA_OK) {
        mti_devheap_free(block);
        return status;
    }
    mti_mutex_lock(&tier->lock);
    tier->peers[tier->peer_count++] = (mti_fence_t){q->queue, seq};
    mti_mutex_unlock(&tier->lock);
    *out_block = block;
    *out_ready = (mti_fence_t){q->queue, seq};
    return MANTA_OK;
}

// Makes sure that the lane's device has a replica of |tier|. NOT_READY: its bytes have to go through the host
// first, which was asked for.
static manta_status_t tier_bring(mti_lane_t *lane, mti_ctx_t *ctx, mti_tier_t *tier)
{
    mti_replica_t *mine = &tier->at[lane->index];
    if (mine->block) return MANTA_OK;
    mti_block_t *block = NULL;
    mti_fence_t ready = {0};
    manta_status_t status;
    if (mti_atomic_u32_load_acquire(&tier->host) == MTI_HOST_VALID) {
        bool pinned = tier->host_block != NULL;
        status = upload(lane, tier->object->u.mem.data, pinned ? tier->host_block : NULL,
                        tier->size_bytes, &block, &ready);
    } else {
        status = bring_from_peer(lane, tier, &block, &ready);
        if (status == MANTA_ERR_NOT_FOUND) {
            uint64_t head;
            bool closed = mti_object_is_closed(tier->object, &head);
            if (closed && head & MTI_HEAD_FAILED) {
                return mti_fail(MANTA_ERR_DEVICE_LOST, "its bytes were on a device that is lost");
            }
            if (closed) (void)mti_tier_ask(ctx, tier->object);
            return MANTA_NOT_READY;
        }
    }
    if (status != MANTA_OK) return status;
    mti_mutex_lock(&tier->lock);
    *mine = (mti_replica_t){block, ready};
    mti_mutex_unlock(&tier->lock);
    return MANTA_OK;
}

// ---- placing -------------------------------------------------------------------------------------

// What is known of one ref among the arguments while its task is placed.
typedef struct operand {
    mti_object_t *object;
    mti_tier_t *tier;   // NULL: small, or empty
    mti_block_t *block; // a copy of a small value, for this task alone
    mti_fence_t ready;
} operand_t;

typedef struct place {
    mti_lane_t *lane;
    mti_ctx_t *ctx;
    lane_op_t *op;
    lane_queue_t *queue;
    operand_t *operands; // by argument ref
    operand_t few[16];
    uint32_t count;
} place_t;

static manta_status_t place_note(const place_t *p, manta_status_t status)
{
    return mti_fail_note(status, "task %s", mti_record_name(p->op->run.record));
}

static manta_status_t place_operands(place_t *p)
{
    mti_record_t *t = p->op->run.record;
    mti_arg_iter_t iter = {.t = t};
    manta_ref_t ref;
    p->operands = p->few;
    if (t->link_count > sizeof p->few / sizeof p->few[0]) {
        p->operands =
            mti_alloc(&p->lane->lanes->allocator, t->link_count * sizeof *p->operands, 16);
        if (!p->operands) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for its arguments");
    }
    memset(p->operands, 0, t->link_count * sizeof *p->operands);
    for (uint32_t i = 0; mti_arg_next(&iter, &ref); i++) {
        operand_t *operand = &p->operands[i];
        operand->object = mti_object_held(ref);
        p->count = i + 1;
        uint64_t head;
        // Placed behind it while it was open, and it failed since: nothing has to be run.
        if (mti_object_is_closed(operand->object, &head) && head & MTI_HEAD_FAILED) {
            p->op->run.cause = operand->object;
            p->op->run.cause_argument = i;
            return manta_error_code(mti_object_error(operand->object, head));
        }
        if (mti_object_size(operand->object) == 0) continue;
        bool failed;
        operand->tier = mti_tier_of(p->lane->lanes, operand->object, &failed);
        if (failed) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory to keep track of a copy");
        manta_status_t status;
        if (operand->tier) {
            status = tier_bring(p->lane, p->ctx, operand->tier);
            if (status == MANTA_OK) operand->ready = operand->tier->at[p->lane->index].ready;
        } else {
            status = upload(p->lane, operand->object->u.bytes, NULL,
                            mti_object_size(operand->object), &operand->block, &operand->ready);
        }
        if (status != MANTA_OK) return status;
    }
    return MANTA_OK;
}

// The queue of the operand that is the last thing on its queue, so that order costs nothing; else the one with
// the least on it.
static manta_status_t place_queue(place_t *p)
{
    mti_lane_t *lane = p->lane;
    lane_queue_t *best = NULL;
    for (uint32_t i = 0; i < p->count; i++) {
        mti_fence_t ready = p->operands[i].ready;
        if (!ready.queue || ready.queue->device != lane->device) continue;
        uint32_t index = queue_index(lane, ready.queue);
        if (index >= COMPUTE_QUEUES || ready.queue->submitted != ready.seq) continue;
        if (mti_fence_is_done(ready)) continue;
        lane_queue_t *q = &lane->queues[index];
        if (!best || q->in_flight > best->in_flight)
            best = q; // the one that is done last, most likely
    }
    for (uint32_t i = 0; !p->queue && !best && i < COMPUTE_QUEUES; i++) {
        lane_queue_t *q = &lane->queues[i];
        if (q->queue && q->in_flight) continue;
        manta_status_t status = queue_get(lane, i, &best);
        if (status != MANTA_OK && i == 0) return status;
        if (status != MANTA_OK) best = NULL;
        break;
    }
    for (uint32_t i = 0; !best && i < lane->queue_count; i++) {
        lane_queue_t *q = &lane->queues[i];
        if (!p->queue || q->in_flight < p->queue->in_flight) p->queue = q;
    }
    if (best) p->queue = best;
    return MANTA_OK;
}

static manta_status_t place_waits(place_t *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        manta_status_t status = queue_after(p->lane, p->queue, p->operands[i].ready);
        if (status != MANTA_OK) return status;
    }
    return MANTA_OK;
}

static manta_status_t copy_block(place_t *p, mti_block_t *from, size_t size_bytes,
                                 mti_block_t **out_block)
{
    mti_block_t *to;
    mti_queue_t *queue = p->queue->queue;
    manta_status_t status = mti_devheap_alloc(p->lane->heap, queue, size_bytes, &to);
    if (status != MANTA_OK) return status;
    uint64_t seq;
    mti_copy_t copy = {{to->ptr, to->memory}, {from->ptr, from->memory}, size_bytes};
    status = mti_queue_copy(queue, &copy, MTI_OP_NONE, &seq);
    if (status == MANTA_OK) status = mti_block_use(from, queue, seq);
    if (status == MANTA_OK) status = mti_block_use(to, queue, seq);
    if (status != MANTA_OK) {
        mti_devheap_free(to);
        return status;
    }
    *out_block = to;
    return MANTA_OK;
}

// The next version of an INOUT argument: its replica here, if only tasks on devices hold the object, and they are
// placed already; else a copy.
static manta_status_t place_inout(place_t *p, operand_t *operand, mti_object_t *to)
{
    mti_object_t *from = operand->object;
    size_t size = mti_object_size(from);
    if (size == 0) {
        mti_object_set(to, mti_object_kind(to), MTI_STORAGE_NONE, 0);
        return MANTA_OK;
    }
    mti_tier_t *next = mti_tier_create(p->lane->lanes, to, size);
    if (!next) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory to keep track of a result");
    mti_replica_t *mine = &next->at[p->lane->index];
    if (!operand->tier) {
        mine->block = operand->block;
        operand->block = NULL;
        return MANTA_OK;
    }
    mti_tier_t *tier = operand->tier;
    uint64_t readers = mti_atomic_u32_load_acquire(&tier->readers);
    // acquire: what the last other holder did comes before
    uint64_t counts = mti_atomic_u64_load_acquire(&from->counts) & ~MTI_COUNT_SLOT_MASK;
    bool sole = counts == (readers + 1) * MTI_COUNT_INTERNAL;
    if (!sole || !mti_record_is_last_attempt(p->op->run.record)) {
        return copy_block(p, tier->at[p->lane->index].block, size, &mine->block);
    }
    mti_fence_t peers[MTI_TIER_PEERS];
    mti_mutex_lock(&tier->lock);
    bool wanted = tier->requested && mti_atomic_u32_load_relaxed(&tier->host) != MTI_HOST_VALID;
    uint32_t peer_count = tier->peer_count;
    memcpy(peers, tier->peers, sizeof peers);
    mti_block_t *block = tier->at[p->lane->index].block;
    if (!wanted) tier->at[p->lane->index] = (mti_replica_t){0};
    mti_mutex_unlock(&tier->lock);
    if (wanted) return copy_block(p, block, size, &mine->block); // the host still wants to see it
    mine->block = block;
    manta_status_t status = mti_block_wait(block, p->queue->queue);
    for (uint32_t i = 0; i < peer_count && status == MANTA_OK; i++)
        status = queue_after(p->lane, p->queue, peers[i]);
    return status;
}

// Buffers of everything but OUTs.
static manta_status_t place_buffers(place_t *p)
{
    lane_op_t *op = p->op;
    mti_record_t *t = op->run.record;
    const manta_task_def_t *def = t->def;
    manta_buffer_t *list = op->run.buffers + mti_task_buffer_count(def);
    uint32_t b = 0, r = 0, k = 0;
    for (uint32_t i = 0; i < def->param_count; i++) {
        const manta_param_t *param = &def->params[i];
        unsigned char *at = t->args + param->offset;
        size_t n = 0;
        manta_buffer_t *into = &op->run.buffers[b];
        if (param->kind == MANTA_PARAM_IN || param->kind == MANTA_PARAM_INOUT) {
            n = 1;
            b++;
        } else if (param->kind == MANTA_PARAM_OUT) {
            op->run.buffers[b++] = (manta_buffer_t){NULL, 0};
            r++;
        } else if (param->kind == MANTA_PARAM_IN_LIST) {
            n = ((const manta_ref_list_t *)(const void *)at)->count;
            op->run.buffers[b++] = (manta_buffer_t){list, n * sizeof *list};
            into = list;
            list += n;
        }
        for (size_t j = 0; j < n; j++, k++) {
            operand_t *operand = &p->operands[k];
            size_t size = mti_object_size(operand->object);
            manta_status_t status = mti_arg_check_bytes(mti_record_name(t), param, NULL, size);
            mti_block_t *block =
                operand->tier ? operand->tier->at[p->lane->index].block : operand->block;
            if (status == MANTA_OK && param->kind == MANTA_PARAM_INOUT) {
                mti_object_t *to = op->run.results[r++];
                status = place_inout(p, operand, to);
                mti_tier_t *tier = mti_object_tier(to);
                block = tier ? tier->at[p->lane->index].block : NULL;
            }
            if (status != MANTA_OK) return status;
            into[j] = (manta_buffer_t){block ? block->ptr : NULL, size};
        }
    }
    return MANTA_OK;
}

static manta_status_t out_alloc(lane_op_t *op, mti_object_t *object, size_t size_bytes,
                                manta_buffer_t *out_buffer)
{
    *out_buffer = (manta_buffer_t){NULL, size_bytes};
    if (size_bytes == 0) {
        mti_object_set(object, mti_object_kind(object), MTI_STORAGE_NONE, 0);
        return MANTA_OK;
    }
    mti_lane_t *lane = op->lane;
    mti_tier_t *tier = mti_tier_create(lane->lanes, object, size_bytes);
    if (!tier) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory to keep track of a result");
    mti_replica_t *mine = &tier->at[lane->index];
    manta_status_t status =
        mti_devheap_alloc(lane->heap, op->queue->queue, size_bytes, &mine->block);
    if (status != MANTA_OK) return status;
    out_buffer->data = mine->block->ptr;
    return MANTA_OK;
}

static manta_status_t place_outs(place_t *p, const manta_call_t *call)
{
    lane_op_t *op = p->op;
    mti_record_t *t = op->run.record;
    const manta_task_def_t *def = t->def;
    size_t few[BODY_BUFFERS] = {0};
    size_t *sizes = few;
    uint32_t outs = t->result_count;
    if (outs > BODY_BUFFERS) {
        sizes = mti_alloc_zeroed(&p->lane->lanes->allocator, outs * sizeof *sizes, 16);
        if (!sizes) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for %u sizes", outs);
    }
    manta_status_t status = MANTA_OK;
    if (op->variant->sizes) status = op->variant->sizes(call, sizes);
    for (uint32_t i = 0, b = 0, o = 0, r = 0; i < def->param_count && status == MANTA_OK; i++) {
        manta_param_kind_t kind = def->params[i].kind;
        if (kind == MANTA_PARAM_OUT) {
            status = out_alloc(op, op->run.results[r++], sizes[o++], &op->run.buffers[b++]);
            if (status != MANTA_OK)
                status = mti_fail_note(status, "result %s", def->params[i].name);
        } else {
            r += kind == MANTA_PARAM_INOUT;
            b += kind == MANTA_PARAM_INOUT || kind == MANTA_PARAM_IN || kind == MANTA_PARAM_IN_LIST;
        }
    }
    if (sizes != few) mti_free(&p->lane->lanes->allocator, sizes, outs * sizeof *sizes);
    return status;
}

// A CPU body in the place of a kernel, on a thread of the driver's.
static manta_status_t host_body(void *user)
{
    lane_op_t *op = user;
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    mti_thread_enter(thread);
    mti_ctx_t *ctx = mti_ctx_slow(thread, mti_runtime_handle(op->lane->lanes->rt));
    mti_thread_leave(thread);
    if (!ctx) return thread->status;
    manta_task_t *run = &op->run;
    run->ctx = ctx;
    manta_call_t call = {.task = run, .args = run->record->args, .buffers = run->buffers};
    mti_body_t body;
    mti_body_enter(&body, thread, run);
    run->in_body = true;
    manta_status_t status = op->variant->invoke(&call);
    mti_body_leave(&body, thread, run);
    return status;
}

static manta_status_t place_body(place_t *p)
{
    lane_op_t *op = p->op;
    manta_task_t *run = &op->run;
    mti_thread_t *thread = mti_thread_tls;
    manta_call_t call = {.task = run, .args = run->record->args, .buffers = run->buffers};
    mti_body_t body;
    run->ctx = p->ctx;
    mti_body_enter(&body, thread, run);
    manta_status_t status = MANTA_OK;
    if (mti_task_has_results(run->record->def)) status = place_outs(p, &call);
    if (status == MANTA_OK && !op->by_host) {
        lane_op_t *outer = current_op;
        current_op = op;
        run->in_body = true;
        status = op->variant->invoke(&call);
        current_op = outer;
        mti_device_rebind(op_device(op));
    }
    mti_body_leave(&body, thread, run);
    if (status != MANTA_OK || !op->by_host) return status;
    return mti_queue_launch_host_fn(p->queue->queue, host_body, op, MTI_OP_NONE, NULL);
}

// Everything that the task used is used until |op->seq|, and the results are there then.
static manta_status_t place_fences(place_t *p)
{
    lane_op_t *op = p->op;
    mti_queue_t *queue = p->queue->queue;
    manta_status_t status = MANTA_OK;
    for (uint32_t i = 0; i < p->count; i++) {
        operand_t *operand = &p->operands[i];
        mti_block_t *block =
            operand->tier ? operand->tier->at[p->lane->index].block : operand->block;
        if (block && status == MANTA_OK) status = mti_block_use(block, queue, op->seq);
    }
    for (uint32_t i = 0; i < op->run.record->result_count; i++) {
        mti_tier_t *tier = mti_object_tier(op->run.results[i]);
        if (!tier || !tier->at[p->lane->index].block) continue;
        mti_replica_t *mine = &tier->at[p->lane->index];
        if (status == MANTA_OK) status = mti_block_use(mine->block, queue, op->seq);
        mti_mutex_lock(&tier->lock);
        mine->ready = (mti_fence_t){queue, op->seq};
        mti_mutex_unlock(&tier->lock);
    }
    for (mti_block_t *block = op->scratch; block; block = block->next)
        if (status == MANTA_OK) status = mti_block_use(block, queue, op->seq);
    return status;
}

// Whether the end of |op| has to be seen by the host soon: somebody waits for it.
static bool op_is_watched(const lane_op_t *op)
{
    for (uint32_t i = 0; i < op->run.record->result_count; i++) {
        const mti_object_t *object = op->run.results[i];
        if (mti_count_user(mti_atomic_u64_load_relaxed(&object->counts))) return true;
        uint64_t head = mti_atomic_u64_load_relaxed(&object->head);
        if (head & ~(uint64_t)(MTI_HEAD_ASSIGNED | MTI_HEAD_ORPHAN)) return true;
    }
    return op->word_block != NULL;
}

// |op| has been given to its queue, wholly or in part: it completes when the queue is done with that.
static void place_in_flight(place_t *p)
{
    lane_op_t *op = p->op;
    lane_queue_t *q = p->queue;
    mti_arg_iter_t iter = {.t = op->run.record};
    for (manta_ref_t ref; mti_arg_next(&iter, &ref);) {
        mti_tier_t *tier = mti_object_tier(mti_object_held(ref));
        if (tier) (void)mti_atomic_u32_fetch_add_acq_rel(&tier->readers, 1);
    }
    op->next = NULL;
    if (q->last) {
        q->last->next = op;
    } else {
        q->first = op;
    }
    q->last = op;
    q->in_flight++;
    (void)mti_atomic_u32_fetch_add_acq_rel(&p->lane->in_flight, 1);
    if (q->unrecorded++ == 0) q->unrecorded_since_ns = mti_clock_ns();
}

// Results of |op| are on their way: whoever is to follow it on a device may be placed now.
static void place_assign(place_t *p)
{
    lane_op_t *op = p->op;
    op->assigned = true;
    for (uint32_t i = 0; i < op->run.record->result_count; i++)
        mti_object_assign(p->ctx, op->run.results[i]);
}

// NOT_READY: try again later. Anything else is settled.
static manta_status_t place(mti_lane_t *lane, mti_ctx_t *ctx, lane_op_t *op)
{
    place_t p = {.lane = lane, .ctx = ctx, .op = op};
    mti_record_t *t = op->run.record;
    manta_status_t status = lane->failure;
    op->variant = t->def->cuda;
    op->by_host = !t->def->cuda;
    if (op->by_host) op->variant = t->def->cpu;
    op->run.lane = op;
    if (status != MANTA_OK) {
        (void)mti_fail(status, "device %s is lost", lane->device->name);
    } else if (mti_atomic_u64_load_relaxed(&t->claim) & MTI_CLAIM_CANCEL ||
               mti_atomic_u32_load_relaxed(&ctx->rt->cancelling)) {
        status = mti_fail(MANTA_ERR_CANCELLED, "cancelled before it was submitted to %s",
                          lane->device->name);
    }
    for (uint32_t i = 0; i < t->result_count; i++)
        op->run.results[i] = mti_record_result(t, i);
    if (status == MANTA_OK) status = place_operands(&p);
    if (status == MANTA_OK) status = place_queue(&p);
    uint64_t before = 0;
    if (status == MANTA_OK) {
        op->queue = p.queue;
        before = op->first_seq = p.queue->queue->submitted;
        status = place_waits(&p);
    }
    if (status == MANTA_OK) status = place_buffers(&p);
    if (status == MANTA_OK) {
        mti_recover_begin(ctx, t);
        status = place_body(&p);
    }
    bool submitted = op->queue && op->queue->queue->submitted != before;
    if (status == MANTA_OK && !submitted) {
        if (!op->enqueued && mti_task_has_results(t->def)) {
            status = mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                              "its body enqueued nothing on device %s: no launch, and it did not "
                              "ask for its stream",
                              lane->device->name);
        } else if (op->enqueued && mti_device_can(lane->device, MTI_CAP_NATIVE)) {
            status = mti_queue_adopt(p.queue->queue, NULL);
        } else {
            status = mti_queue_empty(p.queue->queue, MTI_OP_NONE, NULL);
        }
    } else if (status == MANTA_OK && op->enqueued && mti_device_can(lane->device, MTI_CAP_NATIVE)) {
        status = mti_queue_adopt(p.queue->queue, NULL);
    }
    submitted = op->queue && op->queue->queue->submitted != before;
    if (submitted) op->seq = op->queue->queue->submitted;
    if (submitted) {
        manta_status_t fences = place_fences(&p);
        if (status == MANTA_OK) status = fences;
    }
    for (uint32_t i = 0; i < p.count; i++)
        mti_devheap_free(p.operands[i].block);
    if (p.operands != p.few && p.operands) {
        mti_free(&lane->lanes->allocator, p.operands, t->link_count * sizeof *p.operands);
    }
    if (status == MANTA_NOT_READY && !submitted) return status;
    if (status != MANTA_OK && !op->run.error && !op->run.cause) {
        status = place_note(&p, status);
        op->run.error = mti_error_create(
            status, status == MANTA_ERR_DEVICE_LOST ? MANTA_SCOPE_DEVICE : MANTA_SCOPE_TASK,
            mti_record_name(t), lane->device->name, 0, manta_error_message(), NULL);
    }
    op->status = status;
    if (!submitted) {
        op_complete(ctx, lane->lanes, op, status);
        return MANTA_OK;
    }
    place_in_flight(&p);
    // Other devices can only wait for what is recorded, so that comes first.
    if (lane->lanes->count > 1 || op_is_watched(op) || p.queue->unrecorded >= RECORD_EVERY) {
        (void)queue_record(p.queue);
    }
    bool sized = !op->by_host || !mti_task_has_outs(t->def);
    // Another attempt may have other bytes.
    if (status == MANTA_OK && sized && mti_record_is_last_attempt(t)) place_assign(&p);
    return MANTA_OK;
}

// ---- completing ----------------------------------------------------------------------------------

// An argument of |op| that is still open, or failed (|*out_index|).
static mti_object_t *op_bad_argument(const lane_op_t *op, uint32_t *out_index, bool *out_open)
{
    mti_arg_iter_t iter = {.t = op->run.record};
    manta_ref_t ref;
    *out_open = false;
    for (uint32_t i = 0; mti_arg_next(&iter, &ref); i++) {
        mti_object_t *object = mti_object_held(ref);
        uint64_t head;
        *out_open = !mti_object_is_closed(object, &head);
        *out_index = i;
        if (*out_open || head & MTI_HEAD_FAILED) return object;
    }
    return NULL;
}

static manta_status_t op_word_status(lane_op_t *op)
{
    int32_t word = 0;
    memcpy(&word, op->word_block->ptr, sizeof word);
    if (word == 0) return MANTA_OK;
    manta_status_t code = MANTA_ERR_USER;
    if (word > 0 && word < 1 << 30) code += word;
    char text[64];
    snprintf(text, sizeof text, "its status word on the device is %d", (int)word);
    op->run.error = mti_error_create(code, MANTA_SCOPE_TASK, mti_record_name(op->run.record),
                                     op_device(op)->name, 0, text, NULL);
    return code;
}

// Completes what |q| is done with, in order. False: nothing.
static bool queue_complete(mti_lane_t *lane, mti_ctx_t *ctx, lane_queue_t *q)
{
    bool any = false;
    while (q->first) {
        lane_op_t *op = q->first;
        if (mti_queue_completed(q->queue) < op->seq && !lane->failed) break;
        uint32_t index = 0;
        bool open;
        mti_object_t *bad = op_bad_argument(op, &index, &open);
        if (bad && open && !lane->failed) break; // its maker is complete any moment now
        q->first = op->next;
        if (!q->first) q->last = NULL;
        q->in_flight--;
        (void)mti_atomic_u32_fetch_sub_acq_rel(&lane->in_flight, 1);
        manta_status_t status = op->status;
        if (lane->failed && status == MANTA_OK && mti_queue_completed(q->queue) < op->seq) {
            status = MANTA_ERR_DEVICE_LOST;
            op->run.error =
                mti_error_create(status, MANTA_SCOPE_DEVICE, mti_record_name(op->run.record),
                                 lane->device->name, 0, "the device was lost while it ran", NULL);
        } else if (bad && !open && status == MANTA_OK) {
            op->run.cause = bad;
            op->run.cause_argument = index;
            uint64_t head;
            (void)mti_object_is_closed(bad, &head);
            status = manta_error_code(mti_object_error(bad, head));
        }
        if (status == MANTA_OK && op->word_block) status = op_word_status(op);
        op_complete(ctx, lane->lanes, op, status);
        any = true;
    }
    return any;
}

// The operation of |q| that number |seq| belongs to failed.
static void queue_failure(mti_lane_t *lane, const mti_op_failure_t *failure)
{
    uint32_t index = queue_index(lane, failure->queue);
    if (index == QUEUES) return;
    for (lane_op_t *op = lane->queues[index].first; op; op = op->next) {
        if (failure->seq <= op->first_seq || failure->seq > op->seq) continue;
        if (op->status != MANTA_OK) return; // the first one counts
        op->status = failure->code;
        if (!op->run.error || manta_error_code(op->run.error) != failure->code) {
            manta_error_release(op->run.error);
            op->run.error =
                mti_error_create(failure->code, MANTA_SCOPE_TASK, mti_record_name(op->run.record),
                                 lane->device->name, 0, failure->text ? failure->text : "", NULL);
        }
        return;
    }
}

static void lane_poll(mti_lane_t *lane)
{
    mti_poll_t poll;
    do {
        mti_device_poll(lane->device, &poll);
        for (uint32_t i = 0; i < poll.failure_count; i++) {
            queue_failure(lane, &poll.failures[i]);
            mti_queue_acknowledge(poll.failures[i].queue, poll.failures[i].seq);
        }
    } while (poll.more);
    if (poll.lost && !lane->failed) {
        lane->failed = true;
        lane->failure = MANTA_ERR_DEVICE_LOST;
    }
}

// ---- copies to the host ----------------------------------------------------------------------------

static manta_status_t fetch_start(mti_lane_t *lane, mti_tier_t *tier)
{
    if (lane->failed) return MANTA_ERR_DEVICE_LOST;
    mti_replica_t source = tier->at[lane->index];
    if (!source.block) return MANTA_ERR_DEVICE_LOST;
    lane_queue_t *q;
    manta_status_t status = queue_get(lane, QUEUE_OUT, &q);
    if (status == MANTA_OK) status = queue_after(lane, q, source.ready);
    mti_block_t *to = NULL;
    if (status == MANTA_OK)
        status = mti_devheap_alloc(lane->host_heap, q->queue, tier->size_bytes, &to);
    if (status != MANTA_OK) return status;
    mti_copy_t copy = {
        {to->ptr, to->memory}, {source.block->ptr, source.block->memory}, tier->size_bytes};
    uint64_t seq;
    status = mti_queue_copy(q->queue, &copy, MTI_OP_RECORD, &seq);
    if (status == MANTA_OK) status = mti_block_use(source.block, q->queue, seq);
    if (status == MANTA_OK) status = mti_block_use(to, q->queue, seq);
    if (status != MANTA_OK) {
        mti_devheap_free(to);
        return status;
    }
    mti_mutex_lock(&tier->lock);
    mti_atomic_u32_store_relaxed(&tier->host, MTI_HOST_COMING);
    tier->host_block = to;
    mti_mutex_unlock(&tier->lock);
    tier->fetched = (mti_fence_t){q->queue, seq};
    return MANTA_OK;
}

static bool lane_fetch(mti_lane_t *lane, mti_ctx_t *ctx)
{
    mti_mutex_lock(&lane->lock);
    mti_tier_t *list = lane->fetches;
    lane->fetches = NULL;
    mti_mutex_unlock(&lane->lock);
    bool any = list != NULL;
    while (list) {
        mti_tier_t *tier = list;
        list = tier->next;
        (void)mti_atomic_u32_fetch_add_seq_cst(&lane->in_flight, 1);
        (void)mti_atomic_u32_fetch_add_seq_cst(&lane->waiting, (uint32_t)-1);
        manta_status_t status = fetch_start(lane, tier);
        if (status != MANTA_OK) {
            (void)mti_atomic_u32_fetch_sub_acq_rel(&lane->in_flight, 1);
            mti_tier_arrived(ctx, tier, false, status);
            continue;
        }
        tier->next = NULL;
        if (lane->fetching_last) {
            lane->fetching_last->next = tier;
        } else {
            lane->fetching = tier;
        }
        lane->fetching_last = tier;
    }
    while (lane->fetching && (lane->failed || mti_fence_is_done(lane->fetching->fetched))) {
        mti_tier_t *tier = lane->fetching;
        lane->fetching = tier->next;
        if (!lane->fetching) lane->fetching_last = NULL;
        (void)mti_atomic_u32_fetch_sub_acq_rel(&lane->in_flight, 1);
        bool ok = mti_fence_is_done(tier->fetched);
        mti_tier_arrived(ctx, tier, ok, MANTA_ERR_DEVICE_LOST);
        any = true;
    }
    return any;
}

// ---- one step ------------------------------------------------------------------------------------

static void lane_collect(mti_lane_t *lane)
{
    if (!mti_atomic_ptr_load_relaxed(&lane->freed)) return;
    // acquire: pairs with the release in mti_lanes_free_block
    mti_block_t *block = mti_atomic_ptr_exchange_acq_rel(&lane->freed, NULL);
    while (block) {
        mti_block_t *next = block->next;
        mti_devheap_free(block);
        block = next;
    }
}

static manta_status_t lane_load_code(mti_lane_t *lane, const manta_code_t *wanted);

static manta_status_t lane_open(mti_lane_t *lane)
{
    mti_device_t *device = lane->device;
    manta_status_t status = mti_device_open(device);
    if (status != MANTA_OK) return status;
    mti_devheap_options_t options = {.device = device, .allocator = &lane->lanes->allocator};
    lane->heap = mti_devheap_create(&options);
    options.is_host = true;
    lane->host_heap = mti_devheap_create(&options);
    if (lane->heap && lane->host_heap) {
        (void)lane_load_code(lane, NULL);
        return MANTA_OK;
    }
    return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "device %s: no memory for its heaps", device->name);
}

static bool lane_place_ready(mti_lane_t *lane, mti_ctx_t *ctx)
{
    bool any = false;
    // What had to wait for the host comes first.
    lane_op_t *list = lane->parked;
    lane->parked = NULL;
    for (int i = 0; i < PLACE_BATCH; i++) {
        lane_op_t *op = list;
        bool again = op != NULL;
        if (op) {
            list = op->next;
        } else {
            mti_mutex_lock(&lane->lock);
            op = lane->ready;
            if (op) lane->ready = op->next;
            if (!lane->ready) lane->ready_last = NULL;
            mti_mutex_unlock(&lane->lock);
        }
        if (!op) break;
        if (!again) {
            (void)mti_atomic_u32_fetch_add_seq_cst(&lane->in_flight, 1);
            (void)mti_atomic_u32_fetch_add_seq_cst(&lane->waiting, (uint32_t)-1);
        }
        if (place(lane, ctx, op) == MANTA_NOT_READY) {
            op->next = lane->parked;
            lane->parked = op;
            continue;
        }
        (void)mti_atomic_u32_fetch_sub_acq_rel(&lane->in_flight, 1);
        any = true;
    }
    while (list) {
        lane_op_t *op = list;
        list = op->next;
        op->next = lane->parked;
        lane->parked = op;
    }
    return any;
}

static bool lane_step(mti_lane_t *lane, mti_ctx_t *ctx)
{
    uint32_t nobody = 0;
    if (mti_atomic_u32_load_relaxed(&lane->waiting) == 0 &&
        mti_atomic_u32_load_relaxed(&lane->in_flight) == 0) {
        return false;
    }
    // acquire: what the holder before did
    if (!mti_atomic_u32_cas_acq_rel(&lane->right, &nobody, 1)) return false;
    bool any = false;
    if (mti_device_state(lane->device) == MTI_DEVICE_CLOSED && !lane->failed) {
        manta_status_t status = lane_open(lane);
        if (status != MANTA_OK) {
            lane->failed = true;
            lane->failure = status;
            mti_runtime_log(ctx->rt, status, "device %s can't be used: %s", lane->device->name,
                            manta_error_message());
        }
    }
    mti_bound_t bound;
    bool is_bound = !lane->failed; // a lost or unusable device has no context to be current
    if (is_bound) mti_device_bind(lane->device, &bound);
    lane_collect(lane);
    any |= lane_place_ready(lane, ctx);
    lane_poll(lane);
    for (uint32_t i = 0; i < QUEUES; i++)
        if (lane->queues[i].first) any |= queue_complete(lane, ctx, &lane->queues[i]);
    any |= lane_fetch(lane, ctx);
    bool hurry = mti_atomic_u32_load_relaxed(&lane->lanes->hurry) != 0;
    int64_t now = 0;
    for (uint32_t i = 0; i < COMPUTE_QUEUES && !lane->failed; i++) {
        lane_queue_t *q = &lane->queues[i];
        if (!q->unrecorded) continue;
        if (!now) now = mti_clock_ns();
        if (hurry || lane->lanes->is_virtual || now - q->unrecorded_since_ns > RECORD_NS) {
            (void)queue_record(q);
        }
    }
    if (is_bound) mti_device_unbind(lane->device, &bound);
    // release: for the next holder
    mti_atomic_u32_store_release(&lane->right, 0);
    return any;
}

// In the order in which things move on, so that nothing is missed between two lists.
bool mti_lanes_are_busy(const mti_lanes_t *lanes)
{
    if (mti_atomic_u32_load_seq_cst(&lanes->inbox_hint)) return true;
    for (uint32_t i = 0; i < lanes->count; i++) {
        if (mti_atomic_u32_load_seq_cst(&lanes->lane[i].waiting) ||
            mti_atomic_u32_load_seq_cst(&lanes->lane[i].in_flight)) {
            return true;
        }
    }
    return false;
}

bool mti_lanes_need_steps(const mti_runtime_t *rt)
{
    const mti_lanes_t *lanes = mti_lanes_peek(rt);
    return lanes && !lanes->has_thread && mti_lanes_are_busy(lanes);
}

// One round over everything; true if something moved.
static bool lanes_round(mti_lanes_t *lanes, mti_ctx_t *ctx)
{
    bool any = lanes_route(lanes, ctx);
    for (uint32_t i = 0; i < lanes->count; i++)
        any |= lane_step(&lanes->lane[i], ctx);
    return any;
}

// On a virtual clock, when nothing moves by itself: lets time pass to the next event.
static bool lanes_let_time_pass(mti_lanes_t *lanes)
{
    for (uint32_t i = 0; i < lanes->count; i++) {
        mti_lane_t *lane = &lanes->lane[i];
        if (mti_atomic_u32_load_acquire(&lane->in_flight) == 0 || lane->failed) continue;
        if (mti_device_block(lane->device, INT64_MAX) == MANTA_OK) return true;
    }
    return false;
}

bool mti_lanes_help(mti_ctx_t *ctx, bool hurry)
{
    mti_lanes_t *lanes = mti_lanes_peek(ctx->rt);
    if (!lanes || current_op || !mti_lanes_are_busy(lanes)) return false;
    // A thread that is inside a lane already (a body that waits, which it must not) finds its right taken.
    if (hurry) (void)mti_atomic_u32_fetch_add_acq_rel(&lanes->hurry, 1);
    bool any = false;
    if (!lanes->is_virtual) {
        any = lanes_round(lanes, ctx);
    } else {
        uint32_t nobody = 0;
        if (mti_atomic_u32_cas_acq_rel(&lanes->stepping, &nobody, 1)) {
            any = lanes_round(lanes, ctx) || lanes_let_time_pass(lanes);
            mti_atomic_u32_store_release(&lanes->stepping, 0);
        }
    }
    if (hurry) (void)mti_atomic_u32_fetch_sub_acq_rel(&lanes->hurry, 1);
    return any;
}

// ---- the lanes' thread ---------------------------------------------------------------------------

static void lanes_sleep(mti_lanes_t *lanes)
{
    uint32_t word = mti_atomic_u32_load_acquire(&lanes->wake);
    // seq_cst: said before the look; pairs with the load in lanes_kick
    mti_atomic_u32_store_seq_cst(&lanes->asleep, 1);
    if (!mti_lanes_are_busy(lanes) && !mti_atomic_u32_load_seq_cst(&lanes->stop)) {
        (void)mti_notify_wait(&lanes->wake, word, INT64_MAX);
    }
    mti_atomic_u32_store_relaxed(&lanes->asleep, 0);
}

static void *lanes_main(void *arg)
{
    mti_lanes_t *lanes = arg;
    mti_ctx_t *ctx = lanes->ctx;
    mti_ctx_enter(ctx);
    int64_t nap = NAP_MIN_NS;
    int idle = 0;
    while (!mti_atomic_u32_load_acquire(&lanes->stop)) {
        if (mti_lanes_help(ctx, false)) {
            idle = 0;
            nap = NAP_MIN_NS;
            continue;
        }
        if (!mti_lanes_are_busy(lanes)) {
            mti_table_flush(&ctx->table);
            mti_drain_check(ctx);
            lanes_sleep(lanes);
            idle = 0;
            continue;
        }
        if (++idle < SPIN_ROUNDS) {
            mti_cpu_pause();
            continue;
        }
        // Long work: looks now and then, unless there is more to submit.
        uint32_t word = mti_atomic_u32_load_acquire(&lanes->wake);
        mti_atomic_u32_store_seq_cst(&lanes->asleep, 1);
        (void)mti_notify_wait(&lanes->wake, word, mti_clock_ns() + nap);
        mti_atomic_u32_store_relaxed(&lanes->asleep, 0);
        if (nap < NAP_MAX_NS) nap *= 2;
    }
    mti_ctx_leave(ctx);
    return NULL;
}

// ---- start and stop ------------------------------------------------------------------------------

mti_lanes_t *mti_lanes_peek(const mti_runtime_t *rt)
{
    return mti_atomic_ptr_load_acquire(&rt->lanes);
}

static void lanes_free(mti_lanes_t *lanes)
{
    mti_free(&lanes->allocator, lanes->inbox, lanes->inbox_capacity * sizeof *lanes->inbox);
    mti_mutex_deinit(&lanes->inbox_lock);
    for (uint32_t i = 0; i < lanes->count; i++)
        mti_mutex_deinit(&lanes->lane[i].lock);
    manta_allocator_t allocator = lanes->allocator;
    mti_free(&allocator, lanes, sizeof *lanes + lanes->count * sizeof lanes->lane[0]);
}

static manta_status_t lanes_create(mti_runtime_t *rt, mti_lanes_t **out_lanes)
{
    mti_devices_t *devices;
    mti_devices_options_t options = rt->device_options;
    options.allocator = rt->allocator;
    manta_status_t status = mti_devices_create(&options, &devices);
    if (status != MANTA_OK) return status;
    uint32_t count = mti_devices_gpu_count(devices);
    mti_lanes_t *lanes = mti_alloc_zeroed(
        &rt->allocator, sizeof *lanes + count * sizeof lanes->lane[0], MTI_LINE_BYTES);
    if (!lanes) {
        manta_status_t ignored = mti_devices_destroy(devices, 0);
        (void)ignored; // none is open
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for %u devices", count);
    }
    lanes->rt = rt;
    lanes->allocator = rt->allocator;
    lanes->devices = devices;
    lanes->count = count;
    lanes->is_virtual = mti_devices_has_virtual_clock(devices);
    mti_mutex_init(&lanes->inbox_lock, MTI_RANK_LANE);
    for (uint32_t i = 0; i < count; i++) {
        lanes->lane[i].lanes = lanes;
        lanes->lane[i].index = i;
        lanes->lane[i].device = mti_devices_gpu(devices, i);
        mti_mutex_init(&lanes->lane[i].lock, MTI_RANK_LANE);
    }
    *out_lanes = lanes;
    return MANTA_OK;
}

manta_status_t mti_lanes_start(mti_runtime_t *rt, mti_lanes_t **out_lanes)
{
    *out_lanes = mti_lanes_peek(rt);
    if (*out_lanes) return MANTA_OK;
    mti_mutex_lock(&rt->lanes_lock);
    manta_status_t status = MANTA_OK;
    mti_lanes_t *lanes = mti_lanes_peek(rt);
    if (!lanes && (status = lanes_create(rt, &lanes)) == MANTA_OK) {
        // Without a thread waiters and idle workers do its work.
        if (lanes->count && !rt->is_serial && (lanes->ctx = mti_ctx_prepare(rt))) {
            char name[16];
            snprintf(name, sizeof name, "%.10s-gpu", rt->name);
            lanes->has_thread = mti_thread_create(&lanes->thread, lanes_main, lanes, name);
            if (!lanes->has_thread) mti_ctx_retire(lanes->ctx);
        }
        // release: publishes the lanes
        mti_atomic_ptr_store_release(&rt->lanes, lanes);
    }
    mti_mutex_unlock(&rt->lanes_lock);
    *out_lanes = lanes;
    return status;
}

void mti_lanes_stop(mti_runtime_t *rt)
{
    mti_lanes_t *lanes = mti_lanes_peek(rt);
    if (!lanes || !lanes->has_thread) return;
    mti_atomic_u32_store_seq_cst(&lanes->stop, 1);
    (void)mti_atomic_u32_fetch_add_acq_rel(&lanes->wake, 1);
    mti_notify_wake(&lanes->wake, 1);
    pthread_join(lanes->thread, NULL);
    lanes->has_thread = false;
}

static void lane_free(mti_lane_t *lane)
{
    lane_collect(lane);
    for (uint32_t i = 0; i < QUEUES; i++) {
        for (local_t *local; (local = lane->queues[i].locals) != NULL;) {
            lane->queues[i].locals = local->next;
            if (local->destroy) local->destroy(local->value);
            mti_free(&lane->lanes->allocator, local, sizeof *local);
        }
    }
    mti_devheap_destroy(lane->heap);
    mti_devheap_destroy(lane->host_heap);
}

static void lane_forget_code(mti_lane_t *lane)
{
    for (loaded_code_t *loaded; (loaded = lane->loaded) != NULL;) {
        lane->loaded = loaded->next;
        mti_free(&lane->lanes->allocator, loaded, loaded->bytes);
    }
}

void mti_lanes_destroy(mti_ctx_t *ctx)
{
    mti_runtime_t *rt = ctx->rt;
    mti_lanes_t *lanes = mti_lanes_peek(rt);
    if (!lanes) return;
    for (uint32_t i = 0; i < lanes->count; i++) {
        mti_lane_t *lane = &lanes->lane[i];
        if (mti_device_state(lane->device) == MTI_DEVICE_CLOSED) continue;
        // Uploads that nobody used, say: all of it is done before memory goes.
        for (uint32_t k = 0; k < QUEUES && !lane->failed; k++) {
            mti_queue_t *queue = lane->queues[k].queue;
            uint64_t seq = 0;
            if (!queue || mti_queue_signal(queue, &seq) != MANTA_OK) continue;
            while (mti_queue_completed(queue) < seq && !lane->failed) {
                lane_poll(lane);
                if (mti_queue_completed(queue) >= seq || lane->failed) break;
                manta_status_t status =
                    mti_device_block(lane->device, mti_device_now_ns(lane->device) + 1000000);
                if (status == MANTA_ERR_DEADLOCK) break;
            }
        }
        lane_free(lane);
    }
    if (mti_devices_destroy(lanes->devices, MANTA_S(10)) != MANTA_OK) {
        mti_runtime_log(rt, MANTA_ERR_TIMEOUT, "devices could not be closed: %s",
                        manta_error_message());
    }
    for (uint32_t i = 0; i < lanes->count; i++)
        lane_forget_code(&lanes->lane[i]);
    mti_atomic_ptr_store_release(&rt->lanes, NULL);
    lanes_free(lanes);
}

// ---- waiting for bytes ---------------------------------------------------------------------------

manta_status_t mti_lanes_wait_host(mti_thread_t *thread, mti_ctx_t *ctx, mti_object_t *object,
                                   int64_t timeout_ns)
{
    mti_lanes_t *lanes = mti_lanes_peek(ctx->rt);
    if (mti_tier_ask(ctx, object)) return MANTA_OK;
    if (timeout_ns <= 0) return mti_fail(MANTA_NOT_READY, "not at the host yet");
    if (thread->in_callback) {
        return mti_fail(MANTA_ERR_NOT_ALLOWED_HERE,
                        "neither a callback nor a body on a device may wait");
    }
    int64_t deadline = mti_clock_deadline(timeout_ns);
    manta_status_t status = MANTA_OK;
    mti_wait_enter(ctx);
    for (int spins = 0;; spins++) {
        uint32_t word = mti_atomic_u32_load_acquire(&lanes->told);
        if (mti_tier_ask(ctx, object)) break;
        if (mti_lanes_help(ctx, true)) continue;
        if (spins < 1000) {
            mti_cpu_pause();
            continue;
        }
        // Without a thread of the lanes' this one has to come back by itself.
        int64_t until = lanes->has_thread ? deadline : mti_clock_ns() + NAP_MIN_NS;
        if (until > deadline) until = deadline;
        (void)mti_atomic_u32_fetch_add_seq_cst(&lanes->tell_waiters, 1);
        (void)mti_sched_block_begin(&ctx->sched);
        (void)mti_notify_wait(&lanes->told, word, until);
        mti_sched_block_end(&ctx->sched);
        (void)mti_atomic_u32_fetch_sub_acq_rel(&lanes->tell_waiters, 1);
        if (deadline != INT64_MAX && mti_clock_ns() >= deadline && !mti_tier_ask(ctx, object)) {
            status = mti_fail(MANTA_NOT_READY, "the wait's timeout passed");
            break;
        }
    }
    mti_wait_leave(ctx);
    return status;
}

// ---- inside a CUDA body --------------------------------------------------------------------------

static lane_op_t *task_op(const manta_task_t *task)
{
    if (task && task->lane && current_op == task->lane) return current_op;
    return NULL;
}

static manta_status_t fail_no_body(const char *what)
{
    return mti_fail(MANTA_ERR_NOT_ALLOWED_HERE, "%s: no CUDA body is running on this thread", what);
}

// What fails in a body has failed the task, with this message.
static manta_status_t body_failed(lane_op_t *op, manta_status_t status)
{
    if (!op->run.error) {
        op->run.error = mti_error_create(status, MANTA_SCOPE_TASK, mti_record_name(op->run.record),
                                         op_device(op)->name, 0, manta_error_message(), NULL);
    }
    return status;
}

// ---- code ----------------------------------------------------------------------------------------

static_assert(sizeof(manta_grid_t) == sizeof(mti_launch_shape_t) &&
                  offsetof(manta_grid_t, block) == offsetof(mti_launch_shape_t, block) &&
                  offsetof(manta_grid_t, shared_bytes) ==
                      offsetof(mti_launch_shape_t, shared_bytes),
              "a twin gets the one for the other");

// Loads what |code| brings to the device: every kernel that launches look up there.
static manta_status_t code_load(mti_lane_t *lane, const manta_code_t *code)
{
    bool runs_twins = mti_device_can(lane->device, MTI_CAP_HOST_FN);
    if (!code->image && !runs_twins) return MANTA_OK;
    size_t bytes = sizeof(loaded_code_t) +
                   code->kernel_count * (sizeof(mti_kernel_desc_t) + sizeof(manta_kernel_t *));
    loaded_code_t *loaded = mti_alloc_zeroed(&lane->lanes->allocator, bytes, 16);
    if (!loaded) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for the code %s", code->name);
    loaded->bytes = bytes;
    loaded->rows = (const manta_kernel_t **)(void *)&loaded->kernels[code->kernel_count];
    uint32_t n = 0;
    for (uint32_t i = 0; i < code->kernel_count; i++) {
        const manta_kernel_t *row = &code->kernels[i];
        // acquire: pairs with the registration that made another row the one to use
        if (__atomic_load_n(&row->row, __ATOMIC_ACQUIRE)) continue;
        if (mti_device_kernel(lane->device, row->name)) continue; // with its twin, before
        loaded->rows[n] = row;
        loaded->kernels[n++] =
            (mti_kernel_desc_t){.name = row->name,
                                .symbol = row->symbol,
                                .param_bytes = row->arg_bytes,
                                .param_count = row->arg_count,
                                .max_block_threads = row->max_block_threads,
                                // The one for the other: same layout, asserted above.
                                .twin = (mti_kernel_twin_fn_t)(void (*)(void))__atomic_load_n(
                                    &row->twin, __ATOMIC_ACQUIRE)};
    }
    loaded->code = (mti_code_t){.name = code->name,
                                .blob = code->image,
                                .blob_bytes = code->image_bytes,
                                .kernels = loaded->kernels,
                                .kernel_count = n};
    manta_status_t status = n ? mti_device_code_load(lane->device, &loaded->code) : MANTA_OK;
    if (status != MANTA_OK || n == 0) {
        mti_free(&lane->lanes->allocator, loaded, bytes);
        return status;
    }
    loaded->next = lane->loaded;
    lane->loaded = loaded;
    return MANTA_OK;
}

// Loads all code that was registered since the last time. One that can't be loaded is skipped: who launches
// from it is told.
static manta_status_t lane_load_code(mti_lane_t *lane, const manta_code_t *wanted)
{
    manta_status_t status = MANTA_OK;
    const manta_code_t *first = mti_code_first();
    uint32_t seen = lane->code_seen;
    for (const manta_code_t *code = first; code && code->index >= seen; code = code->next) {
        manta_status_t one = code_load(lane, code);
        if (code == wanted) status = one;
    }
    if (first) lane->code_seen = first->index + 1;
    return status;
}

// The kernel of |row| on the lane's device.
static manta_status_t lane_kernel(mti_lane_t *lane, const manta_kernel_t *row, manta_twin_fn_t twin,
                                  const mti_kernel_t **out_kernel)
{
    manta_status_t status = MANTA_OK;
    const manta_code_t *first = mti_code_first();
    if (first && first->index >= lane->code_seen) status = lane_load_code(lane, row->code);
    const mti_kernel_t *kernel = *out_kernel = mti_device_kernel(lane->device, row->name);
    if (!kernel && status == MANTA_OK) {
        status = mti_fail(MANTA_ERR_NOT_FOUND, "kernel %s: %s has none for device %s", row->name,
                          row->code->name, lane->device->name);
    }
    // A twin that was registered after the code was loaded.
    for (loaded_code_t *loaded = lane->loaded; kernel && twin && !kernel->desc->twin && loaded;
         loaded = loaded->next) {
        for (uint32_t i = 0; i < loaded->code.kernel_count; i++)
            if (&loaded->kernels[i] == kernel->desc)
                loaded->kernels[i].twin = (mti_kernel_twin_fn_t)(void (*)(void))twin;
    }
    return kernel ? MANTA_OK : status;
}

// ---- what bodies call ------------------------------------------------------------------------------

manta_status_t mti_lane_launch(manta_kernel_t *kernel, const manta_grid_t *grid, void *const *args,
                               uint32_t arg_count)
{
    lane_op_t *op = current_op;
    if (!op) {
        return mti_fail_note(fail_no_body("launch"), "kernel %s",
                             kernel && kernel->name ? kernel->name : "NULL");
    }
    mti_lane_t *lane = op->lane;
    op->enqueued = true;
    const manta_kernel_t *row;
    manta_twin_fn_t twin;
    manta_status_t status = mti_code_resolve(kernel, arg_count, &row, &twin);
    const mti_kernel_t *found = NULL;
    if (status == MANTA_OK) status = lane_kernel(lane, row, twin, &found);
    if (status == MANTA_OK && !mti_grid_is_empty(grid)) {
        mti_launch_shape_t shape = {{grid->grid[0], grid->grid[1], grid->grid[2]},
                                    {grid->block[0], grid->block[1], grid->block[2]},
                                    grid->shared_bytes};
        mti_launch_t launch = {.kernel = found,
                               .shape = shape,
                               .args = args,
                               .arg_count = arg_count,
                               .arg_bytes = kernel->arg_bytes};
        status = mti_queue_launch(op->queue->queue, &launch, MTI_OP_NONE, NULL);
    }
    return status == MANTA_OK ? MANTA_OK : body_failed(op, status);
}

manta_status_t mti_lane_launch_native(void *kernel, const manta_grid_t *grid, void **args,
                                      const char *name)
{
    lane_op_t *op = current_op;
    if (!op) return mti_fail_note(fail_no_body("launch"), "kernel %s", name ? name : "?");
    op->enqueued = true;
    if (!kernel) return body_failed(op, mti_fail(MANTA_ERR_INVALID_ARGUMENT, "launch: no kernel"));
    if (!mti_device_can(op_device(op), MTI_CAP_NATIVE)) {
        return body_failed(op, mti_fail(MANTA_ERR_NOT_SUPPORTED,
                                        "kernel %s: device %s is a virtual one, launch by name",
                                        name ? name : "?", op_device(op)->name));
    }
    if (mti_grid_is_empty(grid)) return MANTA_OK;
    mti_launch_shape_t shape;
    memcpy(&shape, grid, sizeof shape);
    manta_status_t status =
        mti_queue_launch_native(op->queue->queue, kernel, name, &shape, args, MTI_OP_NONE, NULL);
    return status == MANTA_OK ? MANTA_OK : body_failed(op, status);
}

void *mti_lane_stream(manta_task_t *task)
{
    lane_op_t *op = task_op(task);
    if (!op) {
        (void)fail_no_body("manta_cuda_stream");
        return NULL;
    }
    if (!mti_device_can(op_device(op), MTI_CAP_NATIVE)) {
        (void)body_failed(op, mti_fail(MANTA_ERR_NOT_SUPPORTED,
                                       "task %s: device %s is a virtual one and has no stream",
                                       mti_record_name(op->run.record), op_device(op)->name));
        return NULL;
    }
    op->enqueued = true;
    return mti_queue_native(op->queue->queue);
}

int mti_lane_device_index(const manta_task_t *task)
{
    return task && task->lane ? (int)((const lane_op_t *)task->lane)->lane->index : -1;
}

void *mti_lane_local(manta_task_t *task, const void *key, manta_local_make_fn_t make,
                     manta_local_destroy_fn_t destroy)
{
    lane_op_t *op = task_op(task);
    if (!op || !make) {
        (void)fail_no_body("manta_queue_local");
        return NULL;
    }
    for (local_t *local = op->queue->locals; local; local = local->next)
        if (local->key == key) return local->value;
    const manta_allocator_t *allocator = &op->lane->lanes->allocator;
    local_t *local = mti_alloc(allocator, sizeof *local, 16);
    void *value = local ? make(task) : NULL;
    if (!value) {
        if (!local)
            (void)mti_fail(MANTA_ERR_OUT_OF_MEMORY, "queue_local: no memory");
        else
            (void)mti_fail(MANTA_ERR_RESOURCE_EXHAUSTED, "queue_local: it could not be made");
        mti_free(allocator, local, sizeof *local);
        (void)body_failed(op, MANTA_ERR_RESOURCE_EXHAUSTED);
        return NULL;
    }
    *local = (local_t){op->queue->locals, key, value, destroy};
    op->queue->locals = local;
    return value;
}

void *mti_lane_scratch(manta_task_t *task, size_t size_bytes)
{
    lane_op_t *op = task_op(task);
    if (!op) {
        (void)fail_no_body("manta_scratch");
        return NULL;
    }
    mti_block_t *block;
    manta_status_t status =
        mti_devheap_alloc(op->lane->heap, op->queue->queue, size_bytes ? size_bytes : 1, &block);
    if (status != MANTA_OK) {
        (void)body_failed(op, status);
        return NULL;
    }
    block->next = op->scratch;
    op->scratch = block;
    return block->ptr;
}

// The block of |op| that |ptr| is in: a result, or scratch.
static mti_block_t *op_block_of(const lane_op_t *op, const void *ptr)
{
    mti_block_t *found = NULL;
    for (uint32_t i = 0; i < op->run.record->result_count; i++) {
        mti_tier_t *tier = mti_object_tier(op->run.results[i]);
        mti_block_t *block = tier ? tier->at[op->lane->index].block : NULL;
        if (block && (size_t)((const char *)ptr - (const char *)block->ptr) < block->size_bytes)
            found = block;
    }
    for (mti_block_t *block = op->scratch; block; block = block->next)
        if ((size_t)((const char *)ptr - (const char *)block->ptr) < block->size_bytes)
            found = block;
    return found;
}

manta_status_t mti_lane_status_word(manta_task_t *task, const void *device_ptr)
{
    lane_op_t *op = task_op(task);
    if (!op) return fail_no_body("manta_status_word");
    mti_block_t *from = device_ptr ? op_block_of(op, device_ptr) : NULL;
    if (!from || (uintptr_t)device_ptr % 4 != 0) {
        return body_failed(op, mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                                        "status_word: %p is no aligned word in scratch memory or "
                                        "in a result of the task",
                                        device_ptr));
    }
    manta_status_t status = MANTA_OK;
    if (!op->word_block) {
        status = mti_devheap_alloc(op->lane->host_heap, op->queue->queue, 4, &op->word_block);
    }
    // At the end of the body; what is enqueued behind this call comes too late.
    mti_copy_t copy = {{op->word_block ? op->word_block->ptr : NULL,
                        op->word_block ? op->word_block->memory : NULL},
                       {(void *)(uintptr_t)device_ptr, from->memory},
                       4};
    if (status == MANTA_OK) {
        op->enqueued = true;
        status = mti_queue_copy(op->queue->queue, &copy, MTI_OP_NONE, NULL);
    }
    return status == MANTA_OK ? MANTA_OK : body_failed(op, status);
}

// On a thread of the driver's nobody may ask the device for memory: the host's has to do.
static manta_status_t out_grow(manta_task_t *task, lane_op_t *op, mti_object_t *object,
                               mti_block_t *old, size_t size_bytes, manta_buffer_t *out_buffer)
{
    grown_t *grown = op->grown;
    while (grown && op->run.results[grown->result] != object)
        grown = grown->next;
    const void *from = grown ? grown->data : old ? old->ptr : NULL;
    size_t kept = grown ? grown->size_bytes : mti_object_size(object);
    if (kept > size_bytes) kept = size_bytes;
    void *data = mti_heap_alloc(&task->ctx->heap, size_bytes ? size_bytes : 1);
    bool is_new = !grown;
    if (data && is_new) grown = mti_alloc(&op->lane->lanes->allocator, sizeof *grown, 16);
    if (!data || !grown) {
        if (data) mti_heap_free(&task->ctx->heap, data, size_bytes ? size_bytes : 1);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for %zu bytes", size_bytes);
    }
    if (kept && from) memcpy(data, from, kept);
    if (is_new) {
        grown->next = op->grown;
        grown->result = 0;
        while (op->run.results[grown->result] != object)
            grown->result++;
        op->grown = grown;
    } else {
        mti_heap_free(&task->ctx->heap, grown->data, grown->size_bytes ? grown->size_bytes : 1);
    }
    grown->data = data;
    grown->size_bytes = size_bytes;
    *out_buffer = (manta_buffer_t){size_bytes ? data : NULL, size_bytes};
    return MANTA_OK;
}

manta_status_t mti_lane_out_resize(manta_task_t *task, mti_object_t *object, size_t size_bytes,
                                   manta_buffer_t *out_buffer)
{
    lane_op_t *op = task->lane;
    mti_tier_t *tier = mti_object_tier(object);
    mti_block_t *old = tier ? tier->at[op->lane->index].block : NULL;
    for (grown_t *grown = op->grown; grown; grown = grown->next)
        if (op->run.results[grown->result] == object)
            return out_grow(task, op, object, old, size_bytes, out_buffer);
    if (size_bytes <= (old ? old->size_bytes : 0)) {
        if (tier) tier->size_bytes = size_bytes;
        // An empty result keeps its tier until it goes; nobody copies nothing.
        mti_object_set(object, mti_object_kind(object),
                       tier ? MTI_STORAGE_TIERED : MTI_STORAGE_NONE, size_bytes);
        *out_buffer = (manta_buffer_t){size_bytes ? old->ptr : NULL, size_bytes};
        return MANTA_OK;
    }
    if (current_op != op) return out_grow(task, op, object, old, size_bytes, out_buffer);
    mti_block_t *block;
    manta_status_t status = mti_devheap_alloc(op->lane->heap, op->queue->queue, size_bytes, &block);
    if (status != MANTA_OK) return status;
    if (!tier && !(tier = mti_tier_create(op->lane->lanes, object, size_bytes))) {
        mti_devheap_free(block);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory to keep track of a result");
    }
    if (old) {
        // What was enqueued so far may have written it: kept.
        mti_copy_t copy = {{block->ptr, block->memory},
                           {old->ptr, old->memory},
                           tier->size_bytes < size_bytes ? tier->size_bytes : size_bytes};
        uint64_t seq;
        status = mti_queue_copy(op->queue->queue, &copy, MTI_OP_NONE, &seq);
        if (status == MANTA_OK) status = mti_block_use(old, op->queue->queue, seq);
        if (status != MANTA_OK) {
            mti_devheap_free(block);
            return status;
        }
        mti_devheap_free(old);
    }
    tier->at[op->lane->index].block = block;
    tier->size_bytes = size_bytes;
    mti_object_set(object, mti_object_kind(object), MTI_STORAGE_TIERED, size_bytes);
    *out_buffer = (manta_buffer_t){block->ptr, size_bytes};
    return MANTA_OK;
}
