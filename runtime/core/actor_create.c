// Making actors, and freeing their memory.
#include "core/actor_impl.h"

#include <limits.h>
#include <string.h>

static manta_status_t check_def(const manta_actor_def_t *def, const manta_actor_options_t *o,
                                const void *args, size_t args_bytes)
{
    const manta_task_def_t *create = def->create;
    if (!def->name || (def->state_align & (def->state_align - 1)) != 0 || def->state_align > 64) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "actor definition without a name, or an alignment of %zu (at most 64)",
                        def->state_align);
    }
    size_t want = create ? create->args_bytes : 0;
    if (args_bytes != want || (want && !args) || (create && create->owner != def)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "actor %s: made with %zu bytes of arguments, its constructor wants %zu",
                        def->name, args_bytes, want);
    }
    for (uint32_t i = 0; create && i < create->param_count && create->params; i++) {
        manta_param_kind_t kind = create->params[i].kind;
        if (kind == MANTA_PARAM_OUT || kind == MANTA_PARAM_INOUT) {
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                            "actor %s: parameter %s of its constructor is a result", def->name,
                            create->params[i].name);
        }
    }
    if (o->max_restarts < -1 || o->max_task_retries < -1 || o->max_task_retries > INT16_MAX ||
        o->max_concurrency < 0 || o->max_concurrency > 4096 || o->group_count > 64 ||
        (o->group_count && !o->groups) || o->life < MANTA_LIFE_HANDLES ||
        o->life > MANTA_LIFE_DETACHED) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "actor %s: max_restarts %d, max_task_retries %d (at most %d), "
                        "max_concurrency %d (at most 4096), %zu groups (at most 64), life %d",
                        def->name, o->max_restarts, o->max_task_retries, INT16_MAX,
                        o->max_concurrency, o->group_count, (int)o->life);
    }
    for (size_t i = 0; i < o->group_count; i++) {
        if (!o->groups[i].name || o->groups[i].max_concurrency < 1 ||
            o->groups[i].max_concurrency > 4096) {
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                            "actor %s: group %zu without a name, or %d methods at a time",
                            def->name, i, o->groups[i].max_concurrency);
        }
    }
    if (!(o->gpus >= 0.0)) { // also not-a-number
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "actor %s: gpus %g", def->name, o->gpus);
    }
    if (o->get_or_create && !o->name) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "actor %s: get_or_create without a name",
                        def->name);
    }
    return MANTA_OK;
}

static manta_status_t check_place(mti_ctx_t *ctx, const manta_actor_def_t *def,
                                  const manta_actor_options_t *o)
{
    const mti_runtime_t *rt = ctx->rt;
    manta_status_t status = mti_actor_device_check(ctx, def, o);
    if (status != MANTA_OK) return status;
    if (o->gpus > 0.0) {
        manta_task_options_t share = {
            .struct_size = sizeof share, .gpus = o->gpus, .where = o->device};
        if (o->device == MANTA_ANY) share.where = MANTA_CPU;
        status = mti_admit_check_gpus(ctx, def->name, &share);
        if (status != MANTA_OK) return status;
    }
    if (!o->pin || rt->is_serial) return MANTA_OK;
    if (o->max_concurrency > 1 || o->group_count) {
        return mti_fail(MANTA_ERR_NOT_SUPPORTED, "actor %s: pinned, and several methods at a time",
                        def->name);
    }
    int workers = mti_sched_worker_count(rt->sched);
    mti_actor_rare_t place = {.pin_core = -1, .pin_node = -1};
    if (o->pin > 0 && o->pin < MTI_PIN_NODE) {
        if (o->pin <= workers) return MANTA_OK;
        return mti_fail(MANTA_ERR_INFEASIBLE, "actor %s asks for worker %d; runtime '%s' has %d",
                        def->name, (int)o->pin - 1, rt->name, workers);
    }
    place.pin_node = (int)o->pin - MTI_PIN_NODE;
    for (int seat = 0; seat < workers; seat++) {
        if (mti_actor_seat_fits(rt, &place, seat)) return MANTA_OK;
    }
    return mti_fail(MANTA_ERR_INFEASIBLE,
                    "actor %s asks for NUMA node %d; runtime '%s' has no worker there", def->name,
                    place.pin_node, rt->name);
}

