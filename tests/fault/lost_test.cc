// What becomes of tasks and objects of a device that is lost: before a task has begun, while it is in flight, and
// after it. Whatever lives elsewhere, too, goes on there; the rest fails and says why.
#include "fault/device_reach.h"
#include "fault/fault.h"

using namespace fault;

MANTA_TASK(fl_add, MANTA_VAL(int, a), MANTA_IN(int, x), MANTA_OUT(int, y, x.count))
{
    for (size_t i = 0; i < x.count; i++)
        y[i] = x[i] + a;
    return MANTA_OK;
}

MANTA_KERNEL(fl_either_kernel, int, const int *, int *, size_t);
static void fl_either_twin(const manta_grid_t *, void *const *args)
{
    const int *x = *static_cast<const int **>(args[1]);
    for (size_t i = 0; i < *static_cast<size_t *>(args[3]); i++)
        (*static_cast<int **>(args[2]))[i] = x[i] + *static_cast<int *>(args[0]);
}
MANTA_KERNEL_TWIN(fl_either_kernel, fl_either_twin);

// On a device, or from a CPU body.
#define fl_either_PARAMS MANTA_VAL(int, a), MANTA_IN(int, x), MANTA_OUT(int, y, x.count)
MANTA_TASK_DECLARE(fl_either);
static std::atomic<int> g_on_cpu;
MANTA_TASK(fl_either)
{
    g_on_cpu++;
    for (size_t i = 0; i < x.count; i++)
        y[i] = x[i] + a;
    return MANTA_OK;
}
MANTA_CUDA(fl_either)
{
    return MANTA_LAUNCH(fl_either_kernel, manta_grid_1d(y.count, 64), a, x.data, y.data, y.count);
}

MANTA_TASK(fl_inc, MANTA_INOUT(int, x))
{
    for (size_t i = 0; i < x.count; i++)
        x[i]++;
    return MANTA_OK;
}

namespace
{

enum { N = 100 };

// Where the operand is besides GPU 0.
enum class Elsewhere { kHost, kPeer, kNowhere };

struct Setup {
    int workers;
    bool virtual_clock;
};

class LostTest : public ::testing::TestWithParam<Setup>
{
  protected:
    void SetUp() override { start(); }
    void start(int gpus = 2)
    {
        manta_runtime_options_t options = small_options(GetParam().workers, &allocator_, &log_);
        options.sim_gpus = gpus;
        options.sim_virtual_clock = GetParam().virtual_clock;
        ASSERT_OK(manta_init(&options));
        watchdog_name_runtime(manta_runtime_default());
        for (int i = 0; i < gpus; i++) { // the first task opens the device
            manta::ref<int> x = operand(Elsewhere::kHost);
            expect(2, fl_add_with(on(manta_gpu(i)), 1, x));
            drop(x);
        }
        ASSERT_OK(manta_drain(MANTA_S(60)));
    }
    void TearDown() override
    {
        expect_empty({0});
        EXPECT_OK(manta_shutdown(MANTA_S(60)));
        EXPECT_EQ(0, allocator_.bytes());
        log_.take();
    }
    static manta_task_options_t on(manta_where_t where, int32_t retries = 0)
    {
        manta_task_options_t options = MANTA_OPTIONS(.where = where);
        options.max_retries = retries;
        return options;
    }
    // Ones, which GPU 0 has.
    static manta::ref<int> operand(Elsewhere elsewhere)
    {
        std::vector<int> ones(N, elsewhere == Elsewhere::kHost ? 1 : 0);
        manta::ref<int> x = manta_put(ones.data(), ones.size() * sizeof(int));
        if (elsewhere == Elsewhere::kHost) return x;
        manta::ref<int> made = fl_add_with(on(manta_gpu(0)), 1, x);
        drop(x);
        wait(made);
        if (elsewhere == Elsewhere::kPeer) expect(1, fl_add_with(on(manta_gpu(1)), 0, made));
        bool host;
        uint64_t gpus;
        EXPECT_OK(manta_where(made, &host, &gpus));
        EXPECT_FALSE(host);
        EXPECT_EQ(elsewhere == Elsewhere::kPeer ? 3u : 1u, gpus);
        return made;
    }
    static void wait(manta_ref_t ref)
    {
        EXPECT_OK(manta_wait(&ref, 1, 1, MANTA_FOREVER, nullptr, nullptr));
    }
    static void expect(int value, manta_ref_t ref)
    {
        manta_view_t view = {};
        EXPECT_OK(manta_get(ref, &view, MANTA_FOREVER)) << printed_error(ref);
        if (view.data) {
            EXPECT_EQ(value, static_cast<const int *>(view.data)[0]);
        }
        manta_view_release(&view);
        drop(ref);
    }
    static void expect_lost(manta_ref_t ref)
    {
        manta_view_t view = {};
        EXPECT_STATUS(MANTA_ERR_DEVICE_LOST, manta_get(ref, &view, MANTA_FOREVER));
        drop(ref);
    }
    void needs_a_driver_thread()
    {
        if (GetParam().virtual_clock) GTEST_SKIP() << "a virtual clock goes on to its end";
        if (GetParam().workers == 0) GTEST_SKIP() << "only waits for ever place tasks";
    }
    static void await(uint32_t (*count)(int), int index, uint32_t n)
    {
        while (count(index) < n)
            std::this_thread::yield();
    }
    // What |submit| gives is in flight on GPU 0 when that is lost.
    template <class Submit> static manta::ref<int> in_flight_at_loss(const Submit &submit)
    {
        hold_queues(0, true);
        manta::ref<int> y = submit();
        await(in_flight, 0, 1);
        hold_right(0, true); // it is on its queue by then
        inject(0, Fault::kLoseNow);
        hold_right(0, false);
        return y;
    }
    // What |submit| gives was routed to GPU 0, and is not placed, when that is lost.
    template <class Submit> static manta::ref<int> waiting_at_loss(const Submit &submit)
    {
        hold_right(0, true);
        manta::ref<int> y = submit();
        await(waiting, 0, 1);
        inject(0, Fault::kLoseNow);
        hold_right(0, false);
        return y;
    }

