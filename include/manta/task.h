// Tasks: the plain descriptor API. What users write is in macros.h; any language can bind to this.
//
// A task function is described once by a manta_task_def_t: its parameters and its bodies. A call is
// the definition plus an *argument image*: a struct with one member per parameter, at the offsets
// that the table names.
#ifndef MANTA_TASK_H
#define MANTA_TASK_H

#include <manta/object.h>

MANTA_BEGIN_DECLS

// The running task, as a body sees it. Valid inside the body only.
typedef struct manta_task manta_task_t;

typedef enum manta_param_kind {
    MANTA_PARAM_VAL = 1, // image: the value. Copied at submit
    MANTA_PARAM_IN,      // image: manta_ref_t. The body reads its elements
    MANTA_PARAM_INOUT, // image: manta_ref_t, taken by the call. The body updates its elements; a result
    MANTA_PARAM_OUT, // nothing in the image. A result; its size comes from manta_variant_t.sizes
    MANTA_PARAM_IN_LIST, // image: manta_ref_list_t. Any number of refs (up to 10 000 in all)
    MANTA_PARAM_LOCAL    // image: a pointer, passed on as it is
} manta_param_kind_t;

typedef struct manta_ref_list {
    const manta_ref_t *refs;
    size_t count;
} manta_ref_list_t;

// One parameter. A row of a constant table; |offset| is that of its member in the image.
typedef struct manta_param {
    const char *name;
    const char *type_name;
    manta_param_kind_t kind;
    manta_dtype_t dtype;
    uint32_t size_bytes; // of the member's type (VAL, LOCAL) or of one element
    uint32_t align;      // of that type
    uint32_t offset;     // into the image; 0 for OUT
} manta_param_t;

// Memory of one argument as a body sees it. For IN_LIST, |data| points to |size_bytes| /
// sizeof(manta_buffer_t) buffers, one per ref.
typedef struct manta_buffer {
    void *data; // writable for INOUT and OUT only
    size_t size_bytes;
} manta_buffer_t;

// One call of a body.
typedef struct manta_call {
    manta_task_t *task;
    const void *args;              // the argument image
    const manta_buffer_t *buffers; // one per IN, INOUT, OUT and IN_LIST parameter, in their order
    void *self;                    // state of the actor whose method this is; NULL: a task
} manta_call_t;

// One implementation of a task function. Lives as long as the definition.
typedef struct manta_variant {
    // Runs the body. What it returns is the status of the task.
    manta_status_t (*invoke)(const manta_call_t *call);
    // Writes the size in bytes of each OUT parameter, in their order; called before |invoke| with the
    // buffers of the others filled in. NULL: all OUTs start empty (manta_out_resize_bytes).
    manta_status_t (*sizes)(const manta_call_t *call, size_t *out_size_bytes);
} manta_variant_t;

// A task function. Static storage; zero what is not set. Registered by use, never unregistered.
typedef struct manta_task_def {
    const char *name;
    const manta_param_t *params;
    uint32_t param_count;
    uint32_t args_bytes;        // size of the argument image
    const manta_variant_t *cpu; // NULL: no such body
    const manta_variant_t *cuda;
    uint64_t plan;                       // private to the runtime; 0 at start
    const struct manta_actor_def *owner; // of a method or constructor (actor.h); NULL: a task
    const char *group;                   // of a method: its concurrency group, or NULL
} manta_task_def_t;

// Where a task may run.
typedef int32_t manta_where_t;
#define MANTA_ANY ((manta_where_t)0)
#define MANTA_CPU ((manta_where_t)1)
#define MANTA_GPU ((manta_where_t)2)
static inline MANTA_UNUSED manta_where_t manta_gpu(int index)
{
    return (manta_where_t)(16 + index);
}

// Resource amounts: 0 is the default of the field, MANTA_NONE really none.
#define MANTA_NONE (-1.0)

// Four bands. Of what is ready, urgent and high go before normal, low comes when nothing else is there. Every
// 64th pick takes from a lower band, so nothing starves.
typedef enum manta_priority {
    MANTA_PRIORITY_LOW = -1,
    MANTA_PRIORITY_NORMAL = 0,
    MANTA_PRIORITY_HIGH = 1,
    MANTA_PRIORITY_URGENT = 2
} manta_priority_t;

