// gemm, syrk, rbf, norms, and the tile kernels of the Cholesky factorisation. Matrices are column by
// column. Their manual, with the CPU twins, is include/manta/kernels.h.
#include <stddef.h>
#include <stdint.h>

// ---- products ------------------------------------------------------------------------------------

// A block of 16 by 16 threads makes a tile of 64 by 64 of the result, 4 by 4 elements each, 16 apart:
// so neighbours in a warp read neighbours in shared memory and write neighbours in a column. What lies
// outside the operands counts as 0, so every thread goes through every barrier.
enum { TILE = 64, DEPTH = 16, SIDE = 16, PER = TILE / SIDE, PAD = 1 };

// Loads op(a)[i0 .. i0 + TILE, l0 .. l0 + DEPTH] as tile[l][i], where op(a) is |m| by |k|. Threads run
// along what is contiguous in memory.
template <class T>
static __device__ void load_tile(bool transposed, int m, int k, const T *__restrict__ a, int lda,
                                 int i0, int l0, T (*tile)[TILE + PAD])
{
    const int t = (int)(threadIdx.y * SIDE + threadIdx.x);
#pragma unroll
    for (int part = 0; part < TILE * DEPTH; part += SIDE * SIDE) {
        const int e = part + t;
        const int i = transposed ? e / DEPTH : e % TILE, l = transposed ? e % DEPTH : e / TILE;
        const int gi = i0 + i, gl = l0 + l;
        T value = 0;
        if (gi < m && gl < k) {
            value = transposed ? a[(size_t)gi * (size_t)lda + (size_t)gl]
                               : a[(size_t)gl * (size_t)lda + (size_t)gi];
        }
        tile[l][i] = value;
    }
}

// sums[r][c] = (op(a) op(b))[i0 + tx + 16 r, j0 + ty + 16 c], added up in the order of k.
template <class T>
static __device__ void multiply(bool transpose_a, bool transpose_b, int m, int n, int k,
                                const T *__restrict__ a, int lda, const T *__restrict__ b, int ldb,
                                int i0, int j0, T (&sums)[PER][PER])
{
    __shared__ T tile_a[DEPTH][TILE + PAD], tile_b[DEPTH][TILE + PAD];
    const int tx = (int)threadIdx.x, ty = (int)threadIdx.y;
#pragma unroll
    for (int r = 0; r < PER; r++) {
#pragma unroll
        for (int c = 0; c < PER; c++)
            sums[r][c] = 0;
    }
    for (int l0 = 0; l0 < k; l0 += DEPTH) {
        load_tile(transpose_a, m, k, a, lda, i0, l0, tile_a);
        load_tile(!transpose_b, n, k, b, ldb, j0, l0, tile_b); // op(b)^T is n by k
        __syncthreads();
#pragma unroll
        for (int l = 0; l < DEPTH; l++) {
            T left[PER], right[PER];
#pragma unroll
            for (int r = 0; r < PER; r++)
                left[r] = tile_a[l][tx + SIDE * r];
#pragma unroll
            for (int c = 0; c < PER; c++)
                right[c] = tile_b[l][ty + SIDE * c];
#pragma unroll
            for (int r = 0; r < PER; r++) {
#pragma unroll
                for (int c = 0; c < PER; c++)
                    sums[r][c] += left[r] * right[c];
            }
        }
        __syncthreads(); // before the tiles are written again
    }
}

// c = alpha sums + beta c, where c is |m| by |n|; with |lower| only on and below the diagonal. A beta of
// 0 does not read c.
template <class T>
static __device__ void scale_into(bool lower, int m, int n, T alpha, const T (&sums)[PER][PER],
                                  T beta, T *__restrict__ c, int ldc, int i0, int j0)
{
#pragma unroll
    for (int r = 0; r < PER; r++) {
#pragma unroll
        for (int q = 0; q < PER; q++) {
            const int i = i0 + (int)threadIdx.x + SIDE * r, j = j0 + (int)threadIdx.y + SIDE * q;
            if (i >= m || j >= n || (lower && i < j)) continue;
            T *at = c + (size_t)j * (size_t)ldc + (size_t)i;
            const T value = alpha * sums[r][q];
            *at = beta == 0 ? value : value + beta * *at;
        }
    }
}

