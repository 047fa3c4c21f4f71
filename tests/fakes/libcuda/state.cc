// Start and end, what surrounds every call, handles, and the queueing of operations.
#include "fakes/libcuda/state.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <unistd.h>

namespace fake
{

State state;
thread_local bool in_host_function = false;
thread_local CUcontext current_context = nullptr;

void violation(const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *c = text; *c; c++)
        if (*c == '\n') *c = ' '; // one line each
    std::lock_guard<std::mutex> guard(state.notes_lock);
    state.violations.emplace_back(text);
}

// What nobody took by the end of the process fails it.
struct AtExit {
    ~AtExit()
    {
        // A forked child has only copies of what its parent will report and give back.
        if (state.pid != getpid()) return;
        if (state.violations.empty()) {
            if (state.engine) stop();
            return;
        }
        for (const std::string &line : state.violations)
            fprintf(stderr, "fake libcuda: %s\n", line.c_str());
        fflush(nullptr);
        _exit(86);
    }
};
static AtExit at_exit;

// ---- Start and end -------------------------------------------------------------------------------

static uint64_t number_of(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, nullptr, 0) : fallback;
}

fake_cuda_options_t options_of_environment()
{
    fake_cuda_options_t options{};
    const char *clock = getenv("FAKE_CUDA_CLOCK");
    options.devices = static_cast<uint32_t>(number_of("FAKE_CUDA_DEVICES", 0));
    options.memory_bytes = number_of("FAKE_CUDA_MEMORY", 0);
    options.driver_version = static_cast<int>(number_of("FAKE_CUDA_VERSION", 0));
    options.no_peers = number_of("FAKE_CUDA_PEERS", 1) == 0;
    options.no_words = number_of("FAKE_CUDA_WORDS", 1) == 0;
    options.no_pools = number_of("FAKE_CUDA_POOLS", 1) == 0;
    options.virtual_clock = clock && strcmp(clock, "virtual") == 0;
    options.seed = number_of("FAKE_CUDA_SEED", 0);
    options.allows_pageable = number_of("FAKE_CUDA_PAGEABLE", 0) == 1;
    return options;
}

void start(const fake_cuda_options_t *given)
{
    state.options = given ? *given : options_of_environment();
    fake_cuda_options_t &options = state.options;
    if (!options.devices) options.devices = 1;
    if (!options.memory_bytes) options.memory_bytes = 256u << 20;
    if (!options.driver_version) options.driver_version = 13000;
    state.pid = getpid();
    mti_engine_options_t how{};
    how.mode = options.virtual_clock ? MTI_ENGINE_VIRTUAL : MTI_ENGINE_THREADS;
    how.seed = options.seed;
    how.jitter_percent = 20;
    how.report_stuck = true;
    if (mti_engine_create(&how, &state.engine) != MANTA_OK) abort();
    for (uint32_t i = 0; i < options.devices; i++) {
        auto device = std::make_unique<Device>();
        std::string name = "gpu " + std::to_string(i);
        device->ordinal = i;
        device->domain = mti_engine_domain_create(state.engine, name.c_str());
        device->space = mti_engine_space_create(state.engine, device->domain, name.c_str(),
                                                options.memory_bytes);
        if (!device->domain || !device->space) abort();
        state.devices.push_back(std::move(device));
    }
}

template <class T> static void handles_free(std::vector<T *> *list)
{
    for (T *handle : *list)
        delete handle;
    list->clear();
}

void stop()
{
    mti_engine_destroy(state.engine);
    state.engine = nullptr;
    state.live.clear();
    handles_free(&state.contexts);
    handles_free(&state.streams);
    handles_free(&state.events);
    handles_free(&state.pools);
    handles_free(&state.libraries);
    state.kernels.clear();
    state.functions.clear();
    state.allocations.clear();
    state.pending_frees.clear();
    state.seen_writes.clear();
    state.host.clear();
    state.slot_numbers.clear();
    state.free_slots.clear();
    state.devices.clear();
    state.event_limit = state.event_count = state.fail_host_register = 0;
    current_context = nullptr;
    memory_stop();
}

