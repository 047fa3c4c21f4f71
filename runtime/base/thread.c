#define _GNU_SOURCE
#include "base/thread.h"

#include <signal.h>
#include <stdio.h>

bool (*mti_thread_create_hook)(void);

__thread uintptr_t mti_thread_stack_low;

bool mti_thread_create(pthread_t *out_thread, void *(*fn)(void *), void *arg, const char *name)
{
    if (mti_thread_create_hook && !mti_thread_create_hook()) return false;
    sigset_t all, before;
    sigfillset(&all);
    // The new thread inherits the mask: signals go to the user's threads. Not those of a fault, which is
    // this thread's own: blocked, they would end the process without asking any handler.
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(out_thread, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) return false;
    char short_name[16]; // the kernel's limit
    snprintf(short_name, sizeof short_name, "%s", name);
    (void)pthread_setname_np(*out_thread, short_name);
    return true;
}

static uintptr_t stack_find_low(void)
{
    pthread_attr_t attr;
    void *low = NULL;
    size_t size = 0, guard = 0;
    if (pthread_getattr_np(pthread_self(), &attr) != 0) return 1;
    (void)pthread_attr_getstack(&attr, &low, &size);
    (void)pthread_attr_getguardsize(&attr, &guard);
    pthread_attr_destroy(&attr);
    return (uintptr_t)low + guard;
}

size_t mti_thread_stack_find(void)
{
    if (mti_thread_stack_low == 0) mti_thread_stack_low = stack_find_low();
    return mti_thread_stack_low == 1 ? SIZE_MAX : mti_thread_stack_left();
}
