// The engine: ordered timelines of work that run on threads or on a virtual clock.
//
// What `sim` and `host` devices are made of, and the fake CUDA driver of the tests. It knows queues,
// operations, resources, byte limits and faults, and nothing of devices, kernels or manta: it stands
// on base/ alone.
//
//   engine ─┬─ domain "gpu 0" ─┬─ queue ── operation, operation, …   runs in order, one at a time
//           │   (what is lost  ├─ queue ── operation, …               beside the other queues
//           │    together)     └─ space: byte limit, real host memory
//           ├─ domain "gpu 1" …
//           └─ resources: what operations occupy while they run (a copy engine, a link, an SM)
//
// An operation has an *effect*: a host function over a copied payload. It runs once, at some point
// between the operation's start and its end, not under a lock. The operation starts when
//   it is the first of its queue, and the queue is not held,
//   what the queue waits for is done, and its condition, if any, holds,
//   its resource has a free slot;
// and is done |duration_ns| later, or when the effect has returned, whichever comes last.
//
// Two modes. Threads: operations run on threads of the engine, at most one per queue and started when
// needed, and durations are real time. Virtual: nothing runs but inside mti_engine_run() and the
// await calls, on the caller's thread; durations are virtual. Whatever is not ordered by the program
// (which queue starts first, whether an effect happens at the start or the end of its operation, who
// of two that end together ends first) is drawn from the seed: the same calls with the same seed
// give the same execution. Other seeds shake out missing dependencies.
//
// Threads: every function from any thread, unless said otherwise; one lock inside. In virtual mode
// two threads that step at once are safe, but no longer deterministic. Effects, conditions and
// discards must not call the engine.
#ifndef MTI_DEVICES_SIM_ENGINE_H
#define MTI_DEVICES_SIM_ENGINE_H

#include "base/atomic.h"

#include <manta/allocator.h>
#include <manta/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

MANTA_BEGIN_DECLS

typedef struct mti_engine mti_engine_t;
typedef struct mti_engine_domain mti_engine_domain_t;
typedef struct mti_engine_queue mti_engine_queue_t;
typedef struct mti_engine_resource mti_engine_resource_t;
typedef struct mti_engine_space mti_engine_space_t;

// ---- Life ----------------------------------------------------------------------------------------

typedef enum mti_engine_mode { MTI_ENGINE_THREADS = 0, MTI_ENGINE_VIRTUAL } mti_engine_mode_t;

typedef struct mti_engine_options {
    manta_allocator_t allocator; // zero: the C library's
    mti_engine_mode_t mode;
    uint64_t seed;
    uint32_t jitter_percent; // durations vary by up to this much, from the seed; at most 100
    bool report_stuck;       // threads: the await calls return DEADLOCK when all queues are blocked
} mti_engine_options_t;

// |options| NULL: threads, seed 0. Errors: OUT_OF_MEMORY.
MANTA_NODISCARD manta_status_t mti_engine_create(const mti_engine_options_t *options,
                                                 mti_engine_t **out_engine);

// Drops what is still queued (discards are called), waits for effects that run, ends the threads and
// frees everything, domains, queues, resources, spaces and their memory too. NULL is fine.
void mti_engine_destroy(mti_engine_t *engine);

mti_engine_mode_t mti_engine_mode(const mti_engine_t *engine);

// The virtual clock, or the machine's.
int64_t mti_engine_now_ns(mti_engine_t *engine);

// ---- Parts ---------------------------------------------------------------------------------------
//
// All live until the engine is destroyed, but queues and spaces, which can go before. Names are copied
// (31 bytes). NULL if there is no memory.

mti_engine_domain_t *mti_engine_domain_create(mti_engine_t *engine, const char *name);
mti_engine_resource_t *mti_engine_resource_create(mti_engine_t *engine, const char *name,
                                                  uint32_t slots);
mti_engine_queue_t *mti_engine_queue_create(mti_engine_domain_t *domain, const char *name);

// Waits for an effect that runs, drops what is queued; waits of other queues for it are over. Blocks.
// NULL is fine.
void mti_engine_queue_destroy(mti_engine_queue_t *queue);

// ---- Work ----------------------------------------------------------------------------------------

// Does what the operation does. Anything but MANTA_OK is its failure; |*out_text|, static storage, says
// why. Payloads are aligned to 16 bytes.
typedef manta_status_t (*mti_engine_effect_fn_t)(void *payload, const char **out_text);

typedef struct mti_engine_op {
    const char *name;              // for dumps and failures; static storage
    mti_engine_effect_fn_t effect; // NULL: nothing
    const void *payload;           // copied
    size_t payload_bytes;
    // Gives back what the payload owns: called exactly once, after the effect or instead of it. NULL: nothing.
    void (*discard)(void *payload);
    // The operation starts only when this holds; looked at when it comes to the front and after each
    // mti_engine_poke(). Called under the engine's lock: reads memory, nothing else. NULL: it holds.
    bool (*condition)(const void *payload);
    mti_engine_resource_t *resource; // NULL: none
    int64_t duration_ns;
    bool record; // see mti_engine_visible()
} mti_engine_op_t;

// Queues |op|, gives it the next number of |queue| (1, 2, 3, …).
// Errors: OUT_OF_MEMORY · DEVICE_LOST; nothing is taken then, discard is not called.
MANTA_NODISCARD manta_status_t mti_engine_submit(mti_engine_queue_t *queue,
                                                 const mti_engine_op_t *op, uint64_t *out_seq);

// What |queue| gets from now on starts after operation |seq| of |other|, which need not exist yet. Takes
// no number. A lost or destroyed |other| ends the wait.
MANTA_NODISCARD manta_status_t mti_engine_wait(mti_engine_queue_t *queue, mti_engine_queue_t *other,
                                               uint64_t seq);

