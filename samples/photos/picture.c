#include "picture.h"

#include "exif.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jpeglib.h>
#include <png.h>

static bool fail(char *error, const char *what)
{
    snprintf(error, PICTURE_ERROR_BYTES, "%s", what);
    return false;
}

static bool fail_errno(char *error, const char *what)
{
    snprintf(error, PICTURE_ERROR_BYTES, "%s: %s", what, strerror(errno));
    return false;
}

static bool size_is_fine(size_t width, size_t height, char *error)
{
    if (width == 0 || height == 0) return fail(error, "a picture without pixels");
    if (width <= PICTURE_MOST && height <= PICTURE_MOST / width) return true;
    snprintf(error, PICTURE_ERROR_BYTES, "%zu x %zu pixels are too many, at most %zu", width,
             height, PICTURE_MOST);
    return false;
}

static bool same(picture_info_t a, picture_info_t b)
{
    return a.width == b.width && a.height == b.height && a.channels == b.channels &&
           a.turned == b.turned;
}

// ---- JPEG ------------------------------------------------------------------------------------

// The library leaves by a jump; so whatever has to be cleaned up stands in here.
typedef struct jpeg_state {
    struct jpeg_error_mgr manager; // first: the library hands out its address
    jmp_buf leave;
    char *error;
    FILE *file;
    uint8_t *row;
    struct jpeg_decompress_struct in;
    struct jpeg_compress_struct out;
} jpeg_state_t;

static void jpeg_leave(j_common_ptr any)
{
    jpeg_state_t *state = (jpeg_state_t *)(void *)any->err;
    char text[JMSG_LENGTH_MAX];
    any->err->format_message(any, text);
    fail(state->error, text);
    longjmp(state->leave, 1);
}

// Warnings are about data that is damaged or missing: a picture that is half grey is no picture.
static void jpeg_message(j_common_ptr any, int level)
{
    if (level < 0) jpeg_leave(any);
}

static void jpeg_init(jpeg_state_t *state, char *error)
{
    memset(state, 0, sizeof *state);
    state->error = error;
    jpeg_std_error(&state->manager);
    state->manager.error_exit = jpeg_leave;
    state->manager.emit_message = jpeg_message;
    state->in.err = state->out.err = &state->manager;
}

static void jpeg_deinit(jpeg_state_t *state)
{
    jpeg_destroy_decompress(&state->in);
    jpeg_destroy_compress(&state->out);
    free(state->row);
    if (state->file) fclose(state->file);
}

static int jpeg_turned(const jpeg_state_t *state)
{
    for (jpeg_saved_marker_ptr m = state->in.marker_list; m; m = m->next) {
        if (m->marker == JPEG_APP0 + 1) return exif_orientation(m->data, m->data_length);
    }
    return 1;
}

