// Queues of a lane and the order among them; copies between host and devices.
#include "core/lane_impl.h"

enum {
    STAGE_BYTES = MTI_LANE_BATCH_BYTES,
    STAGED_MAX = 64 << 20,
};

// ---- order ---------------------------------------------------------------------------------------

uint32_t mti_lane_queue_index(const mti_lane_t *lane, const mti_queue_t *queue)
{
    for (uint32_t i = 0; i < MTI_LANE_QUEUES; i++)
        if (lane->queues[i].queue == queue) return i;
    return MTI_LANE_QUEUES;
}

manta_status_t mti_lane_queue_get(mti_lane_t *lane, uint32_t index, mti_lane_queue_t **out)
{
    static const mti_queue_kind_t kinds[] = {MTI_QUEUE_COPY_IN, MTI_QUEUE_COPY_OUT,
                                             MTI_QUEUE_COPY_PEER};
    mti_lane_queue_t *q = *out = &lane->queues[index];
    if (q->queue) return MANTA_OK;
    bool computes = index < MTI_LANE_COMPUTE_QUEUES || index >= MTI_LANE_QUEUE_OWN;
    mti_queue_options_t options = {.kind = computes ? MTI_QUEUE_COMPUTE
                                                    : kinds[index - MTI_LANE_COMPUTE_QUEUES],
                                   .high_priority = index == MTI_LANE_QUEUE_URGENT};
    manta_status_t status = mti_queue_create(lane->device, &options, &q->queue);
    if (status == MANTA_OK && index < MTI_LANE_QUEUE_URGENT) lane->queue_count = index + 1;
    return status;
}

// The lane's queue that |fence| is on.
static uint32_t fence_index(const mti_lane_t *lane, mti_fence_t fence)
{
    return fence.queue->device == lane->device ? mti_lane_queue_index(lane, fence.queue)
                                               : MTI_LANE_QUEUES;
}

bool mti_lane_queue_is_after(const mti_lane_t *lane, const mti_lane_queue_t *q, mti_fence_t fence)
{
    if (mti_fence_is_done(fence) || fence.queue == q->queue) return true;
    uint32_t other = fence_index(lane, fence);
    return other != MTI_LANE_QUEUES && q->known[other] >= fence.seq;
}

manta_status_t mti_lane_queue_after(mti_lane_t *lane, mti_lane_queue_t *q, mti_fence_t fence)
{
    if (mti_lane_queue_is_after(lane, q, fence)) return MANTA_OK;
    uint32_t other = fence_index(lane, fence);
    if (other == MTI_LANE_QUEUES) return mti_queue_wait(q->queue, fence.queue, fence.seq);
    manta_status_t status = mti_queue_wait(q->queue, fence.queue, fence.seq);
    if (status != MANTA_OK) return status;
    q->known[other] = fence.seq;
    // What the other queue knew when that operation was submitted, this one knows from now on.
    const mti_lane_queue_t *from = &lane->queues[other];
    const mti_lane_snapshot_t *best = NULL;
    for (uint32_t i = 0; i < MTI_LANE_SNAPSHOTS; i++) {
        const mti_lane_snapshot_t *s = &from->snapshots[i];
        if (s->seq && s->seq <= fence.seq && (!best || s->seq > best->seq)) best = s;
    }
    for (uint32_t i = 0; best && i < MTI_LANE_QUEUES; i++)
        if (best->known[i] > q->known[i]) q->known[i] = best->known[i];
    // Several waits before one operation are one snapshot.
    mti_lane_snapshot_t *mine =
        &q->snapshots[(q->snapshot_next + MTI_LANE_SNAPSHOTS - 1) % MTI_LANE_SNAPSHOTS];
    if (mine->seq != q->queue->submitted + 1) {
        mine = &q->snapshots[q->snapshot_next++ % MTI_LANE_SNAPSHOTS];
        mine->seq = q->queue->submitted + 1;
    }
    memcpy(mine->known, q->known, sizeof mine->known);
    return MANTA_OK;
}

manta_status_t mti_lane_block_after(mti_lane_t *lane, mti_lane_queue_t *q, const mti_block_t *block)
{
    manta_status_t status = MANTA_OK;
    for (uint32_t i = 0; i < block->user_count && status == MANTA_OK; i++)
        status = mti_lane_queue_after(lane, q, block->users[i]);
    return status;
}

