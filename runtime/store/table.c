#include "store/table.h"

#include "base/alloc.h"
#include "base/mutex.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

mti_atomic_ptr_t mti_table_chunks[MTI_TABLE_CHUNKS];

enum { MAX_CACHES = 65536 };

// Process-wide: slots outlive runtimes.
static struct {
    mti_mutex_t lock;
    mti_table_run_t *unused_runs;      // guarded by lock; of caches that are gone
    uint32_t next_slot;                // guarded by lock; first slot that belongs to no run yet
    uint32_t cache_count;              // guarded by lock; caches ever made
    uint16_t free_indices[MAX_CACHES]; // guarded by lock
    uint32_t free_index_count;         // guarded by lock
} table = {.lock = MTI_MUTEX_INIT(MTI_RANK_TABLE)};

static mti_atomic_ptr_t caches[MAX_CACHES];

bool mti_table_cache_init(mti_table_cache_t *cache)
{
    memset(cache, 0, sizeof *cache);
    mti_mutex_lock(&table.lock);
    bool ok = true;
    if (table.free_index_count) {
        cache->index = table.free_indices[--table.free_index_count];
    } else if (table.cache_count < MAX_CACHES - 1) {
        cache->index = (uint16_t)++table.cache_count; // 0 is nobody's
    } else {
        ok = false;
    }
    mti_mutex_unlock(&table.lock);
    // release: pairs with the acquire in table_send; publishes the initialised cache
    if (ok) mti_atomic_ptr_store_release(&caches[cache->index], cache);
    return ok;
}

void mti_table_cache_deinit(mti_table_cache_t *cache)
{
    mti_table_flush(cache);
    mti_atomic_ptr_store_release(&caches[cache->index], NULL);
    mti_mutex_lock(&table.lock);
    mti_table_run_t *run = mti_atomic_ptr_load_relaxed(&cache->runs), *next;
    for (; run; run = next) {
        next = run->next;
        run->next = table.unused_runs;
        table.unused_runs = run;
    }
    mti_atomic_ptr_store_relaxed(&cache->runs, NULL);
    table.free_indices[table.free_index_count++] = cache->index;
    mti_mutex_unlock(&table.lock);
    cache->free = NULL;
}

// Makes sure that the memory of |slot| exists. table.lock held.
static bool table_map_chunk_locked(uint32_t slot)
{
    mti_atomic_ptr_t *chunk = &mti_table_chunks[slot / MTI_TABLE_CHUNK_SLOTS];
    if (mti_atomic_ptr_load_relaxed(chunk)) return true;
    size_t bytes = (size_t)MTI_TABLE_CHUNK_SLOTS * MTI_SLOT_BYTES;
    // Huge-page sized and aligned pieces: first touch of a 4 KiB page costs as much as 20 tasks.
    const size_t huge = (size_t)2 << 20;
    char *map =
        mmap(NULL, bytes + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) return false;
    char *at = (char *)(((uintptr_t)map + huge - 1) & ~(uintptr_t)(huge - 1));
    if (at > map) munmap(map, (size_t)(at - map));
    if (map + huge > at) munmap(at + bytes, (size_t)(map + huge - at));
    (void)madvise(at, bytes, MADV_HUGEPAGE);
    mti_atomic_ptr_store_release(chunk, at);
    return true;
}

// A run that nobody owns, or NULL if there is no memory.
static mti_table_run_t *table_take_run(void)
{
    if (!mti_alloc_allowed(sizeof(mti_table_run_t))) return NULL;
    mti_mutex_lock(&table.lock);
    mti_table_run_t *run = table.unused_runs;
    if (run) {
        table.unused_runs = run->next;
    } else if (table.next_slot <= UINT32_MAX - MTI_TABLE_RUN_SLOTS &&
               table_map_chunk_locked(table.next_slot) && (run = malloc(sizeof *run))) {
        run->first_slot = table.next_slot;
        table.next_slot += MTI_TABLE_RUN_SLOTS;
    }
    mti_mutex_unlock(&table.lock);
    return run;
}

mti_slot_t *mti_table_alloc_slow(mti_table_cache_t *cache)
{
    // First what others sent home. acquire: pairs with the release CAS in table_send.
    mti_slot_t *slot = mti_atomic_ptr_load_relaxed(&cache->remote);
    if (slot) {
        slot = mti_atomic_ptr_exchange_acquire(&cache->remote, NULL);
        cache->free = slot->next;
        return slot;
    }
    for (;;) {
        uint32_t index = mti_atomic_u32_load_relaxed(&cache->fresh_next);
        if (index == cache->fresh_end) {
            mti_table_run_t *run = table_take_run();
            if (!run) return NULL;
            index = run->first_slot;
            run->next = mti_atomic_ptr_load_relaxed(&cache->runs);
            mti_atomic_u32_store_relaxed(&cache->fresh_next, index);
            cache->fresh_end = index + MTI_TABLE_RUN_SLOTS;
            // release: publishes the run to mti_table_cache_each
            mti_atomic_ptr_store_release(&cache->runs, run);
        }
        mti_atomic_u32_store_relaxed(&cache->fresh_next, index + 1);
        slot = mti_table_slot(index);
        slot->object.slot = index;
        // relaxed: published with the first counts of an object here
        __atomic_store_n(&slot->object.home, cache->index, __ATOMIC_RELAXED);
        uint32_t gen = mti_atomic_u32_load_relaxed(&slot->object.gen);
        if (gen == 0) mti_atomic_u32_store_relaxed(&slot->object.gen, 1);
        // Index 0 stays unused, so that no ref is 0; a retired slot stays retired.
        if (index != 0 && gen < MTI_GEN_MAX) return slot;
    }
}

static void table_send(mti_slot_t *first, mti_slot_t *last, uint16_t home)
{
    mti_table_cache_t *cache = mti_atomic_ptr_load_acquire(&caches[home]);
    if (!cache) return; // its runs went back to the process with everything in them
    void *top = mti_atomic_ptr_load_relaxed(&cache->remote);
    do {
        last->next = top;
    } while (!mti_atomic_ptr_cas_acq_rel(&cache->remote, &top, first));
}

void mti_table_flush_slow(mti_table_cache_t *cache, mti_table_outbox_t *box)
{
    (void)cache;
    if (!box->first) return;
    table_send(box->first, box->last, box->home);
    box->first = box->last = NULL;
    box->count = 0;
}

void mti_table_flush(mti_table_cache_t *cache)
{
    for (size_t i = 0; i < MTI_TABLE_OUTBOXES; i++)
        mti_table_flush_slow(cache, &cache->outbox[i]);
}

void mti_table_cache_each(mti_table_cache_t *cache, void (*fn)(mti_slot_t *slot, void *user),
                          void *user)
{
    mti_table_run_t *newest = mti_atomic_ptr_load_acquire(&cache->runs);
    uint32_t fresh = mti_atomic_u32_load_relaxed(&cache->fresh_next);
    for (mti_table_run_t *run = newest; run; run = run->next) {
        uint32_t end = run->first_slot + MTI_TABLE_RUN_SLOTS;
        // Outside of the run if a newer one came in between: then this one is used up.
        if (run == newest && fresh - run->first_slot < MTI_TABLE_RUN_SLOTS) end = fresh;
        for (uint32_t i = run->first_slot; i < end; i++) {
            if (i != 0) fn(mti_table_slot(i), user);
        }
    }
}
