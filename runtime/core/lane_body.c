// What bodies call while they enqueue: launches, streams, scratch memory, results that change their size.
#include "core/lane_impl.h"

#include <manta/kernel.h>

static mti_op_t *task_op(const manta_task_t *task)
{
    if (task && task->lane && mti_op_current == task->lane) return mti_op_current;
    return NULL;
}

static manta_status_t fail_no_body(const char *what)
{
    return mti_fail(MANTA_ERR_NOT_ALLOWED_HERE, "%s: no CUDA body is running on this thread", what);
}

manta_status_t mti_lane_launch(manta_kernel_t *kernel, const manta_grid_t *grid, void *const *args,
                               uint32_t arg_count)
{
    mti_op_t *op = mti_op_current;
    if (!op) {
        return mti_fail_note(fail_no_body("launch"), "kernel %s",
                             kernel && kernel->name ? kernel->name : "NULL");
    }
    mti_lane_t *lane = op->lane;
    op->enqueued = true;
    const manta_kernel_t *row;
    manta_twin_fn_t twin;
    manta_status_t status = mti_code_resolve(kernel, arg_count, &row, &twin);
    const mti_kernel_t *found = NULL;
    if (status == MANTA_OK) status = mti_lane_kernel(lane, row, twin, &found);
    if (status == MANTA_OK && !mti_grid_is_empty(grid)) {
        mti_launch_shape_t shape = {{grid->grid[0], grid->grid[1], grid->grid[2]},
                                    {grid->block[0], grid->block[1], grid->block[2]},
                                    grid->shared_bytes};
        mti_launch_t launch = {.kernel = found,
                               .shape = shape,
                               .args = args,
                               .arg_count = arg_count,
                               .arg_bytes = kernel->arg_bytes};
        status = mti_queue_launch(op->queue->queue, &launch, MTI_OP_NONE, NULL);
    }
    return mti_code_tell(status);
}

manta_status_t mti_lane_launch_native(void *kernel, const manta_grid_t *grid, void **args,
                                      const char *name)
{
    mti_op_t *op = mti_op_current;
    if (!op) return mti_fail_note(fail_no_body("launch"), "kernel %s", name ? name : "?");
    op->enqueued = op->is_foreign = true; // it came from the user's CUDA runtime
    if (!kernel) return mti_code_tell(mti_fail(MANTA_ERR_INVALID_ARGUMENT, "launch: no kernel"));
    if (!mti_device_can(op->lane->device, MTI_CAP_NATIVE)) {
        return mti_code_tell(mti_fail(MANTA_ERR_NOT_SUPPORTED,
                                      "kernel %s: device %s is a virtual one, launch by name",
                                      name ? name : "?", op->lane->device->name));
    }
    if (mti_grid_is_empty(grid)) return MANTA_OK;
    mti_launch_shape_t shape;
    memcpy(&shape, grid, sizeof shape);
    manta_status_t status =
        mti_queue_launch_native(op->queue->queue, kernel, name, &shape, args, MTI_OP_NONE, NULL);
    return mti_code_tell(status);
}

void *mti_lane_stream(manta_task_t *task)
{
    mti_op_t *op = task_op(task);
    if (!op) {
        (void)fail_no_body("manta_cuda_stream");
        return NULL;
    }
    if (!mti_device_can(op->lane->device, MTI_CAP_NATIVE)) {
        (void)mti_code_tell(mti_fail(MANTA_ERR_NOT_SUPPORTED,
                                     "task %s: device %s is a virtual one and has no stream",
                                     mti_record_name(op->run.record), op->lane->device->name));
        return NULL;
    }
    op->enqueued = op->is_foreign = true;
    return mti_queue_native(op->queue->queue);
}

int mti_lane_device_index(const manta_task_t *task)
{
    return task && task->lane ? (int)((const mti_op_t *)task->lane)->lane->index : -1;
}

const char *mti_lane_device_name(const manta_task_t *task)
{
    return ((const mti_op_t *)task->lane)->lane->device->name;
}

