// A C program with a kernel of its own: by name, with a CPU twin, and device code if there was nvcc.
#include <manta/manta.h>

#include <stdio.h>
#include <string.h>

struct range {
    double low, high;
};
MANTA_KERNEL(consumer_scale, float, const float *, float *, size_t, struct range, char);
MANTA_KERNEL_AS(with_less, "consumer_scale", float);
MANTA_KERNEL(consumer_nothing);

static void scale(const manta_grid_t *grid, void *const *args)
{
    (void)grid;
    float a = *(float *)args[0];
    const float *x = *(const float *const *)args[1];
    float *y = *(float *const *)args[2];
    size_t n = *(size_t *)args[3];
    for (size_t i = 0; i < n; i++) y[i] = a * x[i];
}
MANTA_KERNEL_TWIN(consumer_scale, scale);

#define CHECK(condition)                                                                           \
    if (!(condition)) {                                                                            \
        printf("use_kernels.c:%d: %s (%s)\n", __LINE__, #condition, manta_error_message());        \
        return 1;                                                                                  \
    }

int main(void)
{
    float x[3] = {1, 2, 3}, y[3];
    struct range none = {0, 0};
    CHECK(consumer_scale_run(manta_grid_1d(3, 128), 2, x, y, 3, none, 0) == MANTA_OK);
    CHECK(y[2] == 6);
    // Parameters are held against the compiled kernel, or else against the twin.
    CHECK(with_less_run(manta_grid_1d(3, 128), 2) == MANTA_ERR_TYPE_MISMATCH);
#ifdef HAS_DEVICE_CODE
    CHECK(strstr(manta_error_message(), "scale.fatbin") != NULL);
    CHECK(consumer_nothing_run(manta_grid_1d(1, 1)) == MANTA_ERR_NOT_FOUND);
    CHECK(strstr(manta_error_message(), "no CPU twin") != NULL);
#else
    CHECK(consumer_nothing_run(manta_grid_1d(1, 1)) == MANTA_ERR_NOT_FOUND);
#endif
    return 0;
}
