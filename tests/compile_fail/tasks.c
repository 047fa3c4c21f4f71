// Programs that must not compile, as C and as C++. Every case is there twice: with WRONG it has to
// fail, and say something that matches the expression on its first line; without, it has to compile
// without a warning. In front of the colon stand the languages that reject it: c, c++, or cw and c++w
// where it is only a warning.
#include <manta/manta.h>

#include <string.h>

struct pair {
    int a, b;
};
struct other {
    int a, b;
};
typedef float three_t[3];

// The two ways of a case. The formatter takes them for statements.
// clang-format off
#ifdef WRONG
#define W(...) __VA_ARGS__
#define R(...)
#else
#define W(...)
#define R(...) __VA_ARGS__
#endif

#define axpy_PARAMS MANTA_VAL(float, a), MANTA_IN(float, x), MANTA_INOUT(float, y)
MANTA_TASK_DECLARE(axpy);
#define values_PARAMS MANTA_VAL(struct pair, p), MANTA_VAL(int, n)
MANTA_TASK_DECLARE(values);
#define minmax_PARAMS MANTA_IN(float, x), MANTA_OUT(float, lo, 1), MANTA_OUT(float, hi, 1)
MANTA_TASK_DECLARE(minmax);
#define length_PARAMS MANTA_IN(float, x), MANTA_OUT(long, n, 1)
MANTA_TASK_DECLARE(length);
#define tick_PARAMS MANTA_NOTHING
MANTA_TASK_DECLARE(tick);
#define join_PARAMS MANTA_IN_LIST(float, parts), MANTA_OUT(float, all)
MANTA_TASK_DECLARE(join);
#define local_PARAMS MANTA_LOCAL(int *, p)
MANTA_TASK_DECLARE(local);
#define USE(x) ((void)(x))
#define TASK(...)                                                                                  \
    MANTA_TASK(__VA_ARGS__) { return MANTA_OK; }

// ---- declarations --------------------------------------------------------------------------------

#ifdef CASE_body_without_declaration // c c++: before the body of task alone write MANTA_TASK_DECLARE|DECLARE_alone_is_missing
#define alone_PARAMS MANTA_VAL(int, n), MANTA_IN(float, x)
R(MANTA_TASK_DECLARE(alone);)
TASK(alone)
#endif

#ifdef CASE_cuda_body_without_declaration // c c++: before the body of task alone write MANTA_TASK_DECLARE|DECLARE_alone_is_missing
#define alone_PARAMS MANTA_VAL(int, n), MANTA_IN(float, x)
R(MANTA_TASK_DECLARE(alone);)
MANTA_CUDA(alone) { return MANTA_OK; }
#endif

// ---- arguments of a call -------------------------------------------------------------------------

#ifdef CASE_too_few_arguments // c c++: too few arguments|no matching function
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    y = axpy_remote(2.0f, x R(, y));
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_too_many_arguments // c c++: too many arguments|no matching function
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    y = axpy_remote(2.0f, x, y W(, y));
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_argument_for_tick // c c++: too many arguments|no matching function
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    y = tick_remote(W(x));
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_int_for_ref // c c++: incompatible type|no matching function|could not convert|cannot convert|no viable conversion
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    y = axpy_remote(2.0f, W(3) R(x), y);
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_zero_for_ref // c c++: incompatible type|no matching function|could not convert|cannot convert|no viable conversion
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    y = axpy_remote(2.0f, W(0) R(x), y);
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_pointer_for_ref // c c++: incompatible type|no matching function|could not convert|cannot convert|no viable conversion
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    float xs[3] = {0};
    USE(xs);
    y = axpy_remote(2.0f, W(xs) R(x), y);
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_ref_for_value // c c++: incompatible type|no matching function|could not convert|cannot convert|no viable conversion
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    y = axpy_remote(W(x) R(2.0f), x, y);
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_other_struct_for_value // c c++: incompatible type|no matching function|could not convert|cannot convert|no viable conversion
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    struct W(other) R(pair) p = {1, 2};
    y = values_remote(p, 3);
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_ref_to_other_type // c++: deleted function
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    manta::ref<W(int) R(float)> typed = x;
    y = axpy_remote(2.0f, typed, y);
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_ref_of_other_task // c++: deleted function
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    W(y = minmax_remote(length_remote(x)).lo;)
    R(y = minmax_remote(axpy_remote(1, x, y)).lo;)
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_result_as_other_type // c++: deleted function
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    manta::ref<W(int) R(float)> typed = axpy_remote(2.0f, x, y);
    y = typed;
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_ref_for_list // c c++: incompatible type|no matching function|could not convert|cannot convert|no viable conversion
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    y = join_remote(W(x) R(&x), 1);
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_list_without_count // c c++: too few arguments|no matching function
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    y = join_remote(&x R(, 1));
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_local_to_other_type // cw c++: incompatible pointer|cannot convert|no matching function
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    W(double) R(int) i = 0;
    y = local_remote(&i);
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_struct_of_results_as_ref // c c++: incompatible type|initializer|cannot convert|no match|no viable
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    y = minmax_remote(x) R(.lo);
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_dropped_result // cw c++w: unused-result|warn_unused_result
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    W(axpy_remote(2.0f, x, y);) R(y = axpy_remote(2.0f, x, y);)
    return x.id == 0 ? x : y;
}
#endif

