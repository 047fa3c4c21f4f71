// Sleeping on a word.
#include "unit/internals.h"

#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace
{

TEST(NotifyTest, DoesNotSleepIfTheWordHasChanged)
{
    mti_atomic_u32_t word = {1};
    EXPECT_TRUE(mti_notify_wait(&word, 0, INT64_MAX));
    EXPECT_TRUE(mti_notify_wait(&word, 0, 0));
}

TEST(NotifyTest, ReturnsFalseAtTheDeadline)
{
    mti_atomic_u32_t word = {0};
    EXPECT_FALSE(mti_notify_wait(&word, 0, 0)); // long past
    int64_t deadline = mti_clock_deadline(1000000);
    EXPECT_FALSE(mti_notify_wait(&word, 0, deadline));
    EXPECT_GE(mti_clock_ns(), deadline);
}

TEST(NotifyTest, WakesWhoSleepsOrIsAboutTo)
{
    for (int round = 0; round < 200; round++) {
        mti_atomic_u32_t word = {0};
        std::thread sleeper([&] { EXPECT_TRUE(mti_notify_wait(&word, 0, INT64_MAX)); });
        mti_atomic_u32_store_release(&word, 1);
        mti_notify_wake(&word, 1);
        sleeper.join();
    }
}

TEST(NotifyTest, WakesAllOfThem)
{
    mti_atomic_u32_t word = {0};
    std::vector<std::thread> sleepers;
    for (int i = 0; i < 4; i++)
        sleepers.emplace_back([&] { EXPECT_TRUE(mti_notify_wait(&word, 0, INT64_MAX)); });
    mti_atomic_u32_store_release(&word, 5);
    mti_notify_wake(&word, INT32_MAX);
    for (std::thread &sleeper : sleepers)
        sleeper.join();
}

TEST(NotifyTest, WakeWithoutChangeIsSpurious)
{
    mti_atomic_u32_t word = {0};
    std::atomic<bool> back{false};
    std::thread sleeper([&] {
        EXPECT_TRUE(mti_notify_wait(&word, 0, INT64_MAX));
        back = true;
    });
    for (int i = 0; i < 100; i++) {
        mti_notify_wake(&word, 1);
        std::this_thread::yield();
        ASSERT_FALSE(back);
    }
    mti_atomic_u32_store_release(&word, 1);
    mti_notify_wake(&word, 1);
    sleeper.join();
}

} // namespace
