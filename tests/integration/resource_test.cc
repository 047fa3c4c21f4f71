// Custom resources and host_bytes: who is admitted when, what is lent, what can never be.
#include "support/runtime_fixture.h"

#include <thread>

using namespace manta_testing;

class ResourceTest : public RuntimeTest
{
  protected:
    void configure(manta_runtime_options_t *options) override
    {
        resources_[0] = manta_resource("tape", 1);
        resources_[1] = manta_resource("slots", 4);
        resources_[2] = manta_resource("pair", 2);
        options->resources = resources_;
        options->resource_count = 3;
        options->host_bytes = 1000;
    }
    manta_resource_t resources_[3];
};
MANTA_TEST_WORKERS(ResourceTest);

struct usage {
    Gate gate;
    std::atomic<int> ran{0}, in_use{0}, most{0};
    std::mutex lock;
    std::vector<int> order; // guarded by lock
    std::atomic<int> fails{0};
    manta_ref_t refs[8] = {};
    std::atomic<int> status[8] = {};
};

static manta_status_t status_of(manta_ref_t ref)
{
    manta_view_t view = {};
    manta_status_t status = manta_get(ref, &view, MANTA_FOREVER);
    manta_view_release(&view);
    return status;
}

static manta_task_options_t with(const char *name, double amount)
{
    return MANTA_OPTIONS(.resources[0] = manta_resource(name, amount));
}

// Counts how many are in here at once.
MANTA_TASK(re_use, MANTA_LOCAL(usage *, u), MANTA_VAL(int, id))
{
    int now = u->in_use.fetch_add(1) + 1, most = u->most.load();
    while (now > most && !u->most.compare_exchange_weak(most, now)) {
    }
    for (int i = 0; i < 200; i++)
        std::this_thread::yield();
    {
        std::lock_guard<std::mutex> hold(u->lock);
        u->order.push_back(id);
    }
    u->ran++;
    u->in_use--;
    return u->fails.fetch_sub(1) > 0 ? MANTA_ERR_USER : MANTA_OK;
}

MANTA_TASK(re_hold, MANTA_LOCAL(usage *, u))
{
    u->gate.arrive();
    u->gate.pass();
    return MANTA_OK;
}

TEST_P(ResourceTest, NoMoreAtOnceThanThereIs)
{
    for (int amount : {1, 2, 3, 4}) {
        MANTA_SCOPE();
        usage u;
        for (int i = 0; i < 100; i++) {
            manta_task_options_t options = with("slots", amount);
            options.cpus = MANTA_NONE; // as many threads as it likes
            EXPECT_OK(re_use_go_with(options, &u, i));
        }
        EXPECT_OK(manta_drain(MANTA_FOREVER));
        EXPECT_EQ(100, u.ran.load());
        EXPECT_LE(u.most.load(), 4 / amount);
    }
}

TEST_P(ResourceTest, FirstComeFirstServed)
{
    MANTA_SCOPE();
    usage u;
    for (int i = 0; i < 50; i++)
        EXPECT_OK(re_use_go_with(with("tape", 1), &u, i));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    ASSERT_EQ(50u, u.order.size());
    for (int i = 0; i < 50; i++)
        EXPECT_EQ(i, u.order[i]);
}

// One that wants all must not wait for ever while small ones come and go.
TEST_P(ResourceTest, TheBigOneDoesNotStarve)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    usage u, holds;
    manta_task_options_t elastic = with("slots", 2);
    elastic.cpus = MANTA_NONE;
    manta_ref_t hold = re_hold_with(elastic, &holds);
    holds.gate.await(1);
    manta_ref_t big = re_use_with(with("slots", 4), &u, 100);
    std::vector<manta_ref_t> small;
    for (int i = 0; i < 10; i++)
        small.push_back(re_use_with(with("slots", 1), &u, i));
    // Another resource is not held up.
    EXPECT_OK(status_of(re_use_with(with("tape", 1), &u, 200)));
    EXPECT_EQ(1, u.ran.load());
    holds.gate.open();
    EXPECT_OK(status_of(big));
    for (manta_ref_t ref : small)
        EXPECT_OK(status_of(ref));
    EXPECT_EQ(200, u.order[0]);
    EXPECT_EQ(100, u.order[1]);
    EXPECT_OK(status_of(hold));
}

