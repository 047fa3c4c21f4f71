// Work that fails: codes, messages, exceptions, causes, dependents; and what cancel does.
#include "support/runtime_fixture.h"

#include <cstring>
#include <stdexcept>
#include <thread>

using namespace manta_testing;

class ErrorTest : public RuntimeTest
{
};
MANTA_TEST_WORKERS(ErrorTest);

MANTA_TASK(er_fail, MANTA_VAL(int, n), MANTA_OUT(int, x, 1))
{
    x[0] = 1;
    return manta_fail(task, MANTA_ERR_USER + n, "row %d is empty", n);
}

MANTA_TASK(er_return, MANTA_VAL(int, code), MANTA_OUT(int, x, 1))
{
    x[0] = 1;
    return code;
}

MANTA_TASK(er_copy, MANTA_LOCAL(std::atomic<int> *, ran), MANTA_IN(int, x), MANTA_OUT(int, y, 1))
{
    ran->fetch_add(1);
    y[0] = x[0];
    return MANTA_OK;
}

MANTA_TASK(er_sum, MANTA_IN_LIST(int, parts), MANTA_OUT(int, sum, 1))
{
    sum[0] = 0;
    for (size_t i = 0; i < parts.count; i++)
        sum[0] += parts.items[i].data[0];
    return MANTA_OK;
}

MANTA_TASK(er_two, MANTA_IN(int, a), MANTA_IN(int, b), MANTA_OUT(int, x, 1), MANTA_OUT(int, y, 1))
{
    x[0] = a[0];
    y[0] = b[0];
    return MANTA_OK;
}

MANTA_TASK(er_bump, MANTA_INOUT(int, x))
{
    x[0]++;
    return MANTA_OK;
}

MANTA_TASK(er_throw, MANTA_VAL(int, kind), MANTA_OUT(int, x, 1))
{
    x[0] = 1;
    if (kind == 0) throw std::runtime_error("boom");
    if (kind == 1) throw 5;
    if (kind == 2) throw std::bad_alloc();
    return MANTA_OK;
}

static manta_status_t status_of(manta_ref_t ref)
{
    manta_view_t view = {};
    manta_status_t status = manta_get(ref, &view, MANTA_FOREVER);
    manta_view_release(&view);
    return status;
}

static bool contains(const std::string &text, const char *word)
{
    return text.find(word) != std::string::npos;
}

TEST_P(ErrorTest, UserCodesAndMessages)
{
    MANTA_SCOPE();
    for (int n : {0, 1, 3, 1 << 30}) {
        auto x = er_fail_remote(n);
        EXPECT_STATUS(MANTA_ERR_USER + n, status_of(x));
        EXPECT_TRUE(contains(manta_error_message(), ("row " + std::to_string(n)).c_str()))
            << manta_error_message();
        EXPECT_STATUS(MANTA_ERR_USER + n, manta_ref_status(x));
        const manta_error_t *error = manta_ref_error(x);
        ASSERT_NE(nullptr, error);
        EXPECT_STATUS(MANTA_ERR_USER + n, manta_error_code(error));
        EXPECT_EQ(MANTA_SCOPE_TASK, manta_error_scope(error));
        EXPECT_STREQ("er_fail", manta_error_task(error));
        EXPECT_EQ("row " + std::to_string(n) + " is empty", manta_error_text(error));
        EXPECT_STRNE("", manta_error_place(error));
        EXPECT_EQ(0, manta_error_attempt(error));
        EXPECT_EQ(nullptr, manta_error_cause(error));
        manta_error_release(manta_error_retain(error));
        EXPECT_STREQ("er_fail", manta_error_task(error));
        manta_error_release(error);
    }
}

TEST_P(ErrorTest, ErrorsOutliveTheirRefs)
{
    auto x = er_fail_remote(2);
    EXPECT_STATUS(MANTA_ERR_USER + 2, status_of(x));
    const manta_error_t *error = manta_ref_error(x);
    EXPECT_OK(manta_release(x));
    EXPECT_STREQ("row 2 is empty", manta_error_text(error));
    manta_error_release(error);
}

TEST_P(ErrorTest, PartsOfNoError)
{
    EXPECT_OK(manta_error_code(nullptr));
    EXPECT_STREQ("", manta_error_text(nullptr));
    EXPECT_STREQ("", manta_error_task(nullptr));
    EXPECT_STREQ("", manta_error_place(nullptr));
    EXPECT_EQ(nullptr, manta_error_cause(nullptr));
    EXPECT_EQ(nullptr, manta_error_retain(nullptr));
    manta_error_release(nullptr);
    MANTA_SCOPE();
    EXPECT_EQ(nullptr, manta_ref_error(put1(1)));
}

