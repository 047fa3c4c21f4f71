#include "devices/sim/virtual.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/status.h"
#include "devices/host/pages.h"

#include <string.h>

typedef struct virtual_queue {
    mti_queue_t base;
    mti_engine_queue_t *queue;
    uint64_t seen; // poll: what was visible when it looked
} virtual_queue_t;

static mti_virtual_device_t *virtual_of(mti_device_t *device)
{
    return (mti_virtual_device_t *)device;
}

static virtual_queue_t *queue_of(mti_queue_t *queue)
{
    return (virtual_queue_t *)queue;
}

// ---- Life ----------------------------------------------------------------------------------------

static manta_status_t virtual_open(mti_device_t *device)
{
    (void)device;
    return MANTA_OK;
}

static manta_status_t virtual_close(mti_device_t *device, int64_t deadline_ns)
{
    (void)device;
    (void)deadline_ns;
    return MANTA_OK;
}

static int64_t virtual_now_ns(mti_device_t *device)
{
    return mti_engine_now_ns(virtual_of(device)->engine);
}

// ---- Queues --------------------------------------------------------------------------------------

static manta_status_t virtual_queue_create(mti_device_t *device, const mti_queue_options_t *options,
                                           mti_queue_t **out_queue)
{
    static const char *const names[] = {"compute", "copy in", "copy out", "copy peer"};
    mti_virtual_device_t *self = virtual_of(device);
    virtual_queue_t *queue =
        mti_alloc_zeroed(&device->allocator, sizeof *queue, _Alignof(virtual_queue_t));
    if (queue) queue->queue = mti_engine_queue_create(self->domain, names[options->kind]);
    if (!queue || !queue->queue) {
        mti_free(&device->allocator, queue, sizeof *queue);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: no memory, or no thread, for a queue",
                        device->name);
    }
    *out_queue = &queue->base;
    return MANTA_OK;
}

static void virtual_queue_destroy(mti_queue_t *queue)
{
    mti_engine_queue_destroy(queue_of(queue)->queue);
    mti_free(&queue->device->allocator, queue, sizeof(virtual_queue_t));
}

static manta_status_t virtual_wait(mti_queue_t *queue, mti_queue_t *other, uint64_t seq)
{
    return mti_engine_wait(queue_of(queue)->queue, queue_of(other)->queue, seq);
}

static manta_status_t virtual_signal(mti_queue_t *queue, uint64_t seq)
{
    (void)seq;
    mti_engine_record(queue_of(queue)->queue);
    return MANTA_OK;
}

// ---- Progress ------------------------------------------------------------------------------------

// Failures are handed out before the words that pass them: first looks how far each queue is, then
// takes failures (all up to there are listed by then), and moves the words only if none is left.
static void virtual_poll(mti_device_t *device, mti_poll_t *out_poll)
{
    mti_virtual_device_t *self = virtual_of(device);
    (void)mti_engine_run(self->engine);
    bool lost = mti_engine_state(self->domain) == MTI_ENGINE_LOST;
    for (mti_queue_t *queue = device->queues; queue; queue = queue->next)
        queue_of(queue)->seen = mti_engine_visible(queue_of(queue)->queue);

    mti_engine_failure_t failure;
    while (out_poll->failure_count < MTI_POLL_FAILURES &&
           mti_engine_take_failure(self->domain, &failure)) {
        mti_queue_t *queue = device->queues;
        while (queue_of(queue)->queue != failure.queue)
            queue = queue->next;
        // relaxed: read back by the only writer
        uint64_t failed = mti_atomic_u64_load_relaxed(&queue->failed);
        // release: before |completed| passes it, for those that read that first
        if (failed == 0 || failure.seq < failed)
            mti_atomic_u64_store_release(&queue->failed, failure.seq);
        out_poll->failures[out_poll->failure_count++] =
            (mti_op_failure_t){queue, failure.seq, failure.code, failure.text};
    }
    out_poll->more = mti_engine_has_failure(self->domain);
    if (out_poll->more) return;
    for (mti_queue_t *queue = device->queues; queue; queue = queue->next) {
        uint64_t seen = queue_of(queue)->seen;
        if (seen == mti_atomic_u64_load_relaxed(&queue->completed)) continue;
        // release: publishes what the operations did; pairs with mti_queue_completed
        mti_atomic_u64_store_release(&queue->completed, seen);
        out_poll->advanced++;
    }
    out_poll->lost = lost;
}

