// What submit wants to know about a definition, and the refs among a record's arguments.
#include "core/task_impl.h"

#include <manta/detail/types.h>

#include <string.h>

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

manta_status_t mti_plan_make(manta_task_def_t *def, uint64_t *out_plan)
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

manta_status_t mti_arg_fail_type(const char *task, const manta_param_t *param,
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

bool mti_record_accepts_param(const mti_record_t *t, uint32_t index)
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
        if (k < n) return mti_record_accepts_param(t, i);
        k -= (uint32_t)n;
    }
    return false;
}
