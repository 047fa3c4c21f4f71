// The scheduler with integers for tasks: an entry is a number, running it claims and counts it.
#include "support/runtime_fixture.h"
#include "unit/failing.h"
#include "unit/topology/topology_fixture.h"

#define _Alignas alignas
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
extern "C" {
#include "base/clock.h"
#include "base/notify.h"
#include "sched/sched.h"
}
#pragma GCC diagnostic pop
#undef _Alignas

#include <functional>
#include <memory>
#include <set>
#include <thread>

using namespace manta_testing;

namespace
{

class Scheduler;

struct Context {
    mti_sched_ctx_t sched; // first: the scheduler knows it by this
    Scheduler *owner;
    mti_atomic_u32_t nudged;
};

using Body = std::function<void(mti_sched_ctx_t *)>;

// A scheduler whose entries are 1 to |entries|.
class Scheduler
{
  public:
    explicit Scheduler(int workers, const char *synthetic = "core:4 pu:1", size_t entries = 100000,
                       int max_threads = 0)
        : topology_(MakeSynthetic(synthetic)), entries_(entries + 1)
    {
        static const mti_sched_ops_t ops = {on_run,          on_ctx_create,  on_ctx_retire,
                                            on_thread_enter, on_thread_exit, on_nudge,
                                            on_nudge_all,    on_idle};
        mti_sched_options_t options = {};
        options.workers = workers;
        options.topology = topology_.get();
        options.spin_ns = 10000;
        options.max_threads = max_threads;
        options.name = "test";
        options.ops = &ops;
        options.user = this;
        EXPECT_EQ(MANTA_OK, mti_sched_create(&options, &sched_));
        user_ = new_context();
        EXPECT_NE(nullptr, user_);
    }
    ~Scheduler()
    {
        mti_sched_stop(sched_);
        EXPECT_EQ(entered, exited);
        for (auto &context : contexts_)
            mti_sched_ctx_deinit(&context->sched);
        mti_sched_destroy(sched_);
    }
    manta_status_t start() { return mti_sched_start(sched_); }
    mti_sched_t *get() { return sched_; }
    mti_sched_ctx_t *user() { return &user_->sched; } // of the test's thread

    // Entry |n| runs |body|; otherwise it just counts.
    void set(uint64_t n, Body body) { entries_[n].body = std::move(body); }
    void push(uint64_t n) { EXPECT_TRUE(mti_sched_push(user(), n)); }
    // Waits until |n| entries ran for the first time.
    void await(uint64_t n)
    {
        for (uint32_t now; (now = mti_atomic_u32_load_acquire(&ran_)) < n;)
            (void)mti_notify_wait(&ran_, now, INT64_MAX);
    }
    uint32_t ran() const { return mti_atomic_u32_load_acquire(&ran_); }
    bool has_run(uint64_t n) const { return entries_[n].claimed; }

    Context *new_context()
    {
        std::unique_ptr<Context> context(new Context());
        context->owner = this;
        if (mti_sched_ctx_init(sched_, &context->sched) != MANTA_OK) return nullptr;
        std::lock_guard<std::mutex> guard(lock_);
        contexts_.push_back(std::move(context));
        return contexts_.back().get();
    }

    std::atomic<int> entered{0}, exited{0}, retired{0}, nudges{0}, contexts_left{1 << 20};
    std::vector<uint64_t> order; // in which they ran; for one thread at a time

  private:
    struct Entry {
        std::atomic<bool> claimed{false};
        Body body;
    };

