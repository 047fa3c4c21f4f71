// What the system may refuse, for tests: one hook in front of the calls that can fail for reasons that a
// test can't bring about. Allocations (alloc.h) and threads (thread.h) have hooks of their own.
#ifndef MTI_BASE_REFUSAL_H
#define MTI_BASE_REFUSAL_H

#include <stdbool.h>
#include <stddef.h>

typedef enum mti_refusal {
    MTI_REFUSAL_HWLOC,      // a call of hwloc that discovers or allocates
    MTI_REFUSAL_FILE,       // opening a file, or reading on in it
    MTI_REFUSAL_EVENTFD,    // eventfd(2)
    MTI_REFUSAL_MEMBARRIER, // registering for membarrier(2), as on a kernel without it
    MTI_REFUSAL_BIND,       // binding a thread, or its memory
} mti_refusal_t;

// When set, called before every such call; false makes that one fail.
extern bool (*mti_refusal_hook)(mti_refusal_t what);
static inline bool mti_refusal_allowed(mti_refusal_t what)
{
    return !mti_refusal_hook || mti_refusal_hook(what);
}

#endif
