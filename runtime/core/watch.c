// Being told: the table of watchers, callbacks, completion queues.
//
// Who wants to know about an object without being a task stands in a hash table of buckets, each with a
// lock; the WATCHED bit in the object's head says that somebody does. The closer takes the bit away with
// the list of links, so it comes to the bucket exactly once, after all who added themselves before.
#include "base/refusal.h"
#include "core/core.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { BUCKETS = 256 };

typedef struct bucket {
    _Alignas(64) mti_mutex_t lock;
    mti_watcher_t *first; // guarded by lock
} bucket_t;

static bucket_t buckets[BUCKETS];

void mti_watch_init(void)
{
    for (size_t i = 0; i < BUCKETS; i++)
        mti_mutex_init(&buckets[i].lock, MTI_RANK_WATCH);
}

static bucket_t *bucket_of(const mti_object_t *object)
{
    return &buckets[object->slot * 2654435761u >> 24 & (BUCKETS - 1)];
}

static void unlink_locked(mti_watcher_t *watcher)
{
    *watcher->link = watcher->next;
    if (watcher->next) watcher->next->link = watcher->link;
    watcher->link = NULL;
}

bool mti_watch_add(mti_watcher_t *watcher, mti_object_t *object)
{
    bucket_t *bucket = bucket_of(object);
    watcher->object = object;
    watcher->gen = mti_atomic_u32_load_relaxed(&object->gen);
    mti_mutex_lock(&bucket->lock);
    uint64_t head = mti_atomic_u64_load_acquire(&object->head);
    do {
        if (head & MTI_HEAD_CLOSED) {
            watcher->link = NULL;
            mti_mutex_unlock(&bucket->lock);
            return false;
        }
    } while (!(head & MTI_HEAD_WATCHED) &&
             !mti_atomic_u64_cas_acq_rel(&object->head, &head, head | MTI_HEAD_WATCHED));
    watcher->next = bucket->first;
    watcher->link = &bucket->first;
    if (bucket->first) bucket->first->link = &watcher->next;
    bucket->first = watcher;
    mti_mutex_unlock(&bucket->lock);
    return true;
}

bool mti_watch_remove(mti_watcher_t *watcher)
{
    bucket_t *bucket = bucket_of(watcher->object);
    mti_mutex_lock(&bucket->lock);
    bool there = watcher->link != NULL;
    if (there) unlink_locked(watcher);
    mti_mutex_unlock(&bucket->lock);
    return there;
}

void mti_watch_fire(mti_ctx_t *ctx, mti_object_t *object, uint32_t gen, uint64_t head)
{
    bucket_t *bucket = bucket_of(object);
    mti_watcher_t *taken = NULL, **taken_end = &taken;
    mti_mutex_lock(&bucket->lock);
    for (mti_watcher_t *watcher = bucket->first, *next; watcher; watcher = next) {
        next = watcher->next;
        if (watcher->object != object || watcher->gen != gen) continue;
        unlink_locked(watcher);
        if (watcher->locked) {
            watcher->fire(ctx, watcher, head); // on a waiting thread's stack: gone after the lock
        } else {
            watcher->next = NULL;
            *taken_end = watcher;
            taken_end = &watcher->next;
        }
    }
    mti_mutex_unlock(&bucket->lock);
    while (taken) {
        mti_watcher_t *watcher = taken;
        taken = watcher->next;
        watcher->fire(ctx, watcher, head);
    }
}

// ---- callbacks ------------------------------------------------------------------------------------

typedef struct ready {
    mti_watcher_t watcher; // first
    mti_job_t job;
    const manta_allocator_t *allocator;
    mti_sched_t *sched;
    mti_object_t *object; // one internal count, or NULL for an error ref
    manta_ref_t ref;
    manta_status_t status;
    manta_ready_fn_t fn;
    void *user;
} ready_t;

