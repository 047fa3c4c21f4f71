// Every allocation fails once, and each time everything after it as well.
#include "fault/fault.h"

#include <cstring>
#include <numeric>

using namespace fault;

class MemoryTest : public ::testing::TestWithParam<int>
{
  protected:
    void run(std::function<void()> scenario, std::function<void()> check = nullptr)
    {
        all_rounds<FailingAlloc>(
            {::testing::UnitTest::GetInstance()->current_test_info()->name(), scenario, check},
            GetParam());
    }
};
MANTA_TEST_WORKERS(MemoryTest);

// ---- start and stop ----------------------------------------------------------------------------

TEST_P(MemoryTest, StartAndStop)
{
    for (long count : {1L, kAll}) {
        for (long n = 1;; n++) {
            SCOPED_TRACE((count == 1 ? "only " : "all from ") + std::to_string(n));
            CountingAllocator allocator;
            Log log;
            bool reached = false;
            std::thread([&] {
                manta_runtime_options_t options = small_options(GetParam(), &allocator, &log);
                manta_runtime_t runtime = {0};
                manta_status_t created, stopped = MANTA_OK;
                {
                    FailingAlloc fail(n, count);
                    created = manta_runtime_create(&options, &runtime);
                    EXPECT_FINE(created);
                    if (created == MANTA_OK) {
                        stopped =
                            manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_DRAIN, MANTA_FOREVER);
                        EXPECT_FINE(stopped);
                    }
                    reached = FailingAlloc::seen() >= n;
                }
                if (created == MANTA_OK && stopped != MANTA_OK) { // not even a context: again
                    EXPECT_OK(manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_DRAIN, MANTA_FOREVER));
                }
            }).join();
            EXPECT_EQ(0, allocator.bytes());
            for (const std::string &line : log.take())
                ADD_FAILURE() << "logged: " << line;
            if (!reached || HasFailure()) break;
        }
    }
}

// ---- values ------------------------------------------------------------------------------------

TEST_P(MemoryTest, PutGetRelease)
{
    run([] {
        std::vector<int> large(100000);
        std::iota(large.begin(), large.end(), 0);
        for (size_t n : {1u, 4u, 100u, 5000u, 100000u}) {
            manta_ref_t ref = manta_put(large.data(), n * sizeof(int));
            manta_view_t view;
            manta_status_t status = manta_get(ref, &view, MANTA_FOREVER);
            EXPECT_FINE(status);
            if (status == MANTA_OK) {
                EXPECT_EQ(n * sizeof(int), view.size_bytes);
                EXPECT_EQ(0, memcmp(view.data, large.data(), view.size_bytes));
                manta_view_release(&view);
            }
            drop(ref);
        }
    });
}

TEST_P(MemoryTest, CreateSealSlice)
{
    run([] {
        manta_ref_t ref = {0}, part = {0};
        void *data = nullptr;
        manta_status_t status = manta_create(4000, MANTA_DTYPE(MANTA_I32, 4), &ref, &data);
        EXPECT_FINE(status);
        if (status != MANTA_OK) return;
        for (int i = 0; i < 1000; i++)
            static_cast<int *>(data)[i] = i;
        EXPECT_OK(manta_seal(ref));
        part = manta_slice(ref, 400, 4);
        manta_ref_t copy = manta_retain(ref);
        drop(ref);
        got(part, 100);
        drop(copy);
        drop(part);
    });
}

TEST_P(MemoryTest, AbandonedBuffers)
{
    run([] {
        manta_ref_t ref = {0};
        void *data = nullptr;
        manta_status_t status = manta_create(100000, 0, &ref, &data);
        EXPECT_FINE(status);
        if (status != MANTA_OK) return;
        EXPECT_OK(manta_abandon(ref, MANTA_ERR_IO));
        manta_status_t state = manta_ref_status(ref);
        EXPECT_TRUE(state == MANTA_ERR_IO || state == MANTA_ERR_OUT_OF_MEMORY);
        drop(ref);
    });
}

