// Placing: a task is given to a queue of its device.
#include "core/actor.h"
#include "core/lane_impl.h"

#include "core/params.h"

enum { RECORD_EVERY = 16 }; // tasks on a queue without a record

// What is known of one ref among the arguments while its task is placed.
typedef struct operand {
    mti_object_t *object;
    mti_tier_t *tier; // NULL: small, or empty
    size_t size_bytes;
    void *small; // where a small value is on the device, for this task alone
    mti_fence_t ready;
} operand_t;

typedef struct place {
    mti_lane_t *lane;
    mti_ctx_t *ctx;
    mti_op_t *op;
    mti_lane_queue_t *queue;
    operand_t *operands; // by argument ref
    operand_t few[16];
    uint32_t count;
    mti_block_t *small; // what operands[].small point into
    bool begun;         // something of its body was submitted
} place_t;

static bool operand_is_small(const operand_t *operand)
{
    return operand->object && !operand->tier && operand->size_bytes != 0;
}

static manta_status_t place_note(const place_t *p, manta_status_t status)
{
    return mti_fail_note(status, "task %s", mti_record_name(p->op->run.record));
}

// The size of an argument that is assigned or closed. It may be failing just now, on another device's lane: what
// says then through which argument stands in the place of the size.
static size_t operand_size(const mti_object_t *object)
{
    mti_tier_t *tier = mti_object_tier(object);
    if (tier) return tier->size_bytes;
    uint64_t bits = mti_atomic_u64_load_relaxed(&object->size_bits);
    bool none = (mti_storage_t)(bits >> 48 & 0xff) == MTI_STORAGE_NONE;
    return none ? 0 : (size_t)(bits & (((uint64_t)1 << 48) - 1));
}

// Keeps in mind which copies the task stands behind: should one fail, so does the task.
static void place_copies(place_t *p, const mti_replica_t *replica)
{
    mti_op_t *op = p->op;
    mti_fence_t ready = replica->ready;
    if (!replica->is_copy || mti_fence_is_done(ready)) return;
    mti_copies_t made = {ready.queue, replica->before, ready.seq};
    if (op->copy_count < MTI_OP_COPIES) {
        op->copies[op->copy_count++] = made;
        return;
    }
    // No room: any of that queue since, and of the other one, which is told apart by NULL.
    mti_copies_t *all = &op->copies[MTI_OP_COPIES - 1];
    if (all->queue != made.queue) all->queue = NULL;
    if (made.before < all->before) all->before = made.before;
    if (made.last > all->last) all->last = made.last;
}

// Gathers what has to be copied; place_operands() submits it.
static manta_status_t place_gather(place_t *p)
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
        if (mti_object_is_closed(operand->object, &head) && head & MTI_HEAD_FAILED) {
            if (t->flags & MTI_RECORD_ACCEPTS && mti_record_accepts(t, i)) continue; // no bytes
            // It was placed behind while that was open, which failed since: nothing has to be run.
            p->op->run.cause = operand->object;
            p->op->run.cause_argument = i;
            return manta_error_code(mti_object_error(operand->object, head));
        }
        operand->size_bytes = operand_size(operand->object);
        if (operand->size_bytes == 0) continue;
        bool failed;
        operand->tier = mti_tier_of(p->lane->lanes, operand->object, &failed);
        if (failed) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory to keep track of a copy");
        manta_status_t status;
        if (!operand->tier) continue; // small: goes along with the task
        status = mti_lane_bring(p->lane, p->ctx, operand->tier);
        if (status != MANTA_OK) return status;
        operand->ready = operand->tier->at[p->lane->index].ready;
        place_copies(p, &operand->tier->at[p->lane->index]);
    }
    return MANTA_OK;
}

static manta_status_t place_operands(place_t *p)
{
    manta_status_t status = place_gather(p);
    manta_status_t sent = mti_lane_send(p->lane); // also if something else is missing
    return status == MANTA_OK || status == MANTA_NOT_READY ? (sent ? sent : status) : status;
}

