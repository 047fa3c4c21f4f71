// The checker itself: programs whose outcomes are known.
#include "model/checker.h"

#include <gtest/gtest.h>

using model::explore;
using model::Program;
using model::Result;

namespace
{

uint32_t x, y, z;
uint32_t r0, r1, r2, r3;
int data, seen;

template <int order> void store(uint32_t *at, uint32_t value)
{
    __atomic_store_n(at, value, order);
}
template <int order> uint32_t load(uint32_t *at)
{
    return __atomic_load_n(at, order);
}

void reset()
{
    x = y = z = r0 = r1 = r2 = r3 = 0;
    data = seen = 0;
}
void tell2()
{
    model::outcome(std::to_string(r0) + std::to_string(r1));
}
void tell4()
{
    model::outcome(std::to_string(r0) + std::to_string(r1) + std::to_string(r2) +
                   std::to_string(r3));
}
void tell_memory()
{
    model::outcome(std::to_string(x) + std::to_string(y));
}

Result run(std::vector<void (*)()> threads, void (*finish)())
{
    Program program;
    program.setup = reset;
    program.threads = std::move(threads);
    program.finish = finish;
    Result result = explore(program);
    EXPECT_TRUE(result.complete || !result.failure.empty());
    return result;
}

using Outcomes = std::set<std::string>;
enum {
    kRlx = __ATOMIC_RELAXED,
    kAcq = __ATOMIC_ACQUIRE,
    kRel = __ATOMIC_RELEASE,
    kSc = __ATOMIC_SEQ_CST
};

// ---- store buffering ----

template <int st, int ld> Result store_buffering()
{
    return run({[] {
                    store<st>(&x, 1);
                    r0 = load<ld>(&y);
                },
                [] {
                    store<st>(&y, 1);
                    r1 = load<ld>(&x);
                }},
               tell2);
}

TEST(LitmusTest, StoreBuffering)
{
    EXPECT_EQ((Outcomes{"00", "01", "10", "11"}), (store_buffering<kRlx, kRlx>().outcomes));
    EXPECT_EQ((Outcomes{"00", "01", "10", "11"}), (store_buffering<kRel, kAcq>().outcomes));
    EXPECT_EQ((Outcomes{"01", "10", "11"}), (store_buffering<kSc, kSc>().outcomes));
}

void fence()
{
    __atomic_thread_fence(kSc);
}

TEST(LitmusTest, StoreBufferingWithFences)
{
    Result both = run({[] {
                           store<kRlx>(&x, 1);
                           fence();
                           r0 = load<kRlx>(&y);
                       },
                       [] {
                           store<kRlx>(&y, 1);
                           fence();
                           r1 = load<kRlx>(&x);
                       }},
                      tell2);
    EXPECT_EQ((Outcomes{"01", "10", "11"}), both.outcomes);
    Result one = run({[] {
                          store<kRlx>(&x, 1);
                          fence();
                          r0 = load<kRlx>(&y);
                      },
                      [] {
                          store<kRlx>(&y, 1);
                          r1 = load<kRlx>(&x);
                      }},
                     tell2);
    EXPECT_EQ((Outcomes{"00", "01", "10", "11"}), one.outcomes);
}

// ---- message passing ----

template <int st, int ld> Result message_passing()
{
    return run({[] {
                    store<kRlx>(&x, 1);
                    store<st>(&y, 1);
                },
                [] {
                    r0 = load<ld>(&y);
                    r1 = load<kRlx>(&x);
                }},
               tell2);
}

TEST(LitmusTest, MessagePassing)
{
    EXPECT_EQ((Outcomes{"00", "01", "11"}), (message_passing<kRel, kAcq>().outcomes));
    EXPECT_EQ((Outcomes{"00", "01", "10", "11"}), (message_passing<kRlx, kAcq>().outcomes));
    EXPECT_EQ((Outcomes{"00", "01", "10", "11"}), (message_passing<kRel, kRlx>().outcomes));
    EXPECT_EQ((Outcomes{"00", "01", "11"}), (message_passing<kSc, kSc>().outcomes));
}

TEST(LitmusTest, MessagePassingWithFences)
{
    Result both = run({[] {
                           store<kRlx>(&x, 1);
                           __atomic_thread_fence(kRel);
                           store<kRlx>(&y, 1);
                       },
                       [] {
                           r0 = load<kRlx>(&y);
                           __atomic_thread_fence(kAcq);
                           r1 = load<kRlx>(&x);
                       }},
                      tell2);
    EXPECT_EQ((Outcomes{"00", "01", "11"}), both.outcomes);
}

TEST(LitmusTest, MessagePassingOverAReleaseSequence)
{
    Result rmw = run({[] {
                          store<kRlx>(&x, 1);
                          store<kRel>(&y, 1);
                      },
                      [] { __atomic_fetch_add(&y, 1, kRlx); },
                      [] {
                          r0 = load<kAcq>(&y);
                          r1 = load<kRlx>(&x);
                      }},
                     tell2);
    EXPECT_EQ(0u, rmw.outcomes.count("20"));
    EXPECT_EQ(1u, rmw.outcomes.count("21"));
    EXPECT_EQ(1u, rmw.outcomes.count("10")); // of the increment alone
    // Not over a plain store of somebody else.
    Result store_ = run({[] {
                             store<kRlx>(&x, 1);
                             store<kRel>(&y, 1);
                         },
                         [] {
                             if (load<kRlx>(&y) == 1) store<kRlx>(&y, 2);
                         },
                         [] {
                             r0 = load<kAcq>(&y);
                             r1 = load<kRlx>(&x);
                         }},
                        tell2);
    EXPECT_EQ(1u, store_.outcomes.count("20"));
}

// ---- load buffering: not modelled, on purpose (RC11 has no cycles in program order and reads) ----

TEST(LitmusTest, LoadBufferingDoesNotHappen)
{
    Result result = run({[] {
                             r0 = load<kRlx>(&x);
                             store<kRlx>(&y, 1);
                         },
                         [] {
                             r1 = load<kRlx>(&y);
                             store<kRlx>(&x, 1);
                         }},
                        tell2);
    EXPECT_EQ((Outcomes{"00", "01", "10"}), result.outcomes);
}

// ---- independent reads of independent writes ----

template <int st, int ld> Result iriw()
{
    return run({[] { store<st>(&x, 1); }, [] { store<st>(&y, 1); },
                [] {
                    r0 = load<ld>(&x);
                    r1 = load<ld>(&y);
                },
                [] {
                    r2 = load<ld>(&y);
                    r3 = load<ld>(&x);
                }},
               tell4);
}

TEST(LitmusTest, IndependentReads)
{
    EXPECT_EQ(16u, (iriw<kRlx, kRlx>().outcomes.size()));
    Result acquire = iriw<kRel, kAcq>();
    EXPECT_EQ(16u, acquire.outcomes.size());
    EXPECT_EQ(1u, acquire.outcomes.count("1010"));
    Result strong = iriw<kSc, kSc>();
    EXPECT_EQ(15u, strong.outcomes.size());
    EXPECT_EQ(0u, strong.outcomes.count("1010"));
}

// ---- coherence ----

TEST(LitmusTest, ReadsOfOneLocationDoNotGoBack)
{
    Result result = run({[] {
                             store<kRlx>(&x, 1);
                             store<kRlx>(&x, 2);
                         },
                         [] {
                             r0 = load<kRlx>(&x);
                             r1 = load<kRlx>(&x);
                         }},
                        tell2);
    EXPECT_EQ((Outcomes{"00", "01", "02", "11", "12", "22"}), result.outcomes);
}

TEST(LitmusTest, ReadersAgreeOnTheOrderOfStores)
{
    Result result = run({[] { store<kRlx>(&x, 1); }, [] { store<kRlx>(&x, 2); },
                         [] {
                             r0 = load<kRlx>(&x);
                             r1 = load<kRlx>(&x);
                         },
                         [] {
                             r2 = load<kRlx>(&x);
                             r3 = load<kRlx>(&x);
                         }},
                        tell4);
    EXPECT_EQ(1u, result.outcomes.count("1212"));
    EXPECT_EQ(0u, result.outcomes.count("1221"));
    EXPECT_EQ(0u, result.outcomes.count("2112"));
}

// ---- 2 + 2 writes ----

template <int order> Result two_and_two()
{
    return run({[] {
                    store<order>(&x, 1);
                    store<order>(&y, 2);
                },
                [] {
                    store<order>(&y, 1);
                    store<order>(&x, 2);
                }},
               tell_memory);
}

TEST(LitmusTest, TwoAndTwoWrites)
{
    EXPECT_EQ((Outcomes{"11", "12", "21", "22"}), two_and_two<kRlx>().outcomes);
    EXPECT_EQ((Outcomes{"11", "12", "21", "22"}), two_and_two<kRel>().outcomes);
    EXPECT_EQ((Outcomes{"12", "21", "22"}), two_and_two<kSc>().outcomes);
}

// ---- read-modify-write ----

TEST(LitmusTest, IncrementsAreNotLost)
{
    auto add = [] { __atomic_fetch_add(&x, 1, kRlx); };
    EXPECT_EQ((Outcomes{"30"}), run({add, add, add}, tell_memory).outcomes);
}

TEST(LitmusTest, OneOfTwoExchangesWins)
{
    Result result = run({[] {
                             uint32_t e = 0;
                             r0 = __atomic_compare_exchange_n(&x, &e, 1, false, kRlx, kRlx);
                         },
                         [] {
                             uint32_t e = 0;
                             r1 = __atomic_compare_exchange_n(&x, &e, 2, false, kRlx, kRlx);
                         }},
                        tell2);
    EXPECT_EQ((Outcomes{"01", "10"}), result.outcomes);
}

// Write to read causality: acquire and release add up.
TEST(LitmusTest, CausalityAddsUp)
{
    Result result = run({[] {
                             store<kRlx>(&x, 1);
                             store<kRel>(&y, 1);
                         },
                         [] {
                             r0 = load<kAcq>(&y);
                             store<kRel>(&z, r0);
                         },
                         [] {
                             r1 = load<kAcq>(&z);
                             r2 = load<kRlx>(&x);
                         }},
                        tell4);
    EXPECT_EQ(0u, result.outcomes.count("1100"));
    EXPECT_EQ(1u, result.outcomes.count("1110"));
}

// ---- races ----

template <int st, int ld> Result publish()
{
    return run({[] {
                    data = 42;
                    store<st>(&x, 1);
                },
                [] {
                    if (load<ld>(&x)) seen = data;
                }},
               nullptr);
}

TEST(LitmusTest, PlainDataNeedsReleaseAndAcquire)
{
    EXPECT_EQ("", (publish<kRel, kAcq>().failure));
    EXPECT_NE(std::string::npos, (publish<kRlx, kAcq>().failure.find("data race")));
    EXPECT_NE(std::string::npos, (publish<kRel, kRlx>().failure.find("data race")));
}

TEST(LitmusTest, PlainStoreBesideAnAtomicIsARace)
{
    Result result = run({[] { x = 1; }, [] { r0 = load<kRlx>(&x); }}, nullptr);
    EXPECT_NE(std::string::npos, result.failure.find("data race"));
}

// ---- polling, sleeping, locks ----

TEST(LitmusTest, PollingEnds)
{
    Result result = run({[] {
                             data = 1;
                             store<kRel>(&x, 1);
                         },
                         [] {
                             while (!load<kAcq>(&x))
                                 model::pause();
                             seen = data;
                         }},
                        [] { model::outcome(std::to_string(seen)); });
    EXPECT_EQ("", result.failure);
    EXPECT_EQ((Outcomes{"1"}), result.outcomes);
    Result never = run({[] { store<kRlx>(&y, 1); },
                        [] {
                            while (!load<kAcq>(&x))
                                model::pause();
                        }},
                       nullptr);
    EXPECT_NE(std::string::npos, never.failure.find("stuck"));
}

pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER, b = PTHREAD_MUTEX_INITIALIZER;

TEST(LitmusTest, LocksExcludeAndDeadlocksAreFound)
{
    auto under_lock = [] {
        pthread_mutex_lock(&a);
        data++;
        pthread_mutex_unlock(&a);
    };
    Result counted =
        run({under_lock, under_lock, under_lock}, [] { model::outcome(std::to_string(data)); });
    EXPECT_EQ("", counted.failure);
    EXPECT_EQ((Outcomes{"3"}), counted.outcomes);
    Result dead = run({[] {
                           pthread_mutex_lock(&a);
                           pthread_mutex_lock(&b);
                           pthread_mutex_unlock(&b);
                           pthread_mutex_unlock(&a);
                       },
                       [] {
                           pthread_mutex_lock(&b);
                           pthread_mutex_lock(&a);
                           pthread_mutex_unlock(&a);
                           pthread_mutex_unlock(&b);
                       }},
                      nullptr);
    EXPECT_NE(std::string::npos, dead.failure.find("stuck"));
}

} // namespace
