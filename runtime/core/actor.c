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
#include "core/actor.h"

#include <limits.h>
#include <sched.h>
#include <string.h>

enum {
    BATCH = 64,
    PIN_NODE = 1 << 24, // manta_pin_node(0)
};

typedef struct group {
    const char *name;
    uint32_t limit;
    mti_atomic_u32_t running;   // handed out; only the holder adds
    mti_atomic_u32_t waiting;   // in the list below
    mti_record_t *first, *last; // guarded like |todo|
    mti_atomic_u64_t *ids;      // of those that are handed out, |limit| places; 0: free
} group_t;

typedef enum restart_phase { RESTART_NONE, RESTART_DOWN, RESTART_CREATING } restart_phase_t;

struct mti_actor_more {
    mti_mutex_t lock;
    mti_order_t *undelivered; // guarded by lock
    const manta_error_t
        *error;            // guarded by lock; why it failed or failed last, ACTOR_DIED at the end
    mti_object_t *death;   // guarded by lock; what watchers hold, NULL: there are none
    restart_phase_t phase; // guarded by lock
    bool counted;          // guarded by lock; its end or restart counts as a task for drain
    int32_t restarts_left; // guarded by lock; < 0: any number
    mti_atomic_u32_t restarts;     // so far
    mti_atomic_u64_t create_id;    // record of the constructor that was submitted last
    mti_atomic_ptr_t create_ready; // mti_record_t *, when its arguments are; the holder takes it
    mti_atomic_u32_t create_failed;
    uint32_t group_count; // with the nameless one; 0: not concurrent
    group_t *groups;
    mti_rows_t rows; // of its methods as callers; guarded by the turn
    void *kept;      // the constructor's arguments, for restarts
    size_t kept_bytes, groups_bytes, total_bytes;
    const char *name, *name_space;
    mti_actor_t *name_next; // guarded by names_lock
    mti_watcher_t creator;  // holds a slot count on |self|, this actor
    mti_actor_t *self;
    bool has_creator; // guarded by lock
    bool has_failed;  // guarded by lock; how it ended
    manta_actor_def_t *def;
    // Of a pinned actor: one worker (|pin_core|), or those of a node; and how it comes to them.
    int pin_core, pin_node; // -1: not this
    mti_atomic_u32_t pin_turn;
    mti_atomic_u32_t job_queued; // |job| is in a worker's inbox, with a slot count
    mti_job_t job;
};

static const char *actor_name(const mti_actor_t *actor)
{
    return actor->more->name ? actor->more->name : actor->def->name;
}

const char *mti_actor_name(const mti_actor_t *actor)
{
    return actor_name(actor);
}

// ---- the turn -----------------------------------------------------------------------------------

static uint64_t turn_word(uint32_t gen, mti_turn_t turn)
{
    return mti_claim_make(gen, 0, (mti_task_state_t)turn);
}

static bool turn_change(mti_actor_t *actor, uint32_t gen, mti_turn_t from, uint64_t to)
{
    uint64_t word = turn_word(gen, from);
    return mti_atomic_u64_cas_seq_cst(&actor->claim, &word, to);
}

static bool turn_take(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t gen, mti_turn_t from)
{
    return turn_change(
        actor, gen, from,
        mti_claim_make(gen, (uint32_t)ctx->sched.index, (mti_task_state_t)MTI_TURN_HELD));
}

// Whether the worker with that seat may run a pinned actor.
static bool seat_fits(const mti_runtime_t *rt, const mti_actor_more_t *more, int seat)
{
    if (seat < 0) return false;
    if (more->pin_core >= 0) return seat == more->pin_core;
    int core = mti_sched_seat_core(rt->sched, seat);
    return mti_topology_core(rt->topology, core)->node == more->pin_node;
}

static void pinned_run(mti_sched_ctx_t *sched_ctx, mti_job_t *job)
{
    mti_ctx_t *ctx = (mti_ctx_t *)(void *)sched_ctx;
    mti_actor_more_t *more =
        (mti_actor_more_t *)(void *)((char *)job - offsetof(mti_actor_more_t, job));
    mti_actor_t *actor = more->self;
    // acq_rel: it may be queued again from here on, by whoever makes the turn SCHEDULED after this
    (void)mti_atomic_u32_exchange_acq_rel(&more->job_queued, 0);
    mti_actor_run_entry(ctx, mti_ref_of(&actor->object).id);
    mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
}

// Queues a pinned actor where it belongs. False: it is not pinned.
static bool schedule_pinned(mti_ctx_t *ctx, uint64_t id)
{
    mti_actor_t *actor = (mti_actor_t *)(void *)mti_ref_acquire_weak(id, MTI_COUNT_SLOT);
    if (!actor) return true; // gone: the wake came too late
    if (!(actor->flags & MTI_ACTOR_PINNED)) {
        mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
        return false;
    }
    mti_actor_more_t *more = actor->more;
    int workers = mti_sched_worker_count(ctx->rt->sched), seat = more->pin_core;
    if (seat < 0) { // those of the node in turns; there is one
        seat = (int)(mti_atomic_u32_fetch_add_relaxed(&more->pin_turn, 1) % (uint32_t)workers);
        while (!seat_fits(ctx->rt, more, seat))
            seat = (seat + 1) % workers;
    }
    if (mti_atomic_u32_exchange_acq_rel(&more->job_queued, 1)) {
        mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT); // there already
    } else {
        mti_sched_push_job_at(ctx->rt->sched, seat, &more->job); // with the count
    }
    return true;
}

// The turn is SCHEDULED: queues an entry for it. The actor may be gone when this returns.
static void actor_schedule(mti_ctx_t *ctx, uint32_t slot, uint32_t gen)
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

// There is something for the holder of the turn: makes sure that there will be one.
static void actor_wake(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t slot, uint32_t gen)
{
    if (turn_change(actor, gen, MTI_TURN_IDLE, turn_word(gen, MTI_TURN_SCHEDULED))) {
        actor_schedule(ctx, slot, gen);
    }
}

// The same when |life| has changed: it needn't wait for the constructor then.
static void actor_kick(mti_ctx_t *ctx, mti_actor_t *actor)
{
    uint32_t gen = mti_actor_gen(actor), slot = actor->object.slot;
    bool fails = mti_atomic_u32_load_seq_cst(&actor->life) == MTI_LIFE_FAILED;
    if (fails && turn_change(actor, gen, MTI_TURN_NEW, turn_word(gen, MTI_TURN_SCHEDULED))) {
        actor_schedule(ctx, slot, gen);
        return;
    }
    actor_wake(ctx, actor, slot, gen);
}

// Calls that are not complete.
static uint32_t actor_open_calls(const mti_actor_t *actor)
{
    uint32_t counts = mti_count_internal(mti_atomic_u64_load_seq_cst(&actor->object.counts));
    return counts ? counts - 1 : 0;
}

static uint32_t actor_running(const mti_actor_t *actor)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < actor->more->group_count; i++)
        sum += mti_atomic_u32_load_seq_cst(&actor->more->groups[i].running);
    return sum;
}

// Whether a group could hand something out.
static bool actor_groups_have_work(const mti_actor_t *actor)
{
    for (uint32_t i = 0; i < actor->more->group_count; i++) {
        const group_t *group = &actor->more->groups[i];
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
        if (actor_open_calls(actor) == 0 && actor_running(actor) == 0) return true;
        break;
    case MTI_LIFE_RESTARTING:
    case MTI_LIFE_FAILED:
        return actor_running(actor) == 0;
    default:
        return mti_atomic_ptr_load_acquire(&actor->more->create_ready) != NULL;
    }
    return actor->more->group_count && actor_groups_have_work(actor);
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
        actor_wake(ctx, actor, slot, gen);
    }
}

// ---- the mailbox --------------------------------------------------------------------------------

void mti_actor_put(mti_ctx_t *ctx, mti_actor_t *actor, mti_record_t *t)
{
    uint32_t gen = mti_actor_gen(actor), slot = actor->object.slot;
    mti_method_t *method = mti_method_of(t);
    uint64_t mail = mti_atomic_u64_load_relaxed(&actor->object.u.mail);
    do {
        method->mail_next =
            mail == MTI_MAIL_IDLE ? NULL : (mti_record_t *)(uintptr_t)mail; // EMPTY is NULL
        // release: publishes the record; pairs with the acquire in mail_take. seq_cst: see the head.
    } while (!mti_atomic_u64_cas_seq_cst(&actor->object.u.mail, &mail, (uint64_t)(uintptr_t)t));
    if (mail == MTI_MAIL_IDLE) actor_wake(ctx, actor, slot, gen);
}

// Everything in the mailbox, oldest first; NULL: nothing. For the holder of the turn, or a freezer.
static mti_record_t *mail_take(mti_actor_t *actor, mti_record_t **out_last)
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
        mti_method_of(t)->mail_next = reversed;
        reversed = t;
        t = next;
    }
    return reversed;
}

// Brackets every touch of |todo|, the groups' lists, and of |current| being set by the holder of the
// turn. A killer, who is not it, freezes: then nobody is inside such a bracket. Short, runs nothing.
static void todo_enter(mti_actor_t *actor)
{
    for (;;) {
        mti_atomic_u32_store_relaxed(&actor->busy, 1);
        mti_fence_light(); // between this store and that load; pairs with the heavy one in todo_freeze
        // acquire: what the freezer did to the lists
        if (MTI_LIKELY(!mti_atomic_u32_load_acquire(&actor->frozen))) return;
        mti_atomic_u32_store_release(&actor->busy, 0);
        while (mti_atomic_u32_load_acquire(&actor->frozen))
            sched_yield();
    }
}
static void todo_leave(mti_actor_t *actor)
{
    // release: the lists; pairs with the acquire in todo_freeze and of the next holder's bracket
    mti_atomic_u32_store_release(&actor->busy, 0);
}
// One freezer at a time; others wait for it, which does not take long.
static void todo_freeze(mti_actor_t *actor)
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
static void todo_thaw(mti_actor_t *actor)
{
    mti_atomic_u32_store_release(&actor->frozen, 0);
}

static void todo_append(mti_actor_t *actor, mti_record_t *first, mti_record_t *last)
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

// The oldest of |todo| and the mailbox; inside the bracket.
static mti_record_t *todo_next(mti_actor_t *actor)
{
    if (!actor->todo) {
        mti_record_t *last, *first = mail_take(actor, &last);
        if (!first) return NULL;
        actor->todo = first;
        actor->todo_last = last;
    }
    mti_record_t *t = actor->todo;
    actor->todo = mti_method_of(t)->mail_next;
    return t;
}

// What the holder of the turn runs next.
static mti_record_t *todo_pop(mti_actor_t *actor)
{
    todo_enter(actor);
    mti_record_t *t = todo_next(actor);
    if (t) mti_atomic_u64_store_relaxed(&actor->current, mti_ref_of(&t->result).id);
    todo_leave(actor);
    return t;
}

