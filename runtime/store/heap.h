// Payload memory: buffers of objects, by size class, sized on free.
//
// No headers: the object knows its size. Small buffers (to 32 KiB) are cut from 2 MiB spans and kept
// in per-thread caches; larger ones are cached whole, so that a freed megabyte comes back with its
// pages already there. 64-byte aligned; memory is first touched by who gets it.
#ifndef MTI_STORE_HEAP_H
#define MTI_STORE_HEAP_H

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/mutex.h"

#include <stddef.h>
#include <stdint.h>

enum {
    MTI_HEAP_CLASSES = 164, // four per power of two
    MTI_HEAP_SMALL_MAX = 32 * 1024,
    MTI_HEAP_CACHE_BYTES = 256 * 1024, // per class and thread
};

typedef struct mti_heap mti_heap_t;

typedef struct mti_heap_list {
    void *first; // each free buffer starts with the pointer to the next
    uint32_t count;
} mti_heap_list_t;

// One per thread context; belongs to that thread.
typedef struct mti_heap_cache {
    mti_heap_t *heap;
    mti_heap_list_t lists[MTI_HEAP_CLASSES];
    mti_atomic_i64_t live_bytes; // written by the owner only; may go below 0, the sum counts
} mti_heap_cache_t;

// |retain_bytes|: how many bytes of large free buffers are kept for reuse.
mti_heap_t *mti_heap_create(const manta_allocator_t *allocator, size_t retain_bytes);
// Gives everything back; no buffer may be in use.
void mti_heap_destroy(mti_heap_t *heap);

void mti_heap_cache_init(mti_heap_cache_t *cache, mti_heap_t *heap);
void mti_heap_cache_deinit(mti_heap_cache_t *cache); // its free buffers go to the heap

// |size_bytes| > 0. NULL: no memory. Threads: the cache's.
void *mti_heap_alloc(mti_heap_cache_t *cache, size_t size_bytes);
void mti_heap_free(mti_heap_cache_t *cache, void *ptr, size_t size_bytes);

// Usable size of a buffer of |size_bytes|.
size_t mti_heap_usable(size_t size_bytes);

#endif
