// Device memory from a pool, pinned host memory on a node.
#include "devices/cuda/cuda_impl.h"
#include "devices/driver.h"

#include "base/alloc.h"
#include "base/status.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

cuda_memory_t *cuda_memory_make(cuda_device_t *device, cuda_memory_origin_t origin)
{
    cuda_memory_t *memory =
        mti_alloc_zeroed(&device->base.allocator, sizeof *memory, sizeof(void *));
    if (!memory) {
        (void)mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: no host memory to keep track of an allocation",
                       device->base.name);
        return NULL;
    }
    memory->base.device = &device->base;
    memory->origin = origin;
    return memory;
}

static void memory_destroy(cuda_device_t *device, cuda_memory_t *memory)
{
    mti_free(&device->base.allocator, memory, sizeof *memory);
}

// ---- Device memory -------------------------------------------------------------------------------

// Allocations and frees are ordered on a stream of their own, on which nothing else ever runs: a free
// comes when the host knows that the memory is idle, so there is nothing that could hold that stream
// up, and waiting for it here takes no longer than the call itself. What is allocated may then be used
// on any stream.
static manta_status_t device_alloc(cuda_device_t *device, size_t size_bytes, bool from_pool,
                                   CUdeviceptr *out_ptr)
{
    if (from_pool) {
        MTI_CU_TRY(device, cuMemAllocFromPoolAsync(out_ptr, size_bytes, device->pool,
                                                   device->memory_stream));
        MTI_CU_TRY(device, cuStreamSynchronize(device->memory_stream));
    } else {
        MTI_CU_TRY(device, cuMemAlloc(out_ptr, size_bytes));
    }
    return MANTA_OK;
}

// Others use the device, too: what the driver says of it belongs to the message. What the pool keeps for
// later does not count as free.
static void alloc_describe(cuda_device_t *device, manta_status_t status)
{
    size_t free_bytes, total_bytes;
    if (status != MANTA_ERR_OUT_OF_MEMORY) return;
    char text[256];
    snprintf(text, sizeof text, "%s", manta_error_message());
    if (device->api->cuMemGetInfo(&free_bytes, &total_bytes) == CUDA_SUCCESS)
        (void)mti_fail(status, "%s; %zu of %zu bytes are free", text, free_bytes, total_bytes);
}

manta_status_t cuda_alloc(mti_device_t *base, size_t size_bytes, mti_memory_t **out_memory)
{
    cuda_device_t *device = cuda_device(base);
    cuda_scope_t scope;
    manta_status_t status = cuda_enter_making(device, &scope);
    if (status != MANTA_OK) return status;
    CUdeviceptr ptr = 0;
    cuda_memory_t *memory =
        cuda_memory_make(device, device->has_pools ? CUDA_MEMORY_POOL : CUDA_MEMORY_PLAIN);
    if (!memory) {
        status = MANTA_ERR_OUT_OF_MEMORY;
        goto leave;
    }
    status = device_alloc(device, size_bytes, device->has_pools, &ptr);
    if (status != MANTA_OK) {
        memory_destroy(device, memory);
        alloc_describe(device, status);
        goto leave;
    }
    memory->base.ptr = (void *)(uintptr_t)ptr;
    memory->base.size_bytes = size_bytes;
    memory->base.kind = MTI_MEMORY_DEVICE;
    memory->base.node = -1;
    *out_memory = &memory->base;
leave:
    cuda_leave(device, &scope);
    return status;
}

// ---- Host memory ---------------------------------------------------------------------------------

static size_t page_bytes(void)
{
    long size = sysconf(_SC_PAGESIZE);
    return size > 0 ? (size_t)size : 4096;
}

// Asks the kernel to take pages from |node|. A preference: a full node must not end the process.
static manta_status_t host_place(void *ptr, size_t size_bytes, int node)
{
    enum {
        MPOL_PREFERRED_MODE = 1,
        MAX_NODES = 1024,
        WORD_BITS = sizeof(unsigned long) * CHAR_BIT
    };
    unsigned long mask[MAX_NODES / WORD_BITS] = {0};
    if (node < 0) return MANTA_OK;
    if (node >= MAX_NODES)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "there is no NUMA node %d", node);
    mask[(unsigned)node / WORD_BITS] = 1ul << ((unsigned)node % WORD_BITS);
    if (syscall(SYS_mbind, ptr, size_bytes, MPOL_PREFERRED_MODE, mask, (unsigned long)MAX_NODES,
                0u) == 0)
        return MANTA_OK;
    // Kernels without NUMA, and sandboxes, don't have it: then there is one node, or no choice.
    if (errno == ENOSYS || errno == EPERM) return MANTA_OK;
    return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "there is no memory on NUMA node %d: %s", node,
                    strerror(errno));
}

