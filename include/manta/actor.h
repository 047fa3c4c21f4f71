// Actors: a state with a mailbox. The plain descriptor API; what users write is in macros.h and
// detail/actor.h.
//
// A method call is a task that runs on the actor's state: its results are refs, its arguments may be refs
// that are not ready yet, its errors travel as those of tasks do. One method runs at a time, unless the
// actor was made with more (max_concurrency, groups).
//
// Order: the calls of one *caller* start in the order in which it made them. A caller is a thread outside
// of tasks; a task; or, inside the methods of an actor that runs one at a time, that actor. A call whose
// arguments are not ready holds up only later calls of its caller. Nothing is promised across callers.
// Calls are pipelined: a caller needn't wait for one before it makes the next.
//
// Priority: .priority of a call decides between callers, never between two calls of one. Of the calls that wait,
// the one of the highest band is taken first; one that stands behind an earlier call of its caller goes with
// that, and counts as no more urgent; and so that nothing starves, every 64th time the oldest of a lower band is
// taken. Beside other work an actor has its turn in the band of the call that it would take: normal calls of any actor
// come before tasks of a low priority, say, and low ones, one by one, when there is nothing else. A method that
// runs is not interrupted. On a device priorities decide in which order calls go there; pinned, not when the actor
// has its turn. Out of order, bands alone count; each group decides for itself.
//
// Life: an actor ends when its last handle is released, once it has run what was called until then
// (MANTA_LIFE_HANDLES); with the task or actor that made it (MANTA_LIFE_CREATOR); or when it is told to
// (MANTA_LIFE_DETACHED, and always): manta_actor_stop(), manta_actor_kill(). It dies when its constructor
// fails, or a method returns MANTA_ACTOR_FATAL; any other failure of a method is that call's alone. With
// |max_restarts| it comes back then: destructor, constructor again with the same arguments, and calls
// that may be tried again (|max_task_retries|) are.
//
// What a caller sees. MANTA_ERR_ACTOR_DIED: the actor has ended and stays so; the error's cause says why.
// MANTA_ERR_ACTOR_RESTARTING: it failed under this call, or was being restarted when the call came; a
// later one may succeed. A call that fails so before its body started never runs; one whose body had
// started may or may not have had its effect.
//
// On a device (options .device). Methods, and constructors, with a CUDA body run there, in the order in which
// their turns come; one follows the other on the device without the host, whatever queues they are on. A
// method without one runs on a CPU, when all that was before it is done on the device, and what comes
// after it waits for its end; so its body may look at what they left in the state. A CUDA body finds the
// state in |self| as any: that is host memory, where it keeps device pointers and numbers. They stay
// valid if they are those of manta_actor_hold() or manta_actor_memory().
//     When its device is lost the actor dies, with DEVICE_LOST as the cause. With MANTA_GPU and restarts left it comes
// back on another one, if its arguments are not lost, too; if none is left it dies with RESOURCE_GONE.
//     A share of a device: |gpu_bytes| bounds what the state holds, |max_device_calls| the work in
// flight. Nothing else is isolated: the results of its calls come out of the device's common memory, and its
// kernels run beside those of others, also from a queue of its own.
#ifndef MANTA_ACTOR_H
#define MANTA_ACTOR_H

#include <manta/task.h>

MANTA_BEGIN_DECLS

// A counted handle. A copy is as good as the original, and one count: manta_actor_retain() makes another.
// Like a ref it goes into the innermost scope of whoever gets it. One that came from a call that failed
// carries the error: calls through it give error refs.
typedef struct manta_actor {
    uint64_t id;
} manta_actor_t;

// A kind of actor. Static storage; zero what is not set.
typedef struct manta_actor_def {
    const char *name;
    size_t state_bytes, state_align;
    // The constructor: a task definition whose |owner| is this, without INOUT and OUT parameters. Its body
    // finds the state (zeroed) in manta_call_t.self. NULL: a zeroed state will do.
    manta_task_def_t *create;
    // Frees what the state holds. Runs once for every constructor that returned MANTA_OK, after the last
    // body. It may submit and release, not wait. NULL: there is nothing to do.
    void (*destroy)(void *self);
} manta_actor_def_t;

// How long it lives; see above.
typedef enum manta_life {
    MANTA_LIFE_HANDLES = 0,
    MANTA_LIFE_CREATOR, // of a task or method; made outside of both, as HANDLES
    MANTA_LIFE_DETACHED
} manta_life_t;

#define MANTA_UNLIMITED (-1)

// Methods of a group run at most |max_concurrency| at a time, whatever other groups do.
typedef struct manta_actor_group {
    const char *name;
    int max_concurrency;
} manta_actor_group_t;

