// Libraries, kernels, launches.
#include "fakes/libcuda/calls.h"
#include "fakes/libcuda/state.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace fake;

// ---- Libraries -----------------------------------------------------------------------------------

// What can be told of an image by its first bytes. "FAKE error 209" answers with that.
static CUresult image_check(const void *image, bool *out_is_text)
{
    const auto *bytes = static_cast<const unsigned char *>(image);
    static const unsigned char fatbin[] = {0x50, 0xED, 0x55, 0xBA}, elf[] = {0x7F, 'E', 'L', 'F'};
    *out_is_text = false;
    if (memcmp(bytes, fatbin, 4) == 0 || memcmp(bytes, elf, 4) == 0) return CUDA_SUCCESS;
    *out_is_text = true;
    if (strncmp(static_cast<const char *>(image), "FAKE error ", 11) == 0)
        return static_cast<CUresult>(atoi(static_cast<const char *>(image) + 11));
    for (int i = 0; i < 4; i++)
        if (bytes[i] == 0) return CUDA_ERROR_INVALID_IMAGE;
    return strstr(static_cast<const char *>(image), ".version") ? CUDA_SUCCESS
                                                                : CUDA_ERROR_INVALID_IMAGE;
}

CUresult fake_cuLibraryLoadData(CUlibrary *out_library, const void *image, CUjit_option *options,
                                void **values, unsigned option_count,
                                CUlibraryOption *library_options, void **library_values,
                                unsigned library_option_count)
{
    FAKE_CALL(cuLibraryLoadData);
    (void)library_options;
    (void)library_values;
    if (!image || library_option_count != 0) return CUDA_ERROR_INVALID_VALUE;
    bool is_text;
    CUresult result = image_check(image, &is_text);
    if (result != CUDA_SUCCESS) {
        for (unsigned i = 0; i < option_count; i++)
            if (options[i] == CU_JIT_ERROR_LOG_BUFFER && result == CUDA_ERROR_INVALID_PTX)
                strcpy(static_cast<char *>(values[i]), "ptxas fatal: no such luck");
        return result;
    }
    auto *library = new CUlib_st{image, is_text};
    handle_add(&state.libraries, library);
    *out_library = library;
    return CUDA_SUCCESS;
}

CUresult fake_cuLibraryUnload(CUlibrary library)
{
    FAKE_CALL(cuLibraryUnload);
    if (!is_alive(library, call.name(), "library")) return CUDA_ERROR_INVALID_HANDLE;
    handle_remove(library);
    return CUDA_SUCCESS;
}

CUresult fake_cuLibraryGetKernel(CUkernel *out_kernel, CUlibrary library, const char *name)
{
    FAKE_CALL(cuLibraryGetKernel);
    if (!is_alive(library, call.name(), "library")) return CUDA_ERROR_INVALID_HANDLE;
    auto found = state.kernel_table.find(name);
    if (found == state.kernel_table.end()) return CUDA_ERROR_NOT_FOUND;
    // A text says what is in it.
    if (library->is_text && !strstr(static_cast<const char *>(library->image), name))
        return CUDA_ERROR_NOT_FOUND;
    state.kernels.push_back(std::unique_ptr<CUkern_st>(new CUkern_st{library, &found->second, {}}));
    state.live.insert(state.kernels.back().get());
    *out_kernel = state.kernels.back().get();
    return CUDA_SUCCESS;
}

static bool kernel_is_usable(const char *call, CUkernel kernel)
{
    return is_alive(kernel, call, "kernel") &&
           is_alive(kernel->library, call, "library of a kernel");
}

CUresult fake_cuKernelGetFunction(CUfunction *out_function, CUkernel kernel)
{
    FAKE_CALL(cuKernelGetFunction);
    CUcontext context;
    CUresult result = need_context(call.name(), &context);
    if (result != CUDA_SUCCESS) return result;
    if (!kernel_is_usable(call.name(), kernel)) return CUDA_ERROR_INVALID_HANDLE;
    state.functions.push_back(std::unique_ptr<CUfunc_st>(
        new CUfunc_st{kernel, context, state.options.driver_version < 12040}));
    state.live.insert(state.functions.back().get());
    *out_function = state.functions.back().get();
    return CUDA_SUCCESS;
}

