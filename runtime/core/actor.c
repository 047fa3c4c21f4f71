// Actors: mailboxes, turns, order, life.
//
// Roles. A *caller* puts records into the mailbox. The *holder of the turn* is the one thread that takes
// them out; it runs them, or hands them out as tasks (CONCURRENT). A *killer* takes away what waits.
//
// The mailbox is a stack that is only ever taken whole, hence no ABA; the holder turns it round into |todo|.
// Whoever puts a record into an IDLE mailbox makes the turn SCHEDULED and queues an entry for the actor.
// Queues may hand an entry out twice, so the turn is claimed by a CAS that checks the generation, as a
// task's is.
//
//     NEW ──constructor's arguments ready──► SCHEDULED ──claim──► HELD ──nothing left──► IDLE
//                                                ▲─────batch over───┘ ▲                    │
//                                                └──put, kick─────────┼────────────────────┤
//                                                                     └──a waiter takes it─┘
//
// An actor that was called with priorities has lists besides, and a turn that is PARKED: actor_band.c.
//
// Giving the turn back: first the turn becomes IDLE, then the mailbox (EMPTY → IDLE, by CAS), then
// actor_has_work() looks once more. Putting or changing |life| comes before waking, which looks at the
// turn. All of these are seq_cst: of a holder that leaves and somebody who brings work one sees the other.
// The right is try-acquired, never waited for.
//
// |deps| of a method's record has two more than its open arguments: one until it is delivered, one until
// it is taken out of the mailbox. So a record that is cancelled stays until both have happened, and
// neither the mailbox nor the lists here ever point to a slot that was freed. Delivered records have
// deps 1, and nobody but who takes them out changes that.
//
// Order. Calls that can't be delivered at once stand in the *row* of their caller to this actor; a call
// goes straight to the mailbox when its arguments are ready and its caller has no such row with anything
// in it. Only a row's caller adds to it, so "empty" stays true until it does.
//
// Who frees: the slot has one internal count until the actor has ended and one per call that is not
// complete; the last to go frees it (ref.c). Who takes the turn holds a slot count besides: a wake may come
// too late, and then its entry is all that is left of an actor.
//
// Stress test: tests/stress/actor_stress.cc.
#include "core/actor_impl.h"

#include <stdio.h>
#include <string.h>

enum {
    BATCH = 64,
    AHEAD = 6, // records
};

// ---- the turn -----------------------------------------------------------------------------------

bool mti_actor_seat_fits(const mti_runtime_t *rt, const mti_actor_rare_t *pin, int seat)
{
    if (seat < 0) return false;
    if (pin->pin_core >= 0) return seat == pin->pin_core;
    int core = mti_sched_seat_core(rt->sched, seat);
    return mti_topology_core(rt->topology, core)->node == pin->pin_node;
}

void mti_actor_pinned_run(mti_sched_ctx_t *sched_ctx, mti_job_t *job)
{
    mti_ctx_t *ctx = (mti_ctx_t *)(void *)sched_ctx;
    mti_actor_rare_t *rare =
        (mti_actor_rare_t *)(void *)((char *)job - offsetof(mti_actor_rare_t, job));
    mti_actor_t *actor = rare->self;
    // acq_rel: it may be queued again from here on, by whoever makes the turn SCHEDULED after this
    (void)mti_atomic_u32_exchange_acq_rel(&rare->job_queued, 0);
    mti_actor_run_entry(ctx, mti_ref_of(&actor->object).id);
    mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
}

// Queues a pinned actor where it belongs. False: it is not pinned.
static bool schedule_pinned(mti_ctx_t *ctx, uint64_t id)
{
    mti_actor_t *actor = (mti_actor_t *)(void *)mti_ref_acquire_weak(id, MTI_COUNT_SLOT);
    if (!actor) return true; // gone: the wake came too late
    if (!(mti_actor_flags(actor) & MTI_ACTOR_PINNED)) {
        mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
        return false;
    }
    mti_actor_rare_t *rare = actor->more->rare;
    int workers = mti_sched_worker_count(ctx->rt->sched), seat = rare->pin_core;
    if (seat < 0) { // those of the node in turns; there is one
        seat = (int)(mti_atomic_u32_fetch_add_relaxed(&rare->pin_turn, 1) % (uint32_t)workers);
        while (!mti_actor_seat_fits(ctx->rt, rare, seat))
            seat = (seat + 1) % workers;
    }
    if (mti_atomic_u32_exchange_acq_rel(&rare->job_queued, 1)) {
        mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT); // there already
    } else {
        mti_sched_push_job_at(ctx->rt->sched, seat, &rare->job); // with the count
    }
    return true;
}

void mti_actor_schedule(mti_ctx_t *ctx, uint32_t slot, uint32_t gen)
{
    uint64_t id = mti_ref_make(slot, gen).id;
    if (MTI_UNLIKELY(mti_atomic_u32_load_relaxed(&ctx->rt->has_pinned)) &&
        schedule_pinned(ctx, id)) {
        return;
    }
    // Without memory to queue it, it runs here and now: nothing is lost.
    if (MTI_UNLIKELY(!mti_sched_push(&ctx->sched, id | MTI_ACTOR_ENTRY))) {
        mti_actor_run_entry(ctx, id);
    }
}