static size_t string_bytes(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static const char *copy_string(char **at, const char *text)
{
    if (!text) return NULL;
    size_t bytes = strlen(text) + 1;
    char *copy = memcpy(*at, text, bytes);
    *at += bytes;
    return copy;
}

// The groups, the nameless one first, and their places, in one block.
static bool make_groups(mti_ctx_t *ctx, mti_actor_more_t *more, const manta_actor_options_t *o)
{
    uint32_t count = (uint32_t)o->group_count + 1;
    uint32_t limit = o->max_concurrency > 0 ? (uint32_t)o->max_concurrency : 1;
    size_t places = limit, names = 0;
    for (size_t i = 0; i < o->group_count; i++) {
        places += (size_t)o->groups[i].max_concurrency;
        names += string_bytes(o->groups[i].name);
    }
    more->rare->groups_bytes =
        count * sizeof(mti_actor_group_t) + places * sizeof(mti_atomic_u64_t) + names;
    more->groups = mti_heap_alloc(&ctx->heap, more->rare->groups_bytes);
    if (!more->groups) return false;
    memset(more->groups, 0, more->rare->groups_bytes);
    mti_atomic_u64_t *ids = (mti_atomic_u64_t *)(void *)(more->groups + count);
    char *text = (char *)(ids + places);
    for (uint32_t i = 0; i < count; i++) {
        mti_actor_group_t *group = &more->groups[i];
        group->limit = i ? (uint32_t)o->groups[i - 1].max_concurrency : limit;
        group->name = i ? copy_string(&text, o->groups[i - 1].name) : "";
        group->ids = ids;
        ids += group->limit;
    }
    more->group_count = count;
    return true;
}

// Whether an actor with those options has a rare block.
static bool wants_rare(const mti_ctx_t *ctx, const manta_actor_options_t *o)
{
    return o->gpus > 0.0 || o->name || o->max_concurrency > 1 || o->group_count ||
           o->life == MANTA_LIFE_CREATOR || (o->pin && !ctx->rt->is_serial);
}

// What few actors have, and the names. False: no memory.
static bool make_rare(mti_ctx_t *ctx, mti_actor_more_t *more, const manta_actor_options_t *o)
{
    size_t total = sizeof(mti_actor_rare_t) + string_bytes(o->name) + string_bytes(o->name_space);
    mti_actor_rare_t *rare = mti_heap_alloc(&ctx->heap, total);
    if (!rare) return false;
    memset(rare, 0, sizeof *rare);
    rare->total_bytes = total;
    rare->pin_core = o->pin > 0 && o->pin < MTI_PIN_NODE ? (int)o->pin - 1 : -1;
    rare->pin_node = o->pin >= MTI_PIN_NODE ? (int)o->pin - MTI_PIN_NODE : -1;
    rare->job.fn = mti_actor_pinned_run;
    char *text = (char *)(rare + 1);
    rare->name = copy_string(&text, o->name);
    rare->name_space = o->name ? copy_string(&text, o->name_space) : NULL;
    more->rare = rare;
    if (o->gpus > 0.0 && !mti_actor_share_make(ctx, more, o->gpus)) return false;
    return (o->max_concurrency <= 1 && !o->group_count) || make_groups(ctx, more, o);
}

static void free_more(mti_ctx_t *ctx, mti_actor_more_t *more)
{
    mti_actor_rare_t *rare = more->rare;
    if (more->rows.capacity) mti_rows_deinit(&more->rows);
    if (more->error) manta_error_release((manta_error_t *)more->error);
    if (more->groups) mti_heap_free(&ctx->heap, more->groups, rare->groups_bytes);
    if (rare) mti_actor_share_free(ctx, rare->share);
    if (rare) mti_heap_free(&ctx->heap, rare, rare->total_bytes);
    if (more->holds) mti_actor_holds_release(ctx, more);
    if (more->deferred)
        mti_free(NULL, more->deferred, more->deferred_capacity * sizeof *more->deferred);
    if (more->device) mti_actor_device_free(ctx, more);
    mti_actor_bands_free(ctx, more);
    mti_mutex_deinit(&more->lock);
    mti_heap_free(&ctx->heap, more, more->total_bytes);
}

// The block beside the slot: what is not looked at by every call, and the state. NULL: no memory.
static mti_actor_more_t *make_more(mti_ctx_t *ctx, manta_actor_def_t *def,
                                   const manta_actor_options_t *o, void **out_state)
{
    size_t align = def->state_align > 16 ? def->state_align : 16;
    size_t state_at = mti_size_align(sizeof(mti_actor_more_t), align), total;
    if (!mti_size_add(state_at, def->state_bytes, &total)) return NULL;
    mti_actor_more_t *more = mti_heap_alloc(&ctx->heap, total);
    if (!more) return NULL;
    memset(more, 0, total);
    more->total_bytes = total;
    more->def = def;
    more->restarts_left = o->max_restarts;
    mti_mutex_init(&more->lock, MTI_RANK_ACTOR);
    if (MTI_UNLIKELY(wants_rare(ctx, o)) && !make_rare(ctx, more, o)) {
        free_more(ctx, more);
        return NULL;
    }
    *out_state = (char *)more + state_at;
    return more;
}

bool mti_actor_keeps_args(const mti_actor_t *actor)
{
    return actor->more->kept != NULL;
}

void mti_actor_free(mti_ctx_t *ctx, mti_actor_t *actor)
{
    free_more(ctx, actor->more);
    actor->more = NULL;
    // The slot's next object may be a promise, which has no parent and leaves this as it is: see make_actor.
    __atomic_store_n(&actor->state, NULL, __ATOMIC_RELAXED);
}

static manta_status_t make_actor(mti_ctx_t *ctx, manta_actor_def_t *def,
                                 const manta_actor_options_t *o, mti_actor_t **out_actor)
{
    void *state;
    mti_actor_more_t *more = make_more(ctx, def, o, &state);
    manta_status_t status = MANTA_OK;
    if (more && o->device != MANTA_ANY && o->device != MANTA_CPU) {
        status = mti_actor_device_make(ctx, more, o);
    }
    mti_actor_t *actor =
        more && status == MANTA_OK ? (mti_actor_t *)(void *)mti_table_alloc(&ctx->table) : NULL;
    if (!actor) {
        if (more) free_more(ctx, more);
        return status != MANTA_OK
                   ? status
                   : mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for an actor %s", def->name);
    }
    mti_object_t *object = &actor->object;
    mti_object_set(object, MTI_OBJECT_ACTOR, MTI_STORAGE_NONE, 0);
    mti_object_set_runtime(object, ctx->rt->index);
    object->dtype = MANTA_UNTYPED;
    object->producer = 0;
    mti_atomic_u32_store_relaxed(&object->scope_hint, 0);
    bool waits = def->create || o->gpus > 0.0;
    mti_atomic_u64_store_relaxed(&object->u.mail, waits ? MTI_MAIL_EMPTY : MTI_MAIL_IDLE);
    actor->more = more;
    if (more->rare) more->rare->self = actor;
    actor->def = def;
    // The claim of this generation first: whoever sweeps through all tasks (cancel.c) may have seen the slot's
    // last one alive, and reads its parent where the state stands. release: pairs with the acquire there.
    mti_atomic_u64_store_relaxed(
        &actor->claim, mti_turn_word(mti_actor_gen(actor), waits ? MTI_TURN_NEW : MTI_TURN_IDLE));
    __atomic_store_n(&actor->state, state, __ATOMIC_RELEASE);
    mti_atomic_u32_store_relaxed(&actor->life, MTI_LIFE_ALIVE);
    actor->max_pending = o->max_pending;
    actor->flags = (more->group_count ? MTI_ACTOR_CONCURRENT : 0) |
                   (o->out_of_order ? MTI_ACTOR_OUT_OF_ORDER : 0) |
                   (o->life != MANTA_LIFE_HANDLES ? MTI_ACTOR_KEEPS_COUNT : 0) |
                   (o->pin && !ctx->rt->is_serial ? MTI_ACTOR_PINNED : 0) |
                   (more->device ? MTI_ACTOR_DEVICE : 0);
    if (actor->flags & MTI_ACTOR_PINNED) mti_atomic_u32_store_relaxed(&ctx->rt->has_pinned, 1);
    actor->task_retries = o->max_task_retries;
    actor->todo = actor->todo_last = NULL;
    mti_atomic_u64_store_relaxed(&actor->current, 0);
    mti_atomic_u32_store_relaxed(&actor->busy, 0);
    mti_atomic_u32_store_relaxed(&actor->frozen, 0);
    mti_atomic_u64_store_relaxed(&actor->ran, 0);
    actor->constructed = !waits;
    mti_atomic_u64_store_relaxed(&object->head, 0);
    uint64_t counts = MTI_COUNT_USER + MTI_COUNT_INTERNAL;
    if (actor->flags & MTI_ACTOR_KEEPS_COUNT) counts += MTI_COUNT_USER;
    // The constructor's, as for a call. One that waits for a share is submitted with it later.
    if (def->create && !(o->gpus > 0.0)) counts += MTI_COUNT_INTERNAL;
    // release: a stale lookup that gets a count from here sees a whole actor
    mti_atomic_u64_store_release(&object->counts, counts);
    *out_actor = actor;
    return MANTA_OK;
}

// An actor that nobody has heard of goes again.
static void discard_actor(mti_ctx_t *ctx, mti_actor_t *actor)
{
    mti_atomic_u64_store_relaxed(&actor->object.head, MTI_HEAD_CLOSED);
    mti_atomic_u64_store_relaxed(&actor->object.counts, 0);
    mti_actor_kept_release(ctx, actor);
    mti_actor_free(ctx, actor);
    mti_table_free(&ctx->table, (mti_slot_t *)(void *)actor);
}

// Keeps the constructor's arguments for restarts. INVALID_ARGUMENT and the like are left to the submit.
static bool keep_args(mti_ctx_t *ctx, mti_actor_t *actor, const void *args, size_t args_bytes)
{
    mti_actor_more_t *more = actor->more;
    const manta_task_def_t *create = more->def->create;
    size_t refs = 0;
    for (uint32_t i = 0; i < create->param_count; i++) {
        if (create->params[i].kind != MANTA_PARAM_IN_LIST) continue;
        manta_ref_list_t list;
        memcpy(&list, (const char *)args + create->params[i].offset, sizeof list);
        if (list.count <= MTI_MAX_REFS && (list.refs || !list.count)) refs += list.count;
    }
    size_t image = mti_size_align(args_bytes, 16);
    size_t bytes = image + refs * sizeof(manta_ref_t);
    if (!bytes) bytes = 16;
    unsigned char *kept = mti_heap_alloc(&ctx->heap, bytes);
    if (!kept) return false;
    if (args_bytes) memcpy(kept, args, args_bytes);
    manta_ref_t *room = (manta_ref_t *)(void *)(kept + image);
    for (uint32_t i = 0; i < create->param_count; i++) {
        if (create->params[i].kind != MANTA_PARAM_IN_LIST) continue;
        manta_ref_list_t *list = (manta_ref_list_t *)(void *)(kept + create->params[i].offset);
        if (list->count > MTI_MAX_REFS || !list->refs) list->count = 0;
        for (size_t k = 0; k < list->count; k++)
            room[k] = list->refs[k];
        list->refs = room;
        room += list->count;
    }
    mti_record_t like = {.def = more->def->create, .args = kept};
    mti_arg_iter_t iter = {.t = &like};
    bool whole = true;
    uint32_t taken = 0;
    manta_ref_t ref;
    while (whole && mti_arg_next(&iter, &ref)) {
        if (mti_ref_is_error(ref)) continue;
        whole = mti_ref_acquire(ref, MTI_COUNT_INTERNAL) != NULL;
        taken += whole;
    }
    if (!whole) { // a stale ref: the submit will say so
        iter = (mti_arg_iter_t){.t = &like};
        while (taken && mti_arg_next(&iter, &ref)) {
            if (mti_ref_is_error(ref)) continue;
            mti_object_release(ctx, mti_object_held(ref), MTI_COUNT_INTERNAL);
            taken--;
        }
        mti_heap_free(&ctx->heap, kept, bytes);
        return true;
    }
    more->kept = kept;
    more->kept_bytes = bytes;
    return true;
}

void mti_actor_kept_release(mti_ctx_t *ctx, mti_actor_t *actor)
{
    mti_actor_more_t *more = actor->more;
    if (!more->kept) return;
    mti_record_t like = {.def = more->def->create, .args = more->kept};
    mti_arg_iter_t iter = {.t = &like};
    for (manta_ref_t ref; mti_arg_next(&iter, &ref);) {
        if (!mti_ref_is_error(ref)) {
            mti_object_release(ctx, mti_object_held(ref), MTI_COUNT_INTERNAL);
        }
    }
    mti_heap_free(&ctx->heap, more->kept, more->kept_bytes);
    more->kept = NULL;
}

static void creator_fire(mti_ctx_t *ctx, mti_watcher_t *watcher, uint64_t head)
{
    (void)head;
    mti_actor_rare_t *rare =
        (mti_actor_rare_t *)(void *)((char *)watcher - offsetof(mti_actor_rare_t, creator));
    mti_actor_t *actor = rare->self;
    mti_actor_stop(ctx, actor);
    mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
}

// Ties the actor's life to the task, or the actor, that makes it.
static void tie_to_creator(mti_thread_t *thread, mti_ctx_t *ctx, mti_actor_t *actor)
{
    mti_actor_rare_t *rare = actor->more->rare;
    manta_task_t *task = thread->task;
    mti_object_t *creator = task->actor ? &task->actor->object : &task->record->result;
    rare->creator = (mti_watcher_t){.fire = creator_fire};
    rare->has_creator = true;
    (void)mti_atomic_u64_fetch_add_relaxed(&actor->object.counts, MTI_COUNT_SLOT);
    if (!mti_watch_add(&rare->creator, creator)) creator_fire(ctx, &rare->creator, 0);
}

// The context for a new actor; NULL with a message and thread->status.
static mti_ctx_t *create_ctx(mti_thread_t *thread, manta_runtime_t runtime, const char *what)
{
    mti_ctx_t *ctx = runtime.id ? mti_ctx_slow(thread, runtime) : mti_ctx_current(thread);
    if (!ctx) return NULL;
    uint32_t state = mti_atomic_u32_load_acquire(&ctx->rt->state);
    bool inside = ctx->sched.thread || (thread->task && thread->task->ctx->rt == ctx->rt);
    if (state == MTI_RUNTIME_RUNNING || (state == MTI_RUNTIME_CLOSED && inside)) return ctx;
    thread->status =
        mti_fail(MANTA_ERR_SHUTDOWN, "actor %s: runtime '%s' is closed", what, ctx->rt->name);
    return NULL;
}

// The actor, or the one that has its name; entered, with room in the scope.
static manta_status_t create_entered(mti_thread_t *thread, mti_ctx_t *ctx, manta_actor_def_t *def,
                                     const manta_actor_options_t *o, const void *args,
                                     size_t args_bytes, mti_actor_t **out_actor,
                                     manta_actor_t *out_handle)
{
    mti_actor_t *other = NULL;
    manta_status_t status = check_place(ctx, def, o);
    if (status != MANTA_OK) return status;
    if (o->get_or_create && mti_actor_name_take(ctx->rt, NULL, o->name, o->name_space, &other) ==
                                MANTA_ERR_ALREADY_EXISTS) {
        *out_handle = mti_actor_give_found(thread, ctx, other, def, o->name);
        return MANTA_OK;
    }
    mti_actor_t *actor = NULL;
    status = make_actor(ctx, def, o, &actor);
    if (status != MANTA_OK) return status;
    if (def->create && (o->max_restarts != 0 || o->gpus > 0.0) &&
        !keep_args(ctx, actor, args, args_bytes)) {
        discard_actor(ctx, actor);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "actor %s: no memory to keep its arguments",
                        def->name);
    }
    status =
        o->name ? mti_actor_name_take(ctx->rt, actor, o->name, o->name_space, &other) : MANTA_OK;
    if (status != MANTA_OK) {
        discard_actor(ctx, actor);
        if (status == MANTA_ERR_ALREADY_EXISTS && o->get_or_create) {
            *out_handle = mti_actor_give_found(thread, ctx, other, def, o->name);
            return MANTA_OK;
        }
        if (other) mti_actor_handle_drop(ctx, other);
        return status == MANTA_ERR_OUT_OF_MEMORY
                   ? mti_fail(status, "actor %s: no memory for its name", def->name)
                   : mti_fail(status, "actor %s: there is an actor '%s' already", def->name,
                              o->name);
    }
    if (o->life == MANTA_LIFE_CREATOR && thread->task) tie_to_creator(thread, ctx, actor);
    *out_handle = mti_actor_give_handle(thread, actor);
    *out_actor = actor;
    return MANTA_OK;
}

