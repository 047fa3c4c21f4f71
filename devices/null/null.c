// The driver `null`: the least that keeps the contract. Clone it to begin a driver; it also is the
// floor that a lane is measured against, because an operation here costs nothing but itself.
//
// Every operation is done inside the call that submits it. So all of the order that the contract asks
// for is there by itself, a wait has nothing to do, and what is left are numbers and records. What a
// real driver has to do instead stands in each comment. Copies and kernels (by their twins) do happen,
// which bends one rule: a large copy blocks its caller.
#include "devices/driver.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/notify.h"
#include "base/status.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct null_device {
    mti_device_t base;
    mti_link_t self;        // info.peers: there is nobody else
    mti_atomic_u32_t woken; // 1: block returns
} null_device_t;

typedef struct null_driver {
    mti_driver_t base;
    manta_allocator_t allocator;
    uint32_t count;
    null_device_t *devices;
    mti_device_t **table;
} null_driver_t;

static null_device_t *null_of(mti_device_t *device)
{
    return (null_device_t *)device;
}

// ---- Life ----------------------------------------------------------------------------------------

// Retain the context, create pools. What fails here is undone here.
static manta_status_t null_open(mti_device_t *device)
{
    (void)device;
    return MANTA_OK;
}

// Queues, memory and code are gone already; give back what open took.
static manta_status_t null_close(mti_device_t *device, int64_t deadline_ns)
{
    (void)device;
    (void)deadline_ns;
    return MANTA_OK;
}

// ---- Queues --------------------------------------------------------------------------------------

// Create the stream, and what its records need. A driver's own queue has mti_queue_t as first member.
static manta_status_t null_queue_create(mti_device_t *device, const mti_queue_options_t *options,
                                        mti_queue_t **out_queue)
{
    (void)options;
    mti_queue_t *queue = mti_alloc_zeroed(&device->allocator, sizeof *queue, _Alignof(mti_queue_t));
    if (!queue) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: no memory for a queue", device->name);
    *out_queue = queue;
    return MANTA_OK;
}

static void null_queue_destroy(mti_queue_t *queue)
{
    mti_free(&queue->device->allocator, queue, sizeof *queue);
}

// Make the stream wait for |seq| of |other|: an event, recorded there if it is not yet. Called only for
// what the completed word does not say already.
static manta_status_t null_wait(mti_queue_t *queue, mti_queue_t *other, uint64_t seq)
{
    (void)queue;
    (void)other;
    (void)seq;
    return MANTA_OK;
}

// Record the end of |seq|, the last operation: from now on poll has to see it.
static manta_status_t null_signal(mti_queue_t *queue, uint64_t seq)
{
    (void)queue;
    (void)seq;
    return MANTA_OK;
}

// ---- Progress ------------------------------------------------------------------------------------

// Look at the words or events of all queues; store |failed| before |completed|, and |completed| with
// release. Report a loss only when nothing of the device touches memory any more.
static void null_poll(mti_device_t *device, mti_poll_t *out_poll)
{
    for (mti_queue_t *queue = device->queues; queue; queue = queue->next) {
        // relaxed: both are written under the right, which the caller has
        uint64_t recorded = mti_atomic_u64_load_relaxed(&queue->recorded);
        if (recorded == mti_atomic_u64_load_relaxed(&queue->completed)) continue;
        // release: publishes what the operations did; pairs with mti_queue_completed
        mti_atomic_u64_store_release(&queue->completed, recorded);
        out_poll->advanced++;
    }
}

static bool null_has_news(const mti_device_t *device)
{
    for (const mti_queue_t *queue = device->queues; queue; queue = queue->next) {
        if (mti_atomic_u64_load_relaxed(&queue->recorded) > mti_queue_completed(queue)) return true;
    }
    return false;
}

