// Waiting and being told: get and wait with timeouts, callbacks, completion queues, deadlocks, depth.
#include "support/runtime_fixture.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include <poll.h>
#include <pthread.h>

using namespace manta_testing;

class WaitTest : public RuntimeTest
{
};
MANTA_TEST_WORKERS(WaitTest);

MANTA_TASK(wt_add, MANTA_VAL(int, a), MANTA_VAL(int, b), MANTA_OUT(int, sum, 1))
{
    sum[0] = a + b;
    return MANTA_OK;
}

MANTA_TASK(wt_copy, MANTA_IN(int, x), MANTA_OUT(int, y, 1))
{
    y[0] = x[0];
    return MANTA_OK;
}

MANTA_TASK(wt_hold, MANTA_LOCAL(Gate *, gate), MANTA_OUT(int, x, 1))
{
    gate->arrive();
    gate->pass();
    x[0] = 7;
    return MANTA_OK;
}

static manta_ref_t int_promise()
{
    return manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
}

static manta_status_t status_of(manta_ref_t ref)
{
    manta_view_t view = {};
    manta_status_t status = manta_get(ref, &view, MANTA_FOREVER);
    manta_view_release(&view);
    return status;
}

// ---- timeouts ---------------------------------------------------------------------------------

TEST_P(WaitTest, TimedWaitsNeverRunTasks)
{
    MANTA_SCOPE();
    auto x = wt_add_remote(1, 2);
    manta_view_t view;
    if (is_serial()) {
        EXPECT_STATUS(MANTA_NOT_READY, manta_get(x, &view, 0));
        EXPECT_STATUS(MANTA_NOT_READY, manta_get(x, &view, MANTA_MS(2)));
        size_t count = 9;
        EXPECT_STATUS(MANTA_NOT_READY, manta_wait(&x, 1, 1, MANTA_MS(2), nullptr, &count));
        EXPECT_EQ(0u, count);
    } else {
        EXPECT_OK(manta_get(x, &view, MANTA_S(50)));
    }
    EXPECT_EQ(3, value_of<int>(x));
    EXPECT_OK(manta_get(x, &view, 0));
    EXPECT_OK(manta_get(x, &view, -5));
}

TEST_P(WaitTest, TimeoutsRunOutAndTheRefStaysPending)
{
    MANTA_SCOPE();
    manta_ref_t p = int_promise();
    manta_view_t view;
    int x;
    for (int64_t timeout : {(int64_t)0, (int64_t)-1, (int64_t)1, MANTA_US(50), MANTA_MS(3)}) {
        EXPECT_STATUS(MANTA_NOT_READY, manta_get(p, &view, timeout));
        EXPECT_STATUS(MANTA_NOT_READY, manta_read(p, &x, sizeof x, timeout));
        EXPECT_STATUS(MANTA_NOT_READY, manta_wait(&p, 1, 1, timeout, nullptr, nullptr));
    }
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(p));
    x = 1;
    EXPECT_OK(manta_promise_set(p, &x, sizeof x));
    EXPECT_OK(manta_get(p, &view, 0));
}

TEST_P(WaitTest, ATimedWaitEndsWhenTheValueComes)
{
    for (int i = 0; i < 20; i++) {
        MANTA_SCOPE();
        manta_ref_t p = int_promise();
        std::thread setter([p] {
            int x = 3;
            EXPECT_OK(manta_promise_set(p, &x, sizeof x));
        });
        int x = 0;
        EXPECT_OK(manta_read(p, &x, sizeof x, MANTA_S(50)));
        EXPECT_EQ(3, x);
        setter.join();
    }
}

// ---- wait -------------------------------------------------------------------------------------

