// The same in C++.
#include "cuda_tasks.h"

#include <stdexcept>

enum { CPU_CC = 300, CUDA_CC = 400 };

MANTA_CUDA(tc_both_cc)
{
    y[0] = a - x[0];
    z[z.count - 1] = CUDA_CC;
    return MANTA_OK;
}
MANTA_TASK(tc_both_cc)
{
    y[0] = a + x[0];
    z[z.count - 1] = CPU_CC;
    return MANTA_OK;
}

MANTA_CUDA(tc_c_cc)
{
    z[0] = CUDA_CC + a;
    return MANTA_OK;
}
MANTA_TASK(tc_cc_c)
{
    z[0] = CPU_CC + a;
    return MANTA_OK;
}
namespace inside
{
MANTA_CUDA(tc_only_cc)
{
    z[0] = CUDA_CC + a;
    return MANTA_OK;
}
} // namespace inside

#define tc_differ_PARAMS MANTA_VAL(int, a), MANTA_VAL(int, b)
MANTA_TASK_DECLARE(tc_differ);
#define tc_longer_PARAMS MANTA_VAL(int, a), MANTA_VAL(int, b)
MANTA_TASK_DECLARE(tc_longer);
MANTA_CUDA(tc_differ) { return a == b; }
MANTA_CUDA(tc_longer) { return a == b; }

MANTA_KERNEL(tc_kernel, int, const int *, int *, size_t);
MANTA_KERNEL(tc_kernel_bare);

MANTA_TASK(tc_launches_cc, MANTA_IN(int, x), MANTA_INOUT(int, y)) { return y.count == x.count; }
MANTA_CUDA(tc_launches_cc, MANTA_IN(int, x), MANTA_INOUT(int, y))
{
    manta_status_t status = MANTA_LAUNCH(tc_kernel_bare, manta_grid_1d(1, 1));
    if (status != MANTA_OK) return status;
    return MANTA_LAUNCH(tc_kernel, manta_grid_1d(y.count, 256), 3, x.data, y.data, y.count);
}
