// Actors on devices: which methods go there, in which order, and what their state holds there.
//
// A method with a CUDA body goes to the actor's device as soon as its turn comes, up to |limit| of them at a
// time: the lane keeps the order between them (lane_actor.c), so they follow each other there without the host.
// A method that runs on a CPU waits until all of them are complete, and runs on the turn; what comes after it
// waits for its end. So at most one side touches the state at a time, and the host's part of CUDA methods, their
// bodies, run one after the other, by whoever has the right of the lane.
//
// |running| is raised by the holder of the turn before a call goes out, and lowered when it is complete. When the
// holder finds a call that has to wait it leaves |resume_at| behind: whoever brings |running| down to that wakes
// the actor. Both are seq_cst: of a holder that leaves and somebody who completes one sees the other.
#include "core/actor_impl.h"

#include "core/lane.h"

#include <stdio.h>
#include <string.h>

static bool call_is_for_device(const mti_record_t *t)
{
    return mti_flags_are_lane(mti_record_flags(t));
}

static uint32_t device_index(const mti_actor_device_t *device)
{
    // relaxed: it changes by the holder of the turn, which is who cares; others may be late
    return mti_atomic_u32_load_relaxed(&device->index);
}

// ---- making, ending ------------------------------------------------------------------------------

static bool device_is_lost(mti_lanes_t *lanes, uint32_t index)
{
    return mti_device_state(mti_lanes_device(lanes, index)) == MTI_DEVICE_LOST ||
           mti_lanes_is_lost(lanes, index);
}

// The device with the fewest actors that is not lost, rather one where |share| is free; false: none.
static bool device_choose(mti_ctx_t *ctx, manta_where_t where, int64_t share, uint32_t *out_index)
{
    mti_lanes_t *lanes = mti_lanes_peek(ctx->rt);
    uint32_t best_count = UINT32_MAX;
    bool any = false;
    for (uint32_t i = 0; i < mti_lanes_count(lanes); i++) {
        if (where >= manta_gpu(0) && i != (uint32_t)(where - manta_gpu(0))) continue;
        if (device_is_lost(lanes, i)) continue;
        uint32_t count = mti_lane_actors(lanes, i, 0);
        if (share && mti_admit_gpu_free(ctx->rt, i) < share)
            count += UINT32_MAX / 2; // it would wait
        if (count >= best_count) continue;
        best_count = count;
        *out_index = i;
        any = true;
    }
    return any;
}

manta_status_t mti_actor_device_check(mti_ctx_t *ctx, const manta_actor_def_t *def,
                                      const manta_actor_options_t *o)
{
    if (o->device == MANTA_ANY || o->device == MANTA_CPU) {
        if (!o->own_queue && !o->gpu_bytes && !o->max_device_calls) return MANTA_OK;
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "actor %s: own_queue, gpu_bytes or max_device_calls without a device",
                        def->name);
    }
    if (o->device < MANTA_ANY || (o->device > MANTA_GPU && o->device < manta_gpu(0))) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "actor %s: device %d", def->name,
                        (int)o->device);
    }
    if (o->max_concurrency > 1 || o->group_count) {
        return mti_fail(MANTA_ERR_NOT_SUPPORTED,
                        "actor %s: on a device, and several methods at a time", def->name);
    }
    if (o->max_device_calls > MTI_ACTOR_DEVICE_CALLS_MAX) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "actor %s: max_device_calls %u (at most %d)",
                        def->name, o->max_device_calls, MTI_ACTOR_DEVICE_CALLS_MAX);
    }
    mti_lanes_t *lanes;
    manta_status_t status = mti_lanes_start(ctx->rt, &lanes);
    if (status != MANTA_OK) return mti_fail_note(status, "actor %s", def->name);
    uint32_t count = mti_lanes_count(lanes);
    if (o->device >= manta_gpu(0) && (uint32_t)(o->device - manta_gpu(0)) >= count) {
        return mti_fail(MANTA_ERR_INFEASIBLE, "actor %s asks for GPU %d; this machine offers %u",
                        def->name, (int)(o->device - manta_gpu(0)), count);
    }
    if (count == 0) {
        return mti_fail(MANTA_ERR_INFEASIBLE, "actor %s asks for a GPU; this machine offers 0",
                        def->name);
    }
    return MANTA_OK;
}

