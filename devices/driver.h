// What a driver shows the registry. For those who write drivers; users of devices include device.h
// and registry.h.
//
// A new driver: clone devices/null, give its table below and in registry.c, and add a line to tests/cts.
#ifndef MTI_DEVICES_DRIVER_H
#define MTI_DEVICES_DRIVER_H

#include "devices/device.h"
#include "devices/registry.h"

MANTA_BEGIN_DECLS

typedef struct mti_driver mti_driver_t;
typedef struct mti_engine mti_engine_t;
typedef struct mti_machine_file mti_machine_file_t;

// What a driver may look at while it is created; borrowed for the call, |engine| until destroy.
typedef struct mti_driver_options {
    const mti_devices_options_t *user; // never NULL
    manta_allocator_t allocator;
    mti_engine_t *engine; // what sim and host devices run on; NULL if neither is wanted
    const mti_machine_file_t *machine; // the virtual machine; NULL: no virtual devices
} mti_driver_options_t;

typedef struct mti_driver_ops {
    const char *name; // "sim", "cuda"
    // Looks which devices there are, without making them usable: info complete, state closed. Quick.
    // Returns NOT_FOUND, silently, when there is nothing to drive here (no library, no device): a normal state.
    manta_status_t (*create)(const mti_driver_options_t *options, mti_driver_t **out_driver);
    // All devices are closed.
    void (*destroy)(mti_driver_t *driver);
} mti_driver_ops_t;

// Drivers embed this as their first member and fill all of it.
struct mti_driver {
    const mti_driver_ops_t *ops;
    uint32_t device_count;
    mti_device_t *const *devices; // by ordinal; live until destroy
};

extern const mti_driver_ops_t mti_host_driver;
extern const mti_driver_ops_t mti_sim_driver;
extern const mti_driver_ops_t mti_null_driver;
extern const mti_driver_ops_t mti_cuda_driver; // where MANTA_HAVE_CUDA is 1

MANTA_END_DECLS

#endif
