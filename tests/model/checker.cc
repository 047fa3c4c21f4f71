#include "model/checker.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csetjmp>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include <link.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <ucontext.h>

namespace model
{
namespace
{

enum { kMaxEvents = 256, kStackBytes = 128 << 10, kArenaBytes = 1 << 20 };
constexpr uintptr_t kGranule = 8;

// ---- the graph ------------------------------------------------------------------------------------

// How many events of each thread happened before; a thread's own are counted, too.
struct Clock {
    uint16_t of[kMaxThreads] = {};
    void join(const Clock &other)
    {
        for (int i = 0; i < kMaxThreads; i++)
            of[i] = std::max(of[i], other.of[i]);
    }
};

struct Message { // a store
    uint64_t value;
    int event; // that stored it; -1: what was there
    Clock released;
    bool followed; // a read-modify-write took its value: nothing goes in between
    bool plain;    // stored by the location's own thread without an atomic operation
};

struct Access {
    int event;
    int message;
    bool stored;
};

struct Location {
    uintptr_t address;
    int size;
    int name;
    uint32_t resets = 0; // plain stores into it
    std::vector<Message> messages;
    std::vector<int> order; // of messages, oldest first
    std::vector<Access> accesses;

    int position(int message) const
    {
        for (size_t i = order.size(); i > 0; i--)
            if (order[i - 1] == message) return (int)i - 1;
        return -1;
    }
};

struct Event {
    int thread, index;
    Op op;
    bool seq_cst;
    Location *location; // NULL: a fence
    int read = -1, wrote = -1;
    Clock clock; // with all that it acquired, and itself
    int memory_order;
    uint64_t value;
};

// ---- threads --------------------------------------------------------------------------------------

enum class Step {
    kNone,
    kLoad,
    kStore,
    kRmw,
    kFence,
    kFenceOther,
    kLock,
    kUnlock,
    kSleep,
    kWake,
    kPause
};

struct Pending {
    Step step = Step::kNone;
    uintptr_t address = 0;
    int size = 0;
    int order = 0, failure_order = 0;
    uint64_t value = 0, expected = 0;
    enum Rmw { kExchange, kAdd, kSub, kAnd, kOr, kXor, kCas } rmw = kExchange;
    int other = 0;      // thread of kFenceOther; how many to wake
    bool timed = false; // of kSleep
    uint64_t result = 0;
    bool ok = false;
};

struct Thread {
    ucontext_t start;
    jmp_buf at;
    bool started, finished;
    Pending pending;
    Clock clock, acquire_later, release_fence;
    bool fenced; // |release_fence| says something
    int events;
    uint64_t chain;     // hash of what it did
    bool sleeping;      // in the futex of |pending|
    uint64_t polled_at; // |stores| when it began to poll this time
    std::vector<char> tls;
    bool fresh;        // the next load takes the newest
    uint64_t fresh_at; // so do all loads until |stores| is more than this
    bool stale;        // it loaded something that was not the newest since it polled last
};

struct Lock {
    int owner = -1;
    Clock clock;
    uint64_t chain = 0;
};

struct Futex {
    Clock clock;
    uint64_t calls = 0;
};

struct Shadow { // of eight bytes of plain memory
    uint32_t epoch = 0;
    bool saved_valid = false;
    uint64_t saved = 0;
    struct {
        int16_t thread;
        uint16_t clock;
        uint8_t mask;
        bool stored;
    } last[8];
    int count = 0;
};

struct Name {
    uintptr_t from, to;
    std::string what;
};

struct Choice {
    int taken, options;
};

enum class Mode { kOff, kOutside, kThread };

struct Checker {
    Mode mode = Mode::kOff;
    const Program *program = nullptr;
    const Mutation *mutation = nullptr;
    Result *result = nullptr;
    int n = 0;
    Thread threads[kMaxThreads];
    int current = -1;
    jmp_buf scheduler;
    uint32_t epoch = 0;
    uint64_t stores = 0;
    bool failed = false;

    std::vector<Event> events;
    std::unordered_map<uintptr_t, Location *> locations;
    std::vector<Location *> pool;
    size_t pool_used = 0;
    std::unordered_map<uintptr_t, Lock> locks;
    std::unordered_map<uintptr_t, Futex> futexes;
    std::unordered_map<uintptr_t, Shadow> shadows;
    std::vector<std::pair<uintptr_t, uint64_t>> undo;
    std::unordered_map<uintptr_t, int> owners; // of addresses: one thread, or -1: several
    bool sharing_grew = false;
    int seq_cst_count = 0;

    std::vector<Choice> choices;
    size_t depth = 0;
    std::unordered_set<uint64_t> visited;

