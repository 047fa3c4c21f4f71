// What users write: tasks, options, scopes. This file is their manual.
//
// A task is declared and defined at once, in one file:
//
//     MANTA_TASK(saxpy, MANTA_VAL(float, a), MANTA_IN(float, x), MANTA_INOUT(float, y))
//     {
//         for (size_t i = 0; i < y.count; i++) y.data[i] += a * x.data[i];
//         return MANTA_OK;
//     }
//
//     int main(void)
//     {
//         MANTA_SCOPE();
//         manta_ref_t x = manta_put(xs, sizeof xs), y = manta_put(ys, sizeof ys);
//         y = saxpy_remote(2.0f, x, y);
//         y = saxpy_with(MANTA_OPTIONS(.cpus = 2), 3.0f, x, y);
//         manta_view_t v;
//         if (manta_get(y, &v, MANTA_FOREVER) != MANTA_OK) manta_ref_print_error(y, stderr);
//     }
//
// or, for a task with several bodies or callers, in a header and a source file:
//
//     // saxpy.h
//     #define saxpy_PARAMS MANTA_VAL(float, a), MANTA_IN(float, x), MANTA_INOUT(float, y)
//     MANTA_TASK_DECLARE(saxpy);
//     // saxpy.c
//     #include "saxpy.h"
//     MANTA_TASK(saxpy) { ... }
//     // saxpy.cu, or any C or C++ file: the same on a CUDA device, see kernel.h
//     #include "saxpy.h"
//     MANTA_CUDA(saxpy) { ... }
//
// Parameters, at most 16. T is any type that can be copied by its bytes; a struct is fine, a pointer
// or an array isn't, and a type with a comma in it needs a typedef.
//
//     entry                     the caller passes             the body sees
//     MANTA_VAL(T, n)           T n                           T n
//     MANTA_IN(T, n)            manta_ref_t n                 n.data (const T *), n.count
//     MANTA_INOUT(T, n)         manta_ref_t n, which is       n.data (T *), n.count
//                               taken; the result is the
//                               next version of it
//     MANTA_OUT(T, n, count)    nothing; a result             n.data (T *), n.count
//     MANTA_OUT(T, n)           nothing; a result             the same; empty till manta_out_resize
//     MANTA_IN_LIST(T, n)       const manta_ref_t *n,         n.items[i].data, n.items[i].count,
//                               size_t n_count                n.count
//     MANTA_LOCAL(T *, n)       T *n                          T *n: it stays in this process
//     MANTA_NOTHING             the empty list: #define tick_PARAMS MANTA_NOTHING
//
// |count| is an expression over the other parameters but OUTs, evaluated before the body starts:
// MANTA_OUT(float, sum, x.count), or a VAL for sizes that the caller chooses.
//
// Made for a task |x|, with its parameters as above for "...":
//
//     x_out_t                   what it returns: manta_ref_t if it has no result (then it is the
//                               completion) or one; else a struct with a ref per INOUT and OUT, by
//                               name
//     x_out_t x_remote(...)     submits. Never blocks, but at a runtime's max_in_flight; failures come
//                               back as error refs, and INOUT refs are taken in any case
//     x_out_t x_with(options, ...)     the same with MANTA_OPTIONS(...)
//     manta_status_t x_go(...), x_go_with(options, ...)
//                               fire and forget: no result to hold. The status is that of the submit;
//                               INOUT refs are taken only if it is MANTA_OK
//     manta_ref_t x_range(count, ...), x_range_with(options, count, grain, ...)
//                               runs the body for every index below |count|; the body asks
//                               manta_task_index(task). Gives the completion. Only for tasks without
//                               INOUT and OUT
//     manta_status_t x_result(ref, T *out)
//                               waits and copies a single element, for tasks with one result of one
//                               element, as MANTA_OUT(T, n, 1). Another size: ERR_TYPE_MISMATCH
//     x_args_t, x_task          the argument image and the definition, for task.h
//
// In a body, |task| is the running task (task.h: manta_fail, manta_cancelled, ...). It returns
// MANTA_OK, or what manta_fail() returns, or a code. In C++ an exception that leaves it fails the
// task with MANTA_ERR_EXCEPTION and its what().
//
// Actors, a state with methods, are in detail/actor.h: MANTA_ACTOR, MANTA_METHOD. Generators, streams of
// values, are in detail/generator.h: MANTA_GENERATOR.
//
// In C++ refs are typed, manta::ref<T>, and another ref type is an error at compile time; a
// manta_ref_t converts to it and back. In C the element type is checked at submit.
//
// Things to know:
//  - Names that start with mti_ are taken, and so is |task| as the name of a parameter.
//  - Task names are one flat namespace, as functions are in C; also inside C++ namespaces.
//  - A static library drops bodies that nothing names: put tasks into executables, shared or object
//    libraries, or link it whole.
//  - A body runs as often as its task is tried: leave globals alone.
//  - MANTA_OPTIONS() works inside functions; a value with a comma in braces doesn't go in.
//  - Errors of the compiler point at your line as this is a system header; MANTA_NO_SYSTEM_HEADER
//    turns that off.
#ifndef MANTA_MACROS_H
#define MANTA_MACROS_H

#include <manta/detail/pp.h>
#include <manta/detail/types.h>
#include <manta/kernel.h>
#include <manta/object.h>
#include <manta/runtime.h>
#include <manta/status.h>
#include <manta/task.h>

#include <stddef.h>

#ifndef MANTA_NO_SYSTEM_HEADER
#pragma GCC system_header
#endif

// ---- parameters -----------------------------------------------------------------------------

