# Tests that need a device; skipped with the reason where there is none.

manta_test(gpu/kernels_test NO_MAIN TIMEOUT 300
           SOURCES gpu/kernels_test.cc gpu/gpu.cc support/kernel_cases.cc)

# Libraries of CUDA's, where the toolkit has them.
if(NOT MANTA_CUDA STREQUAL OFF)
    find_package(CUDAToolkit QUIET)
endif()
if(TARGET CUDA::cublas)
    manta_test(gpu/cublas_test NO_MAIN TIMEOUT 300 LIBS CUDA::cublas CUDA::cudart
               SOURCES gpu/cublas_test.cc gpu/gpu.cc)
else()
    message(STATUS "tests/gpu/cublas_test is left out: no cuBLAS")
endif()
