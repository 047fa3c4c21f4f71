// Device memory, pools, registered host memory, copies and fills.
//
// Device addresses come out of a range in which nothing is mapped, and are never used twice: a host
// that touches device memory crashes, and what uses freed memory is always noticed.
#include "fakes/libcuda/calls.h"
#include "fakes/libcuda/state.h"

#include <algorithm>
#include <cinttypes>
#include <cstring>

#include <sys/mman.h>

using namespace fake;

namespace fake
{

static constexpr uint64_t kWindowBytes = uint64_t{1} << 38; // 256 GiB of addresses
static constexpr uint64_t kGapBytes = 1 << 16;
static char *window = nullptr;
static uint64_t window_used = 0;

static uint64_t window_take(size_t bytes)
{
    if (!window) {
        void *range = mmap(nullptr, kWindowBytes, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (range == MAP_FAILED) return 0;
        window = static_cast<char *>(range);
    }
    uint64_t need = ((bytes + kGapBytes - 1) / kGapBytes + 1) * kGapBytes;
    if (window_used + need > kWindowBytes) return 0;
    uint64_t address = reinterpret_cast<uint64_t>(window) + window_used;
    window_used += need;
    return address;
}

void memory_stop()
{
    // Addresses are not used again even then: stale ones stay noticeable.
}

Allocation *find_allocation(uint64_t address)
{
    auto after = state.allocations.upper_bound(address);
    if (after == state.allocations.begin()) return nullptr;
    Allocation *allocation = std::prev(after)->second.get();
    return address < allocation->address + allocation->bytes ? allocation : nullptr;
}

char *real_of(uint64_t address)
{
    Allocation *allocation = find_allocation(address);
    return allocation && !allocation->freed ? allocation->real + (address - allocation->address)
                                            : nullptr;
}

void reap_frees()
{
    auto &frees = state.pending_frees;
    for (size_t i = 0; i < frees.size();) {
        if (mti_engine_done(frees[i].queue) < frees[i].seq) {
            i++;
            continue;
        }
        mti_engine_space_free(frees[i].device->space, frees[i].real);
        frees.erase(frees.begin() + static_cast<ptrdiff_t>(i));
    }
}

uint32_t list_leaks(std::vector<std::string> *out)
{
    size_t before = out->size();
    for (CUstream_st *stream : state.streams)
        if (state.live.count(stream))
            out->push_back("a stream of device " +
                           std::to_string(stream->context->device->ordinal));
    for (CUevent_st *event : state.events)
        if (state.live.count(event))
            out->push_back("an event of device " + std::to_string(event->context->device->ordinal));
    for (CUmemPoolHandle_st *pool : state.pools)
        if (state.live.count(pool))
            out->push_back("a pool of device " + std::to_string(pool->device->ordinal));
    for (const auto &entry : state.allocations)
        if (!entry.second->freed) out->push_back(describe(*entry.second));
    return static_cast<uint32_t>(out->size() - before);
}

} // namespace fake

// ---- Device memory -------------------------------------------------------------------------------

static bool fault_counts_down(uint32_t *counter)
{
    return *counter > 0 && --*counter == 0;
}

static Allocation *device_allocate(Device *device, size_t bytes, Allocation::Kind kind)
{
    if (fault_counts_down(&device->fail_alloc)) return nullptr;
    void *real = mti_engine_space_alloc(device->space, bytes, 256);
    if (!real) return nullptr;
    uint64_t address = window_take(bytes);
    if (!address) {
        mti_engine_space_free(device->space, real);
        return nullptr;
    }
    // Nobody may count on what is in new memory.
    memset(real, 0xCD, bytes);
    auto allocation = std::make_unique<Allocation>();
    allocation->kind = kind;
    allocation->address = address;
    allocation->bytes = bytes;
    allocation->real = static_cast<char *>(real);
    allocation->device = device;
    Allocation *result = allocation.get();
    state.allocations[address] = std::move(allocation);
    return result;
}

CUresult fake_cuMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    FAKE_CALL(cuMemGetInfo);
    CUcontext context;
    CUresult result = need_context(call.name(), &context);
    if (result != CUDA_SUCCESS) return result;
    mti_engine_usage_t usage = mti_engine_space_usage(context->device->space);
    *total_bytes = usage.limit_bytes;
    *free_bytes = usage.limit_bytes - usage.used_bytes;
    return CUDA_SUCCESS;
}

