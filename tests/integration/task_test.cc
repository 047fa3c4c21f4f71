// Tasks: parameters of every kind, dependencies, INOUT in place or on a copy, results, lists, options.
#include "support/runtime_fixture.h"

#include <cstring>
#include <numeric>
#include <random>
#include <set>
#include <thread>

#include <sched.h>

using namespace manta_testing;

class TaskTest : public RuntimeTest
{
};
MANTA_TEST_WORKERS(TaskTest);

typedef struct point {
    double x, y;
} point_t;

MANTA_TASK(tk_add, MANTA_VAL(int, a), MANTA_VAL(int, b), MANTA_OUT(int, sum, 1))
{
    sum[0] = a + b;
    return MANTA_OK;
}

MANTA_TASK(tk_plus, MANTA_IN(int, a), MANTA_IN(int, b), MANTA_OUT(int, sum, 1))
{
    sum[0] = a[0] + b[0];
    return MANTA_OK;
}

MANTA_TASK(tk_tick, MANTA_LOCAL(std::atomic<int> *, counter))
{
    counter->fetch_add(1);
    return MANTA_OK;
}

MANTA_TASK(tk_nothing)
{
    return MANTA_OK;
}

// Where the bytes are, and adds |by|.
MANTA_TASK(tk_address, MANTA_VAL(int, by), MANTA_INOUT(int, x), MANTA_OUT(uintptr_t, address, 1))
{
    for (int &v : x)
        v += by;
    address[0] = reinterpret_cast<uintptr_t>(x.data);
    return MANTA_OK;
}

MANTA_TASK(tk_bump, MANTA_INOUT(int, x))
{
    for (int &v : x)
        v++;
    return MANTA_OK;
}

MANTA_TASK(tk_hold, MANTA_LOCAL(Gate *, gate), MANTA_OUT(int, x, 1))
{
    gate->arrive();
    gate->pass();
    x[0] = 7;
    return MANTA_OK;
}

MANTA_TASK(tk_read_later, MANTA_LOCAL(Gate *, gate), MANTA_IN(int, go), MANTA_IN(int, x),
           MANTA_OUT(int, first, 1))
{
    (void)go;
    (void)gate;
    first[0] = x[0];
    return MANTA_OK;
}

MANTA_TASK(tk_mix, MANTA_VAL(char, c), MANTA_OUT(double, d, 2), MANTA_IN(point_t, p),
           MANTA_INOUT(int, n), MANTA_OUT(short, s, n.count + 1), MANTA_LOCAL(const char *, text))
{
    d[0] = p[0].x;
    d[1] = p[0].y;
    for (size_t i = 0; i < s.count; i++)
        s[i] = static_cast<short>(c + text[0]);
    n[0]++;
    return MANTA_OK;
}

TEST_P(TaskTest, ValuesAreCopiedAtSubmit)
{
    int a = 2;
    auto sum = tk_add_remote(a, 3);
    a = 100;
    EXPECT_EQ(5, value_of<int>(sum));
    int out = 0;
    EXPECT_OK(tk_add_result(sum, &out));
    EXPECT_EQ(5, out);
    EXPECT_OK(manta_release(sum));
}

TEST_P(TaskTest, EveryKindOfParameterTogether)
{
    MANTA_SCOPE();
    point_t p = {1.5, 2.5};
    int numbers[] = {1, 2, 3};
    tk_mix_out_t out = tk_mix_remote('a', put1(p), manta_put(numbers, sizeof numbers), "b");
    EXPECT_EQ((std::vector<double>{1.5, 2.5}), values_of<double>(out.d));
    EXPECT_EQ((std::vector<int>{2, 2, 3}), values_of<int>(out.n));
    EXPECT_EQ(std::vector<short>(4, 'a' + 'b'), values_of<short>(out.s));
}

TEST_P(TaskTest, AnEmptyTaskGivesItsCompletion)
{
    manta_ref_t done = tk_nothing_remote();
    manta_view_t view;
    ASSERT_OK(manta_get(done, &view, MANTA_FOREVER));
    EXPECT_EQ(0u, view.size_bytes);
    manta_view_release(&view);
    EXPECT_OK(manta_release(done));
}

TEST_P(TaskTest, GoRunsWithoutAResult)
{
    std::atomic<int> counter{0};
    for (int i = 0; i < 1000; i++)
        EXPECT_OK(tk_tick_go(&counter));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(1000, counter.load());
    EXPECT_EQ(0u, stats_of(runtime_).live_refs);
}

TEST_P(TaskTest, NothingRunsInsideSubmit)
{
    std::thread::id here = std::this_thread::get_id();
    std::atomic<int> counter{0};
    manta_ref_t done = tk_tick_remote(&counter);
    if (is_serial()) {
        EXPECT_EQ(0, counter.load());
    }
    (void)here;
    manta_view_t view;
    EXPECT_OK(manta_get(done, &view, MANTA_FOREVER));
    EXPECT_EQ(1, counter.load());
    manta_view_release(&view);
    EXPECT_OK(manta_release(done));
}

MANTA_TASK(tk_log, MANTA_LOCAL(std::vector<int> *, order), MANTA_VAL(int, i))
{
    order->push_back(i);
    return MANTA_OK;
}

