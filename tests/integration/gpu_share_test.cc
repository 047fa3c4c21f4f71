// Shares of GPUs (.gpus): who holds which at a time, what is refused, and that nothing gets lost. On virtual GPUs, and
// a second time (MANTA_CUDA_LIBRARY) on the CUDA driver over the fake library, which can lose a device.
#include "fakes/fake_kernels.h"
#include "support/runtime_fixture.h"

#include <bitset>
#include <cmath>
#include <mutex>
#include <thread>

using namespace manta_testing;

struct Usage {
    Gate gate;
    std::atomic<int> ran{0};
    std::mutex lock;
    double in_use[8] = {}, most[8] = {}; // guarded by lock; of each GPU
    std::vector<uint64_t> held;          // guarded by lock; what each task had

    void enter(uint64_t gpus, double share)
    {
        std::lock_guard<std::mutex> hold(lock);
        held.push_back(gpus);
        for (int i = 0; i < 8; i++) {
            if (!(gpus >> i & 1)) continue;
            in_use[i] += share;
            most[i] = std::max(most[i], in_use[i]);
        }
    }
    void leave(uint64_t gpus, double share)
    {
        std::lock_guard<std::mutex> hold(lock);
        for (int i = 0; i < 8; i++)
            if (gpus >> i & 1) in_use[i] -= share;
    }
    uint64_t all()
    {
        std::lock_guard<std::mutex> hold(lock);
        uint64_t gpus = 0;
        for (uint64_t one : held)
            gpus |= one;
        return gpus;
    }
};

enum Mode { kPlain, kFails, kHolds, kWaits };

MANTA_TASK(gs_use, MANTA_LOCAL(Usage *, u), MANTA_VAL(double, share), MANTA_VAL(int, mode),
           MANTA_OUT(uint64_t, gpus, 1))
{
    gpus[0] = manta_task_gpus(task);
    u->enter(gpus[0], share);
    for (int i = 0; i < 50; i++)
        std::this_thread::yield();
    if (mode == kHolds) {
        u->gate.arrive();
        u->gate.pass();
    }
    manta_status_t status = MANTA_OK;
    if (mode == kWaits) {
        uint64_t theirs = 0;
        manta_task_options_t same = MANTA_OPTIONS(.gpus = share);
        manta_ref_t child = gs_use_with(same, u, share, kPlain);
        u->leave(gpus[0], share); // lent while it waits
        status = manta_read(child, &theirs, sizeof theirs, MANTA_FOREVER);
        u->enter(gpus[0], share);
        (void)manta_release(child);
    }
    u->leave(gpus[0], share);
    u->ran++;
    return mode == kFails ? manta_fail(task, MANTA_ERR_USER, "as told") : status;
}

// A body on a device: its kernel counts how many run at a time.
static std::atomic<int> running, most_running, kernels;
MANTA_KERNEL(gs_kernel, uint64_t, uint64_t *);
static void gs_twin(const manta_grid_t *, void *const *args)
{
    int now = running.fetch_add(1) + 1, most = most_running.load();
    while (now > most && !most_running.compare_exchange_weak(most, now)) {
    }
    for (int i = 0; i < 50; i++)
        std::this_thread::yield();
    **static_cast<uint64_t **>(args[1]) = *static_cast<uint64_t *>(args[0]);
    kernels++;
    running--;
}
MANTA_KERNEL_TWIN(gs_kernel, gs_twin);
static const FakeCode fake_code("gpu_share_test.fatbin",
                                {{&gs_kernel_kernel,
                                  gs_twin,
                                  {0, FAKE_CUDA_WRITE},
                                  [](uint32_t, const fake_cuda_shape_t *, void *const *) {
                                      return sizeof(uint64_t);
                                  }}});

#define gs_device_PARAMS MANTA_OUT(uint64_t, gpus, 1)
MANTA_TASK_DECLARE(gs_device);
MANTA_CUDA(gs_device)
{
    uint64_t held = manta_task_gpus(task);
    if (held != 0 && held != uint64_t{1} << manta_task_device(task)) {
        return manta_fail(task, MANTA_ERR_USER, "it runs on another GPU than it holds");
    }
    return MANTA_LAUNCH(gs_kernel, manta_grid_1d(1, 1), held, gpus.data);
}

