// Threads that can't be had: each creation fails once, and each time all that come after it as well.
#include "fault/fault.h"

using namespace fault;

class ThreadsTest : public ::testing::TestWithParam<int>
{
  protected:
    void run(std::function<void()> scenario)
    {
        all_rounds<FailingThreads>(
            {::testing::UnitTest::GetInstance()->current_test_info()->name(), scenario, nullptr},
            GetParam());
    }
};
MANTA_TEST_WORKERS(ThreadsTest);

TEST_P(ThreadsTest, StartFailsAndLeavesNothing)
{
    for (long count : {1L, kAll}) {
        for (int n = 1; n <= GetParam() + 1; n++) {
            CountingAllocator allocator;
            Log log;
            manta_runtime_options_t options = small_options(GetParam(), &allocator, &log);
            manta_runtime_t runtime = {0};
            FailingThreads fail(n, count);
            if (n <= GetParam()) {
                EXPECT_STATUS(MANTA_ERR_SYSTEM, manta_runtime_create(&options, &runtime));
                EXPECT_NE(std::string::npos, std::string(manta_error_message()).find("worker"));
            } else {
                ASSERT_OK(manta_runtime_create(&options, &runtime));
                EXPECT_OK(manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_DRAIN, MANTA_FOREVER));
            }
            EXPECT_EQ(0, allocator.bytes());
        }
    }
}

TEST_P(ThreadsTest, DefaultRuntimeStartsAtTheNextTry)
{
    if (GetParam() == 0) GTEST_SKIP() << "no threads";
    CountingAllocator allocator;
    Log log;
    manta_runtime_options_t options = small_options(GetParam(), &allocator, &log);
    {
        FailingThreads fail(1);
        EXPECT_STATUS(MANTA_ERR_SYSTEM, manta_init(&options));
    }
    EXPECT_OK(manta_init(&options));
    manta_ref_t twice = ft_double_remote(4);
    EXPECT_EQ(8, value_of<int>(twice));
    drop(twice);
    EXPECT_OK(manta_shutdown(MANTA_S(30)));
    EXPECT_EQ(0, allocator.bytes());
}

MANTA_TASK(ft_tree, MANTA_VAL(int, depth), MANTA_OUT(int, leaves, 1))
{
    leaves[0] = 1;
    if (depth == 0) return MANTA_OK;
    manta::ref<int> a = ft_tree_remote(depth - 1), b = ft_tree_remote(depth - 1);
    int x, y;
    manta_status_t status = manta_read(a, &x, sizeof x, MANTA_FOREVER);
    if (status == MANTA_OK) status = manta_read(b, &y, sizeof y, MANTA_FOREVER);
    if (status != MANTA_OK) return status;
    leaves[0] = x + y;
    return MANTA_OK;
}

// Deadlines need a thread, and say so; without one nothing else does.
TEST_P(ThreadsTest, Deadlines)
{
    run([] {
        for (int i = 0; i < 3; i++) {
            manta::ref<int> x = ft_double_with(MANTA_OPTIONS(.deadline_ns = MANTA_S(1000)), 4);
            manta_status_t status = manta_wait(&x, 1, 1, MANTA_FOREVER, nullptr, nullptr);
            EXPECT_OK(status);
            status = manta_ref_status(x);
            EXPECT_TRUE(status == MANTA_OK || status == MANTA_ERR_SYSTEM) << status;
            if (status == MANTA_ERR_SYSTEM) {
                EXPECT_NE(std::string::npos, std::string(manta_error_message()).find("timers"));
            }
            drop(x);
        }
        manta_task_options_t again =
            MANTA_OPTIONS(.max_retries = 1, .resources[0] = manta_resource("tape", 1));
        manta::ref<int> y = ft_double_with(again, 4);
        EXPECT_EQ(8, value_of<int>(y));
        drop(y);
    });
}

// Without a spare, whoever waits runs what it waits for itself.
TEST_P(ThreadsTest, NestedGets)
{
    run([] {
        manta::ref<int> leaves = ft_tree_remote(8);
        EXPECT_EQ(256, value_of<int>(leaves));
        drop(leaves);
    });
}