    std::vector<Name> names;
    std::vector<char> tls_before;
    char *tls_at = nullptr;
    size_t tls_bytes = 0;
    size_t arena_used = 0;
};

Checker c;
alignas(64) char stacks[kMaxThreads][kStackBytes];
alignas(64) char arena[kArenaBytes];

uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t x = a * 0x9e3779b97f4a7c15u + b + 0x7f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

bool on_stack(uintptr_t at)
{
    return at - (uintptr_t)stacks < sizeof stacks;
}
bool in_tls(uintptr_t at)
{
    return at - (uintptr_t)c.tls_at < c.tls_bytes;
}

int name_of(uintptr_t at)
{
    for (size_t i = c.names.size(); i > 0; i--)
        if (at >= c.names[i - 1].from && at < c.names[i - 1].to) return (int)i - 1;
    return -1;
}
std::string name_text(int name, uintptr_t at)
{
    char text[64];
    if (name < 0) {
        std::snprintf(text, sizeof text, "%#lx", (unsigned long)at);
        return text;
    }
    const Name &entry = c.names[(size_t)name];
    if (at == entry.from) return entry.what;
    std::snprintf(text, sizeof text, "+%lu", (unsigned long)(at - entry.from));
    return entry.what + text;
}

const char *order_text(int order)
{
    static const char *const text[] = {"relaxed", "consume", "acquire",
                                       "release", "acq_rel", "seq_cst"};
    return text[order];
}

bool acquires(int order)
{
    return order == __ATOMIC_ACQUIRE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST ||
           order == __ATOMIC_CONSUME;
}
bool releases(int order)
{
    return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

// ---- failing --------------------------------------------------------------------------------------

std::string trace_text()
{
    std::string text;
    for (const Event &event : c.events) {
        char line[256];
        std::string where =
            event.location ? name_text(event.location->name, event.location->address) : "";
        static const char *const ops[] = {"load", "store", "rmw", "fence"};
        int length =
            std::snprintf(line, sizeof line, "  T%d.%-3d %s.%s %s", event.thread, event.index,
                          ops[(int)event.op], order_text(event.memory_order), where.c_str());
        if (event.read >= 0) {
            const Message &message = event.location->messages[(size_t)event.read];
            bool newest = event.location->order.back() == event.read ||
                          (event.wrote >= 0 && event.location->order.back() == event.wrote);
            length += std::snprintf(line + length, sizeof line - (size_t)length, " reads %#llx%s",
                                    (unsigned long long)message.value, newest ? "" : " (older)");
        }
        if (event.wrote >= 0) {
            std::snprintf(line + length, sizeof line - (size_t)length, " writes %#llx",
                          (unsigned long long)event.location->messages[(size_t)event.wrote].value);
        }
        text += line;
        text += '\n';
    }
    return text;
}

bool consistent();

void record_failure(const std::string &what)
{
    if (c.failed) return;
    c.failed = true;
    // An execution that the memory model rules out proves nothing.
    if (!consistent()) return;
    if (c.result->failure.empty()) {
        c.result->failure = what;
        c.result->trace = trace_text();
    }
}

[[noreturn]] void leave()
{
    if (c.mode == Mode::kThread) c.mode = Mode::kOff;
    _longjmp(c.scheduler, 1);
}

Location *location_new(uintptr_t at, uint32_t resets)
{
    if (c.pool_used == c.pool.size()) c.pool.push_back(new Location);
    Location *location = c.pool[c.pool_used++];
    location->address = at;
    location->resets = resets;
    location->name = name_of(at);
    location->messages.clear();
    location->order.clear();
    location->accesses.clear();
    return location;
}

// ---- plain memory ---------------------------------------------------------------------------------

void save_for_undo(Shadow *shadow, uintptr_t granule)
{
    if (shadow->saved_valid || on_stack(granule)) return;
    if (granule - (uintptr_t)arena < sizeof arena) return;
    shadow->saved_valid = true;
    std::memcpy(&shadow->saved, (void *)granule, sizeof shadow->saved);
    c.undo.emplace_back(granule, shadow->saved);
}

Shadow *shadow_of(uintptr_t granule)
{
    Shadow *shadow = &c.shadows[granule];
    if (shadow->epoch != c.epoch) {
        shadow->epoch = c.epoch;
        shadow->saved_valid = false;
        shadow->count = 0;
    }
    return shadow;
}

void race(uintptr_t at, const char *mine, int other, const char *theirs)
{
    char text[256];
    std::snprintf(text, sizeof text, "data race on %s: %s of T%d and %s of T%d",
                  name_text(name_of(at), at).c_str(), mine, c.current, theirs, other);
    record_failure(text);
    leave();
}

void plain_access(uintptr_t at, size_t bytes, bool stores)
{
    if (c.mode == Mode::kOff || in_tls(at)) return;
    uintptr_t end = at + bytes;
    for (uintptr_t granule = at & ~(kGranule - 1); granule < end; granule += kGranule) {
        Shadow *shadow = shadow_of(granule);
        if (stores) save_for_undo(shadow, granule);
        if (c.mode != Mode::kThread) continue;
        uint8_t mask = 0;
        for (uintptr_t i = 0; i < kGranule; i++)
            if (granule + i >= at && granule + i < end) mask |= (uint8_t)(1u << i);
        Thread *me = &c.threads[c.current];
        int mine = -1;
        for (int i = 0; i < shadow->count; i++) {
            auto &last = shadow->last[i];
            if (!(last.mask & mask)) continue;
            if (last.thread == c.current) {
                if (last.stored == stores && last.mask == mask) mine = i;
                continue;
            }
            if ((last.stored || stores) && me->clock.of[last.thread] <= last.clock)
                race(at, stores ? "a store" : "a load", last.thread,
                     last.stored ? "a store" : "a load");
        }
        if (mine < 0) {
            if (shadow->count == 8) { // forget what is ordered before, or else anything
                int kept = 0;
                for (int i = 0; i < shadow->count; i++) {
                    auto &last = shadow->last[i];
                    if (last.thread == c.current ? last.clock == me->clock.of[c.current]
                                                 : me->clock.of[last.thread] <= last.clock)
                        shadow->last[kept++] = last;
                }
                shadow->count = kept == 8 ? 7 : kept;
            }
            mine = shadow->count++;
        }
        shadow->last[mine] = {(int16_t)c.current, me->clock.of[c.current], mask, stores};
        // Atomics in the same bytes.
        for (uintptr_t i = granule; i < granule + kGranule; i++) {
            if (!(mask & (1u << (i - granule)))) continue;
            auto found = c.locations.find(i);
            if (found == c.locations.end()) continue;
            Location *location = found->second;
            for (const Access &access : location->accesses) {
                const Event &event = c.events[(size_t)access.event];
                if (event.thread == c.current || !(stores || access.stored)) continue;
                if (me->clock.of[event.thread] <= event.index)
                    race(i, stores ? "a plain store" : "a plain load", event.thread,
                         "an atomic access");
            }
            if (stores) {
                found->second = location_new(i, location->resets + 1);
                c.stores++;
            }
        }
    }
}

// ---- locations ------------------------------------------------------------------------------------

uint64_t native_load(uintptr_t at, int size)
{
    switch (size) {
    case 1:
        return *(uint8_t *)at;
    case 2:
        return *(uint16_t *)at;
    case 4:
        return *(uint32_t *)at;
    default:
        return *(uint64_t *)at;
    }
}
void native_store(uintptr_t at, int size, uint64_t value)
{
    if (c.mode != Mode::kOff || c.current >= 0) {
        uintptr_t granule = at & ~(kGranule - 1);
        save_for_undo(shadow_of(granule), granule);
    }
    switch (size) {
    case 1:
        *(uint8_t *)at = (uint8_t)value;
        break;
    case 2:
        *(uint16_t *)at = (uint16_t)value;
        break;
    case 4:
        *(uint32_t *)at = (uint32_t)value;
        break;
    default:
        *(uint64_t *)at = value;
        break;
    }
}

Location *location_of(uintptr_t at, int size)
{
    Location *&location = c.locations[at];
    if (!location) location = location_new(at, 0);
    location->size = size;
    if (location->messages.empty()) {
        location->messages.push_back({native_load(at, size), -1, {}, false, true});
        location->order.push_back(0);
    }
    return location;
}

// An atomic access needs what was stored there plainly to have happened before.
void check_plain_before(uintptr_t at, int size, bool stores)
{
    uintptr_t granule = at & ~(kGranule - 1);
    auto found = c.shadows.find(granule);
    if (found == c.shadows.end() || found->second.epoch != c.epoch) return;
    Shadow *shadow = &found->second;
    uint8_t mask = 0;
    for (uintptr_t i = 0; i < kGranule; i++)
        if (granule + i >= at && granule + i < at + (uintptr_t)size) mask |= (uint8_t)(1u << i);
    Thread *me = &c.threads[c.current];
    for (int i = 0; i < shadow->count; i++) {
        auto &last = shadow->last[i];
        if (!(last.mask & mask) || last.thread == c.current) continue;
        if ((last.stored || stores) && me->clock.of[last.thread] <= last.clock)
            race(at, "an atomic access", last.thread,
                 last.stored ? "a plain store" : "a plain load");
    }
}

// The oldest position in |location| that |thread| may still read.
int floor_of(const Location *location, const Thread *thread, const Clock *kernel = nullptr)
{
    int floor = 0;
    for (const Access &access : location->accesses) {
        const Event &event = c.events[(size_t)access.event];
        if (thread->clock.of[event.thread] <= event.index &&
            (!kernel || kernel->of[event.thread] <= event.index))
            continue;
        floor = std::max(floor, location->position(access.message));
    }
    // Whoever polls sees the newest sooner or later.
    if (thread->fresh || thread->fresh_at == c.stores) floor = (int)location->order.size() - 1;
    return floor;
}

// ---- the order of sequentially consistent operations -----------------------------------------------

struct Relation {
    size_t n, words;
    uint64_t bits[kMaxEvents][kMaxEvents / 64];
    void reset(size_t count)
    {
        n = count;
        words = (count + 63) / 64;
        std::memset(bits, 0, count * sizeof bits[0]);
    }
    void set(size_t a, size_t b) { bits[a][b / 64] |= (uint64_t)1 << b % 64; }
    bool has(size_t a, size_t b) const { return bits[a][b / 64] >> b % 64 & 1; }
    void add(size_t a, const Relation &other, size_t b)
    {
        for (size_t i = 0; i < words; i++)
            bits[a][i] |= other.bits[b][i];
    }
    // Adds |a| and then |b|.
    void add_composed(const Relation &a, const Relation &b)
    {
        for (size_t i = 0; i < n; i++)
            for (size_t w = 0; w < words; w++)
                for (uint64_t left = a.bits[i][w]; left; left &= left - 1)
                    add(i, b, w * 64 + (size_t)__builtin_ctzll(left));
    }
    void close()
    {
        for (size_t k = 0; k < n; k++)
            for (size_t i = 0; i < n; i++)
                if (has(i, k)) add(i, *this, k);
    }
};

// Whether psc of RC11 (Lahav, Vafeiadis, Kang, Hur, Dreyer 2017) has no cycle.
bool consistent()
{
    if (c.seq_cst_count < 2) return true;
    static Relation hb, sb_far, scb, eco, before, after, psc, half;
    size_t n = c.events.size();
    for (Relation *relation : {&hb, &sb_far, &scb, &eco, &before, &after, &psc, &half})
        relation->reset(n);
    for (size_t i = 0; i < n; i++) {
        const Event &a = c.events[i];
        for (size_t j = 0; j < n; j++) {
            const Event &b = c.events[j];
            if (i == j || b.clock.of[a.thread] <= a.index) continue;
            hb.set(i, j);
            bool same = a.location && a.location == b.location;
            if (a.thread == b.thread) {
                scb.set(i, j);
                if (!same) sb_far.set(i, j);
            }
            if (same) scb.set(i, j);
        }
    }
    for (const auto &entry : c.locations) {
        const Location *location = entry.second;
        for (const Access &first : location->accesses) {
            for (const Access &second : location->accesses) {
                if (first.event == second.event) continue;
                const Event &a = c.events[(size_t)first.event], &b = c.events[(size_t)second.event];
                size_t i = (size_t)first.event, j = (size_t)second.event;
                if (a.wrote >= 0 && b.read == a.wrote) eco.set(i, j); // rf
                if (b.wrote < 0) continue;
                int to = location->position(b.wrote);
                bool mo = a.wrote >= 0 && location->position(a.wrote) < to;
                bool rb = a.read >= 0 && location->position(a.read) < to;
                if (mo || rb) {
                    scb.set(i, j);
                    eco.set(i, j);
                }
            }
        }
    }
    half.add_composed(sb_far, hb);
    scb.add_composed(half, sb_far);
    eco.close();
    // [Esc] | [Fsc];hb?  and  [Esc] | hb?;[Fsc]
    for (size_t i = 0; i < n; i++) {
        if (!c.events[i].seq_cst) continue;
        before.set(i, i);
        after.set(i, i);
        if (c.events[i].location) continue;
        before.add(i, hb, i);
        for (size_t j = 0; j < n; j++)
            if (hb.has(j, i)) after.set(j, i);
    }
    half.reset(n);
    half.add_composed(before, scb);
    psc.add_composed(half, after);
    half.reset(n);
    half.add_composed(hb, eco);
    Relation &hb_eco_hb = before;
    hb_eco_hb.reset(n);
    hb_eco_hb.add_composed(half, hb);
    for (size_t i = 0; i < n; i++) {
        if (!c.events[i].seq_cst || c.events[i].location) continue;
        for (size_t j = 0; j < n; j++) {
            if (!c.events[j].seq_cst || c.events[j].location) continue;
            if (hb.has(i, j) || hb_eco_hb.has(i, j)) psc.set(i, j);
        }
    }
    psc.close();
    for (size_t i = 0; i < n; i++)
        if (psc.has(i, i)) return false;
    return true;
}

// ---- doing a step ---------------------------------------------------------------------------------

int weakened(Op op, int name, int order)
{
    if (order == __ATOMIC_RELAXED || (op != Op::kFence && name < 0)) return order;
    std::string what = op == Op::kFence ? "" : c.names[(size_t)name].what;
    if (order == __ATOMIC_SEQ_CST) c.result->mutations.insert({op, what, Drop::kSeqCst});
    if (acquires(order)) c.result->mutations.insert({op, what, Drop::kAcquire});
    if (releases(order)) c.result->mutations.insert({op, what, Drop::kRelease});
    if (!c.mutation || c.mutation->op != op || c.mutation->name != what) return order;
    bool keep_acquire = acquires(order) && c.mutation->drop != Drop::kAcquire && op != Op::kStore;
    bool keep_release = releases(order) && c.mutation->drop != Drop::kRelease && op != Op::kLoad;
    return keep_acquire ? (keep_release ? __ATOMIC_ACQ_REL : __ATOMIC_ACQUIRE)
                        : (keep_release ? __ATOMIC_RELEASE : __ATOMIC_RELAXED);
}

Event *event_add(int thread, Op op, int order, Location *location)
{
    Thread *me = &c.threads[thread];
    Event event = {};
    event.thread = thread;
    event.index = me->events++;
    event.op = op;
    event.memory_order = order;
    event.seq_cst = order == __ATOMIC_SEQ_CST;
    event.location = location;
    event.read = event.wrote = -1;
    if (event.seq_cst) c.seq_cst_count++;
    me->clock.of[thread] = (uint16_t)me->events;
    c.events.push_back(event);
    return &c.events.back();
}

void take_clock(Thread *me, const Message &message, int order)
{
    if (acquires(order)) {
        me->clock.join(message.released);
    } else {
        me->acquire_later.join(message.released);
    }
}

uint64_t message_id(const Location *location, int message)
{
    int event = location->messages[(size_t)message].event;
    if (event < 0) return mix(location->address, location->resets);
    return mix((uint64_t)c.events[(size_t)event].thread + 1,
               (uint64_t)c.events[(size_t)event].index);
}

int message_insert(Location *location, int after, int event, uint64_t value, const Thread *me,
                   int order, const Message *read)
{
    Message message = {};
    message.value = value;
    message.event = event;
    if (releases(order)) {
        message.released = me->clock;
    } else if (me->fenced) {
        message.released = me->release_fence;
    }
    if (read) message.released.join(read->released); // a release sequence goes on
    int index = (int)location->messages.size();
    location->messages.push_back(message);
    location->order.insert(location->order.begin() + after + 1, index);
    if (location->order.back() == index) native_store(location->address, location->size, value);
    c.stores++;
    return index;
}

void do_fence(int thread, int order)
{
    Thread *me = &c.threads[thread];
    Event *event = event_add(thread, Op::kFence, order, nullptr);
    if (acquires(order)) me->clock.join(me->acquire_later);
    if (releases(order)) {
        me->release_fence = me->clock;
        me->fenced = true;
    }
    event->clock = me->clock;
    me->chain = mix(me->chain, 0xfe0ceu + (unsigned)order);
}

uint64_t masked(uint64_t value, int size)
{
    return size == 8 ? value : value & (((uint64_t)1 << size * 8) - 1);
}

uint64_t rmw_value(const Pending &pending, uint64_t old)
{
    switch (pending.rmw) {
    case Pending::kAdd:
        return masked(old + pending.value, pending.size);
    case Pending::kSub:
        return masked(old - pending.value, pending.size);
    case Pending::kAnd:
        return old & pending.value;
    case Pending::kOr:
        return old | pending.value;
    case Pending::kXor:
        return old ^ pending.value;
    default:
        return pending.value;
    }
}

bool can_read(const Pending &pending, const Location *location, int position)
{
    const Message &message = location->messages[(size_t)location->order[(size_t)position]];
    if (pending.step != Step::kRmw) return true;
    if (pending.rmw == Pending::kCas && message.value != pending.expected) return true;
    return !message.followed;
}

// How many ways there are to go on for |thread|; 0: it can't now.
int option_count(int index)
{
    Thread *me = &c.threads[index];
    if (me->finished) return 0;
    Pending &pending = me->pending;
    switch (pending.step) {
    case Step::kLoad:
    case Step::kRmw: {
        Location *location = location_of(pending.address, pending.size);
        int count = 0;
        for (int i = floor_of(location, me); i < (int)location->order.size(); i++)
            count += can_read(pending, location, i);
        return count;
    }
    case Step::kStore: {
        Location *location = location_of(pending.address, pending.size);
        int count = 0;
        for (int i = floor_of(location, me); i < (int)location->order.size(); i++)
            count += !location->messages[(size_t)location->order[(size_t)i]].followed;
        return count;
    }
    case Step::kLock:
        return c.locks[pending.address].owner < 0;
    case Step::kSleep: {
        if (me->sleeping) return pending.timed ? 1 : 0;
        Location *location = location_of(pending.address, 4);
        return (int)location->order.size() -
               floor_of(location, me, &c.futexes[pending.address].clock);
    }
    case Step::kPause:
        return me->polled_at != c.stores || me->stale;
    default:
        return 1;
    }
}

void do_option(int index, int option)
{
    Thread *me = &c.threads[index];
    Pending &pending = me->pending;
    c.current = index;
    switch (pending.step) {
    case Step::kLoad:
    case Step::kRmw: {
        Location *location = location_of(pending.address, pending.size);
        check_plain_before(pending.address, pending.size, pending.step == Step::kRmw);
        int position = floor_of(location, me);
        for (;; position++) {
            if (can_read(pending, location, position) && option-- == 0) break;
        }
        int read = location->order[(size_t)position];
        Message message = location->messages[(size_t)read];
        bool stores = pending.step == Step::kRmw &&
                      (pending.rmw != Pending::kCas || message.value == pending.expected);
        int order = stores || pending.step == Step::kLoad ? pending.order : pending.failure_order;
        Op op = stores ? Op::kRmw : Op::kLoad;
        order = weakened(op, location->name, order);
        Event *event = event_add(index, op, order, location);
        take_clock(me, message, order);
        event->read = read;
        int id = (int)c.events.size() - 1;
        location->accesses.push_back({id, read, false});
        if (stores) {
            uint64_t value = rmw_value(pending, message.value);
            location->messages[(size_t)read].followed = true;
            event->wrote = message_insert(location, position, id, value, me, order, &message);
            location->accesses.push_back({id, event->wrote, true});
        }
        event->clock = me->clock;
        pending.result = message.value;
        pending.ok = stores;
        if (location->order.back() != read && location->order.back() != event->wrote)
            me->stale = true;
        me->chain = mix(mix(mix(me->chain, pending.address), message_id(location, read)),
                        (uint64_t)stores << 8 | (uint64_t)order);
        break;
    }
    case Step::kStore: {
        Location *location = location_of(pending.address, pending.size);
        check_plain_before(pending.address, pending.size, true);
        int position = (int)location->order.size() - 1; // newest first
        int floor = floor_of(location, me);
        for (; position > floor; position--) {
            const Message &at = location->messages[(size_t)location->order[(size_t)position]];
            if (!at.followed && option-- == 0) break;
        }
        int order = weakened(Op::kStore, location->name, pending.order);
        Event *event = event_add(index, Op::kStore, order, location);
        int id = (int)c.events.size() - 1;
        event->wrote = message_insert(location, position, id, pending.value, me, order, nullptr);
        location->accesses.push_back({id, event->wrote, true});
        event->clock = me->clock;
        me->chain = mix(mix(me->chain, pending.address + 1), mix(pending.value, (uint64_t)order));
        break;
    }
    case Step::kFence:
        do_fence(index, weakened(Op::kFence, -1, pending.order));
        break;
    case Step::kFenceOther:
        me->chain = mix(me->chain, mix(0xba88, (uint64_t)c.threads[pending.other].events));
        if (c.mutation && c.mutation->op == Op::kFence) break; // as if there were none
        // The interrupt comes after what the caller did, and the call ends after the interrupt.
        c.threads[pending.other].clock.join(me->clock);
        do_fence(pending.other, __ATOMIC_SEQ_CST);
        me->clock.join(c.threads[pending.other].clock);
        break;
    case Step::kLock: {
        Lock &lock = c.locks[pending.address];
        lock.owner = index;
        lock.chain = mix(mix(lock.chain, (uint64_t)index), (uint64_t)me->events);
        me->clock.join(lock.clock);
        me->chain = mix(mix(me->chain, pending.address), lock.chain);
        break;
    }
    case Step::kUnlock: {
        Lock &lock = c.locks[pending.address];
        // An event, so that what comes after is not covered by the clock.
        Event *event = event_add(index, Op::kFence, __ATOMIC_RELAXED, nullptr);
        event->clock = me->clock;
        lock.owner = -1;
        lock.clock = me->clock;
        me->chain = mix(me->chain, pending.address + 2);
        c.stores++;
        break;
    }
    case Step::kSleep: {
        if (me->sleeping) { // it timed out
            me->sleeping = false;
            pending.ok = false;
            pending.result = ETIMEDOUT;
            me->chain = mix(me->chain, 0x71ed);
            break;
        }
        // The kernel looks at the word under a lock of its own, which who wakes takes, too.
        Location *location = location_of(pending.address, 4);
        Futex &kernel = c.futexes[pending.address];
        int read = location->order[(size_t)(floor_of(location, me, &kernel.clock) + option)];
        uint64_t value = location->messages[(size_t)read].value;
        Event *event = event_add(index, Op::kLoad, __ATOMIC_RELAXED, location);
        int id = (int)c.events.size() - 1;
        event->read = read;
        location->accesses.push_back({id, read, false});
        me->acquire_later.join(location->messages[(size_t)read].released);
        event->clock = me->clock;
        kernel.clock.join(me->clock);
        me->chain = mix(mix(me->chain, pending.address + 3),
                        mix(message_id(location, read), kernel.calls++));
        if (value == pending.expected) {
            me->sleeping = true;
            return; // it stays in this step
        }
        pending.ok = false;
        pending.result = EAGAIN;
        break;
    }
    case Step::kWake: {
        Futex &kernel = c.futexes[pending.address];
        Event *event = event_add(index, Op::kFence, __ATOMIC_RELAXED, nullptr);
        event->clock = me->clock;
        kernel.clock.join(me->clock);
        int left = pending.other;
        uint64_t woken = 0;
        for (int i = 0; i < c.n && left > 0; i++) {
            Thread *other = &c.threads[i];
            if (!other->sleeping || other->pending.address != pending.address) continue;
            left--;
            other->sleeping = false;
            other->pending.ok = true;
            other->pending.step = Step::kNone;
            other->chain = mix(other->chain, mix((uint64_t)index, (uint64_t)me->events));
            woken |= (uint64_t)1 << i;
        }
        me->chain = mix(mix(me->chain, pending.address + 4), mix(woken, kernel.calls++));
        c.stores++;
        break;
    }
    case Step::kPause:
        me->chain = mix(me->chain, 0xaa);
        if (me->polled_at == c.stores) me->fresh_at = c.stores;
        me->stale = false;
        me->polled_at = c.stores;
        break;
    case Step::kNone:
        break;
    }
    me->fresh = pending.step == Step::kPause;
    pending.step = Step::kNone;
}

// ---- running --------------------------------------------------------------------------------------

void thread_main(int index)
{
    c.program->threads[(size_t)index]();
    c.threads[index].finished = true;
    leave();
}

// Lets thread |index| run up to its next step.
void resume(int index)
{
    Thread *me = &c.threads[index];
    std::memcpy(c.tls_at, me->tls.data(), c.tls_bytes);
    c.current = index;
    c.mode = Mode::kThread;
    if (_setjmp(c.scheduler) == 0) {
        if (me->started) _longjmp(me->at, 1);
        me->started = true;
        setcontext(&me->start);
    }
    c.mode = Mode::kOff;
    std::memcpy(me->tls.data(), c.tls_at, c.tls_bytes);
}

// The running thread comes to a step: back to the scheduler until it is done.
void step(const Pending &pending)
{
    Thread *me = &c.threads[c.current];
    me->pending = pending;
    if (_setjmp(me->at) == 0) leave();
}

// Steps that no other thread can notice when they are done need no choice.
bool is_local(int index)
{
    const Pending &pending = c.threads[index].pending;
    switch (pending.step) {
    case Step::kNone:
        return true;
    case Step::kFence:
        return true; // what it does to others is a matter of the graph
    case Step::kLoad:
    case Step::kStore:
    case Step::kRmw: {
        if (c.program == nullptr) return false;
        auto found = c.owners.find(pending.address);
        if (found == c.owners.end()) {
            c.owners[pending.address] = index;
            return true;
        }
        if (found->second == index) return true;
        if (found->second >= 0) {
            found->second = -1;
            c.sharing_grew = true;
        }
        return false;
    }
    case Step::kSleep:
        if (auto [at, is_new] = c.owners.emplace(pending.address, -1); !is_new && at->second >= 0) {
            at->second = -1;
            c.sharing_grew = true;
        }
        return false;
    default:
        return false;
    }
}

uint64_t graph_hash()
{
    uint64_t hash = 0;
    for (int i = 0; i < c.n; i++) {
        const Thread &thread = c.threads[i];
        hash = mix(hash, mix(thread.chain,
                             (uint64_t)thread.finished << 2 | (uint64_t)thread.sleeping << 1 |
                                 (uint64_t)thread.fresh | (uint64_t)thread.stale << 3 |
                                 (uint64_t)(thread.fresh_at == c.stores) << 4 |
                                 (uint64_t)(thread.polled_at == c.stores) << 5));
    }
    uint64_t places = 0;
    for (const auto &entry : c.locations) {
        const Location *location = entry.second;
        uint64_t order = location->address;
        if (location->order.size() < 2 && location->resets == 0) continue;
        for (int message : location->order)
            order = mix(order, message_id(location, message));
        places += mix(order, location->resets);
    }
    return mix(hash, places);
}

int choose(int options)
{
    if (c.depth == c.choices.size()) c.choices.push_back({0, options});
    Choice &choice = c.choices[c.depth++];
    return choice.taken;
}

void undo_all()
{
    for (size_t i = c.undo.size(); i > 0; i--)
        std::memcpy((void *)c.undo[i - 1].first, &c.undo[i - 1].second, kGranule);
    c.undo.clear();
}

void outside(void (*fn)())
{
    if (!fn) return;
    c.current = -1;
    c.mode = Mode::kOutside;
    if (_setjmp(c.scheduler) == 0) {
        fn();
    }
    c.mode = Mode::kOff;
}

// A race that the step is part of comes back here.
__attribute__((noinline)) void take_option(int index, int option)
{
    if (_setjmp(c.scheduler) == 0) do_option(index, option);
}

// One execution, as |c.choices| say and then the first way. False: it is not worth to go on behind it.
void execute()
{
    c.epoch++;
    c.events.clear();
    c.locations.clear();
    c.pool_used = 0;
    c.locks.clear();
    c.futexes.clear();
    c.stores = 0;
    c.depth = 0;
    c.seq_cst_count = 0;
    c.failed = false;
    c.arena_used = 0;
    if (c.shadows.size() > 100000) c.shadows.clear();
    outside(c.program->setup);
    for (int i = 0; i < c.n; i++) {
        Thread *thread = &c.threads[i];
        thread->started = thread->finished = thread->sleeping = thread->fenced = false;
        thread->fresh = thread->stale = false;
        thread->polled_at = 0;
        thread->fresh_at = UINT64_MAX;
        thread->pending = Pending();
        thread->clock = thread->acquire_later = thread->release_fence = Clock();
        thread->events = 0;
        thread->chain = 0;
        getcontext(&thread->start);
        thread->start.uc_stack.ss_sp = stacks[i];
        thread->start.uc_stack.ss_size = kStackBytes;
        thread->start.uc_link = nullptr;
        makecontext(&thread->start, (void (*)())thread_main, 1, i);
    }
    bool pruned = false;
    while (!c.failed) {
        bool moved = true;
        while (moved && !c.failed) {
            moved = false;
            for (int i = 0; i < c.n && !c.failed; i++) {
                while (!c.threads[i].finished && !c.failed && !c.threads[i].sleeping &&
                       is_local(i)) {
                    if (c.threads[i].pending.step != Step::kNone) {
                        int options = option_count(i);
                        // Of a location of its own there is one value to read, and one place to store.
                        if (options != 1) break;
                        take_option(i, 0);
                        if (c.failed) break;
                    }
                    if (c.events.size() + 8 > kMaxEvents) {
                        record_failure("too many steps");
                        break;
                    }
                    resume(i);
                    moved = true;
                }
            }
        }
        if (c.failed) break;
        if (c.depth == c.choices.size()) {
            if (!c.visited.insert(graph_hash()).second || !consistent()) {
                pruned = true;
                break;
            }
        }
        int options[kMaxThreads], total = 0;
        bool done = true;
        for (int i = 0; i < c.n; i++) {
            options[i] = option_count(i);
            total += options[i];
            done = done && c.threads[i].finished;
        }
        if (done) break;
        if (total == 0) {
            // Only pollers are left, and nothing will change any more.
            std::string text = "stuck:";
            for (int i = 0; i < c.n; i++) {
                static const char *const what[] = {"?",    "?", "?",     "?",    "?",   "?",
                                                   "lock", "?", "sleep", "wake", "poll"};
                if (c.threads[i].finished) continue;
                text +=
                    " T" + std::to_string(i) + " in " + what[(int)c.threads[i].pending.step] +
                    " of " +
                    name_text(name_of(c.threads[i].pending.address), c.threads[i].pending.address);
            }
            record_failure(text);
            break;
        }
        int taken = total == 1 ? 0 : choose(total);
        int index = 0;
        while (taken >= options[index])
            taken -= options[index++];
        take_option(index, taken);
        if (c.failed) break;
        if (!c.threads[index].sleeping) resume(index);
    }
    if (!c.failed && !pruned && consistent()) {
        c.result->executions++;
        outside(c.program->finish);
    }
    undo_all();
}

bool next_choice()
{
    c.choices.resize(c.depth);
    while (!c.choices.empty()) {
        Choice &last = c.choices.back();
        if (++last.taken < last.options) return true;
        c.choices.pop_back();
    }
    return false;
}

int find_tls(struct dl_phdr_info *info, size_t, void *)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_TLS) continue;
        c.tls_at = (char *)info->dlpi_tls_data;
        c.tls_bytes = info->dlpi_phdr[i].p_memsz;
    }
    return 1; // the program itself comes first
}

} // namespace

