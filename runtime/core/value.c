// Objects without tasks: put, create and seal, wrap, slice, promises; and the storage of all objects.
#include "core/core.h"

#include <string.h>

mti_object_t *mti_object_alloc(mti_ctx_t *ctx, mti_object_kind_t kind, manta_dtype_t dtype)
{
    mti_slot_t *slot = mti_table_alloc(&ctx->table);
    if (!slot) return NULL;
    mti_object_t *object = &slot->object;
    mti_record_t *t = mti_record_of(object);
    mti_object_set(object, kind, MTI_STORAGE_NONE, 0);
    mti_object_set_runtime(object, ctx->rt->index);
    object->dtype = dtype;
    object->producer = 0;
    mti_atomic_u32_store_relaxed(&object->scope_hint, 0);
    mti_atomic_u64_store_relaxed(&t->claim, 0);
    mti_atomic_u64_store_relaxed(&object->head, 0);
    // release: a stale lookup that gets a count from here sees a whole object
    mti_atomic_u64_store_release(&object->counts, MTI_COUNT_USER);
    return object;
}

bool mti_object_storage_alloc(mti_ctx_t *ctx, mti_object_t *object, size_t size_bytes)
{
    mti_object_kind_t kind = mti_object_kind(object);
    if (size_bytes <= MTI_INLINE_BYTES) {
        mti_object_set(object, kind, MTI_STORAGE_INLINE, size_bytes);
        return true;
    }
    void *data = mti_heap_alloc(&ctx->heap, size_bytes);
    if (!data) return false;
    object->u.mem.data = data;
    mti_object_set(object, kind, MTI_STORAGE_HEAP, size_bytes);
    return true;
}

// A deleter that waits for its turn; made when the object is wrapped, so that freeing needs no memory.
typedef struct wrap_job {
    mti_wrap_t wrap; // first: what the object points to
    mti_job_t job;
    void *data;
    size_t size_bytes;
    const manta_allocator_t *allocator;
} wrap_job_t;

static void wrap_run(mti_sched_ctx_t *sched_ctx, mti_job_t *job)
{
    wrap_job_t *wrap = (wrap_job_t *)(void *)((char *)job - offsetof(wrap_job_t, job));
    mti_thread_t *thread = mti_thread_tls;
    (void)sched_ctx;
    bool outer = thread ? thread->in_callback : false;
    if (thread) thread->in_callback = true;
    wrap->wrap.deleter(wrap->data, wrap->size_bytes, wrap->wrap.user);
    if (thread) thread->in_callback = outer;
    mti_free(wrap->allocator, wrap, sizeof *wrap);
}

void mti_object_storage_free(mti_ctx_t *ctx, mti_object_t *object)
{
    mti_storage_t storage = mti_object_storage(object);
    if (storage == MTI_STORAGE_HEAP) {
        mti_heap_free(&ctx->heap, object->u.mem.data, mti_object_size(object));
    } else if (storage == MTI_STORAGE_WRAPPED && object->u.mem.wrap) {
        mti_sched_push_job(ctx->rt->sched, &((wrap_job_t *)(void *)object->u.mem.wrap)->job);
    } else if (MTI_UNLIKELY(storage == MTI_STORAGE_TIERED)) { // of an attempt on a device
        mti_object_t *parent = mti_tier_destroy(ctx, object);
        if (parent) mti_object_release(ctx, parent, MTI_COUNT_INTERNAL);
        return;
    }
    mti_object_set(object, mti_object_kind(object), MTI_STORAGE_NONE, 0);
}

// ---- public -----------------------------------------------------------------------------------

// The context for new work in |runtime|; NULL with a message.
static mti_ctx_t *value_ctx(mti_thread_t *thread, manta_runtime_t runtime)
{
    mti_ctx_t *ctx = runtime.id ? mti_ctx_slow(thread, runtime) : mti_ctx_current(thread);
    if (!ctx) return NULL;
    uint32_t state = mti_atomic_u32_load_acquire(&ctx->rt->state);
    bool inside = thread->task && thread->task->ctx->rt == ctx->rt;
    if (state == MTI_RUNTIME_RUNNING || (state == MTI_RUNTIME_CLOSED && inside)) return ctx;
    thread->status = mti_fail(MANTA_ERR_SHUTDOWN, "runtime '%s' is closed", ctx->rt->name);
    return NULL;
}