// Which failures of a body are worth another attempt; flags. What never is: that it was cancelled, its
// deadline, a shutdown, a deadlock, and calls that were wrong (codes below MANTA_ERR_OUT_OF_MEMORY).
typedef enum manta_retry {
    MANTA_RETRY_ANY = 0,             // all of the below
    MANTA_RETRY_USER = 1u << 0,      // MANTA_ERR_USER + n
    MANTA_RETRY_EXCEPTION = 1u << 1, // a C++ exception
    MANTA_RETRY_TIMEOUT = 1u << 2,   // run_timeout_ns
    MANTA_RETRY_MEMORY = 1u << 3,    // OUT_OF_MEMORY, RESOURCE_EXHAUSTED
    MANTA_RETRY_SYSTEM = 1u << 4     // IO, SYSTEM, a lost device, and the rest
} manta_retry_t;

// How to run one call. Zero is the default everywhere; MANTA_OPTIONS(.cpus = 2) makes one.
typedef struct manta_task_options {
    size_t struct_size;
    manta_runtime_t runtime; // {0}: the current one
    const char *name;        // instead of the definition's, in messages; borrowed until completion
    manta_where_t where;
    // CPUs. 0: one, a worker. n > 1: that many close workers, whose cpuset the body gets. Between 0
    // and 1, or MANTA_NONE: a thread outside the workers, for work that mostly waits.
    double cpus;
    // What it holds of GPUs while it runs: up to 1, a share of one, or several whole ones. For CPU bodies that use a
    // GPU by themselves, which ask manta_task_gpus() which; and to bound how many tasks use one at a time. Tasks
    // that ask for nothing just queue up on a device beside others. Which GPU: with .where = manta_gpu(i) that one;
    // else the fullest with room, so that whole ones stay whole. A body on a device runs on the GPU
    // that it has a share of. Admission and lending as for |resources|.
    double gpus;
    manta_priority_t
        priority; // not for tasks with more or less than one CPU: those queue up by age
    // From submit until the result is there, over queue and all attempts. When it passes the refs fail at
    // once with MANTA_ERR_DEADLINE, the body and what it has submitted are told as by manta_cancel().
    // 0 or MANTA_FOREVER: none.
    int64_t deadline_ns;
    // For each run of the body, from its start. When it passes the body is told (manta_cancelled()) and its
    // result will be dropped; buffers and CPU stay with it until it returns. Then the next attempt starts, if
    // one is left; else the refs have failed at once with MANTA_ERR_TIMEOUT. 0 or MANTA_FOREVER: none.
    int64_t run_timeout_ns;
    // How often the body is run again after it failed. Until the last attempt it works on copies of INOUT
    // arguments. What a failed attempt has submitted goes on. A body that has forwarded its result has
    // succeeded.
    //
    // When a GPU is lost: what had not begun there (its body has enqueued nothing) runs on another one, or as its CPU
    // body, wherever it may run and its arguments have a replica; it needs no retries for that. What was in
    // flight fails with MANTA_ERR_DEVICE_LOST, unless it has retries left, on that code or
    // MANTA_RETRY_SYSTEM: then it runs elsewhere under the same conditions. If they don't hold
    // it fails at once, without a back-off.
    int32_t max_retries;
    uint32_t retry_on; // manta_retry_t flags
    // Codes to retry on besides; without flags only these. At most 8, copied.
    const manta_status_t *retry_codes;
    size_t retry_code_count;
    // The pause before the second attempt; each further one is |backoff_factor| (0: 2) times as long, at
    // most |backoff_max_ns| (0: no bound). 0: none.
    int64_t backoff_ns;
    double backoff_factor;
    int64_t backoff_max_ns;
    // What it holds while its body runs: named resources that the runtime has (.resources[0] =
    // manta_resource("license", 1)) and bytes of its |host_bytes|. It starts when all of it is free, first
    // come first served. More than there is at all is refused with INFEASIBLE. While the body waits for
    // ever in manta_get() or manta_wait(), what it holds is lent to the tasks that it waits for. If tasks
    // hold what the others need and none can go on, the youngest that waits to be admitted fails with
    // OUT_OF_MEMORY.
    manta_resource_t resources[4];
    uint64_t host_bytes;
    // Parameters whose failed arguments do not fail the task, for clean-up and aggregation: a bit for each of
    // the first 64, MANTA_ACCEPT_ALL for all. Of IN and IN_LIST parameters only. The body sees an empty
    // buffer and may ask manta_arg_status().
    uint64_t accept_failed;
    bool no_wait; // WOULD_BLOCK instead of a wait at the runtime's max_in_flight
    // Bytes of device memory that it needs while it runs on a GPU, of what such tasks may use together there
    // (manta_runtime_options_t.gpu_bytes); as |host_bytes| otherwise. A task that may run on any GPU is given
    // to the one that has most of them left when it is submitted. Nothing on a CPU.
    uint64_t gpu_bytes;
} manta_task_options_t;
#define MANTA_ACCEPT_ALL    UINT64_MAX
#define MANTA_ACCEPT(index) ((uint64_t)1 << (index))

