// Random programs against a model of what each ref may become.
//
// A round is a program: a few threads, each with a list of operations drawn from the round's seed. Beside
// every ref stands what the model knows of it: the value if it comes to one, whether it may, and the codes
// that it may fail with (its own, and those of what it depends on). After the round: every body ran as
// often as it may, nothing is left, the counters add up.
//
//   model_stress [seed [scale]]       rounds from |seed| on
//   model_stress replay SEED          one round, as printed by a failure; prints each operation
//   ... --serial                      all rounds on one thread, in a runtime without workers
//   ... --virtual                     the same on a clock that only the program moves, each round twice
//   ... --seconds N                   for so long, with a line each minute
//
// A third of the rounds is serial (workers = 0, one thread); they are run twice, and both must see the same.
// Half of the rounds have virtual GPUs, on threads or on a virtual clock; serial ones always on the latter.
//
// What a thread does in its nth step depends on the seed, the thread and n only, not on what happened before, but
// for which of the refs are at hand that threads trade. So --serial and --virtual play the same programs, thread
// by thread in an order that the seed gives.
#include "base/clock.h"
#include "stress/stress.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

using namespace stress;

// Tasks in an anonymous namespace: their calls are declared, and not all of them made.
#pragma GCC diagnostic ignored "-Wunused-function"

namespace
{

bool verbose = false;
enum Mode { AS_DRAWN, SERIAL, VIRTUAL };
Mode mode = AS_DRAWN;

// Some time passes with each look at it.
int64_t virtual_now = 0;
int64_t virtual_clock()
{
    return virtual_now += 4000;
}

// ---- the model ------------------------------------------------------------------------------------

enum : uint32_t { // ways to end that are not a value
    MAY_CANCEL = 1 << 0,
    MAY_USER = 1 << 1,
    MAY_ABANDON = 1 << 2,
    MAY_DEADLINE = 1 << 3,
    MAY_TIMEOUT = 1 << 4,
    MAY_SHUTDOWN = 1 << 5,
    MAY_DIE = 1 << 6,
    MAY_RESTART = 1 << 7,
};

uint32_t way_of(manta_status_t status)
{
    switch (status) {
    case MANTA_ERR_CANCELLED:
        return MAY_CANCEL;
    case MANTA_ERR_USER + 1:
        return MAY_USER;
    case MANTA_ERR_ABANDONED:
        return MAY_ABANDON;
    case MANTA_ERR_DEADLINE:
        return MAY_DEADLINE;
    case MANTA_ERR_TIMEOUT:
        return MAY_TIMEOUT;
    case MANTA_ERR_SHUTDOWN:
        return MAY_SHUTDOWN;
    case MANTA_ERR_ACTOR_DIED:
        return MAY_DIE;
    case MANTA_ERR_ACTOR_RESTARTING:
        return MAY_RESTART;
    default:
        return 0;
    }
}

struct Node { // an object, as the model sees it
    uint64_t value = 0;
    std::atomic<uint32_t> ways{0}; // that it may end in by itself; grows when somebody cancels it
    bool fails = false;            // it never comes to a value, whatever it depends on
    bool is_task = false;
    uint32_t may_run = 0; // bodies
    std::atomic<uint32_t> ran{0};
    std::atomic<uint32_t> callbacks_due{0}, callbacks{0};
    Node *from[3] = {};
    Node *same = nullptr; // this is another count of that one
    int depth = 0;
    std::atomic<uint64_t> hits{0}; // of a range
    uint64_t count = 0;
};

uint32_t ways(const Node *node)
{
    uint32_t all = node->ways;
    for (const Node *from : node->from)
        if (from) all |= ways(from);
    return all;
}
bool can_succeed(const Node *node)
{
    if (node->fails) return false;
    for (const Node *from : node->from)
        if (from && !can_succeed(from)) return false;
    return true;
}

enum { kDeepest = 12 }; // the model walks over all that a ref depends on

struct Held { // a user count
    manta_ref_t ref;
    Node *node;
};

struct Promise {
    Held held;
    int fate; // 0 set, 1 fail, 2 abandon, 3 forward
    Held target;
};

class Actor;

struct Round {
    uint64_t seed;
    int workers, threads; // as drawn
    bool alone;           // on one thread, in a serial runtime
    bool abrupt;          // shut down in the middle
    int gpus;
    bool virtual_clock;
    std::atomic<bool> ending{false};
    std::mutex lock;
    std::deque<Node> nodes;   // guarded by lock; stay until the end
    std::vector<Held> shared; // guarded by lock; counts that nobody has taken yet
    std::vector<std::unique_ptr<Actor>> actors;
    uint64_t trace = 0; // of a round that is played alone

