// Priorities: what goes first, and that nothing starves.
#include "support/runtime_fixture.h"

using namespace manta_testing;

class PriorityTest : public RuntimeTest
{
};
MANTA_TEST_WORKERS(PriorityTest);

struct order {
    Gate gate;
    std::mutex lock;
    std::vector<int> ran; // guarded by lock
    std::atomic<bool> stop{false};
    std::atomic<int> count{0};
};

MANTA_TASK(pr_note, MANTA_LOCAL(order *, o), MANTA_VAL(int, id))
{
    std::lock_guard<std::mutex> hold(o->lock);
    o->ran.push_back(id);
    return MANTA_OK;
}

MANTA_TASK(pr_hold, MANTA_LOCAL(order *, o))
{
    o->gate.arrive();
    o->gate.pass();
    return MANTA_OK;
}

static manta_task_options_t with(manta_priority_t priority)
{
    return MANTA_OPTIONS(.priority = priority);
}

TEST_P(PriorityTest, HigherBandsGoFirst)
{
    MANTA_SCOPE();
    if (workers() > 1) GTEST_SKIP() << "with one worker the order is known";
    order o;
    manta_ref_t hold = {0};
    if (!is_serial()) {
        hold = pr_hold_remote(&o);
        o.gate.await(1);
    }
    for (int i = 0; i < 4; i++) {
        EXPECT_OK(pr_note_go_with(with(MANTA_PRIORITY_LOW), &o, i));
        EXPECT_OK(pr_note_go(&o, 100 + i));
        EXPECT_OK(pr_note_go_with(with(MANTA_PRIORITY_HIGH), &o, 200 + i));
        EXPECT_OK(pr_note_go_with(with(MANTA_PRIORITY_URGENT), &o, 300 + i));
    }
    o.gate.open();
    // Not a drain: this thread would help, beside the worker.
    for (size_t ran = 0; !is_serial() && ran < 16;) {
        std::lock_guard<std::mutex> hold_lock(o.lock);
        ran = o.ran.size();
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    ASSERT_EQ(16u, o.ran.size());
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(300 + i, o.ran[i]);
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(200 + i, o.ran[4 + i]);
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(1, o.ran[8 + i] / 100);
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(i, o.ran[12 + i]) << "the oldest first";
}

// Submits itself again and again.
MANTA_TASK(pr_flood, MANTA_LOCAL(order *, o), MANTA_VAL(int, priority))
{
    if (!o->stop && manta_task_runtime(task).id) {
        return pr_flood_go_with(with((manta_priority_t)priority), o, priority);
    }
    return MANTA_OK;
}

TEST_P(PriorityTest, NoBandStarves)
{
    MANTA_SCOPE();
    for (manta_priority_t band : {MANTA_PRIORITY_LOW, MANTA_PRIORITY_NORMAL, MANTA_PRIORITY_HIGH}) {
        order o;
        // More than there are workers, so that something urgent always waits.
        for (int i = 0; i < 8; i++)
            EXPECT_OK(pr_flood_go_with(with(MANTA_PRIORITY_URGENT), &o, 2));
        if (band == MANTA_PRIORITY_LOW) {
            for (int i = 0; i < 8; i++)
                EXPECT_OK(pr_flood_go(&o, 0));
        }
        manta_ref_t x = pr_note_with(with(band), &o, 5);
        // Waits without running it here.
        int64_t timeout = is_serial() ? MANTA_FOREVER : MANTA_S(100);
        EXPECT_OK(manta_wait(&x, 1, 1, timeout, nullptr, nullptr));
        o.stop = true;
        EXPECT_OK(manta_drain(MANTA_FOREVER));
        EXPECT_EQ(1u, o.ran.size());
    }
}

MANTA_TASK(pr_add, MANTA_IN(int, x), MANTA_OUT(int, y, 1))
{
    y[0] = x[0] + 1;
    return MANTA_OK;
}

TEST_P(PriorityTest, DependenciesAndManyEntries)
{
    MANTA_SCOPE();
    const manta_priority_t bands[] = {MANTA_PRIORITY_LOW, MANTA_PRIORITY_NORMAL,
                                      MANTA_PRIORITY_HIGH, MANTA_PRIORITY_URGENT};
    std::vector<manta_ref_t> ends;
    for (int chain = 0; chain < 50; chain++) {
        manta_ref_t at = put1(0);
        for (int i = 0; i < 200; i++)
            at = pr_add_with(with(bands[(i * 7 + chain) % 4]), at);
        ends.push_back(at);
    }
    for (manta_ref_t end : ends)
        EXPECT_EQ(200, value_of<int>(end));
    order o;
    for (int i = 0; i < 20000; i++)
        EXPECT_OK(pr_note_go_with(with(bands[i % 4]), &o, i));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(20000u, o.ran.size());
}

TEST_P(PriorityTest, WrongOnesAreRefused)
{
    order o;
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, pr_note_go_with(with((manta_priority_t)3), &o, 1));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, pr_note_go_with(with((manta_priority_t)-2), &o, 1));
}