// Allocates an object with |size_bytes| of memory, entered; the caller fills it in and leaves.
static manta_status_t value_begin(manta_runtime_t runtime, mti_object_kind_t kind,
                                  size_t size_bytes, manta_dtype_t dtype, mti_thread_t **out_thread,
                                  mti_ctx_t **out_ctx, mti_object_t **out_object)
{
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    if (!mti_scope_reserve(thread, 1)) return MANTA_ERR_OUT_OF_MEMORY;
    mti_thread_enter(thread); // before the context is looked up: it goes with its runtime
    mti_ctx_t *ctx = value_ctx(thread, runtime);
    if (!ctx) {
        mti_thread_leave(thread);
        return thread->status;
    }
    mti_object_t *object = mti_object_alloc(ctx, kind, dtype);
    if (object && !mti_object_storage_alloc(ctx, object, size_bytes)) {
        mti_atomic_u64_store_relaxed(&object->counts, 0);
        mti_table_free(&ctx->table, (mti_slot_t *)(void *)object);
        object = NULL;
    }
    if (!object) {
        mti_thread_leave(thread);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for an object of %zu bytes",
                        size_bytes);
    }
    *out_thread = thread;
    *out_ctx = ctx;
    *out_object = object;
    return MANTA_OK;
}

static manta_ref_t value_end(mti_thread_t *thread, mti_object_t *object)
{
    manta_ref_t ref = mti_ref_of(object);
    mti_scope_add(thread, object, ref);
    mti_thread_leave(thread);
    return ref;
}

manta_ref_t manta_put_in(manta_runtime_t runtime, const void *data, size_t size_bytes,
                         manta_dtype_t dtype)
{
    if (!data && size_bytes) {
        return mti_ref_error(
            mti_fail(MANTA_ERR_INVALID_ARGUMENT, "put: data is NULL, size is %zu", size_bytes));
    }
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_object_t *object;
    manta_status_t status =
        value_begin(runtime, MTI_OBJECT_PUT, size_bytes, dtype, &thread, &ctx, &object);
    if (status != MANTA_OK) return mti_ref_error(status);
    if (size_bytes) memcpy(mti_object_data(object), data, size_bytes);
    // release: publishes the bytes to whoever reads the head
    mti_atomic_u64_store_release(&object->head, MTI_HEAD_CLOSED);
    return value_end(thread, object);
}

manta_ref_t manta_put_typed(const void *data, size_t size_bytes, manta_dtype_t dtype)
{
    return manta_put_in((manta_runtime_t){0}, data, size_bytes, dtype);
}

manta_ref_t(manta_put)(const void *data, size_t size_bytes)
{
    return manta_put_in((manta_runtime_t){0}, data, size_bytes, MANTA_UNTYPED);
}

manta_status_t manta_create(size_t size_bytes, manta_dtype_t dtype, manta_ref_t *out_ref,
                            void **out_data)
{
    if (!out_ref || !out_data) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "create: no room for the %s",
                        out_ref ? "address" : "ref");
    }
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_object_t *object;
    manta_status_t status = value_begin((manta_runtime_t){0}, MTI_OBJECT_CREATED, size_bytes, dtype,
                                        &thread, &ctx, &object);
    if (status != MANTA_OK) return status;
    *out_data = mti_object_data(object);
    *out_ref = value_end(thread, object);
    return MANTA_OK;
}

// ---- finishing from outside ---------------------------------------------------------------------

typedef struct finish {
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_object_t *object;
} finish_t;

