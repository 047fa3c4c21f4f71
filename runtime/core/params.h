// Walks over the parameters of a task that is about to run: which buffer, which argument and which result belong
// to which. The same for bodies on a CPU (task.c) and on a device (lane_place.c), which differ in what a buffer is.
// Inlined with the functions that they are given.
#ifndef MTI_CORE_PARAMS_H
#define MTI_CORE_PARAMS_H

#include "core/core.h"

#include <string.h>

// Argument |index|, |ref|: fills |out_buffer|. |result| is the next version of an INOUT, else NULL.
typedef manta_status_t (*mti_param_in_fn_t)(void *user, const manta_param_t *param, uint32_t index,
                                            manta_ref_t ref, mti_object_t *result,
                                            manta_buffer_t *out_buffer);
// Memory for an OUT of |size_bytes|.
typedef manta_status_t (*mti_param_out_fn_t)(void *user, const manta_param_t *param,
                                             mti_object_t *result, size_t size_bytes,
                                             manta_buffer_t *out_buffer);

// Buffers of everything but OUTs, which are left empty. |list_room| has one for each item of a list.
static inline __attribute__((always_inline)) manta_status_t
mti_params_fill(manta_task_t *run, manta_buffer_t *list_room, mti_param_in_fn_t in, void *user)
{
    const mti_record_t *t = run->record;
    const manta_task_def_t *def = t->def;
    uint32_t b = 0, r = 0, index = 0;
    for (uint32_t i = 0; i < def->param_count; i++) {
        const manta_param_t *param = &def->params[i];
        const unsigned char *at = t->args + param->offset;
        manta_status_t status = MANTA_OK;
        if (param->kind == MANTA_PARAM_IN || param->kind == MANTA_PARAM_INOUT) {
            manta_ref_t ref;
            memcpy(&ref, at, sizeof ref);
            mti_object_t *result = param->kind == MANTA_PARAM_INOUT ? run->results[r++] : NULL;
            status = in(user, param, index++, ref, result, &run->buffers[b++]);
        } else if (param->kind == MANTA_PARAM_OUT) {
            r++;
            run->buffers[b++] = (manta_buffer_t){NULL, 0};
        } else if (param->kind == MANTA_PARAM_IN_LIST) {
            const manta_ref_list_t *list = (const manta_ref_list_t *)(const void *)at;
            run->buffers[b++] = (manta_buffer_t){list_room, list->count * sizeof(manta_buffer_t)};
            for (size_t k = 0; k < list->count && status == MANTA_OK; k++)
                status = in(user, param, index++, list->refs[k], NULL, list_room++);
        }
        if (MTI_UNLIKELY(status != MANTA_OK)) return status;
    }
    return MANTA_OK;
}

// Asks |variant| for the sizes of the OUTs, and |out| for memory of these sizes.
static inline __attribute__((always_inline)) manta_status_t
mti_params_outs(manta_task_t *run, const manta_call_t *call, const manta_variant_t *variant,
                mti_param_out_fn_t out, void *user)
{
    enum { FEW = 24 };
    const manta_task_def_t *def = run->record->def;
    uint32_t outs = run->record->result_count;
    size_t few[FEW];
    size_t *sizes = few;
    if (outs > FEW) {
        sizes = mti_heap_alloc(&run->ctx->heap, outs * sizeof *sizes);
        if (!sizes) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for %u sizes", outs);
    }
    manta_status_t status = MANTA_OK;
    memset(sizes, 0, outs * sizeof *sizes);
    if (variant->sizes) status = variant->sizes(call, sizes);
    for (uint32_t i = 0, b = 0, o = 0, r = 0; i < def->param_count && status == MANTA_OK; i++) {
        const manta_param_t *param = &def->params[i];
        if (param->kind == MANTA_PARAM_OUT) {
            status = out(user, param, run->results[r++], sizes[o++], &run->buffers[b++]);
        } else if (param->kind == MANTA_PARAM_INOUT) {
            r++;
            b++;
        } else if (param->kind == MANTA_PARAM_IN || param->kind == MANTA_PARAM_IN_LIST) {
            b++;
        }
    }
    if (sizes != few) mti_heap_free(&run->ctx->heap, sizes, outs * sizeof *sizes);
    return status;
}

#endif
