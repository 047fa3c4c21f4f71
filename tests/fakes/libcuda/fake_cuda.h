// The control interface of the fake CUDA driver: what a test says to it besides the driver's calls.
//
//   void *library = dlopen(".../libcuda.so.1", RTLD_NOW);
//   auto *fake = ((fake_cuda_control_fn_t)dlsym(library, "fake_cuda_control"))();
//
// The fake runs a program's driver calls for real, on host threads, and watches more closely than a
// driver does: see README.md for what it calls a violation. Violations are collected, not printed;
// the test takes them. A process that ends with some not taken prints them and exits with 86.
//
// All functions may be called from any thread, but not from kernels and host functions.
#ifndef TESTS_FAKES_FAKE_CUDA_H
#define TESTS_FAKES_FAKE_CUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// As mti_launch_shape_t.
typedef struct fake_cuda_shape {
    uint32_t grid[3], block[3], shared_bytes;
} fake_cuda_shape_t;

// What a kernel does with the memory behind a parameter of 8 bytes that is a device address.
enum {
    FAKE_CUDA_NONE = 0, // nothing
    FAKE_CUDA_READ = 1,
    FAKE_CUDA_WRITE = 2,
    FAKE_CUDA_WHOLE =
        4, // up to the end of the allocation; without: what |extent| says, or 16 bytes
};

// A kernel of the fake: a host function by the name of the kernel.
typedef struct fake_cuda_kernel {
    const char *name;
    uint32_t param_count;
    const uint32_t *param_bytes;
    const uint8_t *param_access; // NULL: every address is read and written
    // Bytes that parameter |i| is used for, from its address on; NULL: see above.
    size_t (*extent)(uint32_t i, const fake_cuda_shape_t *shape, void *const *args);
    // args[i] points to the value of parameter i, with addresses of the device made the host's. NULL:
    // nothing happens.
    void (*twin)(const fake_cuda_shape_t *shape, void *const *args);
    uint32_t static_shared_bytes;
    uint32_t max_threads; // 0: 1024
    int64_t duration_ns;
} fake_cuda_kernel_t;

// Zero means the default, which is in brackets. The environment variable in front says the same.
typedef struct fake_cuda_options {
    uint32_t devices;      // FAKE_CUDA_DEVICES [1]
    uint64_t memory_bytes; // FAKE_CUDA_MEMORY [256 MiB], of each
    int driver_version;    // FAKE_CUDA_VERSION [13000]
    bool no_peers;         // FAKE_CUDA_PEERS=0
    bool no_words;         // FAKE_CUDA_WORDS=0: no 64-bit stream memory operations
    bool no_pools;         // FAKE_CUDA_POOLS=0: no stream-ordered allocation
    bool virtual_clock;    // FAKE_CUDA_CLOCK=virtual: nothing runs but inside calls that look
    uint64_t seed;         // FAKE_CUDA_SEED, of the virtual clock
    bool
        allows_pageable; // FAKE_CUDA_PAGEABLE=1: copies from and to unregistered host memory are fine
} fake_cuda_options_t;

typedef struct fake_cuda_controls {
    // Forgets everything but kernels and that cuInit() was called: as if the library had just been loaded,
    // with |options| (NULL: what the environment says). Every handle and address is dead afterwards. Nothing may be inside the driver.
    void (*reset)(const fake_cuda_options_t *options);

    // Copied, but for the functions. The same name again replaces it.
    void (*kernel_add)(const fake_cuda_kernel_t *kernel);

    // How often |name| ("cuLaunchKernelEx") was called since the last clear; NULL: all together.
    uint64_t (*calls)(const char *name);
    void (*calls_clear)(void);
    // Whether the fake has |name| at all: headers may be too old for it.
    bool (*has_call)(const char *name);

    // What was wrong so far, one per line, taken away. Returns the number of lines.
    uint32_t (*violations_take)(char *buffer, size_t size);
    // What is still there: contexts, streams, events, memory, pools, libraries. One per line.
    uint32_t (*leaks)(char *buffer, size_t size);
    // True if a device was lost since the last reset: what it had cannot be given back.
    bool (*has_lost)(void);
    // True if work is queued, none runs and none can start.
    bool (*is_stuck)(void);
    // Ends all that can end by itself: for tests that want a quiet driver without looking at streams.
    void (*settle)(void);

    // ---- faults; |nth| counts from now, from 1; 0 takes the fault back ----

    void (*fail_alloc)(uint32_t device, uint32_t nth); // device memory: out of memory
    void (*fail_host_register)(uint32_t nth);          // out of memory
    void (*fail_launch)(uint32_t device, uint32_t nth,
                        int code); // the launch returns |code|; not sticky
    void (*lose_at_launch)(uint32_t device, uint32_t nth, int code); // sticky, when it runs
    void (*lose_at_op)(uint32_t device, uint32_t nth, int code);     // the same for any operation
    void (*lose_now)(uint32_t device, int code);
    void (*limit_events)(uint32_t count);             // so many at a time; 0: no limit
    void (*slow_copies)(uint32_t device, int64_t ns); // each copy takes so long besides
    void (*hold_stream)(void *stream, bool held);     // starts nothing any more
    // The call of |name| (borrowed until it is taken back) does nothing and returns |code|.
    void (*fail_call)(const char *name, uint32_t nth, int code);
} fake_cuda_controls_t;

typedef const fake_cuda_controls_t *(*fake_cuda_control_fn_t)(void);

#ifdef __cplusplus
}
#endif

#endif