TEST_P(TaskTest, ASerialRuntimeRunsInSubmitOrder)
{
    if (!is_serial()) GTEST_SKIP() << "for workers = 0";
    std::vector<int> order, expected;
    for (int i = 0; i < 1000; i++) {
        EXPECT_OK(tk_log_go(&order, i));
        expected.push_back(i);
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(expected, order);
}

TEST_P(TaskTest, ReleasingAPendingResultDoesNotCancel)
{
    std::atomic<int> counter{0};
    for (int i = 0; i < 100; i++)
        EXPECT_OK(manta_release(tk_tick_remote(&counter)));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(100, counter.load());
}

// ---- dependencies -----------------------------------------------------------------------------

TEST_P(TaskTest, ChainsAndDiamonds)
{
    MANTA_SCOPE();
    manta_ref_t x = tk_add_remote(0, 1);
    for (int i = 0; i < 20; i++)
        x = tk_plus_remote(x, x);
    EXPECT_EQ(1 << 20, value_of<int>(x));
}

TEST_P(TaskTest, RandomDagsGiveWhatASerialProgramGives)
{
    for (unsigned seed = 1; seed <= 20; seed++) {
        MANTA_SCOPE();
        std::mt19937 random(seed);
        std::vector<manta_ref_t> refs;
        std::vector<unsigned> values;
        for (int i = 0; i < 300; i++) {
            if (i < 2) {
                refs.push_back(put1<int>(i + 1));
                values.push_back(static_cast<unsigned>(i + 1));
                continue;
            }
            size_t a = random() % refs.size(), b = random() % refs.size();
            refs.push_back(tk_plus_remote(refs[a], refs[b]));
            values.push_back((values[a] + values[b]) & 0xffff);
            refs.back() = tk_plus_remote(refs.back(), put1<int>(0));
            if (values.back() != values[a] + values[b]) { // keep numbers small
                refs.back() = put1<int>(static_cast<int>(values.back()));
            }
        }
        for (size_t i = 0; i < refs.size(); i++) {
            ASSERT_EQ(static_cast<int>(values[i]), value_of<int>(refs[i])) << seed << " " << i;
        }
    }
}

TEST_P(TaskTest, ADeepChainOfDependents)
{
    MANTA_SCOPE();
    manta_ref_t gate = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    manta_ref_t zero = put1(0), x = tk_plus_remote(gate, zero);
    for (int i = 0; i < 100000; i++) {
        manta_ref_t next = tk_plus_remote(x, zero);
        EXPECT_OK(manta_release(x));
        x = next;
    }
    int one = 1;
    EXPECT_OK(manta_promise_set(gate, &one, sizeof one));
    EXPECT_EQ(1, value_of<int>(x));
}

TEST_P(TaskTest, ManyDependentsOfOneRef)
{
    MANTA_SCOPE();
    manta_ref_t gate = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    std::vector<manta_ref_t> refs;
    for (int i = 0; i < 10000; i++)
        refs.push_back(tk_plus_remote(gate, gate));
    int one = 1;
    EXPECT_OK(manta_promise_set(gate, &one, sizeof one));
    for (manta_ref_t ref : refs)
        ASSERT_EQ(2, value_of<int>(ref));
}

// ---- INOUT ------------------------------------------------------------------------------------

static manta_ref_t big_object(int value)
{
    std::vector<int> source(1000, value);
    return manta_put(source.data(), source.size() * sizeof(int));
}

TEST_P(TaskTest, InoutWorksInPlaceIfNobodyElseHoldsIt)
{
    MANTA_SCOPE();
    manta_ref_t x = big_object(0);
    uintptr_t address = 0;
    for (int i = 1; i <= 20; i++) {
        tk_address_out_t out = tk_address_remote(1, x);
        x = out.x;
        uintptr_t now = value_of<uintptr_t>(out.address);
        if (address) {
            EXPECT_EQ(address, now);
        }
        address = now;
        manta_view_t view;
        ASSERT_OK(manta_get(x, &view, MANTA_FOREVER));
        EXPECT_EQ(address, reinterpret_cast<uintptr_t>(view.data));
        EXPECT_EQ(i, static_cast<const int *>(view.data)[999]);
        manta_view_release(&view);
    }
}

TEST_P(TaskTest, InoutChainsWorkInPlaceWithoutWaiting)
{
    MANTA_SCOPE();
    manta_ref_t x = big_object(0);
    std::vector<manta_ref_t> addresses;
    for (int i = 0; i < 200; i++) {
        tk_address_out_t out = tk_address_remote(1, x);
        x = out.x;
        addresses.push_back(out.address);
    }
    EXPECT_EQ(200, values_of<int>(x)[0]);
    std::set<uintptr_t> seen;
    for (manta_ref_t ref : addresses)
        seen.insert(value_of<uintptr_t>(ref));
    EXPECT_EQ(1u, seen.size());
}

TEST_P(TaskTest, InoutTakesTheRef)
{
    manta_ref_t x = big_object(0), old = x;
    x = tk_bump_remote(x);
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(old));
    EXPECT_EQ(1, values_of<int>(x)[0]);
    EXPECT_OK(manta_release(x));
}

TEST_P(TaskTest, AnotherHolderKeepsTheOldValue)
{
    manta_ref_t x = big_object(5), old = manta_retain(x);
    x = tk_bump_remote(x);
    EXPECT_EQ(6, values_of<int>(x)[0]);
    EXPECT_EQ(5, values_of<int>(old)[0]);
    EXPECT_OK(manta_release(old));
    EXPECT_OK(manta_release(x));
}

TEST_P(TaskTest, AQueuedReaderIsAHolder)
{
    MANTA_SCOPE();
    manta_ref_t go = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    manta_ref_t x = big_object(5);
    manta_ref_t first = tk_read_later_remote(nullptr, go, x);
    x = tk_bump_remote(x);
    EXPECT_EQ(6, values_of<int>(x)[0]); // done while the reader still waits
    int one = 1;
    EXPECT_OK(manta_promise_set(go, &one, sizeof one));
    EXPECT_EQ(5, value_of<int>(first));
}

