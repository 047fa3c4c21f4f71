// Readiness: links into open objects, closing, and what becomes of those who waited.
//
// Closing is one CAS on |head|. It takes the list of links with it, so a link is handled exactly once:
// either mti_object_link refused it because the object was closed, or it is in the list that the closer
// took. Failures spread through a work list, never by recursion: a failing root with a million
// dependents needs no stack and no memory.
#include "core/actor.h"
#include "core/core.h"

#include <sched.h>

// Records whose results have to be closed, linked by |next|: FORWARDED ones with the target in
// |result.u.mem.parent|, CANCELLING ones with the error in |result.u.fail|.
typedef struct work {
    mti_record_t *first, *last;
} work_t;

static void work_add(work_t *work, mti_record_t *t)
{
    t->next = NULL;
    if (work->last) {
        work->last->next = t;
    } else {
        work->first = t;
    }
    work->last = t;
}

static uint64_t *link_cell(uint64_t word)
{
    return (uint64_t *)(uintptr_t)(word & MTI_LINK_ADDR);
}
static mti_link_kind_t link_kind(uint64_t word)
{
    return (mti_link_kind_t)(word >> MTI_LINK_SHIFT);
}

static mti_record_t *link_record(uint64_t word)
{
    uint64_t *cell = link_cell(word);
    if (link_kind(word) == MTI_LINK_FAR) return ((mti_far_link_t *)(void *)cell)->record;
    uintptr_t line = (uintptr_t)cell & ~(uintptr_t)(MTI_RECORD_INLINE - 1);
    return (mti_record_t *)(line - offsetof(mti_record_t, inline_args));
}

// Which argument the link is for.
static uint32_t link_argument(const mti_record_t *t, uint64_t word)
{
    if (link_kind(word) == MTI_LINK_FAR) {
        mti_overflow_t *block = mti_record_overflow(t);
        mti_far_link_t *links = (mti_far_link_t *)(void *)((char *)block + block->links_offset);
        return (uint32_t)((mti_far_link_t *)(void *)link_cell(word) - links);
    }
    bool is_method = (mti_record_flags(t) & MTI_RECORD_METHOD) != 0;
    return (uint32_t)(mti_record_links(t, is_method) - link_cell(word));
}

bool mti_object_link(mti_object_t *object, uint64_t *cell, mti_link_kind_t kind)
{
    uint64_t head = mti_atomic_u64_load_acquire(&object->head);
    uint64_t word = (uint64_t)(uintptr_t)cell | (uint64_t)kind << MTI_LINK_SHIFT;
    do {
        if (head & MTI_HEAD_CLOSED) return false;
        *cell = head & ~MTI_HEAD_BITS;
        // release: publishes the cell and the record; pairs with the acquire in close_one
    } while (!mti_atomic_u64_cas_acq_rel(&object->head, &head, word | (head & MTI_HEAD_BITS)));
    return true;
}

bool mti_object_await(mti_ctx_t *ctx, mti_object_t *object, uint64_t *cell, mti_link_kind_t kind)
{
    if (mti_object_link(object, cell, kind)) return true;
    uint64_t head;
    (void)mti_object_is_closed(object, &head);
    if (MTI_LIKELY(mti_object_storage(object) != MTI_STORAGE_TIERED) || head & MTI_HEAD_FAILED) {
        return false;
    }
    return mti_tier_park(ctx, object, (uint64_t)(uintptr_t)cell | (uint64_t)kind << MTI_LINK_SHIFT);
}

