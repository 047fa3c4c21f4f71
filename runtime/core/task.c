// Tasks: submit, run, complete, cancel.
#include "core/actor.h"
#include "core/core.h"

#include <manta/detail/types.h>

#include <errno.h>
#include <string.h>

// ---- the plan of a definition -------------------------------------------------------------------

// What submit wants to know about a definition, worked out on first use and kept in |def->plan|.
enum {
    PLAN_VALID = 1u << 0,
    PLAN_LISTS = 1u << 1,
    PLAN_INOUTS = 1u << 2,
    // A CPU body, a few refs at most, all IN, one object, everything fits the record: the short ways
    // through submit and run below.
    PLAN_PLAIN = 1u << 3,
    PLAN_REFS_SHIFT = 8,     // 16 bits: IN and INOUT parameters
    PLAN_BUFFERS_SHIFT = 24, // 16 bits: parameters with a buffer
    PLAN_RESULTS_SHIFT = 40, // 16 bits: OUT and INOUT parameters
    PLAN_FIRST_SHIFT = 56,   // 8 bits: 1 + index of the only result of a plain task, 0: none
};
enum { PLAIN_REFS = 4, PLAIN_BUFFERS = PLAIN_REFS + 1 };
static uint32_t plan_refs(uint64_t plan)
{
    return (uint32_t)(plan >> PLAN_REFS_SHIFT) & 0xffff;
}
static uint32_t plan_buffers(uint64_t plan)
{
    return (uint32_t)(plan >> PLAN_BUFFERS_SHIFT) & 0xffff;
}
static uint32_t plan_results(uint64_t plan)
{
    return (uint32_t)(plan >> PLAN_RESULTS_SHIFT) & 0xffff;
}
// Objects that a call closes: the results, or the completion.
static uint32_t plan_objects(uint64_t plan)
{
    uint32_t results = plan_results(plan);
    return results ? results : 1;
}

static uint32_t param_image_bytes(const manta_param_t *param)
{
    switch (param->kind) {
    case MANTA_PARAM_VAL:
    case MANTA_PARAM_LOCAL:
        return param->size_bytes;
    case MANTA_PARAM_IN:
    case MANTA_PARAM_INOUT:
        return sizeof(manta_ref_t);
    case MANTA_PARAM_IN_LIST:
        return sizeof(manta_ref_list_t);
    default:
        return 0;
    }
}

static manta_status_t plan_make(manta_task_def_t *def, uint64_t *out_plan)
{
    uint64_t plan = PLAN_VALID;
    if (!def->name) return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "task definition without a name");
    if (def->param_count == MTI_PARAMS_DIFFER) {
        return mti_fail(MANTA_ERR_TYPE_MISMATCH,
                        "task %s: its bodies were compiled with different parameter lists; they "
                        "differ from parameter %u on",
                        def->name, def->args_bytes + 1);
    }
    if (def->args_bytes > UINT16_MAX || def->param_count > MTI_MAX_PARAMS ||
        (def->param_count && !def->params)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "task %s: %u parameters, an argument image of %u bytes (at most %u)",
                        def->name, def->param_count, def->args_bytes, UINT16_MAX);
    }
    if (!def->cpu && !def->cuda) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "task %s has no body: declared, but its file is not linked in", def->name);
    }
    for (uint32_t i = 0; i < def->param_count; i++) {
        const manta_param_t *param = &def->params[i];
        uint32_t bytes = param_image_bytes(param);
        bool in_range =
            param->offset <= def->args_bytes && bytes <= def->args_bytes - param->offset;
        if (param->kind < MANTA_PARAM_VAL || param->kind > MANTA_PARAM_LOCAL || !in_range ||
            (bytes && param->kind != MANTA_PARAM_VAL && param->kind != MANTA_PARAM_LOCAL &&
             param->offset % 8)) {
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                            "task %s, parameter %u (%s): bad kind %d or offset %u", def->name, i,
                            param->name ? param->name : "", (int)param->kind, param->offset);
        }
        bool is_ref = param->kind == MANTA_PARAM_IN || param->kind == MANTA_PARAM_INOUT;
        bool is_result = param->kind == MANTA_PARAM_OUT || param->kind == MANTA_PARAM_INOUT;
        if (is_ref) plan += (uint64_t)1 << PLAN_REFS_SHIFT;
        if (is_result) plan += (uint64_t)1 << PLAN_RESULTS_SHIFT;
        if (is_ref || is_result || param->kind == MANTA_PARAM_IN_LIST) {
            plan += (uint64_t)1 << PLAN_BUFFERS_SHIFT;
        }
        if (param->kind == MANTA_PARAM_INOUT) plan |= PLAN_INOUTS;
        if (param->kind == MANTA_PARAM_IN_LIST) plan |= PLAN_LISTS;
        if (is_result && i < 255 && plan_results(plan) == 1) {
            plan |= (uint64_t)(i + 1) << PLAN_FIRST_SHIFT;
        }
    }
    bool has_first = plan_results(plan) == 0 || plan >> PLAN_FIRST_SHIFT != 0;
    size_t room = mti_size_align(def->args_bytes, 8) + 8 * (size_t)plan_refs(plan);
    size_t inline_bytes = def->owner ? MTI_METHOD_INLINE : MTI_RECORD_INLINE;
    if (def->cpu && !def->cuda && plan_refs(plan) <= PLAIN_REFS &&
        !(plan & (PLAN_LISTS | PLAN_INOUTS)) && plan_results(plan) <= 1 && has_first &&
        room <= inline_bytes) {
        plan |= PLAN_PLAIN;
    }
    if (plan_results(plan) > MTI_MAX_RESULTS) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "task %s: %u results (at most %d)", def->name,
                        plan_results(plan), MTI_MAX_RESULTS);
    }
    // relaxed: every thread works out the same value
    __atomic_store_n(&def->plan, plan, __ATOMIC_RELAXED);
    *out_plan = plan;
    return MANTA_OK;
}

// ---- arguments -----------------------------------------------------------------------------------

bool mti_arg_next(mti_arg_iter_t *iter, manta_ref_t *out_ref)
{
    const manta_task_def_t *def = iter->t->def;
    for (; iter->param < def->param_count; iter->param++, iter->item = 0) {
        const manta_param_t *param = &def->params[iter->param];
        const unsigned char *at = iter->t->args + param->offset;
        if (param->kind == MANTA_PARAM_IN || param->kind == MANTA_PARAM_INOUT) {
            memcpy(out_ref, at, sizeof *out_ref);
            iter->param++;
            iter->item = 0;
            return true;
        }
        if (param->kind == MANTA_PARAM_IN_LIST) {
            const manta_ref_list_t *list = (const manta_ref_list_t *)(const void *)at;
            if (iter->item < list->count) {
                *out_ref = list->refs[iter->item++];
                return true;
            }
        }
    }
    return false;
}

static const char *dtype_name(manta_dtype_t dtype)
{
    static const char *const names[] = {"untyped", "opaque", "bool", "i8",  "u8",  "i16",
                                        "u16",     "i32",    "u32",  "i64", "u64", "f16",
                                        "bf16",    "f32",    "f64",  "c64", "c128"};
    uint32_t code = MANTA_DTYPE_CODE(dtype);
    return code < sizeof names / sizeof names[0] ? names[code] : "unknown";
}

static manta_status_t fail_type(const char *task, const manta_param_t *param,
                                const mti_object_t *object)
{
    return mti_fail(MANTA_ERR_TYPE_MISMATCH,
                    "task %s, argument %s: wants elements of %s (%s, %u bytes), got %s of %u bytes",
                    task, param->name, param->type_name ? param->type_name : "its type",
                    dtype_name(param->dtype), param->size_bytes, dtype_name(object->dtype),
                    (unsigned)MANTA_DTYPE_SIZE(object->dtype));
}

// Size and alignment of a closed object's bytes against what the parameter wants.
manta_status_t mti_arg_check_bytes(const char *task, const manta_param_t *param, const void *data,
                                   uint64_t size)
{
    uint32_t each = param->size_bytes;
    bool power_of_two = (each & (each - 1)) == 0; // spares the division
    if (each > 1 && (power_of_two ? (size & (each - 1)) != 0 : size % each != 0)) {
        return mti_fail(
            MANTA_ERR_TYPE_MISMATCH,
            "task %s, argument %s: %llu bytes are no whole number of %s (%u bytes each)", task,
            param->name, (unsigned long long)size, param->type_name ? param->type_name : "elements",
            param->size_bytes);
    }
    if (param->align > 1 && ((uintptr_t)data & (param->align - 1)) != 0) {
        return mti_fail(MANTA_ERR_TYPE_MISMATCH,
                        "task %s, argument %s: address %p is not aligned to %u bytes", task,
                        param->name, data, param->align);
    }
    return MANTA_OK;
}

uint32_t mti_task_buffer_count(const manta_task_def_t *def)
{
    return plan_buffers(def->plan);
}

bool mti_task_has_results(const manta_task_def_t *def)
{
    return plan_results(def->plan) != 0;
}

bool mti_task_has_outs(const manta_task_def_t *def)
{
    for (uint32_t i = 0; i < def->param_count; i++)
        if (def->params[i].kind == MANTA_PARAM_OUT) return true;
    return false;
}

// ---- submit ----------------------------------------------------------------------------------------

typedef struct submit {
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    manta_task_def_t *def;
    uint64_t plan;
    const manta_task_options_t *options;
    mti_record_t *t;
    uint32_t acquired;              // arguments that were acquired so far
    manta_status_t error_arg;       // code of an error ref among the arguments
    const mti_bulk_request_t *bulk; // NULL: one call
    manta_where_t where;
    manta_actor_t handle; // of a method
    mti_actor_t *actor;   // of a method, with a count; of a constructor
    bool is_create;
    bool has_open; // an argument was not ready, or had failed
} submit_t;

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

