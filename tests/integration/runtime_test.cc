// Runtimes: default and explicit, apart from each other, close, drain, shutdown, fork, exit.
#include "support/runtime_fixture.h"

#include <cstdlib>
#include <cstring>
#include <thread>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

using namespace manta_testing;

MANTA_TASK(rt_add, MANTA_VAL(int, a), MANTA_VAL(int, b), MANTA_OUT(int, sum, 1))
{
    sum[0] = a + b;
    return MANTA_OK;
}

MANTA_TASK(rt_copy, MANTA_IN(int, x), MANTA_OUT(int, y, 1))
{
    y[0] = x[0];
    return MANTA_OK;
}

MANTA_TASK(rt_hold, MANTA_LOCAL(Gate *, gate), MANTA_LOCAL(std::atomic<int> *, cancelled),
           MANTA_OUT(int, x, 1))
{
    gate->arrive();
    gate->pass();
    x[0] = 1;
    if (cancelled && manta_cancelled(task)) cancelled->fetch_add(1);
    return MANTA_OK;
}

MANTA_TASK(rt_tick, MANTA_LOCAL(std::atomic<int> *, counter))
{
    counter->fetch_add(1);
    return MANTA_OK;
}

MANTA_TASK(rt_self_close, MANTA_LOCAL(std::atomic<int> *, counter), MANTA_OUT(int, status, 5))
{
    manta_runtime_t self = manta_task_runtime(task);
    status[0] = manta_runtime_drain(self, MANTA_FOREVER);
    status[1] = manta_runtime_shutdown(self, MANTA_SHUTDOWN_DRAIN, MANTA_FOREVER);
    status[2] = manta_runtime_close(self);
    status[3] = rt_tick_go(counter); // its own subtasks still go
    status[4] = manta_runtime_close(self);
    return MANTA_OK;
}

static manta_runtime_options_t options_with(int workers)
{
    manta_runtime_options_t options;
    manta_runtime_options_init(&options);
    options.workers = workers;
    return options;
}

// ---- the default runtime ----------------------------------------------------------------------

TEST(DefaultRuntime, StartsOnFirstUseAndAgainAfterAShutdown)
{
    EXPECT_OK(manta_shutdown(MANTA_FOREVER)) << "OK if it doesn't run";
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    for (int i = 0; i < 3; i++) {
        auto sum = rt_add_remote(1, 2);
        EXPECT_EQ(3, value_of<int>(sum));
        manta_runtime_t runtime = manta_runtime_default();
        EXPECT_NE(0u, runtime.id);
        EXPECT_EQ(runtime.id, manta_runtime_current().id);
        EXPECT_STATUS(MANTA_ERR_ALREADY_EXISTS, manta_init(nullptr));
        EXPECT_OK(manta_release(sum));
        EXPECT_OK(manta_shutdown(MANTA_FOREVER));
        EXPECT_STATUS(MANTA_ERR_STALE_REF,
                      manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_DRAIN, MANTA_FOREVER));
        EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_runtime_close(runtime));
        EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_runtime_drain(runtime, 0));
        EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(sum));
        EXPECT_EQ(0u, manta_runtime_print_refs(runtime, nullptr));
        manta_stats_t stats = {};
        stats.struct_size = sizeof stats;
        EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_runtime_stats(runtime, &stats));
    }
}

TEST(DefaultRuntime, ManyThreadsStartItOnce)
{
    for (int round = 0; round < 10; round++) {
        std::vector<std::thread> threads;
        std::vector<uint64_t> ids(6);
        for (int i = 0; i < 6; i++) {
            threads.emplace_back([&ids, i] {
                MANTA_SCOPE();
                EXPECT_EQ(i + 1, value_of<int>(rt_add_remote(i, 1)));
                ids[i] = manta_runtime_default().id;
            });
        }
        for (std::thread &thread : threads)
            thread.join();
        for (uint64_t id : ids)
            EXPECT_EQ(ids[0], id);
        EXPECT_OK(manta_shutdown(MANTA_FOREVER));
    }
}

