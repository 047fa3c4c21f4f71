// Runtimes: create with options, close, drain, shut down.
//
// manta is a library: nothing has to be started. The default runtime starts on first use; more can
// be created and share nothing with each other. A call uses the runtime that its options name, else
// the one of the current task, else the default one.
#ifndef MANTA_RUNTIME_H
#define MANTA_RUNTIME_H

#include <manta/allocator.h>
#include <manta/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

MANTA_BEGIN_DECLS

// Time is int64_t nanoseconds everywhere.
#define MANTA_FOREVER INT64_MAX
#define MANTA_US(n)   ((int64_t)(n)*1000)
#define MANTA_MS(n)   ((int64_t)(n)*1000000)
#define MANTA_S(n)    ((int64_t)(n)*1000000000)

// "Choose for me", where 0 is a choice of its own.
#define MANTA_AUTO (-1)

// A generation-checked handle; a copy is as good as the original. {0} means "the current one".
typedef struct manta_runtime {
    uint64_t id;
} manta_runtime_t;

// Receives failures that have nowhere else to go. Called from any thread, also at the same time;
// must not call manta. |message| lives for the call.
typedef void (*manta_log_fn_t)(void *user, manta_status_t code, const char *message);

// An amount of something that tasks share: an entry of manta_runtime_options_t.resources says how much
// there is, one of manta_task_options_t.resources how much a task needs while it runs. Counted in
// thousandths.
typedef struct manta_resource_amount {
    const char *name; // at most 31 characters
    double amount;
} manta_resource_t;
static inline MANTA_UNUSED manta_resource_t manta_resource(const char *name, double amount)
{
    manta_resource_t resource = {name, amount};
    return resource;
}

// How to make a runtime. Always set up with manta_runtime_options_init().
typedef struct manta_runtime_options {
    size_t struct_size;
    const char *name; // for messages and thread names; default "manta"
    // Threads that run tasks. MANTA_AUTO: one per physical core within the affinity mask and the
    // cgroup quota (MANTA_WORKERS in the environment overrides). 0: serial and deterministic: no
    // threads; tasks run inside waits and drains, in the order in which they were submitted.
    int workers;
    // The machine, if it is not this one: an hwloc XML file, or an hwloc synthetic string. Then
    // nothing is bound; the intended binding can be asked for (topology.h).
    const char *topology_xml;
    const char *topology_synthetic;
    const char
        *cpuset;     // use these OS processors only, hwloc list syntax "0-3,8"; NULL: all allowed
    int bind;        // bind workers to their cores: 1, 0, MANTA_AUTO (yes)
    int64_t spin_ns; // how long an idle worker looks for work before it sleeps; < 0: default
    int max_threads; // bound on all threads of this runtime, spares included; 0: default (1024)
    // Measure the time inside bodies (manta_stats_t.busy_ns); costs two clock reads a task.
    bool measure_busy;
    // At shutdown, write one log line for each ref that the user still holds.
    bool report_leaks;
    manta_allocator_t allocator; // zero: the C library's
    manta_log_fn_t log;          // NULL: stderr, or nothing if MANTA_LOG=off is in the environment
    void *log_user;
    // What tasks can ask for besides CPUs; at most 31, copied.
    const manta_resource_t *resources;
    size_t resource_count;
    // Bytes that tasks with |host_bytes| may use together; 0: as many as they like.
    uint64_t host_bytes;
    // Bound on tasks that are submitted and not complete; 0: none. At the bound a submit from outside of
    // tasks and callbacks waits until one completes (in a serial runtime it runs some), or gives
    // MANTA_WOULD_BLOCK if its options say |no_wait|. Inside tasks and callbacks it counts, and never waits.
    // Tasks in flight that wait for what the submitting thread does next never complete.
    uint64_t max_in_flight;
    // Virtual GPUs. 0: as MANTA_SIM_GPUS=n or MANTA_SIM_MACHINE=FILE in the environment say, else none;
    // n: so many; -1: none.
    int sim_gpus;
    // What they are like, instead of |sim_gpus|: the text of a machine file (devices/sim/README.md), copied. What is
    // wrong in it is told to who asks for a GPU. NULL: none.
    const char *sim_machine;
    // They live on a virtual clock, which one thread at a time steps, always in the same order for the
    // same |sim_seed|.
    bool sim_virtual_clock;
    uint64_t sim_seed;
    bool no_cuda; // leave real GPUs alone
} manta_runtime_options_t;

// Fills in the defaults. Threads: any.
MANTA_API void manta_runtime_options_init(manta_runtime_options_t *options);

// Starts a runtime. |options| NULL: defaults.
//
// Threads: any.  Blocks: while workers start.
// Errors:  INVALID_ARGUMENT, IO machine description or cpuset · OUT_OF_MEMORY · SYSTEM no thread.
MANTA_API MANTA_NODISCARD manta_status_t
manta_runtime_create(const manta_runtime_options_t *options, manta_runtime_t *out_runtime);

