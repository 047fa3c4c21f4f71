// Ten million small tasks: memory stays what it was after warming up.
#include "stress/stress.h"

#include <unistd.h>

using namespace stress;

namespace
{

manta_status_t body(const manta_call_t *call)
{

    *static_cast<uint64_t *>(call->buffers[0].data) = *static_cast<const uint64_t *>(call->args);
    return MANTA_OK;
}
manta_status_t sizes(const manta_call_t *call, size_t *out)
{
    out[0] = *static_cast<const uint64_t *>(call->args) % 7 == 0 ? 40 : 8;
    return MANTA_OK;
}
const manta_param_t params[] = {
    {"n", "u64", MANTA_PARAM_VAL, MANTA_DTYPE(MANTA_U64, 8), 8, 8, 0},
    {"out", "u64", MANTA_PARAM_OUT, MANTA_DTYPE(MANTA_U64, 8), 8, 8, 0},
};
const manta_variant_t variant = {body, sizes};
manta_task_def_t def = {"small", params, 2, 8, &variant, nullptr, 0, nullptr, nullptr};

size_t resident()
{
    unsigned long total = 0, pages = 0;
    FILE *file = std::fopen("/proc/self/statm", "r");
    CHECK(file && std::fscanf(file, "%lu %lu", &total, &pages) == 2);
    std::fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

// Two submitters, waves of up to 2000 tasks, half of them without a ref.
void submit(uint64_t tasks)
{
    on_threads(2, [&](int t) {
        Rng rng((uint64_t)t);
        std::vector<manta_ref_t> refs;
        for (uint64_t i = 0; i < tasks / 2; i++) {
            manta_ref_t ref;
            bool held = i % 2;
            manta_submit_call(&def, nullptr, &i, sizeof i, held ? &ref : nullptr, held);
            if (held) refs.push_back(ref);
            if (refs.size() < 1000) continue;
            for (manta_ref_t r : refs) {
                CHECK(rng.one_in(2) ||
                      manta_wait(&r, 1, 1, MANTA_FOREVER, nullptr, nullptr) == MANTA_OK);
                CHECK_EQ(manta_release(r), MANTA_OK);
            }
            refs.clear();
            if (i % 10000 == 9999) CHECK_EQ(manta_drain(MANTA_FOREVER), MANTA_OK);
        }
        for (manta_ref_t r : refs)
            CHECK_EQ(manta_release(r), MANTA_OK);
    });
    CHECK_EQ(manta_drain(MANTA_FOREVER), MANTA_OK);
}

} // namespace

int main(int argc, char **argv)
{
    begin(argc, argv, 120);
    init(2);
    uint64_t tasks = times(10e6);
    submit(tasks / 5);
    size_t before = resident();
    submit(tasks - tasks / 5);
    size_t after = resident();
    std::printf("%llu tasks, resident %zu KiB after a fifth, %zu KiB at the end\n",
                (unsigned long long)tasks, before / 1024, after / 1024);
    CHECK(STRESS_SLOWER > 1 || after < before + before / 4 + (16u << 20));
    manta_stats_t stats{};
    stats.struct_size = sizeof stats;
    CHECK_EQ(manta_runtime_stats({0}, &stats), MANTA_OK);
    CHECK_EQ(stats.completed, stats.submitted);
    CHECK_EQ(stats.live_refs, 0u);
    CHECK_EQ(stats.live_bytes, 0u);
    CHECK_EQ(manta_shutdown(MANTA_FOREVER), MANTA_OK);
    return 0;
}
