// Ranges and arrays: one submit for many calls of a body.
#include "support/runtime_fixture.h"

#include <cstring>
#include <thread>

using namespace manta_testing;

class BulkTest : public RuntimeTest
{
};
MANTA_TEST_WORKERS(BulkTest);

MANTA_TASK(bk_mark, MANTA_LOCAL(std::atomic<int> *, slots), MANTA_VAL(int, by))
{
    slots[manta_task_index(task)].fetch_add(by);
    return MANTA_OK;
}

MANTA_TASK(bk_add_up, MANTA_LOCAL(std::atomic<long> *, sum), MANTA_IN(int, x))
{
    sum->fetch_add(x[manta_task_index(task) % x.count]);
    return MANTA_OK;
}

MANTA_TASK(bk_fail_at, MANTA_LOCAL(std::atomic<int> *, ran), MANTA_VAL(size_t, at))
{
    ran->fetch_add(1);
    if (manta_task_index(task) == at) {
        return manta_fail(task, MANTA_ERR_USER + 4, "index %zu", manta_task_index(task));
    }
    return MANTA_OK;
}

MANTA_TASK(bk_after, MANTA_LOCAL(std::atomic<int> *, ran), MANTA_IN(int, done))
{
    (void)done;
    ran->fetch_add(1);
    return MANTA_OK;
}

MANTA_TASK(bk_hold, MANTA_LOCAL(Gate *, gate), MANTA_LOCAL(std::atomic<int> *, ran))
{
    gate->arrive();
    gate->pass();
    ran->fetch_add(1);
    return MANTA_OK;
}

MANTA_TASK(bk_throw, MANTA_VAL(int, at))
{
    if ((int)manta_task_index(task) == at) throw std::runtime_error("in a range");
    return MANTA_OK;
}

static manta_status_t status_of(manta_ref_t ref)
{
    manta_view_t view = {};
    manta_status_t status = manta_get(ref, &view, MANTA_FOREVER);
    manta_view_release(&view);
    return status;
}

TEST_P(BulkTest, EveryIndexOnce)
{
    for (size_t count : {0u, 1u, 2u, 7u, 64u, 1000u, 100000u}) {
        for (size_t grain : {0u, 1u, 3u, 1000u, 1000000u}) {
            MANTA_SCOPE();
            std::vector<std::atomic<int>> slots(count + 1);
            manta_ref_t done =
                bk_mark_range_with(MANTA_OPTIONS(.name = "marks"), count, grain, slots.data(), 3);
            ASSERT_OK(status_of(done));
            for (size_t i = 0; i < count; i++)
                ASSERT_EQ(3, slots[i]) << i << " of " << count;
            ASSERT_EQ(0, slots[count]);
        }
    }
}

TEST_P(BulkTest, RangesTakeRefs)
{
    MANTA_SCOPE();
    std::atomic<long> sum{0};
    manta_ref_t p = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    manta_ref_t done = bk_add_up_range(10000, &sum, p);
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(done));
    std::vector<int> x(100, 2);
    EXPECT_OK(manta_promise_set(p, x.data(), x.size() * sizeof(int)));
    EXPECT_OK(status_of(done));
    EXPECT_EQ(20000, sum);
}

TEST_P(BulkTest, ThingsDependOnTheCompletion)
{
    MANTA_SCOPE();
    std::vector<std::atomic<int>> slots(1000);
    std::atomic<int> ran{0};
    manta_ref_t done = bk_mark_range(slots.size(), slots.data(), 1);
    manta_ref_t after = bk_after_remote(&ran, done);
    EXPECT_OK(status_of(after));
    for (auto &slot : slots)
        EXPECT_EQ(1, slot);
    EXPECT_EQ(1, ran);
}

TEST_P(BulkTest, TheFirstErrorFailsTheCompletion)
{
    for (size_t at : {0u, 500u, 999u}) {
        for (size_t grain : {0u, 1u, 10u}) {
            MANTA_SCOPE();
            std::atomic<int> ran{0}, after{0};
            manta_ref_t done =
                bk_fail_at_range_with(MANTA_OPTIONS(.cpus = 1), 1000, grain, &ran, at);
            manta_ref_t next = bk_after_remote(&after, done);
            EXPECT_STATUS(MANTA_ERR_USER + 4, status_of(done));
            EXPECT_NE(std::string::npos, printed_error(done).find("index " + std::to_string(at)))
                << printed_error(done);
            EXPECT_STATUS(MANTA_ERR_USER + 4, status_of(next));
            EXPECT_OK(manta_drain(MANTA_FOREVER));
            EXPECT_LE(ran, 1000);
            EXPECT_EQ(0, after);
        }
    }
}

