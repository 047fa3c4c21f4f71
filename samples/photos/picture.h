// Pictures in files: JPEG and PNG, 8 bits a channel, row by row.
#ifndef PHOTOS_PICTURE_H
#define PHOTOS_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum picture_format { PICTURE_JPEG, PICTURE_PNG } picture_format_t;

// A picture without its pixels. Travels by value with every task.
typedef struct picture_info {
    int32_t width, height;
    int32_t channels; // 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha
    int32_t format;   // picture_format_t
    int32_t turned;   // how a camera held it, 1 to 8 as in Exif; undone when it is decoded
} picture_info_t;

static inline size_t picture_pixels(picture_info_t info)
{
    return (size_t)info.width * (size_t)info.height;
}
static inline size_t picture_bytes(picture_info_t info)
{
    return picture_pixels(info) * (size_t)info.channels;
}

// Pictures larger than this are refused: in pixels.
#define PICTURE_MOST ((size_t)1 << 28)

// Where functions that return false say what is wrong, without the name of the file.
enum { PICTURE_ERROR_BYTES = 256 };

// Reads the header only.
bool picture_probe(const char *path, picture_info_t *out_info, char *error);

// Reads all of it into |pixels|, picture_bytes(info) long. A file that ends early, or that has changed
// since it was probed, is an error.
bool picture_decode(const char *path, picture_info_t info, uint8_t *pixels, char *error);

// Writes |path| at once or not at all; |quality| is for JPEG.
bool picture_encode(const char *path, picture_info_t info, int quality, const uint8_t *pixels,
                    uint64_t *out_bytes, char *error);

#endif