    static Scheduler *of(mti_sched_ctx_t *ctx) { return reinterpret_cast<Context *>(ctx)->owner; }
    static void on_run(mti_sched_ctx_t *ctx, uint64_t n)
    {
        Scheduler *self = of(ctx);
        ASSERT_GE(n, 1u);
        ASSERT_LT(n, self->entries_.size());
        Entry &entry = self->entries_[n];
        if (entry.claimed.exchange(true)) return; // a copy
        if (self->sched_ && mti_sched_worker_count(self->sched_) == 0) self->order.push_back(n);
        if (entry.body) entry.body(ctx);
        (void)mti_atomic_u32_fetch_add_acq_rel(&self->ran_, 1);
        mti_notify_wake(&self->ran_, INT32_MAX);
    }
    static mti_sched_ctx_t *on_ctx_create(void *user)
    {
        Scheduler *self = static_cast<Scheduler *>(user);
        if (self->contexts_left-- <= 0) return nullptr;
        Context *context = self->new_context();
        return context ? &context->sched : nullptr;
    }
    static void on_ctx_retire(mti_sched_ctx_t *ctx) { of(ctx)->retired++; }
    static void on_thread_enter(mti_sched_ctx_t *ctx) { of(ctx)->entered++; }
    static void on_thread_exit(mti_sched_ctx_t *ctx) { of(ctx)->exited++; }
    static void on_nudge_all(void *) {}
    static void on_nudge(mti_sched_ctx_t *ctx)
    {
        of(ctx)->nudges++;
        Context *context = reinterpret_cast<Context *>(ctx);
        mti_atomic_u32_store_release(&context->nudged, 1);
        mti_notify_wake(&context->nudged, 1);
    }
    static void on_idle(mti_sched_ctx_t *) {}

    Topology topology_;
    std::vector<Entry> entries_;
    mti_sched_t *sched_ = nullptr;
    Context *user_ = nullptr;
    std::mutex lock_;
    std::vector<std::unique_ptr<Context>> contexts_; // guarded by lock_
    mti_atomic_u32_t ran_ = {0};
};

int seat_of(const mti_sched_ctx_t *ctx)
{
    return mti_atomic_i32_load_acquire(&ctx->seat);
}

// ---- entries -----------------------------------------------------------------------------------

TEST(SchedTest, EveryEntryRuns)
{
    for (int workers : {1, 2, 4}) {
        Scheduler s(workers);
        ASSERT_EQ(MANTA_OK, s.start());
        for (uint64_t n = 1; n <= 20000; n++)
            s.push(n);
        s.await(20000);
        EXPECT_EQ(20000u, s.ran());
    }
}

TEST(SchedTest, EntriesPushEntries)
{
    // A binary tree: n pushes 2n and 2n + 1 from whatever thread it runs on.
    Scheduler s(3);
    constexpr uint64_t kLast = (1 << 14) - 1;
    for (uint64_t n = 1; n <= kLast / 2; n++) {
        s.set(n, [n](mti_sched_ctx_t *ctx) {
            EXPECT_TRUE(mti_sched_push(ctx, 2 * n));
            EXPECT_TRUE(mti_sched_push(ctx, 2 * n + 1));
        });
    }
    ASSERT_EQ(MANTA_OK, s.start());
    s.push(1);
    s.await(kLast);
}

TEST(SchedTest, SleepingWorkersAreWokenEachTime)
{
    // A round trip each, so that workers fall asleep between pushes now and then.
    Scheduler s(2);
    ASSERT_EQ(MANTA_OK, s.start());
    for (uint64_t n = 1; n <= 2000; n++) {
        s.push(n);
        s.await(n);
    }
}

TEST(SchedTest, PushesFromSeveralThreads)
{
    Scheduler s(2);
    ASSERT_EQ(MANTA_OK, s.start());
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < 3; t++) {
        threads.emplace_back([&, t] {
            mti_sched_ctx_t *mine = &s.new_context()->sched;
            for (uint64_t n = 1; n <= 5000; n++)
                EXPECT_TRUE(mti_sched_push(mine, t * 5000 + n));
        });
    }
    for (std::thread &thread : threads)
        thread.join();
    s.await(15000);
}

TEST(SchedTest, QuietPushesAreFoundAfterOneNotify)
{
    Scheduler s(2);
    ASSERT_EQ(MANTA_OK, s.start());
    for (uint64_t n = 1; n <= 100; n++)
        EXPECT_TRUE(mti_sched_push_quiet(s.user(), n));
    mti_sched_notify(s.get());
    s.await(100);
}

TEST(SchedTest, SerialRunsInTheOrderOfPushes)
{
    Scheduler s(0);
    ASSERT_EQ(MANTA_OK, s.start());
    std::vector<uint64_t> expected;
    for (uint64_t n = 1; n <= 5000; n++) {
        expected.push_back(n);
        s.push(n);
    }
    // Those that entries push come after what is queued already.
    s.set(3, [&](mti_sched_ctx_t *ctx) { EXPECT_TRUE(mti_sched_push(ctx, 6000)); });
    s.set(7, [&](mti_sched_ctx_t *ctx) { EXPECT_TRUE(mti_sched_push(ctx, 6001)); });
    expected.push_back(6000);
    expected.push_back(6001);
    while (mti_sched_step(s.user())) {
    }
    EXPECT_EQ(expected, s.order);
    EXPECT_EQ(0, s.entered);
    EXPECT_EQ(0, mti_sched_thread_count(s.get()));
}