TEST_P(BulkTest, AnErrorSkipsWhatHasNotStarted)
{
    if (!is_serial()) GTEST_SKIP() << "only exact in order";
    MANTA_SCOPE();
    std::atomic<int> ran{0};
    manta_ref_t done = bk_fail_at_range_with(MANTA_OPTIONS(.cpus = 1), 1000, 1, &ran, 0);
    EXPECT_STATUS(MANTA_ERR_USER + 4, status_of(done));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_LT(ran, 1000);
}

TEST_P(BulkTest, ExceptionsFailTheCompletion)
{
    MANTA_SCOPE();
    manta_ref_t done = bk_throw_range(100, 57);
    EXPECT_STATUS(MANTA_ERR_EXCEPTION, status_of(done));
}

TEST_P(BulkTest, AFailedArgumentFailsTheRange)
{
    MANTA_SCOPE();
    std::atomic<long> sum{0};
    manta_ref_t p = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    manta_ref_t done = bk_add_up_range(1000, &sum, p);
    EXPECT_OK(manta_promise_fail(p, MANTA_ERR_USER + 2, "no"));
    EXPECT_STATUS(MANTA_ERR_USER + 2, status_of(done));
    EXPECT_EQ(0, sum);
    manta_ref_t bad = manta_put_typed(nullptr, 8, 0);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_ref_status(bk_add_up_range(10, &sum, bad)));
    EXPECT_STATUS(MANTA_ERR_STALE_REF,
                  manta_ref_status(bk_add_up_range(10, &sum, manta_ref_t{7ull << 32 | 9})));
}

TEST_P(BulkTest, ArraysOfArgumentsAreCopied)
{
    for (size_t count : {0u, 1u, 10u, 5000u}) {
        MANTA_SCOPE();
        std::vector<std::atomic<int>> slots(count + 1);
        std::vector<bk_mark_args_t> calls;
        for (size_t i = 0; i < count; i++) {
            bk_mark_args_t args = {};
            args.slots = slots.data();
            args.by = (int)i;
            calls.push_back(args);
        }
        manta_ref_t done = manta_submit_array(&bk_mark_task, nullptr, calls.data(),
                                              sizeof(bk_mark_args_t), count, 0);
        calls.assign(count, bk_mark_args_t{});
        EXPECT_OK(status_of(done));
        for (size_t i = 0; i < count; i++)
            ASSERT_EQ((int)i, slots[i]);
    }
}

TEST_P(BulkTest, WhatIsRefused)
{
    MANTA_SCOPE();
    std::vector<int> some(64);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT,
                  manta_ref_status(manta_submit_range(nullptr, nullptr, nullptr, 0, 10, 0)));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT,
                  manta_ref_status(manta_submit_array(&bk_mark_task, nullptr, nullptr, 16, 10, 0)));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_ref_status(manta_submit_range(
                                                  &bk_mark_task, nullptr, some.data(), 3, 10, 0)));
    // Refs can't be in an array.
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT,
                  manta_ref_status(manta_submit_array(&bk_add_up_task, nullptr, some.data(),
                                                      sizeof(bk_add_up_args_t), 2, 0)));
    manta_ref_t huge = manta_submit_array(&bk_mark_task, nullptr, some.data(),
                                          sizeof(bk_mark_args_t), SIZE_MAX / 4, 0);
    EXPECT_NE(MANTA_OK, manta_ref_status(huge));
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE, manta_ref_status(bk_mark_range_with(
                                            MANTA_OPTIONS(.cpus = 1e6), 10, 0, nullptr, 1)));
}

TEST_P(BulkTest, CancelStopsARange)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    Gate gate;
    std::atomic<int> ran{0};
    manta_ref_t done = bk_hold_range_with(MANTA_OPTIONS(.cpus = 1), 1000, 1, &gate, &ran);
    gate.await(1);
    EXPECT_OK(manta_cancel(done));
    EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_ref_status(done));
    gate.open();
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_LT(ran, 1000);
}

TEST_P(BulkTest, ManyRangesAtOnceFromManyThreads)
{
    std::vector<std::atomic<int>> slots(200);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++) {
        threads.emplace_back([&slots] {
            MANTA_SCOPE();
            std::vector<manta_ref_t> refs;
            for (int k = 0; k < 25; k++)
                refs.push_back(bk_mark_range(200, slots.data(), 1));
            for (manta_ref_t ref : refs)
                EXPECT_NE(MANTA_ERR_INTERNAL, manta_ref_status(ref));
        });
    }
    for (std::thread &thread : threads)
        thread.join();
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    for (auto &slot : slots)
        EXPECT_EQ(100, slot);
}