TEST_P(WaitTest, KOfNInTheOrderOfTheRefs)
{
    MANTA_SCOPE();
    manta_ref_t refs[6];
    for (manta_ref_t &ref : refs)
        ref = int_promise();
    size_t ready[6], count = 99;
    EXPECT_OK(manta_wait(refs, 6, 0, 0, ready, &count));
    EXPECT_EQ(0u, count);
    EXPECT_STATUS(MANTA_NOT_READY, manta_wait(refs, 6, 1, 0, ready, &count));
    EXPECT_EQ(0u, count);
    int x = 1;
    EXPECT_OK(manta_promise_set(refs[4], &x, sizeof x));
    EXPECT_OK(manta_promise_fail(refs[1], MANTA_ERR_USER, "failed counts as ready"));
    EXPECT_OK(manta_wait(refs, 6, 2, MANTA_FOREVER, ready, &count));
    ASSERT_EQ(2u, count);
    EXPECT_EQ(1u, ready[0]);
    EXPECT_EQ(4u, ready[1]);
    EXPECT_OK(manta_wait(refs, 6, 1, MANTA_FOREVER, ready, &count));
    EXPECT_EQ(2u, count) << "all that are ready";
    EXPECT_STATUS(MANTA_NOT_READY, manta_wait(refs, 6, 3, MANTA_MS(2), ready, &count));
    ASSERT_EQ(2u, count);
    EXPECT_EQ(1u, ready[0]);
    EXPECT_EQ(4u, ready[1]);
    EXPECT_OK(manta_wait(refs, 6, 1, MANTA_FOREVER, nullptr, nullptr));
    for (int i : {0, 2, 3, 5})
        EXPECT_OK(manta_promise_set(refs[i], &x, sizeof x));
    EXPECT_OK(manta_wait(refs, 6, 6, MANTA_FOREVER, ready, &count));
    EXPECT_EQ(6u, count);
    for (size_t i = 0; i < 6; i++)
        EXPECT_EQ(i, ready[i]);
}

TEST_P(WaitTest, WaitForTasks)
{
    MANTA_SCOPE();
    std::vector<manta_ref_t> refs;
    for (int i = 0; i < 500; i++)
        refs.push_back(wt_add_remote(i, 0));
    std::vector<size_t> ready(refs.size());
    size_t count;
    for (size_t k : {1u, 10u, 499u, 500u}) {
        EXPECT_OK(manta_wait(refs.data(), refs.size(), k, MANTA_FOREVER, ready.data(), &count));
        EXPECT_GE(count, k);
        EXPECT_TRUE(std::is_sorted(ready.begin(), ready.begin() + (long)count));
        for (size_t i = 0; i < count; i++) {
            EXPECT_NE(MANTA_NOT_READY, manta_ref_status(refs[ready[i]]));
        }
    }
}

TEST_P(WaitTest, BadWaits)
{
    MANTA_SCOPE();
    manta_ref_t refs[2] = {put1(1), put1(2)};
    size_t count = 9;
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_wait(refs, 2, 3, 0, nullptr, &count));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_wait(nullptr, 2, 1, 0, nullptr, &count));
    EXPECT_OK(manta_wait(nullptr, 0, 0, 0, nullptr, &count));
    EXPECT_EQ(0u, count);
    refs[1] = {123ull << 32 | 7};
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_wait(refs, 2, 1, 0, nullptr, &count));
    refs[1] = manta_put_typed(nullptr, 8, 0); // an error ref is ready
    EXPECT_OK(manta_wait(refs, 2, 2, 0, nullptr, &count));
    EXPECT_EQ(2u, count);
    refs[1] = refs[0]; // twice the same
    EXPECT_OK(manta_wait(refs, 2, 2, MANTA_FOREVER, nullptr, &count));
    EXPECT_EQ(2u, count);
}

TEST_P(WaitTest, TheSamePendingRefTwice)
{
    MANTA_SCOPE();
    auto x = wt_add_remote(1, 2);
    manta_ref_t refs[3] = {x, x, int_promise()};
    size_t count;
    EXPECT_OK(manta_wait(refs, 3, 2, MANTA_FOREVER, nullptr, &count));
    EXPECT_EQ(2u, count);
}

static void many_threads_wait()
{
    for (int round = 0; round < 20; round++) {
        MANTA_SCOPE();
        manta_ref_t p = int_promise();
        manta_ref_t x = wt_copy_remote(p);
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; i++) {
            threads.emplace_back([x, i] {
                int got = 0;
                size_t n;
                if (i % 2) {
                    EXPECT_OK(manta_wait(&x, 1, 1, MANTA_FOREVER, nullptr, &n));
                }
                EXPECT_OK(manta_read(x, &got, sizeof got, MANTA_FOREVER));
                EXPECT_EQ(5, got);
            });
        }
        int five = 5;
        EXPECT_OK(manta_promise_set(p, &five, sizeof five));
        for (std::thread &thread : threads)
            thread.join();
    }
}

TEST_P(WaitTest, ManyThreadsWaitForOneRef)
{
    SKIP_IF_SERIAL();
    many_threads_wait();
}

// Hangs: nobody wakes a sleeping waiter of a serial runtime when a task becomes ready.
TEST_P(WaitTest, ManyThreadsWaitInASerialRuntime)
{
    many_threads_wait();
}

