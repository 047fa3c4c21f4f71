// Admission: who may have which resources, and when.
//
// A task that asks for some has one dependency more (GATED), which stands for its admission: when it is the
// last one left, whoever took off the one before asks for it here. So a task that waits is not ready, and
// neither its worker nor a waiter can run it. All of it happens under the rules lock.
//
// Fair:     tasks that want the same set of resources wait in one list. A round admits from the lists in
//           the order of age; who can't be admitted blocks its resources for all who are younger.
// Lending:  a thread that is about to sleep for ever walks along what it waits for. If that leads to a task
//           that waits here, it lends it what the tasks on its stack hold. Amounts are kept by pairs (lender,
//           borrower), so after both have ended everything is where it was, whoever ends first.
// Deadlock: such a thread says which task it sleeps for (gate_wait). Tasks are stuck if they could not be
//           admitted even if everybody went on and ended who does not sleep for a stuck task. The youngest of
//           them fails. A thread that holds something is woken whenever that may have changed.
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
    if (options->resource_count >= MTI_RESOURCES ||
        (options->resource_count && !options->resources)) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%zu resources%s (at most %d)",
                        options->resource_count, options->resources ? "" : " at NULL",
                        MTI_RESOURCES - 1);
    }
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

manta_status_t mti_admit_setup(mti_runtime_t *rt, mti_cold_t *cold, const char *name,
                               const manta_task_options_t *options)
{
    mti_rules_t *rules = &rt->rules;
    const mti_resource_t *bytes = &rules->resources[MTI_RESOURCE_HOST_BYTES];
    if (options->host_bytes > (uint64_t)bytes->total) {
        return mti_fail(
            MANTA_ERR_INFEASIBLE, "task %s asks for %llu host_bytes; runtime '%s' has %llu", name,
            (unsigned long long)options->host_bytes, rt->name, (unsigned long long)bytes->total);
    }
    if (options->host_bytes && bytes->total != INT64_MAX) {
        cold->wants[cold->want_count++] = (mti_want_t){.resource = MTI_RESOURCE_HOST_BYTES,
                                                       .amount = (int64_t)options->host_bytes};
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
        for (uint32_t k = 0; k < cold->want_count; k++) {
            if (cold->wants[k].resource != index) continue;
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "task %s asks for '%s' twice", name,
                            want->name);
        }
        if (amount)
            cold->wants[cold->want_count++] = (mti_want_t){.resource = index, .amount = amount};
    }
    return MANTA_OK;
}

// ---- lists ----------------------------------------------------------------------------------------

static uint32_t mask_of(const mti_cold_t *cold)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < cold->want_count; i++)
        mask |= 1u << cold->wants[i].resource;
    return mask;
}

