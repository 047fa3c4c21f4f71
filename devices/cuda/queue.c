// Streams, the events and words that tell how far they are, and looking at those.
#include "devices/cuda/cuda_impl.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/notify.h"
#include "base/status.h"

#include <string.h>

// ---- Events --------------------------------------------------------------------------------------

enum { EVENTS_AT_ONCE = 8 };

// An event for |slot|, if it has none yet.
static manta_status_t event_make(cuda_device_t *device, cuda_event_t *slot)
{
    if (slot->event) return MANTA_OK;
    if (device->event_pool_count > 0) {
        slot->event = device->event_pool[--device->event_pool_count];
        return MANTA_OK;
    }
    cuda_make_sure(device);
    // Untimed: recording a timed one costs ten times as much.
    CUresult result = device->api->cuEventCreate(&slot->event, CU_EVENT_DISABLE_TIMING);
    // Some more, as we have looked which context is current.
    while (result == CUDA_SUCCESS && device->event_pool_count < EVENTS_AT_ONCE - 1) {
        CUevent *more = &device->event_pool[device->event_pool_count];
        if (device->api->cuEventCreate(more, CU_EVENT_DISABLE_TIMING) != CUDA_SUCCESS) break;
        device->event_pool_count++;
    }
    if (result == CUDA_SUCCESS) return MANTA_OK;
    slot->event = NULL;
    manta_status_t status =
        cuda_failed(device, result, "cuEventCreate(&event, CU_EVENT_DISABLE_TIMING)");
    return status == MANTA_ERR_OUT_OF_MEMORY ? MANTA_ERR_RESOURCE_EXHAUSTED : status;
}

static void event_give_back(cuda_device_t *device, CUevent event)
{
    if (device->event_pool_count < CUDA_EVENT_POOL)
        device->event_pool[device->event_pool_count++] = event;
    else
        MTI_CU_NOTE(device, cuEventDestroy(event));
}

manta_status_t cuda_event_take(cuda_device_t *device, CUevent *out_event)
{
    cuda_event_t slot = {.event = NULL};
    manta_status_t status = event_make(device, &slot);
    if (status == MANTA_OK) *out_event = slot.event;
    return status;
}

void cuda_event_give(cuda_device_t *device, CUevent event)
{
    event_give_back(device, event);
}

static void ring_give_back(cuda_device_t *device, const cuda_ring_t *ring)
{
    for (int i = 0; i < CUDA_EVENTS; i++)
        if (ring->events[i].event) event_give_back(device, ring->events[i].event);
}

void cuda_event_pool_drain(cuda_device_t *device)
{
    while (device->event_pool_count > 0)
        MTI_CU_NOTE(device, cuEventDestroy(device->event_pool[--device->event_pool_count]));
}

static uint32_t ring_next(const cuda_ring_t *ring)
{
    return (ring->newest + 1) % CUDA_EVENTS;
}

// Asks about the oldest ends that the host waits for. Returns false if the device is lost.
static bool ends_reap(cuda_device_t *device, cuda_queue_t *queue)
{
    while (queue->pending_count > 0) {
        uint32_t oldest =
            (queue->ends.newest + CUDA_EVENTS + 1 - queue->pending_count) % CUDA_EVENTS;
        const cuda_event_t *end = &queue->ends.events[oldest];
        CUresult result = device->api->cuEventQuery(end->event);
        if (result == CUDA_ERROR_NOT_READY) return true;
        if (result != CUDA_SUCCESS) {
            (void)cuda_failed(device, result, "cuEventQuery(end->event)");
            return !cuda_is_lost(device);
        }
        // relaxed: written under the right, which we hold
        uint64_t seq = mti_atomic_u64_load_relaxed(&end->seq);
        if (seq > queue->seen) queue->seen = seq;
        queue->pending_count--;
    }
    return true;
}

// Makes sure that there is an event for the next of |ring|.
static manta_status_t ring_reserve(cuda_device_t *device, cuda_ring_t *ring)
{
    return event_make(device, &ring->events[ring_next(ring)]);
}

