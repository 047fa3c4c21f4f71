// Generators: a stream of refs, each the result of a task that is one step.
//
// Step k takes the result of step k - 1 as an argument. So steps run one after the other without a lock or a
// thread, a waiter finds its way to the step that it needs, and when a step fails or says END all
// that were submitted after it fail with the same, without running. |ring| holds the refs that nobody has
// taken yet; taking one submits the next step.
//
// A step names its generator by handle and counts itself in while it runs; so the state goes when the
// handle is released and no step runs, whatever is still queued.
#include "core/core.h"

#include <string.h>

enum { MAX_GENERATORS = 4096, MAX_RUN_AHEAD = 1 << 16 };

typedef struct generator {
    mti_mutex_t lock;
    mti_atomic_u32_t count; // the handle, each call in progress, the running step
    manta_status_t (*step)(manta_task_t *task, void *state);
    void *state;
    void (*destroy)(void *state);
    manta_dtype_t dtype;
    manta_task_options_t options; // with the runtime
    manta_generator_t handle;
    uint32_t run_ahead;
    uint32_t first, used; // guarded by lock; in |ring|
    manta_ref_t last;     // guarded by lock; the newest step's, one user count
    manta_status_t over;  // guarded by lock; what further calls get, MANTA_OK: it goes on
    manta_ref_t ring[];   // guarded by lock; one user count each
} generator_t;

static struct {
    mti_mutex_t lock;
    generator_t *generators[MAX_GENERATORS]; // guarded by lock
    uint32_t gens[MAX_GENERATORS];           // guarded by lock
} table = {.lock = MTI_MUTEX_INIT(MTI_RANK_CQ)};

static size_t generator_bytes(uint32_t run_ahead)
{
    return sizeof(generator_t) + run_ahead * sizeof(manta_ref_t);
}

static void generator_unref(generator_t *g)
{
    if (mti_atomic_u32_fetch_sub_acq_rel(&g->count, 1) != 1) return;
    if (g->destroy) g->destroy(g->state);
    mti_mutex_deinit(&g->lock);
    mti_free(NULL, g, generator_bytes(g->run_ahead));
}

// The generator of |handle| with a count; NULL: stale.
static generator_t *generator_ref(manta_generator_t handle)
{
    uint32_t index = (uint32_t)handle.id;
    generator_t *g = NULL;
    mti_mutex_lock(&table.lock);
    if (index < MAX_GENERATORS && table.gens[index] == (uint32_t)(handle.id >> 32)) {
        g = table.generators[index];
        if (g) (void)mti_atomic_u32_fetch_add_relaxed(&g->count, 1);
    }
    mti_mutex_unlock(&table.lock);
    if (!g) (void)mti_fail(MANTA_ERR_STALE_REF, "stale generator");
    return g;
}

// ---- a step ---------------------------------------------------------------------------------------

typedef struct step_args {
    manta_generator_t generator;
    manta_ref_t before;
} step_args_t;

static manta_status_t step_invoke(const manta_call_t *call)
{
    step_args_t args;
    memcpy(&args, call->args, sizeof args);
    generator_t *g = generator_ref(args.generator);
    if (!g) return MANTA_ERR_END; // released meanwhile
    manta_status_t status = g->step(call->task, g->state);
    generator_unref(g);
    return status;
}

static const manta_param_t step_params[] = {
    {"generator", "manta_generator_t", MANTA_PARAM_VAL,
     MANTA_DTYPE(MANTA_OPAQUE, sizeof(manta_generator_t)), sizeof(manta_generator_t), 8,
     offsetof(step_args_t, generator)},
    {"before", NULL, MANTA_PARAM_IN, MANTA_UNTYPED, 1, 1, offsetof(step_args_t, before)},
    {"value", NULL, MANTA_PARAM_OUT, MANTA_UNTYPED, 1, 1, 0},
};
static const manta_variant_t step_variant = {step_invoke, NULL};
static manta_task_def_t step_def = {.name = "generator",
                                    .params = step_params,
                                    .param_count = 3,
                                    .args_bytes = sizeof(step_args_t),
                                    .cpu = &step_variant};

// What the first step takes instead of the result of another: it is there once the inputs are.
typedef struct inputs_args {
    manta_ref_list_t inputs;
} inputs_args_t;

