// Numbers, records, waits, polls, block.
#include "cts/cts.h"

#include <cstring>

#include <thread>

namespace cts
{

TEST_P(Cts, NumbersCountUpAndWorkIsDoneInTheirOrder)
{
    mti_queue_t *q = queue();
    mti_memory_t *there = memory(64), *back = host(64 * 100);
    for (uint32_t i = 0; i < 100; i++) {
        EXPECT_EQ(2 * i + 1, fill(q, there, i));
        EXPECT_EQ(2 * i + 2, copy(q, back, 64 * i, there, 0, 64));
    }
    finish(q);
    for (int i = 0; i < 100; i++) {
        ASSERT_EQ(i, bytes(back)[64 * i]) << i;
        ASSERT_EQ(i, bytes(back)[64 * i + 63]) << i;
    }
    EXPECT_EQ(200u, mti_queue_completed(q));
}

TEST_P(Cts, CompletedNeverPassesWhatWasSubmittedOrRecorded)
{
    mti_queue_t *q = queue();
    for (int round = 0; round < 50; round++) {
        uint64_t recorded = empty(q, MTI_OP_RECORD);
        for (int i = 0; i < 3; i++)
            empty(q);
        await(q, recorded);
        EXPECT_GE(mti_queue_completed(q), recorded);
        EXPECT_LE(mti_queue_completed(q), q->submitted);
        for (int i = 0; i < 10; i++)
            poll(device());
        if (driver().records_are_strict) {
            EXPECT_EQ(recorded, mti_queue_completed(q));
        }
    }
}

TEST_P(Cts, ASignalMakesAllSoFarVisibleAndIsFreeTheSecondTime)
{
    mti_queue_t *q = queue();
    uint64_t seq = 77;
    ASSERT_OK(mti_queue_signal(q, &seq));
    EXPECT_EQ(0u, seq);
    for (int i = 0; i < 5; i++)
        empty(q);
    ASSERT_OK(mti_queue_signal(q, &seq));
    EXPECT_EQ(5u, seq);
    uint64_t signals = device()->stats.signals;
    ASSERT_OK(mti_queue_signal(q, &seq));
    EXPECT_EQ(5u, seq);
    EXPECT_EQ(signals, device()->stats.signals);
    await(q, 5);
    // All done, and signalled only afterwards.
    empty(q);
    mti_queue_t *other = queue();
    ASSERT_OK(mti_queue_wait(other, q, 6));
    await(other, empty(other, MTI_OP_RECORD));
    ASSERT_OK(mti_queue_signal(q, &seq));
    EXPECT_EQ(6u, seq);
    await(q, 6);
}

TEST_P(Cts, AWaitHoldsBackWhatFollows)
{
    NEED(MTI_CAP_FAULTS);
    mti_queue_t *first = queue(), *then = queue();
    mti_memory_t *there = memory(4096), *back = host(4096);
    fill(then, there, 1);
    finish(then);
    hold(first);
    uint64_t filled = fill(first, there, 2);
    uint64_t before = empty(then, MTI_OP_RECORD);
    ASSERT_OK(mti_queue_wait(then, first, filled)); // nobody recorded it
    copy(then, back, 0, there, 0, 4096, MTI_OP_RECORD);
    await(then, before);
    for (int i = 0; i < 10; i++)
        poll(device());
    EXPECT_EQ(before, mti_queue_completed(then));
    release(first);
    finish(then);
    EXPECT_EQ(2, bytes(back)[0]);
    EXPECT_EQ(2, bytes(back)[4095]);
}

TEST_P(Cts, AWaitCrossesDevices)
{
    NEED(MTI_CAP_CROSS_WAIT);
    ASSERT_GE(devices_.size(), 2u);
    mti_queue_t *near = queue(device()), *far = queue(second());
    mti_memory_t *a = host(4096), *b = host(4096), *there = memory(4096, second());
    memset(bytes(a), 1, 4096);
    bool holds = has(MTI_CAP_FAULTS);
    if (holds) hold(near);
    mti_memory_t *mine = memory(4096);
    fill(near, mine, 7);
    uint64_t done = copy(near, a, 0, mine, 0, 4096, MTI_OP_RECORD);
    ASSERT_OK(mti_queue_wait(far, near, done));
    copy(far, there, 0, a, 0, 4096);
    uint64_t end = copy(far, b, 0, there, 0, 4096, MTI_OP_RECORD);
    if (holds) {
        for (int i = 0; i < 10; i++)
            poll(second());
        EXPECT_EQ(0u, mti_queue_completed(far));
        release(near);
    }
    await(far, end);
    EXPECT_EQ(7, bytes(b)[0]);
    EXPECT_EQ(7, bytes(b)[4095]);
    finish(near);
}

TEST_P(Cts, AWaitForWhatIsDoneCostsNothing)
{
    mti_queue_t *a = queue(), *b = queue();
    uint64_t seq = empty(a, MTI_OP_RECORD);
    await(a, seq);
    uint64_t waits = device()->stats.waits;
    EXPECT_OK(mti_queue_wait(b, a, seq));
    EXPECT_OK(mti_queue_wait(a, a, seq));
    empty(a);
    EXPECT_OK(mti_queue_wait(a, a, a->submitted));
    EXPECT_EQ(waits, device()->stats.waits);
    EXPECT_EQ(3u, device()->stats.waits_elided);
}

TEST_P(Cts, AWaitForWhatDoesNotExistIsRefused)
{
    mti_queue_t *a = queue(), *b = queue();
    empty(a);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_queue_wait(b, a, 2));
    EXPECT_MESSAGE("submitted only 1");
    if (devices_.size() < 2) return;
    mti_queue_t *far = queue(second());
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_queue_wait(far, a, 1));
    EXPECT_MESSAGE("recorded only 0");
}

