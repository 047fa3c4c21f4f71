// What the command line says.
#ifndef DIGITS_OPTIONS_H
#define DIGITS_OPTIONS_H

#include <stdbool.h>

typedef struct digits_options {
    long train;          // images to train with; 0: the first half
    double gamma;        // width of the kernel: exp(-gamma |x - y|^2)
    double lambda;       // added to the diagonal of the Gram matrix
    int tile;            // rows and columns of a tile; 0: by size and workers
    int workers;         // MANTA_AUTO: one per core
    bool augment;        // train with the shifted images too
    bool gpus;           // compute on GPUs
    const char *data;    // where the images are
    const char *picture; // where to draw what was misread; NULL: nowhere
    const char *json;    // where to write the figures; NULL: nowhere
} digits_options_t;

// Reads the command line. Does not return for --help, or with status 2 if something is wrong with it.
void digits_options_parse(int argc, char **argv, digits_options_t *out_options);

#endif
