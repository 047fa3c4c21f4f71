// Actors, between the files actor*.c. The protocol is told in actor.c.
#ifndef MTI_CORE_ACTOR_IMPL_H
#define MTI_CORE_ACTOR_IMPL_H

#include "core/actor.h"
#include "core/lane.h"

#include <sched.h>

enum { MTI_PIN_NODE = 1 << 24 }; // manta_pin_node(0)

typedef struct mti_actor_group {
    const char *name;
    uint32_t limit;
    mti_atomic_u32_t running;   // handed out; only the holder adds
    mti_atomic_u32_t waiting;   // in the list below
    mti_record_t *first, *last; // guarded like |todo|
    mti_atomic_u64_t *ids;      // of those that are handed out, |limit| places; 0: free
} mti_actor_group_t;

typedef struct mti_actor_bands mti_actor_bands_t; // actor_band.c
typedef struct mti_actor_share mti_actor_share_t; // actor_share.c

typedef enum mti_restart_phase {
    MTI_RESTART_NONE,
    MTI_RESTART_DOWN,
    MTI_RESTART_CREATING
} mti_restart_phase_t;

// What most actors don't have.
typedef struct mti_actor_rare {
    const char *name, *name_space;
    mti_actor_t *name_next; // guarded by names_lock
    mti_watcher_t creator;  // holds a slot count on |self|, this actor
    mti_actor_t *self;
    bool has_creator; // guarded by lock
    // Of a pinned actor: one worker (|pin_core|), or those of a node; and how it comes to them.
    int pin_core, pin_node; // -1: not this
    mti_atomic_u32_t pin_turn;
    mti_atomic_u32_t job_queued; // |job| is in a worker's inbox, with a slot count
    mti_job_t job;
    size_t total_bytes, groups_bytes;
    mti_actor_share_t *share; // of GPUs; NULL: it asks for none
} mti_actor_rare_t;

// An argument that the state keeps.
typedef struct mti_actor_hold mti_actor_hold_t;
struct mti_actor_hold {
    mti_actor_hold_t *next;
    mti_object_t *object; // one internal count
};

// Of an actor on a device; see actor_device.c.
enum { MTI_ACTOR_DEVICE_CALLS = 32, MTI_ACTOR_DEVICE_CALLS_MAX = 4096 };
#define MTI_RESUME_NEVER UINT32_MAX
typedef struct mti_actor_device {
    size_t total_bytes;     // of this
    manta_where_t where;    // as asked for
    mti_atomic_u32_t index; // the device; the turn's, who tells of a lost one reads it
    bool own_queue, is_settled;
    int64_t share;          // of the device that it asks for, in milli-units
    bool is_creating;       // the turn's; the constructor is on the device
    uint32_t limit;         // calls on the device at a time
    mti_lane_order_t order; // the lane's
    mti_block_t *memory;    // of the state; written by CUDA bodies, one at a time
    uint64_t bytes, bytes_limit;
    mti_atomic_u32_t running;   // calls on the device; only the holder of the turn adds
    mti_atomic_u32_t resume_at; // there is a call that may go when |running| is no more than that
    mti_atomic_u64_t ids[];     // of those on the device; 0: free
} mti_actor_device_t;

