// Submitting a task: the long way, for every kind of call. Plain ones take the short way in task.c.
#include "core/task_impl.h"

#include <string.h>

// The room that arguments take that do not fit into the record.
static manta_status_t submit_make_room(submit_t *s, const void *args, size_t args_bytes)
{
    mti_record_t *t = s->t;
    uint32_t refs = plan_refs(s->plan), objects = plan_objects(s->plan);
    size_t list_refs = 0;
    if (s->plan & PLAN_LISTS) {
        for (uint32_t i = 0; i < s->def->param_count; i++) {
            const manta_param_t *param = &s->def->params[i];
            if (param->kind != MANTA_PARAM_IN_LIST) continue;
            const manta_ref_list_t *list =
                (const manta_ref_list_t *)(const void *)((const char *)args + param->offset);
            if (list->count > MTI_MAX_REFS || (list->count && !list->refs)) {
                return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                                "task %s, argument %s: a list of %zu refs%s (at most %d)",
                                s->def->name, param->name, list->count,
                                list->refs ? "" : " at NULL", MTI_MAX_REFS);
            }
            list_refs += list->count;
        }
    }
    if (refs + list_refs > MTI_MAX_REFS) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "task %s: %zu refs as arguments (at most %d)",
                        s->def->name, refs + list_refs, MTI_MAX_REFS);
    }
    t->link_count = (uint16_t)(refs + list_refs);
    t->args_bytes = (uint16_t)args_bytes;
    size_t inline_bytes = s->actor ? MTI_METHOD_INLINE : MTI_RECORD_INLINE;
    bool fits = mti_size_align(args_bytes, 8) + 8 * (size_t)t->link_count <= inline_bytes;
    if (MTI_LIKELY(fits && objects == 1 && list_refs == 0)) {
        t->args = t->inline_args;
        return MANTA_OK;
    }
    size_t image = sizeof(mti_overflow_t) + mti_size_align(args_bytes, 16);
    size_t links = image + list_refs * sizeof(manta_ref_t);
    links = mti_size_align(links, 16);
    size_t results = links + t->link_count * sizeof(mti_far_link_t);
    size_t total = results + objects * sizeof(uint32_t);
    mti_overflow_t *block = mti_heap_alloc(&s->ctx->heap, total);
    if (!block) {
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s: no memory for %zu bytes of arguments",
                        s->def->name, total);
    }
    *block = (mti_overflow_t){total, (uint32_t)links, (uint32_t)results};
    t->args = (unsigned char *)(block + 1);
    mti_record_set_flags(t, t->flags | MTI_RECORD_OVERFLOW);
    return MANTA_OK;
}

mti_cold_t *mti_submit_cold(submit_t *s)
{
    mti_record_t *t = s->t;
    if (t->cold) return t->cold;
    t->cold = mti_heap_alloc(&s->ctx->heap, sizeof *t->cold);
    if (t->cold) *t->cold = (mti_cold_t){0};
    return t->cold;
}

// What a range or array carries along.
static manta_status_t submit_bulk(submit_t *s, size_t args_bytes)
{
    mti_record_t *t = s->t;
    mti_heap_cache_t *heap = &s->ctx->heap;
    size_t images = 0, total;
    if ((s->bulk->array && !mti_size_mul(s->bulk->count, args_bytes, &images)) ||
        !mti_size_add(images, sizeof(mti_bulk_info_t), &total)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "task %s: an array of %zu calls", s->def->name,
                        s->bulk->count);
    }
    mti_bulk_info_t *info = mti_submit_cold(s) ? mti_heap_alloc(heap, total) : NULL;
    if (!info) {
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s: no memory for %zu calls", s->def->name,
                        s->bulk->count);
    }
    info->count = s->bulk->count;
    info->grain =
        mti_bulk_grain(info->count, s->bulk->grain, mti_sched_worker_count(s->ctx->rt->sched));
    info->total_bytes = total;
    info->is_array = s->bulk->array != NULL;
    if (images) memcpy(info->images, s->bulk->array, images);
    t->cold->bulk = info;
    mti_record_set_flags(t, t->flags | MTI_RECORD_RANGE);
    return MANTA_OK;
}

