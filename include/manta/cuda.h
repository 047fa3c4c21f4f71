// For code that uses CUDA itself: CUDA's types, and launches of __global__ functions by symbol.
//
// The one header that includes CUDA's own. Files that nvcc compiles get it with manta.h; others
// include it when they call CUDA or its libraries in a CUDA body.
//
//     // saxpy.cu
//     #include "saxpy.h"
//     __global__ void saxpy_kernel(float a, const float *x, float *y, size_t n) { ... }
//     MANTA_CUDA(saxpy)
//     {
//         return MANTA_LAUNCH(saxpy_kernel, manta_grid_1d(y.count, 256), a, x.data, y.data, y.count);
//     }
//
// Such a launch finds the kernel through the CUDA runtime that *your* program links (nvcc does that by
// itself; CMake: CUDA::cudart). manta links neither it nor the driver.
#ifndef MANTA_CUDA_H
#define MANTA_CUDA_H

#include <manta/kernel.h>

#include <cuda.h>
#ifdef __cplusplus
#include <cuda_runtime_api.h>
#endif

#ifndef MANTA_NO_SYSTEM_HEADER
#pragma GCC system_header
#endif

// The task's stream with its type; a CUstream and a cudaStream_t are the same.
#define manta_cuda_stream(task) ((CUstream)(manta_cuda_stream)(task))

#ifdef __cplusplus

// MANTA_LAUNCH_SYMBOL(kernel, grid, arguments...) in a CUDA body: launches a __global__ function, or an
// instance of a template (kernel<float, 4>), in the task's stream. Arguments convert as in a call.
// Gives a manta_status_t.
//
// Real devices only: a virtual one has no code for it (MANTA_ERR_NOT_SUPPORTED); kernels by name have
// a CPU twin there.
// Errors:  as manta_launch_cufunction() · NOT_SUPPORTED the CUDA runtime can't be used here, or doesn't
//          know the function; the message has its words.
#define MANTA_LAUNCH_SYMBOL(...)                                                                   \
    ([&]() -> manta_status_t {                                                                     \
        static ::manta::detail::launch_cache mti_cache;                                            \
        return ::manta::detail::launch(mti_cache, #__VA_ARGS__, __VA_ARGS__);                      \
    }())

#ifdef __CUDACC__
#undef MTI_LAUNCH
#define MTI_LAUNCH(...) MANTA_LAUNCH_SYMBOL(__VA_ARGS__)
#endif

namespace manta
{
namespace detail
{

// The parameter's own type: arguments convert to it and do not take part in its deduction.
template <class T> struct just {
    typedef T type;
};

// The name in a launch as it is written, "k<float, 4>, grid, a, b": up to the first comma outside
// brackets.
struct launch_name {
    char text[96];
    void set(const char *launch)
    {
        size_t n = 0;
        for (int depth = 0; launch[n] != '\0' && n + 1 < sizeof text; n++) {
            if (launch[n] == '<' || launch[n] == '(') depth++;
            if (launch[n] == '>' || launch[n] == ')') depth--;
            if (launch[n] == ',' && depth == 0) break;
            text[n] = launch[n];
        }
        text[n] = '\0';
    }
};

// What the first launch at a place in the source found. A place that launches several functions, by
// way of a pointer, remembers the first and looks the others up each time.
struct launch_cache {
    const void *function; // whose kernel it is or will be; taken once, by whoever comes first
    void *kernel;         // NULL until it and |name| are known
    launch_name name;
};

__attribute__((unused, noinline, cold)) static manta_status_t
launch_find(launch_cache &cache, const void *function, const launch_name &name, void **out_kernel)
{
    cudaKernel_t kernel = NULL;
    cudaError_t error = cudaGetKernel(&kernel, function);
    if (error != cudaSuccess) {
        return manta_fail(NULL, MANTA_ERR_NOT_SUPPORTED, "kernel %s: cudaGetKernel: %s (%s)",
                          name.text, cudaGetErrorString(error), cudaGetErrorName(error));
    }
    const void *nobody = NULL;
    // relaxed: taking the place publishes nothing
    if (__atomic_compare_exchange_n(&cache.function, &nobody, function, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED)) {
        cache.name = name;
        // release: publishes the name; pairs with the acquire in launch()
        __atomic_store_n(&cache.kernel, (void *)kernel, __ATOMIC_RELEASE);
    }
    *out_kernel = (void *)kernel;
    return MANTA_OK;
}

template <class... P>
manta_status_t launch(launch_cache &cache, const char *text, void (*function)(P...),
                      manta_grid_t grid, typename just<P>::type... args)
{
    void *pointers[] = {(void *)&args..., NULL};
    // acquire: the name and the function; pairs with the release in launch_find()
    void *kernel = __atomic_load_n(&cache.kernel, __ATOMIC_ACQUIRE);
    if (kernel != NULL && cache.function == (const void *)function)
        return manta_launch_cufunction(kernel, grid, pointers, cache.name.text);
    launch_name name;
    name.set(text);
    manta_status_t status = launch_find(cache, (const void *)function, name, &kernel);
    if (status != MANTA_OK) return status;
    return manta_launch_cufunction(kernel, grid, pointers, name.text);
}

} // namespace detail
} // namespace manta

#endif

#endif
