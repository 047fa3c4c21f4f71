// Deadlines, run timeouts, attempts and back-off, on a clock that the test moves.
#include "unit/internals.h"

#include "support/runtime_fixture.h"

#include <algorithm>
#include <ctime>
#include <random>
#include <thread>

using namespace manta_testing;

namespace
{

std::atomic<int64_t> jumped{0};

extern "C" int64_t jumping_clock(void)
{
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec + jumped.load();
}

constexpr int64_t kHour = MANTA_S(3600);

} // namespace

class TimeTest : public RuntimeTest
{
  protected:
    void SetUp() override
    {
        __atomic_store_n(&mti_clock_hook, &jumping_clock, __ATOMIC_RELEASE);
        RuntimeTest::SetUp();
    }
    void TearDown() override
    {
        RuntimeTest::TearDown();
        __atomic_store_n(&mti_clock_hook, (int64_t(*)(void)) nullptr, __ATOMIC_RELEASE);
    }
    void jump(int64_t ns) { jumped += ns; }
    static manta_status_t status_of(manta_ref_t ref)
    {
        manta_view_t view = {};
        manta_status_t status = manta_get(ref, &view, MANTA_FOREVER);
        manta_view_release(&view);
        return status;
    }
    manta_ref_t promise() { return manta_promise_create(MANTA_DTYPE(MANTA_I32, 4)); }
    void set(manta_ref_t promise)
    {
        int one = 1;
        EXPECT_OK(manta_promise_set(promise, &one, sizeof one));
    }
};
MANTA_TEST_WORKERS(TimeTest);

struct trial {
    Gate gate;
    std::atomic<int> ran{0}, told{0}, fails{0};
    std::atomic<int> last_attempt{-1};
    int code = MANTA_ERR_USER + 1;
    manta_ref_t ref = {0};
};

MANTA_TASK(ti_copy, MANTA_LOCAL(trial *, t), MANTA_IN(int, x), MANTA_OUT(int, y, 1))
{
    t->ran++;
    y[0] = x[0] + 1;
    return MANTA_OK;
}

MANTA_TASK(ti_hold, MANTA_LOCAL(trial *, t), MANTA_OUT(int, y, 1), MANTA_OUT(char, big, 5000))
{
    t->gate.arrive();
    t->gate.pass();
    y[0] = big[4999] = 7;
    t->told += manta_cancelled(task);
    return MANTA_OK;
}

// Fails |fails| times with |code|.
MANTA_TASK(ti_try, MANTA_LOCAL(trial *, t), MANTA_OUT(int, y, 1))
{
    t->ran++;
    t->last_attempt = manta_attempt(task);
    y[0] = t->ran;
    if (t->fails.fetch_sub(1) > 0) return manta_fail(task, t->code, "try %d", t->ran.load());
    return MANTA_OK;
}

MANTA_TASK(ti_update, MANTA_LOCAL(trial *, t), MANTA_INOUT(int, x))
{
    t->ran++;
    for (size_t i = 0; i < x.count; i++)
        x[i]++;
    return t->fails.fetch_sub(1) > 0 ? t->code : (manta_status_t)MANTA_OK;
}

// Runs until it is told to.
MANTA_TASK(ti_loop, MANTA_LOCAL(trial *, t), MANTA_OUT(int, y, 1))
{
    y[0] = 1;
    t->ran++;
    t->gate.arrive();
    while (!manta_cancelled(task))
        std::this_thread::yield();
    t->told++;
    return MANTA_OK;
}

MANTA_TASK(ti_wait, MANTA_LOCAL(trial *, t), MANTA_OUT(int, y, 1))
{
    (void)y;
    t->gate.arrive();
    manta_view_t view;
    manta_status_t status = manta_get(t->ref, &view, MANTA_FOREVER);
    t->told += status == MANTA_ERR_WAIT_CANCELLED;
    return status;
}

MANTA_TASK(ti_forward, MANTA_LOCAL(trial *, t), MANTA_OUT(int, y, 1))
{
    (void)y;
    t->ran++;
    return manta_forward(task, t->ref);
}