// The event that ring_reserve() prepared is recorded behind |seq|, the last of |queue|.
static manta_status_t ring_record(cuda_device_t *device, cuda_queue_t *queue, cuda_ring_t *ring,
                                  uint64_t seq)
{
    cuda_event_t *slot = &ring->events[ring_next(ring)];
    MTI_CU_TRY(device, cuEventRecord(slot->event, queue->stream));
    // release: the event is recorded before its number can be read; pairs with ring_find
    mti_atomic_u64_store_release(&slot->seq, seq);
    ring->newest = ring_next(ring);
    return MANTA_OK;
}

// Improves |*best| to the event of |ring| that stands closest behind |seq|. Any thread.
static void ring_find(const cuda_ring_t *ring, uint64_t seq, const cuda_event_t **best,
                      uint64_t *best_seq)
{
    for (int i = 0; i < CUDA_EVENTS; i++) {
        // acquire: pairs with ring_record
        uint64_t at = mti_atomic_u64_load_acquire(&ring->events[i].seq);
        if (at >= seq && at < *best_seq) {
            *best = &ring->events[i];
            *best_seq = at;
        }
    }
}

// An event of |queue| behind |seq|; NULL if there is none. Any thread.
static const cuda_event_t *queue_find_event(const cuda_queue_t *queue, uint64_t seq)
{
    const cuda_event_t *best = NULL;
    uint64_t best_seq = UINT64_MAX;
    ring_find(&queue->marks, seq, &best, &best_seq);
    ring_find(&queue->ends, seq, &best, &best_seq);
    return best;
}

// ---- Queues --------------------------------------------------------------------------------------

static manta_status_t stream_create(cuda_device_t *device, bool high_priority, CUstream *out_stream)
{
    // Lower numbers are more urgent; out of range they are clamped.
    MTI_CU_TRY(device, cuStreamCreateWithPriority(out_stream, CU_STREAM_NON_BLOCKING,
                                                  high_priority ? -1 : 0));
    return MANTA_OK;
}

manta_status_t cuda_queue_create(mti_device_t *base, const mti_queue_options_t *options,
                                 mti_queue_t **out_queue)
{
    cuda_device_t *device = cuda_device(base);
    cuda_scope_t scope;
    manta_status_t status = cuda_enter_making(device, &scope);
    if (status != MANTA_OK) return status;
    cuda_queue_t *queue = mti_alloc_zeroed(&base->allocator, sizeof *queue, MTI_LINE_BYTES);
    if (!queue) {
        status = mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%s: no memory for a queue", base->name);
        goto leave;
    }
    status = stream_create(device, options->high_priority, &queue->stream);
    if (status != MANTA_OK) {
        mti_free(&base->allocator, queue, sizeof *queue);
        mti_fail_note(status, "%s", base->name);
        goto leave;
    }
    *out_queue = &queue->base;
leave:
    cuda_leave(device, &scope);
    return status;
}

// The queue's index, and with it its word, is only known once device.c has filled in the base.
static void queue_find_word(cuda_device_t *device, cuda_queue_t *queue)
{
    size_t offset = (size_t)queue->base.index * MTI_LINE_BYTES;
    queue->word = (mti_atomic_u64_t *)(void *)((char *)device->words->ptr + offset);
    queue->word_device = device->words_device + offset;
    // relaxed: nothing was recorded yet; the driver orders what follows
    mti_atomic_u64_store_relaxed(queue->word, 0);
}

void cuda_queue_destroy(mti_queue_t *base)
{
    cuda_queue_t *queue = cuda_queue(base);
    cuda_device_t *device = cuda_device(base->device);
    cuda_scope_t scope;
    // A lost context takes its streams and events along.
    if (cuda_enter(device, &scope) == MANTA_OK) {
        ring_give_back(device, &queue->marks);
        ring_give_back(device, &queue->ends);
        MTI_CU_NOTE(device, cuStreamDestroy(queue->stream));
        cuda_leave(device, &scope);
    }
    mti_free(&device->base.allocator, queue, sizeof *queue);
}

void *cuda_native_queue(mti_queue_t *queue)
{
    return cuda_queue(queue)->stream;
}

// ---- Order ---------------------------------------------------------------------------------------

