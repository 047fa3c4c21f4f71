// Kernels: code for devices, found by name, and what a CUDA body works with. Plain C, no CUDA types.
//
// A kernel is a __global__ function, or a CPU function that does the same (its *twin*), or both. Code
// objects bring them; launches name them:
//
//     // saxpy.cu, compiled to a fatbin and embedded by manta_kernels(target SOURCES saxpy.cu)
//     extern "C" __global__ void saxpy_kernel(float a, const float *x, float *y, size_t n) { ... }
//
//     // any C or C++ file
//     MANTA_KERNEL(saxpy_kernel, float, const float *, float *, size_t);
//     MANTA_CUDA(saxpy)
//     {
//         return MANTA_LAUNCH(saxpy_kernel, manta_grid_1d(y.count, 256), a, x.data, y.data, y.count);
//     }
//
// In a file that nvcc compiles, MANTA_LAUNCH takes the __global__ function itself; see cuda.h.
//
// The launch goes to the stream and the device of the task whose body is running. On a virtual device
// the twin runs in its place; CPU bodies, and tests, call it directly: saxpy_kernel_run(grid, ...).
// The kernels that come with manta are in kernels.h.
#ifndef MANTA_KERNEL_H
#define MANTA_KERNEL_H

#include <manta/object.h>
#include <manta/task.h>

#include <stddef.h>
#include <stdint.h>

MANTA_BEGIN_DECLS

// ---- geometry -------------------------------------------------------------------------------

// How a launch is divided: blocks, threads per block, and dynamic shared memory per block. A grid
// with a zero in |grid| has nothing to do: its launch is MANTA_OK and starts nothing.
typedef struct manta_grid {
    uint32_t grid[3];
    uint32_t block[3];
    uint32_t shared_bytes;
} manta_grid_t;

// How many blocks of |block| cover |n|. What no device can take stays too large for any, so that the
// launch fails and does not do half the work.
static inline MANTA_UNUSED uint32_t manta_blocks(size_t n, uint32_t block)
{
    size_t blocks = block == 0 ? 1 : n / block + (n % block != 0);
    return blocks > UINT32_MAX ? UINT32_MAX : (uint32_t)blocks;
}

// At least |nx| (by |ny|, by |nz|) threads in blocks of |bx| (by |by|, by |bz|); kernels check where
// they are. A block of 0 threads makes the launch fail.
static inline MANTA_UNUSED manta_grid_t manta_grid_3d(size_t nx, size_t ny, size_t nz, uint32_t bx,
                                                      uint32_t by, uint32_t bz)
{
    manta_grid_t g = {
        {manta_blocks(nx, bx), manta_blocks(ny, by), manta_blocks(nz, bz)}, {bx, by, bz}, 0};
    return g;
}
static inline MANTA_UNUSED manta_grid_t manta_grid_2d(size_t nx, size_t ny, uint32_t bx,
                                                      uint32_t by)
{
    return manta_grid_3d(nx, ny, 1, bx, by, 1);
}
static inline MANTA_UNUSED manta_grid_t manta_grid_1d(size_t n, uint32_t block)
{
    return manta_grid_3d(n, 1, 1, block, 1, 1);
}

// ---- kernels and code objects ---------------------------------------------------------------

// The CPU twin of a kernel: does the whole grid on the calling thread. args[i] points to the value of
// parameter i.
typedef void (*manta_twin_fn_t)(const manta_grid_t *grid, void *const *args);

// A kernel, as a code object brings it (a row of its table) or as a launch names it (MANTA_KERNEL).
// In static, writable storage; zero what is not set.
typedef struct manta_kernel {
    const char *name;          // what launches ask for: "saxpy_kernel", "manta/gemm_f64"
    const char *symbol;        // of the __global__ function; NULL: |name|
    const uint32_t *arg_bytes; // size of each parameter; NULL: not known, then not checked
    uint32_t arg_count;
    uint32_t max_block_threads; // 0: what the device can
    manta_twin_fn_t twin;       // NULL: none
    struct manta_code *code;    // private
    struct manta_kernel *row;   // private
} manta_kernel_t;

// Device code and the kernels in it. In static, writable storage.
typedef struct manta_code {
    const char *name;  // in messages: "saxpy.fatbin"
    const void *image; // a fatbin, a cubin or PTX; NULL: twins only
    size_t image_bytes;
    manta_kernel_t *kernels;
    uint32_t kernel_count;
    uint32_t index;          // private: in the order of registration
    struct manta_code *next; // private
} manta_code_t;