TEST_P(WaitTest, AWaiterRunsTheAwaitedTaskIfNobodyElseCan)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    Gate gate;
    std::vector<manta_ref_t> held;
    for (int i = 0; i < workers(); i++)
        held.push_back(wt_hold_remote(&gate));
    gate.await(workers()); // all workers are busy
    auto x = wt_add_remote(1, 2);
    manta_ref_t y = wt_copy_remote(x);
    for (int i = 0; i < 10; i++)
        y = wt_copy_remote(y);
    EXPECT_EQ(3, value_of<int>(y));
    gate.open();
    for (manta_ref_t ref : held)
        EXPECT_EQ(7, value_of<int>(ref));
}

MANTA_TASK(wt_under_lock, MANTA_LOCAL(std::mutex *, lock), MANTA_IN(int, x), MANTA_OUT(int, y, 1))
{
    std::lock_guard<std::mutex> guard(*lock);
    auto z = wt_copy_remote(put1(x[0]));
    int value;
    manta_status_t status = wt_copy_result(z, &value);
    y[0] = value;
    return status;
}

TEST_P(WaitTest, AWaiterNeverRunsUnrelatedWork)
{
    // Waits with a lock held: running another of these inside would lock it twice.
    MANTA_SCOPE();
    std::mutex lock;
    std::vector<manta_ref_t> refs;
    for (int i = 0; i < 300; i++)
        refs.push_back(wt_under_lock_remote(&lock, put1(i)));
    for (int i = 0; i < 300; i++)
        EXPECT_EQ(i, value_of<int>(refs[i]));
}

// ---- told: callbacks --------------------------------------------------------------------------

struct told {
    std::atomic<int> count{0};
    std::atomic<int> status{-1};
    std::atomic<int> wait_status{-1};
    std::atomic<uint64_t> id{0};
    std::thread::id registered_on;
    std::atomic<bool> inside{false};
    manta_ref_t pending = {0};
    std::atomic<bool> submits{false};
};

static thread_local bool t_registering;

static void on_told(manta_ref_t ref, manta_status_t status, void *user)
{
    told *t = static_cast<told *>(user);
    if (t_registering) t->inside = true;
    t->id = ref.id;
    t->status = status;
    if (t->pending.id) {
        manta_view_t view;
        size_t n;
        t->wait_status = manta_get(t->pending, &view, MANTA_FOREVER);
        EXPECT_STATUS(MANTA_ERR_NOT_ALLOWED_HERE, manta_drain(MANTA_FOREVER));
        EXPECT_STATUS(MANTA_ERR_NOT_ALLOWED_HERE,
                      manta_wait(&t->pending, 1, 1, MANTA_MS(10), nullptr, &n));
        EXPECT_STATUS(MANTA_ERR_NOT_ALLOWED_HERE, manta_shutdown(MANTA_FOREVER));
    }
    if (t->submits) {
        EXPECT_OK(wt_add_go(1, 2));
    }
    t->count.fetch_add(1);
}

static manta_status_t tell(manta_ref_t ref, told *t)
{
    t_registering = true;
    manta_status_t status = manta_on_ready(ref, on_told, t);
    t_registering = false;
    return status;
}

