// Both kinds of fences, with and without help of the kernel. What they order is attacked by
// stress/fence_stress.
#include "unit/internals.h"

#include <thread>

#include <gtest/gtest.h>

namespace
{

TEST(FenceTest, InitIsIdempotent)
{
    mti_fence_init();
    bool asymmetric = mti_fence_asymmetric;
    mti_fence_init();
    EXPECT_EQ(asymmetric, mti_fence_asymmetric);
}

// One of two threads sees the other's store: a Dekker with the fences in both roles.
void dekker()
{
    for (int round = 0; round < 300; round++) {
        mti_atomic_u32_t a = {0}, b = {0};
        uint32_t saw_b = 2, saw_a = 2;
        std::thread light([&] {
            mti_atomic_u32_store_relaxed(&a, 1);
            mti_fence_light();
            saw_b = mti_atomic_u32_load_relaxed(&b);
        });
        mti_atomic_u32_store_relaxed(&b, 1);
        mti_fence_heavy();
        saw_a = mti_atomic_u32_load_relaxed(&a);
        light.join();
        ASSERT_GE(saw_a + saw_b, 1u);
    }
}

TEST(FenceTest, OneOfTwoSeesTheOther)
{
    mti_fence_init();
    dekker();
}

TEST(FenceTest, WithoutTheKernelToo)
{
    mti_fence_init();
    bool asymmetric = mti_fence_asymmetric;
    mti_fence_asymmetric = false;
    dekker();
    mti_fence_asymmetric = asymmetric;
}

} // namespace