TEST_P(TaskTest, ReadersThatAreDoneDoNotHold)
{
    MANTA_SCOPE();
    manta_ref_t x = big_object(5);
    manta_view_t view;
    ASSERT_OK(manta_get(x, &view, MANTA_FOREVER));
    uintptr_t before = reinterpret_cast<uintptr_t>(view.data);
    manta_view_release(&view);
    manta_ref_t sum = tk_plus_remote(x, x);
    EXPECT_EQ(10, value_of<int>(sum));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    tk_address_out_t out = tk_address_remote(1, x);
    EXPECT_EQ(before, value_of<uintptr_t>(out.address));
}

MANTA_TASK(tk_both, MANTA_IN(int, a), MANTA_INOUT(int, b), MANTA_OUT(int, same, 1))
{
    b[0] = a[0] + 1;
    same[0] = a[0] == b[0];
    return MANTA_OK;
}

TEST_P(TaskTest, TheSameRefAsInAndInout)
{
    MANTA_SCOPE();
    manta_ref_t x = big_object(5);
    tk_both_out_t out = tk_both_remote(x, x);
    EXPECT_EQ(6, values_of<int>(out.b)[0]);
    EXPECT_EQ(0, value_of<int>(out.same)) << "the reader's bytes do not change under it";
}

MANTA_TASK(tk_two_inouts, MANTA_INOUT(int, a), MANTA_INOUT(int, b))
{
    a[0] += 1;
    b[0] += 2;
    return MANTA_OK;
}

TEST_P(TaskTest, TwoInoutsOfOneRefAreRefusedOrApart)
{
    manta_ref_t x = big_object(5), held = manta_retain(x);
    tk_two_inouts_out_t out = tk_two_inouts_remote(x, held); // two counts: one for each
    EXPECT_EQ(6, values_of<int>(out.a)[0]);
    EXPECT_EQ(7, values_of<int>(out.b)[0]);
    EXPECT_OK(manta_release(out.a));
    EXPECT_OK(manta_release(out.b));
    x = big_object(5);
    out = tk_two_inouts_remote(x, x); // one count: the second finds it taken
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(out.a));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(out.b));
}

TEST_P(TaskTest, SmallInoutWorksToo)
{
    manta_ref_t x = put1(0);
    for (int i = 0; i < 1000; i++)
        x = tk_bump_remote(x);
    EXPECT_EQ(1000, value_of<int>(x));
    EXPECT_OK(manta_release(x));
}

// ---- results ----------------------------------------------------------------------------------

MANTA_TASK(tk_iota, MANTA_VAL(size_t, n), MANTA_OUT(int, x, n))
{
    for (size_t i = 0; i < x.count; i++)
        x[i] = static_cast<int>(i);
    return MANTA_OK;
}

MANTA_TASK(tk_double, MANTA_IN(int, x), MANTA_OUT(int, twice, 2 * x.count))
{
    for (size_t i = 0; i < twice.count; i++)
        twice[i] = x[i / 2];
    return MANTA_OK;
}

TEST_P(TaskTest, SizesOfOutsComeFromValuesAndInputs)
{
    for (size_t n : {0u, 1u, 4u, 5u, 1000u, 1000000u}) {
        MANTA_SCOPE();
        auto x = tk_iota_remote(n);
        auto twice = tk_double_remote(x);
        std::vector<int> got = values_of<int>(twice);
        ASSERT_EQ(2 * n, got.size());
        if (n) {
            EXPECT_EQ(static_cast<int>(n) - 1, got.back());
        }
        EXPECT_EQ(n, values_of<int>(x).size());
    }
}

TEST_P(TaskTest, OutsAreAligned)
{
    MANTA_SCOPE();
    for (size_t n : {5u, 100u, 10000u}) {
        auto x = tk_iota_remote(n);
        manta_view_t view;
        ASSERT_OK(manta_get(x, &view, MANTA_FOREVER));
        EXPECT_EQ(0u, reinterpret_cast<uintptr_t>(view.data) % 64);
    }
}

TEST_P(TaskTest, AnOutThatIsTooLargeFailsTheTask)
{
    auto x = tk_iota_remote(SIZE_MAX / 8);
    manta_view_t view;
    EXPECT_STATUS(MANTA_ERR_OUT_OF_MEMORY, manta_get(x, &view, MANTA_FOREVER));
    EXPECT_NE(std::string::npos, printed_error(x).find("tk_iota")) << printed_error(x);
    EXPECT_OK(manta_release(x));
    x = tk_iota_remote(SIZE_MAX / 2);
    EXPECT_STATUS(MANTA_ERR_OUT_OF_RANGE, manta_get(x, &view, MANTA_FOREVER));
    EXPECT_OK(manta_release(x));
}

MANTA_TASK(tk_grow, MANTA_VAL(size_t, first), MANTA_VAL(size_t, second), MANTA_OUT(int, a),
           MANTA_OUT(char, b, 3))
{
    if (a.count != 0) return MANTA_ERR_USER + 1;
    manta_status_t status = manta_out_resize(a, first);
    if (status != MANTA_OK) return status;
    for (size_t i = 0; i < first; i++)
        a[i] = static_cast<int>(i);
    status = manta_out_resize(a, second);
    if (status != MANTA_OK) return status;
    for (size_t i = 0; i < first && i < second; i++) {
        if (a[i] != static_cast<int>(i)) return MANTA_ERR_USER + 2;
    }
    for (size_t i = first; i < second; i++)
        a[i] = static_cast<int>(i);
    status = manta_out_resize(b, 1);
    if (status == MANTA_OK) b[0] = 'x';
    return status;
}

