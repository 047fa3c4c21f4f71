// The right that goes from thread to thread, devices on threads of their own, and random programs
// against a sequential model.
#include "cts/cts.h"

#include <cstring>

#include <atomic>
#include <mutex>
#include <random>
#include <thread>

namespace cts
{

TEST_P(Cts, TheRightGoesFromThreadToThread)
{
    mti_queue_t *q = queue();
    mti_memory_t *there = memory(8), *back = host(8 * 400);
    std::mutex right; // guards the device
    std::vector<std::thread> threads;
    for (uint32_t t = 0; t < 4; t++) {
        threads.emplace_back([&, t] {
            for (uint32_t i = 0; i < 100; i++) {
                std::lock_guard<std::mutex> guard(right);
                fill(q, there, t);
                uint64_t seq = copy(q, back, 8 * (t * 100 + i), there, 0, 8, MTI_OP_RECORD);
                if (i % 10 == 0) await(q, seq);
            }
        });
    }
    for (std::thread &thread : threads)
        thread.join();
    finish(q);
    for (uint32_t i = 0; i < 400; i++)
        ASSERT_EQ(i / 100, bytes(back)[8 * i]) << i;
}

TEST_P(Cts, AnybodyMayReadACompletedWordAndThenTheData)
{
    mti_queue_t *q = queue();
    constexpr size_t kRounds = 300;
    mti_memory_t *there = memory(64), *back = host(64 * kRounds);
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::thread reader([&] {
        uint64_t last = 0;
        while (!stop) {
            uint64_t done = mti_queue_completed(q); // fills are odd, copies even
            if (done < last) wrong++;
            last = done;
            for (uint64_t i = 0; i < done / 2; i++) {
                if (bytes(back)[64 * i + 63] != static_cast<uint8_t>(i + 1)) wrong++;
            }
            std::this_thread::yield();
        }
    });
    for (size_t i = 0; i < kRounds; i++) {
        fill(q, there, static_cast<uint32_t>(i + 1));
        await(q, copy(q, back, 64 * i, there, 0, 64, MTI_OP_RECORD));
    }
    stop = true;
    reader.join();
    EXPECT_EQ(0, wrong);
}

TEST_P(Cts, TwoDevicesOnTwoThreadsWaitForEachOther)
{
    NEED(MTI_CAP_CROSS_WAIT);
    ASSERT_GE(devices_.size(), 2u);
    if (is_virtual()) return; // one thread drives all of them
    mti_memory_t *shared = host(64), *out = host(64 * 200);
    struct Side {
        mti_queue_t *queue;
        mti_memory_t *memory;
        std::atomic<uint64_t> told{0}; // the last number the other side may wait for
    } sides[2];
    for (int i = 0; i < 2; i++) {
        sides[i].queue = queue(devices_[i]);
        sides[i].memory = memory(64, devices_[i]);
    }
    // By turns: round r is side r % 2's; it waits for the other's last round on the device.
    constexpr uint32_t kRounds = 200;
    std::atomic<uint32_t> turn{0};
    auto drive = [&](int me) {
        Side &mine = sides[me], &other = sides[1 - me];
        for (uint32_t round = static_cast<uint32_t>(me); round < kRounds; round += 2) {
            while (turn.load(std::memory_order_acquire) != round) {
                mti_poll_t seen;
                mti_device_poll(devices_[me], &seen);
                std::this_thread::yield();
            }
            EXPECT_OK(mti_queue_wait(mine.queue, other.queue, other.told));
            copy(mine.queue, mine.memory, 0, shared, 0, 64);
            copy(mine.queue, out, 64 * round, mine.memory, 0, 64);
            fill(mine.queue, mine.memory, round + 1);
            mine.told = copy(mine.queue, shared, 0, mine.memory, 0, 64, MTI_OP_RECORD);
            turn.store(round + 1, std::memory_order_release);
        }
    };
    memset(shared->ptr, 0, 64);
    std::thread there([&] { drive(1); });
    drive(0);
    there.join();
    finish(sides[0].queue);
    finish(sides[1].queue);
    for (uint32_t round = 0; round < kRounds; round++)
        ASSERT_EQ(static_cast<uint8_t>(round), bytes(out)[64 * round + 5]) << round;
}

// Random programs over buffers on two devices and on the host, with exactly the waits that the hazards
// ask for, against a model that does the same on vectors, one after the other.
namespace
{

struct Buffer {
    mti_memory_t *memory;
    std::vector<uint8_t> model;
    std::vector<std::pair<mti_queue_t *, uint64_t>> users; // since the last write, the write first
};

} // namespace

TEST_P(Cts, RandomProgramsLeaveWhatTheModelLeaves)
{
    bool two = devices_.size() > 1 && has(MTI_CAP_PEER_COPY | MTI_CAP_CROSS_WAIT);
    unsigned seeds = driver().is_slow ? 2 : 6;
    for (unsigned seed = 1; seed <= seeds; seed++) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        std::mt19937 random(seed);
        auto draw = [&](size_t n) { return static_cast<size_t>(random() % n); };
        constexpr size_t kBytes = 4096;
        std::vector<Buffer> buffers;
        std::vector<mti_queue_t *> queues;
        for (size_t i = 0; i < 3; i++) {
            queues.push_back(queue(device()));
            if (two) queues.push_back(queue(second()));
            buffers.push_back({memory(kBytes, device()), {}, {}});
            if (two) buffers.push_back({memory(kBytes, second()), {}, {}});
            buffers.push_back({host(kBytes), {}, {}});
        }
        for (Buffer &buffer : buffers) {
            buffer.model.assign(kBytes, 0);
            mti_queue_t *q = queues[0];
            for (mti_queue_t *other : queues) {
                if (other->device == buffer.memory->device) q = other;
            }
            write(q, buffer.memory, 0, buffer.model);
        }
        auto order_after = [&](mti_queue_t *q, Buffer &buffer, bool writes) {
            for (size_t i = 0; i < buffer.users.size(); i++) {
                if (!writes && i > 0) break; // a reader only waits for the last writer
                EXPECT_OK(mti_queue_wait(q, buffer.users[i].first, buffer.users[i].second));
            }
        };
        auto used = [&](mti_queue_t *q, Buffer &buffer, bool writes, uint64_t seq) {
            if (writes) buffer.users.clear();
            buffer.users.emplace_back(q, seq);
        };
        for (int step = 0; step < 400; step++) {
            mti_queue_t *q = queues[draw(queues.size())];
            Buffer &dst = buffers[draw(buffers.size())];
            Buffer &src = buffers[draw(buffers.size())];
            size_t size = draw(kBytes) + 1, to = draw(kBytes - size + 1),
                   from = draw(kBytes - size + 1);
            // Another device's queue may only wait for what is recorded.
            uint32_t flags = two || draw(3) == 0 ? MTI_OP_RECORD : MTI_OP_NONE;
            uint64_t seq = 0;
            if (draw(4) == 0 && dst.memory->kind == MTI_MEMORY_DEVICE &&
                dst.memory->device == q->device) {
                uint32_t pattern = static_cast<uint32_t>(draw(256));
                order_after(q, dst, true);
                ASSERT_OK(
                    mti_queue_fill(q, mti_place_at(dst.memory, to), size, pattern, 1, flags, &seq));
                std::fill_n(dst.model.begin() + static_cast<long>(to), size,
                            static_cast<uint8_t>(pattern));
                used(q, dst, true, seq);
            } else if (&dst != &src) {
                order_after(q, src, false);
                order_after(q, dst, true);
                seq = copy(q, dst.memory, to, src.memory, from, size, flags);
                memcpy(&dst.model[to], &src.model[from], size);
                used(q, src, false, seq);
                used(q, dst, true, seq);
            }
            if (draw(20) == 0) poll(q->device);
            if (draw(100) == 0) finish(q);
        }
        for (mti_queue_t *q : queues)
            finish(q);
        for (Buffer &buffer : buffers) {
            mti_queue_t *q = buffer.memory->device == device() ? queues[0] : queues[1];
            ASSERT_EQ(buffer.model, read(q, buffer.memory, 0, kBytes));
            mti_memory_free(buffer.memory);
        }
        for (mti_queue_t *q : queues) {
            finish(q); // the reads
            ASSERT_OK(mti_queue_destroy(q));
        }
    }
}

} // namespace cts
