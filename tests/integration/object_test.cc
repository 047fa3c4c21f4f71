// Values and refs without tasks (and a few with): put, create, wrap, slice, promises, counts, scopes.
#include "support/runtime_fixture.h"

#include <cstring>
#include <numeric>
#include <random>
#include <thread>

using namespace manta_testing;

class ObjectTest : public RuntimeTest
{
};
MANTA_TEST_WORKERS(ObjectTest);

MANTA_TASK(ob_sum, MANTA_IN(int, x), MANTA_OUT(int, sum, 1))
{
    int total = 0;
    for (int v : x)
        total += v;
    sum[0] = total;
    return MANTA_OK;
}

MANTA_TASK(ob_increment, MANTA_INOUT(int, x))
{
    for (int &v : x)
        v++;
    return MANTA_OK;
}

MANTA_TASK(ob_hold, MANTA_LOCAL(Gate *, gate), MANTA_OUT(int, x, 1))
{
    gate->arrive();
    gate->pass();
    x[0] = 7;
    return MANTA_OK;
}

static void count_delete(void *data, size_t size_bytes, void *user)
{
    (void)data;
    (void)size_bytes;
    static_cast<std::atomic<int> *>(user)->fetch_add(1);
}

// ---- put --------------------------------------------------------------------------------------

TEST_P(ObjectTest, PutCopiesTheBytes)
{
    for (size_t n : {1u, 3u, 4u, 5u, 16u, 1000u, 100000u}) {
        std::vector<int> source(n);
        std::iota(source.begin(), source.end(), 1);
        manta_ref_t ref = manta_put(source.data(), n * sizeof(int));
        std::vector<int> expected = source;
        std::fill(source.begin(), source.end(), -1);
        EXPECT_EQ(expected, values_of<int>(ref));
        manta_view_t view;
        ASSERT_OK(manta_get(ref, &view, 0));
        EXPECT_EQ(n * sizeof(int), view.size_bytes);
        EXPECT_EQ(n, view.count);
        EXPECT_EQ(MANTA_I32, (int)MANTA_DTYPE_CODE(view.dtype));
        manta_view_release(&view);
        size_t size = 0;
        EXPECT_OK(manta_ref_size(ref, &size));
        EXPECT_EQ(n * sizeof(int), size);
        EXPECT_OK(manta_release(ref));
    }
}

TEST_P(ObjectTest, ZeroBytesIsAValue)
{
    manta_ref_t ref = manta_put_typed(nullptr, 0, 0);
    EXPECT_OK(manta_ref_status(ref));
    manta_view_t view;
    ASSERT_OK(manta_get(ref, &view, MANTA_FOREVER));
    EXPECT_EQ(nullptr, view.data);
    EXPECT_EQ(0u, view.size_bytes);
    EXPECT_EQ(0u, view.count);
    manta_view_release(&view);
    EXPECT_OK(manta_read(ref, nullptr, 0, MANTA_FOREVER));
    manta_ref_t sum = ob_sum_remote(ref);
    EXPECT_EQ(0, value_of<int>(sum));
    EXPECT_OK(manta_release(sum));
    EXPECT_OK(manta_release(ref));
}

TEST_P(ObjectTest, PutOfNothingWithASizeIsAnErrorRef)
{
    manta_ref_t ref = manta_put_typed(nullptr, 8, 0);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_ref_status(ref));
    EXPECT_STRNE("", manta_error_message());
    manta_view_t view;
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_get(ref, &view, MANTA_FOREVER));
    int x;
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_read(ref, &x, sizeof x, 0));
    EXPECT_OK(manta_release(ref));
    EXPECT_OK(manta_release(ref)); // error refs need no counting
}

TEST_P(ObjectTest, PutOfMoreThanThereIsIsAnErrorRef)
{
    char byte = 0;
    manta_ref_t ref = manta_put_typed(&byte, SIZE_MAX / 2, 0);
    EXPECT_STATUS(MANTA_ERR_OUT_OF_MEMORY, manta_ref_status(ref));
    EXPECT_OK(manta_release(ref));
    manta_ref_t created;
    void *data;
    EXPECT_STATUS(MANTA_ERR_OUT_OF_MEMORY, manta_create(SIZE_MAX - 8, 0, &created, &data));
}

TEST_P(ObjectTest, ReadOfAnotherSizeIsAMismatch)
{
    manta_ref_t ref = put1<int>(5);
    char small[2];
    long big;
    EXPECT_STATUS(MANTA_ERR_TYPE_MISMATCH, manta_read(ref, small, sizeof small, MANTA_FOREVER));
    EXPECT_STATUS(MANTA_ERR_TYPE_MISMATCH, manta_read(ref, &big, sizeof big, MANTA_FOREVER));
    EXPECT_EQ(5, value_of<int>(ref));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_read(ref, nullptr, 4, MANTA_FOREVER));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_get(ref, nullptr, MANTA_FOREVER));
    EXPECT_OK(manta_release(ref));
}

