// Cancelling: at once, whole, down to what a task has submitted, and no further.
#include "support/runtime_fixture.h"

#include <thread>

using namespace manta_testing;

class CancelTest : public RuntimeTest
{
  protected:
    // Waits until |ref| has failed or is ready, without running anything.
    void await(manta_ref_t ref)
    {
        manta_view_t view = {};
        (void)manta_get(ref, &view, is_serial() ? MANTA_FOREVER : MANTA_S(200));
        manta_view_release(&view);
    }
};
MANTA_TEST_WORKERS(CancelTest);

struct family {
    Gate gate, child_gate;
    std::atomic<int> ran{0}, told{0}, submitted{0};
    manta_ref_t promise = {0};
    manta_ref_t children[64] = {};
};

static manta_status_t status_of(manta_ref_t ref)
{
    manta_view_t view = {};
    manta_status_t status = manta_get(ref, &view, MANTA_FOREVER);
    manta_view_release(&view);
    return status;
}

MANTA_TASK(ca_leaf, MANTA_LOCAL(family *, f), MANTA_IN(int, x), MANTA_OUT(int, y, 1))
{
    f->ran++;
    y[0] = x[0];
    return MANTA_OK;
}

MANTA_TASK(ca_plain, MANTA_LOCAL(family *, f))
{
    f->ran++;
    return MANTA_OK;
}

// Runs until it is told to stop.
MANTA_TASK(ca_loop, MANTA_LOCAL(family *, f))
{
    f->child_gate.arrive();
    while (!manta_cancelled(task))
        std::this_thread::yield();
    f->told++;
    return MANTA_OK;
}

// Submits children that wait for a promise, then holds.
MANTA_TASK(ca_parent, MANTA_LOCAL(family *, f), MANTA_VAL(int, n), MANTA_VAL(int, hold),
           MANTA_OUT(int, x, 1))
{
    x[0] = n;
    for (int i = 0; i < n; i++)
        f->children[i] = manta_keep(ca_leaf_remote(f, f->promise));
    f->gate.arrive();
    if (hold) f->gate.pass();
    return MANTA_OK;
}

TEST_P(CancelTest, ChildrenThatWaitAreCancelledWithTheirParent)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    family f;
    f.promise = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    auto x = ca_parent_remote(&f, 10, 1);
    f.gate.await(1);
    EXPECT_OK(manta_cancel(x));
    EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_ref_status(x));
    f.gate.open();
    EXPECT_OK(manta_drain(MANTA_FOREVER)) << "the children do not wait for the promise any more";
    for (int i = 0; i < 10; i++) {
        EXPECT_STATUS(MANTA_ERR_CANCELLED, status_of(f.children[i]));
        EXPECT_OK(manta_release(f.children[i]));
    }
    int one = 1;
    EXPECT_OK(manta_promise_set(f.promise, &one, sizeof one));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(0, f.ran.load());
}

TEST_P(CancelTest, ChildrenMayBeKept)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    family f;
    f.promise = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    auto x = ca_parent_remote(&f, 10, 1);
    f.gate.await(1);
    manta_cancel_options_t options = {};
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_cancel_with(x, &options));
    options.struct_size = sizeof options;
    options.keep_children = true;
    EXPECT_OK(manta_cancel_with(x, &options));
    EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_ref_status(x));
    f.gate.open();
    int one = 1;
    EXPECT_OK(manta_promise_set(f.promise, &one, sizeof one));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    for (int i = 0; i < 10; i++) {
        EXPECT_EQ(1, value_of<int>(f.children[i]));
        EXPECT_OK(manta_release(f.children[i]));
    }
    EXPECT_EQ(10, f.ran.load());
}

TEST_P(CancelTest, ChildrenOfACompletedTaskAreOnTheirOwn)
{
    MANTA_SCOPE();
    family f;
    f.promise = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    auto x = ca_parent_remote(&f, 3, 0);
    EXPECT_EQ(3, value_of<int>(x));
    EXPECT_OK(manta_cancel(x));
    EXPECT_EQ(3, value_of<int>(x));
    int one = 1;
    EXPECT_OK(manta_promise_set(f.promise, &one, sizeof one));
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(1, value_of<int>(f.children[i]));
        EXPECT_OK(manta_release(f.children[i]));
    }
}

