#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

bool (*mti_alloc_hook)(size_t size_bytes);

void *mti_alloc(const manta_allocator_t *allocator, size_t size_bytes, size_t align)
{
    if (size_bytes == 0 || !mti_alloc_allowed(size_bytes)) return NULL;
    if (allocator && allocator->alloc) return allocator->alloc(allocator->user, size_bytes, align);
    if (align <= _Alignof(max_align_t)) return malloc(size_bytes);
    void *ptr = NULL;
    return posix_memalign(&ptr, align, size_bytes) == 0 ? ptr : NULL;
}

void *mti_alloc_zeroed(const manta_allocator_t *allocator, size_t size_bytes, size_t align)
{
    void *ptr = mti_alloc(allocator, size_bytes, align);
    if (ptr) memset(ptr, 0, size_bytes);
    return ptr;
}

void mti_free(const manta_allocator_t *allocator, void *ptr, size_t size_bytes)
{
    if (!ptr) return;
    if (allocator && allocator->alloc) {
        allocator->free(allocator->user, ptr, size_bytes);
    } else {
        free(ptr);
    }
}
