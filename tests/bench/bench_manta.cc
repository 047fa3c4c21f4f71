// manta, with all defaults but the number of workers. The main thread submits, and helps where the
// scenario lets it wait for ever.
#include "harness.h"

#include <manta/manta.h>

namespace
{

using bench::Run;
using bench::tick;

struct Payload {
    uint64_t words[2];
};

uint64_t fib_of(int n);

} // namespace

MANTA_TASK(empty)
{
    tick();
    return MANTA_OK;
}

MANTA_TASK(successor, MANTA_IN(uint64_t, x), MANTA_OUT(uint64_t, y, 1))
{
    tick();
    y.data[0] = x.data[0] + 1;
    return MANTA_OK;
}

MANTA_TASK(leaf, MANTA_IN(uint64_t, x))
{
    tick();
    return MANTA_OK;
}

MANTA_TASK(join, MANTA_IN_LIST(uint64_t, leaves))
{
    tick();
    return MANTA_OK;
}

MANTA_TASK(cell, MANTA_IN(uint32_t, left), MANTA_IN(uint32_t, up), MANTA_OUT(uint32_t, here, 1))
{
    tick();
    here.data[0] = std::max(left.data[0], up.data[0]) + 1;
    return MANTA_OK;
}

MANTA_TASK(echo, MANTA_VAL(uint64_t, x), MANTA_OUT(uint64_t, y, 1))
{
    tick();
    y[0] = x;
    return MANTA_OK;
}

MANTA_TASK(fib, MANTA_VAL(int, n), MANTA_OUT(uint64_t, number, 1))
{
    tick();
    number.data[0] = fib_of(n);
    return MANTA_OK;
}

MANTA_TASK(gated, MANTA_IN(uint64_t, gate), MANTA_VAL(Payload, payload), MANTA_OUT(uint64_t, y, 1))
{
    if (payload.words[0] == payload.words[1]) tick();
    y.data[0] = gate.data[0];
    return MANTA_OK;
}

// ---- actors -------------------------------------------------------------------------------------

struct Sink {
    uint64_t seen;
};

MANTA_ACTOR(sink, Sink)
{
    self->seen = 0;
    return MANTA_OK;
}

MANTA_METHOD(sink, take, MANTA_VAL(uint64_t, x))
{
    tick();
    self->seen += x;
    return MANTA_OK;
}

MANTA_METHOD(sink, ask, MANTA_VAL(uint64_t, x), MANTA_OUT(uint64_t, y, 1))
{
    tick();
    y.data[0] = self->seen + x;
    return MANTA_OK;
}

MANTA_METHOD(sink, bounce, MANTA_VAL(sink_t, other), MANTA_VAL(uint64_t, left),
             MANTA_VAL(manta_ref_t, done))
{
    tick();
    if (left) return sink_bounce_go(other, sink_self(task), left - 1, done);
    return manta_promise_set(done, nullptr, 0);
}

MANTA_METHOD(sink, feed, MANTA_VAL(sink_t, to), MANTA_VAL(uint64_t, n))
{
    tick();
    manta_status_t status = MANTA_OK;
    for (uint64_t i = 0; i < n && status == MANTA_OK; i++)
        status = sink_take_go(to, i);
    return status;
}

namespace
{

// A call that failed inside a body, where no Run is at hand.
std::atomic<int> g_body_failures;

// The default runtime, with |workers| workers, for as long as this lives.
class Runtime
{
  public:
    explicit Runtime(Run &run) : run_(run)
    {
        manta_runtime_options_t options;
        manta_runtime_options_init(&options);
        options.workers = run.workers;
        check(manta_init(&options));
    }
    Runtime(const Runtime &) = delete;
    Runtime &operator=(const Runtime &) = delete;
    ~Runtime() { check(manta_shutdown(MANTA_FOREVER)); }

    void check(manta_status_t status)
    {
        if (status == MANTA_OK) return;
        run_.fail(std::string(manta_status_name(status)) + ": " + manta_error_message());
    }

    void drain() { check(manta_drain(MANTA_FOREVER)); }