MANTA_TASK(ti_range, MANTA_LOCAL(trial *, t))
{
    t->ran++;
    if (manta_task_index(task) == 3 && t->fails.fetch_sub(1) > 0) return t->code;
    return MANTA_OK;
}

TEST_P(TimeTest, ADeadlinePassesInTheQueue)
{
    MANTA_SCOPE();
    trial t;
    manta_ref_t p = promise();
    auto x = ti_copy_with(MANTA_OPTIONS(.deadline_ns = kHour), &t, p);
    auto y = ti_copy_remote(&t, x);
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(x));
    jump(kHour / 2);
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(x));
    jump(kHour);
    EXPECT_STATUS(MANTA_ERR_DEADLINE, status_of(x));
    EXPECT_STATUS(MANTA_ERR_DEADLINE, status_of(y));
    EXPECT_NE(std::string::npos, printed_error(y).find("deadline")) << printed_error(y);
    set(p);
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(0, t.ran.load());
}

TEST_P(TimeTest, ADeadlineThatIsMetDoesNothing)
{
    trial t;
    for (int i = 0; i < 200; i++) {
        MANTA_SCOPE();
        auto x =
            ti_copy_with(MANTA_OPTIONS(.deadline_ns = kHour, .run_timeout_ns = kHour), &t, put1(i));
        EXPECT_EQ(i + 1, value_of<int>(x));
        if (i % 50 == 0) jump(2 * kHour);
        EXPECT_OK(manta_ref_status(x));
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(0u, stats_of(runtime_).live_bytes);
}

TEST_P(TimeTest, ADeadlinePassesWhileItRuns)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    trial t;
    auto out = ti_hold_with(MANTA_OPTIONS(.deadline_ns = kHour, .max_retries = 3), &t);
    t.gate.await(1);
    jump(2 * kHour);
    EXPECT_STATUS(MANTA_ERR_DEADLINE, status_of(out.y)) << "at once";
    EXPECT_STATUS(MANTA_ERR_DEADLINE, status_of(out.big));
    t.gate.open();
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(1, t.told.load());
    EXPECT_EQ(1, t.gate.arrived()) << "no further attempt";
}

TEST_P(TimeTest, ADeadlineEndsAWait)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    trial t;
    t.ref = promise();
    auto x = ti_wait_with(MANTA_OPTIONS(.deadline_ns = kHour), &t);
    t.gate.await(1);
    jump(2 * kHour);
    EXPECT_STATUS(MANTA_ERR_DEADLINE, status_of(x));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(1, t.told.load());
}

TEST_P(TimeTest, ADeadlineCountsForWhatWasForwarded)
{
    MANTA_SCOPE();
    trial t;
    t.ref = promise();
    auto x = ti_forward_with(MANTA_OPTIONS(.deadline_ns = kHour), &t);
    auto z = ti_forward_with(MANTA_OPTIONS(.deadline_ns = 9 * kHour), &t);
    manta_ref_t both[] = {x, z};
    EXPECT_STATUS(MANTA_NOT_READY, manta_wait(both, 2, 1, MANTA_MS(1), nullptr, nullptr));
    if (!is_serial()) {
        while (t.ran.load() < 2)
            std::this_thread::yield();
    }
    jump(2 * kHour);
    EXPECT_STATUS(MANTA_ERR_DEADLINE, status_of(x));
    set(t.ref);
    EXPECT_OK(status_of(z));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
}

TEST_P(TimeTest, ADeadlineWithoutAnybodyWhoHoldsTheResult)
{
    trial t;
    manta_ref_t p = promise(), x = ti_copy_with(MANTA_OPTIONS(.deadline_ns = kHour), &t, p);
    EXPECT_OK(manta_release(x));
    auto y = ti_copy_with(MANTA_OPTIONS(.deadline_ns = 2 * kHour), &t, p);
    jump(3 * kHour);
    EXPECT_STATUS(MANTA_ERR_DEADLINE, status_of(y));
    set(p);
    EXPECT_OK(manta_release(p));
    EXPECT_OK(manta_release(y));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(0, t.ran.load());
}

