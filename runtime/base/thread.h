// Threads of the runtime.
#ifndef MTI_BASE_THREAD_H
#define MTI_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

// Starts a thread that runs |fn|(|arg|) with all signals blocked. Returns false if there is none to
// be had. The caller joins it.
bool mti_thread_create(pthread_t *out_thread, void *(*fn)(void *), void *arg, const char *name);

// Bytes of stack that the calling thread has left, about. One call per thread finds the bounds.
size_t mti_thread_stack_left(void);

// For tests: when set, called before each creation; false makes it fail.
extern bool (*mti_thread_create_hook)(void);

#endif