// Starts the default runtime with |options|. Optional: first use does it with the defaults.
// Errors:  as manta_runtime_create · ALREADY_EXISTS it runs.
MANTA_API MANTA_NODISCARD manta_status_t manta_init(const manta_runtime_options_t *options);

// The default runtime, started if need be; {0} if it can't be (manta_error_message() says why).
MANTA_API manta_runtime_t manta_runtime_default(void);
// The runtime of the task that this thread runs, else the default one.
MANTA_API manta_runtime_t manta_runtime_current(void);

// Refuses new work from now on: submits and puts give MANTA_ERR_SHUTDOWN. What was accepted goes on,
// and tasks that run may still submit their own subtasks until a shutdown stops them.
// Idempotent. Threads: any, also inside tasks and callbacks. Blocks: never.
MANTA_API manta_status_t manta_runtime_close(manta_runtime_t runtime);

// Waits until every task that was submitted so far, and all that those submit, is complete. The
// caller helps: while it waits it runs queued tasks.
//
// Threads: any, not inside tasks or callbacks (NOT_ALLOWED_HERE).
// Errors:  NOT_READY |timeout_ns| ran out · DEADLOCK serial runtime and nothing can run · SHUTDOWN.
MANTA_API MANTA_NODISCARD manta_status_t manta_runtime_drain(manta_runtime_t runtime,
                                                             int64_t timeout_ns);
// The same for the current runtime. OK at once if no default runtime runs.
MANTA_API MANTA_NODISCARD manta_status_t manta_drain(int64_t timeout_ns);

typedef enum manta_shutdown_mode {
    MANTA_SHUTDOWN_DRAIN = 0, // finish what was accepted
    MANTA_SHUTDOWN_CANCEL     // cancel what is queued, tell what runs, wait for it
} manta_shutdown_mode_t;

// Closes |runtime|, drains or cancels, and frees it. Refs and handles of it are stale afterwards.
// Waiters get MANTA_ERR_SHUTDOWN. Several callers at once are fine: all return when it is done.
//
// Threads: any, not inside its tasks or callbacks (NOT_ALLOWED_HERE).
// Tasks that wait for a promise which nobody finishes hold a drain up; a cancel fails them.
// Errors:  TIMEOUT |timeout_ns| passed; the message lists what still runs; the runtime stays
//          closed and this can be called again · STALE_REF no such runtime (any more).
MANTA_API manta_status_t manta_runtime_shutdown(manta_runtime_t runtime, manta_shutdown_mode_t mode,
                                                int64_t timeout_ns);
// The same for the default runtime, MANTA_SHUTDOWN_DRAIN. OK if it doesn't run.
MANTA_API manta_status_t manta_shutdown(int64_t timeout_ns);

// Says who took the process down. From here on a SIGSEGV, SIGBUS, SIGILL, SIGFPE or SIGABRT on a thread that
// runs a body first writes to |fd|, a line for each body on that thread, the innermost first: the signal and
// the address, the task, or the actor and its method, the attempt, the worker or GPU, and the runtime. Then
// the handler that was there before gets the signal; if there was none the process ends as it would have.
// Nothing is survived. Without this call manta leaves all signal handlers alone. |fd| < 0 takes it back.
//
// A body that ran out of stack can be named on this thread, and on those that come to manta after this call.
// Shape:    for the process, whatever its runtimes; best before the first one. A handler that is put in
//           later should hand on what it does not know.
// Threads:  any.  Blocks: never.
// Errors:   SYSTEM sigaction.
MANTA_API MANTA_NODISCARD manta_status_t manta_crash_report(int fd);

// Counters since start. Relaxed snapshots: exact only when nothing runs.
typedef struct manta_stats {
    size_t struct_size;
    int workers;         // threads that run tasks
    int threads;         // all threads of the runtime now, spares included
    uint64_t submitted;  // tasks
    uint64_t completed;  // tasks, failed and cancelled ones included
    uint64_t failed;     // tasks
    uint64_t stolen;     // tasks taken from another thread's queue
    uint64_t busy_ns;    // time inside bodies over all threads; 0 without measure_busy
    uint64_t live_refs;  // refs that the user holds
    uint64_t live_bytes; // payload bytes of objects that exist
} manta_stats_t;

// Threads: any. |out_stats|->struct_size is set by the caller.
MANTA_API manta_status_t manta_runtime_stats(manta_runtime_t runtime, manta_stats_t *out_stats);

// Writes a line for each object that a user ref keeps alive: id, state, bytes, name of the task that
// made it. Returns how many. |file| NULL only counts. Threads: any. A relaxed snapshot.
MANTA_API size_t manta_runtime_print_refs(manta_runtime_t runtime, FILE *file);

MANTA_END_DECLS

#endif
