// fill, axpy, reduce, transpose. Their manual, with the CPU twins, is include/manta/kernels.h.
#include <math_constants.h>
#include <stddef.h>
#include <stdint.h>

// Where a thread starts in a grid-stride loop, and how far its steps are.
static __device__ size_t grid_first(void)
{
    return (size_t)blockIdx.x * blockDim.x + threadIdx.x;
}
static __device__ size_t grid_step(void)
{
    return (size_t)gridDim.x * blockDim.x;
}

// ---- fill, axpy ----------------------------------------------------------------------------------

#define FILL(name, T)                                                                              \
    extern "C" __global__ void name(size_t n, T value, T *__restrict__ x)                          \
    {                                                                                              \
        for (size_t i = grid_first(); i < n; i += grid_step())                                     \
            x[i] = value;                                                                          \
    }
FILL(manta_fill_u8, uint8_t)
FILL(manta_fill_u32, uint32_t)
FILL(manta_fill_f32, float)
FILL(manta_fill_f64, double)

// The product is rounded before the sum, as the twin does it: no fused multiply-add.
extern "C" __global__ void manta_axpy_f32(size_t n, float a, const float *__restrict__ x,
                                          float *__restrict__ y)
{
    for (size_t i = grid_first(); i < n; i += grid_step())
        y[i] = __fadd_rn(y[i], __fmul_rn(a, x[i]));
}

extern "C" __global__ void manta_axpy_f64(size_t n, double a, const double *__restrict__ x,
                                          double *__restrict__ y)
{
    for (size_t i = grid_first(); i < n; i += grid_step())
        y[i] = __dadd_rn(y[i], __dmul_rn(a, x[i]));
}

// ---- reduce --------------------------------------------------------------------------------------

template <class T> struct op_sum {
    static __device__ T none() { return 0; }
    static __device__ T of(T a, T b) { return a + b; }
};
// As fmin and fmax: a NaN loses against a number. Written out, so that the twin can say the same, also
// about -0 and +0.
template <class T> struct op_min {
    static __device__ T none() { return (T)CUDART_INF; }
    static __device__ T of(T a, T b) { return b < a || a != a ? b : a; }
};
template <class T> struct op_max {
    static __device__ T none() { return (T)-CUDART_INF; }
    static __device__ T of(T a, T b) { return b > a || a != a ? b : a; }
};

// Every thread takes its elements in rising order, then halves of the block are folded onto each other.
// For any size of the block up to 1024; all threads come to every barrier.
template <class T, class op>
static __device__ void reduce(size_t n, const T *__restrict__ x, T *__restrict__ partial)
{
    __shared__ T values[1024];
    const unsigned t = threadIdx.x;
    T value = op::none();
    for (size_t i = grid_first(); i < n; i += grid_step())
        value = op::of(value, x[i]);
    values[t] = value;
    __syncthreads();
    for (unsigned count = blockDim.x; count > 1;) {
        const unsigned half = (count + 1) / 2;
        if (t < count / 2) values[t] = op::of(values[t], values[t + half]);
        __syncthreads();
        count = half;
    }
    if (t == 0) partial[blockIdx.x] = values[0];
}

#define REDUCE(name, T, op)                                                                        \
    extern "C" __global__ void __launch_bounds__(1024)                                             \
        name(size_t n, const T *__restrict__ x, T *__restrict__ partial)                           \
    {                                                                                              \
        reduce<T, op<T>>(n, x, partial);                                                           \
    }
REDUCE(manta_sum_f32, float, op_sum)
REDUCE(manta_sum_f64, double, op_sum)
REDUCE(manta_min_f32, float, op_min)
REDUCE(manta_min_f64, double, op_min)
REDUCE(manta_max_f32, float, op_max)
REDUCE(manta_max_f64, double, op_max)

// ---- transpose -----------------------------------------------------------------------------------

// A tile of 32 by 32 goes through shared memory, so that both reads and writes run along columns. The
// 33rd element of padding keeps the threads of a warp on different banks. Right for any block of up to
// 32 by 32 threads, made for 32 by 8.
template <class T>
static __device__ void transpose(int rows, int columns, const T *__restrict__ a, int lda,
                                 T *__restrict__ b, int ldb)
{
    __shared__ T tile[32][33];
    const int row0 = (int)blockIdx.x * 32, column0 = (int)blockIdx.y * 32;
    for (int y = (int)threadIdx.y; y < 32; y += (int)blockDim.y) {
        for (int x = (int)threadIdx.x; x < 32; x += (int)blockDim.x) {
            const int i = row0 + x, j = column0 + y;
            if (i < rows && j < columns) tile[y][x] = a[(size_t)j * (size_t)lda + (size_t)i];
        }
    }
    __syncthreads();
    for (int y = (int)threadIdx.y; y < 32; y += (int)blockDim.y) {
        for (int x = (int)threadIdx.x; x < 32; x += (int)blockDim.x) {
            const int i = row0 + y, j = column0 + x; // b[j, i] = a[i, j]
            if (i < rows && j < columns) b[(size_t)i * (size_t)ldb + (size_t)j] = tile[x][y];
        }
    }
}

extern "C" __global__ void __launch_bounds__(256)
    manta_transpose_f32(int rows, int columns, const float *__restrict__ a, int lda,
                        float *__restrict__ b, int ldb)
{
    transpose(rows, columns, a, lda, b, ldb);
}

extern "C" __global__ void __launch_bounds__(256)
    manta_transpose_f64(int rows, int columns, const double *__restrict__ a, int lda,
                        double *__restrict__ b, int ldb)
{
    transpose(rows, columns, a, lda, b, ldb);
}