static bool virtual_has_news(mti_virtual_device_t *self)
{
    if (mti_engine_state(self->domain) == MTI_ENGINE_LOST) return true;
    if (mti_engine_has_failure(self->domain)) return true;
    for (mti_queue_t *queue = self->base.queues; queue; queue = queue->next) {
        if (mti_engine_visible(queue_of(queue)->queue) > mti_queue_completed(queue)) return true;
    }
    return false;
}

static bool virtual_awaits_record(const mti_device_t *device)
{
    for (const mti_queue_t *queue = device->queues; queue; queue = queue->next) {
        // relaxed: written under the right, which the caller has
        if (mti_atomic_u64_load_relaxed(&queue->recorded) > mti_queue_completed(queue)) return true;
    }
    return false;
}

static manta_status_t virtual_block(mti_device_t *device, int64_t deadline_ns)
{
    mti_virtual_device_t *self = virtual_of(device);
    for (;;) {
        // Read before looking: what happens after the look is an event that this count has not.
        uint64_t seen = mti_engine_events(self->engine);
        if (mti_atomic_u32_exchange_acquire(&self->woken, 0) != 0) return MANTA_OK;
        if (virtual_has_news(self)) return MANTA_OK;
        manta_status_t status = MANTA_ERR_DEADLOCK;
        bool losing = mti_engine_state(self->domain) != MTI_ENGINE_OK; // the end of that is news
        if (deadline_ns != INT64_MAX || losing || virtual_awaits_record(device))
            status = mti_engine_await_event(self->engine, seen, deadline_ns);
        if (status == MANTA_ERR_DEADLOCK)
            return mti_fail(status, "%s: nothing that is in flight will ever be seen to end",
                            device->name);
        if (status != MANTA_OK) return status;
        // Time stands at the event of some device: whoever drives them all looks at each before it goes on.
        if (mti_engine_mode(self->engine) == MTI_ENGINE_VIRTUAL) return MANTA_OK;
    }
}

static void virtual_wake(mti_device_t *device)
{
    mti_virtual_device_t *self = virtual_of(device);
    // release: pairs with the exchange in virtual_block
    mti_atomic_u32_store_release(&self->woken, 1);
    mti_engine_poke(self->engine);
}

// ---- Memory --------------------------------------------------------------------------------------

static mti_memory_t *memory_create(mti_device_t *device)
{
    return mti_alloc_zeroed(&device->allocator, sizeof(mti_memory_t), _Alignof(mti_memory_t));
}

static void memory_destroy(mti_memory_t *memory)
{
    mti_free(&memory->device->allocator, memory, sizeof *memory);
}

static manta_status_t virtual_alloc(mti_device_t *device, size_t size_bytes,
                                    mti_memory_t **out_memory)
{
    mti_virtual_device_t *self = virtual_of(device);
    if (self->oom_nth > 0 && --self->oom_nth == 0)
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "an injected fault");
    mti_memory_t *memory = memory_create(device);
    if (!memory) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no host memory for the bookkeeping");
    memory->ptr = self->space ? mti_engine_space_alloc(self->space, size_bytes,
                                                       device->info.limits.alloc_align_bytes)
                              : mti_pages_alloc(size_bytes, device->info.node);
    if (!memory->ptr) {
        mti_free(&device->allocator, memory, sizeof *memory);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory of the host behind it");
    }
    *out_memory = memory;
    return MANTA_OK;
}

static void virtual_free(mti_memory_t *memory)
{
    mti_virtual_device_t *self = virtual_of(memory->device);
    if (self->space) {
        bool was_there = mti_engine_space_free(self->space, memory->ptr);
        MTI_ASSERT(was_there);
    } else {
        mti_pages_free(memory->ptr, memory->size_bytes);
    }
    memory_destroy(memory);
}

static manta_status_t virtual_host_alloc(mti_device_t *device, size_t size_bytes, int node,
                                         mti_memory_t **out_memory)
{
    mti_memory_t *memory = memory_create(device);
    if (memory) memory->ptr = mti_pages_alloc(size_bytes, node);
    if (!memory || !memory->ptr) {
        mti_free(&device->allocator, memory, sizeof *memory);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: no host memory for %zu bytes", device->name,
                        size_bytes);
    }
    *out_memory = memory;
    return MANTA_OK;
}

static void virtual_host_free(mti_memory_t *memory)
{
    mti_pages_free(memory->ptr, memory->size_bytes);
    memory_destroy(memory);
}

