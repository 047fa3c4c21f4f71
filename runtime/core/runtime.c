// Runtimes, the threads that use them, and the contexts of both: start, drain, shutdown.
#include "core/actor.h"
#include "core/core.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RUNTIMES = 256, RETAIN_BYTES = 1 << 30 };

// ---- process-wide ---------------------------------------------------------------------------------

static struct {
    mti_mutex_t lock;
    mti_thread_t *threads;                   // guarded by lock
    mti_atomic_ptr_t runtimes[MAX_RUNTIMES]; // memory is never freed, slots are used again
    pthread_key_t key;                       // ends the record of a user's thread
} process = {.lock = MTI_MUTEX_INIT(MTI_RANK_REGISTRY)};

static struct {
    mti_mutex_t lock;    // held while it starts
    mti_atomic_ptr_t rt; // mti_runtime_t *, NULL: none
} the_default = {.lock = MTI_MUTEX_INIT(MTI_RANK_DEFAULT_RUNTIME)};

static __thread manta_status_t default_status; // why it did not start, for this thread

mti_atomic_u32_t mti_default_epoch = {1};
static mti_atomic_u32_t process_is_fork;
static pthread_once_t process_once = PTHREAD_ONCE_INIT;

__thread mti_thread_t *mti_thread_tls __attribute__((tls_model("initial-exec")));
__thread uint32_t mti_scopes_missed __attribute__((tls_model("initial-exec")));

static void thread_key_end(void *arg)
{
    mti_thread_tls = arg;
    mti_thread_end();
}

// The child has one thread, and locks in any state: it gets errors, not hangs.
static void process_forked(void)
{
    mti_atomic_u32_store_relaxed(&process_is_fork, 1);
    mti_thread_tls = NULL;
}

static void process_init(void)
{
    (void)pthread_key_create(&process.key, thread_key_end);
    (void)pthread_atfork(NULL, NULL, process_forked);
    mti_fence_init();
    mti_watch_init();
}

// ---- threads --------------------------------------------------------------------------------------

manta_status_t mti_thread_failure(void)
{
    if (mti_atomic_u32_load_relaxed(&process_is_fork)) {
        return mti_fail(MANTA_ERR_FORKED, "this process is a fork of one that used manta");
    }
    return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for a thread's record");
}

static mti_thread_t *thread_record_alloc(void)
{
    return mti_alloc_zeroed(NULL, sizeof(mti_thread_t), 64);
}

// Makes |thread| the record of the calling thread.
static void thread_register(mti_thread_t *thread)
{
    mti_mutex_lock(&process.lock);
    thread->next = process.threads;
    thread->link = &process.threads;
    if (thread->next) thread->next->link = &thread->next;
    process.threads = thread;
    mti_mutex_unlock(&process.lock);
    mti_thread_tls = thread;
    mti_crash_thread_begin(thread);
}

mti_thread_t *mti_thread_slow(void)
{
    if (mti_atomic_u32_load_relaxed(&process_is_fork)) return NULL;
    pthread_once(&process_once, process_init);
    mti_thread_t *thread = mti_scopes_missed ? NULL : thread_record_alloc();
    if (!thread) return NULL;
    if (pthread_setspecific(process.key, thread) != 0) {
        mti_free(NULL, thread, sizeof *thread);
        return NULL;
    }
    thread_register(thread);
    return thread;
}

// Whether the runtime with that handle has contexts; entered, they stay till the bracket's end.
static bool runtime_is_live(uint64_t id)
{
    mti_runtime_t *rt = mti_runtime_at((uint32_t)id);
    uint32_t state = mti_atomic_u32_load_acquire(&rt->state);
    return state >= MTI_RUNTIME_RUNNING && state < MTI_RUNTIME_DEAD &&
           mti_runtime_handle(rt).id == id;
}

void mti_thread_end(void)
{
    mti_thread_t *thread = mti_thread_tls;
    if (!thread) return;
    thread->scope_base = 0;
    mti_scope_unwind(thread, 0);
    if (thread->rows) {
        mti_rows_deinit(thread->rows);
        mti_free(NULL, thread->rows, sizeof *thread->rows);
    }
    mti_thread_enter(thread);
    for (size_t i = 0; i < sizeof thread->ctxs / sizeof thread->ctxs[0]; i++) {
        if (!thread->ctxs[i].ctx) continue;
        if (runtime_is_live(thread->ctxs[i].runtime_id)) mti_ctx_retire(thread->ctxs[i].ctx);
    }
    mti_thread_leave(thread);
    mti_mutex_lock(&process.lock);
    *thread->link = thread->next;
    if (thread->next) thread->next->link = thread->link;
    mti_mutex_unlock(&process.lock);
    mti_crash_thread_end(thread);
    mti_thread_tls = NULL;
    (void)pthread_setspecific(process.key, NULL);
    mti_free(NULL, thread->scopes, thread->scope_capacity * sizeof *thread->scopes);
    mti_free(NULL, thread, sizeof *thread);
}

void mti_thread_quiesce(void)
{
    // Pairs with the light fence in mti_thread_enter: a thread that we don't see inside sees what we
    // stored before (that the runtime is dead).
    mti_fence_heavy();
    mti_mutex_lock(&process.lock);
    for (mti_thread_t *thread = process.threads; thread; thread = thread->next) {
        if (thread == mti_thread_tls) continue;
        // acquire: pairs with the release in mti_thread_leave
        for (unsigned n = 0; mti_atomic_u32_load_acquire(&thread->in_api); n++) {
            mti_cpu_pause();
            if (n % 64 == 63) sched_yield();
        }
    }
    mti_mutex_unlock(&process.lock);
}

// ---- contexts -------------------------------------------------------------------------------------

