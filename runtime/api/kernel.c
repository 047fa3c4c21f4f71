// kernel.h: what CUDA bodies call. There is no lane of a device yet, so no CUDA body ever runs.
#include "base/status.h"
#include "core/core.h"

#include <manta/kernel.h>

static manta_status_t no_body(const char *what)
{
    return mti_fail(MANTA_ERR_NOT_ALLOWED_HERE, "%s: no CUDA body is running on this thread", what);
}

manta_status_t manta_launch_kernel(manta_kernel_t *kernel, manta_grid_t grid, void *const *args,
                                   uint32_t arg_count)
{
    (void)grid, (void)args, (void)arg_count;
    return mti_fail(MANTA_ERR_NOT_ALLOWED_HERE,
                    "kernel %s: a launch, and no CUDA body is running on this thread",
                    kernel && kernel->name ? kernel->name : "NULL");
}

manta_status_t manta_launch_cufunction(void *cukernel, manta_grid_t grid, void **args,
                                       const char *name)
{
    (void)cukernel, (void)grid, (void)args;
    return mti_fail(MANTA_ERR_NOT_ALLOWED_HERE,
                    "kernel %s: a launch, and no CUDA body is running on this thread",
                    name ? name : "NULL");
}

void *(manta_cuda_stream)(manta_task_t *task)
{
    (void)task;
    no_body("manta_cuda_stream");
    return NULL;
}

int manta_task_device(const manta_task_t *task)
{
    (void)task;
    return -1;
}

void *manta_queue_local(manta_task_t *task, const void *key, manta_local_make_fn_t make,
                        manta_local_destroy_fn_t destroy)
{
    (void)task, (void)key, (void)make, (void)destroy;
    no_body("manta_queue_local");
    return NULL;
}

void *manta_scratch(manta_task_t *task, size_t size_bytes)
{
    (void)task, (void)size_bytes;
    no_body("manta_scratch");
    return NULL;
}

manta_status_t manta_status_word(manta_task_t *task, const void *device_ptr)
{
    (void)task, (void)device_ptr;
    return no_body("manta_status_word");
}

manta_status_t manta_cuda_wait(void *stream, manta_ref_t ref, manta_view_t *out_view)
{
    (void)stream, (void)ref, (void)out_view;
    return mti_fail(MANTA_ERR_NOT_SUPPORTED, "manta_cuda_wait: this runtime has no CUDA device");
}

manta_ref_t manta_wrap_cuda(void *device_ptr, size_t size_bytes, manta_dtype_t dtype, void *stream,
                            manta_deleter_fn_t deleter, void *user)
{
    (void)device_ptr, (void)size_bytes, (void)dtype, (void)stream, (void)deleter, (void)user;
    return mti_ref_error(
        mti_fail(MANTA_ERR_NOT_SUPPORTED, "manta_wrap_cuda: this runtime has no CUDA device"));
}
