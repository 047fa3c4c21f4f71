// Tasks on the hot path: the short ways through submit and run, in one file so that they stay inlined.
// What is rare goes to submit.c and run.c.
#include "core/task_impl.h"

#include <string.h>

// ---- submit ----------------------------------------------------------------------------------------

// Copies an argument image of a plain task; those are short, and multiples of 8 mostly.
static inline void copy_image(unsigned char *to, const void *from, size_t bytes)
{
    if (MTI_LIKELY(bytes == 8)) {
        memcpy(to, from, 8);
    } else if (bytes == 16) {
        memcpy(to, from, 16);
    } else if (bytes) {
        memcpy(to, from, bytes);
    }
}

// Acquires the refs of a plain call. On failure everything is given back; the long way says what was
// wrong.
static inline bool plain_acquire(mti_ctx_t *ctx, const manta_task_def_t *def, uint32_t refs,
                                 const void *args, mti_object_t **out_objects)
{
    uint32_t n = 0;
    for (const manta_param_t *param = def->params; n < refs; param++) {
        if (param->kind != MANTA_PARAM_IN) continue;
        manta_ref_t ref;
        memcpy(&ref, (const char *)args + param->offset, sizeof ref);
        mti_object_t *object = mti_ref_acquire(ref, MTI_COUNT_INTERNAL);
        if (MTI_UNLIKELY(!object)) break;
        out_objects[n++] = object;
        uint64_t head;
        bool fits = mti_object_runtime(object) == ctx->rt->index && object->dtype == param->dtype;
        if (fits && mti_object_is_closed(object, &head)) {
            fits = !(head & MTI_HEAD_FAILED) && mti_object_storage(object) != MTI_STORAGE_TIERED &&
                   bytes_fit(param, mti_object_data(object), mti_object_size(object));
        }
        if (MTI_UNLIKELY(!fits)) break;
        if (n == refs) return true;
    }
    while (n)
        mti_object_release(ctx, out_objects[--n], MTI_COUNT_INTERNAL);
    return false;
}

// Links a plain record to its arguments and lets it go.
static inline void plain_publish(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, uint32_t refs,
                                 mti_object_t **objects)
{
    uint64_t *cells = (uint64_t *)(void *)(t->inline_args + MTI_RECORD_INLINE) - 1;
    uint32_t closed = 0;
    mti_object_t *failed = NULL;
    uint32_t argument = 0;
    uint64_t head;
    for (uint32_t i = 0; i < refs; i++) {
        // It may have closed since plain_acquire, with its bytes on a device only.
        bool here = mti_object_is_closed(objects[i], &head) &&
                    MTI_LIKELY(mti_object_storage(objects[i]) != MTI_STORAGE_TIERED);
        if (!here && mti_record_link(ctx, t, objects[i], cells - i, MTI_LINK_INLINE, &head)) {
            continue;
        }
        closed++;
        if (MTI_UNLIKELY(head & MTI_HEAD_FAILED) && !failed) {
            failed = objects[i];
            argument = i;
        }
    }
    publish_linked(ctx, t, gen, refs + 1, closed, failed, argument);
}

// Whether all of them are closed, none has failed, and their bytes are here.
static inline bool plain_all_closed(mti_object_t **objects, uint32_t refs)
{
    uint64_t head;
    for (uint32_t i = 0; i < refs; i++) {
        if (!mti_object_is_closed(objects[i], &head) || head & MTI_HEAD_FAILED ||
            mti_object_storage(objects[i]) == MTI_STORAGE_TIERED) {
            return false;
        }
    }
    return true;
}

