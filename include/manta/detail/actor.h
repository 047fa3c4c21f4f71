// What users write for actors. Parameters and everything about them are as in macros.h.
//
//     struct account { long balance; };
//
//     MANTA_ACTOR(account, struct account, MANTA_VAL(long, opening))     // state; the constructor
//     {
//         self->balance = opening;
//         return MANTA_OK;
//     }
//     MANTA_ACTOR_END(account) { puts("closed"); }                       // optional: the destructor
//
//     MANTA_METHOD(account, deposit, MANTA_VAL(long, amount), MANTA_OUT(long, balance, 1))
//     {
//         balance.data[0] = self->balance += amount;
//         return MANTA_OK;
//     }
//
//     account_t a = account_create(MANTA_ACTOR_OPTIONS(.name = "mine"), 100);
//     manta_ref_t r = account_deposit(a, 5);         // 105, some time
//
// In a constructor, destructor or method |self| points to the state, which is zeroed before the
// constructor. Constructors have no INOUT and OUT parameters. The state is any type; it must not be called
// <actor>_t, that is the handle. A method's OUT counts can't use |self|: they are asked for before.
//
// A method returns MANTA_OK, what manta_fail() returns, or a code, which fails that call; or
// MANTA_ACTOR_FATAL (manta_fail(task, MANTA_ACTOR_FATAL, "why")), which fails the actor.
//
// Made for an actor |x|, with its constructor's parameters for "...":
//
//     x_t                       a handle: manta_actor_t as its member |actor|, see actor.h for what can be
//                               done with that
//     x_t x_new(...)            makes one. Failures come back as error handles
//     x_t x_create(options, ...)    the same with MANTA_ACTOR_OPTIONS(...)
//     x_t x_find(name, name_space)  a handle to the one that has the name
//     x_t x_self(task)          inside a method: the actor itself
//     manta_status_t x_destroy(x)   gives the handle back; the last one ends the actor
//     x_actor                   the definition
//
// and for its method |m|, named x_m, with the method's parameters:
//
//     x_m_out_t x_m(x, ...), x_m_with(x, options, ...)          calls it; as x_remote and x_with of a task
//     manta_status_t x_m_go(x, ...), x_m_go_with(x, options, ...)
//     manta_status_t x_m_result(ref, T *out)
//     x_m_args_t, x_m_task
//
// Across files: x_PARAMS and MANTA_ACTOR_DECLARE(x, state) in the header, MANTA_ACTOR(x, state) { ... } in
// one source file; x_m_PARAMS and MANTA_METHOD_DECLARE(x, m) in the header, MANTA_METHOD(x, m) { ... } in any.
//
// MANTA_METHOD_GROUP(x, m, "name"); puts a method into a concurrency group (actor.h).
//
// MANTA_METHOD_CUDA(x, m, parameters...) { ... } gives a method a CUDA body (kernel.h says what such a body may
// do), which an actor on a device runs there; MANTA_ACTOR_CUDA(x, parameters...) the same for the constructor.
// The parameters are those of the CPU body; they may be left out if x_m_PARAMS, or x_PARAMS, is defined. Behind
// MANTA_METHOD or MANTA_METHOD_DECLARE, in the same file or another; a method may have a CUDA body alone.
#ifndef MANTA_DETAIL_ACTOR_H
#define MANTA_DETAIL_ACTOR_H

#include <manta/actor.h>
#include <manta/macros.h>

#ifndef MANTA_NO_SYSTEM_HEADER
#pragma GCC system_header
#endif