TEST_P(MemoryTest, Scopes)
{
    run([] {
        MANTA_SCOPE();
        manta_ref_t last = {0};
        for (int i = 0; i < 300; i++) {
            manta_ref_t ref = manta_put(&i, sizeof i);
            manta_view_t view;
            manta_status_t status = manta_get(ref, &view, MANTA_FOREVER);
            EXPECT_FINE(status); // the scope ends views, too
            last = ref;
        }
        drop(manta_keep(last));
    });
}

// ---- tasks -------------------------------------------------------------------------------------

MANTA_TASK(ft_add, MANTA_IN(int, a), MANTA_IN(int, b), MANTA_OUT(int, sum, 1))
{
    sum[0] = a[0] + b[0];
    return MANTA_OK;
}

TEST_P(MemoryTest, Chains)
{
    run([] {
        int one = 1;
        manta::ref<int> unit = manta_put(&one, sizeof one), sum = unit;
        (void)manta_retain(sum);
        for (int i = 0; i < 20; i++) {
            manta::ref<int> next = ft_add_remote(sum, unit);
            drop(sum);
            sum = next;
        }
        got(sum, 21);
        drop(sum);
        drop(unit);
    });
}

TEST_P(MemoryTest, ManyTasksAtOnce)
{
    run([] {
        std::vector<manta_ref_t> refs;
        for (int i = 0; i < 3000; i++)
            refs.push_back(ft_double_remote(i)); // rings and runs grow
        for (int i = 0; i < 3000; i++) {
            got(refs[static_cast<size_t>(i)], 2 * i);
            drop(refs[static_cast<size_t>(i)]);
        }
    });
}

typedef struct block {
    int v[40];
} block_t;

MANTA_TASK(ft_overflow, MANTA_VAL(block_t, block), MANTA_IN(int, a), MANTA_OUT(int, sum, 1),
           MANTA_OUT(double, large, 5000), MANTA_OUT(char, small, 3))
{
    sum[0] = a[0];
    for (int v : block.v)
        sum[0] += v;
    for (double &x : large)
        x = sum[0];
    for (char &c : small)
        c = 'x';
    return MANTA_OK;
}

TEST_P(MemoryTest, OverflowArgumentsAndSeveralResults)
{
    run([] {
        block_t block = {};
        block.v[7] = 5;
        manta::ref<int> a = ft_double_remote(4);
        ft_overflow_out_t out = ft_overflow_remote(block, a);
        manta_view_t view;
        manta_status_t status = manta_get(out.large, &view, MANTA_FOREVER);
        EXPECT_FINE(status);
        if (status == MANTA_OK) {
            EXPECT_EQ(13.0, static_cast<const double *>(view.data)[4999]);
            manta_view_release(&view);
        }
        got(out.sum, 13);
        drop(a);
        drop(out.sum);
        drop(out.large);
        drop(out.small);
    });
}

MANTA_TASK(ft_list_sum, MANTA_IN_LIST(int, parts), MANTA_OUT(long, sum, 1))
{
    sum[0] = 0;
    for (size_t i = 0; i < parts.count; i++)
        sum[0] += parts.items[i].data[0];
    return MANTA_OK;
}

TEST_P(MemoryTest, Lists)
{
    run([] {
        std::vector<manta::ref<int>> refs;
        for (int i = 0; i < 100; i++) {
            if (i % 2) {
                refs.push_back(ft_double_remote(i));
            } else {
                refs.push_back(manta_put(&i, sizeof i));
            }
        }
        manta::ref<long> sum = ft_list_sum_remote(refs.data(), refs.size());
        got(sum, 7450L);
        for (manta_ref_t ref : refs)
            drop(ref);
        drop(sum);
    });
}

MANTA_TASK(ft_bump, MANTA_INOUT(int, x))
{
    for (int &v : x)
        v++;
    return MANTA_OK;
}

TEST_P(MemoryTest, InOut)
{
    run([] {
        std::vector<int> values(1000, 5);
        manta::ref<int> x = manta_put(values.data(), values.size() * sizeof(int));
        manta_ref_t before = manta_retain(x);
        x = ft_bump_remote(x); // a copy
        x = ft_bump_remote(x); // in place
        manta_view_t view;
        manta_status_t status = manta_get(x, &view, MANTA_FOREVER);
        EXPECT_FINE(status);
        if (status == MANTA_OK) {
            EXPECT_EQ(7, static_cast<const int *>(view.data)[999]);
            manta_view_release(&view);
        }
        status = manta_get(before, &view, MANTA_FOREVER);
        EXPECT_FINE(status);
        if (status == MANTA_OK) {
            EXPECT_EQ(5, static_cast<const int *>(view.data)[999]);
            manta_view_release(&view);
        }
        drop(before);
        drop(x);
    });
}

