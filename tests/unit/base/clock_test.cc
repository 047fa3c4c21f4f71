// Deadlines saturate.
#include "unit/internals.h"

#include <gtest/gtest.h>

namespace
{

TEST(ClockTest, NeverGoesBack)
{
    int64_t last = mti_clock_ns();
    EXPECT_GT(last, 0);
    for (int i = 0; i < 10000; i++) {
        int64_t now = mti_clock_ns();
        ASSERT_GE(now, last);
        last = now;
    }
}

TEST(ClockTest, DeadlineIsFromNow)
{
    int64_t before = mti_clock_ns();
    int64_t deadline = mti_clock_deadline(1000000);
    int64_t after = mti_clock_ns();
    EXPECT_GE(deadline, before + 1000000);
    EXPECT_LE(deadline, after + 1000000);
}

TEST(ClockTest, DeadlineSaturates)
{
    EXPECT_EQ(INT64_MAX, mti_clock_deadline(INT64_MAX));
    EXPECT_EQ(INT64_MAX, mti_clock_deadline(INT64_MAX - 1));
    EXPECT_EQ(INT64_MAX, mti_clock_deadline(INT64_MAX - mti_clock_ns()));
}

TEST(ClockTest, NegativeTimeoutIsNow)
{
    for (int64_t timeout : {(int64_t)-1, INT64_MIN}) {
        int64_t before = mti_clock_ns();
        int64_t deadline = mti_clock_deadline(timeout);
        EXPECT_GE(deadline, before);
        EXPECT_LE(deadline, mti_clock_ns());
    }
}

} // namespace
