// Cancelling what a task has submitted: pulled, not pushed.
//
// A task knows its parent by id. Cancelling a running task sets CHILDREN beside RUNNING in its claim and
// bumps the runtime's epoch. A task compares its own epoch with that when it is about to run, when it
// submits, when it asks whether it is cancelled and when it is about to sleep: one compare. If they differ
// it walks up its ancestors; if one has the flag it stops, else it takes the new epoch.
//
// Invariant: as long as a task is alive whose parent was told to stop, the parent's slot keeps its
//            generation and its claim the flag. A parent that completes normally looks at its own
//            ancestors first; one that was told stays as a husk (DONE and CHILDREN, a slot count), in the
//            list |kept|. A sweep over all tasks, a job that each cancel and each husk asks for, passes the
//            news on to all descendants; then no task needs the husks that were there when it began.
// Orders:    the flag is set before the epoch is bumped (release, acquire), so who sees the new epoch
//            sees the flag. Who finds a husk's slot gone was told itself before that: it looks at its own
//            claim again after the walk.
// A task whose submitter had completed before the cancel is on its own. Needs no memory.
// Cost: a sweep looks at every slot. Who has submitted nothing when it is told needs none (what it submits later is
//       found with its husk), and while there is other work, sweeps take a ninth of one worker's time at most.
// Attacked by tests/stress/storm_stress.cc, tests/integration/cancel_test.cc.
#include "core/core.h"

#include <sched.h>

// Whether the ancestor with that id, or one above it, has told its children to stop.
static bool ancestor_stops(uint64_t id, uint32_t epoch)
{
    while (id) {
        mti_record_t *t = mti_record_at((uint32_t)id);
        uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
        if (mti_claim_gen(claim) != (uint32_t)(id >> 32)) return false;
        if (claim & MTI_CLAIM_CHILDREN) return true;
        // acquire: not after the claim is read again
        uint64_t parent = mti_atomic_u64_load_acquire(&t->parent);
        uint32_t known = __atomic_load_n(&t->cancel_epoch.v, __ATOMIC_ACQUIRE);
        claim = mti_atomic_u64_load_acquire(&t->claim);
        if (mti_claim_gen(claim) != (uint32_t)(id >> 32)) return false;
        if (claim & MTI_CLAIM_CHILDREN) return true;
        if (known == epoch) return false; // it has looked itself
        id = parent;
    }
    return false;
}

bool mti_cancel_due(mti_runtime_t *rt, mti_record_t *t)
{
    // acquire: pairs with the release of who bumped it, after setting a flag or |cancelling|
    uint32_t epoch = mti_atomic_u32_load_acquire(&rt->cancel_epoch);
    if (t->def == &mti_piece_def) return false; // its range has to be told
    if (mti_atomic_u32_load_relaxed(&rt->cancelling)) return true;
    if (ancestor_stops(mti_atomic_u64_load_relaxed(&t->parent), epoch)) return true;
    // A sweep may have been here meanwhile, and let go of what we looked for.
    if (mti_atomic_u64_load_acquire(&t->claim) & MTI_CLAIM_CANCEL) return true;
    // release: our own children look no further than us
    __atomic_store_n(&t->cancel_epoch.v, epoch, __ATOMIC_RELEASE);
    return false;
}

void mti_cancel_heard(const mti_record_t *t)
{
    uint64_t head;
    // Of several results the claim decides (run_complete_several), of an attempt that expired its end.
    if (t->result_count != 1 || !(mti_atomic_u64_load_acquire(&t->claim) & MTI_CLAIM_CANCEL))
        return;
    // Who cancels is between the flag and the head (fail_running), for an instant. Without a count nobody can see
    // the result any more, and it stays open.
    while (!mti_object_is_closed(&t->result, &head) &&
           mti_atomic_u64_load_acquire(&t->result.counts) != 0) {
        sched_yield();
    }
}

bool mti_cancel_look(mti_ctx_t *ctx, mti_record_t *t)
{
    if (!mti_cancel_due(ctx->rt, t)) return false;
    if (!mti_atomic_u32_load_relaxed(&ctx->rt->cancelling)) {
        mti_task_fail(ctx, t, mti_atomic_u32_load_relaxed(&t->result.gen), MANTA_ERR_CANCELLED, "",
                      true);
    }
    return true;
}

enum {
    SWEEP_REST = 8, // times as long as it took, before the next one
    SWEEP_REST_MAX_NS = 100000000,
};

static void sweep_job(mti_sched_ctx_t *sched_ctx, mti_job_t *job);

// Has a worker sweep soon; many wishes make one sweep.
static void want_sweep(mti_runtime_t *rt)
{
    // acq_rel: whoever takes the wish sees what it is about
    if (mti_atomic_u32_exchange_acq_rel(&rt->sweep_wanted, 1) != 0) return;
    rt->sweep_job.fn = sweep_job;
    mti_sched_push_job(rt->sched, &rt->sweep_job);
}

