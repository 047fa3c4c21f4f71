// The driver: which GPUs there are, and what a device is while it is open.
#include "devices/cuda/cuda_impl.h"
#include "devices/driver.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

typedef struct cuda_driver {
    mti_driver_t base;
    manta_allocator_t allocator;
    const mti_cu_api_t *api;
    uint32_t count;
    cuda_device_t *devices;
    mti_device_t **list; // |devices|, as the registry wants them
    mti_link_t *links;   // |count| rows of |count|
} cuda_driver_t;

// ---- Looking -------------------------------------------------------------------------------------

// |fallback| where the driver does not know the attribute.
static int device_attribute(const cuda_device_t *device, CUdevice_attribute attribute, int fallback)
{
    int value = 0;
    CUresult result = device->api->cuDeviceGetAttribute(&value, attribute, device->handle);
    return result == CUDA_SUCCESS ? value : fallback;
}

static uint32_t device_limit(const cuda_device_t *device, CUdevice_attribute attribute)
{
    int value = device_attribute(device, attribute, 0);
    return value > 0 ? (uint32_t)value : 0;
}

// What the kernel says, where the driver (older than 12.3) does not.
static int node_of_pci(const char *pci_id)
{
    char path[64];
    int node = -1;
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/numa_node", pci_id);
    FILE *file = fopen(path, "re");
    if (!file) return -1;
    if (fscanf(file, "%d", &node) != 1) node = -1;
    fclose(file);
    return node;
}