// |t| was taken out and can't be claimed: it was cancelled.
static void taken_out(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen)
{
    // seq_cst, against fail_results: one of us sees both that it is failed and that nothing holds it
    mti_atomic_u32_store_seq_cst(&t->deps, 0);
    if (mti_atomic_u64_load_seq_cst(&t->claim) == mti_claim_make(gen, 0, MTI_TASK_CANCELLED)) {
        mti_task_finish_cancelled(ctx, t, gen);
    }
}

// Fails |t|, which was taken out and is in nobody's list.
static void fail_taken_out(mti_ctx_t *ctx, mti_record_t *t, const manta_error_t *error)
{
    uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    mti_task_fail_now(ctx, t, gen, error);
    taken_out(ctx, t, gen);
}

// ---- order --------------------------------------------------------------------------------------

struct mti_row {
    mti_atomic_u32_t refs;     // the table, and each order
    mti_atomic_u32_t open;     // orders in it; changes under the actor's lock, its caller reads it
    mti_order_t *first, *last; // guarded by the actor's lock
};

typedef struct mti_rows_entry {
    uint64_t caller; // id of the task, 0: the thread or actor itself
    uint64_t actor;  // id of the one that is called, 0: free
    mti_row_t *row;
} mti_rows_entry_t;

static void row_release(mti_row_t *row)
{
    if (mti_atomic_u32_fetch_sub_acq_rel(&row->refs, 1) == 1) mti_free(NULL, row, sizeof *row);
}

void mti_rows_deinit(mti_rows_t *rows)
{
    for (uint32_t i = 0; i < rows->capacity; i++) {
        if (rows->entries[i].actor) row_release(rows->entries[i].row);
    }
    mti_free(NULL, rows->entries, rows->capacity * sizeof *rows->entries);
    *rows = (mti_rows_t){0};
}

static uint32_t rows_hash(uint64_t caller, uint64_t actor)
{
    uint64_t x = (caller ^ actor * 0x9e3779b97f4a7c15u) * 0xd6e8feb86659fd93u;
    return (uint32_t)(x >> 32);
}

static mti_rows_entry_t *rows_find(const mti_rows_t *rows, uint64_t caller, uint64_t actor)
{
    if (!rows->capacity) return NULL;
    for (uint32_t i = rows_hash(caller, actor);; i++) {
        mti_rows_entry_t *entry = &rows->entries[i & (rows->capacity - 1)];
        if (!entry->actor || (entry->caller == caller && entry->actor == actor)) return entry;
    }
}

// Room for one more; entries with nothing in them go.
static bool rows_reserve(mti_rows_t *rows)
{
    if (rows->capacity && rows->count < rows->capacity / 2) return true;
    mti_rows_t bigger = {.capacity = 8};
    uint32_t live = 0;
    for (uint32_t i = 0; i < rows->capacity; i++) {
        const mti_rows_entry_t *entry = &rows->entries[i];
        live += entry->actor && mti_atomic_u32_load_acquire(&entry->row->open);
    }
    while (bigger.capacity / 4 < live + 1)
        bigger.capacity *= 2;
    bigger.entries = mti_alloc_zeroed(NULL, bigger.capacity * sizeof *bigger.entries, 16);
    if (!bigger.entries) return false;
    for (uint32_t i = 0; i < rows->capacity; i++) {
        mti_rows_entry_t *entry = &rows->entries[i];
        if (!entry->actor) continue;
        if (mti_atomic_u32_load_acquire(&entry->row->open)) {
            *rows_find(&bigger, entry->caller, entry->actor) = *entry;
            bigger.count++;
        } else {
            row_release(entry->row);
        }
    }
    mti_free(NULL, rows->entries, rows->capacity * sizeof *rows->entries);
    *rows = bigger;
    return true;
}

// Where the current caller's rows are, and who it is there. NULL: there are none yet.
static mti_rows_t *caller_rows(const mti_thread_t *thread, uint64_t *out_caller)
{
    const manta_task_t *task = thread->task;
    *out_caller = 0;
    if (task && task->actor && !(task->actor->flags & MTI_ACTOR_CONCURRENT)) {
        return &task->actor->more->rows;
    }
    if (task) *out_caller = mti_ref_of(&task->record->result).id;
    return thread->rows;
}

bool mti_actor_caller_is_held_up(const mti_thread_t *thread)
{
    uint64_t caller;
    const mti_rows_t *rows = caller_rows(thread, &caller);
    return rows && rows->count != 0;
}

void mti_actor_order_free(mti_ctx_t *ctx, mti_order_t *order)
{
    if (order->row) row_release(order->row);
    mti_heap_free(&ctx->heap, order, sizeof *order);
}

// The row of this thread's caller to |actor| with one count; NULL: no memory.
static mti_row_t *row_get(mti_thread_t *thread, uint64_t actor)
{
    uint64_t caller;
    mti_rows_t *rows = caller_rows(thread, &caller);
    if (!rows) rows = thread->rows = mti_alloc_zeroed(NULL, sizeof *rows, 16);
    if (!rows || !rows_reserve(rows)) return NULL;
    mti_rows_entry_t *entry = rows_find(rows, caller, actor);
    if (!entry->actor) {
        mti_row_t *row = mti_alloc_zeroed(NULL, sizeof *row, 16);
        if (!row) return NULL;
        mti_atomic_u32_store_relaxed(&row->refs, 1);
        *entry = (mti_rows_entry_t){caller, actor, row};
        rows->count++;
    }
    (void)mti_atomic_u32_fetch_add_relaxed(&entry->row->refs, 1);
    return entry->row;
}

// Whether earlier calls of this thread's caller to |actor| are not delivered. Forgets them if they are.
static bool row_is_open(const mti_thread_t *thread, uint64_t actor)
{
    uint64_t caller;
    mti_rows_t *rows = caller_rows(thread, &caller);
    if (!rows || !rows->count) return false;
    mti_rows_entry_t *entry = rows_find(rows, caller, actor);
    if (!entry->actor) return false;
    // acquire: those that were delivered are in the mailbox
    if (mti_atomic_u32_load_acquire(&entry->row->open)) return true;
    // When all of them are, back to the short way.
    for (uint32_t i = 0; i < rows->capacity; i++) {
        mti_row_t *row = rows->entries[i].actor ? rows->entries[i].row : NULL;
        if (i == 64 || (row && mti_atomic_u32_load_acquire(&row->open))) return false;
    }
    for (uint32_t i = 0; i < rows->capacity; i++) {
        if (!rows->entries[i].actor) continue;
        row_release(rows->entries[i].row);
        rows->entries[i].actor = 0;
    }
    rows->count = 0;
    return false;
}

static bool group_find(const mti_actor_t *actor, mti_record_t *t)
{
    for (uint32_t i = 1; i < actor->more->group_count; i++) {
        if (strcmp(actor->more->groups[i].name, t->def->group) != 0) continue;
        mti_method_of(t)->group = (uint8_t)i;
        return true;
    }
    return false;
}

manta_status_t mti_actor_order(mti_thread_t *thread, mti_ctx_t *ctx, mti_record_t *t, bool open)
{
    mti_actor_t *actor = mti_method_actor(t);
    uint64_t id = mti_ref_of(&actor->object).id;
    if (t->def->group && actor->more->group_count && !group_find(actor, t)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: actor %s has no concurrency group '%s'",
                        t->def->name, actor_name(actor), t->def->group);
    }
    bool in_order = !(t->flags & MTI_RECORD_CREATE) && !(actor->flags & MTI_ACTOR_OUT_OF_ORDER);
    if (!open && !(in_order && row_is_open(thread, id))) return MANTA_OK;
    if (!t->cold) {
        t->cold = mti_heap_alloc(&ctx->heap, sizeof *t->cold);
        if (t->cold) *t->cold = (mti_cold_t){0};
    }
    mti_order_t *order = t->cold ? mti_heap_alloc(&ctx->heap, sizeof *order) : NULL;
    if (order) {
        *order = (mti_order_t){.record = t};
        t->cold->order = order;
        if (!in_order || (order->row = row_get(thread, id))) return MANTA_OK;
    }
    return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: no memory to keep calls in order", t->def->name);
}

static void order_link_locked(mti_actor_t *actor, mti_order_t *order)
{
    mti_actor_more_t *more = actor->more;
    mti_row_t *row = order->row;
    order->is_linked = true;
    order->next_all = more->undelivered;
    if (order->next_all) order->next_all->prev_all = order;
    more->undelivered = order;
    if (!row) return;
    order->prev = row->last;
    if (row->last) {
        row->last->next = order;
    } else {
        row->first = order;
    }
    row->last = order;
    (void)mti_atomic_u32_fetch_add_relaxed(&row->open, 1);
}

static void order_unlink_locked(mti_actor_t *actor, mti_order_t *order)
{
    mti_row_t *row = order->row;
    order->is_linked = false;
    *(order->prev_all ? &order->prev_all->next_all : &actor->more->undelivered) = order->next_all;
    if (order->next_all) order->next_all->prev_all = order->prev_all;
    if (!row) return;
    *(order->prev ? &order->prev->next : &row->first) = order->next;
    *(order->next ? &order->next->prev : &row->last) = order->prev;
}

// One less in |row|. Comes after it was put into the mailbox: the caller may go there directly now.
static void row_count_off(mti_row_t *row)
{
    if (row) (void)mti_atomic_u32_fetch_sub_acq_rel(&row->open, 1);
}

// Puts whatever stands first in |row| and is ready into the mailbox. The order that the caller came
// with may be gone afterwards. |*out_wake| if somebody has to be woken: not under the lock.
static void row_deliver_locked(mti_actor_t *actor, mti_row_t *row, bool *out_wake)
{
    while (row->first && row->first->is_ready) {
        mti_order_t *order = row->first;
        mti_record_t *t = order->record;
        order_unlink_locked(actor, order);
        mti_method_t *method = mti_method_of(t);
        uint64_t mail = mti_atomic_u64_load_relaxed(&actor->object.u.mail);
        do {
            method->mail_next = mail == MTI_MAIL_IDLE ? NULL : (mti_record_t *)(uintptr_t)mail;
        } while (!mti_atomic_u64_cas_seq_cst(&actor->object.u.mail, &mail, (uint64_t)(uintptr_t)t));
        *out_wake |= mail == MTI_MAIL_IDLE;
        row_count_off(row);
    }
}

bool mti_actor_enqueue(mti_record_t *t)
{
    mti_actor_t *actor = mti_method_actor(t);
    mti_mutex_lock(&actor->more->lock);
    order_link_locked(actor, t->cold->order);
    if (t->flags & MTI_RECORD_CREATE) {
        mti_atomic_u64_store_release(&actor->more->create_id, mti_ref_of(&t->result).id);
    }
    bool lives = mti_atomic_u32_load_relaxed(&actor->life) < MTI_LIFE_FAILED;
    mti_mutex_unlock(&actor->more->lock);
    return lives;
}

