// The checks of every argument, once, and what all drivers share: numbers, lists, the table of kernels.
#include "devices/device.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/status.h"

#include <string.h>
#include <unistd.h>

// ---- The right -----------------------------------------------------------------------------------

// Calls on one device are serialised by the caller and never re-entrant. Two calls at once are a bug in
// manta, and caught where internal checks are on.
static void device_enter(mti_device_t *device)
{
#if MANTA_ASSERT >= 2
    MTI_ASSERT(mti_atomic_u32_exchange_acquire(&device->entered, 1) == 0);
#else
    (void)device;
#endif
}

static void device_leave(mti_device_t *device)
{
#if MANTA_ASSERT >= 2
    // release: pairs with the exchange of the next one that enters, for whoever checks the checker
    mti_atomic_u32_store_release(&device->entered, 0);
#else
    (void)device;
#endif
}

static manta_status_t device_check(const mti_device_t *device, const char *what)
{
    switch (mti_device_state(device)) {
    case MTI_DEVICE_OPEN:
        return MANTA_OK;
    case MTI_DEVICE_LOST:
        return mti_fail(MANTA_ERR_DEVICE_LOST, "%s: %s: the device is lost", device->name, what);
    case MTI_DEVICE_CLOSED:
        break;
    case MTI_DEVICE_ENDED:
        break;
    }
    return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: %s: the device is not open", device->name,
                    what);
}

static manta_status_t device_cannot(const mti_device_t *device, const char *what)
{
    return mti_fail(MANTA_ERR_NOT_SUPPORTED, "%s: %s: devices of this kind have no such operation",
                    device->name, what);
}

// ---- Life ----------------------------------------------------------------------------------------

manta_status_t mti_device_open(mti_device_t *device)
{
    mti_device_state_t state = mti_device_state(device);
    if (state == MTI_DEVICE_OPEN) return MANTA_OK;
    if (state != MTI_DEVICE_CLOSED)
        return mti_fail(state == MTI_DEVICE_LOST ? MANTA_ERR_DEVICE_LOST : MANTA_ERR_SHUTDOWN,
                        "%s: a device that was %s can't be opened again", device->name,
                        state == MTI_DEVICE_LOST ? "lost" : "closed");
    device_enter(device);
    manta_status_t status = device->ops->open(device);
    // release: pairs with mti_device_state
    if (status == MANTA_OK) mti_atomic_u32_store_release(&device->state, MTI_DEVICE_OPEN);
    device_leave(device);
    return status;
}

static bool device_is_quiet(const mti_device_t *device)
{
    for (const mti_queue_t *queue = device->queues; queue; queue = queue->next) {
        if (mti_queue_completed(queue) < queue->submitted) return false;
    }
    return true;
}

manta_status_t mti_device_drain(mti_device_t *device, int64_t deadline_ns)
{
    if (mti_device_state(device) != MTI_DEVICE_OPEN) return MANTA_OK;
    for (;;) {
        mti_poll_t poll;
        mti_device_poll(device, &poll);
        if (poll.lost || device_is_quiet(device)) return MANTA_OK;
        for (mti_queue_t *queue = device->queues; queue; queue = queue->next) {
            uint64_t seq;
            manta_status_t status = mti_queue_signal(queue, &seq);
            // A device that was just lost says so at the next poll.
            if (status != MANTA_OK && status != MANTA_ERR_DEVICE_LOST) return status;
        }
        if (poll.advanced > 0 || poll.more) continue;
        manta_status_t status = mti_device_block(device, deadline_ns);
        if (status == MANTA_NOT_READY)
            return mti_fail(MANTA_ERR_TIMEOUT, "%s: work is still in flight", device->name);
        if (status == MANTA_ERR_DEADLOCK)
            return mti_fail(status, "%s: what is in flight waits for what will never happen",
                            device->name);
        if (status != MANTA_OK && status != MANTA_ERR_DEVICE_LOST) return status;
    }
}

static void memory_unlink(mti_memory_t *memory)
{
    mti_device_t *device = memory->device;
    *(memory->prev ? &memory->prev->next : &device->memories) = memory->next;
    if (memory->next) memory->next->prev = memory->prev;
    if (memory->kind == MTI_MEMORY_DEVICE) {
        device->stats.frees++;
        device->stats.live_bytes -= memory->size_bytes;
    }
}

static void memory_free(mti_memory_t *memory)
{
    const mti_device_ops_t *ops = memory->device->ops;
    memory_unlink(memory);
    switch (memory->kind) {
    case MTI_MEMORY_DEVICE:
        ops->free(memory);
        break;
    case MTI_MEMORY_HOST:
        ops->host_free(memory);
        break;
    case MTI_MEMORY_REGISTERED:
        ops->host_unregister(memory);
        break;
    }
}

static void queue_unlink(mti_queue_t *queue)
{
    mti_device_t *device = queue->device;
    mti_queue_t **at = &device->queues;
    while (*at != queue)
        at = &(*at)->next;
    *at = queue->next;
    device->queue_bits[queue->index / 64] &= ~(1ull << queue->index % 64);
}

static void kernel_table_free(mti_device_t *device);

