#include "sched/sched.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/notify.h"
#include "base/status.h"
#include "base/thread.h"
#include "sched/tuning.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

enum { MAX_CTXS = 4096, CHUNK_ENTRIES = 1021, FREE_CHUNKS = 4 };

// Why the occupant of a seat should look up.
enum {
    ATTENTION_STOP = 1u << 0,
    ATTENTION_YIELD = 1u << 1,
    ATTENTION_DONATE = 1u << 2,
    ATTENTION_INBOX = 1u << 3,
};

// 2: somebody unparks it, and has not moved the count of sleepers yet. Until then the occupant must not
// go on: it would move the count on its part, and for a moment others would see a searcher too many, and
// leave what they push to it.
enum { PARKED_NO = 0, PARKED_ASLEEP = 1, PARKED_WAKING = 2 };

typedef struct seat {
    _Alignas(MTI_LINE_BYTES) mti_atomic_u32_t parked; // the occupant sleeps on it; PARKED_x
    mti_atomic_u32_t attention;
    mti_atomic_ptr_t occupant; // mti_sched_ctx_t *; changes under the lock, thieves read it
    mti_atomic_ptr_t inbox;    // mti_job_t *, newest first; only ever taken whole, hence no ABA
    mti_sched_ctx_t *claimant; // guarded by lock; wants the seat back
    bool short_of_threads;     // guarded by lock; the occupant blocks on the seat
    bool donated;              // guarded by lock; its core is a wide task's
    bool wanted_next; // guarded by lock; donated to one, and the one that collects wants it
    int core;
    int node;   // index of its queues of bands
    int *order; // the other seats, nearest first
} seat_t;

struct mti_sched_thread {
    struct mti_sched_thread *next_all, *next_pool;
    pthread_t thread;
    mti_sched_ctx_t *ctx;
    uint64_t job_entry; // elastic entry to run first, 0: none
    uint32_t job_milli;
};
typedef struct mti_sched_thread thread_t;

typedef struct chunk {
    struct chunk *next;
    uint32_t first, last; // [first, last) are valid
    uint64_t entries[CHUNK_ENTRIES];
} chunk_t;

typedef struct band_queue {
    chunk_t *first, *last;
} band_queue_t;

typedef struct side_entry { // of the wide and the elastic queue
    struct side_entry *next;
    uint64_t entry;
    uint32_t amount; // cores, or milli-CPUs
} side_entry_t;

typedef struct side_queue {
    side_entry_t *first, *last;
} side_queue_t;

struct mti_sched {
    mti_sched_hot_t hot; // first: mti_sched_notify reads it

    _Alignas(MTI_LINE_BYTES)
        mti_atomic_u32_t shared_count; // jobs and chunks of entries queued below
    mti_atomic_u32_t wide_waiting;     // wide entries queued, while none collects
    mti_atomic_u32_t ctx_count;        // ctxs[0 .. count) may be used
    mti_atomic_u32_t stopping;

    _Alignas(MTI_LINE_BYTES) const mti_sched_ops_t *ops;
    void *user;
    const manta_allocator_t *allocator;
    const mti_topology_t *topology;
    int worker_count;
    bool bind;
    int64_t spin_ns;
    uint32_t pauses_min, pauses_max; // between two looks at the queues of others
    int max_threads;
    char name[16];
    seat_t *seats;
    int *orders;

    mti_mutex_t lock;
    thread_t *threads;       // guarded by lock; all
    thread_t *pool;          // guarded by lock; asleep, without seat or job
    int thread_count;        // guarded by lock
    side_queue_t wide;       // guarded by lock
    side_queue_t elastic;    // guarded by lock
    uint32_t elastic_used;   // guarded by lock; milli-CPUs
    mti_sched_ctx_t *leader; // guarded by lock; collects seats for a wide task
    int leader_missing;      // guarded by lock

    mti_mutex_t band_lock;
    int node_count;
    band_queue_t (*bands)[MTI_BANDS]; // guarded by band_lock; one row per node

    mti_mutex_t overflow_lock;
    chunk_t *chunks, *chunks_last; // guarded by overflow_lock
    chunk_t *free_chunks;          // guarded by overflow_lock
    uint32_t free_chunk_count;     // guarded by overflow_lock
    mti_job_t *jobs, *jobs_last;   // guarded by overflow_lock

    mti_atomic_ptr_t ctxs[MAX_CTXS];
};

static void *thread_main(void *arg);

// ---- create and destroy -------------------------------------------------------------------------

manta_status_t mti_sched_create(const mti_sched_options_t *options, mti_sched_t **out_sched)
{
    const manta_allocator_t *allocator = options->allocator;
    mti_sched_t *sched = mti_alloc_zeroed(allocator, sizeof *sched, MTI_LINE_BYTES);
    if (!sched) goto no_sched;
    size_t n = (size_t)options->workers;
    sched->hot.serial = n == 0;
    sched->ops = options->ops;
    sched->user = options->user;
    sched->allocator = allocator;
    sched->topology = options->topology;
    sched->worker_count = options->workers;
    sched->bind = options->bind;
    sched->spin_ns = options->spin_ns < 0 ? MTI_TUNE_SPIN_NS : options->spin_ns;
    sched->pauses_min = mti_clock_pauses(MTI_TUNE_LOOK_MIN_NS);
    sched->pauses_max = mti_clock_pauses(MTI_TUNE_LOOK_MAX_NS);
    sched->max_threads = options->max_threads > 0 ? options->max_threads : MTI_TUNE_MAX_THREADS;
    snprintf(sched->name, sizeof sched->name, "%s", options->name ? options->name : "manta");
    mti_mutex_init(&sched->lock, MTI_RANK_SCHED);
    mti_mutex_init(&sched->overflow_lock, MTI_RANK_OVERFLOW);
    mti_mutex_init(&sched->band_lock, MTI_RANK_OVERFLOW); // never both
    int nodes = options->topology ? mti_topology_node_count(options->topology) : 1;
    sched->node_count = nodes > 0 ? nodes : 1;
    size_t bands_bytes = (size_t)sched->node_count * sizeof *sched->bands;
    sched->bands = mti_alloc_zeroed(allocator, bands_bytes, 16);
    if (!sched->bands) goto no_seats;
    if (n > 0) {
        sched->seats = mti_alloc_zeroed(allocator, n * sizeof(seat_t), MTI_LINE_BYTES);
        if (!sched->seats) goto no_seats;
        sched->orders = mti_alloc_zeroed(allocator, n * n * sizeof(int), sizeof(int));
        if (!sched->orders) goto no_orders;
    }
    *out_sched = sched;
    return MANTA_OK;

no_orders:
    mti_free(allocator, sched->seats, n * sizeof(seat_t));
no_seats:
    mti_free(allocator, sched->bands, (size_t)sched->node_count * sizeof *sched->bands);
    mti_mutex_deinit(&sched->band_lock);
    mti_mutex_deinit(&sched->lock);
    mti_mutex_deinit(&sched->overflow_lock);
    mti_free(allocator, sched, sizeof *sched);
no_sched:
    return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for a scheduler of %d workers",
                    options->workers);
}

