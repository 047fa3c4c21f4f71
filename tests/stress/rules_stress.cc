// All rules at once: random trees of tasks with deadlines, run timeouts, attempts, priorities, resources and
// accepted failures, cancelled from other threads, in runtimes that are bounded and shut down.
//
// Invariants: everything ends; only documented codes come back; what a resource admits at once is never more
// than there is, but for what was lent; afterwards nothing is held: no ref, no byte, all of each resource.
#include "stress/stress.h"

#include <mutex>

using namespace stress;

namespace
{

constexpr int kTokens = 3;

bool is_known(manta_status_t status)
{
    switch (status) {
    case MANTA_OK:
    case MANTA_ERR_CANCELLED:
    case MANTA_ERR_WAIT_CANCELLED:
    case MANTA_ERR_DEADLINE:
    case MANTA_ERR_TIMEOUT:
    case MANTA_ERR_OUT_OF_MEMORY: // a hold and wait that could not end
    case MANTA_ERR_SHUTDOWN:
    case MANTA_ERR_ABANDONED:
    case MANTA_ERR_DEADLOCK:
    case MANTA_ERR_END:
    case MANTA_ERR_USER + 1:
        return true;
    default:
        std::fprintf(stderr, "status %s: %s\n", manta_status_name(status), manta_error_message());
        return false;
    }
}

struct World {
    std::atomic<int> holding{0}; // tokens held by bodies that are not inside a wait
    std::atomic<uint64_t> bodies{0};
};

struct Args {
    World *world;
    uint64_t seed;
    uint32_t depth, tokens;
};

manta_task_options_t random_options(Rng &rng, uint32_t *out_tokens)
{
    manta_task_options_t o = {};
    o.struct_size = sizeof o;
    *out_tokens = 0;
    if (rng.one_in(3)) o.priority = (manta_priority_t)((int)rng.below(4) - 1);
    if (rng.one_in(6)) o.deadline_ns = (int64_t)rng.below(3000000) + 1;
    if (rng.one_in(6)) o.run_timeout_ns = (int64_t)rng.below(500000) + 1;
    if (rng.one_in(3)) {
        o.max_retries = (int32_t)rng.below(4);
        if (rng.one_in(2)) o.backoff_ns = (int64_t)rng.below(100000) + 1;
    }
    if (rng.one_in(3)) {
        *out_tokens = 1 + (uint32_t)rng.below(kTokens);
        o.resources[0] = manta_resource("token", *out_tokens);
    }
    if (rng.one_in(8)) o.host_bytes = 1 + rng.below(1000);
    if (rng.one_in(4)) o.accept_failed = MANTA_ACCEPT_ALL;
    if (rng.one_in(8)) o.cpus = MANTA_NONE;
    return o;
}

} // namespace