void mti_actor_wake(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t slot, uint32_t gen)
{
    uint64_t scheduled = mti_turn_word(gen, MTI_TURN_SCHEDULED);
    if (MTI_LIKELY(mti_turn_change(actor, gen, MTI_TURN_IDLE, scheduled)) ||
        mti_turn_change(actor, gen, MTI_TURN_PARKED, scheduled)) {
        mti_actor_schedule(ctx, slot, gen);
    }
}

void mti_actor_kick(mti_ctx_t *ctx, mti_actor_t *actor)
{
    uint32_t gen = mti_actor_gen(actor), slot = actor->object.slot;
    bool fails = mti_atomic_u32_load_seq_cst(&actor->life) == MTI_LIFE_FAILED;
    if (fails &&
        mti_turn_change(actor, gen, MTI_TURN_NEW, mti_turn_word(gen, MTI_TURN_SCHEDULED))) {
        mti_actor_schedule(ctx, slot, gen);
        return;
    }
    mti_actor_wake(ctx, actor, slot, gen);
}

uint32_t mti_actor_running(const mti_actor_t *actor)
{
    const mti_actor_more_t *more = actor->more;
    uint32_t sum = more->device ? mti_atomic_u32_load_seq_cst(&more->device->running) : 0;
    for (uint32_t i = 0; i < more->group_count; i++)
        sum += mti_atomic_u32_load_seq_cst(&more->groups[i].running);
    return sum;
}

// Whether a group could hand something out.
static bool actor_groups_have_work(const mti_actor_t *actor)
{
    for (uint32_t i = 0; i < actor->more->group_count; i++) {
        const mti_actor_group_t *group = &actor->more->groups[i];
        if (mti_atomic_u32_load_seq_cst(&group->waiting) &&
            mti_atomic_u32_load_seq_cst(&group->running) < group->limit) {
            return true;
        }
    }
    return false;
}

// Whether there is something to do that no put will wake anybody for. The self count is held.
static bool actor_has_work(const mti_actor_t *actor)
{
    switch (mti_atomic_u32_load_seq_cst(&actor->life)) {
    case MTI_LIFE_ALIVE:
        break;
    case MTI_LIFE_STOPPING:
        if (mti_actor_open_calls(actor) == 0 && mti_actor_running(actor) == 0) return true;
        break;
    case MTI_LIFE_RESTARTING:
    case MTI_LIFE_FAILED:
        return mti_actor_running(actor) == 0;
    default:
        return mti_atomic_ptr_load_acquire(&actor->more->create_ready) != NULL;
    }
    const mti_actor_more_t *more = actor->more;
    if (MTI_UNLIKELY(more->device != NULL)) return mti_actor_device_has_work(more->device);
    return more->group_count && actor_groups_have_work(actor);
}

void mti_actor_calls_gone(mti_ctx_t *ctx, mti_actor_t *actor, uint64_t n)
{
    uint32_t gen = mti_actor_gen(actor), slot = actor->object.slot;
    uint64_t sub = n * MTI_COUNT_INTERNAL;
    uint64_t left = mti_atomic_u64_fetch_sub_acq_rel(&actor->object.counts, sub) - sub;
    if (left == 0) {
        // It has ended, or it would have a count.
        mti_object_free(ctx, &actor->object);
        return;
    }
    // The actor may be gone, and this a stranger's word; a wake that hits nobody does no harm.
    if (mti_atomic_u32_load_seq_cst(&actor->life) == MTI_LIFE_STOPPING &&
        mti_count_internal(left) == 1) {
        mti_actor_wake(ctx, actor, slot, gen);
    }
}

// ---- the mailbox --------------------------------------------------------------------------------

void mti_actor_put(mti_ctx_t *ctx, mti_actor_t *actor, mti_record_t *t)
{
    uint32_t gen = mti_actor_gen(actor), slot = actor->object.slot;
    if (mti_mail_put(actor, t)) mti_actor_wake(ctx, actor, slot, gen);
}

mti_record_t *mti_mail_take(mti_actor_t *actor, mti_record_t **out_last)
{
    uint64_t mail = mti_atomic_u64_load_relaxed(&actor->object.u.mail);
    do {
        if (mail == MTI_MAIL_EMPTY || mail == MTI_MAIL_IDLE) return NULL;
        // acquire: the records
    } while (!mti_atomic_u64_cas_acq_rel(&actor->object.u.mail, &mail, MTI_MAIL_EMPTY));
    mti_record_t *t = (mti_record_t *)(uintptr_t)mail, *reversed = NULL;
    *out_last = t;
    while (t) {
        mti_record_t *next = mti_method_of(t)->mail_next;
        // Each record is in its caller's cache, and only the one before tells where it is. But a caller's
        // slots mostly follow each other at one distance: asks for the link a few records ahead. An address
        // that is none does no harm.
        if (next) {
            uintptr_t ahead = (uintptr_t)next + AHEAD * ((uintptr_t)next - (uintptr_t)t);
            __builtin_prefetch((const void *)(ahead + offsetof(mti_record_t, inline_args)), 1);
        }
        mti_method_of(t)->mail_next = reversed;
        reversed = t;
        t = next;
    }
    return reversed;
}

void mti_actor_todo_freeze(mti_actor_t *actor)
{
    uint32_t none = 0;
    while (!mti_atomic_u32_cas_acq_rel(&actor->frozen, &none, 1)) {
        none = 0;
        sched_yield();
    }
    mti_fence_heavy();
    while (mti_atomic_u32_load_acquire(&actor->busy))
        sched_yield();
}
void mti_actor_todo_thaw(mti_actor_t *actor)
{
    mti_atomic_u32_store_release(&actor->frozen, 0);
}

