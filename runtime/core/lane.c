// Lanes: tasks on devices. lane.h tells the way of a task, docs/architecture.md the rules, lane_impl.h which file
// does what. Here: what arrives, one step of a lane, the thread that makes them, start and stop.
#include "core/lane_impl.h"

#include "base/thread.h"

enum {
    PLACE_BATCH = 32,
    LOWEST_EVERY = 64, // picks
    RECORD_NS = 50000, // how long work on a queue waits for a record that nobody asked for
    SPIN_ROUNDS = 2000,
    NAP_MIN_NS = 20000,
    NAP_MAX_NS = 200000,
};

uint32_t mti_lanes_count(const mti_lanes_t *lanes)
{
    return lanes->count;
}

const manta_allocator_t *mti_lanes_allocator(const mti_lanes_t *lanes)
{
    return &lanes->allocator;
}

bool mti_lanes_is_lost(const mti_lanes_t *lanes, uint32_t index)
{
    return mti_lane_is_down(&lanes->lane[index]);
}

bool mti_lanes_all_down(const mti_lanes_t *lanes)
{
    uint32_t down = 0;
    for (uint32_t i = 0; i < lanes->count; i++)
        down += mti_lane_is_down(&lanes->lane[i]);
    return down == lanes->count;
}

manta_status_t mti_lanes_failure(const mti_lanes_t *lanes, const char *who)
{
    if (lanes->failure == MANTA_OK) return MANTA_OK;
    return mti_fail(lanes->failure, "%s: GPUs can't be used: %s", who, lanes->failure_text);
}

mti_device_t *mti_lanes_device(const mti_lanes_t *lanes, uint32_t index)
{
    return lanes->lane[index].device;
}

// ---- telling -----------------------------------------------------------------------------------

void mti_lanes_kick(mti_lanes_t *lanes)
{
    // seq_cst: what was added comes before the look at |asleep|; pairs with the store in lanes_sleep
    if (mti_atomic_u32_load_seq_cst(&lanes->asleep) == 0) return;
    (void)mti_atomic_u32_fetch_add_acq_rel(&lanes->wake, 1);
    mti_notify_wake(&lanes->wake, 1);
}

void mti_lanes_tell(mti_runtime_t *rt)
{
    mti_lanes_t *lanes = mti_lanes_peek(rt);
    (void)mti_atomic_u32_fetch_add_seq_cst(&lanes->told, 1);
    if (mti_atomic_u32_load_seq_cst(&lanes->tell_waiters)) mti_notify_wake(&lanes->told, INT32_MAX);
}

void mti_lanes_free_block(mti_lanes_t *lanes, mti_block_t *block)
{
    mti_lane_t *lane = NULL;
    for (uint32_t i = 0; i < lanes->count && !lane; i++)
        if (lanes->lane[i].device == block->memory->device) lane = &lanes->lane[i];
    if (!lane) return;
    bool is_foreign = mti_block_is_foreign(block); // the block is gone once it is on the list
    void *first = mti_atomic_ptr_load_relaxed(&lane->freed);
    do {
        block->next = first;
        // release: the block's users; pairs with the acquire in lane_collect
    } while (!mti_atomic_ptr_cas_acq_rel(&lane->freed, &first, block));
    // Not worth waking anybody up for: whoever needs memory collects first. But a deleter waits for this.
    if (is_foreign) {
        (void)mti_atomic_u32_fetch_add_seq_cst(&lane->waiting, 1);
        mti_lanes_kick(lanes);
    }
}

void mti_lanes_fetch(mti_lanes_t *lanes, mti_tier_t *tier, uint32_t device)
{
    mti_lane_t *lane = &lanes->lane[device < lanes->count ? device : 0];
    mti_mutex_lock(&lane->lock);
    tier->next = lane->fetches;
    lane->fetches = tier;
    mti_mutex_unlock(&lane->lock);
    (void)mti_atomic_u32_fetch_add_seq_cst(&lane->waiting, 1);
    mti_lanes_kick(lanes);
}

