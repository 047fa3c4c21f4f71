// Actors that are called from C and from C++; the shop's methods have their bodies in both.
#ifndef TESTS_UNIT_MACROS_ACTORS_H
#define TESTS_UNIT_MACROS_ACTORS_H

#include <manta/manta.h>

typedef struct shop_state {
    double takings;
    int opened;
    const char *sign;
} shop_state_t;

// Every kind that a constructor may have.
#define shop_PARAMS                                                                                \
    MANTA_VAL(double, opening), MANTA_IN(double, floats), MANTA_IN_LIST(int, counts),              \
        MANTA_LOCAL(const char *, sign)
MANTA_ACTOR_DECLARE(shop, shop_state_t);

// Bodies in C.
#define shop_sell_PARAMS MANTA_VAL(double, price), MANTA_OUT(double, takings, 1)
MANTA_METHOD_DECLARE(shop, sell);
#define shop_close_PARAMS MANTA_NOTHING
MANTA_METHOD_DECLARE(shop, close);
#define shop_every_PARAMS                                                                          \
    MANTA_OUT(double, total, 1), MANTA_IN_LIST(float, parts), MANTA_INOUT(int, counters),          \
        MANTA_VAL(int, scale), MANTA_IN(short, bias),                                              \
        MANTA_OUT(float, joined, parts.count + scale)
MANTA_METHOD_DECLARE(shop, every);

// Bodies in C++.
#define shop_cc_throw_PARAMS MANTA_VAL(int, what), MANTA_OUT(int, r, 1)
MANTA_METHOD_DECLARE(shop, cc_throw);
#define shop_cc_scale_PARAMS MANTA_INOUT(double, v)
MANTA_METHOD_DECLARE(shop, cc_scale);

#ifdef __cplusplus
extern "C" {
#endif
// Tests in C: 0, or the line that did not hold.
int actors_in_c(void);
int actors_in_c_here(void);
extern int shops_closed;
#ifdef __cplusplus
}
#endif

#endif
