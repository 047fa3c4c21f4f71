// What the fake driver knows. Everything here is guarded by state.lock unless it says otherwise.
//
// The work itself is done by the engine of the virtual devices: a stream is a queue of it, an
// operation an effect. Effects run on the engine's threads, without the lock; they touch memory and
// the few atomics below. The checking is done when an operation is submitted, and does not depend on
// what has run by then: see check.cc.
#ifndef TESTS_FAKES_STATE_H
#define TESTS_FAKES_STATE_H

#include "fakes/libcuda/fake_cuda.h"

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include <sys/types.h>

#include <cuda.h>
#include <cudaTypedefs.h>

#include "devices/sim/engine.h"

namespace fake
{

struct Device;
struct Allocation;

// How much of every stream something is known to come after: by stream slot, the number of the
// operation.
using Clock = std::vector<uint64_t>;
void clock_merge(Clock *into, const Clock &other);
bool clock_has(const Clock &clock, uint32_t slot, uint64_t number);

// One use of memory by an operation: |rows| ranges of |width| bytes, |pitch| apart.
struct Span {
    uint64_t address;
    uint64_t width, pitch, rows;
    uint64_t end() const { return address + (rows ? (rows - 1) * pitch + width : 0); }
};
struct Use {
    Span span;
    bool writes;
    uint32_t slot; // stream and number of the operation
    uint64_t number;
    std::string what;
};

struct Allocation {
    enum Kind { kPlain, kPooled, kRegistered } kind;
    uint64_t address;
    size_t bytes;
    char *real; // what is behind it; the address itself for kRegistered
    Device *device;
    CUmemoryPool pool;
    bool portable; // kRegistered
    bool mapped;   // kRegistered
    uint32_t slot; // kPooled: the operation that allocates it
    uint64_t number;
    bool freed = false;
    std::string freed_by;
    std::vector<Use> uses; // those that something later may still have to be ordered after
};

// A free that is queued: the bytes go back when it has run.
struct PendingFree {
    mti_engine_queue_t *queue;
    uint64_t seq;
    Device *device;
    void *real;
};

// A write of a stream to memory that the host may have read: when it has run, the host may know all
// that comes before it.
struct SeenWrite {
    CUstream stream;
    uint64_t number; // of the operation, in the order of the program
    Clock clock;
};

struct Kernel {
    std::string name;
    std::vector<uint32_t> param_bytes;
    std::vector<uint8_t> param_access;
    size_t (*extent)(uint32_t, const fake_cuda_shape_t *, void *const *);
    void (*twin)(const fake_cuda_shape_t *, void *const *);
    uint32_t static_shared_bytes, max_threads;
    int64_t duration_ns;
};

struct Device {
    uint32_t ordinal;
    mti_engine_domain_t *domain = nullptr;
    mti_engine_space_t *space = nullptr;
    CUcontext primary = nullptr; // once it was retained; kept for good
    uint32_t retained = 0;
    std::atomic<int> sticky{0}; // set by effects and by faults; the code of every later call
    bool noticed = false;       // the engine has been told
    int64_t copy_ns = 0;
    uint32_t fail_alloc = 0, fail_launch = 0, lose_at_launch = 0, lose_at_op = 0;
    int fail_launch_code = 0, lose_launch_code = 0, lose_op_code = 0;
};

struct State {
    std::mutex lock;
    bool is_initialised = false;
    pid_t pid = 0;
    fake_cuda_options_t options{};
    mti_engine_t *engine = nullptr;
    std::vector<std::unique_ptr<Device>> devices;

    std::set<const void *> live; // handles; those that died stay allocated, so that none comes back
    std::vector<CUctx_st *> contexts;
    std::vector<CUstream_st *> streams;
    std::vector<CUevent_st *> events;
    std::vector<CUmemPoolHandle_st *> pools;
    std::vector<CUlib_st *> libraries;
    std::vector<std::unique_ptr<CUkern_st>> kernels;
    std::vector<std::unique_ptr<CUfunc_st>> functions;
    std::map<uint64_t, std::unique_ptr<Allocation>> allocations; // by address, dead ones too
    std::vector<PendingFree> pending_frees;
    std::deque<SeenWrite> seen_writes;

    Clock host;                         // what the host knows to be done
    std::vector<uint64_t> slot_numbers; // by stream slot: the last number given out
    std::vector<uint32_t> free_slots;

    std::map<std::string, Kernel> kernel_table;

