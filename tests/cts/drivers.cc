// Every driver that the suite runs over. One entry each.
#include "cts/cts.h"

#include <cstring>

namespace cts
{

namespace
{

manta_status_t create_sim(mti_devices_t **out_devices, bool virtual_clock)
{
    mti_devices_options_t options = {};
    options.no_environment = true;
    options.no_cuda = true;
    options.sim_gpus = 2;
    options.sim_virtual_clock = virtual_clock;
    options.sim_seed = 20;
    return mti_devices_create(&options, out_devices);
}

// What a machine file gives: no direct link, times that are kept, little memory.
manta_status_t create_sim_real(mti_devices_t **out_devices)
{
    static const char machine[] = "clock real\n"
                                  "jitter 30\n"
                                  "gpus 2 memory=512MiB latency=1us launch=1us slots=1\n"
                                  "link 0 1 none\n";
    mti_devices_options_t options = {};
    options.no_environment = true;
    options.no_cuda = true;
    options.sim_machine = machine;
    options.sim_machine_bytes = sizeof machine - 1;
    return mti_devices_create(&options, out_devices);
}

manta_status_t create_host(mti_devices_t **out_devices)
{
    static const int nodes[] = {0, 0};
    mti_devices_options_t options = {};
    options.no_environment = true;
    options.no_cuda = true;
    options.sim_gpus = MTI_SIM_GPUS_NONE;
    options.host_nodes = 2;
    options.host_node_os_indices = nodes;
    return mti_devices_create(&options, out_devices);
}

manta_status_t create_null(mti_devices_t **out_devices)
{
    mti_devices_options_t options = {};
    options.no_environment = true;
    options.no_cuda = true;
    options.sim_gpus = MTI_SIM_GPUS_NONE;
    options.null_devices = 1;
    return mti_devices_create(&options, out_devices);
}

const Gap not_native = {MTI_CAP_NATIVE, "there is no stream of another library under its queues"};
const Gap not_pageable = {MTI_CAP_PAGEABLE,
                          "as strict as CUDA, where such copies would block the caller"};

} // namespace

const std::vector<Driver> &drivers()
{
    static const std::vector<Driver> all = {
        {"SimThreads",
         "sim:",
         [](mti_devices_t **out, std::string *) { return create_sim(out, false); },
         {not_native, not_pageable},
         true},
        {"SimReal",
         "sim:",
         [](mti_devices_t **out, std::string *) { return create_sim_real(out); },
         {not_native, not_pageable},
         true,
         nullptr,
         true},
        {"SimVirtual",
         "sim:",
         [](mti_devices_t **out, std::string *) { return create_sim(out, true); },
         {not_native, not_pageable},
         true},
        {"Null",
         "null:",
         [](mti_devices_t **out, std::string *) { return create_null(out); },
         {not_native,
          not_pageable,
          {MTI_CAP_HOST_FN, "it would run inside the call that submits it"},
          {MTI_CAP_COPY_2D, "optional, and not part of the least"},
          {MTI_CAP_PEER_COPY, "each device is alone"},
          {MTI_CAP_CROSS_WAIT, "each device is alone"},
          {MTI_CAP_HOST_REGISTER, "optional, and not part of the least"},
          {MTI_CAP_FAULTS, "nothing is ever in flight"}},
         true},
        {"Host",
         "host:",
         [](mti_devices_t **out, std::string *) { return create_host(out); },
         {not_native, {MTI_CAP_LAUNCH, "tasks of the CPU run on workers, not on a device"}},
         true},
    };
    return all;
}

} // namespace cts
