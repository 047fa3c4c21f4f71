// The conformance suite of the driver contract: one set of tests over every driver.
//
// A driver is one entry in drivers.cc. What it cannot do is a *gap* there, with a reason: a capability
// that it lacks and that tests ask for by NEED(). A gap that is not listed fails the test that found it, and
// one that is listed but not there any more fails Cts.GapsAreNotStale.
#ifndef TESTS_CTS_CTS_H
#define TESTS_CTS_CTS_H

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <pthread.h>

extern "C" {
#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"
#include "devices/device.h"
#include "devices/registry.h"
}

#include <gtest/gtest.h>

namespace cts
{

struct Gap {
    uint32_t cap; // of mti_cap_t
    const char *reason;
};

struct Driver {
    const char *name;   // of the parameter in test names
    const char *prefix; // of its devices' names, "sim:"
    // Makes a set with at least two devices of the driver. MANTA_NOT_READY: there is none here; |reason| says
    // why, and the tests are skipped.
    std::function<manta_status_t(mti_devices_t **out_devices, std::string *reason)> create;
    std::vector<Gap> gaps;
    // Completed words never move past what was recorded. (The contract lets a driver be generous.)
    bool records_are_strict = false;
    // The kernels of cts_kernels() with code for this driver's devices; NULL: their twins will do.
    const mti_code_t *code = nullptr;
    // Fewer rounds in storms.
    bool is_slow = false;
    // Faults of drivers whose devices have no MTI_CAP_FAULTS of their own.
    std::function<manta_status_t(mti_device_t *device, const mti_fault_t *fault)> inject = nullptr;
};

// In drivers.cc.
const std::vector<Driver> &drivers();

// The kernels that the suite launches, and their CPU twins:
//   cts_saxpy(float a, const float *x, float *y, uint64_t n)        y[i] += a * x[i]
//   cts_bump(uint32_t *counter, uint32_t times)                     one thread; *counter += times
//   cts_mixed(uint8_t a, double b, uint16_t c, uint64_t d, float e, uint32_t f, double *out)
//                                                                   one thread; out[0..5] = a, b, c, d, e, f
//   cts_shape(uint32_t *out)                                        out[0..6] = grid, block, shared bytes
const mti_code_t *kernels();

::testing::AssertionResult status_is(const char *call, const char *expected, manta_status_t got,
                                     manta_status_t want);

#define EXPECT_STATUS(want, call)                                                                  \
    EXPECT_PRED_FORMAT2(::cts::status_is, (call), (manta_status_t)(want))
#define ASSERT_STATUS(want, call)                                                                  \
    ASSERT_PRED_FORMAT2(::cts::status_is, (call), (manta_status_t)(want))
#define EXPECT_OK(call) EXPECT_STATUS(MANTA_OK, call)
#define ASSERT_OK(call) ASSERT_STATUS(MANTA_OK, call)
#define EXPECT_MESSAGE(part)                                                                       \
    EXPECT_NE(std::string::npos, std::string(manta_error_message()).find(part))                    \
        << "the message is: " << manta_error_message()

class Cts : public ::testing::TestWithParam<const Driver *>
{
  protected:
    void SetUp() override;
    void TearDown() override;

    const Driver &driver() const { return *GetParam(); }
    mti_device_t *device() { return devices_[0]; }
    mti_device_t *second() { return devices_[1]; }
    bool has(uint32_t cap) const;
    // True if the test can go on; else it is skipped (a listed gap) or has failed (one that is not).
    bool need(uint32_t cap);
    bool is_virtual() const { return (devices_[0]->caps & MTI_CAP_VIRTUAL_CLOCK) != 0; }

    mti_queue_t *queue(mti_device_t *device = nullptr, mti_queue_kind_t kind = MTI_QUEUE_COMPUTE);
    mti_memory_t *memory(size_t size_bytes, mti_device_t *device = nullptr);
    mti_memory_t *host(size_t size_bytes, mti_device_t *device = nullptr);
    static uint8_t *bytes(mti_memory_t *memory) { return static_cast<uint8_t *>(memory->ptr); }

    // Submit one; a failure fails the test. The number comes back.
    uint64_t copy(mti_queue_t *queue, mti_memory_t *dst, size_t dst_offset, mti_memory_t *src,
                  size_t src_offset, size_t size_bytes, uint32_t flags = 0);
    uint64_t fill(mti_queue_t *queue, mti_memory_t *dst, uint32_t pattern, uint32_t flags = 0);
    uint64_t empty(mti_queue_t *queue, uint32_t flags = 0);
    void load(mti_device_t *device = nullptr);
    mti_launch_t launch_of(const char *kernel, void *const *args, uint32_t count,
                           mti_device_t *device = nullptr);

    // Polls until |seq| of |queue| is done; it has to be recorded. Failures are gathered in failures_.
    void await(mti_queue_t *queue, uint64_t seq);
    // Records and awaits all of |queue|.
    void finish(mti_queue_t *queue);
    // Polls until the device is lost.
    void await_loss(mti_device_t *device);
    mti_poll_t poll(mti_device_t *device);

    manta_status_t inject(mti_device_t *device, mti_fault_kind_t kind, uint32_t nth = 0,
                          manta_status_t code = MANTA_OK, mti_queue_t *queue = nullptr);
    void hold(mti_queue_t *queue)
    {
        ASSERT_OK(inject(queue->device, MTI_FAULT_HOLD_QUEUE, 0, 0, queue));
    }
    void release(mti_queue_t *queue)
    {
        ASSERT_OK(inject(queue->device, MTI_FAULT_RELEASE_QUEUE, 0, 0, queue));
    }

    // What device memory holds, through a copy.
    std::vector<uint8_t> read(mti_queue_t *queue, mti_memory_t *memory, size_t offset,
                              size_t size_bytes);
    void write(mti_queue_t *queue, mti_memory_t *memory, size_t offset,
               const std::vector<uint8_t> &data);

    mti_devices_t *set_ = nullptr;
    std::vector<mti_device_t *> devices_; // of the driver; open
    std::vector<mti_op_failure_t> failures_;
};

#define NEED(cap)                                                                                  \
    if (!need(cap)) return

} // namespace cts

#endif
