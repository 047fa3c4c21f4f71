// Operations: what is known of a task from its routing to its end.
//
// A task in flight holds its arguments. It completes when its queue has passed it *and* its arguments are closed:
// it may have been placed behind a task that has not completed yet, and failed after all.
#include "core/actor.h"
#include "core/lane_impl.h"

__thread mti_op_t *mti_op_current __attribute__((tls_model("initial-exec")));

void mti_op_set_error(mti_op_t *op, manta_status_t status, const char *text)
{
    manta_scope_kind_t scope =
        status == MANTA_ERR_DEVICE_LOST ? MANTA_SCOPE_DEVICE : MANTA_SCOPE_TASK;
    const char *place = op->lane ? op->lane->device->name : "";
    manta_error_release(op->run.error);
    op->run.error = mti_error_create(status, scope, mti_record_name(op->run.record), place,
                                     mti_record_attempt(op->run.record), text, NULL);
}

bool mti_op_claim(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen)
{
    uint64_t queued = mti_claim_make(gen, 0, MTI_TASK_QUEUED);
    // No thread stands behind it while it runs: no waits of its own, nobody to wake.
    if (mti_atomic_u64_cas_acq_rel(&t->claim, &queued,
                                   mti_claim_make(gen, MTI_CLAIM_NO_CTX, MTI_TASK_RUNNING))) {
        return true;
    }
    if (queued == mti_claim_make(gen, 0, MTI_TASK_CANCELLED) &&
        mti_atomic_u32_load_seq_cst(&t->deps) == 0) {
        mti_task_finish_cancelled(ctx, t, gen);
    }
    return false;
}

// Completes the task of |run|, and if it is a method, tells its actor.
static void op_end(manta_task_t *run, manta_status_t status)
{
    mti_actor_t *actor = run->actor;
    mti_ctx_t *ctx = run->ctx;
    uint64_t id = mti_ref_of(&run->record->result).id;
    mti_thread_t *thread = mti_thread_tls;
    thread->call_kept = false;
    mti_task_complete(run, status);
    bool kept = thread->call_kept;
    thread->call_kept = false;
    if (actor) mti_actor_lane_over(ctx, actor, id, kept);
}

void mti_op_refuse(mti_ctx_t *ctx, mti_record_t *t)
{
    mti_op_t bare = {0};
    bare.run = (manta_task_t){.record = t, .ctx = ctx, .results = bare.results};
    if (t->flags & MTI_RECORD_METHOD) bare.run.actor = mti_method_actor(t);
    (void)mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s: no memory to place it on a device",
                   mti_record_name(t));
    op_end(&bare.run, MANTA_ERR_OUT_OF_MEMORY);
}

