// Actors, end to end: calls, order, waits, life, names, failure and restart, concurrency.
#include "support/runtime_fixture.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <thread>

using namespace manta_testing;

namespace
{
std::atomic<int> ended{0}, made{0};
}

// ---- the actors ---------------------------------------------------------------------------------

struct counter {
    long value;
    long log[64];
    int logged;
};
MANTA_ACTOR(counter, struct counter, MANTA_VAL(long, start))
{
    made++;
    self->value = start;
    return start == -1 ? manta_fail(task, MANTA_ERR_USER + 9, "no counter from -1") : MANTA_OK;
}
MANTA_ACTOR_END(counter)
{
    (void)self;
    ended++;
}
MANTA_METHOD(counter, add, MANTA_VAL(long, by), MANTA_OUT(long, value, 1))
{
    value[0] = self->value += by;
    return MANTA_OK;
}
MANTA_METHOD(counter, add_ref, MANTA_IN(long, by), MANTA_OUT(long, value, 1))
{
    if (self->logged < 64) self->log[self->logged++] = by[0];
    value[0] = self->value += by[0];
    return MANTA_OK;
}
MANTA_METHOD(counter, read_log, MANTA_OUT(long, log, 64))
{
    memcpy(log.data, self->log, sizeof self->log);
    return MANTA_OK;
}
MANTA_METHOD(counter, tick)
{
    self->value++;
    return MANTA_OK;
}
MANTA_METHOD(counter, hold, MANTA_LOCAL(Gate *, gate))
{
    gate->arrive();
    gate->pass();
    return manta_cancelled(task) ? manta_fail(task, MANTA_ERR_USER + 2, "told to stop") : MANTA_OK;
}
MANTA_METHOD(counter, fails, MANTA_VAL(int, code), MANTA_OUT(long, value, 1))
{
    value[0] = 1;
    return manta_fail(task, code, "as asked");
}
// Fatal at its first |times| attempts.
MANTA_METHOD(counter, flaky, MANTA_VAL(int, times), MANTA_LOCAL(int *, tried),
             MANTA_OUT(long, value, 1))
{
    value[0] = ++self->value;
    if ((*tried)++ < times) return manta_fail(task, MANTA_ACTOR_FATAL, "attempt %d", *tried);
    return MANTA_OK;
}
MANTA_METHOD(counter, several, MANTA_INOUT(long, v), MANTA_OUT(long, twice, v.count))
{
    for (size_t i = 0; i < v.count; i++) {
        v[i] += self->value;
        twice[i] = 2 * v[i];
    }
    return MANTA_OK;
}
MANTA_METHOD(counter, of_self, MANTA_OUT(long, value, 1))
{
    // Waits for itself: its own call stands behind this one.
    manta_ref_t r = counter_add(counter_self(task), 1);
    return manta_read(r, value.data, sizeof(long), MANTA_FOREVER);
}
MANTA_METHOD(counter, of_other, MANTA_VAL(counter_t, other), MANTA_VAL(counter_t, back),
             MANTA_OUT(long, value, 1))
{
    manta_ref_t r;
    if (back.actor.id) {
        r = counter_of_other(other, back, counter_t{}); // which calls us
    } else {
        r = counter_add(other, 1);
    }
    manta_status_t status = manta_read(r, value.data, sizeof(long), MANTA_FOREVER);
    return status == MANTA_OK ? MANTA_OK : manta_fail(task, status, "%s", manta_error_message());
}
MANTA_METHOD(counter, later, MANTA_LOCAL(manta_ref_t *, promise), MANTA_OUT(long, value, 1))
{
    (void)value;
    *promise = manta_method_defer(task);
    return MANTA_OK;
}
MANTA_METHOD(counter, makes, MANTA_VAL(int, life), MANTA_OUT(counter_t, child, 1))
{
    manta_actor_options_t options =
        MANTA_ACTOR_OPTIONS(.life = (manta_life_t)life, .name = "child");
    counter_t made_here = counter_create(options, 7);
    child[0] = made_here;
    return manta_actor_status(made_here.actor);
}

struct other {
    int x;
};
MANTA_ACTOR(other, struct other)
{
    self->x = 1;
    return MANTA_OK;
}
MANTA_METHOD(other, get, MANTA_OUT(int, x, 1))
{
    x[0] = self->x;
    return MANTA_OK;
}

struct holder {
    long x;
};
MANTA_ACTOR(holder, struct holder, MANTA_IN(long, x))
{
    self->x = x[0];
    return MANTA_OK;
}

// Runs methods at the same time.
struct wide {
    std::atomic<int> *inside;
    std::atomic<int> *most;
};
MANTA_ACTOR(wide, struct wide, MANTA_LOCAL(std::atomic<int> *, counts))
{
    self->inside = counts;
    self->most = counts + 1;
    return MANTA_OK;
}
MANTA_METHOD(wide, enter, MANTA_LOCAL(Gate *, gate))
{
    int now = ++*self->inside, most = *self->most;
    while (now > most && !self->most->compare_exchange_weak(most, now)) {
    }
    if (gate) {
        gate->arrive();
        gate->pass();
    }
    --*self->inside;
    return MANTA_OK;
}
MANTA_METHOD(wide, side, MANTA_VAL(int, x), MANTA_OUT(int, y, 1))
{
    y[0] = x + 1;
    return MANTA_OK;
}
MANTA_METHOD_GROUP(wide, side, "side");
// Calls |to| and waits for that, once all of a round are there; what it waits for may do the same.
MANTA_METHOD(wide, waits_for, MANTA_VAL(wide_t, to), MANTA_LOCAL(Gate *, gate), MANTA_VAL(int, n),
             MANTA_VAL(int, depth))
{
    (void)self;
    if (gate) gate->arrive();
    if (gate && n) gate->await(n);
    wide_t back = {manta_actor_self(task)};
    manta_ref_t r = depth ? manta_ref_t(wide_waits_for(to, back, gate, n, depth - 1))
                          : manta_ref_t(wide_enter(to, nullptr));
    manta_view_t view = {};
    manta_status_t status = manta_get(r, &view, MANTA_FOREVER);
    return status == MANTA_OK ? MANTA_OK : manta_fail(task, status, "%s", manta_error_message());
}

