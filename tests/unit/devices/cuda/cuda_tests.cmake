# Tests of devices/cuda; included by tests/CMakeLists.txt where the CUDA driver is built.

set(MANTA_FAKES_DIR ${CMAKE_CURRENT_BINARY_DIR}/fakes)

# manta_cuda_test(<folder/.../name> ...): a test that sees CUDA's headers and runs on the fake driver.
function(manta_cuda_test name)
    manta_test(${name} ${ARGN}
               ENV "MANTA_CUDA_LIBRARY=${MANTA_FAKES_DIR}/libcuda/libcuda.so.1"
               DEFINES MANTA_FAKES_DIR="${MANTA_FAKES_DIR}"
                       MANTA_CUDA_STUB="${MANTA_CUDA_INCLUDE_DIR}/../lib64/stubs/libcuda.so")
    string(MAKE_C_IDENTIFIER "test_${name}" target)
    target_include_directories(${target} SYSTEM PRIVATE ${MANTA_CUDA_INCLUDE_DIR})
    get_property(fakes GLOBAL PROPERTY MANTA_FAKES)
    add_dependencies(${target} ${fakes})
endfunction()

# manta_cuda_again(<test> <name>): runs the program of <test> a second time, with the fake driver for CUDA's.
function(manta_cuda_again test name)
    string(MAKE_C_IDENTIFIER "test_${test}" target)
    get_filename_component(label ${name} DIRECTORY)
    get_property(fakes GLOBAL PROPERTY MANTA_FAKES)
    add_dependencies(${target} ${fakes})
    add_test(NAME ${name} COMMAND ${target})
    set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT 120 ENVIRONMENT
        "${MANTA_TEST_ENV};MANTA_CUDA_LIBRARY=${MANTA_FAKES_DIR}/libcuda/libcuda.so.1")
endfunction()

manta_cuda_test(unit/devices/cuda/cuda_api_test)
manta_cuda_test(unit/devices/cuda/cuda_driver_test)
manta_cuda_test(unit/fakes/libcuda_test)

# The conformance suite with the CUDA driver in the place of the others.
list(TRANSFORM cts_sources REPLACE "/drivers.cc" "/cuda_drivers.cc" OUTPUT_VARIABLE cuda_cts_sources)
manta_cuda_test(cts/cuda_cts LINK manta_testing TIMEOUT 120 SOURCES ${cuda_cts_sources})

# What the lane makes of tasks, counted in calls of the driver.
manta_cuda_test(integration/device_calls_test
                SOURCES integration/device_calls_test.cc support/runtime_fixture.cc)

# GPUs that can't be used: of a broken driver, and of the fake one.
manta_cuda_test(integration/gpu_absent_test
                SOURCES integration/gpu_absent_test.cc support/runtime_fixture.cc)
add_test(NAME integration/gpu_broken_driver_test COMMAND test_integration_gpu_absent_test)
set_tests_properties(integration/gpu_broken_driver_test PROPERTIES LABELS integration TIMEOUT 120
    ENVIRONMENT "${MANTA_TEST_ENV};MANTA_CUDA_LIBRARY=${MANTA_FAKES_DIR}/answers_803/libcuda.so.1")
# Streams and memory of others.
manta_cuda_test(unit/core/cuda_join_test
                SOURCES unit/core/cuda_join_test.cc support/runtime_fixture.cc)
