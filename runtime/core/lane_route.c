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
    uint64_t ahead =
        mti_atomic_u32_load_relaxed(&lane->in_flight) + mti_atomic_u32_load_relaxed(&lane->waiting);
    return copies + ahead * 5000;
}

static mti_lane_t *route_choose(mti_lanes_t *lanes, mti_record_t *t)
{
    manta_where_t where = t->cold->where;
    if (where >= manta_gpu(0)) return &lanes->lane[where - manta_gpu(0)];
    mti_lane_t *best = NULL;
    uint64_t best_cost = UINT64_MAX;
    for (uint32_t i = 0; i < lanes->count; i++) {
        mti_lane_t *lane = &lanes->lane[i];
        if (mti_device_state(lane->device) == MTI_DEVICE_LOST) continue;
        if (!t->def->cuda && !mti_device_can(lane->device, MTI_CAP_HOST_FN)) continue;
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
    op->lane = lane;
    op->next = NULL;
    mti_mutex_lock(&lane->lock);
    if (lane->ready_last) {
        lane->ready_last->next = op;
    } else {
        lane->ready = op;
    }
    lane->ready_last = op;
    mti_mutex_unlock(&lane->lock);
    (void)mti_atomic_u32_fetch_add_seq_cst(&lane->waiting, 1);
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
        manta_status_t status =
            mti_fail(MANTA_ERR_RESOURCE_GONE, "task %s: every device that could run it is lost",
                     mti_record_name(t));
        mti_op_set_error(op, status, manta_error_message());
        mti_op_complete(ctx, lanes, op, status);
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
    while (n < ROUTE_BATCH && lanes->inbox_count) {
        ids[n++] = lanes->inbox[lanes->inbox_first];
        lanes->inbox_first = (lanes->inbox_first + 1) % lanes->inbox_capacity;
        lanes->inbox_count--;
    }
    mti_mutex_unlock(&lanes->inbox_lock);
    for (uint32_t i = 0; i < n; i++)
        route_one(lanes, ctx, ids[i]);
    // Only now: what moves on is counted where it goes before it is counted off here.
    if (n) (void)mti_atomic_u32_fetch_add_seq_cst(&lanes->inbox_hint, (uint32_t)0 - n);
    return n != 0;
}
