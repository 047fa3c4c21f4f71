// Fatbins and the kernels in them.
#include "devices/cuda/cuda_impl.h"

#include "base/alloc.h"
#include "base/status.h"

#include <string.h>

// What a kernel may take that nobody declared; 32764 bytes of pointers are 4095.
enum { MAX_PARAMS = 512 };

typedef struct cuda_module {
    mti_module_t base;
    CUlibrary library;
} cuda_module_t;

// ---- Loading -------------------------------------------------------------------------------------

// What the JIT says about PTX that it does not like is worth more than the code.
static manta_status_t library_load(cuda_device_t *device, const mti_code_t *code,
                                   CUlibrary *out_library)
{
    char log[256] = "";
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof log};
    CUresult result =
        device->api->cuLibraryLoadData(out_library, code->blob, options, values, 2, NULL, NULL, 0);
    if (result == CUDA_SUCCESS) return MANTA_OK;
    manta_status_t status = cuda_failed(device, result, "cuLibraryLoadData(&library, code->blob)");
    if (log[0]) return mti_fail(status, "%s: %s", manta_error_message(), log);
    return status;
}

// Loaded now and not at the first launch: the driver would otherwise take the context's lock there
// and wait for everything that runs.
static manta_status_t kernel_load(cuda_device_t *device, CUlibrary library,
                                  const mti_kernel_desc_t *desc, CUkernel *out_kernel,
                                  CUfunction *out_function)
{
    const char *symbol = desc->symbol ? desc->symbol : desc->name;
    MTI_CU_TRY(device, cuLibraryGetKernel(out_kernel, library, symbol));
    MTI_CU_TRY(device, cuKernelGetFunction(out_function, *out_kernel));
    // Newer drivers are lazier.
    if (device->api->cuFuncLoad) MTI_CU_TRY(device, cuFuncLoad(*out_function));
    return MANTA_OK;
}

static manta_status_t kernel_attribute(cuda_device_t *device, CUkernel kernel,
                                       CUfunction_attribute attribute, uint32_t *out_value)
{
    int value = 0;
    MTI_CU_TRY(device, cuKernelGetAttribute(&value, attribute, kernel, device->handle));
    *out_value = value > 0 ? (uint32_t)value : 0;
    return MANTA_OK;
}

// Lets |kernel| have all the dynamic shared memory that the device has beside its static one.
static manta_status_t kernel_limits(cuda_device_t *device, CUkernel kernel, mti_kernel_t *out)
{
    uint32_t threads, shared;
    manta_status_t status =
        kernel_attribute(device, kernel, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, &threads);
    if (status == MANTA_OK)
        status = kernel_attribute(device, kernel, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, &shared);
    if (status != MANTA_OK) return status;
    uint32_t limit = device->base.info.limits.max_shared_bytes;
    uint32_t dynamic = limit > shared ? limit - shared : 0;
    if (dynamic > 0) {
        MTI_CU_TRY(device, cuKernelSetAttribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                                (int)dynamic, kernel, device->handle));
    }
    out->max_shared_bytes = dynamic;
    if (threads < out->max_block_threads || out->max_block_threads == 0)
        out->max_block_threads = threads;
    return MANTA_OK;
}

// The size of parameter |i|; false behind the last one.
static manta_status_t param_size(cuda_device_t *device, CUkernel kernel, size_t i,
                                 size_t *out_bytes, bool *out_exists)
{
    size_t offset;
    CUresult result = device->api->cuKernelGetParamInfo(kernel, i, &offset, out_bytes);
    *out_exists = result == CUDA_SUCCESS;
    if (result == CUDA_SUCCESS || result == CUDA_ERROR_INVALID_VALUE) return MANTA_OK;
    return cuda_failed(device, result, "cuKernelGetParamInfo(kernel, i, &offset, &bytes)");
}