TEST_P(ResourceTest, MoreThanThereIsIsRefusedAtOnce)
{
    usage u;
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE, re_use_go_with(with("tape", 1.5), &u, 0));
    std::string text = manta_error_message();
    for (const char *word : {"re_use", "tape", "1.5", "has 1"}) {
        EXPECT_NE(std::string::npos, text.find(word)) << text;
    }
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE, re_use_go_with(with("disk", 1), &u, 0));
    EXPECT_NE(std::string::npos, std::string(manta_error_message()).find("disk"));
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE, re_use_go_with(MANTA_OPTIONS(.host_bytes = 1001), &u, 0));
    EXPECT_NE(std::string::npos, std::string(manta_error_message()).find("1001"));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, re_use_go_with(with("tape", -2), &u, 0));
    manta_task_options_t twice = with("tape", 0.1);
    twice.resources[1] = manta_resource("tape", 0.1);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, re_use_go_with(twice, &u, 0));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(0, u.ran.load());
}

TEST_P(ResourceTest, WrongDeclarationsAreRefused)
{
    manta_resource_t bad[][2] = {{{"a", 1}, {"a", 2}},
                                 {{"", 1}, {"b", 1}},
                                 {{nullptr, 1}, {"b", 1}},
                                 {{"a", -1}, {"b", 1}},
                                 {{"host_bytes", 1}, {"b", 1}}};
    for (auto &row : bad) {
        manta_runtime_options_t options;
        manta_runtime_options_init(&options);
        options.workers = 0;
        options.resources = row;
        options.resource_count = 2;
        manta_runtime_t runtime;
        EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_runtime_create(&options, &runtime));
    }
}

TEST_P(ResourceTest, HostBytes)
{
    MANTA_SCOPE();
    usage u;
    for (int i = 0; i < 60; i++) {
        EXPECT_OK(re_use_go_with(MANTA_OPTIONS(.cpus = MANTA_NONE, .host_bytes = 400), &u, i));
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(60, u.ran.load());
    EXPECT_LE(u.most.load(), 2);
}

class GpuBytesTest : public RuntimeTest
{
  protected:
    void configure(manta_runtime_options_t *options) override
    {
        options->sim_gpus = 2;
        options->no_cuda = true;
        options->gpu_bytes = 1000;
    }
};
MANTA_TEST_WORKERS(GpuBytesTest);

TEST_P(GpuBytesTest, NoMoreAtOnceThanThereIsOnEach)
{
    MANTA_SCOPE();
    usage zero, one;
    for (int i = 0; i < 40; i++) {
        usage *u = i % 2 ? &one : &zero;
        manta_task_options_t o = MANTA_OPTIONS(.where = manta_gpu(i % 2), .gpu_bytes = 400);
        EXPECT_OK(re_use_go_with(o, u, i));
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(20, zero.ran.load());
    EXPECT_EQ(20, one.ran.load());
    EXPECT_LE(zero.most.load(), 2);
    EXPECT_LE(one.most.load(), 2);
}

TEST_P(GpuBytesTest, AnyGpuIsTheOneWithMostLeft)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    usage hold, u;
    manta_ref_t held = re_hold_with(MANTA_OPTIONS(.where = manta_gpu(0), .gpu_bytes = 900), &hold);
    hold.gate.await(1);
    // None of them has to wait for what the first one holds.
    for (int i = 0; i < 5; i++) {
        manta_task_options_t o = MANTA_OPTIONS(.where = MANTA_GPU, .gpu_bytes = 200);
        EXPECT_OK(status_of(re_use_with(o, &u, i)));
    }
    manta_ref_t queued = re_use_with(MANTA_OPTIONS(.where = manta_gpu(0), .gpu_bytes = 200), &u, 9);
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(queued));
    hold.gate.open();
    EXPECT_OK(status_of(held));
    EXPECT_OK(status_of(queued));
    EXPECT_EQ(6, u.ran.load());
}