mti_ctx_t *mti_ctx_create(mti_runtime_t *rt)
{
    mti_mutex_lock(&rt->lock);
    for (mti_ctx_t *ctx = rt->ctxs; ctx; ctx = ctx->next_all) {
        if (!ctx->is_free) continue;
        ctx->is_free = false;
        mti_mutex_unlock(&rt->lock);
        return ctx;
    }
    mti_mutex_unlock(&rt->lock);
    mti_ctx_t *ctx = mti_alloc_zeroed(&rt->allocator, sizeof *ctx, MTI_LINE_BYTES);
    if (!ctx) {
        (void)mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for a thread's context");
        return NULL;
    }
    ctx->rt = rt;
    if (!mti_table_cache_init(&ctx->table)) {
        (void)mti_fail(MANTA_ERR_RESOURCE_EXHAUSTED, "too many threads use manta");
        goto no_table;
    }
    mti_heap_cache_init(&ctx->heap, rt->heap);
    if (mti_sched_ctx_init(rt->sched, &ctx->sched) != MANTA_OK) goto no_sched;
    mti_mutex_lock(&rt->lock);
    ctx->next_all = rt->ctxs;
    rt->ctxs = ctx;
    mti_mutex_unlock(&rt->lock);
    return ctx;

no_sched:
    mti_heap_cache_deinit(&ctx->heap);
    mti_table_cache_deinit(&ctx->table);
no_table:
    mti_free(&rt->allocator, ctx, sizeof *ctx);
    return NULL;
}

void mti_ctx_retire(mti_ctx_t *ctx)
{
    mti_table_flush(&ctx->table);
    mti_mutex_lock(&ctx->rt->lock);
    ctx->thread = NULL;
    ctx->sched.thread = NULL;
    ctx->is_free = true;
    mti_mutex_unlock(&ctx->rt->lock);
}

static mti_ctx_t *ctx_of_thread(mti_thread_t *thread, mti_runtime_t *rt)
{
    uint64_t id = mti_runtime_handle(rt).id;
    size_t n = sizeof thread->ctxs / sizeof thread->ctxs[0], room = n;
    for (size_t i = 0; i < n; i++) {
        if (thread->ctxs[i].ctx && thread->ctxs[i].runtime_id == id) return thread->ctxs[i].ctx;
        if (!thread->ctxs[i].ctx || !runtime_is_live(thread->ctxs[i].runtime_id)) room = i;
    }
    if (room == n) {
        thread->status = mti_fail(MANTA_ERR_RESOURCE_EXHAUSTED,
                                  "one thread uses more than %zu runtimes at once", n);
        return NULL;
    }
    mti_ctx_t *ctx = mti_ctx_create(rt);
    if (!ctx) {
        thread->status = MANTA_ERR_OUT_OF_MEMORY;
        return NULL;
    }
    ctx->thread = thread;
    thread->ctxs[room].ctx = ctx;
    thread->ctxs[room].runtime_id = id;
    return ctx;
}

mti_ctx_t *mti_ctx_slow(mti_thread_t *thread, manta_runtime_t handle)
{
    bool is_default = handle.id == 0;
    // The short way of a task leaves the cached context alone, which may be out of date: the default
    // runtime was closed meanwhile, or an old one's context was at the same address.
    if (is_default && thread->task) return thread->task->ctx;
    mti_runtime_t *rt;
    uint32_t epoch = mti_atomic_u32_load_acquire(&mti_default_epoch);
    // Starting the default runtime takes a while: not inside the bracket.
    bool entered = mti_atomic_u32_load_relaxed(&thread->in_api) != 0;
    if (is_default) {
        if (entered) mti_thread_leave(thread);
        rt = mti_runtime_default();
        if (entered) mti_thread_enter(thread);
        epoch = mti_atomic_u32_load_acquire(&mti_default_epoch);
        if (rt && mti_runtime_default_peek() != rt) rt = NULL; // gone again
    } else {
        rt = mti_runtime_find(handle);
    }
    if (!rt) {
        thread->status = is_default ? MANTA_ERR_SHUTDOWN : MANTA_ERR_STALE_REF;
        if (is_default && default_status != MANTA_OK) thread->status = default_status;
        return NULL;
    }
    // A thread of that runtime, or one that runs a body of it, has its context already.
    if (thread->task && thread->task->ctx->rt == rt) return thread->task->ctx;
    if (thread->ctx && thread->epoch == 0 && thread->ctx->rt == rt) return thread->ctx;
    mti_ctx_t *ctx = ctx_of_thread(thread, rt);
    if (ctx && is_default && !thread->task) {
        thread->ctx = ctx;
        thread->epoch = epoch;
    }
    return ctx;
}

// ---- the scheduler's callbacks --------------------------------------------------------------------

mti_ctx_t *mti_ctx_prepare(mti_runtime_t *rt)
{
    mti_ctx_t *ctx = mti_ctx_create(rt);
    if (!ctx) return NULL;
    if (!ctx->record) ctx->record = thread_record_alloc();
    if (ctx->record) return ctx;
    mti_ctx_retire(ctx);
    return NULL;
}

static mti_sched_ctx_t *on_ctx_create(void *user)
{
    mti_ctx_t *ctx = mti_ctx_prepare(user);
    return ctx ? &ctx->sched : NULL;
}

static void on_ctx_retire(mti_sched_ctx_t *ctx)
{
    mti_ctx_retire((mti_ctx_t *)(void *)ctx);
}

void mti_ctx_enter(mti_ctx_t *ctx)
{
    mti_thread_t *thread = ctx->record;
    ctx->record = NULL;
    thread_register(thread); // mti_ctx_leave ends it, no key needed
    thread->ctx = ctx;
    thread->epoch = 0;
    thread->ctxs[0].ctx = ctx;
    thread->ctxs[0].runtime_id = mti_runtime_handle(ctx->rt).id;
    ctx->thread = thread;
}

static void on_thread_enter(mti_sched_ctx_t *sched_ctx)
{
    mti_ctx_enter((mti_ctx_t *)(void *)sched_ctx);
}

