// Threads of the runtime.
#ifndef MTI_BASE_THREAD_H
#define MTI_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Starts a thread that runs |fn|(|arg|) with all signals blocked. Returns false if there is none to
// be had. The caller joins it.
bool mti_thread_create(pthread_t *out_thread, void *(*fn)(void *), void *arg, const char *name);

// Lowest usable address of this thread's stack; 0: not asked yet, 1: unknown.
extern __thread uintptr_t mti_thread_stack_low __attribute__((tls_model("initial-exec")));
// Finds it. Returns what is left.
size_t mti_thread_stack_find(void);

// Bytes of stack that the calling thread has left, about. One call per thread finds the bounds.
static inline size_t mti_thread_stack_left(void)
{
    uintptr_t low = mti_thread_stack_low;
    if (low <= 1) return mti_thread_stack_find();
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    return here > low ? here - low : 0;
}

// For tests: when set, called before each creation; false makes it fail.
extern bool (*mti_thread_create_hook)(void);

#endif
