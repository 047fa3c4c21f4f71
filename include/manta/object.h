// Objects and refs: put, create, get, read, wait, promises, scopes, completion queues.
//
// An object is an immutable sealed value; a ref is a counted handle to it, and exists before the
// value does. All functions are thread-safe. A ref that was released, or made up, gives
// MANTA_ERR_STALE_REF, never a crash.
#ifndef MANTA_OBJECT_H
#define MANTA_OBJECT_H

#include <manta/runtime.h>

MANTA_BEGIN_DECLS

// A counted handle: copying the struct does not count, manta_retain() does. Local to the process.
// An *error ref* carries a status code itself: get, wait, submit and release accept it.
typedef struct manta_ref {
    uint64_t id;
} manta_ref_t;

#define MANTA_REF_NULL_ID 0u

// Element types. A dtype is its code and its element size: MANTA_DTYPE(MANTA_F32, 4).
typedef enum manta_dtype_code {
    MANTA_UNTYPED = 0, // fits every parameter whose element size divides the object's size
    MANTA_OPAQUE,      // a type of the user's; compared by size
    MANTA_BOOL,
    MANTA_I8,
    MANTA_U8,
    MANTA_I16,
    MANTA_U16,
    MANTA_I32,
    MANTA_U32,
    MANTA_I64,
    MANTA_U64,
    MANTA_F16,
    MANTA_BF16,
    MANTA_F32,
    MANTA_F64,
    MANTA_C64,
    MANTA_C128
} manta_dtype_code_t;

typedef uint32_t manta_dtype_t; // code in the top 8 bits, element size in bytes below (0 if > 2^24)
#define MANTA_DTYPE(code, size_bytes)                                                              \
    (((manta_dtype_t)(code) << 24) | (manta_dtype_t)((size_bytes) < (1u << 24) ? (size_bytes) : 0u))
#define MANTA_DTYPE_CODE(dtype) ((dtype) >> 24)
#define MANTA_DTYPE_SIZE(dtype) ((dtype)&0xffffffu)

// ---- values ---------------------------------------------------------------------------------

// Copies |size_bytes| bytes into a new sealed object of the current runtime. Zero bytes is fine.
//
// Owns:    the caller owns the ref (the innermost scope releases it, see MANTA_SCOPE).
// Errors:  an error ref: INVALID_ARGUMENT data NULL with size > 0 · OUT_OF_MEMORY · SHUTDOWN.
// The typed spelling manta_put(ptr, size_bytes), which takes the element type from the pointer, is
// in macros.h.
MANTA_API MANTA_NODISCARD manta_ref_t manta_put_typed(const void *data, size_t size_bytes,
                                                      manta_dtype_t dtype);
MANTA_API MANTA_NODISCARD manta_ref_t(manta_put)(const void *data, size_t size_bytes);
// The same in a given runtime.
MANTA_API MANTA_NODISCARD manta_ref_t manta_put_in(manta_runtime_t runtime, const void *data,
                                                   size_t size_bytes, manta_dtype_t dtype);

// Hands out a writable buffer of |size_bytes| of the store, 64-byte aligned (16 up to 16 bytes).
// The ref is pending until manta_seal(); |*out_data| is valid until then.
// Errors:  OUT_OF_MEMORY · SHUTDOWN · INVALID_ARGUMENT.
MANTA_API MANTA_NODISCARD manta_status_t manta_create(size_t size_bytes, manta_dtype_t dtype,
                                                      manta_ref_t *out_ref, void **out_data);
// Makes the created object readable; it can't be written any more. Errors: STALE_REF ·
// INVALID_ARGUMENT not an unsealed created object.
MANTA_API manta_status_t manta_seal(manta_ref_t ref);
// Gives a created object or a promise up: its ref fails with |code| (MANTA_ERR_ABANDONED if MANTA_OK).
MANTA_API manta_status_t manta_abandon(manta_ref_t ref, manta_status_t code);