static void on_thread_exit(mti_sched_ctx_t *sched_ctx)
{
    (void)sched_ctx;
    mti_thread_tls->ctxs[0].ctx = NULL; // the context goes with the runtime
    mti_thread_tls->ctx = NULL;
    mti_thread_end();
}

void mti_ctx_leave(mti_ctx_t *ctx)
{
    mti_table_flush(&ctx->table);
    on_thread_exit(&ctx->sched);
    mti_ctx_retire(ctx);
}

static void on_idle(mti_sched_ctx_t *sched_ctx)
{
    mti_ctx_t *ctx = (mti_ctx_t *)(void *)sched_ctx;
    (void)mti_lanes_help_if_any(ctx, false);
    mti_table_flush(&ctx->table);
    mti_drain_check(ctx);
}

static void on_nudge(mti_sched_ctx_t *sched_ctx)
{
    mti_wait_wake_ctx((mti_ctx_t *)(void *)sched_ctx);
}

static void drain_wake(mti_runtime_t *rt);

void mti_runtime_nudge(mti_runtime_t *rt)
{
    mti_wait_interrupt(rt);
    mti_cq_interrupt(rt);
    drain_wake(rt);
    mti_flight_wake(rt);
}

static void on_nudge_all(void *user)
{
    mti_runtime_nudge(user);
}

static const mti_sched_ops_t sched_ops = {
    .run = mti_task_run_entry,
    .ctx_create = on_ctx_create,
    .ctx_retire = on_ctx_retire,
    .thread_enter = on_thread_enter,
    .thread_exit = on_thread_exit,
    .nudge = on_nudge,
    .nudge_all = on_nudge_all,
    .idle = on_idle,
};

// ---- create ---------------------------------------------------------------------------------------

mti_runtime_t *mti_runtime_at(uint32_t index)
{
    static mti_runtime_t nobody; // gen 0: no handle fits
    mti_runtime_t *rt =
        index < MAX_RUNTIMES ? mti_atomic_ptr_load_acquire(&process.runtimes[index]) : NULL;
    return rt ? rt : &nobody;
}

mti_runtime_t *mti_runtime_find(manta_runtime_t handle)
{
    mti_runtime_t *rt = mti_runtime_at((uint32_t)handle.id);
    uint32_t state = mti_atomic_u32_load_acquire(&rt->state);
    if (handle.id && mti_runtime_handle(rt).id == handle.id && state >= MTI_RUNTIME_RUNNING &&
        state < MTI_RUNTIME_DEAD) {
        return rt;
    }
    (void)mti_fail(MANTA_ERR_STALE_REF, "no such runtime: it was shut down, or never was");
    return NULL;
}

mti_runtime_t *mti_runtime_resolve(manta_runtime_t handle)
{
    if (handle.id) return mti_runtime_find(handle);
    mti_thread_t *thread = mti_thread_tls;
    if (thread && thread->task) return thread->task->ctx->rt;
    if (thread && thread->ctx && thread->epoch == 0) return thread->ctx->rt;
    mti_runtime_t *rt = mti_runtime_default_peek();
    if (!rt) (void)mti_fail(MANTA_ERR_STALE_REF, "no runtime runs");
    return rt;
}

static void log_to_stderr(void *user, manta_status_t code, const char *message)
{
    (void)user;
    fprintf(stderr, "manta: %s: %s\n", manta_status_name(code), message);
}

static void log_nowhere(void *user, manta_status_t code, const char *message)
{
    (void)user;
    (void)code;
    (void)message;
}

void mti_runtime_log(const mti_runtime_t *rt, manta_status_t code, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    rt->log(rt->log_user, code, text);
}

void manta_runtime_options_init(manta_runtime_options_t *options)
{
    *options = (manta_runtime_options_t){
        .struct_size = sizeof *options, .workers = MANTA_AUTO, .bind = MANTA_AUTO, .spin_ns = -1};
}

// A free place in the registry, taken: its state is STARTING.
static manta_status_t runtime_claim_slot(mti_runtime_t **out_rt)
{
    mti_runtime_t *rt = NULL;
    bool no_memory = false;
    mti_mutex_lock(&process.lock);
    for (uint32_t i = 0; i < MAX_RUNTIMES && !rt; i++) {
        rt = mti_atomic_ptr_load_relaxed(&process.runtimes[i]);
        if (!rt) {
            rt = mti_alloc_zeroed(NULL, sizeof *rt, MTI_LINE_BYTES);
            no_memory = !rt;
            if (no_memory) break;
            rt->index = (uint16_t)i;
            mti_mutex_init(&rt->shutdown_lock, MTI_RANK_SHUTDOWN);
            mti_mutex_init(&rt->lock, MTI_RANK_RUNTIME);
            mti_mutex_init(&rt->names_lock, MTI_RANK_NAMES);
            mti_mutex_init(&rt->lanes_lock, MTI_RANK_LANES_START);
            mti_mutex_init(&rt->rules.lock, MTI_RANK_RULES);
            mti_mutex_init(&rt->rules.start_lock, MTI_RANK_TIMER);
            mti_atomic_ptr_store_release(&process.runtimes[i], rt);
        } else if (mti_atomic_u32_load_acquire(&rt->state) != MTI_RUNTIME_FREE) {
            rt = NULL;
        }
    }
    if (rt) {
        mti_atomic_u32_store_relaxed(&rt->state, MTI_RUNTIME_STARTING);
        rt->gen++;
    }
    mti_mutex_unlock(&process.lock);
    *out_rt = rt;
    if (no_memory) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for a runtime");
    if (rt) return MANTA_OK;
    return mti_fail(MANTA_ERR_RESOURCE_EXHAUSTED, "more than %d runtimes", MAX_RUNTIMES);
}

