# Looks for the headers of the CUDA driver API. Nothing else of the toolkit is needed to build the
# driver of manta: it opens libcuda.so.1 at run time.
#
# Sets MANTA_CUDA_BUILT, and MANTA_CUDA_INCLUDE_DIR if it is ON.

set(MANTA_CUDA_BUILT OFF)
if(NOT MANTA_CUDA STREQUAL OFF)
    find_path(MANTA_CUDA_INCLUDE_DIR cudaTypedefs.h
              HINTS ENV CUDA_HOME ENV CUDA_PATH
              PATHS /usr/local/cuda /opt/cuda
              PATH_SUFFIXES include targets/x86_64-linux/include targets/sbsa-linux/include
              DOC "Folder of cuda.h and cudaTypedefs.h, CUDA 12.4 or newer")
    mark_as_advanced(MANTA_CUDA_INCLUDE_DIR)
    set(manta_cuda_lacks "the headers cuda.h and cudaTypedefs.h are nowhere (set MANTA_CUDA_INCLUDE_DIR)")
    if(MANTA_CUDA_INCLUDE_DIR AND EXISTS ${MANTA_CUDA_INCLUDE_DIR}/cuda.h)
        file(STRINGS ${MANTA_CUDA_INCLUDE_DIR}/cuda.h manta_cuda_line
             REGEX "^#define CUDA_VERSION +[0-9]+")
        string(REGEX MATCH "[0-9]+" manta_cuda_version "${manta_cuda_line}")
        if(manta_cuda_version GREATER_EQUAL 12040)
            set(MANTA_CUDA_BUILT ON)
        else()
            set(manta_cuda_lacks "the headers in ${MANTA_CUDA_INCLUDE_DIR} are of version \
'${manta_cuda_version}', and 12040 (CUDA 12.4) is the oldest that will do")
        endif()
    endif()
    if(NOT MANTA_CUDA_BUILT)
        if(MANTA_CUDA STREQUAL ON)
            message(FATAL_ERROR "MANTA_CUDA=ON, but ${manta_cuda_lacks}")
        endif()
        message(STATUS "Without the CUDA driver: ${manta_cuda_lacks}")
    endif()
endif()
