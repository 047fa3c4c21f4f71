// The scheduler: who runs what next, and who sleeps.
//
// It moves 64-bit entries; what they mean is the business of |ops| (core makes them tasks, tests make
// them integers). An entry comes out at least once; ops.run claims it.
//
// Words: a *context* is one thread's presence: a deque and a few flags. A *seat* is a worker: the right
// to look for work on one core. A seat has an occupant, a context whose thread does so. A thread that
// is about to block gives its seat to a spare thread, and goes on without one when it is woken (the
// CPUs are in debt by one); the occupant then hands the seat back at its next step. Threads without a
// seat that want nothing sit in the pool.
#ifndef MTI_SCHED_SCHED_H
#define MTI_SCHED_SCHED_H

#include "base/atomic.h"
#include "base/fence.h"
#include "sched/deque.h"
#include "topology/topology.h"

#include <manta/status.h>

typedef struct mti_sched mti_sched_t;
typedef struct mti_sched_ctx mti_sched_ctx_t;

// A small piece of work that needs no memory to queue: callbacks, deleters. Runs exactly once.
typedef struct mti_job {
    struct mti_job *next;
    void (*fn)(mti_sched_ctx_t *ctx, struct mti_job *job);
} mti_job_t;

typedef struct mti_sched_ops {
    // Claims |entry| and runs it; does nothing if it can't be claimed.
    void (*run)(mti_sched_ctx_t *ctx, uint64_t entry);
    // Makes the context of a thread that is about to start; NULL: no memory.
    mti_sched_ctx_t *(*ctx_create)(void *user);
    // The thread did not start after all. The context stays known to thieves until the end, so its
    // memory must stay; it may be used again for another thread.
    void (*ctx_retire)(mti_sched_ctx_t *ctx);
    // First and last call on a thread of the scheduler's.
    void (*thread_enter)(mti_sched_ctx_t *ctx);
    void (*thread_exit)(mti_sched_ctx_t *ctx);
    // There is new work, and the thread blocks on its seat because no spare could take it: it should look.
    void (*nudge)(mti_sched_ctx_t *ctx);
    // There is new work in a serial scheduler, and somebody blocks: all who do should look.
    void (*nudge_all)(void *user);
    // The thread has found nothing to do (it may look again at once).
    void (*idle)(mti_sched_ctx_t *ctx);
} mti_sched_ops_t;

typedef struct mti_sched_options {
    int workers; // 0: serial
    const mti_topology_t *topology;
    bool bind;
    int64_t spin_ns;
    int max_threads;
    const char *name;
    const manta_allocator_t *allocator;
    const mti_sched_ops_t *ops;
    void *user;
} mti_sched_options_t;

// Embedded as the first member of core's context.
struct mti_sched_ctx {
    mti_deque_t deque;
    // Written by this thread, or under the scheduler's lock while this thread sleeps.
    _Alignas(MTI_LINE_BYTES) mti_sched_t *sched;
    struct mti_sched_thread *thread; // NULL: not a thread of the scheduler's
    mti_atomic_i32_t seat;           // index, -1: none. Also set by who hands a seat over
    int home_seat;                   // seat that it came from and may want back, -1: none
    int index;                       // in the scheduler's list of contexts
    uint32_t ticks;                  // steps, for fairness
    uint32_t elastic_milli;          // share of the elastic pool that it holds
    int wide_count;                  // cores that a wide task holds here, 0: none
    const int *wide_seats;           // which, |wide_count| long
    bool wide_lent;                  // given up while the task waited
    bool searching;                  // counted in |idle|
    struct mti_sched_batch {         // the last batch that this thread stole; see leave_alone
        struct mti_sched_ctx *victim;
        int64_t since_ns;
        uint32_t count;  // 0: judged
        uint32_t looks;  // for so many more looks its victim is left alone while it moves
        uint64_t anchor; // of the victim, at the last look
    } batch;
    uint64_t looked_at;      // sum over the anchors seen by the last look that took nothing
    bool saw_motion;         // that sum was another one than before: owners are at work
    mti_atomic_u64_t stolen; // statistics
    mti_atomic_u32_t wake;   // sleeps on it in the pool, as a donor, or collecting
};

manta_status_t mti_sched_create(const mti_sched_options_t *options, mti_sched_t **out_sched);
// Starts the workers; on failure those that started are stopped again.
manta_status_t mti_sched_start(mti_sched_t *sched);
// Tells all threads to end after their current step and joins them. Nothing may be queued any more.
void mti_sched_stop(mti_sched_t *sched);
void mti_sched_destroy(mti_sched_t *sched);

