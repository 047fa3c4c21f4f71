// A kernel without membarrier(2): all fences are full ones, and everything works as before.
#include "fault/fault.h"

extern "C" {
#include "base/fence.h"
}

using namespace fault;

// Tasks in an anonymous namespace: their calls are declared, and not all of them made.
#pragma GCC diagnostic ignored "-Wunused-function"

namespace
{

const bool refused = (
    mti_refusal_hook = [](mti_refusal_t what) { return what != MTI_REFUSAL_MEMBARRIER; }, true);

MANTA_TASK(ft_sum, MANTA_VAL(int, depth), MANTA_OUT(int, leaves, 1))
{
    (void)task;
    leaves.data[0] = 1;
    if (depth == 0) return MANTA_OK;
    int sum = 0;
    for (int i = 0; i < 2; i++) {
        int part = 0;
        manta_ref_t ref = ft_sum_remote(depth - 1);
        manta_status_t status = manta_read(ref, &part, sizeof part, MANTA_FOREVER);
        (void)manta_release(ref);
        if (status != MANTA_OK) return status;
        sum += part;
    }
    leaves.data[0] = sum;
    return MANTA_OK;
}

TEST(FenceFault, WorksWithoutMembarrier)
{
    for (int workers : {0, 1, 2}) {
        CountingAllocator allocator;
        Log log;
        manta_runtime_options_t options = small_options(workers, &allocator, &log);
        options.spin_ns = 0; // asleep as often as can be
        ASSERT_OK(manta_init(&options));
        watchdog_name_runtime(manta_runtime_default());
        EXPECT_FALSE(mti_fence_asymmetric);
        for (int i = 0; i < (kSanitized ? 20 : 200); i++) {
            manta_ref_t sum = ft_sum_remote(5);
            EXPECT_EQ(32, value_of<int>(sum));
            drop(sum);
        }
        EXPECT_OK(manta_drain(MANTA_S(30)));
        EXPECT_OK(manta_shutdown(MANTA_S(30)));
        EXPECT_EQ(0, allocator.bytes());
    }
}

} // namespace