CUresult fake_cuFuncLoad(CUfunction function)
{
    FAKE_CALL(cuFuncLoad);
    CUcontext context;
    CUresult result = need_context(call.name(), &context);
    if (result != CUDA_SUCCESS) return result;
    if (!is_alive(function, call.name(), "function") ||
        !kernel_is_usable(call.name(), function->kernel))
        return CUDA_ERROR_INVALID_HANDLE;
    function->is_loaded = true;
    return CUDA_SUCCESS;
}

CUresult fake_cuKernelGetAttribute(int *value, CUfunction_attribute attribute, CUkernel kernel,
                                   CUdevice device)
{
    FAKE_CALL(cuKernelGetAttribute);
    if (!kernel_is_usable(call.name(), kernel)) return CUDA_ERROR_INVALID_HANDLE;
    (void)device;
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *value = static_cast<int>(kernel->kernel->max_threads);
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
        *value = static_cast<int>(kernel->kernel->static_shared_bytes);
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

static constexpr uint32_t kSharedBytes = 49152, kSharedOptInBytes = 232448;

CUresult fake_cuKernelSetAttribute(CUfunction_attribute attribute, int value, CUkernel kernel,
                                   CUdevice device)
{
    FAKE_CALL(cuKernelSetAttribute);
    if (!kernel_is_usable(call.name(), kernel)) return CUDA_ERROR_INVALID_HANDLE;
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 ||
        static_cast<uint32_t>(value) + kernel->kernel->static_shared_bytes > kSharedOptInBytes)
        return CUDA_ERROR_INVALID_VALUE;
    kernel->max_dynamic_shared[device] = value;
    return CUDA_SUCCESS;
}

CUresult fake_cuKernelGetParamInfo(CUkernel kernel, size_t index, size_t *offset, size_t *size)
{
    FAKE_CALL(cuKernelGetParamInfo);
    if (!kernel_is_usable(call.name(), kernel)) return CUDA_ERROR_INVALID_HANDLE;
    const std::vector<uint32_t> &sizes = kernel->kernel->param_bytes;
    if (index >= sizes.size()) return CUDA_ERROR_INVALID_VALUE;
    size_t at = 0;
    for (size_t i = 0; i <= index; i++) {
        size_t align = std::min<size_t>(sizes[i] & (~sizes[i] + 1), 8);
        if (align) at = (at + align - 1) & ~(align - 1);
        if (i < index) at += sizes[i];
    }
    *offset = at;
    if (size) *size = sizes[index];
    return CUDA_SUCCESS;
}

// ---- Launches ------------------------------------------------------------------------------------

struct Launch {
    void (*twin)(const fake_cuda_shape_t *, void *const *);
    fake_cuda_shape_t shape;
    std::vector<std::vector<char>> values;
    std::vector<void *> args;
};

static manta_status_t run_launch(void *payload, const char **)
{
    Launch *launch = *static_cast<Launch **>(payload);
    if (!launch->twin) return MANTA_OK;
    in_host_function = true;
    launch->twin(&launch->shape, launch->args.data());
    in_host_function = false;
    return MANTA_OK;
}

static void discard_launch(void *payload)
{
    delete *static_cast<Launch **>(payload);
}

