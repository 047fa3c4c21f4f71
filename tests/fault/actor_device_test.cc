// Devices that are lost under actors, at the n-th operation, for every n: calls end well or with a typed error that
// says why, who watches is told, the actor comes back elsewhere if it may, and its destructor runs once for each
// constructor that succeeded.
#include "fakes/int_kernels.h"
#include "fault/device_reach.h"
#include "fault/fault.h"

#include <functional>

using namespace fault;
using namespace manta_testing;

static std::atomic<int> g_up, g_down;

struct Total {
    int64_t *acc;
    const int64_t *w;
    size_t n;
};
#define fa_total_PARAMS MANTA_IN(int64_t, w)
MANTA_ACTOR_DECLARE(fa_total, Total);
MANTA_ACTOR(fa_total, Total)
{
    self->n = w.count; // never: all of them are made on devices
    return MANTA_ERR_NOT_SUPPORTED;
}
MANTA_ACTOR_CUDA(fa_total)
{
    *self = {static_cast<int64_t *>(manta_actor_memory(task, w.count * sizeof(int64_t))), w.data,
             w.count};
    if (!self->acc) return MANTA_ERR_OUT_OF_MEMORY;
    manta_status_t status = manta_actor_hold(task, w.data);
    if (status == MANTA_OK) {
        status =
            MANTA_LAUNCH(fill_ints, manta_grid_1d(w.count, 128), int64_t{0}, self->acc, w.count);
    }
    if (status == MANTA_OK) g_up++;
    return status;
}
MANTA_ACTOR_END(fa_total)
{
    if (self->acc) g_down++;
}
#define fa_total_add_PARAMS MANTA_VAL(int64_t, a)
MANTA_METHOD_DECLARE(fa_total, add);
MANTA_METHOD_CUDA(fa_total, add)
{
    return MANTA_LAUNCH(axpy_ints, manta_grid_1d(self->n, 128), a, self->w, self->acc, self->n);
}
#define fa_total_read_PARAMS MANTA_VAL(uint64_t, n), MANTA_OUT(int64_t, y, n)
MANTA_METHOD_DECLARE(fa_total, read);
MANTA_METHOD_CUDA(fa_total, read)
{
    manta_status_t status = MANTA_LAUNCH(fill_ints, manta_grid_1d(n, 128), int64_t{0}, y.data, n);
    if (status != MANTA_OK) return status;
    return MANTA_LAUNCH(axpy_ints, manta_grid_1d(n, 128), int64_t{1}, self->acc, y.data, n);
}
MANTA_METHOD(fa_total, where, MANTA_OUT(int, device, 1))
{
    (void)self;
    manta_actor_info_t info = {};
    info.struct_size = sizeof info;
    manta_status_t status = manta_actor_describe(manta_actor_self(task), &info);
    device[0] = info.device;
    return status;
}

struct Setup {
    int workers, gpus;
    bool is_virtual;
};

class LostUnderActors : public ::testing::TestWithParam<Setup>
{
  protected:
    void start()
    {
        g_up = g_down = 0;
        manta_runtime_options_t options = small_options(GetParam().workers, &allocator_, &log_);
        options.sim_gpus = GetParam().gpus;
        options.sim_virtual_clock = GetParam().is_virtual;
        ASSERT_OK(manta_init(&options));
        watchdog_name_runtime(manta_runtime_default());
    }
    void finish()
    {
        EXPECT_OK(manta_drain(MANTA_S(60)));
        EXPECT_EQ(0u, stats_of({0}).live_refs) << printed_refs({0});
        EXPECT_OK(manta_shutdown(MANTA_S(60)));
        EXPECT_EQ(0, allocator_.bytes());
        EXPECT_LE(g_down, g_up);
        log_.take();
    }
    static bool is_lost(int index)
    {
        manta_gpu_info_t info = {};
        info.struct_size = sizeof info;
        EXPECT_OK(manta_gpu_describe({0}, index, &info));
        return info.is_lost;
    }
    static fa_total_t make(const manta_actor_options_t &options)
    {
        std::vector<int64_t> ones(50, 1);
        manta_ref_t w = manta_put(ones.data(), ones.size() * sizeof ones[0]);
        fa_total_t a = fa_total_create(options, w);
        EXPECT_OK(manta_release(w));
        return a;
    }
    static bool chain_has(manta_ref_t ref, manta_status_t code)
    {
        return printed_error(ref).find(manta_status_name(code)) != std::string::npos;
    }
    int gpus() const { return GetParam().gpus; }

    static int device_of(fa_total_t a)
    {
        manta_ref_t r = fa_total_where(a);
        int device = value_of<int>(r);
        drop(r);
        return device;
    }
    static std::vector<int64_t> numbers_of(fa_total_t a)
    {
        manta_ref_t r = fa_total_read(a, 50);
        std::vector<int64_t> numbers = values_of<int64_t>(r);
        drop(r);
        return numbers;
    }