MANTA_TASK(ft_wait_for, MANTA_LOCAL(manta_ref_t *, promise), MANTA_OUT(int, x, 1))
{
    (void)task;
    return manta_read(*promise, x.data, sizeof(int), MANTA_FOREVER);
}

MANTA_TASK(ft_keep_promise, MANTA_LOCAL(manta_ref_t *, promise), MANTA_VAL(int, value))
{
    (void)task;
    return manta_promise_set(*promise, &value, sizeof value);
}

// Every worker sleeps in a wait; what ends the wait is submitted later, and there is nobody else to
// run it.
TEST_P(ThreadsTest, WaitsForWhatIsSubmittedLater)
{
    if (GetParam() == 0) GTEST_SKIP() << "the test would wait for itself";
    int workers = GetParam();
    run([workers] {
        manta_ref_t promise = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
        std::vector<manta_ref_t> waits;
        for (int i = 0; i < workers; i++)
            waits.push_back(ft_wait_for_remote(&promise));
        manta_ref_t kept = ft_keep_promise_remote(&promise, 7);
        for (manta_ref_t wait : waits) {
            // Timed, so that this thread only looks: the workers have to do it.
            int value = 0;
            EXPECT_OK(manta_read(wait, &value, sizeof value, MANTA_S(40)));
            EXPECT_EQ(7, value);
            drop(wait);
        }
        EXPECT_OK(manta_read(kept, nullptr, 0, MANTA_S(40)));
        drop(kept);
        drop(promise);
    });
}

// Waits for all that it submits through a completion queue.
MANTA_TASK(ft_collect, MANTA_VAL(int, n), MANTA_OUT(int, sum, 1))
{
    (void)task;
    manta_cq_t cq;
    manta_status_t status = manta_cq_create(&cq);
    sum[0] = 0;
    for (int i = 0; i < n && status == MANTA_OK; i++)
        status = manta_cq_add(cq, ft_double_remote(i), (uint64_t)i);
    for (size_t got = 0, count; got < (size_t)n && status == MANTA_OK; got += count) {
        manta_cq_entry_t entries[3];
        status = manta_cq_next(cq, entries, 3, &count, MANTA_FOREVER);
        for (size_t i = 0; i < count && status == MANTA_OK; i++) {
            int x = 0;
            status = manta_read(entries[i].ref, &x, sizeof x, 0);
            sum[0] += x;
        }
    }
    manta_status_t destroyed = manta_cq_destroy(cq);
    return status == MANTA_OK ? destroyed : status;
}

TEST_P(ThreadsTest, QueuesInTasks)
{
    int times = GetParam() + 1;
    bool serial = GetParam() == 0;
    run([times, serial] {
        std::vector<manta_ref_t> sums;
        for (int i = 0; i < times; i++)
            sums.push_back(ft_collect_remote(20));
        for (manta_ref_t sum : sums) {
            int value = 0;
            // Timed, so that this thread only looks: the workers have to do it.
            EXPECT_OK(manta_read(sum, &value, sizeof value, serial ? MANTA_FOREVER : MANTA_S(40)));
            EXPECT_EQ(380, value);
            drop(sum);
        }
    });
}

// What comes into the queue is known only later, and by somebody who is queued behind.
MANTA_TASK(ft_next, MANTA_LOCAL(manta_cq_t *, cq), MANTA_OUT(int, x, 1))
{
    (void)task;
    manta_cq_entry_t entry;
    size_t count;
    manta_status_t status = manta_cq_next(*cq, &entry, 1, &count, MANTA_FOREVER);
    return status == MANTA_OK ? manta_read(entry.ref, x.data, sizeof(int), 0) : status;
}
MANTA_TASK(ft_add, MANTA_LOCAL(manta_cq_t *, cq), MANTA_IN(int, x), MANTA_LOCAL(manta_ref_t *, ref))
{
    (void)task;
    (void)x;
    return manta_cq_add(*cq, *ref, 1);
}