MANTA_TASK(rs_node, MANTA_VAL(Args, a), MANTA_IN_LIST(uint64_t, in), MANTA_OUT(uint64_t, out, 1),
           MANTA_OUT(char, more, 40))
{
    Rng rng(a.seed + (uint64_t)manta_attempt(task) * 7919);
    a.world->bodies++;
    a.world->holding += (int)a.tokens;
    out.data[0] = 1;
    more.data[39] = 1;
    for (size_t i = 0; i < in.count; i++) {
        if (manta_arg_item_status(task, 1, i) == MANTA_OK) {
            CHECK_EQ(in.items[i].count, 1u);
            out.data[0] += in.items[i].data[0] & 1;
        } else {
            CHECK_EQ(in.items[i].count, 0u);
        }
    }
    for (uint64_t i = rng.below(200); i > 0 && !manta_cancelled(task); i--)
        (void)rng.next();
    a.world->holding -= (int)a.tokens;
    manta_status_t result = MANTA_OK;
    if (a.depth > 0) {
        MANTA_SCOPE();
        manta_ref_t children[3];
        size_t n = 1 + rng.below(3);
        for (size_t i = 0; i < n; i++) {
            Args child = {a.world, rng.next(), a.depth - 1, 0};
            manta_task_options_t options = random_options(rng, &child.tokens);
            rs_node_out_t made = rs_node_with(options, child, children, rng.one_in(2) ? i : 0);
            children[i] = made.out;
            CHECK(manta_ref_status(made.out) == MANTA_NOT_READY ||
                  is_known(manta_ref_status(made.out)));
        }
        if (rng.one_in(8)) (void)manta_cancel(children[rng.below(n)]);
        manta_status_t status = MANTA_OK;
        switch (rng.below(4)) {
        case 0:
            break; // leaves them alone
        case 1:
            status = manta_wait(children, n, 1, MANTA_FOREVER, NULL, NULL);
            break;
        case 2:
            status = manta_wait(children, n, n, (int64_t)rng.below(200000), NULL, NULL);
            break;
        default: {
            uint64_t value;
            status = manta_read(children[n - 1], &value, sizeof value, MANTA_FOREVER);
        }
        }
        CHECK(status == MANTA_NOT_READY || is_known(status));
        if (status == MANTA_ERR_WAIT_CANCELLED) {
            CHECK(manta_cancelled(task));
            result = status;
        }
    }
    if (rng.one_in(10)) return MANTA_ERR_USER + 1;
    return result;
}