// (x, state, parameters...) declares and defines; (x, state) defines what MANTA_ACTOR_DECLARE(x, state)
// declared, or an actor whose constructor has no parameters. The constructor's body follows.
#define MANTA_ACTOR(x, ...)        MTI_ACTOR_A(MTI_MANY(__VA_ARGS__), x, __VA_ARGS__)
#define MANTA_ACTOR_DECLARE(x, S)  MTI_ACTOR_DECLARE_A(x, S, x##_PARAMS)
// The destructor's body follows; it returns nothing.
#define MANTA_ACTOR_END(x)         MTI_ACTOR_END_A(x)
// (x, m, parameters...), or (x, m) for what MANTA_METHOD_DECLARE(x, m) declared. The body follows.
#define MANTA_METHOD(x, ...)       MTI_METHOD_A(MTI_MANY(__VA_ARGS__), x, __VA_ARGS__)
#define MANTA_METHOD_DECLARE(x, m) MTI_METHOD_DECLARE_A(x, m, x##_##m##_PARAMS)
// A device body of a method, and of the constructor.
#define MANTA_METHOD_CUDA(x, ...)  MTI_METHOD_CUDA_A(MTI_MANY(__VA_ARGS__), x, __VA_ARGS__)
#define MANTA_ACTOR_CUDA(...)      MTI_ACTOR_CUDA_A(MTI_MANY(__VA_ARGS__), __VA_ARGS__)
#define MANTA_METHOD_GROUP(x, m, group_name)                                                       \
    __attribute__((constructor(101))) static void mti_##x##_##m##_set_group(void)                  \
    {                                                                                              \
        x##_##m##_task.group = (group_name);                                                       \
    }                                                                                              \
    struct mti_##x##_##m##_group_needs_semicolon

// Options for x_create(): fields of manta_actor_options_t, in any order.
#define MANTA_ACTOR_OPTIONS(...) MTI_OPTIONS(manta_actor_options_t, __VA_ARGS__)

// =============================================================================================
// From here on private.
// clang-format off

#define MTI_ACTOR_A(many, ...)      MTI_ACTOR_B(many, __VA_ARGS__)
#define MTI_ACTOR_B(many, ...)      MTI_ACTOR_##many(__VA_ARGS__)
#define MTI_ACTOR_1(x, S, ...)                                                                     \
    MTI_ACTOR_TYPES(x, S) MTI_WITH_LIST(MTI_ACTOR_BOTH, x, __VA_ARGS__)
#define MTI_ACTOR_0(x, S)           MTI_ACTOR_C(x, S, x##_PARAMS)
#define MTI_ACTOR_C(x, S, ...)      MTI_ACTOR_D(MTI_IS_LIST(__VA_ARGS__), x, S, __VA_ARGS__)
#define MTI_ACTOR_D(list, ...)      MTI_ACTOR_E(list, __VA_ARGS__)
#define MTI_ACTOR_E(list, ...)      MTI_ACTOR_L##list(__VA_ARGS__)
#define MTI_ACTOR_L0(x, S, token)                                                                  \
    MTI_ACTOR_TYPES(x, S) MTI_WITH_LIST(MTI_ACTOR_BOTH, x, MANTA_NOTHING)
#define MTI_ACTOR_L1(x, S, ...)     MTI_WITH_LIST(MTI_ACTOR_BODY, x, __VA_ARGS__)

#define MTI_ACTOR_DECLARE_A(x, S, ...)                                                             \
    MTI_ACTOR_DECLARE_B(MTI_IS_LIST(__VA_ARGS__), x, S, __VA_ARGS__)
#define MTI_ACTOR_DECLARE_B(list, ...) MTI_ACTOR_DECLARE_C(list, __VA_ARGS__)
#define MTI_ACTOR_DECLARE_C(list, ...) MTI_ACTOR_DECLARE_L##list(__VA_ARGS__)
#define MTI_ACTOR_DECLARE_L0(x, S, ...)                                                            \
    MTI_ASSERT_NEVER("manta: before MANTA_ACTOR_DECLARE(" #x ", ...) write #define " #x            \
                     "_PARAMS MANTA_VAL(...), MANTA_IN(...), ... (or MANTA_NOTHING)")
#define MTI_ACTOR_DECLARE_L1(x, S, ...)                                                            \
    MTI_ACTOR_TYPES(x, S)                                                                          \
    MTI_WITH_LIST(MTI_ACTOR_CALLS, x, __VA_ARGS__)                                                 \
    struct mti_##x##_needs_semicolon

#define MTI_ACTOR_BOTH(x, E, ...)                                                                  \
    MTI_ACTOR_CALLS(x, E, __VA_ARGS__) MTI_ACTOR_BODY(x, E, __VA_ARGS__)

// What methods and calls need to know.
#define MTI_ACTOR_TYPES(x, S)                                                                      \
    typedef S mti_##x##_state_t;                                                                   \
    typedef struct mti_##x##_handle {                                                              \
        manta_actor_t actor;                                                                       \
    } x##_t;                                                                                       \
    MTI_C_BEGIN                                                                                    \
    extern manta_actor_def_t x##_actor;                                                            \
    extern manta_task_def_t x##_task;                                                              \
    MTI_C_END

