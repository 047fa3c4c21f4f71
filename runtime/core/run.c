// Running a task and completing it: the long way, for every kind of task.
#include "core/params.h"
#include "core/task_impl.h"

#include <stdio.h>
#include <string.h>

enum { STACK_BUFFERS = 24 };

static manta_status_t run_copy_inout(manta_task_t *run, mti_object_t *from, mti_object_t *to)
{
    size_t size = mti_object_size(from);
    if (!mti_object_storage_alloc(run->ctx, to, size)) {
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for a copy of %zu bytes", size);
    }
    if (size) memcpy(mti_object_data(to), mti_object_data(from), size);
    return MANTA_OK;
}

// The next version of an INOUT argument: in place if this task is the only one that holds it.
static manta_status_t run_inout(manta_task_t *run, mti_object_t *from, mti_object_t *to)
{
    // acquire: pairs with the release of the last other holder, whose reads come first
    uint64_t counts = mti_atomic_u64_load_acquire(&from->counts);
    bool sole = (counts & ~MTI_COUNT_SLOT_MASK) == MTI_COUNT_INTERNAL;
    // While attempts are left it works on a copy.
    if (run->actor && mti_method_of(run->record)->retries != 0) sole = false;
    if (!sole || mti_object_storage(from) != MTI_STORAGE_HEAP ||
        !mti_record_is_last_attempt(run->record)) {
        return run_copy_inout(run, from, to);
    }
    to->u.mem.data = from->u.mem.data;
    mti_object_set(to, mti_object_kind(to), MTI_STORAGE_HEAP, mti_object_size(from));
    mti_object_set(from, mti_object_kind(from), MTI_STORAGE_NONE, 0);
    return MANTA_OK;
}

static manta_status_t run_note(const mti_record_t *t, const manta_param_t *param,
                               manta_status_t code)
{
    return mti_fail_note(code, "task %s, argument %s", mti_record_name(t), param->name);
}

// The bytes of an IN argument; none of one that has failed, which its parameter accepts.
static manta_status_t run_in(const mti_record_t *t, const manta_param_t *param, manta_ref_t ref,
                             manta_buffer_t *out_buffer)
{
    mti_object_t *object = mti_object_held(ref);
    uint64_t head;
    if (MTI_UNLIKELY(t->flags & MTI_RECORD_ACCEPTS) && mti_object_is_closed(object, &head) &&
        head & MTI_HEAD_FAILED) {
        *out_buffer = (manta_buffer_t){NULL, 0};
        return MANTA_OK;
    }
    *out_buffer = (manta_buffer_t){mti_object_data(object), mti_object_size(object)};
    return mti_arg_check_bytes(mti_record_name(t), param, out_buffer->data, out_buffer->size_bytes);
}

// The buffer of one argument, and the next version of an INOUT.
static inline manta_status_t run_argument(void *user, const manta_param_t *param, uint32_t index,
                                          manta_ref_t ref, mti_object_t *result,
                                          manta_buffer_t *out_buffer)
{
    (void)index;
    manta_task_t *run = user;
    manta_status_t status = run_in(run->record, param, ref, out_buffer);
    if (!result || status != MANTA_OK) return status;
    status = run_inout(run, mti_object_held(ref), result);
    *out_buffer = (manta_buffer_t){mti_object_data(result), mti_object_size(result)};
    return status == MANTA_OK ? MANTA_OK : run_note(run->record, param, status);
}

// Memory for one OUT.
manta_status_t mti_run_out(void *user, const manta_param_t *param, mti_object_t *object,
                           size_t size_bytes, manta_buffer_t *out_buffer)
{
    manta_task_t *run = user;
    if (!mti_object_storage_alloc(run->ctx, object, size_bytes)) {
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s, result %s: no memory for %zu bytes",
                        mti_record_name(run->record), param->name, size_bytes);
    }
    *out_buffer = (manta_buffer_t){mti_object_data(object), size_bytes};
    return MANTA_OK;
}

void mti_body_enter(mti_body_t *body, mti_thread_t *thread, manta_task_t *run)
{
    *body = (mti_body_t){thread->ctx, thread->epoch, thread->in_callback};
    run->outer = thread->task;
    run->outer_scope_base = thread->scope_base;
    run->outer_scope_mark = thread->scope_mark;
    thread->task = run;
    thread->ctx = run->ctx;
    thread->epoch = 0;
    // A body on a device only enqueues: like a callback it must not wait.
    thread->in_callback = run->lane != NULL;
    thread->scope_base = thread->scope_count;
    thread->scope_mark = thread->scope_count + 1;
}