// Values that are inside the line of their object go to the device with the task, on its queue: one copy for
// all of them, and nothing to wait for.
static manta_status_t place_small(place_t *p)
{
    enum { PITCH = 256 }; // what device memory is aligned to for every kernel
    size_t n = 0;
    for (uint32_t i = 0; i < p->count; i++)
        n += operand_is_small(&p->operands[i]);
    if (n == 0) return MANTA_OK;
    mti_queue_t *queue = p->queue->queue;
    mti_block_t *from = NULL;
    manta_status_t status = mti_devheap_alloc(p->lane->heap, queue, n * PITCH, &p->small);
    if (status == MANTA_OK) status = mti_devheap_alloc(p->lane->host_heap, NULL, n * PITCH, &from);
    if (status != MANTA_OK) return status;
    size_t at = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        operand_t *operand = &p->operands[i];
        if (!operand_is_small(operand)) continue;
        memcpy((char *)from->ptr + at, operand->object->u.bytes, operand->size_bytes);
        operand->small = (char *)p->small->ptr + at;
        at += PITCH;
    }
    uint64_t seq;
    mti_copy_t copy = {{p->small->ptr, p->small->memory}, {from->ptr, from->memory}, at};
    status = mti_queue_copy(queue, &copy, MTI_OP_NONE, &seq);
    if (status == MANTA_OK) status = mti_block_use(p->small, queue, seq);
    if (status == MANTA_OK) status = mti_block_use(from, queue, seq);
    mti_devheap_free(from);
    return status;
}

// The queue of the operand that is the last thing on its queue, so that order costs nothing; else the one with
// the least on it.
static manta_status_t place_queue(place_t *p)
{
    mti_lane_t *lane = p->lane;
    if (mti_lane_band(mti_record_flags(p->op->run.record)) <= 1) {
        // The device starts what is there before the rest.
        return mti_lane_queue_get(lane, MTI_LANE_QUEUE_URGENT, &p->queue);
    }
    mti_lane_queue_t *best = NULL;
    if (p->op->order) {
        manta_status_t status = mti_lane_order_queue(lane, p->op->order, &p->queue);
        if (p->queue || status != MANTA_OK) return status;
    }
    for (uint32_t i = 0; i < p->count; i++) {
        mti_fence_t ready = p->operands[i].ready;
        if (!ready.queue || ready.queue->device != lane->device) continue;
        uint32_t index = mti_lane_queue_index(lane, ready.queue);
        if (index >= MTI_LANE_QUEUE_URGENT || ready.queue->submitted != ready.seq) continue;
        if (mti_fence_is_done(ready)) continue;
        mti_lane_queue_t *q = &lane->queues[index];
        if (!best || q->in_flight > best->in_flight)
            best = q; // the one that is done last, most likely
    }
    for (uint32_t i = 0; !p->queue && !best && i < MTI_LANE_QUEUE_URGENT; i++) {
        mti_lane_queue_t *q = &lane->queues[i];
        if (q->queue && q->in_flight) continue;
        manta_status_t status = mti_lane_queue_get(lane, i, &best);
        if (status != MANTA_OK && i == 0) return status;
        if (status != MANTA_OK) best = NULL;
        break;
    }
    for (uint32_t i = 0; !best && i < lane->queue_count; i++) {
        mti_lane_queue_t *q = &lane->queues[i];
        if (!p->queue || q->in_flight < p->queue->in_flight) p->queue = q;
    }
    if (best) p->queue = best;
    return MANTA_OK;
}

