// How actors fail, restart and stop. The protocol is told in actor.c.
#include "core/actor_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// The end of this actor, or its restart, is under way: a drain waits for it.
static void actor_count_locked(mti_ctx_t *ctx, mti_actor_t *actor)
{
    if (actor->more->counted) return;
    actor->more->counted = true;
    mti_atomic_u64_owner_add(&ctx->submitted, 1);
}

void mti_actor_uncount(mti_ctx_t *ctx, bool counted)
{
    if (!counted) return;
    mti_atomic_u64_owner_add(&ctx->completed, 1);
    if (!ctx->sched.thread) mti_drain_check(ctx);
}

// Attempts left, of a call that may be about to use one up.
static int call_retries(const mti_record_t *t)
{
    return __atomic_load_n(&mti_method_of(t)->retries, __ATOMIC_RELAXED);
}

static bool call_stays(const mti_record_t *t, bool restarts)
{
    return restarts && call_retries(t) != 0;
}

// Divides a list: those that stay are appended to |todo|, the others come back. Frozen.
static mti_record_t *divide_frozen(mti_actor_t *actor, mti_record_t *t, bool restarts)
{
    mti_record_t *fails = NULL, **fails_end = &fails;
    while (t) {
        mti_record_t *next = mti_method_of(t)->mail_next;
        if (call_stays(t, restarts)) {
            mti_actor_todo_append(actor, t, t);
        } else {
            *fails_end = t;
            fails_end = &mti_method_of(t)->mail_next;
        }
        t = next;
    }
    *fails_end = NULL;
    return fails;
}

static void fail_list(mti_ctx_t *ctx, mti_record_t *t, const manta_error_t *error)
{
    while (t) {
        mti_record_t *next = mti_method_of(t)->mail_next;
        mti_actor_fail_taken_out(ctx, t, error);
        t = next;
    }
}

// A call that runs, or is about to. One that nobody holds a ref of can't be looked at: it fails when its
// body returns, if it is to.
static void fail_running(mti_ctx_t *ctx, const mti_actor_t *actor, uint64_t id,
                         const manta_error_t *error, bool restarts)
{
    if (!id) return;
    uint32_t gen = (uint32_t)(id >> 32);
    mti_record_t *t = mti_record_at((uint32_t)id);
    bool stays = restarts && actor->task_retries != 0;
    mti_object_t *held = stays ? mti_ref_acquire_weak(id, MTI_COUNT_SLOT) : NULL;
    if (held) {
        stays = call_stays(t, restarts);
        mti_object_release(ctx, held, MTI_COUNT_SLOT);
    }
    if (!stays) mti_task_fail_now(ctx, t, gen, error);
}

// ---- results that come later ---------------------------------------------------------------------

// Nobody takes a call off the list when its promise is kept: what is over is found out when there is no room.
static bool defer_is_open(uint64_t id)
{
    uint64_t claim = mti_atomic_u64_load_acquire(&mti_record_at((uint32_t)id)->claim);
    mti_task_state_t state = mti_claim_state(claim);
    return mti_claim_gen(claim) == (uint32_t)(id >> 32) &&
           (state == MTI_TASK_RUNNING || state == MTI_TASK_FORWARDED);
}

static bool defer_grow_locked(mti_actor_more_t *more)
{
    uint32_t open = 0, capacity = more->deferred_capacity;
    for (uint32_t i = 0; i < more->deferred_count; i++)
        if (defer_is_open(more->deferred[i])) more->deferred[open++] = more->deferred[i];
    more->deferred_count = open;
    if (capacity && open <= capacity / 2) return true;
    capacity = capacity ? 2 * capacity : 16;
    uint64_t *ids = mti_alloc(NULL, capacity * sizeof *ids, 16);
    if (!ids) return open < more->deferred_capacity;
    if (open) memcpy(ids, more->deferred, open * sizeof *ids);
    mti_free(NULL, more->deferred, more->deferred_capacity * sizeof *ids);
    more->deferred = ids;
    more->deferred_capacity = capacity;
    return true;
}