void mti_record_free_room(mti_ctx_t *ctx, mti_record_t *t)
{
    if (t->flags & MTI_RECORD_OVERFLOW) {
        mti_overflow_t *block = mti_record_overflow(t);
        mti_heap_free(&ctx->heap, block, block->size_bytes);
    }
    if (!t->cold) return;
    if (t->cold->order) mti_actor_order_free(ctx, t->cold->order);
    if (MTI_UNLIKELY(mti_flags_are_lane(t->flags)) && !(t->flags & MTI_RECORD_METHOD))
        mti_lanes_unreserve(mti_lanes_peek(ctx->rt));
    mti_recover_forget(ctx, t->cold);
    if (t->cold->bulk) mti_heap_free(&ctx->heap, t->cold->bulk, t->cold->bulk->total_bytes);
    mti_heap_free(&ctx->heap, t->cold, sizeof *t->cold);
}

// Copies the image; the refs of lists follow it in the overflow block.
static void submit_copy_args(submit_t *s, const void *args, size_t args_bytes)
{
    mti_record_t *t = s->t;
    if (args_bytes) memcpy(t->args, args, args_bytes);
    if (!(s->plan & PLAN_LISTS)) return;
    manta_ref_t *room = (manta_ref_t *)(void *)(t->args + mti_size_align(args_bytes, 16));
    for (uint32_t i = 0; i < s->def->param_count; i++) {
        const manta_param_t *param = &s->def->params[i];
        if (param->kind != MANTA_PARAM_IN_LIST) continue;
        manta_ref_list_t *list = (manta_ref_list_t *)(void *)(t->args + param->offset);
        if (list->count) memcpy(room, list->refs, list->count * sizeof *room);
        list->refs = room;
        room += list->count;
    }
}

// Gives the first |count| arguments back, as if they had never been taken.
static void submit_release_args(submit_t *s, uint32_t count)
{
    mti_record_t *t = s->t;
    uint32_t done = 0;
    for (uint32_t i = 0; i < s->def->param_count && done < count; i++) {
        const manta_param_t *param = &s->def->params[i];
        const unsigned char *at = t->args + param->offset;
        const manta_ref_t *refs = (const manta_ref_t *)(const void *)at;
        size_t n = param->kind == MANTA_PARAM_IN || param->kind == MANTA_PARAM_INOUT;
        if (param->kind == MANTA_PARAM_IN_LIST) {
            const manta_ref_list_t *list = (const manta_ref_list_t *)(const void *)at;
            refs = list->refs;
            n = list->count;
        }
        for (size_t k = 0; k < n && done < count; k++, done++) {
            if (mti_ref_is_error(refs[k])) continue;
            mti_object_t *object = mti_object_held(refs[k]);
            uint64_t taken = MTI_COUNT_INTERNAL;
            if (param->kind == MANTA_PARAM_INOUT) taken -= MTI_COUNT_USER;
            mti_object_release(s->ctx, object, taken);
        }
    }
}

// An error ref whose parameter accepts it: stands in the image as an object that has failed.
static manta_status_t submit_accept_error(submit_t *s, const manta_param_t *param, manta_ref_t *ref)
{
    mti_object_t *object = mti_object_alloc(s->ctx, MTI_OBJECT_PUT, MANTA_UNTYPED);
    if (!object) {
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s, argument %s: no memory", s->def->name,
                        param->name);
    }
    mti_atomic_u64_store_relaxed(&object->head, mti_head_bare(mti_ref_error_code(*ref)));
    mti_atomic_u64_store_release(&object->counts, MTI_COUNT_INTERNAL);
    *ref = mti_ref_of(object);
    s->acquired++;
    return MANTA_OK;
}

