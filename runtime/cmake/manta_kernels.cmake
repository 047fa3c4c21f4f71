# manta_kernels(): CUDA kernels into a program, by name. Part of the installed package.

# What device code is made for: these compute capabilities, and PTX of the last for later ones.
set(MANTA_CUDA_ARCHITECTURES "75;80;86;89;90" CACHE STRING
    "Compute capabilities that manta_kernels() compiles for")
set(MTI_KERNELS_DIR ${CMAKE_CURRENT_LIST_DIR} CACHE INTERNAL "")

# mti_nvcc(<out>): the compiler, or an empty string. One that is there but can't compile counts as none.
function(mti_nvcc out)
    find_program(MANTA_NVCC nvcc HINTS ENV CUDA_PATH ENV CUDA_HOME PATHS /usr/local/cuda
                 PATH_SUFFIXES bin DOC "NVIDIA's compiler, for kernels")
    mark_as_advanced(MANTA_NVCC)
    set(${out} "" PARENT_SCOPE)
    if(NOT MANTA_NVCC)
        return()
    endif()
    if(NOT "${MTI_NVCC_TRIED}" STREQUAL "${MANTA_NVCC}")
        set(try ${CMAKE_BINARY_DIR}/CMakeFiles/manta_nvcc)
        file(WRITE ${try}/try.cu "extern \"C\" __global__ void k(int *p) { *p = 1; }\n")
        execute_process(COMMAND ${MANTA_NVCC} --fatbin -o ${try}/try.fatbin ${try}/try.cu
                        RESULT_VARIABLE failed OUTPUT_VARIABLE said ERROR_VARIABLE said)
        execute_process(COMMAND ${MANTA_NVCC} --list-gpu-arch OUTPUT_VARIABLE archs ERROR_QUIET)
        string(REGEX MATCHALL "[0-9]+" archs "${archs}")
        if(failed)
            message(STATUS "${MANTA_NVCC} does not work, kernels will have no device code: ${said}")
        endif()
        set(MTI_NVCC_TRIED "${MANTA_NVCC}" CACHE INTERNAL "")
        set(MTI_NVCC_FAILED "${failed}" CACHE INTERNAL "")
        set(MTI_NVCC_ARCHS "${archs}" CACHE INTERNAL "")
    endif()
    if(NOT MTI_NVCC_FAILED)
        set(${out} "${MANTA_NVCC}" PARENT_SCOPE)
    endif()
endfunction()

# mti_nvcc_flags(<out> arch...): -gencode for each that this nvcc knows, and PTX of the last.
function(mti_nvcc_flags out)
    set(flags "")
    set(last "")
    foreach(arch IN LISTS ARGN)
        if(NOT MTI_NVCC_ARCHS OR arch IN_LIST MTI_NVCC_ARCHS)
            list(APPEND flags -gencode arch=compute_${arch},code=sm_${arch})
            set(last ${arch})
        endif()
    endforeach()
    if(last STREQUAL "")
        list(GET MTI_NVCC_ARCHS 0 last)
        message(WARNING "${MANTA_NVCC} knows none of the architectures ${ARGN}; taking ${last}")
        list(APPEND flags -gencode arch=compute_${last},code=sm_${last})
    endif()
    list(APPEND flags -gencode arch=compute_${last},code=compute_${last})
    set(${out} "${flags}" PARENT_SCOPE)
endfunction()

