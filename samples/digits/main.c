// Recognises handwritten digits by kernel ridge regression, in tasks.
#include "data.h"
#include "graph.h"
#include "options.h"
#include "picture.h"
#include "progress.h"
#include "report.h"

#include <manta/manta.h>
#include <manta/topology.h>

#include <cblas.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 2, BLOCKS_MOST = 512, VIRTUAL_GPUS = 2 };

// ---- what to train with and what to read -----------------------------------------------------

typedef struct job {
    digits_set_t all;       // as they came from the file
    digits_set_t augmented; // empty without --augment
    digits_set_t train, test;
} job_t;

static void job_free(job_t *job)
{
    digits_free(&job->all);
    digits_free(&job->augmented);
}

// Returns an exit status; with anything but success |job| holds nothing.
static int job_load(const digits_options_t *options, job_t *job)
{
    *job = (job_t){0};
    if (!digits_load(options->data, &job->all)) return EXIT_FAILURE;
    size_t train = options->train ? (size_t)options->train : job->all.count / 2;
    int status = EXIT_USAGE;
    if (train >= job->all.count) {
        fprintf(stderr, "digits: --train %zu leaves nothing to read: there are %zu images in %s\n",
                train, job->all.count, options->data);
        goto fail;
    }
    job->train = digits_part(&job->all, 0, train);
    job->test = digits_part(&job->all, train, job->all.count - train);
    if (options->augment) {
        status = EXIT_FAILURE;
        if (!digits_augment(&job->train, &job->augmented)) goto fail;
        job->train = job->augmented;
        status = EXIT_USAGE;
    }
    size_t most = job->train.count > job->test.count ? job->train.count : job->test.count;
    size_t tile = (size_t)options->tile;
    if (tile && (most + tile - 1) / tile > BLOCKS_MOST) {
        fprintf(stderr, "digits: --tile %zu is too small for %zu images: it takes at least %zu\n",
                tile, most, (most + BLOCKS_MOST - 1) / BLOCKS_MOST);
        goto fail;
    }
    return EXIT_SUCCESS;

fail:
    job_free(job);
    return status;
}

// ---- running it ------------------------------------------------------------------------------

// Waits for what was read in |block| and copies it to |out_digits|.
static bool digits_get(manta_ref_t block, uint8_t *out_digits, size_t count)
{
    if (manta_read(block, out_digits, count, MANTA_FOREVER) == MANTA_OK) return true;
    fflush(stdout);
    manta_ref_print_error(block, stderr);
    return false;
}

static uint64_t busy_ns(int *out_workers)
{
    manta_stats_t stats = {.struct_size = sizeof stats};
    manta_runtime_stats(manta_runtime_default(), &stats);
    *out_workers = stats.workers > 0 ? stats.workers : 1; // serial: the main thread
    return stats.busy_ns;
}

// The larger a tile, the closer its BLAS calls come to what the core can do: on a Xeon with AVX-512 a
// factorisation goes from 73 GFLOP/s with tiles of 256 to 92 with tiles of 704, and no further. But
// every worker wants a few columns of its own, or it waits for the diagonal.
static size_t tile_choose(const job_t *job, int workers)
{
    enum { STEP = 64, MOST = 704, COLUMNS_LEAST = 8, COLUMNS_PER_WORKER = 2 };
    size_t columns = (size_t)workers * COLUMNS_PER_WORKER;
    if (columns < COLUMNS_LEAST) columns = COLUMNS_LEAST;
    size_t images = job->train.count > job->test.count ? job->train.count : job->test.count;
    size_t least = (images + BLOCKS_MOST - 1) / BLOCKS_MOST;
    size_t tile = (job->train.count / columns + STEP) / STEP * STEP;
    if (tile > MOST) tile = MOST;
    return tile > least ? tile : least;
}