TEST_P(ErrorTest, ACodeAloneIsEnough)
{
    MANTA_SCOPE();
    for (int code : {(int)MANTA_ERR_IO, (int)MANTA_ERR_USER, (int)MANTA_ERR_USER + 77}) {
        auto x = er_return_remote(code);
        EXPECT_STATUS(code, status_of(x));
        EXPECT_TRUE(contains(printed_error(x), "er_return")) << printed_error(x);
    }
    // What is no failure can't be the state of a finished ref.
    for (int code : {(int)MANTA_NOT_READY, (int)MANTA_WOULD_BLOCK}) {
        auto x = er_return_remote(code);
        EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, status_of(x));
    }
    auto x = er_return_remote(-5);
    EXPECT_NE(MANTA_OK, status_of(x));
}

TEST_P(ErrorTest, FailingWithOkIsStillAFailure)
{
    struct body {
        static manta_status_t invoke(const manta_call_t *call)
        {
            return manta_fail(call->task, MANTA_OK, "%s", "oops");
        }
    };
    static const manta_variant_t variant = {body::invoke, nullptr};
    static manta_task_def_t def = {"er_ok", nullptr, 0, 0, &variant, nullptr, 0, nullptr, nullptr};
    manta_task_desc_t desc = {sizeof desc, &def, nullptr, 0, nullptr};
    manta_ref_t done;
    ASSERT_OK(manta_submit(&desc, &done, 1));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, status_of(done));
    EXPECT_OK(manta_release(done));
}

TEST_P(ErrorTest, ExceptionsBecomeErrors)
{
    MANTA_SCOPE();
    auto x = er_throw_remote(0);
    EXPECT_STATUS(MANTA_ERR_EXCEPTION, status_of(x));
    EXPECT_TRUE(contains(printed_error(x), "boom")) << printed_error(x);
    EXPECT_STATUS(MANTA_ERR_EXCEPTION, status_of(er_throw_remote(1)));
    EXPECT_NE(MANTA_OK, status_of(er_throw_remote(2)));
    EXPECT_OK(status_of(er_throw_remote(3)));
}

TEST_P(ErrorTest, DependentsFailWithoutRunning)
{
    MANTA_SCOPE();
    std::atomic<int> ran{0};
    manta_ref_t x = er_fail_remote(3);
    for (int i = 0; i < 3; i++)
        x = er_copy_remote(&ran, x);
    EXPECT_STATUS(MANTA_ERR_USER + 3, status_of(x)) << "the root's code";
    EXPECT_EQ(0, ran.load());
    // The first in the chain is the dependent, the last the root.
    const manta_error_t *error = manta_ref_error(x);
    ASSERT_NE(nullptr, error);
    EXPECT_STATUS(MANTA_ERR_USER + 3, manta_error_code(error));
    EXPECT_STREQ("er_copy", manta_error_task(error));
    int length = 1;
    const manta_error_t *last = error;
    while (manta_error_cause(last)) {
        last = manta_error_cause(last);
        length++;
    }
    EXPECT_EQ(4, length);
    EXPECT_STREQ("er_fail", manta_error_task(last));
    EXPECT_STREQ("row 3 is empty", manta_error_text(last));
    manta_error_release(error);
    std::string text = printed_error(x);
    EXPECT_TRUE(contains(text, "row 3 is empty")) << text;
    EXPECT_TRUE(contains(text, "er_copy")) << text;
    EXPECT_LT(text.find("er_fail"), text.find("er_copy")) << "the root first: " << text;
}

TEST_P(ErrorTest, DependentsThatWereQueuedFailToo)
{
    MANTA_SCOPE();
    std::atomic<int> ran{0};
    manta_ref_t p = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    std::vector<manta_ref_t> refs = {p};
    for (int i = 0; i < 100; i++)
        refs.push_back(er_copy_remote(&ran, refs[i / 2]));
    EXPECT_OK(manta_promise_fail(p, MANTA_ERR_USER + 1, "gone"));
    for (manta_ref_t ref : refs)
        EXPECT_STATUS(MANTA_ERR_USER + 1, status_of(ref));
    EXPECT_EQ(0, ran.load());
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(100u, stats_of(runtime_).failed);
}