// Up to and with the header; may leave.
static void jpeg_begin(jpeg_state_t *state, picture_info_t *out_info)
{
    struct jpeg_decompress_struct *in = &state->in;
    jpeg_create_decompress(in);
    jpeg_stdio_src(in, state->file);
    jpeg_save_markers(in, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(in, TRUE);
    bool grey = in->jpeg_color_space == JCS_GRAYSCALE;
    in->out_color_space = grey ? JCS_GRAYSCALE : JCS_RGB;
    int turned = jpeg_turned(state);
    bool lying = turned >= 5;
    *out_info = (picture_info_t){
        .width = (int32_t)(lying ? in->image_height : in->image_width),
        .height = (int32_t)(lying ? in->image_width : in->image_height),
        .channels = grey ? 1 : 3,
        .format = PICTURE_JPEG,
        .turned = turned,
    };
}

static bool jpeg_probe(FILE *file, picture_info_t *out_info, char *error)
{
    jpeg_state_t state;
    jpeg_init(&state, error);
    state.file = file;
    if (setjmp(state.leave)) {
        jpeg_deinit(&state);
        return false;
    }
    jpeg_begin(&state, out_info);
    jpeg_deinit(&state);
    return true;
}

// Where the pixel [x, y] of the file goes, for one that the camera turned.
static size_t turned_to(picture_info_t info, size_t x, size_t y)
{
    const size_t width = (size_t)info.width, right = width - 1, below = (size_t)info.height - 1;
    switch (info.turned) {
    case 2:
        return y * width + (right - x);
    case 3:
        return (below - y) * width + (right - x);
    case 4:
        return (below - y) * width + x;
    case 5:
        return x * width + y;
    case 6:
        return x * width + (right - y);
    case 7:
        return (below - x) * width + (right - y);
    case 8:
        return (below - x) * width + y;
    default:
        return y * width + x;
    }
}

// All rows, may leave.
static void jpeg_rows(jpeg_state_t *state, picture_info_t info, uint8_t *pixels)
{
    struct jpeg_decompress_struct *in = &state->in;
    const size_t channels = (size_t)info.channels;
    jpeg_start_decompress(in);
    while (in->output_scanline < in->output_height) {
        const size_t y = in->output_scanline;
        JSAMPROW row = info.turned == 1 ? pixels + y * in->output_width * channels : state->row;
        jpeg_read_scanlines(in, &row, 1);
        for (size_t x = 0; info.turned != 1 && x < in->output_width; x++)
            memcpy(pixels + turned_to(info, x, y) * channels, row + x * channels, channels);
    }
    jpeg_finish_decompress(in);
}

static bool jpeg_decode(FILE *file, picture_info_t info, uint8_t *pixels, char *error)
{
    jpeg_state_t state;
    picture_info_t now;
    jpeg_init(&state, error);
    state.file = file;
    state.row = malloc((size_t)(info.width > info.height ? info.width : info.height) *
                       (size_t)info.channels);
    if (!state.row) fail(error, "no memory for a row");
    if (!state.row || setjmp(state.leave)) {
        jpeg_deinit(&state);
        return false;
    }
    jpeg_begin(&state, &now);
    if (!same(now, info)) {
        jpeg_deinit(&state);
        return fail(error, "it has changed while it was read");
    }
    jpeg_rows(&state, info, pixels);
    jpeg_deinit(&state);
    return true;
}

static bool jpeg_encode(FILE *file, picture_info_t info, int quality, const uint8_t *pixels,
                        char *error)
{
    jpeg_state_t state;
    jpeg_init(&state, error);
    if (setjmp(state.leave)) {
        jpeg_deinit(&state);
        return false;
    }
    struct jpeg_compress_struct *out = &state.out;
    jpeg_create_compress(out);
    jpeg_stdio_dest(out, file);
    out->image_width = (JDIMENSION)info.width;
    out->image_height = (JDIMENSION)info.height;
    out->input_components = info.channels;
    out->in_color_space = info.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(out);
    jpeg_set_quality(out, quality, TRUE);
    jpeg_start_compress(out, TRUE);
    while (out->next_scanline < out->image_height) {
        const size_t stride = (size_t)info.width * (size_t)info.channels;
        // The library takes pointers to what it only reads.
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + out->next_scanline * stride);
        jpeg_write_scanlines(out, &row, 1);
    }
    jpeg_finish_compress(out);
    jpeg_deinit(&state);
    return true;
}

// ---- PNG -------------------------------------------------------------------------------------

static const png_uint_32 png_formats[] = {0, PNG_FORMAT_GRAY, PNG_FORMAT_GA, PNG_FORMAT_RGB,
                                          PNG_FORMAT_RGBA};

static bool png_begin(png_image *image, FILE *file, picture_info_t *out_info, char *error)
{
    memset(image, 0, sizeof *image);
    image->version = PNG_IMAGE_VERSION;
    if (!png_image_begin_read_from_stdio(image, file)) return fail(error, image->message);
    bool colour = image->format & PNG_FORMAT_FLAG_COLOR;
    bool alpha = image->format & PNG_FORMAT_FLAG_ALPHA;
    *out_info = (picture_info_t){
        .width = (int32_t)image->width,
        .height = (int32_t)image->height,
        .channels = (colour ? 3 : 1) + alpha,
        .format = PICTURE_PNG,
        .turned = 1,
    };
    return true;
}

static bool png_probe(FILE *file, picture_info_t *out_info, char *error)
{
    png_image image;
    bool ok = png_begin(&image, file, out_info, error);
    png_image_free(&image);
    return ok;
}