    Node *node()
    {
        std::lock_guard<std::mutex> guard(lock);
        nodes.emplace_back();
        return &nodes.back();
    }
};

// ---- tasks ----------------------------------------------------------------------------------------

enum Kind : uint32_t { CALC, FAIL, FLAKY, NESTED, FORWARD, POLL };
struct Spec {
    Node *node;
    uint64_t k;
    uint32_t kind;
    uint32_t fails_until; // FLAKY: attempts that fail
};

uint64_t combine(uint64_t k, uint64_t a, uint64_t b)
{
    return mix(k ^ mix(a) ^ mix(b * 3));
}

// What an object holds: too much for the object's own line, so it has a place, or several.
struct Cell {
    uint64_t x, more[3];
};
Cell cell_of(uint64_t x)
{
    return {x, {~x, x + 1, x ^ 7}};
}
uint64_t value_in(const Cell &cell)
{
    CHECK(cell.more[0] == ~cell.x && cell.more[1] == cell.x + 1 && cell.more[2] == (cell.x ^ 7));
    return cell.x;
}

MANTA_TASK(ms_leaf, MANTA_VAL(uint64_t, k), MANTA_OUT(Cell, out, 1))
{
    (void)task;
    out.data[0] = cell_of(mix(k));
    return MANTA_OK;
}

manta_status_t act(manta_task_t *task, const Spec &spec, uint64_t value, Cell *out)
{
    uint32_t before = spec.node->ran++;
    CHECK(before < spec.node->may_run);
    *out = cell_of(value);
    switch (spec.kind) {
    case FAIL:
        return manta_fail(task, MANTA_ERR_USER + 1, "as told");
    case FLAKY:
        if ((uint32_t)manta_attempt(task) < spec.fails_until) return MANTA_ERR_USER + 1;
        break;
    case NESTED: {
        manta_ref_t child = ms_leaf_remote(spec.k);
        Cell leaf = {};
        manta_status_t status = manta_read(child, &leaf, sizeof leaf, MANTA_FOREVER);
        if (status != MANTA_OK) return status;
        CHECK_EQ(value_in(leaf), mix(spec.k));
        break;
    }
    case POLL:
        for (int i = 0; i < 20 && !manta_cancelled(task); i++)
            std::this_thread::yield();
        break;
    default:
        break;
    }
    return MANTA_OK;
}

MANTA_TASK(ms_calc, MANTA_VAL(Spec, spec), MANTA_IN(Cell, a), MANTA_IN(Cell, b),
           MANTA_OUT(Cell, out, 1))
{
    CHECK_EQ(a.count, 1u);
    return act(task, spec, combine(spec.k, value_in(a.data[0]), value_in(b.data[0])), out.data);
}

MANTA_TASK(ms_inout, MANTA_VAL(Spec, spec), MANTA_INOUT(Cell, x))
{
    return act(task, spec, combine(spec.k, value_in(x.data[0]), 1), x.data);
}

MANTA_TASK(ms_forward, MANTA_VAL(Spec, spec), MANTA_IN(Cell, a), MANTA_OUT(Cell, out, 1))
{
    (void)out;
    uint32_t before = spec.node->ran++;
    CHECK(before < spec.node->may_run);
    manta_ref_t child = ms_leaf_remote(spec.k ^ value_in(a.data[0]));
    return manta_forward(task, child);
}

MANTA_TASK(ms_touch, MANTA_VAL(Spec, spec))
{
    (void)task;
    uint64_t hits = spec.node->hits++;
    CHECK(hits < spec.node->count);
    return MANTA_OK;
}

// A call is a task that depends on its actor's node besides, which gets further ways to end when that is killed.
struct Station {
    std::atomic<int> inside;
    int most;
};
std::atomic<int> g_stations{0};
MANTA_ACTOR(ms_station, Station, MANTA_VAL(int, most))
{
    (void)task;
    self->inside = 0;
    self->most = most;
    g_stations++;
    return MANTA_OK;
}
MANTA_ACTOR_END(ms_station)
{
    CHECK_EQ(self->inside.load(), 0);
    g_stations--;
}
MANTA_METHOD(ms_station, calc, MANTA_VAL(Spec, spec), MANTA_IN(Cell, a), MANTA_IN(Cell, b),
             MANTA_OUT(Cell, out, 1))
{
    int inside = ++self->inside;
    CHECK(inside <= self->most);
    uint64_t value = combine(spec.k, value_in(a.data[0]), value_in(b.data[0]));
    manta_status_t status = act(task, spec, value, out.data);
    self->inside--;
    return status;
}
MANTA_METHOD(ms_station, later, MANTA_VAL(Spec, spec), MANTA_IN(Cell, a), MANTA_OUT(Cell, out, 1))
{
    Cell value = {};
    manta_status_t status = act(task, spec, combine(spec.k, value_in(a.data[0]), 1), &value);
    if (status != MANTA_OK) return status;
    (void)out;
    manta_ref_t promise = manta_method_defer(task);
    status = manta_promise_set(promise, &value, sizeof value);
    (void)manta_release(promise);
    return status;
}

void on_ready(manta_ref_t, manta_status_t, void *user)
{
    static_cast<Node *>(user)->callbacks++;
}

// ---- one thread's part ----------------------------------------------------------------------------

class Actor
{
  public:
    Actor(Round *round, int index)
        : round_(round), stream_(mix(round->seed * 64 + (uint64_t)index)), rng_(stream_),
          serial_(round->workers == 0)
    {
    }

