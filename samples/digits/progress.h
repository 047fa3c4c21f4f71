// A bar that grows with the factor.
#ifndef DIGITS_PROGRESS_H
#define DIGITS_PROGRESS_H

#include "graph.h"

// Shows on stdout how much of |factor| is there, until all of it is or something has failed: one line
// that is drawn again and again at a terminal, else a line for every tenth. Returns what a manta call
// returned. A failed tile is no failure here: whoever needs it will hear of it.
manta_status_t progress_show(const triangle_t *factor);

#endif