MANTA_TASK(at_long, MANTA_VAL(long, x), MANTA_OUT(long, y, 1))
{
    y[0] = x;
    return MANTA_OK;
}
MANTA_TASK(at_fail, MANTA_OUT(long, y, 1))
{
    (void)y;
    return manta_fail(task, MANTA_ERR_USER + 4, "the producer failed");
}
// Calls in order, from a task; the last one's result is the task's.
MANTA_TASK(at_caller, MANTA_VAL(counter_t, c), MANTA_VAL(long, base), MANTA_VAL(int, n))
{
    for (int i = 0; i < n; i++) {
        manta_status_t status = counter_add_go(c, base + i);
        if (status != MANTA_OK) return status;
    }
    return MANTA_OK;
}
MANTA_TASK(at_makes, MANTA_VAL(int, life), MANTA_OUT(counter_t, made_here, 1))
{
    counter_t c =
        counter_create(MANTA_ACTOR_OPTIONS(.name = "of a task", .life = (manta_life_t)life), 3);
    made_here[0] = c;
    return manta_actor_status(c.actor);
}

static manta_status_t status_of(manta_ref_t ref)
{
    manta_view_t view = {};
    manta_status_t status = manta_get(ref, &view, MANTA_FOREVER);
    manta_view_release(&view);
    return status;
}

static manta_ref_t long_promise()
{
    return manta_promise_create(MANTA_DTYPE(MANTA_I64, 8));
}

static void fulfil(manta_ref_t promise, long value)
{
    EXPECT_OK(manta_promise_set(promise, &value, sizeof value));
}

static manta_actor_info_t info_of(manta_actor_t actor)
{
    manta_actor_info_t info = {};
    info.struct_size = sizeof info;
    EXPECT_OK(manta_actor_describe(actor, &info));
    return info;
}

class ActorTest : public RuntimeTest
{
  protected:
    void SetUp() override
    {
        RuntimeTest::SetUp();
        ended = made = 0;
    }
};
MANTA_TEST_WORKERS(ActorTest);

// ---- calls --------------------------------------------------------------------------------------

TEST_P(ActorTest, CallsRunInOrderAndGiveRefs)
{
    MANTA_SCOPE();
    counter_t c = counter_new(100);
    manta_ref_t last = {};
    for (int i = 1; i <= 500; i++)
        last = counter_add(c, i);
    EXPECT_EQ(100 + 500 * 501 / 2, value_of<long>(last));
    long x = 0;
    EXPECT_OK(counter_add_result(counter_add(c, 1), &x));
    EXPECT_EQ(100 + 500 * 501 / 2 + 1, x);
    EXPECT_EQ(1, made);
}

TEST_P(ActorTest, ResultsPassStraightOnToOtherActorsAndTasks)
{
    MANTA_SCOPE();
    counter_t a = counter_new(0), b = counter_new(1000);
    manta::ref<long> r = at_long_remote(5);
    for (int i = 0; i < 20; i++) {
        r = counter_add_ref(a, r);
        r = counter_add_ref(b, r);
    }
    long expected_a = 0, expected_b = 1000, v = 5;
    for (int i = 0; i < 20; i++) {
        v = expected_a += v;
        v = expected_b += v;
    }
    EXPECT_EQ(v, value_of<long>(r));
}

TEST_P(ActorTest, InOutAndSeveralResults)
{
    MANTA_SCOPE();
    counter_t c = counter_new(10);
    long xs[3] = {1, 2, 3};
    manta::ref<long> v = manta_put(xs, sizeof xs);
    counter_several_out_t r = counter_several(c, v);
    EXPECT_EQ((std::vector<long>{11, 12, 13}), values_of<long>(r.v));
    EXPECT_EQ((std::vector<long>{22, 24, 26}), values_of<long>(r.twice));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(v));
}

TEST_P(ActorTest, ManyCallersNothingLost)
{
    MANTA_SCOPE();
    counter_t c = counter_new(0);
    std::vector<manta_ref_t> done;
    for (int i = 0; i < 8; i++)
        done.push_back(at_caller_remote(c, 1, 200));
    std::thread outside([c] {
        for (int i = 0; i < 200; i++)
            EXPECT_OK(counter_add_go(c, 1));
    });
    for (manta_ref_t ref : done)
        EXPECT_OK(status_of(ref));
    outside.join();
    EXPECT_EQ(8 * 200 + 200 + 200 + 199 * 200 / 2 * 8 - 200, value_of<long>(counter_add(c, 0)));
}

TEST_P(ActorTest, WrongCallsSaySo)
{
    MANTA_SCOPE();
    other_t o = other_new();
    counter_t lie = {o.actor};
    EXPECT_STATUS(MANTA_ERR_TYPE_MISMATCH, status_of(counter_add(lie, 1)));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, counter_tick_go(counter_t{}));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, counter_tick_go(counter_t{{o.actor.id + 77777}}));
    manta_ref_t out;
    manta_task_desc_t desc = {sizeof desc, &counter_tick_task, nullptr, 0, nullptr};
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_submit(&desc, &out, 1));
    EXPECT_NE(nullptr, strstr(manta_error_message(), "counter_tick"));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT,
                  manta_actor_send(o.actor, &at_long_task, nullptr, &out, 8));
    int wrong = 3;
    manta::ref<int> w = manta_put(&wrong, sizeof wrong);
    manta_ref_t untyped = w;
    EXPECT_STATUS(MANTA_ERR_TYPE_MISMATCH, status_of(counter_add_ref(counter_new(0), untyped)));
    int x = 0;
    EXPECT_OK(other_get_result(other_get(o), &x));
    EXPECT_EQ(1, x);
}

TEST_P(ActorTest, AnOrdinaryErrorFailsOnlyThatCall)
{
    MANTA_SCOPE();
    counter_t c = counter_new(1);
    manta::ref<long> bad = counter_fails(c, MANTA_ERR_USER + 3);
    manta_ref_t dependent = counter_add_ref(c, bad);
    EXPECT_EQ(3, value_of<long>(counter_add(c, 2)));
    EXPECT_STATUS(MANTA_ERR_USER + 3, status_of(bad));
    EXPECT_STATUS(MANTA_ERR_USER + 3, status_of(dependent));
    EXPECT_NE(std::string::npos, printed_error(bad).find("as asked"));
    EXPECT_STATUS(MANTA_ERR_USER + 4, status_of(counter_add_ref(c, at_fail_remote())));
    EXPECT_EQ(3, value_of<long>(counter_add(c, 0)));
}

