// The network on a device: a thread for each image. manta_kernels() puts it into the program.
#include "mlp.h"

extern "C" __global__ void serve_classify(const float *weights, const float *images,
                                          uint8_t *labels, size_t count)
{
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const float *image = images + i * MLP_IN;
    const float *rows = weights + MLP_HIDDEN * (MLP_IN + 1);
    float hidden[MLP_HIDDEN];
    for (int h = 0; h < MLP_HIDDEN; h++) {
        const float *row = weights + h * (MLP_IN + 1);
        float sum = row[MLP_IN];
        for (int k = 0; k < MLP_IN; k++)
            sum += row[k] * image[k];
        hidden[h] = sum > 0 ? sum : 0;
    }
    int best = 0;
    float most = 0;
    for (int o = 0; o < MLP_OUT; o++) {
        const float *row = rows + o * (MLP_HIDDEN + 1);
        float sum = row[MLP_HIDDEN];
        for (int h = 0; h < MLP_HIDDEN; h++)
            sum += row[h] * hidden[h];
        if (o == 0 || sum > most) {
            best = o;
            most = sum;
        }
    }
    labels[i] = (uint8_t)best;
}
