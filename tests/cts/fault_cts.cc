// Memory that runs out, operations that fail, devices that are lost.
#include "cts/cts.h"

#include <cstring>

#include <atomic>

namespace cts
{

TEST_P(Cts, MemoryIsAlignedAndCounted)
{
    size_t align = device()->info.limits.alloc_align_bytes;
    std::vector<mti_memory_t *> blocks;
    uint64_t live = 0;
    for (size_t size : {1u, 7u, 256u, 1000u, 65536u}) {
        blocks.push_back(memory(size));
        EXPECT_EQ(0u, reinterpret_cast<uintptr_t>(blocks.back()->ptr) % align);
        EXPECT_EQ(size, blocks.back()->size_bytes);
        EXPECT_EQ(MTI_MEMORY_DEVICE, blocks.back()->kind);
        live += size;
        EXPECT_EQ(live, device()->stats.live_bytes);
    }
    for (mti_memory_t *block : blocks)
        mti_memory_free(block);
    mti_memory_free(nullptr);
    EXPECT_EQ(0u, device()->stats.live_bytes);
    EXPECT_EQ(5u, device()->stats.frees);
}

TEST_P(Cts, OutOfMemoryIsAStatusAndNothingElse)
{
    mti_memory_t *none = nullptr;
    uint64_t all = device()->info.memory_bytes;
    mti_memory_t *some = memory(1000);
    EXPECT_STATUS(MANTA_ERR_OUT_OF_MEMORY,
                  mti_memory_alloc(device(), static_cast<size_t>(all), &none));
    EXPECT_MESSAGE(device()->name);
    EXPECT_MESSAGE("1000 of " + std::to_string(all));
    EXPECT_STATUS(MANTA_ERR_OUT_OF_MEMORY, mti_memory_alloc(device(), SIZE_MAX, &none));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_memory_alloc(device(), 0, &none));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_memory_alloc_host(device(), 0, -1, &none));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_memory_alloc_host(device(), 10, -2, &none));
    EXPECT_STATUS(MANTA_ERR_OUT_OF_MEMORY,
                  mti_memory_alloc_host(device(), SIZE_MAX / 2 + 1, -1, &none));
    EXPECT_EQ(nullptr, none);
    mti_queue_t *q = queue();
    fill(q, some, 3);
    EXPECT_EQ(3, read(q, some, 999, 1)[0]);
    EXPECT_FALSE(poll(device()).lost);
}

TEST_P(Cts, AnInjectedLackOfMemoryHitsOneAllocation)
{
    NEED(MTI_CAP_FAULTS);
    ASSERT_OK(inject(device(), MTI_FAULT_OOM, 3));
    mti_memory_t *none = nullptr;
    memory(10);
    memory(10);
    EXPECT_STATUS(MANTA_ERR_OUT_OF_MEMORY, mti_memory_alloc(device(), 10, &none));
    EXPECT_MESSAGE("no memory for 10 bytes");
    EXPECT_NE(nullptr, memory(10));
    EXPECT_EQ(30u, device()->stats.live_bytes);
}

TEST_P(Cts, AnInjectedFailureHitsOneOperation)
{
    NEED(MTI_CAP_FAULTS);
    mti_queue_t *q = queue();
    mti_memory_t *there = memory(64);
    fill(q, there, 1);
    finish(q);
    ASSERT_OK(inject(device(), MTI_FAULT_FAIL_OP, 2, MANTA_ERR_IO));
    fill(q, there, 2);
    uint64_t bad = fill(q, there, 3);
    empty(q);
    finish(q);
    ASSERT_EQ(1u, failures_.size());
    EXPECT_EQ(bad, failures_[0].seq);
    EXPECT_EQ(MANTA_ERR_IO, failures_[0].code);
    EXPECT_EQ(2, read(q, there, 0, 1)[0]);
    ASSERT_OK(inject(device(), MTI_FAULT_FAIL_OP, 1, MANTA_ERR_IO));
    ASSERT_OK(inject(device(), MTI_FAULT_NONE));
    empty(q);
    finish(q);
    EXPECT_EQ(1u, failures_.size());
}

