// Shares of GPUs that actors hold (options .gpus): from before their constructor until after their destructor, over
// restarts, too, unless that is on another GPU.
//
// The actor asks by a task of its own that wants the share, so it waits, is lent to, and is refused as any task is.
// Its body runs when it was admitted: it moves what it holds to the actor (mti_admit_move), and brings the turn on,
// which is NEW until then. |state| changes under the actor's lock.
#include "core/actor_impl.h"

#include <string.h>

typedef enum share_state {
    SHARE_NONE, // not asked for, or given back
    SHARE_ASKED,
    SHARE_HELD,
    SHARE_OVER, // the actor has ended
} share_state_t;

struct mti_actor_share {
    mti_cold_t held; // what is held; its wants are ours
    double gpus;
    share_state_t state;    // guarded by more->lock
    uint64_t gpu_bits;      // guarded by more->lock; of what is held
    mti_atomic_u64_t asked; // id of the task that asks, 0: none
    bool is_created;        // the turn's; the constructor was submitted
};

// Tells of the end of the task that asks. Holds a slot count on the actor and a user count on the task.
typedef struct share_watch {
    mti_watcher_t watcher;
    mti_actor_t *actor;
    manta_ref_t task;
} share_watch_t;

static mti_actor_share_t *share_of(const mti_actor_t *actor)
{
    return actor->more->rare ? actor->more->rare->share : NULL;
}

bool mti_actor_share_make(mti_ctx_t *ctx, mti_actor_more_t *more, double gpus)
{
    mti_actor_share_t *share = mti_heap_alloc(&ctx->heap, sizeof *share);
    if (!share) return false;
    memset(share, 0, sizeof *share);
    share->gpus = gpus;
    more->rare->share = share;
    return true;
}

void mti_actor_share_free(mti_ctx_t *ctx, mti_actor_share_t *share)
{
    if (share) mti_heap_free(&ctx->heap, share, sizeof *share);
}

uint64_t mti_actor_gpus_of(const mti_actor_t *actor)
{
    mti_actor_share_t *share = share_of(actor);
    if (!share) return 0;
    mti_mutex_lock(&actor->more->lock);
    uint64_t bits = share->state == SHARE_HELD ? share->gpu_bits : 0;
    mti_mutex_unlock(&actor->more->lock);
    return bits;
}

// ---- asking ----------------------------------------------------------------------------------------

// The turn is NEW, or its holder is about to make it so and looks again.
static void share_bring_on(mti_ctx_t *ctx, mti_actor_t *actor)
{
    uint32_t gen = mti_actor_gen(actor), slot = actor->object.slot;
    if (mti_turn_change(actor, gen, MTI_TURN_NEW, mti_turn_word(gen, MTI_TURN_SCHEDULED))) {
        mti_actor_schedule(ctx, slot, gen);
    }
}

static manta_status_t share_granted(const manta_call_t *call)
{
    mti_ctx_t *ctx = call->task->ctx;
    uint64_t id;
    memcpy(&id, call->args, sizeof id);
    mti_actor_t *actor = (mti_actor_t *)(void *)mti_ref_acquire_weak(id, MTI_COUNT_SLOT);
    if (!actor) return MANTA_OK;
    mti_actor_share_t *share = share_of(actor);
    mti_mutex_lock(&actor->more->lock);
    bool takes = share->state == SHARE_ASKED;
    if (takes) {
        share->gpu_bits = mti_admit_gpus_of(call->task->record);
        mti_admit_move(ctx, call->task->record->cold, &share->held);
        share->state = SHARE_HELD;
    }
    mti_mutex_unlock(&actor->more->lock);
    if (takes) share_bring_on(ctx, actor);
    mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
    return MANTA_OK;
}

static const manta_param_t share_params[] = {
    {.name = "actor", .kind = MANTA_PARAM_VAL, .size_bytes = 8, .align = 8}};
static const manta_variant_t share_variant = {.invoke = share_granted};
manta_task_def_t mti_actor_share_def = {.name = "share of an actor",
                                        .params = share_params,
                                        .param_count = 1,
                                        .args_bytes = 8,
                                        .cpu = &share_variant};

static void share_fire(mti_ctx_t *ctx, mti_watcher_t *watcher, uint64_t head)
{
    share_watch_t *watch = (share_watch_t *)(void *)watcher;
    mti_actor_t *actor = watch->actor;
    manta_ref_t task = watch->task;
    mti_heap_free(&ctx->heap, watch, sizeof *watch);
    mti_object_t *object = mti_object_held(task);
    if (head & MTI_HEAD_FAILED) {
        const manta_error_t *cause = mti_object_error(object, head);
        mti_actor_fail(ctx, actor, cause, MTI_ACTOR_ENDS, 0, "it got no share of a GPU (%s)",
                       manta_status_name(manta_error_code(cause)));
    }
    mti_object_release(ctx, object, MTI_COUNT_USER);
    mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
}