// ---- create, seal, abandon --------------------------------------------------------------------

TEST_P(ObjectTest, CreatedObjectIsPendingUntilSealed)
{
    for (size_t size : {4u, 16u, 20u, 64u, 4096u, 1u << 20}) {
        manta_ref_t ref;
        void *data = nullptr;
        ASSERT_OK(manta_create(size, MANTA_DTYPE(MANTA_I32, 4), &ref, &data));
        ASSERT_NE(nullptr, data);
        EXPECT_EQ(0u, reinterpret_cast<uintptr_t>(data) % (size > 16 ? 64 : 16)) << size;
        EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(ref));
        manta_view_t view;
        EXPECT_STATUS(MANTA_NOT_READY, manta_get(ref, &view, 0));
        EXPECT_STATUS(MANTA_NOT_READY, manta_get(ref, &view, MANTA_MS(1)));
        memset(data, 1, size);
        EXPECT_OK(manta_seal(ref));
        EXPECT_OK(manta_ref_status(ref));
        ASSERT_OK(manta_get(ref, &view, 0));
        EXPECT_EQ(size, view.size_bytes);
        EXPECT_EQ(0x01010101, *static_cast<const int *>(view.data));
        if (size > 16) {
            EXPECT_EQ(data, view.data) << "the store's own buffer, not a copy";
        }
        manta_view_release(&view);
        EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_seal(ref));
        EXPECT_OK(manta_release(ref));
    }
}

TEST_P(ObjectTest, TasksWaitForACreatedObject)
{
    manta_ref_t ref;
    void *data;
    ASSERT_OK(manta_create(3 * sizeof(int), MANTA_DTYPE(MANTA_I32, 4), &ref, &data));
    manta_ref_t sum = ob_sum_remote(ref);
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(sum));
    int values[] = {1, 2, 3};
    memcpy(data, values, sizeof values);
    EXPECT_OK(manta_seal(ref));
    EXPECT_EQ(6, value_of<int>(sum));
    EXPECT_OK(manta_release(sum));
    EXPECT_OK(manta_release(ref));
}

TEST_P(ObjectTest, AbandonFailsTheRef)
{
    manta_ref_t a, b;
    void *data;
    ASSERT_OK(manta_create(100, 0, &a, &data));
    ASSERT_OK(manta_create(100, 0, &b, &data));
    EXPECT_OK(manta_abandon(a, MANTA_OK));
    EXPECT_OK(manta_abandon(b, MANTA_ERR_USER + 9));
    EXPECT_STATUS(MANTA_ERR_ABANDONED, manta_ref_status(a));
    manta_view_t view;
    EXPECT_STATUS(MANTA_ERR_USER + 9, manta_get(b, &view, MANTA_FOREVER));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_seal(a));
    EXPECT_NE(MANTA_OK, manta_abandon(a, MANTA_OK));
    manta_ref_t sum = ob_sum_remote(b);
    EXPECT_STATUS(MANTA_ERR_USER + 9, manta_get(sum, &view, MANTA_FOREVER));
    for (manta_ref_t ref : {a, b, sum})
        EXPECT_OK(manta_release(ref));
}

TEST_P(ObjectTest, ReleasingAnUnsealedObjectFreesItAndFailsItsDependents)
{
    manta_ref_t ref;
    void *data;
    ASSERT_OK(manta_create(1000, 0, &ref, &data));
    manta_ref_t sum = ob_sum_remote(ref);
    EXPECT_OK(manta_release(ref));
    int x;
    EXPECT_STATUS(MANTA_ERR_ABANDONED, manta_read(sum, &x, sizeof x, MANTA_FOREVER));
    EXPECT_OK(manta_release(sum));
}

TEST_P(ObjectTest, SealOfSomethingElseIsRefused)
{
    manta_ref_t ref = put1(1);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_seal(ref));
    manta_ref_t promise = manta_promise_create(0);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_seal(promise));
    EXPECT_OK(manta_release(promise));
    EXPECT_OK(manta_release(ref));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_seal(ref));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_abandon(ref, MANTA_OK));
}

// ---- views ------------------------------------------------------------------------------------

TEST_P(ObjectTest, AViewKeepsTheBytesAfterTheRefIsReleased)
{
    std::vector<int> source(1000, 3);
    manta_ref_t ref = manta_put(source.data(), source.size() * sizeof(int));
    manta_view_t view;
    ASSERT_OK(manta_get(ref, &view, MANTA_FOREVER));
    EXPECT_OK(manta_release(ref));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(ref));
    EXPECT_EQ(3, static_cast<const int *>(view.data)[999]);
    EXPECT_NE(0u, stats_of(runtime_).live_bytes);
    manta_view_release(&view);
    manta_view_release(&view);
    manta_view_release(nullptr);
    EXPECT_EQ(0u, stats_of(runtime_).live_bytes);
}