static void list_put_locked(mti_rules_t *rules, mti_cold_t *cold)
{
    uint32_t mask = mask_of(cold), i = 0;
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

static bool fits_locked(const mti_rules_t *rules, const mti_cold_t *cold)
{
    for (uint32_t i = 0; i < cold->want_count; i++) {
        if (rules->resources[cold->wants[i].resource].free < cold->wants[i].amount) return false;
    }
    return true;
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
static void round_locked(mti_rules_t *rules, admitted_t *admitted)
{
    uint32_t blocked = 0;
    for (;;) {
        mti_cold_t *oldest = NULL;
        for (uint32_t i = 0; i < MTI_ADMIT_LISTS; i++) {
            mti_cold_t *first = rules->lists[i].first;
            if (!first || rules->lists[i].mask & blocked) continue;
            if (!oldest || first->age < oldest->age) oldest = first;
        }
        if (!oldest) return;
        if (fits_locked(rules, oldest)) {
            list_take_locked(rules, oldest);
            take_locked(rules, oldest);
            admitted_add(admitted, oldest);
        } else {
            blocked |= rules->lists[oldest->list].mask;
        }
    }
}

// Whether somebody who wants the same was there before.
static bool is_blocked_locked(const mti_rules_t *rules, uint32_t mask)
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
    bool waits = false;
    if (cold->admission == MTI_ADMISSION_DROPPED) {
        admitted_add(&admitted, cold); // its dependency goes; it is cancelled and won't run
    } else if (!is_blocked_locked(rules, mask_of(cold)) && fits_locked(rules, cold)) {
        take_locked(rules, cold);
        admitted_add(&admitted, cold);
    } else {
        list_put_locked(rules, cold);
        waits = rules->holders != NULL;
    }
    mti_mutex_unlock(&rules->lock);
    admitted_go(ctx, &admitted);
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
    if (want->lender) {
        want->lender->lent -= want->borrowed;
        if (want->next) want->next->prev = want->prev;
        if (want->prev) {
            want->prev->next = want->next;
        } else {
            want->lender->borrowers = want->next;
        }
    }
    // Who has borrowed from us gives back to all: we did not.
    for (mti_want_t *at = want->borrowers, *next; at; at = next) {
        next = at->next;
        at->lender = at->next = at->prev = NULL;
        at->borrowed = 0;
    }
    want->lender = want->borrowers = want->next = want->prev = NULL;
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
        cold->admission = MTI_ADMISSION_NONE;
        if (mti_atomic_u32_load_relaxed(&rules->waiting)) round_locked(rules, &admitted);
    }
    bool others = held && mti_atomic_u32_load_relaxed(&rules->waiting) && rules->holders;
    mti_mutex_unlock(&rules->lock);
    admitted_go(ctx, &admitted);
    if (others) poke(ctx->rt); // what is free now may do, together with what they could lend
}

// ---- lending --------------------------------------------------------------------------------------

// The task of |run| if it holds something that its thread may lend: pieces of a range share it.
static mti_cold_t *lender_of(const manta_task_t *run)
{
    mti_cold_t *cold = run->record->cold;
    bool holds = cold && cold->want_count && !(mti_record_flags(run->record) & MTI_RECORD_RANGE);
    return holds ? cold : NULL;
}

bool mti_admit_holds(const mti_ctx_t *ctx)
{
    const mti_thread_t *thread = mti_thread_tls;
    if (mti_atomic_u32_load_relaxed(&ctx->rt->rules.waiting) == 0) return false;
    for (const manta_task_t *run = thread->task; run; run = run->outer) {
        if (run->ctx->rt == ctx->rt && lender_of(run)) return true;
    }
    return false;
}

// Finds a task on this stack that has the part of |want| that is not free. NULL: |*out_missing| is.
static mti_want_t *find_lender_locked(mti_ctx_t *ctx, const mti_want_t *want, int64_t *out_missing)
{
    int64_t free = rules_of(ctx)->resources[want->resource].free;
    *out_missing = want->amount - (free > 0 ? free : 0);
    if (*out_missing <= 0) *out_missing = 0;
    if (*out_missing == 0) return NULL;
    for (manta_task_t *run = mti_thread_tls->task; run; run = run->outer) {
        mti_cold_t *cold = run->ctx->rt == ctx->rt ? lender_of(run) : NULL;
        for (uint32_t i = 0; cold && i < cold->want_count; i++) {
            mti_want_t *at = &cold->wants[i];
            if (cold->admission != MTI_ADMISSION_GRANTED || at->resource != want->resource)
                continue;
            if (at->amount - at->lent >= *out_missing) return at;
        }
    }
    return NULL;
}