#define MANTA_VAL(T, n)     (mti_VAL, T, n)
#define MANTA_IN(T, n)      (mti_IN, T, n)
#define MANTA_INOUT(T, n)   (mti_INOUT, T, n)
#define MANTA_IN_LIST(T, n) (mti_LIST, T, n)
#define MANTA_LOCAL(T, n)   (mti_LOCAL, T, n)
#define MANTA_NOTHING       (mti_NOTHING, ~)
// (T, n) or (T, n, count).
#define MANTA_OUT(...)      MTI_OUT_A(MTI_COUNT(__VA_ARGS__), __VA_ARGS__)

// ---- tasks ----------------------------------------------------------------------------------

// Declares what callers need, from the list x_PARAMS. For headers.
#define MANTA_TASK_DECLARE(x) MTI_DECLARE_A(x, x##_PARAMS)

// (x, parameters...) declares and defines; (x) defines what MANTA_TASK_DECLARE(x) declared, or, if
// there is no x_PARAMS, declares and defines a task without parameters. The body follows.
#define MANTA_TASK(...) MTI_TASK_A(MTI_MANY(__VA_ARGS__), __VA_ARGS__)

// (x) or (x, parameters...): a body of task |x| for CUDA devices; it follows. The task is declared
// before, by MANTA_TASK_DECLARE(x) or by MANTA_TASK(x, ...) in the same file; its parameters are in
// sight as x_PARAMS, or said again: a macro cannot remember them. A task may have a CPU body, a CUDA body,
// or both, in one file or in several; two of one kind don't link. What such a body may do, and how it
// launches kernels, stands in kernel.h.
#define MANTA_CUDA(...) MTI_CUDA_A(MTI_MANY(__VA_ARGS__), __VA_ARGS__)

// In a body: changes the number of elements of OUT parameter |n|; keeps what fits, and n.data may
// move. Gives a manta_status_t: OUT_OF_RANGE · OUT_OF_MEMORY.
#ifdef __cplusplus
#define manta_out_resize(n, new_count) ((n).mti_resize(task, (new_count)))
#else
#define manta_out_resize(n, new_count)                                                             \
    ((n).data = mti_out_resize(task, (n).mti_index, (new_count), sizeof *(n).data, (n).data,       \
                               &(n).count, &(n).mti_status),                                       \
     (n).mti_status)
#endif

// ---- options --------------------------------------------------------------------------------

// Options for x_with(): MANTA_OPTIONS(.where = MANTA_GPU, .cpus = 2). Fields of manta_task_options_t
// in any order; what is not set is the default. A value: keep it, change it, use it again.
#define MANTA_OPTIONS(...) MTI_OPTIONS(manta_task_options_t, __VA_ARGS__)

// ---- scopes ---------------------------------------------------------------------------------

// MANTA_SCOPE(); at the start of a block: refs and views that are handed out from here on are
// released where the block ends, also by return, break, goto or an exception. manta_keep() takes one
// out: return manta_keep(r);
#define MANTA_SCOPE() MTI_SCOPE_A(__COUNTER__)

// ---- values ---------------------------------------------------------------------------------

// manta_put(ptr, size_bytes): as in object.h, and the object gets the element type that |ptr| points
// to. void pointers, and in C arrays of arrays, give untyped objects.
#ifdef __cplusplus
template <class T>
MANTA_NODISCARD inline manta::ref<typename std::remove_all_extents<T>::type>
manta_put(const T *ptr, size_t size_bytes)
{
    typedef typename std::remove_all_extents<T>::type element_t;
    static_assert(manta::detail::is_data<element_t>(),
                  "manta: objects hold elements that can be copied by their bytes, not pointers");
    return manta_put_typed(ptr, size_bytes, manta::detail::dtype<element_t>());
}
#else
#define manta_put(ptr, size_bytes) manta_put_typed((ptr), (size_bytes), MTI_PUT_DTYPE(ptr))
#endif

// =============================================================================================
// From here on private: how the above is made. A table per thing that is generated, a row per kind.
// clang-format off

#define MTI_OUT_A(n, ...)      MTI_OUT_B(n, __VA_ARGS__)
#define MTI_OUT_B(n, ...)      MTI_OUT_##n(__VA_ARGS__)
#define MTI_OUT_1(T)           (mti_BAD, "MANTA_OUT without a name")
#define MTI_OUT_2(T, n)        (mti_OUTN, T, n)
#define MTI_OUT_3(T, n, count) (mti_OUT, T, n, count)

#define MTI_TASK_A(many, ...) MTI_TASK_B(many, __VA_ARGS__)
#define MTI_TASK_B(many, ...) MTI_TASK_##many(__VA_ARGS__)
#define MTI_TASK_1(x, ...)    MTI_WITH_LIST(MTI_TASK_BOTH, x, __VA_ARGS__)
#define MTI_TASK_0(x)         MTI_TASK_C(x, x##_PARAMS)
#define MTI_TASK_C(x, ...)    MTI_TASK_D(MTI_IS_LIST(__VA_ARGS__), x, __VA_ARGS__)
#define MTI_TASK_D(list, ...) MTI_TASK_E(list, __VA_ARGS__)
#define MTI_TASK_E(list, ...) MTI_TASK_L##list(__VA_ARGS__)
#define MTI_TASK_L0(x, token) MTI_WITH_LIST(MTI_TASK_BOTH, x, MANTA_NOTHING)
#define MTI_TASK_L1(x, ...)   MTI_WITH_LIST(MTI_TASK_BODY, x, __VA_ARGS__)