CUresult fake_cuMemAlloc(CUdeviceptr *out_address, size_t bytes)
{
    FAKE_CALL(cuMemAlloc);
    CUcontext context;
    CUresult result = need_context(call.name(), &context);
    if (result != CUDA_SUCCESS) return result;
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    Allocation *allocation = device_allocate(context->device, bytes, Allocation::kPlain);
    if (!allocation) return CUDA_ERROR_OUT_OF_MEMORY;
    *out_address = allocation->address;
    return CUDA_SUCCESS;
}

// The start of something alive of |kind|; a violation if it is not.
static Allocation *allocation_at(const char *call, uint64_t address, bool of_pool, bool of_plain)
{
    Allocation *allocation = find_allocation(address);
    if (!allocation || allocation->address != address ||
        !((of_pool && allocation->kind == Allocation::kPooled) ||
          (of_plain && allocation->kind == Allocation::kPlain))) {
        violation("%s: 0x%" PRIx64 " was not allocated in a way that this frees", call, address);
        return nullptr;
    }
    if (allocation->freed) {
        violation("%s: %s was freed already by %s", call, describe(*allocation).c_str(),
                  allocation->freed_by.c_str());
        return nullptr;
    }
    return allocation;
}

CUresult fake_cuMemFree(CUdeviceptr address)
{
    FAKE_CALL(cuMemFree);
    CUcontext context;
    CUresult result = need_context(call.name(), &context);
    if (result != CUDA_SUCCESS) return result;
    Allocation *allocation = allocation_at(call.name(), address, false, true);
    if (!allocation) return CUDA_ERROR_INVALID_VALUE;
    if (allocation->device != context->device)
        violation("%s: %s, while another context is current", call.name(),
                  describe(*allocation).c_str());
    // A driver would wait for the whole device.
    if (check_free(nullptr, allocation, call.name()))
        mti_engine_space_free(allocation->device->space, allocation->real);
    allocation->freed = true;
    allocation->freed_by = call.name();
    return CUDA_SUCCESS;
}

// ---- Pools ---------------------------------------------------------------------------------------

CUresult fake_cuMemPoolCreate(CUmemoryPool *out_pool, const CUmemPoolProps *props)
{
    FAKE_CALL(cuMemPoolCreate);
    CUcontext context;
    CUresult result = need_context(call.name(), &context);
    if (result != CUDA_SUCCESS) return result;
    if (props->allocType != CU_MEM_ALLOCATION_TYPE_PINNED ||
        props->location.type != CU_MEM_LOCATION_TYPE_DEVICE || props->location.id < 0 ||
        static_cast<size_t>(props->location.id) >= state.devices.size())
        return CUDA_ERROR_INVALID_VALUE;
    if (state.options.no_pools) return CUDA_ERROR_NOT_SUPPORTED;
    auto *pool = new CUmemPoolHandle_st{};
    pool->device = state.devices[static_cast<size_t>(props->location.id)].get();
    handle_add(&state.pools, pool);
    *out_pool = pool;
    return CUDA_SUCCESS;
}

CUresult fake_cuMemPoolDestroy(CUmemoryPool pool)
{
    FAKE_CALL(cuMemPoolDestroy);
    if (!is_alive(pool, call.name(), "pool")) return CUDA_ERROR_INVALID_HANDLE;
    if (pool->live > 0)
        violation("%s: %u allocations of the pool are alive", call.name(), pool->live);
    handle_remove(pool);
    return CUDA_SUCCESS;
}

