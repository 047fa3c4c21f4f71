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

# The fake driver with kernels in it, for programs that know nothing of it: samples, and those of this folder.
add_library(fake_cuda_twins SHARED gpu/twins/twins.cc $<TARGET_OBJECTS:manta_kernels>)
target_link_libraries(fake_cuda_twins PRIVATE manta_internal fake_cuda m ${CMAKE_DL_LIBS})
target_compile_options(fake_cuda_twins PRIVATE ${MANTA_WARNINGS})
target_include_directories(fake_cuda_twins PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
set_target_properties(fake_cuda_twins PROPERTIES
                      OUTPUT_NAME cuda_twins CXX_VISIBILITY_PRESET hidden
                      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/gpu)

# Programs that know nothing of the fake, on it: manta's kernels against their twins, and what ./dev gpu reports.
get_property(fakes GLOBAL PROPERTY MANTA_FAKES)
set(twins_env ${MANTA_TEST_ENV} FAKE_CUDA_DEVICES=2 FAKE_CUDA_PAGEABLE=1
              MANTA_CUDA_LIBRARY=$<TARGET_FILE:fake_cuda_twins>)
add_test(NAME integration/kernels_on_cuda COMMAND test_gpu_kernels_test)
set_tests_properties(integration/kernels_on_cuda PROPERTIES LABELS integration TIMEOUT 300
                     ENVIRONMENT "${twins_env}")
find_package(Python3 COMPONENTS Interpreter QUIET)
# What it runs has tests of its own, also under sanitizers; a report of it is enough once.
if(Python3_FOUND AND TARGET photos AND MANTA_BENCH AND NOT MANTA_SANITIZE)
    manta_script_test(integration/gpu_report_fake TIMEOUT 900 ENV ${twins_env}
        COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/report ${PROJECT_BINARY_DIR}
                ${PROJECT_BINARY_DIR} --quick --out ${CMAKE_CURRENT_BINARY_DIR}/gpu/report
                --limit saxpy=600 --limit digits=600 --limit photos=600 --limit serve=600
                cts figures bench saxpy digits photos serve)
endif()
