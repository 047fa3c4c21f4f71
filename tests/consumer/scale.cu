// A kernel of somebody else's, compiled and embedded by manta_kernels().
#include <stddef.h>

struct range {
    double low, high;
};

extern "C" __global__ void __launch_bounds__(128)
    consumer_scale(float a, const float *x, float *y, size_t n, struct range r, char c)
{
    size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + (float)(r.low + r.high) + c;
}

extern "C" __global__ void consumer_nothing()
{
}