void mti_actor_todo_append(mti_actor_t *actor, mti_record_t *first, mti_record_t *last)
{
    if (!first) return;
    mti_method_of(last)->mail_next = NULL;
    if (actor->todo) {
        mti_method_of(actor->todo_last)->mail_next = first;
    } else {
        actor->todo = first;
    }
    actor->todo_last = last;
}

mti_record_t *mti_actor_todo_first(mti_actor_t *actor)
{
    if (!actor->todo) {
        mti_record_t *last, *first = mti_mail_take(actor, &last);
        if (!first) return NULL;
        actor->todo = first;
        actor->todo_last = last;
    }
    return actor->todo;
}

// The oldest of |todo| and the mailbox; inside the bracket.
static mti_record_t *todo_next(mti_actor_t *actor)
{
    mti_record_t *t = mti_actor_todo_first(actor);
    if (t) actor->todo = mti_method_of(t)->mail_next;
    return t;
}

// What the holder of the turn runs next.
static mti_record_t *todo_pop(mti_actor_t *actor)
{
    mti_actor_todo_enter(actor);
    mti_record_t *t;
    if (MTI_UNLIKELY(mti_actor_has_bands(actor))) {
        t = mti_actor_bands_first(actor);
        if (t) mti_actor_bands_take(actor, t);
    } else {
        t = todo_next(actor);
    }
    const char *next = (const char *)actor->todo; // on its way while this one runs
    for (size_t i = 0; next && i < MTI_SLOT_BYTES; i += 64)
        __builtin_prefetch(next + i, 1);
    if (t) mti_atomic_u64_store_relaxed(&actor->current, mti_ref_of(&t->result).id);
    mti_actor_todo_leave(actor);
    return t;
}

void mti_actor_taken_out(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen)
{
    // seq_cst, against fail_results: one of us sees both that it is failed and that nothing holds it
    mti_atomic_u32_store_seq_cst(&t->deps, 0);
    if (mti_atomic_u64_load_seq_cst(&t->claim) == mti_claim_make(gen, 0, MTI_TASK_CANCELLED)) {
        mti_task_finish_cancelled(ctx, t, gen);
    }
}

void mti_actor_fail_taken_out(mti_ctx_t *ctx, mti_record_t *t, const manta_error_t *error)
{
    uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    mti_task_fail_now(ctx, t, gen, error);
    mti_actor_taken_out(ctx, t, gen);
}

// ---- the holder of the turn ---------------------------------------------------------------------

// Runs user code that is no task of its own: a destructor.
static void run_destructor(mti_ctx_t *ctx, mti_actor_t *actor)
{
    if (!actor->constructed) return;
    actor->constructed = false;
    if (!actor->def->destroy) return;
    mti_thread_t *thread = mti_thread_tls;
    mti_callback_t callback;
    mti_callback_enter(&callback, thread, ctx);
    actor->def->destroy(actor->state);
    mti_callback_leave(&callback, thread);
}

// What the holder of the turn has to do when it lets go.
typedef struct drive {
    uint64_t next; // a task that became ready, to be run next; 0: none
    uint64_t gone; // calls that are complete, whose counts are to be given back
    uint64_t held; // a count of its own, on an actor that has ended
    bool counted;  // its end counts as a task that is complete then
} drive_t;

// Why there is nobody any more, for a call that came late. Without a failure that is made here first.
static const manta_error_t *actor_end_error(mti_actor_t *actor)
{
    mti_actor_more_t *more = actor->more;
    mti_mutex_lock(&more->lock);
    if (!more->error) {
        char text[160];
        snprintf(text, sizeof text, "actor %s has ended", mti_actor_name(actor));
        more->error = mti_error_create(MANTA_ERR_ACTOR_DIED, MANTA_SCOPE_ACTOR, actor->def->name,
                                       "", 0, text, NULL);
    }
    const manta_error_t *error = more->error;
    mti_mutex_unlock(&more->lock);
    return error;
}

// The actor has ended: tells whoever wants to know. Its own count goes to the holder of the turn.
static void actor_end(mti_ctx_t *ctx, mti_actor_t *actor, drive_t *drive)
{
    mti_actor_more_t *more = actor->more;
    mti_actor_rare_t *rare = more->rare;
    run_destructor(ctx, actor);
    if (rare) mti_actor_name_drop(ctx->rt, actor);
    mti_mutex_lock(&more->lock);
    mti_object_t *death = more->death;
    more->death = NULL;
    const manta_error_t *error = more->error;
    bool failed = mti_atomic_u32_load_relaxed(&actor->life) == MTI_LIFE_FAILED;
    bool has_creator = rare && rare->has_creator;
    drive->counted = more->counted;
    drive->held = 1;
    more->counted = false;
    if (rare) rare->has_creator = false;
    more->has_failed = failed;
    mti_atomic_u32_store_seq_cst(&actor->life, MTI_LIFE_DEAD);
    mti_mutex_unlock(&more->lock);
    // One that was told to stop ends without calls; those that come late are failed by actor_drive.
    if (failed) mti_actor_fail_calls(ctx, actor, error, false, false, 0);
    if (rare && rare->share) mti_actor_share_end(ctx, actor);
    if (more->kept) mti_actor_kept_release(ctx, actor);
    if (more->holds || more->device) mti_actor_holds_release(ctx, more);
    if (more->rows.capacity) mti_rows_deinit(&more->rows);
    if (has_creator && mti_watch_remove(&rare->creator)) {
        mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
    }
    if (death && failed) {
        (void)mti_object_close_failed(ctx, death, (manta_error_t *)manta_error_retain(error), NULL,
                                      0, NULL);
    } else if (death) {
        (void)mti_object_close(ctx, death, MTI_HEAD_CLOSED, NULL);
    }
    if (death) mti_object_release(ctx, death, MTI_COUNT_INTERNAL);
    (void)mti_object_close_quick(
        ctx, &actor->object, failed ? mti_head_bare(MANTA_ERR_ACTOR_DIED) : MTI_HEAD_CLOSED, NULL);
    if (mti_actor_flags(actor) & MTI_ACTOR_KEEPS_COUNT) {
        mti_object_release(ctx, &actor->object, MTI_COUNT_USER);
    }
}

