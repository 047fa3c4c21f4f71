// Is every use of memory ordered after what it depends on?
//
// Each stream has a slot, and the operations of a slot are numbered in the order of the program.
// A clock says for every slot up to which number something is known to be done before. A stream's
// clock takes in: its own operations, what it waits for, and what the host knows when it submits
// something. The host learns from events and streams that it found done, and from words that streams
// wrote to its memory. Two uses of the same bytes, one of which writes, have to be ordered by
// these clocks; whether they happened to run in a good order does not matter.
#include "fakes/libcuda/state.h"

#include <cinttypes>

namespace fake
{

static bool overlaps_range(uint64_t begin, uint64_t end, const Span &span)
{
    if (end <= span.address || begin >= span.end()) return false;
    if (span.rows <= 1 || span.pitch == span.width) return true;
    // The first row that ends behind |begin|.
    uint64_t row = begin < span.address + span.width
                       ? 0
                       : (begin - span.address - span.width) / span.pitch + 1;
    return row < span.rows && span.address + row * span.pitch < end;
}

static bool overlap(const Span &a, const Span &b)
{
    if (a.end() <= b.address || b.end() <= a.address) return false;
    const Span &fewer = a.rows <= b.rows ? a : b, &more = a.rows <= b.rows ? b : a;
    for (uint64_t row = 0; row < fewer.rows; row++) {
        uint64_t begin = fewer.address + row * fewer.pitch;
        if (overlaps_range(begin, begin + fewer.width, more)) return true;
    }
    return false;
}

std::string describe(const Allocation &allocation)
{
    static const char *const kinds[] = {"device memory", "pool memory", "registered host memory"};
    char text[160];
    snprintf(text, sizeof text, "%s [0x%" PRIx64 ", +%zu) of device %u", kinds[allocation.kind],
             allocation.address, allocation.bytes, allocation.device->ordinal);
    return text;
}

static bool is_ordered(CUstream stream, const Use &use)
{
    return clock_has(stream->clock, use.slot, use.number);
}

// Uses that nothing can be unordered with any more are forgotten.
static void forget_settled(Allocation *allocation, CUstream stream, const Span &span, bool writes)
{
    auto &uses = allocation->uses;
    size_t kept = 0;
    for (Use &use : uses) {
        bool is_covered =
            span.rows == 1 && use.span.address >= span.address && use.span.end() <= span.end() &&
            (writes ? is_ordered(stream, use) : use.slot == stream->slot && !use.writes);
        if (is_covered || clock_has(state.host, use.slot, use.number)) continue;
        if (&uses[kept] != &use) uses[kept] = std::move(use);
        kept++;
    }
    uses.resize(kept);
}

// False, with a violation: something is unordered.
static bool check_order(CUstream stream, Allocation *allocation, const Span &span, bool writes,
                        const char *what)
{
    for (const Use &use : allocation->uses) {
        if (!(writes || use.writes) || is_ordered(stream, use) || !overlap(span, use.span))
            continue;
        violation("%s: %s [0x%" PRIx64 ", +%" PRIu64 ") of %s, and nothing orders it after %s, "
                  "which %s there on another stream",
                  what, writes ? "writes" : "reads", span.address, span.end() - span.address,
                  describe(*allocation).c_str(), use.what.c_str(), use.writes ? "wrote" : "read");
        return false;
    }
    return true;
}

void check_use(CUstream stream, const Span &span, bool writes, const char *what)
{
    if (span.width == 0 || span.rows == 0) return;
    Allocation *allocation = find_allocation(span.address);
    if (!allocation) return; // what that means, the caller knows
    if (allocation->freed) {
        violation("%s: uses [0x%" PRIx64 ", +%" PRIu64 ") of %s after %s", what, span.address,
                  span.end() - span.address, describe(*allocation).c_str(),
                  allocation->freed_by.c_str());
        return;
    }
    if (span.end() > allocation->address + allocation->bytes)
        violation("%s: [0x%" PRIx64 ", +%" PRIu64 ") leaves %s", what, span.address,
                  span.end() - span.address, describe(*allocation).c_str());
    if (allocation->kind == Allocation::kPooled &&
        !clock_has(stream->clock, allocation->slot, allocation->number))
        violation("%s: nothing orders it after the allocation of %s", what,
                  describe(*allocation).c_str());
    // Told is enough: to let it run would be a race in the test itself.
    if (!check_order(stream, allocation, span, writes, what)) state.is_wrong = true;
    forget_settled(allocation, stream, span, writes);
    allocation->uses.push_back(
        {span, writes, stream->slot, state.slot_numbers[stream->slot], what});
}

bool check_free(CUstream stream, Allocation *allocation, const char *what)
{
    for (const Use &use : allocation->uses) {
        bool is_known =
            stream ? is_ordered(stream, use) : clock_has(state.host, use.slot, use.number);
        if (is_known) continue;
        violation("%s: %s, and nothing orders it after %s, which uses it", what,
                  describe(*allocation).c_str(), use.what.c_str());
        return false;
    }
    return true;
}

} // namespace fake
