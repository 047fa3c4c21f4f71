// Tasks with CPU and CUDA bodies in all combinations of files and languages.
#ifndef TESTS_UNIT_MACROS_CUDA_TASKS_H
#define TESTS_UNIT_MACROS_CUDA_TASKS_H

#include <manta/manta.h>

// Both bodies in one file: in cuda_c.c, in cuda_cc.cc.
#define tc_both_c_PARAMS                                                                           \
    MANTA_VAL(int, a), MANTA_IN(int, x), MANTA_INOUT(int, y), MANTA_OUT(int, z, 2 * x.count)
MANTA_TASK_DECLARE(tc_both_c);
#define tc_both_cc_PARAMS                                                                          \
    MANTA_VAL(int, a), MANTA_IN(int, x), MANTA_INOUT(int, y), MANTA_OUT(int, z, 2 * x.count)
MANTA_TASK_DECLARE(tc_both_cc);

// One body in each of the two files: first the CPU's.
#define tc_c_cc_PARAMS MANTA_VAL(int, a), MANTA_OUT(int, z, 1)
MANTA_TASK_DECLARE(tc_c_cc);
#define tc_cc_c_PARAMS MANTA_VAL(int, a), MANTA_OUT(int, z, 1)
MANTA_TASK_DECLARE(tc_cc_c);

// A CUDA body only.
#define tc_only_c_PARAMS MANTA_VAL(int, a), MANTA_OUT(int, z, 1)
MANTA_TASK_DECLARE(tc_only_c);
#define tc_only_cc_PARAMS MANTA_VAL(int, a), MANTA_OUT(int, z, 1)
MANTA_TASK_DECLARE(tc_only_cc);

#define tc_tick_PARAMS MANTA_NOTHING
MANTA_TASK_DECLARE(tc_tick);

MANTA_BEGIN_DECLS
// Tasks that are declared and defined in the C file.
extern manta_task_def_t tc_here_task, tc_bare_task;
// The CPU body has one parameter list, in the C file, the CUDA body another, in the C++ file:
// tc_differ, tc_longer.
manta_ref_t tc_differ_call(void);
manta_ref_t tc_longer_call(void);
MANTA_END_DECLS

#endif
