#include "fault/device_reach.h"

#include "unit/internals.h"

#define _Alignas alignas
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
extern "C" {
#include "core/lane_impl.h"
}
#pragma GCC diagnostic pop
#undef _Alignas

#include <thread>

#include <gtest/gtest.h>

namespace fault
{

static mti_lane_t *lane_at(int index)
{
    static mti_runtime_t *last; // one that is being shut down is the default one no more
    mti_runtime_t *now = mti_runtime_default_peek();
    if (now) last = now;
    return &mti_lanes_peek(last)->lane[index];
}

// The right to call a device, as whoever drives it has it.
class Right
{
  public:
    explicit Right(mti_lane_t *lane) : lane_(lane)
    {
        if (held_ != lane) take_all(lane);
    }
    ~Right()
    {
        if (held_ != lane_) give_all(lane_);
    }
    static void hold(mti_lane_t *lane, bool held)
    {
        if (held) take_all(lane);
        if (!held) give_all(lane);
        held_ = held ? lane : nullptr;
    }

  private:
    static void take_all(mti_lane_t *lane)
    {
        if (lane->lanes->is_virtual) take(lane->lanes->stepping);
        take(lane->right);
    }
    static void give_all(mti_lane_t *lane)
    {
        mti_atomic_u32_store_release(&lane->right, 0);
        if (lane->lanes->is_virtual) mti_atomic_u32_store_release(&lane->lanes->stepping, 0);
    }
    static void take(mti_atomic_u32_t &right)
    {
        uint32_t nobody = 0;
        while (!mti_atomic_u32_cas_acq_rel(&right, &nobody, 1)) {
            nobody = 0;
            std::this_thread::yield();
        }
    }

    static mti_lane_t *held_;
    mti_lane_t *lane_;
};
mti_lane_t *Right::held_;

void inject(int index, Fault what, uint32_t nth, manta_status_t code)
{
    static const mti_fault_kind_t kinds[] = {MTI_FAULT_NONE,     MTI_FAULT_OOM,
                                             MTI_FAULT_FAIL_OP,  MTI_FAULT_LOSE,
                                             MTI_FAULT_LOSE_NOW, MTI_FAULT_FAIL_OPS};
    mti_fault_t fault = {kinds[(int)what], nth, code, nullptr};
    mti_lane_t *lane = lane_at(index);
    Right right(lane);
    EXPECT_EQ(MANTA_OK, mti_device_inject(lane->device, &fault));
}

uint32_t in_flight(int index)
{
    return mti_atomic_u32_load_acquire(&lane_at(index)->in_flight);
}

uint32_t waiting(int index)
{
    return mti_atomic_u32_load_acquire(&lane_at(index)->waiting);
}

void hold_right(int index, bool held)
{
    Right::hold(lane_at(index), held);
}

void hold_queues(int index, bool held)
{
    mti_lane_t *lane = lane_at(index);
    Right right(lane);
    for (uint32_t i = 0; i < MTI_LANE_QUEUES; i++) {
        mti_lane_queue_t *q = nullptr;
        EXPECT_EQ(MANTA_OK, mti_lane_queue_get(lane, i, &q));
        mti_fault_t fault = {held ? MTI_FAULT_HOLD_QUEUE : MTI_FAULT_RELEASE_QUEUE, 0, MANTA_OK,
                             q->queue};
        EXPECT_EQ(MANTA_OK, mti_device_inject(lane->device, &fault));
    }
}

} // namespace fault
