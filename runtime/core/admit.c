// Admission: who may have which resources, and when.
//
// A task that asks for some has one dependency more (GATED), which stands for its admission: when it is the
// last one left, whoever took off the one before asks for it here. So a task that waits is not ready, and
// neither its worker nor a waiter can run it. All of it happens under the rules lock.
//
// Fair:     tasks that want the same set of resources wait in one list. A round admits from the lists in
//           the order of age; who can't be admitted blocks its resources for all who are younger.
// Lending:  a thread that is about to sleep for ever walks along what it waits for. If that leads to tasks
//           that wait here, it says which, and how many of them it needs (gate_ids). All that sleep for a task
//           lend it together what they hold. Amounts are kept by pairs (lender, borrower), so after both have
//           ended everything is where it was, whoever ends first.
// Deadlock: tasks are
//           stuck if they could not be admitted even if everybody ended who does not sleep for stuck tasks. The youngest of
//           them fails. A thread that holds something is woken whenever that may have changed.
#include "core/actor.h"
#include "core/core.h"

#include <string.h>

static mti_rules_t *rules_of(mti_ctx_t *ctx)
{
    return &ctx->rt->rules;
}

// ---- what there is, and what is wanted ------------------------------------------------------------

manta_status_t mti_admit_init(mti_runtime_t *rt, const manta_runtime_options_t *options)
{
    mti_rules_t *rules = &rt->rules;
    if (options->resource_count > MTI_USER_RESOURCES ||
        (options->resource_count && !options->resources)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%zu resources%s (at most %d)",
                        options->resource_count, options->resources ? "" : " at NULL",
                        MTI_USER_RESOURCES);
    }
    rules->gpu_count = 0;
    rules->gpu_bytes = options->gpu_bytes > INT64_MAX ? INT64_MAX : options->gpu_bytes;
    memset(rules->resources, 0, sizeof rules->resources);
    memset(rules->lists, 0, sizeof rules->lists);
    rules->list_count = 0;
    rules->holders = NULL;
    rules->next_age = 0;
    mti_atomic_u32_store_relaxed(&rules->waiting, 0);
    mti_resource_t *bytes = &rules->resources[MTI_RESOURCE_HOST_BYTES];
    snprintf(bytes->name, sizeof bytes->name, "host_bytes");
    bytes->total = options->host_bytes == 0 || options->host_bytes > INT64_MAX
                       ? INT64_MAX
                       : (int64_t)options->host_bytes;
    bytes->free = bytes->total;
    rules->resource_count = 1;
    for (size_t i = 0; i < options->resource_count; i++) {
        const manta_resource_t *from = &options->resources[i];
        mti_resource_t *to = &rules->resources[rules->resource_count];
        // Written so that not-a-number fails, too.
        bool ok = from->name && *from->name && strlen(from->name) < sizeof to->name &&
                  from->amount >= 0.0 && from->amount <= 1e12;
        for (uint32_t k = 0; ok && k < rules->resource_count; k++)
            ok = strcmp(rules->resources[k].name, from->name) != 0;
        if (!ok) {
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                            "resource %zu: name '%s' (up to 31 characters, no other's), amount %g",
                            i, from->name ? from->name : "", from->amount);
        }
        snprintf(to->name, sizeof to->name, "%s", from->name);
        to->total = to->free = (int64_t)(from->amount * 1000.0 + 0.5);
        rules->resource_count++;
    }
    return MANTA_OK;
}

