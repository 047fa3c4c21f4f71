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

// Adds all tiles to |cq|, with their worth as tag.
static manta_status_t watch_tiles(const triangle_t *factor, manta_cq_t cq, uint64_t *out_total)
{
    *out_total = 0;
    for (size_t row = 0; row < factor->side; row++) {
        for (size_t column = 0; column <= row; column++) {
            uint64_t worth = tile_worth(row, column);
            manta_status_t status = manta_cq_add(cq, *triangle_at(factor, row, column), worth);
            if (status != MANTA_OK) return status;
            *out_total += worth;
        }
    }
    return MANTA_OK;
}

manta_status_t progress_show(const triangle_t *factor)
{
    manta_cq_t cq;
    manta_status_t status = manta_cq_create(&cq);
    if (status != MANTA_OK) return status;
    uint64_t done = 0, total;
    status = watch_tiles(factor, cq, &total);
    bar_t bar = {.live = isatty(STDOUT_FILENO)};
    bool failed = false;
    while (status == MANTA_OK && !failed && done < total) {
        manta_cq_entry_t entries[BATCH];
        size_t count;
        status = manta_cq_next(cq, entries, BATCH, &count, MANTA_FOREVER);
        if (status != MANTA_OK) break;
        for (size_t i = 0; i < count; i++) {
            done += entries[i].tag;
            failed = failed || entries[i].status != MANTA_OK;
        }
        if (!failed) bar_draw(&bar, (int)(done * 100 / total));
    }
    if (bar.live && bar.percent < 100) printf("\n");
    manta_cq_destroy(cq);
    return status;
}
