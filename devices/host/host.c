// The driver `host`: one device per NUMA node, whose memory is the node's. So the store has one way to copy,
// and copies between nodes are ordered like any other. Tasks do not run here; they run on workers.
#include "devices/driver.h"

#include "base/alloc.h"
#include "base/status.h"
#include "devices/sim/virtual.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct host_driver {
    mti_driver_t base;
    manta_allocator_t allocator;
    uint32_t count;
    mti_virtual_device_t *devices;
    mti_link_t *links; // all alike
    mti_device_t **table;
} host_driver_t;

static void host_destroy(mti_driver_t *driver)
{
    host_driver_t *self = (host_driver_t *)driver;
    const manta_allocator_t allocator = self->allocator;
    mti_free(&allocator, self->devices, self->count * sizeof *self->devices);
    mti_free(&allocator, self->links, self->count * sizeof *self->links);
    mti_free(&allocator, self->table, self->count * sizeof *self->table);
    mti_free(&allocator, self, sizeof *self);
}

static bool host_device_init(host_driver_t *self, const mti_driver_options_t *options,
                             uint32_t ordinal)
{
    const int *indices = options->user->host_node_os_indices;
    mti_virtual_device_t *device = &self->devices[ordinal];
    mti_device_info_t *info = &device->base.info;
    long page = sysconf(_SC_PAGESIZE), pages = sysconf(_SC_PHYS_PAGES);

    self->table[ordinal] = &device->base;
    self->links[ordinal] = (mti_link_t){0, 0, true};
    snprintf(device->base.name, sizeof device->base.name, "host:%u", ordinal);
    device->base.driver = &self->base;
    device->base.ordinal = ordinal;
    device->base.allocator = options->allocator;
    device->base.caps = MTI_CAP_PAGEABLE;
    info->kind = MTI_DEVICE_HOST;
    info->node = indices ? indices[ordinal] : (int)ordinal;
    snprintf(info->name, sizeof info->name, "host node %d", info->node);
    memcpy(info->uuid, "manta-host", 10);
    info->uuid[15] = (uint8_t)ordinal;
    // How much of it is on this node is the kernel's business: pages only prefer to be here.
    info->memory_bytes = pages > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_MAX / 2;
    info->limits.max_queues = MTI_DEVICE_MAX_QUEUES;
    info->limits.alloc_align_bytes = (size_t)page;
    info->to_host.direct = info->from_host.direct = true;
    info->peer_count = self->count;
    info->peers = self->links;
    return mti_virtual_device_init(device, options->engine, 1, false);
}

static manta_status_t host_create(const mti_driver_options_t *options, mti_driver_t **out_driver)
{
    uint32_t count = options->user->host_nodes;
    if (count == 0) return MANTA_ERR_NOT_FOUND;
    host_driver_t *self = mti_alloc_zeroed(&options->allocator, sizeof *self, 16);
    if (!self) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "host: no memory for devices");
    self->allocator = options->allocator;
    self->count = count;
    self->devices = mti_alloc_zeroed(&options->allocator, count * sizeof *self->devices,
                                     _Alignof(mti_virtual_device_t));
    self->links = mti_alloc_zeroed(&options->allocator, count * sizeof *self->links, 16);
    self->table = mti_alloc_zeroed(&options->allocator, count * sizeof *self->table, 16);
    bool ok = self->devices && self->links && self->table;
    for (uint32_t i = 0; ok && i < count; i++)
        ok = host_device_init(self, options, i);
    if (!ok) {
        host_destroy(&self->base);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "host: no memory for %u devices", count);
    }
    self->base.ops = &mti_host_driver;
    self->base.device_count = count;
    self->base.devices = self->table;
    *out_driver = &self->base;
    return MANTA_OK;
}

const mti_driver_ops_t mti_host_driver = {
    .name = "host",
    .create = host_create,
    .destroy = host_destroy,
};