// The cold block, zeroed, for what the options ask for.
static mti_cold_t *submit_cold(submit_t *s)
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
    mti_bulk_info_t *info = submit_cold(s) ? mti_heap_alloc(heap, total) : NULL;
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
    if (MTI_UNLIKELY(mti_flags_are_lane(t->flags))) mti_lanes_unreserve(mti_lanes_peek(ctx->rt));
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

// Whether failed arguments of parameter |index| don't fail |t|.
static bool accepts_param(const mti_record_t *t, uint32_t index)
{
    return t->flags & MTI_RECORD_ACCEPTS && index < 64 && t->cold->accept_failed >> index & 1 &&
           t->def->params[index].kind != MANTA_PARAM_INOUT;
}

bool mti_record_accepts(const mti_record_t *t, uint32_t k)
{
    const manta_task_def_t *def = t->def;
    for (uint32_t i = 0; i < def->param_count; i++) {
        manta_param_kind_t kind = def->params[i].kind;
        size_t n = kind == MANTA_PARAM_IN || kind == MANTA_PARAM_INOUT;
        if (kind == MANTA_PARAM_IN_LIST) {
            n = ((const manta_ref_list_t *)(const void *)(t->args + def->params[i].offset))->count;
        }
        if (k < n) return accepts_param(t, i);
        k -= (uint32_t)n;
    }
    return false;
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
        if (accepts_param(s->t, (uint32_t)(param - s->def->params))) {
            return submit_accept_error(s, param, in_ref);
        }
        if (s->error_arg == MANTA_OK) s->error_arg = mti_ref_error_code(ref);
        s->acquired++;
        return MANTA_OK;
    }
    uint64_t add = MTI_COUNT_INTERNAL;
    if (param->kind == MANTA_PARAM_INOUT) add -= MTI_COUNT_USER;
    // A restarted actor's arguments are kept by the actor alone.
    bool is_kept =
        s->is_create && mti_atomic_u32_load_acquire(&s->actor->life) == MTI_LIFE_RESTARTING;
    mti_object_t *object =
        MTI_UNLIKELY(is_kept) ? mti_ref_acquire_weak(ref.id, add) : mti_ref_acquire(ref, add);
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
        return fail_type(s->def->name, param, object);
    }
    uint64_t head;
    if (mti_object_is_closed(object, &head) && !(head & MTI_HEAD_FAILED)) {
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

// |x| in units, rounded up; small and not negative.
static uint32_t round_up(double x)
{
    uint32_t whole = (uint32_t)x;
    return (double)whole < x ? whole + 1 : whole;
}

// What the options ask for, checked against what there is.
static manta_status_t check_time(const manta_task_options_t *o, const char *name)
{
    if (o->deadline_ns < 0 || o->run_timeout_ns < 0 || o->backoff_ns < 0 || o->backoff_max_ns < 0) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "task %s: a time is negative (deadline_ns %lld, run_timeout_ns %lld, "
                        "backoff_ns %lld, backoff_max_ns %lld)",
                        name, (long long)o->deadline_ns, (long long)o->run_timeout_ns,
                        (long long)o->backoff_ns, (long long)o->backoff_max_ns);
    }
    // Written so that not-a-number fails, too.
    if (o->max_retries < 0 || !(o->backoff_factor >= 0.0) ||
        o->retry_code_count > MTI_RETRY_CODES || (o->retry_code_count && !o->retry_codes)) {
        return mti_fail(
            MANTA_ERR_INVALID_ARGUMENT,
            "task %s: max_retries %d, backoff_factor %g, %zu retry_codes (at most %d)%s", name,
            (int)o->max_retries, o->backoff_factor, o->retry_code_count, MTI_RETRY_CODES,
            o->retry_codes ? "" : " at NULL");
    }
    return MANTA_OK;
}

static manta_status_t submit_options(submit_t *s)
{
    manta_task_options_t full = {0};
    const manta_task_options_t *o = &full;
    mti_record_t *t = s->t;
    if (s->options->struct_size < sizeof(size_t) || s->options->struct_size % sizeof(void *) != 0) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "task %s: options with struct_size %zu: use MANTA_OPTIONS()", s->def->name,
                        s->options->struct_size);
    }
    size_t known = s->options->struct_size < sizeof full ? s->options->struct_size : sizeof full;
    memcpy(&full, s->options, known);
    const char *name = o->name ? o->name : s->def->name;
    int workers = mti_sched_worker_count(s->ctx->rt->sched);
    if (workers == 0) workers = 1;
    // Written so that not-a-number fails, too.
    bool gpus_ok = o->gpus >= 0.0 || o->gpus == MANTA_NONE;
    bool cpus_ok = o->cpus >= 0.0 || o->cpus == MANTA_NONE;
    bool where_ok = o->where >= MANTA_ANY && (o->where <= MANTA_GPU || o->where >= manta_gpu(0));
    if (!where_ok || !gpus_ok || !cpus_ok) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "task %s: where %d, cpus %g, gpus %g", name,
                        (int)o->where, o->cpus, o->gpus);
    }
    if (o->gpus > 0.0) {
        mti_lanes_t *lanes = NULL;
        if (mti_lanes_start(s->ctx->rt, &lanes) != MANTA_OK || mti_lanes_count(lanes) == 0) {
            return mti_fail(MANTA_ERR_INFEASIBLE, "task %s asks for a GPU; this machine offers 0",
                            name);
        }
        return mti_fail(MANTA_ERR_NOT_SUPPORTED,
                        "task %s asks for %g of a GPU: shares are not implemented yet", name,
                        o->gpus);
    }
    s->where = o->where;
    if (o->cpus > workers) {
        return mti_fail(MANTA_ERR_INFEASIBLE, "task %s asks for %g CPUs; runtime '%s' has %d", name,
                        o->cpus, s->ctx->rt->name, workers);
    }
    bool wide = o->cpus > 1.0, elastic = o->cpus == MANTA_NONE || (o->cpus > 0.0 && o->cpus < 1.0);
    bool timed = mti_recover_wanted(o);
    if (o->priority < MANTA_PRIORITY_LOW || o->priority > MANTA_PRIORITY_URGENT) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "task %s: priority %d", name, (int)o->priority);
    }
    if (o->priority != MANTA_PRIORITY_NORMAL && !wide && !elastic) {
        static const uint8_t bands[] = {MTI_BAND_LOW, 0, MTI_BAND_HIGH, MTI_BAND_URGENT};
        uint32_t band = bands[o->priority - MANTA_PRIORITY_LOW];
        mti_record_set_flags(
            t, (uint16_t)(t->flags | MTI_RECORD_BAND | band << MTI_RECORD_BAND_SHIFT));
    }
    bool wants = o->host_bytes != 0;
    for (uint32_t i = 0; i < MTI_TASK_RESOURCES; i++)
        wants |= o->resources[i].name != NULL;
    if (!wide && !elastic && !o->name && !timed && !wants && !o->accept_failed) return MANTA_OK;
    manta_status_t status = check_time(o, name);
    if (status != MANTA_OK) return status;
    if (!submit_cold(s))
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s: no memory for options", name);
    t->cold->name = o->name;
    if (timed || wants) t->cold->record = t;
    t->cold->accept_failed = o->accept_failed;
    if (o->accept_failed) mti_record_set_flags(t, t->flags | MTI_RECORD_ACCEPTS);
    if (wants) {
        status = mti_admit_setup(s->ctx, t->cold, name, o);
        if (status != MANTA_OK) return status;
        if (t->cold->want_count) mti_record_set_flags(t, t->flags | MTI_RECORD_GATED);
    }
    if (timed && (status = mti_recover_setup(s->ctx, t, o)) != MANTA_OK) return status;
    if (wide && !s->ctx->rt->is_serial) {
        mti_record_set_flags(t, t->flags | MTI_RECORD_WIDE);
        t->cold->cores = (int)round_up(o->cpus);
    } else if (elastic && !s->ctx->rt->is_serial) {
        mti_record_set_flags(t, t->flags | MTI_RECORD_ELASTIC);
        t->cold->milli = o->cpus == MANTA_NONE ? 0 : round_up(o->cpus * 1000.0);
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

// The task that submits, if any, becomes the parent. One that was told to stop passes that on: its
// children inherit the epoch in which its ancestors were known to go on.
static inline void record_set_parent(const manta_task_t *task, mti_ctx_t *ctx, mti_record_t *t)
{
    uint64_t id = 0;
    uint32_t epoch = mti_atomic_u32_load_relaxed(&ctx->rt->clean_epoch);
    if (task && MTI_LIKELY(task->ctx->rt == ctx->rt)) {
        mti_record_t *parent = task->record;
        id = mti_ref_of(&parent->result).id;
        if (MTI_UNLIKELY(mti_cancel_is_stale(ctx->rt, parent))) (void)mti_cancel_look(ctx, parent);
        epoch = mti_atomic_u32_load_relaxed(&parent->cancel_epoch);
        mti_record_set_flags(parent, mti_record_flags(parent) | MTI_RECORD_PARENT);
    }
    mti_atomic_u64_store_relaxed(&t->parent, id);
    mti_atomic_u32_store_relaxed(&t->cancel_epoch, epoch);
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
              accepts_param(t, iter.item ? iter.param : iter.param - 1))) {
            *out_failed = object;
            *out_argument = k;
        }
    }
    return closed;
}