manta_status_t mti_admit_setup(mti_ctx_t *ctx, mti_cold_t *cold, const char *name,
                               const manta_task_options_t *options)
{
    mti_runtime_t *rt = ctx->rt;
    mti_rules_t *rules = &rt->rules;
    uint32_t resources[MTI_WANTS + MTI_GPU_RESOURCES], count = 0;
    int64_t amounts[MTI_WANTS + MTI_GPU_RESOURCES];
    const mti_resource_t *bytes = &rules->resources[MTI_RESOURCE_HOST_BYTES];
    if (options->host_bytes > (uint64_t)bytes->total) {
        return mti_fail(
            MANTA_ERR_INFEASIBLE, "task %s asks for %llu host_bytes; runtime '%s' has %llu", name,
            (unsigned long long)options->host_bytes, rt->name, (unsigned long long)bytes->total);
    }
    if (options->host_bytes && bytes->total != INT64_MAX) {
        resources[count] = MTI_RESOURCE_HOST_BYTES;
        amounts[count++] = (int64_t)options->host_bytes;
    }
    for (int i = 0; i < MTI_TASK_RESOURCES; i++) {
        const manta_resource_t *want = &options->resources[i];
        if (!want->name) continue;
        uint32_t index = 1;
        while (index < rules->resource_count &&
               strcmp(rules->resources[index].name, want->name) != 0)
            index++;
        double total =
            index < rules->resource_count ? (double)rules->resources[index].total / 1000.0 : 0.0;
        if (!(want->amount >= 0.0)) {
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "task %s: %g of '%s'", name, want->amount,
                            want->name);
        }
        if (want->amount > total) {
            return mti_fail(MANTA_ERR_INFEASIBLE,
                            "task %s asks for %g of '%s'; runtime '%s' has %g", name, want->amount,
                            want->name, rt->name, total);
        }
        int64_t amount = (int64_t)(want->amount * 1000.0 + 0.5);
        for (uint32_t k = 0; k < count; k++) {
            if (resources[k] != index) continue;
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "task %s asks for '%s' twice", name,
                            want->name);
        }
        if (amount == 0) continue;
        resources[count] = index;
        amounts[count++] = amount;
    }
    if (options->gpus > 0.0) {
        // A share of one, or several whole ones.
        uint32_t whole = options->gpus > 1.0 ? (uint32_t)options->gpus : 1;
        int64_t share = options->gpus > 1.0 ? 1000 : (int64_t)(options->gpus * 1000.0 + 0.5);
        if (share == 0) share = 1;
        for (uint32_t i = 0; i < whole; i++) {
            bool is_fixed = options->where >= manta_gpu(0);
            resources[count] =
                is_fixed ? rules->resource_count + (uint32_t)(options->where - manta_gpu(0))
                         : MTI_RESOURCE_ANY_GPU;
            amounts[count++] = share;
        }
    }
    if (count == 0) return MANTA_OK;
    cold->wants = mti_heap_alloc(&ctx->heap, count * sizeof *cold->wants);
    if (!cold->wants)
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s: no memory for its requests", name);
    cold->want_count = count;
    for (uint32_t i = 0; i < count; i++)
        cold->wants[i] = (mti_want_t){.resource = resources[i],
                                      .amount = amounts[i],
                                      .is_any_gpu = resources[i] == MTI_RESOURCE_ANY_GPU};
    return MANTA_OK;
}

// ---- GPUs -----------------------------------------------------------------------------------------
//
// Each is a resource of 1. A task that leaves open which one it gets wants any of them; it is decided when it is
// admitted, and open again when it has given back.

void mti_admit_gpus(mti_runtime_t *rt, uint32_t count)
{
    mti_rules_t *rules = &rt->rules;
    mti_mutex_lock(&rules->lock);
    rules->gpu_count = count < MTI_GPU_RESOURCES ? count : MTI_GPU_RESOURCES;
    for (uint32_t i = 0; i < rules->gpu_count; i++) {
        mti_resource_t *gpu = &rules->resources[rules->resource_count + i];
        snprintf(gpu->name, sizeof gpu->name, "GPU %u", i);
        gpu->total = gpu->free = 1000;
        snprintf((gpu + MTI_GPU_RESOURCES)->name, sizeof gpu->name, "gpu_bytes of GPU %u", i);
    }
    mti_mutex_unlock(&rules->lock);
}

// The bytes of GPU |gpu|: how many there are is asked when somebody wants some.
static mti_resource_t *gpu_bytes_locked(mti_rules_t *rules, const mti_lanes_t *lanes, uint32_t gpu)
{
    mti_resource_t *bytes = &rules->resources[rules->resource_count + MTI_GPU_RESOURCES + gpu];
    if (bytes->total) return bytes;
    uint64_t total = mti_lanes_device(lanes, gpu)->info.memory_bytes;
    if (rules->gpu_bytes && rules->gpu_bytes < total) total = rules->gpu_bytes;
    bytes->total = bytes->free = (int64_t)total;
    return bytes;
}

manta_status_t mti_admit_gpu(mti_ctx_t *ctx, mti_cold_t *cold, const char *name, uint64_t bytes,
                             mti_lanes_t *lanes, uint32_t first, uint32_t end, uint32_t *out_gpu)
{
    mti_rules_t *rules = &ctx->rt->rules;
    mti_resource_t *best = NULL;
    uint32_t count = cold->want_count;
    int64_t most = 0;
    mti_mutex_lock(&rules->lock);
    for (uint32_t gpu = first; gpu < end && gpu < rules->gpu_count; gpu++) {
        if (mti_lanes_is_lost(lanes, gpu)) continue;
        mti_resource_t *has = gpu_bytes_locked(rules, lanes, gpu);
        if (has->total > most) most = has->total;
        if (bytes > (uint64_t)has->total || (best && has->free <= best->free)) continue;
        best = has;
        *out_gpu = gpu;
    }
    bool has_none = first >= rules->gpu_count;
    mti_mutex_unlock(&rules->lock);
    if (has_none) {
        return mti_fail(MANTA_ERR_NOT_SUPPORTED,
                        "task %s asks for gpu_bytes of GPU %u: only the first %d of %u are counted",
                        name, first, MTI_GPU_RESOURCES, mti_lanes_count(lanes));
    }
    if (!best) {
        return mti_fail(MANTA_ERR_INFEASIBLE,
                        "task %s asks for %llu gpu_bytes; runtime '%s' has %lld on one GPU at most",
                        name, (unsigned long long)bytes, ctx->rt->name, (long long)most);
    }
    mti_want_t *wants = mti_heap_alloc(&ctx->heap, (count + 1) * sizeof *wants);
    if (!wants)
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s: no memory for its requests", name);
    if (count) {
        memcpy(wants, cold->wants, count * sizeof *wants);
        mti_heap_free(&ctx->heap, cold->wants, count * sizeof *wants);
    }
    for (uint32_t i = 0; i < count; i++) { // a share of the same one
        if (!wants[i].is_any_gpu) continue;
        wants[i].is_any_gpu = false;
        wants[i].resource = rules->resource_count + *out_gpu;
    }
    wants[count] =
        (mti_want_t){.resource = (uint32_t)(best - rules->resources), .amount = (int64_t)bytes};
    cold->wants = wants;
    cold->want_count = count + 1;
    return MANTA_OK;
}