manta_status_t mti_lane_queue_record(mti_lane_queue_t *q)
{
    uint64_t seq;
    manta_status_t status = mti_queue_signal(q->queue, &seq);
    if (status == MANTA_OK) q->unrecorded = 0; // else it is tried again
    return status;
}

// ---- batches -------------------------------------------------------------------------------------

// Takes back what |batch| was to bring: nothing of it was submitted.
static void batch_drop(mti_lane_t *lane, mti_lane_batch_t *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        mti_lane_copy_t *copy = &batch->of[i];
        mti_devheap_free(copy->other); // a stage
        mti_tier_t *tier = copy->tier;
        if (!tier || tier->at[lane->index].block != copy->block) continue;
        mti_mutex_lock(&tier->lock);
        tier->at[lane->index] = (mti_replica_t){0};
        mti_mutex_unlock(&tier->lock);
        mti_devheap_free(copy->block);
    }
    batch->count = 0;
    batch->bytes = 0;
}

manta_status_t mti_lane_batch_submit(mti_lane_batch_t *batch, mti_queue_t *queue)
{
    mti_copy_t copies[MTI_LANE_BATCH];
    for (uint32_t i = 0; i < batch->count; i++)
        copies[i] = batch->of[i].copy;
    uint64_t seq;
    manta_status_t status = mti_queue_copy_batch(queue, copies, batch->count, MTI_OP_NONE, &seq);
    for (uint32_t i = 0; i < batch->count && status == MANTA_OK; i++) {
        status = mti_block_use(batch->of[i].block, queue, seq);
        mti_block_t *other = batch->of[i].other;
        if (other && status == MANTA_OK) status = mti_block_use(other, queue, seq);
    }
    return status;
}

manta_status_t mti_lane_send(mti_lane_t *lane)
{
    mti_lane_batch_t *batch = &lane->uploads;
    if (batch->count == 0) return MANTA_OK;
    mti_lane_queue_t *in = &lane->queues[MTI_LANE_QUEUE_IN];
    manta_status_t status = mti_lane_batch_submit(batch, in->queue);
    in->unrecorded++;
    if (status != MANTA_OK) {
        batch_drop(lane, batch);
        return status;
    }
    for (uint32_t i = 0; i < batch->count; i++)
        mti_devheap_free(batch->of[i].other);
    batch->count = 0;
    batch->bytes = 0;
    return MANTA_OK;
}

static manta_status_t batch_add(mti_lane_t *lane, const mti_lane_copy_t *copy)
{
    mti_lane_batch_t *batch = &lane->uploads;
    batch->of[batch->count++] = *copy;
    batch->bytes += copy->copy.size_bytes;
    return mti_lane_batch_is_full(batch) ? mti_lane_send(lane) : MANTA_OK;
}

// ---- operands ------------------------------------------------------------------------------------

// Copies host bytes that the driver does not know: through pinned blocks, which the heap hands out again when
// the copy is done. With many of them under way the driver may see to it itself, if it can.
static manta_status_t upload_pageable(mti_lane_t *lane, mti_tier_t *tier, mti_block_t *to,
                                      const void *from, size_t size_bytes)
{
    manta_status_t status = MANTA_OK;
    size_t piece;
    for (size_t done = 0; done < size_bytes && status == MANTA_OK; done += piece) {
        mti_lane_copy_t one = {.tier = tier, .block = to};
        const char *src = (const char *)from + done;
        piece = size_bytes - done;
        bool full = mti_devheap_usage(lane->host_heap).held_bytes > STAGED_MAX;
        mti_place_t source = mti_place_pageable((char *)(uintptr_t)src);
        if (!full || !mti_device_can(lane->device, MTI_CAP_PAGEABLE)) {
            if (piece > STAGE_BYTES) piece = STAGE_BYTES;
            status = mti_devheap_alloc(lane->host_heap, NULL, piece, &one.other);
            if (status != MANTA_OK) break;
            memcpy(one.other->ptr, src, piece);
            source = (mti_place_t){one.other->ptr, one.other->memory};
        }
        one.copy = (mti_copy_t){{(char *)to->ptr + done, to->memory}, source, piece};
        status = batch_add(lane, &one);
    }
    return status;
}

