// Tasks of several CPUs and of less than one among others.
//
// Invariants: bodies of wide tasks that run at a time do not hold more CPUs than there are, each gets
// as many as it asked for; everything ends, also without a thread to spare.
#include "stress/stress.h"

using namespace stress;

namespace
{

std::atomic<int> wide_cpus{0};
int the_workers = 1;
bool waits = false; // then what a waiting task holds is lent, and the sums mean nothing

struct Args {
    uint64_t seed;
    int32_t cpus, milli; // wide: cpus > 1; elastic: milli > 0
};
manta_status_t body(const manta_call_t *call);
const manta_param_t params[] = {
    {"args", "Args", MANTA_PARAM_VAL, MANTA_DTYPE(MANTA_OPAQUE, sizeof(Args)), sizeof(Args), 8, 0},
};
const manta_variant_t variant = {body, nullptr};
manta_task_def_t def = {"mixed", params, 1, sizeof(Args), &variant, nullptr, 0, nullptr, nullptr};
std::atomic<uint64_t> ran{0};

manta_ref_t spawn(uint64_t seed, bool outermost)
{
    uint64_t dice = mix(seed) % 10;
    Args args{seed, 1, 0};
    manta_task_options_t options{};
    options.struct_size = sizeof options;
    if (dice < 2 && the_workers > 1 && outermost) {
        args.cpus = 2 + (int)(mix(seed + 1) % (uint64_t)(the_workers - 1));
        options.cpus = args.cpus;
    } else if (dice < 5) {
        args.milli = 100 * (1 + (int)(mix(seed + 1) % 9));
        options.cpus = args.milli / 1000.0;
    }
    manta_ref_t ref;
    manta_submit_call(&def, options.cpus != 0 ? &options : nullptr, &args, sizeof args, &ref, 1);
    return ref;
}

manta_status_t body(const manta_call_t *call)
{
    const Args args = *static_cast<const Args *>(call->args);
    ran++;
    if (args.cpus > 1) {
        CHECK_EQ(manta_task_cpus(call->task, nullptr, 0), (size_t)args.cpus);
        if (!waits) CHECK((wide_cpus += args.cpus) <= the_workers);
    }
    if (waits && mix(args.seed + 3) % 3 == 0) {
        manta_ref_t child = spawn(mix(args.seed) | 1, false);
        manta_status_t status = manta_wait(&child, 1, 1, MANTA_FOREVER, nullptr, nullptr);
        CHECK_EQ(status, MANTA_OK);
    } else {
        for (uint64_t n = mix(args.seed + 4) % 4; n > 0; n--)
            std::this_thread::yield();
    }
    if (args.cpus > 1 && !waits) wide_cpus -= args.cpus;
    return MANTA_OK;
}

void round(int workers, bool wait, uint64_t n, int max_threads)
{
    the_workers = workers;
    waits = wait;
    init(workers, max_threads);
    static uint64_t stream = 0;
    uint64_t base = ++stream * 10;
    on_threads(2, [&](int t) {
        Rng rng(base + (uint64_t)t);
        std::vector<manta_ref_t> refs;
        for (uint64_t i = 0; i < n; i++) {
            refs.push_back(spawn(rng.next(), true));
            if (refs.size() < 50) continue;
            CHECK_EQ(
                manta_wait(refs.data(), refs.size(), refs.size(), MANTA_FOREVER, nullptr, nullptr),
                MANTA_OK);
            for (manta_ref_t ref : refs)
                CHECK_EQ(manta_release(ref), MANTA_OK);
            refs.clear();
        }
        for (manta_ref_t ref : refs)
            CHECK_EQ(manta_release(ref), MANTA_OK);
    });
    CHECK_EQ(manta_drain(MANTA_FOREVER), MANTA_OK);
    CHECK_EQ(wide_cpus.load(), 0);
    CHECK_EQ(manta_shutdown(MANTA_FOREVER), MANTA_OK);
}

} // namespace

int main(int argc, char **argv)
{
    begin(argc, argv, 120);
    for (int workers = 1; workers <= 8; workers++) {
        for (bool wait : {false, true}) {
            std::printf("%d workers, %s\n", workers, wait ? "nested waits" : "no waits");
            round(workers, wait, times(2500, 60), 0);
            std::printf("no spare threads\n");
            round(workers, wait, times(1000, 60), workers);
        }
    }
    return 0;
}