void mti_sched_destroy(mti_sched_t *sched)
{
    if (!sched) return;
    size_t n = (size_t)sched->worker_count;
    chunk_t *lists[] = {sched->chunks, sched->free_chunks};
    for (size_t i = 0; i < 2; i++) {
        for (chunk_t *chunk = lists[i], *next; chunk; chunk = next) {
            next = chunk->next;
            mti_free(sched->allocator, chunk, sizeof *chunk);
        }
    }
    side_queue_t *queues[] = {&sched->wide, &sched->elastic};
    for (size_t i = 0; i < 2; i++) {
        for (side_entry_t *side = queues[i]->first, *next; side; side = next) {
            next = side->next;
            mti_free(sched->allocator, side, sizeof *side);
        }
    }
    for (int i = 0; i < sched->node_count * MTI_BANDS; i++) {
        for (chunk_t *chunk = sched->bands[i / MTI_BANDS][i % MTI_BANDS].first, *next; chunk;
             chunk = next) {
            next = chunk->next;
            mti_free(sched->allocator, chunk, sizeof *chunk);
        }
    }
    mti_free(sched->allocator, sched->bands, (size_t)sched->node_count * sizeof *sched->bands);
    mti_mutex_deinit(&sched->band_lock);
    mti_free(sched->allocator, sched->seats, n * sizeof(seat_t));
    mti_free(sched->allocator, sched->orders, n * n * sizeof(int));
    mti_mutex_deinit(&sched->lock);
    mti_mutex_deinit(&sched->overflow_lock);
    mti_free(sched->allocator, sched, sizeof *sched);
}

manta_status_t mti_sched_ctx_init(mti_sched_t *sched, mti_sched_ctx_t *ctx)
{
    if (!mti_deque_init(&ctx->deque, sched->allocator)) {
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for a thread's queue");
    }
    ctx->sched = sched;
    mti_atomic_i32_store_relaxed(&ctx->seat, -1);
    ctx->home_seat = -1;
    ctx->index = -1;
    mti_mutex_lock(&sched->lock);
    uint32_t count = mti_atomic_u32_load_relaxed(&sched->ctx_count);
    uint32_t i = 0;
    while (i < count && mti_atomic_ptr_load_relaxed(&sched->ctxs[i]))
        i++;
    if (i < MAX_CTXS) {
        ctx->index = (int)i;
        // release: publishes the deque to thieves
        mti_atomic_ptr_store_release(&sched->ctxs[i], ctx);
        if (i == count) mti_atomic_u32_store_release(&sched->ctx_count, count + 1);
    }
    mti_mutex_unlock(&sched->lock);
    if (ctx->index >= 0) return MANTA_OK;
    mti_deque_deinit(&ctx->deque);
    return mti_fail(MANTA_ERR_RESOURCE_EXHAUSTED, "more than %d threads use one runtime", MAX_CTXS);
}

void mti_sched_ctx_deinit(mti_sched_ctx_t *ctx)
{
    mti_atomic_ptr_store_release(&ctx->sched->ctxs[ctx->index], NULL);
    mti_deque_deinit(&ctx->deque);
}

// A thread with a fresh context, not started. NULL: no memory.
static thread_t *thread_alloc(mti_sched_t *sched)
{
    thread_t *thread = mti_alloc_zeroed(sched->allocator, sizeof *thread, 16);
    if (!thread) return NULL;
    thread->ctx = sched->ops->ctx_create(sched->user);
    if (!thread->ctx) {
        mti_free(sched->allocator, thread, sizeof *thread);
        return NULL;
    }
    thread->ctx->thread = thread;
    return thread;
}

// Starts |thread|; it is freed if that fails.
static bool thread_start(mti_sched_t *sched, thread_t *thread)
{
    char name[32];
    mti_mutex_lock(&sched->lock);
    bool ok =
        sched->thread_count < sched->max_threads && !mti_atomic_u32_load_relaxed(&sched->stopping);
    if (ok) {
        snprintf(name, sizeof name, "%.9s-%d", sched->name, sched->thread_count);
        sched->thread_count++;
        thread->next_all = sched->threads;
        sched->threads = thread;
        // Under the lock, so that stop() sees either no thread or one that it can join.
        ok = mti_thread_create(&thread->thread, thread_main, thread, name);
        if (!ok) {
            sched->threads = thread->next_all;
            sched->thread_count--;
        }
    }
    mti_mutex_unlock(&sched->lock);
    if (!ok) {
        // The context may be used again: it must not come with a seat.
        mti_atomic_i32_store_release(&thread->ctx->seat, -1);
        sched->ops->ctx_retire(thread->ctx);
        mti_free(sched->allocator, thread, sizeof *thread);
    }
    return ok;
}

manta_status_t mti_sched_start(mti_sched_t *sched)
{
    int n = sched->worker_count;
    int cores = mti_topology_core_count(sched->topology);
    int *order =
        mti_alloc(sched->allocator, (size_t)(cores > 0 ? cores : 1) * sizeof *order, sizeof *order);
    if (!order) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for the steal order");
    for (int i = 0; i < n; i++) {
        seat_t *seat = &sched->seats[i];
        seat->core = i % cores;
        int node = mti_topology_core(sched->topology, seat->core)->node;
        seat->node = node >= 0 && node < sched->node_count ? node : 0;
        seat->order = sched->orders + (size_t)i * (size_t)n;
        // Workers on the same core first (there are more workers than cores), then by distance.
        int found = 0;
        for (int j = seat->core; j < n; j += cores) {
            if (j != i) seat->order[found++] = j;
        }
        size_t others = mti_topology_steal_order(sched->topology, seat->core, order);
        for (size_t k = 0; k < others; k++) {
            for (int j = order[k]; j < n; j += cores)
                seat->order[found++] = j;
        }
    }
    mti_free(sched->allocator, order, (size_t)(cores > 0 ? cores : 1) * sizeof *order);
    for (int i = 0; i < n; i++) {
        thread_t *thread = thread_alloc(sched);
        if (thread) {
            mti_atomic_i32_store_relaxed(&thread->ctx->seat, i);
            mti_atomic_ptr_store_release(&sched->seats[i].occupant, thread->ctx);
        }
        if (!thread || !thread_start(sched, thread)) {
            mti_atomic_ptr_store_release(&sched->seats[i].occupant, NULL);
            mti_sched_stop(sched);
            return thread
                       ? mti_fail(MANTA_ERR_SYSTEM, "can't start thread of worker %d of %d", i, n)
                       : mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for worker %d of %d", i, n);
        }
    }
    return MANTA_OK;
}

static void ctx_wake(mti_sched_ctx_t *ctx)
{
    // release: publishes what was handed over; pairs with the acquire in mti_notify_wait
    mti_atomic_u32_store_release(&ctx->wake, 1);
    mti_notify_wake(&ctx->wake, 1);
}

static void ctx_sleep(mti_sched_ctx_t *ctx)
{
    (void)mti_notify_wait(&ctx->wake, 0, INT64_MAX);
    mti_atomic_u32_store_relaxed(&ctx->wake, 0);
}