    std::mutex notes_lock;                 // below |lock|
    std::map<std::string, uint64_t> calls; // guarded by notes_lock
    bool is_wrong =
        false; // the operation that is about to be submitted broke a rule: it has no effect
    std::vector<std::string> violations; // guarded by notes_lock

    std::string fail_call; // the name of one that is to fail
    uint32_t fail_call_nth = 0;
    int fail_call_code = 0;

    uint32_t event_limit = 0, event_count = 0, fail_host_register = 0;
};
extern State state;

// ---- Around every call ---------------------------------------------------------------------------

// Takes the lock, counts the call and looks whether it may be made at all.
class Call
{
  public:
    explicit Call(const char *name, bool needs_init = true);
    ~Call();
    CUresult refused() const { return refused_; }
    void unlock() { guard_.unlock(); }
    void relock();
    const char *name() const { return name_; }

  private:
    std::unique_lock<std::mutex> guard_;
    const char *name_;
    CUresult refused_ = CUDA_SUCCESS;
};

#define FAKE_CALL(name)                                                                            \
    ::fake::Call call(#name);                                                                      \
    if (call.refused() != CUDA_SUCCESS) return call.refused()

void violation(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern thread_local bool in_host_function;
extern thread_local CUcontext current_context;

// True if |handle| is alive; a violation if it was and is not any more, or never was.
bool is_alive(const void *handle, const char *call, const char *kind);
template <class T> void handle_add(std::vector<T *> *list, T *handle)
{
    list->push_back(handle);
    state.live.insert(handle);
}
void handle_remove(const void *handle);

// The current context must be there and usable; its device's sticky error is the result otherwise.
CUresult need_context(const char *call, CUcontext *out_context);
// |stream| must be alive, of the current context, and its device not lost.
CUresult need_stream(const char *call, CUstream stream);
// The sticky error of |device|, telling the engine about it the first time.
CUresult sticky_of(Device *device);
// The host knows everything that |clock| knows, and what streams wrote to its memory.
void host_learns(const Clock &clock);
void host_looks_at_writes();
// In virtual mode: lets some time pass. Called by every call that looks at progress.
void let_time_pass();

// ---- Operations ----------------------------------------------------------------------------------

// Gives |stream| its next number in the order of the program, and checks nothing yet.
uint64_t stream_advance(CUstream stream);
// Queues |effect|. |counts|: it is one that faults count. |is_copy| takes the time of one.
CUresult submit(CUstream stream, const char *name, mti_engine_effect_fn_t effect,
                const void *payload, size_t bytes, void (*discard)(void *), bool is_launch,
                bool is_copy, int64_t duration_ns, uint64_t *out_seq = nullptr);

// Reports every way in which this use of memory by the newest operation of |stream| is wrong.
void check_use(CUstream stream, const Span &span, bool writes, const char *what);
// False if it is wrong: the bytes must not be given back then, an operation may still touch them.
bool check_free(CUstream stream, Allocation *allocation, const char *what);

Allocation *find_allocation(uint64_t address); // alive or dead, the one that the address lies in
// What is behind |address|; nullptr if nothing is.
char *real_of(uint64_t address);
void reap_frees();
std::string describe(const Allocation &allocation);

// ---- Between the files ---------------------------------------------------------------------------

void start(const fake_cuda_options_t *options);
void stop();
fake_cuda_options_t options_of_environment();
bool symbol_is_known(const char *name);
void memory_stop();
uint32_t list_leaks(std::vector<std::string> *out);

} // namespace fake

// The driver's own types.
struct CUctx_st {
    fake::Device *device;
};
struct CUstream_st {
    CUctx_st *context;
    mti_engine_queue_t *queue;
    uint32_t slot;
    fake::Clock clock;
    uint64_t last_seq;  // of the engine
    uint64_t last_work; // the number of the last operation that was more than a mark
    // The last word that was written, by its operation's number: set before the word itself.
    std::atomic<uint64_t> written;
};
struct CUevent_st {
    CUctx_st *context;
    bool is_recorded;
    mti_engine_queue_t *queue;
    uint64_t seq;
    fake::Clock clock;
};
struct CUmemPoolHandle_st {
    fake::Device *device;
    uint32_t live;
    std::set<int> access;
};
struct CUlib_st {
    const void *image;
    bool is_text;
};
struct CUkern_st {
    CUlib_st *library;
    const fake::Kernel *kernel;
    std::map<int, int> max_dynamic_shared; // by device
};
struct CUfunc_st {
    CUkern_st *kernel;
    CUctx_st *context;
    bool is_loaded;
};

#endif