// Settles on a device. False: there is none left, or no queue to give away on it.
static bool device_settle(mti_ctx_t *ctx, mti_actor_device_t *device)
{
    mti_lanes_t *lanes = mti_lanes_peek(ctx->rt);
    uint32_t index;
    if (!device_choose(ctx, device->where, device->share, &index)) return false;
    if (!mti_lane_order_init(lanes, index, device->own_queue, &device->order)) return false;
    (void)mti_lane_actors(lanes, index, 1);
    mti_atomic_u32_store_relaxed(&device->index, index);
    device->is_settled = true;
    return true;
}

static void device_unsettle(mti_ctx_t *ctx, mti_actor_device_t *device)
{
    mti_lanes_t *lanes = mti_lanes_peek(ctx->rt);
    if (!device->is_settled) return;
    device->is_settled = false;
    mti_lane_order_deinit(lanes, device_index(device), &device->order);
    (void)mti_lane_actors(lanes, device_index(device), -1);
}

manta_status_t mti_actor_device_make(mti_ctx_t *ctx, mti_actor_more_t *more,
                                     const manta_actor_options_t *o)
{
    uint32_t limit = o->max_device_calls ? o->max_device_calls : MTI_ACTOR_DEVICE_CALLS;
    size_t bytes = sizeof(mti_actor_device_t) + limit * sizeof(mti_atomic_u64_t);
    mti_actor_device_t *device = mti_heap_alloc(&ctx->heap, bytes);
    if (!device) {
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for an actor %s", more->def->name);
    }
    memset(device, 0, bytes);
    device->total_bytes = bytes;
    device->where = o->device;
    device->own_queue = o->own_queue;
    device->limit = limit;
    device->bytes_limit = o->gpu_bytes;
    device->share = (int64_t)(o->gpus * 1000.0 + 0.5);
    mti_atomic_u32_store_relaxed(&device->resume_at, MTI_RESUME_NEVER);
    more->device = device;
    if (device_settle(ctx, device)) return MANTA_OK;
    mti_heap_free(&ctx->heap, device, bytes);
    more->device = NULL;
    return mti_fail(o->own_queue ? MANTA_ERR_INFEASIBLE : MANTA_ERR_DEVICE_LOST,
                    o->own_queue ? "actor %s asks for a queue of its own; its device is lost, or "
                                   "all %d are given away"
                                 : "actor %s asks for a device that is lost",
                    more->def->name, MTI_LANE_OWN_QUEUES);
}

// Gives back what the state holds: nothing of the actor's runs.
static void device_let_go(mti_ctx_t *ctx, mti_actor_device_t *device)
{
    for (mti_block_t *block; (block = device->memory) != NULL;) {
        device->memory = block->next;
        mti_lanes_free_block(mti_lanes_peek(ctx->rt), block);
    }
    device->bytes = 0;
}

void mti_actor_holds_release(mti_ctx_t *ctx, mti_actor_more_t *more)
{
    for (mti_actor_hold_t *hold; (hold = more->holds) != NULL;) {
        more->holds = hold->next;
        mti_object_release(ctx, hold->object, MTI_COUNT_INTERNAL);
        mti_heap_free(&ctx->heap, hold, sizeof *hold);
    }
    if (more->device) device_let_go(ctx, more->device);
}

bool mti_actor_device_again(mti_ctx_t *ctx, mti_actor_t *actor)
{
    mti_actor_device_t *device = actor->more->device;
    device->is_creating = false;
    if (!device_is_lost(mti_lanes_peek(ctx->rt), device_index(device))) return true;
    device_unsettle(ctx, device);
    return device_settle(ctx, device);
}

uint32_t mti_actor_device_lost_how(const mti_actor_t *actor)
{
    bool is_any = actor->more->device->where == MANTA_GPU;
    return MTI_ACTOR_SPARES_RUNNING | (is_any ? MTI_ACTOR_MAY_RESTART : 0u);
}

void mti_actor_device_lost(mti_ctx_t *ctx, mti_actor_t *actor, uint32_t index)
{
    const mti_actor_device_t *device = actor->more->device;
    if (device_index(device) != index) return;
    const char *name = mti_lanes_device(mti_lanes_peek(ctx->rt), index)->name;
    char text[128];
    snprintf(text, sizeof text, "device %s was lost", name);
    manta_error_t *cause = mti_error_create(MANTA_ERR_DEVICE_LOST, MANTA_SCOPE_DEVICE,
                                            actor->def->name, name, 0, text, NULL);
    mti_actor_fail(ctx, actor, cause, mti_actor_device_lost_how(actor), 0, "its device was lost");
    manta_error_release(cause);
}