struct Machine {
    int workers, gpus;
    bool is_virtual;
};

class GpuShareTest : public ::testing::TestWithParam<Machine>
{
  protected:
    void SetUp() override { start(GetParam().gpus); }
    void start(int gpus)
    {
        if (has_fake_cuda()) {
            fake_cuda_options_t fake = {};
            fake.devices = static_cast<uint32_t>(gpus > 0 ? gpus : 1);
            fake_cuda()->reset(&fake);
        }
        manta_runtime_options_t options;
        manta_runtime_options_init(&options);
        options.workers = GetParam().workers;
        options.sim_gpus = has_fake_cuda() ? -1 : gpus;
        options.sim_virtual_clock = GetParam().is_virtual;
        options.no_cuda = !has_fake_cuda() || gpus < 0;
        options.log = Log::write;
        options.log_user = &log_;
        ASSERT_OK(manta_init(&options));
    }
    void TearDown() override
    {
        EXPECT_EQ(0u, stats_of(manta_runtime_default()).live_refs)
            << printed_refs(manta_runtime_default());
        EXPECT_OK(manta_shutdown(MANTA_S(60)));
        if (has_fake_cuda()) {
            EXPECT_EQ(std::vector<std::string>(), fake_violations());
            if (!fake_cuda()->has_lost()) {
                EXPECT_EQ(std::vector<std::string>(), fake_leaks());
            }
        }
        EXPECT_TRUE(log_.take().empty());
    }
    int gpus() const { return GetParam().gpus; }
    bool is_serial() const { return GetParam().workers == 0; }
    // Everything is free again: a task gets all GPUs as a whole.
    void expect_all_free()
    {
        MANTA_SCOPE();
        Usage u;
        uint64_t all = (uint64_t{1} << gpus()) - 1;
        EXPECT_EQ(all, value_of<uint64_t>(gs_use_with(
                           MANTA_OPTIONS(.where = MANTA_CPU, .gpus = static_cast<double>(gpus())),
                           &u, 1, kPlain)));
    }

    Log log_;
};

static std::vector<Machine> machines()
{
    if (has_fake_cuda()) return {{0, 1, false}, {2, 2, false}, {2, 3, false}};
    return {{0, 1, true}, {0, 3, false}, {1, 1, false}, {2, 1, false}, {2, 3, false}, {2, 2, true}};
}
INSTANTIATE_TEST_SUITE_P(Machines, GpuShareTest, ::testing::ValuesIn(machines()),
                         [](const ::testing::TestParamInfo<Machine> &at) {
                             return std::to_string(at.param.workers) + "workers" +
                                    std::to_string(at.param.gpus) + "gpus" +
                                    (at.param.is_virtual ? "virtual" : "");
                         });

TEST_P(GpuShareTest, SharesOfADeviceAddUpToOneAtMost)
{
    MANTA_SCOPE();
    for (double share : {0.25, 0.4, 0.5, 1.0}) {
        Usage u;
        manta_task_options_t options = MANTA_OPTIONS(.cpus = MANTA_NONE, .gpus = share);
        for (int i = 0; i < 40; i++)
            EXPECT_OK(gs_use_go_with(options, &u, share, i % 4 == 0 ? kFails : kPlain));
        EXPECT_OK(manta_drain(MANTA_FOREVER));
        EXPECT_EQ(40, u.ran.load());
        for (double most : u.most)
            EXPECT_LE(most, 1.0 + 1e-9) << share;
        for (uint64_t held : u.held)
            EXPECT_EQ(1u, std::bitset<64>(held).count());
        expect_all_free();
    }
}

TEST_P(GpuShareTest, TheDeviceThatIsNamedIsTheOne)
{
    MANTA_SCOPE();
    Usage u;
    for (int i = 0; i < gpus(); i++) {
        // A CPU body can't be told which, a body on a device can.
        manta::ref<uint64_t> held =
            gs_device_with(MANTA_OPTIONS(.where = manta_gpu(i), .gpus = 0.5));
        EXPECT_EQ(uint64_t{1} << i, value_of<uint64_t>(held));
    }
    expect_all_free();
}