TEST_P(ObjectTest, AViewIsAHolderForInout)
{
    std::vector<int> source(1000, 3);
    manta_ref_t ref = manta_put(source.data(), source.size() * sizeof(int));
    manta_view_t view;
    ASSERT_OK(manta_get(ref, &view, MANTA_FOREVER));
    ref = ob_increment_remote(ref);
    EXPECT_EQ(4, values_of<int>(ref)[0]);
    EXPECT_EQ(3, static_cast<const int *>(view.data)[0]);
    manta_view_release(&view);
    EXPECT_OK(manta_release(ref));
}

TEST_P(ObjectTest, ScopeEndsViews)
{
    std::vector<int> source(1000, 3);
    {
        MANTA_SCOPE();
        manta_ref_t ref = manta_put(source.data(), source.size() * sizeof(int));
        manta_view_t a, b;
        ASSERT_OK(manta_get(ref, &a, MANTA_FOREVER));
        ASSERT_OK(manta_get(ref, &b, MANTA_FOREVER));
        manta_view_release(&a);
    }
    manta_stats_t stats = stats_of(runtime_);
    EXPECT_EQ(0u, stats.live_refs);
    EXPECT_EQ(0u, stats.live_bytes);
}

// ---- wrap -------------------------------------------------------------------------------------

TEST_P(ObjectTest, WrapAdoptsWithoutCopyingAndDeletesOnce)
{
    std::atomic<int> deleted{0};
    std::vector<int> memory(100, 2);
    manta_ref_t ref = manta_wrap(memory.data(), memory.size() * sizeof(int),
                                 MANTA_DTYPE(MANTA_I32, 4), count_delete, &deleted);
    manta_view_t view;
    ASSERT_OK(manta_get(ref, &view, 0));
    EXPECT_EQ(memory.data(), view.data);
    manta_ref_t sum = ob_sum_remote(ref);
    EXPECT_EQ(200, value_of<int>(sum));
    EXPECT_OK(manta_release(sum));
    EXPECT_OK(manta_release(ref));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(0, deleted.load()) << "the view holds it";
    manta_view_release(&view);
    finish();
    EXPECT_EQ(1, deleted.load());
}

TEST_P(ObjectTest, WrappedMemoryIsNeverWrittenByInout)
{
    std::atomic<int> deleted{0};
    std::vector<int> memory(100, 2);
    manta_ref_t ref = manta_wrap(memory.data(), memory.size() * sizeof(int),
                                 MANTA_DTYPE(MANTA_I32, 4), count_delete, &deleted);
    ref = ob_increment_remote(ref);
    EXPECT_EQ(3, values_of<int>(ref)[99]);
    EXPECT_EQ(2, memory[99]);
    EXPECT_OK(manta_release(ref));
    finish();
    EXPECT_EQ(1, deleted.load());
}

TEST_P(ObjectTest, WrapWithoutDeleterAndOfNothing)
{
    int x = 4;
    manta_ref_t ref = manta_wrap(&x, sizeof x, MANTA_DTYPE(MANTA_I32, 4), nullptr, nullptr);
    EXPECT_EQ(4, value_of<int>(ref));
    EXPECT_OK(manta_release(ref));
    std::atomic<int> deleted{0};
    ref = manta_wrap(nullptr, 0, 0, count_delete, &deleted);
    EXPECT_OK(manta_ref_status(ref));
    EXPECT_OK(manta_release(ref));
    finish();
    EXPECT_EQ(1, deleted.load());
}

struct delete_context {
    std::atomic<int> ran{0};
    manta_status_t wait_status = MANTA_OK;
    manta_ref_t pending = {0};
};

static void deleter_that_waits(void *, size_t, void *user)
{
    delete_context *context = static_cast<delete_context *>(user);
    manta_view_t view;
    context->wait_status = manta_get(context->pending, &view, MANTA_FOREVER);
    manta_ref_t ref = put1(1);                   // may use manta
    manta_ref_t more = ob_increment_remote(ref); // and submit
    (void)manta_release(more);
    context->ran.fetch_add(1);
}