TEST(DefaultRuntime, AHundredTimes)
{
    for (int i = 0; i < 100; i++) {
        manta_runtime_options_t options = options_with(i % 3);
        ASSERT_OK(manta_init(&options));
        manta_ref_t sum = rt_add_remote(i, 1);
        for (int k = 0; k < 10; k++)
            ASSERT_OK(manta_release(rt_copy_remote(sum)));
        ASSERT_EQ(i + 1, value_of<int>(sum));
        ASSERT_OK(manta_shutdown(MANTA_FOREVER)); // sum is leaked
        ASSERT_STATUS(MANTA_ERR_STALE_REF, manta_release(sum));
    }
}

TEST(DefaultRuntime, WorkersFromTheEnvironment)
{
    for (int n : {0, 1, 3}) {
        ASSERT_EQ(0, setenv("MANTA_WORKERS", std::to_string(n).c_str(), 1));
        manta_runtime_t runtime = manta_runtime_default();
        EXPECT_EQ(n, stats_of(runtime).workers);
        EXPECT_OK(manta_shutdown(MANTA_FOREVER));
        ScopedRuntime two(2);
        EXPECT_EQ(2, stats_of(two.get()).workers) << "options are stronger";
    }
    for (const char *bad : {"x", "-1", "3x", "99999999999"}) {
        ASSERT_EQ(0, setenv("MANTA_WORKERS", bad, 1));
        EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_init(nullptr));
        EXPECT_NE(nullptr, strstr(manta_error_message(), "MANTA_WORKERS"));
        EXPECT_EQ(0u, manta_runtime_default().id);
        EXPECT_NE(nullptr, strstr(manta_error_message(), "MANTA_WORKERS"));
        EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_ref_status(rt_add_remote(1, 2)));
    }
    ASSERT_EQ(0, unsetenv("MANTA_WORKERS"));
    EXPECT_NE(0u, manta_runtime_default().id) << "a failed start can be tried again";
    EXPECT_OK(manta_shutdown(MANTA_FOREVER));
}

TEST(DefaultRuntime, BadOptions)
{
    manta_runtime_t runtime;
    manta_runtime_options_t options = options_with(-7);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_runtime_create(&options, &runtime));
    EXPECT_STRNE("", manta_error_message());
    options = options_with(1000000);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_runtime_create(&options, &runtime));
    options = options_with(1);
    options.struct_size = 0;
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_runtime_create(&options, &runtime));
    options = options_with(1);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_runtime_create(&options, nullptr));
    options.cpuset = "nonsense";
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_runtime_create(&options, &runtime));
    options = options_with(1);
    options.topology_synthetic = "nonsense";
    EXPECT_NE(MANTA_OK, manta_runtime_create(&options, &runtime));
    options = options_with(1);
    options.topology_xml = "/nowhere/at/all.xml";
    EXPECT_STATUS(MANTA_ERR_IO, manta_runtime_create(&options, &runtime));
    EXPECT_NE(nullptr, strstr(manta_error_message(), "/nowhere/at/all.xml"))
        << manta_error_message();
}

TEST(DefaultRuntime, AnotherMachine)
{
    manta_runtime_options_t options = options_with(MANTA_AUTO);
    options.topology_synthetic = "node:2 core:2 pu:1";
    manta_runtime_t runtime;
    ASSERT_OK(manta_runtime_create(&options, &runtime));
    EXPECT_EQ(4, stats_of(runtime).workers);
    EXPECT_EQ(4, manta_topology_cores(runtime));
    EXPECT_FALSE(manta_topology_is_this_machine(runtime));
    manta_ref_t sum = rt_add_with(MANTA_OPTIONS(.runtime = runtime, .cpus = 4), 1, 2);
    EXPECT_EQ(3, value_of<int>(sum));
    EXPECT_OK(manta_release(sum));
    EXPECT_OK(manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_DRAIN, MANTA_FOREVER));
}

// ---- explicit ones ----------------------------------------------------------------------------

