// Waiting: who runs what while a thread waits.
//
// A waiter runs the awaited task if it can claim it, else something that the awaited task depends on,
// through arguments, forwards, or through what the thread that runs it waits for itself. It never runs
// unrelated work (a lock of the user's may be held across the wait). Finding nothing, it gives its seat
// to a spare thread and sleeps. Without a spare thread it keeps looking for such work whenever it is
// woken, so progress never depends on creating a thread.
//
// Deadlock: a thread that is about to sleep publishes what it waits for (waiting_on, seq_cst) and walks
// the chain again; if that leads to a task that runs on this very thread, the wait can never end. Of
// several threads that close a cycle the last one to publish sees all of it.
// Invariant: what a thread publishes is what all tasks wait for that its claims name. So it withdraws that
//            before it claims what it is going to run on top of the wait: else that would seem to wait for
//            the very task that it hinders, and to lend what it holds. Who finds another's claim and what
//            that thread waits for looks whether it is still the same claim.
#include "core/actor.h"
#include "core/core.h"

#include "base/thread.h"

#include <errno.h>
#include <string.h>

enum {
    STACK_MIN = 64 * 1024, // a waiter does not nest with less left
    WALK_DEPTH = 48,       // recursion over branches; chains are walked in a loop
    WALK_BUDGET = 256,     // records looked at by one attempt to help
    WALK_BUDGET_TASK =
        1 << 14, // by a task that is about to sleep; what is left out is searched for deadlocks
    WALK_GROUPS = 32, // full groups of actors on the way
    SPIN_ROUNDS = 64, // looks at the object before sleeping, with growing pauses
};

// What a walk that leaves nothing out has seen, and has yet to look at.
typedef struct search {
    mti_ctx_t *ctx;
    uint64_t *seen;         // a hash table of ids, 0: free; a power of two
    mti_object_t **waiting; // with a slot count each
    size_t seen_count, seen_room, waiting_count, waiting_room;
} search_t;

typedef struct walk {
    mti_ctx_t *ctx;
    uint32_t budget;
    search_t *search; // NULL: branches are followed by recursion, and not too deep
    bool cut;         // something was left out because it lay too deep
    bool may_claim;
    bool deadlock;  // the awaited object depends on a task on this thread's own stack
    bool claimable; // there was something to claim, but it must not be
    uint64_t gated; // id of a task that it needs, and that waits to be admitted; 0: none was met
    bool stuck;     // it depends on something that no thread is at: a promise, a wide task, a range
    bool looped;    // it leads to a full group that is being looked at already
    bool withdrawn; // nothing of the wait is published any more
    mti_record_t *found; // claimed; or, if |actor| is set, to be run through that
    uint32_t found_gen;  // of a method
    mti_actor_t *actor;  // the walker has its turn
    // Groups, all of whose calls wait, as far as was seen, for this thread or for one of these groups.
    const void *groups[WALK_GROUPS];
    uint32_t group_count;
} walk_t;

static void walk_object(walk_t *walk, mti_object_t *object, int depth, mti_arg_iter_t *cursor);

// Takes back what is published of this thread's wait.
void mti_wait_withdraw(mti_ctx_t *ctx)
{
    if (mti_atomic_u64_load_relaxed(&ctx->waiting_on)) {
        mti_atomic_u64_store_seq_cst(&ctx->waiting_on, 0);
    }
    mti_atomic_u64_store_relaxed(&ctx->waiting_some[0], 0);
    (void)mti_admit_sleep(ctx, NULL, 0, 0);
}

// Before the walker claims anything. If somebody else is faster, it has to publish and to look anew.
static void walk_withdraw(walk_t *walk)
{
    mti_ctx_t *ctx = walk->ctx; // all of that is written by this thread only
    if (!mti_atomic_u64_load_relaxed(&ctx->waiting_on) && !ctx->gate_need &&
        !mti_atomic_u64_load_relaxed(&ctx->waiting_some[0])) {
        return;
    }
    mti_wait_withdraw(ctx);
    walk->withdrawn = true;
}

static size_t search_hash(uint64_t id)
{
    return (size_t)(id * 0x9e3779b97f4a7c15u >> 20);
}

static bool search_grow_seen(search_t *search)
{
    const manta_allocator_t *allocator = &search->ctx->rt->allocator;
    size_t room = search->seen_room ? search->seen_room * 2 : 1024;
    uint64_t *seen = mti_alloc_zeroed(allocator, room * sizeof *seen, 16);
    if (!seen) return false;
    for (size_t i = 0; i < search->seen_room; i++) {
        size_t at = search_hash(search->seen[i]) & (room - 1);
        while (search->seen[i] && seen[at])
            at = (at + 1) & (room - 1);
        if (search->seen[i]) seen[at] = search->seen[i];
    }
    mti_free(allocator, search->seen, search->seen_room * sizeof *seen);
    search->seen = seen;
    search->seen_room = room;
    return true;
}

static bool search_grow_waiting(search_t *search)
{
    const manta_allocator_t *allocator = &search->ctx->rt->allocator;
    size_t room = search->waiting_room ? search->waiting_room * 2 : 256;
    mti_object_t **waiting = mti_alloc(allocator, room * sizeof(mti_object_t *), 16);
    if (!waiting) return false;
    size_t bytes = search->waiting_room * sizeof(mti_object_t *);
    if (bytes) memcpy(waiting, search->waiting, bytes);
    mti_free(allocator, search->waiting, bytes);
    search->waiting = waiting;
    search->waiting_room = room;
    return true;
}

// Whether |object| is met for the first time. Without memory none is: then the search ends early.
static bool search_meets(search_t *search, const mti_object_t *object)
{
    uint64_t id = mti_ref_of(object).id;
    if (search->seen_count * 2 >= search->seen_room && !search_grow_seen(search)) return false;
    size_t at = search_hash(id) & (search->seen_room - 1);
    for (; search->seen[at]; at = (at + 1) & (search->seen_room - 1)) {
        if (search->seen[at] == id) return false;
    }
    search->seen[at] = id;
    search->seen_count++;
    return true;
}

// A branch of the walk: |object|, whose count is taken.
static void walk_branch(walk_t *walk, mti_object_t *object, int depth)
{
    search_t *search = walk->search;
    bool later = search && search_meets(search, object) &&
                 (search->waiting_count < search->waiting_room || search_grow_waiting(search));
    if (later) {
        search->waiting[search->waiting_count++] = object;
        return;
    }
    if (!search) walk_object(walk, object, depth + 1, NULL);
    mti_object_release(walk->ctx, object, MTI_COUNT_SLOT);
}

// What |runner| sleeps for some of. That one of them leads back here is no deadlock: others may do.
static void walk_some(walk_t *walk, const mti_ctx_t *runner, int depth)
{
    bool deadlock = walk->deadlock;
    for (int i = 0; i < MTI_WAITING_SOME && walk->budget && !walk->found; i++) {
        uint64_t id = mti_atomic_u64_load_acquire(&runner->waiting_some[i]);
        mti_object_t *object = id ? mti_ref_acquire_weak(id, MTI_COUNT_SLOT) : NULL;
        if (!id) break;
        if (!object) continue;
        walk_object(walk, object, depth + 1, NULL);
        mti_object_release(walk->ctx, object, MTI_COUNT_SLOT);
    }
    walk->deadlock = deadlock;
}

