// What the drivers `sim` and `host` share: a device whose queues are the engine's, and whose memory
// is memory of this process.
#ifndef MTI_DEVICES_SIM_VIRTUAL_H
#define MTI_DEVICES_SIM_VIRTUAL_H

#include "devices/device.h"
#include "devices/sim/engine.h"

MANTA_BEGIN_DECLS

// How long things take. All zero: no time at all.
typedef struct mti_virtual_times {
    uint64_t in_bytes_per_s, out_bytes_per_s, memory_bytes_per_s;
    int64_t latency_ns, launch_ns;
} mti_virtual_times_t;

typedef struct mti_virtual_device {
    mti_device_t base;
    mti_engine_t *engine;
    mti_engine_domain_t *domain;
    mti_engine_space_t *space; // NULL: memory is pages of the host near info.node
    // One copy engine per direction, and as many kernels at a time as there are slots.
    mti_engine_resource_t *compute, *in, *out, *peer;
    mti_virtual_times_t times;
    uint32_t oom_nth; // an injected fault: the allocation that fails, 0: none
    mti_atomic_u32_t woken;
} mti_virtual_device_t;

// Fills what base.{name, ordinal, info, caps, driver, allocator} leave open, and makes the engine's parts.
// What was made is the engine's; there is nothing to undo. False if there is no memory.
bool mti_virtual_device_init(mti_virtual_device_t *device, mti_engine_t *engine, uint32_t slots,
                             bool own_memory);

MANTA_END_DECLS

#endif
