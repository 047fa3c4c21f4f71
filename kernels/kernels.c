#include "kernels.h"

#include "ref/twins.h"

// The build names the header that it makes from the .cu files; without nvcc there is none.
#ifdef MTI_KERNELS_IMAGE
#include MTI_KERNELS_IMAGE
#define IMAGE mti_manta_kernels_image, MTI_IMAGE_BYTES
#else
#define IMAGE NULL, 0
#endif

#define ROW(x, max_block_threads)                                                                  \
    {                                                                                              \
        "manta/" #x, "manta_" #x, mti_manta_##x##_arg_bytes,                                       \
            (uint32_t)(sizeof mti_manta_##x##_arg_bytes / sizeof(uint32_t) - 1),                   \
            max_block_threads, mti_twin_##x, &mti_kernels_code, NULL                               \
    }

static manta_kernel_t kernels[] = {
    ROW(fill_u8, 0),
    ROW(fill_u32, 0),
    ROW(fill_f32, 0),
    ROW(fill_f64, 0),
    ROW(axpy_f32, 0),
    ROW(axpy_f64, 0),
    ROW(sum_f32, 1024),
    ROW(sum_f64, 1024),
    ROW(min_f32, 1024),
    ROW(min_f64, 1024),
    ROW(max_f32, 1024),
    ROW(max_f64, 1024),
    ROW(transpose_f32, 256),
    ROW(transpose_f64, 256),
    ROW(gemm_f32, 256),
    ROW(gemm_f64, 256),
    ROW(syrk_f64, 256),
    ROW(norms_f64, 256),
    ROW(rbf_f64, 256),
    ROW(potrf_f64, 256),
    ROW(trsm_f64, 64),
    ROW(trsm_left_f64, 256),
    ROW(conv3x3_u8, 256),
    ROW(conv3x3_f32, 256),
    ROW(luma_u8, 0),
    ROW(histogram_u8, 0),
    ROW(equalize_map_u8, 256),
    ROW(map_luma_u8, 0),
};

manta_code_t mti_kernels_code = {
    "manta/kernels", IMAGE, kernels, (uint32_t)(sizeof kernels / sizeof *kernels), 0, NULL};