    CountingAllocator allocator_;
    Log log_;
};
INSTANTIATE_TEST_SUITE_P(Setups, LostTest,
                         ::testing::Values(Setup{0, false}, Setup{1, false}, Setup{2, false},
                                           Setup{0, true}, Setup{2, true}),
                         [](const ::testing::TestParamInfo<Setup> &at) {
                             return std::to_string(at.param.workers) +
                                    (at.param.virtual_clock ? "Virtual" : "");
                         });

#define NEEDS_A_DRIVER_THREAD()                                                                    \
    needs_a_driver_thread();                                                                       \
    if (IsSkipped()) return

TEST_P(LostTest, WhatHadNotBegunRunsElsewhere)
{
    NEEDS_A_DRIVER_THREAD();
    for (manta_where_t where : {MANTA_GPU, MANTA_ANY}) {
        for (Elsewhere elsewhere : {Elsewhere::kHost, Elsewhere::kPeer}) {
            SCOPED_TRACE(std::to_string((int)where) + ", " + std::to_string((int)elsewhere));
            manta::ref<int> x = operand(elsewhere);
            if (elsewhere == Elsewhere::kHost) expect(2, fl_add_with(on(manta_gpu(0)), 1, x));
            expect(42, waiting_at_loss([&] { return fl_either_with(on(where), 41, x); }));
            drop(x);
            TearDown();
            start();
        }
    }
}

TEST_P(LostTest, WhatHadNotBegunFailsIfItsOperandIsLost)
{
    NEEDS_A_DRIVER_THREAD();
    manta::ref<int> x = operand(Elsewhere::kNowhere);
    expect_lost(waiting_at_loss([&] { return fl_add_with(on(MANTA_GPU), 41, x); }));
    expect_lost(x);
}

TEST_P(LostTest, WhatIsInFlightFails)
{
    NEEDS_A_DRIVER_THREAD();
    manta::ref<int> x = operand(Elsewhere::kHost);
    manta::ref<int> y = in_flight_at_loss([&] { return fl_add_with(on(manta_gpu(0)), 41, x); });
    wait(y);
    EXPECT_STATUS(MANTA_ERR_DEVICE_LOST, manta_ref_status(y));
    EXPECT_NE(std::string::npos, printed_error(y).find("sim:0")) << printed_error(y);
    drop(y);
    drop(x);
}

TEST_P(LostTest, WhatIsInFlightRunsElsewhereIfItHasAttemptsLeft)
{
    NEEDS_A_DRIVER_THREAD();
    for (Elsewhere elsewhere : {Elsewhere::kHost, Elsewhere::kPeer}) {
        SCOPED_TRACE((int)elsewhere);
        manta::ref<int> x = operand(elsewhere);
        expect(2, fl_add_with(on(manta_gpu(0)), 1, x));
        expect(42, in_flight_at_loss([&] { return fl_add_with(on(MANTA_GPU, 1), 41, x); }));
        expect(1, x);
        TearDown();
        start();
    }
}

// Its first attempt worked on a copy.
TEST_P(LostTest, AnUpdateInFlightIsTriedAgainOnTheOldValue)
{
    NEEDS_A_DRIVER_THREAD();
    manta::ref<int> x = operand(Elsewhere::kPeer);
    expect(2, in_flight_at_loss([&] { return fl_inc_with(on(MANTA_GPU, 1), x); }));
}

// Another attempt would be for nothing: it is not waited for.
TEST_P(LostTest, WhatCantRunElsewhereIsNotTriedAgain)
{
    NEEDS_A_DRIVER_THREAD();
    struct {
        manta_where_t where;
        Elsewhere elsewhere;
    } cases[] = {{manta_gpu(0), Elsewhere::kHost}, {MANTA_GPU, Elsewhere::kNowhere}};
    for (const auto &one : cases) {
        SCOPED_TRACE((int)one.where);
        manta::ref<int> x = operand(one.elsewhere);
        manta_task_options_t options = on(one.where, 3);
        options.backoff_ns = MANTA_S(3600);
        expect_lost(in_flight_at_loss([&] { return fl_add_with(options, 41, x); }));
        if (one.elsewhere == Elsewhere::kNowhere) {
            expect_lost(x);
        } else {
            expect(1, x);
        }
        TearDown();
        start();
    }
}

TEST_P(LostTest, OnlyWhatRetriesOnALostDeviceDoes)
{
    NEEDS_A_DRIVER_THREAD();
    manta::ref<int> x = operand(Elsewhere::kHost);
    expect(2, fl_add_with(on(manta_gpu(0)), 1, x));
    manta_task_options_t options = on(MANTA_GPU, 3);
    options.retry_on = MANTA_RETRY_USER;
    expect_lost(in_flight_at_loss([&] { return fl_add_with(options, 41, x); }));
    drop(x);
}

TEST_P(LostTest, WithoutAnotherDeviceItsCpuBodyRuns)
{
    NEEDS_A_DRIVER_THREAD();
    for (bool in_flight : {false, true}) {
        TearDown();
        start(1);
        SCOPED_TRACE(in_flight);
        manta::ref<int> x = operand(Elsewhere::kHost);
        g_on_cpu = 0;
        auto submit = [&] { return fl_either_with(on(MANTA_ANY, in_flight), 41, x); };
        expect(42, in_flight ? in_flight_at_loss(submit) : waiting_at_loss(submit));
        EXPECT_EQ(1, g_on_cpu);
        expect(42, submit());
        EXPECT_EQ(2, g_on_cpu);
        // What may run on GPUs alone, and has none left.
        manta::ref<int> y = fl_either_with(on(MANTA_GPU), 41, x);
        wait(y);
        EXPECT_STATUS(MANTA_ERR_RESOURCE_GONE, manta_ref_status(y));
        drop(y);
        drop(x);
    }
}

TEST_P(LostTest, ResultsThatAreElsewhereTooStay)
{
    manta::ref<int> nowhere = operand(Elsewhere::kNowhere), peer = operand(Elsewhere::kPeer),
                    host = operand(Elsewhere::kNowhere), both = operand(Elsewhere::kPeer);
    manta_view_t view = {};
    ASSERT_OK(manta_get(host, &view, MANTA_FOREVER));
    manta_view_release(&view);
    ASSERT_OK(manta_drain(MANTA_S(60)));
    inject(0, Fault::kLoseNow);
    expect_lost(fl_add_with(on(manta_gpu(0)), 7, host)); // by now everybody knows
    bool on_host;
    uint64_t gpus;
    EXPECT_OK(manta_where(peer, &on_host, &gpus));
    EXPECT_EQ(2u, gpus);
    expect(8, fl_add_with(on(MANTA_GPU), 7, peer)); // on the other GPU
    expect(8, fl_add_remote(7, both));              // on a CPU, from there
    expect(8, fl_add_with(on(MANTA_GPU), 7, host));
    expect_lost(fl_add_with(on(MANTA_GPU), 7, nowhere));
    expect_lost(fl_add_remote(7, nowhere));
    expect(1, peer);
    expect(1, host);
    expect(1, both);
    expect_lost(nowhere);
}

// The copy to the host has begun when its source is lost, and there is another one.
TEST_P(LostTest, AFetchGoesOnFromAnotherReplica)
{
    NEEDS_A_DRIVER_THREAD();
    manta::ref<int> x = operand(Elsewhere::kPeer), z = operand(Elsewhere::kNowhere);
    hold_queues(0, true);
    ASSERT_OK(manta_prefetch(x, MANTA_CPU));
    ASSERT_OK(manta_prefetch(z, MANTA_CPU));
    await(in_flight, 0, 2);
    hold_right(0, true);
    inject(0, Fault::kLoseNow);
    hold_right(0, false);
    expect(1, x);
    expect_lost(z);
}

// ---- copies to the host that fail by themselves --------------------------------------------------

TEST_P(LostTest, AFetchThatFailsIsTriedOnceMore)
{
    manta::ref<int> x = operand(Elsewhere::kNowhere), y = operand(Elsewhere::kNowhere);
    ASSERT_OK(manta_drain(MANTA_S(60)));
    inject(0, Fault::kOperation, 1);
    expect(8, fl_add_remote(7, x));
    inject(0, Fault::kOperations, 1);        // of two in one copy, both fail, and again
    ASSERT_OK(manta_prefetch(x, MANTA_CPU)); // is there
    manta_view_t view = {};
    EXPECT_STATUS(MANTA_ERR_IO, manta_get(y, &view, MANTA_FOREVER));
    inject(0, Fault::kNone);
    EXPECT_STATUS(MANTA_ERR_IO, manta_get(y, &view, MANTA_FOREVER)) << "once and for good";
    drop(y);
    expect(1, x);
}

TEST_P(LostTest, AFetchThatFailsIsTriedFromAnotherReplica)
{
    manta::ref<int> x = operand(Elsewhere::kPeer);
    ASSERT_OK(manta_drain(MANTA_S(60)));
    inject(0, Fault::kOperations, 1);
    expect(1, x);
    inject(0, Fault::kNone);
}

// Its bytes never came: nobody may take them for the object's.
TEST_P(LostTest, AReplicaThatDidNotArriveIsNoSource)
{
    std::vector<int> zeros(N);
    manta::ref<int> zero = manta_put(zeros.data(), zeros.size() * sizeof(int));
    manta::ref<int> x = fl_add_with(on(manta_gpu(1)), 1, zero);
    wait(x);
    ASSERT_OK(manta_drain(MANTA_S(60)));
    inject(0, Fault::kOperation, 1); // the copy from the other GPU
    manta::ref<int> y = fl_add_with(on(manta_gpu(0)), 1, x);
    manta_view_t view = {};
    EXPECT_STATUS(MANTA_ERR_IO, manta_get(y, &view, MANTA_FOREVER));
    drop(y);
    drop(zero);
    expect(1, x);
}

} // namespace