// Holds the table against what the kernel takes. A driver too old to tell is believed.
static manta_status_t kernel_check(cuda_device_t *device, CUkernel kernel,
                                   const mti_kernel_desc_t *desc)
{
    for (uint32_t i = 0; i <= desc->param_count; i++) {
        size_t bytes;
        bool exists;
        manta_status_t status = param_size(device, kernel, i, &bytes, &exists);
        if (status != MANTA_OK) return status;
        if (exists != (i < desc->param_count))
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                            "it takes %s than the %u parameters declared",
                            exists ? "more" : "fewer", desc->param_count);
        if (exists && bytes != desc->param_bytes[i])
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                            "its parameter %u takes %zu bytes, declared are %u", i, bytes,
                            desc->param_bytes[i]);
    }
    return MANTA_OK;
}

// Nothing is declared: the kernel itself says what it takes. |sizes| has room for |room|.
static manta_status_t kernel_ask(cuda_device_t *device, CUkernel kernel, uint32_t *sizes,
                                 uint32_t room, uint32_t *out_count)
{
    for (uint32_t i = 0;; i++) {
        size_t bytes;
        bool exists;
        manta_status_t status = param_size(device, kernel, i, &bytes, &exists);
        if (status != MANTA_OK) return status;
        *out_count = i;
        if (!exists) return MANTA_OK;
        if (i == room)
            return mti_fail(MANTA_ERR_NOT_SUPPORTED, "it takes more than %u parameters", room);
        sizes[i] = (uint32_t)bytes;
    }
}

static manta_status_t kernel_params(cuda_device_t *device, CUkernel kernel, mti_kernel_t *out)
{
    uint32_t sizes[MAX_PARAMS], count = 0;
    if (!device->api->cuKernelGetParamInfo) return MANTA_OK;
    if (out->desc->param_bytes) return kernel_check(device, kernel, out->desc);
    manta_status_t status = kernel_ask(device, kernel, sizes, MAX_PARAMS, &count);
    if (status != MANTA_OK) return status;
    if (out->desc->param_count > 0 && out->desc->param_count != count)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "it takes %u parameters, declared are %u",
                        count, out->desc->param_count);
    // One entry at least, so that "none" can be told from "not known".
    uint32_t *kept =
        mti_alloc_zeroed(&device->base.allocator, (count + 1) * sizeof *kept, sizeof(uint32_t));
    if (!kept) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no host memory for a kernel's parameters");
    memcpy(kept, sizes, count * sizeof *kept);
    out->param_bytes = kept;
    out->param_count = count;
    return MANTA_OK;
}

// Gives back what kernel_params() took.
static void kernels_free(cuda_device_t *device, mti_kernel_t *kernels, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        mti_kernel_t *kernel = &kernels[i];
        if (kernel->param_bytes == kernel->desc->param_bytes) continue;
        union {
            const uint32_t *kept;
            void *freed;
        } as = {kernel->param_bytes};
        mti_free(&device->base.allocator, as.freed,
                 (kernel->param_count + 1) * sizeof *kernel->param_bytes);
        kernel->param_bytes = NULL;
    }
}

static manta_status_t kernel_make(cuda_device_t *device, CUlibrary library, mti_kernel_t *out)
{
    CUkernel kernel = NULL;
    CUfunction function = NULL;
    manta_status_t status = kernel_load(device, library, out->desc, &kernel, &function);
    if (status == MANTA_OK) status = kernel_params(device, kernel, out);
    if (status == MANTA_OK) status = kernel_limits(device, kernel, out);
    if (status == MANTA_OK) out->native = function;
    // Names are the program's: not to find one is a wrong table.
    if (status == MANTA_ERR_NOT_FOUND) status = MANTA_ERR_INVALID_ARGUMENT;
    if (status != MANTA_OK) mti_fail_note(status, "kernel %s", out->desc->name);
    return status;
}

manta_status_t cuda_code_load(mti_device_t *base, const mti_code_t *code, mti_kernel_t *kernels,
                              mti_module_t **out_module)
{
    cuda_device_t *device = cuda_device(base);
    if (!code->blob)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "%s: code %s has no fatbin, only CPU twins",
                        base->name, code->name);
    cuda_scope_t scope;
    manta_status_t status = cuda_enter_making(device, &scope);
    if (status != MANTA_OK) return status;
    cuda_module_t *module = mti_alloc_zeroed(&base->allocator, sizeof *module, sizeof(void *));
    if (!module) {
        status = mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no host memory for a module");
        goto leave;
    }
    status = library_load(device, code, &module->library);
    if (status == MANTA_ERR_NOT_SUPPORTED || status == MANTA_ERR_INVALID_ARGUMENT) {
        // An architecture or a format that this device does not run.
        status = mti_fail_note(MANTA_ERR_INVALID_ARGUMENT, "nothing in it runs on %s (sm_%d%d)",
                               base->info.name, base->info.cc_major, base->info.cc_minor);
    }
    if (status != MANTA_OK) goto free_module;
    for (uint32_t i = 0; i < code->kernel_count && status == MANTA_OK; i++)
        status = kernel_make(device, module->library, &kernels[i]);
    if (status != MANTA_OK) goto unload_library;
    *out_module = &module->base;
    goto leave;

