#include "picture.h"

#include <png.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    // Dots of the picture, but for the font's own.
    ZOOM = 6,
    FONT_ZOOM = 3,
    FONT_WIDTH = 3,
    FONT_HEIGHT = 5,
    GAP = 8,
    IMAGE_SIDE = DIGITS_SIDE * ZOOM,
    CELL_WIDTH = IMAGE_SIDE + GAP,
    CELL_HEIGHT = IMAGE_SIDE + 4 + FONT_HEIGHT * FONT_ZOOM + GAP,
    COLUMNS_LEAST = 8
};

typedef struct color {
    uint8_t red, green, blue;
} color_t;

typedef struct canvas {
    size_t width, height;
    color_t *dots;
} canvas_t;

static const color_t paper = {250, 249, 245}, good = {30, 130, 76}, bad = {192, 57, 43};

// Five rows of three dots each, the highest bit is the top left one.
static const uint16_t font[DIGITS_CLASSES] = {0x7b6f, 0x2c97, 0x73e7, 0x73cf, 0x5bc9,
                                              0x79cf, 0x79ef, 0x7292, 0x7bef, 0x7bcf};

static void square_draw(canvas_t *canvas, size_t x, size_t y, size_t side, color_t color)
{
    for (size_t row = y; row < y + side; row++)
        for (size_t column = x; column < x + side; column++)
            canvas->dots[row * canvas->width + column] = color;
}

static void digit_draw(canvas_t *canvas, size_t x, size_t y, int digit, color_t color)
{
    for (size_t dot = 0; dot < FONT_WIDTH * FONT_HEIGHT; dot++) {
        if (font[digit] >> (FONT_WIDTH * FONT_HEIGHT - 1 - dot) & 1)
            square_draw(canvas, x + dot % FONT_WIDTH * FONT_ZOOM, y + dot / FONT_WIDTH * FONT_ZOOM,
                        FONT_ZOOM, color);
    }
}

static void cell_draw(canvas_t *canvas, size_t x, size_t y, const double *image, int label,
                      int read)
{
    for (size_t pixel = 0; pixel < DIGITS_PIXELS; pixel++) {
        uint8_t ink = (uint8_t)(245 - image[pixel] * 225 / DIGITS_WHITE);
        square_draw(canvas, x + pixel % DIGITS_SIDE * ZOOM, y + pixel / DIGITS_SIDE * ZOOM, ZOOM,
                    (color_t){ink, ink, ink});
    }
    size_t under = y + IMAGE_SIDE + 4;
    digit_draw(canvas, x + 6, under, label, good);
    digit_draw(canvas, x + IMAGE_SIDE - 6 - FONT_WIDTH * FONT_ZOOM, under, read, bad);
}

static bool canvas_save(const char *path, const canvas_t *canvas)
{
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)canvas->width,
                       .height = (png_uint_32)canvas->height,
                       .format = PNG_FORMAT_RGB};
    FILE *file = fopen(path, "wb");
    bool ok = file && png_image_write_to_stdio(&image, file, 0, canvas->dots, 0, NULL);
    const char *why = image.message[0] ? image.message : strerror(errno);
    if (file && fclose(file) && ok) {
        ok = false;
        why = strerror(errno);
    }
    if (!ok) fprintf(stderr, "digits: cannot write %s: %s\n", path, why);
    return ok;
}

bool picture_write(const char *path, const digits_set_t *set, const uint8_t *read)
{
    size_t misread = 0, columns = COLUMNS_LEAST;
    for (size_t i = 0; i < set->count; i++)
        misread += set->labels[i] != read[i];
    while (columns * columns < misread)
        columns++;
    size_t rows = misread ? (misread + columns - 1) / columns : 1;

    canvas_t canvas = {.width = columns * CELL_WIDTH + GAP, .height = rows * CELL_HEIGHT + GAP};
    canvas.dots = malloc(canvas.width * canvas.height * sizeof *canvas.dots);
    if (!canvas.dots) {
        fprintf(stderr, "digits: no memory for a picture of %zu digits\n", misread);
        return false;
    }
    for (size_t i = 0; i < canvas.width * canvas.height; i++)
        canvas.dots[i] = paper;
    size_t cell = 0;
    for (size_t i = 0; i < set->count; i++) {
        if (set->labels[i] == read[i]) continue;
        cell_draw(&canvas, GAP + cell % columns * CELL_WIDTH, GAP + cell / columns * CELL_HEIGHT,
                  set->pixels + i * DIGITS_PIXELS, set->labels[i], read[i]);
        cell++;
    }
    bool ok = canvas_save(path, &canvas);
    free(canvas.dots);
    return ok;
}
