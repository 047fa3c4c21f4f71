// kernel.h: what CUDA bodies call.
#include "core/core.h"
#include "core/lane.h"

#include <manta/kernel.h>

manta_status_t manta_launch_kernel(manta_kernel_t *kernel, manta_grid_t grid, void *const *args,
                                   uint32_t arg_count)
{
    return mti_lane_launch(kernel, &grid, args, arg_count);
}

manta_status_t manta_launch_cufunction(void *cukernel, manta_grid_t grid, void **args,
                                       const char *name)
{
    return mti_lane_launch_native(cukernel, &grid, args, name);
}

void *(manta_cuda_stream)(manta_task_t *task)
{
    return mti_lane_stream(task);
}

int manta_task_device(const manta_task_t *task)
{
    return mti_lane_device_index(task);
}

void *manta_queue_local(manta_task_t *task, const void *key, manta_local_make_fn_t make,
                        manta_local_destroy_fn_t destroy)
{
    return mti_lane_local(task, key, make, destroy);
}

void *manta_scratch(manta_task_t *task, size_t size_bytes)
{
    return mti_lane_scratch(task, size_bytes);
}

manta_status_t manta_status_word(manta_task_t *task, const void *device_ptr)
{
    return mti_lane_status_word(task, device_ptr);
}

manta_status_t manta_cuda_wait(void *stream, manta_ref_t ref, manta_view_t *out_view)
{
    return mti_lanes_cuda_wait(stream, ref, out_view);
}

manta_ref_t manta_wrap_cuda(void *device_ptr, size_t size_bytes, manta_dtype_t dtype, void *stream,
                            manta_deleter_fn_t deleter, void *user)
{
    return mti_lanes_wrap_cuda(device_ptr, size_bytes, dtype, stream, deleter, user);
}
