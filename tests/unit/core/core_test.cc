// The words of core: claims, records, heads of failed objects, and looking a ref up.
#include "unit/internals.h"

#include <gtest/gtest.h>

namespace
{

static_assert(sizeof(mti_record_t) == 192, "a record is a slot");
static_assert(offsetof(mti_record_t, claim) == 64, "the task starts on the second line");
static_assert(offsetof(mti_record_t, inline_args) == 128, "arguments on the third");
static_assert(sizeof(mti_overflow_t) == 16, "the image behind it is 16-byte aligned");
static_assert(sizeof(mti_scope_entry_t) == 16, "four to a line");

TEST(ClaimTest, PartsDoNotTouchEachOther)
{
    for (uint32_t gen : {1u, 0x12345678u, MTI_GEN_MAX}) {
        for (uint32_t ctx : {0u, 1u, 4095u, 0xffffu}) {
            for (int state = MTI_TASK_NONE; state <= MTI_TASK_DONE; state++) {
                uint64_t claim = mti_claim_make(gen, ctx, (mti_task_state_t)state);
                for (uint64_t c : {claim, claim | MTI_CLAIM_CANCEL}) {
                    EXPECT_EQ(gen, mti_claim_gen(c));
                    EXPECT_EQ(ctx, mti_claim_ctx(c));
                    EXPECT_EQ(state, mti_claim_state(c));
                }
                EXPECT_EQ(0u, claim & MTI_CLAIM_CANCEL);
            }
        }
    }
}

TEST(ClaimTest, OnlyOneGetsAQueuedTaskOfItsGeneration)
{
    mti_record_t t = {};
    mti_ctx_t *ctx = new mti_ctx_t();
    ctx->sched.index = 7;
    t.claim.v = mti_claim_make(3, 0, MTI_TASK_QUEUED);
    EXPECT_FALSE(mti_task_claim(ctx, &t, 2)); // an old entry
    EXPECT_FALSE(mti_task_claim(ctx, &t, 4));
    EXPECT_TRUE(mti_task_claim(ctx, &t, 3));
    EXPECT_EQ(mti_claim_make(3, 7, MTI_TASK_RUNNING), t.claim.v);
    EXPECT_FALSE(mti_task_claim(ctx, &t, 3)); // a second copy of the entry
    for (int state = MTI_TASK_NONE; state <= MTI_TASK_DONE; state++) {
        if (state == MTI_TASK_QUEUED) continue;
        t.claim.v = mti_claim_make(3, 0, (mti_task_state_t)state);
        EXPECT_FALSE(mti_task_claim(ctx, &t, 3)) << state;
    }
    delete ctx;
}

TEST(HeadTest, BareFailuresCarryTheCode)
{
    mti_object_t object = {};
    for (manta_status_t code : {(int)MANTA_ERR_OUT_OF_MEMORY, MANTA_ERR_USER + (1 << 30)}) {
        uint64_t head = mti_head_bare(code);
        EXPECT_EQ(MTI_HEAD_CLOSED | MTI_HEAD_FAILED, head & (MTI_HEAD_CLOSED | MTI_HEAD_FAILED));
        EXPECT_EQ(code, mti_object_status(&object, head));
    }
    EXPECT_EQ(MANTA_OK, mti_object_status(&object, MTI_HEAD_CLOSED));
    EXPECT_EQ(MANTA_NOT_READY, mti_object_status(&object, 0));
    EXPECT_EQ(MANTA_NOT_READY, mti_object_status(&object, MTI_HEAD_WATCHED));
}

TEST(HeadTest, FailuresWithDetailHoldTheError)
{
    mti_object_t object = {};
    object.u.fail.error =
        mti_error_create(MANTA_ERR_IO, MANTA_SCOPE_TASK, "t", "", 0, "disk", nullptr);
    uint64_t head = MTI_HEAD_CLOSED | MTI_HEAD_FAILED;
    EXPECT_EQ(MANTA_ERR_IO, mti_object_status(&object, head));
    EXPECT_EQ(object.u.fail.error, mti_object_error(&object, head));
    manta_error_release(object.u.fail.error);
}

TEST(DtypeTest, TypesFitByKindAndSize)
{
    manta_dtype_t f32 = MANTA_DTYPE(MANTA_F32, 4), i32 = MANTA_DTYPE(MANTA_I32, 4);
    manta_dtype_t any = MANTA_DTYPE(MANTA_UNTYPED, 0);
    manta_dtype_t own4 = MANTA_DTYPE(MANTA_OPAQUE, 4), own12 = MANTA_DTYPE(MANTA_OPAQUE, 12);
    EXPECT_TRUE(mti_dtype_fits(f32, f32));
    EXPECT_FALSE(mti_dtype_fits(f32, i32));
    EXPECT_TRUE(mti_dtype_fits(any, f32));
    EXPECT_TRUE(mti_dtype_fits(f32, any));
    EXPECT_TRUE(mti_dtype_fits(own4, f32));
    EXPECT_TRUE(mti_dtype_fits(f32, own4));
    EXPECT_FALSE(mti_dtype_fits(own12, f32));
    EXPECT_FALSE(mti_dtype_fits(own4, own12));
    EXPECT_TRUE(mti_dtype_fits(own12, own12));
}

TEST(GrainTest, AskedForIsTakenAndZeroChooses)
{
    EXPECT_EQ(7u, mti_bulk_grain(100, 7, 2));
    for (size_t count : {(size_t)1, (size_t)10, (size_t)1000, (size_t)1 << 40}) {
        for (int workers : {0, 1, 2, 128}) {
            size_t grain = mti_bulk_grain(count, 0, workers);
            EXPECT_GE(grain, 1u);
            EXPECT_LE(grain, count);
        }
    }
}

class LookupTest : public ::testing::Test
{
  protected:
    void SetUp() override
    {
        ASSERT_TRUE(mti_table_cache_init(&cache_));
        slot_ = mti_table_alloc(&cache_);
        ASSERT_NE(nullptr, slot_);
        object_ = &slot_->object;
        object_->counts.v = MTI_COUNT_USER;
        object_->head.v = MTI_HEAD_CLOSED;
        ref_ = mti_ref_of(object_);
    }
    void TearDown() override { mti_table_cache_deinit(&cache_); }