// Constructors have no results.
#define MTI_NORES_mti_VAL(c, T, n)
#define MTI_NORES_mti_IN(c, T, n)
#define MTI_NORES_mti_INOUT(c, T, n)  MTI_ASSERT_NEVER(MTI_NO_RESULT(c, n));
#define MTI_NORES_mti_OUT(c, T, n, k) MTI_ASSERT_NEVER(MTI_NO_RESULT(c, n));
#define MTI_NORES_mti_OUTN(c, T, n)   MTI_ASSERT_NEVER(MTI_NO_RESULT(c, n));
#define MTI_NORES_mti_LIST(c, T, n)
#define MTI_NORES_mti_LOCAL(c, T, n)
#define MTI_NORES_mti_NOTHING(c, none)
#define MTI_NORES_mti_BAD(c, text)
#define MTI_NORES_mti_MANY(c, none)
#define MTI_NO_RESULT(c, n)                                                                        \
    "manta: parameter " #n " of the constructor of actor " #c                                      \
    " is a result; constructors have none"

#define MTI_ACTOR_CALLS(x, E, ...)                                                                 \
    E(MTI_TYPE_, x, __VA_ARGS__)                                                                   \
    E(MTI_NORES_, x, __VA_ARGS__)                                                                  \
    MTI_ACTOR_CALLS_A(x, (~E(MTI_PROTO_, x, __VA_ARGS__)), (E(MTI_ARGS_, x, __VA_ARGS__)),         \
                      (E(MTI_INIT_, x, __VA_ARGS__)))
#define MTI_ACTOR_CALLS_A(x, proto, args, init)                                                    \
    MTI_ACTOR_CALLS_B(x, MTI_MANY proto, proto, args, init)