CUresult fake_cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value)
{
    FAKE_CALL(cuMemPoolSetAttribute);
    if (!is_alive(pool, call.name(), "pool")) return CUDA_ERROR_INVALID_HANDLE;
    if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD ||
        attribute == CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES ||
        attribute == CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC ||
        attribute == CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES)
        return value ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult fake_cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *map, size_t count)
{
    FAKE_CALL(cuMemPoolSetAccess);
    if (!is_alive(pool, call.name(), "pool")) return CUDA_ERROR_INVALID_HANDLE;
    for (size_t i = 0; i < count; i++) {
        if (map[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE) return CUDA_ERROR_INVALID_VALUE;
        int peer = map[i].location.id;
        if (peer < 0 || static_cast<size_t>(peer) >= state.devices.size())
            return CUDA_ERROR_INVALID_DEVICE;
        if (state.options.no_peers) {
            violation("%s: device %d cannot reach device %u", call.name(), peer,
                      pool->device->ordinal);
            return CUDA_ERROR_INVALID_DEVICE;
        }
        if (map[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
            pool->access.insert(peer);
        else
            pool->access.erase(peer);
    }
    return CUDA_SUCCESS;
}

CUresult fake_cuMemAllocFromPoolAsync(CUdeviceptr *out_address, size_t bytes, CUmemoryPool pool,
                                      CUstream stream)
{
    FAKE_CALL(cuMemAllocFromPoolAsync);
    CUresult result = need_stream(call.name(), stream);
    if (result != CUDA_SUCCESS) return result;
    if (!is_alive(pool, call.name(), "pool")) return CUDA_ERROR_INVALID_HANDLE;
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    Allocation *allocation = device_allocate(pool->device, bytes, Allocation::kPooled);
    if (!allocation && !state.pending_frees.empty()) {
        // What earlier frees of this stream give back may be used at once, in its order.
        uint64_t seq = stream->last_seq;
        call.unlock();
        manta_status_t status = mti_engine_await(stream->queue, seq, INT64_MAX);
        call.relock();
        if (status == MANTA_OK) reap_frees();
        allocation = device_allocate(pool->device, bytes, Allocation::kPooled);
    }
    if (!allocation) return CUDA_ERROR_OUT_OF_MEMORY;
    allocation->pool = pool;
    allocation->slot = stream->slot;
    allocation->number = stream_advance(stream);
    pool->live++;
    *out_address = allocation->address;
    return submit(stream, "alloc", nullptr, nullptr, 0, nullptr, false, false, 0);
}

CUresult fake_cuMemFreeAsync(CUdeviceptr address, CUstream stream)
{
    FAKE_CALL(cuMemFreeAsync);
    CUresult result = need_stream(call.name(), stream);
    if (result != CUDA_SUCCESS) return result;
    Allocation *allocation = allocation_at(call.name(), address, true, true);
    if (!allocation) return CUDA_ERROR_INVALID_VALUE;
    stream_advance(stream);
    bool is_right = check_free(stream, allocation, call.name());
    uint64_t seq;
    result = submit(stream, "free", nullptr, nullptr, 0, nullptr, false, false, 0, &seq);
    if (result != CUDA_SUCCESS) return result;
    if (is_right)
        state.pending_frees.push_back({stream->queue, seq, allocation->device, allocation->real});
    allocation->freed = true;
    allocation->freed_by = call.name();
    if (allocation->pool) allocation->pool->live--;
    return CUDA_SUCCESS;
}

// ---- Host memory ---------------------------------------------------------------------------------

CUresult fake_cuMemHostRegister(void *ptr, size_t bytes, unsigned flags)
{
    FAKE_CALL(cuMemHostRegister);
    CUcontext context;
    CUresult result = need_context(call.name(), &context);
    if (result != CUDA_SUCCESS) return result;
    if (!ptr || bytes == 0 ||
        (flags & ~unsigned{CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP}))
        return CUDA_ERROR_INVALID_VALUE;
    if (fault_counts_down(&state.fail_host_register)) return CUDA_ERROR_OUT_OF_MEMORY;
    uint64_t address = reinterpret_cast<uint64_t>(ptr);
    // Dead registrations in the way are forgotten: host addresses do come back.
    for (auto at = state.allocations.begin(); at != state.allocations.end();) {
        Allocation &other = *at->second;
        bool overlaps = other.address < address + bytes && address < other.address + other.bytes;
        if (overlaps && !other.freed) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
        at = overlaps ? state.allocations.erase(at) : std::next(at);
    }
    auto allocation = std::make_unique<Allocation>();
    allocation->kind = Allocation::kRegistered;
    allocation->address = address;
    allocation->bytes = bytes;
    allocation->real = static_cast<char *>(ptr);
    allocation->device = context->device;
    allocation->portable = flags & CU_MEMHOSTREGISTER_PORTABLE;
    allocation->mapped = flags & CU_MEMHOSTREGISTER_DEVICEMAP;
    state.allocations[address] = std::move(allocation);
    return CUDA_SUCCESS;
}

CUresult fake_cuMemHostUnregister(void *ptr)
{
    FAKE_CALL(cuMemHostUnregister);
    CUresult result = need_context(call.name(), nullptr);
    if (result != CUDA_SUCCESS) return result;
    Allocation *allocation = find_allocation(reinterpret_cast<uint64_t>(ptr));
    if (!allocation || allocation->kind != Allocation::kRegistered || allocation->freed ||
        allocation->real != ptr) {
        violation("%s: %p is not the start of registered memory", call.name(), ptr);
        return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
    }
    check_free(nullptr, allocation, call.name());
    allocation->freed = true;
    allocation->freed_by = call.name();
    return CUDA_SUCCESS;
}

CUresult fake_cuMemHostGetDevicePointer(CUdeviceptr *out_address, void *ptr, unsigned flags)
{
    FAKE_CALL(cuMemHostGetDevicePointer);
    CUresult result = need_context(call.name(), nullptr);
    if (result != CUDA_SUCCESS) return result;
    Allocation *allocation = find_allocation(reinterpret_cast<uint64_t>(ptr));
    if (flags != 0 || !allocation || allocation->kind != Allocation::kRegistered ||
        allocation->freed || !allocation->mapped)
        return CUDA_ERROR_INVALID_VALUE;
    *out_address = reinterpret_cast<CUdeviceptr>(ptr);
    return CUDA_SUCCESS;
}

// ---- Copies --------------------------------------------------------------------------------------

struct Rows {
    char *dst;
    const char *src;
    size_t width, dst_pitch, src_pitch, rows;
};

static manta_status_t run_rows(void *payload, const char **)
{
    auto *rows = static_cast<Rows *>(payload);
    for (size_t i = 0; i < rows->rows; i++)
        memcpy(rows->dst + i * rows->dst_pitch, rows->src + i * rows->src_pitch, rows->width);
    return MANTA_OK;
}

// What one end of a copy may be.
enum End { kAnything, kHostOrOwnDevice, kDevice };

// Resolves one end: checks what it is, and hands out the memory behind it. nullptr: no such copy.
static char *copy_end(const char *call, CUstream stream, const Span &span, bool writes, End may_be,
                      const Device *expected)
{
    Allocation *allocation = find_allocation(span.address);
    const char *what = writes ? "destination" : "source";
    if (!allocation) {
        if (may_be == kDevice) {
            violation("%s: the %s 0x%" PRIx64 " is no device memory", call, what, span.address);
            return nullptr;
        }
        if (!state.options.allows_pageable)
            violation("%s: the %s 0x%" PRIx64 " is host memory that is not registered: the copy "
                      "would wait for itself",
                      call, what, span.address);
        return reinterpret_cast<char *>(span.address);
    }
    bool is_host = allocation->kind == Allocation::kRegistered;
    if (may_be == kDevice && (is_host || allocation->device != expected)) {
        violation("%s: the %s is %s, and not memory of device %u", call, what,
                  describe(*allocation).c_str(), expected->ordinal);
        return nullptr;
    }
    Device *own = stream->context->device;
    if (may_be == kHostOrOwnDevice && !is_host && allocation->device != own) {
        bool is_let_in =
            allocation->pool && allocation->pool->access.count(static_cast<int>(own->ordinal)) > 0;
        if (!is_let_in)
            violation("%s: the %s is %s, which device %u cannot reach", call, what,
                      describe(*allocation).c_str(), own->ordinal);
    }
    if (is_host && !allocation->portable && allocation->device != own)
        violation("%s: the %s is %s, not portable, on a stream of device %u", call, what,
                  describe(*allocation).c_str(), own->ordinal);
    check_use(stream, span, writes, call);
    if (allocation->freed || span.end() > allocation->address + allocation->bytes) return nullptr;
    return allocation->real + (span.address - allocation->address);
}

static CUresult copy_rows(Call *call, CUstream stream, const Span &dst, const Span &src, End may_be,
                          const Device *dst_device, const Device *src_device)
{
    stream_advance(stream);
    if (dst.address < src.end() && src.address < dst.end() && dst.rows <= 1)
        violation("%s: source and destination overlap", call->name());
    Rows rows{};
    rows.src = copy_end(call->name(), stream, src, false, may_be, src_device);
    rows.dst = copy_end(call->name(), stream, dst, true, may_be, dst_device);
    if (!rows.src || !rows.dst) return CUDA_ERROR_INVALID_VALUE;
    rows.width = dst.width;
    rows.rows = dst.rows;
    rows.dst_pitch = dst.pitch;
    rows.src_pitch = src.pitch;
    return submit(stream, "copy", run_rows, &rows, sizeof rows, nullptr, false, true, 0);
}

CUresult fake_cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream)
{
    FAKE_CALL(cuMemcpyAsync);
    CUresult result = need_stream(call.name(), stream);
    if (result != CUDA_SUCCESS || bytes == 0) return result;
    return copy_rows(&call, stream, {dst, bytes, bytes, 1}, {src, bytes, bytes, 1},
                     kHostOrOwnDevice, nullptr, nullptr);
}

CUresult fake_cuMemcpyPeerAsync(CUdeviceptr dst, CUcontext dst_context, CUdeviceptr src,
                                CUcontext src_context, size_t bytes, CUstream stream)
{
    FAKE_CALL(cuMemcpyPeerAsync);
    CUresult result = need_stream(call.name(), stream);
    if (result != CUDA_SUCCESS || bytes == 0) return result;
    if (!is_alive(dst_context, call.name(), "context") ||
        !is_alive(src_context, call.name(), "context"))
        return CUDA_ERROR_INVALID_CONTEXT;
    return copy_rows(&call, stream, {dst, bytes, bytes, 1}, {src, bytes, bytes, 1}, kDevice,
                     dst_context->device, src_context->device);
}

CUresult fake_cuMemcpy2DAsync(const CUDA_MEMCPY2D *copy, CUstream stream)
{
    FAKE_CALL(cuMemcpy2DAsync);
    CUresult result = need_stream(call.name(), stream);
    if (result != CUDA_SUCCESS) return result;
    if (copy->srcMemoryType != CU_MEMORYTYPE_UNIFIED ||
        copy->dstMemoryType != CU_MEMORYTYPE_UNIFIED || copy->srcPitch < copy->WidthInBytes ||
        copy->dstPitch < copy->WidthInBytes || copy->srcPitch > 2147483647 ||
        copy->dstPitch > 2147483647 || copy->srcXInBytes || copy->dstXInBytes || copy->srcY ||
        copy->dstY)
        return CUDA_ERROR_INVALID_VALUE;
    return copy_rows(&call, stream,
                     {copy->dstDevice, copy->WidthInBytes, copy->dstPitch, copy->Height},
                     {copy->srcDevice, copy->WidthInBytes, copy->srcPitch, copy->Height},
                     kHostOrOwnDevice, nullptr, nullptr);
}

CUresult fake_cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER *copy, CUstream stream)
{
    FAKE_CALL(cuMemcpy3DPeerAsync);
    CUresult result = need_stream(call.name(), stream);
    if (result != CUDA_SUCCESS) return result;
    if (copy->srcMemoryType != CU_MEMORYTYPE_DEVICE ||
        copy->dstMemoryType != CU_MEMORYTYPE_DEVICE || copy->Depth != 1 ||
        copy->srcPitch < copy->WidthInBytes || copy->dstPitch < copy->WidthInBytes)
        return CUDA_ERROR_INVALID_VALUE;
    if (!is_alive(copy->dstContext, call.name(), "context") ||
        !is_alive(copy->srcContext, call.name(), "context"))
        return CUDA_ERROR_INVALID_CONTEXT;
    return copy_rows(&call, stream,
                     {copy->dstDevice, copy->WidthInBytes, copy->dstPitch, copy->Height},
                     {copy->srcDevice, copy->WidthInBytes, copy->srcPitch, copy->Height}, kDevice,
                     copy->dstContext->device, copy->srcContext->device);
}

// ---- Batches -------------------------------------------------------------------------------------

#if CUDA_VERSION >= 12080
static manta_status_t run_batch(void *payload, const char **out_text)
{
    auto **rows = static_cast<std::vector<Rows> **>(payload);
    for (Rows &row : **rows)
        (void)run_rows(&row, out_text);
    return MANTA_OK;
}

static void discard_batch(void *payload)
{
    delete *static_cast<std::vector<Rows> **>(payload);
}

static CUresult copy_batch(Call *call, CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes,
                           size_t count, CUmemcpyAttributes *attributes, size_t *first,
                           size_t attribute_count, CUstream stream)
{
    CUresult result = need_stream(call->name(), stream);
    if (result != CUDA_SUCCESS) return result;
    if (count == 0 || attribute_count == 0 || attribute_count > count || first[0] != 0)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < attribute_count; i++) {
        if (attributes[i].srcAccessOrder < CU_MEMCPY_SRC_ACCESS_ORDER_STREAM ||
            attributes[i].srcAccessOrder > CU_MEMCPY_SRC_ACCESS_ORDER_ANY)
            return CUDA_ERROR_INVALID_VALUE;
        if (i > 0 && (first[i] <= first[i - 1] || first[i] >= count))
            return CUDA_ERROR_INVALID_VALUE;
    }
    stream_advance(stream);
    auto rows = std::make_unique<std::vector<Rows>>();
    for (size_t i = 0; i < count; i++) {
        if (sizes[i] == 0) {
            violation("%s: entry %zu is empty", call->name(), i);
            return CUDA_ERROR_INVALID_VALUE;
        }
        Rows row{nullptr, nullptr, sizes[i], sizes[i], sizes[i], 1};
        row.src = copy_end(call->name(), stream, {srcs[i], sizes[i], sizes[i], 1}, false,
                           kHostOrOwnDevice, nullptr);
        row.dst = copy_end(call->name(), stream, {dsts[i], sizes[i], sizes[i], 1}, true,
                           kHostOrOwnDevice, nullptr);
        if (!row.src || !row.dst) return CUDA_ERROR_INVALID_VALUE;
        // The copies of a batch have no order among themselves.
        for (const Rows &other : *rows)
            if (row.dst < other.dst + other.width && other.dst < row.dst + row.width)
                violation("%s: two entries write the same bytes", call->name());
        rows->push_back(row);
    }
    std::vector<Rows> *payload = rows.release();
    return submit(stream, "batch of copies", run_batch, &payload, sizeof payload, discard_batch,
                  false, true, 0);
}