bool mti_actor_defer(mti_actor_t *actor, const mti_record_t *t)
{
    mti_actor_more_t *more = actor->more;
    mti_mutex_lock(&more->lock);
    bool ok = more->deferred_count < more->deferred_capacity || defer_grow_locked(more);
    if (ok) more->deferred[more->deferred_count++] = mti_ref_of(&t->result).id;
    mti_mutex_unlock(&more->lock);
    return ok;
}

static void fail_deferred(mti_ctx_t *ctx, mti_actor_more_t *more, uint64_t but,
                          const manta_error_t *error)
{
    mti_mutex_lock(&more->lock);
    uint64_t *ids = more->deferred;
    uint32_t count = more->deferred_count, capacity = more->deferred_capacity;
    more->deferred = NULL;
    more->deferred_count = more->deferred_capacity = 0;
    mti_mutex_unlock(&more->lock);
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] == but || !defer_is_open(ids[i])) continue;
        mti_task_fail_now(ctx, mti_record_at((uint32_t)ids[i]), (uint32_t)(ids[i] >> 32), error);
    }
    mti_free(NULL, ids, capacity * sizeof *ids);
}

void mti_actor_fail_calls(mti_ctx_t *ctx, mti_actor_t *actor, const manta_error_t *error,
                          bool restarts, bool running, uint64_t but)
{
    mti_actor_more_t *more = actor->more;
    mti_actor_todo_freeze(actor);
    mti_record_t *last, *mail = mti_mail_take(actor, &last), *todo = actor->todo, *banded;
    mti_record_t *fails[4];
    actor->todo = NULL;
    mti_actor_bands_empty(actor, &banded);
    fails[0] = divide_frozen(actor, banded, restarts);
    fails[1] = divide_frozen(actor, todo, restarts);
    fails[2] = divide_frozen(actor, mail, restarts);
    fails[3] = NULL;
    mti_record_t **end = &fails[3];
    for (uint32_t i = 0; i < more->group_count; i++) {
        mti_actor_group_t *group = &more->groups[i];
        *end = divide_frozen(actor, group->first, restarts);
        while (*end)
            end = &mti_method_of(*end)->mail_next;
        group->first = group->last = NULL;
        mti_atomic_u32_store_relaxed(&group->waiting, 0);
    }
    uint64_t current = mti_atomic_u64_load_relaxed(&actor->current);
    mti_actor_todo_thaw(actor);
    for (int i = 0; i < 4; i++)
        fail_list(ctx, fails[i], error);
    if (running && current != but) fail_running(ctx, actor, current, error, restarts);
    for (uint32_t i = 0; i < more->group_count && running; i++) {
        for (uint32_t k = 0; k < more->groups[i].limit; k++) {
            uint64_t id = mti_atomic_u64_load_acquire(&more->groups[i].ids[k]);
            if (id != but) fail_running(ctx, actor, id, error, restarts);
        }
    }
    for (uint32_t k = 0; more->device && k < more->device->limit && running; k++) {
        uint64_t id = mti_atomic_u64_load_acquire(&more->device->ids[k]);
        if (id != but) fail_running(ctx, actor, id, error, restarts);
    }
    // Those that are not delivered: one at a time, as failing one changes the list. Each was linked before
    // |life| changed, or is failed by who submits it.
    for (;;) {
        uint64_t id = 0;
        mti_mutex_lock(&more->lock);
        for (mti_order_t *order = more->undelivered; order && !id; order = order->next_all) {
            mti_record_t *t = order->record;
            bool is_queued =
                mti_claim_state(mti_atomic_u64_load_acquire(&t->claim)) == MTI_TASK_QUEUED;
            if (is_queued && !call_stays(t, restarts)) id = mti_ref_of(&t->result).id;
        }
        mti_mutex_unlock(&more->lock);
        if (!id) break;
        mti_task_fail_now(ctx, mti_record_at((uint32_t)id), (uint32_t)(id >> 32), error);
    }
}