    void run(int operations)
    {
        while (steps_ < operations && !round_->ending)
            advance();
        finish();
    }
    void advance()
    {
        rng_ = Rng(stream_ + (uint64_t)++steps_);
        if (verbose) std::printf("%llx:%d ", (unsigned long long)stream_ & 0xffff, steps_);
        step();
        if (verbose) std::printf("\n");
    }
    int steps() const { return steps_; }
    void finish()
    {
        keep_promises();
        leave_station();
        while (!held_.empty())
            end(held_.size() - 1, !round_->ending && rng_.one_in(4));
    }
    void keep_promises()
    {
        while (!promises_.empty())
            keep_promise();
    }
    uint64_t trace() const { return trace_; }

  private:
    void saw(const char *what, uint64_t a, uint64_t b = 0)
    {
        trace_ = mix(trace_ ^ mix(a) ^ b);
        if (verbose) {
            std::printf("%s %llu %llu ", what, (unsigned long long)a, (unsigned long long)b);
        }
    }
    // The runtime ends under us: then its refs are stale, promises have failed, and a late put may have
    // started a new default runtime, which has nothing to do with refs of the old one.
    bool over(manta_status_t status)
    {
        return round_->abrupt &&
               (status == MANTA_ERR_SHUTDOWN || status == MANTA_ERR_STALE_REF ||
                status == MANTA_ERR_ALREADY_EXISTS || status == MANTA_ERR_INVALID_ARGUMENT ||
                status == MANTA_ERR_INFEASIBLE); // a new one has no GPUs
    }
    static manta_status_t error_of(manta_ref_t ref)
    {
        return ref.id >> 63 ? (manta_status_t)(uint32_t)ref.id : MANTA_OK;
    }

    size_t pick() { return rng_.below(held_.size()); }

    void hold(manta_ref_t ref, Node *node)
    {
        manta_status_t error = error_of(ref);
        if (error != MANTA_OK) {
            CHECK(over(error));
            return;
        }
        held_.push_back({ref, node});
    }

    // What |status| says of |node| is something that the model allows.
    void judge(const Node *node, manta_status_t status, const uint64_t *value)
    {
        if (over(status)) return;
        if (status == MANTA_OK) {
            CHECK(can_succeed(node));
            if (value) CHECK_EQ(*value, node->value);
            if (node->is_task) CHECK(node->ran >= 1 || node->count);
            if (node->count) CHECK_EQ(node->hits.load(), node->count);
            return;
        }
        uint32_t way = way_of(status);
        if (!way || !(way & (ways(node) | (round_->abrupt ? ~0u : 0u)))) {
            std::fprintf(stderr, "ends with %s\n", manta_status_name(status));
            CHECK(false);
        }
    }

    void end(size_t i, bool look)
    {
        Held held = held_[i];
        held_[i] = held_.back();
        held_.pop_back();
        if (look) read(held, MANTA_FOREVER);
        manta_status_t status = manta_release(held.ref);
        CHECK(status == MANTA_OK || over(status));
    }

    // Nobody waits for ever before having kept what others may wait for; nor what they wait for, if nobody
    // else would.
    void before_waiting()
    {
        keep_promises();
        for (size_t i = 0; round_->alone && i < round_->actors.size(); i++)
            round_->actors[i]->keep_promises();
    }

