// Objects: one cache line that says what a ref refers to.
//
// States of |head|, one word:
//   open    a list of links (who waits for the value), plus WATCHED and ORPHAN bits
//   closed  CLOSED, or CLOSED|FAILED; nothing else. Closing is one exchange, done exactly once by
//           whoever produces the value; it never touches the object again afterwards.
// Life: |counts| holds user counts, internal counts and slot counts (see below). A lookup by ref needs
// the generation to match and a user count. The object is freed by whoever sees it both closed and
// without counts: the last release if it is closed by then, else (the last release of an open object
// leaves the ORPHAN bit behind) the closer. Both decide on |head|, so exactly one of them frees.
#ifndef MTI_STORE_OBJECT_H
#define MTI_STORE_OBJECT_H

#include "base/assert.h"
#include "base/atomic.h"
#include "base/status.h"

#include <manta/object.h>

#include <assert.h>
#include <stddef.h>

// ---- head word ------------------------------------------------------------------------------
// Open: bits 63..3 are the address of the first link, with the link's kind in bits 2..1... see below.
#define MTI_HEAD_CLOSED   ((uint64_t)1 << 0)
#define MTI_HEAD_WATCHED  ((uint64_t)1 << 1) // somebody stands in the watcher table
#define MTI_HEAD_FAILED   ((uint64_t)1 << 1) // with CLOSED: the object holds an error
#define MTI_HEAD_ORPHAN   ((uint64_t)1 << 2) // no counts are left: the closer frees
// The producer has been submitted to a device: what is ordered after it there need not wait for the close.
#define MTI_HEAD_ASSIGNED ((uint64_t)1 << 63)
#define MTI_HEAD_BITS     (MTI_HEAD_WATCHED | MTI_HEAD_ORPHAN | MTI_HEAD_ASSIGNED) // of an open one
// Links carry their kind in the top byte of the pointer-sized word (user addresses have 48 bits).
#define MTI_LINK_SHIFT    56
#define MTI_LINK_ADDR     (((uint64_t)1 << MTI_LINK_SHIFT) - 8)

// ---- counts word ----------------------------------------------------------------------------
// 24 bits for the user's counts, 28 for internal ones, 12 for those that keep the slot but do not care
// for the value (a waiter that looks for work, a record with several results): no holders for INOUT.
#define MTI_COUNT_USER      ((uint64_t)1)
#define MTI_COUNT_INTERNAL  ((uint64_t)1 << 24)
#define MTI_COUNT_SLOT      ((uint64_t)1 << 52)
#define MTI_COUNT_USER_MASK (MTI_COUNT_INTERNAL - 1)
#define MTI_COUNT_SLOT_MASK ((uint64_t)0xfff << 52)
static inline uint32_t mti_count_user(uint64_t counts)
{
    return (uint32_t)(counts & MTI_COUNT_USER_MASK);
}
static inline uint32_t mti_count_internal(uint64_t counts)
{
    return (uint32_t)(counts >> 24) & 0xfffffff;
}

// What an object was made by.
typedef enum mti_object_kind {
    MTI_OBJECT_FREE = 0,
    MTI_OBJECT_TASK,    // first result of the task whose record this line starts
    MTI_OBJECT_RESULT,  // a further result; |producer| is the task's slot
    MTI_OBJECT_PUT,     // put, wrap, slice: closed from the start
    MTI_OBJECT_CREATED, // create/seal
    MTI_OBJECT_PROMISE,
    MTI_OBJECT_ACTOR, // no value; its head closes when it has ended
} mti_object_kind_t;

// Where the bytes are. Written before the object is closed.
typedef enum mti_storage {
    MTI_STORAGE_NONE = 0, // nothing yet, or an error
    MTI_STORAGE_INLINE,   // in |u.bytes|
    MTI_STORAGE_HEAP,     // |u.mem.data|, from the payload heap
    MTI_STORAGE_PARENT,   // |u.mem.data| inside |u.mem.parent|, of which this holds a count
    MTI_STORAGE_WRAPPED,  // |u.mem.data| is the user's; |u.mem.wrap| tells how to give it back
    MTI_STORAGE_TIERED, // on devices; |u.mem.tier| tells where, |u.mem.data| is the host's copy or NULL
} mti_storage_t;

enum { MTI_INLINE_BYTES = 16, MTI_SLOT_BYTES = 192 };

typedef struct mti_wrap {
    manta_deleter_fn_t deleter;
    void *user;
} mti_wrap_t;