bool mti_record_link(mti_ctx_t *ctx, mti_record_t *t, mti_object_t *object, uint64_t *cell,
                     mti_link_kind_t kind, uint64_t *out_head)
{
    if (MTI_UNLIKELY(mti_flags_are_lane(t->flags) && t->flags & MTI_RECORD_ACCEPTS)) {
        // Whether it fails decides what the body sees: not before it is closed.
        if (mti_object_link(object, cell, kind)) return true;
        (void)mti_object_is_closed(object, out_head);
        return false;
    }
    if (MTI_UNLIKELY(mti_flags_are_lane(t->flags))) {
        // In order behind its producer on the device; the bytes may be anywhere.
        uint64_t word = (uint64_t)(uintptr_t)cell | (uint64_t)kind << MTI_LINK_SHIFT;
        uint64_t head = mti_atomic_u64_load_acquire(&object->head);
        do {
            if (head & (MTI_HEAD_CLOSED | MTI_HEAD_ASSIGNED)) {
                *out_head = head & MTI_HEAD_CLOSED ? head : MTI_HEAD_CLOSED;
                return false;
            }
            *cell = head & ~MTI_HEAD_BITS;
            // release: publishes the cell and the record; pairs with the acquire in close_one
        } while (!mti_atomic_u64_cas_acq_rel(&object->head, &head, word | (head & MTI_HEAD_BITS)));
        return true;
    }
    if (mti_object_await(ctx, object, cell, kind)) return true;
    (void)mti_object_is_closed(object, out_head);
    return false;
}

mti_object_t *mti_object_cause(const mti_object_t *object)
{
    if (mti_object_storage(object) == MTI_STORAGE_TIERED) return mti_tier_cause(object);
    return object->u.fail.cause;
}

const manta_error_t *mti_object_error(const mti_object_t *object, uint64_t head)
{
    if (head & MTI_HEAD_BARE) return mti_error_bare((manta_status_t)(uint32_t)(head >> 32));
    if (mti_object_storage(object) == MTI_STORAGE_TIERED) return mti_tier_error(object);
    return object->u.fail.error;
}

void mti_record_ready(mti_ctx_t *ctx, mti_ready_t ready)
{
    bool ok;
    if (MTI_UNLIKELY(mti_flags_are_lane(ready.flags))) {
        mti_lanes_push(mti_lanes_peek(ctx->rt), ready.id, ready.flags);
        return;
    }
    if (MTI_LIKELY(!(ready.flags & MTI_RECORD_ASIDE))) {
        ok = mti_sched_push(&ctx->sched, ready.id);
    } else if (ready.flags & MTI_RECORD_WIDE) {
        ok = mti_sched_push_wide(ctx->rt->sched, ready.id, (int)ready.amount);
    } else if (ready.flags & MTI_RECORD_BAND) {
        ok = mti_sched_push_band(&ctx->sched, ready.id, (mti_band_t)ready.amount);
    } else {
        ok = mti_sched_push_elastic(&ctx->sched, ready.id, ready.amount);
    }
    // Without memory to queue it the task runs here and now: nothing is lost.
    mti_record_t *t = mti_record_at((uint32_t)ready.id);
    if (MTI_UNLIKELY(!ok) && mti_task_claim(ctx, t, (uint32_t)(ready.id >> 32))) {
        mti_task_run_claimed(ctx, t);
    }
}

// deps has come to 0 through the caller. The record may be gone already (a waiter ran it): its
// generation tells, and nothing else of it may be looked at.
static void record_deps_gone(mti_ctx_t *ctx, mti_record_t *t, mti_ready_t ready, uint64_t *out_next)
{
    uint32_t gen = (uint32_t)(ready.id >> 32);
    uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
    if (mti_claim_gen(claim) != gen) return;
    if (MTI_LIKELY(mti_claim_state(claim) == MTI_TASK_QUEUED)) {
        if (out_next && *out_next == 0 && !(ready.flags & MTI_RECORD_ASIDE)) {
            *out_next = ready.id;
        } else {
            mti_record_ready(ctx, ready);
        }
    } else if (mti_claim_state(claim) == MTI_TASK_CANCELLED) {
        mti_task_finish_cancelled(ctx, t, gen);
    }
}

