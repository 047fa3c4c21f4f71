// The driver `sim`: virtual GPUs as a machine file describes them. Memory is memory of this process, kernels
// run as their CPU twins.
#include "devices/driver.h"

#include "base/alloc.h"
#include "base/status.h"
#include "devices/sim/machine.h"
#include "devices/sim/virtual.h"

#include <stdio.h>
#include <string.h>

typedef struct sim_driver {
    mti_driver_t base;
    manta_allocator_t allocator;
    uint32_t count;
    mti_virtual_device_t *devices;
    mti_link_t *links; // |count| rows of |count|
    mti_device_t **table;
} sim_driver_t;

static void sim_destroy(mti_driver_t *driver)
{
    sim_driver_t *self = (sim_driver_t *)driver;
    const manta_allocator_t allocator = self->allocator;
    size_t count = self->count;
    mti_free(&allocator, self->devices, count * sizeof *self->devices);
    mti_free(&allocator, self->links, count * count * sizeof *self->links);
    mti_free(&allocator, self->table, count * sizeof *self->table);
    mti_free(&allocator, self, sizeof *self);
}

// What CUDA's limits are on every GPU of the last ten years.
static const mti_device_limits_t sim_limits = {
    .max_grid = {2147483647, 65535, 65535},
    .max_block = {1024, 1024, 64},
    .max_block_threads = 1024,
    .max_shared_bytes = 48u << 10,
    .max_args_bytes = 4096,
    .alloc_align_bytes = 256,
};

static void sim_info_init(mti_device_info_t *info, const mti_machine_gpu_t *gpu, uint32_t ordinal)
{
    snprintf(info->name, sizeof info->name, "%s", gpu->name);
    info->kind = MTI_DEVICE_GPU;
    memcpy(info->uuid, "manta-sim", 9);
    info->uuid[15] = (uint8_t)ordinal;
    info->node = gpu->node;
    info->memory_bytes = gpu->memory_bytes;
    info->cc_major = gpu->cc_major;
    info->cc_minor = gpu->cc_minor;
    info->limits = sim_limits;
    info->limits.max_queues = gpu->queues;
    info->to_host = (mti_link_t){gpu->out_bytes_per_s, gpu->latency_ns, true};
    info->from_host = (mti_link_t){gpu->in_bytes_per_s, gpu->latency_ns, true};
}

static bool sim_device_init(sim_driver_t *self, const mti_driver_options_t *options,
                            uint32_t ordinal)
{
    const mti_machine_file_t *machine = options->machine;
    const mti_machine_gpu_t *gpu = &machine->gpus[ordinal];
    mti_virtual_device_t *device = &self->devices[ordinal];
    mti_link_t *links = &self->links[(size_t)ordinal * self->count];
    for (uint32_t peer = 0; peer < self->count; peer++) {
        const mti_machine_link_t *link = &machine->links[ordinal][peer];
        links[peer] = (mti_link_t){link->bytes_per_s, link->latency_ns, link->direct};
    }
    links[ordinal] = (mti_link_t){gpu->memory_bytes_per_s, 0, true};

    self->table[ordinal] = &device->base;
    snprintf(device->base.name, sizeof device->base.name, "sim:%u", ordinal);
    device->base.driver = &self->base;
    device->base.ordinal = ordinal;
    device->base.allocator = options->allocator;
    device->base.caps = MTI_CAP_LAUNCH;
    sim_info_init(&device->base.info, gpu, ordinal);
    device->base.info.peer_count = self->count;
    device->base.info.peers = links;
    if (machine->clock != MTI_MACHINE_CLOCK_THREADS) {
        device->times = (mti_virtual_times_t){
            .in_bytes_per_s = gpu->in_bytes_per_s,
            .out_bytes_per_s = gpu->out_bytes_per_s,
            .memory_bytes_per_s = gpu->memory_bytes_per_s,
            .latency_ns = gpu->latency_ns,
            .launch_ns = gpu->launch_ns,
        };
    }
    return mti_virtual_device_init(device, options->engine, gpu->slots, true);
}

static manta_status_t sim_create(const mti_driver_options_t *options, mti_driver_t **out_driver)
{
    if (!options->machine || options->machine->gpu_count == 0) return MANTA_ERR_NOT_FOUND;
    size_t count = options->machine->gpu_count;
    sim_driver_t *self = mti_alloc_zeroed(&options->allocator, sizeof *self, 16);
    if (!self) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "sim: no memory for virtual GPUs");
    self->allocator = options->allocator;
    self->count = (uint32_t)count;
    self->devices = mti_alloc_zeroed(&options->allocator, count * sizeof *self->devices,
                                     _Alignof(mti_virtual_device_t));
    self->links = mti_alloc_zeroed(&options->allocator, count * count * sizeof *self->links, 16);
    self->table = mti_alloc_zeroed(&options->allocator, count * sizeof *self->table, 16);
    bool ok = self->devices && self->links && self->table;
    for (uint32_t i = 0; ok && i < self->count; i++)
        ok = sim_device_init(self, options, i);
    if (!ok) {
        sim_destroy(&self->base);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "sim: no memory for %zu virtual GPUs", count);
    }
    self->base.ops = &mti_sim_driver;
    self->base.device_count = self->count;
    self->base.devices = self->table;
    *out_driver = &self->base;
    return MANTA_OK;
}

const mti_driver_ops_t mti_sim_driver = {
    .name = "sim",
    .create = sim_create,
    .destroy = sim_destroy,
};