// The object that a forwarded slot waits for, with a count; NULL if that is over.
static mti_object_t *walk_forward_target(mti_ctx_t *ctx, mti_object_t *object)
{
    mti_object_t *target = __atomic_load_n(&object->u.mem.parent, __ATOMIC_RELAXED);
    uint64_t head;
    if (mti_object_is_closed(object, &head)) return NULL;
    // Still open after the read: the slot held a count on |target| then, so it was a live object.
    uint64_t counts = mti_atomic_u64_load_relaxed(&target->counts);
    do {
        if (counts == 0) return NULL;
    } while (!mti_atomic_u64_cas_acq_rel(&target->counts, &counts, counts + MTI_COUNT_SLOT));
    if (!mti_object_is_closed(object, &head)) return target;
    // Closed in between: |target| may be a stranger by now, and its tasks are none of the waiter's.
    mti_object_release(ctx, target, MTI_COUNT_SLOT);
    return NULL;
}

// Looks at the open arguments of a record that is queued with dependencies. While |deps| holds one more
// count the record can't become ready, so its arguments stay. Returns an open argument to go on with,
// with a count, if it is the only one left to look at.
static mti_object_t *walk_arguments(walk_t *walk, mti_record_t *t, uint32_t gen, int depth,
                                    mti_arg_iter_t *cursor)
{
    uint32_t deps = mti_atomic_u32_load_relaxed(&t->deps);
    // The last one of a gated task stands for its admission, and who took off the others has asked for it. A
    // method's record has two more than it has open arguments (actor.c).
    uint32_t flags = mti_record_flags(t);
    uint32_t last_ones = flags & MTI_RECORD_METHOD ? 2 : flags & MTI_RECORD_GATED ? 1 : 0;
    do {
        if (deps <= last_ones) return NULL;
    } while (!mti_atomic_u32_cas_acq_rel(&t->deps, &deps, deps + 1));
    mti_object_t *last = NULL;
    uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
    if (claim == mti_claim_make(gen, 0, MTI_TASK_QUEUED)) {
        mti_arg_iter_t from_start = {.t = t};
        mti_arg_iter_t *iter = cursor && cursor->t == t ? cursor : &from_start;
        if (cursor && cursor->t != t) {
            *cursor = from_start;
            iter = cursor;
        }
        manta_ref_t ref;
        while (!walk->found && walk->budget) {
            mti_arg_iter_t before = *iter;
            if (!mti_arg_next(iter, &ref)) {
                *iter = from_start; // all were looked at; the next attempt begins anew
                break;
            }
            mti_object_t *object = mti_object_held(ref);
            uint64_t head;
            if (mti_object_is_closed(object, &head)) continue;
            if (last) {
                walk_branch(walk, last, depth);
                last = NULL;
                if (walk->found) {
                    *iter = before;
                    break;
                }
            }
            (void)mti_atomic_u64_fetch_add_relaxed(&object->counts, MTI_COUNT_SLOT);
            last = object;
        }
        if (walk->found && last) {
            mti_object_release(walk->ctx, last, MTI_COUNT_SLOT);
            last = NULL;
        }
    }
    mti_record_dep_done(walk->ctx, t, NULL); // may queue it: then it is there to claim next time
    return last;
}

// What the call |id|, which has a place in a group, waits for. True: for this thread (|deadlock|), or for a group
// that is being looked at (|looped|): it does not end before they do.
static bool walk_place(walk_t *walk, uint64_t id, int depth)
{
    uint64_t claim = mti_atomic_u64_load_acquire(&mti_record_at((uint32_t)id)->claim);
    if (mti_claim_gen(claim) != (uint32_t)(id >> 32)) return false; // it is over
    if (mti_claim_state(claim) != MTI_TASK_RUNNING) {
        // Handed out: it is in some queue. Not for us, on top of what it may be waiting for then.
        walk->stuck |= mti_claim_state(claim) == MTI_TASK_QUEUED;
        return false;
    }
    mti_ctx_t *runner =
        (mti_ctx_t *)(void *)mti_sched_ctx_at(walk->ctx->rt->sched, mti_claim_ctx(claim));
    if (runner == walk->ctx) {
        walk->deadlock = true;
        return true;
    }
    uint64_t awaited = runner ? mti_atomic_u64_load_seq_cst(&runner->waiting_on) : 0;
    // acquire, after that: it is still what that thread waits for on top of the call
    uint64_t now = mti_atomic_u64_load_acquire(&mti_record_at((uint32_t)id)->claim);
    if (!awaited || mti_claim_gen(now) != mti_claim_gen(claim) ||
        mti_claim_state(now) != MTI_TASK_RUNNING || mti_claim_ctx(now) != mti_claim_ctx(claim)) {
        return false;
    }
    mti_object_t *object = mti_ref_acquire_weak(awaited, MTI_COUNT_SLOT);
    if (!object) return false;
    if (walk->search) {
        walk_branch(walk, object, depth);
        return false;
    }
    walk_object(walk, object, depth + 1, NULL);
    mti_object_release(walk->ctx, object, MTI_COUNT_SLOT);
    return walk->deadlock || walk->looped;
}

// A queued method whose group may run no more: one of those that run has to end first. That is a deadlock if
// all of them wait for this thread, or for a group of which that is so; one of them at least for this thread:
// else those who are in it will be told.
static void walk_group(walk_t *walk, mti_object_t *object, mti_record_t *t, int depth)
{
    mti_actor_t *actor;
    uint32_t limit, mark = walk->group_count;
    const void *group = mti_actor_full_group(walk->ctx, object, t, &actor, &limit);
    if (!group) return;
    if (walk->search) {
        // What it puts off belongs to nobody's alternatives: only where there are none.
        uint64_t only = limit == 1 ? mti_actor_group_call(group, 0) : 0;
        if (only) (void)walk_place(walk, only, depth);
        mti_actor_group_leave(walk->ctx, actor);
        return;
    }
    bool looped = walk->looped, is_known = false, any_here = false;
    for (uint32_t i = 0; i < walk->group_count; i++)
        is_known |= walk->groups[i] == group;
    bool all = !is_known && depth < WALK_DEPTH && mark < WALK_GROUPS;
    if (all) walk->groups[walk->group_count++] = group;
    bool deadlock = walk->deadlock;
    uint64_t gated =
        walk->gated; // any of them will do, so this needs nothing that one of them needs
    for (uint32_t i = 0; i < limit && all && !walk->found; i++) {
        uint64_t id = mti_actor_group_call(group, i);
        walk->deadlock = walk->looped = false;
        all = id && walk->budget && walk_place(walk, id, depth);
        any_here |= walk->deadlock;
        walk->deadlock = walk->looped = false;
    }
    if (!all) {
        walk->group_count = mark;
        any_here = false;
    }
    // Of a group that is known something waits for us, or those who wait for it are told themselves.
    walk->looped = looped || is_known || walk->group_count > mark;
    walk->deadlock = deadlock || any_here;
    walk->gated = gated;
    mti_actor_group_leave(walk->ctx, actor);
}