void mti_body_leave(mti_body_t *body, mti_thread_t *thread, manta_task_t *run)
{
    if (MTI_UNLIKELY(thread->scope_count != thread->scope_base)) {
        mti_scope_unwind(thread, thread->scope_base);
    }
    thread->scope_base = run->outer_scope_base;
    thread->scope_mark = run->outer_scope_mark;
    thread->task = run->outer;
    thread->ctx = body->ctx;
    thread->epoch = body->epoch;
    thread->in_callback = body->in_callback;
}

void mti_callback_enter(mti_callback_t *callback, mti_thread_t *thread, mti_ctx_t *ctx)
{
    callback->task = thread->task;
    callback->outer = (mti_body_t){thread->ctx, thread->epoch, thread->in_callback};
    thread->in_callback = true;
    thread->task = NULL;
    thread->ctx = ctx;
    thread->epoch = 0;
    manta_scope_enter(&callback->scope);
}

void mti_callback_leave(mti_callback_t *callback, mti_thread_t *thread)
{
    manta_scope_leave(&callback->scope);
    thread->in_callback = callback->outer.in_callback;
    thread->task = callback->task;
    thread->ctx = callback->outer.ctx;
    thread->epoch = callback->outer.epoch;
}

static manta_status_t run_body(manta_task_t *run)
{
    mti_record_t *t = run->record;
    mti_thread_t *thread = mti_thread_tls;
    manta_call_t call = {.task = run,
                         .args = t->args,
                         .buffers = run->buffers,
                         .self = run->actor ? run->actor->state : NULL};
    mti_body_t body;
    mti_body_enter(&body, thread, run);
    manta_status_t status = MANTA_OK;
    if (plan_results(t->def->plan)) {
        status = mti_params_outs(run, &call, t->def->cpu, mti_run_out, run);
    }
    if (MTI_LIKELY(status == MANTA_OK)) {
        run->in_body = true;
        if (MTI_UNLIKELY(run->ctx->rt->measure_busy)) {
            int64_t begin = mti_clock_ns();
            status = t->def->cpu->invoke(&call);
            // Time in nested bodies is theirs as well; only the outermost counts.
            if (!run->outer) {
                mti_atomic_u64_owner_add(&run->ctx->busy_ns, (uint64_t)(mti_clock_ns() - begin));
            }
        } else {
            status = t->def->cpu->invoke(&call);
        }
        if (MTI_UNLIKELY(run->blocking)) manta_blocking_end(run);
    }
    mti_body_leave(&body, thread, run);
    return status;
}

void mti_record_release_args(mti_ctx_t *ctx, mti_record_t *t)
{
    mti_arg_iter_t iter = {.t = t};
    for (manta_ref_t ref; mti_arg_next(&iter, &ref);) {
        mti_object_release(ctx, mti_object_held(ref), MTI_COUNT_INTERNAL);
    }
}

manta_error_t *mti_task_error(manta_task_t *run, manta_status_t status)
{
    manta_error_t *error = run->error;
    if (error && manta_error_code(error) == status) {
        run->error = NULL;
        return error;
    }
    if (status < MANTA_ERR_INVALID_ARGUMENT && status > 0) {
        // "Not ready" of a result would read as a state of the wait.
        return mti_error_create(MANTA_ERR_INVALID_ARGUMENT, MANTA_SCOPE_TASK,
                                mti_record_name(run->record), "", mti_record_attempt(run->record),
                                "the body returned a code that is no failure", NULL);
    }
    char place[32];
    mti_task_place(run, place, sizeof place);
    const mti_record_t *t = run->record;
    const char *text = status == MANTA_ERR_TIMEOUT ? mti_status_text(status)
                       : run->in_body              ? ""
                                                   : manta_error_message();
    return mti_error_create(status, MANTA_SCOPE_TASK, mti_record_name(t), place,
                            mti_record_attempt(t), text, t->cold ? t->cold->first_error : NULL);
}

