#include "devices/registry.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"
#include "devices/driver.h"
#include "devices/sim/engine.h"
#include "devices/sim/machine.h"

#include <stdlib.h>
#include <string.h>

// In the order of their devices.
static const mti_driver_ops_t *const all_drivers[] = {
    &mti_host_driver,
#if defined(MANTA_HAVE_CUDA)
    &mti_cuda_driver,
#endif
    &mti_sim_driver,
    &mti_null_driver,
};
enum { DRIVER_COUNT = sizeof all_drivers / sizeof all_drivers[0] };

struct mti_devices {
    manta_allocator_t allocator;
    mti_engine_t *engine; // of sim and host devices, NULL if there are none
    mti_driver_t *drivers[DRIVER_COUNT];
    uint32_t driver_count;
    mti_device_t **devices; // by index
    uint32_t count, first_gpu;
};

// ---- What is asked for ---------------------------------------------------------------------------

static manta_status_t count_parse(const char *text, uint32_t *out_count)
{
    char *end;
    long count = text[0] >= '0' && text[0] <= '9' ? strtol(text, &end, 10) : -1;
    if (count < 0 || *end != '\0' || count > MTI_SIM_GPUS_MAX)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "MANTA_SIM_GPUS is '%.40s', not a number from 0 to %d", text,
                        MTI_SIM_GPUS_MAX);
    *out_count = (uint32_t)count;
    return MANTA_OK;
}

// Fills |machine| by the first that says anything: the options' text, their number, the environment's file, its
// number. No virtual GPU at all is fine.
static manta_status_t machine_choose(const mti_devices_options_t *options,
                                     mti_machine_file_t *machine)
{
    uint32_t count = 0;
    if (options->sim_machine)
        return mti_machine_parse(options->sim_machine, options->sim_machine_bytes,
                                 &options->allocator, machine);
    if (options->sim_gpus != MTI_SIM_GPUS_FROM_ENVIRONMENT) {
        if (options->sim_gpus < MTI_SIM_GPUS_NONE || options->sim_gpus > MTI_SIM_GPUS_MAX)
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%d virtual GPUs: it can be 0 to %d",
                            options->sim_gpus, MTI_SIM_GPUS_MAX);
        if (options->sim_gpus > 0) count = (uint32_t)options->sim_gpus;
    } else if (!options->no_environment) {
        const char *path = getenv("MANTA_SIM_MACHINE"), *number = getenv("MANTA_SIM_GPUS");
        if (path && path[0]) return mti_machine_read(path, &options->allocator, machine);
        manta_status_t status = number && number[0] ? count_parse(number, &count) : MANTA_OK;
        if (status != MANTA_OK) return status;
    }
    mti_machine_default(machine, count);
    return MANTA_OK;
}

// ---- Life ----------------------------------------------------------------------------------------

static void devices_free(mti_devices_t *devices)
{
    while (devices->driver_count > 0) {
        mti_driver_t *driver = devices->drivers[--devices->driver_count];
        driver->ops->destroy(driver);
    }
    mti_engine_destroy(devices->engine);
    mti_free(&devices->allocator, devices->devices, devices->count * sizeof(mti_device_t *));
    manta_allocator_t allocator = devices->allocator;
    mti_free(&allocator, devices, sizeof *devices);
}

static manta_status_t engine_start(mti_devices_t *devices, const mti_machine_file_t *machine)
{
    const mti_engine_options_t options = {
        .allocator = devices->allocator,
        .mode =
            machine->clock == MTI_MACHINE_CLOCK_VIRTUAL ? MTI_ENGINE_VIRTUAL : MTI_ENGINE_THREADS,
        .seed = machine->seed,
        .jitter_percent = machine->jitter_percent,
    };
    return mti_engine_create(&options, &devices->engine);
}

static manta_status_t drivers_create(mti_devices_t *devices, const mti_driver_options_t *options)
{
    for (int i = 0; i < DRIVER_COUNT; i++) {
        mti_driver_t *driver;
        manta_status_t status = all_drivers[i]->create(options, &driver);
        if (status == MANTA_ERR_NOT_FOUND) continue;
        if (status != MANTA_OK) return status;
        devices->drivers[devices->driver_count++] = driver;
    }
    return MANTA_OK;
}