TEST_P(MemoryTest, SubmitThatFailsTakesNothing)
{
    run([] {
        int one = 1;
        manta_ref_t x = manta_put(&one, sizeof one);
        manta_task_desc_t desc = {};
        desc.struct_size = sizeof desc;
        desc.task = &ft_bump_task;
        desc.args = &x;
        desc.args_bytes = sizeof x;
        manta_ref_t next = {0};
        manta_status_t status = manta_submit(&desc, &next, 1);
        EXPECT_FINE(status);
        if (status == MANTA_OK) {
            got(next, 2);
            drop(next);
        } else {
            drop(x); // still the caller's
        }
    });
}

MANTA_TASK(ft_fail, MANTA_IN(int, x), MANTA_OUT(int, y, 1))
{
    (void)x;
    (void)y;
    return manta_fail(task, MANTA_ERR_USER + 3, "row %d", x[0]);
}

TEST_P(MemoryTest, FailuresKeepTheirCode)
{
    run([] {
        int one = 1;
        manta::ref<int> x = manta_put(&one, sizeof one);
        manta::ref<int> y = ft_fail_remote(x), z = ft_add_remote(y, x);
        for (manta_ref_t ref : {y, z}) {
            int value;
            manta_status_t status = manta_read(ref, &value, sizeof value, MANTA_FOREVER);
            EXPECT_TRUE(status == MANTA_ERR_USER + 3 || status == MANTA_ERR_OUT_OF_MEMORY)
                << manta_status_name(status);
            manta_error_release(manta_ref_error(ref));
        }
        drop(x);
        drop(y);
        drop(z);
    });
}

MANTA_TASK(ft_forward, MANTA_VAL(int, depth), MANTA_OUT(int, x, 1))
{
    if (depth == 0) {
        x[0] = 9;
        return MANTA_OK;
    }
    manta_ref_t inner = ft_forward_remote(depth - 1);
    return manta_forward(task, inner);
}

TEST_P(MemoryTest, Forwards)
{
    run([] {
        manta::ref<int> x = ft_forward_remote(5);
        got(x, 9);
        drop(x);
    });
}

MANTA_TASK(ft_fib, MANTA_VAL(int, n), MANTA_OUT(int, f, 1))
{
    if (n < 2) {
        f[0] = n;
        return MANTA_OK;
    }
    manta::ref<int> a = ft_fib_remote(n - 1), b = ft_fib_remote(n - 2);
    int x, y;
    manta_status_t status = manta_read(a, &x, sizeof x, MANTA_FOREVER);
    if (status == MANTA_OK) status = manta_read(b, &y, sizeof y, MANTA_FOREVER);
    if (status != MANTA_OK) return status;
    f[0] = x + y;
    return MANTA_OK;
}

TEST_P(MemoryTest, NestedGets)
{
    run([] {
        manta::ref<int> f = ft_fib_remote(8);
        got(f, 21);
        drop(f);
    });
}

TEST_P(MemoryTest, Options)
{
    int workers = GetParam();
    run([workers] {
        manta_task_options_t wide = MANTA_OPTIONS(.cpus = workers ? workers : 1.0);
        manta_task_options_t elastic = MANTA_OPTIONS(.cpus = 0.5);
        manta_task_options_t named = MANTA_OPTIONS(.name = "x");
        for (const manta_task_options_t &options : {wide, elastic, named, elastic}) {
            manta::ref<int> x = ft_double_with(options, 4);
            got(x, 8);
            drop(x);
        }
    });
}

// Fails in its first attempt.
MANTA_TASK(ft_again, MANTA_VAL(int, n), MANTA_OUT(int, x, 1), MANTA_OUT(char, large, 3000))
{
    x[0] = n;
    large[2999] = 1;
    return manta_attempt(task) ? (manta_status_t)MANTA_OK
                               : manta_fail(task, MANTA_ERR_USER + 1, "try %d", n);
}

