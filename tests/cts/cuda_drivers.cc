// The suite over the CUDA driver: on the fake one, where it runs everywhere; and with CTS_ON_HARDWARE
// on the real one, where there is a GPU. A program of their own each: a process has one CUDA driver.
#include "cts/cts.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <unistd.h>

#ifndef CTS_ON_HARDWARE
#include "fakes/fake_test.h"
#endif

namespace cts
{

namespace
{

const Gap not_host_fn = {MTI_CAP_HOST_FN, "a host function on a stream takes 100 us to be called"};
const Gap not_pageable = {MTI_CAP_PAGEABLE, "the driver would make such a copy wait for itself"};

manta_status_t create_cuda(mti_devices_t **out_devices, std::string *reason)
{
    mti_devices_options_t options = {};
    options.sim_gpus = MTI_SIM_GPUS_NONE;
    manta_status_t status = mti_devices_create(&options, out_devices);
    if (status != MANTA_OK) return status;
    if (mti_devices_gpu_count(*out_devices) > 0) return MANTA_OK;
    *reason = "there is no GPU here";
    status = mti_devices_destroy(*out_devices, 0);
    return status == MANTA_OK ? MANTA_NOT_READY : status;
}

#ifdef CTS_ON_HARDWARE

// Without a GPU the program as a whole counts as skipped, and not as passed.
class Hardware : public ::testing::Environment
{
    void SetUp() override
    {
        mti_devices_t *set = nullptr;
        std::string reason;
        if (create_cuda(&set, &reason) == MANTA_OK) {
            EXPECT_EQ(MANTA_OK, mti_devices_destroy(set, 0));
            return;
        }
        printf("skipped: %s: %s\n", reason.c_str(), manta_error_message());
        fflush(stdout);
        _exit(77);
    }
};
::testing::Environment *const hardware = ::testing::AddGlobalTestEnvironment(new Hardware);

// The kernels of cts_kernels.cu.
const mti_code_t *device_kernels()
{
    static std::vector<char> fatbin;
    static mti_code_t code = *kernels();
    if (!fatbin.empty()) return &code;
    FILE *file = fopen(CTS_FATBIN, "rb");
    for (int c; file && (c = fgetc(file)) != EOF;)
        fatbin.push_back(static_cast<char>(c));
    if (file) fclose(file);
    code.blob = fatbin.data();
    code.blob_bytes = fatbin.size();
    return &code;
}

#else

using namespace manta_testing;

// What the fake knows of the kernels besides their twins: which memory they use.
size_t saxpy_extent(uint32_t, const fake_cuda_shape_t *, void *const *args)
{
    return *static_cast<uint64_t *>(args[3]) * sizeof(float);
}
size_t four_extent(uint32_t, const fake_cuda_shape_t *, void *const *)
{
    return 4;
}
size_t mixed_extent(uint32_t, const fake_cuda_shape_t *, void *const *)
{
    return 6 * sizeof(double);
}
size_t shape_extent(uint32_t, const fake_cuda_shape_t *, void *const *)
{
    return 7 * sizeof(uint32_t);
}

void add_kernel(const char *name, const uint8_t *access,
                size_t (*extent)(uint32_t, const fake_cuda_shape_t *, void *const *))
{
    for (uint32_t i = 0; i < kernels()->kernel_count; i++) {
        const mti_kernel_desc_t &desc = kernels()->kernels[i];
        if (strcmp(desc.name, name) != 0) continue;
        fake_cuda_kernel_t kernel = {};
        kernel.name = name;
        kernel.param_count = desc.param_count;
        kernel.param_bytes = desc.param_bytes;
        kernel.param_access = access;
        kernel.extent = extent;
        kernel.twin = reinterpret_cast<decltype(kernel.twin)>(desc.twin); // the same layout
        fake_cuda()->kernel_add(&kernel);
    }
}

const mti_code_t *device_kernels()
{
    static const char image[] = ".version 8.0 .entry cts_saxpy cts_bump cts_mixed cts_shape";
    static mti_code_t code = *kernels();
    code.blob = image;
    code.blob_bytes = sizeof image;
    return &code;
}

manta_status_t create_fake(const fake_cuda_options_t &options, mti_devices_t **out_devices,
                           std::string *reason)
{
    static const uint8_t saxpy[] = {0, FAKE_CUDA_READ, FAKE_CUDA_READ | FAKE_CUDA_WRITE, 0};
    // Tests make second sets beside the first: only a fake that nobody uses starts anew.
    if (fake_leaks().empty()) fake_cuda()->reset(&options);
    add_kernel("cts_saxpy", saxpy, saxpy_extent);
    add_kernel("cts_bump", nullptr, four_extent);
    add_kernel("cts_mixed", nullptr, mixed_extent);
    add_kernel("cts_shape", nullptr, shape_extent);
    return create_cuda(out_devices, reason);
}

manta_status_t inject_fake(mti_device_t *device, const mti_fault_t *fault)
{
    enum { ILLEGAL_ADDRESS = 700 };
    const fake_cuda_controls_t *fake = fake_cuda();
    switch (fault->kind) {
    case MTI_FAULT_NONE:
        fake->fail_alloc(device->ordinal, 0);
        fake->lose_at_op(device->ordinal, 0, 0);
        return MANTA_OK;
    case MTI_FAULT_OOM:
        fake->fail_alloc(device->ordinal, fault->nth);
        return MANTA_OK;
    case MTI_FAULT_LOSE:
        fake->lose_at_op(device->ordinal, fault->nth, ILLEGAL_ADDRESS);
        return MANTA_OK;
    case MTI_FAULT_LOSE_NOW:
        fake->lose_now(device->ordinal, ILLEGAL_ADDRESS);
        return MANTA_OK;
    case MTI_FAULT_HOLD_QUEUE:
    case MTI_FAULT_RELEASE_QUEUE:
        fake->hold_stream(mti_queue_native(fault->queue), fault->kind == MTI_FAULT_HOLD_QUEUE);
        return MANTA_OK;
    case MTI_FAULT_FAIL_OP:
    case MTI_FAULT_FAIL_OPS:
        break;
    }
    return mti_fail(MANTA_ERR_NOT_SUPPORTED, "no such fault on the fake driver");
}

// What the fake complains about fails the test, and so does what a test leaves there.
class Complaints : public ::testing::EmptyTestEventListener
{
    void OnTestEnd(const ::testing::TestInfo &) override
    {
        for (const std::string &line : fake_violations())
            ADD_FAILURE() << "the fake driver: " << line;
        for (const std::string &line : fake_leaks())
            if (!was_lost()) ADD_FAILURE() << "left in the fake driver: " << line;
        fake_cuda()->reset(nullptr);
    }
    // A lost context keeps what it has.
    static bool was_lost() { return fake_cuda()->has_lost(); }
};
const bool complains = [] {
    ::testing::UnitTest::GetInstance()->listeners().Append(new Complaints);
    return true;
}();

Driver fake_driver(const char *name, const fake_cuda_options_t &options)
{
    Driver driver;
    driver.name = name;
    driver.prefix = "cuda:";
    driver.create = [options](mti_devices_t **out, std::string *reason) {
        return create_fake(options, out, reason);
    };
    driver.gaps = {not_host_fn, not_pageable};
    driver.code = device_kernels();
    driver.is_slow = true;
    driver.inject = inject_fake;
    driver.loses_for_good = true;
    driver.no_op_failures = "an error of an operation is sticky and loses the device";
    return driver;
}

#endif

} // namespace

const std::vector<Driver> &drivers()
{
#ifdef CTS_ON_HARDWARE
    static const std::vector<Driver> all = [] {
        Driver driver;
        driver.name = "Cuda";
        driver.prefix = "cuda:";
        driver.create = create_cuda;
        driver.gaps = {
            not_host_fn, not_pageable, {MTI_CAP_FAULTS, "a device can't be told to fail"}};
        driver.code = device_kernels();
        return std::vector<Driver>{driver};
    }();
#else
    static const std::vector<Driver> all = [] {
        fake_cuda_options_t two = {}, events = {}, apart = {}, plain = {}, steps = {};
        two.devices = events.devices = apart.devices = plain.devices = steps.devices = 2;
        events.no_words = true;
        apart.no_peers = true;
        plain.no_pools = true;
        steps.virtual_clock = true;
        steps.seed = 20;
        return std::vector<Driver>{
            fake_driver("CudaFake", two),          fake_driver("CudaFakeEvents", events),
            fake_driver("CudaFakeApart", apart),   fake_driver("CudaFakePlain", plain),
            fake_driver("CudaFakeVirtual", steps),
        };
    }();
#endif
    return all;
}

} // namespace cts