void mti_record_dep_done(mti_ctx_t *ctx, mti_record_t *t, uint64_t *out_next)
{
    mti_ready_t ready = mti_ready_of(t);
    // release: what made this argument ready; acquire: the last one sees what made the others ready
    uint32_t before = mti_atomic_u32_fetch_sub_acq_rel(&t->deps, 1);
    if (MTI_UNLIKELY(ready.flags & MTI_RECORD_METHOD)) {
        if (before == 3) mti_actor_call_ready(ctx, t);
    } else if (before == 1) {
        record_deps_gone(ctx, t, ready, out_next);
    } else if (MTI_UNLIKELY(before == 2 && ready.flags & MTI_RECORD_GATED)) {
        mti_admit_reached(ctx, t); // happens once: nobody adds to a 1 (walk_arguments)
    }
}

static bool record_start_cancelling(mti_record_t *t)
{
    uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    uint64_t queued = mti_claim_make(gen, 0, MTI_TASK_QUEUED);
    return mti_atomic_u64_cas_acq_rel(&t->claim, &queued,
                                      mti_claim_make(gen, 0, MTI_TASK_CANCELLING));
}

// Handles one link of |object|, which closed with |bits|.
static void link_fire(mti_ctx_t *ctx, mti_object_t *object, uint64_t bits, uint64_t word,
                      work_t *work, uint64_t *out_next)
{
    mti_record_t *t = link_record(word);
    if (MTI_UNLIKELY(mti_object_storage(object) == MTI_STORAGE_TIERED) &&
        !(bits & MTI_HEAD_FAILED) &&
        !(link_kind(word) != MTI_LINK_FORWARD && mti_flags_are_lane(mti_record_flags(t))) &&
        mti_tier_park(ctx, object, word)) {
        return; // fires again when the bytes are at the host
    }
    if (link_kind(word) == MTI_LINK_FORWARD) {
        work_add(work,
                 t); // |u.mem.parent| is |object|; the count that the forward holds goes along
        return;
    }
    bool failed = bits & MTI_HEAD_FAILED;
    if (MTI_UNLIKELY(failed) && t->flags & MTI_RECORD_ACCEPTS) {
        failed = !mti_record_accepts(t, link_argument(t, word));
    }
    if (MTI_LIKELY(!failed)) {
        mti_record_dep_done(ctx, t, out_next);
        return;
    }
    if (record_start_cancelling(t)) {
        // The dependent holds a count on |object| until it is finished; it gets one more for the chain.
        (void)mti_atomic_u64_fetch_add_relaxed(&object->counts, MTI_COUNT_INTERNAL);
        t->result.u.fail.error =
            (manta_error_t *)manta_error_retain(mti_object_error(object, bits));
        t->result.u.fail.cause = object;
        mti_object_set(&t->result, MTI_OBJECT_TASK, MTI_STORAGE_NONE, link_argument(t, word));
        uint32_t before = mti_atomic_u32_fetch_sub_acq_rel(&t->deps, 1);
        if (before == 2 && mti_record_flags(t) & MTI_RECORD_GATED) {
            (void)mti_atomic_u32_fetch_sub_acq_rel(&t->deps, 1); // it won't ask to be admitted
        } else if (before == 3 && mti_record_flags(t) & MTI_RECORD_METHOD) {
            mti_actor_call_ready(ctx, t);
        }
        work_add(work, t);
        return;
    }
    mti_record_dep_done(ctx, t, NULL);
}

// The list is newest first; those who came first go first.
static uint64_t links_reverse(uint64_t word)
{
    uint64_t reversed = 0;
    while (word) {
        uint64_t next = *link_cell(word);
        *link_cell(word) = reversed;
        reversed = word;
        word = next;
    }
    return reversed;
}