TEST(SchedTest, OverflowsBeyondTheRingWithoutLoss)
{
    Scheduler s(1); // nobody runs anything yet
    constexpr uint64_t kCount = 3 * MTI_DEQUE_MAX;
    for (uint64_t n = 1; n <= kCount; n++)
        s.push(n);
    EXPECT_LE(mti_deque_size(&s.user()->deque), (uint32_t)MTI_DEQUE_MAX);
    while (mti_sched_step(s.user())) {
    }
    EXPECT_EQ(kCount, s.ran());
}

TEST(SchedTest, OverflowIsForOthersToo)
{
    Scheduler s(2);
    constexpr uint64_t kCount = 2 * MTI_DEQUE_MAX;
    for (uint64_t n = 1; n <= kCount; n++)
        s.push(n);
    ASSERT_EQ(MANTA_OK, s.start());
    mti_sched_notify(s.get());
    s.await(kCount);
}

TEST(SchedTest, WithoutMemoryAPushSaysSoAndNothingIsLost)
{
    Scheduler s(1);
    uint64_t queued = 0;
    {
        FailingAlloc fail(1, kAll);
        for (uint64_t n = 1; n <= 1000; n++) {
            if (!mti_sched_push(s.user(), n)) break;
            queued = n;
        }
    }
    EXPECT_EQ((uint64_t)MTI_DEQUE_MIN, queued);
    s.push(queued + 1);
    while (mti_sched_step(s.user())) {
    }
    EXPECT_EQ(queued + 1, s.ran());
}

TEST(SchedTest, StolenEntriesAreCounted)
{
    Scheduler s(1);
    for (uint64_t n = 1; n <= 10; n++)
        s.push(n);
    mti_sched_ctx_t *thief = &s.new_context()->sched;
    while (mti_sched_step(thief)) {
    }
    EXPECT_EQ(10u, s.ran());
    EXPECT_EQ(10u, mti_atomic_u64_load_relaxed(&thief->stolen));
    EXPECT_EQ(0u, mti_atomic_u64_load_relaxed(&s.user()->stolen));
}

// ---- jobs --------------------------------------------------------------------------------------

// Tiny entries are not worth their way over, as long as their owner gets on with them.
TEST(SchedTest, TinyEntriesOfAnOwnerAtWorkAreLeftAlone)
{
    if (kSanitized) GTEST_SKIP() << "under a sanitizer no entry is tiny";
    Scheduler s(1);
    mti_sched_ctx_t *thief = &s.new_context()->sched;
    bool left_alone = false;
    uint64_t next = 1;
    for (int round = 0; round < 1000 && !left_alone;
         round++) { // it may be interrupted: then it errs
        for (int i = 0; i < 64; i++)
            s.push(next++);
        do {
            ASSERT_TRUE(mti_sched_step(thief));
        } while (mti_deque_size(&thief->deque) != 0);
        ASSERT_TRUE(mti_sched_step(s.user())); // the owner moves
        left_alone = !mti_sched_step(thief);
        while (mti_sched_step(s.user()) || mti_sched_step(thief)) {
        }
    }
    EXPECT_TRUE(left_alone);
    EXPECT_EQ(next - 1, s.ran());
}

TEST(SchedTest, TinyEntriesOfAnOwnerThatDoesSomethingElseAreStolen)
{
    Scheduler s(1);
    mti_sched_ctx_t *thief = &s.new_context()->sched;
    const uint64_t n = 5000;
    for (uint64_t i = 1; i <= n; i++)
        s.push(i);
    int in_vain = 0;
    while (s.ran() < n) {
        in_vain = mti_sched_step(thief) ? 0 : in_vain + 1;
        ASSERT_LT(in_vain, 2) << "the owner does nothing, and still it is left alone";
    }
}