static manta_status_t virtual_host_register(mti_device_t *device, void *ptr, size_t size_bytes,
                                            mti_memory_t **out_memory)
{
    (void)ptr;
    (void)size_bytes;
    *out_memory = memory_create(device);
    if (*out_memory) return MANTA_OK;
    return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: no memory to register host memory", device->name);
}

// ---- How long things take, and on what -----------------------------------------------------------

static int64_t transfer_ns(uint64_t size_bytes, uint64_t bytes_per_s)
{
    if (bytes_per_s == 0) return 0;
    double ns = (double)size_bytes * 1e9 / (double)bytes_per_s;
    return ns < 9e18 ? (int64_t)ns : INT64_MAX / 2;
}

// The device that |place| is on, NULL for host memory.
static const mti_device_t *place_device(mti_place_t place)
{
    return place.memory && place.memory->kind == MTI_MEMORY_DEVICE ? place.memory->device : NULL;
}

typedef struct route {
    mti_engine_resource_t *resource;
    uint64_t bytes_per_s;
    int64_t latency_ns;
} route_t;

static route_t route_between(mti_virtual_device_t *self, mti_place_t dst, mti_place_t src)
{
    const mti_device_t *to = place_device(dst), *from = place_device(src);
    const mti_virtual_times_t *times = &self->times;
    if (to == from) return (route_t){NULL, times->memory_bytes_per_s, 0};
    if (!from) return (route_t){self->in, times->in_bytes_per_s, times->latency_ns};
    if (!to) return (route_t){self->out, times->out_bytes_per_s, times->latency_ns};
    const mti_device_t *other = to == &self->base ? from : to;
    if (times->memory_bytes_per_s == 0) return (route_t){self->peer, 0, 0};
    if (other->driver == self->base.driver && other->ordinal < self->base.info.peer_count) {
        const mti_link_t *link = &self->base.info.peers[other->ordinal];
        if (link->direct) return (route_t){self->peer, link->bytes_per_s, link->latency_ns};
    }
    // Down to the host and up again, one half after the other.
    double both = 1.0 / (double)(times->in_bytes_per_s > 0 ? times->in_bytes_per_s : 1) +
                  1.0 / (double)(times->out_bytes_per_s > 0 ? times->out_bytes_per_s : 1);
    return (route_t){self->peer, (uint64_t)(1.0 / both), 2 * times->latency_ns};
}

// ---- Operations ----------------------------------------------------------------------------------

// Room for a payload: on the stack if it is small.
typedef struct scratch {
    void *data;
    size_t heap_bytes; // 0: |data| is |local|
    const manta_allocator_t *allocator;
    __attribute__((aligned(16))) unsigned char local[512];
} scratch_t;

static bool scratch_init(scratch_t *scratch, const mti_device_t *device, size_t size_bytes)
{
    scratch->allocator = &device->allocator;
    scratch->data = scratch->local;
    scratch->heap_bytes = 0;
    if (size_bytes <= sizeof scratch->local) return true;
    scratch->data = mti_alloc(scratch->allocator, size_bytes, 16);
    scratch->heap_bytes = size_bytes;
    if (!scratch->data)
        mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: no memory for an operation of %zu bytes",
                 device->name, size_bytes);
    return scratch->data != NULL;
}

static void scratch_deinit(scratch_t *scratch)
{
    if (scratch->heap_bytes > 0) mti_free(scratch->allocator, scratch->data, scratch->heap_bytes);
}

static manta_status_t submit(mti_queue_t *queue, mti_engine_op_t *op, uint32_t flags, uint64_t seq)
{
    op->record = (flags & MTI_OP_RECORD) != 0;
    uint64_t given;
    manta_status_t status = mti_engine_submit(queue_of(queue)->queue, op, &given);
    MTI_ASSERT_INTERNAL(status != MANTA_OK || given == seq);
    (void)seq;
    return status == MANTA_ERR_OUT_OF_MEMORY ? mti_fail_note(status, "%s", queue->device->name)
                                             : status;
}

typedef struct span {
    void *dst;
    const void *src;
    size_t size_bytes;
} span_t;

typedef struct copy_payload {
    size_t count;
    span_t spans[];
} copy_payload_t;