// Puts the copy of |size_bytes| host bytes to a new block into the batch. |tier|, which may be NULL, is what the
// block is to be a replica of.
static manta_status_t upload(mti_lane_t *lane, mti_tier_t *tier, const void *from,
                             const mti_block_t *pinned, size_t size_bytes, mti_block_t **out_block,
                             mti_fence_t *out_ready)
{
    mti_lane_queue_t *in;
    manta_status_t status = mti_lane_queue_get(lane, MTI_LANE_QUEUE_IN, &in);
    mti_block_t *block = NULL;
    if (status == MANTA_OK) status = mti_devheap_alloc(lane->heap, in->queue, size_bytes, &block);
    if (status != MANTA_OK) return status;
    if (pinned) {
        mti_lane_copy_t one = {
            .copy = {{block->ptr, block->memory}, {pinned->ptr, pinned->memory}, size_bytes},
            .tier = tier,
            .block = block};
        status = batch_add(lane, &one);
    } else {
        status = upload_pageable(lane, tier, block, from, size_bytes);
    }
    if (status != MANTA_OK) {
        // Pieces of it may be in the batch still.
        (void)mti_lane_send(lane);
        mti_devheap_free(block);
        return status;
    }
    *out_block = block;
    // Nothing else is submitted to this queue before the batch is.
    *out_ready = (mti_fence_t){in->queue, in->queue->submitted + (lane->uploads.count != 0)};
    return MANTA_OK;
}

manta_status_t mti_lane_upload(mti_lane_t *lane, const void *from, size_t size_bytes,
                               mti_block_t **out_block, mti_fence_t *out_ready)
{
    manta_status_t status = upload(lane, NULL, from, NULL, size_bytes, out_block, out_ready);
    if (status != MANTA_OK) return status;
    status = mti_lane_send(lane);
    if (status != MANTA_OK) mti_devheap_free(*out_block);
    return status;
}

// A queue of another device can only wait for what is recorded.
static bool fence_is_recorded(mti_fence_t fence)
{
    // acquire: pairs with the record's release (devices/device.c)
    return mti_fence_is_done(fence) ||
           mti_atomic_u64_load_acquire(&fence.queue->recorded) >= fence.seq;
}

bool mti_lane_replica_failed(const mti_lane_t *lane, const mti_replica_t *replica)
{
    uint32_t count =
        lane->failure_count < MTI_LANE_FAILURES ? lane->failure_count : MTI_LANE_FAILURES;
    for (uint32_t i = 0; i < count; i++) {
        const mti_fence_t *f = &lane->failures[i];
        if (replica->is_copy && f->queue == replica->ready.queue && f->seq > replica->before &&
            f->seq <= replica->ready.seq) {
            return true;
        }
    }
    return false;
}

// Brings the bytes over from another device. NOT_READY: its lane has to record them first. NOT_FOUND: no device has them, or none can be reached.
static manta_status_t bring_from_peer(mti_lane_t *lane, mti_tier_t *tier, mti_block_t **out_block,
                                      mti_fence_t *out_ready)
{
    mti_lanes_t *lanes = lane->lanes;
    uint32_t from = UINT32_MAX;
    mti_replica_t source = {0};
    mti_mutex_lock(&tier->lock);
    for (uint32_t i = 0; i < tier->device_count && from == UINT32_MAX; i++) {
        mti_device_t *device = lanes->lane[i].device;
        if (!tier->at[i].block || mti_device_state(device) == MTI_DEVICE_LOST) continue;
        // From where it was made only: what failed on the way to another device is known there alone.
        if (tier->at[i].is_copy) continue;
        if (!mti_device_reaches(lane->device, device)) continue;
        from = i;
        source = tier->at[i];
    }
    bool room = tier->peer_count < MTI_TIER_PEERS;
    mti_mutex_unlock(&tier->lock);
    if (from == UINT32_MAX || !room) return MANTA_ERR_NOT_FOUND;
    if (!fence_is_recorded(source.ready)) {
        mti_atomic_u32_store_seq_cst(&lanes->lane[from].record_wanted, 1);
        return MANTA_NOT_READY;
    }
    mti_lane_queue_t *q;
    manta_status_t status = mti_lane_queue_get(lane, MTI_LANE_QUEUE_PEER, &q);
    mti_block_t *block = NULL;
    if (status == MANTA_OK) status = mti_lane_queue_after(lane, q, source.ready);
    if (status == MANTA_OK)
        status = mti_devheap_alloc(lane->heap, q->queue, tier->size_bytes, &block);
    if (status != MANTA_OK) return status;
    mti_copy_t copy = {
        {block->ptr, block->memory}, {source.block->ptr, source.block->memory}, tier->size_bytes};
    uint64_t seq = 0;
    status = mti_queue_copy(q->queue, &copy, MTI_OP_RECORD, &seq);
    if (status == MANTA_OK) status = mti_block_use(block, q->queue, seq);
    if (status != MANTA_OK) {
        mti_devheap_free(block);
        return status;
    }
    mti_mutex_lock(&tier->lock);
    tier->peers[tier->peer_count++] = (mti_fence_t){q->queue, seq};
    mti_mutex_unlock(&tier->lock);
    *out_block = block;
    *out_ready = (mti_fence_t){q->queue, seq};
    return MANTA_OK;
}