// Wakes the occupant of |seat| if it sleeps. Returns whether it did.
static bool seat_unpark(mti_sched_t *sched, seat_t *seat)
{
    uint32_t parked = PARKED_ASLEEP;
    if (mti_atomic_u32_load_relaxed(&seat->parked) != PARKED_ASLEEP) return false;
    if (!mti_atomic_u32_cas_seq_cst(&seat->parked, &parked, PARKED_WAKING)) return false;
    // Whoever unparks moves the count: from now on it is looking for work.
    (void)mti_atomic_u64_fetch_add_seq_cst(&sched->hot.idle, ((uint64_t)1 << 32) - 1);
    // release: the count is moved; pairs with the acquire in worker_sleep
    mti_atomic_u32_store_release(&seat->parked, PARKED_NO);
    mti_notify_wake(&seat->parked, 1);
    return true;
}

void mti_sched_stop(mti_sched_t *sched)
{
    mti_mutex_lock(&sched->lock);
    mti_atomic_u32_store_release(&sched->stopping, 1);
    for (int i = 0; i < sched->worker_count; i++) {
        (void)mti_atomic_u32_fetch_or_acq_rel(&sched->seats[i].attention, ATTENTION_STOP);
        (void)seat_unpark(sched, &sched->seats[i]);
    }
    for (thread_t *thread = sched->pool; thread; thread = thread->next_pool)
        ctx_wake(thread->ctx);
    sched->pool = NULL;
    // Who collects seats for an entry that is stale by now would wait for workers that end.
    if (sched->leader && sched->leader_missing > 0) {
        sched->leader_missing = 0;
        ctx_wake(sched->leader);
    }
    mti_mutex_unlock(&sched->lock);
    // No thread is added any more; nobody else removes them.
    while (sched->threads) {
        thread_t *thread = sched->threads;
        sched->threads = thread->next_all;
        pthread_join(thread->thread, NULL);
        mti_free(sched->allocator, thread, sizeof *thread);
    }
    sched->thread_count = 0;
}

// ---- the shared queue ---------------------------------------------------------------------------

static chunk_t *overflow_chunk_locked(mti_sched_t *sched)
{
    chunk_t *chunk = sched->free_chunks;
    if (chunk) {
        sched->free_chunks = chunk->next;
        sched->free_chunk_count--;
    } else {
        chunk = mti_alloc(sched->allocator, sizeof *chunk, 64);
        if (!chunk) return NULL;
    }
    chunk->next = NULL;
    chunk->first = chunk->last = 0;
    if (sched->chunks_last) {
        sched->chunks_last->next = chunk;
    } else {
        sched->chunks = chunk;
    }
    sched->chunks_last = chunk;
    return chunk;
}

static bool overflow_put(mti_sched_t *sched, const uint64_t *entries, uint32_t n)
{
    mti_mutex_lock(&sched->overflow_lock);
    uint32_t done = 0;
    while (done < n) {
        chunk_t *chunk = sched->chunks_last;
        if (!chunk || chunk->last == CHUNK_ENTRIES) chunk = overflow_chunk_locked(sched);
        if (!chunk) break;
        while (done < n && chunk->last < CHUNK_ENTRIES)
            chunk->entries[chunk->last++] = entries[done++];
    }
    if (done) mti_atomic_u32_store_release(&sched->shared_count, 1);
    mti_mutex_unlock(&sched->overflow_lock);
    // Entries of the caller's deque that found no room are put back there.
    return done == n;
}

static uint32_t overflow_get(mti_sched_t *sched, uint64_t *out, uint32_t max, mti_job_t **out_job)
{
    uint32_t n = 0;
    *out_job = NULL;
    mti_mutex_lock(&sched->overflow_lock);
    if (sched->jobs) {
        *out_job = sched->jobs;
        sched->jobs = sched->jobs->next;
        if (!sched->jobs) sched->jobs_last = NULL;
    }
    while (!*out_job && n < max && sched->chunks) {
        chunk_t *chunk = sched->chunks;
        while (n < max && chunk->first < chunk->last)
            out[n++] = chunk->entries[chunk->first++];
        if (chunk->first < chunk->last) break;
        if (chunk == sched->chunks_last && chunk->last < CHUNK_ENTRIES) {
            chunk->first = chunk->last = 0; // empty but with room: stays
            break;
        }
        sched->chunks = chunk->next;
        if (!sched->chunks) sched->chunks_last = NULL;
        if (sched->free_chunk_count < FREE_CHUNKS) {
            chunk->next = sched->free_chunks;
            sched->free_chunks = chunk;
            sched->free_chunk_count++;
        } else {
            mti_free(sched->allocator, chunk, sizeof *chunk);
        }
    }
    bool more = sched->jobs || (sched->chunks && (sched->chunks->first < sched->chunks->last));
    mti_atomic_u32_store_relaxed(&sched->shared_count, more);
    mti_mutex_unlock(&sched->overflow_lock);
    return n;
}

// The deque is full, or this is a serial runtime: through the shared queue, in order.
bool mti_sched_push_slow(mti_sched_ctx_t *ctx, uint64_t entry)
{
    mti_sched_t *sched = ctx->sched;
    if (sched->hot.serial) return overflow_put(sched, &entry, 1);
    // Make room by moving the oldest entries out, a batch at a time.
    uint64_t oldest[1024];
    uint32_t n = mti_deque_steal(&ctx->deque, oldest, 1024);
    if (n && !overflow_put(sched, oldest, n)) {
        for (uint32_t i = 0; i < n; i++)
            (void)mti_deque_put(&ctx->deque, oldest[i]);
        return false;
    }
    return mti_deque_put(&ctx->deque, entry) || overflow_put(sched, &entry, 1);
}

void mti_sched_push_job(mti_sched_t *sched, mti_job_t *job)
{
    job->next = NULL;
    mti_mutex_lock(&sched->overflow_lock);
    if (sched->jobs_last) {
        sched->jobs_last->next = job;
    } else {
        sched->jobs = job;
    }
    sched->jobs_last = job;
    mti_atomic_u32_store_release(&sched->shared_count, 1);
    mti_mutex_unlock(&sched->overflow_lock);
    mti_sched_notify(sched);
}

void mti_sched_push_job_at(mti_sched_t *sched, int index, mti_job_t *job)
{
    seat_t *seat = &sched->seats[index];
    void *first = mti_atomic_ptr_load_relaxed(&seat->inbox);
    do {
        job->next = first;
        // release: publishes the job; pairs with the acquire in inbox_run
    } while (!mti_atomic_ptr_cas_acq_rel(&seat->inbox, &first, job));
    (void)mti_atomic_u32_fetch_or_acq_rel(&seat->attention, ATTENTION_INBOX);
    mti_fence_light(); // between this and a look at |parked|; pairs with the heavy one in worker_sleep
    if (seat_unpark(sched, seat)) return;
    mti_mutex_lock(&sched->lock);
    if (seat->short_of_threads) sched->ops->nudge(mti_atomic_ptr_load_relaxed(&seat->occupant));
    mti_mutex_unlock(&sched->lock);
}

// Runs what is meant for this seat, oldest first.
static void inbox_run(mti_sched_ctx_t *ctx, seat_t *seat)
{
    (void)mti_atomic_u32_fetch_and_acq_rel(&seat->attention, ~(uint32_t)ATTENTION_INBOX);
    mti_job_t *job = mti_atomic_ptr_exchange_acquire(&seat->inbox, NULL), *oldest = NULL;
    while (job) {
        mti_job_t *next = job->next;
        job->next = oldest;
        oldest = job;
        job = next;
    }
    while (oldest) {
        job = oldest;
        oldest = job->next; // it may be queued again as soon as it runs
        job->fn(ctx, job);
    }
}

