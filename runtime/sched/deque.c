#include "sched/deque.h"

static size_t ring_bytes(uint32_t capacity)
{
    return sizeof(mti_deque_ring_t) + capacity * sizeof(mti_atomic_u64_t);
}

bool mti_deque_init(mti_deque_t *deque, const manta_allocator_t *allocator)
{
    mti_deque_ring_t *ring = mti_alloc_zeroed(allocator, ring_bytes(MTI_DEQUE_MIN), 64);
    if (!ring) return false;
    ring->mask = MTI_DEQUE_MIN - 1;
    *deque = (mti_deque_t){.ring = {ring}, .allocator = allocator};
    return true;
}

void mti_deque_deinit(mti_deque_t *deque)
{
    mti_deque_ring_t *ring = mti_atomic_ptr_load_relaxed(&deque->ring);
    while (ring) {
        mti_deque_ring_t *older = ring->older;
        mti_free(deque->allocator, ring, ring_bytes(ring->mask + 1));
        ring = older;
    }
    mti_atomic_ptr_store_relaxed(&deque->ring, NULL);
}

bool mti_deque_grow(mti_deque_t *deque)
{
    mti_deque_ring_t *ring = mti_atomic_ptr_load_relaxed(&deque->ring);
    uint32_t capacity = ring->mask + 1;
    if (capacity >= MTI_DEQUE_MAX) return false;
    mti_deque_ring_t *bigger = mti_alloc_zeroed(deque->allocator, ring_bytes(capacity * 2), 64);
    if (!bigger) return false; // benign: the caller spills
    bigger->mask = capacity * 2 - 1;
    bigger->older = ring;
    uint64_t anchor = mti_atomic_u64_load_relaxed(&deque->anchor);
    uint32_t head = mti_anchor_head(anchor), size = mti_anchor_size(anchor);
    for (uint32_t i = 0; i < size; i++) {
        uint64_t entry = mti_atomic_u64_load_relaxed(&ring->entries[(head + i) & ring->mask]);
        mti_atomic_u64_store_relaxed(&bigger->entries[i], entry);
    }
    // Ring before anchor: with the old anchor and the new ring a thief may read a wrong but harmless
    // entry (another live one, or 0), and the store below undoes its CAS.
    mti_atomic_ptr_store_release(&deque->ring, bigger);
    mti_atomic_u64_store_release(&deque->anchor,
                                 mti_anchor_make(0, size, (uint32_t)(anchor >> 32) + 1));
    return true;
}
