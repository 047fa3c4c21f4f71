// Two kernels over int64_t that tests on devices share, by their CPU twins, and the rows that make them known to the
// fake CUDA driver. For one source file of a program.
#ifndef TESTS_FAKES_INT_KERNELS_H
#define TESTS_FAKES_INT_KERNELS_H

#include <algorithm>

#include "fakes/fake_kernels.h"

// y += a x. A task whose predecessor failed on a device still runs out, on whatever is there, and its result is thrown
// away: so this wraps.
MANTA_KERNEL(axpy_ints, int64_t, const int64_t *, int64_t *, size_t); // a, x, y, n
static void axpy_ints_twin(const manta_grid_t *, void *const *args)
{
    uint64_t a = *static_cast<uint64_t *>(args[0]);
    const uint64_t *x = *static_cast<const uint64_t **>(args[1]);
    uint64_t *y = *static_cast<uint64_t **>(args[2]);
    size_t n = *static_cast<size_t *>(args[3]);
    for (size_t i = 0; i < n; i++)
        y[i] += a * x[i];
}
MANTA_KERNEL_TWIN(axpy_ints, axpy_ints_twin);

MANTA_KERNEL(fill_ints, int64_t, int64_t *, size_t); // value, y, n
static void fill_ints_twin(const manta_grid_t *, void *const *args)
{
    std::fill_n(*static_cast<int64_t **>(args[1]), *static_cast<size_t *>(args[2]),
                *static_cast<int64_t *>(args[0]));
}
MANTA_KERNEL_TWIN(fill_ints, fill_ints_twin);

namespace manta_testing
{

// The bytes of as many int64_t as argument |i| counts.
inline size_t ints_extent(void *const *args, int i)
{
    return *static_cast<size_t *>(args[i]) * sizeof(int64_t);
}

inline FakeKernel fake_axpy_ints()
{
    return {&axpy_ints_kernel,
            axpy_ints_twin,
            {0, FAKE_CUDA_READ, FAKE_CUDA_READ | FAKE_CUDA_WRITE, 0},
            [](uint32_t, const fake_cuda_shape_t *, void *const *args) {
                return ints_extent(args, 3);
            }};
}

inline FakeKernel fake_fill_ints()
{
    return {&fill_ints_kernel,
            fill_ints_twin,
            {0, FAKE_CUDA_WRITE, 0},
            [](uint32_t, const fake_cuda_shape_t *, void *const *args) {
                return ints_extent(args, 2);
            }};
}

} // namespace manta_testing

#endif