static void search_end(mti_sched_ctx_t *ctx);

// ---- bands ----------------------------------------------------------------------------------------

static int band_node(const mti_sched_ctx_t *ctx)
{
    int seat = mti_atomic_i32_load_relaxed(&ctx->seat);
    return seat >= 0 ? ctx->sched->seats[seat].node : 0;
}

bool mti_sched_push_band(mti_sched_ctx_t *ctx, uint64_t entry, mti_band_t band)
{
    mti_sched_t *sched = ctx->sched;
    mti_mutex_lock(&sched->band_lock);
    band_queue_t *queue = &sched->bands[band_node(ctx)][band];
    chunk_t *chunk = queue->last;
    if (!chunk || chunk->last == CHUNK_ENTRIES) {
        chunk = mti_alloc(sched->allocator, sizeof *chunk, 64);
        if (chunk) {
            chunk->next = NULL;
            chunk->first = chunk->last = 0;
            if (queue->last) {
                queue->last->next = chunk;
            } else {
                queue->first = chunk;
            }
            queue->last = chunk;
        }
    }
    if (chunk) {
        chunk->entries[chunk->last++] = entry;
        uint32_t bands = mti_atomic_u32_load_relaxed(&sched->hot.bands);
        // release: a look at all queues that sees it comes to the lock
        mti_atomic_u32_store_release(&sched->hot.bands, bands | 1u << band);
    }
    mti_mutex_unlock(&sched->band_lock);
    if (chunk) mti_sched_notify(sched);
    return chunk != NULL;
}

// The oldest of one queue, 0 if it is empty. The last chunk stays.
static uint64_t band_get_locked(mti_sched_t *sched, band_queue_t *queue)
{
    chunk_t *chunk = queue->first;
    if (chunk && chunk->first == chunk->last && chunk->next) {
        queue->first = chunk->next;
        mti_free(sched->allocator, chunk, sizeof *chunk);
        chunk = queue->first;
    }
    if (!chunk || chunk->first == chunk->last) return 0;
    uint64_t entry = chunk->entries[chunk->first++];
    if (chunk->first == chunk->last && !chunk->next) chunk->first = chunk->last = 0;
    return entry;
}

// Runs the oldest entry of |band|, this node's first. False: there was none.
static bool step_band(mti_sched_ctx_t *ctx, mti_band_t band)
{
    mti_sched_t *sched = ctx->sched;
    if (!(mti_atomic_u32_load_relaxed(&sched->hot.bands) & 1u << band)) return false;
    int own = band_node(ctx), n = sched->node_count;
    uint64_t entry = 0;
    mti_mutex_lock(&sched->band_lock);
    for (int i = 0; i < n && !entry; i++)
        entry = band_get_locked(sched, &sched->bands[(own + i) % n][band]);
    if (!entry) {
        uint32_t bands = mti_atomic_u32_load_relaxed(&sched->hot.bands);
        mti_atomic_u32_store_relaxed(&sched->hot.bands, bands & ~(1u << band));
    }
    mti_mutex_unlock(&sched->band_lock);
    if (!entry) return false;
    search_end(ctx);
    sched->ops->run(ctx, entry);
    return true;
}

// Out of turn, so that no band starves: low, normal and high one after the other.
static bool step_aged(mti_sched_ctx_t *ctx)
{
    switch (ctx->ticks / MTI_TUNE_AGE_STEPS % 3) {
    case 0:
        return step_band(ctx, MTI_BAND_LOW);
    case 1:
        return false; // what follows is a normal pick
    default:
        return step_band(ctx, MTI_BAND_HIGH);
    }
}

// ---- finding work -------------------------------------------------------------------------------

// The own deque is empty, so the batch stolen last is done with all that it led to: was it worth it? A
// task that takes less time than its cache lines take to come over and go home is run faster by its owner.
static void batch_judge(struct mti_sched_batch *batch)
{
    if (MTI_LIKELY(batch->count == 0)) return;
    int64_t spent_ns = mti_clock_ns() - batch->since_ns;
    batch->looks = spent_ns < (int64_t)batch->count * MTI_TUNE_TINY_NS ? MTI_TUNE_TINY_LOOKS : 0;
    batch->count = 0;
}

// Whether |victim|, whose tasks turned out tiny, gets on with them by itself. If its deque has not changed
// since the last look, it is in a longer task or has gone to do something else, and is robbed after all.
static bool leave_alone(mti_sched_ctx_t *ctx, mti_sched_ctx_t *victim)
{
    struct mti_sched_batch *batch = &ctx->batch;
    if (MTI_LIKELY(batch->looks == 0) || batch->victim != victim) return false;
    uint64_t anchor = mti_atomic_u64_load_relaxed(&victim->deque.anchor);
    if (anchor == batch->anchor) return false;
    batch->anchor = anchor;
    batch->looks--;
    return true;
}

// Steals from |victim|: returns one entry and keeps the rest in the own deque.
static uint64_t steal_from(mti_sched_ctx_t *ctx, mti_sched_ctx_t *victim)
{
    uint64_t batch[MTI_TUNE_STEAL_BATCH];
    if (leave_alone(ctx, victim)) return 0;
    uint32_t n = mti_deque_steal(&victim->deque, batch, MTI_TUNE_STEAL_BATCH);
    if (n == 0) return 0;
    if (n >= MTI_TUNE_TINY_BATCH) {
        uint64_t anchor = mti_atomic_u64_load_relaxed(&victim->deque.anchor);
        ctx->batch = (struct mti_sched_batch){
            .victim = victim, .since_ns = mti_clock_ns(), .count = n, .anchor = anchor};
    }
    mti_atomic_u64_owner_add(&ctx->stolen, n);
    // Put in reverse, so that take gives the oldest first.
    for (uint32_t i = n - 1; i > 0; i--) {
        if (MTI_UNLIKELY(!mti_deque_put(&ctx->deque, batch[i]))) {
            // Only without memory for a bigger ring: run it before anything else is lost sight of.
            ctx->sched->ops->run(ctx, batch[i]);
        }
    }
    return batch[0];
}

static uint64_t steal(mti_sched_ctx_t *ctx)
{
    mti_sched_t *sched = ctx->sched;
    int seat = mti_atomic_i32_load_relaxed(&ctx->seat);
    batch_judge(&ctx->batch);
    if (seat >= 0) {
        const int *order = sched->seats[seat].order;
        for (int k = 0; k < sched->worker_count - 1; k++) {
            // acquire: pairs with the release when the occupant changed
            mti_sched_ctx_t *victim = mti_atomic_ptr_load_acquire(&sched->seats[order[k]].occupant);
            if (!victim || mti_deque_size(&victim->deque) == 0) continue;
            uint64_t entry = steal_from(ctx, victim);
            if (entry) return entry;
        }
    }
    // Threads of the user's, and threads that block.
    uint32_t count = mti_atomic_u32_load_acquire(&sched->ctx_count);
    uint32_t start = (uint32_t)ctx->index + 1;
    uint64_t sum = 0;
    for (uint32_t k = 0; k < count; k++) {
        uint32_t i = start + k < count ? start + k : start + k - count;
        if (i >= count) i = k;
        mti_sched_ctx_t *victim = mti_atomic_ptr_load_acquire(&sched->ctxs[i]);
        if (!victim || victim == ctx) continue;
        uint64_t anchor = mti_atomic_u64_load_relaxed(&victim->deque.anchor);
        sum += anchor;
        if (mti_anchor_size(anchor) == 0) continue;
        uint64_t entry = steal_from(ctx, victim);
        if (entry) return entry;
    }
    ctx->saw_motion = sum != ctx->looked_at;
    ctx->looked_at = sum;
    return 0;
}

