// Which devices there are here: asks every driver of this build, and keeps what they found.
//
// A *device set* belongs to one runtime. Virtual devices are its own; real ones are the process's:
// two sets may name the same GPU, each with its own queues and memory.
//
// What the environment says, where the options leave it open:
//   MANTA_SIM_GPUS=4            four virtual GPUs of the default kind
//   MANTA_SIM_MACHINE=FILE      the virtual machine that FILE describes (devices/sim/README.md)
#ifndef MTI_DEVICES_REGISTRY_H
#define MTI_DEVICES_REGISTRY_H

#include "devices/device.h"

MANTA_BEGIN_DECLS

typedef struct mti_devices mti_devices_t;

enum { MTI_SIM_GPUS_FROM_ENVIRONMENT = 0, MTI_SIM_GPUS_NONE = -1, MTI_SIM_GPUS_MAX = 64 };

// All zero is a good default.
typedef struct mti_devices_options {
    manta_allocator_t allocator; // zero: the C library's
    int sim_gpus;                // so many virtual GPUs, or one of the two constants above
    const char *sim_machine;     // text of a machine file, instead of |sim_gpus|; NULL: none
    size_t sim_machine_bytes;
    bool sim_virtual_clock;          // or as the machine file says
    uint64_t sim_seed;               // 0: the machine file's
    bool no_cuda;                    // real GPUs are not looked for
    bool no_environment;             // the two variables above do not count
    uint32_t null_devices;           // for tests and benchmarks: devices/null
    uint32_t host_nodes;             // host devices, one per NUMA node; 0: none
    const int *host_node_os_indices; // NULL: 0, 1, 2, …
} mti_devices_options_t;

// Finds the devices; opens none. No driver and no device is a normal, silent and quick outcome: an
// empty set.
//
// Owns:    the caller destroys *out_devices; |options| (NULL: defaults) is borrowed for the call.
// Threads: any.   Blocks: real drivers may take some ms to look.
// Errors:  INVALID_ARGUMENT a number of virtual GPUs or a machine file that makes no sense (with its
//          line) · IO the machine file can't be read · OUT_OF_MEMORY · SYSTEM a driver is there but broken.
MANTA_NODISCARD manta_status_t mti_devices_create(const mti_devices_options_t *options,
                                                  mti_devices_t **out_devices);

// Closes what is open (mti_device_close) and frees all. On a status nothing was freed, call again.
// NULL is fine. Needs the right of every device.
MANTA_NODISCARD manta_status_t mti_devices_destroy(mti_devices_t *devices, int64_t timeout_ns);

// Devices in order: host nodes, then GPUs: real ones, virtual ones, null ones. |index| counts all. Threads: any.
uint32_t mti_devices_count(const mti_devices_t *devices);
mti_device_t *mti_devices_at(const mti_devices_t *devices, uint32_t index); // NULL: out of range
uint32_t mti_devices_gpu_count(const mti_devices_t *devices);
mti_device_t *mti_devices_gpu(const mti_devices_t *devices, uint32_t index);
// By name ("sim:0"); NULL if there is none.
mti_device_t *mti_devices_find(const mti_devices_t *devices, const char *name);

// True if virtual devices of the set live on a virtual clock: MTI_CAP_VIRTUAL_CLOCK.
bool mti_devices_has_virtual_clock(const mti_devices_t *devices);

MANTA_END_DECLS

#endif
