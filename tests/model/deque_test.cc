// The deque: whatever is put comes out at least once, with everything that was stored before the put.
#include "model/mutate.h"

#include <cstddef>
#include <cstdint>

#define _Alignas alignas
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
extern "C" {
#include "sched/deque.h"
}
#pragma GCC diagnostic pop
#undef _Alignas

using namespace model;

namespace
{

enum { kEntries = 4 };
mti_deque_t deque;
int payload[kEntries + 1];             // plain: what put publishes
int got_by[kMaxThreads][kEntries + 1]; // each thread writes its own

// A deque whose ring holds |capacity|, so that it wraps and grows soon.
void make(uint32_t capacity)
{
    deque = mti_deque_t{};
    size_t bytes = sizeof(mti_deque_ring_t) + capacity * sizeof(mti_atomic_u64_t);
    mti_deque_ring_t *ring = static_cast<mti_deque_ring_t *>(mti_alloc_zeroed(nullptr, bytes, 64));
    ring->mask = capacity - 1;
    mti_atomic_ptr_store_relaxed(&deque.ring, ring);
    name(&deque.anchor, sizeof deque.anchor, "anchor");
    name(&deque.ring, sizeof deque.ring, "ring");
    name(ring->entries, capacity * sizeof ring->entries[0], "entries");
    name(payload, sizeof payload, "payload");
}
void make2()
{
    make(2);
}
void make4()
{
    make(4);
}

void put(uint64_t entry)
{
    payload[entry] = static_cast<int>(entry);
    MODEL_CHECK(mti_deque_put(&deque, entry));
}
void gets(uint64_t entry)
{
    MODEL_CHECK(entry <= kEntries);
    if (entry == 0) return; // a thief that raced with growth; the entry is still there
    MODEL_CHECK(payload[entry] == static_cast<int>(entry));
    got_by[self()][entry]++;
}
bool take()
{
    uint64_t entry = mti_deque_take(&deque);
    gets(entry);
    return entry != 0;
}
template <int max> void steal()
{
    uint64_t out[4];
    uint32_t n = mti_deque_steal(&deque, out, max);
    for (uint32_t i = 0; i < n; i++)
        gets(out[i]);
}
// What is left comes out now.
void finish(int entries)
{
    for (uint64_t entry; (entry = mti_deque_take(&deque)) != 0;)
        got_by[0][entry]++;
    for (int i = 1; i <= entries; i++) {
        int times = 0;
        for (auto &by : got_by)
            times += by[i];
        MODEL_CHECK(times >= 1);
    }
}

Program put_take_steal()
{
    Program program;
    program.once = make4;
    program.threads = {[] {
                           put(1);
                           put(2);
                           take();
                           put(3);
                           take();
                       },
                       [] {
                           steal<1>();
                           steal<4>();
                       }};
    program.finish = [] { finish(3); };
    return program;
}

TEST(DequeModel, PutTakeSteal)
{
    expect_holds(put_take_steal());
}

TEST(DequeModel, WrapsAroundUnderThieves)
{
    Program program;
    program.once = make2;
    program.threads = {[] {
                           put(1);
                           put(2);
                           take();
                           take();
                           put(3);
                           put(4);
                       },
                       [] {
                           steal<1>();
                           steal<1>();
                       }};
    program.finish = [] { finish(4); };
    expect_holds(program);
}

Program grows()
{
    Program program;
    program.once = make2;
    program.threads = {[] {
                           put(1);
                           put(2);
                           put(3);
                           take();
                       },
                       [] {
                           steal<4>();
                           steal<1>();
                       }};
    program.finish = [] { finish(3); };
    return program;
}

TEST(DequeModel, GrowsUnderAThief)
{
    expect_holds(grows());
}

TEST(DequeModel, TwoThieves)
{
    Program program;
    program.once = make4;
    program.threads = {[] {
                           put(1);
                           put(2);
                           take();
                       },
                       steal<1>, steal<4>};
    program.finish = [] { finish(2); };
    expect_holds(program);
}

TEST(DequeModel, TwoThievesAndGrowth)
{
    Program program;
    program.once = make2;
    program.threads = {[] {
                           put(1);
                           put(2);
                           put(3);
                       },
                       steal<1>, steal<4>};
    program.finish = [] { finish(3); };
    expect_holds(program);
}

// Which orders the programs above need.
TEST(DequeModel, NeedsItsOrders)
{
    std::set<std::string> seen;
    for (auto make_program : {put_take_steal, grows}) {
        Program program = make_program();
        std::set<Mutation> mutations = explore(program).mutations;
        for (const std::string &text : caught(program, mutations))
            seen.insert(text);
    }
    EXPECT_EQ(1u, seen.count("store of anchor without release"));
    EXPECT_EQ(1u, seen.count("load of anchor without acquire"));
    EXPECT_EQ(1u, seen.count("store of entries without release"));
    EXPECT_EQ(1u, seen.count("load of entries without acquire"));
    EXPECT_EQ(1u, seen.count("store of ring without release"));
    EXPECT_EQ(1u, seen.count("load of ring without acquire"));
}

} // namespace
