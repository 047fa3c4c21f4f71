// Images of handwritten digits: reading them from a file, and making more of them.
#ifndef DIGITS_DATA_H
#define DIGITS_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DIGITS_SIDE = 8,
    DIGITS_PIXELS = DIGITS_SIDE * DIGITS_SIDE,
    DIGITS_WHITE = 16, // pixels are from 0 to this
    DIGITS_CLASSES = 10
};

// |count| images, one after the other, and what they show.
typedef struct digits_set {
    size_t count;
    double *pixels; // DIGITS_PIXELS for each image, row by row
    uint8_t *labels;
} digits_set_t;

// Reads a table with DIGITS_PIXELS + 1 columns, gzipped or plain, from |path|. Says on stderr what is
// wrong with it and returns false if it can't be used.
bool digits_load(const char *path, digits_set_t *out_set);

// Images |first| to |first| + |count| of |set|, without copying: valid as long as |set|.
digits_set_t digits_part(const digits_set_t *set, size_t first, size_t count);

// Makes a set of each image of |set| and its eight neighbours: shifted by one pixel up, down, to the
// sides and diagonally. Returns false, having said so, if memory is short.
bool digits_augment(const digits_set_t *set, digits_set_t *out_set);

// Frees what digits_load or digits_augment made.
void digits_free(digits_set_t *set);

#endif
