// The ref table: type-stable slots of 192 bytes for objects and tasks, for all runtimes.
//
// A slot's memory is never unmapped and always a slot, so a stale ref can be looked at safely: its
// generation tells. Slots come in *runs* of 1024. A cache (one per thread context) owns runs; a slot
// always goes home to the cache that owns its run, so that its memory stays near. Other threads
// gather what they free in an outbox and send it home in batches (one CAS for up to 64 slots).
#ifndef MTI_STORE_TABLE_H
#define MTI_STORE_TABLE_H

#include "store/object.h"

enum {
    MTI_TABLE_CHUNK_SLOTS = 8192,
    MTI_TABLE_CHUNKS = 1 << 19, // 2^32 slots
    MTI_TABLE_RUN_SLOTS = 1024,
    MTI_TABLE_OUTBOXES = 16,
    MTI_TABLE_OUTBOX_MAX = 64,
};

// A slot as the table sees it. The object line comes first; the rest is its producer's.
typedef struct mti_slot {
    mti_object_t object;
    uint64_t claim; // core's; kept here because its generation must survive
    uint64_t reserved;
    struct mti_slot *next; // list of free slots; otherwise the owner's
    unsigned char rest[MTI_SLOT_BYTES - sizeof(mti_object_t) - 24];
} mti_slot_t;
static_assert(sizeof(mti_slot_t) == MTI_SLOT_BYTES, "slots are three cache lines");

typedef struct mti_table_run {
    struct mti_table_run *next; // of the same cache, or of the pool of unused runs
    uint32_t first_slot;
} mti_table_run_t;

typedef struct mti_table_outbox {
    mti_slot_t *first, *last;
    uint32_t count;
    uint16_t home;
} mti_table_outbox_t;

// One per thread context. All but |remote| belongs to that thread.
typedef struct mti_table_cache {
    mti_slot_t *free;
    mti_atomic_ptr_t runs;       // mti_table_run_t *, newest first; others may look (cache_each)
    mti_atomic_u32_t fresh_next; // slots of the newest run from here on were never used
    uint32_t fresh_end;
    uint16_t index; // what |home| of its slots says
    mti_table_outbox_t outbox[MTI_TABLE_OUTBOXES];
    // Slots sent home by others; a stack that is only ever taken whole, hence no ABA.
    _Alignas(MTI_LINE_BYTES) mti_atomic_ptr_t remote;
} mti_table_cache_t;

extern mti_atomic_ptr_t mti_table_chunks[MTI_TABLE_CHUNKS];

// The slot with that index, NULL if there is none. Threads: any.
static inline mti_slot_t *mti_table_slot(uint32_t slot)
{
    // acquire: pairs with the release store of a new chunk
    mti_slot_t *chunk =
        (mti_slot_t *)mti_atomic_ptr_load_acquire(&mti_table_chunks[slot / MTI_TABLE_CHUNK_SLOTS]);
    return MTI_LIKELY(chunk != NULL) ? chunk + slot % MTI_TABLE_CHUNK_SLOTS : NULL;
}

// The same for an index that is known to be a slot's.
static inline mti_slot_t *mti_table_live_slot(uint32_t slot)
{
    mti_slot_t *chunk =
        (mti_slot_t *)mti_atomic_ptr_load_acquire(&mti_table_chunks[slot / MTI_TABLE_CHUNK_SLOTS]);
    if (!chunk) __builtin_unreachable();
    return chunk + slot % MTI_TABLE_CHUNK_SLOTS;
}
static inline mti_object_t *mti_object_at(uint32_t slot)
{
    return &mti_table_live_slot(slot)->object;
}
// The object of a ref that somebody is known to hold a count of.
static inline mti_object_t *mti_object_held(manta_ref_t ref)
{
    return mti_object_at(mti_ref_slot(ref));
}

// Registers a cache. Returns false if there are too many (65 535). Deinit gives its runs back to the
// process; every slot must have been freed (see mti_table_cache_each).
bool mti_table_cache_init(mti_table_cache_t *cache);
void mti_table_cache_deinit(mti_table_cache_t *cache);

mti_slot_t *mti_table_alloc_slow(mti_table_cache_t *cache);
void mti_table_flush_slow(mti_table_cache_t *cache, mti_table_outbox_t *box);

// Takes |slot|, the first free one, off the list. The one behind it may have come home from another
// core: its lines are asked for now, so that they are here for the next call.
static inline void mti_table_pop(mti_table_cache_t *cache, mti_slot_t *slot)
{
    mti_slot_t *next = slot->next;
    cache->free = next;
    for (size_t i = 0; i < MTI_SLOT_BYTES; i += 64)
        __builtin_prefetch((char *)next + i, 1);
}

// Takes a free slot: its object line has a valid gen, slot and home, everything else is the caller's
// to set. NULL: no memory. Threads: the cache's.
static inline mti_slot_t *mti_table_alloc(mti_table_cache_t *cache)
{
    mti_slot_t *slot = cache->free;
    if (MTI_UNLIKELY(!slot)) return mti_table_alloc_slow(cache);
    mti_table_pop(cache, slot);
    return slot;
}

// Frees a slot whose counts are 0: bumps its generation, so all refs to it are stale.
static inline void mti_table_free(mti_table_cache_t *cache, mti_slot_t *slot)
{
    uint32_t gen = mti_atomic_u32_load_relaxed(&slot->object.gen) + 1;
    mti_atomic_u64_store_relaxed(&slot->object.size_bits, 0);
    // release: a lookup that still sees the old generation afterwards sees counts of 0 as well
    mti_atomic_u32_store_release(&slot->object.gen, gen);
    if (MTI_UNLIKELY(gen >= MTI_GEN_MAX)) return; // used up: retired for good
    if (MTI_LIKELY(slot->object.home == cache->index)) {
        slot->next = cache->free;
        cache->free = slot;
        return;
    }
    mti_table_outbox_t *box = &cache->outbox[slot->object.home % MTI_TABLE_OUTBOXES];
    if (MTI_UNLIKELY(box->home != slot->object.home || box->count >= MTI_TABLE_OUTBOX_MAX)) {
        mti_table_flush_slow(cache, box);
        box->home = slot->object.home;
    }
    slot->next = box->first;
    if (!box->first) box->last = slot;
    box->first = slot;
    box->count++;
}

// Sends everything in the outboxes home. Called when a thread goes idle.
void mti_table_flush(mti_table_cache_t *cache);

// Calls |fn| for each slot that |cache| owns and that was ever used. The caller makes sure that nobody
// else changes them, or takes what it sees as a snapshot.
void mti_table_cache_each(mti_table_cache_t *cache, void (*fn)(mti_slot_t *slot, void *user),
                          void *user);

#endif
