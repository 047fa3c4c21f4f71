// One task, on a CPU and then on a GPU: y = 2 x + y, y = 3 x + y, y = 4 x + y.
//
//     ./dev sample saxpy [cpu | gpu | virtual] [ELEMENTS]
#include "saxpy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 2, VIRTUAL_GPUS = 2 };

typedef struct options {
    manta_where_t where; // of the second and third call
    bool only_virtual;
    size_t count;
} options_t;

static bool options_parse(int argc, char **argv, options_t *out_options)
{
    options_t options = {.where = MANTA_GPU, .count = 1 << 20};
    for (int i = 1; i < argc; i++) {
        char *end;
        errno = 0;
        unsigned long long count = strtoull(argv[i], &end, 10);
        if (strcmp(argv[i], "cpu") == 0) {
            options.where = MANTA_CPU;
        } else if (strcmp(argv[i], "gpu") == 0 || strcmp(argv[i], "virtual") == 0) {
            options.where = MANTA_GPU;
            options.only_virtual = argv[i][0] == 'v';
        } else if (argv[i][0] >= '1' && argv[i][0] <= '9' && !*end && !errno &&
                   count <= 1000000000) {
            options.count = (size_t)count;
        } else {
            fprintf(stderr,
                    "saxpy: what is '%s'?\n"
                    "usage: saxpy [cpu | gpu | virtual] [ELEMENTS, up to 1000000000]\n",
                    argv[i]);
            return false;
        }
    }
    *out_options = options;
    return true;
}

// Starts the default runtime. GPUs need no set-up, but where there are none we want virtual ones.
static manta_status_t runtime_start(const options_t *options)
{
    manta_runtime_options_t runtime;
    manta_runtime_options_init(&runtime);
    runtime.name = "saxpy";
    runtime.report_leaks = true;
    runtime.no_cuda = options->only_virtual;
    manta_status_t status = manta_init(&runtime);
    if (status != MANTA_OK || options->where == MANTA_CPU ||
        manta_gpu_count(manta_runtime_default()) > 0) {
        return status;
    }
    printf("no GPU here: making %d virtual ones\n", VIRTUAL_GPUS);
    status = manta_shutdown(MANTA_FOREVER);
    runtime.sim_gpus = VIRTUAL_GPUS;
    return status == MANTA_OK ? manta_init(&runtime) : status;
}

static void say_where(const char *what, manta_ref_t ref)
{
    bool host;
    uint64_t gpus;
    if (manta_where(ref, &host, &gpus) != MANTA_OK) return;
    printf("%s is %s", what, host ? "at the host" : gpus ? "" : "nowhere");
    for (int i = 0; i < 64; i++) {
        manta_gpu_info_t info = {.struct_size = sizeof info};
        if (!(gpus >> i & 1)) continue;
        if (manta_gpu_describe(manta_runtime_default(), i, &info) != MANTA_OK) continue;
        printf("%son GPU %d (%s)", host ? " and " : "", i, info.name);
        host = true;
    }
    printf("\n");
}

static bool compute(const options_t *options, const float *xs, const float *ys)
{
    MANTA_SCOPE(); // refs and views made from here on are released where this block ends
    size_t bytes = options->count * sizeof(float);
    manta_ref_t x = manta_put(xs, bytes), y = manta_put(ys, bytes);

    // INOUT takes the ref and gives the next version of y. Nothing waits: all three are submitted while
    // the first may still run, and x and y are copied to a device once, where the second call goes.
    y = saxpy_with(MANTA_OPTIONS(.where = MANTA_CPU), 2.0f, x, y);
    y = saxpy_with(MANTA_OPTIONS(.where = options->where), 3.0f, x, y);
    y = saxpy_with(MANTA_OPTIONS(.where = options->where), 4.0f, x, y);

    // Waiting fetches nothing; reading does, as the host has no copy yet. What went wrong in any of the
    // three calls shows here, with its cause.
    if (manta_wait(&y, 1, 1, MANTA_FOREVER, NULL, NULL) == MANTA_OK) say_where("y", y);
    manta_view_t v;
    if (manta_get(y, &v, MANTA_FOREVER) != MANTA_OK) {
        manta_ref_print_error(y, stderr);
        return false;
    }
    const float *result = v.data;
    for (size_t i = 0; i < v.count; i++) {
        if (result[i] == ys[i] + 9 * xs[i]) continue;
        fprintf(stderr, "saxpy: element %zu is %g, and not %g\n", i, result[i], ys[i] + 9 * xs[i]);
        return false;
    }
    printf("all %zu elements are right: %g + 9 * %g = %g, ...\n", v.count, ys[0], xs[0], result[0]);
    return true;
}

int main(int argc, char **argv)
{
    options_t options;
    if (!options_parse(argc, argv, &options)) return EXIT_USAGE;
    float *xs = malloc(options.count * sizeof *xs), *ys = malloc(options.count * sizeof *ys);
    int status = EXIT_FAILURE;
    if (!xs || !ys) {
        fprintf(stderr, "saxpy: no memory for %zu elements\n", options.count);
        goto done;
    }
    for (size_t i = 0; i < options.count; i++) {
        xs[i] = (float)(i % 1000 + 1);
        ys[i] = (float)(i % 7 * 10 + 10);
    }
    if (runtime_start(&options) != MANTA_OK) {
        fprintf(stderr, "saxpy: cannot start manta: %s\n", manta_error_message());
        goto done;
    }
    if (compute(&options, xs, ys)) status = EXIT_SUCCESS;
    if (manta_shutdown(MANTA_FOREVER) != MANTA_OK) {
        fprintf(stderr, "saxpy: cannot stop manta: %s\n", manta_error_message());
        status = EXIT_FAILURE;
    }

done:
    free(xs);
    free(ys);
    return status;
}
