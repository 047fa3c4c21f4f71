// Mutexes with ranks. A thread takes locks in rising rank only; debug builds check it.
#ifndef MTI_BASE_MUTEX_H
#define MTI_BASE_MUTEX_H

#include "base/assert.h"

#include <pthread.h>

// The ladder of all locks, outermost first; runtime/README.md tells who holds what.
typedef enum mti_rank {
    MTI_RANK_DEFAULT_RUNTIME = 1, // api: start and stop of the default runtime
    MTI_RANK_SHUTDOWN,            // core: one shutdown of a runtime at a time; held while it drains
    MTI_RANK_GENERATOR,           // core: one generator; held while its next step is submitted
    MTI_RANK_REGISTRY,            // core: table of runtimes and threads
    MTI_RANK_TIMER,               // core: start of a runtime's timer thread
    MTI_RANK_LANES_START,         // core: start of a runtime's devices
    MTI_RANK_RUNTIME,             // core: contexts of a runtime
    MTI_RANK_CQ,                  // core: table of completion queues
    MTI_RANK_CQ_QUEUE,            // core: one completion queue
    MTI_RANK_NAMES,               // core: names of a runtime's actors
    MTI_RANK_ACTOR,               // core: one actor
    MTI_RANK_RULES,               // core: timers, admission
    MTI_RANK_SCHED,               // sched: threads, seats, wide and elastic queues
    MTI_RANK_OVERFLOW,            // sched: overflow queue
    MTI_RANK_WATCH,               // core: a bucket of the watcher table
    MTI_RANK_TABLE,               // store: chunks and runs of the ref table
    MTI_RANK_HEAP,                // store: shared lists of the payload heap
    MTI_RANK_CUDA,                // devices: loading of the CUDA driver
    MTI_RANK_ENGINE,              // devices: the engine under virtual devices
    MTI_RANK_ENGINE_SPACE,        // devices: one of its memories
    MTI_RANK_CODE,                // core: registering code objects
    MTI_RANK_LANE,                // core: lists of a lane
    MTI_RANK_TIER_MAKE,           // core: making tiers
    MTI_RANK_TIER,                // core: where the bytes of an object are
    MTI_RANK_ABROAD,              // core: who waits in another runtime
} mti_rank_t;

typedef struct mti_mutex {
    pthread_mutex_t mutex;
    mti_rank_t rank;
} mti_mutex_t;

#define MTI_MUTEX_INIT(the_rank)                                                                   \
    {                                                                                              \
        PTHREAD_MUTEX_INITIALIZER, the_rank                                                        \
    }

#if MANTA_ASSERT >= 2
void mti_mutex_check_lock(const mti_mutex_t *mutex);
void mti_mutex_check_unlock(const mti_mutex_t *mutex);
#else
static inline void mti_mutex_check_lock(const mti_mutex_t *mutex)
{
    (void)mutex;
}
static inline void mti_mutex_check_unlock(const mti_mutex_t *mutex)
{
    (void)mutex;
}
#endif

static inline void mti_mutex_init(mti_mutex_t *mutex, mti_rank_t rank)
{
    pthread_mutex_init(&mutex->mutex, NULL);
    mutex->rank = rank;
}
static inline void mti_mutex_deinit(mti_mutex_t *mutex)
{
    pthread_mutex_destroy(&mutex->mutex);
}
static inline void mti_mutex_lock(mti_mutex_t *mutex)
{
    mti_mutex_check_lock(mutex);
    pthread_mutex_lock(&mutex->mutex);
}
static inline void mti_mutex_unlock(mti_mutex_t *mutex)
{
    mti_mutex_check_unlock(mutex);
    pthread_mutex_unlock(&mutex->mutex);
}

#endif
