// The driver contract: devices, queues, memory, code. What a lane drives and a driver implements.
//
//   lane, store ──► device.h: mti_device_*, mti_queue_*   device.c checks the arguments, once
//                     │ mti_device_ops_t
//                     ▼
//                   sim · host · cuda · null               trust what they are given
//
// Three ideas carry all of it.
//
//   A *queue* is an ordered timeline. Every operation submitted to it takes the next sequence number,
//   1, 2, 3, …; there are no event objects. An operation n of a queue is done when
//   mti_queue_completed(queue) >= n.
//
//   An operation is *recorded* when the host has asked to see its end: by MTI_OP_RECORD, or by
//   mti_queue_signal() afterwards. A record covers all that went before it on the queue. What nobody
//   recorded may be done for a long time without the completed word saying so.
//
//   A *failure* belongs to one operation (the queue goes on; poll reports it), or is the loss of the
//   device (sticky: everything in flight there fails, nothing elsewhere does).
//
// Who may call what. Each device is driven by one thread at a time: whoever holds the lane's right.
// Calls on one device, its queues, its memory and its code are serialised by that right, never
// re-entrant, and checked so where MANTA_ASSERT >= 2. "Right" below means this; "any" means any
// thread at any time while the device set lives. No call blocks but open, close and block.
//
// Units: bytes and nanoseconds. Statuses carry a message (manta_error_message()) that names the
// device, the operation or kernel, the value and the limit.
#ifndef MTI_DEVICES_DEVICE_H
#define MTI_DEVICES_DEVICE_H

#include "base/atomic.h"

#include <manta/allocator.h>
#include <manta/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

MANTA_BEGIN_DECLS

typedef struct mti_device mti_device_t;
typedef struct mti_queue mti_queue_t;
typedef struct mti_memory mti_memory_t;
typedef struct mti_module mti_module_t;
typedef struct mti_kernel mti_kernel_t;

// ---- What a device is ----------------------------------------------------------------------------

typedef enum mti_device_kind {
    MTI_DEVICE_HOST = 0, // memory of a NUMA node: copies, fills and host functions in order
    MTI_DEVICE_GPU       // real or virtual
} mti_device_kind_t;

typedef enum mti_device_state {
    MTI_DEVICE_CLOSED = 0, // known, not open: only info, caps and open are of use
    MTI_DEVICE_OPEN,
    MTI_DEVICE_LOST, // sticky; only poll, close, frees and destroys are of use
    MTI_DEVICE_ENDED // closed again; only info is of use
} mti_device_state_t;

// One bit per optional operation, or per property that a caller has to plan for.
typedef enum mti_cap {
    MTI_CAP_NONE = 0,
    MTI_CAP_LAUNCH = 1u << 0,    // code_load, launch
    MTI_CAP_HOST_FN = 1u << 1,   // launch_host_fn: a host function in the place of a kernel
    MTI_CAP_COPY_2D = 1u << 2,   // copy_2d
    MTI_CAP_PEER_COPY = 1u << 3, // copies to and from other devices of the family, direct or staged
    MTI_CAP_PAGEABLE = 1u << 4,  // copies may name host memory that the driver does not know
    MTI_CAP_HOST_REGISTER = 1u << 5, // host_register, host_unregister
    MTI_CAP_CROSS_WAIT = 1u << 6,    // wait for queues of other devices of the family
    MTI_CAP_NATIVE = 1u << 7, // native_queue, launch_native, mti_queue_adopt, foreign streams
    MTI_CAP_FAULTS = 1u << 8, // inject
    // The device lives on a virtual clock (mti_device_now_ns). poll does what is due and never moves
    // the clock; block moves it to the next event. So whoever drives such a device must call block,
    // and not poll again, when there is nothing else to do; and one thread drives all of them.
    MTI_CAP_VIRTUAL_CLOCK = 1u << 9
} mti_cap_t;

typedef struct mti_device_limits {
    uint32_t max_grid[3], max_block[3];
    uint32_t max_block_threads;
    uint32_t max_shared_bytes; // dynamic, per block
    uint32_t max_args_bytes;   // all parameters of one launch
    uint32_t max_queues;
    size_t alloc_align_bytes; // what device memory is aligned to, at least
} mti_device_limits_t;