// A queued method whose arguments are no hindrance: what makes its actor go on? Returns what has to close
// first, with a count.
static mti_object_t *walk_actor(walk_t *walk, mti_object_t *object, mti_record_t *t, uint32_t gen,
                                int depth)
{
    walk_group(walk, object, t, depth);
    if (walk->found || walk->deadlock || walk->looped) return NULL;
    mti_object_t *next = NULL;
    mti_actor_t *actor;
    uint32_t holder = 0, again = 0;
    mti_actor_help_t help =
        mti_actor_walk(walk->ctx, object, t, gen, false, &actor, &holder, &next);
    if (help == MTI_ACTOR_FREE && walk->may_claim) {
        walk_withdraw(walk);
        help = mti_actor_walk(walk->ctx, object, t, gen, true, &actor, &holder, &next);
    }
    switch (help) {
    case MTI_ACTOR_TAKEN:
        walk->found = t;
        walk->found_gen = gen;
        walk->actor = actor;
        break;
    case MTI_ACTOR_HELD: {
        mti_ctx_t *runner = (mti_ctx_t *)(void *)mti_sched_ctx_at(walk->ctx->rt->sched, holder);
        if (runner == walk->ctx) {
            walk->deadlock = true;
        } else if (runner) {
            uint64_t id = mti_atomic_u64_load_seq_cst(&runner->waiting_on);
            // Still its: what it waits for by now may be another task's business.
            if (id &&
                mti_actor_walk(walk->ctx, object, t, gen, false, &actor, &again, &next) ==
                    MTI_ACTOR_HELD &&
                again == holder) {
                next = mti_ref_acquire_weak(id, MTI_COUNT_SLOT);
            }
        }
        break;
    }
    case MTI_ACTOR_WAITS:
        break;
    case MTI_ACTOR_FREE:
    case MTI_ACTOR_NOTHING:
        walk->claimable = walk->claimable || !walk->may_claim;
        break;
    }
    return next;
}

// Follows what |object| (the caller holds a count) waits for, until something can be claimed.
static void walk_object(walk_t *walk, mti_object_t *object, int depth, mti_arg_iter_t *cursor)
{
    mti_object_t *held = NULL; // a count of this loop's
    while (walk->budget && !walk->found) {
        walk->budget--;
        mti_object_t *next = NULL;
        uint64_t head;
        if (mti_object_is_closed(object, &head)) break;
        mti_object_kind_t kind = mti_object_kind(object);
        if (kind == MTI_OBJECT_PROMISE) {
            uint64_t claim = mti_atomic_u64_load_acquire(&mti_record_of(object)->claim);
            if (mti_claim_state(claim) == MTI_TASK_FORWARDED) {
                next = walk_forward_target(walk->ctx, object);
            } else {
                walk->stuck = true;
            }
        } else if (kind == MTI_OBJECT_CREATED) {
            walk->stuck = true;
        } else if (kind == MTI_OBJECT_TASK || kind == MTI_OBJECT_RESULT) {
            mti_record_t *t = mti_record_at(object->producer);
            uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
            uint32_t gen = mti_claim_gen(claim);
            if (mti_object_is_closed(object, &head)) break; // |t| may be another task by now
            switch (mti_claim_state(claim)) {
            case MTI_TASK_HELD:
            case MTI_TASK_QUEUED:
                if (mti_atomic_u32_load_acquire(&t->deps) != 0) {
                    if (depth >= WALK_DEPTH) {
                        walk->cut = true;
                        break;
                    }
                    // Held, so that the slot is not another task's while its deps are changed.
                    if (&t->result != object &&
                        !mti_ref_acquire_weak(mti_ref_make(t->result.slot, gen).id,
                                              MTI_COUNT_SLOT)) {
                        break;
                    }
                    if (mti_record_flags(t) & MTI_RECORD_GATED &&
                        mti_atomic_u32_load_acquire(&t->deps) == 1) {
                        walk->gated = mti_ref_make(t->result.slot, gen).id;
                    } else {
                        next = walk_arguments(walk, t, gen, depth, cursor);
                        if (!next && !walk->found && mti_record_flags(t) & MTI_RECORD_METHOD) {
                            next = walk_actor(walk, object, t, gen, depth);
                        }
                    }
                    if (&t->result != object) {
                        mti_object_release(walk->ctx, &t->result, MTI_COUNT_SLOT);
                    }
                    break;
                }
                if (mti_claim_state(claim) == MTI_TASK_HELD) break; // the timers have it
                if (mti_record_flags(t) & MTI_RECORD_WIDE) { // only a worker can collect its seats
                    walk->stuck = true;
                    break;
                }
                walk->claimable = true;
                if (!walk->may_claim || claim != mti_claim_make(gen, 0, MTI_TASK_QUEUED)) break;
                walk_withdraw(walk);
                if (mti_task_claim(walk->ctx, t, gen)) walk->found = t;
                break;
            case MTI_TASK_RUNNING: {
                mti_ctx_t *runner = (mti_ctx_t *)(void *)mti_sched_ctx_at(walk->ctx->rt->sched,
                                                                          mti_claim_ctx(claim));
                if (runner == walk->ctx) {
                    walk->deadlock = true;
                } else if (!runner) {
                    walk->stuck = true; // a range: whoever runs its pieces
                } else {
                    uint64_t id = mti_atomic_u64_load_seq_cst(&runner->waiting_on);
                    // acquire, after that: it is still what that thread waits for on top of |t|
                    uint64_t now = mti_atomic_u64_load_acquire(&t->claim);
                    if (mti_claim_state(now) != MTI_TASK_RUNNING || mti_claim_gen(now) != gen ||
                        mti_claim_ctx(now) != mti_claim_ctx(claim)) {
                        break;
                    }
                    if (id) next = mti_ref_acquire_weak(id, MTI_COUNT_SLOT);
                    if (!id && depth < WALK_DEPTH && !walk->search) walk_some(walk, runner, depth);
                }
                break;
            }
            case MTI_TASK_FORWARDED:
                next = walk_forward_target(walk->ctx, object);
                break;
            default:
                break;
            }
        }
        if (held) mti_object_release(walk->ctx, held, MTI_COUNT_SLOT);
        held = object = next;
        cursor = NULL;
        if (!next || (walk->search && !search_meets(walk->search, next))) break;
    }
    if (held) mti_object_release(walk->ctx, held, MTI_COUNT_SLOT);
}

// Whether |object| depends on what runs on this very stack, however long the way: no record is looked at
// twice. For when the quick look has left something out. A way through one of several alternatives
// (walk_some) does not count. Without memory for it the answer is no.
static bool search_deadlock(mti_ctx_t *ctx, mti_object_t *object)
{
    search_t search = {.ctx = ctx};
    walk_t walk = {.ctx = ctx, .budget = UINT32_MAX, .search = &search};
    if (search_meets(&search, object)) walk_object(&walk, object, 0, NULL);
    while (search.waiting_count) {
        mti_object_t *next = search.waiting[--search.waiting_count];
        if (!walk.deadlock) walk_object(&walk, next, 0, NULL);
        mti_object_release(ctx, next, MTI_COUNT_SLOT);
    }
    mti_free(&ctx->rt->allocator, search.seen, search.seen_room * sizeof *search.seen);
    mti_free(&ctx->rt->allocator, search.waiting, search.waiting_room * sizeof(mti_object_t *));
    return walk.deadlock;
}

static void run_nested(mti_ctx_t *ctx, mti_record_t *t)
{
    int saved = errno;
    mti_task_run_alone(ctx, t);
    errno = saved;
}

static bool run_is_cancelled(const manta_task_t *run)
{
    // A shutdown that cancels lets waits go on: what they wait for is cancelled as well.
    return mti_task_must_stop(run->ctx, run->record) &&
           mti_atomic_u64_load_relaxed(&run->record->claim) &
               (MTI_CLAIM_CANCEL | MTI_CLAIM_EXPIRED);
}

static inline bool task_is_cancelled(const mti_thread_t *thread)
{
    return thread->task && run_is_cancelled(thread->task);
}