static bool gpu_is_lost(mti_runtime_t *rt, uint32_t index)
{
    return mti_lanes_is_lost(mti_lanes_peek(rt), index);
}

manta_status_t mti_admit_check_gpus(mti_ctx_t *ctx, const char *name,
                                    const manta_task_options_t *options)
{
    mti_lanes_t *lanes = NULL;
    manta_status_t status = mti_lanes_start(ctx->rt, &lanes);
    if (status != MANTA_OK) return mti_fail_note(status, "task %s", name);
    double share = options->gpus;
    uint32_t all = mti_lanes_count(lanes), lost = 0;
    uint32_t count = all < MTI_GPU_RESOURCES ? all : MTI_GPU_RESOURCES;
    for (uint32_t i = 0; i < count; i++)
        lost += gpu_is_lost(ctx->rt, i);
    if (count == 0 && (status = mti_lanes_failure(lanes, name)) != MANTA_OK) return status;
    if (count == 0) {
        return mti_fail(MANTA_ERR_INFEASIBLE, "task %s asks for a GPU; this machine offers 0",
                        name);
    }
    bool is_fixed = options->where >= manta_gpu(0);
    bool is_there = is_fixed && (uint32_t)(options->where - manta_gpu(0)) < all;
    if (is_there && (uint32_t)(options->where - manta_gpu(0)) >= count) {
        return mti_fail(MANTA_ERR_NOT_SUPPORTED,
                        "task %s asks for a share of GPU %d: only the first %u of %u have shares",
                        name, (int)(options->where - manta_gpu(0)), count, all);
    }
    if (share > count && share <= all && !is_fixed) {
        return mti_fail(MANTA_ERR_NOT_SUPPORTED,
                        "task %s asks for %g GPUs: only the first %u of %u have shares", name,
                        share, count, all);
    }
    if (is_fixed && !is_there) {
        return mti_fail(MANTA_ERR_INFEASIBLE, "task %s asks for GPU %d; this machine offers %u",
                        name, (int)(options->where - manta_gpu(0)), count);
    }
    if (share > count || (share > 1.0 && is_fixed)) {
        return mti_fail(MANTA_ERR_INFEASIBLE, "task %s asks for %g GPUs%s; this machine offers %u",
                        name, share, is_fixed ? ", all on one" : "", count);
    }
    if (share > 1.0 && share != (double)(uint32_t)share) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "task %s asks for %g GPUs: a share of one, or several whole ones", name,
                        share);
    }
    if (share > 1.0 && (options->where == MANTA_GPU)) {
        return mti_fail(MANTA_ERR_INFEASIBLE,
                        "task %s asks for %g GPUs to run on one: several are for CPU bodies "
                        "(.where = MANTA_CPU)",
                        name, share);
    }
    if (share > (double)(count - lost)) {
        return mti_fail(MANTA_ERR_RESOURCE_GONE,
                        "task %s asks for %g GPUs; of %u that this machine offers %u are lost",
                        name, share, count, lost);
    }
    return MANTA_OK;
}

uint64_t mti_admit_gpus_of(const mti_record_t *t)
{
    if (mti_record_flags(t) & MTI_RECORD_METHOD) return mti_actor_gpus_of(mti_method_actor(t));
    const mti_cold_t *cold = t->cold;
    uint64_t gpus = 0;
    if (!cold || !cold->want_count) return 0;
    uint32_t first = mti_runtime_at(mti_object_runtime(&t->result))->rules.resource_count;
    for (uint32_t i = 0; i < cold->want_count; i++) {
        uint32_t resource = cold->wants[i].resource;
        if (resource >= first && resource < first + MTI_GPU_RESOURCES)
            gpus |= (uint64_t)1 << (resource - first);
    }
    return gpus;
}

// Whether |want|, of one resource, can be met.
typedef bool (*meets_fn_t)(mti_runtime_t *rt, uint64_t id, const mti_want_t *want);

