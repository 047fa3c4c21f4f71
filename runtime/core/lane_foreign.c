// Joining user code that owns streams and device memory. In both directions a task of ours stands in for it on
// the device: it is ordered, placed and failed like any other, and its body puts the one wait that is wanted
// between its own stream and the user's.
//
// Memory of others has a block of its own kind: no heap's, INOUT never updates it in place, and when nobody holds
// it any more the deleter is called once what uses it is done.
#include "core/lane_impl.h"

#include <manta/kernel.h>

static manta_status_t fail_no_cuda(const char *what)
{
    return mti_fail(MANTA_ERR_NOT_SUPPORTED, "%s: this runtime has no CUDA device", what);
}

static bool lane_is_native(const mti_lane_t *lane)
{
    return mti_device_can(lane->device, MTI_CAP_NATIVE);
}

// ---- a stream of the user's waits ----------------------------------------------------------------

typedef struct wait_args {
    void *stream;
    manta_ref_t promise; // gets the answer once the stream waits
    manta_ref_t ref;
} wait_args_t;

typedef struct wait_answer {
    void *data;
    uint64_t size_bits; // bytes; WAIT_COPIED: in the result of our task
} wait_answer_t;
#define WAIT_COPIED ((uint64_t)1 << 63)

// A small value has no place of its own on the device. Our result becomes one.
static manta_status_t wait_copy(mti_op_t *op, const mti_object_t *object, void **out_data)
{
    mti_lane_t *lane = op->lane;
    size_t size = mti_object_size(object);
    mti_block_t *block;
    mti_fence_t ready;
    manta_status_t status = mti_lane_upload(lane, object->u.bytes, size, &block, &ready);
    if (status != MANTA_OK) return status;
    status = mti_lane_queue_after(lane, op->queue, ready);
    mti_tier_t *tier = NULL;
    if (status == MANTA_OK && !(tier = mti_tier_create(lane->lanes, op->run.results[0], size)))
        status = mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory to keep track of a copy");
    if (status != MANTA_OK) {
        mti_devheap_free(block);
        return status;
    }
    tier->at[lane->index].block = block;
    *out_data = block->ptr;
    return MANTA_OK;
}

static manta_status_t wait_invoke(const manta_call_t *call)
{
    const wait_args_t *args = call->args;
    mti_op_t *op = mti_op_current;
    const mti_object_t *object = mti_object_held(args->ref);
    wait_answer_t answer = {call->buffers[0].data, call->buffers[0].size_bytes};
    manta_status_t status = MANTA_OK;
    if (answer.size_bits && !mti_object_tier(object)) {
        status = wait_copy(op, object, &answer.data);
        answer.size_bits |= WAIT_COPIED;
    }
    op->enqueued = true;
    if (status == MANTA_OK) status = mti_foreign_after(op->queue->queue, args->stream);
    if (status != MANTA_OK) return status;
    // If nobody waits any more the promise is gone.
    (void)manta_promise_set(args->promise, &answer, sizeof answer);
    return MANTA_OK;
}

static const manta_param_t wait_params[] = {
    {"stream", "void *", MANTA_PARAM_LOCAL, 0, sizeof(void *), _Alignof(void *),
     offsetof(wait_args_t, stream)},
    {"promise", "manta_ref_t", MANTA_PARAM_VAL, 0, sizeof(manta_ref_t), _Alignof(manta_ref_t),
     offsetof(wait_args_t, promise)},
    {"ref", "void", MANTA_PARAM_IN, MANTA_UNTYPED, 1, 1, offsetof(wait_args_t, ref)},
    {"copy", "void", MANTA_PARAM_OUT, MANTA_UNTYPED, 1, 1, 0}};
static const manta_variant_t wait_variant = {wait_invoke, NULL};
static manta_task_def_t wait_def = {.name = "manta_cuda_wait",
                                    .params = wait_params,
                                    .param_count = sizeof wait_params / sizeof wait_params[0],
                                    .args_bytes = sizeof(wait_args_t),
                                    .cuda = &wait_variant};

