// An asymmetric store-load fence: free on the hot side, dear on the rare side.
//
// Two threads each store one variable and then load the other's; at least one must see the other's
// store (Dekker). The hot side calls mti_fence_light() between its store and its load, the rare side
// mti_fence_heavy(). With Linux' membarrier(PRIVATE_EXPEDITED) the light side is a compiler barrier
// only, because the heavy side makes every running thread of the process execute a full barrier.
// Where the call is missing both are full fences.
//
// Source: membarrier(2). Stress test: tests/stress/fence_stress.cc.
#ifndef MTI_BASE_FENCE_H
#define MTI_BASE_FENCE_H

#include "base/atomic.h"

// Set once by mti_fence_init(), before any thread of ours exists.
extern bool mti_fence_asymmetric;

// Registers the process. Idempotent; called when a runtime is created.
void mti_fence_init(void);

// Full fence on every thread of the process. Microseconds. Blocks: never for long.
void mti_fence_heavy(void);

void mti_fence_full_slow(void);

static inline void mti_fence_light(void)
{
    if (MTI_LIKELY(mti_fence_asymmetric)) {
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
    } else {
        mti_fence_full_slow();
    }
}

#endif
