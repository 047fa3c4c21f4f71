// The job as a graph of tasks. These functions submit and never wait: between the images and the
// digits that were read there is nothing but refs. The refs belong to the scope of the caller.
#ifndef DIGITS_GRAPH_H
#define DIGITS_GRAPH_H

#include "data.h"
#include "stopwatch.h"

#include <manta/manta.h>

// A set of images in blocks of |tile|; the last one may be smaller.
typedef struct blocks {
    size_t images, tile, count;
    manta_ref_t *pixels, *norms, *labels; // one of each per block
} blocks_t;

// The lower triangle of a symmetric matrix in tiles, with as many rows of tiles as there are blocks.
// Tiles are refs to objects of their own; nothing is kept for the upper triangle.
typedef struct triangle {
    size_t side, count; // rows of tiles, and tiles
    manta_ref_t *tiles;
} triangle_t;

// The tile in |row| and |column| <= |row|.
static inline manta_ref_t *triangle_at(const triangle_t *matrix, size_t row, size_t column)
{
    return &matrix->tiles[row * (row + 1) / 2 + column];
}

// How many images there are in |block|.
static inline size_t blocks_size(const blocks_t *blocks, size_t block)
{
    size_t first = block * blocks->tile;
    return blocks->images - first < blocks->tile ? blocks->images - first : blocks->tile;
}

// Puts |set| into the store. Returns false, having said so, if memory is short.
bool blocks_create(const digits_set_t *set, size_t tile, blocks_t *out_blocks);
void blocks_destroy(blocks_t *blocks);

// Computes the Cholesky factor of the Gram matrix of |train|, into |out_factor|. |watch| is stamped
// when the first Gram tile and when the last tile of the factor is ready; on devices when the first one is
// on its way, and not at the end.
bool graph_factorise(const blocks_t *train, double gamma, double lambda, stopwatch_t *watch,
                     triangle_t *out_factor);
void triangle_destroy(triangle_t *matrix);

// Computes the weights of the images in |train|, one ref per block, into |out_weights|.
void graph_solve(const blocks_t *train, const triangle_t *factor, manta_ref_t *out_weights);

// Reads the images in |test|: one ref per block, to a digit (uint8_t) for each image.
bool graph_read(const blocks_t *train, const manta_ref_t *weights, double gamma,
                const blocks_t *test, manta_ref_t *out_digits);

#endif