static manta_status_t devices_collect(mti_devices_t *devices)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < devices->driver_count; i++)
        count += devices->drivers[i]->device_count;
    if (count == 0) return MANTA_OK;
    devices->devices = mti_alloc(&devices->allocator, count * sizeof(mti_device_t *), 16);
    if (!devices->devices)
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for %u devices", count);
    devices->count = count;
    uint32_t index = 0;
    for (uint32_t i = 0; i < devices->driver_count; i++) {
        const mti_driver_t *driver = devices->drivers[i];
        for (uint32_t k = 0; k < driver->device_count; k++) {
            mti_device_t *device = driver->devices[k];
            device->index = index;
            devices->devices[index++] = device;
            if (device->info.kind == MTI_DEVICE_HOST) devices->first_gpu = index;
        }
    }
    return MANTA_OK;
}

static manta_status_t devices_fill(mti_devices_t *devices, const mti_devices_options_t *options,
                                   mti_machine_file_t *machine)
{
    manta_status_t status = machine_choose(options, machine);
    if (status != MANTA_OK) return status;
    if (options->sim_virtual_clock) machine->clock = MTI_MACHINE_CLOCK_VIRTUAL;
    if (options->sim_seed != 0) machine->seed = options->sim_seed;
    if (machine->gpu_count > 0 || options->host_nodes > 0) status = engine_start(devices, machine);
    if (status != MANTA_OK) return status;
    const mti_driver_options_t driver_options = {
        .user = options,
        .allocator = devices->allocator,
        .engine = devices->engine,
        .machine = machine->gpu_count > 0 ? machine : NULL,
    };
    status = drivers_create(devices, &driver_options);
    return status == MANTA_OK ? devices_collect(devices) : status;
}

manta_status_t mti_devices_create(const mti_devices_options_t *options, mti_devices_t **out_devices)
{
    static const mti_devices_options_t defaults;
    if (!options) options = &defaults;
    const manta_allocator_t *allocator = &options->allocator;
    mti_devices_t *devices = mti_alloc_zeroed(allocator, sizeof *devices, 16);
    // Large, and not for the stack of whoever starts a runtime.
    mti_machine_file_t *machine = mti_alloc(allocator, sizeof *machine, 16);
    manta_status_t status;
    if (devices) devices->allocator = *allocator;
    if (devices && machine) {
        status = devices_fill(devices, options, machine);
    } else {
        status = mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory to look for devices");
    }
    if (status == MANTA_OK) {
        *out_devices = devices;
    } else if (devices) {
        devices_free(devices);
    }
    mti_free(allocator, machine, sizeof *machine);
    return status;
}

manta_status_t mti_devices_destroy(mti_devices_t *devices, int64_t timeout_ns)
{
    if (!devices) return MANTA_OK;
    // All are quiet before the first one goes: they copy from each other's memory.
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < devices->count; i++) {
            mti_device_t *device = devices->devices[i];
            int64_t now_ns = mti_device_now_ns(device);
            int64_t deadline_ns = timeout_ns > INT64_MAX - now_ns ? INT64_MAX : now_ns + timeout_ns;
            manta_status_t status = pass == 0 ? mti_device_drain(device, deadline_ns)
                                              : mti_device_close(device, deadline_ns);
            if (status != MANTA_OK) return status;
        }
    }
    devices_free(devices);
    return MANTA_OK;
}

// ---- Looking -------------------------------------------------------------------------------------

uint32_t mti_devices_count(const mti_devices_t *devices)
{
    return devices->count;
}

mti_device_t *mti_devices_at(const mti_devices_t *devices, uint32_t index)
{
    return index < devices->count ? devices->devices[index] : NULL;
}

uint32_t mti_devices_gpu_count(const mti_devices_t *devices)
{
    return devices->count - devices->first_gpu;
}

mti_device_t *mti_devices_gpu(const mti_devices_t *devices, uint32_t index)
{
    return index < mti_devices_gpu_count(devices) ? devices->devices[devices->first_gpu + index]
                                                  : NULL;
}

mti_device_t *mti_devices_find(const mti_devices_t *devices, const char *name)
{
    for (uint32_t i = 0; i < devices->count; i++) {
        if (strcmp(devices->devices[i]->name, name) == 0) return devices->devices[i];
    }
    return NULL;
}

bool mti_devices_has_virtual_clock(const mti_devices_t *devices)
{
    return devices->engine && mti_engine_mode(devices->engine) == MTI_ENGINE_VIRTUAL;
}
