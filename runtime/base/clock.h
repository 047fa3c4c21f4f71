// The one clock that the runtime reads.
#ifndef MTI_BASE_CLOCK_H
#define MTI_BASE_CLOCK_H

#include <stdint.h>

// Monotonic nanoseconds. About 25 ns a call: not for hot paths.
int64_t mti_clock_ns(void);

// |timeout_ns| from now as a deadline, saturating at INT64_MAX (MANTA_FOREVER stays for ever).
int64_t mti_clock_deadline(int64_t timeout_ns);

#endif