static manta_status_t copy_effect(void *payload, const char **out_text)
{
    (void)out_text;
    const copy_payload_t *copy = (const copy_payload_t *)payload;
    for (size_t i = 0; i < copy->count; i++)
        memcpy(copy->spans[i].dst, copy->spans[i].src, copy->spans[i].size_bytes);
    return MANTA_OK;
}

static manta_status_t virtual_copy(mti_queue_t *queue, const mti_copy_t *copies, size_t count,
                                   uint32_t flags, uint64_t seq)
{
    mti_virtual_device_t *self = virtual_of(queue->device);
    size_t payload_bytes;
    scratch_t scratch;
    if (!mti_size_mul(count, sizeof(span_t), &payload_bytes) ||
        !mti_size_add(payload_bytes, sizeof(copy_payload_t), &payload_bytes))
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: no memory for %zu copies",
                        queue->device->name, count);
    if (!scratch_init(&scratch, queue->device, payload_bytes)) return MANTA_ERR_OUT_OF_MEMORY;

    // A batch takes the time of all its copies, and occupies what the last one goes over.
    copy_payload_t *payload = (copy_payload_t *)scratch.data;
    mti_engine_op_t op = {.name = "copy", .effect = copy_effect, .payload = payload};
    payload->count = 0;
    int64_t latency_ns = 0;
    for (size_t i = 0; i < count; i++) {
        const mti_copy_t *copy = &copies[i];
        if (copy->size_bytes == 0) continue;
        payload->spans[payload->count++] = (span_t){copy->dst.ptr, copy->src.ptr, copy->size_bytes};
        route_t route = route_between(self, copy->dst, copy->src);
        op.resource = route.resource;
        op.duration_ns += transfer_ns(copy->size_bytes, route.bytes_per_s);
        if (route.latency_ns > latency_ns) latency_ns = route.latency_ns;
    }
    op.duration_ns += latency_ns;
    op.payload_bytes = payload_bytes;
    manta_status_t status = submit(queue, &op, flags, seq);
    scratch_deinit(&scratch);
    return status;
}

static manta_status_t copy_2d_effect(void *payload, const char **out_text)
{
    (void)out_text;
    const mti_copy_2d_t *copy = (const mti_copy_2d_t *)payload;
    for (size_t row = 0; row < copy->rows; row++)
        memcpy((char *)copy->dst.ptr + row * copy->dst_pitch_bytes,
               (const char *)copy->src.ptr + row * copy->src_pitch_bytes, copy->width_bytes);
    return MANTA_OK;
}

static manta_status_t virtual_copy_2d(mti_queue_t *queue, const mti_copy_2d_t *copy, uint32_t flags,
                                      uint64_t seq)
{
    route_t route = route_between(virtual_of(queue->device), copy->dst, copy->src);
    mti_engine_op_t op = {
        .name = "2-D copy",
        .effect = copy_2d_effect,
        .payload = copy,
        .payload_bytes = sizeof *copy,
        .resource = route.resource,
        .duration_ns =
            route.latency_ns + transfer_ns(copy->rows * copy->width_bytes, route.bytes_per_s),
    };
    return submit(queue, &op, flags, seq);
}

typedef struct fill_payload {
    unsigned char *dst;
    size_t size_bytes;
    uint32_t pattern, pattern_bytes;
} fill_payload_t;

static manta_status_t fill_effect(void *payload, const char **out_text)
{
    (void)out_text;
    const fill_payload_t *fill = (const fill_payload_t *)payload;
    if (fill->pattern_bytes == 1) {
        memset(fill->dst, (int)(fill->pattern & 0xff), fill->size_bytes);
        return MANTA_OK;
    }
    uint16_t half = (uint16_t)fill->pattern;
    const void *from = fill->pattern_bytes == 2 ? (const void *)&half : &fill->pattern;
    for (size_t i = 0; i < fill->size_bytes; i += fill->pattern_bytes)
        memcpy(fill->dst + i, from, fill->pattern_bytes);
    return MANTA_OK;
}

static manta_status_t virtual_fill(mti_queue_t *queue, mti_place_t dst, size_t size_bytes,
                                   uint32_t pattern, uint32_t pattern_bytes, uint32_t flags,
                                   uint64_t seq)
{
    mti_virtual_device_t *self = virtual_of(queue->device);
    fill_payload_t fill = {(unsigned char *)dst.ptr, size_bytes, pattern, pattern_bytes};
    mti_engine_op_t op = {.name = "fill",
                          .effect = fill_effect,
                          .payload = &fill,
                          .payload_bytes = sizeof fill,
                          .duration_ns = transfer_ns(size_bytes, self->times.memory_bytes_per_s)};
    return submit(queue, &op, flags, seq);
}

