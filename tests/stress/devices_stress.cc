// Random programs on virtual devices, each driven by its own thread (or all by one, on a virtual
// clock), with faults in the midst of them.
//
// Invariants, in every round: an operation runs after all before it on its queue, and after what its
// queue was told to wait for; words only grow, and not past what is recorded; an operation that was made
// to fail is reported once, and no other is; after a loss words stand still, nothing runs, and the other
// device finishes; everything can be freed at any of these points.
#include "stress/stress.h"

extern "C" {
#include "devices/device.h"
#include "devices/registry.h"
}

#include <memory>

using namespace stress;

namespace
{

constexpr int kQueues = 4;

struct Lane;

struct Timeline {
    mti_queue_t *queue = nullptr;
    Lane *lane = nullptr;
    std::atomic<uint64_t> ran{0};  // the last operation whose function ran
    std::atomic<uint64_t> told{0}; // the last recorded one
    uint64_t last_completed = 0;
};

struct Call {
    Timeline *mine, *other;
    uint64_t seq, other_seq;
    bool exact; // no faults in this round: nothing is left out
};

struct Lane {
    mti_device_t *device = nullptr;
    Timeline lines[kQueues];
    std::vector<std::unique_ptr<Call>> calls;
    std::atomic<bool> lost{false};
    uint64_t failures = 0, armed = 0;
};

manta_status_t run_call(void *user)
{
    Call *call = static_cast<Call *>(user);
    uint64_t before = call->mine->ran.load();
    CHECK(before < call->seq);
    if (call->exact) {
        CHECK_EQ(call->seq, before + 1);
        if (call->other) CHECK(call->other->ran.load() >= call->other_seq);
    }
    CHECK(!call->mine->lane->lost.load());
    call->mine->ran.store(call->seq);
    return MANTA_OK;
}

void look(Lane &lane)
{
    mti_poll_t poll;
    mti_device_poll(lane.device, &poll);
    for (uint32_t i = 0; i < poll.failure_count; i++) {
        CHECK_EQ(poll.failures[i].code, MANTA_ERR_IO);
        lane.failures++;
    }
    for (Timeline &line : lane.lines) {
        uint64_t completed = mti_queue_completed(line.queue);
        CHECK(completed >= line.last_completed);
        CHECK(completed <= mti_atomic_u64_load_relaxed(&line.queue->recorded));
        CHECK(!lane.lost || completed == line.last_completed);
        line.last_completed = completed;
    }
    if (poll.lost) lane.lost = true;
}

// One step of the program of |lane|; false once its device is lost.
bool step(Lane &lane, Lane &far, Rng &rng, bool faults, bool *armed_loss)
{
    Timeline &mine = lane.lines[rng.below(kQueues)];
    auto call = std::make_unique<Call>();
    *call = {&mine, nullptr, mine.queue->submitted + 1, 0, !faults};
    if (rng.below(3) == 0) {
        bool cross = rng.below(2) == 0;
        call->other = cross ? &far.lines[rng.below(kQueues)] : &lane.lines[rng.below(kQueues)];
        call->other_seq = cross ? call->other->told.load() : call->other->queue->submitted;
        if (call->other == &mine) call->other = nullptr;
        manta_status_t status =
            call->other ? mti_queue_wait(mine.queue, call->other->queue, call->other_seq)
                        : MANTA_OK;
        CHECK(status == MANTA_OK || (faults && status == MANTA_ERR_DEVICE_LOST));
    }
    if (faults && lane.armed == lane.failures && rng.below(60) == 0) {
        mti_fault_t fault = {MTI_FAULT_FAIL_OP, static_cast<uint32_t>(rng.below(9)) + 1,
                             MANTA_ERR_IO, nullptr};
        if (mti_device_inject(lane.device, &fault) == MANTA_OK) lane.armed++;
    }
    if (faults && !*armed_loss && rng.below(600) == 0) {
        mti_fault_t fault = {MTI_FAULT_LOSE, static_cast<uint32_t>(rng.below(30)) + 1, MANTA_OK,
                             nullptr};
        *armed_loss = mti_device_inject(lane.device, &fault) == MANTA_OK;
    }
    uint32_t flags = rng.below(3) == 0 ? MTI_OP_RECORD : MTI_OP_NONE;
    uint64_t seq = 0;
    manta_status_t status = mti_queue_launch_host_fn(mine.queue, run_call, call.get(), flags, &seq);
    if (status == MANTA_OK) {
        CHECK_EQ(seq, call->seq);
        if (flags != 0) mine.told = seq;
        lane.calls.push_back(std::move(call));
    } else {
        CHECK(faults && status == MANTA_ERR_DEVICE_LOST);
    }
    if (rng.below(8) == 0) look(lane);
    return mti_device_state(lane.device) == MTI_DEVICE_OPEN && status == MANTA_OK;
}

// Until all is done, or the device is lost. Moves a virtual clock.
void finish(Lane &lane)
{
    for (;;) {
        bool quiet = true;
        for (Timeline &line : lane.lines) {
            uint64_t seq;
            manta_status_t status = mti_queue_signal(line.queue, &seq);
            CHECK(status == MANTA_OK || status == MANTA_ERR_DEVICE_LOST);
            if (status == MANTA_OK) line.told = seq;
            quiet = quiet && mti_queue_completed(line.queue) == line.queue->submitted;
        }
        look(lane);
        if (quiet || lane.lost) return;
        manta_status_t status =
            mti_device_block(lane.device, mti_device_now_ns(lane.device) + 1000000);
        CHECK(status == MANTA_OK || status == MANTA_NOT_READY || status == MANTA_ERR_DEVICE_LOST);
    }
}

void program(Lane &lane, Lane &far, uint64_t seed, uint64_t steps, bool faults)
{
    Rng rng(seed);
    bool armed_loss = false;
    for (uint64_t i = 0; i < steps; i++) {
        if (!step(lane, far, rng, faults, &armed_loss)) break;
        if (rng.below(200) == 0) finish(lane);
    }
    finish(lane);
}

uint64_t round_of(uint64_t round, uint64_t steps)
{
    Rng rng(round);
    bool faults = rng.below(2) == 0, one_thread = rng.below(3) == 0, leaves = rng.below(4) == 0;
    mti_devices_options_t options = {};
    options.no_environment = true;
    options.no_cuda = true;
    options.sim_gpus = 2;
    options.sim_virtual_clock = one_thread;
    options.sim_seed = round + 1;
    mti_devices_t *set = nullptr;
    CHECK_EQ(mti_devices_create(&options, &set), MANTA_OK);
    auto lanes = std::make_unique<Lane[]>(2);
    for (uint32_t i = 0; i < 2; i++) {
        lanes[i].device = mti_devices_gpu(set, i);
        CHECK_EQ(mti_device_open(lanes[i].device), MANTA_OK);
        for (Timeline &line : lanes[i].lines) {
            line.lane = &lanes[i];
            CHECK_EQ(mti_queue_create(lanes[i].device, nullptr, &line.queue), MANTA_OK);
        }
    }
    uint64_t seed = mix(round);
    if (one_thread) {
        Rng turns(seed);
        bool armed_loss[2] = {false, false}, goes_on[2] = {true, true};
        for (uint64_t i = 0; i < steps; i++) {
            size_t turn = turns.below(2);
            if (goes_on[turn])
                goes_on[turn] =
                    step(lanes[turn], lanes[1 - turn], turns, faults, &armed_loss[turn]);
        }
        finish(lanes[0]);
        finish(lanes[1]);
    } else {
        std::thread there([&] { program(lanes[1], lanes[0], seed + 1, steps, faults); });
        program(lanes[0], lanes[1], seed, steps, faults);
        there.join();
    }
    uint64_t done = 0;
    for (int i = 0; i < 2; i++) {
        Lane &lane = lanes[i];
        CHECK(lane.failures <= lane.armed);
        if (!faults) CHECK(!lane.lost && lane.failures == 0);
        for (Timeline &line : lane.lines) {
            done += line.ran;
            if (!faults) CHECK_EQ(line.ran.load(), line.queue->submitted);
            if (leaves && !lane.lost) { // and work that nobody waits for is there at the end
                auto call = std::make_unique<Call>();
                *call = {&line, nullptr, line.queue->submitted + 1, 0, !faults};
                if (mti_queue_launch_host_fn(line.queue, run_call, call.get(), 0, nullptr) ==
                    MANTA_OK)
                    lane.calls.push_back(std::move(call));
            }
        }
    }
    CHECK_EQ(mti_devices_destroy(set, INT64_MAX), MANTA_OK);
    return done;
}

} // namespace

int main(int argc, char **argv)
{
    begin(argc, argv, 60);
    uint64_t rounds = times(60), done = 0;
    for (uint64_t round = 0; round < rounds; round++)
        done += round_of(mix(the_seed) + round, 1500);
    std::printf("%llu operations in %llu rounds\n", (unsigned long long)done,
                (unsigned long long)rounds);
    return 0;
}
