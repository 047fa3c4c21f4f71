# Kernels: the CPU twins, and finding kernels by name.

manta_test(unit/kernels/twins_test)

set(table "")
if(TARGET manta_kernels_table)
    get_target_property(table manta_kernels_table TABLE)
    set(table MTI_KERNELS_TABLE="${table}")
endif()
manta_test(unit/kernels/code_test DEFINES ${table})
if(TARGET manta_kernels_table)
    add_dependencies(test_unit_kernels_code_test manta_kernels_table)
endif()

# The kernels themselves, by the host compiler. Fused products are what its options say: none, as in the
# twins.
manta_test(unit/kernels/emulated_test TIMEOUT 120
           SOURCES unit/kernels/emulated_test.cc support/kernel_cases.cc)
target_include_directories(test_unit_kernels_emulated_test PRIVATE
                           ${CMAKE_CURRENT_SOURCE_DIR}/unit/kernels/cuda)
target_compile_options(test_unit_kernels_emulated_test PRIVATE -ffp-contract=off
                       -Wno-unknown-pragmas)
