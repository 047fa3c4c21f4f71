// What the command line says.
#ifndef PHOTOS_OPTIONS_H
#define PHOTOS_OPTIONS_H

#include <manta/manta.h>

#include <stdbool.h>

enum { EFFECT_BLUR, EFFECT_EDGES, EFFECT_EQUALIZE, EFFECTS };
extern const char *const effect_names[EFFECTS];

typedef struct photos_options {
    const char *from, *to; // folders
    bool effects[EFFECTS];
    int passes;    // of the blur
    int quality;   // of JPEGs, 1 to 100
    int in_flight; // photographs that are worked on at a time; 0: twice the workers
    int workers;   // MANTA_AUTO: one per core
    int demo;      // pictures to draw into |from| first
    manta_where_t where;
} photos_options_t;

// Reads the command line. Does not return for --help, or with status 2 if something is wrong with it.
void photos_options_parse(int argc, char **argv, photos_options_t *out_options);

#endif