    void read(const Held &held, int64_t timeout_ns)
    {
        if (timeout_ns == MANTA_FOREVER) before_waiting();
        Cell cell = {};
        size_t bytes = held.node->count ? 0 : sizeof cell;
        manta_status_t status = manta_read(held.ref, &cell, bytes, timeout_ns);
        uint64_t value = status == MANTA_OK && bytes ? value_in(cell) : 0;
        saw("read", (uint64_t)status, status == MANTA_OK ? value : 0);
        if (status == MANTA_NOT_READY) {
            CHECK(timeout_ns != MANTA_FOREVER);
            return;
        }
        judge(held.node, status, bytes ? &value : nullptr);
    }

    void put()
    {
        Node *node = round_->node();
        node->value = rng_.next();
        Cell cell = cell_of(node->value);
        hold(manta_put(&cell, sizeof cell), node);
    }

    void keep_promise()
    {
        Promise promise = promises_.back();
        promises_.pop_back();
        manta_status_t status = MANTA_OK;
        Cell cell;
        switch (promise.fate) {
        case 0:
            cell = cell_of(promise.held.node->value);
            status = manta_promise_set(promise.held.ref, &cell, sizeof cell);
            break;
        case 1:
            status = manta_promise_fail(promise.held.ref, MANTA_ERR_USER + 1, "no");
            break;
        case 2:
            status = manta_abandon(promise.held.ref, MANTA_OK);
            break;
        default:
            status = manta_promise_forward(promise.held.ref, promise.target.ref);
            break;
        }
        CHECK(status == MANTA_OK || over(status));
        saw("keep", (uint64_t)promise.fate);
        status = manta_release(promise.held.ref);
        CHECK(status == MANTA_OK || over(status));
        if (promise.target.node) {
            status = manta_release(promise.target.ref);
            CHECK(status == MANTA_OK || over(status));
        }
    }

    void make_promise()
    {
        Node *node = round_->node();
        Promise promise = {{manta_promise_create((manta_dtype_t)MANTA_UNTYPED), node},
                           (int)rng_.below(8),
                           {{0}, nullptr}};
        manta_status_t error = error_of(promise.held.ref);
        if (error != MANTA_OK) {
            CHECK(over(error));
            return;
        }
        if (promise.fate > 3) promise.fate = 0;
        node->value = rng_.next();
        if (promise.fate == 1 || promise.fate == 2) {
            node->fails = true;
            node->ways = promise.fate == 1 ? MAY_USER : MAY_ABANDON;
        } else if (promise.fate == 3) {
            size_t i = pick();
            if (held_[i].node->count || held_[i].node->depth >= kDeepest) {
                promise.fate = 0;
            } else {
                promise.target = {manta_retain(held_[i].ref), held_[i].node};
                node->value = held_[i].node->value;
                node->from[0] = held_[i].node;
                node->depth = held_[i].node->depth + 1;
                if (error_of(promise.target.ref) != MANTA_OK) {
                    CHECK(over(error_of(promise.target.ref)));
                    promise.target = {{0}, nullptr};
                    promise.fate = 0;
                }
            }
        }
        manta_ref_t again = manta_retain(promise.held.ref);
        promises_.push_back(promise);
        hold(again, node);
    }

    manta_task_options_t options(Node *node, Spec *spec)
    {
        manta_task_options_t options = MANTA_OPTIONS();
        if (rng_.one_in(4)) options.priority = (manta_priority_t)((int)rng_.below(4) - 1);
        if (spec->kind == FLAKY) {
            options.max_retries = (int)rng_.below(4);
            options.retry_on = MANTA_RETRY_USER;
            node->may_run = 1 + (uint32_t)options.max_retries;
            if (spec->fails_until > (uint32_t)options.max_retries) {
                node->fails = true;
                node->ways |= MAY_USER;
            }
        }
        if (!serial_ && rng_.one_in(8)) {
            bool tight = rng_.one_in(2);
            options.deadline_ns = tight ? MANTA_US(20) : MANTA_S(1000);
            if (tight) node->ways |= MAY_DEADLINE;
        }
        if (!serial_ && rng_.one_in(16)) {
            options.run_timeout_ns = MANTA_US(20);
            node->ways |= MAY_TIMEOUT;
        }
        // A body on a device may not wait.
        if (round_->gpus && spec->kind != NESTED && rng_.one_in(2)) {
            int gpu = (int)rng_.below((uint64_t)round_->gpus + 1);
            options.where = gpu == round_->gpus ? MANTA_GPU : manta_gpu(gpu);
        } else if (!serial_ && rng_.one_in(16))
            options.cpus = rng_.one_in(2) && round_->workers > 1 && !round_->alone ? 2 : 0.25;
        return options;
    }