static bool png_decode(FILE *file, picture_info_t info, uint8_t *pixels, char *error)
{
    png_image image;
    picture_info_t now;
    bool ok = png_begin(&image, file, &now, error);
    if (ok) ok = same(now, info) || fail(error, "it has changed while it was read");
    if (ok) {
        image.format = png_formats[info.channels];
        ok = png_image_finish_read(&image, NULL, pixels, 0, NULL) || fail(error, image.message);
    }
    png_image_free(&image);
    return ok;
}

static bool png_encode(FILE *file, picture_info_t info, const uint8_t *pixels, char *error)
{
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)info.width,
                       .height = (png_uint_32)info.height,
                       .format = png_formats[info.channels],
                       .flags = PNG_IMAGE_FLAG_FAST};
    bool ok =
        png_image_write_to_stdio(&image, file, 0, pixels, 0, NULL) || fail(error, image.message);
    png_image_free(&image);
    return ok;
}

// ---- either ----------------------------------------------------------------------------------

// By what is in it, and not by its name.
static bool format_of(FILE *file, picture_format_t *out_format, char *error)
{
    static const unsigned char png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    unsigned char head[8] = {0};
    size_t count = fread(head, 1, sizeof head, file);
    if (ferror(file)) return fail_errno(error, "cannot be read");
    rewind(file);
    if (count == 0) return fail(error, "is empty");
    if (count >= 3 && head[0] == 0xff && head[1] == 0xd8 && head[2] == 0xff) {
        *out_format = PICTURE_JPEG;
    } else if (count == sizeof head && memcmp(head, png, sizeof png) == 0) {
        *out_format = PICTURE_PNG;
    } else {
        return fail(error, "is neither JPEG nor PNG");
    }
    return true;
}

static FILE *open_picture(const char *path, picture_format_t *out_format, char *error)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        fail_errno(error, "cannot be opened");
        return NULL;
    }
    if (format_of(file, out_format, error)) return file;
    fclose(file);
    return NULL;
}

bool picture_probe(const char *path, picture_info_t *out_info, char *error)
{
    picture_format_t format;
    FILE *file = open_picture(path, &format, error);
    if (!file) return false;
    bool ok;
    if (format == PICTURE_JPEG) {
        ok = jpeg_probe(file, out_info, error); // closes the file
    } else {
        ok = png_probe(file, out_info, error);
        fclose(file);
    }
    return ok && size_is_fine((size_t)out_info->width, (size_t)out_info->height, error);
}

bool picture_decode(const char *path, picture_info_t info, uint8_t *pixels, char *error)
{
    picture_format_t format;
    FILE *file = open_picture(path, &format, error);
    if (!file) return false;
    if ((int32_t)format != info.format) {
        fclose(file);
        return fail(error, "it has changed while it was read");
    }
    if (format == PICTURE_JPEG) return jpeg_decode(file, info, pixels, error); // closes the file
    bool ok = png_decode(file, info, pixels, error);
    fclose(file);
    return ok;
}

// |file| is open; says what was written to it.
static bool encode_into(FILE *file, picture_info_t info, int quality, const uint8_t *pixels,
                        uint64_t *out_bytes, char *error)
{
    bool ok = info.format == PICTURE_JPEG ? jpeg_encode(file, info, quality, pixels, error)
                                          : png_encode(file, info, pixels, error);
    if (!ok) return false;
    struct stat st;
    if (fflush(file) || fstat(fileno(file), &st)) return fail_errno(error, "cannot be written");
    *out_bytes = (uint64_t)st.st_size;
    return true;
}

bool picture_encode(const char *path, picture_info_t info, int quality, const uint8_t *pixels,
                    uint64_t *out_bytes, char *error)
{
    char part[4096];
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return fail(error, "its name is too long");
    FILE *file = fopen(part, "wb");
    if (!file) return fail_errno(error, "cannot be made");
    bool ok = encode_into(file, info, quality, pixels, out_bytes, error);
    if (fclose(file) && ok) ok = fail_errno(error, "cannot be written");
    if (ok && rename(part, path)) ok = fail_errno(error, "cannot be renamed");
    if (!ok) remove(part);
    return ok;
}
