// The order of calls: rows of callers, and the way into the mailbox for what has to wait.
//
// Calls that can't be delivered at once stand in the *row* of their caller to this actor; a call goes
// straight to the mailbox when its arguments are ready and its caller has no such row with anything in it.
// Only a row's caller adds to it, so "empty" stays true until it does.
#include "core/actor_impl.h"

#include <string.h>

struct mti_row {
    mti_atomic_u32_t refs;     // the table, and each order
    mti_atomic_u32_t open;     // orders in it; changes under the actor's lock, its caller reads it
    mti_order_t *first, *last; // guarded by the actor's lock
};

typedef struct mti_rows_entry {
    uint64_t caller; // id of the task, 0: the thread or actor itself
    uint64_t actor;  // id of the one that is called, 0: free
    mti_row_t *row;
} mti_rows_entry_t;

static void row_release(mti_row_t *row)
{
    if (mti_atomic_u32_fetch_sub_acq_rel(&row->refs, 1) == 1) mti_free(NULL, row, sizeof *row);
}

void mti_rows_deinit(mti_rows_t *rows)
{
    for (uint32_t i = 0; i < rows->capacity; i++) {
        if (rows->entries[i].actor) row_release(rows->entries[i].row);
    }
    mti_free(NULL, rows->entries, rows->capacity * sizeof *rows->entries);
    *rows = (mti_rows_t){0};
}

static uint32_t rows_hash(uint64_t caller, uint64_t actor)
{
    uint64_t x = (caller ^ actor * 0x9e3779b97f4a7c15u) * 0xd6e8feb86659fd93u;
    return (uint32_t)(x >> 32);
}

static mti_rows_entry_t *rows_find(const mti_rows_t *rows, uint64_t caller, uint64_t actor)
{
    if (!rows->capacity) return NULL;
    for (uint32_t i = rows_hash(caller, actor);; i++) {
        mti_rows_entry_t *entry = &rows->entries[i & (rows->capacity - 1)];
        if (!entry->actor || (entry->caller == caller && entry->actor == actor)) return entry;
    }
}

// Room for one more; entries with nothing in them go.
static bool rows_reserve(mti_rows_t *rows)
{
    if (rows->capacity && rows->count < rows->capacity / 2) return true;
    mti_rows_t bigger = {.capacity = 8};
    uint32_t live = 0;
    for (uint32_t i = 0; i < rows->capacity; i++) {
        const mti_rows_entry_t *entry = &rows->entries[i];
        live += entry->actor && mti_atomic_u32_load_acquire(&entry->row->open);
    }
    while (bigger.capacity / 4 < live + 1)
        bigger.capacity *= 2;
    bigger.entries = mti_alloc_zeroed(NULL, bigger.capacity * sizeof *bigger.entries, 16);
    if (!bigger.entries) return false;
    for (uint32_t i = 0; i < rows->capacity; i++) {
        mti_rows_entry_t *entry = &rows->entries[i];
        if (!entry->actor) continue;
        if (mti_atomic_u32_load_acquire(&entry->row->open)) {
            *rows_find(&bigger, entry->caller, entry->actor) = *entry;
            bigger.count++;
        } else {
            row_release(entry->row);
        }
    }
    mti_free(NULL, rows->entries, rows->capacity * sizeof *rows->entries);
    *rows = bigger;
    return true;
}

// Where the current caller's rows are, and who it is there. NULL: there are none yet.
static mti_rows_t *caller_rows(const mti_thread_t *thread, uint64_t *out_caller)
{
    const manta_task_t *task = thread->task;
    *out_caller = 0;
    if (task && task->actor && !(mti_actor_flags(task->actor) & MTI_ACTOR_CONCURRENT)) {
        return &task->actor->more->rows;
    }
    if (task) *out_caller = mti_ref_of(&task->record->result).id;
    return thread->rows;
}

bool mti_actor_caller_is_held_up(const mti_thread_t *thread)
{
    uint64_t caller;
    const mti_rows_t *rows = caller_rows(thread, &caller);
    return rows && rows->count != 0;
}

void mti_actor_order_free(mti_ctx_t *ctx, mti_order_t *order)
{
    if (order->row) row_release(order->row);
    mti_heap_free(&ctx->heap, order, sizeof *order);
}

