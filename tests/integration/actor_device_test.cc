// Actors on devices: order, CPU and CUDA methods mixed, what their state holds, restarts, limits, lost devices. On
// virtual GPUs, and a second time (MANTA_CUDA_LIBRARY) on the CUDA driver over the fake library.
#include "fakes/int_kernels.h"
#include "support/runtime_fixture.h"

#include <algorithm>
#include <cstring>
#include <random>

using namespace manta_testing;

static const FakeCode fake_code("actor_device_test.fatbin", {fake_axpy_ints(), fake_fill_ints()});

// ---- an actor: acc = a w + ..., on its device -----------------------------------------------------

struct Sum {
    const int64_t *w;
    int64_t *acc;
    size_t n;
    int64_t steps; // counted by the host's part of CUDA methods and by CPU methods
    bool on_device;
};

static std::atomic<int> g_constructed, g_destroyed;

#define ad_sum_PARAMS MANTA_IN(int64_t, w)
MANTA_ACTOR_DECLARE(ad_sum, Sum);
MANTA_ACTOR(ad_sum, Sum)
{
    g_constructed++;
    self->n = w.count;
    self->w = w.data;
    return manta_actor_hold(task, w.data);
}
MANTA_ACTOR_CUDA(ad_sum)
{
    g_constructed++;
    *self = {w.data, nullptr, w.count, 0, true};
    self->acc = static_cast<int64_t *>(manta_actor_memory(task, w.count * sizeof(int64_t)));
    if (!self->acc) return MANTA_ERR_OUT_OF_MEMORY;
    manta_status_t status = manta_actor_hold(task, w.data);
    if (status != MANTA_OK) return status;
    return MANTA_LAUNCH(fill_ints, manta_grid_1d(w.count, 128), int64_t{0}, self->acc, w.count);
}
MANTA_ACTOR_END(ad_sum)
{
    g_destroyed++;
}

#define ad_sum_add_PARAMS MANTA_VAL(int64_t, a)
MANTA_METHOD_DECLARE(ad_sum, add);
MANTA_METHOD_CUDA(ad_sum, add)
{
    self->steps++;
    return MANTA_LAUNCH(axpy_ints, manta_grid_1d(self->n, 128), a, self->w, self->acc, self->n);
}

#define ad_sum_add_x_PARAMS MANTA_IN(int64_t, x)
MANTA_METHOD_DECLARE(ad_sum, add_x);
MANTA_METHOD_CUDA(ad_sum, add_x)
{
    self->steps++;
    return MANTA_LAUNCH(axpy_ints, manta_grid_1d(x.count, 128), int64_t{1}, x.data, self->acc,
                        x.count);
}

#define ad_sum_read_PARAMS MANTA_VAL(uint64_t, n), MANTA_OUT(int64_t, y, n)
MANTA_METHOD_DECLARE(ad_sum, read);
MANTA_METHOD_CUDA(ad_sum, read)
{
    self->steps++;
    manta_status_t status = MANTA_LAUNCH(fill_ints, manta_grid_1d(n, 128), int64_t{0}, y.data, n);
    if (status != MANTA_OK) return status;
    return MANTA_LAUNCH(axpy_ints, manta_grid_1d(n, 128), int64_t{1}, self->acc, y.data, n);
}

// On a CPU: how many methods have run before.
MANTA_METHOD(ad_sum, steps, MANTA_OUT(int64_t, y, 1))
{
    y[0] = self->steps++;
    return MANTA_OK;
}

// On a CPU: looks at what CUDA methods have left in the device's memory, which is the host's here.
MANTA_METHOD(ad_sum, peek, MANTA_OUT(int64_t, y, 1))
{
    self->steps++;
    y[0] = self->acc[0];
    return MANTA_OK;
}

MANTA_METHOD(ad_sum, mean, MANTA_IN(int64_t, x), MANTA_OUT(int64_t, y, 1))
{
    self->steps++;
    y[0] = 0;
    for (size_t i = 0; i < x.count; i++)
        y[0] += x[i];
    y[0] /= static_cast<int64_t>(x.count);
    return MANTA_OK;
}

