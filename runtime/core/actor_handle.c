// Handles of actors, and calls through them.
#include "core/actor_impl.h"

#include <string.h>

static bool handle_is_error(manta_actor_t actor)
{
    return mti_ref_is_error((manta_ref_t){actor.id});
}

manta_actor_t mti_actor_give_handle(mti_thread_t *thread, mti_actor_t *actor)
{
    manta_ref_t ref = mti_ref_of(&actor->object);
    mti_scope_add(thread, &actor->object, ref);
    return (manta_actor_t){ref.id};
}

manta_actor_t mti_actor_give_found(mti_thread_t *thread, mti_ctx_t *ctx, mti_actor_t *found,
                                   const manta_actor_def_t *def, const char *name)
{
    if (!def || found->def == def) return mti_actor_give_handle(thread, found);
    manta_status_t status = mti_fail(MANTA_ERR_TYPE_MISMATCH, "actor '%s' is of kind %s, not %s",
                                     name, found->def->name, def->name);
    mti_actor_handle_drop(ctx, found);
    return mti_actor_error(status);
}

void mti_actor_handle_drop(mti_ctx_t *ctx, mti_actor_t *actor)
{
    // The user's count becomes an internal one first, so that the actor stays while we look at it.
    uint64_t change = MTI_COUNT_INTERNAL - MTI_COUNT_USER;
    mti_actor_handle_gone(ctx, actor,
                          mti_atomic_u64_fetch_add_acq_rel(&actor->object.counts, change) + change);
}

void mti_actor_handle_gone(mti_ctx_t *ctx, mti_actor_t *actor, uint64_t counts)
{
    if (mti_count_user(counts) == 0 && mti_atomic_u32_load_acquire(&actor->life) != MTI_LIFE_DEAD) {
        mti_actor_stop(ctx, actor);
    }
    mti_actor_calls_gone(ctx, actor, 1);
}

// Why |actor| takes no calls.
static manta_status_t fail_not_alive(mti_actor_t *actor, const char *what)
{
    mti_mutex_lock(&actor->more->lock);
    uint32_t life = mti_atomic_u32_load_relaxed(&actor->life);
    const manta_error_t *error = manta_error_retain(actor->more->error);
    mti_mutex_unlock(&actor->more->lock);
    manta_status_t code =
        life == MTI_LIFE_RESTARTING ? MANTA_ERR_ACTOR_RESTARTING : MANTA_ERR_ACTOR_DIED;
    (void)mti_fail(code, "%s: %s", what,
                   error                       ? manta_error_text(error)
                   : life == MTI_LIFE_STOPPING ? "the actor takes no more calls, it is ending"
                                               : "the actor has ended");
    manta_error_release((manta_error_t *)error);
    return code;
}