// The short way: a plain task, or a call of a method with ready arguments, in the current runtime, with
// everything at hand. False: go the long way, nothing has happened.
static inline __attribute__((always_inline)) bool
submit_plain(mti_thread_t *thread, manta_task_def_t *def, uint64_t plan, const void *args,
             manta_ref_t *out_results, size_t result_count, manta_actor_t handle,
             mti_actor_t *create)
{
    bool is_method = handle.id != 0;
    mti_actor_t *actor = create; // has its count already
    mti_ctx_t *ctx = thread->ctx;
    bool current = ctx && (thread->epoch == 0 ||
                           thread->epoch == mti_atomic_u32_load_acquire(&mti_default_epoch));
    if (MTI_UNLIKELY(!current)) return false;
    mti_thread_enter(thread);
    mti_slot_t *slot = ctx->table.free;
    bool ready = mti_atomic_u32_load_acquire(&ctx->rt->state) == MTI_RUNTIME_RUNNING && slot &&
                 (!thread->scope_mark || thread->scope_count < thread->scope_capacity) &&
                 !ctx->rt->submits_long;
    if (is_method && ready && create) {
        // Of a restarted actor's arguments the actor alone has a count: not here.
        ready = mti_atomic_u32_load_relaxed(&create->life) == MTI_LIFE_ALIVE &&
                mti_object_runtime(&create->object) == ctx->rt->index;
    } else if (is_method && ready) {
        ready = !mti_actor_caller_is_held_up(thread) &&
                (actor = mti_actor_begin_quick(ctx, handle, def)) != NULL;
    }
    if (MTI_UNLIKELY(!ready)) {
        mti_thread_leave(thread);
        return false;
    }
    uint32_t refs = plan_refs(plan);
    mti_object_t *objects[PLAIN_REFS];
    bool acquired = !refs || plain_acquire(ctx, def, refs, args, objects);
    if (is_method && acquired && refs && !plain_all_closed(objects, refs)) {
        for (uint32_t i = 0; i < refs; i++)
            mti_object_release(ctx, objects[i], MTI_COUNT_INTERNAL);
        acquired = false;
    }
    if (MTI_UNLIKELY(!acquired)) {
        if (is_method && !create) mti_actor_calls_gone(ctx, actor, 1);
        mti_thread_leave(thread);
        return false;
    }
    slot = ctx->table.free; // acquiring may have freed one
    mti_table_pop(&ctx->table, slot);
    mti_record_t *t = (mti_record_t *)(void *)slot;
    uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    uint32_t first = (uint32_t)(plan >> PLAN_FIRST_SHIFT);
    mti_object_set(&t->result, MTI_OBJECT_TASK, MTI_STORAGE_NONE, 0);
    mti_object_set_runtime(&t->result, ctx->rt->index);
    t->result.dtype = first ? def->params[first - 1].dtype : (manta_dtype_t)MANTA_UNTYPED;
    t->result.producer = t->result.slot;
    mti_atomic_u32_store_relaxed(&t->result.scope_hint, 0);
    __atomic_store_n(&t->def, def, __ATOMIC_RELAXED);
    mti_atomic_u32_store_relaxed(&t->deps, is_method ? 1 : refs ? refs + 1 : 0);
    t->link_count = (uint16_t)refs;
    __atomic_store_n(&t->result_count, 1, __ATOMIC_RELAXED);
    record_set_parent(create ? NULL : thread->task, ctx, t);
    t->cold = NULL;
    t->args = t->inline_args;
    t->args_bytes = (uint16_t)def->args_bytes;
    uint16_t flags = create ? MTI_RECORD_METHOD | MTI_RECORD_CREATE : MTI_RECORD_METHOD;
    mti_record_set_flags(t, is_method ? flags : 0);
    copy_image(t->inline_args, args, def->args_bytes);
    if (is_method) {
        mti_method_t *method = mti_method_of(t);
        method->actor = actor->object.slot;
        method->group = 0;
        method->attempt = 0;
        method->retries = create ? 0 : (int16_t)actor->task_retries;
    }
    manta_ref_t ref = mti_ref_make(t->result.slot, gen);
    bool held = result_count != 0;
    mti_atomic_u64_store_relaxed(&t->result.head, held ? 0 : MTI_HEAD_ORPHAN);
    // release: a stale lookup that gets a count from here sees a whole object
    mti_atomic_u64_store_release(&t->result.counts, held ? MTI_COUNT_USER : 0);
    if (held) {
        mti_scope_add(thread, &t->result, ref);
        *out_results = ref;
    }
    mti_atomic_u64_owner_add(&ctx->submitted, 1);
    // release: publishes the record to who sweeps through all of them (cancel.c), and may cancel it
    mti_atomic_u64_store_release(&t->claim, mti_claim_make(gen, 0, MTI_TASK_QUEUED));
    if (create) {
        mti_actor_create_ready(ctx, create, t);
    } else if (is_method) {
        mti_actor_put(ctx, actor, t);
    } else if (refs) {
        plain_publish(ctx, t, gen, refs, objects);
    } else if (MTI_UNLIKELY(!mti_sched_push(&ctx->sched, ref.id))) {
        mti_record_ready(ctx, mti_ready_of(t));
    }
    mti_thread_leave(thread);
    return true;
}