TEST(Runtimes, AreApartFromEachOther)
{
    ScopedRuntime a(1, "first"), b(2, "second");
    EXPECT_NE(a.get().id, b.get().id);
    int one = 1;
    manta_ref_t x = manta_put_in(a.get(), &one, sizeof one, MANTA_DTYPE(MANTA_I32, 4));
    manta_ref_t y = rt_copy_with(MANTA_OPTIONS(.runtime = a.get()), x);
    EXPECT_EQ(1, value_of<int>(y));
    manta_ref_t z = rt_copy_with(MANTA_OPTIONS(.runtime = b.get()), x);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_ref_status(z));
    for (const char *word : {"rt_copy", "first", "second"}) {
        EXPECT_NE(nullptr, strstr(manta_error_message(), word)) << manta_error_message();
    }
    EXPECT_OK(manta_runtime_drain(a.get(), MANTA_FOREVER));
    EXPECT_EQ(1u, stats_of(a.get()).submitted);
    EXPECT_EQ(0u, stats_of(b.get()).submitted);
    EXPECT_EQ(2u, stats_of(a.get()).live_refs);
    EXPECT_EQ(0u, stats_of(b.get()).live_refs);
    EXPECT_OK(manta_release(x));
    EXPECT_OK(manta_release(y));
}

MANTA_TASK(rt_current, MANTA_OUT(uint64_t, id, 2))
{
    id[0] = manta_runtime_current().id;
    auto sum = rt_add_remote(1, 2); // in the task's runtime
    id[1] = (uint64_t)value_of<int>(sum);
    return MANTA_OK;
}

TEST(Runtimes, ATaskUsesItsOwn)
{
    for (int workers : {0, 2}) {
        ScopedRuntime a(workers);
        manta_ref_t ids = rt_current_with(MANTA_OPTIONS(.runtime = a.get()));
        EXPECT_EQ((std::vector<uint64_t>{a.get().id, 3}), values_of<uint64_t>(ids));
        EXPECT_OK(manta_runtime_drain(a.get(), MANTA_FOREVER));
        EXPECT_EQ(2u, stats_of(a.get()).submitted);
        EXPECT_OK(manta_release(ids));
    }
}

TEST(Runtimes, HandlesThatNameNone)
{
    for (uint64_t id : {1ull << 32 | 999, ~0ull, 77ull, 0xdeadbeefull << 32}) {
        manta_runtime_t runtime = {id};
        EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_runtime_close(runtime));
        EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_runtime_drain(runtime, 0));
        EXPECT_STATUS(MANTA_ERR_STALE_REF,
                      manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_CANCEL, 0));
        EXPECT_NE(MANTA_OK, manta_ref_status(manta_put_in(runtime, "x", 1, 0)));
        EXPECT_NE(MANTA_OK, manta_ref_status(rt_add_with(MANTA_OPTIONS(.runtime = runtime), 1, 2)));
    }
}

TEST(Runtimes, CloseRefusesNewWork)
{
    for (int workers : {0, 1}) {
        ScopedRuntime a(workers);
        Gate gate;
        manta_ref_t held = {0};
        if (workers) {
            held = rt_hold_with(MANTA_OPTIONS(.runtime = a.get()), &gate, nullptr);
            gate.await(1);
        }
        manta_ref_t queued = rt_add_with(MANTA_OPTIONS(.runtime = a.get()), 1, 2);
        EXPECT_OK(manta_runtime_close(a.get()));
        EXPECT_OK(manta_runtime_close(a.get()));
        EXPECT_STATUS(MANTA_ERR_SHUTDOWN,
                      manta_ref_status(rt_add_with(MANTA_OPTIONS(.runtime = a.get()), 1, 2)));
        EXPECT_STATUS(MANTA_ERR_SHUTDOWN, manta_ref_status(manta_put_in(a.get(), "x", 1, 0)));
        gate.open();
        EXPECT_EQ(3, value_of<int>(queued)) << "what was accepted goes on";
        EXPECT_OK(manta_runtime_drain(a.get(), MANTA_FOREVER));
        EXPECT_OK(manta_release(queued));
        if (workers) {
            EXPECT_OK(manta_release(held));
        }
    }
}

TEST(Runtimes, FromATaskOnlyClose)
{
    for (int workers : {0, 2}) {
        ScopedRuntime a(workers);
        std::atomic<int> counter{0};
        manta_ref_t status = rt_self_close_with(MANTA_OPTIONS(.runtime = a.get()), &counter);
        EXPECT_EQ((std::vector<int>{MANTA_ERR_NOT_ALLOWED_HERE, MANTA_ERR_NOT_ALLOWED_HERE,
                                    MANTA_OK, MANTA_OK, MANTA_OK}),
                  values_of<int>(status));
        EXPECT_OK(manta_release(status));
        EXPECT_OK(manta_runtime_drain(a.get(), MANTA_FOREVER));
        EXPECT_EQ(1, counter);
    }
}