TEST_P(ObjectTest, DeletersRunOutsideTheReleaseAndMayNotWait)
{
    delete_context context;
    context.pending = manta_promise_create(0);
    static int memory;
    manta_ref_t ref = manta_wrap(&memory, sizeof memory, 0, deleter_that_waits, &context);
    EXPECT_OK(manta_release(ref));
    if (is_serial()) {
        EXPECT_EQ(0, context.ran.load()) << "never inside the call";
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    while (!context.ran.load() && !is_serial())
        std::this_thread::yield();
    EXPECT_OK(manta_promise_set(context.pending, nullptr, 0));
    EXPECT_OK(manta_release(context.pending));
    finish();
    EXPECT_EQ(1, context.ran.load());
    EXPECT_STATUS(MANTA_ERR_NOT_ALLOWED_HERE, context.wait_status);
}

// ---- slice ------------------------------------------------------------------------------------

TEST_P(ObjectTest, SliceSharesAndKeepsTheParent)
{
    std::vector<int> source(1000);
    std::iota(source.begin(), source.end(), 0);
    manta_ref_t whole = manta_put(source.data(), source.size() * sizeof(int));
    manta_ref_t part = manta_slice(whole, 100 * sizeof(int), 10 * sizeof(int));
    manta_view_t a, b;
    ASSERT_OK(manta_get(whole, &a, 0));
    ASSERT_OK(manta_get(part, &b, 0));
    EXPECT_EQ(static_cast<const int *>(a.data) + 100, b.data);
    EXPECT_EQ(10u, b.count);
    manta_view_release(&a);
    manta_view_release(&b);
    manta_ref_t inner = manta_slice(part, sizeof(int), sizeof(int));
    EXPECT_EQ(101, value_of<int>(inner));
    EXPECT_OK(manta_release(whole));
    EXPECT_OK(manta_release(part));
    EXPECT_EQ(101, value_of<int>(inner));
    manta_ref_t sum = ob_sum_remote(inner);
    EXPECT_EQ(101, value_of<int>(sum));
    EXPECT_OK(manta_release(sum));
    EXPECT_OK(manta_release(inner));
}

TEST_P(ObjectTest, SliceIsAHolderAndIsItselfCopiedOnWrite)
{
    std::vector<int> source(1000, 1);
    manta_ref_t whole = manta_put(source.data(), source.size() * sizeof(int));
    manta_ref_t part = manta_slice(whole, 0, 100 * sizeof(int));
    whole = ob_increment_remote(whole);
    EXPECT_EQ(2, values_of<int>(whole)[0]);
    EXPECT_EQ(1, values_of<int>(part)[0]);
    manta_ref_t other = manta_slice(whole, 0, 100 * sizeof(int));
    other = ob_increment_remote(other);
    EXPECT_EQ(3, values_of<int>(other)[0]);
    EXPECT_EQ(2, values_of<int>(whole)[0]);
    for (manta_ref_t ref : {whole, part, other})
        EXPECT_OK(manta_release(ref));
}

TEST_P(ObjectTest, SlicesOutOfRangeOrOfPendingRefsAreErrorRefs)
{
    manta_ref_t ref = put1<long>(1);
    for (auto range :
         {std::pair<size_t, size_t>{0, 9}, {8, 1}, {9, 0}, {SIZE_MAX, 2}, {1, SIZE_MAX}}) {
        manta_ref_t part = manta_slice(ref, range.first, range.second);
        EXPECT_STATUS(MANTA_ERR_OUT_OF_RANGE, manta_ref_status(part));
    }
    manta_ref_t empty = manta_slice(ref, 8, 0);
    EXPECT_OK(manta_ref_status(empty));
    EXPECT_OK(manta_release(empty));
    EXPECT_OK(manta_release(ref));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(manta_slice(ref, 0, 1)));
    manta_ref_t promise = manta_promise_create(0);
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(manta_slice(promise, 0, 0)));
    EXPECT_OK(manta_promise_fail(promise, MANTA_ERR_USER + 1, "no"));
    EXPECT_STATUS(MANTA_ERR_USER + 1, manta_ref_status(manta_slice(promise, 0, 0)));
    EXPECT_OK(manta_release(promise));
}

// ---- counts -----------------------------------------------------------------------------------

TEST_P(ObjectTest, RetainAddsACount)
{
    manta_ref_t ref = put1(11);
    EXPECT_EQ(ref.id, manta_retain(ref).id);
    EXPECT_EQ(1u, manta_runtime_print_refs(runtime_, nullptr));
    EXPECT_OK(manta_release(ref));
    EXPECT_EQ(11, value_of<int>(ref));
    EXPECT_OK(manta_release(ref));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_release(ref));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(manta_retain(ref)));
}

