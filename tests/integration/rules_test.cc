// The bound on tasks in flight, failed arguments that are accepted, and how errors read.
#include "support/runtime_fixture.h"

#include <algorithm>
#include <thread>

using namespace manta_testing;

class RulesTest : public RuntimeTest
{
};
MANTA_TEST_WORKERS(RulesTest);

class BoundTest : public RuntimeTest
{
  protected:
    void configure(manta_runtime_options_t *options) override { options->max_in_flight = 8; }
};
MANTA_TEST_WORKERS(BoundTest);

static manta_status_t status_of(manta_ref_t ref)
{
    manta_view_t view = {};
    manta_status_t status = manta_get(ref, &view, MANTA_FOREVER);
    manta_view_release(&view);
    return status;
}

struct bound {
    Gate gate;
    std::atomic<int> ran{0}, in_flight{0}, most{0};
};

MANTA_TASK(ru_hold, MANTA_LOCAL(bound *, b))
{
    b->gate.arrive();
    b->gate.pass();
    b->ran++;
    return MANTA_OK;
}

MANTA_TASK(ru_count, MANTA_LOCAL(bound *, b))
{
    b->ran++;
    return MANTA_OK;
}

MANTA_TASK(ru_in, MANTA_LOCAL(bound *, b), MANTA_IN(int, x), MANTA_OUT(int, y, 1))
{
    b->ran++;
    y[0] = x[0];
    return MANTA_OK;
}

// Submits far more than the bound from inside.
MANTA_TASK(ru_spawn, MANTA_LOCAL(bound *, b), MANTA_VAL(int, n))
{
    for (int i = 0; i < n; i++) {
        manta_status_t status = ru_count_go(b);
        if (status != MANTA_OK) return status;
    }
    return MANTA_OK;
}

TEST_P(BoundTest, AtTheBoundASubmitWouldBlock)
{
    bound b;
    manta_ref_t p = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    manta_task_options_t no_wait = MANTA_OPTIONS(.no_wait = true);
    std::vector<manta_ref_t> refs;
    for (int i = 0; i < 8; i++)
        refs.push_back(ru_in_with(no_wait, &b, p));
    for (manta_ref_t ref : refs)
        EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(ref));
    EXPECT_STATUS(MANTA_WOULD_BLOCK, ru_count_go_with(no_wait, &b));
    EXPECT_NE(std::string::npos, std::string(manta_error_message()).find("8 tasks in flight"));
    EXPECT_OK(manta_cancel(refs[3]));
    refs.push_back(ru_in_with(no_wait, &b, p));
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(refs.back())) << "cancelled ones don't count";
    EXPECT_STATUS(MANTA_WOULD_BLOCK, ru_count_go_with(no_wait, &b));
    int one = 1;
    EXPECT_OK(manta_promise_set(p, &one, sizeof one));
    for (manta_ref_t ref : refs) {
        (void)status_of(ref);
        EXPECT_OK(manta_release(ref));
    }
    EXPECT_OK(manta_release(p));
    EXPECT_OK(ru_count_go_with(no_wait, &b));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(9, b.ran.load());
}

TEST_P(BoundTest, ASubmitWaitsForRoom)
{
    bound b;
    std::vector<std::thread> threads;
    for (int k = 0; k < (is_serial() ? 1 : 3); k++) {
        threads.emplace_back([&] {
            for (int i = 0; i < 2000; i++)
                EXPECT_OK(ru_count_go(&b));
        });
    }
    for (auto &thread : threads)
        thread.join();
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ((int)threads.size() * 2000, b.ran.load());
}

TEST_P(BoundTest, ItIsABound)
{
    SKIP_IF_SERIAL();
    bound b;
    std::vector<manta_ref_t> held;
    for (int i = 0; i < workers(); i++)
        held.push_back(ru_hold_remote(&b));
    b.gate.await(workers());
    std::atomic<int> submitted{0};
    std::thread other([&] {
        for (int i = 0; i < 50; i++) {
            EXPECT_OK(ru_count_go(&b));
            submitted++;
        }
    });
    while (submitted.load() < 8 - workers())
        std::this_thread::yield();
    manta_task_options_t no_wait = MANTA_OPTIONS(.no_wait = true);
    EXPECT_STATUS(MANTA_WOULD_BLOCK, ru_count_go_with(no_wait, &b));
    EXPECT_EQ(8 - workers(), submitted.load());
    b.gate.open();
    other.join();
    for (manta_ref_t ref : held) {
        EXPECT_OK(status_of(ref));
        EXPECT_OK(manta_release(ref));
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER)); // they use |b|
}