void mti_lane_drop_failed(mti_lane_t *lane, mti_tier_t *tier)
{
    mti_replica_t *mine = &tier->at[lane->index];
    mti_block_t *block = mine->block;
    if (!block || MTI_LIKELY(!mti_lane_replica_failed(lane, mine))) return;
    mti_mutex_lock(&tier->lock);
    *mine = (mti_replica_t){0};
    mti_mutex_unlock(&tier->lock);
    mti_devheap_free(block); // once those that read it are done
}

manta_status_t mti_lane_bring(mti_lane_t *lane, mti_ctx_t *ctx, mti_tier_t *tier)
{
    mti_replica_t *mine = &tier->at[lane->index];
    mti_block_t *block = NULL;
    mti_lane_drop_failed(lane, tier);
    if (mine->block) return MANTA_OK;
    uint64_t before[2] = {0};
    for (int i = 0; i < 2; i++) {
        mti_queue_t *q = lane->queues[i ? MTI_LANE_QUEUE_PEER : MTI_LANE_QUEUE_IN].queue;
        before[i] = q ? q->submitted : 0;
    }
    mti_fence_t ready = {0};
    manta_status_t status;
    if (mti_atomic_u32_load_acquire(&tier->host) == MTI_HOST_VALID) {
        bool pinned = tier->host_block != NULL;
        status = upload(lane, tier, tier->object->u.mem.data, pinned ? tier->host_block : NULL,
                        tier->size_bytes, &block, &ready);
    } else {
        status = bring_from_peer(lane, tier, &block, &ready);
        // The other one is lost, and its lane does not know yet: that closes the object, and says why.
        bool gone =
            status == MANTA_ERR_DEVICE_LOST && mti_device_state(lane->device) != MTI_DEVICE_LOST;
        if (status == MANTA_ERR_NOT_FOUND || gone) {
            uint64_t head;
            // If that has failed, whoever asked for the replica sees it there.
            if (mti_object_is_closed(tier->object, &head) && !(head & MTI_HEAD_FAILED))
                (void)mti_tier_ask(ctx, tier->object);
            return MANTA_NOT_READY;
        }
    }
    if (status != MANTA_OK) return status;
    mti_mutex_lock(&tier->lock);
    bool by_peer = ready.queue == lane->queues[MTI_LANE_QUEUE_PEER].queue;
    *mine = (mti_replica_t){block, ready, true, before[by_peer]};
    mti_mutex_unlock(&tier->lock);
    return MANTA_OK;
}

// ---- wishes ----------------------------------------------------------------------------------------