manta_status_t mti_device_close(mti_device_t *device, int64_t deadline_ns)
{
    mti_device_state_t state = mti_device_state(device);
    if (state == MTI_DEVICE_CLOSED || state == MTI_DEVICE_ENDED) return MANTA_OK;
    manta_status_t status = mti_device_drain(device, deadline_ns);
    if (status != MANTA_OK) return status;

    device_enter(device);
    while (device->queues) {
        mti_queue_t *queue = device->queues;
        queue_unlink(queue);
        device->ops->queue_destroy(queue);
    }
    while (device->modules) {
        mti_module_t *module = device->modules;
        mti_kernel_t *kernels = module->kernels;
        size_t kernels_bytes = module->code->kernel_count * sizeof *kernels;
        device->modules = module->next;
        device->ops->code_unload(module);
        mti_free(&device->allocator, kernels, kernels_bytes);
    }
    kernel_table_free(device);
    while (device->memories)
        memory_free(device->memories);
    status = device->ops->close(device, deadline_ns);
    // release: as in open
    mti_atomic_u32_store_release(&device->state, MTI_DEVICE_ENDED);
    device_leave(device);
    return status;
}

int64_t mti_device_now_ns(mti_device_t *device)
{
    return device->ops->now_ns ? device->ops->now_ns(device) : mti_clock_ns();
}

bool mti_device_reaches(const mti_device_t *dst, const mti_device_t *src)
{
    return dst == src || (dst->family == src->family && mti_device_can(dst, MTI_CAP_PEER_COPY) &&
                          mti_device_can(src, MTI_CAP_PEER_COPY));
}

// ---- Queues --------------------------------------------------------------------------------------

static bool queue_index_take(mti_device_t *device, uint32_t *out_index)
{
    uint32_t limit = device->info.limits.max_queues;
    if (limit > MTI_DEVICE_MAX_QUEUES) limit = MTI_DEVICE_MAX_QUEUES;
    for (uint32_t i = 0; i < limit; i++) {
        if (device->queue_bits[i / 64] >> i % 64 & 1) continue;
        device->queue_bits[i / 64] |= 1ull << i % 64;
        *out_index = i;
        return true;
    }
    return false;
}

manta_status_t mti_queue_create(mti_device_t *device, const mti_queue_options_t *options,
                                mti_queue_t **out_queue)
{
    static const mti_queue_options_t defaults = {MTI_QUEUE_COMPUTE, false};
    manta_status_t status = device_check(device, "create a queue");
    if (status != MANTA_OK) return status;
    if (!options) options = &defaults;
    uint32_t index;
    if (!queue_index_take(device, &index))
        return mti_fail(MANTA_ERR_RESOURCE_EXHAUSTED, "%s: create a queue: there are %u already",
                        device->name, device->info.limits.max_queues);
    device_enter(device);
    mti_queue_t *queue;
    status = device->ops->queue_create(device, options, &queue);
    if (status == MANTA_OK) {
        queue->device = device;
        queue->index = index;
        queue->kind = options->kind;
        queue->next = device->queues;
        device->queues = queue;
        *out_queue = queue;
    } else {
        device->queue_bits[index / 64] &= ~(1ull << index % 64);
    }
    device_leave(device);
    return status;
}

manta_status_t mti_queue_destroy(mti_queue_t *queue)
{
    if (!queue) return MANTA_OK;
    mti_device_t *device = queue->device;
    if (mti_device_state(device) != MTI_DEVICE_LOST &&
        mti_queue_completed(queue) < queue->submitted)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "%s: destroy queue %u: %llu operations are in flight, or not recorded",
                        device->name, queue->index,
                        (unsigned long long)(queue->submitted - mti_queue_completed(queue)));
    device_enter(device);
    queue_unlink(queue);
    device->ops->queue_destroy(queue);
    device_leave(device);
    return MANTA_OK;
}

// What every submission begins and ends with. The number counts only when the driver took the operation.
static manta_status_t queue_begin(mti_queue_t *queue, const char *what, uint32_t flags)
{
    if (flags & ~(uint32_t)MTI_OP_RECORD)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: %s: unknown flags 0x%x",
                        queue->device->name, what, flags);
    return device_check(queue->device, what);
}

static manta_status_t queue_end(mti_queue_t *queue, manta_status_t status, uint32_t flags,
                                uint64_t *out_seq)
{
    if (status != MANTA_OK) return status;
    queue->device->stats.submits++;
    uint64_t seq = ++queue->submitted;
    // release: pairs with the acquire in mti_queue_wait of another device: the driver has the record
    if (flags & MTI_OP_RECORD) mti_atomic_u64_store_release(&queue->recorded, seq);
    if (out_seq) *out_seq = seq;
    return MANTA_OK;
}

