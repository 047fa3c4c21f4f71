// The driver's functions, under names of the fake: cuda.h declares the real ones.
#ifndef TESTS_FAKES_CALLS_H
#define TESTS_FAKES_CALLS_H

#include <cstddef>

#include <cuda.h>

// device.cc
CUresult fake_cuInit(unsigned flags);
CUresult fake_cuDriverGetVersion(int *version);
CUresult fake_cuGetErrorName(CUresult error, const char **name);
CUresult fake_cuGetErrorString(CUresult error, const char **text);
CUresult fake_cuDeviceGetCount(int *count);
CUresult fake_cuDeviceGet(CUdevice *device, int ordinal);
CUresult fake_cuDeviceGetName(char *name, int length, CUdevice device);
CUresult fake_cuDeviceGetUuid(CUuuid *uuid, CUdevice device);
CUresult fake_cuDeviceTotalMem(size_t *bytes, CUdevice device);
CUresult fake_cuDeviceGetPCIBusId(char *id, int length, CUdevice device);
CUresult fake_cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device);
CUresult fake_cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer);
CUresult fake_cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice handle);
CUresult fake_cuDevicePrimaryCtxRelease(CUdevice handle);
CUresult fake_cuCtxSetCurrent(CUcontext context);
CUresult fake_cuCtxGetCurrent(CUcontext *context);
CUresult fake_cuCtxGetDevice(CUdevice *out_device);
// stream.cc
CUresult fake_cuStreamCreateWithPriority(CUstream *out_stream, unsigned flags, int priority);
CUresult fake_cuStreamDestroy(CUstream stream);
CUresult fake_cuStreamGetCtx(CUstream stream, CUcontext *out_context);
CUresult fake_cuStreamQuery(CUstream stream);
CUresult fake_cuStreamSynchronize(CUstream stream);
CUresult fake_cuEventCreate(CUevent *out_event, unsigned flags);
CUresult fake_cuEventDestroy(CUevent event);
CUresult fake_cuEventRecord(CUevent event, CUstream stream);
CUresult fake_cuEventQuery(CUevent event);
CUresult fake_cuEventSynchronize(CUevent event);
CUresult fake_cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags);
CUresult fake_cuStreamWriteValue64(CUstream stream, CUdeviceptr address, cuuint64_t value,
                                   unsigned flags);
CUresult fake_cuStreamWaitValue64(CUstream stream, CUdeviceptr address, cuuint64_t value,
                                  unsigned flags);
CUresult fake_cuLaunchHostFunc(CUstream stream, CUhostFn fn, void *user);
// memory.cc
CUresult fake_cuMemGetInfo(size_t *free_bytes, size_t *total_bytes);
CUresult fake_cuMemAlloc(CUdeviceptr *out_address, size_t bytes);
CUresult fake_cuMemFree(CUdeviceptr address);
CUresult fake_cuMemPoolCreate(CUmemoryPool *out_pool, const CUmemPoolProps *props);
CUresult fake_cuMemPoolDestroy(CUmemoryPool pool);
CUresult fake_cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value);
CUresult fake_cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *map, size_t count);
CUresult fake_cuMemAllocFromPoolAsync(CUdeviceptr *out_address, size_t bytes, CUmemoryPool pool,
                                      CUstream stream);
CUresult fake_cuMemFreeAsync(CUdeviceptr address, CUstream stream);
CUresult fake_cuMemHostRegister(void *ptr, size_t bytes, unsigned flags);
CUresult fake_cuMemHostUnregister(void *ptr);
CUresult fake_cuPointerGetAttributes(unsigned count, CUpointer_attribute *attributes, void **values,
                                     CUdeviceptr address);
CUresult fake_cuMemHostGetDevicePointer(CUdeviceptr *out_address, void *ptr, unsigned flags);
CUresult fake_cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream);
CUresult fake_cuMemcpyPeerAsync(CUdeviceptr dst, CUcontext dst_context, CUdeviceptr src,
                                CUcontext src_context, size_t bytes, CUstream stream);
CUresult fake_cuMemcpy2DAsync(const CUDA_MEMCPY2D *copy, CUstream stream);
CUresult fake_cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER *copy, CUstream stream);
#if CUDA_VERSION >= 12080 // older headers lack the types
CUresult fake_cuMemcpyBatchAsync_v12080(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes,
                                        size_t count, CUmemcpyAttributes *attributes, size_t *first,
                                        size_t attribute_count, size_t *failed, CUstream stream);
CUresult fake_cuMemcpyBatchAsync_v13000(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes,
                                        size_t count, CUmemcpyAttributes *attributes, size_t *first,
                                        size_t attribute_count, CUstream stream);
#endif
CUresult fake_cuMemsetD8Async(CUdeviceptr dst, unsigned char value, size_t count, CUstream stream);
CUresult fake_cuMemsetD16Async(CUdeviceptr dst, unsigned short value, size_t count,
                               CUstream stream);
CUresult fake_cuMemsetD32Async(CUdeviceptr dst, unsigned value, size_t count, CUstream stream);
// code.cc
CUresult fake_cuLibraryLoadData(CUlibrary *out_library, const void *image, CUjit_option *options,
                                void **values, unsigned option_count,
                                CUlibraryOption *library_options, void **library_values,
                                unsigned library_option_count);
CUresult fake_cuLibraryUnload(CUlibrary library);
CUresult fake_cuLibraryGetKernel(CUkernel *out_kernel, CUlibrary library, const char *name);
CUresult fake_cuKernelGetFunction(CUfunction *out_function, CUkernel kernel);
CUresult fake_cuFuncLoad(CUfunction function);
CUresult fake_cuKernelGetAttribute(int *value, CUfunction_attribute attribute, CUkernel kernel,
                                   CUdevice device);
CUresult fake_cuKernelSetAttribute(CUfunction_attribute attribute, int value, CUkernel kernel,
                                   CUdevice device);
CUresult fake_cuKernelGetParamInfo(CUkernel kernel, size_t index, size_t *offset, size_t *size);
CUresult fake_cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **params,
                               void **extra);

#endif
