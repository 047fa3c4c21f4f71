#include "base/mutex.h"

#if MANTA_ASSERT >= 2

// One bit per rank that this thread holds.
static __thread unsigned ranks_held;

void mti_mutex_check_lock(const mti_mutex_t *mutex)
{
    MTI_ASSERT(ranks_held >> mutex->rank == 0);
    ranks_held |= 1u << mutex->rank;
}

void mti_mutex_check_unlock(const mti_mutex_t *mutex)
{
    MTI_ASSERT((ranks_held >> mutex->rank & 1) != 0);
    ranks_held &= ~(1u << mutex->rank);
}

#else
typedef int mti_mutex_not_checked_t; // a translation unit may not be empty
#endif
