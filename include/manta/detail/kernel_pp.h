// How MANTA_KERNEL makes typed launches. Not for users.
//
// The types of a kernel's parameters are bare, so tables by kind (pp.h) don't fit: here one macro is
// applied to each type and its number.
#ifndef MANTA_DETAIL_KERNEL_PP_H
#define MANTA_DETAIL_KERNEL_PP_H

#include <manta/detail/pp.h>
#include <manta/kernel.h>

#include <stddef.h>

#ifndef MANTA_NO_SYSTEM_HEADER
#pragma GCC system_header
#endif

// clang-format off
#define MTI_KERNEL(...)            MTI_KERNEL_A(MTI_MANY(__VA_ARGS__), __VA_ARGS__)
#define MTI_KERNEL_A(many, ...)    MTI_KERNEL_B(many, __VA_ARGS__)
#define MTI_KERNEL_B(many, ...)    MTI_KERNEL_##many(__VA_ARGS__)
#define MTI_KERNEL_0(x)            MTI_KERNEL_DEF(x, #x, 0, ~)
#define MTI_KERNEL_1(x, ...)       MTI_KERNEL_N(x, #x, MTI_COUNT_24(__VA_ARGS__), __VA_ARGS__)
#define MTI_KERNEL_AS(x, ...)      MTI_KERNEL_AS_A(MTI_MANY(__VA_ARGS__), x, __VA_ARGS__)
#define MTI_KERNEL_AS_A(many, ...) MTI_KERNEL_AS_B(many, __VA_ARGS__)
#define MTI_KERNEL_AS_B(many, ...) MTI_KERNEL_AS_##many(__VA_ARGS__)
#define MTI_KERNEL_AS_0(x, text)   MTI_KERNEL_DEF(x, text, 0, ~)
#define MTI_KERNEL_AS_1(x, text, ...)                                                              \
    MTI_KERNEL_N(x, text, MTI_COUNT_24(__VA_ARGS__), __VA_ARGS__)
#define MTI_KERNEL_N(x, text, n, ...) MTI_KERNEL_DEF(x, text, n, __VA_ARGS__)

// M if there are more than 24.
#define MTI_COUNT_24(...)                                                                          \
    MTI_SLOT(__VA_ARGS__, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, 24, 23, 22, 21, 20, 19,  \
    18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, ~)