static void ready_run(mti_sched_ctx_t *sched_ctx, mti_job_t *job)
{
    ready_t *ready = (ready_t *)(void *)((char *)job - offsetof(ready_t, job));
    mti_ctx_t *ctx = (mti_ctx_t *)(void *)sched_ctx;
    mti_thread_t *thread = mti_thread_tls;
    mti_callback_t callback;
    mti_callback_enter(&callback, thread, ctx);
    ready->fn(ready->ref, ready->status, ready->user);
    mti_callback_leave(&callback, thread);
    if (ready->object) mti_object_release(ctx, ready->object, MTI_COUNT_INTERNAL);
    mti_free(ready->allocator, ready, sizeof *ready);
}

static void ready_fire(mti_ctx_t *ctx, mti_watcher_t *watcher, uint64_t head)
{
    (void)ctx;
    ready_t *ready = (ready_t *)(void *)watcher;
    ready->status = mti_object_status(ready->object, head);
    mti_sched_push_job(ready->sched, &ready->job);
}

manta_status_t manta_on_ready(manta_ref_t ref, manta_ready_fn_t fn, void *user)
{
    if (!fn) return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "on_ready: no function");
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    mti_object_t *object = NULL;
    if (mti_ref_is_error(ref)) {
        thread = mti_thread_self();
        if (!thread) return mti_thread_failure();
        ctx = mti_ctx_current(thread);
        if (!ctx) return thread->status;
        mti_thread_enter(thread);
    } else {
        manta_status_t status = mti_ref_begin(ref, &thread, &ctx, &object);
        if (status != MANTA_OK) return status;
    }
    const manta_allocator_t *allocator = &ctx->rt->allocator;
    ready_t *ready = mti_alloc(allocator, sizeof *ready, 16);
    if (!ready) {
        if (object) mti_object_release(ctx, object, MTI_COUNT_INTERNAL);
        mti_thread_leave(thread);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for a callback");
    }
    *ready = (ready_t){.watcher = {.fire = ready_fire},
                       .job = {.fn = ready_run},
                       .allocator = allocator,
                       .sched = ctx->rt->sched,
                       .object = object,
                       .ref = ref,
                       .fn = fn,
                       .user = user};
    if (!object) {
        ready->status = mti_ref_error_code(ref);
        mti_sched_push_job(ctx->rt->sched, &ready->job);
    } else if (!mti_watch_add(&ready->watcher, object)) {
        uint64_t head;
        (void)mti_object_is_closed(object, &head);
        ready_fire(ctx, &ready->watcher, head);
    }
    mti_thread_leave(thread);
    return MANTA_OK;
}

// ---- completion queues ------------------------------------------------------------------------------

typedef struct cq cq_t;

typedef struct cq_node {
    mti_watcher_t watcher; // first
    cq_t *cq;
    struct cq_node *next, *prev;
    mti_object_t *object; // one internal count until it is ready
    manta_cq_entry_t entry;
} cq_node_t;

// Who sleeps inside a task, or in a serial runtime, on the word of its context: others have to wake it, too.
typedef struct cq_sleeper {
    mti_ctx_t *ctx;
    struct cq_sleeper *next;
} cq_sleeper_t;

struct cq {
    mti_mutex_t lock;
    mti_runtime_t *rt;
    uint32_t rt_gen;
    int fd;
    cq_node_t *first, *last; // guarded by lock; ready
    cq_node_t *pending;      // guarded by lock; not ready
    cq_sleeper_t *sleepers;  // guarded by lock
    bool closed;             // guarded by lock
    mti_atomic_u32_t word;   // bumped when something comes in; waiters sleep on it
    mti_atomic_u32_t count;  // the handle, each node, each call in progress
};

enum { MAX_CQS = 4096 };
static struct {
    mti_mutex_t lock;
    cq_t *cqs[MAX_CQS];     // guarded by lock
    uint32_t gens[MAX_CQS]; // guarded by lock
} cq_table = {.lock = MTI_MUTEX_INIT(MTI_RANK_CQ)};

static void cq_release(cq_t *cq)
{
    if (mti_atomic_u32_fetch_sub_acq_rel(&cq->count, 1) != 1) return;
    close(cq->fd);
    mti_mutex_deinit(&cq->lock);
    mti_free(NULL, cq, sizeof *cq);
}

