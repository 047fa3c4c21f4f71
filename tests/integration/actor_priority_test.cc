// Priorities of calls: what an actor takes first, what it never does, and when its turn comes.
#include "support/runtime_fixture.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <thread>

using namespace manta_testing;

// ---- the actors ---------------------------------------------------------------------------------

struct ap_log {
    Gate gate;
    std::mutex lock;
    std::vector<int> ran; // guarded by lock

    void note(int id)
    {
        std::lock_guard<std::mutex> hold(lock);
        ran.push_back(id);
    }
};

struct desk {
    ap_log *log;
};
MANTA_ACTOR(desk, struct desk, MANTA_LOCAL(ap_log *, log))
{
    self->log = log;
    return MANTA_OK;
}
MANTA_METHOD(desk, note, MANTA_VAL(int, id))
{
    self->log->note(id);
    return MANTA_OK;
}
MANTA_METHOD(desk, note_ref, MANTA_IN(int, id))
{
    self->log->note(id[0]);
    return MANTA_OK;
}
MANTA_METHOD(desk, hold)
{
    self->log->gate.arrive();
    self->log->gate.pass();
    return MANTA_OK;
}
MANTA_METHOD(desk, break_down, MANTA_VAL(int, id), MANTA_LOCAL(int *, left))
{
    self->log->note(id);
    return (*left)-- > 0 ? MANTA_ACTOR_FATAL : MANTA_OK;
}
MANTA_METHOD(desk, aside, MANTA_VAL(int, id))
{
    self->log->note(id);
    return MANTA_OK;
}
MANTA_METHOD_GROUP(desk, aside, "aside");

// Calls the desk for others: an actor as a caller.
struct clerk {
    desk_t to;
};
MANTA_ACTOR(clerk, struct clerk, MANTA_VAL(desk_t, to))
{
    self->to = to;
    return MANTA_OK;
}
MANTA_METHOD(clerk, pass_on, MANTA_VAL(int, id), MANTA_VAL(int, priority))
{
    if (priority == MANTA_PRIORITY_NORMAL) return desk_note_go(self->to, id);
    return desk_note_go_with(self->to, MANTA_OPTIONS(.priority = (manta_priority_t)priority), id);
}

MANTA_TASK(ap_note, MANTA_LOCAL(ap_log *, log), MANTA_VAL(int, id))
{
    log->note(id);
    return MANTA_OK;
}
MANTA_TASK(ap_hold, MANTA_LOCAL(ap_log *, log))
{
    log->gate.arrive();
    log->gate.pass();
    return MANTA_OK;
}
MANTA_TASK(ap_calls, MANTA_VAL(desk_t, to), MANTA_VAL(int, id), MANTA_VAL(int, priority))
{
    return desk_note_go_with(to, MANTA_OPTIONS(.priority = (manta_priority_t)priority), id);
}

namespace
{

manta_task_options_t with(manta_priority_t priority)
{
    return MANTA_OPTIONS(.priority = priority);
}
constexpr manta_priority_t kLow = MANTA_PRIORITY_LOW, kNormal = MANTA_PRIORITY_NORMAL,
                           kHigh = MANTA_PRIORITY_HIGH, kUrgent = MANTA_PRIORITY_URGENT;

// A thread that lives as long as this, and does what it is told.
class Caller
{
  public:
    Caller() : thread_([this] { loop(); }) {}
    ~Caller()
    {
        give(nullptr);
        thread_.join();
    }
    void operator()(std::function<void()> what) { give(std::move(what)); }
    void note(desk_t to, manta_priority_t priority, int id)
    {
        give([=] {
            if (priority == kNormal) {
                EXPECT_OK(desk_note_go(to, id));
            } else {
                EXPECT_OK(desk_note_go_with(to, with(priority), id));
            }
        });
    }

  private:
    void give(std::function<void()> what)
    {
        std::unique_lock<std::mutex> hold(lock_);
        what_ = std::move(what);
        has_ = true;
        changed_.notify_all();
        changed_.wait(hold, [this] { return !has_; });
    }
    void loop()
    {
        std::unique_lock<std::mutex> hold(lock_);
        for (bool more = true; more;) {
            changed_.wait(hold, [this] { return has_; });
            more = (bool)what_;
            if (more) what_();
            has_ = false;
            changed_.notify_all();
        }
    }

    std::mutex lock_;
    std::condition_variable changed_;
    std::function<void()> what_; // guarded by lock_
    bool has_ = false;           // guarded by lock_
    std::thread thread_;
};

} // namespace