manta_status_t mti_queue_wait(mti_queue_t *queue, mti_queue_t *other, uint64_t seq)
{
    mti_device_t *device = queue->device;
    manta_status_t status = device_check(device, "wait");
    if (status != MANTA_OK) return status;
    bool same_device = other->device == device;
    // acquire: pairs with queue_end and mti_queue_signal of the other device's lane
    uint64_t known = same_device ? other->submitted : mti_atomic_u64_load_acquire(&other->recorded);
    if (seq > known)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "%s: wait for operation %llu of %s queue %u, which has %s only %llu",
                        device->name, (unsigned long long)seq, other->device->name, other->index,
                        same_device ? "submitted" : "recorded", (unsigned long long)known);
    if (!same_device) {
        if (other->device->family != device->family || !mti_device_can(device, MTI_CAP_CROSS_WAIT))
            return mti_fail(MANTA_ERR_NOT_SUPPORTED, "%s: can't wait for a queue of %s",
                            device->name, other->device->name);
        if (mti_device_state(other->device) == MTI_DEVICE_LOST) return MANTA_OK;
    }
    if (queue == other || mti_queue_completed(other) >= seq) {
        device->stats.waits_elided++;
        return MANTA_OK;
    }
    device_enter(device);
    status = device->ops->wait(queue, other, seq);
    device->stats.waits += status == MANTA_OK;
    device_leave(device);
    return status;
}

manta_status_t mti_queue_signal(mti_queue_t *queue, uint64_t *out_seq)
{
    mti_device_t *device = queue->device;
    manta_status_t status = device_check(device, "signal");
    if (status != MANTA_OK) return status;
    // relaxed: written under the right, which the caller has
    if (mti_atomic_u64_load_relaxed(&queue->recorded) < queue->submitted) {
        device_enter(device);
        status = device->ops->signal(queue, queue->submitted);
        device->stats.signals += status == MANTA_OK;
        device_leave(device);
        if (status != MANTA_OK) return status;
        mti_atomic_u64_store_release(&queue->recorded, queue->submitted); // release: see queue_end
    }
    if (out_seq) *out_seq = queue->submitted;
    return MANTA_OK;
}

static manta_status_t queue_submit_empty(mti_queue_t *queue, uint32_t flags, uint64_t *out_seq)
{
    mti_device_t *device = queue->device;
    device_enter(device);
    manta_status_t status = device->ops->empty(queue, flags, queue->submitted + 1);
    device->stats.empties += status == MANTA_OK;
    status = queue_end(queue, status, flags, out_seq);
    device_leave(device);
    return status;
}

manta_status_t mti_queue_empty(mti_queue_t *queue, uint32_t flags, uint64_t *out_seq)
{
    manta_status_t status = queue_begin(queue, "empty operation", flags);
    return status == MANTA_OK ? queue_submit_empty(queue, flags, out_seq) : status;
}

manta_status_t mti_queue_adopt(mti_queue_t *queue, uint64_t *out_seq)
{
    mti_device_t *device = queue->device;
    manta_status_t status = queue_begin(queue, "adopt", 0);
    if (status != MANTA_OK) return status;
    if (!mti_device_can(device, MTI_CAP_NATIVE)) return device_cannot(device, "adopt");
    uint64_t seq = ++queue->submitted;
    if (out_seq) *out_seq = seq;
    return MANTA_OK;
}

void *mti_queue_native(mti_queue_t *queue)
{
    mti_device_t *device = queue->device;
    return mti_device_can(device, MTI_CAP_NATIVE) ? device->ops->native_queue(queue) : NULL;
}

// ---- Progress ------------------------------------------------------------------------------------

void mti_device_poll(mti_device_t *device, mti_poll_t *out_poll)
{
    memset(out_poll, 0, offsetof(mti_poll_t, failures));
    mti_device_state_t state = mti_device_state(device);
    if (state == MTI_DEVICE_LOST) out_poll->lost = true;
    if (state != MTI_DEVICE_OPEN) return;
    device_enter(device);
    device->stats.polls++;
    device->ops->poll(device, out_poll);
    // release: the driver has stopped; whoever sees LOST sees the last of what operations did
    if (out_poll->lost) mti_atomic_u32_store_release(&device->state, MTI_DEVICE_LOST);
    device_leave(device);
}

void mti_queue_acknowledge(mti_queue_t *queue, uint64_t seq)
{
    // relaxed: both stores are made under the right; readers only look at the word for a hint
    uint64_t failed = mti_atomic_u64_load_relaxed(&queue->failed);
    if (failed <= seq) mti_atomic_u64_store_relaxed(&queue->failed, 0);
}

manta_status_t mti_device_block(mti_device_t *device, int64_t deadline_ns)
{
    if (mti_device_state(device) == MTI_DEVICE_LOST) return MANTA_OK;
    manta_status_t status = device_check(device, "block");
    if (status != MANTA_OK) return status;
    device_enter(device);
    status = device->ops->block(device, deadline_ns);
    device_leave(device);
    return status;
}

void mti_device_wake(mti_device_t *device)
{
    device->ops->wake(device);
}

// ---- Memory --------------------------------------------------------------------------------------

static void memory_link(mti_device_t *device, mti_memory_t *memory)
{
    memory->device = device;
    memory->prev = NULL;
    memory->next = device->memories;
    if (memory->next) memory->next->prev = memory;
    device->memories = memory;
}

