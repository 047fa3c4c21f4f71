// Streams and memory that the user's own CUDA code made. What may be called without the right of the
// device keeps nothing in it, and says of a failure what the driver says.
#include "devices/cuda/cuda_impl.h"

#include "base/alloc.h"
#include "base/status.h"

#include <stdio.h>

// Where a stream was: an event behind what was in it, of the stream's own context.
typedef struct cuda_mark {
    CUevent event;
    CUcontext context;
} cuda_mark_t;

// Handles that are wrong here are the user's.
static manta_status_t tell(const cuda_device_t *device, CUresult result, const char *call)
{
    manta_status_t status = mti_cu_describe(device->api, result, call);
    if (status != MANTA_ERR_INTERNAL) return status;
    char text[256];
    snprintf(text, sizeof text, "%s", manta_error_message());
    return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s", text);
}

#define TRY(device, call)                                                                          \
    do {                                                                                           \
        CUresult mti_cu_result = (device)->api->call;                                              \
        if (MTI_UNLIKELY(mti_cu_result != CUDA_SUCCESS))                                           \
            return tell((device), mti_cu_result, #call);                                           \
    } while (0)

static manta_status_t usable(const cuda_device_t *device)
{
    const mti_cu_api_t *api = device->api;
    if (MTI_UNLIKELY(mti_cu_forked())) return mti_cu_fail_forked();
    if (api->cuStreamGetCtx && api->cuCtxGetDevice && api->cuPointerGetAttributes) return MANTA_OK;
    return mti_fail(MANTA_ERR_NOT_SUPPORTED,
                    "%s: this driver (%d) can't tell whose streams and memory those of others are",
                    device->base.name, api->driver_version);
}

// ---- Streams -------------------------------------------------------------------------------------

static manta_status_t stream_context(const cuda_device_t *device, CUstream stream,
                                     CUcontext *out_context)
{
    manta_status_t status = usable(device);
    if (status != MANTA_OK) return status;
    TRY(device, cuStreamGetCtx(stream, out_context));
    if (*out_context) return MANTA_OK;
    return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "stream %p has no context", (void *)stream);
}

static manta_status_t context_device(const cuda_device_t *device, CUcontext context,
                                     CUdevice *out_handle)
{
    CUcontext previous;
    TRY(device, cuCtxGetCurrent(&previous));
    TRY(device, cuCtxSetCurrent(context));
    CUresult result = device->api->cuCtxGetDevice(out_handle);
    TRY(device, cuCtxSetCurrent(previous));
    return result == CUDA_SUCCESS ? MANTA_OK : tell(device, result, "cuCtxGetDevice(&device)");
}

manta_status_t cuda_foreign_stream(mti_device_t *base, void *stream, bool *out_here)
{
    cuda_device_t *device = cuda_device(base);
    CUcontext context = NULL;
    CUdevice handle = 0;
    manta_status_t status = stream_context(device, stream, &context);
    if (status == MANTA_OK) status = context_device(device, context, &handle);
    if (status == MANTA_OK) *out_here = handle == device->handle;
    return status;
}

manta_status_t cuda_foreign_after(mti_queue_t *base, void *stream)
{
    cuda_queue_t *queue = cuda_queue(base);
    cuda_device_t *device = cuda_device(base->device);
    CUcontext context = NULL;
    cuda_scope_t scope;
    manta_status_t status = cuda_enter(device, &scope);
    if (status != MANTA_OK) return status;
    status = stream_context(device, stream, &context);
    if (status == MANTA_OK && context != device->context) {
        status = mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                          "stream %p is not of the primary context of %s, which the memory is of",
                          stream, base->device->name);
    }
    CUevent event = NULL;
    if (status == MANTA_OK) status = cuda_event_take(device, &event);
    if (status == MANTA_OK) {
        CUresult result = device->api->cuEventRecord(event, queue->stream);
        const char *call = "cuEventRecord(event, queue->stream)";
        if (result == CUDA_SUCCESS) {
            result = device->api->cuStreamWaitEvent(stream, event, 0);
            call = "cuStreamWaitEvent(stream, event, 0)";
        }
        if (result != CUDA_SUCCESS) status = cuda_failed(device, result, call);
        // At once: a wait is for the record that was the last one when it was made.
        cuda_event_give(device, event);
    }
    if (status != MANTA_OK) mti_fail_note(status, "%s", base->device->name);
    cuda_leave(device, &scope);
    return status;
}

// ---- Marks ---------------------------------------------------------------------------------------

static manta_status_t mark_record(const cuda_device_t *device, CUstream stream, CUevent *out_event)
{
    TRY(device, cuEventCreate(out_event, CU_EVENT_DISABLE_TIMING));
    CUresult result = device->api->cuEventRecord(*out_event, stream);
    if (result == CUDA_SUCCESS) return MANTA_OK;
    (void)device->api->cuEventDestroy(*out_event);
    return tell(device, result, "cuEventRecord(event, stream)");
}

