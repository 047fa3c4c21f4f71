#include "data.h"

#include <zlib.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A file that unpacks to more than this is not one of ours.
static const size_t text_limit_bytes = (size_t)256 << 20;

static bool set_alloc(digits_set_t *set, size_t count)
{
    set->count = count;
    set->pixels = calloc(count, sizeof *set->pixels * DIGITS_PIXELS);
    set->labels = calloc(count, sizeof *set->labels);
    if (set->pixels && set->labels) return true;
    fprintf(stderr, "digits: no memory for %zu images\n", count);
    digits_free(set);
    return false;
}

void digits_free(digits_set_t *set)
{
    free(set->pixels);
    free(set->labels);
    *set = (digits_set_t){0};
}

// ---- reading ---------------------------------------------------------------------------------

static bool file_complain(const char *path, gzFile file)
{
    int code = Z_OK;
    const char *text = gzerror(file, &code);
    if (code == Z_ERRNO) text = strerror(errno);
    if (code == Z_BUF_ERROR) text = "the file ends too early";
    size_t length = strlen(path);
    bool named = strncmp(text, path, length) == 0 && text[length] == ':'; // zlib does at times
    fprintf(stderr, "digits: cannot read %s: %s\n", path, named ? text + length + 2 : text);
    return false;
}

// Unpacks all of |file| before any of it is looked at: only the end tells whether it is whole.
static bool file_read(const char *path, gzFile file, char **out_text)
{
    size_t room = 1 << 20, used = 0;
    char *text = NULL;
    for (;;) {
        char *grown = realloc(text, room + 1);
        if (!grown || room > text_limit_bytes) {
            fprintf(stderr, "digits: %s is too large\n", path);
            free(grown ? grown : text);
            return false;
        }
        text = grown;
        int got = gzread(file, text + used, (unsigned)(room - used));
        if (got <= 0) break;
        used += (size_t)got;
        if (used == room) room *= 2;
    }
    int code = Z_OK;
    gzerror(file, &code);
    if (code != Z_OK && code != Z_STREAM_END) {
        free(text);
        return file_complain(path, file);
    }
    text[used] = '\0';
    if (strlen(text) != used) {
        fprintf(stderr, "digits: %s is not a table of numbers\n", path);
        free(text);
        return false;
    }
    *out_text = text;
    return true;
}

static bool line_complain(const char *path, size_t line, size_t column, const char *what)
{
    fprintf(stderr, "digits: %s, line %zu, column %zu: %s\n", path, line, column, what);
    return false;
}

// Reads one line into image |line| - 1 of |set|.
static bool line_parse(const char *path, size_t line, const char *text, digits_set_t *set)
{
    double *pixels = set->pixels + (line - 1) * DIGITS_PIXELS;
    for (size_t column = 1;; column++) {
        char *end;
        long value = strtol(text, &end, 10);
        bool is_label = column == DIGITS_PIXELS + 1;
        if (end == text) return line_complain(path, line, column, "a number was expected");
        if (*end && *end != ',') return line_complain(path, line, column, "not a number");
        if (value < 0 || value > (is_label ? DIGITS_CLASSES - 1 : DIGITS_WHITE))
            return line_complain(path, line, column,
                                 is_label ? "a digit is from 0 to 9" : "a pixel is from 0 to 16");
        if (!*end && !is_label)
            return line_complain(path, line, column, "65 columns were expected");
        if (is_label) {
            if (*end) return line_complain(path, line, column + 1, "65 columns were expected");
            set->labels[line - 1] = (uint8_t)value;
            return true;
        }
        pixels[column - 1] = (double)value;
        text = end + 1;
    }
}

static bool text_parse(const char *path, char *text, digits_set_t *out_set)
{
    size_t lines = 0;
    for (char *at = text; *at; at++)
        lines += *at == '\n' || !at[1];
    if (lines < 2) {
        fprintf(stderr, "digits: %s has fewer than two images\n", path);
        return false;
    }
    digits_set_t set;
    if (!set_alloc(&set, lines)) return false;
    for (size_t line = 1; line <= lines; line++) {
        char *end = text + strcspn(text, "\n");
        char *next = *end ? end + 1 : end;
        if (end > text && end[-1] == '\r') end--;
        *end = '\0';
        if (!line_parse(path, line, text, &set)) {
            digits_free(&set);
            return false;
        }
        text = next;
    }
    *out_set = set;
    return true;
}

bool digits_load(const char *path, digits_set_t *out_set)
{
    errno = 0;
    gzFile file = gzopen(path, "rb");
    if (!file) {
        fprintf(stderr, "digits: cannot open %s: %s\n", path, strerror(errno ? errno : ENOMEM));
        return false;
    }
    char *text = NULL;
    bool ok = file_read(path, file, &text);
    gzclose(file);
    ok = ok && text_parse(path, text, out_set);
    free(text);
    return ok;
}

// ---- parts and neighbours --------------------------------------------------------------------

digits_set_t digits_part(const digits_set_t *set, size_t first, size_t count)
{
    return (digits_set_t){.count = count,
                          .pixels = set->pixels + first * DIGITS_PIXELS,
                          .labels = set->labels + first};
}

// What moves in from outside is black.
static void image_shift(const double *from, int down, int right, double *to)
{
    for (int row = 0; row < DIGITS_SIDE; row++) {
        for (int column = 0; column < DIGITS_SIDE; column++) {
            int y = row - down, x = column - right;
            bool inside = y >= 0 && y < DIGITS_SIDE && x >= 0 && x < DIGITS_SIDE;
            to[row * DIGITS_SIDE + column] = inside ? from[y * DIGITS_SIDE + x] : 0;
        }
    }
}

bool digits_augment(const digits_set_t *set, digits_set_t *out_set)
{
    if (!set_alloc(out_set, set->count * 9)) return false;
    size_t to = 0;
    for (size_t i = 0; i < set->count; i++) {
        for (int shift = 0; shift < 9; shift++, to++) {
            image_shift(set->pixels + i * DIGITS_PIXELS, shift / 3 - 1, shift % 3 - 1,
                        out_set->pixels + to * DIGITS_PIXELS);
            out_set->labels[to] = set->labels[i];
        }
    }
    return true;
}