manta_error_t *mti_actor_device_gone(mti_actor_t *actor)
{
    mti_actor_more_t *more = actor->more;
    mti_mutex_lock(&more->lock);
    manta_error_t *before = (manta_error_t *)manta_error_retain(more->error);
    mti_mutex_unlock(&more->lock);
    manta_error_t *gone =
        mti_error_create(MANTA_ERR_RESOURCE_GONE, MANTA_SCOPE_ACTOR, actor->def->name, "", 0,
                         more->device->own_queue ? "no device is left that has a queue to give it"
                                                 : "no device is left for it",
                         before);
    manta_error_release(before);
    return gone;
}

manta_where_t mti_actor_device_where(const mti_actor_t *actor)
{
    const mti_actor_device_t *device = actor->more->device;
    return device ? manta_gpu((int)device_index(device)) : MANTA_CPU;
}

void mti_actor_device_free(mti_ctx_t *ctx, mti_actor_more_t *more)
{
    mti_actor_device_t *device = more->device;
    device_let_go(ctx, device);
    device_unsettle(ctx, device);
    mti_heap_free(&ctx->heap, device, device->total_bytes);
    more->device = NULL;
}

// ---- calls ---------------------------------------------------------------------------------------

// Takes a place for |id|; inside the bracket of |todo|.
static void place_take(mti_actor_device_t *device, uint64_t id)
{
    (void)mti_atomic_u32_fetch_add_seq_cst(&device->running, 1);
    for (uint32_t i = 0;; i++) { // there is a free one: they are taken by us only
        if (mti_atomic_u64_load_relaxed(&device->ids[i])) continue;
        mti_atomic_u64_store_release(&device->ids[i], id);
        return;
    }
}

void mti_actor_device_give_back(mti_actor_device_t *device, uint64_t id)
{
    for (uint32_t i = 0; i < device->limit; i++) {
        uint64_t expected = id;
        if (mti_atomic_u64_load_relaxed(&device->ids[i]) != id) continue;
        if (!mti_atomic_u64_cas_acq_rel(&device->ids[i], &expected, 0)) continue;
        (void)mti_atomic_u32_fetch_add_seq_cst(&device->running, (uint32_t)-1);
        return;
    }
}

// Whether |t| may go now. False: |resume_at| says when.
static bool device_may_go(mti_actor_device_t *device, const mti_record_t *t)
{
    uint32_t most = call_is_for_device(t) ? device->limit - 1 : 0;
    if (mti_atomic_u32_load_seq_cst(&device->running) <= most) return true;
    mti_atomic_u32_store_seq_cst(&device->resume_at, most);
    return false;
}

mti_device_call_t mti_actor_device_next(mti_ctx_t *ctx, mti_actor_t *actor, mti_record_t **out_call)
{
    mti_actor_device_t *device = actor->more->device;
    mti_atomic_u32_store_relaxed(&device->resume_at, MTI_RESUME_NEVER);
    mti_actor_todo_enter(actor);
    bool has_bands = mti_actor_has_bands(actor);
    mti_record_t *t = has_bands ? mti_actor_bands_first(actor) : mti_actor_todo_first(actor);
    if (!t || !device_may_go(device, t)) {
        mti_actor_todo_leave(actor);
        return MTI_DEVICE_CALL_NONE;
    }
    uint64_t id = mti_ref_of(&t->result).id;
    bool for_device = call_is_for_device(t);
    if (has_bands) {
        mti_actor_bands_take(actor, t);
    } else {
        actor->todo = mti_method_of(t)->mail_next;
    }
    if (for_device) {
        place_take(device, id);
    } else {
        mti_atomic_u64_store_relaxed(&actor->current, id);
    }
    mti_actor_todo_leave(actor);
    if (!for_device) {
        *out_call = t;
        return MTI_DEVICE_CALL_HERE;
    }
    mti_atomic_u32_store_seq_cst(&t->deps, 0);
    mti_lanes_call(mti_lanes_peek(ctx->rt), ctx, t, (uint32_t)(id >> 32), device_index(device),
                   &device->order);
    mti_atomic_u64_owner_add(&actor->ran, 1);
    return MTI_DEVICE_CALL_OUT;
}

bool mti_actor_device_create(mti_ctx_t *ctx, mti_actor_t *actor, mti_record_t *create)
{
    mti_actor_device_t *device = actor->more->device;
    if (!device || !call_is_for_device(create)) return false;
    uint32_t gen = mti_atomic_u32_load_relaxed(&create->result.gen);
    device->is_creating = true;
    mti_atomic_u32_store_seq_cst(&device->resume_at, 0);
    mti_actor_todo_enter(actor);
    place_take(device, mti_ref_of(&create->result).id);
    mti_actor_todo_leave(actor);
    mti_atomic_u32_store_seq_cst(&create->deps, 0);
    mti_lanes_call(mti_lanes_peek(ctx->rt), ctx, create, gen, device_index(device), &device->order);
    return true;
}