static void unchoose_locked(mti_cold_t *cold)
{
    for (uint32_t i = 0; i < cold->want_count; i++)
        if (cold->wants[i].is_any_gpu) cold->wants[i].resource = MTI_RESOURCE_ANY_GPU;
}

// Decides which GPU each open want gets, so that |meets| says yes to all wants: the fullest that will do, so that
// whole ones stay whole. False: there is no way, and all is as it was. As open wants are all of the same
// amount, it does not matter who chooses first.
static bool choose_locked(mti_runtime_t *rt, mti_cold_t *cold, meets_fn_t meets)
{
    const mti_rules_t *rules = &rt->rules;
    uint64_t id = mti_ref_of(&cold->record->result).id, taken = 0;
    for (uint32_t i = 0; i < cold->want_count; i++) {
        mti_want_t *want = &cold->wants[i];
        uint32_t best = MTI_RESOURCE_ANY_GPU;
        for (uint32_t g = 0; want->is_any_gpu && g < rules->gpu_count; g++) {
            if (taken >> g & 1 || gpu_is_lost(rt, g)) continue;
            want->resource = rules->resource_count + g;
            if (!meets(rt, id, want)) continue;
            if (best == MTI_RESOURCE_ANY_GPU ||
                rules->resources[want->resource].free < rules->resources[best].free) {
                best = want->resource;
            }
        }
        if (want->is_any_gpu) want->resource = best;
        if (want->is_any_gpu ? best == MTI_RESOURCE_ANY_GPU : !meets(rt, id, want)) {
            unchoose_locked(cold);
            return false;
        }
        if (want->is_any_gpu) taken |= (uint64_t)1 << (best - rules->resource_count);
    }
    return true;
}

// Whether fewer GPUs are left than |cold| wants.
static bool is_gone_locked(mti_runtime_t *rt, const mti_cold_t *cold)
{
    uint32_t wants = 0, left = 0;
    for (uint32_t i = 0; i < cold->want_count; i++)
        wants += cold->wants[i].is_any_gpu;
    for (uint32_t g = 0; wants && g < rt->rules.gpu_count; g++)
        left += !gpu_is_lost(rt, g);
    return wants > left;
}

static void fail_gone(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen)
{
    mti_task_fail(ctx, t, gen, MANTA_ERR_RESOURCE_GONE,
                  "too few GPUs are left: devices were lost while it waited for its share", false);
}

void mti_admit_gpu_lost(mti_ctx_t *ctx)
{
    mti_rules_t *rules = &ctx->rt->rules;
    for (bool any = true; any;) {
        mti_record_t *t = NULL;
        uint32_t gen = 0;
        mti_mutex_lock(&rules->lock);
        for (uint32_t i = 0; i < MTI_ADMIT_LISTS && !t; i++) {
            for (mti_cold_t *at = rules->lists[i].first; at && !t; at = at->next) {
                if (!at->is_gone && is_gone_locked(ctx->rt, at)) {
                    at->is_gone = true; // once: it may be another's to take it out of the list
                    t = at->record;
                    gen = mti_atomic_u32_load_relaxed(&t->result.gen);
                }
            }
        }
        mti_mutex_unlock(&rules->lock);
        any = t != NULL;
        if (t) fail_gone(ctx, t, gen);
    }
}

// ---- lists ----------------------------------------------------------------------------------------

static uint64_t mask_of(const mti_rules_t *rules, const mti_cold_t *cold)
{
    uint64_t mask = 0;
    for (uint32_t i = 0; i < cold->want_count; i++) {
        if (cold->wants[i].is_any_gpu) {
            mask |= (((uint64_t)1 << rules->gpu_count) - 1) << rules->resource_count;
        } else {
            mask |= (uint64_t)1 << cold->wants[i].resource;
        }
    }
    return mask;
}

static void list_put_locked(mti_rules_t *rules, mti_cold_t *cold)
{
    uint64_t mask = mask_of(rules, cold);
    uint32_t i = 0;
    while (i < rules->list_count && rules->lists[i].mask != mask)
        i++;
    if (i == rules->list_count && i < MTI_ADMIT_LISTS - 1) rules->list_count++;
    // The last list has any masks: it counts as wanting all that its members do.
    rules->lists[i].mask |= mask;
    cold->list = i;
    cold->age = rules->next_age++;
    cold->next = NULL;
    cold->prev = rules->lists[i].last;
    if (cold->prev) {
        cold->prev->next = cold;
    } else {
        rules->lists[i].first = cold;
    }
    rules->lists[i].last = cold;
    cold->admission = MTI_ADMISSION_WAITING;
    mti_atomic_u32_owner_add(&rules->waiting, 1);
}

static void list_take_locked(mti_rules_t *rules, mti_cold_t *cold)
{
    if (cold->next) {
        cold->next->prev = cold->prev;
    } else {
        rules->lists[cold->list].last = cold->prev;
    }
    if (cold->prev) {
        cold->prev->next = cold->next;
    } else {
        rules->lists[cold->list].first = cold->next;
    }
    mti_atomic_u32_owner_add(&rules->waiting, (uint32_t)-1);
}

