// Failures inside manta: the message of this thread's last failed call, and error objects.
#ifndef MTI_BASE_STATUS_H
#define MTI_BASE_STATUS_H

#include <manta/status.h>

#include <stdarg.h>

#ifdef __cplusplus
extern "C" {
#endif

// Sets this thread's message (truncated at 511 bytes) and gives |code| back.
manta_status_t mti_fail(manta_status_t code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
manta_status_t mti_fail_v(manta_status_t code, const char *format, va_list args);
// Puts "|context|: " before this thread's message; gives |code| back.
manta_status_t mti_fail_note(manta_status_t code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// What there is to say about an error that carries its code alone; "" if that says it all.
const char *mti_status_text(manta_status_t status);

// Makes an error with one count. Strings are copied; |cause| is retained. If memory is gone the
// *bare* error of |code| comes back: it carries the code alone. Never NULL for a code != MANTA_OK.
manta_error_t *mti_error_create(manta_status_t code, manta_scope_kind_t scope, const char *task,
                                const char *place, int attempt, const char *text,
                                const manta_error_t *cause);
// The bare error of |code|: no memory, any count.
manta_error_t *mti_error_bare(manta_status_t code);

#ifdef __cplusplus
}
#endif

#endif