manta_actor_t manta_actor_create(manta_actor_def_t *def, const manta_actor_options_t *options,
                                 const void *args, size_t args_bytes)
{
    manta_actor_options_t o = {.struct_size = sizeof o};
    if (!def) return mti_actor_error(mti_fail(MANTA_ERR_INVALID_ARGUMENT, "actor_create: no kind"));
    if (options) {
        size_t known = options->struct_size < sizeof o ? options->struct_size : sizeof o;
        memcpy(&o, options, known);
    }
    manta_status_t status = check_def(def, &o, args, args_bytes);
    if (status != MANTA_OK) return mti_actor_error(status);
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_actor_error(mti_thread_failure());
    if (!mti_scope_reserve(thread, 1)) return mti_actor_error(MANTA_ERR_OUT_OF_MEMORY);
    // Outside of tasks nobody creates for anybody.
    if (o.life == MANTA_LIFE_CREATOR && !thread->task) o.life = MANTA_LIFE_HANDLES;
    mti_thread_enter(thread);
    mti_ctx_t *ctx = create_ctx(thread, o.runtime, def->name);
    if (!ctx) {
        mti_thread_leave(thread);
        return mti_actor_error(thread->status);
    }
    mti_actor_t *actor = NULL;
    manta_actor_t handle = {0};
    status = create_entered(thread, ctx, def, &o, args, args_bytes, &actor, &handle);
    // As for a wait: the runtime stays until the constructor is submitted.
    mti_wait_enter(ctx);
    mti_thread_leave(thread);
    if (status == MANTA_OK && actor && (def->create || o.gpus > 0.0)) {
        if (o.gpus > 0.0) {
            status = mti_actor_share_ask(ctx, actor);
        } else {
            status = mti_task_submit_method(handle, actor, def->create, NULL, args, args_bytes,
                                            NULL, 0, false);
        }
        if (status != MANTA_OK) {
            manta_error_t *cause = mti_error_create(status, MANTA_SCOPE_TASK, def->name, "", 0,
                                                    manta_error_message(), NULL);
            mti_actor_fail(ctx, actor, cause, MTI_ACTOR_ENDS, 0,
                           "its constructor could not be submitted");
            manta_error_release(cause);
            (void)manta_actor_release(handle);
        }
    }
    mti_wait_leave(ctx);
    return status == MANTA_OK ? handle : mti_actor_error(status);
}