manta_status_t mti_actor_begin_call(mti_thread_t *thread, manta_actor_t handle,
                                    const manta_task_def_t *def, mti_actor_t **out_actor)
{
    if (handle_is_error(handle)) {
        manta_status_t code = mti_ref_error_code((manta_ref_t){handle.id});
        return mti_fail(code, "%s: called through an error handle (%s)", def->name,
                        manta_status_name(code));
    }
    manta_ref_t ref = {handle.id};
    mti_actor_t *actor = (mti_actor_t *)(void *)mti_ref_acquire(ref, MTI_COUNT_INTERNAL);
    if (!actor) {
        return mti_fail(MANTA_ERR_STALE_REF, "%s: stale handle of an actor (released, or made up)",
                        def->name);
    }
    manta_status_t status = MANTA_OK;
    bool is_actor = mti_object_kind(&actor->object) == MTI_OBJECT_ACTOR;
    mti_ctx_t *ctx = mti_ctx_for(thread, &actor->object);
    if (!ctx) return thread->status; // keeps a count: the lesser evil
    if (!is_actor) {
        status = mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: this is no actor", def->name);
        mti_object_release(ctx, &actor->object, MTI_COUNT_INTERNAL);
        return status;
    }
    uint32_t life = mti_atomic_u32_load_acquire(&actor->life);
    bool waits = life == MTI_LIFE_RESTARTING && actor->task_retries != 0;
    if (actor->def != def->owner) {
        status = mti_fail(MANTA_ERR_TYPE_MISMATCH, "%s: actor %s is of kind %s, the method of %s",
                          def->name, mti_actor_name(actor), actor->def->name,
                          def->owner ? def->owner->name : "none");
    } else if (life != MTI_LIFE_ALIVE && !waits) {
        status = fail_not_alive(actor, def->name);
    } else if (actor->max_pending) {
        uint32_t pending = mti_actor_open_calls(actor) - 1, running = mti_actor_running(actor);
        pending = pending > running ? pending - running : 0;
        if (pending >= actor->max_pending) {
            status = mti_fail(MANTA_ERR_ACTOR_BUSY, "%s: %u calls wait for actor %s (at most %u)",
                              def->name, pending, mti_actor_name(actor), actor->max_pending);
        }
    }
    if (status != MANTA_OK) {
        mti_actor_calls_gone(ctx, actor, 1);
    } else {
        *out_actor = actor;
    }
    return status;
}

static manta_status_t check_call(const manta_task_def_t *method, manta_actor_t actor)
{
    if (!method) return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "actor call: no method");
    if (actor.id) return MANTA_OK;
    return mti_fail(MANTA_ERR_STALE_REF, "%s: null handle of an actor", method->name);
}

void manta_actor_call(manta_actor_t actor, manta_task_def_t *method,
                      const manta_task_options_t *options, const void *args, size_t args_bytes,
                      manta_ref_t *out_results, size_t result_count)
{
    manta_status_t status = check_call(method, actor);
    if (status == MANTA_OK) {
        (void)mti_task_submit_method(actor, NULL, method, options, args, args_bytes, out_results,
                                     result_count, true);
        return;
    }
    for (size_t i = 0; i < result_count; i++)
        out_results[i] = mti_ref_error(status);
}

manta_status_t manta_actor_send(manta_actor_t actor, manta_task_def_t *method,
                                const manta_task_options_t *options, const void *args,
                                size_t args_bytes)
{
    manta_status_t status = check_call(method, actor);
    if (status != MANTA_OK) return status;
    return mti_task_submit_method(actor, NULL, method, options, args, args_bytes, NULL, 0, false);
}

manta_actor_t manta_actor_retain(manta_actor_t actor)
{
    return (manta_actor_t){manta_retain((manta_ref_t){actor.id}).id};
}

manta_status_t manta_actor_release(manta_actor_t actor)
{
    return manta_release((manta_ref_t){actor.id});
}

manta_actor_t manta_actor_keep(manta_actor_t actor)
{
    return (manta_actor_t){manta_keep((manta_ref_t){actor.id}).id};
}

manta_actor_t manta_actor_find(const manta_actor_def_t *def, const char *name,
                               const char *name_space, manta_runtime_t runtime)
{
    if (!name) return mti_actor_error(mti_fail(MANTA_ERR_INVALID_ARGUMENT, "actor_find: no name"));
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_actor_error(mti_thread_failure());
    if (!mti_scope_reserve(thread, 1)) return mti_actor_error(MANTA_ERR_OUT_OF_MEMORY);
    mti_thread_enter(thread);
    mti_ctx_t *ctx = runtime.id ? mti_ctx_slow(thread, runtime) : mti_ctx_current(thread);
    mti_actor_t *found = NULL;
    manta_actor_t handle;
    if (!ctx) {
        handle = mti_actor_error(thread->status);
    } else if (mti_actor_name_take(ctx->rt, NULL, name, name_space, &found) !=
               MANTA_ERR_ALREADY_EXISTS) {
        handle = mti_actor_error(mti_fail(MANTA_ERR_NOT_FOUND, "there is no actor '%s'%s%s", name,
                                          name_space ? " in namespace " : "",
                                          name_space ? name_space : ""));
    } else {
        handle = mti_actor_give_found(thread, ctx, found, def, name);
    }
    mti_thread_leave(thread);
    return handle;
}