// ---- order --------------------------------------------------------------------------------------

TEST_P(ActorTest, AnUnreadyArgumentHoldsUpLaterCallsOfItsCallerOnly)
{
    MANTA_SCOPE();
    counter_t c = counter_new(0);
    manta::ref<long> p = long_promise();
    manta_ref_t first = counter_add_ref(c, p);
    manta_ref_t second = counter_add(c, 100);
    manta_ref_t third = counter_add_ref(c, at_long_remote(1000));
    std::thread other_caller([c] {
        MANTA_SCOPE();
        EXPECT_EQ(7, value_of<long>(counter_add(c, 7)));
    });
    other_caller.join();
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(first));
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(second));
    fulfil(p, 1);
    EXPECT_EQ(1108, value_of<long>(third));
    EXPECT_EQ(8, value_of<long>(first));
    EXPECT_EQ(108, value_of<long>(second));
}

TEST_P(ActorTest, OrderHoldsHoweverArgumentsBecomeReady)
{
    MANTA_SCOPE();
    counter_t c = counter_new(0);
    constexpr int kCalls = 30;
    std::vector<manta_ref_t> promises, results;
    for (int i = 0; i < kCalls; i++) {
        manta_ref_t p = i % 3 == 0 ? manta_ref_t(put1((long)i)) : long_promise();
        promises.push_back(p);
        results.push_back(counter_add_ref(c, p));
    }
    for (int i = kCalls - 1; i >= 0; i--) {
        if (i % 3) fulfil(promises[(size_t)i], i);
    }
    std::vector<long> log = values_of<long>(counter_read_log(c));
    for (int i = 0; i < kCalls; i++)
        EXPECT_EQ(i, log[(size_t)i]);
}

TEST_P(ActorTest, ACancelledCallHoldsNobodyUp)
{
    MANTA_SCOPE();
    counter_t c = counter_new(0);
    manta::ref<long> p = long_promise();
    manta_ref_t first = counter_add_ref(c, p);
    manta_ref_t second = counter_add(c, 100);
    EXPECT_OK(manta_cancel(first));
    EXPECT_EQ(100, value_of<long>(second));
    EXPECT_STATUS(MANTA_ERR_CANCELLED, status_of(first));
    manta::ref<long> q = long_promise();
    manta_ref_t fourth = counter_add_ref(c, q), fifth = counter_add(c, 1);
    EXPECT_OK(manta_promise_fail(q, MANTA_ERR_USER + 1, "never"));
    EXPECT_EQ(101, value_of<long>(fifth));
    EXPECT_STATUS(MANTA_ERR_USER + 1, status_of(fourth));
    fulfil(p, 5); // its call is long gone
}

TEST_P(ActorTest, OutOfOrderActorsRunWhatIsReady)
{
    MANTA_SCOPE();
    counter_t c = counter_create(MANTA_ACTOR_OPTIONS(.out_of_order = true), 0);
    manta::ref<long> p = long_promise();
    manta_ref_t first = counter_add_ref(c, p);
    EXPECT_EQ(100, value_of<long>(counter_add(c, 100)));
    fulfil(p, 1);
    EXPECT_EQ(101, value_of<long>(first));
}

// ---- waiting ------------------------------------------------------------------------------------

TEST_P(ActorTest, WaitingForItselfIsADeadlock)
{
    MANTA_SCOPE();
    counter_t c = counter_new(0);
    EXPECT_STATUS(MANTA_ERR_DEADLOCK, status_of(counter_of_self(c)));
    EXPECT_EQ(1, value_of<long>(counter_add(c, 0))); // the call itself was made
}

TEST_P(ActorTest, WaitingForItselfThroughAnotherActorIsADeadlock)
{
    MANTA_SCOPE();
    counter_t a = counter_new(0), b = counter_new(0);
    EXPECT_STATUS(MANTA_ERR_DEADLOCK, status_of(counter_of_other(a, b, a)));
    EXPECT_EQ(1, value_of<long>(counter_of_other(a, b, counter_t{})));
}

TEST_P(ActorTest, AWaiterRunsTheActorItself)
{
    MANTA_SCOPE();
    counter_t c = counter_new(0);
    for (int i = 1; i <= 200; i++)
        EXPECT_EQ(i, value_of<long>(counter_add(c, 1)));
}

// ---- life ---------------------------------------------------------------------------------------

TEST_P(ActorTest, EndsWithItsLastHandleAfterWhatWasCalled)
{
    MANTA_SCOPE();
    manta_ref_t last = {}, death;
    {
        counter_t c = counter_new(0);
        death = manta_actor_watch(c.actor);
        EXPECT_OK(manta_ref_status(death) == MANTA_NOT_READY ? MANTA_OK : manta_ref_status(death));
        counter_t again = {manta_actor_keep(manta_actor_retain(c.actor))};
        EXPECT_EQ(2u, info_of(c.actor).handles);
        for (int i = 0; i < 100; i++)
            last = counter_add(c, 1);
        EXPECT_OK(counter_destroy(again));
        EXPECT_OK(counter_destroy(c));
        EXPECT_STATUS(MANTA_ERR_STALE_REF, counter_tick_go(c));
    }
    EXPECT_EQ(100, value_of<long>(last));
    EXPECT_OK(status_of(death));
    EXPECT_EQ(1, ended);
}

TEST_P(ActorTest, HandlesGoWithTheirScope)
{
    manta_ref_t death;
    {
        MANTA_SCOPE();
        counter_t c = counter_new(0);
        death = manta_keep(manta_actor_watch(c.actor));
        EXPECT_OK(counter_tick_go(c));
    }
    EXPECT_OK(status_of(death));
    EXPECT_OK(manta_release(death));
    EXPECT_EQ(1, ended);
}

TEST_P(ActorTest, AFailedConstructorKillsWithItsCause)
{
    MANTA_SCOPE();
    counter_t c = counter_new(-1);
    manta_ref_t r = counter_add(c, 1);
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, status_of(r));
    manta_ref_t death = manta_actor_watch(c.actor);
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, status_of(death));
    EXPECT_NE(std::string::npos, printed_error(death).find("no counter from -1"));
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, manta_actor_status(c.actor));
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, counter_tick_go(c));
    EXPECT_EQ(0, ended);
}