static manta_status_t inputs_invoke(const manta_call_t *call)
{
    (void)call;
    return MANTA_OK;
}

static const manta_param_t inputs_params[] = {
    {"inputs", NULL, MANTA_PARAM_IN_LIST, MANTA_UNTYPED, 1, 1, offsetof(inputs_args_t, inputs)},
};
static const manta_variant_t inputs_variant = {inputs_invoke, NULL};
static manta_task_def_t inputs_def = {.name = "generator",
                                      .params = inputs_params,
                                      .param_count = 1,
                                      .args_bytes = sizeof(inputs_args_t),
                                      .cpu = &inputs_variant};

static manta_ref_t start_ref(mti_thread_t *thread, const manta_generator_desc_t *desc,
                             manta_runtime_t runtime)
{
    bool knows = desc->struct_size >= sizeof *desc;
    if (!knows || desc->input_count == 0) {
        return manta_keep(manta_put_in(runtime, NULL, 0, MANTA_UNTYPED));
    }
    manta_task_options_t options = {
        .struct_size = sizeof options, .runtime = runtime, .name = desc->name};
    inputs_args_t args = {{desc->inputs, desc->input_count}};
    manta_ref_t ref;
    bool outer = thread->in_callback;
    thread->in_callback = true; // no wait for room, as for the steps
    manta_status_t status =
        mti_task_submit(&inputs_def, &options, &args, sizeof args, &ref, 1, false);
    thread->in_callback = outer;
    return status == MANTA_OK ? manta_keep(ref) : mti_ref_error(status);
}

// Gives a count of ours back. The caller may have one of the same ref in its scope.
static void drop(mti_thread_t *thread, manta_ref_t ref)
{
    if (ref.id == 0 || mti_ref_is_error(ref)) return;
    mti_thread_enter(thread);
    (void)mti_ref_release_user(thread, ref);
    mti_thread_leave(thread);
}

// Submits steps until |run_ahead| values are on their way.
static manta_status_t fill_locked(mti_thread_t *thread, generator_t *g)
{
    manta_status_t status = MANTA_OK;
    // They count against max_in_flight, but a lock is held: no wait for room.
    bool outer = thread->in_callback;
    thread->in_callback = true;
    while (status == MANTA_OK && g->used < g->run_ahead) {
        step_args_t args = {g->handle, g->last};
        manta_ref_t ref;
        status = mti_task_submit(&step_def, &g->options, &args, sizeof args, &ref, 1, false);
        if (status != MANTA_OK) break;
        ref = manta_keep(ref); // the ring's, not the scope's
        // Nobody else knows the ref: its type is what the desc says from the start.
        mti_object_held(ref)->dtype = g->dtype;
        g->ring[(g->first + g->used++) % g->run_ahead] = ref;
        drop(thread, g->last);
        g->last = manta_keep(manta_retain(ref));
    }
    thread->in_callback = outer;
    return status;
}

// ---- public ---------------------------------------------------------------------------------------

static manta_status_t check_desc(const manta_generator_desc_t *desc,
                                 const manta_generator_t *out_generator)
{
    if (!desc || desc->struct_size < sizeof(size_t) || !out_generator) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "generator_create: no %s",
                        !desc           ? "descriptor"
                        : out_generator ? "struct_size"
                                        : "room for the handle");
    }
    if (!desc->step || desc->run_ahead > MAX_RUN_AHEAD) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "generator %s: %s, run_ahead %u (at most %d)",
                        desc->name ? desc->name : "", desc->step ? "a step" : "no step",
                        desc->run_ahead, MAX_RUN_AHEAD);
    }
    return MANTA_OK;
}

