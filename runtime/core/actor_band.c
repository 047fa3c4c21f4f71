// Priorities of calls: which of those that wait an actor takes next, and with what priority its turn is
// scheduled beside other work.
//
// An actor knows of priorities from the first call on that has another one than normal; until then there is
// no trace of all this. Then whoever holds the turn moves what is in the mailbox to lists, one per *rank*
// (low, normal, high, urgent), a set of them per group, and takes from the highest one. A call never passes an
// earlier one of its caller: it goes to the list of its rank, or to the lowest one that has a call of its caller.
// So in each list, and from higher lists to lower ones, the calls of a caller stand in order. Every AGE-th time
// the first of a lower list is taken, unless its caller has a call in a higher one.
//
// Who called? A call doesn't say: that would cost all of them something. A task's calls have it as their parent; a
// thread's have none, and come from its table of slots (|home|). Actors, whose methods are many tasks on many
// threads, leave a label, but only once the one that is called knows of priorities; from then on calls are *sure*.
// So of two callers it may be said that they are the same when they are not, if one of them called before that;
// never the other way round.
//
// The turn is scheduled in the band of what would be taken next. Of a putter and of a holder that lets go one
// sees the other, as for the mailbox: |put| is set after the call is in the mailbox and before the turn is
// looked at; the holder gives the turn away and then looks at |put|. With low calls only it *parks*: the turn
// is PARKED, an entry for it in the low band, and the mailbox IDLE, so that a put wakes it in another band.
//
// Stress test: tests/stress/actor_stress.cc.
#include "core/actor_impl.h"

#include <string.h>

enum {
    RANK_LOW,
    RANK_NORMAL,
    RANK_HIGH,
    RANK_URGENT,
    RANKS,
    AGE = 64,
    CALLERS = 64,
};

typedef struct caller {
    uint64_t actor;  // the label; 0: none
    uint64_t parent; // the task that called; 0: a thread, or a task of another runtime
    uint32_t home;   // of the slot; says which thread
    bool is_sure;    // an actor would have a label
} caller_t;

// Guarded like |todo|.
typedef struct rank_list {
    mti_record_t *first, *last;
    uint32_t labels, unsure;   // of those in the list: with a label; not sure
    uint32_t callers[CALLERS]; // how many, by a hash of who called
} rank_list_t;

typedef struct rank_queue {
    rank_list_t lists[RANKS];
    uint32_t taken;
} rank_queue_t;

struct mti_actor_bands {
    mti_atomic_u32_t put_high, put_urgent; // since the mailbox was last emptied; a hint
    uint32_t count;                        // of queues: one, or one per group
    size_t total_bytes;
    rank_queue_t queues[];
};

static uint32_t rank_of(const mti_record_t *t)
{
    uint32_t flags = mti_record_flags(t);
    if (!(flags & MTI_RECORD_BAND)) return RANK_NORMAL;
    uint32_t band = flags >> MTI_RECORD_BAND_SHIFT & 3;
    return band == MTI_BAND_LOW ? RANK_LOW : band == MTI_BAND_HIGH ? RANK_HIGH : RANK_URGENT;
}

static mti_actor_bands_t *bands_of(const mti_actor_t *actor)
{
    // acquire: the lists as they were made
    return mti_atomic_ptr_load_acquire(&actor->more->bands);
}

// ---- callers -------------------------------------------------------------------------------------

static caller_t caller_of(const mti_record_t *t)
{
    return (caller_t){t->cold ? t->cold->caller : 0, mti_atomic_u64_load_relaxed(&t->parent),
                      t->result.home, mti_record_flags(t) & MTI_RECORD_SURE};
}

static uint32_t caller_hash(const caller_t *caller)
{
    uint64_t x = caller->actor ? caller->actor : caller->parent ? caller->parent : caller->home;
    return (uint32_t)(x * 0x9e3779b97f4a7c15u >> 32) % CALLERS;
}

