// Parking: a worker that goes to sleep while something is pushed is woken, or sees it. A wake that is
// lost leaves the program stuck.
#include "model/mutate.h"
#include "model/parking_model.h"

using namespace model;

namespace
{
int payload[4];

void make(int workers, int pushers, uint32_t entries)
{
    for (int &value : payload)
        value = 0;
    parking_make(workers, pushers, entries);
}
void push1()
{
    payload[1] = 1;
    parking_push(0, 1);
}
void all_ran()
{
    MODEL_CHECK(parking_left() == 0);
}
} // namespace

extern "C" void parking_ran(uint64_t entry)
{
    MODEL_CHECK(payload[entry] == 1);
}
extern "C" void parking_name(const void *at, size_t bytes, const char *what)
{
    name(at, bytes, what);
}

namespace
{

Program one_pusher()
{
    Program program;
    program.once = [] { make(1, 1, 1); };
    program.threads = {[] { parking_worker(0); }, push1};
    program.finish = all_ran;
    return program;
}
TEST(ParkingModel, SleeperIsWokenByAPush)
{
    expect_holds(one_pusher());
}

Program job()
{
    Program program;
    program.once = [] { make(1, 1, 1); };
    program.threads = {[] { parking_worker(0); },
                       [] {
                           payload[1] = 1;
                           parking_push_job(1);
                       }};
    program.finish = all_ran;
    return program;
}
TEST(ParkingModel, SleeperIsWokenByAJob)
{
    expect_holds(job());
}

TEST(ParkingModel, TwoPushesInARow)
{
    Program program;
    program.once = [] { make(1, 1, 2); };
    program.threads = {[] { parking_worker(0); },
                       [] {
                           push1();
                           payload[2] = 1;
                           parking_push(0, 2);
                       }};
    program.finish = all_ran;
    expect_holds(program, false);
}

TEST(ParkingModel, TwoPushers)
{
    Program program;
    program.once = [] { make(1, 2, 2); };
    program.threads = {[] { parking_worker(0); }, push1,
                       [] {
                           payload[2] = 1;
                           parking_push(1, 2);
                       }};
    program.finish = all_ran;
    expect_holds(program, false);
}

TEST(ParkingModel, TwoWorkers)
{
    Program program;
    program.once = [] { make(2, 1, 1); };
    program.threads = {[] { parking_worker(0); }, [] { parking_worker(1); }, push1};
    program.finish = all_ran;
    expect_holds(program, false);
}

TEST(ParkingModel, NeedsItsOrders)
{
    std::set<std::string> seen;
    for (auto make_program : {one_pusher}) {
        Program program = make_program();
        std::set<Mutation> mutations = explore(program).mutations;
        for (const std::string &text : caught(program, mutations))
            seen.insert(text);
    }
    EXPECT_EQ(1u, seen.count("fence without seq_cst"));
    EXPECT_EQ(1u, seen.count("store of anchor without release"));
    EXPECT_EQ(1u, seen.count("load of anchor without acquire"));
}

} // namespace