TEST_P(ActorTest, AnErrorRefForTheConstructorIsAnErrorHandle)
{
    MANTA_SCOPE();
    manta_ref_t none = {};
    manta_ref_t error = at_long_with(MANTA_OPTIONS(.cpus = 1000), 1);
    holder_t h = holder_new(error);
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE, manta_actor_status(h.actor));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_actor_status(holder_new(none).actor));
    manta_ref_t failed = at_fail_remote(); // fails while the constructor waits for it
    holder_t later = holder_new(failed);
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, status_of(manta_actor_watch(later.actor)));
}

TEST_P(ActorTest, KillFailsWhatWaitsAtOnceAndTheDestructorWaitsForTheBody)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    Gate gate;
    counter_t c = counter_new(0);
    manta_ref_t running = counter_hold(c, &gate);
    gate.await(1);
    manta_ref_t queued = counter_add(c, 1);
    manta::ref<long> p = long_promise();
    manta_ref_t undelivered = counter_add_ref(c, p), behind = counter_add(c, 1);
    manta_ref_t death = manta_actor_watch(c.actor);
    EXPECT_OK(manta_actor_kill(c.actor, false));
    for (manta_ref_t ref : {running, queued, undelivered, behind})
        EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, manta_ref_status(ref));
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(death));
    EXPECT_EQ(0, ended);
    EXPECT_NE(std::string::npos, printed_error(queued).find("killed"));
    gate.open();
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, status_of(death));
    EXPECT_EQ(1, ended);
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, counter_tick_go(c));
    EXPECT_OK(manta_actor_kill(c.actor, false));
    fulfil(p, 1);
}

TEST_P(ActorTest, AnIdleActorDiesAtOnce)
{
    MANTA_SCOPE();
    counter_t c = counter_new(0);
    EXPECT_EQ(0, value_of<long>(counter_add(c, 0)));
    EXPECT_OK(manta_actor_kill(c.actor, true)); // no restarts left: dies
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, status_of(manta_actor_watch(c.actor)));
    EXPECT_EQ(1, ended);
}

TEST_P(ActorTest, StopRunsWhatWasAccepted)
{
    MANTA_SCOPE();
    counter_t c = counter_new(0);
    manta_ref_t last = {};
    for (int i = 0; i < 100; i++)
        last = counter_add(c, 1);
    EXPECT_OK(manta_actor_stop(c.actor, MANTA_FOREVER));
    EXPECT_EQ(1, ended);
    EXPECT_EQ(100, value_of<long>(last));
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, counter_tick_go(c));
    EXPECT_OK(manta_actor_stop(c.actor, MANTA_FOREVER));
    EXPECT_OK(status_of(manta_actor_watch(c.actor)));
}

TEST_P(ActorTest, StopWithADeadlineKillsWhatIsLeft)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    Gate gate;
    counter_t c = counter_new(0);
    manta_ref_t running = counter_hold(c, &gate), queued = counter_add(c, 1);
    gate.await(1);
    EXPECT_STATUS(MANTA_NOT_READY, manta_actor_stop(c.actor, 0));
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(queued));
    EXPECT_STATUS(MANTA_ERR_TIMEOUT, manta_actor_stop(c.actor, MANTA_MS(3)));
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, manta_ref_status(queued));
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, manta_ref_status(running));
    gate.open();
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, status_of(manta_actor_watch(c.actor)));
}

TEST_P(ActorTest, ChildrenEndWithTheActorThatMadeThem)
{
    MANTA_SCOPE();
    counter_t parent = counter_new(0);
    counter_t child = value_of<counter_t>(counter_makes(parent, MANTA_LIFE_CREATOR));
    manta_ref_t death = manta_actor_watch(child.actor);
    EXPECT_EQ(8, value_of<long>(counter_add(child, 1)));
    EXPECT_OK(manta_actor_stop(parent.actor, MANTA_FOREVER));
    EXPECT_OK(status_of(death));
    EXPECT_EQ(2, ended);
}