template <class T>
static __device__ void gemm(int transpose_a, int transpose_b, int m, int n, int k, T alpha,
                            const T *__restrict__ a, int lda, const T *__restrict__ b, int ldb,
                            T beta, T *__restrict__ c, int ldc)
{
    const int i0 = (int)blockIdx.x * TILE, j0 = (int)blockIdx.y * TILE;
    T sums[PER][PER];
    multiply(transpose_a != 0, transpose_b != 0, m, n, k, a, lda, b, ldb, i0, j0, sums);
    scale_into(false, m, n, alpha, sums, beta, c, ldc, i0, j0);
}

extern "C" __global__ void __launch_bounds__(256)
    manta_gemm_f32(int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                   const float *__restrict__ a, int lda, const float *__restrict__ b, int ldb,
                   float beta, float *__restrict__ c, int ldc)
{
    gemm(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

extern "C" __global__ void __launch_bounds__(256)
    manta_gemm_f64(int transpose_a, int transpose_b, int m, int n, int k, double alpha,
                   const double *__restrict__ a, int lda, const double *__restrict__ b, int ldb,
                   double beta, double *__restrict__ c, int ldc)
{
    gemm(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

// Tiles above the diagonal have nothing to do: whole blocks leave.
extern "C" __global__ void __launch_bounds__(256)
    manta_syrk_f64(int n, int k, double alpha, const double *__restrict__ a, int lda, double beta,
                   double *__restrict__ c, int ldc)
{
    if (blockIdx.x < blockIdx.y) return;
    const int i0 = (int)blockIdx.x * TILE, j0 = (int)blockIdx.y * TILE;
    double sums[PER][PER];
    multiply(false, true, n, n, k, a, lda, a, lda, i0, j0, sums);
    scale_into(true, n, n, alpha, sums, beta, c, ldc, i0, j0);
}

// ---- similarities --------------------------------------------------------------------------------

extern "C" __global__ void __launch_bounds__(256)
    manta_norms_f64(int d, int n, const double *__restrict__ x, int ldx,
                    double *__restrict__ norms)
{
    const size_t step = (size_t)gridDim.x * blockDim.x;
    for (size_t j = (size_t)blockIdx.x * blockDim.x + threadIdx.x; n > 0 && j < (size_t)n;
         j += step) {
        const double *column = x + j * (size_t)ldx;
        double sum = 0;
        for (int l = 0; l < d; l++)
            sum += column[l] * column[l];
        norms[j] = sum;
    }
}

extern "C" __global__ void __launch_bounds__(256)
    manta_rbf_f64(int m, int n, int d, double gamma, double lambda, const double *__restrict__ x,
                  int ldx, const double *__restrict__ x_norms, const double *__restrict__ y,
                  int ldy, const double *__restrict__ y_norms, double *__restrict__ tile, int ldt)
{
    const int i0 = (int)blockIdx.x * TILE, j0 = (int)blockIdx.y * TILE;
    double sums[PER][PER];
    multiply(true, false, m, n, d, x, ldx, y, ldy, i0, j0, sums);
#pragma unroll
    for (int r = 0; r < PER; r++) {
#pragma unroll
        for (int c = 0; c < PER; c++) {
            const int i = i0 + (int)threadIdx.x + SIDE * r, j = j0 + (int)threadIdx.y + SIDE * c;
            if (i >= m || j >= n) continue;
            const double distance = x_norms[i] + y_norms[j] - 2 * sums[r][c];
            // Rounding may leave less than nothing of the distance.
            const double value = exp(-gamma * (distance < 0 ? 0 : distance));
            tile[(size_t)j * (size_t)ldt + (size_t)i] = i == j ? value + lambda : value;
        }
    }
}

// ---- Cholesky, one tile --------------------------------------------------------------------------

// By panels of 32 columns, all in one block: the panel's diagonal block is factored in shared memory,
// the rows under it are solved, a row per thread, and the rest is updated tile by tile. Everything that
// decides about a barrier is the same for all threads.
enum { PANEL = 32 };

// Factors the |nb| by |nb| block in |d|; returns 0 or the 1-based column of a pivot that is not
// positive. All threads return the same.
static __device__ int potrf_block(double (*d)[PANEL + 1], int nb)
{
    const int t = (int)threadIdx.x, threads = (int)blockDim.x;
    for (int j = 0; j < nb; j++) {
        const double pivot = d[j][j];
        if (!(pivot > 0)) return j + 1; // also NaN
        __syncthreads(); // all have read the pivot
        const double root = sqrt(pivot);
        for (int i = j + t; i < nb; i += threads)
            d[i][j] = i == j ? root : d[i][j] / root;
        __syncthreads();
        for (int e = t; e < nb * nb; e += threads) {
            const int i = e % nb, c = e / nb;
            if (c > j && i >= c) d[i][c] -= d[i][j] * d[c][j];
        }
        __syncthreads(); // before the next pivot is read
    }
    return 0;
}

// Rows from |first| on of the panel at column |k0|: row = row L^-T. Only called for whole panels.
static __device__ void potrf_rows(const double (*d)[PANEL + 1], int n, int k0, int first, double *a,
                                  size_t lda)
{
    for (int i = first + (int)threadIdx.x; i < n; i += (int)blockDim.x) {
        // Else the compiler reads all of d ahead of the loop, into more registers than there are.
        asm volatile("" ::: "memory");
        double row[PANEL];
#pragma unroll
        for (int j = 0; j < PANEL; j++)
            row[j] = a[(size_t)(k0 + j) * lda + (size_t)i];
#pragma unroll
        for (int j = 0; j < PANEL; j++) {
            double sum = row[j];
#pragma unroll
            for (int l = 0; l < j; l++)
                sum -= row[l] * d[j][l];
            row[j] = sum / d[j][j];
        }
#pragma unroll
        for (int j = 0; j < PANEL; j++)
            a[(size_t)(k0 + j) * lda + (size_t)i] = row[j];
    }
}

// p[i][l] = a[first + i, k0 + l], 0 beyond row |n|.
static __device__ void potrf_load(double (*p)[PANEL + 1], int n, int k0, int first,
                                  const double *a, size_t lda)
{
    for (int e = (int)threadIdx.x; e < PANEL * PANEL; e += (int)blockDim.x) {
        const int i = e % PANEL, l = e / PANEL;
        p[i][l] = first + i < n ? a[(size_t)(k0 + l) * lda + (size_t)(first + i)] : 0;
    }
}

extern "C" __global__ void __launch_bounds__(256)
    manta_potrf_f64(int n, double *a, int lda_int, int *info)
{
    __shared__ double d[PANEL][PANEL + 1], p[PANEL][PANEL + 1];
    const int t = (int)threadIdx.x, threads = (int)blockDim.x;
    const size_t lda = (size_t)lda_int;
    if (blockIdx.x != 0 || blockIdx.y != 0 || blockIdx.z != 0) return;
    if (t == 0) *info = 0;
    for (int k0 = 0; k0 < n; k0 += PANEL) {
        const int nb = n - k0 < PANEL ? n - k0 : PANEL, next = k0 + nb;
        // What the last panel wrote to this block was written before the barrier at its end.
        for (int e = t; e < nb * nb; e += threads) {
            const int i = e % nb, j = e / nb;
            if (i >= j) d[i][j] = a[(size_t)(k0 + j) * lda + (size_t)(k0 + i)];
        }
        __syncthreads();
        const int bad = potrf_block(d, nb);
        if (bad != 0) {
            if (t == 0) *info = k0 + bad;
            return; // all do
        }
        for (int e = t; e < nb * nb; e += threads) {
            const int i = e % nb, j = e / nb;
            if (i >= j) a[(size_t)(k0 + j) * lda + (size_t)(k0 + i)] = d[i][j];
        }
        if (next == n) return;
        potrf_rows(d, n, k0, next, a, lda);
        __syncthreads(); // the panel is whole; d is free
        for (int j0 = next; j0 < n; j0 += PANEL) {
            potrf_load(d, n, k0, j0, a, lda);
            for (int i0 = j0; i0 < n; i0 += PANEL) {
                potrf_load(p, n, k0, i0, a, lda);
                __syncthreads();
                for (int e = t; e < PANEL * PANEL; e += threads) {
                    const int i = i0 + e % PANEL, j = j0 + e / PANEL;
                    double sum = 0;
#pragma unroll
                    for (int l = 0; l < PANEL; l++)
                        sum += p[e % PANEL][l] * d[e / PANEL][l];
                    if (i < n && j < n && i >= j) a[(size_t)j * lda + (size_t)i] -= sum;
                }
                __syncthreads(); // before p, or d, is loaded again
            }
        }
    }
}

// a = a L^-T: rows don't know of each other, so a thread has one. It solves 32 columns at a time in
// registers; blocks of L go through shared memory, padded to whole ones with rows of the identity.
enum { ROWS = 64 };

static __device__ void trsm_load(double (*block)[PANEL + 1], int n, int j0, int l0,
                                 const double *__restrict__ l, size_t ldl)
{
    for (int e = (int)threadIdx.x; e < PANEL * PANEL; e += (int)blockDim.x) {
        const int i = e % PANEL, k = e / PANEL; // block[i][k] = L[j0 + i, l0 + k]
        const bool inside = j0 + i < n && l0 + k < n && j0 + i >= l0 + k;
        const double outside = j0 + i == l0 + k ? 1 : 0;
        block[i][k] = inside ? l[(size_t)(l0 + k) * ldl + (size_t)(j0 + i)] : outside;
    }
}

extern "C" __global__ void __launch_bounds__(ROWS)
    manta_trsm_f64(int m, int n, const double *__restrict__ l, int ldl, double *a, int lda_int)
{
    __shared__ double block[PANEL][PANEL + 1];
    const size_t lda = (size_t)lda_int;
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    const bool mine = m > 0 && i < (unsigned)m; // others help to load
    for (int j0 = 0; j0 < n; j0 += PANEL) {
        double row[PANEL];
#pragma unroll
        for (int j = 0; j < PANEL; j++)
            row[j] = mine && j0 + j < n ? a[(size_t)(j0 + j) * lda + (size_t)i] : 0;
        for (int l0 = 0; l0 < j0; l0 += PANEL) { // whole blocks, left of the diagonal
            __syncthreads();                     // nobody reads the last block any more
            trsm_load(block, n, j0, l0, l, (size_t)ldl);
            __syncthreads();
            for (int k = 0; k < PANEL; k++) {
                const double solved = mine ? a[(size_t)(l0 + k) * lda + (size_t)i] : 0;
#pragma unroll
                for (int j = 0; j < PANEL; j++)
                    row[j] -= solved * block[j][k];
            }
        }
        __syncthreads();
        trsm_load(block, n, j0, j0, l, (size_t)ldl);
        __syncthreads();
#pragma unroll
        for (int j = 0; j < PANEL; j++) {
            double sum = row[j];
#pragma unroll
            for (int k = 0; k < j; k++)
                sum -= row[k] * block[j][k];
            row[j] = sum / block[j][j];
        }
#pragma unroll
        for (int j = 0; j < PANEL; j++) {
            if (mine && j0 + j < n) a[(size_t)(j0 + j) * lda + (size_t)i] = row[j];
        }
    }
}

// b = L^-1 b or L^-T b for few right-hand sides: a block per column of b, which stays in shared memory
// as far as one step needs it. Column by column of L (row by row of L^T): what is solved is taken from
// all that is not.
extern "C" __global__ void __launch_bounds__(256)
    manta_trsm_left_f64(int transposed, int n, int columns, const double *__restrict__ l, int ldl,
                        double *b, int ldb)
{
    __shared__ double block[PANEL][PANEL + 1], solved[PANEL];
    const int t = (int)threadIdx.x, threads = (int)blockDim.x;
    if ((int)blockIdx.x >= columns) return; // all threads of the block
    double *x = b + (size_t)blockIdx.x * (size_t)ldb;
    const int panels = n / PANEL + (n % PANEL != 0);
    for (int step = 0; step < panels; step++) {
        const int k0 = (transposed ? panels - 1 - step : step) * PANEL;
        const int nb = n - k0 < PANEL ? n - k0 : PANEL;
        trsm_load(block, n, k0, k0, l, (size_t)ldl);
        for (int i = t; i < nb; i += threads)
            solved[i] = x[k0 + i];
        __syncthreads();
        for (int s = 0; s < nb; s++) {
            const int k = transposed ? nb - 1 - s : s;
            if (t == 0) solved[k] /= block[k][k];
            __syncthreads();
            for (int i = t; i < nb; i += threads) {
                const bool open = transposed ? i < k : i > k;
                if (open) solved[i] -= (transposed ? block[k][i] : block[i][k]) * solved[k];
            }
            __syncthreads();
        }
        for (int i = t; i < nb; i += threads)
            x[k0 + i] = solved[i];
        // The rest: below the panel, or above it for L^T. A thread has whole elements of it.
        const int first = transposed ? 0 : k0 + nb, last = transposed ? k0 : n;
        for (int i = first + t; i < last; i += threads) {
            double sum = x[i];
            for (int k = 0; k < nb; k++) {
                const double element = transposed ? l[(size_t)i * (size_t)ldl + (size_t)(k0 + k)]
                                                  : l[(size_t)(k0 + k) * (size_t)ldl + (size_t)i];
                sum -= element * solved[k];
            }
            x[i] = sum;
        }
        __syncthreads(); // x is whole for the next panel, and shared memory free
    }
}