manta_status_t mti_actor_handle_begin(manta_actor_t handle, const char *what,
                                      mti_thread_t **out_thread, mti_ctx_t **out_ctx,
                                      mti_actor_t **out_actor)
{
    manta_ref_t ref = {handle.id};
    if (mti_ref_is_error(ref)) return mti_ref_error_code(ref);
    mti_object_t *object;
    manta_status_t status = mti_ref_begin(ref, out_thread, out_ctx, &object);
    if (status == MANTA_ERR_STALE_REF) {
        return mti_fail(status, "%s: stale handle of an actor", what);
    }
    if (status != MANTA_OK) return status;
    if (mti_object_kind(object) != MTI_OBJECT_ACTOR) {
        mti_object_release(*out_ctx, object, MTI_COUNT_INTERNAL);
        mti_thread_leave(*out_thread);
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: this is no actor", what);
    }
    *out_actor = (mti_actor_t *)(void *)object;
    return MANTA_OK;
}

void mti_actor_handle_end(mti_thread_t *thread, mti_ctx_t *ctx, mti_actor_t *actor)
{
    mti_actor_calls_gone(ctx, actor, 1);
    mti_thread_leave(thread);
}

manta_status_t manta_actor_status(manta_actor_t handle)
{
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_actor_t *actor;
    manta_status_t status = mti_actor_handle_begin(handle, "actor_status", &thread, &ctx, &actor);
    if (status != MANTA_OK) return status;
    if (mti_atomic_u32_load_acquire(&actor->life) != MTI_LIFE_ALIVE) {
        status = fail_not_alive(actor, mti_actor_name(actor));
    }
    mti_actor_handle_end(thread, ctx, actor);
    return status;
}

manta_status_t manta_actor_kill(manta_actor_t handle, bool restart)
{
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_actor_t *actor;
    manta_status_t status = mti_actor_handle_begin(handle, "actor_kill", &thread, &ctx, &actor);
    if (status != MANTA_OK) return status;
    mti_actor_fail(ctx, actor, NULL, restart ? MTI_ACTOR_MAY_RESTART : MTI_ACTOR_ENDS, 0, "killed");
    mti_actor_handle_end(thread, ctx, actor);
    return MANTA_OK;
}

// What watchers hold, with a user count for the caller; NULL: no memory.
static mti_object_t *death_get(mti_ctx_t *ctx, mti_actor_t *actor)
{
    mti_actor_more_t *more = actor->more;
    mti_object_t *fresh = mti_object_alloc(ctx, MTI_OBJECT_PROMISE, MANTA_UNTYPED);
    if (!fresh) return NULL;
    // Finished as far as the user can tell: nobody but the actor's end closes it.
    mti_atomic_u64_store_relaxed(
        &mti_record_of(fresh)->claim,
        mti_claim_make(mti_atomic_u32_load_relaxed(&fresh->gen), 0, MTI_TASK_DONE));
    mti_mutex_lock(&more->lock);
    mti_object_t *death = more->death;
    bool ended = mti_atomic_u32_load_relaxed(&actor->life) == MTI_LIFE_DEAD;
    const manta_error_t *error = ended ? manta_error_retain(more->error) : NULL;
    bool failed = more->has_failed;
    if (death) {
        (void)mti_atomic_u64_fetch_add_relaxed(&death->counts, MTI_COUNT_USER);
    } else if (!ended) {
        (void)mti_atomic_u64_fetch_add_relaxed(&fresh->counts, MTI_COUNT_INTERNAL);
        more->death = fresh;
    }
    mti_mutex_unlock(&more->lock);
    if (!death && !ended) return fresh;
    if (!death) {
        if (failed) {
            (void)mti_object_close_failed(ctx, fresh, (manta_error_t *)error, NULL, 0, NULL);
        } else {
            manta_error_release((manta_error_t *)error);
            (void)mti_object_close(ctx, fresh, MTI_HEAD_CLOSED, NULL);
        }
        return fresh;
    }
    (void)mti_object_close(ctx, fresh, MTI_HEAD_CLOSED, NULL);
    mti_object_release(ctx, fresh, MTI_COUNT_USER);
    return death;
}