// Whether |a| and |b| may be one.
static bool may_be_same(const caller_t *a, const caller_t *b)
{
    if (a->actor && b->actor) return a->actor == b->actor;
    if (!a->is_sure && !b->is_sure) return true;
    // One that isn't sure may be a method of the actor: in this runtime that is a parent, in another one none.
    if (a->actor) return !b->is_sure && (a->parent != 0) == (b->parent != 0);
    if (b->actor) return !a->is_sure && (a->parent != 0) == (b->parent != 0);
    return a->parent == b->parent && (a->parent || a->home == b->home);
}

// ---- the lists, inside the bracket of |todo| ---------------------------------------------------------

// Whether |list| has a call of |caller|, as far as that can be told.
static bool list_has(const rank_list_t *list, const caller_t *caller)
{
    bool maybe = list->callers[caller_hash(caller)] != 0 ||
                 (list->unsure && (!caller->is_sure || caller->actor)) ||
                 (list->labels && !caller->is_sure);
    for (const mti_record_t *t = maybe ? list->first : NULL; t; t = mti_method_of(t)->mail_next) {
        caller_t other = caller_of(t);
        if (may_be_same(caller, &other)) return true;
    }
    return false;
}

static void list_count(rank_list_t *list, const caller_t *caller, uint32_t by)
{
    list->callers[caller_hash(caller)] += by;
    if (caller->actor) list->labels += by;
    if (!caller->is_sure) list->unsure += by;
}

static void queue_put(rank_queue_t *queue, mti_record_t *t, bool in_order)
{
    uint32_t rank = rank_of(t), at = in_order ? 0 : rank;
    caller_t caller = caller_of(t);
    while (at < rank && !list_has(&queue->lists[at], &caller))
        at++;
    rank_list_t *list = &queue->lists[at];
    mti_method_of(t)->mail_next = NULL;
    *(list->last ? &mti_method_of(list->last)->mail_next : &list->first) = t;
    list->last = t;
    list_count(list, &caller, 1);
}

static void queue_take(rank_queue_t *queue, uint32_t rank)
{
    rank_list_t *list = &queue->lists[rank];
    caller_t caller = caller_of(list->first);
    list_count(list, &caller, (uint32_t)-1);
    list->first = mti_method_of(list->first)->mail_next;
    if (!list->first) list->last = NULL;
    queue->taken++;
}

static bool queue_is_empty(const rank_queue_t *queue)
{
    for (int i = 0; i < RANKS; i++)
        if (queue->lists[i].first) return false;
    return true;
}

// The highest list with something in it; the queue is not empty.
static uint32_t queue_top(const rank_queue_t *queue)
{
    uint32_t rank = RANK_URGENT;
    while (!queue->lists[rank].first)
        rank--;
    return rank;
}

// Whether the first of |rank| may go before all that is above it.
static bool queue_may_age(const rank_queue_t *queue, uint32_t rank, uint32_t top, bool in_order)
{
    const mti_record_t *t = queue->lists[rank].first;
    if (!t) return false;
    caller_t caller = caller_of(t);
    for (uint32_t i = rank + 1; in_order && i <= top; i++)
        if (list_has(&queue->lists[i], &caller)) return false;
    return true;
}

// The list whose first one is next; the queue is not empty.
static uint32_t queue_next(const rank_queue_t *queue, bool in_order)
{
    uint32_t top = queue_top(queue);
    if (queue->taken % AGE != AGE - 1) return top;
    // Low, normal and high one after the other, as in the scheduler.
    for (uint32_t i = 0, first = queue->taken / AGE % 3; i < 3; i++) {
        uint32_t rank = (first + i) % 3;
        if (rank < top && queue_may_age(queue, rank, top, in_order)) return rank;
    }
    return top;
}

static bool is_in_order(const mti_actor_t *actor)
{
    return !(mti_actor_flags(actor) & MTI_ACTOR_OUT_OF_ORDER);
}

static void absorb_list(mti_actor_t *actor, mti_actor_bands_t *bands, mti_record_t *t)
{
    bool is_concurrent = actor->more->group_count != 0, in_order = is_in_order(actor);
    while (t) {
        mti_record_t *next = mti_method_of(t)->mail_next;
        uint32_t group = is_concurrent ? mti_method_of(t)->group : 0;
        if (is_concurrent) {
            (void)mti_atomic_u32_fetch_add_seq_cst(&actor->more->groups[group].waiting, 1);
        }
        queue_put(&bands->queues[group], t, in_order);
        t = next;
    }
}