    // Waits, may run tasks meanwhile, and gives the ref back.
    void finish(manta_ref_t ref) { wait(ref, MANTA_FOREVER); }
    // Waits without running tasks: timed waits never do.
    void sleep_for(manta_ref_t ref) { wait(ref, MANTA_S(60)); }

  private:
    void wait(manta_ref_t ref, int64_t timeout_ns)
    {
        check(manta_wait(&ref, 1, 1, timeout_ns, nullptr, nullptr));
        check(manta_ref_status(ref));
        check(manta_release(ref));
    }

    Run &run_;
};

void independent(Run &run)
{
    Runtime manta(run);
    const size_t n = run.size(300000);
    run.each(n, n, [&] {
        for (size_t i = 0; i < n; i++)
            manta.check(empty_go());
        manta.drain();
    });
}

void bulk(Run &run)
{
    Runtime manta(run);
    const size_t n = run.size(500000);
    run.each(n, n, [&] { manta.finish(empty_range_with(MANTA_OPTIONS(), n, 1)); });
}

void bulk_auto(Run &run)
{
    Runtime manta(run);
    const size_t n = run.size(500000);
    run.each(n, n, [&] { manta.finish(empty_range(n)); });
}

void chain(Run &run)
{
    Runtime manta(run);
    const size_t n = run.size(100000);
    run.each(n, n, [&] {
        const uint64_t zero = 0;
        uint64_t value = 0;
        manta::ref<uint64_t> last = manta_put(&zero, sizeof zero);
        for (size_t i = 0; i < n; i++) {
            const manta::ref<uint64_t> next = successor_remote(last);
            manta_release(last);
            last = next;
        }
        manta.check(manta_read(last, &value, sizeof value, MANTA_FOREVER));
        manta_release(last);
        if (value != n) run.fail("wrong sum at the end of the chain");
    });
}

// Like the peers: a wait per step.
void fan(Run &run)
{
    Runtime manta(run);
    const size_t rounds = run.size(100), width = 1000;
    const size_t n = rounds * (width + 2);
    run.each(n, n, [&] {
        for (size_t r = 0; r < rounds; r++) {
            manta.finish(empty_remote());
            for (size_t i = 0; i < width; i++)
                manta.check(empty_go());
            manta.drain();
            manta.finish(empty_remote());
        }
    });
}

// The same shape without waits in between: the thousand take the first one's result, the last one takes
// a thousand refs.
void fan_refs(Run &run)
{
    Runtime manta(run);
    const size_t rounds = run.size(100), width = 1000;
    const size_t n = rounds * (width + 2);
    std::vector<manta_ref_t> leaves(width);
    const uint64_t zero = 0;
    const manta::ref<uint64_t> start = manta_put(&zero, sizeof zero);
    run.each(n, n, [&] {
        for (size_t r = 0; r < rounds; r++) {
            const manta::ref<uint64_t> head = successor_remote(start);
            for (manta_ref_t &one : leaves)
                one = leaf_remote(head);
            manta_release(head);
            const manta_ref_t tail = join_remote(leaves.data(), width);
            for (manta_ref_t one : leaves)
                manta_release(one);
            manta.finish(tail);
        }
    });
    manta_release(start);
}

void wavefront(Run &run)
{
    Runtime manta(run);
    const size_t side = run.quick ? 24 : 512;
    std::vector<manta::ref<uint32_t>> row(side);
    run.each(side * side, side * side, [&] {
        const uint32_t zero = 0;
        uint32_t value = 0;
        const manta::ref<uint32_t> border = manta_put(&zero, sizeof zero);
        for (manta::ref<uint32_t> &above : row)
            above = manta_retain(border);
        for (size_t i = 0; i < side; i++)
            for (size_t j = 0; j < side; j++) {
                const manta::ref<uint32_t> here = cell_remote(j ? row[j - 1] : border, row[j]);
                manta_release(row[j]);
                row[j] = here;
            }
        manta.check(manta_read(row.back(), &value, sizeof value, MANTA_FOREVER));
        for (manta_ref_t last : row)
            manta_release(last);
        manta_release(border);
        if (value != 2 * side - 1) run.fail("wrong value in the last cell");
    });
}

uint64_t fib_of(int n)
{
    if (n < 2) return static_cast<uint64_t>(n);
    uint64_t x = 0;
    const manta::ref<uint64_t> other = fib_remote(n - 1);
    const uint64_t y = fib_of(n - 2);
    if (fib_result(other, &x) != MANTA_OK) g_body_failures++;
    manta_release(other);
    return x + y;
}

// The main thread sleeps: exactly the workers run tasks.
void fib30(Run &run)
{
    Runtime manta(run);
    const int n = run.quick ? 16 : 30;
    const size_t spawns = run.quick ? 1596 : 1346268;
    const uint64_t expected = run.quick ? 987 : 832040;
    run.each(spawns, spawns + 1, [&] {
        const manta::ref<uint64_t> root = fib_remote(n);
        uint64_t value = 0;
        manta.check(manta_read(root, &value, sizeof value, MANTA_S(100)));
        manta_release(root);
        if (value != expected || g_body_failures != 0) run.fail("wrong number");
    });
}

void latency_inline(Run &run)
{
    Runtime manta(run);
    run.rounds(run.size(4000), 32, [&] { manta.finish(empty_remote()); });
}

void latency_cross(Run &run)
{
    Runtime manta(run);
    run.rounds(run.size(2000), 16, [&] {
        const manta_ref_t ref = empty_remote();
        manta_status_t status;
        while ((status = manta_ref_status(ref)) == MANTA_NOT_READY)
            bench::cpu_pause();
        manta.check(status);
        manta_release(ref);
    });
}

void latency_blocking(Run &run)
{
    Runtime manta(run);
    run.rounds(run.size(1000), 8, [&] { manta.sleep_for(empty_remote()); });
}

void latency_parked(Run &run)
{
    Runtime manta(run);
    run.prepared(
        run.size(2000), 3e8,
        [&] {
            if (!bench::wait_others_asleep()) run.fail("its workers never sleep");
        },
        [&] { manta.sleep_for(empty_remote()); });
}

void latency_parked_2ms(Run &run)
{
    Runtime manta(run);
    run.prepared(
        run.size(100), 4e8, [] { bench::sleep_ns(2000000); },
        [&] { manta.sleep_for(empty_remote()); });
}

void idle(Run &run)
{
    Runtime manta(run);
    for (int i = 0; i < 100000; i++)
        manta.check(empty_go());
    manta.drain();
    bench::measure_idle(run);
}

void memory(Run &run)
{
    Runtime manta(run);
    const size_t n = run.size(1000000);
    std::vector<manta::ref<uint64_t>> refs(n); // touched before, so not counted
    const uint64_t before = bench::ticks_total();
    const manta::ref<uint64_t> gate = manta_promise_create(MANTA_DTYPE(MANTA_U64, 8));
    const size_t resident = bench::resident_bytes();
    for (size_t i = 0; i < n; i++)
        refs[i] = gated_remote(gate, Payload{{i, i}});
    run.value(static_cast<double>(bench::resident_bytes() - resident) / static_cast<double>(n));
    if (bench::ticks_total() != before) run.fail("tasks ran before the gate opened");
    const uint64_t one = 1;
    manta.check(manta_promise_set(gate, &one, sizeof one));
    manta.drain();
    if (bench::ticks_total() - before != n) run.fail("some tasks never ran");
    for (manta_ref_t ref : refs)
        manta_release(ref);
    manta_release(gate);
}

void put_get(Run &run)
{
    Runtime manta(run);
    const char data[64] = {1};
    run.rounds(run.size(4000), 64, [&] {
        const manta_ref_t ref = manta_put(data, sizeof data);
        manta_view_t view;
        manta.check(manta_get(ref, &view, MANTA_FOREVER));
        manta_view_release(&view);
        manta_release(ref);
    });
}

void put_get_large(Run &run)
{
    Runtime manta(run);
    const size_t bytes = run.quick ? 1 << 20 : 64 << 20;
    const std::vector<char> data(bytes, 1);
    std::vector<double> views;
    run.rounds(run.size(10), 1, [&] { manta_release(manta_put(data.data(), bytes)); });
    const double ns = run.rows()[0].value;
    run.value(static_cast<double>(bytes) / ns);

    // Reading it copies nothing.
    const manta_ref_t ref = manta_put(data.data(), bytes);
    for (int i = 0; i < 1000; i++) {
        const double start = bench::now_ns();
        manta_view_t view;
        manta.check(manta_get(ref, &view, MANTA_FOREVER));
        manta_view_release(&view);
        views.push_back(bench::now_ns() - start);
    }
    manta_release(ref);
    run.also({"-view", "ns", bench::Better::lower, bench::median(views)});
}

// Two actors that answer each other; an item is a call and its answer.
void actor_rtt(Run &run)
{
    Runtime manta(run);
    const size_t n = run.size(200000);
    const sink_t a = sink_new(), b = sink_new();
    run.each(n, 2 * n + 1, [&] {
        const manta_ref_t done = manta_promise_create(0);
        manta.check(sink_bounce_go(a, b, 2 * n, done));
        manta.sleep_for(done);
    });
    manta.check(sink_destroy(a));
    manta.check(sink_destroy(b));
}

// The main thread calls and waits for the result.
void actor_ask(Run &run)
{
    Runtime manta(run);
    const sink_t a = sink_new();
    run.rounds(run.size(200), 1000, [&] {
        const manta_ref_t ref = sink_ask(a, 1);
        uint64_t y;
        manta.check(manta_read(ref, &y, sizeof y, MANTA_FOREVER));
        manta_release(ref);
    });
    manta.check(sink_destroy(a));
}

// Calls without a result, one after another; the last one is waited for.
void actor_oneway(Run &run)
{
    Runtime manta(run);
    const size_t n = run.size(500000);
    const sink_t a = sink_new();
    run.each(n, n, [&] {
        for (size_t i = 1; i < n; i++)
            manta.check(sink_take_go(a, i));
        manta.sleep_for(sink_take(a, 0));
    });
    manta.check(sink_destroy(a));
}

// The same with a result to hold for each.
template <typename F> void pipelined(Run &run, Runtime &manta, F &&call)
{
    const size_t n = run.size(200000);
    std::vector<manta_ref_t> refs(n);
    run.each(n, n, [&] {
        for (size_t i = 0; i < n; i++)
            refs[i] = call(i);
        for (const manta_ref_t ref : refs)
            manta.finish(ref);
    });
}

void actor_pipelined(Run &run)
{
    Runtime manta(run);
    const sink_t a = sink_new();
    pipelined(run, manta, [&](size_t i) { return sink_ask(a, i); });
    manta.check(sink_destroy(a));
}

// What a plain task costs in their place.
void task_pipelined(Run &run)
{
    Runtime manta(run);
    pipelined(run, manta, [](size_t i) { return echo_remote(i); });
}

constexpr size_t kSenders = 8;

// Eight actors send to one.
void actor_fanin(Run &run)
{
    Runtime manta(run);
    const size_t n = run.size(50000);
    const sink_t a = sink_new();
    sink_t senders[kSenders];
    for (sink_t &sender : senders)
        sender = sink_new();
    run.each(n * kSenders, (n + 1) * kSenders, [&] {
        for (const sink_t sender : senders)
            manta.check(sink_feed_go(sender, a, n));
        manta.drain();
    });
    for (const sink_t sender : senders)
        manta.check(sink_destroy(sender));
    manta.check(sink_destroy(a));
}

// Makes an actor, calls it once, lets it go.
void actor_spawn(Run &run)
{
    Runtime manta(run);
    const size_t n = run.size(100000);
    run.each(n, n, [&] {
        for (size_t i = 0; i < n; i++) {
            const sink_t a = sink_new();
            manta.check(sink_take_go(a, i));
            manta.check(sink_destroy(a));
        }
        manta.drain();
    });
}

void start_stop(Run &run)
{
    manta_runtime_options_t options;
    manta_runtime_options_init(&options);
    options.workers = run.workers;
    const auto once = [&] {
        manta_runtime_t runtime;
        if (manta_runtime_create(&options, &runtime) != MANTA_OK ||
            manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_DRAIN, MANTA_FOREVER) != MANTA_OK)
            run.fail(manta_error_message());
    };
    run.first_and_rounds(run.size(20), once);
}