TEST_P(BoundTest, InsideATaskNothingWaits)
{
    bound b;
    manta_ref_t x = ru_spawn_remote(&b, 500);
    EXPECT_OK(status_of(x));
    EXPECT_OK(manta_release(x));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(500, b.ran.load());
    manta_ref_t range = ru_count_range(10000, &b);
    EXPECT_OK(status_of(range));
    EXPECT_OK(manta_release(range));
    EXPECT_EQ(10500, b.ran.load());
    EXPECT_OK(ru_count_go(&b));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
}

TEST_P(BoundTest, WhoWaitsForRoomLeavesAtShutdown)
{
    bound b;
    manta_runtime_options_t options;
    manta_runtime_options_init(&options);
    options.workers = 1;
    options.max_in_flight = 2;
    manta_runtime_t runtime;
    ASSERT_OK(manta_runtime_create(&options, &runtime));
    manta_task_options_t there = MANTA_OPTIONS(.runtime = runtime);
    manta_ref_t hold = ru_hold_with(there, &b);
    b.gate.await(1);
    EXPECT_OK(ru_count_go_with(there, &b));
    std::atomic<int> status{-1};
    std::thread other([&] { status = ru_count_go_with(there, &b); });
    EXPECT_OK(manta_runtime_close(runtime));
    other.join();
    EXPECT_STATUS(MANTA_ERR_SHUTDOWN, status.load());
    b.gate.open();
    EXPECT_OK(status_of(hold));
    EXPECT_OK(manta_release(hold));
    EXPECT_OK(manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_DRAIN, MANTA_FOREVER));
}

TEST_P(BoundTest, ASerialRuntimeThatCannotGoOn)
{
    if (!is_serial()) GTEST_SKIP() << "others could";
    MANTA_SCOPE();
    bound b;
    manta_ref_t p = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    for (int i = 0; i < 8; i++)
        (void)manta_ref_status(ru_in_remote(&b, p));
    EXPECT_STATUS(MANTA_ERR_DEADLOCK, ru_count_go(&b));
    int one = 1;
    EXPECT_OK(manta_promise_set(p, &one, sizeof one));
    EXPECT_OK(ru_count_go(&b));
    EXPECT_OK(manta_drain(MANTA_FOREVER)); // they use |b|
}

// ---- failed arguments that are accepted -----------------------------------------------------------

struct seen {
    std::atomic<int> x{-1}, list{-1}, items{0};
    std::atomic<size_t> x_count{99};
    std::string text;
};

MANTA_TASK(ru_fail, MANTA_VAL(int, n), MANTA_OUT(int, x, 1))
{
    (void)x;
    return manta_fail(task, MANTA_ERR_USER + n, "row %d is empty", n);
}

MANTA_TASK(ru_sum, MANTA_LOCAL(seen *, s), MANTA_IN(int, x), MANTA_IN_LIST(int, parts),
           MANTA_OUT(int, sum, 1))
{
    s->x = manta_arg_status(task, 1);
    s->list = manta_arg_status(task, 2);
    s->x_count = x.count;
    sum[0] = x.count ? x.data[0] : 0;
    for (size_t i = 0; i < parts.count; i++) {
        manta_status_t status = manta_arg_item_status(task, 2, i);
        s->items += status != MANTA_OK;
        EXPECT_EQ(status == MANTA_OK ? 1u : 0u, parts.items[i].count);
        if (status == MANTA_OK) sum[0] += parts.items[i].data[0];
        const manta_error_t *error = manta_arg_error(task, 2, i);
        EXPECT_EQ(status, manta_error_code(error));
        if (error) s->text = manta_error_text(error);
        manta_error_release(error);
    }
    EXPECT_STATUS(MANTA_ERR_OUT_OF_RANGE, manta_arg_item_status(task, 2, parts.count));
    EXPECT_STATUS(MANTA_ERR_OUT_OF_RANGE, manta_arg_status(task, 9));
    EXPECT_STATUS(MANTA_OK, manta_arg_status(task, 0));
    return MANTA_OK;
}

