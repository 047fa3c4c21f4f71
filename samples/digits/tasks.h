// The tasks. Matrices are column by column, as BLAS has them; a block of n images is 64 by n.
//
// A tile knows how many elements it has; one of its sides is given where that does not follow.
#ifndef DIGITS_TASKS_H
#define DIGITS_TASKS_H

#include "data.h"
#include "stopwatch.h"

#include <manta/manta.h>

#include <stdint.h>

// What a factorisation fails with when lambda is too small for the rounding errors.
#define DIGITS_ERR_NOT_POSITIVE (MANTA_ERR_USER + 1)

// ---- from images to the Gram matrix ----

// squares[i] = |x_i|^2
#define norms_PARAMS MANTA_IN(double, x), MANTA_OUT(double, squares, x.count / DIGITS_PIXELS)
MANTA_TASK_DECLARE(norms);

// tile[i, j] = exp(-gamma |x_i - y_j|^2), plus lambda where i = j
#define gram_PARAMS                                                                                \
    MANTA_LOCAL(stopwatch_t *, watch), MANTA_VAL(double, gamma), MANTA_VAL(double, lambda),        \
        MANTA_IN(double, x), MANTA_IN(double, x_norms), MANTA_IN(double, y),                       \
        MANTA_IN(double, y_norms), MANTA_OUT(double, tile, x_norms.count *y_norms.count)
MANTA_TASK_DECLARE(gram);

// t[i, c] = 1 where image i is a c, else -1
#define targets_PARAMS MANTA_IN(uint8_t, labels), MANTA_OUT(double, t, labels.count *DIGITS_CLASSES)
MANTA_TASK_DECLARE(targets);

// ---- Cholesky factor, the lower triangle ----

// a = L with L L^T = a; |side| rows and columns
#define potrf_PARAMS MANTA_LOCAL(stopwatch_t *, watch), MANTA_VAL(int, side), MANTA_INOUT(double, a)
MANTA_TASK_DECLARE(potrf);

// a = a L^-T
#define trsm_PARAMS MANTA_VAL(int, side), MANTA_IN(double, l), MANTA_INOUT(double, a)
MANTA_TASK_DECLARE(trsm);

// c = c - a a^T; |inner| columns in a
#define syrk_PARAMS MANTA_VAL(int, inner), MANTA_IN(double, a), MANTA_INOUT(double, c)
MANTA_TASK_DECLARE(syrk);

// c = c - a b^T; |inner| columns in a and b
#define gemm_PARAMS                                                                                \
    MANTA_VAL(int, inner), MANTA_IN(double, a), MANTA_IN(double, b), MANTA_INOUT(double, c)
MANTA_TASK_DECLARE(gemm);

// ---- solving for the weights, ten right-hand sides at a time ----

// b = L^-1 b, or L^-T b
#define solve_PARAMS MANTA_VAL(bool, transposed), MANTA_IN(double, l), MANTA_INOUT(double, b)
MANTA_TASK_DECLARE(solve);

// c = c - a b, or c - a^T b
#define reduce_PARAMS                                                                              \
    MANTA_VAL(bool, transposed), MANTA_IN(double, a), MANTA_IN(double, b), MANTA_INOUT(double, c)
MANTA_TASK_DECLARE(reduce);

// ---- from weights to digits ----

// scores = gram(x, y) weights, for images x that are to be read and one block y of those trained with
#define score_PARAMS                                                                               \
    MANTA_VAL(double, gamma), MANTA_IN(double, x), MANTA_IN(double, x_norms), MANTA_IN(double, y), \
        MANTA_IN(double, y_norms), MANTA_IN(double, weights),                                      \
        MANTA_OUT(double, scores, x_norms.count *DIGITS_CLASSES)
MANTA_TASK_DECLARE(score);

// digits[i] = the class with the highest sum over all blocks of scores
#define vote_PARAMS                                                                                \
    MANTA_VAL(size_t, images), MANTA_IN_LIST(double, scores), MANTA_OUT(uint8_t, digits, images)
MANTA_TASK_DECLARE(vote);

#endif