// An event of |other|, whose device we hold the right of: one that is there, or a new one.
static manta_status_t wait_own_event(cuda_device_t *device, cuda_queue_t *other, uint64_t seq,
                                     const cuda_event_t **out_event)
{
    *out_event = queue_find_event(other, seq);
    if (*out_event) return MANTA_OK;
    manta_status_t status = ring_reserve(device, &other->marks);
    // It covers all that was submitted, so nobody has to record the same again.
    if (status == MANTA_OK)
        status = ring_record(device, other, &other->marks, other->base.submitted);
    if (status == MANTA_OK) *out_event = &other->marks.events[other->marks.newest];
    return status;
}

manta_status_t cuda_wait(mti_queue_t *base, mti_queue_t *other_base, uint64_t seq)
{
    cuda_queue_t *queue = cuda_queue(base), *other = cuda_queue(other_base);
    cuda_device_t *device = cuda_device(base->device);
    cuda_device_t *other_device = cuda_device(other_base->device);
    const cuda_event_t *event = NULL;
    cuda_scope_t scope;
    manta_status_t status = cuda_enter(device, &scope);
    if (status != MANTA_OK) return status;
    if (other_device == device) {
        status = wait_own_event(device, other, seq, &event);
    } else if (!cuda_is_lost(other_device)) {
        event = queue_find_event(other, seq);
        if (!event)
            status =
                mti_fail(MANTA_ERR_INTERNAL, "%s: operation %llu of %s was not recorded",
                         base->device->name, (unsigned long long)seq, other_base->device->name);
    }
    if (status == MANTA_OK && event) {
        CUresult result = device->api->cuStreamWaitEvent(queue->stream, event->event, 0);
        // A sticky error may be the other device's. Then its work never comes, and the wait is over.
        if (mti_cu_severity(result) == MTI_CU_LOST && other_device != device &&
            mti_cu_severity(device->api->cuStreamQuery(queue->stream)) != MTI_CU_LOST) {
            result = CUDA_SUCCESS;
            // relaxed: only this device's calls from here on look at it
            mti_atomic_u32_store_relaxed(&other_device->lost_for_others, 1);
        }
        if (result != CUDA_SUCCESS)
            status =
                cuda_failed(device, result, "cuStreamWaitEvent(queue->stream, event->event, 0)");
    }
    if (status != MANTA_OK) mti_fail_note(status, "%s", base->device->name);
    cuda_leave(device, &scope);
    return status;
}

// ---- Records -------------------------------------------------------------------------------------

// With words a record leaves an event behind only where another device's queue may want to wait for it.
static manta_status_t record_reserve(cuda_device_t *device, cuda_queue_t *queue)
{
    if (device->has_words) {
        if (!queue->word) queue_find_word(device, queue);
        return device->has_peers ? ring_reserve(device, &queue->marks) : MANTA_OK;
    }
    if (queue->pending_count == CUDA_EVENTS) (void)ends_reap(device, queue);
    if (queue->pending_count == CUDA_EVENTS) return MANTA_OK; // the newest is recorded again
    return ring_reserve(device, &queue->ends);
}

static manta_status_t record_make(cuda_device_t *device, cuda_queue_t *queue, uint64_t seq)
{
    manta_status_t status = MANTA_OK;
    if (!queue->word) {
        // When all ends are awaited, the newest one moves: the host learns of two ends at once then.
        bool is_full = queue->pending_count == CUDA_EVENTS;
        if (is_full) queue->ends.newest = (queue->ends.newest + CUDA_EVENTS - 1) % CUDA_EVENTS;
        status = ring_record(device, queue, &queue->ends, seq);
        queue->pending_count += status == MANTA_OK && !is_full;
        return status;
    }
    if (device->has_peers) status = ring_record(device, queue, &queue->marks, seq);
    if (status != MANTA_OK) return status;
    // The default flags keep the write behind everything that the stream wrote before.
    MTI_CU_TRY(device, cuStreamWriteValue64(queue->stream, queue->word_device, seq,
                                            CU_STREAM_WRITE_VALUE_DEFAULT));
    return MANTA_OK;
}

