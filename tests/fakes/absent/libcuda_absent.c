// Driver libraries with nothing behind them, as machines without a GPU have them. Each is built from
// this file with one of
//   ANSWER=n       everything is there, and cuInit() answers n
//   DEVICES=n      cuInit() works, and there are n devices
//   OLD            a library from before cuGetProcAddress_v2 (CUDA 12.0)
//   VERSION=n      a driver of that version, which has none of the newer functions
#include <stddef.h>
#include <string.h>

#include <cuda.h>

#ifndef ANSWER
#define ANSWER 0
#endif
#ifndef DEVICES
#define DEVICES 0
#endif
#ifndef VERSION
#define VERSION 13000
#endif

static CUresult absent_anything(void)
{
    return CUDA_ERROR_UNKNOWN;
}

#ifdef OLD
CUresult cuGetProcAddress_v1(void);
CUresult cuGetProcAddress_v1(void)
{
    return absent_anything();
}
#else
static CUresult absent_init(unsigned flags)
{
    (void)flags;
    return (CUresult)ANSWER;
}

static CUresult absent_version(int *version)
{
    *version = VERSION;
    return CUDA_SUCCESS;
}

static CUresult absent_count(int *count)
{
    *count = DEVICES;
    return CUDA_SUCCESS;
}

static CUresult absent_name(CUresult result, const char **name)
{
    (void)result;
    *name = "CUDA_ERROR_OF_THIS_TEST";
    return CUDA_SUCCESS;
}

#undef cuGetProcAddress
CUresult cuGetProcAddress_v2(const char *symbol, void **address, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult *found);
CUresult cuGetProcAddress_v2(const char *symbol, void **address, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult *found)
{
    (void)flags;
    union {
        void *address;
        CUresult (*init)(unsigned);
        CUresult (*version)(int *);
        CUresult (*name)(CUresult, const char **);
        CUresult (*anything)(void);
    } as = {NULL};
    if (strcmp(symbol, "cuInit") == 0)
        as.init = absent_init;
    else if (strcmp(symbol, "cuDriverGetVersion") == 0)
        as.version = absent_version;
    else if (strcmp(symbol, "cuDeviceGetCount") == 0)
        as.version = absent_count;
    else if (strncmp(symbol, "cuGetError", 10) == 0)
        as.name = absent_name;
    else
        as.anything = absent_anything;
    if (version > VERSION) as.address = NULL;
    *address = as.address;
    *found = as.address ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
    return CUDA_SUCCESS;
}
#endif