TEST_P(TaskTest, OutResizeKeepsWhatFits)
{
    for (size_t first : {0u, 1u, 4u, 5u, 100u, 70000u}) {
        for (size_t second : {0u, 1u, 4u, 5u, 100u, 101u, 70000u}) {
            MANTA_SCOPE();
            tk_grow_out_t out = tk_grow_remote(first, second);
            std::vector<int> a = values_of<int>(out.a);
            ASSERT_EQ(second, a.size());
            for (size_t i = 0; i < second; i++)
                ASSERT_EQ(static_cast<int>(i), a[i]);
            EXPECT_EQ(std::vector<char>{'x'}, values_of<char>(out.b));
        }
    }
    MANTA_SCOPE();
    tk_grow_out_t out = tk_grow_remote(1, SIZE_MAX / 8);
    manta_view_t view;
    EXPECT_STATUS(MANTA_ERR_OUT_OF_MEMORY, manta_get(out.a, &view, MANTA_FOREVER));
    EXPECT_STATUS(MANTA_ERR_OUT_OF_MEMORY, manta_get(out.b, &view, MANTA_FOREVER));
}

TEST_P(TaskTest, SizeOfAResultIsKnownOnceItIsThere)
{
    MANTA_SCOPE();
    manta_ref_t p = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    manta_ref_t twice = tk_double_remote(p);
    size_t size;
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_size(twice, &size));
    int x[] = {1, 2};
    EXPECT_OK(manta_promise_set(p, x, sizeof x));
    (void)values_of<int>(twice);
    EXPECT_OK(manta_ref_size(twice, &size));
    EXPECT_EQ(16u, size);
}

// ---- the plain descriptor API: many results, many refs ------------------------------------------

struct wide_args {
    int32_t first;
};

static manta_status_t wide_invoke(const manta_call_t *call)
{
    const wide_args *args = static_cast<const wide_args *>(call->args);
    for (int i = 0; i < 3000; i++) {
        if (call->buffers[i].size_bytes != 4u * static_cast<size_t>(i % 40)) return MANTA_ERR_USER;
        for (int k = 0; k < i % 40; k++) {
            static_cast<int32_t *>(call->buffers[i].data)[k] = args->first + i;
        }
    }
    return MANTA_OK;
}

static manta_status_t wide_sizes(const manta_call_t *, size_t *out_size_bytes)
{
    for (int i = 0; i < 3000; i++)
        out_size_bytes[i] = 4u * static_cast<size_t>(i % 40);
    return MANTA_OK;
}

static const manta_variant_t wide_variant = {wide_invoke, wide_sizes};

TEST_P(TaskTest, ThreeThousandResults)
{
    static std::vector<manta_param_t> params(
        3001, {"r", "int32_t", MANTA_PARAM_OUT, MANTA_DTYPE(MANTA_I32, 4), 4, 4, 0});
    params[3000] = {"first", "int32_t", MANTA_PARAM_VAL, 0, 4, 4, 0};
    // The plan is kept in the definition, so that it is made once.
    static manta_task_def_t def = {"tk_wide",     params.data(), 3001, sizeof(wide_args),
                                   &wide_variant, nullptr,       0,    nullptr,
                                   nullptr};
    wide_args args = {10};
    manta_task_desc_t desc = {sizeof desc, &def, &args, sizeof args, nullptr};
    std::vector<manta_ref_t> refs(3000);
    manta_status_t status = manta_submit(&desc, refs.data(), refs.size());
    ASSERT_OK(status);
    for (int i = 0; i < 3000; i++) {
        ASSERT_EQ(std::vector<int>(static_cast<size_t>(i % 40), 10 + i), values_of<int>(refs[i]));
    }
    for (manta_ref_t ref : refs)
        ASSERT_OK(manta_release(ref));
    // Also given up at once, and partly released before it ran.
    ASSERT_OK(manta_submit(&desc, nullptr, 0));
    ASSERT_OK(manta_submit(&desc, refs.data(), refs.size()));
    for (size_t i = 0; i < refs.size(); i += 2)
        ASSERT_OK(manta_release(refs[i]));
    for (size_t i = 1; i < refs.size(); i += 2) {
        ASSERT_EQ(i % 40, values_of<int>(refs[i]).size());
        ASSERT_OK(manta_release(refs[i]));
    }
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_submit(&desc, refs.data(), 2999));
}

MANTA_TASK(tk_list_sum, MANTA_IN_LIST(int, parts), MANTA_OUT(long, sum, 1))
{
    sum[0] = 0;
    for (size_t i = 0; i < parts.count; i++) {
        for (size_t k = 0; k < parts.items[i].count; k++)
            sum[0] += parts.items[i].data[k];
    }
    return MANTA_OK;
}

TEST_P(TaskTest, ListsOfUpToTenThousandRefs)
{
    for (size_t n : {0u, 1u, 2u, 15u, 16u, 17u, 1000u, 10000u}) {
        MANTA_SCOPE();
        std::vector<manta::ref<int>> refs;
        long expected = 0;
        for (size_t i = 0; i < n; i++) {
            if (i % 3 == 0) {
                refs.push_back(put1(static_cast<int>(i)));
            } else {
                refs.push_back(tk_add_remote(static_cast<int>(i), 0));
            }
            expected += static_cast<long>(i);
        }
        auto sum = tk_list_sum_remote(refs.data(), refs.size());
        refs.assign(n, {manta_ref_t{}}); // the array is copied
        EXPECT_EQ(expected, value_of<long>(sum));
    }
}