TEST_P(ObjectTest, EveryCallSaysStaleForAReleasedRef)
{
    manta_ref_t ref = put1(11);
    EXPECT_OK(manta_release(ref));
    int x;
    size_t n;
    manta_view_t view;
    manta_cq_t cq;
    ASSERT_OK(manta_cq_create(&cq));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_release(ref));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_get(ref, &view, MANTA_FOREVER));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_get(ref, &view, 0));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_read(ref, &x, sizeof x, MANTA_FOREVER));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_wait(&ref, 1, 1, MANTA_FOREVER, nullptr, &n));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_size(ref, &n));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(ref));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_cancel(ref));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_promise_set(ref, &x, sizeof x));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_promise_fail(ref, MANTA_ERR_USER, "x"));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_promise_forward(ref, ref));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_cq_add(cq, ref, 0));
    EXPECT_STATUS(MANTA_ERR_STALE_REF,
                  manta_on_ready(
                      ref, [](manta_ref_t, manta_status_t, void *) {}, nullptr));
    manta_ref_t sum = ob_sum_remote(ref);
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(sum));
    EXPECT_NE(nullptr, strstr(manta_error_message(), "ob_sum")) << manta_error_message();
    EXPECT_EQ(nullptr, manta_ref_error(ref));
    (void)manta_keep(ref);
    (void)printed_error(ref);
    EXPECT_OK(manta_cq_destroy(cq));
}

TEST_P(ObjectTest, OverReleaseDoesNotTakeAnObjectFromUnderATask)
{
    SKIP_IF_SERIAL();
    Gate gate;
    manta_ref_t held = ob_hold_remote(&gate);
    manta_ref_t sum = ob_sum_remote(held);
    EXPECT_OK(manta_release(held));
    for (int i = 0; i < 10; i++)
        EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_release(held));
    gate.open();
    EXPECT_EQ(7, value_of<int>(sum));
    EXPECT_OK(manta_release(sum));
}

TEST_P(ObjectTest, ReusedSlotsDoNotBringOldRefsBack)
{
    std::vector<manta_ref_t> old;
    for (int i = 0; i < 1000; i++) {
        manta_ref_t ref = put1(i);
        EXPECT_OK(manta_release(ref));
        old.push_back(ref);
    }
    manta_ref_t alive = put1(1);
    for (manta_ref_t ref : old) {
        EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(ref));
        EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_release(ref));
    }
    EXPECT_EQ(1, value_of<int>(alive));
    EXPECT_OK(manta_release(alive));
}

TEST_P(ObjectTest, MadeUpRefsNeverCrash)
{
    // Live refs of all kinds, whose neighbours are tried as well.
    std::vector<manta_ref_t> alive = {put1(1), manta_promise_create(0)};
    manta_ref_t created;
    void *data;
    ASSERT_OK(manta_create(64, 0, &created, &data));
    alive.push_back(created);
    alive.push_back(ob_sum_remote(alive[0]));
    std::mt19937_64 random(20261122);
    std::vector<uint64_t> ids = {0, 1, 2, 1ull << 32, ~0ull, ~0ull >> 1, 1ull << 63, 0xffffffffull};
    for (int i = 0; i < 3000; i++) {
        ids.push_back(random());
        ids.push_back(random() & 0xffff);
        ids.push_back((random() & 0xff) << 32 | (random() & 0xff));
        uint64_t near = alive[i % alive.size()].id;
        ids.push_back(near ^ (1ull << (random() % 64)));
    }
    for (uint64_t id : ids) {
        bool is_alive = false;
        for (manta_ref_t ref : alive)
            is_alive |= ref.id == id;
        if (is_alive) continue;
        manta_ref_t ref = {id};
        int x;
        manta_view_t view;
        size_t n;
        manta_status_t status = manta_ref_status(ref);
        EXPECT_NE(MANTA_OK, status) << std::hex << id;
        EXPECT_NE(MANTA_NOT_READY, status) << std::hex << id;
        EXPECT_NE(MANTA_OK, manta_read(ref, &x, sizeof x, MANTA_FOREVER));
        EXPECT_NE(MANTA_OK, manta_get(ref, &view, MANTA_FOREVER));
        EXPECT_NE(MANTA_OK, manta_ref_size(ref, &n));
        EXPECT_NE(MANTA_OK, manta_seal(ref));
        EXPECT_NE(MANTA_OK, manta_promise_set(ref, &x, sizeof x));
        (void)manta_cancel(ref); // of an error ref: OK, it has failed already
        EXPECT_NE(MANTA_OK, manta_ref_status(manta_slice(ref, 0, 1)));
        (void)manta_keep(ref);
        (void)manta_retain(ref);
        (void)manta_release(ref);
        manta_ref_t sum = ob_sum_remote(ref);
        EXPECT_NE(MANTA_OK, manta_get(sum, &view, MANTA_FOREVER));
        (void)manta_release(sum);
        (void)manta_error_release(manta_ref_error(ref));
    }
    EXPECT_OK(manta_seal(created));
    EXPECT_EQ(1, value_of<int>(alive[3]));
    for (manta_ref_t ref : alive)
        EXPECT_OK(manta_release(ref));
}