manta_status_t mti_wait_must_end(const mti_thread_t *thread, const mti_ctx_t *ctx, bool queue)
{
    const manta_task_t *run = thread->task;
    if (task_is_cancelled(thread)) {
        mti_cancel_heard(run->record);
        return mti_fail(MANTA_ERR_WAIT_CANCELLED, "the waiting task was cancelled");
    }
    // A shutdown that cancels cancels nothing of what is waited for here.
    if (run && (queue || run->ctx->rt != ctx->rt) && mti_task_must_stop(run->ctx, run->record)) {
        mti_cancel_heard(run->record);
        return mti_fail(MANTA_ERR_WAIT_CANCELLED,
                        "the waiting task was cancelled, or its runtime '%s' ends",
                        run->ctx->rt->name);
    }
    if (mti_atomic_u32_load_acquire(&ctx->rt->state) >= MTI_RUNTIME_STOPPING) {
        return mti_fail(MANTA_ERR_SHUTDOWN, "runtime '%s' is shutting down", ctx->rt->name);
    }
    return MANTA_OK;
}

static void wake_ctx(mti_ctx_t *ctx)
{
    // release: what was closed comes before; pairs with the acquire in mti_notify_wait
    mti_atomic_u32_store_release(&ctx->wait_word, 1);
    mti_notify_wake(&ctx->wait_word, 1);
}

// Who waits inside a task of one runtime for something of another sleeps in the latter.
// Invariant: what |abroad| points to is a context of the same thread, which is inside a wait there: that
//            runtime stays until the thread has taken it back, under this lock.
static mti_mutex_t abroad_lock = MTI_MUTEX_INIT(MTI_RANK_ABROAD);

void mti_wait_wake_ctx(mti_ctx_t *ctx)
{
    wake_ctx(ctx);
    // Always by the lock, which is what orders this: either the thread went abroad before and is woken there,
    // or it looks at what the caller has changed afterwards.
    mti_mutex_lock(&abroad_lock);
    mti_ctx_t *at = ctx->abroad;
    // Waits on top of each other may form a ring.
    for (int i = 0; at && i < MTI_THREAD_CTXS; i++, at = at->abroad)
        wake_ctx(at);
    mti_mutex_unlock(&abroad_lock);
}

mti_ctx_t *mti_wait_go_abroad(mti_ctx_t *home, mti_ctx_t *ctx)
{
    if (MTI_LIKELY(!home)) return NULL;
    mti_wait_enter(home); // a cancel of its parent wakes those only that wait
    mti_mutex_lock(&abroad_lock);
    mti_ctx_t *before = home->abroad;
    home->abroad = ctx;
    mti_mutex_unlock(&abroad_lock);
    return before;
}

void mti_wait_come_home(mti_ctx_t *home, mti_ctx_t *before)
{
    if (MTI_LIKELY(!home)) return;
    mti_mutex_lock(&abroad_lock);
    home->abroad = before;
    mti_mutex_unlock(&abroad_lock);
    mti_wait_leave(home);
}

void mti_wait_wake(mti_runtime_t *rt, uint32_t ctx_index)
{
    mti_ctx_t *ctx = (mti_ctx_t *)(void *)mti_sched_ctx_at(rt->sched, ctx_index);
    if (ctx) mti_wait_wake_ctx(ctx);
}

void mti_wait_interrupt(mti_runtime_t *rt)
{
    mti_mutex_lock(&rt->lock);
    for (mti_ctx_t *ctx = rt->ctxs; ctx; ctx = ctx->next_all)
        mti_wait_wake_ctx(ctx);
    mti_mutex_unlock(&rt->lock);
}

// ---- sleeping ---------------------------------------------------------------------------------

mti_rest_t mti_rest_begin(const mti_thread_t *thread, mti_ctx_t *ctx)
{
    mti_rest_t rest = {.ctx = ctx, .home = mti_wait_home(thread, ctx)};
    bool handed = mti_sched_block_begin(&ctx->sched);
    rest.alone = !handed && (ctx->sched.thread || ctx->rt->is_serial);
    if (MTI_UNLIKELY(rest.home != NULL)) {
        handed = mti_sched_block_begin(&rest.home->sched);
        rest.home_alone = !handed && (rest.home->sched.thread || rest.home->rt->is_serial);
    }
    return rest;
}

void mti_rest_end(const mti_rest_t *rest)
{
    mti_sched_block_end(&rest->ctx->sched);
    if (MTI_UNLIKELY(rest->home != NULL)) mti_sched_block_end(&rest->home->sched);
}

int64_t mti_rest_until(const mti_rest_t *rest, int64_t deadline_ns)
{
    int64_t until = mti_timer_bound(rest->ctx, deadline_ns);
    return MTI_UNLIKELY(rest->home != NULL) ? mti_timer_bound(rest->home, until) : until;
}

static void wait_poll_timers(const mti_thread_t *thread, mti_ctx_t *ctx)
{
    mti_ctx_t *home = mti_wait_home(thread, ctx);
    mti_timer_poll(ctx);
    if (MTI_UNLIKELY(home != NULL)) mti_timer_poll(home);
}

// The last resort of a thread whose seat in the task's own runtime nobody could take: no thread there is at
// what it waits for, but something that is queued there may well be.
static bool rest_work_at_home(const mti_rest_t *rest)
{
    if (MTI_LIKELY(!rest->home_alone) || mti_thread_stack_left() < STACK_MIN) return false;
    mti_fence_heavy(); // pushes nudge us from here on; what came before is seen now
    if (!mti_sched_has_work(rest->home->sched.sched)) return false;
    mti_rest_end(rest);
    mti_wait_withdraw(rest->ctx);
    (void)mti_sched_step(&rest->home->sched);
    return true;
}

// A thread in the watcher table.
typedef struct waiter {
    mti_watcher_t watcher;
    mti_ctx_t *ctx;
    mti_atomic_u32_t *missing; // of a wait for several; NULL: just one
} waiter_t;

static void waiter_fire(mti_ctx_t *ctx, mti_watcher_t *watcher, uint64_t head)
{
    (void)ctx;
    (void)head;
    waiter_t *waiter = (waiter_t *)(void *)watcher;
    if (waiter->missing && mti_atomic_u32_fetch_sub_acq_rel(waiter->missing, 1) != 1) return;
    wake_ctx(waiter->ctx);
}

// Gets |wait_word| ready for the next sleep. An exchange, because the look at the awaited objects that
// follows must not come before the store: a wake in between would be overwritten.
static void wait_rearm(mti_ctx_t *ctx)
{
    (void)mti_atomic_u32_exchange_acq_rel(&ctx->wait_word, 0);
}

typedef enum help { HELP_RAN, HELP_NOTHING, HELP_UNDER_WAY, HELP_DEADLOCK, HELP_TOO_DEEP } help_t;