TEST_P(ErrorTest, DeepChainsOfFailuresNeedNoRecursion)
{
    std::atomic<int> ran{0};
    manta_ref_t p = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4)), x = manta_retain(p);
    for (int i = 0; i < 100000; i++) {
        manta_ref_t next = er_copy_remote(&ran, x);
        EXPECT_OK(manta_release(x));
        x = next;
    }
    EXPECT_OK(manta_promise_fail(p, MANTA_ERR_USER + 1, "gone"));
    EXPECT_STATUS(MANTA_ERR_USER + 1, status_of(x));
    EXPECT_EQ(0, ran.load());
    const manta_error_t *error = manta_ref_error(x);
    EXPECT_NE(nullptr, error);
    manta_error_release(error);
    EXPECT_OK(manta_release(p));
    EXPECT_OK(manta_release(x));
}

TEST_P(ErrorTest, AllResultsOfATaskFail)
{
    MANTA_SCOPE();
    er_two_out_t out = er_two_remote(er_fail_remote(1), put1(1));
    EXPECT_STATUS(MANTA_ERR_USER + 1, status_of(out.x));
    EXPECT_STATUS(MANTA_ERR_USER + 1, status_of(out.y));
    EXPECT_TRUE(contains(printed_error(out.y), "er_two")) << printed_error(out.y);
}

TEST_P(ErrorTest, TheFirstErrorWins)
{
    MANTA_SCOPE();
    manta_ref_t a = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4)),
                b = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    er_two_out_t out = er_two_remote(a, b);
    EXPECT_OK(manta_promise_fail(b, MANTA_ERR_USER + 2, "second argument"));
    EXPECT_STATUS(MANTA_ERR_USER + 2, status_of(out.x)) << "at once, the first argument is open";
    EXPECT_OK(manta_promise_fail(a, MANTA_ERR_USER + 1, "first argument"));
    EXPECT_STATUS(MANTA_ERR_USER + 2, status_of(out.x));
    EXPECT_STATUS(MANTA_ERR_USER + 2, status_of(out.y));
}

TEST_P(ErrorTest, OneBadRefAmongThousands)
{
    MANTA_SCOPE();
    std::vector<manta::ref<int>> refs;
    for (int i = 0; i < 2000; i++)
        refs.push_back(i == 1234 ? er_fail_remote(9) : put1(i));
    auto sum = er_sum_remote(refs.data(), refs.size());
    EXPECT_STATUS(MANTA_ERR_USER + 9, status_of(sum));
}

TEST_P(ErrorTest, InoutOfAFailedRefIsTakenAndFails)
{
    manta_ref_t x = er_fail_remote(1);
    x = er_bump_remote(x);
    x = er_bump_remote(x);
    EXPECT_STATUS(MANTA_ERR_USER + 1, status_of(x));
    EXPECT_OK(manta_release(x));
}

TEST_P(ErrorTest, AFailingInoutBodyDoesNotGiveHalfAValue)
{
    struct body {
        static manta_status_t invoke(const manta_call_t *call)
        {
            static_cast<int *>(call->buffers[0].data)[0] = 99;
            return MANTA_ERR_USER + 1;
        }
    };
    static const manta_variant_t variant = {body::invoke, nullptr};
    static const manta_param_t params[] = {
        {"x", "int", MANTA_PARAM_INOUT, MANTA_DTYPE(MANTA_I32, 4), 4, 4, 0}};
    static manta_task_def_t def = {"er_half", params, 1, 8, &variant, nullptr, 0, nullptr, nullptr};
    std::vector<int> source(1000, 1);
    for (bool held : {false, true}) {
        manta_ref_t x = manta_put(source.data(), source.size() * sizeof(int)), old = x, out;
        if (held) old = manta_retain(x);
        manta_task_desc_t desc = {sizeof desc, &def, &x, sizeof x, nullptr};
        ASSERT_OK(manta_submit(&desc, &out, 1));
        EXPECT_STATUS(MANTA_ERR_USER + 1, status_of(out));
        if (held) {
            EXPECT_EQ(1, values_of<int>(old)[0]);
            EXPECT_OK(manta_release(old));
        }
        EXPECT_OK(manta_release(out));
    }
}

static manta_status_t bad_sizes(const manta_call_t *call, size_t *out_size_bytes)
{
    (void)out_size_bytes;
    return manta_fail(call->task, MANTA_ERR_USER + 8, "no size for %d", 8);
}