static manta_status_t submit_acquire_one(submit_t *s, const manta_param_t *param,
                                         manta_ref_t *in_ref)
{
    manta_ref_t ref = *in_ref;
    if (MTI_UNLIKELY(mti_ref_is_error(ref))) {
        if (mti_record_accepts_param(s->t, (uint32_t)(param - s->def->params))) {
            return submit_accept_error(s, param, in_ref);
        }
        if (s->error_arg == MANTA_OK) s->error_arg = mti_ref_error_code(ref);
        s->acquired++;
        return MANTA_OK;
    }
    uint64_t add = MTI_COUNT_INTERNAL;
    if (param->kind == MANTA_PARAM_INOUT) add -= MTI_COUNT_USER;
    // Those of an actor that is restarted, or had to wait, are kept by the actor alone.
    bool is_kept = s->is_create && mti_actor_keeps_args(s->actor);
    mti_object_t *object = MTI_UNLIKELY(is_kept)              ? mti_ref_acquire_weak(ref.id, add)
                           : param->kind == MANTA_PARAM_INOUT ? mti_ref_take(s->ctx, ref)
                                                              : mti_ref_acquire(ref, add);
    if (MTI_UNLIKELY(!object)) {
        return mti_fail(MANTA_ERR_STALE_REF,
                        ref.id ? "task %s, argument %s: stale ref (released, or made up)"
                               : "task %s, argument %s: null ref",
                        s->def->name, param->name);
    }
    s->acquired++;
    if (MTI_UNLIKELY(mti_object_runtime(object) != s->ctx->rt->index)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "task %s, argument %s: the ref belongs to runtime '%s', the task to '%s'",
                        s->def->name, param->name, mti_runtime_at(mti_object_runtime(object))->name,
                        s->ctx->rt->name);
    }
    if (MTI_UNLIKELY(!mti_dtype_fits(object->dtype, param->dtype))) {
        return mti_arg_fail_type(s->def->name, param, object);
    }
    uint64_t head;
    if (mti_object_is_closed(object, &head) && !(head & MTI_HEAD_FAILED)) {
        // Its bytes may be on a device only: a method on a CPU is not delivered before they are here.
        if (MTI_UNLIKELY(mti_object_storage(object) == MTI_STORAGE_TIERED) &&
            !mti_flags_are_lane(s->t->flags)) {
            s->has_open = true;
        }
        return mti_arg_check_bytes(s->def->name, param, mti_object_data(object),
                                   mti_object_size(object));
    }
    s->has_open = true;
    return MANTA_OK;
}

static manta_status_t submit_acquire_args(submit_t *s)
{
    for (uint32_t i = 0; i < s->def->param_count; i++) {
        const manta_param_t *param = &s->def->params[i];
        unsigned char *at = s->t->args + param->offset;
        manta_status_t status = MANTA_OK;
        if (param->kind == MANTA_PARAM_IN || param->kind == MANTA_PARAM_INOUT) {
            status = submit_acquire_one(s, param, (manta_ref_t *)(void *)at);
        } else if (param->kind == MANTA_PARAM_IN_LIST) {
            const manta_ref_list_t *list = (const manta_ref_list_t *)(const void *)at;
            for (size_t k = 0; k < list->count && status == MANTA_OK; k++) {
                status = submit_acquire_one(s, param, (manta_ref_t *)&list->refs[k]); // our copy
            }
        }
        if (MTI_UNLIKELY(status != MANTA_OK)) return status;
    }
    return MANTA_OK;
}

// Element types of the results, in their order.
static manta_dtype_t result_dtype(const manta_task_def_t *def, uint32_t index)
{
    for (uint32_t i = 0, k = 0; i < def->param_count; i++) {
        const manta_param_t *param = &def->params[i];
        if (param->kind != MANTA_PARAM_OUT && param->kind != MANTA_PARAM_INOUT) continue;
        if (k++ == index) return param->dtype;
    }
    return MANTA_UNTYPED; // the completion
}

static void record_init(mti_ctx_t *ctx, mti_record_t *t, manta_task_def_t *def, uint32_t objects,
                        bool held)
{
    mti_object_t *object = &t->result;
    uint32_t gen = mti_atomic_u32_load_relaxed(&object->gen);
    mti_object_set(object, MTI_OBJECT_TASK, MTI_STORAGE_NONE, 0);
    mti_object_set_runtime(object, ctx->rt->index);
    object->dtype =
        MTI_LIKELY(def->param_count) ? result_dtype(def, 0) : (manta_dtype_t)MANTA_UNTYPED;
    object->producer = object->slot;
    mti_atomic_u32_store_relaxed(&object->scope_hint, 0);
    mti_atomic_u64_store_relaxed(&object->head, held ? 0 : MTI_HEAD_ORPHAN);
    __atomic_store_n(&t->def, def, __ATOMIC_RELAXED);
    __atomic_store_n(&t->result_count, (uint16_t)objects, __ATOMIC_RELAXED);
    t->cold = NULL;
    mti_record_set_flags(t, 0);
    mti_atomic_u64_store_relaxed(&t->claim, mti_claim_make(gen, 0, MTI_TASK_NONE));
    // release: a stale lookup that gets a count from here sees a whole object
    mti_atomic_u64_store_release(&object->counts, held ? MTI_COUNT_USER : 0);
}