static CUresult shape_check(const CUlaunchConfig *config, CUfunction function)
{
    const unsigned block[] = {config->blockDimX, config->blockDimY, config->blockDimZ};
    const unsigned grid[] = {config->gridDimX, config->gridDimY, config->gridDimZ};
    const unsigned block_most[] = {1024, 1024, 64}, grid_most[] = {2147483647, 65535, 65535};
    for (int i = 0; i < 3; i++)
        if (!block[i] || !grid[i] || block[i] > block_most[i] || grid[i] > grid_most[i])
            return CUDA_ERROR_INVALID_VALUE;
    uint64_t threads = uint64_t{block[0]} * block[1] * block[2];
    if (threads > 1024) return CUDA_ERROR_INVALID_VALUE;
    const Kernel *kernel = function->kernel->kernel;
    if (threads > kernel->max_threads) return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    auto raised = function->kernel->max_dynamic_shared.find(
        static_cast<int>(function->context->device->ordinal));
    uint32_t shared = raised != function->kernel->max_dynamic_shared.end()
                          ? static_cast<uint32_t>(raised->second)
                          : kSharedBytes - kernel->static_shared_bytes;
    return config->sharedMemBytes > shared ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

// Parameters of the kernel that are addresses: checks what they are used for, and lets the copy that
// the twin gets point to the memory itself. Words inside larger parameters are treated alike.
static void launch_addresses(Launch *launch, const Kernel *kernel, CUstream stream)
{
    std::string what = "kernel " + kernel->name;
    for (uint32_t i = 0; i < launch->values.size(); i++) {
        std::vector<char> &value = launch->values[i];
        for (size_t at = 0; at + 8 <= value.size(); at += 8) {
            uint64_t address;
            memcpy(&address, value.data() + at, 8);
            Allocation *allocation = find_allocation(address);
            if (!allocation) continue;
            unsigned access = i < kernel->param_access.size()
                                  ? kernel->param_access[i]
                                  : unsigned{FAKE_CUDA_READ | FAKE_CUDA_WRITE};
            size_t rest = allocation->address + allocation->bytes - address;
            size_t bytes = std::min<size_t>(rest, 16);
            if (access & FAKE_CUDA_WHOLE)
                bytes = rest;
            else if (kernel->extent)
                bytes = kernel->extent(i, &launch->shape, launch->args.data());
            const Device *own = stream->context->device;
            if (allocation->kind != Allocation::kRegistered && allocation->device != own)
                violation("%s: parameter %u is %s, on a stream of device %u", what.c_str(), i,
                          describe(*allocation).c_str(), own->ordinal);
            // What reaches too far is told below; to let it happen would break the test itself.
            if (bytes > rest || allocation->freed) launch->twin = nullptr;
            if (access & FAKE_CUDA_WRITE)
                check_use(stream, {address, bytes, bytes, 1}, true, what.c_str());
            else if (access & FAKE_CUDA_READ)
                check_use(stream, {address, bytes, bytes, 1}, false, what.c_str());
        }
    }
    for (std::vector<char> &value : launch->values) {
        for (size_t at = 0; at + 8 <= value.size(); at += 8) {
            uint64_t address;
            memcpy(&address, value.data() + at, 8);
            char *real = real_of(address);
            if (real) memcpy(value.data() + at, &real, 8);
        }
    }
}

CUresult fake_cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **params,
                               void **extra)
{
    FAKE_CALL(cuLaunchKernelEx);
    CUstream stream = config->hStream;
    CUresult result = need_stream(call.name(), stream);
    if (result != CUDA_SUCCESS) return result;
    if (!is_alive(function, call.name(), "function") ||
        !kernel_is_usable(call.name(), function->kernel))
        return CUDA_ERROR_INVALID_HANDLE;
    if (function->context != stream->context) {
        violation("%s: a function of device %u on a stream of device %u", call.name(),
                  function->context->device->ordinal, stream->context->device->ordinal);
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (!function->is_loaded) {
        // A driver loads it now, and everything that runs waits for that.
        violation("%s: kernel %s is loaded by its first launch", call.name(),
                  function->kernel->kernel->name.c_str());
        function->is_loaded = true;
    }
    for (unsigned i = 0; i < config->numAttrs; i++)
        if (config->attrs[i].id != CU_LAUNCH_ATTRIBUTE_PRIORITY) return CUDA_ERROR_INVALID_VALUE;
    const Kernel *kernel = function->kernel->kernel;
    result = shape_check(config, function);
    if (result != CUDA_SUCCESS) return result;
    if (extra || (!params && !kernel->param_bytes.empty())) return CUDA_ERROR_INVALID_VALUE;
    Device *device = stream->context->device;
    if (device->fail_launch > 0 && --device->fail_launch == 0)
        return static_cast<CUresult>(device->fail_launch_code);

    auto launch = std::make_unique<Launch>();
    launch->twin = kernel->twin;
    launch->shape = {{config->gridDimX, config->gridDimY, config->gridDimZ},
                     {config->blockDimX, config->blockDimY, config->blockDimZ},
                     config->sharedMemBytes};
    for (size_t i = 0; i < kernel->param_bytes.size(); i++) {
        const char *value = static_cast<const char *>(params[i]);
        launch->values.emplace_back(value, value + kernel->param_bytes[i]);
    }
    for (std::vector<char> &value : launch->values)
        launch->args.push_back(value.data());
    stream_advance(stream);
    launch_addresses(launch.get(), kernel, stream);
    Launch *payload = launch.release();
    return submit(stream, "kernel", run_launch, &payload, sizeof payload, discard_launch, true,
                  false, kernel->duration_ns);
}