// How many workers: the option, the environment, or what the machine has.
static manta_status_t runtime_workers(const manta_runtime_options_t *options,
                                      const mti_topology_t *topology, int *out_workers)
{
    int workers = options->workers;
    const char *text = getenv("MANTA_WORKERS");
    if (workers == MANTA_AUTO && text && *text) {
        char *end;
        long value = strtol(text, &end, 10);
        if (*end || value < 0 || value > 4096) {
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                            "MANTA_WORKERS is '%s', not a number from 0 to 4096", text);
        }
        workers = (int)value;
    }
    if (workers == MANTA_AUTO) workers = mti_topology_cpu_limit(topology);
    if (workers < 0 || workers > 4096) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "workers is %d, not MANTA_AUTO or 0 to 4096",
                        options->workers);
    }
    *out_workers = workers;
    return MANTA_OK;
}

static void runtime_setup(mti_runtime_t *rt, const manta_runtime_options_t *options)
{
    const char *log_off = getenv("MANTA_LOG");
    snprintf(rt->name, sizeof rt->name, "%s", options->name ? options->name : "manta");
    rt->allocator = options->allocator;
    rt->measure_busy = options->measure_busy;
    rt->report_leaks = options->report_leaks;
    rt->log = options->log                             ? options->log
              : log_off && strcmp(log_off, "off") == 0 ? log_nowhere
                                                       : log_to_stderr;
    rt->log_user = options->log_user;
    rt->device_options = (mti_devices_options_t){.sim_gpus = options->sim_gpus,
                                                 .sim_virtual_clock = options->sim_virtual_clock,
                                                 .sim_seed = options->sim_seed,
                                                 .no_cuda = options->no_cuda};
    mti_atomic_ptr_store_relaxed(&rt->lanes, NULL);
    rt->ctxs = NULL;
    mti_atomic_u32_store_relaxed(&rt->cancelling, 0);
    mti_atomic_u32_store_relaxed(&rt->cancel_epoch, 0);
    mti_atomic_u32_store_relaxed(&rt->clean_epoch, 0);
    mti_atomic_ptr_store_relaxed(&rt->kept, NULL);
    mti_atomic_u32_store_relaxed(&rt->sweep_wanted, 0);
    mti_atomic_u64_store_relaxed(&rt->sweeps, 0);
    mti_atomic_u64_store_relaxed(&rt->sweep_rests_until, 0);
    rt->rules.root = NULL;
    mti_atomic_u32_store_relaxed(&rt->rules.users, 0);
    rt->rules.stopping = false;
    rt->rules.sleeps_until = INT64_MIN;
    mti_atomic_u32_store_relaxed(&rt->drainers, 0);
    mti_atomic_u32_store_relaxed(&rt->has_pinned, 0);
}

static void runtime_free_ctxs(mti_runtime_t *rt)
{
    while (rt->ctxs) {
        mti_ctx_t *ctx = rt->ctxs;
        rt->ctxs = ctx->next_all;
        mti_sched_ctx_deinit(&ctx->sched);
        mti_heap_cache_deinit(&ctx->heap);
        mti_table_cache_deinit(&ctx->table);
        mti_free(NULL, ctx->record, sizeof *ctx->record);
        mti_free(&rt->allocator, ctx, sizeof *ctx);
    }
}

// Devices are made when the first one is asked for, so the text has to stay.
static manta_status_t runtime_keep_machine(mti_runtime_t *rt, const char *text)
{
    if (!text) return MANTA_OK;
    size_t bytes = strlen(text) + 1;
    char *kept = mti_alloc(&rt->allocator, bytes, 1);
    if (!kept) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for sim_machine");
    memcpy(kept, text, bytes);
    rt->sim_machine = kept;
    rt->device_options.sim_machine = kept;
    rt->device_options.sim_machine_bytes = bytes - 1;
    return MANTA_OK;
}

static void runtime_free_machine(mti_runtime_t *rt)
{
    if (rt->sim_machine) {
        mti_free(&rt->allocator, rt->sim_machine, rt->device_options.sim_machine_bytes + 1);
    }
    rt->sim_machine = NULL;
}

manta_status_t mti_runtime_create(const manta_runtime_options_t *options, mti_runtime_t **out_rt)
{
    if (mti_atomic_u32_load_relaxed(&process_is_fork)) return mti_thread_failure();
    pthread_once(&process_once, process_init);
    manta_runtime_options_t full;
    manta_runtime_options_init(&full);
    if (options) {
        // Whole fields only: half a pointer is none.
        if (options->struct_size < sizeof(size_t) || options->struct_size > 4096 ||
            options->struct_size % sizeof(void *) != 0) {
            return mti_fail(
                MANTA_ERR_INVALID_ARGUMENT,
                "runtime options with struct_size %zu: use manta_runtime_options_init()",
                options->struct_size);
        }
        size_t known = options->struct_size < sizeof full ? options->struct_size : sizeof full;
        memcpy(&full, options, known);
    }
    mti_runtime_t *rt;
    manta_status_t status = runtime_claim_slot(&rt);
    if (status != MANTA_OK) return status;
    runtime_setup(rt, &full);
    mti_topology_options_t machine = {.xml_path = full.topology_xml,
                                      .synthetic = full.topology_synthetic,
                                      .cpuset = full.cpuset,
                                      .allocator = full.allocator};
    int workers = 0;
    status = mti_admit_init(rt, &full);
    if (status == MANTA_OK) status = runtime_keep_machine(rt, full.sim_machine);
    if (status != MANTA_OK) goto no_topology;
    status = mti_topology_create(&machine, &rt->topology);
    if (status != MANTA_OK) goto no_topology;
    status = runtime_workers(&full, rt->topology, &workers);
    if (status != MANTA_OK) goto no_heap;
    rt->is_serial = workers == 0;
    rt->max_in_flight = full.max_in_flight;
    rt->submits_long = rt->is_serial || rt->max_in_flight;
    rt->runs_long = rt->measure_busy || rt->max_in_flight;
    mti_atomic_u64_store_relaxed(&rt->in_flight, 0);
    mti_atomic_u32_store_relaxed(&rt->flight_waiters, 0);
    rt->heap = mti_heap_create(&rt->allocator, RETAIN_BYTES);
    if (!rt->heap) {
        status = mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for a heap");
        goto no_heap;
    }
    bool bind = full.bind == MANTA_AUTO
                    ? mti_topology_is_this_machine(rt->topology) &&
                          !(mti_topology_is_quota_limited(rt->topology) && !full.cpuset) &&
                          workers <= mti_topology_core_count(rt->topology)
                    : full.bind != 0;
    rt->bind = bind;
    mti_sched_options_t sched = {.workers = workers,
                                 .topology = rt->topology,
                                 .bind = bind,
                                 .spin_ns = full.spin_ns,
                                 .max_threads = full.max_threads,
                                 .name = rt->name,
                                 .allocator = &rt->allocator,
                                 .ops = &sched_ops,
                                 .user = rt};
    status = mti_sched_create(&sched, &rt->sched);
    if (status != MANTA_OK) goto no_sched;
    mti_atomic_u32_store_release(&rt->state, MTI_RUNTIME_RUNNING);
    status = mti_sched_start(rt->sched);
    if (status != MANTA_OK) goto no_start;
    *out_rt = rt;
    return MANTA_OK;

no_start:
    mti_atomic_u32_store_release(&rt->state, MTI_RUNTIME_STARTING);
    runtime_free_ctxs(rt);
    mti_sched_destroy(rt->sched);
no_sched:
    mti_heap_destroy(rt->heap);
no_heap:
    mti_topology_destroy(rt->topology);
no_topology:
    runtime_free_machine(rt);
    rt->sched = NULL;
    rt->heap = NULL;
    rt->topology = NULL;
    mti_atomic_u32_store_release(&rt->state, MTI_RUNTIME_FREE);
    return status;
}

