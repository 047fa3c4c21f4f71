// Refs: lookups, counts, scopes.
//
// A ref that is used although its count is gone may meet another object in its slot. What it can do to that
// stranger is bounded: a lookup may put a count on it for an instant, never take one away.
// - Adding comes before the second look at the generation: the count that keeps the object was there, or it was
//   put on a stranger, and is given back with all that belongs to the end of such a count. Meanwhile it is one
//   holder more: a value is copied that would have been changed in place, nothing else.
// - Taking away comes after it, while a count keeps the object (object_drop_user). On the slot's own thread that is
//   not needed: nobody else takes free slots from there, so after one look at the generation the slot holds this
//   object, or none (then its counts are 0).
// Attacked by tests/model/object_test.cc, tests/stress/refs_stress.cc.
#include "core/actor.h"
#include "core/core.h"

#include <string.h>

manta_status_t mti_stale(manta_ref_t ref)
{
    return mti_fail(MANTA_ERR_STALE_REF,
                    "stale ref %llu.%u: released, of a runtime that ended, or made up",
                    (unsigned long long)mti_ref_gen(ref), (unsigned)mti_ref_slot(ref));
}

static bool object_drop_user(mti_ctx_t *ctx, mti_object_t *object, uint64_t held);

// |add| was put on a stranger: it ends like any count of its kind.
static void object_put_back(mti_object_t *object, uint64_t add)
{
    mti_thread_t *thread = mti_thread_tls;
    mti_ctx_t *ctx = thread ? mti_ctx_for(thread, object) : NULL;
    if (!ctx) return;
    if (add == MTI_COUNT_USER) {
        (void)object_drop_user(ctx, object, 0);
    } else if (add == MTI_COUNT_INTERNAL && mti_object_kind(object) == MTI_OBJECT_ACTOR) {
        mti_actor_calls_gone(ctx, (mti_actor_t *)(void *)object, 1);
    } else {
        mti_object_release(ctx, object, add);
    }
}

// Adds |add| if the counts pass |mask|; checks the generation before and after, because the slot may
// have been freed and taken again in between.
static mti_object_t *ref_acquire(manta_ref_t ref, uint64_t add, uint64_t mask)
{
    if (mti_ref_is_error(ref)) return NULL;
    mti_slot_t *slot = mti_table_slot(mti_ref_slot(ref));
    if (MTI_UNLIKELY(!slot)) return NULL;
    mti_object_t *object = &slot->object;
    uint32_t gen = mti_ref_gen(ref);
    if (MTI_UNLIKELY(mti_atomic_u32_load_acquire(&object->gen) != gen)) return NULL;
    uint64_t counts = mti_atomic_u64_load_relaxed(&object->counts);
    do {
        if (MTI_UNLIKELY((counts & mask) == 0)) return NULL;
        // acq_rel: the generation below must be read after the count is ours
    } while (!mti_atomic_u64_cas_acq_rel(&object->counts, &counts, counts + add));
    if (MTI_LIKELY(mti_atomic_u32_load_acquire(&object->gen) == gen)) return object;
    object_put_back(object, add);
    return NULL;
}

mti_object_t *mti_ref_acquire(manta_ref_t ref, uint64_t add)
{
    return ref_acquire(ref, add, MTI_COUNT_USER_MASK);
}

mti_object_t *mti_ref_acquire_weak(uint64_t id, uint64_t add)
{
    return ref_acquire((manta_ref_t){id}, add, UINT64_MAX);
}

// The last count is gone: an open object is left to whoever closes it. True: it was closed before, and the
// caller frees it. A CAS, because the bit means something else in a closed head (MTI_HEAD_BARE).
static bool object_orphan(mti_object_t *object)
{
    uint64_t head = mti_atomic_u64_load_acquire(&object->head);
    do {
        if (MTI_LIKELY(head & MTI_HEAD_CLOSED)) return true;
    } while (!mti_atomic_u64_cas_acq_rel(&object->head, &head, head | MTI_HEAD_ORPHAN));
    return false;
}

// Gives a count back and tells whether the caller has to free the object now.
static bool object_drop(mti_object_t *object, uint64_t sub)
{
    // release: what this holder did with the object comes before; acquire: the last one sees all of it
    uint64_t left = mti_atomic_u64_fetch_sub_acq_rel(&object->counts, sub) - sub;
    return MTI_UNLIKELY(left == 0) && object_orphan(object);
}

void mti_object_release(mti_ctx_t *ctx, mti_object_t *object, uint64_t sub)
{
    if (MTI_UNLIKELY(object_drop(object, sub))) mti_object_free(ctx, object);
}

