// What generated code hands to the library, seen by the fake.
#include "fake_runtime.h"
#include "tasks.h"

#include <gtest/gtest.h>

#include <cstring>

namespace
{

template <class T> T last_args()
{
    T args;
    EXPECT_EQ(sizeof args, fake_last.args.size());
    memcpy(&args, fake_last.args.data(), sizeof args);
    return args;
}

} // namespace

TEST(MacroCallsTest, RemotePassesNoOptions)
{
    MANTA_SCOPE();
    const float one = 1;
    manta_ref_t x = manta_put(&one, sizeof one), y = manta_put(&one, sizeof one);
    const uint64_t y_id = y.id;
    y = tm_axpy_remote(2, x, y);
    EXPECT_EQ(&tm_axpy_task, fake_last.task);
    EXPECT_FALSE(fake_last.has_options);
    EXPECT_EQ(1u, fake_last.result_count);
    const tm_axpy_args_t args = last_args<tm_axpy_args_t>();
    EXPECT_EQ(2, args.a);
    EXPECT_EQ(x.id, args.x.id);
    EXPECT_EQ(y_id, args.y.id);
    EXPECT_EQ(MANTA_ERR_STALE_REF, manta_ref_status({y_id}));
}

TEST(MacroCallsTest, WithPassesItsOptions)
{
    MANTA_SCOPE();
    manta_ref_t done = tm_nothing_with(MANTA_OPTIONS(.where = MANTA_CPU, .cpus = 3));
    EXPECT_EQ(MANTA_OK, manta_ref_status(done));
    ASSERT_TRUE(fake_last.has_options);
    EXPECT_EQ(sizeof fake_last.options, fake_last.options.struct_size);
    EXPECT_EQ(MANTA_CPU, fake_last.options.where);
    EXPECT_EQ(3, fake_last.options.cpus);
    EXPECT_EQ(0u, fake_last.args.size());
}

TEST(MacroCallsTest, GoAsksForNoResults)
{
    int slot = 0;
    ASSERT_EQ(MANTA_OK, tm_mark_go(&slot, 4));
    EXPECT_EQ(4, slot);
    EXPECT_EQ(0u, fake_last.result_count);
    EXPECT_FALSE(fake_last.has_options);
    ASSERT_EQ(MANTA_OK, tm_mark_go_with(MANTA_OPTIONS(.name = "go"), &slot, 4));
    EXPECT_EQ(0u, fake_last.result_count);
    EXPECT_STREQ("go", fake_last.options.name);
}

TEST(MacroCallsTest, RangePassesCountAndGrain)
{
    MANTA_SCOPE();
    int slots[9] = {};
    EXPECT_EQ(MANTA_OK, manta_ref_status(tm_mark_range(9, slots, 1)));
    EXPECT_EQ(9u, fake_last.count);
    EXPECT_EQ(0u, fake_last.grain);
    EXPECT_FALSE(fake_last.has_options);
    EXPECT_EQ(MANTA_OK,
              manta_ref_status(tm_mark_range_with(MANTA_OPTIONS(.gpus = 0.5), 8, 4, slots, 1)));
    EXPECT_EQ(8u, fake_last.count);
    EXPECT_EQ(4u, fake_last.grain);
    EXPECT_EQ(0.5, fake_last.options.gpus);
}

TEST(MacroCallsTest, SixteenResultsAreAskedForAtOnce)
{
    MANTA_SCOPE();
    tm_results_out_t r = tm_results_remote();
    EXPECT_EQ(16u, fake_last.result_count);
    EXPECT_EQ(r.r1.id + 15, r.r16.id);
}

TEST(MacroCallsTest, EveryScopeIsLeftAgain)
{
    for (int i = 0; i < 4; i++) {
        MANTA_SCOPE();
        EXPECT_EQ(1, fake_last.scopes);
        if (i == 1) continue;
        if (i == 2) break;
    }
    EXPECT_EQ(0, fake_last.scopes);
}