static void record_discard(mti_ctx_t *ctx, mti_record_t *t)
{
    mti_record_free_room(ctx, t);
    mti_atomic_u64_store_relaxed(&t->result.head, MTI_HEAD_CLOSED);
    mti_atomic_u64_store_relaxed(&t->result.counts, 0);
    mti_table_free(&ctx->table, (mti_slot_t *)(void *)t);
}

// The further results of a task with several.
static manta_status_t submit_make_results(submit_t *s, bool held)
{
    mti_record_t *t = s->t;
    if (MTI_LIKELY(t->result_count == 1)) return MANTA_OK;
    mti_overflow_t *block = mti_record_overflow(t);
    uint32_t *slots = (uint32_t *)(void *)((char *)block + block->results_offset);
    for (uint32_t i = 1; i < t->result_count; i++) {
        mti_object_t *object = mti_object_alloc(s->ctx, MTI_OBJECT_RESULT, result_dtype(s->def, i));
        if (!object) {
            for (uint32_t k = 1; k < i; k++) {
                mti_slot_t *slot = mti_table_live_slot(slots[k - 1]);
                mti_atomic_u64_store_relaxed(&slot->object.counts, 0);
                mti_table_free(&s->ctx->table, slot);
            }
            return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s: no memory for %u results",
                            s->def->name, (unsigned)t->result_count);
        }
        object->producer = t->result.slot;
        if (!held) {
            mti_atomic_u64_store_relaxed(&object->counts, 0);
            mti_atomic_u64_store_relaxed(&object->head, MTI_HEAD_ORPHAN);
        }
        slots[i - 1] = object->slot;
    }
    // The record counts itself until all its results are closed: it is found through each of them.
    (void)mti_atomic_u64_fetch_add_relaxed(&t->result.counts, MTI_COUNT_SLOT);
    return MANTA_OK;
}

// The next version of a typed object is of that type, whatever the parameter leaves open.
static void submit_inout_dtypes(submit_t *s)
{
    mti_record_t *t = s->t;
    for (uint32_t i = 0, k = 0; i < s->def->param_count; i++) {
        const manta_param_t *param = &s->def->params[i];
        if (param->kind != MANTA_PARAM_OUT && param->kind != MANTA_PARAM_INOUT) continue;
        mti_object_t *to = mti_record_result(t, k++);
        if (param->kind != MANTA_PARAM_INOUT) continue;
        manta_ref_t from;
        memcpy(&from, t->args + param->offset, sizeof from);
        manta_dtype_t dtype = mti_object_held(from)->dtype;
        if (MANTA_DTYPE_CODE(dtype) != MANTA_UNTYPED) to->dtype = dtype;
    }
}

// Hands the refs out. An INOUT result takes over the scope slot of the ref that it replaces.
static void submit_give_refs(submit_t *s, manta_ref_t *out_results)
{
    mti_record_t *t = s->t;
    mti_thread_t *thread = s->thread;
    uint32_t *slots = NULL;
    if (t->result_count > 1) {
        mti_overflow_t *block = mti_record_overflow(t);
        slots = (uint32_t *)(void *)((char *)block + block->results_offset);
    }
    if (!(s->plan & PLAN_INOUTS)) {
        out_results[0] = mti_ref_of(&t->result);
        mti_scope_add(thread, &t->result, out_results[0]);
        for (uint32_t i = 1; i < t->result_count; i++) {
            mti_object_t *object = mti_object_at(slots[i - 1]);
            out_results[i] = mti_ref_of(object);
            mti_scope_add(thread, object, out_results[i]);
        }
        return;
    }
    for (uint32_t i = 0, k = 0; i < s->def->param_count; i++) {
        const manta_param_t *param = &s->def->params[i];
        if (param->kind != MANTA_PARAM_OUT && param->kind != MANTA_PARAM_INOUT) continue;
        mti_object_t *object = k == 0 ? &t->result : mti_object_at(slots[k - 1]);
        manta_ref_t ref = out_results[k] = mti_ref_of(object);
        k++;
        mti_scope_entry_t *entry = NULL;
        if (param->kind == MANTA_PARAM_INOUT) {
            manta_ref_t old;
            memcpy(&old, t->args + param->offset, sizeof old);
            mti_object_t *was = mti_ref_is_error(old) ? NULL : mti_object_held(old);
            entry = was ? mti_scope_find(thread, was, old) : NULL;
            if (was && !entry) continue; // the caller's own before, the caller's own after
        }
        if (entry) {
            entry->id = ref.id;
            mti_atomic_u32_store_relaxed(&object->scope_hint,
                                         (uint32_t)(entry - thread->scopes) + 1);
        } else {
            mti_scope_add(thread, object, ref);
        }
    }
}

