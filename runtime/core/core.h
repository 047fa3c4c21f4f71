// Core: the one place that knows tasks, objects and threads together.
//
// Contract for api and for the siblings in this folder. The protocol of a task's life is told in
// runtime/core/README.md.
#ifndef MTI_CORE_CORE_H
#define MTI_CORE_CORE_H

#include "base/clock.h"
#include "base/mutex.h"
#include "base/notify.h"
#include "base/status.h"
#include "sched/sched.h"
#include "store/store.h"

#include "devices/registry.h"

#include <manta/actor.h>
#include <manta/task.h>

typedef struct mti_runtime mti_runtime_t;
typedef struct mti_ctx mti_ctx_t;
typedef struct mti_thread mti_thread_t;
typedef struct mti_record mti_record_t;
typedef struct mti_actor mti_actor_t;
typedef struct mti_order mti_order_t;
typedef struct mti_rows mti_rows_t;
typedef struct mti_lanes mti_lanes_t;
typedef struct mti_timer mti_timer_t;
typedef struct mti_todo mti_todo_t;

// ---- the task record ------------------------------------------------------------------------

// State of a record, in the low byte of |claim|; the CAS away from QUEUED is what decides between
// deques, waiters, cancel and failing arguments.
typedef enum mti_task_state {
    MTI_TASK_NONE = 0,   // no task: an object of another kind, or a free slot
    MTI_TASK_QUEUED,     // waits for arguments (deps > 0) or is in a queue (deps == 0)
    MTI_TASK_RUNNING,    // claimed by the thread that |claim| names
    MTI_TASK_CANCELLING, // will never run; somebody is failing its results
    MTI_TASK_CANCELLED,  // results failed; links into arguments may be left
    MTI_TASK_FORWARDED,  // the body is done, the result waits for another ref
    MTI_TASK_DONE,
    MTI_TASK_HELD, // between two attempts: queued, but not to be claimed yet
} mti_task_state_t;

// claim = generation << 32 | context index << 16 | flags << 8 | state
// The flags stand beside RUNNING and FORWARDED; CHILDREN also beside DONE, see cancel.c.
#define MTI_CLAIM_CANCEL   ((uint64_t)1 << 8)  // the body should stop; its results are dropped
#define MTI_CLAIM_CHILDREN ((uint64_t)1 << 9)  // and so should the tasks that it has submitted
#define MTI_CLAIM_EXPIRED  ((uint64_t)1 << 10) // the body should stop; another attempt follows
#define MTI_CLAIM_CLOSING  ((uint64_t)1 << 11) // who cancelled is still closing several results
#define MTI_CLAIM_RETURNED ((uint64_t)1 << 12) // the body returned meanwhile: who closes finishes
static inline uint64_t mti_claim_make(uint32_t gen, uint32_t ctx, mti_task_state_t state)
{
    return (uint64_t)gen << 32 | (uint64_t)ctx << 16 | (uint64_t)state;
}
static inline mti_task_state_t mti_claim_state(uint64_t claim)
{
    return (mti_task_state_t)(claim & 0xff);
}
static inline uint32_t mti_claim_ctx(uint64_t claim)
{
    return (uint32_t)(claim >> 16) & 0xffff;
}
static inline uint32_t mti_claim_gen(uint64_t claim)
{
    return (uint32_t)(claim >> 32);
}

enum {
    MTI_RECORD_INLINE = 64, // bytes for the argument image and the links
    MTI_METHOD_INLINE = 48, // the same for a method, which has mti_method_t (actor.h) behind them
    MTI_CLAIM_NO_CTX = 0xffff, // in the place of a context: no thread stands behind what runs
    MTI_MAX_REFS = 10000,
    MTI_MAX_RESULTS = 3000,
    MTI_MAX_PARAMS = 16000,
};

enum {                                                      // mti_record_t.flags
    MTI_RECORD_OVERFLOW = 1 << 0,                           // |args| is a block of its own
    MTI_RECORD_WIDE = 1 << 1,                               // more than one CPU
    MTI_RECORD_ELASTIC = 1 << 2,                            // less than one CPU
    MTI_RECORD_LANE = MTI_RECORD_WIDE | MTI_RECORD_ELASTIC, // on a device
    MTI_RECORD_RANGE = 1 << 3,                              // a range or array, see bulk.c
    MTI_RECORD_PARENT = 1 << 4,                             // its body has submitted tasks
    MTI_RECORD_GATED = 1 << 5,   // one dependency more: that it is admitted, see admit.c
    MTI_RECORD_BAND = 1 << 6,    // of another priority than normal
    MTI_RECORD_ACCEPTS = 1 << 7, // runs with failed arguments
    MTI_RECORD_METHOD = 1 << 8,  // runs on an actor's state, see actor.c
    MTI_RECORD_CREATE = 1 << 9,  // with METHOD: it is the constructor
    MTI_RECORD_BAND_SHIFT = 10,  // two bits: an mti_band_t, with BAND
    MTI_RECORD_SURE = 1 << 12,   // with METHOD: cold->caller says it if an actor called
};

// Of a range or array; for an array the images follow.
typedef struct mti_bulk_info {
    size_t count, grain, total_bytes;
    bool is_array;
    _Alignas(16) unsigned char images[];
} mti_bulk_info_t;

typedef struct mti_bulk_request {
    const void *array;
    size_t count, grain;
} mti_bulk_request_t;

// ---- timers (timer.c) ---------------------------------------------------------------------------

// Something for later, in its owner's memory. Everything is guarded by the rules lock.
struct mti_timer {
    int64_t when;
    bool armed;
    mti_timer_t *child, *next, *prev;
    // It is due, and disarmed. Called with the lock: writes what is to be done without it to |out_todo|,
    // and may arm again.
    void (*due)(mti_ctx_t *ctx, mti_timer_t *timer, int64_t now_ns, mti_todo_t *out_todo);
};

struct mti_todo {
    void (*run)(mti_ctx_t *ctx, const mti_todo_t *todo); // NULL: nothing
    mti_record_t *t;                                     // with |gen|: by its claim only
    uint32_t gen;
    uint32_t ctx_index;
    manta_status_t code;
    const char *why;
};

enum {
    MTI_USER_RESOURCES = 31,
    MTI_GPU_RESOURCES = 16, // the first ones of a machine that has more; a share and bytes of each
    MTI_RESOURCES = 1 + MTI_USER_RESOURCES + 2 * MTI_GPU_RESOURCES,
    MTI_RESOURCE_HOST_BYTES = 0,
    MTI_RESOURCE_ANY_GPU = MTI_RESOURCES, // not decided yet which one
    MTI_ADMIT_LISTS = 33
};

typedef struct mti_cold mti_cold_t;
typedef struct mti_resource {
    char name[32];
    int64_t total; // milli-units, or bytes
    int64_t free;  // guarded by the rules lock; negative while a borrower outlives its lender
} mti_resource_t;

// What a runtime has for tasks with rules.
typedef struct mti_rules {
    uint32_t resource_count; // host_bytes and the user's
    uint32_t gpu_count;      // behind those, shares first, then bytes; guarded by lock
    mti_resource_t resources[MTI_RESOURCES];
    uint8_t gpu_resources
        [MTI_RESOURCES]; // guarded by lock; by GPU: index of its bytes, 0: not made yet
    uint64_t gpu_bytes;  // on each GPU; 0: as many as it has
    // Who waits to be admitted, oldest first: a list for each set of resources; the last one is for those
    // that found no list. Guarded by lock.
    struct {
        uint64_t mask;
        mti_cold_t *first, *last;
    } lists[MTI_ADMIT_LISTS];
    uint32_t list_count;      // guarded by lock; without the last one
    mti_cold_t *holders;      // guarded by lock; those that were admitted
    uint64_t next_age;        // guarded by lock
    mti_atomic_u32_t waiting; // changes under lock; how many wait
    mti_mutex_t lock, start_lock;
    mti_timer_t *root;      // guarded by lock
    mti_atomic_u32_t users; // changes under lock; who may arm a timer: the thread stays
    bool is_running;        // guarded by lock; the thread looks at the heap
    bool lingered;          // guarded by lock; it has waited for users for a while
    bool stopping;          // guarded by lock
    int64_t sleeps_until;   // guarded by lock
    bool must_join;         // guarded by start_lock
    pthread_t thread;       // guarded by start_lock
    mti_atomic_u32_t word;  // bumped when there is an earlier one; the thread sleeps on it
} mti_rules_t;