void mti_actor_call_ready(mti_ctx_t *ctx, mti_record_t *t)
{
    mti_actor_t *actor = mti_method_actor(t);
    uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    uint32_t actor_gen = mti_actor_gen(actor), slot = actor->object.slot;
    bool wake = false, put = false, dropped = false, is_create = t->flags & MTI_RECORD_CREATE;
    // Keeps the actor while we look at it: its calls may all be run by the time of the unlock.
    (void)mti_atomic_u64_fetch_add_relaxed(&actor->object.counts, MTI_COUNT_SLOT);
    mti_mutex_lock(&actor->more->lock);
    mti_order_t *order = t->cold->order;
    mti_row_t *row = order->row;
    if (row) (void)mti_atomic_u32_fetch_add_relaxed(&row->refs, 1);
    bool is_queued = mti_claim_state(mti_atomic_u64_load_acquire(&t->claim)) == MTI_TASK_QUEUED;
    if (!order->is_linked) {
        dropped = true; // failed meanwhile
    } else if (!is_queued) {
        order_unlink_locked(actor, order);
        row_count_off(row);
        dropped = true;
        if (row) row_deliver_locked(actor, row, &wake);
    } else {
        // From here on it is cancelled by whoever holds it in a list, not by us. seq_cst as in taken_out.
        mti_atomic_u32_store_seq_cst(&t->deps, 1);
        if (row) {
            order->is_ready = true;
            row_deliver_locked(actor, row, &wake);
        } else {
            order_unlink_locked(actor, order);
            if (is_create) mti_atomic_ptr_store_seq_cst(&actor->more->create_ready, t);
            put = !is_create;
        }
    }
    mti_mutex_unlock(&actor->more->lock);
    if (row) row_release(row);
    if (dropped) taken_out(ctx, t, gen);
    if (put) mti_actor_put(ctx, actor, t);
    if (wake) actor_wake(ctx, actor, slot, actor_gen);
    if (is_create && !dropped) {
        if (turn_change(actor, actor_gen, MTI_TURN_NEW, turn_word(actor_gen, MTI_TURN_SCHEDULED))) {
            actor_schedule(ctx, slot, actor_gen);
        } else {
            actor_wake(ctx, actor, slot, actor_gen); // it failed, and is to take this out
        }
    }
    mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
}

