// See engine.h. One lock guards everything but the words that say "atomic".
//
// A queue is always in exactly one state, and in the list that goes with it:
//
//   IDLE       in none: empty, held, or its domain is lost
//   READY      engine->ready: the operation in front may start
//   WAITING    other->waiters: the entry in front is a wait for |other|
//   CONDITION  engine->conditions: the condition in front does not hold
//   RESOURCE   resource->waiters: no slot is free
//   RUNNING    engine->running: the operation in front has started
//
// queue_consider() takes a queue from IDLE to where it belongs. Every event takes those that it may
// concern back to IDLE and considers them again: the end of an operation its own queue, the waiters of
// that queue and of its resource; a poke the conditions. So nothing is ever missed, and "stuck" is
// simply: entries are queued, and READY and RUNNING are empty.
#include "devices/sim/engine.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/notify.h"
#include "base/status.h"
#include "base/thread.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 32, SPARE_PAYLOAD_BYTES = 256, SPARE_MAX = 1024 };

typedef enum queue_state {
    QUEUE_IDLE = 0,
    QUEUE_READY,
    QUEUE_WAITING,
    QUEUE_CONDITION,
    QUEUE_RESOURCE,
    QUEUE_RUNNING
} queue_state_t;

typedef struct queue_list {
    mti_engine_queue_t *first, *last;
} queue_list_t;

// An entry of a queue: an operation (seq > 0) or a wait for another queue (seq 0).
typedef struct entry {
    struct entry *next;
    const char *name;
    mti_engine_effect_fn_t effect;
    void (*discard)(void *payload);
    bool (*condition)(const void *payload);
    mti_engine_resource_t *resource;
    mti_engine_queue_t *other; // waits: NULL once that queue is gone
    mti_engine_queue_t *owner; // failures: whose it was
    uint64_t seq, other_seq;
    int64_t duration_ns;
    bool record;
    manta_status_t code; // what became of it
    const char *text;
    size_t payload_bytes; // that the record has room for
    __attribute__((aligned(16))) unsigned char payload[];
} entry_t;

struct mti_engine_resource {
    mti_engine_resource_t *next;
    char name[NAME_BYTES];
    uint32_t slots, used;
    queue_list_t waiters;
};

struct mti_engine_domain {
    mti_engine_t *engine;
    mti_engine_domain_t *next;
    char name[NAME_BYTES];
    mti_atomic_u32_t state;     // mti_engine_state_t; written under the lock, read by anybody
    mti_atomic_u32_t lost_word; // 1: operations that sleep out their duration get up
    uint32_t running;
    mti_atomic_u32_t failure_count; // of the list; stored before |done| passes one
    entry_t *failures, *failures_last;
    uint32_t fail_nth, lose_nth, oom_nth, slow;
    bool fails_on; // once one has failed
    manta_status_t fail_code;
    int64_t lose_at_ns;
};

struct mti_engine_queue {
    mti_engine_t *engine;
    mti_engine_domain_t *domain;
    mti_engine_queue_t *next; // all queues of the engine
    char name[NAME_BYTES];
    entry_t *head, *tail;
    entry_t *last_op; // the operation |submitted|, NULL when it is done
    uint64_t submitted;
    bool held;

    queue_state_t state;
    queue_list_t *list; // that of the state
    mti_engine_queue_t *list_prev, *list_next;
    queue_list_t waiters; // queues that wait for this one

    // While it is RUNNING.
    int64_t end_ns;
    uint64_t tie;        // virtual: who goes first among equals
    bool effect_pending; // virtual: happens at the end
    bool effect_running; // a thread is inside it, without the lock
    bool dropped;        // lost or destroyed meanwhile: no number, no slot to give back

    // Stored with release after the effect; read by anybody with acquire.
    __attribute__((aligned(MTI_LINE_BYTES))) mti_atomic_u64_t done;
    mti_atomic_u64_t visible;
};

typedef struct engine_thread {
    struct engine_thread *next;
    pthread_t thread;
} engine_thread_t;

struct mti_engine_space {
    mti_engine_t *engine;
    mti_engine_domain_t *domain; // NULL: none
    mti_engine_space_t *next;
    char name[NAME_BYTES];
    mti_mutex_t lock;
    mti_engine_range_t *ranges; // sorted by address; guarded by lock, as all below
    size_t range_count, range_room;
    uint64_t limit_bytes, used_bytes, peak_bytes;
};

struct mti_engine {
    manta_allocator_t allocator;
    mti_engine_mode_t mode;
    uint32_t jitter_percent;
    bool report_stuck;

    mti_mutex_t lock;
    uint64_t random; // state of the generator; guarded by lock, as all below
    mti_engine_domain_t *domains;
    mti_engine_resource_t *resources;
    mti_engine_queue_t *queues;
    mti_engine_space_t *spaces;
    uint32_t queue_count;
    queue_list_t ready, conditions, running;
    uint64_t queued; // entries that have not ended
    uint32_t ready_count, running_count;
    uint64_t range_id;
    entry_t *spare; // records with SPARE_PAYLOAD_BYTES of room
    uint32_t spare_count;
    entry_t *dropped; // whose discard is to be called once the lock is free

    mti_atomic_i64_t virtual_ns; // written under the lock, read by anybody
    mti_atomic_u64_t events;     // written under the lock, read by anybody
    mti_atomic_u32_t event_word; // what sleepers sleep on: changes with |events|
    uint32_t sleepers;

    // Threads mode.
    engine_thread_t *threads;
    uint32_t thread_count;
    // Each sleeping thread is counted in one of the first two: a waker moves one from idle to waking,
    // and who gets up takes one off waking, or itself off idle if nobody meant it.
    uint32_t idle, waking;
    uint32_t starting; // threads that were created and have not got the lock yet
    mti_atomic_u32_t work_word;
    bool stop;
};

// ---- Lists ---------------------------------------------------------------------------------------

static void list_push(queue_list_t *list, mti_engine_queue_t *queue, queue_state_t state)
{
    queue->state = state;
    queue->list = list;
    queue->list_next = NULL;
    queue->list_prev = list->last;
    if (list->last) {
        list->last->list_next = queue;
    } else {
        list->first = queue;
    }
    list->last = queue;
    if (state == QUEUE_READY) queue->engine->ready_count++;
    if (state == QUEUE_RUNNING) queue->engine->running_count++;
}