// Moves the ring to |ids|, with room for |capacity|.
static void inbox_move(mti_lanes_t *lanes, mti_inbox_t *inbox, uint64_t *ids)
{
    for (size_t i = 0; i < inbox->count; i++)
        ids[i] = inbox->ids[(inbox->first + i) % lanes->inbox_capacity];
    mti_free(&lanes->allocator, inbox->ids, lanes->inbox_capacity * sizeof *ids);
    inbox->ids = ids;
    inbox->first = 0;
}

static bool inbox_grow(mti_lanes_t *lanes)
{
    size_t capacity = lanes->inbox_capacity ? 2 * lanes->inbox_capacity : 256;
    size_t bytes = capacity * sizeof(uint64_t);
    uint64_t *some = mti_alloc(&lanes->allocator, bytes, 16);
    uint64_t *more = some ? mti_alloc(&lanes->allocator, bytes, 16) : NULL;
    if (!more) {
        mti_free(&lanes->allocator, some, bytes);
        return false;
    }
    inbox_move(lanes, &lanes->inbox[0], some);
    inbox_move(lanes, &lanes->inbox[1], more);
    lanes->inbox_capacity = capacity;
    return true;
}

bool mti_lanes_reserve(mti_lanes_t *lanes)
{
    mti_mutex_lock(&lanes->inbox_lock);
    bool ok = lanes->inbox_reserved < lanes->inbox_capacity || inbox_grow(lanes);
    lanes->inbox_reserved += ok;
    mti_mutex_unlock(&lanes->inbox_lock);
    return ok;
}

void mti_lanes_unreserve(mti_lanes_t *lanes)
{
    mti_mutex_lock(&lanes->inbox_lock);
    lanes->inbox_reserved--;
    mti_mutex_unlock(&lanes->inbox_lock);
}

void mti_lanes_push(mti_lanes_t *lanes, uint64_t id, uint32_t flags)
{
    mti_mutex_lock(&lanes->inbox_lock);
    mti_inbox_t *inbox = &lanes->inbox[mti_lane_band(flags) > 1];
    inbox->ids[(inbox->first + inbox->count++) % lanes->inbox_capacity] = id;
    mti_mutex_unlock(&lanes->inbox_lock);
    (void)mti_atomic_u32_fetch_add_seq_cst(&lanes->inbox_hint, 1);
    mti_lanes_kick(lanes);
}

// ---- one step ------------------------------------------------------------------------------------

static void lane_collect(mti_lane_t *lane)
{
    if (!mti_atomic_ptr_load_relaxed(&lane->freed)) return;
    // acquire: pairs with the release in mti_lanes_free_block
    mti_block_t *block = mti_atomic_ptr_exchange_acq_rel(&lane->freed, NULL);
    while (block) {
        mti_block_t *next = block->next;
        if (mti_block_is_foreign(block)) {
            mti_lane_foreign_free(lane, block);
        } else {
            mti_devheap_free(block);
        }
        block = next;
    }
}

static manta_status_t lane_open(mti_lane_t *lane)
{
    mti_device_t *device = lane->device;
    manta_status_t status = mti_device_open(device);
    if (status != MANTA_OK) return status;
    mti_lane_bind(lane);
    mti_devheap_options_t options = {.device = device, .allocator = &lane->lanes->allocator};
    lane->heap = mti_devheap_create(&options);
    options.is_host = true;
    lane->host_heap = mti_devheap_create(&options);
    if (lane->heap && lane->host_heap) {
        mti_lane_load_code(lane);
        return MANTA_OK;
    }
    return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "device %s: no memory for its heaps", device->name);
}

// Oldest first: what has an order is not to overtake.
static void lane_park(mti_lane_t *lane, mti_op_t *op)
{
    op->next = NULL;
    *(lane->parked_last ? &lane->parked_last->next : &lane->parked) = op;
    lane->parked_last = op;
}

