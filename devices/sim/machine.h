// A virtual machine for `sim`: how many GPUs, how large, how far apart. From a small text.
//
//     # two GPUs on two nodes, NVLink between them
//     clock virtual            # threads (as fast as they go), real (threads, and times are kept), virtual
//     seed 7
//     jitter 5                 # percent by which durations vary
//     gpu memory=80GiB node=0
//     gpu memory=80GiB node=1 in=55GB/s out=53GB/s latency=2us launch=3us
//     link 0 1 speed=370GB/s latency=2us
//
// README.md in this folder has every key. The parser is strict: an unknown word, a key twice, a number
// out of range or a byte too many is an error with its line.
#ifndef MTI_DEVICES_SIM_MACHINE_H
#define MTI_DEVICES_SIM_MACHINE_H

#include <manta/allocator.h>
#include <manta/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

MANTA_BEGIN_DECLS

enum { MTI_MACHINE_MAX_GPUS = 64, MTI_MACHINE_MAX_BYTES = 1 << 20, MTI_MACHINE_NAME_BYTES = 32 };

typedef enum mti_machine_clock {
    MTI_MACHINE_CLOCK_THREADS = 0,
    MTI_MACHINE_CLOCK_REAL,
    MTI_MACHINE_CLOCK_VIRTUAL
} mti_machine_clock_t;

typedef struct mti_machine_gpu {
    char name[MTI_MACHINE_NAME_BYTES]; // for people
    uint64_t memory_bytes;
    int node; // -1: none in particular
    int cc_major, cc_minor;
    uint64_t in_bytes_per_s, out_bytes_per_s; // host to device, device to host
    uint64_t memory_bytes_per_s;              // inside the device
    int64_t latency_ns;                       // of a copy from or to the host
    int64_t launch_ns;                        // what a kernel takes, at least
    uint32_t slots;                           // kernels that run at a time
    uint32_t queues;                          // that can be created
} mti_machine_gpu_t;

typedef struct mti_machine_link {
    bool direct; // false: staged through the host
    uint64_t bytes_per_s;
    int64_t latency_ns;
} mti_machine_link_t;

typedef struct mti_machine_file {
    mti_machine_clock_t clock;
    uint64_t seed;
    uint32_t jitter_percent;
    uint32_t gpu_count;
    mti_machine_gpu_t gpus[MTI_MACHINE_MAX_GPUS];
    mti_machine_link_t links[MTI_MACHINE_MAX_GPUS][MTI_MACHINE_MAX_GPUS]; // [a][b] == [b][a]
} mti_machine_file_t;

// The default machine with |gpu_count| GPUs, all alike, all linked. At most MTI_MACHINE_MAX_GPUS.
void mti_machine_default(mti_machine_file_t *out_machine, uint32_t gpu_count);

// Parses |size_bytes| of |text|, which need not end with a zero. |*out_machine| is written only on success.
// Errors: INVALID_ARGUMENT with the number of the line and what is wrong there · OUT_OF_MEMORY.
MANTA_NODISCARD manta_status_t mti_machine_parse(const char *text, size_t size_bytes,
                                                 const manta_allocator_t *allocator,
                                                 mti_machine_file_t *out_machine);

// Reads and parses the file at |path|; messages name it.
// Errors: IO · as mti_machine_parse.
MANTA_NODISCARD manta_status_t mti_machine_read(const char *path,
                                                const manta_allocator_t *allocator,
                                                mti_machine_file_t *out_machine);

MANTA_END_DECLS

#endif