// Announces that somebody may arm timers from now on, so that there is a thread. Errors: OUT_OF_MEMORY ·
// SYSTEM no thread. Not under locks. |unuse| takes it back.
manta_status_t mti_timer_use(mti_runtime_t *rt);
void mti_timer_unuse_locked(mti_runtime_t *rt);
// Arms, anew if it is; INT64_MAX: disarms. True: call mti_timer_wake() after the lock.
bool mti_timer_arm_locked(mti_runtime_t *rt, mti_timer_t *timer, int64_t when);
void mti_timer_disarm_locked(mti_runtime_t *rt, mti_timer_t *timer);
void mti_timer_wake(mti_runtime_t *rt);
// Does what is due; whether anything was. The clock is the caller's.
bool mti_timer_step(mti_ctx_t *ctx, int64_t now_ns);
int64_t mti_timer_next(mti_runtime_t *rt); // INT64_MAX: none
void mti_timer_stop(mti_runtime_t *rt);

// ---- what only tasks with options need ------------------------------------------------------------

enum {
    MTI_RETRY_CODES = 8,
    MTI_TASK_RESOURCES = 4,
    MTI_WANTS = MTI_TASK_RESOURCES + 1,
    MTI_LOANS = 16
};

// What a task asks of one resource, and has while it runs. Guarded by the rules lock.
typedef struct mti_want mti_want_t;
typedef struct mti_loan mti_loan_t;
struct mti_loan {
    mti_want_t *lender, *borrower; // no lender: it has ended, and this goes back to all
    int64_t amount;
    mti_loan_t *next, *prev; // in the lender's list
};
struct mti_want {
    uint32_t resource; // index in the runtime's, or MTI_RESOURCE_ANY_GPU
    uint32_t loan_count;
    bool is_any_gpu;  // |resource| is chosen when the task is admitted
    int64_t amount;   // milli-units, or bytes
    int64_t borrowed; // of that, by |loans| with a lender
    int64_t lent;     // of that, by |given|
    mti_loan_t *given;
    mti_loan_t loans[MTI_LOANS];
};

typedef enum mti_admission {
    MTI_ADMISSION_NONE = 0, // not asked for yet
    MTI_ADMISSION_WAITING,  // in a list; that is what |deps| counts
    MTI_ADMISSION_GRANTED,
    MTI_ADMISSION_DROPPED, // cancelled before it was asked for
} mti_admission_t;

struct mti_cold {
    const char *name;
    int cores;
    uint32_t milli;
    mti_bulk_info_t *bulk;
    mti_order_t *order; // of a method that is not delivered
    uint64_t caller;    // of a method that an actor called, with SURE: that one
    // Time and attempts, recover.c. |has_time|: it is a user of the timers.
    bool has_time;
    bool parked;          // guarded by the rules lock; in back-off: that is what |deps| counts
    mti_record_t *record; // itself
    mti_timer_t timer;
    int64_t deadline;    // guarded by the rules lock; INT64_MAX: none, or it has passed
    int64_t run_until;   // guarded by the rules lock; INT64_MAX: does not run, or has no timeout
    int64_t not_before;  // guarded by the rules lock; INT64_MAX: not in back-off
    int64_t run_timeout; // 0: none
    int64_t backoff, backoff_max;
    double backoff_factor;
    int32_t attempt; // changes between attempts only
    int32_t max_retries;
    uint32_t retry_on;
    uint32_t retry_code_count;
    manta_status_t retry_codes[MTI_RETRY_CODES];
    manta_error_t *first_error; // of the first attempt that failed, NULL: none
    uint64_t accept_failed;     // a bit per parameter
    manta_where_t where;        // of a task on a device: MANTA_GPU or manta_gpu(i)
    // Resources, admit.c; all but |want_count| guarded by the rules lock.
    uint32_t want_count;
    mti_admission_t admission;
    bool is_stuck;             // scratch of the search for deadlocks
    bool is_gone;              // fewer GPUs are left than it wants: it fails
    uint32_t list;             // while it waits: in which list
    uint64_t age;              // the older the smaller
    mti_cold_t *next, *prev;   // in the list it waits in, or among the holders
    mti_cold_t *next_admitted; // of who lets it go
    mti_want_t *wants;         // of the heap
};

// Three cache lines. The first belongs to the first result; it may outlive the task.
struct mti_record {
    mti_object_t result;

    mti_atomic_u64_t claim;
    manta_task_def_t *def;
    mti_record_t *next; // free list of the table; work list while results are closed
    mti_atomic_u32_t deps;
    uint16_t link_count;     // refs among the arguments
    uint16_t result_count;   // objects that it closes; at least 1
    mti_atomic_u64_t parent; // id of the task that submitted it, 0: none
    mti_cold_t *cold;
    unsigned char *args; // the argument image: |inline_args|, or an overflow block's
    uint16_t args_bytes;
    uint16_t flags;
    mti_atomic_u32_t cancel_epoch; // the runtime's when its ancestors were last known to go on

    unsigned char inline_args[MTI_RECORD_INLINE];
};
static_assert(sizeof(mti_record_t) == MTI_SLOT_BYTES, "a record is a slot");
static_assert(offsetof(mti_record_t, claim) == offsetof(mti_slot_t, claim), "claim survives");
static_assert(offsetof(mti_record_t, next) == offsetof(mti_slot_t, next), "one free list");
static_assert(offsetof(mti_record_t, inline_args) == 128, "links are found by their line");

static inline mti_record_t *mti_record_at(uint32_t slot)
{
    return (mti_record_t *)(void *)mti_table_live_slot(slot);
}
static inline mti_record_t *mti_record_of(mti_object_t *object)
{
    return (mti_record_t *)(void *)object;
}

// A link stands in the list of the object that an argument waits for. Its word in the list is
// address | kind << MTI_LINK_SHIFT.
typedef enum mti_link_kind {
    MTI_LINK_INLINE = 0, // a uint64_t in a record's |inline_args|; the record is found by its line
    MTI_LINK_FAR,        // an mti_far_link_t in an overflow block
    MTI_LINK_FORWARD, // like INLINE: the slot's object, of a task or a promise, becomes the object
} mti_link_kind_t;

typedef struct mti_far_link {
    uint64_t next;
    mti_record_t *record;
} mti_far_link_t;

typedef struct mti_overflow { // header of an overflow block; 16 bytes, the image follows
    uint64_t size_bytes;
    uint32_t links_offset;   // from the header; mti_far_link_t[link_count]
    uint32_t results_offset; // uint32_t[result_count - 1], slots of the further results
} mti_overflow_t;

// Where links stand in |inline_args|, counted down from here.
static inline uint64_t *mti_record_links(const mti_record_t *t, bool is_method)
{
    size_t end = is_method ? MTI_METHOD_INLINE : MTI_RECORD_INLINE;
    return (uint64_t *)(void *)(t->inline_args + end) - 1;
}

static inline mti_overflow_t *mti_record_overflow(const mti_record_t *t)
{
    return (mti_overflow_t *)(void *)(t->args - sizeof(mti_overflow_t));
}