static void actor_fail(mti_ctx_t *ctx, mti_actor_t *actor, const manta_error_t *cause,
                       bool may_restart, uint64_t but, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

void mti_actor_call_failed(mti_ctx_t *ctx, mti_record_t *t)
{
    mti_actor_t *actor = mti_method_actor(t);
    uint32_t actor_gen = mti_actor_gen(actor), slot = actor->object.slot;
    mti_order_t *order = t->cold ? t->cold->order : NULL;
    bool wake = false;
    if (order) {
        mti_mutex_lock(&actor->more->lock);
        if (order->is_linked) {
            mti_row_t *row = order->row;
            order_unlink_locked(actor, order);
            row_count_off(row);
            if (order->is_ready) mti_atomic_u32_store_seq_cst(&t->deps, 0);
            if (row) row_deliver_locked(actor, row, &wake);
        }
        mti_mutex_unlock(&actor->more->lock);
    }
    if (wake) actor_wake(ctx, actor, slot, actor_gen);
    if (t->flags & MTI_RECORD_CREATE) {
        mti_atomic_u32_store_release(&actor->more->create_failed, 1);
        actor_fail(ctx, actor, t->result.u.fail.error, false, 0, "its constructor never ran");
    }
}

// ---- dying --------------------------------------------------------------------------------------

// The end of this actor, or its restart, is under way: a drain waits for it.
static void actor_count_locked(mti_ctx_t *ctx, mti_actor_t *actor)
{
    if (actor->more->counted) return;
    actor->more->counted = true;
    mti_atomic_u64_owner_add(&ctx->submitted, 1);
}

static void actor_uncount(mti_ctx_t *ctx, bool counted)
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
            todo_append(actor, t, t);
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
        fail_taken_out(ctx, t, error);
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

// Fails all calls that wait and run, but those that will be tried again. Threads: any, without locks, also
// the holder of the turn.
static void actor_fail_calls(mti_ctx_t *ctx, mti_actor_t *actor, const manta_error_t *error,
                             bool restarts, bool running, uint64_t but)
{
    mti_actor_more_t *more = actor->more;
    todo_freeze(actor);
    mti_record_t *last, *mail = mail_take(actor, &last), *todo = actor->todo;
    mti_record_t *fails[3];
    actor->todo = NULL;
    fails[0] = divide_frozen(actor, todo, restarts);
    fails[1] = divide_frozen(actor, mail, restarts);
    fails[2] = NULL;
    mti_record_t **end = &fails[2];
    for (uint32_t i = 0; i < more->group_count; i++) {
        group_t *group = &more->groups[i];
        *end = divide_frozen(actor, group->first, restarts);
        while (*end)
            end = &mti_method_of(*end)->mail_next;
        group->first = group->last = NULL;
        mti_atomic_u32_store_relaxed(&group->waiting, 0);
    }
    uint64_t current = mti_atomic_u64_load_relaxed(&actor->current);
    todo_thaw(actor);
    for (int i = 0; i < 3; i++)
        fail_list(ctx, fails[i], error);
    if (running && current != but) fail_running(ctx, actor, current, error, restarts);
    for (uint32_t i = 0; i < more->group_count && running; i++) {
        for (uint32_t k = 0; k < more->groups[i].limit; k++) {
            uint64_t id = mti_atomic_u64_load_acquire(&more->groups[i].ids[k]);
            if (id != but) fail_running(ctx, actor, id, error, restarts);
        }
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

// |actor| fails: |cause| (may be NULL) and the text say why. Its calls fail, it is restarted if that is
// wanted and possible, or ends. Nothing happens if it has failed before. The call |but| is the caller's to
// look after. The caller has a count.
static void actor_fail(mti_ctx_t *ctx, mti_actor_t *actor, const manta_error_t *cause,
                       bool may_restart, uint64_t but, const char *format, ...)
{
    mti_actor_more_t *more = actor->more;
    char why[256], text[384];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    mti_mutex_lock(&more->lock);
    uint32_t life = mti_atomic_u32_load_relaxed(&actor->life);
    if (life >= MTI_LIFE_FAILED || (life == MTI_LIFE_RESTARTING && may_restart)) {
        mti_mutex_unlock(&more->lock);
        return;
    }
    bool restarts = may_restart && more->restarts_left != 0 && life == MTI_LIFE_ALIVE;
    snprintf(text, sizeof text, "actor %s %s: %s", actor_name(actor),
             restarts ? "is being restarted" : "died", why);
    manta_error_t *error =
        mti_error_create(restarts ? MANTA_ERR_ACTOR_RESTARTING : MANTA_ERR_ACTOR_DIED,
                         MANTA_SCOPE_ACTOR, actor->def->name, "", 0, text, cause);
    manta_error_release((manta_error_t *)more->error);
    more->error = manta_error_retain(error);
    if (restarts) {
        more->phase = RESTART_DOWN;
        if (more->restarts_left > 0) more->restarts_left--;
    }
    actor_count_locked(ctx, actor);
    mti_atomic_u32_store_seq_cst(&actor->life, restarts ? MTI_LIFE_RESTARTING : MTI_LIFE_FAILED);
    mti_mutex_unlock(&more->lock);
    uint64_t create = mti_atomic_u64_load_acquire(&more->create_id);
    if (!restarts && create && create != but) { // a constructor that waits or runs
        mti_task_fail_now(ctx, mti_record_at((uint32_t)create), (uint32_t)(create >> 32), error);
    }
    actor_fail_calls(ctx, actor, error, restarts, true, but);
    manta_error_release(error);
    actor_kick(ctx, actor);
}

bool mti_actor_method_failed(manta_task_t *run, manta_status_t *status)
{
    mti_actor_t *actor = run->actor;
    mti_ctx_t *ctx = run->ctx;
    mti_record_t *t = run->record;
    mti_method_t *method = mti_method_of(t);
    if (t->flags & MTI_RECORD_CREATE) {
        mti_atomic_u32_store_release(&actor->more->create_failed, 1);
        manta_error_t *cause =
            mti_error_create(*status, MANTA_SCOPE_TASK, mti_record_name(t), "", method->attempt,
                             run->error     ? manta_error_text(run->error)
                             : run->in_body ? ""
                                            : manta_error_message(),
                             NULL);
        actor_fail(ctx, actor, cause, false, mti_ref_of(&t->result).id,
                   "its constructor failed (%s)", manta_status_name(*status));
        manta_error_release(cause);
        return false;
    }
    bool is_fatal = *status == MANTA_ACTOR_FATAL;
    if (is_fatal) {
        manta_error_t *cause = mti_error_create(
            MANTA_ACTOR_FATAL, MANTA_SCOPE_ACTOR, mti_record_name(t), "", method->attempt,
            run->error ? manta_error_text(run->error) : "returned MANTA_ACTOR_FATAL", NULL);
        actor_fail(ctx, actor, cause, true, mti_ref_of(&t->result).id,
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
    bool counts_started = actor->max_pending && !(actor->flags & MTI_ACTOR_CONCURRENT);
    if (counts_started) {
        (void)mti_atomic_u64_fetch_add_relaxed(&actor->object.counts, MTI_COUNT_INTERNAL);
    }
    mti_atomic_u32_store_seq_cst(&t->deps, 1);
    // As one that waits: from here on it can be cancelled, and is then taken out as such.
    do {
        if (claim & MTI_CLAIM_CANCEL) break;
    } while (
        !mti_atomic_u64_cas_seq_cst(&t->claim, &claim, mti_claim_make(gen, 0, MTI_TASK_QUEUED)));
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
    if (actor->flags & MTI_ACTOR_CONCURRENT) {
        mti_actor_put(ctx, actor, t);
        return;
    }
    todo_enter(actor);
    mti_method_of(t)->mail_next = actor->todo;
    if (!actor->todo) actor->todo_last = t;
    actor->todo = t;
    todo_leave(actor);
}

// ---- names --------------------------------------------------------------------------------------

static bool names_equal(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static mti_actor_t **names_bucket(mti_runtime_t *rt, const char *name, const char *name_space)
{
    uint32_t hash = 2166136261u;
    for (const char *at = name; *at; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    for (const char *at = name_space ? name_space : ""; *at; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    return &rt->names[hash & (rt->name_buckets - 1)];
}

static mti_actor_t *names_find_locked(mti_runtime_t *rt, const char *name, const char *name_space)
{
    if (!rt->name_buckets) return NULL;
    mti_actor_t *actor = *names_bucket(rt, name, name_space);
    while (actor && !(names_equal(actor->more->name, name) &&
                      names_equal(actor->more->name_space, name_space))) {
        actor = actor->more->name_next;
    }
    return actor;
}

static bool names_grow_locked(mti_runtime_t *rt)
{
    if (rt->name_count < rt->name_buckets) return true;
    size_t old_buckets = rt->name_buckets, buckets = old_buckets ? old_buckets * 2 : 64;
    mti_actor_t **old = rt->names;
    mti_actor_t **table = mti_alloc_zeroed(&rt->allocator, buckets * sizeof *table, 16);
    if (!table) return old_buckets != 0; // fuller lists will do
    rt->names = table;
    rt->name_buckets = buckets;
    for (size_t i = 0; i < old_buckets; i++) {
        for (mti_actor_t *actor = old[i], *next; actor; actor = next) {
            next = actor->more->name_next;
            mti_actor_t **bucket = names_bucket(rt, actor->more->name, actor->more->name_space);
            actor->more->name_next = *bucket;
            *bucket = actor;
        }
    }
    mti_free(&rt->allocator, old, old_buckets * sizeof *old);
    return true;
}

static void names_remove(mti_runtime_t *rt, mti_actor_t *actor)
{
    if (!actor->more->name) return;
    mti_mutex_lock(&rt->names_lock);
    mti_actor_t **at = names_bucket(rt, actor->more->name, actor->more->name_space);
    while (*at && *at != actor)
        at = &(*at)->more->name_next;
    if (*at) {
        *at = actor->more->name_next;
        rt->name_count--;
    }
    mti_mutex_unlock(&rt->names_lock);
}

// ---- the holder of the turn ---------------------------------------------------------------------

// Runs user code that is no task of its own: a destructor.
static void run_destructor(mti_ctx_t *ctx, mti_actor_t *actor)
{
    if (!actor->constructed) return;
    actor->constructed = false;
    if (!actor->def->destroy) return;
    mti_thread_t *thread = mti_thread_tls;
    bool outer_callback = thread->in_callback;
    manta_task_t *outer_task = thread->task;
    mti_ctx_t *outer_ctx = thread->ctx;
    uint32_t outer_epoch = thread->epoch;
    thread->in_callback = true;
    thread->task = NULL;
    thread->ctx = ctx;
    thread->epoch = 0;
    manta_scope_t scope;
    manta_scope_enter(&scope);
    actor->def->destroy(actor->state);
    manta_scope_leave(&scope);
    thread->in_callback = outer_callback;
    thread->task = outer_task;
    thread->ctx = outer_ctx;
    thread->epoch = outer_epoch;
}

static void kept_release(mti_ctx_t *ctx, mti_actor_t *actor)
{
    mti_actor_more_t *more = actor->more;
    if (!more->kept) return;
    mti_record_t like = {.def = more->def->create, .args = more->kept};
    mti_arg_iter_t iter = {.t = &like};
    for (manta_ref_t ref; mti_arg_next(&iter, &ref);) {
        if (!mti_ref_is_error(ref)) {
            mti_object_release(ctx, mti_object_held(ref), MTI_COUNT_INTERNAL);
        }
    }
    mti_heap_free(&ctx->heap, more->kept, more->kept_bytes);
    more->kept = NULL;
}

// What the holder of the turn has to do when it lets go.
typedef struct drive {
    uint64_t next; // a task that became ready, to be run next; 0: none
    uint64_t gone; // calls that are complete, whose counts are to be given back
    uint64_t held; // a count of its own, on an actor that has ended
    bool counted;  // its end counts as a task that is complete then
} drive_t;

// The actor has ended: tells whoever wants to know. Its own count goes to the holder of the turn.
static void actor_end(mti_ctx_t *ctx, mti_actor_t *actor, drive_t *drive)
{
    mti_actor_more_t *more = actor->more;
    run_destructor(ctx, actor);
    names_remove(ctx->rt, actor);
    mti_mutex_lock(&more->lock);
    mti_object_t *death = more->death;
    more->death = NULL;
    if (!more->error) {
        char text[160];
        snprintf(text, sizeof text, "actor %s has ended", actor_name(actor));
        more->error = mti_error_create(MANTA_ERR_ACTOR_DIED, MANTA_SCOPE_ACTOR, actor->def->name,
                                       "", 0, text, NULL);
    }
    const manta_error_t *error = more->error;
    bool failed = mti_atomic_u32_load_relaxed(&actor->life) == MTI_LIFE_FAILED;
    bool has_creator = more->has_creator;
    drive->counted = more->counted;
    drive->held = 1;
    more->counted = more->has_creator = false;
    more->has_failed = failed;
    mti_atomic_u32_store_seq_cst(&actor->life, MTI_LIFE_DEAD);
    mti_mutex_unlock(&more->lock);
    actor_fail_calls(ctx, actor, error, false, false, 0);
    kept_release(ctx, actor);
    mti_rows_deinit(&more->rows);
    if (has_creator && mti_watch_remove(&more->creator)) {
        mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
    }
    if (death && failed) {
        (void)mti_object_close_failed(ctx, death, (manta_error_t *)manta_error_retain(error), NULL,
                                      0, NULL);
    } else if (death) {
        (void)mti_object_close(ctx, death, MTI_HEAD_CLOSED, NULL);
    }
    if (death) mti_object_release(ctx, death, MTI_COUNT_INTERNAL);
    (void)mti_object_close(ctx, &actor->object,
                           failed ? mti_head_bare(MANTA_ERR_ACTOR_DIED) : MTI_HEAD_CLOSED, NULL);
    if (actor->flags & MTI_ACTOR_KEEPS_COUNT) {
        mti_object_release(ctx, &actor->object, MTI_COUNT_USER);
    }
}

// Runs one call that was taken out.
static void run_one(mti_ctx_t *ctx, mti_actor_t *actor, mti_record_t *t, drive_t *drive)
{
    uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    if (MTI_UNLIKELY(!mti_task_claim(ctx, t, gen))) {
        taken_out(ctx, t, gen);
        return;
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
}

// Takes the next call that its group may run; handed out when this returns true.
static bool hand_one_out(mti_ctx_t *ctx, mti_actor_t *actor)
{
    mti_actor_more_t *more = actor->more;
    mti_record_t *t = NULL;
    group_t *group = NULL;
    todo_enter(actor);
    for (uint32_t i = 0; i < more->group_count && !t; i++) {
        group = &more->groups[i];
        if (group->first && mti_atomic_u32_load_seq_cst(&group->running) < group->limit) {
            t = group->first;
            group->first = mti_method_of(t)->mail_next;
            if (!group->first) group->last = NULL;
            (void)mti_atomic_u32_fetch_sub_acq_rel(&group->waiting, 1);
        }
    }
    while (!t && (t = todo_next(actor))) {
        group = &more->groups[mti_method_of(t)->group];
        if (!group->first && mti_atomic_u32_load_seq_cst(&group->running) < group->limit) break;
        mti_method_of(t)->mail_next = NULL;
        *(group->last ? &mti_method_of(group->last)->mail_next : &group->first) = t;
        group->last = t;
        (void)mti_atomic_u32_fetch_add_seq_cst(&group->waiting, 1);
        t = NULL;
    }
    if (!t) {
        todo_leave(actor);
        return false;
    }
    uint64_t id = mti_ref_of(&t->result).id;
    (void)mti_atomic_u32_fetch_add_seq_cst(&group->running, 1);
    for (uint32_t i = 0;; i++) { // there is a free place: they are taken by us only
        if (mti_atomic_u64_load_relaxed(&group->ids[i])) continue;
        mti_atomic_u64_store_release(&group->ids[i], id);
        break;
    }
    todo_leave(actor);
    // As for any queued task from here on: deps is 0, whoever claims it runs it.
    uint32_t gen = (uint32_t)(id >> 32);
    mti_atomic_u32_store_seq_cst(&t->deps, 0);
    if (mti_atomic_u64_load_seq_cst(&t->claim) == mti_claim_make(gen, 0, MTI_TASK_CANCELLED)) {
        mti_task_finish_cancelled(ctx, t, gen); // gives its place back
    } else {
        mti_record_ready(ctx, (mti_ready_t){.id = id});
    }
    return true;
}

// A call that was handed out is over. The caller's count keeps the actor.
static void place_give_back(mti_actor_t *actor, uint32_t group_index, uint64_t id)
{
    group_t *group = &actor->more->groups[group_index];
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
    if (actor->flags & MTI_ACTOR_CONCURRENT) {
        place_give_back(actor, group, id);
        if (actor_has_work(actor)) {
            actor_wake(ctx, actor, actor->object.slot, mti_actor_gen(actor));
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

// Constructor again. False: the turn is given up until its arguments are ready.
static bool restart_create(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t gen)
{
    mti_actor_more_t *more = actor->more;
    const manta_task_def_t *create = more->def->create;
    memset(actor->state, 0, actor->def->state_bytes);
    (void)mti_atomic_u32_fetch_add_relaxed(&more->restarts, 1);
    mti_atomic_u32_store_relaxed(&more->create_failed, 0);
    mti_mutex_lock(&more->lock);
    more->phase = RESTART_CREATING;
    mti_mutex_unlock(&more->lock);
    if (!create) return true;
    // The turn stays ours meanwhile: an end would free what is submitted here.
    (void)mti_atomic_u64_fetch_add_relaxed(&actor->object.counts, MTI_COUNT_INTERNAL);
    manta_status_t status = mti_task_submit_method((manta_actor_t){mti_ref_of(&actor->object).id},
                                                   actor, more->def->create, NULL, more->kept,
                                                   create->args_bytes, NULL, 0, false);
    if (status != MANTA_OK) {
        manta_error_t *cause = mti_error_create(status, MANTA_SCOPE_TASK, create->name, "", 0,
                                                manta_error_message(), NULL);
        actor_fail(ctx, actor, cause, false, 0, "its constructor could not be submitted again");
        manta_error_release(cause);
        return true;
    }
    // Nobody's, until the constructor's arguments are ready: they may well be, or it has failed since.
    // seq_cst, against call_ready and kick: one of us sees what the other did.
    mti_atomic_u64_store_seq_cst(&actor->claim, turn_word(gen, MTI_TURN_NEW));
    bool go_on = mti_atomic_ptr_load_seq_cst(&more->create_ready) != NULL ||
                 mti_atomic_u32_load_seq_cst(&actor->life) == MTI_LIFE_FAILED;
    return go_on && turn_take(ctx, actor, gen, MTI_TURN_NEW);
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
    mti_mutex_lock(&more->lock);
    mti_atomic_u64_store_relaxed(&more->create_id, 0);
    if (more->phase == RESTART_CREATING &&
        mti_atomic_u32_load_relaxed(&actor->life) == MTI_LIFE_RESTARTING) {
        more->phase = RESTART_NONE;
        mti_atomic_u32_store_seq_cst(&actor->life, MTI_LIFE_ALIVE);
        counted = more->counted;
        more->counted = false;
    }
    mti_mutex_unlock(&more->lock);
    actor_uncount(ctx, counted);
}

// Looks at |life|, and does what has to be done before calls run.
static turn_check_t turn_check(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t gen, drive_t *drive)
{
    mti_actor_more_t *more = actor->more;
    for (;;) {
        uint32_t life = mti_atomic_u32_load_seq_cst(&actor->life);
        if (MTI_LIKELY(life == MTI_LIFE_ALIVE && actor->constructed)) return CHECK_RUN;
        mti_record_t *create = mti_atomic_ptr_exchange_acquire(&more->create_ready, NULL);
        if (create && life >= MTI_LIFE_FAILED) {
            // Killed before it was submitted, or while its arguments became ready.
            mti_atomic_u32_store_release(&more->create_failed, 1);
            fail_taken_out(ctx, create, mti_error_bare(MANTA_ERR_ACTOR_DIED));
            continue;
        }
        if (create) {
            run_one(ctx, actor, create, drive);
            if (!mti_atomic_u32_load_acquire(&more->create_failed)) actor_is_up(ctx, actor);
            continue;
        }
        if (life == MTI_LIFE_DEAD) return CHECK_RUN;
        mti_mutex_lock(&more->lock);
        restart_phase_t phase = more->phase;
        mti_mutex_unlock(&more->lock);
        if (life == MTI_LIFE_FAILED) {
            if (actor_running(actor)) return CHECK_LEAVE;
            actor_end(ctx, actor, drive);
            continue;
        }
        if (life == MTI_LIFE_RESTARTING) {
            if (actor_running(actor)) return CHECK_LEAVE;
            if (phase == RESTART_CREATING && !more->def->create) {
                actor_is_up(ctx, actor);
                continue;
            }
            if (phase != RESTART_DOWN) return CHECK_LEAVE;
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
            if (actor_open_calls(actor) || actor_running(actor)) return CHECK_RUN;
            actor_end(ctx, actor, drive);
            continue;
        }
        return CHECK_RUN;
    }
}

static bool has_todo(mti_actor_t *actor)
{
    todo_enter(actor);
    bool has = actor->todo != NULL;
    todo_leave(actor);
    return has;
}

static bool has_mail(const mti_actor_t *actor)
{
    return mti_atomic_u64_load_relaxed(&actor->object.u.mail) > MTI_MAIL_IDLE;
}

static bool is_still_queued(const mti_record_t *t, uint32_t gen)
{
    return mti_atomic_u64_load_acquire(&t->claim) == mti_claim_make(gen, 0, MTI_TASK_QUEUED);
}

// Runs calls, a batch or until |until| is not queued any more, and gives the turn back. Takes a slot count,
// which keeps the actor while that happens.
static void actor_drive(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t gen, const mti_record_t *until,
                        uint32_t until_gen)
{
    uint32_t slot = actor->object.slot;
    drive_t drive = {0};
    int budget = BATCH;
    if (mti_atomic_u32_load_acquire(&actor->life) == MTI_LIFE_DEAD) {
        // A call that came late, which has a count; that goes when it is failed.
        (void)mti_atomic_u64_fetch_add_relaxed(&actor->object.counts, MTI_COUNT_INTERNAL);
        drive.held = 1;
    }
    for (;;) {
        turn_check_t check = turn_check(ctx, actor, gen, &drive);
        if (check == CHECK_PASSED) break;
        bool enough = budget <= 0 || (until && !is_still_queued(until, until_gen));
        if (check == CHECK_RUN && drive.held) {
            actor_fail_calls(ctx, actor, actor->more->error, false, false, 0);
        } else if (check == CHECK_RUN && enough) {
            if (has_todo(actor) || has_mail(actor) ||
                (actor->more->group_count && actor_groups_have_work(actor))) {
                // Whoever comes next goes on.
                mti_atomic_u64_store_seq_cst(&actor->claim, turn_word(gen, MTI_TURN_SCHEDULED));
                actor_schedule(ctx, slot, gen);
                break;
            }
        } else if (check == CHECK_RUN && actor->more->group_count) {
            budget--;
            if (hand_one_out(ctx, actor)) continue;
        } else if (check == CHECK_RUN) {
            mti_record_t *t = todo_pop(actor);
            if (t) {
                budget--;
                run_one(ctx, actor, t, &drive);
                mti_atomic_u64_store_relaxed(&actor->current, 0);
                continue;
            }
        }
        mti_atomic_u64_store_seq_cst(&actor->claim, turn_word(gen, MTI_TURN_IDLE));
        uint64_t mail = MTI_MAIL_EMPTY;
        bool is_idle = mti_atomic_u64_cas_seq_cst(&actor->object.u.mail, &mail, MTI_MAIL_IDLE) ||
                       mail == MTI_MAIL_IDLE;
        if (is_idle && !actor_has_work(actor)) break;
        if (!is_idle && check == CHECK_LEAVE && !actor_has_work(actor)) {
            break; // who brings |life| on looks at the mailbox, too
        }
        if (!turn_take(ctx, actor, gen, MTI_TURN_IDLE)) break;
    }
    if (drive.gone + drive.held) mti_actor_calls_gone(ctx, actor, drive.gone + drive.held);
    mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
    actor_uncount(ctx, drive.counted);
    if (!drive.next) return;
    if (until) {
        mti_record_ready(ctx, (mti_ready_t){.id = drive.next});
        return;
    }
    mti_record_t *t = mti_record_at((uint32_t)drive.next);
    if (mti_task_claim(ctx, t, (uint32_t)(drive.next >> 32))) mti_task_run_claimed(ctx, t, true);
}

void mti_actor_run_entry(mti_ctx_t *ctx, uint64_t id)
{
    // An entry holds no count: the actor may be gone, whatever its turn still says.
    mti_actor_t *actor = (mti_actor_t *)(void *)mti_ref_acquire_weak(id, MTI_COUNT_SLOT);
    if (!actor) return;
    uint32_t gen = (uint32_t)(id >> 32);
    if (turn_take(ctx, actor, gen, MTI_TURN_SCHEDULED))
        actor_drive(ctx, actor, gen, NULL, 0);
    else
        mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
}

// ---- waiters ------------------------------------------------------------------------------------

// The thread of the one call that is handed out by the group of |t|, if that may run only one; false:
// there is more than one to wait for.
static bool group_runner(mti_ctx_t *ctx, const mti_actor_t *actor, const mti_record_t *t,
                         uint32_t *out_ctx)
{
    const group_t *group = &actor->more->groups[mti_method_of(t)->group];
    uint64_t id = group->limit == 1 ? mti_atomic_u64_load_acquire(&group->ids[0]) : 0;
    if (!id) return false;
    uint64_t claim = mti_atomic_u64_load_acquire(&mti_record_at((uint32_t)id)->claim);
    *out_ctx = mti_claim_ctx(claim);
    (void)ctx;
    return mti_claim_gen(claim) == (uint32_t)(id >> 32) &&
           mti_claim_state(claim) == MTI_TASK_RUNNING;
}

// What stands before |t| in its row, or its constructor, with a slot count; NULL: neither.
static mti_object_t *undelivered_before(mti_actor_t *actor, const mti_record_t *t)
{
    mti_actor_more_t *more = actor->more;
    uint64_t id = 0;
    mti_mutex_lock(&more->lock);
    for (mti_order_t *order = more->undelivered; order; order = order->next_all) {
        if (order->record != t) continue;
        if (order->row && order->row->first != order) {
            id = mti_ref_of(&order->row->first->record->result).id;
        }
        break;
    }
    mti_mutex_unlock(&more->lock);
    return id ? mti_ref_acquire_weak(id, MTI_COUNT_SLOT) : NULL;
}

static bool may_run_here(const mti_ctx_t *ctx, const mti_actor_t *actor)
{
    return !(actor->flags & MTI_ACTOR_PINNED) ||
           seat_fits(ctx->rt, actor->more, mti_atomic_i32_load_relaxed(&ctx->sched.seat));
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
        mti_object_t *next = undelivered_before(actor, t);
        uint64_t claim = mti_atomic_u64_load_seq_cst(&actor->claim);
        mti_turn_t turn = (mti_turn_t)mti_claim_state(claim);
        uint64_t create = mti_atomic_u64_load_acquire(&actor->more->create_id);
        if (!next && turn == MTI_TURN_NEW && create) {
            next = mti_ref_acquire_weak(create, MTI_COUNT_SLOT);
            if (next == &t->result) { // it waits for its arguments
                mti_object_release(ctx, next, MTI_COUNT_SLOT);
                next = NULL;
            }
        }
        if (next) {
            *out_next = next;
            help = MTI_ACTOR_WAITS;
        } else if (turn == MTI_TURN_HELD) {
            *out_ctx = mti_claim_ctx(claim);
            help = MTI_ACTOR_HELD;
        } else if (actor->more->group_count && group_runner(ctx, actor, t, out_ctx)) {
            help = MTI_ACTOR_HELD;
        } else if (may_take && may_run_here(ctx, actor) &&
                   (turn == MTI_TURN_SCHEDULED || turn == MTI_TURN_IDLE) &&
                   mti_atomic_u32_load_relaxed(&t->deps) == 1 &&
                   turn_take(ctx, actor, actor_gen, turn)) {
            *out_actor = actor;
            help = MTI_ACTOR_TAKEN;
        }
    }
    if (held && help != MTI_ACTOR_TAKEN) mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
    if (pin) mti_object_release(ctx, &t->result, MTI_COUNT_SLOT);
    return help;
}

void mti_actor_run_until(mti_ctx_t *ctx, mti_actor_t *actor, const mti_record_t *t, uint32_t gen)
{
    actor_drive(ctx, actor, mti_actor_gen(actor), t, gen);
}

// ---- create -------------------------------------------------------------------------------------

static manta_actor_t error_handle(manta_status_t code)
{
    return (manta_actor_t){mti_ref_error(code).id};
}

static bool handle_is_error(manta_actor_t actor)
{
    return mti_ref_is_error((manta_ref_t){actor.id});
}

static manta_status_t check_def(const manta_actor_def_t *def, const manta_actor_options_t *o,
                                const void *args, size_t args_bytes)
{
    const manta_task_def_t *create = def->create;
    if (!def->name || (def->state_align & (def->state_align - 1)) != 0 || def->state_align > 64) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "actor definition without a name, or an alignment of %zu (at most 64)",
                        def->state_align);
    }
    size_t want = create ? create->args_bytes : 0;
    if (args_bytes != want || (want && !args) || (create && create->owner != def)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "actor %s: made with %zu bytes of arguments, its constructor wants %zu",
                        def->name, args_bytes, want);
    }
    for (uint32_t i = 0; create && i < create->param_count && create->params; i++) {
        manta_param_kind_t kind = create->params[i].kind;
        if (kind == MANTA_PARAM_OUT || kind == MANTA_PARAM_INOUT) {
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                            "actor %s: parameter %s of its constructor is a result", def->name,
                            create->params[i].name);
        }
    }
    if (o->max_restarts < -1 || o->max_task_retries < -1 || o->max_task_retries > INT16_MAX ||
        o->max_concurrency < 0 || o->max_concurrency > 4096 || o->group_count > 64 ||
        (o->group_count && !o->groups) || o->life < MANTA_LIFE_HANDLES ||
        o->life > MANTA_LIFE_DETACHED) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "actor %s: max_restarts %d, max_task_retries %d (at most %d), "
                        "max_concurrency %d (at most 4096), %zu groups (at most 64), life %d",
                        def->name, o->max_restarts, o->max_task_retries, INT16_MAX,
                        o->max_concurrency, o->group_count, (int)o->life);
    }
    for (size_t i = 0; i < o->group_count; i++) {
        if (!o->groups[i].name || o->groups[i].max_concurrency < 1 ||
            o->groups[i].max_concurrency > 4096) {
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                            "actor %s: group %zu without a name, or %d methods at a time",
                            def->name, i, o->groups[i].max_concurrency);
        }
    }
    if (o->get_or_create && !o->name) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "actor %s: get_or_create without a name",
                        def->name);
    }
    return MANTA_OK;
}

static manta_status_t check_place(mti_ctx_t *ctx, const manta_actor_def_t *def,
                                  const manta_actor_options_t *o)
{
    const mti_runtime_t *rt = ctx->rt;
    if (o->device) {
        return mti_fail(MANTA_ERR_INFEASIBLE,
                        "actor %s asks for a device (%d); this machine offers 0", def->name,
                        (int)o->device);
    }
    if (!o->pin || rt->is_serial) return MANTA_OK;
    if (o->max_concurrency > 1 || o->group_count) {
        return mti_fail(MANTA_ERR_NOT_SUPPORTED, "actor %s: pinned, and several methods at a time",
                        def->name);
    }
    int workers = mti_sched_worker_count(rt->sched);
    mti_actor_more_t place = {.pin_core = -1, .pin_node = -1};
    if (o->pin > 0 && o->pin < PIN_NODE) {
        if (o->pin <= workers) return MANTA_OK;
        return mti_fail(MANTA_ERR_INFEASIBLE, "actor %s asks for worker %d; runtime '%s' has %d",
                        def->name, (int)o->pin - 1, rt->name, workers);
    }
    place.pin_node = (int)o->pin - PIN_NODE;
    for (int seat = 0; seat < workers; seat++) {
        if (seat_fits(rt, &place, seat)) return MANTA_OK;
    }
    return mti_fail(MANTA_ERR_INFEASIBLE,
                    "actor %s asks for NUMA node %d; runtime '%s' has no worker there", def->name,
                    place.pin_node, rt->name);
}

static size_t string_bytes(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static const char *copy_string(char **at, const char *text)
{
    if (!text) return NULL;
    size_t bytes = strlen(text) + 1;
    char *copy = memcpy(*at, text, bytes);
    *at += bytes;
    return copy;
}

// The groups, the nameless one first, and their places, in one block.
static bool make_groups(mti_ctx_t *ctx, mti_actor_more_t *more, const manta_actor_options_t *o)
{
    uint32_t count = (uint32_t)o->group_count + 1;
    uint32_t limit = o->max_concurrency > 0 ? (uint32_t)o->max_concurrency : 1;
    size_t places = limit, names = 0;
    for (size_t i = 0; i < o->group_count; i++) {
        places += (size_t)o->groups[i].max_concurrency;
        names += string_bytes(o->groups[i].name);
    }
    more->groups_bytes = count * sizeof(group_t) + places * sizeof(mti_atomic_u64_t) + names;
    more->groups = mti_heap_alloc(&ctx->heap, more->groups_bytes);
    if (!more->groups) return false;
    memset(more->groups, 0, more->groups_bytes);
    mti_atomic_u64_t *ids = (mti_atomic_u64_t *)(void *)(more->groups + count);
    char *text = (char *)(ids + places);
    for (uint32_t i = 0; i < count; i++) {
        group_t *group = &more->groups[i];
        group->limit = i ? (uint32_t)o->groups[i - 1].max_concurrency : limit;
        group->name = i ? copy_string(&text, o->groups[i - 1].name) : "";
        group->ids = ids;
        ids += group->limit;
    }
    more->group_count = count;
    return true;
}

// The block beside the slot: what is rarely looked at, the names, and the state. NULL: no memory.
static mti_actor_more_t *make_more(mti_ctx_t *ctx, manta_actor_def_t *def,
                                   const manta_actor_options_t *o, void **out_state)
{
    size_t align = def->state_align > 16 ? def->state_align : 16;
    size_t names = string_bytes(o->name) + string_bytes(o->name_space);
    size_t state_at = mti_size_align(sizeof(mti_actor_more_t) + names, align), total;
    if (!mti_size_add(state_at, def->state_bytes, &total)) return NULL;
    mti_actor_more_t *more = mti_heap_alloc(&ctx->heap, total);
    if (!more) return NULL;
    memset(more, 0, total);
    more->total_bytes = total;
    more->def = def;
    more->restarts_left = o->max_restarts;
    more->pin_core = o->pin > 0 && o->pin < PIN_NODE ? (int)o->pin - 1 : -1;
    more->pin_node = o->pin >= PIN_NODE ? (int)o->pin - PIN_NODE : -1;
    more->job.fn = pinned_run;
    char *text = (char *)(more + 1);
    more->name = copy_string(&text, o->name);
    more->name_space = o->name ? copy_string(&text, o->name_space) : NULL;
    *out_state = (char *)more + state_at;
    mti_mutex_init(&more->lock, MTI_RANK_ACTOR);
    if ((o->max_concurrency > 1 || o->group_count) && !make_groups(ctx, more, o)) {
        mti_mutex_deinit(&more->lock);
        mti_heap_free(&ctx->heap, more, total);
        return NULL;
    }
    return more;
}

static void free_more(mti_ctx_t *ctx, mti_actor_more_t *more)
{
    mti_rows_deinit(&more->rows);
    manta_error_release((manta_error_t *)more->error);
    if (more->groups) mti_heap_free(&ctx->heap, more->groups, more->groups_bytes);
    mti_mutex_deinit(&more->lock);
    mti_heap_free(&ctx->heap, more, more->total_bytes);
}

void mti_actor_free(mti_ctx_t *ctx, mti_actor_t *actor)
{
    free_more(ctx, actor->more);
    actor->more = NULL;
}

static mti_actor_t *make_actor(mti_ctx_t *ctx, manta_actor_def_t *def,
                               const manta_actor_options_t *o)
{
    void *state;
    mti_actor_more_t *more = make_more(ctx, def, o, &state);
    mti_actor_t *actor = more ? (mti_actor_t *)(void *)mti_table_alloc(&ctx->table) : NULL;
    if (!actor) {
        if (more) free_more(ctx, more);
        return NULL;
    }
    mti_object_t *object = &actor->object;
    mti_object_set(object, MTI_OBJECT_ACTOR, MTI_STORAGE_NONE, 0);
    mti_object_set_runtime(object, ctx->rt->index);
    object->dtype = MANTA_UNTYPED;
    object->producer = 0;
    mti_atomic_u32_store_relaxed(&object->scope_hint, 0);
    mti_atomic_u64_store_relaxed(&object->u.mail, def->create ? MTI_MAIL_EMPTY : MTI_MAIL_IDLE);
    actor->more = more;
    more->self = actor;
    actor->def = def;
    actor->state = state;
    mti_atomic_u32_store_relaxed(&actor->life, MTI_LIFE_ALIVE);
    actor->max_pending = o->max_pending;
    actor->flags = (more->group_count ? MTI_ACTOR_CONCURRENT : 0) |
                   (o->out_of_order ? MTI_ACTOR_OUT_OF_ORDER : 0) |
                   (o->life != MANTA_LIFE_HANDLES ? MTI_ACTOR_KEEPS_COUNT : 0) |
                   (o->pin && !ctx->rt->is_serial ? MTI_ACTOR_PINNED : 0);
    if (actor->flags & MTI_ACTOR_PINNED) mti_atomic_u32_store_relaxed(&ctx->rt->has_pinned, 1);
    actor->task_retries = o->max_task_retries;
    actor->todo = actor->todo_last = NULL;
    mti_atomic_u64_store_relaxed(&actor->current, 0);
    mti_atomic_u32_store_relaxed(&actor->busy, 0);
    mti_atomic_u32_store_relaxed(&actor->frozen, 0);
    mti_atomic_u64_store_relaxed(&actor->ran, 0);
    actor->constructed = !def->create;
    mti_atomic_u64_store_relaxed(&object->head, 0);
    mti_atomic_u64_store_relaxed(
        &actor->claim, turn_word(mti_actor_gen(actor), def->create ? MTI_TURN_NEW : MTI_TURN_IDLE));
    uint64_t counts = MTI_COUNT_USER + MTI_COUNT_INTERNAL;
    if (actor->flags & MTI_ACTOR_KEEPS_COUNT) counts += MTI_COUNT_USER;
    if (def->create) counts += MTI_COUNT_INTERNAL; // the constructor's, as for a call
    // release: a stale lookup that gets a count from here sees a whole actor
    mti_atomic_u64_store_release(&object->counts, counts);
    return actor;
}

// An actor that nobody has heard of goes again.
static void discard_actor(mti_ctx_t *ctx, mti_actor_t *actor)
{
    mti_atomic_u64_store_relaxed(&actor->object.head, MTI_HEAD_CLOSED);
    mti_atomic_u64_store_relaxed(&actor->object.counts, 0);
    kept_release(ctx, actor);
    mti_actor_free(ctx, actor);
    mti_table_free(&ctx->table, (mti_slot_t *)(void *)actor);
}

// Keeps the constructor's arguments for restarts. INVALID_ARGUMENT and the like are left to the submit.
static bool keep_args(mti_ctx_t *ctx, mti_actor_t *actor, const void *args, size_t args_bytes)
{
    mti_actor_more_t *more = actor->more;
    const manta_task_def_t *create = more->def->create;
    size_t refs = 0;
    for (uint32_t i = 0; i < create->param_count; i++) {
        if (create->params[i].kind != MANTA_PARAM_IN_LIST) continue;
        manta_ref_list_t list;
        memcpy(&list, (const char *)args + create->params[i].offset, sizeof list);
        if (list.count <= MTI_MAX_REFS && (list.refs || !list.count)) refs += list.count;
    }
    size_t image = mti_size_align(args_bytes, 16);
    size_t bytes = image + refs * sizeof(manta_ref_t);
    if (!bytes) bytes = 16;
    unsigned char *kept = mti_heap_alloc(&ctx->heap, bytes);
    if (!kept) return false;
    if (args_bytes) memcpy(kept, args, args_bytes);
    manta_ref_t *room = (manta_ref_t *)(void *)(kept + image);
    for (uint32_t i = 0; i < create->param_count; i++) {
        if (create->params[i].kind != MANTA_PARAM_IN_LIST) continue;
        manta_ref_list_t *list = (manta_ref_list_t *)(void *)(kept + create->params[i].offset);
        if (list->count > MTI_MAX_REFS || !list->refs) list->count = 0;
        for (size_t k = 0; k < list->count; k++)
            room[k] = list->refs[k];
        list->refs = room;
        room += list->count;
    }
    mti_record_t like = {.def = more->def->create, .args = kept};
    mti_arg_iter_t iter = {.t = &like};
    bool whole = true;
    uint32_t taken = 0;
    manta_ref_t ref;
    while (whole && mti_arg_next(&iter, &ref)) {
        if (mti_ref_is_error(ref)) continue;
        whole = mti_ref_acquire(ref, MTI_COUNT_INTERNAL) != NULL;
        taken += whole;
    }
    if (!whole) { // a stale ref: the submit will say so
        iter = (mti_arg_iter_t){.t = &like};
        while (taken && mti_arg_next(&iter, &ref)) {
            if (mti_ref_is_error(ref)) continue;
            mti_object_release(ctx, mti_object_held(ref), MTI_COUNT_INTERNAL);
            taken--;
        }
        mti_heap_free(&ctx->heap, kept, bytes);
        return true;
    }
    more->kept = kept;
    more->kept_bytes = bytes;
    return true;
}

// Begins the end of an actor that is to run what was accepted first.
static void actor_stop(mti_ctx_t *ctx, mti_actor_t *actor)
{
    mti_mutex_lock(&actor->more->lock);
    uint32_t life = mti_atomic_u32_load_relaxed(&actor->life);
    if (life == MTI_LIFE_ALIVE || life == MTI_LIFE_RESTARTING) actor_count_locked(ctx, actor);
    // One that is being restarted ends with what it has; seq_cst: see the head of this file.
    if (life == MTI_LIFE_ALIVE) mti_atomic_u32_store_seq_cst(&actor->life, MTI_LIFE_STOPPING);
    mti_mutex_unlock(&actor->more->lock);
    if (life == MTI_LIFE_RESTARTING) {
        actor_fail(ctx, actor, NULL, false, 0, "stopped while it was being restarted");
    } else if (life == MTI_LIFE_ALIVE) {
        actor_kick(ctx, actor);
    }
}

static void creator_fire(mti_ctx_t *ctx, mti_watcher_t *watcher, uint64_t head)
{
    (void)head;
    mti_actor_more_t *more =
        (mti_actor_more_t *)(void *)((char *)watcher - offsetof(mti_actor_more_t, creator));
    mti_actor_t *actor = more->self;
    actor_stop(ctx, actor);
    mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
}

// Ties the actor's life to the task, or the actor, that makes it.
static void tie_to_creator(mti_thread_t *thread, mti_ctx_t *ctx, mti_actor_t *actor)
{
    mti_actor_more_t *more = actor->more;
    manta_task_t *task = thread->task;
    mti_object_t *creator = task->actor ? &task->actor->object : &task->record->result;
    more->creator = (mti_watcher_t){.fire = creator_fire};
    more->has_creator = true;
    (void)mti_atomic_u64_fetch_add_relaxed(&actor->object.counts, MTI_COUNT_SLOT);
    if (!mti_watch_add(&more->creator, creator)) creator_fire(ctx, &more->creator, 0);
}

// The name goes to |actor| (NULL: only look). ALREADY_EXISTS: |*out_other| has it, with one more handle
// count. One that is about to end gives it up.
static manta_status_t take_name(mti_runtime_t *rt, mti_actor_t *actor, const char *name,
                                const char *name_space, mti_actor_t **out_other)
{
    manta_status_t status = MANTA_OK;
    mti_mutex_lock(&rt->names_lock);
    mti_actor_t *other = names_find_locked(rt, name, name_space);
    uint32_t life = other ? mti_atomic_u32_load_acquire(&other->life) : MTI_LIFE_DEAD;
    bool lives = life == MTI_LIFE_ALIVE || life == MTI_LIFE_RESTARTING;
    if (lives && mti_ref_acquire(mti_ref_of(&other->object), MTI_COUNT_USER)) {
        *out_other = other;
        status = MANTA_ERR_ALREADY_EXISTS;
    } else if (!actor) {
        status = MANTA_ERR_NOT_FOUND;
    } else {
        if (other) {
            mti_actor_t **at = names_bucket(rt, name, name_space);
            while (*at != other)
                at = &(*at)->more->name_next;
            *at = other->more->name_next;
            rt->name_count--;
        }
        if (names_grow_locked(rt)) {
            mti_actor_t **bucket = names_bucket(rt, name, name_space);
            actor->more->name_next = *bucket;
            *bucket = actor;
            rt->name_count++;
        } else {
            status = MANTA_ERR_OUT_OF_MEMORY;
        }
    }
    mti_mutex_unlock(&rt->names_lock);
    return status;
}

// A handle of |actor|, one of whose counts is the caller's, goes out. There is room in the scope.
static manta_actor_t give_handle(mti_thread_t *thread, mti_actor_t *actor)
{
    manta_ref_t ref = mti_ref_of(&actor->object);
    mti_scope_add(thread, &actor->object, ref);
    return (manta_actor_t){ref.id};
}

// The actor that has the name, if it is of the right kind; else its count is given back.
static manta_actor_t give_found(mti_thread_t *thread, mti_ctx_t *ctx, mti_actor_t *found,
                                const manta_actor_def_t *def, const char *name)
{
    if (!def || found->def == def) return give_handle(thread, found);
    manta_status_t status = mti_fail(MANTA_ERR_TYPE_MISMATCH, "actor '%s' is of kind %s, not %s",
                                     name, found->def->name, def->name);
    mti_actor_handle_drop(ctx, found);
    return error_handle(status);
}

void mti_actor_handle_drop(mti_ctx_t *ctx, mti_actor_t *actor)
{
    // The user's count becomes an internal one first, so that the actor stays while we look at it.
    uint64_t change = MTI_COUNT_INTERNAL - MTI_COUNT_USER;
    uint64_t counts = mti_atomic_u64_fetch_add_acq_rel(&actor->object.counts, change) + change;
    if (mti_count_user(counts) == 0 && mti_atomic_u32_load_acquire(&actor->life) != MTI_LIFE_DEAD) {
        actor_stop(ctx, actor);
    }
    mti_actor_calls_gone(ctx, actor, 1);
}

// The context for a new actor; NULL with a message and thread->status.
static mti_ctx_t *create_ctx(mti_thread_t *thread, manta_runtime_t runtime, const char *what)
{
    mti_ctx_t *ctx = runtime.id ? mti_ctx_slow(thread, runtime) : mti_ctx_current(thread);
    if (!ctx) return NULL;
    uint32_t state = mti_atomic_u32_load_acquire(&ctx->rt->state);
    bool inside = ctx->sched.thread || (thread->task && thread->task->ctx->rt == ctx->rt);
    if (state == MTI_RUNTIME_RUNNING || (state == MTI_RUNTIME_CLOSED && inside)) return ctx;
    thread->status =
        mti_fail(MANTA_ERR_SHUTDOWN, "actor %s: runtime '%s' is closed", what, ctx->rt->name);
    return NULL;
}

// The actor, or the one that has its name; entered, with room in the scope.
static manta_status_t create_entered(mti_thread_t *thread, mti_ctx_t *ctx, manta_actor_def_t *def,
                                     const manta_actor_options_t *o, const void *args,
                                     size_t args_bytes, mti_actor_t **out_actor,
                                     manta_actor_t *out_handle)
{
    mti_actor_t *other = NULL;
    manta_status_t status = check_place(ctx, def, o);
    if (status != MANTA_OK) return status;
    if (o->get_or_create &&
        take_name(ctx->rt, NULL, o->name, o->name_space, &other) == MANTA_ERR_ALREADY_EXISTS) {
        *out_handle = give_found(thread, ctx, other, def, o->name);
        return MANTA_OK;
    }
    mti_actor_t *actor = make_actor(ctx, def, o);
    if (!actor) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for an actor %s", def->name);
    if (def->create && o->max_restarts != 0 && !keep_args(ctx, actor, args, args_bytes)) {
        discard_actor(ctx, actor);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "actor %s: no memory to keep its arguments",
                        def->name);
    }
    status = o->name ? take_name(ctx->rt, actor, o->name, o->name_space, &other) : MANTA_OK;
    if (status != MANTA_OK) {
        discard_actor(ctx, actor);
        if (status == MANTA_ERR_ALREADY_EXISTS && o->get_or_create) {
            *out_handle = give_found(thread, ctx, other, def, o->name);
            return MANTA_OK;
        }
        if (other) mti_actor_handle_drop(ctx, other);
        return status == MANTA_ERR_OUT_OF_MEMORY
                   ? mti_fail(status, "actor %s: no memory for its name", def->name)
                   : mti_fail(status, "actor %s: there is an actor '%s' already", def->name,
                              o->name);
    }
    if (o->life == MANTA_LIFE_CREATOR && thread->task) tie_to_creator(thread, ctx, actor);
    *out_handle = give_handle(thread, actor);
    *out_actor = actor;
    return MANTA_OK;
}

manta_actor_t manta_actor_create(manta_actor_def_t *def, const manta_actor_options_t *options,
                                 const void *args, size_t args_bytes)
{
    manta_actor_options_t o = {.struct_size = sizeof o};
    if (!def) return error_handle(mti_fail(MANTA_ERR_INVALID_ARGUMENT, "actor_create: no kind"));
    if (options) {
        size_t known = options->struct_size < sizeof o ? options->struct_size : sizeof o;
        memcpy(&o, options, known);
    }
    manta_status_t status = check_def(def, &o, args, args_bytes);
    if (status != MANTA_OK) return error_handle(status);
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return error_handle(mti_thread_failure());
    if (!mti_scope_reserve(thread, 1)) return error_handle(MANTA_ERR_OUT_OF_MEMORY);
    // Outside of tasks nobody creates for anybody.
    if (o.life == MANTA_LIFE_CREATOR && !thread->task) o.life = MANTA_LIFE_HANDLES;
    mti_thread_enter(thread);
    mti_ctx_t *ctx = create_ctx(thread, o.runtime, def->name);
    if (!ctx) {
        mti_thread_leave(thread);
        return error_handle(thread->status);
    }
    mti_actor_t *actor = NULL;
    manta_actor_t handle = {0};
    status = create_entered(thread, ctx, def, &o, args, args_bytes, &actor, &handle);
    // As for a wait: the runtime stays until the constructor is submitted.
    mti_wait_enter(ctx);
    mti_thread_leave(thread);
    if (status == MANTA_OK && actor && def->create) {
        status = mti_task_submit_method(handle, actor, def->create, NULL, args, args_bytes, NULL, 0,
                                        false);
        if (status != MANTA_OK) {
            manta_error_t *cause = mti_error_create(status, MANTA_SCOPE_TASK, def->create->name, "",
                                                    0, manta_error_message(), NULL);
            actor_fail(ctx, actor, cause, false, 0, "its constructor could not be submitted");
            manta_error_release(cause);
            (void)manta_actor_release(handle);
        }
    }
    mti_wait_leave(ctx);
    return status == MANTA_OK ? handle : error_handle(status);
}

// ---- calls --------------------------------------------------------------------------------------

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
                          def->name, actor_name(actor), actor->def->name,
                          def->owner ? def->owner->name : "none");
    } else if (life != MTI_LIFE_ALIVE && !waits) {
        status = fail_not_alive(actor, def->name);
    } else if (actor->max_pending) {
        uint32_t pending = actor_open_calls(actor) - 1, running = actor_running(actor);
        pending = pending > running ? pending - running : 0;
        if (pending >= actor->max_pending) {
            status = mti_fail(MANTA_ERR_ACTOR_BUSY, "%s: %u calls wait for actor %s (at most %u)",
                              def->name, pending, actor_name(actor), actor->max_pending);
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

// ---- handles ------------------------------------------------------------------------------------

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
    if (!name) return error_handle(mti_fail(MANTA_ERR_INVALID_ARGUMENT, "actor_find: no name"));
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return error_handle(mti_thread_failure());
    if (!mti_scope_reserve(thread, 1)) return error_handle(MANTA_ERR_OUT_OF_MEMORY);
    mti_thread_enter(thread);
    mti_ctx_t *ctx = runtime.id ? mti_ctx_slow(thread, runtime) : mti_ctx_current(thread);
    mti_actor_t *found = NULL;
    manta_actor_t handle;
    if (!ctx) {
        handle = error_handle(thread->status);
    } else if (take_name(ctx->rt, NULL, name, name_space, &found) != MANTA_ERR_ALREADY_EXISTS) {
        handle = error_handle(mti_fail(MANTA_ERR_NOT_FOUND, "there is no actor '%s'%s%s", name,
                                       name_space ? " in namespace " : "",
                                       name_space ? name_space : ""));
    } else {
        handle = give_found(thread, ctx, found, def, name);
    }
    mti_thread_leave(thread);
    return handle;
}

// Looks a handle up, entered, with an internal count; calls_gone gives that back.
static manta_status_t handle_begin(manta_actor_t handle, const char *what,
                                   mti_thread_t **out_thread, mti_ctx_t **out_ctx,
                                   mti_actor_t **out_actor)
{
    manta_ref_t ref = {handle.id};
    if (mti_ref_is_error(ref)) return mti_ref_error_code(ref);
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    mti_thread_enter(thread);
    mti_object_t *object = mti_ref_acquire(ref, MTI_COUNT_INTERNAL);
    mti_ctx_t *ctx = object ? mti_ctx_for(thread, object) : NULL;
    manta_status_t status = MANTA_OK;
    if (!object) {
        status = mti_fail(MANTA_ERR_STALE_REF, "%s: stale handle of an actor", what);
    } else if (!ctx) {
        status = thread->status;
    } else if (mti_object_kind(object) != MTI_OBJECT_ACTOR) {
        status = mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: this is no actor", what);
        mti_object_release(ctx, object, MTI_COUNT_INTERNAL);
    }
    if (status != MANTA_OK) {
        mti_thread_leave(thread);
        return status;
    }
    *out_thread = thread;
    *out_ctx = ctx;
    *out_actor = (mti_actor_t *)(void *)object;
    return MANTA_OK;
}

static void handle_end(mti_thread_t *thread, mti_ctx_t *ctx, mti_actor_t *actor)
{
    mti_actor_calls_gone(ctx, actor, 1);
    mti_thread_leave(thread);
}

manta_status_t manta_actor_status(manta_actor_t handle)
{
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_actor_t *actor;
    manta_status_t status = handle_begin(handle, "actor_status", &thread, &ctx, &actor);
    if (status != MANTA_OK) return status;
    if (mti_atomic_u32_load_acquire(&actor->life) != MTI_LIFE_ALIVE) {
        status = fail_not_alive(actor, actor_name(actor));
    }
    handle_end(thread, ctx, actor);
    return status;
}

manta_status_t manta_actor_kill(manta_actor_t handle, bool restart)
{
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_actor_t *actor;
    manta_status_t status = handle_begin(handle, "actor_kill", &thread, &ctx, &actor);
    if (status != MANTA_OK) return status;
    actor_fail(ctx, actor, NULL, restart, 0, "killed");
    handle_end(thread, ctx, actor);
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
    manta_status_t status = handle_begin(handle, "actor_watch", &thread, &ctx, &actor);
    if (status != MANTA_OK) return mti_ref_error(status);
    manta_ref_t ref = mti_ref_error(MANTA_ERR_OUT_OF_MEMORY);
    if (mti_scope_reserve(thread, 1)) {
        mti_object_t *death = death_get(ctx, actor);
        if (death) {
            ref = mti_ref_of(death);
            mti_scope_add(thread, death, ref);
        } else {
            (void)mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory to watch actor %s",
                           actor_name(actor));
        }
    }
    handle_end(thread, ctx, actor);
    return ref;
}

