// What users write for generators: streams of values that a body makes, a step at a time (task.h). Parameters
// are as in macros.h.
//
//     struct counter { int made; };
//
//     MANTA_GENERATOR(count, struct counter, MANTA_VAL(int, from), MANTA_VAL(int, to), MANTA_OUT(int, n, 1))
//     {
//         if (from + self->made == to) return MANTA_ERR_END;
//         n.data[0] = from + self->made++;
//         return MANTA_OK;
//     }
//
//     count_t numbers = count_remote(3, 6);
//     int n;
//     while (count_next_value(numbers, &n) == MANTA_OK) printf("%d\n", n);       // 3 4 5
//     count_destroy(numbers);
//
// The body is one step. It makes the next value as its only MANTA_OUT, of any number of elements
// (manta_out_resize), and returns MANTA_OK; or MANTA_ERR_END if there are no more; or what manta_fail()
// returns, or a code, which fails this value and ends the stream. Steps never run at the same time. |self|
// is the state, which they share: zeroed, and in C++ made and destroyed as its type says. It is any type;
// it must not be called <generator>_t, that is the handle. Who has more to give back than C++ does by itself
// writes behind the generator, in the same file, with |self| in sight:
//
//     MANTA_GENERATOR_END(count) { free(self->rows); }
//
// The other parameters are what the caller starts it with, the same for each step: MANTA_VAL, MANTA_LOCAL,
// and MANTA_IN, a ref that the generator holds (of the current runtime). The first step is not started before
// it is there; if it fails, so does the first value. Keep the step's own counters in the state.
//
// Made for a generator |x|, with those parameters for "...":
//
//     x_t                       a handle: manta_generator_t as its member |generator|, see task.h; and |status|,
//                               MANTA_OK or why it could not be started (then the calls below return that)
//     x_out_t                   the ref of a value
//     x_t x_remote(...)         starts one
//     x_t x_with(options, ...)  the same with MANTA_GENERATOR_OPTIONS(...)
//     manta_status_t x_next(g, x_out_t *out, timeout_ns)
//                               waits for the next value and gives its ref; as manta_generator_next
//     manta_status_t x_next_value(g, T *out)
//                               waits for ever and copies it, if it is a single element. What the value
//                               failed with, or ERR_TYPE_MISMATCH for another size: it is taken then, too
//     manta_status_t x_cancel(g)    ends the stream
//     manta_status_t x_destroy(g)   does that, and gives the handle back
//     x_args_t                  what it was started with
//
// Across files: x_PARAMS and MANTA_GENERATOR_DECLARE(x) in the header, MANTA_GENERATOR(x, state) { ... } in one
// source file. Callers need not know the state.
#ifndef MANTA_DETAIL_GENERATOR_H
#define MANTA_DETAIL_GENERATOR_H

#include <manta/macros.h>

#ifdef __cplusplus
#include <new>
#endif

#ifndef MANTA_NO_SYSTEM_HEADER
#pragma GCC system_header
#endif

// (x, state, parameters...) declares and defines; (x, state) defines what MANTA_GENERATOR_DECLARE(x) declared. The
// body of a step follows.
#define MANTA_GENERATOR(x, ...)    MTI_GEN_A(MTI_MANY(__VA_ARGS__), x, __VA_ARGS__)
#define MANTA_GENERATOR_DECLARE(x) MTI_GEN_DECLARE_A(x, x##_PARAMS)
// Runs once, before the state goes: when the generator was released and no step runs, or could not be
// started. The body follows; it returns nothing.
#define MANTA_GENERATOR_END(x)     MTI_GEN_END_A(x)

// How a generator runs.
typedef struct manta_generator_options {
    size_t struct_size;
    uint32_t run_ahead;        // how many values are made before anybody takes them; 0: 1
    manta_task_options_t step; // of each step: MANTA_GENERATOR_OPTIONS(.step.max_retries = 2)
} manta_generator_options_t;

// Options for x_with(): fields of manta_generator_options_t, in any order.
#define MANTA_GENERATOR_OPTIONS(...) MTI_OPTIONS(manta_generator_options_t, __VA_ARGS__)

// =============================================================================================
// From here on private. The image of the arguments and the state are one block, the |state| of
// manta_generator_create(). Its refs are promises of the generator's own, forwarded to the caller's: so that
// giving them back touches no scope of a caller's who holds the same ref.

