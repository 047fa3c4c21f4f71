#include "devices/host/pages.h"

#include "base/alloc.h"

#include <limits.h>
#include <linux/mempolicy.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static size_t whole_pages(size_t size_bytes)
{
    return mti_size_align(size_bytes, (size_t)sysconf(_SC_PAGESIZE));
}

void *mti_pages_alloc(size_t size_bytes, int node)
{
    enum { MAX_NODES = 1024, WORD_BITS = sizeof(unsigned long) * CHAR_BIT };
    if (size_bytes == 0 || size_bytes > SIZE_MAX / 2 || !mti_alloc_allowed(size_bytes)) return NULL;
    size_t bytes = whole_pages(size_bytes);
    void *ptr = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ptr == MAP_FAILED) return NULL;
    if (node >= 0 && node < MAX_NODES) {
        unsigned long mask[MAX_NODES / WORD_BITS] = {0};
        mask[node / WORD_BITS] = 1ul << node % WORD_BITS;
        // The result does not matter: seccomp may forbid it, and then pages go where they are touched.
        (void)syscall(SYS_mbind, ptr, bytes, MPOL_PREFERRED, mask, (unsigned long)MAX_NODES + 1, 0);
    }
    return ptr;
}

void mti_pages_free(void *ptr, size_t size_bytes)
{
    if (ptr) (void)munmap(ptr, whole_pages(size_bytes));
}
