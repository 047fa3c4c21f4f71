// Tasks of one runtime that wait for refs of another: what ends such a wait, and who works meanwhile.
#include "support/runtime_fixture.h"

#include <thread>

using namespace manta_testing;

namespace
{

enum How { READ, READ_TIMED, WAIT_SOME, QUEUE };

struct trip {
    Gate gate;
    std::atomic<int> ended{0}, attempts{0};
    std::atomic<int> status{-1};
    manta_ref_t promise = {0}; // of another runtime than the task's
    manta_cq_t cq = {0};
    int how = READ;
};

class AbroadTest : public RuntimeTest
{
  protected:
    // A promise of |runtime|, with the test's count.
    static manta_ref_t promise_in(manta_runtime_t runtime);
    static manta_cq_t queue_in(manta_runtime_t runtime);
};
MANTA_TEST_WORKERS(AbroadTest);

} // namespace

MANTA_TASK(ab_promise, MANTA_LOCAL(manta_ref_t *, out))
{
    (void)task;
    *out = manta_keep(manta_promise_create(MANTA_DTYPE(MANTA_I32, 4)));
    return MANTA_OK;
}
MANTA_TASK(ab_queue, MANTA_LOCAL(manta_cq_t *, out))
{
    (void)task;
    return manta_cq_create(out);
}

manta_ref_t AbroadTest::promise_in(manta_runtime_t runtime)
{
    manta_ref_t promise = {0};
    manta_ref_t made = ab_promise_with(MANTA_OPTIONS(.runtime = runtime), &promise);
    EXPECT_OK(manta_read(made, nullptr, 0, MANTA_FOREVER));
    EXPECT_OK(manta_release(made));
    return promise;
}

manta_cq_t AbroadTest::queue_in(manta_runtime_t runtime)
{
    manta_cq_t cq = {0};
    manta_ref_t made = ab_queue_with(MANTA_OPTIONS(.runtime = runtime), &cq);
    EXPECT_OK(manta_read(made, nullptr, 0, MANTA_FOREVER));
    EXPECT_OK(manta_release(made));
    return cq;
}

static manta_status_t go(trip *t)
{
    int x = 0;
    manta_ref_t both[2] = {t->promise, t->promise};
    manta_cq_entry_t entry;
    size_t count;
    switch (t->how) {
    case READ:
        return manta_read(t->promise, &x, sizeof x, MANTA_FOREVER);
    case READ_TIMED:
        return manta_read(t->promise, &x, sizeof x, MANTA_S(1000));
    case WAIT_SOME:
        return manta_wait(both, 2, 1, MANTA_FOREVER, nullptr, nullptr);
    default:
        return manta_cq_next(t->cq, &entry, 1, &count, MANTA_FOREVER);
    }
}

MANTA_TASK(ab_wait, MANTA_LOCAL(trip *, t), MANTA_OUT(int, x, 1))
{
    (void)task;
    x[0] = 1;
    t->attempts++;
    t->gate.arrive();
    t->status = go(t);
    t->ended++;
    return t->status;
}

MANTA_TASK(ab_parent, MANTA_LOCAL(trip *, t), MANTA_OUT(int, x, 1))
{
    (void)task;
    x[0] = 1;
    manta_ref_t child = manta_keep(ab_wait_remote(t));
    t->gate.pass();
    return manta_release(child);
}

MANTA_TASK(ab_keep, MANTA_LOCAL(trip *, t), MANTA_VAL(int, value))
{
    (void)task;
    return manta_promise_set(t->promise, &value, sizeof value);
}

TEST_P(AbroadTest, CancelEndsTheWait)
{
    SKIP_IF_SERIAL();
    for (int how : {READ, READ_TIMED, WAIT_SOME, QUEUE}) {
        ScopedRuntime other(1, "other");
        trip t;
        t.how = how;
        t.promise = promise_in(other.get());
        t.cq = queue_in(other.get());
        manta_ref_t x = ab_wait_remote(&t);
        t.gate.await(1);
        EXPECT_OK(manta_cancel(x));
        EXPECT_OK(manta_drain(MANTA_S(100)));
        EXPECT_EQ(1, t.ended);
        EXPECT_STATUS(MANTA_ERR_WAIT_CANCELLED, (manta_status_t)t.status.load());
        EXPECT_OK(manta_release(x));
        EXPECT_OK(manta_release(t.promise));
        EXPECT_OK(manta_cq_destroy(t.cq));
    }
}

// The queue is of the task's own runtime.
TEST_P(AbroadTest, CancelEndsTheWaitForAQueue)
{
    SKIP_IF_SERIAL();
    trip t;
    t.how = QUEUE;
    ASSERT_OK(manta_cq_create(&t.cq));
    manta_ref_t x = ab_wait_remote(&t);
    t.gate.await(1);
    EXPECT_OK(manta_cancel(x));
    EXPECT_OK(manta_drain(MANTA_S(100)));
    EXPECT_STATUS(MANTA_ERR_WAIT_CANCELLED, (manta_status_t)t.status.load());
    EXPECT_OK(manta_release(x));
    EXPECT_OK(manta_cq_destroy(t.cq));
}

TEST_P(AbroadTest, CancelOfTheParentEndsTheWait)
{
    SKIP_IF_SERIAL();
    if (workers() < 2) GTEST_SKIP() << "the parent holds one worker";
    ScopedRuntime other(1, "other");
    trip t;
    t.promise = promise_in(other.get());
    manta_ref_t x = ab_parent_remote(&t);
    t.gate.await(1);
    EXPECT_OK(manta_cancel(x));
    t.gate.open();
    EXPECT_OK(manta_drain(MANTA_S(100)));
    EXPECT_EQ(1, t.ended);
    EXPECT_STATUS(MANTA_ERR_WAIT_CANCELLED, (manta_status_t)t.status.load());
    EXPECT_OK(manta_release(x));
    EXPECT_OK(manta_release(t.promise));
}