manta_status_t mti_memory_alloc(mti_device_t *device, size_t size_bytes, mti_memory_t **out_memory)
{
    manta_status_t status = device_check(device, "allocate");
    if (status != MANTA_OK) return status;
    if (size_bytes == 0)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: allocate: 0 bytes", device->name);
    if (size_bytes > device->info.memory_bytes - device->stats.live_bytes)
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY,
                        "%s: no memory for %zu bytes: %llu of %llu bytes are in use", device->name,
                        size_bytes, (unsigned long long)device->stats.live_bytes,
                        (unsigned long long)device->info.memory_bytes);
    device_enter(device);
    mti_memory_t *memory;
    status = device->ops->alloc(device, size_bytes, &memory);
    if (status == MANTA_OK) {
        memory->kind = MTI_MEMORY_DEVICE;
        memory->size_bytes = size_bytes;
        memory->node = device->info.node;
        memory_link(device, memory);
        device->stats.allocs++;
        device->stats.live_bytes += size_bytes;
        *out_memory = memory;
    } else if (status == MANTA_ERR_OUT_OF_MEMORY) {
        status =
            mti_fail_note(status, "%s: no memory for %zu bytes: %llu of %llu bytes are in use",
                          device->name, size_bytes, (unsigned long long)device->stats.live_bytes,
                          (unsigned long long)device->info.memory_bytes);
    }
    device_leave(device);
    return status;
}

manta_status_t mti_memory_alloc_host(mti_device_t *device, size_t size_bytes, int node,
                                     mti_memory_t **out_memory)
{
    manta_status_t status = device_check(device, "allocate host memory");
    if (status != MANTA_OK) return status;
    if (size_bytes == 0 || node < -1)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "%s: allocate host memory: %zu bytes on node %d", device->name, size_bytes,
                        node);
    device_enter(device);
    mti_memory_t *memory;
    status = device->ops->host_alloc(device, size_bytes, node, &memory);
    if (status == MANTA_OK) {
        memory->kind = MTI_MEMORY_HOST;
        memory->size_bytes = size_bytes;
        memory->node = node;
        memory_link(device, memory);
        *out_memory = memory;
    }
    device_leave(device);
    return status;
}

manta_status_t mti_memory_register(mti_device_t *device, void *ptr, size_t size_bytes,
                                   mti_memory_t **out_memory)
{
    manta_status_t status = device_check(device, "register host memory");
    if (status != MANTA_OK) return status;
    if (!mti_device_can(device, MTI_CAP_HOST_REGISTER))
        return device_cannot(device, "register host memory");
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)ptr;
    if (!ptr || size_bytes == 0 || at % page != 0 || size_bytes % page != 0 ||
        size_bytes > UINTPTR_MAX - at)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "%s: register host memory: %zu bytes at %p are not whole pages",
                        device->name, size_bytes, ptr);
    for (const mti_memory_t *memory = device->memories; memory; memory = memory->next) {
        uintptr_t begin = (uintptr_t)memory->ptr;
        if (memory->kind != MTI_MEMORY_DEVICE && begin < at + size_bytes &&
            at < begin + memory->size_bytes)
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                            "%s: register host memory: %zu bytes at %p overlap what is pinned",
                            device->name, size_bytes, ptr);
    }
    device_enter(device);
    mti_memory_t *memory;
    status = device->ops->host_register(device, ptr, size_bytes, &memory);
    if (status == MANTA_OK) {
        memory->kind = MTI_MEMORY_REGISTERED;
        memory->ptr = ptr;
        memory->size_bytes = size_bytes;
        memory->node = -1;
        memory_link(device, memory);
        *out_memory = memory;
    }
    device_leave(device);
    return status;
}

// ---- Streams and memory of others ----------------------------------------------------------------

static manta_status_t foreign_check(const mti_device_t *device)
{
    return mti_device_can(device, MTI_CAP_NATIVE) ? MANTA_OK
                                                  : device_cannot(device, "streams of others");
}

manta_status_t mti_foreign_stream(mti_device_t *device, void *stream, bool *out_here)
{
    manta_status_t status = foreign_check(device);
    return status == MANTA_OK ? device->ops->foreign_stream(device, stream, out_here) : status;
}

manta_status_t mti_foreign_after(mti_queue_t *queue, void *stream)
{
    mti_device_t *device = queue->device;
    manta_status_t status = queue_begin(queue, "let a stream wait", 0);
    if (status == MANTA_OK) status = foreign_check(device);
    if (status != MANTA_OK) return status;
    device_enter(device);
    status = device->ops->foreign_after(queue, stream);
    device_leave(device);
    return status;
}

manta_status_t mti_foreign_mark(mti_device_t *device, void *stream, void **out_mark)
{
    manta_status_t status = foreign_check(device);
    return status == MANTA_OK ? device->ops->foreign_mark(device, stream, out_mark) : status;
}

void mti_foreign_unmark(mti_device_t *device, void *mark)
{
    if (mark) device->ops->foreign_unmark(device, mark);
}

manta_status_t mti_foreign_wait(mti_queue_t *queue, void *mark)
{
    mti_device_t *device = queue->device;
    manta_status_t status = queue_begin(queue, "wait for a stream", 0);
    if (status == MANTA_OK) status = foreign_check(device);
    if (status != MANTA_OK) return status;
    device_enter(device);
    status = device->ops->foreign_wait(queue, mark);
    if (status == MANTA_OK) device->stats.waits++;
    device_leave(device);
    return status;
}