// Sleep until poll has something to say, or wake is called.
static manta_status_t null_block(mti_device_t *device, int64_t deadline_ns)
{
    null_device_t *self = null_of(device);
    if (!null_has_news(device)) {
        if (deadline_ns == INT64_MAX && mti_atomic_u32_load_acquire(&self->woken) == 0)
            return mti_fail(MANTA_ERR_DEADLOCK,
                            "%s: nothing that is in flight will ever be seen to end", device->name);
        if (!mti_notify_wait(&self->woken, 0, deadline_ns)) return MANTA_NOT_READY;
    }
    // relaxed: the wake carries nothing but itself
    mti_atomic_u32_store_relaxed(&self->woken, 0);
    return MANTA_OK;
}

static void null_wake(mti_device_t *device)
{
    null_device_t *self = null_of(device);
    mti_atomic_u32_store_release(&self->woken, 1); // release: pairs with mti_notify_wait
    mti_notify_wake(&self->woken, 1);
}

// ---- Memory --------------------------------------------------------------------------------------

static manta_status_t memory_create(mti_device_t *device, size_t size_bytes, size_t align,
                                    mti_memory_t **out_memory)
{
    mti_memory_t *memory =
        mti_alloc_zeroed(&device->allocator, sizeof *memory, _Alignof(mti_memory_t));
    if (memory) memory->ptr = mti_alloc(&device->allocator, size_bytes, align);
    if (memory && memory->ptr) {
        *out_memory = memory;
        return MANTA_OK;
    }
    mti_free(&device->allocator, memory, sizeof *memory);
    return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: no memory for %zu bytes", device->name,
                    size_bytes);
}

static void null_free(mti_memory_t *memory)
{
    const manta_allocator_t *allocator = &memory->device->allocator;
    mti_free(allocator, memory->ptr, memory->size_bytes);
    mti_free(allocator, memory, sizeof *memory);
}

static manta_status_t null_alloc(mti_device_t *device, size_t size_bytes, mti_memory_t **out_memory)
{
    return memory_create(device, size_bytes, device->info.limits.alloc_align_bytes, out_memory);
}

static manta_status_t null_host_alloc(mti_device_t *device, size_t size_bytes, int node,
                                      mti_memory_t **out_memory)
{
    (void)node;
    if (size_bytes > SIZE_MAX / 2)
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: no host memory for %zu bytes", device->name,
                        size_bytes);
    return memory_create(device, size_bytes, (size_t)sysconf(_SC_PAGESIZE), out_memory);
}

// ---- Operations ----------------------------------------------------------------------------------

// Enqueue, and with MTI_OP_RECORD record. |seq| is the number; checks are done.
static manta_status_t null_copy(mti_queue_t *queue, const mti_copy_t *copies, size_t count,
                                uint32_t flags, uint64_t seq)
{
    (void)queue;
    (void)flags;
    (void)seq;
    for (size_t i = 0; i < count; i++) {
        if (copies[i].size_bytes == 0) continue;
        memcpy(copies[i].dst.ptr, copies[i].src.ptr, copies[i].size_bytes);
    }
    return MANTA_OK;
}

