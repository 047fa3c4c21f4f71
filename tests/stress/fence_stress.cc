// The asymmetric fence and sleeping on a word.
//
// Invariants: of two threads that each store and then load the other's variable at least one sees the
// other's store; a wake is never lost.
#include "stress/stress.h"

extern "C" {
#include "base/clock.h"
#include "base/fence.h"
#include "base/notify.h"
}

using namespace stress;

static void dekker(uint64_t rounds)
{
    struct alignas(128) Cell {
        mti_atomic_u64_t v;
    };
    Cell x{}, y{}, hot_done{}, rare_done{};
    uint64_t hot_saw = 0, rare_saw = 0, both = 0;
    std::atomic<uint64_t> go{0};
    std::thread hot([&] {
        for (uint64_t k = 1; k <= rounds; k++) {
            for (unsigned n = 0; go.load() < k; n++)
                if (n > 200) std::this_thread::yield();
            mti_atomic_u64_store_relaxed(&x.v, k);
            mti_fence_light();
            hot_saw = mti_atomic_u64_load_relaxed(&y.v);
            mti_atomic_u64_store_release(&hot_done.v, k);
        }
    });
    std::thread rare([&] {
        for (uint64_t k = 1; k <= rounds; k++) {
            for (unsigned n = 0; go.load() < k; n++)
                if (n > 200) std::this_thread::yield();
            mti_atomic_u64_store_relaxed(&y.v, k);
            mti_fence_heavy();
            rare_saw = mti_atomic_u64_load_relaxed(&x.v);
            mti_atomic_u64_store_release(&rare_done.v, k);
        }
    });
    for (uint64_t k = 1; k <= rounds; k++) {
        go = k;
        for (unsigned n = 0; mti_atomic_u64_load_acquire(&hot_done.v) < k ||
                             mti_atomic_u64_load_acquire(&rare_done.v) < k;
             n++)
            if (n > 200) std::this_thread::yield();
        CHECK(hot_saw == k || rare_saw == k);
        both += hot_saw == k && rare_saw == k;
    }
    hot.join();
    rare.join();
    std::printf("%llu rounds, asymmetric: %d, both saw the other: %llu\n",
                (unsigned long long)rounds, (int)mti_fence_asymmetric, (unsigned long long)both);
}

// Announce, fence, look, sleep against store, fence, look, wake: as a worker and a submitter do.
static void sleepers(uint64_t rounds)
{
    mti_atomic_u64_t work{};
    mti_atomic_u32_t asleep{};
    std::thread worker([&] {
        uint64_t done = 0;
        while (done < rounds) {
            if (mti_atomic_u64_load_acquire(&work) > done) {
                done++;
                continue;
            }
            mti_atomic_u32_store_seq_cst(&asleep, 1);
            mti_fence_heavy();
            if (mti_atomic_u64_load_acquire(&work) > done) {
                mti_atomic_u32_store_seq_cst(&asleep, 0);
                continue;
            }
            CHECK(mti_notify_wait(&asleep, 1, mti_clock_ns() + INT64_C(60000000000)));
        }
    });
    Rng rng(1);
    for (uint64_t k = 1; k <= rounds; k++) {
        mti_atomic_u64_store_release(&work, k);
        mti_fence_light();
        if (mti_atomic_u32_load_relaxed(&asleep)) {
            mti_atomic_u32_store_seq_cst(&asleep, 0);
            mti_notify_wake(&asleep, 1);
        }
        for (uint64_t n = rng.below(400); n > 0; n--)
            mti_cpu_pause();
    }
    worker.join();
    std::printf("%llu hand-overs\n", (unsigned long long)rounds);
}

int main(int argc, char **argv)
{
    begin(argc, argv, 60);
    mti_fence_init();
    dekker(times(30000));
    sleepers(times(200000));
    mti_fence_asymmetric = false; // as on a kernel without membarrier
    dekker(times(30000));
    sleepers(times(200000));
    return 0;
}