// Runs one task that |object| depends on. |rest|, which may be NULL, is ended before that.
static help_t wait_help(mti_ctx_t *ctx, mti_object_t *object, uint32_t budget,
                        mti_arg_iter_t *cursor, const mti_rest_t *rest)
{
    bool deep = mti_thread_stack_left() < STACK_MIN;
    walk_t walk = {.ctx = ctx, .budget = budget, .may_claim = !deep};
    walk_object(&walk, object, 0, cursor);
    if (walk.found) {
        if (rest) mti_rest_end(rest);
        if (walk.actor) {
            int saved = errno;
            mti_actor_run_until(ctx, walk.actor, walk.found, walk.found_gen);
            errno = saved;
        } else {
            run_nested(ctx, walk.found);
        }
        return HELP_RAN;
    }
    if (walk.withdrawn) { // somebody else runs it
        if (rest) mti_rest_end(rest);
        return HELP_RAN;
    }
    // Once it is published what this thread waits for, others find their way through it.
    if (mti_atomic_u64_load_relaxed(&ctx->waiting_on) &&
        mti_admit_sleep(ctx, &walk.gated, walk.gated != 0, walk.gated != 0)) {
        if (rest) mti_rest_end(rest);
        return HELP_RAN; // not that, but there may be something to run now
    }
    if (walk.deadlock) return HELP_DEADLOCK;
    // The last look before a task sleeps.
    if ((walk.cut || walk.budget == 0) && budget == WALK_BUDGET_TASK && !rest &&
        search_deadlock(ctx, object)) {
        return HELP_DEADLOCK;
    }
    if (deep && walk.claimable) return HELP_TOO_DEEP;
    return walk.stuck || walk.budget == 0 ? HELP_NOTHING : HELP_UNDER_WAY;
}

// For a thread whose seat nobody could take: runs something that one of |objects| depends on, or, if one needs
// something that no thread is at (|stuck|: for all that is known), whatever is queued; |rest| has ended then.
// HELP_NOTHING: there is nothing to do but sleep.
static help_t wait_alone(const mti_rest_t *rest, mti_object_t **objects, size_t n, uint32_t budget,
                         bool stuck)
{
    mti_ctx_t *ctx = rest->ctx;
    uint64_t head;
    mti_fence_heavy(); // pushes nudge us from here on; what came before is seen now
    for (size_t i = 0; i < n; i++) {
        if (!objects[i] || mti_object_is_closed(objects[i], &head)) continue;
        help_t help = wait_help(ctx, objects[i], budget, NULL, rest);
        if (help == HELP_RAN || (help == HELP_DEADLOCK && n == 1)) return help;
        stuck |= help == HELP_NOTHING;
    }
    if (!stuck || mti_thread_stack_left() < STACK_MIN || !mti_sched_has_work(ctx->sched.sched)) {
        return HELP_NOTHING;
    }
    mti_rest_end(rest);
    mti_wait_withdraw(ctx);
    (void)mti_sched_step(&ctx->sched);
    return HELP_RAN;
}

// Sleeps until |ctx->wait_word| is set or |deadline_ns| passes. False: it passed. A wait for ever without
// a spare thread to take the seat works on |objects| instead: nobody else would.
static bool wait_sleep(const mti_thread_t *thread, mti_ctx_t *ctx, mti_object_t **objects, size_t n,
                       int64_t deadline_ns)
{
    mti_rest_t rest = mti_rest_begin(thread, ctx);
    if (deadline_ns == INT64_MAX) {
        if (rest.alone && wait_alone(&rest, objects, n, WALK_BUDGET, false) == HELP_RAN)
            return true;
        if (rest_work_at_home(&rest)) return true;
    }
    int64_t until = mti_rest_until(&rest, deadline_ns);
    bool woken = mti_notify_wait(&ctx->wait_word, 0, until);
    mti_rest_end(&rest);
    return woken || until < deadline_ns;
}

static manta_status_t fail_deadlock(const mti_thread_t *thread, const mti_object_t *object)
{
    const char *waits = thread->task ? mti_record_name(thread->task->record) : "this thread";
    bool is_task = object->producer != 0;
    return mti_fail(MANTA_ERR_DEADLOCK, "%s waits for a result of %s, which depends on %s itself",
                    waits, is_task ? mti_record_name(mti_record_at(object->producer)) : "a promise",
                    waits);
}

static manta_status_t fail_too_deep(void)
{
    return mti_fail(MANTA_ERR_TOO_DEEP,
                    "less than %d KiB of stack left, and no other thread can run the awaited task",
                    STACK_MIN / 1024);
}

// Spins a little; true if |object| closed meanwhile. Most waits end here or never sleep at all.
static bool wait_spin(mti_ctx_t *ctx, mti_object_t *object)
{
    uint64_t head;
    if (ctx->rt->is_serial) return false;
    for (int round = 0; round < SPIN_ROUNDS; round++) {
        if (mti_object_is_closed(object, &head)) return true;
        if (mti_lanes_help_if_any(ctx, true)) round = 0; // it moves
        for (int i = 0; i < 8 + round; i++)
            mti_cpu_pause();
    }
    return false;
}

// The last step of a wait. Without a spare thread to take the seat this thread stays the one that has to
// make progress: it looks once more, and as a last resort runs whatever is queued, related or not. Only if
// what it waits for needs something that no thread is at, like a promise: the rest goes on by itself, or
// is pushed (and we are nudged), and what is put on top of this wait buries it. Two threads that bury what
// the other waits for never come to an end.
static manta_status_t wait_hand_over_and_sleep(const mti_thread_t *thread, mti_ctx_t *ctx,
                                               mti_object_t *object, help_t help)
{
    mti_rest_t rest = mti_rest_begin(thread, ctx);
    if (rest.alone && help == HELP_TOO_DEEP) {
        mti_rest_end(&rest);
        return fail_too_deep();
    }
    help_t found =
        rest.alone ? wait_alone(&rest, &object, 1, WALK_BUDGET_TASK, false) : HELP_NOTHING;
    if (found == HELP_RAN || rest_work_at_home(&rest)) return MANTA_OK;
    // A deadlock is found again, and reported, by the next look.
    if (found != HELP_DEADLOCK) {
        (void)mti_notify_wait(&ctx->wait_word, 0, mti_rest_until(&rest, INT64_MAX));
    }
    mti_rest_end(&rest);
    return MANTA_OK;
}

// Publishes what is awaited, looks once more, sleeps.
static manta_status_t wait_block(mti_thread_t *thread, mti_ctx_t *ctx, mti_object_t *object)
{
    manta_status_t status = MANTA_OK;
    mti_atomic_u32_store_relaxed(&ctx->wait_word, 0);
    // seq_cst: of two threads that wait for each other one sees the other's store in its walk
    mti_atomic_u64_store_seq_cst(&ctx->waiting_on, mti_ref_of(object).id);
    help_t help = wait_help(ctx, object, thread->task ? WALK_BUDGET_TASK : WALK_BUDGET, NULL, NULL);
    if (help == HELP_NOTHING || help == HELP_UNDER_WAY ||
        (help == HELP_TOO_DEEP && !ctx->rt->is_serial)) {
        waiter_t waiter = {.watcher = {.fire = waiter_fire, .locked = true}, .ctx = ctx};
        if (mti_watch_add(&waiter.watcher, object)) {
            status = mti_wait_must_end(thread, ctx, false);
            if (status == MANTA_OK) status = wait_hand_over_and_sleep(thread, ctx, object, help);
            (void)mti_watch_remove(&waiter.watcher);
        }
    } else if (help == HELP_DEADLOCK) {
        status = fail_deadlock(thread, object);
    } else if (help == HELP_TOO_DEEP) {
        status = fail_too_deep();
    }
    return status;
}

