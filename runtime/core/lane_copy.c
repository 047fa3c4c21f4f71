// Queues of a lane and the order among them; copies between host and devices.
#include "core/lane_impl.h"

enum {
    STAGE_BYTES = 2 << 20,
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
    mti_queue_options_t options = {.kind = index < MTI_LANE_COMPUTE_QUEUES
                                               ? MTI_QUEUE_COMPUTE
                                               : kinds[index - MTI_LANE_COMPUTE_QUEUES],
                                   .high_priority = index == MTI_LANE_QUEUE_URGENT};
    manta_status_t status = mti_queue_create(lane->device, &options, &q->queue);
    if (status == MANTA_OK && index < MTI_LANE_QUEUE_URGENT) lane->queue_count = index + 1;
    return status;
}

manta_status_t mti_lane_queue_after(mti_lane_t *lane, mti_lane_queue_t *q, mti_fence_t fence)
{
    if (mti_fence_is_done(fence) || fence.queue == q->queue) return MANTA_OK;
    uint32_t other = fence.queue->device == lane->device ? mti_lane_queue_index(lane, fence.queue)
                                                         : MTI_LANE_QUEUES;
    if (other == MTI_LANE_QUEUES) return mti_queue_wait(q->queue, fence.queue, fence.seq);
    if (q->known[other] >= fence.seq) return MANTA_OK;
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

// ---- operands ------------------------------------------------------------------------------------

// Copies host bytes that the driver does not know: through pinned blocks, which the heap hands out again when
// the copy is done. With many of them under way the driver may see to it itself, if it can.
static manta_status_t upload_pageable(mti_lane_t *lane, mti_lane_queue_t *in, mti_block_t *to,
                                      const void *from, size_t size_bytes, uint64_t *out_seq)
{
    manta_status_t status = MANTA_OK;
    size_t piece;
    for (size_t done = 0; done < size_bytes && status == MANTA_OK; done += piece) {
        mti_place_t dst = {(char *)to->ptr + done, to->memory};
        const char *src = (const char *)from + done;
        piece = size_bytes - done;
        bool full = mti_devheap_usage(lane->host_heap).held_bytes > STAGED_MAX;
        if (full && mti_device_can(lane->device, MTI_CAP_PAGEABLE)) {
            mti_copy_t copy = {dst, mti_place_pageable((char *)(uintptr_t)src), piece};
            status = mti_queue_copy(in->queue, &copy, MTI_OP_NONE, out_seq);
            in->unrecorded++;
            continue;
        }
        if (piece > STAGE_BYTES) piece = STAGE_BYTES;
        mti_block_t *stage;
        status = mti_devheap_alloc(lane->host_heap, NULL, piece, &stage);
        if (status != MANTA_OK) break;
        memcpy(stage->ptr, src, piece);
        mti_copy_t copy = {dst, {stage->ptr, stage->memory}, piece};
        status = mti_queue_copy(in->queue, &copy, MTI_OP_NONE, out_seq);
        in->unrecorded++;
        if (status == MANTA_OK) status = mti_block_use(stage, in->queue, *out_seq);
        mti_devheap_free(stage);
    }
    return status;
}

manta_status_t mti_lane_upload(mti_lane_t *lane, const void *from, mti_block_t *pinned,
                               size_t size_bytes, mti_block_t **out_block, mti_fence_t *out_ready)
{
    mti_lane_queue_t *in;
    manta_status_t status = mti_lane_queue_get(lane, MTI_LANE_QUEUE_IN, &in);
    mti_block_t *block = NULL;
    if (status == MANTA_OK) status = mti_devheap_alloc(lane->heap, in->queue, size_bytes, &block);
    if (status != MANTA_OK) return status;
    uint64_t seq = 0;
    if (pinned) {
        mti_copy_t copy = {{block->ptr, block->memory}, {pinned->ptr, pinned->memory}, size_bytes};
        status = mti_queue_copy(in->queue, &copy, MTI_OP_NONE, &seq);
        in->unrecorded++;
    } else {
        status = upload_pageable(lane, in, block, from, size_bytes, &seq);
    }
    if (status == MANTA_OK) status = mti_block_use(block, in->queue, seq);
    if (status != MANTA_OK) {
        mti_devheap_free(block);
        return status;
    }
    *out_block = block;
    *out_ready = (mti_fence_t){in->queue, seq};
    return MANTA_OK;
}

// A queue of another device can only wait for what is recorded.
static bool fence_is_recorded(mti_fence_t fence)
{
    // acquire: pairs with the record's release (devices/device.c)
    return mti_fence_is_done(fence) ||
           mti_atomic_u64_load_acquire(&fence.queue->recorded) >= fence.seq;
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

manta_status_t mti_lane_bring(mti_lane_t *lane, mti_ctx_t *ctx, mti_tier_t *tier)
{
    mti_replica_t *mine = &tier->at[lane->index];
    if (mine->block) return MANTA_OK;
    mti_block_t *block = NULL;
    mti_fence_t ready = {0};
    manta_status_t status;
    if (mti_atomic_u32_load_acquire(&tier->host) == MTI_HOST_VALID) {
        bool pinned = tier->host_block != NULL;
        status = mti_lane_upload(lane, tier->object->u.mem.data, pinned ? tier->host_block : NULL,
                                 tier->size_bytes, &block, &ready);
    } else {
        status = bring_from_peer(lane, tier, &block, &ready);
        if (status == MANTA_ERR_NOT_FOUND) {
            uint64_t head;
            bool closed = mti_object_is_closed(tier->object, &head);
            if (closed && head & MTI_HEAD_FAILED) {
                return mti_fail(MANTA_ERR_DEVICE_LOST, "its bytes were on a device that is lost");
            }
            if (closed) (void)mti_tier_ask(ctx, tier->object);
            return MANTA_NOT_READY;
        }
    }
    if (status != MANTA_OK) return status;
    mti_mutex_lock(&tier->lock);
    *mine = (mti_replica_t){block, ready};
    mti_mutex_unlock(&tier->lock);
    return MANTA_OK;
}

// ---- copies to the host ----------------------------------------------------------------------------

static manta_status_t fetch_start(mti_lane_t *lane, mti_tier_t *tier)
{
    if (lane->failure) return MANTA_ERR_DEVICE_LOST;
    mti_replica_t source = tier->at[lane->index];
    if (!source.block) return MANTA_ERR_DEVICE_LOST;
    mti_lane_queue_t *q;
    manta_status_t status = mti_lane_queue_get(lane, MTI_LANE_QUEUE_OUT, &q);
    if (status == MANTA_OK) status = mti_lane_queue_after(lane, q, source.ready);
    mti_block_t *to = NULL;
    if (status == MANTA_OK)
        status = mti_devheap_alloc(lane->host_heap, q->queue, tier->size_bytes, &to);
    if (status != MANTA_OK) return status;
    mti_copy_t copy = {
        {to->ptr, to->memory}, {source.block->ptr, source.block->memory}, tier->size_bytes};
    uint64_t seq;
    status = mti_queue_copy(q->queue, &copy, MTI_OP_NONE, &seq);
    q->unrecorded++;
    if (status == MANTA_OK) status = mti_block_use(source.block, q->queue, seq);
    if (status == MANTA_OK) status = mti_block_use(to, q->queue, seq);
    if (status != MANTA_OK) {
        mti_devheap_free(to);
        return status;
    }
    mti_mutex_lock(&tier->lock);
    mti_atomic_u32_store_relaxed(&tier->host, MTI_HOST_COMING);
    tier->host_block = to;
    mti_mutex_unlock(&tier->lock);
    tier->fetched = (mti_fence_t){q->queue, seq};
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
        manta_status_t status = fetch_start(lane, tier);
        if (status != MANTA_OK) {
            (void)mti_atomic_u32_fetch_sub_acq_rel(&lane->in_flight, 1);
            mti_tier_arrived(ctx, tier, false, status);
            continue;
        }
        tier->next = NULL;
        if (lane->fetching_last) {
            lane->fetching_last->next = tier;
        } else {
            lane->fetching = tier;
        }
        lane->fetching_last = tier;
    }
    while (lane->fetching && (lane->failure || mti_fence_is_done(lane->fetching->fetched))) {
        mti_tier_t *tier = lane->fetching;
        lane->fetching = tier->next;
        if (!lane->fetching) lane->fetching_last = NULL;
        (void)mti_atomic_u32_fetch_sub_acq_rel(&lane->in_flight, 1);
        bool ok = mti_fence_is_done(tier->fetched);
        mti_tier_arrived(ctx, tier, ok, MANTA_ERR_DEVICE_LOST);
        any = true;
    }
    return any;
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

// Whether there is no more to do for |wish|.
static bool wish_is_over(mti_lane_t *lane, mti_ctx_t *ctx, const mti_lane_wish_t *wish)
{
    bool failed;
    if (lane->failure) return true;
    mti_tier_t *tier = mti_tier_of(lane->lanes, wish->object, &failed);
    if (!tier) return true;
    if (!tier->at[lane->index].block) {
        mti_lane_bind(lane);
        manta_status_t status = mti_lane_bring(lane, ctx, tier);
        if (status != MANTA_OK) return status != MANTA_NOT_READY;
    }
    // The copy may read pinned memory of the object's.
    return mti_fence_is_done(tier->at[lane->index].ready);
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
    bool any = false;
    for (mti_lane_wish_t **at = &lane->granting; *at;) {
        mti_lane_wish_t *wish = *at;
        if (!wish_is_over(lane, ctx, wish)) {
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