// Trains, and writes to |out_digits| what each image of the test set is taken for.
static bool job_run(const job_t *job, const digits_options_t *options, uint8_t *out_digits,
                    report_t *report)
{
    MANTA_SCOPE();
    stopwatch_t watch = {0};
    blocks_t train = {0}, test = {0};
    triangle_t factor = {0};
    manta_ref_t weights[BLOCKS_MOST], digits[BLOCKS_MOST];
    int workers;
    uint64_t busy = busy_ns(&workers);
    size_t tile = options->tile ? (size_t)options->tile : tile_choose(job, workers);
    int64_t start_ns = stopwatch_now_ns();

    bool ok = blocks_create(&job->train, tile, &train) && blocks_create(&job->test, tile, &test) &&
              graph_factorise(&train, options->gamma, options->lambda, &watch, &factor);
    if (!ok) goto done;
    graph_solve(&train, &factor, weights);
    ok = graph_read(&train, weights, options->gamma, &test, digits);
    if (!ok) goto done;

    if (progress_show(&factor, digits, test.count, options->gpus ? &watch : NULL) != MANTA_OK)
        fprintf(stderr, "digits: no progress to show: %s\n", manta_error_message());
    for (size_t block = 0; ok && block < test.count; block++)
        ok = digits_get(digits[block], out_digits + block * tile, blocks_size(&test, block));
    if (!ok) goto done;

    report->all_seconds = (double)(stopwatch_now_ns() - start_ns) * 1e-9;
    report->busy = (double)(busy_ns(&workers) - busy) * 1e-9 / (report->all_seconds * workers);
    report->seconds = stopwatch_seconds(&watch);
    double n = (double)job->train.count;
    report->gflops = report->seconds > 0 ? n * n * n / 3 / report->seconds * 1e-9 : 0;

done:
    // The stopwatch must outlive whatever stamps it.
    if (!ok && manta_drain(MANTA_FOREVER) != MANTA_OK)
        fprintf(stderr, "digits: %s\n", manta_error_message());
    triangle_destroy(&factor);
    blocks_destroy(&test);
    blocks_destroy(&train);
    return ok;
}

static int job_do(const job_t *job, const digits_options_t *options)
{
    report_t report = {.total = job->test.count, .train = job->train.count};
    uint8_t *digits = calloc(job->test.count, sizeof *digits);
    if (!digits) {
        fprintf(stderr, "digits: no memory for %zu digits\n", job->test.count);
        return EXIT_FAILURE;
    }
    bool ok = job_run(job, options, digits, &report);
    if (ok) {
        for (size_t i = 0; i < job->test.count; i++)
            report.correct += digits[i] == job->test.labels[i];
        report_print(&report);
        if (options->picture) ok = picture_write(options->picture, &job->test, digits);
        if (options->json) ok = report_write_json(&report, options->json) && ok;
    }
    free(digits);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

// ---- all of it -------------------------------------------------------------------------------

// A task with a CUDA body goes to a device where the runtime has one. So --gpus is a matter of the
// runtime alone: without it there are none, and with it virtual ones take the place of real ones.
static bool runtime_start(int workers, bool gpus)
{
    manta_runtime_options_t options;
    manta_runtime_options_init(&options);
    options.name = "digits";
    options.workers = workers;
    options.measure_busy = true;
    options.report_leaks = true;
    options.no_cuda = !gpus;
    options.sim_gpus = gpus ? 0 : -1;
    manta_status_t status = manta_init(&options);
    if (status == MANTA_OK && gpus && manta_gpu_count(manta_runtime_default()) == 0) {
        status = manta_shutdown(MANTA_FOREVER);
        options.sim_gpus = VIRTUAL_GPUS;
        if (status == MANTA_OK) status = manta_init(&options);
    }
    if (status == MANTA_OK) return true;
    fprintf(stderr, "digits: cannot start manta: %s\n", manta_error_message());
    return false;
}

static void machine_print(void)
{
    manta_runtime_t runtime = manta_runtime_default();
    char text[1024] = "";
    manta_topology_describe(runtime, text, sizeof text);
    const char *label = "machine";
    for (char *save, *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        printf("%-9s %s\n", label, line);
        label = "";
    }
    manta_stats_t stats = {.struct_size = sizeof stats};
    manta_runtime_stats(runtime, &stats);
    printf("workers   %d\n", stats.workers);
}

static void gpus_print(void)
{
    manta_runtime_t runtime = manta_runtime_default();
    int count = manta_gpu_count(runtime);
    for (int i = 0; i < count; i++) {
        manta_gpu_info_t info = {.struct_size = sizeof info};
        if (manta_gpu_describe(runtime, i, &info) != MANTA_OK) continue;
        if (info.is_virtual) {
            printf("GPU %-5d %s: no GPU, but the cores in its place\n", i, info.name);
        } else {
            printf("GPU %-5d %s, %.0f GB\n", i, info.name, (double)info.memory_bytes * 1e-9);
        }
    }
}

int main(int argc, char **argv)
{
    digits_options_t options;
    digits_options_parse(argc, argv, &options);
    openblas_set_num_threads(1); // the tasks are what runs at the same time

    job_t job;
    int status = job_load(&options, &job);
    if (status != EXIT_SUCCESS) return status;
    if (!runtime_start(options.workers, options.gpus)) {
        job_free(&job);
        return EXIT_FAILURE;
    }
    machine_print();
    if (options.gpus) gpus_print();
    printf("data      %zu images to train with, %zu to read\n", job.train.count, job.test.count);
    status = job_do(&job, &options);
    if (manta_shutdown(MANTA_FOREVER) != MANTA_OK) {
        fprintf(stderr, "digits: cannot stop manta: %s\n", manta_error_message());
        status = EXIT_FAILURE;
    }
    job_free(&job);
    return status;
}
