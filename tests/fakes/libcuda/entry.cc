// The two symbols that the library shows: cuGetProcAddress_v2 and fake_cuda_control.
#include "fakes/libcuda/calls.h"
#include "fakes/libcuda/state.h"

#include "devices/cuda/cuda_api.h" // signatures that are newer than the headers

#include <algorithm>
#include <cstdio>
#include <cstring>

using namespace fake;

// ---- What the driver has -------------------------------------------------------------------------

// Each function at exactly the version that a program of ours asks for. Another version of the same
// name has another signature, sooner or later, so asking for it is a violation and not a lucky hit.
struct Symbol {
    const char *name;
    int version;
    void *function;
};

template <class F> static void *address_of(F *function)
{
    return reinterpret_cast<void *>(function);
}

#define SYMBOL(name, version)                                                                      \
    {                                                                                              \
#name, version,                                                                            \
            address_of < std::remove_pointer_t < PFN_##name##_v##version>>(fake_##name)            \
    }
#define SYMBOL_AS(name, version)                                                                   \
    {                                                                                              \
#name, version,                                                                            \
            address_of < std::remove_pointer_t < PFN_##name##_v##version>>                         \
                (fake_##name##_v##version)                                                         \
    }

static const Symbol symbols[] = {
    SYMBOL(cuInit, 2000),
    SYMBOL(cuDriverGetVersion, 2020),
    SYMBOL(cuGetErrorName, 6000),
    SYMBOL(cuGetErrorString, 6000),
    SYMBOL(cuDeviceGetCount, 2000),
    SYMBOL(cuDeviceGet, 2000),
    SYMBOL(cuDeviceGetName, 2000),
    SYMBOL(cuDeviceGetUuid, 11040),
    SYMBOL(cuDeviceTotalMem, 3020),
    SYMBOL(cuDeviceGetPCIBusId, 4010),
    SYMBOL(cuDeviceGetAttribute, 2000),
    SYMBOL(cuDeviceCanAccessPeer, 4000),
    SYMBOL(cuDevicePrimaryCtxRetain, 7000),
    SYMBOL(cuDevicePrimaryCtxRelease, 11000),
    SYMBOL(cuCtxSetCurrent, 4000),
    SYMBOL(cuCtxGetCurrent, 4000),
    SYMBOL(cuCtxGetDevice, 2000),
    SYMBOL(cuStreamCreateWithPriority, 5050),
    SYMBOL(cuStreamDestroy, 4000),
    SYMBOL(cuStreamGetCtx, 9020),
    SYMBOL(cuStreamQuery, 2000),
    SYMBOL(cuStreamSynchronize, 2000),
    SYMBOL(cuStreamWaitEvent, 3020),
    SYMBOL(cuStreamWriteValue64, 11070),
    SYMBOL(cuStreamWaitValue64, 11070),
    SYMBOL(cuLaunchHostFunc, 10000),
    SYMBOL(cuEventCreate, 2000),
    SYMBOL(cuEventDestroy, 4000),
    SYMBOL(cuEventRecord, 2000),
    SYMBOL(cuEventQuery, 2000),
    SYMBOL(cuEventSynchronize, 2000),
    SYMBOL(cuMemGetInfo, 3020),
    SYMBOL(cuMemAlloc, 3020),
    SYMBOL(cuMemFree, 3020),
    SYMBOL(cuMemHostRegister, 6050),
    SYMBOL(cuMemHostUnregister, 4000),
    SYMBOL(cuMemHostGetDevicePointer, 3020),
    SYMBOL(cuPointerGetAttributes, 7000),
    SYMBOL(cuMemPoolCreate, 11020),
    SYMBOL(cuMemPoolDestroy, 11020),
    SYMBOL(cuMemPoolSetAttribute, 11020),
    SYMBOL(cuMemPoolSetAccess, 11020),
    SYMBOL(cuMemAllocFromPoolAsync, 11020),
    SYMBOL(cuMemFreeAsync, 11020),
    SYMBOL(cuMemcpyAsync, 4000),
    SYMBOL(cuMemcpyPeerAsync, 4000),
    SYMBOL(cuMemcpy2DAsync, 3020),
    SYMBOL(cuMemcpy3DPeerAsync, 4000),
#if CUDA_VERSION >= 12080
    SYMBOL_AS(cuMemcpyBatchAsync, 12080),
    SYMBOL_AS(cuMemcpyBatchAsync, 13000),
#endif
    SYMBOL(cuMemsetD8Async, 3020),
    SYMBOL(cuMemsetD16Async, 3020),
    SYMBOL(cuMemsetD32Async, 3020),
    SYMBOL(cuLibraryLoadData, 12000),
    SYMBOL(cuLibraryUnload, 12000),
    SYMBOL(cuLibraryGetKernel, 12000),
    SYMBOL(cuKernelGetFunction, 12000),
    SYMBOL(cuFuncLoad, 12040),
    SYMBOL(cuKernelGetAttribute, 12000),
    SYMBOL(cuKernelSetAttribute, 12000),
    SYMBOL(cuKernelGetParamInfo, 12040),
    SYMBOL(cuLaunchKernelEx, 11060),
};

#undef cuGetProcAddress
extern "C" __attribute__((visibility("default"))) CUresult
cuGetProcAddress_v2(const char *name, void **out_function, int version, cuuint64_t flags,
                    CUdriverProcAddressQueryResult *out_found)
{
    Call call("cuGetProcAddress", false);
    if (call.refused() != CUDA_SUCCESS) return call.refused();
    *out_function = nullptr;
    *out_found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    if (flags != CU_GET_PROC_ADDRESS_LEGACY_STREAM)
        violation("cuGetProcAddress: %s without saying which default stream is meant", name);
    if (version > state.options.driver_version) {
        *out_found = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
        violation("cuGetProcAddress: %s at version %d, which this driver (%d) cannot know", name,
                  version, state.options.driver_version);
        return CUDA_SUCCESS;
    }
    bool has_name = false;
    for (const Symbol &symbol : symbols) {
        if (strcmp(symbol.name, name) != 0) continue;
        has_name = true;
        if (symbol.version != version) continue;
        *out_function = symbol.function;
        *out_found = CU_GET_PROC_ADDRESS_SUCCESS;
        return CUDA_SUCCESS;
    }
    violation("cuGetProcAddress: %s at version %d; %s", name, version,
              has_name ? "the fake has other versions of it" : "the fake has nothing of that name");
    return CUDA_SUCCESS;
}

// ---- Control -------------------------------------------------------------------------------------

static uint32_t write_lines(const std::vector<std::string> &lines, char *buffer, size_t size)
{
    std::string text;
    for (const std::string &line : lines)
        text += line + "\n";
    if (size > 0) snprintf(buffer, size, "%s", text.c_str());
    return static_cast<uint32_t>(lines.size());
}

static void control_reset(const fake_cuda_options_t *options)
{
    std::lock_guard<std::mutex> guard(state.lock);
    if (state.engine) stop();
    start(options);
    std::lock_guard<std::mutex> notes(state.notes_lock);
    state.calls.clear();
}

static void control_kernel_add(const fake_cuda_kernel_t *given)
{
    std::lock_guard<std::mutex> guard(state.lock);
    Kernel &kernel = state.kernel_table[given->name];
    kernel.name = given->name;
    kernel.param_bytes.assign(given->param_bytes, given->param_bytes + given->param_count);
    kernel.param_access.clear();
    if (given->param_access)
        kernel.param_access.assign(given->param_access, given->param_access + given->param_count);
    kernel.extent = given->extent;
    kernel.twin = given->twin;
    kernel.static_shared_bytes = given->static_shared_bytes;
    kernel.max_threads = given->max_threads ? given->max_threads : 1024;
    kernel.duration_ns = given->duration_ns;
}

static uint64_t control_calls(const char *name)
{
    std::lock_guard<std::mutex> guard(state.notes_lock);
    if (name) {
        auto found = state.calls.find(name);
        return found == state.calls.end() ? 0 : found->second;
    }
    uint64_t all = 0;
    for (const auto &entry : state.calls)
        all += entry.second;
    return all;
}

static void control_calls_clear(void)
{
    std::lock_guard<std::mutex> guard(state.notes_lock);
    state.calls.clear();
}

static bool control_has_call(const char *name)
{
    return std::any_of(std::begin(symbols), std::end(symbols),
                       [&](const Symbol &symbol) { return strcmp(symbol.name, name) == 0; });
}

static uint32_t control_violations_take(char *buffer, size_t size)
{
    std::lock_guard<std::mutex> guard(state.notes_lock);
    uint32_t count = write_lines(state.violations, buffer, size);
    state.violations.clear();
    return count;
}

static uint32_t control_leaks(char *buffer, size_t size)
{
    std::lock_guard<std::mutex> guard(state.lock);
    std::vector<std::string> lines;
    for (const auto &device : state.devices)
        if (device->retained)
            lines.push_back("a context of device " + std::to_string(device->ordinal));
    for (CUlib_st *library : state.libraries)
        if (state.live.count(library)) lines.emplace_back("a library");
    list_leaks(&lines);
    return write_lines(lines, buffer, size);
}

static bool control_has_lost(void)
{
    std::lock_guard<std::mutex> guard(state.lock);
    for (const auto &device : state.devices)
        if (device->sticky.load()) return true;
    return false;
}

static bool control_is_stuck(void)
{
    std::lock_guard<std::mutex> guard(state.lock);
    return state.engine && mti_engine_is_stuck(state.engine);
}

static void control_settle(void)
{
    std::vector<std::pair<mti_engine_queue_t *, uint64_t>> ends;
    {
        std::lock_guard<std::mutex> guard(state.lock);
        for (const CUstream_st *stream : state.streams)
            ends.emplace_back(stream->queue, stream->last_seq);
    }
    // Those that are held, lost or waiting for ever are as settled as they get.
    for (const auto &end : ends)
        if (mti_engine_await(end.first, end.second, INT64_MAX) == MANTA_ERR_DEADLOCK) return;
}

static Device *faulty(uint32_t ordinal)
{
    if (!state.engine) start(nullptr);
    return ordinal < state.devices.size() ? state.devices[ordinal].get() : nullptr;
}

static void control_fail_alloc(uint32_t ordinal, uint32_t nth)
{
    std::lock_guard<std::mutex> guard(state.lock);
    if (Device *device = faulty(ordinal)) device->fail_alloc = nth;
}

static void control_fail_host_register(uint32_t nth)
{
    std::lock_guard<std::mutex> guard(state.lock);
    state.fail_host_register = nth;
}

static void control_fail_launch(uint32_t ordinal, uint32_t nth, int code)
{
    std::lock_guard<std::mutex> guard(state.lock);
    if (Device *device = faulty(ordinal)) {
        device->fail_launch = nth;
        device->fail_launch_code = code;
    }
}

static void control_lose_at_launch(uint32_t ordinal, uint32_t nth, int code)
{
    std::lock_guard<std::mutex> guard(state.lock);
    if (Device *device = faulty(ordinal)) {
        device->lose_at_launch = nth;
        device->lose_launch_code = code;
    }
}

static void control_lose_at_op(uint32_t ordinal, uint32_t nth, int code)
{
    std::lock_guard<std::mutex> guard(state.lock);
    if (Device *device = faulty(ordinal)) {
        device->lose_at_op = nth;
        device->lose_op_code = code;
    }
}

static void control_lose_now(uint32_t ordinal, int code)
{
    std::lock_guard<std::mutex> guard(state.lock);
    if (Device *device = faulty(ordinal)) {
        device->sticky.store(code);
        (void)sticky_of(device);
    }
}

static void control_limit_events(uint32_t count)
{
    std::lock_guard<std::mutex> guard(state.lock);
    state.event_limit = count;
}

static void control_fail_call(const char *name, uint32_t nth, int code)
{
    std::lock_guard<std::mutex> guard(state.lock);
    state.fail_call = nth ? name : "";
    state.fail_call_nth = nth;
    state.fail_call_code = code;
}

static void control_slow_copies(uint32_t ordinal, int64_t ns)
{
    std::lock_guard<std::mutex> guard(state.lock);
    if (Device *device = faulty(ordinal)) device->copy_ns = ns;
}

static void control_hold_stream(void *stream, bool held)
{
    std::lock_guard<std::mutex> guard(state.lock);
    if (state.live.count(stream)) mti_engine_queue_hold(static_cast<CUstream>(stream)->queue, held);
}

extern "C" __attribute__((visibility("default"))) const fake_cuda_controls_t *
fake_cuda_control(void)
{
    static const fake_cuda_controls_t control = {
        control_reset,       control_kernel_add,     control_calls,
        control_calls_clear, control_has_call,       control_violations_take,
        control_leaks,       control_has_lost,       control_is_stuck,
        control_settle,      control_fail_alloc,     control_fail_host_register,
        control_fail_launch, control_lose_at_launch, control_lose_at_op,
        control_lose_now,    control_limit_events,   control_slow_copies,
        control_hold_stream, control_fail_call,
    };
    return &control;
}