manta_status_t cuda_op_begin(cuda_queue_t *queue, uint32_t flags, cuda_scope_t *out_scope)
{
    cuda_device_t *device = cuda_device(queue->base.device);
    manta_status_t status = cuda_enter(device, out_scope);
    if (status != MANTA_OK) return status;
    if (flags & MTI_OP_RECORD) {
        status = record_reserve(device, queue);
        if (status != MANTA_OK) {
            mti_fail_note(status, "%s", device->base.name);
            cuda_leave(device, out_scope);
        }
    }
    return status;
}

manta_status_t cuda_op_end(cuda_queue_t *queue, manta_status_t status, uint32_t flags, uint64_t seq,
                           const cuda_scope_t *scope)
{
    cuda_device_t *device = cuda_device(queue->base.device);
    if (status == MANTA_OK && (flags & MTI_OP_RECORD)) {
        status = record_make(device, queue, seq);
        // The operation is on its way. Whatever keeps a record from being made but the loss of the
        // device is a state that we do not know: without the record nobody would ever see its end.
        if (status != MANTA_OK && !cuda_is_lost(device))
            status = cuda_failed(device, CUDA_ERROR_UNKNOWN, "a record after its operation");
    }
    if (status != MANTA_OK) mti_fail_note(status, "%s", device->base.name);
    cuda_leave(device, scope);
    return status;
}

manta_status_t cuda_signal(mti_queue_t *base, uint64_t seq)
{
    cuda_queue_t *queue = cuda_queue(base);
    cuda_device_t *device = cuda_device(base->device);
    cuda_scope_t scope;
    manta_status_t status = cuda_op_begin(queue, MTI_OP_RECORD, &scope);
    if (status != MANTA_OK) return status;
    status = record_make(device, queue, seq);
    return cuda_op_end(queue, status, MTI_OP_NONE, seq, &scope);
}

manta_status_t cuda_empty(mti_queue_t *base, uint32_t flags, uint64_t seq)
{
    cuda_scope_t scope;
    manta_status_t status = cuda_op_begin(cuda_queue(base), flags, &scope);
    if (status != MANTA_OK) return status;
    return cuda_op_end(cuda_queue(base), status, flags, seq, &scope);
}

// ---- Progress ------------------------------------------------------------------------------------

// How far |queue| is, as far as that can be seen without asking the driver.
static uint64_t queue_seen(const cuda_queue_t *queue)
{
    // acquire: what the stream wrote to host memory before the word is visible behind it
    uint64_t word = queue->word ? mti_atomic_u64_load_acquire(queue->word) : 0;
    return word > queue->seen ? word : queue->seen;
}

static bool queue_awaits(const cuda_queue_t *queue)
{
    // relaxed, both: written under the right, which we hold
    return mti_atomic_u64_load_relaxed(&queue->base.recorded) >
           mti_atomic_u64_load_relaxed(&queue->base.completed);
}

// Asks the driver about every queue that has work: the words are never written after an error, and
// that is how errors are noticed.
static void net_cast(cuda_device_t *device)
{
    cuda_scope_t scope;
    if (cuda_enter(device, &scope) != MANTA_OK) return;
    for (mti_queue_t *base = device->base.queues; base; base = base->next) {
        cuda_queue_t *queue = cuda_queue(base);
        // relaxed: written under the right
        uint64_t completed = mti_atomic_u64_load_relaxed(&base->completed);
        uint64_t recorded = mti_atomic_u64_load_relaxed(&base->recorded);
        if (base->submitted == completed || queue->seen == base->submitted) continue;
        CUresult result = device->api->cuStreamQuery(queue->stream);
        if (result == CUDA_SUCCESS) {
            // Everything is done. Said of what was recorded only: nobody asked for the rest.
            if (recorded > queue->seen) queue->seen = recorded;
        } else if (result != CUDA_ERROR_NOT_READY) {
            (void)cuda_failed(device, result, "cuStreamQuery(queue->stream)");
        }
        if (cuda_is_lost(device)) break;
    }
    device->net_ns = mti_clock_ns();
    device->quiet_polls = 0;
    cuda_leave(device, &scope);
}