typedef struct mti_tier mti_tier_t; // core's
typedef struct mti_object mti_object_t;
struct mti_object {
    mti_atomic_u64_t counts;
    mti_atomic_u64_t head;
    union {
        _Alignas(16) unsigned char bytes[MTI_INLINE_BYTES];
        struct {
            void *data;
            union {
                mti_object_t *parent;
                mti_wrap_t *wrap;
                mti_tier_t *tier;
            };
        } mem;
        struct {
            manta_error_t *error; // the root error, one count
            mti_object_t *cause;  // the argument through which it came, one internal count, or NULL
        } fail;
        mti_atomic_u64_t mail; // of an actor
    } u;
    // Bytes in the low 48 bits, storage and kind above. Atomic, because the kind is looked at while the
    // producer stores the rest; relaxed, because the head publishes it.
    mti_atomic_u64_t size_bits;
    mti_atomic_u32_t gen; // bumped when the slot is freed
    uint32_t slot;        // own index in the table, constant
    uint16_t runtime_;    // index of the runtime that it belongs to; see mti_object_runtime
    uint16_t home;        // index of the cache that its slot goes home to; see mti_object_home
    manta_dtype_t dtype;
    mti_atomic_u32_t scope_hint; // 1 + index in the scope stack that it was put on last; 0: none
    uint32_t producer;           // slot of the task that closes it; 0: not a task
};
static_assert(sizeof(mti_object_t) == 64, "an object is one cache line");

// Atomic, because a shutdown looks at all slots, whoever is about to fill them in.
static inline uint16_t mti_object_runtime(const mti_object_t *o)
{
    return __atomic_load_n(&o->runtime_, __ATOMIC_RELAXED);
}
static inline void mti_object_set_runtime(mti_object_t *o, uint16_t runtime)
{
    __atomic_store_n(&o->runtime_, runtime, __ATOMIC_RELAXED);
}
// Which cache its slot goes home to. Atomic, because a stale ref's user looks at it while a run gets another owner.
static inline uint16_t mti_object_home(const mti_object_t *o)
{
    return __atomic_load_n(&o->home, __ATOMIC_RELAXED);
}
static inline uint64_t mti_object_size(const mti_object_t *o)
{
    return mti_atomic_u64_load_relaxed(&o->size_bits) & (((uint64_t)1 << 48) - 1);
}
static inline mti_storage_t mti_object_storage(const mti_object_t *o)
{
    return (mti_storage_t)(mti_atomic_u64_load_relaxed(&o->size_bits) >> 48 & 0xff);
}
static inline mti_object_kind_t mti_object_kind(const mti_object_t *o)
{
    return (mti_object_kind_t)(mti_atomic_u64_load_relaxed(&o->size_bits) >> 56);
}
static inline void mti_object_set(mti_object_t *o, mti_object_kind_t kind, mti_storage_t storage,
                                  uint64_t size_bytes)
{
    mti_atomic_u64_store_relaxed(&o->size_bits,
                                 size_bytes | (uint64_t)storage << 48 | (uint64_t)kind << 56);
}
// The bytes of a closed, not failed object, or of one that its producer fills. NULL if empty.
static inline void *mti_object_data(const mti_object_t *o)
{
    if (mti_object_storage(o) == MTI_STORAGE_INLINE) {
        return mti_object_size(o) ? (void *)o->u.bytes : NULL;
    }
    if (mti_object_storage(o) == MTI_STORAGE_NONE) return NULL;
    return __atomic_load_n(&o->u.mem.data, __ATOMIC_RELAXED); // a copy from a device may arrive
}

static inline bool mti_object_is_closed(const mti_object_t *o, uint64_t *out_head)
{
    // acquire: pairs with the exchange in mti_object_close, publishes the value
    uint64_t head = mti_atomic_u64_load_acquire(&o->head);
    *out_head = head;
    return (head & MTI_HEAD_CLOSED) != 0;
}

// ---- refs -----------------------------------------------------------------------------------
// id = generation << 32 | slot; slots start at 1. Generations start at 1 and stay below 2^31: an id
// with the top bit set is an error ref, its low half the status.
#define MTI_GEN_MAX 0x7ffffffeu
static inline manta_ref_t mti_ref_make(uint32_t slot, uint32_t gen)
{
    return (manta_ref_t){(uint64_t)gen << 32 | slot};
}
static inline manta_ref_t mti_ref_of(const mti_object_t *o)
{
    return mti_ref_make(o->slot, mti_atomic_u32_load_relaxed(&o->gen));
}
static inline manta_ref_t mti_ref_error(manta_status_t code)
{
    return (manta_ref_t){(uint64_t)1 << 63 | (uint32_t)code};
}
static inline bool mti_ref_is_error(manta_ref_t ref)
{
    return ref.id >> 63 != 0;
}
static inline manta_status_t mti_ref_error_code(manta_ref_t ref)
{
    // One that mti_ref_error() did not make, "OK" among them, was made up.
    bool is_ours = ref.id >> 32 == (uint64_t)1 << 31 && (uint32_t)ref.id != MANTA_OK;
    return is_ours ? (manta_status_t)(uint32_t)ref.id : MANTA_ERR_STALE_REF;
}
static inline uint32_t mti_ref_gen(manta_ref_t ref)
{
    return (uint32_t)(ref.id >> 32);
}
static inline uint32_t mti_ref_slot(manta_ref_t ref)
{
    return (uint32_t)ref.id;
}

#endif