TEST_P(WaitTest, OnReadyIsCalledOnceWhenReady)
{
    MANTA_SCOPE();
    told ready, later, failed, task;
    task.submits = true;
    manta_ref_t value = put1(1), p = int_promise(), q = int_promise(), x = wt_copy_remote(p);
    EXPECT_OK(tell(value, &ready));
    EXPECT_OK(tell(p, &later));
    EXPECT_OK(tell(q, &failed));
    EXPECT_OK(tell(x, &task));
    EXPECT_FALSE(ready.inside) << "never inside the call";
    int one = 1;
    EXPECT_OK(manta_promise_set(p, &one, sizeof one));
    EXPECT_OK(manta_promise_fail(q, MANTA_ERR_USER + 5, "x"));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    while (!is_serial() && ready.count + later.count + failed.count + task.count < 4) {
        std::this_thread::yield();
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(1, ready.count);
    EXPECT_EQ(1, later.count);
    EXPECT_EQ(1, failed.count);
    EXPECT_EQ(1, task.count);
    EXPECT_STATUS(MANTA_OK, later.status);
    EXPECT_STATUS(MANTA_ERR_USER + 5, failed.status);
    EXPECT_EQ(x.id, task.id);
    for (told *t : {&ready, &later, &failed, &task})
        EXPECT_FALSE(t->inside);
}

TEST_P(WaitTest, CallbacksMayNotWait)
{
    MANTA_SCOPE();
    told t;
    t.pending = int_promise();
    EXPECT_OK(tell(put1(1), &t));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    while (!is_serial() && t.count < 1)
        std::this_thread::yield();
    EXPECT_EQ(1, t.count);
    EXPECT_STATUS(MANTA_ERR_NOT_ALLOWED_HERE, t.wait_status);
}

TEST_P(WaitTest, CallbacksRunAtShutdownToo)
{
    told pending, ready[50];
    manta_ref_t p = int_promise();
    EXPECT_OK(tell(p, &pending));
    manta_ref_t value = put1(1);
    for (told &t : ready)
        EXPECT_OK(tell(value, &t));
    EXPECT_OK(manta_shutdown(MANTA_S(50)));
    runtime_ = {0};
    EXPECT_EQ(1, pending.count);
    EXPECT_NE(MANTA_OK, pending.status);
    for (told &t : ready)
        EXPECT_EQ(1, t.count);
    (void)take_log(); // the leaks
}

TEST_P(WaitTest, ManyCallbacksOnOneRef)
{
    MANTA_SCOPE();
    std::vector<told> all(1000);
    manta_ref_t p = int_promise();
    for (told &t : all)
        EXPECT_OK(tell(p, &t));
    int one = 1;
    EXPECT_OK(manta_promise_set(p, &one, sizeof one));
    EXPECT_OK(manta_release(p));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    for (told &t : all) {
        while (!is_serial() && t.count < 1)
            std::this_thread::yield();
        EXPECT_EQ(1, t.count);
    }
}

TEST_P(WaitTest, OnReadyOfBadRefs)
{
    told t;
    EXPECT_STATUS(MANTA_ERR_STALE_REF, tell({5ull << 32 | 1}, &t));
    MANTA_SCOPE();
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_on_ready(put1(1), nullptr, nullptr));
    EXPECT_EQ(0, t.count);
}

// ---- completion queues ------------------------------------------------------------------------

TEST_P(WaitTest, QueueGivesRefsInTheOrderInWhichTheyBecameReady)
{
    MANTA_SCOPE();
    manta_cq_t cq;
    ASSERT_OK(manta_cq_create(&cq));
    manta_ref_t refs[5];
    for (int i = 0; i < 5; i++) {
        refs[i] = int_promise();
        EXPECT_OK(manta_cq_add(cq, refs[i], 100 + (uint64_t)i));
    }
    manta_cq_entry_t entries[10];
    size_t count = 9;
    EXPECT_STATUS(MANTA_NOT_READY, manta_cq_next(cq, entries, 10, &count, 0));
    EXPECT_EQ(0u, count);
    EXPECT_STATUS(MANTA_NOT_READY, manta_cq_next(cq, entries, 10, &count, MANTA_MS(2)));
    int x = 1;
    for (int i : {3, 0, 4})
        EXPECT_OK(manta_promise_set(refs[i], &x, sizeof x));
    EXPECT_OK(manta_promise_fail(refs[1], MANTA_ERR_USER + 1, "x"));
    EXPECT_OK(manta_cq_next(cq, entries, 2, &count, MANTA_FOREVER));
    ASSERT_EQ(2u, count);
    EXPECT_EQ(103u, entries[0].tag);
    EXPECT_EQ(refs[3].id, entries[0].ref.id);
    EXPECT_EQ(100u, entries[1].tag);
    EXPECT_OK(manta_cq_next(cq, entries, 10, &count, MANTA_FOREVER));
    ASSERT_EQ(2u, count);
    EXPECT_EQ(104u, entries[0].tag);
    EXPECT_EQ(101u, entries[1].tag);
    EXPECT_STATUS(MANTA_ERR_USER + 1, entries[1].status);
    EXPECT_OK(manta_cq_destroy(cq)); // one is still in it
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_cq_destroy(cq));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_cq_add(cq, refs[0], 0));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_cq_next(cq, entries, 1, &count, MANTA_FOREVER));
    EXPECT_EQ(-1, manta_cq_fd(cq));
    EXPECT_OK(manta_promise_set(refs[2], &x, sizeof x));
}