std::string to_string(const Mutation &mutation)
{
    static const char *const ops[] = {"load", "store", "rmw", "fence"};
    static const char *const drops[] = {"acquire", "release", "seq_cst"};
    std::string of = mutation.name.empty() ? "" : " of " + mutation.name;
    return ops[(int)mutation.op] + of + " without " + drops[(int)mutation.drop];
}

Result explore(const Program &program, const Limits &limits)
{
    Result result;
    dl_iterate_phdr(find_tls, nullptr);
    c.program = &program;
    c.mutation = limits.mutation;
    c.result = &result;
    c.n = (int)program.threads.size();
    c.visited.clear();
    c.choices.clear();
    c.owners.clear();
    c.mode = Mode::kOff;
    c.current = -1;
    if (program.once) program.once();
    c.tls_before.assign(c.tls_at, c.tls_at + c.tls_bytes);
    std::vector<std::vector<char>> images((size_t)c.n, c.tls_before);
    for (int i = 0; i < c.n; i++) {
        if (program.once_thread) {
            std::memcpy(c.tls_at, c.tls_before.data(), c.tls_bytes);
            program.once_thread(i);
        }
        images[(size_t)i].assign(c.tls_at, c.tls_at + c.tls_bytes);
    }
    std::memcpy(c.tls_at, c.tls_before.data(), c.tls_bytes);
    auto start = std::chrono::steady_clock::now();
    for (;;) {
        for (int i = 0; i < c.n; i++)
            c.threads[i].tls = images[(size_t)i];
        execute();
        std::memcpy(c.tls_at, c.tls_before.data(), c.tls_bytes);
        result.runs++;
        result.states = c.visited.size();
        if (!result.failure.empty()) break;
        if (c.sharing_grew) { // what was taken for one thread's own is not: again, from the start
            c.sharing_grew = false;
            c.visited.clear();
            c.choices.clear();
            result.outcomes.clear();
            result.executions = 0;
            continue;
        }
        if (!next_choice()) {
            result.complete = true;
            break;
        }
        if (c.visited.size() > limits.states) break;
        std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        if (took.count() > limits.seconds) break;
    }
    c.names.clear();
    c.program = nullptr;
    c.result = nullptr;
    return result;
}