manta_status_t mti_task_submit(manta_task_def_t *def, const manta_task_options_t *options,
                               const void *args, size_t args_bytes, manta_ref_t *out_results,
                               size_t result_count, bool always_take)
{
    uint64_t plan = __atomic_load_n(&def->plan, __ATOMIC_RELAXED);
    if (MTI_LIKELY(plan & PLAN_PLAIN && !options && args_bytes == def->args_bytes &&
                   result_count <= 1 && mti_thread_tls && !def->owner)) {
        if (MTI_LIKELY(submit_plain(mti_thread_tls, def, plan, args, out_results, result_count,
                                    (manta_actor_t){0}, NULL))) {
            return MANTA_OK;
        }
    }
    submit_t s = {.def = def, .options = options};
    return mti_submit_general(s, args, args_bytes, out_results, result_count, always_take);
}

manta_status_t mti_task_submit_method(manta_actor_t handle, mti_actor_t *create,
                                      manta_task_def_t *def, const manta_task_options_t *options,
                                      const void *args, size_t args_bytes, manta_ref_t *out_results,
                                      size_t result_count, bool always_take)
{
    uint64_t plan = __atomic_load_n(&def->plan, __ATOMIC_RELAXED);
    if (MTI_LIKELY(plan & PLAN_PLAIN && !options && args_bytes == def->args_bytes &&
                   result_count <= 1 && mti_thread_tls && def->owner && handle.id)) {
        bool done = create ? submit_plain(mti_thread_tls, def, plan, args, out_results,
                                          result_count, handle, create)
                           : submit_plain(mti_thread_tls, def, plan, args, out_results,
                                          result_count, handle, NULL);
        if (MTI_LIKELY(done)) return MANTA_OK;
    }
    submit_t s = {.def = def,
                  .options = options,
                  .handle = handle,
                  .actor = create,
                  .is_create = create != NULL};
    return mti_submit_general(s, args, args_bytes, out_results, result_count, always_take);
}

// ---- run -------------------------------------------------------------------------------------------

enum { CHAIN_MAX = 128 };

