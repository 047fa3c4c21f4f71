// What the benches of GPUs launch, for manta and for raw calls alike. Twins for the fake driver: fake.cc.
#include <stdint.h>

static __device__ uint64_t now_ns()
{
    uint64_t ns;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns));
    return ns;
}

// The small kernel of chains: one word, one more.
extern "C" __global__ void bench_step(uint64_t *state)
{
    if (threadIdx.x == 0) state[0] += 1;
}

// One more than |in|; 0 without it.
extern "C" __global__ void bench_leaf(const uint64_t *in, uint64_t *out)
{
    if (threadIdx.x == 0) out[0] = in ? in[0] + 1 : 0;
}

// One more than each leaf, if they are all the same.
struct bench_leaves {
    const uint64_t *at[8];
};
extern "C" __global__ void bench_join(bench_leaves leaves, uint64_t *out)
{
    if (threadIdx.x != 0) return;
    uint64_t sum = 0;
    for (int i = 0; i < 8; i++)
        sum += leaves.at[i][0];
    out[0] = sum - 7 * leaves.at[0][0] + 1;
}

// Marks both ends of a buffer.
extern "C" __global__ void bench_ends(uint64_t *out, uint64_t count, uint64_t value)
{
    if (threadIdx.x == 0) out[0] = out[count - 1] = value;
}

// Writes down when it began and ended, |cycles| apart, and then says so to a host that looks at |flag|.
extern "C" __global__ void bench_stamp(uint64_t *stamps, uint64_t cycles, uint64_t *flag,
                                       uint64_t value)
{
    if (threadIdx.x != 0) return;
    stamps[0] = now_ns();
    const long long begin = clock64();
    while ((uint64_t)(clock64() - begin) < cycles) {
    }
    stamps[1] = now_ns();
    if (!flag) return;
    __threadfence_system();
    *(volatile uint64_t *)flag = value;
}
