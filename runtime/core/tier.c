// Where the bytes of an object are, once a device has to do with it.
//
// Objects that only CPU tasks see have no tier. An object gets one when a task on a device makes it, or when
// one reads it for the first time. From then on its storage is TIERED for good; |u.mem.data| is the host's
// address, NULL while the host has none.
//
// A CPU task that takes a closed object whose bytes are not at the host waits for them as for an open one: its
// link is parked here, and fires when the copy is there. The bytes are fetched only then.
#include "core/lane.h"

#include "base/alloc.h"

// Serialises the making of tiers, by slot; held for a few instructions.
static mti_mutex_t making[16];

__attribute__((constructor)) static void making_init(void)
{
    for (size_t i = 0; i < sizeof making / sizeof making[0]; i++)
        mti_mutex_init(&making[i], MTI_RANK_TIER_MAKE);
}

static size_t tier_bytes(uint32_t devices)
{
    return sizeof(mti_tier_t) + devices * sizeof(mti_replica_t);
}

static mti_tier_t *tier_alloc(mti_lanes_t *lanes, mti_object_t *object, size_t size_bytes)
{
    uint32_t devices = mti_lanes_count(lanes);
    mti_tier_t *tier = mti_alloc_zeroed(mti_lanes_allocator(lanes), tier_bytes(devices), 16);
    if (!tier) return NULL;
    mti_mutex_init(&tier->lock, MTI_RANK_TIER);
    tier->object = object;
    tier->size_bytes = size_bytes;
    tier->device_count = devices;
    return tier;
}

static void tier_free(mti_lanes_t *lanes, mti_tier_t *tier)
{
    mti_mutex_deinit(&tier->lock);
    mti_free(mti_lanes_allocator(lanes), tier, tier_bytes(tier->device_count));
}

mti_tier_t *mti_tier_create(mti_lanes_t *lanes, mti_object_t *object, size_t size_bytes)
{
    mti_tier_t *tier = tier_alloc(lanes, object, size_bytes);
    if (!tier) return NULL;
    object->u.mem.data = NULL;
    object->u.mem.tier = tier;
    mti_object_set(object, mti_object_kind(object), MTI_STORAGE_TIERED, size_bytes);
    return tier;
}

mti_tier_t *mti_tier_of(mti_lanes_t *lanes, mti_object_t *object, bool *out_failed)
{
    *out_failed = false;
    mti_storage_t storage = mti_object_storage(object);
    if (storage <= MTI_STORAGE_INLINE) return NULL;
    mti_mutex_t *lock = &making[object->slot % (sizeof making / sizeof making[0])];
    mti_mutex_lock(lock);
    storage = mti_object_storage(object);
    mti_tier_t *tier = NULL;
    if (storage == MTI_STORAGE_TIERED) {
        tier = object->u.mem.tier;
    } else {
        tier = tier_alloc(lanes, object, mti_object_size(object));
        *out_failed = tier == NULL;
    }
    if (tier && storage != MTI_STORAGE_TIERED) {
        // Readers meanwhile look at the address only, and that stays.
        tier->origin = storage;
        tier->origin_data = object->u.mem.data;
        if (storage == MTI_STORAGE_PARENT) tier->parent = object->u.mem.parent;
        if (storage == MTI_STORAGE_WRAPPED) tier->wrap = object->u.mem.wrap;
        mti_atomic_u32_store_relaxed(&tier->host, MTI_HOST_VALID);
        __atomic_store_n(&object->u.mem.tier, tier, __ATOMIC_RELAXED);
        // release: publishes the tier; pairs with the acquire in mti_object_tier
        mti_atomic_u64_store_release(&object->size_bits,
                                     tier->size_bytes | (uint64_t)MTI_STORAGE_TIERED << 48 |
                                         (uint64_t)mti_object_kind(object) << 56);
    }
    mti_mutex_unlock(lock);
    return tier;
}

void mti_tier_adopt(mti_tier_t *tier, void *data, size_t size_bytes)
{
    mti_object_t *object = tier->object;
    tier->origin = MTI_STORAGE_HEAP;
    tier->origin_data = data;
    tier->size_bytes = size_bytes;
    object->u.mem.data = data;
    mti_object_set(object, mti_object_kind(object), MTI_STORAGE_TIERED, size_bytes);
    mti_atomic_u32_store_release(&tier->host, MTI_HOST_VALID);
}