TEST_P(ObjectTest, TheNullRef)
{
    manta_ref_t null = {MANTA_REF_NULL_ID};
    EXPECT_OK(manta_release(null));
    EXPECT_NE(MANTA_OK, manta_ref_status(null));
    manta_view_t view;
    EXPECT_NE(MANTA_OK, manta_get(null, &view, MANTA_FOREVER));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(ob_sum_remote(null)));
    EXPECT_NE(nullptr, strstr(manta_error_message(), "null")) << manta_error_message();
}

// ---- scopes -----------------------------------------------------------------------------------

TEST_P(ObjectTest, ScopeReleasesWhatWasHandedOut)
{
    manta_ref_t refs[4];
    {
        MANTA_SCOPE();
        refs[0] = put1(1);
        refs[1] = ob_sum_remote(refs[0]);
        refs[2] = manta_promise_create(0);
        void *data;
        ASSERT_OK(manta_create(4, 0, &refs[3], &data));
        EXPECT_EQ(4u, stats_of(runtime_).live_refs);
    }
    EXPECT_EQ(0u, stats_of(runtime_).live_refs);
    for (manta_ref_t ref : refs)
        EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(ref));
}

TEST_P(ObjectTest, ScopesNest)
{
    manta_ref_t outer, inner, other;
    {
        MANTA_SCOPE();
        outer = put1(1);
        {
            MANTA_SCOPE();
            inner = put1(2);
        }
        EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(inner));
        EXPECT_OK(manta_ref_status(outer));
        other = put1(3);
        {
            MANTA_SCOPE();
            EXPECT_OK(manta_release(outer)); // of the scope outside
        }
        EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(outer));
        EXPECT_OK(manta_ref_status(other));
    }
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(other));
}

static manta_ref_t make_kept()
{
    MANTA_SCOPE();
    manta_ref_t a = put1(1);
    manta_ref_t b = ob_sum_remote(a);
    return manta_keep(b);
}

TEST_P(ObjectTest, KeepIsTheWayOut)
{
    manta_ref_t ref = make_kept();
    EXPECT_EQ(1, value_of<int>(ref));
    EXPECT_EQ(1u, stats_of(runtime_).live_refs);
    EXPECT_OK(manta_release(ref));
    {
        MANTA_SCOPE();
        ref = make_kept(); // the caller's from now on: the outer scope does not know it
    }
    EXPECT_EQ(1, value_of<int>(ref));
    EXPECT_OK(manta_release(ref));
}

TEST_P(ObjectTest, ReleaseInAScopeIsNotDoneTwice)
{
    manta_ref_t ref;
    {
        MANTA_SCOPE();
        ref = put1(1);
        (void)manta_retain(ref);
        EXPECT_OK(manta_release(ref));
        EXPECT_OK(manta_ref_status(ref));
    }
    // One of two counts was the scope's or retain's; either way nothing is left to release twice.
    manta_status_t status = manta_release(ref);
    EXPECT_TRUE(status == MANTA_OK || status == MANTA_ERR_STALE_REF);
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(ref));
}

TEST_P(ObjectTest, InoutTakesOverTheSlotOfTheScope)
{
    size_t before;
    {
        MANTA_SCOPE();
        std::vector<int> source(100, 0);
        manta_ref_t y = manta_put(source.data(), source.size() * sizeof(int));
        before = stats_of(runtime_).live_refs;
        for (int i = 0; i < 1000; i++) {
            y = ob_increment_remote(y);
            ASSERT_EQ(before, stats_of(runtime_).live_refs);
        }
        EXPECT_EQ(1000, values_of<int>(y)[0]);
    }
    EXPECT_EQ(0u, stats_of(runtime_).live_refs);
}

TEST_P(ObjectTest, InoutInAnInnerScopeStaysInTheOuterOne)
{
    MANTA_SCOPE();
    manta_ref_t y = put1(0);
    for (int i = 0; i < 10; i++) {
        MANTA_SCOPE();
        y = ob_increment_remote(y);
    }
    EXPECT_EQ(10, value_of<int>(y));
}

TEST_P(ObjectTest, InoutOfAKeptRefIsNotPutIntoAScope)
{
    manta_ref_t y = put1(0);
    {
        MANTA_SCOPE();
        y = manta_keep(y);
        y = ob_increment_remote(y);
        y = manta_keep(y);
    }
    EXPECT_EQ(1, value_of<int>(y));
    EXPECT_OK(manta_release(y));
}

TEST_P(ObjectTest, ScopesOfThreadsAreApart)
{
    MANTA_SCOPE();
    manta_ref_t mine = put1(1);
    std::thread([&] {
        MANTA_SCOPE();
        manta_ref_t theirs = put1(2);
        EXPECT_EQ(2, value_of<int>(theirs));
        EXPECT_EQ(1, value_of<int>(mine));
    }).join();
    EXPECT_EQ(1, value_of<int>(mine));
    EXPECT_EQ(1u, stats_of(runtime_).live_refs);
}

