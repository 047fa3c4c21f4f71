#include "options.h"

#include <manta/runtime.h>

#include <argp.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

// Every long option has a number of its own; none has a short form.
enum option_key {
    OPTION_TRAIN = 1000,
    OPTION_GAMMA,
    OPTION_LAMBDA,
    OPTION_TILE,
    OPTION_AUGMENT,
    OPTION_WORKERS,
    OPTION_GPUS,
    OPTION_DATA,
    OPTION_PNG,
    OPTION_JSON
};

static const struct argp_option option_table[] = {
    {"train", OPTION_TRAIN, "N", 0, "Train with the first N images (default: the first half)", 1},
    {"augment", OPTION_AUGMENT, NULL, 0,
     "Also train with each image shifted by one pixel in eight directions", 1},
    {"gamma", OPTION_GAMMA, "G", 0, "Kernel exp(-G |x - y|^2) (default: 0.001)", 2},
    {"lambda", OPTION_LAMBDA, "L", 0, "Add L to the diagonal of the Gram matrix (default: 0.01)",
     2},
    {"tile", OPTION_TILE, "T", 0,
     "Cut matrices into tiles of T by T (default: by size and workers)", 3},
    {"workers", OPTION_WORKERS, "N", 0,
     "Threads that run tasks (default: one per core); 0: all in the main thread, one by one", 3},
    {"gpus", OPTION_GPUS, NULL, 0, "Compute on GPUs; where there are none, on two virtual ones", 3},
    {"data", OPTION_DATA, "FILE", 0, "Images to read (default: those that come with manta)", 4},
    {"png", OPTION_PNG, "FILE", 0, "Draw the images that were misread", 4},
    {"json", OPTION_JSON, "FILE", 0, "Write the figures as JSON", 4},
    {0}};

static long parse_integer(struct argp_state *state, const char *name, const char *text, long least,
                          long most)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end || errno || value < least || value > most)
        argp_error(state, "--%s takes a whole number from %ld to %ld, not '%s'", name, least, most,
                   text);
    return value;
}

static double parse_real(struct argp_state *state, const char *name, const char *text, double least)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || value < 0 || value < least)
        argp_error(state, "--%s takes a %s number, not '%s'", name,
                   least > 0 ? "positive" : "positive (or zero)", text);
    return value;
}

static const char *parse_path(struct argp_state *state, const char *name, const char *text)
{
    if (!*text) argp_error(state, "--%s takes the name of a file", name);
    return text;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    digits_options_t *options = state->input;
    switch (key) {
    case OPTION_TRAIN:
        options->train = parse_integer(state, "train", arg, 1, 10000000);
        return 0;
    case OPTION_GAMMA:
        options->gamma = parse_real(state, "gamma", arg, 1e-300);
        return 0;
    case OPTION_LAMBDA:
        options->lambda = parse_real(state, "lambda", arg, 0);
        return 0;
    case OPTION_TILE:
        options->tile = (int)parse_integer(state, "tile", arg, 8, 4096);
        return 0;
    case OPTION_AUGMENT:
        options->augment = true;
        return 0;
    case OPTION_WORKERS:
        options->workers = (int)parse_integer(state, "workers", arg, 0, 1024);
        return 0;
    case OPTION_GPUS:
        options->gpus = true;
        return 0;
    case OPTION_DATA:
        options->data = parse_path(state, "data", arg);
        return 0;
    case OPTION_PNG:
        options->picture = parse_path(state, "png", arg);
        return 0;
    case OPTION_JSON:
        options->json = parse_path(state, "json", arg);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "what is '%s'?", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

void digits_options_parse(int argc, char **argv, digits_options_t *out_options)
{
    static const struct argp parser = {
        .options = option_table,
        .parser = parse_option,
        .doc = "Recognises handwritten digits by kernel ridge regression: a Gram matrix, its "
               "Cholesky factor, triangular solves and predictions, all of them tasks."};
    *out_options = (digits_options_t){
        .gamma = 0.001, .lambda = 0.01, .workers = MANTA_AUTO, .data = DIGITS_DEFAULT_DATA};
    argp_err_exit_status = 2;
    if (argp_parse(&parser, argc, argv, 0, NULL, out_options)) exit(2);
}