// The lane whose device |stream| is of; |*out_index|.
static manta_status_t lane_of_stream(const mti_lanes_t *lanes, void *stream, uint32_t *out_index)
{
    bool any = false;
    for (uint32_t i = 0; i < lanes->count; i++) {
        bool here = false;
        if (!lane_is_native(&lanes->lane[i])) continue;
        any = true;
        manta_status_t status = mti_foreign_stream(lanes->lane[i].device, stream, &here);
        if (status != MANTA_OK) return status;
        *out_index = i;
        if (here) return MANTA_OK;
    }
    if (!any) return fail_no_cuda("cuda_wait");
    return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                    "cuda_wait: stream %p is not of one of the runtime's devices", stream);
}

// Waits until our task has been submitted (|*out_answer|), or has failed before.
static manta_status_t wait_for_answer(manta_ref_t promise, manta_ref_t task,
                                      wait_answer_t *out_answer)
{
    manta_ref_t refs[] = {promise, task};
    manta_status_t status = manta_wait(refs, 2, 1, MANTA_FOREVER, NULL, NULL);
    if (status != MANTA_OK) return status;
    if (manta_ref_status(promise) == MANTA_OK)
        return manta_read(promise, out_answer, sizeof *out_answer, 0);
    status = manta_ref_status(task);
    if (status == MANTA_OK) return mti_fail(MANTA_ERR_INTERNAL, "cuda_wait: no answer");
    const manta_error_t *error = manta_ref_error(task);
    (void)mti_fail(status, "%s", manta_error_text(error));
    manta_error_release(error);
    return status;
}

// A view of the object |id|, of which the caller gives one internal count; entered.
static void view_make(mti_thread_t *thread, uint64_t id, manta_dtype_t dtype, void *data,
                      size_t size, manta_view_t *out_view)
{
    size_t each = MANTA_DTYPE_SIZE(dtype);
    *out_view = (manta_view_t){.data = size ? data : NULL,
                               .size_bytes = size,
                               .count = each ? size / each : size,
                               .dtype = dtype,
                               .pin = id};
    if (!thread->scope_mark) return;
    thread->scopes[thread->scope_count++] = (mti_scope_entry_t){id, true};
    out_view->pin |= (uint64_t)1 << 63; // in a scope
}

// The rest of the wait, with a count of |object| that is given, and the runtime kept.
static manta_status_t wait_on(mti_thread_t *thread, mti_ctx_t *ctx, void *stream,
                              mti_object_t *object, manta_view_t *out_view)
{
    mti_lanes_t *lanes;
    uint32_t index = 0;
    wait_answer_t answer = {0};
    manta_runtime_t runtime = mti_runtime_handle(ctx->rt);
    manta_ref_t promise = {0}, task = {0};
    manta_status_t status = mti_lanes_start(ctx->rt, &lanes);
    if (status == MANTA_OK) status = lane_of_stream(lanes, stream, &index);
    if (status == MANTA_OK) {
        promise = mti_promise_create(runtime, MANTA_UNTYPED);
        if (mti_ref_is_error(promise)) status = mti_ref_error_code(promise);
    }
    if (status == MANTA_OK) {
        wait_args_t args = {stream, promise, mti_ref_of(object)};
        manta_task_options_t options = {
            .struct_size = sizeof options, .runtime = runtime, .where = manta_gpu((int)index)};
        manta_submit_call(&wait_def, &options, &args, sizeof args, &task, 1);
        status = mti_ref_is_error(task) ? mti_ref_error_code(task)
                                        : wait_for_answer(promise, task, &answer);
    }
    mti_thread_enter(thread);
    if (status == MANTA_OK && !mti_scope_reserve(thread, 1)) status = MANTA_ERR_OUT_OF_MEMORY;
    bool copied = answer.size_bits & WAIT_COPIED;
    if (status == MANTA_OK && copied && !mti_ref_acquire(task, MTI_COUNT_INTERNAL))
        status = mti_stale(task);
    if (status == MANTA_OK) {
        size_t size = (size_t)(answer.size_bits & ~WAIT_COPIED);
        uint64_t id = copied ? task.id : mti_ref_of(object).id;
        view_make(thread, id, object->dtype, answer.data, size, out_view);
    }
    if (status != MANTA_OK || copied) mti_object_release(ctx, object, MTI_COUNT_INTERNAL);
    mti_thread_leave(thread);
    if (promise.id) manta_release(promise);
    if (task.id) manta_release(task);
    return status;
}

