// Naming the task that takes the process down, and leaving signal handlers alone otherwise.
#include "support/runtime_fixture.h"

#include <csignal>
#include <cstdlib>

#include <gmock/gmock.h>
#include <unistd.h>

using namespace manta_testing;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

namespace
{

// How a process ends that crashed: by the signal, or as the sanitizer's handler likes.
bool crashed(int status)
{
    if (kSanitized) return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

bool aborted(int status)
{
    if (kSanitized) return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

volatile int *volatile nowhere = (volatile int *)8;

__attribute__((noinline)) int deeper(int n)
{
    volatile char room[4096];
    room[n % 4096] = (char)n;
    return n == 0 ? 0 : deeper(n + 1) + room[0];
}

} // namespace

MANTA_TASK(cr_boom, MANTA_VAL(int, x))
{
    *nowhere = x;
    return MANTA_OK;
}

MANTA_TASK(cr_abort, MANTA_VAL(int, x))
{
    (void)x;
    std::abort();
}

MANTA_TASK(cr_second, MANTA_VAL(int, x))
{
    if (manta_attempt(task) < 2) return MANTA_ERR_USER + 1;
    *nowhere = x;
    return MANTA_OK;
}

MANTA_TASK(cr_waits, MANTA_VAL(int, x))
{
    manta_ref_t inner = cr_boom_remote(x);
    return manta_wait(&inner, 1, 1, MANTA_FOREVER, NULL, NULL);
}

MANTA_TASK(cr_endless, MANTA_VAL(int, x))
{
    return deeper(x) == 7 ? MANTA_ERR_USER : MANTA_OK;
}

struct cr_state {
    int value;
};
MANTA_ACTOR(cr_model, struct cr_state, MANTA_VAL(int, x))
{
    self->value = x;
    return MANTA_OK;
}
MANTA_METHOD(cr_model, infer, MANTA_VAL(int, x))
{
    *nowhere = x + self->value;
    return MANTA_OK;
}

class CrashTest : public RuntimeTest
{
  protected:
    void SetUp() override
    {
        GTEST_FLAG_SET(death_test_style,
                       "threadsafe"); // a process of its own, not a fork of this one
        RuntimeTest::SetUp();
    }
    void configure(manta_runtime_options_t *options) override
    {
        options->sim_gpus = 1;
        options->name = "crashing";
    }
};
MANTA_TEST_WORKERS(CrashTest);

static void await(manta_ref_t ref)
{
    EXPECT_OK(manta_wait(&ref, 1, 1, MANTA_FOREVER, NULL, NULL));
}

TEST_P(CrashTest, NamesTheTask)
{
    EXPECT_EXIT(
        {
            EXPECT_OK(manta_crash_report(STDERR_FILENO));
            await(cr_boom_remote(1));
        },
        crashed, HasSubstr("manta: SIGSEGV at address 0x8 in task 'cr_boom', "));
}

TEST_P(CrashTest, NamesTheRuntimeAndTheName)
{
    EXPECT_EXIT(
        {
            EXPECT_OK(manta_crash_report(STDERR_FILENO));
            await(cr_boom_with(MANTA_OPTIONS(.name = "resize 17"), 1));
        },
        crashed, AllOf(HasSubstr("in task 'resize 17'"), HasSubstr("runtime 'crashing'\n")));
}

TEST_P(CrashTest, NamesTheAttempt)
{
    EXPECT_EXIT(
        {
            EXPECT_OK(manta_crash_report(STDERR_FILENO));
            await(cr_second_with(MANTA_OPTIONS(.max_retries = 5), 1));
        },
        crashed, HasSubstr("in task 'cr_second', attempt 2, "));
}

TEST_P(CrashTest, NamesTheActorAndItsMethod)
{
    EXPECT_EXIT(
        {
            EXPECT_OK(manta_crash_report(STDERR_FILENO));
            cr_model_t m = cr_model_create(MANTA_ACTOR_OPTIONS(.name = "resnet/0"), 1);
            await(cr_model_infer(m, 2));
        },
        crashed, AllOf(HasSubstr("infer' of actor 'resnet/0', "), HasSubstr("in method '")));
}

TEST_P(CrashTest, NamesTheGpu)
{
    EXPECT_EXIT(
        {
            EXPECT_OK(manta_crash_report(STDERR_FILENO));
            await(cr_boom_with(MANTA_OPTIONS(.where = manta_gpu(0)), 1));
        },
        crashed, HasSubstr("in task 'cr_boom', GPU 0, "));
}

TEST_P(CrashTest, NamesAnAbort)
{
    EXPECT_EXIT(
        {
            EXPECT_OK(manta_crash_report(STDERR_FILENO));
            await(cr_abort_remote(1));
        },
        aborted, HasSubstr("manta: SIGABRT in task 'cr_abort', "));
}

TEST_P(CrashTest, NamesWhoWaitsForIt)
{
    if (workers() > 1) GTEST_SKIP() << "another worker may run the inner one";
    EXPECT_EXIT(
        {
            EXPECT_OK(manta_crash_report(STDERR_FILENO));
            manta_ref_t outer = cr_waits_remote(1);
            // Only with a thread that sleeps for it the worker runs both.
            await(outer);
        },
        crashed,
        AllOf(HasSubstr("in task 'cr_boom'"),
              HasSubstr("manta:   which runs while this waits: task 'cr_waits'")));
}

TEST_P(CrashTest, NamesWhoRanOutOfStack)
{
    if (kSanitized) GTEST_SKIP() << "the sanitizer has stacks and handlers of its own";
    // In the new process the runtime is there already: its threads have no other stack.
    EXPECT_EXIT(
        {
            EXPECT_OK(manta_crash_report(STDERR_FILENO));
            ScopedRuntime late(1, "late");
            await(cr_endless_with(MANTA_OPTIONS(.runtime = late.get()), 1));
        },
        crashed, HasSubstr("in task 'cr_endless'"));
}

static void users_handler(int signal)
{
    const char text[] = "the user's handler\n";
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(signal == SIGSEGV ? 70 : 71);
}

TEST_P(CrashTest, HandsOnToTheHandlerThatWasThere)
{
    EXPECT_EXIT(
        {
            std::signal(SIGSEGV, users_handler);
            EXPECT_OK(manta_crash_report(STDERR_FILENO));
            await(cr_boom_remote(1));
        },
        ::testing::ExitedWithCode(70),
        AllOf(HasSubstr("in task 'cr_boom'"), HasSubstr("the user's handler")));
}

TEST_P(CrashTest, AUsersHandlerIsCalledOnWorkersToo)
{
    EXPECT_EXIT(
        {
            std::signal(SIGSEGV, users_handler);
            await(cr_boom_remote(1));
        },
        ::testing::ExitedWithCode(70),
        AllOf(HasSubstr("the user's handler"), Not(HasSubstr("manta:"))));
}

TEST_P(CrashTest, SaysNothingUnlessAsked)
{
    EXPECT_EXIT(await(cr_boom_remote(1)), crashed, Not(HasSubstr("manta: SIG")));
    EXPECT_EXIT(
        {
            EXPECT_OK(manta_crash_report(STDERR_FILENO));
            EXPECT_OK(manta_crash_report(-1));
            await(cr_boom_remote(1));
        },
        crashed, Not(HasSubstr("manta: SIG")));
}

TEST_P(CrashTest, SaysNothingOutsideOfBodies)
{
    EXPECT_EXIT(
        {
            EXPECT_OK(manta_crash_report(STDERR_FILENO));
            *nowhere = 1;
        },
        crashed, Not(HasSubstr("manta: SIG")));
}

TEST_P(CrashTest, HandlersStayAsTheyWere)
{
    auto handler_of = [](int signal) {
        struct sigaction now;
        EXPECT_EQ(0, sigaction(signal, nullptr, &now));
        return (void *)now.sa_handler;
    };
    const int all[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTERM, SIGINT, SIGCHLD, SIGPIPE};
    std::vector<void *> before;
    for (int signal : all)
        before.push_back(handler_of(signal));
    int seven = 7;
    EXPECT_OK(manta_release(manta_put(&seven, sizeof seven)));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    for (size_t i = 0; i < before.size(); i++)
        EXPECT_EQ(before[i], handler_of(all[i])) << all[i];
    // In and out, twice: and all is as it was.
    for (int i = 0; i < 2; i++) {
        EXPECT_OK(manta_crash_report(STDERR_FILENO));
        EXPECT_OK(manta_crash_report(STDERR_FILENO));
        EXPECT_NE(before[0], handler_of(SIGSEGV));
        EXPECT_OK(manta_crash_report(-1));
        EXPECT_OK(manta_crash_report(-1));
    }
    for (size_t i = 0; i < before.size(); i++)
        EXPECT_EQ(before[i], handler_of(all[i])) << all[i];
}
