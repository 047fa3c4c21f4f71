// Programs with actors that must not compile; as tasks.c.
#include <manta/manta.h>

// clang-format off
#ifdef WRONG
#define W(...) __VA_ARGS__
#define R(...)
#else
#define W(...)
#define R(...) __VA_ARGS__
#endif

struct till {
    long sum;
};
#define till_PARAMS MANTA_VAL(long, opening), MANTA_IN(float, coins)
MANTA_ACTOR_DECLARE(till, struct till);
#define till_add_PARAMS MANTA_VAL(long, x), MANTA_IN(float, coins), MANTA_OUT(long, sum, 1)
MANTA_METHOD_DECLARE(till, add);
#define till_tick_PARAMS MANTA_NOTHING
MANTA_METHOD_DECLARE(till, tick);
#define safe_PARAMS MANTA_NOTHING
MANTA_ACTOR_DECLARE(safe, struct till);

#ifdef CASE_actor_create_too_few // c c++: too few arguments|no matching function
till_t f(manta_ref_t x);
till_t f(manta_ref_t x)
{
    return till_new(x.id == 0 R(, x));
}
#endif

#ifdef CASE_actor_create_too_many // c c++: too many arguments|no matching function
till_t f(manta_ref_t x);
till_t f(manta_ref_t x)
{
    return till_create(MANTA_ACTOR_OPTIONS(.max_restarts = 1), 3, x W(, x));
}
#endif

#ifdef CASE_actor_create_int_for_ref // c c++: incompatible type|no matching function|could not convert|cannot convert|no viable conversion
till_t f(manta_ref_t x);
till_t f(manta_ref_t x)
{
    return till_new(3, W(3 + (int)x.id) R(x));
}
#endif

#ifdef CASE_actor_options_of_task // c c++: incompatible type|no matching function|could not convert|cannot convert|no viable conversion
till_t f(manta_ref_t x);
till_t f(manta_ref_t x)
{
    return till_create(W(MANTA_OPTIONS()) R(MANTA_ACTOR_OPTIONS()), 3, x);
}
#endif

#ifdef CASE_actor_unknown_option // c c++: no member|no field|has no|does not refer|field designator
till_t f(manta_ref_t x);
till_t f(manta_ref_t x)
{
    return till_create(MANTA_ACTOR_OPTIONS(.W(max_restart) R(max_restarts) = 1), 3, x);
}
#endif

#ifdef CASE_method_too_few // c c++: too few arguments|no matching function
manta_ref_t f(till_t t, manta_ref_t x);
manta_ref_t f(till_t t, manta_ref_t x)
{
    return x.id ? till_add(t, 1 R(, x)) : x;
}
#endif

#ifdef CASE_method_too_many // c c++: too many arguments|no matching function
manta_ref_t f(till_t t, manta_ref_t x);
manta_ref_t f(till_t t, manta_ref_t x)
{
    return x.id ? till_tick(t W(, x)) : x;
}
#endif

#ifdef CASE_method_of_another_actor // c c++: incompatible type|no matching function|could not convert|cannot convert|no viable conversion
manta_ref_t f(till_t t, safe_t s);
manta_ref_t f(till_t t, safe_t s)
{
    return s.actor.id ? till_tick(W(s) R(t)) : till_tick(t);
}
#endif

#ifdef CASE_method_ref_for_actor // c c++: incompatible type|no matching function|could not convert|cannot convert|no viable conversion
manta_ref_t f(till_t t, manta_ref_t x);
manta_ref_t f(till_t t, manta_ref_t x)
{
    return x.id ? till_tick(W(x) R(t)) : till_tick(t);
}
#endif

#ifdef CASE_method_actor_for_ref // c c++: incompatible type|no matching function|could not convert|cannot convert|no viable conversion
manta_ref_t f(till_t t, manta_ref_t x);
manta_ref_t f(till_t t, manta_ref_t x)
{
    return x.id ? till_add(t, 1, W(t) R(x)) : x;
}
#endif