TEST_P(RulesTest, AMillionQueuedTasks)
{
    bound b;
    const int n = kSanitized ? 20000 : 1000000;
    manta_ref_t p = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    std::vector<manta_ref_t> refs((size_t)n);
    for (manta_ref_t &ref : refs)
        ref = ru_in_remote(&b, p);
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(refs.back()));
    EXPECT_EQ(0, b.ran.load());
    int seven = 7;
    EXPECT_OK(manta_promise_set(p, &seven, sizeof seven));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(n, b.ran.load());
    for (size_t i = 0; i < refs.size(); i += refs.size() / 1000)
        EXPECT_EQ(7, value_of<int>(refs[i]));
    for (manta_ref_t ref : refs)
        EXPECT_OK(manta_release(ref));
    EXPECT_OK(manta_release(p));
}

// The same, and then they fail, all at once.
TEST_P(RulesTest, AMillionTasksBehindAFailure)
{
    bound b;
    const int n = kSanitized ? 20000 : 1000000;
    manta_ref_t p = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    std::vector<manta_ref_t> refs((size_t)n);
    manta_ref_t last = manta_retain(p);
    for (int i = 0; i < n; i++) { // half of them a chain, half a fan
        refs[(size_t)i] = ru_in_remote(&b, i % 2 ? p : last);
        if (i % 2) continue;
        EXPECT_OK(manta_release(last));
        last = manta_retain(refs[(size_t)i]);
    }
    EXPECT_OK(manta_promise_fail(p, MANTA_ERR_USER + 3, "no more"));
    EXPECT_STATUS(MANTA_ERR_USER + 3, manta_ref_status(last));
    for (manta_ref_t ref : refs) {
        EXPECT_STATUS(MANTA_ERR_USER + 3, manta_ref_status(ref));
        EXPECT_OK(manta_release(ref));
    }
    EXPECT_OK(manta_release(last));
    EXPECT_OK(manta_release(p));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(0, b.ran.load());
}

TEST_P(RulesTest, FailedArgumentsCanBeAccepted)
{
    for (bool late : {false, true}) {
        MANTA_SCOPE();
        seen s;
        manta_ref_t p = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
        manta_ref_t broken = late ? p : (manta_ref_t)ru_fail_remote(4);
        manta_ref_t bad = ru_fail_remote(7), good = put1(10);
        if (!late) (void)status_of(bad);
        manta_ref_t parts[] = {good, bad, good};
        auto sum =
            ru_sum_with(MANTA_OPTIONS(.accept_failed = MANTA_ACCEPT_ALL), &s, broken, parts, 3);
        if (late) {
            EXPECT_OK(manta_promise_fail(p, MANTA_ERR_USER + 4, "given up"));
        }
        EXPECT_EQ(20, value_of<int>(sum));
        EXPECT_STATUS(MANTA_ERR_USER + 4, s.x.load());
        EXPECT_EQ(0u, s.x_count.load());
        EXPECT_STATUS(MANTA_ERR_USER + 7, s.list.load());
        EXPECT_EQ(1, s.items.load());
        EXPECT_EQ("row 7 is empty", s.text);
    }
}

TEST_P(RulesTest, OnlyTheParametersThatAreNamedAccept)
{
    MANTA_SCOPE();
    seen s;
    manta_ref_t good = put1(1), bad = ru_fail_remote(7);
    auto list_only = MANTA_OPTIONS(.accept_failed = MANTA_ACCEPT(2));
    EXPECT_STATUS(MANTA_ERR_USER + 7, status_of(ru_sum_with(list_only, &s, bad, &good, 1)));
    EXPECT_EQ(-1, s.x.load());
    EXPECT_EQ(1, value_of<int>(ru_sum_with(list_only, &s, good, &bad, 1)));
    auto x_only = MANTA_OPTIONS(.accept_failed = MANTA_ACCEPT(1));
    EXPECT_STATUS(MANTA_ERR_USER + 7, status_of(ru_sum_with(x_only, &s, good, &bad, 1)));
    EXPECT_EQ(1, value_of<int>(ru_sum_with(x_only, &s, bad, &good, 1)));
}

TEST_P(RulesTest, ErrorRefsAreAcceptedToo)
{
    MANTA_SCOPE();
    seen s;
    manta_ref_t error = manta_put(nullptr, 5); // INVALID_ARGUMENT
    ASSERT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_ref_status(error));
    manta_ref_t good = put1(1), parts[] = {error, good};
    auto all = MANTA_OPTIONS(.accept_failed = MANTA_ACCEPT_ALL);
    EXPECT_EQ(1, value_of<int>(ru_sum_with(all, &s, error, parts, 2)));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, s.x.load());
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, s.list.load());
    // A call that is refused after all leaves nothing behind.
    manta_ref_t stale[] = {error, {77ull << 32 | 5}};
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(ru_sum_with(all, &s, error, stale, 2)));
}