TEST_P(ObjectTest, AnExceptionLeavesAScope)
{
    try {
        MANTA_SCOPE();
        (void)put1(1);
        throw 1;
    } catch (int) {
    }
    EXPECT_EQ(0u, stats_of(runtime_).live_refs);
}

TEST_P(ObjectTest, ManyRefsInAScope)
{
    {
        MANTA_SCOPE();
        for (int i = 0; i < 20000; i++)
            (void)put1(i);
        EXPECT_EQ(20000u, stats_of(runtime_).live_refs);
    }
    EXPECT_EQ(0u, stats_of(runtime_).live_refs);
}

// A body's refs go at its end; its own scope does not see the caller's.
MANTA_TASK(ob_litter, MANTA_IN(int, x), MANTA_OUT(int, y, 1))
{
    manta_ref_t a = manta_put(x.data, sizeof(int));
    manta_ref_t b = ob_increment_remote(a);
    manta_view_t view;
    if (manta_get(b, &view, MANTA_FOREVER) != MANTA_OK) return MANTA_ERR_USER;
    y[0] = *static_cast<const int *>(view.data);
    for (int i = 0; i < 100; i++) {
        if (manta_ref_status(manta_put(x.data, sizeof(int))) != MANTA_OK) return MANTA_ERR_USER;
    }
    return MANTA_OK;
}

TEST_P(ObjectTest, EveryBodyHasAScope)
{
    manta_ref_t x = put1(1);
    manta_ref_t y = ob_litter_remote(x);
    EXPECT_EQ(2, value_of<int>(y));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(2u, stats_of(runtime_).live_refs);
    EXPECT_OK(manta_release(x));
    EXPECT_OK(manta_release(y));
}

// ---- promises ---------------------------------------------------------------------------------

TEST_P(ObjectTest, PromiseIsSetOnce)
{
    manta_ref_t p = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(p));
    manta_ref_t sum = ob_sum_remote(p);
    int values[] = {1, 2, 3, 4, 5, 6};
    EXPECT_OK(manta_promise_set(p, values, sizeof values));
    EXPECT_STATUS(MANTA_ERR_ALREADY_EXISTS, manta_promise_set(p, values, 4));
    EXPECT_STATUS(MANTA_ERR_ALREADY_EXISTS, manta_promise_fail(p, MANTA_ERR_USER, "late"));
    EXPECT_STATUS(MANTA_ERR_ALREADY_EXISTS, manta_promise_forward(p, sum));
    EXPECT_NE(MANTA_OK, manta_abandon(p, MANTA_OK));
    EXPECT_EQ(21, value_of<int>(sum));
    EXPECT_EQ(6u, values_of<int>(p).size());
    EXPECT_OK(manta_release(sum));
    EXPECT_OK(manta_release(p));
}

TEST_P(ObjectTest, PromiseFails)
{
    manta_ref_t p = manta_promise_create(0);
    EXPECT_OK(manta_promise_fail(p, MANTA_ERR_USER + 4, "row %d is empty", 12));
    EXPECT_STATUS(MANTA_ERR_ALREADY_EXISTS, manta_promise_set(p, nullptr, 0));
    manta_view_t view;
    EXPECT_STATUS(MANTA_ERR_USER + 4, manta_get(p, &view, MANTA_FOREVER));
    EXPECT_NE(nullptr, strstr(manta_error_message(), "row 12 is empty")) << manta_error_message();
    const manta_error_t *error = manta_ref_error(p);
    ASSERT_NE(nullptr, error);
    EXPECT_STATUS(MANTA_ERR_USER + 4, manta_error_code(error));
    EXPECT_STREQ("row 12 is empty", manta_error_text(error));
    manta_error_release(error);
    EXPECT_OK(manta_release(p));
}

TEST_P(ObjectTest, PromiseForwardsNowOrLater)
{
    manta_ref_t ready = put1(5);
    manta_ref_t p = manta_promise_create(0), q = manta_promise_create(0),
                r = manta_promise_create(0);
    EXPECT_OK(manta_promise_forward(q, p)); // p is pending
    manta_ref_t sum = ob_sum_remote(q);
    EXPECT_STATUS(MANTA_ERR_ALREADY_EXISTS, manta_promise_set(q, nullptr, 0));
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(q));
    EXPECT_OK(manta_promise_forward(p, ready));
    EXPECT_OK(manta_release(ready));
    EXPECT_EQ(5, value_of<int>(p));
    EXPECT_EQ(5, value_of<int>(q));
    EXPECT_EQ(5, value_of<int>(sum));
    manta_ref_t failed = manta_promise_create(0);
    EXPECT_OK(manta_promise_forward(r, failed));
    EXPECT_OK(manta_promise_fail(failed, MANTA_ERR_USER + 1, "bad"));
    int x;
    EXPECT_STATUS(MANTA_ERR_USER + 1, manta_read(r, &x, sizeof x, MANTA_FOREVER));
    for (manta_ref_t ref : {p, q, r, sum, failed})
        EXPECT_OK(manta_release(ref));
}