struct mti_actor_more {
    mti_mutex_t lock;
    mti_order_t *undelivered;   // guarded by lock
    const manta_error_t *error; // guarded by lock; why it failed or failed last; NULL: it has not
    mti_object_t *death;        // guarded by lock; what watchers hold, NULL: there are none
    mti_restart_phase_t phase;  // guarded by lock
    int32_t restarts_left;      // guarded by lock; < 0: any number
    bool counted;               // guarded by lock; its end or restart counts as a task for drain
    bool has_failed;            // guarded by lock; how it ended
    mti_atomic_u32_t restarts;  // so far; the holder adds
    mti_atomic_u64_t create_id; // record of the constructor that was submitted last
    mti_atomic_ptr_t create_ready; // mti_record_t *, when its arguments are; the holder takes it
    mti_atomic_u32_t create_failed;
    uint32_t group_count; // with the nameless one; 0: not concurrent
    mti_actor_group_t *groups;
    mti_rows_t rows; // of its methods as callers; guarded by the turn
    void *kept;      // the constructor's arguments, for restarts
    size_t kept_bytes;
    size_t total_bytes;
    manta_actor_def_t *def;
    mti_actor_rare_t *rare;     // NULL: nothing of it
    mti_actor_device_t *device; // NULL: on none
    mti_atomic_ptr_t bands;     // mti_actor_bands_t *; NULL: nobody called with a priority
    mti_actor_hold_t *holds;    // guarded by lock
    uint64_t *deferred;         // guarded by lock; ids of calls whose results come later
    uint32_t deferred_count, deferred_capacity; // guarded by lock
};

static inline uint64_t mti_turn_word(uint32_t gen, mti_turn_t turn)
{
    return mti_claim_make(gen, 0, (mti_task_state_t)turn);
}

static inline bool mti_turn_change(mti_actor_t *actor, uint32_t gen, mti_turn_t from, uint64_t to)
{
    uint64_t word = mti_turn_word(gen, from);
    return mti_atomic_u64_cas_seq_cst(&actor->claim, &word, to);
}

static inline bool mti_turn_take(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t gen, mti_turn_t from)
{
    return mti_turn_change(
        actor, gen, from,
        mti_claim_make(gen, (uint32_t)ctx->sched.index, (mti_task_state_t)MTI_TURN_HELD));
}

// Brackets every touch of |todo|, the groups' lists, and of |current| being set by the holder of the
// turn. A killer, who is not it, freezes: then nobody is inside such a bracket. Short, runs nothing.
static inline void mti_actor_todo_enter(mti_actor_t *actor)
{
    for (;;) {
        mti_atomic_u32_store_relaxed(&actor->busy, 1);
        mti_fence_light(); // between this store and that load; pairs with the heavy one in mti_actor_todo_freeze
        // acquire: what the freezer did to the lists
        if (MTI_LIKELY(!mti_atomic_u32_load_acquire(&actor->frozen))) return;
        mti_atomic_u32_store_release(&actor->busy, 0);
        while (mti_atomic_u32_load_acquire(&actor->frozen))
            sched_yield();
    }
}

static inline void mti_actor_todo_leave(mti_actor_t *actor)
{
    // release: the lists; pairs with the acquire in mti_actor_todo_freeze and of the next holder's bracket
    mti_atomic_u32_store_release(&actor->busy, 0);
}

// Calls that are not complete.
static inline uint32_t mti_actor_open_calls(const mti_actor_t *actor)
{
    uint32_t counts = mti_count_internal(mti_atomic_u64_load_seq_cst(&actor->object.counts));
    return counts ? counts - 1 : 0;
}

static inline const char *mti_actor_name(const mti_actor_t *actor)
{
    const mti_actor_rare_t *rare = actor->more->rare;
    return rare && rare->name ? rare->name : actor->def->name;
}

// ---- the turn and the mailbox (actor.c) ---------------------------------------------------------

