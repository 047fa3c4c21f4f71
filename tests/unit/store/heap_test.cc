// Payload memory.
#include "unit/internals.h"

#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace
{

class HeapTest : public ::testing::Test
{
  protected:
    void SetUp() override { start(4 << 20); }
    void TearDown() override { stop(); }
    void start(size_t retain)
    {
        heap_ = mti_heap_create(nullptr, retain);
        ASSERT_NE(nullptr, heap_);
        mti_heap_cache_init(&a_, heap_);
        mti_heap_cache_init(&b_, heap_);
    }
    void stop()
    {
        EXPECT_EQ(0, live());
        mti_heap_cache_deinit(&a_);
        mti_heap_cache_deinit(&b_);
        mti_heap_destroy(heap_);
    }
    int64_t live() const
    {
        return mti_atomic_i64_load_relaxed(&a_.live_bytes) +
               mti_atomic_i64_load_relaxed(&b_.live_bytes);
    }

    mti_heap_t *heap_ = nullptr;
    mti_heap_cache_t a_, b_;
};

TEST(HeapClassTest, UsableCoversTheSizeWithoutMuchWaste)
{
    size_t last = 0;
    for (size_t size = 1; size < 300000; size++) {
        size_t usable = mti_heap_usable(size);
        ASSERT_GE(usable, size);
        ASSERT_GE(usable, last);
        ASSERT_EQ(0u, usable % 64);
        ASSERT_LE(usable, size + size / 4 + 64) << size;
        last = usable;
    }
    for (int shift = 18; shift <= 46; shift++) {
        for (size_t size : {((size_t)1 << shift) - 1, (size_t)1 << shift}) {
            ASSERT_GE(mti_heap_usable(size), size);
            ASSERT_LE(mti_heap_usable(size), size + size / 4);
        }
    }
}

TEST_F(HeapTest, BuffersAreAlignedAndDoNotOverlap)
{
    struct Buffer {
        unsigned char *data;
        size_t size;
    };
    std::vector<Buffer> buffers;
    for (int round = 0; round < 3; round++) {
        for (size_t size = 1; size <= 70000; size += 1 + size / 7) {
            void *data = mti_heap_alloc(&a_, size);
            ASSERT_NE(nullptr, data);
            EXPECT_EQ(0u, reinterpret_cast<uintptr_t>(data) % 64) << size;
            memset(data, static_cast<int>(buffers.size() % 251), mti_heap_usable(size));
            buffers.push_back({static_cast<unsigned char *>(data), size});
        }
    }
    for (size_t i = 0; i < buffers.size(); i++) {
        for (size_t k = 0; k < mti_heap_usable(buffers[i].size); k++)
            ASSERT_EQ(i % 251, buffers[i].data[k]) << i;
    }
    for (const Buffer &b : buffers)
        mti_heap_free(&a_, b.data, b.size);
}

TEST_F(HeapTest, FreedBufferIsTheNextOfItsClass)
{
    void *first = mti_heap_alloc(&a_, 1000);
    mti_heap_free(&a_, first, 1000);
    EXPECT_EQ(first, mti_heap_alloc(&a_, 1001)); // the same class
    mti_heap_free(&a_, first, 1001);
    void *other = mti_heap_alloc(&a_, 3000);
    EXPECT_NE(first, other);
    mti_heap_free(&a_, other, 3000);
}

TEST_F(HeapTest, LiveBytesAddUpOverThreads)
{
    std::vector<void *> buffers;
    for (int i = 0; i < 100; i++)
        buffers.push_back(mti_heap_alloc(&a_, 500));
    EXPECT_EQ(50000, live());
    std::thread([&] {
        for (void *data : buffers)
            mti_heap_free(&b_, data, 500);
    }).join();
    EXPECT_EQ(0, live());
    EXPECT_EQ(-50000, mti_atomic_i64_load_relaxed(&b_.live_bytes));
    // They are b's now.
    std::set<void *> were(buffers.begin(), buffers.end());
    void *data = mti_heap_alloc(&b_, 500);
    EXPECT_EQ(1u, were.count(data));
    mti_heap_free(&a_, data, 500);
}

TEST_F(HeapTest, CachesGiveBackWhatIsTooMuch)
{
    // b frees more than a cache keeps; a gets the rest without another span.
    constexpr size_t kSize = 1024;
    constexpr int kCount = 4000;
    std::vector<void *> buffers;
    for (int i = 0; i < kCount; i++)
        buffers.push_back(mti_heap_alloc(&a_, kSize));
    for (void *data : buffers)
        mti_heap_free(&b_, data, kSize);
    FailingAlloc fail(kAll);
    buffers.clear();
    for (int i = 0; i < kCount / 2; i++)
        buffers.push_back(mti_heap_alloc(&a_, kSize));
    EXPECT_EQ(0, FailingAlloc::seen());
    for (void *data : buffers)
        mti_heap_free(&a_, data, kSize);
}

TEST_F(HeapTest, GoneCacheLeavesItsBuffersToOthers)
{
    void *data = mti_heap_alloc(&b_, 32768);
    mti_heap_free(&b_, data, 32768);
    mti_heap_cache_deinit(&b_);
    FailingAlloc fail(1, kAll);
    void *again = mti_heap_alloc(&a_, 32768); // no memory but what b had
    EXPECT_NE(nullptr, again);
    mti_heap_free(&a_, again, 32768);
    mti_heap_cache_init(&b_, heap_);
}

TEST_F(HeapTest, LargeBuffersAreRetained)
{
    void *first = mti_heap_alloc(&a_, 1 << 20);
    memset(first, 1, 1 << 20);
    mti_heap_free(&a_, first, 1 << 20);
    FailingAlloc fail(1, kAll);
    EXPECT_EQ(first, mti_heap_alloc(&b_, 1 << 20));
    EXPECT_EQ(nullptr, mti_heap_alloc(&a_, 1 << 20));
    EXPECT_EQ(1 << 20, live());
    mti_heap_free(&b_, first, 1 << 20);
}

TEST_F(HeapTest, RetainsNoMoreThanTheBound)
{
    std::vector<void *> buffers;
    for (int i = 0; i < 8; i++)
        buffers.push_back(mti_heap_alloc(&a_, 1 << 20));
    for (void *data : buffers)
        mti_heap_free(&a_, data, 1 << 20);
    {
        FailingAlloc fail(1, kAll);
        int got = 0;
        std::vector<void *> again;
        while (void *data = mti_heap_alloc(&a_, 1 << 20)) {
            again.push_back(data);
            got++;
        }
        EXPECT_EQ(4, got);
        for (void *data : again)
            mti_heap_free(&a_, data, 1 << 20);
    }
    stop();
    start(0);
    void *data = mti_heap_alloc(&a_, 1 << 20);
    mti_heap_free(&a_, data, 1 << 20);
    FailingAlloc fail(1, kAll);
    EXPECT_EQ(nullptr, mti_heap_alloc(&a_, 1 << 20));
}

TEST_F(HeapTest, WithoutMemoryNothingIsCounted)
{
    {
        FailingAlloc fail(1, kAll);
        EXPECT_EQ(nullptr, mti_heap_alloc(&a_, 1));
        EXPECT_EQ(nullptr, mti_heap_alloc(&a_, 1 << 20));
    }
    EXPECT_EQ(nullptr, mti_heap_alloc(&a_, SIZE_MAX));
    EXPECT_EQ(nullptr, mti_heap_alloc(&a_, ((size_t)1 << 46) + 1));
    EXPECT_EQ(0, live());
    void *data = mti_heap_alloc(&a_, 1);
    EXPECT_NE(nullptr, data);
    mti_heap_free(&a_, data, 1);
    FailingAlloc fail(1, kAll);
    EXPECT_EQ(nullptr, mti_heap_create(nullptr, 0));
}

TEST(HeapAllocatorTest, ItsOwnMemoryComesFromTheAllocator)
{
    static int balance;
    balance = 0;
    manta_allocator_t allocator = {};
    allocator.alloc = [](void *, size_t size, size_t align) -> void * {
        void *ptr = nullptr;
        balance++;
        return posix_memalign(&ptr, align, size) == 0 ? ptr : nullptr;
    };
    allocator.free = [](void *, void *ptr, size_t) {
        balance--;
        free(ptr);
    };
    mti_heap_t *heap = mti_heap_create(&allocator, 0);
    ASSERT_NE(nullptr, heap);
    EXPECT_GT(balance, 0);
    mti_heap_destroy(heap);
    EXPECT_EQ(0, balance);
    mti_heap_destroy(nullptr);
}

} // namespace
