// Random graphs of tasks against a serial oracle.
//
// Tasks take values, up to six refs, lists of refs and an INOUT, give up to three results, and some
// fail. Several threads build graphs in one runtime; refs are retained, read and released all along.
//
// Invariant: every ref ends with the value that running the tasks one after the other gives, or, if
// any ancestor fails, with the code of one of the ancestors that failed.
#include "stress/stress.h"

#include <cstring>
#include <set>

using namespace stress;

namespace
{

enum { MAX_IN = 6, MAX_OUT = 3 };

struct Head {
    uint64_t seed;
    uint32_t fail, size; // user code + 1, or 0; elements of each OUT
};
struct Image {
    Head head;
    manta_ref_t refs[MAX_IN + 1];
};
struct ListImage {
    Head head;
    manta_ref_list_t list;
};

uint64_t sum(const void *data, size_t bytes)
{
    uint64_t s = bytes;
    for (size_t i = 0; i < bytes / 8; i++)
        s = mix(s ^ static_cast<const uint64_t *>(data)[i]);
    return s;
}

uint64_t element(uint64_t seed, uint64_t in, uint32_t result, size_t i, uint64_t old)
{
    return mix(seed ^ mix(in + result) ^ mix(i * 77 + old));
}

struct Shape {
    int in, inout, out; // in < 0: one list
};

// What the body of every shape does; buffers come as [in..., inout, out...].
template <int IN, int INOUT, int OUT> manta_status_t invoke(const manta_call_t *call)
{
    const Head *head = static_cast<const Head *>(call->args);
    if (head->fail) return manta_fail(call->task, MANTA_ERR_USER + (int)head->fail, "as told");
    uint64_t in = 0;
    const manta_buffer_t *b = call->buffers;
    if (IN < 0) {
        const manta_buffer_t *items = static_cast<const manta_buffer_t *>(b->data);
        for (size_t k = 0; k < b->size_bytes / sizeof *items; k++)
            in += sum(items[k].data, items[k].size_bytes);
        b++;
    } else {
        for (int k = 0; k < IN; k++, b++)
            in += sum(b->data, b->size_bytes);
    }
    for (int r = 0; r < INOUT + OUT; r++, b++) {
        uint64_t *data = static_cast<uint64_t *>(b->data);
        for (size_t i = 0; i < b->size_bytes / 8; i++)
            data[i] = element(head->seed, in, (uint32_t)r, i, r < INOUT ? data[i] : 0);
    }
    return MANTA_OK;
}

template <int OUT> manta_status_t sizes(const manta_call_t *call, size_t *out)
{
    for (int r = 0; r < OUT; r++)
        out[r] = static_cast<const Head *>(call->args)->size * 8u;
    return MANTA_OK;
}

struct Def {
    Shape shape;
    manta_param_t params[1 + MAX_IN + 1 + MAX_OUT];
    manta_variant_t variant;
    manta_task_def_t def;
};

Def defs[256];
int def_count = 0;

template <int IN, int INOUT, int OUT> void add_def()
{
    Def &d = defs[def_count++];
    d.shape = {IN, INOUT, OUT};
    uint32_t n = 0, offset = sizeof(Head);
    d.params[n++] = {
        "head", "Head", MANTA_PARAM_VAL, MANTA_DTYPE(MANTA_OPAQUE, sizeof(Head)), sizeof(Head),
        8,      0};
    const manta_dtype_t u64 = MANTA_DTYPE(MANTA_U64, 8);
    if (IN < 0) {
        d.params[n++] = {"list", "u64", MANTA_PARAM_IN_LIST, u64, 8, 8, offset};
        offset += sizeof(manta_ref_list_t);
    }
    for (int i = 0; i < IN; i++, offset += 8)
        d.params[n++] = {"in", "u64", MANTA_PARAM_IN, u64, 8, 8, offset};
    for (int i = 0; i < INOUT; i++, offset += 8)
        d.params[n++] = {"io", "u64", MANTA_PARAM_INOUT, u64, 8, 8, offset};
    for (int i = 0; i < OUT; i++)
        d.params[n++] = {"out", "u64", MANTA_PARAM_OUT, u64, 8, 8, 0};
    d.variant = {invoke<IN, INOUT, OUT>, sizes<OUT>};
    d.def = {"node", d.params, n, offset, &d.variant, nullptr, 0, nullptr, nullptr};
}

template <int IN> void add_defs()
{
    add_def<IN, 0, 1>();
    add_def<IN, 0, 1>();
    add_def<IN, 0, 2>();
    add_def<IN, 0, 3>();
    add_def<IN, 0, 0>();
    if (IN >= 0) {
        add_def<(IN < 0 ? 0 : IN), 1, 0>();
        add_def<(IN < 0 ? 0 : IN), 1, 2>();
    }
}

struct Node {
    manta_ref_t ref;
    bool held;
    std::vector<uint64_t> value;
    std::set<int> errors; // not empty: fails with one of these
};

void compare(const Node &node)
{
    manta_view_t view;
    manta_status_t status = manta_get(node.ref, &view, MANTA_FOREVER);
    if (!node.errors.empty()) {
        CHECK(node.errors.count(status));
        return;
    }
    CHECK_EQ(status, MANTA_OK);
    CHECK_EQ(view.size_bytes, node.value.size() * 8);
    CHECK(node.value.empty() || std::memcmp(view.data, node.value.data(), view.size_bytes) == 0);
    manta_view_release(&view);
}

void graph(Rng &rng, uint64_t count, uint64_t fail_one_in, uint64_t reach)
{
    std::vector<Node> nodes;
    for (int i = 0; i < 4; i++) {
        Node node{};
        node.value.resize(1 + rng.below(6));
        for (uint64_t &v : node.value)
            v = rng.next();
        node.ref =
            manta_put_typed(node.value.data(), node.value.size() * 8, MANTA_DTYPE(MANTA_U64, 8));
        node.held = true;
        nodes.push_back(node);
    }
    auto pick = [&]() -> size_t {
        for (;;) {
            size_t span = nodes.size() < reach ? nodes.size() : reach;
            size_t i = nodes.size() - 1 - rng.below(span);
            if (nodes[i].held) return i;
            i = rng.below(4);
            if (nodes[i].held) return i;
        }
    };
    for (uint64_t n = 0; n < count; n++) {
        Def &d = defs[rng.below((uint64_t)def_count)];
        Image image{};
        ListImage list_image{};
        image.head = {rng.next(), fail_one_in && rng.one_in(fail_one_in) ? (uint32_t)n + 1 : 0,
                      (uint32_t)rng.below(9)};
        uint64_t in = 0;
        std::set<int> errors;
        auto take_in = [&](size_t i) {
            in += sum(nodes[i].value.data(), nodes[i].value.size() * 8);
            errors.insert(nodes[i].errors.begin(), nodes[i].errors.end());
            return nodes[i].ref;
        };
        std::vector<manta_ref_t> list;
        int at = 0;
        if (d.shape.in < 0) {
            uint64_t length = rng.one_in(50) ? rng.below(200) : rng.below(10);
            for (uint64_t k = 0; k < length; k++)
                list.push_back(take_in(pick()));
            list_image = {image.head, {list.data(), list.size()}};
        }
        for (int k = 0; k < d.shape.in; k++)
            image.refs[at++] = take_in(pick());
        const Node *updated = nullptr;
        if (d.shape.inout) {
            size_t i = pick();
            if (i < 4 || rng.one_in(2)) { // keeps the old version alive: the task works on a copy
                CHECK_EQ(manta_retain(nodes[i].ref).id, nodes[i].ref.id);
            } else {
                nodes[i].held = false;
            }
            image.refs[at++] = nodes[i].ref;
            errors.insert(nodes[i].errors.begin(), nodes[i].errors.end());
            updated = &nodes[i];
        }
        if (errors.empty() && image.head.fail) errors.insert(MANTA_ERR_USER + (int)image.head.fail);
        int results = d.shape.inout + d.shape.out;
        manta_ref_t refs[MAX_OUT + 1];
        manta_task_desc_t desc{};
        desc.struct_size = sizeof desc;
        desc.task = &d.def;
        desc.args = d.shape.in < 0 ? (const void *)&list_image : &image;
        desc.args_bytes = d.def.args_bytes;
        CHECK_EQ(manta_submit(&desc, refs, results ? (size_t)results : 1), MANTA_OK);
        std::vector<Node> made;
        for (int r = 0; r < (results ? results : 1); r++) {
            Node node{};
            node.ref = refs[r];
            node.held = true;
            node.errors = errors;
            if (errors.empty() && results) {
                bool old = r < d.shape.inout;
                node.value.resize(old ? updated->value.size() : image.head.size);
                for (size_t i = 0; i < node.value.size(); i++)
                    node.value[i] =
                        element(image.head.seed, in, (uint32_t)r, i, old ? updated->value[i] : 0);
            }
            made.push_back(node);
        }
        for (Node &node : made)
            nodes.push_back(node);
        if (rng.one_in(3)) { // lets go of something, often while it is pending
            size_t i = nodes.size() - 1 - rng.below(nodes.size() < reach ? nodes.size() : reach);
            if (i >= 4 && nodes[i].held) {
                if (rng.one_in(4)) compare(nodes[i]);
                CHECK_EQ(manta_release(nodes[i].ref), MANTA_OK);
                nodes[i].held = false;
            }
        }
    }
    for (Node &node : nodes) {
        if (!node.held) continue;
        compare(node);
        CHECK_EQ(manta_release(node.ref), MANTA_OK);
    }
}

} // namespace

