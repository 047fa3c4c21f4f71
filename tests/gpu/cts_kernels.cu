// The kernels of the conformance suite on a real device; their twins stand in tests/cts/cts.cc.
#include <stdint.h>

extern "C" __global__ void cts_saxpy(float a, const float *x, float *y, uint64_t n)
{
    uint64_t step = (uint64_t)gridDim.x * blockDim.x;
    for (uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step)
        y[i] += a * x[i];
}

static __device__ bool first_thread()
{
    return threadIdx.x + threadIdx.y + threadIdx.z + blockIdx.x + blockIdx.y + blockIdx.z == 0;
}

extern "C" __global__ void cts_bump(uint32_t *counter, uint32_t times)
{
    if (first_thread()) *counter += times;
}

extern "C" __global__ void cts_mixed(uint8_t a, double b, uint16_t c, uint64_t d, float e,
                                     uint32_t f, double *out)
{
    if (!first_thread()) return;
    out[0] = a;
    out[1] = b;
    out[2] = c;
    out[3] = (double)d;
    out[4] = e;
    out[5] = f;
}

extern "C" __global__ void __launch_bounds__(256) cts_shape(uint32_t *out)
{
    uint32_t shared_bytes;
    asm("mov.u32 %0, %dynamic_smem_size;" : "=r"(shared_bytes));
    if (!first_thread()) return;
    out[0] = gridDim.x;
    out[1] = gridDim.y;
    out[2] = gridDim.z;
    out[3] = blockDim.x;
    out[4] = blockDim.y;
    out[5] = blockDim.z;
    out[6] = shared_bytes;
}
