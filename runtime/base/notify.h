// Sleeping and waking: one 32-bit word that a thread sleeps on.
//
// The only place in manta where threads sleep. A word is zeroed by its owner, then the owner makes
// itself known to wakers, and sleeps in mti_notify_wait() until somebody calls mti_notify_wake().
// A wake before the sleep is not lost.
#ifndef MTI_BASE_NOTIFY_H
#define MTI_BASE_NOTIFY_H

#include "base/atomic.h"

// Sleeps while |*word| == |value|, at most until |deadline_ns| (mti_clock_ns() time; INT64_MAX: for
// ever). Returns false if the deadline passed with the word unchanged. Spurious returns do not
// happen: it loops. Threads: any.
bool mti_notify_wait(mti_atomic_u32_t *word, uint32_t value, int64_t deadline_ns);

// Wakes up to |n| threads that sleep on |word|; the caller has changed it (release) before.
void mti_notify_wake(mti_atomic_u32_t *word, int n);

#endif