void mti_actor_fail(mti_ctx_t *ctx, mti_actor_t *actor, const manta_error_t *cause, uint32_t how,
                    uint64_t but, const char *format, ...)
{
    mti_actor_more_t *more = actor->more;
    bool may_restart = how & MTI_ACTOR_MAY_RESTART, running = !(how & MTI_ACTOR_SPARES_RUNNING);
    char why[256], text[384];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    mti_mutex_lock(&more->lock);
    uint32_t life = mti_atomic_u32_load_relaxed(&actor->life);
    // The constructor of a restart, which says itself that it failed and may be tried on another device.
    bool again = life == MTI_LIFE_RESTARTING && more->phase == MTI_RESTART_CREATING && but &&
                 but == mti_atomic_u64_load_acquire(&more->create_id);
    if (life >= MTI_LIFE_FAILED || (life == MTI_LIFE_RESTARTING && may_restart && !again)) {
        mti_mutex_unlock(&more->lock);
        return;
    }
    bool restarts = may_restart && more->restarts_left != 0 && (life == MTI_LIFE_ALIVE || again);
    snprintf(text, sizeof text, "actor %s %s: %s", mti_actor_name(actor),
             restarts ? "is being restarted" : "died", why);
    manta_error_t *error =
        mti_error_create(restarts ? MANTA_ERR_ACTOR_RESTARTING : MANTA_ERR_ACTOR_DIED,
                         MANTA_SCOPE_ACTOR, actor->def->name, "", 0, text, cause);
    manta_error_release((manta_error_t *)more->error);
    more->error = manta_error_retain(error);
    if (restarts) {
        more->phase = MTI_RESTART_DOWN;
        if (more->restarts_left > 0) more->restarts_left--;
    }
    actor_count_locked(ctx, actor);
    mti_atomic_u32_store_seq_cst(&actor->life, restarts ? MTI_LIFE_RESTARTING : MTI_LIFE_FAILED);
    mti_mutex_unlock(&more->lock);
    uint64_t create = mti_atomic_u64_load_acquire(&more->create_id);
    if (!restarts && create && create != but) { // a constructor that waits or runs
        mti_task_fail_now(ctx, mti_record_at((uint32_t)create), (uint32_t)(create >> 32), error);
    }
    mti_actor_fail_calls(ctx, actor, error, restarts, running, but);
    fail_deferred(ctx, more, but, error);
    manta_error_release(error);
    mti_actor_kick(ctx, actor);
}

bool mti_actor_method_failed(manta_task_t *run, manta_status_t *status)
{
    mti_actor_t *actor = run->actor;
    mti_ctx_t *ctx = run->ctx;
    mti_record_t *t = run->record;
    mti_method_t *method = mti_method_of(t);
    bool is_lost = *status == MANTA_ERR_DEVICE_LOST && mti_flags_are_lane(t->flags);
    if (t->flags & MTI_RECORD_CREATE) {
        mti_atomic_u32_store_release(&actor->more->create_failed, 1);
        manta_error_t *cause =
            mti_error_create(*status, MANTA_SCOPE_TASK, mti_record_name(t), "", method->attempt,
                             run->error     ? manta_error_text(run->error)
                             : run->in_body ? ""
                                            : manta_error_message(),
                             NULL);
        uint32_t how = is_lost ? mti_actor_device_lost_how(actor) : MTI_ACTOR_ENDS;
        mti_actor_fail(ctx, actor, cause, how, mti_ref_of(&t->result).id,
                       "its constructor failed (%s)", manta_status_name(*status));
        manta_error_release(cause);
        return false;
    }
    bool is_fatal = *status == MANTA_ACTOR_FATAL || is_lost;
    if (is_lost) {
        // Only with a choice of devices it can come back.
        mti_actor_fail(ctx, actor, run->error, mti_actor_device_lost_how(actor),
                       mti_ref_of(&t->result).id, "its device was lost");
    } else if (is_fatal) {
        manta_error_t *cause = mti_error_create(
            MANTA_ACTOR_FATAL, MANTA_SCOPE_ACTOR, mti_record_name(t), "", method->attempt,
            run->error ? manta_error_text(run->error) : "returned MANTA_ACTOR_FATAL", NULL);
        mti_actor_fail(ctx, actor, cause, MTI_ACTOR_MAY_RESTART, mti_ref_of(&t->result).id,
                       "method %s failed fatally: %s", mti_record_name(t), manta_error_text(cause));
        manta_error_release(cause);
    }
    uint32_t life = mti_atomic_u32_load_acquire(&actor->life);
    bool cancelled = mti_atomic_u64_load_relaxed(&t->claim) & MTI_CLAIM_CANCEL;
    if (life == MTI_LIFE_RESTARTING && method->retries != 0 && !cancelled) {
        if (method->retries > 0) {
            __atomic_store_n(&method->retries, (int16_t)(method->retries - 1), __ATOMIC_RELAXED);
        }
        if (method->attempt < UINT8_MAX) method->attempt++;
        return true;
    }
    if (is_fatal) {
        mti_mutex_lock(&actor->more->lock);
        manta_error_t *error = (manta_error_t *)manta_error_retain(actor->more->error);
        mti_mutex_unlock(&actor->more->lock);
        if (run->error) manta_error_release(run->error);
        run->error = error;
        *status = manta_error_code(error);
    }
    return false;
}

