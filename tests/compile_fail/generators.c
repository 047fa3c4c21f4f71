// Programs with generators that must not compile; as tasks.c.
#include <manta/manta.h>

// clang-format off
#ifdef WRONG
#define W(...) __VA_ARGS__
#define R(...)
#else
#define W(...)
#define R(...) __VA_ARGS__
#endif

struct place {
    int row;
};
struct pair {
    int a, b;
};
#define lines_PARAMS MANTA_VAL(struct pair, p), MANTA_IN(float, x), MANTA_OUT(float, line, x.count)
MANTA_GENERATOR_DECLARE(lines);
#define ticks_PARAMS MANTA_OUT(long, t, 1)
MANTA_GENERATOR_DECLARE(ticks);
#define pairs_PARAMS MANTA_VAL(int, n), MANTA_OUT(struct pair, p, 1)
MANTA_GENERATOR_DECLARE(pairs);

// ---- declarations --------------------------------------------------------------------------------

#ifdef CASE_generator_without_values // c c++: generator bare needs one MANTA_OUT
MANTA_GENERATOR(bare, struct place, MANTA_VAL(int, n) R(, MANTA_OUT(int, v, 1)))
{
    return MANTA_ERR_END;
}
#endif

#ifdef CASE_generator_without_parameters // c c++: MANTA_GENERATOR.bare, .... sees no parameters
MANTA_GENERATOR(bare, struct place R(, MANTA_OUT(int, v, 1)))
{
    return self->row ? MANTA_OK : MANTA_ERR_END;
}
#endif

#ifdef CASE_generator_with_two_values // c c++: generator both needs one MANTA_OUT
MANTA_GENERATOR(both, struct place, MANTA_OUT(int, v, 1) W(, MANTA_OUT(int, w, 1)))
{
    return MANTA_ERR_END;
}
#endif

#ifdef CASE_generator_with_inout // c c++: parameter x of generator takes is MANTA_INOUT
MANTA_GENERATOR(takes, struct place, W(MANTA_INOUT) R(MANTA_IN)(int, x), MANTA_OUT(int, v, 1))
{
    return MANTA_ERR_END;
}
#endif

#ifdef CASE_generator_with_list // c c++: parameter x of generator takes is MANTA_IN_LIST
MANTA_GENERATOR(takes, struct place, W(MANTA_IN_LIST) R(MANTA_IN)(int, x), MANTA_OUT(int, v, 1))
{
    return MANTA_ERR_END;
}
#endif

#ifdef CASE_generator_of_pointers // c c++: cannot be copied by its bytes
MANTA_GENERATOR(takes, struct place, MANTA_OUT(int W(*), v, 1))
{
    return MANTA_ERR_END;
}
#endif

#ifdef CASE_generator_parameter_no_tuple // c c++: is no MANTA_VAL
MANTA_GENERATOR(takes, struct place, R(MANTA_VAL(int, n)) W(int n), MANTA_OUT(int, v, 1))
{
    return MANTA_ERR_END;
}
#endif

#ifdef CASE_generator_declared_without_list // c c++: before MANTA_GENERATOR_DECLARE.alone. write
#ifndef WRONG
#define alone_PARAMS MANTA_OUT(int, v, 1)
#endif
MANTA_GENERATOR_DECLARE(alone);
#endif

#ifdef CASE_generator_body_without_declaration // c c++: before the body of generator alone write MANTA_GENERATOR_DECLARE|DECLARE_alone_is_missing
#define alone_PARAMS MANTA_VAL(int, n), MANTA_OUT(int, v, 1)
R(MANTA_GENERATOR_DECLARE(alone);)
MANTA_GENERATOR(alone, struct place)
{
    return self->row == n ? MANTA_OK : MANTA_ERR_END;
}
#endif

#ifdef CASE_generator_value_of_other_type // c c++: incompatible type|could not convert|cannot convert|no viable|no match
MANTA_GENERATOR(pairs, struct place)
{
    struct pair right = {n, 2};
    struct place wrong = {self->row};
    p.data[0] = W(wrong) R(right);
    return right.a > wrong.row ? MANTA_OK : MANTA_ERR_END;
}
#endif

