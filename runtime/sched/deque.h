// A work-stealing deque of 64-bit entries without a fence on the owner's side.
//
// Roles:     the owner puts and takes at the tail; thieves steal a batch at the head.
// Contract:  every entry comes out *at least* once, in rare races twice. Whoever gets one must claim
//            the task that it names (a CAS that core needs anyway, against waiters and cancel), so a
//            second copy does no harm. That is what lets the owner work with plain stores.
// State:     one word, the anchor: head index, size, tag. The owner replaces it by a store, thieves by
//            a CAS. put bumps the tag.
// Invariant: an entry between head and head + size is in the ring. A thief's CAS succeeds only if the
//            anchor is what it read the entries under; since only put can bring an anchor with a new
//            entry, and put changes the tag, the entries read are the entries that left. An owner's
//            store that overwrites a thief's CAS moves the head back, never forward: a copy, no loss.
// Wrap, ABA: a stale thief needs 2^32 puts between its read and its CAS, with head and size alike.
// Growth:    put doubles the ring up to 2^15 entries, old rings stay until deinit, because a thief may
//            still read one; then put refuses, and the owner's caller spills (sched.c).
// Progress:  owner wait-free, thieves lock-free.
// Source:    M. Michael, M. Vechev, V. Saraswat: Idempotent work stealing, PPoPP 2009 (their
//            double-ended variant), with batches.
// Attacked by tests/stress/deque_stress.cc.
#ifndef MTI_SCHED_DEQUE_H
#define MTI_SCHED_DEQUE_H

#include "base/alloc.h"
#include "base/atomic.h"

#include <stddef.h>

enum { MTI_DEQUE_MIN = 256, MTI_DEQUE_MAX = 32768 };

typedef struct mti_deque_ring {
    struct mti_deque_ring *older;
    uint32_t mask;
    mti_atomic_u64_t entries[];
} mti_deque_ring_t;

typedef struct mti_deque {
    _Alignas(MTI_LINE_BYTES) mti_atomic_u64_t anchor; // written by the owner, CASed by thieves
    mti_atomic_ptr_t ring;
    const manta_allocator_t *allocator;
} mti_deque_t;

static inline uint32_t mti_anchor_head(uint64_t anchor)
{
    return (uint32_t)anchor & 0xffff;
}
static inline uint32_t mti_anchor_size(uint64_t anchor)
{
    return (uint32_t)anchor >> 16;
}
static inline uint64_t mti_anchor_make(uint32_t head, uint32_t size, uint32_t tag)
{
    return (uint64_t)tag << 32 | (uint64_t)size << 16 | head;
}

bool mti_deque_init(mti_deque_t *deque, const manta_allocator_t *allocator);
void mti_deque_deinit(mti_deque_t *deque);
bool mti_deque_grow(mti_deque_t *deque);

// Owner. Returns false if the deque is full and can't grow.
static inline bool mti_deque_put(mti_deque_t *deque, uint64_t entry)
{
    for (;;) {
        uint64_t anchor = mti_atomic_u64_load_relaxed(&deque->anchor);
        mti_deque_ring_t *ring = (mti_deque_ring_t *)mti_atomic_ptr_load_relaxed(&deque->ring);
        uint32_t head = mti_anchor_head(anchor), size = mti_anchor_size(anchor);
        if (MTI_UNLIKELY(size > ring->mask)) {
            if (!mti_deque_grow(deque)) return false;
            continue;
        }
        // release, though the anchor publishes it: the owner's earlier stores of the anchor come first, so
        // that a thief that reads this entry under an older anchor can't have its CAS come before them
        mti_atomic_u64_store_release(&ring->entries[(head + size) & ring->mask], entry);
        // release: publishes the entry and the task; pairs with the acquire in steal
        mti_atomic_u64_store_release(&deque->anchor,
                                     mti_anchor_make(head, size + 1, (uint32_t)(anchor >> 32) + 1));
        return true;
    }
}

// Owner. The entry put last, 0 if there is none.
static inline uint64_t mti_deque_take(mti_deque_t *deque)
{
    uint64_t anchor = mti_atomic_u64_load_relaxed(&deque->anchor);
    uint32_t head = mti_anchor_head(anchor), size = mti_anchor_size(anchor);
    if (size == 0) return 0;
    mti_deque_ring_t *ring = (mti_deque_ring_t *)mti_atomic_ptr_load_relaxed(&deque->ring);
    uint64_t entry = mti_atomic_u64_load_relaxed(&ring->entries[(head + size - 1) & ring->mask]);
    // release: a thief that reads this anchor must see the entries that are left
    mti_atomic_u64_store_release(&deque->anchor,
                                 mti_anchor_make(head, size - 1, (uint32_t)(anchor >> 32)));
    return entry;
}

// Owner. The entry that take would give.
static inline uint64_t mti_deque_peek(const mti_deque_t *deque)
{
    uint64_t anchor = mti_atomic_u64_load_relaxed(&deque->anchor);
    uint32_t head = mti_anchor_head(anchor), size = mti_anchor_size(anchor);
    if (size == 0) return 0;
    mti_deque_ring_t *ring = (mti_deque_ring_t *)mti_atomic_ptr_load_relaxed(&deque->ring);
    return mti_atomic_u64_load_relaxed(&ring->entries[(head + size - 1) & ring->mask]);
}

// Anybody. A snapshot.
static inline uint32_t mti_deque_size(const mti_deque_t *deque)
{
    return mti_anchor_size(mti_atomic_u64_load_relaxed(&deque->anchor));
}

// Anybody. Moves up to |max| of the oldest entries, at most half (rounded up), to |out|; returns how
// many, 0 also if another thread came first.
static inline uint32_t mti_deque_steal(mti_deque_t *deque, uint64_t *out, uint32_t max)
{
    // acquire: pairs with the release in put
    uint64_t anchor = mti_atomic_u64_load_acquire(&deque->anchor);
    uint32_t head = mti_anchor_head(anchor), size = mti_anchor_size(anchor);
    if (size == 0) return 0;
    // acquire: the ring is at least as new as the anchor; if it is newer the CAS below fails, or the
    // owner's next store takes it back
    mti_deque_ring_t *ring = (mti_deque_ring_t *)mti_atomic_ptr_load_acquire(&deque->ring);
    uint32_t n = (size + 1) / 2;
    if (n > max) n = max;
    for (uint32_t i = 0; i < n; i++) {
        // acquire: pairs with the release of the entry in put
        out[i] = mti_atomic_u64_load_acquire(&ring->entries[(head + i) & ring->mask]);
    }
    uint64_t left = mti_anchor_make((head + n) & ring->mask, size - n, (uint32_t)(anchor >> 32));
    return mti_atomic_u64_cas_acq_rel(&deque->anchor, &anchor, left) ? n : 0;
}

#endif