// The objects that |t| closes, by index. Beyond the first only while the overflow block is there.
static inline mti_object_t *mti_record_result(const mti_record_t *t, uint32_t index)
{
    if (index == 0) return (mti_object_t *)(uintptr_t)&t->result;
    mti_overflow_t *block = mti_record_overflow(t);
    uint32_t *slots = (uint32_t *)(void *)((char *)block + block->results_offset);
    return mti_object_at(slots[index - 1]);
}

// ---- contexts and threads ----------------------------------------------------------------------

enum {
    MTI_WAITING_SOME = 8,
    MTI_THREAD_CTXS = 8, // runtimes that one thread can use at a time
};

// A thread's presence in one runtime.
struct mti_ctx {
    mti_sched_ctx_t sched; // first: the scheduler knows it by this
    mti_runtime_t *rt;
    mti_thread_t *thread; // NULL: retired, may be used again
    mti_thread_t *record; // for a thread of the scheduler's that is about to start; else NULL
    mti_table_cache_t table;
    mti_heap_cache_t heap;
    // Written by this thread only, summed by drain and stats.
    _Alignas(MTI_LINE_BYTES) mti_atomic_u64_t submitted;
    mti_atomic_u64_t completed;
    mti_atomic_u64_t failed;
    mti_atomic_u64_t busy_ns;
    // Id of the object that this thread sleeps for without a timeout, 0: none. Read by who looks for
    // deadlocks.
    mti_atomic_u64_t waiting_on;
    // Ids of objects of which it sleeps for some, without a timeout; 0 ends the list.
    mti_atomic_u64_t waiting_some[MTI_WAITING_SOME];
    // Of the tasks that this needs: those that wait to be admitted, and how many of them must be, so that it
    // can go on; 0: it may go on otherwise. Changes under the rules lock.
    uint64_t gate_ids[MTI_WAITING_SOME];
    uint32_t gate_count, gate_need;
    mti_atomic_u32_t waiting; // waits and drains that this thread is inside of; it alone writes it
    mti_atomic_u32_t
        wait_word;       // this thread sleeps on it in a wait; set to 1 to make it look again
    mti_ctx_t *abroad;   // guarded by the lock in wait.c; where it sleeps if not here, NULL: here
    mti_ctx_t *next_all; // guarded by the runtime's lock
    bool is_free;        // guarded by the runtime's lock; its thread ended
};

typedef struct mti_scope_entry {
    uint64_t id; // 0: taken out
    bool is_view;
} mti_scope_entry_t;

// A thread that called manta, or that manta started. Found through thread-local storage.
struct mti_thread {
    // 1 while inside a short call that touches runtimes; shutdown waits for 0 (mti_thread_quiesce).
    mti_atomic_u32_t in_api;
    mti_ctx_t *ctx; // where calls without a runtime go; valid while |epoch| is current
    uint32_t epoch; // of the default runtime that |ctx| belongs to; 0: a runtime's own thread
    struct manta_task *task; // innermost running body
    bool in_callback;
    manta_status_t status; // why mti_ctx_slow gave NULL
    // The scope stack. |scope_base|: bottom of the innermost body's part.
    mti_scope_entry_t *scopes;
    size_t scope_count, scope_capacity, scope_base;
    size_t scope_mark; // 1 + bottom of the innermost scope; 0: no scope, refs are the user's alone
    mti_rows_t *rows;  // calls to actors that are not delivered yet; NULL: there never were any
    bool call_kept;    // the method that just returned will be tried again
    void *crash_stack; // for signal handlers, crash.c; NULL: none of ours
    struct {           // contexts of this thread, by runtime
        mti_ctx_t *ctx;
        uint64_t runtime_id;
    } ctxs[MTI_THREAD_CTXS];
    mti_thread_t *next, **link; // registry, guarded by its lock
};

// A running body, on the stack of its thread; what the user sees as manta_task_t.
struct manta_task {
    mti_record_t *record;
    mti_ctx_t *ctx;
    struct manta_task *outer;
    mti_actor_t *actor; // of a method or constructor, else NULL
    manta_buffer_t *buffers;
    mti_object_t **results;
    void *lane;           // its operation on a device, lane.c; NULL on a CPU
    manta_error_t *error; // from manta_fail
    mti_object_t *cause;  // the argument through which it failed, if it did so after its start
    uint32_t cause_argument;
    manta_ref_t forward; // from manta_forward, held internally
    size_t index;
    size_t outer_scope_base, outer_scope_mark;
    bool blocking;
    bool in_body; // the body was entered: a failure is its own
};

extern __thread mti_thread_t *mti_thread_tls __attribute__((tls_model("initial-exec")));
mti_thread_t *mti_thread_slow(void);
// Scopes that this thread is in, and that there was no record for. Until it has left them it gets none.
extern __thread uint32_t mti_scopes_missed __attribute__((tls_model("initial-exec")));
// Why mti_thread_self gave NULL.
manta_status_t mti_thread_failure(void);

// This thread's record, made on first use. NULL: no memory, or this process is a fork (the message
// says which).
static inline mti_thread_t *mti_thread_self(void)
{
    mti_thread_t *thread = mti_thread_tls;
    return MTI_LIKELY(thread != NULL) ? thread : mti_thread_slow();
}

// Brackets the part of a call that looks at slots and contexts, so that shutdown does not free them
// meanwhile. Not nested, and not around anything that sleeps or runs user code.
static inline void mti_thread_enter(mti_thread_t *thread)
{
    mti_atomic_u32_store_relaxed(&thread->in_api, 1);
    mti_fence_light(); // pairs with the heavy fence in mti_thread_quiesce
}
static inline void mti_thread_leave(mti_thread_t *thread)
{
    mti_atomic_u32_store_release(&thread->in_api, 0);
}
// Returns when every thread that was inside such a bracket has left it.
void mti_thread_quiesce(void);

// A stack for the handler that names crashes, if there is one (crash.c). By the thread itself.
void mti_crash_thread_begin(mti_thread_t *thread);
void mti_crash_thread_end(mti_thread_t *thread);

// ---- the runtime -------------------------------------------------------------------------------

typedef enum mti_runtime_state {
    MTI_RUNTIME_FREE = 0,
    MTI_RUNTIME_STARTING,
    MTI_RUNTIME_RUNNING,
    MTI_RUNTIME_CLOSED,   // no new work from outside
    MTI_RUNTIME_STOPPING, // no new work at all, waits give SHUTDOWN
    MTI_RUNTIME_DEAD,
} mti_runtime_state_t;

struct mti_runtime {
    mti_atomic_u32_t state;
    mti_atomic_u32_t cancelling; // queued tasks are cancelled when they come up
    // Bumped when a task is cancelled that may have children: a task whose own epoch is another one
    // looks at its ancestors. |clean_epoch| is what tasks without a parent get: the same, but behind for
    // good once |cancelling| is set.
    mti_atomic_u32_t cancel_epoch, clean_epoch;
    mti_atomic_ptr_t kept; // mti_record_t *, linked by |next|; cancelled parents, see cancel.c
    mti_atomic_u32_t sweep_wanted; // |sweep_job| is queued
    mti_job_t sweep_job;
    mti_atomic_u64_t sweeps; // that were made, about
    mti_atomic_u64_t sweep_rests_until;
    uint16_t index;
    uint32_t gen;
    bool is_serial;
    bool submits_long; // plain submits take the long way: serial, or bounded
    bool runs_long;    // so do plain runs: timed, or bounded
    bool bind;         // workers are bound for real
    bool measure_busy;
    bool report_leaks;
    char name[32];
    manta_allocator_t allocator;
    manta_log_fn_t log;
    void *log_user;
    mti_topology_t *topology;
    mti_sched_t *sched;
    mti_heap_t *heap;