// The row of this thread's caller to |actor| with one count; NULL: no memory.
static mti_row_t *row_get(mti_thread_t *thread, uint64_t actor)
{
    uint64_t caller;
    mti_rows_t *rows = caller_rows(thread, &caller);
    if (!rows) rows = thread->rows = mti_alloc_zeroed(NULL, sizeof *rows, 16);
    if (!rows || !rows_reserve(rows)) return NULL;
    mti_rows_entry_t *entry = rows_find(rows, caller, actor);
    if (!entry->actor) {
        mti_row_t *row = mti_alloc_zeroed(NULL, sizeof *row, 16);
        if (!row) return NULL;
        mti_atomic_u32_store_relaxed(&row->refs, 1);
        *entry = (mti_rows_entry_t){caller, actor, row};
        rows->count++;
    }
    (void)mti_atomic_u32_fetch_add_relaxed(&entry->row->refs, 1);
    return entry->row;
}

// Whether earlier calls of this thread's caller to |actor| are not delivered. Forgets them if they are.
static bool row_is_open(const mti_thread_t *thread, uint64_t actor)
{
    uint64_t caller;
    mti_rows_t *rows = caller_rows(thread, &caller);
    if (!rows || !rows->count) return false;
    mti_rows_entry_t *entry = rows_find(rows, caller, actor);
    if (!entry->actor) return false;
    // acquire: those that were delivered are in the mailbox
    if (mti_atomic_u32_load_acquire(&entry->row->open)) return true;
    // When all of them are, back to the short way.
    for (uint32_t i = 0; i < rows->capacity; i++) {
        mti_row_t *row = rows->entries[i].actor ? rows->entries[i].row : NULL;
        if (i == 64 || (row && mti_atomic_u32_load_acquire(&row->open))) return false;
    }
    for (uint32_t i = 0; i < rows->capacity; i++) {
        if (!rows->entries[i].actor) continue;
        row_release(rows->entries[i].row);
        rows->entries[i].actor = 0;
    }
    rows->count = 0;
    return false;
}

static bool group_find(const mti_actor_t *actor, mti_record_t *t)
{
    for (uint32_t i = 1; i < actor->more->group_count; i++) {
        if (strcmp(actor->more->groups[i].name, t->def->group) != 0) continue;
        mti_method_of(t)->group = (uint8_t)i;
        return true;
    }
    return false;
}

manta_status_t mti_actor_order(mti_thread_t *thread, mti_ctx_t *ctx, mti_record_t *t, bool open)
{
    mti_actor_t *actor = mti_method_actor(t);
    uint64_t id = mti_ref_of(&actor->object).id;
    if (t->def->group && actor->more->group_count && !group_find(actor, t)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: actor %s has no concurrency group '%s'",
                        t->def->name, mti_actor_name(actor), t->def->group);
    }
    uint32_t flags = mti_actor_flags(actor);
    bool in_order = !(t->flags & MTI_RECORD_CREATE) && !(flags & MTI_ACTOR_OUT_OF_ORDER);
    if (MTI_UNLIKELY(t->flags & MTI_RECORD_BAND || flags & MTI_ACTOR_BANDED)) {
        manta_status_t status = mti_actor_bands_call(thread, ctx, t);
        if (status != MANTA_OK) return status;
    }
    if (!open && !(in_order && row_is_open(thread, id))) return MANTA_OK;
    if (!t->cold) {
        t->cold = mti_heap_alloc(&ctx->heap, sizeof *t->cold);
        if (t->cold) *t->cold = (mti_cold_t){0};
    }
    mti_order_t *order = t->cold ? mti_heap_alloc(&ctx->heap, sizeof *order) : NULL;
    if (order) {
        *order = (mti_order_t){.record = t};
        t->cold->order = order;
        if (!in_order || (order->row = row_get(thread, id))) return MANTA_OK;
    }
    return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: no memory to keep calls in order", t->def->name);
}

static void order_link_locked(mti_actor_t *actor, mti_order_t *order)
{
    mti_actor_more_t *more = actor->more;
    mti_row_t *row = order->row;
    order->is_linked = true;
    order->next_all = more->undelivered;
    if (order->next_all) order->next_all->prev_all = order;
    more->undelivered = order;
    if (!row) return;
    order->prev = row->last;
    if (row->last) {
        row->last->next = order;
    } else {
        row->first = order;
    }
    row->last = order;
    (void)mti_atomic_u32_fetch_add_relaxed(&row->open, 1);
}

