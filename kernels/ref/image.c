#include "twins.h"

#include <manta/kernels.h>

#include <math.h>

// ---- 3x3 convolution -----------------------------------------------------------------------------

static int clamp_to(int i, int count)
{
    return i < 0 ? 0 : i >= count ? count - 1 : i;
}

static uint8_t to_u8(float sum)
{
    const float rounded = rintf(sum); // ties to even: nobody changes the rounding mode
    return rounded >= 255 ? 255 : rounded > 0 ? (uint8_t)rounded : 0;
}

static float to_f32(float sum)
{
    return sum;
}

// A row of the result from three rows of the source. Inside, neighbours are |channels| elements
// apart; the first and the last pixel see themselves beyond the border. Products and sums in the order
// of |k|, each rounded.
#define CONVOLVE(name, T, store)                                                                   \
    static void name##_element(const T *const rows[3], size_t left, size_t at, size_t right,       \
                               const manta_conv3x3_t *filter, T *dst)                              \
    {                                                                                              \
        float sum = filter->bias;                                                                  \
        for (int r = 0; r < 3; r++) {                                                              \
            sum = sum + filter->k[3 * r] * (float)rows[r][left];                                   \
            sum = sum + filter->k[3 * r + 1] * (float)rows[r][at];                                 \
            sum = sum + filter->k[3 * r + 2] * (float)rows[r][right];                              \
        }                                                                                          \
        dst[at] = store(sum);                                                                      \
    }                                                                                              \
    static void name##_row(const T *const rows[3], int width, size_t channels,                     \
                           const manta_conv3x3_t *filter, T *dst)                                  \
    {                                                                                              \
        const size_t count = (size_t)width * channels, last = count - channels;                    \
        for (size_t c = 0; c < channels; c++)                                                      \
            name##_element(rows, c, c, width > 1 ? c + channels : c, filter, dst);                 \
        for (size_t x = channels; x < last; x++)                                                   \
            name##_element(rows, x - channels, x, x + channels, filter, dst);                      \
        for (size_t c = 0; c < channels && width > 1; c++)                                         \
            name##_element(rows, last + c - channels, last + c, last + c, filter, dst);            \
    }                                                                                              \
    MTI_TWIN(name)                                                                                 \
    {                                                                                              \
        (void)grid;                                                                                \
        const int width = MTI_ARG(int, 0), height = MTI_ARG(int, 1), channels = MTI_ARG(int, 2);   \
        const T *src = MTI_ARG(const T *, 3);                                                      \
        T *dst = MTI_ARG(T *, 4);                                                                  \
        const manta_conv3x3_t filter = MTI_ARG(manta_conv3x3_t, 5);                                \
        if (width <= 0 || channels <= 0) return;                                                   \
        const size_t stride = (size_t)width * (size_t)channels;                                    \
        for (int y = 0; y < height; y++) {                                                         \
            const T *const rows[3] = {src + (size_t)clamp_to(y - 1, height) * stride,              \
                                      src + (size_t)y * stride,                                    \
                                      src + (size_t)clamp_to(y + 1, height) * stride};             \
            name##_row(rows, width, (size_t)channels, &filter, dst + (size_t)y * stride);          \
        }                                                                                          \
    }
CONVOLVE(conv3x3_u8, uint8_t, to_u8)
CONVOLVE(conv3x3_f32, float, to_f32)

// ---- luma, histogram, equalisation ---------------------------------------------------------------

static unsigned luma(const uint8_t *pixel, int channels)
{
    return channels < 3 ? pixel[0] : (77u * pixel[0] + 150u * pixel[1] + 29u * pixel[2] + 128u) >> 8;
}

MTI_TWIN(luma_u8)
{
    (void)grid;
    const size_t pixels = MTI_ARG(size_t, 0);
    const int channels = MTI_ARG(int, 1);
    const uint8_t *src = MTI_ARG(const uint8_t *, 2);
    uint8_t *dst = MTI_ARG(uint8_t *, 3);
    for (size_t i = 0; i < pixels; i++)
        dst[i] = (uint8_t)luma(src + i * (size_t)channels, channels);
}

// Four sets of counters: a run of equal bytes does not wait for its own last increment.
MTI_TWIN(histogram_u8)
{
    (void)grid;
    const size_t n = MTI_ARG(size_t, 0);
    const uint8_t *x = MTI_ARG(const uint8_t *, 1);
    uint32_t *bins = MTI_ARG(uint32_t *, 2);
    uint32_t counts[4][256] = {{0}};
    for (size_t i = 0; i < n; i++)
        counts[i % 4][x[i]]++;
    for (int v = 0; v < 256; v++)
        bins[v] += counts[0][v] + counts[1][v] + counts[2][v] + counts[3][v];
}

MTI_TWIN(equalize_map_u8)
{
    (void)grid;
    const uint32_t *bins = MTI_ARG(const uint32_t *, 0);
    uint8_t *map = MTI_ARG(uint8_t *, 1);
    uint64_t total = 0, least = 0, below = 0;
    for (int v = 0; v < 256; v++) {
        if (total == 0) least = bins[v];
        total += bins[v];
    }
    const uint64_t spread = total - least;
    for (int v = 0; v < 256; v++) {
        below += bins[v];
        if (spread == 0) {
            map[v] = (uint8_t)v;
        } else {
            map[v] = below < least ? 0 : (uint8_t)(((below - least) * 255 + spread / 2) / spread);
        }
    }
}

MTI_TWIN(map_luma_u8)
{
    (void)grid;
    const size_t pixels = MTI_ARG(size_t, 0);
    const int channels = MTI_ARG(int, 1);
    const uint8_t *src = MTI_ARG(const uint8_t *, 2);
    const uint8_t *map = MTI_ARG(const uint8_t *, 3);
    uint8_t *dst = MTI_ARG(uint8_t *, 4);
    const int colours = channels < 3 ? 1 : 3;
    for (size_t i = 0; i < pixels; i++) {
        const uint8_t *from = src + i * (size_t)channels;
        uint8_t *to = dst + i * (size_t)channels;
        const unsigned y = luma(from, channels);
        const int moved = (int)map[y] - (int)y;
        for (int c = 0; c < channels; c++) {
            const int value = from[c] + (c < colours ? moved : 0);
            to[c] = value < 0 ? 0 : value > 255 ? 255 : (uint8_t)value;
        }
    }
}