// A running child is told through its own claim; the parent's body has returned long ago.
// As ca_loop, with a value of its own; asks without a pause.
MANTA_TASK(ca_spin, MANTA_LOCAL(family *, f), MANTA_OUT(int, y, 1))
{
    y[0] = ++f->ran;
    while (!manta_cancelled(task))
        continue;
    return MANTA_OK;
}

// The body returns as soon as it is told, before whoever cancels has got any further, perhaps.
TEST_P(CancelTest, WhatABodyReturnsAfterItWasToldIsNoValue)
{
    SKIP_IF_SERIAL();
    family f;
    for (int round = 1; round <= (kSanitized ? 300 : 3000); round++) {
        manta_ref_t x = ca_spin_remote(&f);
        while (f.ran.load() < round)
            std::this_thread::yield();
        EXPECT_OK(manta_cancel(x));
        ASSERT_STATUS(MANTA_ERR_CANCELLED, status_of(x)) << "round " << round;
        EXPECT_OK(manta_release(x));
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
}

MANTA_TASK(ca_nest, MANTA_LOCAL(family *, f), MANTA_VAL(int, depth))
{
    manta_ref_t child = depth > 1 ? ca_nest_remote(f, depth - 1) : ca_loop_remote(f);
    manta_status_t status = manta_wait(&child, 1, 1, MANTA_FOREVER, NULL, NULL);
    if (status == MANTA_ERR_WAIT_CANCELLED) f->told++;
    return status;
}

TEST_P(CancelTest, RunningDescendantsAreToldAtAnyDepth)
{
    SKIP_IF_SERIAL();
    for (int depth : {1, 2, 50}) {
        MANTA_SCOPE();
        family f;
        auto x = ca_nest_remote(&f, depth);
        f.child_gate.await(1);
        EXPECT_OK(manta_cancel(x));
        EXPECT_STATUS(MANTA_ERR_CANCELLED, status_of(x));
        EXPECT_OK(manta_drain(MANTA_FOREVER));
        EXPECT_GE(f.told.load(), 1);
    }
}

// Submits after it was told: such a child never runs.
MANTA_TASK(ca_late, MANTA_LOCAL(family *, f))
{
    f->gate.arrive();
    f->gate.pass();
    for (int i = 0; i < 20; i++)
        f->children[i] = manta_keep(ca_plain_remote(f));
    return MANTA_OK;
}

TEST_P(CancelTest, WhatACancelledTaskSubmitsNeverRuns)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    family f;
    auto x = ca_late_remote(&f);
    f.gate.await(1);
    EXPECT_OK(manta_cancel(x));
    f.gate.open();
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(0, f.ran.load());
    for (int i = 0; i < 20; i++) {
        EXPECT_STATUS(MANTA_ERR_CANCELLED, status_of(f.children[i]));
        EXPECT_OK(manta_release(f.children[i]));
    }
}

// The parent forwards to the last of a line of children.
MANTA_TASK(ca_forward, MANTA_LOCAL(family *, f), MANTA_OUT(int, x, 1))
{
    (void)x;
    manta_ref_t at = f->promise;
    for (int i = 0; i < 5; i++)
        at = ca_leaf_remote(f, at);
    f->gate.arrive();
    return manta_forward(task, at);
}

TEST_P(CancelTest, AForwardedTaskCancelsWhatItForwardedTo)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    family f;
    f.promise = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    auto x = ca_forward_remote(&f);
    f.gate.await(1);
    EXPECT_OK(manta_cancel(x));
    EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_ref_status(x));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(0, f.ran.load());
    int one = 1;
    EXPECT_OK(manta_promise_set(f.promise, &one, sizeof one));
}

// Many parents, whose bodies return at once when told: their slots must not be lost, nor their children.
TEST_P(CancelTest, ManyCancelledParents)
{
    SKIP_IF_SERIAL();
    std::atomic<int> wrong{0};
    for (int round = 0; round < 3; round++) {
        std::vector<std::unique_ptr<family>> families;
        std::vector<manta_ref_t> refs;
        manta_ref_t promise = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
        const int n = kSanitized ? 300 : 1500;
        for (int i = 0; i < n; i++) {
            families.emplace_back(new family);
            families.back()->promise = promise;
            refs.push_back(ca_forward_remote(families.back().get()));
        }
        for (auto &f : families)
            f->gate.await(1);
        for (manta_ref_t ref : refs)
            EXPECT_OK(manta_cancel(ref));
        EXPECT_OK(manta_drain(MANTA_FOREVER));
        for (auto &f : families)
            wrong += f->ran.load();
        for (manta_ref_t ref : refs)
            EXPECT_OK(manta_release(ref));
        EXPECT_OK(manta_release(promise));
    }
    EXPECT_EQ(0, wrong.load());
}

