// Waits inside tasks: recursion, k of n, timeouts, forwards, few threads.
//
// Invariant: every tree of tasks ends with the right sum, whatever its nodes wait for and however few
// threads there are; a wait for some of several gives at least as many as it was asked for.
#include "stress/stress.h"

using namespace stress;

namespace
{

struct Args {
    uint64_t seed, count; // nodes in this tree, itself included
};

manta_status_t node_body(const manta_call_t *call);
manta_status_t node_sizes(const manta_call_t *, size_t *out)
{
    out[0] = 8;
    return MANTA_OK;
}
const manta_param_t node_params[] = {
    {"args", "Args", MANTA_PARAM_VAL, MANTA_DTYPE(MANTA_OPAQUE, sizeof(Args)), sizeof(Args), 8, 0},
    {"sum", "u64", MANTA_PARAM_OUT, MANTA_DTYPE(MANTA_U64, 8), 8, 8, 0},
};
const manta_variant_t node_variant = {node_body, node_sizes};
manta_task_def_t node_def = {"node",  node_params, 2,       sizeof(Args), &node_variant,
                             nullptr, 0,           nullptr, nullptr};

struct AddArgs {
    manta_ref_list_t list;
    uint64_t own;
};
manta_status_t add_body(const manta_call_t *call)
{
    const AddArgs *args = static_cast<const AddArgs *>(call->args);
    uint64_t sum = args->own;
    const manta_buffer_t *items = static_cast<const manta_buffer_t *>(call->buffers[0].data);
    for (size_t i = 0; i < args->list.count; i++)
        sum += *static_cast<const uint64_t *>(items[i].data);
    *static_cast<uint64_t *>(call->buffers[1].data) = sum;
    return MANTA_OK;
}
const manta_param_t add_params[] = {
    {"list", "u64", MANTA_PARAM_IN_LIST, MANTA_DTYPE(MANTA_U64, 8), 8, 8, 0},
    {"own", "u64", MANTA_PARAM_VAL, MANTA_DTYPE(MANTA_U64, 8), 8, 8, 16},
    {"sum", "u64", MANTA_PARAM_OUT, MANTA_DTYPE(MANTA_U64, 8), 8, 8, 0},
};
const manta_variant_t add_variant = {add_body, node_sizes};
manta_task_def_t add_def = {"add",   add_params, 3,       sizeof(AddArgs), &add_variant,
                            nullptr, 0,          nullptr, nullptr};

double elastic_share = 0; // of nodes that ask for less than a CPU
int wide_cores = 0;       // of some nodes; 0: none

manta_ref_t spawn(uint64_t seed, uint64_t count)
{
    Args args{seed, count};
    manta_task_options_t options{};
    options.struct_size = sizeof options;
    uint64_t dice = mix(seed + 5) % 1000;
    if (dice < elastic_share * 1000) {
        options.cpus = dice % 2 ? MANTA_NONE : 0.3;
    } else if (wide_cores && dice > 950) {
        options.cpus = 2 + (double)(dice % (uint64_t)(wide_cores - 1));
    }
    manta_ref_t ref;
    manta_submit_call(&node_def, options.cpus != 0 ? &options : nullptr, &args, sizeof args, &ref,
                      1);
    return ref;
}

// The value of a node is a hash of its seed; the tree below it is split at random.
uint64_t expect(uint64_t count, uint64_t seed);
template <class F> void children(uint64_t seed, uint64_t count, F f)
{
    uint64_t left = count - 1, i = 0;
    while (left) {
        uint64_t n = 1 + mix(seed * 31 + i) % left;
        f(mix(seed + ++i), n);
        left -= n;
    }
}
uint64_t expect(uint64_t count, uint64_t seed)
{
    uint64_t sum = mix(seed) % 1000;
    children(seed, count, [&](uint64_t s, uint64_t n) { sum += expect(n, s); });
    return sum;
}

manta_status_t node_body(const manta_call_t *call)
{
    const Args args = *static_cast<const Args *>(call->args);
    uint64_t *out = static_cast<uint64_t *>(call->buffers[0].data);
    *out = mix(args.seed) % 1000;
    std::vector<manta_ref_t> refs;
    children(args.seed, args.count, [&](uint64_t s, uint64_t n) { refs.push_back(spawn(s, n)); });
    switch (mix(args.seed + 9) % 6) {
    case 0: { // k of n first
        std::vector<size_t> ready(refs.size());
        size_t got = 0, k = refs.empty() ? 0 : 1 + args.seed % refs.size();
        CHECK_EQ(manta_wait(refs.data(), refs.size(), k, MANTA_FOREVER, ready.data(), &got),
                 MANTA_OK);
        CHECK(got >= k);
        break;
    }
    case 1: { // a little patience
        size_t got = 0;
        manta_status_t status = manta_wait(refs.data(), refs.size(), refs.size(),
                                           MANTA_US(args.seed % 50), nullptr, &got);
        CHECK(status == MANTA_OK || status == MANTA_NOT_READY);
        CHECK(status != MANTA_OK || got == refs.size());
        break;
    }
    case 2: { // the result becomes another task's
        if (refs.empty()) break;
        AddArgs add{{refs.data(), refs.size()}, *out};
        manta_ref_t sum;
        manta_submit_call(&add_def, nullptr, &add, sizeof add, &sum, 1);
        return manta_forward(call->task, sum);
    }
    case 3: // last one first: it is on top of the queue
        for (size_t i = 0; i < refs.size() / 2; i++)
            std::swap(refs[i], refs[refs.size() - 1 - i]);
        break;
    default:
        break;
    }
    for (manta_ref_t ref : refs) {
        uint64_t value = 0;
        manta_status_t status = manta_read(ref, &value, sizeof value, MANTA_FOREVER);
        if (status != MANTA_OK)
            return manta_fail(call->task, status, "child: %s", manta_error_message());
        *out += value;
    }
    return MANTA_OK;
}

void trees(uint64_t stream, uint64_t n, uint64_t size)
{
    Rng rng(stream);
    std::vector<std::pair<manta_ref_t, uint64_t>> roots;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t seed = rng.next(), count = 1 + rng.below(size);
        roots.push_back({spawn(seed, count), expect(count, seed)});
    }
    for (auto &root : roots) {
        uint64_t value = 0;
        if (rng.one_in(2)) {
            manta_status_t status =
                manta_read(root.first, &value, sizeof value, MANTA_US(rng.below(200)));
            CHECK(status == MANTA_OK || status == MANTA_NOT_READY);
        }
        CHECK_EQ(manta_read(root.first, &value, sizeof value, MANTA_FOREVER), MANTA_OK);
        CHECK_EQ(value, root.second);
        CHECK_EQ(manta_release(root.first), MANTA_OK);
    }
}