#ifdef CASE_method_wrong_ref_type // c++: deleted|no matching function|conversion
manta::ref<long> f(till_t t, manta::ref<float> x, manta::ref<int> y);
manta::ref<long> f(till_t t, manta::ref<float> x, manta::ref<int> y)
{
    return y.id ? till_add(t, 1, W(y) R(x)) : till_add(t, 1, x);
}
#endif

#ifdef CASE_method_unknown // c c++: till_sub|implicit
manta_ref_t f(till_t t);
manta_ref_t f(till_t t)
{
    return W(till_sub(t)) R(till_tick(t));
}
#endif

#ifdef CASE_method_result_dropped // cw c++w: unused-result|ignoring return value
void f(till_t t);
void f(till_t t)
{
    W(till_tick(t);) R((void)till_tick_go(t);)
}
#endif

#ifdef CASE_method_result_of_none // c c++: exactly one result|unavailable|error
manta_status_t f(till_t t, manta_ref_t x);
manta_status_t f(till_t t, manta_ref_t x)
{
    long y;
    (void)t;
    return W(till_tick_result(x, &y)) R(till_add_result(x, &y));
}
#endif

#ifdef CASE_constructor_with_result // c c++: constructors have none
MANTA_ACTOR(box, struct till, MANTA_VAL(int, a) W(, MANTA_OUT(int, b, 1)))
{
    self->sum = a;
    return MANTA_OK;
}
#endif

#ifdef CASE_constructor_with_inout // c c++: constructors have none
MANTA_ACTOR(box, struct till, MANTA_VAL(int, a), W(MANTA_INOUT(int, b)) R(MANTA_IN(int, b)))
{
    self->sum = a;
    return MANTA_OK;
}
#endif

#ifdef CASE_actor_declare_without_params // c c++: #define later_PARAMS MANTA_VAL
#ifndef WRONG
#define later_PARAMS MANTA_VAL(int, a)
#endif
MANTA_ACTOR_DECLARE(later, struct till);
#endif

#ifdef CASE_method_declare_without_params // c c++: #define till_later_PARAMS MANTA_VAL
#ifndef WRONG
#define till_later_PARAMS MANTA_VAL(int, a)
#endif
MANTA_METHOD_DECLARE(till, later);
#endif

#ifdef CASE_method_of_no_actor // c c++: nobody
MANTA_METHOD(W(nobody) R(till), nap)
{
    return MANTA_OK;
}
#endif

#ifdef CASE_method_parameter_called_self // c c++: redefinition|redeclar|conflicting
MANTA_METHOD(till, mix, MANTA_VAL(int, W(self) R(other)))
{
    return MANTA_OK;
}
#endif

#ifdef CASE_count_over_self // c c++: [‘'"]self[’'"].*(undeclared|not declared)|undeclared identifier 'self'
MANTA_METHOD(till, mix, MANTA_IN(int, x), MANTA_OUT(int, y, W(self->sum) R(x.count)))
{
    return MANTA_OK;
}
#endif

#ifdef CASE_method_pointer_value // c c++: cannot be copied by its bytes
MANTA_METHOD(till, mix, MANTA_VAL(int W(*), x))
{
    return MANTA_OK;
}
#endif

#ifdef CASE_two_constructors // c c++: redefinition
MANTA_ACTOR(till, struct till) { return MANTA_OK; }
MANTA_ACTOR(W(till) R(safe), struct till) { return MANTA_OK; }
#endif

#ifdef CASE_two_destructors // c c++: redefinition
MANTA_ACTOR(safe, struct till) { return MANTA_OK; }
MANTA_ACTOR_END(safe) {}
W(MANTA_ACTOR_END(safe) {})
#endif

#ifdef CASE_method_cuda_without_params // c c++: sees no parameters
MANTA_METHOD_CUDA(till, W(later) R(add)) { return MANTA_OK; }
#endif

#ifdef CASE_actor_cuda_without_params // c c++: sees no parameters
MANTA_ACTOR_CUDA(W(shop) R(till)) { return MANTA_OK; }
#endif