TEST_P(TimeTest, ManyDeadlinesInAnyOrder)
{
    std::mt19937 random(5);
    trial t;
    manta_ref_t p = promise();
    std::vector<std::pair<int, manta_ref_t>> refs;
    for (int i = 0; i < 500; i++) {
        int hours = 1 + (int)(random() % 100);
        refs.emplace_back(hours, ti_copy_with(MANTA_OPTIONS(.deadline_ns = hours * kHour), &t, p));
    }
    std::shuffle(refs.begin(), refs.end(), random);
    for (size_t i = 0; i < 100; i++)
        EXPECT_OK(manta_cancel(refs[i].second));
    jump(50 * kHour + kHour / 2);
    for (size_t i = 0; i < refs.size(); i++) {
        if (i < 100) {
            EXPECT_STATUS(MANTA_ERR_CANCELLED, status_of(refs[i].second));
        } else if (refs[i].first <= 50) {
            EXPECT_STATUS(MANTA_ERR_DEADLINE, status_of(refs[i].second));
        }
    }
    set(p);
    for (size_t i = 100; i < refs.size(); i++) {
        if (refs[i].first > 50) {
            EXPECT_OK(status_of(refs[i].second));
        }
    }
    for (auto &ref : refs)
        EXPECT_OK(manta_release(ref.second));
    EXPECT_OK(manta_release(p));
}

TEST_P(TimeTest, ARunThatTakesTooLong)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    trial t;
    auto x = ti_loop_with(MANTA_OPTIONS(.run_timeout_ns = kHour), &t);
    t.gate.await(1);
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(x));
    jump(2 * kHour);
    EXPECT_STATUS(MANTA_ERR_TIMEOUT, status_of(x));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(1, t.told.load());
}

TEST_P(TimeTest, TheNextAttemptStartsWhenTheBodyHasReturned)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    trial t;
    auto x = ti_loop_with(MANTA_OPTIONS(.run_timeout_ns = kHour, .max_retries = 2), &t);
    for (int attempt = 1; attempt <= 3; attempt++) {
        t.gate.await(attempt);
        EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(x));
        jump(2 * kHour);
    }
    EXPECT_STATUS(MANTA_ERR_TIMEOUT, status_of(x));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(3, t.told.load());
    EXPECT_EQ(3, t.ran.load());
}

TEST_P(TimeTest, AFailedBodyIsRunAgain)
{
    MANTA_SCOPE();
    trial t;
    t.fails = 3;
    auto x = ti_try_with(MANTA_OPTIONS(.max_retries = 3), &t);
    EXPECT_EQ(4, value_of<int>(x));
    EXPECT_EQ(3, t.last_attempt.load());
    trial u;
    u.fails = 100;
    auto y = ti_try_with(MANTA_OPTIONS(.max_retries = 3), &u);
    EXPECT_STATUS(MANTA_ERR_USER + 1, status_of(y));
    EXPECT_EQ(4, u.ran.load());
    const manta_error_t *error = manta_ref_error(y);
    EXPECT_EQ(3, manta_error_attempt(error));
    EXPECT_STREQ("try 4", manta_error_text(error));
    ASSERT_NE(nullptr, manta_error_cause(error)) << "how it began";
    EXPECT_EQ(0, manta_error_attempt(manta_error_cause(error)));
    EXPECT_STREQ("try 1", manta_error_text(manta_error_cause(error)));
    manta_error_release(error);
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(1u, stats_of(runtime_).failed);
}