TEST_P(ErrorTest, ASizeFunctionMayFail)
{
    static std::atomic<int> ran;
    struct body {
        static manta_status_t invoke(const manta_call_t *)
        {
            ran++;
            return MANTA_OK;
        }
    };
    static const manta_variant_t variant = {body::invoke, bad_sizes};
    static const manta_param_t params[] = {
        {"x", "int", MANTA_PARAM_OUT, MANTA_DTYPE(MANTA_I32, 4), 4, 4, 0}};
    static manta_task_def_t def = {"er_sizes", params, 1,       0,      &variant,
                                   nullptr,    0,      nullptr, nullptr};
    manta_task_desc_t desc = {sizeof desc, &def, nullptr, 0, nullptr};
    manta_ref_t out;
    ASSERT_OK(manta_submit(&desc, &out, 1));
    EXPECT_STATUS(MANTA_ERR_USER + 8, status_of(out));
    EXPECT_TRUE(contains(printed_error(out), "no size for 8")) << printed_error(out);
    EXPECT_EQ(0, ran.load());
    EXPECT_OK(manta_release(out));
}

TEST_P(ErrorTest, ForwardedFailures)
{
    struct body {
        static manta_status_t invoke(const manta_call_t *call)
        {
            return manta_forward(call->task, er_fail_remote(6));
        }
    };
    static const manta_variant_t variant = {body::invoke, nullptr};
    static const manta_param_t params[] = {
        {"x", "int", MANTA_PARAM_OUT, MANTA_DTYPE(MANTA_I32, 4), 4, 4, 0}};
    static manta_task_def_t def = {"er_forward", params, 1,       0,      &variant,
                                   nullptr,      0,      nullptr, nullptr};
    manta_task_desc_t desc = {sizeof desc, &def, nullptr, 0, nullptr};
    manta_ref_t out;
    ASSERT_OK(manta_submit(&desc, &out, 1));
    EXPECT_STATUS(MANTA_ERR_USER + 6, status_of(out));
    std::string text = printed_error(out);
    EXPECT_TRUE(contains(text, "row 6 is empty")) << text;
    EXPECT_OK(manta_release(out));
}

TEST_P(ErrorTest, StatusNames)
{
    EXPECT_STREQ("MANTA_OK", manta_status_name(MANTA_OK));
    EXPECT_STREQ("MANTA_ERR_STALE_REF", manta_status_name(MANTA_ERR_STALE_REF));
    EXPECT_STREQ("MANTA_ERR_USER", manta_status_name(MANTA_ERR_USER));
    EXPECT_STREQ("MANTA_ERR_USER", manta_status_name(MANTA_ERR_USER + 5));
    EXPECT_STREQ("unknown status", manta_status_name(29));
    EXPECT_STREQ("unknown status", manta_status_name(-1));
}

TEST_P(ErrorTest, MessagesAreOfTheirThread)
{
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_release({77ull << 32 | 3}));
    std::string mine = manta_error_message();
    EXPECT_NE("", mine);
    std::thread([] { EXPECT_STREQ("", manta_error_message()); }).join();
    EXPECT_EQ(mine, manta_error_message());
}

// ---- cancel -----------------------------------------------------------------------------------

MANTA_TASK(er_hold, MANTA_LOCAL(Gate *, gate), MANTA_LOCAL(std::atomic<int> *, saw_cancel),
           MANTA_OUT(int, x, 1))
{
    gate->arrive();
    gate->pass();
    x[0] = 7;
    if (manta_cancelled(task)) saw_cancel->fetch_add(1);
    return MANTA_OK;
}

MANTA_TASK(er_hold_two, MANTA_LOCAL(Gate *, gate), MANTA_OUT(int, x, 1000), MANTA_OUT(int, y, 1))
{
    gate->arrive();
    gate->pass();
    x[0] = y[0] = 7;
    return MANTA_OK;
}

TEST_P(ErrorTest, CancelledInTheQueueNeverRuns)
{
    MANTA_SCOPE();
    std::atomic<int> ran{0};
    manta_ref_t p = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    manta_ref_t x = er_copy_remote(&ran, p), y = er_copy_remote(&ran, x);
    EXPECT_OK(manta_cancel(x));
    EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_ref_status(x)) << "at once";
    EXPECT_STATUS(MANTA_ERR_CANCELLED, status_of(y));
    EXPECT_OK(manta_cancel(x));
    EXPECT_TRUE(contains(printed_error(y), "er_copy")) << printed_error(y);
    int one = 1;
    EXPECT_OK(manta_promise_set(p, &one, sizeof one));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(0, ran.load());
}

TEST_P(ErrorTest, CancelledReadyTasksNeverRun)
{
    MANTA_SCOPE();
    SKIP_IF_SERIAL();
    Gate gate;
    std::atomic<int> ran{0}, saw{0};
    std::vector<manta_ref_t> held;
    for (int i = 0; i < workers(); i++)
        held.push_back(er_hold_remote(&gate, &saw));
    gate.await(workers());
    manta_ref_t one = put1(1);
    std::vector<manta_ref_t> refs;
    for (int i = 0; i < 100; i++)
        refs.push_back(er_copy_remote(&ran, one));
    for (manta_ref_t ref : refs)
        EXPECT_OK(manta_cancel(ref));
    for (manta_ref_t ref : refs)
        EXPECT_STATUS(MANTA_ERR_CANCELLED, status_of(ref));
    gate.open();
    for (manta_ref_t ref : held)
        EXPECT_OK(status_of(ref));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(0, ran.load());
}

