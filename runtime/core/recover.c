// Time and attempts: deadlines, run timeouts, back-off, what is tried again.
//
// One timer per task, set to the earliest of three instants: the deadline, the end of what the running
// attempt may take, the end of the back-off. All three, and the timer, are guarded by the rules lock;
// so whatever is due is due for the attempt that the lock's holder sees.
//
//     RUNNING ──failed, attempts left──► QUEUED            at once
//                                  └──► HELD ──► QUEUED    after the back-off, or when it is admitted again
//
// A task that is HELD has one of |deps| for it, which belongs to whoever takes |parked| away under the
// lock: the timer, or who cancels.
#include "core/core.h"

#include <string.h>

uint32_t mti_retry_class(manta_status_t code)
{
    switch (code) {
    case MANTA_OK:
    case MANTA_ERR_CANCELLED:
    case MANTA_ERR_WAIT_CANCELLED:
    case MANTA_ERR_DEADLINE:
    case MANTA_ERR_DEADLOCK:
    case MANTA_ERR_SHUTDOWN:
    case MANTA_ERR_FORKED:
    case MANTA_ERR_END:
        return 0;
    case MANTA_ERR_TIMEOUT:
        return MANTA_RETRY_TIMEOUT;
    case MANTA_ERR_EXCEPTION:
        return MANTA_RETRY_EXCEPTION;
    case MANTA_ERR_OUT_OF_MEMORY:
    case MANTA_ERR_RESOURCE_EXHAUSTED:
        return MANTA_RETRY_MEMORY;
    default:
        if (code >= MANTA_ERR_USER) return MANTA_RETRY_USER;
        // A wrong call is as wrong the next time.
        return code < MANTA_ERR_OUT_OF_MEMORY && code > 0 ? 0 : MANTA_RETRY_SYSTEM;
    }
}

static bool is_retried(const mti_cold_t *cold, manta_status_t code)
{
    if (cold->attempt >= cold->max_retries) return false;
    uint32_t class = mti_retry_class(code);
    for (uint32_t i = 0; i < cold->retry_code_count; i++) {
        if (cold->retry_codes[i] == code) return true;
    }
    if (cold->retry_on) return (class & cold->retry_on) != 0;
    return class != 0 && cold->retry_code_count == 0;
}

// ---- the timer ------------------------------------------------------------------------------------

static bool rearm_locked(mti_runtime_t *rt, mti_cold_t *cold)
{
    int64_t when = cold->deadline;
    if (cold->run_until < when) when = cold->run_until;
    if (cold->not_before < when) when = cold->not_before;
    return mti_timer_arm_locked(rt, &cold->timer, when);
}

static void do_fail(mti_ctx_t *ctx, const mti_todo_t *todo)
{
    mti_task_fail(ctx, todo->t, todo->gen, todo->code, todo->why, true);
}

static void do_tell(mti_ctx_t *ctx, const mti_todo_t *todo)
{
    mti_wait_wake(ctx->rt, todo->ctx_index);
}

// The back-off is over; its dependency is ours, so the record is there.
static void do_release(mti_ctx_t *ctx, const mti_todo_t *todo)
{
    if (mti_record_flags(todo->t) & MTI_RECORD_GATED) {
        mti_admit_reached(ctx, todo->t);
        return;
    }
    uint64_t held = mti_claim_make(todo->gen, 0, MTI_TASK_HELD);
    // Fails if it was cancelled: then this may be the last thing that it waits for.
    (void)mti_atomic_u64_cas_acq_rel(&todo->t->claim, &held,
                                     mti_claim_make(todo->gen, 0, MTI_TASK_QUEUED));
    mti_record_dep_done(ctx, todo->t, NULL);
}

// Tells the running attempt to stop. The lock keeps it from being another one.
static void expire_locked(mti_record_t *t, mti_todo_t *todo)
{
    uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
    do {
        if (mti_claim_state(claim) != MTI_TASK_RUNNING) return;
    } while (!mti_atomic_u64_cas_acq_rel(&t->claim, &claim, claim | MTI_CLAIM_EXPIRED));
    todo->ctx_index = mti_claim_ctx(claim);
    todo->run = do_tell;
}

