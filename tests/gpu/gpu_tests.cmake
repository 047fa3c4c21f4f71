# Tests that need a device; skipped with the reason where there is none.

manta_test(gpu/kernels_test NO_MAIN TIMEOUT 300
           SOURCES gpu/kernels_test.cc gpu/gpu.cc support/kernel_cases.cc)

# The same on virtual devices, where the twins run: not skipped.
add_test(NAME integration/kernels_on_sim COMMAND test_gpu_kernels_test)
set_tests_properties(integration/kernels_on_sim PROPERTIES LABELS integration TIMEOUT 300
                     ENVIRONMENT "${MANTA_TEST_ENV};MANTA_SIM_GPUS=2")

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

# The report of ./dev gpu, with small scripts in the place of what it runs.
find_package(Python3 COMPONENTS Interpreter QUIET)
if(Python3_FOUND)
    foreach(case all_well one_fails virtual none parts)
        manta_script_test(integration/gpu_report_${case} COMMAND
                          Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/report_test ${case})
    endforeach()
endif()
