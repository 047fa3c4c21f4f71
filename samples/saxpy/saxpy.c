// Both bodies of the task. saxpy_with(MANTA_OPTIONS(.where = ...), ...) says which one runs, else manta
// chooses.
#include "saxpy.h"

static manta_status_t check(manta_task_t *task, size_t x, size_t y)
{
    if (x == y) return MANTA_OK;
    return manta_fail(task, MANTA_ERR_USER, "x has %zu elements, y %zu", x, y);
}

// ---- on a CPU --------------------------------------------------------------------------------

static void add(float a, const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

MANTA_TASK(saxpy)
{
    manta_status_t status = check(task, x.count, y.count);
    if (status == MANTA_OK) add(a, x.data, y.data, y.count);
    return status;
}

// ---- on a GPU --------------------------------------------------------------------------------

// The kernel in kernel.cu, found by its name, with the types of its parameters; ...
MANTA_KERNEL(saxpy_kernel, float, const float *, float *, size_t);

// ... and what virtual devices run in its place, over the whole grid. args[i] points to parameter i.
static void saxpy_twin(const manta_grid_t *grid, void *const *args)
{
    (void)grid;
    add(*(float *)args[0], *(const float **)args[1], *(float **)args[2], *(size_t *)args[3]);
}
MANTA_KERNEL_TWIN(saxpy_kernel, saxpy_twin);

// Runs on the host and only enqueues: x.data and y.data are addresses on the device.
MANTA_CUDA(saxpy)
{
    manta_status_t status = check(task, x.count, y.count);
    if (status != MANTA_OK) return status;
    return MANTA_LAUNCH(saxpy_kernel, manta_grid_1d(y.count, 256), a, x.data, y.data, y.count);
}