// The way to another device, or (to_host, from_host) to the memory of the device's own node.
typedef struct mti_link {
    uint64_t bytes_per_s; // one direction; 0: unknown
    int64_t latency_ns;
    bool direct; // the copy engine reaches it; false: staged through host memory, or no way at all
} mti_link_t;

enum { MTI_DEVICE_NAME_BYTES = 64, MTI_PCI_ID_BYTES = 16 };

// Known before open, immutable afterwards.
typedef struct mti_device_info {
    char name
        [MTI_DEVICE_NAME_BYTES]; // "sim:2", "NVIDIA H200": for people; mti_device_t.name is unique
    mti_device_kind_t kind;
    uint8_t uuid[16];
    char pci_id[MTI_PCI_ID_BYTES]; // "0000:3b:00.0", "" if there is none
    int node;                      // NUMA node near it as the operating system counts, -1: unknown
    uint64_t memory_bytes;         // what can be allocated at most
    int cc_major, cc_minor;        // compute capability, 0.0 if that means nothing
    mti_device_limits_t limits;
    mti_link_t to_host, from_host;
    uint32_t peer_count;     // length of |peers|: the driver's number of devices
    const mti_link_t *peers; // by ordinal; the own entry is a copy inside the device
} mti_device_info_t;

// ---- Memory --------------------------------------------------------------------------------------

typedef enum mti_memory_kind {
    MTI_MEMORY_DEVICE = 0,
    MTI_MEMORY_HOST,      // pinned host memory from host_alloc
    MTI_MEMORY_REGISTERED // the caller's own host memory, pinned by host_register
} mti_memory_kind_t;

// One allocation or registration. Its fields are the caller's to read.
//
// Host memory is usable by all devices of the family; |device| is only who made it and has to take
// it back. Drivers embed this as their first member.
struct mti_memory {
    mti_device_t *device;
    void *
        ptr; // an address of the device for DEVICE (on sim and host a real pointer), else the host's
    size_t size_bytes;
    mti_memory_kind_t kind;
    int node;                  // OS index of the NUMA node, -1: none in particular
    mti_memory_t *prev, *next; // device.c's list of what is live
};

// One end of a copy: an address and the memory that it lies in. |memory| NULL is host memory that
// the driver does not know (MTI_CAP_PAGEABLE).
typedef struct mti_place {
    void *ptr;
    const mti_memory_t *memory;
} mti_place_t;

static inline mti_place_t mti_place_at(const mti_memory_t *memory, size_t offset_bytes)
{
    mti_place_t place = {(char *)memory->ptr + offset_bytes, memory};
    return place;
}
static inline mti_place_t mti_place_pageable(void *ptr)
{
    mti_place_t place = {ptr, NULL};
    return place;
}

// ---- Operations ----------------------------------------------------------------------------------

typedef enum mti_op_flags {
    MTI_OP_NONE = 0,
    MTI_OP_RECORD = 1u << 0 // the host wants to see the end of this one
} mti_op_flags_t;

typedef struct mti_copy {
    mti_place_t dst, src; // must not overlap
    size_t size_bytes;    // 0 is fine
} mti_copy_t;

// |rows| rows of |width_bytes| each, whose starts are a pitch apart. Pitches >= width.
typedef struct mti_copy_2d {
    mti_place_t dst, src;
    size_t dst_pitch_bytes, src_pitch_bytes;
    size_t width_bytes, rows;
} mti_copy_2d_t;

// The geometry of a launch, and how a kernel's CPU twin gets it. The same layout as the public
// manta_grid_t.
typedef struct mti_launch_shape {
    uint32_t grid[3];
    uint32_t block[3];
    uint32_t shared_bytes; // dynamic shared memory per block
} mti_launch_shape_t;

// The CPU twin of a kernel: does the whole grid. args[i] points to the value of parameter i.
typedef void (*mti_kernel_twin_fn_t)(const mti_launch_shape_t *shape, void *const *args);

typedef struct mti_launch {
    const mti_kernel_t *kernel; // of this device
    mti_launch_shape_t shape;
    void *const *args; // one pointer to a value per parameter; values are copied during the call
    uint32_t arg_count;
    const uint32_t
        *arg_bytes; // sizes of the values, held against the kernel's; NULL: as the kernel has it
    bool high_priority; // a hint
} mti_launch_t;