#define ad_sum_break_PARAMS MANTA_VAL(int, code)
MANTA_METHOD_DECLARE(ad_sum, break);
MANTA_METHOD_CUDA(ad_sum, break)
{
    return manta_fail(task, static_cast<manta_status_t>(code), "broken");
}

#define ad_sum_more_PARAMS MANTA_VAL(uint64_t, bytes)
MANTA_METHOD_DECLARE(ad_sum, more);
MANTA_METHOD_CUDA(ad_sum, more)
{
    return manta_actor_memory(task, bytes) ? MANTA_OK : MANTA_ERR_OUT_OF_MEMORY;
}

MANTA_METHOD(ad_sum, holds, MANTA_IN(int64_t, x))
{
    int64_t local = x[0];
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_actor_hold(task, &local));
    EXPECT_EQ(nullptr, manta_actor_memory(task, 8)); // no CUDA body
    return manta_actor_hold(task, x.data);
}

MANTA_TASK(ad_slow_iota, MANTA_VAL(uint64_t, n), MANTA_IN(int64_t, gate), MANTA_OUT(int64_t, y, n))
{
    for (size_t i = 0; i < n; i++)
        y[i] = gate[0];
    return MANTA_OK;
}

MANTA_TASK(ad_hold_outside, MANTA_IN(int64_t, x))
{
    EXPECT_STATUS(MANTA_ERR_NOT_ALLOWED_HERE, manta_actor_hold(task, x.data));
    return MANTA_OK;
}

// ---- machines ---------------------------------------------------------------------------------------

struct Machine {
    int workers, gpus;
    bool is_virtual;
};

class ActorDeviceTest : public ::testing::TestWithParam<Machine>
{
  protected:
    void SetUp() override
    {
        g_constructed = g_destroyed = 0;
        if (has_fake_cuda()) {
            fake_cuda_options_t fake = {};
            fake.devices = static_cast<uint32_t>(gpus());
            fake_cuda()->reset(&fake);
        }
        manta_runtime_options_t options;
        manta_runtime_options_init(&options);
        options.workers = GetParam().workers;
        options.sim_gpus = has_fake_cuda() ? -1 : gpus();
        options.sim_virtual_clock = GetParam().is_virtual;
        options.no_cuda = !has_fake_cuda();
        options.log = Log::write;
        options.log_user = &log_;
        ASSERT_OK(manta_init(&options));
    }
    void TearDown() override
    {
        EXPECT_OK(manta_drain(MANTA_S(60)));
        manta_stats_t stats = stats_of(manta_runtime_default());
        EXPECT_EQ(0u, stats.live_refs) << printed_refs(manta_runtime_default());
        EXPECT_OK(manta_shutdown(MANTA_S(60)));
        if (has_fake_cuda()) {
            EXPECT_EQ(std::vector<std::string>(), fake_violations());
            if (!fake_cuda()->has_lost()) {
                EXPECT_EQ(std::vector<std::string>(), fake_leaks());
            }
        }
        EXPECT_TRUE(log_.take().empty());
        EXPECT_EQ(g_constructed, g_destroyed);
    }
    int gpus() const { return GetParam().gpus; }

    Log log_;
};

static const Machine kMachines[] = {{0, 1, true},  {0, 2, true},  {0, 1, false},
                                    {1, 1, false}, {2, 3, false}, {1, 2, true}};
INSTANTIATE_TEST_SUITE_P(Machines, ActorDeviceTest, ::testing::ValuesIn(kMachines),
                         [](const ::testing::TestParamInfo<Machine> &at) {
                             return std::to_string(at.param.workers) + "workers" +
                                    std::to_string(at.param.gpus) + "gpus" +
                                    (at.param.is_virtual ? "virtual" : "");
                         });

static manta::ref<int64_t> ones(size_t n, int64_t value = 1)
{
    std::vector<int64_t> v(n, value);
    return manta_put(v.data(), n * sizeof v[0]);
}

// The first number; by a CPU method where that can read the device's memory.
static manta::ref<int64_t> peek(ad_sum_t a)
{
    if (has_fake_cuda()) return ad_sum_read(a, 1);
    return ad_sum_peek(a);
}