TEST_P(MemoryTest, Rules)
{
    run([] {
        manta_task_options_t timed =
            MANTA_OPTIONS(.deadline_ns = MANTA_S(1000), .run_timeout_ns = MANTA_S(1000));
        manta_task_options_t again = MANTA_OPTIONS(.max_retries = 2, .backoff_ns = 1000);
        manta_task_options_t held =
            MANTA_OPTIONS(.max_retries = 1, .resources[0] = manta_resource("tape", 1));
        manta_task_options_t urgent =
            MANTA_OPTIONS(.priority = MANTA_PRIORITY_URGENT, .max_retries = 1);
        for (const manta_task_options_t &options : {timed, again, held, urgent}) {
            ft_again_out_t out = ft_again_with(options, 4);
            int value = 0;
            manta_status_t status = manta_read(out.x, &value, sizeof value, MANTA_FOREVER);
            EXPECT_TRUE(fine(status) || status == MANTA_ERR_SYSTEM || status == MANTA_ERR_USER + 1)
                << status;
            if (status == MANTA_OK) {
                EXPECT_EQ(4, value);
            }
            drop(out.x);
            drop(out.large);
        }
    });
}

static manta_status_t ft_step(manta_task_t *task, void *state)
{
    int n = ++*static_cast<int *>(state);
    if (n > 5) return MANTA_ERR_END;
    return manta_yield(task, &n, sizeof n);
}

TEST_P(MemoryTest, Generators)
{
    run([] {
        int state = 0;
        manta_generator_desc_t desc = {};
        desc.struct_size = sizeof desc;
        desc.step = ft_step;
        desc.state = &state;
        desc.dtype = MANTA_DTYPE(MANTA_I32, 4);
        desc.run_ahead = 2;
        manta_generator_t generator;
        manta_status_t status = manta_generator_create(&desc, &generator);
        EXPECT_FINE(status);
        if (status != MANTA_OK) return;
        while (status == MANTA_OK) {
            manta_ref_t ref;
            status = manta_generator_next(generator, &ref, MANTA_FOREVER);
            EXPECT_TRUE(fine(status) || status == MANTA_ERR_END) << status;
            if (status == MANTA_OK) drop(ref);
        }
        EXPECT_OK(manta_generator_release(generator));
    });
}

struct ft_stream_state {
    int made;
    int *ended;
};
MANTA_GENERATOR(ft_stream, ft_stream_state, MANTA_LOCAL(int *, ended), MANTA_IN(int, x),
                MANTA_VAL(int, n), MANTA_IN(int, y), MANTA_OUT(int, z, 1))
{
    (void)task;
    self->ended = ended;
    if (self->made == n) return MANTA_ERR_END;
    z[0] = x[0] + y[0] + self->made++;
    return MANTA_OK;
}
MANTA_GENERATOR_END(ft_stream)
{
    if (self->ended) ++*self->ended; // a step ran
}

// With refs that the generator holds, one of which comes later.
TEST_P(MemoryTest, TypedGenerators)
{
    run([] {
        int ended = 0, one = 1;
        manta_ref_t x = manta_put(&one, sizeof one);
        manta_ref_t y = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
        ft_stream_t stream =
            ft_stream_with(MANTA_GENERATOR_OPTIONS(.run_ahead = 3), &ended, x, 5, y);
        EXPECT_FINE(stream.status);
        if (!is_error(y)) {
            manta_status_t status = manta_promise_set(y, &one, sizeof one);
            EXPECT_FINE(status);
            if (status != MANTA_OK) {
                EXPECT_OK(manta_abandon(y, MANTA_ERR_OUT_OF_MEMORY));
            }
        }
        for (int i = 0; stream.status == MANTA_OK; i++) {
            int z = 0;
            manta_status_t status = ft_stream_next_value(stream, &z);
            if (status == MANTA_ERR_END) break;
            EXPECT_FINE(status);
            if (status != MANTA_OK) break;
            EXPECT_EQ(2 + i, z);
        }
        if (stream.status == MANTA_OK) {
            EXPECT_OK(ft_stream_destroy(stream));
        }
        EXPECT_FINE(manta_drain(MANTA_FOREVER));
        EXPECT_LE(ended, 1);
        drop(x);
        drop(y);
    });
}