static void look_at_limits(cuda_device_t *device)
{
    mti_device_limits_t *limits = &device->base.info.limits;
    static const CUdevice_attribute grid[] = {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X,
                                              CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y,
                                              CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z};
    static const CUdevice_attribute block[] = {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X,
                                               CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y,
                                               CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z};
    for (int i = 0; i < 3; i++) {
        limits->max_grid[i] = device_limit(device, grid[i]);
        limits->max_block[i] = device_limit(device, block[i]);
    }
    limits->max_block_threads = device_limit(device, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
    limits->max_shared_bytes =
        device_limit(device, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
    // Since CUDA 12.1, from Volta on: 32764 bytes of parameters, before that 4 KiB.
    bool is_large = device->api->driver_version >= 12010 && device->base.info.cc_major >= 7;
    limits->max_args_bytes = is_large ? 32764 : 4096;
    limits->max_queues = MTI_DEVICE_MAX_QUEUES;
    limits->alloc_align_bytes = 256;
}

// Twice the memory clock over the width of the bus; a copy inside the device gets half of that.
static uint64_t own_bytes_per_s(const cuda_device_t *device)
{
    uint64_t khz = device_limit(device, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE);
    uint64_t bits = device_limit(device, CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH);
    return khz * 1000 * 2 * (bits / 8) / 2;
}

// The driver knows who reaches whom, and not how fast: that is measured by those who need it.
static void look_at_peers(cuda_driver_t *driver, cuda_device_t *device)
{
    uint32_t self = device->base.ordinal;
    mti_link_t *links = &driver->links[(size_t)self * driver->count];
    for (uint32_t i = 0; i < driver->count; i++) {
        int can = 0;
        if (i == self) {
            links[i] = (mti_link_t){own_bytes_per_s(device), 0, true};
        } else if (driver->api->cuDeviceCanAccessPeer(&can, driver->devices[i].handle,
                                                      device->handle) == CUDA_SUCCESS) {
            links[i] = (mti_link_t){0, 0, can != 0};
        }
    }
    device->base.info.peer_count = driver->count;
    device->base.info.peers = links;
    device->has_peers = driver->count > 1;
}

static manta_status_t look_at_identity(cuda_device_t *device)
{
    mti_device_info_t *info = &device->base.info;
    CUuuid uuid;
    size_t bytes = 0;
    MTI_CU_TRY(device, cuDeviceGetName(info->name, (int)sizeof info->name, device->handle));
    MTI_CU_TRY(device, cuDeviceGetUuid(&uuid, device->handle));
    MTI_CU_TRY(device, cuDeviceTotalMem(&bytes, device->handle));
    MTI_CU_TRY(device, cuDeviceGetPCIBusId(info->pci_id, (int)sizeof info->pci_id, device->handle));
    memcpy(info->uuid, uuid.bytes, sizeof info->uuid);
    info->memory_bytes = bytes;
    // As the kernel and hwloc spell it.
    for (char *c = info->pci_id; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return MANTA_OK;
}

static manta_status_t look_at_device(cuda_driver_t *driver, cuda_device_t *device, uint32_t ordinal)
{
    mti_device_info_t *info = &device->base.info;
    device->api = driver->api;
    device->base.driver = &driver->base;
    device->base.family = driver;
    device->base.allocator = driver->allocator;
    device->base.ordinal = ordinal;
    snprintf(device->base.name, sizeof device->base.name, "cuda:%u", ordinal);
    MTI_CU_TRY(device, cuDeviceGet(&device->handle, (int)ordinal));
    manta_status_t status = look_at_identity(device);
    if (status != MANTA_OK) return status;
    info->kind = MTI_DEVICE_GPU;
    info->cc_major = device_attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0);
    info->cc_minor = device_attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0);
    info->node = device_attribute(device, CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID, -1);
    if (info->node < 0) info->node = node_of_pci(info->pci_id);
    info->to_host.direct = info->from_host.direct = true;
    look_at_limits(device);
    device->max_pitch = device_limit(device, CU_DEVICE_ATTRIBUTE_MAX_PITCH);
    device->has_pools =
        device_attribute(device, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 0) == 1;
    device->has_words =
        device->api->cuStreamWriteValue64 &&
        device_attribute(device, CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, 0) == 1;
    return MANTA_OK;
}

// ---- Open and close ------------------------------------------------------------------------------

static manta_status_t context_retain(cuda_device_t *device)
{
    // The primary context, which the runtime API of users' own code shares.
    MTI_CU_TRY(device, cuDevicePrimaryCtxRetain(&device->context, device->handle));
    return MANTA_OK;
}

static void context_release(cuda_device_t *device)
{
    // Only our count: others in this process may use the context, so it is never reset.
    if (device->context && !mti_cu_forked())
        MTI_CU_NOTE(device, cuDevicePrimaryCtxRelease(device->handle));
    device->context = NULL;
}

static manta_status_t cuda_open(mti_device_t *base)
{
    cuda_device_t *device = cuda_device(base);
    if (mti_cu_forked()) return mti_cu_fail_forked();
    cuda_scope_t scope;
    manta_status_t status = context_retain(device);
    if (status != MANTA_OK) goto fail;
    status = cuda_enter(device, &scope);
    if (status != MANTA_OK) goto release_context;
    status = cuda_memory_open(device);
    cuda_leave(device, &scope);
    if (status != MANTA_OK) goto close_memory;
    device->net_ns = mti_clock_ns();
    return MANTA_OK;

close_memory:
    cuda_memory_close(device);
release_context:
    context_release(device);
fail:
    return mti_fail_note(status, "%s (%s)", base->name, base->info.name);
}

static manta_status_t cuda_close(mti_device_t *base, int64_t deadline_ns)
{
    (void)deadline_ns; // everything is quiet already
    cuda_device_t *device = cuda_device(base);
    cuda_scope_t scope;
    if (cuda_enter(device, &scope) == MANTA_OK) {
        cuda_event_pool_drain(device);
        cuda_leave(device, &scope);
    }
    device->event_pool_count = 0;
    cuda_memory_close(device);
    context_release(device);
    return MANTA_OK;
}

static const mti_device_ops_t cuda_ops = {
    .open = cuda_open,
    .close = cuda_close,
    .queue_create = cuda_queue_create,
    .queue_destroy = cuda_queue_destroy,
    .wait = cuda_wait,
    .signal = cuda_signal,
    .poll = cuda_poll,
    .block = cuda_block,
    .wake = cuda_wake,
    .bind = cuda_bind,
    .rebind = cuda_rebind,
    .unbind = cuda_unbind,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .host_alloc = cuda_host_alloc,
    .host_free = cuda_free,
    .host_register = cuda_host_register,
    .host_unregister = cuda_free,
    .copy = cuda_copy,
    .copy_2d = cuda_copy_2d,
    .fill = cuda_fill,
    .empty = cuda_empty,
    .code_load = cuda_code_load,
    .code_unload = cuda_code_unload,
    .launch = cuda_launch,
    .native_queue = cuda_native_queue,
    .launch_native = cuda_launch_native,
    .foreign_stream = cuda_foreign_stream,
    .foreign_after = cuda_foreign_after,
    .foreign_mark = cuda_foreign_mark,
    .foreign_unmark = cuda_foreign_unmark,
    .foreign_wait = cuda_foreign_wait,
    .foreign_memory = cuda_foreign_memory,
    .foreign_adopt = cuda_foreign_adopt,
};

// Not among them: HOST_FN, because a host function on a stream takes a hundred microseconds to be
// called and is not called at all after an error; PAGEABLE, because the driver would make such a copy
// wait for itself. Whoever has pageable memory copies it through pinned buffers.
enum {
    CUDA_CAPS = MTI_CAP_LAUNCH | MTI_CAP_COPY_2D | MTI_CAP_PEER_COPY | MTI_CAP_HOST_REGISTER |
                MTI_CAP_CROSS_WAIT | MTI_CAP_NATIVE,
};

// ---- The driver ----------------------------------------------------------------------------------

static void cuda_driver_destroy(mti_driver_t *base)
{
    cuda_driver_t *driver = (cuda_driver_t *)base;
    manta_allocator_t allocator = driver->allocator;
    size_t count = driver->count;
    mti_free(&allocator, driver->links, count * count * sizeof *driver->links);
    mti_free(&allocator, driver->list, count * sizeof *driver->list);
    mti_free(&allocator, driver->devices, count * sizeof *driver->devices);
    mti_free(&allocator, driver, sizeof *driver);
}

static bool driver_allocate(cuda_driver_t *driver)
{
    size_t count = driver->count;
    const manta_allocator_t *allocator = &driver->allocator;
    driver->devices = mti_alloc_zeroed(allocator, count * sizeof *driver->devices, MTI_LINE_BYTES);
    driver->list = mti_alloc_zeroed(allocator, count * sizeof *driver->list, sizeof(void *));
    driver->links =
        mti_alloc_zeroed(allocator, count * count * sizeof *driver->links, sizeof(void *));
    return driver->devices && driver->list && driver->links;
}

static manta_status_t cuda_driver_create(const mti_driver_options_t *options,
                                         mti_driver_t **out_driver)
{
    const mti_cu_api_t *api = NULL;
    if (options->user->no_cuda) return MANTA_ERR_NOT_FOUND;
    manta_status_t status = mti_cu_api_get(&api);
    if (status == MANTA_ERR_NOT_SUPPORTED) return MANTA_ERR_NOT_FOUND;
    if (status != MANTA_OK) return status;

    cuda_driver_t *driver = mti_alloc_zeroed(&options->allocator, sizeof *driver, sizeof(void *));
    if (!driver) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for the CUDA driver");
    driver->allocator = options->allocator;
    driver->api = api;
    int count = 0;
    if (api->cuDeviceGetCount(&count) != CUDA_SUCCESS || count <= 0) count = api->device_count;
    driver->count = (uint32_t)count;
    driver->base.ops = &mti_cuda_driver;
    if (!driver_allocate(driver)) {
        status = mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for the CUDA driver");
        goto destroy_driver;
    }
    for (uint32_t i = 0; i < driver->count; i++) {
        cuda_device_t *device = &driver->devices[i];
        device->base.ops = &cuda_ops;
        device->base.caps = CUDA_CAPS;
        driver->list[i] = &device->base;
        status = look_at_device(driver, device, i);
        if (status != MANTA_OK) goto destroy_driver;
    }
    for (uint32_t i = 0; i < driver->count; i++)
        look_at_peers(driver, &driver->devices[i]);
    driver->base.device_count = driver->count;
    driver->base.devices = driver->list;
    *out_driver = &driver->base;
    return MANTA_OK;

destroy_driver:
    cuda_driver_destroy(&driver->base);
    return status;
}

const mti_driver_ops_t mti_cuda_driver = {
    .name = "cuda",
    .create = cuda_driver_create,
    .destroy = cuda_driver_destroy,
};
