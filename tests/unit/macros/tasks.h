// Tasks that are called from C and from C++. Bodies of those above the line are in tasks_c.c, of those
// below it in tasks_cc.cc.
#ifndef TESTS_UNIT_MACROS_TASKS_H
#define TESTS_UNIT_MACROS_TASKS_H

#include <manta/manta.h>

struct tm_pair {
    float x;
    double y;
};
typedef enum tm_color { TM_RED, TM_GREEN, TM_BLUE } tm_color_t;

#define tm_axpy_PARAMS MANTA_VAL(float, a), MANTA_IN(float, x), MANTA_INOUT(float, y)
MANTA_TASK_DECLARE(tm_axpy);

#define tm_minmax_PARAMS MANTA_IN(float, x), MANTA_OUT(float, lo, 1), MANTA_OUT(float, hi, 1)
MANTA_TASK_DECLARE(tm_minmax);

#define tm_nothing_PARAMS MANTA_NOTHING
MANTA_TASK_DECLARE(tm_nothing);

// Sums 16 values of many types.
#define tm_sixteen_PARAMS                                                                          \
    MANTA_VAL(signed char, a), MANTA_VAL(unsigned char, b), MANTA_VAL(short, c),                   \
        MANTA_VAL(unsigned short, d), MANTA_VAL(int, e), MANTA_VAL(unsigned, f),                   \
        MANTA_VAL(long, g), MANTA_VAL(unsigned long, h), MANTA_VAL(long long, i),                  \
        MANTA_VAL(unsigned long long, j), MANTA_VAL(float, k), MANTA_VAL(double, l),               \
        MANTA_VAL(bool, m), MANTA_VAL(struct tm_pair, n), MANTA_VAL(tm_color_t, o),                \
        MANTA_LOCAL(double *, sum)
MANTA_TASK_DECLARE(tm_sixteen);

// Sixteen results: r<i> is i, i times.
#define tm_results_PARAMS                                                                          \
    MANTA_OUT(int, r1, 1), MANTA_OUT(int, r2, 2), MANTA_OUT(int, r3, 3), MANTA_OUT(int, r4, 4),    \
        MANTA_OUT(int, r5, 5), MANTA_OUT(int, r6, 6), MANTA_OUT(int, r7, 7),                       \
        MANTA_OUT(int, r8, 8), MANTA_OUT(int, r9, 9), MANTA_OUT(int, r10, 10),                     \
        MANTA_OUT(int, r11, 11), MANTA_OUT(int, r12, 12), MANTA_OUT(int, r13, 13),                 \
        MANTA_OUT(int, r14, 14), MANTA_OUT(int, r15, 15), MANTA_OUT(int, r16, 16)
MANTA_TASK_DECLARE(tm_results);

// Every kind at once, in no particular order.
#define tm_every_PARAMS                                                                            \
    MANTA_OUT(double, total, 1), MANTA_IN_LIST(float, parts), MANTA_INOUT(int, counters),          \
        MANTA_VAL(struct tm_pair, scale), MANTA_OUT(unsigned char, grown), MANTA_IN(short, bias),  \
        MANTA_OUT(float, joined, parts.count + bias.count), MANTA_LOCAL(const char *, note)
MANTA_TASK_DECLARE(tm_every);

// Two lists: elements that the lists have in all, and how many refs.
#define tm_lists_PARAMS                                                                            \
    MANTA_IN_LIST(float, a), MANTA_IN_LIST(struct tm_pair, b), MANTA_OUT(size_t, n, 4)
MANTA_TASK_DECLARE(tm_lists);

// Adds one to slots[index].
#define tm_mark_PARAMS MANTA_LOCAL(int *, slots), MANTA_VAL(int, by)
MANTA_TASK_DECLARE(tm_mark);

#define tm_fail_PARAMS MANTA_VAL(int, code), MANTA_OUT(int, r, 1)
MANTA_TASK_DECLARE(tm_fail);

// ---- in C++ -------------------------------------------------------------------------------------

#define tm_cc_scale_PARAMS MANTA_VAL(double, by), MANTA_INOUT(double, v)
MANTA_TASK_DECLARE(tm_cc_scale);

// kind 0: std::runtime_error("boom"), 1: an int, 2: while its sizes are asked for.
#define tm_cc_throw_PARAMS MANTA_VAL(int, kind), MANTA_OUT(int, r, tm_cc_count(kind))
#ifdef __cplusplus
extern "C" {
#endif
size_t tm_cc_count(int kind);
#ifdef __cplusplus
}
#endif
MANTA_TASK_DECLARE(tm_cc_throw);

// Copies a list's elements one after another.
#define tm_cc_join_PARAMS MANTA_IN_LIST(int, parts), MANTA_OUT(int, all)
MANTA_TASK_DECLARE(tm_cc_join);

#endif
