// The kernel function over a whole tile.
#ifndef DIGITS_RBF_H
#define DIGITS_RBF_H

#include <stddef.h>

// Turns products into similarities: tile[i, j] = exp(-gamma (rows[i] + columns[j] - 2 tile[i, j])),
// where tile[i, j] comes in as the inner product of the images i and j, and rows and columns are their
// squared norms.
void rbf_apply(double gamma, const double *rows, size_t row_count, const double *columns,
               size_t column_count, double *tile);

#endif