// Cancel of tasks that wait for a gate, one by one.
void cancel(Run &run)
{
    Runtime manta(run);
    const size_t n = run.size(100000);
    std::vector<manta_ref_t> refs(n);
    for (int round = 0; round < 2; round++) { // the first to warm up
        const manta::ref<uint64_t> gate = manta_promise_create(MANTA_DTYPE(MANTA_U64, 8));
        for (size_t i = 0; i < n; i++)
            refs[i] = successor_remote(gate);
        const double start = bench::now_ns();
        for (size_t i = 0; i < n; i++)
            manta.check(manta_cancel(refs[i]));
        run.value((bench::now_ns() - start) / static_cast<double>(n));
        for (size_t i = 0; i < n; i++)
            manta_release(refs[i]);
        manta_release(gate);
        manta.drain();
    }
}

// A failing root with many dependents, until the last of them has failed.
void fail_fanout(Run &run)
{
    Runtime manta(run);
    const size_t n = run.size(100000);
    std::vector<manta_ref_t> refs(n);
    for (int round = 0; round < 2; round++) { // the first to warm up
        const manta::ref<uint64_t> gate = manta_promise_create(MANTA_DTYPE(MANTA_U64, 8));
        for (size_t i = 0; i < n; i++)
            refs[i] = successor_remote(gate);
        const double start = bench::now_ns();
        manta.check(manta_promise_fail(gate, MANTA_ERR_USER, "gone"));
        run.value((bench::now_ns() - start) / static_cast<double>(n));
        for (size_t i = 0; i < n; i++)
            manta_release(refs[i]);
        manta_release(gate);
        manta.drain();
    }
}

} // namespace