int main(int argc, char **argv)
{
    begin(argc, argv, 120);
    add_defs<-1>();
    add_defs<0>();
    add_defs<1>();
    add_defs<2>();
    add_defs<3>();
    add_defs<6>();
    std::atomic<uint64_t> stream{0};
    uint64_t rounds = times(30, 2);
    for (uint64_t round = 0; round < rounds; round++) {
        int workers = (int)(round % 9);
        init(workers);
        int threads = workers == 0 ? 1 : 1 + (int)(round % 3);
        on_threads(threads, [&](int t) {
            Rng rng(++stream * 1000 + (uint64_t)t);
            for (int i = 0; i < 4; i++) {
                uint64_t fail = rng.one_in(2) ? 0 : 5 + rng.below(60);
                graph(rng, times(1500, 150), fail, 1 + rng.below(60));
            }
        });
        CHECK_EQ(manta_drain(MANTA_FOREVER), MANTA_OK);
        manta_stats_t stats{};
        stats.struct_size = sizeof stats;
        CHECK_EQ(manta_runtime_stats({0}, &stats), MANTA_OK);
        CHECK_EQ(stats.submitted, stats.completed);
        CHECK_EQ(stats.live_refs, 0u);
        // A worker that found a cancelled task in its queue may still be freeing what that held.
        while (stats.live_bytes) {
            std::this_thread::yield();
            CHECK_EQ(manta_runtime_stats({0}, &stats), MANTA_OK);
        }
        CHECK_EQ(manta_shutdown(MANTA_FOREVER), MANTA_OK);
    }
    return 0;
}