TEST_P(GpuBytesTest, MoreThanThereIsIsRefusedAtOnce)
{
    MANTA_SCOPE();
    usage u;
    for (manta_where_t where : {MANTA_GPU, manta_gpu(1)}) {
        EXPECT_STATUS(MANTA_ERR_INFEASIBLE,
                      re_use_go_with(MANTA_OPTIONS(.where = where, .gpu_bytes = 1001), &u, 1));
        std::string text = manta_error_message();
        EXPECT_NE(std::string::npos, text.find("1001 gpu_bytes")) << text;
        EXPECT_NE(std::string::npos, text.find("1000")) << text;
    }
    EXPECT_OK(re_use_go_with(MANTA_OPTIONS(.where = MANTA_CPU, .gpu_bytes = 1001), &u, 1));
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(1, u.ran.load());
}

TEST_P(GpuBytesTest, CancelledAndFailedOnesGiveBack)
{
    MANTA_SCOPE();
    usage u;
    u.fails = 30;
    std::vector<manta_ref_t> refs;
    for (int i = 0; i < 30; i++) {
        manta_task_options_t o = MANTA_OPTIONS(.where = MANTA_GPU, .gpu_bytes = 600);
        o.max_retries = i % 3;
        refs.push_back(re_use_with(o, &u, i));
        if (i % 4 == 3) {
            EXPECT_OK(manta_cancel(refs[(size_t)i - 2]));
        }
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    for (int gpu = 0; gpu < 2; gpu++) {
        manta_task_options_t all = MANTA_OPTIONS(.where = manta_gpu(gpu), .gpu_bytes = 1000);
        u.fails = 0;
        EXPECT_OK(status_of(re_use_with(all, &u, 100)));
    }
}

TEST_P(ResourceTest, CancelAndDeadlineWhileWaiting)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    usage u, holds;
    manta_task_options_t tape = with("tape", 1);
    manta_ref_t hold = re_hold_with(tape, &holds);
    holds.gate.await(1);
    std::vector<manta_ref_t> waiting;
    for (int i = 0; i < 20; i++) {
        manta_task_options_t options = tape;
        if (i % 3 == 1) options.deadline_ns = MANTA_MS(1);
        waiting.push_back(re_use_with(options, &u, i));
    }
    for (int i = 0; i < 20; i += 3)
        EXPECT_OK(manta_cancel(waiting[i]));
    for (int i = 0; i < 20; i++) {
        if (i % 3 == 0) {
            EXPECT_STATUS(MANTA_ERR_CANCELLED, status_of(waiting[i]));
        } else if (i % 3 == 1) {
            EXPECT_STATUS(MANTA_ERR_DEADLINE, status_of(waiting[i]));
        }
    }
    EXPECT_EQ(0, u.ran.load());
    holds.gate.open();
    EXPECT_OK(status_of(hold));
    for (int i = 2; i < 20; i += 3)
        EXPECT_OK(status_of(waiting[i]));
    EXPECT_EQ(6, u.ran.load());
    EXPECT_LE(u.most.load(), 1);
}