TEST_P(TaskTest, MoreThanTenThousandRefsAreRefused)
{
    MANTA_SCOPE();
    std::vector<manta::ref<int>> refs(10001, put1(1));
    auto sum = tk_list_sum_remote(refs.data(), refs.size());
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_ref_status(sum));
    EXPECT_NE(nullptr, strstr(manta_error_message(), "10001")) << manta_error_message();
    refs.resize(10000);
    sum = tk_list_sum_remote(refs.data(), refs.size()); // the same ref ten thousand times
    EXPECT_EQ(10000, value_of<long>(sum));
}

// ---- what is refused at submit ----------------------------------------------------------------

TEST_P(TaskTest, ElementTypesAndSizesAreChecked)
{
    MANTA_SCOPE();
    float f = 1;
    manta_ref_t floats = manta_put_typed(&f, sizeof f, MANTA_DTYPE(MANTA_F32, 4));
    manta_ref_t bytes = manta_put_typed("abcde", 5, 0);
    EXPECT_STATUS(MANTA_ERR_TYPE_MISMATCH, manta_ref_status(tk_double_remote(floats)));
    for (const char *word : {"tk_double", "x", "int", "f32"}) {
        EXPECT_NE(nullptr, strstr(manta_error_message(), word)) << manta_error_message();
    }
    EXPECT_STATUS(MANTA_ERR_TYPE_MISMATCH, manta_ref_status(tk_double_remote(bytes)));
    EXPECT_NE(nullptr, strstr(manta_error_message(), "5")) << manta_error_message();
    manta_ref_t misaligned = manta_slice(manta_put_typed("abcdefghabcdefgh", 16, 0), 1, 4);
    EXPECT_STATUS(MANTA_ERR_TYPE_MISMATCH, manta_ref_status(tk_double_remote(misaligned)));
    // A pending object without a type shows its size when the task starts.
    manta_ref_t p = manta_promise_create(0);
    manta_ref_t twice = tk_double_remote(p);
    EXPECT_OK(manta_promise_set(p, "abc", 3));
    manta_view_t view;
    EXPECT_STATUS(MANTA_ERR_TYPE_MISMATCH, manta_get(twice, &view, MANTA_FOREVER));
    EXPECT_NE(std::string::npos, printed_error(twice).find("tk_double"));
}

TEST_P(TaskTest, RefusedDescriptors)
{
    manta_ref_t out;
    int a[2] = {1, 2};
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_submit(nullptr, &out, 1));
    manta_task_desc_t desc = {sizeof desc, nullptr, a, sizeof a, nullptr};
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_submit(&desc, &out, 1));
    desc.task = &tk_add_task;
    desc.args_bytes = 4;
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_submit(&desc, &out, 1));
    desc.args_bytes = sizeof a;
    desc.args = nullptr;
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_submit(&desc, &out, 1));
    desc.args = a;
    manta_ref_t two[2];
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_submit(&desc, two, 2));
    EXPECT_OK(manta_submit(&desc, &out, 1));
    EXPECT_EQ(3, value_of<int>(out));
    EXPECT_OK(manta_release(out));
}

static const manta_param_t bodiless_params[] = {
    {"x", "int", MANTA_PARAM_INOUT, MANTA_DTYPE(MANTA_I32, 4), 4, 4, 0}};

TEST_P(TaskTest, ARefusedSubmitTakesNothing)
{
    static manta_task_def_t def = {"tk_bodiless", bodiless_params, 1, 8, nullptr, nullptr, 0,
                                   nullptr,       nullptr};
    manta_ref_t x = put1(1), out;
    manta_task_desc_t desc = {sizeof desc, &def, &x, sizeof x, nullptr};
    EXPECT_NE(MANTA_OK, manta_submit(&desc, &out, 1));
    EXPECT_NE(nullptr, strstr(manta_error_message(), "tk_bodiless")) << manta_error_message();
    EXPECT_EQ(1, value_of<int>(x));
    // Generated code takes in any case.
    manta_submit_call(&def, nullptr, &x, sizeof x, &out, 1);
    EXPECT_NE(MANTA_OK, manta_ref_status(out));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(x));
    // x_go takes only if it is OK.
    manta_ref_t y = put1(1);
    manta_task_options_t options = MANTA_OPTIONS(.cpus = 1000);
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE, tk_bump_go_with(options, y));
    EXPECT_EQ(1, value_of<int>(y));
    manta_ref_t z = tk_bump_with(options, y);
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE, manta_ref_status(z));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(y));
}

TEST_P(TaskTest, ErrorRefsAsArgumentsPassOn)
{
    MANTA_SCOPE();
    manta_ref_t bad = manta_put_typed(nullptr, 8, 0);
    manta_ref_t one = put1(1), y = put1(2);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_ref_status(tk_plus_remote(one, bad)));
    tk_both_out_t out = tk_both_remote(bad, y);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_ref_status(out.b));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_ref_status(out.same));
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_ref_status(y)) << "INOUT is taken";
    manta_ref_t z = tk_bump_remote(bad);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_ref_status(z));
    EXPECT_EQ(1, value_of<int>(one));
}

// ---- inside a body ----------------------------------------------------------------------------

MANTA_TASK(tk_who, MANTA_OUT(int, worker, 1), MANTA_OUT(int, cpus), MANTA_OUT(char, name, 32))
{
    worker[0] = manta_task_worker(task);
    int pus[64];
    size_t n = manta_task_cpus(task, pus, 64);
    if (manta_out_resize(cpus, n) != MANTA_OK) return MANTA_ERR_USER;
    for (size_t i = 0; i < n; i++)
        cpus[i] = pus[i];
    snprintf(name.data, 32, "%s", manta_task_name(task));
    if (manta_task_index(task) != 0 || manta_attempt(task) != 0 || manta_cancelled(task)) {
        return MANTA_ERR_USER + 1;
    }
    return manta_task_runtime(task).id == manta_runtime_current().id ? MANTA_OK
                                                                     : MANTA_ERR_USER + 2;
}