// Makes the kernels of |code| known to the process. Meant for constructors: needs no memory, no
// runtime, no device; nothing is loaded before a device is used.
//
// Names:   a twin and device code for one name may come from two code objects. Device code for one
//          name from two objects makes launches of it fail with MANTA_ERR_ALREADY_EXISTS.
// Owns:    borrows |code| for the life of the process: the object file that it is in must stay loaded.
// Threads: any. A second time is fine.
MANTA_API void manta_code_register(manta_code_t *code);

// ---- launching ------------------------------------------------------------------------------

// Launches |kernel| by its name in the running CUDA body: on the task's device, in its stream.
// args[i] points to the value of parameter i; the values are copied before this returns.
//
// Blocks:  never.
// Errors:  NOT_ALLOWED_HERE no CUDA body is running on this thread · NOT_FOUND no such kernel, or none
//          for this device's architecture · ALREADY_EXISTS two code objects bring it · TYPE_MISMATCH
//          number or size of its parameters · OUT_OF_RANGE the grid, which the message holds against
//          the device's limits · DEVICE_LOST. The message names kernel and device; a body that returns
//          the code fails its task with it.
MANTA_API MANTA_NODISCARD manta_status_t manta_launch_kernel(manta_kernel_t *kernel,
                                                             manta_grid_t grid, void *const *args,
                                                             uint32_t arg_count);

// Launches a kernel of the user's own CUDA module, a CUkernel or CUfunction, in the running CUDA body.
// |name| is for messages. Number and sizes of the parameters are the kernel's own. Works on real
// devices only. Errors: as above · INVALID_ARGUMENT NULL · NOT_SUPPORTED a virtual device.
MANTA_API MANTA_NODISCARD manta_status_t manta_launch_cufunction(void *cukernel, manta_grid_t grid,
                                                                 void **args, const char *name);

// Runs the CPU twin of |kernel| on this thread, over the whole grid: args as above, pointers in them
// to host memory. For CPU bodies and tests.
// Errors:  NOT_FOUND no such kernel, or it has no twin · TYPE_MISMATCH · OUT_OF_RANGE a block of 0
//          threads.
MANTA_API MANTA_NODISCARD manta_status_t manta_run_twin(manta_kernel_t *kernel, manta_grid_t grid,
                                                        void *const *args, uint32_t arg_count);

// ---- inside a CUDA body ---------------------------------------------------------------------
//
// A CUDA body runs on the host and only *enqueues*: kernels, copies, calls of libraries, all into its
// task's stream. It returns at once; the task is complete when the stream has done it. Its IN, INOUT
// and OUT buffers are device memory: their pointers are for kernels, not for the body. It must not
// wait: manta_get() and manta_wait() give MANTA_ERR_NOT_ALLOWED_HERE, and it should not synchronise
// the device either, which would hold up everything behind it.
//
// What fails below has failed the task as well, with the message: the body returns any error code.

// The task's stream, a CUstream or cudaStream_t (cuda.h has it typed); NULL, and a message, if |task|
// is no CUDA body's or its device is a virtual one. The device's context is current while the body
// runs. The stream is the task's for the length of the body only. It may be forked with events,
// if it is joined again before the body returns.
MANTA_API void *manta_cuda_stream(manta_task_t *task);

// The number of the task's device, as in manta_gpu(i); -1 for a CPU body.
MANTA_API int manta_task_device(const manta_task_t *task);

// A value that belongs to the task's *queue*: a library's handle bound to its stream, or a workspace.
// Made by |make| on first use for this |key| and queue (NULL: it failed, and the task with it), then
// the same each time. |key| is any address of the caller's, say that of |make|'s static data.
// Bodies on one queue run one after the other, in stream order, so neither the handle nor a device
// workspace needs a lock. |destroy| runs when the queue goes, at the latest at shutdown, with its
// device's context current and the queue idle.
//
//     static void *cublas_make(manta_task_t *task)
//     {
//         cublasHandle_t handle;
//         if (cublasCreate(&handle) != CUBLAS_STATUS_SUCCESS) return NULL;
//         cublasSetStream(handle, manta_cuda_stream(task));
//         return handle;
//     }
//     static void cublas_destroy(void *handle) { cublasDestroy(handle); }
//     static const char cublas_key;
//     ...
//     cublasHandle_t h = manta_queue_local(task, &cublas_key, cublas_make, cublas_destroy);
typedef void *(*manta_local_make_fn_t)(manta_task_t *task);
typedef void (*manta_local_destroy_fn_t)(void *value);
MANTA_API MANTA_NODISCARD void *manta_queue_local(manta_task_t *task, const void *key,
                                                  manta_local_make_fn_t make,
                                                  manta_local_destroy_fn_t destroy);

