// Memory through an allocator, and what makes it fail.
#include "unit/internals.h"

#include <cstdlib>

#include <gtest/gtest.h>

namespace
{

struct Counts {
    int allocs = 0, frees = 0;
    size_t size = 0, align = 0, freed_size = 0;
    bool fail = false;
};

manta_allocator_t counting_allocator(Counts *counts)
{
    manta_allocator_t allocator = {};
    allocator.alloc = [](void *user, size_t size, size_t align) -> void * {
        Counts *c = static_cast<Counts *>(user);
        if (c->fail) return nullptr;
        c->allocs++;
        c->size = size;
        c->align = align;
        return malloc(size);
    };
    allocator.free = [](void *user, void *ptr, size_t size) {
        Counts *c = static_cast<Counts *>(user);
        c->frees++;
        c->freed_size = size;
        free(ptr);
    };
    allocator.user = counts;
    return allocator;
}

TEST(AllocTest, DefaultMemoryIsAligned)
{
    const manta_allocator_t zero = {};
    for (const manta_allocator_t *allocator :
         {static_cast<const manta_allocator_t *>(nullptr), &zero}) {
        for (size_t align = 1; align <= 4096; align *= 2) {
            void *ptr = mti_alloc(allocator, 100, align);
            ASSERT_NE(nullptr, ptr);
            EXPECT_EQ(0u, reinterpret_cast<uintptr_t>(ptr) % align) << align;
            memset(ptr, 1, 100);
            mti_free(allocator, ptr, 100);
        }
    }
}

TEST(AllocTest, NothingIsNull)
{
    EXPECT_EQ(nullptr, mti_alloc(nullptr, 0, 8));
    EXPECT_EQ(nullptr, mti_alloc_zeroed(nullptr, 0, 8));
    mti_free(nullptr, nullptr, 0);
    Counts counts;
    manta_allocator_t allocator = counting_allocator(&counts);
    EXPECT_EQ(nullptr, mti_alloc(&allocator, 0, 8));
    mti_free(&allocator, nullptr, 10);
    EXPECT_EQ(0, counts.allocs);
    EXPECT_EQ(0, counts.frees);
}

TEST(AllocTest, ZeroedIsZeroed)
{
    for (int round = 0; round < 3; round++) {
        unsigned char *ptr = static_cast<unsigned char *>(mti_alloc_zeroed(nullptr, 1000, 64));
        ASSERT_NE(nullptr, ptr);
        for (int i = 0; i < 1000; i++)
            ASSERT_EQ(0, ptr[i]);
        memset(ptr, 0xff, 1000);
        mti_free(nullptr, ptr, 1000);
    }
}

TEST(AllocTest, CustomAllocatorIsAskedWithSizeAndAlignment)
{
    Counts counts;
    manta_allocator_t allocator = counting_allocator(&counts);
    void *ptr = mti_alloc(&allocator, 123, 16);
    ASSERT_NE(nullptr, ptr);
    EXPECT_EQ(1, counts.allocs);
    EXPECT_EQ(123u, counts.size);
    EXPECT_EQ(16u, counts.align);
    mti_free(&allocator, ptr, 123);
    EXPECT_EQ(1, counts.frees);
    EXPECT_EQ(123u, counts.freed_size);
    counts.fail = true;
    EXPECT_EQ(nullptr, mti_alloc(&allocator, 1, 1));
    EXPECT_EQ(nullptr, mti_alloc_zeroed(&allocator, 1, 1));
}

TEST(AllocTest, HookSaysNoBeforeTheAllocatorIsAsked)
{
    Counts counts;
    manta_allocator_t allocator = counting_allocator(&counts);
    FailingAlloc fail(2);
    void *first = mti_alloc(&allocator, 8, 8);
    EXPECT_NE(nullptr, first);
    EXPECT_EQ(nullptr, mti_alloc(&allocator, 8, 8));
    EXPECT_EQ(1, counts.allocs);
    void *third = mti_alloc_zeroed(nullptr, 8, 8);
    EXPECT_NE(nullptr, third);
    EXPECT_EQ(3, FailingAlloc::seen());
    mti_free(&allocator, first, 8);
    mti_free(nullptr, third, 8);
}

TEST(AllocTest, SizesAreChecked)
{
    size_t out = 0;
    EXPECT_TRUE(mti_size_add(SIZE_MAX - 1, 1, &out));
    EXPECT_EQ(SIZE_MAX, out);
    EXPECT_FALSE(mti_size_add(SIZE_MAX, 1, &out));
    EXPECT_TRUE(mti_size_mul(SIZE_MAX / 2, 2, &out));
    EXPECT_EQ(SIZE_MAX - 1, out);
    EXPECT_FALSE(mti_size_mul(SIZE_MAX / 2 + 1, 2, &out));
    EXPECT_EQ(0u, mti_size_align(0, 64));
    EXPECT_EQ(64u, mti_size_align(1, 64));
    EXPECT_EQ(64u, mti_size_align(64, 64));
    EXPECT_EQ(128u, mti_size_align(65, 64));
}

} // namespace