// ---- drain ----------------------------------------------------------------------------------------

// Whether everything submitted is complete. Completions are summed before submissions, and both only
// grow: equal sums mean that there was an instant between with nothing open.
static bool all_complete(mti_runtime_t *rt, uint64_t *out_sum)
{
    uint64_t completed = 0, submitted = 0;
    mti_mutex_lock(&rt->lock);
    for (mti_ctx_t *ctx = rt->ctxs; ctx; ctx = ctx->next_all) {
        completed += mti_atomic_u64_load_acquire(&ctx->completed);
    }
    for (mti_ctx_t *ctx = rt->ctxs; ctx; ctx = ctx->next_all) {
        submitted += mti_atomic_u64_load_acquire(&ctx->submitted);
    }
    mti_mutex_unlock(&rt->lock);
    *out_sum = completed + submitted;
    return completed == submitted;
}

uint32_t mti_runtime_waiting(mti_runtime_t *rt)
{
    uint32_t sum = 0;
    mti_mutex_lock(&rt->lock);
    for (mti_ctx_t *ctx = rt->ctxs; ctx; ctx = ctx->next_all) {
        sum += mti_atomic_u32_load_acquire(&ctx->waiting);
    }
    mti_mutex_unlock(&rt->lock);
    return sum;
}

static void drain_wake(mti_runtime_t *rt)
{
    (void)mti_atomic_u32_fetch_add_acq_rel(&rt->drain_word, 1);
    mti_notify_wake(&rt->drain_word, INT32_MAX);
}

void mti_drain_check_slow(mti_ctx_t *ctx)
{
    uint64_t sum;
    if (all_complete(ctx->rt, &sum)) drain_wake(ctx->rt);
}

// Sleeps until |drain_word| is no longer |word|. In a serial runtime pushes change it, too.
static bool drain_sleep(mti_ctx_t *ctx, uint32_t word, int64_t deadline_ns)
{
    mti_runtime_t *rt = ctx->rt;
    if (!rt->is_serial) return mti_notify_wait(&rt->drain_word, word, deadline_ns);
    (void)mti_sched_block_begin(&ctx->sched);
    mti_fence_heavy(); // pushes tell us from here on; what came before is seen now
    int64_t until = mti_timer_bound(ctx, deadline_ns);
    bool woken = mti_sched_has_work(rt->sched) || mti_notify_wait(&rt->drain_word, word, until);
    mti_sched_block_end(&ctx->sched);
    return woken || until < deadline_ns;
}

static manta_status_t drain(mti_ctx_t *ctx, int64_t deadline_ns)
{
    mti_runtime_t *rt = ctx->rt;
    bool helps = deadline_ns == INT64_MAX || rt->is_serial;
    uint64_t sum, quiet_sum = UINT64_MAX;
    for (;;) {
        mti_timer_poll(ctx);
        while (helps && (mti_sched_step(&ctx->sched) || mti_lanes_help_if_any(ctx, true))) {
            if (deadline_ns != INT64_MAX && mti_clock_ns() >= deadline_ns) break;
        }
        mti_table_flush(&ctx->table);
        uint32_t word = mti_atomic_u32_load_acquire(&rt->drain_word);
        mti_fence_heavy();
        bool alone =
            rt->is_serial && mti_runtime_waiting(rt) == 1 && mti_timer_next(rt) == INT64_MAX;
        // Devices that no thread steps but those that wait.
        bool steps = mti_lanes_need_steps(rt);
        if (all_complete(rt, &sum)) return MANTA_OK;
        if (mti_atomic_u32_load_acquire(&rt->state) >= MTI_RUNTIME_STOPPING) {
            return mti_fail(MANTA_ERR_SHUTDOWN, "runtime '%s' is shutting down", rt->name);
        }
        if (steps && (deadline_ns == INT64_MAX || mti_clock_ns() < deadline_ns)) {
            (void)mti_notify_wait(&rt->drain_word, word, mti_clock_ns() + LANE_NAP_NS);
            continue;
        }
        if (alone && deadline_ns == INT64_MAX) {
            // Another thread may have submitted or run something since our step: looks again.
            bool quiet = sum == quiet_sum;
            quiet_sum = sum;
            if (!quiet) continue;
            return mti_fail(MANTA_ERR_DEADLOCK,
                            "tasks wait for promises, and nothing can run in serial runtime '%s'",
                            rt->name);
        }
        // A little patience before sleeping: the last tasks may be about to finish.
        bool found = false;
        for (int i = 0; i < 2000 && !found; i++) {
            mti_cpu_pause();
            found = mti_atomic_u32_load_relaxed(&rt->drain_word) != word ||
                    (i % 64 == 0 && helps &&
                     (mti_sched_step(&ctx->sched) || mti_lanes_help_if_any(ctx, true)));
        }
        if (found) continue;
        if (!drain_sleep(ctx, word, deadline_ns)) {
            if (all_complete(rt, &sum)) return MANTA_OK;
            return mti_fail(MANTA_NOT_READY, "the drain's timeout passed");
        }
    }
}

