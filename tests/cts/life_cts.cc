// Devices: info, open, close, what is left at close; gaps.
#include "cts/cts.h"

#include <cstring>

#include <set>

namespace cts
{

INSTANTIATE_TEST_SUITE_P(Drivers, Cts, ::testing::ValuesIn([] {
                             std::vector<const Driver *> all;
                             for (const Driver &driver : drivers())
                                 all.push_back(&driver);
                             return all;
                         }()),
                         [](const ::testing::TestParamInfo<const Driver *> &at) {
                             return std::string(at.param->name);
                         });

TEST_P(Cts, GapsAreNotStale)
{
    for (const Gap &gap : driver().gaps)
        EXPECT_FALSE(has(gap.cap)) << "a gap that is not there any more: " << gap.reason;
}

TEST_P(Cts, InfoMakesSense)
{
    std::set<std::string> names;
    for (mti_device_t *device : devices_) {
        const mti_device_info_t &info = device->info;
        EXPECT_TRUE(names.insert(device->name).second) << device->name;
        EXPECT_NE('\0', info.name[0]);
        EXPECT_GT(info.memory_bytes, 0u);
        EXPECT_GT(info.limits.max_queues, 0u);
        EXPECT_GT(info.limits.alloc_align_bytes, 0u);
        EXPECT_EQ(0u, info.limits.alloc_align_bytes & (info.limits.alloc_align_bytes - 1));
        EXPECT_EQ(info.peer_count, device->driver ? devices_.size() : 0);
        EXPECT_TRUE(info.peers[device->ordinal].direct);
        EXPECT_EQ(device, mti_devices_find(set_, device->name));
        EXPECT_EQ(device, mti_devices_at(set_, device->index));
        if (!mti_device_can(device, MTI_CAP_LAUNCH)) continue;
        EXPECT_GE(info.limits.max_block_threads, 1u);
        EXPECT_GE(info.limits.max_args_bytes, 64u);
    }
}

TEST_P(Cts, OpeningTwiceIsFine)
{
    EXPECT_OK(mti_device_open(device()));
    EXPECT_EQ(MTI_DEVICE_OPEN, mti_device_state(device()));
}

TEST_P(Cts, AClosedDeviceTakesNothing)
{
    ASSERT_OK(mti_device_close(device(), INT64_MAX));
    EXPECT_OK(mti_device_close(device(), INT64_MAX));
    mti_memory_t *memory = nullptr;
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_memory_alloc(device(), 1, &memory));
    EXPECT_MESSAGE(device()->name);
    EXPECT_MESSAGE("not open");
    mti_queue_t *queue = nullptr;
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_queue_create(device(), nullptr, &queue));
    EXPECT_STATUS(MANTA_ERR_SHUTDOWN, mti_device_open(device()));
    EXPECT_FALSE(poll(device()).lost);
}

TEST_P(Cts, CloseWaitsForWorkInFlightAndFreesWhatIsLeft)
{
    mti_queue_t *q = queue();
    mti_memory_t *there = memory(1 << 20);
    mti_memory_t *back = host(1 << 20, devices_.back()); // outlives the device
    bool apart = devices_.size() > 1;
    for (int i = 0; i < 20; i++)
        fill(q, there, static_cast<uint32_t>(i));
    if (apart) copy(q, back, 0, there, 0, 1 << 20);
    ASSERT_OK(mti_device_close(device(), INT64_MAX));
    EXPECT_EQ(MTI_DEVICE_ENDED, mti_device_state(device()));
    if (!apart) return;
    EXPECT_EQ(19, bytes(back)[0]);
    EXPECT_EQ(19, bytes(back)[(1 << 20) - 1]);
}

TEST_P(Cts, CloseGivesUpAtItsDeadlineAndCanBeCalledAgain)
{
    NEED(MTI_CAP_FAULTS);
    mti_queue_t *q = queue();
    hold(q);
    empty(q, MTI_OP_RECORD);
    EXPECT_STATUS(MANTA_ERR_TIMEOUT,
                  mti_device_close(device(), mti_device_now_ns(device()) + 1000000));
    EXPECT_MESSAGE("in flight");
    EXPECT_EQ(MTI_DEVICE_OPEN, mti_device_state(device()));
    release(q);
    EXPECT_OK(mti_device_close(device(), INT64_MAX));
}

TEST_P(Cts, QueuesAreLimitedAndTheirIndicesReused)
{
    uint32_t limit = device()->info.limits.max_queues;
    std::vector<mti_queue_t *> queues;
    for (uint32_t i = 0; i < limit; i++) {
        queues.push_back(queue());
        ASSERT_NE(nullptr, queues.back());
        EXPECT_EQ(i, queues.back()->index);
    }
    mti_queue_t *one_more = nullptr;
    EXPECT_STATUS(MANTA_ERR_RESOURCE_EXHAUSTED, mti_queue_create(device(), nullptr, &one_more));
    EXPECT_MESSAGE(std::to_string(limit));
    ASSERT_OK(mti_queue_destroy(queues[limit / 2]));
    EXPECT_EQ(limit / 2, queue()->index);
}

TEST_P(Cts, AQueueWithWorkInFlightIsNotDestroyed)
{
    mti_queue_t *q = queue();
    empty(q);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_queue_destroy(q)); // not even recorded
    finish(q);
    EXPECT_OK(mti_queue_destroy(q));
    EXPECT_OK(mti_queue_destroy(nullptr));
}

TEST_P(Cts, EveryKindOfQueueTakesAnyOperation)
{
    mti_memory_t *there = memory(100), *back = host(100);
    for (mti_queue_kind_t kind :
         {MTI_QUEUE_COMPUTE, MTI_QUEUE_COPY_IN, MTI_QUEUE_COPY_OUT, MTI_QUEUE_COPY_PEER}) {
        mti_queue_t *q = queue(device(), kind);
        fill(q, there, static_cast<uint32_t>(kind) + 5);
        copy(q, back, 0, there, 0, 100);
        finish(q);
        EXPECT_EQ(static_cast<int>(kind) + 5, bytes(back)[99]);
    }
}

} // namespace cts