TEST_P(TimeTest, RetryOnWhatItIsAskedFor)
{
    const manta_status_t codes[] = {MANTA_ERR_USER + 5, MANTA_ERR_IO};
    struct {
        manta_status_t code;
        uint32_t flags;
        size_t codes;
        int runs;
    } cases[] = {
        {MANTA_ERR_USER + 1, 0, 0, 3},
        {MANTA_ERR_IO, 0, 0, 3},
        {MANTA_ERR_CANCELLED, 0, 0, 1},
        {MANTA_ERR_INVALID_ARGUMENT, 0, 0, 1},
        {MANTA_ERR_OUT_OF_MEMORY, 0, 0, 3},
        {MANTA_ERR_USER + 1, MANTA_RETRY_USER, 0, 3},
        {MANTA_ERR_USER + 1, MANTA_RETRY_MEMORY | MANTA_RETRY_SYSTEM, 0, 1},
        {MANTA_ERR_IO, MANTA_RETRY_SYSTEM, 0, 3},
        {MANTA_ERR_OUT_OF_MEMORY, MANTA_RETRY_MEMORY, 0, 3},
        {MANTA_ERR_EXCEPTION, MANTA_RETRY_EXCEPTION, 0, 3},
        {MANTA_ERR_USER + 5, 0, 2, 3},
        {MANTA_ERR_IO, 0, 2, 3},
        {MANTA_ERR_USER + 6, 0, 2, 1},
        {MANTA_ERR_USER + 6, MANTA_RETRY_USER, 2, 3},
        {MANTA_ERR_IO, MANTA_RETRY_USER, 2, 3},
    };
    for (auto &c : cases) {
        MANTA_SCOPE();
        trial t;
        t.code = c.code;
        t.fails = 2;
        auto x = ti_try_with(MANTA_OPTIONS(.max_retries = 2, .retry_on = c.flags,
                                           .retry_codes = codes, .retry_code_count = c.codes),
                             &t);
        EXPECT_STATUS(c.runs == 3 ? MANTA_OK : c.code, status_of(x)) << c.code << " " << c.flags;
        EXPECT_EQ(c.runs, t.ran.load()) << c.code << " " << c.flags << " " << c.codes;
    }
}

TEST_P(TimeTest, AnUpdateStartsFromTheSameValueEachTime)
{
    for (int fails : {0, 1, 3}) {
        trial t;
        t.fails = fails;
        std::vector<int> values(1000, 5);
        manta_ref_t x = manta_put(values.data(), values.size() * sizeof(int));
        x = ti_update_with(MANTA_OPTIONS(.max_retries = 3), &t, x);
        EXPECT_EQ(std::vector<int>(1000, 6), values_of<int>(x));
        EXPECT_EQ(fails + 1, t.ran.load());
        EXPECT_OK(manta_release(x));
    }
}

TEST_P(TimeTest, ThePauseBetweenAttemptsGrows)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    trial t;
    t.fails = 4;
    auto x = ti_try_with(MANTA_OPTIONS(.max_retries = 4, .backoff_ns = kHour, .backoff_factor = 3,
                                       .backoff_max_ns = 8 * kHour),
                         &t);
    int runs = 1;
    for (int hours : {1, 3, 8, 8}) {
        while (t.ran.load() < runs)
            std::this_thread::yield();
        // It may not be parked yet: then the pause begins after the jump.
        manta_ref_t refs[] = {x};
        EXPECT_STATUS(MANTA_NOT_READY, manta_wait(refs, 1, 1, MANTA_MS(3), nullptr, nullptr));
        jump(hours * kHour - kHour / 2);
        EXPECT_STATUS(MANTA_NOT_READY, manta_wait(refs, 1, 1, MANTA_MS(3), nullptr, nullptr));
        EXPECT_EQ(runs, t.ran.load());
        jump(hours * kHour);
        runs++;
    }
    jump(8 * kHour);
    EXPECT_EQ(5, value_of<int>(x));
}

TEST_P(TimeTest, ASerialRuntimeWaitsForThePause)
{
    MANTA_SCOPE();
    trial t;
    t.fails = 3;
    auto x = ti_try_with(MANTA_OPTIONS(.max_retries = 3, .backoff_ns = MANTA_US(200)), &t);
    if (workers() == 1) {
        EXPECT_OK(manta_drain(MANTA_FOREVER));
    }
    EXPECT_EQ(4, value_of<int>(x));
}