static manta_status_t virtual_empty(mti_queue_t *queue, uint32_t flags, uint64_t seq)
{
    mti_engine_op_t op = {.name = "empty operation"};
    return submit(queue, &op, flags, seq);
}

// ---- Kernels -------------------------------------------------------------------------------------

static manta_status_t virtual_code_load(mti_device_t *device, const mti_code_t *code,
                                        mti_kernel_t *kernels, mti_module_t **out_module)
{
    (void)kernels;
    *out_module = mti_alloc_zeroed(&device->allocator, sizeof **out_module, _Alignof(mti_module_t));
    if (*out_module) return MANTA_OK;
    return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: load %s: no memory", device->name, code->name);
}

static void virtual_code_unload(mti_module_t *module)
{
    mti_free(&module->device->allocator, module, sizeof *module);
}

// Followed by |arg_count| pointers, and the values that they point to, 16-aligned each. As long as the
// payload may still move, the pointers are offsets from its start.
typedef struct launch_payload {
    mti_kernel_twin_fn_t twin;
    mti_launch_shape_t shape;
    uint32_t arg_count;
    __attribute__((aligned(16))) void *args[];
} launch_payload_t;

static manta_status_t launch_effect(void *payload, const char **out_text)
{
    (void)out_text;
    launch_payload_t *launch = (launch_payload_t *)payload;
    for (uint32_t i = 0; i < launch->arg_count; i++)
        launch->args[i] = (char *)payload + (uintptr_t)launch->args[i];
    launch->twin(&launch->shape, launch->args);
    return MANTA_OK;
}

static manta_status_t virtual_launch(mti_queue_t *queue, const mti_launch_t *launch, uint32_t flags,
                                     uint64_t seq)
{
    mti_virtual_device_t *self = virtual_of(queue->device);
    const mti_kernel_t *kernel = launch->kernel;
    const uint32_t *arg_bytes = kernel->param_bytes ? kernel->param_bytes : launch->arg_bytes;
    if (!kernel->desc->twin)
        return mti_fail(MANTA_ERR_NOT_SUPPORTED,
                        "%s: kernel %s has no CPU twin, and this device is a virtual one",
                        queue->device->name, kernel->desc->name);
    if (launch->arg_count > 0 && !arg_bytes)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "%s: kernel %s: the sizes of its arguments are not known",
                        queue->device->name, kernel->desc->name);

    size_t bytes =
        mti_size_align(sizeof(launch_payload_t) + launch->arg_count * sizeof(void *), 16);
    for (uint32_t i = 0; i < launch->arg_count; i++)
        bytes += mti_size_align(arg_bytes[i], 16);
    scratch_t scratch;
    if (!scratch_init(&scratch, queue->device, bytes)) return MANTA_ERR_OUT_OF_MEMORY;
    launch_payload_t *payload = (launch_payload_t *)scratch.data;
    payload->twin = kernel->desc->twin;
    payload->shape = launch->shape;
    payload->arg_count = launch->arg_count;
    size_t at = mti_size_align(sizeof(launch_payload_t) + launch->arg_count * sizeof(void *), 16);
    for (uint32_t i = 0; i < launch->arg_count; i++) {
        memcpy((char *)payload + at, launch->args[i], arg_bytes[i]);
        payload->args[i] = (void *)(uintptr_t)at;
        at += mti_size_align(arg_bytes[i], 16);
    }
    mti_engine_op_t op = {.name = "kernel",
                          .effect = launch_effect,
                          .payload = payload,
                          .payload_bytes = bytes,
                          .resource = self->compute,
                          .duration_ns = self->times.launch_ns};
    manta_status_t status = submit(queue, &op, flags, seq);
    scratch_deinit(&scratch);
    return status;
}

typedef struct host_fn_payload {
    mti_host_fn_t fn;
    void *user;
} host_fn_payload_t;

static manta_status_t host_fn_effect(void *payload, const char **out_text)
{
    const host_fn_payload_t *call = (const host_fn_payload_t *)payload;
    manta_status_t status = call->fn(call->user);
    if (status != MANTA_OK) *out_text = "the host function returned a failure";
    return status;
}

