#include "tasks.h"

#include "rbf.h"

#include <cblas.h>

#include <stdlib.h>

// LAPACK, as Fortran has it.
void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);

MANTA_TASK(norms)
{
    for (size_t i = 0; i < squares.count; i++) {
        const double *image = x.data + i * DIGITS_PIXELS;
        squares.data[i] = cblas_ddot(DIGITS_PIXELS, image, 1, image, 1);
    }
    return MANTA_OK;
}

// The kernel of every image in x with every one in y: m by n.
static void kernel_tile(double gamma, const double *x, const double *x_norms, size_t m,
                        const double *y, const double *y_norms, size_t n, double *tile)
{
    cblas_dgemm(CblasColMajor, CblasTrans, CblasNoTrans, (int)m, (int)n, DIGITS_PIXELS, 1, x,
                DIGITS_PIXELS, y, DIGITS_PIXELS, 0, tile, (int)m);
    rbf_apply(gamma, x_norms, m, y_norms, n, tile);
}

MANTA_TASK(gram)
{
    size_t m = x_norms.count, n = y_norms.count;
    kernel_tile(gamma, x.data, x_norms.data, m, y.data, y_norms.data, n, tile.data);
    if (lambda > 0) {
        for (size_t i = 0; i < m; i++)
            tile.data[i * m + i] += lambda;
    }
    stopwatch_start(watch);
    return MANTA_OK;
}

MANTA_TASK(targets)
{
    for (int class = 0; class < DIGITS_CLASSES; class ++) {
        double *column = t.data + (size_t) class * labels.count;
        for (size_t i = 0; i < labels.count; i++)
            column[i] = labels.data[i] == class ? 1 : -1;
    }
    return MANTA_OK;
}

MANTA_TASK(potrf)
{
    int info = 0;
    dpotrf_("L", &side, a.data, &side, &info);
    if (info) {
        return manta_fail(
            task, DIGITS_ERR_NOT_POSITIVE,
            "the Gram matrix is not positive definite (pivot %d of a tile): lambda is "
            "too small",
            info);
    }
    stopwatch_stop(watch);
    return MANTA_OK;
}

// a = a L^-T, where L is the lower triangle of |side| columns of |l|. OpenBLAS 0.3.21 does this at a
// third of the speed of its dgemm; halving until little is left gives most of the work to that: on a
// Xeon with AVX-512 a tile of 256 goes from 11 to 18 GFLOP/s, where dgemm has 40.
static void right_solve(const double *l, int l_stride, int side, double *a, int rows)
{
    if (side <= 32) {
        cblas_dtrsm(CblasColMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, rows, side, 1,
                    l, l_stride, a, rows);
        return;
    }
    int half = side / 2, rest = side - half;
    double *a_rest = a + (size_t)half * (size_t)rows;
    right_solve(l, l_stride, half, a, rows);
    cblas_dgemm(CblasColMajor, CblasNoTrans, CblasTrans, rows, rest, half, -1, a, rows, l + half,
                l_stride, 1, a_rest, rows);
    right_solve(l + (size_t)half * (size_t)l_stride + half, l_stride, rest, a_rest, rows);
}

MANTA_TASK(trsm)
{
    right_solve(l.data, side, side, a.data, (int)(a.count / (size_t)side));
    return MANTA_OK;
}

MANTA_TASK(syrk)
{
    int side = (int)(a.count / (size_t)inner);
    cblas_dsyrk(CblasColMajor, CblasLower, CblasNoTrans, side, inner, -1, a.data, side, 1, c.data,
                side);
    return MANTA_OK;
}

MANTA_TASK(gemm)
{
    int rows = (int)(a.count / (size_t)inner), columns = (int)(b.count / (size_t)inner);
    cblas_dgemm(CblasColMajor, CblasNoTrans, CblasTrans, rows, columns, inner, -1, a.data, rows,
                b.data, columns, 1, c.data, rows);
    return MANTA_OK;
}

MANTA_TASK(solve)
{
    int side = (int)(b.count / DIGITS_CLASSES);
    cblas_dtrsm(CblasColMajor, CblasLeft, CblasLower, transposed ? CblasTrans : CblasNoTrans,
                CblasNonUnit, side, DIGITS_CLASSES, 1, l.data, side, b.data, side);
    return MANTA_OK;
}

MANTA_TASK(reduce)
{
    int rows = (int)(c.count / DIGITS_CLASSES), inner = (int)(b.count / DIGITS_CLASSES);
    cblas_dgemm(CblasColMajor, transposed ? CblasTrans : CblasNoTrans, CblasNoTrans, rows,
                DIGITS_CLASSES, inner, -1, a.data, transposed ? inner : rows, b.data, inner, 1,
                c.data, rows);
    return MANTA_OK;
}

MANTA_TASK(score)
{
    size_t m = x_norms.count, n = y_norms.count;
    double *tile = malloc(m * n * sizeof *tile);
    if (!tile) return MANTA_ERR_OUT_OF_MEMORY;
    kernel_tile(gamma, x.data, x_norms.data, m, y.data, y_norms.data, n, tile);
    cblas_dgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, (int)m, DIGITS_CLASSES, (int)n, 1, tile,
                (int)m, weights.data, (int)n, 0, scores.data, (int)m);
    free(tile);
    return MANTA_OK;
}

MANTA_TASK(vote)
{
    for (size_t i = 0; i < images; i++) {
        double best = 0;
        for (size_t class = 0; class < DIGITS_CLASSES; class ++) {
            double sum = 0;
            for (size_t k = 0; k < scores.count; k++)
                sum += scores.items[k].data[class * images + i];
            if (class == 0 || sum > best) {
                best = sum;
                digits.data[i] = (uint8_t) class;
            }
        }
    }
    return MANTA_OK;
}