static void hold_locked(mti_rules_t *rules, mti_cold_t *cold)
{
    cold->admission = MTI_ADMISSION_GRANTED;
    cold->prev = NULL;
    cold->next = rules->holders;
    if (cold->next) cold->next->prev = cold;
    rules->holders = cold;
}

// ---- admission ------------------------------------------------------------------------------------

static bool is_free_locked(mti_runtime_t *rt, uint64_t id, const mti_want_t *want)
{
    (void)id;
    return rt->rules.resources[want->resource].free >= want->amount;
}

static void take_locked(mti_rules_t *rules, mti_cold_t *cold)
{
    for (uint32_t i = 0; i < cold->want_count; i++)
        rules->resources[cold->wants[i].resource].free -= cold->wants[i].amount;
    hold_locked(rules, cold);
}

// Those that were admitted, to be let go after the lock; their dependency keeps them.
typedef struct admitted {
    mti_cold_t *first, *last; // linked by |next_admitted|
} admitted_t;

static void admitted_add(admitted_t *admitted, mti_cold_t *cold)
{
    cold->next_admitted = NULL;
    if (admitted->last) {
        admitted->last->next_admitted = cold;
    } else {
        admitted->first = cold;
    }
    admitted->last = cold;
}

static void admitted_go(mti_ctx_t *ctx, admitted_t *admitted)
{
    for (mti_cold_t *at = admitted->first, *next; at; at = next) {
        next = at->next_admitted;
        mti_record_t *t = at->record;
        uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
        uint64_t held = mti_claim_make(gen, 0, MTI_TASK_HELD); // after a failed attempt
        (void)mti_atomic_u64_cas_acq_rel(&t->claim, &held, mti_claim_make(gen, 0, MTI_TASK_QUEUED));
        mti_record_dep_done(ctx, t, NULL);
    }
}

// Admits whoever can be, oldest first.
static void round_locked(mti_runtime_t *rt, admitted_t *admitted)
{
    mti_rules_t *rules = &rt->rules;
    uint64_t blocked = 0;
    for (;;) {
        mti_cold_t *oldest = NULL;
        for (uint32_t i = 0; i < MTI_ADMIT_LISTS; i++) {
            mti_cold_t *first = rules->lists[i].first;
            if (!first || rules->lists[i].mask & blocked) continue;
            if (!oldest || first->age < oldest->age) oldest = first;
        }
        if (!oldest) return;
        if (choose_locked(rt, oldest, is_free_locked)) {
            list_take_locked(rules, oldest);
            take_locked(rules, oldest);
            admitted_add(admitted, oldest);
        } else {
            blocked |= rules->lists[oldest->list].mask;
        }
    }
}

// Whether somebody who wants the same was there before.
static bool is_blocked_locked(const mti_rules_t *rules, uint64_t mask)
{
    if (mti_atomic_u32_load_relaxed(&rules->waiting) == 0) return false;
    for (uint32_t i = 0; i < MTI_ADMIT_LISTS; i++) {
        if (rules->lists[i].first && rules->lists[i].mask & mask) return true;
    }
    return false;
}

// Wakes the threads that sleep and may have something to lend, or that sleep for somebody who waits here.
static void poke(mti_runtime_t *rt)
{
    mti_mutex_lock(&rt->lock);
    for (mti_ctx_t *ctx = rt->ctxs; ctx; ctx = ctx->next_all) {
        if (mti_atomic_u64_load_seq_cst(&ctx->waiting_on) ||
            mti_atomic_u32_load_acquire(&ctx->waiting)) {
            mti_wait_wake(rt, (uint32_t)ctx->sched.index);
        }
    }
    mti_mutex_unlock(&rt->lock);
}

void mti_admit_reached(mti_ctx_t *ctx, mti_record_t *t)
{
    mti_rules_t *rules = rules_of(ctx);
    mti_cold_t *cold = t->cold;
    admitted_t admitted = {NULL, NULL};
    mti_mutex_lock(&rules->lock);
    bool waits = false, is_gone = false;
    uint32_t gen = mti_atomic_u32_load_relaxed(&t->result.gen);
    if (cold->admission == MTI_ADMISSION_DROPPED) {
        admitted_add(&admitted, cold); // its dependency goes; it is cancelled and won't run
    } else if (!is_blocked_locked(rules, mask_of(rules, cold)) &&
               choose_locked(ctx->rt, cold, is_free_locked)) {
        take_locked(rules, cold);
        admitted_add(&admitted, cold);
    } else {
        list_put_locked(rules, cold);
        waits = rules->holders != NULL;
        is_gone = cold->is_gone = is_gone_locked(ctx->rt, cold);
    }
    mti_mutex_unlock(&rules->lock);
    admitted_go(ctx, &admitted);
    if (is_gone) fail_gone(ctx, t, gen);
    if (waits) poke(ctx->rt); // holders that sleep for it don't know yet
}

