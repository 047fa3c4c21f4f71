// The options of a call: what they ask for, checked against what there is.
#include "core/task_impl.h"

#include <string.h>

// |x| in units, rounded up; small and not negative.
static uint32_t round_up(double x)
{
    uint32_t whole = (uint32_t)x;
    return (double)whole < x ? whole + 1 : whole;
}

// What the options ask for, checked against what there is.
static manta_status_t check_time(const manta_task_options_t *o, const char *name)
{
    if (o->deadline_ns < 0 || o->run_timeout_ns < 0 || o->backoff_ns < 0 || o->backoff_max_ns < 0) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "task %s: a time is negative (deadline_ns %lld, run_timeout_ns %lld, "
                        "backoff_ns %lld, backoff_max_ns %lld)",
                        name, (long long)o->deadline_ns, (long long)o->run_timeout_ns,
                        (long long)o->backoff_ns, (long long)o->backoff_max_ns);
    }
    // Written so that not-a-number fails, too.
    if (o->max_retries < 0 || !(o->backoff_factor >= 0.0) ||
        o->retry_code_count > MTI_RETRY_CODES || (o->retry_code_count && !o->retry_codes)) {
        return mti_fail(
            MANTA_ERR_INVALID_ARGUMENT,
            "task %s: max_retries %d, backoff_factor %g, %zu retry_codes (at most %d)%s", name,
            (int)o->max_retries, o->backoff_factor, o->retry_code_count, MTI_RETRY_CODES,
            o->retry_codes ? "" : " at NULL");
    }
    return MANTA_OK;
}

manta_status_t mti_submit_options(submit_t *s)
{
    manta_task_options_t full = {0};
    const manta_task_options_t *o = &full;
    mti_record_t *t = s->t;
    if (s->options->struct_size < sizeof(size_t) || s->options->struct_size % sizeof(void *) != 0) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "task %s: options with struct_size %zu: use MANTA_OPTIONS()", s->def->name,
                        s->options->struct_size);
    }
    size_t known = s->options->struct_size < sizeof full ? s->options->struct_size : sizeof full;
    memcpy(&full, s->options, known);
    const char *name = o->name ? o->name : s->def->name;
    int workers = mti_sched_worker_count(s->ctx->rt->sched);
    if (workers == 0) workers = 1;
    // Written so that not-a-number fails, too.
    bool gpus_ok = o->gpus >= 0.0 || o->gpus == MANTA_NONE;
    bool cpus_ok = o->cpus >= 0.0 || o->cpus == MANTA_NONE;
    bool where_ok = o->where >= MANTA_ANY && (o->where <= MANTA_GPU || o->where >= manta_gpu(0));
    if (!where_ok || !gpus_ok || !cpus_ok) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "task %s: where %d, cpus %g, gpus %g", name,
                        (int)o->where, o->cpus, o->gpus);
    }
    if (o->gpus > 0.0) {
        if (o->gpus > 1.0 && o->where == MANTA_ANY && s->def->cuda) full.where = MANTA_GPU;
        manta_status_t feasible = mti_admit_check_gpus(s->ctx, name, o);
        if (feasible != MANTA_OK) return feasible;
    }
    s->where = s->def == &mti_actor_share_def ? MANTA_CPU : o->where;
    s->gpu_bytes = o->gpu_bytes;
    if (o->cpus > workers) {
        return mti_fail(MANTA_ERR_INFEASIBLE, "task %s asks for %g CPUs; runtime '%s' has %d", name,
                        o->cpus, s->ctx->rt->name, workers);
    }
    bool wide = o->cpus > 1.0, elastic = o->cpus == MANTA_NONE || (o->cpus > 0.0 && o->cpus < 1.0);
    bool timed = mti_recover_wanted(o);
    if (o->priority < MANTA_PRIORITY_LOW || o->priority > MANTA_PRIORITY_URGENT) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "task %s: priority %d", name, (int)o->priority);
    }
    if (o->priority != MANTA_PRIORITY_NORMAL && !wide && !elastic) {
        static const uint8_t bands[] = {MTI_BAND_LOW, 0, MTI_BAND_HIGH, MTI_BAND_URGENT};
        uint32_t band = bands[o->priority - MANTA_PRIORITY_LOW];
        mti_record_set_flags(
            t, (uint16_t)(t->flags | MTI_RECORD_BAND | band << MTI_RECORD_BAND_SHIFT));
    }
    bool wants = o->host_bytes != 0 || o->gpus > 0.0;
    for (uint32_t i = 0; i < MTI_TASK_RESOURCES; i++)
        wants |= o->resources[i].name != NULL;
    if (!wide && !elastic && !o->name && !timed && !wants && !o->accept_failed) return MANTA_OK;
    manta_status_t status = check_time(o, name);
    if (status != MANTA_OK) return status;
    if (!mti_submit_cold(s))
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s: no memory for options", name);
    t->cold->name = o->name;
    if (timed || wants) t->cold->record = t;
    t->cold->accept_failed = o->accept_failed;
    if (o->accept_failed) mti_record_set_flags(t, t->flags | MTI_RECORD_ACCEPTS);
    if (wants) {
        status = mti_admit_setup(s->ctx, t->cold, name, o);
        if (status != MANTA_OK) return status;
        if (t->cold->want_count) mti_record_set_flags(t, t->flags | MTI_RECORD_GATED);
    }
    if (timed && (status = mti_recover_setup(s->ctx, t, o)) != MANTA_OK) return status;
    if (wide && !s->ctx->rt->is_serial) {
        mti_record_set_flags(t, t->flags | MTI_RECORD_WIDE);
        t->cold->cores = (int)round_up(o->cpus);
    } else if (elastic && !s->ctx->rt->is_serial) {
        mti_record_set_flags(t, t->flags | MTI_RECORD_ELASTIC);
        t->cold->milli = o->cpus == MANTA_NONE ? 0 : round_up(o->cpus * 1000.0);
    }
    return MANTA_OK;
}