TEST_P(RulesTest, ManyFailedArguments)
{
    MANTA_SCOPE();
    seen s;
    std::vector<manta::ref<int>> parts;
    for (int i = 0; i < 3000; i++) {
        parts.push_back(i % 3 ? (manta::ref<int>)ru_fail_remote(i) : put1(1));
    }
    auto sum = ru_sum_with(MANTA_OPTIONS(.accept_failed = MANTA_ACCEPT_ALL), &s, put1(0),
                           parts.data(), parts.size());
    EXPECT_EQ(1000, value_of<int>(sum));
    EXPECT_EQ(2000, s.items.load());
}

// ---- how errors read --------------------------------------------------------------------------

MANTA_TASK(ru_pass, MANTA_IN(int, input), MANTA_OUT(int, output, 1))
{
    output[0] = input[0];
    return MANTA_OK;
}

MANTA_TASK(ru_try, MANTA_OUT(int, x, 1))
{
    (void)x;
    return manta_fail(task, manta_attempt(task) ? MANTA_ERR_USER + 2 : MANTA_ERR_IO, "try %d",
                      manta_attempt(task) + 1);
}

TEST_P(RulesTest, AnErrorTellsWhatHappenedFirst)
{
    MANTA_SCOPE();
    manta_ref_t x = ru_pass_remote(ru_pass_remote(ru_fail_remote(3)));
    EXPECT_STATUS(MANTA_ERR_USER + 3, status_of(x));
    std::string text = printed_error(x);
    size_t place = text.find(" (");
    ASSERT_NE(std::string::npos, place) << text;
    size_t end = text.find(')');
    std::string without_place = text.substr(0, place) + text.substr(end + 1);
    EXPECT_EQ("MANTA_ERR_USER + 3 in task ru_fail: row 3 is empty\n"
              "  then task ru_pass: its argument input failed\n"
              "  then task ru_pass: its argument input failed\n",
              without_place);
}

TEST_P(RulesTest, AnErrorTellsOfTheAttempts)
{
    MANTA_SCOPE();
    manta_ref_t x = ru_pass_remote(ru_try_with(MANTA_OPTIONS(.max_retries = 2)));
    EXPECT_STATUS(MANTA_ERR_USER + 2, status_of(x));
    std::string text = printed_error(x);
    EXPECT_EQ(0u, text.find("MANTA_ERR_IO in task ru_try")) << text;
    EXPECT_NE(std::string::npos, text.find("try 1\n")) << text;
    EXPECT_NE(std::string::npos, text.find("attempt 3): MANTA_ERR_USER + 2, try 3\n")) << text;
    EXPECT_EQ(std::string::npos, text.find("try 2")) << text;
}

TEST_P(RulesTest, ALongChainIsShortenedInTheMiddle)
{
    manta_ref_t p = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4)), x = manta_retain(p);
    for (int i = 0; i < 5000; i++) {
        manta_ref_t next = ru_pass_remote(x);
        EXPECT_OK(manta_release(x));
        x = next;
    }
    EXPECT_OK(manta_promise_fail(p, MANTA_ERR_IO, "the disk is on fire"));
    EXPECT_STATUS(MANTA_ERR_IO, status_of(x));
    std::string text = printed_error(x);
    EXPECT_EQ(0u, text.find("MANTA_ERR_IO in task promise: the disk is on fire\n")) << text;
    EXPECT_NE(std::string::npos, text.find("... then through 4976 more ...")) << text;
    EXPECT_EQ(26, std::count(text.begin(), text.end(), '\n')) << text;
    EXPECT_OK(manta_release(x));
    EXPECT_OK(manta_release(p));
}

TEST_P(RulesTest, ErrorsWithoutMemoryStillSayWhat)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    bound b;
    manta_ref_t x = ru_hold_remote(&b);
    b.gate.await(1);
    EXPECT_OK(manta_cancel(x));
    EXPECT_EQ("MANTA_ERR_CANCELLED in task ru_hold: the task was cancelled\n", printed_error(x));
    EXPECT_STATUS(MANTA_ERR_CANCELLED, status_of(x));
    EXPECT_STREQ("the task was cancelled", manta_error_message());
    b.gate.open();
    EXPECT_OK(manta_drain(MANTA_FOREVER));
}