unload_library:
    kernels_free(device, kernels, code->kernel_count);
    MTI_CU_NOTE(device, cuLibraryUnload(module->library));
free_module:
    mti_free(&base->allocator, module, sizeof *module);
leave:
    if (status != MANTA_OK) mti_fail_note(status, "%s: code %s", base->name, code->name);
    cuda_leave(device, &scope);
    return status;
}

void cuda_code_unload(mti_module_t *base)
{
    cuda_module_t *module = (cuda_module_t *)base;
    cuda_device_t *device = cuda_device(base->device);
    cuda_scope_t scope;
    kernels_free(device, base->kernels, base->code->kernel_count);
    if (cuda_enter(device, &scope) == MANTA_OK) {
        MTI_CU_NOTE(device, cuLibraryUnload(module->library));
        cuda_leave(device, &scope);
    }
    mti_free(&device->base.allocator, module, sizeof *module);
}

// ---- Launching -----------------------------------------------------------------------------------

static manta_status_t launch_submit(cuda_device_t *device, CUstream stream, CUfunction function,
                                    const mti_launch_shape_t *shape, void *const *args,
                                    bool high_priority)
{
    CUlaunchAttribute priority;
    CUlaunchConfig config;
    memset(&config, 0, sizeof config);
    config.gridDimX = shape->grid[0];
    config.gridDimY = shape->grid[1];
    config.gridDimZ = shape->grid[2];
    config.blockDimX = shape->block[0];
    config.blockDimY = shape->block[1];
    config.blockDimZ = shape->block[2];
    config.sharedMemBytes = shape->shared_bytes;
    config.hStream = stream;
    if (high_priority) {
        memset(&priority, 0, sizeof priority);
        priority.id = CU_LAUNCH_ATTRIBUTE_PRIORITY;
        priority.value.priority = -1;
        config.attrs = &priority;
        config.numAttrs = 1;
    }
    // The driver copies the values that |args| point to; it only lacks the const.
    union {
        void *const *given;
        void **taken;
    } as = {args};
    MTI_CU_TRY(device, cuLaunchKernelEx(&config, function, as.taken, NULL));
    return MANTA_OK;
}

static manta_status_t launch(mti_queue_t *base, void *native, const char *name,
                             const mti_launch_shape_t *shape, void *const *args, bool high_priority,
                             uint32_t flags, uint64_t seq)
{
    cuda_queue_t *queue = cuda_queue(base);
    cuda_scope_t scope;
    manta_status_t status = cuda_op_begin(queue, flags, &scope);
    if (status != MANTA_OK) return status;
    status = launch_submit(cuda_device(base->device), queue->stream, (CUfunction)native, shape,
                           args, high_priority);
    if (MTI_UNLIKELY(status != MANTA_OK)) mti_fail_note(status, "kernel %s", name);
    return cuda_op_end(queue, status, flags, seq, &scope);
}

manta_status_t cuda_launch(mti_queue_t *queue, const mti_launch_t *the_launch, uint32_t flags,
                           uint64_t seq)
{
    const mti_kernel_t *kernel = the_launch->kernel;
    return launch(queue, kernel->native, kernel->desc->name, &the_launch->shape, the_launch->args,
                  the_launch->high_priority, flags, seq);
}

manta_status_t cuda_launch_native(mti_queue_t *queue, void *native_kernel, const char *name,
                                  const mti_launch_shape_t *shape, void *const *args,
                                  uint32_t flags, uint64_t seq)
{
    return launch(queue, native_kernel, name, shape, args, false, flags, seq);
}