// A host function in the place of a kernel. It runs in the queue's order on a thread of the driver
// (virtual clock: inside poll or block), must not call into any device, and may block: then its queue
// stands still, nothing else. A status other than MANTA_OK is a failure of this operation.
typedef manta_status_t (*mti_host_fn_t)(void *user);

// ---- Code ----------------------------------------------------------------------------------------

typedef struct mti_kernel_desc {
    const char *name;   // what it is found by; unique per device
    const char *symbol; // what it is called in the blob; NULL: |name|
    const uint32_t *
        param_bytes; // NULL: not known here; the driver asks the blob, or sizes come with the launch
    uint32_t param_count;
    uint32_t max_block_threads; // 0: the device's limit
    mti_kernel_twin_fn_t twin;  // NULL: there is none; sim then refuses the launch
} mti_kernel_desc_t;

// A code object: borrowed for as long as the device is open, names and tables too.
typedef struct mti_code {
    const char *name; // for messages
    const void *blob; // a fatbin or cubin; may be NULL for drivers that run twins
    size_t blob_bytes;
    const mti_kernel_desc_t *kernels;
    uint32_t kernel_count;
} mti_code_t;

// Drivers embed these as their first member. Fields are the caller's to read.
struct mti_module {
    mti_device_t *device;
    const mti_code_t *code;
    mti_kernel_t *kernels; // code->kernel_count
    mti_module_t *next;
};
struct mti_kernel {
    mti_device_t *device;
    const mti_kernel_desc_t *desc;
    // From |desc| and the device's limits; the driver may know better and changes them in code_load.
    const uint32_t *param_bytes; // NULL: not known
    uint32_t param_count;
    uint32_t max_block_threads;
    uint32_t max_shared_bytes; // dynamic
    void *native;              // the driver's own handle
};

// ---- Queues --------------------------------------------------------------------------------------

typedef enum mti_queue_kind {
    MTI_QUEUE_COMPUTE = 0,
    MTI_QUEUE_COPY_IN,  // host to device
    MTI_QUEUE_COPY_OUT, // device to host
    MTI_QUEUE_COPY_PEER // device to device
} mti_queue_kind_t;     // a hint for the driver: any operation may go to any queue

typedef struct mti_queue_options {
    mti_queue_kind_t kind;
    bool high_priority; // a hint
} mti_queue_options_t;

// Drivers embed this as their first member.
struct mti_queue {
    mti_device_t *device;
    uint32_t index; // in its device: dense, reused after destroy
    mti_queue_kind_t kind;
    uint64_t submitted; // the last number given out; needs the right
    mti_queue_t *next;  // device.c's list

    // Written under the right when something is recorded; read by other devices' wait checks.
    __attribute__((aligned(MTI_LINE_BYTES))) mti_atomic_u64_t recorded;

    // A line that anybody may read and only poll writes. |failed| is the first number that failed
    // and is not acknowledged yet, 0: none. It is stored before |completed| passes it.
    __attribute__((aligned(MTI_LINE_BYTES))) mti_atomic_u64_t completed;
    mti_atomic_u64_t failed;
};

// The last operation known to be done: what they did to host memory is visible to the caller, on
// every device. Threads: any. Pairs with poll's release store.
static inline uint64_t mti_queue_completed(const mti_queue_t *queue)
{
    return mti_atomic_u64_load_acquire(&queue->completed);
}

// ---- Polling -------------------------------------------------------------------------------------

// One operation that failed by itself. It counts as done for order.
typedef struct mti_op_failure {
    mti_queue_t *queue;
    uint64_t seq;
    manta_status_t code;
    const char *text; // lives as long as the device
} mti_op_failure_t;

enum { MTI_POLL_FAILURES = 8 };

typedef struct mti_poll {
    uint32_t advanced;      // queues whose completed word moved
    uint32_t failure_count; // of |failures|
    bool more;              // there are more failures; completed words wait for them: poll again
    bool lost;              // the device is lost: said by every poll from then on
    mti_op_failure_t failures[MTI_POLL_FAILURES];
} mti_poll_t;

