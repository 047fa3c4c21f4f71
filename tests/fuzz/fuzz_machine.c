// Machine files of virtual GPUs. What is accepted is within the limits that README.md states, reads the same a second
// time, and makes a device set; what is refused says in which line.
#include "fuzz.h"

#include "base/status.h"
#include "devices/registry.h"
#include "devices/sim/machine.h"

static void check(const mti_machine_file_t *machine)
{
    FUZZ_CHECK(machine->gpu_count <= MTI_MACHINE_MAX_GPUS && machine->jitter_percent <= 100);
    for (uint32_t i = 0; i < machine->gpu_count; i++) {
        const mti_machine_gpu_t *gpu = &machine->gpus[i];
        FUZZ_CHECK(memchr(gpu->name, 0, sizeof gpu->name) && gpu->memory_bytes <= (uint64_t)1
                                                                                      << 50);
        FUZZ_CHECK(gpu->node >= -1 && gpu->node <= 1023 && gpu->slots >= 1 && gpu->slots <= 1024);
        FUZZ_CHECK(gpu->queues >= 1 && gpu->queues <= 256 && gpu->latency_ns >= 0);
        FUZZ_CHECK(gpu->launch_ns >= 0 && gpu->in_bytes_per_s && gpu->out_bytes_per_s);
        for (uint32_t k = 0; k < machine->gpu_count; k++) {
            const mti_machine_link_t *there = &machine->links[i][k], *back = &machine->links[k][i];
            FUZZ_CHECK(there->direct == back->direct && there->bytes_per_s == back->bytes_per_s &&
                       there->latency_ns == back->latency_ns);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static mti_machine_file_t machine, again; // large
    memset(&machine, 0xa5, sizeof machine);
    manta_status_t status = mti_machine_parse((const char *)data, size, NULL, &machine);
    if (status != MANTA_OK) {
        FUZZ_CHECK(status == MANTA_ERR_INVALID_ARGUMENT && strstr(manta_error_message(), "line"));
        return 0;
    }
    check(&machine);
    memset(&again, 0xa5, sizeof again);
    FUZZ_CHECK(mti_machine_parse((const char *)data, size, NULL, &again) == MANTA_OK);
    FUZZ_CHECK(machine.gpu_count == again.gpu_count && machine.seed == again.seed);
    if (machine.gpu_count > 4) return 0; // making many takes long
    mti_devices_options_t options = {.sim_machine = (const char *)data,
                                     .sim_machine_bytes = size,
                                     .no_cuda = true,
                                     .no_environment = true};
    mti_devices_t *devices = NULL;
    FUZZ_CHECK(mti_devices_create(&options, &devices) == MANTA_OK);
    FUZZ_CHECK(mti_devices_gpu_count(devices) == machine.gpu_count);
    FUZZ_CHECK(mti_devices_destroy(devices, 0) == MANTA_OK);
    return 0;
}