// Where an actor's methods run. Zero: on any worker.
typedef int32_t manta_pin_t;
static inline MANTA_UNUSED manta_pin_t manta_pin_core(int worker) // of the workers, from 0
{
    return (manta_pin_t)(1 + worker);
}
static inline MANTA_UNUSED manta_pin_t
manta_pin_node(int node) // a NUMA node, hwloc's logical index
{
    return (manta_pin_t)((1 << 24) + node);
}

// How to make an actor. Zero is the default everywhere; MANTA_ACTOR_OPTIONS(.name = "m/0") makes one.
typedef struct manta_actor_options {
    size_t struct_size;
    manta_runtime_t runtime; // {0}: the current one
    const char *name;        // to be found by; NULL: none. Free again when the actor has died
    const char *name_space;  // of the name; NULL is one, too
    bool get_or_create;      // with a name that is taken: give a handle to that actor, make none
    manta_life_t life;
    int max_restarts;     // MANTA_UNLIMITED: always
    int max_task_retries; // of each call, when its actor failed under it or before it started
    int max_concurrency;  // methods at a time that are in no group; 0: one
    const manta_actor_group_t *groups; // copied, names included
    size_t group_count;
    // Calls that were accepted and have not started; more are refused with MANTA_ERR_ACTOR_BUSY. 0: no
    // bound.
    uint32_t max_pending;
    bool out_of_order; // calls start when their arguments are ready, whatever came before
    manta_pin_t pin;   // manta_pin_core(2), manta_pin_node(0); with one method at a time only
    // manta_gpu(1), or MANTA_GPU for the one with the fewest actors: methods with a CUDA body run there.
    // See "On a device" below.
    manta_where_t device;
    bool own_queue; // with |device|: a queue (stream) that nobody else uses; a device has 8 to give
    uint64_t gpu_bytes;        // with |device|: of manta_actor_memory() at most; 0: no bound
    uint32_t max_device_calls; // with |device|: calls on the device at a time; 0: 32
    // A share of GPUs that it holds as tasks do (manta_task_options_t), of |device| or of any: from before its
    // constructor, which waits for it, until after its destructor, over restarts, too. See manta_task_gpus().
    double gpus;
} manta_actor_options_t;

// Makes an actor. Its constructor runs as soon as its arguments are ready; calls wait for it. If it
// fails, so does the actor. |args|: the constructor's argument image, copied; with |max_restarts| its
// refs are kept as long as the actor lives.
//
// Gives an error handle on failure: NOT_FOUND and the like are those of manta_submit, and
// ALREADY_EXISTS the name is taken · TYPE_MISMATCH get_or_create found an actor of another kind ·
// INFEASIBLE no such core, node or device.
// Threads: any.  Blocks: never.  Calls user code: no.
MANTA_API MANTA_NODISCARD manta_actor_t manta_actor_create(manta_actor_def_t *def,
                                                           const manta_actor_options_t *options,
                                                           const void *args, size_t args_bytes);

// Calls a method, a task definition whose |owner| is the actor's def. As manta_submit_call: failures come
// back as error refs in all of |out_results|, and INOUT refs are taken in any case.
// |options|: the name, priority, deadline_ns, run_timeout_ns and accept_failed; anything else is the actor's to
// decide (NOT_SUPPORTED).
// Errors beside those of a submit: STALE_REF no such actor · TYPE_MISMATCH a method of another kind of
// actor · ACTOR_DIED · ACTOR_RESTARTING · ACTOR_BUSY.
MANTA_API void manta_actor_call(manta_actor_t actor, manta_task_def_t *method,
                                const manta_task_options_t *options, const void *args,
                                size_t args_bytes, manta_ref_t *out_results, size_t result_count);
// The same without results to hold. The status is that of the submit; INOUT refs are taken only if it is
// MANTA_OK.
MANTA_API manta_status_t manta_actor_send(manta_actor_t actor, manta_task_def_t *method,
                                          const manta_task_options_t *options, const void *args,
                                          size_t args_bytes);

// Another count of the handle / gives one back. Like refs; an error handle, and {0}, are fine.
// Errors: STALE_REF.  Threads: any.
MANTA_API manta_actor_t manta_actor_retain(manta_actor_t actor);
MANTA_API manta_status_t manta_actor_release(manta_actor_t actor);
// Takes a handle out of its scope: from here on it is the caller's to release.
MANTA_API manta_actor_t manta_actor_keep(manta_actor_t actor);

// A handle to the actor of that name, which is of kind |def| (NULL: of any). Error handle NOT_FOUND,
// TYPE_MISMATCH. Threads: any.
MANTA_API MANTA_NODISCARD manta_actor_t manta_actor_find(const manta_actor_def_t *def,
                                                         const char *name, const char *name_space,
                                                         manta_runtime_t runtime);