CUresult fake_cuMemcpyBatchAsync_v12080(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes,
                                        size_t count, CUmemcpyAttributes *attributes, size_t *first,
                                        size_t attribute_count, size_t *failed, CUstream stream)
{
    FAKE_CALL(cuMemcpyBatchAsync);
    *failed = SIZE_MAX;
    return copy_batch(&call, dsts, srcs, sizes, count, attributes, first, attribute_count, stream);
}

CUresult fake_cuMemcpyBatchAsync_v13000(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes,
                                        size_t count, CUmemcpyAttributes *attributes, size_t *first,
                                        size_t attribute_count, CUstream stream)
{
    FAKE_CALL(cuMemcpyBatchAsync);
    return copy_batch(&call, dsts, srcs, sizes, count, attributes, first, attribute_count, stream);
}

#endif

// ---- Fills ---------------------------------------------------------------------------------------

struct Fill {
    char *dst;
    size_t count;
    uint32_t pattern, bytes;
};

static manta_status_t run_fill(void *payload, const char **)
{
    auto *fill = static_cast<Fill *>(payload);
    for (size_t i = 0; i < fill->count; i++)
        memcpy(fill->dst + i * fill->bytes, &fill->pattern, fill->bytes);
    return MANTA_OK;
}

static CUresult fill_async(Call *call, CUdeviceptr dst, uint32_t pattern, uint32_t bytes,
                           size_t count, CUstream stream)
{
    CUresult result = need_stream(call->name(), stream);
    if (result != CUDA_SUCCESS || count == 0) return result;
    if (dst % bytes != 0) {
        violation("%s: 0x%llx is not a multiple of %u", call->name(), dst, bytes);
        return CUDA_ERROR_INVALID_VALUE;
    }
    stream_advance(stream);
    uint64_t size = uint64_t{bytes} * count;
    Fill fill{copy_end(call->name(), stream, {dst, size, size, 1}, true, kDevice,
                       stream->context->device),
              count, pattern, bytes};
    if (!fill.dst) return CUDA_ERROR_INVALID_VALUE;
    return submit(stream, "fill", run_fill, &fill, sizeof fill, nullptr, false, true, 0);
}

