// What macros.h is made of: counting, lists and tables in the preprocessor. Not for users.
//
// A parameter is a tuple, (mti_IN, float, x), whose first token names its kind. A *table* is a set of
// macros, one per kind, with a common prefix: MTI_PROTO_mti_IN(c, T, n). MTI_EACH_<n>(MTI_PROTO_, c,
// tuples...) picks the right row of the table for every tuple by pasting; |c| is the name of the task.
// Everything is flat: no recursion, so rows must not use MTI_EACH or MTI_1 themselves.
//
// Macros that may get an empty tail are fully variadic: f(name, ...) called with nothing after the
// name is pedantic before C23 and C++20.
#ifndef MANTA_DETAIL_PP_H
#define MANTA_DETAIL_PP_H

#ifndef MANTA_NO_SYSTEM_HEADER
#pragma GCC system_header
#endif

#define MTI_CAT(a, b)  MTI_CAT_(a, b)
#define MTI_CAT_(a, b) a##b
#define MTI_STRIP(...) __VA_ARGS__

#define MTI_HEAD(...)          MTI_HEAD_(__VA_ARGS__, ~)
#define MTI_HEAD_(a, ...)      a
#define MTI_TAIL(a, ...)       __VA_ARGS__
#define MTI_SECOND(...)        MTI_SECOND_(__VA_ARGS__)
#define MTI_SECOND_(a, b, ...) b

// 1 if the argument starts with a parenthesis; the same for the first of a list.
#define MTI_IS_PAREN(e)      MTI_SECOND(MTI_PROBE e, 0, ~)
#define MTI_PROBE(...)       ~, 1
#define MTI_IS_LIST(...)     MTI_IS_LIST_(__VA_ARGS__, ~)
#define MTI_IS_LIST_(e, ...) MTI_IS_PAREN(e)

// An entry of a parameter list becomes a tuple of a kind that we know: itself, or mti_BAD.
#define MTI_NORM(e)           MTI_NORM_A(MTI_IS_PAREN(e), e)
#define MTI_NORM_A(p, e)      MTI_NORM_B(p, e)
#define MTI_NORM_B(p, e)      MTI_NORM_P##p(e)
#define MTI_NORM_P0(e)        (mti_BAD, #e)
#define MTI_NORM_P1(e)        MTI_NORM_C(MTI_HEAD e, e)
#define MTI_NORM_C(k, e)      MTI_NORM_D(k, e)
#define MTI_NORM_D(k, e)      MTI_NORM_E(MTI_SECOND(MTI_KNOWN_##k, 0, ~), e)
#define MTI_NORM_E(p, e)      MTI_NORM_F(p, e)
#define MTI_NORM_F(p, e)      MTI_NORM_K##p(e)
#define MTI_NORM_K0(e)        (mti_BAD, #e)
#define MTI_NORM_K1(e)        e
#define MTI_KNOWN_mti_VAL     ~, 1
#define MTI_KNOWN_mti_IN      ~, 1
#define MTI_KNOWN_mti_INOUT   ~, 1
#define MTI_KNOWN_mti_OUT     ~, 1
#define MTI_KNOWN_mti_OUTN    ~, 1
#define MTI_KNOWN_mti_LIST    ~, 1
#define MTI_KNOWN_mti_LOCAL   ~, 1
#define MTI_KNOWN_mti_NOTHING ~, 1
#define MTI_KNOWN_mti_BAD     ~, 1

// One tuple: P##kind(c, rest of the tuple).
#define MTI_1(...)           MTI_1_(__VA_ARGS__)
#define MTI_1_(P, c, k, ...) P##k(c, __VA_ARGS__)

// F(x, E, tuples...), where E is the MTI_EACH for that many tuples.
#define MTI_WITH_LIST(F, x, ...)      MTI_WITH_LIST_A(F, x, MTI_COUNT_16(__VA_ARGS__), __VA_ARGS__)
#define MTI_WITH_LIST_A(F, x, n, ...) MTI_WITH_LIST_B(F, x, n, __VA_ARGS__)
#define MTI_WITH_LIST_B(F, x, n, ...) MTI_WITH_LIST_C(F, x, MTI_EACH_##n, MTI_NORM_##n(__VA_ARGS__))
#define MTI_WITH_LIST_C(F, x, ...)    F(x, __VA_ARGS__)