typedef struct manta_task_desc {
    size_t struct_size;
    manta_task_def_t *task;
    const void *args; // the image, |args_bytes| long; copied
    size_t args_bytes;
    const manta_task_options_t *options; // NULL: defaults; copied
} manta_task_desc_t;

// Submits one call. Writes one ref per result to |out_results|: results are the INOUT and OUT
// parameters in order; a task without any has one, the completion ref. |result_count| is the room
// there; 0 gives the results up at once (fire and forget).
//
// Owns:    INOUT refs are taken, only if the call returns OK. Other refs stay the caller's.
// Threads: any.  Blocks: never, but at a runtime's max_in_flight.  Calls user code: no (there, in a
//          serial runtime: bodies).
// Errors:  STALE_REF, TYPE_MISMATCH (names task and argument) · INFEASIBLE · INVALID_ARGUMENT ·
//          OUT_OF_MEMORY · SHUTDOWN · WOULD_BLOCK · SYSTEM no thread for deadlines.
MANTA_API MANTA_NODISCARD manta_status_t manta_submit(const manta_task_desc_t *desc,
                                                      manta_ref_t *out_results,
                                                      size_t result_count);

// The same for generated code: failures come back as error refs in all of |out_results|, and INOUT
// refs are taken in any case.
MANTA_API void manta_submit_call(manta_task_def_t *task, const manta_task_options_t *options,
                                 const void *args, size_t args_bytes, manta_ref_t *out_results,
                                 size_t result_count);

// Runs the body once for every index in [0, count) with the same arguments; the body asks
// manta_task_index(). Gives one completion ref; the first error fails it, and skips what has not
// started. |grain|: indices that run in one go, 0 lets the runtime choose. No INOUT, no OUT.
// Error refs as for manta_submit_call.
MANTA_API MANTA_NODISCARD manta_ref_t manta_submit_range(manta_task_def_t *task,
                                                         const manta_task_options_t *options,
                                                         const void *args, size_t args_bytes,
                                                         size_t count, size_t grain);
// The same over an array of |count| argument images, |args_bytes| each, without refs in them (VAL and
// LOCAL only); the array is copied.
MANTA_API MANTA_NODISCARD manta_ref_t manta_submit_array(manta_task_def_t *task,
                                                         const manta_task_options_t *options,
                                                         const void *args, size_t args_bytes,
                                                         size_t count, size_t grain);

// Cancels the task that makes |ref|. Queued: it never runs. Running: manta_cancelled() turns true, its
// waits end with MANTA_ERR_WAIT_CANCELLED, and its results are dropped; the body keeps its buffers until it
// returns. In either case its refs fail with MANTA_ERR_CANCELLED at once. Complete: OK, no effect.
//
// The tasks that it has submitted are cancelled as well, and theirs: each when it next comes up to run,
// submits, waits or asks manta_cancelled(), and all of them by a small job that a worker runs soon. A task
// whose submitter had completed before is on its own. Needs no memory.
// Threads: any.  Blocks: never.
// Errors:  STALE_REF · INVALID_ARGUMENT |ref| was not made by a task.
MANTA_API manta_status_t manta_cancel(manta_ref_t ref);

typedef struct manta_cancel_options {
    size_t struct_size;
    bool keep_children; // what the task has submitted goes on
} manta_cancel_options_t;
// The same with options; NULL: defaults.
MANTA_API manta_status_t manta_cancel_with(manta_ref_t ref, const manta_cancel_options_t *options);

// ---- generators -----------------------------------------------------------------------------

// A stream of values that one function makes, a step at a time. Each step is a task of its own, which starts
// when the one before is complete: between steps no thread is held. A handle; copies are as good.
// MANTA_GENERATOR (detail/generator.h) makes typed ones.
typedef struct manta_generator {
    uint64_t id;
} manta_generator_t;

typedef struct manta_generator_desc {
    size_t struct_size;
    const char *name; // for messages; static
    // Makes the next value: manta_yield(), or manta_out_resize_bytes() of OUT 0. Returns MANTA_OK;
    // MANTA_ERR_END if there are no more; any other code fails this value and ends the stream.
    manta_status_t (*step)(manta_task_t *task, void *state);
    void *state; // of the steps; never used by two threads at once
    // Runs once, when the generator was released and no step runs: in that call, or where the last step ran.
    void (*destroy)(void *state);
    manta_dtype_t dtype; // of the values
    // How many values are made before anybody takes them; 0: 1.
    uint32_t run_ahead;
    const manta_task_options_t
        *options; // of each step, NULL: defaults; copied, but for what it points to
    // Refs of the steps' runtime that the first step is not started before; if one fails, so does the first value.
    const manta_ref_t *inputs;
    size_t input_count; // at most 10 000
} manta_generator_desc_t;

