// The scheduler with its inside out: what parking_test.cc needs of it, without the threads.
#include "sched/sched.c"

#include "model/parking_model.h"

static mti_sched_t *the_sched;
static mti_sched_ctx_t ctxs[8];
static int workers, pushers;
static mti_atomic_u32_t left; // entries that have not run

static void run(mti_sched_ctx_t *ctx, uint64_t entry)
{
    parking_ran(entry);
    if (mti_atomic_u32_fetch_sub_acq_rel(&left, 1) != 1) return;
    for (int i = 0; i < workers; i++) { // the last one: all may go home
        seat_t *seat = &ctx->sched->seats[i];
        (void)mti_atomic_u32_fetch_or_acq_rel(&seat->attention, ATTENTION_STOP);
        (void)seat_unpark(ctx->sched, seat);
    }
}
static void idle(mti_sched_ctx_t *ctx)
{
    (void)ctx;
}
static void nudge(mti_sched_ctx_t *ctx)
{
    (void)ctx;
}
static const mti_sched_ops_t ops = {.run = run, .idle = idle, .nudge = nudge};

void parking_make(int worker_count, int pusher_count, uint32_t entries)
{
    workers = worker_count;
    pushers = pusher_count;
    mti_fence_init();
    mti_sched_options_t options = {.workers = workers, .ops = &ops};
    if (mti_sched_create(&options, &the_sched) != MANTA_OK) __builtin_trap();
    memset(ctxs, 0, sizeof ctxs);
    for (int i = 0; i < workers + pushers; i++) {
        if (mti_sched_ctx_init(the_sched, &ctxs[i]) != MANTA_OK) __builtin_trap();
        if (i >= workers) continue;
        seat_t *seat = &the_sched->seats[i];
        mti_atomic_i32_store_relaxed(&ctxs[i].seat, i);
        mti_atomic_ptr_store_relaxed(&seat->occupant, &ctxs[i]);
        seat->order = the_sched->orders + i * workers;
        for (int k = 0, at = 0; k < workers; k++)
            if (k != i) seat->order[at++] = k;
        parking_name(&seat->parked, sizeof seat->parked, "parked");
        parking_name(&seat->attention, sizeof seat->attention, "attention");
    }
    for (int i = 0; i < workers + pushers; i++)
        parking_name(&ctxs[i].deque.anchor, sizeof ctxs[i].deque.anchor, "anchor");
    parking_name(&the_sched->hot.idle, sizeof the_sched->hot.idle, "idle");
    parking_name(&the_sched->shared_count, sizeof the_sched->shared_count, "shared_count");
    mti_atomic_u32_store_relaxed(&left, entries);
}

// worker_search() without the spinning, which is the same steps again.
void parking_worker(int index)
{
    mti_sched_ctx_t *ctx = &ctxs[index];
    seat_t *seat = &the_sched->seats[index];
    while (!(mti_atomic_u32_load_relaxed(&seat->attention) & ATTENTION_STOP)) {
        if (mti_sched_step(ctx)) continue;
        search_begin(ctx);
        if (mti_sched_step(ctx)) continue;
        worker_sleep(ctx, seat);
    }
}

void parking_push(int pusher, uint64_t entry)
{
    (void)mti_sched_push(&ctxs[workers + pusher], entry);
}

static mti_job_t jobs[4];
static void job_run(mti_sched_ctx_t *ctx, mti_job_t *job)
{
    run(ctx, (uint64_t)(job - jobs) + 1);
}
void parking_push_job(uint64_t entry)
{
    jobs[entry - 1].fn = job_run;
    mti_sched_push_job(the_sched, &jobs[entry - 1]);
}

uint32_t parking_left(void)
{
    return mti_atomic_u32_load_relaxed(&left);
}