manta_status_t manta_actor_stop(manta_actor_t handle, int64_t timeout_ns)
{
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_actor_t *actor;
    manta_status_t status = handle_begin(handle, "actor_stop", &thread, &ctx, &actor);
    if (status != MANTA_OK) return status;
    bool inside = thread->in_callback;
    for (const manta_task_t *task = thread->task; task && !inside; task = task->outer)
        inside = task->actor == actor;
    if (inside && timeout_ns > 0) {
        status = mti_fail(MANTA_ERR_NOT_ALLOWED_HERE,
                          "actor %s: a stop that waits, inside one of its methods or a callback",
                          actor_name(actor));
        handle_end(thread, ctx, actor);
        return status;
    }
    mti_object_t *death = death_get(ctx, actor);
    if (death) actor_stop(ctx, actor);
    mti_wait_enter(ctx);
    handle_end(thread, ctx, actor);
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

// ---- being asked --------------------------------------------------------------------------------

static manta_actor_state_t info_state(const mti_actor_t *actor)
{
    switch (mti_atomic_u32_load_acquire(&actor->life)) {
    case MTI_LIFE_ALIVE:
        return mti_atomic_u64_load_relaxed(&actor->more->create_id) ? MANTA_ACTOR_STARTING
                                                                    : MANTA_ACTOR_ALIVE;
    case MTI_LIFE_STOPPING:
        return MANTA_ACTOR_STOPPING;
    case MTI_LIFE_RESTARTING:
        return MANTA_ACTOR_RESTARTING;
    default:
        return MANTA_ACTOR_DEAD;
    }
}

// The caller holds one count; |counts| were read before it took that.
static void info_fill(const mti_actor_t *actor, uint64_t counts, manta_actor_info_t *out)
{
    manta_actor_info_t info = {.struct_size = out->struct_size,
                               .actor = {mti_ref_of(&actor->object).id},
                               .kind = actor->def->name,
                               .state = info_state(actor),
                               .handles = mti_count_user(counts),
                               .restarts = mti_atomic_u32_load_relaxed(&actor->more->restarts),
                               .completed = mti_atomic_u64_load_relaxed(&actor->ran)};
    uint32_t internal = mti_count_internal(counts);
    bool ended = mti_atomic_u32_load_relaxed(&actor->life) == MTI_LIFE_DEAD;
    info.pending = internal > !ended ? internal - !ended : 0;
    if (actor->flags & MTI_ACTOR_KEEPS_COUNT && info.handles && !ended) info.handles--;
    if (actor->more->name) snprintf(info.name, sizeof info.name, "%s", actor->more->name);
    if (actor->more->name_space) {
        snprintf(info.name_space, sizeof info.name_space, "%s", actor->more->name_space);
    }
    size_t known = out->struct_size < sizeof info ? out->struct_size : sizeof info;
    memcpy(out, &info, known);
}

manta_status_t manta_actor_describe(manta_actor_t handle, manta_actor_info_t *out_info)
{
    if (!out_info || out_info->struct_size < sizeof(size_t)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "actor_describe: struct_size is not set");
    }
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_actor_t *actor;
    manta_status_t status = handle_begin(handle, "actor_describe", &thread, &ctx, &actor);
    if (status != MANTA_OK) return status;
    uint64_t counts = mti_atomic_u64_load_relaxed(&actor->object.counts) - MTI_COUNT_INTERNAL;
    info_fill(actor, counts, out_info);
    handle_end(thread, ctx, actor);
    return MANTA_OK;
}