manta_status_t mti_foreign_memory(mti_device_t *device, const void *ptr, size_t size_bytes,
                                  bool *out_here)
{
    manta_status_t status = foreign_check(device);
    if (status != MANTA_OK) return status;
    return device->ops->foreign_memory(device, ptr, size_bytes, out_here);
}

manta_status_t mti_foreign_adopt(mti_device_t *device, void *ptr, size_t size_bytes,
                                 mti_memory_t **out_memory)
{
    manta_status_t status = device_check(device, "adopt memory");
    if (status == MANTA_OK) status = foreign_check(device);
    if (status != MANTA_OK) return status;
    device_enter(device);
    mti_memory_t *memory;
    status = device->ops->foreign_adopt(device, ptr, size_bytes, &memory);
    if (status == MANTA_OK) {
        memory_link(device, memory);
        *out_memory = memory;
    }
    device_leave(device);
    return status;
}

void mti_memory_free(mti_memory_t *memory)
{
    if (!memory) return;
    mti_device_t *device = memory->device;
    device_enter(device);
    memory_free(memory);
    device_leave(device);
}

// ---- Operations ----------------------------------------------------------------------------------

// |place| reaches |size_bytes| far: is that inside its memory, and can |device| get there?
static manta_status_t place_check(const mti_device_t *device, mti_place_t place, size_t size_bytes,
                                  const char *what, const char *end)
{
    const mti_memory_t *memory = place.memory;
    if (!memory) {
        if (!place.ptr)
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: %s: the %s is NULL", device->name,
                            what, end);
        if (!mti_device_can(device, MTI_CAP_PAGEABLE))
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                            "%s: %s: the %s is host memory that is not pinned", device->name, what,
                            end);
        return MANTA_OK;
    }
    uintptr_t base = (uintptr_t)memory->ptr, at = (uintptr_t)place.ptr;
    if (at < base || at - base > memory->size_bytes ||
        size_bytes > memory->size_bytes - (at - base))
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "%s: %s: the %s, %zu bytes at offset %lld, is not inside its %zu bytes",
                        device->name, what, end, size_bytes, (long long)(at - base),
                        memory->size_bytes);
    const mti_device_t *owner = memory->device;
    if (owner == device) return MANTA_OK;
    if (memory->kind == MTI_MEMORY_DEVICE ? !mti_device_reaches(device, owner)
                                          : owner->family != device->family)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: %s: the %s is memory of %s", device->name,
                        what, end, owner->name);
    if (memory->kind == MTI_MEMORY_DEVICE && mti_device_state(owner) == MTI_DEVICE_LOST)
        return mti_fail(MANTA_ERR_DEVICE_LOST, "%s: %s: the %s was in memory of %s, which is lost",
                        device->name, what, end, owner->name);
    return MANTA_OK;
}

static manta_status_t copy_check(const mti_device_t *device, const mti_copy_t *copy)
{
    if (copy->size_bytes == 0) return MANTA_OK;
    manta_status_t status = place_check(device, copy->dst, copy->size_bytes, "copy", "destination");
    if (status == MANTA_OK)
        status = place_check(device, copy->src, copy->size_bytes, "copy", "source");
    if (status != MANTA_OK) return status;
    uintptr_t dst = (uintptr_t)copy->dst.ptr, src = (uintptr_t)copy->src.ptr;
    if (copy->dst.memory == copy->src.memory && dst < src + copy->size_bytes &&
        src < dst + copy->size_bytes)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "%s: copy: source and destination of %zu bytes overlap", device->name,
                        copy->size_bytes);
    return MANTA_OK;
}

manta_status_t mti_queue_copy_batch(mti_queue_t *queue, const mti_copy_t *copies, size_t count,
                                    uint32_t flags, uint64_t *out_seq)
{
    mti_device_t *device = queue->device;
    manta_status_t status = queue_begin(queue, "copy", flags);
    size_t live = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; status == MANTA_OK && i < count; i++) {
        status = copy_check(device, &copies[i]);
        live += copies[i].size_bytes > 0;
        bytes += copies[i].size_bytes;
    }
    if (status != MANTA_OK) return status;
    if (live == 0) return queue_submit_empty(queue, flags, out_seq);
    device_enter(device);
    status = device->ops->copy(queue, copies, count, flags, queue->submitted + 1);
    if (status == MANTA_OK) {
        device->stats.copies += live;
        device->stats.copy_bytes += bytes;
    }
    status = queue_end(queue, status, flags, out_seq);
    device_leave(device);
    return status;
}

manta_status_t mti_queue_copy(mti_queue_t *queue, const mti_copy_t *copy, uint32_t flags,
                              uint64_t *out_seq)
{
    return mti_queue_copy_batch(queue, copy, 1, flags, out_seq);
}