// Takes the right to finish |ref|, an unfinished object of |kind|; entered on success.
static manta_status_t finish_begin(manta_ref_t ref, mti_object_kind_t kind, const char *what,
                                   finish_t *out)
{
    if (mti_ref_is_error(ref)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: this is an error ref (%s)", what,
                        manta_status_name(mti_ref_error_code(ref)));
    }
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    mti_thread_enter(thread);
    mti_object_t *object = mti_ref_acquire(ref, MTI_COUNT_INTERNAL);
    manta_status_t status = MANTA_OK;
    mti_ctx_t *ctx = NULL;
    if (!object) {
        status = mti_stale(ref);
    } else if (!(ctx = mti_ctx_for(thread, object))) {
        status = thread->status; // keeps a count: the lesser evil
    } else {
        uint64_t unfinished = 0;
        uint32_t gen = mti_atomic_u32_load_relaxed(&object->gen);
        mti_object_kind_t is = mti_object_kind(object);
        bool fits = kind == MTI_OBJECT_FREE ? is == MTI_OBJECT_CREATED || is == MTI_OBJECT_PROMISE
                                            : is == kind;
        if (!fits) {
            status = mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: this ref is not %s", what,
                              kind == MTI_OBJECT_PROMISE   ? "a promise"
                              : kind == MTI_OBJECT_CREATED ? "a created object"
                                                           : "a created object or a promise");
        } else if (!mti_atomic_u64_cas_acq_rel(&mti_record_of(object)->claim, &unfinished,
                                               mti_claim_make(gen, 0, MTI_TASK_DONE))) {
            status = mti_fail(MANTA_ERR_ALREADY_EXISTS, "%s: it is finished already", what);
        }
        if (status != MANTA_OK) mti_object_release(ctx, object, MTI_COUNT_INTERNAL);
    }
    if (status != MANTA_OK) {
        mti_thread_leave(thread);
        return status;
    }
    *out = (finish_t){thread, ctx, object};
    return MANTA_OK;
}

static void finish_end(finish_t *finish)
{
    mti_object_release(finish->ctx, finish->object, MTI_COUNT_INTERNAL);
    mti_thread_leave(finish->thread);
}

// Gives the right to finish back: nothing happened. Whoever released the last ref meanwhile has left the rest to
// who has the right.
static void finish_undo(finish_t *finish)
{
    // seq_cst, with the two in object_drop_user: either that sees the right given back, or we that no ref is left
    mti_atomic_u64_store_seq_cst(&mti_record_of(finish->object)->claim, 0);
    if (mti_count_user(mti_atomic_u64_load_seq_cst(&finish->object->counts)) == 0) {
        (void)mti_object_close(finish->ctx, finish->object, mti_head_bare(MANTA_ERR_ABANDONED),
                               NULL);
    }
    finish_end(finish);
}

manta_status_t manta_seal(manta_ref_t ref)
{
    finish_t finish;
    manta_status_t status = finish_begin(ref, MTI_OBJECT_CREATED, "seal", &finish);
    if (status == MANTA_ERR_ALREADY_EXISTS) return MANTA_ERR_INVALID_ARGUMENT;
    if (status != MANTA_OK) return status;
    (void)mti_object_close(finish.ctx, finish.object, MTI_HEAD_CLOSED, NULL);
    finish_end(&finish);
    return MANTA_OK;
}

manta_status_t manta_abandon(manta_ref_t ref, manta_status_t code)
{
    finish_t finish;
    manta_status_t status = finish_begin(ref, MTI_OBJECT_FREE, "abandon", &finish);
    if (status == MANTA_ERR_ALREADY_EXISTS) return MANTA_ERR_INVALID_ARGUMENT;
    if (status != MANTA_OK) return status;
    // Bare: the buffer stays until the object goes, its address may still be in the user's hands.
    (void)mti_object_close(finish.ctx, finish.object,
                           mti_head_bare(code == MANTA_OK ? MANTA_ERR_ABANDONED : code), NULL);
    finish_end(&finish);
    return MANTA_OK;
}

manta_ref_t manta_promise_create(manta_dtype_t dtype)
{
    return mti_promise_create((manta_runtime_t){0}, dtype);
}

manta_ref_t mti_promise_create(manta_runtime_t runtime, manta_dtype_t dtype)
{
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_object_t *object;
    manta_status_t status =
        value_begin(runtime, MTI_OBJECT_PROMISE, 0, dtype, &thread, &ctx, &object);
    if (status != MANTA_OK) return mti_ref_error(status);
    mti_object_set(object, MTI_OBJECT_PROMISE, MTI_STORAGE_NONE, 0);
    return value_end(thread, object);
}

