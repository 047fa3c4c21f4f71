// A small multi-layer perceptron: 64 pixels, one hidden layer, 10 classes.
#ifndef SERVE_MLP_H
#define SERVE_MLP_H

#include <stddef.h>
#include <stdint.h>

enum {
    MLP_IN = 64,
    MLP_HIDDEN = 48,
    MLP_OUT = 10,
    MLP_WEIGHTS = MLP_HIDDEN * (MLP_IN + 1) + MLP_OUT * (MLP_HIDDEN + 1)
};

// Trains on |count| images of MLP_IN pixels from 0 to 1 each; writes MLP_WEIGHTS numbers. Deterministic.
void mlp_train(const float *images, const uint8_t *labels, size_t count, int epochs,
               float *out_weights);

// What |image| shows.
uint8_t mlp_classify(const float *weights, const float *image);

#endif
