// device.h: which GPUs there are, and where objects are.
#include "core/core.h"
#include "core/lane.h"

#include <manta/device.h>

#include <string.h>

// The lanes of |handle|; NULL with a message.
static mti_lanes_t *lanes_of(manta_runtime_t handle, manta_status_t *out_status)
{
    mti_thread_t *thread = mti_thread_self();
    mti_ctx_t *ctx = NULL;
    mti_lanes_t *lanes = NULL;
    if (!thread) {
        *out_status = mti_thread_failure();
        return NULL;
    }
    mti_thread_enter(thread);
    ctx = handle.id ? mti_ctx_slow(thread, handle) : mti_ctx_current(thread);
    *out_status = ctx ? mti_lanes_start(ctx->rt, &lanes) : thread->status;
    mti_thread_leave(thread);
    return lanes;
}

int manta_gpu_count(manta_runtime_t runtime)
{
    manta_status_t status;
    mti_lanes_t *lanes = lanes_of(runtime, &status);
    // Why there are none is in the message, if there is a reason.
    if (lanes) status = mti_lanes_failure(lanes, "gpu_count");
    return lanes ? (int)mti_lanes_count(lanes) : 0;
}

manta_status_t manta_gpu_describe(manta_runtime_t runtime, int index, manta_gpu_info_t *out_info)
{
    if (!out_info || out_info->struct_size < sizeof(size_t)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "gpu_describe: no room, or struct_size is not set");
    }
    manta_status_t status;
    mti_lanes_t *lanes = lanes_of(runtime, &status);
    if (!lanes) return status;
    if (index < 0 || (uint32_t)index >= mti_lanes_count(lanes)) {
        return mti_fail(MANTA_ERR_OUT_OF_RANGE, "GPU %d; this machine offers %u", index,
                        mti_lanes_count(lanes));
    }
    const mti_device_t *device = mti_lanes_device(lanes, (uint32_t)index);
    const mti_device_info_t *from = &device->info;
    manta_gpu_info_t info = {.struct_size = out_info->struct_size,
                             .is_virtual = mti_device_can(device, MTI_CAP_HOST_FN),
                             .is_lost = mti_device_state(device) == MTI_DEVICE_LOST,
                             .node = from->node,
                             .memory_bytes = from->memory_bytes,
                             .cc_major = from->cc_major,
                             .cc_minor = from->cc_minor,
                             .max_block_threads = from->limits.max_block_threads,
                             .max_shared_bytes = from->limits.max_shared_bytes};
    snprintf(info.name, sizeof info.name, "%s", from->name);
    snprintf(info.pci_id, sizeof info.pci_id, "%s", from->pci_id);
    size_t known = out_info->struct_size < sizeof info ? out_info->struct_size : sizeof info;
    memcpy(out_info, &info, known);
    return MANTA_OK;
}

uint64_t manta_task_gpus(const manta_task_t *task)
{
    return task ? mti_admit_gpus_of(task->record) : 0;
}

manta_status_t manta_where(manta_ref_t ref, bool *out_host, uint64_t *out_gpus)
{
    if (!out_host || !out_gpus) return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "where: no room");
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_object_t *object;
    manta_status_t status = mti_ref_begin(ref, &thread, &ctx, &object);
    if (status != MANTA_OK) return status;
    *out_host = false;
    *out_gpus = 0;
    uint64_t head;
    bool closed = mti_object_is_closed(object, &head);
    bool there = (closed && !(head & MTI_HEAD_FAILED)) || (!closed && head & MTI_HEAD_ASSIGNED);
    mti_tier_t *tier = there ? mti_object_tier(object) : NULL;
    if (tier) {
        *out_host = mti_atomic_u32_load_acquire(&tier->host) == MTI_HOST_VALID;
        mti_mutex_lock(&tier->lock);
        for (uint32_t i = 0; i < tier->device_count && i < 64; i++)
            if (tier->at[i].block && !mti_lanes_is_lost(mti_lanes_peek(ctx->rt), i))
                *out_gpus |= (uint64_t)1 << i;
        mti_mutex_unlock(&tier->lock);
    } else {
        *out_host = there && closed && mti_object_size(object) != 0;
    }
    mti_ref_end(thread, ctx, object);
    return MANTA_OK;
}

manta_status_t manta_prefetch(manta_ref_t ref, manta_where_t where)
{
    if (where != MANTA_CPU && where != MANTA_GPU && where < manta_gpu(0)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "prefetch: where %d is no place", (int)where);
    }
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_object_t *object;
    manta_status_t status = mti_ref_begin(ref, &thread, &ctx, &object);
    if (status != MANTA_OK) return status;
    uint64_t head;
    status = mti_object_is_closed(object, &head)
                 ? mti_object_status(object, head)
                 : mti_fail(MANTA_NOT_READY, "prefetch: the object is not ready");
    mti_lanes_t *lanes = NULL;
    if (status == MANTA_OK && where != MANTA_CPU) status = mti_lanes_start(ctx->rt, &lanes);
    uint32_t count = lanes ? mti_lanes_count(lanes) : 0;
    if (status == MANTA_OK && where != MANTA_CPU) {
        if (count == 0) status = mti_lanes_failure(lanes, "prefetch");
        if (status == MANTA_OK && (count == 0 || where >= manta_gpu((int)count))) {
            status =
                mti_fail(MANTA_ERR_INFEASIBLE,
                         "prefetch: to a GPU that is not there; this machine offers %u", count);
        }
        // What is inside the line of its object goes along with tasks.
        if (status == MANTA_OK && mti_object_storage(object) > MTI_STORAGE_INLINE) {
            status = mti_lanes_prefetch(
                lanes, object, where == MANTA_GPU ? UINT32_MAX : (uint32_t)(where - manta_gpu(0)));
        }
    } else if (status == MANTA_OK && mti_object_tier(object)) {
        (void)mti_tier_ask(ctx, object);
    }
    mti_ref_end(thread, ctx, object);
    return status;
}