// MANTA_OK: it takes calls, or will once its constructor has run. Else why not: STALE_REF · ACTOR_DIED ·
// ACTOR_RESTARTING, or the code of an error handle.
MANTA_API manta_status_t manta_actor_status(manta_actor_t actor);

// Ends the actor now: calls that wait, and that run, fail at once with MANTA_ERR_ACTOR_DIED (or are
// retried, see max_task_retries); the body that runs is told by manta_cancelled(), and the destructor
// waits until it has returned. |restart|: start it again, if restarts are left.
// OK also if it has ended. Threads: any, also its own methods. Blocks: never.
MANTA_API manta_status_t manta_actor_kill(manta_actor_t actor, bool restart);

// Takes no more calls, runs what was accepted, ends. Waits for the end until |timeout_ns| has passed; then
// what is left is killed, and it returns MANTA_ERR_TIMEOUT, or MANTA_NOT_READY for a timeout of 0, which
// kills nothing. Inside the actor's own methods only with 0 (NOT_ALLOWED_HERE).
MANTA_API manta_status_t manta_actor_stop(manta_actor_t actor, int64_t timeout_ns);

// A ref that becomes ready when the actor has ended, after its destructor: MANTA_OK after a stop or its
// last handle, else failed with MANTA_ERR_ACTOR_DIED and the cause. It does not keep the actor alive.
// Restarts don't count. Released as any ref.
MANTA_API MANTA_NODISCARD manta_ref_t manta_actor_watch(manta_actor_t actor);

typedef enum manta_actor_state {
    MANTA_ACTOR_STARTING = 0, // its constructor has not run yet
    MANTA_ACTOR_ALIVE,
    MANTA_ACTOR_RESTARTING,
    MANTA_ACTOR_STOPPING,
    MANTA_ACTOR_DEAD
} manta_actor_state_t;

// A relaxed snapshot.
typedef struct manta_actor_info {
    size_t struct_size;
    manta_actor_t actor; // without a count
    char name[64];       // cut off; "" without one
    char name_space[64];
    const char *kind; // name of the definition
    manta_actor_state_t state;
    uint32_t pending;   // calls that are not complete
    uint32_t handles;   // counts of handles
    uint32_t restarts;  // so far
    uint64_t completed; // calls that ran
    int device;         // the GPU it is on, -1: none
} manta_actor_info_t;

MANTA_API manta_status_t manta_actor_describe(manta_actor_t actor, manta_actor_info_t *out_info);
// Writes up to |n| infos of actors that have not ended; returns how many there are. |struct_size| of each
// is set by the caller. |name_space| NULL: all.
MANTA_API size_t manta_actor_list(manta_runtime_t runtime, const char *name_space,
                                  manta_actor_info_t *out_infos, size_t n);

// ---- inside a method ------------------------------------------------------------------------

// The actor whose method (or constructor) runs, without a count; {0} in a plain task.
MANTA_API manta_actor_t manta_actor_self(const manta_task_t *task);

// The result of this call comes later: gives a promise that becomes it, to be finished by
// manta_promise_set() or manta_promise_fail() from any thread, and then released. The body goes on and
// returns MANTA_OK; the actor runs the next call. Only for methods with one result that is no INOUT, or
// with none. A call that is cancelled while its promise is open fails all the same; what the promise gets
// afterwards is dropped. So does one whose actor dies, is killed or restarted meanwhile, with that; a call that was
// deferred is not tried again. An actor that ends by its last handle or a stop does not wait for such calls,
// and leaves them to whoever has the promise.
// Error ref: NOT_ALLOWED_HERE several results · OUT_OF_MEMORY.
MANTA_API MANTA_NODISCARD manta_ref_t manta_method_defer(manta_task_t *task);

// The IN argument of this call whose bytes start at |data| (x.data in the body) stays where it is, at that
// address, until the actor's destructor has run or it is restarted. On a device that is the device's copy:
// weights given to a CUDA constructor, say. It can't be updated in place meanwhile.
// Errors:  INVALID_ARGUMENT no argument starts there · NOT_SUPPORTED a small value (up to 40 bytes or so) on a
//          device, which travels with its call; use MANTA_VAL · OUT_OF_MEMORY · NOT_ALLOWED_HERE.
// Threads: the body's.
MANTA_API MANTA_NODISCARD manta_status_t manta_actor_hold(manta_task_t *task, const void *data);

// In a CUDA body of an actor: device memory for its state, 256-byte aligned, contents undefined, which is
// given back when its destructor has run or it is restarted. NULL: OUT_OF_MEMORY, also beyond
// |gpu_bytes|, which fails the call, or no such body; the message says which.
MANTA_API MANTA_NODISCARD void *manta_actor_memory(manta_task_t *task, size_t size_bytes);

MANTA_END_DECLS

#endif
