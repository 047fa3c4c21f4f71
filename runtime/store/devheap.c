#include "store/devheap.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/status.h"

enum {
    ALIGN = 256,
    CUT_MAX = 1 << 20,     // larger blocks are allocations of their own
    CHUNK_BYTES = 4 << 20, // what smaller ones are cut from
    GRAIN = 64 << 10,      // sizes of large blocks
    CLASSES = 64,          // four per power of two, from ALIGN to CUT_MAX
    LARGE = CLASSES,       // class of all larger ones
    SEARCH_MAX = 16,       // free blocks looked at for one that is done
};

typedef struct chunk {
    struct chunk *next;
    mti_memory_t *memory;
    size_t used_bytes;
} chunk_t;

struct mti_devheap {
    mti_devheap_options_t options;
    mti_block_t *free[CLASSES + 1]; // LARGE: by no order
    chunk_t *chunks;                // the first one is being cut
    mti_devheap_bytes_t usage;
};

// The class of blocks that |size_bytes| fit in, and how large those are.
static uint32_t class_of(size_t size_bytes, size_t *out_bytes)
{
    if (size_bytes > CUT_MAX) {
        *out_bytes = mti_size_align(size_bytes, GRAIN);
        return LARGE;
    }
    if (size_bytes <= ALIGN) {
        *out_bytes = ALIGN;
        return 0;
    }
    size_t power = ALIGN;
    uint32_t index = 0;
    while (power * 2 < size_bytes) {
        power *= 2;
        index += 4;
    }
    size_t step = power / 4;
    uint32_t quarter = (uint32_t)((size_bytes - power + step - 1) / step);
    *out_bytes = mti_size_align(power + quarter * step, ALIGN);
    return index + quarter;
}

mti_devheap_t *mti_devheap_create(const mti_devheap_options_t *options)
{
    mti_devheap_t *heap = mti_alloc_zeroed(options->allocator, sizeof *heap, 16);
    if (heap) heap->options = *options;
    return heap;
}

static void block_release(mti_devheap_t *heap, mti_block_t *block)
{
    if (block->class_index == LARGE) {
        heap->usage.held_bytes -= block->size_bytes;
        mti_memory_free(block->memory);
    }
    mti_free(heap->options.allocator, block, sizeof *block);
}

void mti_devheap_destroy(mti_devheap_t *heap)
{
    if (!heap) return;
    for (uint32_t i = 0; i <= CLASSES; i++) {
        while (heap->free[i]) {
            mti_block_t *block = heap->free[i];
            heap->free[i] = block->next;
            block_release(heap, block);
        }
    }
    while (heap->chunks) {
        chunk_t *chunk = heap->chunks;
        heap->chunks = chunk->next;
        mti_memory_free(chunk->memory);
        mti_free(heap->options.allocator, chunk, sizeof *chunk);
    }
    mti_free(heap->options.allocator, heap, sizeof *heap);
}

// ---- users ----------------------------------------------------------------------------------------

static bool block_is_ready(const mti_block_t *block, const mti_queue_t *queue)
{
    for (uint32_t i = 0; i < block->user_count; i++) {
        if (block->users[i].queue != queue && !mti_fence_is_done(block->users[i])) return false;
    }
    return true;
}

manta_status_t mti_block_wait(mti_block_t *block, mti_queue_t *queue)
{
    for (uint32_t i = 0; i < block->user_count; i++) {
        mti_fence_t user = block->users[i];
        if (user.queue == queue || mti_fence_is_done(user)) continue;
        manta_status_t status = mti_queue_wait(queue, user.queue, user.seq);
        if (status != MANTA_OK) return status;
    }
    return MANTA_OK;
}

manta_status_t mti_block_use(mti_block_t *block, mti_queue_t *queue, uint64_t seq)
{
    uint32_t free = block->user_count;
    for (uint32_t i = 0; i < block->user_count; i++) {
        if (block->users[i].queue == queue) {
            if (block->users[i].seq < seq) block->users[i].seq = seq;
            return MANTA_OK;
        }
        if (mti_fence_is_done(block->users[i])) free = i;
    }
    if (free < MTI_BLOCK_USERS) {
        if (free == block->user_count) block->user_count++;
        block->users[free] = (mti_fence_t){queue, seq};
        return MANTA_OK;
    }
    // One more than there is room for: behind |queue|'s next operation the first one is done, too.
    manta_status_t status = mti_queue_wait(queue, block->users[0].queue, block->users[0].seq);
    if (status == MANTA_OK) status = mti_queue_empty(queue, MTI_OP_NONE, &seq);
    if (status == MANTA_OK) block->users[0] = (mti_fence_t){queue, seq};
    return status;
}

// ---- alloc and free --------------------------------------------------------------------------------

static manta_status_t memory_alloc(mti_devheap_t *heap, size_t size_bytes, mti_memory_t **out)
{
    const mti_devheap_options_t *o = &heap->options;
    if (o->limit_bytes && heap->usage.held_bytes + size_bytes > o->limit_bytes) {
        return MANTA_ERR_OUT_OF_MEMORY;
    }
    manta_status_t status =
        o->is_host ? mti_memory_alloc_host(o->device, size_bytes, o->device->info.node, out)
                   : mti_memory_alloc(o->device, size_bytes, out);
    if (status == MANTA_OK) heap->usage.held_bytes += size_bytes;
    return status;
}