manta_status_t mti_lanes_cuda_wait(void *stream, manta_ref_t ref, manta_view_t *out_view)
{
    enum { PER_THREAD = 2 }; // CU_STREAM_PER_THREAD: not the same one where our task is submitted
    if (!out_view) return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "cuda_wait: no room for the view");
    if ((uintptr_t)stream == PER_THREAD) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "cuda_wait: the default stream of a thread has no meaning elsewhere");
    }
    if (mti_ref_is_error(ref)) return mti_ref_error_code(ref);
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    if (thread->in_callback || mti_op_current) {
        return mti_fail(MANTA_ERR_NOT_ALLOWED_HERE,
                        "cuda_wait: neither a callback nor a CUDA body must wait");
    }
    mti_thread_enter(thread);
    mti_object_t *object = mti_ref_acquire(ref, MTI_COUNT_INTERNAL);
    mti_ctx_t *ctx = object ? mti_ctx_for(thread, object) : NULL;
    if (ctx) mti_wait_enter(ctx);
    mti_thread_leave(thread);
    if (!ctx) return object ? thread->status : mti_stale(ref);
    manta_status_t status = wait_on(thread, ctx, stream, object, out_view);
    mti_wait_leave(ctx);
    return status;
}

// ---- memory of the user's ------------------------------------------------------------------------

// Its *owner* is an empty object that our task has as an argument, and that the block holds once there is one: so
// the deleter runs when both have let go, whatever became of the task. A cancelled one may still be running.
typedef struct foreign {
    mti_block_t block; // first
    mti_object_t *owner;
    bool is_given;     // the result has the block; written by our task's body
    bool is_back;      // … and nobody uses it any more
    bool is_abandoned; // the owner went first: the runtime ends
    mti_job_t job;     // for that case
    mti_device_t *device;
    void *mark; // of the stream; until our task has waited for it
    void *data;
    size_t size_bytes;
    manta_deleter_fn_t deleter;
    void *user;
    const manta_allocator_t *allocator;
} foreign_t;

static void foreign_end(foreign_t *foreign)
{
    mti_foreign_unmark(foreign->device, foreign->mark);
    if (foreign->deleter) foreign->deleter(foreign->data, foreign->size_bytes, foreign->user);
    mti_free(foreign->allocator, foreign, sizeof *foreign);
}

// The owner's deleter.
static void foreign_delete(void *data, size_t size_bytes, void *user)
{
    (void)data, (void)size_bytes;
    foreign_t *foreign = user;
    foreign->is_abandoned = foreign->is_given && !foreign->is_back;
    if (!foreign->is_abandoned) foreign_end(foreign);
}

static void foreign_run(mti_sched_ctx_t *sched_ctx, mti_job_t *job)
{
    (void)sched_ctx;
    mti_thread_t *thread = mti_thread_tls;
    bool outer = thread ? thread->in_callback : false;
    if (thread) thread->in_callback = true;
    foreign_end((foreign_t *)(void *)((char *)job - offsetof(foreign_t, job)));
    if (thread) thread->in_callback = outer;
}