TEST_P(ActorTest, ActorsOfATaskEndWithIt)
{
    MANTA_SCOPE();
    counter_t c = value_of<counter_t>(at_makes_remote(MANTA_LIFE_CREATOR));
    counter_t gone = counter_find("of a task", nullptr);
    if (manta_actor_status(gone.actor) == MANTA_OK) {
        EXPECT_OK(status_of(manta_actor_watch(gone.actor)));
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(1, ended);
    EXPECT_STATUS(MANTA_ERR_STALE_REF,
                  manta_actor_status(c.actor) == MANTA_OK ? MANTA_OK : MANTA_ERR_STALE_REF);
    EXPECT_OK(at_makes_go(MANTA_LIFE_CREATOR));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(2, ended);
}

TEST_P(ActorTest, DetachedActorsLiveUntilTheyAreStopped)
{
    {
        MANTA_SCOPE();
        counter_t c =
            counter_create(MANTA_ACTOR_OPTIONS(.name = "detached", .life = MANTA_LIFE_DETACHED), 5);
        EXPECT_OK(counter_tick_go(c));
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(0, ended);
    MANTA_SCOPE();
    counter_t c = counter_find("detached", nullptr);
    EXPECT_EQ(6, value_of<long>(counter_add(c, 0)));
    EXPECT_OK(manta_actor_stop(c.actor, MANTA_FOREVER));
    EXPECT_STATUS(MANTA_ERR_NOT_FOUND, manta_actor_status(counter_find("detached", nullptr).actor));
}

TEST_P(ActorTest, ShutdownEndsActorsThatAreLeft)
{
    for (manta_shutdown_mode_t mode : {MANTA_SHUTDOWN_DRAIN, MANTA_SHUTDOWN_CANCEL}) {
        ended = 0;
        manta_runtime_options_t options;
        manta_runtime_options_init(&options);
        options.workers = workers();
        manta_runtime_t rt;
        ASSERT_OK(manta_runtime_create(&options, &rt));
        for (int i = 0; i < 20; i++) {
            counter_t c =
                counter_create(MANTA_ACTOR_OPTIONS(.runtime = rt, .life = MANTA_LIFE_DETACHED), 5);
            EXPECT_EQ(6, value_of<long>(counter_add(c, 1)));
            EXPECT_OK(counter_tick_go(c));
            if (i % 2) {
                EXPECT_OK(counter_destroy(c)); // the others are leaked
            }
        }
        EXPECT_OK(manta_runtime_shutdown(rt, mode, MANTA_S(50)));
        EXPECT_EQ(20, ended);
    }
}

// ---- names --------------------------------------------------------------------------------------

TEST_P(ActorTest, NamesAreFoundTakenAndFreedAgain)
{
    MANTA_SCOPE();
    counter_t c = counter_create(MANTA_ACTOR_OPTIONS(.name = "n", .name_space = "s"), 1);
    EXPECT_EQ(c.actor.id, counter_find("n", "s").actor.id);
    EXPECT_STATUS(MANTA_ERR_NOT_FOUND, manta_actor_status(counter_find("n", nullptr).actor));
    EXPECT_STATUS(MANTA_ERR_NOT_FOUND, manta_actor_status(counter_find("n", "t").actor));
    EXPECT_STATUS(MANTA_ERR_TYPE_MISMATCH, manta_actor_status(other_find("n", "s").actor));
    counter_t second = counter_create(MANTA_ACTOR_OPTIONS(.name = "n", .name_space = "s"), 1);
    EXPECT_STATUS(MANTA_ERR_ALREADY_EXISTS, manta_actor_status(second.actor));
    EXPECT_STATUS(MANTA_ERR_ALREADY_EXISTS, status_of(counter_add(second, 1)));
    manta_actor_info_t infos[2] = {};
    infos[0].struct_size = infos[1].struct_size = sizeof infos[0];
    EXPECT_EQ(1u, manta_actor_list({0}, "s", infos, 2));
    EXPECT_STREQ("n", infos[0].name);
    EXPECT_STREQ("counter", infos[0].kind);
    EXPECT_EQ(c.actor.id, infos[0].actor.id);
    EXPECT_OK(manta_actor_kill(c.actor, false));
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, status_of(manta_actor_watch(c.actor)));
    EXPECT_STATUS(MANTA_ERR_NOT_FOUND, manta_actor_status(counter_find("n", "s").actor));
    counter_t third = counter_create(MANTA_ACTOR_OPTIONS(.name = "n", .name_space = "s"), 5);
    EXPECT_EQ(5, value_of<long>(counter_add(third, 0)));
}

TEST_P(ActorTest, GetOrCreateMakesOne)
{
    std::vector<std::thread> threads;
    std::atomic<uint64_t> ids[6] = {};
    manta_ref_t hold;
    {
        MANTA_SCOPE();
        counter_t mine =
            counter_create(MANTA_ACTOR_OPTIONS(.name = "one", .get_or_create = true), 0);
        for (auto &id : ids) {
            threads.emplace_back([&id] {
                MANTA_SCOPE();
                counter_t c =
                    counter_create(MANTA_ACTOR_OPTIONS(.name = "one", .get_or_create = true), 0);
                id = c.actor.id;
                EXPECT_OK(counter_tick_go(c));
            });
        }
        for (std::thread &thread : threads)
            thread.join();
        for (auto &id : ids)
            EXPECT_EQ(mine.actor.id, id.load());
        EXPECT_EQ(6, value_of<long>(counter_add(mine, 0)));
        hold = manta_keep(manta_actor_watch(mine.actor));
    }
    EXPECT_OK(status_of(hold));
    EXPECT_OK(manta_release(hold));
    EXPECT_EQ(1, made);
}

// ---- failure and restart --------------------------------------------------------------------------

TEST_P(ActorTest, FatalKillsTheActor)
{
    MANTA_SCOPE();
    counter_t c = counter_new(0);
    manta_ref_t r = counter_fails(c, MANTA_ACTOR_FATAL), next = counter_add(c, 1);
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, status_of(r));
    EXPECT_NE(std::string::npos, printed_error(r).find("as asked"));
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, status_of(next));
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, status_of(manta_actor_watch(c.actor)));
    EXPECT_EQ(1, ended);
}

TEST_P(ActorTest, RestartsWithTheSameArguments)
{
    MANTA_SCOPE();
    counter_t c = counter_create(MANTA_ACTOR_OPTIONS(.max_restarts = 2), 40);
    EXPECT_EQ(41, value_of<long>(counter_add(c, 1)));
    for (int i = 0; i < 2; i++) {
        manta_ref_t r = counter_fails(c, MANTA_ACTOR_FATAL);
        EXPECT_STATUS(MANTA_ERR_ACTOR_RESTARTING, status_of(r));
        long x = 0;
        manta_status_t status;
        do { // refused until it is up again
            MANTA_SCOPE();
            status = manta_read(counter_add(c, 2), &x, sizeof x, MANTA_FOREVER);
        } while (status == MANTA_ERR_ACTOR_RESTARTING && manta_drain(MANTA_FOREVER) == MANTA_OK);
        EXPECT_OK(status);
        EXPECT_EQ(42, x);
        EXPECT_EQ((unsigned)i + 1, info_of(c.actor).restarts);
    }
    EXPECT_EQ(3, made);
    EXPECT_EQ(2, ended);
    manta_ref_t r = counter_fails(c, MANTA_ACTOR_FATAL);
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, status_of(r));
}

TEST_P(ActorTest, CallsWithRetriesAreRunAgainInOrder)
{
    MANTA_SCOPE();
    counter_t c = counter_create(
        MANTA_ACTOR_OPTIONS(.max_restarts = MANTA_UNLIMITED, .max_task_retries = 3), 10);
    int tried = 0;
    manta_ref_t flaky = counter_flaky(c, 2, &tried);
    manta_ref_t after = counter_add(c, 100);
    EXPECT_EQ(11, value_of<long>(flaky));
    EXPECT_EQ(111, value_of<long>(after));
    EXPECT_EQ(3, tried);
    EXPECT_EQ(3, made);
    tried = -100; // more often than it may be tried
    manta_ref_t hopeless = counter_flaky(c, 1000, &tried);
    EXPECT_STATUS(MANTA_ERR_ACTOR_RESTARTING, status_of(hopeless));
    EXPECT_EQ(-96, tried);
}

