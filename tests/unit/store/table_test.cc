// Slots: handed out, freed, sent home, retired, and run by run to the next cache.
#include "unit/internals.h"

#include <memory>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace
{

class Cache
{
  public:
    Cache() { EXPECT_TRUE(mti_table_cache_init(&cache_)); }
    ~Cache() { mti_table_cache_deinit(&cache_); }
    mti_slot_t *alloc() { return mti_table_alloc(&cache_); }
    std::vector<mti_slot_t *> alloc(size_t n)
    {
        std::vector<mti_slot_t *> slots(n);
        for (mti_slot_t *&slot : slots)
            slot = alloc();
        return slots;
    }
    void free(mti_slot_t *slot) { mti_table_free(&cache_, slot); }
    void free(const std::vector<mti_slot_t *> &slots)
    {
        for (mti_slot_t *slot : slots)
            free(slot);
    }
    void flush() { mti_table_flush(&cache_); }
    uint16_t index() const { return cache_.index; }
    mti_table_cache_t *get() { return &cache_; }

  private:
    mti_table_cache_t cache_;
};

uint32_t gen_of(const mti_slot_t *slot)
{
    return mti_atomic_u32_load_relaxed(&slot->object.gen);
}

TEST(TableTest, SlotsAreFoundByTheirIndex)
{
    Cache cache;
    std::set<uint32_t> indices;
    std::vector<mti_slot_t *> slots = cache.alloc(3 * MTI_TABLE_RUN_SLOTS);
    for (mti_slot_t *slot : slots) {
        ASSERT_NE(nullptr, slot);
        EXPECT_NE(0u, slot->object.slot);
        EXPECT_EQ(cache.index(), slot->object.home);
        EXPECT_GE(gen_of(slot), 1u);
        EXPECT_EQ(slot, mti_table_slot(slot->object.slot));
        EXPECT_EQ(slot, mti_table_live_slot(slot->object.slot));
        EXPECT_EQ(0u, reinterpret_cast<uintptr_t>(slot) % 64);
        indices.insert(slot->object.slot);
    }
    EXPECT_EQ(slots.size(), indices.size());
    cache.free(slots);
}

TEST(TableTest, IndicesThatNeverWereAreNull)
{
    EXPECT_EQ(nullptr, mti_table_slot(UINT32_MAX));
    EXPECT_EQ(nullptr, mti_table_slot(0x80000000u));
}

TEST(TableTest, FreeMakesRefsStaleAndTheSlotTheNext)
{
    Cache cache;
    mti_slot_t *slot = cache.alloc();
    mti_object_set(&slot->object, MTI_OBJECT_PUT, MTI_STORAGE_INLINE, 8);
    uint32_t gen = gen_of(slot);
    cache.free(slot);
    EXPECT_EQ(gen + 1, gen_of(slot));
    EXPECT_EQ(MTI_OBJECT_FREE, mti_object_kind(&slot->object));
    EXPECT_EQ(slot, cache.alloc());
    EXPECT_EQ(gen + 1, gen_of(slot));
    cache.free(slot);
}

TEST(TableTest, LastGenerationIsRetiredForGood)
{
    mti_slot_t *retired;
    uint32_t run;
    {
        Cache cache;
        retired = cache.alloc();
        run = retired->object.slot / MTI_TABLE_RUN_SLOTS;
        retired->object.gen.v = MTI_GEN_MAX - 2;
        cache.free(retired);
        EXPECT_EQ(retired, cache.alloc()); // the last time
        EXPECT_EQ(MTI_GEN_MAX - 1, gen_of(retired));
        cache.free(retired);
        EXPECT_EQ(MTI_GEN_MAX, gen_of(retired));
        std::vector<mti_slot_t *> slots = cache.alloc(2 * MTI_TABLE_RUN_SLOTS);
        for (mti_slot_t *slot : slots)
            EXPECT_NE(retired, slot);
        cache.free(slots);
    }
    // Nor does the next owner of its run hand it out.
    Cache next;
    std::vector<mti_slot_t *> slots = next.alloc(4 * MTI_TABLE_RUN_SLOTS);
    bool has_run = false;
    for (mti_slot_t *slot : slots) {
        EXPECT_NE(retired, slot);
        has_run |= slot->object.slot / MTI_TABLE_RUN_SLOTS == run;
    }
    EXPECT_TRUE(has_run);
    EXPECT_EQ(MTI_GEN_MAX, gen_of(retired));
    next.free(slots);
}

TEST(TableTest, OthersSendSlotsHome)
{
    Cache home, other;
    std::vector<mti_slot_t *> slots = home.alloc(10);
    std::set<mti_slot_t *> sent(slots.begin(), slots.end());
    other.free(slots);
    EXPECT_EQ(nullptr, mti_atomic_ptr_load_acquire(&home.get()->remote)); // gathered so far
    mti_slot_t *own = other.alloc();
    EXPECT_EQ(0u, sent.count(own));
    other.flush();
    std::set<mti_slot_t *> back;
    for (int i = 0; i < 10; i++)
        back.insert(home.alloc());
    EXPECT_EQ(sent, back);
    EXPECT_EQ(0u, sent.count(home.alloc())); // once each
    other.free(own);
}

TEST(TableTest, FullOutboxIsSentHome)
{
    Cache home, other;
    std::vector<mti_slot_t *> slots = home.alloc(MTI_TABLE_OUTBOX_MAX + 1);
    other.free(slots);
    std::set<mti_slot_t *> sent(slots.begin(), slots.end() - 1), back;
    for (int i = 0; i < MTI_TABLE_OUTBOX_MAX; i++)
        back.insert(home.alloc());
    EXPECT_EQ(sent, back);
    other.flush();
}

TEST(TableTest, HomesThatShareAnOutboxDoNotMixTheirSlots)
{
    std::vector<std::unique_ptr<Cache>> homes(2 * MTI_TABLE_OUTBOXES + 1);
    for (auto &home : homes)
        home.reset(new Cache);
    Cache other;
    std::vector<std::vector<mti_slot_t *>> slots;
    for (auto &home : homes)
        slots.push_back(home->alloc(20));
    for (int i = 0; i < 20; i++)
        for (auto &of_home : slots)
            other.free(of_home[static_cast<size_t>(i)]);
    other.flush();
    for (size_t h = 0; h < homes.size(); h++) {
        std::set<mti_slot_t *> sent(slots[h].begin(), slots[h].end()), back;
        for (int i = 0; i < 20; i++)
            back.insert(homes[h]->alloc());
        EXPECT_EQ(sent, back);
    }
}

TEST(TableTest, RunsAreUsedAgainWithTheirGenerations)
{
    uint32_t run, gen;
    mti_slot_t *slot;
    {
        Cache cache;
        slot = cache.alloc();
        run = slot->object.slot / MTI_TABLE_RUN_SLOTS;
        cache.free(slot);
        gen = gen_of(slot);
    }
    Cache next;
    std::vector<mti_slot_t *> slots = next.alloc(MTI_TABLE_RUN_SLOTS - 1);
    EXPECT_EQ(run, slots[0]->object.slot / MTI_TABLE_RUN_SLOTS); // the newest first
    for (mti_slot_t *each : slots)
        EXPECT_EQ(next.index(), each->object.home);
    EXPECT_EQ(gen, gen_of(slot)); // old refs stay stale
    next.free(slots);
}

TEST(TableTest, SlotsOfAGoneCacheAreDropped)
{
    Cache other;
    {
        Cache home;
        other.free(home.alloc(5));
    }
    other.flush(); // nobody is home; their run is whole already
    Cache next;
    std::vector<mti_slot_t *> slots = next.alloc(MTI_TABLE_RUN_SLOTS - 1);
    EXPECT_EQ(slots.size(), std::set<mti_slot_t *>(slots.begin(), slots.end()).size());
    next.free(slots);
}

TEST(TableTest, EachVisitsWhatWasEverUsed)
{
    Cache cache;
    std::vector<mti_slot_t *> slots = cache.alloc(MTI_TABLE_RUN_SLOTS + 10);
    cache.free(slots[3]);
    std::set<mti_slot_t *> seen;
    mti_table_cache_each(
        cache.get(),
        [](mti_slot_t *slot, void *user) {
            EXPECT_TRUE(static_cast<std::set<mti_slot_t *> *>(user)->insert(slot).second);
        },
        &seen);
    for (mti_slot_t *slot : slots)
        EXPECT_EQ(1u, seen.count(slot));
    slots.erase(slots.begin() + 3);
    cache.free(slots);
}

TEST(TableTest, WithoutMemoryThereIsNoSlotButLaterThereIs)
{
    Cache cache;
    {
        FailingAlloc fail(1, kAll);
        EXPECT_EQ(nullptr, cache.alloc());
        EXPECT_EQ(nullptr, cache.alloc());
    }
    mti_slot_t *slot = cache.alloc();
    ASSERT_NE(nullptr, slot);
    {
        FailingAlloc fail(1, kAll); // what is free needs no memory
        cache.free(slot);
        EXPECT_EQ(slot, cache.alloc());
    }
    cache.free(slot);
}

TEST(TableTest, SlotsTravelBetweenThreads)
{
    // One allocates, the other frees; a word of each slot tells whether two hold it at the same time.
    constexpr int kRounds = 300, kBatch = 100;
    Cache home;
    std::vector<mti_slot_t *> batch(kBatch);
    mti_atomic_u32_t turn = {0};
    std::thread freer([&] {
        Cache cache;
        for (uint32_t round = 0; round < kRounds; round++) {
            (void)mti_notify_wait(&turn, 2 * round, INT64_MAX);
            for (mti_slot_t *slot : batch) {
                EXPECT_EQ(1u, slot->reserved);
                slot->reserved = 0;
                cache.free(slot);
            }
            if (round % 3 == 0) cache.flush();
            mti_atomic_u32_store_release(&turn, 2 * round + 2);
            mti_notify_wake(&turn, 1);
        }
    });
    std::set<mti_slot_t *> ever;
    for (uint32_t round = 0; round < kRounds; round++) {
        for (mti_slot_t *&slot : batch) {
            slot = home.alloc();
            EXPECT_EQ(0u, slot->reserved);
            slot->reserved = 1;
            ever.insert(slot);
        }
        mti_atomic_u32_store_release(&turn, 2 * round + 1);
        mti_notify_wake(&turn, 1);
        (void)mti_notify_wait(&turn, 2 * round + 1, INT64_MAX);
    }
    freer.join();
    EXPECT_LE(ever.size(), 6u * kBatch); // they came back
}

} // namespace
