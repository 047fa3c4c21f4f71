// The types that generated code works with, and element types as numbers. Users meet manta::ref,
// manta::span and manta::dtype_of here; the rest is private.
#ifndef MANTA_DETAIL_TYPES_H
#define MANTA_DETAIL_TYPES_H

#include <manta/object.h>
#include <manta/task.h>

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
#include <exception>
#include <type_traits>
#endif

#ifndef MANTA_NO_SYSTEM_HEADER
#pragma GCC system_header
#endif

#define MTI_INLINE static inline __attribute__((unused))
// For the path of a submit: one call of the library, nothing else.
#define MTI_HOT    static inline __attribute__((unused, always_inline))

// A function that must not be called: an error at the line of the call, where the compiler can.
#if defined(__has_attribute)
#if __has_attribute(unavailable)
#define MTI_UNAVAILABLE(text) __attribute__((unavailable(text)))
#elif __has_attribute(error)
#define MTI_UNAVAILABLE(text) __attribute__((error(text)))
#endif
#endif
#ifndef MTI_UNAVAILABLE
#define MTI_UNAVAILABLE(text)
#endif

// Elements of one ref of an IN_LIST as generated code fills them in. Each task has a typed twin of it.
typedef struct __attribute__((may_alias)) mti_item {
    const void *data;
    size_t count;
} mti_item_t;

// Room for a list's items: on the stack for short lists.
#define MTI_ITEMS_INLINE 16
typedef struct mti_items {
    mti_item_t *heap;
    mti_item_t few[MTI_ITEMS_INLINE];
} mti_items_t;

// Turns the |count| buffers of a list into elements of |elem_bytes|. NULL: out of memory.
MTI_INLINE mti_item_t *mti_items_fill(mti_items_t *items, const void *buffers, size_t count,
                                      size_t elem_bytes)
{
    const manta_buffer_t *from = (const manta_buffer_t *)buffers;
    mti_item_t *to = items->few;
    items->heap = NULL;
    if (count > MTI_ITEMS_INLINE) {
        to = items->heap = (mti_item_t *)malloc(count * sizeof(mti_item_t));
        if (to == NULL) return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        to[i].data = from[i].data;
        to[i].count = from[i].size_bytes / elem_bytes;
    }
    return to;
}

MTI_INLINE void mti_items_free(mti_items_t *items)
{
    if (items->heap != NULL) free(items->heap);
}

// The size of a manta_task_def_t, as a number and as text.
#if __SIZEOF_POINTER__ == 8
#define MTI_TASK_DEF_BYTES 64
#define MTI_TASK_DEF_TEXT  "64"
#else
#define MTI_TASK_DEF_BYTES 40
#define MTI_TASK_DEF_TEXT  "40"
#endif

// The first parameter, from 0, that differs between the lists of two bodies of one task; |count| if none.
MTI_INLINE size_t mti_params_differ(const manta_param_t *a, const manta_param_t *b, size_t count)
{
    size_t i = 0;
    while (i < count && a[i].kind == b[i].kind && a[i].dtype == b[i].dtype &&
           a[i].size_bytes == b[i].size_bytes && a[i].offset == b[i].offset &&
           strcmp(a[i].name, b[i].name) == 0)
        i++;
    return i;
}

// Called by the constructor of each body. The first one to come names the task and its parameters;
// another one that was compiled with others makes the task unusable: MTI_PARAMS_DIFFER for a
// |param_count|, and in |args_bytes| which one it is. A submit then says so.
#define MTI_PARAMS_DIFFER 0xffffffffu
MTI_INLINE void mti_task_join(manta_task_def_t *task, const char *name, const manta_param_t *params,
                              size_t param_count, size_t args_bytes)
{
    size_t common = 0;
    if (task->name == NULL) {
        task->name = name;
        task->params = params;
        task->param_count = (uint32_t)param_count;
        task->args_bytes = (uint32_t)args_bytes;
        return;
    }
    if (task->param_count == MTI_PARAMS_DIFFER) return;
    common = task->param_count < param_count ? task->param_count : param_count;
    common = mti_params_differ(task->params, params, common);
    if (common == task->param_count && common == param_count && task->args_bytes == args_bytes)
        return;
    task->param_count = MTI_PARAMS_DIFFER;
    task->args_bytes = (uint32_t)common;
}

#ifndef __cplusplus // ---- C ------------------------------------------------------------------

#if defined(__FLT16_MAX__) // half precision, where the compiler has it
__extension__ typedef _Float16 mti_f16_t;
#define MTI_DTYPE_F16(Q) Q mti_f16_t * : MANTA_F16,
#else
#define MTI_DTYPE_F16(Q)
#endif