// ---- options -------------------------------------------------------------------------------------

#ifdef CASE_options_forgotten // c c++: too few arguments|no matching function|incompatible type|no matching function|could not convert|cannot convert|no viable conversion
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    y = axpy_with(R(MANTA_OPTIONS(), ) 2.0f, x, y);
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_options_for_remote // c c++: too many arguments|no matching function|cannot convert
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    W(y = axpy_remote(MANTA_OPTIONS(), 2.0f, x, y);)
    R(y = axpy_with(MANTA_OPTIONS(), 2.0f, x, y);)
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_options_of_other_kind // c c++: incompatible type|no matching function|could not convert|cannot convert|no viable conversion
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    W(manta_runtime_options_t) R(manta_task_options_t) o;
    memset(&o, 0, sizeof o);
    y = axpy_with(o, 2.0f, x, y);
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_pointer_to_options // c c++: incompatible type|no matching function|could not convert|cannot convert|no viable conversion
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    manta_task_options_t o = MANTA_OPTIONS();
    y = axpy_with(W(&) o, 2.0f, x, y);
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_unknown_option // c c++: cups
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    y = axpy_with(MANTA_OPTIONS(W(.cups = 2) R(.cpus = 2)), 2.0f, x, y);
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_option_of_wrong_type // c c++: incompatible types|invalid conversion|cannot convert|incompatible type|assigning to|initializing
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    manta_runtime_t r = {0};
    y = axpy_with(MANTA_OPTIONS(W(.cpus = r) R(.runtime = r)), 2.0f, x, y);
    return x.id == 0 ? x : y;
}
#endif

// ---- ranges and results --------------------------------------------------------------------------

#ifdef CASE_range_with_inout // c c++: cannot run over a range
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    W(y = axpy_range(10, 2.0f, x, y);) R(y = tick_range(10);)
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_range_with_out // c c++: cannot run over a range
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    W(y = length_range_with(MANTA_OPTIONS(), 10, 0, x);)
    R(y = tick_range_with(MANTA_OPTIONS(), 10, 0);)
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_result_of_many // c c++: exactly one result
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    long n;
    W(if (minmax_result(x, &n) == MANTA_OK) return y;)
    R(if (length_result(x, &n) == MANTA_OK) return y;)
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_result_of_none // c c++: exactly one result
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    long n;
    W(if (tick_result(x, &n) == MANTA_OK) return y;)
    R(if (length_result(x, &n) == MANTA_OK) return y;)
    return x.id == 0 ? x : y;
}
#endif

#ifdef CASE_result_into_other_type // cw c++: incompatible pointer|cannot convert|no matching function
manta_ref_t f(manta_ref_t x, manta_ref_t y);
manta_ref_t f(manta_ref_t x, manta_ref_t y)
{
    W(float) R(long) n;
    if (length_result(x, &n) == MANTA_OK) return y;
    return x.id == 0 ? x : y;
}
#endif

// ---- lists of parameters -------------------------------------------------------------------------

#ifdef CASE_value_is_pointer // c c++: cannot be copied by its bytes
TASK(t, MANTA_VAL(float W(*), p))
#endif

#ifdef CASE_value_is_array // c c++: cannot be copied by its bytes
TASK(t, MANTA_VAL(W(three_t) R(float), p))
#endif

#ifdef CASE_value_is_function // c c++: cannot be copied by its bytes
typedef int (*function_t)(int);
TASK(t, MANTA_VAL(W(function_t) R(int), p))
#endif

#ifdef CASE_value_with_destructor // c++: cannot be copied by its bytes
struct with_destructor {
    int i;
    W(~with_destructor() {})
};
TASK(t, MANTA_VAL(with_destructor, p))
#endif

#ifdef CASE_value_is_reference // c++: cannot be copied by its bytes|reference
TASK(t, MANTA_VAL(int W(&), p))
#endif

#ifdef CASE_in_of_pointers // c c++: cannot be copied by its bytes
TASK(t, MANTA_IN(char W(*), p))
#endif

#ifdef CASE_inout_of_pointers // c c++: cannot be copied by its bytes
TASK(t, MANTA_INOUT(char W(*), p))
#endif