void fail(const char *file, int line, const char *what)
{
    if (!c.result) return;
    const char *base = std::strrchr(file, '/');
    record_failure(std::string(base ? base + 1 : file) + ":" + std::to_string(line) + ": " + what);
    leave();
}

void outcome(const std::string &what)
{
    c.result->outcomes.insert(what);
}

void name(const void *at, size_t bytes, const char *what)
{
    c.names.push_back({(uintptr_t)at, (uintptr_t)at + bytes, what});
}

void pause()
{
    if (c.mode != Mode::kThread) return;
    Pending pending;
    pending.step = Step::kPause;
    step(pending);
}

int self()
{
    return c.current;
}

// ---- what the compiler and the runtime call ---------------------------------------------------------

namespace
{

uint64_t atomic_load(uintptr_t at, int size, int order)
{
    if (c.mode != Mode::kThread) return native_load(at, size);
    Pending pending;
    pending.step = Step::kLoad;
    pending.address = at;
    pending.size = size;
    pending.order = order;
    step(pending);
    return c.threads[c.current].pending.result;
}

void atomic_store(uintptr_t at, int size, uint64_t value, int order)
{
    value = masked(value, size);
    if (c.mode != Mode::kThread) {
        native_store(at, size, value);
        return;
    }
    Pending pending;
    pending.step = Step::kStore;
    pending.address = at;
    pending.size = size;
    pending.order = order;
    pending.value = value;
    step(pending);
}

uint64_t atomic_rmw(uintptr_t at, int size, uint64_t value, int order, Pending::Rmw rmw,
                    uint64_t expected = 0, int failure_order = 0, bool *out_ok = nullptr)
{
    Pending pending;
    pending.step = Step::kRmw;
    pending.address = at;
    pending.size = size;
    pending.order = order;
    pending.failure_order = failure_order;
    pending.value = masked(value, size);
    pending.expected = masked(expected, size);
    pending.rmw = rmw;
    if (c.mode != Mode::kThread) {
        uint64_t old = native_load(at, size);
        bool ok = rmw != Pending::kCas || old == pending.expected;
        if (ok) native_store(at, size, rmw_value(pending, old));
        if (out_ok) *out_ok = ok;
        return old;
    }
    step(pending);
    if (out_ok) *out_ok = c.threads[c.current].pending.ok;
    return c.threads[c.current].pending.result;
}

} // namespace
} // namespace model