// The oldest of the highest band; every so often the oldest of the lowest, so that nobody waits for ever.
static mti_op_t *lane_pick_locked(mti_lane_t *lane)
{
    bool lowest = ++lane->picks % LOWEST_EVERY == 0;
    for (int i = 0; i < MTI_LANE_BANDS; i++) {
        int band = lowest ? MTI_LANE_BANDS - 1 - i : i;
        mti_op_t *op = lane->ready[band].first;
        if (!op) continue;
        lane->ready[band].first = op->next;
        if (!op->next) lane->ready[band].last = NULL;
        return op;
    }
    return NULL;
}

// The next operation that is ready. What the last one made ready comes right behind it: a chain is placed as a whole.
static mti_op_t *lane_take_ready(mti_lane_t *lane, mti_ctx_t *ctx)
{
    mti_op_t *op;
    do {
        mti_mutex_lock(&lane->lock);
        op = lane_pick_locked(lane);
        mti_mutex_unlock(&lane->lock);
    } while (!op && mti_lanes_route(lane->lanes, ctx));
    return op;
}

static bool lane_place_ready(mti_lane_t *lane, mti_ctx_t *ctx)
{
    bool any = false;
    // What had to wait for the host comes first.
    mti_op_t *list = lane->parked;
    lane->parked = lane->parked_last = NULL;
    lane->round++;
    for (int i = 0; i < PLACE_BATCH; i++) {
        mti_op_t *op = list;
        bool again = op != NULL;
        if (op) {
            list = op->next;
        } else {
            op = lane_take_ready(lane, ctx);
        }
        if (!op) break;
        if (!again) {
            (void)mti_atomic_u32_fetch_add_seq_cst(&lane->in_flight, 1);
            (void)mti_atomic_u32_fetch_add_seq_cst(&lane->waiting, (uint32_t)-1);
        }
        bool blocked = op->order && op->order->blocked_round == lane->round;
        if (blocked || mti_lane_place(lane, ctx, op) == MANTA_NOT_READY) {
            if (op->order) op->order->blocked_round = lane->round;
            lane_park(lane, op);
            continue;
        }
        (void)mti_atomic_u32_fetch_sub_acq_rel(&lane->in_flight, 1);
        any = true;
    }
    while (list) {
        mti_op_t *op = list;
        list = op->next;
        lane_park(lane, op);
    }
    return any;
}

// What nobody recorded is: if it was asked for, or has waited for long. Copies at the end of each step.
static bool lane_record(mti_lane_t *lane)
{
    bool wanted = mti_atomic_u32_load_relaxed(&lane->record_wanted) != 0;
    if (wanted) mti_atomic_u32_store_seq_cst(&lane->record_wanted, 0);
    bool all =
        wanted || lane->lanes->is_virtual || mti_atomic_u32_load_relaxed(&lane->lanes->hurry) != 0;
    int64_t now = 0;
    for (uint32_t i = 0; i < MTI_LANE_QUEUES && !lane->failure; i++) {
        mti_lane_queue_t *q = &lane->queues[i];
        if (!q->unrecorded) continue;
        if (i < MTI_LANE_COMPUTE_QUEUES && !all) {
            if (!now) now = mti_clock_ns();
            if (now - q->unrecorded_since_ns <= RECORD_NS) continue;
        }
        mti_lane_bind(lane);
        (void)mti_lane_queue_record(q);
    }
    return wanted;
}

