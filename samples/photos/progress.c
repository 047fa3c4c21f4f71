#include "progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { WIDTH = 50, TENTHS = 10 };

static void draw(const progress_t *progress)
{
    if (!progress->live) {
        if (progress->done) printf("photos    %zu of %zu\n", progress->done, progress->total);
        fflush(stdout);
        return;
    }
    char bar[WIDTH + 1] = "";
    for (size_t i = 0; i < WIDTH; i++)
        bar[i] = i * progress->total < progress->done * WIDTH ? '#' : '.';
    printf("\rphotos    [%s] %zu of %zu", bar, progress->done, progress->total);
    if (progress->failed) printf(", %zu failed", progress->failed);
    if (progress->done == progress->total) printf("\n");
    fflush(stdout);
}

void progress_begin(progress_t *progress, size_t total)
{
    *progress = (progress_t){.live = isatty(STDOUT_FILENO), .total = total};
    draw(progress);
}

void progress_step(progress_t *progress, bool failed)
{
    progress->done++;
    progress->failed += failed;
    size_t steps = progress->live ? progress->total : TENTHS;
    size_t now = progress->done * steps / progress->total;
    if (now == progress->drawn) return;
    progress->drawn = now;
    draw(progress);
}

void progress_say(progress_t *progress, const char *format, ...)
{
    va_list args;
    if (progress->live) printf("\r\033[K");
    fflush(stdout);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    if (progress->live) draw(progress);
}