void mti_object_free(mti_ctx_t *ctx, mti_object_t *object)
{
    // A loop: parents and causes form chains as long as the program likes.
    while (object) {
        mti_object_t *next = NULL;
        uint64_t head = mti_atomic_u64_load_relaxed(&object->head);
        if (MTI_UNLIKELY(mti_object_kind(object) == MTI_OBJECT_ACTOR)) {
            mti_actor_free(ctx, (mti_actor_t *)(void *)object);
        } else if (MTI_UNLIKELY(mti_object_storage(object) == MTI_STORAGE_TIERED)) {
            next = mti_tier_destroy(ctx, object);
        } else if ((head & (MTI_HEAD_FAILED | MTI_HEAD_BARE)) == MTI_HEAD_FAILED) {
            manta_error_release(object->u.fail.error);
            next = object->u.fail.cause;
        } else if (mti_object_storage(object) == MTI_STORAGE_PARENT) {
            next = object->u.mem.parent;
        } else if (mti_object_storage(object) > MTI_STORAGE_INLINE) {
            mti_object_storage_free(ctx, object);
        }
        mti_table_free(&ctx->table, (mti_slot_t *)(void *)object);
        object = next && object_drop(next, MTI_COUNT_INTERNAL) ? next : NULL;
    }
}

manta_status_t mti_ref_begin(manta_ref_t ref, mti_thread_t **out_thread, mti_ctx_t **out_ctx,
                             mti_object_t **out_object)
{
    if (MTI_UNLIKELY(mti_ref_is_error(ref))) return mti_ref_error_code(ref);
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    mti_thread_enter(thread);
    // The context comes first: a count could not be given back without one.
    mti_object_t *object = mti_ref_peek(ref);
    mti_ctx_t *ctx = object ? mti_ctx_for(thread, object) : NULL;
    manta_status_t status = object && !ctx ? thread->status : MANTA_OK;
    if (ctx) object = mti_ref_acquire(ref, MTI_COUNT_INTERNAL);
    if (!object) status = mti_stale(ref);
    if (status != MANTA_OK) {
        mti_thread_leave(thread);
        return status;
    }
    *out_thread = thread;
    *out_ctx = ctx;
    *out_object = object;
    return MANTA_OK;
}

void mti_ref_end(mti_thread_t *thread, mti_ctx_t *ctx, mti_object_t *object)
{
    mti_object_release(ctx, object, MTI_COUNT_INTERNAL);
    mti_thread_leave(thread);
}

// ---- scopes -----------------------------------------------------------------------------------

bool mti_scope_grow(mti_thread_t *thread, size_t more)
{
    size_t capacity = thread->scope_capacity ? thread->scope_capacity : 64;
    while (capacity - thread->scope_count < more) {
        if (!mti_size_mul(capacity, 2, &capacity)) return false;
    }
    size_t bytes = capacity * sizeof *thread->scopes;
    mti_scope_entry_t *bigger = mti_alloc(NULL, bytes, 16);
    if (!bigger) {
        (void)mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for a scope of %zu refs", capacity);
        return false;
    }
    if (thread->scope_count) {
        memcpy(bigger, thread->scopes, thread->scope_count * sizeof *bigger);
    }
    mti_free(NULL, thread->scopes, thread->scope_capacity * sizeof *bigger);
    thread->scopes = bigger;
    thread->scope_capacity = capacity;
    return true;
}

mti_scope_entry_t *mti_scope_search(mti_thread_t *thread, const mti_object_t *object,
                                    manta_ref_t ref)
{
    uint32_t hint = mti_atomic_u32_load_relaxed(&object->scope_hint);
    if (hint == 0) return NULL; // it never was in a scope
    if (hint - 1 >= thread->scope_base && hint - 1 < thread->scope_count) {
        mti_scope_entry_t *entry = &thread->scopes[hint - 1];
        if (entry->id == ref.id && !entry->is_view) return entry;
    }
    // Another holder's entry overwrote the hint.
    for (size_t i = thread->scope_count; i > thread->scope_base; i--) {
        mti_scope_entry_t *entry = &thread->scopes[i - 1];
        if (entry->id == ref.id && !entry->is_view) return entry;
    }
    return NULL;
}