static bool lane_step(mti_lane_t *lane, mti_ctx_t *ctx)
{
    uint32_t nobody = 0;
    if (mti_atomic_u32_load_relaxed(&lane->waiting) == 0 &&
        mti_atomic_u32_load_relaxed(&lane->in_flight) == 0) {
        return false;
    }
    // acquire: what the holder before did
    if (!mti_atomic_u32_cas_acq_rel(&lane->right, &nobody, 1)) return false;
    bool any = false;
    if (mti_device_state(lane->device) == MTI_DEVICE_CLOSED && !lane->failure) {
        manta_status_t status = lane_open(lane);
        if (status != MANTA_OK) {
            char text[200];
            snprintf(text, sizeof text, "%s", manta_error_message());
            mti_runtime_log(ctx->rt, status, "device %s can't be used: %s", lane->device->name,
                            text);
            mti_lane_fail(lane, ctx, status, text);
        }
    }
    lane_collect(lane);
    any |= mti_lane_grant(lane, ctx);
    any |= lane_place_ready(lane, ctx);
    mti_lane_poll(lane, ctx);
    // What the host has got by now is not lost: tasks that end here may be tried again with it.
    if (lane->failure) any |= mti_lane_fetch(lane, ctx);
    for (uint32_t i = 0; i < MTI_LANE_QUEUES; i++)
        if (lane->queues[i].first) any |= mti_lane_queue_complete(lane, ctx, &lane->queues[i]);
    any |= mti_lane_fetch(lane, ctx);
    any |= mti_lane_foreign_step(lane, ctx, false);
    any |= lane_record(lane);
    mti_lane_unbind(lane);
    // release: for the next holder
    mti_atomic_u32_store_release(&lane->right, 0);
    return any;
}

// In the order in which things move on, so that nothing is missed between two lists.
bool mti_lanes_are_busy(const mti_lanes_t *lanes)
{
    if (mti_atomic_u32_load_seq_cst(&lanes->inbox_hint)) return true;
    for (uint32_t i = 0; i < lanes->count; i++) {
        if (mti_atomic_u32_load_seq_cst(&lanes->lane[i].waiting) ||
            mti_atomic_u32_load_seq_cst(&lanes->lane[i].in_flight)) {
            return true;
        }
    }
    return false;
}

bool mti_lanes_need_steps(const mti_runtime_t *rt)
{
    const mti_lanes_t *lanes = mti_lanes_peek(rt);
    return lanes && !lanes->has_thread && mti_lanes_are_busy(lanes);
}

// One round over everything; true if something moved.
static bool lanes_round(mti_lanes_t *lanes, mti_ctx_t *ctx)
{
    bool any = mti_lanes_route(lanes, ctx);
    for (uint32_t i = 0; i < lanes->count; i++)
        any |= lane_step(&lanes->lane[i], ctx);
    return any;
}

// On a virtual clock, when nothing moves by itself: lets time pass to the next event.
static bool lanes_let_time_pass(mti_lanes_t *lanes)
{
    for (uint32_t i = 0; i < lanes->count; i++) {
        mti_lane_t *lane = &lanes->lane[i];
        if (mti_atomic_u32_load_acquire(&lane->in_flight) == 0 || lane->failure) continue;
        if (mti_device_block(lane->device, INT64_MAX) == MANTA_OK) return true;
    }
    return false;
}

bool mti_lanes_help(mti_ctx_t *ctx, bool hurry)
{
    mti_lanes_t *lanes = mti_lanes_peek(ctx->rt);
    if (!lanes || mti_op_current || !mti_lanes_are_busy(lanes)) return false;
    // A thread that is inside a lane already (a body that waits, which it must not) finds its right taken.
    if (hurry) (void)mti_atomic_u32_fetch_add_acq_rel(&lanes->hurry, 1);
    bool any = false;
    if (!lanes->is_virtual) {
        any = lanes_round(lanes, ctx);
    } else {
        uint32_t nobody = 0;
        if (mti_atomic_u32_cas_acq_rel(&lanes->stepping, &nobody, 1)) {
            any = lanes_round(lanes, ctx) || lanes_let_time_pass(lanes);
            mti_atomic_u32_store_release(&lanes->stepping, 0);
        }
    }
    if (hurry) (void)mti_atomic_u32_fetch_sub_acq_rel(&lanes->hurry, 1);
    return any;
}