manta_ref_t manta_actor_watch(manta_actor_t handle)
{
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_actor_t *actor;
    manta_status_t status = mti_actor_handle_begin(handle, "actor_watch", &thread, &ctx, &actor);
    if (status != MANTA_OK) return mti_ref_error(status);
    manta_ref_t ref = mti_ref_error(MANTA_ERR_OUT_OF_MEMORY);
    if (mti_scope_reserve(thread, 1)) {
        mti_object_t *death = death_get(ctx, actor);
        if (death) {
            ref = mti_ref_of(death);
            mti_scope_add(thread, death, ref);
        } else {
            (void)mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory to watch actor %s",
                           mti_actor_name(actor));
        }
    }
    mti_actor_handle_end(thread, ctx, actor);
    return ref;
}

manta_status_t manta_actor_stop(manta_actor_t handle, int64_t timeout_ns)
{
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_actor_t *actor;
    manta_status_t status = mti_actor_handle_begin(handle, "actor_stop", &thread, &ctx, &actor);
    if (status != MANTA_OK) return status;
    bool inside = thread->in_callback;
    for (const manta_task_t *task = thread->task; task && !inside; task = task->outer)
        inside = task->actor == actor;
    if (inside && timeout_ns > 0) {
        status = mti_fail(MANTA_ERR_NOT_ALLOWED_HERE,
                          "actor %s: a stop that waits, inside one of its methods or a callback",
                          mti_actor_name(actor));
        mti_actor_handle_end(thread, ctx, actor);
        return status;
    }
    mti_object_t *death = death_get(ctx, actor);
    if (death) mti_actor_stop(ctx, actor);
    mti_wait_enter(ctx);
    mti_actor_handle_end(thread, ctx, actor);
    if (!death) {
        mti_wait_leave(ctx);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "actor_stop: no memory to wait for the end");
    }
    uint64_t head;
    status = mti_wait_object(thread, ctx, death, timeout_ns, &head);
    if (status == MANTA_NOT_READY && timeout_ns > 0) {
        (void)manta_actor_kill(handle, false);
        status = mti_fail(MANTA_ERR_TIMEOUT, "actor_stop: its calls were not through in time");
    }
    mti_thread_enter(thread);
    mti_object_release(ctx, death, MTI_COUNT_USER);
    mti_thread_leave(thread);
    mti_wait_leave(ctx);
    return status;
}

manta_actor_t manta_actor_self(const manta_task_t *task)
{
    if (!task || !task->actor) return (manta_actor_t){0};
    return (manta_actor_t){mti_ref_of(&task->actor->object).id};
}

manta_ref_t manta_method_defer(manta_task_t *task)
{
    if (!task || task->record->result_count != 1) {
        return mti_ref_error(mti_fail(MANTA_ERR_NOT_ALLOWED_HERE,
                                      "method_defer: outside of a method, or of one with several "
                                      "results"));
    }
    if (task->actor && !mti_actor_defer(task->actor, task->record)) {
        return mti_ref_error(mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: method_defer: no memory",
                                      mti_record_name(task->record)));
    }
    manta_ref_t promise = manta_keep(manta_promise_create(task->record->result.dtype));
    if (mti_ref_is_error(promise)) return promise;
    manta_status_t status = manta_forward(task, promise);
    if (status == MANTA_OK) return promise;
    (void)manta_release(promise);
    return mti_ref_error(status);
}
