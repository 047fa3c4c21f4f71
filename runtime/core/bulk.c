// Ranges and arrays: one body, many indices, one completion.
//
// The range is one task. When it runs, its indices are cut into pieces on demand: whoever runs a piece
// gives half of what is left away when some worker is idle, and runs |grain| indices between two looks.
// So pieces cost something only when somebody is there to take them. The thread that finishes the last
// index completes the task.
#include "core/core.h"

#include <string.h>

enum { GRAIN_MAX = 64, PIECES_PER_WORKER = 8, NOBODY = 0xffff };

typedef struct bulk {
    manta_task_t run; // of the range task; completed by the last piece
    manta_buffer_t *buffers;
    unsigned char *array; // of argument images, NULL: a range
    size_t args_bytes, count, grain, total_bytes;
    mti_atomic_u64_t left;   // indices that are not done
    mti_atomic_i32_t status; // of the first failure; the rest is skipped
    mti_atomic_ptr_t error;  // its manta_error_t *
} bulk_t;

typedef struct piece {
    bulk_t *bulk;
    size_t begin, end;
} piece_t;

static manta_status_t piece_invoke(const manta_call_t *call);

static const manta_param_t piece_params[] = {
    {"piece", "piece_t", MANTA_PARAM_VAL, MANTA_DTYPE(MANTA_OPAQUE, sizeof(piece_t)),
     sizeof(piece_t), sizeof(void *), 0},
};
static const manta_variant_t piece_variant = {piece_invoke, NULL};
manta_task_def_t mti_piece_def = {"range", piece_params, 1,   sizeof(piece_t), &piece_variant, NULL,
                                  0,       NULL,         NULL};

static void bulk_failed(bulk_t *bulk, manta_task_t *run, manta_status_t status)
{
    int32_t none = MANTA_OK;
    if (mti_atomic_i32_cas_acq_rel(&bulk->status, &none, status)) {
        mti_atomic_ptr_store_release(&bulk->error, run->error);
    } else if (run->error) {
        manta_error_release(run->error);
    }
    run->error = NULL;
}

static bool bulk_is_over(bulk_t *bulk, mti_ctx_t *ctx)
{
    return mti_atomic_i32_load_relaxed(&bulk->status) != MANTA_OK ||
           mti_task_must_stop(ctx, bulk->run.record);
}

// Runs [begin, end) on this thread; |run| is the frame of whatever runs the piece.
static void piece_run(bulk_t *bulk, manta_task_t *run, size_t begin, size_t end)
{
    mti_record_t *own = run->record;
    manta_status_t (*invoke)(const manta_call_t *) = bulk->run.record->def->cpu->invoke;
    manta_call_t call = {run, bulk->run.record->args, bulk->buffers, NULL};
    size_t done = end - begin;
    run->record = bulk->run.record; // names, cancel
    while (begin < end && !bulk_is_over(bulk, run->ctx)) {
        size_t left = end - begin;
        if (left > bulk->grain && mti_sched_has_idle(run->ctx->rt->sched)) {
            size_t middle = begin + left / 2;
            piece_t half = {bulk, middle, end};
            if (mti_task_submit(&mti_piece_def, NULL, &half, sizeof half, NULL, 0, false) ==
                MANTA_OK) {
                done -= end - middle;
                end = middle;
                continue;
            }
        }
        size_t stop = left < bulk->grain ? end : begin + bulk->grain;
        manta_status_t status = MANTA_OK;
        for (; begin < stop && status == MANTA_OK; begin++) {
            run->index = begin;
            if (bulk->array) call.args = bulk->array + begin * bulk->args_bytes;
            status = invoke(&call);
        }
        if (MTI_UNLIKELY(status != MANTA_OK)) bulk_failed(bulk, run, status);
    }
    run->record = own;
    if (mti_atomic_u64_fetch_sub_acq_rel(&bulk->left, done) != done) return;
    // The last one: complete the range as if its body returned here.
    mti_ctx_t *ctx = run->ctx;
    bulk->run.ctx = ctx;
    manta_status_t status = mti_atomic_i32_load_relaxed(&bulk->status);
    bulk->run.error = mti_atomic_ptr_load_acquire(&bulk->error);
    bulk->run.in_body = true;
    if (status == MANTA_OK && bulk_is_over(bulk, ctx)) status = MANTA_ERR_CANCELLED;
    mti_task_complete(&bulk->run, status);
    mti_heap_free(&ctx->heap, bulk, bulk->total_bytes);
}

static manta_status_t piece_invoke(const manta_call_t *call)
{
    piece_t piece;
    memcpy(&piece, call->args, sizeof piece);
    piece_run(piece.bulk, call->task, piece.begin, piece.end);
    return MANTA_OK;
}

