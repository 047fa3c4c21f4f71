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