manta_status_t manta_promise_set(manta_ref_t promise, const void *data, size_t size_bytes)
{
    if (!data && size_bytes) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "promise_set: data is NULL, size is %zu",
                        size_bytes);
    }
    finish_t finish;
    manta_status_t status = finish_begin(promise, MTI_OBJECT_PROMISE, "promise_set", &finish);
    if (status != MANTA_OK) return status;
    if (!mti_object_storage_alloc(finish.ctx, finish.object, size_bytes)) {
        finish_undo(&finish);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for a value of %zu bytes", size_bytes);
    }
    if (size_bytes) memcpy(mti_object_data(finish.object), data, size_bytes);
    (void)mti_object_close(finish.ctx, finish.object, MTI_HEAD_CLOSED, NULL);
    finish_end(&finish);
    return MANTA_OK;
}

manta_status_t manta_promise_fail(manta_ref_t promise, manta_status_t code, const char *format, ...)
{
    if (code == MANTA_OK) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "promise_fail: MANTA_OK is not a failure");
    }
    char text[512] = "";
    va_list args;
    va_start(args, format);
    if (format) vsnprintf(text, sizeof text, format, args);
    va_end(args);
    finish_t finish;
    manta_status_t status = finish_begin(promise, MTI_OBJECT_PROMISE, "promise_fail", &finish);
    if (status != MANTA_OK) return status;
    manta_error_t *error = mti_error_create(code, MANTA_SCOPE_OBJECT, "promise", "", 0, text, NULL);
    (void)mti_object_close_failed(finish.ctx, finish.object, error, NULL, 0, NULL);
    finish_end(&finish);
    return MANTA_OK;
}

manta_status_t manta_promise_forward(manta_ref_t promise, manta_ref_t ref)
{
    finish_t finish;
    manta_status_t status = finish_begin(promise, MTI_OBJECT_PROMISE, "promise_forward", &finish);
    if (status != MANTA_OK) return status;
    if (mti_ref_is_error(ref)) {
        (void)mti_object_close(finish.ctx, finish.object, mti_head_bare(mti_ref_error_code(ref)),
                               NULL);
        finish_end(&finish);
        return MANTA_OK;
    }
    mti_object_t *target = mti_ref_acquire(ref, MTI_COUNT_INTERNAL);
    bool fits = target && mti_dtype_fits(target->dtype, finish.object->dtype);
    if (!fits || target == finish.object ||
        mti_object_runtime(target) != mti_object_runtime(finish.object)) {
        bool stale = target == NULL, itself = target == finish.object;
        const char *theirs = target ? mti_runtime_at(mti_object_runtime(target))->name : "";
        const char *ours = finish.ctx->rt->name;
        mti_ctx_t *ctx = target ? mti_ctx_for(finish.thread, target) : NULL;
        if (ctx) mti_object_release(ctx, target, MTI_COUNT_INTERNAL);
        finish_undo(&finish);
        if (stale) return mti_stale(ref);
        if (itself) {
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                            "promise_forward: the ref is the promise itself");
        }
        if (!fits) {
            return mti_fail(MANTA_ERR_TYPE_MISMATCH,
                            "promise_forward: the ref is of another element type than the promise");
        }
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "promise_forward: the ref is of runtime '%s', the promise of '%s'", theirs,
                        ours);
    }
    uint64_t *cell = (uint64_t *)(void *)mti_record_of(finish.object)->inline_args;
    mti_atomic_u64_store_release(
        &mti_record_of(finish.object)->claim,
        mti_claim_make(mti_atomic_u32_load_relaxed(&finish.object->gen), 0, MTI_TASK_FORWARDED));
    finish.object->u.mem.parent = target;
    if (!mti_object_await(finish.ctx, target, cell, MTI_LINK_FORWARD)) {
        mti_object_become(finish.ctx, finish.object, target);
    }
    finish_end(&finish);
    return MANTA_OK;
}

// ---- memory of others -----------------------------------------------------------------------------