// One option in C++: |e| is ".field = value", or nothing.
#define MTI_SET(o, e) (void)(o e);

// clang-format off
#define MTI_SLOT(                                                                                  \
    a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20,     \
    a21, a22, a23, a24, a25, a26, a27, a28, a29, a30, a31, a32, a33, a34, a35, a36, a37, a38,      \
    a39, a40, n, ...) n
// The number of arguments.
#define MTI_COUNT(...)                                                                             \
    MTI_SLOT(__VA_ARGS__, 40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24,      \
    23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, ~)
// The same; M if there are more than 16.
#define MTI_COUNT_16(...)                                                                          \
    MTI_SLOT(__VA_ARGS__, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,     \
    M, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, ~)
// 0: one argument, 1: more.
#define MTI_MANY(...)                                                                              \
    MTI_SLOT(__VA_ARGS__, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,     \
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, ~)
// Arguments after the first: 0, 1 or N.
#define MTI_CLASS(...)                                                                             \
    MTI_SLOT(__VA_ARGS__, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,     \
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, 1, 0, ~)
// Makes a proper tuple of every entry.
#define MTI_NORM_1(e1)                                                                             \
    MTI_NORM(e1)
#define MTI_NORM_2(e1, e2)                                                                         \
    MTI_NORM(e1), MTI_NORM(e2)
#define MTI_NORM_3(e1, e2, e3)                                                                     \
    MTI_NORM(e1), MTI_NORM(e2), MTI_NORM(e3)
#define MTI_NORM_4(e1, e2, e3, e4)                                                                 \
    MTI_NORM(e1), MTI_NORM(e2), MTI_NORM(e3), MTI_NORM(e4)
#define MTI_NORM_5(e1, e2, e3, e4, e5)                                                             \
    MTI_NORM(e1), MTI_NORM(e2), MTI_NORM(e3), MTI_NORM(e4), MTI_NORM(e5)
#define MTI_NORM_6(e1, e2, e3, e4, e5, e6)                                                         \
    MTI_NORM(e1), MTI_NORM(e2), MTI_NORM(e3), MTI_NORM(e4), MTI_NORM(e5), MTI_NORM(e6)
#define MTI_NORM_7(e1, e2, e3, e4, e5, e6, e7)                                                     \
    MTI_NORM(e1), MTI_NORM(e2), MTI_NORM(e3), MTI_NORM(e4), MTI_NORM(e5), MTI_NORM(e6),            \
    MTI_NORM(e7)
#define MTI_NORM_8(e1, e2, e3, e4, e5, e6, e7, e8)                                                 \
    MTI_NORM(e1), MTI_NORM(e2), MTI_NORM(e3), MTI_NORM(e4), MTI_NORM(e5), MTI_NORM(e6),            \
    MTI_NORM(e7), MTI_NORM(e8)
#define MTI_NORM_9(e1, e2, e3, e4, e5, e6, e7, e8, e9)                                             \
    MTI_NORM(e1), MTI_NORM(e2), MTI_NORM(e3), MTI_NORM(e4), MTI_NORM(e5), MTI_NORM(e6),            \
    MTI_NORM(e7), MTI_NORM(e8), MTI_NORM(e9)
#define MTI_NORM_10(e1, e2, e3, e4, e5, e6, e7, e8, e9, e10)                                       \
    MTI_NORM(e1), MTI_NORM(e2), MTI_NORM(e3), MTI_NORM(e4), MTI_NORM(e5), MTI_NORM(e6),            \
    MTI_NORM(e7), MTI_NORM(e8), MTI_NORM(e9), MTI_NORM(e10)
#define MTI_NORM_11(e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11)                                  \
    MTI_NORM(e1), MTI_NORM(e2), MTI_NORM(e3), MTI_NORM(e4), MTI_NORM(e5), MTI_NORM(e6),            \
    MTI_NORM(e7), MTI_NORM(e8), MTI_NORM(e9), MTI_NORM(e10), MTI_NORM(e11)
