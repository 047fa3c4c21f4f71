// The line of an object, and refs.
#include "unit/internals.h"

#include <gtest/gtest.h>

namespace
{

static_assert(sizeof(mti_object_t) == 64, "one line");
static_assert(alignof(mti_object_t) == 16, "inline bytes take any element");
static_assert(offsetof(mti_object_t, u) == 16, "counts and head first");
static_assert(sizeof(mti_slot_t) == 192, "three lines");
static_assert(offsetof(mti_slot_t, object) == 0, "a slot is found by its object");
static_assert(offsetof(mti_slot_t, claim) == 64, "on the second line");

TEST(ObjectTest, SizeKindAndStorageShareAWord)
{
    const uint64_t sizes[] = {0, 1, 16, 17, (uint64_t)1 << 46, ((uint64_t)1 << 48) - 1};
    mti_object_t object = {};
    for (int kind = MTI_OBJECT_FREE; kind <= MTI_OBJECT_PROMISE; kind++) {
        for (int storage = MTI_STORAGE_NONE; storage <= MTI_STORAGE_WRAPPED; storage++) {
            for (uint64_t size : sizes) {
                mti_object_set(&object, (mti_object_kind_t)kind, (mti_storage_t)storage, size);
                EXPECT_EQ(kind, mti_object_kind(&object));
                EXPECT_EQ(storage, mti_object_storage(&object));
                EXPECT_EQ(size, mti_object_size(&object));
            }
        }
    }
}

TEST(ObjectTest, DataIsWhereTheStorageSays)
{
    int elsewhere = 0;
    mti_object_t object = {};
    mti_object_set(&object, MTI_OBJECT_PUT, MTI_STORAGE_INLINE, 4);
    EXPECT_EQ(object.u.bytes, mti_object_data(&object));
    EXPECT_EQ(0u, reinterpret_cast<uintptr_t>(mti_object_data(&object)) % 16);
    mti_object_set(&object, MTI_OBJECT_PUT, MTI_STORAGE_INLINE, 0);
    EXPECT_EQ(nullptr, mti_object_data(&object));
    object.u.mem.data = &elsewhere;
    for (mti_storage_t storage : {MTI_STORAGE_HEAP, MTI_STORAGE_PARENT, MTI_STORAGE_WRAPPED}) {
        mti_object_set(&object, MTI_OBJECT_PUT, storage, 4);
        EXPECT_EQ(&elsewhere, mti_object_data(&object));
    }
    mti_object_set(&object, MTI_OBJECT_TASK, MTI_STORAGE_NONE, 0);
    EXPECT_EQ(nullptr, mti_object_data(&object));
}

TEST(ObjectTest, ClosedIsOneBit)
{
    mti_object_t object = {};
    uint64_t head = 1;
    EXPECT_FALSE(mti_object_is_closed(&object, &head));
    EXPECT_EQ(0u, head);
    object.head.v = MTI_HEAD_WATCHED | MTI_HEAD_ORPHAN;
    EXPECT_FALSE(mti_object_is_closed(&object, &head));
    object.head.v = MTI_HEAD_CLOSED | MTI_HEAD_FAILED;
    EXPECT_TRUE(mti_object_is_closed(&object, &head));
    EXPECT_EQ(MTI_HEAD_CLOSED | MTI_HEAD_FAILED, head);
}

TEST(ObjectTest, CountsAreHalves)
{
    uint64_t counts = 3 * MTI_COUNT_USER + 5 * MTI_COUNT_INTERNAL;
    EXPECT_EQ(3u, mti_count_user(counts));
    EXPECT_EQ(5u, mti_count_internal(counts));
}

TEST(RefTest, NamesSlotAndGeneration)
{
    manta_ref_t ref = mti_ref_make(0xfffffffe, MTI_GEN_MAX);
    EXPECT_EQ(0xfffffffeu, mti_ref_slot(ref));
    EXPECT_EQ(MTI_GEN_MAX, mti_ref_gen(ref));
    EXPECT_FALSE(mti_ref_is_error(ref)); // no generation reaches the top bit
    mti_object_t object = {};
    object.slot = 77;
    object.gen.v = 5;
    EXPECT_EQ(((uint64_t)5 << 32) + 77, mti_ref_of(&object).id);
}

TEST(RefTest, ErrorsGoThere)
{
    for (manta_status_t code : {(int)MANTA_ERR_SHUTDOWN, MANTA_ERR_USER + (1 << 30)}) {
        manta_ref_t ref = mti_ref_error(code);
        EXPECT_TRUE(mti_ref_is_error(ref));
        EXPECT_EQ(code, mti_ref_error_code(ref));
    }
    EXPECT_FALSE(mti_ref_is_error(manta_ref_t{MANTA_REF_NULL_ID}));
}

TEST(RefTest, MadeUpErrorsAreStale)
{
    EXPECT_EQ(MANTA_ERR_STALE_REF, mti_ref_error_code(mti_ref_error(MANTA_OK)));
    EXPECT_EQ(MANTA_ERR_STALE_REF, mti_ref_error_code(manta_ref_t{UINT64_MAX}));
    EXPECT_EQ(MANTA_ERR_STALE_REF,
              mti_ref_error_code(manta_ref_t{(uint64_t)3 << 62 | MANTA_ERR_IO}));
}

} // namespace