// The argument |failed| has failed before |t| was whole: so does |t|.
static void publish_failed(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, mti_object_t *failed,
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

// The record is linked to its open arguments; |closed| were closed already, the first |failed| one, if
// any, fails it. |guard| is what deps was set to.
static inline void publish_linked(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, uint32_t guard,
                                  uint32_t closed, mti_object_t *failed, uint32_t argument)
{
    if (MTI_UNLIKELY(failed != NULL)) publish_failed(ctx, t, gen, failed, argument);
    if (MTI_UNLIKELY(t->flags & MTI_RECORD_METHOD)) {
        if (mti_atomic_u32_fetch_sub_acq_rel(&t->deps, closed + 1) == closed + 3) {
            mti_actor_call_ready(ctx, t);
        }
        return;
    }
    mti_ready_t ready = mti_ready_of(t);
    if (closed + 1 == guard) {
        // Nobody else knows the record: no locked operation.
        mti_atomic_u32_store_relaxed(&t->deps, 0);
    } else if (mti_atomic_u32_fetch_sub_acq_rel(&t->deps, closed + 1) != closed + 1) {
        return;
    }
    uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
    if (claim == mti_claim_make(gen, 0, MTI_TASK_QUEUED)) {
        mti_record_ready(ctx, ready);
    } else if (claim == mti_claim_make(gen, 0, MTI_TASK_CANCELLED)) {
        mti_task_finish_cancelled(ctx, t, gen);
    }
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
        mti_actor_put(ctx, s->actor, t);
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
    if (failed) publish_failed(ctx, t, gen, failed, argument);
    if (closed) (void)mti_atomic_u32_fetch_sub_acq_rel(&t->deps, closed);
    mti_record_dep_done(ctx, t, NULL);
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

static manta_status_t submit_context(submit_t *s)
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
        manta_status_t status = plan_make(s->def, &s->plan);
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

// Whether the call goes to a device, and whether one can do it.
static manta_status_t submit_where(submit_t *s)
{
    const manta_task_def_t *def = s->def;
    mti_record_t *t = s->t;
    if (s->where == MANTA_CPU || (s->where == MANTA_ANY && (!def->cuda || s->bulk))) {
        if (def->cpu) return MANTA_OK;
        return mti_fail(MANTA_ERR_INFEASIBLE,
                        s->bulk ? "task %s has no CPU body for a range" : "task %s has no CPU body",
                        def->name);
    }
    mti_lanes_t *lanes;
    manta_status_t status = mti_lanes_start(s->ctx->rt, &lanes);
    if (status != MANTA_OK) return mti_fail_note(status, "task %s", def->name);
    uint32_t count = mti_lanes_count(lanes), first = 0, end = count;
    if (s->where >= manta_gpu(0)) {
        first = (uint32_t)(s->where - manta_gpu(0));
        end = first + 1;
    }
    if (s->where == MANTA_ANY && count == 0 && def->cpu) return MANTA_OK;
    if (first >= count && s->where >= manta_gpu(0)) {
        return mti_fail(MANTA_ERR_INFEASIBLE, "task %s asks for GPU %u; this machine offers %u",
                        def->name, (unsigned)first, (unsigned)count);
    }
    if (first >= count) {
        return mti_fail(MANTA_ERR_INFEASIBLE, "task %s asks for a GPU; this machine offers 0",
                        def->name);
    }
    if (s->bulk) {
        return mti_fail(MANTA_ERR_NOT_SUPPORTED, "task %s: ranges run on CPUs only", def->name);
    }
    bool able = def->cuda != NULL;
    for (uint32_t i = first; i < end && !able; i++)
        able = mti_device_can(mti_lanes_device(lanes, i), MTI_CAP_HOST_FN);
    if (!able) {
        return mti_fail(MANTA_ERR_INFEASIBLE,
                        "task %s has no CUDA body, and only a virtual GPU can run its CPU body",
                        def->name);
    }
    if (!submit_cold(s)) {
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s: no memory for options", def->name);
    }
    if (!mti_lanes_reserve(lanes)) {
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s: no memory to queue it", def->name);
    }
    t->cold->where = s->where == MANTA_ANY ? MANTA_GPU : s->where;
    mti_record_set_flags(t, t->flags | MTI_RECORD_LANE);
    return MANTA_OK;
}

// ---- the bound on tasks in flight -------------------------------------------------------------------

void mti_flight_wake(mti_runtime_t *rt)
{
    (void)mti_atomic_u32_fetch_add_acq_rel(&rt->flight_word, 1);
    mti_notify_wake(&rt->flight_word, INT32_MAX);
}

void mti_flight_release(mti_runtime_t *rt)
{
    // seq_cst: either we see who waits, or that one sees the room (flight_wait)
    (void)mti_atomic_u64_fetch_add_seq_cst(&rt->in_flight, (uint64_t)0 - 1);
    if (mti_atomic_u32_load_seq_cst(&rt->flight_waiters)) mti_flight_wake(rt);
}

static bool flight_try(mti_runtime_t *rt)
{
    uint64_t n = mti_atomic_u64_load_seq_cst(&rt->in_flight);
    do {
        if (n >= rt->max_in_flight) return false;
    } while (!mti_atomic_u64_cas_seq_cst(&rt->in_flight, &n, n + 1));
    return true;
}

// Sleeps, or in a serial runtime runs something, until there may be room. Not entered.
static manta_status_t flight_sleep(mti_ctx_t *ctx)
{
    mti_runtime_t *rt = ctx->rt;
    mti_timer_poll(ctx);
    if (rt->is_serial && mti_sched_step(&ctx->sched)) {
        mti_drain_check(ctx);
        return MANTA_OK;
    }
    (void)mti_atomic_u32_fetch_add_acq_rel(&rt->flight_waiters, 1);
    uint32_t word = mti_atomic_u32_load_acquire(&rt->flight_word);
    (void)mti_sched_block_begin(&ctx->sched);
    mti_fence_heavy(); // completions and pushes tell us from here on; what came before is seen now
    bool room = mti_atomic_u64_load_seq_cst(&rt->in_flight) < rt->max_in_flight;
    bool open = mti_atomic_u32_load_acquire(&rt->state) == MTI_RUNTIME_RUNNING;
    bool work = rt->is_serial && mti_sched_has_work(rt->sched);
    manta_status_t status = MANTA_OK;
    if (rt->is_serial && !room && !work && mti_runtime_waiting(rt) == 1 &&
        mti_timer_next(rt) == INT64_MAX) {
        status = mti_fail(MANTA_ERR_DEADLOCK,
                          "max_in_flight is reached, and nothing can run in serial runtime '%s'",
                          rt->name);
    } else if (!room && open && !work) {
        (void)mti_notify_wait(&rt->flight_word, word, mti_timer_bound(ctx, INT64_MAX));
    }
    mti_sched_block_end(&ctx->sched);
    (void)mti_atomic_u32_fetch_sub_acq_rel(&rt->flight_waiters, 1);
    return status;
}

// Takes a place for one more task; |*out_taken| says whether it counts.
static manta_status_t submit_flight(submit_t *s, bool *out_taken)
{
    mti_runtime_t *rt = s->ctx->rt;
    *out_taken = s->def != &mti_piece_def;
    if (!*out_taken) return MANTA_OK;
    if (s->ctx->sched.thread || s->thread->task || s->thread->in_callback) {
        (void)mti_atomic_u64_fetch_add_seq_cst(&rt->in_flight, 1);
        return MANTA_OK;
    }
    bool no_wait = s->options &&
                   s->options->struct_size > offsetof(manta_task_options_t, no_wait) &&
                   s->options->no_wait;
    manta_status_t status = MANTA_OK;
    while (status == MANTA_OK && !flight_try(rt)) {
        if (no_wait) {
            status = mti_fail(MANTA_WOULD_BLOCK, "task %s: runtime '%s' has %llu tasks in flight",
                              s->def->name, rt->name, (unsigned long long)rt->max_in_flight);
            break;
        }
        mti_wait_enter(s->ctx); // keeps the runtime meanwhile
        mti_thread_leave(s->thread);
        status = flight_sleep(s->ctx);
        mti_thread_enter(s->thread);
        mti_wait_leave(s->ctx);
        if (status == MANTA_OK) status = submit_context(s);
    }
    *out_taken = status == MANTA_OK;
    return status;
}

// A method runs when and where its actor does; what a call can choose is its name, its times, and whether
// it accepts failed arguments.
static manta_status_t submit_method_options(const submit_t *s)
{
    const manta_task_options_t *o = s->options;
    bool wants = o->host_bytes != 0;
    for (uint32_t i = 0; i < MTI_TASK_RESOURCES; i++)
        wants |= o->resources[i].name != NULL;
    if (o->cpus == 0.0 && o->gpus == 0.0 && o->where <= MANTA_CPU && !wants &&
        o->priority == MANTA_PRIORITY_NORMAL && !o->max_retries) {
        return MANTA_OK;
    }
    return mti_fail(MANTA_ERR_NOT_SUPPORTED,
                    "%s: a method call can't ask for cpus, gpus, resources, a place, a priority or "
                    "retries of its own; its actor says where it runs and how often it is tried",
                    s->def->name);
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
    status = submit_context(s);
    bool counted = false;
    if (status == MANTA_OK && MTI_UNLIKELY(s->ctx->rt->max_in_flight != 0)) {
        status = submit_flight(s, &counted);
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
    if (s->actor && s->options && (status = submit_method_options(s)) != MANTA_OK) goto discard;
    if (MTI_UNLIKELY(s->options != NULL) && (status = submit_options(s)) != MANTA_OK) goto discard;
    if (MTI_UNLIKELY(s->where != MANTA_ANY || s->def->cuda || !s->def->cpu) &&
        (status = submit_where(s)) != MANTA_OK) {
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
        status = mti_actor_order(s->thread, ctx, t, s->is_create || s->has_open);
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

static __attribute__((noinline)) manta_status_t
submit_general(submit_t s, const void *args, size_t args_bytes, manta_ref_t *out_results,
               size_t result_count, bool always_take)
{
    const manta_task_def_t *def = s.def;
    manta_status_t status = MANTA_OK;
    mti_thread_t *thread = mti_thread_self();
    if (MTI_LIKELY(thread != NULL)) mti_thread_enter(thread);
    status = submit(&s, args, args_bytes, out_results, result_count);
    if (MTI_LIKELY(thread != NULL)) mti_thread_leave(thread);
    if (MTI_LIKELY(status == MANTA_OK && s.error_arg == MANTA_OK)) return MANTA_OK;
    manta_status_t code = status != MANTA_OK ? status : s.error_arg;
    // An argument that is an error ref: the results carry its code, and the call did what it should.
    if (status == MANTA_OK || always_take) {
        if (args_bytes == def->args_bytes) take_anyway(def, args);
        for (size_t i = 0; i < result_count; i++)
            out_results[i] = mti_ref_error(code);
    }
    return status;
}

// Copies an argument image of a plain task; those are short, and multiples of 8 mostly.
static inline void copy_image(unsigned char *to, const void *from, size_t bytes)
{
    if (MTI_LIKELY(bytes == 8)) {
        memcpy(to, from, 8);
    } else if (bytes == 16) {
        memcpy(to, from, 16);
    } else if (bytes) {
        memcpy(to, from, bytes);
    }
}

// Whether the bytes of a ready argument are what the parameter wants, where that is cheap to tell.
static inline bool bytes_fit(const manta_param_t *param, const void *data, uint64_t size)
{
    uint32_t each = param->size_bytes;
    return (each == size || (each & (each - 1)) == 0) && (size & (each - 1)) == 0 &&
           ((uintptr_t)data & (param->align - 1)) == 0;
}

// Acquires the refs of a plain call. On failure everything is given back; the long way says what was
// wrong.
static inline bool plain_acquire(mti_ctx_t *ctx, const manta_task_def_t *def, uint32_t refs,
                                 const void *args, mti_object_t **out_objects)
{
    uint32_t n = 0;
    for (const manta_param_t *param = def->params; n < refs; param++) {
        if (param->kind != MANTA_PARAM_IN) continue;
        manta_ref_t ref;
        memcpy(&ref, (const char *)args + param->offset, sizeof ref);
        mti_object_t *object = mti_ref_acquire(ref, MTI_COUNT_INTERNAL);
        if (MTI_UNLIKELY(!object)) break;
        out_objects[n++] = object;
        uint64_t head;
        bool fits = mti_object_runtime(object) == ctx->rt->index && object->dtype == param->dtype;
        if (fits && mti_object_is_closed(object, &head)) {
            fits = !(head & MTI_HEAD_FAILED) && mti_object_storage(object) != MTI_STORAGE_TIERED &&
                   bytes_fit(param, mti_object_data(object), mti_object_size(object));
        }
        if (MTI_UNLIKELY(!fits)) break;
        if (n == refs) return true;
    }
    while (n)
        mti_object_release(ctx, out_objects[--n], MTI_COUNT_INTERNAL);
    return false;
}

// Links a plain record to its arguments and lets it go.
static inline void plain_publish(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, uint32_t refs,
                                 mti_object_t **objects)
{
    uint64_t *cells = (uint64_t *)(void *)(t->inline_args + MTI_RECORD_INLINE) - 1;
    uint32_t closed = 0;
    mti_object_t *failed = NULL;
    uint32_t argument = 0;
    uint64_t head;
    for (uint32_t i = 0; i < refs; i++) {
        if (!mti_object_is_closed(objects[i], &head) &&
            mti_record_link(ctx, t, objects[i], cells - i, MTI_LINK_INLINE, &head)) {
            continue;
        }
        closed++;
        if (MTI_UNLIKELY(head & MTI_HEAD_FAILED) && !failed) {
            failed = objects[i];
            argument = i;
        }
    }
    publish_linked(ctx, t, gen, refs + 1, closed, failed, argument);
}

// Whether all of them are closed and none has failed.
static inline bool plain_all_closed(mti_object_t **objects, uint32_t refs)
{
    uint64_t head;
    for (uint32_t i = 0; i < refs; i++) {
        if (!mti_object_is_closed(objects[i], &head) || head & MTI_HEAD_FAILED) return false;
    }
    return true;
}

// The short way: a plain task, or a call of a method with ready arguments, in the current runtime, with
// everything at hand. False: go the long way, nothing has happened.
static inline __attribute__((always_inline)) bool
submit_plain(mti_thread_t *thread, manta_task_def_t *def, uint64_t plan, const void *args,
             manta_ref_t *out_results, size_t result_count, manta_actor_t handle)
{
    bool is_method = handle.id != 0;
    mti_actor_t *actor = NULL;
    mti_ctx_t *ctx = thread->ctx;
    bool current = ctx && (thread->epoch == 0 ||
                           thread->epoch == mti_atomic_u32_load_acquire(&mti_default_epoch));
    if (MTI_UNLIKELY(!current)) return false;
    mti_thread_enter(thread);
    mti_slot_t *slot = ctx->table.free;
    bool ready = mti_atomic_u32_load_acquire(&ctx->rt->state) == MTI_RUNTIME_RUNNING && slot &&
                 (!thread->scope_mark || thread->scope_count < thread->scope_capacity) &&
                 !ctx->rt->submits_long;
    if (is_method && ready) {
        ready = !mti_actor_caller_is_held_up(thread) &&
                (actor = mti_actor_begin_quick(ctx, handle, def)) != NULL;
    }
    if (MTI_UNLIKELY(!ready)) {
        mti_thread_leave(thread);
        return false;
    }
    uint32_t refs = plan_refs(plan);
    mti_object_t *objects[PLAIN_REFS];
    bool acquired = !refs || plain_acquire(ctx, def, refs, args, objects);
    if (is_method && acquired && refs && !plain_all_closed(objects, refs)) {
        for (uint32_t i = 0; i < refs; i++)
            mti_object_release(ctx, objects[i], MTI_COUNT_INTERNAL);
        acquired = false;
    }
    if (MTI_UNLIKELY(!acquired)) {
        if (is_method) mti_actor_calls_gone(ctx, actor, 1);
        mti_thread_leave(thread);
        return false;
    }
    slot = ctx->table.free; // acquiring may have freed one
    mti_table_pop(&ctx->table, slot);
    mti_record_t *t = (mti_record_t *)(void *)slot;
    uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    uint32_t first = (uint32_t)(plan >> PLAN_FIRST_SHIFT);
    mti_object_set(&t->result, MTI_OBJECT_TASK, MTI_STORAGE_NONE, 0);
    mti_object_set_runtime(&t->result, ctx->rt->index);
    t->result.dtype = first ? def->params[first - 1].dtype : (manta_dtype_t)MANTA_UNTYPED;
    t->result.producer = t->result.slot;
    mti_atomic_u32_store_relaxed(&t->result.scope_hint, 0);
    __atomic_store_n(&t->def, def, __ATOMIC_RELAXED);
    mti_atomic_u32_store_relaxed(&t->deps, is_method ? 1 : refs ? refs + 1 : 0);
    t->link_count = (uint16_t)refs;
    __atomic_store_n(&t->result_count, 1, __ATOMIC_RELAXED);
    record_set_parent(thread->task, ctx, t);
    t->cold = NULL;
    t->args = t->inline_args;
    t->args_bytes = (uint16_t)def->args_bytes;
    mti_record_set_flags(t, is_method ? MTI_RECORD_METHOD : 0);
    copy_image(t->inline_args, args, def->args_bytes);
    if (is_method) {
        mti_method_t *method = mti_method_of(t);
        method->actor = actor->object.slot;
        method->group = 0;
        method->attempt = 0;
        method->retries = (int16_t)actor->task_retries;
    }
    manta_ref_t ref = mti_ref_make(t->result.slot, gen);
    bool held = result_count != 0;
    mti_atomic_u64_store_relaxed(&t->result.head, held ? 0 : MTI_HEAD_ORPHAN);
    // release: a stale lookup that gets a count from here sees a whole object
    mti_atomic_u64_store_release(&t->result.counts, held ? MTI_COUNT_USER : 0);
    if (held) {
        mti_scope_add(thread, &t->result, ref);
        *out_results = ref;
    }
    mti_atomic_u64_owner_add(&ctx->submitted, 1);
    // release: publishes the record to who sweeps through all of them (cancel.c), and may cancel it
    mti_atomic_u64_store_release(&t->claim, mti_claim_make(gen, 0, MTI_TASK_QUEUED));
    if (is_method) {
        mti_actor_put(ctx, actor, t);
    } else if (refs) {
        plain_publish(ctx, t, gen, refs, objects);
    } else if (MTI_UNLIKELY(!mti_sched_push(&ctx->sched, ref.id))) {
        mti_record_ready(ctx, mti_ready_of(t));
    }
    mti_thread_leave(thread);
    return true;
}

manta_status_t mti_task_submit(manta_task_def_t *def, const manta_task_options_t *options,
                               const void *args, size_t args_bytes, manta_ref_t *out_results,
                               size_t result_count, bool always_take)
{
    uint64_t plan = __atomic_load_n(&def->plan, __ATOMIC_RELAXED);
    if (MTI_LIKELY(plan & PLAN_PLAIN && !options && args_bytes == def->args_bytes &&
                   result_count <= 1 && mti_thread_tls && !def->owner)) {
        if (MTI_LIKELY(submit_plain(mti_thread_tls, def, plan, args, out_results, result_count,
                                    (manta_actor_t){0}))) {
            return MANTA_OK;
        }
    }
    submit_t s = {.def = def, .options = options};
    return submit_general(s, args, args_bytes, out_results, result_count, always_take);
}

manta_status_t mti_task_submit_method(manta_actor_t handle, mti_actor_t *create,
                                      manta_task_def_t *def, const manta_task_options_t *options,
                                      const void *args, size_t args_bytes, manta_ref_t *out_results,
                                      size_t result_count, bool always_take)
{
    uint64_t plan = __atomic_load_n(&def->plan, __ATOMIC_RELAXED);
    if (MTI_LIKELY(plan & PLAN_PLAIN && !options && args_bytes == def->args_bytes &&
                   result_count <= 1 && mti_thread_tls && !create && def->owner && handle.id)) {
        if (MTI_LIKELY(
                submit_plain(mti_thread_tls, def, plan, args, out_results, result_count, handle))) {
            return MANTA_OK;
        }
    }
    submit_t s = {.def = def,
                  .options = options,
                  .handle = handle,
                  .actor = create,
                  .is_create = create != NULL};
    return submit_general(s, args, args_bytes, out_results, result_count, always_take);
}

// ---- run -------------------------------------------------------------------------------------------

enum { STACK_BUFFERS = 24, CHAIN_MAX = 128 };

static manta_status_t run_copy_inout(manta_task_t *run, mti_object_t *from, mti_object_t *to)
{
    size_t size = mti_object_size(from);
    if (!mti_object_storage_alloc(run->ctx, to, size)) {
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for a copy of %zu bytes", size);
    }
    if (size) memcpy(mti_object_data(to), mti_object_data(from), size);
    return MANTA_OK;
}

// The next version of an INOUT argument: in place if this task is the only one that holds it.
static manta_status_t run_inout(manta_task_t *run, mti_object_t *from, mti_object_t *to)
{
    // acquire: pairs with the release of the last other holder, whose reads come first
    uint64_t counts = mti_atomic_u64_load_acquire(&from->counts);
    bool sole = (counts & ~MTI_COUNT_SLOT_MASK) == MTI_COUNT_INTERNAL;
    // While attempts are left it works on a copy.
    if (run->actor && mti_method_of(run->record)->retries != 0) sole = false;
    if (!sole || mti_object_storage(from) != MTI_STORAGE_HEAP ||
        !mti_record_is_last_attempt(run->record)) {
        return run_copy_inout(run, from, to);
    }
    to->u.mem.data = from->u.mem.data;
    mti_object_set(to, mti_object_kind(to), MTI_STORAGE_HEAP, mti_object_size(from));
    mti_object_set(from, mti_object_kind(from), MTI_STORAGE_NONE, 0);
    return MANTA_OK;
}

static manta_status_t run_note(const mti_record_t *t, const manta_param_t *param,
                               manta_status_t code)
{
    return mti_fail_note(code, "task %s, argument %s", mti_record_name(t), param->name);
}

// The bytes of an IN argument; none of one that has failed, which its parameter accepts.
static manta_status_t run_in(const mti_record_t *t, const manta_param_t *param, manta_ref_t ref,
                             manta_buffer_t *out_buffer)
{
    mti_object_t *object = mti_object_held(ref);
    uint64_t head;
    if (MTI_UNLIKELY(t->flags & MTI_RECORD_ACCEPTS) && mti_object_is_closed(object, &head) &&
        head & MTI_HEAD_FAILED) {
        *out_buffer = (manta_buffer_t){NULL, 0};
        return MANTA_OK;
    }
    *out_buffer = (manta_buffer_t){mti_object_data(object), mti_object_size(object)};
    return mti_arg_check_bytes(mti_record_name(t), param, out_buffer->data, out_buffer->size_bytes);
}

// Buffers of everything but OUTs, which are left empty.
static manta_status_t run_arguments(manta_task_t *run, manta_buffer_t *list_room)
{
    mti_record_t *t = run->record;
    const manta_task_def_t *def = t->def;
    uint32_t b = 0, r = 0;
    for (uint32_t i = 0; i < def->param_count; i++) {
        const manta_param_t *param = &def->params[i];
        unsigned char *at = t->args + param->offset;
        manta_status_t status = MANTA_OK;
        if (param->kind == MANTA_PARAM_IN || param->kind == MANTA_PARAM_INOUT) {
            manta_ref_t ref;
            memcpy(&ref, at, sizeof ref);
            manta_buffer_t *buffer = &run->buffers[b++];
            status = run_in(t, param, ref, buffer);
            if (param->kind == MANTA_PARAM_INOUT) {
                mti_object_t *to = run->results[r++];
                if (status == MANTA_OK &&
                    (status = run_inout(run, mti_object_held(ref), to)) != MANTA_OK) {
                    status = run_note(t, param, status);
                }
                *buffer = (manta_buffer_t){mti_object_data(to), mti_object_size(to)};
            }
        } else if (param->kind == MANTA_PARAM_OUT) {
            r++;
            run->buffers[b++] = (manta_buffer_t){NULL, 0};
        } else if (param->kind == MANTA_PARAM_IN_LIST) {
            const manta_ref_list_t *list = (const manta_ref_list_t *)(const void *)at;
            run->buffers[b++] = (manta_buffer_t){list_room, list->count * sizeof(manta_buffer_t)};
            for (size_t k = 0; k < list->count && status == MANTA_OK; k++) {
                status = run_in(t, param, list->refs[k], list_room++);
            }
        }
        if (MTI_UNLIKELY(status != MANTA_OK)) return status;
    }
    return MANTA_OK;
}

// Memory for one OUT of |size| bytes.
static manta_status_t run_alloc_out(mti_object_t *object, manta_task_t *run,
                                    const manta_param_t *param, size_t size,
                                    manta_buffer_t *out_buffer)
{
    if (!mti_object_storage_alloc(run->ctx, object, size)) {
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s, result %s: no memory for %zu bytes",
                        mti_record_name(run->record), param->name, size);
    }
    *out_buffer = (manta_buffer_t){mti_object_data(object), size};
    return MANTA_OK;
}

static manta_status_t run_outs(manta_task_t *run, const manta_call_t *call)
{
    mti_record_t *t = run->record;
    const manta_task_def_t *def = t->def;
    size_t stack_sizes[STACK_BUFFERS];
    uint32_t outs = t->result_count;
    size_t *sizes = stack_sizes;
    if (outs > STACK_BUFFERS) {
        sizes = mti_heap_alloc(&run->ctx->heap, outs * sizeof *sizes);
        if (!sizes) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for %u sizes", outs);
    }
    manta_status_t status = MANTA_OK;
    memset(sizes, 0, outs * sizeof *sizes);
    if (def->cpu->sizes) status = def->cpu->sizes(call, sizes);
    for (uint32_t i = 0, b = 0, o = 0, r = 0; i < def->param_count && status == MANTA_OK; i++) {
        manta_param_kind_t kind = def->params[i].kind;
        if (kind == MANTA_PARAM_OUT) {
            mti_object_t *object = run->results[r++];
            size_t size = sizes[o++];
            if (!mti_object_storage_alloc(run->ctx, object, size)) {
                status =
                    mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s, result %s: no memory for %zu bytes",
                             mti_record_name(t), def->params[i].name, size);
            }
            run->buffers[b++] = (manta_buffer_t){mti_object_data(object), size};
        } else if (kind == MANTA_PARAM_INOUT) {
            r++;
            b++;
        } else if (kind == MANTA_PARAM_IN || kind == MANTA_PARAM_IN_LIST) {
            b++;
        }
    }
    if (sizes != stack_sizes) mti_heap_free(&run->ctx->heap, sizes, outs * sizeof *sizes);
    return status;
}

void mti_body_enter(mti_body_t *body, mti_thread_t *thread, manta_task_t *run)
{
    *body = (mti_body_t){thread->ctx, thread->epoch, thread->in_callback};
    run->outer = thread->task;
    run->outer_scope_base = thread->scope_base;
    run->outer_scope_mark = thread->scope_mark;
    thread->task = run;
    thread->ctx = run->ctx;
    thread->epoch = 0;
    // A body on a device only enqueues: like a callback it must not wait.
    thread->in_callback = run->lane != NULL;
    thread->scope_base = thread->scope_count;
    thread->scope_mark = thread->scope_count + 1;
}

void mti_body_leave(mti_body_t *body, mti_thread_t *thread, manta_task_t *run)
{
    if (MTI_UNLIKELY(thread->scope_count != thread->scope_base)) {
        mti_scope_unwind(thread, thread->scope_base);
    }
    thread->scope_base = run->outer_scope_base;
    thread->scope_mark = run->outer_scope_mark;
    thread->task = run->outer;
    thread->ctx = body->ctx;
    thread->epoch = body->epoch;
    thread->in_callback = body->in_callback;
}

static manta_status_t run_body(manta_task_t *run)
{
    mti_record_t *t = run->record;
    mti_thread_t *thread = mti_thread_tls;
    manta_call_t call = {.task = run,
                         .args = t->args,
                         .buffers = run->buffers,
                         .self = run->actor ? run->actor->state : NULL};
    mti_body_t body;
    mti_body_enter(&body, thread, run);
    manta_status_t status = MANTA_OK;
    if (plan_results(t->def->plan)) status = run_outs(run, &call);
    if (MTI_LIKELY(status == MANTA_OK)) {
        run->in_body = true;
        if (MTI_UNLIKELY(run->ctx->rt->measure_busy)) {
            int64_t begin = mti_clock_ns();
            status = t->def->cpu->invoke(&call);
            // Time in nested bodies is theirs as well; only the outermost counts.
            if (!run->outer) {
                mti_atomic_u64_owner_add(&run->ctx->busy_ns, (uint64_t)(mti_clock_ns() - begin));
            }
        } else {
            status = t->def->cpu->invoke(&call);
        }
        if (MTI_UNLIKELY(run->blocking)) manta_blocking_end(run);
    }
    mti_body_leave(&body, thread, run);
    return status;
}

static void record_release_args(mti_ctx_t *ctx, mti_record_t *t)
{
    mti_arg_iter_t iter = {.t = t};
    for (manta_ref_t ref; mti_arg_next(&iter, &ref);) {
        mti_object_release(ctx, mti_object_held(ref), MTI_COUNT_INTERNAL);
    }
}

manta_error_t *mti_task_error(manta_task_t *run, manta_status_t status)
{
    manta_error_t *error = run->error;
    if (error && manta_error_code(error) == status) {
        run->error = NULL;
        return error;
    }
    if (status < MANTA_ERR_INVALID_ARGUMENT && status > 0) {
        // "Not ready" of a result would read as a state of the wait.
        return mti_error_create(MANTA_ERR_INVALID_ARGUMENT, MANTA_SCOPE_TASK,
                                mti_record_name(run->record), "", mti_record_attempt(run->record),
                                "the body returned a code that is no failure", NULL);
    }
    char place[32];
    int seat = mti_atomic_i32_load_relaxed(&run->ctx->sched.seat);
    snprintf(place, sizeof place, seat >= 0 ? "worker %d" : "thread outside the workers", seat);
    const mti_record_t *t = run->record;
    const char *text = status == MANTA_ERR_TIMEOUT ? mti_status_text(status)
                       : run->in_body              ? ""
                                                   : manta_error_message();
    return mti_error_create(status, MANTA_SCOPE_TASK, mti_record_name(t), place,
                            mti_record_attempt(t), text, t->cold ? t->cold->first_error : NULL);
}

// Waits for the ref that the body forwarded to; the record lives on until that is there.
static void run_forward(manta_task_t *run)
{
    mti_record_t *t = run->record;
    mti_ctx_t *ctx = run->ctx;
    mti_object_t *target = mti_object_held(run->forward); // held since
    mti_object_storage_free(ctx, &t->result);
    record_release_args(ctx, t);
    mti_cold_t *cold = t->cold;
    bool timed = cold && cold->has_time; // the deadline counts until the result is there
    if (timed) t->cold = NULL;
    mti_record_free_room(ctx, t);
    mti_record_set_flags(t, mti_record_flags(t) & MTI_RECORD_PARENT);
    t->cold = timed ? cold : NULL;
    t->link_count = 0;
    t->args = t->inline_args;
    t->result.u.mem.parent = target;
    uint64_t claim = mti_atomic_u64_load_relaxed(&t->claim);
    uint64_t forwarded;
    do {
        forwarded = (claim & ~(uint64_t)0xff) | MTI_TASK_FORWARDED;
    } while (!mti_atomic_u64_cas_acq_rel(&t->claim, &claim, forwarded));
    uint64_t *cell = (uint64_t *)(void *)t->inline_args;
    if (mti_object_await(ctx, target, cell, MTI_LINK_FORWARD)) return;
    mti_forward_finish(ctx, t); // closed already: as if the link had fired
}

// The canceller came when DONE was about to be stored over its flags: says it once more for the children.
// The caller holds a count.
static void run_cancelled_late(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, uint16_t flags)
{
    uint64_t done = mti_claim_make(gen, 0, MTI_TASK_DONE);
    if (MTI_LIKELY(!(flags & MTI_RECORD_PARENT)) ||
        !(mti_atomic_u64_load_acquire(&t->result.head) & MTI_HEAD_CHILDREN) ||
        mti_atomic_u64_load_relaxed(&t->claim) != done) {
        return;
    }
    mti_atomic_u64_store_release(&t->claim, done | MTI_CLAIM_CANCEL | MTI_CLAIM_CHILDREN);
    mti_cancel_keep(ctx, t);
}

void mti_task_settle(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen)
{
    uint64_t done = mti_claim_make(gen, 0, MTI_TASK_DONE);
    if (MTI_UNLIKELY(mti_record_flags(t) & MTI_RECORD_PARENT)) {
        uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
        if (claim & MTI_CLAIM_CHILDREN) {
            mti_object_pin_open(&t->result); // so that the slot stays until the children know
            mti_atomic_u64_store_release(&t->claim, done | MTI_CLAIM_CANCEL | MTI_CLAIM_CHILDREN);
            mti_cancel_keep(ctx, t);
            mti_object_release(ctx, &t->result, MTI_COUNT_INTERNAL);
            return;
        }
    }
    // Cancel sets a flag in the same word; it looks at the state no more once it reads DONE.
    mti_atomic_u64_store_release(&t->claim, done);
}

// Fails the results with the body's error, which the caller closes then.
static void run_store_error(manta_task_t *run, manta_status_t status)
{
    mti_record_t *t = run->record;
    manta_error_t *error = NULL;
    if (run->cause) {
        uint64_t head;
        (void)mti_object_is_closed(run->cause, &head);
        error = (manta_error_t *)manta_error_retain(mti_object_error(run->cause, head));
    } else {
        error = mti_task_error(run, status);
    }
    for (uint32_t i = 0; i < t->result_count; i++) {
        mti_object_t *object = mti_record_result(t, i);
        if (i) manta_error_retain(error);
        if (run->cause) {
            (void)mti_atomic_u64_fetch_add_relaxed(&run->cause->counts, MTI_COUNT_INTERNAL);
        }
        if (!mti_tier_fail(object, error, run->cause)) {
            mti_object_storage_free(run->ctx, object);
            object->u.fail.error = error;
            object->u.fail.cause = run->cause;
        }
        mti_object_set(object, mti_object_kind(object), mti_object_storage(object),
                       run->cause ? run->cause_argument : 0);
    }
}

void mti_task_finish_several(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen)
{
    // The counts are those of fail_several, which kept the buffers for the body.
    for (uint32_t i = 1; i < t->result_count; i++)
        mti_object_release(ctx, mti_record_result(t, i), MTI_COUNT_INTERNAL);
    mti_record_free_room(ctx, t);
    t->cold = NULL;
    mti_task_settle(ctx, t, gen);
    mti_object_release(ctx, &t->result, MTI_COUNT_INTERNAL + MTI_COUNT_SLOT);
}

// Completes a task with several results. Who takes RUNNING away closes all of them: either this one, or
// who cancelled, whose work may still be going on.
// Gives back whether the task is complete; else the canceller sees to that.
static bool run_complete_several(manta_task_t *run, manta_status_t status, uint64_t *out_next)
{
    mti_record_t *t = run->record;
    mti_ctx_t *ctx = run->ctx;
    uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
    while (!(claim & MTI_CLAIM_CANCEL)) {
        uint64_t done = mti_claim_make(gen, 0, MTI_TASK_DONE);
        if (!mti_atomic_u64_cas_acq_rel(&t->claim, &claim, done)) continue;
        if (status != MANTA_OK) run_store_error(run, status);
        uint64_t bits = MTI_HEAD_CLOSED | (status == MANTA_OK ? 0 : MTI_HEAD_FAILED);
        for (uint32_t i = 0; i < t->result_count; i++)
            (void)mti_object_close(ctx, mti_record_result(t, i), bits, out_next);
        mti_record_free_room(ctx, t);
        t->cold = NULL;
        mti_object_release(ctx, &t->result, MTI_COUNT_SLOT); // the record's own
        return true;
    }
    while (claim & MTI_CLAIM_CLOSING) {
        // release: what this thread did with the record; pairs with the acquire in fail_several
        if (mti_atomic_u64_cas_acq_rel(&t->claim, &claim, claim | MTI_CLAIM_RETURNED)) return false;
    }
    mti_task_finish_several(ctx, t, gen);
    return true;
}

static void run_complete_one(manta_task_t *run, manta_status_t status, uint64_t *out_next)
{
    mti_record_t *t = run->record;
    mti_ctx_t *ctx = run->ctx;
    mti_object_t *result = &t->result;
    uint32_t gen = mti_atomic_u32_load_relaxed(&result->gen);
    uint16_t flags = mti_record_flags(t);
    if (MTI_UNLIKELY(status != MANTA_OK)) run_store_error(run, status);
    if (MTI_UNLIKELY(flags & MTI_RECORD_OVERFLOW || t->cold)) {
        mti_record_free_room(ctx, t);
        t->cold = NULL;
    }
    mti_task_settle(ctx, t, gen);
    uint64_t bits = MTI_HEAD_CLOSED | (status == MANTA_OK ? 0 : MTI_HEAD_FAILED);
    if (MTI_LIKELY(mti_object_close(ctx, result, bits, out_next))) return;
    // Cancelled while it ran: the result is dropped, and the canceller's count is ours.
    // One on a device keeps it until the object goes.
    if (status != MANTA_OK && mti_object_storage(result) != MTI_STORAGE_TIERED) {
        manta_error_release(result->u.fail.error);
    }
    run_cancelled_late(ctx, t, gen, flags);
    mti_object_release(ctx, result, MTI_COUNT_INTERNAL);
}

static void run_complete(manta_task_t *run, manta_status_t status, uint64_t *out_next)
{
    mti_record_t *t = run->record;
    mti_ctx_t *ctx = run->ctx;
    const manta_task_def_t *def = t->def;
    bool complete = true;
    // An argument, which may have no other holder: its error is taken over after the arguments have gone.
    mti_object_t *cause = run->cause;
    if (MTI_UNLIKELY(cause != NULL))
        (void)mti_atomic_u64_fetch_add_relaxed(&cause->counts, MTI_COUNT_INTERNAL);
    if (MTI_UNLIKELY(status != MANTA_OK)) mti_atomic_u64_owner_add(&ctx->failed, 1);
    if (t->link_count) record_release_args(ctx, t);
    if (MTI_LIKELY(t->result_count == 1)) {
        run_complete_one(run, status, out_next);
    } else {
        complete = run_complete_several(run, status, out_next);
    }
    if (MTI_UNLIKELY(run->error != NULL)) manta_error_release(run->error);
    if (MTI_UNLIKELY(cause != NULL)) mti_object_release(ctx, cause, MTI_COUNT_INTERNAL);
    if (MTI_LIKELY(complete)) mti_task_count_completed(ctx, def);
}

// After the body: forwarded, or complete.
static void run_finish(manta_task_t *run, manta_status_t status, uint64_t *out_next)
{
    mti_record_t *t = run->record;
    if (MTI_UNLIKELY(t->cold != NULL)) status = mti_recover_end(run->ctx, t, status);
    if (MTI_UNLIKELY(run->actor && status != MANTA_OK) && mti_actor_method_failed(run, &status)) {
        for (uint32_t i = 0; i < t->result_count; i++)
            mti_object_storage_free(run->ctx, mti_record_result(t, i));
        if (run->error) manta_error_release(run->error);
        if (run->forward.id) {
            mti_object_release(run->ctx, mti_object_held(run->forward), MTI_COUNT_INTERNAL);
        }
        mti_actor_put_back(run->ctx, run->actor, t);
        return;
    }
    // Its children would not find what cancels them any more.
    if (MTI_UNLIKELY(mti_record_flags(t) & MTI_RECORD_PARENT) &&
        mti_cancel_is_stale(run->ctx->rt, t)) {
        (void)mti_cancel_look(run->ctx, t);
    }
    if (MTI_UNLIKELY(run->forward.id != 0)) {
        if (status == MANTA_OK) {
            if (run->error) manta_error_release(run->error);
            run_forward(run);
            return;
        }
        mti_object_release(run->ctx, mti_object_held(run->forward), MTI_COUNT_INTERNAL);
    }
    if (MTI_UNLIKELY(status != MANTA_OK) && mti_recover_retry(run, status)) return;
    run_complete(run, status, out_next);
}

void mti_task_complete(manta_task_t *run, manta_status_t status)
{
    run_finish(run, status, NULL);
}

// The short way: a plain task. Everything that is rare goes to run_complete.
static void run_plain(mti_ctx_t *ctx, mti_record_t *t, uint64_t plan, uint64_t *out_next)
{
    mti_thread_t *thread = mti_thread_tls;
    const manta_task_def_t *def = t->def;
    mti_object_t *result = &t->result;
    manta_buffer_t buffers[PLAIN_BUFFERS];
    mti_object_t *objects[PLAIN_REFS];
    manta_task_t run;
    run.record = t;
    run.ctx = ctx;
    run.outer = thread->task;
    run.actor = MTI_UNLIKELY(t->flags & MTI_RECORD_METHOD) ? mti_method_actor(t) : NULL;
    run.buffers = buffers;
    run.results = &result;
    run.lane = NULL;
    run.error = NULL;
    run.cause = NULL;
    run.forward.id = 0;
    run.index = 0;
    run.blocking = false;
    run.in_body = false;
    manta_call_t call = {.task = &run,
                         .args = t->inline_args,
                         .buffers = buffers,
                         .self = run.actor ? run.actor->state : NULL};
    manta_status_t status = MANTA_OK;
    manta_buffer_t *out = buffers;
    uint32_t refs = t->link_count;
    if (refs) {
        uint32_t n = 0;
        manta_buffer_t *buffer = buffers;
        for (const manta_param_t *param = def->params, *end = param + def->param_count; param < end;
             param++) {
            if (param->kind == MANTA_PARAM_OUT) out = buffer++;
            if (param->kind != MANTA_PARAM_IN) continue;
            manta_ref_t ref;
            memcpy(&ref, t->inline_args + param->offset, sizeof ref);
            mti_object_t *object = objects[n++] = mti_object_held(ref);
            *buffer = (manta_buffer_t){mti_object_data(object), mti_object_size(object)};
            if (MTI_UNLIKELY(!bytes_fit(param, buffer->data, buffer->size_bytes)) &&
                status == MANTA_OK) {
                status = mti_arg_check_bytes(mti_record_name(t), param, buffer->data,
                                             buffer->size_bytes);
            }
            buffer++;
        }
    }
    size_t outer_base = thread->scope_base, outer_mark = thread->scope_mark;
    uint32_t outer_epoch = thread->epoch;
    thread->task = &run;
    thread->epoch = 0; // this runtime, also if it is no longer the default one
    thread->scope_base = thread->scope_count;
    thread->scope_mark = thread->scope_count + 1;
    if (plan_results(plan) && MTI_LIKELY(status == MANTA_OK)) {
        size_t size = 0;
        out->data = NULL;
        out->size_bytes = 0;
        if (def->cpu->sizes) status = def->cpu->sizes(&call, &size);
        if (MTI_LIKELY(size <= MTI_INLINE_BYTES)) {
            mti_object_set(result, MTI_OBJECT_TASK, MTI_STORAGE_INLINE, size);
            out->data = size ? result->u.bytes : NULL;
            out->size_bytes = size;
        } else if (status == MANTA_OK) {
            uint32_t first = (uint32_t)(plan >> PLAN_FIRST_SHIFT) - 1;
            status = run_alloc_out(result, &run, &def->params[first], size, out);
        }
    }
    if (MTI_LIKELY(status == MANTA_OK)) {
        run.in_body = true;
        status = def->cpu->invoke(&call);
        if (MTI_UNLIKELY(run.blocking)) manta_blocking_end(&run);
    }
    if (MTI_UNLIKELY(thread->scope_count != thread->scope_base)) {
        mti_scope_unwind(thread, thread->scope_base);
    }
    thread->scope_base = outer_base;
    thread->scope_mark = outer_mark;
    thread->task = run.outer;
    thread->epoch = outer_epoch;
    uint16_t flags = mti_record_flags(t) & MTI_RECORD_PARENT;
    bool told =
        MTI_UNLIKELY(flags) && (mti_cancel_is_stale(ctx->rt, t) ||
                                mti_atomic_u64_load_relaxed(&t->claim) & MTI_CLAIM_CHILDREN);
    if (MTI_UNLIKELY(status != MANTA_OK || run.error || run.forward.id || told)) {
        run_finish(&run, status, out_next);
        return;
    }
    for (uint32_t i = 0; i < refs; i++)
        mti_object_release(ctx, objects[i], MTI_COUNT_INTERNAL);
    uint32_t gen = mti_atomic_u32_load_relaxed(&result->gen);
    mti_atomic_u64_store_release(&t->claim, mti_claim_make(gen, 0, MTI_TASK_DONE));
    if (mti_atomic_u64_load_relaxed(&result->head) == MTI_HEAD_ORPHAN &&
        mti_object_storage(result) <= MTI_STORAGE_INLINE) {
        // Without a count nobody can come any more, so there is nobody to close it for.
        mti_atomic_u64_store_relaxed(&result->head, MTI_HEAD_CLOSED);
        mti_table_free(&ctx->table, (mti_slot_t *)(void *)t);
    } else if (MTI_UNLIKELY(!mti_object_close_quick(ctx, result, MTI_HEAD_CLOSED, out_next))) {
        run_cancelled_late(ctx, t, gen, flags);
        mti_object_release(ctx, result, MTI_COUNT_INTERNAL); // cancelled while it ran
    }
    mti_atomic_u64_owner_add(&ctx->completed, 1);
}

static void run_task(mti_ctx_t *ctx, mti_record_t *t, uint64_t *out_next)
{
    mti_thread_t *self = mti_thread_tls;
    if (MTI_LIKELY(t->def->plan & PLAN_PLAIN &&
                   !((t->flags & ~MTI_RECORD_METHOD) | (t->cold != NULL)) && self->ctx == ctx &&
                   !self->in_callback && !ctx->rt->runs_long && !mti_cancel_is_stale(ctx->rt, t))) {
        run_plain(ctx, t, t->def->plan, out_next);
        return;
    }
    manta_buffer_t stack_buffers[STACK_BUFFERS];
    mti_object_t *stack_results[STACK_BUFFERS];
    manta_task_t run = {
        .record = t, .ctx = ctx, .buffers = stack_buffers, .results = stack_results};
    if (t->flags & MTI_RECORD_METHOD) run.actor = mti_method_actor(t);
    manta_status_t status = MANTA_OK;
    uint64_t plan = t->def->plan;
    uint32_t buffers = plan_buffers(plan), objects = t->result_count;
    size_t room_bytes = 0;
    void *room = NULL;
    if (MTI_UNLIKELY(buffers > STACK_BUFFERS || objects > STACK_BUFFERS || plan & PLAN_LISTS)) {
        room_bytes =
            (buffers + t->link_count) * sizeof(manta_buffer_t) + objects * sizeof(mti_object_t *);
        room = mti_heap_alloc(&ctx->heap, room_bytes);
        if (room) {
            run.buffers = room;
            run.results = (mti_object_t **)(void *)(run.buffers + buffers + t->link_count);
        } else {
            status = mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s: no memory for %u buffers",
                              mti_record_name(t), buffers);
        }
    }
    if (MTI_UNLIKELY(mti_cancel_is_stale(ctx->rt, t)) && mti_cancel_due(ctx->rt, t)) {
        status = mti_fail(MANTA_ERR_CANCELLED, mti_atomic_u32_load_relaxed(&ctx->rt->cancelling)
                                                   ? "the runtime is shutting down"
                                                   : "cancelled with the task that submitted it");
    }
    if (MTI_LIKELY(status == MANTA_OK)) {
        for (uint32_t i = 0; i < objects; i++)
            run.results[i] = mti_record_result(t, i);
        if (buffers) status = run_arguments(&run, run.buffers + buffers);
    }
    if (MTI_UNLIKELY(t->flags & MTI_RECORD_RANGE) && status == MANTA_OK) {
        mti_recover_begin(ctx, t);
        bool started = mti_bulk_run(&run, room ? room_bytes / sizeof(manta_buffer_t) : buffers);
        if (started) {
            if (room) mti_heap_free(&ctx->heap, room, room_bytes);
            return;
        }
        status = MANTA_ERR_OUT_OF_MEMORY;
    } else if (MTI_LIKELY(status == MANTA_OK)) {
        if (MTI_UNLIKELY(t->cold != NULL)) mti_recover_begin(ctx, t);
        status = run_body(&run);
    }
    if (MTI_UNLIKELY(room != NULL)) mti_heap_free(&ctx->heap, room, room_bytes);
    run_finish(&run, status, out_next);
}

void mti_task_run_method(mti_ctx_t *ctx, mti_record_t *t, uint64_t *out_next)
{
    run_task(ctx, t, out_next);
}

void mti_task_run_claimed(mti_ctx_t *ctx, mti_record_t *t, bool chain)
{
    if (MTI_UNLIKELY(t->flags & MTI_RECORD_METHOD)) {
        mti_actor_run_handed_out(ctx, t, chain);
        return;
    }
    for (int length = 0;; length++) {
        uint64_t next = 0;
        run_task(ctx, t, chain ? &next : NULL);
        if (next == 0) return;
        t = mti_record_at((uint32_t)next);
        // A long chain comes back to the worker's loop now and then: seats, stop, other queues.
        bool look_up = length == CHAIN_MAX || mti_sched_has_urgent(ctx->rt->sched);
        if (MTI_UNLIKELY(look_up) && mti_sched_push(&ctx->sched, next)) return;
        if (!mti_task_claim(ctx, t, (uint32_t)(next >> 32))) return;
        if (MTI_UNLIKELY(t->flags & MTI_RECORD_METHOD)) {
            mti_actor_run_handed_out(ctx, t, chain);
            return;
        }
    }
}

void mti_task_run_entry(mti_sched_ctx_t *sched_ctx, uint64_t entry)
{
    mti_ctx_t *ctx = (mti_ctx_t *)(void *)sched_ctx;
    if (MTI_UNLIKELY(entry & MTI_ACTOR_ENTRY)) {
        mti_actor_run_entry(ctx, entry & ~MTI_ACTOR_ENTRY);
        return;
    }
    mti_record_t *t = mti_record_at((uint32_t)entry);
    uint32_t gen = (uint32_t)(entry >> 32);
    uint64_t next = mti_deque_peek(&sched_ctx->deque);
    if (next) { // probably stolen along with this one: on its way while this one runs
        char *lines = (char *)mti_record_at((uint32_t)next);
        for (size_t i = 0; i < MTI_SLOT_BYTES; i += 64)
            __builtin_prefetch(lines + i, 1);
    }
    if (MTI_LIKELY(mti_task_claim(ctx, t, gen))) {
        mti_task_run_claimed(ctx, t, true);
        return;
    }
    // Run by a waiter, or cancelled. In the latter case this may be the last thing that it waits for.
    uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
    if (claim == mti_claim_make(gen, 0, MTI_TASK_CANCELLED) &&
        mti_atomic_u32_load_seq_cst(&t->deps) == 0) {
        mti_task_finish_cancelled(ctx, t, gen);
    }
}

// ---- cancel ----------------------------------------------------------------------------------------

void mti_task_finish_cancelled(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen)
{
    // With the generation that the caller saw without dependencies: the slot's next task may be
    // cancelled, too, and still have some.
    uint64_t cancelled = mti_claim_make(gen, 0, MTI_TASK_CANCELLED);
    if (!mti_atomic_u64_cas_seq_cst(&t->claim, &cancelled, mti_claim_make(gen, 0, MTI_TASK_DONE))) {
        return; // somebody else does it
    }
    mti_actor_t *actor = t->flags & MTI_RECORD_METHOD ? mti_method_actor(t) : NULL;
    uint32_t group = actor ? mti_method_of(t)->group : 0;
    record_release_args(ctx, t);
    mti_record_free_room(ctx, t);
    mti_record_set_flags(t, 0);
    t->cold = NULL;
    if (actor) mti_actor_call_over(ctx, actor, group, mti_ref_make(t->result.slot, gen).id);
    // One result: the count of fail_results; several: the record's own.
    mti_object_release(ctx, &t->result, t->result_count == 1 ? MTI_COUNT_INTERNAL : MTI_COUNT_SLOT);
}

// Fails a task that was moved from |claim| to CANCELLING, with |given|, or |code| and |why|.
static bool fail_waiting(mti_ctx_t *ctx, mti_record_t *t, uint64_t claim, manta_status_t code,
                         const char *why, const manta_error_t *given)
{
    uint64_t cancelling = mti_claim_make(mti_claim_gen(claim), 0, MTI_TASK_CANCELLING);
    if (!mti_atomic_u64_cas_acq_rel(&t->claim, &claim, cancelling)) return false;
    manta_error_t *error =
        given ? (manta_error_t *)manta_error_retain(given)
              : mti_error_create(code, MANTA_SCOPE_TASK, mti_record_name(t), "", 0, why, NULL);
    mti_task_fail_queued(ctx, t, error, NULL, 0, NULL);
    return true;
}

// Of a running task with several results, which the caller has marked CLOSING: the record and its list
// of results stay until that mark is gone.
static void fail_several(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, uint64_t bits)
{
    for (uint32_t i = 0; i < t->result_count; i++) {
        mti_object_t *object = mti_record_result(t, i);
        mti_object_pin_open(object); // the body may write to its buffer until it returns
        (void)mti_object_close(ctx, object, bits, NULL);
    }
    uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
    // release: the results are closed; acquire: what the body's thread did with the record
    while (!mti_atomic_u64_cas_acq_rel(&t->claim, &claim, claim & ~MTI_CLAIM_CLOSING)) {
    }
    if (!(claim & MTI_CLAIM_RETURNED)) return;
    const manta_task_def_t *def = t->def;
    mti_task_finish_several(ctx, t, gen);
    mti_task_count_completed(ctx, def);
    if (!ctx->sched.thread) mti_drain_check(ctx);
}

// Tells a running (or forwarded) task to stop and fails its results now.
static bool fail_running(mti_ctx_t *ctx, mti_record_t *t, uint64_t claim, manta_status_t code,
                         bool children)
{
    uint32_t gen = mti_claim_gen(claim);
    uint64_t flags = MTI_CLAIM_CANCEL | MTI_CLAIM_CLOSING | (children ? MTI_CLAIM_CHILDREN : 0);
    if (!mti_atomic_u64_cas_acq_rel(&t->claim, &claim, claim | flags)) return false;
    uint64_t bits = mti_head_bare(code) | (children ? MTI_HEAD_CHILDREN : 0);
    // With one result the task may be complete by now, and the slot another's: the claim tells, read
    // after the number of results. With several it stays as long as CLOSING is set.
    uint16_t results = __atomic_load_n(&t->result_count, __ATOMIC_ACQUIRE);
    if (mti_claim_gen(mti_atomic_u64_load_acquire(&t->claim)) != gen) return true;
    if (results > 1) {
        fail_several(ctx, t, gen, bits);
    } else {
        // A count keeps the slot until the body returns. Without a holder nobody would see the failure.
        mti_object_t *object =
            mti_ref_acquire_weak(mti_ref_make(t->result.slot, gen).id, MTI_COUNT_INTERNAL);
        if (object && !mti_object_close(ctx, object, bits, NULL)) {
            mti_object_release(ctx, object, MTI_COUNT_INTERNAL);
        }
    }
    mti_wait_wake(ctx->rt, mti_claim_ctx(claim)); // the body may sleep in a wait
    if (children) mti_cancel_announce(ctx->rt);
    return true;
}

static void task_fail(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, manta_status_t code,
                      const char *why, bool children, const manta_error_t *given)
{
    for (;;) {
        uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
        mti_task_state_t state = mti_claim_state(claim);
        if (mti_claim_gen(claim) != gen) return;
        if (state == MTI_TASK_QUEUED || state == MTI_TASK_HELD) {
            if (fail_waiting(ctx, t, claim, code, why, given)) return;
        } else if (state == MTI_TASK_RUNNING || state == MTI_TASK_FORWARDED) {
            if (claim & MTI_CLAIM_CANCEL || fail_running(ctx, t, claim, code, children)) return;
        } else {
            return; // complete, or somebody else is at it
        }
    }
}

void mti_task_fail(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, manta_status_t code,
                   const char *why, bool children)
{
    task_fail(ctx, t, gen, code, why, children, NULL);
}

void mti_task_fail_now(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, const manta_error_t *error)
{
    task_fail(ctx, t, gen, manta_error_code(error), "", false, error);
}

manta_status_t mti_task_cancel(mti_ctx_t *ctx, mti_object_t *object, bool children)
{
    mti_object_kind_t kind = mti_object_kind(object);
    if (kind != MTI_OBJECT_TASK && kind != MTI_OBJECT_RESULT) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "cancel: this ref was not made by a task");
    }
    uint64_t head;
    if (mti_object_is_closed(object, &head)) return MANTA_OK;
    mti_record_t *t = mti_record_at(object->producer);
    uint32_t gen = mti_claim_gen(mti_atomic_u64_load_acquire(&t->claim));
    if (mti_object_is_closed(object, &head)) return MANTA_OK; // |t| may be another task by now
    mti_task_fail(ctx, t, gen, MANTA_ERR_CANCELLED, "cancelled before it ran", children);
    return MANTA_OK;
}