    mti_mutex_t lock;
    mti_ctx_t *ctxs; // guarded by lock; all that were ever made
    mti_mutex_t names_lock;
    mti_actor_t **names; // guarded by names_lock; table of actors by name, |name_buckets| lists
    size_t name_buckets, name_count;
    mti_atomic_u32_t has_pinned; // an actor that only some workers may run was made
    mti_rules_t rules;
    mti_devices_options_t device_options; // as given at create
    char *sim_machine;                    // a copy, or NULL
    mti_mutex_t lanes_lock;               // start of |lanes|
    mti_atomic_ptr_t lanes;               // mti_lanes_t *, NULL until devices are first asked for
    uint64_t max_in_flight;               // 0: no bound, and |in_flight| is not kept
    _Alignas(MTI_LINE_BYTES) mti_atomic_u64_t in_flight;
    mti_atomic_u32_t flight_waiters; // threads that wait for room
    mti_atomic_u32_t flight_word;    // they sleep on it
    // Work that is open but has no task: promises, created objects. Drain does not wait for it.
    _Alignas(MTI_LINE_BYTES) mti_atomic_u32_t drainers; // threads in a drain
    mti_atomic_u32_t drain_word; // they sleep on it; bumped when all is complete
    mti_mutex_t shutdown_lock;   // held by whoever shuts down
};

// The runtime with that index, whatever its state. Memory of runtimes is never freed.
mti_runtime_t *mti_runtime_at(uint32_t index);
static inline manta_runtime_t mti_runtime_handle(const mti_runtime_t *rt)
{
    return (manta_runtime_t){(uint64_t)rt->gen << 32 | rt->index};
}
// A serial runtime has no thread for timers: its waits and drains do what is due, and sleep no longer than
// till the next one.
static inline void mti_timer_poll(mti_ctx_t *ctx)
{
    if (ctx->rt->is_serial && mti_atomic_u32_load_relaxed(&ctx->rt->rules.users)) {
        (void)mti_timer_step(ctx, mti_clock_ns());
    }
}
static inline int64_t mti_timer_bound(mti_ctx_t *ctx, int64_t deadline_ns)
{
    if (!ctx->rt->is_serial) return deadline_ns;
    int64_t next = mti_timer_next(ctx->rt);
    return next < deadline_ns ? next : deadline_ns;
}
// The live runtime of |handle|, NULL (with a message) if there is none.
mti_runtime_t *mti_runtime_find(manta_runtime_t handle);

// The same, where {0} means the current one; it is not started for that.
mti_runtime_t *mti_runtime_resolve(manta_runtime_t handle);

manta_status_t mti_runtime_create(const manta_runtime_options_t *options, mti_runtime_t **out_rt);
manta_status_t mti_runtime_shutdown(manta_runtime_t handle, manta_shutdown_mode_t mode,
                                    int64_t timeout_ns);