// The bytes from the first to the last one of |rows| rows.
static manta_status_t extent_2d(const mti_device_t *device, const mti_copy_2d_t *copy, size_t pitch,
                                const char *end, size_t *out_bytes)
{
    size_t bytes;
    if (pitch < copy->width_bytes)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "%s: 2-D copy: the %s's pitch of %zu bytes is less than the width, %zu",
                        device->name, end, pitch, copy->width_bytes);
    if (!mti_size_mul(copy->rows - 1, pitch, &bytes) ||
        !mti_size_add(bytes, copy->width_bytes, &bytes))
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "%s: 2-D copy: %zu rows of %zu bytes are more than there can be",
                        device->name, copy->rows, pitch);
    *out_bytes = bytes;
    return MANTA_OK;
}

manta_status_t mti_queue_copy_2d(mti_queue_t *queue, const mti_copy_2d_t *copy, uint32_t flags,
                                 uint64_t *out_seq)
{
    mti_device_t *device = queue->device;
    manta_status_t status = queue_begin(queue, "2-D copy", flags);
    if (status != MANTA_OK) return status;
    if (!mti_device_can(device, MTI_CAP_COPY_2D)) return device_cannot(device, "2-D copy");
    if (copy->rows == 0 || copy->width_bytes == 0) return queue_submit_empty(queue, flags, out_seq);
    size_t dst_bytes, src_bytes;
    status = extent_2d(device, copy, copy->dst_pitch_bytes, "destination", &dst_bytes);
    if (status == MANTA_OK)
        status = extent_2d(device, copy, copy->src_pitch_bytes, "source", &src_bytes);
    if (status == MANTA_OK)
        status = place_check(device, copy->dst, dst_bytes, "2-D copy", "destination");
    if (status == MANTA_OK)
        status = place_check(device, copy->src, src_bytes, "2-D copy", "source");
    if (status != MANTA_OK) return status;
    device_enter(device);
    status = device->ops->copy_2d(queue, copy, flags, queue->submitted + 1);
    if (status == MANTA_OK) {
        device->stats.copies++;
        device->stats.copy_bytes += copy->rows * copy->width_bytes;
    }
    status = queue_end(queue, status, flags, out_seq);
    device_leave(device);
    return status;
}

manta_status_t mti_queue_fill(mti_queue_t *queue, mti_place_t dst, size_t size_bytes,
                              uint32_t pattern, uint32_t pattern_bytes, uint32_t flags,
                              uint64_t *out_seq)
{
    mti_device_t *device = queue->device;
    manta_status_t status = queue_begin(queue, "fill", flags);
    if (status != MANTA_OK) return status;
    if (pattern_bytes != 1 && pattern_bytes != 2 && pattern_bytes != 4)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "%s: fill: a pattern of %u bytes, not 1, 2 or 4", device->name,
                        pattern_bytes);
    if (size_bytes == 0) return queue_submit_empty(queue, flags, out_seq);
    if (!dst.memory || dst.memory->kind != MTI_MEMORY_DEVICE || dst.memory->device != device)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: fill: not memory of this device",
                        device->name);
    status = place_check(device, dst, size_bytes, "fill", "destination");
    if (status != MANTA_OK) return status;
    if ((uintptr_t)dst.ptr % pattern_bytes != 0 || size_bytes % pattern_bytes != 0)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "%s: fill: %zu bytes at %p are not aligned to the pattern of %u bytes",
                        device->name, size_bytes, dst.ptr, pattern_bytes);
    device_enter(device);
    status = device->ops->fill(queue, dst, size_bytes, pattern, pattern_bytes, flags,
                               queue->submitted + 1);
    device->stats.fills += status == MANTA_OK;
    status = queue_end(queue, status, flags, out_seq);
    device_leave(device);
    return status;
}

// ---- Launches ------------------------------------------------------------------------------------

static bool shape_is_empty(const mti_launch_shape_t *shape)
{
    return shape->grid[0] == 0 || shape->grid[1] == 0 || shape->grid[2] == 0;
}

static manta_status_t shape_check(const mti_device_t *device, const char *kernel,
                                  const mti_launch_shape_t *shape, uint32_t max_block_threads,
                                  uint32_t max_shared_bytes)
{
    static const char axes[3] = {'x', 'y', 'z'};
    const mti_device_limits_t *limits = &device->info.limits;
    uint64_t threads = 1;
    for (int i = 0; i < 3; i++) {
        if (shape->grid[i] > limits->max_grid[i])
            return mti_fail(MANTA_ERR_OUT_OF_RANGE, "%s: kernel %s: grid %c of %u is beyond %u",
                            device->name, kernel, axes[i], shape->grid[i], limits->max_grid[i]);
        if (shape->block[i] == 0 || shape->block[i] > limits->max_block[i])
            return mti_fail(MANTA_ERR_OUT_OF_RANGE, "%s: kernel %s: block %c of %u is not 1 to %u",
                            device->name, kernel, axes[i], shape->block[i], limits->max_block[i]);
        threads *= shape->block[i]; // at most 2^32 before the check of the product, each time
        if (threads > max_block_threads)
            return mti_fail(MANTA_ERR_OUT_OF_RANGE,
                            "%s: kernel %s: a block of %u x %u x %u threads is beyond %u",
                            device->name, kernel, shape->block[0], shape->block[1], shape->block[2],
                            max_block_threads);
    }
    if (shape->shared_bytes > max_shared_bytes)
        return mti_fail(MANTA_ERR_OUT_OF_RANGE,
                        "%s: kernel %s: %u bytes of shared memory are beyond %u", device->name,
                        kernel, shape->shared_bytes, max_shared_bytes);
    return MANTA_OK;
}