void mti_actor_lane_over(mti_ctx_t *ctx, mti_actor_t *actor, uint64_t id, bool kept)
{
    // One more count while a call that was kept may be run and gone.
    if (kept) (void)mti_atomic_u64_fetch_add_relaxed(&actor->object.counts, MTI_COUNT_INTERNAL);
    mti_actor_call_over(ctx, actor, 0, id);
}

// ---- what the state holds --------------------------------------------------------------------------

static manta_status_t fail_no_method(const char *what)
{
    return mti_fail(MANTA_ERR_NOT_ALLOWED_HERE, "%s: outside of an actor's constructor and methods",
                    what);
}

// The argument whose bytes start at |data|; NULL: none.
static mti_object_t *argument_at(const manta_task_t *task, const void *data)
{
    const mti_record_t *t = task->record;
    for (uint32_t i = 0, b = 0; i < t->def->param_count; i++) {
        const manta_param_t *param = &t->def->params[i];
        const unsigned char *at = t->args + param->offset;
        const manta_buffer_t *buffers = &task->buffers[b];
        const manta_ref_t *refs = (const manta_ref_t *)(const void *)at;
        size_t n = param->kind == MANTA_PARAM_IN;
        if (param->kind == MANTA_PARAM_IN_LIST) {
            const manta_ref_list_t *list = (const manta_ref_list_t *)(const void *)at;
            refs = list->refs;
            n = list->count;
            buffers = buffers->data;
        }
        for (size_t k = 0; k < n; k++)
            if (buffers[k].data == data && buffers[k].size_bytes) return mti_object_held(refs[k]);
        b += param->kind != MANTA_PARAM_VAL && param->kind != MANTA_PARAM_LOCAL;
    }
    return NULL;
}

manta_status_t manta_actor_hold(manta_task_t *task, const void *data)
{
    if (!task || !task->actor) return fail_no_method("actor_hold");
    mti_object_t *object = data ? argument_at(task, data) : NULL;
    if (!object) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "%s: actor_hold: no IN argument of the call starts at %p",
                        mti_record_name(task->record), data);
    }
    if (task->lane && !mti_object_tier(object)) {
        return mti_fail(MANTA_ERR_NOT_SUPPORTED,
                        "%s: actor_hold: an argument of %zu bytes travels with the call and has no "
                        "place of its own on a device; copy it into manta_actor_memory()",
                        mti_record_name(task->record), mti_object_size(object));
    }
    mti_ctx_t *ctx = task->ctx;
    mti_actor_more_t *more = task->actor->more;
    mti_actor_hold_t *hold = mti_heap_alloc(&ctx->heap, sizeof *hold);
    if (!hold) {
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: actor_hold: no memory",
                        mti_record_name(task->record));
    }
    (void)mti_atomic_u64_fetch_add_relaxed(&object->counts, MTI_COUNT_INTERNAL);
    mti_mutex_lock(&more->lock);
    *hold = (mti_actor_hold_t){more->holds, object};
    more->holds = hold;
    mti_mutex_unlock(&more->lock);
    return MANTA_OK;
}

void *manta_actor_memory(manta_task_t *task, size_t size_bytes)
{
    if (!task || !task->actor || !task->lane) {
        (void)mti_fail(MANTA_ERR_NOT_ALLOWED_HERE,
                       "actor_memory: outside of the CUDA bodies of an actor on a device");
        return NULL;
    }
    mti_actor_device_t *device = task->actor->more->device;
    if (device->bytes_limit &&
        (size_bytes > device->bytes_limit || device->bytes > device->bytes_limit - size_bytes)) {
        (void)mti_lane_body_fail(
            task,
            mti_fail(MANTA_ERR_OUT_OF_MEMORY,
                     "%s: actor_memory: %zu bytes; the actor has %llu of its %llu",
                     mti_record_name(task->record), size_bytes, (unsigned long long)device->bytes,
                     (unsigned long long)device->bytes_limit));
        return NULL;
    }
    mti_block_t *block = mti_lane_actor_block(task, size_bytes ? size_bytes : 1);
    if (!block) return NULL;
    block->next = device->memory;
    device->memory = block;
    device->bytes += size_bytes;
    return block->ptr;
}
