// A libcuda.so.1 in which work on the device costs nothing, because there is none: kernels do not run, and all
// that is asked about is over. What is left of a task is what the host pays for it, in a bench that needs no GPU.
// Memory is the host's; copies and words that streams write do happen.
#include <cstdlib>
#include <cstring>
#include <type_traits>

extern "C" {
#include "devices/cuda/cuda_api.h"
}

namespace
{

// Of the signature that is asked for, and does nothing.
template <typename F> struct nothing;
template <typename... A> struct nothing<CUresult (*)(A...)> {
    static CUresult call(A...) { return CUDA_SUCCESS; }
};

// ---- what must answer -----------------------------------------------------------------------------

// Handles are addresses of something; nobody looks inside.
char some_context, some_thing;
thread_local CUcontext current;

template <typename T> CUresult give(T *out)
{
    *out = reinterpret_cast<T>(&some_thing);
    return CUDA_SUCCESS;
}

CUresult driver_version(int *version)
{
    *version = 13000;
    return CUDA_SUCCESS;
}

CUresult error_name(CUresult, const char **text)
{
    *text = "an error of the null driver";
    return CUDA_SUCCESS;
}

CUresult device_count(int *count)
{
    *count = 1;
    return CUDA_SUCCESS;
}

CUresult device_get(CUdevice *device, int ordinal)
{
    *device = ordinal;
    return ordinal == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult device_name(char *name, int length, CUdevice)
{
    strncpy(name, "Null GPU", static_cast<size_t>(length));
    return CUDA_SUCCESS;
}

CUresult device_uuid(CUuuid *uuid, CUdevice)
{
    memset(uuid, 1, sizeof *uuid);
    return CUDA_SUCCESS;
}

CUresult device_attribute(int *value, CUdevice_attribute attribute, CUdevice)
{
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID:
        *value = -1;
        break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        *value = 9;
        break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        *value = 0;
        break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS:
        *value = 1;
        break;
    default: // limits
        *value = 1024;
    }
    return CUDA_SUCCESS;
}

CUresult device_bytes(size_t *bytes, CUdevice)
{
    *bytes = size_t{1} << 30;
    return CUDA_SUCCESS;
}

CUresult device_pci(char *id, int length, CUdevice)
{
    strncpy(id, "0000:00:00.0", static_cast<size_t>(length));
    return CUDA_SUCCESS;
}

CUresult can_access(int *can, CUdevice, CUdevice)
{
    *can = 0;
    return CUDA_SUCCESS;
}

CUresult context_retain(CUcontext *context, CUdevice)
{
    *context = reinterpret_cast<CUcontext>(&some_context);
    return CUDA_SUCCESS;
}

CUresult context_set(CUcontext context)
{
    current = context;
    return CUDA_SUCCESS;
}

CUresult context_get(CUcontext *context)
{
    *context = current;
    return CUDA_SUCCESS;
}

CUresult stream_create(CUstream *stream, unsigned, int)
{
    return give(stream);
}

CUresult event_create(CUevent *event, unsigned)
{
    return give(event);
}

CUresult memory_info(size_t *free_bytes, size_t *bytes)
{
    return device_bytes(free_bytes, 0), device_bytes(bytes, 0);
}

CUresult memory_alloc(CUdeviceptr *ptr, size_t bytes)
{
    void *memory = aligned_alloc(512, (bytes + 511) / 512 * 512);
    *ptr = reinterpret_cast<CUdeviceptr>(memory);
    return memory ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult memory_alloc_async(CUdeviceptr *ptr, size_t bytes, CUmemoryPool, CUstream)
{
    return memory_alloc(ptr, bytes);
}

CUresult memory_free(CUdeviceptr ptr)
{
    free(reinterpret_cast<void *>(ptr));
    return CUDA_SUCCESS;
}

CUresult memory_free_async(CUdeviceptr ptr, CUstream)
{
    return memory_free(ptr);
}

CUresult host_pointer(CUdeviceptr *ptr, void *host, unsigned)
{
    *ptr = reinterpret_cast<CUdeviceptr>(host);
    return CUDA_SUCCESS;
}

CUresult pool_create(CUmemoryPool *pool, const CUmemPoolProps *)
{
    return give(pool);
}

CUresult copy(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream)
{
    memcpy(reinterpret_cast<void *>(dst), reinterpret_cast<const void *>(src), bytes);
    return CUDA_SUCCESS;
}

CUresult fill_bytes(CUdeviceptr ptr, unsigned char value, size_t bytes, CUstream)
{
    memset(reinterpret_cast<void *>(ptr), value, bytes);
    return CUDA_SUCCESS;
}

CUresult library_load(CUlibrary *library, const void *, CUjit_option *, void **, unsigned,
                      CUlibraryOption *, void **, unsigned)
{
    return give(library);
}

CUresult library_kernel(CUkernel *kernel, CUlibrary, const char *)
{
    return give(kernel);
}

CUresult kernel_function(CUfunction *function, CUkernel)
{
    return give(function);
}

CUresult kernel_attribute(int *value, CUfunction_attribute attribute, CUkernel, CUdevice)
{
    *value = attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024 : 0;
    return CUDA_SUCCESS;
}

CUresult write_word(CUstream, CUdeviceptr ptr, cuuint64_t value, unsigned)
{
    // release: what the stream did before, which is done; who reads it may be another thread
    __atomic_store_n(reinterpret_cast<uint64_t *>(ptr), value, __ATOMIC_RELEASE);
    return CUDA_SUCCESS;
}

// ---- the table ----------------------------------------------------------------------------------------

struct Symbol {
    const char *name;
    void *address;
};

// One that must answer: |function| has to have the signature of that version.
template <typename F> constexpr F same(F function)
{
    return function;
}
#define ANSWER(name, version, function)                                                            \
    {                                                                                              \
#name, reinterpret_cast < void *>(same <PFN_##name##_v##version>(function))                \
    }
#define NOTHING(name, version)                                                                     \
    {#name, reinterpret_cast<void *>(&nothing<PFN_##name##_v##version>::call)},

const Symbol answers[] = {
    ANSWER(cuDriverGetVersion, 2020, driver_version),
    ANSWER(cuGetErrorName, 6000, error_name),
    ANSWER(cuGetErrorString, 6000, error_name),
    ANSWER(cuDeviceGetCount, 2000, device_count),
    ANSWER(cuDeviceGet, 2000, device_get),
    ANSWER(cuDeviceGetName, 2000, device_name),
    ANSWER(cuDeviceGetUuid, 11040, device_uuid),
    ANSWER(cuDeviceGetAttribute, 2000, device_attribute),
    ANSWER(cuDeviceTotalMem, 3020, device_bytes),
    ANSWER(cuDeviceGetPCIBusId, 4010, device_pci),
    ANSWER(cuDeviceCanAccessPeer, 4000, can_access),
    ANSWER(cuDevicePrimaryCtxRetain, 7000, context_retain),
    ANSWER(cuCtxSetCurrent, 4000, context_set),
    ANSWER(cuCtxGetCurrent, 4000, context_get),
    ANSWER(cuStreamCreateWithPriority, 5050, stream_create),
    ANSWER(cuEventCreate, 2000, event_create),
    ANSWER(cuMemGetInfo, 3020, memory_info),
    ANSWER(cuMemAlloc, 3020, memory_alloc),
    ANSWER(cuMemFree, 3020, memory_free),
    ANSWER(cuMemHostGetDevicePointer, 3020, host_pointer),
    ANSWER(cuMemPoolCreate, 11020, pool_create),
    ANSWER(cuMemAllocFromPoolAsync, 11020, memory_alloc_async),
    ANSWER(cuMemFreeAsync, 11020, memory_free_async),
    ANSWER(cuMemcpyAsync, 4000, copy),
    ANSWER(cuMemsetD8Async, 3020, fill_bytes),
    ANSWER(cuLibraryLoadData, 12000, library_load),
    ANSWER(cuLibraryGetKernel, 12000, library_kernel),
    ANSWER(cuKernelGetFunction, 12000, kernel_function),
    ANSWER(cuKernelGetAttribute, 12000, kernel_attribute),
    ANSWER(cuStreamWriteValue64, 11070, write_word),
};
const Symbol others[] = {MTI_CU_REQUIRED(NOTHING)};

const Symbol *find(const char *name)
{
    for (const Symbol &symbol : answers)
        if (strcmp(symbol.name, name) == 0) return &symbol;
    for (const Symbol &symbol : others)
        if (strcmp(symbol.name, name) == 0) return &symbol;
    return nullptr;
}

} // namespace

#undef cuGetProcAddress
extern "C" __attribute__((visibility("default"))) CUresult
cuGetProcAddress_v2(const char *name, void **out_address, int, cuuint64_t,
                    CUdriverProcAddressQueryResult *out_found)
{
    const Symbol *symbol = find(name);
    *out_address = symbol ? symbol->address : nullptr;
    *out_found = symbol ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return symbol ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

// By this name programs know it.
extern "C" __attribute__((visibility("default"))) const int null_cuda = 1;