// Starts a generator. Its first |run_ahead| steps are submitted at once, each further one when a value is
// taken. Threads: any. Errors: INVALID_ARGUMENT · OUT_OF_MEMORY · RESOURCE_EXHAUSTED more than 4096 of them
// · those of a submit.
MANTA_API MANTA_NODISCARD manta_status_t manta_generator_create(const manta_generator_desc_t *desc,
                                                                manta_generator_t *out_generator);
// Waits for the next value and gives its ref, which is the caller's. A wait for ever may run steps. A failed
// value is given as a failed ref, and is the last. Threads: any; several take turns.
// Errors: MANTA_ERR_END · CANCELLED after manta_generator_cancel() · as manta_get, for the wait.
MANTA_API MANTA_NODISCARD manta_status_t manta_generator_next(manta_generator_t generator,
                                                              manta_ref_t *out_ref,
                                                              int64_t timeout_ns);
// Ends the stream: steps that are queued never run, one that runs is told. Blocks: never.
MANTA_API manta_status_t manta_generator_cancel(manta_generator_t generator);
// Cancels it and gives the handle up. Values that were taken stay. Errors: STALE_REF.
MANTA_API manta_status_t manta_generator_release(manta_generator_t generator);
// In a step: copies |size_bytes| bytes as the value. Only the last call counts.
MANTA_API MANTA_NODISCARD manta_status_t manta_yield(manta_task_t *task, const void *data,
                                                     size_t size_bytes);

// ---- inside a body --------------------------------------------------------------------------

// Fails the task with |code| and a message: return manta_fail(task, MANTA_ERR_USER + 3, "row %d", i);
// |task| NULL: the one whose body is running on this thread; outside bodies only manta_error_message()
// is set.
MANTA_API manta_status_t manta_fail(manta_task_t *task, manta_status_t code, const char *format,
                                    ...) __attribute__((format(printf, 3, 4)));
// The task's (first) result becomes |ref|, whenever that is ready: recursion without waiting. |ref|
// stays the caller's (its scope releases it). Only the last call counts. Only for tasks with one
// result that is not INOUT.
MANTA_API manta_status_t manta_forward(manta_task_t *task, manta_ref_t ref);
// Sets the size of OUT parameter |out_index| (0 is the first OUT) and gives its buffer. Keeps what fits.
MANTA_API MANTA_NODISCARD manta_status_t manta_out_resize_bytes(manta_task_t *task,
                                                                uint32_t out_index,
                                                                size_t size_bytes,
                                                                manta_buffer_t *out_buffer);
MANTA_API bool manta_cancelled(const manta_task_t *task);
MANTA_API size_t manta_task_index(const manta_task_t *task); // in a range or array; else 0
MANTA_API int manta_attempt(const manta_task_t *task);       // 0 is the first; see max_retries
MANTA_API const char *manta_task_name(const manta_task_t *task);
MANTA_API manta_runtime_t manta_task_runtime(const manta_task_t *task);
// How the argument of parameter |index| is, with the option accept_failed: MANTA_OK or what it failed with;
// of an IN_LIST the first that has failed. OUT_OF_RANGE: there is no such parameter.
MANTA_API manta_status_t manta_arg_status(const manta_task_t *task, uint32_t index);
// The same for one ref of an IN_LIST; |item| 0 for an IN.
MANTA_API manta_status_t manta_arg_item_status(const manta_task_t *task, uint32_t index,
                                               size_t item);
// Its error, retained for the caller; NULL if it has not failed.
MANTA_API const manta_error_t *manta_arg_error(const manta_task_t *task, uint32_t index,
                                               size_t item);
// The worker that runs the body, from 0; -1 on a thread that is not a worker.
MANTA_API int manta_task_worker(const manta_task_t *task);
// OS numbers of the processors that are the body's; returns how many, writes up to |n|.
MANTA_API size_t manta_task_cpus(const manta_task_t *task, int *out_pus, size_t n);
// Tells that this thread will block outside manta until _end: its core goes to another thread.
MANTA_API void manta_blocking_begin(manta_task_t *task);
MANTA_API void manta_blocking_end(manta_task_t *task);

MANTA_END_DECLS

#endif
