// What a body can ask of its task.
#include "core/actor.h"
#include "core/core.h"

#include <string.h>

void mti_task_place(const manta_task_t *run, char *text, size_t size)
{
    int seat = mti_atomic_i32_load_relaxed(&run->ctx->sched.seat);
    if (run->lane) {
        snprintf(text, size, "%s", mti_lane_device_name(run));
    } else {
        snprintf(text, size, seat >= 0 ? "worker %d" : "thread outside the workers", seat);
    }
}

manta_status_t manta_fail(manta_task_t *task, manta_status_t code, const char *format, ...)
{
    char text[512] = "";
    va_list args;
    va_start(args, format);
    if (format) vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (code == MANTA_OK)
        code = MANTA_ERR_INVALID_ARGUMENT; // failing with OK is a mistake, not a success
    // Calls that a body makes may fail it without having been told which task it is.
    if (!task && mti_thread_tls) task = mti_thread_tls->task;
    if (!task) return mti_fail(code, "%s", text);
    char place[32];
    mti_task_place(task, place, sizeof place);
    const mti_cold_t *cold = task->record->cold;
    const manta_error_t *first = cold ? cold->first_error : NULL;
    manta_error_t *error = mti_error_create(code, MANTA_SCOPE_TASK, mti_record_name(task->record),
                                            place, mti_record_attempt(task->record), text, first);
    if (task->error) manta_error_release(task->error);
    task->error = error;
    return code;
}

manta_status_t manta_forward(manta_task_t *task, manta_ref_t ref)
{
    if (!task) return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "forward: no task");
    const manta_task_def_t *def = task->record->def;
    if (task->lane) {
        return manta_fail(task, MANTA_ERR_NOT_ALLOWED_HERE,
                          "forward: not from a body that runs on a device");
    }
    for (uint32_t i = 0; i < def->param_count; i++) {
        if (def->params[i].kind == MANTA_PARAM_INOUT) {
            return manta_fail(task, MANTA_ERR_INVALID_ARGUMENT,
                              "forward: argument %s is INOUT, its next version is the result",
                              def->params[i].name);
        }
    }
    if (task->record->result_count != 1) {
        return manta_fail(task, MANTA_ERR_INVALID_ARGUMENT, "forward: the task has %u results",
                          (unsigned)task->record->result_count);
    }
    if (mti_ref_is_error(ref)) {
        return manta_fail(task, mti_ref_error_code(ref), "forward: %s", manta_error_message());
    }
    mti_thread_t *thread = mti_thread_tls;
    mti_thread_enter(thread);
    mti_object_t *object = mti_ref_acquire(ref, MTI_COUNT_INTERNAL);
    manta_status_t status = MANTA_OK;
    if (!object) {
        status = mti_stale(ref);
    } else if (object == &task->record->result ||
               mti_object_runtime(object) != task->ctx->rt->index) {
        status = mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                          "forward: the ref is the task's own result, or of another runtime");
        mti_object_release(task->ctx, object, MTI_COUNT_INTERNAL);
    } else if (!mti_dtype_fits(object->dtype, task->record->result.dtype)) {
        status = mti_fail(MANTA_ERR_TYPE_MISMATCH,
                          "forward: the ref has elements of %u bytes, the task's result of %u",
                          (unsigned)MANTA_DTYPE_SIZE(object->dtype),
                          (unsigned)MANTA_DTYPE_SIZE(task->record->result.dtype));
        mti_object_release(task->ctx, object, MTI_COUNT_INTERNAL);
    } else {
        if (task->forward.id) {
            mti_object_release(task->ctx, mti_object_held(task->forward), MTI_COUNT_INTERNAL);
        }
        task->forward = ref;
    }
    mti_thread_leave(thread);
    return status == MANTA_OK ? MANTA_OK : manta_fail(task, status, "%s", manta_error_message());
}

manta_status_t manta_out_resize_bytes(manta_task_t *task, uint32_t out_index, size_t size_bytes,
                                      manta_buffer_t *out_buffer)
{
    if (!task || !out_buffer)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "out_resize: no task or buffer");
    const manta_task_def_t *def = task->record->def;
    uint32_t outs = 0, results = 0, buffers = 0;
    const manta_param_t *param = NULL;
    for (uint32_t i = 0; i < def->param_count; i++) {
        manta_param_kind_t kind = def->params[i].kind;
        if (kind == MANTA_PARAM_OUT && outs++ == out_index) {
            param = &def->params[i];
            break;
        }
        results += kind == MANTA_PARAM_OUT || kind == MANTA_PARAM_INOUT;
        buffers += kind == MANTA_PARAM_OUT || kind == MANTA_PARAM_INOUT || kind == MANTA_PARAM_IN ||
                   kind == MANTA_PARAM_IN_LIST;
    }
    if (!param) {
        return manta_fail(task, MANTA_ERR_OUT_OF_RANGE, "out_resize: there is no OUT parameter %u",
                          out_index);
    }
    mti_object_t *object = task->results[results];
    if (MTI_UNLIKELY(task->lane != NULL)) {
        manta_status_t status = mti_lane_out_resize(task, object, size_bytes, out_buffer);
        if (status == MANTA_OK) task->buffers[buffers] = *out_buffer;
        return status == MANTA_OK
                   ? MANTA_OK
                   : manta_fail(task, status, "result %s: %s", param->name, manta_error_message());
    }
    // The value only: counts and head of the line are others' to write.
    size_t old_size = mti_object_size(object);
    unsigned char old_bytes[MTI_INLINE_BYTES];
    memcpy(old_bytes, object->u.bytes, sizeof old_bytes);
    void *old_data = object->u.mem.data;
    size_t kept = old_size < size_bytes ? old_size : size_bytes;
    mti_storage_t storage = mti_object_storage(object);
    bool in_place =
        storage == MTI_STORAGE_INLINE
            ? size_bytes <= MTI_INLINE_BYTES
            : storage == MTI_STORAGE_HEAP && size_bytes > MTI_INLINE_BYTES &&
                  mti_heap_usable(size_bytes) == mti_heap_usable(mti_object_size(object));
    if (in_place) {
        mti_object_set(object, mti_object_kind(object), storage, size_bytes);
    } else {
        if (!mti_object_storage_alloc(task->ctx, object, size_bytes)) {
            return manta_fail(task, MANTA_ERR_OUT_OF_MEMORY, "result %s: no memory for %zu bytes",
                              param->name, size_bytes);
        }
        if (kept)
            memcpy(mti_object_data(object), storage == MTI_STORAGE_INLINE ? old_bytes : old_data,
                   kept);
        if (storage == MTI_STORAGE_HEAP) {
            mti_heap_free(&task->ctx->heap, old_data, old_size);
        }
    }
    *out_buffer = task->buffers[buffers] = (manta_buffer_t){mti_object_data(object), size_bytes};
    return MANTA_OK;
}