    mti_table_cache_t cache_;
    mti_slot_t *slot_;
    mti_object_t *object_;
    manta_ref_t ref_;
};

TEST_F(LookupTest, LiveRefIsFoundAndCounted)
{
    EXPECT_EQ(object_, mti_ref_peek(ref_));
    EXPECT_EQ(object_, mti_ref_acquire(ref_, MTI_COUNT_INTERNAL));
    EXPECT_EQ(MTI_COUNT_USER + MTI_COUNT_INTERNAL, object_->counts.v);
    EXPECT_EQ(object_, mti_ref_acquire(ref_, MTI_COUNT_USER));
    EXPECT_EQ(2 * MTI_COUNT_USER + MTI_COUNT_INTERNAL, object_->counts.v);
}

TEST_F(LookupTest, WithoutUserCountOnlyWeakLookupsFindIt)
{
    object_->counts.v = MTI_COUNT_INTERNAL;
    EXPECT_EQ(nullptr, mti_ref_peek(ref_));
    EXPECT_EQ(nullptr, mti_ref_acquire(ref_, MTI_COUNT_INTERNAL));
    EXPECT_EQ(MTI_COUNT_INTERNAL, object_->counts.v);
    EXPECT_EQ(object_, mti_ref_acquire_weak(ref_.id, MTI_COUNT_INTERNAL));
    EXPECT_EQ(2 * MTI_COUNT_INTERNAL, object_->counts.v);
}

TEST_F(LookupTest, OtherGenerationsSlotsAndErrorsAreStale)
{
    manta_ref_t made_up[] = {
        mti_ref_make(mti_ref_slot(ref_), mti_ref_gen(ref_) + 1),
        mti_ref_make(mti_ref_slot(ref_), mti_ref_gen(ref_) - 1),
        mti_ref_make(UINT32_MAX, mti_ref_gen(ref_)),
        mti_ref_make(0, 0),
        mti_ref_make(0, 1),
        mti_ref_error(MANTA_ERR_IO),
        manta_ref_t{UINT64_MAX},
    };
    for (manta_ref_t ref : made_up) {
        EXPECT_EQ(nullptr, mti_ref_peek(ref)) << std::hex << ref.id;
        EXPECT_EQ(nullptr, mti_ref_acquire(ref, MTI_COUNT_USER)) << std::hex << ref.id;
    }
    EXPECT_EQ(MTI_COUNT_USER, object_->counts.v);
    object_->counts.v = 0;
    mti_table_free(&cache_, slot_);
    EXPECT_EQ(nullptr, mti_ref_peek(ref_));
    EXPECT_EQ(nullptr, mti_ref_acquire_weak(ref_.id, MTI_COUNT_INTERNAL));
}

} // namespace
