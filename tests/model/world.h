// A runtime for model programs: serial, so that nothing runs but the program's own threads.
#ifndef TESTS_MODEL_WORLD_H
#define TESTS_MODEL_WORLD_H

#include "model/mutate.h"

#include <manta/manta.h>

#include <cstdio>
#include <cstdlib>

namespace model
{

inline void start_runtime()
{
    (void)manta_shutdown(MANTA_FOREVER); // the one of the program before
    manta_runtime_options_t options;
    manta_runtime_options_init(&options);
    options.workers = 0;
    options.topology_synthetic = "core:2 pu:1";
    if (manta_init(&options) != MANTA_OK) std::abort();
}

// What has the calling thread known to the runtime: threads of a program begin as copies of the one that sets up.
void forget_thread();

// Each thread has called manta before, so that what it does under the checker is short.
inline void know_thread(int)
{
    int zero = 0;
    forget_thread();
    for (int i = 0; i < 2; i++)
        (void)manta_release(manta_put(&zero, sizeof zero));
}

// Names the words of the slot of |ref|.
void name_slot(manta_ref_t ref, const char *what);

inline uint64_t live_refs()
{
    manta_stats_t stats = {};
    stats.struct_size = sizeof stats;
    stats.struct_size = sizeof stats;
    if (manta_runtime_stats({0}, &stats) != MANTA_OK) std::abort();
    return stats.live_refs;
}

} // namespace model

#endif