// Everything that waits goes to the lists.
static void absorb(mti_actor_t *actor, mti_actor_bands_t *bands)
{
    for (uint32_t i = 0; i < actor->more->group_count; i++) { // from before there were priorities
        mti_actor_group_t *group = &actor->more->groups[i];
        mti_record_t *t = group->first;
        group->first = group->last = NULL;
        while (t) {
            mti_record_t *next = mti_method_of(t)->mail_next;
            queue_put(&bands->queues[i], t, is_in_order(actor));
            t = next;
        }
    }
    mti_record_t *t = actor->todo, *last;
    actor->todo = actor->todo_last = NULL;
    absorb_list(actor, bands, t);
    if (mti_atomic_u64_load_relaxed(&actor->object.u.mail) <= MTI_MAIL_IDLE) return;
    mti_atomic_u32_store_seq_cst(&bands->put_high, 0);
    mti_atomic_u32_store_seq_cst(&bands->put_urgent, 0);
    absorb_list(actor, bands, mti_mail_take(actor, &last));
}

mti_record_t *mti_actor_bands_first(mti_actor_t *actor)
{
    mti_actor_bands_t *bands = bands_of(actor);
    absorb(actor, bands);
    rank_queue_t *queue = &bands->queues[0];
    if (queue_is_empty(queue)) return NULL;
    return queue->lists[queue_next(queue, is_in_order(actor))].first;
}

void mti_actor_bands_take(mti_actor_t *actor, const mti_record_t *t)
{
    rank_queue_t *queue = &bands_of(actor)->queues[0];
    uint32_t rank = 0;
    while (queue->lists[rank].first != t)
        rank++;
    queue_take(queue, rank);
}

mti_record_t *mti_actor_bands_hand_out(mti_actor_t *actor, mti_actor_group_t **out_group)
{
    mti_actor_bands_t *bands = bands_of(actor);
    rank_queue_t *best = NULL;
    absorb(actor, bands);
    for (uint32_t i = 0; i < bands->count; i++) {
        rank_queue_t *queue = &bands->queues[i];
        mti_actor_group_t *group = &actor->more->groups[i];
        if (queue_is_empty(queue) || mti_atomic_u32_load_seq_cst(&group->running) >= group->limit ||
            (best && queue_top(queue) <= queue_top(best))) {
            continue;
        }
        best = queue;
        *out_group = group;
    }
    if (!best) return NULL;
    uint32_t rank = queue_next(best, is_in_order(actor));
    mti_record_t *t = best->lists[rank].first;
    queue_take(best, rank);
    (void)mti_atomic_u32_fetch_sub_acq_rel(&(*out_group)->waiting, 1);
    return t;
}

void mti_actor_bands_put_back(mti_actor_t *actor, mti_record_t *t)
{
    rank_list_t *list = &bands_of(actor)->queues[0].lists[RANK_URGENT];
    caller_t caller = caller_of(t);
    list_count(list, &caller, 1);
    mti_method_of(t)->mail_next = list->first;
    if (!list->first) list->last = t;
    list->first = t;
}

bool mti_actor_bands_have_todo(const mti_actor_t *actor)
{
    const mti_actor_bands_t *bands = bands_of(actor);
    return bands && !actor->more->group_count && !queue_is_empty(&bands->queues[0]);
}

void mti_actor_bands_empty(mti_actor_t *actor, mti_record_t **out_first)
{
    mti_actor_bands_t *bands = bands_of(actor);
    mti_record_t *first = NULL, *all_last = NULL;
    for (uint32_t i = 0; bands && i < bands->count; i++) {
        for (int rank = RANK_URGENT; rank >= RANK_LOW; rank--) {
            rank_list_t *list = &bands->queues[i].lists[rank];
            if (!list->first) continue;
            *(all_last ? &mti_method_of(all_last)->mail_next : &first) = list->first;
            all_last = list->last;
            memset(list, 0, sizeof *list);
        }
    }
    *out_first = first;
}

