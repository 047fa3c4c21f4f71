// Tasks, for the files of this folder that submit, run and complete them.
#ifndef MTI_CORE_TASK_IMPL_H
#define MTI_CORE_TASK_IMPL_H

#include "core/actor.h"
#include "core/core.h"

// ---- the plan of a definition (plan.c) -----------------------------------------------------------

// What submit wants to know about a definition, worked out on first use and kept in |def->plan|.
enum {
    PLAN_VALID = 1u << 0,
    PLAN_LISTS = 1u << 1,
    PLAN_INOUTS = 1u << 2,
    // A CPU body, a few refs at most, all IN, one object, everything fits the record: the short ways
    // through submit and run below.
    PLAN_PLAIN = 1u << 3,
    PLAN_REFS_SHIFT = 8,     // 16 bits: IN and INOUT parameters
    PLAN_BUFFERS_SHIFT = 24, // 16 bits: parameters with a buffer
    PLAN_RESULTS_SHIFT = 40, // 16 bits: OUT and INOUT parameters
    PLAN_FIRST_SHIFT = 56,   // 8 bits: 1 + index of the only result of a plain task, 0: none
};
enum { PLAIN_REFS = 4, PLAIN_BUFFERS = PLAIN_REFS + 1 };

static inline uint32_t plan_refs(uint64_t plan)
{
    return (uint32_t)(plan >> PLAN_REFS_SHIFT) & 0xffff;
}

static inline uint32_t plan_buffers(uint64_t plan)
{
    return (uint32_t)(plan >> PLAN_BUFFERS_SHIFT) & 0xffff;
}

static inline uint32_t plan_results(uint64_t plan)
{
    return (uint32_t)(plan >> PLAN_RESULTS_SHIFT) & 0xffff;
}

// Objects that a call closes: the results, or the completion.
static inline uint32_t plan_objects(uint64_t plan)
{
    uint32_t results = plan_results(plan);
    return results ? results : 1;
}

manta_status_t mti_plan_make(manta_task_def_t *def, uint64_t *out_plan);
// Whether failed arguments of parameter |index| don't fail |t|.
bool mti_record_accepts_param(const mti_record_t *t, uint32_t index);
// The failure of an argument of another type than |param|'s.
manta_status_t mti_arg_fail_type(const char *task, const manta_param_t *param,
                                 const mti_object_t *object);

// Whether the bytes of a ready argument are what the parameter wants, where that is cheap to tell.
static inline bool bytes_fit(const manta_param_t *param, const void *data, uint64_t size)
{
    uint32_t each = param->size_bytes;
    return (each == size || (each & (each - 1)) == 0) && (size & (each - 1)) == 0 &&
           ((uintptr_t)data & (param->align - 1)) == 0;
}

// ---- submit (submit.c) ---------------------------------------------------------------------------

typedef struct submit {
    mti_thread_t *thread;
    mti_ctx_t *ctx;
    manta_task_def_t *def;
    uint64_t plan;
    const manta_task_options_t *options;
    mti_record_t *t;
    uint32_t acquired;              // arguments that were acquired so far
    manta_status_t error_arg;       // code of an error ref among the arguments
    const mti_bulk_request_t *bulk; // NULL: one call
    manta_where_t where;
    uint64_t gpu_bytes;
    manta_actor_t handle; // of a method
    mti_actor_t *actor;   // of a method, with a count; of a constructor
    bool is_create;
    bool has_open; // an argument was not ready, or had failed
} submit_t;

// The task that submits, if any, becomes the parent. One that was told to stop passes that on: its
// children inherit the epoch in which its ancestors were known to go on.
static inline void record_set_parent(const manta_task_t *task, mti_ctx_t *ctx, mti_record_t *t)
{
    uint64_t id = 0;
    uint32_t epoch = mti_atomic_u32_load_relaxed(&ctx->rt->clean_epoch);
    if (task && MTI_LIKELY(task->ctx->rt == ctx->rt)) {
        mti_record_t *parent = task->record;
        id = mti_ref_of(&parent->result).id;
        if (MTI_UNLIKELY(mti_cancel_is_stale(ctx->rt, parent))) (void)mti_cancel_look(ctx, parent);
        epoch = mti_atomic_u32_load_relaxed(&parent->cancel_epoch);
        mti_record_set_flags(parent, mti_record_flags(parent) | MTI_RECORD_PARENT);
    }
    mti_atomic_u64_store_relaxed(&t->parent, id);
    mti_atomic_u32_store_relaxed(&t->cancel_epoch, epoch);
}

// The long way of a submit, for every kind of call.
manta_status_t mti_submit_general(submit_t s, const void *args, size_t args_bytes,
                                  manta_ref_t *out_results, size_t result_count, bool always_take);
// The cold block, zeroed, for what the options ask for.
mti_cold_t *mti_submit_cold(submit_t *s);
// The context that the call goes to, which has to be open.
manta_status_t mti_submit_context(submit_t *s);
// What the options ask for, checked against what there is (options.c).
manta_status_t mti_submit_options(submit_t *s);
manta_status_t mti_submit_method_options(const submit_t *s);
// Whether the call goes to a device, and whether one can do it.
manta_status_t mti_submit_where(submit_t *s);
// Takes a place for one more task; |*out_taken| says whether it counts (flight.c).
manta_status_t mti_submit_flight(submit_t *s, bool *out_taken);
// The argument |failed| has failed before |t| was whole: so does |t|.
void mti_publish_failed(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, mti_object_t *failed,
                        uint32_t argument);

// The record is linked to its open arguments; |closed| were closed already, the first |failed| one, if
// any, fails it. |guard| is what deps was set to.
static inline void publish_linked(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, uint32_t guard,
                                  uint32_t closed, mti_object_t *failed, uint32_t argument)
{
    if (MTI_UNLIKELY(failed != NULL)) mti_publish_failed(ctx, t, gen, failed, argument);
    if (MTI_UNLIKELY(t->flags & MTI_RECORD_METHOD)) {
        if (mti_atomic_u32_fetch_sub_acq_rel(&t->deps, closed + 1) == closed + 3) {
            mti_actor_call_ready(ctx, t);
        }
        return;
    }
    mti_ready_t ready = mti_ready_of(t);
    if (closed + 1 == guard) {
        // Nobody else knows the record: no locked operation.
        mti_atomic_u32_store_relaxed(&t->deps, 0);
    } else if (mti_atomic_u32_fetch_sub_acq_rel(&t->deps, closed + 1) != closed + 1) {
        return;
    }
    uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
    if (claim == mti_claim_make(gen, 0, MTI_TASK_QUEUED)) {
        mti_record_ready(ctx, ready);
    } else if (claim == mti_claim_make(gen, 0, MTI_TASK_CANCELLED)) {
        mti_task_finish_cancelled(ctx, t, gen);
    }
}

// ---- run (run.c) -----------------------------------------------------------------------------------

// Runs what is not plain.
void mti_run_general(mti_ctx_t *ctx, mti_record_t *t, uint64_t *out_next);
// Memory for one OUT of |size| bytes.
manta_status_t mti_run_out(void *user, const manta_param_t *param, mti_object_t *object,
                           size_t size_bytes, manta_buffer_t *out_buffer);
// After the body: forwarded, tried again, or complete.
void mti_run_finish(manta_task_t *run, manta_status_t status, uint64_t *out_next);
// The canceller came when DONE was about to be stored over its flags: says it once more for the children.
// The caller holds a count.
void mti_run_cancelled_late(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen, uint16_t flags);
void mti_record_release_args(mti_ctx_t *ctx, mti_record_t *t);

#endif
