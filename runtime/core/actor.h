// Actors, for the siblings in this folder. The protocol is told in runtime/core/actor.c.
#ifndef MTI_CORE_ACTOR_H
#define MTI_CORE_ACTOR_H

#include "core/core.h"

#include <manta/actor.h>

typedef struct mti_actor_more mti_actor_more_t;
typedef struct mti_row mti_row_t;

// State of an actor's turn, in the low byte of |claim|, which is otherwise as a record's.
typedef enum mti_turn {
    MTI_TURN_NEW = 16,  // the constructor waits for its arguments: nobody may take it
    MTI_TURN_IDLE,      // free, and nothing to do; or somebody is about to schedule it
    MTI_TURN_SCHEDULED, // free; an entry for it is in a queue
    MTI_TURN_HELD,      // by the thread that |claim| names
    MTI_TURN_PARKED,    // as SCHEDULED, in the low band, and with an idle mailbox; see actor_band.c
} mti_turn_t;

// What |life| says. Up to ALIVE it takes calls.
typedef enum mti_life {
    MTI_LIFE_ALIVE = 0,
    MTI_LIFE_STOPPING,   // no more calls; ends when the last one is complete
    MTI_LIFE_RESTARTING, // destructor and constructor are to run
    MTI_LIFE_FAILED,     // is to end when no body runs
    MTI_LIFE_DEAD,       // has ended; whoever still holds a count keeps the slot
} mti_life_t;

enum { // mti_actor_t.flags, constant but for the last one
    MTI_ACTOR_CONCURRENT = 1 << 0,
    MTI_ACTOR_OUT_OF_ORDER = 1 << 1,
    MTI_ACTOR_KEEPS_COUNT = 1 << 2, // DETACHED or CREATOR: a user count is not a handle's
    MTI_ACTOR_PINNED = 1 << 3,      // only some workers run it
    MTI_ACTOR_DEVICE = 1 << 4,      // on a device
    MTI_ACTOR_BANDED = 1 << 5,      // was called with a priority
};

// One slot of the table. User counts are handles; internal ones: one until it has ended, and one per call
// that is not complete. |object.u.mail| is the mailbox. The head closes when it has ended.
struct mti_actor {
    mti_object_t object;

    mti_atomic_u64_t claim; // the turn
    mti_actor_more_t *more;
    mti_record_t *next; // the table's
    const manta_actor_def_t *def;
    void *state;           // where a task has its parent: see make_actor
    mti_atomic_u32_t life; // changes under more->lock
    uint32_t max_pending;
    uint32_t flags; // see mti_actor_flags
    int32_t task_retries;
    bool constructed; // the turn's

    // From here on a line that changes with every call, by the holder of the turn. Callers read the one above.
    // Guarded by the turn together with |busy|: see mti_actor_todo_enter.
    mti_record_t *todo; // taken out of the mailbox, oldest first
    mti_record_t *todo_last;
    mti_atomic_u64_t current; // id of the call that the holder of the turn runs, 0: none
    mti_atomic_u32_t busy, frozen;
    mti_atomic_u64_t ran; // calls; a statistic
};
static_assert(sizeof(mti_actor_t) <= MTI_SLOT_BYTES, "an actor is a slot");
static_assert(offsetof(mti_actor_t, todo) % 64 == 0, "apart from what callers read");
static_assert(offsetof(mti_actor_t, claim) == offsetof(mti_slot_t, claim), "claim survives");
static_assert(offsetof(mti_actor_t, next) == offsetof(mti_slot_t, next), "one free list");

// The mailbox: newest first, through mti_method_t.mail_next; or one of these.
#define MTI_MAIL_EMPTY ((uint64_t)0) // whoever holds the turn, or is scheduled, will look
#define MTI_MAIL_IDLE  ((uint64_t)1) // nobody will: who puts something in schedules the actor

// What a method's record has beside a task's, at the end of its inline bytes.
typedef struct mti_method {
    uint32_t actor; // slot; the record holds an internal count until it is complete
    uint8_t group;
    uint8_t attempt;
    int16_t retries;         // attempts left; < 0: any number
    mti_record_t *mail_next; // mailbox, todo, or a group's queue
} mti_method_t;
static_assert(sizeof(mti_method_t) == MTI_RECORD_INLINE - MTI_METHOD_INLINE, "it fits");

