# The CUDA driver on a real GPU. Where there is none its tests are skipped and say so. Included by
# tests/CMakeLists.txt where that driver is built; the kernels of the suite need nvcc besides.

manta_test(gpu/cuda_figures LINK manta_testing NO_MAIN TIMEOUT 300 SERIAL)
target_include_directories(test_gpu_cuda_figures SYSTEM PRIVATE ${MANTA_CUDA_INCLUDE_DIR})

find_program(MANTA_NVCC nvcc HINTS ENV CUDA_PATH ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin)
mark_as_advanced(MANTA_NVCC)
if(NOT MANTA_NVCC)
    manta_script_test(gpu/cuda_cts COMMAND sh -c "echo 'skipped: there is no nvcc here'; exit 77")
    return()
endif()

set(cts_fatbin ${CMAKE_CURRENT_BINARY_DIR}/gpu/cts_kernels.fatbin)
# PTX for an old architecture: the driver compiles it for whatever GPU is there.
add_custom_command(OUTPUT ${cts_fatbin}
                   COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/gpu
                   COMMAND ${MANTA_NVCC} --fatbin -arch=compute_75 -o ${cts_fatbin}
                           ${CMAKE_CURRENT_SOURCE_DIR}/gpu/cts_kernels.cu
                   DEPENDS gpu/cts_kernels.cu)
add_custom_target(cts_fatbin DEPENDS ${cts_fatbin})

manta_test(gpu/cuda_cts LINK manta_testing TIMEOUT 300 SERIAL SOURCES ${cuda_cts_sources}
           DEFINES CTS_ON_HARDWARE CTS_FATBIN="${cts_fatbin}")
add_dependencies(test_gpu_cuda_cts cts_fatbin)