class ActorPriorityTest : public RuntimeTest
{
  protected:
    // Nothing of |to| runs until release().
    void hold(desk_t to)
    {
        EXPECT_OK(desk_hold_go(to));
        if (!is_serial()) log.gate.await(1);
    }
    std::vector<int> release()
    {
        log.gate.open();
        EXPECT_OK(manta_drain(MANTA_FOREVER));
        return log.ran;
    }
    ap_log log;
};
MANTA_TEST_WORKERS(ActorPriorityTest);

// ---- among the calls of one actor --------------------------------------------------------------------

TEST_P(ActorPriorityTest, AcrossCallersTheHigherBandGoesFirst)
{
    MANTA_SCOPE();
    desk_t d = desk_create(MANTA_ACTOR_OPTIONS(.name = "d"), &log);
    Caller low, normal, high, urgent;
    hold(d);
    for (int i = 0; i < 4; i++) {
        low.note(d, kLow, i);
        normal.note(d, kNormal, 100 + i);
        high.note(d, kHigh, 200 + i);
        urgent.note(d, kUrgent, 300 + i);
    }
    EXPECT_EQ(
        (std::vector<int>{300, 301, 302, 303, 200, 201, 202, 203, 100, 101, 102, 103, 0, 1, 2, 3}),
        release());
}

TEST_P(ActorPriorityTest, ACallNeverPassesAnEarlierOneOfItsCaller)
{
    MANTA_SCOPE();
    desk_t d = desk_create(MANTA_ACTOR_OPTIONS(.name = "d"), &log);
    Caller a, b;
    hold(d);
    a.note(d, kNormal, 1);
    a.note(d, kUrgent, 2);
    a.note(d, kLow, 3);
    a.note(d, kHigh, 4);
    b.note(d, kHigh, 10);
    b.note(d, kUrgent, 11); // as urgent as the one before it, not more
    b.note(d, kNormal, 12);
    std::vector<int> ran = release();
    ASSERT_EQ(7u, ran.size());
    EXPECT_EQ((std::vector<int>{10, 11, 1, 2, 12, 3, 4}), ran);
}

TEST_P(ActorPriorityTest, TasksAreCallersOfTheirOwn)
{
    MANTA_SCOPE();
    if (is_serial()) GTEST_SKIP() << "the tasks and the actor run one after the other";
    if (workers() < 2) GTEST_SKIP() << "one worker is held";
    desk_t d = desk_create(MANTA_ACTOR_OPTIONS(.name = "d"), &log);
    hold(d);
    EXPECT_OK(desk_note_go(d, 1));
    manta_view_t view = {};
    for (int i = 0; i < 3; i++)
        EXPECT_OK(manta_get(ap_calls_remote(d, 10 * (i + 1), i), &view, MANTA_FOREVER));
    EXPECT_EQ((std::vector<int>{30, 20, 1, 10}), release());
}

TEST_P(ActorPriorityTest, ActorsAreCallersOfTheirOwnWhateverMethodCalls)
{
    MANTA_SCOPE();
    if (workers() < 2) GTEST_SKIP() << "one worker is held";
    desk_t d = desk_create(MANTA_ACTOR_OPTIONS(.name = "d"), &log);
    clerk_t a = clerk_new(d), b = clerk_new(d);
    manta_view_t view = {};
    hold(d);
    EXPECT_OK(desk_note_go_with(d, with(kHigh), 1)); // from here on they leave their names
    for (int i = 0; i < 3; i++) {
        EXPECT_OK(manta_get(clerk_pass_on(a, 10 + i, kNormal), &view, MANTA_FOREVER));
        EXPECT_OK(manta_get(clerk_pass_on(b, 20 + i, kUrgent), &view, MANTA_FOREVER));
    }
    EXPECT_OK(manta_get(clerk_pass_on(a, 13, kUrgent), &view, MANTA_FOREVER));
    EXPECT_OK(manta_get(clerk_pass_on(b, 23, kLow), &view, MANTA_FOREVER));
    EXPECT_EQ((std::vector<int>{20, 21, 22, 1, 10, 11, 12, 13, 23}), release());
}

TEST_P(ActorPriorityTest, WhatAnActorCalledBeforeIsNotPassedByItself)
{
    MANTA_SCOPE();
    if (workers() < 2) GTEST_SKIP() << "one worker is held";
    desk_t d = desk_create(MANTA_ACTOR_OPTIONS(.name = "d"), &log);
    clerk_t a = clerk_new(d);
    manta_view_t view = {};
    hold(d);
    for (int i = 0; i < 3; i++)
        EXPECT_OK(manta_get(clerk_pass_on(a, i, kNormal), &view, MANTA_FOREVER));
    EXPECT_OK(manta_get(clerk_pass_on(a, 3, kUrgent), &view, MANTA_FOREVER));
    EXPECT_OK(desk_note_go_with(d, with(kUrgent), 10));
    EXPECT_EQ((std::vector<int>{10, 0, 1, 2, 3}), release());
}