manta_status_t mti_actor_share_ask(mti_ctx_t *ctx, mti_actor_t *actor)
{
    mti_actor_share_t *share = share_of(actor);
    manta_task_options_t options = {.struct_size = sizeof options,
                                    .runtime = mti_runtime_handle(ctx->rt),
                                    .name = mti_actor_name(actor),
                                    .where = mti_actor_device_where(actor),
                                    .gpus = share->gpus};
    share_watch_t *watch = mti_heap_alloc(&ctx->heap, sizeof *watch);
    if (!watch) {
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "actor %s: no memory to ask for its share",
                        mti_actor_name(actor));
    }
    mti_mutex_lock(&actor->more->lock);
    share->state = SHARE_ASKED;
    mti_mutex_unlock(&actor->more->lock);
    uint64_t id = mti_ref_of(&actor->object).id;
    manta_ref_t task = {0};
    manta_status_t status =
        mti_task_submit(&mti_actor_share_def, &options, &id, sizeof id, &task, 1, false);
    if (status != MANTA_OK) {
        mti_heap_free(&ctx->heap, watch, sizeof *watch);
        return status;
    }
    (void)manta_keep(task);
    mti_atomic_u64_store_release(&share->asked, task.id);
    (void)mti_atomic_u64_fetch_add_relaxed(&actor->object.counts, MTI_COUNT_SLOT);
    *watch = (share_watch_t){{.fire = share_fire}, actor, task};
    mti_object_t *object = mti_object_held(task);
    // Nobody's child: who made the actor may be cancelled, and it goes on.
    mti_atomic_u64_store_relaxed(&mti_record_of(object)->parent, 0);
    uint64_t head;
    if (!mti_watch_add(&watch->watcher, object)) {
        (void)mti_object_is_closed(object, &head);
        share_fire(ctx, &watch->watcher, head);
    }
    return MANTA_OK;
}

mti_object_t *mti_actor_share_waits_for(mti_actor_t *actor)
{
    mti_actor_share_t *share = share_of(actor);
    uint64_t id = share ? mti_atomic_u64_load_acquire(&share->asked) : 0;
    return id ? mti_ref_acquire_weak(id, MTI_COUNT_SLOT) : NULL;
}

// ---- for the holder of the turn --------------------------------------------------------------------

bool mti_actor_share_is_missing(mti_actor_t *actor)
{
    mti_actor_share_t *share = share_of(actor);
    if (!share) return false;
    mti_mutex_lock(&actor->more->lock);
    bool is_held = share->state == SHARE_HELD;
    mti_mutex_unlock(&actor->more->lock);
    return !is_held;
}

bool mti_actor_share_begins(mti_actor_t *actor)
{
    mti_actor_share_t *share = share_of(actor);
    if (!share || share->is_created || mti_actor_share_is_missing(actor)) return false;
    share->is_created = true;
    return true;
}

static void share_give_back(mti_ctx_t *ctx, mti_actor_t *actor, share_state_t to)
{
    mti_actor_share_t *share = share_of(actor);
    mti_mutex_lock(&actor->more->lock);
    share_state_t from = share->state;
    share->state = to;
    mti_mutex_unlock(&actor->more->lock);
    if (from == SHARE_HELD) {
        mti_admit_end(ctx, &share->held);
        mti_heap_free(&ctx->heap, share->held.wants,
                      share->held.want_count * sizeof *share->held.wants);
        share->held = (mti_cold_t){0};
    } else if (from == SHARE_ASKED) {
        uint64_t id = mti_atomic_u64_load_acquire(&share->asked);
        if (id) {
            mti_task_fail(ctx, mti_record_at((uint32_t)id), (uint32_t)(id >> 32),
                          MANTA_ERR_CANCELLED, "its actor has ended", false);
        }
    }
}

void mti_actor_share_end(mti_ctx_t *ctx, mti_actor_t *actor)
{
    if (share_of(actor)) share_give_back(ctx, actor, SHARE_OVER);
}

void mti_actor_share_move(mti_ctx_t *ctx, mti_actor_t *actor)
{
    mti_actor_share_t *share = share_of(actor);
    if (!share) return;
    share->is_created = true; // what follows is a restart
    manta_where_t where = mti_actor_device_where(actor);
    if (where < manta_gpu(0)) return;
    if (mti_actor_gpus_of(actor) == (uint64_t)1 << (where - manta_gpu(0))) return;
    share_give_back(ctx, actor, SHARE_NONE);
}