TEST(SchedTest, JobsRunExactlyOnce)
{
    static std::atomic<int> runs[1000];
    static mti_atomic_u32_t total;
    for (auto &n : runs)
        n = 0;
    mti_atomic_u32_store_relaxed(&total, 0);
    std::vector<mti_job_t> jobs(1000);
    static mti_job_t *first;
    first = jobs.data();
    Scheduler s(2);
    ASSERT_EQ(MANTA_OK, s.start());
    std::vector<std::thread> threads;
    for (size_t t = 0; t < 2; t++) {
        threads.emplace_back([&, t] {
            for (size_t i = t; i < jobs.size(); i += 2) {
                jobs[i].fn = [](mti_sched_ctx_t *, mti_job_t *job) {
                    runs[job - first]++;
                    (void)mti_atomic_u32_fetch_add_acq_rel(&total, 1);
                    mti_notify_wake(&total, 1);
                };
                mti_sched_push_job(s.get(), &jobs[i]);
            }
        });
    }
    for (std::thread &thread : threads)
        thread.join();
    for (uint32_t now; (now = mti_atomic_u32_load_acquire(&total)) < 1000;)
        (void)mti_notify_wait(&total, now, INT64_MAX);
    for (auto &n : runs)
        EXPECT_EQ(1, n);
}

TEST(SchedTest, JobsRunInTheirOrderWhenSerial)
{
    static std::vector<mti_job_t *> ran;
    ran.clear();
    Scheduler s(0);
    mti_job_t jobs[5];
    for (mti_job_t &job : jobs) {
        job.fn = [](mti_sched_ctx_t *, mti_job_t *self) { ran.push_back(self); };
        mti_sched_push_job(s.get(), &job);
    }
    while (mti_sched_step(s.user())) {
    }
    EXPECT_EQ((std::vector<mti_job_t *>{&jobs[0], &jobs[1], &jobs[2], &jobs[3], &jobs[4]}), ran);
}

// ---- threads -----------------------------------------------------------------------------------

TEST(SchedTest, StopJoinsAllThreads)
{
    for (int workers : {0, 1, 4}) {
        Scheduler s(workers);
        ASSERT_EQ(MANTA_OK, s.start());
        EXPECT_EQ(workers, mti_sched_worker_count(s.get()));
        EXPECT_EQ(workers, mti_sched_thread_count(s.get()));
        mti_sched_stop(s.get());
        EXPECT_EQ(workers, s.entered);
        EXPECT_EQ(workers, s.exited);
        EXPECT_EQ(0, mti_sched_thread_count(s.get()));
    }
}

TEST(SchedTest, FailedStartLeavesNoThread)
{
    for (int n = 1; n <= 3; n++) {
        Scheduler s(3);
        FailingThreads fail(n);
        EXPECT_EQ(MANTA_ERR_SYSTEM, s.start());
        EXPECT_EQ(n - 1, s.entered);
        EXPECT_EQ(n - 1, s.exited);
        EXPECT_EQ(1, s.retired);
        EXPECT_EQ(0, mti_sched_thread_count(s.get()));
    }
    for (int n = 0; n < 3; n++) {
        Scheduler s(3);
        s.contexts_left = n;
        EXPECT_EQ(MANTA_ERR_OUT_OF_MEMORY, s.start());
        EXPECT_EQ(n, s.entered);
        EXPECT_EQ(n, s.exited);
    }
}

TEST(SchedTest, CreateWithoutMemoryFails)
{
    Topology topology = MakeSynthetic("core:2 pu:1");
    for (long n = 1; n <= 4; n++) {
        FailingAlloc fail(n);
        mti_sched_options_t options = {};
        options.workers = 2;
        options.topology = topology.get();
        mti_sched_t *sched = nullptr;
        manta_status_t status = mti_sched_create(&options, &sched);
        EXPECT_EQ(n <= FailingAlloc::seen() ? (int)MANTA_ERR_OUT_OF_MEMORY : (int)MANTA_OK, status);
        if (status == MANTA_OK) mti_sched_destroy(sched);
    }
}

TEST(SchedTest, ContextsAreFoundByIndex)
{
    Scheduler s(1);
    uint32_t index = (uint32_t)s.user()->index;
    EXPECT_EQ(s.user(), mti_sched_ctx_at(s.get(), index));
    EXPECT_EQ(nullptr, mti_sched_ctx_at(s.get(), index + 1));
    EXPECT_EQ(nullptr, mti_sched_ctx_at(s.get(), UINT32_MAX));
    EXPECT_EQ(-1, seat_of(s.user()));
    const int *seats;
    EXPECT_EQ(0, mti_sched_seats(s.user(), &seats));
}