// ---- the turn ------------------------------------------------------------------------------------

// Queues the actor, whose turn is SCHEDULED, in the band of |rank|.
static void schedule_rank(mti_ctx_t *ctx, uint32_t slot, uint32_t gen, uint32_t rank,
                          bool is_pinned)
{
    uint64_t entry = mti_ref_make(slot, gen).id | MTI_ACTOR_ENTRY;
    mti_band_t band = rank == RANK_URGENT ? MTI_BAND_URGENT : MTI_BAND_HIGH;
    bool done = rank > RANK_NORMAL && !is_pinned && mti_sched_push_band(&ctx->sched, entry, band);
    if (!done) mti_actor_schedule(ctx, slot, gen);
}

bool mti_actor_bands_yield(mti_ctx_t *ctx, mti_actor_t *actor, bool was_parked, bool is_first)
{
    mti_actor_bands_t *bands = bands_of(actor);
    if (actor->more->group_count) return false;
    mti_actor_todo_enter(actor);
    absorb(actor, bands);
    const rank_queue_t *queue = &bands->queues[0];
    uint32_t top = queue_is_empty(queue) ? RANK_URGENT : queue_top(queue);
    mti_actor_todo_leave(actor);
    if (top == RANK_LOW && !(mti_actor_flags(actor) & MTI_ACTOR_PINNED)) {
        return !(was_parked && is_first);
    }
    return top <= RANK_NORMAL && !is_first && mti_sched_has_urgent(ctx->rt->sched);
}

bool mti_actor_bands_give_on(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t gen)
{
    mti_actor_bands_t *bands = bands_of(actor);
    uint32_t slot = actor->object.slot, rank = RANK_LOW;
    bool is_pinned = mti_actor_flags(actor) & MTI_ACTOR_PINNED;
    mti_actor_todo_enter(actor);
    absorb(actor, bands);
    for (uint32_t i = 0; i < bands->count; i++) {
        const rank_queue_t *queue = &bands->queues[i];
        const mti_actor_group_t *group = actor->more->group_count ? &actor->more->groups[i] : NULL;
        if (queue_is_empty(queue)) continue;
        if (group && mti_atomic_u32_load_seq_cst(&group->running) >= group->limit) continue;
        if (queue_top(queue) > rank) rank = queue_top(queue);
    }
    mti_actor_todo_leave(actor);
    if (rank == RANK_LOW && !is_pinned && !actor->more->group_count) {
        mti_atomic_u64_store_seq_cst(&actor->claim, mti_turn_word(gen, MTI_TURN_PARKED));
        uint64_t mail = MTI_MAIL_EMPTY;
        bool is_idle = mti_atomic_u64_cas_seq_cst(&actor->object.u.mail, &mail, MTI_MAIL_IDLE) ||
                       mail == MTI_MAIL_IDLE;
        uint64_t entry = mti_ref_make(slot, gen).id | MTI_ACTOR_ENTRY;
        if (is_idle && mti_sched_push_band(&ctx->sched, entry, MTI_BAND_LOW)) return true;
        if (is_idle) return !mti_turn_take(ctx, actor, gen, MTI_TURN_PARKED); // no memory
        if (mti_turn_change(actor, gen, MTI_TURN_PARKED, mti_turn_word(gen, MTI_TURN_SCHEDULED))) {
            mti_actor_schedule(ctx, slot, gen);
        }
        return true;
    }
    mti_atomic_u64_store_seq_cst(&actor->claim, mti_turn_word(gen, MTI_TURN_SCHEDULED));
    // What was put while the turn was ours: whoever did so saw that.
    if (mti_atomic_u32_load_seq_cst(&bands->put_high) && rank < RANK_HIGH) rank = RANK_HIGH;
    if (mti_atomic_u32_load_seq_cst(&bands->put_urgent)) rank = RANK_URGENT;
    schedule_rank(ctx, slot, gen, rank, is_pinned);
    return true;
}

