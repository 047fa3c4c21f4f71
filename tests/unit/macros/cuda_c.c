// Bodies for both kinds of device, in C. Each result says which body it was.
#include "cuda_tasks.h"

enum { CPU_C = 100, CUDA_C = 200 };

MANTA_TASK(tc_both_c)
{
    y.data[0] = a + x.data[0];
    z.data[z.count - 1] = CPU_C;
    return MANTA_OK;
}
MANTA_CUDA(tc_both_c)
{
    y.data[0] = a - x.data[0];
    z.data[z.count - 1] = CUDA_C;
    return MANTA_OK;
}

MANTA_TASK(tc_c_cc)
{
    z.data[0] = CPU_C + a;
    return MANTA_OK;
}
MANTA_CUDA(tc_cc_c)
{
    z.data[0] = CUDA_C + a;
    return MANTA_OK;
}
MANTA_CUDA(tc_only_c)
{
    z.data[0] = CUDA_C + a;
    return MANTA_OK;
}
MANTA_CUDA(tc_tick) { return MANTA_ERR_USER + CUDA_C; }
MANTA_TASK(tc_tick) { return MANTA_ERR_USER + CPU_C; }

// The list said again.
MANTA_TASK(tc_here, MANTA_VAL(int, a), MANTA_OUT(int, z, 1))
{
    z.data[0] = CPU_C + a;
    return MANTA_OK;
}
MANTA_CUDA(tc_here, MANTA_VAL(int, a), MANTA_OUT(int, z, 1))
{
    z.data[0] = CUDA_C + a;
    return MANTA_OK;
}
MANTA_TASK(tc_bare) { return MANTA_OK; }
MANTA_CUDA(tc_bare, MANTA_NOTHING) { return MANTA_ERR_USER; }

MANTA_TASK(tc_differ, MANTA_VAL(int, a), MANTA_VAL(float, b)) { return a + (int)b ? MANTA_OK : 1; }
manta_ref_t tc_differ_call(void)
{
    return tc_differ_remote(1, 2);
}
MANTA_TASK(tc_longer, MANTA_VAL(int, a)) { return a ? MANTA_OK : MANTA_ERR_USER; }
manta_ref_t tc_longer_call(void)
{
    return tc_longer_remote(1);
}

// By name, in C.
MANTA_KERNEL(tc_kernel, int, const int *, int *, size_t);
MANTA_KERNEL(tc_kernel_bare);
MANTA_KERNEL_AS(tc_kernel_named, "tests/named", float);
MANTA_KERNEL_AS(tc_kernel_named_bare, "tests/named_bare");

MANTA_TASK(tc_launches, MANTA_IN(int, x), MANTA_INOUT(int, y)) { return y.count == x.count; }
MANTA_CUDA(tc_launches, MANTA_IN(int, x), MANTA_INOUT(int, y))
{
    manta_status_t status = MANTA_LAUNCH(tc_kernel_bare, manta_grid_1d(1, 1));
    if (status == MANTA_OK) status = tc_kernel_named_launch(manta_grid_1d(1, 1), 2);
    if (status == MANTA_OK) status = tc_kernel_named_bare_launch(manta_grid_1d(1, 1));
    if (status != MANTA_OK) return status;
    return MANTA_LAUNCH(tc_kernel, manta_grid_1d(y.count, 256), 3, x.data, y.data, y.count);
}
