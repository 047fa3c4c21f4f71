// Copies and fills. All addresses are unified: the driver tells host and device apart by itself.
#include "devices/cuda/cuda_impl.h"

#include "base/status.h"

#include <string.h>

enum { BATCH_COPIES = 64 };               // of one call of the driver; arrays on the stack
enum { OVERLAP_COPY_BYTES = 128 * 1024 }; // up to here copies may be asked to overlap with compute

// The device that |place| lies on, NULL for host memory.
static cuda_device_t *place_device(const mti_place_t *place)
{
    return place->memory && place->memory->kind == MTI_MEMORY_DEVICE
               ? cuda_device(place->memory->device)
               : NULL;
}

// How a copy on a stream of |device| gets its bytes over.
typedef enum route {
    ROUTE_HERE, // all that it touches is host memory, this device's, or let in to it
    ROUTE_PEER, // from one device to another, direct or staged by the driver
    ROUTE_FAR,  // between the host and a device that does not let this one in: on that one's stream
} route_t;

static bool lets_in(const cuda_device_t *owner, const cuda_device_t *device)
{
    return owner->context == device->context ||
           (device->base.ordinal < 64 && (owner->lets_in >> device->base.ordinal & 1) != 0);
}

static route_t copy_route(const cuda_device_t *device, const mti_place_t *dst,
                          const mti_place_t *src, cuda_device_t **out_far)
{
    cuda_device_t *to = place_device(dst), *from = place_device(src);
    if (to && from && to->context != from->context) return ROUTE_PEER;
    cuda_device_t *owner = to ? to : from;
    *out_far = owner;
    return !owner || lets_in(owner, device) ? ROUTE_HERE : ROUTE_FAR;
}

// ---- On another device's stream ------------------------------------------------------------------
//
// |far|'s stream waits for |stream|, does the copy, and |stream| waits for it. All that is touched of
// |far| is that stream, which only orders copies like these among themselves, so this device's right
// is enough. The two events can go at once: what waits for them has their record.

typedef struct far_call {
    cuda_device_t *device, *far;
    CUstream stream;
    CUevent before, after; // of |device|, of |far|
    mti_bound_t bound;
} far_call_t;

static manta_status_t far_record(cuda_device_t *device, CUevent *out_event, CUstream stream)
{
    MTI_CU_TRY(device, cuEventCreate(out_event, CU_EVENT_DISABLE_TIMING));
    MTI_CU_TRY(device, cuEventRecord(*out_event, stream));
    return MANTA_OK;
}

static manta_status_t far_wait(cuda_device_t *device, CUstream stream, CUevent event)
{
    MTI_CU_TRY(device, cuStreamWaitEvent(stream, event, 0));
    return MANTA_OK;
}

// Binds the thread to |far|, and lets its stream wait. far_end() has to follow in any case.
static manta_status_t far_begin(far_call_t *call)
{
    manta_status_t status = far_record(call->device, &call->before, call->stream);
    cuda_bind(&call->far->base, &call->bound);
    return status == MANTA_OK ? far_wait(call->far, call->far->far_stream, call->before) : status;
}

static manta_status_t far_end(far_call_t *call, manta_status_t status)
{
    if (status == MANTA_OK) status = far_record(call->far, &call->after, call->far->far_stream);
    (void)cuda_unbind(&call->far->base, &call->bound);
    if (status == MANTA_OK) status = far_wait(call->device, call->stream, call->after);
    if (call->before) MTI_CU_NOTE(call->device, cuEventDestroy(call->before));
    if (call->after) MTI_CU_NOTE(call->device, cuEventDestroy(call->after));
    return status;
}

// ---- One -----------------------------------------------------------------------------------------

// What another device that is lost had is not there any more, and nothing waits for its streams.
static manta_status_t check_other(const cuda_device_t *device, cuda_device_t *other)
{
    if (!other || other == device) return MANTA_OK;
    if (!cuda_is_lost(other) && !mti_atomic_u32_load_relaxed(&other->lost_for_others))
        return MANTA_OK;
    return mti_fail(MANTA_ERR_DEVICE_LOST, "%s is lost", other->base.name);
}

static manta_status_t check_ends(const cuda_device_t *device, const mti_place_t *dst,
                                 const mti_place_t *src)
{
    manta_status_t status = check_other(device, place_device(dst));
    return status == MANTA_OK ? check_other(device, place_device(src)) : status;
}

static manta_status_t copy_here(cuda_device_t *device, CUstream stream, const mti_copy_t *copy)
{
    MTI_CU_TRY(device, cuMemcpyAsync(cuda_address(copy->dst.ptr), cuda_address(copy->src.ptr),
                                     copy->size_bytes, stream));
    return MANTA_OK;
}

static manta_status_t copy_peer(cuda_device_t *device, CUstream stream, const mti_copy_t *copy)
{
    CUdeviceptr dst = cuda_address(copy->dst.ptr), src = cuda_address(copy->src.ptr);
    CUcontext to = place_device(&copy->dst)->context, from = place_device(&copy->src)->context;
    MTI_CU_TRY(device, cuMemcpyPeerAsync(dst, to, src, from, copy->size_bytes, stream));
    return MANTA_OK;
}

