// Initialisation, devices, contexts.
#include "fakes/libcuda/calls.h"
#include "fakes/libcuda/state.h"

#include <cstdio>
#include <cstring>

using namespace fake;

CUresult fake_cuInit(unsigned flags)
{
    Call call("cuInit", false);
    if (call.refused() != CUDA_SUCCESS) return call.refused();
    if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
    state.is_initialised = true;
    return CUDA_SUCCESS;
}

CUresult fake_cuDriverGetVersion(int *version)
{
    Call call("cuDriverGetVersion", false);
    if (call.refused() != CUDA_SUCCESS) return call.refused();
    *version = state.options.driver_version;
    return CUDA_SUCCESS;
}

static const struct {
    int code;
    const char *name;
} error_names[] = {
#define ERROR_NAME(x)                                                                              \
    {                                                                                              \
        x, #x                                                                                      \
    }
    ERROR_NAME(CUDA_SUCCESS),
    ERROR_NAME(CUDA_ERROR_INVALID_VALUE),
    ERROR_NAME(CUDA_ERROR_OUT_OF_MEMORY),
    ERROR_NAME(CUDA_ERROR_NOT_INITIALIZED),
    ERROR_NAME(CUDA_ERROR_DEINITIALIZED),
    ERROR_NAME(CUDA_ERROR_STUB_LIBRARY),
    ERROR_NAME(CUDA_ERROR_NO_DEVICE),
    ERROR_NAME(CUDA_ERROR_INVALID_DEVICE),
    ERROR_NAME(CUDA_ERROR_INVALID_IMAGE),
    ERROR_NAME(CUDA_ERROR_INVALID_CONTEXT),
    ERROR_NAME(CUDA_ERROR_NO_BINARY_FOR_GPU),
    ERROR_NAME(CUDA_ERROR_ECC_UNCORRECTABLE),
    ERROR_NAME(CUDA_ERROR_INVALID_PTX),
    ERROR_NAME(CUDA_ERROR_INVALID_SOURCE),
    ERROR_NAME(CUDA_ERROR_INVALID_HANDLE),
    ERROR_NAME(CUDA_ERROR_NOT_FOUND),
    ERROR_NAME(CUDA_ERROR_NOT_READY),
    ERROR_NAME(CUDA_ERROR_ILLEGAL_ADDRESS),
    ERROR_NAME(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES),
    ERROR_NAME(CUDA_ERROR_LAUNCH_TIMEOUT),
    ERROR_NAME(CUDA_ERROR_CONTEXT_IS_DESTROYED),
    ERROR_NAME(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED),
    ERROR_NAME(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED),
    ERROR_NAME(CUDA_ERROR_LAUNCH_FAILED),
    ERROR_NAME(CUDA_ERROR_NOT_PERMITTED),
    ERROR_NAME(CUDA_ERROR_NOT_SUPPORTED),
    ERROR_NAME(CUDA_ERROR_UNKNOWN),
#undef ERROR_NAME
};