static manta_actor_info_t info_of(ad_sum_t a)
{
    manta_actor_info_t info = {};
    info.struct_size = sizeof info;
    EXPECT_OK(manta_actor_describe(a.actor, &info));
    return info;
}

// ---- order --------------------------------------------------------------------------------------------

TEST_P(ActorDeviceTest, CudaMethodsFollowEachOther)
{
    MANTA_SCOPE();
    ad_sum_t a = ad_sum_create(MANTA_ACTOR_OPTIONS(.device = manta_gpu(0)), ones(100, 2));
    int64_t want = 0;
    for (int i = 0; i < 100; i++) {
        ASSERT_OK(ad_sum_add_go(a, i));
        want += 2 * i;
    }
    EXPECT_EQ(std::vector<int64_t>(100, want), values_of<int64_t>(ad_sum_read(a, 100)));
    EXPECT_EQ(0, info_of(a).device);
}

TEST_P(ActorDeviceTest, CpuAndCudaMethodsMixInOrder)
{
    MANTA_SCOPE();
    ad_sum_t a = ad_sum_create(MANTA_ACTOR_OPTIONS(.device = MANTA_GPU), ones(64));
    std::mt19937 rng(7);
    std::vector<manta::ref<int64_t>> steps, peeks;
    std::vector<int64_t> want_steps, want_peeks;
    int64_t acc = 0, ran = 0;
    for (int i = 0; i < 300; i++) {
        switch (rng() % 4) {
        case 0:
            want_steps.push_back(ran);
            steps.push_back(ad_sum_steps(a));
            break;
        case 1:
            want_peeks.push_back(acc);
            peeks.push_back(peek(a));
            break;
        default:
            ASSERT_OK(ad_sum_add_go(a, i));
            acc += i;
        }
        ran++;
    }
    for (size_t i = 0; i < steps.size(); i++)
        ASSERT_EQ(want_steps[i], value_of<int64_t>(steps[i])) << i;
    for (size_t i = 0; i < peeks.size(); i++)
        ASSERT_EQ(want_peeks[i], value_of<int64_t>(peeks[i])) << i;
}

TEST_P(ActorDeviceTest, ArgumentsFromElsewhereDontBreakTheOrder)
{
    MANTA_SCOPE();
    manta::ref<int64_t> gate = manta_promise_create(MANTA_DTYPE(MANTA_I64, 8));
    ad_sum_t a = ad_sum_create(MANTA_ACTOR_OPTIONS(.device = manta_gpu(0)), ones(1000));
    ad_sum_t b = ad_sum_create(MANTA_ACTOR_OPTIONS(.device = manta_gpu(gpus() - 1)), ones(1000, 5));
    std::vector<manta::ref<int64_t>> reads;
    int64_t acc = 0;
    std::vector<int64_t> want;
    for (int i = 0; i < 30; i++) {
        ASSERT_OK(ad_sum_add_go(b, 1));
        manta::ref<int64_t> far = ad_sum_read(b, 1000); // 5 (i + 1), on another device perhaps
        ASSERT_OK(ad_sum_add_x_go(a, far));
        acc += 5 * (i + 1);
        if (i == 10) {
            ASSERT_OK(ad_sum_add_x_go(a, ad_slow_iota_remote(1000, gate)));
            acc += 3;
        }
        ASSERT_OK(ad_sum_add_go(a, 1));
        acc++;
        want.push_back(acc);
        reads.push_back(ad_sum_read(a, 1000));
    }
    int64_t three = 3;
    ASSERT_OK(manta_promise_set(gate, &three, sizeof three));
    for (size_t i = 0; i < reads.size(); i++)
        ASSERT_EQ(std::vector<int64_t>(1000, want[i]), values_of<int64_t>(reads[i])) << i;
    EXPECT_EQ(want.back(), value_of<int64_t>(ad_sum_mean(a, reads.back())));
}