// Whether a look at all queues would find something. A snapshot.
bool mti_sched_has_work(mti_sched_t *sched)
{
    if (mti_atomic_u32_load_acquire(&sched->shared_count)) return true;
    if (mti_atomic_u32_load_acquire(&sched->wide_waiting)) return true;
    if (mti_atomic_u32_load_acquire(&sched->hot.bands)) return true;
    uint32_t count = mti_atomic_u32_load_acquire(&sched->ctx_count);
    for (uint32_t i = 0; i < count; i++) {
        mti_sched_ctx_t *ctx = mti_atomic_ptr_load_acquire(&sched->ctxs[i]);
        if (ctx && mti_deque_size(&ctx->deque) != 0) return true;
    }
    return false;
}

// The thread has found work: it no longer counts as looking, and somebody else may have to.
static void search_end(mti_sched_ctx_t *ctx)
{
    if (!ctx->searching) return;
    ctx->searching = false;
    uint64_t before =
        mti_atomic_u64_fetch_add_seq_cst(&ctx->sched->hot.idle, (uint64_t)0 - ((uint64_t)1 << 32));
    // It was the only one looking: pushes relied on it. (A push whose store is still on its way when we
    // look is found at this thread's next step at the latest.)
    if (before >> 32 == 1 && (uint32_t)before != 0 && mti_sched_has_work(ctx->sched)) {
        mti_sched_wake_slow(ctx->sched);
    }
}

static void search_begin(mti_sched_ctx_t *ctx)
{
    if (ctx->searching) return;
    ctx->searching = true;
    (void)mti_atomic_u64_fetch_add_seq_cst(&ctx->sched->hot.idle, (uint64_t)1 << 32);
}

void mti_sched_wake_slow(mti_sched_t *sched)
{
    if (sched->hot.serial) {
        sched->ops->nudge_all(sched->user);
        return;
    }
    for (int i = 0; i < sched->worker_count; i++) {
        if (seat_unpark(sched, &sched->seats[i])) return;
    }
    // Nobody to unpark: threads that block on their seats have to see to it.
    mti_mutex_lock(&sched->lock);
    for (int i = 0; i < sched->worker_count; i++) {
        seat_t *seat = &sched->seats[i];
        if (seat->short_of_threads) sched->ops->nudge(mti_atomic_ptr_load_relaxed(&seat->occupant));
    }
    mti_mutex_unlock(&sched->lock);
}

// Runs something from the shared queue.
static bool step_shared(mti_sched_ctx_t *ctx)
{
    mti_sched_t *sched = ctx->sched;
    if (!mti_atomic_u32_load_relaxed(&sched->shared_count)) return false;
    uint64_t batch[MTI_TUNE_OVERFLOW_BATCH];
    mti_job_t *job;
    // A serial runtime keeps the order: one at a time.
    uint32_t n = overflow_get(sched, batch, sched->hot.serial ? 1 : MTI_TUNE_OVERFLOW_BATCH, &job);
    if (!job && n == 0) return false;
    for (uint32_t i = n; i > 1; i--) {
        if (MTI_UNLIKELY(!mti_deque_put(&ctx->deque, batch[i - 1])))
            sched->ops->run(ctx, batch[i - 1]);
    }
    search_end(ctx);
    if (job) {
        job->fn(ctx, job);
    } else {
        sched->ops->run(ctx, batch[0]);
    }
    return true;
}

static bool step_wide(mti_sched_ctx_t *ctx);

// What comes before the own deque. Not inlined, as step_away: the usual step needs few registers.
static __attribute__((noinline)) bool step_before(mti_sched_ctx_t *ctx)
{
    if (ctx->ticks % MTI_TUNE_FAIR_STEPS == 0) {
        return step_aged(ctx) || step_wide(ctx) || step_shared(ctx);
    }
    return step_band(ctx, MTI_BAND_URGENT) || step_band(ctx, MTI_BAND_HIGH);
}

// The own deque is empty.
static __attribute__((noinline)) bool step_away(mti_sched_ctx_t *ctx)
{
    if (step_wide(ctx) || step_shared(ctx)) return true;
    uint64_t entry = steal(ctx);
    if (!entry) return step_band(ctx, MTI_BAND_LOW);
    if (ctx->searching) search_end(ctx);
    ctx->sched->ops->run(ctx, entry);
    return true;
}

bool mti_sched_step(mti_sched_ctx_t *ctx)
{
    bool look = ++ctx->ticks % MTI_TUNE_FAIR_STEPS == 0 || mti_sched_has_urgent(ctx->sched);
    if (MTI_UNLIKELY(look) && step_before(ctx)) return true;
    uint64_t entry = mti_deque_take(&ctx->deque);
    if (MTI_UNLIKELY(!entry)) return step_away(ctx);
    if (MTI_UNLIKELY(ctx->searching)) search_end(ctx);
    ctx->sched->ops->run(ctx, entry);
    return true;
}

// ---- seats --------------------------------------------------------------------------------------

static void bind_to_seat(mti_sched_ctx_t *ctx, int seat)
{
    // A refusal is not fatal: the thread runs where the kernel puts it.
    if (ctx->sched->bind)
        (void)mti_affinity_bind_core(ctx->sched->topology, ctx->sched->seats[seat].core);
}

static thread_t *pool_pop_locked(mti_sched_t *sched)
{
    thread_t *thread = sched->pool;
    if (thread) sched->pool = thread->next_pool;
    return thread;
}

// Gives |seat| to a spare thread. Returns false if there is none to be had.
static bool seat_hand_to_spare(mti_sched_t *sched, mti_sched_ctx_t *ctx, int index)
{
    seat_t *seat = &sched->seats[index];
    mti_mutex_lock(&sched->lock);
    thread_t *spare = pool_pop_locked(sched);
    bool from_pool = spare != NULL;
    mti_mutex_unlock(&sched->lock);
    if (!spare) spare = thread_alloc(sched);
    if (!spare) return false;
    mti_mutex_lock(&sched->lock);
    mti_atomic_i32_store_release(&ctx->seat, -1);
    ctx->home_seat = index;
    mti_atomic_i32_store_release(&spare->ctx->seat, index);
    mti_atomic_ptr_store_release(&seat->occupant, spare->ctx);
    mti_mutex_unlock(&sched->lock);
    if (from_pool) {
        ctx_wake(spare->ctx);
        return true;
    }
    if (thread_start(sched, spare)) return true;
    mti_mutex_lock(&sched->lock);
    mti_atomic_i32_store_release(&ctx->seat, index);
    ctx->home_seat = -1;
    mti_atomic_ptr_store_release(&seat->occupant, ctx);
    mti_mutex_unlock(&sched->lock);
    return false;
}

