// The CUDA bodies: the same tasks by manta's kernels. They run on the host and only enqueue; pointers are
// the device's. What is not here, targets and vote, is little and runs on CPUs.
#include "tasks.h"

#include <manta/kernels.h>

MANTA_CUDA(norms)
{
    int n = (int)squares.count;
    return manta_norms_f64_launch(manta_vector_grid(squares.count), DIGITS_PIXELS, n, x.data,
                                  DIGITS_PIXELS, squares.data);
}

// The kernel of every image in x with every one in y, plus lambda where i = j.
static manta_status_t kernel_tile(double gamma, double lambda, const double *x,
                                  const double *x_norms, int m, const double *y,
                                  const double *y_norms, int n, double *tile)
{
    return manta_rbf_f64_launch(manta_gemm_grid(m, n), m, n, DIGITS_PIXELS, gamma, lambda, x,
                                DIGITS_PIXELS, x_norms, y, DIGITS_PIXELS, y_norms, tile, m);
}

MANTA_CUDA(gram)
{
    stopwatch_start(watch); // when it is on its way: the host is not there when it ends
    return kernel_tile(gamma, lambda, x.data, x_norms.data, (int)x_norms.count, y.data,
                       y_norms.data, (int)y_norms.count, tile.data);
}

// The kernel leaves the column that it failed at in a word on the device; that word is the task's status.
MANTA_CUDA(potrf)
{
    int *info = manta_scratch(task, sizeof *info);
    if (!info) return MANTA_ERR_OUT_OF_MEMORY;
    manta_status_t status = manta_potrf_f64_launch(manta_potrf_grid(), side, a.data, side, info);
    return status == MANTA_OK ? manta_status_word(task, info) : status;
}

MANTA_CUDA(trsm)
{
    int rows = (int)(a.count / (size_t)side);
    return manta_trsm_f64_launch(manta_trsm_grid(rows), rows, side, l.data, side, a.data, rows);
}

MANTA_CUDA(syrk)
{
    int side = (int)(a.count / (size_t)inner);
    return manta_syrk_f64_launch(manta_gemm_grid(side, side), side, inner, -1, a.data, side, 1,
                                 c.data, side);
}

MANTA_CUDA(gemm)
{
    int rows = (int)(a.count / (size_t)inner), columns = (int)(b.count / (size_t)inner);
    return manta_gemm_f64_launch(manta_gemm_grid(rows, columns), 0, 1, rows, columns, inner, -1,
                                 a.data, rows, b.data, columns, 1, c.data, rows);
}

MANTA_CUDA(solve)
{
    int side = (int)(b.count / DIGITS_CLASSES);
    return manta_trsm_left_f64_launch(manta_trsm_left_grid(DIGITS_CLASSES), transposed, side,
                                      DIGITS_CLASSES, l.data, side, b.data, side);
}

MANTA_CUDA(reduce)
{
    int rows = (int)(c.count / DIGITS_CLASSES), inner = (int)(b.count / DIGITS_CLASSES);
    return manta_gemm_f64_launch(manta_gemm_grid(rows, DIGITS_CLASSES), transposed, 0, rows,
                                 DIGITS_CLASSES, inner, -1, a.data, transposed ? inner : rows,
                                 b.data, inner, 1, c.data, rows);
}

MANTA_CUDA(score)
{
    int m = (int)x_norms.count, n = (int)y_norms.count;
    double *tile = manta_scratch(task, x_norms.count * y_norms.count * sizeof *tile);
    if (!tile) return MANTA_ERR_OUT_OF_MEMORY;
    manta_status_t status =
        kernel_tile(gamma, 0, x.data, x_norms.data, m, y.data, y_norms.data, n, tile);
    if (status != MANTA_OK) return status;
    return manta_gemm_f64_launch(manta_gemm_grid(m, DIGITS_CLASSES), 0, 0, m, DIGITS_CLASSES, n, 1,
                                 tile, m, weights.data, n, 0, scores.data, m);
}