static void task_due(mti_ctx_t *ctx, mti_timer_t *timer, int64_t now_ns, mti_todo_t *out_todo)
{
    mti_cold_t *cold = (mti_cold_t *)(void *)((char *)timer - offsetof(mti_cold_t, timer));
    mti_record_t *t = cold->record;
    out_todo->t = t;
    out_todo->gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    if (cold->deadline <= now_ns) {
        cold->deadline = INT64_MAX;
        out_todo->code = MANTA_ERR_DEADLINE;
        out_todo->why = "its deadline passed before it ran";
        out_todo->run = do_fail;
    } else if (cold->run_until <= now_ns) {
        cold->run_until = INT64_MAX;
        if (is_retried(cold, MANTA_ERR_TIMEOUT)) {
            expire_locked(t, out_todo);
        } else {
            out_todo->code = MANTA_ERR_TIMEOUT;
            out_todo->run = do_fail;
        }
    } else if (cold->not_before <= now_ns && cold->parked) {
        cold->not_before = INT64_MAX;
        cold->parked = false;
        out_todo->run = do_release;
    }
    (void)rearm_locked(ctx->rt, cold);
}

// ---- submit ---------------------------------------------------------------------------------------

bool mti_recover_wanted(const manta_task_options_t *options)
{
    return options->deadline_ns || options->run_timeout_ns || options->max_retries;
}

manta_status_t mti_recover_setup(mti_ctx_t *ctx, mti_record_t *t,
                                 const manta_task_options_t *options)
{
    mti_cold_t *cold = t->cold;
    cold->timer.due = task_due;
    cold->deadline = mti_clock_deadline(options->deadline_ns ? options->deadline_ns : INT64_MAX);
    cold->run_until = cold->not_before = INT64_MAX;
    cold->run_timeout = options->run_timeout_ns == INT64_MAX ? 0 : options->run_timeout_ns;
    cold->max_retries = options->max_retries;
    cold->retry_on = options->retry_on;
    cold->retry_code_count = (uint32_t)options->retry_code_count;
    if (options->retry_code_count) {
        memcpy(cold->retry_codes, options->retry_codes,
               options->retry_code_count * sizeof *cold->retry_codes);
    }
    cold->backoff = options->backoff_ns;
    cold->backoff_factor = options->backoff_factor > 0.0 ? options->backoff_factor : 2.0;
    cold->backoff_max = options->backoff_max_ns > 0 ? options->backoff_max_ns : INT64_MAX;
    if (cold->deadline == INT64_MAX && !cold->run_timeout && !cold->backoff) return MANTA_OK;
    manta_status_t status = mti_timer_use(ctx->rt);
    cold->has_time = status == MANTA_OK;
    return status;
}

void mti_recover_arm(mti_ctx_t *ctx, mti_record_t *t)
{
    if (!t->cold->has_time || t->cold->deadline == INT64_MAX) return;
    mti_mutex_lock(&ctx->rt->rules.lock);
    bool wake = rearm_locked(ctx->rt, t->cold);
    mti_mutex_unlock(&ctx->rt->rules.lock);
    if (wake) mti_timer_wake(ctx->rt);
}

// ---- run ------------------------------------------------------------------------------------------

void mti_recover_begin(mti_ctx_t *ctx, mti_record_t *t)
{
    mti_cold_t *cold = t->cold;
    if (!cold->run_timeout) return;
    int64_t until = mti_clock_deadline(cold->run_timeout);
    mti_mutex_lock(&ctx->rt->rules.lock);
    cold->run_until = until;
    bool wake = rearm_locked(ctx->rt, cold);
    mti_mutex_unlock(&ctx->rt->rules.lock);
    if (wake) mti_timer_wake(ctx->rt);
}

void mti_recover_pause(mti_ctx_t *ctx, mti_record_t *t)
{
    mti_cold_t *cold = t->cold;
    if (!cold->run_timeout) return;
    mti_mutex_lock(&ctx->rt->rules.lock);
    cold->run_until = INT64_MAX;
    (void)rearm_locked(ctx->rt, cold); // later than it was, if at all
    mti_mutex_unlock(&ctx->rt->rules.lock);
}