MANTA_TASK(ft_accept_sum, MANTA_IN_LIST(int, parts), MANTA_OUT(long, sum, 1))
{
    sum[0] = 0;
    for (size_t i = 0; i < parts.count; i++) {
        bool is_there = manta_arg_item_status(task, 0, i) == MANTA_OK;
        EXPECT_EQ(is_there ? 1u : 0u, parts.items[i].count);
        if (is_there) sum[0] += parts.items[i].data[0];
    }
    return MANTA_OK;
}

TEST_P(MemoryTest, AcceptedFailures)
{
    run([] {
        manta::ref<int> parts[] = {ft_double_remote(2), manta_put((int *)nullptr, 5)};
        manta::ref<long> sum =
            ft_accept_sum_with(MANTA_OPTIONS(.accept_failed = MANTA_ACCEPT_ALL), parts, 2);
        long value = 0;
        manta_status_t status = manta_read(sum, &value, sizeof value, MANTA_FOREVER);
        EXPECT_FINE(status);
        if (status == MANTA_OK) {
            EXPECT_TRUE(value == 4 || value == 0) << value;
        }
        drop(sum);
        drop(parts[0]);
    });
}

MANTA_TASK(ft_blocking, MANTA_VAL(int, n), MANTA_OUT(int, x, 1))
{
    manta_blocking_begin(task);
    manta_blocking_end(task);
    x[0] = n;
    return MANTA_OK;
}

TEST_P(MemoryTest, Blocking)
{
    run([] {
        manta_ref_t refs[4];
        for (int i = 0; i < 4; i++)
            refs[i] = ft_blocking_remote(i);
        for (int i = 0; i < 4; i++) {
            got(refs[i], i);
            drop(refs[i]);
        }
    });
}

// ---- ranges ------------------------------------------------------------------------------------

MANTA_TASK(ft_count, MANTA_LOCAL(std::atomic<int> *, counter))
{
    (void)task;
    counter->fetch_add(1);
    int x = 1;
    manta_ref_t put = manta_put(&x, sizeof x); // the body's scope releases it
    (void)put;
    return MANTA_OK;
}

TEST_P(MemoryTest, Ranges)
{
    run([] {
        std::atomic<int> counter{0};
        struct {
            std::atomic<int> *counter;
        } image = {&counter};
        static_assert(sizeof image == sizeof(void *), "the image of ft_count");
        manta_ref_t range =
            manta_submit_range(&ft_count_task, nullptr, &image, sizeof image, 1000, 10);
        manta_status_t status = manta_read(range, nullptr, 0, MANTA_FOREVER);
        EXPECT_FINE(status);
        EXPECT_EQ(status == MANTA_OK ? 1000 : 0, counter);
        drop(range);

        counter = 0;
        std::vector<std::atomic<int> *> images(100, &counter);
        manta_ref_t array = manta_submit_array(&ft_count_task, nullptr, images.data(),
                                               sizeof images[0], images.size(), 0);
        status = manta_read(array, nullptr, 0, MANTA_FOREVER);
        EXPECT_FINE(status);
        EXPECT_EQ(status == MANTA_OK ? 100 : 0, counter);
        drop(array);
    });
}

// ---- being told --------------------------------------------------------------------------------

TEST_P(MemoryTest, Callbacks)
{
    static std::atomic<int> asked, called;
    run(
        [] {
            asked = called = 0;
            auto fn = [](manta_ref_t, manta_status_t status, void *) {
                EXPECT_FINE(status);
                called++;
            };
            manta::ref<int> x = ft_double_remote(1);
            int one = 1;
            manta_ref_t ready = manta_put(&one, sizeof one);
            for (manta_ref_t ref : {(manta_ref_t)x, (manta_ref_t)x, ready}) {
                manta_status_t status = manta_on_ready(ref, fn, nullptr);
                EXPECT_FINE(status);
                if (status == MANTA_OK) asked++;
            }
            got(x, 2);
            drop(x);
            drop(ready);
        },
        [] { EXPECT_EQ(asked, called); });
}

