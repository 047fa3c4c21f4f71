// Code, kernels, host functions.
#include "cts/cts.h"

#include <cstring>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <numeric>

namespace cts
{

TEST_P(Cts, AKernelIsFoundByNameAndGetsItsArguments)
{
    NEED(MTI_CAP_LAUNCH);
    load();
    EXPECT_EQ(nullptr, mti_device_kernel(device(), "cts_nobody"));
    mti_queue_t *q = queue();
    mti_memory_t *out = memory(6 * sizeof(double));
    uint8_t a = 200;
    double b = -1.5;
    uint16_t c = 60000;
    uint64_t d = 1ull << 50;
    float e = 0.25f;
    uint32_t f = 4000000000u;
    void *ptr = out->ptr;
    void *args[] = {&a, &b, &c, &d, &e, &f, &ptr};
    mti_launch_t launch = launch_of("cts_mixed", args, 7);
    ASSERT_OK(mti_queue_launch(q, &launch, 0, nullptr));
    a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, ptr = nullptr; // copied during the call
    std::vector<uint8_t> got = read(q, out, 0, 6 * sizeof(double));
    double values[6];
    memcpy(values, got.data(), sizeof values);
    EXPECT_EQ(200.0, values[0]);
    EXPECT_EQ(-1.5, values[1]);
    EXPECT_EQ(60000.0, values[2]);
    EXPECT_EQ(static_cast<double>(1ull << 50), values[3]);
    EXPECT_EQ(0.25, values[4]);
    EXPECT_EQ(4000000000.0, values[5]);
}

TEST_P(Cts, AKernelRunsBetweenTheCopiesAroundIt)
{
    NEED(MTI_CAP_LAUNCH);
    load();
    mti_queue_t *q = queue();
    for (uint64_t n : {uint64_t{1}, uint64_t{255}, uint64_t{100000}}) {
        std::vector<float> x(n), y(n, 1.0f);
        std::iota(x.begin(), x.end(), 0.0f);
        size_t size = n * sizeof(float);
        mti_memory_t *hx = host(size), *hy = host(size), *dx = memory(size), *dy = memory(size);
        memcpy(hx->ptr, x.data(), size);
        memcpy(hy->ptr, y.data(), size);
        copy(q, dx, 0, hx, 0, size);
        copy(q, dy, 0, hy, 0, size);
        float a = 2.0f;
        void *args[] = {&a, &dx->ptr, &dy->ptr, &n};
        mti_launch_t launch = launch_of("cts_saxpy", args, 4);
        launch.shape = {{static_cast<uint32_t>((n + 255) / 256), 1, 1}, {256, 1, 1}, 0};
        ASSERT_OK(mti_queue_launch(q, &launch, 0, nullptr));
        copy(q, hy, 0, dy, 0, size);
        finish(q);
        for (uint64_t i = 0; i < n; i += n / 7 + 1)
            ASSERT_EQ(1.0f + 2.0f * x[i], static_cast<float *>(hy->ptr)[i]) << i;
    }
}

TEST_P(Cts, AChainOfKernelsRunsInOrderAcrossQueues)
{
    NEED(MTI_CAP_LAUNCH);
    load();
    mti_queue_t *queues[] = {queue(), queue(), queue()};
    mti_memory_t *counter = memory(4);
    fill(queues[0], counter, 0);
    mti_queue_t *last = queues[0];
    const uint32_t kLength = driver().is_slow ? 200 : 2000;
    for (uint32_t i = 0; i < kLength; i++) {
        mti_queue_t *q = queues[i % 3];
        ASSERT_OK(mti_queue_wait(q, last, last->submitted));
        uint32_t times = 1;
        void *args[] = {&counter->ptr, &times};
        mti_launch_t launch = launch_of("cts_bump", args, 2);
        manta_status_t status = mti_queue_launch(q, &launch, 0, nullptr);
        ASSERT_OK(status);
        last = q;
    }
    std::vector<uint8_t> got = read(last, counter, 0, 4);
    uint32_t count;
    memcpy(&count, got.data(), 4);
    EXPECT_EQ(kLength, count);
    for (mti_queue_t *q : queues)
        finish(q);
}

TEST_P(Cts, TheShapeArrives)
{
    NEED(MTI_CAP_LAUNCH);
    load();
    mti_queue_t *q = queue();
    mti_memory_t *out = memory(28);
    void *args[] = {&out->ptr};
    mti_launch_t launch = launch_of("cts_shape", args, 1);
    launch.shape = {{3, 4, 5}, {8, 2, 4}, 1024};
    ASSERT_OK(mti_queue_launch(q, &launch, 0, nullptr));
    std::vector<uint8_t> got = read(q, out, 0, 28);
    uint32_t values[7];
    memcpy(values, got.data(), 28);
    const uint32_t want[7] = {3, 4, 5, 8, 2, 4, 1024};
    for (int i = 0; i < 7; i++)
        EXPECT_EQ(want[i], values[i]) << i;
    // A grid of nothing is an operation that does nothing.
    fill(q, out, 0x5a);
    launch.shape.grid[1] = 0;
    uint64_t seq = 0;
    EXPECT_OK(mti_queue_launch(q, &launch, MTI_OP_RECORD, &seq));
    await(q, seq);
    EXPECT_EQ(0x5a, read(q, out, 0, 28)[0]);
}

TEST_P(Cts, ABadLaunchIsRefusedAndSaysWhatTheLimitIs)
{
    NEED(MTI_CAP_LAUNCH);
    load();
    mti_queue_t *q = queue();
    mti_memory_t *out = memory(28);
    void *args[] = {&out->ptr, &out->ptr};
    const mti_device_limits_t &limits = device()->info.limits;
    auto refused = [&](mti_launch_shape_t shape, const std::string &why) {
        mti_launch_t launch = launch_of("cts_shape", args, 1);
        launch.shape = shape;
        EXPECT_STATUS(MANTA_ERR_OUT_OF_RANGE, mti_queue_launch(q, &launch, 0, nullptr));
        EXPECT_MESSAGE(why);
        EXPECT_MESSAGE("cts_shape");
        EXPECT_MESSAGE(device()->name);
    };
    refused({{1, limits.max_grid[1] + 1, 1}, {1, 1, 1}, 0},
            "grid y of " + std::to_string(limits.max_grid[1] + 1) + " is beyond " +
                std::to_string(limits.max_grid[1]));
    refused({{1, 1, 1}, {limits.max_block[0] + 1, 1, 1}, 0}, "block x");
    refused({{1, 1, 1}, {1, 1, limits.max_block[2] + 1}, 0}, "block z");
    refused({{1, 1, 1}, {1, 0, 1}, 0}, "block y of 0");
    refused({{1, 1, 1}, {16, 16, 2}, 0}, "16 x 16 x 2 threads is beyond 256"); // the kernel's own
    refused({{1, 1, 1}, {1, 1, 1}, limits.max_shared_bytes + (1u << 20)}, "shared memory");

    mti_launch_t launch = launch_of("cts_shape", args, 2);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_queue_launch(q, &launch, 0, nullptr));
    EXPECT_MESSAGE("2 arguments, it takes 1");
    const uint32_t sizes[] = {4};
    launch = launch_of("cts_shape", args, 1);
    launch.arg_bytes = sizes;
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_queue_launch(q, &launch, 0, nullptr));
    EXPECT_MESSAGE("argument 0 has 4 bytes, it takes 8");
    void *nothing[] = {nullptr};
    launch = launch_of("cts_shape", nothing, 1);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_queue_launch(q, &launch, 0, nullptr));
    EXPECT_MESSAGE("argument 0 is missing");
    launch.kernel = nullptr;
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_queue_launch(q, &launch, 0, nullptr));
    if (devices_.size() > 1) {
        load(second());
        launch = launch_of("cts_shape", args, 1, second());
        EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_queue_launch(q, &launch, 0, nullptr));
        EXPECT_MESSAGE(second()->name);
    }
    EXPECT_EQ(0u, q->submitted);
}

