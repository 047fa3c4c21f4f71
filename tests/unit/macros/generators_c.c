#include "generators.h"

#include <string.h>

#define CHECK(c)                                                                                   \
    do {                                                                                           \
        if (!(c)) return __LINE__;                                                                 \
    } while (0)

struct walk_state {
    int round;
    int *ends;
};

// Each value has a point for every step, further on by the round.
MANTA_GENERATOR(walk, struct walk_state)
{
    self->ends = ends;
    if (self->round == rounds) return MANTA_ERR_END;
    if (rounds < 0) return manta_fail(task, MANTA_ERR_USER + 1, "rounds %d", rounds);
    for (size_t i = 0; i < place.count; i++) {
        place.data[i].x = from.x + steps.data[i] * self->round;
        place.data[i].y = from.y;
    }
    self->round++;
    return MANTA_OK;
}

MANTA_GENERATOR_END(walk)
{
    if (self->ends) ++*self->ends;
}

// Declared and defined at once; values of more and more elements.
struct rows_state {
    size_t made;
};
MANTA_GENERATOR(rows, struct rows_state, MANTA_VAL(size_t, n), MANTA_OUT(short, row))
{
    if (self->made == n) return MANTA_ERR_END;
    if (manta_out_resize(row, ++self->made) != MANTA_OK) return MANTA_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < row.count; i++)
        row.data[i] = (short)self->made;
    return MANTA_OK;
}

int generators_in_c(void)
{
    MANTA_SCOPE();
    int steps[2] = {1, 10}, ends = 0;
    manta_ref_t ref = manta_put(steps, sizeof steps);
    gen_point_t from = {5, 7};
    walk_t walk = walk_remote(from, ref, &ends, 3);
    CHECK(walk.status == MANTA_OK);
    for (int i = 0; i < 3; i++) {
        MANTA_SCOPE();
        walk_out_t place;
        gen_point_t points[2];
        CHECK(walk_next(walk, &place, MANTA_FOREVER) == MANTA_OK);
        CHECK(manta_read(place, points, sizeof points, MANTA_FOREVER) == MANTA_OK);
        CHECK(points[0].x == 5 + i && points[1].x == 5 + 10 * i && points[1].y == 7);
    }
    gen_point_t point;
    CHECK(walk_next_value(walk, &point) == MANTA_ERR_END);
    CHECK(walk_destroy(walk) == MANTA_OK);
    CHECK(manta_drain(MANTA_FOREVER) == MANTA_OK);
    CHECK(ends == 1);
    CHECK(walk_destroy(walk) == MANTA_ERR_STALE_REF);
    // The caller's ref is where it was.
    CHECK(manta_ref_status(ref) == MANTA_OK);
    CHECK(manta_release(ref) == MANTA_OK);
    CHECK(manta_ref_status(ref) == MANTA_ERR_STALE_REF);
    return 0;
}

int generators_in_c_here(void)
{
    MANTA_SCOPE();
    rows_t rows = rows_with(MANTA_GENERATOR_OPTIONS(.run_ahead = 3, .step.name = "a row"), 5);
    for (size_t i = 1; i <= 5; i++) {
        rows_out_t row;
        manta_view_t view;
        CHECK(rows_next(rows, &row, MANTA_FOREVER) == MANTA_OK);
        CHECK(manta_get(row, &view, MANTA_FOREVER) == MANTA_OK);
        CHECK(view.count == i && view.dtype == MANTA_DTYPE(MANTA_I16, 2));
        CHECK(((const short *)view.data)[i - 1] == (short)i);
    }
    rows_out_t none;
    CHECK(rows_next(rows, &none, 0) != MANTA_OK);
    CHECK(rows_next(rows, &none, MANTA_FOREVER) == MANTA_ERR_END);
    CHECK(rows_destroy(rows) == MANTA_OK);

    // Values of another size than one element are taken all the same.
    short one = 0;
    rows = rows_remote(3);
    CHECK(rows_next_value(rows, &one) == MANTA_OK && one == 1);
    CHECK(rows_next_value(rows, &one) == MANTA_ERR_TYPE_MISMATCH);
    CHECK(rows_cancel(rows) == MANTA_OK);
    CHECK(rows_next_value(rows, &one) == MANTA_ERR_CANCELLED);
    CHECK(rows_destroy(rows) == MANTA_OK);

    double t = -1;
    cc_ticks_t ticks = cc_ticks_remote();
    CHECK(cc_ticks_next_value(ticks, &t) == MANTA_OK && t == 0);
    CHECK(cc_ticks_next_value(ticks, &t) == MANTA_OK && t == 0.5);
    CHECK(cc_ticks_destroy(ticks) == MANTA_OK);
    return 0;
}

int generators_in_c_fail(void)
{
    MANTA_SCOPE();
    int step = 1, ends = 0;
    float other[2] = {0, 0};
    char odd[3] = "ab";
    gen_point_t from = {0, 0}, point;
    // Not started.
    walk_t walk = walk_remote(from, manta_put(other, sizeof other), &ends, 1);
    CHECK(walk.status == MANTA_ERR_TYPE_MISMATCH);
    CHECK(strstr(manta_error_message(), "generator walk, argument steps") != NULL);
    CHECK(walk_next_value(walk, &point) == MANTA_ERR_TYPE_MISMATCH);
    CHECK(walk_cancel(walk) == MANTA_ERR_TYPE_MISMATCH);
    CHECK(walk_destroy(walk) == MANTA_ERR_TYPE_MISMATCH);
    walk = walk_with(MANTA_GENERATOR_OPTIONS(.run_ahead = 1u << 30), from,
                     manta_put(&step, sizeof step), &ends, 1);
    CHECK(walk.status == MANTA_ERR_INVALID_ARGUMENT);
    CHECK(ends == 0); // never was a step
    // The first value fails, with what was wrong.
    manta_ref_t promise = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    walk = walk_remote(from, promise, &ends, 1);
    CHECK(walk.status == MANTA_OK);
    CHECK(manta_promise_fail(promise, MANTA_ERR_USER + 2, "no steps today") == MANTA_OK);
    CHECK(walk_next_value(walk, &point) == MANTA_ERR_USER + 2);
    CHECK(strstr(manta_error_message(), "no steps today") != NULL);
    CHECK(walk_next_value(walk, &point) == MANTA_ERR_END);
    CHECK(walk_destroy(walk) == MANTA_OK);
    walk = walk_remote(from, manta_put((const void *)odd, sizeof odd), &ends, 1);
    CHECK(walk_next_value(walk, &point) == MANTA_ERR_TYPE_MISMATCH);
    CHECK(strstr(manta_error_message(), "argument steps has 3 bytes") != NULL);
    CHECK(walk_destroy(walk) == MANTA_OK);
    walk = walk_remote(from, manta_put(&step, sizeof step), &ends, -1);
    CHECK(walk_next_value(walk, &point) == MANTA_ERR_USER + 1);
    CHECK(walk_destroy(walk) == MANTA_OK);
    CHECK(manta_drain(MANTA_FOREVER) == MANTA_OK);
    CHECK(ends == 1);
    return 0;
}