// The short way: a plain task. Everything that is rare goes to run_complete.
static inline __attribute__((always_inline)) void run_plain(mti_ctx_t *ctx, mti_record_t *t,
                                                            uint64_t plan, uint64_t *out_next)
{
    mti_thread_t *thread = mti_thread_tls;
    const manta_task_def_t *def = t->def;
    mti_object_t *result = &t->result;
    manta_buffer_t buffers[PLAIN_BUFFERS];
    mti_object_t *objects[PLAIN_REFS];
    manta_task_t run;
    run.record = t;
    run.ctx = ctx;
    run.outer = thread->task;
    run.actor = MTI_UNLIKELY(t->flags & MTI_RECORD_METHOD) ? mti_method_actor(t) : NULL;
    run.buffers = buffers;
    run.results = &result;
    run.lane = NULL;
    run.error = NULL;
    run.cause = NULL;
    run.forward.id = 0;
    run.index = 0;
    run.blocking = false;
    run.in_body = false;
    manta_call_t call = {.task = &run,
                         .args = t->inline_args,
                         .buffers = buffers,
                         .self = run.actor ? run.actor->state : NULL};
    manta_status_t status = MANTA_OK;
    manta_buffer_t *out = buffers;
    uint32_t refs = t->link_count;
    if (refs) {
        uint32_t n = 0;
        manta_buffer_t *buffer = buffers;
        for (const manta_param_t *param = def->params, *end = param + def->param_count; param < end;
             param++) {
            if (param->kind == MANTA_PARAM_OUT) out = buffer++;
            if (param->kind != MANTA_PARAM_IN) continue;
            manta_ref_t ref;
            memcpy(&ref, t->inline_args + param->offset, sizeof ref);
            mti_object_t *object = objects[n++] = mti_object_held(ref);
            *buffer = (manta_buffer_t){mti_object_data(object), mti_object_size(object)};
            if (MTI_UNLIKELY(!bytes_fit(param, buffer->data, buffer->size_bytes)) &&
                status == MANTA_OK) {
                status = mti_arg_check_bytes(mti_record_name(t), param, buffer->data,
                                             buffer->size_bytes);
            }
            buffer++;
        }
    }
    size_t outer_base = thread->scope_base, outer_mark = thread->scope_mark;
    uint32_t outer_epoch = thread->epoch;
    thread->task = &run;
    thread->epoch = 0; // this runtime, also if it is no longer the default one
    thread->scope_base = thread->scope_count;
    thread->scope_mark = thread->scope_count + 1;
    if (plan_results(plan) && MTI_LIKELY(status == MANTA_OK)) {
        size_t size = 0;
        out->data = NULL;
        out->size_bytes = 0;
        if (def->cpu->sizes) status = def->cpu->sizes(&call, &size);
        if (MTI_LIKELY(size <= MTI_INLINE_BYTES)) {
            mti_object_set(result, MTI_OBJECT_TASK, MTI_STORAGE_INLINE, size);
            out->data = size ? result->u.bytes : NULL;
            out->size_bytes = size;
        } else if (status == MANTA_OK) {
            uint32_t first = (uint32_t)(plan >> PLAN_FIRST_SHIFT) - 1;
            status = mti_run_out(&run, &def->params[first], result, size, out);
        }
    }
    if (MTI_LIKELY(status == MANTA_OK)) {
        run.in_body = true;
        status = def->cpu->invoke(&call);
        if (MTI_UNLIKELY(run.blocking)) manta_blocking_end(&run);
    }
    if (MTI_UNLIKELY(thread->scope_count != thread->scope_base)) {
        mti_scope_unwind(thread, thread->scope_base);
    }
    thread->scope_base = outer_base;
    thread->scope_mark = outer_mark;
    thread->task = run.outer;
    thread->epoch = outer_epoch;
    uint16_t flags = mti_record_flags(t) & MTI_RECORD_PARENT;
    bool told =
        MTI_UNLIKELY(flags) && (mti_cancel_is_stale(ctx->rt, t) ||
                                mti_atomic_u64_load_relaxed(&t->claim) & MTI_CLAIM_CHILDREN);
    if (MTI_UNLIKELY(status != MANTA_OK || run.error || run.forward.id || told)) {
        mti_run_finish(&run, status, out_next);
        return;
    }
    for (uint32_t i = 0; i < refs; i++)
        mti_object_release(ctx, objects[i], MTI_COUNT_INTERNAL);
    uint32_t gen = mti_atomic_u32_load_relaxed(&result->gen);
    mti_atomic_u64_store_release(&t->claim, mti_claim_make(gen, 0, MTI_TASK_DONE));
    if (mti_atomic_u64_load_relaxed(&result->head) == MTI_HEAD_ORPHAN &&
        mti_object_storage(result) <= MTI_STORAGE_INLINE) {
        // Without a count nobody can come any more, so there is nobody to close it for.
        mti_atomic_u64_store_relaxed(&result->head, MTI_HEAD_CLOSED);
        mti_table_free(&ctx->table, (mti_slot_t *)(void *)t);
    } else if (MTI_UNLIKELY(!mti_object_close_quick(ctx, result, MTI_HEAD_CLOSED, out_next))) {
        mti_run_cancelled_late(ctx, t, gen, flags);
        mti_object_release(ctx, result, MTI_COUNT_INTERNAL); // cancelled while it ran
    }
    mti_atomic_u64_owner_add(&ctx->completed, 1);
}