// Runs one call that was taken out. False: it was cancelled.
static bool run_one(mti_ctx_t *ctx, mti_actor_t *actor, mti_record_t *t, drive_t *drive)
{
    uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    if (MTI_UNLIKELY(!mti_task_claim(ctx, t, gen))) {
        mti_actor_taken_out(ctx, t, gen);
        return false;
    }
    mti_thread_t *thread = mti_thread_tls;
    bool counts_started = actor->max_pending != 0;
    if (MTI_UNLIKELY(drive->next != 0)) {
        mti_record_ready(ctx, (mti_ready_t){.id = drive->next});
        drive->next = 0;
    }
    // One that has started is pending no more.
    if (counts_started) {
        (void)mti_atomic_u64_fetch_sub_acq_rel(&actor->object.counts, MTI_COUNT_INTERNAL);
    }
    thread->call_kept = false;
    mti_task_run_method(ctx, t, &drive->next);
    mti_atomic_u64_owner_add(&actor->ran, 1);
    if (MTI_LIKELY(!thread->call_kept)) drive->gone += !counts_started;
    thread->call_kept = false;
    return true;
}

// Takes the next call that its group may run; handed out when this returns true.
static bool hand_one_out(mti_ctx_t *ctx, mti_actor_t *actor)
{
    mti_actor_more_t *more = actor->more;
    mti_record_t *t = NULL;
    mti_actor_group_t *group = NULL;
    mti_actor_todo_enter(actor);
    bool has_bands = mti_actor_has_bands(actor);
    if (MTI_UNLIKELY(has_bands)) t = mti_actor_bands_hand_out(actor, &group);
    for (uint32_t i = 0; i < more->group_count && !t && !has_bands; i++) {
        group = &more->groups[i];
        if (group->first && mti_atomic_u32_load_seq_cst(&group->running) < group->limit) {
            t = group->first;
            group->first = mti_method_of(t)->mail_next;
            if (!group->first) group->last = NULL;
            (void)mti_atomic_u32_fetch_sub_acq_rel(&group->waiting, 1);
        }
    }
    while (!t && !has_bands && (t = todo_next(actor))) {
        group = &more->groups[mti_method_of(t)->group];
        if (!group->first && mti_atomic_u32_load_seq_cst(&group->running) < group->limit) break;
        mti_method_of(t)->mail_next = NULL;
        *(group->last ? &mti_method_of(group->last)->mail_next : &group->first) = t;
        group->last = t;
        (void)mti_atomic_u32_fetch_add_seq_cst(&group->waiting, 1);
        t = NULL;
    }
    if (!t) {
        mti_actor_todo_leave(actor);
        return false;
    }
    uint64_t id = mti_ref_of(&t->result).id;
    (void)mti_atomic_u32_fetch_add_seq_cst(&group->running, 1);
    for (uint32_t i = 0;; i++) { // there is a free place: they are taken by us only
        if (mti_atomic_u64_load_relaxed(&group->ids[i])) continue;
        mti_atomic_u64_store_release(&group->ids[i], id);
        break;
    }
    mti_actor_todo_leave(actor);
    // As for any queued task from here on: deps is 0, whoever claims it runs it. The record may be gone then: the
    // generation in its claim tells.
    uint32_t gen = (uint32_t)(id >> 32);
    mti_atomic_u32_store_seq_cst(&t->deps, 0);
    uint64_t claim = mti_atomic_u64_load_seq_cst(&t->claim);
    if (MTI_UNLIKELY(claim == mti_claim_make(gen, 0, MTI_TASK_HELD))) { // after a failed attempt
        // Fails if it was cancelled: |claim| tells then.
        (void)mti_atomic_u64_cas_seq_cst(&t->claim, &claim,
                                         mti_claim_make(gen, 0, MTI_TASK_QUEUED));
    }
    if (claim == mti_claim_make(gen, 0, MTI_TASK_CANCELLED)) {
        mti_task_finish_cancelled(ctx, t, gen); // gives its place back
    } else {
        mti_record_ready(ctx, (mti_ready_t){.id = id});
    }
    return true;
}

// A call that was handed out is over. The caller's count keeps the actor.
static void place_give_back(mti_actor_t *actor, uint32_t group_index, uint64_t id)
{
    mti_actor_group_t *group = &actor->more->groups[group_index];
    for (uint32_t i = 0; i < group->limit; i++) {
        uint64_t expected = id;
        if (mti_atomic_u64_load_relaxed(&group->ids[i]) != id) continue;
        if (!mti_atomic_u64_cas_acq_rel(&group->ids[i], &expected, 0)) continue;
        (void)mti_atomic_u32_fetch_sub_acq_rel(&group->running, 1);
        return;
    }
}

