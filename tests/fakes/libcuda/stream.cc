// Streams, events, words, host functions.
#include "fakes/libcuda/calls.h"
#include "fakes/libcuda/state.h"

#include <atomic>
#include <cinttypes>

using namespace fake;

// ---- Streams -------------------------------------------------------------------------------------

CUresult fake_cuStreamCreateWithPriority(CUstream *out_stream, unsigned flags, int priority)
{
    FAKE_CALL(cuStreamCreateWithPriority);
    CUcontext context;
    CUresult result = need_context(call.name(), &context);
    if (result != CUDA_SUCCESS) return result;
    if (flags != CU_STREAM_NON_BLOCKING) {
        violation("%s: a blocking stream orders itself with the default stream", call.name());
        return CUDA_ERROR_INVALID_VALUE;
    }
    (void)priority; // out of range is clamped
    auto *stream = new CUstream_st{};
    stream->context = context;
    if (state.free_slots.empty()) {
        stream->slot = static_cast<uint32_t>(state.slot_numbers.size());
        state.slot_numbers.push_back(0);
    } else {
        stream->slot = state.free_slots.back();
        state.free_slots.pop_back();
    }
    std::string name = "stream " + std::to_string(stream->slot);
    stream->queue = mti_engine_queue_create(context->device->domain, name.c_str());
    if (!stream->queue) {
        delete stream;
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    handle_add(&state.streams, stream);
    *out_stream = stream;
    return CUDA_SUCCESS;
}

CUresult fake_cuStreamDestroy(CUstream stream)
{
    FAKE_CALL(cuStreamDestroy);
    CUresult result = need_stream(call.name(), stream);
    if (result != CUDA_SUCCESS) return result;
    // A driver lets the work run out. Here it has to be over, and the host has to know.
    if (!clock_has(state.host, stream->slot, stream->last_work))
        violation("%s: the host does not know the end of the stream's work", call.name());
    handle_remove(stream);
    // The queue goes with the engine: events may still name it. The slot can be used again, since
    // its numbers go on.
    state.free_slots.push_back(stream->slot);
    return CUDA_SUCCESS;
}

CUresult fake_cuStreamGetCtx(CUstream stream, CUcontext *out_context)
{
    FAKE_CALL(cuStreamGetCtx);
    if (!is_alive(stream, call.name(), "stream")) return CUDA_ERROR_INVALID_HANDLE;
    *out_context = stream->context;
    return CUDA_SUCCESS;
}

CUresult fake_cuStreamQuery(CUstream stream)
{
    FAKE_CALL(cuStreamQuery);
    CUresult result = need_stream(call.name(), stream);
    if (result != CUDA_SUCCESS) return result;
    let_time_pass();
    if (mti_engine_done(stream->queue) < stream->last_seq) {
        result = sticky_of(stream->context->device);
        return result != CUDA_SUCCESS ? result : CUDA_ERROR_NOT_READY;
    }
    result = sticky_of(stream->context->device);
    if (result != CUDA_SUCCESS) return result;
    host_learns(stream->clock);
    host_looks_at_writes();
    return CUDA_SUCCESS;
}

// Waits for |seq| of |queue| without the lock.
static CUresult await(Call *call, Device *device, mti_engine_queue_t *queue, uint64_t seq)
{
    call->unlock();
    manta_status_t status = mti_engine_await(queue, seq, INT64_MAX);
    call->relock();
    CUresult sticky = sticky_of(device);
    if (sticky != CUDA_SUCCESS) return sticky;
    if (status == MANTA_ERR_DEADLOCK) {
        char dump[700];
        mti_engine_format(state.engine, dump, sizeof dump);
        violation("%s: a deadlock, nothing that is queued can ever run: %s", call->name(), dump);
        return CUDA_ERROR_LAUNCH_TIMEOUT;
    }
    return status == MANTA_OK ? CUDA_SUCCESS : CUDA_ERROR_UNKNOWN;
}

CUresult fake_cuStreamSynchronize(CUstream stream)
{
    FAKE_CALL(cuStreamSynchronize);
    CUresult result = need_stream(call.name(), stream);
    if (result != CUDA_SUCCESS) return result;
    Clock clock = stream->clock;
    result = await(&call, stream->context->device, stream->queue, stream->last_seq);
    if (result == CUDA_SUCCESS) host_learns(clock);
    return result;
}

// ---- Events --------------------------------------------------------------------------------------

CUresult fake_cuEventCreate(CUevent *out_event, unsigned flags)
{
    FAKE_CALL(cuEventCreate);
    CUcontext context;
    CUresult result = need_context(call.name(), &context);
    if (result != CUDA_SUCCESS) return result;
    if (!(flags & CU_EVENT_DISABLE_TIMING))
        violation("%s: a timed event costs ten times an untimed one", call.name());
    if (state.event_limit && state.event_count >= state.event_limit)
        return CUDA_ERROR_OUT_OF_MEMORY;
    state.event_count++;
    auto *event = new CUevent_st{};
    event->context = context;
    handle_add(&state.events, event);
    *out_event = event;
    return CUDA_SUCCESS;
}

CUresult fake_cuEventDestroy(CUevent event)
{
    FAKE_CALL(cuEventDestroy);
    CUresult result = need_context(call.name(), nullptr);
    if (result != CUDA_SUCCESS) return result;
    if (!is_alive(event, call.name(), "event")) return CUDA_ERROR_INVALID_HANDLE;
    handle_remove(event);
    state.event_count--;
    return CUDA_SUCCESS;
}

CUresult fake_cuEventRecord(CUevent event, CUstream stream)
{
    FAKE_CALL(cuEventRecord);
    CUresult result = need_stream(call.name(), stream);
    if (result != CUDA_SUCCESS) return result;
    if (!is_alive(event, call.name(), "event")) return CUDA_ERROR_INVALID_HANDLE;
    if (event->context != stream->context) {
        violation("%s: an event of device %u on a stream of device %u", call.name(),
                  event->context->device->ordinal, stream->context->device->ordinal);
        return CUDA_ERROR_INVALID_HANDLE;
    }
    stream_advance(stream);
    result = submit(stream, "event", nullptr, nullptr, 0, nullptr, false, false, 0, &event->seq);
    if (result != CUDA_SUCCESS) return result;
    event->is_recorded = true;
    event->queue = stream->queue;
    event->clock = stream->clock;
    return CUDA_SUCCESS;
}

CUresult fake_cuEventQuery(CUevent event)
{
    FAKE_CALL(cuEventQuery);
    CUresult result = need_context(call.name(), nullptr);
    if (result != CUDA_SUCCESS) return result;
    if (!is_alive(event, call.name(), "event")) return CUDA_ERROR_INVALID_HANDLE;
    if (!event->is_recorded) return CUDA_SUCCESS;
    let_time_pass();
    bool is_done = mti_engine_done(event->queue) >= event->seq;
    result = sticky_of(event->context->device);
    if (result != CUDA_SUCCESS) return result;
    if (!is_done) return CUDA_ERROR_NOT_READY;
    host_learns(event->clock);
    return CUDA_SUCCESS;
}

CUresult fake_cuEventSynchronize(CUevent event)
{
    FAKE_CALL(cuEventSynchronize);
    CUresult result = need_context(call.name(), nullptr);
    if (result != CUDA_SUCCESS) return result;
    if (!is_alive(event, call.name(), "event")) return CUDA_ERROR_INVALID_HANDLE;
    if (!event->is_recorded) return CUDA_SUCCESS;
    Clock clock = event->clock;
    result = await(&call, event->context->device, event->queue, event->seq);
    if (result == CUDA_SUCCESS) host_learns(clock);
    return result;
}

CUresult fake_cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)
{
    FAKE_CALL(cuStreamWaitEvent);
    CUresult result = need_stream(call.name(), stream);
    if (result != CUDA_SUCCESS) return result;
    if (!is_alive(event, call.name(), "event")) return CUDA_ERROR_INVALID_HANDLE;
    if (flags != CU_EVENT_WAIT_DEFAULT) return CUDA_ERROR_INVALID_VALUE;
    if (!event->is_recorded) {
        violation("%s: the event was never recorded, so this waits for nothing", call.name());
        return CUDA_SUCCESS;
    }
    result = sticky_of(event->context->device);
    if (result != CUDA_SUCCESS) return result;
    clock_merge(&stream->clock, event->clock);
    // Lost, and not told yet: taken, and never done.
    const manta_status_t status = mti_engine_wait(stream->queue, event->queue, event->seq);
    if (status != MANTA_OK && status != MANTA_ERR_DEVICE_LOST) return CUDA_ERROR_OUT_OF_MEMORY;
    // Who asks for the end of the stream asks for the end of its waits, too.
    stream_advance(stream);
    return submit(stream, "wait", nullptr, nullptr, 0, nullptr, false, false, 0);
}