// Makes |ctx| (zeroed) known to thieves. Threads of the user's call it for themselves.
manta_status_t mti_sched_ctx_init(mti_sched_t *sched, mti_sched_ctx_t *ctx);
void mti_sched_ctx_deinit(mti_sched_ctx_t *ctx);

bool mti_sched_push_slow(mti_sched_ctx_t *ctx, uint64_t entry);
void mti_sched_wake_slow(mti_sched_t *sched);

// The part of the scheduler that every push reads.
typedef struct mti_sched_hot {
    // searching << 32 | sleeping: workers that look for work, workers that sleep.
    mti_atomic_u64_t idle;
    mti_atomic_u32_t bands; // a bit per band that has something on some node; changes under a lock
    bool serial;
} mti_sched_hot_t;

// Bands beside the normal one, which lives in the deques.
typedef enum mti_band { MTI_BAND_LOW = 0, MTI_BAND_HIGH, MTI_BAND_URGENT, MTI_BANDS } mti_band_t;
// Queues |entry| in that band of this thread's node. False: no memory.
bool mti_sched_push_band(mti_sched_ctx_t *ctx, uint64_t entry, mti_band_t band);
// Whether something waits that goes before normal entries. A snapshot.
static inline bool mti_sched_has_urgent(const mti_sched_t *sched)
{
    const mti_sched_hot_t *hot = (const mti_sched_hot_t *)(const void *)sched;
    return mti_atomic_u32_load_relaxed(&hot->bands) > 1u << MTI_BAND_LOW;
}

// Wakes a worker if one sleeps and none is looking already. Call after making work visible.
//
// Order: the light fence stands between the put and this load; a worker that goes to sleep announces
// itself, executes the heavy fence, and then looks at all queues once more (worker_sleep).
static inline void mti_sched_notify(mti_sched_t *sched)
{
    mti_fence_light();
    mti_sched_hot_t *hot = (mti_sched_hot_t *)(void *)sched;
    if (MTI_UNLIKELY(mti_atomic_u64_load_relaxed(&hot->idle) - 1 < UINT32_MAX)) {
        mti_sched_wake_slow(sched);
    }
}

// Queues |entry| where this thread finds it first. False: no memory, nothing was queued.
static inline bool mti_sched_push_quiet(mti_sched_ctx_t *ctx, uint64_t entry)
{
    mti_sched_hot_t *hot = (mti_sched_hot_t *)(void *)ctx->sched;
    if (MTI_LIKELY(!hot->serial) && MTI_LIKELY(mti_deque_put(&ctx->deque, entry))) return true;
    return mti_sched_push_slow(ctx, entry);
}
static inline bool mti_sched_push(mti_sched_ctx_t *ctx, uint64_t entry)
{
    if (!mti_sched_push_quiet(ctx, entry)) return false;
    mti_sched_notify(ctx->sched);
    return true;
}

// Queues |job| for a worker. Threads: any.
void mti_sched_push_job(mti_sched_t *sched, mti_job_t *job);
// The same for the worker of |seat| and nobody else.
void mti_sched_push_job_at(mti_sched_t *sched, int seat, mti_job_t *job);
// Queues |entry| for |cores| workers at once. False: no memory.
bool mti_sched_push_wide(mti_sched_t *sched, uint64_t entry, int cores);
// Queues |entry| for a thread outside the workers; |milli| is its share. False: no memory.
bool mti_sched_push_elastic(mti_sched_ctx_t *ctx, uint64_t entry, uint32_t milli);

// One step: finds one entry or job and runs it. False if there was none. The body of every worker
// loop, and of whoever helps.
bool mti_sched_step(mti_sched_ctx_t *ctx);

// This thread is about to block; its seat, or what it holds otherwise, goes to others. Gives back
// whether its core is in other hands now; false means that no thread was to be had, or none was needed.
bool mti_sched_block_begin(mti_sched_ctx_t *ctx);
void mti_sched_block_end(mti_sched_ctx_t *ctx);
// Whether some worker looks for work or sleeps for want of it. A snapshot.
bool mti_sched_has_idle(const mti_sched_t *sched);
// Whether a look at all queues would find something. A snapshot.
bool mti_sched_has_work(mti_sched_t *sched);

// The seats of the wide task that runs on this thread, or its own seat; returns how many.
int mti_sched_seats(const mti_sched_ctx_t *ctx, const int **out_seats);
int mti_sched_seat_core(const mti_sched_t *sched, int seat);
// The context with that index, NULL if there is none. Contexts stay until the scheduler is destroyed.
mti_sched_ctx_t *mti_sched_ctx_at(const mti_sched_t *sched, uint32_t index);
int mti_sched_worker_count(const mti_sched_t *sched);
int mti_sched_thread_count(mti_sched_t *sched);

#endif