manta_status_t manta_generator_create(const manta_generator_desc_t *desc,
                                      manta_generator_t *out_generator)
{
    manta_status_t status = check_desc(desc, out_generator);
    if (status != MANTA_OK) return status;
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    manta_task_options_t options = {.struct_size = sizeof options};
    if (desc->options) {
        size_t known = desc->options->struct_size < sizeof options ? desc->options->struct_size
                                                                   : sizeof options;
        memcpy(&options, desc->options, known);
        options.struct_size = sizeof options;
    }
    if (!options.name) options.name = desc->name;
    mti_ctx_t *ctx =
        options.runtime.id ? mti_ctx_slow(thread, options.runtime) : mti_ctx_current(thread);
    if (!ctx) return thread->status;
    options.runtime = mti_runtime_handle(ctx->rt);
    uint32_t run_ahead = desc->run_ahead ? desc->run_ahead : 1;
    generator_t *g = mti_alloc_zeroed(NULL, generator_bytes(run_ahead), 64);
    manta_ref_t start =
        g ? start_ref(thread, desc, options.runtime) : mti_ref_error(MANTA_ERR_OUT_OF_MEMORY);
    if (mti_ref_is_error(start)) {
        status = mti_ref_error_code(start);
        mti_free(NULL, g, generator_bytes(run_ahead));
        return g ? status : mti_fail(status, "no memory for a generator");
    }
    mti_mutex_init(&g->lock, MTI_RANK_GENERATOR);
    mti_atomic_u32_store_relaxed(&g->count, 2); // the handle's, and this call's
    g->step = desc->step;
    g->state = desc->state;
    g->dtype = desc->dtype;
    g->options = options;
    g->run_ahead = run_ahead;
    g->last = start;
    mti_mutex_lock(&table.lock);
    uint32_t index = 0;
    while (index < MAX_GENERATORS && table.generators[index])
        index++;
    if (index < MAX_GENERATORS) {
        table.generators[index] = g;
        g->handle = (manta_generator_t){(uint64_t)++table.gens[index] << 32 | index};
    }
    mti_mutex_unlock(&table.lock);
    if (index == MAX_GENERATORS) {
        mti_atomic_u32_store_relaxed(&g->count, 1);
        drop(thread, start);
        generator_unref(g); // |destroy| is not set yet: the state stays the caller's
        return mti_fail(MANTA_ERR_RESOURCE_EXHAUSTED, "more than %d generators", MAX_GENERATORS);
    }
    mti_mutex_lock(&g->lock);
    status = fill_locked(thread, g);
    if (g->used > 0) status = MANTA_OK; // the rest follows when one is taken
    if (status == MANTA_OK) g->destroy = desc->destroy;
    mti_mutex_unlock(&g->lock);
    if (status == MANTA_OK) {
        *out_generator = g->handle;
    } else {
        char text[300];
        snprintf(text, sizeof text, "%s", manta_error_message());
        (void)manta_generator_release(g->handle);
        (void)mti_fail(status, "%s", text);
    }
    generator_unref(g);
    return status;
}

// The oldest value that nobody has taken, with a count; NULL with |*out_status|.
static mti_object_t *next_begin(mti_thread_t *thread, generator_t *g, manta_ref_t *out_ref,
                                mti_ctx_t **out_ctx, manta_status_t *out_status)
{
    mti_mutex_lock(&g->lock);
    manta_status_t status = g->over;
    if (status == MANTA_OK && g->used == 0) status = fill_locked(thread, g);
    manta_ref_t ref = g->used ? g->ring[g->first] : (manta_ref_t){0};
    mti_object_t *object = NULL;
    mti_thread_enter(thread);
    if (g->over == MANTA_OK && g->used) {
        object = mti_ref_acquire(ref, MTI_COUNT_INTERNAL);
        mti_ctx_t *ctx = object ? mti_ctx_for(thread, object) : NULL;
        status = !object ? mti_stale(ref) : ctx ? MANTA_OK : thread->status;
        if (!ctx) object = NULL;
        *out_ctx = ctx;
        *out_ref = ref;
        if (ctx) mti_wait_enter(ctx);
    } else if (g->over != MANTA_OK) {
        status = mti_fail(g->over, "%s", mti_status_text(g->over));
    }
    mti_thread_leave(thread);
    mti_mutex_unlock(&g->lock);
    *out_status = status;
    return object;
}

