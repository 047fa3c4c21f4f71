// CAF, the C++ Actor Framework, with all defaults but the number of threads. What manta's actors are
// compared to; the scenarios are those of bench_manta.cc.
#include "harness.h"

#include <caf/all.hpp>

#include <future>

namespace
{

using bench::Run;
using bench::tick;

class System
{
  public:
    explicit System(Run &run) : config_(make(run)), system_(config_) {}
    caf::actor_system &get() { return system_; }

  private:
    static caf::actor_system_config &configured(caf::actor_system_config &config, const Run &run)
    {
        // The name of the option up to 0.17, and from 0.18 on.
        config.set("scheduler.max-threads", static_cast<int64_t>(run.workers));
        config.set("caf.scheduler.max-threads", static_cast<int64_t>(run.workers));
        return config;
    }
    caf::actor_system_config &make(const Run &run) { return configured(storage_, run); }

    caf::actor_system_config storage_;
    caf::actor_system_config &config_;
    caf::actor_system system_;
};

using take = caf::atom_constant<caf::atom("take")>;
using ask = caf::atom_constant<caf::atom("ask")>;
using bounce = caf::atom_constant<caf::atom("bounce")>;
using feed = caf::atom_constant<caf::atom("feed")>;
using sync = caf::atom_constant<caf::atom("sync")>;

struct State {
    uint64_t seen = 0;
};

// What a pass waits for: its last body fulfils it.
std::promise<void> *g_done;
std::atomic<uint64_t> g_left;

caf::behavior sink(caf::stateful_actor<State> *self)
{
    return {
        [=](take, uint64_t x) {
            tick();
            self->state.seen += x;
            if (g_left.fetch_sub(1, std::memory_order_acq_rel) == 1) g_done->set_value();
        },
        [=](ask, uint64_t x) {
            tick();
            return self->state.seen + x;
        },
        [=](bounce, const caf::actor &other, uint64_t left) {
            tick();
            if (left) {
                self->send(other, bounce::value, caf::actor_cast<caf::actor>(self), left - 1);
            } else {
                g_done->set_value();
            }
        },
        [=](feed, const caf::actor &to, uint64_t n) {
            tick();
            for (uint64_t i = 0; i < n; i++)
                self->send(to, take::value, i);
        },
    };
}

// Runs |begin|, which causes |takes| bodies that count, and waits for the last one.
template <class F> void pass(uint64_t takes, F begin)
{
    std::promise<void> done;
    g_done = &done;
    g_left = takes;
    begin();
    done.get_future().wait();
}

void actor_rtt(Run &run)
{
    System caf(run);
    const size_t n = run.size(200000);
    const caf::actor a = caf.get().spawn(sink), b = caf.get().spawn(sink);
    run.each(n, 2 * n + 1, [&] {
        pass(0, [&] { caf::anon_send(a, bounce::value, b, static_cast<uint64_t>(2 * n)); });
    });
    caf::anon_send_exit(a, caf::exit_reason::user_shutdown);
    caf::anon_send_exit(b, caf::exit_reason::user_shutdown);
}

void actor_ask(Run &run)
{
    System caf(run);
    {
        const caf::actor a = caf.get().spawn(sink);
        caf::scoped_actor self(caf.get());
        run.rounds(run.size(200), 1000, [&] {
            self->request(a, caf::infinite, ask::value, uint64_t{1})
                .receive([](uint64_t) {}, [&](const caf::error &) { run.fail("an ask failed"); });
        });
        caf::anon_send_exit(a, caf::exit_reason::user_shutdown);
    }
}

void actor_oneway(Run &run)
{
    System caf(run);
    const size_t n = run.size(500000);
    const caf::actor a = caf.get().spawn(sink);
    {
        caf::scoped_actor self(caf.get());
        run.each(n, n, [&] {
            pass(n, [&] {
                for (size_t i = 0; i < n; i++)
                    self->send(a, take::value, static_cast<uint64_t>(i));
            });
        });
    }
    caf::anon_send_exit(a, caf::exit_reason::user_shutdown);
}

constexpr size_t kSenders = 8;

void actor_fanin(Run &run)
{
    System caf(run);
    const size_t n = run.size(50000);
    const caf::actor a = caf.get().spawn(sink);
    std::vector<caf::actor> senders;
    for (size_t i = 0; i < kSenders; i++)
        senders.push_back(caf.get().spawn(sink));
    run.each(n * kSenders, (n + 1) * kSenders, [&] {
        pass(n * kSenders, [&] {
            for (const caf::actor &sender : senders)
                caf::anon_send(sender, feed::value, a, static_cast<uint64_t>(n));
        });
    });
    for (const caf::actor &sender : senders)
        caf::anon_send_exit(sender, caf::exit_reason::user_shutdown);
    caf::anon_send_exit(a, caf::exit_reason::user_shutdown);
}

// An actor whose last handle goes ends when it has handled what was sent.
void actor_spawn(Run &run)
{
    System caf(run);
    const size_t n = run.size(100000);
    run.each(n, n, [&] {
        pass(n, [&] {
            for (size_t i = 0; i < n; i++)
                caf::anon_send(caf.get().spawn(sink), take::value, static_cast<uint64_t>(i));
        });
        caf.get().await_all_actors_done();
    });
}

} // namespace

void bench::register_scenarios()
{
    add({"actor-rtt", "ns/round", actor_rtt, ""});
    add({"actor-ask", "ns/call", actor_ask, ""});
    add({"actor-oneway", "ns/call", actor_oneway, ""});
    add({"actor-fanin", "ns/call", actor_fanin, ""});
    add({"actor-spawn", "ns/actor", actor_spawn, ""});
}