TEST_P(ActorPriorityTest, NothingStarves)
{
    MANTA_SCOPE();
    desk_t d = desk_create(MANTA_ACTOR_OPTIONS(.name = "d"), &log);
    Caller low, normal, urgent;
    hold(d);
    low.note(d, kLow, -1);
    normal.note(d, kNormal, -2);
    constexpr int kCalls = 400;
    for (int i = 0; i < kCalls; i++)
        urgent.note(d, kUrgent, i);
    std::vector<int> ran = release();
    ASSERT_EQ((size_t)kCalls + 2, ran.size());
    auto at = [&](int id) { return std::find(ran.begin(), ran.end(), id) - ran.begin(); };
    EXPECT_LE(at(-1), 4 * 64);
    EXPECT_LE(at(-2), 4 * 64);
    EXPECT_GE(std::min(at(-1), at(-2)), 32) << "but not before its time either";
}

TEST_P(ActorPriorityTest, AgeingNeverPassesAnEarlierCallOfItsCaller)
{
    MANTA_SCOPE();
    desk_t d = desk_create(MANTA_ACTOR_OPTIONS(.name = "d"), &log);
    hold(d);
    for (int i = 0; i < 200; i++)
        EXPECT_OK(desk_note_go_with(d, with(kUrgent), i));
    EXPECT_OK(desk_note_go(d, 200));
    EXPECT_OK(desk_note_go_with(d, with(kLow), 201));
    std::vector<int> ran = release();
    ASSERT_EQ(202u, ran.size());
    for (int i = 0; i < 202; i++)
        EXPECT_EQ(i, ran[(size_t)i]);
}

TEST_P(ActorPriorityTest, ReadyFirstWhereOrderIsNotPromised)
{
    MANTA_SCOPE();
    desk_t d = desk_create(MANTA_ACTOR_OPTIONS(.out_of_order = true), &log);
    hold(d);
    EXPECT_OK(desk_note_go(d, 1));
    EXPECT_OK(desk_note_go_with(d, with(kLow), 2));
    EXPECT_OK(desk_note_go_with(d, with(kHigh), 3));
    EXPECT_OK(desk_note_go_with(d, with(kUrgent), 4));
    EXPECT_EQ((std::vector<int>{4, 3, 1, 2}), release());
}

TEST_P(ActorPriorityTest, AnUnreadyUrgentCallHoldsUpNobodyElse)
{
    MANTA_SCOPE();
    desk_t d = desk_create(MANTA_ACTOR_OPTIONS(.name = "d"), &log);
    Caller a, b;
    manta::ref<int> p = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    hold(d);
    a([&] { EXPECT_OK(desk_note_ref_go_with(d, with(kUrgent), p)); });
    a.note(d, kUrgent, 2);
    b.note(d, kNormal, 10);
    b.note(d, kHigh, 11);
    int one = 1;
    EXPECT_OK(manta_promise_set(p, &one, sizeof one));
    EXPECT_EQ((std::vector<int>{1, 2, 10, 11}), release());
}

TEST_P(ActorPriorityTest, GroupsHaveTheirOwn)
{
    MANTA_SCOPE();
    manta_actor_group_t aside = {"aside", 1};
    desk_t d = desk_create(MANTA_ACTOR_OPTIONS(.groups = &aside, .group_count = 1), &log);
    Caller normal, urgent;
    if (workers() > 1) GTEST_SKIP() << "with one worker the order is known";
    hold(d);
    for (int i = 0; i < 3; i++) {
        normal.note(d, kNormal, i);
        urgent.note(d, kUrgent, 100 + i);
        normal([&] { EXPECT_OK(desk_aside_go(d, 10 + i)); });
        urgent([&] { EXPECT_OK(desk_aside_go_with(d, with(kUrgent), 110 + i)); });
    }
    std::vector<int> ran = release();
    ASSERT_EQ(12u, ran.size());
    std::vector<int> main, side;
    for (int id : ran)
        (id % 100 < 10 ? main : side).push_back(id);
    EXPECT_EQ((std::vector<int>{100, 101, 102, 0, 1, 2}), main);
    if (is_serial()) {
        EXPECT_EQ((std::vector<int>{110, 111, 112, 10, 11, 12}), side);
    }
}

