#include "devices/cuda/cuda_api.h"

#include "devices/cuda/cuda_status.h"

#include "base/atomic.h"
#include "base/mutex.h"
#include "base/status.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

// ---- fork --------------------------------------------------------------------------------------

static mti_atomic_u32_t driver_started;
static mti_atomic_u32_t driver_forked;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void fork_in_child(void)
{
    // relaxed, both: the child has one thread.
    if (mti_atomic_u32_load_relaxed(&driver_started))
        mti_atomic_u32_store_relaxed(&driver_forked, 1);
}

static void fork_watch(void)
{
    pthread_atfork(NULL, NULL, fork_in_child);
}

bool mti_cu_forked(void)
{
    // relaxed: written before the child's first thread was there.
    return mti_atomic_u32_load_relaxed(&driver_forked) != 0;
}

// ---- The table ---------------------------------------------------------------------------------

typedef struct symbol {
    const char *name;
    int version;
    size_t offset; // of the field in mti_cu_api_t
    bool required;
} symbol_t;

static const symbol_t symbols[] = {
#define SYMBOL_REQUIRED(name, version)        {#name, version, offsetof(mti_cu_api_t, name), true},
#define SYMBOL_OPTIONAL(name, version)        {#name, version, offsetof(mti_cu_api_t, name), false},
#define SYMBOL_OPTIONAL_AS(name, version, as) {#name, version, offsetof(mti_cu_api_t, as), false},
    MTI_CU_REQUIRED(SYMBOL_REQUIRED) MTI_CU_OPTIONAL(SYMBOL_OPTIONAL)
        MTI_CU_BATCH(SYMBOL_OPTIONAL_AS)
#undef SYMBOL_REQUIRED
#undef SYMBOL_OPTIONAL
#undef SYMBOL_OPTIONAL_AS
};

// A driver older than |version| does not know that signature. Asked for it all the same it would give
// the newest that it has, with other parameters.
static void *symbol_resolve(PFN_cuGetProcAddress_v12000 get, int driver_version,
                            const symbol_t *symbol)
{
    if (driver_version && symbol->version > driver_version) return NULL;
    void *address = NULL;
    CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    CUresult result =
        get(symbol->name, &address, symbol->version, CU_GET_PROC_ADDRESS_LEGACY_STREAM, &found);
    return result == CUDA_SUCCESS && found == CU_GET_PROC_ADDRESS_SUCCESS ? address : NULL;
}

static manta_status_t api_resolve(mti_cu_api_t *api, PFN_cuGetProcAddress_v12000 get)
{
    static const symbol_t version_symbol = {"cuDriverGetVersion", 2020, 0, true};
    PFN_cuDriverGetVersion_v2020 get_version;
    void *address = symbol_resolve(get, 0, &version_symbol);
    memcpy(&get_version, &address, sizeof get_version);
    if (!get_version || get_version(&api->driver_version) != CUDA_SUCCESS)
        return mti_fail(MANTA_ERR_NOT_SUPPORTED, "the CUDA driver does not tell its version");

    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        address = symbol_resolve(get, api->driver_version, &symbols[i]);
        if (!address && symbols[i].required) {
            return mti_fail(
                MANTA_ERR_NOT_SUPPORTED,
                "the CUDA driver %d.%d has no %s of version %d; manta needs 12.0 or newer",
                api->driver_version / 1000, api->driver_version % 1000 / 10, symbols[i].name,
                symbols[i].version);
        }
        // ISO C has no cast from an object's pointer to a function's.
        memcpy((char *)api + symbols[i].offset, &address, sizeof address);
    }
    return MANTA_OK;
}

// ---- Opening -----------------------------------------------------------------------------------

// What a driver answers that has nothing to run on.
static bool result_is_absent(CUresult result)
{
    return result == CUDA_ERROR_STUB_LIBRARY || result == CUDA_ERROR_NO_DEVICE ||
           result == (CUresult)35 /* CUDA_ERROR_INSUFFICIENT_DRIVER: only the runtime names it */;
}

static manta_status_t api_start(mti_cu_api_t *api)
{
    CUresult result = api->cuInit(0);
    if (result == CUDA_SUCCESS) result = api->cuDeviceGetCount(&api->device_count);
    if (result_is_absent(result) || (result == CUDA_SUCCESS && api->device_count == 0))
        return mti_fail(MANTA_ERR_NOT_SUPPORTED, "the CUDA driver has no device");
    if (result != CUDA_SUCCESS) {
        mti_cu_describe(api, result, "cuInit(0)");
        return MANTA_ERR_SYSTEM;
    }
    // relaxed: a fork by another thread at this very moment is the caller's race with itself.
    mti_atomic_u32_store_relaxed(&driver_started, 1);
    return MANTA_OK;
}

manta_status_t mti_cu_api_load(const char *path, mti_cu_api_t *out_api)
{
    if (mti_cu_forked()) return mti_cu_fail_forked();
    pthread_once(&fork_once, fork_watch);
    if (!path) path = getenv("MANTA_CUDA_LIBRARY");
    if (!path || !*path) path = "libcuda.so.1";

    mti_cu_api_t api = {0};
    api.library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!api.library)
        return mti_fail(MANTA_ERR_NOT_SUPPORTED, "there is no CUDA driver: %s", dlerror());

    manta_status_t status;
    PFN_cuGetProcAddress_v12000 get;
    void *address = dlsym(api.library, "cuGetProcAddress_v2");
    memcpy(&get, &address, sizeof get);
    if (!get) {
        status = mti_fail(MANTA_ERR_NOT_SUPPORTED,
                          "the CUDA driver %s is older than 12.0, which manta needs", path);
        goto close_library;
    }
    status = api_resolve(&api, get);
    if (status == MANTA_OK) status = api_start(&api);
    if (status != MANTA_OK) goto close_library;
    *out_api = api;
    return MANTA_OK;

close_library:
    dlclose(api.library);
    return status;
}

void mti_cu_api_unload(mti_cu_api_t *api)
{
    if (api->library) dlclose(api->library);
    memset(api, 0, sizeof *api);
}

static mti_mutex_t process_lock = MTI_MUTEX_INIT(MTI_RANK_CUDA);
static mti_cu_api_t process_api; // guarded by process_lock until process_loaded
static mti_atomic_u32_t process_loaded;

manta_status_t mti_cu_api_get(const mti_cu_api_t **out_api)
{
    if (mti_cu_forked()) return mti_cu_fail_forked();
    manta_status_t status = MANTA_OK;
    // acquire: pairs with the release below, which publishes process_api.
    if (!mti_atomic_u32_load_acquire(&process_loaded)) {
        mti_mutex_lock(&process_lock);
        // relaxed: written under the lock only.
        if (!mti_atomic_u32_load_relaxed(&process_loaded)) {
            status = mti_cu_api_load(NULL, &process_api);
            // release: publishes process_api.
            if (status == MANTA_OK) mti_atomic_u32_store_release(&process_loaded, 1);
        }
        mti_mutex_unlock(&process_lock);
    }
    if (status == MANTA_OK) *out_api = &process_api;
    return status;
}
