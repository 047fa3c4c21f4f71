// Actors while memory or threads are short: each allocation, and each creation of a thread, fails once, and each
// time everything after it as well. Calls give OK or a typed error; the destructor runs once for each constructor
// that succeeded; nothing leaks.
#include "fault/fault.h"

#include <cstring>

using namespace fault;

static std::atomic<int> g_alive;

struct Book {
    long sum;
    size_t pages;
};
MANTA_ACTOR(ft_book, Book, MANTA_IN(int, first), MANTA_VAL(long, start))
{
    self->sum = start;
    self->pages = first.count;
    g_alive++;
    return MANTA_OK;
}
MANTA_ACTOR_END(ft_book)
{
    g_alive--;
}
MANTA_METHOD(ft_book, add, MANTA_VAL(long, x), MANTA_OUT(long, sum, 1))
{
    sum[0] = self->sum += x;
    return MANTA_OK;
}
MANTA_METHOD(ft_book, add_ref, MANTA_IN(int, x), MANTA_OUT(long, sum, 1))
{
    sum[0] = self->sum += x[0];
    return MANTA_OK;
}
MANTA_METHOD(ft_book, later, MANTA_OUT(long, sum, 1))
{
    (void)sum;
    manta_ref_t promise = manta_method_defer(task);
    if (is_error(promise)) return MANTA_ERR_OUT_OF_MEMORY;
    long value = self->sum;
    manta_status_t status = manta_promise_set(promise, &value, sizeof value);
    EXPECT_OK(manta_release(promise));
    return status;
}
MANTA_METHOD(ft_book, keep, MANTA_IN(int, x))
{
    return manta_actor_hold(task, x.data);
}
MANTA_METHOD(ft_book, die)
{
    return MANTA_ACTOR_FATAL;
}
MANTA_METHOD(ft_book, side, MANTA_VAL(long, x), MANTA_OUT(long, y, 1))
{
    y[0] = x + 1;
    return MANTA_OK;
}
MANTA_METHOD_GROUP(ft_book, side, "side");

class ActorFaultTest : public ::testing::TestWithParam<int>
{
  protected:
    void run(std::function<void()> scenario)
    {
        Case test = {::testing::UnitTest::GetInstance()->current_test_info()->name(), scenario,
                     [] { EXPECT_EQ(0, g_alive); }};
        g_alive = 0;
        all_rounds<FailingAlloc>(test, GetParam());
        all_rounds<FailingThreads>(test, GetParam());
    }
};
MANTA_TEST_WORKERS(ActorFaultTest);

static bool fine_or_dead(manta_status_t status)
{
    return fine(status) || status == MANTA_ERR_ACTOR_DIED || status == MANTA_ERR_ACTOR_RESTARTING ||
           status == MANTA_ERR_NOT_FOUND; // by its name, if it could not be made
}
#define EXPECT_FINE_OR_DEAD(call)                                                                  \
    do {                                                                                           \
        manta_status_t status_here = (call);                                                       \
        EXPECT_TRUE(fine_or_dead(status_here))                                                     \
            << #call << " gives " << manta_status_name(status_here) << ": "                        \
            << manta_error_message();                                                              \
    } while (0)

// Waits for |ref| and lets it go.
template <class T> static void settled(manta_ref_t ref, T)
{
    T value;
    EXPECT_FINE_OR_DEAD(manta_read(ref, &value, sizeof value, MANTA_FOREVER));
    drop(ref);
}

static manta_ref_t numbers(size_t n)
{
    std::vector<int> v(n, 3);
    return manta_put(v.data(), n * sizeof(int));
}

TEST_P(ActorFaultTest, CreateCallDestroy)
{
    run([] {
        manta_ref_t first = numbers(5);
        ft_book_t book = ft_book_new(first, 10);
        settled(ft_book_add(book, 1), 0L);
        EXPECT_FINE_OR_DEAD(ft_book_die_go(book));
        settled(ft_book_add(book, 1), 0L);
        if (!is_error({book.actor.id})) {
            EXPECT_OK(ft_book_destroy(book));
        }
        drop(first);
    });
}