static void order_unlink_locked(mti_actor_t *actor, mti_order_t *order)
{
    mti_row_t *row = order->row;
    order->is_linked = false;
    *(order->prev_all ? &order->prev_all->next_all : &actor->more->undelivered) = order->next_all;
    if (order->next_all) order->next_all->prev_all = order->prev_all;
    if (!row) return;
    *(order->prev ? &order->prev->next : &row->first) = order->next;
    *(order->next ? &order->next->prev : &row->last) = order->prev;
}

// One less in |row|. Comes after it was put into the mailbox: the caller may go there directly now.
static void row_count_off(mti_row_t *row)
{
    if (row) (void)mti_atomic_u32_fetch_sub_acq_rel(&row->open, 1);
}

// Puts whatever stands first in |row| and is ready into the mailbox. The order that the caller came
// with may be gone afterwards. |*out_wake| if somebody has to be woken: not under the lock.
// |*out_raised| gets the flags of the one with the highest priority.
static void row_deliver_locked(mti_actor_t *actor, mti_row_t *row, bool *out_wake,
                               uint32_t *out_raised)
{
    while (row->first && row->first->is_ready) {
        mti_order_t *order = row->first;
        mti_record_t *t = order->record;
        order_unlink_locked(actor, order);
        uint32_t flags = mti_record_flags(t);
        if (MTI_UNLIKELY(mti_flags_are_raised(flags)) && flags > *out_raised) *out_raised = flags;
        *out_wake |= mti_mail_put(actor, t);
        row_count_off(row);
    }
}

bool mti_actor_enqueue(mti_record_t *t)
{
    mti_actor_t *actor = mti_method_actor(t);
    mti_mutex_lock(&actor->more->lock);
    // It may have failed since it was published: its deadline passed, say. Whoever failed it, or is about to,
    // looks for it under this lock and is not to find it.
    if (mti_claim_state(mti_atomic_u64_load_acquire(&t->claim)) == MTI_TASK_QUEUED) {
        order_link_locked(actor, t->cold->order);
    }
    if (t->flags & MTI_RECORD_CREATE) {
        mti_atomic_u64_store_release(&actor->more->create_id, mti_ref_of(&t->result).id);
    }
    bool lives = mti_atomic_u32_load_relaxed(&actor->life) < MTI_LIFE_FAILED;
    mti_mutex_unlock(&actor->more->lock);
    return lives;
}

void mti_actor_create_ready(mti_ctx_t *ctx, mti_actor_t *actor, mti_record_t *t)
{
    uint32_t gen = mti_actor_gen(actor), slot = actor->object.slot;
    // seq_cst, against mti_actor_fail: it sees the id and fails the constructor, or whoever comes to the
    // turn after this sees that it has failed.
    mti_atomic_u64_store_seq_cst(&actor->more->create_id, mti_ref_of(&t->result).id);
    mti_atomic_ptr_store_seq_cst(&actor->more->create_ready, t);
    if (mti_turn_change(actor, gen, MTI_TURN_NEW, mti_turn_word(gen, MTI_TURN_SCHEDULED))) {
        mti_actor_schedule(ctx, slot, gen);
    } else {
        mti_actor_wake(ctx, actor, slot, gen); // it failed, and is to take this out
    }
}