// ---- the lanes' thread ---------------------------------------------------------------------------

static void lanes_sleep(mti_lanes_t *lanes)
{
    uint32_t word = mti_atomic_u32_load_acquire(&lanes->wake);
    // seq_cst: said before the look; pairs with the load in mti_lanes_kick
    mti_atomic_u32_store_seq_cst(&lanes->asleep, 1);
    if (!mti_lanes_are_busy(lanes) && !mti_atomic_u32_load_seq_cst(&lanes->stop)) {
        (void)mti_notify_wait(&lanes->wake, word, INT64_MAX);
    }
    mti_atomic_u32_store_relaxed(&lanes->asleep, 0);
}

static void *lanes_main(void *arg)
{
    mti_lanes_t *lanes = arg;
    mti_ctx_t *ctx = lanes->ctx;
    mti_ctx_enter(ctx);
    mti_lanes_thread_begin();
    int64_t nap = NAP_MIN_NS;
    int idle = 0;
    while (!mti_atomic_u32_load_acquire(&lanes->stop)) {
        if (mti_lanes_help(ctx, false)) {
            idle = 0;
            nap = NAP_MIN_NS;
            continue;
        }
        if (!mti_lanes_are_busy(lanes)) {
            mti_table_flush(&ctx->table);
            mti_drain_check(ctx);
            lanes_sleep(lanes);
            idle = 0;
            continue;
        }
        if (++idle < SPIN_ROUNDS) {
            mti_cpu_pause();
            continue;
        }
        // Long work: looks now and then, unless there is more to submit.
        uint32_t word = mti_atomic_u32_load_acquire(&lanes->wake);
        mti_atomic_u32_store_seq_cst(&lanes->asleep, 1);
        (void)mti_notify_wait(&lanes->wake, word, mti_clock_ns() + nap);
        mti_atomic_u32_store_relaxed(&lanes->asleep, 0);
        if (nap < NAP_MAX_NS) nap *= 2;
    }
    mti_lanes_thread_unbind(lanes);
    mti_ctx_leave(ctx);
    return NULL;
}

// ---- start and stop ------------------------------------------------------------------------------

mti_lanes_t *mti_lanes_peek(const mti_runtime_t *rt)
{
    return mti_atomic_ptr_load_acquire(&rt->lanes);
}

static void lanes_free(mti_lanes_t *lanes)
{
    for (int i = 0; i < 2; i++)
        mti_free(&lanes->allocator, lanes->inbox[i].ids, lanes->inbox_capacity * sizeof(uint64_t));
    mti_mutex_deinit(&lanes->inbox_lock);
    for (uint32_t i = 0; i < lanes->count; i++)
        mti_mutex_deinit(&lanes->lane[i].lock);
    manta_allocator_t allocator = lanes->allocator;
    mti_free(&allocator, lanes, sizeof *lanes + lanes->count * sizeof lanes->lane[0]);
}

static manta_status_t lanes_create(mti_runtime_t *rt, mti_lanes_t **out_lanes)
{
    mti_devices_t *devices = NULL;
    mti_devices_options_t options = rt->device_options;
    options.allocator = rt->allocator;
    manta_status_t status = mti_devices_create(&options, &devices);
    if (status == MANTA_ERR_OUT_OF_MEMORY) return status;
    uint32_t count = status == MANTA_OK ? mti_devices_gpu_count(devices) : 0;
    mti_lanes_t *lanes = mti_alloc_zeroed(
        &rt->allocator, sizeof *lanes + count * sizeof lanes->lane[0], MTI_LINE_BYTES);
    if (!lanes) {
        manta_status_t ignored = mti_devices_destroy(devices, 0);
        (void)ignored; // none is open
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for %u devices", count);
    }
    lanes->rt = rt;
    lanes->allocator = rt->allocator;
    lanes->devices = devices;
    lanes->count = count;
    lanes->is_virtual = devices && mti_devices_has_virtual_clock(devices);
    if (status != MANTA_OK) {
        // Tasks for devices are told; the others don't care.
        lanes->failure = status;
        snprintf(lanes->failure_text, sizeof lanes->failure_text, "%s", manta_error_message());
        mti_runtime_log(rt, status, "GPUs can't be used: %s", lanes->failure_text);
    }
    mti_mutex_init(&lanes->inbox_lock, MTI_RANK_LANE);
    for (uint32_t i = 0; i < count; i++) {
        lanes->lane[i].lanes = lanes;
        lanes->lane[i].index = i;
        lanes->lane[i].device = mti_devices_gpu(devices, i);
        mti_mutex_init(&lanes->lane[i].lock, MTI_RANK_LANE);
    }
    *out_lanes = lanes;
    return MANTA_OK;
}