static void wide_release(mti_sched_ctx_t *ctx);
static void wide_check_donation_locked(mti_sched_t *sched, seat_t *seat);
static void elastic_give_back(mti_sched_ctx_t *ctx);

bool mti_sched_block_begin(mti_sched_ctx_t *ctx)
{
    mti_sched_t *sched = ctx->sched;
    search_end(ctx);
    if (sched->hot.serial) {
        // Counts as asleep, so that pushes come to mti_sched_wake_slow: whoever waits has to look.
        (void)mti_atomic_u64_fetch_add_seq_cst(&sched->hot.idle, 1);
        return false;
    }
    if (!ctx->thread) return false; // a thread of the user's holds nothing
    if (ctx->wide_count && !ctx->wide_lent) wide_release(ctx);
    if (ctx->elastic_milli) elastic_give_back(ctx);
    int index = mti_atomic_i32_load_acquire(&ctx->seat);
    if (index < 0) { // in debt already
        mti_mutex_lock(&sched->lock);
        if (ctx->home_seat >= 0 && sched->seats[ctx->home_seat].claimant == ctx) {
            sched->seats[ctx->home_seat].claimant = NULL;
        }
        // The seat may have been handed back a moment ago.
        index = mti_atomic_i32_load_relaxed(&ctx->seat);
        mti_mutex_unlock(&sched->lock);
        if (index < 0) return true;
    }
    if (seat_hand_to_spare(sched, ctx, index)) return true;
    seat_t *seat = &sched->seats[index];
    mti_mutex_lock(&sched->lock);
    seat->short_of_threads = true;
    wide_check_donation_locked(sched, seat);
    mti_mutex_unlock(&sched->lock);
    // Counts as asleep, so that pushes come to mti_sched_wake_slow.
    (void)mti_atomic_u64_fetch_add_seq_cst(&sched->hot.idle, 1);
    return false;
}

void mti_sched_block_end(mti_sched_ctx_t *ctx)
{
    mti_sched_t *sched = ctx->sched;
    if (sched->hot.serial) {
        (void)mti_atomic_u64_fetch_add_seq_cst(&sched->hot.idle, (uint64_t)0 - 1);
        return;
    }
    if (!ctx->thread) return;
    mti_mutex_lock(&sched->lock);
    int index = mti_atomic_i32_load_relaxed(&ctx->seat);
    if (index >= 0 && sched->seats[index].short_of_threads) {
        sched->seats[index].short_of_threads = false;
        (void)mti_atomic_u64_fetch_add_seq_cst(&sched->hot.idle, (uint64_t)0 - 1);
    } else if (index >= 0) {
        // handed back while it slept
    } else if (ctx->home_seat >= 0) {
        // Goes on at once; the occupant hands the seat back when it next looks up.
        seat_t *seat = &sched->seats[ctx->home_seat];
        if (!seat->claimant) {
            seat->claimant = ctx;
            (void)mti_atomic_u32_fetch_or_acq_rel(&seat->attention, ATTENTION_YIELD);
        }
    }
    mti_mutex_unlock(&sched->lock);
}

bool mti_sched_has_idle(const mti_sched_t *sched)
{
    return mti_atomic_u64_load_relaxed(&sched->hot.idle) != 0;
}

// The occupant gives its seat to the thread that had it before. Returns whether it did.
static bool seat_yield(mti_sched_ctx_t *ctx, int index)
{
    mti_sched_t *sched = ctx->sched;
    seat_t *seat = &sched->seats[index];
    mti_mutex_lock(&sched->lock);
    (void)mti_atomic_u32_fetch_and_acq_rel(&seat->attention, ~(uint32_t)ATTENTION_YIELD);
    mti_sched_ctx_t *claimant = seat->claimant;
    if (claimant) {
        seat->claimant = NULL;
        mti_atomic_ptr_store_release(&seat->occupant, claimant);
        mti_atomic_i32_store_release(&ctx->seat, -1);
        ctx->home_seat = -1;
        mti_atomic_i32_store_release(&claimant->seat, index);
        claimant->home_seat = -1;
    }
    mti_mutex_unlock(&sched->lock);
    if (!claimant) return false;
    // It may have been woken for work that it now won't do.
    search_end(ctx);
    if (mti_sched_has_work(sched)) mti_sched_notify(sched);
    return true;
}

// ---- wide tasks ---------------------------------------------------------------------------------

static bool side_put_locked(mti_sched_t *sched, side_queue_t *queue, uint64_t entry,
                            uint32_t amount)
{
    side_entry_t *side = mti_alloc(sched->allocator, sizeof *side, 16);
    if (!side) return false;
    *side = (side_entry_t){.entry = entry, .amount = amount};
    if (queue->last) {
        queue->last->next = side;
    } else {
        queue->first = side;
    }
    queue->last = side;
    return true;
}

static uint64_t side_get_locked(mti_sched_t *sched, side_queue_t *queue, uint32_t *out_amount)
{
    side_entry_t *side = queue->first;
    if (!side) return 0;
    queue->first = side->next;
    if (!queue->first) queue->last = NULL;
    uint64_t entry = side->entry;
    *out_amount = side->amount;
    mti_free(sched->allocator, side, sizeof *side);
    return entry;
}

bool mti_sched_push_wide(mti_sched_t *sched, uint64_t entry, int cores)
{
    mti_mutex_lock(&sched->lock);
    bool ok = side_put_locked(sched, &sched->wide, entry, (uint32_t)cores);
    if (ok && !sched->leader) mti_atomic_u32_store_release(&sched->wide_waiting, 1);
    mti_mutex_unlock(&sched->lock);
    if (ok) mti_sched_notify(sched);
    return ok;
}

static void leader_got_one_locked(mti_sched_t *sched)
{
    if (--sched->leader_missing == 0) ctx_wake(sched->leader);
}

// A seat whose occupant sleeps in a wait runs nothing: it counts as donated.
static void wide_check_donation_locked(mti_sched_t *sched, seat_t *seat)
{
    if (!(mti_atomic_u32_load_relaxed(&seat->attention) & ATTENTION_DONATE) || seat->donated)
        return;
    seat->donated = true;
    leader_got_one_locked(sched);
}

// The occupant lets a wide task have its core until the task is done.
static void seat_donate(mti_sched_ctx_t *ctx, int index)
{
    mti_sched_t *sched = ctx->sched;
    seat_t *seat = &sched->seats[index];
    search_end(ctx);
    sched->ops->idle(ctx);
    mti_mutex_lock(&sched->lock);
    mti_atomic_u32_store_relaxed(&ctx->wake, 0); // whoever wakes us does so under the lock
    // When everything stops nobody collects any more, and nobody would wake us.
    if (!mti_atomic_u32_load_relaxed(&sched->stopping)) wide_check_donation_locked(sched, seat);
    bool wait = seat->donated;
    mti_mutex_unlock(&sched->lock);
    if (wait) ctx_sleep(ctx);
}