// The turn is SCHEDULED: queues an entry for it. The actor may be gone when this returns.
void mti_actor_schedule(mti_ctx_t *ctx, uint32_t slot, uint32_t gen);
// There is something for the holder of the turn: makes sure that there will be one.
void mti_actor_wake(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t slot, uint32_t gen);
// The same when |life| has changed: it needn't wait for the constructor then.
void mti_actor_kick(mti_ctx_t *ctx, mti_actor_t *actor);
// Calls that were handed out.
uint32_t mti_actor_running(const mti_actor_t *actor);
// Puts |t| into the mailbox. True: it was idle, and the actor has to be woken.
static inline bool mti_mail_put(mti_actor_t *actor, mti_record_t *t)
{
    mti_method_t *method = mti_method_of(t);
    uint64_t mail = mti_atomic_u64_load_relaxed(&actor->object.u.mail);
    do {
        method->mail_next =
            mail == MTI_MAIL_IDLE ? NULL : (mti_record_t *)(uintptr_t)mail; // EMPTY is NULL
        // release: publishes the record; pairs with the acquire in mti_mail_take. seq_cst: see actor.c
    } while (!mti_atomic_u64_cas_seq_cst(&actor->object.u.mail, &mail, (uint64_t)(uintptr_t)t));
    return mail == MTI_MAIL_IDLE;
}
// Everything in the mailbox, oldest first; NULL: nothing. For the holder of the turn, or a freezer.
mti_record_t *mti_mail_take(mti_actor_t *actor, mti_record_t **out_last);
// One freezer at a time; others wait for it, which does not take long.
void mti_actor_todo_freeze(mti_actor_t *actor);
void mti_actor_todo_thaw(mti_actor_t *actor);
void mti_actor_todo_append(mti_actor_t *actor, mti_record_t *first, mti_record_t *last);
// |t| was taken out and can't be claimed: it was cancelled.
void mti_actor_taken_out(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen);
// Fails |t|, which was taken out and is in nobody's list.
void mti_actor_fail_taken_out(mti_ctx_t *ctx, mti_record_t *t, const manta_error_t *error);
// Whether the worker with that seat may run a pinned actor.
bool mti_actor_seat_fits(const mti_runtime_t *rt, const mti_actor_rare_t *pin, int seat);
void mti_actor_pinned_run(mti_sched_ctx_t *sched_ctx, mti_job_t *job);

// The oldest of |todo| and the mailbox, which stays; inside the bracket. NULL: none.
mti_record_t *mti_actor_todo_first(mti_actor_t *actor);

// ---- priorities of calls (actor_band.c) -----------------------------------------------------------

static inline bool mti_actor_has_bands(const mti_actor_t *actor)
{
    // relaxed: seen late, and the calls that wait are looked at once more
    return mti_atomic_ptr_load_relaxed(&actor->more->bands) != NULL;
}
// Above normal.
static inline bool mti_flags_are_raised(uint32_t flags)
{
    return flags & MTI_RECORD_BAND && (flags >> MTI_RECORD_BAND_SHIFT & 3) != MTI_BAND_LOW;
}
// |t|, a call with a priority or to an actor that knows of them, is being made. Errors: OUT_OF_MEMORY.
manta_status_t mti_actor_bands_call(mti_thread_t *thread, mti_ctx_t *ctx, mti_record_t *t);
// A call with |flags|, which are raised, was put into the mailbox. The caller has a count.
void mti_actor_bands_wake(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t flags);
// For the holder of the turn of an actor that has bands, inside the bracket of |todo|: what is next (NULL:
// nothing), which stays; takes that; takes what is next of those whose group has room.
mti_record_t *mti_actor_bands_first(mti_actor_t *actor);
void mti_actor_bands_take(mti_actor_t *actor, const mti_record_t *t);
mti_record_t *mti_actor_bands_hand_out(mti_actor_t *actor, mti_actor_group_t **out_group);
// |t|, which has run, goes before all others. In the bracket, too.
void mti_actor_bands_put_back(mti_actor_t *actor, mti_record_t *t);
// Whether an actor that does not hand its calls out has some here; also without bands. In the bracket, too.
bool mti_actor_bands_have_todo(const mti_actor_t *actor);
// Gives everything that is here back as a list; also without bands. Frozen.
void mti_actor_bands_empty(mti_actor_t *actor, mti_record_t **out_first);
// Whether the holder of the turn had better go, as others come before what is next here. |was_parked|: that
// was what it found; |is_first|: it has run nothing yet.
bool mti_actor_bands_yield(mti_ctx_t *ctx, mti_actor_t *actor, bool was_parked, bool is_first);
// Gives the turn to whoever comes next, with the priority of what is to be done. False: there is no memory for
// that, and it is the caller's still.
bool mti_actor_bands_give_on(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t gen);
void mti_actor_bands_free(mti_ctx_t *ctx, mti_actor_more_t *more);