#ifdef CASE_out_of_pointers // c c++: cannot be copied by its bytes
TASK(t, MANTA_OUT(char W(*), p))
#endif

#ifdef CASE_in_list_of_pointers // c c++: cannot be copied by its bytes
TASK(t, MANTA_IN_LIST(char W(*), p))
#endif

#ifdef CASE_local_is_no_pointer // c c++: is no pointer
TASK(t, MANTA_LOCAL(int R(*), p))
#endif

#ifdef CASE_unknown_type // c c++: flaot
TASK(t, MANTA_IN(W(flaot) R(float), x))
#endif

#ifdef CASE_void_elements // c c++: void
TASK(t, MANTA_IN(W(void) R(char), x))
#endif

#ifdef CASE_incomplete_elements // c c++: incomplete
struct unknown;
TASK(t, MANTA_IN(struct W(unknown) R(pair), x))
#endif

#ifdef CASE_seventeen_parameters // c c++: more than 16
#define V(n) MANTA_VAL(int, n)
TASK(t, V(a), V(b), V(c), V(d), V(e), V(f), V(g), V(h), V(i), V(j), V(k), V(l), V(m), V(n),
             V(o), V(p) W(, V(q)))
#endif

#ifdef CASE_entry_is_a_declaration // c c++: is no MANTA_VAL
TASK(t, MANTA_VAL(int, a), W(int b) R(MANTA_VAL(int, b)))
#endif

#ifdef CASE_entry_is_another_tuple // c c++: is no MANTA_VAL
TASK(t, MANTA_VAL(int, a), W((int, b)) R(MANTA_VAL(int, b)))
#endif

#ifdef CASE_entry_is_empty // c c++: is no MANTA_VAL
TASK(t, MANTA_VAL(int, a) W(, ))
#endif

#ifdef CASE_entry_is_misspelt // c c++: MANTA_INT
TASK(t, W(MANTA_INT(int, a)) R(MANTA_IN(int, a)))
#endif

#ifdef CASE_entry_without_name // c c++: requires 2 arguments|requires at least|too few arguments
#ifdef WRONG
TASK(t, MANTA_VAL(int))
#else
TASK(t, MANTA_VAL(int, a))
#endif
#endif

#ifdef CASE_entry_with_count // c c++: takes just 2|too many arguments
#ifdef WRONG
TASK(t, MANTA_IN(int, a, 3))
#else
TASK(t, MANTA_OUT(int, a, 3))
#endif
#endif

#ifdef CASE_out_without_name // c c++: MANTA_OUT without a name
TASK(t, MANTA_OUT(float R(, r)))
#endif

#ifdef CASE_out_with_too_much // c c++: MTI_OUT_4
TASK(t, MANTA_OUT(float, r, 1 W(, 2)))
#endif

#ifdef CASE_name_twice // c c++: redefinition|redeclar|duplicate
TASK(t, MANTA_VAL(int, a), MANTA_VAL(float, W(a) R(b)))
#endif

#ifdef CASE_parameter_called_task // c c++: redefinition|redeclar|conflicting
TASK(t, MANTA_VAL(int, W(task) R(tusk)))
#endif

#ifdef CASE_count_over_another_out // c c++: [‘'"]a[’'"].*(undeclared|not declared)|undeclared identifier 'a'
TASK(t, MANTA_IN(int, x), MANTA_OUT(int, a, 1), MANTA_OUT(int, b, W(a) R(x).count))
#endif

#ifdef CASE_declare_without_params // c c++: #define later_PARAMS MANTA_VAL
#ifndef WRONG
#define later_PARAMS MANTA_VAL(int, a)
#endif
MANTA_TASK_DECLARE(later);
#endif

// ---- bodies --------------------------------------------------------------------------------------

#ifdef CASE_write_to_in // c c++: read-only|const
MANTA_TASK(t, MANTA_IN(int, x), MANTA_INOUT(int, y))
{
    W(x) R(y).data[0] = 1;
    return MANTA_OK;
}
#endif

#ifdef CASE_write_to_list // c c++: read-only|const
MANTA_TASK(t, MANTA_IN_LIST(int, x), MANTA_INOUT(int, y))
{
    W(x.items[0]) R(y).data[0] = 1;
    return MANTA_OK;
}
#endif

#ifdef CASE_resize_of_inout // c c++: mti_(index|resize)
MANTA_TASK(t, MANTA_INOUT(int, x), MANTA_OUT(int, y)) { return manta_out_resize(W(x) R(y), 3); }
#endif

#ifdef CASE_body_without_return // cw c++w: return-type|end of non-void|non-void function
MANTA_TASK(t, MANTA_VAL(int, a)) { R(return MANTA_OK;) }
#endif

