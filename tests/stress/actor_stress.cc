// Actors: many callers, many actors, while calls are cancelled and actors are killed and restarted.
//
// Invariants. A call whose ref is OK ran. Per caller (a thread, or an actor that relays) and actor, calls
// that run do so in the order in which they were made, but for those that were retried. In the quiet rounds,
// where nothing is killed or cancelled, each call runs exactly once, all of them in order. Every
// constructor that ran has its destructor at the end, every ref gets ready, nothing is left.
#include "stress/stress.h"

using namespace stress;

namespace
{

constexpr int kCallers = 6, kActors = 5;
std::atomic<long> constructed, destroyed, ran;
std::atomic<long> inside[kActors];
std::atomic<uint64_t> relayed[kActors];
std::atomic<bool> with_priorities;

// Some calls have one: an order is promised all the same.
manta_task_options_t options_of(uint64_t number)
{
    int priority = with_priorities && number % 3 ? (int)(number * 7 % 4) - 1 : 0;
    return MANTA_OPTIONS(.priority = (manta_priority_t)priority);
}

} // namespace

// A drain waits for calls. An actor that was killed in the middle of a restart ends a moment later; if it
// does not, or something is left, this hangs, and the watchdog says so.
static void await_end()
{
    for (;;) {
        manta_stats_t stats{};
        stats.struct_size = sizeof stats;
        CHECK_EQ(manta_runtime_stats({0}, &stats), MANTA_OK);
        if (constructed.load() == destroyed.load() && stats.live_refs == 0 &&
            stats.submitted == stats.completed) {
            return;
        }
        std::this_thread::yield();
    }
}

struct station {
    int index;
    uint64_t last[kCallers + kActors]; // number of the last call, by caller
    std::atomic<bool> *in_order;
};
MANTA_ACTOR(station, struct station, MANTA_VAL(int, index),
            MANTA_LOCAL(std::atomic<bool> *, in_order))
{
    self->index = index;
    self->in_order = in_order;
    constructed++;
    return MANTA_OK;
}
MANTA_ACTOR_END(station)
{
    if (self->index >= 0) CHECK_EQ(inside[self->index].load(), 0);
    destroyed++;
}
MANTA_METHOD(station, call, MANTA_VAL(int, caller), MANTA_VAL(uint64_t, number), MANTA_IN(int, x),
             MANTA_OUT(uint64_t, y, 1))
{
    if (self->index >= 0) CHECK_EQ(inside[self->index]++, 0); // one at a time
    if (manta_attempt(task) == 0) {
        if (number <= self->last[caller]) *self->in_order = false;
        self->last[caller] = number;
    }
    y[0] = number + (uint64_t)x[0];
    ran++;
    if (self->index >= 0) inside[self->index]--;
    return MANTA_OK;
}
MANTA_METHOD(station, fatal)
{
    (void)self;
    return MANTA_ACTOR_FATAL;
}
// Calls another one and waits for it; gives what that gives, less its number.
MANTA_METHOD(station, relay, MANTA_VAL(station_t, to), MANTA_IN(int, x), MANTA_OUT(uint64_t, y, 1))
{
    MANTA_SCOPE();
    uint64_t value = 0, number = ++relayed[self->index];
    manta_ref_t r = station_call_with(to, options_of(number), kCallers + self->index, number,
                                      manta_put(x.data, sizeof(int)));
    manta_status_t status = manta_read(r, &value, sizeof value, MANTA_FOREVER);
    y[0] = value - number;
    return status;
}

MANTA_TASK(as_slow, MANTA_VAL(int, x), MANTA_VAL(int, spins), MANTA_OUT(int, y, 1))
{
    for (volatile int i = 0; i < spins; i++) {
    }
    y[0] = x;
    return MANTA_OK;
}