void mti_actor_call_over(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t group, uint64_t id)
{
    uint32_t flags = mti_actor_flags(actor);
    if (flags & (MTI_ACTOR_CONCURRENT | MTI_ACTOR_DEVICE)) {
        if (flags & MTI_ACTOR_DEVICE) {
            mti_actor_device_give_back(actor->more->device, id);
        } else {
            place_give_back(actor, group, id);
        }
        if (actor_has_work(actor)) {
            mti_actor_wake(ctx, actor, actor->object.slot, mti_actor_gen(actor));
        }
    }
    mti_actor_calls_gone(ctx, actor, 1);
}

void mti_actor_run_handed_out(mti_ctx_t *ctx, mti_record_t *t, bool chain)
{
    mti_actor_t *actor = mti_method_actor(t);
    mti_thread_t *thread = mti_thread_tls;
    uint32_t group = mti_method_of(t)->group;
    uint64_t id = mti_ref_of(&t->result).id, next = 0;
    thread->call_kept = false;
    mti_task_run_method(ctx, t, chain ? &next : NULL);
    bool kept = thread->call_kept;
    thread->call_kept = false;
    // One more count while a call that was kept may be run and gone.
    if (kept) (void)mti_atomic_u64_fetch_add_relaxed(&actor->object.counts, MTI_COUNT_INTERNAL);
    mti_actor_call_over(ctx, actor, group, id);
    if (next) mti_record_ready(ctx, (mti_ready_t){.id = next});
}

// Submits the constructor, with the arguments that were kept. False: the turn is given up until they are ready.
static bool submit_create(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t gen)
{
    mti_actor_more_t *more = actor->more;
    const manta_task_def_t *create = more->def->create;
    if (!create) {
        if (!mti_atomic_u32_load_relaxed(&more->restarts)) actor->constructed = true;
        return true;
    }
    // The turn stays ours meanwhile: an end would free what is submitted here.
    (void)mti_atomic_u64_fetch_add_relaxed(&actor->object.counts, MTI_COUNT_INTERNAL);
    manta_status_t status = mti_task_submit_method((manta_actor_t){mti_ref_of(&actor->object).id},
                                                   actor, more->def->create, NULL, more->kept,
                                                   create->args_bytes, NULL, 0, false);
    if (status != MANTA_OK) {
        manta_error_t *cause = mti_error_create(status, MANTA_SCOPE_TASK, create->name, "", 0,
                                                manta_error_message(), NULL);
        mti_actor_fail(ctx, actor, cause, MTI_ACTOR_ENDS, 0,
                       "its constructor could not be submitted again");
        manta_error_release(cause);
        return true;
    }
    // Nobody's, until the constructor's arguments are ready: they may well be, or it has failed since.
    // seq_cst, against call_ready and kick: one of us sees what the other did.
    mti_atomic_u64_store_seq_cst(&actor->claim, mti_turn_word(gen, MTI_TURN_NEW));
    bool go_on = mti_atomic_ptr_load_seq_cst(&more->create_ready) != NULL ||
                 mti_atomic_u32_load_seq_cst(&actor->life) == MTI_LIFE_FAILED;
    return go_on && mti_turn_take(ctx, actor, gen, MTI_TURN_NEW);
}

// Asks for a share where it goes now, and comes back here with it. False: the turn is given up until then.
static bool ask_again(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t gen)
{
    manta_status_t status = mti_actor_share_ask(ctx, actor);
    if (status != MANTA_OK) {
        manta_error_t *cause = mti_error_create(status, MANTA_SCOPE_TASK, actor->def->name, "", 0,
                                                manta_error_message(), NULL);
        mti_actor_fail(ctx, actor, cause, MTI_ACTOR_ENDS, 0, "it could not ask for its share");
        manta_error_release(cause);
        return true;
    }
    // As in submit_create.
    mti_atomic_u64_store_seq_cst(&actor->claim, mti_turn_word(gen, MTI_TURN_NEW));
    bool go_on = !mti_actor_share_is_missing(actor) ||
                 mti_atomic_u32_load_seq_cst(&actor->life) == MTI_LIFE_FAILED;
    return go_on && mti_turn_take(ctx, actor, gen, MTI_TURN_NEW);
}

// Constructor again. False: the turn is given up until its arguments are ready.
static bool restart_create(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t gen)
{
    mti_actor_more_t *more = actor->more;
    if (more->holds || more->device) mti_actor_holds_release(ctx, more);
    if (more->device && !mti_actor_device_again(ctx, actor)) {
        manta_error_t *cause = mti_actor_device_gone(actor);
        mti_actor_fail(ctx, actor, cause, MTI_ACTOR_ENDS, 0, "%s", manta_error_text(cause));
        manta_error_release(cause);
        return true;
    }
    if (more->rare && more->rare->share) {
        mti_actor_share_move(ctx, actor);
        if (mti_actor_share_is_missing(actor)) return ask_again(ctx, actor, gen);
    }
    memset(actor->state, 0, actor->def->state_bytes);
    (void)mti_atomic_u32_fetch_add_relaxed(&more->restarts, 1);
    mti_atomic_u32_store_relaxed(&more->create_failed, 0);
    mti_mutex_lock(&more->lock);
    more->phase = MTI_RESTART_CREATING;
    mti_mutex_unlock(&more->lock);
    return submit_create(ctx, actor, gen);
}

