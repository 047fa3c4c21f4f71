#include "mlp.h"

#include <math.h>
#include <string.h>

// Weights of the hidden layer, row by row, its biases last in each row; then the same of the outputs.
static const float *output_rows(const float *weights)
{
    return weights + MLP_HIDDEN * (MLP_IN + 1);
}

static float dot(const float *row, const float *x, int n)
{
    float sum = row[n];
    for (int i = 0; i < n; i++)
        sum += row[i] * x[i];
    return sum;
}

static void forward(const float *weights, const float *image, float *hidden, float *out)
{
    for (int h = 0; h < MLP_HIDDEN; h++) {
        float x = dot(weights + h * (MLP_IN + 1), image, MLP_IN);
        hidden[h] = x > 0 ? x : 0;
    }
    for (int o = 0; o < MLP_OUT; o++)
        out[o] = dot(output_rows(weights) + o * (MLP_HIDDEN + 1), hidden, MLP_HIDDEN);
}

uint8_t mlp_classify(const float *weights, const float *image)
{
    float hidden[MLP_HIDDEN], out[MLP_OUT];
    forward(weights, image, hidden, out);
    int best = 0;
    for (int o = 1; o < MLP_OUT; o++) {
        if (out[o] > out[best]) best = o;
    }
    return (uint8_t)best;
}

// The same numbers on every machine.
static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

// One step down the gradient of the cross entropy.
static void step(float *weights, const float *image, uint8_t label, float rate)
{
    float hidden[MLP_HIDDEN], out[MLP_OUT], back[MLP_HIDDEN] = {0};
    forward(weights, image, hidden, out);
    float most = out[0], sum = 0;
    for (int o = 1; o < MLP_OUT; o++)
        most = out[o] > most ? out[o] : most;
    for (int o = 0; o < MLP_OUT; o++)
        sum += out[o] = expf(out[o] - most);
    float *rows = weights + MLP_HIDDEN * (MLP_IN + 1);
    for (int o = 0; o < MLP_OUT; o++) {
        float *row = rows + o * (MLP_HIDDEN + 1);
        float error = rate * (out[o] / sum - (o == label ? 1.0f : 0.0f));
        for (int h = 0; h < MLP_HIDDEN; h++) {
            back[h] += error * row[h];
            row[h] -= error * hidden[h];
        }
        row[MLP_HIDDEN] -= error;
    }
    for (int h = 0; h < MLP_HIDDEN; h++) {
        if (hidden[h] <= 0) continue;
        float *row = weights + h * (MLP_IN + 1);
        for (int i = 0; i < MLP_IN; i++)
            row[i] -= back[h] * image[i];
        row[MLP_IN] -= back[h];
    }
}

void mlp_train(const float *images, const uint8_t *labels, size_t count, int epochs,
               float *out_weights)
{
    uint32_t seed = 20;
    for (size_t i = 0; i < MLP_WEIGHTS; i++)
        out_weights[i] = ((float)(next_random(&seed) % 2001) - 1000.0f) * 0.0002f;
    for (int epoch = 0; epoch < epochs; epoch++) {
        float rate = 0.05f / (1.0f + 0.05f * (float)epoch);
        for (size_t n = 0; n < count; n++) {
            size_t k = next_random(&seed) % count;
            step(out_weights, images + k * MLP_IN, labels[k], rate);
        }
    }
}
