# The macros over a fake of the library; and, once there is one, over the library itself.

set(macros ${CMAKE_CURRENT_SOURCE_DIR}/unit/macros)
set(macros_sources ${macros}/macros_test.cc ${macros}/tasks_c.c ${macros}/tasks_cc.cc
                   ${macros}/in_c.c)
set(macros_fake ${macros_sources} ${macros}/calls_test.cc ${macros}/fake_runtime.cc)

manta_test(unit/macros/macros_test LINK manta_internal SOURCES ${macros_fake})
manta_test(unit/macros/macros_cxx20_test LINK manta_internal SOURCES ${macros_fake} CXX_STD 20
           DEFINES MANTA_NO_SYSTEM_HEADER)
if(TARGET manta_core)
    manta_test(integration/macros_test SOURCES ${macros_sources})
    foreach(std 17 20)
        manta_test(integration/cuda_bodies_cxx${std}_test CXX_STD ${std}
                   SOURCES ${macros}/cuda_test.cc ${macros}/cuda_c.c ${macros}/cuda_cc.cc)
    endforeach()
    set(actor_sources ${macros}/actors_cc.cc ${macros}/actors_c.c)
    manta_test(integration/actor_macros_test SOURCES ${actor_sources})
    manta_test(integration/actor_macros_cxx20_test SOURCES ${actor_sources} CXX_STD 20
               DEFINES MANTA_NO_SYSTEM_HEADER)
    set(generator_sources ${macros}/generators_cc.cc ${macros}/generators_c.c)
    manta_test(integration/generator_macros_test SOURCES ${generator_sources})
    manta_test(integration/generator_macros_cxx20_test SOURCES ${generator_sources} CXX_STD 20
               DEFINES MANTA_NO_SYSTEM_HEADER)
endif()

find_program(MANTA_LINT_CLANG clang)
find_program(MANTA_LINT_CLANGXX clang++)
set(compilers ${CMAKE_C_COMPILER} ${CMAKE_CXX_COMPILER})
if(MANTA_LINT_CLANG AND MANTA_LINT_CLANGXX AND NOT CMAKE_C_COMPILER_ID MATCHES Clang)
    list(APPEND compilers ${MANTA_LINT_CLANG} ${MANTA_LINT_CLANGXX})
endif()
manta_script_test(unit/macros/quiet COMMAND sh ${macros}/quiet.sh ${PROJECT_SOURCE_DIR} ${compilers})

# Nothing links in a build with sanitizers that nvcc does not know of.
if(TARGET manta_core AND BUILD_SHARED_LIBS AND NOT MANTA_SANITIZE)
    set(nvcc "")
    if(NOT MANTA_CUDA STREQUAL OFF)
        mti_nvcc(nvcc)
    endif()
    manta_script_test(unit/macros/nvcc
                      COMMAND sh ${macros}/nvcc.sh ${PROJECT_SOURCE_DIR} $<TARGET_FILE_DIR:manta>
                              "${nvcc}" c++17 c++20)
endif()