bool mti_admit_drop_locked(mti_ctx_t *ctx, mti_cold_t *cold)
{
    if (!cold->want_count) return false;
    if (cold->admission == MTI_ADMISSION_WAITING) {
        list_take_locked(rules_of(ctx), cold);
        cold->admission = MTI_ADMISSION_DROPPED;
        return true;
    }
    if (cold->admission == MTI_ADMISSION_NONE) cold->admission = MTI_ADMISSION_DROPPED;
    return false;
}

// ---- giving back ----------------------------------------------------------------------------------

static void give_back_locked(mti_rules_t *rules, mti_want_t *want)
{
    rules->resources[want->resource].free += want->amount - want->borrowed - want->lent;
    for (uint32_t i = 0; i < want->loan_count; i++) {
        mti_loan_t *loan = &want->loans[i];
        if (!loan->lender) continue;
        loan->lender->lent -= loan->amount;
        if (loan->next) loan->next->prev = loan->prev;
        if (loan->prev) {
            loan->prev->next = loan->next;
        } else {
            loan->lender->given = loan->next;
        }
    }
    // Who has borrowed from us gives back to all: we did not.
    for (mti_loan_t *loan = want->given, *next; loan; loan = next) {
        next = loan->next;
        loan->borrower->borrowed -= loan->amount;
        loan->lender = NULL;
    }
    want->given = NULL;
    want->loan_count = 0;
    want->borrowed = want->lent = 0;
}

void mti_admit_end(mti_ctx_t *ctx, mti_cold_t *cold)
{
    mti_rules_t *rules = rules_of(ctx);
    admitted_t admitted = {NULL, NULL};
    mti_mutex_lock(&rules->lock);
    bool held = cold->admission == MTI_ADMISSION_GRANTED;
    if (held) {
        if (cold->next) cold->next->prev = cold->prev;
        if (cold->prev) {
            cold->prev->next = cold->next;
        } else {
            rules->holders = cold->next;
        }
        for (uint32_t i = 0; i < cold->want_count; i++)
            give_back_locked(rules, &cold->wants[i]);
        unchoose_locked(cold);
        cold->admission = MTI_ADMISSION_NONE;
        if (mti_atomic_u32_load_relaxed(&rules->waiting)) round_locked(ctx->rt, &admitted);
    }
    bool others = held && mti_atomic_u32_load_relaxed(&rules->waiting) && rules->holders;
    mti_mutex_unlock(&rules->lock);
    admitted_go(ctx, &admitted);
    if (others) poke(ctx->rt); // what is free now may do, together with what they could lend
}

// Behind what is held by no task: it never sleeps.
static mti_record_t nobody = {.def = &mti_actor_share_def};

void mti_admit_move(mti_ctx_t *ctx, mti_cold_t *from, mti_cold_t *to)
{
    mti_rules_t *rules = rules_of(ctx);
    mti_mutex_lock(&rules->lock);
    to->wants = from->wants; // loans point into them
    to->want_count = from->want_count;
    to->record = &nobody;
    from->wants = NULL;
    from->want_count = 0;
    if (from->admission == MTI_ADMISSION_GRANTED) {
        if (from->next) from->next->prev = from->prev;
        if (from->prev) {
            from->prev->next = from->next;
        } else {
            rules->holders = from->next;
        }
        hold_locked(rules, to);
    }
    from->admission = MTI_ADMISSION_NONE;
    mti_mutex_unlock(&rules->lock);
}

int64_t mti_admit_gpu_free(mti_runtime_t *rt, uint32_t index)
{
    mti_rules_t *rules = &rt->rules;
    mti_mutex_lock(&rules->lock);
    int64_t free =
        index < rules->gpu_count ? rules->resources[rules->resource_count + index].free : 0;
    mti_mutex_unlock(&rules->lock);
    return free;
}

// ---- lending --------------------------------------------------------------------------------------

bool mti_admit_holds(const mti_ctx_t *ctx)
{
    const mti_thread_t *thread = mti_thread_tls;
    if (mti_atomic_u32_load_relaxed(&ctx->rt->rules.waiting) == 0) return false;
    for (const manta_task_t *run = thread->task; run; run = run->outer) {
        const mti_cold_t *cold = run->record->cold;
        if (run->ctx->rt == ctx->rt && cold && cold->want_count) return true;
    }
    return false;
}

// The context of the thread that runs |cold|'s task and sleeps for somebody who waits here. NULL: it goes on,
// or several threads run it (a range), who share what it holds.
static const mti_ctx_t *sleeper_of(mti_runtime_t *rt, const mti_cold_t *cold)
{
    uint64_t claim = mti_atomic_u64_load_acquire(&cold->record->claim);
    if (mti_claim_state(claim) != MTI_TASK_RUNNING) return NULL;
    mti_ctx_t *ctx = (mti_ctx_t *)(void *)mti_sched_ctx_at(rt->sched, mti_claim_ctx(claim));
    return ctx && ctx->gate_need ? ctx : NULL;
}

