// Copies from a device to the host, for those who want to see the bytes there. Those that can start together are
// one call of the driver.
#include "core/lane_impl.h"

// The fetch of |tier|, which counts as in flight, has come to nothing.
static void fetch_refuse(mti_lane_t *lane, mti_ctx_t *ctx, mti_tier_t *tier, manta_status_t status)
{
    (void)mti_atomic_u32_fetch_sub_acq_rel(&lane->in_flight, 1);
    mti_tier_arrived(ctx, tier, false, status);
}

// Submits what was gathered.
static void fetch_send(mti_lane_t *lane, mti_ctx_t *ctx)
{
    mti_lane_batch_t *batch = &lane->downloads;
    if (batch->count == 0) return;
    mti_lane_queue_t *q = &lane->queues[MTI_LANE_QUEUE_OUT];
    manta_status_t status = mti_lane_batch_submit(batch, q->queue);
    q->unrecorded++;
    for (uint32_t i = 0; i < batch->count; i++) {
        mti_tier_t *tier = batch->of[i].tier;
        if (status != MANTA_OK) {
            mti_devheap_free(batch->of[i].block);
            fetch_refuse(lane, ctx, tier, status);
            continue;
        }
        mti_mutex_lock(&tier->lock);
        mti_atomic_u32_store_relaxed(&tier->host, MTI_HOST_COMING);
        tier->host_block = batch->of[i].block;
        mti_mutex_unlock(&tier->lock);
        tier->fetched = (mti_fence_t){q->queue, q->queue->submitted};
        tier->fetch_failure = MANTA_OK;
        tier->next = NULL;
        *(lane->fetching_last ? &lane->fetching_last->next : &lane->fetching) = tier;
        lane->fetching_last = tier;
    }
    batch->count = 0;
    batch->bytes = 0;
}

// Puts the copy into the batch, which goes first if this copy has to wait for more than those in it.
static manta_status_t fetch_add(mti_lane_t *lane, mti_ctx_t *ctx, mti_tier_t *tier)
{
    if (lane->failure) return MANTA_ERR_DEVICE_LOST;
    mti_lane_drop_failed(lane, tier);
    mti_replica_t source = tier->at[lane->index];
    if (!source.block) return MANTA_ERR_DEVICE_LOST;
    mti_lane_queue_t *q;
    manta_status_t status = mti_lane_queue_get(lane, MTI_LANE_QUEUE_OUT, &q);
    if (status != MANTA_OK) return status;
    if (!mti_lane_queue_is_after(lane, q, source.ready)) fetch_send(lane, ctx);
    status = mti_lane_queue_after(lane, q, source.ready);
    mti_block_t *to = NULL;
    if (status == MANTA_OK)
        status = mti_devheap_alloc(lane->host_heap, q->queue, tier->size_bytes, &to);
    if (status != MANTA_OK) return status;
    mti_copy_t copy = {
        {to->ptr, to->memory}, {source.block->ptr, source.block->memory}, tier->size_bytes};
    mti_lane_batch_t *batch = &lane->downloads;
    batch->of[batch->count++] =
        (mti_lane_copy_t){.copy = copy, .tier = tier, .block = to, .other = source.block};
    batch->bytes += tier->size_bytes;
    if (mti_lane_batch_is_full(batch)) fetch_send(lane, ctx);
    return MANTA_OK;
}

bool mti_lane_fetch(mti_lane_t *lane, mti_ctx_t *ctx)
{
    mti_mutex_lock(&lane->lock);
    mti_tier_t *list = lane->fetches;
    lane->fetches = NULL;
    mti_mutex_unlock(&lane->lock);
    bool any = list != NULL;
    while (list) {
        mti_tier_t *tier = list;
        list = tier->next;
        (void)mti_atomic_u32_fetch_add_seq_cst(&lane->in_flight, 1);
        (void)mti_atomic_u32_fetch_add_seq_cst(&lane->waiting, (uint32_t)-1);
        mti_lane_bind(lane);
        manta_status_t status = fetch_add(lane, ctx, tier);
        if (status != MANTA_OK) fetch_refuse(lane, ctx, tier, status);
    }
    fetch_send(lane, ctx);
    while (lane->fetching && (lane->failure || mti_fence_is_done(lane->fetching->fetched))) {
        mti_tier_t *tier = lane->fetching;
        lane->fetching = tier->next;
        if (!lane->fetching) lane->fetching_last = NULL;
        (void)mti_atomic_u32_fetch_sub_acq_rel(&lane->in_flight, 1);
        manta_status_t failure = tier->fetch_failure;
        if (failure == MANTA_OK && !mti_fence_is_done(tier->fetched)) {
            failure = MANTA_ERR_DEVICE_LOST;
        }
        mti_tier_arrived(ctx, tier, failure == MANTA_OK, failure);
        any = true;
    }
    return any;
}