bool manta_cancelled(const manta_task_t *task)
{
    if (!task || !mti_task_must_stop(task->ctx, task->record)) return false;
    mti_cancel_heard(task->record);
    return true;
}

// The object of one ref among the arguments, NULL if there is none.
static mti_object_t *arg_object(const manta_task_t *task, uint32_t index, size_t item)
{
    const mti_record_t *t = task ? task->record : NULL;
    if (!t || index >= t->def->param_count) return NULL;
    const manta_param_t *param = &t->def->params[index];
    const void *at = t->args + param->offset;
    bool is_one = param->kind == MANTA_PARAM_IN || param->kind == MANTA_PARAM_INOUT;
    if (is_one) return item == 0 ? mti_object_held(*(const manta_ref_t *)at) : NULL;
    if (param->kind != MANTA_PARAM_IN_LIST) return NULL;
    const manta_ref_list_t *list = at;
    return item < list->count ? mti_object_held(list->refs[item]) : NULL;
}

manta_status_t manta_arg_item_status(const manta_task_t *task, uint32_t index, size_t item)
{
    uint64_t head;
    mti_object_t *object = arg_object(task, index, item);
    if (!object) {
        return mti_fail(MANTA_ERR_OUT_OF_RANGE, "task %s has no ref %zu in parameter %u",
                        manta_task_name(task), item, index);
    }
    (void)mti_object_is_closed(object, &head);
    return mti_object_status(object, head);
}

manta_status_t manta_arg_status(const manta_task_t *task, uint32_t index)
{
    const mti_record_t *t = task ? task->record : NULL;
    if (!t || index >= t->def->param_count) return manta_arg_item_status(task, index, 0);
    const manta_param_t *param = &t->def->params[index];
    size_t n = 1;
    if (param->kind == MANTA_PARAM_IN_LIST) {
        n = ((const manta_ref_list_t *)(const void *)(t->args + param->offset))->count;
    } else if (param->kind != MANTA_PARAM_IN && param->kind != MANTA_PARAM_INOUT) {
        return MANTA_OK; // a value can't fail
    }
    manta_status_t status = MANTA_OK;
    for (size_t i = 0; i < n && status == MANTA_OK; i++)
        status = manta_arg_item_status(task, index, i);
    return status;
}

const manta_error_t *manta_arg_error(const manta_task_t *task, uint32_t index, size_t item)
{
    uint64_t head;
    mti_object_t *object = arg_object(task, index, item);
    bool failed = object && mti_object_is_closed(object, &head) && head & MTI_HEAD_FAILED;
    return failed ? mti_error_chain(object, head) : NULL;
}

size_t manta_task_index(const manta_task_t *task)
{
    return task ? task->index : 0;
}

int manta_attempt(const manta_task_t *task)
{
    if (task && task->actor) return mti_method_of(task->record)->attempt;
    return task ? mti_record_attempt(task->record) : 0;
}

const char *manta_task_name(const manta_task_t *task)
{
    return task ? mti_record_name(task->record) : "";
}

manta_runtime_t manta_task_runtime(const manta_task_t *task)
{
    return task ? mti_runtime_handle(task->ctx->rt) : (manta_runtime_t){0};
}

int manta_task_worker(const manta_task_t *task)
{
    return task ? mti_atomic_i32_load_relaxed(&task->ctx->sched.seat) : -1;
}

size_t manta_task_cpus(const manta_task_t *task, int *out_pus, size_t n)
{
    if (!task) return 0;
    const int *seats;
    int count = mti_sched_seats(&task->ctx->sched, &seats);
    for (int i = 0; i < count && (size_t)i < n && out_pus; i++) {
        int core = mti_sched_seat_core(task->ctx->rt->sched, seats[i]);
        out_pus[i] = mti_topology_core(task->ctx->rt->topology, core)->pu;
    }
    return (size_t)count;
}
