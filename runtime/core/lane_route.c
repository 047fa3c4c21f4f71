// Routing: which device a task goes to.
#include "core/lane_impl.h"

enum { ROUTE_BATCH = 32 };

// How long until |lane| could have run |t|, in ns: what is ahead of it, and what it would have to copy.
static uint64_t route_cost(mti_lane_t *lane, mti_record_t *t)
{
    const mti_device_info_t *info = &lane->device->info;
    uint64_t bytes = 0;
    mti_arg_iter_t iter = {.t = t};
    for (manta_ref_t ref; mti_arg_next(&iter, &ref);) {
        mti_object_t *object = mti_object_held(ref);
        mti_tier_t *tier = mti_object_tier(object);
        bool there = false;
        if (tier) {
            mti_mutex_lock(&tier->lock);
            there = tier->at[lane->index].block != NULL;
            mti_mutex_unlock(&tier->lock);
        }
        if (!there) bytes += mti_object_size(object);
    }
    uint64_t per_s = info->from_host.bytes_per_s ? info->from_host.bytes_per_s : 12000000000ull;
    uint64_t copies = (uint64_t)((double)bytes * 1e9 / (double)per_s);
    return copies + mti_atomic_u64_load_relaxed(&lane->ahead_ns); // relaxed: a hint
}

bool mti_lane_can_run(const mti_lane_t *lane, const mti_record_t *t)
{
    return !mti_lane_is_down(lane) &&
           (t->def->cuda || mti_device_can(lane->device, MTI_CAP_HOST_FN));
}

static mti_lane_t *route_choose(mti_lanes_t *lanes, mti_record_t *t)
{
    manta_where_t where = t->cold->where;
    uint64_t share = mti_admit_gpus_of(t); // what it holds is where it runs
    if (share) return &lanes->lane[__builtin_ctzll(share)];
    if (where >= manta_gpu(0)) return &lanes->lane[where - manta_gpu(0)];
    mti_lane_t *best = NULL;
    uint64_t best_cost = UINT64_MAX;
    for (uint32_t i = 0; i < lanes->count; i++) {
        mti_lane_t *lane = &lanes->lane[i];
        if (!mti_lane_can_run(lane, t)) continue;
        uint64_t cost = route_cost(lane, t);
        if (cost < best_cost) {
            best = lane;
            best_cost = cost;
        }
    }
    return best;
}

void mti_lane_ready(mti_lane_t *lane, mti_op_t *op)
{
    mti_lane_expect_no_more(op); // on another one, which it leaves
    op->lane = lane;
    op->next = NULL;
    mti_lane_expect(lane, op);
    mti_mutex_lock(&lane->lock);
    uint32_t band = mti_lane_band(mti_record_flags(op->run.record));
    if (lane->ready[band].last) {
        lane->ready[band].last->next = op;
    } else {
        lane->ready[band].first = op;
    }
    lane->ready[band].last = op;
    mti_mutex_unlock(&lane->lock);
    (void)mti_atomic_u32_fetch_add_seq_cst(&lane->waiting, 1);
}

// No device is left for |op|: its CPU body runs, if that is as good to its caller; else it fails.
static void route_nowhere(mti_lanes_t *lanes, mti_ctx_t *ctx, mti_op_t *op, manta_status_t status,
                          const char *text)
{
    mti_record_t *t = op->run.record;
    bool may = t->def->cpu && t->cold->where == MANTA_ANY;
    if (may && mti_task_resubmit(ctx, t, true)) {
        mti_op_destroy(lanes, op);
        return;
    }
    if (may) { // that is why it was not queued again
        status = MANTA_ERR_CANCELLED;
        text = "cancelled before it was submitted";
    }
    (void)mti_fail(status, "task %s: %s", mti_record_name(t), text);
    mti_op_set_error(op, status, manta_error_message());
    mti_op_complete(ctx, lanes, op, status);
}

void mti_lane_reroute(mti_lane_t *lane, mti_ctx_t *ctx, mti_op_t *op)
{
    mti_lanes_t *lanes = lane->lanes;
    mti_record_t *t = op->run.record;
    bool is_free = t->cold->where < manta_gpu(0) && !op->order; // an actor's calls go where it is
    if (is_free && mti_admit_gpus_of(t)) {
        // Its share was of this one: it asks for another.
        if (mti_task_resubmit(ctx, t, false)) {
            mti_op_destroy(lanes, op);
            return;
        }
    } else if (is_free) {
        mti_lane_t *other = route_choose(lanes, t);
        if (other) {
            mti_lane_ready(other, op);
            return;
        }
    }
    char text[300];
    snprintf(text, sizeof text, "device %s can't be used: %s", lane->device->name,
             lane->failure_text);
    route_nowhere(lanes, ctx, op, lane->failure, text);
}

static void route_one(mti_lanes_t *lanes, mti_ctx_t *ctx, uint64_t id)
{
    mti_record_t *t = mti_record_at((uint32_t)id);
    uint32_t gen = (uint32_t)(id >> 32);
    if (!mti_op_claim(ctx, t, gen)) return;
    mti_op_t *op = mti_op_create(lanes, t);
    if (!op) {
        mti_op_refuse(ctx, t);
        return;
    }
    mti_lane_t *lane = route_choose(lanes, t);
    if (!lane) {
        route_nowhere(lanes, ctx, op, MANTA_ERR_RESOURCE_GONE,
                      "every device that could run it is lost, or can't be used");
        return;
    }
    mti_lane_ready(lane, op);
}

bool mti_lanes_route(mti_lanes_t *lanes, mti_ctx_t *ctx)
{
    if (mti_atomic_u32_load_acquire(&lanes->inbox_hint) == 0) return false;
    uint64_t ids[ROUTE_BATCH];
    uint32_t n = 0;
    mti_mutex_lock(&lanes->inbox_lock);
    for (int i = 0; i < 2; i++) {
        mti_inbox_t *inbox = &lanes->inbox[i];
        for (; n < ROUTE_BATCH && inbox->count; inbox->count--) {
            ids[n++] = inbox->ids[inbox->first];
            inbox->first = (inbox->first + 1) % lanes->inbox_capacity;
        }
    }
    mti_mutex_unlock(&lanes->inbox_lock);
    for (uint32_t i = 0; i < n; i++)
        route_one(lanes, ctx, ids[i]);
    // Only now: what moves on is counted where it goes before it is counted off here.
    if (n) (void)mti_atomic_u32_fetch_add_seq_cst(&lanes->inbox_hint, (uint32_t)0 - n);
    return n != 0;
}