TEST_P(ActorDeviceTest, AQueueOfItsOwn)
{
    MANTA_SCOPE();
    std::vector<ad_sum_t> actors;
    manta::ref<int64_t> w = ones(10);
    for (int i = 0; i < 8; i++) {
        actors.push_back(
            ad_sum_create(MANTA_ACTOR_OPTIONS(.device = manta_gpu(0), .own_queue = true), w));
        ASSERT_NE(0u, actors.back().actor.id);
        EXPECT_OK(manta_actor_status(actors.back().actor));
    }
    ad_sum_t ninth =
        ad_sum_create(MANTA_ACTOR_OPTIONS(.device = manta_gpu(0), .own_queue = true), w);
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE, manta_actor_status(ninth.actor));
    EXPECT_NE(nullptr, strstr(manta_error_message(), "all 8")) << manta_error_message();
    for (int k = 0; k < 20; k++)
        for (ad_sum_t a : actors)
            ASSERT_OK(ad_sum_add_go(a, 1));
    for (ad_sum_t a : actors)
        EXPECT_EQ(20, value_of<int64_t>(peek(a)));
    manta_ref_t end = manta_actor_watch(actors[3].actor);
    ASSERT_OK(ad_sum_destroy(actors[3]));
    ASSERT_OK(manta_wait(&end, 1, 1, MANTA_FOREVER, nullptr, nullptr));
    ASSERT_OK(manta_drain(MANTA_FOREVER)); // its slot is free, and with it the queue
    ad_sum_t again =
        ad_sum_create(MANTA_ACTOR_OPTIONS(.device = manta_gpu(0), .own_queue = true), w);
    ASSERT_OK(ad_sum_add_go(again, 4));
    EXPECT_EQ(4, value_of<int64_t>(peek(again)));
}

TEST_P(ActorDeviceTest, OneCallAtATimeIfSoWanted)
{
    MANTA_SCOPE();
    ad_sum_t a =
        ad_sum_create(MANTA_ACTOR_OPTIONS(.device = manta_gpu(0), .max_device_calls = 1), ones(10));
    for (int i = 0; i < 50; i++)
        ASSERT_OK(ad_sum_add_go(a, 1));
    EXPECT_EQ(50, value_of<int64_t>(peek(a)));
}

TEST_P(ActorDeviceTest, ActorsSpreadOverTheDevices)
{
    MANTA_SCOPE();
    manta::ref<int64_t> w = ones(10);
    std::vector<int> count((size_t)gpus());
    for (int i = 0; i < 3 * gpus(); i++)
        count[(size_t)info_of(ad_sum_create(MANTA_ACTOR_OPTIONS(.device = MANTA_GPU), w)).device]++;
    EXPECT_EQ(std::vector<int>((size_t)gpus(), 3), count);
}

// ---- what the state holds ---------------------------------------------------------------------------------

TEST_P(ActorDeviceTest, HeldArgumentsOutliveTheirRefs)
{
    ad_sum_t a;
    {
        MANTA_SCOPE();
        a = ad_sum_create(MANTA_ACTOR_OPTIONS(.device = manta_gpu(0)), ones(5000, 3));
        a.actor = manta_actor_keep(a.actor);
    }
    MANTA_SCOPE();
    for (int i = 0; i < 10; i++) { // would take their memory if that were free
        ASSERT_OK(ad_sum_read_go(a, 5000));
        ASSERT_OK(ad_sum_add_go(a, 1));
    }
    EXPECT_EQ(30, value_of<int64_t>(peek(a)));
    manta::ref<int64_t> x = ones(9000, 7);
    for (manta_ref_t done :
         {(manta_ref_t)ad_sum_holds(a, x), (manta_ref_t)ad_hold_outside_remote(x)}) {
        ASSERT_OK(manta_wait(&done, 1, 1, MANTA_FOREVER, nullptr, nullptr));
        EXPECT_OK(manta_ref_status(done));
    }
    ASSERT_OK(ad_sum_destroy(a));
}

TEST_P(ActorDeviceTest, TheShareBoundsWhatTheStateHolds)
{
    MANTA_SCOPE();
    ad_sum_t a =
        ad_sum_create(MANTA_ACTOR_OPTIONS(.device = manta_gpu(0), .gpu_bytes = 1000), ones(100));
    manta_ref_t fits = ad_sum_more(a, 200), too_much = ad_sum_more(a, 1);
    ASSERT_OK(manta_wait(&fits, 1, 1, MANTA_FOREVER, nullptr, nullptr));
    EXPECT_OK(manta_ref_status(fits));
    ASSERT_OK(manta_wait(&too_much, 1, 1, MANTA_FOREVER, nullptr, nullptr));
    EXPECT_STATUS(MANTA_ERR_OUT_OF_MEMORY, manta_ref_status(too_much));
    EXPECT_NE(std::string::npos, printed_error(too_much).find("1000 of its 1000"))
        << printed_error(too_much);
    ASSERT_OK(ad_sum_add_go(a, 1));
    EXPECT_EQ(1, value_of<int64_t>(peek(a)));
}

