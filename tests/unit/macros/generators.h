// Generators that are called from C and from C++, with bodies in both.
#ifndef TESTS_UNIT_MACROS_GENERATORS_H
#define TESTS_UNIT_MACROS_GENERATORS_H

#include <manta/manta.h>

typedef struct gen_point {
    int x, y;
} gen_point_t;

// Body in C. Every kind that there may be, the values in the midst of them.
#define walk_PARAMS                                                                                \
    MANTA_VAL(gen_point_t, from), MANTA_OUT(gen_point_t, place, steps.count),                      \
        MANTA_IN(int, steps), MANTA_LOCAL(int *, ends), MANTA_VAL(int, rounds)
MANTA_GENERATOR_DECLARE(walk);

// Body in C++, without a parameter.
#define cc_ticks_PARAMS MANTA_OUT(double, t)
MANTA_GENERATOR_DECLARE(cc_ticks);

#ifdef __cplusplus
extern "C" {
#endif
// Tests in C: 0, or the line that did not hold.
int generators_in_c(void);
int generators_in_c_here(void);
int generators_in_c_fail(void);
#ifdef __cplusplus
}
#endif

#endif
