#include "cts/cts.h"

#include <cstring>

namespace cts
{

namespace
{

const char *cap_name(uint32_t cap)
{
    switch (cap) {
    case MTI_CAP_LAUNCH:
        return "LAUNCH";
    case MTI_CAP_HOST_FN:
        return "HOST_FN";
    case MTI_CAP_COPY_2D:
        return "COPY_2D";
    case MTI_CAP_PEER_COPY:
        return "PEER_COPY";
    case MTI_CAP_PAGEABLE:
        return "PAGEABLE";
    case MTI_CAP_HOST_REGISTER:
        return "HOST_REGISTER";
    case MTI_CAP_CROSS_WAIT:
        return "CROSS_WAIT";
    case MTI_CAP_NATIVE:
        return "NATIVE";
    case MTI_CAP_FAULTS:
        return "FAULTS";
    case MTI_CAP_VIRTUAL_CLOCK:
        return "VIRTUAL_CLOCK";
    default:
        return "several";
    }
}

// ---- The kernels' twins ----

void saxpy(const mti_launch_shape_t *, void *const *args)
{
    float a = *static_cast<float *>(args[0]);
    const float *x = *static_cast<const float **>(args[1]);
    float *y = *static_cast<float **>(args[2]);
    uint64_t n = *static_cast<uint64_t *>(args[3]);
    for (uint64_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

void bump(const mti_launch_shape_t *, void *const *args)
{
    **static_cast<uint32_t **>(args[0]) += *static_cast<uint32_t *>(args[1]);
}

void mixed(const mti_launch_shape_t *, void *const *args)
{
    double *out = *static_cast<double **>(args[6]);
    out[0] = *static_cast<uint8_t *>(args[0]);
    out[1] = *static_cast<double *>(args[1]);
    out[2] = *static_cast<uint16_t *>(args[2]);
    out[3] = static_cast<double>(*static_cast<uint64_t *>(args[3]));
    out[4] = *static_cast<float *>(args[4]);
    out[5] = *static_cast<uint32_t *>(args[5]);
}

void shape(const mti_launch_shape_t *shape, void *const *args)
{
    uint32_t *out = *static_cast<uint32_t **>(args[0]);
    memcpy(out, shape->grid, sizeof shape->grid);
    memcpy(out + 3, shape->block, sizeof shape->block);
    out[6] = shape->shared_bytes;
}

} // namespace

const mti_code_t *kernels()
{
    static const uint32_t saxpy_bytes[] = {4, 8, 8, 8}, bump_bytes[] = {8, 4},
                          mixed_bytes[] = {1, 8, 2, 8, 4, 4, 8}, shape_bytes[] = {8};
    static const mti_kernel_desc_t table[] = {
        {"cts_saxpy", nullptr, saxpy_bytes, 4, 0, saxpy},
        {"cts_bump", nullptr, bump_bytes, 2, 0, bump},
        {"cts_mixed", nullptr, mixed_bytes, 7, 0, mixed},
        {"cts_shape", nullptr, shape_bytes, 1, 256, shape},
    };
    static const mti_code_t code = {"cts", nullptr, 0, table, 4};
    return &code;
}

::testing::AssertionResult status_is(const char *call, const char *, manta_status_t got,
                                     manta_status_t want)
{
    if (got == want) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure()
           << call << "\n  gave " << manta_status_name(got) << " (" << manta_error_message()
           << ")\n  and not " << manta_status_name(want);
}

// ---- The fixture ----

void Cts::SetUp()
{
    std::string reason;
    manta_status_t status = driver().create(&set_, &reason);
    if (status == MANTA_NOT_READY) {
        GTEST_SKIP() << driver().name << ": " << reason;
    }
    ASSERT_OK(status);
    for (uint32_t i = 0; i < mti_devices_count(set_); i++) {
        mti_device_t *device = mti_devices_at(set_, i);
        if (std::string(device->name).rfind(driver().prefix, 0) == 0) devices_.push_back(device);
    }
    ASSERT_GE(devices_.size(), 1u);
    for (mti_device_t *device : devices_)
        ASSERT_OK(mti_device_open(device));
}

void Cts::TearDown()
{
    if (set_) {
        EXPECT_OK(mti_devices_destroy(set_, INT64_MAX));
    }
}

bool Cts::has(uint32_t cap) const
{
    return mti_device_can(devices_[0], cap) || (cap == MTI_CAP_FAULTS && driver().inject);
}

bool Cts::need(uint32_t cap)
{
    if (has(cap)) return true;
    for (const Gap &gap : driver().gaps) {
        if (gap.cap != cap) continue;
        [&] {
            GTEST_SKIP() << driver().name << " has no " << cap_name(cap) << ": " << gap.reason;
        }();
        return false;
    }
    ADD_FAILURE() << driver().name << " has no " << cap_name(cap)
                  << ", and tests/cts/drivers.cc does not say why";
    return false;
}

mti_queue_t *Cts::queue(mti_device_t *on, mti_queue_kind_t kind)
{
    mti_queue_options_t options = {kind, false};
    mti_queue_t *queue = nullptr;
    EXPECT_OK(mti_queue_create(on ? on : device(), &options, &queue));
    return queue;
}

mti_memory_t *Cts::memory(size_t size_bytes, mti_device_t *on)
{
    mti_memory_t *memory = nullptr;
    EXPECT_OK(mti_memory_alloc(on ? on : device(), size_bytes, &memory));
    return memory;
}

mti_memory_t *Cts::host(size_t size_bytes, mti_device_t *on)
{
    mti_memory_t *memory = nullptr;
    EXPECT_OK(mti_memory_alloc_host(on ? on : device(), size_bytes, -1, &memory));
    return memory;
}

uint64_t Cts::copy(mti_queue_t *queue, mti_memory_t *dst, size_t dst_offset, mti_memory_t *src,
                   size_t src_offset, size_t size_bytes, uint32_t flags)
{
    mti_copy_t copy = {mti_place_at(dst, dst_offset), mti_place_at(src, src_offset), size_bytes};
    uint64_t seq = 0;
    EXPECT_OK(mti_queue_copy(queue, &copy, flags, &seq));
    return seq;
}

uint64_t Cts::fill(mti_queue_t *queue, mti_memory_t *dst, uint32_t pattern, uint32_t flags)
{
    uint64_t seq = 0;
    EXPECT_OK(
        mti_queue_fill(queue, mti_place_at(dst, 0), dst->size_bytes, pattern, 1, flags, &seq));
    return seq;
}

uint64_t Cts::empty(mti_queue_t *queue, uint32_t flags)
{
    uint64_t seq = 0;
    EXPECT_OK(mti_queue_empty(queue, flags, &seq));
    return seq;
}

void Cts::load(mti_device_t *on)
{
    ASSERT_OK(mti_device_code_load(on ? on : device(), driver().code ? driver().code : kernels()));
}

mti_launch_t Cts::launch_of(const char *kernel, void *const *args, uint32_t count, mti_device_t *on)
{
    mti_launch_t launch = {};
    launch.kernel = mti_device_kernel(on ? on : device(), kernel);
    EXPECT_NE(nullptr, launch.kernel) << kernel;
    launch.shape = {{1, 1, 1}, {1, 1, 1}, 0};
    launch.args = args;
    launch.arg_count = count;
    return launch;
}

mti_poll_t Cts::poll(mti_device_t *on)
{
    mti_poll_t poll;
    mti_device_poll(on, &poll);
    failures_.insert(failures_.end(), poll.failures, poll.failures + poll.failure_count);
    return poll;
}

void Cts::await(mti_queue_t *queue, uint64_t seq)
{
    for (;;) {
        mti_poll_t seen = poll(queue->device);
        if (mti_queue_completed(queue) >= seq) return;
        ASSERT_FALSE(seen.lost) << queue->device->name << " is lost";
        if (seen.advanced == 0 && !seen.more) {
            ASSERT_OK(mti_device_block(queue->device, INT64_MAX));
        }
    }
}

void Cts::finish(mti_queue_t *queue)
{
    uint64_t seq = 0;
    ASSERT_OK(mti_queue_signal(queue, &seq));
    await(queue, seq);
}

void Cts::await_loss(mti_device_t *on)
{
    while (!poll(on).lost) {
        manta_status_t status = mti_device_block(on, mti_device_now_ns(on) + 1000000);
        ASSERT_TRUE(status == MANTA_OK || status == MANTA_NOT_READY) << manta_error_message();
    }
}

manta_status_t Cts::inject(mti_device_t *on, mti_fault_kind_t kind, uint32_t nth,
                           manta_status_t code, mti_queue_t *queue)
{
    mti_fault_t fault = {kind, nth, code, queue};
    return driver().inject ? driver().inject(on, &fault) : mti_device_inject(on, &fault);
}

std::vector<uint8_t> Cts::read(mti_queue_t *queue, mti_memory_t *memory, size_t offset,
                               size_t size_bytes)
{
    std::vector<uint8_t> data(size_bytes);
    if (size_bytes == 0) return data;
    mti_memory_t *staging = host(size_bytes, queue->device);
    copy(queue, staging, 0, memory, offset, size_bytes);
    finish(queue);
    memcpy(data.data(), staging->ptr, size_bytes);
    mti_memory_free(staging);
    return data;
}

void Cts::write(mti_queue_t *queue, mti_memory_t *memory, size_t offset,
                const std::vector<uint8_t> &data)
{
    if (data.empty()) return;
    mti_memory_t *staging = host(data.size(), queue->device);
    memcpy(staging->ptr, data.data(), data.size());
    copy(queue, memory, offset, staging, 0, data.size());
    finish(queue);
    mti_memory_free(staging);
}

} // namespace cts
