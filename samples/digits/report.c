#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void report_print(const report_t *report)
{
    printf("correct   %zu of %zu (%.2f %%)\n", report->correct, report->total,
           100.0 * (double)report->correct / (double)report->total);
    printf("factor    %zu x %zu in %.3f s, %.1f GFLOP/s\n", report->train, report->train,
           report->seconds, report->gflops);
    printf("all       %.3f s, %.1f %% of it inside bodies\n", report->all_seconds,
           100 * report->busy);
}

bool report_write_json(const report_t *report, const char *path)
{
    FILE *file = fopen(path, "w");
    bool ok = file != NULL;
    if (ok) {
        ok = fprintf(file,
                     "{\"correct\": %zu, \"total\": %zu, \"train\": %zu, \"seconds\": %.6f, "
                     "\"gflops\": %.3f, \"busy\": %.4f}\n",
                     report->correct, report->total, report->train, report->seconds, report->gflops,
                     report->busy) > 0;
        ok = fclose(file) == 0 && ok;
    }
    if (!ok) fprintf(stderr, "digits: cannot write %s: %s\n", path, strerror(errno));
    return ok;
}