// Takes |entry| out; holes at the top go at once, so that a loop in one scope does not grow it.
static void scope_take_out(mti_thread_t *thread, mti_scope_entry_t *entry)
{
    entry->id = 0;
    size_t bottom = thread->scope_mark ? thread->scope_mark - 1 : thread->scope_base;
    while (thread->scope_count > bottom && thread->scopes[thread->scope_count - 1].id == 0) {
        thread->scope_count--;
    }
}

// Takes one user count away, and |held| with it, which keeps the object until then; 0: the slot's own thread, or
// the user count is known to be there. False: there is no user count left, only |held| was given back.
static bool object_drop_user(mti_ctx_t *ctx, mti_object_t *object, uint64_t held)
{
    mti_object_kind_t kind = mti_object_kind(object);
    // What has to be looked at afterwards stays: the user count becomes an internal one.
    bool ends =
        kind == MTI_OBJECT_PROMISE || kind == MTI_OBJECT_CREATED || kind == MTI_OBJECT_ACTOR;
    uint64_t change = (ends ? MTI_COUNT_INTERNAL : 0) - MTI_COUNT_USER - held;
    uint64_t counts = mti_atomic_u64_load_relaxed(&object->counts);
    do {
        if (MTI_UNLIKELY(mti_count_user(counts) == 0)) {
            if (held) mti_object_release(ctx, object, held);
            return false;
        }
        // release: what this holder did with the object comes before; acquire: the last one sees all of it;
        // seq_cst for finish_undo (value.c)
    } while (!mti_atomic_u64_cas_seq_cst(&object->counts, &counts, counts + change));
    counts += change;
    if (MTI_LIKELY(!ends)) {
        if (counts == 0 && object_orphan(object)) mti_object_free(ctx, object);
        return true;
    }
    if (kind == MTI_OBJECT_ACTOR) {
        mti_actor_handle_gone(ctx, (mti_actor_t *)(void *)object, counts);
        return true;
    }
    // A promise or buffer that nobody can finish any more fails.
    if (mti_count_user(counts) == 0 &&
        mti_atomic_u64_load_seq_cst(&mti_record_of(object)->claim) == 0) {
        (void)mti_object_close(ctx, object, mti_head_bare(MANTA_ERR_ABANDONED), NULL);
    }
    mti_object_release(ctx, object, MTI_COUNT_INTERNAL);
    return true;
}

// Whether free slots of |object|'s run are taken by the calling thread only, whose context |ctx| is.
static inline bool is_home(const mti_ctx_t *ctx, const mti_object_t *object)
{
    return mti_object_home(object) == ctx->table.index;
}

manta_status_t mti_ref_release_user(mti_thread_t *thread, manta_ref_t ref)
{
    mti_object_t *object = mti_ref_peek(ref);
    if (MTI_UNLIKELY(!object)) return mti_stale(ref);
    mti_ctx_t *ctx = mti_ctx_for(thread, object);
    if (MTI_UNLIKELY(!ctx)) return thread->status;
    uint64_t held = is_home(ctx, object) ? 0 : MTI_COUNT_SLOT;
    if (held && !mti_ref_acquire(ref, held)) return mti_stale(ref);
    return MTI_LIKELY(object_drop_user(ctx, object, held)) ? MANTA_OK : mti_stale(ref);
}

mti_object_t *mti_ref_take(mti_ctx_t *ctx, manta_ref_t ref)
{
    mti_object_t *object = mti_ref_peek(ref);
    if (MTI_UNLIKELY(!object)) return NULL;
    uint64_t held = is_home(ctx, object) ? 0 : MTI_COUNT_INTERNAL;
    if (held && !mti_ref_acquire(ref, held)) return NULL;
    uint64_t counts = mti_atomic_u64_load_relaxed(&object->counts);
    uint64_t change = MTI_COUNT_INTERNAL - MTI_COUNT_USER - held;
    do {
        if (MTI_UNLIKELY(mti_count_user(counts) == 0)) {
            if (held) mti_object_release(ctx, object, held);
            return NULL;
        }
        // acq_rel: as in ref_acquire
    } while (!mti_atomic_u64_cas_acq_rel(&object->counts, &counts, counts + change));
    return object;
}

void mti_scope_unwind(mti_thread_t *thread, size_t mark)
{
    while (thread->scope_count > mark) {
        mti_scope_entry_t entry = thread->scopes[--thread->scope_count];
        if (entry.id == 0) continue;
        mti_thread_enter(thread);
        if (entry.is_view) {
            mti_object_t *object = mti_ref_acquire_weak(entry.id, 0);
            mti_ctx_t *ctx = object ? mti_ctx_for(thread, object) : NULL;
            if (ctx) mti_object_release(ctx, object, MTI_COUNT_INTERNAL);
        } else {
            (void)mti_ref_release_user(thread, (manta_ref_t){entry.id});
        }
        mti_thread_leave(thread);
    }
}

