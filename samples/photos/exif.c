#include "exif.h"

#include <stdbool.h>
#include <string.h>

// A TIFF block: all offsets count from its start.
typedef struct tiff {
    const uint8_t *data;
    size_t size;
    bool big_endian;
} tiff_t;

static uint32_t tiff_u16(const tiff_t *tiff, size_t at)
{
    const uint8_t *p = tiff->data + at;
    return tiff->big_endian ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

static uint32_t tiff_u32(const tiff_t *tiff, size_t at)
{
    return tiff->big_endian ? tiff_u16(tiff, at) << 16 | tiff_u16(tiff, at + 2)
                            : tiff_u16(tiff, at + 2) << 16 | tiff_u16(tiff, at);
}

enum { HEADER_BYTES = 8, ENTRY_BYTES = 12, TAG_ORIENTATION = 0x112, TYPE_SHORT = 3 };

int exif_orientation(const uint8_t *segment, size_t size)
{
    static const uint8_t magic[6] = {'E', 'x', 'i', 'f', 0, 0};
    if (size < sizeof magic + HEADER_BYTES || memcmp(segment, magic, sizeof magic) != 0) return 1;
    tiff_t tiff = {segment + sizeof magic, size - sizeof magic, segment[sizeof magic] == 'M'};
    size_t directory = tiff_u32(&tiff, 4);
    if (directory > tiff.size || tiff.size - directory < 2) return 1;
    size_t count = tiff_u16(&tiff, directory);
    if ((tiff.size - directory - 2) / ENTRY_BYTES < count) return 1;
    for (size_t i = 0; i < count; i++) {
        size_t entry = directory + 2 + i * ENTRY_BYTES;
        if (tiff_u16(&tiff, entry) != TAG_ORIENTATION) continue;
        uint32_t value = tiff_u16(&tiff, entry + 8);
        bool fine = tiff_u16(&tiff, entry + 2) == TYPE_SHORT && value >= 1 && value <= 8;
        return fine ? (int)value : 1;
    }
    return 1;
}