// ---- life ----------------------------------------------------------------------------------------------------

TEST_P(ActorDeviceTest, AFatalMethodRestartsItWithItsArguments)
{
    MANTA_SCOPE();
    ad_sum_t a = ad_sum_create(
        MANTA_ACTOR_OPTIONS(.max_restarts = 1, .max_task_retries = 1, .device = manta_gpu(0)),
        ones(10, 2));
    ASSERT_OK(ad_sum_add_go(a, 1));
    EXPECT_EQ(2, value_of<int64_t>(peek(a)));
    manta_ref_t own = ad_sum_break(a, MANTA_ERR_USER + 1); // this call's alone
    ASSERT_OK(manta_wait(&own, 1, 1, MANTA_FOREVER, nullptr, nullptr));
    EXPECT_STATUS(MANTA_ERR_USER + 1, manta_ref_status(own));
    EXPECT_EQ(2, value_of<int64_t>(peek(a)));
    manta_ref_t fatal = ad_sum_break(a, MANTA_ACTOR_FATAL); // again after the restart: the end
    ASSERT_OK(manta_wait(&fatal, 1, 1, MANTA_FOREVER, nullptr, nullptr));
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, manta_ref_status(fatal));
    EXPECT_EQ(2, g_constructed);
    EXPECT_NE(std::string::npos, printed_error(fatal).find("broken")) << printed_error(fatal);
}

TEST_P(ActorDeviceTest, KillAndCancelWithCallsUnderWay)
{
    for (int round = 0; round < 20; round++) {
        MANTA_SCOPE();
        ad_sum_t a = ad_sum_create(MANTA_ACTOR_OPTIONS(.device = MANTA_GPU), ones(100));
        std::vector<manta_ref_t> refs;
        for (int i = 0; i < 40; i++) {
            refs.push_back(i % 5 == 4 ? (manta_ref_t)peek(a) : (manta_ref_t)ad_sum_read(a, 100));
            if (i % 7 == 3) {
                EXPECT_OK(manta_cancel(refs[(size_t)i - 2]));
            }
            if (i == 30 && round % 2) {
                EXPECT_OK(manta_actor_kill(a.actor, false));
            }
        }
        for (manta_ref_t ref : refs) {
            ASSERT_OK(manta_wait(&ref, 1, 1, MANTA_FOREVER, nullptr, nullptr));
            manta_status_t status = manta_ref_status(ref);
            EXPECT_TRUE(status == MANTA_OK || status == MANTA_ERR_CANCELLED ||
                        (status == MANTA_ERR_ACTOR_DIED && round % 2))
                << status;
        }
    }
}