TEST_P(TimeTest, WhatIsPausedCanBeCancelled)
{
    for (int how = 0; how < 2; how++) {
        MANTA_SCOPE();
        trial t;
        t.fails = 100;
        int64_t deadline = how == 1 ? 2 * kHour : MANTA_FOREVER;
        auto x = ti_try_with(
            MANTA_OPTIONS(.max_retries = 100, .backoff_ns = 9 * kHour, .deadline_ns = deadline),
            &t);
        manta_ref_t refs[] = {x};
        if (is_serial()) {
            trial u; // lets the first attempt run
            EXPECT_EQ(1, value_of<int>(ti_try_remote(&u)));
        }
        while (t.ran.load() < 1)
            std::this_thread::yield();
        EXPECT_STATUS(MANTA_NOT_READY, manta_wait(refs, 1, 1, MANTA_MS(2), nullptr, nullptr));
        if (how == 0) {
            EXPECT_OK(manta_cancel(x));
            EXPECT_STATUS(MANTA_ERR_CANCELLED, status_of(x));
        } else {
            jump(3 * kHour);
            EXPECT_STATUS(MANTA_ERR_DEADLINE, status_of(x));
        }
        EXPECT_EQ(1, t.ran.load());
        EXPECT_OK(manta_drain(MANTA_FOREVER));
    }
}

TEST_P(TimeTest, AShutdownDoesNotWaitForAPause)
{
    SKIP_IF_SERIAL();
    ScopedRuntime other(workers());
    trial t;
    t.fails = 100;
    manta_ref_t x = ti_try_with(MANTA_OPTIONS(.runtime = other.get(), .max_retries = 100,
                                              .backoff_ns = 9 * kHour, .deadline_ns = 99 * kHour),
                                &t);
    while (t.ran.load() < 1)
        std::this_thread::yield();
    EXPECT_OK(manta_runtime_shutdown(other.get(), MANTA_SHUTDOWN_CANCEL, MANTA_FOREVER));
    other.forget();
    EXPECT_EQ(1u, other.log().take().size()) << "the ref that is held still";
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(x));
    EXPECT_EQ(1, t.ran.load());
}

TEST_P(TimeTest, RangesHaveRulesToo)
{
    MANTA_SCOPE();
    trial t;
    t.fails = 2;
    manta_ref_t x =
        ti_range_range_with(MANTA_OPTIONS(.max_retries = 2, .deadline_ns = kHour), 100, 0, &t);
    EXPECT_OK(status_of(x));
    EXPECT_GE(t.ran.load(), 100 + 2);
}

TEST_P(TimeTest, WrongTimesAreRefused)
{
    MANTA_SCOPE();
    trial t;
    manta_task_options_t bad[] = {
        MANTA_OPTIONS(.deadline_ns = -1),
        MANTA_OPTIONS(.run_timeout_ns = -5),
        MANTA_OPTIONS(.max_retries = -1),
        MANTA_OPTIONS(.max_retries = 1, .backoff_ns = -1),
        MANTA_OPTIONS(.max_retries = 1, .backoff_factor = -2.0),
        MANTA_OPTIONS(.max_retries = 1, .retry_code_count = 1),
        MANTA_OPTIONS(.max_retries = 1, .retry_code_count = 9),
    };
    for (auto &options : bad) {
        auto x = ti_try_with(options, &t);
        EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_ref_status(x));
        EXPECT_NE(std::string::npos, std::string(manta_error_message()).find("ti_try"));
    }
    manta_task_options_t none =
        MANTA_OPTIONS(.deadline_ns = MANTA_FOREVER, .run_timeout_ns = MANTA_FOREVER);
    EXPECT_EQ(1, value_of<int>(ti_try_with(none, &t)));
    none.struct_size = 0;
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_ref_status(ti_try_with(none, &t)));
}