// One wait for each queue that operands come from: for the last of them there.
static manta_status_t place_waits(place_t *p)
{
    uint64_t last[MTI_LANE_QUEUES] = {0};
    for (uint32_t i = 0; i < p->count; i++) {
        mti_fence_t ready = p->operands[i].ready;
        if (mti_fence_is_done(ready)) continue;
        uint32_t at = mti_lane_queue_index(p->lane, ready.queue);
        if (ready.seq > last[at])
            last[at] = ready.seq; // replicas here are made by queues of this lane
    }
    manta_status_t status = MANTA_OK;
    for (uint32_t i = 0; i < p->count && status == MANTA_OK; i++) {
        mti_fence_t ready = p->operands[i].ready;
        if (mti_fence_is_done(ready)) continue;
        uint32_t at = mti_lane_queue_index(p->lane, ready.queue);
        if (at < MTI_LANE_QUEUES) {
            if (ready.seq != last[at]) continue;
            last[at] = 0;
        }
        status = mti_lane_queue_after(p->lane, p->queue, ready);
    }
    const mti_lane_order_t *order = p->op->order;
    if (status == MANTA_OK && order && order->last.queue) {
        status = mti_lane_queue_after(p->lane, p->queue, order->last);
    }
    return status;
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
    size_t size = operand->size_bytes;
    if (size == 0) {
        mti_object_set(to, mti_object_kind(to), MTI_STORAGE_NONE, 0);
        return MANTA_OK;
    }
    mti_tier_t *next = mti_tier_create(p->lane->lanes, to, size);
    if (!next) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory to keep track of a result");
    mti_replica_t *mine = &next->at[p->lane->index];
    if (!operand->tier) {
        uint64_t seq;
        mti_queue_t *queue = p->queue->queue;
        manta_status_t status = mti_devheap_alloc(p->lane->heap, queue, size, &mine->block);
        if (status != MANTA_OK) return status;
        mti_copy_t copy = {
            {mine->block->ptr, mine->block->memory}, {operand->small, p->small->memory}, size};
        status = mti_queue_copy(queue, &copy, MTI_OP_NONE, &seq);
        return status == MANTA_OK ? mti_block_use(p->small, queue, seq) : status;
    }
    mti_tier_t *tier = operand->tier;
    // The counts first: a reader lowers |readers| before it gives its count back, so one that is done is missing
    // in both, or in |readers| alone. acquire: pairs with that; and what the last other holder did comes before
    uint64_t counts = mti_atomic_u64_load_acquire(&from->counts) & ~MTI_COUNT_SLOT_MASK;
    uint64_t readers = mti_atomic_u32_load_acquire(&tier->readers);
    bool sole = counts == (readers + 1) * MTI_COUNT_INTERNAL;
    mti_block_t *here = tier->at[p->lane->index].block;
    if (!sole || mti_block_is_foreign(here) || !mti_record_is_last_attempt(p->op->run.record)) {
        return copy_block(p, here, size, &mine->block);
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
    manta_status_t status = mti_lane_block_after(p->lane, p->queue, block);
    for (uint32_t i = 0; i < peer_count && status == MANTA_OK; i++)
        status = mti_lane_queue_after(p->lane, p->queue, peers[i]);
    return status;
}

// The buffer of one argument.
static manta_status_t place_argument(void *user, const manta_param_t *param, uint32_t index,
                                     manta_ref_t ref, mti_object_t *result,
                                     manta_buffer_t *out_buffer)
{
    (void)ref;
    place_t *p = user;
    operand_t *operand = &p->operands[index];
    size_t size = operand->size_bytes;
    mti_block_t *block = operand->tier ? operand->tier->at[p->lane->index].block : NULL;
    const char *name = mti_record_name(p->op->run.record);
    manta_status_t status = mti_arg_check_bytes(name, param, NULL, size);
    if (status == MANTA_OK && result) {
        status = place_inout(p, operand, result);
        mti_tier_t *tier = mti_object_tier(result);
        block = tier ? tier->at[p->lane->index].block : NULL;
    }
    *out_buffer = (manta_buffer_t){block ? block->ptr : result ? NULL : operand->small, size};
    return status;
}

// Memory of the device for one OUT.
static manta_status_t place_out(void *user, const manta_param_t *param, mti_object_t *result,
                                size_t size_bytes, manta_buffer_t *out_buffer)
{
    place_t *p = user;
    mti_lane_t *lane = p->lane;
    *out_buffer = (manta_buffer_t){NULL, size_bytes};
    if (size_bytes == 0) {
        mti_object_set(result, mti_object_kind(result), MTI_STORAGE_NONE, 0);
        return MANTA_OK;
    }
    mti_tier_t *tier = mti_tier_create(lane->lanes, result, size_bytes);
    if (!tier) {
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "result %s: no memory to keep track of it",
                        param->name);
    }
    mti_replica_t *mine = &tier->at[lane->index];
    manta_status_t status =
        mti_devheap_alloc(lane->heap, p->queue->queue, size_bytes, &mine->block);
    if (status != MANTA_OK) return mti_fail_note(status, "result %s", param->name);
    out_buffer->data = mine->block->ptr;
    return MANTA_OK;
}

// A CPU body in the place of a kernel, on a thread of the driver's.
static manta_status_t host_body(void *user)
{
    mti_op_t *op = user;
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    mti_thread_enter(thread);
    mti_ctx_t *ctx = mti_ctx_slow(thread, mti_runtime_handle(op->lane->lanes->rt));
    mti_thread_leave(thread);
    if (!ctx) return thread->status;
    manta_task_t *run = &op->run;
    run->ctx = ctx;
    manta_call_t call = {.task = run,
                         .args = run->record->args,
                         .buffers = run->buffers,
                         .self = run->actor ? run->actor->state : NULL};
    mti_body_t body;
    mti_body_enter(&body, thread, run);
    run->in_body = true;
    manta_status_t status = op->variant->invoke(&call);
    mti_body_leave(&body, thread, run);
    return status;
}