MANTA_TASK(ca_index, MANTA_LOCAL(family *, f))
{
    if (manta_task_index(task) == 0) {
        f->children[0] = manta_keep(ca_leaf_remote(f, f->promise));
        f->gate.arrive();
        f->gate.pass();
    }
    f->ran++;
    return MANTA_OK;
}

TEST_P(CancelTest, ChildrenOfARange)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    family f;
    f.promise = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    manta_ref_t x = ca_index_range(1000000, &f);
    f.gate.await(1);
    EXPECT_OK(manta_cancel(x));
    f.gate.open();
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_LT(f.ran.load(), 1000000);
    EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_ref_status(x));
    EXPECT_STATUS(MANTA_ERR_CANCELLED, status_of(f.children[0]));
    EXPECT_OK(manta_release(f.children[0]));
}

// All results of a task fail together, whoever comes first.
MANTA_TASK(ca_three, MANTA_LOCAL(family *, f), MANTA_OUT(int, x, 100), MANTA_OUT(int, y, 1),
           MANTA_OUT(int, z, 1000))
{
    f->ran++;
    x[0] = y[0] = z[999] = 5;
    return MANTA_OK;
}

TEST_P(CancelTest, SeveralResultsAgree)
{
    SKIP_IF_SERIAL();
    family f;
    int cancelled = 0;
    for (int round = 0; round < 2000; round++) {
        MANTA_SCOPE();
        ca_three_out_t out = ca_three_remote(&f);
        std::thread other;
        if (round % 50 == 0) {
            other = std::thread([&] { (void)manta_cancel(out.z); });
        } else {
            for (int spin = 0; spin < round % 97 * 4; spin++)
                (void)manta_ref_status(out.x);
            EXPECT_OK(manta_cancel(out.y));
        }
        manta_status_t x = status_of(out.x), y = status_of(out.y), z = status_of(out.z);
        EXPECT_EQ(x, y);
        EXPECT_EQ(x, z);
        EXPECT_TRUE(x == MANTA_OK || x == MANTA_ERR_CANCELLED) << x;
        cancelled += x != MANTA_OK;
        if (x == MANTA_OK) {
            EXPECT_EQ(5, values_of<int>(out.z)[999]);
        }
        if (other.joinable()) other.join();
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(0u, stats_of(runtime_).live_refs);
}

// Fails at once, until it has no attempts left.
MANTA_TASK(ca_fails, MANTA_LOCAL(family *, f), MANTA_OUT(char, more, 100),
           MANTA_OUT(char, most, 200))
{
    f->ran++;
    more[99] = most[199] = 1;
    return MANTA_ERR_USER + 1;
}

TEST_P(CancelTest, ACancelBetweenAttemptsIsNeverLost)
{
    SKIP_IF_SERIAL();
    for (int round = 0; round < (kSanitized ? 100 : 200); round++) {
        family f;
        ca_fails_out_t out = ca_fails_with(MANTA_OPTIONS(.max_retries = INT32_MAX), &f);
        while (f.ran.load() <= round % 50)
            std::this_thread::yield();
        EXPECT_OK(manta_cancel(out.most));
        EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_ref_status(out.more));
        EXPECT_OK(manta_release(out.more));
        EXPECT_OK(manta_release(out.most));
        ASSERT_OK(manta_drain(MANTA_FOREVER)); // for ever, if it went on after it was cancelled
        ASSERT_EQ(0u, settled_stats_of(runtime_).live_bytes) << "round " << round;
    }
}

TEST_P(CancelTest, AHundredThousandQueuedTasks)
{
    family f;
    f.promise = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    std::vector<manta_ref_t> refs;
    const int n = kSanitized ? 10000 : 100000;
    for (int i = 0; i < n; i++)
        refs.push_back(ca_leaf_remote(&f, f.promise));
    for (manta_ref_t ref : refs)
        EXPECT_OK(manta_cancel(ref));
    for (manta_ref_t ref : refs) {
        EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_ref_status(ref));
        EXPECT_OK(manta_release(ref));
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_OK(manta_release(f.promise));
    EXPECT_EQ(0, f.ran.load());
}