using namespace model;

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit(void *) {}
void __tsan_vptr_update(void **at, void *)
{
    plain_access((uintptr_t)at, sizeof *at, true);
}
void __tsan_vptr_read(void **at)
{
    plain_access((uintptr_t)at, sizeof *at, false);
}
void __tsan_read_range(void *at, size_t bytes)
{
    plain_access((uintptr_t)at, bytes, false);
}
void __tsan_write_range(void *at, size_t bytes)
{
    plain_access((uintptr_t)at, bytes, true);
}

#define PLAIN(bytes)                                                                               \
    void __tsan_read##bytes(void *at)                                                              \
    {                                                                                              \
        plain_access((uintptr_t)at, bytes, false);                                                 \
    }                                                                                              \
    void __tsan_write##bytes(void *at)                                                             \
    {                                                                                              \
        plain_access((uintptr_t)at, bytes, true);                                                  \
    }                                                                                              \
    void __tsan_unaligned_read##bytes(void *at)                                                    \
    {                                                                                              \
        plain_access((uintptr_t)at, bytes, false);                                                 \
    }                                                                                              \
    void __tsan_unaligned_write##bytes(void *at)                                                   \
    {                                                                                              \
        plain_access((uintptr_t)at, bytes, true);                                                  \
    }                                                                                              \
    void __tsan_volatile_read##bytes(void *at)                                                     \
    {                                                                                              \
        plain_access((uintptr_t)at, bytes, false);                                                 \
    }                                                                                              \
    void __tsan_volatile_write##bytes(void *at)                                                    \
    {                                                                                              \
        plain_access((uintptr_t)at, bytes, true);                                                  \
    }
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

