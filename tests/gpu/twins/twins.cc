// The fake CUDA driver with kernels in it: programs that know nothing of the fake, samples above all, run on it with
// MANTA_CUDA_LIBRARY=.../libcuda_twins.so. Opening it opens the fake, whose functions are then found in it.
//
// A kernel of the library runs its CPU twin, one of a program the twin that the program brings
// (MANTA_KERNEL_TWIN), found through manta_run_twin.
#include "fakes/libcuda/fake_cuda.h"

#include <manta/kernels.h>

extern "C" {
#include "kernels/kernels.h"
}

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <vector>

#include <dlfcn.h>

extern "C" const fake_cuda_controls_t *fake_cuda_control();

namespace
{

// What a kernel does with a parameter, by its type: addresses of const are read.
template <typename T> constexpr uint8_t access_of()
{
    if (!std::is_pointer<T>::value) return FAKE_CUDA_NONE;
    return std::is_const<std::remove_pointer_t<T>>::value ? FAKE_CUDA_READ
                                                          : FAKE_CUDA_READ | FAKE_CUDA_WRITE;
}

// That launches want their status looked at is no part of their type.
#pragma GCC diagnostic ignored "-Wignored-attributes"
template <typename F> struct accesses;
template <typename... P> struct accesses<manta_status_t(manta_grid_t, P...)> {
    static std::vector<uint8_t> get() { return {access_of<P>()..., 0}; }
};

using fake_twin_fn_t = decltype(fake_cuda_kernel_t::twin);

void add(const char *symbol, const manta_kernel_t &kernel, const std::vector<uint8_t> &access,
         fake_twin_fn_t twin, uint32_t max_threads = 0)
{
    fake_cuda_kernel_t fake = {};
    fake.name = symbol;
    fake.param_count = kernel.arg_count;
    fake.param_bytes = kernel.arg_bytes;
    fake.param_access = access.data();
    fake.twin = twin;
    fake.max_threads = max_threads;
    fake_cuda_control()->kernel_add(&fake);
}

const manta_kernel_t *row_of(const char *name)
{
    for (uint32_t i = 0; i < mti_kernels_code.kernel_count; i++)
        if (strcmp(mti_kernels_code.kernels[i].name, name) == 0)
            return &mti_kernels_code.kernels[i];
    fprintf(stderr, "libcuda_twins: the table of kernels has no %s\n", name);
    abort();
}

// ---- kernels of the conformance suite (gpu/cts_kernels.cu) ------------------------------------------------

void cts_saxpy_twin(const fake_cuda_shape_t *, void *const *args)
{
    const float a = *static_cast<float *>(args[0]), *x = *static_cast<const float **>(args[1]);
    float *y = *static_cast<float **>(args[2]);
    for (uint64_t i = 0, n = *static_cast<uint64_t *>(args[3]); i < n; i++)
        y[i] += a * x[i];
}

void cts_bump_twin(const fake_cuda_shape_t *, void *const *args)
{
    **static_cast<uint32_t **>(args[0]) += *static_cast<uint32_t *>(args[1]);
}

void cts_mixed_twin(const fake_cuda_shape_t *, void *const *args)
{
    double *out = *static_cast<double **>(args[6]);
    out[0] = *static_cast<uint8_t *>(args[0]);
    out[1] = *static_cast<double *>(args[1]);
    out[2] = *static_cast<uint16_t *>(args[2]);
    out[3] = static_cast<double>(*static_cast<uint64_t *>(args[3]));
    out[4] = *static_cast<float *>(args[4]);
    out[5] = *static_cast<uint32_t *>(args[5]);
}

void cts_shape_twin(const fake_cuda_shape_t *shape, void *const *args)
{
    static_assert(sizeof *shape == 7 * sizeof(uint32_t), "seven numbers in a row");
    memcpy(*static_cast<uint32_t **>(args[0]), shape, sizeof *shape);
}

// ---- kernels of programs ------------------------------------------------------------------------------

void run_twin(manta_kernel_t *kernel, const fake_cuda_shape_t *shape, void *const *args)
{
    static_assert(sizeof(manta_grid_t) == sizeof(fake_cuda_shape_t), "the one for the other");
    void *symbol = dlsym(RTLD_DEFAULT, "manta_run_twin");
    manta_grid_t grid;
    memcpy(&grid, shape, sizeof grid);
    if (symbol && reinterpret_cast<decltype(&manta_run_twin)>(symbol)(
                      kernel, grid, args, kernel->arg_count) == MANTA_OK)
        return;
    // The fake has no way to fail a kernel; whoever looks at the result must notice.
    fprintf(stderr, "libcuda_twins: %s: this program has no twin for it\n", kernel->name);
}

} // namespace

