#include "devices/cuda/cuda_status.h"

#include "base/status.h"

mti_cu_severity_t mti_cu_severity(CUresult result)
{
    switch ((int)result) {
    case CUDA_SUCCESS:
    case CUDA_ERROR_NOT_READY:
        return MTI_CU_NOTHING;
    // What cuda.h says of these: the process is left in an inconsistent state, or the context gone.
    case CUDA_ERROR_DEINITIALIZED:
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case 226: // CUDA_ERROR_CONTAINED, of newer headers
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case 721: // CUDA_ERROR_TENSOR_MEMORY_LEAK, of newer headers than the oldest we build with
    case CUDA_ERROR_MPS_CLIENT_TERMINATED:
    case CUDA_ERROR_EXTERNAL_DEVICE:
    case CUDA_ERROR_UNKNOWN: // nothing is known of what still works
        return MTI_CU_LOST;
    default:
        return MTI_CU_CALL;
    }
}

manta_status_t mti_cu_code(CUresult result)
{
    if (mti_cu_severity(result) == MTI_CU_LOST) return MANTA_ERR_DEVICE_LOST;
    switch ((int)result) {
    case CUDA_SUCCESS:
        return MANTA_OK;
    case CUDA_ERROR_NOT_READY:
        return MANTA_NOT_READY;
    case CUDA_ERROR_OUT_OF_MEMORY:
        return MANTA_ERR_OUT_OF_MEMORY;
    case CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES:
    case CUDA_ERROR_TOO_MANY_PEERS:
    case CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE:
    case CUDA_ERROR_DEVICE_UNAVAILABLE:
        return MANTA_ERR_RESOURCE_EXHAUSTED;
    case CUDA_ERROR_NOT_FOUND:
    case CUDA_ERROR_FILE_NOT_FOUND:
    case CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND:
        return MANTA_ERR_NOT_FOUND;
    case CUDA_ERROR_NOT_SUPPORTED:
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
    case CUDA_ERROR_JIT_COMPILER_NOT_FOUND:
    case CUDA_ERROR_JIT_COMPILATION_DISABLED:
    case CUDA_ERROR_PEER_ACCESS_UNSUPPORTED:
    case 36: // CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER, of newer headers
    case CUDA_ERROR_STUB_LIBRARY:
    case CUDA_ERROR_NO_DEVICE:
        return MANTA_ERR_NOT_SUPPORTED;
    case CUDA_ERROR_NOT_PERMITTED:
    case CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED:
        return MANTA_ERR_NOT_ALLOWED_HERE;
    case CUDA_ERROR_INVALID_VALUE:
    case CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED:
    case CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED:
    case CUDA_ERROR_INVALID_IMAGE:
    case CUDA_ERROR_INVALID_PTX:
    case CUDA_ERROR_INVALID_SOURCE:
    case CUDA_ERROR_INVALID_CLUSTER_SIZE:
        return MANTA_ERR_INVALID_ARGUMENT;
    case CUDA_ERROR_OPERATING_SYSTEM:
    case CUDA_ERROR_SYSTEM_NOT_READY:
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
    case CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
        return MANTA_ERR_SYSTEM;
    default:
        // A wrong context or handle is a mistake of ours: users hold neither.
        return MANTA_ERR_INTERNAL;
    }
}

manta_status_t mti_cu_describe(const mti_cu_api_t *api, CUresult result, const char *call)
{
    const char *name = NULL, *text = NULL;
    if (api->cuGetErrorName(result, &name) != CUDA_SUCCESS || !name) name = "an unknown error";
    if (api->cuGetErrorString(result, &text) != CUDA_SUCCESS || !text) text = "no description";
    return mti_fail(mti_cu_code(result), "%s: %s (%d), %s", call, name, (int)result, text);
}

manta_status_t mti_cu_fail_forked(void)
{
    return mti_fail(
        MANTA_ERR_FORKED,
        "this process was forked off one that uses CUDA; the driver cannot be used here");
}