namespace
{

bool expected(manta_status_t status, bool noisy)
{
    if (status == MANTA_OK) return true;
    return noisy && (status == MANTA_ERR_ACTOR_DIED || status == MANTA_ERR_ACTOR_RESTARTING ||
                     status == MANTA_ERR_CANCELLED);
}

void caller(int c, station_t *stations, uint64_t calls, bool noisy, uint64_t stream)
{
    Rng rng(stream);
    struct Open {
        manta_ref_t ref;
        uint64_t value;
    };
    std::vector<Open> open;
    manta_ref_t promise = {0};
    int promised = 0;
    auto check = [&](size_t k) {
        uint64_t y = 0;
        manta_status_t status = manta_read(open[k].ref, &y, sizeof y, MANTA_FOREVER);
        CHECK(expected(status, noisy));
        if (status == MANTA_OK) CHECK_EQ(y, open[k].value);
        CHECK_EQ(manta_release(open[k].ref), MANTA_OK);
        open[k] = open.back();
        open.pop_back();
    };
    auto fulfil = [&] {
        if (!promise.id) return;
        CHECK_EQ(manta_promise_set(promise, &promised, sizeof promised), MANTA_OK);
        CHECK_EQ(manta_release(promise), MANTA_OK);
        promise.id = 0;
    };
    for (uint64_t number = 1; number <= calls; number++) {
        station_t to = stations[rng.below(kActors)];
        manta_ref_t x;
        int value = (int)rng.below(1000);
        switch (rng.below(8)) {
        case 0:
            if (!promise.id) {
                promise = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
                promised = value;
            }
            x = manta_retain(promise);
            value = promised;
            break;
        case 1:
            x = as_slow_remote(value, (int)rng.below(3000));
            break;
        default:
            x = manta_put(&value, sizeof value);
        }
        // Relays go to stations further on only, so that they never wait for each other.
        uint64_t from = rng.below(kActors - 1), beyond = from + 1 + rng.below(kActors - 1 - from);
        bool relays = rng.one_in(8);
        bool plain = options_of(number).priority == MANTA_PRIORITY_NORMAL;
        manta_ref_t r = relays ? manta_ref_t(station_relay(stations[from], stations[beyond], x))
                        : plain
                            ? manta_ref_t(station_call(to, c, number, x))
                            : manta_ref_t(station_call_with(to, options_of(number), c, number, x));
        CHECK_EQ(manta_release(x), MANTA_OK);
        if (noisy && rng.one_in(20)) CHECK_EQ(manta_cancel(r), MANTA_OK);
        open.push_back({r, (relays ? 0 : number) + (uint64_t)value});
        if (rng.one_in(6)) fulfil();
        if (open.size() > 64 || (!promise.id && rng.one_in(10))) {
            fulfil();
            while (open.size() > 8)
                check(rng.below(open.size()));
        }
    }
    fulfil();
    while (!open.empty())
        check(open.size() - 1);
}

void round(int n, bool noisy, int workers)
{
    init(workers);
    with_priorities = n >= 4;
    constructed = destroyed = ran = 0;
    std::atomic<bool> in_order{true}, stop{false};
    uint64_t calls = times(10000, 50);
    station_t stations[kActors];
    for (int i = 0; i < kActors; i++) {
        manta_actor_options_t options = MANTA_ACTOR_OPTIONS(.max_restarts = MANTA_UNLIMITED);
        if (i % 2) options.max_task_retries = 2;
        stations[i] = station_create(options, i, &in_order);
    }
    std::thread killer([&] {
        Rng rng((uint64_t)n * 1000 + 999);
        while (noisy && !stop) {
            station_t victim = stations[rng.below(kActors)];
            if (rng.one_in(2)) {
                CHECK_EQ(manta_actor_kill(victim.actor, true), MANTA_OK);
            } else {
                manta_status_t status = station_fatal_go(victim);
                CHECK(expected(status, true));
            }
            std::this_thread::sleep_for(std::chrono::microseconds(rng.below(500)));
        }
    });
    on_threads(kCallers, [&](int t) {
        caller(t, stations, calls, noisy, (uint64_t)n * 100 + (uint64_t)t + 1);
    });
    stop = true;
    killer.join();
    CHECK(in_order);
    if (!noisy) CHECK_EQ((uint64_t)ran.load(), calls * kCallers); // a relayed one once, too
    for (station_t &station : stations)
        CHECK_EQ(station_destroy(station), MANTA_OK);
    CHECK_EQ(manta_drain(MANTA_FOREVER), MANTA_OK);
    await_end();
    CHECK_EQ(manta_shutdown(MANTA_FOREVER), MANTA_OK);
    std::printf("round %d: %ld constructed, %ld calls ran\n", n, constructed.load(), ran.load());
}

// Short-lived actors: made, called, let go by several threads; named ones met by all of them.
void churn(int workers)
{
    init(workers);
    constructed = destroyed = ran = 0;
    std::atomic<bool> in_order{true};
    std::atomic<long> calls{0};
    on_threads(4, [&](int t) {
        Rng rng((uint64_t)t + 7000);
        for (uint64_t i = 0; i < times(3000, 20); i++) {
            MANTA_SCOPE();
            bool named = rng.one_in(2);
            manta_actor_options_t options = MANTA_ACTOR_OPTIONS(.get_or_create = named);
            if (named) options.name = "met";
            station_t station = station_create(options, -1, &in_order);
            int x = 1;
            manta_ref_t v = manta_put(&x, sizeof x);
            int n = (int)rng.below(5);
            for (int k = 0; k < n; k++) {
                manta_ref_t r = station_call(station, t, i * 8 + (uint64_t)k + 1, v);
                manta_status_t status = manta_ref_status(r);
                if (status == MANTA_ERR_ACTOR_DIED) continue; // somebody killed the named one
                calls++;
            }
            if (rng.one_in(50)) CHECK_EQ(manta_actor_kill(station.actor, false), MANTA_OK);
        }
    });
    CHECK_EQ(manta_drain(MANTA_FOREVER), MANTA_OK);
    await_end();
    CHECK(ran <= calls);
    CHECK_EQ(manta_shutdown(MANTA_FOREVER), MANTA_OK);
    std::printf("churn: %ld actors, %ld calls ran\n", constructed.load(), ran.load());
}

} // namespace

int main(int argc, char **argv)
{
    begin(argc, argv, 60);
    for (int i = 0; i < 8; i++)
        round(i, i % 2 == 1, 1 + i / 2 % 2);
    churn(2);
    return 0;
}
