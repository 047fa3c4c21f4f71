// The .cu files themselves, compiled by the host compiler and run by a grid of threads: what can be known
// of them without a GPU. Barriers are real ones, so that ThreadSanitizer sees what races between
// them, and AddressSanitizer who leaves an array. A barrier that not all threads of a block come to hangs:
// the watchdog of ctest ends it.
#include "support/kernel_cases.h"

#include <gtest/gtest.h>

#include <pthread.h>

#include <cmath>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace
{

// ---- the device ------------------------------------------------------------------------------

struct dim {
    unsigned x, y, z;
};
thread_local dim threadIdx, blockIdx, blockDim, gridDim;

// As many threads as the largest block has so far; each launch borrows the first of them.
class block_of_threads
{
  public:
    ~block_of_threads()
    {
        run_all(0, [](unsigned) {}, true);
        for (std::thread &t : m_threads)
            t.join();
    }
    // Runs |body| on |count| threads and waits for them.
    template <class F> void run(unsigned count, F body)
    {
        while (m_threads.size() < count)
            m_threads.emplace_back(
                [this, index = static_cast<unsigned>(m_threads.size()), seen = m_round] {
                    loop(index, seen);
                });
        run_all(count, body, false);
    }

  private:
    template <class F> void run_all(unsigned count, F body, bool stop)
    {
        std::unique_lock<std::mutex> lock(m_mutex);
        m_body = body;
        m_count = count;
        m_open = count;
        m_stop = stop;
        m_round++;
        m_go.notify_all();
        m_done.wait(lock, [this] { return m_open == 0; });
    }
    void loop(unsigned index, uint64_t seen)
    {
        std::unique_lock<std::mutex> lock(m_mutex);
        for (;;) {
            m_go.wait(lock, [&] { return m_round != seen; });
            seen = m_round;
            if (m_stop) return;
            if (index >= m_count) continue;
            lock.unlock();
            m_body(index);
            lock.lock();
            if (--m_open == 0) m_done.notify_all();
        }
    }
    std::mutex m_mutex;
    std::condition_variable m_go, m_done;
    std::function<void(unsigned)> m_body;
    unsigned m_count = 0, m_open = 0;
    uint64_t m_round = 0;
    bool m_stop = false;
    std::vector<std::thread> m_threads;
};

pthread_barrier_t barrier;

void __syncthreads()
{
    pthread_barrier_wait(&barrier);
}

unsigned atomicAdd(unsigned *address, unsigned value)
{
    return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}

float __fadd_rn(float a, float b)
{
    return a + b;
}
float __fmul_rn(float a, float b)
{
    return a * b;
}
double __dadd_rn(double a, double b)
{
    return a + b;
}
double __dmul_rn(double a, double b)
{
    return a * b;
}

} // namespace

#define __global__
#define __device__
#define __shared__ static // one block at a time
#define __launch_bounds__(threads)
#define CUDART_INF (static_cast<double>(INFINITY))

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include "kernels/image.cu"
#include "kernels/matrix.cu"
#include "kernels/vector.cu"
#pragma GCC diagnostic pop

namespace
{

typedef std::function<void(void *const *)> entry;

template <class... P, size_t... I>
entry unpack(void (*kernel)(P...), std::index_sequence<I...>)
{
    return [kernel](void *const *args) {
        (void)args;
        kernel(*static_cast<typename std::remove_const<P>::type *>(args[I])...);
    };
}
template <class... P> entry entry_of(void (*kernel)(P...))
{
    return unpack(kernel, std::index_sequence_for<P...>());
}

const std::pair<const char *, entry> entries[] = {
#define ENTRY(x) {"manta/" #x, entry_of(manta_##x)}
    ENTRY(fill_u8),          ENTRY(fill_u32),       ENTRY(fill_f32),    ENTRY(fill_f64),
    ENTRY(axpy_f32),         ENTRY(axpy_f64),       ENTRY(sum_f32),     ENTRY(sum_f64),
    ENTRY(min_f32),          ENTRY(min_f64),        ENTRY(max_f32),     ENTRY(max_f64),
    ENTRY(transpose_f32),    ENTRY(transpose_f64),  ENTRY(gemm_f32),    ENTRY(gemm_f64),
    ENTRY(syrk_f64),         ENTRY(norms_f64),      ENTRY(rbf_f64),     ENTRY(potrf_f64),
    ENTRY(trsm_f64),         ENTRY(trsm_left_f64),  ENTRY(conv3x3_u8),  ENTRY(conv3x3_f32),
    ENTRY(luma_u8),          ENTRY(histogram_u8),   ENTRY(equalize_map_u8), ENTRY(map_luma_u8),
};

void launch(block_of_threads *threads, const entry &kernel, const manta_grid_t &g,
            void *const *args)
{
    const unsigned count = g.block[0] * g.block[1] * g.block[2];
    pthread_barrier_init(&barrier, nullptr, count);
    for (unsigned z = 0; z < g.grid[2]; z++) {
        for (unsigned y = 0; y < g.grid[1]; y++) {
            for (unsigned x = 0; x < g.grid[0]; x++) {
                threads->run(count, [&](unsigned t) {
                    threadIdx = {t % g.block[0], t / g.block[0] % g.block[1],
                                 t / g.block[0] / g.block[1]};
                    blockIdx = {x, y, z};
                    blockDim = {g.block[0], g.block[1], g.block[2]};
                    gridDim = {g.grid[0], g.grid[1], g.grid[2]};
                    kernel(args);
                });
            }
        }
    }
    pthread_barrier_destroy(&barrier);
}

class EmulatedKernelTest : public testing::TestWithParam<size_t>
{
};

TEST_P(EmulatedKernelTest, DoesWhatItsTwinDoes)
{
    static block_of_threads threads;
    const auto &[name, kernel] = entries[GetParam()];
    size_t count = 0;
    for (kernel_case &c : kernel_cases()) {
        if (std::string(c.kernel->name) != name) continue;
        count++;
        kernel_case expected = c;
        ASSERT_EQ(kernel_case_run_twin(&expected), MANTA_OK) << manta_error_message();
        std::vector<void *> addresses;
        for (kernel_buffer &b : c.buffers)
            addresses.push_back(b.bytes.data());
        kernel_args args = kernel_args_of(&c, addresses);
        launch(&threads, kernel, c.grid, args.pointers.data());
        EXPECT_EQ(kernel_case_difference(c, expected), "");
    }
    EXPECT_GT(count, 0u) << "no case for " << name;
}

INSTANTIATE_TEST_SUITE_P(All, EmulatedKernelTest,
                         testing::Range(size_t{0}, sizeof entries / sizeof *entries),
                         [](const testing::TestParamInfo<size_t> &which) {
                             return std::string(entries[which.param].first + strlen("manta/"));
                         });

} // namespace