// Conditions may have changed. Counts as an event.
void mti_engine_poke(mti_engine_t *engine);

// The last number given out, and the last one done. Effects before it are visible (acquire).
uint64_t mti_engine_submitted(const mti_engine_queue_t *queue);
uint64_t mti_engine_done(const mti_engine_queue_t *queue);

// The last number done that was recorded, by op.record or mti_engine_record(): what a host would
// see of a device on which nobody looks but at records.
uint64_t mti_engine_visible(const mti_engine_queue_t *queue);
// Records the last operation of |queue|.
void mti_engine_record(mti_engine_queue_t *queue);

// ---- Running -------------------------------------------------------------------------------------

// Virtual: does everything that can be done without moving the clock. Returns how many operations
// ended. Threads: does nothing.
uint64_t mti_engine_run(mti_engine_t *engine);

// Counts what a sleeper may wait for: ends, failures, losses. Read it, look around, then await.
uint64_t mti_engine_events(const mti_engine_t *engine);

// Sleeps until mti_engine_events() != |seen|; virtual: runs, and moves the clock to the next end, not past
// |deadline_ns| (mti_engine_now_ns() time; INT64_MAX: none).
// Returns OK · NOT_READY the deadline passed (virtual: the clock stands there now) · DEADLOCK nothing runs
//         and nothing can start. Virtual: only without a deadline. Threads: only with report_stuck,
//         deadline or not; another thread may still submit, poke or release what helps.
MANTA_NODISCARD manta_status_t mti_engine_await_event(mti_engine_t *engine, uint64_t seen,
                                                      int64_t deadline_ns);

// Sleeps until |seq| of |queue| is done. Returns OK · DEVICE_LOST · as mti_engine_await_event.
MANTA_NODISCARD manta_status_t mti_engine_await(mti_engine_queue_t *queue, uint64_t seq,
                                                int64_t deadline_ns);

// True if operations are queued, none runs, and none can start: all queues are blocked.
bool mti_engine_is_stuck(mti_engine_t *engine);

// Writes what every queue does and waits for, as snprintf would.
int mti_engine_format(mti_engine_t *engine, char *buffer, size_t size);

// ---- Failures and loss ---------------------------------------------------------------------------

typedef struct mti_engine_failure {
    mti_engine_queue_t *queue;
    uint64_t seq;
    manta_status_t code;
    const char *text;
} mti_engine_failure_t;

// Takes the oldest failure of |domain| that was not taken; false if there is none. A failure can be
// taken before, never after, mti_engine_done() passes it.
bool mti_engine_take_failure(mti_engine_domain_t *domain, mti_engine_failure_t *out_failure);

// True if there is one to take. Costs a load.
bool mti_engine_has_failure(const mti_engine_domain_t *domain);

// Loses |domain|: nothing of it starts any more, what is queued is dropped, numbers stand still.
void mti_engine_lose(mti_engine_domain_t *domain);

typedef enum mti_engine_state {
    MTI_ENGINE_OK = 0,
    MTI_ENGINE_LOSING, // an effect still runs
    MTI_ENGINE_LOST    // none runs any more
} mti_engine_state_t;
mti_engine_state_t mti_engine_state(const mti_engine_domain_t *domain);

// ---- Faults --------------------------------------------------------------------------------------

// Each arms one fault of |domain|; |nth| counts from now, from 1; 0 disarms.
void mti_engine_fault_fail_op(mti_engine_domain_t *domain, uint32_t nth, manta_status_t code);
void mti_engine_fault_fail_ops(mti_engine_domain_t *domain, uint32_t nth,
                               manta_status_t code); // all from that one on
void mti_engine_fault_lose_at_op(mti_engine_domain_t *domain,
                                 uint32_t nth); // its effect does not happen
void mti_engine_fault_lose_at_ns(mti_engine_domain_t *domain, int64_t at_ns); // virtual clock only
void mti_engine_fault_oom(mti_engine_domain_t *domain, uint32_t nth);
// Durations of |domain| are multiplied by this; 1 is normal.
void mti_engine_fault_slow(mti_engine_domain_t *domain, uint32_t factor);
// A held queue starts nothing; what runs, ends.
void mti_engine_queue_hold(mti_engine_queue_t *queue, bool held);

// ---- Memory --------------------------------------------------------------------------------------

// |limit_bytes| of memory that belong to |domain| (NULL: to none). What comes out of it is real memory
// of this process. NULL if there is no memory for the space itself.
mti_engine_space_t *mti_engine_space_create(mti_engine_t *engine, mti_engine_domain_t *domain,
                                            const char *name, uint64_t limit_bytes);
// Frees what is still there, too. NULL is fine.
void mti_engine_space_destroy(mti_engine_space_t *space);

// |align| is a power of two. Returns NULL if the limit, a fault or the host says no.
void *mti_engine_space_alloc(mti_engine_space_t *space, size_t size_bytes, size_t align);
// False if |ptr| is not the start of something that is alive in |space|.
bool mti_engine_space_free(mti_engine_space_t *space, void *ptr);

typedef struct mti_engine_range {
    void *base;
    size_t size_bytes;
    uint64_t id; // never used twice in an engine
} mti_engine_range_t;
// The allocation of |space| that |ptr| lies in, the byte behind it not included; false if none.
bool mti_engine_space_find(mti_engine_space_t *space, const void *ptr,
                           mti_engine_range_t *out_range);

typedef struct mti_engine_usage {
    uint64_t limit_bytes, used_bytes, peak_bytes;
    uint64_t live; // allocations
} mti_engine_usage_t;
mti_engine_usage_t mti_engine_space_usage(mti_engine_space_t *space);

MANTA_END_DECLS

#endif