// The queue of |handle| with a count; NULL: stale.
static cq_t *cq_acquire(manta_cq_t handle)
{
    uint32_t index = (uint32_t)handle.id;
    cq_t *cq = NULL;
    mti_mutex_lock(&cq_table.lock);
    if (index < MAX_CQS && cq_table.cqs[index] &&
        cq_table.gens[index] == (uint32_t)(handle.id >> 32)) {
        cq = cq_table.cqs[index];
        (void)mti_atomic_u32_fetch_add_relaxed(&cq->count, 1);
    }
    mti_mutex_unlock(&cq_table.lock);
    if (!cq) (void)mti_fail(MANTA_ERR_STALE_REF, "stale completion queue");
    return cq;
}

manta_status_t manta_cq_create(manta_cq_t *out_cq)
{
    if (!out_cq) return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "cq_create: no room for the handle");
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    mti_ctx_t *ctx = mti_ctx_current(thread);
    if (!ctx) return thread->status;
    cq_t *cq = mti_alloc_zeroed(NULL, sizeof *cq, 64);
    if (!cq) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for a completion queue");
    errno = EMFILE; // what the hook's refusal looks like
    cq->fd = mti_refusal_allowed(MTI_REFUSAL_EVENTFD) ? eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) : -1;
    if (cq->fd < 0) {
        int code = errno;
        mti_free(NULL, cq, sizeof *cq);
        return mti_fail(MANTA_ERR_SYSTEM, "eventfd: %s", strerror(code));
    }
    mti_mutex_init(&cq->lock, MTI_RANK_CQ_QUEUE);
    cq->rt = ctx->rt;
    cq->rt_gen = ctx->rt->gen;
    mti_atomic_u32_store_relaxed(&cq->count, 1);
    mti_mutex_lock(&cq_table.lock);
    uint32_t index = 0;
    while (index < MAX_CQS && cq_table.cqs[index])
        index++;
    if (index < MAX_CQS) {
        cq_table.cqs[index] = cq;
        *out_cq = (manta_cq_t){(uint64_t)++cq_table.gens[index] << 32 | index};
    }
    mti_mutex_unlock(&cq_table.lock);
    if (index < MAX_CQS) return MANTA_OK;
    cq_release(cq);
    return mti_fail(MANTA_ERR_RESOURCE_EXHAUSTED, "more than %d completion queues", MAX_CQS);
}

static void cq_wake_locked(cq_t *cq)
{
    (void)mti_atomic_u32_fetch_add_acq_rel(&cq->word, 1);
    for (cq_sleeper_t *at = cq->sleepers; at; at = at->next)
        mti_wait_wake_ctx(at->ctx);
}

static void cq_signal_locked(cq_t *cq)
{
    uint64_t one = 1;
    ssize_t written = write(cq->fd, &one, sizeof one); // can only fail by being readable already
    (void)written;
    cq_wake_locked(cq);
}

static void pending_add_locked(cq_t *cq, cq_node_t *node)
{
    node->prev = NULL;
    node->next = cq->pending;
    if (cq->pending) cq->pending->prev = node;
    cq->pending = node;
}

static void pending_remove_locked(cq_t *cq, cq_node_t *node)
{
    if (node->next) node->next->prev = node->prev;
    if (node->prev) {
        node->prev->next = node->next;
    } else {
        cq->pending = node->next;
    }
}

// |node|'s object is ready: into the queue, or away if nobody will look.
static void cq_deliver(cq_node_t *node, manta_status_t status)
{
    cq_t *cq = node->cq;
    node->entry.status = status;
    mti_mutex_lock(&cq->lock);
    if (node->object) pending_remove_locked(cq, node);
    node->next = NULL;
    bool closed = cq->closed;
    if (!closed) {
        if (cq->last) {
            cq->last->next = node;
        } else {
            cq->first = node;
            cq_signal_locked(cq);
        }
        cq->last = node;
    }
    mti_mutex_unlock(&cq->lock);
    if (closed) {
        mti_free(NULL, node, sizeof *node);
        cq_release(cq);
    } else {
        mti_notify_wake(&cq->word, INT32_MAX);
    }
}