// Takes the user's counts of INOUT arguments after all: the call failed, but x_remote always takes.
static void take_anyway(const manta_task_def_t *def, const void *args)
{
    for (uint32_t i = 0; i < def->param_count; i++) {
        if (def->params[i].kind != MANTA_PARAM_INOUT) continue;
        manta_ref_t ref;
        memcpy(&ref, (const char *)args + def->params[i].offset, sizeof ref);
        (void)manta_release(ref);
    }
}

// Links the record to every argument that is open. Returns how many were closed already, and the first
// that has failed.
static uint32_t submit_link(submit_t *s, mti_object_t **out_failed, uint32_t *out_argument)
{
    mti_record_t *t = s->t;
    uint32_t closed = 0, k = 0;
    mti_far_link_t *far = NULL;
    if (t->flags & MTI_RECORD_OVERFLOW) {
        mti_overflow_t *block = mti_record_overflow(t);
        far = (mti_far_link_t *)(void *)((char *)block + block->links_offset);
    }
    uint64_t *near = mti_record_links(t, s->actor != NULL);
    mti_arg_iter_t iter = {.t = t};
    for (manta_ref_t ref; mti_arg_next(&iter, &ref); k++) {
        mti_object_t *object = mti_object_held(ref);
        uint64_t head;
        if (far) far[k].record = t;
        uint64_t *cell = far ? &far[k].next : near - k;
        mti_link_kind_t kind = far ? MTI_LINK_FAR : MTI_LINK_INLINE;
        if (mti_record_link(s->ctx, t, object, cell, kind, &head)) continue;
        closed++;
        if (MTI_UNLIKELY(head & MTI_HEAD_FAILED) && !*out_failed &&
            !(t->flags & MTI_RECORD_ACCEPTS &&
              mti_record_accepts_param(t, iter.item ? iter.param : iter.param - 1))) {
            *out_failed = object;
            *out_argument = k;
        }
    }
    return closed;
}

void mti_publish_failed(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, mti_object_t *failed,
                        uint32_t argument)
{
    uint64_t queued = mti_claim_make(gen, 0, MTI_TASK_QUEUED);
    if (!mti_atomic_u64_cas_acq_rel(&t->claim, &queued,
                                    mti_claim_make(gen, 0, MTI_TASK_CANCELLING))) {
        return;
    }
    uint64_t head;
    (void)mti_object_is_closed(failed, &head);
    (void)mti_atomic_u64_fetch_add_relaxed(&failed->counts, MTI_COUNT_INTERNAL);
    manta_error_t *error = (manta_error_t *)manta_error_retain(mti_object_error(failed, head));
    mti_task_fail_queued(ctx, t, error, failed, argument, NULL);
}

// The same for a method. One that is not ordered behind anything goes to its actor at once; else |deps|
// has two more: one for the delivery, one until the actor takes it out of its mailbox.
static void submit_publish_method(submit_t *s)
{
    mti_record_t *t = s->t;
    mti_ctx_t *ctx = s->ctx;
    uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    uint64_t queued = mti_claim_make(gen, 0, MTI_TASK_QUEUED);
    mti_atomic_u64_owner_add(&ctx->submitted, 1);
    if (!t->cold || !t->cold->order) {
        mti_atomic_u32_store_relaxed(&t->deps, 1);
        // release: publishes the record to the timers
        mti_atomic_u64_store_release(&t->claim, queued);
        if (t->cold && t->cold->record) mti_recover_arm(ctx, t);
        if (s->is_create) {
            mti_actor_create_ready(ctx, s->actor, t);
        } else if (t->flags & MTI_RECORD_BAND) {
            mti_actor_put_banded(ctx, s->actor, t);
        } else {
            mti_actor_put(ctx, s->actor, t);
        }
        return;
    }
    uint32_t guard = (uint32_t)t->link_count + 3;
    mti_atomic_u32_store_relaxed(&t->deps, guard);
    mti_atomic_u64_store_release(&t->claim, queued);
    if (t->cold->record) mti_recover_arm(ctx, t);
    bool lives = mti_actor_enqueue(t);
    mti_object_t *failed = NULL;
    uint32_t argument = 0;
    uint32_t closed = submit_link(s, &failed, &argument);
    publish_linked(ctx, t, gen, guard, closed, failed, argument);
    // Whoever killed the actor did not see this call.
    if (!lives) mti_task_fail_now(ctx, t, gen, mti_error_bare(MANTA_ERR_ACTOR_DIED));
}