TEST_P(ActorTest, KillWithRestartKeepsCallsThatMayBeRetried)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    Gate gate;
    counter_t c = counter_create(MANTA_ACTOR_OPTIONS(.max_restarts = 1, .max_task_retries = 1), 10);
    manta_ref_t running = counter_hold(c, &gate), queued = counter_add(c, 1);
    gate.await(1);
    EXPECT_OK(manta_actor_kill(c.actor, true));
    EXPECT_STATUS(MANTA_ERR_ACTOR_RESTARTING, manta_actor_status(c.actor));
    manta_ref_t late = counter_add(c, 5);
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(queued));
    gate.open();
    EXPECT_EQ(11, value_of<long>(queued));
    EXPECT_EQ(16, value_of<long>(late));
    EXPECT_OK(status_of(running));
    EXPECT_EQ(1, ended);
}

// ---- concurrency --------------------------------------------------------------------------------

TEST_P(ActorTest, AtMostMaxConcurrencyMethodsRun)
{
    MANTA_SCOPE();
    std::atomic<int> counts[2] = {};
    wide_t w = wide_create(MANTA_ACTOR_OPTIONS(.max_concurrency = 3), counts);
    std::vector<manta_ref_t> refs;
    for (int i = 0; i < 200; i++)
        refs.push_back(wide_enter(w, nullptr));
    for (manta_ref_t ref : refs)
        EXPECT_OK(status_of(ref));
    EXPECT_LE(counts[1], 3);
    EXPECT_EQ(0, counts[0]);
}

TEST_P(ActorTest, GroupsDoNotHoldEachOtherUp)
{
    if (workers() < 2) GTEST_SKIP() << "two methods that run at a time need two workers";
    MANTA_SCOPE();
    Gate gate;
    std::atomic<int> counts[2] = {};
    manta_actor_group_t groups[] = {{"side", 1}};
    wide_t w = wide_create(MANTA_ACTOR_OPTIONS(.groups = groups, .group_count = 1), counts);
    manta_ref_t held = wide_enter(w, &gate), behind = wide_enter(w, nullptr);
    gate.await(1);
    EXPECT_EQ(6, value_of<int>(wide_side(w, 5)));
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(behind));
    gate.open();
    EXPECT_OK(status_of(behind));
    EXPECT_OK(status_of(held));
    EXPECT_EQ(1, counts[1]);
    manta_actor_group_t others[] = {{"elsewhere", 1}};
    wide_t x = wide_create(MANTA_ACTOR_OPTIONS(.groups = others, .group_count = 1), counts);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, status_of(wide_side(x, 5)));
}

// How |n| calls of |to| end that wait for calls of |other|: OK, or as a deadlock.
static std::pair<int, int> ends_of(wide_t to, wide_t other, Gate *gate, int n, int depth)
{
    std::vector<manta_ref_t> refs;
    std::pair<int, int> ends;
    for (int i = 0; i < n; i++)
        refs.push_back(wide_waits_for(to, other, gate, gate ? n : 0, depth));
    for (manta_ref_t ref : refs) {
        manta_status_t status = status_of(ref);
        EXPECT_TRUE(status == MANTA_OK || status == MANTA_ERR_DEADLOCK) << printed_error(ref);
        (status == MANTA_OK ? ends.first : ends.second)++;
    }
    return ends;
}

TEST_P(ActorTest, AGroupThatWaitsForItselfIsADeadlock)
{
    for (int limit : {1, 2, 4}) {
        MANTA_SCOPE();
        std::atomic<int> counts[2] = {};
        wide_t w = wide_create(MANTA_ACTOR_OPTIONS(.max_concurrency = limit), counts);
        Gate gate; // all of them run before the first one waits
        std::pair<int, int> ends = ends_of(w, w, workers() >= limit ? &gate : nullptr, limit, 0);
        if (is_serial() || workers() >= limit) {
            EXPECT_LE(1, ends.second) << limit;
        }
        EXPECT_OK(status_of(wide_enter(w, nullptr))); // and it goes on
        EXPECT_OK(manta_drain(MANTA_FOREVER));        // those that nobody waited for
    }
}

TEST_P(ActorTest, ManyMoreCallsThanPlacesThatWaitForItselfEnd)
{
    for (int limit : {1, 2, 3}) {
        MANTA_SCOPE();
        std::atomic<int> counts[2] = {};
        wide_t w = wide_create(MANTA_ACTOR_OPTIONS(.max_concurrency = limit), counts);
        std::pair<int, int> ends = ends_of(w, w, nullptr, 40, 0);
        EXPECT_EQ(40, ends.first + ends.second);
        EXPECT_OK(status_of(wide_enter(w, nullptr)));
        EXPECT_OK(manta_drain(MANTA_FOREVER));
    }
}

TEST_P(ActorTest, TwoGroupsThatWaitForEachOtherAreADeadlock)
{
    for (int limit : {1, 2, 3}) {
        for (int depth : {1, 2}) {
            MANTA_SCOPE();
            std::atomic<int> counts[4] = {};
            wide_t a = wide_create(MANTA_ACTOR_OPTIONS(.max_concurrency = limit), counts);
            wide_t b = wide_create(MANTA_ACTOR_OPTIONS(.max_concurrency = limit), counts + 2);
            std::vector<manta_ref_t> refs;
            for (int i = 0; i < 2 * limit; i++) {
                refs.push_back(wide_waits_for(a, b, nullptr, 0, depth));
                refs.push_back(wide_waits_for(b, a, nullptr, 0, depth));
            }
            for (manta_ref_t ref : refs) {
                manta_status_t status = status_of(ref);
                EXPECT_TRUE(status == MANTA_OK || status == MANTA_ERR_DEADLOCK)
                    << printed_error(ref);
            }
            EXPECT_OK(status_of(wide_enter(a, nullptr)));
            EXPECT_OK(status_of(wide_enter(b, nullptr)));
            EXPECT_OK(manta_drain(MANTA_FOREVER));
        }
    }
}

