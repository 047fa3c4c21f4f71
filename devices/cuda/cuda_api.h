// The CUDA driver as a table of functions, opened at run time. Nothing of manta links CUDA.
//
// Each symbol is asked for at the version whose signature manta calls, and never at "the newest":
// cuCtxSynchronize, cuMemcpyBatchAsync and others change their parameters between versions, and a
// newer driver would hand out a function that reads other registers than the caller fills.
//
// cuda.h redirects many names by macros (cuMemAlloc is cuMemAlloc_v2). The fields of the table go
// through the same macros as the calls, so api->cuMemAlloc() means the right one; what the driver is
// asked for is the plain name, which ## and # see before the macros do.
#ifndef MTI_DEVICES_CUDA_API_H
#define MTI_DEVICES_CUDA_API_H

#include <manta/status.h>

#include <stdbool.h>

#include <cuda.h>
#include <cudaTypedefs.h>

#if CUDA_VERSION < 12040
#error "manta needs the headers of CUDA 12.4 or newer"
#endif

// The same function before and after it lost |failIdx|. Headers older than the signature go without.
#if CUDA_VERSION >= 12080
#define MTI_CU_HAS_BATCH 1
#if CUDA_VERSION < 13000
typedef CUresult(CUDAAPI *PFN_cuMemcpyBatchAsync_v13000)(CUdeviceptr *dsts, CUdeviceptr *srcs,
                                                         size_t *sizes, size_t count,
                                                         CUmemcpyAttributes *attrs,
                                                         size_t *attrIdxs, size_t numAttrs,
                                                         CUstream hStream);
#endif
#else
#define MTI_CU_HAS_BATCH 0
#endif

// X(name, version). Without any of these there is no CUDA.
#define MTI_CU_REQUIRED(X)                                                                         \
    X(cuInit, 2000)                                                                                \
    X(cuDriverGetVersion, 2020)                                                                    \
    X(cuGetErrorName, 6000)                                                                        \
    X(cuGetErrorString, 6000)                                                                      \
    X(cuDeviceGetCount, 2000)                                                                      \
    X(cuDeviceGet, 2000)                                                                           \
    X(cuDeviceGetName, 2000)                                                                       \
    X(cuDeviceGetUuid, 11040)                                                                      \
    X(cuDeviceGetAttribute, 2000)                                                                  \
    X(cuDeviceTotalMem, 3020)                                                                      \
    X(cuDeviceGetPCIBusId, 4010)                                                                   \
    X(cuDeviceCanAccessPeer, 4000)                                                                 \
    X(cuDevicePrimaryCtxRetain, 7000)                                                              \
    X(cuDevicePrimaryCtxRelease, 11000)                                                            \
    X(cuCtxSetCurrent, 4000)                                                                       \
    X(cuCtxGetCurrent, 4000)                                                                       \
    X(cuStreamCreateWithPriority, 5050)                                                            \
    X(cuStreamDestroy, 4000)                                                                       \
    X(cuStreamQuery, 2000)                                                                         \
    X(cuStreamSynchronize, 2000)                                                                   \
    X(cuStreamWaitEvent, 3020)                                                                     \
    X(cuEventCreate, 2000)                                                                         \
    X(cuEventDestroy, 4000)                                                                        \
    X(cuEventRecord, 2000)                                                                         \
    X(cuEventQuery, 2000)                                                                          \
    X(cuMemGetInfo, 3020)                                                                          \
    X(cuMemAlloc, 3020)                                                                            \
    X(cuMemFree, 3020)                                                                             \
    X(cuMemHostRegister, 6050)                                                                     \
    X(cuMemHostUnregister, 4000)                                                                   \
    X(cuMemHostGetDevicePointer, 3020)                                                             \
    X(cuMemPoolCreate, 11020)                                                                      \
    X(cuMemPoolDestroy, 11020)                                                                     \
    X(cuMemPoolSetAttribute, 11020)                                                                \
    X(cuMemPoolSetAccess, 11020)                                                                   \
    X(cuMemAllocFromPoolAsync, 11020)                                                              \
    X(cuMemFreeAsync, 11020)                                                                       \
    X(cuMemcpyAsync, 4000)                                                                         \
    X(cuMemcpyPeerAsync, 4000)                                                                     \
    X(cuMemcpy2DAsync, 3020)                                                                       \
    X(cuMemcpy3DPeerAsync, 4000)                                                                   \
    X(cuMemsetD8Async, 3020)                                                                       \
    X(cuMemsetD16Async, 3020)                                                                      \
    X(cuMemsetD32Async, 3020)                                                                      \
    X(cuLibraryLoadData, 12000)                                                                    \
    X(cuLibraryUnload, 12000)                                                                      \
    X(cuLibraryGetKernel, 12000)                                                                   \
    X(cuKernelGetFunction, 12000)                                                                  \
    X(cuKernelGetAttribute, 12000)                                                                 \
    X(cuKernelSetAttribute, 12000)                                                                 \
    X(cuLaunchKernelEx, 11060)

// Each of these is asked for before it is called: a NULL is a feature less.
#define MTI_CU_OPTIONAL(X)                                                                         \
    X(cuStreamWriteValue64, 11070) /* completion words; without: events alone */                   \
    X(cuKernelGetParamInfo, 12040) /* sizes of parameters; without: they go unchecked */           \
    X(cuFuncLoad, 12040)           /* without: looking a function up loads it */                   \
    X(cuStreamGetCtx, 9020)        /* these three: streams and memory of others */                 \
    X(cuCtxGetDevice, 2000)                                                                        \
    X(cuPointerGetAttributes, 7000)

#if MTI_CU_HAS_BATCH
#define MTI_CU_BATCH(X)                                                                            \
    X(cuMemcpyBatchAsync, 12080, batch_v12080) /* with |failIdx| */                                \
    X(cuMemcpyBatchAsync, 13000, batch_v13000) /* without */
#else
#define MTI_CU_BATCH(X)
#endif

typedef struct mti_cu_api {
#define MTI_CU_FIELD(name, version)           PFN_##name##_v##version name;
#define MTI_CU_FIELD_AS(name, version, field) PFN_##name##_v##version field;
    MTI_CU_REQUIRED(MTI_CU_FIELD)
    MTI_CU_OPTIONAL(MTI_CU_FIELD)
    MTI_CU_BATCH(MTI_CU_FIELD_AS)
#undef MTI_CU_FIELD
#undef MTI_CU_FIELD_AS
    void *library;
    int driver_version; // 12040 is 12.4
    int device_count;   // > 0
} mti_cu_api_t;

// Opens the driver library, fills |out_api| and initialises the driver. |path| NULL: $MANTA_CUDA_LIBRARY
// if set, else "libcuda.so.1" wherever the loader finds it.
//
// Blocks:  for as long as cuInit does; under a millisecond where there is no driver.
// Errors:  NOT_SUPPORTED there is nothing to run on here: no library, the toolkit's stub, a driver
//          without devices, or one that is too old. A normal state; nothing is printed.
//          SYSTEM there is a driver and it does not start: the message says why.
//          FORKED this process is a fork of one that has started the driver.
manta_status_t mti_cu_api_load(const char *path, mti_cu_api_t *out_api);
// Closes what load() opened. For tests: the driver itself is never unloaded while anything uses it.
void mti_cu_api_unload(mti_cu_api_t *api);

// The table of this process, loaded by the first call that succeeds and kept for good. The same errors.
// Threads: any.
manta_status_t mti_cu_api_get(const mti_cu_api_t **out_api);

// True in a process that was forked off one in which the driver had been started: no call may reach it.
bool mti_cu_forked(void);

#endif