typedef struct mti_generator_kind {
    const char *name;
    manta_status_t (*step)(manta_task_t *task, void *box);
    void (*destroy)(void *box);
    const manta_param_t *params;
    size_t param_count;
    size_t args_bytes;
    manta_dtype_t dtype;
} mti_generator_kind_t;

// The refs in |args|, the image, become the generator's; on failure those that came that far.
MTI_INLINE manta_status_t mti_generator_hold(const mti_generator_kind_t *kind, void *args)
{
    manta_status_t status = MANTA_OK;
    for (size_t i = 0; i < kind->param_count; i++) {
        manta_ref_t ref, held = {0};
        char *at = (char *)args + kind->params[i].offset;
        if (kind->params[i].kind != MANTA_PARAM_IN) continue;
        memcpy(&ref, at, sizeof ref);
        if (status == MANTA_OK) {
            held = manta_keep(manta_promise_create(kind->params[i].dtype));
            status = manta_ref_status(held); // or why there is none
            if (status == MANTA_NOT_READY) status = manta_promise_forward(held, ref);
            if (status != MANTA_OK) {
                char text[256];
                strncpy(text, manta_error_message(), sizeof text - 1);
                text[sizeof text - 1] = '\0';
                (void)manta_release(held);
                held.id = 0;
                (void)manta_fail(NULL, status, "generator %s, argument %s: %s", kind->name,
                                 kind->params[i].name, text);
            }
        }
        memcpy(at, &held, sizeof held);
    }
    return status;
}

MTI_INLINE void mti_generator_drop(const mti_generator_kind_t *kind, const void *args)
{
    for (size_t i = 0; i < kind->param_count; i++) {
        manta_ref_t held;
        if (kind->params[i].kind != MANTA_PARAM_IN) continue;
        memcpy(&held, (const char *)args + kind->params[i].offset, sizeof held);
        (void)manta_release(held);
    }
}

MTI_INLINE manta_status_t mti_generator_start(const mti_generator_kind_t *kind, void *box,
                                              const manta_generator_options_t *options,
                                              manta_generator_t *out_generator)
{
    manta_status_t status;
    manta_generator_options_t known;
    manta_generator_desc_t desc;
    manta_ref_t inputs[64]; // of more the steps wait for the rest
    size_t i;
    memset(&known, 0, sizeof known);
    memset(&desc, 0, sizeof desc);
    if (options != NULL) {
        memcpy(&known, options,
               options->struct_size < sizeof known ? options->struct_size : sizeof known);
    }
    known.step.struct_size = sizeof known.step;
    desc.struct_size = sizeof desc;
    desc.name = kind->name;
    desc.step = kind->step;
    desc.state = box;
    desc.destroy = kind->destroy;
    desc.dtype = kind->dtype;
    desc.run_ahead = known.run_ahead;
    desc.options = &known.step;
    desc.inputs = inputs;
    status = mti_generator_hold(kind, box);
    for (i = 0; i < kind->param_count && desc.input_count < sizeof inputs / sizeof *inputs; i++) {
        if (kind->params[i].kind != MANTA_PARAM_IN) continue;
        memcpy(&inputs[desc.input_count++], (const char *)box + kind->params[i].offset,
               sizeof *inputs);
    }
    if (status == MANTA_OK) status = manta_generator_create(&desc, out_generator);
    if (status != MANTA_OK) kind->destroy(box);
    return status;
}

MTI_INLINE manta_status_t mti_generator_made(const char *name, const void *box)
{
    if (box != NULL) return MANTA_OK;
    return manta_fail(NULL, MANTA_ERR_OUT_OF_MEMORY, "generator %s: no memory for its state", name);
}

// Does a caller's image fit? With one parameter, the OUT, there is none, though the struct has a member to
// be one in the language.
MTI_INLINE manta_status_t mti_generator_same(const mti_generator_kind_t *kind, size_t args_bytes)
{
    if (args_bytes == (kind->param_count > 1 ? kind->args_bytes : 0)) return MANTA_OK;
    return manta_fail(NULL, MANTA_ERR_INVALID_ARGUMENT,
                      "generator %s: the caller was compiled with other parameters than the body",
                      kind->name);
}