    Spec spec(Node *node)
    {
        static const uint32_t kinds[] = {CALC, CALC, CALC, CALC, FAIL, FLAKY, NESTED, POLL};
        Spec spec = {node, rng_.next(), kinds[rng_.below(8)], (uint32_t)rng_.below(4)};
        node->is_task = true;
        node->may_run = 1;
        if (spec.kind == FAIL) {
            node->fails = true;
            node->ways |= MAY_USER;
        }
        return spec;
    }

    // A held ref that a task may take as an argument.
    size_t argument()
    {
        size_t first = pick();
        for (size_t tries = 0; tries < 8; tries++) {
            size_t i = (first + tries) % held_.size();
            if (!held_[i].node->count && held_[i].node->depth < kDeepest) return i;
        }
        put();
        return held_.size() - 1;
    }

    void depend(Node *node, int slot, Node *on)
    {
        node->from[slot] = on;
        node->depth = std::max(node->depth, on->depth + 1);
    }

    void submit()
    {
        Held a = held_[argument()], b = held_[argument()];
        Node *node = round_->node();
        Spec what = spec(node);
        node->value = combine(what.k, a.node->value, b.node->value);
        depend(node, 0, a.node);
        depend(node, 1, b.node);
        manta_task_options_t with = options(node, &what);
        hold(ms_calc_with(with, what, a.ref, b.ref), node);
    }

    void submit_inout()
    {
        size_t i = argument();
        Held x = held_[i];
        held_[i] = held_.back();
        held_.pop_back(); // taken in any case
        Node *node = round_->node();
        Spec what = spec(node);
        node->value = combine(what.k, x.node->value, 1);
        depend(node, 0, x.node);
        manta_task_options_t with = options(node, &what);
        hold(ms_inout_with(with, what, x.ref), node);
    }

    void submit_forward()
    {
        Held a = held_[argument()];
        Node *node = round_->node();
        Spec what = {node, rng_.next(), CALC, 0};
        node->is_task = true;
        node->may_run = 1;
        node->value = mix(what.k ^ a.node->value);
        depend(node, 0, a.node);
        hold(ms_forward_remote(what, a.ref), node);
    }

    void submit_range()
    {
        Node *node = round_->node();
        node->is_task = true;
        node->count = 1 + rng_.below(50);
        Spec what = {node, 0, CALC, 0};
        hold(ms_touch_range(node->count, what), node);
    }

    void cancel()
    {
        Held held = held_[pick()];
        if (held.node->same) held.node = held.node->same;
        // Whatever has submitted it is not cancelled, and what depends on it fails.
        if (held.node->is_task) held.node->ways |= MAY_CANCEL;
        manta_status_t status = manta_cancel(held.ref);
        saw("cancel", (uint64_t)status);
        CHECK(status == MANTA_OK || over(status) ||
              (!held.node->is_task && status == MANTA_ERR_INVALID_ARGUMENT));
    }

    void wait_some()
    {
        size_t n = 1 + rng_.below(std::min<size_t>(held_.size(), 8));
        manta_ref_t refs[8];
        size_t at[8], ready[8], count = 0;
        for (size_t i = 0; i < n; i++) {
            at[i] = pick();
            refs[i] = held_[at[i]].ref;
        }
        size_t k = 1 + rng_.below(n);
        bool ever = rng_.one_in(2);
        if (ever) before_waiting();
        int64_t timeout = ever ? MANTA_FOREVER : serial_ ? 0 : (int64_t)MANTA_US(rng_.below(200));
        manta_status_t status = manta_wait(refs, n, k, timeout, ready, &count);
        saw("wait", (uint64_t)status, count);
        if (over(status)) return;
        CHECK(status == MANTA_OK || (!ever && status == MANTA_NOT_READY));
        CHECK((status == MANTA_OK) == (count >= k));
        for (size_t i = 0; i < count; i++) {
            CHECK(ready[i] < n && (i == 0 || ready[i] > ready[i - 1]));
            manta_status_t is = manta_ref_status(refs[ready[i]]);
            CHECK(is != MANTA_NOT_READY);
            judge(held_[at[ready[i]]].node, is, nullptr);
        }
    }

    void slice()
    {
        Held held = held_[argument()];
        manta_ref_t part = manta_slice(held.ref, 0, sizeof(Cell));
        manta_status_t error = error_of(part);
        Node *node = round_->node();
        node->value = held.node->value;
        depend(node, 0, held.node);
        if (error == MANTA_OK) {
            CHECK(can_succeed(held.node));
        } else { // a count of the whole instead, so that what follows is the same
            if (error != MANTA_NOT_READY) judge(held.node, error, nullptr);
            node->same = held.node->same ? held.node->same : held.node;
            part = manta_retain(held.ref);
        }
        hold(part, node);
    }

