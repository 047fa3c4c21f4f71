// What a failed object says: the root error, and through whom it came.
//
// A dependent stores no more than the root error and the argument that it failed through, so that failures
// spread without memory. The chain that users see is made here, when somebody asks.
#include "core/core.h"

#include <string.h>

// Of a longer chain these are shown; what is between them is counted.
enum { NEAR_LINKS = 12, FAR_LINKS = 12 };

static const manta_task_def_t *maker_of(const mti_object_t *object)
{
    // A further result names its task's slot, which may be another's by now: its definition is one anyway.
    mti_record_t *t = object->producer ? mti_record_at(object->producer) : NULL;
    return t ? __atomic_load_n(&t->def, __ATOMIC_RELAXED) : NULL;
}

// The name of the parameter that the |k|th ref was for, NULL if that can't be told: lists are gone by now.
static const char *argument_name(const manta_task_def_t *def, uint64_t k)
{
    for (uint32_t i = 0; i < def->param_count; i++) {
        manta_param_kind_t kind = def->params[i].kind;
        if (kind == MANTA_PARAM_IN_LIST) {
            // The last one may be as long as it likes.
            for (uint32_t rest = i + 1; rest < def->param_count; rest++) {
                manta_param_kind_t later = def->params[rest].kind;
                if (later == MANTA_PARAM_IN || later == MANTA_PARAM_INOUT ||
                    later == MANTA_PARAM_IN_LIST) {
                    return NULL;
                }
            }
            return def->params[i].name;
        }
        if (kind != MANTA_PARAM_IN && kind != MANTA_PARAM_INOUT) continue;
        if (k-- == 0) return def->params[i].name;
    }
    return NULL;
}

static const manta_error_t *link_error(const mti_object_t *at, manta_status_t code,
                                       const manta_error_t *cause)
{
    const manta_task_def_t *def = maker_of(at);
    unsigned long long k = mti_object_cause_argument(at);
    const char *name = def ? argument_name(def, k) : NULL;
    char text[128];
    if (!def) {
        snprintf(text, sizeof text, "what it became failed");
    } else if (mti_object_storage(at) == MTI_STORAGE_NONE && k == MTI_FORWARD_ARGUMENT) {
        snprintf(text, sizeof text, "what it forwarded to failed");
    } else if (name) {
        snprintf(text, sizeof text, "its argument %s failed", name);
    } else {
        snprintf(text, sizeof text, "its argument %llu failed", k);
    }
    const manta_error_t *error =
        mti_error_create(code, MANTA_SCOPE_TASK, def ? def->name : "promise", "", 0, text, cause);
    manta_error_release(cause);
    return error;
}

// The root error; one that carries its code alone gets the words that it has no room for.
static const manta_error_t *root_error(const mti_object_t *at, uint64_t head)
{
    const manta_error_t *error = mti_object_error(at, head);
    manta_status_t code = manta_error_code(error);
    if (*manta_error_text(error) || *manta_error_task(error)) return manta_error_retain(error);
    const manta_task_def_t *def = maker_of(at);
    return mti_error_create(code, manta_error_scope(error), def ? def->name : "", "", 0,
                            mti_status_text(code), NULL);
}

const manta_error_t *mti_error_chain(mti_object_t *object, uint64_t head)
{
    // From the object down to where it began; each holds a count of the next.
    mti_object_t *near[NEAR_LINKS], *far[FAR_LINKS];
    size_t n = 0;
    mti_object_t *at = object;
    uint64_t at_head = head;
    for (;;) {
        bool has_cause = !(at_head & MTI_HEAD_BARE) && mti_object_cause(at);
        if (!has_cause) break;
        if (n < NEAR_LINKS) near[n] = at;
        far[n % FAR_LINKS] = at;
        n++;
        at = mti_object_cause(at);
        (void)mti_object_is_closed(at, &at_head);
    }
    const manta_error_t *error = root_error(at, at_head);
    manta_status_t code = manta_error_code(mti_object_error(object, head));
    size_t shown = n <= NEAR_LINKS + FAR_LINKS ? 0 : n - NEAR_LINKS - FAR_LINKS; // left out
    for (size_t i = n; i-- > 0;) {
        if (shown && i == NEAR_LINKS + shown - 1) {
            char text[64];
            snprintf(text, sizeof text, "... then through %zu more ...", shown);
            const manta_error_t *gap =
                mti_error_create(code, MANTA_SCOPE_TASK, "", "", 0, text, error);
            manta_error_release(error);
            error = gap;
        }
        if (shown && i >= NEAR_LINKS && i < NEAR_LINKS + shown) continue;
        error = link_error(i < NEAR_LINKS ? near[i] : far[i % FAR_LINKS], code, error);
    }
    return error;
}
