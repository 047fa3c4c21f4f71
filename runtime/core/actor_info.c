// Actors being asked: one, or all of a runtime.
#include "core/actor_impl.h"

#include <stdio.h>
#include <string.h>

static manta_actor_state_t info_state(const mti_actor_t *actor)
{
    switch (mti_atomic_u32_load_acquire(&actor->life)) {
    case MTI_LIFE_ALIVE:
        return mti_atomic_u64_load_relaxed(&actor->more->create_id) ? MANTA_ACTOR_STARTING
                                                                    : MANTA_ACTOR_ALIVE;
    case MTI_LIFE_STOPPING:
        return MANTA_ACTOR_STOPPING;
    case MTI_LIFE_RESTARTING:
        return MANTA_ACTOR_RESTARTING;
    default:
        return MANTA_ACTOR_DEAD;
    }
}

// The caller holds one count; |counts| were read before it took that.
static void info_fill(const mti_actor_t *actor, uint64_t counts, manta_actor_info_t *out)
{
    manta_actor_info_t info = {.struct_size = out->struct_size,
                               .actor = {mti_ref_of(&actor->object).id},
                               .kind = actor->def->name,
                               .state = info_state(actor),
                               .handles = mti_count_user(counts),
                               .restarts = mti_atomic_u32_load_relaxed(&actor->more->restarts),
                               .completed = mti_atomic_u64_load_relaxed(&actor->ran),
                               .device = actor->more->device ? (int)mti_atomic_u32_load_relaxed(
                                                                   &actor->more->device->index)
                                                             : -1};
    uint32_t internal = mti_count_internal(counts);
    bool ended = mti_atomic_u32_load_relaxed(&actor->life) == MTI_LIFE_DEAD;
    info.pending = internal > !ended ? internal - !ended : 0;
    if (mti_actor_flags(actor) & MTI_ACTOR_KEEPS_COUNT && info.handles && !ended) info.handles--;
    const mti_actor_rare_t *rare = actor->more->rare;
    if (rare && rare->name) snprintf(info.name, sizeof info.name, "%s", rare->name);
    if (rare && rare->name_space) {
        snprintf(info.name_space, sizeof info.name_space, "%s", rare->name_space);
    }
    size_t known = out->struct_size < sizeof info ? out->struct_size : sizeof info;
    memcpy(out, &info, known);
}

manta_status_t manta_actor_describe(manta_actor_t handle, manta_actor_info_t *out_info)
{
    if (!out_info || out_info->struct_size < sizeof(size_t)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "actor_describe: struct_size is not set");
    }
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_actor_t *actor;
    manta_status_t status = mti_actor_handle_begin(handle, "actor_describe", &thread, &ctx, &actor);
    if (status != MANTA_OK) return status;
    uint64_t counts = mti_atomic_u64_load_relaxed(&actor->object.counts) - MTI_COUNT_INTERNAL;
    info_fill(actor, counts, out_info);
    mti_actor_handle_end(thread, ctx, actor);
    return MANTA_OK;
}

// Calls |fn| for each actor of |rt| that has not ended, with a slot count.
typedef struct each {
    mti_ctx_t *ctx;
    void (*fn)(struct each *each, mti_actor_t *actor);
    const char *name_space;
    manta_actor_info_t *infos;
    size_t room, count;
    uint32_t device;
    bool kill;
} each_t;

static void each_slot(mti_slot_t *slot, void *user)
{
    each_t *each = user;
    mti_object_t *object = &slot->object;
    if (mti_object_runtime(object) != each->ctx->rt->index ||
        mti_object_kind(object) != MTI_OBJECT_ACTOR) {
        return;
    }
    uint64_t id = mti_ref_of(object).id, head;
    if (!mti_ref_acquire_weak(id, MTI_COUNT_SLOT)) return;
    if (mti_object_kind(object) == MTI_OBJECT_ACTOR && !mti_object_is_closed(object, &head)) {
        each->fn(each, (mti_actor_t *)(void *)object);
    }
    mti_object_release(each->ctx, object, MTI_COUNT_SLOT);
}

static void each_actor(each_t *each)
{
    mti_runtime_t *rt = each->ctx->rt;
    // Contexts are only ever added, at the front; the list from here on stays as it is.
    mti_mutex_lock(&rt->lock);
    mti_ctx_t *first = rt->ctxs;
    mti_mutex_unlock(&rt->lock);
    for (mti_ctx_t *ctx = first; ctx; ctx = ctx->next_all)
        mti_table_cache_each(&ctx->table, each_slot, each);
}

static void each_info(each_t *each, mti_actor_t *actor)
{
    const mti_actor_rare_t *rare = actor->more->rare;
    if (each->name_space && !(rare && mti_names_equal(rare->name_space, each->name_space))) return;
    if (each->count < each->room) {
        info_fill(actor, mti_atomic_u64_load_relaxed(&actor->object.counts),
                  &each->infos[each->count]);
    }
    each->count++;
}

size_t manta_actor_list(manta_runtime_t runtime, const char *name_space,
                        manta_actor_info_t *out_infos, size_t n)
{
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return 0;
    mti_thread_enter(thread);
    mti_runtime_t *rt = mti_runtime_resolve(runtime);
    mti_ctx_t *ctx = rt ? mti_ctx_slow(thread, mti_runtime_handle(rt)) : NULL;
    each_t each = {.ctx = ctx,
                   .fn = each_info,
                   .name_space = name_space,
                   .infos = out_infos,
                   .room = out_infos ? n : 0};
    if (ctx) each_actor(&each);
    mti_thread_leave(thread);
    return each.count;
}

static void each_end(each_t *each, mti_actor_t *actor)
{
    each->count++;
    if (each->kill) {
        mti_actor_fail(each->ctx, actor, NULL, MTI_ACTOR_ENDS, 0, "its runtime is shutting down");
    } else {
        mti_actor_stop(each->ctx, actor);
    }
}

static void each_lost(each_t *each, mti_actor_t *actor)
{
    if (!(mti_actor_flags(actor) & MTI_ACTOR_DEVICE)) return;
    mti_actor_device_lost(each->ctx, actor, each->device);
}

void mti_actors_device_lost(mti_ctx_t *ctx, uint32_t index)
{
    each_t each = {.ctx = ctx, .fn = each_lost, .device = index};
    each_actor(&each);
}

size_t mti_actors_end(mti_ctx_t *ctx, bool kill)
{
    each_t each = {.ctx = ctx, .fn = each_end, .kill = kill};
    each_actor(&each);
    return each.count;
}

bool mti_actor_describe(mti_ctx_t *ctx, mti_actor_t *actor, char *text, size_t size)
{
    static const char *const states[] = {"starting", "alive", "restarting", "stopping", "dead"};
    uint64_t counts = mti_atomic_u64_load_relaxed(&actor->object.counts);
    uint64_t id = mti_ref_of(&actor->object).id;
    if (!mti_ref_acquire_weak(id, MTI_COUNT_SLOT)) return false;
    manta_actor_info_t info = {.struct_size = sizeof info};
    info_fill(actor, counts, &info);
    snprintf(text, size, "actor %s%s%s: %s, %u handles, %u calls pending, %u restarts", info.kind,
             info.name[0] ? " " : "", info.name, states[info.state], info.handles, info.pending,
             info.restarts);
    mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
    return info.handles != 0;
}