MANTA_KERNEL(saxpy_kernel, float, const float *, float *, size_t);
MANTA_KERNEL(serve_classify, const float *, const float *, uint8_t *, size_t);
MANTA_KERNEL(cts_saxpy, float, const float *, float *, uint64_t);
MANTA_KERNEL(cts_bump, uint32_t *, uint32_t);
MANTA_KERNEL(cts_mixed, uint8_t, double, uint16_t, uint64_t, float, uint32_t, double *);
MANTA_KERNEL(cts_shape, uint32_t *);

#define LIBRARY_KERNELS(X)                                                                         \
    X(fill_u8)                                                                                     \
    X(fill_u32)                                                                                    \
    X(fill_f32)                                                                                    \
    X(fill_f64)                                                                                    \
    X(axpy_f32)                                                                                    \
    X(axpy_f64)                                                                                    \
    X(sum_f32)                                                                                     \
    X(sum_f64)                                                                                     \
    X(min_f32)                                                                                     \
    X(min_f64)                                                                                     \
    X(max_f32)                                                                                     \
    X(max_f64)                                                                                     \
    X(transpose_f32)                                                                               \
    X(transpose_f64)                                                                               \
    X(gemm_f32)                                                                                    \
    X(gemm_f64)                                                                                    \
    X(syrk_f64)                                                                                    \
    X(norms_f64)                                                                                   \
    X(rbf_f64)                                                                                     \
    X(potrf_f64)                                                                                   \
    X(trsm_f64)                                                                                    \
    X(trsm_left_f64)                                                                               \
    X(conv3x3_u8)                                                                                  \
    X(conv3x3_f32)                                                                                 \
    X(luma_u8)                                                                                     \
    X(histogram_u8)                                                                                \
    X(equalize_map_u8)                                                                             \
    X(map_luma_u8)

#define ADD_LIBRARY(x)                                                                             \
    add("manta_" #x, *row_of("manta/" #x), accesses<decltype(manta_##x##_launch)>::get(),          \
        reinterpret_cast<fake_twin_fn_t>(row_of("manta/" #x)->twin));                              \
    added++;

#define ADD_SUITE(x, most_threads)                                                                 \
    add(#x, x##_kernel, accesses<decltype(x##_launch)>::get(), x##_twin, most_threads);

#define ADD_PROGRAM(x)                                                                             \
    add(#x, x##_kernel, accesses<decltype(x##_launch)>::get(),                                     \
        [](const fake_cuda_shape_t *shape, void *const *args) {                                    \
            run_twin(&x##_kernel, shape, args);                                                    \
        });

__attribute__((constructor)) static void twins_add()
{
    uint32_t added = 0;
    LIBRARY_KERNELS(ADD_LIBRARY)
    if (added != mti_kernels_code.kernel_count) {
        fprintf(stderr, "libcuda_twins: a kernel of the library is missing here\n");
        abort();
    }
    ADD_SUITE(cts_saxpy, 0)
    ADD_SUITE(cts_bump, 0)
    ADD_SUITE(cts_mixed, 0)
    ADD_SUITE(cts_shape, 256)
    ADD_PROGRAM(saxpy_kernel)
    ADD_PROGRAM(serve_classify)
}
