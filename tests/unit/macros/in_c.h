// Tests that are written in C. Each gives 0, or the line that did not hold.
#ifndef TESTS_UNIT_MACROS_IN_C_H
#define TESTS_UNIT_MACROS_IN_C_H

#include <manta/manta.h>

#include <stdbool.h>

MANTA_BEGIN_DECLS
int in_c_example(void);
int in_c_no_parameters(void);
int in_c_sixteen(void);
int in_c_results(void);
int in_c_every(void);
int in_c_lists(void);
int in_c_range(void);
int in_c_fail(void);
int in_c_own_task(void);
int in_c_type_mismatch(void);
int in_c_body_in_cc(void);
int in_c_dtypes(void);
int in_c_put(void);
int in_c_options(void);
// Leaves a block with a scope in one of several ways; |*out_ref| was made in it.
enum { IN_C_FALL, IN_C_RETURN, IN_C_BREAK, IN_C_CONTINUE, IN_C_GOTO, IN_C_KEEP, IN_C_WAYS };
int in_c_scope(int way, manta_ref_t *out_ref);
MANTA_END_DECLS

#endif
