// Generators: a stream of refs, a step at a time.
#include "support/runtime_fixture.h"

#include <thread>

using namespace manta_testing;

class GeneratorTest : public RuntimeTest
{
};
MANTA_TEST_WORKERS(GeneratorTest);

struct counter {
    Gate gate;
    int next = 0, end = 10, fail_at = -1, hold_at = -1;
    std::atomic<int> made{0}, destroyed{0}, inside{0};
};

static manta_status_t count_step(manta_task_t *task, void *state)
{
    auto *c = static_cast<counter *>(state);
    EXPECT_EQ(0, c->inside.fetch_add(1)) << "one step at a time";
    int value = c->next++;
    manta_status_t status = MANTA_ERR_END;
    if (value == c->hold_at) {
        c->gate.arrive();
        c->gate.pass();
    }
    if (value == c->fail_at) {
        status = manta_fail(task, MANTA_ERR_USER + 5, "value %d is bad", value);
    } else if (value < c->end) {
        c->made++;
        status = manta_yield(task, &value, sizeof value);
    }
    c->inside--;
    return status;
}

static void count_destroy(void *state)
{
    static_cast<counter *>(state)->destroyed++;
}

static manta_generator_desc_t desc_of(counter *c, uint32_t run_ahead)
{
    manta_generator_desc_t desc = {};
    desc.struct_size = sizeof desc;
    desc.name = "count";
    desc.step = count_step;
    desc.state = c;
    desc.destroy = count_destroy;
    desc.dtype = MANTA_DTYPE(MANTA_I32, 4);
    desc.run_ahead = run_ahead;
    return desc;
}

MANTA_TASK(ge_double, MANTA_IN(int, x), MANTA_OUT(int, y, 1))
{
    y[0] = 2 * x[0];
    return MANTA_OK;
}

TEST_P(GeneratorTest, GivesAllValuesInOrder)
{
    for (uint32_t run_ahead : {0u, 1u, 3u, 100u}) {
        counter c;
        manta_generator_desc_t desc = desc_of(&c, run_ahead);
        manta_generator_t g;
        ASSERT_OK(manta_generator_create(&desc, &g));
        manta_ref_t ref;
        for (int i = 0; i < 10; i++) {
            MANTA_SCOPE();
            ASSERT_OK(manta_generator_next(g, &ref, MANTA_FOREVER));
            EXPECT_EQ(i, value_of<int>(ref));
            EXPECT_EQ(2 * i, value_of<int>(ge_double_remote(ref)));
        }
        EXPECT_STATUS(MANTA_ERR_END, manta_generator_next(g, &ref, MANTA_FOREVER));
        EXPECT_STATUS(MANTA_ERR_END, manta_generator_next(g, &ref, 0));
        EXPECT_EQ(0, c.destroyed.load());
        EXPECT_OK(manta_generator_release(g));
        EXPECT_OK(manta_drain(MANTA_FOREVER));
        EXPECT_EQ(1, c.destroyed.load());
        EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_generator_release(g));
        EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_generator_next(g, &ref, 0));
    }
}

TEST_P(GeneratorTest, RunsAheadNoFurtherThanItMay)
{
    counter c;
    c.end = 1000000;
    manta_generator_desc_t desc = desc_of(&c, 5);
    manta_generator_t g;
    ASSERT_OK(manta_generator_create(&desc, &g));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(5, c.made.load());
    for (int i = 0; i < 7; i++) {
        manta_ref_t ref;
        ASSERT_OK(manta_generator_next(g, &ref, MANTA_FOREVER));
        EXPECT_EQ(i, value_of<int>(ref));
        EXPECT_OK(manta_release(ref));
        EXPECT_OK(manta_drain(MANTA_FOREVER));
        EXPECT_EQ(6 + i, c.made.load());
    }
    EXPECT_OK(manta_generator_release(g));
    EXPECT_EQ(1, c.destroyed.load());
}