static bool sleeps_for(const mti_ctx_t *ctx, uint64_t id)
{
    bool found = false;
    for (uint32_t i = 0; i < ctx->gate_count; i++)
        found |= ctx->gate_ids[i] == id;
    return found;
}

// The next want, from |*holder| and |*i| on, of a task that sleeps for |id| and has some of |resource|.
static mti_want_t *next_lender_locked(mti_runtime_t *rt, uint64_t id, uint32_t resource,
                                      mti_cold_t **holder, uint32_t *i)
{
    for (; *holder; *holder = (*holder)->next, *i = 0) {
        const mti_ctx_t *sleeper = sleeper_of(rt, *holder);
        if (!sleeper || !sleeps_for(sleeper, id)) continue;
        while (*i < (*holder)->want_count) {
            mti_want_t *at = &(*holder)->wants[(*i)++];
            if (at->resource == resource && at->amount > at->lent) return at;
        }
    }
    return NULL;
}

// What is missing of |want|, if all that is free goes to it.
static int64_t missing_locked(const mti_rules_t *rules, const mti_want_t *want)
{
    int64_t free = rules->resources[want->resource].free;
    if (free < 0) free = 0;
    return want->amount > free ? want->amount - free : 0;
}

// Whether those that sleep for |id| have together what is missing of |want|.
static bool can_lend_locked(mti_runtime_t *rt, uint64_t id, const mti_want_t *want)
{
    int64_t missing = missing_locked(&rt->rules, want);
    mti_cold_t *holder = rt->rules.holders;
    uint32_t i = 0;
    for (int lenders = 0; missing > 0 && lenders < MTI_LOANS; lenders++) {
        mti_want_t *lender = next_lender_locked(rt, id, want->resource, &holder, &i);
        if (!lender) break;
        missing -= lender->amount - lender->lent;
    }
    return missing <= 0;
}

static bool lend_locked(mti_runtime_t *rt, uint64_t id, mti_cold_t *cold)
{
    mti_rules_t *rules = &rt->rules;
    if (!choose_locked(rt, cold, can_lend_locked)) return false;
    list_take_locked(rules, cold);
    for (uint32_t k = 0; k < cold->want_count; k++) {
        mti_want_t *want = &cold->wants[k];
        int64_t missing = missing_locked(rules, want);
        rules->resources[want->resource].free -= want->amount - missing;
        want->borrowed = missing;
        mti_cold_t *holder = rules->holders;
        uint32_t i = 0;
        while (missing > 0) {
            mti_want_t *lender = next_lender_locked(rt, id, want->resource, &holder, &i);
            mti_loan_t *loan = &want->loans[want->loan_count++];
            int64_t has = lender->amount - lender->lent;
            *loan = (mti_loan_t){.lender = lender, .borrower = want, .next = lender->given};
            loan->amount = has < missing ? has : missing;
            if (loan->next) loan->next->prev = loan;
            lender->given = loan;
            lender->lent += loan->amount;
            missing -= loan->amount;
        }
    }
    hold_locked(rules, cold);
    return true;
}

// The task's cold block, if it waits to be admitted. While it is queued that is not freed without the lock.
static mti_cold_t *waiting_locked(mti_record_t *t, uint32_t gen)
{
    uint64_t claim = mti_atomic_u64_load_acquire(&t->claim);
    bool queued = claim == mti_claim_make(gen, 0, MTI_TASK_QUEUED) ||
                  claim == mti_claim_make(gen, 0, MTI_TASK_HELD);
    return queued && t->cold && t->cold->admission == MTI_ADMISSION_WAITING ? t->cold : NULL;
}

// ---- deadlock -------------------------------------------------------------------------------------

static bool is_stuck_id_locked(uint64_t id)
{
    mti_record_t *t = id ? mti_record_at((uint32_t)id) : NULL;
    mti_cold_t *cold = t ? waiting_locked(t, (uint32_t)(id >> 32)) : NULL;
    return cold && cold->is_stuck;
}

// Whether the thread of |ctx| never goes on.
static bool is_stuck_locked(const mti_ctx_t *ctx)
{
    uint32_t go_on = 0;
    for (uint32_t i = 0; i < ctx->gate_count; i++)
        go_on += !is_stuck_id_locked(ctx->gate_ids[i]);
    return go_on < ctx->gate_need;
}