static void cq_fire(mti_ctx_t *ctx, mti_watcher_t *watcher, uint64_t head)
{
    cq_node_t *node = (cq_node_t *)(void *)watcher;
    mti_object_t *object = node->object;
    manta_status_t status = mti_object_status(object, head);
    cq_deliver(node, status);
    mti_object_release(ctx, object, MTI_COUNT_INTERNAL);
}

manta_status_t manta_cq_add(manta_cq_t handle, manta_ref_t ref, uint64_t tag)
{
    cq_t *cq = cq_acquire(handle);
    if (!cq) return MANTA_ERR_STALE_REF;
    cq_node_t *node = mti_alloc(NULL, sizeof *node, 16);
    if (!node) {
        cq_release(cq);
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for a queue entry");
    }
    *node = (cq_node_t){.watcher = {.fire = cq_fire}, .cq = cq, .entry = {ref, tag, MANTA_OK}};
    if (mti_ref_is_error(ref)) {
        cq_deliver(node, mti_ref_error_code(ref));
        return MANTA_OK;
    }
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    manta_status_t status = mti_ref_begin(ref, &thread, &ctx, &node->object);
    if (status != MANTA_OK) {
        mti_free(NULL, node, sizeof *node);
        cq_release(cq);
        return status;
    }
    mti_object_t *object = node->object;
    mti_mutex_lock(&cq->lock); // before it may be delivered
    pending_add_locked(cq, node);
    mti_mutex_unlock(&cq->lock);
    if (!mti_watch_add(&node->watcher, object)) {
        uint64_t head;
        (void)mti_object_is_closed(object, &head);
        cq_fire(ctx, &node->watcher, head);
    }
    mti_thread_leave(thread);
    return MANTA_OK;
}

static size_t cq_take(cq_t *cq, manta_cq_entry_t *out_entries, size_t n)
{
    cq_node_t *taken[64];
    size_t got = 0, nodes = 0;
    do {
        nodes = 0;
        mti_mutex_lock(&cq->lock);
        while (got + nodes < n && nodes < 64 && cq->first) {
            taken[nodes++] = cq->first;
            cq->first = cq->first->next;
        }
        if (!cq->first) {
            cq->last = NULL;
            uint64_t drained;
            ssize_t size = read(cq->fd, &drained, sizeof drained); // fails if it was not readable
            (void)size;
        }
        mti_mutex_unlock(&cq->lock);
        for (size_t i = 0; i < nodes; i++) {
            out_entries[got++] = taken[i]->entry;
            mti_free(NULL, taken[i], sizeof *taken[i]);
            cq_release(cq);
        }
    } while (nodes == 64);
    return got;
}

// Runs one task of a serial runtime, or what there is to do on its devices. Counted as a waiter: the
// runtime stays, and a drain knows that somebody else runs something.
static bool cq_serial_step(mti_thread_t *thread, manta_runtime_t handle)
{
    mti_thread_enter(thread);
    mti_ctx_t *ctx = mti_ctx_slow(thread, handle);
    if (ctx) mti_wait_enter(ctx);
    mti_thread_leave(thread);
    if (!ctx) return false;
    bool ran = mti_sched_step(&ctx->sched) || mti_lanes_help_if_any(ctx, true);
    if (ran) mti_drain_check(ctx);
    mti_wait_leave(ctx);
    return ran;
}

enum {
    CQ_LOOK = 64
}; // how many of what is pending a thread looks at that has to run something itself