// ---- blocking ----------------------------------------------------------------------------------

TEST(SchedTest, BlockedWorkerHandsItsSeatToASpareAndGetsItBack)
{
    Scheduler s(1);
    Gate other_ran, blocked;
    std::atomic<int> seat_blocked{-2}, seat_back{-2}, spare_seat{-2};
    s.set(1, [&](mti_sched_ctx_t *ctx) {
        EXPECT_EQ(0, seat_of(ctx));
        EXPECT_TRUE(mti_sched_block_begin(ctx));
        seat_blocked = seat_of(ctx);
        blocked.open();
        other_ran.pass(); // entry 2 runs: on another thread, there is no other way
        mti_sched_block_end(ctx);
        // The occupant hands it back at its next step; give it one.
        EXPECT_TRUE(mti_sched_push(ctx, 3));
        while (seat_of(ctx) < 0)
            std::this_thread::yield();
        seat_back = seat_of(ctx);
    });
    s.set(2, [&](mti_sched_ctx_t *ctx) {
        spare_seat = seat_of(ctx);
        other_ran.open();
    });
    ASSERT_EQ(MANTA_OK, s.start());
    s.push(1);
    blocked.pass();
    s.push(2);
    s.await(3);
    EXPECT_EQ(-1, seat_blocked);
    EXPECT_EQ(0, spare_seat);
    EXPECT_EQ(0, seat_back);
    EXPECT_EQ(2, mti_sched_thread_count(s.get()));
    for (uint64_t n = 10; n < 1000; n++)
        s.push(n);
    s.await(3 + 990);
}

TEST(SchedTest, SparesAreUsedAgain)
{
    // One blocks after the other: two threads will do.
    Scheduler s(1);
    for (uint64_t n = 1; n <= 200; n++) {
        s.set(n, [&s, n](mti_sched_ctx_t *ctx) {
            EXPECT_TRUE(mti_sched_block_begin(ctx));
            mti_sched_block_end(ctx);
            if (n == 200) return;
            EXPECT_TRUE(mti_sched_push(ctx, n + 1));
            while (seat_of(ctx) < 0 && !s.has_run(n + 1))
                std::this_thread::yield();
        });
    }
    ASSERT_EQ(MANTA_OK, s.start());
    s.push(1);
    s.await(200);
    EXPECT_LE(mti_sched_thread_count(s.get()), 4);
}

TEST(SchedTest, ManyBlockAtOnceUpToTheBoundOnThreads)
{
    constexpr int kMax = 6;
    Scheduler s(2, "core:4 pu:1", 1000, kMax);
    Gate gate;
    std::atomic<int> handed{0};
    for (uint64_t n = 1; n <= 8; n++) {
        s.set(n, [&](mti_sched_ctx_t *ctx) {
            bool spare = mti_sched_block_begin(ctx);
            handed += spare;
            gate.arrive();
            gate.pass();
            mti_sched_block_end(ctx);
        });
    }
    ASSERT_EQ(MANTA_OK, s.start());
    for (uint64_t n = 1; n <= 8; n++)
        s.push(n);
    gate.await(kMax); // each thread that may be blocks
    EXPECT_EQ(kMax, mti_sched_thread_count(s.get()));
    EXPECT_EQ(kMax - 2, handed);
    gate.open();
    s.await(8);
}

TEST(SchedTest, WithoutASpareTheBlockedThreadIsNudgedForNewWork)
{
    Scheduler s(1);
    ASSERT_EQ(MANTA_OK, s.start());
    FailingThreads fail(1, kAll);
    Gate blocked;
    s.set(1, [&](mti_sched_ctx_t *ctx) {
        EXPECT_FALSE(mti_sched_block_begin(ctx));
        EXPECT_EQ(0, seat_of(ctx));
        blocked.open();
        // As a wait does: sleeps until it is nudged, and runs what there is.
        Context *context = reinterpret_cast<Context *>(ctx);
        while (!s.has_run(2)) {
            (void)mti_notify_wait(&context->nudged, 0, INT64_MAX);
            mti_atomic_u32_store_relaxed(&context->nudged, 0);
            while (mti_sched_step(ctx)) {
            }
        }
        mti_sched_block_end(ctx);
    });
    s.push(1);
    blocked.pass();
    s.push(2);
    s.await(2);
    EXPECT_GE(s.nudges, 1);
    for (uint64_t n = 3; n <= 500; n++)
        s.push(n); // and afterwards all is as before
    s.await(500);
    EXPECT_EQ(1, mti_sched_thread_count(s.get()));
}

