#include "store/heap.h"

#include <string.h>
#include <sys/mman.h>

enum { SPAN_BYTES = 2 << 20, BATCH = 32 };

typedef struct heap_span {
    struct heap_span *next;
} heap_span_t;

struct mti_heap {
    const manta_allocator_t *allocator;
    size_t retain_bytes;
    mti_mutex_t lock;
    mti_heap_list_t lists[MTI_HEAP_CLASSES]; // guarded by lock
    size_t retained_bytes;                   // guarded by lock; in lists of large classes
    heap_span_t *spans;                      // guarded by lock; each starts with its list node
    char *span_at, *span_end;                // guarded by lock; rest of the newest span
};

// Class c >= 4 holds (4 + c % 4) << (c / 4 + 2) bytes: 64, 80, 96, 112, 128, 160, …; rounded to 64.
static size_t class_bytes(size_t c)
{
    return (4 + c % 4) << (c / 4 + 4);
}

static size_t class_of(size_t size)
{
    if (size <= 64) return 0;
    size_t quarters = (size + 15) / 16; // class 0 is 4 quarters of 16 bytes
    int shift = 63 - __builtin_clzll(quarters) - 2;
    size_t step = (quarters + ((size_t)1 << shift) - 1) >> shift;
    return (size_t)shift * 4 + step - 4;
}

// Small classes are rounded to whole lines, so that every buffer is 64-byte aligned.
static size_t class_stride(size_t c)
{
    return mti_size_align(class_bytes(c), 64);
}

static bool size_is_small(size_t size)
{
    return size <= MTI_HEAP_SMALL_MAX;
}

size_t mti_heap_usable(size_t size_bytes)
{
    return class_stride(class_of(size_bytes));
}

static void list_push(mti_heap_list_t *list, void *ptr)
{
    *(void **)ptr = list->first;
    list->first = ptr;
    list->count++;
}

static void *list_pop(mti_heap_list_t *list)
{
    void *ptr = list->first;
    if (ptr) {
        list->first = *(void **)ptr;
        list->count--;
    }
    return ptr;
}

mti_heap_t *mti_heap_create(const manta_allocator_t *allocator, size_t retain_bytes)
{
    mti_heap_t *heap = mti_alloc_zeroed(allocator, sizeof *heap, 64);
    if (!heap) return NULL;
    heap->allocator = allocator;
    heap->retain_bytes = retain_bytes;
    mti_mutex_init(&heap->lock, MTI_RANK_HEAP);
    return heap;
}

void mti_heap_destroy(mti_heap_t *heap)
{
    if (!heap) return;
    for (size_t c = 0; c < MTI_HEAP_CLASSES; c++) {
        if (size_is_small(class_bytes(c))) continue; // inside a span
        for (void *ptr; (ptr = list_pop(&heap->lists[c]));)
            munmap(ptr, class_stride(c));
    }
    while (heap->spans) {
        heap_span_t *span = heap->spans;
        heap->spans = span->next;
        munmap(span, SPAN_BYTES);
    }
    mti_mutex_deinit(&heap->lock);
    mti_free(heap->allocator, heap, sizeof *heap);
}

void mti_heap_cache_init(mti_heap_cache_t *cache, mti_heap_t *heap)
{
    memset(cache, 0, sizeof *cache);
    cache->heap = heap;
}

static void heap_take_back_locked(mti_heap_t *heap, mti_heap_list_t *list, size_t c, uint32_t keep)
{
    while (list->count > keep)
        list_push(&heap->lists[c], list_pop(list));
}

void mti_heap_cache_deinit(mti_heap_cache_t *cache)
{
    mti_heap_t *heap = cache->heap;
    if (!heap) return;
    mti_mutex_lock(&heap->lock);
    for (size_t c = 0; c < MTI_HEAP_CLASSES; c++)
        heap_take_back_locked(heap, &cache->lists[c], c, 0);
    mti_mutex_unlock(&heap->lock);
}

static void *heap_map(size_t bytes)
{
    if (!mti_alloc_allowed(bytes)) return NULL;
    void *ptr = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ptr == MAP_FAILED) return NULL;
    if (bytes >= SPAN_BYTES) (void)madvise(ptr, bytes, MADV_HUGEPAGE);
    return ptr;
}

// Fills |list| with up to BATCH buffers of a small class.
static void heap_refill_small(mti_heap_t *heap, mti_heap_list_t *list, size_t c)
{
    size_t stride = class_stride(c);
    mti_mutex_lock(&heap->lock);
    for (uint32_t n = 0; n < BATCH; n++) {
        void *ptr = list_pop(&heap->lists[c]);
        if (!ptr && (size_t)(heap->span_end - heap->span_at) < stride) {
            if (n > 0) break; // enough for now
            heap_span_t *span = heap_map(SPAN_BYTES);
            if (!span) break;
            span->next = heap->spans;
            heap->spans = span;
            heap->span_at = (char *)span + 64;
            heap->span_end = (char *)span + SPAN_BYTES;
        }
        if (!ptr) {
            ptr = heap->span_at;
            heap->span_at += stride;
        }
        list_push(list, ptr);
    }
    mti_mutex_unlock(&heap->lock);
}

static void *heap_alloc_large(mti_heap_t *heap, size_t c)
{
    mti_mutex_lock(&heap->lock);
    void *ptr = list_pop(&heap->lists[c]);
    if (ptr) heap->retained_bytes -= class_stride(c);
    mti_mutex_unlock(&heap->lock);
    return ptr ? ptr : heap_map(class_stride(c));
}

static void heap_free_large(mti_heap_t *heap, void *ptr, size_t c)
{
    mti_mutex_lock(&heap->lock);
    bool keep = heap->retained_bytes + class_stride(c) <= heap->retain_bytes;
    if (keep) {
        list_push(&heap->lists[c], ptr);
        heap->retained_bytes += class_stride(c);
    }
    mti_mutex_unlock(&heap->lock);
    if (!keep) munmap(ptr, class_stride(c));
}

void *mti_heap_alloc(mti_heap_cache_t *cache, size_t size_bytes)
{
    if (size_bytes > ((size_t)1 << 46)) return NULL;
    size_t c = class_of(size_bytes);
    void *ptr;
    if (size_is_small(size_bytes)) {
        mti_heap_list_t *list = &cache->lists[c];
        if (!list->first) heap_refill_small(cache->heap, list, c);
        ptr = list_pop(list);
    } else {
        ptr = heap_alloc_large(cache->heap, c);
    }
    if (ptr) mti_atomic_i64_owner_add(&cache->live_bytes, (int64_t)size_bytes);
    return ptr;
}

void mti_heap_free(mti_heap_cache_t *cache, void *ptr, size_t size_bytes)
{
    size_t c = class_of(size_bytes);
    mti_atomic_i64_owner_add(&cache->live_bytes, -(int64_t)size_bytes);
    if (!size_is_small(size_bytes)) {
        heap_free_large(cache->heap, ptr, c);
        return;
    }
    mti_heap_list_t *list = &cache->lists[c];
    list_push(list, ptr);
    uint32_t limit = (uint32_t)(MTI_HEAP_CACHE_BYTES / class_stride(c)) + 2 * BATCH;
    if (MTI_UNLIKELY(list->count > limit)) {
        mti_mutex_lock(&cache->heap->lock);
        heap_take_back_locked(cache->heap, list, c, limit / 2);
        mti_mutex_unlock(&cache->heap->lock);
    }
}
