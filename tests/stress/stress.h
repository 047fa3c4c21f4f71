// What the stress tests share: a seed, sizes that shrink under sanitizers, a watchdog, checks.
//
// A stress test is `name [seed [scale]]`. It prints its seed; the same seed makes the same choices
// (not the same interleaving). |scale| multiplies how much it does.
#ifndef MANTA_TESTS_STRESS_STRESS_H
#define MANTA_TESTS_STRESS_STRESS_H

#include <manta/manta.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <thread>
#include <vector>

#if defined(__SANITIZE_THREAD__)
#define STRESS_SLOWER 20
#elif defined(__SANITIZE_ADDRESS__)
#define STRESS_SLOWER 6
#else
#define STRESS_SLOWER 1
#endif

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::fprintf(stderr, "%s:%d: CHECK(%s) failed; seed %llu; last message: %s\n",         \
                         __FILE__, __LINE__, #condition, (unsigned long long)stress::the_seed,     \
                         manta_error_message());                                                   \
            std::abort();                                                                          \
        }                                                                                          \
    } while (0)
#define CHECK_EQ(a, b)                                                                             \
    do {                                                                                           \
        auto mti_a = (a);                                                                          \
        auto mti_b = (b);                                                                          \
        if (!(mti_a == mti_b)) {                                                                   \
            std::fprintf(stderr, "%s:%d: %s is %lld, not %s, %lld; seed %llu; last message: %s\n", \
                         __FILE__, __LINE__, #a, (long long)mti_a, #b, (long long)mti_b,           \
                         (unsigned long long)stress::the_seed, manta_error_message());             \
            std::abort();                                                                          \
        }                                                                                          \
    } while (0)

namespace stress
{

inline uint64_t the_seed = 0;
inline double the_scale = 1.0;

inline uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

struct Rng {
    uint64_t state;
    explicit Rng(uint64_t stream) : state(mix(the_seed ^ mix(stream))) {}
    uint64_t next() { return mix(state++); }
    uint64_t below(uint64_t n) { return next() % n; }
    bool one_in(uint64_t n) { return below(n) == 0; }
};

// |n| times the scale, less under a sanitizer, at least |least|.
inline uint64_t times(double n, uint64_t least = 1)
{
    uint64_t scaled = (uint64_t)(n * the_scale / STRESS_SLOWER);
    return scaled < least ? least : scaled;
}

// Ends the process with a core if the test hangs. ctest's timeout does, too, but leaves no trace.
inline void begin(int argc, char **argv, int watchdog_seconds)
{
    the_seed = argc > 1 ? std::strtoull(argv[1], nullptr, 0) : (uint64_t)std::time(nullptr);
    the_scale = argc > 2 ? std::strtod(argv[2], nullptr) : 1.0;
    setvbuf(stdout, nullptr, _IOLBF, 0);
    std::printf("seed %llu scale %g\n", (unsigned long long)the_seed, the_scale);
    if (std::getenv("STRESS_NO_WATCHDOG")) return;
    double seconds = watchdog_seconds * (STRESS_SLOWER > 1 ? 5.0 : 1.0);
    if (the_scale > 1) seconds *= the_scale;
    std::thread([seconds] {
        std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
        std::fprintf(stderr, "hangs; seed %llu\n", (unsigned long long)the_seed);
        std::abort();
    }).detach();
}

inline manta_runtime_t runtime(int workers, int max_threads = 0)
{
    manta_runtime_options_t options;
    manta_runtime_options_init(&options);
    options.workers = workers;
    options.max_threads = max_threads;
    manta_runtime_t rt;
    CHECK_EQ(manta_runtime_create(&options, &rt), MANTA_OK);
    return rt;
}

inline void init(int workers, int max_threads = 0)
{
    manta_runtime_options_t options;
    manta_runtime_options_init(&options);
    options.workers = workers;
    options.max_threads = max_threads;
    CHECK_EQ(manta_init(&options), MANTA_OK);
}

template <class F> void on_threads(int n, F f)
{
    std::vector<std::thread> threads;
    for (int i = 0; i < n; i++)
        threads.emplace_back(f, i);
    for (std::thread &thread : threads)
        thread.join();
}

} // namespace stress

#endif
