// A bar, and lines above it.
#ifndef PHOTOS_PROGRESS_H
#define PHOTOS_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct progress {
    bool live; // a terminal is looking: one line is drawn again and again; else a line per tenth
    size_t total, done, failed;
    size_t drawn; // how far the bar was when it was last drawn, in its steps
} progress_t;

void progress_begin(progress_t *progress, size_t total);
// One more is done.
void progress_step(progress_t *progress, bool failed);
// A line on stderr, above the bar.
void progress_say(progress_t *progress, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
