#include "base/fence.h"

#include "base/refusal.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

bool mti_fence_asymmetric = false;

// ThreadSanitizer does not model fences, but knows what an RMW on one location orders.
#if MTI_TSAN
static mti_atomic_u32_t fence_cell;
#endif

void mti_fence_full_slow(void)
{
#if MTI_TSAN
    (void)mti_atomic_u32_fetch_add_seq_cst(&fence_cell, 1);
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

void mti_fence_init(void)
{
#if !MTI_TSAN
    if (mti_fence_asymmetric) return;
    // The registration is inherited by nobody: a fork has to repeat it, but a fork gets errors only.
    mti_fence_asymmetric =
        mti_refusal_allowed(MTI_REFUSAL_MEMBARRIER) &&
        syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
#endif
}

void mti_fence_heavy(void)
{
    if (mti_fence_asymmetric) {
        (void)syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    } else {
        mti_fence_full_slow();
    }
}