#define ATOMIC(bits, T)                                                                            \
    T __tsan_atomic##bits##_load(const volatile T *at, int order)                                  \
    {                                                                                              \
        return (T)atomic_load((uintptr_t)at, bits / 8, order);                                     \
    }                                                                                              \
    void __tsan_atomic##bits##_store(volatile T *at, T value, int order)                           \
    {                                                                                              \
        atomic_store((uintptr_t)at, bits / 8, (uint64_t)value, order);                             \
    }                                                                                              \
    T __tsan_atomic##bits##_exchange(volatile T *at, T value, int order)                           \
    {                                                                                              \
        return (T)atomic_rmw((uintptr_t)at, bits / 8, (uint64_t)value, order, Pending::kExchange); \
    }                                                                                              \
    T __tsan_atomic##bits##_fetch_add(volatile T *at, T value, int order)                          \
    {                                                                                              \
        return (T)atomic_rmw((uintptr_t)at, bits / 8, (uint64_t)value, order, Pending::kAdd);      \
    }                                                                                              \
    T __tsan_atomic##bits##_fetch_sub(volatile T *at, T value, int order)                          \
    {                                                                                              \
        return (T)atomic_rmw((uintptr_t)at, bits / 8, (uint64_t)value, order, Pending::kSub);      \
    }                                                                                              \
    T __tsan_atomic##bits##_fetch_and(volatile T *at, T value, int order)                          \
    {                                                                                              \
        return (T)atomic_rmw((uintptr_t)at, bits / 8, (uint64_t)value, order, Pending::kAnd);      \
    }                                                                                              \
    T __tsan_atomic##bits##_fetch_or(volatile T *at, T value, int order)                           \
    {                                                                                              \
        return (T)atomic_rmw((uintptr_t)at, bits / 8, (uint64_t)value, order, Pending::kOr);       \
    }                                                                                              \
    T __tsan_atomic##bits##_fetch_xor(volatile T *at, T value, int order)                          \
    {                                                                                              \
        return (T)atomic_rmw((uintptr_t)at, bits / 8, (uint64_t)value, order, Pending::kXor);      \
    }                                                                                              \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile T *at, T *expected, T value,        \
                                                      int order, int failure_order)                \
    {                                                                                              \
        bool ok;                                                                                   \
        T old = (T)atomic_rmw((uintptr_t)at, bits / 8, (uint64_t)value, order, Pending::kCas,      \
                              (uint64_t)*expected, failure_order, &ok);                            \
        if (!ok) *expected = old;                                                                  \
        return ok;                                                                                 \
    }                                                                                              \
    int __tsan_atomic##bits##_compare_exchange_weak(volatile T *at, T *expected, T value,          \
                                                    int order, int failure_order)                  \
    {                                                                                              \
        return __tsan_atomic##bits##_compare_exchange_strong(at, expected, value, order,           \
                                                             failure_order);                       \
    }                                                                                              \
    T __tsan_atomic##bits##_compare_exchange_val(volatile T *at, T expected, T value, int order,   \
                                                 int failure_order)                                \
    {                                                                                              \
        return (T)atomic_rmw((uintptr_t)at, bits / 8, (uint64_t)value, order, Pending::kCas,       \
                             (uint64_t)expected, failure_order);                                   \
    }
ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)