mti_object_t *mti_tier_destroy(mti_ctx_t *ctx, mti_object_t *object)
{
    mti_tier_t *tier = object->u.mem.tier;
    mti_lanes_t *lanes = mti_lanes_peek(ctx->rt);
    mti_object_t *parent = tier->cause;
    manta_error_release(tier->error);
    object->u.mem.data = tier->origin_data;
    if (tier->origin == MTI_STORAGE_PARENT) {
        parent = tier->parent;
    } else if (tier->origin != MTI_STORAGE_NONE) {
        if (tier->origin == MTI_STORAGE_WRAPPED) object->u.mem.wrap = tier->wrap;
        mti_object_set(object, mti_object_kind(object), tier->origin, tier->size_bytes);
        mti_object_storage_free(ctx, object);
    }
    mti_object_set(object, mti_object_kind(object), MTI_STORAGE_NONE, 0);
    for (uint32_t i = 0; i < tier->device_count; i++) {
        mti_block_t *block = tier->at[i].block;
        if (!block) continue;
        // Nobody else has to do with the block any more, so what other devices read of it is added here.
        for (uint32_t k = 0; k < tier->peer_count; k++) {
            if (block->user_count < MTI_BLOCK_USERS && !mti_fence_is_done(tier->peers[k])) {
                block->users[block->user_count++] = tier->peers[k];
            }
        }
        mti_lanes_free_block(lanes, block);
    }
    if (tier->host_block) mti_lanes_free_block(lanes, tier->host_block);
    tier_free(lanes, tier);
    return parent;
}

// ---- failures ------------------------------------------------------------------------------------

bool mti_tier_fail(mti_object_t *object, manta_error_t *error, mti_object_t *cause,
                   uint32_t argument)
{
    // Its size stays: who is being placed behind it on a device, and has not seen yet that it failed, reads it.
    if (mti_object_storage(object) != MTI_STORAGE_TIERED) return false;
    object->u.mem.tier->cause_argument = argument;
    object->u.mem.tier->error = error;
    object->u.mem.tier->cause = cause;
    return true;
}

const manta_error_t *mti_tier_error(const mti_object_t *object)
{
    return object->u.mem.tier->error;
}

mti_object_t *mti_tier_cause(const mti_object_t *object)
{
    return object->u.mem.tier->cause;
}

uint32_t mti_tier_cause_argument(const mti_object_t *object)
{
    return object->u.mem.tier->cause_argument;
}

// ---- the host's copy -----------------------------------------------------------------------------

// The best device to fetch the bytes from, other than |but| if there is another; one that is lost only if all are.
// |device_count|: none has them.
static uint32_t tier_source_locked(const mti_lanes_t *lanes, const mti_tier_t *tier, uint32_t but)
{
    uint32_t best = tier->device_count, best_rank = UINT32_MAX;
    for (uint32_t i = 0; i < tier->device_count; i++) {
        if (!tier->at[i].block) continue;
        // Where it was made nothing can have failed on the way.
        uint32_t rank = mti_lanes_is_lost(lanes, i) ? 3 : i == but ? 2 : tier->at[i].is_copy;
        if (rank < best_rank) best = i;
        if (rank < best_rank) best_rank = rank;
    }
    return best;
}

bool mti_tier_lives(mti_lanes_t *lanes, mti_tier_t *tier)
{
    if (mti_atomic_u32_load_acquire(&tier->host) == MTI_HOST_VALID) return true;
    mti_mutex_lock(&tier->lock);
    uint32_t device = tier_source_locked(lanes, tier, tier->device_count);
    mti_mutex_unlock(&tier->lock);
    return device < tier->device_count && !mti_lanes_is_lost(lanes, device);
}