void *mti_lane_local(manta_task_t *task, const void *key, manta_local_make_fn_t make,
                     manta_local_destroy_fn_t destroy)
{
    mti_op_t *op = task_op(task);
    if (!op || !make) {
        (void)fail_no_body("manta_queue_local");
        return NULL;
    }
    for (mti_lane_local_t *local = op->queue->locals; local; local = local->next)
        if (local->key == key) return local->value;
    const manta_allocator_t *allocator = &op->lane->lanes->allocator;
    op->is_foreign = true;
    mti_lane_local_t *local = mti_alloc(allocator, sizeof *local, 16);
    void *value = local ? make(task) : NULL;
    if (!value) {
        (void)mti_code_tell(
            local ? mti_fail(MANTA_ERR_RESOURCE_EXHAUSTED, "queue_local: it could not be made")
                  : mti_fail(MANTA_ERR_OUT_OF_MEMORY, "queue_local: no memory"));
        mti_free(allocator, local, sizeof *local);
        return NULL;
    }
    *local = (mti_lane_local_t){op->queue->locals, key, value, destroy};
    op->queue->locals = local;
    return value;
}

void *mti_lane_scratch(manta_task_t *task, size_t size_bytes)
{
    mti_op_t *op = task_op(task);
    if (!op) {
        (void)fail_no_body("manta_scratch");
        return NULL;
    }
    mti_block_t *block;
    manta_status_t status =
        mti_devheap_alloc(op->lane->heap, op->queue->queue, size_bytes ? size_bytes : 1, &block);
    if (status != MANTA_OK) {
        (void)mti_code_tell(status);
        return NULL;
    }
    block->next = op->scratch;
    op->scratch = block;
    return block->ptr;
}

manta_status_t mti_lane_body_fail(manta_task_t *task, manta_status_t status)
{
    (void)task;
    return mti_code_tell(status);
}

// The block of |op| that |ptr| is in: a result, or scratch.
static mti_block_t *op_block_of(const mti_op_t *op, const void *ptr)
{
    mti_block_t *found = NULL;
    for (uint32_t i = 0; i < op->run.record->result_count; i++) {
        mti_tier_t *tier = mti_object_tier(op->run.results[i]);
        mti_block_t *block = tier ? tier->at[op->lane->index].block : NULL;
        if (block && (size_t)((const char *)ptr - (const char *)block->ptr) < block->size_bytes)
            found = block;
    }
    for (mti_block_t *block = op->scratch; block; block = block->next)
        if ((size_t)((const char *)ptr - (const char *)block->ptr) < block->size_bytes)
            found = block;
    return found;
}

manta_status_t mti_lane_status_word(manta_task_t *task, const void *device_ptr)
{
    mti_op_t *op = task_op(task);
    if (!op) return fail_no_body("manta_status_word");
    mti_block_t *from = device_ptr ? op_block_of(op, device_ptr) : NULL;
    if (!from || (uintptr_t)device_ptr % 4 != 0) {
        return mti_code_tell(mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                                      "status_word: %p is no aligned word in scratch memory or "
                                      "in a result of the task",
                                      device_ptr));
    }
    manta_status_t status = MANTA_OK;
    if (!op->word_block) {
        status = mti_devheap_alloc(op->lane->host_heap, op->queue->queue, 4, &op->word_block);
    }
    // At the end of the body; what is enqueued behind this call comes too late.
    mti_copy_t copy = {{op->word_block ? op->word_block->ptr : NULL,
                        op->word_block ? op->word_block->memory : NULL},
                       {(void *)(uintptr_t)device_ptr, from->memory},
                       4};
    if (status == MANTA_OK) {
        op->enqueued = true;
        status = mti_queue_copy(op->queue->queue, &copy, MTI_OP_NONE, NULL);
    }
    return mti_code_tell(status);
}