// ---- devices (actor_device.c) -------------------------------------------------------------------

manta_status_t mti_actor_device_check(mti_ctx_t *ctx, const manta_actor_def_t *def,
                                      const manta_actor_options_t *o);
manta_status_t mti_actor_device_make(mti_ctx_t *ctx, mti_actor_more_t *more,
                                     const manta_actor_options_t *o);
void mti_actor_device_free(mti_ctx_t *ctx, mti_actor_more_t *more);
// GPU |index| was lost: |actor| fails if it is there. The caller has a count.
void mti_actor_device_lost(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t index);
// What comes of that: with a choice of devices it may go on on another one.
uint32_t mti_actor_device_lost_how(const mti_actor_t *actor);
// The actor is about to be constructed again. False: there is no device for it any more.
bool mti_actor_device_again(mti_ctx_t *ctx, mti_actor_t *actor);
typedef enum mti_device_call {
    MTI_DEVICE_CALL_NONE, // there is none, or it has to wait
    MTI_DEVICE_CALL_OUT,  // went to the device
    MTI_DEVICE_CALL_HERE, // |*out_call| is the caller's to run, and set as |current|
} mti_device_call_t;
// For the holder of the turn: the next call of an actor on a device.
mti_device_call_t mti_actor_device_next(mti_ctx_t *ctx, mti_actor_t *actor,
                                        mti_record_t **out_call);
// Gives the constructor to the device, if that is where it runs.
bool mti_actor_device_create(mti_ctx_t *ctx, mti_actor_t *actor, mti_record_t *create);
// Why it can't: RESOURCE_GONE, because of what it failed with before.
manta_error_t *mti_actor_device_gone(mti_actor_t *actor);
void mti_actor_device_give_back(mti_actor_device_t *device, uint64_t id);
// Whether a call that had to wait may go now.
static inline bool mti_actor_device_has_work(const mti_actor_device_t *device)
{
    uint32_t resume_at = mti_atomic_u32_load_seq_cst(&device->resume_at);
    return resume_at != MTI_RESUME_NEVER &&
           mti_atomic_u32_load_seq_cst(&device->running) <= resume_at;
}
// Releases what the state holds: nothing of the actor's runs.
void mti_actor_holds_release(mti_ctx_t *ctx, mti_actor_more_t *more);

// Where its share of GPUs has to be: manta_gpu(i), or MANTA_CPU for any.
manta_where_t mti_actor_device_where(const mti_actor_t *actor);

// ---- shares of GPUs (actor_share.c) ----------------------------------------------------------------

bool mti_actor_share_make(mti_ctx_t *ctx, mti_actor_more_t *more, double gpus); // false: no memory
void mti_actor_share_free(mti_ctx_t *ctx, mti_actor_share_t *share);
// Asks for it: the turn, which is NEW or about to be, is brought on when it is there; if it never will be, the actor
// fails.
manta_status_t mti_actor_share_ask(mti_ctx_t *ctx, mti_actor_t *actor);
// The task that asks, with a slot count; NULL: none does.
mti_object_t *mti_actor_share_waits_for(mti_actor_t *actor);
// For the holder of the turn. Whether it has none of those that it should have; whether the constructor is to be
// submitted for the first time now; before a restart: gives one back that is not where the actor goes; the end.
bool mti_actor_share_is_missing(mti_actor_t *actor);
bool mti_actor_share_begins(mti_actor_t *actor);
void mti_actor_share_move(mti_ctx_t *ctx, mti_actor_t *actor);
void mti_actor_share_end(mti_ctx_t *ctx, mti_actor_t *actor);