    void scoped()
    {
        Held a = held_[argument()];
        manta_scope_t scope;
        manta_scope_enter(&scope);
        Node *node = round_->node();
        Spec what = {node, rng_.next(), CALC, 0};
        node->is_task = true;
        node->may_run = 1;
        node->value = combine(what.k, a.node->value, a.node->value);
        depend(node, 0, a.node);
        manta_ref_t inner = ms_calc_remote(what, a.ref, a.ref);
        bool out = error_of(inner) == MANTA_OK && rng_.one_in(2);
        if (out) inner = manta_keep(inner);
        manta_scope_leave(&scope);
        if (out) hold(inner, node);
    }

    void call_back()
    {
        Held held = held_[pick()];
        held.node->callbacks_due++;
        manta_status_t status = manta_on_ready(held.ref, on_ready, held.node);
        if (status != MANTA_OK) {
            CHECK(over(status));
            held.node->callbacks_due--;
        }
    }

    // ---- an actor of this thread's

    void enter_station()
    {
        leave_station();
        int most = rng_.one_in(2) ? 1 : 3;
        retries_ = rng_.one_in(3) ? 1 : 0;
        manta_actor_options_t with =
            MANTA_ACTOR_OPTIONS(.max_restarts = (int)rng_.below(3), .max_task_retries = retries_,
                                .max_concurrency = most, .out_of_order = rng_.one_in(4));
        station_ = ms_station_create(with, most);
        manta_status_t error = error_of({station_.actor.id});
        if (error != MANTA_OK) {
            CHECK(over(error));
            return;
        }
        station_node_ = round_->node();
    }

    void leave_station()
    {
        if (!station_node_) return;
        manta_status_t status = ms_station_destroy(station_);
        CHECK(status == MANTA_OK || over(status));
        station_node_ = nullptr;
    }

    void call_station()
    {
        if (!station_node_) return enter_station();
        Held a = held_[argument()], b = held_[argument()];
        Node *node = round_->node();
        Spec what = spec(node);
        if (what.kind == FLAKY) what.kind = CALC;
        node->may_run = 1 + (uint32_t)retries_;
        bool later = what.kind != FAIL && rng_.one_in(4);
        node->value = combine(what.k, a.node->value, later ? 1 : b.node->value);
        depend(node, 0, a.node);
        if (!later) depend(node, 1, b.node);
        node->from[2] = station_node_;
        manta_task_options_t with = MANTA_OPTIONS();
        if (rng_.one_in(4)) with.priority = (manta_priority_t)((int)rng_.below(4) - 1);
        if (!serial_ && rng_.one_in(8)) {
            with.deadline_ns = MANTA_US(20);
            node->ways |= MAY_DEADLINE;
        }
        manta_ref_t ref =
            later ? (manta_ref_t)ms_station_later_with(station_, with, what, a.ref)
                  : (manta_ref_t)ms_station_calc_with(station_, with, what, a.ref, b.ref);
        if (way_of(error_of(ref)) & (MAY_DIE | MAY_RESTART)) {
            judge(node, error_of(ref), nullptr);
            put(); // so that what follows is the same
            held_.back().node->depth = node->depth;
            return;
        }
        hold(ref, node);
    }

    void kill_station()
    {
        if (!station_node_) return;
        station_node_->ways |= MAY_DIE | MAY_RESTART;
        manta_status_t status = manta_actor_kill(station_.actor, rng_.one_in(2));
        saw("kill", (uint64_t)status);
        CHECK(status == MANTA_OK || over(status));
    }

    void trade()
    {
        bool give = rng_.one_in(2);
        {
            std::lock_guard<std::mutex> guard(round_->lock);
            if (give) {
                size_t i = pick();
                round_->shared.push_back(held_[i]);
                held_[i] = held_.back();
                held_.pop_back();
                return;
            }
            if (!round_->shared.empty()) {
                held_.push_back(round_->shared.back());
                round_->shared.pop_back();
                return;
            }
        }
        put(); // there is nothing to take
    }

