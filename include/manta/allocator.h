// Host allocator hooks: where the runtime takes its own small memory from.
#ifndef MANTA_ALLOCATOR_H
#define MANTA_ALLOCATOR_H

#include <manta/version.h>

#include <stddef.h>

MANTA_BEGIN_DECLS

// Allocates |size_bytes| > 0 bytes aligned to |align| (a power of two), or returns NULL.
typedef void *(*manta_alloc_fn_t)(void *user, size_t size_bytes, size_t align);
// Frees what the alloc function gave; |size_bytes| is what was asked for. |ptr| is never NULL.
typedef void (*manta_free_fn_t)(void *user, void *ptr, size_t size_bytes);

// Both functions are called from any thread, also at the same time, and must not call manta.
// All zero means the C library's.
typedef struct manta_allocator {
    manta_alloc_fn_t alloc;
    manta_free_fn_t free;
    void *user;
} manta_allocator_t;

MANTA_END_DECLS

#endif
