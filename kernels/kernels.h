// The kernels that come with manta, as a code object: what core looks launches up in first.
#ifndef MTI_KERNELS_KERNELS_H
#define MTI_KERNELS_KERNELS_H

#include <manta/kernels.h>

#ifdef __cplusplus
extern "C" {
#endif

// Statically filled in and registered from the start. |image| is NULL in a build without nvcc.
extern manta_code_t mti_kernels_code;

#ifdef __cplusplus
}
#endif

#endif