bool mti_bulk_run(manta_task_t *run, size_t buffer_count)
{
    mti_record_t *t = run->record;
    mti_ctx_t *ctx = run->ctx;
    mti_bulk_info_t *info = t->cold->bulk;
    size_t buffers_bytes = buffer_count * sizeof(manta_buffer_t);
    size_t total = sizeof(bulk_t) + buffers_bytes;
    bulk_t *bulk = mti_heap_alloc(&ctx->heap, total);
    if (!bulk) {
        (void)mti_fail(MANTA_ERR_OUT_OF_MEMORY, "range %s: no memory", mti_record_name(t));
        return false;
    }
    *bulk = (bulk_t){.run = *run,
                     .buffers = (manta_buffer_t *)(bulk + 1),
                     .array = info->is_array ? info->images : NULL,
                     .args_bytes = t->def->args_bytes,
                     .count = info->count,
                     .grain = info->grain,
                     .total_bytes = total,
                     .left = {info->count}};
    bulk->run.buffers = bulk->buffers;
    if (buffers_bytes) memcpy(bulk->buffers, run->buffers, buffers_bytes);
    for (size_t i = 0; i < buffer_count;
         i++) { // lists point to buffers further on in the same array
        manta_buffer_t *items = bulk->buffers[i].data;
        if (items >= run->buffers && items < run->buffers + buffer_count) {
            bulk->buffers[i].data = bulk->buffers + (items - run->buffers);
        }
    }
    // No thread runs "the" range: one that ran a piece may well wait for all of it later.
    uint64_t claim = mti_atomic_u64_load_relaxed(&t->claim);
    while (!mti_atomic_u64_cas_acq_rel(
        &t->claim, &claim, (claim & ~((uint64_t)0xffff << 16)) | (uint64_t)NOBODY << 16)) {
    }
    // From inside the range, and so in its runtime: the thread's current one may be another by now.
    mti_thread_t *thread = ctx->thread;
    manta_task_t *outer_task = thread->task;
    mti_ctx_t *outer_ctx = thread->ctx;
    uint32_t outer_epoch = thread->epoch;
    thread->task = run;
    thread->ctx = ctx;
    thread->epoch = 0;
    piece_t all = {bulk, 0, info->count};
    bool submitted = info->count && mti_task_submit(&mti_piece_def, NULL, &all, sizeof all, NULL, 0,
                                                    false) == MANTA_OK;
    thread->task = outer_task;
    thread->ctx = outer_ctx;
    thread->epoch = outer_epoch;
    if (!submitted) {
        if (info->count) {
            mti_body_t body; // without memory for a piece
            mti_body_enter(&body, thread, run);
            piece_run(bulk, run, 0, info->count);
            mti_body_leave(&body, thread, run);
        } else {
            mti_task_complete(&bulk->run, MANTA_OK);
            mti_heap_free(&ctx->heap, bulk, total);
        }
    }
    return true;
}

manta_ref_t mti_bulk_submit(manta_task_def_t *def, const manta_task_options_t *options,
                            const void *args, size_t args_bytes, size_t count, size_t grain,
                            bool is_array)
{
    for (uint32_t i = 0; i < def->param_count && def->params; i++) {
        manta_param_kind_t kind = def->params[i].kind;
        bool is_ref = kind == MANTA_PARAM_IN || kind == MANTA_PARAM_IN_LIST;
        if (kind == MANTA_PARAM_OUT || kind == MANTA_PARAM_INOUT || (is_array && is_ref)) {
            return mti_ref_error(mti_fail(MANTA_ERR_INVALID_ARGUMENT, "task %s, argument %s: %s",
                                          def->name, def->params[i].name,
                                          is_array && is_ref ? "no refs in an array of arguments"
                                                             : "a range has no results"));
        }
    }
    if (is_array && args_bytes != def->args_bytes) {
        return mti_ref_error(mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                                      "task %s: images of %zu bytes, defined with %u", def->name,
                                      args_bytes, def->args_bytes));
    }
    mti_bulk_request_t request = {.array = is_array ? args : NULL, .count = count, .grain = grain};
    // An empty array has no image to copy into the record.
    static const unsigned char empty[UINT16_MAX];
    if (is_array && count == 0) args = empty;
    manta_ref_t ref;
    manta_status_t status = mti_task_submit_bulk(def, options, args, args_bytes, &request, &ref);
    return status == MANTA_OK ? ref : mti_ref_error(status);
}

size_t mti_bulk_grain(size_t count, size_t grain, int workers)
{
    if (grain) return grain;
    size_t pieces = (size_t)(workers > 0 ? workers : 1) * PIECES_PER_WORKER;
    grain = count / pieces;
    return grain < 1 ? 1 : grain > GRAIN_MAX ? GRAIN_MAX : grain;
}
