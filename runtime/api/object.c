// object.h: what needs no more than a look. Put, get and friends stand in core.
#include "core/core.h"

#include <string.h>

manta_status_t manta_ref_status(manta_ref_t ref)
{
    if (mti_ref_is_error(ref)) return mti_ref_error_code(ref);
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    // The common cases need no count: open, or closed and fine.
    mti_thread_enter(thread);
    mti_object_t *object = mti_ref_peek(ref);
    uint64_t head = 0;
    bool closed = object && mti_object_is_closed(object, &head);
    bool same = object && mti_atomic_u32_load_acquire(&object->gen) == mti_ref_gen(ref);
    mti_thread_leave(thread);
    if (!same) return mti_stale(ref);
    if (!closed) return MANTA_NOT_READY;
    if (!(head & MTI_HEAD_FAILED)) return MANTA_OK;
    mti_ctx_t *ctx;
    manta_status_t status = mti_ref_begin(ref, &thread, &ctx, &object);
    if (status != MANTA_OK) return status;
    status = mti_object_status(object, head);
    mti_ref_end(thread, ctx, object);
    return status;
}

manta_status_t manta_ref_size(manta_ref_t ref, size_t *out_size_bytes)
{
    if (!out_size_bytes) return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "ref_size: no room");
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_object_t *object;
    manta_status_t status = mti_ref_begin(ref, &thread, &ctx, &object);
    if (status != MANTA_OK) return status;
    uint64_t head;
    bool known = mti_object_is_closed(object, &head) ||
                 mti_object_kind(object) == MTI_OBJECT_CREATED ||
                 head & MTI_HEAD_ASSIGNED; // it is on its way on a device
    status = known ? mti_object_status(object, head) : MANTA_NOT_READY;
    if (status == MANTA_NOT_READY && known) status = MANTA_OK; // created, not sealed
    if (status == MANTA_OK) *out_size_bytes = mti_object_size(object);
    mti_ref_end(thread, ctx, object);
    return status;
}

const manta_error_t *manta_ref_error(manta_ref_t ref)
{
    if (mti_ref_is_error(ref)) return mti_error_bare(mti_ref_error_code(ref));
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_object_t *object;
    if (mti_ref_begin(ref, &thread, &ctx, &object) != MANTA_OK) return NULL;
    uint64_t head;
    bool failed = mti_object_is_closed(object, &head) && head & MTI_HEAD_FAILED;
    const manta_error_t *error = failed ? mti_error_chain(object, head) : NULL;
    mti_ref_end(thread, ctx, object);
    return error;
}

enum { PRINT_MAX = 64 };

static void print_code(FILE *file, manta_status_t code)
{
    fprintf(file, "%s", manta_status_name(code));
    if (code >= MANTA_ERR_USER) fprintf(file, " + %d", code - MANTA_ERR_USER);
}

// One line: what happened, or, after |cause|, through whom it went on.
static void print_link(FILE *file, const manta_error_t *error, const manta_error_t *cause)
{
    const char *task = manta_error_task(error), *place = manta_error_place(error),
               *text = manta_error_text(error);
    int attempt = manta_error_attempt(error);
    manta_status_t code = manta_error_code(error);
    if (!cause) {
        print_code(file, code);
        if (*task) fprintf(file, " in task %s", task);
    } else if (!*task) {
        fprintf(file, "  ");
    } else {
        fprintf(file, "  then task %s", task);
    }
    if (*place || attempt) {
        fprintf(file, " (%s%s", place, *place && attempt ? ", " : "");
        if (attempt) fprintf(file, "attempt %d", attempt + 1);
        fprintf(file, ")");
    }
    fprintf(file, "%s", *task || !cause ? ": " : "");
    if (cause && code != manta_error_code(cause)) {
        print_code(file, code);
        if (*text) fprintf(file, ", ");
    }
    if (!*text && (!cause || code != manta_error_code(cause))) text = mti_status_text(code);
    fprintf(file, "%s\n", *text ? text : "failed without a message");
}

void manta_ref_print_error(manta_ref_t ref, FILE *file)
{
    if (!file) return;
    const manta_error_t *error = manta_ref_error(ref);
    if (!error) {
        fprintf(file, "no error: %s\n", manta_status_name(manta_ref_status(ref)));
        return;
    }
    // What happened first is at the end of the chain, and chains are short (mti_error_chain).
    const manta_error_t *links[PRINT_MAX];
    size_t n = 0;
    for (const manta_error_t *at = error; at && n < PRINT_MAX; at = manta_error_cause(at))
        links[n++] = at;
    for (size_t i = n; i-- > 0;)
        print_link(file, links[i], i == n - 1 ? NULL : links[i + 1]);
    manta_error_release(error);
}