// ---- Faults, for tests ---------------------------------------------------------------------------

typedef enum mti_fault_kind {
    MTI_FAULT_NONE = 0,     // takes back what is armed; held queues stay held
    MTI_FAULT_OOM,          // the |nth| allocation of device memory from now on finds none
    MTI_FAULT_FAIL_OP,      // the |nth| operation that starts from now on fails with |code|
    MTI_FAULT_FAIL_OPS,     // … and all after it
    MTI_FAULT_LOSE,         // the device is lost when the |nth| operation from now on starts
    MTI_FAULT_LOSE_NOW,     // … at once
    MTI_FAULT_HOLD_QUEUE,   // |queue| starts no further operation
    MTI_FAULT_RELEASE_QUEUE // … goes on
} mti_fault_kind_t;

typedef struct mti_fault {
    mti_fault_kind_t kind;
    uint32_t nth; // counted from 1
    manta_status_t code;
    mti_queue_t *queue;
} mti_fault_t;

// ---- The thread that drives ----------------------------------------------------------------------

// What a thread was before mti_device_bind(); the driver's.
typedef struct mti_bound {
    void *previous[2];
} mti_bound_t;

// ---- The table a driver fills --------------------------------------------------------------------

// Contracts are those of the functions below, whose checks have passed. An entry that a capability
// bit names may be NULL without the bit. |seq| is the operation's number: the driver's queue reaches
// it when this operation and all before it are done. Entries that fail change nothing.
typedef struct mti_device_ops {
    // life
    manta_status_t (*open)(mti_device_t *device);
    manta_status_t (*close)(mti_device_t *device,
                            int64_t deadline_ns); // queues and memory are gone
    // queues
    manta_status_t (*queue_create)(mti_device_t *device, const mti_queue_options_t *options,
                                   mti_queue_t **out_queue);
    void (*queue_destroy)(mti_queue_t *queue);
    manta_status_t (*wait)(mti_queue_t *queue, mti_queue_t *other, uint64_t seq);
    manta_status_t (*signal)(mti_queue_t *queue, uint64_t seq); // make |seq|, the last one, visible
    // progress
    void (*poll)(mti_device_t *device, mti_poll_t *out_poll); // stores completed and failed words
    manta_status_t (*block)(mti_device_t *device, int64_t deadline_ns);
    void (*wake)(mti_device_t *device);      // any thread, also inside block
    int64_t (*now_ns)(mti_device_t *device); // NULL: mti_clock_ns
    // thread; all NULL: the driver keeps nothing on threads
    void (*bind)(mti_device_t *device, mti_bound_t *out_bound);
    bool (*rebind)(mti_device_t *device);
    bool (*unbind)(mti_device_t *device, const mti_bound_t *bound);
    // memory; a reason in the message of OUT_OF_MEMORY is enough, device.c adds the numbers
    manta_status_t (*alloc)(mti_device_t *device, size_t size_bytes, mti_memory_t **out_memory);
    void (*free)(mti_memory_t *memory);
    manta_status_t (*host_alloc)(mti_device_t *device, size_t size_bytes, int node,
                                 mti_memory_t **out_memory);
    void (*host_free)(mti_memory_t *memory);
    manta_status_t (*host_register)(mti_device_t *device, void *ptr, size_t size_bytes,
                                    mti_memory_t **out_memory);
    void (*host_unregister)(mti_memory_t *memory);
    // operations
    manta_status_t (*copy)(mti_queue_t *queue, const mti_copy_t *copies, size_t count,
                           uint32_t flags, uint64_t seq); // empty ones are to be skipped
    manta_status_t (*copy_2d)(mti_queue_t *queue, const mti_copy_2d_t *copy, uint32_t flags,
                              uint64_t seq);
    manta_status_t (*fill)(mti_queue_t *queue, mti_place_t dst, size_t size_bytes, uint32_t pattern,
                           uint32_t pattern_bytes, uint32_t flags, uint64_t seq);
    manta_status_t (*empty)(mti_queue_t *queue, uint32_t flags,
                            uint64_t seq); // does nothing, in order
    // code
    manta_status_t (*code_load)(mti_device_t *device, const mti_code_t *code, mti_kernel_t *kernels,
                                mti_module_t **out_module);
    void (*code_unload)(mti_module_t *module); // at close
    manta_status_t (*launch)(mti_queue_t *queue, const mti_launch_t *launch, uint32_t flags,
                             uint64_t seq);
    manta_status_t (*launch_host_fn)(mti_queue_t *queue, mti_host_fn_t fn, void *user,
                                     uint32_t flags, uint64_t seq);
    // native handles
    void *(*native_queue)(mti_queue_t *queue);
    manta_status_t (*launch_native)(mti_queue_t *queue, void *native_kernel, const char *name,
                                    const mti_launch_shape_t *shape, void *const *args,
                                    uint32_t flags, uint64_t seq);
    // streams and memory of others (MTI_CAP_NATIVE)
    manta_status_t (*foreign_stream)(mti_device_t *device, void *stream, bool *out_here);
    manta_status_t (*foreign_after)(mti_queue_t *queue, void *stream);
    manta_status_t (*foreign_mark)(mti_device_t *device, void *stream, void **out_mark);
    void (*foreign_unmark)(mti_device_t *device, void *mark);
    manta_status_t (*foreign_wait)(mti_queue_t *queue, void *mark);
    manta_status_t (*foreign_memory)(mti_device_t *device, const void *ptr, size_t size_bytes,
                                     bool *out_here);
    manta_status_t (*foreign_adopt)(mti_device_t *device, void *ptr, size_t size_bytes,
                                    mti_memory_t **out_memory);
    // tests
    manta_status_t (*inject)(mti_device_t *device, const mti_fault_t *fault);
} mti_device_ops_t;