TEST_P(Cts, ANameIsLoadedOnce)
{
    NEED(MTI_CAP_LAUNCH);
    load();
    EXPECT_STATUS(MANTA_ERR_ALREADY_EXISTS,
                  mti_device_code_load(device(), driver().code ? driver().code : kernels()));
    EXPECT_MESSAGE("cts_saxpy");
    mti_kernel_desc_t nameless = {};
    mti_code_t code = {"bad", nullptr, 0, &nameless, 1};
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_device_code_load(device(), &code));
    code.kernel_count = 0;
    EXPECT_OK(mti_device_code_load(device(), &code));
    EXPECT_NE(nullptr, mti_device_kernel(device(), "cts_saxpy"));
}

TEST_P(Cts, WithoutLaunchThereIsNoCode)
{
    if (has(MTI_CAP_LAUNCH)) return;
    EXPECT_STATUS(MANTA_ERR_NOT_SUPPORTED, mti_device_code_load(device(), kernels()));
    mti_launch_t launch = {};
    EXPECT_STATUS(MANTA_ERR_NOT_SUPPORTED, mti_queue_launch(queue(), &launch, 0, nullptr));
    EXPECT_MESSAGE(device()->name);
}

TEST_P(Cts, WithoutNativeThereIsNoStream)
{
    mti_queue_t *q = queue();
    if (has(MTI_CAP_NATIVE)) {
        EXPECT_NE(nullptr, mti_queue_native(q));
        uint64_t seq = 0;
        EXPECT_OK(mti_queue_adopt(q, &seq));
        EXPECT_EQ(1u, seq);
        finish(q);
        return;
    }
    EXPECT_EQ(nullptr, mti_queue_native(q));
    EXPECT_STATUS(MANTA_ERR_NOT_SUPPORTED, mti_queue_adopt(q, nullptr));
    mti_launch_shape_t shape = {{1, 1, 1}, {1, 1, 1}, 0};
    EXPECT_STATUS(MANTA_ERR_NOT_SUPPORTED,
                  mti_queue_launch_native(q, this, "k", &shape, nullptr, 0, nullptr));
}

