#include "twins.h"

#include <math.h>

// Columns of op(a) that one step adds to a column of the result; they are packed first if they lie
// across memory. 256 rows of 8 columns stay in the first cache.
enum { ROWS = 256, DEPTH = 8 };

// c[0 .. rows] += the sum over l < depth of packed[l * ROWS + i] * factors[l].
#define PRODUCT(T)                                                                                 \
    static void add_columns_##T(size_t rows, size_t depth, const T *restrict packed,               \
                                const T *restrict factors, T *restrict c)                          \
    {                                                                                              \
        for (size_t l = 0; l < depth; l++) {                                                       \
            const T factor = factors[l];                                                           \
            for (size_t i = 0; i < rows; i++)                                                      \
                c[i] += packed[l * ROWS + i] * factor;                                             \
        }                                                                                          \
    }                                                                                              \
    /* packed = alpha op(a)[i0 .. i0 + rows, l0 .. l0 + depth] */                                  \
    static void pack_##T(bool transposed, T alpha, const T *a, size_t lda, size_t i0, size_t l0,   \
                         size_t rows, size_t depth, T *packed)                                     \
    {                                                                                              \
        for (size_t l = 0; l < depth; l++) {                                                       \
            for (size_t i = 0; i < rows; i++) {                                                    \
                packed[l * ROWS + i] = alpha * (transposed ? a[(i0 + i) * lda + l0 + l]            \
                                                           : a[(l0 + l) * lda + i0 + i]);          \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    /* c = beta c, element by element; 0 does not read. With |lower| from the diagonal down. */    \
    static void scale_##T(bool lower, size_t m, size_t n, T beta, T *c, size_t ldc)                \
    {                                                                                              \
        for (size_t j = 0; j < n; j++) {                                                           \
            T *column = c + j * ldc;                                                               \
            for (size_t i = lower ? j : 0; i < m; i++)                                             \
                column[i] = beta == 0 ? 0 : beta * column[i];                                      \
        }                                                                                          \
    }                                                                                              \
    /* c = alpha op(a) op(b) + beta c */                                                           \
    static void product_##T(bool lower, bool transpose_a, bool transpose_b, size_t m, size_t n,    \
                            size_t k, T alpha, const T *a, size_t lda, const T *b, size_t ldb,     \
                            T beta, T *c, size_t ldc)                                              \
    {                                                                                              \
        T packed[ROWS * DEPTH], factors[DEPTH];                                                    \
        scale_##T(lower, m, n, beta, c, ldc);                                                      \
        for (size_t i0 = 0; i0 < m; i0 += ROWS) {                                                  \
            const size_t rows = m - i0 < ROWS ? m - i0 : ROWS;                                     \
            for (size_t l0 = 0; l0 < k; l0 += DEPTH) {                                             \
                const size_t depth = k - l0 < DEPTH ? k - l0 : DEPTH;                              \
                pack_##T(transpose_a, alpha, a, lda, i0, l0, rows, depth, packed);                 \
                for (size_t j = 0; j < n && !(lower && j >= i0 + rows); j++) {                     \
                    const size_t skip = lower && j > i0 ? j - i0 : 0;                              \
                    for (size_t l = 0; l < depth; l++)                                             \
                        factors[l] = transpose_b ? b[(l0 + l) * ldb + j] : b[j * ldb + l0 + l];    \
                    add_columns_##T(rows - skip, depth, packed + skip, factors,                    \
                                    c + j * ldc + i0 + skip);                                      \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
PRODUCT(float)
PRODUCT(double)

#define GEMM(name, T)                                                                              \
    MTI_TWIN(name)                                                                                 \
    {                                                                                              \
        (void)grid;                                                                                \
        const int m = MTI_ARG(int, 2), n = MTI_ARG(int, 3), k = MTI_ARG(int, 4);                   \
        if (m <= 0 || n <= 0) return;                                                              \
        product_##T(false, MTI_ARG(int, 0) != 0, MTI_ARG(int, 1) != 0, (size_t)m, (size_t)n,       \
                    k < 0 ? 0 : (size_t)k, MTI_ARG(T, 5), MTI_ARG(const T *, 6),                   \
                    (size_t)MTI_ARG(int, 7), MTI_ARG(const T *, 8), (size_t)MTI_ARG(int, 9),       \
                    MTI_ARG(T, 10), MTI_ARG(T *, 11), (size_t)MTI_ARG(int, 12));                   \
    }
GEMM(gemm_f32, float)
GEMM(gemm_f64, double)

MTI_TWIN(syrk_f64)
{
    (void)grid;
    const int n = MTI_ARG(int, 0), k = MTI_ARG(int, 1);
    const double *a = MTI_ARG(const double *, 3);
    const size_t lda = (size_t)MTI_ARG(int, 4);
    if (n <= 0) return;
    product_double(true, false, true, (size_t)n, (size_t)n, k < 0 ? 0 : (size_t)k,
                   MTI_ARG(double, 2), a, lda, a, lda, MTI_ARG(double, 5), MTI_ARG(double *, 6),
                   (size_t)MTI_ARG(int, 7));
}

// ---- similarities --------------------------------------------------------------------------------

MTI_TWIN(norms_f64)
{
    (void)grid;
    const int d = MTI_ARG(int, 0), n = MTI_ARG(int, 1);
    const double *x = MTI_ARG(const double *, 2);
    const size_t ldx = (size_t)MTI_ARG(int, 3);
    double *norms = MTI_ARG(double *, 4);
    for (int j = 0; j < n; j++) {
        double sum = 0;
        for (int l = 0; l < d; l++)
            sum += x[(size_t)j * ldx + (size_t)l] * x[(size_t)j * ldx + (size_t)l];
        norms[j] = sum;
    }
}

MTI_TWIN(rbf_f64)
{
    (void)grid;
    const int m = MTI_ARG(int, 0), n = MTI_ARG(int, 1), d = MTI_ARG(int, 2);
    const double gamma = MTI_ARG(double, 3), lambda = MTI_ARG(double, 4);
    const double *x_norms = MTI_ARG(const double *, 7), *y_norms = MTI_ARG(const double *, 10);
    double *tile = MTI_ARG(double *, 11);
    const size_t ldt = (size_t)MTI_ARG(int, 12);
    if (m <= 0 || n <= 0) return;
    product_double(false, true, false, (size_t)m, (size_t)n, d < 0 ? 0 : (size_t)d, 1,
                   MTI_ARG(const double *, 5), (size_t)MTI_ARG(int, 6), MTI_ARG(const double *, 8),
                   (size_t)MTI_ARG(int, 9), 0, tile, ldt);
    for (int j = 0; j < n; j++) {
        double *column = tile + (size_t)j * ldt;
        for (int i = 0; i < m; i++) {
            const double distance = x_norms[i] + y_norms[j] - 2 * column[i];
            column[i] = exp(-gamma * (distance < 0 ? 0 : distance));
        }
        if (j < m) column[j] += lambda;
    }
}

// ---- Cholesky, one tile --------------------------------------------------------------------------

// Column by column: what is left of it has been taken off, then it is taken off all to its right.
MTI_TWIN(potrf_f64)
{
    (void)grid;
    const int n = MTI_ARG(int, 0);
    double *a = MTI_ARG(double *, 1);
    const size_t lda = (size_t)MTI_ARG(int, 2);
    int *info = MTI_ARG(int *, 3);
    *info = 0;
    for (int j = 0; j < n; j++) {
        double *restrict column = a + (size_t)j * lda;
        if (!(column[j] > 0)) { // also NaN
            *info = j + 1;
            return;
        }
        const double root = sqrt(column[j]);
        column[j] = root;
        for (int i = j + 1; i < n; i++)
            column[i] /= root;
        for (int c = j + 1; c < n; c++) {
            double *restrict other = a + (size_t)c * lda;
            for (int i = c; i < n; i++)
                other[i] -= column[i] * column[c];
        }
    }
}

// Column by column of a: what is solved is taken off the columns to its right.
MTI_TWIN(trsm_f64)
{
    (void)grid;
    const int m = MTI_ARG(int, 0), n = MTI_ARG(int, 1);
    const double *l = MTI_ARG(const double *, 2);
    const size_t ldl = (size_t)MTI_ARG(int, 3);
    double *a = MTI_ARG(double *, 4);
    const size_t lda = (size_t)MTI_ARG(int, 5);
    for (int j = 0; j < n; j++) {
        double *restrict column = a + (size_t)j * lda;
        const double diagonal = l[(size_t)j * ldl + (size_t)j];
        for (int i = 0; i < m; i++)
            column[i] /= diagonal;
        for (int c = j + 1; c < n; c++) {
            double *restrict other = a + (size_t)c * lda;
            const double factor = l[(size_t)j * ldl + (size_t)c];
            for (int i = 0; i < m; i++)
                other[i] -= column[i] * factor;
        }
    }
}

static void solve_down(int n, const double *l, size_t ldl, double *restrict x)
{
    for (int k = 0; k < n; k++) {
        const double *restrict column = l + (size_t)k * ldl;
        x[k] /= column[k];
        for (int i = k + 1; i < n; i++)
            x[i] -= column[i] * x[k];
    }
}

static void solve_up(int n, const double *l, size_t ldl, double *restrict x)
{
    for (int k = n - 1; k >= 0; k--) {
        const double *restrict column = l + (size_t)k * ldl;
        double sum = x[k];
        for (int i = k + 1; i < n; i++)
            sum -= column[i] * x[i];
        x[k] = sum / column[k];
    }
}

MTI_TWIN(trsm_left_f64)
{
    (void)grid;
    const bool transposed = MTI_ARG(int, 0) != 0;
    const int n = MTI_ARG(int, 1), columns = MTI_ARG(int, 2);
    const double *l = MTI_ARG(const double *, 3);
    const size_t ldl = (size_t)MTI_ARG(int, 4);
    double *b = MTI_ARG(double *, 5);
    const size_t ldb = (size_t)MTI_ARG(int, 6);
    for (int j = 0; j < columns; j++) {
        double *x = b + (size_t)j * ldb;
        if (transposed) {
            solve_up(n, l, ldl, x);
        } else {
            solve_down(n, l, ldl, x);
        }
    }
}