void mti_lane_foreign_free(mti_lane_t *lane, mti_block_t *block)
{
    // In this order: the lane is busy all the time.
    (void)mti_atomic_u32_fetch_add_seq_cst(&lane->in_flight, 1);
    (void)mti_atomic_u32_fetch_add_seq_cst(&lane->waiting, (uint32_t)-1);
    block->next = lane->foreign;
    lane->foreign = block;
}

static bool block_is_idle(const mti_block_t *block)
{
    for (uint32_t i = 0; i < block->user_count; i++)
        if (!mti_fence_is_done(block->users[i])) return false;
    return true;
}

bool mti_lane_foreign_step(mti_lane_t *lane, mti_ctx_t *ctx, bool all)
{
    bool any = false;
    for (mti_block_t **at = &lane->foreign, *block; (block = *at) != NULL;) {
        if (!all && !lane->failure && !block_is_idle(block)) {
            at = &block->next;
            continue;
        }
        *at = block->next;
        mti_memory_free(block->memory);
        (void)mti_atomic_u32_fetch_sub_acq_rel(&lane->in_flight, 1);
        foreign_t *foreign = (foreign_t *)(void *)block;
        foreign->is_back = true;
        if (foreign->is_abandoned) {
            mti_sched_push_job(ctx->rt->sched, &foreign->job);
        } else {
            mti_object_release(ctx, foreign->owner, MTI_COUNT_INTERNAL);
        }
        any = true;
    }
    return any;
}

typedef struct wrap_args {
    foreign_t *foreign;
    manta_ref_t owner;
} wrap_args_t;

static manta_status_t wrap_invoke(const manta_call_t *call)
{
    const wrap_args_t *args = call->args;
    foreign_t *foreign = args->foreign;
    mti_op_t *op = mti_op_current;
    mti_lane_t *lane = op->lane;
    mti_memory_t *memory;
    op->enqueued = true;
    manta_status_t status = mti_foreign_wait(op->queue->queue, foreign->mark);
    mti_foreign_unmark(lane->device, foreign->mark);
    foreign->mark = NULL;
    if (status == MANTA_OK)
        status = mti_foreign_adopt(lane->device, foreign->data, foreign->size_bytes, &memory);
    if (status != MANTA_OK) return status;
    mti_tier_t *tier = mti_tier_create(lane->lanes, op->run.results[0], foreign->size_bytes);
    if (!tier) {
        mti_memory_free(memory);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory to keep track of it");
    }
    foreign->block =
        (mti_block_t){.memory = memory, .ptr = foreign->data, .size_bytes = foreign->size_bytes};
    tier->at[lane->index].block = &foreign->block;
    foreign->owner = mti_object_held(args->owner);
    (void)mti_atomic_u64_fetch_add_relaxed(&foreign->owner->counts, MTI_COUNT_INTERNAL);
    foreign->is_given = true;
    return MANTA_OK;
}

static const manta_param_t wrap_params[] = {
    {"foreign", "void *", MANTA_PARAM_LOCAL, 0, sizeof(void *), _Alignof(void *),
     offsetof(wrap_args_t, foreign)},
    {"owner", "void", MANTA_PARAM_IN, MANTA_UNTYPED, 1, 1, offsetof(wrap_args_t, owner)},
    {"memory", "void", MANTA_PARAM_OUT, MANTA_UNTYPED, 1, 1, 0}};
static const manta_variant_t wrap_variant = {wrap_invoke, NULL};
static manta_task_def_t wrap_def = {.name = "manta_wrap_cuda",
                                    .params = wrap_params,
                                    .param_count = sizeof wrap_params / sizeof wrap_params[0],
                                    .args_bytes = sizeof(wrap_args_t),
                                    .cuda = &wrap_variant};