// Whether |want| could be met if all went on that can.
static bool could_be_met_locked(mti_runtime_t *rt, uint64_t id, const mti_want_t *want)
{
    int64_t sum = rt->rules.resources[want->resource].free;
    for (const mti_cold_t *holder = rt->rules.holders; holder; holder = holder->next) {
        const mti_ctx_t *sleeper = sleeper_of(rt, holder);
        if (sleeper && !sleeps_for(sleeper, id) && is_stuck_locked(sleeper)) continue;
        for (uint32_t k = 0; k < holder->want_count; k++) {
            const mti_want_t *at = &holder->wants[k];
            if (at->resource == want->resource) sum += at->amount - at->lent;
        }
    }
    return sum >= want->amount;
}

static bool could_be_admitted_locked(mti_runtime_t *rt, mti_cold_t *cold)
{
    bool could = choose_locked(rt, cold, could_be_met_locked);
    unchoose_locked(cold); // it only looked
    return could;
}

// The youngest of those that can never be admitted, NULL: there are none.
static mti_cold_t *find_stuck_locked(mti_runtime_t *rt)
{
    mti_rules_t *rules = &rt->rules;
    for (uint32_t i = 0; i < MTI_ADMIT_LISTS; i++) {
        for (mti_cold_t *at = rules->lists[i].first; at; at = at->next)
            at->is_stuck = true;
    }
    mti_cold_t *youngest = NULL;
    for (bool changed = true; changed;) {
        changed = false;
        youngest = NULL;
        for (uint32_t i = 0; i < MTI_ADMIT_LISTS; i++) {
            for (mti_cold_t *at = rules->lists[i].first; at; at = at->next) {
                if (!at->is_stuck) continue;
                if (could_be_admitted_locked(rt, at)) {
                    at->is_stuck = false;
                    changed = true;
                } else if (!youngest || at->age > youngest->age) {
                    youngest = at;
                }
            }
        }
    }
    return youngest;
}

// Says who holds what |cold| wants.
static void describe_locked(mti_runtime_t *rt, const mti_cold_t *cold, char *text, size_t size)
{
    size_t length = 0;
    for (uint32_t i = 0; i < cold->want_count && length < size; i++) {
        const mti_want_t *want = &cold->wants[i];
        if (want->is_any_gpu) {
            length += (size_t)snprintf(
                text + length, size - length, "%swants %.15g of a GPU",
                length ? "; " : "can never be admitted: ", (double)want->amount / 1000.0);
            continue;
        }
        const mti_resource_t *resource = &rt->rules.resources[want->resource];
        double unit = want->resource == MTI_RESOURCE_HOST_BYTES ? 1.0 : 1000.0;
        length += (size_t)snprintf(
            text + length, size - length, "%swants %.15g of '%s', %.15g of %.15g are free",
            length ? "; " : "can never be admitted: ", (double)want->amount / unit, resource->name,
            (double)resource->free / unit, (double)resource->total / unit);
        for (const mti_cold_t *at = rt->rules.holders; at && length < size; at = at->next) {
            for (uint32_t k = 0; k < at->want_count && length < size; k++) {
                if (at->wants[k].resource != want->resource) continue;
                length += (size_t)snprintf(text + length, size - length, ", %s holds %.15g",
                                           mti_record_name(at->record),
                                           (double)at->wants[k].amount / unit);
            }
        }
    }
}

bool mti_admit_sleep(mti_ctx_t *ctx, const uint64_t *ids, uint32_t count, uint32_t need)
{
    mti_rules_t *rules = rules_of(ctx);
    char text[400];
    if (need == 0 && ctx->gate_need == 0) return false; // written by this thread only
    admitted_t admitted = {NULL, NULL};
    mti_mutex_lock(&rules->lock);
    bool is_new = need && (count != ctx->gate_count || need != ctx->gate_need ||
                           memcmp(ids, ctx->gate_ids, count * sizeof *ids) != 0);
    if (need) memcpy(ctx->gate_ids, ids, count * sizeof *ids);
    ctx->gate_count = count;
    ctx->gate_need = need;
    for (uint32_t i = 0; need && i < count; i++) {
        mti_cold_t *cold =
            waiting_locked(mti_record_at((uint32_t)ids[i]), (uint32_t)(ids[i] >> 32));
        if (cold && lend_locked(ctx->rt, ids[i], cold)) admitted_add(&admitted, cold);
    }
    // Only who holds something completes a deadlock; the others wake the holders that sleep for them.
    bool search = need && !admitted.first && mti_admit_holds(ctx);
    mti_cold_t *stuck = search ? find_stuck_locked(ctx->rt) : NULL;
    mti_record_t *t = stuck ? stuck->record : NULL;
    uint32_t gen = t ? mti_atomic_u32_load_relaxed(&t->result.gen) : 0;
    if (stuck) describe_locked(ctx->rt, stuck, text, sizeof text);
    mti_mutex_unlock(&rules->lock);
    bool lent = admitted.first != NULL;
    admitted_go(ctx, &admitted);
    if (t) mti_task_fail(ctx, t, gen, MANTA_ERR_OUT_OF_MEMORY, text, false);
    // Others may sleep for what this thread is in, and have something to lend.
    if (is_new) poke(ctx->rt);
    return lent;
}
