# Tasks on GPUs beside raw calls of the driver, in one program; included by tests/bench/CMakeLists.txt where the
# CUDA driver is built.

set(sources board.cc fake.cc main.cc manta.cc raw.cc)
list(TRANSFORM sources PREPEND ${CMAKE_CURRENT_LIST_DIR}/)
add_executable(bench_gpu ${sources})
target_compile_options(bench_gpu PRIVATE ${MANTA_WARNINGS} -O2)
target_include_directories(bench_gpu PRIVATE ${PROJECT_SOURCE_DIR}/tests)
target_include_directories(bench_gpu SYSTEM PRIVATE ${MANTA_CUDA_INCLUDE_DIR})
# The raw side calls through the library's own table.
target_link_libraries(bench_gpu PRIVATE manta_testing Threads::Threads ${CMAKE_DL_LIBS})

mti_nvcc(nvcc)
if(nvcc)
    manta_kernels(bench_gpu SOURCES ${CMAKE_CURRENT_LIST_DIR}/kernels.cu)
    target_compile_definitions(bench_gpu PRIVATE BENCH_HAS_IMAGE)
else()
    message(STATUS "bench: bench_gpu has no device code: no nvcc was found")
endif()

# What gpu-chain-host runs on: a driver whose device has nothing to do.
add_library(null_cuda SHARED ${CMAKE_CURRENT_LIST_DIR}/null_cuda.cc)
target_compile_options(null_cuda PRIVATE ${MANTA_WARNINGS} -O2)
target_include_directories(null_cuda SYSTEM PRIVATE ${MANTA_CUDA_INCLUDE_DIR})
target_link_libraries(null_cuda PRIVATE manta_internal)
set_target_properties(null_cuda PROPERTIES CXX_VISIBILITY_PRESET hidden)
add_dependencies(bench_gpu null_cuda)

# Do all rows come out, on the fake driver? Sizes are tiny; the figures mean nothing.
if(MANTA_TESTS AND Python3_FOUND)
    manta_script_test(bench/gpu_smoke TIMEOUT 600
        ENV ${MANTA_TEST_ENV} FAKE_CUDA_DEVICES=2 FAKE_CUDA_PAGEABLE=1
            MANTA_CUDA_LIBRARY=${MANTA_FAKES_DIR}/libcuda/libcuda.so.1
        COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/smoke ${PROJECT_BINARY_DIR})
    manta_script_test(bench/gpu_none TIMEOUT 60
        ENV ${MANTA_TEST_ENV} MANTA_CUDA_LIBRARY=${MANTA_FAKES_DIR}/answers_100/libcuda.so.1
        COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/smoke ${PROJECT_BINARY_DIR} --none)
    set_tests_properties(bench/gpu_smoke PROPERTIES PROCESSORS 2)
    get_property(fakes GLOBAL PROPERTY MANTA_FAKES)
    add_dependencies(bench_gpu ${fakes})
endif()