// ---- Calls ---------------------------------------------------------------------------------------

Call::Call(const char *name, bool needs_init) : guard_(state.lock, std::defer_lock), name_(name)
{
    {
        std::lock_guard<std::mutex> guard(state.notes_lock);
        state.calls[name]++;
    }
    // Before the lock: on a virtual clock this thread may hold it.
    if (in_host_function) {
        violation("%s: called inside a kernel or host function", name);
        refused_ = CUDA_ERROR_NOT_PERMITTED;
        return;
    }
    guard_.lock();
    state.is_wrong = false;
    if (!state.engine) start(nullptr);
    if (state.pid != getpid()) {
        violation("%s: called in a process that was forked off the one that uses the driver", name);
        refused_ = CUDA_ERROR_NOT_INITIALIZED;
        return;
    }
    if (needs_init && !state.is_initialised) {
        violation("%s: called before cuInit", name);
        refused_ = CUDA_ERROR_NOT_INITIALIZED;
        return;
    }
    if (state.fail_call_nth > 0 && state.fail_call == name && --state.fail_call_nth == 0) {
        refused_ = static_cast<CUresult>(state.fail_call_code);
        return;
    }
    host_looks_at_writes();
    reap_frees();
    mti_engine_poke(state.engine);
}

Call::~Call() = default;

void Call::relock()
{
    guard_.lock();
}

bool is_alive(const void *handle, const char *call, const char *kind)
{
    if (state.live.count(handle)) return true;
    violation("%s: %s %p is not alive: destroyed, or never made", call, kind, handle);
    return false;
}

void handle_remove(const void *handle)
{
    state.live.erase(handle);
}

CUresult sticky_of(Device *device)
{
    int code = device->sticky.load(std::memory_order_acquire);
    if (!code) return CUDA_SUCCESS;
    if (!device->noticed) {
        device->noticed = true;
        mti_engine_lose(device->domain);
    }
    // A driver tells when everything that ran there has been ended.
    return mti_engine_state(device->domain) == MTI_ENGINE_LOST ? static_cast<CUresult>(code)
                                                               : CUDA_SUCCESS;
}