// Calls |fn| for each actor of |rt| that has not ended, with a slot count.
typedef struct each {
    mti_ctx_t *ctx;
    void (*fn)(struct each *each, mti_actor_t *actor);
    const char *name_space;
    manta_actor_info_t *infos;
    size_t room, count;
    bool kill;
} each_t;

static void each_slot(mti_slot_t *slot, void *user)
{
    each_t *each = user;
    mti_object_t *object = &slot->object;
    if (mti_object_runtime(object) != each->ctx->rt->index ||
        mti_object_kind(object) != MTI_OBJECT_ACTOR) {
        return;
    }
    uint64_t id = mti_ref_of(object).id, head;
    if (!mti_ref_acquire_weak(id, MTI_COUNT_SLOT)) return;
    if (mti_object_kind(object) == MTI_OBJECT_ACTOR && !mti_object_is_closed(object, &head)) {
        each->fn(each, (mti_actor_t *)(void *)object);
    }
    mti_object_release(each->ctx, object, MTI_COUNT_SLOT);
}

static void each_actor(each_t *each)
{
    mti_runtime_t *rt = each->ctx->rt;
    // Contexts are only ever added, at the front; the list from here on stays as it is.
    mti_mutex_lock(&rt->lock);
    mti_ctx_t *first = rt->ctxs;
    mti_mutex_unlock(&rt->lock);
    for (mti_ctx_t *ctx = first; ctx; ctx = ctx->next_all)
        mti_table_cache_each(&ctx->table, each_slot, each);
}