TEST_P(ActorTest, AGroupWithOneThatDoesNotWaitIsNone)
{
    if (workers() < 2) GTEST_SKIP() << "a held body holds everything";
    MANTA_SCOPE();
    std::atomic<int> counts[2] = {};
    wide_t w = wide_create(MANTA_ACTOR_OPTIONS(.max_concurrency = 3), counts);
    for (int round = 0; round < 20; round++) {
        Gate hold, here;
        manta_ref_t held = wide_enter(w, &hold);
        hold.await(1);
        std::vector<manta_ref_t> refs;
        for (int i = 0; i < 2; i++)
            refs.push_back(wide_waits_for(w, w, &here, 0, 0));
        here.await(2); // both run and are about to wait, or do
        hold.open();
        for (manta_ref_t ref : refs)
            EXPECT_OK(status_of(ref)) << printed_error(ref);
        EXPECT_OK(status_of(held));
    }
}

TEST_P(ActorTest, KillingAConcurrentActorWaitsForItsBodies)
{
    if (workers() < 2) GTEST_SKIP() << "two methods that run at a time need two workers";
    MANTA_SCOPE();
    Gate gate;
    std::atomic<int> counts[2] = {};
    wide_t w = wide_create(MANTA_ACTOR_OPTIONS(.max_concurrency = 2), counts);
    std::vector<manta_ref_t> refs;
    for (int i = 0; i < 10; i++)
        refs.push_back(wide_enter(w, &gate));
    gate.await(2);
    manta_ref_t death = manta_actor_watch(w.actor);
    EXPECT_OK(manta_actor_kill(w.actor, false));
    for (manta_ref_t ref : refs)
        EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, status_of(ref));
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(death));
    gate.open();
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, status_of(death));
    EXPECT_EQ(0, counts[0]);
}

TEST_P(ActorTest, MaxPendingRefusesMore)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    Gate gate;
    counter_t c = counter_create(MANTA_ACTOR_OPTIONS(.max_pending = 2), 0);
    manta_ref_t running = counter_hold(c, &gate);
    gate.await(1);
    manta_ref_t one = counter_add(c, 1), two = counter_add(c, 1), three = counter_add(c, 1);
    EXPECT_STATUS(MANTA_ERR_ACTOR_BUSY, status_of(three));
    EXPECT_STATUS(MANTA_ERR_ACTOR_BUSY, counter_tick_go(c));
    gate.open();
    EXPECT_OK(status_of(running));
    EXPECT_EQ(2, value_of<long>(two));
    EXPECT_EQ(1, value_of<long>(one));
    for (int i = 0; i < 50; i++)
        EXPECT_EQ(3 + i, value_of<long>(counter_add(c, 1)));
}

TEST_P(ActorTest, ADeferredMethodCompletesLater)
{
    MANTA_SCOPE();
    counter_t c = counter_new(0);
    manta_ref_t promise = {}, result = counter_later(c, &promise);
    EXPECT_EQ(3, value_of<long>(counter_add(c, 3))); // it runs on meanwhile
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(result));
    std::thread finisher([promise] {
        fulfil(promise, 77);
        EXPECT_OK(manta_release(promise));
    });
    EXPECT_EQ(77, value_of<long>(result));
    finisher.join();
}

TEST_P(ActorTest, DeferredCallsFailWithTheirActor)
{
    MANTA_SCOPE();
    for (bool restart : {false, true}) {
        counter_t c = counter_create(MANTA_ACTOR_OPTIONS(.max_restarts = 1), 0);
        std::vector<manta_ref_t> promises(40), results;
        for (manta_ref_t &promise : promises)
            results.push_back(counter_later(c, &promise));
        EXPECT_EQ(3, value_of<long>(counter_add(c, 3)));
        for (size_t i = 0; i < 20; i++) { // these were in time
            fulfil(promises[i], (long)i);
            EXPECT_EQ((long)i, value_of<long>(results[i]));
        }
        EXPECT_OK(manta_actor_kill(c.actor, restart));
        for (size_t i = 20; i < 40; i++)
            EXPECT_STATUS(restart ? MANTA_ERR_ACTOR_RESTARTING : MANTA_ERR_ACTOR_DIED,
                          status_of(results[i]));
        for (size_t i = 0; i < 40; i++) {
            if (i >= 20) fulfil(promises[i], 0); // is dropped
            EXPECT_OK(manta_release(promises[i]));
        }
    }
}

TEST_P(ActorTest, AStoppedActorLeavesDeferredCallsToTheirPromises)
{
    MANTA_SCOPE();
    counter_t c = counter_new(0);
    manta_ref_t promise = {}, result = counter_later(c, &promise);
    EXPECT_OK(manta_actor_stop(c.actor, MANTA_FOREVER));
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(result));
    fulfil(promise, 5);
    EXPECT_OK(manta_release(promise));
    EXPECT_EQ(5, value_of<long>(result));
}

// A handle in a value is a copy without a count: it works as long as somebody holds one, then is refused.
TEST_P(ActorTest, HandlesByValueAreRefusedWhenTheActorIsGone)
{
    MANTA_SCOPE();
    counter_t a = counter_new(0), b = counter_new(0);
    EXPECT_EQ(1, value_of<long>(counter_of_other(a, b, counter_t{})));
    counter_t copy = b;
    manta_ref_t end = manta_actor_watch(b.actor);
    EXPECT_OK(counter_destroy(b));
    EXPECT_OK(status_of(end));
    manta_status_t status = status_of(counter_of_other(a, copy, counter_t{}));
    EXPECT_TRUE(status == MANTA_ERR_STALE_REF || status == MANTA_ERR_ACTOR_DIED) << status;
}

// ---- rules --------------------------------------------------------------------------------------

TEST_P(ActorTest, DeadlinesOfCalls)
{
    MANTA_SCOPE();
    counter_t c = counter_new(0);
    manta::ref<long> never = long_promise();
    manta_ref_t late = counter_add_ref_with(c, MANTA_OPTIONS(.deadline_ns = MANTA_MS(1)), never);
    manta_ref_t behind = counter_add(c, 5);
    // What holds its caller up goes with its deadline.
    EXPECT_EQ(5, value_of<long>(behind));
    EXPECT_STATUS(MANTA_ERR_DEADLINE, status_of(late));
    EXPECT_EQ(6,
              value_of<long>(counter_add_with(c, MANTA_OPTIONS(.deadline_ns = MANTA_S(100)), 1)));
    fulfil(never, 1);
}

