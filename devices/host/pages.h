// Whole pages of host memory near a NUMA node. Stands on base alone.
#ifndef MTI_DEVICES_HOST_PAGES_H
#define MTI_DEVICES_HOST_PAGES_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// At least |size_bytes| of zeroed memory, in pages that prefer to be on NUMA node |node| (OS index; -1:
// where they are touched). A full node, or a kernel that does not bind, is no error. Returns NULL if
// there is no memory.
void *mti_pages_alloc(size_t size_bytes, int node);
// |size_bytes| as given to mti_pages_alloc. NULL is fine.
void mti_pages_free(void *ptr, size_t size_bytes);

#ifdef __cplusplus
}
#endif

#endif