manta_status_t mti_runtime_drain(mti_runtime_t *rt, int64_t timeout_ns)
{
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    if ((thread->task && thread->task->ctx->rt == rt) || thread->in_callback) {
        return mti_fail(MANTA_ERR_NOT_ALLOWED_HERE, "no drain inside a task or a callback");
    }
    mti_thread_enter(thread);
    mti_ctx_t *ctx = mti_ctx_slow(thread, mti_runtime_handle(rt));
    if (ctx) {
        mti_wait_enter(ctx);
        (void)mti_atomic_u32_fetch_add_seq_cst(&rt->drainers, 1);
    }
    mti_thread_leave(thread);
    if (!ctx) return thread->status;
    manta_status_t status = drain(ctx, mti_clock_deadline(timeout_ns));
    // This thread may have run the last task itself while another one sleeps in its drain.
    if (mti_atomic_u32_fetch_sub_acq_rel(&rt->drainers, 1) != 1) drain_wake(rt);
    mti_wait_leave(ctx);
    return status;
}

// ---- what lives -----------------------------------------------------------------------------------

typedef struct census {
    mti_runtime_t *rt;
    mti_ctx_t *ctx; // this thread's; NULL: no memory for one
    FILE *file;
    bool as_log;
    size_t count;
} census_t;

static void census_count(mti_slot_t *slot, void *user)
{
    census_t *census = user;
    mti_object_t *object = &slot->object;
    uint64_t counts = mti_atomic_u64_load_acquire(&object->counts);
    if (mti_count_user(counts) == 0 || mti_object_runtime(object) != census->rt->index) return;
    if (mti_object_kind(object) == MTI_OBJECT_ACTOR) {
        char text[256];
        mti_actor_t *actor = (mti_actor_t *)(void *)object;
        if (!census->ctx) {
            snprintf(text, sizeof text, "actor in slot %u", object->slot);
        } else if (!mti_actor_describe(census->ctx, actor, text, sizeof text)) {
            return;
        }
        census->count++;
        if (census->file) fprintf(census->file, "%s\n", text);
        if (census->as_log) mti_runtime_log(census->rt, MANTA_OK, "leaked %s", text);
        return;
    }
    census->count++;
    uint64_t head;
    bool closed = mti_object_is_closed(object, &head);
    mti_record_t *t = object->producer ? mti_record_at(object->producer) : NULL;
    const char *maker = t && t->def                                     ? t->def->name
                        : mti_object_kind(object) == MTI_OBJECT_PROMISE ? "promise"
                                                                        : "put";
    char line[256];
    snprintf(line, sizeof line, "ref %u.%u: %s, %llu bytes, of %s, %u user and %u internal counts",
             mti_atomic_u32_load_relaxed(&object->gen), object->slot,
             !closed                  ? "pending"
             : head & MTI_HEAD_FAILED ? "failed"
                                      : "ready",
             (unsigned long long)mti_object_size(object), maker, mti_count_user(counts),
             mti_count_internal(counts));
    if (census->file) fprintf(census->file, "%s\n", line);
    if (census->as_log) mti_runtime_log(census->rt, MANTA_OK, "leaked %s", line);
}

size_t mti_runtime_print_refs(mti_runtime_t *rt, FILE *file, bool as_log)
{
    // Before the lock that making a context takes.
    mti_thread_t *thread = mti_thread_self();
    census_t census = {.rt = rt, .file = file, .as_log = as_log};
    census.ctx = thread ? mti_ctx_slow(thread, mti_runtime_handle(rt)) : NULL;
    mti_mutex_lock(&rt->lock);
    for (mti_ctx_t *ctx = rt->ctxs; ctx; ctx = ctx->next_all) {
        mti_table_cache_each(&ctx->table, census_count, &census);
    }
    mti_mutex_unlock(&rt->lock);
    return census.count;
}

// ---- shutdown -------------------------------------------------------------------------------------

typedef struct sweep {
    mti_ctx_t *ctx;
    bool cancel_tasks;
} sweep_t;

// Fails what will never be finished: promises, unsealed buffers, and in cancel mode the tasks.
static void sweep_slot(mti_slot_t *slot, void *user)
{
    sweep_t *sweep = user;
    mti_object_t *object = &slot->object;
    if (mti_object_runtime(object) != sweep->ctx->rt->index) return;
    uint32_t gen = mti_atomic_u32_load_acquire(&object->gen);
    uint64_t id = mti_ref_make(object->slot, gen).id;
    mti_object_t *held = mti_ref_acquire_weak(id, MTI_COUNT_INTERNAL);
    mti_object_kind_t kind = mti_object_kind(object);
    uint64_t head;
    if (held && !mti_object_is_closed(object, &head)) {
        if (kind == MTI_OBJECT_PROMISE || kind == MTI_OBJECT_CREATED) {
            uint64_t unfinished = 0;
            if (mti_atomic_u64_cas_acq_rel(&mti_record_of(object)->claim, &unfinished,
                                           mti_claim_make(gen, 0, MTI_TASK_DONE))) {
                (void)mti_object_close(sweep->ctx, object, mti_head_bare(MANTA_ERR_SHUTDOWN), NULL);
            }
        } else if (sweep->cancel_tasks && kind == MTI_OBJECT_TASK) {
            (void)mti_task_cancel(sweep->ctx, object, false);
        }
    }
    if (held) mti_object_release(sweep->ctx, object, MTI_COUNT_INTERNAL);
}