TEST_P(GeneratorTest, AFailedValueIsTheLast)
{
    for (uint32_t run_ahead : {1u, 8u}) {
        MANTA_SCOPE();
        counter c;
        c.fail_at = 2;
        manta_generator_desc_t desc = desc_of(&c, run_ahead);
        manta_generator_t g;
        ASSERT_OK(manta_generator_create(&desc, &g));
        manta_ref_t ref;
        for (int i = 0; i < 2; i++) {
            ASSERT_OK(manta_generator_next(g, &ref, MANTA_FOREVER));
            EXPECT_EQ(i, value_of<int>(ref));
        }
        ASSERT_OK(manta_generator_next(g, &ref, MANTA_FOREVER));
        EXPECT_STATUS(MANTA_ERR_USER + 5, manta_ref_status(ref));
        EXPECT_NE(std::string::npos, printed_error(ref).find("in task count"))
            << printed_error(ref);
        EXPECT_STATUS(MANTA_ERR_END, manta_generator_next(g, &ref, MANTA_FOREVER));
        EXPECT_OK(manta_generator_release(g));
        EXPECT_OK(manta_drain(MANTA_FOREVER));
        EXPECT_EQ(3, c.next) << "no step after that";
    }
}

TEST_P(GeneratorTest, StepsHaveRules)
{
    MANTA_SCOPE();
    counter c;
    c.fail_at = 1;
    manta_task_options_t options = MANTA_OPTIONS(.priority = MANTA_PRIORITY_HIGH, .max_retries = 2);
    manta_generator_desc_t desc = desc_of(&c, 3);
    desc.options = &options;
    manta_generator_t g;
    ASSERT_OK(manta_generator_create(&desc, &g));
    manta_ref_t ref;
    for (int i = 0; i < 9; i++) {
        ASSERT_OK(manta_generator_next(g, &ref, MANTA_FOREVER));
        EXPECT_EQ(i < 1 ? i : i + 1, value_of<int>(ref)) << "the second attempt went on";
    }
    EXPECT_OK(manta_generator_release(g));
}

TEST_P(GeneratorTest, CancelEndsIt)
{
    SKIP_IF_SERIAL();
    for (int how = 0; how < 2; how++) {
        MANTA_SCOPE();
        counter c;
        c.hold_at = 3;
        manta_generator_desc_t desc = desc_of(&c, 6);
        manta_generator_t g;
        ASSERT_OK(manta_generator_create(&desc, &g));
        c.gate.await(1);
        manta_ref_t ref;
        ASSERT_OK(manta_generator_next(g, &ref, MANTA_FOREVER));
        EXPECT_EQ(0, value_of<int>(ref));
        if (how == 0) {
            EXPECT_OK(manta_generator_cancel(g));
            EXPECT_STATUS(MANTA_ERR_CANCELLED, manta_generator_next(g, &ref, MANTA_FOREVER));
            c.gate.open();
            EXPECT_OK(manta_generator_release(g));
        } else {
            EXPECT_OK(manta_generator_release(g));
            EXPECT_EQ(0, c.destroyed.load()) << "a step runs";
            c.gate.open();
        }
        EXPECT_OK(manta_drain(MANTA_FOREVER));
        EXPECT_EQ(1, c.destroyed.load());
        EXPECT_EQ(4, c.next);
    }
}

TEST_P(GeneratorTest, SeveralTakeTurns)
{
    SKIP_IF_SERIAL();
    counter c;
    c.end = kSanitized ? 300 : 3000;
    manta_generator_desc_t desc = desc_of(&c, 4);
    manta_generator_t g;
    ASSERT_OK(manta_generator_create(&desc, &g));
    std::atomic<int> count{0};
    std::atomic<long> sum{0};
    std::vector<std::thread> threads;
    for (int k = 0; k < 3; k++) {
        threads.emplace_back([&] {
            for (;;) {
                manta_ref_t ref;
                manta_status_t status = manta_generator_next(g, &ref, MANTA_FOREVER);
                if (status == MANTA_ERR_END) return;
                EXPECT_OK(status);
                count++;
                sum += value_of<int>(ref);
                EXPECT_OK(manta_release(ref));
            }
        });
    }
    for (auto &thread : threads)
        thread.join();
    EXPECT_EQ(c.end, count.load());
    EXPECT_EQ((long)c.end * (c.end - 1) / 2, sum.load());
    EXPECT_OK(manta_generator_release(g));
}

// Takes from inside a task, with one worker.
MANTA_TASK(ge_consume, MANTA_VAL(manta_generator_t, g), MANTA_OUT(int, sum, 1))
{
    sum[0] = 0;
    for (;;) {
        MANTA_SCOPE();
        manta_ref_t ref;
        manta_status_t status = manta_generator_next(g, &ref, MANTA_FOREVER);
        if (status == MANTA_ERR_END) return MANTA_OK;
        int value = 0;
        if (status == MANTA_OK) status = manta_read(ref, &value, sizeof value, MANTA_FOREVER);
        if (status != MANTA_OK) return status;
        sum[0] += value;
    }
}