#define MTI_ACTOR_CALLS_B(x, has, proto, args, init) MTI_ACTOR_CALLS_C(x, has, proto, args, init)
#define MTI_ACTOR_CALLS_C(x, has, proto, args, init)                                               \
    typedef struct x##_args {                                                                      \
        MTI_ARGS_##has args                                                                        \
    } x##_args_t;                                                                                  \
    enum { mti_##x##_args_bytes = MTI_ARGS_BYTES_##has(x) };                                       \
    MTI_INLINE MANTA_NODISCARD x##_t x##_new(MTI_ONLY_##has(proto))                                \
    {                                                                                              \
        MTI_IMAGE_##has(x, init)                                                                   \
        const x##_t mti_made = {manta_actor_create(&x##_actor, NULL, MTI_IMAGE_OF_##has)};         \
        return mti_made;                                                                           \
    }                                                                                              \
    MTI_INLINE MANTA_NODISCARD x##_t x##_create(                                                   \
        MTI_AFTER_##has((manta_actor_options_t mti_options), proto))                               \
    {                                                                                              \
        MTI_IMAGE_##has(x, init)                                                                   \
        const x##_t mti_made = {manta_actor_create(&x##_actor, &mti_options, MTI_IMAGE_OF_##has)}; \
        return mti_made;                                                                           \
    }                                                                                              \
    MTI_INLINE MANTA_NODISCARD x##_t x##_find(const char *name, const char *name_space)            \
    {                                                                                              \
        const manta_runtime_t mti_current = {0};                                                   \
        const x##_t mti_found = {manta_actor_find(&x##_actor, name, name_space, mti_current)};     \
        return mti_found;                                                                          \
    }                                                                                              \
    MTI_INLINE x##_t x##_self(const manta_task_t *task)                                            \
    {                                                                                              \
        const x##_t mti_self = {manta_actor_self(task)};                                           \
        return mti_self;                                                                           \
    }                                                                                              \
    MTI_INLINE manta_status_t x##_destroy(x##_t mti_actor)                                         \
    {                                                                                              \
        return manta_actor_release(mti_actor.actor);                                               \
    }

// The definition, and the constructor's body.
#define MTI_ACTOR_BODY(x, E, ...)                                                                  \
    MTI_C_BEGIN                                                                                    \
    manta_actor_def_t x##_actor = {#x, sizeof(mti_##x##_state_t), MTI_ALIGNOF(mti_##x##_state_t),  \
                                   &x##_task, NULL};                                               \
    MTI_C_END                                                                                      \
    MTI_SELF_BODY(x, cpu, mti_##x##_state_t, &x##_actor, E, __VA_ARGS__)

#define MTI_ACTOR_END_A(x)                                                                         \
    static void x##_end_body(mti_##x##_state_t *self);                                             \
    static void x##_end_invoke(void *mti_self)                                                     \
    {                                                                                              \
        MTI_TRY                                                                                    \
        x##_end_body((mti_##x##_state_t *)mti_self);                                               \
        MTI_CATCH_END                                                                              \
    }                                                                                              \
    __attribute__((constructor(101))) static void mti_##x##_end_register(void)                     \
    {                                                                                              \
        x##_actor.destroy = x##_end_invoke;                                                        \
    }                                                                                              \
    static void x##_end_body(MANTA_UNUSED mti_##x##_state_t *self)
#if defined(__cplusplus) && defined(__cpp_exceptions)
#define MTI_CATCH_END } catch (...) {}
#else
#define MTI_CATCH_END
#endif

// A body with |self|. |S|: type of the state, |kind|: address of the actor's definition.
#define MTI_SELF_BODY(x, v, S, kind, E, ...)                                                       \
    MTI_BODY_A(x, v,                                                                               \
               (MANTA_UNUSED manta_task_t * task,                                                  \
                MANTA_UNUSED S * self E(MTI_BODYP_, x, __VA_ARGS__)),                              \
               MTI_MANY(~E(MTI_SIZED_, x, __VA_ARGS__)), (E(MTI_SEE_, x, __VA_ARGS__)),            \
               (E(MTI_SIZE_, x, __VA_ARGS__)), (E(MTI_GET_, x, __VA_ARGS__)),                      \
               (mti_call->task, (S *)mti_call->self E(MTI_NAME_, x, __VA_ARGS__)),                 \
               (E(MTI_ROW_, x, __VA_ARGS__)), (x##_task.owner = (kind);))

// -- methods. The list machinery knows one name, c = x_m; what else there is to know stands in types and a
// function of that name.
#define MTI_METHOD_A(many, ...)     MTI_METHOD_B(many, __VA_ARGS__)
#define MTI_METHOD_B(many, ...)     MTI_METHOD_##many(__VA_ARGS__)
#define MTI_METHOD_1(x, m, ...)                                                                    \
    MTI_METHOD_TYPES(x, x##_##m) MTI_WITH_LIST(MTI_METHOD_BOTH, x##_##m, __VA_ARGS__)
#define MTI_METHOD_0(x, m)          MTI_METHOD_C(x, m, x##_##m##_PARAMS)
#define MTI_METHOD_C(x, m, ...)     MTI_METHOD_D(MTI_IS_LIST(__VA_ARGS__), x, m, __VA_ARGS__)
#define MTI_METHOD_D(list, ...)     MTI_METHOD_E(list, __VA_ARGS__)
#define MTI_METHOD_E(list, ...)     MTI_METHOD_L##list(__VA_ARGS__)
#define MTI_METHOD_L0(x, m, token)                                                                 \
    MTI_METHOD_TYPES(x, x##_##m) MTI_WITH_LIST(MTI_METHOD_BOTH, x##_##m, MANTA_NOTHING)
#define MTI_METHOD_L1(x, m, ...)    MTI_WITH_LIST(MTI_METHOD_BODY, x##_##m, __VA_ARGS__)

#define MTI_METHOD_DECLARE_A(x, m, ...)                                                            \
    MTI_METHOD_DECLARE_B(MTI_IS_LIST(__VA_ARGS__), x, m, __VA_ARGS__)
#define MTI_METHOD_DECLARE_B(list, ...) MTI_METHOD_DECLARE_C(list, __VA_ARGS__)
#define MTI_METHOD_DECLARE_C(list, ...) MTI_METHOD_DECLARE_L##list(__VA_ARGS__)
#define MTI_METHOD_DECLARE_L0(x, m, ...)                                                           \
    MTI_ASSERT_NEVER("manta: before MANTA_METHOD_DECLARE(" #x ", " #m ") write #define " #x "_" #m \
                     "_PARAMS MANTA_VAL(...), MANTA_IN(...), ... (or MANTA_NOTHING)")
#define MTI_METHOD_DECLARE_L1(x, m, ...)                                                           \
    MTI_METHOD_TYPES(x, x##_##m)                                                                   \
    MTI_WITH_LIST(MTI_METHOD_CALLS, x##_##m, __VA_ARGS__)                                          \
    struct mti_##x##_##m##_needs_semicolon

#define MTI_METHOD_BOTH(c, E, ...)                                                                 \
    MTI_METHOD_CALLS(c, E, __VA_ARGS__) MTI_METHOD_BODY(c, E, __VA_ARGS__)

#define MTI_METHOD_TYPES(x, c)      MTI_METHOD_TYPES_A(x, c)
#define MTI_METHOD_TYPES_A(x, c)                                                                   \
    typedef x##_t mti_##c##_handle_t;                                                              \
    typedef mti_##x##_state_t mti_##c##_state_t;                                                   \
    MTI_INLINE const manta_actor_def_t *mti_##c##_owner(void)                                      \
    {                                                                                              \
        return &x##_actor;                                                                         \
    }

#define MTI_METHOD_BODY(c, E, ...)                                                                 \
    MTI_SELF_BODY(c, cpu, mti_##c##_state_t, mti_##c##_owner(), E, __VA_ARGS__)

#define MTI_METHOD_CALLS(c, E, ...)                                                                \
    E(MTI_TYPE_, c, __VA_ARGS__)                                                                   \
    MTI_METHOD_CALLS_A(c, (~E(MTI_PROTO_, c, __VA_ARGS__)), (~E(MTI_RTYPE_, c, __VA_ARGS__)),      \
                       (E(MTI_ARGS_, c, __VA_ARGS__)), (E(MTI_INIT_, c, __VA_ARGS__)),             \
                       (E(MTI_RES_, c, __VA_ARGS__)))
#define MTI_METHOD_CALLS_A(c, proto, rtype, args, init, res)                                       \
    MTI_METHOD_CALLS_B(c, MTI_MANY proto, MTI_CLASS rtype, proto, rtype, args, init, res)
#define MTI_METHOD_CALLS_B(c, has, class, proto, rtype, args, init, res)                           \
    MTI_METHOD_CALLS_C(c, has, class, proto, rtype, args, init, res)
#define MTI_METHOD_TO(c)            (mti_##c##_handle_t mti_to)
#define MTI_METHOD_TO_WITH(c)       (mti_##c##_handle_t mti_to, manta_task_options_t mti_options)
#define MTI_METHOD_CALLS_C(c, has, class, proto, rtype, args, init, res)                           \
    MTI_C_BEGIN                                                                                    \
    extern manta_task_def_t c##_task;                                                              \
    MTI_C_END                                                                                      \
    typedef struct c##_args {                                                                      \
        MTI_ARGS_##has args                                                                        \
    } c##_args_t;                                                                                  \
    enum { mti_##c##_args_bytes = MTI_ARGS_BYTES_##has(c) };                                       \
    MTI_OUT_TYPE_##class(c, rtype, res)                                                            \
    MTI_HOT MANTA_NODISCARD c##_out_t c(MTI_AFTER_##has(MTI_METHOD_TO(c), proto))                  \
    {                                                                                              \
        MTI_IMAGE_##has(c, init) c##_out_t mti_out;                                                \
        manta_actor_call(mti_to.actor, &c##_task, NULL, MTI_IMAGE_OF_##has,                        \
                         (manta_ref_t *)&mti_out, sizeof mti_out / sizeof(manta_ref_t));           \
        return mti_out;                                                                            \
    }                                                                                              \
    MTI_HOT MANTA_NODISCARD c##_out_t c##_with(MTI_AFTER_##has(MTI_METHOD_TO_WITH(c), proto))      \
    {                                                                                              \
        MTI_IMAGE_##has(c, init) c##_out_t mti_out;                                                \
        manta_actor_call(mti_to.actor, &c##_task, &mti_options, MTI_IMAGE_OF_##has,                \
                         (manta_ref_t *)&mti_out, sizeof mti_out / sizeof(manta_ref_t));           \
        return mti_out;                                                                            \
    }                                                                                              \
    MTI_INLINE manta_status_t c##_go(MTI_AFTER_##has(MTI_METHOD_TO(c), proto))                     \
    {                                                                                              \
        MTI_IMAGE_##has(c, init)                                                                   \
        return manta_actor_send(mti_to.actor, &c##_task, NULL, MTI_IMAGE_OF_##has);                \
    }                                                                                              \
    MTI_INLINE manta_status_t c##_go_with(MTI_AFTER_##has(MTI_METHOD_TO_WITH(c), proto))           \
    {                                                                                              \
        MTI_IMAGE_##has(c, init)                                                                   \
        return manta_actor_send(mti_to.actor, &c##_task, &mti_options, MTI_IMAGE_OF_##has);        \
    }                                                                                              \
    MTI_RESULT_##class(c, rtype)

// -- device bodies
#define MTI_METHOD_CUDA_A(many, ...)  MTI_METHOD_CUDA_B(many, __VA_ARGS__)
#define MTI_METHOD_CUDA_B(many, ...)  MTI_METHOD_CUDA_##many(__VA_ARGS__)
#define MTI_METHOD_CUDA_1(x, m, ...)  MTI_WITH_LIST(MTI_METHOD_CUDA_BODY, x##_##m, __VA_ARGS__)
#define MTI_METHOD_CUDA_0(x, m)       MTI_METHOD_CUDA_C(x, m, x##_##m##_PARAMS)
#define MTI_METHOD_CUDA_C(x, m, ...)  MTI_METHOD_CUDA_D(MTI_IS_LIST(__VA_ARGS__), x, m, __VA_ARGS__)
#define MTI_METHOD_CUDA_D(list, ...)  MTI_METHOD_CUDA_E(list, __VA_ARGS__)
#define MTI_METHOD_CUDA_E(list, ...)  MTI_METHOD_CUDA_L##list(__VA_ARGS__)
#define MTI_METHOD_CUDA_L0(x, m, token)                                                            \
    MTI_ASSERT_NEVER("manta: MANTA_METHOD_CUDA(" #x ", " #m ") sees no parameters: before it write "\
                     "#define " #x "_" #m "_PARAMS MANTA_VAL(...), MANTA_IN(...), ... (or "         \
                     "MANTA_NOTHING), or repeat them");                                            \
    MANTA_UNUSED static manta_status_t mti_##x##_##m##_cuda_orphan(MANTA_UNUSED manta_task_t *task)
#define MTI_METHOD_CUDA_L1(x, m, ...) MTI_WITH_LIST(MTI_METHOD_CUDA_BODY, x##_##m, __VA_ARGS__)
#define MTI_METHOD_CUDA_BODY(c, E, ...)                                                            \
    MTI_SELF_BODY(c, cuda, mti_##c##_state_t, mti_##c##_owner(), E, __VA_ARGS__)

#define MTI_ACTOR_CUDA_A(many, ...)   MTI_ACTOR_CUDA_B(many, __VA_ARGS__)
#define MTI_ACTOR_CUDA_B(many, ...)   MTI_ACTOR_CUDA_##many(__VA_ARGS__)
#define MTI_ACTOR_CUDA_1(x, ...)      MTI_WITH_LIST(MTI_ACTOR_CUDA_BODY, x, __VA_ARGS__)
#define MTI_ACTOR_CUDA_0(x)           MTI_ACTOR_CUDA_C(x, x##_PARAMS)
#define MTI_ACTOR_CUDA_C(x, ...)      MTI_ACTOR_CUDA_D(MTI_IS_LIST(__VA_ARGS__), x, __VA_ARGS__)
#define MTI_ACTOR_CUDA_D(list, ...)   MTI_ACTOR_CUDA_E(list, __VA_ARGS__)
#define MTI_ACTOR_CUDA_E(list, ...)   MTI_ACTOR_CUDA_L##list(__VA_ARGS__)
#define MTI_ACTOR_CUDA_L0(x, token)                                                                \
    MTI_ASSERT_NEVER("manta: MANTA_ACTOR_CUDA(" #x ") sees no parameters: before it write #define "\
                     #x "_PARAMS MANTA_VAL(...), MANTA_IN(...), ... (or MANTA_NOTHING), or repeat "\
                     "them");                                                                      \
    MANTA_UNUSED static manta_status_t mti_##x##_cuda_orphan(MANTA_UNUSED manta_task_t *task)
#define MTI_ACTOR_CUDA_L1(x, ...)     MTI_WITH_LIST(MTI_ACTOR_CUDA_BODY, x, __VA_ARGS__)
#define MTI_ACTOR_CUDA_BODY(x, E, ...)                                                             \
    MTI_SELF_BODY(x, cuda, mti_##x##_state_t, &x##_actor, E, __VA_ARGS__)

// clang-format on

#endif