// The code of the element type that |p| points to: only the type of |p| counts. char is a signed byte.
// clang-format off
#define MTI_DTYPE_CODES(Q)                                                                         \
    Q _Bool *: MANTA_BOOL,                                                                         \
    Q char *: MANTA_I8,                                                                            \
    Q signed char *: MANTA_I8,                                                                     \
    Q unsigned char *: MANTA_U8,                                                                   \
    Q short *: MANTA_I16,                                                                          \
    Q unsigned short *: MANTA_U16,                                                                 \
    Q int *: MANTA_I32,                                                                            \
    Q unsigned *: MANTA_U32,                                                                       \
    Q long *: sizeof(long) == 8 ? MANTA_I64 : MANTA_I32,                                           \
    Q unsigned long *: sizeof(long) == 8 ? MANTA_U64 : MANTA_U32,                                  \
    Q long long *: MANTA_I64,                                                                      \
    Q unsigned long long *: MANTA_U64,                                                             \
    MTI_DTYPE_F16(Q)                                                                               \
    Q float *: MANTA_F32,                                                                          \
    Q double *: MANTA_F64,                                                                         \
    Q float _Complex *: MANTA_C64,                                                                 \
    Q double _Complex *: MANTA_C128
#define MTI_DTYPE_CODE(p)                                                                          \
    _Generic((p), MTI_DTYPE_CODES(), MTI_DTYPE_CODES(const), default: MANTA_OPAQUE)
#define MTI_DTYPE(T) MANTA_DTYPE(MTI_DTYPE_CODE((T *)0), sizeof(T))

// Pointers and arrays (which decay to them) have this type class.
#define MTI_IS_POINTER(T) (__builtin_classify_type(*(T *)0) == 5)
#define MTI_IS_PLAIN(T)   (_Generic((T *)0, void *: 0, default: 1) && !MTI_IS_POINTER(T))

// For manta_put(): void pointers, and arrays of arrays, are untyped.
#define MTI_PUT_PTR(p)                                                                             \
    _Generic((p), void *: (char *)0, const void *: (const char *)0, default: (p))
#define MTI_PUT_CODE(p)                                                                            \
    _Generic((p), void *: MANTA_UNTYPED, const void *: MANTA_UNTYPED,                              \
             MTI_DTYPE_CODES(), MTI_DTYPE_CODES(const),                                            \
             default: __builtin_classify_type(*MTI_PUT_PTR(p)) == 5 ? MANTA_UNTYPED : MANTA_OPAQUE)
#define MTI_PUT_DTYPE(p)                                                                           \
    (MTI_PUT_CODE(p) == MANTA_UNTYPED ? (manta_dtype_t)0                                           \
                                      : MANTA_DTYPE(MTI_PUT_CODE(p), sizeof *MTI_PUT_PTR(p)))
// clang-format on

MTI_INLINE manta_scope_t mti_scope_begin(void)
{
    manta_scope_t scope;
    manta_scope_enter(&scope);
    return scope;
}

// Gives the new address; |*status| and |*count| tell how it went. On failure nothing changes.
MTI_INLINE void *mti_out_resize(manta_task_t *task, uint32_t out, size_t count, size_t elem_bytes,
                                void *data, size_t *count_now, manta_status_t *status)
{
    manta_buffer_t buffer = {data, 0};
    size_t size_bytes;
    *status = MANTA_ERR_OUT_OF_RANGE;
    if (__builtin_mul_overflow(count, elem_bytes, &size_bytes)) return data;
    *status = manta_out_resize_bytes(task, out, size_bytes, &buffer);
    if (*status != MANTA_OK) return data;
    *count_now = count;
    return buffer.data;
}

#else // ---- C++ ------------------------------------------------------------------------------

// Found by their usual names without including <complex>.
#if defined(_LIBCPP_BEGIN_NAMESPACE_STD)
_LIBCPP_BEGIN_NAMESPACE_STD template <class T> class complex;
_LIBCPP_END_NAMESPACE_STD
#elif defined(_GLIBCXX_BEGIN_NAMESPACE_VERSION)
namespace std
{
_GLIBCXX_BEGIN_NAMESPACE_VERSION
template <typename T> class complex;
_GLIBCXX_END_NAMESPACE_VERSION
} // namespace std
#else
#include <complex>
#endif