// On a thread of the driver's nobody may ask the device for memory: the host's has to do.
static manta_status_t out_grow(manta_task_t *task, mti_op_t *op, mti_object_t *object,
                               mti_block_t *old, size_t size_bytes, manta_buffer_t *out_buffer)
{
    mti_op_grown_t *grown = op->grown;
    while (grown && op->run.results[grown->result] != object)
        grown = grown->next;
    const void *from = grown ? grown->data : old ? old->ptr : NULL;
    size_t kept = grown ? grown->size_bytes : mti_object_size(object);
    if (kept > size_bytes) kept = size_bytes;
    void *data = mti_heap_alloc(&task->ctx->heap, size_bytes ? size_bytes : 1);
    bool is_new = !grown;
    if (data && is_new) grown = mti_alloc(&op->lane->lanes->allocator, sizeof *grown, 16);
    if (!data || !grown) {
        if (data) mti_heap_free(&task->ctx->heap, data, size_bytes ? size_bytes : 1);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for %zu bytes", size_bytes);
    }
    if (kept && from) memcpy(data, from, kept);
    if (is_new) {
        grown->next = op->grown;
        grown->result = 0;
        while (op->run.results[grown->result] != object)
            grown->result++;
        op->grown = grown;
    } else {
        mti_heap_free(&task->ctx->heap, grown->data, grown->size_bytes ? grown->size_bytes : 1);
    }
    grown->data = data;
    grown->size_bytes = size_bytes;
    *out_buffer = (manta_buffer_t){size_bytes ? data : NULL, size_bytes};
    return MANTA_OK;
}

manta_status_t mti_lane_out_resize(manta_task_t *task, mti_object_t *object, size_t size_bytes,
                                   manta_buffer_t *out_buffer)
{
    mti_op_t *op = task->lane;
    mti_tier_t *tier = mti_object_tier(object);
    mti_block_t *old = tier ? tier->at[op->lane->index].block : NULL;
    for (mti_op_grown_t *grown = op->grown; grown; grown = grown->next)
        if (op->run.results[grown->result] == object)
            return out_grow(task, op, object, old, size_bytes, out_buffer);
    if (size_bytes <= (old ? old->size_bytes : 0)) {
        if (tier) tier->size_bytes = size_bytes;
        // An empty result keeps its tier until it goes; nobody copies nothing.
        mti_object_set(object, mti_object_kind(object),
                       tier ? MTI_STORAGE_TIERED : MTI_STORAGE_NONE, size_bytes);
        *out_buffer = (manta_buffer_t){size_bytes ? old->ptr : NULL, size_bytes};
        return MANTA_OK;
    }
    if (mti_op_current != op) return out_grow(task, op, object, old, size_bytes, out_buffer);
    mti_block_t *block;
    manta_status_t status = mti_devheap_alloc(op->lane->heap, op->queue->queue, size_bytes, &block);
    if (status != MANTA_OK) return status;
    if (!tier && !(tier = mti_tier_create(op->lane->lanes, object, size_bytes))) {
        mti_devheap_free(block);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory to keep track of a result");
    }
    if (old) {
        // What was enqueued so far may have written it: kept.
        mti_copy_t copy = {{block->ptr, block->memory},
                           {old->ptr, old->memory},
                           tier->size_bytes < size_bytes ? tier->size_bytes : size_bytes};
        uint64_t seq;
        status = mti_queue_copy(op->queue->queue, &copy, MTI_OP_NONE, &seq);
        if (status == MANTA_OK) status = mti_block_use(old, op->queue->queue, seq);
        if (status != MANTA_OK) {
            mti_devheap_free(block);
            return status;
        }
        mti_devheap_free(old);
    }
    tier->at[op->lane->index].block = block;
    tier->size_bytes = size_bytes;
    mti_object_set(object, mti_object_kind(object), MTI_STORAGE_TIERED, size_bytes);
    *out_buffer = (manta_buffer_t){block->ptr, size_bytes};
    return MANTA_OK;
}