    // Opens the device of |a|, and arms: it is lost at its |n|th operation from now on.
    static int arm(fa_total_t a, uint32_t n)
    {
        int device = device_of(a);
        (void)numbers_of(a);
        EXPECT_OK(manta_drain(MANTA_S(60)));
        inject(device, Fault::kLose, n);
        return device;
    }
    // A few calls; how many failed, all of them for a good reason. |*out_died|: of those, for ever.
    int calls(fa_total_t a, int *out_died)
    {
        int failed = 0;
        *out_died = 0;
        std::vector<manta_ref_t> refs;
        for (int i = 0; i < 12; i++)
            refs.push_back(i % 4 == 3 ? manta_ref_t(fa_total_where(a))
                                      : manta_ref_t(fa_total_read(a, 50)));
        for (manta_ref_t ref : refs) {
            manta_view_t view = {};
            manta_status_t status = manta_get(ref, &view, MANTA_FOREVER);
            manta_view_release(&view);
            bool gone = status == MANTA_ERR_ACTOR_DIED || status == MANTA_ERR_STALE_REF;
            // A result that was on the device only is lost with it.
            EXPECT_TRUE(status == MANTA_OK || gone || status == MANTA_ERR_ACTOR_RESTARTING ||
                        status == MANTA_ERR_DEVICE_LOST)
                << manta_status_name(status) << " " << printed_error(ref);
            if (status == MANTA_ERR_ACTOR_DIED && !is_error(ref)) {
                EXPECT_TRUE(chain_has(ref, MANTA_ERR_DEVICE_LOST)) << printed_error(ref);
            }
            failed += status != MANTA_OK;
            *out_died += gone;
            drop(ref);
        }
        return failed;
    }

    CountingAllocator allocator_;
    Log log_;
};
static const Setup kSetups[] = {{0, 1, true}, {0, 2, true}, {1, 2, false}, {2, 3, false}};
INSTANTIATE_TEST_SUITE_P(Setups, LostUnderActors, ::testing::ValuesIn(kSetups));

TEST_P(LostUnderActors, OnAFixedDeviceItDiesWithTheCause)
{
    for (uint32_t n = 1; n <= 12; n++) {
        SCOPED_TRACE(n);
        start();
        fa_total_t a =
            make(MANTA_ACTOR_OPTIONS(.max_restarts = MANTA_UNLIMITED,
                                     .max_task_retries = MANTA_UNLIMITED, .device = manta_gpu(0)));
        manta_ref_t end = manta_actor_watch(a.actor);
        int device = arm(a, n), died;
        EXPECT_EQ(0, device);
        EXPECT_LT(0, calls(a, &died));
        ASSERT_TRUE(is_lost(0));
        EXPECT_OK(manta_wait(&end, 1, 1, MANTA_FOREVER, nullptr, nullptr));
        EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, manta_ref_status(end));
        EXPECT_TRUE(chain_has(end, MANTA_ERR_DEVICE_LOST)) << printed_error(end);
        EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, manta_actor_status(a.actor));
        EXPECT_EQ(1, g_up);
        EXPECT_EQ(1, g_down);
        drop(end);
        EXPECT_OK(fa_total_destroy(a));
        finish();
        if (HasFailure()) return;
    }
}

TEST_P(LostUnderActors, OnAnyDeviceItComesBackElsewhere)
{
    for (uint32_t n = 1; n <= 12; n++) {
        SCOPED_TRACE(n);
        start();
        fa_total_t a = make(MANTA_ACTOR_OPTIONS(.max_restarts = 5, .device = MANTA_GPU));
        manta_ref_t end = manta_actor_watch(a.actor);
        int died, device = arm(a, n);
        EXPECT_LT(0, calls(a, &died));
        ASSERT_TRUE(is_lost(device));
        EXPECT_OK(manta_drain(MANTA_S(60))); // the restart is over
        if (gpus() > 1) {
            EXPECT_EQ(0, died);
            EXPECT_OK(manta_actor_status(a.actor));
            int now = device_of(a);
            EXPECT_NE(device, now);
            EXPECT_OK(fa_total_add_go(a, 7));
            EXPECT_EQ(std::vector<int64_t>(50, 7), numbers_of(a));
            EXPECT_STATUS(MANTA_NOT_READY, manta_ref_status(end));
            EXPECT_OK(fa_total_destroy(a));
            EXPECT_OK(manta_wait(&end, 1, 1, MANTA_FOREVER, nullptr, nullptr));
            EXPECT_OK(manta_ref_status(end));
            EXPECT_EQ(2, g_up);
        } else {
            EXPECT_OK(manta_wait(&end, 1, 1, MANTA_FOREVER, nullptr, nullptr));
            EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, manta_ref_status(end));
            EXPECT_TRUE(chain_has(end, MANTA_ERR_RESOURCE_GONE)) << printed_error(end);
            EXPECT_TRUE(chain_has(end, MANTA_ERR_DEVICE_LOST)) << printed_error(end);
            EXPECT_OK(fa_total_destroy(a));
            EXPECT_EQ(1, g_up);
        }
        EXPECT_EQ(g_up, g_down);
        drop(end);
        finish();
        if (HasFailure()) return;
    }
}