// A step's view of an argument, until its scope ends.
MTI_INLINE manta_status_t mti_generator_view(manta_task_t *task, manta_ref_t held, const char *name,
                                             size_t elem_bytes, manta_view_t *out_view)
{
    manta_status_t status = manta_get(held, out_view, MANTA_FOREVER);
    if (status != MANTA_OK)
        return manta_fail(task, status, "argument %s: %s", name, manta_error_message());
    if (out_view->size_bytes % elem_bytes == 0) return MANTA_OK;
    return manta_fail(task, MANTA_ERR_TYPE_MISMATCH,
                      "argument %s has %zu bytes, its elements have %zu", name,
                      out_view->size_bytes, elem_bytes);
}

MTI_INLINE manta_status_t mti_generator_room(manta_task_t *task, const char *name, size_t count,
                                             size_t elem_bytes, manta_buffer_t *out_room)
{
    size_t size_bytes;
    if (__builtin_mul_overflow(count, elem_bytes, &size_bytes)) {
        return manta_fail(task, MANTA_ERR_OUT_OF_RANGE, "value %s: %zu elements of %zu bytes", name,
                          count, elem_bytes);
    }
    return manta_out_resize_bytes(task, 0, size_bytes, out_room);
}

// clang-format off

#define MTI_GEN_A(many, ...)          MTI_GEN_B(many, __VA_ARGS__)
#define MTI_GEN_B(many, ...)          MTI_GEN_##many(__VA_ARGS__)
#define MTI_GEN_1(x, S, ...)                                                                       \
    typedef S mti_##x##_state_t;                                                                   \
    MTI_WITH_LIST(MTI_GEN_BOTH, x, __VA_ARGS__)
#define MTI_GEN_0(x, S)               MTI_GEN_C(x, S, x##_PARAMS)
#define MTI_GEN_C(x, S, ...)          MTI_GEN_D(MTI_IS_LIST(__VA_ARGS__), x, S, __VA_ARGS__)
#define MTI_GEN_D(list, ...)          MTI_GEN_E(list, __VA_ARGS__)
#define MTI_GEN_E(list, ...)          MTI_GEN_L##list(__VA_ARGS__)
#define MTI_GEN_L0(x, S, token)                                                                    \
    MTI_ASSERT_NEVER("manta: MANTA_GENERATOR(" #x ", ...) sees no parameters: it needs a "         \
                     "MANTA_OUT for its values, behind the state or in a #define " #x "_PARAMS");  \
    MANTA_UNUSED static manta_status_t mti_##x##_orphan(MANTA_UNUSED manta_task_t *task,           \
                                                        MANTA_UNUSED S *self)
#define MTI_GEN_L1(x, S, ...)                                                                      \
    MTI_GEN_CHECK_DECLARED(x)                                                                      \
    typedef S mti_##x##_state_t;                                                                   \
    MTI_WITH_LIST(MTI_GEN_BODY, x, __VA_ARGS__)

#define MTI_GEN_DECLARE_A(x, ...)     MTI_GEN_DECLARE_B(MTI_IS_LIST(__VA_ARGS__), x, __VA_ARGS__)
#define MTI_GEN_DECLARE_B(list, ...)  MTI_GEN_DECLARE_C(list, __VA_ARGS__)
#define MTI_GEN_DECLARE_C(list, ...)  MTI_GEN_DECLARE_L##list(__VA_ARGS__)
#define MTI_GEN_DECLARE_L0(x, ...)                                                                 \
    MTI_ASSERT_NEVER("manta: before MANTA_GENERATOR_DECLARE(" #x ") write #define " #x             \
                     "_PARAMS MANTA_VAL(...), ..., MANTA_OUT(...)")
#define MTI_GEN_DECLARE_L1(x, ...)                                                                 \
    MTI_WITH_LIST(MTI_GEN_CALLS, x, __VA_ARGS__)                                                   \
    struct mti_##x##_needs_semicolon

#define MTI_GEN_BOTH(x, E, ...)       MTI_GEN_CALLS(x, E, __VA_ARGS__) MTI_GEN_BODY(x, E, __VA_ARGS__)