CUresult need_context(const char *call, CUcontext *out_context)
{
    if (!current_context) {
        violation("%s: no context is current", call);
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    if (!state.live.count(current_context)) {
        violation("%s: the current context is not alive", call);
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    if (current_context->device->retained == 0) {
        violation("%s: the current context was released", call);
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    }
    if (out_context) *out_context = current_context;
    return sticky_of(current_context->device);
}

CUresult need_stream(const char *call, CUstream stream)
{
    CUcontext context;
    CUresult result = need_context(call, &context);
    if (result != CUDA_SUCCESS) return result;
    if (!stream || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD) {
        violation("%s: the default stream orders itself with all others; name a stream", call);
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (!is_alive(stream, call, "stream")) return CUDA_ERROR_INVALID_HANDLE;
    if (stream->context != context) {
        violation("%s: a stream of device %u, while the context of device %u is current", call,
                  stream->context->device->ordinal, context->device->ordinal);
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    return CUDA_SUCCESS;
}

void let_time_pass()
{
    if (mti_engine_mode(state.engine) != MTI_ENGINE_VIRTUAL) return;
    uint64_t seen = mti_engine_events(state.engine);
    manta_status_t status =
        mti_engine_await_event(state.engine, seen, mti_engine_now_ns(state.engine) + 1000);
    (void)status; // nothing to do is fine
}

// ---- Order of the program ------------------------------------------------------------------------

void clock_merge(Clock *into, const Clock &other)
{
    if (into->size() < other.size()) into->resize(other.size());
    for (size_t i = 0; i < other.size(); i++)
        if (other[i] > (*into)[i]) (*into)[i] = other[i];
}

bool clock_has(const Clock &clock, uint32_t slot, uint64_t number)
{
    return number == 0 || (slot < clock.size() && clock[slot] >= number);
}

void host_learns(const Clock &clock)
{
    clock_merge(&state.host, clock);
}

// The host reads mapped memory without a call, so when it has looked at a word cannot be seen: it is
// taken to have looked as soon as the word was written. What it never looks at stays unnoticed.
void host_looks_at_writes()
{
    auto &writes = state.seen_writes;
    for (size_t i = 0; i < writes.size();) {
        // acquire: pairs with run_write; who saw the word sees this
        if (writes[i].stream->written.load(std::memory_order_acquire) < writes[i].number) {
            i++;
            continue;
        }
        host_learns(writes[i].clock);
        writes.erase(writes.begin() + static_cast<ptrdiff_t>(i));
    }
}

uint64_t stream_advance(CUstream stream)
{
    clock_merge(&stream->clock, state.host);
    uint64_t number = ++state.slot_numbers[stream->slot];
    if (stream->clock.size() <= stream->slot) stream->clock.resize(stream->slot + 1);
    stream->clock[stream->slot] = number;
    return number;
}

// ---- Operations ----------------------------------------------------------------------------------

// What the engine runs: the caller's effect, unless the device is lost, or is to be lost by this.
struct Wrapped {
    Device *device;
    int lose_code;
    mti_engine_effect_fn_t effect;
    void (*discard)(void *);
    // The caller's payload follows, 16-byte aligned.
};
static constexpr size_t kPayload = (sizeof(Wrapped) + 15) & ~size_t{15};

static manta_status_t run_wrapped(void *payload, const char **out_text)
{
    auto *wrapped = static_cast<Wrapped *>(payload);
    if (wrapped->lose_code) {
        int none = 0;
        wrapped->device->sticky.compare_exchange_strong(none, wrapped->lose_code);
    }
    if (wrapped->device->sticky.load(std::memory_order_acquire)) return MANTA_OK;
    if (!wrapped->effect) return MANTA_OK;
    return wrapped->effect(static_cast<char *>(payload) + kPayload, out_text);
}

static void discard_wrapped(void *payload)
{
    auto *wrapped = static_cast<Wrapped *>(payload);
    if (wrapped->discard) wrapped->discard(static_cast<char *>(payload) + kPayload);
}

static bool fault_counts_down(uint32_t *counter)
{
    return *counter > 0 && --*counter == 0;
}

CUresult submit(CUstream stream, const char *name, mti_engine_effect_fn_t effect,
                const void *payload, size_t bytes, void (*discard)(void *), bool is_launch,
                bool is_copy, int64_t duration_ns, uint64_t *out_seq)
{
    Device *device = stream->context->device;
    std::vector<char> buffer(kPayload + bytes);
    Wrapped wrapped{device, 0, state.is_wrong ? nullptr : effect, discard};
    state.is_wrong = false;
    if (is_launch && fault_counts_down(&device->lose_at_launch))
        wrapped.lose_code = device->lose_launch_code;
    if ((is_launch || is_copy) && fault_counts_down(&device->lose_at_op))
        wrapped.lose_code = device->lose_op_code;
    memcpy(buffer.data(), &wrapped, sizeof wrapped);
    if (bytes) memcpy(buffer.data() + kPayload, payload, bytes);
    mti_engine_op_t op{};
    op.name = name;
    op.effect = run_wrapped;
    op.payload = buffer.data();
    op.payload_bytes = buffer.size();
    op.discard = discard ? discard_wrapped : nullptr;
    op.duration_ns = duration_ns + (is_copy ? device->copy_ns : 0);
    uint64_t seq = 0;
    manta_status_t status = mti_engine_submit(stream->queue, &op, &seq);
    if (status == MANTA_ERR_DEVICE_LOST) {
        // Lost, and not told yet: taken, and never done.
        if (discard) discard(buffer.data() + kPayload);
        stream->last_seq = UINT64_MAX;
        if (out_seq) *out_seq = UINT64_MAX;
        return CUDA_SUCCESS;
    }
    if (status != MANTA_OK) {
        if (discard) discard(buffer.data() + kPayload);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    stream->last_seq = seq;
    if (effect) stream->last_work = state.slot_numbers[stream->slot];
    if (out_seq) *out_seq = seq;
    return CUDA_SUCCESS;
}

} // namespace fake