static manta_status_t args_check(const mti_device_t *device, const mti_launch_t *launch)
{
    const mti_kernel_t *kernel = launch->kernel;
    const char *name = kernel->desc->name;
    if (launch->arg_count != kernel->param_count)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: kernel %s: %u arguments, it takes %u",
                        device->name, name, launch->arg_count, kernel->param_count);
    uint64_t total_bytes = 0;
    for (uint32_t i = 0; i < launch->arg_count; i++) {
        if (!launch->args || !launch->args[i])
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: kernel %s: argument %u is missing",
                            device->name, name, i);
        const uint32_t *bytes = kernel->param_bytes ? kernel->param_bytes : launch->arg_bytes;
        if (kernel->param_bytes && launch->arg_bytes &&
            launch->arg_bytes[i] != kernel->param_bytes[i])
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                            "%s: kernel %s: argument %u has %u bytes, it takes %u", device->name,
                            name, i, launch->arg_bytes[i], kernel->param_bytes[i]);
        if (bytes) total_bytes += bytes[i];
    }
    if (total_bytes > device->info.limits.max_args_bytes)
        return mti_fail(MANTA_ERR_OUT_OF_RANGE,
                        "%s: kernel %s: %llu bytes of arguments are beyond %u", device->name, name,
                        (unsigned long long)total_bytes, device->info.limits.max_args_bytes);
    return MANTA_OK;
}

manta_status_t mti_queue_launch(mti_queue_t *queue, const mti_launch_t *launch, uint32_t flags,
                                uint64_t *out_seq)
{
    mti_device_t *device = queue->device;
    const mti_kernel_t *kernel = launch->kernel;
    manta_status_t status = queue_begin(queue, "launch", flags);
    if (status != MANTA_OK) return status;
    if (!mti_device_can(device, MTI_CAP_LAUNCH)) return device_cannot(device, "launch");
    if (!kernel) return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: launch: no kernel", device->name);
    if (kernel->device != device)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: kernel %s was loaded on %s", device->name,
                        kernel->desc->name, kernel->device->name);
    status = shape_check(device, kernel->desc->name, &launch->shape, kernel->max_block_threads,
                         kernel->max_shared_bytes);
    if (status == MANTA_OK) status = args_check(device, launch);
    if (status != MANTA_OK) return status;
    if (shape_is_empty(&launch->shape)) return queue_submit_empty(queue, flags, out_seq);
    device_enter(device);
    status = device->ops->launch(queue, launch, flags, queue->submitted + 1);
    device->stats.launches += status == MANTA_OK;
    status = queue_end(queue, status, flags, out_seq);
    device_leave(device);
    return status;
}

manta_status_t mti_queue_launch_host_fn(mti_queue_t *queue, mti_host_fn_t fn, void *user,
                                        uint32_t flags, uint64_t *out_seq)
{
    mti_device_t *device = queue->device;
    manta_status_t status = queue_begin(queue, "host function", flags);
    if (status != MANTA_OK) return status;
    if (!mti_device_can(device, MTI_CAP_HOST_FN)) return device_cannot(device, "host function");
    if (!fn) return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: host function: NULL", device->name);
    device_enter(device);
    status = device->ops->launch_host_fn(queue, fn, user, flags, queue->submitted + 1);
    device->stats.launches += status == MANTA_OK;
    status = queue_end(queue, status, flags, out_seq);
    device_leave(device);
    return status;
}

manta_status_t mti_queue_launch_native(mti_queue_t *queue, void *native_kernel, const char *name,
                                       const mti_launch_shape_t *shape, void *const *args,
                                       uint32_t flags, uint64_t *out_seq)
{
    mti_device_t *device = queue->device;
    manta_status_t status = queue_begin(queue, "native launch", flags);
    if (status != MANTA_OK) return status;
    if (!mti_device_can(device, MTI_CAP_NATIVE)) return device_cannot(device, "native launch");
    const char *called = name ? name : "?";
    if (!native_kernel)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: kernel %s: NULL", device->name, called);
    const mti_device_limits_t *limits = &device->info.limits;
    status =
        shape_check(device, called, shape, limits->max_block_threads, limits->max_shared_bytes);
    if (status != MANTA_OK) return status;
    if (shape_is_empty(shape)) return queue_submit_empty(queue, flags, out_seq);
    device_enter(device);
    status = device->ops->launch_native(queue, native_kernel, called, shape, args, flags,
                                        queue->submitted + 1);
    device->stats.launches += status == MANTA_OK;
    status = queue_end(queue, status, flags, out_seq);
    device_leave(device);
    return status;
}

// ---- Code ----------------------------------------------------------------------------------------

// All kernels of a device, sorted by name.
struct mti_kernel_table {
    uint32_t count, room;
    const mti_kernel_t *kernels[];
};