TEST_P(LostUnderActors, CallsWithRetriesMoveAlong)
{
    if (gpus() < 2) GTEST_SKIP() << "there is nowhere to go";
    for (uint32_t n = 1; n <= 12; n++) {
        SCOPED_TRACE(n);
        start();
        fa_total_t a =
            make(MANTA_ACTOR_OPTIONS(.max_restarts = 1, .max_task_retries = MANTA_UNLIMITED,
                                     .device = MANTA_GPU));
        int device = arm(a, n);
        std::vector<manta_ref_t> refs;
        for (int i = 0; i < 12; i++) {
            refs.push_back(fa_total_where(a));
            EXPECT_OK(fa_total_add_go(a, 1));
        }
        for (manta_ref_t ref : refs) {
            (void)value_of<int>(ref); // OK, on the first device or the second
            drop(ref);
        }
        EXPECT_OK(manta_drain(MANTA_S(60)));
        EXPECT_EQ(is_lost(device) ? 2 : 1, g_up);
        EXPECT_OK(fa_total_destroy(a));
        finish();
        EXPECT_EQ(g_up, g_down);
        if (HasFailure()) return;
    }
}

TEST_P(LostUnderActors, NoMoreOftenThanItMay)
{
    for (int restarts = 0; restarts < 3; restarts++) {
        SCOPED_TRACE(restarts);
        start();
        fa_total_t a = make(MANTA_ACTOR_OPTIONS(.max_restarts = restarts, .device = MANTA_GPU));
        manta_ref_t end = manta_actor_watch(a.actor);
        int lost = 0, died = 0;
        while (!died && lost <= gpus()) {
            (void)arm(a, 2);
            (void)calls(a, &died);
            EXPECT_OK(manta_drain(MANTA_S(60)));
            lost++;
            if (manta_actor_status(a.actor) != MANTA_OK) break;
        }
        EXPECT_EQ(std::min(restarts + 1, gpus()), lost);
        EXPECT_OK(manta_wait(&end, 1, 1, MANTA_FOREVER, nullptr, nullptr));
        EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, manta_ref_status(end));
        EXPECT_EQ(lost, g_up);
        EXPECT_EQ(lost, g_down);
        drop(end);
        EXPECT_OK(fa_total_destroy(a));
        finish();
    }
}

// Two on one device: the one that does nothing is told, too.
TEST_P(LostUnderActors, AnIdleOneIsToldByAnothersLoss)
{
    start();
    manta_actor_options_t here = MANTA_ACTOR_OPTIONS(.device = manta_gpu(0));
    fa_total_t idle = make(here), busy = make(here);
    manta_ref_t end = manta_actor_watch(idle.actor);
    (void)numbers_of(idle);
    int died;
    (void)arm(busy, 1);
    EXPECT_LT(0, calls(busy, &died));
    EXPECT_OK(manta_wait(&end, 1, 1, MANTA_FOREVER, nullptr, nullptr));
    EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, manta_ref_status(end));
    EXPECT_TRUE(chain_has(end, MANTA_ERR_DEVICE_LOST)) << printed_error(end);
    drop(end);
    EXPECT_OK(fa_total_destroy(idle));
    EXPECT_OK(fa_total_destroy(busy));
    finish();
    EXPECT_EQ(2, g_down);
}

// While its constructor is under way, the first one or that of a restart.
TEST_P(LostUnderActors, ADeviceIsLostUnderTheConstructor)
{
    for (uint32_t n = 1; n <= 4; n++) {
        SCOPED_TRACE(n);
        start();
        fa_total_t other = make(MANTA_ACTOR_OPTIONS(.device = manta_gpu(0)));
        (void)arm(other, n); // the next one is made elsewhere, if there is a choice
        fa_total_t fixed = make(MANTA_ACTOR_OPTIONS(.max_restarts = 3, .device = manta_gpu(0)));
        fa_total_t any = make(MANTA_ACTOR_OPTIONS(.max_restarts = 3, .device = MANTA_GPU));
        int died;
        for (fa_total_t a : {fixed, any, other})
            (void)calls(a, &died);
        EXPECT_OK(manta_drain(MANTA_S(60)));
        if (gpus() > 1) {
            EXPECT_OK(manta_actor_status(any.actor));
            EXPECT_NE(0, device_of(any));
        } else {
            EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, manta_actor_status(any.actor));
        }
        EXPECT_STATUS(MANTA_ERR_ACTOR_DIED, manta_actor_status(fixed.actor));
        for (fa_total_t a : {fixed, any, other})
            EXPECT_OK(fa_total_destroy(a));
        finish();
        if (HasFailure()) return;
    }
}