// No new work from outside from here on; does nothing if |rt| is not the runtime of |handle| any more.
bool mti_runtime_close(mti_runtime_t *rt, manta_runtime_t handle);
void mti_runtime_log(const mti_runtime_t *rt, manta_status_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
manta_status_t mti_runtime_drain(mti_runtime_t *rt, int64_t timeout_ns);
// The thread has nothing to do, or completed a task outside of the workers: if a drain waits for the
// last one, tells it.
void mti_drain_check_slow(mti_ctx_t *ctx);
static inline void mti_drain_check(mti_ctx_t *ctx)
{
    mti_fence_light(); // between our last completion and this load; pairs with the heavy one in drain
    if (MTI_UNLIKELY(mti_atomic_u32_load_relaxed(&ctx->rt->drainers))) mti_drain_check_slow(ctx);
}
size_t mti_runtime_print_refs(mti_runtime_t *rt, FILE *file, bool as_log);

// The default runtime, started if need be; NULL with a message if it can't be.
mti_runtime_t *mti_runtime_default(void);
mti_runtime_t *mti_runtime_default_peek(void); // NULL if it doesn't run
void mti_runtime_default_forget(mti_runtime_t *rt);
manta_status_t mti_runtime_default_init(const manta_runtime_options_t *options);
extern mti_atomic_u32_t mti_default_epoch; // changes when the default runtime starts or ends

// The context of this thread for |handle| ({0}: the current runtime), made on first use. NULL with a
// message if there is none.
mti_ctx_t *mti_ctx_slow(mti_thread_t *thread, manta_runtime_t handle);
static inline mti_ctx_t *mti_ctx_current(mti_thread_t *thread)
{
    mti_ctx_t *ctx = thread->ctx;
    if (MTI_LIKELY(ctx != NULL) &&
        (thread->epoch == 0 ||
         MTI_LIKELY(thread->epoch == mti_atomic_u32_load_acquire(&mti_default_epoch)))) {
        return ctx;
    }
    return mti_ctx_slow(thread, (manta_runtime_t){0});
}
// This thread's context in the runtime of |object|; NULL only without memory.
static inline mti_ctx_t *mti_ctx_for(mti_thread_t *thread, const mti_object_t *object)
{
    mti_ctx_t *ctx = thread->ctx;
    if (MTI_LIKELY(ctx != NULL) &&
        MTI_LIKELY(thread->epoch == 0 ||
                   thread->epoch == mti_atomic_u32_load_relaxed(&mti_default_epoch)) &&
        MTI_LIKELY(ctx->rt->index == mti_object_runtime(object))) {
        return ctx;
    }
    return mti_ctx_slow(thread, mti_runtime_handle(mti_runtime_at(mti_object_runtime(object))));
}
mti_ctx_t *mti_ctx_create(mti_runtime_t *rt);
// For a thread of the runtime's that is about to start; NULL: no memory. The thread itself enters it
// first and leaves it last.
mti_ctx_t *mti_ctx_prepare(mti_runtime_t *rt);
void mti_ctx_enter(mti_ctx_t *ctx);
void mti_ctx_leave(mti_ctx_t *ctx);
// Makes everybody who sleeps in a serial runtime look again.
void mti_runtime_nudge(mti_runtime_t *rt);
void mti_ctx_retire(mti_ctx_t *ctx);
void mti_ctx_bind_thread(mti_ctx_t *ctx); // makes |ctx| the calling thread's own
void mti_thread_end(void);                // the calling thread is about to end

// ---- counts (ref.c) ---------------------------------------------------------------------------

// The object of |ref| if that is live: |add| is added to its counts while it has a user count, and the
// generation matches. NULL: stale. Threads: any, entered.
mti_object_t *mti_ref_acquire(manta_ref_t ref, uint64_t add);
// The same without a count taken: good for looking only, the caller rechecks the generation.
static inline mti_object_t *mti_ref_peek(manta_ref_t ref)
{
    if (MTI_UNLIKELY(mti_ref_is_error(ref))) return NULL;
    mti_slot_t *slot = mti_table_slot(mti_ref_slot(ref));
    if (MTI_UNLIKELY(!slot)) return NULL;
    mti_object_t *object = &slot->object;
    // acquire: pairs with the release in mti_table_free
    if (MTI_UNLIKELY(mti_atomic_u32_load_acquire(&object->gen) != mti_ref_gen(ref))) return NULL;
    uint64_t counts = mti_atomic_u64_load_acquire(&object->counts);
    return MTI_LIKELY(mti_count_user(counts) != 0) ? object : NULL;
}
// The object of |ref|, one of whose user counts becomes an internal one. NULL: stale.
mti_object_t *mti_ref_take(mti_ctx_t *ctx, manta_ref_t ref);
// Like acquire, but any count will do, not only a user's.
mti_object_t *mti_ref_acquire_weak(uint64_t id, uint64_t add);
// Looks |ref| up for a public call: OK leaves the thread entered and gives one internal count, until mti_ref_end. The
// code of an error ref is what it gives for one.
manta_status_t mti_ref_begin(manta_ref_t ref, mti_thread_t **out_thread, mti_ctx_t **out_ctx,
                             mti_object_t **out_object);
void mti_ref_end(mti_thread_t *thread, mti_ctx_t *ctx, mti_object_t *object);
// Gives |sub| back; frees the object when nothing is left.
void mti_object_release(mti_ctx_t *ctx, mti_object_t *object, uint64_t sub);
void mti_object_free(mti_ctx_t *ctx, mti_object_t *object);
manta_status_t mti_stale(manta_ref_t ref);
// Releases one user count, as manta_release, without looking at scopes: somebody else's may be in one.
// Entered.
manta_status_t mti_ref_release_user(mti_thread_t *thread, manta_ref_t ref);

// ---- scopes (ref.c) ---------------------------------------------------------------------------

bool mti_scope_grow(mti_thread_t *thread, size_t more);
static inline bool mti_scope_reserve(mti_thread_t *thread, size_t more)
{
    if (!thread->scope_mark) return true;
    return MTI_LIKELY(thread->scope_capacity - thread->scope_count >= more) ||
           mti_scope_grow(thread, more);
}
// Puts a ref just handed out into the innermost scope; room was reserved.
static inline void mti_scope_add(mti_thread_t *thread, mti_object_t *object, manta_ref_t ref)
{
    if (!thread->scope_mark) return;
    size_t at = thread->scope_count++;
    thread->scopes[at] = (mti_scope_entry_t){ref.id, false};
    // relaxed: a hint, checked by who uses it
    mti_atomic_u32_store_relaxed(&object->scope_hint, (uint32_t)at + 1);
}
// The entry of |ref| in this context's scopes, NULL if it is in none.
mti_scope_entry_t *mti_scope_search(mti_thread_t *thread, const mti_object_t *object,
                                    manta_ref_t ref);
static inline mti_scope_entry_t *mti_scope_find(mti_thread_t *thread, const mti_object_t *object,
                                                manta_ref_t ref)
{
    bool none = thread->scope_count == thread->scope_base;
    return none ? NULL : mti_scope_search(thread, object, ref);
}
// Releases everything above |mark|.
void mti_scope_unwind(mti_thread_t *thread, size_t mark);

// ---- closing (depend.c) -----------------------------------------------------------------------

// Closes |object| with its value, which the caller has stored: everyone who waits is told. False: it was
// closed before. The object must not be touched afterwards unless the caller holds a count. Tasks that
// became ready are queued; one of them is given back instead if |out_next| is not NULL.
bool mti_object_close(mti_ctx_t *ctx, mti_object_t *object, uint64_t bits, uint64_t *out_next);
// The same for a task's result, inline as long as nobody waits.
static inline bool mti_object_close_quick(mti_ctx_t *ctx, mti_object_t *object, uint64_t bits,
                                          uint64_t *out_next)
{
    uint64_t nobody = 0;
    // release: publishes the value
    if (MTI_LIKELY(mti_atomic_u64_cas_acq_rel(&object->head, &nobody, bits))) return true;
    return mti_object_close(ctx, object, bits, out_next);
}
// The same with an error: |error| (taken) and the argument |cause| (one internal count, taken; may be
// NULL) are stored. Only for the one who may write the object's value.
bool mti_object_close_failed(mti_ctx_t *ctx, mti_object_t *object, manta_error_t *error,
                             mti_object_t *cause, uint32_t argument, uint64_t *out_next);
// Closes as failed without touching the value: the code is in the head.
#define MTI_HEAD_BARE     ((uint64_t)1 << 2)
#define MTI_HEAD_CHILDREN ((uint64_t)1 << 3) // with BARE: its task's children were cancelled, too
static inline uint64_t mti_head_bare(manta_status_t code)
{
    return MTI_HEAD_CLOSED | MTI_HEAD_FAILED | MTI_HEAD_BARE | (uint64_t)(uint32_t)code << 32;
}
// The root error of a failed object, borrowed while the caller holds a count.
const manta_error_t *mti_object_error(const mti_object_t *object, uint64_t head);
static inline manta_status_t mti_object_status(const mti_object_t *object, uint64_t head)
{
    if (!(head & MTI_HEAD_CLOSED)) return MANTA_NOT_READY;
    return head & MTI_HEAD_FAILED ? manta_error_code(mti_object_error(object, head)) : MANTA_OK;
}
// Puts |cell| into the list of |object|. False: it is closed, nothing was put.
bool mti_object_link(mti_object_t *object, uint64_t *cell, mti_link_kind_t kind);
// The same for something that needs the bytes at the host: also kept, until they are there, if the object is
// closed and they are on a device only.
bool mti_object_await(mti_ctx_t *ctx, mti_object_t *object, uint64_t *cell, mti_link_kind_t kind);
// Links |t| to its argument |object|. False: nothing to wait for; |*out_head| tells a failure.
bool mti_record_link(mti_ctx_t *ctx, mti_record_t *t, mti_object_t *object, uint64_t *cell,
                     mti_link_kind_t kind, uint64_t *out_head);
// The task that makes |object| has been submitted to a device: those that follow it there may be placed.
void mti_object_assign(mti_ctx_t *ctx, mti_object_t *object);
// Fires |links|, newest first, of |object|, which closed with |bits|.
void mti_links_fire(mti_ctx_t *ctx, mti_object_t *object, uint64_t bits, uint64_t links);
// The argument through which the failed |object| failed, NULL if it is where it happened.
mti_object_t *mti_object_cause(const mti_object_t *object);
// Which argument of its task that is.
uint64_t mti_object_cause_argument(const mti_object_t *object);
// Takes an internal count of an open object that is the caller's to close, so that it lasts beyond that.
void mti_object_pin_open(mti_object_t *object);
// A dependency of |t| is gone.
void mti_record_dep_done(mti_ctx_t *ctx, mti_record_t *t, uint64_t *out_next);
// Whoever walks to a record looks at its flags while it may complete. Relaxed: the claim decides.
static inline uint16_t mti_record_flags(const mti_record_t *t)
{
    return __atomic_load_n(&t->flags, __ATOMIC_RELAXED);
}
static inline void mti_record_set_flags(mti_record_t *t, uint16_t flags)
{
    __atomic_store_n(&t->flags, flags, __ATOMIC_RELAXED);
}

// What it takes to queue a record.
typedef struct mti_ready {
    uint64_t id;
    uint32_t amount; // cores, milli-CPUs or the band, if the flags say so
    uint16_t flags;
} mti_ready_t;
// These don't go through a deque.
#define MTI_RECORD_ASIDE (MTI_RECORD_WIDE | MTI_RECORD_ELASTIC | MTI_RECORD_BAND)
// To be read while the caller keeps |t| from being ready: from then on a waiter may run it, or somebody
// cancel it, and the slot may be another task's.
static inline mti_ready_t mti_ready_of(const mti_record_t *t)
{
    mti_ready_t ready = {mti_ref_of(&t->result).id, 0, t->flags};
    if (MTI_UNLIKELY(t->flags & MTI_RECORD_WIDE)) ready.amount = (uint32_t)t->cold->cores;
    if (MTI_UNLIKELY(t->flags & MTI_RECORD_ELASTIC)) ready.amount = t->cold->milli;
    if (MTI_UNLIKELY(t->flags & MTI_RECORD_BAND))
        ready.amount = t->flags >> MTI_RECORD_BAND_SHIFT & 3;
    return ready;
}
// Queues what |ready| says where its request says.
void mti_record_ready(mti_ctx_t *ctx, mti_ready_t ready);
// Makes |object| an alias of |target| (one internal count, taken), which is closed, and closes it.
void mti_object_become(mti_ctx_t *ctx, mti_object_t *object, mti_object_t *target);

// The FORWARDED record |t| takes the value of |result.u.mem.parent|, which is closed.
void mti_forward_finish(mti_ctx_t *ctx, mti_record_t *t);

// ---- tasks (task.c, submit.c, run.c, fail.c) ----------------------------------------------------

manta_status_t mti_task_submit(manta_task_def_t *def, const manta_task_options_t *options,
                               const void *args, size_t args_bytes, manta_ref_t *out_results,
                               size_t result_count, bool always_take);
void mti_record_free_room(mti_ctx_t *ctx, mti_record_t *t);
void mti_task_run_entry(mti_sched_ctx_t *ctx, uint64_t entry); // sched's op
// Runs a task that the caller has claimed, and the chain of its first successors.
void mti_task_run_claimed(mti_ctx_t *ctx, mti_record_t *t);
// Runs a task that the caller has claimed. Its successors go to the deque.
void mti_task_run_alone(mti_ctx_t *ctx, mti_record_t *t);
// Runs a method that the caller has claimed, on the state of |actor|.
void mti_task_run_method(mti_ctx_t *ctx, mti_record_t *t, uint64_t *out_next);
// Submits a method call, or with |create| the constructor of an actor whose handle nobody has yet.
manta_status_t mti_task_submit_method(manta_actor_t handle, mti_actor_t *create,
                                      manta_task_def_t *def, const manta_task_options_t *options,
                                      const void *args, size_t args_bytes, manta_ref_t *out_results,
                                      size_t result_count, bool always_take);
// As mti_task_fail, with |error| for results of a task that waits; of one that runs, its code.
void mti_task_fail_now(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, const manta_error_t *error);
// Tries to claim; |gen| is the record's.
static inline bool mti_task_claim(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen)
{
    uint64_t queued = mti_claim_make(gen, 0, MTI_TASK_QUEUED);
    // acquire: the submitter's stores; release: nothing
    return mti_atomic_u64_load_relaxed(&t->claim) == queued &&
           mti_atomic_u64_cas_acq_rel(
               &t->claim, &queued,
               mti_claim_make(gen, (uint32_t)ctx->sched.index, MTI_TASK_RUNNING));
}
// Fails a queued task that the caller moved to CANCELLING: closes its results with |error| (taken).
void mti_task_fail_queued(mti_ctx_t *ctx, mti_record_t *t, manta_error_t *error,
                          mti_object_t *cause, uint32_t argument, uint64_t *out_next);
// Releases arguments and what else a finished task holds.
void mti_task_finish_cancelled(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen);
// Between the end of a body and the closing of its result: DONE from here on.
void mti_task_settle(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen);
// The body of |t|, which has several results and was cancelled, has returned, and they are closed.
void mti_task_finish_several(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen);
// Fails |t| with |code|, wherever it stands; does nothing if it is complete, or another task by now.
// |children|: also what it has submitted, as soon as that looks (cancel.c). Needs no memory.
void mti_task_fail(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, manta_status_t code,
                   const char *why, bool children);
manta_status_t mti_task_cancel(mti_ctx_t *ctx, mti_object_t *object, bool children);

// ---- time and attempts (recover.c) -------------------------------------------------------------

// Takes them over from |options|, which were checked, into |t->cold|. Errors: as mti_timer_use.
manta_status_t mti_recover_setup(mti_ctx_t *ctx, mti_record_t *t,
                                 const manta_task_options_t *options);
bool mti_recover_wanted(const manta_task_options_t *options);
// The record is queued, but can't run yet: from here on its deadline counts.
void mti_recover_arm(mti_ctx_t *ctx, mti_record_t *t);
// A body is about to run; it has returned. |end| gives the status that the attempt has then.
void mti_recover_begin(mti_ctx_t *ctx, mti_record_t *t);
// It has not begun after all, and waits again.
void mti_recover_pause(mti_ctx_t *ctx, mti_record_t *t);
manta_status_t mti_recover_end(mti_ctx_t *ctx, mti_record_t *t, manta_status_t status);
// Whether the attempt that has ended with |status| is followed by another, which then belongs to others.
bool mti_recover_retry(manta_task_t *run, manta_status_t status);
// The running attempt of |t|, which has a cold block, is the last one: another could not end better.
void mti_recover_give_up(mti_ctx_t *ctx, mti_record_t *t);
// |t| is being cancelled: it gets no further attempt. Whether one of |deps| is the caller's to give back.
bool mti_recover_drop(mti_ctx_t *ctx, mti_cold_t *cold);
// |cold| is about to be freed.
void mti_recover_forget(mti_ctx_t *ctx, mti_cold_t *cold);
static inline int mti_record_attempt(const mti_record_t *t)
{
    return t->cold ? t->cold->attempt : 0;
}
// Whether the attempt that runs, or is about to, is the last one.
static inline bool mti_record_is_last_attempt(const mti_record_t *t)
{
    return !t->cold || t->cold->attempt >= t->cold->max_retries;
}
// The class of a failure, one of manta_retry_t; 0: never tried again.
uint32_t mti_retry_class(manta_status_t code);

// ---- resources (admit.c) ------------------------------------------------------------------------

// Declares the runtime's resources.
manta_status_t mti_admit_init(mti_runtime_t *rt, const manta_runtime_options_t *options);
// Takes over into |cold| what the task asks for. Errors: INFEASIBLE · INVALID_ARGUMENT · OUT_OF_MEMORY.
manta_status_t mti_admit_setup(mti_ctx_t *ctx, mti_cold_t *cold, const char *name,
                               const manta_task_options_t *options);
// The devices of |rt| are there: each is a resource of 1 from now on.
void mti_admit_gpus(mti_runtime_t *rt, uint32_t count);
// The same for the share of GPUs that |options| ask for, where |where|'s variant runs; the task's wants are made
// by mti_admit_setup(). Errors: as there · RESOURCE_GONE so many are not lost.
manta_status_t mti_admit_check_gpus(mti_ctx_t *ctx, const char *name,
                                    const manta_task_options_t *options);
// A device was lost: those who can never be admitted any more fail.
void mti_admit_gpu_lost(mti_ctx_t *ctx);
// The GPUs that a task that was admitted has a share of, as bits.
uint64_t mti_admit_gpus_of(const mti_record_t *t);
// Adds |bytes| of a GPU among [first, end) to what |cold| wants; |*out_gpu| is which. Errors: the same.
manta_status_t mti_admit_gpu(mti_ctx_t *ctx, mti_cold_t *cold, const char *name, uint64_t bytes,
                             mti_lanes_t *lanes, uint32_t first, uint32_t end, uint32_t *out_gpu);
// What |from| was admitted with is held by |to|, a zeroed one, from now on. It is given back by mti_admit_end, and its
// |wants| are freed by the caller then.
void mti_admit_move(mti_ctx_t *ctx, mti_cold_t *from, mti_cold_t *to);
// How much is free of a GPU, in milli-units.
int64_t mti_admit_gpu_free(mti_runtime_t *rt, uint32_t index);
// All else that |t| waits for is there; the caller has the dependency that stands for its admission.
void mti_admit_reached(mti_ctx_t *ctx, mti_record_t *t);
// The body has returned: gives everything back.
void mti_admit_end(mti_ctx_t *ctx, mti_cold_t *cold);
bool mti_admit_drop_locked(mti_ctx_t *ctx, mti_cold_t *cold); // as mti_recover_drop
// Before this thread sleeps until |need| of |count| tasks were admitted: lends them what tasks hold that
// sleep for them; whether that did for one. If none can ever be admitted, the youngest task that
// waits for it fails. |need| 0: the thread goes on.
bool mti_admit_sleep(mti_ctx_t *ctx, const uint64_t *ids, uint32_t count, uint32_t need);
// Whether tasks on this stack hold something that could be lent.
bool mti_admit_holds(const mti_ctx_t *ctx);

// ---- cancel (cancel.c) ------------------------------------------------------------------------

// Whether |t|, which runs or is about to, has to stop because of an ancestor or a shutdown. Only worth a
// call if its epoch is not the runtime's.
bool mti_cancel_due(mti_runtime_t *rt, mti_record_t *t);
static inline bool mti_cancel_is_stale(const mti_runtime_t *rt, const mti_record_t *t)
{
    // relaxed: whoever is told of a cancel by other means has the flags in the claims as well
    return mti_atomic_u32_load_relaxed(&t->cancel_epoch) !=
           mti_atomic_u32_load_relaxed(&rt->cancel_epoch);
}
// Whether the running |t| has to stop, for whatever reason.
bool mti_cancel_look(mti_ctx_t *ctx, mti_record_t *t);
static inline bool mti_task_must_stop(mti_ctx_t *ctx, mti_record_t *t)
{
    if (mti_atomic_u64_load_relaxed(&t->claim) & (MTI_CLAIM_CANCEL | MTI_CLAIM_EXPIRED))
        return true;
    return MTI_UNLIKELY(mti_cancel_is_stale(ctx->rt, t)) && mti_cancel_look(ctx, t);
}
// The body of |t| is about to learn that it is to stop: not before its result has failed, or what it returns then
// could still become its value.
void mti_cancel_heard(const mti_record_t *t);
// A task was told to stop: those that it has submitted are to look, if |has_children| at once.
void mti_cancel_announce(mti_runtime_t *rt, bool has_children);
// |t| is DONE and its children are to stop: it stays until they have been told. Takes a slot count.
void mti_cancel_keep(mti_ctx_t *ctx, mti_record_t *t);
static inline const char *mti_record_name(const mti_record_t *t)
{
    return t->cold && t->cold->name ? t->cold->name : t->def->name;
}
// Whether a value of type |object| may stand where |param| is wanted; sizes are another matter.
static inline bool mti_dtype_fits(manta_dtype_t object, manta_dtype_t param)
{
    uint32_t a = MANTA_DTYPE_CODE(object), b = MANTA_DTYPE_CODE(param);
    if (object == param || a == MANTA_UNTYPED || b == MANTA_UNTYPED) return true;
    if (a != MANTA_OPAQUE && b != MANTA_OPAQUE) return false;
    return MANTA_DTYPE_SIZE(object) == MANTA_DTYPE_SIZE(param);
}
// Walks the refs among the arguments, in order.
typedef struct mti_arg_iter {
    const mti_record_t *t;
    uint32_t param, item;
} mti_arg_iter_t;
bool mti_arg_next(mti_arg_iter_t *iter, manta_ref_t *out_ref);

// Of the pieces of ranges: parts of another task, so never cancelled on their own.
extern manta_task_def_t mti_piece_def;
// Of the tasks that ask for the shares of actors: their bodies are for CPUs, wherever the share is.
extern manta_task_def_t mti_actor_share_def;
// There may be room for one more task, or a reason to give up: who waits for room looks again.
void mti_flight_wake(mti_runtime_t *rt);
void mti_flight_release(mti_runtime_t *rt);
// Counts a task as complete; pieces of ranges are none.
static inline void mti_task_count_completed(mti_ctx_t *ctx, const manta_task_def_t *def)
{
    if (MTI_UNLIKELY(ctx->rt->max_in_flight != 0) && def != &mti_piece_def) {
        mti_flight_release(ctx->rt);
    }
    mti_atomic_u64_owner_add(&ctx->completed, 1);
}
// Whether the failure of the |k|th ref among the arguments does not fail |t|.
bool mti_record_accepts(const mti_record_t *t, uint32_t k);

// Instead of an argument's number: the failure came through a forward.
#define MTI_FORWARD_ARGUMENT 0xffffffffu

// ---- errors (error.c) ---------------------------------------------------------------------------

// The error of a failed object, with a link for each argument through which it came; one count.
const manta_error_t *mti_error_chain(mti_object_t *object, uint64_t head);

// The error of |run|, whose body has returned |status|: what manta_fail() made, or one that says where.
manta_error_t *mti_task_error(manta_task_t *run, manta_status_t status);
// Completes the task of |run| (its body has returned |status|), on whatever thread this is.
void mti_task_complete(manta_task_t *run, manta_status_t status);
manta_status_t mti_task_submit_bulk(manta_task_def_t *def, const manta_task_options_t *options,
                                    const void *args, size_t args_bytes,
                                    const mti_bulk_request_t *request, manta_ref_t *out_ref);

// ---- ranges (bulk.c) ------------------------------------------------------------------------------

// Starts the range of |run|, which completes by itself. False: no memory (with a message).
bool mti_bulk_run(manta_task_t *run, size_t buffer_count);
size_t mti_bulk_grain(size_t count, size_t grain, int workers);
manta_ref_t mti_bulk_submit(manta_task_def_t *def, const manta_task_options_t *options,
                            const void *args, size_t args_bytes, size_t count, size_t grain,
                            bool is_array);

// ---- objects without tasks (value.c) ------------------------------------------------------------

mti_object_t *mti_object_alloc(mti_ctx_t *ctx, mti_object_kind_t kind, manta_dtype_t dtype);
// manta_promise_create() in |runtime|; {0}: the current one.
manta_ref_t mti_promise_create(manta_runtime_t runtime, manta_dtype_t dtype);
// Gives |object| memory for |size_bytes|; NULL without memory, or if the size is 0.
bool mti_object_storage_alloc(mti_ctx_t *ctx, mti_object_t *object, size_t size_bytes);
void mti_object_storage_free(mti_ctx_t *ctx, mti_object_t *object);

// ---- waiting (wait.c) and being told (watch.c) ----------------------------------------------------

// Brackets everything that sleeps or runs bodies on a thread of the user's: shutdown waits for the end
// (mti_runtime_waiting), so the runtime stays meanwhile.
static inline void mti_wait_enter(mti_ctx_t *ctx)
{
    mti_atomic_u32_owner_add(&ctx->waiting, 1);
    mti_fence_light(); // between this and a look at the state; pairs with the heavy one in shutdown
}
static inline void mti_wait_leave(mti_ctx_t *ctx)
{
    mti_atomic_u32_owner_add(&ctx->waiting, (uint32_t)-1);
}
// How many such brackets are open in |rt|. Exact if a heavy fence was executed after what keeps others
// from entering.
uint32_t mti_runtime_waiting(mti_runtime_t *rt);

// Waits until |object|, of which the caller holds a count, is closed.
manta_status_t mti_wait_object(mti_thread_t *thread, mti_ctx_t *ctx, mti_object_t *object,
                               int64_t timeout_ns, uint64_t *out_head);
manta_status_t mti_wait_many(mti_thread_t *thread, mti_ctx_t *ctx, mti_object_t **objects, size_t n,
                             size_t k, int64_t timeout_ns);

typedef struct mti_watcher mti_watcher_t;
struct mti_watcher {
    mti_watcher_t *next, **link; // bucket list, guarded by its lock
    mti_object_t *object;
    uint32_t gen; // of |object|
    // Called once, with the bucket locked (|locked|, must be short) or after it was taken off the list.
    void (*fire)(mti_ctx_t *ctx, mti_watcher_t *watcher, uint64_t head);
    bool locked;
};
// Once per process, before anything else of this.
void mti_watch_init(void);
// Adds |watcher|; false: the object is closed, nothing was added.
bool mti_watch_add(mti_watcher_t *watcher, mti_object_t *object);
// Takes it off; false: it has fired or is about to.
bool mti_watch_remove(mti_watcher_t *watcher);
// |object| of generation |gen| has closed with |head|. Its slot may be another object's by now.
void mti_watch_fire(mti_ctx_t *ctx, mti_object_t *object, uint32_t gen, uint64_t head);
// Makes every thread that waits in |rt|, or inside a task of |rt|, look at its state again.
void mti_wait_interrupt(mti_runtime_t *rt);
// The same for the thread of one context.
void mti_wait_wake(mti_runtime_t *rt, uint32_t ctx_index);
void mti_wait_wake_ctx(mti_ctx_t *ctx);
// The context of the task that |thread| runs if that is of another runtime than |ctx|, else NULL.
static inline mti_ctx_t *mti_wait_home(const mti_thread_t *thread, const mti_ctx_t *ctx)
{
    return thread->task && thread->task->ctx->rt != ctx->rt ? thread->task->ctx : NULL;
}
// Around a sleep on |ctx->wait_word| inside a task of |home| (NULL: of the same runtime): who wakes the thread
// there wakes it here as well. Returns what is to be given back.
mti_ctx_t *mti_wait_go_abroad(mti_ctx_t *home, mti_ctx_t *ctx);
void mti_wait_come_home(mti_ctx_t *home, mti_ctx_t *before);
// Why a wait must end though what it waits for is not there; MANTA_OK: it needn't. |queue|: it is for whatever
// comes into a completion queue, which a shutdown that cancels does not fill.
manta_status_t mti_wait_must_end(const mti_thread_t *thread, const mti_ctx_t *ctx, bool queue);
// A sleep of a thread in |ctx|, which gives its seats up for the time.
typedef struct mti_rest {
    mti_ctx_t *ctx, *home;
    bool alone,
        home_alone; // nobody has taken the seat over: nobody else may be there to run anything
} mti_rest_t;
mti_rest_t mti_rest_begin(const mti_thread_t *thread, mti_ctx_t *ctx);
void mti_rest_end(const mti_rest_t *rest);
// What there is to do for a thread that is alone, before it sleeps for one of |objects| (others may follow if
// |more|): lends, or runs something. True: |rest| has ended.
bool mti_rest_work(const mti_rest_t *rest, mti_object_t **objects, size_t n, bool more);
// It does not wait any more, or runs something else now.
void mti_wait_withdraw(mti_ctx_t *ctx);
int64_t mti_rest_until(const mti_rest_t *rest, int64_t deadline_ns);
// Completion queues of |rt| are woken, too.
void mti_cq_interrupt(mti_runtime_t *rt);

// ---- devices (lane.c, tier.c) ---------------------------------------------------------------------

static inline bool mti_flags_are_lane(uint32_t flags)
{
    return (flags & MTI_RECORD_LANE) == MTI_RECORD_LANE;
}
// The lanes of |rt|, NULL if no device was asked for yet. |start| looks for devices if need be; none is fine.
mti_lanes_t *mti_lanes_peek(const mti_runtime_t *rt);
manta_status_t mti_lanes_start(mti_runtime_t *rt, mti_lanes_t **out_lanes);
mti_device_t *mti_lanes_device(const mti_lanes_t *lanes, uint32_t index);
uint32_t mti_lanes_count(const mti_lanes_t *lanes);
bool mti_lanes_is_lost(const mti_lanes_t *lanes, uint32_t index); // threads: any
// Ends the lanes' thread; frees everything. No task is left, and for the latter no object either.
void mti_lanes_stop(mti_runtime_t *rt);
void mti_lanes_destroy(mti_ctx_t *ctx);
// Room for one push. False: no memory.
bool mti_lanes_reserve(mti_lanes_t *lanes);
void mti_lanes_unreserve(mti_lanes_t *lanes);
// A task that was claimed for a device and has not begun is queued once more, behind its arguments and its
// admission; |to_cpu|: for its CPU body. False: it was cancelled, and is still the caller's to complete.
bool mti_task_resubmit(mti_ctx_t *ctx, mti_record_t *t, bool to_cpu);
// OK, or why there are no devices although there might be: the message names |who|.
manta_status_t mti_lanes_failure(const mti_lanes_t *lanes, const char *who);
// Whether no device can be used (any more).
bool mti_lanes_all_down(const mti_lanes_t *lanes);
// The task |id|, whose arguments are assigned, may be placed.
void mti_lanes_push(mti_lanes_t *lanes, uint64_t id, uint32_t flags);
// Does what there is to do on all devices. True: something moved. |hurry|: somebody waits for the end of what
// is under way. May run CUDA bodies; not under locks, not inside mti_thread_enter.
bool mti_lanes_help(mti_ctx_t *ctx, bool hurry);
bool mti_lanes_are_busy(const mti_lanes_t *lanes);
// Whether work is under way on devices, and only those who wait step it: there is no thread for that.
bool mti_lanes_need_steps(const mti_runtime_t *rt);
enum { LANE_NAP_NS = 20000 }; // of such a one between two looks
static inline bool mti_lanes_help_if_any(mti_ctx_t *ctx, bool hurry)
{
    return MTI_UNLIKELY(mti_atomic_ptr_load_relaxed(&ctx->rt->lanes) != NULL) &&
           mti_lanes_help(ctx, hurry);
}
// Something arrived at the host.
void mti_lanes_tell(mti_runtime_t *rt);
// Whether the bytes of the closed, TIERED |object| are at the host, or never will be; asks for them if not.
bool mti_tier_ask(mti_ctx_t *ctx, mti_object_t *object);
// The same; false: |word|, a link, fires once they are there.
bool mti_tier_park(mti_ctx_t *ctx, mti_object_t *object, uint64_t word);
// Waits until they are.
manta_status_t mti_lanes_wait_host(mti_thread_t *thread, mti_ctx_t *ctx, mti_object_t *object,
                                   int64_t timeout_ns);
// Frees the bytes of a TIERED object; gives back the parent of a slice, whose count is the caller's now.
mti_object_t *mti_tier_destroy(mti_ctx_t *ctx, mti_object_t *object);
// A result that has failed after it was assigned keeps its tier until it goes: the error stands there.
bool mti_tier_fail(mti_object_t *object, manta_error_t *error, mti_object_t *cause,
                   uint32_t argument);
const manta_error_t *mti_tier_error(const mti_object_t *object);
mti_object_t *mti_tier_cause(const mti_object_t *object);
uint32_t mti_tier_cause_argument(const mti_object_t *object);
// The device that the task runs on, whose |lane| is set.
const char *mti_lane_device_name(const manta_task_t *task);
manta_status_t mti_lane_out_resize(manta_task_t *task, mti_object_t *object, size_t size_bytes,
                                   manta_buffer_t *out_buffer);

// Where |run| runs, for messages: a worker, a device.
void mti_task_place(const manta_task_t *run, char *text, size_t size);
// What a body's thread was doing before.
typedef struct mti_body {
    mti_ctx_t *ctx;
    uint32_t epoch;
    bool in_callback;
} mti_body_t;
void mti_body_enter(mti_body_t *body, mti_thread_t *thread, manta_task_t *run);
void mti_body_leave(mti_body_t *body, mti_thread_t *thread, manta_task_t *run);
// The same around the user's code that is no task of its own: a callback, a destructor.
typedef struct mti_callback {
    manta_task_t *task;
    mti_body_t outer;
    manta_scope_t scope;
} mti_callback_t;
void mti_callback_enter(mti_callback_t *callback, mti_thread_t *thread, mti_ctx_t *ctx);
void mti_callback_leave(mti_callback_t *callback, mti_thread_t *thread);
manta_status_t mti_arg_check_bytes(const char *task, const manta_param_t *param, const void *data,
                                   uint64_t size);
uint32_t mti_task_buffer_count(const manta_task_def_t *def); // of a definition that was submitted
bool mti_task_has_results(const manta_task_def_t *def);
bool mti_task_has_outs(const manta_task_def_t *def);

#endif