// ---- order (actor_order.c) ----------------------------------------------------------------------

// Whether |t| is not delivered yet. If that is because of an earlier call, |*out_before| is what has to close
// first, with a slot count, as far as that can be told; else NULL.
bool mti_actor_is_undelivered(mti_actor_t *actor, const mti_record_t *t, mti_object_t **out_before);
// An open argument that the constructor waits for, with a slot count; NULL: there is none.
mti_object_t *mti_actor_create_waits_for(mti_actor_t *actor);

// ---- failing and stopping (actor_life.c) --------------------------------------------------------

// |actor| fails: |cause| (may be NULL) and the text say why. Its calls fail, it is restarted if that is
// wanted and possible, or ends. Nothing happens if it has failed before. The call |but| is the caller's to
// look after. The caller has a count.
typedef enum mti_actor_fail_how {
    MTI_ACTOR_ENDS = 0,
    MTI_ACTOR_MAY_RESTART = 1 << 0,
    MTI_ACTOR_SPARES_RUNNING = 1 << 1, // calls that run, which fail by themselves, with a cause
} mti_actor_fail_how_t;
void mti_actor_fail(mti_ctx_t *ctx, mti_actor_t *actor, const manta_error_t *cause, uint32_t how,
                    uint64_t but, const char *format, ...) __attribute__((format(printf, 6, 7)));
// Fails all calls that wait, and with |running| those that run, but those that will be tried again.
// Threads: any, without locks, also the holder of the turn.
void mti_actor_fail_calls(mti_ctx_t *ctx, mti_actor_t *actor, const manta_error_t *error,
                          bool restarts, bool running, uint64_t but);
// Begins the end of an actor that is to run what was accepted first.
void mti_actor_stop(mti_ctx_t *ctx, mti_actor_t *actor);
// The result of the running call |t| comes later: it is to fail with the actor. False: no memory.
bool mti_actor_defer(mti_actor_t *actor, const mti_record_t *t);
// What counted its end, or its restart, as a task is over (|counted|).
void mti_actor_uncount(mti_ctx_t *ctx, bool counted);

// ---- names (actor_name.c) -----------------------------------------------------------------------

bool mti_names_equal(const char *a, const char *b);
// The name goes to |actor| (NULL: only look). ALREADY_EXISTS: |*out_other| has it, with one more handle
// count. One that is about to end gives it up.
manta_status_t mti_actor_name_take(mti_runtime_t *rt, mti_actor_t *actor, const char *name,
                                   const char *name_space, mti_actor_t **out_other);
void mti_actor_name_drop(mti_runtime_t *rt, mti_actor_t *actor);

// ---- making them (actor_create.c) ---------------------------------------------------------------

// Releases the constructor's arguments that were kept for restarts.
void mti_actor_kept_release(mti_ctx_t *ctx, mti_actor_t *actor);

// ---- handles (actor_handle.c) -------------------------------------------------------------------

static inline manta_actor_t mti_actor_error(manta_status_t code)
{
    return (manta_actor_t){mti_ref_error(code).id};
}
// A handle of |actor|, one of whose counts is the caller's, goes out. There is room in the scope.
manta_actor_t mti_actor_give_handle(mti_thread_t *thread, mti_actor_t *actor);
// The actor that has the name, if it is of the right kind; else its count is given back.
manta_actor_t mti_actor_give_found(mti_thread_t *thread, mti_ctx_t *ctx, mti_actor_t *found,
                                   const manta_actor_def_t *def, const char *name);
// Looks a handle up, entered, with an internal count; mti_actor_handle_end gives that back.
manta_status_t mti_actor_handle_begin(manta_actor_t handle, const char *what,
                                      mti_thread_t **out_thread, mti_ctx_t **out_ctx,
                                      mti_actor_t **out_actor);
void mti_actor_handle_end(mti_thread_t *thread, mti_ctx_t *ctx, mti_actor_t *actor);

#endif