static void sweep(mti_ctx_t *mine, bool cancel_tasks)
{
    mti_runtime_t *rt = mine->rt;
    sweep_t args = {mine, cancel_tasks};
    // Contexts are only ever added, at the front; the list from here on stays as it is.
    mti_mutex_lock(&rt->lock);
    mti_ctx_t *first = rt->ctxs;
    mti_mutex_unlock(&rt->lock);
    for (mti_ctx_t *ctx = first; ctx; ctx = ctx->next_all) {
        mti_table_cache_each(&ctx->table, sweep_slot, &args);
    }
}

// Names of up to a few tasks that still run, for the message of a shutdown that ran out of time.
typedef struct running {
    mti_runtime_t *rt;
    char text[256];
    size_t length, count;
} running_t;

static void list_running(mti_slot_t *slot, void *user)
{
    running_t *running = user;
    mti_record_t *t = mti_record_of(&slot->object);
    if (mti_object_runtime(&slot->object) != running->rt->index) return;
    uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
    mti_task_state_t state = mti_claim_state(claim);
    if (state != MTI_TASK_RUNNING && state != MTI_TASK_QUEUED && state != MTI_TASK_HELD &&
        state != MTI_TASK_FORWARDED) {
        return;
    }
    if (mti_claim_gen(claim) != mti_atomic_u32_load_relaxed(&slot->object.gen)) return;
    if (running->count++ < 8 && running->length < sizeof running->text - 48) {
        running->length += (size_t)snprintf(running->text + running->length,
                                            sizeof running->text - running->length, "%s%.24s (%s)",
                                            running->length ? ", " : "", t->def->name,
                                            state == MTI_TASK_RUNNING ? "running" : "waiting");
    }
}

static manta_status_t fail_shutdown_timeout(mti_runtime_t *rt)
{
    running_t running = {.rt = rt};
    mti_mutex_lock(&rt->lock);
    for (mti_ctx_t *ctx = rt->ctxs; ctx; ctx = ctx->next_all) {
        mti_table_cache_each(&ctx->table, list_running, &running);
    }
    mti_mutex_unlock(&rt->lock);
    return mti_fail(MANTA_ERR_TIMEOUT, "runtime '%s' still has %zu tasks: %s%s", rt->name,
                    running.count, running.text, running.count > 8 ? ", …" : "");
}

static void free_leftover(mti_slot_t *slot, void *user)
{
    mti_ctx_t *ctx = user;
    mti_object_t *object = &slot->object;
    if (mti_atomic_u64_load_relaxed(&object->counts) == 0 ||
        mti_object_runtime(object) != ctx->rt->index ||
        mti_object_kind(object) == MTI_OBJECT_FREE) {
        return;
    }
    uint64_t head = mti_atomic_u64_load_relaxed(&object->head);
    if (mti_object_kind(object) == MTI_OBJECT_ACTOR) {
        mti_actor_free(ctx, (mti_actor_t *)(void *)object);
    } else if (mti_object_storage(object) == MTI_STORAGE_TIERED) {
        (void)mti_tier_destroy(ctx, object);
    } else if ((head & (MTI_HEAD_FAILED | MTI_HEAD_BARE)) == MTI_HEAD_FAILED) {
        manta_error_release(object->u.fail.error);
    } else if (mti_object_storage(object) == MTI_STORAGE_HEAP ||
               mti_object_storage(object) == MTI_STORAGE_WRAPPED) {
        mti_object_storage_free(ctx, object); // deleters are queued and run below
    }
    mti_atomic_u64_store_relaxed(&object->head, MTI_HEAD_CLOSED);
    mti_atomic_u64_store_relaxed(&object->counts, 0);
    // Not to a free list: the run goes back to the process as a whole. Stale from here on.
    uint32_t gen = mti_atomic_u32_load_relaxed(&object->gen);
    mti_atomic_u64_store_relaxed(&object->size_bits, 0);
    mti_atomic_u32_store_release(&object->gen, gen + 1);
}

// Everything is complete and nobody is inside: frees what is left.
static void runtime_free(mti_runtime_t *rt, mti_ctx_t *mine)
{
    for (mti_ctx_t *ctx = rt->ctxs; ctx; ctx = ctx->next_all) {
        mti_table_cache_each(&ctx->table, free_leftover, mine);
    }
    while (mti_sched_step(&mine->sched)) { // deleters and callbacks, exactly once
    }
    mti_free(&rt->allocator, rt->names, rt->name_buckets * sizeof *rt->names);
    rt->names = NULL;
    rt->name_buckets = rt->name_count = 0;
    mti_lanes_destroy(mine);
    runtime_free_machine(rt);
    for (mti_ctx_t *ctx = rt->ctxs; ctx; ctx = ctx->next_all)
        mti_table_flush(&ctx->table);
    runtime_free_ctxs(rt);
    mti_sched_destroy(rt->sched);
    mti_heap_destroy(rt->heap);
    mti_topology_destroy(rt->topology);
    rt->sched = NULL;
    rt->heap = NULL;
    rt->topology = NULL;
    mti_atomic_u32_store_release(&rt->state, MTI_RUNTIME_FREE);
}

