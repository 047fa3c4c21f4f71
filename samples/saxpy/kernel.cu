// What runs on the device. manta_kernels() in CMakeLists.txt compiles it and puts it into the program.
#include <stddef.h>

extern "C" __global__ void saxpy_kernel(float a, const float *x, float *y, size_t n)
{
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] += a * x[i];
}
