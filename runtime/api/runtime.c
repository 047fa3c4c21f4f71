// runtime.h: handles in, the runtime inward.
#include "core/core.h"

#include <string.h>

manta_status_t manta_runtime_create(const manta_runtime_options_t *options,
                                    manta_runtime_t *out_runtime)
{
    if (!out_runtime)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "runtime_create: no room for the handle");
    mti_runtime_t *rt;
    manta_status_t status = mti_runtime_create(options, &rt);
    if (status == MANTA_OK) *out_runtime = mti_runtime_handle(rt);
    return status;
}

manta_status_t manta_init(const manta_runtime_options_t *options)
{
    return mti_runtime_default_init(options);
}

manta_runtime_t manta_runtime_default(void)
{
    if (!mti_thread_self()) {
        (void)mti_thread_failure();
        return (manta_runtime_t){0};
    }
    mti_runtime_t *rt = mti_runtime_default();
    return rt ? mti_runtime_handle(rt) : (manta_runtime_t){0};
}

manta_runtime_t manta_runtime_current(void)
{
    mti_thread_t *thread = mti_thread_tls;
    if (thread && thread->task) return mti_runtime_handle(thread->task->ctx->rt);
    if (thread && thread->ctx && thread->epoch == 0) return mti_runtime_handle(thread->ctx->rt);
    return manta_runtime_default();
}

manta_status_t manta_runtime_close(manta_runtime_t runtime)
{
    mti_runtime_t *rt = mti_runtime_resolve(runtime);
    if (!rt) return MANTA_ERR_STALE_REF;
    (void)mti_runtime_close(rt, runtime.id ? runtime : mti_runtime_handle(rt));
    return MANTA_OK;
}

manta_status_t manta_runtime_drain(manta_runtime_t runtime, int64_t timeout_ns)
{
    mti_runtime_t *rt = mti_runtime_resolve(runtime);
    return rt ? mti_runtime_drain(rt, timeout_ns) : MANTA_ERR_STALE_REF;
}

manta_status_t manta_drain(int64_t timeout_ns)
{
    mti_thread_t *thread = mti_thread_tls;
    bool inside = thread && (thread->task || (thread->ctx && thread->epoch == 0));
    if (!inside && !mti_runtime_default_peek()) return MANTA_OK;
    return manta_runtime_drain((manta_runtime_t){0}, timeout_ns);
}

manta_status_t manta_runtime_shutdown(manta_runtime_t runtime, manta_shutdown_mode_t mode,
                                      int64_t timeout_ns)
{
    mti_runtime_t *rt = mti_runtime_resolve(runtime);
    return rt ? mti_runtime_shutdown(mti_runtime_handle(rt), mode, timeout_ns)
              : MANTA_ERR_STALE_REF;
}

manta_status_t manta_shutdown(int64_t timeout_ns)
{
    mti_runtime_t *rt = mti_runtime_default_peek();
    if (!rt) return MANTA_OK;
    manta_status_t status =
        mti_runtime_shutdown(mti_runtime_handle(rt), MANTA_SHUTDOWN_DRAIN, timeout_ns);
    return status == MANTA_ERR_STALE_REF ? MANTA_OK : status; // another thread was faster
}

manta_status_t manta_runtime_stats(manta_runtime_t runtime, manta_stats_t *out_stats)
{
    if (!out_stats || out_stats->struct_size < sizeof(size_t)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "stats: struct_size is not set");
    }
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    mti_thread_enter(thread);
    mti_runtime_t *rt = mti_runtime_resolve(runtime);
    if (!rt) {
        mti_thread_leave(thread);
        return MANTA_ERR_STALE_REF;
    }
    manta_stats_t stats = {.struct_size = out_stats->struct_size,
                           .workers = mti_sched_worker_count(rt->sched),
                           .threads = mti_sched_thread_count(rt->sched)};
    int64_t live_bytes = 0;
    mti_mutex_lock(&rt->lock);
    for (mti_ctx_t *ctx = rt->ctxs; ctx; ctx = ctx->next_all) {
        stats.completed += mti_atomic_u64_load_acquire(&ctx->completed);
        stats.submitted += mti_atomic_u64_load_relaxed(&ctx->submitted);
        stats.failed += mti_atomic_u64_load_relaxed(&ctx->failed);
        stats.stolen += mti_atomic_u64_load_relaxed(&ctx->sched.stolen);
        stats.busy_ns += mti_atomic_u64_load_relaxed(&ctx->busy_ns);
        live_bytes += mti_atomic_i64_load_relaxed(&ctx->heap.live_bytes);
    }
    mti_mutex_unlock(&rt->lock);
    stats.live_bytes = live_bytes > 0 ? (uint64_t)live_bytes : 0;
    stats.live_refs = mti_runtime_print_refs(rt, NULL, false);
    mti_thread_leave(thread);
    size_t known = out_stats->struct_size < sizeof stats ? out_stats->struct_size : sizeof stats;
    memcpy(out_stats, &stats, known);
    return MANTA_OK;
}

size_t manta_runtime_print_refs(manta_runtime_t runtime, FILE *file)
{
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return 0;
    mti_thread_enter(thread);
    mti_runtime_t *rt = mti_runtime_resolve(runtime);
    size_t count = rt ? mti_runtime_print_refs(rt, file, false) : 0;
    mti_thread_leave(thread);
    return count;
}