// Waits for the ref that the body forwarded to; the record lives on until that is there.
static void run_forward(manta_task_t *run)
{
    mti_record_t *t = run->record;
    mti_ctx_t *ctx = run->ctx;
    mti_object_t *target = mti_object_held(run->forward); // held since
    mti_object_storage_free(ctx, &t->result);
    mti_record_release_args(ctx, t);
    mti_cold_t *cold = t->cold;
    bool timed = cold && cold->has_time; // the deadline counts until the result is there
    if (timed) t->cold = NULL;
    mti_record_free_room(ctx, t);
    mti_record_set_flags(t, mti_record_flags(t) & MTI_RECORD_PARENT);
    t->cold = timed ? cold : NULL;
    t->link_count = 0;
    t->args = t->inline_args;
    t->result.u.mem.parent = target;
    uint64_t claim = mti_atomic_u64_load_relaxed(&t->claim);
    uint64_t forwarded;
    do {
        forwarded = (claim & ~(uint64_t)0xff) | MTI_TASK_FORWARDED;
    } while (!mti_atomic_u64_cas_acq_rel(&t->claim, &claim, forwarded));
    uint64_t *cell = (uint64_t *)(void *)t->inline_args;
    if (mti_object_await(ctx, target, cell, MTI_LINK_FORWARD)) return;
    mti_forward_finish(ctx, t); // closed already: as if the link had fired
}

void mti_run_cancelled_late(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, uint16_t flags)
{
    uint64_t done = mti_claim_make(gen, 0, MTI_TASK_DONE);
    if (MTI_LIKELY(!(flags & MTI_RECORD_PARENT)) ||
        !(mti_atomic_u64_load_acquire(&t->result.head) & MTI_HEAD_CHILDREN) ||
        mti_atomic_u64_load_relaxed(&t->claim) != done) {
        return;
    }
    mti_atomic_u64_store_release(&t->claim, done | MTI_CLAIM_CANCEL | MTI_CLAIM_CHILDREN);
    mti_cancel_keep(ctx, t);
}

void mti_task_settle(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen)
{
    uint64_t done = mti_claim_make(gen, 0, MTI_TASK_DONE);
    if (MTI_UNLIKELY(mti_record_flags(t) & MTI_RECORD_PARENT)) {
        uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
        if (claim & MTI_CLAIM_CHILDREN) {
            mti_object_pin_open(&t->result); // so that the slot stays until the children know
            mti_atomic_u64_store_release(&t->claim, done | MTI_CLAIM_CANCEL | MTI_CLAIM_CHILDREN);
            mti_cancel_keep(ctx, t);
            mti_object_release(ctx, &t->result, MTI_COUNT_INTERNAL);
            return;
        }
    }
    // Cancel sets a flag in the same word; it looks at the state no more once it reads DONE.
    mti_atomic_u64_store_release(&t->claim, done);
}

// Fails the results with the body's error, which the caller closes then.
static void run_store_error(manta_task_t *run, manta_status_t status)
{
    mti_record_t *t = run->record;
    manta_error_t *error = NULL;
    if (run->cause) {
        uint64_t head;
        (void)mti_object_is_closed(run->cause, &head);
        error = (manta_error_t *)manta_error_retain(mti_object_error(run->cause, head));
    } else {
        error = mti_task_error(run, status);
    }
    for (uint32_t i = 0; i < t->result_count; i++) {
        mti_object_t *object = mti_record_result(t, i);
        if (i) manta_error_retain(error);
        if (run->cause) {
            (void)mti_atomic_u64_fetch_add_relaxed(&run->cause->counts, MTI_COUNT_INTERNAL);
        }
        uint32_t argument = run->cause ? run->cause_argument : 0;
        if (mti_tier_fail(object, error, run->cause, argument)) continue;
        mti_object_storage_free(run->ctx, object);
        object->u.fail.error = error;
        object->u.fail.cause = run->cause;
        mti_object_set(object, mti_object_kind(object), MTI_STORAGE_NONE, argument);
    }
}

void mti_task_finish_several(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen)
{
    // The counts are those of fail_several, which kept the buffers for the body.
    for (uint32_t i = 1; i < t->result_count; i++)
        mti_object_release(ctx, mti_record_result(t, i), MTI_COUNT_INTERNAL);
    mti_record_free_room(ctx, t);
    t->cold = NULL;
    mti_task_settle(ctx, t, gen);
    mti_object_release(ctx, &t->result, MTI_COUNT_INTERNAL + MTI_COUNT_SLOT);
}