TEST_P(ThreadsTest, QueuesThatAreFilledLater)
{
    int n = GetParam() ? GetParam() : 1;
    bool serial = GetParam() == 0;
    run([n, serial] {
        manta_cq_t cq;
        ASSERT_OK(manta_cq_create(&cq));
        manta_ref_t made = ft_double_remote(21);
        std::vector<manta_ref_t> takes, adds;
        for (int i = 0; i < n; i++)
            takes.push_back(ft_next_remote(&cq));
        for (int i = 0; i < n; i++)
            adds.push_back(ft_add_remote(&cq, made, &made));
        for (manta_ref_t take : takes) {
            int value = 0;
            EXPECT_OK(manta_read(take, &value, sizeof value, serial ? MANTA_FOREVER : MANTA_S(40)));
            EXPECT_EQ(42, value);
            drop(take);
        }
        for (manta_ref_t add : adds) {
            EXPECT_OK(manta_read(add, nullptr, 0, MANTA_FOREVER));
            drop(add);
        }
        drop(made);
        EXPECT_OK(manta_cq_destroy(cq));
    });
}

MANTA_TASK(ft_block, MANTA_LOCAL(Gate *, gate), MANTA_OUT(int, x, 1))
{
    manta_blocking_begin(task);
    gate->arrive();
    gate->pass();
    manta_blocking_end(task);
    x[0] = 3;
    return MANTA_OK;
}

// A body that blocks outside manta keeps its core without a spare; the others go on, and it does when
// it may.
TEST_P(ThreadsTest, BlockingBodies)
{
    if (GetParam() == 0) GTEST_SKIP() << "the test would wait for itself";
    run([] {
        Gate gate;
        manta_ref_t blocked = ft_block_remote(&gate);
        gate.await(1);
        manta_ref_t twice = ft_double_remote(4);
        EXPECT_EQ(8, value_of<int>(twice)); // by this thread, if there is nobody else
        drop(twice);
        gate.open();
        EXPECT_EQ(3, value_of<int>(blocked));
        drop(blocked);
    });
}

TEST_P(ThreadsTest, ElasticTasks)
{
    run([] {
        manta_task_options_t options = MANTA_OPTIONS(.cpus = 0.1);
        std::vector<manta_ref_t> refs;
        for (int i = 0; i < 20; i++)
            refs.push_back(ft_double_with(options, i));
        for (int i = 0; i < 20; i++) {
            EXPECT_EQ(2 * i, value_of<int>(refs[static_cast<size_t>(i)]));
            drop(refs[static_cast<size_t>(i)]);
        }
    });
}

TEST_P(ThreadsTest, WideTasksThatWait)
{
    int workers = GetParam();
    run([workers] {
        manta_task_options_t options = MANTA_OPTIONS(.cpus = workers ? workers : 1.0);
        for (int i = 0; i < 5; i++) {
            manta::ref<int> leaves = ft_tree_with(options, 4);
            EXPECT_EQ(16, value_of<int>(leaves));
            drop(leaves);
        }
    });
}

// The bound on threads is one more way not to get any.
TEST_P(ThreadsTest, BoundOnThreads)
{
    CountingAllocator allocator;
    Log log;
    manta_runtime_options_t options = small_options(GetParam(), &allocator, &log);
    options.max_threads = GetParam() ? GetParam() : 1;
    ASSERT_OK(manta_init(&options));
    watchdog_name_runtime(manta_runtime_default());
    manta::ref<int> leaves = ft_tree_remote(9);
    EXPECT_EQ(512, value_of<int>(leaves));
    drop(leaves);
    manta::ref<int> sum = ft_collect_remote(100);
    int value = 0;
    EXPECT_OK(manta_read(sum, &value, sizeof value, GetParam() ? MANTA_S(40) : MANTA_FOREVER));
    EXPECT_EQ(9900, value);
    drop(sum);
    EXPECT_LE(stats_of({0}).threads, options.max_threads);
    EXPECT_OK(manta_shutdown(MANTA_S(30)));
    EXPECT_EQ(0, allocator.bytes());
}