#define MTI_NORM_12(e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12)                             \
    MTI_NORM(e1), MTI_NORM(e2), MTI_NORM(e3), MTI_NORM(e4), MTI_NORM(e5), MTI_NORM(e6),            \
    MTI_NORM(e7), MTI_NORM(e8), MTI_NORM(e9), MTI_NORM(e10), MTI_NORM(e11), MTI_NORM(e12)
#define MTI_NORM_13(e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13)                        \
    MTI_NORM(e1), MTI_NORM(e2), MTI_NORM(e3), MTI_NORM(e4), MTI_NORM(e5), MTI_NORM(e6),            \
    MTI_NORM(e7), MTI_NORM(e8), MTI_NORM(e9), MTI_NORM(e10), MTI_NORM(e11), MTI_NORM(e12),         \
    MTI_NORM(e13)
#define MTI_NORM_14(e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13, e14)                   \
    MTI_NORM(e1), MTI_NORM(e2), MTI_NORM(e3), MTI_NORM(e4), MTI_NORM(e5), MTI_NORM(e6),            \
    MTI_NORM(e7), MTI_NORM(e8), MTI_NORM(e9), MTI_NORM(e10), MTI_NORM(e11), MTI_NORM(e12),         \
    MTI_NORM(e13), MTI_NORM(e14)
#define MTI_NORM_15(e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13, e14, e15)              \
    MTI_NORM(e1), MTI_NORM(e2), MTI_NORM(e3), MTI_NORM(e4), MTI_NORM(e5), MTI_NORM(e6),            \
    MTI_NORM(e7), MTI_NORM(e8), MTI_NORM(e9), MTI_NORM(e10), MTI_NORM(e11), MTI_NORM(e12),         \
    MTI_NORM(e13), MTI_NORM(e14), MTI_NORM(e15)
#define MTI_NORM_16(e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13, e14, e15, e16)         \
    MTI_NORM(e1), MTI_NORM(e2), MTI_NORM(e3), MTI_NORM(e4), MTI_NORM(e5), MTI_NORM(e6),            \
    MTI_NORM(e7), MTI_NORM(e8), MTI_NORM(e9), MTI_NORM(e10), MTI_NORM(e11), MTI_NORM(e12),         \
    MTI_NORM(e13), MTI_NORM(e14), MTI_NORM(e15), MTI_NORM(e16)
#define MTI_NORM_M(...) (mti_MANY, ~)
// P##kind(c, rest of the tuple) for every entry.
#define MTI_EACH_1(P, c, e1)                                                                       \
    MTI_1(P, c, MTI_STRIP e1)
#define MTI_EACH_2(P, c, e1, e2)                                                                   \
    MTI_1(P, c, MTI_STRIP e1) MTI_1(P, c, MTI_STRIP e2)
#define MTI_EACH_3(P, c, e1, e2, e3)                                                               \
    MTI_1(P, c, MTI_STRIP e1) MTI_1(P, c, MTI_STRIP e2) MTI_1(P, c, MTI_STRIP e3)
#define MTI_EACH_4(P, c, e1, e2, e3, e4)                                                           \
    MTI_1(P, c, MTI_STRIP e1) MTI_1(P, c, MTI_STRIP e2) MTI_1(P, c, MTI_STRIP e3)                  \
    MTI_1(P, c, MTI_STRIP e4)
#define MTI_EACH_5(P, c, e1, e2, e3, e4, e5)                                                       \
    MTI_1(P, c, MTI_STRIP e1) MTI_1(P, c, MTI_STRIP e2) MTI_1(P, c, MTI_STRIP e3)                  \
    MTI_1(P, c, MTI_STRIP e4) MTI_1(P, c, MTI_STRIP e5)
#define MTI_EACH_6(P, c, e1, e2, e3, e4, e5, e6)                                                   \
    MTI_1(P, c, MTI_STRIP e1) MTI_1(P, c, MTI_STRIP e2) MTI_1(P, c, MTI_STRIP e3)                  \
    MTI_1(P, c, MTI_STRIP e4) MTI_1(P, c, MTI_STRIP e5) MTI_1(P, c, MTI_STRIP e6)
