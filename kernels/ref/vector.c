#include "twins.h"

#include <math.h>
#include <string.h>

// ---- fill, axpy ----------------------------------------------------------------------------------

#define FILL(name, T)                                                                              \
    MTI_TWIN(name)                                                                                 \
    {                                                                                              \
        (void)grid;                                                                                \
        const size_t n = MTI_ARG(size_t, 0);                                                       \
        const T value = MTI_ARG(T, 1);                                                             \
        T *restrict x = MTI_ARG(T *, 2);                                                           \
        for (size_t i = 0; i < n; i++)                                                             \
            x[i] = value;                                                                          \
    }
FILL(fill_u8, uint8_t)
FILL(fill_u32, uint32_t)
FILL(fill_f32, float)
FILL(fill_f64, double)

#define AXPY(name, T)                                                                              \
    MTI_TWIN(name)                                                                                 \
    {                                                                                              \
        (void)grid;                                                                                \
        const size_t n = MTI_ARG(size_t, 0);                                                       \
        const T a = MTI_ARG(T, 1);                                                                 \
        const T *restrict x = MTI_ARG(const T *, 2);                                               \
        T *restrict y = MTI_ARG(T *, 3);                                                           \
        for (size_t i = 0; i < n; i++)                                                             \
            y[i] = y[i] + a * x[i];                                                                \
    }
AXPY(axpy_f32, float)
AXPY(axpy_f64, double)

// ---- reduce --------------------------------------------------------------------------------------

#define SUM(a, b) ((a) + (b))
#define MIN(a, b) ((b) < (a) || (a) != (a) ? (b) : (a))
#define MAX(a, b) ((b) > (a) || (a) != (a) ? (b) : (a))

// The order of the grid: values[t] is what thread t of a block has; then halves are folded. Elements of
// neighbouring threads are neighbours, so the inner loop runs along memory.
#define REDUCE(name, T, op, none)                                                                  \
    static T name##_block(const manta_grid_t *grid, size_t n, const T *x, uint32_t block)          \
    {                                                                                              \
        const uint32_t threads = grid->block[0];                                                   \
        const size_t step = (size_t)grid->grid[0] * threads;                                       \
        T values[1024];                                                                            \
        for (uint32_t t = 0; t < threads; t++)                                                     \
            values[t] = (none);                                                                    \
        for (size_t first = (size_t)block * threads; first < n; first += step) {                   \
            const size_t count = n - first < threads ? n - first : threads;                        \
            for (size_t t = 0; t < count; t++)                                                     \
                values[t] = op(values[t], x[first + t]);                                           \
        }                                                                                          \
        for (uint32_t count = threads; count > 1; count = (count + 1) / 2) {                       \
            const uint32_t half = (count + 1) / 2;                                                 \
            for (uint32_t t = 0; t < count / 2; t++)                                               \
                values[t] = op(values[t], values[t + half]);                                       \
        }                                                                                          \
        return values[0];                                                                          \
    }                                                                                              \
    MTI_TWIN(name)                                                                                 \
    {                                                                                              \
        const size_t n = MTI_ARG(size_t, 0);                                                       \
        const T *x = MTI_ARG(const T *, 1);                                                        \
        T *partial = MTI_ARG(T *, 2);                                                              \
        if (grid->block[0] > 1024) return;                                                         \
        for (uint32_t block = 0; block < grid->grid[0]; block++)                                   \
            partial[block] = name##_block(grid, n, x, block);                                      \
    }
REDUCE(sum_f32, float, SUM, 0)
REDUCE(sum_f64, double, SUM, 0)
REDUCE(min_f32, float, MIN, INFINITY)
REDUCE(min_f64, double, MIN, (double)INFINITY)
REDUCE(max_f32, float, MAX, -INFINITY)
REDUCE(max_f64, double, MAX, (double)-INFINITY)

// ---- transpose -----------------------------------------------------------------------------------

// Tile by tile, so that both sides stay in the first cache.
#define TRANSPOSE(name, T)                                                                         \
    static void name##_tile(const T *a, size_t lda, T *b, size_t ldb, int rows, int columns)       \
    {                                                                                              \
        for (int i = 0; i < rows; i++) {                                                           \
            for (int j = 0; j < columns; j++)                                                      \
                b[(size_t)i * ldb + (size_t)j] = a[(size_t)j * lda + (size_t)i];                   \
        }                                                                                          \
    }                                                                                              \
    MTI_TWIN(name)                                                                                 \
    {                                                                                              \
        (void)grid;                                                                                \
        const int rows = MTI_ARG(int, 0), columns = MTI_ARG(int, 1);                               \
        const T *a = MTI_ARG(const T *, 2);                                                        \
        const size_t lda = (size_t)MTI_ARG(int, 3);                                                \
        T *b = MTI_ARG(T *, 4);                                                                    \
        const size_t ldb = (size_t)MTI_ARG(int, 5);                                                \
        for (int j = 0; j < columns; j += 32) {                                                    \
            for (int i = 0; i < rows; i += 32) {                                                   \
                name##_tile(a + (size_t)j * lda + (size_t)i, lda, b + (size_t)i * ldb + (size_t)j, \
                            ldb, rows - i < 32 ? rows - i : 32,                                    \
                            columns - j < 32 ? columns - j : 32);                                  \
            }                                                                                      \
        }                                                                                          \
    }
TRANSPOSE(transpose_f32, float)
TRANSPOSE(transpose_f64, double)