static void each_info(each_t *each, mti_actor_t *actor)
{
    if (each->name_space && !names_equal(actor->more->name_space, each->name_space)) return;
    if (each->count < each->room) {
        info_fill(actor, mti_atomic_u64_load_relaxed(&actor->object.counts),
                  &each->infos[each->count]);
    }
    each->count++;
}

size_t manta_actor_list(manta_runtime_t runtime, const char *name_space,
                        manta_actor_info_t *out_infos, size_t n)
{
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return 0;
    mti_thread_enter(thread);
    mti_runtime_t *rt = mti_runtime_resolve(runtime);
    mti_ctx_t *ctx = rt ? mti_ctx_slow(thread, mti_runtime_handle(rt)) : NULL;
    each_t each = {.ctx = ctx,
                   .fn = each_info,
                   .name_space = name_space,
                   .infos = out_infos,
                   .room = out_infos ? n : 0};
    if (ctx) each_actor(&each);
    mti_thread_leave(thread);
    return each.count;
}

static void each_end(each_t *each, mti_actor_t *actor)
{
    each->count++;
    if (each->kill) {
        actor_fail(each->ctx, actor, NULL, false, 0, "its runtime is shutting down");
    } else {
        actor_stop(each->ctx, actor);
    }
}

size_t mti_actors_end(mti_ctx_t *ctx, bool kill)
{
    each_t each = {.ctx = ctx, .fn = each_end, .kill = kill};
    each_actor(&each);
    return each.count;
}