static manta_status_t copy_one(cuda_device_t *device, CUstream stream, const mti_copy_t *copy)
{
    far_call_t call = {.device = device, .stream = stream};
    if (copy->size_bytes == 0) return MANTA_OK;
    manta_status_t ends = check_ends(device, &copy->dst, &copy->src);
    if (ends != MANTA_OK) return ends;
    switch (copy_route(device, &copy->dst, &copy->src, &call.far)) {
    case ROUTE_HERE:
        break;
    case ROUTE_PEER:
        return copy_peer(device, stream, copy);
    case ROUTE_FAR: {
        manta_status_t status = far_begin(&call);
        if (status == MANTA_OK) status = copy_here(call.far, call.far->far_stream, copy);
        return far_end(&call, status);
    }
    }
    return copy_here(device, stream, copy);
}

// ---- Batches -------------------------------------------------------------------------------------

#if MTI_CU_HAS_BATCH
static bool is_here(const cuda_device_t *device, const mti_copy_t *copy)
{
    cuda_device_t *far;
    return copy_route(device, &copy->dst, &copy->src, &far) == ROUTE_HERE;
}

static bool batch_is_there(const cuda_device_t *device)
{
    return device->api->batch_v13000 || device->api->batch_v12080;
}

static manta_status_t batch_submit(cuda_device_t *device, CUstream stream, CUdeviceptr *dsts,
                                   CUdeviceptr *srcs, size_t *sizes, size_t count, bool are_small)
{
    CUmemcpyAttributes attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
    attributes.flags =
        are_small ? CU_MEMCPY_FLAG_PREFER_OVERLAP_WITH_COMPUTE : CU_MEMCPY_FLAG_DEFAULT;
    size_t first = 0, failed = 0;
    if (device->api->batch_v13000) {
        MTI_CU_TRY(device, batch_v13000(dsts, srcs, sizes, count, &attributes, &first, 1, stream));
    } else {
        MTI_CU_TRY(device,
                   batch_v12080(dsts, srcs, sizes, count, &attributes, &first, 1, &failed, stream));
    }
    return MANTA_OK;
}

// As many of |copies| as one call takes; |*out_done| is how many those are. Copies between devices
// go one by one: batches need direct access.
static manta_status_t batch_next(cuda_device_t *device, CUstream stream, const mti_copy_t *copies,
                                 size_t count, size_t *out_done)
{
    CUdeviceptr dsts[BATCH_COPIES], srcs[BATCH_COPIES];
    size_t sizes[BATCH_COPIES], n = 0;
    const mti_copy_t *one = copies;
    bool are_small = true;
    size_t i = 0;
    for (; i < count && n < BATCH_COPIES && is_here(device, &copies[i]); i++) {
        if (copies[i].size_bytes == 0) continue; // the driver refuses those
        dsts[n] = cuda_address(copies[i].dst.ptr);
        srcs[n] = cuda_address(copies[i].src.ptr);
        sizes[n] = copies[i].size_bytes;
        are_small = are_small && sizes[n] <= OVERLAP_COPY_BYTES;
        one = &copies[i];
        n++;
    }
    *out_done = i > 0 ? i : 1;
    if (i == 0 || n == 1) return copy_one(device, stream, one);
    if (n == 0) return MANTA_OK;
    return batch_submit(device, stream, dsts, srcs, sizes, n, are_small);
}

#else

static bool batch_is_there(const cuda_device_t *device)
{
    (void)device;
    return false;
}

static manta_status_t batch_next(cuda_device_t *device, CUstream stream, const mti_copy_t *copies,
                                 size_t count, size_t *out_done)
{
    (void)count;
    *out_done = 1;
    return copy_one(device, stream, copies);
}

#endif

static manta_status_t copy_all(cuda_device_t *device, CUstream stream, const mti_copy_t *copies,
                               size_t count)
{
    bool in_batches = count > 1 && batch_is_there(device);
    manta_status_t status = MANTA_OK;
    size_t i = 0, done = 1;
    for (; i < count && status == MANTA_OK; i += status == MANTA_OK ? done : 0) {
        status = in_batches ? batch_next(device, stream, &copies[i], count - i, &done)
                            : copy_one(device, stream, &copies[i]);
    }
    // Failing changes nothing, and the first copies are on their way: wait them out. They only write
    // where they may; nobody will look there.
    if (status != MANTA_OK && i > 0 && !cuda_is_lost(device))
        MTI_CU_NOTE(device, cuStreamSynchronize(stream));
    return status;
}

manta_status_t cuda_copy(mti_queue_t *base, const mti_copy_t *copies, size_t count, uint32_t flags,
                         uint64_t seq)
{
    cuda_queue_t *queue = cuda_queue(base);
    cuda_scope_t scope;
    manta_status_t status = cuda_op_begin(queue, flags, &scope);
    if (status != MANTA_OK) return status;
    status = copy_all(cuda_device(base->device), queue->stream, copies, count);
    return cuda_op_end(queue, status, flags, seq, &scope);
}