TEST_P(AbroadTest, ARunTimeoutEndsTheWait)
{
    SKIP_IF_SERIAL();
    ScopedRuntime other(1, "other");
    trip t;
    t.promise = promise_in(other.get());
    manta_ref_t x = ab_wait_with(MANTA_OPTIONS(.run_timeout_ns = MANTA_MS(5), .max_retries = 1,
                                               .retry_on = MANTA_RETRY_TIMEOUT),
                                 &t);
    EXPECT_STATUS(MANTA_ERR_TIMEOUT, manta_read(x, nullptr, 0, MANTA_S(100)));
    EXPECT_OK(manta_drain(MANTA_S(100)));
    EXPECT_EQ(2, t.attempts);
    EXPECT_EQ(2, t.ended);
    EXPECT_OK(manta_release(x));
    EXPECT_OK(manta_release(t.promise));
}

// Of the task's runtime: what the task waits for knows nothing of it.
TEST_P(AbroadTest, AShutdownThatCancelsEndsTheWait)
{
    for (int how : {READ, READ_TIMED, WAIT_SOME, QUEUE}) {
        ScopedRuntime home(1, "home");
        trip t;
        t.how = how;
        t.promise = promise_in(runtime_);
        t.cq = queue_in(runtime_);
        manta_ref_t x = ab_wait_with(MANTA_OPTIONS(.runtime = home.get()), &t);
        t.gate.await(1);
        EXPECT_OK(manta_release(x));
        EXPECT_OK(manta_runtime_shutdown(home.get(), MANTA_SHUTDOWN_CANCEL, MANTA_S(100)));
        home.forget();
        EXPECT_EQ(1, t.ended);
        EXPECT_STATUS(MANTA_ERR_WAIT_CANCELLED, (manta_status_t)t.status.load());
        EXPECT_OK(manta_release(t.promise));
        EXPECT_OK(manta_cq_destroy(t.cq));
    }
}

// Of the awaited ref's runtime: the promise fails, the queue has ended.
TEST_P(AbroadTest, AShutdownOverThereEndsTheWait)
{
    SKIP_IF_SERIAL();
    for (int how : {READ, READ_TIMED, WAIT_SOME, QUEUE}) {
        ScopedRuntime other(1, "other");
        trip t;
        t.how = how;
        t.promise = promise_in(other.get());
        t.cq = queue_in(other.get());
        manta_ref_t x = ab_wait_remote(&t);
        t.gate.await(1);
        EXPECT_OK(manta_release(t.promise)); // fails it, or the shutdown does
        EXPECT_OK(manta_runtime_shutdown(other.get(), MANTA_SHUTDOWN_DRAIN, MANTA_S(100)));
        other.forget();
        EXPECT_OK(manta_drain(MANTA_S(100)));
        EXPECT_EQ(1, t.ended);
        EXPECT_OK(manta_release(x));
        EXPECT_OK(manta_cq_destroy(t.cq));
    }
}

// Everybody waits for what one queued behind them does.
TEST_P(AbroadTest, TheSeatsAreFreeMeanwhile)
{
    for (int how : {READ, WAIT_SOME, QUEUE}) {
        ScopedRuntime other(1, "other");
        trip t;
        t.how = how;
        t.promise = promise_in(other.get());
        t.cq = queue_in(other.get());
        std::vector<manta_ref_t> refs;
        for (int i = 0; i < workers() + 1; i++) {
            refs.push_back(ab_wait_remote(&t));
            EXPECT_OK(manta_cq_add(t.cq, t.promise, 1));
        }
        refs.push_back(ab_keep_remote(&t, 7));
        EXPECT_OK(manta_drain(is_serial() ? MANTA_FOREVER : MANTA_S(100)));
        EXPECT_EQ(workers() + 1, t.ended);
        EXPECT_STATUS(MANTA_OK, (manta_status_t)t.status.load());
        for (manta_ref_t ref : refs)
            EXPECT_OK(manta_release(ref));
        EXPECT_OK(manta_release(t.promise));
        EXPECT_OK(manta_cq_destroy(t.cq));
    }
}

// The same without any thread to be had.
TEST_P(AbroadTest, WithoutASpareThread)
{
    manta_runtime_options_t options;
    manta_runtime_options_init(&options);
    options.workers = workers();
    options.max_threads = workers() ? workers() : 1;
    manta_runtime_t home = {0};
    ASSERT_OK(manta_runtime_create(&options, &home));
    manta_task_options_t at_home = MANTA_OPTIONS(.runtime = home);
    for (int how : {READ, WAIT_SOME, QUEUE}) {
        trip t;
        t.how = how;
        t.promise = promise_in(runtime_);
        t.cq = queue_in(runtime_);
        std::vector<manta_ref_t> refs;
        for (int i = 0; i < workers() + 1; i++) {
            refs.push_back(ab_wait_with(at_home, &t));
            EXPECT_OK(manta_cq_add(t.cq, t.promise, 1));
        }
        refs.push_back(ab_keep_with(at_home, &t, 7));
        for (manta_ref_t ref : refs) {
            EXPECT_OK(manta_wait(&ref, 1, 1, is_serial() ? MANTA_FOREVER : MANTA_S(100), nullptr,
                                 nullptr));
            EXPECT_OK(manta_release(ref));
        }
        EXPECT_EQ(workers() + 1, t.ended);
        EXPECT_OK(manta_release(t.promise));
        EXPECT_OK(manta_cq_destroy(t.cq));
    }
    EXPECT_OK(manta_runtime_shutdown(home, MANTA_SHUTDOWN_DRAIN, MANTA_S(100)));
}