TEST(Runtimes, DrainWithATimeout)
{
    ScopedRuntime a(1);
    Gate gate;
    EXPECT_OK(manta_runtime_drain(a.get(), 0));
    EXPECT_OK(rt_hold_go_with(MANTA_OPTIONS(.runtime = a.get()), &gate, nullptr));
    gate.await(1);
    EXPECT_STATUS(MANTA_NOT_READY, manta_runtime_drain(a.get(), 0));
    EXPECT_STATUS(MANTA_NOT_READY, manta_runtime_drain(a.get(), MANTA_MS(2)));
    gate.open();
    EXPECT_OK(manta_runtime_drain(a.get(), MANTA_S(50)));
    EXPECT_OK(manta_runtime_drain(a.get(), MANTA_FOREVER));
}

// ---- shutdown ---------------------------------------------------------------------------------

TEST(Shutdown, DrainFinishesWhatWasAccepted)
{
    for (int workers : {0, 1, 2}) {
        manta_runtime_options_t options = options_with(workers);
        manta_runtime_t runtime;
        ASSERT_OK(manta_runtime_create(&options, &runtime));
        std::atomic<int> counter{0};
        for (int i = 0; i < 1000; i++) {
            ASSERT_OK(rt_tick_go_with(MANTA_OPTIONS(.runtime = runtime), &counter));
        }
        EXPECT_OK(manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_DRAIN, MANTA_FOREVER));
        EXPECT_EQ(1000, counter);
    }
}

TEST(Shutdown, CancelDropsWhatIsQueuedAndTellsWhatRuns)
{
    manta_runtime_options_t options = options_with(1);
    manta_runtime_t runtime;
    ASSERT_OK(manta_runtime_create(&options, &runtime));
    Gate gate;
    std::atomic<int> counter{0}, cancelled{0};
    EXPECT_OK(rt_hold_go_with(MANTA_OPTIONS(.runtime = runtime), &gate, &cancelled));
    gate.await(1);
    for (int i = 0; i < 100; i++) {
        ASSERT_OK(rt_tick_go_with(MANTA_OPTIONS(.runtime = runtime), &counter));
    }
    EXPECT_STATUS(MANTA_ERR_TIMEOUT,
                  manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_CANCEL, MANTA_MS(5)));
    gate.open();
    EXPECT_OK(manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_CANCEL, MANTA_FOREVER));
    EXPECT_EQ(0, counter);
    EXPECT_EQ(1, cancelled);
}

TEST(Shutdown, ATimeoutListsWhatRunsAndCanBeTriedAgain)
{
    manta_runtime_options_t options = options_with(1);
    options.name = "slow one";
    manta_runtime_t runtime;
    ASSERT_OK(manta_runtime_create(&options, &runtime));
    Gate gate;
    manta_ref_t held = rt_hold_with(MANTA_OPTIONS(.runtime = runtime), &gate, nullptr);
    gate.await(1);
    for (manta_shutdown_mode_t mode : {MANTA_SHUTDOWN_DRAIN, MANTA_SHUTDOWN_DRAIN}) {
        EXPECT_STATUS(MANTA_ERR_TIMEOUT, manta_runtime_shutdown(runtime, mode, MANTA_MS(2)));
        EXPECT_NE(nullptr, strstr(manta_error_message(), "rt_hold")) << manta_error_message();
        EXPECT_NE(nullptr, strstr(manta_error_message(), "slow one")) << manta_error_message();
        EXPECT_STATUS(MANTA_ERR_SHUTDOWN,
                      manta_ref_status(rt_add_with(MANTA_OPTIONS(.runtime = runtime), 1, 2)));
    }
    gate.open();
    EXPECT_OK(manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_DRAIN, MANTA_FOREVER));
    EXPECT_STATUS(MANTA_ERR_STALE_REF,
                  manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_DRAIN, MANTA_FOREVER));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(held));
}