// ---- Two dimensions ------------------------------------------------------------------------------

static manta_status_t copy_rows(cuda_device_t *device, CUstream stream, const mti_copy_2d_t *copy)
{
    CUDA_MEMCPY2D rows;
    memset(&rows, 0, sizeof rows);
    rows.srcMemoryType = rows.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
    rows.srcDevice = cuda_address(copy->src.ptr);
    rows.dstDevice = cuda_address(copy->dst.ptr);
    rows.srcPitch = copy->src_pitch_bytes;
    rows.dstPitch = copy->dst_pitch_bytes;
    rows.WidthInBytes = copy->width_bytes;
    rows.Height = copy->rows;
    MTI_CU_TRY(device, cuMemcpy2DAsync(&rows, stream));
    return MANTA_OK;
}

static manta_status_t copy_rows_to_peer(cuda_device_t *device, CUstream stream,
                                        const mti_copy_2d_t *copy)
{
    CUDA_MEMCPY3D_PEER rows;
    memset(&rows, 0, sizeof rows);
    rows.srcMemoryType = rows.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    rows.srcDevice = cuda_address(copy->src.ptr);
    rows.dstDevice = cuda_address(copy->dst.ptr);
    rows.srcContext = place_device(&copy->src)->context;
    rows.dstContext = place_device(&copy->dst)->context;
    rows.srcPitch = copy->src_pitch_bytes;
    rows.dstPitch = copy->dst_pitch_bytes;
    rows.WidthInBytes = copy->width_bytes;
    rows.Height = copy->rows;
    rows.Depth = 1;
    MTI_CU_TRY(device, cuMemcpy3DPeerAsync(&rows, stream));
    return MANTA_OK;
}

static manta_status_t copy_2d_routed(cuda_device_t *device, CUstream stream,
                                     const mti_copy_2d_t *copy)
{
    far_call_t call = {.device = device, .stream = stream};
    manta_status_t ends = check_ends(device, &copy->dst, &copy->src);
    if (ends != MANTA_OK) return ends;
    switch (copy_route(device, &copy->dst, &copy->src, &call.far)) {
    case ROUTE_HERE:
        break;
    case ROUTE_PEER:
        return copy_rows_to_peer(device, stream, copy);
    case ROUTE_FAR: {
        manta_status_t status = far_begin(&call);
        if (status == MANTA_OK) status = copy_rows(call.far, call.far->far_stream, copy);
        return far_end(&call, status);
    }
    }
    return copy_rows(device, stream, copy);
}

manta_status_t cuda_copy_2d(mti_queue_t *base, const mti_copy_2d_t *copy, uint32_t flags,
                            uint64_t seq)
{
    cuda_queue_t *queue = cuda_queue(base);
    cuda_device_t *device = cuda_device(base->device);
    size_t pitch = copy->src_pitch_bytes > copy->dst_pitch_bytes ? copy->src_pitch_bytes
                                                                 : copy->dst_pitch_bytes;
    if (device->max_pitch && pitch > device->max_pitch)
        return mti_fail(MANTA_ERR_OUT_OF_RANGE,
                        "%s: copy_2d: a pitch of %zu bytes, %zu is the most", base->device->name,
                        pitch, device->max_pitch);
    cuda_scope_t scope;
    manta_status_t status = cuda_op_begin(queue, flags, &scope);
    if (status != MANTA_OK) return status;
    status = copy_2d_routed(device, queue->stream, copy);
    return cuda_op_end(queue, status, flags, seq, &scope);
}

// ---- Fills ---------------------------------------------------------------------------------------

static manta_status_t fill_submit(cuda_device_t *device, CUstream stream, CUdeviceptr dst,
                                  size_t size_bytes, uint32_t pattern, uint32_t pattern_bytes)
{
    switch (pattern_bytes) {
    case 1:
        MTI_CU_TRY(device, cuMemsetD8Async(dst, (unsigned char)pattern, size_bytes, stream));
        break;
    case 2:
        MTI_CU_TRY(device, cuMemsetD16Async(dst, (unsigned short)pattern, size_bytes / 2, stream));
        break;
    default:
        MTI_CU_TRY(device, cuMemsetD32Async(dst, pattern, size_bytes / 4, stream));
        break;
    }
    return MANTA_OK;
}

manta_status_t cuda_fill(mti_queue_t *base, mti_place_t dst, size_t size_bytes, uint32_t pattern,
                         uint32_t pattern_bytes, uint32_t flags, uint64_t seq)
{
    cuda_queue_t *queue = cuda_queue(base);
    cuda_scope_t scope;
    manta_status_t status = cuda_op_begin(queue, flags, &scope);
    if (status != MANTA_OK) return status;
    status = fill_submit(cuda_device(base->device), queue->stream, cuda_address(dst.ptr),
                         size_bytes, pattern, pattern_bytes);
    return cuda_op_end(queue, status, flags, seq, &scope);
}