static size_t kernel_table_bytes(uint32_t room)
{
    return sizeof(struct mti_kernel_table) + room * sizeof(mti_kernel_t *);
}

static void kernel_table_free(mti_device_t *device)
{
    if (device->kernels)
        mti_free(&device->allocator, device->kernels, kernel_table_bytes(device->kernels->room));
    device->kernels = NULL;
}

// The place of |name|, or where it would go; true if it is there.
static bool kernel_search(const struct mti_kernel_table *table, const char *name, uint32_t *out_at)
{
    uint32_t low = 0, high = table ? table->count : 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = strcmp(table->kernels[middle]->desc->name, name);
        if (order == 0) {
            *out_at = middle;
            return true;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *out_at = low;
    return false;
}

static bool kernel_table_reserve(mti_device_t *device, uint32_t more)
{
    struct mti_kernel_table *table = device->kernels;
    uint32_t count = table ? table->count : 0;
    if (table && table->room - count >= more) return true;
    if (more > (1u << 30) - count) return false;
    uint32_t room = 2 * (count + more);
    struct mti_kernel_table *grown = mti_alloc(&device->allocator, kernel_table_bytes(room), 16);
    if (!grown) return false;
    if (table) memcpy(grown, table, kernel_table_bytes(count));
    grown->count = count;
    grown->room = room;
    kernel_table_free(device);
    device->kernels = grown;
    return true;
}

static void kernel_table_add(struct mti_kernel_table *table, const mti_kernel_t *kernel)
{
    uint32_t at;
    (void)kernel_search(table, kernel->desc->name, &at);
    memmove(&table->kernels[at + 1], &table->kernels[at],
            (table->count - at) * sizeof table->kernels[0]);
    table->kernels[at] = kernel;
    table->count++;
}

static manta_status_t code_check(const mti_device_t *device, const mti_code_t *code)
{
    for (uint32_t i = 0; i < code->kernel_count; i++) {
        const mti_kernel_desc_t *desc = &code->kernels[i];
        if (!desc->name || !desc->name[0])
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: load %s: kernel %u has no name",
                            device->name, code->name, i);
        uint32_t at;
        bool known = kernel_search(device->kernels, desc->name, &at);
        for (uint32_t k = 0; k < i && !known; k++)
            known = strcmp(code->kernels[k].name, desc->name) == 0;
        if (known)
            return mti_fail(MANTA_ERR_ALREADY_EXISTS, "%s: load %s: there is a kernel %s already",
                            device->name, code->name, desc->name);
    }
    return MANTA_OK;
}

manta_status_t mti_device_code_load(mti_device_t *device, const mti_code_t *code)
{
    manta_status_t status = device_check(device, "load code");
    if (status != MANTA_OK) return status;
    if (!mti_device_can(device, MTI_CAP_LAUNCH)) return device_cannot(device, "load code");
    status = code_check(device, code);
    if (status != MANTA_OK || code->kernel_count == 0) return status;

    size_t kernels_bytes;
    mti_kernel_t *kernels = NULL;
    if (kernel_table_reserve(device, code->kernel_count) &&
        mti_size_mul(code->kernel_count, sizeof *kernels, &kernels_bytes))
        kernels = mti_alloc_zeroed(&device->allocator, kernels_bytes, 16);
    if (!kernels)
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: load %s: no memory", device->name,
                        code->name);
    const mti_device_limits_t *limits = &device->info.limits;
    for (uint32_t i = 0; i < code->kernel_count; i++) {
        const mti_kernel_desc_t *desc = &code->kernels[i];
        uint32_t threads = limits->max_block_threads;
        if (desc->max_block_threads > 0 && desc->max_block_threads < threads)
            threads = desc->max_block_threads;
        kernels[i] = (mti_kernel_t){.device = device,
                                    .desc = desc,
                                    .param_bytes = desc->param_bytes,
                                    .param_count = desc->param_count,
                                    .max_block_threads = threads,
                                    .max_shared_bytes = limits->max_shared_bytes};
    }
    device_enter(device);
    mti_module_t *module;
    status = device->ops->code_load(device, code, kernels, &module);
    if (status == MANTA_OK) {
        module->device = device;
        module->code = code;
        module->kernels = kernels;
        module->next = device->modules;
        device->modules = module;
        for (uint32_t i = 0; i < code->kernel_count; i++)
            kernel_table_add(device->kernels, &kernels[i]);
    } else {
        mti_free(&device->allocator, kernels, kernels_bytes);
    }
    device_leave(device);
    return status;
}

const mti_kernel_t *mti_device_kernel(const mti_device_t *device, const char *name)
{
    uint32_t at;
    return kernel_search(device->kernels, name, &at) ? device->kernels->kernels[at] : NULL;
}

// ---- For tests -----------------------------------------------------------------------------------

manta_status_t mti_device_inject(mti_device_t *device, const mti_fault_t *fault)
{
    manta_status_t status = device_check(device, "inject a fault");
    if (status != MANTA_OK) return status;
    if (!mti_device_can(device, MTI_CAP_FAULTS)) return device_cannot(device, "inject a fault");
    device_enter(device);
    status = device->ops->inject(device, fault);
    device_leave(device);
    return status;
}