mti_op_t *mti_op_create(mti_lanes_t *lanes, mti_record_t *t)
{
    mti_op_t *op = mti_alloc_zeroed(&lanes->allocator, sizeof *op, 16);
    if (!op) return NULL;
    op->run.record = t;
    if (t->flags & MTI_RECORD_METHOD) op->run.actor = mti_method_actor(t);
    op->run.buffers = op->buffers;
    op->run.results = op->results;
    op->gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    uint32_t buffers = mti_task_buffer_count(t->def);
    if (buffers + t->link_count <= MTI_OP_BUFFERS && t->result_count <= MTI_OP_BUFFERS) return op;
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

void mti_op_destroy(mti_lanes_t *lanes, mti_op_t *op)
{
    mti_lane_expect_no_more(op);
    if (op->room) mti_free(&lanes->allocator, op->room, op->room_bytes);
    mti_free(&lanes->allocator, op, sizeof *op);
}

// Makes the results that outgrew their device memory the host's.
static void op_take_grown(mti_ctx_t *ctx, mti_lanes_t *lanes, mti_op_t *op)
{
    for (mti_op_grown_t *grown; (grown = op->grown) != NULL;) {
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

void mti_op_free_blocks(mti_lanes_t *lanes, mti_op_t *op)
{
    for (mti_block_t *block; (block = op->scratch) != NULL;) {
        op->scratch = block->next;
        mti_lanes_free_block(lanes, block);
    }
    if (op->word_block) mti_lanes_free_block(lanes, op->word_block);
    op->word_block = NULL;
}

// Whether |op|, whose device is lost, could run somewhere else, on what is somewhere else.
static bool op_may_move(mti_lanes_t *lanes, const mti_op_t *op)
{
    mti_record_t *t = op->run.record;
    bool may = t->def->cpu && t->cold->where == MANTA_ANY;
    if (t->cold->where >= manta_gpu(0)) return false;
    for (uint32_t i = 0; i < lanes->count && !may; i++)
        may = mti_lane_can_run(&lanes->lane[i], t);
    mti_arg_iter_t iter = {.t = t};
    for (manta_ref_t ref; may && mti_arg_next(&iter, &ref);) {
        mti_tier_t *tier = mti_object_tier(mti_object_held(ref));
        if (tier) may = mti_tier_lives(lanes, tier);
    }
    return may;
}

// Completes the task of |op|, which is on no list any more.
void mti_op_complete(mti_ctx_t *ctx, mti_lanes_t *lanes, mti_op_t *op, manta_status_t status)
{
    mti_record_t *t = op->run.record;
    op->run.ctx = ctx;
    op->run.lane = NULL;
    if (op->is_reader) {
        mti_arg_iter_t iter = {.t = t};
        for (manta_ref_t ref; mti_arg_next(&iter, &ref);) {
            mti_tier_t *tier = mti_object_tier(mti_object_held(ref));
            if (tier) (void)mti_atomic_u32_fetch_sub_acq_rel(&tier->readers, 1);
        }
    }
    op_take_grown(ctx, lanes, op);
    mti_op_free_blocks(lanes, op);
    bool is_down = op->lane && mti_lane_is_down(op->lane);
    if (status == MANTA_ERR_DEVICE_LOST && is_down && !op->run.actor && !op_may_move(lanes, op))
        mti_recover_give_up(ctx, t);
    op_end(&op->run, status);
    op->run.error = NULL; // taken
    mti_op_destroy(lanes, op);
    if (!ctx->sched.thread) mti_drain_check(ctx);
}

// ---- completing ----------------------------------------------------------------------------------

// An argument of |op| that is still open, or failed (|*out_index|).
static mti_object_t *op_bad_argument(const mti_op_t *op, uint32_t *out_index, bool *out_open)
{
    mti_arg_iter_t iter = {.t = op->run.record};
    manta_ref_t ref;
    *out_open = false;
    for (uint32_t i = 0; mti_arg_next(&iter, &ref); i++) {
        mti_object_t *object = mti_object_held(ref);
        uint64_t head;
        *out_open = !mti_object_is_closed(object, &head);
        *out_index = i;
        bool accepted =
            op->run.record->flags & MTI_RECORD_ACCEPTS && mti_record_accepts(op->run.record, i);
        if (*out_open || (head & MTI_HEAD_FAILED && !accepted)) return object;
    }
    return NULL;
}

static manta_status_t op_word_status(mti_op_t *op)
{
    int32_t word = 0;
    memcpy(&word, op->word_block->ptr, sizeof word);
    if (word == 0) return MANTA_OK;
    manta_status_t code = MANTA_ERR_USER;
    if (word > 0 && word < 1 << 30) code += word;
    char text[64];
    snprintf(text, sizeof text, "its status word on the device is %d", (int)word);
    mti_op_set_error(op, code, text);
    return code;
}

// Completes what |q| is done with, in order. False: nothing.
bool mti_lane_queue_complete(mti_lane_t *lane, mti_ctx_t *ctx, mti_lane_queue_t *q)
{
    bool any = false;
    mti_lane_learn(lane, q);
    while (q->first) {
        mti_op_t *op = q->first;
        if (mti_queue_completed(q->queue) < op->seq && !lane->failure) break;
        uint32_t index = 0;
        bool open;
        mti_object_t *bad = op_bad_argument(op, &index, &open);
        if (bad && open && !lane->failure) break; // its maker is complete any moment now
        q->first = op->next;
        if (!q->first) q->last = NULL;
        q->in_flight--;
        (void)mti_atomic_u32_fetch_sub_acq_rel(&lane->in_flight, 1);
        manta_status_t status = op->status;
        if (lane->failure && status == MANTA_OK && mti_queue_completed(q->queue) < op->seq) {
            status = MANTA_ERR_DEVICE_LOST;
            mti_op_set_error(op, status, "the device was lost while it ran");
        } else if (bad && !open && status == MANTA_OK) {
            op->run.cause = bad;
            op->run.cause_argument = index;
            uint64_t head;
            (void)mti_object_is_closed(bad, &head);
            status = manta_error_code(mti_object_error(bad, head));
        }
        if (status == MANTA_OK && op->word_block) status = op_word_status(op);
        mti_op_complete(ctx, lane->lanes, op, status);
        any = true;
    }
    return any;
}

// |op| fails with |failure|, unless it has failed before: the first one counts.
static void op_failed(mti_op_t *op, const mti_op_failure_t *failure, const char *text)
{
    if (op->status != MANTA_OK) return;
    op->status = failure->code;
    if (!op->run.error || manta_error_code(op->run.error) != failure->code) {
        mti_op_set_error(op, failure->code, text);
    }
}

static bool op_is_behind(const mti_op_t *op, const mti_op_failure_t *failure)
{
    for (uint32_t i = 0; i < op->copy_count; i++) {
        const mti_copies_t *copies = &op->copies[i];
        if ((!copies->queue || copies->queue == failure->queue) && failure->seq > copies->before &&
            failure->seq <= copies->last) {
            return true;
        }
    }
    return false;
}

// A copy to or from the device failed. Tasks that were placed behind it are on a queue still, as it is told of
// failures before it is told that they are done; those that come later look themselves (mti_lane_bring).
static void copy_failure(mti_lane_t *lane, uint32_t index, const mti_op_failure_t *failure)
{
    if (index == MTI_LANE_QUEUE_OUT) {
        for (mti_tier_t *tier = lane->fetching; tier; tier = tier->next)
            if (tier->fetched.seq == failure->seq) tier->fetch_failure = failure->code;
        return;
    }
    lane->failures[lane->failure_count++ % MTI_LANE_FAILURES] =
        (mti_fence_t){failure->queue, failure->seq};
    char text[128];
    snprintf(text, sizeof text, "the copy of an argument to device %s failed: %s",
             lane->device->name, failure->text ? failure->text : "");
    for (uint32_t i = 0; i < MTI_LANE_COMPUTE_QUEUES; i++)
        for (mti_op_t *op = lane->queues[i].first; op; op = op->next)
            if (op_is_behind(op, failure)) op_failed(op, failure, text);
    for (mti_tier_t *tier = lane->fetching; tier; tier = tier->next)
        if (mti_lane_replica_failed(lane, &tier->at[lane->index]))
            tier->fetch_failure = failure->code;
}

// An operation of the lane's failed.
static void queue_failure(mti_lane_t *lane, const mti_op_failure_t *failure)
{
    uint32_t index = mti_lane_queue_index(lane, failure->queue);
    if (index == MTI_LANE_QUEUES) return;
    if (index >= MTI_LANE_COMPUTE_QUEUES) {
        copy_failure(lane, index, failure);
        return;
    }
    for (mti_op_t *op = lane->queues[index].first; op; op = op->next) {
        if (failure->seq <= op->first_seq || failure->seq > op->seq) continue;
        op_failed(op, failure, failure->text ? failure->text : "");
        return;
    }
}

void mti_lane_fail(mti_lane_t *lane, mti_ctx_t *ctx, manta_status_t status, const char *text)
{
    snprintf(lane->failure_text, sizeof lane->failure_text, "%s", text);
    lane->failure = status;
    mti_atomic_u32_store_relaxed(&lane->is_down, 1);
    mti_admit_gpu_lost(ctx);
    if (status == MANTA_ERR_DEVICE_LOST) {
        mti_actors_device_lost(ctx, (uint32_t)(lane - lane->lanes->lane));
    }
}

void mti_lane_poll(mti_lane_t *lane, mti_ctx_t *ctx)
{
    mti_poll_t poll;
    do {
        mti_device_poll(lane->device, &poll);
        for (uint32_t i = 0; i < poll.failure_count; i++) {
            queue_failure(lane, &poll.failures[i]);
            mti_queue_acknowledge(poll.failures[i].queue, poll.failures[i].seq);
        }
    } while (poll.more);
    if (poll.lost && !lane->failure) {
        mti_lane_fail(lane, ctx, MANTA_ERR_DEVICE_LOST, "it is lost");
    }
}