// Some of what is pending in |rt|, with a count each. |*out_more|: there may be others.
static size_t cq_pending(cq_t *cq, const mti_runtime_t *rt, mti_object_t **objects, bool *out_more)
{
    size_t n = 0;
    bool foreign = false;
    mti_mutex_lock(&cq->lock);
    cq_node_t *node = cq->pending;
    // A node in the list holds a count: whoever delivers it takes it out of the list first.
    for (; node && n < CQ_LOOK; node = node->next) {
        if (mti_object_runtime(node->object) != rt->index) {
            foreign = true;
            continue;
        }
        objects[n] = node->object;
        (void)mti_atomic_u64_fetch_add_relaxed(&objects[n++]->counts, MTI_COUNT_SLOT);
    }
    mti_mutex_unlock(&cq->lock);
    *out_more = n == 0 || node || foreign;
    return n;
}

// Sleeps on the word of |ctx|, whose thread runs a task or is in a serial runtime: who cancels the task wakes
// it, others take the seat over, or tell when there is something to run. False: |deadline_ns| has passed.
static bool cq_sleep_in(const mti_thread_t *thread, mti_ctx_t *ctx, cq_t *cq, uint32_t word,
                        int64_t deadline_ns)
{
    mti_object_t *objects[CQ_LOOK];
    size_t n = 0;
    bool more = false;
    cq_sleeper_t sleeper = {.ctx = ctx};
    mti_rest_t rest = mti_rest_begin(thread, ctx);
    mti_fence_heavy(); // pushes tell us from here on; what came before is seen now
    if (deadline_ns == INT64_MAX) {
        n = cq_pending(cq, ctx->rt, objects, &more);
        bool ran = mti_rest_work(&rest, objects, n, more);
        for (size_t i = 0; i < n; i++)
            mti_object_release(ctx, objects[i], MTI_COUNT_SLOT);
        if (ran) return true;
    }
    int64_t until = mti_rest_until(&rest, deadline_ns);
    if (MTI_UNLIKELY(mti_lanes_need_steps(ctx->rt))) {
        // Nobody tells when a device has done something.
        int64_t soon = mti_clock_ns() + LANE_NAP_NS;
        if (until > soon) until = soon;
    }
    mti_mutex_lock(&cq->lock);
    bool same = mti_atomic_u32_load_relaxed(&cq->word) == word;
    sleeper.next = cq->sleepers;
    cq->sleepers = &sleeper;
    mti_mutex_unlock(&cq->lock);
    bool woken = !same || (ctx->rt->is_serial && mti_sched_has_work(ctx->rt->sched)) ||
                 mti_notify_wait(&ctx->wait_word, 0, until);
    mti_mutex_lock(&cq->lock);
    cq_sleeper_t **link = &cq->sleepers;
    while (*link != &sleeper)
        link = &(*link)->next;
    *link = sleeper.next;
    mti_mutex_unlock(&cq->lock);
    mti_rest_end(&rest);
    mti_timer_poll(ctx);
    return woken || until < deadline_ns;
}

// Sleeps until |cq->word| is no longer |word|, or there is another reason to look. Others than OK: it may not,
// or |deadline_ns| has passed.
static manta_status_t cq_sleep(mti_thread_t *thread, cq_t *cq, manta_runtime_t handle,
                               uint32_t word, int64_t deadline_ns)
{
    mti_ctx_t *ctx = thread->task ? thread->task->ctx : NULL;
    manta_status_t status = MANTA_OK;
    bool woken = false;
    if (ctx) {
        mti_wait_enter(ctx);
    } else if (cq->rt->is_serial) {
        mti_thread_enter(thread);
        ctx = mti_ctx_slow(thread, handle);
        if (ctx) mti_wait_enter(ctx);
        mti_thread_leave(thread);
    }
    if (!ctx) {
        woken = mti_notify_wait(&cq->word, word, deadline_ns);
    } else {
        // An exchange: the look at why the wait must end comes after it.
        (void)mti_atomic_u32_exchange_acq_rel(&ctx->wait_word, 0);
        status = mti_wait_must_end(thread, ctx, true);
        if (status == MANTA_OK) woken = cq_sleep_in(thread, ctx, cq, word, deadline_ns);
        mti_wait_withdraw(ctx);
        mti_wait_leave(ctx);
    }
    if (status == MANTA_OK && !woken) status = mti_fail(MANTA_NOT_READY, "nothing in the queue");
    return status;
}

