# Tests of devices/cuda; included by tests/CMakeLists.txt where the CUDA driver is built.

# manta_cuda_test(<name> ...): a unit test that sees CUDA's headers and depends on the fakes.
function(manta_cuda_test name)
    manta_test(unit/devices/cuda/${name} ${ARGN}
               DEFINES MANTA_FAKES_DIR="${CMAKE_CURRENT_BINARY_DIR}/fakes"
                       MANTA_CUDA_STUB="${MANTA_CUDA_INCLUDE_DIR}/../lib64/stubs/libcuda.so")
    string(MAKE_C_IDENTIFIER "test_unit/devices/cuda/${name}" target)
    target_include_directories(${target} SYSTEM PRIVATE ${MANTA_CUDA_INCLUDE_DIR})
    get_property(fakes GLOBAL PROPERTY MANTA_FAKES)
    add_dependencies(${target} ${fakes})
endfunction()

manta_cuda_test(cuda_api_test)