// Completes a task with several results. Who takes RUNNING away closes all of them: either this one, or
// who cancelled, whose work may still be going on.
// Gives back whether the task is complete; else the canceller sees to that.
static bool run_complete_several(manta_task_t *run, manta_status_t status, uint64_t *out_next)
{
    mti_record_t *t = run->record;
    mti_ctx_t *ctx = run->ctx;
    uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
    while (!(claim & MTI_CLAIM_CANCEL)) {
        uint64_t done = mti_claim_make(gen, 0, MTI_TASK_DONE);
        if (!mti_atomic_u64_cas_acq_rel(&t->claim, &claim, done)) continue;
        if (status != MANTA_OK) run_store_error(run, status);
        uint64_t bits = MTI_HEAD_CLOSED | (status == MANTA_OK ? 0 : MTI_HEAD_FAILED);
        for (uint32_t i = 0; i < t->result_count; i++)
            (void)mti_object_close(ctx, mti_record_result(t, i), bits, out_next);
        mti_record_free_room(ctx, t);
        t->cold = NULL;
        mti_object_release(ctx, &t->result, MTI_COUNT_SLOT); // the record's own
        return true;
    }
    while (claim & MTI_CLAIM_CLOSING) {
        // release: what this thread did with the record; pairs with the acquire in fail_several
        if (mti_atomic_u64_cas_acq_rel(&t->claim, &claim, claim | MTI_CLAIM_RETURNED)) return false;
    }
    mti_task_finish_several(ctx, t, gen);
    return true;
}

static void run_complete_one(manta_task_t *run, manta_status_t status, uint64_t *out_next)
{
    mti_record_t *t = run->record;
    mti_ctx_t *ctx = run->ctx;
    mti_object_t *result = &t->result;
    uint32_t gen = mti_atomic_u32_load_relaxed(&result->gen);
    uint16_t flags = mti_record_flags(t);
    if (MTI_UNLIKELY(status != MANTA_OK)) run_store_error(run, status);
    if (MTI_UNLIKELY(flags & MTI_RECORD_OVERFLOW || t->cold)) {
        mti_record_free_room(ctx, t);
        t->cold = NULL;
    }
    mti_task_settle(ctx, t, gen);
    uint64_t bits = MTI_HEAD_CLOSED | (status == MANTA_OK ? 0 : MTI_HEAD_FAILED);
    if (MTI_LIKELY(mti_object_close(ctx, result, bits, out_next))) return;
    // Cancelled while it ran: the result is dropped, and the canceller's count is ours.
    // One on a device keeps it until the object goes.
    if (status != MANTA_OK && mti_object_storage(result) != MTI_STORAGE_TIERED) {
        manta_error_release(result->u.fail.error);
    }
    mti_run_cancelled_late(ctx, t, gen, flags);
    mti_object_release(ctx, result, MTI_COUNT_INTERNAL);
}

static void run_complete(manta_task_t *run, manta_status_t status, uint64_t *out_next)
{
    mti_record_t *t = run->record;
    mti_ctx_t *ctx = run->ctx;
    const manta_task_def_t *def = t->def;
    bool complete = true;
    // An argument, which may have no other holder: its error is taken over after the arguments have gone.
    mti_object_t *cause = run->cause;
    if (MTI_UNLIKELY(cause != NULL))
        (void)mti_atomic_u64_fetch_add_relaxed(&cause->counts, MTI_COUNT_INTERNAL);
    if (MTI_UNLIKELY(status != MANTA_OK)) mti_atomic_u64_owner_add(&ctx->failed, 1);
    if (t->link_count) mti_record_release_args(ctx, t);
    if (MTI_LIKELY(t->result_count == 1)) {
        run_complete_one(run, status, out_next);
    } else {
        complete = run_complete_several(run, status, out_next);
    }
    if (MTI_UNLIKELY(run->error != NULL)) manta_error_release(run->error);
    if (MTI_UNLIKELY(cause != NULL)) mti_object_release(ctx, cause, MTI_COUNT_INTERNAL);
    if (MTI_LIKELY(complete)) mti_task_count_completed(ctx, def);
}