TEST_P(WaitTest, QueueInAPollLoop)
{
    MANTA_SCOPE();
    manta_cq_t cq;
    ASSERT_OK(manta_cq_create(&cq));
    struct pollfd poller = {manta_cq_fd(cq), POLLIN, 0};
    ASSERT_GE(poller.fd, 0);
    EXPECT_EQ(0, poll(&poller, 1, 0));
    std::vector<manta_ref_t> refs;
    for (int i = 0; i < 200; i++) {
        refs.push_back(wt_add_remote(i, 1));
        EXPECT_OK(manta_cq_add(cq, refs.back(), (uint64_t)i));
    }
    if (is_serial()) {
        EXPECT_OK(manta_drain(MANTA_FOREVER)); // nobody else runs anything
    }
    std::vector<bool> seen(refs.size());
    size_t total = 0;
    while (total < refs.size()) {
        ASSERT_EQ(1, poll(&poller, 1, 50000));
        manta_cq_entry_t entries[7];
        size_t count;
        manta_status_t status = manta_cq_next(cq, entries, 7, &count, 0);
        if (status == MANTA_NOT_READY) continue;
        ASSERT_OK(status);
        for (size_t i = 0; i < count; i++) {
            EXPECT_EQ((int)entries[i].tag + 1, value_of<int>(entries[i].ref));
            EXPECT_FALSE(seen[entries[i].tag]);
            seen[entries[i].tag] = true;
        }
        total += count;
    }
    EXPECT_EQ(0, poll(&poller, 1, 0)) << "empty again";
    EXPECT_OK(manta_cq_destroy(cq));
}

TEST_P(WaitTest, QueueOfWhatIsReadyAlready)
{
    MANTA_SCOPE();
    manta_cq_t cq;
    ASSERT_OK(manta_cq_create(&cq));
    struct pollfd poller = {manta_cq_fd(cq), POLLIN, 0};
    manta_ref_t value = put1(1), bad = manta_put_typed(nullptr, 8, 0);
    EXPECT_OK(manta_cq_add(cq, value, 1));
    EXPECT_OK(manta_cq_add(cq, value, 2)); // twice is twice
    EXPECT_OK(manta_cq_add(cq, bad, 3));
    EXPECT_EQ(1, poll(&poller, 1, 0));
    EXPECT_EQ(1, poll(&poller, 1, 0)) << "level-triggered";
    manta_cq_entry_t entries[3];
    size_t count;
    EXPECT_OK(manta_cq_next(cq, entries, 1, &count, 0));
    EXPECT_EQ(1u, entries[0].tag);
    EXPECT_EQ(1, poll(&poller, 1, 0)) << "two are left";
    EXPECT_OK(manta_cq_next(cq, entries, 3, &count, 0));
    EXPECT_EQ(2u, count);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, entries[1].status);
    EXPECT_EQ(0, poll(&poller, 1, 0));
    EXPECT_OK(manta_cq_destroy(cq));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_cq_destroy(manta_cq_t{0}));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_cq_destroy(manta_cq_t{0x1234567812345678}));
}

TEST_P(WaitTest, ASerialQueueRunsTasksInNext)
{
    MANTA_SCOPE();
    manta_cq_t cq;
    ASSERT_OK(manta_cq_create(&cq));
    auto x = wt_add_remote(1, 2);
    EXPECT_OK(manta_cq_add(cq, x, 5));
    manta_cq_entry_t entry;
    size_t count;
    EXPECT_OK(manta_cq_next(cq, &entry, 1, &count, MANTA_FOREVER));
    EXPECT_EQ(5u, entry.tag);
    EXPECT_OK(manta_cq_destroy(cq));
}

TEST_P(WaitTest, SeveralThreadsTakeFromAQueue)
{
    MANTA_SCOPE();
    manta_cq_t cq;
    ASSERT_OK(manta_cq_create(&cq));
    constexpr int kAll = 1000;
    std::atomic<int> taken{0};
    std::vector<std::atomic<int>> times(kAll);
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; i++) {
        threads.emplace_back([&] {
            while (taken < kAll) {
                manta_cq_entry_t entries[4];
                size_t count;
                manta_status_t status = manta_cq_next(cq, entries, 4, &count, MANTA_MS(20));
                if (status == MANTA_NOT_READY) continue;
                ASSERT_OK(status);
                for (size_t k = 0; k < count; k++)
                    times[entries[k].tag]++;
                taken += (int)count;
            }
        });
    }
    for (int i = 0; i < kAll; i++) {
        EXPECT_OK(manta_cq_add(cq, wt_add_remote(i, 0), (uint64_t)i));
    }
    if (is_serial()) {
        EXPECT_OK(manta_drain(MANTA_FOREVER));
    }
    for (std::thread &thread : threads)
        thread.join();
    for (auto &n : times)
        EXPECT_EQ(1, n);
    EXPECT_OK(manta_cq_destroy(cq));
}