// The closing CAS and everyone in the list. New work goes to |work|.
static bool close_one(mti_ctx_t *ctx, mti_object_t *object, uint64_t bits, work_t *work,
                      uint64_t *out_next)
{
    // Read now: once it is closed, a waiter may let go of it and its slot may be taken again.
    uint32_t object_gen = mti_atomic_u32_load_relaxed(&object->gen);
    uint64_t head = mti_atomic_u64_load_relaxed(&object->head);
    do {
        if (MTI_UNLIKELY(head & MTI_HEAD_CLOSED)) return false;
        // release: publishes the value; acquire: the links and their records
    } while (!mti_atomic_u64_cas_acq_rel(&object->head, &head, bits));
    if (MTI_LIKELY(head == 0)) return true;
    if (head & MTI_HEAD_ORPHAN) {
        // No counts, so no links either, and no watchers but an actor that ends with its creator. A
        // canceller may hold a count of its own.
        if (MTI_UNLIKELY(head & MTI_HEAD_WATCHED)) mti_watch_fire(ctx, object, object_gen, bits);
        if (mti_atomic_u64_load_acquire(&object->counts) == 0) mti_object_free(ctx, object);
        return true;
    }
    uint64_t word = links_reverse(head & ~MTI_HEAD_BITS);
    while (word) {
        uint64_t next = *link_cell(word); // the record may be gone afterwards
        link_fire(ctx, object, bits, word, work, out_next);
        word = next;
    }
    if (head & MTI_HEAD_WATCHED) mti_watch_fire(ctx, object, object_gen, bits);
    return true;
}

// If there is no count any more, whoever dropped the last one is about to leave the ORPHAN bit: it decides
// by |head| whether to free, so a count that came from nowhere must not let it see CLOSED.
void mti_object_pin_open(mti_object_t *object)
{
    uint64_t counts = mti_atomic_u64_load_relaxed(&object->counts);
    while (counts != 0) {
        if (mti_atomic_u64_cas_acq_rel(&object->counts, &counts, counts + MTI_COUNT_INTERNAL)) {
            return;
        }
    }
    for (unsigned n = 1; !(mti_atomic_u64_load_acquire(&object->head) & MTI_HEAD_ORPHAN); n++) {
        // Closed by a canceller, who holds a count: then there is one after all.
        counts = mti_atomic_u64_load_relaxed(&object->counts);
        if (counts != 0 &&
            mti_atomic_u64_cas_acq_rel(&object->counts, &counts, counts + MTI_COUNT_INTERNAL)) {
            return;
        }
        mti_cpu_pause();
        if (n % 64 == 0) sched_yield(); // it was interrupted between two instructions
    }
    (void)mti_atomic_u64_fetch_add_acq_rel(&object->counts, MTI_COUNT_INTERNAL);
}

// Closes the results of a CANCELLING record as failed, with what |result.u.fail| says.
static void fail_results(mti_ctx_t *ctx, mti_record_t *t, work_t *work)
{
    uint64_t bits = MTI_HEAD_CLOSED | MTI_HEAD_FAILED;
    if (MTI_UNLIKELY(t->flags & MTI_RECORD_METHOD)) mti_actor_call_failed(ctx, t);
    // Keeps the slot while links into other objects may be left. With several results it has that count.
    uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    const manta_task_def_t *def = t->def;
    if (t->result_count == 1) mti_object_pin_open(&t->result);
    for (uint32_t i = 1; i < t->result_count; i++) {
        mti_object_t *object = mti_record_result(t, i);
        object->u.fail.error = (manta_error_t *)manta_error_retain(t->result.u.fail.error);
        object->u.fail.cause = t->result.u.fail.cause;
        if (object->u.fail.cause) {
            (void)mti_atomic_u64_fetch_add_relaxed(&object->u.fail.cause->counts,
                                                   MTI_COUNT_INTERNAL);
        }
        mti_object_set(object, MTI_OBJECT_RESULT, MTI_STORAGE_NONE, mti_object_size(&t->result));
        (void)close_one(ctx, object, bits, work, NULL);
    }
    if (MTI_UNLIKELY(t->cold != NULL) && mti_recover_drop(ctx, t->cold)) {
        (void)mti_atomic_u32_fetch_sub_acq_rel(&t->deps, 1); // nobody looks at it while CANCELLING
    }
    (void)close_one(ctx, &t->result, bits, work, NULL);
    // release: the results are closed; pairs with the acquire of who finishes
    mti_atomic_u64_store_seq_cst(&t->claim, mti_claim_make(gen, 0, MTI_TASK_CANCELLED));
    if (mti_atomic_u32_load_seq_cst(&t->deps) == 0) mti_task_finish_cancelled(ctx, t, gen);
    // Complete even if links into open objects are left: those may stay open for ever, and a drain is
    // not to wait for them.
    mti_atomic_u64_owner_add(&ctx->failed, 1);
    mti_task_count_completed(ctx, def);
    // A thread of the user's (in cancel, promise_fail, submit) does not come to its idle check.
    if (!ctx->sched.thread) mti_drain_check(ctx);
}