TEST_P(GeneratorTest, InsideATask)
{
    MANTA_SCOPE();
    counter c;
    c.end = 100;
    manta_generator_desc_t desc = desc_of(&c, 2);
    manta_generator_t g;
    ASSERT_OK(manta_generator_create(&desc, &g));
    EXPECT_EQ(4950, value_of<int>(ge_consume_remote(g)));
    EXPECT_OK(manta_generator_release(g));
}

struct ge_state {
    int made;
};
MANTA_GENERATOR(ge_from, ge_state, MANTA_IN(int, x), MANTA_OUT(int, y, 1))
{
    (void)task;
    if (self->made == 3) return MANTA_ERR_END;
    y[0] = x[0] + self->made++;
    return MANTA_OK;
}
MANTA_TASK(ge_put, MANTA_LOCAL(manta_ref_t *, out))
{
    (void)task;
    int ten = 10;
    *out = manta_keep(manta_put(&ten, sizeof ten));
    return MANTA_OK;
}

TEST_P(GeneratorTest, RefsOfOtherRuntimesAreRefused)
{
    ScopedRuntime other(1, "other");
    manta_ref_t theirs = {0};
    manta_ref_t put = ge_put_with(MANTA_OPTIONS(.runtime = other.get()), &theirs);
    EXPECT_OK(manta_read(put, nullptr, 0, MANTA_FOREVER));
    EXPECT_OK(manta_release(put));
    manta_generator_options_t there = MANTA_GENERATOR_OPTIONS(.step.runtime = other.get());
    for (bool is_there : {false, true}) {
        ge_from_t refused = is_there ? ge_from_with(there, theirs) : ge_from_remote(theirs);
        EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, refused.status);
        std::string why = manta_error_message();
        for (const char *part : {"ge_from", "argument x", "runtime 'other'"})
            EXPECT_NE(std::string::npos, why.find(part)) << why;
    }
    EXPECT_OK(manta_release(theirs));
}

// No step runs before its refs are there: no thread is held by one that waits.
TEST_P(GeneratorTest, StepsWaitForTheirRefsInTheQueue)
{
    MANTA_SCOPE();
    manta_ref_t later = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    manta_ref_t never = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    ge_from_t from = ge_from_remote(later), failing = ge_from_remote(never);
    ASSERT_OK(from.status);
    ASSERT_OK(failing.status);
    for (int i = 0; i < 10; i++) { // with all workers, one after the other
        auto x = ge_double_remote(put1(i));
        EXPECT_EQ(2 * i, value_of<int>(x));
    }
    int y = 10;
    EXPECT_OK(manta_promise_set(later, &y, sizeof y));
    for (int i = 0; i < 3; i++) {
        EXPECT_OK(ge_from_next_value(from, &y));
        EXPECT_EQ(10 + i, y);
    }
    EXPECT_STATUS(MANTA_ERR_END, ge_from_next_value(from, &y));
    EXPECT_OK(manta_promise_fail(never, MANTA_ERR_USER + 3, "none"));
    EXPECT_STATUS(MANTA_ERR_USER + 3, ge_from_next_value(failing, &y));
    EXPECT_OK(ge_from_destroy(from));
    EXPECT_OK(ge_from_destroy(failing));
}

TEST_P(GeneratorTest, WrongOnesAreRefused)
{
    counter c;
    manta_generator_desc_t desc = desc_of(&c, 1);
    manta_generator_t g;
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_generator_create(nullptr, &g));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_generator_create(&desc, nullptr));
    desc.struct_size = 0;
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_generator_create(&desc, &g));
    desc = desc_of(&c, 1u << 30);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_generator_create(&desc, &g));
    manta_task_options_t options = MANTA_OPTIONS(.resources[0] = manta_resource("none", 1));
    desc = desc_of(&c, 3);
    desc.options = &options;
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE, manta_generator_create(&desc, &g));
    EXPECT_NE(std::string::npos, std::string(manta_error_message()).find("none"));
    EXPECT_EQ(0, c.destroyed.load()) << "the state is the caller's then";
    EXPECT_STATUS(MANTA_ERR_STALE_REF, manta_generator_cancel({5}));
}