static manta_status_t lane_of_memory(const mti_lanes_t *lanes, const void *ptr, size_t size_bytes,
                                     uint32_t *out_index)
{
    bool any = false;
    for (uint32_t i = 0; i < lanes->count; i++) {
        bool here = false;
        if (!lane_is_native(&lanes->lane[i])) continue;
        any = true;
        manta_status_t status = mti_foreign_memory(lanes->lane[i].device, ptr, size_bytes, &here);
        if (status != MANTA_OK) return status;
        *out_index = i;
        if (here) return MANTA_OK;
    }
    if (!any) return fail_no_cuda("wrap_cuda");
    return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                    "wrap_cuda: %p is not memory of one of the runtime's devices", ptr);
}

// Submits our task for |given|, which is copied. With a failure the mark goes, and the deleter is not called.
static manta_status_t wrap_submit(mti_ctx_t *ctx, const foreign_t *given, uint32_t index,
                                  manta_dtype_t dtype, manta_ref_t *out_ref)
{
    foreign_t *foreign = mti_alloc(given->allocator, sizeof *foreign, 16);
    if (!foreign) {
        mti_foreign_unmark(given->device, given->mark);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "wrap_cuda: no memory");
    }
    *foreign = *given;
    manta_ref_t owner = manta_wrap(NULL, 0, MANTA_UNTYPED, foreign_delete, foreign);
    if (mti_ref_is_error(owner)) {
        mti_foreign_unmark(given->device, given->mark);
        mti_free(given->allocator, foreign, sizeof *foreign);
        return mti_ref_error_code(owner);
    }
    wrap_args_t args = {foreign, owner};
    manta_task_options_t options = {.struct_size = sizeof options,
                                    .runtime = mti_runtime_handle(ctx->rt),
                                    .where = manta_gpu((int)index)};
    manta_ref_t ref = {0};
    manta_submit_call(&wrap_def, &options, &args, sizeof args, &ref, 1);
    if (mti_ref_is_error(ref)) {
        foreign->deleter = NULL;
    } else {
        mti_object_held(ref)->dtype = dtype; // ours alone until it is returned
    }
    manta_release(owner);
    *out_ref = ref;
    return mti_ref_is_error(ref) ? mti_ref_error_code(ref) : MANTA_OK;
}

static manta_status_t wrap_in(mti_ctx_t *ctx, foreign_t *foreign, manta_dtype_t dtype, void *stream,
                              manta_ref_t *out_ref)
{
    mti_lanes_t *lanes;
    uint32_t index = 0;
    manta_status_t status = mti_lanes_start(ctx->rt, &lanes);
    if (status == MANTA_OK)
        status = lane_of_memory(lanes, foreign->data, foreign->size_bytes, &index);
    if (status != MANTA_OK) return status;
    foreign->device = lanes->lane[index].device;
    status = mti_foreign_mark(foreign->device, stream, &foreign->mark);
    if (status != MANTA_OK) return status;
    return wrap_submit(ctx, foreign, index, dtype, out_ref);
}

manta_ref_t mti_lanes_wrap_cuda(void *device_ptr, size_t size_bytes, manta_dtype_t dtype,
                                void *stream, manta_deleter_fn_t deleter, void *user)
{
    if (size_bytes == 0) return manta_wrap(device_ptr, 0, dtype, deleter, user);
    if (!device_ptr)
        return mti_ref_error(mti_fail(MANTA_ERR_INVALID_ARGUMENT, "wrap_cuda: no memory is given"));
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_ref_error(mti_thread_failure());
    mti_thread_enter(thread);
    mti_ctx_t *ctx = mti_ctx_current(thread);
    if (ctx) mti_wait_enter(ctx);
    mti_thread_leave(thread);
    if (!ctx) return mti_ref_error(thread->status);
    foreign_t foreign = {.job = {NULL, foreign_run},
                         .data = device_ptr,
                         .size_bytes = size_bytes,
                         .deleter = deleter,
                         .user = user,
                         .allocator = &ctx->rt->allocator};
    manta_ref_t ref = {0};
    manta_status_t status = wrap_in(ctx, &foreign, dtype, stream, &ref);
    mti_wait_leave(ctx);
    return status == MANTA_OK ? ref : mti_ref_error(status);
}