// Free large blocks that are done go back to the driver. False: there was none.
static bool trim(mti_devheap_t *heap)
{
    bool any = false;
    for (mti_block_t **at = &heap->free[LARGE]; *at;) {
        mti_block_t *block = *at;
        if (!block_is_ready(block, NULL)) {
            at = &block->next;
            continue;
        }
        *at = block->next;
        block_release(heap, block);
        any = true;
    }
    return any;
}

static manta_status_t memory_alloc_hard(mti_devheap_t *heap, size_t size_bytes, mti_memory_t **out)
{
    manta_status_t status = memory_alloc(heap, size_bytes, out);
    if (status == MANTA_ERR_OUT_OF_MEMORY && trim(heap)) {
        status = memory_alloc(heap, size_bytes, out);
    }
    return status;
}

// Cuts a new block, or allocates one.
static manta_status_t block_make(mti_devheap_t *heap, uint32_t class_index, size_t bytes,
                                 mti_block_t **out_block)
{
    const manta_allocator_t *allocator = heap->options.allocator;
    mti_block_t *block = mti_alloc(allocator, sizeof *block, 16);
    if (!block) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no host memory for a block");
    *block = (mti_block_t){.heap = heap, .size_bytes = bytes, .class_index = class_index};
    manta_status_t status = MANTA_OK;
    if (class_index == LARGE) {
        status = memory_alloc_hard(heap, bytes, &block->memory);
        if (status == MANTA_OK) block->ptr = block->memory->ptr;
    } else {
        chunk_t *chunk = heap->chunks;
        if (!chunk || chunk->memory->size_bytes - chunk->used_bytes < bytes) {
            chunk = mti_alloc_zeroed(allocator, sizeof *chunk, 16);
            status = chunk ? memory_alloc_hard(heap, CHUNK_BYTES, &chunk->memory)
                           : mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no host memory for a chunk");
            // A small device, or a full one: just what is needed.
            if (status == MANTA_ERR_OUT_OF_MEMORY && chunk) {
                status = memory_alloc_hard(heap, bytes, &chunk->memory);
            }
            if (status == MANTA_OK) {
                chunk->next = heap->chunks;
                heap->chunks = chunk;
            } else {
                mti_free(allocator, chunk, sizeof *chunk);
            }
        }
        if (status == MANTA_OK) {
            block->memory = chunk->memory;
            block->ptr = (char *)chunk->memory->ptr + chunk->used_bytes;
            chunk->used_bytes += bytes;
        }
    }
    if (status != MANTA_OK) {
        mti_free(allocator, block, sizeof *block);
        return status;
    }
    *out_block = block;
    return MANTA_OK;
}

// A free block of the class; a large one must not be more than a quarter too large. First one that needs no
// wait; |any|: else the first that fits at all.
static mti_block_t *free_take(mti_devheap_t *heap, mti_queue_t *queue, uint32_t class_index,
                              size_t bytes, bool any)
{
    mti_block_t **found = NULL;
    int looked = 0;
    for (mti_block_t **at = &heap->free[class_index]; *at; at = &(*at)->next) {
        mti_block_t *block = *at;
        if (block->size_bytes < bytes || block->size_bytes - bytes > bytes / 4) continue;
        if (block_is_ready(block, queue)) {
            found = at;
            break;
        }
        if (any && !found) found = at;
        if (++looked == SEARCH_MAX) break;
    }
    if (!found) return NULL;
    mti_block_t *block = *found;
    *found = block->next;
    return block;
}

manta_status_t mti_devheap_alloc(mti_devheap_t *heap, mti_queue_t *queue, size_t size_bytes,
                                 mti_block_t **out_block)
{
    size_t bytes;
    uint32_t class_index = class_of(size_bytes, &bytes);
    mti_block_t *block = free_take(heap, queue, class_index, bytes, false);
    manta_status_t status = MANTA_OK;
    if (!block) status = block_make(heap, class_index, bytes, &block);
    if (status == MANTA_ERR_OUT_OF_MEMORY && queue) {
        block = free_take(heap, queue, class_index, bytes, true);
        if (block) status = mti_block_wait(block, queue);
        if (block && status != MANTA_OK) {
            block->next = heap->free[class_index];
            heap->free[class_index] = block;
            return status;
        }
    }
    if (status == MANTA_ERR_OUT_OF_MEMORY) {
        const mti_device_t *device = heap->options.device;
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY,
                        "device %s: no %smemory for %zu bytes; %llu of %llu bytes are in use",
                        device->name, heap->options.is_host ? "pinned host " : "", size_bytes,
                        (unsigned long long)heap->usage.used_bytes,
                        (unsigned long long)(heap->options.limit_bytes
                                                 ? heap->options.limit_bytes
                                                 : device->info.memory_bytes));
    }
    if (status != MANTA_OK) return status;
    // What is on the same queue comes before in any case, and what is done is done.
    if (!queue || block_is_ready(block, NULL)) block->user_count = 0;
    heap->usage.used_bytes += block->size_bytes;
    block->next = NULL;
    *out_block = block;
    return MANTA_OK;
}

void mti_devheap_free(mti_block_t *block)
{
    if (!block) return;
    mti_devheap_t *heap = block->heap;
    heap->usage.used_bytes -= block->size_bytes;
    block->next = heap->free[block->class_index];
    heap->free[block->class_index] = block;
}

mti_devheap_bytes_t mti_devheap_usage(const mti_devheap_t *heap)
{
    return heap->usage;
}
