// The tasks: a photograph is decoded once, goes through each effect, and every result is encoded.
#ifndef PHOTOS_TASKS_H
#define PHOTOS_TASKS_H

#include "picture.h"

#include <manta/manta.h>

#include <stdint.h>

// What decoding and encoding fail with.
#define PHOTOS_ERR_DECODE (MANTA_ERR_USER + 1)
#define PHOTOS_ERR_ENCODE (MANTA_ERR_USER + 2)

// |path| must stay until the task is done, here and below.
#define decode_PARAMS                                                                              \
    MANTA_LOCAL(const char *, path), MANTA_VAL(picture_info_t, info),                              \
        MANTA_OUT(uint8_t, pixels, picture_bytes(info))
MANTA_TASK_DECLARE(decode);

// |passes| times the mean of each pixel and its neighbours.
#define blur_PARAMS                                                                                \
    MANTA_VAL(picture_info_t, info), MANTA_VAL(int, passes), MANTA_IN(uint8_t, pixels),            \
        MANTA_OUT(uint8_t, blurred, pixels.count)
MANTA_TASK_DECLARE(blur);

// Where it changes: white on black, one channel.
#define edges_PARAMS                                                                               \
    MANTA_VAL(picture_info_t, info), MANTA_IN(uint8_t, pixels),                                    \
        MANTA_OUT(uint8_t, lines, picture_pixels(info))
MANTA_TASK_DECLARE(edges);

// All brightnesses equally often; colours keep their hue.
#define equalize_PARAMS                                                                            \
    MANTA_VAL(picture_info_t, info), MANTA_IN(uint8_t, pixels),                                    \
        MANTA_OUT(uint8_t, even, pixels.count)
MANTA_TASK_DECLARE(equalize);

// |bytes| is the size of the file.
#define encode_PARAMS                                                                              \
    MANTA_LOCAL(const char *, path), MANTA_VAL(picture_info_t, info), MANTA_VAL(int, quality),     \
        MANTA_IN(uint8_t, pixels), MANTA_OUT(uint64_t, bytes, 1)
MANTA_TASK_DECLARE(encode);

#endif
