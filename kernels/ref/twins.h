// The CPU twins: for each kernel of include/manta/kernels.h, what it does, over the whole grid.
#ifndef MTI_KERNELS_REF_TWINS_H
#define MTI_KERNELS_REF_TWINS_H

#include <manta/kernel.h>

// The value of parameter |i|, which is of type |T|.
#define MTI_ARG(T, i) (*(T const *)args[i])

#define MTI_TWIN(name) void mti_twin_##name(const manta_grid_t *grid, void *const *args)

MTI_TWIN(fill_u8);
MTI_TWIN(fill_u32);
MTI_TWIN(fill_f32);
MTI_TWIN(fill_f64);
MTI_TWIN(axpy_f32);
MTI_TWIN(axpy_f64);
MTI_TWIN(sum_f32);
MTI_TWIN(sum_f64);
MTI_TWIN(min_f32);
MTI_TWIN(min_f64);
MTI_TWIN(max_f32);
MTI_TWIN(max_f64);
MTI_TWIN(transpose_f32);
MTI_TWIN(transpose_f64);
MTI_TWIN(gemm_f32);
MTI_TWIN(gemm_f64);
MTI_TWIN(syrk_f64);
MTI_TWIN(norms_f64);
MTI_TWIN(rbf_f64);
MTI_TWIN(potrf_f64);
MTI_TWIN(trsm_f64);
MTI_TWIN(trsm_left_f64);
MTI_TWIN(conv3x3_u8);
MTI_TWIN(conv3x3_f32);
MTI_TWIN(luma_u8);
MTI_TWIN(histogram_u8);
MTI_TWIN(equalize_map_u8);
MTI_TWIN(map_luma_u8);

#endif
