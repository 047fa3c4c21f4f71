// Ranks of locks.
#include "unit/internals.h"

#include <gtest/gtest.h>

namespace
{

struct Locks {
    mti_mutex_t outer, inner, other;
    Locks()
    {
        mti_mutex_init(&outer, MTI_RANK_SCHED);
        mti_mutex_init(&inner, MTI_RANK_TABLE);
        mti_mutex_init(&other, MTI_RANK_SCHED);
    }
    ~Locks()
    {
        mti_mutex_deinit(&outer);
        mti_mutex_deinit(&inner);
        mti_mutex_deinit(&other);
    }
};

TEST(MutexTest, RisingRanksAreFine)
{
    Locks l;
    for (int i = 0; i < 2; i++) {
        mti_mutex_lock(&l.outer);
        mti_mutex_lock(&l.inner);
        mti_mutex_unlock(&l.outer); // in any order
        mti_mutex_unlock(&l.inner);
        mti_mutex_lock(&l.inner);
        mti_mutex_unlock(&l.inner);
        mti_mutex_lock(&l.other);
        mti_mutex_unlock(&l.other);
    }
}

TEST(MutexTest, RanksBelongToOneThread)
{
    Locks l;
    mti_mutex_lock(&l.inner);
    auto body = [](void *arg) -> void * {
        Locks *locks = static_cast<Locks *>(arg);
        mti_mutex_lock(&locks->outer);
        mti_mutex_unlock(&locks->outer);
        return nullptr;
    };
    pthread_t thread;
    ASSERT_TRUE(mti_thread_create(&thread, body, &l, "t"));
    pthread_join(thread, nullptr);
    mti_mutex_unlock(&l.inner);
}

#if MANTA_ASSERT >= 2
class MutexDeathTest : public ::testing::Test
{
  protected:
    void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
    Locks l;
};

TEST_F(MutexDeathTest, FallingRankAborts)
{
    mti_mutex_lock(&l.inner);
    EXPECT_DEATH(mti_mutex_lock(&l.outer), "manta: bug: ");
    mti_mutex_unlock(&l.inner);
}

TEST_F(MutexDeathTest, SameRankAborts)
{
    mti_mutex_lock(&l.outer);
    EXPECT_DEATH(mti_mutex_lock(&l.other), "manta: bug: ");
    mti_mutex_unlock(&l.outer);
}

TEST_F(MutexDeathTest, UnlockOfWhatIsNotHeldAborts)
{
    EXPECT_DEATH(mti_mutex_unlock(&l.outer), "manta: bug: ");
}
#endif

} // namespace