// |object| becomes |target| (one count, taken), which is closed.
// False: it was closed before (cancelled).
static bool become(mti_ctx_t *ctx, mti_object_t *object, mti_object_t *target, work_t *work)
{
    uint64_t head;
    (void)mti_object_is_closed(target, &head);
    uint64_t bits = MTI_HEAD_CLOSED;
    if (head & MTI_HEAD_FAILED) {
        bits |= MTI_HEAD_FAILED;
        object->u.fail.error = (manta_error_t *)manta_error_retain(mti_object_error(target, head));
        __atomic_store_n(&object->u.fail.cause, target, __ATOMIC_RELAXED);
        mti_object_set(object, mti_object_kind(object), MTI_STORAGE_NONE, MTI_FORWARD_ARGUMENT);
    } else {
        object->u.mem.data = mti_object_data(target);
        // The same as before; atomic for those who walk over the forward.
        __atomic_store_n(&object->u.mem.parent, target, __ATOMIC_RELAXED);
        mti_object_set(object, mti_object_kind(object), MTI_STORAGE_PARENT,
                       mti_object_size(target));
    }
    if (close_one(ctx, object, bits, work, NULL)) return true;
    // Its head is bare, so what we stored is nobody's.
    if (bits & MTI_HEAD_FAILED) manta_error_release(object->u.fail.error);
    mti_object_set(object, mti_object_kind(object), MTI_STORAGE_NONE, 0);
    mti_object_release(ctx, target, MTI_COUNT_INTERNAL);
    return false;
}

// A body forwarded its result, and the target is closed now.
static void finish_forward(mti_ctx_t *ctx, mti_record_t *t, work_t *work)
{
    mti_object_t *object = &t->result;
    bool is_task = mti_object_kind(object) == MTI_OBJECT_TASK;
    // The slot must last until its state is settled. Whoever cancelled it holds a count, too, which is
    // ours to release if the cancel closed it.
    mti_object_pin_open(object);
    uint64_t holds = MTI_COUNT_INTERNAL;
    if (!become(ctx, object, object->u.mem.parent, work) && is_task) holds += MTI_COUNT_INTERNAL;
    if (is_task) {
        if (MTI_UNLIKELY(t->cold != NULL)) mti_record_free_room(ctx, t); // its deadline
        t->cold = NULL;
        mti_task_settle(ctx, t, mti_atomic_u32_load_relaxed(&object->gen));
        mti_task_count_completed(ctx, t->def);
    }
    mti_object_release(ctx, object, holds);
    // A thread of the user's (in promise_set, say) does not come to its idle check.
    if (is_task && !ctx->sched.thread) mti_drain_check(ctx);
}

static void work_drain(mti_ctx_t *ctx, work_t *work)
{
    while (work->first) {
        mti_record_t *t = work->first;
        work->first = t->next;
        if (!work->first) work->last = NULL;
        if (mti_object_kind(&t->result) == MTI_OBJECT_TASK &&
            mti_claim_state(mti_atomic_u64_load_relaxed(&t->claim)) == MTI_TASK_CANCELLING) {
            fail_results(ctx, t, work);
        } else {
            finish_forward(ctx, t, work);
        }
    }
}