TEST_P(ActorDeviceTest, ALostDeviceKillsItOrSendsItElsewhere)
{
    if (!has_fake_cuda()) GTEST_SKIP() << "fault/actor_device_test loses virtual ones";
    MANTA_SCOPE();
    enum { ILLEGAL_ADDRESS = 700 };
    manta::ref<int64_t> w = ones(10, 2);
    ad_sum_t fixed = ad_sum_create(
        MANTA_ACTOR_OPTIONS(.max_restarts = 2, .max_task_retries = 2, .device = manta_gpu(0)), w);
    manta_ref_t end = manta_actor_watch(fixed.actor);
    EXPECT_EQ(0, value_of<int64_t>(peek(fixed)));
    ad_sum_t any = ad_sum_create(MANTA_ACTOR_OPTIONS(.max_restarts = 2, .device = MANTA_GPU), w);
    EXPECT_EQ(0, value_of<int64_t>(peek(any)));
    ASSERT_EQ(gpus() > 1 ? 1 : 0, info_of(any).device);
    fake_cuda()->lose_at_launch(0, 1, ILLEGAL_ADDRESS);
    std::vector<manta_ref_t> refs;
    for (int i = 0; i < 5; i++)
        refs.push_back(ad_sum_add(fixed, 1));
    for (manta_ref_t ref : refs) {
        ASSERT_OK(manta_wait(&ref, 1, 1, MANTA_FOREVER, nullptr, nullptr));
        EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, manta_ref_status(ref));
        if (ref.id >> 63) continue; // made when it was known already: the message was that call's
        EXPECT_NE(std::string::npos, printed_error(ref).find("DEVICE_LOST")) << printed_error(ref);
    }
    EXPECT_EQ(0u, refs[0].id >> 63);
    ASSERT_OK(manta_wait(&end, 1, 1, MANTA_FOREVER, nullptr, nullptr));
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, manta_ref_status(end));
    EXPECT_NE(std::string::npos, printed_error(end).find("DEVICE_LOST")) << printed_error(end);
    if (gpus() == 1) {
        ASSERT_OK(manta_drain(MANTA_FOREVER));
        EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, manta_actor_status(any.actor));
        EXPECT_NE(nullptr, strstr(manta_error_message(), "no device is left"))
            << manta_error_message();
        EXPECT_EQ(2, g_constructed);
        return;
    }
    fake_cuda()->lose_at_launch(1, 1, ILLEGAL_ADDRESS);
    manta_ref_t lost = ad_sum_add(any, 1);
    ASSERT_OK(manta_wait(&lost, 1, 1, MANTA_FOREVER, nullptr, nullptr));
    EXPECT_STATUS(MANTA_ERR_ACTOR_RESTARTING, manta_ref_status(lost));
    ASSERT_OK(manta_drain(MANTA_FOREVER));
    EXPECT_EQ(gpus() > 2 ? 3 : 2, g_constructed);
    EXPECT_STATUS(gpus() > 2 ? MANTA_OK : MANTA_ERR_ACTOR_DIED, manta_actor_status(any.actor));
    if (gpus() > 2) {
        ASSERT_OK(ad_sum_add_go(any, 5));
        EXPECT_EQ(10, value_of<int64_t>(peek(any)));
        EXPECT_EQ(2, info_of(any).device);
    }
}

TEST_P(ActorDeviceTest, WhatCantBeIsRefused)
{
    MANTA_SCOPE();
    manta::ref<int64_t> w = ones(10);
    const manta_actor_group_t group = {"io", 2};
    struct {
        manta_actor_options_t options;
        manta_status_t code;
        const char *says;
    } const cases[] = {
        {MANTA_ACTOR_OPTIONS(.device = manta_gpu(99)), MANTA_ERR_INFEASIBLE, "GPU 99"},
        {MANTA_ACTOR_OPTIONS(.max_concurrency = 2, .device = MANTA_GPU), MANTA_ERR_NOT_SUPPORTED,
         "several methods"},
        {MANTA_ACTOR_OPTIONS(.groups = &group, .group_count = 1, .device = MANTA_GPU),
         MANTA_ERR_NOT_SUPPORTED, "several methods"},
        {MANTA_ACTOR_OPTIONS(.own_queue = true), MANTA_ERR_INVALID_ARGUMENT, "without a device"},
        {MANTA_ACTOR_OPTIONS(.device = MANTA_GPU, .max_device_calls = 1 << 20),
         MANTA_ERR_INVALID_ARGUMENT, "max_device_calls"},
    };
    for (const auto &at : cases) {
        ad_sum_t a = ad_sum_create(at.options, w);
        EXPECT_STATUS(at.code, manta_actor_status(a.actor));
        EXPECT_NE(nullptr, strstr(manta_error_message(), at.says)) << manta_error_message();
    }
    ad_sum_t host = ad_sum_new(w);
    EXPECT_EQ(-1, info_of(host).device);
    manta_ref_t r = ad_sum_add(host, 1);
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE, manta_ref_status(r));
    EXPECT_NE(nullptr, strstr(manta_error_message(), "only a CUDA body")) << manta_error_message();
    EXPECT_EQ(0, value_of<int64_t>(ad_sum_steps(host)));
}
