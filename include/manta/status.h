// Status codes, error scopes and error objects.
//
// Every call returns a manta_status_t (0 is OK) or a value with an invalid form. The detail of a
// call that failed on this thread is manta_error_message(). Work that failed elsewhere keeps its
// detail in the refs that it was to produce: an immutable, counted manta_error_t with a cause.
#ifndef MANTA_STATUS_H
#define MANTA_STATUS_H

#include <manta/version.h>

MANTA_BEGIN_DECLS

// Positive codes below MANTA_ERR_USER are manta's own; MANTA_ERR_USER + n belong to users.
enum manta_status {
    MANTA_OK = 0,
    // Expected outcomes: nothing failed.
    MANTA_NOT_READY = 1,   // this wait ran out, the ref is still pending
    MANTA_WOULD_BLOCK = 2, // a bound is reached and the caller asked not to wait
    // The call was wrong (scope CALL); nothing changed.
    MANTA_ERR_INVALID_ARGUMENT = 10,
    MANTA_ERR_STALE_REF = 11,     // released, over-released, of a dead runtime, or made up
    MANTA_ERR_TYPE_MISMATCH = 12, // element type or size of an argument does not fit
    MANTA_ERR_INFEASIBLE = 13,    // asks for more than this machine can ever give
    MANTA_ERR_NOT_SUPPORTED = 14, // not in this build, or not on this machine
    MANTA_ERR_NOT_ALLOWED_HERE =
        15, // this call is not for this context (say, a wait in a callback)
    MANTA_ERR_NOT_FOUND = 16,
    MANTA_ERR_ALREADY_EXISTS = 17,
    MANTA_ERR_OUT_OF_RANGE = 18,
    // The work failed or will never be done.
    MANTA_ERR_OUT_OF_MEMORY = 30,
    MANTA_ERR_RESOURCE_EXHAUSTED = 31,
    MANTA_ERR_CANCELLED = 32,      // the task or object was cancelled
    MANTA_ERR_WAIT_CANCELLED = 33, // the task that *waits* was cancelled
    MANTA_ERR_TIMEOUT = 34,        // a run took longer than it may, or a shutdown
    MANTA_ERR_DEADLOCK = 35,       // a wait that can never end: it waits for itself
    MANTA_ERR_TOO_DEEP = 36,       // too little stack to nest, and nobody else can run the task
    MANTA_ERR_EXCEPTION = 37,      // a C++ exception came out of a body
    MANTA_ERR_ABANDONED = 38,      // a promise or buffer was given up without a value
    MANTA_ERR_SHUTDOWN = 39,       // the runtime is closed
    MANTA_ERR_FORKED = 40,         // this process is a fork of the one that the runtime runs in
    MANTA_ERR_DEVICE_LOST = 41,
    MANTA_ERR_RESOURCE_GONE = 42,
    MANTA_ERR_IO = 43,
    MANTA_ERR_SYSTEM = 44,   // an operating system call failed; the message says which
    MANTA_ERR_INTERNAL = 45, // a bug in manta
    MANTA_ERR_DEADLINE = 46, // the task's deadline passed before it was done
    MANTA_ERR_END = 47,      // a generator has no more values
    // Actors.
    MANTA_ERR_ACTOR_DIED = 60,       // it has ended for good; the cause says why
    MANTA_ERR_ACTOR_RESTARTING = 61, // it failed, and is being started again
    MANTA_ERR_ACTOR_BUSY = 62,       // as many calls wait as it accepts (max_pending)
    MANTA_ACTOR_FATAL = 63,          // returned by a method: its actor is broken and dies
    // A task may return MANTA_ERR_USER + n, n from 0 to 2^30.
    MANTA_ERR_USER = 1 << 20
};

// A plain int, so that MANTA_ERR_USER + 3 is one in C++ too.
typedef int manta_status_t;

// The largest thing that is lost with a failure; what retry logic reads.
typedef enum manta_scope_kind {
    MANTA_SCOPE_CALL = 0,
    MANTA_SCOPE_TASK,
    MANTA_SCOPE_OBJECT,
    MANTA_SCOPE_ACTOR,
    MANTA_SCOPE_DEVICE,
    MANTA_SCOPE_RUNTIME
} manta_scope_kind_t;

// Immutable and counted. Obtained with manta_ref_error().
typedef struct manta_error manta_error_t;

// Returns the name of |status|, e.g. "MANTA_ERR_STALE_REF"; "MANTA_ERR_USER" for all user codes,
// "unknown status" for anything else. Static storage. Threads: any.
MANTA_API const char *manta_status_name(manta_status_t status);

// Returns the detail of the last call that failed on this thread, "" if none did. Valid until the
// next manta call on this thread. Threads: any.
MANTA_API const char *manta_error_message(void);

// The parts of an error. NULL gives MANTA_OK, "" or NULL. Strings live as long as |error|.
// Threads: any. Blocks: never.
MANTA_API manta_status_t manta_error_code(const manta_error_t *error);
MANTA_API manta_scope_kind_t manta_error_scope(const manta_error_t *error);
MANTA_API const char *manta_error_text(const manta_error_t *error);
MANTA_API const char *manta_error_task(const manta_error_t *error);  // name of the task, "" if none
MANTA_API const char *manta_error_place(const manta_error_t *error); // "worker 3", "" if unknown
MANTA_API int manta_error_attempt(const manta_error_t *error);       // 0 is the first
MANTA_API const manta_error_t *manta_error_cause(const manta_error_t *error); // borrowed, or NULL

// Takes / gives back a count. NULL is fine. Threads: any.
MANTA_API const manta_error_t *manta_error_retain(const manta_error_t *error);
MANTA_API void manta_error_release(const manta_error_t *error);

MANTA_END_DECLS

#endif