#ifdef CASE_generator_writes_argument // c c++: read-only|const
MANTA_GENERATOR(lines, struct place)
{
    W(x.data[0] = 1;)
    line.data[0] = x.data[0];
    return self->row ? MANTA_OK : MANTA_ERR_END;
}
#endif

// ---- calls ---------------------------------------------------------------------------------------

#ifdef CASE_generator_too_few // c c++: too few arguments|no matching function
lines_t f(struct pair p, manta_ref_t x);
lines_t f(struct pair p, manta_ref_t x)
{
    return x.id ? lines_remote(p R(, x)) : lines_remote(p, x);
}
#endif

#ifdef CASE_generator_too_many // c c++: too many arguments|no matching function
ticks_t f(manta_ref_t x);
ticks_t f(manta_ref_t x)
{
    return x.id ? ticks_remote(W(x)) : ticks_remote();
}
#endif

#ifdef CASE_generator_int_for_ref // c c++: incompatible type|no matching function|could not convert|cannot convert|no viable conversion
lines_t f(struct pair p, manta_ref_t x);
lines_t f(struct pair p, manta_ref_t x)
{
    return lines_remote(p, W((int)x.id) R(x));
}
#endif

#ifdef CASE_generator_ref_for_value // c c++: incompatible type|no matching function|could not convert|cannot convert|no viable conversion
lines_t f(struct pair p, manta_ref_t x);
lines_t f(struct pair p, manta_ref_t x)
{
    return p.a ? lines_remote(W(x) R(p), x) : lines_remote(p, x);
}
#endif

#ifdef CASE_generator_wrong_ref_type // c++: deleted|no matching function|conversion
lines_t f(struct pair p, manta::ref<float> x, manta::ref<int> y);
lines_t f(struct pair p, manta::ref<float> x, manta::ref<int> y)
{
    return y.id ? lines_remote(p, W(y) R(x)) : lines_remote(p, x);
}
#endif

#ifdef CASE_generator_options_of_task // c c++: incompatible type|no matching function|could not convert|cannot convert|no viable conversion
ticks_t f(void);
ticks_t f(void)
{
    return ticks_with(W(MANTA_OPTIONS()) R(MANTA_GENERATOR_OPTIONS()));
}
#endif

#ifdef CASE_generator_unknown_option // c c++: no member|no field|has no|does not refer|field designator
ticks_t f(void);
ticks_t f(void)
{
    return ticks_with(MANTA_GENERATOR_OPTIONS(.W(ahead) R(run_ahead) = 3));
}
#endif

#ifdef CASE_generator_next_of_another // c c++: incompatible type|no matching function|could not convert|cannot convert|no viable conversion
manta_status_t f(ticks_t t, lines_t l);
manta_status_t f(ticks_t t, lines_t l)
{
    ticks_out_t r;
    return l.status ? ticks_next(W(l) R(t), &r, 0) : ticks_next(t, &r, 0);
}
#endif

#ifdef CASE_generator_value_into_other // cw c++: incompatible.pointer|no matching function|cannot convert|invalid conversion|could not convert
manta_status_t f(ticks_t t);
manta_status_t f(ticks_t t)
{
    W(float) R(long) value;
    return ticks_next_value(t, &value);
}
#endif

#ifdef CASE_generator_ref_of_other_type // c++: deleted|no matching function|cannot convert|invalid conversion
manta_status_t f(ticks_t t);
manta_status_t f(ticks_t t)
{
    manta::ref<W(float) R(long)> r;
    return ticks_next(t, &r, 0);
}
#endif

#ifdef CASE_generator_status_dropped // cw c++w: unused.result|nodiscard|warn_unused_result
int f(ticks_t t);
int f(ticks_t t)
{
    ticks_out_t r;
    R(return) ticks_next(t, &r, 0);
    W(return 0;)
}
#endif