TEST_P(WaitTest, QueuesLeftOverDoNotDisturbShutdown)
{
    manta_cq_t cq;
    ASSERT_OK(manta_cq_create(&cq));
    manta_ref_t p = int_promise();
    EXPECT_OK(manta_cq_add(cq, p, 1));
    EXPECT_OK(manta_shutdown(MANTA_S(50)));
    runtime_ = {0};
    manta_cq_entry_t entry;
    size_t count;
    manta_status_t status = manta_cq_next(cq, &entry, 1, &count, 0);
    EXPECT_TRUE(status == MANTA_ERR_STALE_REF || status == MANTA_ERR_SHUTDOWN || status == MANTA_OK)
        << status;
    (void)manta_cq_destroy(cq);
    (void)take_log();
}

// ---- waits that can never end -----------------------------------------------------------------

MANTA_TASK(wt_wait_for, MANTA_LOCAL(manta_ref_t *, on), MANTA_LOCAL(Gate *, gate),
           MANTA_OUT(int, status, 1))
{
    if (gate) {
        gate->arrive();
        gate->pass();
    }
    manta_view_t view;
    status[0] = manta_get(*on, &view, MANTA_FOREVER);
    return MANTA_OK;
}

MANTA_TASK(wt_wait_through, MANTA_IN(uint64_t, promised), MANTA_OUT(int, status, 1))
{
    // The refs come through a promise, as bytes.
    manta_ref_t on = {promised[0]};
    manta_view_t view;
    status[0] = manta_get(on, &view, MANTA_FOREVER);
    return MANTA_OK;
}

TEST_P(WaitTest, ATaskThatWaitsForItsOwnResult)
{
    MANTA_SCOPE();
    manta_ref_t self = manta_promise_create(0);
    manta_ref_t own = wt_wait_through_remote(self);
    EXPECT_OK(manta_promise_set(self, &own.id, sizeof own.id));
    EXPECT_STATUS(MANTA_ERR_DEADLOCK, value_of<int>(own));
}

TEST_P(WaitTest, ATaskThatWaitsForItsDependent)
{
    MANTA_SCOPE();
    manta_ref_t self = manta_promise_create(0);
    manta_ref_t own = wt_wait_through_remote(self);
    manta_ref_t dependent = wt_copy_remote(wt_copy_remote(own));
    EXPECT_OK(manta_promise_set(self, &dependent.id, sizeof dependent.id));
    EXPECT_STATUS(MANTA_ERR_DEADLOCK, value_of<int>(own));
    EXPECT_STATUS(MANTA_ERR_DEADLOCK, value_of<int>(dependent));
}

TEST_P(WaitTest, ATaskThatWaitsForItselfThroughAForward)
{
    MANTA_SCOPE();
    manta_ref_t self = manta_promise_create(0), p = int_promise();
    manta_ref_t own = wt_wait_through_remote(self);
    EXPECT_OK(manta_promise_forward(p, own));
    EXPECT_OK(manta_promise_set(self, &p.id, sizeof p.id));
    EXPECT_STATUS(MANTA_ERR_DEADLOCK, value_of<int>(own));
}

TEST_P(WaitTest, TwoTasksThatWaitForEachOther)
{
    for (int round = 0; round < (is_serial() ? 1 : 50); round++) {
        MANTA_SCOPE();
        manta_ref_t to_a = manta_promise_create(0), to_b = manta_promise_create(0);
        manta_ref_t a = wt_wait_through_remote(to_a), b = wt_wait_through_remote(to_b);
        EXPECT_OK(manta_promise_set(to_a, &b.id, sizeof b.id));
        EXPECT_OK(manta_promise_set(to_b, &a.id, sizeof a.id));
        // One of them finds out; the other then gets its value.
        int x = value_of<int>(a), y = value_of<int>(b);
        EXPECT_TRUE(x == MANTA_ERR_DEADLOCK || y == MANTA_ERR_DEADLOCK) << x << " " << y;
        EXPECT_TRUE(x == MANTA_ERR_DEADLOCK || x == MANTA_OK) << x;
        EXPECT_TRUE(y == MANTA_ERR_DEADLOCK || y == MANTA_OK) << y;
    }
}