manta_status_t mti_submit_method_options(const submit_t *s)
{
    const manta_task_options_t *o = s->options;
    bool wants = o->host_bytes != 0 || (o->struct_size >= sizeof *o && o->gpu_bytes != 0);
    for (uint32_t i = 0; i < MTI_TASK_RESOURCES; i++)
        wants |= o->resources[i].name != NULL;
    if (o->cpus == 0.0 && o->gpus == 0.0 && o->where <= MANTA_CPU && !wants && !o->max_retries) {
        return MANTA_OK;
    }
    return mti_fail(MANTA_ERR_NOT_SUPPORTED,
                    "%s: a method call can't ask for cpus, gpus, resources, a place or "
                    "retries of its own; its actor says where it runs and how often it is tried",
                    s->def->name);
}

// A method, or constructor, goes where its actor is, if it has a body for that.
static manta_status_t submit_where_method(submit_t *s)
{
    const manta_task_def_t *def = s->def;
    mti_record_t *t = s->t;
    bool on_device = mti_actor_flags(s->actor) & MTI_ACTOR_DEVICE && def->cuda;
    if (def->cpu && (!on_device || s->where == MANTA_CPU)) return MANTA_OK;
    if (!on_device || s->where == MANTA_CPU) {
        return mti_fail(MANTA_ERR_INFEASIBLE, "method %s has only a CUDA body, and %s", def->name,
                        on_device ? "is to run on a CPU" : "its actor is on no device");
    }
    if (!mti_submit_cold(s)) {
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "method %s: no memory for its place", def->name);
    }
    mti_record_set_flags(t, t->flags | MTI_RECORD_LANE);
    return MANTA_OK;
}

manta_status_t mti_submit_where(submit_t *s)
{
    const manta_task_def_t *def = s->def;
    mti_record_t *t = s->t;
    if (s->actor) return submit_where_method(s);
    if (s->where == MANTA_CPU || (s->where == MANTA_ANY && (!def->cuda || s->bulk))) {
        if (def->cpu) return MANTA_OK;
        return mti_fail(MANTA_ERR_INFEASIBLE,
                        s->bulk ? "task %s has no CPU body for a range" : "task %s has no CPU body",
                        def->name);
    }
    mti_lanes_t *lanes;
    manta_status_t status = mti_lanes_start(s->ctx->rt, &lanes);
    if (status != MANTA_OK) return mti_fail_note(status, "task %s", def->name);
    uint32_t count = mti_lanes_count(lanes), first = 0, end = count;
    if (s->where >= manta_gpu(0)) {
        first = (uint32_t)(s->where - manta_gpu(0));
        end = first + 1;
    }
    if (s->where == MANTA_ANY && def->cpu && mti_lanes_all_down(lanes)) return MANTA_OK;
    if (count == 0 && (status = mti_lanes_failure(lanes, def->name)) != MANTA_OK) return status;
    if (first >= count && s->where >= manta_gpu(0)) {
        return mti_fail(MANTA_ERR_INFEASIBLE, "task %s asks for GPU %u; this machine offers %u",
                        def->name, (unsigned)first, (unsigned)count);
    }
    if (first >= count) {
        return mti_fail(MANTA_ERR_INFEASIBLE, "task %s asks for a GPU; this machine offers 0",
                        def->name);
    }
    if (s->bulk) {
        return mti_fail(MANTA_ERR_NOT_SUPPORTED, "task %s: ranges run on CPUs only", def->name);
    }
    bool able = def->cuda != NULL;
    for (uint32_t i = first; i < end && !able; i++)
        able = mti_device_can(mti_lanes_device(lanes, i), MTI_CAP_HOST_FN);
    if (!able) {
        return mti_fail(MANTA_ERR_INFEASIBLE,
                        "task %s has no CUDA body, and only a virtual GPU can run its CPU body",
                        def->name);
    }
    if (!mti_submit_cold(s)) {
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s: no memory for options", def->name);
    }
    if (!mti_lanes_reserve(lanes)) {
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "task %s: no memory to queue it", def->name);
    }
    t->cold->where = s->where;
    mti_record_set_flags(t, t->flags | MTI_RECORD_LANE);
    if (!s->gpu_bytes) return MANTA_OK;
    uint32_t gpu = 0;
    status =
        mti_admit_gpu(s->ctx, t->cold, mti_record_name(t), s->gpu_bytes, lanes, first, end, &gpu);
    if (status != MANTA_OK) return status;
    t->cold->where = manta_gpu((int)gpu);
    t->cold->record = t;
    mti_record_set_flags(t, t->flags | MTI_RECORD_GATED);
    return MANTA_OK;
}