TEST_P(TimeTest, TheThreadGoesWhenNobodyNeedsIt)
{
    SKIP_IF_SERIAL();
    trial t;
    mti_rules_t *rules = &mti_runtime_find(runtime_)->rules;
    auto runs = [&] {
        mti_mutex_lock(&rules->lock);
        bool is_running = rules->is_running;
        mti_mutex_unlock(&rules->lock);
        return is_running;
    };
    EXPECT_FALSE(runs());
    for (int round = 0; round < 3; round++) {
        manta_ref_t p = promise(), x = ti_copy_with(MANTA_OPTIONS(.deadline_ns = kHour), &t, p);
        EXPECT_TRUE(runs());
        set(p);
        EXPECT_OK(status_of(x));
        EXPECT_OK(manta_release(x));
        EXPECT_OK(manta_release(p));
        EXPECT_OK(manta_drain(MANTA_FOREVER));
        while (runs()) {
            jump(2 * kHour);
            std::this_thread::yield();
        }
    }
}

// ---- the heap against a model ---------------------------------------------------------------------

namespace
{

struct node {
    mti_timer_t timer;
    int index;
};
std::vector<int> fired;

void node_due(mti_ctx_t *, mti_timer_t *timer, int64_t, mti_todo_t *)
{
    fired.push_back(reinterpret_cast<node *>(timer)->index);
}

} // namespace

TEST(TimerTest, FiresWhatIsDueInOrder)
{
    for (unsigned seed = 0; seed < 30; seed++) {
        std::mt19937 random(seed);
        auto *rt = new mti_runtime_t();
        auto *ctx = new mti_ctx_t();
        ctx->rt = rt;
        mti_mutex_init(&rt->rules.lock, MTI_RANK_RULES);
        std::vector<node> nodes(200);
        std::vector<int64_t> model(nodes.size(), INT64_MAX);
        for (size_t i = 0; i < nodes.size(); i++) {
            nodes[i].timer.due = node_due;
            nodes[i].index = (int)i;
        }
        int64_t now = 0;
        for (int step = 0; step < 3000; step++) {
            size_t i = random() % nodes.size();
            switch (random() % 8) {
            case 0:
            case 1:
            case 2:
            case 3:
                model[i] = now + 1 + (int64_t)(random() % 100);
                mti_timer_arm_locked(rt, &nodes[i].timer, model[i]);
                break;
            case 4:
            case 5:
                model[i] = INT64_MAX;
                mti_timer_disarm_locked(rt, &nodes[i].timer);
                break;
            case 6:
                EXPECT_EQ(*std::min_element(model.begin(), model.end()), mti_timer_next(rt));
                break;
            default:
                now += (int64_t)(random() % 20);
                fired.clear();
                mti_timer_step(ctx, now);
                int64_t before = 0;
                for (int index : fired) {
                    EXPECT_LE(model[(size_t)index], now);
                    EXPECT_LE(before, model[(size_t)index]);
                    before = model[(size_t)index];
                    model[(size_t)index] = INT64_MAX;
                }
                EXPECT_GT(*std::min_element(model.begin(), model.end()), now);
            }
        }
        mti_mutex_deinit(&rt->rules.lock);
        delete ctx;
        delete rt;
    }
}

// A sweep looks at every slot: who has submitted nothing is cancelled without one.
TEST_P(TimeTest, StormsOfDeadlinesOverLeavesSweepNothing)
{
    SKIP_IF_SERIAL();
    mti_runtime_t *rt = mti_runtime_find(runtime_);
    for (int i = 0; i < 50; i++) {
        trial t;
        auto out = ti_hold_with(MANTA_OPTIONS(.deadline_ns = kHour), &t);
        t.gate.await(1);
        if (i % 2) {
            EXPECT_OK(manta_cancel(out.y));
        } else {
            jump(kHour);
        }
        EXPECT_STATUS(i % 2 ? MANTA_ERR_CANCELLED : MANTA_ERR_DEADLINE, status_of(out.y));
        t.gate.open();
        EXPECT_OK(manta_release(out.y));
        EXPECT_OK(manta_release(out.big));
        EXPECT_OK(manta_drain(MANTA_FOREVER));
        EXPECT_EQ(1, t.told);
    }
    EXPECT_EQ(0u, mti_atomic_u64_load_relaxed(&rt->sweeps));
}