#define MTI_EACH_7(P, c, e1, e2, e3, e4, e5, e6, e7)                                               \
    MTI_1(P, c, MTI_STRIP e1) MTI_1(P, c, MTI_STRIP e2) MTI_1(P, c, MTI_STRIP e3)                  \
    MTI_1(P, c, MTI_STRIP e4) MTI_1(P, c, MTI_STRIP e5) MTI_1(P, c, MTI_STRIP e6)                  \
    MTI_1(P, c, MTI_STRIP e7)
#define MTI_EACH_8(P, c, e1, e2, e3, e4, e5, e6, e7, e8)                                           \
    MTI_1(P, c, MTI_STRIP e1) MTI_1(P, c, MTI_STRIP e2) MTI_1(P, c, MTI_STRIP e3)                  \
    MTI_1(P, c, MTI_STRIP e4) MTI_1(P, c, MTI_STRIP e5) MTI_1(P, c, MTI_STRIP e6)                  \
    MTI_1(P, c, MTI_STRIP e7) MTI_1(P, c, MTI_STRIP e8)
#define MTI_EACH_9(P, c, e1, e2, e3, e4, e5, e6, e7, e8, e9)                                       \
    MTI_1(P, c, MTI_STRIP e1) MTI_1(P, c, MTI_STRIP e2) MTI_1(P, c, MTI_STRIP e3)                  \
    MTI_1(P, c, MTI_STRIP e4) MTI_1(P, c, MTI_STRIP e5) MTI_1(P, c, MTI_STRIP e6)                  \
    MTI_1(P, c, MTI_STRIP e7) MTI_1(P, c, MTI_STRIP e8) MTI_1(P, c, MTI_STRIP e9)
#define MTI_EACH_10(P, c, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10)                                 \
    MTI_1(P, c, MTI_STRIP e1) MTI_1(P, c, MTI_STRIP e2) MTI_1(P, c, MTI_STRIP e3)                  \
    MTI_1(P, c, MTI_STRIP e4) MTI_1(P, c, MTI_STRIP e5) MTI_1(P, c, MTI_STRIP e6)                  \
    MTI_1(P, c, MTI_STRIP e7) MTI_1(P, c, MTI_STRIP e8) MTI_1(P, c, MTI_STRIP e9)                  \
    MTI_1(P, c, MTI_STRIP e10)
#define MTI_EACH_11(P, c, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11)                            \
    MTI_1(P, c, MTI_STRIP e1) MTI_1(P, c, MTI_STRIP e2) MTI_1(P, c, MTI_STRIP e3)                  \
    MTI_1(P, c, MTI_STRIP e4) MTI_1(P, c, MTI_STRIP e5) MTI_1(P, c, MTI_STRIP e6)                  \
    MTI_1(P, c, MTI_STRIP e7) MTI_1(P, c, MTI_STRIP e8) MTI_1(P, c, MTI_STRIP e9)                  \
    MTI_1(P, c, MTI_STRIP e10) MTI_1(P, c, MTI_STRIP e11)
#define MTI_EACH_12(P, c, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12)                       \
    MTI_1(P, c, MTI_STRIP e1) MTI_1(P, c, MTI_STRIP e2) MTI_1(P, c, MTI_STRIP e3)                  \
    MTI_1(P, c, MTI_STRIP e4) MTI_1(P, c, MTI_STRIP e5) MTI_1(P, c, MTI_STRIP e6)                  \
    MTI_1(P, c, MTI_STRIP e7) MTI_1(P, c, MTI_STRIP e8) MTI_1(P, c, MTI_STRIP e9)                  \
    MTI_1(P, c, MTI_STRIP e10) MTI_1(P, c, MTI_STRIP e11) MTI_1(P, c, MTI_STRIP e12)
#define MTI_EACH_13(P, c, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13)                  \
    MTI_1(P, c, MTI_STRIP e1) MTI_1(P, c, MTI_STRIP e2) MTI_1(P, c, MTI_STRIP e3)                  \
    MTI_1(P, c, MTI_STRIP e4) MTI_1(P, c, MTI_STRIP e5) MTI_1(P, c, MTI_STRIP e6)                  \
    MTI_1(P, c, MTI_STRIP e7) MTI_1(P, c, MTI_STRIP e8) MTI_1(P, c, MTI_STRIP e9)                  \
    MTI_1(P, c, MTI_STRIP e10) MTI_1(P, c, MTI_STRIP e11) MTI_1(P, c, MTI_STRIP e12)               \
    MTI_1(P, c, MTI_STRIP e13)