static manta_status_t host_pin(cuda_device_t *device, void *ptr, size_t size_bytes)
{
    // Portable: usable by every context of the process.
    MTI_CU_TRY(device,
               cuMemHostRegister(ptr, size_bytes,
                                 CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP));
    return MANTA_OK;
}

// Pages of our own, on |node|, touched and pinned by the registration.
static manta_status_t host_map(cuda_device_t *device, size_t size_bytes, int node, void **out_ptr)
{
    void *ptr = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ptr == MAP_FAILED)
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no address space for %zu bytes of pinned memory",
                        size_bytes);
    manta_status_t status = host_place(ptr, size_bytes, node);
    // A device writes to the pages that were pinned; a fork must not make this process copy them.
    (void)madvise(ptr, size_bytes, MADV_DONTFORK);
    (void)madvise(ptr, size_bytes, MADV_HUGEPAGE);
    if (status == MANTA_OK) status = host_pin(device, ptr, size_bytes);
    if (status != MANTA_OK) {
        munmap(ptr, size_bytes);
        return status;
    }
    *out_ptr = ptr;
    return MANTA_OK;
}

static manta_status_t host_make(cuda_device_t *device, cuda_memory_origin_t origin, void *ptr,
                                size_t size_bytes, int node, mti_memory_t **out_memory)
{
    cuda_memory_t *memory = cuda_memory_make(device, origin);
    if (!memory) return MANTA_ERR_OUT_OF_MEMORY;
    manta_status_t status;
    if (origin == CUDA_MEMORY_MAPPED) {
        // The size stays what was asked for; the pages behind it go with it.
        status = host_map(device, mti_size_align(size_bytes, page_bytes()), node, &ptr);
    } else {
        status = host_pin(device, ptr, size_bytes);
    }
    if (status != MANTA_OK) {
        memory_destroy(device, memory);
        return mti_fail_note(status, "%s: %zu bytes of pinned host memory", device->base.name,
                             size_bytes);
    }
    memory->base.ptr = ptr;
    memory->base.size_bytes = size_bytes;
    memory->base.kind = origin == CUDA_MEMORY_MAPPED ? MTI_MEMORY_HOST : MTI_MEMORY_REGISTERED;
    memory->base.node = node;
    *out_memory = &memory->base;
    return MANTA_OK;
}

manta_status_t cuda_host_alloc(mti_device_t *base, size_t size_bytes, int node,
                               mti_memory_t **out_memory)
{
    cuda_device_t *device = cuda_device(base);
    size_t whole;
    if (!mti_size_add(size_bytes, page_bytes(), &whole))
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: %zu bytes of pinned host memory", base->name,
                        size_bytes);
    cuda_scope_t scope;
    manta_status_t status = cuda_enter_making(device, &scope);
    if (status != MANTA_OK) return status;
    status = host_make(device, CUDA_MEMORY_MAPPED, NULL, size_bytes, node, out_memory);
    cuda_leave(device, &scope);
    return status;
}

manta_status_t cuda_host_register(mti_device_t *base, void *ptr, size_t size_bytes,
                                  mti_memory_t **out_memory)
{
    cuda_device_t *device = cuda_device(base);
    cuda_scope_t scope;
    manta_status_t status = cuda_enter_making(device, &scope);
    if (status != MANTA_OK) return status;
    status = host_make(device, CUDA_MEMORY_REGISTERED, ptr, size_bytes, -1, out_memory);
    cuda_leave(device, &scope);
    return status;
}

// ---- Giving back ---------------------------------------------------------------------------------

