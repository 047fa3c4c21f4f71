// The bound on tasks in flight.
#include "core/task_impl.h"

void mti_flight_wake(mti_runtime_t *rt)
{
    (void)mti_atomic_u32_fetch_add_acq_rel(&rt->flight_word, 1);
    mti_notify_wake(&rt->flight_word, INT32_MAX);
}

void mti_flight_release(mti_runtime_t *rt)
{
    // seq_cst: either we see who waits, or that one sees the room (flight_wait)
    (void)mti_atomic_u64_fetch_add_seq_cst(&rt->in_flight, (uint64_t)0 - 1);
    if (mti_atomic_u32_load_seq_cst(&rt->flight_waiters)) mti_flight_wake(rt);
}

static bool flight_try(mti_runtime_t *rt)
{
    uint64_t n = mti_atomic_u64_load_seq_cst(&rt->in_flight);
    do {
        if (n >= rt->max_in_flight) return false;
    } while (!mti_atomic_u64_cas_seq_cst(&rt->in_flight, &n, n + 1));
    return true;
}

// Sleeps, or in a serial runtime runs something, until there may be room. Not entered.
static manta_status_t flight_sleep(mti_ctx_t *ctx)
{
    mti_runtime_t *rt = ctx->rt;
    mti_timer_poll(ctx);
    if (rt->is_serial && mti_sched_step(&ctx->sched)) {
        mti_drain_check(ctx);
        return MANTA_OK;
    }
    (void)mti_atomic_u32_fetch_add_acq_rel(&rt->flight_waiters, 1);
    uint32_t word = mti_atomic_u32_load_acquire(&rt->flight_word);
    (void)mti_sched_block_begin(&ctx->sched);
    mti_fence_heavy(); // completions and pushes tell us from here on; what came before is seen now
    bool room = mti_atomic_u64_load_seq_cst(&rt->in_flight) < rt->max_in_flight;
    bool open = mti_atomic_u32_load_acquire(&rt->state) == MTI_RUNTIME_RUNNING;
    bool work = rt->is_serial && mti_sched_has_work(rt->sched);
    manta_status_t status = MANTA_OK;
    if (rt->is_serial && !room && !work && mti_runtime_waiting(rt) == 1 &&
        mti_timer_next(rt) == INT64_MAX) {
        status = mti_fail(MANTA_ERR_DEADLOCK,
                          "max_in_flight is reached, and nothing can run in serial runtime '%s'",
                          rt->name);
    } else if (!room && open && !work) {
        (void)mti_notify_wait(&rt->flight_word, word, mti_timer_bound(ctx, INT64_MAX));
    }
    mti_sched_block_end(&ctx->sched);
    (void)mti_atomic_u32_fetch_sub_acq_rel(&rt->flight_waiters, 1);
    return status;
}

manta_status_t mti_submit_flight(submit_t *s, bool *out_taken)
{
    mti_runtime_t *rt = s->ctx->rt;
    *out_taken = s->def != &mti_piece_def;
    if (!*out_taken) return MANTA_OK;
    if (s->ctx->sched.thread || s->thread->task || s->thread->in_callback) {
        (void)mti_atomic_u64_fetch_add_seq_cst(&rt->in_flight, 1);
        return MANTA_OK;
    }
    bool no_wait = s->options &&
                   s->options->struct_size > offsetof(manta_task_options_t, no_wait) &&
                   s->options->no_wait;
    manta_status_t status = MANTA_OK;
    while (status == MANTA_OK && !flight_try(rt)) {
        if (no_wait) {
            status = mti_fail(MANTA_WOULD_BLOCK, "task %s: runtime '%s' has %llu tasks in flight",
                              s->def->name, rt->name, (unsigned long long)rt->max_in_flight);
            break;
        }
        mti_wait_enter(s->ctx); // keeps the runtime meanwhile
        mti_thread_leave(s->thread);
        status = flight_sleep(s->ctx);
        mti_thread_enter(s->thread);
        mti_wait_leave(s->ctx);
        if (status == MANTA_OK) status = mti_submit_context(s);
    }
    *out_taken = status == MANTA_OK;
    return status;
}