bool mti_actor_describe(mti_actor_t *actor, char *text, size_t size)
{
    static const char *const states[] = {"starting", "alive", "restarting", "stopping", "dead"};
    uint64_t counts = mti_atomic_u64_load_relaxed(&actor->object.counts);
    uint64_t id = mti_ref_of(&actor->object).id;
    if (!mti_ref_acquire_weak(id, MTI_COUNT_SLOT)) return false;
    manta_actor_info_t info = {.struct_size = sizeof info};
    info_fill(actor, counts, &info);
    snprintf(text, size, "actor %s%s%s: %s, %u handles, %u calls pending, %u restarts", info.kind,
             info.name[0] ? " " : "", info.name, states[info.state], info.handles, info.pending,
             info.restarts);
    mti_thread_t *thread = mti_thread_tls;
    mti_ctx_t *ctx = mti_ctx_for(thread, &actor->object);
    if (ctx) mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
    return info.handles != 0;
}

// ---- inside a method ----------------------------------------------------------------------------

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
    manta_ref_t promise = manta_keep(manta_promise_create(task->record->result.dtype));
    if (mti_ref_is_error(promise)) return promise;
    manta_status_t status = manta_forward(task, promise);
    if (status == MANTA_OK) return promise;
    (void)manta_release(promise);
    return mti_ref_error(status);
}
