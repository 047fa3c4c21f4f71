// The work-stealing deque: one owner, many thieves.
//
// Invariant: every entry that was put comes out at least once, and nothing comes out that was not put
// (but for the 0 that a thief may read while the ring grows).
#include "stress/stress.h"

// The header is C.
#define _Alignas alignas
#pragma GCC diagnostic ignored "-Wpedantic"
extern "C" {
#include "sched/deque.h"
}

#include <memory>

using namespace stress;

static void round(int thieves, uint64_t entries, uint64_t burst_max, uint64_t stream)
{
    mti_deque_t deque;
    CHECK(mti_deque_init(&deque, nullptr));
    std::unique_ptr<std::atomic<uint32_t>[]> seen(new std::atomic<uint32_t>[entries + 1]());
    std::atomic<uint64_t> put{0};
    std::atomic<bool> over{false};
    auto out = [&](uint64_t entry, bool may_be_zero) {
        if (entry == 0 && may_be_zero) return;
        CHECK(entry >= 1 && entry <= put.load());
        seen[entry]++;
    };
    std::vector<std::thread> threads;
    for (int t = 0; t < thieves; t++) {
        threads.emplace_back([&, t] {
            Rng rng(stream * 100 + (uint64_t)t + 1);
            uint64_t batch[64];
            while (!over) {
                uint32_t n = mti_deque_steal(&deque, batch, (uint32_t)(1 + rng.below(64)));
                for (uint32_t i = 0; i < n; i++)
                    out(batch[i], true);
                if (n == 0) std::this_thread::yield();
            }
        });
    }
    Rng rng(stream * 100);
    uint64_t next = 0, spilled = 0;
    while (next < entries) {
        for (uint64_t n = 1 + rng.below(burst_max); n > 0 && next < entries; n--) {
            put = ++next;
            if (!mti_deque_put(&deque, next)) {
                spilled++;
                out(next, false);
            }
        }
        for (uint64_t n = rng.below(burst_max); n > 0; n--) {
            uint64_t top = mti_deque_peek(&deque);
            uint64_t entry = mti_deque_take(&deque);
            if (entry == 0) break;
            CHECK(top == entry || top != 0);
            out(entry, false);
        }
    }
    while (uint64_t entry = mti_deque_take(&deque))
        out(entry, false);
    over = true;
    for (std::thread &thread : threads)
        thread.join();
    uint64_t twice = 0;
    for (uint64_t i = 1; i <= entries; i++) {
        CHECK(seen[i] != 0);
        twice += seen[i] > 1;
    }
    std::printf(
        "%d thieves, bursts of up to %llu: %llu entries, %llu more than once, %llu spilled\n",
        thieves, (unsigned long long)burst_max, (unsigned long long)entries,
        (unsigned long long)twice, (unsigned long long)spilled);
    mti_deque_deinit(&deque);
}

int main(int argc, char **argv)
{
    begin(argc, argv, 60);
    uint64_t stream = 0;
    for (int thieves : {1, 2, 5}) {
        for (uint64_t burst : {2, 40, 3000, 60000}) {
            round(thieves, times(400000, 5000), burst, ++stream);
        }
    }
    return 0;
}
