// How a camera was held.
#ifndef PHOTOS_EXIF_H
#define PHOTOS_EXIF_H

#include <stddef.h>
#include <stdint.h>

// The orientation, 1 to 8, in the |size| bytes of a JPEG's APP1 segment; 1, "as it is", if it has none
// or makes no sense.
int exif_orientation(const uint8_t *segment, size_t size);

#endif