// ---- with failures --------------------------------------------------------------------------------

TEST_P(ActorPriorityTest, KillFailsThemAll)
{
    MANTA_SCOPE();
    desk_t d = desk_create(MANTA_ACTOR_OPTIONS(.name = "d"), &log);
    hold(d);
    std::vector<manta_ref_t> refs;
    for (int i = 0; i < 8; i++)
        refs.push_back(desk_note_with(d, with((manta_priority_t)(i % 4 - 1)), i));
    EXPECT_OK(manta_cancel(refs[3]));
    EXPECT_OK(manta_actor_kill(d.actor, false));
    for (int i = 0; i < 8; i++) {
        manta_view_t view = {};
        EXPECT_STATUS(i == 3 ? MANTA_ERR_CANCELLED : MANTA_ERR_ACTOR_DIED,
                      manta_get(refs[(size_t)i], &view, MANTA_FOREVER));
    }
    EXPECT_EQ(0u, release().size());
}

TEST_P(ActorPriorityTest, RestartsKeepOrderAndPriority)
{
    MANTA_SCOPE();
    desk_t d = desk_create(MANTA_ACTOR_OPTIONS(.max_restarts = 2, .max_task_retries = 2), &log);
    Caller a, b, c;
    int left = 1;
    hold(d);
    a([&] { EXPECT_OK(desk_break_down_go_with(d, with(kHigh), 1, &left)); });
    a.note(d, kHigh, 2);
    a.note(d, kLow, 3);
    b.note(d, kNormal, 10);
    b.note(d, kNormal, 11);
    c.note(d, kUrgent, 20);
    EXPECT_EQ((std::vector<int>{20, 1, 1, 2, 10, 11, 3}), release());
}

// ---- among other work -----------------------------------------------------------------------------

class ActorTurnTest : public ActorPriorityTest
{
};
INSTANTIATE_TEST_SUITE_P(Workers, ActorTurnTest, ::testing::Values(1));

TEST_P(ActorTurnTest, ComesWhenItsHighestCallDoes)
{
    MANTA_SCOPE();
    desk_t d = desk_new(&log), e = desk_new(&log), f = desk_new(&log), g = desk_new(&log);
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_OK(ap_hold_go(&log)); // the worker
    log.gate.await(1);
    Caller other;
    EXPECT_OK(desk_note_go_with(d, with(kLow), 1));
    EXPECT_OK(ap_note_go(&log, 10));
    EXPECT_OK(desk_note_go_with(e, with(kUrgent), 2));
    EXPECT_OK(desk_note_go(f, 3)); // waits in the normal band
    other.note(f, kHigh, 4);       // and is brought forward
    EXPECT_OK(ap_note_go_with(MANTA_OPTIONS(.priority = kHigh), &log, 11));
    EXPECT_OK(ap_note_go_with(MANTA_OPTIONS(.priority = kLow), &log, 12));
    EXPECT_OK(desk_note_go(g, 5));
    log.gate.open();
    // Not a drain: this thread would help, beside the worker.
    for (size_t ran = 0; ran < 8;) {
        std::lock_guard<std::mutex> hold_lock(log.lock);
        ran = log.ran.size();
    }
    auto at = [&](int id) {
        return std::find(log.ran.begin(), log.ran.end(), id) - log.ran.begin();
    };
    std::vector<int> first(log.ran.begin(), log.ran.begin() + 3);
    EXPECT_EQ((std::vector<int>{2, 4, 11}), first);
    for (int normal : {10, 3, 5}) {
        EXPECT_LT(at(normal), at(1)) << normal;
        EXPECT_LT(at(normal), at(12)) << normal;
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
}

TEST_P(ActorTurnTest, LowCallsWaitForOtherWorkAndANormalOneBringsThemForward)
{
    MANTA_SCOPE();
    desk_t d = desk_new(&log);
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_OK(ap_hold_go(&log));
    log.gate.await(1);
    Caller other;
    for (int i = 0; i < 10; i++)
        EXPECT_OK(desk_note_go_with(d, with(kLow), i));
    for (int i = 0; i < 10; i++)
        EXPECT_OK(ap_note_go(&log, 100 + i));
    other.note(d, kNormal, 50);
    log.gate.open();
    for (size_t ran = 0; ran < 21;) {
        std::lock_guard<std::mutex> hold_lock(log.lock);
        ran = log.ran.size();
    }
    std::vector<int> last(log.ran.end() - 10, log.ran.end());
    EXPECT_EQ((std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}), last);
    EXPECT_OK(manta_drain(MANTA_FOREVER));
}