// The same for a task with rules: its deadline may pass at any time from here on, so a dependency of ours
// keeps it until all is said.
static void submit_publish_ruled(submit_t *s)
{
    mti_record_t *t = s->t;
    mti_ctx_t *ctx = s->ctx;
    uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    mti_atomic_u64_owner_add(&ctx->submitted, 1);
    uint32_t gate = t->flags & MTI_RECORD_GATED ? 1 : 0;
    mti_atomic_u32_store_relaxed(&t->deps, (uint32_t)t->link_count + 1 + gate);
    // release: publishes the record to the timers
    mti_atomic_u64_store_release(&t->claim, mti_claim_make(gen, 0, MTI_TASK_QUEUED));
    mti_recover_arm(ctx, t);
    mti_object_t *failed = NULL;
    uint32_t argument = 0;
    uint32_t closed = t->link_count ? submit_link(s, &failed, &argument) : 0;
    if (failed) mti_publish_failed(ctx, t, gen, failed, argument);
    if (closed) (void)mti_atomic_u32_fetch_sub_acq_rel(&t->deps, closed);
    mti_record_dep_done(ctx, t, NULL);
}

bool mti_task_resubmit(mti_ctx_t *ctx, mti_record_t *t, bool to_cpu)
{
    submit_t s = {.ctx = ctx, .t = t};
    uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    uint32_t gate = t->flags & MTI_RECORD_GATED ? 1 : 0;
    uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
    if (claim & MTI_CLAIM_CANCEL) return false;
    if (gate) mti_admit_end(ctx, t->cold); // it asks anew
    if (to_cpu) {
        mti_lanes_unreserve(mti_lanes_peek(ctx->rt));
        uint32_t flags = mti_record_flags(t) & ~(uint32_t)MTI_RECORD_LANE;
        if (t->cold->cores) flags |= MTI_RECORD_WIDE;
        mti_record_set_flags(t, flags);
    }
    mti_atomic_u32_store_relaxed(&t->deps, (uint32_t)t->link_count + 1 + gate);
    uint64_t queued = mti_claim_make(gen, 0, MTI_TASK_QUEUED);
    // release: publishes the record to whoever claims or cancels it next
    while (!mti_atomic_u64_cas_acq_rel(&t->claim, &claim, queued)) {
        if (!(claim & MTI_CLAIM_CANCEL)) continue;
        mti_atomic_u32_store_relaxed(&t->deps, 0);
        return false;
    }
    mti_object_t *failed = NULL;
    uint32_t argument = 0;
    uint32_t closed = t->link_count ? submit_link(&s, &failed, &argument) : 0;
    if (failed) mti_publish_failed(ctx, t, gen, failed, argument);
    if (closed) (void)mti_atomic_u32_fetch_sub_acq_rel(&t->deps, closed);
    mti_record_dep_done(ctx, t, NULL);
    return true;
}

