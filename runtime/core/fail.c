// Failing a task from outside, wherever it stands: cancel, time, failed arguments.
#include "core/task_impl.h"

void mti_task_finish_cancelled(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen)
{
    // With the generation that the caller saw without dependencies: the slot's next task may be
    // cancelled, too, and still have some.
    uint64_t cancelled = mti_claim_make(gen, 0, MTI_TASK_CANCELLED);
    if (!mti_atomic_u64_cas_seq_cst(&t->claim, &cancelled, mti_claim_make(gen, 0, MTI_TASK_DONE))) {
        return; // somebody else does it
    }
    mti_actor_t *actor = t->flags & MTI_RECORD_METHOD ? mti_method_actor(t) : NULL;
    uint32_t group = actor ? mti_method_of(t)->group : 0;
    mti_record_release_args(ctx, t);
    mti_record_free_room(ctx, t);
    mti_record_set_flags(t, 0);
    t->cold = NULL;
    if (actor) mti_actor_call_over(ctx, actor, group, mti_ref_make(t->result.slot, gen).id);
    // One result: the count of fail_results; several: the record's own.
    mti_object_release(ctx, &t->result, t->result_count == 1 ? MTI_COUNT_INTERNAL : MTI_COUNT_SLOT);
}

// Fails a task that was moved from |claim| to CANCELLING, with |given|, or |code| and |why|.
static bool fail_waiting(mti_ctx_t *ctx, mti_record_t *t, uint64_t claim, manta_status_t code,
                         const char *why, const manta_error_t *given)
{
    uint64_t cancelling = mti_claim_make(mti_claim_gen(claim), 0, MTI_TASK_CANCELLING);
    if (!mti_atomic_u64_cas_acq_rel(&t->claim, &claim, cancelling)) return false;
    manta_error_t *error =
        given ? (manta_error_t *)manta_error_retain(given)
              : mti_error_create(code, MANTA_SCOPE_TASK, mti_record_name(t), "", 0, why, NULL);
    mti_task_fail_queued(ctx, t, error, NULL, 0, NULL);
    return true;
}

// Of a running task with several results, which the caller has marked CLOSING: the record and its list
// of results stay until that mark is gone.
static void fail_several(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, uint64_t bits)
{
    for (uint32_t i = 0; i < t->result_count; i++) {
        mti_object_t *object = mti_record_result(t, i);
        mti_object_pin_open(object); // the body may write to its buffer until it returns
        (void)mti_object_close(ctx, object, bits, NULL);
    }
    uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
    // release: the results are closed; acquire: what the body's thread did with the record
    while (!mti_atomic_u64_cas_acq_rel(&t->claim, &claim, claim & ~MTI_CLAIM_CLOSING)) {
    }
    if (!(claim & MTI_CLAIM_RETURNED)) return;
    const manta_task_def_t *def = t->def;
    mti_task_finish_several(ctx, t, gen);
    mti_task_count_completed(ctx, def);
    if (!ctx->sched.thread) mti_drain_check(ctx);
}

// Tells a running (or forwarded) task to stop and fails its results now.
static bool fail_running(mti_ctx_t *ctx, mti_record_t *t, uint64_t claim, manta_status_t code,
                         bool children)
{
    uint32_t gen = mti_claim_gen(claim);
    uint64_t flags = MTI_CLAIM_CANCEL | MTI_CLAIM_CLOSING | (children ? MTI_CLAIM_CHILDREN : 0);
    if (!mti_atomic_u64_cas_acq_rel(&t->claim, &claim, claim | flags)) return false;
    uint64_t bits = mti_head_bare(code) | (children ? MTI_HEAD_CHILDREN : 0);
    // With one result the task may be complete by now, and the slot another's: the claim tells, read
    // after the number of results. With several it stays as long as CLOSING is set.
    uint16_t results = __atomic_load_n(&t->result_count, __ATOMIC_ACQUIRE);
    bool has_children = __atomic_load_n(&t->flags, __ATOMIC_ACQUIRE) & MTI_RECORD_PARENT;
    if (mti_claim_gen(mti_atomic_u64_load_acquire(&t->claim)) != gen) return true;
    if (results > 1) {
        fail_several(ctx, t, gen, bits);
    } else {
        // A count keeps the slot until the body returns. Without a holder nobody would see the failure.
        mti_object_t *object =
            mti_ref_acquire_weak(mti_ref_make(t->result.slot, gen).id, MTI_COUNT_INTERNAL);
        if (object && !mti_object_close(ctx, object, bits, NULL)) {
            mti_object_release(ctx, object, MTI_COUNT_INTERNAL);
        }
    }
    mti_wait_wake(ctx->rt, mti_claim_ctx(claim)); // the body may sleep in a wait
    if (children) mti_cancel_announce(ctx->rt, has_children);
    return true;
}

static void task_fail(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, manta_status_t code,
                      const char *why, bool children, const manta_error_t *given)
{
    for (;;) {
        uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
        mti_task_state_t state = mti_claim_state(claim);
        if (mti_claim_gen(claim) != gen) return;
        if (state == MTI_TASK_QUEUED || state == MTI_TASK_HELD) {
            if (fail_waiting(ctx, t, claim, code, why, given)) return;
        } else if (state == MTI_TASK_RUNNING || state == MTI_TASK_FORWARDED) {
            if (claim & MTI_CLAIM_CANCEL || fail_running(ctx, t, claim, code, children)) return;
        } else {
            return; // complete, or somebody else is at it
        }
    }
}

void mti_task_fail(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, manta_status_t code,
                   const char *why, bool children)
{
    task_fail(ctx, t, gen, code, why, children, NULL);
}

void mti_task_fail_now(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, const manta_error_t *error)
{
    task_fail(ctx, t, gen, manta_error_code(error), "", false, error);
}

manta_status_t mti_task_cancel(mti_ctx_t *ctx, mti_object_t *object, bool children)
{
    mti_object_kind_t kind = mti_object_kind(object);
    if (kind != MTI_OBJECT_TASK && kind != MTI_OBJECT_RESULT) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "cancel: this ref was not made by a task");
    }
    uint64_t head;
    if (mti_object_is_closed(object, &head)) return MANTA_OK;
    mti_record_t *t = mti_record_at(object->producer);
    uint32_t gen = mti_claim_gen(mti_atomic_u64_load_acquire(&t->claim));
    if (mti_object_is_closed(object, &head)) return MANTA_OK; // |t| may be another task by now
    mti_task_fail(ctx, t, gen, MANTA_ERR_CANCELLED, "cancelled before it ran", children);
    return MANTA_OK;
}
