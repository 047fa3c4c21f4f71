// What a device keeps on the thread that drives it (with CUDA: which context is current), and who may change it.
//
// A body is user code: it may make another context current and leave it so. The next body on the thread must not see
// that, and nor must its owner. To look after each body would be a driver call for each task, so a lane *trusts*: the
// first runs of a variant are looked after one by one, and if it never strays, from then on once for all that run in
// a step. One that strays is looked after for good; if somebody trusted does, nobody is any more for a while.
#include "core/lane_impl.h"

enum {
    TRUST_AFTER = 8, // runs of a variant
    PROBES = 8,
};

// The lanes' own thread stays bound to a device from step to step: nobody else runs on it.
static __thread bool thread_is_ours __attribute__((tls_model("initial-exec")));

void mti_lanes_thread_begin(void)
{
    thread_is_ours = true;
}

void mti_lanes_thread_unbind(mti_lanes_t *lanes)
{
    mti_lane_t *lane = lanes->thread_lane;
    if (lane) (void)mti_device_unbind(lane->device, &lanes->thread_bound);
    lanes->thread_lane = NULL;
}

void mti_lane_bind(mti_lane_t *lane)
{
    if (lane->is_bound || lane->failure) return; // a lost device has no context to be current
    mti_lanes_t *lanes = lane->lanes;
    lane->is_bound = true;
    if (thread_is_ours) {
        if (lanes->thread_lane == lane) return;
        mti_lanes_thread_unbind(lanes);
        mti_device_bind(lane->device, &lanes->thread_bound);
        lanes->thread_lane = lane;
    } else {
        mti_device_bind(lane->device, &lane->bound);
    }
}

void mti_lane_unbind(mti_lane_t *lane)
{
    if (!lane->is_bound) return;
    lane->is_bound = false;
    bool strayed = false;
    if (!thread_is_ours) {
        strayed = mti_device_unbind(lane->device, &lane->bound);
    } else if (lane->ran_trusted) {
        strayed = mti_device_rebind(lane->device);
    }
    if (strayed && lane->ran_trusted)
        for (uint32_t i = 0; i < MTI_LANE_TRUSTED; i++)
            lane->trusted[i].runs = 0;
    lane->ran_trusted = false;
}

// The entry of |variant|; of another one that has to make room if there are too many.
static mti_lane_trust_t *trust_of(mti_lane_t *lane, const manta_variant_t *variant)
{
    uint64_t hash = (uint64_t)(uintptr_t)variant * 0x9e3779b97f4a7c15u;
    uint32_t at = (uint32_t)(hash >> 32) % MTI_LANE_TRUSTED;
    mti_lane_trust_t *first = &lane->trusted[at];
    for (uint32_t i = 0; i < PROBES; i++) {
        mti_lane_trust_t *trust = &lane->trusted[(at + i) % MTI_LANE_TRUSTED];
        if (trust->variant == variant) return trust;
        if (!trust->variant) {
            first = trust;
            break;
        }
    }
    *first = (mti_lane_trust_t){.variant = variant};
    return first;
}

void mti_lane_body_over(mti_lane_t *lane, const manta_variant_t *variant, bool is_foreign)
{
    if (!lane->device->ops->rebind) return;
    mti_lane_trust_t *trust = trust_of(lane, variant);
    if (!is_foreign && !trust->strays && trust->runs >= TRUST_AFTER) {
        lane->ran_trusted = true;
        return;
    }
    trust->runs++;
    if (mti_device_rebind(lane->device)) trust->strays = true;
}