void cuda_free(mti_memory_t *base)
{
    cuda_memory_t *memory = (cuda_memory_t *)base;
    cuda_device_t *device = cuda_device(base->device);
    cuda_scope_t scope;
    // A lost context takes its memory along, and lets go of host pages when it is released.
    bool is_usable = cuda_enter(device, &scope) == MANTA_OK;
    if (is_usable) {
        switch (memory->origin) {
        case CUDA_MEMORY_POOL:
            MTI_CU_NOTE(device, cuMemFreeAsync(cuda_address(base->ptr), device->memory_stream));
            break;
        case CUDA_MEMORY_PLAIN:
            MTI_CU_NOTE(device, cuMemFree(cuda_address(base->ptr)));
            break;
        case CUDA_MEMORY_MAPPED:
        case CUDA_MEMORY_REGISTERED:
            MTI_CU_NOTE(device, cuMemHostUnregister(base->ptr));
            break;
        case CUDA_MEMORY_FOREIGN:
            break;
        }
        cuda_leave(device, &scope);
    }
    if (memory->origin == CUDA_MEMORY_MAPPED)
        munmap(base->ptr, mti_size_align(base->size_bytes, page_bytes()));
    memory_destroy(device, memory);
}

// ---- What a device needs before anything else ----------------------------------------------------

// Peers that can reach this device's memory are let in. Those for which that fails (a device has so
// many direct peers at most) stage their copies through the host, which the driver does by itself.
static void pool_let_peers_in(cuda_device_t *device)
{
    const mti_device_info_t *info = &device->base.info;
    for (uint32_t i = 0; i < info->peer_count; i++) {
        if (i == device->base.ordinal || !info->peers[i].direct) continue;
        const cuda_device_t *peer = cuda_device(device->base.driver->devices[i]);
        CUmemAccessDesc access = {{CU_MEM_LOCATION_TYPE_DEVICE, peer->handle},
                                  CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
        if (device->api->cuMemPoolSetAccess(device->pool, &access, 1) == CUDA_SUCCESS && i < 64)
            device->lets_in |= UINT64_C(1) << i;
    }
}

static manta_status_t pool_open(cuda_device_t *device)
{
    CUmemPoolProps props;
    memset(&props, 0, sizeof props);
    props.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    props.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    props.location.id = device->handle;
    MTI_CU_TRY(device, cuMemPoolCreate(&device->pool, &props));
    // Keep what was freed: giving it back at every synchronisation costs more than it brings.
    cuuint64_t keep_bytes = UINT64_MAX;
    MTI_CU_TRY(device,
               cuMemPoolSetAttribute(device->pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &keep_bytes));
    // Never make one stream wait for another behind our back.
    int allow = 0;
    MTI_CU_TRY(device,
               cuMemPoolSetAttribute(device->pool,
                                     CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES, &allow));
    MTI_CU_TRY(device,
               cuStreamCreateWithPriority(&device->memory_stream, CU_STREAM_NON_BLOCKING, 0));
    pool_let_peers_in(device);
    return MANTA_OK;
}

static manta_status_t words_open(cuda_device_t *device)
{
    manta_status_t status =
        host_make(device, CUDA_MEMORY_MAPPED, NULL, (size_t)MTI_DEVICE_MAX_QUEUES * MTI_LINE_BYTES,
                  device->base.info.node, &device->words);
    if (status != MANTA_OK) return status;
    MTI_CU_TRY(device, cuMemHostGetDevicePointer(&device->words_device, device->words->ptr, 0));
    return MANTA_OK;
}

static manta_status_t far_open(cuda_device_t *device)
{
    MTI_CU_TRY(device, cuStreamCreateWithPriority(&device->far_stream, CU_STREAM_NON_BLOCKING, 0));
    return MANTA_OK;
}

manta_status_t cuda_memory_open(cuda_device_t *device)
{
    manta_status_t status = MANTA_OK;
    device->lets_in = 0;
    if (device->has_pools) status = pool_open(device);
    if (status == MANTA_OK && device->has_peers) status = far_open(device);
    if (status == MANTA_OK && device->has_words) status = words_open(device);
    return status;
}

void cuda_memory_close(cuda_device_t *device)
{
    if (device->words) cuda_free(device->words);
    device->words = NULL;
    cuda_scope_t scope;
    if (cuda_enter(device, &scope) == MANTA_OK) {
        if (device->far_stream) MTI_CU_NOTE(device, cuStreamDestroy(device->far_stream));
        if (device->memory_stream) {
            // The last frees; the pool may only go behind them.
            MTI_CU_NOTE(device, cuStreamSynchronize(device->memory_stream));
            MTI_CU_NOTE(device, cuStreamDestroy(device->memory_stream));
        }
        if (device->pool) MTI_CU_NOTE(device, cuMemPoolDestroy(device->pool));
        cuda_leave(device, &scope);
    }
    device->memory_stream = device->far_stream = NULL;
    device->pool = NULL;
}