#define MTI_EACH_14(P, c, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13, e14)             \
    MTI_1(P, c, MTI_STRIP e1) MTI_1(P, c, MTI_STRIP e2) MTI_1(P, c, MTI_STRIP e3)                  \
    MTI_1(P, c, MTI_STRIP e4) MTI_1(P, c, MTI_STRIP e5) MTI_1(P, c, MTI_STRIP e6)                  \
    MTI_1(P, c, MTI_STRIP e7) MTI_1(P, c, MTI_STRIP e8) MTI_1(P, c, MTI_STRIP e9)                  \
    MTI_1(P, c, MTI_STRIP e10) MTI_1(P, c, MTI_STRIP e11) MTI_1(P, c, MTI_STRIP e12)               \
    MTI_1(P, c, MTI_STRIP e13) MTI_1(P, c, MTI_STRIP e14)
#define MTI_EACH_15(P, c, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13, e14, e15)        \
    MTI_1(P, c, MTI_STRIP e1) MTI_1(P, c, MTI_STRIP e2) MTI_1(P, c, MTI_STRIP e3)                  \
    MTI_1(P, c, MTI_STRIP e4) MTI_1(P, c, MTI_STRIP e5) MTI_1(P, c, MTI_STRIP e6)                  \
    MTI_1(P, c, MTI_STRIP e7) MTI_1(P, c, MTI_STRIP e8) MTI_1(P, c, MTI_STRIP e9)                  \
    MTI_1(P, c, MTI_STRIP e10) MTI_1(P, c, MTI_STRIP e11) MTI_1(P, c, MTI_STRIP e12)               \
    MTI_1(P, c, MTI_STRIP e13) MTI_1(P, c, MTI_STRIP e14) MTI_1(P, c, MTI_STRIP e15)
#define MTI_EACH_16(P, c, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13, e14, e15, e16)   \
    MTI_1(P, c, MTI_STRIP e1) MTI_1(P, c, MTI_STRIP e2) MTI_1(P, c, MTI_STRIP e3)                  \
    MTI_1(P, c, MTI_STRIP e4) MTI_1(P, c, MTI_STRIP e5) MTI_1(P, c, MTI_STRIP e6)                  \
    MTI_1(P, c, MTI_STRIP e7) MTI_1(P, c, MTI_STRIP e8) MTI_1(P, c, MTI_STRIP e9)                  \
    MTI_1(P, c, MTI_STRIP e10) MTI_1(P, c, MTI_STRIP e11) MTI_1(P, c, MTI_STRIP e12)               \
    MTI_1(P, c, MTI_STRIP e13) MTI_1(P, c, MTI_STRIP e14) MTI_1(P, c, MTI_STRIP e15)               \
    MTI_1(P, c, MTI_STRIP e16)
#define MTI_EACH_M MTI_EACH_1
// MTI_SET for every entry.
#define MTI_SET_1(o, e1)                                                                           \
    MTI_SET(o, e1)
#define MTI_SET_2(o, e1, e2)                                                                       \
    MTI_SET(o, e1) MTI_SET(o, e2)
#define MTI_SET_3(o, e1, e2, e3)                                                                   \
    MTI_SET(o, e1) MTI_SET(o, e2) MTI_SET(o, e3)
#define MTI_SET_4(o, e1, e2, e3, e4)                                                               \
    MTI_SET(o, e1) MTI_SET(o, e2) MTI_SET(o, e3) MTI_SET(o, e4)
#define MTI_SET_5(o, e1, e2, e3, e4, e5)                                                           \
    MTI_SET(o, e1) MTI_SET(o, e2) MTI_SET(o, e3) MTI_SET(o, e4) MTI_SET(o, e5)
#define MTI_SET_6(o, e1, e2, e3, e4, e5, e6)                                                       \
    MTI_SET(o, e1) MTI_SET(o, e2) MTI_SET(o, e3) MTI_SET(o, e4) MTI_SET(o, e5) MTI_SET(o, e6)
#define MTI_SET_7(o, e1, e2, e3, e4, e5, e6, e7)                                                   \
    MTI_SET(o, e1) MTI_SET(o, e2) MTI_SET(o, e3) MTI_SET(o, e4) MTI_SET(o, e5) MTI_SET(o, e6)      \
    MTI_SET(o, e7)