TEST_P(TaskTest, ABodyKnowsWhereItIs)
{
    MANTA_SCOPE();
    tk_who_out_t out = tk_who_remote();
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_LT(value_of<int>(out.worker), workers());
    EXPECT_STREQ("tk_who", values_of<char>(out.name).data());
    out = tk_who_with(MANTA_OPTIONS(.name = "another name"));
    EXPECT_STREQ("another name", values_of<char>(out.name).data());
}

TEST_P(TaskTest, SeveralCpusGiveThatManyProcessors)
{
    if (workers() < 2) GTEST_SKIP() << "needs two workers";
    MANTA_SCOPE();
    for (int i = 0; i < 20; i++) {
        tk_who_out_t out = tk_who_with(MANTA_OPTIONS(.cpus = 2));
        std::vector<int> cpus = values_of<int>(out.cpus);
        ASSERT_EQ(2u, cpus.size());
        EXPECT_NE(cpus[0], cpus[1]);
        out = tk_who_with(MANTA_OPTIONS(.cpus = 1));
        manta_view_t view;
        ASSERT_OK(manta_get(out.cpus, &view, MANTA_S(50))); // not on this thread
        EXPECT_EQ(1u, view.count);
    }
}

MANTA_TASK(tk_mask, MANTA_OUT(int, count, 1))
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return MANTA_ERR_USER;
    int pus[64];
    size_t n = manta_task_cpus(task, pus, 64);
    count[0] = 0;
    for (size_t i = 0; i < n; i++)
        count[0] += CPU_ISSET(pus[i], &set) != 0;
    return MANTA_OK;
}

TEST_P(TaskTest, SeveralCpusSetTheMaskOfTheBody)
{
    if (workers() < 2) GTEST_SKIP() << "needs two workers";
    if (manta_topology_cores(runtime_) < 2) GTEST_SKIP() << "needs two cores";
    MANTA_SCOPE();
    EXPECT_EQ(2, value_of<int>(tk_mask_with(MANTA_OPTIONS(.cpus = 2))));
    auto one = tk_mask_remote();
    manta_view_t view;
    ASSERT_OK(manta_get(one, &view, MANTA_S(50))); // not on this thread
    EXPECT_EQ(1, value_of<int>(one));
}