manta_status_t mti_lanes_start(mti_runtime_t *rt, mti_lanes_t **out_lanes)
{
    *out_lanes = mti_lanes_peek(rt);
    if (*out_lanes) return MANTA_OK;
    mti_mutex_lock(&rt->lanes_lock);
    manta_status_t status = MANTA_OK;
    mti_lanes_t *lanes = mti_lanes_peek(rt);
    if (!lanes && (status = lanes_create(rt, &lanes)) == MANTA_OK) {
        // Without a thread waiters and idle workers do its work.
        if (lanes->count && !rt->is_serial && (lanes->ctx = mti_ctx_prepare(rt))) {
            char name[16];
            snprintf(name, sizeof name, "%.10s-gpu", rt->name);
            lanes->has_thread = mti_thread_create(&lanes->thread, lanes_main, lanes, name);
            if (!lanes->has_thread) mti_ctx_retire(lanes->ctx);
        }
        mti_admit_gpus(rt, lanes->count);
        // release: publishes the lanes
        mti_atomic_ptr_store_release(&rt->lanes, lanes);
    }
    mti_mutex_unlock(&rt->lanes_lock);
    *out_lanes = lanes;
    return status;
}

void mti_lanes_stop(mti_runtime_t *rt)
{
    mti_lanes_t *lanes = mti_lanes_peek(rt);
    if (!lanes || !lanes->has_thread) return;
    mti_atomic_u32_store_seq_cst(&lanes->stop, 1);
    (void)mti_atomic_u32_fetch_add_acq_rel(&lanes->wake, 1);
    mti_notify_wake(&lanes->wake, 1);
    pthread_join(lanes->thread, NULL);
    lanes->has_thread = false;
}

// Waits until all that was submitted is done: uploads that nobody used, say.
static void lane_finish(mti_lane_t *lane, mti_ctx_t *ctx)
{
    if (mti_device_state(lane->device) == MTI_DEVICE_CLOSED || lane->failure) return;
    mti_bound_t bound;
    mti_device_bind(lane->device, &bound);
    for (uint32_t k = 0; k < MTI_LANE_QUEUES && !lane->failure; k++) {
        mti_queue_t *queue = lane->queues[k].queue;
        uint64_t seq = 0;
        if (!queue || mti_queue_signal(queue, &seq) != MANTA_OK) continue;
        while (mti_queue_completed(queue) < seq && !lane->failure) {
            mti_lane_poll(lane, ctx);
            if (mti_queue_completed(queue) >= seq || lane->failure) break;
            manta_status_t status =
                mti_device_block(lane->device, mti_device_now_ns(lane->device) + 1000000);
            if (status == MANTA_ERR_DEADLOCK) break;
        }
    }
    (void)mti_device_unbind(lane->device, &bound);
}

static void lane_free(mti_lane_t *lane)
{
    lane_collect(lane);
    for (uint32_t i = 0; i < MTI_LANE_QUEUES; i++) {
        for (mti_lane_local_t *local; (local = lane->queues[i].locals) != NULL;) {
            lane->queues[i].locals = local->next;
            if (local->destroy) local->destroy(local->value);
            mti_free(&lane->lanes->allocator, local, sizeof *local);
        }
    }
    mti_devheap_destroy(lane->heap);
    mti_devheap_destroy(lane->host_heap);
}