static void run_task(mti_ctx_t *ctx, mti_record_t *t, uint64_t *out_next)
{
    mti_thread_t *self = mti_thread_tls;
    if (MTI_LIKELY(t->def->plan & PLAN_PLAIN &&
                   !((t->flags & ~(MTI_RECORD_METHOD | MTI_RECORD_CREATE)) | (t->cold != NULL)) &&
                   self->ctx == ctx && !self->in_callback && !ctx->rt->runs_long &&
                   !mti_cancel_is_stale(ctx->rt, t))) {
        run_plain(ctx, t, t->def->plan, out_next);
        return;
    }
    mti_run_general(ctx, t, out_next);
}

void mti_task_run_method(mti_ctx_t *ctx, mti_record_t *t, uint64_t *out_next)
{
    run_task(ctx, t, out_next);
}

void mti_task_run_alone(mti_ctx_t *ctx, mti_record_t *t)
{
    if (MTI_UNLIKELY(t->flags & MTI_RECORD_METHOD)) {
        mti_actor_run_handed_out(ctx, t, false);
    } else {
        run_task(ctx, t, NULL);
    }
}

// Runs |next|, the first successor of a task that has run, and those behind it. Not inlined: most tasks
// have none, and shall not pay for its registers.
static __attribute__((noinline)) void run_chain(mti_ctx_t *ctx, uint64_t next)
{
    for (int length = 0; next != 0; length++) {
        mti_record_t *t = mti_record_at((uint32_t)next);
        // A long chain comes back to the worker's loop now and then: seats, stop, other queues.
        bool look_up = length == CHAIN_MAX || mti_sched_has_urgent(ctx->rt->sched);
        if (MTI_UNLIKELY(look_up) && mti_sched_push(&ctx->sched, next)) return;
        if (!mti_task_claim(ctx, t, (uint32_t)(next >> 32))) return;
        if (MTI_UNLIKELY(t->flags & MTI_RECORD_METHOD)) {
            mti_actor_run_handed_out(ctx, t, true);
            return;
        }
        next = 0;
        run_task(ctx, t, &next);
    }
}

void mti_task_run_claimed(mti_ctx_t *ctx, mti_record_t *t)
{
    if (MTI_UNLIKELY(t->flags & MTI_RECORD_METHOD)) {
        mti_actor_run_handed_out(ctx, t, true);
        return;
    }
    uint64_t next = 0;
    run_task(ctx, t, &next);
    if (next) run_chain(ctx, next);
}

void mti_task_run_entry(mti_sched_ctx_t *sched_ctx, uint64_t entry)
{
    mti_ctx_t *ctx = (mti_ctx_t *)(void *)sched_ctx;
    if (MTI_UNLIKELY(entry & MTI_ACTOR_ENTRY)) {
        mti_actor_run_entry(ctx, entry & ~MTI_ACTOR_ENTRY);
        return;
    }
    mti_record_t *t = mti_record_at((uint32_t)entry);
    uint32_t gen = (uint32_t)(entry >> 32);
    uint64_t next = mti_deque_peek(&sched_ctx->deque);
    if (next) { // probably stolen along with this one: on its way while this one runs
        char *lines = (char *)mti_record_at((uint32_t)next);
        for (size_t i = 0; i < MTI_SLOT_BYTES; i += 64)
            __builtin_prefetch(lines + i, 1);
    }
    if (MTI_LIKELY(mti_task_claim(ctx, t, gen))) {
        mti_task_run_claimed(ctx, t);
        return;
    }
    // Run by a waiter, or cancelled. In the latter case this may be the last thing that it waits for.
    uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
    if (claim == mti_claim_make(gen, 0, MTI_TASK_CANCELLED) &&
        mti_atomic_u32_load_seq_cst(&t->deps) == 0) {
        mti_task_finish_cancelled(ctx, t, gen);
    }
}