namespace
{

struct Taken {
    std::mutex lock;
    std::vector<manta_ref_t> refs; // guarded by lock
};

manta_status_t step(manta_task_t *task, void *state)
{
    uint64_t n = ++*static_cast<uint64_t *>(state);
    if (n > 50) return MANTA_ERR_END;
    return manta_yield(task, &n, sizeof n);
}

void round(Rng &rng, int workers)
{
    World world = {};
    manta_runtime_options_t options;
    manta_runtime_options_init(&options);
    options.workers = workers;
    manta_resource_t tokens = manta_resource("token", kTokens);
    options.resources = &tokens;
    options.resource_count = 1;
    options.host_bytes = 1500;
    if (rng.one_in(2)) options.max_in_flight = 1 + rng.below(40);
    manta_runtime_t runtime;
    CHECK_EQ(manta_runtime_create(&options, &runtime), MANTA_OK);
    Taken taken;
    std::atomic<bool> stop{false};
    std::thread canceller([&] {
        Rng mine(the_seed + 99);
        while (!stop) {
            manta_ref_t ref = {0};
            {
                std::lock_guard<std::mutex> hold(taken.lock);
                if (!taken.refs.empty()) {
                    ref = manta_retain(taken.refs[mine.below(taken.refs.size())]);
                }
            }
            if (ref.id) {
                (void)manta_cancel(ref);
                (void)manta_release(ref);
            }
            std::this_thread::yield();
        }
    });
    std::vector<std::thread> threads;
    for (int k = 0; k < 2; k++) {
        threads.emplace_back([&, stream = rng.next()] {
            Rng mine(stream);
            for (uint64_t i = 0; i < 20; i++) {
                Args args = {&world, mine.next(), (uint32_t)mine.below(5), 0};
                manta_task_options_t o = random_options(mine, &args.tokens);
                o.runtime = runtime;
                rs_node_out_t made = rs_node_with(o, args, NULL, 0);
                (void)manta_release(made.more);
                CHECK(manta_ref_status(made.out) == MANTA_NOT_READY ||
                      is_known(manta_ref_status(made.out)));
                {
                    std::lock_guard<std::mutex> hold(taken.lock);
                    taken.refs.push_back(made.out);
                }
                if (mine.one_in(4)) {
                    uint64_t value;
                    CHECK(is_known(manta_read(made.out, &value, sizeof value, MANTA_FOREVER)));
                }
            }
        });
    }
    uint64_t state = 0;
    manta_task_options_t there = {};
    there.struct_size = sizeof there;
    there.runtime = runtime;
    manta_generator_desc_t desc = {};
    desc.struct_size = sizeof desc;
    desc.step = step;
    desc.state = &state;
    desc.dtype = MANTA_DTYPE(MANTA_U64, 8);
    desc.run_ahead = 1 + (uint32_t)rng.below(5);
    desc.options = &there;
    manta_generator_t generator;
    CHECK_EQ(manta_generator_create(&desc, &generator), MANTA_OK);
    for (uint64_t n = rng.below(60), at = 1; n > 0; n--, at++) {
        manta_ref_t ref;
        manta_status_t status = manta_generator_next(generator, &ref, MANTA_FOREVER);
        CHECK_EQ(status, at <= 50 ? MANTA_OK : MANTA_ERR_END);
        if (status != MANTA_OK) break;
        uint64_t value = 0;
        CHECK_EQ(manta_read(ref, &value, sizeof value, MANTA_FOREVER), MANTA_OK);
        CHECK_EQ(value, at);
        CHECK_EQ(manta_release(ref), MANTA_OK);
    }
    CHECK_EQ(manta_generator_release(generator), MANTA_OK);
    for (auto &thread : threads)
        thread.join();
    bool hard = rng.one_in(3);
    if (!hard) {
        for (manta_ref_t ref : taken.refs) {
            manta_view_t view = {};
            CHECK(is_known(manta_get(ref, &view, MANTA_FOREVER)));
            manta_view_release(&view);
        }
    }
    stop = true;
    canceller.join();
    for (manta_ref_t ref : taken.refs)
        (void)manta_release(ref);
    if (!hard) {
        CHECK_EQ(manta_runtime_drain(runtime, MANTA_FOREVER), MANTA_OK);
        // All of each resource is there again.
        Args all = {&world, 1, 0, kTokens};
        manta_task_options_t o = there;
        o.resources[0] = manta_resource("token", kTokens);
        o.host_bytes = 1500;
        rs_node_out_t made;
        manta_status_t status;
        do { // it may fail by itself
            made = rs_node_with(o, all, NULL, 0);
            all.seed++;
            manta_view_t view = {};
            status = manta_get(made.out, &view, MANTA_FOREVER);
            manta_view_release(&view);
            CHECK(status == MANTA_OK || status == MANTA_ERR_USER + 1);
            (void)manta_release(made.out);
            (void)manta_release(made.more);
        } while (status != MANTA_OK);
        CHECK_EQ(manta_runtime_drain(runtime, MANTA_FOREVER), MANTA_OK);
        manta_stats_t stats;
        stats.struct_size = sizeof stats;
        CHECK_EQ(manta_runtime_stats(runtime, &stats), MANTA_OK);
        CHECK_EQ(stats.live_refs, 0u);
        // Who failed a running task from outside may still hold its result for a moment.
        for (int i = 0; i < 1000000 && stats.live_bytes; i++) {
            std::this_thread::yield();
            CHECK_EQ(manta_runtime_stats(runtime, &stats), MANTA_OK);
        }
        CHECK_EQ(stats.live_bytes, 0u);
        CHECK_EQ(stats.submitted, stats.completed);
    }
    CHECK_EQ(manta_runtime_shutdown(runtime, hard ? MANTA_SHUTDOWN_CANCEL : MANTA_SHUTDOWN_DRAIN,
                                    MANTA_FOREVER),
             MANTA_OK);
    std::printf("workers %d, bound %llu, %s: %llu bodies\n", workers,
                (unsigned long long)options.max_in_flight, hard ? "cancelled" : "drained",
                (unsigned long long)world.bodies.load());
}

} // namespace

int main(int argc, char **argv)
{
    begin(argc, argv, 100);
    Rng rng(1);
    for (uint64_t i = 0, n = times(60, 6); i < n; i++)
        round(rng, 1 + (int)(i % 3));
    return 0;
}