#define MTI_KERNEL_DEF(x, text, n, ...)                                                            \
    MTI_KERNEL_CHECK_##n(x)                                                                        \
    static const uint32_t mti_##x##_arg_bytes[] = {MTI_TYPES_##n(MTI_TYPE_BYTES, __VA_ARGS__) 0};  \
    MANTA_UNUSED static manta_kernel_t x##_kernel = {                                              \
        text, NULL, mti_##x##_arg_bytes,                                                           \
        (uint32_t)(sizeof mti_##x##_arg_bytes / sizeof(uint32_t) - 1), 0, NULL, NULL, NULL};       \
    __attribute__((unused)) MANTA_NODISCARD static inline manta_status_t x##_launch(               \
        manta_grid_t mti_grid MTI_TYPES_##n(MTI_TYPE_PARAM, __VA_ARGS__))                          \
    {                                                                                              \
        void *mti_args[] = {MTI_TYPES_##n(MTI_TYPE_ARG, __VA_ARGS__) NULL};                        \
        return manta_launch_kernel(&x##_kernel, mti_grid, mti_args, x##_kernel.arg_count);         \
    }                                                                                              \
    __attribute__((unused)) MANTA_NODISCARD static inline manta_status_t x##_run(                  \
        manta_grid_t mti_grid MTI_TYPES_##n(MTI_TYPE_PARAM, __VA_ARGS__))                          \
    {                                                                                              \
        void *mti_args[] = {MTI_TYPES_##n(MTI_TYPE_ARG, __VA_ARGS__) NULL};                        \
        return manta_run_twin(&x##_kernel, mti_grid, mti_args, x##_kernel.arg_count);              \
    }                                                                                              \
    struct mti_##x##_kernel_needs_semicolon

#define MTI_TYPE_BYTES(i, T) (uint32_t)sizeof(T),
#define MTI_TYPE_PARAM(i, T) , T mti_a##i
#define MTI_TYPE_ARG(i, T)   (void *)&mti_a##i,

#define MTI_KERNEL_TWIN(x, function)                                                               \
    static manta_kernel_t mti_##x##_twin = {NULL, NULL, NULL, 0, 0, function, NULL, NULL};         \
    static manta_code_t mti_##x##_twin_code = {"twin " #function, NULL, 0, &mti_##x##_twin, 1, 0,  \
                                               NULL};                                              \
    __attribute__((constructor(101))) static void mti_##x##_twin_register(void)                    \
    {                                                                                              \
        mti_##x##_twin.name = x##_kernel.name;                                                     \
        mti_##x##_twin.arg_bytes = x##_kernel.arg_bytes;                                           \
        mti_##x##_twin.arg_count = x##_kernel.arg_count;                                           \
        manta_code_register(&mti_##x##_twin_code);                                                 \
    }                                                                                              \
    struct mti_##x##_twin_needs_semicolon

#define MTI_LAUNCH(x, ...) x##_launch(__VA_ARGS__)

#ifdef __cplusplus
#define MTI_KERNEL_TOO_MANY(x)                                                                     \
    static_assert(sizeof(char) == 0, "manta: kernel " #x " has more than 24 parameters");
#else
#define MTI_KERNEL_TOO_MANY(x)                                                                     \
    _Static_assert(0, "manta: kernel " #x " has more than 24 parameters");
#endif
#define MTI_KERNEL_CHECK_M(x) MTI_KERNEL_TOO_MANY(x)
#define MTI_KERNEL_CHECK_0(x)
#define MTI_KERNEL_CHECK_1(x)
#define MTI_KERNEL_CHECK_2(x)
#define MTI_KERNEL_CHECK_3(x)
#define MTI_KERNEL_CHECK_4(x)
#define MTI_KERNEL_CHECK_5(x)
#define MTI_KERNEL_CHECK_6(x)
#define MTI_KERNEL_CHECK_7(x)
#define MTI_KERNEL_CHECK_8(x)
#define MTI_KERNEL_CHECK_9(x)
#define MTI_KERNEL_CHECK_10(x)
#define MTI_KERNEL_CHECK_11(x)
#define MTI_KERNEL_CHECK_12(x)
#define MTI_KERNEL_CHECK_13(x)
#define MTI_KERNEL_CHECK_14(x)
#define MTI_KERNEL_CHECK_15(x)
#define MTI_KERNEL_CHECK_16(x)
#define MTI_KERNEL_CHECK_17(x)
#define MTI_KERNEL_CHECK_18(x)
#define MTI_KERNEL_CHECK_19(x)
#define MTI_KERNEL_CHECK_20(x)
#define MTI_KERNEL_CHECK_21(x)
#define MTI_KERNEL_CHECK_22(x)
#define MTI_KERNEL_CHECK_23(x)
#define MTI_KERNEL_CHECK_24(x)

// F(number, type) for each of n types.
#define MTI_TYPES_0(F, none)
#define MTI_TYPES_M(F, ...)
#define MTI_TYPES_1(F, t1)                                                                         \
    F(1, t1)
#define MTI_TYPES_2(F, t1, t2)                                                                     \
    F(1, t1) F(2, t2)
#define MTI_TYPES_3(F, t1, t2, t3)                                                                 \
    F(1, t1) F(2, t2) F(3, t3)
#define MTI_TYPES_4(F, t1, t2, t3, t4)                                                             \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4)
#define MTI_TYPES_5(F, t1, t2, t3, t4, t5)                                                         \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5)
#define MTI_TYPES_6(F, t1, t2, t3, t4, t5, t6)                                                     \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5) F(6, t6)
#define MTI_TYPES_7(F, t1, t2, t3, t4, t5, t6, t7)                                                 \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5) F(6, t6) F(7, t7)
#define MTI_TYPES_8(F, t1, t2, t3, t4, t5, t6, t7, t8)                                             \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5) F(6, t6) F(7, t7) F(8, t8)
#define MTI_TYPES_9(F, t1, t2, t3, t4, t5, t6, t7, t8, t9)                                         \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5) F(6, t6) F(7, t7) F(8, t8) F(9, t9)
#define MTI_TYPES_10(F, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10)                                   \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5) F(6, t6) F(7, t7) F(8, t8) F(9, t9) F(10, t10)
#define MTI_TYPES_11(F, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11)                              \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5) F(6, t6) F(7, t7) F(8, t8) F(9, t9) F(10, t10)    \
    F(11, t11)
#define MTI_TYPES_12(F, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12)                         \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5) F(6, t6) F(7, t7) F(8, t8) F(9, t9) F(10, t10)    \
    F(11, t11) F(12, t12)
#define MTI_TYPES_13(F, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13)                    \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5) F(6, t6) F(7, t7) F(8, t8) F(9, t9) F(10, t10)    \
    F(11, t11) F(12, t12) F(13, t13)
#define MTI_TYPES_14(F, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14)               \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5) F(6, t6) F(7, t7) F(8, t8) F(9, t9) F(10, t10)    \
    F(11, t11) F(12, t12) F(13, t13) F(14, t14)
#define MTI_TYPES_15(F, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15)          \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5) F(6, t6) F(7, t7) F(8, t8) F(9, t9) F(10, t10)    \
    F(11, t11) F(12, t12) F(13, t13) F(14, t14) F(15, t15)
#define MTI_TYPES_16(F, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15, t16)     \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5) F(6, t6) F(7, t7) F(8, t8) F(9, t9) F(10, t10)    \
    F(11, t11) F(12, t12) F(13, t13) F(14, t14) F(15, t15) F(16, t16)
#define MTI_TYPES_17(F, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15, t16,     \
    t17)                                                                                           \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5) F(6, t6) F(7, t7) F(8, t8) F(9, t9) F(10, t10)    \
    F(11, t11) F(12, t12) F(13, t13) F(14, t14) F(15, t15) F(16, t16) F(17, t17)
#define MTI_TYPES_18(F, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15, t16,     \
    t17, t18)                                                                                      \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5) F(6, t6) F(7, t7) F(8, t8) F(9, t9) F(10, t10)    \
    F(11, t11) F(12, t12) F(13, t13) F(14, t14) F(15, t15) F(16, t16) F(17, t17) F(18, t18)
#define MTI_TYPES_19(F, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15, t16,     \
    t17, t18, t19)                                                                                 \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5) F(6, t6) F(7, t7) F(8, t8) F(9, t9) F(10, t10)    \
    F(11, t11) F(12, t12) F(13, t13) F(14, t14) F(15, t15) F(16, t16) F(17, t17) F(18, t18)        \
    F(19, t19)
#define MTI_TYPES_20(F, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15, t16,     \
    t17, t18, t19, t20)                                                                            \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5) F(6, t6) F(7, t7) F(8, t8) F(9, t9) F(10, t10)    \
    F(11, t11) F(12, t12) F(13, t13) F(14, t14) F(15, t15) F(16, t16) F(17, t17) F(18, t18)        \
    F(19, t19) F(20, t20)