namespace manta
{

namespace detail
{

template <class T, bool is_enum = std::is_enum<T>::value> struct plain {
    typedef T type;
};
template <class T> struct plain<T, true> {
    typedef typename std::underlying_type<T>::type type; // as C sees an enum
};

constexpr manta_dtype_code_t integer_code(size_t size, bool is_signed)
{
    return size == 1   ? (is_signed ? MANTA_I8 : MANTA_U8)
           : size == 2 ? (is_signed ? MANTA_I16 : MANTA_U16)
           : size == 4 ? (is_signed ? MANTA_I32 : MANTA_U32)
           : size == 8 ? (is_signed ? MANTA_I64 : MANTA_U64)
                       : MANTA_OPAQUE;
}

template <class T> constexpr manta_dtype_code_t plain_code()
{
    return std::is_same<T, bool>::value     ? MANTA_BOOL
           : std::is_same<T, char>::value   ? MANTA_I8
           : std::is_integral<T>::value     ? integer_code(sizeof(T), std::is_signed<T>::value)
           : std::is_same<T, float>::value  ? MANTA_F32
           : std::is_same<T, double>::value ? MANTA_F64
                                            : MANTA_OPAQUE;
}

} // namespace detail

// The element type T as a code. Specialise it for a type that is one of manta's under another name.
template <class T> struct dtype_of {
    static constexpr manta_dtype_code_t code =
        detail::plain_code<typename detail::plain<T>::type>();
};
template <> struct dtype_of<std::complex<float>> {
    static constexpr manta_dtype_code_t code = MANTA_C64;
};
template <> struct dtype_of<std::complex<double>> {
    static constexpr manta_dtype_code_t code = MANTA_C128;
};
#if defined(__FLT16_MAX__) && (defined(__clang__) || __GNUC__ >= 13)
template <> struct dtype_of<_Float16> {
    static constexpr manta_dtype_code_t code = MANTA_F16;
};
#endif

namespace detail
{

template <class T> constexpr manta_dtype_t dtype()
{
    return MANTA_DTYPE(dtype_of<typename std::remove_cv<T>::type>::code, sizeof(T));
}

// What may cross from one task to another by its bytes.
template <class T> constexpr bool is_data()
{
    return std::is_trivially_copyable<T>::value && !std::is_pointer<T>::value &&
           !std::is_member_pointer<T>::value && !std::is_array<T>::value &&
           !std::is_null_pointer<T>::value;
}

} // namespace detail

// A ref that knows its element type: at compile time only, it is a manta_ref_t. Untyped refs convert
// both ways (then the type is checked at submit); a ref to another type doesn't.
template <class T> struct ref : manta_ref_t {
    typedef T element_type;
    ref() = default; // not set, like a manta_ref_t
    constexpr ref(manta_ref_t untyped) : manta_ref_t(untyped) {}
    template <class U> ref(ref<U>) = delete;
};

// Elements of one argument.
template <class T> struct span {
    T *data;
    size_t count;
    T *begin() const { return data; }
    T *end() const { return data + count; }
    T &operator[](size_t i) const { return data[i]; }
};

// Elements of an OUT parameter: manta_out_resize() changes how many there are.
template <class T> struct out_span {
    T *data;
    size_t count;
    uint32_t mti_index;
    T *begin() const { return data; }
    T *end() const { return data + count; }
    T &operator[](size_t i) const { return data[i]; }
    MANTA_NODISCARD manta_status_t mti_resize(manta_task_t *task, size_t new_count)
    {
        manta_buffer_t buffer = {data, 0};
        size_t size_bytes;
        if (__builtin_mul_overflow(new_count, sizeof(T), &size_bytes))
            return MANTA_ERR_OUT_OF_RANGE;
        manta_status_t status = manta_out_resize_bytes(task, mti_index, size_bytes, &buffer);
        if (status != MANTA_OK) return status;
        data = static_cast<T *>(buffer.data);
        count = new_count;
        return MANTA_OK;
    }
};

// The arguments of an IN_LIST.
template <class T> struct __attribute__((may_alias)) list_item : span<T> {
};
template <class T> struct list {
    const list_item<T> *items;
    size_t count;
    const list_item<T> *begin() const { return items; }
    const list_item<T> *end() const { return items + count; }
    const list_item<T> &operator[](size_t i) const { return items[i]; }
};

// MANTA_SCOPE()
class scope
{
  public:
    scope() { manta_scope_enter(&m_scope); }
    ~scope() { manta_scope_leave(&m_scope); }
    scope(const scope &) = delete;
    scope &operator=(const scope &) = delete;

  private:
    manta_scope_t m_scope;
};

namespace detail
{

#ifdef __cpp_exceptions
// Called in a catch (...): the exception becomes the failure of the task.
__attribute__((unused, noinline, cold)) static manta_status_t caught(manta_task_t *task)
{
    try {
        throw;
    } catch (const std::exception &e) {
        return manta_fail(task, MANTA_ERR_EXCEPTION, "%s", e.what());
    } catch (...) {
        return manta_fail(task, MANTA_ERR_EXCEPTION, "an exception that is no std::exception");
    }
}
#endif

} // namespace detail
} // namespace manta

#endif

#endif