// Counted under the right; what a test that bounds driver calls reads.
typedef struct mti_device_stats {
    uint64_t launches, copies, copy_bytes, fills, empties; // a batch counts each of its copies
    uint64_t submits; // calls of the driver that submit an operation
    uint64_t waits, waits_elided, signals, polls;
    uint64_t allocs, frees, live_bytes; // device memory
} mti_device_stats_t;

// Drivers embed this as their first member; the first block is theirs to set before they hand the
// device out, the second is device.c's.
struct mti_device {
    const mti_device_ops_t *ops;
    const struct mti_driver *driver;
    const void *family; // devices with the same one know each other's queues and memory
    char name
        [MTI_DEVICE_NAME_BYTES]; // unique in the set and made by the registry: "sim:0", "cuda:3"
    uint32_t ordinal;            // among the driver's devices
    uint32_t caps;               // of mti_cap_t
    mti_device_info_t info;
    manta_allocator_t allocator;

    uint32_t index;           // in the set
    mti_atomic_u32_t state;   // mti_device_state_t; anybody reads
    mti_atomic_u32_t entered; // 1: somebody is inside; checked where MANTA_ASSERT >= 2
    mti_queue_t *queues;
    mti_memory_t *memories;
    mti_module_t *modules;
    struct mti_kernel_table *kernels;
    uint64_t queue_bits[4]; // indices in use
    mti_device_stats_t stats;
};

enum { MTI_DEVICE_MAX_QUEUES = 256 };

// ---- Life ----------------------------------------------------------------------------------------

// Makes |device| usable. Idempotent; a lost or closed device can't be opened again. Needs the right.
// Blocks: a context may take 100 ms and more.
// Errors: DEVICE_LOST · OUT_OF_MEMORY · SYSTEM what the driver said.
MANTA_NODISCARD manta_status_t mti_device_open(mti_device_t *device);

// Records all queues of |device| and waits until they are quiet. A lost device is quiet at once. Needs the right.
// Failures that are met on the way are not handed out any more. Blocks, errors: as close.
MANTA_NODISCARD manta_status_t mti_device_drain(mti_device_t *device, int64_t deadline_ns);

// Drains, then frees every queue, memory and module that is left, and the
// device. A lost device is quiet at once. Needs the right; queues and memory that other
// devices' operations still use must not be there any more. A device that is not open is fine.
// Blocks: until |deadline_ns| (mti_device_now_ns() time); a virtual clock runs on.
// Errors: TIMEOUT something is still in flight: nothing was freed, call again · DEADLOCK all queues
//         of the virtual machine wait for each other or are held.
MANTA_NODISCARD manta_status_t mti_device_close(mti_device_t *device, int64_t deadline_ns);

