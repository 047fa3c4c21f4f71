// The parts of the CUDA driver among themselves.
#ifndef MTI_DEVICES_CUDA_IMPL_H
#define MTI_DEVICES_CUDA_IMPL_H

#include "devices/cuda/cuda_api.h"
#include "devices/cuda/cuda_status.h"
#include "devices/device.h"

#include "base/atomic.h"

// Measure before changing: how long a poller trusts the completion words alone.
enum {
    CUDA_NET_POLLS = 64,       // this many polls without news, …
    CUDA_NET_NS = 1000 * 1000, // … and so long since the last look, and the driver is asked
    CUDA_SPIN_NS = 20 * 1000,  // block: spins so long, then sleeps between looks
    CUDA_SLEEP_MIN_NS = 20 * 1000,
    CUDA_SLEEP_MAX_NS = 500 * 1000,
};

// Events of one queue. More only make waits more exact; the newest alone is enough for order.
enum { CUDA_EVENTS = 32 };
// Events that queues gave back, kept for the next ones: creating one costs ten times its use.
enum { CUDA_EVENT_POOL = 256 };

typedef struct cuda_device {
    mti_device_t base;
    const mti_cu_api_t *api;
    CUdevice handle;
    bool has_words;   // streams can write 64-bit words to mapped host memory
    bool has_pools;   // stream-ordered allocation
    bool has_peers;   // other devices of the driver may wait for this one's queues
    size_t max_pitch; // of 2-D copies

    // While open.
    CUcontext context; // the primary one, retained
    CUmemoryPool pool;
    CUstream memory_stream;   // allocations and frees, nothing else
    CUstream far_stream;      // what other devices' queues have to have done here (copy.c)
    uint64_t lets_in;         // by ordinal: devices that may use the pool's memory
    mti_memory_t *words;      // a line per queue
    CUdeviceptr words_device; // the same, as the device sees it
    CUevent event_pool[CUDA_EVENT_POOL];
    uint32_t event_pool_count;

    uint32_t quiet_polls;
    int64_t net_ns; // the driver was last asked then
    bool said_lost; // by poll
    bool
        strayed; // a bound thread had another context current, which rebind or unbind has yet to tell
    mti_atomic_u32_t wake; // 1: the next block returns at once; block sleeps on it

    // Set once, under the right; |lost_text| before |lost|.
    char lost_text[384];
    mti_atomic_u32_t lost;
    mti_atomic_u32_t lost_for_others; // another device's thread met its error before its own did
} cuda_device_t;

typedef struct cuda_event {
    CUevent event;        // NULL: not made yet
    mti_atomic_u64_t seq; // what it was last recorded behind; 0: never
} cuda_event_t;

// Events that are recorded one after the other, and then the oldest again.
typedef struct cuda_ring {
    cuda_event_t events[CUDA_EVENTS];
    uint32_t newest; // index of the last one recorded
} cuda_ring_t;

// A stream, the word it writes its progress to, and two rings of events: marks, which other queues
// wait for, and ends, by which the host learns of the end where there are no words. An end is not
// recorded again before the host has seen it.
//
// The rings are read by other devices' threads, which hold their own right and not this one's
// (mti_queue_wait). What makes that safe: an event stays with its queue, its |seq| is stored after
// cuEventRecord() has returned, and only ever grows. So who finds seq >= n waits for n or for
// something later of this queue that was already submitted; and as the newest event stays in its
// ring, a number that was recorded is found.
typedef struct cuda_queue {
    mti_queue_t base;
    CUstream stream;
    mti_atomic_u64_t *word; // NULL: events alone tell
    CUdeviceptr word_device;
    uint64_t seen; // done, as the driver said when it was asked; poll hands it on
    cuda_ring_t marks, ends;
    uint32_t pending_count; // so many of the newest ends are not known to be over
} cuda_queue_t;