void mti_links_fire(mti_ctx_t *ctx, mti_object_t *object, uint64_t bits, uint64_t links)
{
    work_t work = {NULL, NULL};
    for (uint64_t word = links_reverse(links); word;) {
        uint64_t next = *link_cell(word);
        link_fire(ctx, object, bits, word, &work, NULL);
        word = next;
    }
    work_drain(ctx, &work);
}

void mti_object_assign(mti_ctx_t *ctx, mti_object_t *object)
{
    uint64_t head = mti_atomic_u64_load_acquire(&object->head);
    do {
        if (head & MTI_HEAD_CLOSED) return; // cancelled
        // release: publishes where the bytes will be; acquire: the links
    } while (!mti_atomic_u64_cas_acq_rel(
        &object->head, &head, (head & (MTI_HEAD_WATCHED | MTI_HEAD_ORPHAN)) | MTI_HEAD_ASSIGNED));
    // Those that go to a device are free to be placed; the others wait on for the end.
    for (uint64_t word = links_reverse(head & ~MTI_HEAD_BITS); word;) {
        uint64_t next = *link_cell(word);
        mti_record_t *t = link_record(word);
        mti_link_kind_t kind = link_kind(word);
        uint32_t flags = mti_record_flags(t);
        bool on_lane = kind != MTI_LINK_FORWARD && mti_flags_are_lane(flags);
        if (on_lane && !(flags & MTI_RECORD_ACCEPTS)) {
            mti_record_dep_done(ctx, t, NULL);
        } else if (on_lane ? !mti_object_link(object, link_cell(word), kind)
                           : !mti_object_await(ctx, object, link_cell(word), kind)) {
            // Closed meanwhile: as if it had fired.
            uint64_t closed;
            (void)mti_object_is_closed(object, &closed);
            *link_cell(word) = 0;
            mti_links_fire(ctx, object, closed, word);
        }
        word = next;
    }
}

bool mti_object_close(mti_ctx_t *ctx, mti_object_t *object, uint64_t bits, uint64_t *out_next)
{
    work_t work = {NULL, NULL};
    bool closed = close_one(ctx, object, bits, &work, out_next);
    if (MTI_UNLIKELY(work.first != NULL)) work_drain(ctx, &work);
    return closed;
}

bool mti_object_close_failed(mti_ctx_t *ctx, mti_object_t *object, manta_error_t *error,
                             mti_object_t *cause, uint32_t argument, uint64_t *out_next)
{
    object->u.fail.error = error;
    object->u.fail.cause = cause;
    mti_object_set(object, mti_object_kind(object), MTI_STORAGE_NONE, argument);
    if (mti_object_close(ctx, object, MTI_HEAD_CLOSED | MTI_HEAD_FAILED, out_next)) return true;
    manta_error_release(error);
    if (cause) mti_object_release(ctx, cause, MTI_COUNT_INTERNAL);
    return false;
}

void mti_object_become(mti_ctx_t *ctx, mti_object_t *object, mti_object_t *target)
{
    work_t work = {NULL, NULL};
    (void)become(ctx, object, target, &work);
    work_drain(ctx, &work);
}

void mti_forward_finish(mti_ctx_t *ctx, mti_record_t *t)
{
    work_t work = {NULL, NULL};
    work_add(&work, t);
    work_drain(ctx, &work);
}

void mti_task_fail_queued(mti_ctx_t *ctx, mti_record_t *t, manta_error_t *error,
                          mti_object_t *cause, uint32_t argument, uint64_t *out_next)
{
    (void)out_next;
    t->result.u.fail.error = error;
    t->result.u.fail.cause = cause;
    mti_object_set(&t->result, MTI_OBJECT_TASK, MTI_STORAGE_NONE, argument);
    work_t work = {NULL, NULL};
    work_add(&work, t);
    work_drain(ctx, &work);
}