TEST_P(MemoryTest, CompletionQueues)
{
    run([] {
        manta_cq_t cq = {0};
        manta_status_t status = manta_cq_create(&cq);
        EXPECT_FINE(status);
        if (status != MANTA_OK) return;
        std::vector<manta_ref_t> refs;
        size_t added = 0;
        for (int i = 0; i < 10; i++) {
            refs.push_back(ft_double_remote(i));
            status = manta_cq_add(cq, refs.back(), static_cast<uint64_t>(i));
            EXPECT_FINE(status);
            if (status == MANTA_OK) added++;
        }
        std::set<uint64_t> tags;
        while (tags.size() < added) {
            manta_cq_entry_t entries[4];
            size_t n = 0;
            manta_status_t next = manta_cq_next(cq, entries, 4, &n, MANTA_FOREVER);
            EXPECT_OK(next);
            if (next != MANTA_OK) break;
            for (size_t i = 0; i < n; i++) {
                EXPECT_FINE(entries[i].status);
                EXPECT_TRUE(tags.insert(entries[i].tag).second);
            }
        }
        for (manta_ref_t ref : refs)
            drop(ref);
        EXPECT_OK(manta_cq_destroy(cq));
    });
}

TEST_P(MemoryTest, QueuesDestroyedWithEntriesInside)
{
    run([] {
        manta_cq_t cq = {0};
        if (manta_cq_create(&cq) != MANTA_OK) return;
        manta_ref_t promise = manta_promise_create(0), ready = ft_double_remote(1);
        EXPECT_FINE(manta_cq_add(cq, promise, 1));
        EXPECT_FINE(manta_cq_add(cq, ready, 2));
        got(ready, 2);
        EXPECT_OK(manta_cq_destroy(cq));
        drop(promise);
        drop(ready);
    });
}

TEST_P(MemoryTest, Promises)
{
    run([] {
        manta_dtype_t i32 = MANTA_DTYPE(MANTA_I32, 4);
        std::vector<int> values(100, 3);
        manta_ref_t set = manta_promise_create(i32), failed = manta_promise_create(i32),
                    forwarded = manta_promise_create(i32), given_up = manta_promise_create(i32);
        auto finish_fine = [](manta_ref_t promise, manta_status_t status) {
            if (is_error(promise)) { // there was no memory for it
                EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, status);
                return;
            }
            EXPECT_FINE(status);
            if (status != MANTA_OK) {
                // Not finished: it can be given up at least.
                EXPECT_OK(manta_abandon(promise, MANTA_ERR_OUT_OF_MEMORY));
            }
        };
        manta::ref<int> source = ft_double_remote(21);
        finish_fine(set, manta_promise_set(set, values.data(), 400));
        finish_fine(failed, manta_promise_fail(failed, MANTA_ERR_IO, "disk %d", 1));
        finish_fine(forwarded, manta_promise_forward(forwarded, source));
        finish_fine(given_up, manta_abandon(given_up, MANTA_OK));
        got(forwarded, 42);
        manta_status_t status = manta_ref_status(set);
        EXPECT_FINE(status);
        status = manta_ref_status(failed);
        EXPECT_TRUE(status == MANTA_ERR_IO || status == MANTA_ERR_OUT_OF_MEMORY);
        status = manta_ref_status(given_up);
        EXPECT_TRUE(status == MANTA_ERR_ABANDONED || status == MANTA_ERR_OUT_OF_MEMORY);
        for (manta_ref_t ref : {set, failed, forwarded, given_up, (manta_ref_t)source})
            drop(ref);
        drop(manta_promise_create(i32)); // abandoned by its last release
    });
}