// ---- Host functions ----

TEST_P(Cts, AHostFunctionRunsInItsPlace)
{
    NEED(MTI_CAP_HOST_FN);
    mti_queue_t *q = queue();
    mti_memory_t *mine = host(100), *there = memory(100);
    struct Check {
        uint8_t *data;
        int seen;
    } check = {bytes(mine), -1};
    memset(mine->ptr, 1, 100);
    fill(q, there, 42);
    copy(q, mine, 0, there, 0, 100);
    ASSERT_OK(mti_queue_launch_host_fn(
        q,
        [](void *user) -> manta_status_t {
            Check *c = static_cast<Check *>(user);
            c->seen = c->data[99];
            memset(c->data, 43, 100);
            return MANTA_OK;
        },
        &check, 0, nullptr));
    copy(q, there, 0, mine, 0, 100);
    EXPECT_EQ(43, read(q, there, 0, 100)[50]);
    EXPECT_EQ(42, check.seen);
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT,
                  mti_queue_launch_host_fn(q, nullptr, nullptr, 0, nullptr));
}

TEST_P(Cts, AHostFunctionThatBlocksHoldsUpItsQueueOnly)
{
    NEED(MTI_CAP_HOST_FN);
    if (is_virtual()) return; // it runs on the thread that polls
    struct Gate {
        std::mutex lock;
        std::condition_variable changed;
        bool is_open = false;
    } gate;
    mti_queue_t *a = queue(), *b = queue();
    uint64_t seq = 0;
    ASSERT_OK(mti_queue_launch_host_fn(
        a,
        [](void *user) -> manta_status_t {
            Gate *g = static_cast<Gate *>(user);
            std::unique_lock<std::mutex> guard(g->lock);
            g->changed.wait(guard, [g] { return g->is_open; });
            return MANTA_OK;
        },
        &gate, MTI_OP_RECORD, &seq));
    for (int i = 0; i < 10; i++)
        empty(b);
    finish(b);
    EXPECT_EQ(0u, mti_queue_completed(a));
    {
        std::lock_guard<std::mutex> guard(gate.lock);
        gate.is_open = true;
        gate.changed.notify_all();
    }
    await(a, seq);
}

TEST_P(Cts, AHostFunctionThatFailsIsAFailureOfItsOperation)
{
    NEED(MTI_CAP_HOST_FN);
    mti_queue_t *q = queue();
    empty(q);
    uint64_t seq = 0;
    ASSERT_OK(mti_queue_launch_host_fn(
        q, [](void *) -> manta_status_t { return MANTA_ERR_USER + 4; }, nullptr, 0, &seq));
    empty(q);
    finish(q);
    ASSERT_EQ(1u, failures_.size());
    EXPECT_EQ(q, failures_[0].queue);
    EXPECT_EQ(seq, failures_[0].seq);
    EXPECT_EQ(MANTA_ERR_USER + 4, failures_[0].code);
    EXPECT_NE(nullptr, failures_[0].text);
    EXPECT_EQ(seq, mti_atomic_u64_load_acquire(&q->failed));
    mti_queue_acknowledge(q, seq - 1);
    EXPECT_EQ(seq, mti_atomic_u64_load_acquire(&q->failed));
    mti_queue_acknowledge(q, seq);
    EXPECT_EQ(0u, mti_atomic_u64_load_acquire(&q->failed));
    EXPECT_EQ(MTI_DEVICE_OPEN, mti_device_state(device()));
}

TEST_P(Cts, ManyFailuresAreHandedOutBeforeTheWordsPassThem)
{
    NEED(MTI_CAP_HOST_FN);
    mti_queue_t *q = queue();
    constexpr uint64_t kMany = 3 * MTI_POLL_FAILURES + 1;
    for (uint64_t i = 0; i < kMany; i++)
        ASSERT_OK(mti_queue_launch_host_fn(
            q, [](void *) -> manta_status_t { return MANTA_ERR_IO; }, nullptr, MTI_OP_RECORD,
            nullptr));
    while (mti_queue_completed(q) < kMany) {
        mti_poll_t seen = poll(device());
        ASSERT_GE(failures_.size(), mti_queue_completed(q));
        if (seen.more) {
            EXPECT_EQ(0u, seen.advanced);
        }
        if (seen.advanced == 0 && !seen.more) {
            ASSERT_OK(mti_device_block(device(), INT64_MAX));
        }
    }
    ASSERT_EQ(kMany, failures_.size());
    for (uint64_t i = 0; i < kMany; i++)
        EXPECT_EQ(i + 1, failures_[i].seq);
}

} // namespace cts
