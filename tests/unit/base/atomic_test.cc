// The operations that every counter and word of the runtime is made of.
#include "unit/internals.h"

#include <gtest/gtest.h>

namespace
{

TEST(AtomicTest, OwnerAddAddsAndWraps)
{
    mti_atomic_u32_t a = {UINT32_MAX};
    mti_atomic_u32_owner_add(&a, 2);
    EXPECT_EQ(1u, mti_atomic_u32_load_acquire(&a));
    mti_atomic_i64_t b = {5};
    mti_atomic_i64_owner_add(&b, -7);
    EXPECT_EQ(-2, mti_atomic_i64_load_relaxed(&b));
}

TEST(AtomicTest, FailedCasTellsWhatStoodThere)
{
    mti_atomic_u64_t a = {7};
    uint64_t expected = 6;
    EXPECT_FALSE(mti_atomic_u64_cas_acq_rel(&a, &expected, 9));
    EXPECT_EQ(7u, expected);
    EXPECT_TRUE(mti_atomic_u64_cas_seq_cst(&a, &expected, 9));
    EXPECT_EQ(9u, mti_atomic_u64_exchange_acq_rel(&a, 1));
    EXPECT_EQ(1u, mti_atomic_u64_fetch_or_acq_rel(&a, 6));
    EXPECT_EQ(7u, mti_atomic_u64_fetch_and_acq_rel(&a, 4));
    EXPECT_EQ(4u, mti_atomic_u64_fetch_sub_acq_rel(&a, 4));
    EXPECT_EQ(0u, mti_atomic_u64_load_seq_cst(&a));
}

TEST(AtomicTest, PointersAreExchangedWhole)
{
    int x = 0, y = 0;
    mti_atomic_ptr_t p = {&x};
    void *expected = &y;
    EXPECT_FALSE(mti_atomic_ptr_cas_acq_rel(&p, &expected, nullptr));
    EXPECT_EQ(&x, expected);
    EXPECT_EQ(&x, mti_atomic_ptr_exchange_acquire(&p, nullptr));
    EXPECT_EQ(nullptr, mti_atomic_ptr_load_acquire(&p));
}

} // namespace