CUresult fake_cuGetErrorName(CUresult error, const char **name)
{
    *name = nullptr;
    for (const auto &row : error_names) {
        if (row.code != error) continue;
        *name = row.name;
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult fake_cuGetErrorString(CUresult error, const char **text)
{
    const char *name;
    *text = nullptr;
    if (fake_cuGetErrorName(error, &name) != CUDA_SUCCESS) return CUDA_ERROR_INVALID_VALUE;
    *text = error == CUDA_ERROR_OUT_OF_MEMORY     ? "out of memory"
            : error == CUDA_ERROR_ILLEGAL_ADDRESS ? "an illegal memory access was encountered"
                                                  : "as the fake driver was told to answer";
    return CUDA_SUCCESS;
}

// ---- Devices -------------------------------------------------------------------------------------

static Device *device_of(CUdevice handle)
{
    if (handle < 0 || static_cast<size_t>(handle) >= state.devices.size()) return nullptr;
    return state.devices[static_cast<size_t>(handle)].get();
}

CUresult fake_cuDeviceGetCount(int *count)
{
    FAKE_CALL(cuDeviceGetCount);
    *count = static_cast<int>(state.devices.size());
    return CUDA_SUCCESS;
}

CUresult fake_cuDeviceGet(CUdevice *device, int ordinal)
{
    FAKE_CALL(cuDeviceGet);
    if (!device_of(ordinal)) return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

CUresult fake_cuDeviceGetName(char *name, int length, CUdevice device)
{
    FAKE_CALL(cuDeviceGetName);
    if (!device_of(device)) return CUDA_ERROR_INVALID_DEVICE;
    snprintf(name, static_cast<size_t>(length), "Fake GPU");
    return CUDA_SUCCESS;
}

CUresult fake_cuDeviceGetUuid(CUuuid *uuid, CUdevice device)
{
    FAKE_CALL(cuDeviceGetUuid);
    if (!device_of(device)) return CUDA_ERROR_INVALID_DEVICE;
    memset(uuid->bytes, 0xFA, sizeof uuid->bytes);
    uuid->bytes[15] = static_cast<char>(device);
    return CUDA_SUCCESS;
}

CUresult fake_cuDeviceTotalMem(size_t *bytes, CUdevice device)
{
    FAKE_CALL(cuDeviceTotalMem);
    if (!device_of(device)) return CUDA_ERROR_INVALID_DEVICE;
    *bytes = state.options.memory_bytes;
    return CUDA_SUCCESS;
}

CUresult fake_cuDeviceGetPCIBusId(char *id, int length, CUdevice device)
{
    FAKE_CALL(cuDeviceGetPCIBusId);
    if (!device_of(device)) return CUDA_ERROR_INVALID_DEVICE;
    if (length < 13) return CUDA_ERROR_INVALID_VALUE;
    snprintf(id, static_cast<size_t>(length), "0000:%02X:00.0", 0xA0 + device);
    return CUDA_SUCCESS;
}

// An H200's, where it matters.
CUresult fake_cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
    FAKE_CALL(cuDeviceGetAttribute);
    if (!device_of(device)) return CUDA_ERROR_INVALID_DEVICE;
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
        *value = 1024;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
        *value = 64;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
        *value = 2147483647;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
        *value = 65535;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
        *value = 49152;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
        *value = 232448;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_PITCH:
        *value = 2147483647;
        break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        *value = 132;
        break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
        *value = 32;
        break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
        *value = 3201000;
        break;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
        *value = 6144;
        break;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
        *value = 3;
        break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        *value = 9;
        break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        *value = 0;
        break;
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM:
        *value = 1;
        break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
        *value = !state.options.no_pools;
        break;
    case CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS:
        *value = !state.options.no_words;
        break;
    case CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID:
        if (state.options.driver_version < 12030) return CUDA_ERROR_INVALID_VALUE;
        *value = -1;
        break;
    default:
        violation("cuDeviceGetAttribute: the fake does not know attribute %d", attribute);
        return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult fake_cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer)
{
    FAKE_CALL(cuDeviceCanAccessPeer);
    if (!device_of(device) || !device_of(peer)) return CUDA_ERROR_INVALID_DEVICE;
    *can = device != peer && !state.options.no_peers;
    return CUDA_SUCCESS;
}

// ---- Contexts ------------------------------------------------------------------------------------

CUresult fake_cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice handle)
{
    FAKE_CALL(cuDevicePrimaryCtxRetain);
    Device *device = device_of(handle);
    if (!device) return CUDA_ERROR_INVALID_DEVICE;
    CUresult result = sticky_of(device);
    if (result != CUDA_SUCCESS) return result;
    if (!device->primary) {
        device->primary = new CUctx_st{device};
        handle_add(&state.contexts, device->primary);
    }
    device->retained++;
    *context = device->primary;
    return CUDA_SUCCESS;
}

CUresult fake_cuDevicePrimaryCtxRelease(CUdevice handle)
{
    FAKE_CALL(cuDevicePrimaryCtxRelease);
    Device *device = device_of(handle);
    if (!device) return CUDA_ERROR_INVALID_DEVICE;
    if (device->retained == 0) {
        violation("cuDevicePrimaryCtxRelease: the context of device %d is not retained", handle);
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    // What was lost cannot be given back any more.
    if (--device->retained == 0 && !device->sticky.load()) {
        std::vector<std::string> left;
        list_leaks(&left);
        std::string whose = "of device " + std::to_string(device->ordinal);
        for (const std::string &line : left)
            if (line.find(whose) != std::string::npos)
                violation("cuDevicePrimaryCtxRelease: still there: %s", line.c_str());
    }
    return CUDA_SUCCESS;
}

CUresult fake_cuCtxSetCurrent(CUcontext context)
{
    FAKE_CALL(cuCtxSetCurrent);
    if (context && !is_alive(context, "cuCtxSetCurrent", "context"))
        return CUDA_ERROR_INVALID_CONTEXT;
    if (context && context->device->retained == 0) {
        violation("cuCtxSetCurrent: the context of device %u was released",
                  context->device->ordinal);
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    }
    current_context = context;
    return CUDA_SUCCESS;
}

CUresult fake_cuCtxGetCurrent(CUcontext *context)
{
    FAKE_CALL(cuCtxGetCurrent);
    *context = current_context;
    return CUDA_SUCCESS;
}

CUresult fake_cuCtxGetDevice(CUdevice *out_device)
{
    FAKE_CALL(cuCtxGetDevice);
    CUcontext context;
    CUresult result = need_context(call.name(), &context);
    if (result == CUDA_SUCCESS) *out_device = static_cast<CUdevice>(context->device->ordinal);
    return result;
}