TEST(SchedTest, ThreadsOfTheUsersHoldNoSeat)
{
    Scheduler s(1);
    ASSERT_EQ(MANTA_OK, s.start());
    EXPECT_FALSE(mti_sched_block_begin(s.user()));
    mti_sched_block_end(s.user());
    s.push(1);
    s.await(1);
    EXPECT_EQ(1, mti_sched_thread_count(s.get()));
}

// ---- wide entries ------------------------------------------------------------------------------

// |n| entries from |first| on that end only when all of them run at the same time.
void expect_all_seats_work(Scheduler &s, uint64_t first, int n)
{
    uint64_t before = s.ran();
    auto gate = std::make_shared<Gate>();
    for (int i = 0; i < n; i++) {
        s.set(first + (uint64_t)i, [gate, n](mti_sched_ctx_t *) {
            gate->arrive();
            gate->await(n);
        });
    }
    for (int i = 0; i < n; i++)
        s.push(first + (uint64_t)i);
    s.await(before + (uint64_t)n);
}

TEST(SchedTest, WideEntriesGetTheirSeatsAndGiveThemBack)
{
    Scheduler s(4);
    ASSERT_EQ(MANTA_OK, s.start());
    std::atomic<int> users[4] = {}; // entries that use a seat right now
    std::atomic<int> wrong{0};
    auto narrow = [&](mti_sched_ctx_t *ctx) {
        int seat = seat_of(ctx);
        if (seat < 0) return;
        if (users[seat]++ != 0) wrong++;
        users[seat]--;
    };
    auto wide = [&](int cores) {
        return [&, cores](mti_sched_ctx_t *ctx) {
            const int *seats;
            int n = mti_sched_seats(ctx, &seats);
            EXPECT_EQ(cores, n);
            std::set<int> distinct(seats, seats + n);
            EXPECT_EQ((size_t)cores, distinct.size());
            EXPECT_EQ(1u, distinct.count(seat_of(ctx)));
            for (int seat : distinct)
                if (users[seat]++ != 0) wrong++;
            std::this_thread::yield();
            for (int seat : distinct)
                users[seat]--;
        };
    };
    uint64_t n = 1;
    for (int round = 0; round < 50; round++) {
        for (int cores : {2, 3, 4}) {
            s.set(n, wide(cores));
            EXPECT_TRUE(mti_sched_push_wide(s.get(), n++, cores));
            for (int i = 0; i < 5; i++) {
                s.set(n, narrow);
                s.push(n++);
            }
        }
    }
    s.await(n - 1);
    EXPECT_EQ(0, wrong);
    expect_all_seats_work(s, n, 4);
}

TEST(SchedTest, WideEntryThatBlocksLendsItsSeats)
{
    Scheduler s(2);
    ASSERT_EQ(MANTA_OK, s.start());
    Gate blocked, go_on;
    s.set(1, [&](mti_sched_ctx_t *ctx) {
        (void)mti_sched_block_begin(ctx);
        blocked.open();
        go_on.pass();
        mti_sched_block_end(ctx);
    });
    EXPECT_TRUE(mti_sched_push_wide(s.get(), 1, 2));
    blocked.pass();
    // Both cores work meanwhile.
    auto gate = std::make_shared<Gate>();
    for (uint64_t n : {2u, 3u}) {
        s.set(n, [gate](mti_sched_ctx_t *) {
            gate->arrive();
            gate->await(2);
        });
        s.push(n);
    }
    s.await(2);
    go_on.open();
    s.await(3);
    expect_all_seats_work(s, 10, 2);
}