void mti_lanes_destroy(mti_ctx_t *ctx)
{
    mti_runtime_t *rt = ctx->rt;
    mti_lanes_t *lanes = mti_lanes_peek(rt);
    if (!lanes) return;
    // First all, then any memory: a copy of one device may read another's.
    for (uint32_t i = 0; i < lanes->count; i++)
        lane_finish(&lanes->lane[i], ctx);
    for (uint32_t i = 0; i < lanes->count; i++) {
        mti_lane_t *lane = &lanes->lane[i];
        if (mti_device_state(lane->device) == MTI_DEVICE_CLOSED) continue;
        mti_bound_t bound; // what users keep with queues is destroyed with the context current
        bool is_bound = !lane->failure;
        if (is_bound) mti_device_bind(lane->device, &bound);
        lane_free(lane);
        if (is_bound) (void)mti_device_unbind(lane->device, &bound);
    }
    for (uint32_t i = 0; i < lanes->count; i++)
        (void)mti_lane_foreign_step(&lanes->lane[i], ctx, true);
    while (mti_sched_step(&ctx->sched)) { // those deleters, while the devices are there
    }
    if (mti_devices_destroy(lanes->devices, MANTA_S(10)) != MANTA_OK) {
        mti_runtime_log(rt, MANTA_ERR_TIMEOUT, "devices could not be closed: %s",
                        manta_error_message());
    }
    for (uint32_t i = 0; i < lanes->count; i++) {
        mti_lane_forget_wishes(&lanes->lane[i]);
        mti_lane_forget_code(&lanes->lane[i]);
    }
    mti_atomic_ptr_store_release(&rt->lanes, NULL);
    lanes_free(lanes);
}

// ---- waiting for bytes ---------------------------------------------------------------------------

manta_status_t mti_lanes_wait_host(mti_thread_t *thread, mti_ctx_t *ctx, mti_object_t *object,
                                   int64_t timeout_ns)
{
    mti_lanes_t *lanes = mti_lanes_peek(ctx->rt);
    if (mti_tier_ask(ctx, object)) return MANTA_OK;
    if (timeout_ns <= 0) return mti_fail(MANTA_NOT_READY, "not at the host yet");
    if (thread->in_callback) {
        return mti_fail(MANTA_ERR_NOT_ALLOWED_HERE,
                        "neither a callback nor a body on a device may wait");
    }
    int64_t deadline = mti_clock_deadline(timeout_ns);
    manta_status_t status = MANTA_OK;
    mti_wait_enter(ctx);
    for (int spins = 0;; spins++) {
        uint32_t word = mti_atomic_u32_load_acquire(&lanes->told);
        if (mti_tier_ask(ctx, object)) break;
        if (mti_lanes_help(ctx, true)) continue;
        if (spins < 1000) {
            mti_cpu_pause();
            continue;
        }
        // Without a thread of the lanes' this one has to come back by itself.
        int64_t until = lanes->has_thread ? deadline : mti_clock_ns() + NAP_MIN_NS;
        if (until > deadline) until = deadline;
        (void)mti_atomic_u32_fetch_add_seq_cst(&lanes->tell_waiters, 1);
        (void)mti_sched_block_begin(&ctx->sched);
        (void)mti_notify_wait(&lanes->told, word, until);
        mti_sched_block_end(&ctx->sched);
        (void)mti_atomic_u32_fetch_sub_acq_rel(&lanes->tell_waiters, 1);
        if (deadline != INT64_MAX && mti_clock_ns() >= deadline && !mti_tier_ask(ctx, object)) {
            status = mti_fail(MANTA_NOT_READY, "the wait's timeout passed");
            break;
        }
    }
    mti_wait_leave(ctx);
    return status;
}