TEST_P(ActorTest, RefsAreListedWhileCallsWait)
{
    MANTA_SCOPE();
    counter_t c = counter_new(0);
    manta::ref<long> never = long_promise();
    manta_ref_t open = counter_add_ref(c, never), behind = counter_add(c, 5);
    manta_ref_t failed = counter_add_ref_with(c, MANTA_OPTIONS(.deadline_ns = 1), never);
    EXPECT_STATUS(MANTA_ERR_DEADLINE, status_of(failed));
    EXPECT_NE(std::string::npos, printed_refs(runtime_).find("of counter_add_ref"));
    fulfil(never, 1);
    EXPECT_EQ(1, value_of<long>(open));
    EXPECT_EQ(6, value_of<long>(behind));
}

TEST_P(ActorTest, ThreadsThatDidNothingElseMayAskWhatLives)
{
    MANTA_SCOPE();
    counter_t c = counter_new(0);
    EXPECT_EQ(1, value_of<long>(counter_add(c, 1)));
    std::thread([&] { EXPECT_EQ(2u, stats_of(runtime_).live_refs); }).join();
    std::thread([&] {
        EXPECT_NE(std::string::npos, printed_refs(runtime_).find("actor counter: alive"));
    }).join();
}

TEST_P(ActorTest, ADeadlineMayPassWhileACallIsSubmitted)
{
    counter_t c = counter_new(0);
    manta::ref<long> never = long_promise();
    for (int i = 0; i < 3000; i++) {
        MANTA_SCOPE();
        manta_ref_t late = counter_add_ref_with(c, MANTA_OPTIONS(.deadline_ns = 1 + i), never);
        EXPECT_EQ(i + 1, value_of<long>(counter_add(c, 1)));
        EXPECT_STATUS(MANTA_ERR_DEADLINE, status_of(late));
    }
    fulfil(never, 1);
    EXPECT_OK(manta_release(never));
    EXPECT_OK(counter_destroy(c));
}

TEST_P(ActorTest, WhatAnActorDecidesACallCannotAskFor)
{
    MANTA_SCOPE();
    counter_t c = counter_new(0);
    EXPECT_STATUS(MANTA_ERR_NOT_SUPPORTED,
                  status_of(counter_add_with(c, MANTA_OPTIONS(.cpus = 0.5), 1)));
    EXPECT_STATUS(MANTA_ERR_NOT_SUPPORTED,
                  status_of(counter_add_with(c, MANTA_OPTIONS(.max_retries = 2), 1)));
    EXPECT_STATUS(MANTA_ERR_NOT_SUPPORTED,
                  status_of(counter_add_with(c, MANTA_OPTIONS(.host_bytes = 64), 1)));
    EXPECT_EQ(1, value_of<long>(counter_add(c, 1)));
}

// ---- what else ------------------------------------------------------------------------------------

TEST_P(ActorTest, CallsAreTasksInStatsAndDrain)
{
    MANTA_SCOPE();
    counter_t c = counter_new(0);
    for (int i = 0; i < 100; i++)
        EXPECT_OK(counter_tick_go(c));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    manta_stats_t stats = stats_of(runtime_);
    EXPECT_EQ(101u, stats.completed);
    EXPECT_EQ(101u, stats.submitted);
    EXPECT_EQ(1u, stats.live_refs);
    std::string refs = printed_refs(runtime_);
    EXPECT_NE(std::string::npos, refs.find("actor counter: alive, 1 handles, 0 calls pending"));
    EXPECT_EQ(101u, info_of(c.actor).completed);
}

TEST_P(ActorTest, IdleActorsAreSmall)
{
    constexpr size_t kActors = kSanitized ? 2000 : 100000;
    MANTA_SCOPE();
    std::vector<other_t> actors;
    manta_stats_t before = stats_of(runtime_);
    for (size_t i = 0; i < kActors; i++)
        actors.push_back(other_new());
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    manta_stats_t after = stats_of(runtime_);
    uint64_t heap = (after.live_bytes - before.live_bytes) / kActors;
    EXPECT_LE(heap + 192, 512 + sizeof(struct other)) << "bytes per idle actor";
    EXPECT_EQ(before.threads, after.threads);
    int x = 0;
    EXPECT_OK(other_get_result(other_get(actors[kActors / 2]), &x));
    EXPECT_EQ(1, x);
}

struct where_state {
    int unused;
};
MANTA_ACTOR(where, where_state)
{
    return self->unused ? MANTA_ERR_USER : MANTA_OK;
}
MANTA_METHOD(where, am_i, MANTA_OUT(int, worker, 1))
{
    (void)self;
    worker[0] = manta_task_worker(task);
    return MANTA_OK;
}

TEST_P(ActorTest, PinnedActorsRunOnTheirWorker)
{
    MANTA_SCOPE();
    if (is_serial()) {
        int worker = 7;
        where_t w = where_create(MANTA_ACTOR_OPTIONS(.pin = manta_pin_core(3)));
        EXPECT_OK(where_am_i_result(where_am_i(w), &worker)); // there is but one thread
        return;
    }
    for (int core = 0; core < workers(); core++) {
        where_t w = where_create(MANTA_ACTOR_OPTIONS(.pin = manta_pin_core(core)));
        for (int i = 0; i < 100; i++) {
            int worker = -1;
            EXPECT_OK(where_am_i_result(where_am_i(w), &worker));
            EXPECT_EQ(core, worker);
        }
    }
    where_t on_node = where_create(MANTA_ACTOR_OPTIONS(.pin = manta_pin_node(0)));
    for (int i = 0; i < 100; i++) {
        int worker = -1;
        EXPECT_OK(where_am_i_result(where_am_i(on_node), &worker));
        EXPECT_LE(0, worker);
    }
    where_t none = where_create(MANTA_ACTOR_OPTIONS(.pin = manta_pin_core(workers())));
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE, manta_actor_status(none.actor));
    EXPECT_NE(nullptr, strstr(manta_error_message(), "actor where asks for worker"));
    none = where_create(MANTA_ACTOR_OPTIONS(.pin = manta_pin_node(77)));
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE, manta_actor_status(none.actor));
}

TEST_P(ActorTest, DevicesAreRefusedWhileThereAreNone)
{
    MANTA_SCOPE();
    counter_t c = counter_create(MANTA_ACTOR_OPTIONS(.device = manta_gpu(1)), 0);
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE, manta_actor_status(c.actor));
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE, status_of(counter_add(c, 1)));
}