TEST_P(MemoryTest, WrappedMemory)
{
    static std::atomic<int> wrapped, deleted;
    run(
        [] {
            wrapped = deleted = 0;
            static int memory[8] = {1, 2, 3, 4, 5, 6, 7, 8};
            for (int i = 0; i < 3; i++) {
                manta_ref_t ref = manta_wrap(
                    memory, sizeof memory, MANTA_DTYPE(MANTA_I32, 4),
                    [](void *data, size_t size, void *) {
                        EXPECT_EQ(memory, data);
                        EXPECT_EQ(sizeof memory, size);
                        deleted++;
                    },
                    nullptr);
                if (!is_error(ref)) wrapped++;
                manta_ref_t part = manta_slice(ref, 4, 4);
                got(part, 2);
                drop(ref);
                drop(part);
            }
        },
        [] { EXPECT_EQ(wrapped, deleted); });
}

TEST_P(MemoryTest, WaitForSeveral)
{
    run([] {
        std::vector<manta_ref_t> refs;
        for (int i = 0; i < 40; i++)
            refs.push_back(ft_fib_remote(3));
        size_t count = 0;
        std::vector<size_t> ready(40);
        for (size_t k : {1u, 20u, 40u}) {
            manta_status_t status =
                manta_wait(refs.data(), refs.size(), k, MANTA_FOREVER, ready.data(), &count);
            EXPECT_FINE(status);
            if (status == MANTA_OK) {
                EXPECT_GE(count, k);
            }
        }
        for (manta_ref_t ref : refs)
            drop(ref);
    });
}

TEST_P(MemoryTest, Cancels)
{
    run([] {
        manta_ref_t promise = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
        manta::ref<int> p;
        p.id = promise.id;
        manta::ref<int> x = ft_add_remote(p, p), y = ft_add_remote(x, p);
        if (!is_error(x)) {
            EXPECT_OK(manta_cancel(x));
        }
        int value;
        for (manta_ref_t ref : {x, y}) {
            manta_status_t status = manta_read(ref, &value, sizeof value, MANTA_FOREVER);
            EXPECT_TRUE(status == MANTA_ERR_CANCELLED || status == MANTA_ERR_OUT_OF_MEMORY)
                << manta_status_name(status);
        }
        drop(promise);
        drop(x);
        drop(y);
    });
}

// ---- shutdown ----------------------------------------------------------------------------------

static void forget(manta_ref_t ref)
{
    EXPECT_FALSE(is_error(ref));
}

TEST_P(MemoryTest, ShutdownWithWorkAndRefsLeft)
{
    for (manta_shutdown_mode_t mode : {MANTA_SHUTDOWN_DRAIN, MANTA_SHUTDOWN_CANCEL}) {
        for (long count : {1L, kAll}) {
            for (long n = 1;; n++) {
                SCOPED_TRACE((count == 1 ? "only " : "all from ") + std::to_string(n));
                CountingAllocator allocator;
                bool reached = false;
                Log log;
                manta_runtime_options_t options = small_options(GetParam(), &allocator, &log);
                options.report_leaks = false;
                ASSERT_OK(manta_init(&options));
                manta_runtime_t runtime = manta_runtime_default();
                std::atomic<int> deleted{0};
                static int memory[4];
                // What is left: values, a promise with dependents and a callback, wrapped memory.
                std::thread([&] {
                    for (int i = 0; i < 20; i++)
                        forget(ft_fib_remote(4));
                    forget(manta_promise_create(0));
                    manta_ref_t wrapped = manta_wrap(
                        memory, sizeof memory, 0,
                        [](void *, size_t, void *user) {
                            static_cast<std::atomic<int> *>(user)->fetch_add(1);
                        },
                        &deleted);
                    EXPECT_OK(manta_ref_status(wrapped));
                    std::vector<char> large(100000);
                    EXPECT_OK(manta_ref_status(manta_put(large.data(), large.size())));
                }).join();
                std::thread([&] {
                    manta_status_t status;
                    {
                        FailingAlloc fail(n, count);
                        status = manta_runtime_shutdown(runtime, mode, MANTA_FOREVER);
                        reached = FailingAlloc::seen() >= n;
                    }
                    EXPECT_FINE(status);
                    if (status != MANTA_OK) {
                        EXPECT_OK(manta_runtime_shutdown(runtime, mode, MANTA_FOREVER));
                    }
                }).join();
                EXPECT_EQ(1, deleted);
                EXPECT_EQ(0, allocator.bytes());
                if (!reached || HasFailure()) break;
            }
        }
    }
}