// Adopts |data| as a sealed object without copying it. |deleter|, if not NULL, runs exactly once, when
// nobody holds the object any more: on a worker, on a thread that drains or shuts down, or in a serial
// runtime inside a wait. It may submit, not wait.
// The bytes are read-only until then, for the user too.
typedef void (*manta_deleter_fn_t)(void *data, size_t size_bytes, void *user);
MANTA_API MANTA_NODISCARD manta_ref_t manta_wrap(void *data, size_t size_bytes, manta_dtype_t dtype,
                                                 manta_deleter_fn_t deleter, void *user);

// A part of a sealed object, [offset_bytes, offset_bytes + size_bytes); shares its memory and keeps
// it alive. Waits for its bytes if they are on a device only. |ref| stays the caller's. Error refs: OUT_OF_RANGE · NOT_READY |ref| is pending · STALE_REF.
MANTA_API MANTA_NODISCARD manta_ref_t manta_slice(manta_ref_t ref, size_t offset_bytes,
                                                  size_t size_bytes);

// ---- reading --------------------------------------------------------------------------------

// A read-only window on a sealed object. The bytes stay where they are until it is released.
typedef struct manta_view {
    const void *data; // NULL if size_bytes is 0
    size_t size_bytes;
    size_t count; // elements, by dtype; bytes if untyped
    manta_dtype_t dtype;
    uint64_t pin; // private
} manta_view_t;

// Waits for |ref| and gives a view of its value, valid until manta_view_release() or the end of the
// innermost scope.
//
// Blocks:  up to |timeout_ns| (0: never). A wait for ever may run the awaited task, or something
//          that it depends on, on this thread; a timed wait never runs tasks.
// Errors:  NOT_READY |timeout_ns| ran out · WAIT_CANCELLED this task was cancelled · DEADLOCK ·
//          TOO_DEEP · SHUTDOWN · NOT_ALLOWED_HERE in a callback · any other code is the object's own.
MANTA_API MANTA_NODISCARD manta_status_t manta_get(manta_ref_t ref, manta_view_t *out_view,
                                                   int64_t timeout_ns);
// Ends |view|; a second time is fine, and so is NULL.
MANTA_API void manta_view_release(manta_view_t *view);

// Waits for |ref| and copies its |size_bytes| bytes into |dst|. Errors: as manta_get ·
// TYPE_MISMATCH the object has another size.
MANTA_API MANTA_NODISCARD manta_status_t manta_read(manta_ref_t ref, void *dst, size_t size_bytes,
                                                    int64_t timeout_ns);

// Waits until |k| of |n| refs are ready; a failed one counts as ready. Writes the indices of those
// that are ready, in the order of |refs| and at most |n|, to |out_ready| (may be NULL), and how many
// to |out_count| (may be NULL). Both are also written with NOT_READY.
MANTA_API MANTA_NODISCARD manta_status_t manta_wait(const manta_ref_t *refs, size_t n, size_t k,
                                                    int64_t timeout_ns, size_t *out_ready,
                                                    size_t *out_count);

// How |ref| stands now: MANTA_NOT_READY, MANTA_OK, or the object's error. Blocks: never.
MANTA_API manta_status_t manta_ref_status(manta_ref_t ref);
// Size of a sealed object in bytes; of a pending one, if it is known, else NOT_READY.
MANTA_API manta_status_t manta_ref_size(manta_ref_t ref, size_t *out_size_bytes);
// The error of a failed ref, retained for the caller; NULL if it has not failed, or failed without
// detail for want of memory. The first in the chain is the dependent itself, its cause the failed
// argument's task, and so on to the root.
MANTA_API const manta_error_t *manta_ref_error(manta_ref_t ref);
// Prints what happened, the root first, then through whom it came here.
MANTA_API void manta_ref_print_error(manta_ref_t ref, FILE *file);

// ---- holding --------------------------------------------------------------------------------