static manta_status_t virtual_launch_host_fn(mti_queue_t *queue, mti_host_fn_t fn, void *user,
                                             uint32_t flags, uint64_t seq)
{
    // No slot: a function that blocks keeps its queue from going on, and no other.
    host_fn_payload_t call = {fn, user};
    mti_engine_op_t op = {.name = "host function",
                          .effect = host_fn_effect,
                          .payload = &call,
                          .payload_bytes = sizeof call,
                          .duration_ns = virtual_of(queue->device)->times.launch_ns};
    return submit(queue, &op, flags, seq);
}

// ---- Faults --------------------------------------------------------------------------------------

static manta_status_t virtual_inject(mti_device_t *device, const mti_fault_t *fault)
{
    mti_virtual_device_t *self = virtual_of(device);
    switch (fault->kind) {
    case MTI_FAULT_NONE:
        self->oom_nth = 0;
        mti_engine_fault_fail_op(self->domain, 0, MANTA_OK);
        mti_engine_fault_lose_at_op(self->domain, 0);
        return MANTA_OK;
    case MTI_FAULT_OOM:
        self->oom_nth = fault->nth;
        return MANTA_OK;
    case MTI_FAULT_FAIL_OP:
        mti_engine_fault_fail_op(self->domain, fault->nth, fault->code);
        return MANTA_OK;
    case MTI_FAULT_FAIL_OPS:
        mti_engine_fault_fail_ops(self->domain, fault->nth, fault->code);
        return MANTA_OK;
    case MTI_FAULT_LOSE:
        mti_engine_fault_lose_at_op(self->domain, fault->nth);
        return MANTA_OK;
    case MTI_FAULT_LOSE_NOW:
        mti_engine_lose(self->domain);
        return MANTA_OK;
    case MTI_FAULT_HOLD_QUEUE:
    case MTI_FAULT_RELEASE_QUEUE:
        mti_engine_queue_hold(queue_of(fault->queue)->queue, fault->kind == MTI_FAULT_HOLD_QUEUE);
        return MANTA_OK;
    }
    return mti_fail(MANTA_ERR_NOT_SUPPORTED, "%s: unknown fault %d", device->name,
                    (int)fault->kind);
}

// ---- The table -----------------------------------------------------------------------------------

static const mti_device_ops_t virtual_ops = {
    .open = virtual_open,
    .close = virtual_close,
    .queue_create = virtual_queue_create,
    .queue_destroy = virtual_queue_destroy,
    .wait = virtual_wait,
    .signal = virtual_signal,
    .poll = virtual_poll,
    .block = virtual_block,
    .wake = virtual_wake,
    .now_ns = virtual_now_ns,
    .alloc = virtual_alloc,
    .free = virtual_free,
    .host_alloc = virtual_host_alloc,
    .host_free = virtual_host_free,
    .host_register = virtual_host_register,
    .host_unregister = memory_destroy,
    .copy = virtual_copy,
    .copy_2d = virtual_copy_2d,
    .fill = virtual_fill,
    .empty = virtual_empty,
    .code_load = virtual_code_load,
    .code_unload = virtual_code_unload,
    .launch = virtual_launch,
    .launch_host_fn = virtual_launch_host_fn,
    .inject = virtual_inject,
};

bool mti_virtual_device_init(mti_virtual_device_t *device, mti_engine_t *engine, uint32_t slots,
                             bool own_memory)
{
    device->base.ops = &virtual_ops;
    device->base.family = engine;
    device->base.caps |= MTI_CAP_HOST_FN | MTI_CAP_COPY_2D | MTI_CAP_PEER_COPY |
                         MTI_CAP_HOST_REGISTER | MTI_CAP_CROSS_WAIT | MTI_CAP_FAULTS;
    if (mti_engine_mode(engine) == MTI_ENGINE_VIRTUAL) device->base.caps |= MTI_CAP_VIRTUAL_CLOCK;
    device->engine = engine;
    device->domain = mti_engine_domain_create(engine, device->base.name);
    device->compute = mti_engine_resource_create(engine, "compute", slots);
    device->in = mti_engine_resource_create(engine, "copy engine in", 1);
    device->out = mti_engine_resource_create(engine, "copy engine out", 1);
    device->peer = mti_engine_resource_create(engine, "copy engine peer", 1);
    if (!device->domain || !device->compute || !device->in || !device->out || !device->peer)
        return false;
    if (!own_memory) return true;
    device->space =
        mti_engine_space_create(engine, NULL, device->base.name, device->base.info.memory_bytes);
    return device->space != NULL;
}