// Those that fit on a device that is partly taken go there.
TEST_P(GpuShareTest, SharesArePackedSoThatWholeDevicesStayWhole)
{
    if (is_serial()) GTEST_SKIP() << "bodies run one after the other";
    MANTA_SCOPE();
    Usage u;
    std::vector<manta_ref_t> refs;
    for (int i = 0; i < 3; i++) {
        refs.push_back(
            gs_use_with(MANTA_OPTIONS(.cpus = MANTA_NONE, .gpus = 0.3), &u, 0.3, kHolds));
        u.gate.await(i + 1);
    }
    EXPECT_EQ(1u, std::bitset<64>(u.all()).count());
    if (gpus() > 1) {
        double rest = gpus() - 1;
        uint64_t others = value_of<uint64_t>(gs_use_with(
            MANTA_OPTIONS(.where = MANTA_CPU, .cpus = MANTA_NONE, .gpus = rest), &u, 1.0, kPlain));
        EXPECT_EQ(static_cast<size_t>(gpus() - 1), std::bitset<64>(others).count());
        EXPECT_EQ(0u, others & value_of<uint64_t>(gs_device_with(MANTA_OPTIONS(.gpus = 0.1))));
    }
    u.gate.open();
    for (manta_ref_t ref : refs)
        EXPECT_EQ(1u, std::bitset<64>(value_of<uint64_t>(ref)).count());
    expect_all_free();
}

TEST_P(GpuShareTest, BodiesOnDevicesHoldWhatTheyRunOn)
{
    MANTA_SCOPE();
    running = most_running = kernels = 0;
    std::vector<manta::ref<uint64_t>> refs;
    for (int i = 0; i < 60; i++)
        refs.push_back(gs_device_with(MANTA_OPTIONS(.gpus = 1.0)));
    for (manta::ref<uint64_t> &ref : refs)
        EXPECT_EQ(1u, std::bitset<64>(value_of<uint64_t>(ref)).count());
    EXPECT_EQ(60, kernels.load());
    EXPECT_LE(most_running.load(), gpus());
    expect_all_free();
}

TEST_P(GpuShareTest, CancelAndDeadlineGiveBackExactly)
{
    if (is_serial()) GTEST_SKIP() << "bodies run one after the other";
    MANTA_SCOPE();
    Usage holds, u;
    double all = gpus();
    manta_ref_t hold = gs_use_with(
        MANTA_OPTIONS(.where = MANTA_CPU, .cpus = MANTA_NONE, .gpus = all), &holds, 1, kHolds);
    holds.gate.await(1);
    std::vector<manta_ref_t> waiting;
    for (int i = 0; i < 30; i++) {
        manta_task_options_t options = MANTA_OPTIONS(.cpus = MANTA_NONE, .gpus = 0.5);
        if (i % 3 == 1) options.deadline_ns = MANTA_MS(1);
        waiting.push_back(i % 2 ? gs_use_with(options, &u, 0.5, kPlain) : gs_device_with(options));
    }
    for (int i = 0; i < 30; i += 3)
        EXPECT_OK(manta_cancel(waiting[static_cast<size_t>(i)]));
    for (int i = 0; i < 30; i++) {
        manta_status_t want = i % 3 == 0   ? MANTA_ERR_CANCELLED
                              : i % 3 == 1 ? MANTA_ERR_DEADLINE
                                           : MANTA_OK;
        if (want == MANTA_OK) continue;
        manta_view_t view;
        EXPECT_STATUS(want, manta_get(waiting[static_cast<size_t>(i)], &view, MANTA_FOREVER));
    }
    EXPECT_OK(manta_cancel(hold)); // runs on: what it holds it keeps till it returns
    EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(waiting[2]));
    holds.gate.open();
    for (size_t i = 2; i < 30; i += 3)
        EXPECT_NE(0u, value_of<uint64_t>(waiting[i]));
    expect_all_free();
}

