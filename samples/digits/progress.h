// A bar that grows with the factor.
#ifndef DIGITS_PROGRESS_H
#define DIGITS_PROGRESS_H

#include "graph.h"

// Waits until all of |factor| and the |count| refs |last| are ready, and shows on stdout meanwhile how
// much of the factor is there: one line that is drawn again and again at a terminal, else a line for
// every tenth. Nothing runs on this thread, but in a serial runtime. Returns what a manta call
// returned: a ref that failed is no failure here.
//
// |watch|, if not NULL, is stopped when the last tile is seen to be ready: for tiles that devices make, where
// no body is there to do it.
manta_status_t progress_show(const triangle_t *factor, const manta_ref_t *last, size_t count,
                             stopwatch_t *watch);

#endif