TEST_P(Cts, WaitsForkAndJoin)
{
    constexpr int kWide = 6;
    mti_queue_t *root = queue();
    std::vector<mti_queue_t *> wide;
    std::vector<mti_memory_t *> parts;
    mti_memory_t *start = memory(1000), *all = memory(1000 * kWide), *back = host(1000 * kWide);
    for (int i = 0; i < kWide; i++) {
        wide.push_back(queue());
        parts.push_back(memory(1000));
    }
    for (uint32_t round = 1; round <= 20; round++) {
        uint64_t forked = fill(root, start, round);
        for (int i = 0; i < kWide; i++) {
            ASSERT_OK(mti_queue_wait(wide[i], root, forked));
            copy(wide[i], parts[i], 0, start, 0, 1000);
            uint64_t joined = copy(wide[i], all, 1000 * i, parts[i], 0, 1000);
            ASSERT_OK(mti_queue_wait(root, wide[i], joined));
        }
        copy(root, back, 0, all, 0, 1000 * kWide);
        finish(root);
        for (int i = 0; i < 1000 * kWide; i += 499)
            ASSERT_EQ(round, bytes(back)[i]) << i;
    }
}

TEST_P(Cts, PollSaysHowManyQueuesAdvanced)
{
    mti_queue_t *a = queue(), *b = queue();
    EXPECT_EQ(0u, poll(device()).advanced);
    uint64_t seq_a = empty(a, MTI_OP_RECORD), seq_b = empty(b, MTI_OP_RECORD);
    uint32_t advanced = 0;
    while (mti_queue_completed(a) < seq_a || mti_queue_completed(b) < seq_b) {
        mti_poll_t seen = poll(device());
        EXPECT_FALSE(seen.lost);
        EXPECT_FALSE(seen.more);
        advanced += seen.advanced;
        if (seen.advanced == 0) {
            ASSERT_OK(mti_device_block(device(), INT64_MAX));
        }
    }
    EXPECT_EQ(2u, advanced);
    EXPECT_EQ(0u, poll(device()).advanced);
}

TEST_P(Cts, BlockGivesUpAtItsDeadline)
{
    mti_queue_t *q = queue();
    (void)q;
    int64_t deadline_ns = mti_device_now_ns(device()) + 100000;
    EXPECT_STATUS(MANTA_NOT_READY, mti_device_block(device(), deadline_ns));
    EXPECT_GE(mti_device_now_ns(device()), deadline_ns);
}

TEST_P(Cts, BlockWithoutAnEndIsADeadlockWhenNothingIsRecorded)
{
    mti_queue_t *q = queue();
    empty(q);
    EXPECT_STATUS(MANTA_ERR_DEADLOCK, mti_device_block(device(), INT64_MAX));
    finish(q);
}

TEST_P(Cts, BlockEndsWhenSomebodyWakesIt)
{
    mti_device_wake(device());
    EXPECT_OK(mti_device_block(device(), INT64_MAX)); // not lost, though it came first
    if (is_virtual()) return;
    int64_t far_ns = mti_device_now_ns(device()) + 60000000000;
    std::thread waker([this] { mti_device_wake(device()); });
    EXPECT_OK(mti_device_block(device(), far_ns));
    waker.join();
}

TEST_P(Cts, EmptyOperationsTakeNumbersToo)
{
    mti_queue_t *q = queue();
    mti_memory_t *there = memory(16), *back = host(16);
    EXPECT_EQ(1u, copy(q, back, 0, there, 0, 0));
    EXPECT_EQ(2u, copy(q, back, 16, there, 16, 0));
    uint64_t seq = 0;
    EXPECT_OK(mti_queue_copy_batch(q, nullptr, 0, 0, &seq));
    EXPECT_EQ(3u, seq);
    EXPECT_OK(mti_queue_fill(q, mti_place_at(there, 0), 0, 0, 4, MTI_OP_RECORD, &seq));
    EXPECT_EQ(4u, seq);
    EXPECT_OK(mti_queue_empty(q, 0, nullptr));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_queue_empty(q, 8, nullptr));
    EXPECT_MESSAGE("flags 0x8");
    EXPECT_EQ(5u, q->submitted);
    finish(q);
}

} // namespace cts