manta_status_t cuda_foreign_mark(mti_device_t *base, void *stream, void **out_mark)
{
    cuda_device_t *device = cuda_device(base);
    CUcontext context = NULL, previous;
    manta_status_t status = stream_context(device, stream, &context);
    if (status != MANTA_OK) return status;
    cuda_mark_t *mark = mti_alloc(&base->allocator, sizeof *mark, sizeof(void *));
    if (!mark) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: no memory for a mark", base->name);
    *mark = (cuda_mark_t){.context = context};
    CUresult result = device->api->cuCtxGetCurrent(&previous);
    if (result == CUDA_SUCCESS) result = device->api->cuCtxSetCurrent(context);
    if (result == CUDA_SUCCESS) {
        status = mark_record(device, stream, &mark->event);
        result = device->api->cuCtxSetCurrent(previous);
    }
    if (status == MANTA_OK && result != CUDA_SUCCESS)
        status = tell(device, result, "cuCtxSetCurrent(context of the stream)");
    if (status == MANTA_OK) {
        *out_mark = mark;
    } else {
        mti_free(&base->allocator, mark, sizeof *mark);
    }
    return status;
}

void cuda_foreign_unmark(mti_device_t *base, void *user)
{
    cuda_device_t *device = cuda_device(base);
    cuda_mark_t *mark = user;
    CUcontext previous;
    // Nothing can be done about a failure: a lost context takes its events along.
    if (!mti_cu_forked() && device->api->cuCtxGetCurrent(&previous) == CUDA_SUCCESS &&
        device->api->cuCtxSetCurrent(mark->context) == CUDA_SUCCESS) {
        (void)device->api->cuEventDestroy(mark->event);
        (void)device->api->cuCtxSetCurrent(previous);
    }
    mti_free(&base->allocator, mark, sizeof *mark);
}

manta_status_t cuda_foreign_wait(mti_queue_t *base, void *user)
{
    cuda_queue_t *queue = cuda_queue(base);
    cuda_device_t *device = cuda_device(base->device);
    const cuda_mark_t *mark = user;
    cuda_scope_t scope;
    manta_status_t status = cuda_enter(device, &scope);
    if (status != MANTA_OK) return status;
    CUresult result = device->api->cuStreamWaitEvent(queue->stream, mark->event, 0);
    if (result != CUDA_SUCCESS) {
        status = cuda_failed(device, result, "cuStreamWaitEvent(queue->stream, mark->event, 0)");
        mti_fail_note(status, "%s", base->device->name);
    }
    cuda_leave(device, &scope);
    return status;
}

// ---- Memory --------------------------------------------------------------------------------------

// What the driver knows of an address; it gives zeros for one that it does not know.
typedef struct whereabouts {
    unsigned type;
    int ordinal;
    CUcontext context; // NULL: of a pool, for whoever has access
    void *start;
    size_t bytes;
} whereabouts_t;

static manta_status_t memory_ask(const cuda_device_t *device, const void *ptr,
                                 whereabouts_t *out_where)
{
    manta_status_t status = usable(device);
    if (status != MANTA_OK) return status;
    *out_where = (whereabouts_t){.ordinal = -1};
    CUpointer_attribute attributes[] = {
        CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
        CU_POINTER_ATTRIBUTE_CONTEXT, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR,
        CU_POINTER_ATTRIBUTE_RANGE_SIZE};
    void *values[] = {&out_where->type, &out_where->ordinal, &out_where->context, &out_where->start,
                      &out_where->bytes};
    TRY(device, cuPointerGetAttributes(sizeof values / sizeof values[0], attributes, values,
                                       cuda_address(ptr)));
    return MANTA_OK;
}

static manta_status_t memory_check(const cuda_device_t *device, const void *ptr, size_t size_bytes,
                                   const whereabouts_t *where, bool *out_here)
{
    *out_here = where->type == CU_MEMORYTYPE_DEVICE && where->ordinal == (int)device->handle;
    uintptr_t at = (uintptr_t)ptr, start = (uintptr_t)where->start;
    if (!*out_here || where->bytes == 0) return MANTA_OK; // not every kind of memory has a range
    if (at >= start && at - start <= where->bytes && size_bytes <= where->bytes - (at - start))
        return MANTA_OK;
    return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                    "%s: %zu bytes at %p are more than the %zu bytes at %p that were allocated",
                    device->base.name, size_bytes, ptr, where->bytes, where->start);
}

manta_status_t cuda_foreign_memory(mti_device_t *base, const void *ptr, size_t size_bytes,
                                   bool *out_here)
{
    cuda_device_t *device = cuda_device(base);
    whereabouts_t where;
    manta_status_t status = memory_ask(device, ptr, &where);
    return status == MANTA_OK ? memory_check(device, ptr, size_bytes, &where, out_here) : status;
}

manta_status_t cuda_foreign_adopt(mti_device_t *base, void *ptr, size_t size_bytes,
                                  mti_memory_t **out_memory)
{
    cuda_device_t *device = cuda_device(base);
    whereabouts_t where;
    bool here = false;
    manta_status_t status = memory_ask(device, ptr, &where);
    if (status == MANTA_OK) status = memory_check(device, ptr, size_bytes, &where, &here);
    if (status != MANTA_OK) return status;
    if (!here || (where.context && where.context != device->context)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "%s: %p is not memory of the device's primary context", base->name, ptr);
    }
    cuda_memory_t *memory = cuda_memory_make(device, CUDA_MEMORY_FOREIGN);
    if (!memory) return MANTA_ERR_OUT_OF_MEMORY;
    memory->base.ptr = ptr;
    memory->base.size_bytes = size_bytes;
    memory->base.kind = MTI_MEMORY_DEVICE;
    memory->base.node = -1;
    *out_memory = &memory->base;
    return MANTA_OK;
}
