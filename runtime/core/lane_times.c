// How long tasks run on devices: learned as they complete, and what is ahead of the next one is counted in it.
//
// The table is direct mapped and bounded: a kind of task (its definition, the size of what it takes, the kind of device)
// that loses its entry to another one is learned anew. Entries are written by whoever has the right of some lane, and
// read by whoever routes; an update that is lost between two of them costs accuracy alone, so relaxed is enough.
//
// A sample is the time that a queue took for tasks that it was seen to be done with together, shared out by what they
// were expected to take. Waiting for other queues is part of it: from outside it looks the same. One device alone
// leaves nothing to choose, and then no clock is read.
#include "core/lane_impl.h"

enum {
    UNKNOWN_NS = 5000,
    NS_BITS = 40,  // of an entry; the others tell kinds apart
    OLD_PARTS = 3, // of four: how much an entry keeps of what it was
};
#define NS_MASK (((uint64_t)1 << NS_BITS) - 1)

// Sizes that differ by less than four times are alike.
static uint64_t times_key(const mti_lane_t *lane, mti_record_t *t)
{
    uint64_t bytes = 1;
    mti_arg_iter_t iter = {.t = t};
    for (manta_ref_t ref; mti_arg_next(&iter, &ref);)
        bytes += mti_object_size(mti_object_held(ref));
    bytes |= 1; // one that is failing just now has any size
    uint64_t size_class = (63 - (uint64_t)__builtin_clzll(bytes)) / 2;
    uint64_t key = (uint64_t)(uintptr_t)t->def ^ (uint64_t)(uintptr_t)lane->device->family << 17 ^
                   size_class << 56;
    key *= 0x9e3779b97f4a7c15u;
    return key ^ key >> 29;
}

void mti_lane_expect(mti_lane_t *lane, mti_op_t *op)
{
    if (lane->lanes->count < 2) return;
    op->times_key = times_key(lane, op->run.record);
    uint64_t entry =
        mti_atomic_u64_load_relaxed(&lane->lanes->times[op->times_key % MTI_LANE_TIMES]);
    bool known = entry >> NS_BITS == op->times_key >> NS_BITS && entry != 0;
    op->expected_ns = known ? entry & NS_MASK : UNKNOWN_NS;
    // relaxed: a hint for who chooses
    (void)mti_atomic_u64_fetch_add_relaxed(&lane->ahead_ns, op->expected_ns);
}

void mti_lane_expect_no_more(mti_op_t *op)
{
    if (op->expected_ns) // relaxed: as above
        (void)mti_atomic_u64_fetch_add_relaxed(&op->lane->ahead_ns, (uint64_t)0 - op->expected_ns);
    op->expected_ns = 0;
}

static bool op_is_sample(const mti_lane_queue_t *q, const mti_op_t *op)
{
    return op && mti_queue_completed(q->queue) >= op->seq;
}

void mti_lane_learn(mti_lane_t *lane, mti_lane_queue_t *q)
{
    if (lane->lanes->count < 2 || lane->failure || !op_is_sample(q, q->first)) return;
    mti_op_t *first = q->first;
    while (op_is_sample(q, first) && first->is_learned) // it waits for an argument to be closed
        first = first->next;
    if (!op_is_sample(q, first)) return;
    int64_t now = mti_device_now_ns(lane->device), took = now - q->busy_since_ns;
    q->busy_since_ns = now;
    uint64_t expected = 0;
    for (const mti_op_t *op = first; op_is_sample(q, op); op = op->next)
        expected += op->expected_ns;
    if (took < 0 || expected == 0) return;
    for (mti_op_t *op = first; op_is_sample(q, op); op = op->next) {
        op->is_learned = true;
        if (op->status != MANTA_OK) continue;
        uint64_t ns = (uint64_t)((double)took * (double)op->expected_ns / (double)expected) + 1;
        mti_atomic_u64_t *at = &lane->lanes->times[op->times_key % MTI_LANE_TIMES];
        uint64_t entry = mti_atomic_u64_load_relaxed(at);
        bool known = entry >> NS_BITS == op->times_key >> NS_BITS && entry != 0;
        if (known) ns = ((entry & NS_MASK) * OLD_PARTS + ns) / (OLD_PARTS + 1) + 1;
        if (ns > NS_MASK) ns = NS_MASK;
        mti_atomic_u64_store_relaxed(at, (op->times_key & ~NS_MASK) | ns);
    }
}