typedef enum turn_check {
    CHECK_RUN,    // take calls out
    CHECK_LEAVE,  // give the turn back
    CHECK_PASSED, // the turn is not ours any more
} turn_check_t;

// Restarted, or made for the first time: calls run from here on.
static void actor_is_up(mti_ctx_t *ctx, mti_actor_t *actor)
{
    mti_actor_more_t *more = actor->more;
    bool counted = false;
    actor->constructed = true;
    mti_atomic_u64_store_relaxed(&more->create_id, 0);
    if (!mti_atomic_u32_load_relaxed(&more->restarts)) return; // made for the first time
    mti_mutex_lock(&more->lock);
    if (more->phase == MTI_RESTART_CREATING &&
        mti_atomic_u32_load_relaxed(&actor->life) == MTI_LIFE_RESTARTING) {
        more->phase = MTI_RESTART_NONE;
        mti_atomic_u32_store_seq_cst(&actor->life, MTI_LIFE_ALIVE);
        counted = more->counted;
        more->counted = false;
    }
    mti_mutex_unlock(&more->lock);
    mti_actor_uncount(ctx, counted);
}

// Looks at |life|, and does what has to be done before calls run.
static turn_check_t turn_check(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t gen, drive_t *drive)
{
    mti_actor_more_t *more = actor->more;
    for (;;) {
        uint32_t life = mti_atomic_u32_load_seq_cst(&actor->life);
        if (MTI_LIKELY(life == MTI_LIFE_ALIVE && actor->constructed)) return CHECK_RUN;
        mti_record_t *create = mti_atomic_ptr_load_seq_cst(&more->create_ready)
                                   ? mti_atomic_ptr_exchange_acquire(&more->create_ready, NULL)
                                   : NULL;
        if (create && life >= MTI_LIFE_FAILED) {
            // Killed before it was submitted, or while its arguments became ready.
            mti_atomic_u32_store_release(&more->create_failed, 1);
            mti_actor_fail_taken_out(ctx, create, mti_error_bare(MANTA_ERR_ACTOR_DIED));
            continue;
        }
        if (create && mti_actor_device_create(ctx, actor, create)) return CHECK_LEAVE;
        if (MTI_UNLIKELY(more->device && more->device->is_creating)) {
            // Its constructor is on the device, or has come back.
            if (mti_actor_running(actor)) return CHECK_LEAVE;
            more->device->is_creating = false;
            if (!mti_atomic_u32_load_acquire(&more->create_failed)) actor_is_up(ctx, actor);
            continue;
        }
        if (create) {
            // One that was cancelled may not have said yet that it failed.
            bool ran = run_one(ctx, actor, create, drive);
            bool failed = mti_atomic_u32_load_acquire(&more->create_failed);
            if (ran && !failed) actor_is_up(ctx, actor);
            continue;
        }
        if (life == MTI_LIFE_DEAD) return CHECK_RUN;
        if (life <= MTI_LIFE_STOPPING && more->rare && mti_actor_share_begins(actor)) {
            // It has its share: the constructor comes now.
            if (!submit_create(ctx, actor, gen)) return CHECK_PASSED;
            continue;
        }
        if (life == MTI_LIFE_FAILED) {
            if (mti_actor_running(actor)) return CHECK_LEAVE;
            actor_end(ctx, actor, drive);
            continue;
        }
        if (life == MTI_LIFE_RESTARTING) {
            if (mti_actor_running(actor)) return CHECK_LEAVE;
            mti_mutex_lock(&more->lock);
            mti_restart_phase_t phase = more->phase;
            mti_mutex_unlock(&more->lock);
            if (phase == MTI_RESTART_CREATING && !more->def->create) {
                actor_is_up(ctx, actor);
                continue;
            }
            if (phase != MTI_RESTART_DOWN) return CHECK_LEAVE;
            run_destructor(ctx, actor);
            if (!restart_create(ctx, actor, gen)) return CHECK_PASSED;
            continue;
        }
        if (life == MTI_LIFE_STOPPING) {
            if (drive->gone) {
                (void)mti_atomic_u64_fetch_sub_acq_rel(&actor->object.counts,
                                                       drive->gone * MTI_COUNT_INTERNAL);
                drive->gone = 0;
            }
            if (mti_actor_open_calls(actor) || mti_actor_running(actor)) return CHECK_RUN;
            actor_end(ctx, actor, drive);
            continue;
        }
        return CHECK_RUN;
    }
}

static bool has_todo(mti_actor_t *actor)
{
    mti_actor_todo_enter(actor);
    bool has = actor->todo != NULL || mti_actor_bands_have_todo(actor);
    mti_actor_todo_leave(actor);
    return has;
}

static bool has_mail(const mti_actor_t *actor)
{
    return mti_atomic_u64_load_relaxed(&actor->object.u.mail) > MTI_MAIL_IDLE;
}

static bool is_still_queued(const mti_record_t *t, uint32_t gen)
{
    uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
    return claim == mti_claim_make(gen, 0, MTI_TASK_QUEUED) ||
           claim == mti_claim_make(gen, 0, MTI_TASK_HELD);
}

// Whether the turn of an actor on a device is worth another batch: not while its calls wait for others.
static bool device_may_go_on(mti_actor_t *actor)
{
    const mti_actor_device_t *device = actor->more->device;
    bool waits = mti_atomic_u32_load_relaxed(&device->resume_at) != MTI_RESUME_NEVER;
    return waits ? mti_actor_device_has_work(device) : has_todo(actor) || has_mail(actor);
}

