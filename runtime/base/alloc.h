// Host memory through the allocator handed in at create, with checked sizes.
#ifndef MTI_BASE_ALLOC_H
#define MTI_BASE_ALLOC_H

#include <manta/allocator.h>

#include <stdbool.h>
#include <stddef.h>

// |allocator| all zero: the C library's. Returns NULL if there is no memory, or |size_bytes| is 0.
void *mti_alloc(const manta_allocator_t *allocator, size_t size_bytes, size_t align);
void *mti_alloc_zeroed(const manta_allocator_t *allocator, size_t size_bytes, size_t align);
// NULL is fine. |size_bytes| as given to mti_alloc.
void mti_free(const manta_allocator_t *allocator, void *ptr, size_t size_bytes);

// For tests: when set, called before every allocation of the library, also those that do not go through
// an allocator (pages, slots, errors); false makes it fail.
extern bool (*mti_alloc_hook)(size_t size_bytes);
static inline bool mti_alloc_allowed(size_t size_bytes)
{
    return !mti_alloc_hook || mti_alloc_hook(size_bytes);
}

static inline bool mti_size_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
static inline bool mti_size_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
// |align| is a power of two.
static inline size_t mti_size_align(size_t size, size_t align)
{
    return (size + align - 1) & ~(align - 1);
}

#endif
