#include "progress.h"

#include <stdio.h>
#include <unistd.h>

enum { BAR_WIDTH = 50, STEP_PERCENT = 10, BATCH = 64 };

typedef struct bar {
    bool live; // a terminal is looking
    int percent;
} bar_t;

static void bar_draw(bar_t *bar, int percent)
{
    int step = bar->live ? 1 : STEP_PERCENT;
    if (percent / step <= bar->percent / step) return;
    bar->percent = percent;
    if (bar->live) {
        char line[BAR_WIDTH + 1] = "";
        for (int i = 0; i < BAR_WIDTH; i++)
            line[i] = i * 100 < percent * BAR_WIDTH ? '#' : '.';
        printf("\rfactor    [%s] %3d %%%s", line, percent, percent == 100 ? "\n" : "");
    } else {
        printf("factor    %3d %%\n", percent / step * step);
    }
    fflush(stdout);
}

// A tile is worth the updates that it is waited for by: those of its row, from its column on. They
// add up to the work of the whole factorisation.
static uint64_t tile_worth(size_t row, size_t column)
{
    return 2 * (row - column) + 1;
}

// Adds all tiles to |cq|, with their worth as tag, and the refs in |last|, which are worth nothing.
static manta_status_t watch_all(manta_cq_t cq, const triangle_t *factor, const manta_ref_t *last,
                                size_t count, uint64_t *out_total)
{
    manta_status_t status = MANTA_OK;
    uint64_t total = 0;
    for (size_t row = 0; row < factor->side; row++) {
        for (size_t column = 0; column <= row && status == MANTA_OK; column++) {
            uint64_t worth = tile_worth(row, column);
            status = manta_cq_add(cq, *triangle_at(factor, row, column), worth);
            total += worth;
        }
    }
    for (size_t i = 0; i < count && status == MANTA_OK; i++)
        status = manta_cq_add(cq, last[i], 0);
    *out_total = total;
    return status;
}

manta_status_t progress_show(const triangle_t *factor, const manta_ref_t *last, size_t count,
                             stopwatch_t *watch)
{
    manta_cq_t cq;
    manta_status_t status = manta_cq_create(&cq);
    if (status != MANTA_OK) return status;
    bar_t bar = {.live = isatty(STDOUT_FILENO)};
    size_t left = factor->count + count;
    uint64_t done = 0, total;
    bool failed = false;
    status = watch_all(cq, factor, last, count, &total);
    while (status == MANTA_OK && left > 0) {
        manta_cq_entry_t entries[BATCH];
        size_t got = 0;
        status = manta_cq_next(cq, entries, BATCH, &got, MANTA_FOREVER);
        for (size_t i = 0; i < got; i++) {
            done += entries[i].tag;
            if (watch && entries[i].tag > 0 && done == total) stopwatch_stop(watch);
            failed = failed || entries[i].status != MANTA_OK;
        }
        left -= got;
        if (!failed) bar_draw(&bar, (int)(done * 100 / total));
    }
    if (bar.live && bar.percent < 100) printf("\n");
    manta_cq_destroy(cq);
    return status;
}