// Events are all there is without words: each poll asks for the oldest of each queue.
static void events_reap(cuda_device_t *device)
{
    cuda_scope_t scope;
    if (cuda_enter(device, &scope) != MANTA_OK) return;
    for (mti_queue_t *base = device->base.queues; base; base = base->next)
        if (!ends_reap(device, cuda_queue(base))) break;
    cuda_leave(device, &scope);
}

void cuda_poll(mti_device_t *base, mti_poll_t *out_poll)
{
    cuda_device_t *device = cuda_device(base);
    memset(out_poll, 0, sizeof *out_poll);
    if (device->said_lost) {
        out_poll->lost = true; // completed words stand still from then on
        return;
    }
    bool awaits = false;
    if (!device->has_words) events_reap(device);
    for (mti_queue_t *queue = base->queues; queue; queue = queue->next) {
        uint64_t seen = queue_seen(cuda_queue(queue));
        // relaxed: only poll writes it
        if (seen > mti_atomic_u64_load_relaxed(&queue->completed)) {
            // release: what was done is visible to whoever reads the number
            mti_atomic_u64_store_release(&queue->completed, seen);
            out_poll->advanced++;
        }
        awaits = awaits || queue_awaits(cuda_queue(queue));
    }
    if (out_poll->advanced || !awaits) {
        device->quiet_polls = 0;
    } else if (++device->quiet_polls >= CUDA_NET_POLLS) {
        device->quiet_polls = 0;
        if (mti_clock_ns() - device->net_ns >= CUDA_NET_NS) net_cast(device);
    }
    out_poll->lost = device->said_lost = cuda_is_lost(device);
}

// Would a poll report something? |*out_awaits|: is there something that it may yet report?
static bool poll_has_news(cuda_device_t *device, bool *out_awaits)
{
    *out_awaits = false;
    if (cuda_is_lost(device)) return true;
    if (!device->has_words) events_reap(device);
    for (mti_queue_t *base = device->base.queues; base; base = base->next) {
        // relaxed: written under the right
        if (queue_seen(cuda_queue(base)) > mti_atomic_u64_load_relaxed(&base->completed))
            return true;
        *out_awaits = *out_awaits || queue_awaits(cuda_queue(base));
    }
    return cuda_is_lost(device);
}

void cuda_wake(mti_device_t *base)
{
    cuda_device_t *device = cuda_device(base);
    // release: pairs with the exchange in block, for what the waker did before
    mti_atomic_u32_store_release(&device->wake, 1);
    mti_notify_wake(&device->wake, 1);
}

// The driver has no wait with a deadline, nor one for several streams, nor one that another thread
// can end. So this looks at the words: for a while without a pause, then ever more rarely, and asks the
// driver in between.
manta_status_t cuda_block(mti_device_t *base, int64_t deadline_ns)
{
    cuda_device_t *device = cuda_device(base);
    int64_t start_ns = mti_clock_ns(), sleep_ns = CUDA_SLEEP_MIN_NS;
    for (;;) {
        bool awaits;
        // acquire: pairs with wake
        if (mti_atomic_u32_exchange_acquire(&device->wake, 0)) return MANTA_OK;
        if (poll_has_news(device, &awaits)) return MANTA_OK;
        if (!awaits && deadline_ns == INT64_MAX)
            return mti_fail(MANTA_ERR_DEADLOCK, "%s: nothing that is recorded is in flight",
                            base->name);
        int64_t now_ns = mti_clock_ns();
        if (now_ns >= deadline_ns) return MANTA_NOT_READY;
        if (awaits && now_ns - start_ns < CUDA_SPIN_NS) {
            mti_cpu_pause();
            continue;
        }
        if (awaits) {
            net_cast(device);
            if (poll_has_news(device, &awaits)) return MANTA_OK;
        }
        int64_t until_ns =
            awaits && deadline_ns - now_ns > sleep_ns ? now_ns + sleep_ns : deadline_ns;
        (void)mti_notify_wait(&device->wake, 0, until_ns);
        if (sleep_ns < CUDA_SLEEP_MAX_NS) sleep_ns *= 2;
    }
}