TEST(Shutdown, FromSeveralThreads)
{
    for (int round = 0; round < 20; round++) {
        manta_runtime_options_t options = options_with(round % 3);
        manta_runtime_t runtime;
        ASSERT_OK(manta_runtime_create(&options, &runtime));
        std::atomic<int> counter{0}, ok{0};
        for (int i = 0; i < 100; i++) {
            ASSERT_OK(rt_tick_go_with(MANTA_OPTIONS(.runtime = runtime), &counter));
        }
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; i++) {
            threads.emplace_back([&] {
                manta_status_t status =
                    manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_DRAIN, MANTA_FOREVER);
                EXPECT_TRUE(status == MANTA_OK || status == MANTA_ERR_STALE_REF) << status;
                EXPECT_EQ(100, counter) << "all return when it is done";
                ok += status == MANTA_OK;
            });
        }
        for (std::thread &thread : threads)
            thread.join();
        EXPECT_GE(ok, 1);
    }
}

TEST(Shutdown, WhileThreadsSubmitAndWait)
{
    for (int round = 0; round < 20; round++) {
        manta_runtime_options_t options = options_with(2);
        manta_runtime_t runtime;
        ASSERT_OK(manta_runtime_create(&options, &runtime));
        std::atomic<bool> stop{false};
        std::atomic<int> rounds{0};
        std::vector<std::thread> threads;
        for (int i = 0; i < 3; i++) {
            threads.emplace_back([&] {
                while (!stop) {
                    manta_ref_t x = rt_add_with(MANTA_OPTIONS(.runtime = runtime), 1, 2);
                    manta_ref_t y = rt_copy_with(MANTA_OPTIONS(.runtime = runtime), x);
                    int value = 0;
                    manta_status_t status = manta_read(y, &value, sizeof value, MANTA_FOREVER);
                    EXPECT_TRUE((status == MANTA_OK && value == 3) ||
                                status == MANTA_ERR_SHUTDOWN || status == MANTA_ERR_STALE_REF ||
                                status == MANTA_ERR_CANCELLED)
                        << status << " " << manta_error_message();
                    (void)manta_release(x);
                    (void)manta_release(y);
                    rounds++;
                }
            });
        }
        while (rounds < 50)
            std::this_thread::yield();
        EXPECT_OK(manta_runtime_shutdown(
            runtime, round % 2 ? MANTA_SHUTDOWN_CANCEL : MANTA_SHUTDOWN_DRAIN, MANTA_FOREVER));
        stop = true;
        for (std::thread &thread : threads)
            thread.join();
    }
}

TEST(Shutdown, UnfinishedPromisesDoNotHoldItUp)
{
    for (int workers : {0, 1}) {
        manta_runtime_options_t options = options_with(workers);
        ASSERT_OK(manta_init(&options));
        manta_ref_t p = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
        void *data;
        manta_ref_t created;
        ASSERT_OK(manta_create(1000, 0, &created, &data));
        EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(p));
        EXPECT_OK(manta_shutdown(MANTA_S(50)));
    }
}

TEST(Shutdown, TasksBehindAnUnfinishedPromise)
{
    for (int workers : {0, 1}) {
        manta_runtime_options_t options = options_with(workers);
        ASSERT_OK(manta_init(&options));
        manta_runtime_t runtime = manta_runtime_default();
        manta_ref_t p = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
        for (int i = 0; i < 10; i++)
            ASSERT_OK(manta_release(rt_copy_remote(p)));
        // Somebody may still set it: a drain waits, a cancel doesn't.
        EXPECT_STATUS(MANTA_ERR_TIMEOUT,
                      manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_DRAIN, MANTA_MS(2)));
        EXPECT_NE(nullptr, strstr(manta_error_message(), "rt_copy")) << manta_error_message();
        EXPECT_OK(manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_CANCEL, MANTA_S(50)));
    }
}

TEST(Shutdown, DeletersOfLeakedObjectsRun)
{
    for (int workers : {0, 1}) {
        manta_runtime_options_t options = options_with(workers);
        ASSERT_OK(manta_init(&options));
        static std::atomic<int> deleted;
        deleted = 0;
        static int memory;
        manta_ref_t ref = manta_wrap(
            &memory, sizeof memory, 0, [](void *, size_t, void *) { deleted++; }, nullptr);
        EXPECT_OK(manta_ref_status(ref));
        EXPECT_OK(manta_shutdown(MANTA_S(50)));
        EXPECT_EQ(1, deleted);
    }
}

