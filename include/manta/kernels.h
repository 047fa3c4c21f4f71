// The kernels that come with manta: each as CUDA code and as a CPU twin, under the name "manta/...".
//
// In a CUDA body:      return manta_gemm_f64_launch(manta_gemm_grid(m, n), 0, 1, m, n, k, ...);
// In a CPU body:       return manta_gemm_f64_run(manta_gemm_grid(m, n), 0, 1, m, n, k, ...);
//                      which runs the twin on this thread.
// In other languages:  manta_launch_kernel() with the name; the parameters are as below.
//
// A build of manta without nvcc has the twins only. Device code is there for compute capability 7.5,
// 8.0, 8.6, 8.9 and 9.0, and as PTX for those to come.
//
// For all of them:
//  - Pointers are device memory for launches and host memory for twins, aligned to their elements.
//    Buffers that are written overlap no other, unless said so.
//  - Matrices are column by column, as in BLAS: element [i, j] of a matrix with leading dimension ld is
//    at [j * ld + i]; ld is at least the number of rows. Pictures are row by row, channels next to each
//    other, without padding. Sizes that are int stay below 2^30; one that is not positive means that
//    there is nothing to do.
//  - The function in front of a kernel gives a grid for it. "Any grid": any number of blocks and
//    threads in one dimension is right; twins then don't look at it.
//  - Deterministic: the same bits for the same arguments, grid and device. "As the twin": the same bits
//    as the twin's, too; otherwise they differ by rounding, as CUDA code uses fused multiply-add.
#ifndef MANTA_KERNELS_H
#define MANTA_KERNELS_H

#include <manta/kernel.h>

#include <stddef.h>
#include <stdint.h>

// Up to |most| blocks of |block| threads, as many as |n| elements are worth.
static inline MANTA_UNUSED manta_grid_t manta_stride_grid(size_t n, uint32_t block, uint32_t most)
{
    manta_grid_t g = manta_grid_1d(n, block);
    if (g.grid[0] > most) g.grid[0] = most;
    return g;
}

// ---- vectors --------------------------------------------------------------------------------

// For |n| elements, a few for each thread: 256 threads a block hide latency everywhere, and 4096
// blocks fill any device.
static inline MANTA_UNUSED manta_grid_t manta_vector_grid(size_t n)
{
    return manta_stride_grid(n, 256, 4096);
}

// x[i] = value.
//
// Parameters: n, value, x.   Grid: any.   Deterministic: as the twin.
MANTA_KERNEL_AS(manta_fill_u8, "manta/fill_u8", size_t, uint8_t, uint8_t *);
MANTA_KERNEL_AS(manta_fill_u32, "manta/fill_u32", size_t, uint32_t, uint32_t *);
MANTA_KERNEL_AS(manta_fill_f32, "manta/fill_f32", size_t, float, float *);
MANTA_KERNEL_AS(manta_fill_f64, "manta/fill_f64", size_t, double, double *);

// y[i] = y[i] + a x[i]; the product is rounded first.
//
// Parameters: n, a, x, y.   Grid: any.   Deterministic: as the twin.
MANTA_KERNEL_AS(manta_axpy_f32, "manta/axpy_f32", size_t, float, const float *, float *);
MANTA_KERNEL_AS(manta_axpy_f64, "manta/axpy_f64", size_t, double, const double *, double *);

// partial[b] = sum, least or greatest of the elements that block b takes. A second launch of one block
// over the partials gives the result:
//
//     manta_grid_t grid = manta_reduce_grid(n);       // grid.grid[0] blocks: as many partials
//     manta_sum_f64_launch(grid, n, x, partial);
//     manta_sum_f64_launch(manta_reduce_grid_last(), grid.grid[0], partial, result);
//
// Nothing gives 0, +infinity, -infinity. min and max pass over NaNs, sum doesn't; which of -0 and +0
// is least is open.
//
// Parameters: n, x, partial.
// Grid:       any up to 1024 threads; block b takes elements b * threads + t + k * blocks * threads. It
//             decides the order of the sums: blocks are capped at 1024 so that the second launch is
//             short.
// Deterministic: as the twin, which goes through the same grid in the same order.
static inline MANTA_UNUSED manta_grid_t manta_reduce_grid(size_t n)
{
    return manta_stride_grid(n == 0 ? 1 : n, 256, 1024);
}
static inline MANTA_UNUSED manta_grid_t manta_reduce_grid_last(void)
{
    return manta_grid_1d(1024, 1024);
}
MANTA_KERNEL_AS(manta_sum_f32, "manta/sum_f32", size_t, const float *, float *);
MANTA_KERNEL_AS(manta_sum_f64, "manta/sum_f64", size_t, const double *, double *);
MANTA_KERNEL_AS(manta_min_f32, "manta/min_f32", size_t, const float *, float *);
MANTA_KERNEL_AS(manta_min_f64, "manta/min_f64", size_t, const double *, double *);
MANTA_KERNEL_AS(manta_max_f32, "manta/max_f32", size_t, const float *, float *);
MANTA_KERNEL_AS(manta_max_f64, "manta/max_f64", size_t, const double *, double *);