    void step()
    {
        if (held_.size() < 2) return put();
        if (held_.size() > 60) return end(pick(), false);
        switch (rng_.below(25)) {
        case 0:
            return put();
        case 1:
            return make_promise();
        case 2:
            if (!promises_.empty()) keep_promise();
            return;
        case 3:
        case 4:
        case 5:
        case 6:
            return submit();
        case 7:
            return submit_inout();
        case 8:
            return submit_forward();
        case 9:
            return submit_range();
        case 10:
            if (rng_.one_in(3)) cancel();
            return;
        case 11:
            return wait_some();
        case 12:
            return slice();
        case 13:
            return scoped();
        case 14:
            return call_back();
        case 15: {
            Held held = held_[pick()];
            return hold(manta_retain(held.ref), held.node);
        }
        case 16:
            return end(pick(), false);
        case 17:
            return read(held_[pick()], rng_.one_in(2) || serial_ ? 0 : MANTA_US(50));
        case 18:
            return read(held_[pick()], MANTA_FOREVER);
        case 19:
            if (rng_.one_in(4)) enter_station();
            return;
        case 20:
        case 21:
        case 22:
            return call_station();
        case 23:
            if (rng_.one_in(4)) kill_station();
            return;
        default:
            return trade();
        }
    }

    Round *round_;
    uint64_t stream_;
    int steps_ = 0;
    Rng rng_; // of this step
    bool serial_;
    std::vector<Held> held_;
    std::vector<Promise> promises_;
    ms_station_t station_ = {};
    Node *station_node_ = nullptr; // NULL: there is none
    int retries_ = 0;
    uint64_t trace_ = 0;
};

// ---- a round --------------------------------------------------------------------------------------

std::atomic<int64_t> bytes_out{0};
void *count_alloc(void *, size_t size, size_t align)
{
    void *ptr = nullptr;
    if (posix_memalign(&ptr, std::max(align, sizeof ptr), size) != 0) return nullptr;
    bytes_out += (int64_t)size;
    return ptr;
}
void count_free(void *, void *ptr, size_t size)
{
    bytes_out -= (int64_t)size;
    std::free(ptr);
}

// All threads' parts on this one, a step of one of them at a time.
void play_alone(Round *round, int operations)
{
    Rng rng(1);
    uint64_t left = (uint64_t)(operations * round->threads);
    uint64_t end = round->abrupt ? rng.below(left) : left;
    for (int i = 0; i < round->threads; i++)
        round->actors.emplace_back(new Actor(round, i));
    for (uint64_t step = 0; step < end; step++) {
        Actor *actor;
        do
            actor = round->actors[rng.below(round->actors.size())].get();
        while (actor->steps() == operations);
        actor->advance();
    }
    if (round->abrupt) {
        round->ending = true;
        CHECK_EQ(
            manta_runtime_shutdown(manta_runtime_default(), MANTA_SHUTDOWN_CANCEL, MANTA_FOREVER),
            MANTA_OK);
    }
    for (auto &actor : round->actors)
        actor->keep_promises();
    for (auto &actor : round->actors) {
        actor->finish();
        round->trace = mix(round->trace ^ actor->trace());
    }
}

uint64_t play(uint64_t seed)
{
    the_seed = seed;
    Rng rng(0);
    Round round;
    round.seed = mix(seed);
    round.workers = rng.one_in(3) ? 0 : 1 + (int)rng.below(3);
    round.threads = round.workers == 0 ? 1 : 1 + (int)rng.below(4);
    round.abrupt = round.workers != 0 && rng.one_in(4);
    round.gpus = rng.one_in(2) ? 1 + (int)rng.below(3) : -1;
    round.virtual_clock = round.workers == 0 || rng.one_in(3);
    int operations = 20 + (int)rng.below(300);
    manta_runtime_options_t options;
    manta_runtime_options_init(&options);
    round.alone = round.workers == 0 || mode != AS_DRAWN;
    options.workers = round.alone ? 0 : round.workers;
    options.topology_synthetic = "core:4 pu:1";
    options.spin_ns = rng.one_in(2) ? 0 : -1;
    options.sim_gpus = round.gpus;
    options.sim_virtual_clock = round.virtual_clock || round.alone;
    options.sim_seed = 1 + (round.seed >> 1);
    options.no_cuda = true;
    if (round.gpus < 0) round.gpus = 0;
    options.allocator.alloc = count_alloc;
    options.allocator.free = count_free;
    if (mode == VIRTUAL) {
        virtual_now = 0;
        __atomic_store_n(&mti_clock_hook, &virtual_clock, __ATOMIC_RELEASE);
    }
    CHECK_EQ(manta_init(&options), MANTA_OK);
    if (verbose) {
        std::printf("workers %d threads %d abrupt %d operations %d gpus %d virtual %d\n",
                    round.workers, round.threads, round.abrupt, operations, round.gpus,
                    round.virtual_clock);
    }

    if (round.alone) {
        play_alone(&round, operations);
    } else {
        std::vector<std::thread> threads;
        for (int i = 0; i < round.threads; i++)
            threads.emplace_back([&round, i, operations] {
                Actor actor(&round, i);
                actor.run(operations);
            });
        if (round.abrupt) {
            for (uint64_t i = rng.below(100); i > 0; i--)
                std::this_thread::yield();
            round.ending = true;
            manta_runtime_t runtime = manta_runtime_default();
            CHECK_EQ(manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_CANCEL, MANTA_FOREVER),
                     MANTA_OK);
        }
        for (std::thread &thread : threads)
            thread.join();
    }
    if (round.abrupt) {
        CHECK_EQ(manta_shutdown(MANTA_FOREVER), MANTA_OK); // a late put may have started a new one
    } else {
        for (const Held &held : round.shared)
            CHECK_EQ(manta_release(held.ref), MANTA_OK);
        CHECK_EQ(manta_drain(MANTA_FOREVER), MANTA_OK);
        manta_stats_t stats = {};
        stats.struct_size = sizeof stats;
        CHECK_EQ(manta_runtime_stats({0}, &stats), MANTA_OK);
        CHECK_EQ(stats.live_refs, 0u);
        // Who failed a task from outside, or ran an actor that has ended, may still hold something for a moment.
        for (int i = 0; i < 1000000 && stats.live_bytes; i++) {
            std::this_thread::yield();
            CHECK_EQ(manta_runtime_stats({0}, &stats), MANTA_OK);
        }
        CHECK_EQ(stats.live_bytes, 0u);
        CHECK_EQ(stats.submitted, stats.completed);
        CHECK(stats.failed <= stats.completed);
        CHECK_EQ(manta_shutdown(MANTA_FOREVER), MANTA_OK);
    }
    CHECK_EQ(bytes_out.load(), 0);
    CHECK_EQ(g_stations.load(), 0);
    for (const Node &node : round.nodes) {
        CHECK(node.ran <= std::max(node.may_run, 1u));
        CHECK_EQ(node.callbacks.load(), node.callbacks_due.load());
    }
    return round.trace;
}

