// What stands in the claims of calls while their actor is restarted.
#include "unit/internals.h"

#include "support/runtime_fixture.h"

using namespace manta_testing;

struct Restarted {
    Gate *gate;
};
static std::atomic<int> g_made, g_calls;

MANTA_ACTOR(ac_restarted, Restarted, MANTA_LOCAL(Gate *, gate))
{
    if (g_made++ > 0) { // made again
        gate->arrive();
        gate->pass();
    }
    self->gate = gate;
    return MANTA_OK;
}
MANTA_METHOD(ac_restarted, fail_once, MANTA_OUT(int, y, 1))
{
    y[0] = 7;
    return g_calls++ == 0 ? MANTA_ACTOR_FATAL : MANTA_OK;
}

class ActorClaimTest : public RuntimeTest
{
};
INSTANTIATE_TEST_SUITE_P(Workers, ActorClaimTest, ::testing::Values(2));

// An entry of its first attempt may still be in a queue, and a waiter may have seen it there: neither may claim it in
// the mailbox, from where it is handed out again.
TEST_P(ActorClaimTest, ACallThatIsTriedAgainCanNotBeClaimedBeforeItIsHandedOut)
{
    g_made = g_calls = 0;
    Gate gate;
    manta_actor_options_t options = MANTA_ACTOR_OPTIONS(.max_concurrency = 2);
    options.max_restarts = 1;
    options.max_task_retries = 1;
    ac_restarted_t actor = ac_restarted_create(options, &gate);
    manta_ref_t call = ac_restarted_fail_once(actor);
    gate.await(1); // in the constructor, for the second time
    mti_record_t *t = mti_record_at(mti_ref_slot(call));
    uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
    EXPECT_EQ(mti_claim_make(mti_ref_gen(call), 0, MTI_TASK_HELD), claim);
    gate.open();
    EXPECT_EQ(7, value_of<int>(call));
    EXPECT_EQ(2, g_calls);
    EXPECT_OK(ac_restarted_destroy(actor));
    EXPECT_OK(manta_release(call));
}
