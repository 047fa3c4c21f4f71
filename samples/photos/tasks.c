#include "tasks.h"

#include <manta/kernels.h>

#include <stdlib.h>

MANTA_TASK(decode)
{
    char error[PICTURE_ERROR_BYTES];
    if (picture_decode(path, info, pixels.data, error)) return MANTA_OK;
    return manta_fail(task, PHOTOS_ERR_DECODE, "%s", error);
}

MANTA_TASK(encode)
{
    char error[PICTURE_ERROR_BYTES];
    if (picture_encode(path, info, quality, pixels.data, bytes.data, error)) return MANTA_OK;
    return manta_fail(task, PHOTOS_ERR_ENCODE, "%s %s", path, error);
}

// ---- the effects, for both kinds of body -----------------------------------------------------
// They are made of manta's kernels. A CUDA body launches these, a CPU body runs their twins; what there
// is to do is the same, so it is written once over a table of either.

typedef struct machine {
    manta_status_t (*fill)(manta_grid_t, size_t, uint32_t, uint32_t *);
    manta_status_t (*convolve)(manta_grid_t, int, int, int, const uint8_t *, uint8_t *,
                               manta_conv3x3_t);
    manta_status_t (*luma)(manta_grid_t, size_t, int, const uint8_t *, uint8_t *);
    manta_status_t (*histogram)(manta_grid_t, size_t, const uint8_t *, uint32_t *);
    manta_status_t (*equalize_map)(manta_grid_t, const uint32_t *, uint8_t *);
    manta_status_t (*map_luma)(manta_grid_t, size_t, int, const uint8_t *, const uint8_t *,
                               uint8_t *);
} machine_t;

static const machine_t cpu = {manta_fill_u32_run,        manta_conv3x3_u8_run,
                              manta_luma_u8_run,         manta_histogram_u8_run,
                              manta_equalize_map_u8_run, manta_map_luma_u8_run};
static const machine_t gpu = {manta_fill_u32_launch,        manta_conv3x3_u8_launch,
                              manta_luma_u8_launch,         manta_histogram_u8_launch,
                              manta_equalize_map_u8_launch, manta_map_luma_u8_launch};

static const manta_conv3x3_t soften = {
    {1 / 16.f, 2 / 16.f, 1 / 16.f, 2 / 16.f, 4 / 16.f, 2 / 16.f, 1 / 16.f, 2 / 16.f, 1 / 16.f}, 0};
static const manta_conv3x3_t outline = {{-5, -5, -5, -5, 40, -5, -5, -5, -5}, 0};

// To and fro between |spare| and |out|, so that the last pass ends in |out|. |spare|: as large.
static manta_status_t blur_on(const machine_t *m, picture_info_t info, int passes,
                              const uint8_t *in, uint8_t *spare, uint8_t *out)
{
    manta_grid_t grid = manta_conv3x3_grid(info.width, info.height, info.channels);
    manta_status_t status = MANTA_OK;
    for (int left = passes; left > 0 && status == MANTA_OK; left--) {
        uint8_t *to = left % 2 ? out : spare;
        status = m->convolve(grid, info.width, info.height, info.channels, in, to, soften);
        in = to;
    }
    return status;
}

// |spare|: two bytes per pixel. Softened first: else it is the noise that has edges.
static manta_status_t edges_on(const machine_t *m, picture_info_t info, const uint8_t *in,
                               uint8_t *spare, uint8_t *out)
{
    const size_t pixels = picture_pixels(info);
    uint8_t *grey = spare, *soft = spare + pixels;
    manta_grid_t grid = manta_conv3x3_grid(info.width, info.height, 1);
    manta_status_t status = m->luma(manta_vector_grid(pixels), pixels, info.channels, in, grey);
    if (status != MANTA_OK) return status;
    status = m->convolve(grid, info.width, info.height, 1, grey, soft, soften);
    if (status != MANTA_OK) return status;
    return m->convolve(grid, info.width, info.height, 1, soft, out, outline);
}

// |spare|: bins, map, and a byte per pixel.
enum { BINS = 256 };
static size_t equalize_spare(picture_info_t info)
{
    return BINS * sizeof(uint32_t) + BINS + picture_pixels(info);
}
static manta_status_t equalize_on(const machine_t *m, picture_info_t info, const uint8_t *in,
                                  void *spare, uint8_t *out)
{
    const size_t pixels = picture_pixels(info);
    uint32_t *bins = spare;
    uint8_t *map = (uint8_t *)(bins + BINS), *grey = map + BINS;
    manta_grid_t grid = manta_vector_grid(pixels);
    manta_status_t status = m->fill(manta_vector_grid(BINS), BINS, 0, bins);
    if (status == MANTA_OK) status = m->luma(grid, pixels, info.channels, in, grey);
    if (status == MANTA_OK) status = m->histogram(manta_histogram_grid(pixels), pixels, grey, bins);
    if (status == MANTA_OK) status = m->equalize_map(manta_equalize_map_grid(), bins, map);
    if (status != MANTA_OK) return status;
    return m->map_luma(grid, pixels, info.channels, in, map, out);
}

// ---- on CPUs ---------------------------------------------------------------------------------

static manta_status_t no_memory(manta_task_t *task, size_t bytes)
{
    return manta_fail(task, MANTA_ERR_OUT_OF_MEMORY, "no memory for %zu bytes", bytes);
}

MANTA_TASK(blur)
{
    uint8_t *spare = malloc(blurred.count);
    if (!spare) return no_memory(task, blurred.count);
    manta_status_t status = blur_on(&cpu, info, passes, pixels.data, spare, blurred.data);
    free(spare);
    return status;
}

MANTA_TASK(edges)
{
    uint8_t *spare = malloc(2 * lines.count);
    if (!spare) return no_memory(task, 2 * lines.count);
    manta_status_t status = edges_on(&cpu, info, pixels.data, spare, lines.data);
    free(spare);
    return status;
}

MANTA_TASK(equalize)
{
    void *spare = malloc(equalize_spare(info));
    if (!spare) return no_memory(task, equalize_spare(info));
    manta_status_t status = equalize_on(&cpu, info, pixels.data, spare, even.data);
    free(spare);
    return status;
}

// ---- on GPUs ---------------------------------------------------------------------------------
// Pointers are the device's; nothing here waits.

MANTA_CUDA(blur)
{
    uint8_t *spare = manta_scratch(task, blurred.count);
    if (!spare) return MANTA_ERR_OUT_OF_MEMORY;
    return blur_on(&gpu, info, passes, pixels.data, spare, blurred.data);
}

MANTA_CUDA(edges)
{
    uint8_t *spare = manta_scratch(task, 2 * lines.count);
    if (!spare) return MANTA_ERR_OUT_OF_MEMORY;
    return edges_on(&gpu, info, pixels.data, spare, lines.data);
}

MANTA_CUDA(equalize)
{
    void *spare = manta_scratch(task, equalize_spare(info));
    if (!spare) return MANTA_ERR_OUT_OF_MEMORY;
    return equalize_on(&gpu, info, pixels.data, spare, even.data);
}
