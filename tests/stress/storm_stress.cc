// Everything at once: threads that come and go, submit, cancel, retain, release, wait, watch, while
// runtimes start and shut down.
//
// Invariants: a body runs at most once per task; a callback and a deleter exactly once; nothing but the
// documented codes comes back; shutdown ends, in both modes.
#include "stress/stress.h"

#include <memory>
#include <mutex>

using namespace stress;

namespace
{

std::atomic<int64_t> callbacks_due{0}, deleters_due{0};
std::atomic<uint64_t> accepted{0}, ran{0};

bool is_known(manta_status_t status)
{
    switch (status) {
    case MANTA_OK:
    case MANTA_NOT_READY:
    case MANTA_ERR_STALE_REF:
    case MANTA_ERR_CANCELLED:
    case MANTA_ERR_WAIT_CANCELLED:
    case MANTA_ERR_SHUTDOWN:
    case MANTA_ERR_ABANDONED:
    case MANTA_ERR_ALREADY_EXISTS:
    case MANTA_ERR_INVALID_ARGUMENT:
    case MANTA_ERR_USER + 1:
    case MANTA_ERR_USER + 2:
        return true;
    default:
        std::fprintf(stderr, "status %s\n", manta_status_name(status));
        return false;
    }
}

struct Args {
    uint64_t seed;
    std::atomic<uint32_t> *runs;
};
manta_status_t body(const manta_call_t *call);
manta_status_t sizes(const manta_call_t *, size_t *out)
{
    out[0] = 8;
    return MANTA_OK;
}
const manta_param_t plain_params[] = {
    {"args", "Args", MANTA_PARAM_VAL, MANTA_DTYPE(MANTA_OPAQUE, sizeof(Args)), sizeof(Args), 8, 0},
    {"out", "u64", MANTA_PARAM_OUT, MANTA_DTYPE(MANTA_U64, 8), 8, 8, 0},
};
const manta_param_t after_params[] = {
    plain_params[0],
    {"in", "u64", MANTA_PARAM_IN, MANTA_DTYPE(MANTA_U64, 8), 8, 8, 16},
    {"in2", "u64", MANTA_PARAM_IN, MANTA_DTYPE(MANTA_U64, 8), 8, 8, 24},
    {"out", "u64", MANTA_PARAM_OUT, MANTA_DTYPE(MANTA_U64, 8), 8, 8, 0},
};
const manta_variant_t variant = {body, sizes};
manta_task_def_t plain_def = {"plain", plain_params, 2, 16, &variant, nullptr, 0, nullptr, nullptr};
manta_task_def_t after_def = {"after", after_params, 4, 32, &variant, nullptr, 0, nullptr, nullptr};

manta_status_t body(const manta_call_t *call)
{
    const Args *args = static_cast<const Args *>(call->args);
    CHECK_EQ(args->runs->fetch_add(1), 0u);
    ran++;
    bool after = manta_task_name(call->task)[0] == 'a';
    *static_cast<uint64_t *>(call->buffers[after ? 2 : 0].data) = args->seed;
    switch (args->seed % 16) {
    case 0:
        return manta_fail(call->task, MANTA_ERR_USER + 1, "as told");
    case 1:
        for (int i = 0; i < 20 && !manta_cancelled(call->task); i++)
            std::this_thread::yield();
        break;
    case 2: {
        manta_scope_t scope;
        manta_scope_enter(&scope);
        std::atomic<uint32_t> runs{0}; // waited for below, or it never runs
        struct {
            Args args;
        } image{{mix(args->seed) / 16 * 16 + 5, &runs}};
        manta_ref_t child;
        manta_submit_call(&plain_def, nullptr, &image, sizeof image, &child, 1);
        uint64_t value;
        manta_status_t status = manta_read(child, &value, sizeof value, MANTA_FOREVER);
        CHECK(is_known(status));
        while (manta_ref_status(child) == MANTA_NOT_READY) // the wait was cancelled
            std::this_thread::yield();
        if (runs == 0 && manta_ref_status(child) == MANTA_OK) CHECK(false);
        manta_scope_leave(&scope);
        break;
    }
    default:
        break;
    }
    return MANTA_OK;
}

// Refs that several threads use; each stands for one count that its taker owns.
struct Pool {
    std::mutex lock;
    std::vector<manta_ref_t> refs;
    void give(manta_ref_t ref)
    {
        std::lock_guard<std::mutex> guard(lock);
        refs.push_back(ref);
    }
    manta_ref_t take(Rng &rng)
    {
        std::lock_guard<std::mutex> guard(lock);
        if (refs.empty()) return manta_ref_t{0};
        size_t i = rng.below(refs.size());
        manta_ref_t ref = refs[i];
        refs[i] = refs.back();
        refs.pop_back();
        return ref;
    }
};

struct Storm {
    manta_runtime_t rt;
    Pool pool;
    std::mutex lock;
    std::vector<std::unique_ptr<std::atomic<uint32_t>>> counters;
    manta_cq_t cq{};
    std::atomic<bool> over{false};

