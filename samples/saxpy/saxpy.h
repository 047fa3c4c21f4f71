// y = a x + y: one task with two bodies. What callers need.
#ifndef SAXPY_H
#define SAXPY_H

#include <manta/manta.h>

#define saxpy_PARAMS MANTA_VAL(float, a), MANTA_IN(float, x), MANTA_INOUT(float, y)
MANTA_TASK_DECLARE(saxpy);

#endif
