// Code objects and kernels by name. For core and its siblings (lane).
#ifndef MTI_CORE_CODE_H
#define MTI_CORE_CODE_H

#include <manta/kernel.h>

#ifdef __cplusplus
extern "C" {
#endif

// The registered code objects: the last one first, then ->next. Indices count up from 0, in the order of
// registration, so that a device's table of what it has loaded can go by them. Threads: any.
const manta_code_t *mti_code_first(void);

// The row of |name|: the one with device code if there is one. Its |code| is the object that it is a
// row of, and |code->image| NULL if only a twin is known. NULL: no such kernel. Threads: any.
const manta_kernel_t *mti_code_find(const char *name);

// The same for a launch through |kernel|, which remembers the answer; then checks |arg_count| and the
// sizes. Also sets |*out_twin|: the twin of that name, from whatever object, or NULL.
// Errors: NOT_FOUND · ALREADY_EXISTS · TYPE_MISMATCH · INVALID_ARGUMENT; with a message.
manta_status_t mti_code_resolve(manta_kernel_t *kernel, uint32_t arg_count,
                                const manta_kernel_t **out_row, manta_twin_fn_t *out_twin);

// Whether there is nothing to launch: a zero in |grid|.
static inline bool mti_grid_is_empty(const manta_grid_t *grid)
{
    return grid->grid[0] == 0 || grid->grid[1] == 0 || grid->grid[2] == 0;
}

#ifdef __cplusplus
}
#endif

#endif
