#include "demo.h"

#include "picture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

// A hazy evening: sky, sun, three ranges of hills, and a lake that shows them again. Little contrast,
// so that there is something to even out.
typedef struct scene {
    float sun_x, sun_y, sun_r;
    float ridge[3][3]; // amplitudes and phases of each range
    float water;       // where it begins
    uint32_t noise;
} scene_t;

static float scene_random(scene_t *scene)
{
    scene->noise = scene->noise * 1664525u + 1013904223u;
    return (float)(scene->noise >> 8) / (float)(1 << 24);
}

static scene_t scene_make(int number)
{
    scene_t scene = {.noise = (uint32_t)number * 2654435761u};
    scene.sun_x = 0.2f + 0.6f * scene_random(&scene);
    scene.sun_y = 0.2f + 0.15f * scene_random(&scene);
    scene.sun_r = 0.04f + 0.03f * scene_random(&scene);
    scene.water = 0.72f + 0.08f * scene_random(&scene);
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 3; k++)
            scene.ridge[i][k] = scene_random(&scene);
    }
    return scene;
}

// How high range |i| stands at |x|, from 0 at the top of the picture.
static float scene_ridge(const scene_t *scene, int i, float x)
{
    const float *r = scene->ridge[i];
    float wave = 0.5f * sinf(5 * x + 6 * r[0]) + 0.3f * sinf(13 * x + 6 * r[1]) +
                 0.12f * sinf(41 * x + 6 * r[2]) + 0.05f * sinf(97 * x + 9 * r[0]);
    return 0.42f + 0.1f * (float)i + 0.09f * wave;
}

static float scene_mix(float a, float b, float t)
{
    return a + (b - a) * t;
}

// The colour above the water.
static void scene_land(const scene_t *scene, float x, float y, float aspect, float *rgb)
{
    float dx = (x - scene->sun_x) * aspect, dy = y - scene->sun_y;
    float distance = sqrtf(dx * dx + dy * dy), glow = expf(-6 * distance);
    rgb[0] = scene_mix(0.42f, 0.68f, y) + 0.25f * glow;
    rgb[1] = scene_mix(0.47f, 0.55f, y) + 0.16f * glow;
    rgb[2] = scene_mix(0.60f, 0.48f, y) + 0.02f * glow;
    if (distance < scene->sun_r) rgb[0] = 0.92f, rgb[1] = 0.82f, rgb[2] = 0.62f;
    for (int i = 0; i < 3; i++) {
        if (y < scene_ridge(scene, i, x)) continue;
        float haze = 0.62f - 0.13f * (float)i;
        rgb[0] = haze * 0.80f, rgb[1] = haze * 0.88f, rgb[2] = haze;
    }
}

static void scene_colour(scene_t *scene, float x, float y, float aspect, float *rgb)
{
    if (y < scene->water) {
        scene_land(scene, x, y, aspect, rgb);
    } else {
        float depth = y - scene->water, ripple = 0.006f * sinf(260 * depth + 9 * x);
        scene_land(scene, x + ripple, scene->water - 1.6f * depth, aspect, rgb);
        for (int c = 0; c < 3; c++)
            rgb[c] = scene_mix(rgb[c], 0.36f, 0.35f);
    }
    float grain = 0.012f * (scene_random(scene) - 0.5f);
    for (int c = 0; c < 3; c++)
        rgb[c] += grain;
}

static void scene_draw(scene_t *scene, picture_info_t info, uint8_t *pixels)
{
    const float aspect = (float)info.width / (float)info.height;
    for (int y = 0; y < info.height; y++) {
        for (int x = 0; x < info.width; x++) {
            float rgb[3];
            scene_colour(scene, (float)x / (float)info.width, (float)y / (float)info.height, aspect,
                         rgb);
            for (int c = 0; c < 3; c++)
                *pixels++ = (uint8_t)(255 * (rgb[c] < 0 ? 0 : rgb[c] > 1 ? 1 : rgb[c]));
        }
    }
}

bool demo_draw(const char *folder, int count)
{
    static const int sizes[][2] = {{960, 640}, {640, 960}, {1200, 800}, {801, 601}};
    bool ok = true;
    for (int i = 0; i < count && ok; i++) {
        picture_info_t info = {.width = sizes[i % 4][0],
                               .height = sizes[i % 4][1],
                               .channels = 3,
                               .format = i % 2 ? PICTURE_PNG : PICTURE_JPEG,
                               .turned = 1};
        char path[4096], error[PICTURE_ERROR_BYTES] = "no memory";
        uint64_t bytes;
        uint8_t *pixels = malloc(picture_bytes(info));
        snprintf(path, sizeof path, "%s/demo-%04d.%s", folder, i + 1, i % 2 ? "png" : "jpg");
        ok = pixels != NULL;
        if (ok) {
            scene_t scene = scene_make(i + 1);
            scene_draw(&scene, info, pixels);
            ok = picture_encode(path, info, 92, pixels, &bytes, error);
        }
        if (!ok) fprintf(stderr, "photos: %s: %s\n", path, error);
        free(pixels);
    }
    return ok;
}
