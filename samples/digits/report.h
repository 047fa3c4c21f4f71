// The figures of a run, for people and for programs.
#ifndef DIGITS_REPORT_H
#define DIGITS_REPORT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct report {
    size_t correct, total; // images that were read
    size_t train;          // images trained with, the shifted ones included
    double seconds;        // from the first Gram tile to the last tile of the factor
    double gflops;         // train^3 / 3 operations in that time
    double all_seconds;    // from the first task submitted to the last digit read
    double busy;           // share of |all_seconds| that the workers were inside bodies, 0 to 1
} report_t;

void report_print(const report_t *report);

// Writes {"correct", "total", "train", "seconds", "gflops", "busy"} to the file |path|. Says on stderr
// what went wrong and returns false then.
bool report_write_json(const report_t *report, const char *path);

#endif