// ---- Words ---------------------------------------------------------------------------------------

struct Word {
    uint64_t *address;
    uint64_t value;
    std::atomic<uint64_t> *written;
    uint64_t number;
};

static manta_status_t run_write(void *payload, const char **)
{
    auto *word = static_cast<Word *>(payload);
    word->written->store(word->number, std::memory_order_release);
    __atomic_store_n(word->address, word->value, __ATOMIC_RELEASE);
    return MANTA_OK;
}

static uint64_t *word_of(const char *call, CUdeviceptr address)
{
    Allocation *allocation = find_allocation(address);
    if (!allocation || allocation->freed || address % 8 != 0) {
        violation("%s: 0x%llx is not an aligned word of memory that the device knows", call,
                  address);
        return nullptr;
    }
    if (allocation->kind == Allocation::kRegistered && !allocation->mapped) {
        violation("%s: %s is not mapped for devices", call, describe(*allocation).c_str());
        return nullptr;
    }
    return reinterpret_cast<uint64_t *>(real_of(address));
}

CUresult fake_cuStreamWriteValue64(CUstream stream, CUdeviceptr address, cuuint64_t value,
                                   unsigned flags)
{
    FAKE_CALL(cuStreamWriteValue64);
    CUresult result = need_stream(call.name(), stream);
    if (result != CUDA_SUCCESS) return result;
    if (state.options.no_words) {
        violation("%s: the device has no 64-bit stream memory operations", call.name());
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    if (flags != CU_STREAM_WRITE_VALUE_DEFAULT) {
        violation("%s: without the barrier the host sees the word before what it stands for",
                  call.name());
        return CUDA_ERROR_INVALID_VALUE;
    }
    Word word{word_of(call.name(), address), value, &stream->written, 0};
    if (!word.address) return CUDA_ERROR_INVALID_VALUE;
    word.number = stream_advance(stream);
    check_use(stream, {address, 8, 8, 1}, true, call.name());
    result = submit(stream, "write word", run_write, &word, sizeof word, nullptr, false, false, 0);
    if (result == CUDA_SUCCESS) state.seen_writes.push_back({stream, word.number, stream->clock});
    return result;
}

static bool word_reached(const void *payload)
{
    auto *word = static_cast<const Word *>(payload);
    return __atomic_load_n(word->address, __ATOMIC_ACQUIRE) >= word->value;
}

CUresult fake_cuStreamWaitValue64(CUstream stream, CUdeviceptr address, cuuint64_t value,
                                  unsigned flags)
{
    FAKE_CALL(cuStreamWaitValue64);
    CUresult result = need_stream(call.name(), stream);
    if (result != CUDA_SUCCESS) return result;
    if (flags != CU_STREAM_WAIT_VALUE_GEQ) return CUDA_ERROR_INVALID_VALUE;
    Word word{word_of(call.name(), address), value, nullptr, 0};
    if (!word.address) return CUDA_ERROR_INVALID_VALUE;
    stream_advance(stream);
    mti_engine_op_t op{};
    op.name = "wait for word";
    op.payload = &word;
    op.payload_bytes = sizeof word;
    op.condition = word_reached;
    const manta_status_t status = mti_engine_submit(stream->queue, &op, &stream->last_seq);
    if (status == MANTA_ERR_DEVICE_LOST) stream->last_seq = UINT64_MAX; // as above
    return status == MANTA_OK || status == MANTA_ERR_DEVICE_LOST ? CUDA_SUCCESS
                                                                 : CUDA_ERROR_OUT_OF_MEMORY;
}

// ---- Host functions ------------------------------------------------------------------------------

struct HostFunction {
    CUhostFn fn;
    void *user;
};

static manta_status_t run_host_function(void *payload, const char **)
{
    auto *function = static_cast<HostFunction *>(payload);
    in_host_function = true;
    function->fn(function->user);
    in_host_function = false;
    return MANTA_OK;
}

CUresult fake_cuLaunchHostFunc(CUstream stream, CUhostFn fn, void *user)
{
    FAKE_CALL(cuLaunchHostFunc);
    CUresult result = need_stream(call.name(), stream);
    if (result != CUDA_SUCCESS) return result;
    HostFunction function{fn, user};
    stream_advance(stream);
    return submit(stream, "host function", run_host_function, &function, sizeof function, nullptr,
                  false, false, 0);
}