TEST_P(TaskTest, WideAndNarrowTasksMix)
{
    std::atomic<int> counter{0};
    double widest = workers() ? workers() : 1;
    for (int i = 0; i < 300; i++) {
        manta_task_options_t options = MANTA_OPTIONS(.cpus = i % 3 == 0 ? widest : 1.0);
        EXPECT_OK(tk_tick_go_with(options, &counter));
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(300, counter.load());
}

TEST_P(TaskTest, AWideTaskHasItsWorkersToItself)
{
    if (workers() < 2) GTEST_SKIP() << "needs two workers";
    static std::atomic<int> running, wrong;
    running = wrong = 0;
    struct body {
        static manta_status_t narrow(const manta_call_t *)
        {
            running += 1;
            if (running.load() > 2) wrong++;
            running -= 1;
            return MANTA_OK;
        }
        static manta_status_t wide(const manta_call_t *)
        {
            if (running.fetch_add(2) != 0) wrong++;
            for (int i = 0; i < 1000; i++) {
                if (running.load() > 2) wrong++;
            }
            running -= 2;
            return MANTA_OK;
        }
    };
    static const manta_variant_t narrow_variant = {body::narrow, nullptr},
                                 wide_variant2 = {body::wide, nullptr};
    static manta_task_def_t narrow = {"tk_narrow", nullptr, 0,       0,      &narrow_variant,
                                      nullptr,     0,       nullptr, nullptr},
                            wide = {"tk_wide_body", nullptr, 0,       0,      &wide_variant2,
                                    nullptr,        0,       nullptr, nullptr};
    manta_task_options_t options = MANTA_OPTIONS(.cpus = 2);
    for (int i = 0; i < 2000; i++) {
        manta_task_desc_t desc = {sizeof desc, i % 10 ? &narrow : &wide, nullptr, 0,
                                  i % 10 ? nullptr : &options};
        ASSERT_OK(manta_submit(&desc, nullptr, 0));
    }
    // Not a drain: this thread would run tasks, too.
    manta_stats_t stats;
    do {
        std::this_thread::yield();
        stats = stats_of(runtime_);
    } while (stats.completed < stats.submitted);
    EXPECT_EQ(0, wrong.load());
}

MANTA_TASK(tk_meet, MANTA_LOCAL(Gate *, gate), MANTA_OUT(int, worker, 1))
{
    gate->arrive();
    gate->pass();
    worker[0] = manta_task_worker(task);
    return MANTA_OK;
}

TEST_P(TaskTest, LittleCpuRunsBesideTheWorkers)
{
    SKIP_IF_SERIAL();
    // Ten at 0.1 each fit into one CPU, and none of them takes a worker away.
    MANTA_SCOPE();
    Gate gate;
    std::vector<manta_ref_t> refs;
    for (int i = 0; i < 10; i++)
        refs.push_back(tk_meet_with(MANTA_OPTIONS(.cpus = 0.1), &gate));
    for (int i = 0; i < 5; i++) {
        refs.push_back(tk_meet_with(MANTA_OPTIONS(.cpus = MANTA_NONE), &gate));
    }
    gate.await(15);
    auto sum = tk_add_remote(1, 2);
    manta_view_t view;
    EXPECT_OK(manta_get(sum, &view, MANTA_S(50))); // timed: this thread does not run it
    gate.open();
    for (manta_ref_t ref : refs)
        EXPECT_EQ(-1, value_of<int>(ref));
}

TEST_P(TaskTest, LittleCpuWorksInASerialRuntimeToo)
{
    MANTA_SCOPE();
    EXPECT_EQ(3, value_of<int>(tk_add_with(MANTA_OPTIONS(.cpus = 0.1), 1, 2)));
    EXPECT_EQ(3, value_of<int>(tk_add_with(MANTA_OPTIONS(.cpus = MANTA_NONE), 1, 2)));
    EXPECT_EQ(3, value_of<int>(tk_add_with(MANTA_OPTIONS(.where = MANTA_CPU), 1, 2)));
}

TEST_P(TaskTest, RequestsThatCanNeverBeMetAreRefused)
{
    double many = workers() + 1.5;
    struct {
        manta_task_options_t options;
        manta_status_t status;
        const char *word;
    } cases[] = {
        {MANTA_OPTIONS(.cpus = many + 1), MANTA_ERR_INFEASIBLE, "CPU"},
        {MANTA_OPTIONS(.cpus = 1e300), MANTA_ERR_INFEASIBLE, "CPU"},
        {MANTA_OPTIONS(.where = MANTA_GPU), MANTA_ERR_INFEASIBLE, "GPU"},
        {MANTA_OPTIONS(.where = manta_gpu(1)), MANTA_ERR_INFEASIBLE, "GPU"},
        {MANTA_OPTIONS(.gpus = 0.5), MANTA_ERR_INFEASIBLE, "GPU"},
        {MANTA_OPTIONS(.cpus = -3), MANTA_ERR_INVALID_ARGUMENT, "cpus"},
        {MANTA_OPTIONS(.cpus = 0.0 / 0.0), MANTA_ERR_INVALID_ARGUMENT, "cpus"},
        {MANTA_OPTIONS(.gpus = -3), MANTA_ERR_INVALID_ARGUMENT, "gpus"},
        {MANTA_OPTIONS(.where = 7), MANTA_ERR_INVALID_ARGUMENT, "where"},
    };
    for (auto &c : cases) {
        manta_ref_t ref = tk_add_with(c.options, 1, 2);
        EXPECT_STATUS(c.status, manta_ref_status(ref)) << c.word;
        EXPECT_NE(nullptr, strstr(manta_error_message(), "tk_add")) << manta_error_message();
        EXPECT_NE(nullptr, strstr(manta_error_message(), c.word)) << manta_error_message();
        (void)manta_release(ref);
    }
}

TEST_P(TaskTest, BlockingBeginGivesTheCoreAway)
{
    SKIP_IF_SERIAL();
    struct body {
        static manta_status_t invoke(const manta_call_t *call)
        {
            Gate *gate = *static_cast<Gate *const *>(call->args);
            manta_blocking_begin(call->task);
            manta_blocking_begin(call->task); // twice is once
            gate->arrive();
            gate->pass();
            manta_blocking_end(call->task);
            manta_blocking_end(call->task);
            return MANTA_OK;
        }
    };
    static const manta_variant_t variant = {body::invoke, nullptr};
    static const manta_param_t params[] = {{"gate", "Gate *", MANTA_PARAM_LOCAL, 0, 8, 8, 0}};
    static manta_task_def_t def = {"tk_blocking", params, 1,       8,      &variant,
                                   nullptr,       0,      nullptr, nullptr};
    Gate gate;
    Gate *at = &gate;
    manta_task_desc_t desc = {sizeof desc, &def, &at, sizeof at, nullptr};
    for (int i = 0; i < 6; i++)
        ASSERT_OK(manta_submit(&desc, nullptr, 0));
    gate.await(6); // more than there are workers
    auto sum = tk_add_remote(1, 2);
    manta_view_t view;
    EXPECT_OK(manta_get(sum, &view, MANTA_S(50)));
    manta_view_release(&view);
    EXPECT_OK(manta_release(sum));
    gate.open();
    EXPECT_OK(manta_drain(MANTA_FOREVER));
}

// ---- nesting ----------------------------------------------------------------------------------

#define tk_fib_PARAMS MANTA_VAL(int, n), MANTA_OUT(int, f, 1)
MANTA_TASK_DECLARE(tk_fib);
MANTA_TASK(tk_fib)
{
    if (n < 2) {
        f[0] = n;
        return MANTA_OK;
    }
    auto a = tk_fib_remote(n - 1);
    auto b = tk_fib_remote(n - 2);
    int x, y;
    manta_status_t status = tk_fib_result(a, &x);
    if (status == MANTA_OK) status = tk_fib_result(b, &y);
    if (status == MANTA_OK) f[0] = x + y;
    return status;
}

TEST_P(TaskTest, FibWithNestedGets)
{
    MANTA_SCOPE();
    int n = kSanitized ? 14 : 20;
    EXPECT_EQ(kSanitized ? 377 : 6765, value_of<int>(tk_fib_remote(n)));
}

#define tk_fib_forward_PARAMS MANTA_VAL(int, n), MANTA_OUT(int, f, 1)
MANTA_TASK_DECLARE(tk_fib_forward);
MANTA_TASK(tk_fib_forward)
{
    if (n < 2) {
        f[0] = n;
        return MANTA_OK;
    }
    return manta_forward(
        task, tk_plus_remote(tk_fib_forward_remote(n - 1), tk_fib_forward_remote(n - 2)));
}

TEST_P(TaskTest, FibWithForwards)
{
    MANTA_SCOPE();
    int n = kSanitized ? 14 : 20;
    EXPECT_EQ(kSanitized ? 377 : 6765, value_of<int>(tk_fib_forward_remote(n)));
}

#define tk_countdown_PARAMS MANTA_VAL(int, n), MANTA_OUT(int, f, 1)
MANTA_TASK_DECLARE(tk_countdown);
MANTA_TASK(tk_countdown)
{
    if (n == 0) {
        f[0] = 42;
        return MANTA_OK;
    }
    return manta_forward(task, tk_countdown_remote(n - 1));
}

TEST_P(TaskTest, ForwardChainsNeedNoRecursion)
{
    manta_ref_t ref = tk_countdown_remote(100000);
    EXPECT_EQ(42, value_of<int>(ref));
    manta_ref_t sum = tk_plus_remote(ref, ref);
    EXPECT_EQ(84, value_of<int>(sum));
    EXPECT_OK(manta_release(sum));
    EXPECT_OK(manta_release(ref));
}

TEST_P(TaskTest, PromiseForwardChainsNeedNoRecursion)
{
    manta_ref_t first = manta_promise_create(0), last = first;
    for (int i = 0; i < 100000; i++) {
        manta_ref_t next = manta_promise_create(0);
        ASSERT_OK(manta_promise_forward(last, next));
        if (i) {
            ASSERT_OK(manta_release(last));
        }
        last = next;
    }
    int x = 9;
    EXPECT_OK(manta_promise_set(last, &x, sizeof x));
    EXPECT_OK(manta_release(last));
    EXPECT_EQ(9, value_of<int>(first));
    EXPECT_OK(manta_release(first));
}

MANTA_TASK(tk_forward_to, MANTA_LOCAL(manta_ref_t *, to), MANTA_VAL(int, code),
           MANTA_OUT(int, x, 1))
{
    x[0] = -1;
    manta_status_t status = MANTA_OK;
    for (int i = 0; to[i].id; i++)
        status = manta_forward(task, to[i]);
    return code ? MANTA_ERR_USER + code : status;
}

TEST_P(TaskTest, OnlyTheLastForwardCountsAndFailureWins)
{
    MANTA_SCOPE();
    manta_ref_t to[3] = {put1(1), put1(2), {0}};
    EXPECT_EQ(2, value_of<int>(tk_forward_to_remote(to, 0)));
    int x;
    EXPECT_STATUS(MANTA_ERR_USER + 3,
                  manta_read(tk_forward_to_remote(to, 3), &x, sizeof x, MANTA_FOREVER));
    manta_ref_t none[1] = {{0}};
    EXPECT_EQ(-1, value_of<int>(tk_forward_to_remote(none, 0)));
    manta_ref_t stale[2] = {{12345ull << 32 | 1}, {0}};
    EXPECT_STATUS(MANTA_ERR_STALE_REF,
                  manta_read(tk_forward_to_remote(stale, 0), &x, sizeof x, MANTA_FOREVER));
}

MANTA_TASK(tk_forward_inout, MANTA_INOUT(int, x))
{
    return manta_forward(task, put1(x[0]));
}
MANTA_TASK(tk_forward_two, MANTA_OUT(int, x, 1), MANTA_OUT(int, y, 1))
{
    x[0] = y[0] = 0;
    return manta_forward(task, put1(1));
}

TEST_P(TaskTest, ForwardIsRefusedWhereItMakesNoSense)
{
    MANTA_SCOPE();
    manta_view_t view;
    manta_ref_t x = tk_forward_inout_remote(put1(1));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_get(x, &view, MANTA_FOREVER));
    tk_forward_two_out_t out = tk_forward_two_remote();
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_get(out.x, &view, MANTA_FOREVER));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_get(out.y, &view, MANTA_FOREVER));
}