static inline mti_method_t *mti_method_of(const mti_record_t *t)
{
    return (mti_method_t *)(void *)(t->inline_args + MTI_METHOD_INLINE);
}
static inline mti_actor_t *mti_actor_at(uint32_t slot)
{
    return (mti_actor_t *)(void *)mti_table_live_slot(slot);
}
static inline mti_actor_t *mti_method_actor(const mti_record_t *t)
{
    return mti_actor_at(mti_method_of(t)->actor);
}
static inline uint32_t mti_actor_flags(const mti_actor_t *actor)
{
    // relaxed: BANDED may be seen late, see actor_band.c
    return __atomic_load_n(&actor->flags, __ATOMIC_RELAXED);
}
static inline uint32_t mti_actor_gen(const mti_actor_t *actor)
{
    return mti_atomic_u32_load_relaxed(&actor->object.gen);
}

// A call that is not delivered yet: its arguments are not ready, or an earlier one of its caller is not
// delivered. All fields guarded by the actor's lock.
struct mti_order {
    mti_record_t *record;
    mti_row_t *row;                   // NULL: out of order
    mti_order_t *prev, *next;         // of the row
    mti_order_t *prev_all, *next_all; // of the actor
    bool is_linked, is_ready;
};

// Entries of actors in the scheduler's queues have the top bit, which no generation has.
#define MTI_ACTOR_ENTRY ((uint64_t)1 << 63)
void mti_actor_run_entry(mti_ctx_t *ctx, uint64_t entry);

// ---- for submit.c, run.c ------------------------------------------------------------------------

// Looks |handle| up for a call of |def|: on OK one internal count is the caller's.
manta_status_t mti_actor_begin_call(mti_thread_t *thread, manta_actor_t handle,
                                    const manta_task_def_t *def, mti_actor_t **out_actor);
// Gives back the counts of |n| calls that are complete, or never were.
void mti_actor_calls_gone(mti_ctx_t *ctx, mti_actor_t *actor, uint64_t n);
// The same where everything is as usual; NULL: go the long way, nothing has happened.
static inline mti_actor_t *mti_actor_begin_quick(mti_ctx_t *ctx, manta_actor_t handle,
                                                 const manta_task_def_t *def)
{
    mti_actor_t *actor =
        (mti_actor_t *)(void *)mti_ref_acquire((manta_ref_t){handle.id}, MTI_COUNT_INTERNAL);
    if (MTI_UNLIKELY(!actor)) return NULL;
    bool usual = mti_object_kind(&actor->object) == MTI_OBJECT_ACTOR &&
                 mti_object_runtime(&actor->object) == ctx->rt->index && actor->def == def->owner &&
                 mti_atomic_u32_load_acquire(&actor->life) == MTI_LIFE_ALIVE &&
                 !actor->max_pending &&
                 !(mti_actor_flags(actor) & (MTI_ACTOR_CONCURRENT | MTI_ACTOR_BANDED));
    if (MTI_LIKELY(usual)) return actor;
    if (mti_object_kind(&actor->object) == MTI_OBJECT_ACTOR) {
        mti_actor_calls_gone(ctx, actor, 1); // it may have waited for this count to go
    } else {
        mti_object_release(ctx, &actor->object, MTI_COUNT_INTERNAL);
    }
    return NULL;
}

// Whether the constructor's arguments are kept by the actor.
bool mti_actor_keeps_args(const mti_actor_t *actor);
// The GPUs that it has a share of, as bits.
uint64_t mti_actor_gpus_of(const mti_actor_t *actor);

// The call |id|, which was cancelled, is out of every list.
void mti_actor_call_over(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t group, uint64_t id);

// The same for a call that was on a device; |kept|: it will be tried again.
void mti_actor_lane_over(mti_ctx_t *ctx, mti_actor_t *actor, uint64_t id, bool kept);