static manta_status_t wait_forever(mti_thread_t *thread, mti_ctx_t *ctx, mti_object_t *object)
{
    uint64_t head;
    mti_arg_iter_t cursor = {0};
    manta_status_t status = MANTA_OK;
    while (!mti_object_is_closed(object, &head)) {
        wait_poll_timers(thread, ctx);
        status = mti_wait_must_end(thread, ctx, false);
        if (status != MANTA_OK) break;
        // What a serial runtime runs from here does not wait for |object|. Otherwise that stays published
        // until the wait ends: who looks for somebody to lend something looks when this thread sleeps.
        if (ctx->rt->is_serial) mti_wait_withdraw(ctx);
        // Outside of tasks a serial runtime runs everything, in order.
        if (ctx->rt->is_serial && !thread->task && mti_sched_step(&ctx->sched)) continue;
        help_t help = wait_help(ctx, object, WALK_BUDGET, &cursor, NULL);
        if (help == HELP_RAN) continue;
        bool nothing = help == HELP_NOTHING || help == HELP_UNDER_WAY;
        if (nothing && ctx->rt->is_serial && mti_thread_stack_left() >= STACK_MIN &&
            mti_sched_step(&ctx->sched)) {
            continue;
        }
        if (mti_lanes_help_if_any(ctx, true)) continue;
        if (MTI_UNLIKELY(mti_lanes_need_steps(ctx->rt))) {
            mti_atomic_u32_store_relaxed(&ctx->wait_word, 0);
            (void)mti_notify_wait(&ctx->wait_word, 0, mti_clock_ns() + LANE_NAP_NS);
            continue;
        }
        if (wait_spin(ctx, object)) break;
        status = wait_block(thread, ctx, object);
        if (status != MANTA_OK) break;
    }
    mti_wait_withdraw(ctx);
    if (mti_object_is_closed(object, &head)) status = MANTA_OK;
    if (!thread->task) mti_drain_check(ctx); // it may have completed the last task
    return status;
}

static manta_status_t wait_timed(mti_thread_t *thread, mti_ctx_t *ctx, mti_object_t *object,
                                 int64_t timeout_ns)
{
    int64_t deadline = mti_clock_deadline(timeout_ns);
    uint64_t head;
    waiter_t waiter = {.watcher = {.fire = waiter_fire, .locked = true}, .ctx = ctx};
    manta_status_t status = MANTA_OK;
    mti_atomic_u32_store_relaxed(&ctx->wait_word, 0);
    if (!mti_watch_add(&waiter.watcher, object)) return MANTA_OK;
    for (;;) {
        wait_poll_timers(thread, ctx);
        status = mti_wait_must_end(thread, ctx, false);
        if (status != MANTA_OK || mti_object_is_closed(object, &head)) break;
        if (!wait_sleep(thread, ctx, NULL, 0, deadline)) {
            status = mti_fail(MANTA_NOT_READY, "the wait's timeout passed");
            break;
        }
        wait_rearm(ctx);
    }
    (void)mti_watch_remove(&waiter.watcher);
    if (mti_object_is_closed(object, &head)) status = MANTA_OK;
    return status;
}

manta_status_t mti_wait_object(mti_thread_t *thread, mti_ctx_t *ctx, mti_object_t *object,
                               int64_t timeout_ns, uint64_t *out_head)
{
    if (mti_object_is_closed(object, out_head)) return MANTA_OK;
    if (timeout_ns <= 0) return mti_fail(MANTA_NOT_READY, "not ready");
    if (thread->in_callback) {
        return mti_fail(MANTA_ERR_NOT_ALLOWED_HERE,
                        "neither a callback nor a body on a device may wait");
    }
    mti_ctx_t *home = mti_wait_home(thread, ctx);
    mti_wait_enter(ctx);
    mti_ctx_t *before = mti_wait_go_abroad(home, ctx);
    manta_status_t status = timeout_ns == INT64_MAX ? wait_forever(thread, ctx, object)
                                                    : wait_timed(thread, ctx, object, timeout_ns);
    mti_wait_come_home(home, before);
    mti_wait_leave(ctx);
    (void)mti_object_is_closed(object, out_head);
    return status;
}

static size_t count_closed(mti_object_t **objects, size_t n, size_t enough)
{
    size_t ready = 0;
    uint64_t head;
    for (size_t i = 0; i < n && ready < enough; i++) {
        ready += !objects[i] || mti_object_is_closed(objects[i], &head);
    }
    return ready;
}

// Before a sleep for |k| of |objects| without a timeout: publishes what is awaited, lends what the tasks on
// this stack hold, and tells if all hope is on tasks that wait to be admitted.
static void wait_some_lend(mti_ctx_t *ctx, mti_object_t **objects, size_t n, size_t k)
{
    uint64_t ids[MTI_WAITING_SOME], head;
    uint32_t gated = 0, published = 0;
    size_t others = 0;
    for (size_t i = 0; i < n && published < MTI_WAITING_SOME - 1; i++) {
        if (!objects[i] || mti_object_is_closed(objects[i], &head)) continue;
        mti_atomic_u64_store_release(&ctx->waiting_some[published++], mti_ref_of(objects[i]).id);
    }
    mti_atomic_u64_store_release(&ctx->waiting_some[published], 0);
    if (mti_atomic_u32_load_acquire(&ctx->rt->rules.waiting) == 0)
        return; // who comes later wakes us
    for (size_t i = 0; i < n; i++) {
        walk_t walk = {.ctx = ctx, .budget = WALK_BUDGET};
        if (objects[i]) walk_object(&walk, objects[i], 0, NULL);
        if (walk.gated && gated < MTI_WAITING_SOME) {
            ids[gated++] = walk.gated;
        } else {
            others++;
        }
    }
    (void)mti_admit_sleep(ctx, ids, gated, others >= k ? 0 : (uint32_t)(k - others));
}

bool mti_rest_work(const mti_rest_t *rest, mti_object_t **objects, size_t n, bool more)
{
    wait_some_lend(rest->ctx, objects, n, more ? 0 : 1);
    if (rest->alone && wait_alone(rest, objects, n, WALK_BUDGET, more) == HELP_RAN) return true;
    return rest_work_at_home(rest);
}

// |k| of |n|, fewer than all or with a timeout: runs nothing of others, unless nobody else would.
static manta_status_t wait_some(mti_thread_t *thread, mti_ctx_t *ctx, mti_object_t **objects,
                                size_t n, size_t k, int64_t timeout_ns)
{
    int64_t deadline = mti_clock_deadline(timeout_ns);
    waiter_t *waiters = mti_alloc(&ctx->rt->allocator, n * sizeof *waiters, 16);
    if (!waiters) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory to wait for %zu refs", n);
    // Each object counts once: those that are closed already are counted off here.
    mti_atomic_u32_t missing = {(uint32_t)k};
    mti_atomic_u32_store_relaxed(&ctx->wait_word, 0);
    for (size_t i = 0; i < n; i++) {
        waiters[i] = (waiter_t){
            .watcher = {.fire = waiter_fire, .locked = true}, .ctx = ctx, .missing = &missing};
        if (!objects[i] || !mti_watch_add(&waiters[i].watcher, objects[i])) {
            waiters[i].watcher.object = NULL;
            (void)mti_atomic_u32_fetch_sub_acq_rel(&missing, 1);
        }
    }
    manta_status_t status = MANTA_OK;
    while (count_closed(objects, n, k) < k) {
        wait_poll_timers(thread, ctx);
        status = mti_wait_must_end(thread, ctx, false);
        if (status != MANTA_OK) break;
        bool alone = timeout_ns == INT64_MAX && ctx->rt->is_serial;
        if (timeout_ns == INT64_MAX) wait_some_lend(ctx, objects, n, k);
        if (alone) mti_wait_withdraw(ctx);
        if (alone && mti_thread_stack_left() >= STACK_MIN && mti_sched_step(&ctx->sched)) continue;
        if (timeout_ns == INT64_MAX && mti_lanes_help_if_any(ctx, true)) continue;
        if (timeout_ns == INT64_MAX && MTI_UNLIKELY(mti_lanes_need_steps(ctx->rt))) continue;
        if (!wait_sleep(thread, ctx, objects, n, deadline)) {
            status = mti_fail(MANTA_NOT_READY, "the wait's timeout passed");
            break;
        }
        wait_rearm(ctx);
    }
    mti_wait_withdraw(ctx);
    for (size_t i = 0; i < n; i++) {
        if (waiters[i].watcher.object) (void)mti_watch_remove(&waiters[i].watcher);
    }
    mti_free(&ctx->rt->allocator, waiters, n * sizeof *waiters);
    if (!thread->task) mti_drain_check(ctx);
    return count_closed(objects, n, k) >= k ? MANTA_OK : status;
}