manta_status_t mti_recover_end(mti_ctx_t *ctx, mti_record_t *t, manta_status_t status)
{
    mti_cold_t *cold = t->cold;
    if (cold->want_count) mti_admit_end(ctx, cold);
    if (!cold->run_timeout) return status;
    mti_recover_pause(ctx, t);
    bool expired = mti_atomic_u64_load_acquire(&t->claim) & MTI_CLAIM_EXPIRED;
    return expired ? MANTA_ERR_TIMEOUT : status;
}

static int64_t backoff_of(const mti_cold_t *cold)
{
    double delay = (double)cold->backoff;
    for (int32_t i = 1; i < cold->attempt && delay < (double)cold->backoff_max; i++)
        delay *= cold->backoff_factor;
    return delay >= (double)cold->backoff_max ? cold->backoff_max : (int64_t)delay;
}

bool mti_recover_retry(manta_task_t *run, manta_status_t status)
{
    mti_record_t *t = run->record;
    mti_ctx_t *ctx = run->ctx;
    mti_cold_t *cold = t->cold;
    if (!cold || !is_retried(cold, status) || mti_atomic_u32_load_relaxed(&ctx->rt->cancelling) ||
        mti_atomic_u64_load_acquire(&t->claim) & MTI_CLAIM_CANCEL) {
        return false;
    }
    if (!cold->first_error) cold->first_error = mti_task_error(run, status);
    if (run->error) manta_error_release(run->error);
    run->error = NULL;
    for (uint32_t i = 0; i < t->result_count; i++)
        mti_object_storage_free(ctx, mti_record_result(t, i));
    uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
    cold->attempt++;
    int64_t delay = cold->backoff ? backoff_of(cold) : 0;
    int64_t not_before = delay ? mti_clock_deadline(delay) : INT64_MAX;
    bool gated = mti_record_flags(t) & MTI_RECORD_GATED;
    bool held = delay != 0 || gated;
    mti_atomic_u32_store_relaxed(&t->deps, held);
    mti_ready_t ready = mti_ready_of(t);
    bool wake = false;
    mti_mutex_lock(&ctx->rt->rules.lock);
    cold->not_before = not_before;
    cold->parked = delay != 0; // else its dependency is ours
    uint64_t next = mti_claim_make(gen, 0, held ? MTI_TASK_HELD : MTI_TASK_QUEUED);
    bool again = !(claim & MTI_CLAIM_CANCEL); // told to stop since the look above
    // release: publishes the record to whoever runs it next
    while (again && !mti_atomic_u64_cas_acq_rel(&t->claim, &claim, next))
        again = !(claim & MTI_CLAIM_CANCEL);
    if (again && delay) {
        // Who cancels from here on waits for the lock before it frees anything.
        wake = rearm_locked(ctx->rt, cold);
    } else if (!again) {
        cold->not_before = INT64_MAX;
        cold->parked = false;
        cold->attempt--;
    }
    mti_mutex_unlock(&ctx->rt->rules.lock);
    if (wake) mti_timer_wake(ctx->rt);
    if (again && !held) mti_record_ready(ctx, ready);
    if (again && held && !delay) mti_admit_reached(ctx, t);
    return again;
}

void mti_recover_give_up(mti_ctx_t *ctx, mti_record_t *t)
{
    mti_mutex_lock(&ctx->rt->rules.lock); // its timer may be looking
    t->cold->max_retries = t->cold->attempt;
    mti_mutex_unlock(&ctx->rt->rules.lock);
}

bool mti_recover_drop(mti_ctx_t *ctx, mti_cold_t *cold)
{
    if (!cold->record) return false;
    mti_mutex_lock(&ctx->rt->rules.lock);
    bool parked = cold->parked || mti_admit_drop_locked(ctx, cold);
    cold->parked = false;
    mti_mutex_unlock(&ctx->rt->rules.lock);
    return parked;
}

void mti_recover_forget(mti_ctx_t *ctx, mti_cold_t *cold)
{
    if (cold->first_error) manta_error_release(cold->first_error);
    if (cold->wants) {
        mti_admit_end(ctx, cold);
        mti_heap_free(&ctx->heap, cold->wants, cold->want_count * sizeof *cold->wants);
    }
    if (!cold->has_time) return;
    mti_mutex_lock(&ctx->rt->rules.lock);
    mti_timer_disarm_locked(ctx->rt, &cold->timer);
    mti_timer_unuse_locked(ctx->rt);
    mti_mutex_unlock(&ctx->rt->rules.lock);
}