void mti_actor_put_back(mti_ctx_t *ctx, mti_actor_t *actor, mti_record_t *t)
{
    uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    uint64_t claim = mti_atomic_u64_load_relaxed(&t->claim);
    mti_thread_tls->call_kept = true;
    // It has started, and gave its count back for that (run_one): it is pending again.
    bool handed_out = mti_actor_flags(actor) & MTI_ACTOR_CONCURRENT || mti_flags_are_lane(t->flags);
    bool counts_started = actor->max_pending && !handed_out;
    if (counts_started) {
        (void)mti_atomic_u64_fetch_add_relaxed(&actor->object.counts, MTI_COUNT_INTERNAL);
    }
    mti_atomic_u32_store_seq_cst(&t->deps, 1);
    // As one that waits: from here on it can be cancelled, and is then taken out as such. One that was handed out may
    // still stand in a queue, or be looked at by a waiter who saw it there: HELD, so that these do not claim it before it
    // is handed out again.
    bool in_queues = mti_actor_flags(actor) & MTI_ACTOR_CONCURRENT;
    uint64_t next = mti_claim_make(gen, 0, in_queues ? MTI_TASK_HELD : MTI_TASK_QUEUED);
    do {
        if (claim & MTI_CLAIM_CANCEL) break;
    } while (!mti_atomic_u64_cas_seq_cst(&t->claim, &claim, next));
    if (claim & MTI_CLAIM_CANCEL) {
        // Its results have failed; there is nothing left to run for. Completed as if the body had
        // returned: run_complete drops the value and gives the canceller's count back.
        mti_thread_tls->call_kept = false;
        if (counts_started) {
            (void)mti_atomic_u64_fetch_sub_acq_rel(&actor->object.counts, MTI_COUNT_INTERNAL);
        }
        manta_task_t run = {.record = t, .ctx = ctx, .actor = actor, .in_body = true};
        mti_task_complete(&run, MANTA_ERR_CANCELLED);
        return;
    }
    if (handed_out) {
        mti_actor_put(ctx, actor, t);
        return;
    }
    mti_actor_todo_enter(actor);
    if (mti_actor_has_bands(actor)) {
        mti_actor_bands_put_back(actor, t);
    } else {
        mti_method_of(t)->mail_next = actor->todo;
        if (!actor->todo) actor->todo_last = t;
        actor->todo = t;
    }
    mti_actor_todo_leave(actor);
}

void mti_actor_stop(mti_ctx_t *ctx, mti_actor_t *actor)
{
    mti_mutex_lock(&actor->more->lock);
    uint32_t life = mti_atomic_u32_load_relaxed(&actor->life);
    if (life == MTI_LIFE_ALIVE || life == MTI_LIFE_RESTARTING) actor_count_locked(ctx, actor);
    // One that is being restarted ends with what it has; seq_cst: see the head of this file.
    if (life == MTI_LIFE_ALIVE) mti_atomic_u32_store_seq_cst(&actor->life, MTI_LIFE_STOPPING);
    mti_mutex_unlock(&actor->more->lock);
    if (life == MTI_LIFE_RESTARTING) {
        mti_actor_fail(ctx, actor, NULL, MTI_ACTOR_ENDS, 0, "stopped while it was being restarted");
    } else if (life == MTI_LIFE_ALIVE) {
        mti_actor_kick(ctx, actor);
    }
}