manta_status_t mti_wait_many(mti_thread_t *thread, mti_ctx_t *ctx, mti_object_t **objects, size_t n,
                             size_t k, int64_t timeout_ns)
{
    if (count_closed(objects, n, k) >= k) return MANTA_OK;
    if (timeout_ns <= 0) return mti_fail(MANTA_NOT_READY, "not ready");
    if (thread->in_callback) {
        return mti_fail(MANTA_ERR_NOT_ALLOWED_HERE,
                        "neither a callback nor a body on a device may wait");
    }
    mti_ctx_t *home = mti_wait_home(thread, ctx);
    mti_wait_enter(ctx);
    mti_ctx_t *before = mti_wait_go_abroad(home, ctx);
    manta_status_t status = MANTA_OK;
    if (k == n && timeout_ns == INT64_MAX) {
        for (size_t i = 0; i < n && status == MANTA_OK; i++) {
            if (objects[i]) status = wait_forever(thread, ctx, objects[i]);
        }
    } else {
        status = wait_some(thread, ctx, objects, n, k, timeout_ns);
    }
    mti_wait_come_home(home, before);
    mti_wait_leave(ctx);
    return status;
}

// ---- public -----------------------------------------------------------------------------------

// The thread's last put task is the awaited one: the usual case of fork and join. Takes it off the own
// deque and runs it, without counts and walks.
static void read_shortcut(mti_thread_t *thread, manta_ref_t ref, mti_object_t *object)
{
    mti_ctx_t *ctx = thread->ctx;
    // The epoch first: the context of a default runtime that ended is gone.
    bool current = ctx && (thread->epoch == 0 ||
                           thread->epoch == mti_atomic_u32_load_relaxed(&mti_default_epoch));
    if (!current || ctx->rt->index != mti_object_runtime(object)) return;
    if (mti_deque_peek(&ctx->sched.deque) != ref.id) return;
    if (mti_thread_stack_left() < STACK_MIN) return;
    mti_record_t *t = mti_record_of(object);
    if (task_is_cancelled(thread)) return;
    (void)mti_deque_take(&ctx->sched.deque);
    if (mti_task_claim(ctx, t, mti_ref_gen(ref))) {
        // Outside of tasks nothing else keeps the runtime while its body runs.
        bool outside = !thread->task;
        if (outside) mti_wait_enter(ctx);
        mti_thread_leave(thread);
        mti_task_run_alone(ctx, t);
        if (outside) mti_drain_check(ctx); // that may have been the last task
        mti_thread_enter(thread);
        if (outside) mti_wait_leave(ctx);
    }
}

static bool is_on_device(const mti_thread_t *thread)
{
    return thread->task && thread->task->lane;
}

static manta_status_t fail_on_device(void)
{
    return mti_fail(
        MANTA_ERR_NOT_ALLOWED_HERE,
        "get, read and wait are not for a body that runs on a device: it only enqueues");
}

// Looks up, waits and acquires: on OK |*out_object| is closed and holds one internal count, and the
// thread is entered.
static manta_status_t get_begin(manta_ref_t ref, int64_t timeout_ns, mti_thread_t **out_thread,
                                mti_ctx_t **out_ctx, mti_object_t **out_object)
{
    if (mti_ref_is_error(ref)) {
        return mti_ref_error_code(ref); // the message is that of the call that failed
    }
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    if (MTI_UNLIKELY(thread->in_callback) && is_on_device(thread)) return fail_on_device();
    mti_thread_enter(thread);
    mti_object_t *object = mti_ref_acquire(ref, MTI_COUNT_INTERNAL);
    mti_ctx_t *ctx = object ? mti_ctx_for(thread, object) : NULL;
    manta_status_t status = MANTA_OK;
    uint64_t head = 0;
    if (!object) {
        status = mti_stale(ref);
    } else if (!ctx) {
        status = thread->status;
    } else if (!mti_object_is_closed(object, &head)) {
        // Counted as a waiter first, so that nothing is freed between the two brackets.
        mti_wait_enter(ctx);
        mti_thread_leave(thread);
        status = mti_wait_object(thread, ctx, object, timeout_ns, &head);
        mti_thread_enter(thread);
        mti_wait_leave(ctx);
    }
    if (status == MANTA_OK && !(head & MTI_HEAD_FAILED) &&
        MTI_UNLIKELY(mti_object_storage(object) == MTI_STORAGE_TIERED)) {
        mti_wait_enter(ctx);
        mti_thread_leave(thread);
        status = mti_lanes_wait_host(thread, ctx, object, timeout_ns);
        mti_thread_enter(thread);
        mti_wait_leave(ctx);
        (void)mti_object_is_closed(object, &head); // lost with its device, perhaps
    }
    if (status == MANTA_OK && head & MTI_HEAD_FAILED) {
        const manta_error_t *error = mti_object_error(object, head);
        const char *text = manta_error_text(error);
        status = manta_error_code(error);
        (void)mti_fail(status, "%s", *text ? text : mti_status_text(status));
    }
    if (status != MANTA_OK) {
        if (object && ctx) mti_object_release(ctx, object, MTI_COUNT_INTERNAL);
        mti_thread_leave(thread);
        return status;
    }
    *out_thread = thread;
    *out_ctx = ctx;
    *out_object = object;
    return MANTA_OK;
}

manta_status_t manta_get(manta_ref_t ref, manta_view_t *out_view, int64_t timeout_ns)
{
    if (!out_view) return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "get: no room for the view");
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_object_t *object;
    manta_status_t status = get_begin(ref, timeout_ns, &thread, &ctx, &object);
    if (status != MANTA_OK) return status;
    if (!mti_scope_reserve(thread, 1)) {
        mti_object_release(ctx, object, MTI_COUNT_INTERNAL);
        mti_thread_leave(thread);
        return MANTA_ERR_OUT_OF_MEMORY;
    }
    size_t size = mti_object_size(object), each = MANTA_DTYPE_SIZE(object->dtype);
    *out_view = (manta_view_t){.data = mti_object_data(object),
                               .size_bytes = size,
                               .count = each ? size / each : size,
                               .dtype = object->dtype,
                               .pin = ref.id};
    if (size == 0) out_view->data = NULL;
    if (thread->scope_mark) {
        thread->scopes[thread->scope_count++] = (mti_scope_entry_t){ref.id, true};
        out_view->pin |= (uint64_t)1 << 63; // in a scope
    }
    mti_thread_leave(thread);
    return MANTA_OK;
}