static manta_status_t place_body(place_t *p)
{
    mti_op_t *op = p->op;
    manta_task_t *run = &op->run;
    mti_thread_t *thread = mti_thread_tls;
    manta_call_t call = {.task = run,
                         .args = run->record->args,
                         .buffers = run->buffers,
                         .self = run->actor ? run->actor->state : NULL};
    mti_body_t body;
    run->ctx = p->ctx;
    mti_body_enter(&body, thread, run);
    manta_status_t status = MANTA_OK;
    if (mti_task_has_results(run->record->def)) {
        status = mti_params_outs(run, &call, op->variant, place_out, p);
    }
    if (status == MANTA_OK) mti_recover_begin(p->ctx, run->record);
    if (status == MANTA_OK && !op->by_host) {
        uint64_t first = p->queue->queue->submitted;
        mti_op_t *outer = mti_op_current;
        mti_op_current = op;
        run->in_body = true;
        status = op->variant->invoke(&call);
        mti_op_current = outer;
        p->begun = op->is_foreign || p->queue->queue->submitted != first;
        mti_lane_body_over(op->lane, op->variant, op->is_foreign);
    }
    mti_body_leave(&body, thread, run);
    if (status != MANTA_OK || !op->by_host) return status;
    status = mti_queue_launch_host_fn(p->queue->queue, host_body, op, MTI_OP_NONE, NULL);
    p->begun = status == MANTA_OK;
    return status;
}

// Everything that the task used is used until |op->seq|, and the results are there then.
static manta_status_t place_fences(place_t *p)
{
    mti_op_t *op = p->op;
    mti_queue_t *queue = p->queue->queue;
    manta_status_t status = MANTA_OK;
    for (uint32_t i = 0; i < p->count; i++) {
        operand_t *operand = &p->operands[i];
        mti_block_t *block = operand->tier ? operand->tier->at[p->lane->index].block : NULL;
        if (block && status == MANTA_OK) status = mti_block_use(block, queue, op->seq);
    }
    if (p->small && status == MANTA_OK) status = mti_block_use(p->small, queue, op->seq);
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
static bool op_is_watched(const mti_op_t *op)
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
    mti_op_t *op = p->op;
    mti_lane_queue_t *q = p->queue;
    // One that may be tried again wants its arguments once more: it stays a holder of them.
    op->is_reader = mti_record_is_last_attempt(op->run.record);
    mti_arg_iter_t iter = {.t = op->run.record};
    for (manta_ref_t ref; op->is_reader && mti_arg_next(&iter, &ref);) {
        mti_tier_t *tier = mti_object_tier(mti_object_held(ref));
        if (tier) (void)mti_atomic_u32_fetch_add_acq_rel(&tier->readers, 1);
    }
    op->next = NULL;
    if (q->last) {
        q->last->next = op;
    } else {
        q->first = op;
        if (p->lane->lanes->count > 1) q->busy_since_ns = mti_device_now_ns(p->lane->device);
    }
    q->last = op;
    q->in_flight++;
    (void)mti_atomic_u32_fetch_add_acq_rel(&p->lane->in_flight, 1);
    if (q->unrecorded++ == 0) q->unrecorded_since_ns = mti_clock_ns();
}

// Results of |op| are on their way: whoever is to follow it on a device may be placed now.
static void place_assign(place_t *p)
{
    mti_op_t *op = p->op;
    op->assigned = true;
    for (uint32_t i = 0; i < op->run.record->result_count; i++)
        mti_object_assign(p->ctx, op->run.results[i]);
}

// What the body enqueued has a number from here on; |first| is the last one before it ran.
static manta_status_t place_number(place_t *p, uint64_t first)
{
    const mti_op_t *op = p->op;
    mti_queue_t *queue = p->queue->queue;
    if (op->is_foreign && mti_device_can(p->lane->device, MTI_CAP_NATIVE)) {
        return mti_queue_adopt(queue, NULL);
    }
    if (queue->submitted != first) return MANTA_OK;
    if (!op->enqueued && mti_task_has_results(op->run.record->def)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "its body enqueued nothing on device %s: no launch, and it did not ask for "
                        "its stream",
                        p->lane->device->name);
    }
    return mti_queue_empty(queue, MTI_OP_NONE, NULL);
}