// From here on the task can't fail to be: it is queued, or its arguments will queue it.
static void submit_publish(submit_t *s)
{
    if (s->actor) {
        submit_publish_method(s);
        return;
    }
    if (MTI_UNLIKELY(s->t->cold && s->t->cold->record)) {
        submit_publish_ruled(s);
        return;
    }
    mti_record_t *t = s->t;
    mti_ctx_t *ctx = s->ctx;
    uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    mti_atomic_u64_owner_add(&ctx->submitted, 1);
    if (MTI_LIKELY(t->link_count == 0)) {
        mti_atomic_u32_store_relaxed(&t->deps, 0);
        mti_ready_t ready = mti_ready_of(t);
        // release: publishes the record to who sweeps through all of them (cancel.c), and may cancel it
        mti_atomic_u64_store_release(&t->claim, mti_claim_make(gen, 0, MTI_TASK_QUEUED));
        mti_record_ready(ctx, ready);
        return;
    }
    uint32_t guard = (uint32_t)t->link_count + 1;
    mti_atomic_u32_store_relaxed(&t->deps, guard);
    mti_atomic_u64_store_release(&t->claim, mti_claim_make(gen, 0, MTI_TASK_QUEUED)); // as above
    mti_object_t *failed = NULL;
    uint32_t argument = 0;
    uint32_t closed = submit_link(s, &failed, &argument);
    publish_linked(ctx, t, gen, guard, closed, failed, argument);
}

manta_status_t mti_submit_context(submit_t *s)
{
    s->thread = mti_thread_self();
    if (MTI_UNLIKELY(!s->thread)) return mti_thread_failure();
    if (s->handle.id) {
        s->ctx = mti_ctx_for(s->thread, &s->actor->object);
    } else if (MTI_UNLIKELY(s->options && s->options->runtime.id)) {
        s->ctx = mti_ctx_slow(s->thread, s->options->runtime);
    } else {
        s->ctx = mti_ctx_current(s->thread);
    }
    if (MTI_UNLIKELY(!s->ctx)) return s->thread->status;
    uint32_t state = mti_atomic_u32_load_acquire(&s->ctx->rt->state);
    if (MTI_LIKELY(state == MTI_RUNTIME_RUNNING)) return MANTA_OK;
    bool inside =
        s->ctx->sched.thread || (s->thread->task && s->thread->task->ctx->rt == s->ctx->rt);
    if (state == MTI_RUNTIME_CLOSED && inside) return MANTA_OK;
    return mti_fail(MANTA_ERR_SHUTDOWN, "task %s: runtime '%s' is closed", s->def->name,
                    s->ctx->rt->name);
}

static manta_status_t submit_check(submit_t *s, const void *args, size_t args_bytes,
                                   size_t result_count)
{
    s->plan = __atomic_load_n(&s->def->plan, __ATOMIC_RELAXED);
    if (MTI_UNLIKELY(!(s->plan & PLAN_VALID))) {
        manta_status_t status = mti_plan_make(s->def, &s->plan);
        if (status != MANTA_OK) return status;
    }
    uint32_t objects = plan_objects(s->plan);
    if (MTI_UNLIKELY(args_bytes != s->def->args_bytes || (args_bytes && !args) ||
                     (result_count != 0 && result_count != objects))) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "task %s: called with %zu bytes of arguments and room for %zu results, "
                        "defined with %u and %u",
                        s->def->name, args_bytes, result_count, s->def->args_bytes, objects);
    }
    if (MTI_UNLIKELY((s->def->owner != NULL) != (s->actor || s->handle.id))) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        s->def->owner ? "%s is a method, and needs an actor"
                                      : "task %s is no method of an actor",
                        s->def->name);
    }
    return MANTA_OK;
}

