// One file with everything, as nvcc compiles it: bodies of both kinds, kernels and templates by symbol,
// kernels by name. Without a device, launches by symbol say what the CUDA runtime says.
#include <manta/manta.h>

#include <cstdio>
#include <cstring>

__global__ void scale(float a, const float *x, float *y, size_t n)
{
    size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i];
}

template <class T, int N> __global__ void shift(T *y)
{
    y[threadIdx.x] += N;
}

__global__ void nothing()
{
}

MANTA_KERNEL(by_name, float, const float *);

MANTA_TASK(sc, MANTA_VAL(float, a), MANTA_IN(float, x), MANTA_OUT(float, y, x.count))
{
    for (size_t i = 0; i < x.count; i++) y[i] = a * x[i];
    return MANTA_OK;
}
MANTA_CUDA(sc, MANTA_VAL(float, a), MANTA_IN(float, x), MANTA_OUT(float, y, x.count))
{
    cudaStream_t stream = manta_cuda_stream(task);
    if (!stream) return MANTA_ERR_NOT_SUPPORTED;
    manta_status_t status = MANTA_LAUNCH(nothing, manta_grid_1d(1, 1));
    if (status == MANTA_OK) status = MANTA_LAUNCH(shift<float, 4>, manta_grid_1d(32, 32), y.data);
    if (status == MANTA_OK) status = by_name_launch(manta_grid_1d(1, 1), 2, x.data);
    if (status != MANTA_OK) return status;
    // An int and a double convert as in a call.
    return MANTA_LAUNCH(scale, manta_grid_1d(y.count, 256), a * 1.0, x.data, y.data, (int)y.count);
}

#define CHECK(condition)                                                                           \
    if (!(condition)) {                                                                            \
        std::printf("symbols.cu:%d: %s (%s)\n", __LINE__, #condition, manta_error_message());      \
        return 1;                                                                                  \
    }

int main()
{
    MANTA_SCOPE();
    const float xs[3] = {1, 2, 3};
    manta_view_t v;
    manta_ref_t r = sc_remote(2, manta_put(xs, sizeof xs));
    CHECK(manta_get(r, &v, MANTA_FOREVER) == MANTA_OK);
    CHECK(v.count == 3 && ((const float *)v.data)[2] == 6);
    CHECK(sc_task.cpu != NULL && sc_task.cuda != NULL);

    float *y = NULL;
    manta_status_t status = MANTA_LAUNCH(shift<float, 4>, manta_grid_1d(32, 32), y);
    CHECK(status == MANTA_ERR_NOT_SUPPORTED || status == MANTA_ERR_NOT_ALLOWED_HERE);
    CHECK(std::strstr(manta_error_message(), "shift<float, 4>") != NULL);
    CHECK(std::strstr(manta_error_message(), ", y") == NULL);
    return 0;
}