// Whether the host has the bytes of the closed |object|, or never will; if not they are asked for, once. |word|, a link, is
// kept until they are there, if it is not 0.
static bool tier_want_host(mti_ctx_t *ctx, mti_object_t *object, mti_tier_t *tier, uint64_t word)
{
    // acquire: the bytes
    if (mti_atomic_u32_load_acquire(&tier->host) == MTI_HOST_VALID) return true;
    mti_lanes_t *lanes = mti_lanes_peek(ctx->rt);
    bool ask = false;
    uint32_t device = 0;
    mti_mutex_lock(&tier->lock);
    // A failed one was lost with its device: there is nothing to wait for.
    bool valid = mti_atomic_u32_load_relaxed(&tier->host) == MTI_HOST_VALID ||
                 mti_atomic_u64_load_relaxed(&object->head) & MTI_HEAD_FAILED;
    if (!valid) {
        if (word) {
            *(uint64_t *)(uintptr_t)(word & MTI_LINK_ADDR) = tier->links;
            tier->links = word;
        }
        ask = !tier->requested;
        if (ask) {
            device = tier_source_locked(lanes, tier, tier->device_count);
            tier->requested = true;
            tier->is_second_fetch = false;
            tier->fetched_from = device;
        }
    }
    mti_mutex_unlock(&tier->lock);
    if (ask) {
        // Keeps the slot, and so the bytes, until the fetch is over; no holder for INOUT.
        (void)mti_atomic_u64_fetch_add_relaxed(&object->counts, MTI_COUNT_SLOT);
        mti_lanes_fetch(lanes, tier, device);
    }
    return valid;
}

bool mti_tier_park(mti_ctx_t *ctx, mti_object_t *object, uint64_t word)
{
    return !tier_want_host(ctx, object, mti_object_tier(object), word);
}

bool mti_tier_ask(mti_ctx_t *ctx, mti_object_t *object)
{
    return tier_want_host(ctx, object, mti_object_tier(object), 0);
}

// A fetch has failed. Those of a device that is lost go on from another one that has the bytes; what failed by
// itself is tried once more, elsewhere if it can be. False: that is all.
static bool tier_fetch_again(mti_lanes_t *lanes, mti_tier_t *tier)
{
    mti_mutex_lock(&tier->lock);
    uint32_t from = tier->fetched_from, device = tier_source_locked(lanes, tier, from);
    bool again = device < tier->device_count && !mti_lanes_is_lost(lanes, device);
    mti_block_t *stale = NULL;
    if (again) {
        // One that turned out not to be there (mti_lane_fetch) was none.
        bool counts = tier->at[from].block && !mti_lanes_is_lost(lanes, from);
        again = !counts || !tier->is_second_fetch;
        tier->is_second_fetch = tier->is_second_fetch || counts;
    }
    if (again) {
        tier->fetched_from = device;
        stale = tier->host_block;
        tier->host_block = NULL;
        mti_atomic_u32_store_relaxed(&tier->host, MTI_HOST_NONE);
    }
    mti_mutex_unlock(&tier->lock);
    if (stale) mti_lanes_free_block(lanes, stale);
    if (again) mti_lanes_fetch(lanes, tier, device);
    return again;
}

void mti_tier_arrived(mti_ctx_t *ctx, mti_tier_t *tier, bool ok, manta_status_t code)
{
    mti_object_t *object = tier->object;
    if (!ok && tier_fetch_again(mti_lanes_peek(ctx->rt), tier)) return;
    mti_mutex_lock(&tier->lock);
    uint64_t links = tier->links;
    tier->links = 0;
    tier->requested = false;
    if (ok) {
        __atomic_store_n(&object->u.mem.data, tier->host_block->ptr, __ATOMIC_RELAXED);
        // release: publishes the bytes and the address
        mti_atomic_u32_store_release(&tier->host, MTI_HOST_VALID);
    } else {
        mti_atomic_u32_store_relaxed(&tier->host, MTI_HOST_NONE);
        // Nobody will ever read it: sealed, but lost. Bare, so that the tier stays to be freed.
        mti_atomic_u64_store_release(&object->head, mti_head_bare(code));
    }
    mti_mutex_unlock(&tier->lock);
    mti_links_fire(ctx, object, ok ? MTI_HEAD_CLOSED : mti_head_bare(code), links);
    mti_lanes_tell(ctx->rt);
    mti_object_release(ctx, object, MTI_COUNT_SLOT);
}