manta_status_t mti_lanes_prefetch(mti_lanes_t *lanes, mti_object_t *object, uint32_t index)
{
    mti_lane_t *lane = index == UINT32_MAX ? NULL : &lanes->lane[index];
    mti_tier_t *tier = mti_object_tier(object);
    for (uint32_t i = 0; index == UINT32_MAX && i < lanes->count; i++) {
        mti_lane_t *at = &lanes->lane[i];
        if (mti_lane_is_down(at)) continue;
        bool there = false;
        if (tier) {
            mti_mutex_lock(&tier->lock);
            there = tier->at[i].block != NULL;
            mti_mutex_unlock(&tier->lock);
        }
        if (there) return MANTA_OK;
        // relaxed, both: the one with the least to do, about
        if (!lane || mti_atomic_u32_load_relaxed(&at->in_flight) <
                         mti_atomic_u32_load_relaxed(&lane->in_flight)) {
            lane = at;
        }
    }
    if (!lane || mti_lane_is_down(lane)) {
        return mti_fail(MANTA_ERR_DEVICE_LOST, "prefetch: %s can't be used",
                        lane ? lane->device->name : "any GPU");
    }
    mti_lane_wish_t *wish = mti_alloc(&lanes->allocator, sizeof *wish, 16);
    if (!wish) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "prefetch: no memory to note it");
    // Keeps the slot, and so the bytes, until they are there; no holder for INOUT.
    (void)mti_atomic_u64_fetch_add_relaxed(&object->counts, MTI_COUNT_SLOT);
    wish->object = object;
    mti_mutex_lock(&lane->lock);
    wish->next = lane->wishes;
    lane->wishes = wish;
    mti_mutex_unlock(&lane->lock);
    (void)mti_atomic_u32_fetch_add_seq_cst(&lane->waiting, 1);
    mti_lanes_kick(lanes);
    return MANTA_OK;
}

// Sees to it that the replica comes. False: there is no more to do for |wish|.
static bool wish_bring(mti_lane_t *lane, mti_ctx_t *ctx, const mti_lane_wish_t *wish)
{
    bool failed;
    if (lane->failure) return false;
    mti_tier_t *tier = mti_tier_of(lane->lanes, wish->object, &failed);
    if (!tier) return false;
    if (tier->at[lane->index].block) return true;
    mti_lane_bind(lane);
    manta_status_t status = mti_lane_bring(lane, ctx, tier);
    return status == MANTA_OK || status == MANTA_NOT_READY;
}

// The copy may read pinned memory of the object's: the wish holds it so long.
static bool wish_is_over(const mti_lane_t *lane, const mti_lane_wish_t *wish, bool sent)
{
    if (!wish->is_coming) return true;
    const mti_replica_t *mine = &mti_object_tier(wish->object)->at[lane->index];
    return mine->block ? mti_fence_is_done(mine->ready) : !sent;
}

bool mti_lane_grant(mti_lane_t *lane, mti_ctx_t *ctx)
{
    mti_mutex_lock(&lane->lock);
    mti_lane_wish_t *list = lane->wishes;
    lane->wishes = NULL;
    mti_mutex_unlock(&lane->lock);
    while (list) {
        mti_lane_wish_t *next = list->next;
        list->next = lane->granting;
        lane->granting = list;
        list = next;
        (void)mti_atomic_u32_fetch_add_seq_cst(&lane->in_flight, 1);
        (void)mti_atomic_u32_fetch_add_seq_cst(&lane->waiting, (uint32_t)-1);
    }
    for (mti_lane_wish_t *wish = lane->granting; wish; wish = wish->next)
        wish->is_coming = wish_bring(lane, ctx, wish);
    bool sent = mti_lane_send(lane) == MANTA_OK;
    bool any = false;
    for (mti_lane_wish_t **at = &lane->granting; *at;) {
        mti_lane_wish_t *wish = *at;
        if (!wish_is_over(lane, wish, sent)) {
            at = &wish->next;
            continue;
        }
        *at = wish->next;
        mti_object_release(ctx, wish->object, MTI_COUNT_SLOT);
        mti_free(&lane->lanes->allocator, wish, sizeof *wish);
        (void)mti_atomic_u32_fetch_sub_acq_rel(&lane->in_flight, 1);
        any = true;
    }
    return any;
}

void mti_lane_forget_wishes(mti_lane_t *lane)
{
    mti_lane_wish_t **lists[] = {&lane->wishes, &lane->granting};
    for (int i = 0; i < 2; i++) {
        for (mti_lane_wish_t *wish; (wish = *lists[i]) != NULL;) {
            *lists[i] = wish->next;
            mti_free(&lane->lanes->allocator, wish, sizeof *wish);
        }
    }
}