// Whether calls of this thread's current caller to somebody are not delivered yet.
bool mti_actor_caller_is_held_up(const mti_thread_t *thread);
// What an undelivered call needs. |open|: some argument is not ready. OK without doing anything if the
// call can be delivered at once.
manta_status_t mti_actor_order(mti_thread_t *thread, mti_ctx_t *ctx, mti_record_t *t, bool open);
// Before the record is linked to its arguments: it takes its place behind earlier calls.
// False: the actor has failed, and so must the call.
bool mti_actor_enqueue(mti_record_t *t);
// The arguments of |t| are ready (deps is 1).
void mti_actor_call_ready(mti_ctx_t *ctx, mti_record_t *t);
// The constructor |t|, whose arguments are ready (deps is 1), may run. It may have by the time of the return.
void mti_actor_create_ready(mti_ctx_t *ctx, mti_actor_t *actor, mti_record_t *t);
// |t|, a method that was queued, is about to fail: nobody waits for its delivery any more.
void mti_actor_call_failed(mti_ctx_t *ctx, mti_record_t *t);
// Puts |t| into the mailbox; wakes the actor. The second one for calls with a priority.
void mti_actor_put(mti_ctx_t *ctx, mti_actor_t *actor, mti_record_t *t);
void mti_actor_put_banded(mti_ctx_t *ctx, mti_actor_t *actor, mti_record_t *t);
// Runs a claimed method that its actor has handed out (MTI_ACTOR_CONCURRENT).
void mti_actor_run_handed_out(mti_ctx_t *ctx, mti_record_t *t, bool chain);
// The body of |run| returned |*status|, which is a failure. True: the call will be tried again and must
// not be completed; else |*status| and |run->error| say what its results get.
bool mti_actor_method_failed(manta_task_t *run, manta_status_t *status);
// |t|, whose body has returned, goes to the front of the queue again.
void mti_actor_put_back(mti_ctx_t *ctx, mti_actor_t *actor, mti_record_t *t);
void mti_actor_order_free(mti_ctx_t *ctx, mti_order_t *order);

// ---- for wait.c ---------------------------------------------------------------------------------

typedef enum mti_actor_help {
    MTI_ACTOR_TAKEN, // the turn is the caller's, with a slot count: mti_actor_run_until takes both
    MTI_ACTOR_HELD,  // by the thread of |*out_ctx|
    MTI_ACTOR_WAITS, // |*out_next| (one slot count) must close first
    MTI_ACTOR_FREE,  // the turn could be the caller's, but it must not take it
    MTI_ACTOR_NOTHING, // somebody is at it
} mti_actor_help_t;
// Who makes the method |t| of generation |gen|, which |object| belongs to, go on? |may_take|: the caller
// would run it.
mti_actor_help_t mti_actor_walk(mti_ctx_t *ctx, mti_object_t *object, mti_record_t *t, uint32_t gen,
                                bool may_take, mti_actor_t **out_actor, uint32_t *out_ctx,
                                mti_object_t **out_next);
// The group of the queued method |t|, which |object| (held by the caller) belongs to, if as many of its calls run as may:
// |t| is not among them. With a count on the actor, which leave() gives back. NULL: it has none, or has room.
const void *mti_actor_full_group(mti_ctx_t *ctx, mti_object_t *object, const mti_record_t *t,
                                 mti_actor_t **out_actor, uint32_t *out_limit);
// The id of the call that has place |index| of that group; 0: it is free by now.
uint64_t mti_actor_group_call(const void *group, uint32_t index);
void mti_actor_group_leave(mti_ctx_t *ctx, mti_actor_t *actor);
// Runs the actor, whose turn the caller has, until |t| of generation |gen| is not queued any more.
void mti_actor_run_until(mti_ctx_t *ctx, mti_actor_t *actor, const mti_record_t *t, uint32_t gen);

// ---- for the others -----------------------------------------------------------------------------

struct mti_rows { // undelivered calls of one caller, or of the callers of one thread
    struct mti_rows_entry *entries;
    uint32_t count, capacity;
};
void mti_rows_deinit(mti_rows_t *rows);

// Gives one count of a handle back; the last one ends the actor.
void mti_actor_handle_drop(mti_ctx_t *ctx, mti_actor_t *actor);
// A handle has become an internal count, which is the callee's; |counts| is what was left then.
void mti_actor_handle_gone(mti_ctx_t *ctx, mti_actor_t *actor, uint64_t counts);
// The slot is about to be freed.
void mti_actor_free(mti_ctx_t *ctx, mti_actor_t *actor);
// A line for print_refs; false: not to be counted as the user's.
bool mti_actor_describe(mti_ctx_t *ctx, mti_actor_t *actor, char *text, size_t size);
// GPU |index| was lost: the actors there fail, and start again elsewhere if they may.
void mti_actors_device_lost(mti_ctx_t *ctx, uint32_t index);
// Ends all actors of the runtime; returns how many had not ended yet.
size_t mti_actors_end(mti_ctx_t *ctx, bool kill);

#endif