#define MTI_TYPES_21(F, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15, t16,     \
    t17, t18, t19, t20, t21)                                                                       \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5) F(6, t6) F(7, t7) F(8, t8) F(9, t9) F(10, t10)    \
    F(11, t11) F(12, t12) F(13, t13) F(14, t14) F(15, t15) F(16, t16) F(17, t17) F(18, t18)        \
    F(19, t19) F(20, t20) F(21, t21)
#define MTI_TYPES_22(F, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15, t16,     \
    t17, t18, t19, t20, t21, t22)                                                                  \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5) F(6, t6) F(7, t7) F(8, t8) F(9, t9) F(10, t10)    \
    F(11, t11) F(12, t12) F(13, t13) F(14, t14) F(15, t15) F(16, t16) F(17, t17) F(18, t18)        \
    F(19, t19) F(20, t20) F(21, t21) F(22, t22)
#define MTI_TYPES_23(F, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15, t16,     \
    t17, t18, t19, t20, t21, t22, t23)                                                             \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5) F(6, t6) F(7, t7) F(8, t8) F(9, t9) F(10, t10)    \
    F(11, t11) F(12, t12) F(13, t13) F(14, t14) F(15, t15) F(16, t16) F(17, t17) F(18, t18)        \
    F(19, t19) F(20, t20) F(21, t21) F(22, t22) F(23, t23)
#define MTI_TYPES_24(F, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15, t16,     \
    t17, t18, t19, t20, t21, t22, t23, t24)                                                        \
    F(1, t1) F(2, t2) F(3, t3) F(4, t4) F(5, t5) F(6, t6) F(7, t7) F(8, t8) F(9, t9) F(10, t10)    \
    F(11, t11) F(12, t12) F(13, t13) F(14, t14) F(15, t15) F(16, t16) F(17, t17) F(18, t18)        \
    F(19, t19) F(20, t20) F(21, t21) F(22, t22) F(23, t23) F(24, t24)
// clang-format on

#endif