static bool lend_locked(mti_ctx_t *ctx, mti_cold_t *cold)
{
    mti_want_t *lenders[MTI_WANTS];
    int64_t missing[MTI_WANTS];
    for (uint32_t i = 0; i < cold->want_count; i++) {
        lenders[i] = find_lender_locked(ctx, &cold->wants[i], &missing[i]);
        if (missing[i] && !lenders[i]) return false;
    }
    mti_rules_t *rules = rules_of(ctx);
    list_take_locked(rules, cold);
    for (uint32_t i = 0; i < cold->want_count; i++) {
        mti_want_t *want = &cold->wants[i];
        rules->resources[want->resource].free -= want->amount - missing[i];
        if (!lenders[i]) continue;
        want->borrowed = missing[i];
        want->lender = lenders[i];
        lenders[i]->lent += missing[i];
        want->prev = NULL;
        want->next = lenders[i]->borrowers;
        if (want->next) want->next->prev = want;
        lenders[i]->borrowers = want;
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

bool mti_admit_lend(mti_ctx_t *ctx, mti_record_t *t, uint32_t gen)
{
    mti_rules_t *rules = rules_of(ctx);
    admitted_t admitted = {NULL, NULL};
    mti_mutex_lock(&rules->lock);
    mti_cold_t *cold = waiting_locked(t, gen);
    bool lent = cold && lend_locked(ctx, cold);
    if (lent) admitted_add(&admitted, cold);
    mti_mutex_unlock(&rules->lock);
    admitted_go(ctx, &admitted);
    return lent;
}

// ---- deadlock -------------------------------------------------------------------------------------

// The id of the task that the thread sleeps for that runs |cold|'s task; 0: it goes on.
static uint64_t sleeps_for(mti_runtime_t *rt, const mti_cold_t *cold)
{
    uint64_t claim = mti_atomic_u64_load_acquire(&cold->record->claim);
    if (mti_claim_state(claim) != MTI_TASK_RUNNING) return 0;
    mti_ctx_t *ctx = (mti_ctx_t *)(void *)mti_sched_ctx_at(rt->sched, mti_claim_ctx(claim));
    return ctx ? mti_atomic_u64_load_acquire(&ctx->gate_wait) : 0;
}

static bool is_stuck_id_locked(uint64_t id)
{
    mti_record_t *t = id ? mti_record_at((uint32_t)id) : NULL;
    mti_cold_t *cold = t ? waiting_locked(t, (uint32_t)(id >> 32)) : NULL;
    return cold && cold->is_stuck;
}

// What |cold| could get if all went on that can.
static bool could_be_admitted_locked(mti_runtime_t *rt, const mti_cold_t *cold)
{
    uint64_t id = mti_ref_of(&cold->record->result).id;
    for (uint32_t i = 0; i < cold->want_count; i++) {
        const mti_want_t *want = &cold->wants[i];
        int64_t sum = rt->rules.resources[want->resource].free;
        for (const mti_cold_t *holder = rt->rules.holders; holder; holder = holder->next) {
            uint64_t on = sleeps_for(rt, holder);
            if (on != id && is_stuck_id_locked(on)) continue;
            for (uint32_t k = 0; k < holder->want_count; k++) {
                const mti_want_t *at = &holder->wants[k];
                if (at->resource == want->resource) sum += at->amount - at->lent;
            }
        }
        if (sum < want->amount) return false;
    }
    return true;
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

void mti_admit_sleep(mti_ctx_t *ctx, uint64_t id)
{
    mti_rules_t *rules = rules_of(ctx);
    char text[400];
    mti_mutex_lock(&rules->lock);
    bool is_new = mti_atomic_u64_load_relaxed(&ctx->gate_wait) != id;
    mti_atomic_u64_store_release(&ctx->gate_wait, id);
    // Only who holds something completes a deadlock; the others wake the holders that sleep for them.
    mti_cold_t *stuck = mti_admit_holds(ctx) ? find_stuck_locked(ctx->rt) : NULL;
    mti_record_t *t = stuck ? stuck->record : NULL;
    uint32_t gen = t ? mti_atomic_u32_load_relaxed(&t->result.gen) : 0;
    if (stuck) describe_locked(ctx->rt, stuck, text, sizeof text);
    mti_mutex_unlock(&rules->lock);
    if (t) mti_task_fail(ctx, t, gen, MANTA_ERR_OUT_OF_MEMORY, text, false);
    // Others may sleep for what this thread is in, and have something to lend.
    if (is_new) poke(ctx->rt);
}