void __tsan_atomic_thread_fence(int order)
{
    if (c.mode != Mode::kThread) return;
    Pending pending;
    pending.step = Step::kFence;
    pending.order = order;
    step(pending);
}
void __tsan_atomic_signal_fence(int) {}

void model_pause(void)
{
    model::pause();
}

// ---- calls that are taken over by the linker (--wrap) ------------------------------------------------

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    if (c.mode != Mode::kThread) return 0;
    Pending pending;
    pending.step = Step::kLock;
    pending.address = (uintptr_t)mutex;
    step(pending);
    return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    if (c.mode != Mode::kThread) return 0;
    Pending pending;
    pending.step = Step::kUnlock;
    pending.address = (uintptr_t)mutex;
    step(pending);
    return 0;
}

int __wrap_sched_yield(void)
{
    model::pause();
    return 0;
}

long __real_syscall(long number, long a, long b, long c_, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long third, long fourth, long e, long f)
{
    if (c.mode == Mode::kOff || c.mode == Mode::kOutside) {
        if (number == SYS_membarrier || c.mode == Mode::kOutside) return 0;
        return __real_syscall(number, a, b, third, fourth, e, f);
    }
    Pending pending;
    if (number == SYS_membarrier) {
        pending.step = Step::kFence;
        pending.order = __ATOMIC_SEQ_CST;
        step(pending);
        // Each thread is interrupted at some point of its own; one that does not run has been.
        for (int i = 0; i < c.n; i++) {
            if (i == c.current) continue;
            pending.step = Step::kFenceOther;
            pending.other = i;
            step(pending);
        }
        pending.step = Step::kFence;
        step(pending);
        return 0;
    }
    if (number == SYS_futex) {
        long command = b & 0x7f;
        pending.address = (uintptr_t)a;
        if (command == FUTEX_WAKE) {
            pending.step = Step::kWake;
            pending.other = (int)third;
            step(pending);
            return 0;
        }
        pending.step = Step::kSleep;
        pending.expected = (uint32_t)third;
        pending.timed = fourth != 0;
        step(pending);
        if (c.threads[c.current].pending.ok) return 0;
        errno = (int)c.threads[c.current].pending.result;
        return -1;
    }
    fail(__FILE__, __LINE__, "an unexpected system call");
    return -1;
}

