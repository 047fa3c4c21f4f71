#include "graph.h"

#include "tasks.h"

#include <stdio.h>
#include <stdlib.h>

static manta_ref_t *refs_alloc(size_t count)
{
    manta_ref_t *refs = calloc(count, sizeof *refs);
    if (!refs) fprintf(stderr, "digits: no memory for %zu refs\n", count);
    return refs;
}

bool blocks_create(const digits_set_t *set, size_t tile, blocks_t *out_blocks)
{
    blocks_t blocks = {.images = set->count, .tile = tile, .count = (set->count + tile - 1) / tile};
    blocks.pixels = refs_alloc(3 * blocks.count);
    if (!blocks.pixels) return false;
    blocks.norms = blocks.pixels + blocks.count;
    blocks.labels = blocks.norms + blocks.count;
    for (size_t b = 0; b < blocks.count; b++) {
        digits_set_t part = digits_part(set, b * tile, blocks_size(&blocks, b));
        blocks.pixels[b] = manta_put(part.pixels, part.count * DIGITS_PIXELS * sizeof *part.pixels);
        blocks.labels[b] = manta_put(part.labels, part.count * sizeof *part.labels);
        blocks.norms[b] = norms_remote(blocks.pixels[b]);
    }
    *out_blocks = blocks;
    return true;
}

void blocks_destroy(blocks_t *blocks)
{
    free(blocks->pixels);
    *blocks = (blocks_t){0};
}

// ---- factor ----------------------------------------------------------------------------------

static void gram_submit(const blocks_t *x, double gamma, double lambda, stopwatch_t *watch,
                        triangle_t *gram)
{
    for (size_t column = 0; column < gram->side; column++) {
        for (size_t row = column; row < gram->side; row++) {
            *triangle_at(gram, row, column) =
                gram_remote(watch, gamma, row == column ? lambda : 0, x->pixels[row], x->norms[row],
                            x->pixels[column], x->norms[column]);
        }
    }
}

// Right-looking: as soon as a column is done it is taken out of all that is right of it. Each call
// takes the ref of the tile that it updates and gives its next version, so nobody else holds the old
// one and the update is in place.
static void cholesky_submit(const blocks_t *x, stopwatch_t *watch, triangle_t *a)
{
    for (size_t k = 0; k < a->side; k++) {
        int width = (int)blocks_size(x, k);
        manta_ref_t *diagonal = triangle_at(a, k, k);
        *diagonal = potrf_remote(watch, width, *diagonal);
        for (size_t row = k + 1; row < a->side; row++) {
            manta_ref_t *below = triangle_at(a, row, k);
            *below = trsm_remote(width, *diagonal, *below);
        }
        for (size_t column = k + 1; column < a->side; column++) {
            manta_ref_t left = *triangle_at(a, column, k), *on = triangle_at(a, column, column);
            *on = syrk_remote(width, left, *on);
            for (size_t row = column + 1; row < a->side; row++) {
                manta_ref_t *at = triangle_at(a, row, column);
                *at = gemm_remote(width, *triangle_at(a, row, k), left, *at);
            }
        }
    }
}

bool graph_factorise(const blocks_t *train, double gamma, double lambda, stopwatch_t *watch,
                     triangle_t *out_factor)
{
    triangle_t factor = {.side = train->count, .count = train->count * (train->count + 1) / 2};
    factor.tiles = refs_alloc(factor.count);
    if (!factor.tiles) return false;
    gram_submit(train, gamma, lambda, watch, &factor);
    cholesky_submit(train, watch, &factor);
    *out_factor = factor;
    return true;
}

void triangle_destroy(triangle_t *matrix)
{
    free(matrix->tiles);
    *matrix = (triangle_t){0};
}

// ---- weights ---------------------------------------------------------------------------------

void graph_solve(const blocks_t *train, const triangle_t *factor, manta_ref_t *out_weights)
{
    manta_ref_t *w = out_weights;
    for (size_t k = 0; k < train->count; k++)
        w[k] = targets_remote(train->labels[k]);

    for (size_t k = 0; k < train->count; k++) { // L y = t, downwards
        w[k] = solve_remote(false, *triangle_at(factor, k, k), w[k]);
        for (size_t row = k + 1; row < train->count; row++)
            w[row] = reduce_remote(false, *triangle_at(factor, row, k), w[k], w[row]);
    }
    for (size_t k = train->count; k-- > 0;) { // L^T w = y, upwards
        w[k] = solve_remote(true, *triangle_at(factor, k, k), w[k]);
        for (size_t row = 0; row < k; row++)
            w[row] = reduce_remote(true, *triangle_at(factor, k, row), w[k], w[row]);
    }
}

// ---- digits ----------------------------------------------------------------------------------

bool graph_read(const blocks_t *train, const manta_ref_t *weights, double gamma,
                const blocks_t *test, manta_ref_t *out_digits)
{
    manta_ref_t *scores = refs_alloc(train->count);
    if (!scores) return false;
    for (size_t block = 0; block < test->count; block++) {
        for (size_t k = 0; k < train->count; k++) {
            scores[k] = score_remote(gamma, test->pixels[block], test->norms[block],
                                     train->pixels[k], train->norms[k], weights[k]);
        }
        out_digits[block] = vote_remote(blocks_size(test, block), scores, train->count);
        for (size_t k = 0; k < train->count; k++)
            manta_release(scores[k]);
    }
    free(scores);
    return true;
}
