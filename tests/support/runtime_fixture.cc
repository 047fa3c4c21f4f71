#include "support/runtime_fixture.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace manta_testing
{

namespace
{

constexpr int kSeconds = kSanitized ? 280 : 58; // below the limit of the whole program

class Watchdog : public ::testing::EmptyTestEventListener
{
  public:
    static Watchdog *instance()
    {
        static Watchdog *watchdog = new Watchdog; // the listeners own it
        return watchdog;
    }

    void name_runtime(manta_runtime_t runtime) { runtime_id_.store(runtime.id); }

  private:
    void OnTestStart(const ::testing::TestInfo &info) override
    {
        std::lock_guard<std::mutex> guard(lock_);
        test_ = std::string(info.test_suite_name()) + "." + info.name();
        round_++;
        if (!started_) {
            started_ = true;
            thread_ = std::thread([this] { watch(); });
        }
        changed_.notify_all();
    }

    void OnTestProgramEnd(const ::testing::UnitTest &) override
    {
        {
            std::lock_guard<std::mutex> guard(lock_);
            done_ = true;
            changed_.notify_all();
        }
        if (thread_.joinable()) thread_.join();
    }

    void watch()
    {
        std::unique_lock<std::mutex> guard(lock_);
        while (!done_) {
            uint64_t round = round_;
            auto limit = std::chrono::seconds(kSeconds);
            if (changed_.wait_for(guard, limit, [&] { return done_ || round_ != round; })) continue;
            fprintf(stderr, "watchdog: %s hangs; objects that it holds:\n", test_.c_str());
            (void)manta_runtime_print_refs({runtime_id_.load()}, stderr);
            fflush(stderr);
            abort();
        }
    }

    std::mutex lock_;
    std::condition_variable changed_;
    std::string test_;   // guarded by lock_
    uint64_t round_ = 0; // guarded by lock_
    bool started_ = false, done_ = false;
    std::thread thread_;
    std::atomic<uint64_t> runtime_id_{0};
};

const bool installed = [] {
    ::testing::UnitTest::GetInstance()->listeners().Append(Watchdog::instance());
    return true;
}();

std::string read_all(FILE *file)
{
    std::string text;
    rewind(file);
    for (int c; (c = fgetc(file)) != EOF;)
        text.push_back(static_cast<char>(c));
    fclose(file);
    return text;
}

} // namespace

void expect_empty(manta_runtime_t runtime)
{
    EXPECT_OK(manta_runtime_drain(runtime, MANTA_S(50)));
    manta_stats_t stats = settled_stats_of(runtime);
    EXPECT_EQ(0u, stats.live_refs) << printed_refs(runtime);
    EXPECT_EQ(0u, stats.live_bytes) << printed_refs(runtime);
    EXPECT_EQ(stats.submitted, stats.completed);
}

void watchdog_name_runtime(manta_runtime_t runtime)
{
    Watchdog::instance()->name_runtime(runtime);
}

::testing::AssertionResult status_is(const char *call, const char *expected, manta_status_t got,
                                     manta_status_t want)
{
    (void)expected;
    if (got == want) return ::testing::AssertionSuccess();
    auto name = [](manta_status_t status) {
        std::string text = manta_status_name(status);
        if (status >= MANTA_ERR_USER) text += " + " + std::to_string(status - MANTA_ERR_USER);
        return text;
    };
    return ::testing::AssertionFailure()
           << call << "\n  gives " << name(got) << " (" << got << "), not " << name(want)
           << "\n  message of this thread: " << manta_error_message();
}

void Log::write(void *user, manta_status_t code, const char *message)
{
    Log *log = static_cast<Log *>(user);
    std::lock_guard<std::mutex> guard(log->lock_);
    log->lines_.push_back(std::string(manta_status_name(code)) + ": " + message);
}

std::vector<std::string> Log::take()
{
    std::lock_guard<std::mutex> guard(lock_);
    std::vector<std::string> lines;
    lines.swap(lines_);
    return lines;
}

void Gate::open()
{
    std::lock_guard<std::mutex> guard(lock_);
    is_open_ = true;
    changed_.notify_all();
}

void Gate::pass()
{
    std::unique_lock<std::mutex> guard(lock_);
    changed_.wait(guard, [this] { return is_open_; });
}

void Gate::arrive()
{
    std::lock_guard<std::mutex> guard(lock_);
    arrived_++;
    changed_.notify_all();
}

void Gate::await(int n)
{
    std::unique_lock<std::mutex> guard(lock_);
    changed_.wait(guard, [&] { return arrived_ >= n; });
}

int Gate::arrived()
{
    std::lock_guard<std::mutex> guard(lock_);
    return arrived_;
}

std::string printed_error(manta_ref_t ref)
{
    FILE *file = tmpfile();
    if (!file) return "no temporary file";
    manta_ref_print_error(ref, file);
    return read_all(file);
}

std::string printed_refs(manta_runtime_t runtime)
{
    FILE *file = tmpfile();
    if (!file) return "no temporary file";
    (void)manta_runtime_print_refs(runtime, file);
    return read_all(file);
}

manta_stats_t stats_of(manta_runtime_t runtime)
{
    manta_stats_t stats = {};
    stats.struct_size = sizeof stats;
    EXPECT_OK(manta_runtime_stats(runtime, &stats));
    return stats;
}

manta_stats_t settled_stats_of(manta_runtime_t runtime)
{
    auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    manta_stats_t stats = stats_of(runtime);
    while (stats.live_bytes && std::chrono::steady_clock::now() < give_up) {
        std::this_thread::yield();
        stats = stats_of(runtime);
    }
    return stats;
}

void RuntimeTest::SetUp()
{
    manta_runtime_options_t options;
    manta_runtime_options_init(&options);
    options.workers = workers();
    options.log = Log::write;
    options.log_user = &log_;
    options.report_leaks = true;
    configure(&options);
    ASSERT_OK(manta_init(&options));
    runtime_ = manta_runtime_default();
    ASSERT_NE(0u, runtime_.id);
    watchdog_name_runtime(runtime_);
}

void RuntimeTest::finish()
{
    if (finished_) return;
    finished_ = true;
    if (!runtime_.id) return;
    expect_empty(runtime_);
    EXPECT_OK(manta_shutdown(MANTA_S(50)));
    for (const std::string &line : log_.take())
        ADD_FAILURE() << "logged: " << line;
}

void RuntimeTest::TearDown()
{
    finish();
}

ScopedRuntime::ScopedRuntime(int workers, const char *name)
{
    manta_runtime_options_t options;
    manta_runtime_options_init(&options);
    options.name = name;
    options.workers = workers;
    options.log = Log::write;
    options.log_user = &log_;
    options.report_leaks = true;
    EXPECT_OK(manta_runtime_create(&options, &runtime_));
    watchdog_name_runtime(runtime_);
}

ScopedRuntime::~ScopedRuntime()
{
    if (runtime_.id) {
        expect_empty(runtime_);
        EXPECT_OK(manta_runtime_shutdown(runtime_, MANTA_SHUTDOWN_DRAIN, MANTA_S(50)));
    }
    for (const std::string &line : log_.take())
        ADD_FAILURE() << "logged: " << line;
}

} // namespace manta_testing