TEST(SchedTest, WideEntriesRunOnOneThreadWhenSerial)
{
    Scheduler s(0);
    EXPECT_TRUE(mti_sched_push_wide(s.get(), 1, 4));
    EXPECT_TRUE(mti_sched_push_wide(s.get(), 2, 4));
    while (mti_sched_step(s.user())) {
    }
    EXPECT_EQ((std::vector<uint64_t>{1, 2}), s.order);
}

// What a wide entry names may be gone when the scheduler stops; whoever collects seats for it must not
// wait for workers that have ended.
TEST(SchedTest, StopWhileAWideEntryCollectsItsSeats)
{
    for (int round = 0; round < (kSanitized ? 20 : 200); round++) {
        Scheduler s(2);
        ASSERT_EQ(MANTA_OK, s.start());
        Gate started, go;
        s.set(1, [&](mti_sched_ctx_t *) {
            started.open();
            go.pass();
            while (mti_sched_has_work(s.get())) // until the other worker collects
                std::this_thread::yield();
        });
        s.push(1);
        started.pass();
        EXPECT_TRUE(mti_sched_push_wide(s.get(), 2, 2));
        go.open();
        while (mti_sched_has_work(s.get()))
            std::this_thread::yield();
    } // the end of |s| stops it
}

TEST(SchedTest, NearestSeatsFirst)
{
    // Two packages of two cores: a pair is of one package, wherever it is collected.
    Scheduler s(4, "package:2 core:2 pu:1");
    ASSERT_EQ(MANTA_OK, s.start());
    for (uint64_t n = 1; n <= 40; n++) {
        s.set(n, [&s](mti_sched_ctx_t *ctx) {
            const int *seats;
            ASSERT_EQ(2, mti_sched_seats(ctx, &seats));
            EXPECT_EQ(mti_sched_seat_core(s.get(), seats[0]) / 2,
                      mti_sched_seat_core(s.get(), seats[1]) / 2);
        });
        EXPECT_TRUE(mti_sched_push_wide(s.get(), n, 2));
        s.await(n);
    }
}

TEST(SchedTest, WorkersOnTheSameCoreAreNearest)
{
    Scheduler s(4, "core:2 pu:1"); // two workers to each
    ASSERT_EQ(MANTA_OK, s.start());
    for (uint64_t n = 1; n <= 20; n++) {
        s.set(n, [&s](mti_sched_ctx_t *ctx) {
            const int *seats;
            ASSERT_EQ(2, mti_sched_seats(ctx, &seats));
            EXPECT_NE(seats[0], seats[1]);
            EXPECT_EQ(mti_sched_seat_core(s.get(), seats[0]),
                      mti_sched_seat_core(s.get(), seats[1]));
        });
        EXPECT_TRUE(mti_sched_push_wide(s.get(), n, 2));
        s.await(n);
    }
}

// ---- elastic entries ---------------------------------------------------------------------------

TEST(SchedTest, ElasticEntriesRunOutsideTheSeatsUpToTheLedger)
{
    Scheduler s(2); // 2000 to give
    ASSERT_EQ(MANTA_OK, s.start());
    Gate gate;
    std::atomic<int> running{0}, most{0};
    for (uint64_t n = 1; n <= 12; n++) {
        s.set(n, [&](mti_sched_ctx_t *ctx) {
            EXPECT_EQ(-1, seat_of(ctx));
            int now = ++running;
            for (int before = most; before < now && !most.compare_exchange_weak(before, now);) {
            }
            gate.arrive();
            gate.pass();
            running--;
        });
        EXPECT_TRUE(mti_sched_push_elastic(s.user(), n, 500));
    }
    gate.await(4); // as many as fit
    for (uint64_t n = 20; n < 120; n++)
        s.push(n);
    s.await(100); // the workers work
    EXPECT_EQ(4, most);
    gate.open();
    s.await(112);
    EXPECT_EQ(4, most);
}

TEST(SchedTest, ElasticEntryLargerThanTheLedgerRunsAlone)
{
    Scheduler s(1);
    ASSERT_EQ(MANTA_OK, s.start());
    std::atomic<int> running{0};
    for (uint64_t n = 1; n <= 5; n++) {
        s.set(n, [&](mti_sched_ctx_t *) {
            EXPECT_EQ(1, ++running);
            running--;
        });
        EXPECT_TRUE(mti_sched_push_elastic(s.user(), n, 5000));
    }
    s.await(5);
}