manta_status_t manta_cq_next(manta_cq_t handle, manta_cq_entry_t *out_entries, size_t n,
                             size_t *out_count, int64_t timeout_ns)
{
    if (!out_count || (n && !out_entries)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "cq_next: no room for the entries");
    }
    *out_count = 0;
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    if (timeout_ns > 0 && thread->in_callback) {
        return mti_fail(MANTA_ERR_NOT_ALLOWED_HERE, "a callback must not wait");
    }
    cq_t *cq = cq_acquire(handle);
    if (!cq) return MANTA_ERR_STALE_REF;
    int64_t deadline = mti_clock_deadline(timeout_ns);
    manta_status_t status = MANTA_OK;
    for (;;) {
        // acquire: read before looking, so that what comes in afterwards changes it
        uint32_t word = mti_atomic_u32_load_acquire(&cq->word);
        *out_count = cq_take(cq, out_entries, n);
        if (*out_count || n == 0) break;
        mti_runtime_t *rt = cq->rt;
        bool alive = rt->gen == cq->rt_gen;
        mti_mutex_lock(&cq->lock);
        bool closed = cq->closed;
        mti_mutex_unlock(&cq->lock);
        if (closed || !alive || mti_atomic_u32_load_acquire(&rt->state) >= MTI_RUNTIME_STOPPING) {
            status = mti_fail(MANTA_ERR_SHUTDOWN, "the queue or its runtime is gone");
            break;
        }
        if (rt->is_serial && timeout_ns > 0 &&
            cq_serial_step(thread, (manta_runtime_t){(uint64_t)cq->rt_gen << 32 | rt->index})) {
            continue;
        }
        manta_runtime_t owner = {(uint64_t)cq->rt_gen << 32 | rt->index};
        status = timeout_ns > 0 ? cq_sleep(thread, cq, owner, word, deadline)
                                : mti_fail(MANTA_NOT_READY, "nothing in the queue");
        if (status != MANTA_OK) break;
    }
    cq_release(cq);
    return status;
}

int manta_cq_fd(manta_cq_t handle)
{
    cq_t *cq = cq_acquire(handle);
    if (!cq) return -1;
    int fd = cq->fd;
    cq_release(cq);
    return fd;
}

manta_status_t manta_cq_destroy(manta_cq_t handle)
{
    uint32_t index = (uint32_t)handle.id;
    cq_t *cq = cq_acquire(handle);
    if (!cq) return MANTA_ERR_STALE_REF;
    mti_mutex_lock(&cq_table.lock);
    bool mine = cq_table.cqs[index] == cq;
    if (mine) cq_table.cqs[index] = NULL;
    mti_mutex_unlock(&cq_table.lock);
    if (mine) {
        mti_mutex_lock(&cq->lock);
        cq->closed = true;
        cq_node_t *node = cq->first;
        cq->first = cq->last = NULL;
        cq_signal_locked(cq);
        mti_mutex_unlock(&cq->lock);
        mti_notify_wake(&cq->word, INT32_MAX);
        for (cq_node_t *next; node; node = next) {
            next = node->next;
            mti_free(NULL, node, sizeof *node);
            cq_release(cq);
        }
        cq_release(cq); // the handle's
    }
    cq_release(cq);
    return mine ? MANTA_OK : MANTA_ERR_STALE_REF;
}

void mti_cq_interrupt(mti_runtime_t *rt)
{
    for (uint32_t i = 0; i < MAX_CQS; i++) {
        mti_mutex_lock(&cq_table.lock);
        cq_t *cq = cq_table.cqs[i];
        if (cq && cq->rt == rt) {
            (void)mti_atomic_u32_fetch_add_relaxed(&cq->count, 1);
        } else {
            cq = NULL;
        }
        mti_mutex_unlock(&cq_table.lock);
        if (!cq) continue;
        mti_mutex_lock(&cq->lock);
        cq_wake_locked(cq);
        mti_mutex_unlock(&cq->lock);
        mti_notify_wake(&cq->word, INT32_MAX);
        cq_release(cq);
    }
}
