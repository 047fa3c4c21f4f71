// Atomics with the order in the name, over one-field structs so that a plain read does not compile.
//
// Built on the __atomic builtins, so that the same header serves C17 and the C++17 tests.
#ifndef MTI_BASE_ATOMIC_H
#define MTI_BASE_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#if defined(__SANITIZE_THREAD__)
#define MTI_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MTI_TSAN 1
#endif
#endif
#ifndef MTI_TSAN
#define MTI_TSAN 0
#endif

#define MTI_LIKELY(x)   __builtin_expect(!!(x), 1)
#define MTI_UNLIKELY(x) __builtin_expect(!!(x), 0)

// Two lines: the adjacent-line prefetcher makes pairs of 64-byte lines travel together.
#define MTI_LINE_BYTES 128

#define MTI_ATOMIC_DEFINE(name, T)                                                                 \
    typedef struct mti_atomic_##name {                                                             \
        T v;                                                                                       \
    } mti_atomic_##name##_t;                                                                       \
    static inline T mti_atomic_##name##_load_relaxed(const mti_atomic_##name##_t *a)               \
    {                                                                                              \
        return __atomic_load_n(&a->v, __ATOMIC_RELAXED);                                           \
    }                                                                                              \
    static inline T mti_atomic_##name##_load_acquire(const mti_atomic_##name##_t *a)               \
    {                                                                                              \
        return __atomic_load_n(&a->v, __ATOMIC_ACQUIRE);                                           \
    }                                                                                              \
    static inline T mti_atomic_##name##_load_seq_cst(const mti_atomic_##name##_t *a)               \
    {                                                                                              \
        return __atomic_load_n(&a->v, __ATOMIC_SEQ_CST);                                           \
    }                                                                                              \
    static inline void mti_atomic_##name##_store_relaxed(mti_atomic_##name##_t *a, T v)            \
    {                                                                                              \
        __atomic_store_n(&a->v, v, __ATOMIC_RELAXED);                                              \
    }                                                                                              \
    static inline void mti_atomic_##name##_store_release(mti_atomic_##name##_t *a, T v)            \
    {                                                                                              \
        __atomic_store_n(&a->v, v, __ATOMIC_RELEASE);                                              \
    }                                                                                              \
    static inline void mti_atomic_##name##_store_seq_cst(mti_atomic_##name##_t *a, T v)            \
    {                                                                                              \
        __atomic_store_n(&a->v, v, __ATOMIC_SEQ_CST);                                              \
    }                                                                                              \
    static inline T mti_atomic_##name##_exchange_acq_rel(mti_atomic_##name##_t *a, T v)            \
    {                                                                                              \
        return __atomic_exchange_n(&a->v, v, __ATOMIC_ACQ_REL);                                    \
    }                                                                                              \
    static inline T mti_atomic_##name##_exchange_acquire(mti_atomic_##name##_t *a, T v)            \
    {                                                                                              \
        return __atomic_exchange_n(&a->v, v, __ATOMIC_ACQUIRE);                                    \
    }                                                                                              \
    /* On failure |*expected| is what stood there, loaded with acquire. */                         \
    static inline bool mti_atomic_##name##_cas_acq_rel(mti_atomic_##name##_t *a, T *expected, T v) \
    {                                                                                              \
        return __atomic_compare_exchange_n(&a->v, expected, v, false, __ATOMIC_ACQ_REL,            \
                                           __ATOMIC_ACQUIRE);                                      \
    }                                                                                              \
    static inline bool mti_atomic_##name##_cas_seq_cst(mti_atomic_##name##_t *a, T *expected, T v) \
    {                                                                                              \
        return __atomic_compare_exchange_n(&a->v, expected, v, false, __ATOMIC_SEQ_CST,            \
                                           __ATOMIC_SEQ_CST);                                      \
    }

#define MTI_ATOMIC_DEFINE_ARITHMETIC(name, T)                                                      \
    MTI_ATOMIC_DEFINE(name, T)                                                                     \
    static inline T mti_atomic_##name##_fetch_add_relaxed(mti_atomic_##name##_t *a, T v)           \
    {                                                                                              \
        return __atomic_fetch_add(&a->v, v, __ATOMIC_RELAXED);                                     \
    }                                                                                              \
    static inline T mti_atomic_##name##_fetch_add_acq_rel(mti_atomic_##name##_t *a, T v)           \
    {                                                                                              \
        return __atomic_fetch_add(&a->v, v, __ATOMIC_ACQ_REL);                                     \
    }                                                                                              \
    static inline T mti_atomic_##name##_fetch_add_seq_cst(mti_atomic_##name##_t *a, T v)           \
    {                                                                                              \
        return __atomic_fetch_add(&a->v, v, __ATOMIC_SEQ_CST);                                     \
    }                                                                                              \
    static inline T mti_atomic_##name##_fetch_sub_acq_rel(mti_atomic_##name##_t *a, T v)           \
    {                                                                                              \
        return __atomic_fetch_sub(&a->v, v, __ATOMIC_ACQ_REL);                                     \
    }                                                                                              \
    static inline T mti_atomic_##name##_fetch_or_acq_rel(mti_atomic_##name##_t *a, T v)            \
    {                                                                                              \
        return __atomic_fetch_or(&a->v, v, __ATOMIC_ACQ_REL);                                      \
    }                                                                                              \
    static inline T mti_atomic_##name##_fetch_and_acq_rel(mti_atomic_##name##_t *a, T v)           \
    {                                                                                              \
        return __atomic_fetch_and(&a->v, v, __ATOMIC_ACQ_REL);                                     \
    }                                                                                              \
    /* Adds to a counter that only this thread writes: a load and a store, no locked operation. */ \
    static inline void mti_atomic_##name##_owner_add(mti_atomic_##name##_t *a, T v)                \
    {                                                                                              \
        __atomic_store_n(&a->v, (T)(__atomic_load_n(&a->v, __ATOMIC_RELAXED) + v),                 \
                         __ATOMIC_RELEASE);                                                        \
    }

MTI_ATOMIC_DEFINE_ARITHMETIC(u32, uint32_t)
MTI_ATOMIC_DEFINE_ARITHMETIC(i32, int32_t)
MTI_ATOMIC_DEFINE_ARITHMETIC(u64, uint64_t)
MTI_ATOMIC_DEFINE_ARITHMETIC(i64, int64_t)
MTI_ATOMIC_DEFINE(ptr, void *)

static inline void mti_cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
