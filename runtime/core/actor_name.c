// Names of actors: a table per runtime.
#include "core/actor_impl.h"

#include <string.h>

bool mti_names_equal(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static mti_actor_t **names_bucket(mti_runtime_t *rt, const char *name, const char *name_space)
{
    uint32_t hash = 2166136261u;
    for (const char *at = name; *at; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    for (const char *at = name_space ? name_space : ""; *at; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    return &rt->names[hash & (rt->name_buckets - 1)];
}

static mti_actor_t *names_find_locked(mti_runtime_t *rt, const char *name, const char *name_space)
{
    if (!rt->name_buckets) return NULL;
    mti_actor_t *actor = *names_bucket(rt, name, name_space);
    while (actor && !(mti_names_equal(actor->more->rare->name, name) &&
                      mti_names_equal(actor->more->rare->name_space, name_space))) {
        actor = actor->more->rare->name_next;
    }
    return actor;
}

static bool names_grow_locked(mti_runtime_t *rt)
{
    if (rt->name_count < rt->name_buckets) return true;
    size_t old_buckets = rt->name_buckets, buckets = old_buckets ? old_buckets * 2 : 64;
    mti_actor_t **old = rt->names;
    mti_actor_t **table = mti_alloc_zeroed(&rt->allocator, buckets * sizeof *table, 16);
    if (!table) return old_buckets != 0; // fuller lists will do
    rt->names = table;
    rt->name_buckets = buckets;
    for (size_t i = 0; i < old_buckets; i++) {
        for (mti_actor_t *actor = old[i], *next; actor; actor = next) {
            next = actor->more->rare->name_next;
            mti_actor_t **bucket =
                names_bucket(rt, actor->more->rare->name, actor->more->rare->name_space);
            actor->more->rare->name_next = *bucket;
            *bucket = actor;
        }
    }
    mti_free(&rt->allocator, old, old_buckets * sizeof *old);
    return true;
}

void mti_actor_name_drop(mti_runtime_t *rt, mti_actor_t *actor)
{
    if (!actor->more->rare || !actor->more->rare->name) return;
    mti_mutex_lock(&rt->names_lock);
    mti_actor_t **at = names_bucket(rt, actor->more->rare->name, actor->more->rare->name_space);
    while (*at && *at != actor)
        at = &(*at)->more->rare->name_next;
    if (*at) {
        *at = actor->more->rare->name_next;
        rt->name_count--;
    }
    mti_mutex_unlock(&rt->names_lock);
}

manta_status_t mti_actor_name_take(mti_runtime_t *rt, mti_actor_t *actor, const char *name,
                                   const char *name_space, mti_actor_t **out_other)
{
    manta_status_t status = MANTA_OK;
    mti_mutex_lock(&rt->names_lock);
    mti_actor_t *other = names_find_locked(rt, name, name_space);
    uint32_t life = other ? mti_atomic_u32_load_acquire(&other->life) : MTI_LIFE_DEAD;
    bool lives = life == MTI_LIFE_ALIVE || life == MTI_LIFE_RESTARTING;
    if (lives && mti_ref_acquire(mti_ref_of(&other->object), MTI_COUNT_USER)) {
        *out_other = other;
        status = MANTA_ERR_ALREADY_EXISTS;
    } else if (!actor) {
        status = MANTA_ERR_NOT_FOUND;
    } else {
        if (other) {
            mti_actor_t **at = names_bucket(rt, name, name_space);
            while (*at != other)
                at = &(*at)->more->rare->name_next;
            *at = other->more->rare->name_next;
            rt->name_count--;
        }
        if (names_grow_locked(rt)) {
            mti_actor_t **bucket = names_bucket(rt, name, name_space);
            actor->more->rare->name_next = *bucket;
            *bucket = actor;
            rt->name_count++;
        } else {
            status = MANTA_ERR_OUT_OF_MEMORY;
        }
    }
    mti_mutex_unlock(&rt->names_lock);
    return status;
}