typedef enum cuda_memory_origin {
    CUDA_MEMORY_POOL,
    CUDA_MEMORY_PLAIN,      // cuMemAlloc, on devices without pools
    CUDA_MEMORY_MAPPED,     // mmap, bound and registered
    CUDA_MEMORY_REGISTERED, // the caller's, host memory
    CUDA_MEMORY_FOREIGN     // the caller's, device memory
} cuda_memory_origin_t;

typedef struct cuda_memory {
    mti_memory_t base;
    cuda_memory_origin_t origin;
} cuda_memory_t;

static inline cuda_device_t *cuda_device(mti_device_t *device)
{
    return (cuda_device_t *)device;
}
static inline cuda_queue_t *cuda_queue(mti_queue_t *queue)
{
    return (cuda_queue_t *)queue;
}
static inline CUdeviceptr cuda_address(const void *ptr)
{
    return (CUdeviceptr)(uintptr_t)ptr;
}

// ---- Calls ---------------------------------------------------------------------------------------

// Returns from the enclosing function with a status if |call| fails. A sticky error loses |device|. The arguments are
// evaluated again if the call is made again.
#define MTI_CU_TRY(device, call)                                                                   \
    do {                                                                                           \
        CUresult mti_cu_result = (device)->api->call;                                              \
        if (MTI_UNLIKELY(mti_cu_result != CUDA_SUCCESS) &&                                         \
            cuda_had_strayed((device), mti_cu_result))                                             \
            mti_cu_result = (device)->api->call;                                                   \
        if (MTI_UNLIKELY(mti_cu_result != CUDA_SUCCESS))                                           \
            return cuda_failed((device), mti_cu_result, #call);                                    \
    } while (0)
// The same where nothing can be done about a failure: only a loss is noticed.
#define MTI_CU_NOTE(device, call)                                                                  \
    do {                                                                                           \
        CUresult mti_cu_result = (device)->api->call;                                              \
        if (MTI_UNLIKELY(mti_cu_result != CUDA_SUCCESS))                                           \
            (void)cuda_failed((device), mti_cu_result, #call);                                     \
    } while (0)

// The status of a call that failed, with its message; marks the device lost if it is.
manta_status_t cuda_failed(cuda_device_t *device, CUresult result, const char *call);
static inline bool cuda_is_lost(const cuda_device_t *device)
{
    // acquire: pairs with cuda_failed, which wrote the text
    return mti_atomic_u32_load_acquire(&device->lost) != 0;
}

// ---- The current context (context.c) -------------------------------------------------------------

// Makes the device's context current for one call, unless the thread is bound already.
typedef struct cuda_scope {
    CUcontext previous;
    bool is_set;
} cuda_scope_t;
// Errors: DEVICE_LOST · FORKED · what the driver says. After a failure there is nothing to leave.
manta_status_t cuda_enter(cuda_device_t *device, cuda_scope_t *out_scope);
// The same for what takes the current context for its own and says nothing if that is another one: looks also on a
// bound thread, where user code ran since.
manta_status_t cuda_enter_making(cuda_device_t *device, cuda_scope_t *out_scope);
// Between enter and leave: as that.
void cuda_make_sure(cuda_device_t *device);
// |result| may come from another context that user code has left current on the bound thread. True: it was so, and the
// call that gave it is worth another try.
bool cuda_had_strayed(cuda_device_t *device, CUresult result);
void cuda_leave(cuda_device_t *device, const cuda_scope_t *scope);

void cuda_bind(mti_device_t *device, mti_bound_t *out_bound);
bool cuda_rebind(mti_device_t *device);
bool cuda_unbind(mti_device_t *device, const mti_bound_t *bound);

// ---- The other files -----------------------------------------------------------------------------

// queue.c
manta_status_t cuda_queue_create(mti_device_t *device, const mti_queue_options_t *options,
                                 mti_queue_t **out_queue);
void cuda_queue_destroy(mti_queue_t *queue);
manta_status_t cuda_wait(mti_queue_t *queue, mti_queue_t *other, uint64_t seq);
manta_status_t cuda_signal(mti_queue_t *queue, uint64_t seq);
void *cuda_native_queue(mti_queue_t *queue);
void cuda_poll(mti_device_t *device, mti_poll_t *out_poll);
manta_status_t cuda_block(mti_device_t *device, int64_t deadline_ns);
void cuda_wake(mti_device_t *device);
void cuda_event_pool_drain(cuda_device_t *device);
// An event of the device's pool, for one use; and back to it. Entered.
manta_status_t cuda_event_take(cuda_device_t *device, CUevent *out_event);
void cuda_event_give(cuda_device_t *device, CUevent event);
// What every operation does around its driver call: enter and make sure that a record will find an
// event; record, leave, and put the device's name before a message.
manta_status_t cuda_op_begin(cuda_queue_t *queue, uint32_t flags, cuda_scope_t *out_scope);
manta_status_t cuda_op_end(cuda_queue_t *queue, manta_status_t status, uint32_t flags, uint64_t seq,
                           const cuda_scope_t *scope);

// foreign.c
manta_status_t cuda_foreign_stream(mti_device_t *device, void *stream, bool *out_here);
manta_status_t cuda_foreign_after(mti_queue_t *queue, void *stream);
manta_status_t cuda_foreign_mark(mti_device_t *device, void *stream, void **out_mark);
void cuda_foreign_unmark(mti_device_t *device, void *mark);
manta_status_t cuda_foreign_wait(mti_queue_t *queue, void *mark);
manta_status_t cuda_foreign_memory(mti_device_t *device, const void *ptr, size_t size_bytes,
                                   bool *out_here);
manta_status_t cuda_foreign_adopt(mti_device_t *device, void *ptr, size_t size_bytes,
                                  mti_memory_t **out_memory);

// memory.c
cuda_memory_t *cuda_memory_make(cuda_device_t *device,
                                cuda_memory_origin_t origin); // NULL: no memory
manta_status_t cuda_memory_open(cuda_device_t *device);       // pool, stream, words; entered
void cuda_memory_close(cuda_device_t *device);
manta_status_t cuda_alloc(mti_device_t *device, size_t size_bytes, mti_memory_t **out_memory);
manta_status_t cuda_host_alloc(mti_device_t *device, size_t size_bytes, int node,
                               mti_memory_t **out_memory);
manta_status_t cuda_host_register(mti_device_t *device, void *ptr, size_t size_bytes,
                                  mti_memory_t **out_memory);
void cuda_free(mti_memory_t *memory);

// copy.c
manta_status_t cuda_copy(mti_queue_t *queue, const mti_copy_t *copies, size_t count, uint32_t flags,
                         uint64_t seq);
manta_status_t cuda_copy_2d(mti_queue_t *queue, const mti_copy_2d_t *copy, uint32_t flags,
                            uint64_t seq);
manta_status_t cuda_fill(mti_queue_t *queue, mti_place_t dst, size_t size_bytes, uint32_t pattern,
                         uint32_t pattern_bytes, uint32_t flags, uint64_t seq);
manta_status_t cuda_empty(mti_queue_t *queue, uint32_t flags, uint64_t seq);

// code.c
manta_status_t cuda_code_load(mti_device_t *device, const mti_code_t *code, mti_kernel_t *kernels,
                              mti_module_t **out_module);
void cuda_code_unload(mti_module_t *module);
manta_status_t cuda_launch(mti_queue_t *queue, const mti_launch_t *launch, uint32_t flags,
                           uint64_t seq);
manta_status_t cuda_launch_native(mti_queue_t *queue, void *native_kernel, const char *name,
                                  const mti_launch_shape_t *shape, void *const *args,
                                  uint32_t flags, uint64_t seq);

#endif