CUresult fake_cuMemsetD8Async(CUdeviceptr dst, unsigned char value, size_t count, CUstream stream)
{
    FAKE_CALL(cuMemsetD8Async);
    return fill_async(&call, dst, value, 1, count, stream);
}

CUresult fake_cuMemsetD16Async(CUdeviceptr dst, unsigned short value, size_t count, CUstream stream)
{
    FAKE_CALL(cuMemsetD16Async);
    return fill_async(&call, dst, value, 2, count, stream);
}

CUresult fake_cuMemsetD32Async(CUdeviceptr dst, unsigned value, size_t count, CUstream stream)
{
    FAKE_CALL(cuMemsetD32Async);
    return fill_async(&call, dst, value, 4, count, stream);
}

// As a driver does: zeros for an address that it does not know.
CUresult fake_cuPointerGetAttributes(unsigned count, CUpointer_attribute *attributes, void **values,
                                     CUdeviceptr address)
{
    FAKE_CALL(cuPointerGetAttributes);
    const Allocation *found = find_allocation(address);
    if (found && found->freed) found = nullptr;
    bool is_host = found && found->kind == Allocation::kRegistered;
    for (unsigned i = 0; i < count; i++) {
        switch (attributes[i]) {
        case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
            *static_cast<unsigned *>(values[i]) = 0;
            if (found)
                *static_cast<unsigned *>(values[i]) =
                    is_host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
            break;
        case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
            *static_cast<int *>(values[i]) = found ? static_cast<int>(found->device->ordinal) : -2;
            break;
        case CU_POINTER_ATTRIBUTE_CONTEXT:
            *static_cast<CUcontext *>(values[i]) =
                found && found->kind != Allocation::kPooled ? found->device->primary : nullptr;
            break;
        case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
            *static_cast<uint64_t *>(values[i]) = found ? found->address : 0;
            break;
        case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
            *static_cast<size_t *>(values[i]) = found ? found->bytes : 0;
            break;
        default:
            violation("%s: attribute %d is not one that the fake knows", call.name(),
                      static_cast<int>(attributes[i]));
            return CUDA_ERROR_NOT_SUPPORTED;
        }
    }
    return CUDA_SUCCESS;
}