static void list_remove(mti_engine_queue_t *queue)
{
    queue_list_t *list = queue->list;
    if (!list) return;
    if (queue->state == QUEUE_READY) queue->engine->ready_count--;
    if (queue->state == QUEUE_RUNNING) queue->engine->running_count--;
    *(queue->list_prev ? &queue->list_prev->list_next : &list->first) = queue->list_next;
    *(queue->list_next ? &queue->list_next->list_prev : &list->last) = queue->list_prev;
    queue->list = NULL;
    queue->state = QUEUE_IDLE;
}

static uint64_t engine_random(mti_engine_t *engine)
{
    // splitmix64 (Steele, Lea, Flood 2014)
    uint64_t z = engine->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static bool is_virtual(const mti_engine_t *engine)
{
    return engine->mode == MTI_ENGINE_VIRTUAL;
}

static bool domain_is_ok(const mti_engine_domain_t *domain)
{
    // relaxed: written under the lock, which the caller holds
    return mti_atomic_u32_load_relaxed(&domain->state) == MTI_ENGINE_OK;
}

// ---- Entries -------------------------------------------------------------------------------------

static entry_t *entry_create(mti_engine_t *engine, size_t payload_bytes)
{
    entry_t *entry = NULL;
    size_t room = payload_bytes;
    if (payload_bytes <= SPARE_PAYLOAD_BYTES) {
        room = SPARE_PAYLOAD_BYTES;
        mti_mutex_lock(&engine->lock);
        entry = engine->spare;
        if (entry) {
            engine->spare = entry->next;
            engine->spare_count--;
        }
        mti_mutex_unlock(&engine->lock);
    }
    size_t bytes;
    if (!entry) {
        if (!mti_size_add(sizeof *entry, room, &bytes)) return NULL;
        entry = mti_alloc(&engine->allocator, bytes, 16);
        if (!entry) return NULL;
    }
    memset(entry, 0, sizeof *entry);
    entry->payload_bytes = room;
    return entry;
}

static void entry_free(mti_engine_t *engine, entry_t *entry)
{
    mti_free(&engine->allocator, entry, sizeof *entry + entry->payload_bytes);
}

// The caller holds the lock.
static void entry_recycle_locked(mti_engine_t *engine, entry_t *entry)
{
    if (entry->payload_bytes == SPARE_PAYLOAD_BYTES && engine->spare_count < SPARE_MAX) {
        entry->next = engine->spare;
        engine->spare = entry;
        engine->spare_count++;
    } else {
        entry->discard = NULL;
        entry->next = engine->dropped;
        engine->dropped = entry;
    }
}

// An entry that never runs: its discard is called when the lock is free.
static void entry_drop_locked(mti_engine_t *engine, entry_t *entry)
{
    engine->queued--;
    if (entry->discard) {
        entry->next = engine->dropped;
        engine->dropped = entry;
    } else {
        entry_recycle_locked(engine, entry);
    }
}

// ---- The lock, and what is done right after it ---------------------------------------------------

static void *engine_thread_main(void *arg);

static void engine_event_locked(mti_engine_t *engine)
{
    // release: pairs with the acquire of whoever reads the count, then looks around
    uint64_t events = mti_atomic_u64_load_relaxed(&engine->events) + 1;
    mti_atomic_u64_store_release(&engine->events, events);
    mti_atomic_u32_store_release(&engine->event_word, (uint32_t)events);
}

static bool engine_spawn(mti_engine_t *engine)
{
    engine_thread_t *thread = mti_alloc(&engine->allocator, sizeof *thread, 16);
    if (!thread) return false;
    if (!mti_thread_create(&thread->thread, engine_thread_main, engine, "manta/sim")) {
        mti_free(&engine->allocator, thread, sizeof *thread);
        return false;
    }
    mti_mutex_lock(&engine->lock);
    thread->next = engine->threads;
    engine->threads = thread;
    mti_mutex_unlock(&engine->lock);
    return true;
}

// Frees the lock; then wakes or starts a thread if there is more to start than threads that come
// for it, wakes who sleeps for an event since |events_before|, and calls discards.
static void engine_unlock(mti_engine_t *engine, uint64_t events_before)
{
    entry_t *dropped = engine->dropped;
    engine->dropped = NULL;
    bool wake = false, spawn = false;
    if (!is_virtual(engine) && engine->ready_count > engine->waking + engine->starting) {
        if (engine->idle > 0) {
            wake = true;
            engine->idle--;
            engine->waking++;
            uint32_t work = mti_atomic_u32_load_relaxed(&engine->work_word);
            mti_atomic_u32_store_release(&engine->work_word, work + 1);
        } else if (engine->thread_count < engine->queue_count && !engine->stop) {
            spawn = true;
            engine->thread_count++;
            engine->starting++;
        }
    }
    bool tell =
        engine->sleepers > 0 && mti_atomic_u64_load_relaxed(&engine->events) != events_before;
    mti_mutex_unlock(&engine->lock);

    if (wake) mti_notify_wake(&engine->work_word, 1);
    if (tell) mti_notify_wake(&engine->event_word, INT_MAX);
    if (spawn && !engine_spawn(engine)) {
        // Those that are there do the work, one after the other.
        mti_mutex_lock(&engine->lock);
        engine->thread_count--;
        engine->starting--;
        mti_mutex_unlock(&engine->lock);
    }
    while (dropped) {
        entry_t *next = dropped->next;
        if (dropped->discard) dropped->discard(dropped->payload);
        entry_free(engine, dropped);
        dropped = next;
    }
}

static uint64_t engine_lock(mti_engine_t *engine)
{
    mti_mutex_lock(&engine->lock);
    return mti_atomic_u64_load_relaxed(&engine->events);
}

// ---- States of a queue ---------------------------------------------------------------------------

static bool wait_is_over(const entry_t *entry)
{
    const mti_engine_queue_t *other = entry->other;
    return !other || !domain_is_ok(other->domain) ||
           mti_atomic_u64_load_relaxed(&other->done) >= entry->other_seq;
}

static entry_t *queue_pop(mti_engine_queue_t *queue)
{
    entry_t *entry = queue->head;
    queue->head = entry->next;
    if (!queue->head) queue->tail = NULL;
    if (queue->last_op == entry) queue->last_op = NULL;
    return entry;
}

// Takes an IDLE queue to where it belongs.
static void queue_consider(mti_engine_queue_t *queue)
{
    mti_engine_t *engine = queue->engine;
    MTI_ASSERT_INTERNAL(queue->state == QUEUE_IDLE);
    while (queue->head && !queue->held && domain_is_ok(queue->domain)) {
        entry_t *entry = queue->head;
        if (entry->seq == 0) {
            if (!wait_is_over(entry)) {
                list_push(&entry->other->waiters, queue, QUEUE_WAITING);
                return;
            }
            (void)queue_pop(queue);
            engine->queued--;
            entry_recycle_locked(engine, entry);
            continue;
        }
        if (entry->condition && !entry->condition(entry->payload)) {
            list_push(&engine->conditions, queue, QUEUE_CONDITION);
        } else if (entry->resource && entry->resource->used == entry->resource->slots) {
            list_push(&entry->resource->waiters, queue, QUEUE_RESOURCE);
        } else {
            list_push(&engine->ready, queue, QUEUE_READY);
        }
        return;
    }
}

static void queue_reconsider(mti_engine_queue_t *queue)
{
    if (queue->state == QUEUE_RUNNING) return;
    list_remove(queue);
    queue_consider(queue);
}

// Considers all of |list| again. Those that must stay go to the end of the list, so it is emptied first.
static void list_reconsider(queue_list_t *list)
{
    mti_engine_queue_t *last = list->last;
    while (list->first) {
        mti_engine_queue_t *queue = list->first;
        queue_reconsider(queue);
        if (queue == last) return;
    }
}

// The end of a RUNNING operation: the number counts, unless it was dropped meanwhile.
static void queue_end(mti_engine_queue_t *queue)
{
    mti_engine_t *engine = queue->engine;
    mti_engine_domain_t *domain = queue->domain;
    entry_t *entry = queue_pop(queue);
    mti_engine_resource_t *resource = entry->resource;
    list_remove(queue);
    domain->running--;
    engine->queued--;
    if (resource) resource->used--;

    if (domain_is_ok(domain) && !queue->dropped) {
        uint64_t seq = entry->seq;
        bool record = entry->record;
        if (entry->code != MANTA_OK) {
            entry->owner = queue;
            entry->next = NULL;
            *(domain->failures ? &domain->failures_last->next : &domain->failures) = entry;
            domain->failures_last = entry;
            entry = NULL;
            (void)mti_atomic_u32_fetch_add_relaxed(&domain->failure_count, 1);
        }
        // release: publishes what the effect did, and the failure; pairs with the acquire in
        // mti_engine_done() and mti_engine_visible()
        mti_atomic_u64_store_release(&queue->done, seq);
        if (record) mti_atomic_u64_store_release(&queue->visible, seq);
    }
    if (entry) entry_recycle_locked(engine, entry);
    if (!domain_is_ok(domain) && domain->running == 0)
        mti_atomic_u32_store_release(&domain->state, MTI_ENGINE_LOST);
    engine_event_locked(engine);
    list_reconsider(&queue->waiters);
    if (resource) list_reconsider(&resource->waiters);
    queue_consider(queue);
}

// Drops what |queue| holds; an effect that runs goes on, and its end finds |dropped|.
static void queue_drop(mti_engine_queue_t *queue)
{
    mti_engine_t *engine = queue->engine;
    entry_t *running = NULL;
    if (queue->state == QUEUE_RUNNING) {
        if (queue->effect_running || !is_virtual(engine)) {
            running = queue_pop(queue);
            queue->dropped = true;
        } else {
            entry_t *entry = queue->head;
            list_remove(queue);
            queue->domain->running--;
            if (entry->resource) {
                entry->resource->used--;
                list_reconsider(&entry->resource->waiters);
            }
            if (!queue->effect_pending) entry->discard = NULL; // called after the effect
        }
    } else {
        list_remove(queue);
    }
    while (queue->head)
        entry_drop_locked(engine, queue_pop(queue));
    if (running) {
        running->next = NULL;
        queue->head = queue->tail = running;
    }
}

static void domain_lose_locked(mti_engine_domain_t *domain)
{
    mti_engine_t *engine = domain->engine;
    if (!domain_is_ok(domain)) return;
    // release: whoever sees LOST sees all that effects did
    mti_atomic_u32_store_release(&domain->state, MTI_ENGINE_LOSING);
    mti_atomic_u32_store_release(&domain->lost_word, 1);
    for (mti_engine_queue_t *queue = engine->queues; queue; queue = queue->next) {
        if (queue->domain == domain) queue_drop(queue);
    }
    if (domain->running == 0) mti_atomic_u32_store_release(&domain->state, MTI_ENGINE_LOST);
    // Waits for its queues are over.
    for (mti_engine_queue_t *queue = engine->queues; queue; queue = queue->next) {
        if (queue->domain == domain) list_reconsider(&queue->waiters);
    }
    mti_notify_wake(&domain->lost_word, INT_MAX);
    engine_event_locked(engine);
}

static bool fault_is_due(uint32_t *nth)
{
    return *nth > 0 && --*nth == 0;
}

// Takes a READY queue to RUNNING. False if its resource is taken, or a fault lost the domain.
static bool queue_start(mti_engine_queue_t *queue)
{
    mti_engine_t *engine = queue->engine;
    mti_engine_domain_t *domain = queue->domain;
    entry_t *entry = queue->head;
    if (entry->resource && entry->resource->used == entry->resource->slots) {
        queue_reconsider(queue);
        return false;
    }
    if (fault_is_due(&domain->lose_nth)) {
        domain_lose_locked(domain);
        return false;
    }
    if (fault_is_due(&domain->fail_nth)) {
        entry->code = domain->fail_code;
        entry->text = "an injected fault";
        domain->fail_nth = domain->fails_on;
    }
    list_remove(queue);
    if (entry->resource) entry->resource->used++;
    domain->running++;

    int64_t duration_ns = entry->duration_ns > 0 ? entry->duration_ns : 0;
    if (domain->slow > 1 && duration_ns < INT64_MAX / 2 / domain->slow) duration_ns *= domain->slow;
    if (engine->jitter_percent > 0 && duration_ns < INT64_MAX / 512) {
        uint64_t span = 2 * (uint64_t)engine->jitter_percent + 1;
        int64_t percent = (int64_t)(engine_random(engine) % span) - (int64_t)engine->jitter_percent;
        duration_ns += duration_ns * percent / 100;
    }
    int64_t now_ns = duration_ns > 0 || is_virtual(engine) ? mti_engine_now_ns(engine) : 0;
    queue->end_ns = duration_ns >= INT64_MAX - now_ns ? INT64_MAX - 1 : now_ns + duration_ns;
    queue->dropped = false;
    queue->effect_pending = true;
    if (is_virtual(engine)) queue->tie = engine_random(engine);
    list_push(&engine->running, queue, QUEUE_RUNNING);
    return true;
}

// Runs the effect and the discard of a RUNNING queue's operation, without the lock meanwhile.
static void queue_perform(mti_engine_queue_t *queue, uint64_t *events)
{
    mti_engine_t *engine = queue->engine;
    entry_t *entry = queue->head;
    queue->effect_pending = false;
    if (entry->effect || entry->discard) {
        queue->effect_running = true;
        engine_unlock(engine, *events);
        if (entry->effect && entry->code == MANTA_OK)
            entry->code = entry->effect(entry->payload, &entry->text);
        if (entry->discard) entry->discard(entry->payload);
        *events = engine_lock(engine);
        entry->discard = NULL;
        queue->effect_running = false;
    }
    if (entry->code != MANTA_OK && !entry->text) entry->text = entry->name ? entry->name : "";
}

// ---- Threads -------------------------------------------------------------------------------------

static void *engine_thread_main(void *arg)
{
    mti_engine_t *engine = (mti_engine_t *)arg;
    uint64_t events = engine_lock(engine);
    engine->starting--;
    while (!engine->stop) {
        mti_engine_queue_t *queue = engine->ready.first;
        if (!queue) {
            uint32_t work = mti_atomic_u32_load_relaxed(&engine->work_word);
            engine->idle++;
            engine_unlock(engine, events);
            (void)mti_notify_wait(&engine->work_word, work, INT64_MAX);
            events = engine_lock(engine);
            engine->waking > 0 ? engine->waking-- : engine->idle--;
            continue;
        }
        if (!queue_start(queue)) continue;
        queue_perform(queue, &events);
        if (queue->end_ns > 0 && !queue->dropped) {
            mti_engine_domain_t *domain = queue->domain;
            int64_t end_ns = queue->end_ns;
            engine_unlock(engine, events);
            (void)mti_notify_wait(&domain->lost_word, 0, end_ns);
            events = engine_lock(engine);
        }
        queue_end(queue);
    }
    engine_unlock(engine, events);
    return NULL;
}

// Sleeps until the next event, without the lock meanwhile. False if the deadline passed.
static bool engine_sleep(mti_engine_t *engine, uint64_t *events, int64_t deadline_ns)
{
    uint32_t word = mti_atomic_u32_load_relaxed(&engine->event_word);
    engine->sleepers++;
    engine_unlock(engine, *events);
    bool changed = mti_notify_wait(&engine->event_word, word, deadline_ns);
    *events = engine_lock(engine);
    engine->sleepers--;
    return changed;
}

// ---- The virtual clock ---------------------------------------------------------------------------

static mti_engine_queue_t *engine_pick_ready(mti_engine_t *engine)
{
    mti_engine_queue_t *queue = engine->ready.first;
    if (engine->ready_count > 1) {
        for (uint64_t n = engine_random(engine) % engine->ready_count; n > 0; n--)
            queue = queue->list_next;
    }
    return queue;
}

// The operation that ends next, NULL if none runs. One whose effect another thread is inside is not
// ours to end.
static mti_engine_queue_t *engine_next_end(mti_engine_t *engine)
{
    mti_engine_queue_t *best = NULL;
    for (mti_engine_queue_t *queue = engine->running.first; queue; queue = queue->list_next) {
        if (queue->effect_running) continue;
        if (!best || queue->end_ns < best->end_ns ||
            (queue->end_ns == best->end_ns && queue->tie < best->tie))
            best = queue;
    }
    return best;
}

// The next instant at which something happens, INT64_MAX if nothing will.
static int64_t engine_next_ns(mti_engine_t *engine)
{
    mti_engine_queue_t *queue = engine_next_end(engine);
    int64_t next_ns = queue ? queue->end_ns : INT64_MAX;
    for (mti_engine_domain_t *domain = engine->domains; domain; domain = domain->next) {
        if (domain_is_ok(domain) && domain->lose_at_ns > 0 && domain->lose_at_ns < next_ns)
            next_ns = domain->lose_at_ns;
    }
    return next_ns;
}

static uint64_t engine_run_locked(mti_engine_t *engine, uint64_t *events)
{
    uint64_t ended = 0;
    int64_t now_ns = mti_engine_now_ns(engine);
    for (mti_engine_domain_t *domain = engine->domains; domain; domain = domain->next) {
        if (domain->lose_at_ns > 0 && domain->lose_at_ns <= now_ns) domain_lose_locked(domain);
    }
    for (;;) {
        while (engine->ready.first) {
            mti_engine_queue_t *queue = engine_pick_ready(engine);
            if (!queue_start(queue)) continue;
            if (queue->end_ns > now_ns && (engine_random(engine) & 1) != 0) {
                queue_perform(queue, events);
                if (queue->dropped) queue_end(queue);
            }
        }
        mti_engine_queue_t *queue = engine_next_end(engine);
        if (!queue || queue->end_ns > now_ns) return ended;
        if (queue->effect_pending) queue_perform(queue, events);
        queue_end(queue);
        ended++;
    }
}

static manta_status_t engine_await_virtual(mti_engine_t *engine, uint64_t seen, int64_t deadline_ns)
{
    uint64_t events = engine_lock(engine);
    manta_status_t status = MANTA_OK;
    for (;;) {
        (void)engine_run_locked(engine, &events);
        if (mti_atomic_u64_load_relaxed(&engine->events) != seen) break;
        int64_t next_ns = engine_next_ns(engine);
        if (next_ns == INT64_MAX && engine->running_count > 0) {
            (void)engine_sleep(engine, &events, INT64_MAX); // another thread is inside an effect
            continue;
        }
        if (next_ns == INT64_MAX && deadline_ns == INT64_MAX) {
            status = MANTA_ERR_DEADLOCK;
            break;
        }
        int64_t to_ns = next_ns < deadline_ns ? next_ns : deadline_ns;
        // relaxed: written under the lock; readers only want a time
        if (to_ns > mti_atomic_i64_load_relaxed(&engine->virtual_ns))
            mti_atomic_i64_store_relaxed(&engine->virtual_ns, to_ns);
        if (next_ns > deadline_ns) {
            status = MANTA_NOT_READY;
            break;
        }
    }
    engine_unlock(engine, events);
    return status;
}

// ---- Running -------------------------------------------------------------------------------------

int64_t mti_engine_now_ns(mti_engine_t *engine)
{
    // relaxed: a time orders nothing
    return is_virtual(engine) ? mti_atomic_i64_load_relaxed(&engine->virtual_ns) : mti_clock_ns();
}

uint64_t mti_engine_run(mti_engine_t *engine)
{
    if (!is_virtual(engine)) return 0;
    uint64_t events = engine_lock(engine);
    uint64_t ended = engine_run_locked(engine, &events);
    engine_unlock(engine, events);
    return ended;
}

uint64_t mti_engine_events(const mti_engine_t *engine)
{
    // acquire: pairs with engine_event_locked
    return mti_atomic_u64_load_acquire(&engine->events);
}

static bool engine_is_stuck_locked(const mti_engine_t *engine)
{
    return engine->queued > 0 && engine->ready_count == 0 && engine->running_count == 0;
}

bool mti_engine_is_stuck(mti_engine_t *engine)
{
    uint64_t events = engine_lock(engine);
    bool stuck = engine_is_stuck_locked(engine);
    engine_unlock(engine, events);
    return stuck;
}

manta_status_t mti_engine_await_event(mti_engine_t *engine, uint64_t seen, int64_t deadline_ns)
{
    if (is_virtual(engine)) return engine_await_virtual(engine, seen, deadline_ns);
    manta_status_t status = MANTA_OK;
    uint64_t events = engine_lock(engine);
    while (mti_atomic_u64_load_relaxed(&engine->events) == seen) {
        if (engine->report_stuck && engine_is_stuck_locked(engine)) {
            status = MANTA_ERR_DEADLOCK;
            break;
        }
        if (!engine_sleep(engine, &events, deadline_ns) &&
            mti_atomic_u64_load_relaxed(&engine->events) == seen) {
            status = MANTA_NOT_READY;
            break;
        }
    }
    engine_unlock(engine, events);
    return status;
}

manta_status_t mti_engine_await(mti_engine_queue_t *queue, uint64_t seq, int64_t deadline_ns)
{
    for (;;) {
        uint64_t seen = mti_engine_events(queue->engine);
        if (mti_engine_done(queue) >= seq) return MANTA_OK;
        if (mti_engine_state(queue->domain) == MTI_ENGINE_LOST)
            return mti_fail(MANTA_ERR_DEVICE_LOST, "%s is lost", queue->domain->name);
        manta_status_t status = mti_engine_await_event(queue->engine, seen, deadline_ns);
        if (status != MANTA_OK) return status;
    }
}

// ---- Work ----------------------------------------------------------------------------------------

// Queues |entry|, of which the engine becomes the owner. False, and the caller still owns it, if the
// domain is lost.
static bool queue_append(mti_engine_queue_t *queue, entry_t *entry, uint64_t *out_seq)
{
    mti_engine_t *engine = queue->engine;
    uint64_t events = engine_lock(engine);
    if (!domain_is_ok(queue->domain)) {
        entry_recycle_locked(engine, entry);
        engine_unlock(engine, events);
        return false;
    }
    if (out_seq) {
        entry->seq = ++queue->submitted;
        queue->last_op = entry;
        *out_seq = entry->seq;
    }
    *(queue->tail ? &queue->tail->next : &queue->head) = entry;
    queue->tail = entry;
    engine->queued++;
    if (queue->state == QUEUE_IDLE) queue_consider(queue);
    engine_unlock(engine, events);
    return true;
}

manta_status_t mti_engine_submit(mti_engine_queue_t *queue, const mti_engine_op_t *op,
                                 uint64_t *out_seq)
{
    entry_t *entry = entry_create(queue->engine, op->payload_bytes);
    if (!entry)
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: no memory for an operation", queue->name);
    entry->name = op->name;
    entry->effect = op->effect;
    entry->discard = op->discard;
    entry->condition = op->condition;
    entry->resource = op->resource;
    entry->duration_ns = op->duration_ns;
    entry->record = op->record;
    if (op->payload_bytes > 0) memcpy(entry->payload, op->payload, op->payload_bytes);
    uint64_t seq;
    if (!queue_append(queue, entry, &seq))
        return mti_fail(MANTA_ERR_DEVICE_LOST, "%s is lost", queue->domain->name);
    if (out_seq) *out_seq = seq;
    return MANTA_OK;
}

manta_status_t mti_engine_wait(mti_engine_queue_t *queue, mti_engine_queue_t *other, uint64_t seq)
{
    if (mti_engine_done(other) >= seq || other == queue) return MANTA_OK;
    entry_t *entry = entry_create(queue->engine, 0);
    if (!entry) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: no memory for a wait", queue->name);
    entry->other = other;
    entry->other_seq = seq;
    if (!queue_append(queue, entry, NULL))
        return mti_fail(MANTA_ERR_DEVICE_LOST, "%s is lost", queue->domain->name);
    return MANTA_OK;
}

void mti_engine_poke(mti_engine_t *engine)
{
    uint64_t events = engine_lock(engine);
    list_reconsider(&engine->conditions);
    engine_event_locked(engine);
    engine_unlock(engine, events);
}

uint64_t mti_engine_submitted(const mti_engine_queue_t *queue)
{
    uint64_t events = engine_lock(queue->engine);
    uint64_t submitted = queue->submitted;
    engine_unlock(queue->engine, events);
    return submitted;
}

uint64_t mti_engine_done(const mti_engine_queue_t *queue)
{
    return mti_atomic_u64_load_acquire(&queue->done); // acquire: pairs with queue_end
}

uint64_t mti_engine_visible(const mti_engine_queue_t *queue)
{
    return mti_atomic_u64_load_acquire(&queue->visible); // acquire: pairs with queue_end
}

void mti_engine_record(mti_engine_queue_t *queue)
{
    mti_engine_t *engine = queue->engine;
    uint64_t events = engine_lock(engine);
    if (queue->last_op) {
        queue->last_op->record = true;
    } else if (domain_is_ok(queue->domain) &&
               mti_atomic_u64_load_relaxed(&queue->visible) != queue->submitted) {
        // release: as in queue_end; what the effect did came here with the lock
        mti_atomic_u64_store_release(&queue->visible, queue->submitted);
        engine_event_locked(engine);
    }
    engine_unlock(engine, events);
}

// ---- Failures, loss, faults ----------------------------------------------------------------------

bool mti_engine_has_failure(const mti_engine_domain_t *domain)
{
    // relaxed: a caller that saw |done| pass a failure (acquire) sees the count that was stored before
    return mti_atomic_u32_load_relaxed(&domain->failure_count) > 0;
}

bool mti_engine_take_failure(mti_engine_domain_t *domain, mti_engine_failure_t *out_failure)
{
    if (!mti_engine_has_failure(domain)) return false;
    mti_engine_t *engine = domain->engine;
    uint64_t events = engine_lock(engine);
    entry_t *entry = domain->failures;
    if (entry) {
        (void)mti_atomic_u32_fetch_add_relaxed(&domain->failure_count, UINT32_MAX);
        domain->failures = entry->next;
        *out_failure = (mti_engine_failure_t){entry->owner, entry->seq, entry->code, entry->text};
        entry_recycle_locked(engine, entry);
    }
    engine_unlock(engine, events);
    return entry != NULL;
}

void mti_engine_lose(mti_engine_domain_t *domain)
{
    uint64_t events = engine_lock(domain->engine);
    domain_lose_locked(domain);
    engine_unlock(domain->engine, events);
}

mti_engine_state_t mti_engine_state(const mti_engine_domain_t *domain)
{
    // acquire: pairs with the releases in domain_lose_locked and queue_end
    return (mti_engine_state_t)mti_atomic_u32_load_acquire(&domain->state);
}

void mti_engine_fault_fail_op(mti_engine_domain_t *domain, uint32_t nth, manta_status_t code)
{
    uint64_t events = engine_lock(domain->engine);
    domain->fail_nth = nth;
    domain->fail_code = code;
    domain->fails_on = false;
    engine_unlock(domain->engine, events);
}

void mti_engine_fault_fail_ops(mti_engine_domain_t *domain, uint32_t nth, manta_status_t code)
{
    uint64_t events = engine_lock(domain->engine);
    domain->fail_nth = nth;
    domain->fail_code = code;
    domain->fails_on = true;
    engine_unlock(domain->engine, events);
}

void mti_engine_fault_lose_at_op(mti_engine_domain_t *domain, uint32_t nth)
{
    uint64_t events = engine_lock(domain->engine);
    domain->lose_nth = nth;
    engine_unlock(domain->engine, events);
}

void mti_engine_fault_lose_at_ns(mti_engine_domain_t *domain, int64_t at_ns)
{
    uint64_t events = engine_lock(domain->engine);
    domain->lose_at_ns = at_ns;
    engine_unlock(domain->engine, events);
}

void mti_engine_fault_oom(mti_engine_domain_t *domain, uint32_t nth)
{
    uint64_t events = engine_lock(domain->engine);
    domain->oom_nth = nth;
    engine_unlock(domain->engine, events);
}

void mti_engine_fault_slow(mti_engine_domain_t *domain, uint32_t factor)
{
    uint64_t events = engine_lock(domain->engine);
    domain->slow = factor;
    engine_unlock(domain->engine, events);
}

void mti_engine_queue_hold(mti_engine_queue_t *queue, bool held)
{
    uint64_t events = engine_lock(queue->engine);
    queue->held = held;
    queue_reconsider(queue);
    engine_unlock(queue->engine, events);
}

// ---- Parts ---------------------------------------------------------------------------------------

static void name_copy(char *out, const char *name)
{
    snprintf(out, NAME_BYTES, "%s", name ? name : "");
}

mti_engine_mode_t mti_engine_mode(const mti_engine_t *engine)
{
    return engine->mode;
}

manta_status_t mti_engine_create(const mti_engine_options_t *options, mti_engine_t **out_engine)
{
    static const mti_engine_options_t defaults;
    if (!options) options = &defaults;
    mti_engine_t *engine =
        mti_alloc_zeroed(&options->allocator, sizeof *engine, _Alignof(mti_engine_t));
    if (!engine) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for virtual devices");
    engine->allocator = options->allocator;
    engine->mode = options->mode;
    engine->random = options->seed;
    engine->jitter_percent = options->jitter_percent < 100 ? options->jitter_percent : 100;
    engine->report_stuck = options->report_stuck;
    mti_mutex_init(&engine->lock, MTI_RANK_ENGINE);
    *out_engine = engine;
    return MANTA_OK;
}

mti_engine_domain_t *mti_engine_domain_create(mti_engine_t *engine, const char *name)
{
    mti_engine_domain_t *domain = mti_alloc_zeroed(&engine->allocator, sizeof *domain, 16);
    if (!domain) return NULL;
    domain->engine = engine;
    name_copy(domain->name, name);
    uint64_t events = engine_lock(engine);
    domain->next = engine->domains;
    engine->domains = domain;
    engine_unlock(engine, events);
    return domain;
}

mti_engine_resource_t *mti_engine_resource_create(mti_engine_t *engine, const char *name,
                                                  uint32_t slots)
{
    mti_engine_resource_t *resource = mti_alloc_zeroed(&engine->allocator, sizeof *resource, 16);
    if (!resource) return NULL;
    name_copy(resource->name, name);
    resource->slots = slots > 0 ? slots : 1;
    uint64_t events = engine_lock(engine);
    resource->next = engine->resources;
    engine->resources = resource;
    engine_unlock(engine, events);
    return resource;
}

mti_engine_queue_t *mti_engine_queue_create(mti_engine_domain_t *domain, const char *name)
{
    mti_engine_t *engine = domain->engine;
    mti_engine_queue_t *queue =
        mti_alloc_zeroed(&engine->allocator, sizeof *queue, _Alignof(mti_engine_queue_t));
    if (!queue) return NULL;
    queue->engine = engine;
    queue->domain = domain;
    name_copy(queue->name, name);
    // The first thread comes with the first queue, where there is still somebody to tell.
    uint64_t events = engine_lock(engine);
    bool spawn = !is_virtual(engine) && engine->thread_count == 0;
    if (spawn) {
        engine->thread_count++;
        engine->starting++;
    }
    engine_unlock(engine, events);
    bool spawned = !spawn || engine_spawn(engine);
    events = engine_lock(engine);
    if (!spawned) {
        engine->thread_count--;
        engine->starting--;
    } else {
        queue->next = engine->queues;
        engine->queues = queue;
        engine->queue_count++;
    }
    engine_unlock(engine, events);
    if (spawned) return queue;
    mti_free(&engine->allocator, queue, sizeof *queue);
    return NULL;
}

// Takes |queue| out of all that knows it. The lock is held, nothing of it runs.
static void queue_unlink(mti_engine_queue_t *queue)
{
    mti_engine_t *engine = queue->engine;
    mti_engine_queue_t **at = &engine->queues;
    while (*at != queue)
        at = &(*at)->next;
    *at = queue->next;
    engine->queue_count--;
    for (mti_engine_queue_t *q = engine->queues; q; q = q->next) {
        for (entry_t *entry = q->head; entry; entry = entry->next) {
            if (entry->other == queue) entry->other = NULL;
        }
    }
    list_reconsider(&queue->waiters);

    entry_t *failures = queue->domain->failures;
    queue->domain->failures = NULL;
    while (failures) {
        entry_t *entry = failures;
        failures = entry->next;
        entry->next = NULL;
        if (entry->owner == queue) {
            (void)mti_atomic_u32_fetch_add_relaxed(&queue->domain->failure_count, UINT32_MAX);
            entry_recycle_locked(engine, entry);
            continue;
        }
        *(queue->domain->failures ? &queue->domain->failures_last->next
                                  : &queue->domain->failures) = entry;
        queue->domain->failures_last = entry;
    }
}

// Waits, with the lock, until |queue| does not run. Its end is an event.
static void queue_quiesce(mti_engine_queue_t *queue, uint64_t *events)
{
    while (queue->state == QUEUE_RUNNING)
        (void)engine_sleep(queue->engine, events, INT64_MAX);
}

void mti_engine_queue_destroy(mti_engine_queue_t *queue)
{
    if (!queue) return;
    mti_engine_t *engine = queue->engine;
    uint64_t events = engine_lock(engine);
    queue->held = true;
    queue_drop(queue);
    queue_quiesce(queue, &events);
    queue_unlink(queue);
    engine_unlock(engine, events);
    mti_free(&engine->allocator, queue, sizeof *queue);
}

void mti_engine_destroy(mti_engine_t *engine)
{
    if (!engine) return;
    for (mti_engine_domain_t *domain = engine->domains; domain; domain = domain->next)
        mti_engine_lose(domain);
    uint64_t events = engine_lock(engine);
    for (mti_engine_queue_t *queue = engine->queues; queue; queue = queue->next)
        queue_quiesce(queue, &events);
    engine->stop = true;
    uint32_t work = mti_atomic_u32_load_relaxed(&engine->work_word);
    mti_atomic_u32_store_release(&engine->work_word, work + 1);
    engine_unlock(engine, events);
    mti_notify_wake(&engine->work_word, INT_MAX);
    for (;;) {
        // One that ends may just have started another: the list is complete when the last was joined.
        events = engine_lock(engine);
        engine_thread_t *thread = engine->threads;
        if (thread) engine->threads = thread->next;
        engine_unlock(engine, events);
        if (!thread) break;
        pthread_join(thread->thread, NULL);
        mti_free(&engine->allocator, thread, sizeof *thread);
    }
    while (engine->queues)
        mti_engine_queue_destroy(engine->queues);
    while (engine->spaces)
        mti_engine_space_destroy(engine->spaces);
    while (engine->domains) {
        mti_engine_domain_t *domain = engine->domains;
        engine->domains = domain->next;
        mti_free(&engine->allocator, domain, sizeof *domain);
    }
    while (engine->resources) {
        mti_engine_resource_t *resource = engine->resources;
        engine->resources = resource->next;
        mti_free(&engine->allocator, resource, sizeof *resource);
    }
    while (engine->spare) {
        entry_t *entry = engine->spare;
        engine->spare = entry->next;
        entry_free(engine, entry);
    }
    mti_mutex_deinit(&engine->lock);
    manta_allocator_t allocator = engine->allocator;
    mti_free(&allocator, engine, sizeof *engine);
}

// ---- Memory --------------------------------------------------------------------------------------

mti_engine_space_t *mti_engine_space_create(mti_engine_t *engine, mti_engine_domain_t *domain,
                                            const char *name, uint64_t limit_bytes)
{
    mti_engine_space_t *space = mti_alloc_zeroed(&engine->allocator, sizeof *space, 16);
    if (!space) return NULL;
    space->engine = engine;
    space->domain = domain;
    space->limit_bytes = limit_bytes;
    name_copy(space->name, name);
    mti_mutex_init(&space->lock, MTI_RANK_ENGINE_SPACE);
    uint64_t events = engine_lock(engine);
    space->next = engine->spaces;
    engine->spaces = space;
    engine_unlock(engine, events);
    return space;
}

void mti_engine_space_destroy(mti_engine_space_t *space)
{
    if (!space) return;
    mti_engine_t *engine = space->engine;
    uint64_t events = engine_lock(engine);
    mti_engine_space_t **at = &engine->spaces;
    while (*at != space)
        at = &(*at)->next;
    *at = space->next;
    engine_unlock(engine, events);
    for (size_t i = 0; i < space->range_count; i++)
        mti_free(&engine->allocator, space->ranges[i].base, space->ranges[i].size_bytes);
    mti_free(&engine->allocator, space->ranges, space->range_room * sizeof *space->ranges);
    mti_mutex_deinit(&space->lock);
    mti_free(&engine->allocator, space, sizeof *space);
}

// The first range that ends behind |ptr|; range_count if there is none.
static size_t space_search(const mti_engine_space_t *space, const void *ptr)
{
    size_t low = 0, high = space->range_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const mti_engine_range_t *range = &space->ranges[middle];
        if ((uintptr_t)range->base + range->size_bytes > (uintptr_t)ptr) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

// Makes room for one more range; the lock is held.
static bool space_grow(mti_engine_space_t *space)
{
    if (space->range_count < space->range_room) return true;
    size_t room = space->range_room > 0 ? 2 * space->range_room : 16;
    const manta_allocator_t *allocator = &space->engine->allocator;
    mti_engine_range_t *ranges = mti_alloc(allocator, room * sizeof *ranges, 16);
    if (!ranges) return false;
    if (space->range_count > 0) memcpy(ranges, space->ranges, space->range_count * sizeof *ranges);
    mti_free(allocator, space->ranges, space->range_room * sizeof *ranges);
    space->ranges = ranges;
    space->range_room = room;
    return true;
}

// Counts an allocation against the domain's fault; true if it has to fail.
static bool space_fault(mti_engine_space_t *space, uint64_t *out_id)
{
    mti_engine_t *engine = space->engine;
    uint64_t events = engine_lock(engine);
    bool fails = space->domain && fault_is_due(&space->domain->oom_nth);
    *out_id = ++engine->range_id;
    engine_unlock(engine, events);
    return fails;
}

void *mti_engine_space_alloc(mti_engine_space_t *space, size_t size_bytes, size_t align)
{
    uint64_t id;
    if (size_bytes == 0 || space_fault(space, &id)) return NULL;
    void *base = NULL;
    mti_mutex_lock(&space->lock);
    if (size_bytes <= space->limit_bytes - space->used_bytes && space_grow(space)) {
        // Under the lock, so that what the limit allows is what there is; large blocks are untouched pages.
        base = mti_alloc(&space->engine->allocator, size_bytes, align);
    }
    if (base) {
        size_t at = space_search(space, base);
        memmove(&space->ranges[at + 1], &space->ranges[at],
                (space->range_count - at) * sizeof *space->ranges);
        space->ranges[at] = (mti_engine_range_t){base, size_bytes, id};
        space->range_count++;
        space->used_bytes += size_bytes;
        if (space->used_bytes > space->peak_bytes) space->peak_bytes = space->used_bytes;
    }
    mti_mutex_unlock(&space->lock);
    return base;
}

bool mti_engine_space_free(mti_engine_space_t *space, void *ptr)
{
    size_t size_bytes = 0;
    mti_mutex_lock(&space->lock);
    size_t at = space_search(space, ptr);
    if (at < space->range_count && space->ranges[at].base == ptr) {
        size_bytes = space->ranges[at].size_bytes;
        space->range_count--;
        memmove(&space->ranges[at], &space->ranges[at + 1],
                (space->range_count - at) * sizeof *space->ranges);
        space->used_bytes -= size_bytes;
    }
    mti_mutex_unlock(&space->lock);
    if (size_bytes == 0) return false;
    mti_free(&space->engine->allocator, ptr, size_bytes);
    return true;
}

bool mti_engine_space_find(mti_engine_space_t *space, const void *ptr,
                           mti_engine_range_t *out_range)
{
    mti_mutex_lock(&space->lock);
    size_t at = space_search(space, ptr);
    bool found = at < space->range_count && (uintptr_t)space->ranges[at].base <= (uintptr_t)ptr;
    if (found) *out_range = space->ranges[at];
    mti_mutex_unlock(&space->lock);
    return found;
}

mti_engine_usage_t mti_engine_space_usage(mti_engine_space_t *space)
{
    mti_mutex_lock(&space->lock);
    mti_engine_usage_t usage = {space->limit_bytes, space->used_bytes, space->peak_bytes,
                                space->range_count};
    mti_mutex_unlock(&space->lock);
    return usage;
}

// ---- Dump ----------------------------------------------------------------------------------------

// snprintf to the end of what is there already; |*length| grows by what was wanted.
__attribute__((format(printf, 4, 5))) static void append(char *buffer, size_t size, size_t *length,
                                                         const char *format, ...)
{
    va_list args;
    va_start(args, format);
    size_t at = *length < size ? *length : size;
    int wanted = vsnprintf(size > 0 ? buffer + at : NULL, size - at, format, args);
    va_end(args);
    if (wanted > 0) *length += (size_t)wanted;
}

int mti_engine_format(mti_engine_t *engine, char *buffer, size_t size)
{
    static const char *const states[] = {"idle",      "ready",    "waits for",
                                         "condition", "resource", "runs"};
    size_t length = 0;
    uint64_t events = engine_lock(engine);
    append(buffer, size, &length, "engine: %llu queued, %u ready, %u running\n",
           (unsigned long long)engine->queued, engine->ready_count, engine->running_count);
    for (mti_engine_queue_t *queue = engine->queues; queue; queue = queue->next) {
        const entry_t *entry = queue->head;
        append(buffer, size, &length, "  %s/%s: done %llu of %llu, %s%s%s", queue->domain->name,
               queue->name, (unsigned long long)mti_atomic_u64_load_relaxed(&queue->done),
               (unsigned long long)queue->submitted, states[queue->state],
               queue->held ? ", held" : "", domain_is_ok(queue->domain) ? "" : ", lost");
        if (queue->state == QUEUE_WAITING && entry->other) {
            append(buffer, size, &length, " %s/%s %llu", entry->other->domain->name,
                   entry->other->name, (unsigned long long)entry->other_seq);
        } else if (queue->state == QUEUE_RESOURCE) {
            append(buffer, size, &length, " %s", entry->resource->name);
        } else if (entry && entry->name) {
            append(buffer, size, &length, " %s", entry->name);
        }
        append(buffer, size, &length, "\n");
    }
    engine_unlock(engine, events);
    return (int)length;
}
