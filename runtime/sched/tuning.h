// Every magic number of the scheduler, with what it was measured on.
#ifndef MTI_SCHED_TUNING_H
#define MTI_SCHED_TUNING_H

enum {
    // Most entries moved by one steal. A line that crosses cores costs about 143 ns (2-core Xeon VM,
    // 2.5 GHz); a batch shares the cost of the anchor's.
    MTI_TUNE_STEAL_BATCH = 64,
    // How long an idle worker spins before it sleeps: covers most round trips, a wake-up costs 4-50 us.
    MTI_TUNE_SPIN_NS = 100 * 1000,
    // Time between two looks at the queues of others. A look takes their lines away from their owners, so
    // a worker looks less and less often while all that it sees is owners who serve themselves.
    MTI_TUNE_LOOK_MIN_NS = 75,
    MTI_TUNE_LOOK_MAX_NS = 1500,
    // Looks between two readings of the clock (about 25 ns each).
    MTI_TUNE_SPIN_LOOKS = 16,
    // Every so many steps the shared queues are looked at first, so that nothing starves in them.
    MTI_TUNE_FAIR_STEPS = 64,
    // Every so many steps the pick is for the low, the normal and the high band in turn, whatever is above.
    MTI_TUNE_AGE_STEPS = 64,
    // Entries that leave the shared queue at once.
    MTI_TUNE_OVERFLOW_BATCH = 64,
    MTI_TUNE_MAX_THREADS = 1024,
    // Stolen batches of at least so many entries are timed.
    MTI_TUNE_TINY_BATCH = 8,
    // A stolen task that takes less is better off with its owner: bringing a record over and its slot home
    // is six lines. On that VM 1000 empty tasks in a row (fork, join) take 59 ns each instead of 143.
    MTI_TUNE_TINY_NS = 250,
    MTI_TUNE_TINY_LOOKS = 256,
};

#endif
