// Calls of actors on a device: an order laid over its queues.
//
// Calls come from the holder of the actor's turn, one after the other, straight to the ready list of the lane, which
// keeps their order. One that can't be placed yet (an operand is on its way through the host) holds up those of
// the same order that come after it, in the same round: what is parked is looked at first, oldest first. Each is
// placed behind the last one that was: on the same queue, or on another one with a wait on the device.
#include "core/actor.h"
#include "core/lane_impl.h"

uint32_t mti_lane_actors(mti_lanes_t *lanes, uint32_t index, int change)
{
    // relaxed: it only steers a choice
    return mti_atomic_u32_fetch_add_relaxed(&lanes->lane[index].actors, (uint32_t)change);
}

bool mti_lane_order_init(mti_lanes_t *lanes, uint32_t index, bool own_queue,
                         mti_lane_order_t *order)
{
    mti_atomic_u32_t *taken = &lanes->lane[index].own_taken;
    *order = (mti_lane_order_t){.own = -1};
    if (!own_queue) return true;
    uint32_t bits = mti_atomic_u32_load_relaxed(taken);
    for (int i = 0; i < MTI_LANE_OWN_QUEUES;) {
        if (bits >> i & 1) {
            i++;
        } else if (mti_atomic_u32_cas_acq_rel(taken, &bits, bits | 1u << i)) {
            order->own = i;
            return true;
        }
    }
    return false;
}

void mti_lane_order_deinit(mti_lanes_t *lanes, uint32_t index, mti_lane_order_t *order)
{
    if (order->own < 0) return;
    (void)mti_atomic_u32_fetch_and_acq_rel(&lanes->lane[index].own_taken, ~(1u << order->own));
    order->own = -1;
}

void mti_lanes_call(mti_lanes_t *lanes, mti_ctx_t *ctx, mti_record_t *t, uint32_t gen,
                    uint32_t index, mti_lane_order_t *order)
{
    if (!mti_op_claim(ctx, t, gen)) return;
    mti_op_t *op = mti_op_create(lanes, t);
    if (!op) {
        mti_op_refuse(ctx, t);
        return;
    }
    op->order = order;
    mti_lane_ready(&lanes->lane[index], op);
    mti_lanes_kick(lanes);
}

manta_status_t mti_lane_order_queue(mti_lane_t *lane, const mti_lane_order_t *order,
                                    mti_lane_queue_t **out_queue)
{
    if (order->own >= 0) {
        return mti_lane_queue_get(lane, MTI_LANE_QUEUE_OWN + (uint32_t)order->own, out_queue);
    }
    if (!order->last.queue || mti_fence_is_done(order->last)) return MANTA_OK;
    uint32_t index = mti_lane_queue_index(lane, order->last.queue);
    if (index < MTI_LANE_COMPUTE_QUEUES) *out_queue = &lane->queues[index];
    return MANTA_OK;
}

mti_block_t *mti_lane_actor_block(manta_task_t *task, size_t size_bytes)
{
    mti_op_t *op = task->lane;
    mti_block_t *block = NULL;
    manta_status_t status = mti_devheap_alloc(op->lane->heap, op->queue->queue, size_bytes, &block);
    if (status == MANTA_OK) return block;
    (void)mti_code_tell(mti_fail_note(status, "%s: actor_memory", mti_record_name(task->record)));
    return NULL;
}