// The watchdog of a long run: one round may not take longer than this.
enum { ROUND_SECONDS = 120 };
std::atomic<uint64_t> rounds_done{0};
void watch_rounds()
{
    uint64_t before = 0;
    for (int still = 0; still < ROUND_SECONDS; still++) {
        std::this_thread::sleep_for(std::chrono::seconds(1));
        uint64_t done = rounds_done;
        if (done != before) still = 0;
        before = done;
    }
    std::fprintf(stderr, "hangs; seed %llu\n", (unsigned long long)the_seed);
    std::abort();
}

} // namespace

int main(int argc, char **argv)
{
    double seconds = 0;
    int kept = 1;
    for (int i = 1; i < argc; i++) {
        if (std::strcmp(argv[i], "--serial") == 0) {
            mode = SERIAL;
        } else if (std::strcmp(argv[i], "--virtual") == 0) {
            mode = VIRTUAL;
        } else if (std::strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) {
            seconds = std::strtod(argv[++i], nullptr);
        } else {
            argv[kept++] = argv[i];
        }
    }
    argc = kept;
    if (argc > 2 && std::strcmp(argv[1], "replay") == 0) {
        verbose = true;
        play(std::strtoull(argv[2], nullptr, 0));
        return 0;
    }
    if (seconds > 0) setenv("STRESS_NO_WATCHDOG", "1", 1);
    begin(argc, argv, 110);
    if (seconds > 0) std::thread(watch_rounds).detach();
    uint64_t first = the_seed, rounds = times(400, 10), twice = 0, i = 0;
    auto started = std::chrono::steady_clock::now();
    double past = 0, said = 0;
    for (; seconds > 0 ? past < seconds : i < rounds; i++) {
        uint64_t seed = mix(mix(first) + i) >> 16;
        uint64_t trace = play(seed);
        if (trace && mode != SERIAL) {
            CHECK_EQ(play(seed), trace); // the same again
            twice++;
        }
        rounds_done++;
        past = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
        if (seconds > 0 && past - said >= 60) {
            said = past;
            std::printf("%.0f seconds, %llu rounds\n", past, (unsigned long long)(i + 1));
        }
    }
    std::printf("%llu rounds, %llu of them twice, in %.0f seconds\n", (unsigned long long)i,
                (unsigned long long)twice, past);
    return 0;
}
