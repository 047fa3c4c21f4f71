// Pictures of 8 bits a channel: 3x3 convolution, luma, histogram, equalisation. Row by row, channels
// next to each other, no padding. Their manual, with the CPU twins, is include/manta/kernels.h.
#include <stddef.h>
#include <stdint.h>

// ---- 3x3 convolution -----------------------------------------------------------------------------

// As manta_conv3x3_t.
struct conv3x3 {
    float k[9];
    float bias;
};

static __device__ int clamp_to(int i, int count)
{
    return i < 0 ? 0 : i >= count ? count - 1 : i;
}

// One element of the result. Products and sums are rounded one by one, in the order of |k|, so that the
// twin gets the same bits.
template <class T>
static __device__ float convolve(int width, int height, int channels, const T *__restrict__ src,
                                 const conv3x3 &filter, int x, int y, int channel)
{
    float sum = filter.bias;
#pragma unroll
    for (int dy = -1; dy <= 1; dy++) {
        const size_t row = (size_t)clamp_to(y + dy, height) * (size_t)width;
#pragma unroll
        for (int dx = -1; dx <= 1; dx++) {
            const size_t pixel = row + (size_t)clamp_to(x + dx, width);
            const float value = (float)src[pixel * (size_t)channels + (size_t)channel];
            sum = __fadd_rn(sum, __fmul_rn(filter.k[(dy + 1) * 3 + dx + 1], value));
        }
    }
    return sum;
}

// A thread per element of a row (x runs over width * channels, so that a warp writes one run of bytes);
// rows by grid stride, as a grid has few blocks in y. Reads overlap in the caches.
#define FOR_EACH_ELEMENT(x, y)                                                                     \
    for (int y = (int)(blockIdx.y * blockDim.y + threadIdx.y); y < height;                         \
         y += (int)(gridDim.y * blockDim.y))                                                       \
        for (int x = (int)(blockIdx.x * blockDim.x + threadIdx.x); x < width * channels;           \
             x += (int)(gridDim.x * blockDim.x))

extern "C" __global__ void __launch_bounds__(256)
    manta_conv3x3_u8(int width, int height, int channels, const uint8_t *__restrict__ src,
                     uint8_t *__restrict__ dst, conv3x3 filter)
{
    FOR_EACH_ELEMENT(x, y)
    {
        const float sum =
            convolve(width, height, channels, src, filter, x / channels, y, x % channels);
        // To the nearest, ties to even; what is no number is 0.
        const float rounded = rintf(sum);
        dst[(size_t)y * (size_t)width * (size_t)channels + (size_t)x] =
            rounded >= 255 ? 255 : rounded > 0 ? (uint8_t)rounded : 0;
    }
}

extern "C" __global__ void __launch_bounds__(256)
    manta_conv3x3_f32(int width, int height, int channels, const float *__restrict__ src,
                      float *__restrict__ dst, conv3x3 filter)
{
    FOR_EACH_ELEMENT(x, y)
    {
        dst[(size_t)y * (size_t)width * (size_t)channels + (size_t)x] =
            convolve(width, height, channels, src, filter, x / channels, y, x % channels);
    }
}

// ---- luma ----------------------------------------------------------------------------------------

// What a pixel counts as: its grey, or a mean of red, green and blue in 256ths.
static __device__ unsigned luma(const uint8_t *pixel, int channels)
{
    return channels < 3 ? pixel[0] : (77u * pixel[0] + 150u * pixel[1] + 29u * pixel[2] + 128u) >> 8;
}

static __device__ size_t grid_first_pixel(void)
{
    return (size_t)blockIdx.x * blockDim.x + threadIdx.x;
}
static __device__ size_t grid_pixels(void)
{
    return (size_t)gridDim.x * blockDim.x;
}

extern "C" __global__ void manta_luma_u8(size_t pixels, int channels,
                                         const uint8_t *src, uint8_t *dst)
{
    for (size_t i = grid_first_pixel(); i < pixels; i += grid_pixels())
        dst[i] = (uint8_t)luma(src + i * (size_t)channels, channels);
}

// ---- histogram, equalisation ---------------------------------------------------------------------

// A block counts in shared memory and adds what it has to the bins once. Sums of integers: whatever the
// order, the result is the same.
extern "C" __global__ void manta_histogram_u8(size_t n, const uint8_t *__restrict__ x,
                                              unsigned *__restrict__ bins)
{
    __shared__ unsigned counts[256];
    for (unsigned i = threadIdx.x; i < 256; i += blockDim.x)
        counts[i] = 0;
    __syncthreads();
    for (size_t i = grid_first_pixel(); i < n; i += grid_pixels())
        atomicAdd(&counts[x[i]], 1u);
    __syncthreads();
    for (unsigned i = threadIdx.x; i < 256; i += blockDim.x) {
        if (counts[i] != 0) atomicAdd(&bins[i], counts[i]);
    }
}

// One block of 256 threads, one per value: an inclusive scan in shared memory (Hillis and Steele).
extern "C" __global__ void __launch_bounds__(256)
    manta_equalize_map_u8(const unsigned *__restrict__ bins, uint8_t *__restrict__ map)
{
    __shared__ unsigned long long below[256];
    __shared__ unsigned long long least; // how many have the lowest value that occurs
    const unsigned t = threadIdx.x;
    if (blockIdx.x != 0 || blockDim.x != 256) return; // all threads of the block
    const unsigned long long own = bins[t];
    below[t] = own;
    if (t == 0) least = 0;
    __syncthreads();
    for (unsigned step = 1; step < 256; step *= 2) {
        const unsigned long long left = t >= step ? below[t - step] : 0;
        __syncthreads(); // all have read
        below[t] += left;
        __syncthreads();
    }
    if (own != 0 && below[t] == own) least = own; // one thread at most: nothing is below it
    __syncthreads();
    const unsigned long long spread = below[255] - least; // how many have another value
    uint8_t value = (uint8_t)t;
    if (spread != 0)
        value = below[t] < least ? 0 : (uint8_t)(((below[t] - least) * 255 + spread / 2) / spread);
    map[t] = value;
}

// Grey becomes map[grey]; of a coloured pixel all three move as far as its luma does. Alpha stays.
extern "C" __global__ void manta_map_luma_u8(size_t pixels, int channels,
                                             const uint8_t *src,
                                             const uint8_t *__restrict__ map, uint8_t *dst)
{
    for (size_t i = grid_first_pixel(); i < pixels; i += grid_pixels()) {
        const uint8_t *from = src + i * (size_t)channels;
        uint8_t *to = dst + i * (size_t)channels;
        const unsigned y = luma(from, channels);
        const int moved = (int)map[y] - (int)y;
        const int colours = channels < 3 ? 1 : 3;
        for (int c = 0; c < channels; c++) {
            const int value = from[c] + (c < colours ? moved : 0);
            to[c] = value < 0 ? 0 : value > 255 ? 255 : (uint8_t)value;
        }
    }
}