void mti_actor_call_ready(mti_ctx_t *ctx, mti_record_t *t)
{
    mti_actor_t *actor = mti_method_actor(t);
    uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    uint32_t actor_gen = mti_actor_gen(actor), slot = actor->object.slot;
    uint32_t raised = 0;
    bool wake = false, put = false, dropped = false, is_create = t->flags & MTI_RECORD_CREATE;
    // Keeps the actor while we look at it: its calls may all be run by the time of the unlock.
    (void)mti_atomic_u64_fetch_add_relaxed(&actor->object.counts, MTI_COUNT_SLOT);
    mti_mutex_lock(&actor->more->lock);
    mti_order_t *order = t->cold->order;
    mti_row_t *row = order->row;
    if (row) (void)mti_atomic_u32_fetch_add_relaxed(&row->refs, 1);
    bool is_queued = mti_claim_state(mti_atomic_u64_load_acquire(&t->claim)) == MTI_TASK_QUEUED;
    if (!order->is_linked) {
        dropped = true; // failed meanwhile
    } else if (!is_queued) {
        order_unlink_locked(actor, order);
        row_count_off(row);
        dropped = true;
        if (row) row_deliver_locked(actor, row, &wake, &raised);
    } else {
        // From here on it is cancelled by whoever holds it in a list, not by us. seq_cst as in mti_actor_taken_out.
        mti_atomic_u32_store_seq_cst(&t->deps, 1);
        if (row) {
            order->is_ready = true;
            row_deliver_locked(actor, row, &wake, &raised);
        } else {
            order_unlink_locked(actor, order);
            put = true;
        }
    }
    mti_mutex_unlock(&actor->more->lock);
    if (row) row_release(row);
    if (dropped) mti_actor_taken_out(ctx, t, gen);
    if (put && is_create) {
        mti_actor_create_ready(ctx, actor, t);
    } else if (put) {
        mti_actor_put_banded(ctx, actor, t);
    }
    if (wake) mti_actor_wake(ctx, actor, slot, actor_gen);
    if (raised) mti_actor_bands_wake(ctx, actor, raised);
    mti_object_release(ctx, &actor->object, MTI_COUNT_SLOT);
}

void mti_actor_call_failed(mti_ctx_t *ctx, mti_record_t *t)
{
    mti_actor_t *actor = mti_method_actor(t);
    uint32_t actor_gen = mti_actor_gen(actor), slot = actor->object.slot;
    mti_order_t *order = t->cold ? t->cold->order : NULL;
    uint32_t raised = 0;
    bool wake = false;
    if (order) {
        mti_mutex_lock(&actor->more->lock);
        if (order->is_linked) {
            mti_row_t *row = order->row;
            order_unlink_locked(actor, order);
            row_count_off(row);
            if (order->is_ready) mti_atomic_u32_store_seq_cst(&t->deps, 0);
            if (row) row_deliver_locked(actor, row, &wake, &raised);
        }
        mti_mutex_unlock(&actor->more->lock);
    }
    if (wake) mti_actor_wake(ctx, actor, slot, actor_gen);
    if (raised) mti_actor_bands_wake(ctx, actor, raised);
    if (t->flags & MTI_RECORD_CREATE) {
        mti_atomic_u32_store_release(&actor->more->create_failed, 1);
        mti_actor_fail(ctx, actor, t->result.u.fail.error, MTI_ACTOR_ENDS, 0,
                       "its constructor never ran");
    }
}

// Of an undelivered call nobody may have a count; its open arguments have the one that it holds.
static mti_object_t *open_argument_locked(const mti_record_t *t)
{
    mti_arg_iter_t iter = {.t = t};
    uint64_t head;
    for (manta_ref_t ref; mti_arg_next(&iter, &ref);) {
        if (!mti_ref_is_error(ref) && !mti_object_is_closed(mti_object_held(ref), &head)) {
            return mti_ref_acquire_weak(ref.id, MTI_COUNT_SLOT);
        }
    }
    return NULL;
}

bool mti_actor_is_undelivered(mti_actor_t *actor, const mti_record_t *t, mti_object_t **out_before)
{
    mti_actor_more_t *more = actor->more;
    bool is_linked = false;
    *out_before = NULL;
    mti_mutex_lock(&more->lock);
    for (mti_order_t *order = more->undelivered; order && !is_linked; order = order->next_all) {
        if (order->record != t) continue;
        is_linked = true;
        if (!order->row || order->row->first == order) break;
        const mti_record_t *first = order->row->first->record;
        *out_before = mti_ref_acquire_weak(mti_ref_of(&first->result).id, MTI_COUNT_SLOT);
        // It is linked and not ready, and stays so while we have the lock: so it has its arguments.
        if (!*out_before) *out_before = open_argument_locked(first);
    }
    mti_mutex_unlock(&more->lock);
    return is_linked;
}

mti_object_t *mti_actor_create_waits_for(mti_actor_t *actor)
{
    mti_actor_more_t *more = actor->more;
    mti_object_t *object = NULL;
    mti_mutex_lock(&more->lock);
    for (mti_order_t *order = more->undelivered; order; order = order->next_all) {
        if (!(order->record->flags & MTI_RECORD_CREATE)) continue;
        object = open_argument_locked(order->record);
        break;
    }
    mti_mutex_unlock(&more->lock);
    return object ? object : mti_actor_share_waits_for(actor);
}