TEST_P(ResourceTest, AttemptsAreAdmittedAnew)
{
    MANTA_SCOPE();
    usage u;
    u.fails = 30;
    manta_task_options_t options = with("tape", 1);
    options.max_retries = 30;
    options.backoff_ns = 1000;
    for (int i = 0; i < 10; i++) {
        if (i == 5) options.backoff_ns = 0;
        EXPECT_OK(re_use_go_with(options, &u, i));
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(40, u.ran.load());
    EXPECT_EQ(1, u.most.load());
}

TEST_P(ResourceTest, AFailedArgumentLeavesTheQueue)
{
    MANTA_SCOPE();
    for (int round = 0; round < 3; round++) {
        manta_ref_t p = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
        struct body {
            static manta_status_t invoke(const manta_call_t *) { return MANTA_OK; }
        };
        static const manta_variant_t variant = {body::invoke, nullptr};
        static const manta_param_t params[] = {
            {"x", "int", MANTA_PARAM_IN, MANTA_DTYPE(MANTA_I32, 4), 4, 4, 0}};
        static manta_task_def_t def = {"re_in", params, 1,       8,      &variant,
                                       nullptr, 0,      nullptr, nullptr};
        manta_task_options_t options = with("tape", 1);
        manta_task_desc_t desc = {sizeof desc, &def, &p, sizeof p, &options};
        manta_ref_t out;
        if (round == 2) {
            EXPECT_OK(manta_promise_fail(p, MANTA_ERR_USER, "early"));
        }
        ASSERT_OK(manta_submit(&desc, &out, 1));
        if (round == 0) {
            EXPECT_OK(manta_promise_fail(p, MANTA_ERR_USER, "late"));
        }
        if (round == 1) {
            EXPECT_OK(manta_cancel(out));
        }
        EXPECT_STATUS(round == 1 ? MANTA_ERR_CANCELLED : MANTA_ERR_USER, status_of(out));
        if (round == 1) {
            EXPECT_OK(manta_promise_fail(p, MANTA_ERR_USER, "too late"));
        }
        usage u;
        EXPECT_OK(status_of(re_use_with(with("tape", 1), &u, 1)));
    }
}

// Holds |amount| and waits for a task that wants |child|.
MANTA_TASK(re_nest, MANTA_LOCAL(usage *, u), MANTA_VAL(int, depth), MANTA_VAL(double, amount))
{
    u->ran++;
    if (depth == 0) return MANTA_OK;
    manta_ref_t child = re_nest_with(with("tape", amount), u, depth - 1, amount);
    return status_of(child);
}

// The same through a completion queue.
MANTA_TASK(re_queue, MANTA_LOCAL(usage *, u), MANTA_VAL(int, depth))
{
    u->ran++;
    if (depth == 0) return MANTA_OK;
    manta_cq_t cq;
    manta_cq_entry_t entry = {};
    size_t count;
    manta_status_t status = manta_cq_create(&cq);
    if (status != MANTA_OK) return status;
    status = manta_cq_add(cq, re_queue_with(with("tape", 1), u, depth - 1), 1);
    if (status == MANTA_OK) status = manta_cq_next(cq, &entry, 1, &count, MANTA_FOREVER);
    if (status == MANTA_OK) status = entry.status;
    manta_status_t destroyed = manta_cq_destroy(cq);
    return status == MANTA_OK ? destroyed : status;
}

TEST_P(ResourceTest, WhatAWaitingTaskHoldsIsLent)
{
    for (int depth : {1, 2, 30}) {
        MANTA_SCOPE();
        usage u;
        EXPECT_OK(status_of(re_nest_with(with("tape", 1), &u, depth, 1.0)));
        EXPECT_EQ(depth + 1, u.ran.load());
        EXPECT_OK(status_of(re_queue_with(with("tape", 1), &u, depth)));
        EXPECT_EQ(2 * depth + 2, u.ran.load());
        // Exact afterwards.
        usage v;
        for (int i = 0; i < 10; i++)
            EXPECT_OK(re_use_go_with(with("tape", 1), &v, i));
        EXPECT_OK(manta_drain(MANTA_FOREVER));
        EXPECT_EQ(1, v.most.load());
        EXPECT_EQ(10, v.ran.load());
    }
}

// Waits for a task without a request, which waits for one that wants what this one holds.
MANTA_TASK(re_middle, MANTA_LOCAL(usage *, u))
{
    u->ran++;
    return status_of(re_use_with(with("tape", 1), u, 1));
}
MANTA_TASK(re_outer, MANTA_LOCAL(usage *, u), MANTA_VAL(int, any))
{
    manta_ref_t refs[2] = {re_middle_remote(u), re_middle_remote(u)};
    if (!any) return status_of(refs[0]) || status_of(refs[1]) ? MANTA_ERR_USER : MANTA_OK;
    return manta_wait(refs, 2, 1, MANTA_FOREVER, nullptr, nullptr);
}

TEST_P(ResourceTest, LentThroughOthers)
{
    for (int any : {0, 1}) {
        for (int round = 0; round < 50; round++) {
            MANTA_SCOPE();
            usage u;
            EXPECT_OK(status_of(re_outer_with(with("tape", 1), &u, any)));
            EXPECT_OK(manta_drain(MANTA_FOREVER));
            EXPECT_EQ(4, u.ran.load());
            EXPECT_EQ(1, u.most.load());
        }
    }
}

// Each level holds one and waits for the next; the last wants as many as there are.
MANTA_TASK(re_stairs, MANTA_LOCAL(usage *, u), MANTA_VAL(int, depth))
{
    u->ran++;
    if (depth == 0) return MANTA_OK;
    return status_of(re_stairs_with(with("slots", depth == 1 ? 4 : 1), u, depth - 1));
}

TEST_P(ResourceTest, SeveralLendToOne)
{
    for (int round = 0; round < 20; round++) {
        MANTA_SCOPE();
        usage u, v;
        EXPECT_OK(status_of(re_stairs_with(with("slots", 1), &u, 4)));
        EXPECT_EQ(5, u.ran.load());
        EXPECT_OK(status_of(re_use_with(with("slots", 4), &v, 0)));
    }
}

// Each holds one of two and waits for a task that wants both.
MANTA_TASK(re_greedy, MANTA_LOCAL(usage *, u), MANTA_VAL(int, i))
{
    u->gate.arrive();
    u->gate.await(2);
    manta_ref_t both = re_use_with(with("pair", 2), u, i);
    u->status[i] = status_of(both);
    if (u->status[i] == MANTA_ERR_OUT_OF_MEMORY) u->refs[i] = manta_keep(both);
    return MANTA_OK;
}

TEST_P(ResourceTest, AHoldAndWaitThatCanNeverEnd)
{
    SKIP_IF_SERIAL();
    for (int round = 0; round < 20; round++) {
        MANTA_SCOPE();
        usage u;
        manta_task_options_t one = with("pair", 1);
        one.cpus = MANTA_NONE;
        manta_ref_t a = re_greedy_with(one, &u, 0), b = re_greedy_with(one, &u, 1);
        EXPECT_OK(status_of(a));
        EXPECT_OK(status_of(b));
        int failed = (u.status[0] != MANTA_OK) + (u.status[1] != MANTA_OK);
        EXPECT_EQ(1, failed) << u.status[0] << " " << u.status[1];
        for (int i = 0; i < 2; i++) {
            if (u.status[i] == MANTA_OK) continue;
            EXPECT_STATUS(MANTA_ERR_OUT_OF_MEMORY, u.status[i]);
            std::string text = printed_error(u.refs[i]);
            for (const char *word : {"wants 2", "pair", "re_greedy", "holds 1"}) {
                EXPECT_NE(std::string::npos, text.find(word)) << text;
            }
            EXPECT_OK(manta_release(u.refs[i]));
        }
        EXPECT_EQ(1, u.ran.load());
        usage v;
        for (int i = 0; i < 10; i++)
            EXPECT_OK(re_use_go_with(with("pair", 2), &v, i));
        EXPECT_OK(manta_drain(MANTA_FOREVER));
        EXPECT_EQ(1, v.most.load());
    }
}

TEST_P(ResourceTest, AWaitForAPromiseIsNoDeadlock)
{
    SKIP_IF_SERIAL();
    MANTA_SCOPE();
    usage u, holds;
    manta_ref_t hold = re_hold_with(with("pair", 1), &holds);
    holds.gate.await(1);
    manta_ref_t both = re_use_with(with("pair", 2), &u, 0);
    manta_ref_t refs[] = {both};
    EXPECT_STATUS(MANTA_NOT_READY, manta_wait(refs, 1, 1, MANTA_MS(5), nullptr, nullptr));
    holds.gate.open();
    EXPECT_OK(status_of(both));
    EXPECT_OK(status_of(hold));
}