static inline mti_device_state_t mti_device_state(const mti_device_t *device)
{
    // acquire: pairs with the release of open and of the poll that met the loss
    return (mti_device_state_t)mti_atomic_u32_load_acquire(&device->state);
}
static inline bool mti_device_can(const mti_device_t *device, uint32_t caps)
{
    return (device->caps & caps) == caps;
}
// Threads: any. The clock that deadlines and block of this device go by: the machine's, or a virtual one.
int64_t mti_device_now_ns(mti_device_t *device);

// ---- The thread that drives ----------------------------------------------------------------------
//
// A driver may keep something on the thread that calls it: with CUDA, which context is current, and
// that is shared with whatever else runs on the thread. Every call works on any thread and leaves it
// as it was, by putting that aside and back again: some calls of the driver each time. A thread
// that holds the right for a while binds the device once instead.

// Binds the thread to |device|, which is open: the context is current, also for user code. Nests.
static inline void mti_device_bind(mti_device_t *device, mti_bound_t *out_bound)
{
    if (device->ops->bind) device->ops->bind(device, out_bound);
}
// User code ran on the bound thread and may have left another context current: puts it right. True: it had.
static inline bool mti_device_rebind(mti_device_t *device)
{
    return device->ops->rebind && device->ops->rebind(device);
}
// Makes the thread what it was before the bind that filled |bound|. In reverse order of binding. True: not the
// device's context was current.
static inline bool mti_device_unbind(mti_device_t *device, const mti_bound_t *bound)
{
    return device->ops->unbind && device->ops->unbind(device, bound);
}

// ---- Queues and order ----------------------------------------------------------------------------

// Errors: RESOURCE_EXHAUSTED no more than limits.max_queues · OUT_OF_MEMORY · DEVICE_LOST.
MANTA_NODISCARD manta_status_t mti_queue_create(mti_device_t *device,
                                                const mti_queue_options_t *options,
                                                mti_queue_t **out_queue);

// The queue must be quiet (completed == submitted) or its device lost, and nobody may wait for it any
// more. NULL is fine. Errors: INVALID_ARGUMENT work is in flight; nothing is destroyed.
MANTA_NODISCARD manta_status_t mti_queue_destroy(mti_queue_t *queue);

// What is submitted to |queue| from now on starts after operation |seq| of |other| is done. Takes no
// number. Left out, at no cost, when that is done already or the queues are the same one.
//
// |other| of the same device: any number it has given out. Of another device: it must be recorded;
// only |queue|'s right is needed. If |other|'s device is lost the wait is over: its work will never
// come, and who submits what follows knows that from the loss.
// The driver may wait for somewhat later work of |other|, never for work that is submitted after
// this call; so waits can't form a circle.
// Errors: INVALID_ARGUMENT number not given out, not recorded · NOT_SUPPORTED a device of another
//         family, or no MTI_CAP_CROSS_WAIT · DEVICE_LOST |queue|'s · RESOURCE_EXHAUSTED, retry.
MANTA_NODISCARD manta_status_t mti_queue_wait(mti_queue_t *queue, mti_queue_t *other, uint64_t seq);

// Makes the end of all that |queue| was given so far visible to the host; out: the number that
// completed will reach. Free if it is recorded already.
// Errors: DEVICE_LOST · RESOURCE_EXHAUSTED, retry.
MANTA_NODISCARD manta_status_t mti_queue_signal(mti_queue_t *queue, uint64_t *out_seq);

// An operation that does nothing: a number of its own, say to join waits.
MANTA_NODISCARD manta_status_t mti_queue_empty(mti_queue_t *queue, uint32_t flags,
                                               uint64_t *out_seq);

// Takes a number for what the caller put on the native queue by itself since the last operation.
// Costs no driver call; record it with mti_queue_signal(). MTI_CAP_NATIVE.
MANTA_NODISCARD manta_status_t mti_queue_adopt(mti_queue_t *queue, uint64_t *out_seq);

// ---- Progress ------------------------------------------------------------------------------------