void mti_actor_bands_wake(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t flags)
{
    mti_actor_bands_t *bands = bands_of(actor);
    bool is_urgent = (flags >> MTI_RECORD_BAND_SHIFT & 3) == MTI_BAND_URGENT;
    uint32_t gen = mti_actor_gen(actor), slot = actor->object.slot;
    uint64_t scheduled = mti_turn_word(gen, MTI_TURN_SCHEDULED);
    mti_atomic_u32_store_seq_cst(is_urgent ? &bands->put_urgent : &bands->put_high, 1);
    // One that is in another queue already gets a second entry: the first one to come up has the turn.
    if (mti_turn_change(actor, gen, MTI_TURN_IDLE, scheduled) ||
        mti_turn_change(actor, gen, MTI_TURN_PARKED, scheduled) ||
        mti_atomic_u64_load_seq_cst(&actor->claim) == scheduled) {
        schedule_rank(ctx, slot, gen, is_urgent ? RANK_URGENT : RANK_HIGH,
                      mti_actor_flags(actor) & MTI_ACTOR_PINNED);
    }
}

void mti_actor_put_banded(mti_ctx_t *ctx, mti_actor_t *actor, mti_record_t *t)
{
    uint32_t flags = mti_record_flags(t);
    // Keeps the actor while we look at it: the call may be run and gone.
    (void)mti_atomic_u64_fetch_add_relaxed(&actor->object.counts, MTI_COUNT_SLOT);
    mti_actor_put(ctx, actor, t);
    if (mti_flags_are_raised(flags)) mti_actor_bands_wake(ctx, actor, flags);
    mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
}

// ---- making them -----------------------------------------------------------------------------------

static manta_status_t bands_make(mti_ctx_t *ctx, mti_actor_t *actor, const char *method)
{
    mti_actor_more_t *more = actor->more;
    uint32_t count = more->group_count ? more->group_count : 1;
    size_t bytes = sizeof(mti_actor_bands_t) + count * sizeof(rank_queue_t);
    mti_actor_bands_t *bands = mti_heap_alloc(&ctx->heap, bytes);
    if (!bands) {
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: no memory for the priorities of actor %s",
                        method, mti_actor_name(actor));
    }
    memset(bands, 0, bytes);
    bands->count = count;
    bands->total_bytes = bytes;
    void *none = NULL;
    // release: pairs with the acquire in bands_of. What it is set to stays until the actor is freed.
    if (!mti_atomic_ptr_cas_acq_rel(&more->bands, &none, bands)) {
        mti_heap_free(&ctx->heap, bands, bytes);
    }
    // relaxed: from here on this caller, at least, is sure; see the head of this file
    (void)__atomic_fetch_or(&actor->flags, MTI_ACTOR_BANDED, __ATOMIC_RELAXED);
    return MANTA_OK;
}

manta_status_t mti_actor_bands_call(mti_thread_t *thread, mti_ctx_t *ctx, mti_record_t *t)
{
    mti_actor_t *actor = mti_method_actor(t);
    manta_status_t status = MANTA_OK;
    if (!bands_of(actor)) status = bands_make(ctx, actor, t->def->name);
    if (status != MANTA_OK) return status;
    mti_record_set_flags(t, mti_record_flags(t) | MTI_RECORD_SURE);
    const manta_task_t *task = thread->task;
    if (!task || !task->actor || mti_actor_flags(task->actor) & MTI_ACTOR_CONCURRENT) {
        return MANTA_OK;
    }
    if (!t->cold) {
        t->cold = mti_heap_alloc(&ctx->heap, sizeof *t->cold);
        if (!t->cold) {
            return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: no memory for who calls", t->def->name);
        }
        *t->cold = (mti_cold_t){0};
    }
    t->cold->caller = mti_ref_of(&task->actor->object).id;
    return MANTA_OK;
}

void mti_actor_bands_free(mti_ctx_t *ctx, mti_actor_more_t *more)
{
    mti_actor_bands_t *bands = mti_atomic_ptr_load_relaxed(&more->bands);
    if (bands) mti_heap_free(&ctx->heap, bands, bands->total_bytes);
}