void mti_run_finish(manta_task_t *run, manta_status_t status, uint64_t *out_next)
{
    mti_record_t *t = run->record;
    if (MTI_UNLIKELY(t->cold != NULL)) status = mti_recover_end(run->ctx, t, status);
    if (MTI_UNLIKELY(run->actor && status != MANTA_OK) && mti_actor_method_failed(run, &status)) {
        for (uint32_t i = 0; i < t->result_count; i++)
            mti_object_storage_free(run->ctx, mti_record_result(t, i));
        if (run->error) manta_error_release(run->error);
        if (run->forward.id) {
            mti_object_release(run->ctx, mti_object_held(run->forward), MTI_COUNT_INTERNAL);
        }
        mti_actor_put_back(run->ctx, run->actor, t);
        return;
    }
    // Its children would not find what cancels them any more.
    if (MTI_UNLIKELY(mti_record_flags(t) & MTI_RECORD_PARENT) &&
        mti_cancel_is_stale(run->ctx->rt, t)) {
        (void)mti_cancel_look(run->ctx, t);
    }
    if (MTI_UNLIKELY(run->forward.id != 0)) {
        if (status == MANTA_OK) {
            if (run->error) manta_error_release(run->error);
            run_forward(run);
            return;
        }
        mti_object_release(run->ctx, mti_object_held(run->forward), MTI_COUNT_INTERNAL);
    }
    if (MTI_UNLIKELY(status != MANTA_OK) && mti_recover_retry(run, status)) return;
    run_complete(run, status, out_next);
}

void mti_task_complete(manta_task_t *run, manta_status_t status)
{
    mti_run_finish(run, status, NULL);
}

void mti_run_general(mti_ctx_t *ctx, mti_record_t *t, uint64_t *out_next)
{
    manta_buffer_t stack_buffers[STACK_BUFFERS];
    mti_object_t *stack_results[STACK_BUFFERS];
    manta_task_t run = {
        .record = t, .ctx = ctx, .buffers = stack_buffers, .results = stack_results};
    if (t->flags & MTI_RECORD_METHOD) run.actor = mti_method_actor(t);
    manta_status_t status = MANTA_OK;
    uint64_t plan = t->def->plan;
    uint32_t buffers = plan_buffers(plan), objects = t->result_count;
    size_t room_bytes = 0;
    void *room = NULL;
    if (MTI_UNLIKELY(buffers > STACK_BUFFERS || objects > STACK_BUFFERS || plan & PLAN_LISTS)) {
        room_bytes =
            (buffers + t->link_count) * sizeof(manta_buffer_t) + objects * sizeof(mti_object_t *);
        room = mti_heap_alloc(&ctx->heap, room_bytes);
        if (room) {
            run.buffers = room;
            run.results = (mti_object_t **)(void *)(run.buffers + buffers + t->link_count);
        } else {
            status = mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s: no memory for %u buffers",
                              mti_record_name(t), buffers);
        }
    }
    if (MTI_UNLIKELY(mti_cancel_is_stale(ctx->rt, t)) && mti_cancel_due(ctx->rt, t)) {
        status = mti_fail(MANTA_ERR_CANCELLED, mti_atomic_u32_load_relaxed(&ctx->rt->cancelling)
                                                   ? "the runtime is shutting down"
                                                   : "cancelled with the task that submitted it");
    }
    if (MTI_LIKELY(status == MANTA_OK)) {
        for (uint32_t i = 0; i < objects; i++)
            run.results[i] = mti_record_result(t, i);
        if (buffers) {
            status = mti_params_fill(&run, run.buffers + buffers, run_argument, &run);
        }
    }
    if (MTI_UNLIKELY(t->flags & MTI_RECORD_RANGE) && status == MANTA_OK) {
        mti_recover_begin(ctx, t);
        bool started = mti_bulk_run(&run, room ? room_bytes / sizeof(manta_buffer_t) : buffers);
        if (started) {
            if (room) mti_heap_free(&ctx->heap, room, room_bytes);
            return;
        }
        status = MANTA_ERR_OUT_OF_MEMORY;
    } else if (MTI_LIKELY(status == MANTA_OK)) {
        if (MTI_UNLIKELY(t->cold != NULL)) mti_recover_begin(ctx, t);
        status = run_body(&run);
    }
    if (MTI_UNLIKELY(room != NULL)) mti_heap_free(&ctx->heap, room, room_bytes);
    mti_run_finish(&run, status, out_next);
}