TEST_P(ObjectTest, PromiseForwardedToItselfDoesNotHang)
{
    manta_ref_t p = manta_promise_create(0);
    EXPECT_NE(MANTA_OK, manta_promise_forward(p, p));
    EXPECT_OK(manta_promise_set(p, nullptr, 0));
    EXPECT_OK(manta_release(p));
}

TEST_P(ObjectTest, PromiseForwardOfAnErrorRefFailsIt)
{
    manta_ref_t p = manta_promise_create(0);
    manta_ref_t bad = manta_put_typed(nullptr, 8, 0);
    (void)manta_promise_forward(p, bad);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_ref_status(p));
    EXPECT_OK(manta_release(p));
}

TEST_P(ObjectTest, LastReleaseAbandonsAPromise)
{
    manta_ref_t p = manta_promise_create(0);
    manta_ref_t sum = ob_sum_remote(p);
    (void)manta_retain(p);
    EXPECT_OK(manta_release(p));
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(sum));
    EXPECT_OK(manta_release(p));
    int x;
    EXPECT_STATUS(MANTA_ERR_ABANDONED, manta_read(sum, &x, sizeof x, MANTA_FOREVER));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_promise_set(p, nullptr, 0));
    EXPECT_OK(manta_release(sum));
}

TEST_P(ObjectTest, OnlyPromisesCanBeFinished)
{
    manta_ref_t ref = put1(1);
    EXPECT_NE(MANTA_OK, manta_promise_set(ref, nullptr, 0));
    EXPECT_NE(MANTA_OK, manta_promise_fail(ref, MANTA_ERR_USER, "x"));
    EXPECT_NE(MANTA_OK, manta_promise_forward(ref, ref));
    EXPECT_EQ(1, value_of<int>(ref));
    manta_ref_t sum = ob_sum_remote(ref);
    EXPECT_NE(MANTA_OK, manta_promise_set(sum, nullptr, 0));
    EXPECT_EQ(1, value_of<int>(sum));
    EXPECT_OK(manta_release(sum));
    EXPECT_OK(manta_release(ref));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT,
                  manta_promise_set(manta_promise_create(0), nullptr, 4));
    EXPECT_EQ(1u, stats_of(runtime_).live_refs);
    manta_runtime_print_refs(runtime_, nullptr);
    // The promise that nobody knows any more is found by nobody but the report at shutdown.
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_OK(manta_shutdown(MANTA_S(50)));
    runtime_ = {0};
    EXPECT_EQ(1u, take_log().size());
}

TEST_P(ObjectTest, PromiseIsSetFromAnotherThreadWhileThisOneWaits)
{
    for (int round = 0; round < 50; round++) {
        manta_ref_t p = manta_promise_create(0);
        std::thread setter([p, round] { EXPECT_OK(manta_promise_set(p, &round, sizeof round)); });
        EXPECT_EQ(round, value_of<int>(p));
        setter.join();
        EXPECT_OK(manta_release(p));
    }
}

TEST_P(ObjectTest, ManyThreadsFinishAPromiseOnlyOneWins)
{
    for (int round = 0; round < 50; round++) {
        manta_ref_t p = manta_promise_create(0);
        std::atomic<int> won{0}, lost{0};
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; i++) {
            threads.emplace_back([&, i] {
                manta_status_t status = i % 2 ? manta_promise_set(p, &i, sizeof i)
                                              : manta_promise_fail(p, MANTA_ERR_USER + i, "%d", i);
                (status == MANTA_OK ? won : lost)++;
            });
        }
        for (std::thread &thread : threads)
            thread.join();
        EXPECT_EQ(1, won.load());
        EXPECT_EQ(3, lost.load());
        EXPECT_NE(MANTA_NOT_READY, manta_ref_status(p));
        EXPECT_OK(manta_release(p));
    }
}

// ---- the report -------------------------------------------------------------------------------

TEST_P(ObjectTest, LeakedRefsAreReportedByName)
{
    manta_ref_t x = put1(1);
    manta_ref_t sum = ob_sum_remote(x);
    EXPECT_EQ(1, value_of<int>(sum));
    std::string text = printed_refs(runtime_);
    EXPECT_NE(std::string::npos, text.find("ob_sum")) << text;
    EXPECT_EQ(2u, manta_runtime_print_refs(runtime_, nullptr));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_OK(manta_shutdown(MANTA_S(50)));
    runtime_ = {0};
    std::vector<std::string> log = take_log();
    ASSERT_EQ(2u, log.size());
    EXPECT_NE(std::string::npos, (log[0] + log[1]).find("ob_sum")) << log[0] << log[1];
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(x));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_release(sum));
}
