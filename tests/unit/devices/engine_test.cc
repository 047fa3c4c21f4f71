// The engine under virtual devices. Built of engine.c and base alone, as its header promises.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

extern "C" {
#include "devices/sim/engine.h"
}
#include "unit/failing.h"

#include <gtest/gtest.h>

namespace
{

// What operations leave behind, in the order of their effects.
struct Trace {
    std::mutex lock;
    std::vector<int> seen;
    void add(int id)
    {
        std::lock_guard<std::mutex> guard(lock);
        seen.push_back(id);
    }
    std::vector<int> take()
    {
        std::lock_guard<std::mutex> guard(lock);
        return std::move(seen);
    }
};

struct Mark {
    Trace *trace;
    int id;
};

manta_status_t add_mark(void *payload, const char **)
{
    Mark *mark = static_cast<Mark *>(payload);
    mark->trace->add(mark->id);
    return MANTA_OK;
}

// A gate that an effect stands at until the test opens it.
struct Gate {
    std::mutex lock;
    std::condition_variable changed;
    bool arrived = false, is_open = false;
    void pass()
    {
        std::unique_lock<std::mutex> guard(lock);
        arrived = true;
        changed.notify_all();
        changed.wait(guard, [this] { return is_open; });
    }
    void await()
    {
        std::unique_lock<std::mutex> guard(lock);
        changed.wait(guard, [this] { return arrived; });
    }
    void open()
    {
        std::lock_guard<std::mutex> guard(lock);
        is_open = true;
        changed.notify_all();
    }
};

manta_status_t pass_gate(void *payload, const char **)
{
    (*static_cast<Gate **>(payload))->pass();
    return MANTA_OK;
}

class EngineTest : public ::testing::TestWithParam<mti_engine_mode_t>
{
  protected:
    void SetUp() override { start({}); }
    void TearDown() override { mti_engine_destroy(engine_); }

    void start(mti_engine_options_t options)
    {
        mti_engine_destroy(engine_);
        options.mode = GetParam();
        engine_ = nullptr;
        ASSERT_EQ(MANTA_OK, mti_engine_create(&options, &engine_));
        gpu_ = mti_engine_domain_create(engine_, "gpu");
        a_ = mti_engine_queue_create(gpu_, "a");
        b_ = mti_engine_queue_create(gpu_, "b");
        ASSERT_TRUE(gpu_ && a_ && b_);
    }
    uint64_t mark(mti_engine_queue_t *queue, int id, int64_t duration_ns = 0,
                  mti_engine_resource_t *resource = nullptr)
    {
        Mark payload = {&trace_, id};
        mti_engine_op_t op = {};
        op.name = "mark";
        op.effect = add_mark;
        op.payload = &payload;
        op.payload_bytes = sizeof payload;
        op.duration_ns = duration_ns;
        op.resource = resource;
        uint64_t seq = 0;
        EXPECT_EQ(MANTA_OK, mti_engine_submit(queue, &op, &seq));
        return seq;
    }
    uint64_t gate(mti_engine_queue_t *queue, Gate *gate)
    {
        mti_engine_op_t op = {};
        op.name = "gate";
        op.effect = pass_gate;
        op.payload = &gate;
        op.payload_bytes = sizeof gate;
        uint64_t seq = 0;
        EXPECT_EQ(MANTA_OK, mti_engine_submit(queue, &op, &seq));
        return seq;
    }
    void finish(mti_engine_queue_t *queue)
    {
        ASSERT_EQ(MANTA_OK, mti_engine_await(queue, mti_engine_submitted(queue), INT64_MAX));
    }
    std::string dump()
    {
        std::string text(4096, '\0');
        text.resize(static_cast<size_t>(mti_engine_format(engine_, &text[0], text.size())));
        return text;
    }