// Advances completed words, hands out failures, notices a loss. Never blocks, always succeeds.
//
// A failure is handed out at the latest by the poll that moves completed past it; before that the
// queue's failed word is set. Once a poll has said |lost|, no operation of the device touches memory
// any more, completed words stand still, and what is not completed has failed with DEVICE_LOST.
// Costs one cached load per queue when nothing happened.
void mti_device_poll(mti_device_t *device, mti_poll_t *out_poll);

// The caller has seen all failures of |queue| up to |seq|: resets its failed word.
void mti_queue_acknowledge(mti_queue_t *queue, uint64_t seq);

// Sleeps until poll would report something, mti_device_wake() is called, or the deadline passes
// (mti_device_now_ns() time). On a virtual clock: moves time to the next event of any device, at most
// to the deadline; then poll all of them, this one may have nothing new. What is not recorded wakes nobody.
// Returns OK poll now · NOT_READY the deadline passed · DEADLOCK there is no deadline, and nothing recorded
//         is in flight; on a virtual clock also when what is waits for held queues.
MANTA_NODISCARD manta_status_t mti_device_block(mti_device_t *device, int64_t deadline_ns);

// Makes the block that sleeps now, or else the next one, return OK. Threads: any.
void mti_device_wake(mti_device_t *device);

// ---- Memory --------------------------------------------------------------------------------------

// Out of memory is a status and leaves the device as it was. |size_bytes| > 0. Contents: anything.
// Errors: OUT_OF_MEMORY with bytes asked for, in use and there · INVALID_ARGUMENT zero · DEVICE_LOST.
MANTA_NODISCARD manta_status_t mti_memory_alloc(mti_device_t *device, size_t size_bytes,
                                                mti_memory_t **out_memory);

// Pinned host memory on NUMA node |node| (OS index, -1: anywhere), aligned to a page.
MANTA_NODISCARD manta_status_t mti_memory_alloc_host(mti_device_t *device, size_t size_bytes,
                                                     int node, mti_memory_t **out_memory);

// Pins [ptr, ptr + size): whole pages, not registered already. The range stays the caller's.
// Errors: INVALID_ARGUMENT not whole pages, or registered already · NOT_SUPPORTED · OUT_OF_MEMORY.
MANTA_NODISCARD manta_status_t mti_memory_register(mti_device_t *device, void *ptr,
                                                   size_t size_bytes, mti_memory_t **out_memory);

// Frees or unregisters at once: the caller knows that no operation that uses it is in flight, by
// completed words or by loss. Needs the right of the device that made it. NULL is fine.
void mti_memory_free(mti_memory_t *memory);

// ---- Operations ----------------------------------------------------------------------------------
//
// Each takes the next number of |queue| (out_seq may be NULL) and returns at once. Sources are read,
// and destinations written, some time until the operation is done; both must live and host source
// bytes stay unchanged so long. On failure no number is taken and nothing was submitted.
// Errors of all: INVALID_ARGUMENT a range outside its memory, ranges that overlap, wrong alignment, memory that
//         the device can't reach · DEVICE_LOST it, or one whose memory is named · RESOURCE_EXHAUSTED the driver's queue is full: poll, retry ·
//         OUT_OF_MEMORY of the host.

MANTA_NODISCARD manta_status_t mti_queue_copy(mti_queue_t *queue, const mti_copy_t *copy,
                                              uint32_t flags, uint64_t *out_seq);
// Unordered among themselves. Zero copies, or only empty ones, are an empty operation.
MANTA_NODISCARD manta_status_t mti_queue_copy_batch(mti_queue_t *queue, const mti_copy_t *copies,
                                                    size_t count, uint32_t flags,
                                                    uint64_t *out_seq);
MANTA_NODISCARD manta_status_t mti_queue_copy_2d(mti_queue_t *queue, const mti_copy_2d_t *copy,
                                                 uint32_t flags, uint64_t *out_seq);
// |pattern_bytes| is 1, 2 or 4; start and size are multiples of it. |dst| is device memory.
MANTA_NODISCARD manta_status_t mti_queue_fill(mti_queue_t *queue, mti_place_t dst,
                                              size_t size_bytes, uint32_t pattern,
                                              uint32_t pattern_bytes, uint32_t flags,
                                              uint64_t *out_seq);

