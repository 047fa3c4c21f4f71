// Free slots that come home: the owner takes whole chains, others send them with one CAS.
#include "model/mutate.h"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include <pthread.h>

#define _Alignas alignas
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
extern "C" {
#include "base/alloc.h"
#include "store/table.h"
}
#pragma GCC diagnostic pop
#undef _Alignas

using namespace model;

namespace
{

mti_table_cache_t caches[3]; // of the owner and of two that free
mti_slot_t *slots[4];
int made; // since the last init

// The owner has |n| slots out and no others left.
void make(int n)
{
    mti_alloc_hook = nullptr;
    for (int i = 0; i < made; i++)
        mti_table_cache_deinit(&caches[i]);
    made = 3;
    for (mti_table_cache_t &cache : caches)
        if (!mti_table_cache_init(&cache)) std::abort();
    for (int i = 0; i < n; i++)
        slots[i] = mti_table_alloc(&caches[0]);
    caches[0].fresh_end = mti_atomic_u32_load_relaxed(&caches[0].fresh_next); // no fresh ones
    mti_alloc_hook = [](size_t) { return false; };                            // and no further run
    name(&caches[0].remote, sizeof caches[0].remote, "remote");
    for (int i = 0; i < n; i++) {
        name(&slots[i]->next, sizeof slots[i]->next, "next");
        name(&slots[i]->object.gen, sizeof slots[i]->object.gen, "gen");
    }
}
void give_back(int by, int slot)
{
    slots[slot]->rest[0] = 1; // plain: what its last user did to it
    mti_table_free(&caches[by], slots[slot]);
}
// What the owner gets is a slot that was freed, once, with its generation bumped.
void take(int times)
{
    bool taken[4] = {};
    for (int i = 0; i < times; i++) {
        mti_slot_t *slot = mti_table_alloc(&caches[0]);
        if (!slot) continue;
        int which = 0;
        while (which < 4 && slots[which] != slot)
            which++;
        MODEL_CHECK(which < 4 && !taken[which]);
        taken[which] = true;
        MODEL_CHECK(slot->rest[0] == 1);
        slot->rest[0] = 0;
    }
}
void all_come_home(int n)
{
    int found = 0;
    for (int i = 0; i < n; i++)
        found += slots[i]->rest[0] == 1;
    int got = 0;
    while (mti_table_alloc(&caches[0]))
        got++;
    MODEL_CHECK(found == got);
}

Program one_sender()
{
    Program program;
    program.once = [] { make(2); };
    program.threads = {[] { take(3); },
                       [] {
                           give_back(1, 0);
                           give_back(1, 1);
                           mti_table_flush(&caches[1]);
                       }};
    program.finish = [] { all_come_home(2); };
    return program;
}
TEST(TableModel, ChainComesHome)
{
    expect_holds(one_sender());
}

TEST(TableModel, TwoSendersAndTheOwner)
{
    Program program;
    program.once = [] { make(2); };
    program.threads = {[] { take(2); },
                       [] {
                           give_back(1, 0);
                           mti_table_flush(&caches[1]);
                       },
                       [] {
                           give_back(2, 1);
                           mti_table_flush(&caches[2]);
                       }};
    program.finish = [] { all_come_home(2); };
    expect_holds(program);
}

TEST(TableModel, NeedsItsOrders)
{
    Program program = one_sender();
    std::set<std::string> seen = caught(program, explore(program).mutations);
    EXPECT_EQ(1u, seen.count("rmw of remote without release"));
    EXPECT_EQ(1u, seen.count("rmw of remote without acquire"));
}

} // namespace