static manta_status_t null_fill(mti_queue_t *queue, mti_place_t dst, size_t size_bytes,
                                uint32_t pattern, uint32_t pattern_bytes, uint32_t flags,
                                uint64_t seq)
{
    (void)queue;
    (void)flags;
    (void)seq;
    unsigned char bytes[4];
    for (int i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(pattern >> 8 * i);
    for (size_t i = 0; i < size_bytes; i++)
        ((unsigned char *)dst.ptr)[i] = bytes[i % pattern_bytes];
    return MANTA_OK;
}

static manta_status_t null_empty(mti_queue_t *queue, uint32_t flags, uint64_t seq)
{
    (void)queue;
    (void)flags;
    (void)seq;
    return MANTA_OK;
}

// ---- Code ----------------------------------------------------------------------------------------

// Load the blob, look every kernel up now, and put its handle into kernels[i].native.
static manta_status_t null_code_load(mti_device_t *device, const mti_code_t *code,
                                     mti_kernel_t *kernels, mti_module_t **out_module)
{
    (void)kernels;
    *out_module = mti_alloc_zeroed(&device->allocator, sizeof **out_module, 16);
    if (*out_module) return MANTA_OK;
    return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: load %s: no memory", device->name, code->name);
}

static void null_code_unload(mti_module_t *module)
{
    mti_free(&module->device->allocator, module, sizeof *module);
}

static manta_status_t null_launch(mti_queue_t *queue, const mti_launch_t *launch, uint32_t flags,
                                  uint64_t seq)
{
    (void)flags;
    (void)seq;
    const mti_kernel_desc_t *desc = launch->kernel->desc;
    if (!desc->twin)
        return mti_fail(MANTA_ERR_NOT_SUPPORTED, "%s: kernel %s has no CPU twin",
                        queue->device->name, desc->name);
    desc->twin(&launch->shape, launch->args);
    return MANTA_OK;
}

// ---- The tables ----------------------------------------------------------------------------------

// Entries whose capability is missing are left out.
static const mti_device_ops_t null_ops = {
    .open = null_open,
    .close = null_close,
    .queue_create = null_queue_create,
    .queue_destroy = null_queue_destroy,
    .wait = null_wait,
    .signal = null_signal,
    .poll = null_poll,
    .block = null_block,
    .wake = null_wake,
    .alloc = null_alloc,
    .free = null_free,
    .host_alloc = null_host_alloc,
    .host_free = null_free,
    .copy = null_copy,
    .fill = null_fill,
    .empty = null_empty,
    .code_load = null_code_load,
    .code_unload = null_code_unload,
    .launch = null_launch,
};

static void null_device_init(null_driver_t *self, null_device_t *device, uint32_t ordinal)
{
    mti_device_info_t *info = &device->base.info;
    device->base.ops = &null_ops;
    device->base.driver = &self->base;
    device->base.family = device; // nobody else's memory or queues
    device->base.ordinal = ordinal;
    device->base.caps = MTI_CAP_LAUNCH;
    device->base.allocator = self->allocator;
    snprintf(device->base.name, sizeof device->base.name, "null:%u", ordinal);
    snprintf(info->name, sizeof info->name, "null device");
    info->kind = MTI_DEVICE_GPU;
    info->node = -1;
    info->memory_bytes = 1ull << 30;
    info->limits = (mti_device_limits_t){.max_grid = {2147483647, 65535, 65535},
                                         .max_block = {1024, 1024, 64},
                                         .max_block_threads = 1024,
                                         .max_shared_bytes = 48u << 10,
                                         .max_args_bytes = 4096,
                                         .max_queues = MTI_DEVICE_MAX_QUEUES,
                                         .alloc_align_bytes = 256};
    device->self.direct = true;
    info->peer_count = 1;
    info->peers = &device->self;
}

static void null_destroy(mti_driver_t *driver)
{
    null_driver_t *self = (null_driver_t *)driver;
    const manta_allocator_t allocator = self->allocator;
    mti_free(&allocator, self->devices, self->count * sizeof *self->devices);
    mti_free(&allocator, self->table, self->count * sizeof *self->table);
    mti_free(&allocator, self, sizeof *self);
}

// Load the library, count the devices, fill their info. Nothing there: NOT_FOUND, without a word.
static manta_status_t null_create(const mti_driver_options_t *options, mti_driver_t **out_driver)
{
    uint32_t count = options->user->null_devices;
    if (count == 0) return MANTA_ERR_NOT_FOUND;
    null_driver_t *self = mti_alloc_zeroed(&options->allocator, sizeof *self, 16);
    if (!self) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "null: no memory");
    self->allocator = options->allocator;
    self->count = count;
    self->devices = mti_alloc_zeroed(&options->allocator, count * sizeof *self->devices,
                                     _Alignof(null_device_t));
    self->table = mti_alloc_zeroed(&options->allocator, count * sizeof *self->table, 16);
    if (!self->devices || !self->table) {
        null_destroy(&self->base);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "null: no memory for %u devices", count);
    }
    for (uint32_t i = 0; i < count; i++) {
        null_device_init(self, &self->devices[i], i);
        self->table[i] = &self->devices[i].base;
    }
    self->base.ops = &mti_null_driver;
    self->base.device_count = count;
    self->base.devices = self->table;
    *out_driver = &self->base;
    return MANTA_OK;
}

const mti_driver_ops_t mti_null_driver = {
    .name = "null",
    .create = null_create,
    .destroy = null_destroy,
};