void mti_cancel_announce(mti_runtime_t *rt, bool has_children)
{
    // release: the flag in the claim comes before
    (void)mti_atomic_u32_fetch_add_acq_rel(&rt->cancel_epoch, 1);
    (void)mti_atomic_u32_fetch_add_acq_rel(&rt->clean_epoch, 1);
    if (!has_children) return;
    want_sweep(rt);
    mti_mutex_lock(&rt->lock);
    for (mti_ctx_t *ctx = rt->ctxs; ctx; ctx = ctx->next_all) {
        // Whoever begins to wait later looks at the epoch first.
        if (mti_atomic_u32_load_acquire(&ctx->waiting))
            mti_wait_wake(rt, (uint32_t)ctx->sched.index);
    }
    mti_mutex_unlock(&rt->lock);
}

void mti_cancel_keep(mti_ctx_t *ctx, mti_record_t *t)
{
    mti_runtime_t *rt = ctx->rt;
    (void)mti_atomic_u64_fetch_add_acq_rel(&t->result.counts, MTI_COUNT_SLOT);
    void *first = mti_atomic_ptr_load_relaxed(&rt->kept);
    do {
        t->next = first;
        // release: publishes |next|; the list is only ever taken whole, hence no ABA
    } while (!mti_atomic_ptr_cas_acq_rel(&rt->kept, &first, t));
    want_sweep(rt);
}

typedef struct sweep {
    mti_ctx_t *ctx;
    uint32_t epoch;
} sweep_t;

static void sweep_task(mti_slot_t *slot, void *user)
{
    sweep_t *sweep = user;
    mti_record_t *t = mti_record_of(&slot->object);
    // acquire: pairs with the release of submit; nothing else published the record to us
    uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
    mti_task_state_t state = mti_claim_state(claim);
    bool alive = state == MTI_TASK_QUEUED || state == MTI_TASK_RUNNING || state == MTI_TASK_HELD ||
                 state == MTI_TASK_FORWARDED;
    if (!alive || mti_object_runtime(&slot->object) != sweep->ctx->rt->index) return;
    uint64_t parent = mti_atomic_u64_load_acquire(&t->parent);
    if (!parent || __atomic_load_n(&t->def, __ATOMIC_RELAXED) == &mti_piece_def) return;
    // What was read may be of the slot's next task: the generation in the claim decides.
    if (mti_claim_gen(mti_atomic_u64_load_acquire(&t->claim)) != mti_claim_gen(claim)) return;
    if (!ancestor_stops(parent, sweep->epoch)) return;
    mti_task_fail(sweep->ctx, t, mti_claim_gen(claim), MANTA_ERR_CANCELLED,
                  "cancelled with the task that submitted it", true);
}

// Only one at a time, and by the job: it alone takes the wish back.
static void sweep_all(mti_ctx_t *ctx)
{
    mti_runtime_t *rt = ctx->rt;
    mti_record_t *kept = mti_atomic_ptr_exchange_acquire(&rt->kept, NULL);
    sweep_t sweep = {ctx, mti_atomic_u32_load_acquire(&rt->cancel_epoch)};
    mti_mutex_lock(&rt->lock);
    mti_ctx_t *first = rt->ctxs; // contexts are only ever added, at the front
    mti_mutex_unlock(&rt->lock);
    for (mti_ctx_t *at = first; at; at = at->next_all)
        mti_table_cache_each(&at->table, sweep_task, &sweep);
    for (mti_record_t *next; kept; kept = next) {
        next = kept->next;
        mti_object_release(ctx, &kept->result, MTI_COUNT_SLOT);
    }
}

static void sweep_job(mti_sched_ctx_t *sched_ctx, mti_job_t *job)
{
    mti_ctx_t *ctx = (mti_ctx_t *)(void *)sched_ctx;
    mti_runtime_t *rt = ctx->rt;
    int64_t begin = rt->is_serial ? 0 : mti_clock_ns();
    // relaxed: two jobs at a time are rare, and any of the two values will do. A clock that jumps delays it by no
    // more than the longest rest.
    int64_t wait = (int64_t)mti_atomic_u64_load_relaxed(&rt->sweep_rests_until) - begin;
    if (begin && wait > 0 && wait <= SWEEP_REST_MAX_NS && mti_sched_has_work(rt->sched)) {
        mti_sched_push_job(rt->sched, job); // behind the others
        return;
    }
    // acq_rel: what is announced from here on is for the next sweep, whose job may run beside this one
    (void)mti_atomic_u32_exchange_acq_rel(&rt->sweep_wanted, 0);
    sweep_all(ctx);
    mti_atomic_u64_owner_add(&rt->sweeps, 1);
    if (!begin) return;
    int64_t end = mti_clock_ns(), rest = (end - begin) * SWEEP_REST;
    if (rest > SWEEP_REST_MAX_NS) rest = SWEEP_REST_MAX_NS;
    mti_atomic_u64_store_relaxed(&rt->sweep_rests_until, (uint64_t)(end + rest));
}