// Runs calls, a batch or until |until| is not queued any more, and gives the turn back. Takes a slot count,
// which keeps the actor while that happens. |was_parked|: that was what it found.
static void actor_drive(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t gen, bool was_parked,
                        const mti_record_t *until, uint32_t until_gen)
{
    uint32_t slot = actor->object.slot;
    drive_t drive = {0};
    int budget = BATCH;
    bool may_yield = !until, is_waiter = until != NULL;
    if (mti_atomic_u32_load_acquire(&actor->life) == MTI_LIFE_DEAD) {
        // A call that came late, which has a count; that goes when it is failed.
        (void)mti_atomic_u64_fetch_add_relaxed(&actor->object.counts, MTI_COUNT_INTERNAL);
        drive.held = 1;
    }
    for (;;) {
        turn_check_t check = turn_check(ctx, actor, gen, &drive);
        if (check == CHECK_PASSED) break;
        bool enough = budget <= 0 || (until && !is_still_queued(until, until_gen));
        bool has_bands = mti_actor_has_bands(actor);
        if (MTI_UNLIKELY(has_bands) && check == CHECK_RUN && !drive.held && !enough && may_yield) {
            enough = mti_actor_bands_yield(ctx, actor, was_parked, budget == BATCH);
        }
        if (check == CHECK_RUN && drive.held) {
            if (has_todo(actor) || has_mail(actor)) {
                mti_actor_fail_calls(ctx, actor, actor_end_error(actor), false, false, 0);
            }
        } else if (check == CHECK_RUN && enough) {
            if (actor->more->device
                    ? device_may_go_on(actor)
                    : has_todo(actor) || has_mail(actor) ||
                          (actor->more->group_count && actor_groups_have_work(actor))) {
                // Whoever comes next goes on.
                if (MTI_UNLIKELY(has_bands)) {
                    if (mti_actor_bands_give_on(ctx, actor, gen)) break;
                    budget = BATCH;
                    until = NULL;
                    may_yield = false;
                    continue;
                }
                mti_atomic_u64_store_seq_cst(&actor->claim, mti_turn_word(gen, MTI_TURN_SCHEDULED));
                mti_actor_schedule(ctx, slot, gen);
                break;
            }
        } else if (check == CHECK_RUN && MTI_UNLIKELY(mti_actor_flags(actor) & MTI_ACTOR_DEVICE)) {
            mti_record_t *t;
            mti_device_call_t call = mti_actor_device_next(ctx, actor, &t);
            budget--;
            if (call == MTI_DEVICE_CALL_HERE) {
                (void)run_one(ctx, actor, t, &drive);
                mti_atomic_u64_store_relaxed(&actor->current, 0);
            }
            if (call != MTI_DEVICE_CALL_NONE) continue;
        } else if (check == CHECK_RUN && mti_actor_flags(actor) & MTI_ACTOR_CONCURRENT) {
            budget--;
            if (hand_one_out(ctx, actor)) continue;
        } else if (check == CHECK_RUN) {
            mti_record_t *t = todo_pop(actor);
            if (t) {
                budget--;
                (void)run_one(ctx, actor, t, &drive);
                mti_atomic_u64_store_relaxed(&actor->current, 0);
                continue;
            }
        }
        mti_atomic_u64_store_seq_cst(&actor->claim, mti_turn_word(gen, MTI_TURN_IDLE));
        uint64_t mail = MTI_MAIL_EMPTY;
        bool is_idle = mti_atomic_u64_cas_seq_cst(&actor->object.u.mail, &mail, MTI_MAIL_IDLE) ||
                       mail == MTI_MAIL_IDLE;
        if (is_idle && !actor_has_work(actor)) break;
        bool waits =
            check == CHECK_LEAVE ||
            (actor->more->device &&
             mti_atomic_u32_load_relaxed(&actor->more->device->resume_at) != MTI_RESUME_NEVER);
        if (!is_idle && waits && !actor_has_work(actor)) {
            break; // who brings |life| on, or completes a call on a device, looks at the mailbox, too
        }
        if (!mti_turn_take(ctx, actor, gen, MTI_TURN_IDLE)) break;
    }
    if (drive.gone + drive.held) mti_actor_calls_gone(ctx, actor, drive.gone + drive.held);
    mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
    mti_actor_uncount(ctx, drive.counted);
    if (!drive.next) return;
    if (is_waiter) {
        mti_record_ready(ctx, (mti_ready_t){.id = drive.next});
        return;
    }
    mti_record_t *t = mti_record_at((uint32_t)drive.next);
    if (mti_task_claim(ctx, t, (uint32_t)(drive.next >> 32))) mti_task_run_claimed(ctx, t);
}

void mti_actor_run_entry(mti_ctx_t *ctx, uint64_t id)
{
    // An entry holds no count: the actor may be gone, whatever its turn still says.
    mti_actor_t *actor = (mti_actor_t *)(void *)mti_ref_acquire_weak(id, MTI_COUNT_SLOT);
    if (!actor) return;
    uint32_t gen = (uint32_t)(id >> 32);
    if (mti_turn_take(ctx, actor, gen, MTI_TURN_SCHEDULED)) {
        actor_drive(ctx, actor, gen, false, NULL, 0);
    } else if (mti_turn_take(ctx, actor, gen, MTI_TURN_PARKED)) {
        actor_drive(ctx, actor, gen, true, NULL, 0);
    } else {
        mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
    }
}

