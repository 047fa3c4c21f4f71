// The one clock that the runtime reads.
#ifndef MTI_BASE_CLOCK_H
#define MTI_BASE_CLOCK_H

#include <stdint.h>

// Monotonic nanoseconds. About 25 ns a call: not for hot paths.
int64_t mti_clock_ns(void);

// For tests: when set (release), what the clock says. Whoever sleeps with a deadline notices a jump within a
// millisecond of real time.
extern int64_t (*mti_clock_hook)(void);

// |timeout_ns| from now as a deadline, saturating at INT64_MAX (MANTA_FOREVER stays for ever).
int64_t mti_clock_deadline(int64_t timeout_ns);

// How many mti_cpu_pause() take |ns| on this machine, at least 1: from 5 to 60 ns each, depending on the
// processor and on what it runs under. Measured on the first call, which takes some microseconds.
uint32_t mti_clock_pauses(int64_t ns);

#endif
