// What the system may refuse, for tests: one hook in front of the calls that can fail for reasons that a
// test can't bring about. Allocations (alloc.h) and threads (thread.h) have hooks of their own.
#ifndef MTI_BASE_FAULT_H
#define MTI_BASE_FAULT_H

#include <stdbool.h>
#include <stddef.h>

typedef enum mti_fault {
    MTI_FAULT_HWLOC,      // a call of hwloc that discovers or allocates
    MTI_FAULT_FILE,       // opening a file, or reading on in it
    MTI_FAULT_EVENTFD,    // eventfd(2)
    MTI_FAULT_MEMBARRIER, // registering for membarrier(2), as on a kernel without it
    MTI_FAULT_BIND,       // binding a thread, or its memory
} mti_fault_t;

// When set, called before every such call; false makes that one fail.
extern bool (*mti_fault_hook)(mti_fault_t what);
static inline bool mti_fault_allowed(mti_fault_t what)
{
    return !mti_fault_hook || mti_fault_hook(what);
}

#endif