// ---- waiters ------------------------------------------------------------------------------------

const void *mti_actor_full_group(mti_ctx_t *ctx, mti_object_t *object, const mti_record_t *t,
                                 mti_actor_t **out_actor, uint32_t *out_limit)
{
    uint64_t head;
    mti_actor_t *actor = mti_method_actor(t);
    if (mti_object_is_closed(object, &head) || mti_record_flags(t) & MTI_RECORD_CREATE ||
        !mti_ref_acquire_weak(mti_ref_of(&actor->object).id, MTI_COUNT_SLOT)) {
        return NULL;
    }
    // Still open, so the call holds its count, and that was its actor.
    const mti_actor_group_t *group = NULL;
    if (!mti_object_is_closed(object, &head) && actor->more->group_count) {
        group = &actor->more->groups[mti_method_of(t)->group];
        if (mti_atomic_u32_load_seq_cst(&group->running) < group->limit) group = NULL;
    }
    if (!group) {
        mti_actor_group_leave(ctx, actor);
        return NULL;
    }
    *out_actor = actor;
    *out_limit = group->limit;
    return group;
}

uint64_t mti_actor_group_call(const void *group, uint32_t index)
{
    const mti_actor_group_t *full = group;
    return mti_atomic_u64_load_acquire(&full->ids[index]);
}

void mti_actor_group_leave(mti_ctx_t *ctx, mti_actor_t *actor)
{
    mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
}

// False: whoever has the turn can't hand |t| out.
static bool group_has_room(const mti_actor_t *actor, const mti_record_t *t)
{
    if (!actor->more->group_count) return true;
    const mti_actor_group_t *group = &actor->more->groups[mti_method_of(t)->group];
    return mti_atomic_u32_load_seq_cst(&group->running) < group->limit;
}

static bool may_run_here(const mti_ctx_t *ctx, const mti_actor_t *actor)
{
    return !(mti_actor_flags(actor) & MTI_ACTOR_PINNED) ||
           mti_actor_seat_fits(ctx->rt, actor->more->rare,
                               mti_atomic_i32_load_relaxed(&ctx->sched.seat));
}

// False: it waits for calls on its device, so the turn is no use.
static bool may_go_on(const mti_actor_t *actor)
{
    const mti_actor_device_t *device = actor->more->device;
    if (!device) return true;
    uint32_t life = mti_atomic_u32_load_seq_cst(&actor->life);
    if (life == MTI_LIFE_RESTARTING || life == MTI_LIFE_FAILED) return !mti_actor_running(actor);
    return mti_atomic_u32_load_seq_cst(&device->resume_at) == MTI_RESUME_NEVER ||
           mti_actor_device_has_work(device);
}

mti_actor_help_t mti_actor_walk(mti_ctx_t *ctx, mti_object_t *object, mti_record_t *t, uint32_t gen,
                                bool may_take, mti_actor_t **out_actor, uint32_t *out_ctx,
                                mti_object_t **out_next)
{
    uint64_t head;
    // Held by the caller if it is |object| itself.
    bool pin = &t->result != object;
    if (pin && !mti_ref_acquire_weak(mti_ref_make(t->result.slot, gen).id, MTI_COUNT_SLOT)) {
        return MTI_ACTOR_NOTHING;
    }
    mti_actor_help_t help = MTI_ACTOR_NOTHING;
    mti_actor_t *actor = mti_method_actor(t);
    uint64_t actor_id = mti_ref_of(&actor->object).id;
    // Still open, so the call still holds its count, and that was the actor's generation.
    bool held = !mti_object_is_closed(object, &head) &&
                mti_ref_acquire_weak(actor_id, MTI_COUNT_SLOT) != NULL;
    if (held && !mti_object_is_closed(object, &head)) {
        uint32_t actor_gen = mti_actor_gen(actor);
        mti_object_t *next;
        bool undelivered = mti_actor_is_undelivered(actor, t, &next);
        uint64_t claim = mti_atomic_u64_load_seq_cst(&actor->claim);
        mti_turn_t turn = (mti_turn_t)mti_claim_state(claim);
        if (!next && turn == MTI_TURN_NEW && !(mti_record_flags(t) & MTI_RECORD_CREATE)) {
            next = mti_actor_create_waits_for(actor);
        }
        if (next) {
            *out_next = next;
            help = MTI_ACTOR_WAITS;
        } else if (turn == MTI_TURN_HELD) {
            *out_ctx = mti_claim_ctx(claim);
            help = MTI_ACTOR_HELD;
        } else if (!undelivered && may_run_here(ctx, actor) && group_has_room(actor, t) &&
                   (turn == MTI_TURN_SCHEDULED || turn == MTI_TURN_IDLE ||
                    turn == MTI_TURN_PARKED) &&
                   may_go_on(actor) && mti_atomic_u32_load_relaxed(&t->deps) == 1) {
            help = MTI_ACTOR_FREE;
            if (may_take && mti_turn_take(ctx, actor, actor_gen, turn)) {
                *out_actor = actor;
                help = MTI_ACTOR_TAKEN;
            }
        }
    }
    if (held && help != MTI_ACTOR_TAKEN) mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
    if (pin) mti_object_release(ctx, &t->result, MTI_COUNT_SLOT);
    return help;
}

void mti_actor_run_until(mti_ctx_t *ctx, mti_actor_t *actor, const mti_record_t *t, uint32_t gen)
{
    actor_drive(ctx, actor, mti_actor_gen(actor), false, t, gen);
}