// ---- matrices -------------------------------------------------------------------------------

// b = a^T, where a is |rows| by |columns|.
//
// Parameters: rows, columns, a, lda, b, ldb.
// Grid:       blocks of up to 32 by 32 threads, one per tile of 32 by 32. 32 by 8: four elements a
//             thread keep enough loads in flight. At most 65535 tiles along the columns.
// Deterministic: as the twin.
static inline MANTA_UNUSED manta_grid_t manta_transpose_grid(int rows, int columns)
{
    manta_grid_t g = manta_grid_2d(rows < 0 ? 0 : (size_t)rows, columns < 0 ? 0 : (size_t)columns,
                                   32, 32);
    g.block[1] = 8;
    return g;
}
MANTA_KERNEL_AS(manta_transpose_f32, "manta/transpose_f32", int, int, const float *, int, float *,
                int);
MANTA_KERNEL_AS(manta_transpose_f64, "manta/transpose_f64", int, int, const double *, int,
                double *, int);

// c = alpha op(a) op(b) + beta c, as xGEMM: c is |m| by |n|, op(a) |m| by |k|, op(b) |k| by |n|. With
// beta 0 c is not read.
//
// Parameters: transpose_a, transpose_b (0 or 1), m, n, k, alpha, a, lda, b, ldb, beta, c, ldc.
// Grid:       one block of exactly 16 by 16 threads per tile of 64 by 64 of c: 16 results a thread,
//             from 17 KiB of shared memory (f64), so that several blocks share a multiprocessor.
//             At most 65535 tiles along the columns.
// Deterministic: yes; each element is summed in the order of k.
static inline MANTA_UNUSED manta_grid_t manta_gemm_grid(int m, int n)
{
    manta_grid_t g = manta_grid_2d(m < 0 ? 0 : (size_t)m, n < 0 ? 0 : (size_t)n, 64, 64);
    g.block[0] = g.block[1] = 16;
    return g;
}
MANTA_KERNEL_AS(manta_gemm_f32, "manta/gemm_f32", int, int, int, int, int, float, const float *,
                int, const float *, int, float, float *, int);
MANTA_KERNEL_AS(manta_gemm_f64, "manta/gemm_f64", int, int, int, int, int, double, const double *,
                int, const double *, int, double, double *, int);

// c = alpha a a^T + beta c, where a is |n| by |k|; only the lower triangle of c is read or written.
//
// Parameters: n, k, alpha, a, lda, beta, c, ldc.
// Grid:       manta_gemm_grid(n, n); blocks above the diagonal leave at once.
// Deterministic: yes, as gemm.
MANTA_KERNEL_AS(manta_syrk_f64, "manta/syrk_f64", int, int, double, const double *, int, double,
                double *, int);

// The Cholesky factor of one tile: a = L with L L^T = a, in the lower triangle of a, which is |n| by
// |n|. The rest is neither read nor written. *info is 0, or i if the pivot in column i (from 1) is not
// positive; then a is not a factor, but what it became on the way. *info can be the task's
// manta_status_word().
//
// Parameters: n, a, lda, info (an int on the device).
// Grid:       exactly one block: a tile is small and each of its columns needs the one before. 256
//             threads. For tiles up to a few hundred columns; beyond, use several tiles.
// Deterministic: yes.
static inline MANTA_UNUSED manta_grid_t manta_potrf_grid(void)
{
    return manta_grid_1d(256, 256);
}
MANTA_KERNEL_AS(manta_potrf_f64, "manta/potrf_f64", int, double *, int, int *);

// a = a L^-T, where L is the lower triangle of l (|n| by |n|, its diagonal not 0) and a is |m| by |n|.
//
// Parameters: m, n, l, ldl, a, lda.
// Grid:       one dimension, a thread per row of a, up to 64 a block: rows are independent, and
//             small blocks spread a tile over more multiprocessors.
// Deterministic: yes.
static inline MANTA_UNUSED manta_grid_t manta_trsm_grid(int m)
{
    return manta_grid_1d(m < 0 ? 0 : (size_t)m, 64);
}
MANTA_KERNEL_AS(manta_trsm_f64, "manta/trsm_f64", int, int, const double *, int, double *, int);

// b = L^-1 b, or L^-T b if |transposed|, where L is as above and b is |n| by |columns|.
//
// Parameters: transposed (0 or 1), n, columns, l, ldl, b, ldb.
// Grid:       one dimension, a block of up to 256 threads per column of b: for few columns.
// Deterministic: yes.
static inline MANTA_UNUSED manta_grid_t manta_trsm_left_grid(int columns)
{
    manta_grid_t g = manta_grid_1d(columns < 0 ? 0 : (size_t)columns, 1);
    g.block[0] = 256;
    return g;
}
MANTA_KERNEL_AS(manta_trsm_left_f64, "manta/trsm_left_f64", int, int, int, const double *, int,
                double *, int);