TEST_P(Cts, ALostDeviceStandsStillForGood)
{
    NEED(MTI_CAP_FAULTS);
    mti_queue_t *q = queue(), *idle = queue();
    mti_memory_t *there = memory(64), *mine = host(64);
    finish(idle);
    await(q, empty(q, MTI_OP_RECORD));
    ASSERT_OK(inject(device(), MTI_FAULT_LOSE, 4));
    for (int i = 0; i < 10; i++) {
        manta_status_t status =
            mti_queue_fill(q, mti_place_at(there, 0), 64, 1, 1, MTI_OP_RECORD, nullptr);
        EXPECT_TRUE(status == MANTA_OK || status == MANTA_ERR_DEVICE_LOST);
    }
    await_loss(device());
    EXPECT_EQ(MTI_DEVICE_LOST, mti_device_state(device()));
    uint64_t completed = mti_queue_completed(q);
    EXPECT_LE(completed, 4u);
    EXPECT_GE(completed, 1u);
    EXPECT_TRUE(failures_.empty()); // what was in flight failed with the device
    for (int i = 0; i < 3; i++) {
        EXPECT_TRUE(poll(device()).lost);
        EXPECT_EQ(completed, mti_queue_completed(q));
    }
    uint64_t submitted = q->submitted;
    mti_memory_t *none = nullptr;
    mti_queue_t *no_queue = nullptr;
    mti_copy_t copy = {mti_place_at(there, 0), mti_place_at(mine, 0), 64};
    EXPECT_STATUS(MANTA_ERR_DEVICE_LOST, mti_queue_copy(q, &copy, 0, nullptr));
    EXPECT_MESSAGE(device()->name);
    EXPECT_STATUS(MANTA_ERR_DEVICE_LOST, mti_queue_empty(q, 0, nullptr));
    EXPECT_STATUS(MANTA_ERR_DEVICE_LOST, mti_queue_signal(q, nullptr));
    EXPECT_STATUS(MANTA_ERR_DEVICE_LOST, mti_queue_wait(q, idle, 0));
    EXPECT_STATUS(MANTA_ERR_DEVICE_LOST, mti_memory_alloc(device(), 1, &none));
    EXPECT_STATUS(MANTA_ERR_DEVICE_LOST, mti_queue_create(device(), nullptr, &no_queue));
    EXPECT_STATUS(MANTA_ERR_DEVICE_LOST, mti_device_open(device()));
    EXPECT_OK(mti_device_block(device(), INT64_MAX)); // poll has something to say
    EXPECT_EQ(submitted, q->submitted);
    mti_memory_free(there);
    mti_memory_free(mine);
    EXPECT_OK(mti_queue_destroy(q)); // though work was in flight
    EXPECT_OK(mti_device_close(device(), 0));
}

TEST_P(Cts, ALossIsTheDevicesOwn)
{
    NEED(MTI_CAP_FAULTS);
    NEED(MTI_CAP_CROSS_WAIT);
    ASSERT_GE(devices_.size(), 2u);
    mti_queue_t *q = queue(device()), *far = queue(second());
    mti_memory_t *mine = memory(64), *there = memory(64, second());
    hold(q);
    uint64_t never = fill(q, mine, 1, MTI_OP_RECORD);
    ASSERT_OK(mti_queue_wait(far, q, never));
    uint64_t after = fill(far, there, 2, MTI_OP_RECORD);
    ASSERT_OK(inject(device(), MTI_FAULT_LOSE_NOW));
    await_loss(device());
    await(far, after); // the wait is over
    EXPECT_EQ(MTI_DEVICE_OPEN, mti_device_state(second()));
    EXPECT_EQ(2, read(far, there, 0, 64)[0]);
    EXPECT_OK(mti_queue_wait(far, q, never)); // and so is a new one
    mti_copy_t copy = {mti_place_at(there, 0), mti_place_at(mine, 0), 64};
    EXPECT_STATUS(MANTA_ERR_DEVICE_LOST, mti_queue_copy(far, &copy, 0, nullptr));
    EXPECT_MESSAGE(device()->name);
    EXPECT_FALSE(poll(second()).lost);
}

TEST_P(Cts, AfterALossNothingTouchesMemoryAnyMore)
{
    NEED(MTI_CAP_FAULTS);
    for (uint32_t nth = 1; nth < 8; nth++) {
        SCOPED_TRACE(nth);
        mti_devices_t *set = nullptr;
        std::string reason;
        ASSERT_OK(driver().create(&set, &reason));
        mti_device_t *lost = nullptr;
        for (uint32_t i = 0; !lost; i++) {
            if (std::string(mti_devices_at(set, i)->name).rfind(driver().prefix, 0) == 0)
                lost = mti_devices_at(set, i);
        }
        ASSERT_OK(mti_device_open(lost));
        mti_queue_t *queues[] = {queue(lost), queue(lost), queue(lost)};
        mti_memory_t *there = memory(1 << 16, lost), *mine = host(1 << 16, lost);
        ASSERT_OK(inject(lost, MTI_FAULT_LOSE, nth));
        for (int i = 0; i < 12; i++) {
            mti_copy_t copy = {mti_place_at(mine, 0), mti_place_at(there, 0), 1 << 16};
            manta_status_t status = mti_queue_copy(queues[i % 3], &copy, MTI_OP_RECORD, nullptr);
            EXPECT_TRUE(status == MANTA_OK || status == MANTA_ERR_DEVICE_LOST);
        }
        await_loss(lost);
        mti_memory_free(there); // a sanitizer would see a copy that is still under way
        memset(mine->ptr, 0xab, 1 << 16);
        for (int i = 0; i < 1 << 16; i += 4095)
            EXPECT_EQ(0xab, bytes(mine)[i]);
        mti_memory_free(mine);
        EXPECT_OK(mti_devices_destroy(set, 0));
    }
}

} // namespace cts