TEST_P(WaitTest, ARingOfTasksThatWaitForEachOther)
{
    constexpr int n = 5;
    for (int round = 0; round < (is_serial() ? 1 : 20); round++) {
        MANTA_SCOPE();
        manta_ref_t to[n], ring[n];
        for (int i = 0; i < n; i++) {
            to[i] = manta_promise_create(0);
            ring[i] = wt_wait_through_remote(to[i]);
        }
        for (int i = 0; i < n; i++) {
            manta_ref_t next = wt_copy_remote(ring[(i + 1) % n]);
            EXPECT_OK(manta_promise_set(to[i], &next.id, sizeof next.id));
        }
        int deadlocks = 0;
        for (int i = 0; i < n; i++) {
            int x = value_of<int>(ring[i]);
            deadlocks += x == MANTA_ERR_DEADLOCK;
            EXPECT_TRUE(x == MANTA_ERR_DEADLOCK || x == MANTA_OK) << x;
        }
        EXPECT_GE(deadlocks, 1);
    }
}

TEST_P(WaitTest, ASerialRuntimeSeesThatNothingCanRun)
{
    if (!is_serial()) GTEST_SKIP() << "for workers = 0";
    MANTA_SCOPE();
    manta_ref_t p = int_promise(), x = wt_copy_remote(p);
    EXPECT_STATUS(MANTA_ERR_DEADLOCK, manta_drain(MANTA_FOREVER));
    int one = 1;
    EXPECT_OK(manta_promise_set(p, &one, sizeof one));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(1, value_of<int>(x));
}

// ---- depth ------------------------------------------------------------------------------------

#define wt_deep_PARAMS MANTA_VAL(int, n), MANTA_OUT(int, depth, 1)
MANTA_TASK_DECLARE(wt_deep);
MANTA_TASK(wt_deep)
{
    depth[0] = 0;
    if (n == 0) return MANTA_OK;
    int below = 0;
    manta_status_t status = wt_deep_result(wt_deep_remote(n - 1), &below);
    depth[0] = below + 1;
    return status;
}

TEST_P(WaitTest, RecursionWorksOrSaysThatItIsTooDeep)
{
    for (int n : {10, 100, 1000, 10000}) {
        MANTA_SCOPE();
        auto x = wt_deep_remote(n);
        manta_status_t status = status_of(x);
        if (status == MANTA_OK) {
            EXPECT_EQ(n, value_of<int>(x));
        } else {
            EXPECT_STATUS(MANTA_ERR_TOO_DEEP, status);
            EXPECT_GT(n, 100);
        }
    }
}

static void *deep_thread(void *arg)
{
    auto x = wt_deep_remote(200);
    manta_status_t status = status_of(x);
    EXPECT_TRUE(status == MANTA_OK || status == MANTA_ERR_TOO_DEEP) << status;
    auto y = wt_add_remote(1, 2);
    int sum = 0;
    status = manta_read(y, &sum, sizeof sum, MANTA_FOREVER);
    EXPECT_TRUE((status == MANTA_OK && sum == 3) || status == MANTA_ERR_TOO_DEEP) << status;
    EXPECT_OK(manta_release(x));
    EXPECT_OK(manta_release(y));
    return arg;
}

TEST_P(WaitTest, AThreadWithLittleStack)
{
    for (size_t size : {(kSanitized ? 256u : 40u) << 10, 256u << 10}) {
        pthread_attr_t attr;
        ASSERT_EQ(0, pthread_attr_init(&attr));
        ASSERT_EQ(0, pthread_attr_setstacksize(&attr, size));
        pthread_t thread;
        ASSERT_EQ(0, pthread_create(&thread, &attr, deep_thread, nullptr));
        ASSERT_EQ(0, pthread_join(thread, nullptr));
        pthread_attr_destroy(&attr);
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
}

// ---- waits while the runtime ends -------------------------------------------------------------

TEST_P(WaitTest, WaitersGetShutdown)
{
    manta_ref_t p = int_promise();
    Gate started;
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; i++) {
        threads.emplace_back([&, i] {
            manta_view_t view;
            size_t n;
            started.arrive();
            manta_status_t status = i == 0   ? manta_get(p, &view, MANTA_FOREVER)
                                    : i == 1 ? manta_get(p, &view, MANTA_S(200))
                                             : manta_wait(&p, 1, 1, MANTA_FOREVER, nullptr, &n);
            // A serial runtime may see at once that this can't end; who came too late finds a stale
            // ref. The promise has failed by then, which is what a wait for several waits for.
            EXPECT_TRUE(status == MANTA_ERR_SHUTDOWN || status == MANTA_ERR_STALE_REF ||
                        (i == 2 && status == MANTA_OK) ||
                        (is_serial() && status == MANTA_ERR_DEADLOCK))
                << status;
        });
    }
    started.await(3);
    EXPECT_OK(manta_shutdown(MANTA_S(50)));
    runtime_ = {0};
    for (std::thread &thread : threads)
        thread.join();
    (void)take_log();
}