#define MTI_SET_8(o, e1, e2, e3, e4, e5, e6, e7, e8)                                               \
    MTI_SET(o, e1) MTI_SET(o, e2) MTI_SET(o, e3) MTI_SET(o, e4) MTI_SET(o, e5) MTI_SET(o, e6)      \
    MTI_SET(o, e7) MTI_SET(o, e8)
#define MTI_SET_9(o, e1, e2, e3, e4, e5, e6, e7, e8, e9)                                           \
    MTI_SET(o, e1) MTI_SET(o, e2) MTI_SET(o, e3) MTI_SET(o, e4) MTI_SET(o, e5) MTI_SET(o, e6)      \
    MTI_SET(o, e7) MTI_SET(o, e8) MTI_SET(o, e9)
#define MTI_SET_10(o, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10)                                     \
    MTI_SET(o, e1) MTI_SET(o, e2) MTI_SET(o, e3) MTI_SET(o, e4) MTI_SET(o, e5) MTI_SET(o, e6)      \
    MTI_SET(o, e7) MTI_SET(o, e8) MTI_SET(o, e9) MTI_SET(o, e10)
#define MTI_SET_11(o, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11)                                \
    MTI_SET(o, e1) MTI_SET(o, e2) MTI_SET(o, e3) MTI_SET(o, e4) MTI_SET(o, e5) MTI_SET(o, e6)      \
    MTI_SET(o, e7) MTI_SET(o, e8) MTI_SET(o, e9) MTI_SET(o, e10) MTI_SET(o, e11)
#define MTI_SET_12(o, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12)                           \
    MTI_SET(o, e1) MTI_SET(o, e2) MTI_SET(o, e3) MTI_SET(o, e4) MTI_SET(o, e5) MTI_SET(o, e6)      \
    MTI_SET(o, e7) MTI_SET(o, e8) MTI_SET(o, e9) MTI_SET(o, e10) MTI_SET(o, e11)                   \
    MTI_SET(o, e12)
#define MTI_SET_13(o, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13)                      \
    MTI_SET(o, e1) MTI_SET(o, e2) MTI_SET(o, e3) MTI_SET(o, e4) MTI_SET(o, e5) MTI_SET(o, e6)      \
    MTI_SET(o, e7) MTI_SET(o, e8) MTI_SET(o, e9) MTI_SET(o, e10) MTI_SET(o, e11)                   \
    MTI_SET(o, e12) MTI_SET(o, e13)
#define MTI_SET_14(o, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13, e14)                 \
    MTI_SET(o, e1) MTI_SET(o, e2) MTI_SET(o, e3) MTI_SET(o, e4) MTI_SET(o, e5) MTI_SET(o, e6)      \
    MTI_SET(o, e7) MTI_SET(o, e8) MTI_SET(o, e9) MTI_SET(o, e10) MTI_SET(o, e11)                   \
    MTI_SET(o, e12) MTI_SET(o, e13) MTI_SET(o, e14)
#define MTI_SET_15(o, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13, e14, e15)            \
    MTI_SET(o, e1) MTI_SET(o, e2) MTI_SET(o, e3) MTI_SET(o, e4) MTI_SET(o, e5) MTI_SET(o, e6)      \
    MTI_SET(o, e7) MTI_SET(o, e8) MTI_SET(o, e9) MTI_SET(o, e10) MTI_SET(o, e11)                   \
    MTI_SET(o, e12) MTI_SET(o, e13) MTI_SET(o, e14) MTI_SET(o, e15)
#define MTI_SET_16(o, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13, e14, e15, e16)       \
    MTI_SET(o, e1) MTI_SET(o, e2) MTI_SET(o, e3) MTI_SET(o, e4) MTI_SET(o, e5) MTI_SET(o, e6)      \
    MTI_SET(o, e7) MTI_SET(o, e8) MTI_SET(o, e9) MTI_SET(o, e10) MTI_SET(o, e11)                   \
    MTI_SET(o, e12) MTI_SET(o, e13) MTI_SET(o, e14) MTI_SET(o, e15) MTI_SET(o, e16)
// clang-format on

#endif