manta_ref_t manta_wrap(void *data, size_t size_bytes, manta_dtype_t dtype,
                       manta_deleter_fn_t deleter, void *user)
{
    if (!data && size_bytes) {
        return mti_ref_error(
            mti_fail(MANTA_ERR_INVALID_ARGUMENT, "wrap: data is NULL, size is %zu", size_bytes));
    }
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_object_t *object;
    manta_status_t status =
        value_begin((manta_runtime_t){0}, MTI_OBJECT_PUT, 0, dtype, &thread, &ctx, &object);
    if (status != MANTA_OK) return mti_ref_error(status);
    wrap_job_t *job = NULL;
    const manta_allocator_t *allocator = &ctx->rt->allocator;
    if (deleter) {
        job = mti_alloc(allocator, sizeof *job, 16);
        if (!job) {
            mti_atomic_u64_store_relaxed(&object->counts, 0);
            mti_table_free(&ctx->table, (mti_slot_t *)(void *)object);
            mti_thread_leave(thread);
            return mti_ref_error(mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for a deleter"));
        }
        *job = (wrap_job_t){{deleter, user}, {NULL, wrap_run}, data, size_bytes, allocator};
    }
    object->u.mem.data = data;
    object->u.mem.wrap = job ? &job->wrap : NULL;
    mti_object_set(object, MTI_OBJECT_PUT, MTI_STORAGE_WRAPPED, size_bytes);
    mti_atomic_u64_store_release(&object->head, MTI_HEAD_CLOSED);
    return value_end(thread, object);
}

// A slice shares the host's bytes, so those have to be there.
static manta_status_t slice_bring(mti_thread_t *thread, mti_ctx_t *ctx, mti_object_t *parent)
{
    if (MTI_LIKELY(mti_object_storage(parent) != MTI_STORAGE_TIERED)) return MANTA_OK;
    mti_thread_leave(thread);
    manta_status_t status = mti_lanes_wait_host(thread, ctx, parent, MANTA_FOREVER);
    mti_thread_enter(thread);
    uint64_t head;
    (void)mti_object_is_closed(parent, &head);
    return status == MANTA_OK && head & MTI_HEAD_FAILED ? mti_object_status(parent, head) : status;
}

manta_ref_t manta_slice(manta_ref_t ref, size_t offset_bytes, size_t size_bytes)
{
    if (mti_ref_is_error(ref)) return ref;
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_ref_error(mti_thread_failure());
    if (!mti_scope_reserve(thread, 1)) return mti_ref_error(MANTA_ERR_OUT_OF_MEMORY);
    mti_thread_enter(thread);
    mti_object_t *parent = mti_ref_acquire(ref, MTI_COUNT_INTERNAL);
    mti_ctx_t *ctx = parent ? mti_ctx_for(thread, parent) : NULL;
    manta_status_t status = MANTA_OK;
    uint64_t head = 0;
    size_t end;
    mti_object_t *object = NULL;
    if (!parent) {
        status = mti_stale(ref);
    } else if (!ctx) {
        status = thread->status;
    } else if (!mti_object_is_closed(parent, &head)) {
        status = mti_fail(MANTA_NOT_READY, "slice: the object is not ready");
    } else if (head & MTI_HEAD_FAILED) {
        status = mti_object_status(parent, head);
    } else if (!mti_size_add(offset_bytes, size_bytes, &end) || end > mti_object_size(parent)) {
        status = mti_fail(MANTA_ERR_OUT_OF_RANGE, "slice: bytes %zu to %zu of an object of %llu",
                          offset_bytes, offset_bytes + size_bytes,
                          (unsigned long long)mti_object_size(parent));
    } else if ((status = slice_bring(thread, ctx, parent)) != MANTA_OK) {
        // the message says why
    } else if (!(object = mti_object_alloc(ctx, MTI_OBJECT_PUT, parent->dtype))) {
        status = mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for a slice");
    }
    if (!object) {
        if (parent && ctx) mti_object_release(ctx, parent, MTI_COUNT_INTERNAL);
        mti_thread_leave(thread);
        return mti_ref_error(status);
    }
    char *data = mti_object_data(parent);
    object->u.mem.data = size_bytes ? data + offset_bytes : NULL;
    object->u.mem.parent = parent;
    mti_object_set(object, MTI_OBJECT_PUT, MTI_STORAGE_PARENT, size_bytes);
    mti_atomic_u64_store_release(&object->head, MTI_HEAD_CLOSED);
    return value_end(thread, object);
}