TEST_P(ActorFaultTest, NamesRestartsAndKeptArguments)
{
    run([] {
        manta_ref_t first = numbers(1000);
        ft_book_t book = ft_book_create(
            MANTA_ACTOR_OPTIONS(.name = "book", .name_space = "shelf", .get_or_create = true,
                                .max_restarts = 2, .max_task_retries = 1),
            first, 10);
        manta_ref_t end = manta_actor_watch(book.actor);
        ft_book_t same = ft_book_find("book", "shelf");
        settled(ft_book_add(same, 1), 0L);
        EXPECT_FINE_OR_DEAD(ft_book_keep_go(book, first));
        EXPECT_FINE_OR_DEAD(ft_book_die_go(book));
        settled(ft_book_add(book, 1), 0L);
        for (manta_actor_t handle : {same.actor, book.actor}) {
            if (!is_error({handle.id})) {
                EXPECT_OK(manta_actor_release(handle));
            }
        }
        if (!is_error(end)) {
            EXPECT_FINE(manta_wait(&end, 1, 1, MANTA_FOREVER, nullptr, nullptr));
            drop(end);
        }
        drop(first);
    });
}

TEST_P(ActorFaultTest, CallsThatWaitForTheirArguments)
{
    run([] {
        manta_ref_t first = numbers(1), gate = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
        ft_book_t book = ft_book_new(first, 0);
        manta_ref_t calls[6];
        for (int i = 0; i < 6; i++)
            calls[i] = i % 2 ? (manta_ref_t)ft_book_add(book, i)
                             : (manta_ref_t)ft_book_add_ref(book, gate);
        int value = 4;
        if (!is_error(gate)) {
            manta_status_t set = manta_promise_set(gate, &value, sizeof value);
            EXPECT_FINE(set);
            if (set != MANTA_OK) {
                EXPECT_FINE(manta_promise_fail(gate, MANTA_ERR_OUT_OF_MEMORY, "no"));
            }
        }
        for (manta_ref_t call : calls)
            settled(call, 0L);
        settled(ft_book_later(book), 0L);
        if (!is_error({book.actor.id})) {
            EXPECT_FINE_OR_DEAD(manta_actor_kill(book.actor, false));
            EXPECT_OK(ft_book_destroy(book));
        }
        drop(gate);
        drop(first);
    });
}

TEST_P(ActorFaultTest, CallsWithPriorities)
{
    run([] {
        manta_ref_t first = numbers(1);
        const manta_actor_group_t group = {"side", 2};
        for (bool has_groups : {false, true}) {
            manta_actor_options_t options =
                MANTA_ACTOR_OPTIONS(.max_restarts = 1, .max_task_retries = 1);
            if (has_groups) {
                options.groups = &group;
                options.group_count = 1;
            }
            ft_book_t book = ft_book_create(options, first, 0);
            manta_ref_t calls[12];
            for (int i = 0; i < 12; i++) {
                manta_task_options_t with = MANTA_OPTIONS(.priority = MANTA_PRIORITY_HIGH);
                if (i % 3 == 0) with.priority = MANTA_PRIORITY_LOW;
                if (i == 6) EXPECT_FINE_OR_DEAD(ft_book_die_go_with(book, with));
                calls[i] = i % 2 ? (manta_ref_t)ft_book_side_with(book, with, i)
                                 : (manta_ref_t)ft_book_add(book, i);
            }
            for (manta_ref_t call : calls)
                settled(call, 0L);
            if (!is_error({book.actor.id})) {
                EXPECT_OK(ft_book_destroy(book));
            }
        }
        drop(first);
    });
}

TEST_P(ActorFaultTest, ConcurrencyGroupsAndStop)
{
    run([] {
        manta_ref_t first = numbers(1);
        const manta_actor_group_t group = {"side", 2};
        ft_book_t book = ft_book_create(
            MANTA_ACTOR_OPTIONS(.max_concurrency = 3, .groups = &group, .group_count = 1), first,
            0);
        manta_ref_t calls[8];
        for (int i = 0; i < 8; i++)
            calls[i] =
                i % 2 ? (manta_ref_t)ft_book_side(book, i) : (manta_ref_t)ft_book_later(book);
        for (manta_ref_t call : calls)
            settled(call, 0L);
        if (!is_error({book.actor.id})) {
            EXPECT_FINE_OR_DEAD(manta_actor_stop(book.actor, MANTA_FOREVER));
            EXPECT_OK(ft_book_destroy(book));
        }
        drop(first);
    });
}