// Memory that an execution allocates is gone with it.
void *__real_malloc(size_t bytes);
void __real_free(void *at);
static void *arena_alloc(size_t bytes, size_t align)
{
    size_t from = (c.arena_used + align - 1) & ~(align - 1);
    if (from + bytes > sizeof arena) return nullptr;
    c.arena_used = from + bytes;
    return arena + from;
}
void *__wrap_malloc(size_t bytes)
{
    return c.mode == Mode::kOff ? __real_malloc(bytes) : arena_alloc(bytes, 16);
}
void __wrap_free(void *at)
{
    if (c.mode != Mode::kOff || (uintptr_t)at - (uintptr_t)arena < sizeof arena) return;
    __real_free(at);
}
int __real_posix_memalign(void **out, size_t align, size_t bytes);
int __wrap_posix_memalign(void **out, size_t align, size_t bytes)
{
    if (c.mode == Mode::kOff) return __real_posix_memalign(out, align, bytes);
    void *at = arena_alloc(bytes, align);
    if (!at) return ENOMEM;
    *out = at;
    return 0;
}
void *model_memset(void *at, int value, size_t bytes);
void *model_memset(void *at, int value, size_t bytes)
{
    plain_access((uintptr_t)at, bytes, true);
    return std::memset(at, value, bytes);
}
void *model_memcpy(void *to, const void *from, size_t bytes);
void *model_memcpy(void *to, const void *from, size_t bytes)
{
    plain_access((uintptr_t)from, bytes, false);
    plain_access((uintptr_t)to, bytes, true);
    return std::memcpy(to, from, bytes);
}
}