void manta_view_release(manta_view_t *view)
{
    if (!view || view->pin == 0) return;
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return;
    uint64_t id = view->pin & ~((uint64_t)1 << 63);
    bool held = view->pin == id;
    // One that is in a scope counts once, however often the struct was copied.
    for (size_t i = thread->scope_count; !held && i > thread->scope_base; i--) {
        mti_scope_entry_t *entry = &thread->scopes[i - 1];
        if (entry->id != id || !entry->is_view) continue;
        entry->id = 0;
        held = true;
    }
    *view = (manta_view_t){0};
    if (!held) return;
    mti_thread_enter(thread);
    mti_object_t *object = mti_ref_acquire_weak(id, 0);
    mti_ctx_t *ctx = object ? mti_ctx_for(thread, object) : NULL;
    if (ctx) mti_object_release(ctx, object, MTI_COUNT_INTERNAL);
    mti_thread_leave(thread);
}

manta_status_t manta_read(manta_ref_t ref, void *dst, size_t size_bytes, int64_t timeout_ns)
{
    if (!dst && size_bytes)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "read: no room for the value");
    mti_thread_t *thread = mti_thread_tls;
    if (MTI_LIKELY(thread && !mti_ref_is_error(ref) && !thread->in_callback)) {
        mti_thread_enter(thread);
        mti_object_t *object = mti_ref_peek(ref);
        uint64_t head;
        if (MTI_LIKELY(object != NULL)) {
            if (!mti_object_is_closed(object, &head) && timeout_ns == INT64_MAX) {
                read_shortcut(thread, ref, object);
            }
            if (MTI_LIKELY(mti_object_is_closed(object, &head) && !(head & MTI_HEAD_FAILED) &&
                           mti_object_storage(object) == MTI_STORAGE_INLINE &&
                           mti_object_size(object) == size_bytes)) {
                // Small values are copied without a count: the generation tells whether they were ours.
                if (size_bytes) memcpy(dst, object->u.bytes, size_bytes);
                __atomic_signal_fence(__ATOMIC_SEQ_CST);
                bool same = mti_atomic_u32_load_acquire(&object->gen) == mti_ref_gen(ref);
                mti_thread_leave(thread);
                return same ? MANTA_OK : mti_stale(ref);
            }
        }
        mti_thread_leave(thread);
    }
    mti_ctx_t *ctx;
    mti_object_t *object;
    manta_status_t status = get_begin(ref, timeout_ns, &thread, &ctx, &object);
    if (status != MANTA_OK) return status;
    if (mti_object_size(object) == size_bytes) {
        if (size_bytes) memcpy(dst, mti_object_data(object), size_bytes);
    } else {
        status = mti_fail(MANTA_ERR_TYPE_MISMATCH, "read: the object has %llu bytes, not %zu",
                          (unsigned long long)mti_object_size(object), size_bytes);
    }
    mti_object_release(ctx, object, MTI_COUNT_INTERNAL);
    mti_thread_leave(thread);
    return status;
}

// One ref that is ready, or whose task this thread put last. False: the long way.
static inline bool wait_quick(mti_thread_t *thread, manta_ref_t ref, int64_t timeout_ns)
{
    if (thread->in_callback) return false;
    mti_thread_enter(thread);
    mti_object_t *object = mti_ref_peek(ref);
    uint64_t head;
    if (object && !mti_object_is_closed(object, &head) && timeout_ns == INT64_MAX) {
        read_shortcut(thread, ref, object);
    }
    bool ready = object && mti_object_is_closed(object, &head) &&
                 mti_atomic_u32_load_acquire(&object->gen) == mti_ref_gen(ref);
    mti_thread_leave(thread);
    return ready;
}

// All of |refs|, which this thread submitted in that order: its deque gives them up from the last one on.
static bool wait_all_quick(mti_thread_t *thread, const manta_ref_t *refs, size_t n,
                           int64_t timeout_ns)
{
    if (timeout_ns != INT64_MAX && n > 1) return false;
    for (size_t i = n; i > 0; i--) {
        if (!wait_quick(thread, refs[i - 1], timeout_ns)) return false;
    }
    return true;
}

// Not inlined: the short way above it needs few registers.
static __attribute__((noinline)) manta_status_t wait_long(mti_thread_t *thread,
                                                          const manta_ref_t *refs, size_t n,
                                                          size_t k, int64_t timeout_ns,
                                                          size_t *out_ready, size_t *out_count)
{
    if (MTI_UNLIKELY(thread->in_callback) && is_on_device(thread)) return fail_on_device();
    mti_object_t **objects = mti_alloc_zeroed(NULL, n * sizeof *objects, 16);
    if (!objects) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory to wait for %zu refs", n);
    mti_thread_enter(thread);
    manta_status_t status = MANTA_OK;
    mti_ctx_t *ctx = NULL;
    for (size_t i = 0; i < n && status == MANTA_OK; i++) {
        if (mti_ref_is_error(refs[i])) continue; // ready, in its way
        objects[i] = mti_ref_acquire(refs[i], MTI_COUNT_INTERNAL);
        if (!objects[i]) {
            status = mti_fail(MANTA_ERR_STALE_REF, "wait: ref %zu of %zu is stale", i, n);
        } else if (!ctx && !(ctx = mti_ctx_for(thread, objects[i]))) {
            status = thread->status;
        } else if (mti_object_runtime(objects[i]) != ctx->rt->index) {
            status = mti_fail(MANTA_ERR_INVALID_ARGUMENT, "wait: refs of several runtimes");
        }
    }
    if (ctx) mti_wait_enter(ctx);
    mti_thread_leave(thread);
    if (status == MANTA_OK && ctx) status = mti_wait_many(thread, ctx, objects, n, k, timeout_ns);
    mti_thread_enter(thread);
    size_t ready = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t head;
        bool closed = !objects[i] || mti_object_is_closed(objects[i], &head);
        if (closed && (status == MANTA_OK || status == MANTA_NOT_READY)) {
            if (out_ready) out_ready[ready] = i;
            ready++;
        }
        if (objects[i] && ctx) mti_object_release(ctx, objects[i], MTI_COUNT_INTERNAL);
    }
    if (ctx) mti_wait_leave(ctx);
    mti_thread_leave(thread);
    mti_free(NULL, objects, n * sizeof *objects);
    if (out_count) *out_count = ready;
    // They came when the timeout had passed, but before they were counted.
    if (status == MANTA_NOT_READY && ready >= k) status = MANTA_OK;
    return status;
}

static inline manta_status_t wait_one(manta_ref_t ref, int64_t timeout_ns)
{
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    if (MTI_LIKELY(wait_quick(thread, ref, timeout_ns))) return MANTA_OK;
    return wait_long(thread, &ref, 1, 1, timeout_ns, NULL, NULL);
}

manta_status_t manta_wait(const manta_ref_t *refs, size_t n, size_t k, int64_t timeout_ns,
                          size_t *out_ready, size_t *out_count)
{
    if (n == 1 && k == 1 && refs && !out_ready && !out_count) return wait_one(*refs, timeout_ns);
    if (k > n || (n && !refs)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "wait: %zu of %zu refs", k, n);
    }
    if (out_count) *out_count = 0;
    if (n == 0) return MANTA_OK;
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    if (k == n && wait_all_quick(thread, refs, n, timeout_ns)) {
        for (size_t i = 0; out_ready && i < n; i++)
            out_ready[i] = i;
        if (out_count) *out_count = n;
        return MANTA_OK;
    }
    return wait_long(thread, refs, n, k, timeout_ns, out_ready, out_count);
}

void manta_blocking_begin(manta_task_t *task)
{
    if (!task || task->blocking) return;
    task->blocking = true;
    (void)mti_sched_block_begin(&task->ctx->sched);
}

void manta_blocking_end(manta_task_t *task)
{
    if (!task || !task->blocking) return;
    task->blocking = false;
    mti_sched_block_end(&task->ctx->sched);
}