// norms[j] = the square of the length of column j of x, which is |d| by |n|.
//
// Parameters: d, n, x, ldx, norms.   Grid: any, manta_vector_grid(n).   Deterministic: yes.
MANTA_KERNEL_AS(manta_norms_f64, "manta/norms_f64", int, int, const double *, int, double *);

// A tile of a Gram matrix: tile[i, j] = exp(-gamma |x_i - y_j|^2), plus lambda where i = j. x is |d| by
// |m| and y |d| by |n|, an item per column; the norms are those of norms_f64.
//
// Parameters: m, n, d, gamma, lambda, x, ldx, x_norms, y, ldy, y_norms, tile, ldt.
// Grid:       manta_gemm_grid(m, n): a product with exp behind it.
// Deterministic: yes.
MANTA_KERNEL_AS(manta_rbf_f64, "manta/rbf_f64", int, int, int, double, double, const double *, int,
                const double *, const double *, int, const double *, double *, int);

// ---- pictures -------------------------------------------------------------------------------

// A 3x3 filter: k[0] is for the neighbour above to the left, k[8] for the one below to the right.
typedef struct manta_conv3x3 {
    float k[9];
    float bias;
} manta_conv3x3_t;

// dst = bias + the sum of k times the neighbours, channel by channel; beyond the border stands what is
// on it. _u8 rounds to the nearest, ties to even, and clamps; NaN becomes 0.
//
// Parameters: width, height, channels (1 to 4; width * channels below 2^30), src, dst, filter (a
//             manta_conv3x3_t).
// Grid:       two dimensions, any: x over width * channels, y over height. 64 by 4 threads: long runs
//             along rows, and neighbouring rows in one block share their reads in the cache.
// Deterministic: as the twin.
static inline MANTA_UNUSED manta_grid_t manta_conv3x3_grid(int width, int height, int channels)
{
    bool none = width <= 0 || height <= 0 || channels <= 0;
    manta_grid_t g = manta_grid_2d(none ? 0 : (size_t)width * (size_t)channels,
                                   none ? 0 : (size_t)height, 64, 4);
    if (g.grid[1] > 65535) g.grid[1] = 65535;
    return g;
}
MANTA_KERNEL_AS(manta_conv3x3_u8, "manta/conv3x3_u8", int, int, int, const uint8_t *, uint8_t *,
                manta_conv3x3_t);
MANTA_KERNEL_AS(manta_conv3x3_f32, "manta/conv3x3_f32", int, int, int, const float *, float *,
                manta_conv3x3_t);

// dst[i] = the luma of pixel i: the only, or first, of up to two channels; of three or four (77 red + 150
// green + 29 blue + 128) / 256. src and dst may be the same if there is one channel.
//
// Parameters: pixels, channels (1 to 4), src, dst.   Grid: any, manta_vector_grid(pixels).
// Deterministic: as the twin.
MANTA_KERNEL_AS(manta_luma_u8, "manta/luma_u8", size_t, int, const uint8_t *, uint8_t *);

// bins[v] += how many of the n bytes are v. 256 bins, which the caller sets to 0 first; they wrap at
// 2^32.
//
// Parameters: n, x, bins.
// Grid:       any. Each block counts for itself and then adds once, so few blocks with much to do:
//             manta_histogram_grid(n).
// Deterministic: as the twin.
static inline MANTA_UNUSED manta_grid_t manta_histogram_grid(size_t n)
{
    return manta_stride_grid(n, 256, 512);
}
MANTA_KERNEL_AS(manta_histogram_u8, "manta/histogram_u8", size_t, const uint8_t *, uint32_t *);

// map[v] = where v goes for a flat histogram: 0 for the lowest value that occurs, 255 for the highest,
// in between by how many are at or below it, rounded. With one value only, or none: v.
//
// Parameters: bins (256), map (256).   Grid: exactly one block of 256 threads, one per value.
// Deterministic: as the twin.
static inline MANTA_UNUSED manta_grid_t manta_equalize_map_grid(void)
{
    return manta_grid_1d(256, 256);
}
MANTA_KERNEL_AS(manta_equalize_map_u8, "manta/equalize_map_u8", const uint32_t *, uint8_t *);

// Moves every pixel's luma y to map[y]: grey is replaced, red, green and blue each move by map[y] - y and
// are clamped, so the hue stays. Alpha (the second of two channels, the fourth of four) is kept.
//
// Parameters: pixels, channels (1 to 4), src, map (256), dst. src and dst may be the same.
// Grid:       any, manta_vector_grid(pixels).   Deterministic: as the twin.
MANTA_KERNEL_AS(manta_map_luma_u8, "manta/map_luma_u8", size_t, int, const uint8_t *,
                const uint8_t *, uint8_t *);

#endif