#ifdef __cplusplus
#define MTI_GEN_DECLARED(x)       enum { MANTA_GENERATOR_DECLARE_##x##_is_missing_before_this = 1 };
#define MTI_GEN_CHECK_DECLARED(x)                                                                  \
    static_assert(MANTA_GENERATOR_DECLARE_##x##_is_missing_before_this == 1, "");
#else
#define MTI_GEN_DECLARED(x)       extern const char mti_##x##_declared[2];
#define MTI_GEN_CHECK_DECLARED(x)                                                                  \
    extern const char mti_##x##_declared[];                                                        \
    _Static_assert(_Generic(&mti_##x##_declared, const char (*)[1]: 0, default: 1),                \
                   "manta: before the body of generator " #x " write MANTA_GENERATOR_DECLARE(" #x  \
                   "); (" #x "_PARAMS alone declares nothing)");
#endif

// -- which kinds there may be
#define MTI_GEN_KIND_mti_VAL(c, T, n)
#define MTI_GEN_KIND_mti_IN(c, T, n)
#define MTI_GEN_KIND_mti_INOUT(c, T, n)  MTI_ASSERT_NEVER(MTI_GEN_NOT(c, n, "MANTA_INOUT"));
#define MTI_GEN_KIND_mti_OUT(c, T, n, k)
#define MTI_GEN_KIND_mti_OUTN(c, T, n)
#define MTI_GEN_KIND_mti_LIST(c, T, n)   MTI_ASSERT_NEVER(MTI_GEN_NOT(c, n, "MANTA_IN_LIST"));
#define MTI_GEN_KIND_mti_LOCAL(c, T, n)
#define MTI_GEN_KIND_mti_NOTHING(c, none)
#define MTI_GEN_KIND_mti_BAD(c, text)
#define MTI_GEN_KIND_mti_MANY(c, none)
#define MTI_GEN_NOT(c, n, kind)                                                                    \
    "manta: parameter " #n " of generator " #c " is " kind                                         \
    "; they have MANTA_VAL, _IN, _LOCAL and one MANTA_OUT"
#define MTI_GEN_ONE_0(x)              MTI_ASSERT_NEVER(MTI_GEN_ONE_TEXT(x));
#define MTI_GEN_ONE_1(x)
#define MTI_GEN_ONE_N(x)              MTI_ASSERT_NEVER(MTI_GEN_ONE_TEXT(x));
#define MTI_GEN_ONE_TEXT(x)           "manta: generator " #x " needs one MANTA_OUT, its values"
// (The rest of the declaration goes on without.)
#define MTI_GEN_REF_0(rtype)          manta_ref_t
#define MTI_GEN_REF_1(rtype)          MTI_ONE_REF(rtype)
#define MTI_GEN_REF_N(rtype)          manta_ref_t
#define MTI_GEN_VALUE_0(rtype)        char
#define MTI_GEN_VALUE_1(rtype)        MTI_TAIL rtype
#define MTI_GEN_VALUE_N(rtype)        char

// -- the caller's side
#define MTI_GEN_CALLS(x, E, ...)                                                                   \
    MTI_GEN_DECLARED(x)                                                                            \
    E(MTI_TYPE_, x, __VA_ARGS__)                                                                   \
    E(MTI_GEN_KIND_, x, __VA_ARGS__)                                                               \
    MTI_GEN_CALLS_A(x, (~E(MTI_PROTO_, x, __VA_ARGS__)), (~E(MTI_RTYPE_, x, __VA_ARGS__)),         \
                    (E(MTI_ARGS_, x, __VA_ARGS__)), (E(MTI_INIT_, x, __VA_ARGS__)))
#define MTI_GEN_CALLS_A(x, proto, rtype, args, init)                                               \
    MTI_GEN_CALLS_B(x, MTI_MANY proto, MTI_CLASS rtype, proto, rtype, args, init)
#define MTI_GEN_CALLS_B(x, has, class, proto, rtype, args, init)                                   \
    MTI_GEN_CALLS_C(x, has, class, proto, rtype, args, init)
#define MTI_GEN_CALLS_C(x, has, class, proto, rtype, args, init)                                   \
    MTI_GEN_ONE_##class(x)                                                                         \
    typedef struct x##_args {                                                                      \
        MTI_ARGS_##has args                                                                        \
    } x##_args_t;                                                                                  \
    typedef struct mti_##x##_handle {                                                              \
        manta_generator_t generator;                                                               \
        manta_status_t status;                                                                     \
    } x##_t;                                                                                       \
    typedef MTI_GEN_REF_##class(rtype) x##_out_t;                                                  \
    MTI_C_BEGIN                                                                                    \
    manta_status_t mti_##x##_start(const manta_generator_options_t *mti_options,                   \
                                   const void *mti_image, size_t mti_image_bytes,                  \
                                   manta_generator_t *out_generator);                              \
    MTI_C_END                                                                                      \
    MTI_INLINE MANTA_NODISCARD x##_t x##_remote(MTI_ONLY_##has(proto))                             \
    {                                                                                              \
        MTI_IMAGE_##has(x, init) x##_t mti_made = {{0}, MANTA_OK};                                 \
        mti_made.status = mti_##x##_start(NULL, MTI_IMAGE_OF_##has, &mti_made.generator);          \
        return mti_made;                                                                           \
    }                                                                                              \
    MTI_INLINE MANTA_NODISCARD x##_t x##_with(                                                     \
        MTI_AFTER_##has((manta_generator_options_t mti_options), proto))                           \
    {                                                                                              \
        MTI_IMAGE_##has(x, init) x##_t mti_made = {{0}, MANTA_OK};                                 \
        mti_made.status = mti_##x##_start(&mti_options, MTI_IMAGE_OF_##has, &mti_made.generator);  \
        return mti_made;                                                                           \
    }                                                                                              \
    MTI_INLINE MANTA_NODISCARD manta_status_t x##_next(x##_t mti_from, x##_out_t *mti_ref,         \
                                                       int64_t timeout_ns)                         \
    {                                                                                              \
        if (mti_from.status != MANTA_OK) return mti_from.status;                                   \
        return manta_generator_next(mti_from.generator, mti_ref, timeout_ns);                      \
    }                                                                                              \
    MTI_INLINE MANTA_NODISCARD manta_status_t x##_next_value(                                      \
        x##_t mti_from, MTI_GEN_VALUE_##class(rtype) *mti_value)                                   \
    {                                                                                              \
        x##_out_t mti_ref;                                                                         \
        manta_status_t mti_status = x##_next(mti_from, &mti_ref, MANTA_FOREVER);                   \
        if (mti_status != MANTA_OK) return mti_status;                                             \
        mti_status = manta_read(mti_ref, mti_value, sizeof *mti_value, MANTA_FOREVER);             \
        (void)manta_release(mti_ref);                                                              \
        return mti_status;                                                                         \
    }                                                                                              \
    MTI_INLINE manta_status_t x##_cancel(x##_t mti_from)                                           \
    {                                                                                              \
        if (mti_from.status != MANTA_OK) return mti_from.status;                                   \
        return manta_generator_cancel(mti_from.generator);                                         \
    }                                                                                              \
    MTI_INLINE manta_status_t x##_destroy(x##_t mti_from)                                          \
    {                                                                                              \
        if (mti_from.status != MANTA_OK) return mti_from.status;                                   \
        return manta_generator_release(mti_from.generator);                                        \
    }