void with_runtime(int workers, int max_threads, int threads, uint64_t n, uint64_t size)
{
    init(workers, max_threads);
    std::printf("%d workers, at most %d threads, %g elastic, %d wide\n", workers, max_threads,
                elastic_share, wide_cores);
    static uint64_t stream = 0;
    stream += 100;
    uint64_t base = stream;
    on_threads(workers ? threads : 1, [&](int t) { trees(base + (uint64_t)t, n, size); });
    CHECK_EQ(manta_drain(MANTA_FOREVER), MANTA_OK);
    CHECK_EQ(manta_shutdown(MANTA_FOREVER), MANTA_OK);
}

} // namespace

int main(int argc, char **argv)
{
    begin(argc, argv, 120);
    for (int workers = 0; workers <= 8; workers++) {
        elastic_share = 0;
        wide_cores = 0;
        with_runtime(workers, 0, 1 + workers % 3, times(120, 4), 120);
        if (workers) with_runtime(workers, workers, 2, times(60, 4), 60); // not one thread to spare
        if (workers) with_runtime(workers, workers + 1, 2, times(60, 4), 60);
        elastic_share = 0.2;
        with_runtime(workers, 0, 2, times(60, 4), 60);
        wide_cores = workers >= 2 ? workers : 0;
        with_runtime(workers, 0, 2, times(60, 4), 60);
    }
    return 0;
}