TEST(Shutdown, ThreadsThatUsedItMayEndLater)
{
    Gate used, ended;
    manta_runtime_options_t options = options_with(1);
    ASSERT_OK(manta_init(&options));
    std::thread user([&] {
        manta_ref_t x = rt_add_remote(1, 2);
        EXPECT_EQ(3, value_of<int>(x));
        EXPECT_OK(manta_release(x));
        used.arrive();
        ended.pass();
        EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_release(x));
    });
    used.await(1);
    EXPECT_OK(manta_shutdown(MANTA_S(50)));
    ended.open();
    user.join();
}

// ---- other processes --------------------------------------------------------------------------

// What a child does instead of running tests.
static int child_exit_without_shutdown()
{
    manta_ref_t x = rt_add_remote(1, 2);
    int value = 0;
    if (manta_read(x, &value, sizeof value, MANTA_FOREVER) != MANTA_OK || value != 3) return 90;
    for (int i = 0; i < 1000; i++) {
        if (rt_add_go(1, i) != MANTA_OK) return 91;
    }
    return 7; // static destructors run while workers may still be busy
}

static int child_exit_with_a_running_task()
{
    static Gate &gate = *new Gate; // never opened, nor destroyed: a task waits on it
    manta_runtime_options_t options = options_with(2);
    if (manta_init(&options) != MANTA_OK) return 92;
    manta_ref_t x = rt_hold_remote(&gate, nullptr);
    (void)x;
    gate.await(1);
    return 8;
}

static int run_child(const char *what)
{
    std::string flag = std::string("--child=") + what;
    char program[] = "/proc/self/exe";
    char *argv[] = {program, &flag[0], nullptr};
    pid_t pid;
    if (posix_spawn(&pid, program, nullptr, nullptr, argv, environ) != 0) return -1;
    int status = 0;
    if (waitpid(pid, &status, 0) != pid) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1000 - WTERMSIG(status);
}

TEST(Process, ExitWithoutShutdown)
{
    EXPECT_EQ(7, run_child("exit"));
}

TEST(Process, ExitWhileATaskRuns)
{
    EXPECT_EQ(8, run_child("exit-busy"));
}

TEST(Process, AForkGetsErrorsNotHangs)
{
    manta_runtime_options_t options = options_with(2);
    ASSERT_OK(manta_init(&options));
    manta_ref_t x = rt_add_remote(1, 2), p = manta_promise_create(0);
    EXPECT_EQ(3, value_of<int>(x));
    pid_t pid = fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
        int value;
        manta_view_t view;
        size_t n;
        manta_runtime_t runtime = {0};
        int failed = 0;
        failed |= (manta_read(p, &value, sizeof value, MANTA_FOREVER) != MANTA_ERR_FORKED) << 0;
        failed |= (manta_get(p, &view, MANTA_FOREVER) != MANTA_ERR_FORKED) << 1;
        failed |= (manta_wait(&p, 1, 1, MANTA_FOREVER, nullptr, &n) != MANTA_ERR_FORKED) << 2;
        failed |= (manta_ref_status(rt_add_remote(1, 2)) != MANTA_ERR_FORKED) << 3;
        failed |= (manta_ref_status(put1(1)) != MANTA_ERR_FORKED) << 4;
        failed |= (manta_drain(MANTA_FOREVER) != MANTA_ERR_FORKED) << 5;
        failed |= (manta_shutdown(MANTA_FOREVER) == MANTA_NOT_READY) << 6;
        failed |= (manta_runtime_create(nullptr, &runtime) != MANTA_ERR_FORKED) << 7;
        _exit(failed);
    }
    int status = 0;
    ASSERT_EQ(pid, waitpid(pid, &status, 0));
    ASSERT_TRUE(WIFEXITED(status)) << status;
    EXPECT_EQ(0, WEXITSTATUS(status)) << "bits: which call did not say MANTA_ERR_FORKED";
    // The parent goes on.
    EXPECT_EQ(3, value_of<int>(x));
    EXPECT_OK(manta_promise_set(p, nullptr, 0));
    EXPECT_OK(manta_release(x));
    EXPECT_OK(manta_release(p));
    EXPECT_OK(manta_shutdown(MANTA_S(50)));
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--child=exit") == 0) return child_exit_without_shutdown();
    if (argc == 2 && strcmp(argv[1], "--child=exit-busy") == 0) {
        return child_exit_with_a_running_task();
    }
    ::testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
