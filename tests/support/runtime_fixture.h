// What every integration test stands on: a default runtime per test with a given number of workers,
// checks that nothing is left behind or logged, a watchdog, and a few helpers.
#ifndef TESTS_SUPPORT_RUNTIME_FIXTURE_H
#define TESTS_SUPPORT_RUNTIME_FIXTURE_H

#include <manta/manta.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

namespace manta_testing
{

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// Ends the process with a dump if one test takes longer than a minute (five under a sanitizer).
// Installed once, by runtime_fixture.cc.
void watchdog_name_runtime(manta_runtime_t runtime); // its refs are part of the dump

// Reads as MANTA_ERR_X in failures, and compares with what a call returned.
::testing::AssertionResult status_is(const char *call, const char *expected, manta_status_t got,
                                     manta_status_t want);
#define EXPECT_STATUS(want, call)                                                                  \
    EXPECT_PRED_FORMAT2(::manta_testing::status_is, (call), (manta_status_t)(want))
#define ASSERT_STATUS(want, call)                                                                  \
    ASSERT_PRED_FORMAT2(::manta_testing::status_is, (call), (manta_status_t)(want))
#define EXPECT_OK(call) EXPECT_STATUS(MANTA_OK, call)
#define ASSERT_OK(call) ASSERT_STATUS(MANTA_OK, call)

// A log that keeps what it is given.
class Log
{
  public:
    static void write(void *user, manta_status_t code, const char *message);
    std::vector<std::string> take();

  private:
    std::mutex lock_;
    std::vector<std::string> lines_; // guarded by lock_
};

// Something that tasks wait at until the test opens it.
class Gate
{
  public:
    void open();
    void pass();       // waits until it is open
    void arrive();     // counts one more that has come
    void await(int n); // waits until n have come
    int arrived();

  private:
    std::mutex lock_;
    std::condition_variable changed_;
    bool is_open_ = false; // guarded by lock_
    int arrived_ = 0;      // guarded by lock_
};

template <class T> manta::ref<T> put1(const T &value)
{
    return manta_put(&value, sizeof value);
}

// The single value of |ref|; a test failure and T() if there is none.
template <class T> T value_of(manta_ref_t ref)
{
    T value{};
    EXPECT_OK(manta_read(ref, &value, sizeof value, MANTA_FOREVER));
    return value;
}

template <class T> std::vector<T> values_of(manta_ref_t ref)
{
    manta_view_t view = {};
    manta_status_t status = manta_get(ref, &view, MANTA_FOREVER);
    EXPECT_OK(status);
    if (status != MANTA_OK) return {};
    const T *data = static_cast<const T *>(view.data);
    std::vector<T> values(data, data + view.size_bytes / sizeof(T));
    manta_view_release(&view);
    return values;
}

// What manta_ref_print_error() prints.
std::string printed_error(manta_ref_t ref);
// What manta_runtime_print_refs() prints.
std::string printed_refs(manta_runtime_t runtime);
manta_stats_t stats_of(manta_runtime_t runtime);
// The same when everything is drained: whoever failed a task from outside, or looked for an actor that has ended, may
// still hold a block for a moment.
manta_stats_t settled_stats_of(manta_runtime_t runtime);
// What must hold of a runtime when a test is done with it: drains it first.
void expect_empty(manta_runtime_t runtime);

// A default runtime with GetParam() workers around each test.
class RuntimeTest : public ::testing::TestWithParam<int>
{
  protected:
    void SetUp() override;
    void TearDown() override;
    // Changes the options before the runtime starts.
    virtual void configure(manta_runtime_options_t *options) { (void)options; }

    int workers() const { return GetParam(); }
    bool is_serial() const { return GetParam() == 0; }
    // Lines that the test expects; what is left at the end fails it.
    std::vector<std::string> take_log() { return log_.take(); }
    // Shuts the runtime down now, with the checks.
    void finish();

    manta_runtime_t runtime_ = {0};
    Log log_;

  private:
    bool finished_ = false;
};

// The same for explicit runtimes: makes one with |workers|, and shuts it down with the same checks.
class ScopedRuntime
{
  public:
    explicit ScopedRuntime(int workers, const char *name = "test");
    ~ScopedRuntime();
    manta_runtime_t get() const { return runtime_; }
    void forget() { runtime_ = {0}; } // the test has shut it down itself
    Log &log() { return log_; }

  private:
    manta_runtime_t runtime_ = {0};
    Log log_;
};

#define MANTA_TEST_WORKERS(suite)                                                                  \
    INSTANTIATE_TEST_SUITE_P(                                                                      \
        Workers, suite, ::testing::Values(0, 1, 2),                                                \
        [](const ::testing::TestParamInfo<int> &at) { return std::to_string(at.param); })

// For tests in which a body blocks until the test lets it go on.
#define SKIP_IF_SERIAL()                                                                           \
    if (is_serial()) GTEST_SKIP() << "a serial runtime runs bodies on the test's own thread"

} // namespace manta_testing

#endif