// All that goes to the queue: waits, copies, the body's work.
static manta_status_t place_task(place_t *p)
{
    mti_record_t *t = p->op->run.record;
    manta_status_t status = place_waits(p);
    if (status == MANTA_OK) status = place_small(p);
    if (status != MANTA_OK) return status;
    manta_buffer_t *lists = p->op->run.buffers + mti_task_buffer_count(t->def);
    status = mti_params_fill(&p->op->run, lists, place_argument, p);
    if (status != MANTA_OK) return status;
    uint64_t first = p->queue->queue->submitted;
    status = place_body(p);
    return status == MANTA_OK ? place_number(p, first) : status;
}

// The device was lost while |op| was placed. If nothing of it has begun it goes elsewhere; false: it has.
static bool place_elsewhere(place_t *p)
{
    mti_op_t *op = p->op;
    if (!p->lane->failure) mti_lane_poll(p->lane, p->ctx); // it says so from now on
    if (!p->lane->failure || p->begun || op->run.cause) return false;
    for (uint32_t i = 0; i < op->run.record->result_count; i++)
        mti_object_storage_free(p->ctx, op->run.results[i]);
    manta_error_release(op->run.error);
    op->run.error = NULL;
    op->run.lane = NULL;
    op->queue = NULL;
    op->enqueued = false;
    mti_op_free_blocks(p->lane->lanes, op);
    mti_recover_pause(p->ctx, op->run.record);
    mti_lane_reroute(p->lane, p->ctx, op);
    return true;
}

manta_status_t mti_lane_place(mti_lane_t *lane, mti_ctx_t *ctx, mti_op_t *op)
{
    place_t p = {.lane = lane, .ctx = ctx, .op = op};
    mti_record_t *t = op->run.record;
    if (lane->failure) {
        mti_lane_reroute(lane, ctx, op);
        return MANTA_OK;
    }
    mti_lane_bind(lane);
    manta_status_t status = MANTA_OK;
    op->variant = t->def->cuda;
    op->by_host = !t->def->cuda;
    if (op->by_host) op->variant = t->def->cpu;
    op->run.lane = op;
    op->copy_count = 0;
    if (mti_atomic_u64_load_relaxed(&t->claim) & MTI_CLAIM_CANCEL ||
        mti_atomic_u32_load_relaxed(&ctx->rt->cancelling)) {
        status = mti_fail(MANTA_ERR_CANCELLED, "cancelled before it was submitted to %s",
                          lane->device->name);
    }
    for (uint32_t i = 0; i < t->result_count; i++)
        op->run.results[i] = mti_record_result(t, i);
    if (status == MANTA_OK) status = place_operands(&p);
    if (status == MANTA_OK) status = place_queue(&p);
    if (status == MANTA_OK) {
        op->queue = p.queue;
        op->first_seq = p.queue->queue->submitted;
        status = place_task(&p);
    }
    bool submitted = op->queue && op->queue->queue->submitted != op->first_seq;
    if (submitted) op->seq = op->queue->queue->submitted;
    if (submitted && op->order) op->order->last = (mti_fence_t){op->queue->queue, op->seq};
    if (submitted) {
        manta_status_t fences = place_fences(&p);
        if (status == MANTA_OK) status = fences;
    }
    mti_devheap_free(p.small);
    if (p.operands != p.few && p.operands) {
        mti_free(&lane->lanes->allocator, p.operands, t->link_count * sizeof *p.operands);
    }
    if (status == MANTA_NOT_READY && !submitted) return status;
    if (status == MANTA_ERR_DEVICE_LOST && place_elsewhere(&p)) return MANTA_OK;
    if (status != MANTA_OK && !op->run.error && !op->run.cause) {
        status = place_note(&p, status);
        mti_op_set_error(op, status, manta_error_message());
    }
    op->status = status;
    if (!submitted) {
        mti_op_complete(ctx, lane->lanes, op, status);
        return MANTA_OK;
    }
    place_in_flight(&p);
    bool sized = !op->by_host || !mti_task_has_outs(t->def);
    // Another attempt may have other bytes.
    if (status == MANTA_OK && sized && mti_record_is_last_attempt(t)) place_assign(&p);
    // Only now: who follows on a device is linked no more, and does not need the host to see the end.
    if (op_is_watched(op) || p.queue->unrecorded >= RECORD_EVERY) {
        (void)mti_lane_queue_record(p.queue);
    }
    return MANTA_OK;
}