TEST_P(GpuShareTest, AWaitLendsTheShare)
{
    MANTA_SCOPE();
    Usage u;
    for (int i = 0; i < 10; i++) {
        manta_ref_t ref = gs_use_with(MANTA_OPTIONS(.gpus = 1.0), &u, 1.0, kWaits);
        EXPECT_NE(0u, value_of<uint64_t>(ref));
    }
    for (double most : u.most)
        EXPECT_LE(most, 1.0);
    expect_all_free();
}

TEST_P(GpuShareTest, AnotherAttemptAsksAnew)
{
    MANTA_SCOPE();
    Usage u;
    manta_ref_t ref = gs_use_with(MANTA_OPTIONS(.gpus = 0.75, .max_retries = 3), &u, 0.75, kFails);
    manta_view_t view;
    EXPECT_STATUS(MANTA_ERR_USER, manta_get(ref, &view, MANTA_FOREVER));
    EXPECT_EQ(4, u.ran.load());
    expect_all_free();
}

TEST_P(GpuShareTest, WhatCanNeverBeIsRefused)
{
    MANTA_SCOPE();
    Usage u;
    double more = gpus() + 1;
    struct {
        manta_task_options_t options;
        manta_status_t code;
        const char *says;
    } const cases[] = {
        {MANTA_OPTIONS(.where = MANTA_CPU, .gpus = more), MANTA_ERR_INFEASIBLE,
         "this machine offers"},
        {MANTA_OPTIONS(.gpus = std::nan("")), MANTA_ERR_INVALID_ARGUMENT, "gpus"},
        {MANTA_OPTIONS(.gpus = -0.5), MANTA_ERR_INVALID_ARGUMENT, "gpus"},
        {MANTA_OPTIONS(.where = manta_gpu(50), .gpus = 0.5), MANTA_ERR_INFEASIBLE, "GPU 50"},
        {MANTA_OPTIONS(.where = manta_gpu(0), .gpus = 2.0), MANTA_ERR_INFEASIBLE, "2 GPUs"},
    };
    for (const auto &at : cases) {
        EXPECT_STATUS(at.code, manta_ref_status(gs_use_with(at.options, &u, 1, kPlain)));
        EXPECT_NE(nullptr, strstr(manta_error_message(), at.says)) << manta_error_message();
        EXPECT_NE(nullptr, strstr(manta_error_message(), "gs_use")) << manta_error_message();
    }
    if (gpus() > 1) {
        EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT,
                      manta_ref_status(gs_use_with(MANTA_OPTIONS(.where = MANTA_CPU, .gpus = 1.5),
                                                   &u, 1, kPlain)));
        EXPECT_STATUS(MANTA_ERR_INFEASIBLE,
                      manta_ref_status(gs_device_with(MANTA_OPTIONS(.gpus = 2.0))));
        EXPECT_NE(nullptr, strstr(manta_error_message(), "to run on one"));
    }
    EXPECT_EQ(0, u.ran.load());
    expect_all_free();
}

// The first sixteen have shares and bytes to be admitted by; the others run what asks for neither.
TEST_P(GpuShareTest, BeyondTheSixteenthGpuSharesAreRefused)
{
    if (gpus() != 3) GTEST_SKIP() << "once is enough";
    ASSERT_OK(manta_shutdown(MANTA_S(60)));
    start(18);
    {
        MANTA_SCOPE();
        Usage u;
        struct {
            manta_task_options_t options;
            manta_status_t code;
            const char *says;
        } const cases[] = {
            {MANTA_OPTIONS(.where = manta_gpu(16), .gpus = 0.5), MANTA_ERR_NOT_SUPPORTED, "GPU 16"},
            {MANTA_OPTIONS(.where = MANTA_CPU, .gpus = 17.0), MANTA_ERR_NOT_SUPPORTED,
             "first 16 of 18"},
            {MANTA_OPTIONS(.where = manta_gpu(18), .gpus = 0.5), MANTA_ERR_INFEASIBLE, "GPU 18"},
            {MANTA_OPTIONS(.where = MANTA_CPU, .gpus = 19.0), MANTA_ERR_INFEASIBLE, "19 GPUs"},
        };
        for (const auto &at : cases) {
            EXPECT_STATUS(at.code, manta_ref_status(gs_use_with(at.options, &u, 1, kPlain)));
            EXPECT_NE(nullptr, strstr(manta_error_message(), at.says)) << manta_error_message();
            EXPECT_NE(nullptr, strstr(manta_error_message(), "gs_use")) << manta_error_message();
        }
        manta_task_options_t bytes = MANTA_OPTIONS(.where = manta_gpu(17));
        bytes.gpu_bytes = 1000;
        EXPECT_STATUS(MANTA_ERR_NOT_SUPPORTED, manta_ref_status(gs_device_with(bytes)));
        EXPECT_NE(nullptr, strstr(manta_error_message(), "GPU 17")) << manta_error_message();
        EXPECT_EQ(0, u.ran.load());
        EXPECT_EQ(0u, value_of<uint64_t>(gs_device_with(MANTA_OPTIONS(.where = manta_gpu(17)))));
    }
    ASSERT_OK(manta_shutdown(MANTA_S(60)));
    start(gpus());
}