void bench::register_scenarios()
{
    const auto at = [](int workers, const char *name, const char *unit, void (*run)(Run &)) {
        Scenario scenario{name, unit, run, ""};
        scenario.workers = {workers};
        add(scenario);
    };
    add({"independent", "ns/task", independent, ""});
    add({"bulk", "ns/task", bulk, ""});
    add({"bulk-auto", "ns/item", bulk_auto, ""});
    add({"chain", "ns/task", chain, ""});
    add({"fan", "ns/task", fan, ""});
    add({"fan-refs", "ns/task", fan_refs, ""});
    add({"wavefront", "ns/task", wavefront, ""});
    add({"fib30", "ns/spawn", fib30, ""});
    add({"cancel", "ns/task", cancel, ""});
    add({"fail-fanout", "ns/task", fail_fanout, ""});
    add({"latency-inline", "ns", latency_inline, ""});
    at(1, "latency-cross", "ns", latency_cross);
    at(1, "latency-blocking", "ns", latency_blocking);
    at(1, "latency-parked", "ns", latency_parked);
    at(1, "latency-parked-2ms", "ns", latency_parked_2ms);
    at(2, "idle", "ticks", idle);
    at(1, "memory", "bytes/task", memory);
    at(1, "put-get", "ns", put_get);
    Scenario large{"put-get-large", "GB/s", put_get_large, ""};
    large.better = Better::higher;
    large.workers = {1};
    add(large);
    add({"start-stop", "us", start_stop, ""});
    add({"actor-rtt", "ns/round", actor_rtt, ""});
    add({"actor-ask", "ns/call", actor_ask, ""});
    add({"actor-oneway", "ns/call", actor_oneway, ""});
    add({"actor-pipelined", "ns/call", actor_pipelined, ""});
    add({"task-pipelined", "ns/task", task_pipelined, ""});
    add({"actor-fanin", "ns/call", actor_fanin, ""});
    add({"actor-spawn", "ns/actor", actor_spawn, ""});
}