# mti_embed(<source.cu> <name> <what> <output> ARCHITECTURES arch... [OPTIONS option...] [DEPENDS file...])
#
# The build rules from a .cu to C: <output>. <what> is IMAGE, a header with the image alone, or CODE, a
# source file with a code object that registers itself.
function(mti_embed source name what output)
    cmake_parse_arguments(arg "" "" "ARCHITECTURES;OPTIONS;DEPENDS" ${ARGN})
    mti_nvcc_flags(flags ${arg_ARCHITECTURES})
    set(base ${CMAKE_CURRENT_BINARY_DIR}/${name})
    set(compile ${MANTA_NVCC} -std=c++17 ${arg_OPTIONS})
    # PTX is read for the kernels' names and parameters; of which architecture does not matter.
    add_custom_command(
        OUTPUT ${base}.fatbin ${base}.ptx
        COMMAND ${compile} --fatbin ${flags} -MD -MF ${base}.d -MT ${base}.fatbin
                -o ${base}.fatbin ${source}
        COMMAND ${compile} --ptx -o ${base}.ptx ${source}
        DEPENDS ${source} ${arg_DEPENDS} DEPFILE ${base}.d
        COMMENT "Compiling kernels ${name}" VERBATIM COMMAND_EXPAND_LISTS)
    add_custom_command(
        OUTPUT ${output}
        COMMAND ${CMAKE_COMMAND} -DWHAT=${what} -DNAME=${name} -DFATBIN=${base}.fatbin
                -DPTX=${base}.ptx -DOUTPUT=${output} -P ${MTI_KERNELS_DIR}/manta_embed.cmake
        DEPENDS ${base}.fatbin ${base}.ptx ${MTI_KERNELS_DIR}/manta_embed.cmake
        COMMENT "Embedding kernels ${name}" VERBATIM)
endfunction()

# manta_kernels(<target> SOURCES file.cu ... [ARCHITECTURES cc ...] [OPTIONS option ...] [REQUIRED])
#
# Compiles the kernels in each .cu and makes them part of <target>: an executable, a shared, module or
# object library that links manta::manta. They are launched by their names, which therefore are
# extern "C": MANTA_KERNEL and MANTA_LAUNCH (manta/kernel.h). Needs no CUDA language in the project.
#
# ARCHITECTURES  compute capabilities, as 90; default MANTA_CUDA_ARCHITECTURES. What nvcc does not know
#                is left out; PTX of the last serves later ones.
# OPTIONS        further options of nvcc: -I..., -D..., --use_fast_math.
# REQUIRED       without nvcc this is an error. Else it is only said: the program still builds, and its
#                kernels are their CPU twins (MANTA_KERNEL_TWIN) or MANTA_ERR_NOT_FOUND.
function(manta_kernels target)
    cmake_parse_arguments(arg "REQUIRED" "" "SOURCES;ARCHITECTURES;OPTIONS" ${ARGN})
    if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES)
        message(FATAL_ERROR "manta_kernels(${target} SOURCES file.cu ...): what is "
                            "'${arg_UNPARSED_ARGUMENTS}', and which files?")
    endif()
    get_target_property(type ${target} TYPE)
    if(type MATCHES "STATIC|INTERFACE")
        message(FATAL_ERROR "manta_kernels(${target}): kernels register themselves, and a linker drops "
                            "that from a static library; make it an OBJECT or SHARED library")
    endif()
    mti_nvcc(nvcc)
    if(NOT nvcc)
        if(arg_REQUIRED)
            message(FATAL_ERROR "manta_kernels(${target}): no nvcc was found")
        endif()
        message(STATUS "manta_kernels(${target}): no nvcc was found, so no device code")
        return()
    endif()
    if(NOT arg_ARCHITECTURES)
        set(arg_ARCHITECTURES ${MANTA_CUDA_ARCHITECTURES})
    endif()
    get_property(languages GLOBAL PROPERTY ENABLED_LANGUAGES)
    set(suffix cc)
    if("C" IN_LIST languages)
        set(suffix c)
    endif()
    foreach(source IN LISTS arg_SOURCES)
        cmake_path(ABSOLUTE_PATH source)
        cmake_path(GET source STEM stem)
        set(name ${target}_${stem})
        set(output ${CMAKE_CURRENT_BINARY_DIR}/${name}_kernels.${suffix})
        mti_embed(${source} ${name} CODE ${output} ARCHITECTURES ${arg_ARCHITECTURES}
                  OPTIONS ${arg_OPTIONS})
        target_sources(${target} PRIVATE ${output})
    endforeach()
    # The process keeps pointers into it.
    if(type MATCHES "SHARED|MODULE")
        target_link_options(${target} PRIVATE LINKER:-z,nodelete)
    endif()
endfunction()