// A scope that could not be opened for want of a thread record.
#define SCOPE_MISSED SIZE_MAX

void manta_scope_enter(manta_scope_t *out_scope)
{
    mti_thread_t *thread = mti_thread_self();
    *out_scope = (manta_scope_t){0};
    if (!thread) {
        mti_scopes_missed++; // so that nothing is handed out that this scope would have to release
        out_scope->mark = SCOPE_MISSED;
        return;
    }
    *out_scope = (manta_scope_t){.mark = thread->scope_count + 1, .outer = thread->scope_mark};
    thread->scope_mark = thread->scope_count + 1;
}

void manta_scope_leave(manta_scope_t *scope)
{
    if (scope->mark == SCOPE_MISSED) {
        mti_scopes_missed--;
        scope->mark = 0;
    }
    mti_thread_t *thread = mti_thread_tls;
    if (!thread || scope->mark == 0) return;
    mti_scope_unwind(thread, scope->mark - 1);
    thread->scope_mark = scope->outer;
    scope->mark = 0;
}

// ---- public -----------------------------------------------------------------------------------

manta_ref_t manta_retain(manta_ref_t ref)
{
    if (ref.id == 0 || mti_ref_is_error(ref)) return ref;
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_ref_error(mti_thread_failure());
    if (!mti_scope_reserve(thread, 1)) return mti_ref_error(MANTA_ERR_OUT_OF_MEMORY);
    mti_thread_enter(thread);
    mti_object_t *object = mti_ref_acquire(ref, MTI_COUNT_USER);
    if (object) mti_scope_add(thread, object, ref);
    mti_thread_leave(thread);
    if (object) return ref;
    (void)mti_stale(ref);
    return mti_ref_error(MANTA_ERR_STALE_REF);
}

// The last count of a small closed value in a slot of this thread's: gone without further questions.
static inline bool release_quick(mti_thread_t *thread, mti_object_t *object)
{
    // The head first: before it is closed the storage is not settled.
    if (mti_atomic_u64_load_acquire(&object->head) != MTI_HEAD_CLOSED ||
        mti_object_storage(object) > MTI_STORAGE_INLINE ||
        mti_object_kind(object) == MTI_OBJECT_ACTOR) { // has a block beside its slot
        return false;
    }
    // The epoch first: the context of a default runtime that ended is gone.
    mti_ctx_t *ctx = thread->ctx;
    bool current = ctx && (thread->epoch == 0 ||
                           thread->epoch == mti_atomic_u32_load_relaxed(&mti_default_epoch));
    // Only here a look at the generation before is enough.
    if (!current || !is_home(ctx, object)) return false;
    uint64_t one = MTI_COUNT_USER;
    if (mti_atomic_u64_load_relaxed(&object->counts) != one ||
        !mti_atomic_u64_cas_acq_rel(&object->counts, &one, 0)) {
        return false;
    }
    mti_table_free(&ctx->table, (mti_slot_t *)(void *)object);
    return true;
}

manta_status_t manta_release(manta_ref_t ref)
{
    if (ref.id == 0 || mti_ref_is_error(ref)) return MANTA_OK;
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return mti_thread_failure();
    mti_thread_enter(thread);
    manta_status_t status = MANTA_OK;
    mti_object_t *object = mti_ref_peek(ref);
    if (MTI_LIKELY(object != NULL)) {
        mti_scope_entry_t *entry = mti_scope_find(thread, object, ref);
        if (entry) scope_take_out(thread, entry);
        if (MTI_UNLIKELY(!release_quick(thread, object))) {
            status = mti_ref_release_user(thread, ref);
        }
    } else {
        status = mti_stale(ref);
    }
    mti_thread_leave(thread);
    return status;
}

manta_ref_t manta_keep(manta_ref_t ref)
{
    if (ref.id == 0 || mti_ref_is_error(ref)) return ref;
    mti_thread_t *thread = mti_thread_self();
    if (!thread) return ref;
    mti_thread_enter(thread);
    mti_object_t *object = mti_ref_peek(ref);
    mti_scope_entry_t *entry = object ? mti_scope_find(thread, object, ref) : NULL;
    if (entry) scope_take_out(thread, entry);
    mti_thread_leave(thread);
    if (object) return ref;
    (void)mti_stale(ref);
    return mti_ref_error(MANTA_ERR_STALE_REF);
}