    std::atomic<uint32_t> *counter()
    {
        std::lock_guard<std::mutex> guard(lock);
        counters.emplace_back(new std::atomic<uint32_t>(0));
        return counters.back().get();
    }
};

void on_ready(manta_ref_t, manta_status_t status, void *)
{
    CHECK(is_known(status));
    callbacks_due--;
}

void deleter(void *data, size_t, void *)
{
    std::free(data);
    deleters_due--;
}

void act(Storm &storm, Rng &rng)
{
    manta_ref_t ref = storm.pool.take(rng);
    bool have = ref.id != 0;
    switch (rng.below(18)) {
    case 0:
    case 1:
    case 2:
    case 3: {
        Args args{rng.next(), storm.counter()};
        manta_ref_t out;
        manta_submit_call(&plain_def, nullptr, &args, sizeof args, &out, 1);
        if (manta_ref_status(out) != MANTA_ERR_SHUTDOWN) accepted++;
        storm.pool.give(out);
        break;
    }
    case 4:
    case 5: {
        manta_ref_t other = storm.pool.take(rng);
        struct {
            Args args;
            manta_ref_t in[2];
        } image{{rng.next(), storm.counter()}, {ref, other}};
        if (have && other.id) {
            manta_ref_t out;
            manta_submit_call(&after_def, nullptr, &image, sizeof image, &out, 1);
            storm.pool.give(out);
        }
        if (other.id) storm.pool.give(other);
        break;
    }
    case 6:
        if (have) CHECK(is_known(manta_cancel(ref)));
        break;
    case 7:
        if (have) {
            manta_ref_t again = manta_retain(ref);
            if (again.id == ref.id) storm.pool.give(again);
        }
        break;
    case 8:
    case 9:
    case 10:
    case 11:
        if (have) CHECK(is_known(manta_release(ref)));
        have = false;
        break;
    case 12:
        if (have) {
            callbacks_due++;
            manta_status_t status = manta_on_ready(ref, on_ready, nullptr);
            CHECK(is_known(status));
            if (status != MANTA_OK) callbacks_due--;
        }
        break;
    case 13: {
        if (have) CHECK(is_known(manta_cq_add(storm.cq, ref, rng.next())));
        manta_cq_entry_t entries[4];
        size_t n;
        CHECK(is_known(
            manta_cq_next(storm.cq, entries, 4, &n, (int64_t)rng.below(2) * MANTA_US(20))));
        break;
    }
    case 14: {
        manta_ref_t promise = manta_promise_create(MANTA_DTYPE(MANTA_U64, 8));
        manta_ref_t again = manta_retain(promise);
        if (manta_ref_status(again) != MANTA_NOT_READY) break; // shut down
        storm.pool.give(again);
        if (rng.one_in(3)) std::this_thread::yield();
        uint64_t value = 1;
        switch (rng.below(4)) {
        case 0:
            CHECK(is_known(manta_promise_set(promise, &value, sizeof value)));
            break;
        case 1:
            CHECK(is_known(manta_promise_fail(promise, MANTA_ERR_USER + 2, "broken")));
            break;
        case 2:
            if (have) {
                manta_status_t status = manta_promise_forward(promise, ref);
                if (status == MANTA_OK) break;
            }
            // fall through
        default:
            CHECK(is_known(manta_abandon(promise, MANTA_ERR_ABANDONED)));
            break;
        }
        CHECK(is_known(manta_release(promise)));
        break;
    }
    case 15: {
        void *data = std::malloc(64);
        deleters_due++;
        manta_ref_t wrapped = manta_wrap(data, 64, MANTA_DTYPE(MANTA_U64, 8), deleter, nullptr);
        manta_status_t status = manta_ref_status(wrapped);
        if (status == MANTA_ERR_SHUTDOWN) {
            std::free(data);
            deleters_due--;
        } else {
            CHECK(is_known(status));
            storm.pool.give(wrapped);
        }
        break;
    }
    case 16:
        if (have) {
            manta_ref_t refs[2] = {ref, ref};
            CHECK(is_known(manta_wait(refs, 2, rng.below(3), MANTA_US(30), nullptr, nullptr)));
        }
        break;
    default:
        if (have) {
            manta_view_t view;
            manta_status_t status = manta_get(ref, &view, (int64_t)rng.below(2) * MANTA_US(50));
            CHECK(is_known(status));
            if (status == MANTA_OK) manta_view_release(&view);
        }
        break;
    }
    if (have) storm.pool.give(ref);
}

void storm_once(uint64_t round)
{
    Storm storm;
    Rng rng(round * 1000);
    init(1 + (int)(round % 8), rng.one_in(3) ? 1 + (int)(round % 8) : 0);
    storm.rt = manta_runtime_default();
    CHECK_EQ(manta_cq_create(&storm.cq), MANTA_OK);
    bool racing = rng.one_in(2); // threads go on through the shutdown
    std::atomic<int> generation{0};
    std::vector<std::thread> drivers;
    for (int d = 0; d < 3; d++) {
        drivers.emplace_back([&, d] {
            for (int g = 0; !storm.over; g++) {
                std::thread([&, d, g] { // short-lived: contexts are used again
                    Rng own(round * 1000 + (uint64_t)(d * 100 + g) + 1);
                    for (uint64_t i = 50 + own.below(300); i > 0 && !storm.over; i--)
                        act(storm, own);
                    generation++;
                })
                    .join();
            }
        });
    }
    uint64_t target = 3 + rng.below(12);
    while ((uint64_t)generation < target)
        std::this_thread::yield();
    if (!racing) {
        storm.over = true;
        for (std::thread &driver : drivers)
            driver.join();
    }
    manta_shutdown_mode_t mode = rng.one_in(2) ? MANTA_SHUTDOWN_DRAIN : MANTA_SHUTDOWN_CANCEL;
    std::thread second;
    if (rng.one_in(2)) {
        second = std::thread([&] {
            manta_status_t status = manta_runtime_shutdown(storm.rt, mode, MANTA_FOREVER);
            CHECK(status == MANTA_OK || status == MANTA_ERR_STALE_REF);
        });
    }
    manta_status_t status = manta_runtime_shutdown(storm.rt, mode, MANTA_FOREVER);
    CHECK(status == MANTA_OK || (second.joinable() && status == MANTA_ERR_STALE_REF));
    if (second.joinable()) second.join();
    if (racing) {
        storm.over = true;
        for (std::thread &driver : drivers)
            driver.join();
    }
    CHECK_EQ(manta_cq_destroy(storm.cq), MANTA_OK);
    // What the threads started again behind our back.
    CHECK_EQ(manta_shutdown(MANTA_FOREVER), MANTA_OK);
    CHECK_EQ(callbacks_due.load(), 0);
    CHECK_EQ(deleters_due.load(), 0);
}

} // namespace

int main(int argc, char **argv)
{
    begin(argc, argv, 120);
    uint64_t rounds = times(50, 6);
    for (uint64_t round = 1; round <= rounds; round++)
        storm_once(round);
    std::printf("%llu tasks accepted, %llu ran\n", (unsigned long long)accepted.load(),
                (unsigned long long)ran.load());
    return 0;
}
