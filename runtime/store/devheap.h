// Memory of a device, or pinned host memory, in stream order: a block may be given back while work that
// uses it is still on its way, and be handed out again before that is done.
//
// A *block* remembers the last operation on each queue that uses it. Handing it to work on the same queue
// needs no wait; to work on another queue a wait on the device, at worst. The host never waits. Blocks are
// kept by size class, cut from chunks up to 1 MiB, else allocations of their own; the hit path makes no
// driver call.
//
// Threads: all calls need the right of the device (devices/device.h). Nothing here locks.
#ifndef MTI_STORE_DEVHEAP_H
#define MTI_STORE_DEVHEAP_H

#include "devices/device.h"

#include <stdbool.h>

// An operation of a queue; |queue| NULL: none.
typedef struct mti_fence {
    mti_queue_t *queue;
    uint64_t seq;
} mti_fence_t;

static inline bool mti_fence_is_done(mti_fence_t fence)
{
    return !fence.queue || mti_queue_completed(fence.queue) >= fence.seq;
}

enum { MTI_BLOCK_USERS = 16 };

typedef struct mti_devheap mti_devheap_t;

typedef struct mti_block mti_block_t;
struct mti_block {
    mti_block_t *next; // of a list that it is in; free for the holder
    mti_devheap_t *heap;
    mti_memory_t *memory; // what it is cut from
    void *ptr;
    size_t size_bytes; // usable
    uint32_t class_index;
    uint32_t user_count;
    mti_fence_t users[MTI_BLOCK_USERS]; // who uses it; at most one of each queue
};

typedef struct mti_devheap_options {
    mti_device_t *device;
    bool is_host;         // pinned host memory made by that device, near it
    uint64_t limit_bytes; // held from the driver at most; 0: what it gives
    const manta_allocator_t *allocator;
} mti_devheap_options_t;

// NULL: no memory.
mti_devheap_t *mti_devheap_create(const mti_devheap_options_t *options);
// Gives everything back to the driver. All blocks must be free, and all work that used them done.
void mti_devheap_destroy(mti_devheap_t *heap);

// A block of at least |size_bytes| (> 0) for work on |queue|, on which waits are put if need be. |queue|
// NULL: for use by the host, so only what is done counts.
// Errors: OUT_OF_MEMORY with bytes wanted, held and free · what the driver says to a wait.
MANTA_NODISCARD manta_status_t mti_devheap_alloc(mti_devheap_t *heap, mti_queue_t *queue,
                                                 size_t size_bytes, mti_block_t **out_block);
// |block|'s users may still be under way. NULL is fine.
void mti_devheap_free(mti_block_t *block);

// Operation |seq| of |queue| uses |block|.
// Errors: what the driver says, if more queues use it than it can remember: then |queue| has to wait.
MANTA_NODISCARD manta_status_t mti_block_use(mti_block_t *block, mti_queue_t *queue, uint64_t seq);
// Makes |queue| wait for all users of |block|, as an overwrite needs.
MANTA_NODISCARD manta_status_t mti_block_wait(mti_block_t *block, mti_queue_t *queue);

typedef struct mti_devheap_bytes {
    uint64_t held_bytes; // from the driver
    uint64_t used_bytes; // in blocks that are handed out
} mti_devheap_bytes_t;
mti_devheap_bytes_t mti_devheap_usage(const mti_devheap_t *heap);

#endif
