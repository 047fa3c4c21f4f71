// task.h: submit and cancel. What bodies call stands in core/body.c.
#include "core/core.h"

#include <string.h>

manta_status_t manta_submit(const manta_task_desc_t *desc, manta_ref_t *out_results,
                            size_t result_count)
{
    if (!desc || !desc->task || (result_count && !out_results)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "submit: no %s",
                        !desc         ? "descriptor"
                        : !desc->task ? "task definition"
                                      : "room for the results");
    }
    return mti_task_submit(desc->task, desc->options, desc->args, desc->args_bytes, out_results,
                           result_count, false);
}

void manta_submit_call(manta_task_def_t *task, const manta_task_options_t *options,
                       const void *args, size_t args_bytes, manta_ref_t *out_results,
                       size_t result_count)
{
    (void)mti_task_submit(task, options, args, args_bytes, out_results, result_count, true);
}

manta_ref_t manta_submit_range(manta_task_def_t *task, const manta_task_options_t *options,
                               const void *args, size_t args_bytes, size_t count, size_t grain)
{
    if (!task) return mti_ref_error(mti_fail(MANTA_ERR_INVALID_ARGUMENT, "submit_range: no task"));
    return mti_bulk_submit(task, options, args, args_bytes, count, grain, false);
}

manta_ref_t manta_submit_array(manta_task_def_t *task, const manta_task_options_t *options,
                               const void *args, size_t args_bytes, size_t count, size_t grain)
{
    if (!task || (count && !args)) {
        return mti_ref_error(mti_fail(MANTA_ERR_INVALID_ARGUMENT, "submit_array: no %s",
                                      task ? "arguments" : "task"));
    }
    return mti_bulk_submit(task, options, args, args_bytes, count, grain, true);
}

manta_status_t manta_cancel(manta_ref_t ref)
{
    return manta_cancel_with(ref, NULL);
}

manta_status_t manta_cancel_with(manta_ref_t ref, const manta_cancel_options_t *options)
{
    manta_cancel_options_t full = {0};
    if (options) {
        if (options->struct_size < sizeof(size_t)) {
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "cancel: struct_size is not set");
        }
        size_t known = options->struct_size < sizeof full ? options->struct_size : sizeof full;
        memcpy(&full, options, known);
    }
    if (mti_ref_is_error(ref)) return MANTA_OK; // failed already
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_object_t *object;
    manta_status_t status = mti_ref_begin(ref, &thread, &ctx, &object);
    if (status != MANTA_OK) return status;
    status = mti_task_cancel(ctx, object, !full.keep_children);
    mti_ref_end(thread, ctx, object);
    return status;
}
