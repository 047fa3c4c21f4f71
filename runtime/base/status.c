#include "base/status.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/atomic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_BYTES = 512 };

static __thread char message_of_thread[MESSAGE_BYTES];

struct manta_error {
    mti_atomic_u32_t count;
    manta_status_t code;
    manta_scope_kind_t scope;
    int attempt;
    const manta_error_t *cause;
    const char *task, *place, *text; // inside the same allocation
};

// A bare error is no memory at all: the code, shifted past a tag bit that no pointer has.
static bool error_is_bare(const manta_error_t *error)
{
    return ((uintptr_t)error & 1) != 0;
}

manta_error_t *mti_error_bare(manta_status_t code)
{
    return (manta_error_t *)(((uintptr_t)(uint32_t)code << 1) | 1);
}

const char *manta_status_name(manta_status_t status)
{
    static const struct {
        manta_status_t code;
        const char *name;
    } names[] = {
#define STATUS_ROW(x) {x, #x}
        STATUS_ROW(MANTA_OK),
        STATUS_ROW(MANTA_NOT_READY),
        STATUS_ROW(MANTA_WOULD_BLOCK),
        STATUS_ROW(MANTA_ERR_INVALID_ARGUMENT),
        STATUS_ROW(MANTA_ERR_STALE_REF),
        STATUS_ROW(MANTA_ERR_TYPE_MISMATCH),
        STATUS_ROW(MANTA_ERR_INFEASIBLE),
        STATUS_ROW(MANTA_ERR_NOT_SUPPORTED),
        STATUS_ROW(MANTA_ERR_NOT_ALLOWED_HERE),
        STATUS_ROW(MANTA_ERR_NOT_FOUND),
        STATUS_ROW(MANTA_ERR_ALREADY_EXISTS),
        STATUS_ROW(MANTA_ERR_OUT_OF_RANGE),
        STATUS_ROW(MANTA_ERR_OUT_OF_MEMORY),
        STATUS_ROW(MANTA_ERR_RESOURCE_EXHAUSTED),
        STATUS_ROW(MANTA_ERR_CANCELLED),
        STATUS_ROW(MANTA_ERR_WAIT_CANCELLED),
        STATUS_ROW(MANTA_ERR_TIMEOUT),
        STATUS_ROW(MANTA_ERR_DEADLOCK),
        STATUS_ROW(MANTA_ERR_TOO_DEEP),
        STATUS_ROW(MANTA_ERR_EXCEPTION),
        STATUS_ROW(MANTA_ERR_ABANDONED),
        STATUS_ROW(MANTA_ERR_SHUTDOWN),
        STATUS_ROW(MANTA_ERR_FORKED),
        STATUS_ROW(MANTA_ERR_DEVICE_LOST),
        STATUS_ROW(MANTA_ERR_RESOURCE_GONE),
        STATUS_ROW(MANTA_ERR_DEADLINE),
        STATUS_ROW(MANTA_ERR_END),
        STATUS_ROW(MANTA_ERR_IO),
        STATUS_ROW(MANTA_ERR_SYSTEM),
        STATUS_ROW(MANTA_ERR_INTERNAL),
        STATUS_ROW(MANTA_ERR_ACTOR_DIED),
        STATUS_ROW(MANTA_ERR_ACTOR_RESTARTING),
        STATUS_ROW(MANTA_ERR_ACTOR_BUSY),
        STATUS_ROW(MANTA_ACTOR_FATAL),
#undef STATUS_ROW
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (names[i].code == status) return names[i].name;
    }
    return status >= MANTA_ERR_USER ? "MANTA_ERR_USER" : "unknown status";
}

const char *mti_status_text(manta_status_t status)
{
    switch (status) {
    case MANTA_ERR_CANCELLED:
        return "the task was cancelled";
    case MANTA_ERR_TIMEOUT:
        return "one run took longer than run_timeout_ns";
    case MANTA_ERR_DEADLINE:
        return "the deadline passed before it was done";
    case MANTA_ERR_ABANDONED:
        return "given up without a value";
    case MANTA_ERR_SHUTDOWN:
        return "the runtime shut down before it was done";
    case MANTA_ERR_END:
        return "the generator has come to its end";
    case MANTA_ERR_OUT_OF_MEMORY:
        return "no memory";
    default:
        return "";
    }
}