static manta_status_t submit(submit_t *s, const void *args, size_t args_bytes,
                             manta_ref_t *out_results, size_t result_count)
{
    manta_status_t status = submit_check(s, args, args_bytes, result_count);
    if (MTI_UNLIKELY(status != MANTA_OK)) return status;
    if (s->handle.id && !s->actor) {
        mti_thread_t *thread = mti_thread_self();
        if (!thread) return mti_thread_failure();
        status = mti_actor_begin_call(thread, s->handle, s->def, &s->actor);
        if (status != MANTA_OK) return status;
    }
    status = mti_submit_context(s);
    bool counted = false;
    if (status == MANTA_OK && MTI_UNLIKELY(s->ctx->rt->max_in_flight != 0)) {
        status = mti_submit_flight(s, &counted);
    }
    if (MTI_UNLIKELY(status != MANTA_OK)) {
        if (s->actor && s->ctx) mti_actor_calls_gone(s->ctx, s->actor, 1);
        return status;
    }
    mti_ctx_t *ctx = s->ctx;
    mti_record_t *t = NULL;
    if (MTI_LIKELY(mti_scope_reserve(s->thread, result_count))) {
        t = s->t = (mti_record_t *)(void *)mti_table_alloc(&ctx->table);
    }
    if (MTI_UNLIKELY(!t)) {
        if (s->actor) mti_actor_calls_gone(ctx, s->actor, 1);
        if (counted) mti_flight_release(ctx->rt);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s: no memory for a task", s->def->name);
    }
    record_init(ctx, t, s->def, plan_objects(s->plan), result_count != 0);
    record_set_parent(s->is_create ? NULL : s->thread->task, ctx, t);
    if (s->actor) {
        mti_record_set_flags(t, MTI_RECORD_METHOD | (s->is_create ? MTI_RECORD_CREATE : 0));
        *mti_method_of(t) =
            (mti_method_t){.actor = s->actor->object.slot,
                           .retries = (int16_t)(s->is_create ? 0 : s->actor->task_retries)};
    }
    if (s->actor && s->options && (status = mti_submit_method_options(s)) != MANTA_OK) goto discard;
    if (MTI_UNLIKELY(s->options != NULL) && (status = mti_submit_options(s)) != MANTA_OK)
        goto discard;
    if (MTI_UNLIKELY(s->where != MANTA_ANY || s->def->cuda || !s->def->cpu) &&
        (status = mti_submit_where(s)) != MANTA_OK) {
        goto discard;
    }
    if (MTI_UNLIKELY(s->bulk != NULL) && (status = submit_bulk(s, args_bytes)) != MANTA_OK)
        goto discard;
    status = submit_make_room(s, args, args_bytes);
    if (MTI_UNLIKELY(status != MANTA_OK)) goto discard;
    submit_copy_args(s, args, args_bytes);
    if (t->link_count) {
        status = submit_acquire_args(s);
        if (MTI_UNLIKELY(status != MANTA_OK || s->error_arg != MANTA_OK)) goto release;
    }
    if (s->actor) {
        status = mti_actor_order(s->thread, ctx, t, s->has_open);
        if (MTI_UNLIKELY(status != MANTA_OK)) goto release;
    }
    status = submit_make_results(s, result_count != 0);
    if (MTI_UNLIKELY(status != MANTA_OK)) goto release;
    if (s->plan & PLAN_INOUTS) submit_inout_dtypes(s);
    if (result_count) submit_give_refs(s, out_results);
    submit_publish(s);
    return MANTA_OK;

release:
    submit_release_args(s, s->acquired);
discard:
    record_discard(ctx, t);
    if (s->actor) mti_actor_calls_gone(ctx, s->actor, 1);
    if (counted) mti_flight_release(ctx->rt);
    return status;
}

manta_status_t mti_task_submit_bulk(manta_task_def_t *def, const manta_task_options_t *options,
                                    const void *args, size_t args_bytes,
                                    const mti_bulk_request_t *request, manta_ref_t *out_ref)
{
    submit_t s = {.def = def, .options = options, .bulk = request};
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    mti_thread_enter(thread);
    manta_status_t status = submit(&s, args, args_bytes, out_ref, 1);
    mti_thread_leave(thread);
    return status == MANTA_OK ? s.error_arg : status;
}

manta_status_t mti_submit_general(submit_t s, const void *args, size_t args_bytes,
                                  manta_ref_t *out_results, size_t result_count, bool always_take)
{
    const manta_task_def_t *def = s.def;
    manta_status_t status = MANTA_OK;
    mti_thread_t *thread = mti_thread_self();
    if (MTI_LIKELY(thread != NULL)) mti_thread_enter(thread);
    status = submit(&s, args, args_bytes, out_results, result_count);
    if (MTI_LIKELY(thread != NULL)) mti_thread_leave(thread);
    if (MTI_LIKELY(status == MANTA_OK && s.error_arg == MANTA_OK)) return MANTA_OK;
    manta_status_t code = status != MANTA_OK ? status : s.error_arg;
    // Of a constructor nobody holds a result that could carry it.
    if (s.is_create && status == MANTA_OK) {
        return mti_fail(code, "actor %s: an argument of its constructor is an error ref (%s)",
                        def->name, manta_status_name(code));
    }
    // An argument that is an error ref: the results carry its code, and the call did what it should.
    if (status == MANTA_OK || always_take) {
        if (args_bytes == def->args_bytes) take_anyway(def, args);
        for (size_t i = 0; i < result_count; i++)
            out_results[i] = mti_ref_error(code);
    }
    return status;
}