static void wide_release(mti_sched_ctx_t *ctx)
{
    mti_sched_t *sched = ctx->sched;
    mti_mutex_lock(&sched->lock);
    for (int k = 0; k < ctx->wide_count; k++) {
        seat_t *seat = &sched->seats[ctx->wide_seats[k]];
        if (!seat->donated) continue;
        if (seat->wanted_next) { // straight on to the next wide task
            seat->wanted_next = false;
            leader_got_one_locked(sched);
            continue;
        }
        seat->donated = false;
        (void)mti_atomic_u32_fetch_and_acq_rel(&seat->attention, ~(uint32_t)ATTENTION_DONATE);
        if (!seat->short_of_threads) ctx_wake(mti_atomic_ptr_load_relaxed(&seat->occupant));
    }
    ctx->wide_lent = true;
    mti_mutex_unlock(&sched->lock);
}

// Takes a wide task, collects its seats and runs it. One collects at a time, so two never hold half
// of what the other needs.
static bool step_wide(mti_sched_ctx_t *ctx)
{
    mti_sched_t *sched = ctx->sched;
    if (MTI_LIKELY(!mti_atomic_u32_load_relaxed(&sched->wide_waiting))) return false;
    int index = mti_atomic_i32_load_relaxed(&ctx->seat);
    if (index < 0 && !sched->hot.serial) return false;
    // A worker in a nested wait does not start to collect, it would hold up what it waits for.
    uint32_t cores = 0;
    mti_mutex_lock(&sched->lock);
    if (sched->leader || (index >= 0 && sched->seats[index].donated)) {
        mti_mutex_unlock(&sched->lock);
        return false;
    }
    uint64_t entry = side_get_locked(sched, &sched->wide, &cores);
    mti_atomic_u32_store_relaxed(&sched->wide_waiting, 0);
    int *set = NULL;
    if (entry && !sched->hot.serial) {
        sched->leader = ctx;
        sched->leader_missing = 0;
    } else if (entry && sched->wide.first) {
        mti_atomic_u32_store_relaxed(&sched->wide_waiting, 1);
    }
    mti_mutex_unlock(&sched->lock);
    if (!entry) return false;
    search_end(ctx);
    if (sched->hot.serial) {
        sched->ops->run(ctx, entry);
        return true;
    }
    int seats[256];
    bool fits = cores <= sizeof seats / sizeof seats[0];
    set = fits ? seats : mti_alloc(sched->allocator, cores * sizeof *set, sizeof *set);
    int count = set ? (int)cores : 1;
    if (!set) set = seats; // without memory it runs on one core rather than not at all
    set[0] = index;
    for (int k = 1; k < count; k++)
        set[k] = sched->seats[index].order[k - 1];

    mti_mutex_lock(&sched->lock);
    sched->leader_missing = count - 1;
    mti_atomic_u32_store_relaxed(&ctx->wake, 0);
    for (int k = 1; k < count; k++) {
        seat_t *seat = &sched->seats[set[k]];
        (void)mti_atomic_u32_fetch_or_acq_rel(&seat->attention, ATTENTION_DONATE);
        if (seat->donated) {
            seat->wanted_next = true;
        } else if (seat->short_of_threads) {
            wide_check_donation_locked(sched, seat);
        } else {
            (void)seat_unpark(sched, seat);
        }
    }
    if (mti_atomic_u32_load_relaxed(&sched->stopping)) sched->leader_missing = 0; // see stop
    bool wait = sched->leader_missing > 0;
    mti_mutex_unlock(&sched->lock);
    if (wait) ctx_sleep(ctx);
    mti_atomic_u32_store_relaxed(&ctx->wake, 0);

    ctx->wide_seats = set;
    ctx->wide_count = count;
    ctx->wide_lent = false;
    mti_mutex_lock(&sched->lock);
    sched->leader = NULL; // the next one may collect; it waits for our seats like for any other
    if (sched->wide.first) mti_atomic_u32_store_release(&sched->wide_waiting, 1);
    mti_mutex_unlock(&sched->lock);
    if (sched->bind) {
        int *bound = mti_alloc(sched->allocator, (size_t)count * sizeof *bound, sizeof *bound);
        for (int k = 0; bound && k < count; k++)
            bound[k] = sched->seats[set[k]].core;
        if (bound) (void)mti_affinity_bind_cores(sched->topology, bound, (size_t)count);
        mti_free(sched->allocator, bound, (size_t)count * sizeof *bound);
    }
    sched->ops->run(ctx, entry);
    if (!ctx->wide_lent) wide_release(ctx);
    ctx->wide_count = 0;
    ctx->wide_seats = NULL;
    if (set != seats) mti_free(sched->allocator, set, cores * sizeof *set);
    int now = mti_atomic_i32_load_acquire(&ctx->seat);
    bind_to_seat(ctx, now >= 0 ? now : index);
    return true;
}

int mti_sched_seats(const mti_sched_ctx_t *ctx, const int **out_seats)
{
    if (ctx->wide_count) {
        *out_seats = ctx->wide_seats;
        return ctx->wide_count;
    }
    *out_seats = &ctx->seat.v;
    return ctx->seat.v >= 0 ? 1 : 0;
}

mti_sched_ctx_t *mti_sched_ctx_at(const mti_sched_t *sched, uint32_t index)
{
    return index < MAX_CTXS ? mti_atomic_ptr_load_acquire(&sched->ctxs[index]) : NULL;
}

int mti_sched_seat_core(const mti_sched_t *sched, int seat)
{
    return sched->seats[seat].core;
}
int mti_sched_worker_count(const mti_sched_t *sched)
{
    return sched->worker_count;
}

int mti_sched_thread_count(mti_sched_t *sched)
{
    mti_mutex_lock(&sched->lock);
    int n = sched->thread_count;
    mti_mutex_unlock(&sched->lock);
    return n;
}

// ---- elastic tasks ------------------------------------------------------------------------------

static bool elastic_fits_locked(const mti_sched_t *sched, uint32_t milli)
{
    // One that is alone always runs.
    return sched->elastic_used == 0 ||
           sched->elastic_used + milli <= (uint32_t)sched->worker_count * 1000;
}

// Starts queued elastic entries while the ledger has room. Called without the lock.
static void elastic_start(mti_sched_ctx_t *ctx)
{
    mti_sched_t *sched = ctx->sched;
    for (;;) {
        uint32_t milli = 0;
        mti_mutex_lock(&sched->lock);
        side_entry_t *side = sched->elastic.first;
        bool go = side && elastic_fits_locked(sched, side->amount);
        uint64_t entry = go ? side_get_locked(sched, &sched->elastic, &milli) : 0;
        thread_t *thread = NULL;
        if (go) {
            sched->elastic_used += milli;
            thread = pool_pop_locked(sched);
            if (thread) {
                thread->job_entry = entry;
                thread->job_milli = milli;
            }
        }
        mti_mutex_unlock(&sched->lock);
        if (!go) return;
        if (thread) {
            ctx_wake(thread->ctx);
            continue;
        }
        thread = thread_alloc(sched);
        if (thread) {
            thread->job_entry = entry;
            thread->job_milli = milli;
            if (thread_start(sched, thread)) continue;
        }
        // No thread to be had: a worker runs it.
        mti_mutex_lock(&sched->lock);
        sched->elastic_used -= milli;
        mti_mutex_unlock(&sched->lock);
        if (!mti_sched_push(ctx, entry)) sched->ops->run(ctx, entry);
    }
}