const char *manta_error_message(void)
{
    return message_of_thread;
}

manta_status_t mti_fail_v(manta_status_t code, const char *format, va_list args)
{
    // The arguments may point into the message itself.
    char text[MESSAGE_BYTES];
    vsnprintf(text, sizeof text, format, args);
    memcpy(message_of_thread, text, sizeof text);
    return code;
}

manta_status_t mti_fail(manta_status_t code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    mti_fail_v(code, format, args);
    va_end(args);
    return code;
}

manta_status_t mti_fail_note(manta_status_t code, const char *format, ...)
{
    char note[MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(note, sizeof note, format, args);
    va_end(args);
    return mti_fail(code, "%.200s: %.300s", note, message_of_thread);
}

static char *error_copy(char *at, const char **out, const char *text, size_t bytes)
{
    memcpy(at, text, bytes);
    *out = at;
    return at + bytes;
}

manta_error_t *mti_error_create(manta_status_t code, manta_scope_kind_t scope, const char *task,
                                const char *place, int attempt, const char *text,
                                const manta_error_t *cause)
{
    task = task ? task : "";
    place = place ? place : "";
    text = text ? text : "";
    size_t task_bytes = strlen(task) + 1, place_bytes = strlen(place) + 1,
           text_bytes = strlen(text) + 1;
    size_t bytes = sizeof(manta_error_t) + task_bytes + place_bytes + text_bytes;
    manta_error_t *error = mti_alloc_allowed(bytes) ? malloc(bytes) : NULL;
    if (!error) return mti_error_bare(code); // benign: the code still makes the trip
    *error = (manta_error_t){.count = {1},
                             .code = code,
                             .scope = scope,
                             .attempt = attempt,
                             .cause = manta_error_retain(cause)};
    char *at = (char *)(error + 1);
    at = error_copy(at, &error->task, task, task_bytes);
    at = error_copy(at, &error->place, place, place_bytes);
    error_copy(at, &error->text, text, text_bytes);
    return error;
}

const manta_error_t *manta_error_retain(const manta_error_t *error)
{
    if (error && !error_is_bare(error)) {
        // relaxed: whoever retains holds a count already
        (void)mti_atomic_u32_fetch_add_relaxed(&((manta_error_t *)error)->count, 1);
    }
    return error;
}

void manta_error_release(const manta_error_t *error)
{
    // A loop, not a recursion: chains may be long.
    while (error && !error_is_bare(error)) {
        manta_error_t *mine = (manta_error_t *)error;
        if (mti_atomic_u32_fetch_sub_acq_rel(&mine->count, 1) != 1) return;
        error = mine->cause;
        free(mine);
    }
}

manta_status_t manta_error_code(const manta_error_t *error)
{
    if (!error) return MANTA_OK;
    return error_is_bare(error) ? (manta_status_t)((uintptr_t)error >> 1) : error->code;
}

manta_scope_kind_t manta_error_scope(const manta_error_t *error)
{
    if (!error) return MANTA_SCOPE_CALL;
    return error_is_bare(error) ? MANTA_SCOPE_TASK : error->scope;
}

const char *manta_error_text(const manta_error_t *error)
{
    if (!error || error_is_bare(error)) return "";
    return error->text;
}

const char *manta_error_task(const manta_error_t *error)
{
    return error && !error_is_bare(error) ? error->task : "";
}

const char *manta_error_place(const manta_error_t *error)
{
    return error && !error_is_bare(error) ? error->place : "";
}

int manta_error_attempt(const manta_error_t *error)
{
    return error && !error_is_bare(error) ? error->attempt : 0;
}

const manta_error_t *manta_error_cause(const manta_error_t *error)
{
    return error && !error_is_bare(error) ? error->cause : NULL;
}

void mti_assert_failed(const char *text, const char *file, int line)
{
    fprintf(stderr, "manta: bug: %s at %s:%d\n", text, file, line);
    abort();
}