TEST_P(GpuShareTest, WithoutAGpuAShareIsRefused)
{
    ASSERT_OK(manta_shutdown(MANTA_S(60)));
    start(-1);
    MANTA_SCOPE();
    Usage u;
    EXPECT_STATUS(MANTA_ERR_INFEASIBLE,
                  manta_ref_status(gs_use_with(MANTA_OPTIONS(.gpus = 0.5), &u, 1, kPlain)));
    EXPECT_NE(nullptr, strstr(manta_error_message(), "offers 0"));
}

TEST_P(GpuShareTest, ALostDeviceIsNotGivenOutAnyMore)
{
    if (!has_fake_cuda()) GTEST_SKIP() << "only the fake driver can be told to lose a device";
    if (is_serial()) GTEST_SKIP() << "bodies run one after the other";
    MANTA_SCOPE();
    Usage holds, u;
    double all = gpus();
    manta_ref_t hold = gs_use_with(
        MANTA_OPTIONS(.where = MANTA_CPU, .cpus = MANTA_NONE, .gpus = 1.0), &holds, 1, kHolds);
    holds.gate.await(1);
    manta_ref_t every = gs_use_with(MANTA_OPTIONS(.where = MANTA_CPU, .gpus = all), &u, 1, kPlain);
    enum { ILLEGAL_ADDRESS = 700 };
    fake_cuda()->lose_at_launch(0, 1, ILLEGAL_ADDRESS);
    manta_view_t view;
    EXPECT_STATUS(
        MANTA_ERR_DEVICE_LOST,
        manta_get(gs_device_with(MANTA_OPTIONS(.where = manta_gpu(0))), &view, MANTA_FOREVER));
    // It waited for more than is left now.
    EXPECT_STATUS(MANTA_ERR_RESOURCE_GONE, manta_get(every, &view, MANTA_FOREVER));
    EXPECT_STATUS(MANTA_ERR_RESOURCE_GONE,
                  manta_ref_status(
                      gs_use_with(MANTA_OPTIONS(.where = MANTA_CPU, .gpus = all), &u, 1, kPlain)));
    holds.gate.open();
    EXPECT_NE(0u, value_of<uint64_t>(hold));
    for (int i = 0; i < 10; i++) {
        uint64_t held =
            value_of<uint64_t>(gs_use_with(MANTA_OPTIONS(.gpus = 0.5), &u, 0.5, kPlain));
        EXPECT_EQ(0u, held & 1);
        EXPECT_NE(0u, held);
        EXPECT_NE(1u, value_of<uint64_t>(gs_device_with(MANTA_OPTIONS(.gpus = 1.0))));
    }
}

// ---- shares that actors hold ------------------------------------------------------------------------------

