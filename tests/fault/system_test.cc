// Calls that the system refuses: hwloc, files, eventfd, binding. Each fails once, and each time all that
// come after it as well. A runtime starts, or says why not, and leaves nothing behind either way.
#include "fault/fault.h"

#include <cstring>
#include <ctime>

using namespace fault;

namespace
{

bool typed(manta_status_t status)
{
    return status == MANTA_OK || status == MANTA_ERR_OUT_OF_MEMORY || status == MANTA_ERR_SYSTEM ||
           status == MANTA_ERR_IO || status == MANTA_ERR_INVALID_ARGUMENT;
}

struct Machine {
    const char *name, *synthetic, *xml, *cpuset;
    int bind;
};

void use(manta_runtime_t runtime)
{
    manta_task_options_t where = MANTA_OPTIONS();
    where.runtime = runtime;
    manta_ref_t twice = ft_double_with(where, 21);
    EXPECT_EQ(42, value_of<int>(twice));
    drop(twice);
}

class SystemTest : public ::testing::TestWithParam<Machine>
{
};

TEST_P(SystemTest, StartOrSayWhyNot)
{
    int started = 0, refused = 0;
    for (long count : {1L, kAll}) {
        for (long n = 1;; n++) {
            SCOPED_TRACE((count == 1 ? "only call " : "all from call ") + std::to_string(n));
            CountingAllocator allocator;
            Log log;
            bool reached;
            {
                manta_runtime_options_t options = small_options(2, &allocator, &log);
                options.topology_synthetic = GetParam().synthetic;
                options.topology_xml = GetParam().xml;
                options.cpuset = GetParam().cpuset;
                options.bind = GetParam().bind;
                manta_runtime_t runtime = {0};
                FailingSystem fail(n, count);
                manta_status_t status = manta_runtime_create(&options, &runtime);
                EXPECT_TRUE(typed(status)) << manta_status_name(status);
                if (status == MANTA_OK) {
                    started++;
                    use(runtime);
                    EXPECT_OK(manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_DRAIN, MANTA_FOREVER));
                } else {
                    refused++;
                    EXPECT_NE(0u, strlen(manta_error_message()));
                }
                reached = FailingSystem::seen() >= n;
            }
            EXPECT_EQ(0, allocator.bytes());
            if (!reached || HasFailure()) break;
            ASSERT_LT(n, 3000);
        }
    }
    EXPECT_GT(started, 0);
    EXPECT_GT(refused, 0); // loading itself can't be done without
}

INSTANTIATE_TEST_SUITE_P(
    Machines, SystemTest,
    ::testing::Values(Machine{"This", nullptr, nullptr, nullptr, 1},
                      Machine{"Cpuset", nullptr, nullptr, "0-", MANTA_AUTO},
                      Machine{"Synthetic", "pack:2 core:2 pu:2", nullptr, "0-3,6", MANTA_AUTO},
                      Machine{"Xml", nullptr,
                              MANTA_SOURCE_DIR "/tests/fixtures/topologies/" MACHINE_FILE, nullptr,
                              MANTA_AUTO}),
    [](const ::testing::TestParamInfo<Machine> &at) { return std::string(at.param.name); });

TEST(CompletionQueueFault, EventfdRefused)
{
    CountingAllocator allocator;
    Log log;
    manta_runtime_options_t options = small_options(1, &allocator, &log);
    ASSERT_OK(manta_init(&options));
    manta_cq_t cq = {0};
    {
        FailingSystem fail(1);
        EXPECT_STATUS(MANTA_ERR_SYSTEM, manta_cq_create(&cq));
        EXPECT_NE(nullptr, strstr(manta_error_message(), "eventfd"));
    }
    ASSERT_OK(manta_cq_create(&cq));
    manta_ref_t twice = ft_double_remote(1);
    ASSERT_OK(manta_cq_add(cq, twice, 7));
    manta_cq_entry_t entry;
    size_t count = 0;
    ASSERT_OK(manta_cq_next(cq, &entry, 1, &count, MANTA_FOREVER));
    EXPECT_EQ(7u, entry.tag);
    drop(twice);
    EXPECT_OK(manta_cq_destroy(cq));
    EXPECT_OK(manta_shutdown(MANTA_S(30)));
    EXPECT_EQ(0, allocator.bytes());
}

// ---- the clock ------------------------------------------------------------------------------------

std::atomic<int64_t> ahead_ns{0}, step_ns{0};

int64_t jumping_clock()
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<int64_t>(now.tv_sec) * 1000000000 + now.tv_nsec + (ahead_ns += step_ns);
}

class ClockTest : public ::testing::TestWithParam<int64_t>
{
};

// A clock that jumps with every look at it. Waits end, for good or with NOT_READY; nothing gets stuck.
TEST_P(ClockTest, JumpsUnderWaits)
{
    for (int workers : {0, 1, 2}) {
        CountingAllocator allocator;
        Log log;
        manta_runtime_options_t options = small_options(workers, &allocator, &log);
        __atomic_store_n(&mti_clock_hook, &jumping_clock, __ATOMIC_RELEASE);
        ASSERT_OK(manta_init(&options));
        watchdog_name_runtime(manta_runtime_default());
        step_ns = GetParam();
        for (int i = 0; i < 50; i++) {
            manta_ref_t promise = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
            int value = 0;
            // Backwards the timeout moves away with every look, so it must be none.
            int64_t timeout_ns = GetParam() < 0 ? 0 : MANTA_US(50);
            EXPECT_STATUS(MANTA_NOT_READY, manta_read(promise, &value, sizeof value, timeout_ns));
            EXPECT_STATUS(MANTA_NOT_READY,
                          manta_wait(&promise, 1, 1, timeout_ns, nullptr, nullptr));
            manta_ref_t twice = ft_double_remote(i);
            EXPECT_EQ(2 * i, value_of<int>(twice));
            EXPECT_OK(manta_promise_set(promise, &value, sizeof value));
            EXPECT_OK(manta_wait(&promise, 1, 1, MANTA_S(30), nullptr, nullptr));
            drop(promise);
            drop(twice);
        }
        EXPECT_OK(manta_drain(MANTA_FOREVER));
        step_ns = 0;
        EXPECT_OK(manta_shutdown(MANTA_S(30)));
        ahead_ns = 0;
        __atomic_store_n(&mti_clock_hook, static_cast<int64_t (*)(void)>(nullptr),
                         __ATOMIC_RELEASE);
        EXPECT_EQ(0, allocator.bytes());
    }
}

INSTANTIATE_TEST_SUITE_P(Steps, ClockTest,
                         ::testing::Values(MANTA_MS(1), MANTA_S(3600), -MANTA_MS(1),
                                           -MANTA_S(3600)));

} // namespace
