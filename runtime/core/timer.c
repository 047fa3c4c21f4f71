// Timers: one heap per runtime, and a thread that steps it while somebody may need it.
//
// A timer is a node in its owner's memory: arming and disarming need none. All of it is guarded by the
// rules lock, so an owner that has disarmed its timer under the lock may free it: a timer that is due says
// under the lock what there is to do, by ids, and that is done without the lock and without the node.
// mti_timer_step() is the whole of it. The thread calls it and sleeps until the next one; a serial
// runtime has no threads, its waits and drains call it.
#include "core/core.h"

#include "base/thread.h"

enum { LINGER_NS = 1000 * 1000 * 1000 };

// ---- a pairing heap ---------------------------------------------------------------------------
// |prev| is the left sibling, or the parent of a first child, or NULL at the root.

static mti_timer_t *heap_meld(mti_timer_t *a, mti_timer_t *b)
{
    if (!a || !b) return a ? a : b;
    if (b->when < a->when) {
        mti_timer_t *swap = a;
        a = b;
        b = swap;
    }
    b->prev = a;
    b->next = a->child;
    if (b->next) b->next->prev = b;
    a->child = b;
    return a;
}

// Melds a list of siblings into one heap: in pairs from left to right, then those from right to left.
static mti_timer_t *heap_meld_list(mti_timer_t *first)
{
    mti_timer_t *pairs = NULL;
    while (first) {
        mti_timer_t *a = first, *b = a->next;
        first = b ? b->next : NULL;
        a->prev = a->next = NULL;
        if (b) b->prev = b->next = NULL;
        mti_timer_t *pair = heap_meld(a, b);
        pair->next = pairs;
        pairs = pair;
    }
    mti_timer_t *root = NULL;
    while (pairs) {
        mti_timer_t *next = pairs->next;
        pairs->next = NULL;
        root = heap_meld(root, pairs);
        pairs = next;
    }
    return root;
}

void mti_timer_disarm_locked(mti_runtime_t *rt, mti_timer_t *timer)
{
    mti_rules_t *rules = &rt->rules;
    if (!timer->armed) return;
    timer->armed = false;
    mti_timer_t *rest = heap_meld_list(timer->child);
    if (timer == rules->root) {
        rules->root = rest;
    } else {
        if (timer->prev->child == timer) {
            timer->prev->child = timer->next;
        } else {
            timer->prev->next = timer->next;
        }
        if (timer->next) timer->next->prev = timer->prev;
        rules->root = heap_meld(rules->root, rest);
    }
    timer->child = timer->next = timer->prev = NULL;
}

bool mti_timer_arm_locked(mti_runtime_t *rt, mti_timer_t *timer, int64_t when)
{
    mti_rules_t *rules = &rt->rules;
    mti_timer_disarm_locked(rt, timer);
    if (when == INT64_MAX) return false;
    timer->when = when;
    timer->armed = true;
    timer->child = timer->next = timer->prev = NULL;
    rules->root = heap_meld(rules->root, timer);
    if (rt->is_serial) return true; // whoever waits there looks at the heap
    if (when >= rules->sleeps_until) return false;
    rules->sleeps_until = when; // one wake is enough
    return true;
}

void mti_timer_unuse_locked(mti_runtime_t *rt)
{
    mti_atomic_u32_owner_add(&rt->rules.users,
                             (uint32_t)-1); // the thread finds out when it next looks
}

void mti_timer_wake(mti_runtime_t *rt)
{
    // release: the heap was changed under the lock before
    (void)mti_atomic_u32_fetch_add_acq_rel(&rt->rules.word, 1);
    mti_notify_wake(&rt->rules.word, 1);
    if (rt->is_serial) mti_runtime_nudge(rt);
}

int64_t mti_timer_next(mti_runtime_t *rt)
{
    mti_mutex_lock(&rt->rules.lock);
    int64_t when = rt->rules.root ? rt->rules.root->when : INT64_MAX;
    mti_mutex_unlock(&rt->rules.lock);
    return when;
}

bool mti_timer_step(mti_ctx_t *ctx, int64_t now_ns)
{
    mti_rules_t *rules = &ctx->rt->rules;
    bool fired = false;
    for (;;) {
        mti_todo_t todo = {0};
        mti_mutex_lock(&rules->lock);
        mti_timer_t *timer = rules->root;
        if (!timer || timer->when > now_ns) break;
        mti_timer_disarm_locked(ctx->rt, timer);
        timer->due(ctx, timer, now_ns, &todo);
        mti_mutex_unlock(&rules->lock);
        if (todo.run) todo.run(ctx, &todo);
        fired = true;
    }
    mti_mutex_unlock(&rules->lock);
    return fired;
}