struct Tenant {
    Usage *u;
    double share;
    uint64_t gpus;
};
MANTA_ACTOR(gs_tenant, Tenant, MANTA_LOCAL(Usage *, u), MANTA_VAL(double, share))
{
    *self = {u, share, manta_task_gpus(task)};
    u->enter(self->gpus, share);
    return MANTA_OK;
}
MANTA_ACTOR_END(gs_tenant)
{
    self->u->leave(self->gpus, self->share);
}
MANTA_METHOD(gs_tenant, gpus, MANTA_OUT(uint64_t, gpus, 1))
{
    gpus[0] = manta_task_gpus(task);
    return gpus[0] == self->gpus ? MANTA_OK : MANTA_ERR_USER;
}
MANTA_METHOD(gs_tenant, fatal)
{
    (void)self;
    return MANTA_ACTOR_FATAL;
}

static gs_tenant_t tenant(Usage *u, double share, manta_actor_options_t options = {})
{
    options.struct_size = sizeof options;
    options.gpus = share;
    return gs_tenant_create(options, u, share);
}

static void wait_for(manta_ref_t ref)
{
    EXPECT_OK(manta_wait(&ref, 1, 1, MANTA_FOREVER, nullptr, nullptr));
}

TEST_P(GpuShareTest, ActorsHoldTheirsUntilTheyEnd)
{
    Usage u;
    {
        MANTA_SCOPE();
        std::vector<gs_tenant_t> first;
        for (int i = 0; i < gpus(); i++)
            first.push_back(tenant(&u, 1.0));
        uint64_t all = 0;
        for (gs_tenant_t a : first) {
            uint64_t one = value_of<uint64_t>(gs_tenant_gpus(a));
            EXPECT_EQ(0u, all & one);
            all |= one;
        }
        EXPECT_EQ((uint64_t{1} << gpus()) - 1, all);
        gs_tenant_t late = tenant(&u, 0.5);
        manta_ref_t call = gs_tenant_gpus(late);
        EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(call));
        manta_ref_t end = manta_actor_watch(first[0].actor);
        uint64_t there = value_of<uint64_t>(gs_tenant_gpus(first[0]));
        EXPECT_OK(manta_actor_kill(first[0].actor, false));
        wait_for(end);
        EXPECT_EQ(there, value_of<uint64_t>(call));
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    for (double most : u.most)
        EXPECT_LE(most, 1.0);
    expect_all_free();
}

TEST_P(GpuShareTest, ActorsKeepTheirsOverRestarts)
{
    Usage u;
    {
        MANTA_SCOPE();
        gs_tenant_t a =
            tenant(&u, 1.0, MANTA_ACTOR_OPTIONS(.max_restarts = 3, .max_task_retries = 1));
        uint64_t there = value_of<uint64_t>(gs_tenant_gpus(a));
        manta_ref_t waits =
            gs_use_with(MANTA_OPTIONS(.where = MANTA_CPU, .gpus = (double)gpus()), &u, 1, kPlain);
        wait_for(gs_tenant_fatal(a)); // twice
        EXPECT_EQ(there, value_of<uint64_t>(gs_tenant_gpus(a)));
        EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(waits));
        EXPECT_OK(gs_tenant_destroy(a));
        wait_for(waits);
        EXPECT_OK(manta_ref_status(waits));
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    expect_all_free();
}

TEST_P(GpuShareTest, ActorsThatWaitForTheirsEndLikeOthers)
{
    Usage u;
    {
        MANTA_SCOPE();
        double all = gpus();
        gs_tenant_t a = tenant(&u, all), b = tenant(&u, 1.0), c = tenant(&u, 1.0);
        EXPECT_NE(0u, value_of<uint64_t>(gs_tenant_gpus(a)));
        manta_ref_t killed = gs_tenant_gpus(b), end = manta_actor_watch(b.actor);
        EXPECT_OK(manta_actor_kill(b.actor, false));
        wait_for(killed);
        EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, manta_ref_status(killed));
        wait_for(end);
        EXPECT_OK(gs_tenant_destroy(a));
        EXPECT_NE(0u, value_of<uint64_t>(gs_tenant_gpus(c)));
        EXPECT_STATUS(MANTA_ERR_INFEASIBLE, manta_actor_status(tenant(&u, all + 1).actor));
        EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, manta_actor_status(tenant(&u, -1).actor));
    }
    EXPECT_OK(manta_drain(MANTA_FOREVER));
    expect_all_free();
}