// -- from the image, locals with the names of the parameters; then the OUT, whose count may use them
#define MTI_GEN_SEE_mti_VAL(c, T, n)     MTI_GET_mti_VAL(c, T, n)
#define MTI_GEN_SEE_mti_IN(c, T, n)                                                                \
    manta_view_t mti_view_##n;                                                                     \
    mti_status = mti_generator_view(mti_task, mti_args->n, #n, sizeof(T), &mti_view_##n);          \
    if (mti_status != MANTA_OK) return mti_status;                                                 \
    MANTA_UNUSED MTI_IN_T(c, T, n)                                                                 \
        n = {(const MTI_T(c, T, n) *)mti_view_##n.data, mti_view_##n.size_bytes / sizeof(T)};
#define MTI_GEN_SEE_mti_INOUT(c, T, n)
#define MTI_GEN_SEE_mti_OUT(c, T, n, k)
#define MTI_GEN_SEE_mti_OUTN(c, T, n)
#define MTI_GEN_SEE_mti_LIST(c, T, n)
#define MTI_GEN_SEE_mti_LOCAL(c, T, n)   MTI_GET_mti_LOCAL(c, T, n)
#define MTI_GEN_SEE_mti_NOTHING(c, none)
#define MTI_GEN_SEE_mti_BAD(c, text)
#define MTI_GEN_SEE_mti_MANY(c, none)

#define MTI_GEN_MAKE_mti_VAL(c, T, n)
#define MTI_GEN_MAKE_mti_IN(c, T, n)
#define MTI_GEN_MAKE_mti_INOUT(c, T, n)
#define MTI_GEN_MAKE_mti_OUT(c, T, n, k)                                                           \
    mti_status = mti_generator_room(mti_task, #n, (size_t)(k), sizeof(T), &mti_room);              \
    if (mti_status != MANTA_OK) return mti_status;                                                 \
    MTI_GEN_MAKE_mti_OUTN(c, T, n)
#define MTI_GEN_MAKE_mti_OUTN(c, T, n)                                                             \
    MTI_OUT_T(c, T, n)                                                                             \
    n = {(MTI_T(c, T, n) *)mti_room.data, mti_room.size_bytes / sizeof(T), MTI_OUT_END};
#define MTI_GEN_MAKE_mti_LIST(c, T, n)
#define MTI_GEN_MAKE_mti_LOCAL(c, T, n)
#define MTI_GEN_MAKE_mti_NOTHING(c, none)
#define MTI_GEN_MAKE_mti_BAD(c, text)
#define MTI_GEN_MAKE_mti_MANY(c, none)

#define MTI_GEN_DTYPE_mti_VAL(c, T, n)
#define MTI_GEN_DTYPE_mti_IN(c, T, n)
#define MTI_GEN_DTYPE_mti_INOUT(c, T, n)
#define MTI_GEN_DTYPE_mti_OUT(c, T, n, k) MTI_GEN_DTYPE_mti_OUTN(c, T, n)
#define MTI_GEN_DTYPE_mti_OUTN(c, T, n)   MTI_DTYPE(MTI_T(c, T, n))
#define MTI_GEN_DTYPE_mti_LIST(c, T, n)
#define MTI_GEN_DTYPE_mti_LOCAL(c, T, n)
#define MTI_GEN_DTYPE_mti_NOTHING(c, none)
#define MTI_GEN_DTYPE_mti_BAD(c, text)
#define MTI_GEN_DTYPE_mti_MANY(c, none)

// -- the block: the image comes first. In C++ as bytes: its types need no default constructors.
#ifdef __cplusplus
#define MTI_GEN_IMAGE(x)         alignas(x##_args_t) unsigned char args[sizeof(x##_args_t)];
#define MTI_GEN_BOX_NEW(x)                                                                         \
    static manta_status_t mti_##x##_box_new(mti_##x##_box_t **out_box)                             \
    {                                                                                              \
        MTI_TRY                                                                                    \
        *out_box = new (std::nothrow) mti_##x##_box_t();                                           \
        return mti_generator_made(#x, *out_box);                                                   \
        MTI_CATCH(nullptr)                                                                         \
    }
#define MTI_GEN_BOX_FREE(box)    delete (box)
#else
#define MTI_GEN_IMAGE(x)         x##_args_t args;
#define MTI_GEN_BOX_NEW(x)                                                                         \
    static manta_status_t mti_##x##_box_new(mti_##x##_box_t **out_box)                             \
    {                                                                                              \
        void *mti_box = aligned_alloc(_Alignof(mti_##x##_box_t), sizeof(mti_##x##_box_t));         \
        if (mti_box != NULL) memset(mti_box, 0, sizeof(mti_##x##_box_t));                          \
        *out_box = (mti_##x##_box_t *)mti_box;                                                     \
        return mti_generator_made(#x, mti_box);                                                    \
    }
#define MTI_GEN_BOX_FREE(box)    free(box)
#endif
#define MTI_GEN_BODY(x, E, ...)                                                                    \
    MTI_GEN_BODY_A(x, (MANTA_UNUSED manta_task_t * task,                                           \
                       MANTA_UNUSED mti_##x##_state_t * self E(MTI_BODYP_, x, __VA_ARGS__)),       \
                   (E(MTI_GEN_SEE_, x, __VA_ARGS__) E(MTI_GEN_MAKE_, x, __VA_ARGS__)),             \
                   (mti_task, &mti_box->self E(MTI_NAME_, x, __VA_ARGS__)),                        \
                   (E(MTI_ROW_, x, __VA_ARGS__)), (E(MTI_GEN_DTYPE_, x, __VA_ARGS__)))
#define MTI_GEN_BODY_A(x, params, see, names, rows, dtype)                                         \
    typedef struct mti_##x##_box {                                                                 \
        MTI_GEN_IMAGE(x)                                                                           \
        mti_##x##_state_t self;                                                                    \
    } mti_##x##_box_t;                                                                             \
    static void (*mti_##x##_end)(mti_##x##_state_t *mti_self);                                     \
    static manta_status_t x##_step_body params;                                                    \
    static manta_status_t mti_##x##_step(manta_task_t *mti_task, void *mti_state)                  \
    {                                                                                              \
        mti_##x##_box_t *mti_box = (mti_##x##_box_t *)mti_state;                                   \
        MANTA_UNUSED const x##_args_t *mti_args = (const x##_args_t *)mti_state;                   \
        MANTA_UNUSED const uint32_t mti_index = 0;                                                 \
        MANTA_UNUSED manta_buffer_t mti_room = {NULL, 0};                                          \
        MANTA_UNUSED manta_status_t mti_status = MANTA_OK;                                         \
        MTI_TRY                                                                                    \
        MTI_STRIP see return x##_step_body names;                                                  \
        MTI_CATCH(mti_task)                                                                        \
    }                                                                                              \
    static void mti_##x##_destroy(void *mti_state);                                                \
    static const manta_param_t mti_##x##_params[] = {                                              \
        MTI_STRIP rows{NULL, NULL, (manta_param_kind_t)0, 0, 0, 0, 0}};                            \
    static const mti_generator_kind_t mti_##x##_kind = {                                           \
        #x, mti_##x##_step, mti_##x##_destroy, mti_##x##_params,                                   \
        sizeof mti_##x##_params / sizeof *mti_##x##_params - 1, sizeof(x##_args_t),                \
        MTI_STRIP dtype};                                                                          \
    static void mti_##x##_destroy(void *mti_state)                                                 \
    {                                                                                              \
        mti_##x##_box_t *mti_box = (mti_##x##_box_t *)mti_state;                                   \
        if (mti_##x##_end != NULL) mti_##x##_end(&mti_box->self);                                  \
        mti_generator_drop(&mti_##x##_kind, mti_state);                                            \
        MTI_GEN_BOX_FREE(mti_box);                                                                 \
    }                                                                                              \
    MTI_GEN_BOX_NEW(x)                                                                             \
    MTI_C_BEGIN                                                                                    \
    manta_status_t mti_##x##_start(const manta_generator_options_t *mti_options,                   \
                                   const void *mti_image, size_t mti_image_bytes,                  \
                                   manta_generator_t *out_generator)                               \
    {                                                                                              \
        mti_##x##_box_t *mti_box = NULL;                                                           \
        manta_status_t mti_status = mti_generator_same(&mti_##x##_kind, mti_image_bytes);          \
        if (mti_status == MANTA_OK) mti_status = mti_##x##_box_new(&mti_box);                      \
        if (mti_status != MANTA_OK || mti_box == NULL) return mti_status;                          \
        if (mti_image_bytes != 0) memcpy((void *)mti_box, mti_image, mti_image_bytes);              \
        return mti_generator_start(&mti_##x##_kind, mti_box, mti_options, out_generator);          \
    }                                                                                              \
    MTI_C_END                                                                                      \
    static manta_status_t x##_step_body params

#define MTI_GEN_END_A(x)                                                                           \
    static void mti_##x##_end_body(mti_##x##_state_t *self);                                       \
    static void mti_##x##_end_invoke(mti_##x##_state_t *mti_self)                                  \
    {                                                                                              \
        MTI_TRY                                                                                    \
        mti_##x##_end_body(mti_self);                                                              \
        MTI_GEN_CATCH_END                                                                          \
    }                                                                                              \
    __attribute__((constructor(101))) static void mti_##x##_end_register(void)                     \
    {                                                                                              \
        mti_##x##_end = mti_##x##_end_invoke;                                                      \
    }                                                                                              \
    static void mti_##x##_end_body(MANTA_UNUSED mti_##x##_state_t *self)
#if defined(__cplusplus) && defined(__cpp_exceptions)
#define MTI_GEN_CATCH_END } catch (...) {}
#else
#define MTI_GEN_CATCH_END
#endif

// clang-format on

#endif