static manta_status_t shutdown_locked(mti_thread_t *thread, mti_runtime_t *rt,
                                      manta_shutdown_mode_t mode, int64_t deadline_ns)
{
    mti_ctx_t *mine = mti_ctx_slow(thread, mti_runtime_handle(rt));
    if (!mine) return thread->status;
    bool cancels = mode == MANTA_SHUTDOWN_CANCEL;
    if (cancels) {
        mti_atomic_u32_store_release(&rt->cancelling, 1);
        // Behind |clean_epoch| for good, so that every task looks before it runs.
        (void)mti_atomic_u32_fetch_add_acq_rel(&rt->cancel_epoch, 1);
        (void)mti_actors_end(mine, true);
        sweep(mine, true);
        mti_wait_interrupt(rt); // tasks that nobody has a ref of, and that wait for something else
    }
    mti_wait_enter(mine);
    (void)mti_atomic_u32_fetch_add_seq_cst(&rt->drainers, 1);
    manta_status_t status = drain(mine, deadline_ns);
    // Nothing is left to do for the actors. What their destructors submit is drained as well.
    while (status == MANTA_OK && mti_actors_end(mine, cancels))
        status = drain(mine, deadline_ns);
    if (mti_atomic_u32_fetch_sub_acq_rel(&rt->drainers, 1) != 1) drain_wake(rt);
    mti_wait_leave(mine);
    if (status != MANTA_OK) {
        return status == MANTA_NOT_READY ? fail_shutdown_timeout(rt) : status;
    }
    // No task is left. What is still open is promises and buffers: their waiters and callbacks are told.
    if (rt->report_leaks) (void)mti_runtime_print_refs(rt, NULL, true);
    sweep(mine, false);
    mti_atomic_u32_store_release(&rt->state, MTI_RUNTIME_STOPPING);
    mti_wait_interrupt(rt);
    mti_cq_interrupt(rt);
    mti_thread_quiesce();             // whoever is about to wait is counted now
    while (mti_runtime_waiting(rt)) { // each is on its way out
        mti_wait_interrupt(rt);
        drain_wake(rt);
        mti_flight_wake(rt);
        sched_yield();
    }
    mti_timer_stop(rt);
    mti_lanes_stop(rt);
    mti_sched_stop(rt->sched);
    // The last callbacks run here, while the runtime still takes part in everything.
    while (mti_sched_step(&mine->sched)) {
    }
    mti_atomic_u32_store_release(&rt->state, MTI_RUNTIME_DEAD);
    mti_thread_quiesce();
    runtime_free(rt, mine);
    return MANTA_OK;
}

bool mti_runtime_close(mti_runtime_t *rt, manta_runtime_t handle)
{
    // Under the lock that generations change under: a runtime that took the place of the one that was
    // meant stays open.
    mti_mutex_lock(&process.lock);
    bool same = mti_runtime_handle(rt).id == handle.id;
    uint32_t running = MTI_RUNTIME_RUNNING;
    if (same) (void)mti_atomic_u32_cas_acq_rel(&rt->state, &running, MTI_RUNTIME_CLOSED);
    mti_mutex_unlock(&process.lock);
    if (same) mti_flight_wake(rt);
    return same;
}

manta_status_t mti_runtime_shutdown(manta_runtime_t handle, manta_shutdown_mode_t mode,
                                    int64_t timeout_ns)
{
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    mti_runtime_t *rt = mti_runtime_find(handle);
    if (!rt) return MANTA_ERR_STALE_REF;
    if (thread->in_callback || thread->task || (thread->ctx && thread->epoch == 0)) {
        return mti_fail(MANTA_ERR_NOT_ALLOWED_HERE, "no shutdown inside a task or a callback");
    }
    if (mti_runtime_close(rt, handle)) {
        if (mti_runtime_default_peek() == rt) mti_runtime_default_forget(rt);
        // Calls that saw it open have submitted what they had to when this returns; nothing comes after.
        mti_thread_quiesce();
    }
    int64_t deadline = mti_clock_deadline(timeout_ns);
    manta_status_t status = MANTA_OK;
    mti_mutex_lock(&rt->shutdown_lock);
    // Another caller may have done it while this one stood at the lock.
    if (mti_runtime_handle(rt).id == handle.id &&
        mti_atomic_u32_load_acquire(&rt->state) == MTI_RUNTIME_CLOSED) {
        status = shutdown_locked(thread, rt, mode, deadline);
    }
    mti_mutex_unlock(&rt->shutdown_lock);
    return status;
}

// ---- the default runtime --------------------------------------------------------------------------

mti_runtime_t *mti_runtime_default_peek(void)
{
    return mti_atomic_ptr_load_acquire(&the_default.rt);
}

void mti_runtime_default_forget(mti_runtime_t *rt)
{
    void *expected = rt;
    if (!mti_atomic_ptr_cas_acq_rel(&the_default.rt, &expected, NULL)) return;
    // Cached contexts of other threads are out of date.
    (void)mti_atomic_u32_fetch_add_acq_rel(&mti_default_epoch, 1);
}

static manta_status_t default_start(const manta_runtime_options_t *options, bool must_be_new)
{
    mti_mutex_lock(&the_default.lock);
    manta_status_t status = MANTA_OK;
    if (!mti_runtime_default_peek()) {
        mti_runtime_t *rt = NULL;
        status = mti_runtime_create(options, &rt);
        if (status == MANTA_OK) {
            mti_atomic_ptr_store_release(&the_default.rt, rt);
            uint32_t epoch = mti_atomic_u32_fetch_add_acq_rel(&mti_default_epoch, 1) + 1;
            if (epoch == 0) (void)mti_atomic_u32_fetch_add_acq_rel(&mti_default_epoch, 1);
        }
    } else if (must_be_new) {
        status = mti_fail(MANTA_ERR_ALREADY_EXISTS, "the default runtime runs already");
    }
    mti_mutex_unlock(&the_default.lock);
    default_status = status;
    return status;
}

mti_runtime_t *mti_runtime_default(void)
{
    mti_runtime_t *rt = mti_runtime_default_peek();
    if (MTI_LIKELY(rt != NULL)) return rt;
    return default_start(NULL, false) == MANTA_OK ? mti_runtime_default_peek() : NULL;
}

manta_status_t mti_runtime_default_init(const manta_runtime_options_t *options)
{
    return default_start(options, true);
}