// A grid with a zero in it is an empty operation.
// Errors besides: INVALID_ARGUMENT a kernel of another device, count or bytes of arguments ·
//         OUT_OF_RANGE geometry, shared or argument bytes beyond a limit · NOT_SUPPORTED.
MANTA_NODISCARD manta_status_t mti_queue_launch(mti_queue_t *queue, const mti_launch_t *launch,
                                                uint32_t flags, uint64_t *out_seq);
MANTA_NODISCARD manta_status_t mti_queue_launch_host_fn(mti_queue_t *queue, mti_host_fn_t fn,
                                                        void *user, uint32_t flags,
                                                        uint64_t *out_seq);
// A kernel that the user's own code loaded; |name| is for messages. MTI_CAP_NATIVE.
MANTA_NODISCARD manta_status_t mti_queue_launch_native(mti_queue_t *queue, void *native_kernel,
                                                       const char *name,
                                                       const mti_launch_shape_t *shape,
                                                       void *const *args, uint32_t flags,
                                                       uint64_t *out_seq);
// The stream behind the queue, NULL without MTI_CAP_NATIVE.
void *mti_queue_native(mti_queue_t *queue);

// ---- Streams and memory of others ----------------------------------------------------------------
//
// For user code that owns streams and device memory. MTI_CAP_NATIVE; others give NOT_SUPPORTED.

// Is the user's |stream| one of |device|? Threads: any, also before open. Errors: INVALID_ARGUMENT no stream.
MANTA_NODISCARD manta_status_t mti_foreign_stream(mti_device_t *device, void *stream,
                                                  bool *out_here);

// What is put into |stream| from now on starts after all that |queue| was given so far. Needs the right.
// Errors: INVALID_ARGUMENT a stream of a context that can't use the device's memory · DEVICE_LOST ·
//         RESOURCE_EXHAUSTED, retry.
MANTA_NODISCARD manta_status_t mti_foreign_after(mti_queue_t *queue, void *stream);

// Remembers where |stream|, of any device, is now. |device| is whom to ask: any one of the family. Threads: any.
// Owns: the caller takes it back by unmark, which may be called as soon as all waits have been made.
MANTA_NODISCARD manta_status_t mti_foreign_mark(mti_device_t *device, void *stream,
                                                void **out_mark);
void mti_foreign_unmark(mti_device_t *device, void *mark); // NULL is fine
// What is submitted to |queue| from now on starts after |mark|. Takes no number. Needs the right.
MANTA_NODISCARD manta_status_t mti_foreign_wait(mti_queue_t *queue, void *mark);

// Is [ptr, ptr + size) memory of |device| that somebody else has allocated? Threads: any, also before open.
// Errors: INVALID_ARGUMENT it is, but the allocation is shorter.
MANTA_NODISCARD manta_status_t mti_foreign_memory(mti_device_t *device, const void *ptr,
                                                  size_t size_bytes, bool *out_here);
// Makes it memory that operations can name. mti_memory_free() only forgets it again: it stays the caller's.
// Needs the right. Errors: INVALID_ARGUMENT as above, or of another context · OUT_OF_MEMORY of the host.
MANTA_NODISCARD manta_status_t mti_foreign_adopt(mti_device_t *device, void *ptr, size_t size_bytes,
                                                 mti_memory_t **out_memory);

// ---- Code ----------------------------------------------------------------------------------------

// Loads |code|, every kernel of it, at once and for good; all or nothing. Needs the right.
// Errors: INVALID_ARGUMENT not code for this device (architecture), a kernel of the table is not in
//         it, or has other parameters · ALREADY_EXISTS a kernel of that name is there · OUT_OF_MEMORY.
MANTA_NODISCARD manta_status_t mti_device_code_load(mti_device_t *device, const mti_code_t *code);

// The kernel called |name|; NULL if no code that was loaded has it. Needs the right.
const mti_kernel_t *mti_device_kernel(const mti_device_t *device, const char *name);

// ---- For tests -----------------------------------------------------------------------------------

MANTA_NODISCARD manta_status_t mti_device_inject(mti_device_t *device, const mti_fault_t *fault);

// Can a copy go from |src| to |dst|? Threads: any.
bool mti_device_reaches(const mti_device_t *dst, const mti_device_t *src);

MANTA_END_DECLS

#endif