// The end of a long chain that hangs on the task itself.
MANTA_TASK(wt_tail, MANTA_LOCAL(Gate *, gate), MANTA_LOCAL(manta_ref_t *, tail),
           MANTA_OUT(int, x, 1))
{
    gate->pass();
    x[0] = 0;
    return status_of(*tail);
}
MANTA_TASK(wt_link, MANTA_IN(int, x), MANTA_OUT(int, y, 1))
{
    y[0] = x[0];
    return MANTA_OK;
}

TEST_P(WaitTest, ADeadlockOverALongChain)
{
    SKIP_IF_SERIAL();
    Gate gate;
    manta_ref_t tail = {0}, own = wt_tail_remote(&gate, &tail), at = manta_retain(own);
    for (int i = 0; i < (kSanitized ? 70000 : 200000); i++) {
        manta_ref_t next = wt_link_remote(at);
        EXPECT_OK(manta_release(at));
        at = next;
    }
    tail = at;
    gate.open();
    EXPECT_STATUS(MANTA_ERR_DEADLOCK, status_of(own));
    EXPECT_STATUS(MANTA_ERR_DEADLOCK, status_of(at));
    EXPECT_OK(manta_release(own));
    EXPECT_OK(manta_release(at));
}

// Through the first of two arguments each time, with something open beside it.
MANTA_TASK(wt_rung, MANTA_IN(int, x), MANTA_IN(int, side), MANTA_OUT(int, y, 1))
{
    y[0] = x[0] + side[0];
    return MANTA_OK;
}

TEST_P(WaitTest, ADeadlockDeepInAGraph)
{
    SKIP_IF_SERIAL();
    for (bool twice : {false, true}) {
        Gate gate;
        manta_ref_t open = int_promise();
        manta_ref_t tail = {0}, own = wt_tail_remote(&gate, &tail), at = manta_retain(own);
        for (int i = 0; i < 1000; i++) {
            // Twice: there are more ways than could ever be looked at.
            manta_ref_t next = twice ? wt_rung_remote(at, at) : wt_rung_remote(at, open);
            EXPECT_OK(manta_release(at));
            at = next;
        }
        tail = at;
        gate.open();
        EXPECT_STATUS(MANTA_ERR_DEADLOCK, status_of(own));
        EXPECT_OK(manta_release(own));
        EXPECT_OK(manta_release(at));
        int x = 1;
        EXPECT_OK(manta_promise_set(open, &x, sizeof x));
        EXPECT_OK(manta_release(open));
    }
}

// The same ways, and no deadlock: what all of it waits for comes later.
TEST_P(WaitTest, ManyWaysAreNoDeadlock)
{
    SKIP_IF_SERIAL();
    Gate gate;
    manta_ref_t open = int_promise();
    manta_ref_t at = manta_retain(open), tail = {0}, own = wt_tail_remote(&gate, &tail);
    for (int i = 0; i < 30; i++) {
        manta_ref_t next = wt_rung_remote(at, at);
        EXPECT_OK(manta_release(at));
        at = next;
    }
    tail = at;
    gate.open();
    EXPECT_STATUS(MANTA_NOT_READY, manta_read(own, nullptr, 0, MANTA_MS(20)));
    int x = 0;
    EXPECT_OK(manta_promise_set(open, &x, sizeof x));
    EXPECT_OK(status_of(own));
    for (manta_ref_t ref : {own, at, open})
        EXPECT_OK(manta_release(ref));
}

// A lock of the user's that is held across a wait: what runs meanwhile is only what is awaited.
struct locked {
    std::mutex lock;
    int value = 0; // guarded by lock
};
MANTA_TASK(wt_free, MANTA_VAL(int, n), MANTA_OUT(int, x, 1))
{
    x[0] = n;
    return MANTA_OK;
}
MANTA_TASK(wt_locked, MANTA_LOCAL(locked *, l), MANTA_VAL(int, n))
{
    MANTA_SCOPE();
    std::lock_guard<std::mutex> hold(l->lock);
    int got = 0;
    manta_status_t status = wt_free_result(wt_free_remote(n), &got);
    l->value += got;
    return status;
}

TEST_P(WaitTest, AUsersLockHeldAcrossAWait)
{
    MANTA_SCOPE();
    locked l;
    std::vector<manta_ref_t> refs;
    for (int i = 0; i < 300; i++)
        refs.push_back(wt_locked_remote(&l, i));
    for (manta_ref_t ref : refs)
        EXPECT_OK(status_of(ref));
    EXPECT_EQ(299 * 150, l.value);
}
