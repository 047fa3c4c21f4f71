// The ref table: counts, stale lookups, slots that are taken again.
//
// Invariants: a ref that its holder has not released gives its value; a lookup by a stale ref gives
// STALE_REF or the value that it was made for, never another's; nothing is left at the end.
#include "stress/stress.h"

#include <mutex>

using namespace stress;

namespace
{

struct Entry {
    manta_ref_t ref;
    uint64_t value;
};

// Refs that were published; their owner may have released them meanwhile.
struct Board {
    std::mutex lock;
    Entry entries[32] = {};
};

void worker(Board *boards, int boards_n, int t, uint64_t steps)
{
    Rng rng((uint64_t)t + 1);
    std::vector<Entry> own;
    std::vector<Entry> held; // retained from a board
    for (uint64_t i = 0; i < steps; i++) {
        Board &board = boards[rng.below((uint64_t)boards_n)];
        switch (rng.below(6)) {
        case 0: {
            Entry e{{0}, rng.next()};
            uint64_t big[8] = {e.value, e.value, e.value, e.value,
                               e.value, e.value, e.value, e.value};
            bool small = rng.one_in(2);
            e.ref = manta_put_typed(big, small ? 8 : sizeof big, MANTA_DTYPE(MANTA_U64, 8));
            CHECK_EQ(manta_ref_status(e.ref), MANTA_OK);
            own.push_back(e);
            std::lock_guard<std::mutex> guard(board.lock);
            board.entries[rng.below(32)] = e;
            break;
        }
        case 1:
        case 2:
            if (own.size() > 20 || (!own.empty() && rng.one_in(3))) {
                size_t k = rng.below(own.size());
                CHECK_EQ(manta_release(own[k].ref), MANTA_OK);
                own[k] = own.back();
                own.pop_back();
            }
            break;
        case 3: {
            Entry e;
            {
                std::lock_guard<std::mutex> guard(board.lock);
                e = board.entries[rng.below(32)];
            }
            if (!e.ref.id) break;
            manta_ref_t again = manta_retain(e.ref);
            if (again.id == e.ref.id) held.push_back(e);
            break;
        }
        case 4: {
            Entry e;
            {
                std::lock_guard<std::mutex> guard(board.lock);
                e = board.entries[rng.below(32)];
            }
            if (!e.ref.id) break;
            manta_view_t view;
            manta_status_t status = manta_get(e.ref, &view, 0);
            CHECK(status == MANTA_OK || status == MANTA_ERR_STALE_REF);
            if (status != MANTA_OK) break;
            for (size_t k = 0; k < view.count; k++)
                CHECK_EQ(static_cast<const uint64_t *>(view.data)[k], e.value);
            manta_view_release(&view);
            break;
        }
        default:
            if (held.empty()) break;
            size_t k = rng.below(held.size());
            manta_view_t view;
            CHECK_EQ(manta_get(held[k].ref, &view, 0), MANTA_OK);
            uint64_t value = held[k].value;
            CHECK_EQ(static_cast<const uint64_t *>(view.data)[0], value);
            if (rng.one_in(2)) {
                CHECK_EQ(manta_release(held[k].ref), MANTA_OK);
                held[k] = held.back();
                held.pop_back();
            }
            CHECK_EQ(static_cast<const uint64_t *>(view.data)[view.count - 1], value); // pinned
            manta_view_release(&view);
            break;
        }
    }
    for (Entry &e : own)
        CHECK_EQ(manta_release(e.ref), MANTA_OK);
    for (Entry &e : held)
        CHECK_EQ(manta_release(e.ref), MANTA_OK);
}

} // namespace

int main(int argc, char **argv)
{
    begin(argc, argv, 60);
    for (int round = 0; round < 3; round++) {
        init(1);
        std::vector<Board> boards(2);
        on_threads(5, [&](int t) { worker(boards.data(), 2, t + round * 10, times(300000)); });
        manta_stats_t stats{};
        stats.struct_size = sizeof stats;
        CHECK_EQ(manta_runtime_stats({0}, &stats), MANTA_OK);
        CHECK_EQ(stats.live_refs, 0u);
        CHECK_EQ(stats.live_bytes, 0u);
        CHECK_EQ(manta_shutdown(MANTA_FOREVER), MANTA_OK);
    }
    return 0;
}
