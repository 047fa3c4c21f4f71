// Drains while the last tasks end in unusual places.
//
// A drain must return once every task is complete, wherever it was completed: by a worker, by another
// thread that drains, or on a thread of the user's that cancels, fails a promise, lets one go, or
// submits a task with a failed argument.
#include "stress/stress.h"

using namespace stress;

namespace
{

manta_status_t body(const manta_call_t *)
{
    return MANTA_OK;
}
const manta_param_t params[] = {
    {"in", "u64", MANTA_PARAM_IN, MANTA_DTYPE(MANTA_U64, 8), 8, 8, 0},
};
const manta_variant_t variant = {body, nullptr};
manta_task_def_t after_def = {"after", params, 1, 8, &variant, nullptr, 0, nullptr, nullptr};
manta_task_def_t plain_def = {"plain", nullptr, 0, 0, &variant, nullptr, 0, nullptr, nullptr};

manta_ref_t after(manta_ref_t ref)
{
    manta_ref_t out;
    manta_submit_call(&after_def, nullptr, &ref, sizeof ref, &out, 1);
    return out;
}

enum Way { CANCEL, FAIL, ABANDON, LET_GO, FORWARD, SET, SUBMIT_FAILED, WAYS };

void round(Rng &rng, int drainers, Way way)
{
    manta_ref_t promise = manta_promise_create(MANTA_UNTYPED);
    CHECK_EQ(manta_ref_status(promise), MANTA_NOT_READY);
    std::vector<manta_ref_t> refs;
    uint64_t n = 1 + rng.below(4);
    for (uint64_t i = 0; i < n; i++)
        refs.push_back(after(i ? refs.back() : promise));
    std::atomic<int> left{drainers};
    std::vector<std::thread> threads;
    for (int i = 0; i < drainers; i++) {
        threads.emplace_back([&] {
            CHECK_EQ(manta_drain(MANTA_FOREVER), MANTA_OK);
            left--;
        });
    }
    // Some of the time everybody is asleep by then.
    if (rng.one_in(2)) std::this_thread::sleep_for(std::chrono::microseconds(rng.below(3000)));
    uint64_t value = 1;
    switch (way) {
    case CANCEL:
        CHECK_EQ(manta_cancel(refs[0]), MANTA_OK);
        break;
    case FAIL:
        CHECK_EQ(manta_promise_fail(promise, MANTA_ERR_USER, "no"), MANTA_OK);
        break;
    case ABANDON:
        CHECK_EQ(manta_abandon(promise, MANTA_ERR_USER), MANTA_OK);
        break;
    case LET_GO:
        CHECK_EQ(manta_release(promise), MANTA_OK);
        break;
    case FORWARD: {
        manta_ref_t failed = manta_promise_create(MANTA_UNTYPED);
        CHECK_EQ(manta_promise_forward(promise, failed), MANTA_OK);
        CHECK_EQ(manta_promise_fail(failed, MANTA_ERR_USER, "no"), MANTA_OK);
        CHECK_EQ(manta_release(failed), MANTA_OK);
        break;
    }
    case SET:
        CHECK_EQ(manta_promise_set(promise, &value, sizeof value), MANTA_OK);
        break;
    default: {
        manta_ref_t failed = manta_promise_create(MANTA_UNTYPED);
        CHECK_EQ(manta_promise_fail(failed, MANTA_ERR_USER, "no"), MANTA_OK);
        CHECK_EQ(manta_promise_set(promise, &value, sizeof value), MANTA_OK);
        for (int i = 0; left; i++) {
            CHECK_EQ(manta_release(after(failed)), MANTA_OK);
            if (i == 50) break;
        }
        CHECK_EQ(manta_release(failed), MANTA_OK);
        break;
    }
    }
    for (std::thread &thread : threads)
        thread.join(); // hangs if a drain was not told
    if (way == CANCEL) CHECK_EQ(manta_promise_set(promise, &value, sizeof value), MANTA_OK);
    if (way != LET_GO) CHECK_EQ(manta_release(promise), MANTA_OK);
    for (manta_ref_t ref : refs)
        CHECK_EQ(manta_release(ref), MANTA_OK);
}

// Several threads drain, and one of them runs the last task.
void helpers(Rng &rng, int drainers)
{
    for (uint64_t i = 1 + rng.below(30); i > 0; i--)
        manta_submit_call(&plain_def, nullptr, nullptr, 0, nullptr, 0);
    on_threads(drainers, [](int) { CHECK_EQ(manta_drain(MANTA_FOREVER), MANTA_OK); });
}

} // namespace

int main(int argc, char **argv)
{
    begin(argc, argv, 60);
    Rng rng(1);
    for (int workers : {1, 2, 4}) {
        init(workers);
        for (uint64_t i = times(1500, 20); i > 0; i--) {
            round(rng, 1 + (int)rng.below(2), (Way)rng.below(WAYS));
            helpers(rng, 1 + (int)rng.below(3));
        }
        CHECK_EQ(manta_shutdown(MANTA_FOREVER), MANTA_OK);
    }
    return 0;
}