TEST_P(ErrorTest, ARunningTaskIsToldAndItsResultDropped)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    Gate gate;
    std::atomic<int> ran{0}, saw{0};
    manta_ref_t x = er_hold_remote(&gate, &saw);
    manta_ref_t y = er_copy_remote(&ran, x);
    gate.await(1);
    EXPECT_OK(manta_cancel(x));
    EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_ref_status(x)) << "at once, the body still runs";
    EXPECT_STATUS(MANTA_ERR_CANCELLED, status_of(y));
    gate.open();
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(1, saw.load());
    EXPECT_EQ(0, ran.load());
    EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_ref_status(x));
}

TEST_P(ErrorTest, CancelOfOneOfSeveralResults)
{
    SKIP_IF_SERIAL();
    for (int which = 0; which < 2; which++) {
        MANTA_SCOPE();
        Gate gate;
        er_hold_two_out_t out = er_hold_two_remote(&gate);
        gate.await(1);
        EXPECT_OK(manta_cancel(which ? out.y : out.x));
        EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_ref_status(out.x));
        gate.open();
        EXPECT_OK(manta_drain(MANTA_FOREVER));
        EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_ref_status(out.x));
        EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_ref_status(out.y));
    }
}

TEST_P(ErrorTest, CancelFailsAllResultsAtOnce)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    Gate gate;
    er_hold_two_out_t out = er_hold_two_remote(&gate);
    gate.await(1);
    EXPECT_OK(manta_cancel(out.x));
    EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_ref_status(out.x));
    EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_ref_status(out.y));
    gate.open();
    EXPECT_OK(manta_drain(MANTA_FOREVER));
}

TEST_P(ErrorTest, CancelOfWhatIsDoneOrNoTask)
{
    MANTA_SCOPE();
    std::atomic<int> ran{0};
    manta_ref_t one = put1(1), x = er_copy_remote(&ran, one);
    EXPECT_EQ(1, value_of<int>(x));
    EXPECT_OK(manta_cancel(x));
    EXPECT_EQ(1, value_of<int>(x));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_cancel(one));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_cancel(manta_promise_create(0)));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_cancel({99ull << 32 | 5}));
}

// A wait for ever that is told to end.
MANTA_TASK(er_waits, MANTA_LOCAL(Gate *, gate), MANTA_LOCAL(std::atomic<int> *, status),
           MANTA_LOCAL(manta_ref_t *, on), MANTA_VAL(int64_t, timeout), MANTA_OUT(int, x, 1))
{
    (void)x;
    gate->arrive();
    manta_view_t view;
    status->store(manta_get(*on, &view, timeout));
    return MANTA_OK;
}

TEST_P(ErrorTest, CancelWakesAWaitingTask)
{
    SKIP_IF_SERIAL();
    for (int64_t timeout : {MANTA_FOREVER, MANTA_S(200)}) {
        MANTA_SCOPE();
        Gate gate;
        std::atomic<int> status{-1};
        manta_ref_t p = manta_promise_create(0);
        manta_ref_t x = er_waits_remote(&gate, &status, &p, timeout);
        gate.await(1);
        EXPECT_OK(manta_cancel(x));
        EXPECT_OK(manta_drain(MANTA_FOREVER));
        EXPECT_STATUS(MANTA_ERR_WAIT_CANCELLED, status.load());
        EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(p));
    }
}

TEST_P(ErrorTest, CancelStorm)
{
    std::atomic<int> ran{0};
    for (int round = 0; round < 200; round++) {
        MANTA_SCOPE();
        manta_ref_t one = put1(1);
        std::vector<manta_ref_t> refs = {one};
        for (int i = 0; i < 20; i++)
            refs.push_back(er_copy_remote(&ran, refs.back()));
        std::thread other([&] {
            for (size_t i = 1; i < refs.size(); i += 3)
                EXPECT_OK(manta_cancel(refs[i]));
        });
        for (size_t i = refs.size() - 1; i > 0; i -= 2) {
            manta_status_t status = status_of(refs[i]);
            EXPECT_TRUE(status == MANTA_OK || status == MANTA_ERR_CANCELLED) << status;
        }
        other.join();
    }
}
