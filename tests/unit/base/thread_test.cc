// Threads of the runtime.
#include "unit/internals.h"

#include <string>

#include <signal.h>

#include <gtest/gtest.h>

namespace
{

TEST(ThreadTest, RunsWithAllSignalsBlockedButItsOwnFaults)
{
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, nullptr, &before);
    static sigset_t inside;
    auto body = [](void *arg) -> void * {
        pthread_sigmask(SIG_SETMASK, nullptr, &inside);
        return arg;
    };
    pthread_t thread;
    int x = 0;
    ASSERT_TRUE(mti_thread_create(&thread, body, &x, "t"));
    void *result = nullptr;
    pthread_join(thread, &result);
    EXPECT_EQ(&x, result);
    for (int signal : {SIGINT, SIGTERM, SIGUSR1, SIGALRM, SIGCHLD, SIGPROF})
        EXPECT_EQ(1, sigismember(&inside, signal)) << signal;
    for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT})
        EXPECT_EQ(0, sigismember(&inside, signal)) << signal;
    pthread_sigmask(SIG_SETMASK, nullptr, &after);
    for (int signal = 1; signal < 32; signal++)
        EXPECT_EQ(sigismember(&before, signal), sigismember(&after, signal)) << signal;
}

TEST(ThreadTest, NamesAreCutOffAtTheKernelsLimit)
{
    mti_atomic_u32_t word = {0};
    auto body = [](void *arg) -> void * {
        (void)mti_notify_wait(static_cast<mti_atomic_u32_t *>(arg), 0, INT64_MAX);
        return nullptr;
    };
    pthread_t thread;
    ASSERT_TRUE(mti_thread_create(&thread, body, &word, "a-name-that-is-too-long"));
    char name[32] = "";
    EXPECT_EQ(0, pthread_getname_np(thread, name, sizeof name));
    EXPECT_STREQ("a-name-that-is-", name);
    mti_atomic_u32_store_release(&word, 1);
    mti_notify_wake(&word, 1);
    pthread_join(thread, nullptr);
}

TEST(ThreadTest, HookMakesTheCreationFail)
{
    static std::atomic<int> ran{0};
    auto body = [](void *) -> void * {
        ran++;
        return nullptr;
    };
    FailingThreads fail(2);
    pthread_t first, second, third;
    EXPECT_TRUE(mti_thread_create(&first, body, nullptr, "t"));
    EXPECT_FALSE(mti_thread_create(&second, body, nullptr, "t"));
    EXPECT_TRUE(mti_thread_create(&third, body, nullptr, "t"));
    pthread_join(first, nullptr);
    pthread_join(third, nullptr);
    EXPECT_EQ(2, ran);
}

__attribute__((noinline)) size_t left_below(int frames)
{
    volatile char room[4096];
    room[0] = static_cast<char>(frames);
    size_t left = frames ? left_below(frames - 1) : mti_thread_stack_left();
    room[1] = room[0];
    return left;
}

TEST(ThreadTest, StackLeftShrinksWithDepth)
{
    auto body = [](void *) -> void * {
        size_t here = mti_thread_stack_left();
        pthread_attr_t attr;
        void *low = nullptr;
        size_t size = 0;
        EXPECT_EQ(0, pthread_getattr_np(pthread_self(), &attr));
        pthread_attr_getstack(&attr, &low, &size);
        pthread_attr_destroy(&attr);
        EXPECT_GT(here, 0u);
        EXPECT_LE(here, size);
        size_t deep = left_below(10);
        EXPECT_LT(deep, here);
        EXPECT_NEAR((double)here, (double)mti_thread_stack_left(), 512.0) << "frames of the macro";
        return nullptr;
    };
    pthread_t thread;
    ASSERT_TRUE(mti_thread_create(&thread, body, nullptr, "t"));
    pthread_join(thread, nullptr);
}

} // namespace
