// Pictures for those who have none at hand.
#ifndef PHOTOS_DEMO_H
#define PHOTOS_DEMO_H

#include <stdbool.h>

// Draws |count| pictures into |folder|, demo-0001.jpg, demo-0002.png, ...; every run the same. Says on
// stderr what went wrong and returns false then.
bool demo_draw(const char *folder, int count);

#endif