// ---- the thread ---------------------------------------------------------------------------------

static void *timer_main(void *arg)
{
    mti_ctx_t *ctx = arg;
    mti_rules_t *rules = &ctx->rt->rules;
    mti_ctx_enter(ctx);
    for (;;) {
        // acquire: read before looking, so that what comes in afterwards changes it
        uint32_t word = mti_atomic_u32_load_acquire(&rules->word);
        (void)mti_timer_step(ctx, mti_clock_ns());
        mti_table_flush(&ctx->table);
        mti_drain_check(ctx);
        mti_mutex_lock(&rules->lock);
        bool idle = mti_atomic_u32_load_relaxed(&rules->users) == 0;
        int64_t until = rules->root ? rules->root->when : mti_clock_ns() + LINGER_NS;
        if (rules->stopping || (idle && rules->lingered)) break;
        rules->lingered = idle;
        rules->sleeps_until = until;
        mti_mutex_unlock(&rules->lock);
        if (mti_notify_wait(&rules->word, word, until)) {
            mti_mutex_lock(&rules->lock);
            rules->lingered = false;
            mti_mutex_unlock(&rules->lock);
        }
    }
    rules->is_running = false; // whoever needs it next joins this thread and starts another
    rules->sleeps_until = INT64_MIN;
    mti_mutex_unlock(&rules->lock);
    mti_ctx_leave(ctx);
    return NULL;
}

// Joins a thread that has ended by itself, and starts another. Called with |start_lock|.
static manta_status_t timer_start(mti_runtime_t *rt)
{
    mti_rules_t *rules = &rt->rules;
    if (rules->must_join) pthread_join(rules->thread, NULL);
    rules->must_join = false;
    mti_ctx_t *ctx = mti_ctx_prepare(rt);
    if (!ctx) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for the timers' thread");
    mti_mutex_lock(&rules->lock);
    rules->is_running = true;
    rules->lingered = false;
    rules->sleeps_until = INT64_MIN; // it looks before it sleeps
    mti_mutex_unlock(&rules->lock);
    char name[32];
    snprintf(name, sizeof name, "%.9s-time", rt->name);
    rules->must_join = mti_thread_create(&rules->thread, timer_main, ctx, name);
    if (rules->must_join) return MANTA_OK;
    mti_ctx_retire(ctx);
    mti_mutex_lock(&rules->lock);
    rules->is_running = false;
    mti_mutex_unlock(&rules->lock);
    return mti_fail(MANTA_ERR_SYSTEM, "can't start the timers' thread of runtime '%s'", rt->name);
}

manta_status_t mti_timer_use(mti_runtime_t *rt)
{
    mti_rules_t *rules = &rt->rules;
    mti_mutex_lock(&rules->lock);
    mti_atomic_u32_owner_add(&rules->users, 1);
    rules->lingered = false;
    bool there = rules->is_running || rt->is_serial;
    mti_mutex_unlock(&rules->lock);
    if (MTI_LIKELY(there)) return MANTA_OK;
    manta_status_t status = MANTA_OK;
    mti_mutex_lock(&rules->start_lock);
    mti_mutex_lock(&rules->lock);
    there = rules->is_running; // another one was faster
    mti_mutex_unlock(&rules->lock);
    if (!there) status = timer_start(rt);
    mti_mutex_unlock(&rules->start_lock);
    if (status == MANTA_OK) return MANTA_OK;
    mti_mutex_lock(&rules->lock);
    mti_timer_unuse_locked(rt);
    mti_mutex_unlock(&rules->lock);
    return status;
}

void mti_timer_stop(mti_runtime_t *rt)
{
    mti_rules_t *rules = &rt->rules;
    mti_mutex_lock(&rules->start_lock);
    mti_mutex_lock(&rules->lock);
    rules->stopping = true;
    mti_mutex_unlock(&rules->lock);
    mti_timer_wake(rt);
    if (rules->must_join) pthread_join(rules->thread, NULL);
    rules->must_join = false;
    mti_mutex_unlock(&rules->start_lock);
}