// Adds a count for the user: one more manta_release() is due. Gives |ref| back; an error ref if
// |ref| is stale.
MANTA_API manta_ref_t manta_retain(manta_ref_t ref);
// Gives one count back and takes the ref out of its scope. Releasing a pending ref does not cancel
// its task. Null and error refs are fine. Errors: STALE_REF · OUT_OF_MEMORY this thread's first call in
// the runtime; the count stays, call again.
MANTA_API manta_status_t manta_release(manta_ref_t ref);
// Takes |ref| out of the scopes of this context: the caller owns it. The way out of a scope:
// return manta_keep(r);
MANTA_API manta_ref_t manta_keep(manta_ref_t ref);

// A scope releases what was handed out inside it: MANTA_SCOPE(); at the start of a block. Every body
// has one of its own. Scopes of one thread nest; leave in reverse order.
typedef struct manta_scope {
    size_t mark;
    size_t outer;
} manta_scope_t;
MANTA_API void manta_scope_enter(manta_scope_t *out_scope);
MANTA_API void manta_scope_leave(manta_scope_t *scope);

// ---- promises -------------------------------------------------------------------------------

// A pending ref that is finished from outside, exactly once: by manta_promise_set (copies the bytes),
// manta_promise_fail, manta_promise_forward, or manta_abandon. Finishing is refused with
// ALREADY_EXISTS the second time. A promise whose last user ref is released unfinished is abandoned.
MANTA_API MANTA_NODISCARD manta_ref_t manta_promise_create(manta_dtype_t dtype);
MANTA_API manta_status_t manta_promise_set(manta_ref_t promise, const void *data,
                                           size_t size_bytes);
MANTA_API manta_status_t manta_promise_fail(manta_ref_t promise, manta_status_t code,
                                            const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// The promise becomes |ref|, now or when that is ready. |ref| stays the caller's.
MANTA_API manta_status_t manta_promise_forward(manta_ref_t promise, manta_ref_t ref);

// ---- being told -----------------------------------------------------------------------------

// Runs |fn| once, on a worker, when |ref| is ready or failed; also at shutdown. Never inside this
// call. |fn| may submit, not wait. In a serial runtime it runs inside a wait or drain. |ref| is only
// borrowed by |fn|.
typedef void (*manta_ready_fn_t)(manta_ref_t ref, manta_status_t status, void *user);
MANTA_API MANTA_NODISCARD manta_status_t manta_on_ready(manta_ref_t ref, manta_ready_fn_t fn,
                                                        void *user);

// A completion queue: refs are added with a tag; ready ones come out in the order in which they
// became ready. Its descriptor is readable while something is in it (one eventfd, level-triggered).
typedef struct manta_cq {
    uint64_t id;
} manta_cq_t;
typedef struct manta_cq_entry {
    manta_ref_t ref; // borrowed: as valid as the user keeps it
    uint64_t tag;
    manta_status_t status; // MANTA_OK or the object's error
} manta_cq_entry_t;
MANTA_API MANTA_NODISCARD manta_status_t manta_cq_create(manta_cq_t *out_cq);
MANTA_API MANTA_NODISCARD manta_status_t manta_cq_add(manta_cq_t cq, manta_ref_t ref, uint64_t tag);
// Takes up to |n| entries; waits up to |timeout_ns| for the first. Runs tasks only in a serial runtime, and
// inside a task that waits for ever while no other thread can be had to run them.
// Errors: NOT_READY none came · STALE_REF · SHUTDOWN · WAIT_CANCELLED the task that calls was cancelled, or its
// runtime is shut down by cancelling.
MANTA_API MANTA_NODISCARD manta_status_t manta_cq_next(manta_cq_t cq, manta_cq_entry_t *out_entries,
                                                       size_t n, size_t *out_count,
                                                       int64_t timeout_ns);
MANTA_API int manta_cq_fd(manta_cq_t cq); // -1 if |cq| is stale; borrowed until destroy
MANTA_API manta_status_t manta_cq_destroy(manta_cq_t cq);

MANTA_END_DECLS

#endif