#ifdef CASE_parameters_not_in_sight // c c++: undeclared|not declared
W(MANTA_TASK(t)) R(MANTA_TASK(t, MANTA_VAL(int, a))) { return a; }
#endif

#ifdef CASE_two_bodies_in_a_file // c c++: redefinition
MANTA_TASK(axpy) { return MANTA_OK; }
MANTA_TASK(W(axpy) R(length)) { return MANTA_OK; }
#endif

// ---- CUDA bodies and kernels -----------------------------------------------------------------------

#ifdef CASE_cuda_parameters_not_in_sight // c c++: MANTA_CUDA\(t\) sees no parameters
MANTA_TASK(t, MANTA_VAL(int, a)) { return a; }
W(MANTA_CUDA(t)) R(MANTA_CUDA(t, MANTA_VAL(int, a))) { return MANTA_OK; }
#endif

#ifdef CASE_cuda_body_of_undeclared // c c++: unknown type|does not name a type|undeclared|not declared|was not
R(MANTA_TASK(t, MANTA_VAL(int, a)) { return a; })
MANTA_CUDA(t, MANTA_VAL(int, a)) { return a; }
#endif

#ifdef CASE_two_cuda_bodies_in_a_file // c c++: redefinition
MANTA_CUDA(axpy) { return MANTA_OK; }
MANTA_CUDA(W(axpy) R(length)) { return MANTA_OK; }
#endif

#ifdef CASE_cuda_write_to_in // c c++: read-only|const
MANTA_CUDA(axpy)
{
    W(x) R(y).data[0] = 1;
    return MANTA_OK;
}
#endif

#ifdef CASE_too_few_arguments_of_kernel // c c++: too few arguments|no matching function
MANTA_KERNEL(k, float, const float *, size_t);
manta_status_t f(const float *x);
manta_status_t f(const float *x) { return MANTA_LAUNCH(k, manta_grid_1d(3, 1), 2, x R(, 3)); }
#endif

#ifdef CASE_too_many_arguments_of_kernel // c c++: too many arguments|no matching function
MANTA_KERNEL(k, float, const float *, size_t);
manta_status_t f(const float *x);
manta_status_t f(const float *x) { return k_launch(manta_grid_1d(3, 1), 2, x, 3 W(, 4)); }
#endif

#ifdef CASE_kernel_pointer_of_other_type // cw c++: incompatible pointer|no matching function|invalid conversion|cannot convert
MANTA_KERNEL(k, float, const float *, size_t);
manta_status_t f(const float *x, const double *d);
manta_status_t f(const float *x, const double *d)
{
    USE(d), USE(x);
    return k_run(manta_grid_1d(3, 1), 2, W(d) R(x), 3);
}
#endif

#ifdef CASE_kernel_drops_const // cw c++: discards|invalid conversion|no matching function|cannot convert
MANTA_KERNEL(k, float W(, float *) R(, const float *));
manta_status_t f(const float *x);
manta_status_t f(const float *x) { return k_launch(manta_grid_1d(3, 1), 2, x); }
#endif

#ifdef CASE_launch_without_grid // c c++: incompatible type|no matching function|could not convert|cannot convert|no viable conversion
MANTA_KERNEL(k, float, size_t);
manta_status_t f(void);
manta_status_t f(void) { return MANTA_LAUNCH(k, W(256) R(manta_grid_1d(1, 256)), 2, 3); }
#endif

#ifdef CASE_dropped_launch // cw c++w: unused-result|warn_unused_result
MANTA_KERNEL(k, float);
manta_status_t f(void);
manta_status_t f(void)
{
    W(k_launch(manta_grid_1d(1, 256), 2);)
    return k_launch(manta_grid_1d(1, 256), 2);
}
#endif

#ifdef CASE_kernel_with_25_parameters // c c++: kernel k has more than 24 parameters
MANTA_KERNEL(k, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int,
             int, int, int, int, int, int, int W(, int));
#endif

// ---- scopes and values ---------------------------------------------------------------------------

#ifdef CASE_jump_into_scope // c++: jump|cross|bypass
int f(int n);
int f(int n)
{
    W(if (n > 3) goto in;)
    MANTA_SCOPE();
    R(if (n > 3) goto in;)
in:
    return n;
}
#endif

#ifdef CASE_put_of_pointers // c++: not pointers
static const char *names[] = {"a"};
manta_ref_t f(void);
manta_ref_t f(void) { return manta_put(W(names) R(names[0]), 1); }
#endif

#ifdef CASE_put_of_int // c c++: pointer|no matching function|subscripted|indirection|unary
manta_ref_t f(int *p);
manta_ref_t f(int *p) { return manta_put(W(*) p, 4); }
#endif