MANTA_TASK(tk_spawn, MANTA_LOCAL(std::atomic<int> *, counter), MANTA_VAL(int, depth))
{
    counter->fetch_add(1);
    if (depth == 0) return MANTA_OK;
    for (int i = 0; i < 3; i++) {
        manta_status_t status = tk_tick_go(counter);
        if (status != MANTA_OK) return status;
    }
    return MANTA_OK;
}

TEST_P(TaskTest, DrainWaitsForWhatTasksSubmit)
{
    std::atomic<int> counter{0};
    for (int i = 0; i < 100; i++)
        EXPECT_OK(tk_spawn_go(&counter, 1));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(400, counter.load());
}

TEST_P(TaskTest, ManyThreadsSubmit)
{
    std::atomic<int> counter{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++) {
        threads.emplace_back([&counter] {
            MANTA_SCOPE();
            manta_ref_t x = put1(0);
            for (int k = 0; k < 500; k++) {
                EXPECT_OK(tk_tick_go(&counter));
                x = tk_bump_remote(x);
            }
            EXPECT_EQ(500, value_of<int>(x));
        });
    }
    for (std::thread &thread : threads)
        thread.join();
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(2000, counter.load());
}

TEST_P(TaskTest, StatsCount)
{
    MANTA_SCOPE();
    manta_stats_t before = stats_of(runtime_);
    EXPECT_EQ(workers(), before.workers);
    for (int i = 0; i < 100; i++) {
        EXPECT_EQ(3, value_of<int>(tk_add_remote(1, 2)));
    }
    manta_ref_t p = manta_promise_create(0);
    (void)manta_promise_fail(p, MANTA_ERR_USER, "no");
    manta_view_t view;
    EXPECT_STATUS(MANTA_ERR_USER, manta_get(tk_double_remote(p), &view, MANTA_FOREVER));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    manta_stats_t after = stats_of(runtime_);
    EXPECT_EQ(101u, after.submitted - before.submitted);
    EXPECT_EQ(101u, after.completed - before.completed);
    EXPECT_EQ(1u, after.failed - before.failed);
    EXPECT_EQ(102u, after.live_refs);
}