    mti_engine_t *engine_ = nullptr;
    mti_engine_domain_t *gpu_ = nullptr;
    mti_engine_queue_t *a_ = nullptr, *b_ = nullptr;
    Trace trace_;
};

INSTANTIATE_TEST_SUITE_P(Modes, EngineTest,
                         ::testing::Values(MTI_ENGINE_THREADS, MTI_ENGINE_VIRTUAL),
                         [](const auto &at) {
                             return at.param == MTI_ENGINE_THREADS ? "Threads" : "Virtual";
                         });

class ThreadsEngineTest : public EngineTest
{
};
INSTANTIATE_TEST_SUITE_P(Modes, ThreadsEngineTest, ::testing::Values(MTI_ENGINE_THREADS));

TEST_P(EngineTest, NumbersCountUpPerQueueAndEffectsKeepTheirOrder)
{
    std::vector<int> want;
    for (int i = 0; i < 1000; i++) {
        ASSERT_EQ(static_cast<uint64_t>(i + 1), mark(a_, i));
        want.push_back(i);
    }
    EXPECT_EQ(1u, mark(b_, 1000));
    finish(b_);
    finish(a_);
    std::vector<int> seen = trace_.take();
    seen.erase(std::find(seen.begin(), seen.end(), 1000));
    EXPECT_EQ(want, seen);
    EXPECT_EQ(1000u, mti_engine_done(a_));
}

TEST_P(EngineTest, NothingEndsInsideSubmit)
{
    mti_engine_queue_hold(a_, true);
    mark(a_, 1);
    (void)mti_engine_run(engine_);
    EXPECT_EQ(0u, mti_engine_done(a_));
    mti_engine_queue_hold(a_, false);
    finish(a_);
    EXPECT_EQ(std::vector<int>{1}, trace_.take());
}

TEST_P(EngineTest, AWaitHoldsBackWhatComesAfterItOnly)
{
    mti_engine_queue_hold(a_, true);
    mark(a_, 1);
    mark(b_, 2);
    ASSERT_EQ(MANTA_OK, mti_engine_wait(b_, a_, 1));
    mark(b_, 3);
    ASSERT_EQ(MANTA_OK, mti_engine_await(b_, 1, INT64_MAX));
    EXPECT_EQ(1u, mti_engine_done(b_));
    mti_engine_queue_hold(a_, false);
    finish(b_);
    EXPECT_EQ((std::vector<int>{2, 1, 3}), trace_.take());
}

TEST_P(EngineTest, AWaitMayNameANumberThatDoesNotExistYet)
{
    ASSERT_EQ(MANTA_OK, mti_engine_wait(b_, a_, 2));
    mark(b_, 3);
    mark(a_, 1);
    finish(a_);
    EXPECT_EQ(0u, mti_engine_done(b_));
    mark(a_, 2);
    finish(b_);
    EXPECT_EQ((std::vector<int>{1, 2, 3}), trace_.take());
}

TEST_P(EngineTest, QueuesThatWaitForEachOtherAreFoundStuck)
{
    mti_engine_options_t options = {};
    options.report_stuck = true;
    start(options);
    EXPECT_FALSE(mti_engine_is_stuck(engine_));
    ASSERT_EQ(MANTA_OK, mti_engine_wait(a_, b_, 1));
    mark(a_, 1);
    ASSERT_EQ(MANTA_OK, mti_engine_wait(b_, a_, 1));
    mark(b_, 2);
    EXPECT_EQ(MANTA_ERR_DEADLOCK, mti_engine_await(a_, 1, INT64_MAX));
    EXPECT_TRUE(mti_engine_is_stuck(engine_));
    EXPECT_NE(std::string::npos, dump().find("gpu/a: done 0 of 1, waits for gpu/b 1")) << dump();
    EXPECT_NE(std::string::npos, dump().find("gpu/b: done 0 of 1, waits for gpu/a 1")) << dump();
}

TEST_P(EngineTest, AStuckSleeperIsToldWhenTheLastOtherWorkEnds)
{
    mti_engine_options_t options = {};
    options.report_stuck = true;
    start(options);
    ASSERT_EQ(MANTA_OK, mti_engine_wait(a_, b_, 5));
    mark(a_, 1);
    for (int i = 0; i < 4; i++)
        mark(b_, i);
    EXPECT_EQ(MANTA_ERR_DEADLOCK, mti_engine_await(a_, 1, INT64_MAX));
    EXPECT_EQ(4u, mti_engine_done(b_));
}

TEST_P(EngineTest, AnAwaitGivesUpAtItsDeadline)
{
    mti_engine_queue_hold(a_, true);
    mark(a_, 1);
    int64_t deadline_ns = mti_engine_now_ns(engine_) + 1000;
    EXPECT_EQ(MANTA_NOT_READY, mti_engine_await(a_, 1, deadline_ns));
    EXPECT_GE(mti_engine_now_ns(engine_), deadline_ns);
}

TEST_P(EngineTest, OneSlotIsSharedByTurns)
{
    struct Shared {
        std::atomic<int> inside{0}, most{0};
    } shared;
    struct Payload {
        Shared *shared;
    } payload = {&shared};
    mti_engine_resource_t *link = mti_engine_resource_create(engine_, "link", 1);
    mti_engine_op_t op = {};
    op.name = "copy";
    op.payload = &payload;
    op.payload_bytes = sizeof payload;
    op.resource = link;
    op.effect = [](void *p, const char **) -> manta_status_t {
        Shared *s = static_cast<Payload *>(p)->shared;
        int inside = ++s->inside;
        if (inside > s->most) s->most = inside;
        --s->inside;
        return MANTA_OK;
    };
    for (int i = 0; i < 500; i++) {
        ASSERT_EQ(MANTA_OK, mti_engine_submit(a_, &op, nullptr));
        ASSERT_EQ(MANTA_OK, mti_engine_submit(b_, &op, nullptr));
    }
    finish(a_);
    finish(b_);
    EXPECT_EQ(1, shared.most);
}

TEST_P(ThreadsEngineTest, QueuesRunBesideEachOther)
{
    Gate one, two;
    gate(a_, &one);
    gate(b_, &two);
    one.await();
    two.await(); // both are inside at once
    two.open();
    finish(b_);
    EXPECT_EQ(0u, mti_engine_done(a_));
    one.open();
    finish(a_);
}

TEST_P(EngineTest, AConditionIsLookedAtAgainAfterAPoke)
{
    static std::atomic<int> word;
    word = 0;
    mti_engine_op_t op = {};
    op.name = "wait value";
    op.condition = [](const void *) { return word == 7; };
    uint64_t seq;
    ASSERT_EQ(MANTA_OK, mti_engine_submit(a_, &op, &seq));
    mark(a_, 1);
    mark(b_, 2);
    finish(b_);
    EXPECT_EQ(0u, mti_engine_done(a_));
    mti_engine_poke(engine_);
    (void)mti_engine_run(engine_);
    EXPECT_EQ(0u, mti_engine_done(a_));
    word = 7;
    mti_engine_poke(engine_);
    finish(a_);
    EXPECT_EQ((std::vector<int>{2, 1}), trace_.take());
}

TEST_P(EngineTest, OnlyRecordsAreVisible)
{
    for (int i = 0; i < 5; i++)
        mark(a_, i);
    finish(a_);
    EXPECT_EQ(5u, mti_engine_done(a_));
    EXPECT_EQ(0u, mti_engine_visible(a_));
    mti_engine_record(a_);
    EXPECT_EQ(5u, mti_engine_visible(a_));
    mti_engine_queue_hold(a_, true);
    mark(a_, 6);
    mti_engine_record(a_);
    EXPECT_EQ(5u, mti_engine_visible(a_));
    mark(a_, 7);
    mti_engine_queue_hold(a_, false);
    finish(a_);
    EXPECT_EQ(6u, mti_engine_visible(a_));
}

TEST_P(EngineTest, AFailureIsListedBeforeItsNumberPasses)
{
    mti_engine_op_t op = {};
    op.name = "bad";
    op.effect = [](void *, const char **text) -> manta_status_t {
        *text = "it broke";
        return MANTA_ERR_USER + 1;
    };
    uint64_t seq;
    mark(a_, 1);
    ASSERT_EQ(MANTA_OK, mti_engine_submit(a_, &op, &seq));
    mark(a_, 2);
    finish(a_);
    mti_engine_failure_t failure;
    ASSERT_TRUE(mti_engine_take_failure(gpu_, &failure));
    EXPECT_EQ(a_, failure.queue);
    EXPECT_EQ(seq, failure.seq);
    EXPECT_EQ(MANTA_ERR_USER + 1, failure.code);
    EXPECT_STREQ("it broke", failure.text);
    EXPECT_FALSE(mti_engine_take_failure(gpu_, &failure));
    EXPECT_EQ((std::vector<int>{1, 2}), trace_.take());
}

TEST_P(EngineTest, AnInjectedFailureTakesTheEffectAway)
{
    mti_engine_fault_fail_op(gpu_, 2, MANTA_ERR_IO);
    for (int i = 1; i <= 3; i++)
        mark(a_, i);
    finish(a_);
    mti_engine_failure_t failure;
    ASSERT_TRUE(mti_engine_take_failure(gpu_, &failure));
    EXPECT_EQ(2u, failure.seq);
    EXPECT_EQ(MANTA_ERR_IO, failure.code);
    EXPECT_EQ((std::vector<int>{1, 3}), trace_.take());
}

TEST_P(EngineTest, ALossStopsItsDomainAndNothingElse)
{
    mti_engine_domain_t *other = mti_engine_domain_create(engine_, "other");
    mti_engine_queue_t *far = mti_engine_queue_create(other, "far");
    mti_engine_fault_lose_at_op(gpu_, 3);
    mti_engine_queue_hold(a_, true);
    for (int k = 1; k <= 5; k++)
        mark(a_, k);
    ASSERT_EQ(MANTA_OK, mti_engine_wait(far, a_, 5)); // it will never come: the wait is over
    mark(far, 10);
    mti_engine_queue_hold(a_, false);
    finish(far);
    while (mti_engine_state(gpu_) != MTI_ENGINE_LOST)
        std::this_thread::yield();
    EXPECT_EQ(2u, mti_engine_done(a_));
    mti_engine_op_t op = {};
    EXPECT_EQ(MANTA_ERR_DEVICE_LOST, mti_engine_submit(a_, &op, nullptr));
    EXPECT_EQ(MANTA_ERR_DEVICE_LOST, mti_engine_await(a_, 5, INT64_MAX));
    mark(far, 11);
    finish(far);
    EXPECT_EQ((std::vector<int>{1, 2, 10, 11}), trace_.take());
}

TEST_P(ThreadsEngineTest, ALostDomainIsLosingAsLongAsAnEffectRuns)
{
    Gate inside;
    gate(a_, &inside);
    inside.await();
    mti_engine_lose(gpu_);
    EXPECT_EQ(MTI_ENGINE_LOSING, mti_engine_state(gpu_));
    inside.open();
    EXPECT_EQ(MANTA_ERR_DEVICE_LOST, mti_engine_await(a_, 1, INT64_MAX));
    EXPECT_EQ(MTI_ENGINE_LOST, mti_engine_state(gpu_));
    EXPECT_EQ(0u, mti_engine_done(a_));
}

TEST_P(EngineTest, DiscardIsCalledOnceWhateverHappens)
{
    static std::atomic<int> discards, effects;
    discards = effects = 0;
    mti_engine_op_t op = {};
    op.name = "owner";
    op.effect = [](void *, const char **) -> manta_status_t {
        effects++;
        return MANTA_OK;
    };
    op.discard = [](void *) { discards++; };
    for (int i = 0; i < 10; i++)
        ASSERT_EQ(MANTA_OK, mti_engine_submit(a_, &op, nullptr));
    finish(a_);
    EXPECT_EQ(10, discards);
    EXPECT_EQ(10, effects);
    mti_engine_queue_hold(b_, true);
    for (int i = 0; i < 10; i++)
        ASSERT_EQ(MANTA_OK, mti_engine_submit(b_, &op, nullptr));
    mti_engine_queue_destroy(b_);
    EXPECT_EQ(20, discards);
    mti_engine_queue_hold(a_, true);
    for (int i = 0; i < 10; i++)
        ASSERT_EQ(MANTA_OK, mti_engine_submit(a_, &op, nullptr));
    mti_engine_lose(gpu_);
    EXPECT_EQ(30, discards);
    EXPECT_NE(MANTA_OK, mti_engine_submit(a_, &op, nullptr));
    EXPECT_EQ(30, discards);
    EXPECT_EQ(10, effects);
}

TEST_P(EngineTest, ADestroyedQueueEndsWaitsForIt)
{
    mti_engine_queue_hold(b_, true);
    mark(b_, 1);
    mark(a_, 2);
    ASSERT_EQ(MANTA_OK, mti_engine_wait(a_, b_, 1));
    mark(a_, 3);
    mti_engine_queue_destroy(b_);
    finish(a_);
    EXPECT_EQ((std::vector<int>{2, 3}), trace_.take());
}

TEST_P(EngineTest, DestroyDropsWhatIsQueued)
{
    mti_engine_queue_hold(a_, true);
    for (int i = 0; i < 100; i++)
        mark(a_, i);
    ASSERT_EQ(MANTA_OK, mti_engine_wait(b_, a_, 100));
    mark(b_, 1);
    mti_engine_destroy(engine_);
    engine_ = nullptr;
    EXPECT_TRUE(trace_.take().empty());
}

TEST_P(EngineTest, LargePayloadsAreCopiedToo)
{
    std::vector<unsigned char> bytes(100000);
    for (size_t i = 0; i < bytes.size(); i++)
        bytes[i] = static_cast<unsigned char>(i * 7);
    static size_t wrong;
    wrong = 1;
    mti_engine_op_t op = {};
    op.payload = bytes.data();
    op.payload_bytes = bytes.size();
    op.effect = [](void *payload, const char **) -> manta_status_t {
        wrong = 0;
        for (size_t i = 0; i < 100000; i++)
            wrong += static_cast<unsigned char *>(payload)[i] != static_cast<unsigned char>(i * 7);
        return MANTA_OK;
    };
    mti_engine_queue_hold(a_, true);
    ASSERT_EQ(MANTA_OK, mti_engine_submit(a_, &op, nullptr));
    std::fill(bytes.begin(), bytes.end(), 0);
    mti_engine_queue_hold(a_, false);
    finish(a_);
    EXPECT_EQ(0u, wrong);
}

TEST_P(EngineTest, ASpaceKeepsItsLimitAndFindsWhatIsInIt)
{
    mti_engine_space_t *space = mti_engine_space_create(engine_, gpu_, "memory", 1000);
    std::vector<char *> blocks;
    for (int i = 0; i < 40; i++) {
        blocks.push_back(static_cast<char *>(mti_engine_space_alloc(space, 25, 256)));
        ASSERT_NE(nullptr, blocks.back());
        EXPECT_EQ(0u, reinterpret_cast<uintptr_t>(blocks.back()) % 256);
        memset(blocks.back(), i, 25);
    }
    EXPECT_EQ(nullptr, mti_engine_space_alloc(space, 1, 16));
    for (char *block : blocks) {
        mti_engine_range_t range;
        ASSERT_TRUE(mti_engine_space_find(space, block + 24, &range));
        EXPECT_EQ(block, range.base);
        EXPECT_EQ(25u, range.size_bytes);
        EXPECT_FALSE(mti_engine_space_find(space, block + 25, &range));
        EXPECT_FALSE(mti_engine_space_free(space, block + 1));
    }
    EXPECT_EQ(1000u, mti_engine_space_usage(space).used_bytes);
    EXPECT_TRUE(mti_engine_space_free(space, blocks[7]));
    EXPECT_FALSE(mti_engine_space_free(space, blocks[7]));
    EXPECT_EQ(39u, mti_engine_space_usage(space).live);
    mti_engine_fault_oom(gpu_, 2);
    void *first = mti_engine_space_alloc(space, 1, 16);
    EXPECT_NE(nullptr, first);
    EXPECT_EQ(nullptr, mti_engine_space_alloc(space, 1, 16));
    EXPECT_NE(nullptr, mti_engine_space_alloc(space, 1, 16));
    EXPECT_EQ(1000u, mti_engine_space_usage(space).peak_bytes);
}

TEST_P(EngineTest, SurvivesEveryFailingAllocation)
{
    for (long nth = 1; nth < 40; nth++) {
        FailingAlloc failing(nth);
        mti_engine_t *engine = nullptr;
        mti_engine_options_t options = {};
        options.mode = GetParam();
        manta_status_t status = mti_engine_create(&options, &engine);
        if (status != MANTA_OK) {
            EXPECT_EQ(MANTA_ERR_OUT_OF_MEMORY, status);
            continue;
        }
        mti_engine_domain_t *domain = mti_engine_domain_create(engine, "d");
        mti_engine_space_t *space = mti_engine_space_create(engine, domain, "s", 100);
        mti_engine_queue_t *queue = domain ? mti_engine_queue_create(domain, "q") : nullptr;
        for (int i = 0; queue && i < 20; i++) {
            mti_engine_op_t op = {};
            op.payload = "x";
            op.payload_bytes = 1;
            manta_status_t submitted = mti_engine_submit(queue, &op, nullptr);
            EXPECT_TRUE(submitted == MANTA_OK || submitted == MANTA_ERR_OUT_OF_MEMORY);
        }
        if (space) (void)mti_engine_space_alloc(space, 10, 16);
        if (queue) {
            EXPECT_EQ(MANTA_OK, mti_engine_await(queue, mti_engine_submitted(queue), INT64_MAX));
        }
        mti_engine_destroy(engine);
    }
}

TEST_P(ThreadsEngineTest, WithoutMoreThreadsOneDoesAll)
{
    finish(a_); // nothing queued: the engine's first thread is there
    FailingThreads failing(1, kAll);
    mti_engine_queue_t *more[8];
    for (mti_engine_queue_t *&queue : more)
        queue = mti_engine_queue_create(gpu_, "more");
    for (int i = 0; i < 100; i++) {
        for (mti_engine_queue_t *queue : more)
            mark(queue, i);
    }
    for (mti_engine_queue_t *queue : more)
        finish(queue);
    EXPECT_EQ(800u, trace_.take().size());
    EXPECT_GT(FailingThreads::seen(), 0);
}

// Random programs from several threads: in each queue effects in order, waits kept. The invariant is
// checked by the effects themselves: an operation that waited for (queue, n) sees queue's counter >= n.
TEST_P(ThreadsEngineTest, StormKeepsOrderAndWaits)
{
    constexpr int kQueues = 6, kOps = 3000;
    struct Lane {
        mti_engine_queue_t *queue;
        std::atomic<uint64_t> count{0};
    };
    static Lane lanes[kQueues];
    static std::atomic<int> wrong;
    wrong = 0;
    struct Step {
        int lane, other;
        uint64_t seq, other_seq;
    };
    for (Lane &lane : lanes) {
        lane.queue = mti_engine_queue_create(gpu_, "lane");
        lane.count = 0;
    }
    mti_engine_resource_t *link = mti_engine_resource_create(engine_, "link", 2);
    std::vector<std::thread> submitters;
    for (int lane = 0; lane < kQueues; lane++) {
        submitters.emplace_back([lane, link] {
            std::mt19937 random(static_cast<unsigned>(lane) + 1);
            for (uint64_t seq = 1; seq <= kOps; seq++) {
                Step step = {lane, -1, seq, 0};
                if (random() % 3 == 0) {
                    step.other = static_cast<int>(random() % kQueues);
                    step.other_seq = mti_engine_submitted(lanes[step.other].queue);
                    EXPECT_EQ(MANTA_OK, mti_engine_wait(lanes[lane].queue, lanes[step.other].queue,
                                                        step.other_seq));
                }
                mti_engine_op_t op = {};
                op.payload = &step;
                op.payload_bytes = sizeof step;
                op.resource = random() % 2 ? link : nullptr;
                op.record = random() % 4 == 0;
                op.effect = [](void *payload, const char **) -> manta_status_t {
                    Step *s = static_cast<Step *>(payload);
                    if (s->other >= 0 && s->other != s->lane &&
                        lanes[s->other].count.load() < s->other_seq)
                        wrong++;
                    if (lanes[s->lane].count.fetch_add(1) + 1 != s->seq) wrong++;
                    return MANTA_OK;
                };
                EXPECT_EQ(MANTA_OK, mti_engine_submit(lanes[lane].queue, &op, nullptr));
            }
        });
    }
    for (std::thread &thread : submitters)
        thread.join();
    for (Lane &lane : lanes)
        finish(lane.queue);
    EXPECT_EQ(0, wrong);
    for (Lane &lane : lanes)
        EXPECT_EQ(uint64_t{kOps}, lane.count);
}

// ---- The virtual clock ----

class VirtualEngineTest : public EngineTest
{
};
INSTANTIATE_TEST_SUITE_P(Modes, VirtualEngineTest, ::testing::Values(MTI_ENGINE_VIRTUAL));

TEST_P(VirtualEngineTest, TimeIsTheSumOfWhatIsOrderedAndTheMaximumOfWhatIsNot)
{
    mark(a_, 1, 100);
    mark(a_, 2, 50);
    mark(b_, 3, 120);
    finish(a_);
    EXPECT_EQ(150, mti_engine_now_ns(engine_));
    EXPECT_EQ(1u, mti_engine_done(b_));
}

TEST_P(VirtualEngineTest, AResourceSerialises)
{
    mti_engine_resource_t *link = mti_engine_resource_create(engine_, "link", 1);
    mark(a_, 1, 100, link);
    mark(b_, 2, 100, link);
    finish(a_);
    finish(b_);
    EXPECT_EQ(200, mti_engine_now_ns(engine_));
}

TEST_P(VirtualEngineTest, RunNeverMovesTheClock)
{
    mark(a_, 1, 100);
    EXPECT_EQ(0u, mti_engine_run(engine_));
    EXPECT_EQ(0, mti_engine_now_ns(engine_));
    uint64_t seen = mti_engine_events(engine_);
    EXPECT_EQ(MANTA_NOT_READY, mti_engine_await_event(engine_, seen, 60));
    EXPECT_EQ(60, mti_engine_now_ns(engine_));
    EXPECT_EQ(MANTA_OK, mti_engine_await_event(engine_, seen, 200));
    EXPECT_EQ(100, mti_engine_now_ns(engine_));
    EXPECT_EQ(1u, mti_engine_done(a_));
}

TEST_P(VirtualEngineTest, WithNothingToDoTimeGoesToTheDeadline)
{
    uint64_t seen = mti_engine_events(engine_);
    EXPECT_EQ(MANTA_NOT_READY, mti_engine_await_event(engine_, seen, 5000));
    EXPECT_EQ(5000, mti_engine_now_ns(engine_));
    EXPECT_EQ(MANTA_ERR_DEADLOCK, mti_engine_await_event(engine_, seen, INT64_MAX));
}

TEST_P(VirtualEngineTest, ALossAtATimeCutsOffWhatRunsThen)
{
    mti_engine_fault_lose_at_ns(gpu_, 150);
    mark(a_, 1, 100);
    mark(a_, 2, 100);
    EXPECT_EQ(MANTA_ERR_DEVICE_LOST, mti_engine_await(a_, 2, INT64_MAX));
    EXPECT_EQ(150, mti_engine_now_ns(engine_));
    EXPECT_EQ(1u, mti_engine_done(a_));
}

TEST_P(VirtualEngineTest, ASlowDomainTakesLonger)
{
    mti_engine_fault_slow(gpu_, 10);
    mark(a_, 1, 100);
    finish(a_);
    EXPECT_EQ(1000, mti_engine_now_ns(engine_));
}

// A racy program: what it leaves depends on the seed, and on nothing else.
std::vector<int> racy_run(uint64_t seed)
{
    mti_engine_options_t options = {};
    options.mode = MTI_ENGINE_VIRTUAL;
    options.seed = seed;
    options.jitter_percent = 20;
    mti_engine_t *engine = nullptr;
    EXPECT_EQ(MANTA_OK, mti_engine_create(&options, &engine));
    mti_engine_domain_t *domain = mti_engine_domain_create(engine, "d");
    Trace trace;
    std::vector<mti_engine_queue_t *> queues;
    for (int i = 0; i < 5; i++)
        queues.push_back(mti_engine_queue_create(domain, "q"));
    for (int i = 0; i < 100; i++) {
        Mark mark = {&trace, i};
        mti_engine_op_t op = {};
        op.effect = add_mark;
        op.payload = &mark;
        op.payload_bytes = sizeof mark;
        op.duration_ns = i % 3 * 10;
        EXPECT_EQ(MANTA_OK, mti_engine_submit(queues[static_cast<size_t>(i % 5)], &op, nullptr));
    }
    for (mti_engine_queue_t *queue : queues)
        EXPECT_EQ(MANTA_OK, mti_engine_await(queue, 20, INT64_MAX));
    std::vector<int> seen = trace.take();
    seen.push_back(static_cast<int>(mti_engine_now_ns(engine)));
    mti_engine_destroy(engine);
    return seen;
}

TEST(EngineSeedTest, TheSameSeedGivesTheSameExecutionAndOthersDoNot)
{
    std::vector<int> first = racy_run(1);
    for (int i = 0; i < 5; i++)
        EXPECT_EQ(first, racy_run(1));
    int different = 0;
    for (uint64_t seed = 2; seed < 12; seed++)
        different += racy_run(seed) != first;
    EXPECT_EQ(10, different);
}

// Two queues copy through one cell without a wait between them: some seed must show it.
TEST(EngineSeedTest, AMissingDependencyShows)
{
    int early = 0, late = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        mti_engine_options_t options = {};
        options.mode = MTI_ENGINE_VIRTUAL;
        options.seed = seed;
        mti_engine_t *engine = nullptr;
        ASSERT_EQ(MANTA_OK, mti_engine_create(&options, &engine));
        mti_engine_domain_t *domain = mti_engine_domain_create(engine, "d");
        mti_engine_queue_t *a = mti_engine_queue_create(domain, "a");
        mti_engine_queue_t *b = mti_engine_queue_create(domain, "b");
        int cell = 0, read = -1;
        struct Move {
            int *to, *from;
        } write = {&cell, nullptr}, copy = {&read, &cell};
        mti_engine_op_t op = {};
        op.duration_ns = 10;
        op.payload_bytes = sizeof(Move);
        op.effect = [](void *payload, const char **) -> manta_status_t {
            Move *move = static_cast<Move *>(payload);
            *move->to = move->from ? *move->from : 1;
            return MANTA_OK;
        };
        op.payload = &write;
        ASSERT_EQ(MANTA_OK, mti_engine_submit(a, &op, nullptr));
        op.payload = &copy;
        ASSERT_EQ(MANTA_OK, mti_engine_submit(b, &op, nullptr));
        ASSERT_EQ(MANTA_OK, mti_engine_await(b, 1, INT64_MAX));
        (read == 0 ? early : late)++;
        mti_engine_destroy(engine);
    }
    EXPECT_GT(early, 0);
    EXPECT_GT(late, 0);
}

} // namespace
