// A picture of the images that were misread.
#ifndef DIGITS_PICTURE_H
#define DIGITS_PICTURE_H

#include "data.h"

// Draws each image of |set| for which |read| is not its label into the PNG file |path|: the image,
// and under it what it shows (green) and what was read (red). Says on stderr what went wrong and
// returns false then.
bool picture_write(const char *path, const digits_set_t *set, const uint8_t *read);

#endif