TEST(SchedTest, ElasticEntriesOfNothingAllRunAtOnce)
{
    Scheduler s(1);
    ASSERT_EQ(MANTA_OK, s.start());
    Gate gate;
    for (uint64_t n = 1; n <= 10; n++) {
        s.set(n, [&](mti_sched_ctx_t *) {
            gate.arrive();
            gate.await(10);
        });
        EXPECT_TRUE(mti_sched_push_elastic(s.user(), n, 0));
    }
    s.await(10);
}

TEST(SchedTest, ElasticEntryThatBlocksGivesItsShareBack)
{
    Scheduler s(1);
    ASSERT_EQ(MANTA_OK, s.start());
    Gate gate;
    s.set(1, [&](mti_sched_ctx_t *ctx) {
        (void)mti_sched_block_begin(ctx);
        gate.pass(); // entry 2 opens it, which needs the share
        mti_sched_block_end(ctx);
    });
    s.set(2, [&](mti_sched_ctx_t *) { gate.open(); });
    EXPECT_TRUE(mti_sched_push_elastic(s.user(), 1, 1000));
    EXPECT_TRUE(mti_sched_push_elastic(s.user(), 2, 1000));
    s.await(2);
}

TEST(SchedTest, WithoutAThreadWorkersRunElasticEntries)
{
    Scheduler s(1);
    ASSERT_EQ(MANTA_OK, s.start());
    FailingThreads fail(1, kAll);
    for (uint64_t n = 1; n <= 50; n++)
        EXPECT_TRUE(mti_sched_push_elastic(s.user(), n, 300));
    s.await(50);
    EXPECT_EQ(1, s.entered);
}

TEST(SchedTest, ElasticEntriesRunInTheOrderWhenSerial)
{
    Scheduler s(0);
    s.push(1);
    EXPECT_TRUE(mti_sched_push_elastic(s.user(), 2, 500));
    s.push(3);
    while (mti_sched_step(s.user())) {
    }
    EXPECT_EQ((std::vector<uint64_t>{1, 2, 3}), s.order);
}

// ---- the deque, as its owner sees it -----------------------------------------------------------

TEST(DequeTest, OwnerTakesTheLastThievesTheFirstHalf)
{
    mti_deque_t deque;
    ASSERT_TRUE(mti_deque_init(&deque, nullptr));
    EXPECT_EQ(0u, mti_deque_take(&deque));
    EXPECT_EQ(0u, mti_deque_peek(&deque));
    uint64_t out[64];
    EXPECT_EQ(0u, mti_deque_steal(&deque, out, 64));
    for (uint64_t n = 1; n <= 9; n++)
        EXPECT_TRUE(mti_deque_put(&deque, n));
    EXPECT_EQ(9u, mti_deque_peek(&deque));
    EXPECT_EQ(9u, mti_deque_take(&deque));
    ASSERT_EQ(4u, mti_deque_steal(&deque, out, 64));
    for (uint64_t n = 0; n < 4; n++)
        EXPECT_EQ(n + 1, out[n]);
    ASSERT_EQ(1u, mti_deque_steal(&deque, out, 1));
    EXPECT_EQ(5u, out[0]);
    EXPECT_EQ(3u, mti_deque_size(&deque));
    EXPECT_EQ(8u, mti_deque_take(&deque));
    mti_deque_deinit(&deque);
}

TEST(DequeTest, GrowsToItsBoundAndKeepsTheOrder)
{
    mti_deque_t deque;
    ASSERT_TRUE(mti_deque_init(&deque, nullptr));
    uint64_t next = 1, oldest = 1, out[1];
    // The head is not at the ring's start when it grows.
    for (int i = 0; i < 100; i++) {
        EXPECT_TRUE(mti_deque_put(&deque, next++));
        ASSERT_EQ(1u, mti_deque_steal(&deque, out, 1));
        EXPECT_EQ(oldest++, out[0]);
    }
    while (mti_deque_put(&deque, next))
        next++;
    EXPECT_EQ((uint32_t)MTI_DEQUE_MAX, mti_deque_size(&deque));
    while (mti_deque_steal(&deque, out, 1))
        EXPECT_EQ(oldest++, out[0]);
    EXPECT_EQ(next, oldest);
    mti_deque_deinit(&deque);
}

} // namespace