// Takes the value that was waited for out of the ring. False: another thread was faster.
static bool next_take(mti_thread_t *thread, generator_t *g, manta_ref_t ref, uint64_t head,
                      const mti_object_t *object, manta_status_t *out_status)
{
    manta_status_t value = mti_object_status(object, head);
    mti_mutex_lock(&g->lock);
    bool mine = g->used > 0 && g->ring[g->first].id == ref.id && g->over == MANTA_OK;
    if (mine) {
        g->first = (g->first + 1) % g->run_ahead;
        g->used--;
        if (value != MANTA_OK) g->over = MANTA_ERR_END;
        if (value == MANTA_OK) (void)fill_locked(thread, g); // the next call tries again
    }
    mti_mutex_unlock(&g->lock);
    *out_status = value;
    return mine;
}

manta_status_t manta_generator_next(manta_generator_t generator, manta_ref_t *out_ref,
                                    int64_t timeout_ns)
{
    if (!out_ref)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "generator_next: no room for the ref");
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    generator_t *g = generator_ref(generator);
    if (!g) return MANTA_ERR_STALE_REF;
    manta_status_t status = MANTA_OK;
    for (bool taken = false; !taken && status == MANTA_OK;) {
        manta_ref_t ref;
        mti_ctx_t *ctx;
        uint64_t head;
        mti_object_t *object = next_begin(thread, g, &ref, &ctx, &status);
        if (!object) break;
        status = mti_wait_object(thread, ctx, object, timeout_ns, &head);
        if (status == MANTA_OK && !mti_scope_reserve(thread, 1)) status = MANTA_ERR_OUT_OF_MEMORY;
        manta_status_t value = MANTA_OK;
        taken = status == MANTA_OK && next_take(thread, g, ref, head, object, &value);
        mti_thread_enter(thread);
        if (taken && value != MANTA_ERR_END) {
            mti_scope_add(thread, object, ref); // the ring's count is the caller's now
            *out_ref = ref;
        }
        mti_object_release(ctx, object, MTI_COUNT_INTERNAL);
        mti_thread_leave(thread);
        mti_wait_leave(ctx);
        if (taken && value == MANTA_ERR_END) {
            drop(thread, ref);
            status = mti_fail(MANTA_ERR_END, "%s", mti_status_text(MANTA_ERR_END));
        }
    }
    generator_unref(g);
    return status;
}

// Ends the stream and cancels what is on its way.
static void generator_end(generator_t *g)
{
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return; // without memory for a first call of this thread the refs leak
    mti_mutex_lock(&g->lock);
    if (g->over == MANTA_OK) g->over = MANTA_ERR_CANCELLED;
    uint32_t first = g->first, used = g->used;
    manta_ref_t last = g->last;
    g->used = 0;
    g->last = (manta_ref_t){0};
    mti_mutex_unlock(&g->lock);
    // Nobody adds to the ring any more. The oldest first: the others fail with it.
    for (uint32_t i = 0; i < used; i++)
        (void)manta_cancel(g->ring[(first + i) % g->run_ahead]);
    for (uint32_t i = 0; i < used; i++)
        drop(thread, g->ring[(first + i) % g->run_ahead]);
    drop(thread, last);
}

manta_status_t manta_generator_cancel(manta_generator_t generator)
{
    generator_t *g = generator_ref(generator);
    if (!g) return MANTA_ERR_STALE_REF;
    generator_end(g);
    generator_unref(g);
    return MANTA_OK;
}

manta_status_t manta_generator_release(manta_generator_t generator)
{
    uint32_t index = (uint32_t)generator.id;
    generator_t *g = generator_ref(generator);
    if (!g) return MANTA_ERR_STALE_REF;
    mti_mutex_lock(&table.lock);
    bool mine = table.generators[index] == g;
    if (mine) table.generators[index] = NULL;
    mti_mutex_unlock(&table.lock);
    if (mine) {
        generator_end(g);
        generator_unref(g); // the handle's
    }
    generator_unref(g);
    return mine ? MANTA_OK : MANTA_ERR_STALE_REF;
}

manta_status_t manta_yield(manta_task_t *task, const void *data, size_t size_bytes)
{
    if (!data && size_bytes) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "yield: data is NULL, size is %zu", size_bytes);
    }
    manta_buffer_t buffer;
    manta_status_t status = manta_out_resize_bytes(task, 0, size_bytes, &buffer);
    if (status == MANTA_OK && size_bytes) memcpy(buffer.data, data, size_bytes);
    return status;
}