#define MTI_CUDA_A(many, ...) MTI_CUDA_B(many, __VA_ARGS__)
#define MTI_CUDA_B(many, ...) MTI_CUDA_##many(__VA_ARGS__)
#define MTI_CUDA_1(x, ...)    MTI_WITH_LIST(MTI_CUDA_BODY, x, __VA_ARGS__)
#define MTI_CUDA_0(x)         MTI_CUDA_C(x, x##_PARAMS)
#define MTI_CUDA_C(x, ...)    MTI_CUDA_D(MTI_IS_LIST(__VA_ARGS__), x, __VA_ARGS__)
#define MTI_CUDA_D(list, ...) MTI_CUDA_E(list, __VA_ARGS__)
#define MTI_CUDA_E(list, ...) MTI_CUDA_L##list(__VA_ARGS__)
#define MTI_CUDA_L0(x, token)                                                                      \
    MTI_ASSERT_NEVER("manta: MANTA_CUDA(" #x ") sees no parameters: before it write #define " #x   \
                     "_PARAMS MANTA_VAL(...), MANTA_IN(...), ... (or MANTA_NOTHING), or repeat "    \
                     "them: MANTA_CUDA(" #x ", ...)");                                             \
    MANTA_UNUSED static manta_status_t mti_##x##_cuda_orphan(MANTA_UNUSED manta_task_t *task)
#define MTI_CUDA_L1(x, ...)   MTI_WITH_LIST(MTI_CUDA_BODY, x, __VA_ARGS__)

#define MTI_DECLARE_A(x, ...)    MTI_DECLARE_B(MTI_IS_LIST(__VA_ARGS__), x, __VA_ARGS__)
#define MTI_DECLARE_B(list, ...) MTI_DECLARE_C(list, __VA_ARGS__)
#define MTI_DECLARE_C(list, ...) MTI_DECLARE_L##list(__VA_ARGS__)
#define MTI_DECLARE_L0(x, ...)                                                                     \
    MTI_ASSERT_NEVER("manta: before MANTA_TASK_DECLARE(" #x ") write #define " #x                  \
                     "_PARAMS MANTA_VAL(...), MANTA_IN(...), ... (or MANTA_NOTHING)")
#define MTI_DECLARE_L1(x, ...)                                                                     \
    MTI_WITH_LIST(MTI_DECLARE, x, __VA_ARGS__)                                                     \
    struct mti_##x##_needs_semicolon

#define MTI_TASK_BOTH(x, E, ...) MTI_DECLARE(x, E, __VA_ARGS__) MTI_BODY(x, cpu, E, __VA_ARGS__)
#define MTI_TASK_BODY(x, E, ...) MTI_CHECK_DECLARED(x) MTI_BODY(x, cpu, E, __VA_ARGS__)
#define MTI_CUDA_BODY(x, E, ...) MTI_CHECK_DECLARED(x) MTI_BODY(x, cuda, E, __VA_ARGS__)

// A body without the declaration gives many errors: types are missing. So the first one says what is wrong. In C an
// array that is declared with its size is not compatible with one of another size, one without is. C++
// has no such thing that works in namespaces; there the name that is missing says it.
#ifdef __cplusplus
#define MTI_DECLARED(x)       enum { MANTA_TASK_DECLARE_##x##_is_missing_before_this = 1 };
#define MTI_CHECK_DECLARED(x)                                                                      \
    static_assert(MANTA_TASK_DECLARE_##x##_is_missing_before_this == 1, "");
#else
#define MTI_DECLARED(x)       extern const char mti_##x##_declared[2];
#define MTI_CHECK_DECLARED(x)                                                                      \
    extern const char mti_##x##_declared[];                                                        \
    _Static_assert(_Generic(&mti_##x##_declared, const char (*)[1]: 0, default: 1),                \
                   "manta: before the body of task " #x " write MANTA_TASK_DECLARE(" #x            \
                   "); (" #x "_PARAMS alone declares nothing)");
#endif

#ifdef __cplusplus
#define MTI_C_BEGIN              extern "C" {
#define MTI_C_END                }
#define MTI_ASSERT(c, text)      static_assert(c, text);
#define MTI_ASSERT_NEVER(text)   static_assert(sizeof(char) == 0, text)
#define MTI_ALIGNOF(T)           alignof(T)
#define MTI_DTYPE(T)             (::manta::detail::dtype<T>())
#else
#define MTI_C_BEGIN
#define MTI_C_END
#define MTI_ASSERT(c, text)      _Static_assert(c, text);
#define MTI_ASSERT_NEVER(text)   _Static_assert(0, text)
#define MTI_ALIGNOF(T)           _Alignof(T)
#endif

// -- types of parameters. In C each gets a typedef first, so that an unknown type is reported once, and
// a struct for its span.
#ifdef __cplusplus
#define MTI_T(c, T, n)       T
#define MTI_REF(T)           ::manta::ref<T>
#define MTI_IN_T(c, T, n)    ::manta::span<const T>
#define MTI_INOUT_T(c, T, n) ::manta::span<T>
#define MTI_OUT_T(c, T, n)   ::manta::out_span<T>
#define MTI_LIST_T(c, T, n)  ::manta::list<const T>
#define MTI_ITEM_T(c, T, n)  ::manta::list_item<const T>
#define MTI_IS_DATA(c, T, n) MTI_ASSERT(::manta::detail::is_data<T>(), MTI_NOT_DATA(c, T, n))
#define MTI_SPAN(c, T, n, Q)
#define MTI_OUT_SPAN(c, T, n)
#define MTI_LIST_SPAN(c, T, n)
#define MTI_LOCAL_CHECK(c, T, n) MTI_ASSERT(::std::is_pointer<T>::value, MTI_NOT_LOCAL(c, T, n))
#else
#define MTI_T(c, T, n)       mti_##c##__##n##_e
#define MTI_REF(T)           manta_ref_t
#define MTI_IN_T(c, T, n)    mti_##c##__##n##_t
#define MTI_INOUT_T(c, T, n) mti_##c##__##n##_t
#define MTI_OUT_T(c, T, n)   mti_##c##__##n##_t
#define MTI_LIST_T(c, T, n)  mti_##c##__##n##_t
#define MTI_ITEM_T(c, T, n)  mti_##c##__##n##_i
#define MTI_IS_DATA(c, T, n)                                                                       \
    typedef T MTI_T(c, T, n);                                                                      \
    MTI_ASSERT(MTI_IS_PLAIN(MTI_T(c, T, n)), MTI_NOT_DATA(c, T, n))
#define MTI_SPAN(c, T, n, Q)                                                                       \
    typedef struct {                                                                               \
        Q MTI_T(c, T, n) * data;                                                                   \
        size_t count;                                                                              \
    } mti_##c##__##n##_t;
#define MTI_OUT_SPAN(c, T, n)                                                                      \
    typedef struct {                                                                               \
        MTI_T(c, T, n) * data;                                                                     \
        size_t count;                                                                              \
        uint32_t mti_index;                                                                        \
        manta_status_t mti_status;                                                                 \
    } mti_##c##__##n##_t;
#define MTI_LIST_SPAN(c, T, n)                                                                     \
    typedef struct __attribute__((may_alias)) {                                                    \
        const MTI_T(c, T, n) * data;                                                               \
        size_t count;                                                                              \
    } mti_##c##__##n##_i;                                                                          \
    typedef struct {                                                                               \
        const mti_##c##__##n##_i *items;                                                           \
        size_t count;                                                                              \
    } mti_##c##__##n##_t;
#define MTI_LOCAL_CHECK(c, T, n)                                                                   \
    typedef T MTI_T(c, T, n);                                                                      \
    MTI_ASSERT(MTI_IS_POINTER(MTI_T(c, T, n)), MTI_NOT_LOCAL(c, T, n))
#endif
#define MTI_NOT_DATA(c, T, n)                                                                      \
    "manta: parameter " #n " of task " #c " has type " #T                                          \
    ", which cannot be copied by its bytes (MANTA_LOCAL passes a pointer)"
#define MTI_NOT_LOCAL(c, T, n) "manta: MANTA_LOCAL(" #T ", " #n ") of task " #c " is no pointer"

#define MTI_TYPE_mti_VAL(c, T, n)     MTI_IS_DATA(c, T, n)
#define MTI_TYPE_mti_IN(c, T, n)      MTI_IS_DATA(c, T, n) MTI_SPAN(c, T, n, const)
#define MTI_TYPE_mti_INOUT(c, T, n)   MTI_IS_DATA(c, T, n) MTI_SPAN(c, T, n, )
#define MTI_TYPE_mti_OUT(c, T, n, k)  MTI_IS_DATA(c, T, n) MTI_OUT_SPAN(c, T, n)
#define MTI_TYPE_mti_OUTN(c, T, n)    MTI_IS_DATA(c, T, n) MTI_OUT_SPAN(c, T, n)
#define MTI_TYPE_mti_LIST(c, T, n)    MTI_IS_DATA(c, T, n) MTI_LIST_SPAN(c, T, n)
#define MTI_TYPE_mti_LOCAL(c, T, n)   MTI_LOCAL_CHECK(c, T, n)
#define MTI_TYPE_mti_NOTHING(c, none)
#define MTI_TYPE_mti_BAD(c, text)                                                                  \
    MTI_ASSERT_NEVER("manta: a parameter of task " #c                                              \
                     " is no MANTA_VAL, _IN, _INOUT, _OUT, _IN_LIST or _LOCAL: " text);
#define MTI_TYPE_mti_MANY(c, none)                                                                 \
    MTI_ASSERT_NEVER("manta: task " #c " has more than 16 parameters");

// -- members of the argument image
#define MTI_ARGS_mti_VAL(c, T, n)     MTI_T(c, T, n) n;
#define MTI_ARGS_mti_IN(c, T, n)      manta_ref_t n;
#define MTI_ARGS_mti_INOUT(c, T, n)   manta_ref_t n;
#define MTI_ARGS_mti_OUT(c, T, n, k)
#define MTI_ARGS_mti_OUTN(c, T, n)
#define MTI_ARGS_mti_LIST(c, T, n)    manta_ref_list_t n;
#define MTI_ARGS_mti_LOCAL(c, T, n)   MTI_T(c, T, n) n;
#define MTI_ARGS_mti_NOTHING(c, none)
#define MTI_ARGS_mti_BAD(c, text)
#define MTI_ARGS_mti_MANY(c, none)

// -- what callers pass; each piece brings its comma
#define MTI_PROTO_mti_VAL(c, T, n)    , MTI_T(c, T, n) n
#define MTI_PROTO_mti_IN(c, T, n)     , MTI_REF(T) n
#define MTI_PROTO_mti_INOUT(c, T, n)  , MTI_REF(T) n
#define MTI_PROTO_mti_OUT(c, T, n, k)
#define MTI_PROTO_mti_OUTN(c, T, n)
#define MTI_PROTO_mti_LIST(c, T, n)   , const manta_ref_t *n, size_t n##_count
#define MTI_PROTO_mti_LOCAL(c, T, n)  , MTI_T(c, T, n) n
#define MTI_PROTO_mti_NOTHING(c, none)
#define MTI_PROTO_mti_BAD(c, text)
#define MTI_PROTO_mti_MANY(c, none)

// -- from those, the image
#define MTI_INIT_mti_VAL(c, T, n)     n,
#define MTI_INIT_mti_IN(c, T, n)      n,
#define MTI_INIT_mti_INOUT(c, T, n)   n,
#define MTI_INIT_mti_OUT(c, T, n, k)
#define MTI_INIT_mti_OUTN(c, T, n)
#define MTI_INIT_mti_LIST(c, T, n)    {n, n##_count},
#define MTI_INIT_mti_LOCAL(c, T, n)   n,
#define MTI_INIT_mti_NOTHING(c, none)
#define MTI_INIT_mti_BAD(c, text)
#define MTI_INIT_mti_MANY(c, none)

// -- results: as members, and to be counted; the type, if there is one only
#define MTI_RES_mti_VAL(c, T, n)
#define MTI_RES_mti_IN(c, T, n)
#define MTI_RES_mti_INOUT(c, T, n)    MTI_REF(T) n;
#define MTI_RES_mti_OUT(c, T, n, k)   MTI_REF(T) n;
#define MTI_RES_mti_OUTN(c, T, n)     MTI_REF(T) n;
#define MTI_RES_mti_LIST(c, T, n)
#define MTI_RES_mti_LOCAL(c, T, n)
#define MTI_RES_mti_NOTHING(c, none)
#define MTI_RES_mti_BAD(c, text)
#define MTI_RES_mti_MANY(c, none)

#define MTI_RTYPE_mti_VAL(c, T, n)
#define MTI_RTYPE_mti_IN(c, T, n)
#define MTI_RTYPE_mti_INOUT(c, T, n)  , MTI_T(c, T, n)
#define MTI_RTYPE_mti_OUT(c, T, n, k) , MTI_T(c, T, n)
#define MTI_RTYPE_mti_OUTN(c, T, n)   , MTI_T(c, T, n)
#define MTI_RTYPE_mti_LIST(c, T, n)
#define MTI_RTYPE_mti_LOCAL(c, T, n)
#define MTI_RTYPE_mti_NOTHING(c, none)
#define MTI_RTYPE_mti_BAD(c, text)
#define MTI_RTYPE_mti_MANY(c, none)

// -- the caller's side of a task
#define MTI_DECLARE(x, E, ...)                                                                     \
    MTI_DECLARED(x)                                                                                \
    E(MTI_TYPE_, x, __VA_ARGS__)                                                                   \
    MTI_SUBMIT_A(x, (~E(MTI_PROTO_, x, __VA_ARGS__)), (~E(MTI_RTYPE_, x, __VA_ARGS__)),            \
                 (E(MTI_ARGS_, x, __VA_ARGS__)), (E(MTI_INIT_, x, __VA_ARGS__)),                   \
                 (E(MTI_RES_, x, __VA_ARGS__)))
#define MTI_SUBMIT_A(x, proto, rtype, args, init, res)                                             \
    MTI_SUBMIT_B(x, MTI_MANY proto, MTI_CLASS rtype, proto, rtype, args, init, res)
#define MTI_SUBMIT_B(x, has, class, proto, rtype, args, init, res)                                 \
    MTI_SUBMIT_C(x, has, class, proto, rtype, args, init, res)
#define MTI_SUBMIT_C(x, has, class, proto, rtype, args, init, res)                                 \
    MTI_C_BEGIN                                                                                    \
    extern manta_task_def_t x##_task;                                                              \
    MTI_C_END                                                                                      \
    typedef struct x##_args {                                                                      \
        MTI_ARGS_##has args                                                                        \
    } x##_args_t;                                                                                  \
    enum { mti_##x##_args_bytes = MTI_ARGS_BYTES_##has(x) };                                       \
    MTI_OUT_TYPE_##class(x, rtype, res)                                                            \
    MTI_HOT MANTA_NODISCARD x##_out_t x##_remote(MTI_ONLY_##has(proto))                            \
    {                                                                                              \
        MTI_IMAGE_##has(x, init) x##_out_t mti_out;                                                \
        manta_submit_call(&x##_task, NULL, MTI_IMAGE_OF_##has, (manta_ref_t *)&mti_out,            \
                          sizeof mti_out / sizeof(manta_ref_t));                                   \
        return mti_out;                                                                            \
    }                                                                                              \
    MTI_HOT MANTA_NODISCARD x##_out_t x##_with(                                                    \
        MTI_AFTER_##has((manta_task_options_t mti_options), proto))                                \
    {                                                                                              \
        MTI_IMAGE_##has(x, init) x##_out_t mti_out;                                                \
        manta_submit_call(&x##_task, &mti_options, MTI_IMAGE_OF_##has, (manta_ref_t *)&mti_out,    \
                          sizeof mti_out / sizeof(manta_ref_t));                                   \
        return mti_out;                                                                            \
    }                                                                                              \
    MTI_INLINE manta_status_t x##_go(MTI_ONLY_##has(proto))                                        \
    {                                                                                              \
        MTI_IMAGE_##has(x, init)                                                                   \
        const manta_task_desc_t mti_desc = {sizeof mti_desc, &x##_task, MTI_IMAGE_OF_##has, NULL}; \
        return manta_submit(&mti_desc, NULL, 0);                                                   \
    }                                                                                              \
    MTI_INLINE manta_status_t x##_go_with(                                                         \
        MTI_AFTER_##has((manta_task_options_t mti_options), proto))                                \
    {                                                                                              \
        MTI_IMAGE_##has(x, init)                                                                   \
        const manta_task_desc_t mti_desc = {sizeof mti_desc, &x##_task, MTI_IMAGE_OF_##has,        \
                                            &mti_options};                                         \
        return manta_submit(&mti_desc, NULL, 0);                                                   \
    }                                                                                              \
    MTI_RANGE_##class(x, has, proto, init)                                                         \
    MTI_RESULT_##class(x, rtype)

#define MTI_ONLY_0(proto)     void
#define MTI_ONLY_1(proto)     MTI_TAIL proto
#define MTI_AFTER_0(a, proto) MTI_STRIP a
#define MTI_AFTER_1(a, proto) MTI_STRIP a, MTI_TAIL proto

#define MTI_ARGS_0(none)      char mti_none;
#define MTI_ARGS_1(...)       __VA_ARGS__
// An image without members has one in the language only.
#define MTI_ARGS_BYTES_0(x)   0
#define MTI_ARGS_BYTES_1(x)   sizeof(x##_args_t)
#define MTI_IMAGE_0(x, init)
#define MTI_IMAGE_1(x, init)  const x##_args_t mti_args = {MTI_STRIP init};
#define MTI_IMAGE_OF_0        NULL, 0
#define MTI_IMAGE_OF_1        &mti_args, sizeof mti_args

#ifdef __cplusplus
#define MTI_ONE_REF(rtype)    ::manta::ref<MTI_TAIL rtype>
#else
#define MTI_ONE_REF(rtype)    manta_ref_t
#endif
#define MTI_OUT_TYPE_0(x, rtype, res) typedef manta_ref_t x##_out_t;
#define MTI_OUT_TYPE_1(x, rtype, res) typedef MTI_ONE_REF(rtype) x##_out_t;
#define MTI_OUT_TYPE_N(x, rtype, res)                                                              \
    typedef struct x##_out {                                                                       \
        MTI_STRIP res                                                                              \
    } x##_out_t;

#define MTI_RESULT_0 MTI_RESULT_N
#define MTI_RESULT_N(x, rtype)                                                                     \
    MTI_UNAVAILABLE("manta: this is for tasks with exactly one result")                            \
    manta_status_t x##_result(manta_ref_t mti_ref, void *mti_value);
#define MTI_RESULT_1(x, rtype)                                                                     \
    MTI_INLINE MANTA_NODISCARD manta_status_t x##_result(MTI_ONE_REF(rtype) mti_ref,               \
                                                         MTI_TAIL rtype *mti_value)                \
    {                                                                                              \
        return manta_read(mti_ref, mti_value, sizeof *mti_value, MANTA_FOREVER);                   \
    }

#define MTI_RANGE_OPTIONS (manta_task_options_t mti_options, size_t mti_count, size_t mti_grain)
#define MTI_RANGE_0(x, has, proto, init)                                                           \
    MTI_INLINE MANTA_NODISCARD manta_ref_t x##_range(MTI_AFTER_##has((size_t mti_count), proto))   \
    {                                                                                              \
        MTI_IMAGE_##has(x, init)                                                                   \
        return manta_submit_range(&x##_task, NULL, MTI_IMAGE_OF_##has, mti_count, 0);              \
    }                                                                                              \
    MTI_INLINE MANTA_NODISCARD manta_ref_t x##_range_with(                                         \
        MTI_AFTER_##has(MTI_RANGE_OPTIONS, proto))                                                 \
    {                                                                                              \
        MTI_IMAGE_##has(x, init)                                                                   \
        return manta_submit_range(&x##_task, &mti_options, MTI_IMAGE_OF_##has, mti_count,          \
                                  mti_grain);                                                      \
    }
#define MTI_RANGE_1 MTI_RANGE_N
#define MTI_RANGE_N(x, has, proto, init)                                                           \
    MTI_UNAVAILABLE("manta: a task with INOUT or OUT parameters cannot run over a range")           \
    manta_ref_t x##_range(MTI_AFTER_##has((size_t mti_count), proto));                             \
    MTI_UNAVAILABLE("manta: a task with INOUT or OUT parameters cannot run over a range")           \
    manta_ref_t x##_range_with(MTI_AFTER_##has(MTI_RANGE_OPTIONS, proto));

// -- parameters of the body
#define MTI_BODYP_mti_VAL(c, T, n)    , MANTA_UNUSED MTI_T(c, T, n) n
#define MTI_BODYP_mti_IN(c, T, n)     , MANTA_UNUSED MTI_IN_T(c, T, n) n
#define MTI_BODYP_mti_INOUT(c, T, n)  , MANTA_UNUSED MTI_INOUT_T(c, T, n) n
#define MTI_BODYP_mti_OUT(c, T, n, k) , MANTA_UNUSED MTI_OUT_T(c, T, n) n
#define MTI_BODYP_mti_OUTN(c, T, n)   , MANTA_UNUSED MTI_OUT_T(c, T, n) n
#define MTI_BODYP_mti_LIST(c, T, n)   , MANTA_UNUSED MTI_LIST_T(c, T, n) n
#define MTI_BODYP_mti_LOCAL(c, T, n)  , MANTA_UNUSED MTI_T(c, T, n) n
#define MTI_BODYP_mti_NOTHING(c, none)
#define MTI_BODYP_mti_BAD(c, text)
#define MTI_BODYP_mti_MANY(c, none)

#define MTI_NAME_mti_VAL(c, T, n)     , n
#define MTI_NAME_mti_IN(c, T, n)      , n
#define MTI_NAME_mti_INOUT(c, T, n)   , n
#define MTI_NAME_mti_OUT(c, T, n, k)  , n
#define MTI_NAME_mti_OUTN(c, T, n)    , n
#define MTI_NAME_mti_LIST(c, T, n)    , n
#define MTI_NAME_mti_LOCAL(c, T, n)   , n
#define MTI_NAME_mti_NOTHING(c, none)
#define MTI_NAME_mti_BAD(c, text)
#define MTI_NAME_mti_MANY(c, none)

// -- from a call, locals with the names of the parameters
#define MTI_GET_mti_VAL(c, T, n) MANTA_UNUSED MTI_T(c, T, n) n = mti_args->n;
#define MTI_GET_mti_IN(c, T, n)                                                                    \
    MANTA_UNUSED MTI_IN_T(c, T, n)                                                                 \
        n = {(const MTI_T(c, T, n) *)mti_buffer->data, mti_buffer->size_bytes / sizeof(T)};        \
    mti_buffer++;
#define MTI_GET_mti_INOUT(c, T, n)                                                                 \
    MANTA_UNUSED MTI_INOUT_T(c, T, n)                                                              \
        n = {(MTI_T(c, T, n) *)mti_buffer->data, mti_buffer->size_bytes / sizeof(T)};              \
    mti_buffer++;
#ifdef __cplusplus
#define MTI_OUT_END mti_index
#else
#define MTI_OUT_END mti_index, MANTA_OK
#endif
#define MTI_GET_mti_OUTN(c, T, n)                                                                  \
    MTI_OUT_T(c, T, n)                                                                             \
    n = {(MTI_T(c, T, n) *)mti_buffer->data, mti_buffer->size_bytes / sizeof(T), MTI_OUT_END};     \
    mti_buffer++, mti_index++;
#define MTI_GET_mti_OUT(c, T, n, k) MTI_GET_mti_OUTN(c, T, n)
#define MTI_GET_mti_LIST(c, T, n)                                                                  \
    mti_items_t mti_items_##n __attribute__((cleanup(mti_items_free)));                            \
    MANTA_UNUSED MTI_LIST_T(c, T, n)                                                               \
        n = {(const MTI_ITEM_T(c, T, n) *)mti_items_fill(                                          \
                 &mti_items_##n, mti_buffer->data,                                                 \
                 mti_buffer->size_bytes / sizeof(manta_buffer_t), sizeof(T)),                      \
             mti_buffer->size_bytes / sizeof(manta_buffer_t)};                                     \
    if (n.items == NULL) return MANTA_ERR_OUT_OF_MEMORY;                                           \
    mti_buffer++;
#define MTI_GET_mti_LOCAL(c, T, n) MTI_GET_mti_VAL(c, T, n)
#define MTI_GET_mti_NOTHING(c, none)
#define MTI_GET_mti_BAD(c, text)
#define MTI_GET_mti_MANY(c, none)

// -- the same for sizes: no OUTs in scope
#define MTI_SEE_mti_VAL(c, T, n)     MTI_GET_mti_VAL(c, T, n)
#define MTI_SEE_mti_IN(c, T, n)      MTI_GET_mti_IN(c, T, n)
#define MTI_SEE_mti_INOUT(c, T, n)   MTI_GET_mti_INOUT(c, T, n)
#define MTI_SEE_mti_OUT(c, T, n, k)  mti_buffer++;
#define MTI_SEE_mti_OUTN(c, T, n)    mti_buffer++;
#define MTI_SEE_mti_LIST(c, T, n)    MTI_GET_mti_LIST(c, T, n)
#define MTI_SEE_mti_LOCAL(c, T, n)   MTI_GET_mti_LOCAL(c, T, n)
#define MTI_SEE_mti_NOTHING(c, none)
#define MTI_SEE_mti_BAD(c, text)
#define MTI_SEE_mti_MANY(c, none)

#define MTI_SIZE_mti_VAL(c, T, n)
#define MTI_SIZE_mti_IN(c, T, n)
#define MTI_SIZE_mti_INOUT(c, T, n)
#define MTI_SIZE_mti_OUT(c, T, n, k)                                                               \
    if (__builtin_mul_overflow((size_t)(k), sizeof(T), mti_size++)) return MANTA_ERR_OUT_OF_RANGE;
#define MTI_SIZE_mti_OUTN(c, T, n) *mti_size++ = 0;
#define MTI_SIZE_mti_LIST(c, T, n)
#define MTI_SIZE_mti_LOCAL(c, T, n)
#define MTI_SIZE_mti_NOTHING(c, none)
#define MTI_SIZE_mti_BAD(c, text)
#define MTI_SIZE_mti_MANY(c, none)

// -- is there an OUT with a count?
#define MTI_SIZED_mti_VAL(c, T, n)
#define MTI_SIZED_mti_IN(c, T, n)
#define MTI_SIZED_mti_INOUT(c, T, n)
#define MTI_SIZED_mti_OUT(c, T, n, k) , ~
#define MTI_SIZED_mti_OUTN(c, T, n)
#define MTI_SIZED_mti_LIST(c, T, n)
#define MTI_SIZED_mti_LOCAL(c, T, n)
#define MTI_SIZED_mti_NOTHING(c, none)
#define MTI_SIZED_mti_BAD(c, text)
#define MTI_SIZED_mti_MANY(c, none)

// -- rows of the parameter table; positional, as designators are pedantic in C++17
#define MTI_ROW(c, T, n, kind, dtype, offset)                                                      \
    {#n,                                                                                           \
     #T,                                                                                           \
     kind,                                                                                         \
     dtype,                                                                                        \
     (uint32_t)sizeof(MTI_T(c, T, n)),                                                             \
     (uint32_t)MTI_ALIGNOF(MTI_T(c, T, n)),                                                        \
     (uint32_t)(offset)},
#define MTI_ROW_AT(c, T, n, kind)                                                                  \
    MTI_ROW(c, T, n, kind, MTI_DTYPE(MTI_T(c, T, n)), offsetof(c##_args_t, n))
#define MTI_ROW_mti_VAL(c, T, n)      MTI_ROW_AT(c, T, n, MANTA_PARAM_VAL)
#define MTI_ROW_mti_IN(c, T, n)       MTI_ROW_AT(c, T, n, MANTA_PARAM_IN)
#define MTI_ROW_mti_INOUT(c, T, n)    MTI_ROW_AT(c, T, n, MANTA_PARAM_INOUT)
#define MTI_ROW_mti_OUT(c, T, n, k)   MTI_ROW_mti_OUTN(c, T, n)
#define MTI_ROW_mti_OUTN(c, T, n)     MTI_ROW(c, T, n, MANTA_PARAM_OUT, MTI_DTYPE(MTI_T(c, T, n)), 0)
#define MTI_ROW_mti_LIST(c, T, n)     MTI_ROW_AT(c, T, n, MANTA_PARAM_IN_LIST)
#define MTI_ROW_mti_LOCAL(c, T, n)                                                                 \
    MTI_ROW(c, T, n, MANTA_PARAM_LOCAL, 0, offsetof(c##_args_t, n))
#define MTI_ROW_mti_NOTHING(c, none)
#define MTI_ROW_mti_BAD(c, text)
#define MTI_ROW_mti_MANY(c, none)

// -- a body of kind |v|: cpu, cuda. Every body brings x_task, also when there are two in a file or in
// different languages: as a weak definition without a value in C, which may be repeated, and as a
// common symbol in C++, where such a thing can only be said to the assembler. The constructor fills it
// in, early: other constructors may submit. The variant is strong, so that two bodies of a kind clash.
#define MTI_BODY(x, v, E, ...)                                                                     \
    MTI_BODY_A(x, v, (MANTA_UNUSED manta_task_t * task E(MTI_BODYP_, x, __VA_ARGS__)),             \
               MTI_MANY(~E(MTI_SIZED_, x, __VA_ARGS__)), (E(MTI_SEE_, x, __VA_ARGS__)),            \
               (E(MTI_SIZE_, x, __VA_ARGS__)), (E(MTI_GET_, x, __VA_ARGS__)),                      \
               (mti_call->task E(MTI_NAME_, x, __VA_ARGS__)), (E(MTI_ROW_, x, __VA_ARGS__)), ())
// |reg|: what registering a method does besides.
#define MTI_BODY_A(x, v, params, sized, see, size, get, names, rows, reg)                          \
    MTI_BODY_B(x, v, params, sized, see, size, get, names, rows, reg)
#define MTI_BODY_B(x, v, params, sized, see, size, get, names, rows, reg)                          \
    static manta_status_t x##_##v##_body params;                                                   \
    static manta_status_t x##_##v##_invoke(const manta_call_t *mti_call)                           \
    {                                                                                              \
        MTI_UNPACK(x)                                                                              \
        MTI_TRY                                                                                    \
        MTI_STRIP get MTI_UNPACKED return x##_##v##_body names;                                    \
        MTI_CATCH(mti_call->task)                                                                  \
    }                                                                                              \
    MTI_SIZES_FN_##sized(x, v, see, size)                                                          \
    static const manta_param_t mti_##x##_##v##_params[] = {                                        \
        MTI_STRIP rows{NULL, NULL, (manta_param_kind_t)0, 0, 0, 0, 0}};                            \
    MTI_C_BEGIN                                                                                    \
    extern const manta_variant_t x##_##v##_variant;                                                \
    const manta_variant_t x##_##v##_variant = {x##_##v##_invoke, MTI_SIZES_##sized(x, v)};         \
    MTI_C_END                                                                                      \
    MTI_TASK_DEF(x)                                                                                \
    __attribute__((constructor(101))) static void mti_##x##_##v##_register(void)                   \
    {                                                                                              \
        mti_task_join(&x##_task, #x, mti_##x##_##v##_params,                                       \
                      sizeof mti_##x##_##v##_params / sizeof *mti_##x##_##v##_params - 1,          \
                      mti_##x##_args_bytes);                                                       \
        x##_task.v = &x##_##v##_variant;                                                           \
        MTI_STRIP reg                                                                              \
    }                                                                                              \
    static manta_status_t x##_##v##_body params

// (The device's side of a .cu file has no common symbols, nor needs any.)
#if !defined(__cplusplus)
#define MTI_TASK_DEF(x) __attribute__((weak)) manta_task_def_t x##_task;
#elif defined(__CUDA_ARCH__)
#define MTI_TASK_DEF(x)
#else
#define MTI_TASK_DEF(x)                                                                            \
    static_assert(sizeof(manta_task_def_t) == MTI_TASK_DEF_BYTES, "manta: x_task has this size");  \
    __asm__(".comm " #x "_task, " MTI_TASK_DEF_TEXT ", 8");
#endif

#define MTI_UNPACK(x)                                                                              \
    MANTA_UNUSED const x##_args_t *mti_args = (const x##_args_t *)mti_call->args;                  \
    MANTA_UNUSED const manta_buffer_t *mti_buffer = mti_call->buffers;                             \
    MANTA_UNUSED uint32_t mti_index = 0;
// nvcc reports variables that are only counted up.
#define MTI_UNPACKED (void)mti_buffer, (void)mti_index;

#define MTI_SIZES_0(x, v) NULL
#define MTI_SIZES_1(x, v) x##_##v##_sizes
#define MTI_SIZES_FN_0(x, v, see, size)
#define MTI_SIZES_FN_1(x, v, see, size)                                                            \
    static manta_status_t x##_##v##_sizes(const manta_call_t *mti_call, size_t *mti_size)          \
    {                                                                                              \
        MTI_UNPACK(x)                                                                              \
        MTI_TRY                                                                                    \
        MTI_STRIP see MTI_UNPACKED MTI_STRIP size return MANTA_OK;                                 \
        MTI_CATCH(mti_call->task)                                                                  \
    }

#if defined(__cplusplus) && defined(__cpp_exceptions)
#define MTI_TRY try {
#define MTI_CATCH(t)                                                                               \
    }                                                                                              \
    catch (...) { return ::manta::detail::caught(t); }
#else
#define MTI_TRY
#define MTI_CATCH(t)
#endif

// -- options and scopes
#ifdef __cplusplus
#define MTI_OPTIONS(S, ...) MTI_OPTIONS_A(S, MTI_COUNT_16(__VA_ARGS__), __VA_ARGS__)
#define MTI_OPTIONS_A(S, n, ...) MTI_OPTIONS_B(S, n, __VA_ARGS__)
#define MTI_OPTIONS_B(S, n, ...)                                                                   \
    ([&]() -> S {                                                                                  \
        S mti_o = S();                                                                             \
        mti_o.struct_size = sizeof(S);                                                             \
        MTI_SET_##n(mti_o, __VA_ARGS__) return mti_o;                                              \
    }())
#define MTI_SCOPE_A(n) MTI_SCOPE_B(n)
#define MTI_SCOPE_B(n) MANTA_UNUSED ::manta::scope mti_scope_##n
#else
#define MTI_OPTIONS(S, ...) ((S){.struct_size = sizeof(S), __VA_ARGS__})
#define MTI_SCOPE_A(n)      MTI_SCOPE_B(n)
#define MTI_SCOPE_B(n)                                                                             \
    manta_scope_t mti_scope_##n __attribute__((cleanup(manta_scope_leave), unused)) =              \
        mti_scope_begin()
#endif

// clang-format on

#endif