bool mti_sched_push_elastic(mti_sched_ctx_t *ctx, uint64_t entry, uint32_t milli)
{
    mti_sched_t *sched = ctx->sched;
    if (sched->hot.serial) return mti_sched_push(ctx, entry);
    mti_mutex_lock(&sched->lock);
    bool ok = side_put_locked(sched, &sched->elastic, entry, milli);
    mti_mutex_unlock(&sched->lock);
    if (ok) elastic_start(ctx);
    return ok;
}

// The share goes back for good: a task that waited goes on in debt.
static void elastic_give_back(mti_sched_ctx_t *ctx)
{
    mti_sched_t *sched = ctx->sched;
    mti_mutex_lock(&sched->lock);
    sched->elastic_used -= ctx->elastic_milli;
    ctx->elastic_milli = 0;
    mti_mutex_unlock(&sched->lock);
    elastic_start(ctx);
}

// ---- threads ------------------------------------------------------------------------------------

// Sleeps on the seat until there may be work. Returns when unparked, or something was found.
static void worker_sleep(mti_sched_ctx_t *ctx, seat_t *seat)
{
    mti_sched_t *sched = ctx->sched;
    ctx->searching = false;
    mti_atomic_u32_store_seq_cst(&seat->parked, PARKED_ASLEEP);
    (void)mti_atomic_u64_fetch_add_seq_cst(&sched->hot.idle, (uint64_t)1 - ((uint64_t)1 << 32));
    // Pairs with the light fence in mti_sched_notify: either the pusher sees us asleep, or we see what
    // it pushed.
    mti_fence_heavy();
    if (mti_sched_has_work(sched) || mti_atomic_u32_load_acquire(&seat->attention)) {
        uint32_t parked = PARKED_ASLEEP;
        if (mti_atomic_u32_cas_seq_cst(&seat->parked, &parked, PARKED_NO)) {
            (void)mti_atomic_u64_fetch_add_seq_cst(&sched->hot.idle, ((uint64_t)1 << 32) - 1);
        }
    } else {
        (void)mti_notify_wait(&seat->parked, PARKED_ASLEEP, INT64_MAX);
    }
    (void)mti_notify_wait(&seat->parked, PARKED_WAKING, INT64_MAX);
    ctx->searching = true; // counted by whoever unparked
}

// Looks for work until there is some (true) or the seat wants attention or sleeps (false).
static bool worker_search(mti_sched_ctx_t *ctx, seat_t *seat)
{
    mti_sched_t *sched = ctx->sched;
    search_begin(ctx);
    int64_t until = 0;
    uint32_t looks_left = ctx->batch.looks, pauses = sched->pauses_min;
    for (unsigned look = 1;; look++) {
        if (mti_sched_step(ctx)) return true;
        if (mti_atomic_u32_load_relaxed(&seat->attention)) return false;
        if (ctx->saw_motion && pauses < sched->pauses_max) pauses *= 2;
        for (uint32_t i = 0; i < pauses; i++)
            mti_cpu_pause();
        if (look % MTI_TUNE_SPIN_LOOKS != 0) continue;
        int64_t now = mti_clock_ns();
        if (until == 0 || ctx->batch.looks != looks_left) {
            until = now + sched->spin_ns; // there is work, though it is left alone for now
            looks_left = ctx->batch.looks;
        } else if (now >= until) {
            break;
        }
    }
    sched->ops->idle(ctx);
    worker_sleep(ctx, seat);
    return false;
}

static void worker_run(mti_sched_ctx_t *ctx)
{
    int index;
    int bound = -1;
    // acquire: pairs with the release of who handed the seat over
    while ((index = mti_atomic_i32_load_acquire(&ctx->seat)) >= 0) {
        seat_t *seat = &ctx->sched->seats[index];
        if (bound != index) bind_to_seat(ctx, bound = index);
        uint32_t attention = mti_atomic_u32_load_relaxed(&seat->attention);
        if (MTI_UNLIKELY(attention != 0)) {
            if (attention & ATTENTION_STOP) return;
            if (attention & ATTENTION_YIELD && seat_yield(ctx, index)) return;
            if (attention & ATTENTION_DONATE) {
                seat_donate(ctx, index);
                continue;
            }
            if (attention & ATTENTION_INBOX) inbox_run(ctx, seat);
        }
        if (mti_sched_step(ctx)) continue;
        ctx->sched->ops->idle(ctx);
        (void)worker_search(ctx, seat);
    }
}

static void elastic_run(mti_sched_ctx_t *ctx)
{
    thread_t *thread = ctx->thread;
    mti_sched_t *sched = ctx->sched;
    while (thread->job_entry) {
        uint64_t entry = thread->job_entry;
        ctx->elastic_milli = thread->job_milli;
        thread->job_entry = 0;
        sched->ops->run(ctx, entry);
        mti_mutex_lock(&sched->lock);
        sched->elastic_used -= ctx->elastic_milli;
        ctx->elastic_milli = 0;
        side_entry_t *side = sched->elastic.first;
        if (side && elastic_fits_locked(sched, side->amount)) {
            thread->job_entry = side_get_locked(sched, &sched->elastic, &thread->job_milli);
            sched->elastic_used += thread->job_milli;
        }
        mti_mutex_unlock(&sched->lock);
        // What this one gave back may do for several smaller ones.
        if (thread->job_entry) elastic_start(ctx);
    }
}

// Sits in the pool until there is a seat or an entry for it. Returns false at the end.
static bool pool_wait(mti_sched_ctx_t *ctx)
{
    mti_sched_t *sched = ctx->sched;
    sched->ops->idle(ctx);
    // What a body left in the own deque is for others now.
    if (mti_deque_size(&ctx->deque)) mti_sched_notify(sched);
    mti_mutex_lock(&sched->lock);
    bool stop = mti_atomic_u32_load_relaxed(&sched->stopping) != 0;
    bool has_seat = mti_atomic_i32_load_relaxed(&ctx->seat) >= 0;
    if (!stop && !has_seat) {
        if (ctx->home_seat >= 0 && sched->seats[ctx->home_seat].claimant == ctx) {
            sched->seats[ctx->home_seat].claimant = NULL; // nothing to go on with
        }
        ctx->home_seat = -1;
        mti_atomic_u32_store_relaxed(&ctx->wake, 0);
        ctx->thread->next_pool = sched->pool;
        sched->pool = ctx->thread;
    }
    mti_mutex_unlock(&sched->lock);
    if (stop) return false;
    if (has_seat) return true;
    ctx_sleep(ctx);
    return mti_atomic_u32_load_acquire(&sched->stopping) == 0;
}

static void *thread_main(void *arg)
{
    thread_t *thread = arg;
    mti_sched_ctx_t *ctx = thread->ctx;
    mti_sched_t *sched = ctx->sched;
    sched->ops->thread_enter(ctx);
    do {
        if (thread->job_entry) elastic_run(ctx);
        worker_run(ctx);
    } while (pool_wait(ctx));
    search_end(ctx);
    sched->ops->thread_exit(ctx);
    return NULL;
}