// Device memory for this task alone, 256-byte aligned, contents undefined; given back in stream order
// behind it. NULL: OUT_OF_MEMORY, or not a CUDA body; the message says how much was asked for and
// how much there is. |size_bytes| 0 gives a pointer that must not be used.
MANTA_API MANTA_NODISCARD void *manta_scratch(manta_task_t *task, size_t size_bytes);

// Names a word on the device as the status of the task: a 32-bit signed integer that the body's work
// leaves there, read when it is done. 0: the task has succeeded. Any other value fails it, and the
// message has the value: MANTA_ERR_USER + value if that is positive and below 2^30, else
// MANTA_ERR_USER. The info of a factorisation is one. The word must stay the task's until it is
// complete (scratch, or one of its outputs) and be written by the stream. One per task: the last call
// counts. Errors: NOT_ALLOWED_HERE · INVALID_ARGUMENT NULL or not 4-byte aligned.
MANTA_API manta_status_t manta_status_word(manta_task_t *task, const void *device_ptr);

// ---- joining code that owns streams ---------------------------------------------------------

// Makes |stream| (a CUstream of the caller's) wait, on the device, until |ref| is ready, and gives a
// view of its value on the stream's device: a device pointer, for work that is put into |stream| from
// now on. The host waits only until the producer of |ref| has been submitted. The view has to be
// released after that work is done; a scope does that too early unless it ends after a
// synchronisation. |stream| is of the primary context of its device, as those of CUDA's runtime are; the
// default stream of a thread (cudaStreamPerThread) can't be meant.
// Threads: any, also inside CPU tasks. Not in a CUDA body, which has its own stream, nor in a callback.
// Errors:  as manta_get() · NOT_SUPPORTED no CUDA device · INVALID_ARGUMENT the stream's device is not
//          one of the runtime's, or another context · OUT_OF_MEMORY no room for a replica there ·
//          NOT_ALLOWED_HERE.
MANTA_API MANTA_NODISCARD manta_status_t manta_cuda_wait(void *stream, manta_ref_t ref,
                                                         manta_view_t *out_view);

// Adopts device memory of the caller's as a sealed object, like manta_wrap() for host memory. It is
// ready when all work that is in |stream| now is done; tasks on devices are ordered behind that without
// a wait of the host. |deleter| as for manta_wrap(), with the device pointer, when nobody holds the object
// and no task uses it any more; not for an error ref. It is read-only: INOUT works on a copy. A ref that is
// cancelled, or fails with its device, says nothing of |stream|: its deleter may come before that is there.
// Threads: any, with any context current. Blocks: never.
// Error refs: NOT_SUPPORTED no CUDA device · INVALID_ARGUMENT no device memory of one of the
// runtime's devices · OUT_OF_MEMORY · SHUTDOWN.
MANTA_API MANTA_NODISCARD manta_ref_t manta_wrap_cuda(void *device_ptr, size_t size_bytes,
                                                      manta_dtype_t dtype, void *stream,
                                                      manta_deleter_fn_t deleter, void *user);

MANTA_END_DECLS

// ---- typed launches -------------------------------------------------------------------------

// MANTA_KERNEL(name, types...); at file scope, in C or C++, also in headers: the kernel |name| with
// up to 24 parameters. The types are those of the __global__ function, written so that a name
// can follow them (function pointers and arrays need a typedef; no type with a comma). Makes
//
//     manta_status_t name_launch(manta_grid_t grid, parameters...)   launches, in a CUDA body
//     manta_status_t name_run(manta_grid_t grid, parameters...)      runs the CPU twin, anywhere
//     manta_kernel_t name_kernel                                     for the untyped calls
//
// MANTA_KERNEL_AS(name, "text", types...); is for kernels whose name is no identifier.
#define MANTA_KERNEL(...)    MTI_KERNEL(__VA_ARGS__)
#define MANTA_KERNEL_AS(...) MTI_KERNEL_AS(__VA_ARGS__)

// MANTA_KERNEL_TWIN(name, function); at file scope, behind MANTA_KERNEL(name, ...): |function|, a
// manta_twin_fn_t, is the kernel's CPU twin.
#define MANTA_KERNEL_TWIN(name, function) MTI_KERNEL_TWIN(name, function)

// MANTA_LAUNCH(kernel, grid, arguments...) in a CUDA body: launches, and gives a manta_status_t.
// It is kernel_launch(grid, arguments...), by name; in files that nvcc compiles it takes the
// __global__ function itself, by symbol: MANTA_LAUNCH_SYMBOL of cuda.h.
#define MANTA_LAUNCH(...) MTI_LAUNCH(__VA_ARGS__)

#include <manta/detail/kernel_pp.h>

#ifdef __CUDACC__
#include <manta/cuda.h>
#endif

#endif
