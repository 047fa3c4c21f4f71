// Copies and fills: every kind, many sizes, data checked; what the argument checks refuse.
#include "cts/cts.h"

#include <cstring>

#include <numeric>
#include <random>

#include <sys/mman.h>
#include <unistd.h>

namespace cts
{

namespace
{

std::vector<uint8_t> noise(size_t size_bytes, unsigned seed)
{
    std::mt19937 random(seed);
    std::vector<uint8_t> data(size_bytes);
    for (uint8_t &byte : data)
        byte = static_cast<uint8_t>(random());
    return data;
}

const size_t kSizes[] = {1, 2, 3, 5, 8, 15, 63, 64, 65, 255, 4096, 65537, (1 << 20) + 13};

} // namespace

TEST_P(Cts, CopiesGoAllWaysInAllSizes)
{
    mti_queue_t *q = queue();
    for (size_t size : kSizes) {
        SCOPED_TRACE(size);
        size_t room = size + 64;
        mti_memory_t *from = host(room), *a = memory(room), *b = memory(room), *to = host(room);
        std::vector<uint8_t> data = noise(room, static_cast<unsigned>(size));
        memcpy(from->ptr, data.data(), room);
        memset(to->ptr, 0xee, room);
        fill(q, a, 0x11);
        fill(q, b, 0x22);
        copy(q, a, 3, from, 5, size); // in
        copy(q, b, 17, a, 3, size);   // inside the device
        copy(q, to, 9, b, 17, size);  // out
        finish(q);
        EXPECT_EQ(0, memcmp(bytes(to) + 9, data.data() + 5, size));
        EXPECT_EQ(0xee, bytes(to)[8]);
        EXPECT_EQ(0xee, bytes(to)[9 + size]);
        std::vector<uint8_t> around = read(q, b, 16, size + 2);
        EXPECT_EQ(0x22, around.front());
        EXPECT_EQ(0x22, around.back());
        copy(q, to, 0, from, 0, room); // from host to host
        finish(q);
        EXPECT_EQ(0, memcmp(to->ptr, data.data(), room));
        for (mti_memory_t *memory : {from, a, b, to})
            mti_memory_free(memory);
    }
}

TEST_P(Cts, CopiesGoBetweenDevicesFromEitherSide)
{
    NEED(MTI_CAP_PEER_COPY);
    NEED(MTI_CAP_CROSS_WAIT);
    ASSERT_GE(devices_.size(), 2u);
    EXPECT_TRUE(mti_device_reaches(device(), second()));
    mti_queue_t *q = queue(device()), *far = queue(second());
    for (size_t size : kSizes) {
        SCOPED_TRACE(size);
        mti_memory_t *here = memory(size), *there = memory(size, second()), *back = memory(size);
        std::vector<uint8_t> data = noise(size, static_cast<unsigned>(size) + 1);
        write(q, here, 0, data);
        copy(q, there, 0, here, 0, size);                                  // pushed
        uint64_t pulled = copy(q, back, 0, there, 0, size, MTI_OP_RECORD); // and pulled
        EXPECT_EQ(data, read(q, back, 0, size));
        ASSERT_OK(mti_queue_wait(far, q, pulled));
        EXPECT_EQ(data, read(far, there, 0, size));
        for (mti_memory_t *memory : {here, there, back})
            mti_memory_free(memory);
    }
}

TEST_P(Cts, ABatchCopiesEachOfItsParts)
{
    mti_queue_t *q = queue();
    constexpr size_t kParts = 300;
    mti_memory_t *from = host(kParts * 64), *there = memory(kParts * 64);
    std::vector<uint8_t> data = noise(kParts * 64, 9);
    memcpy(from->ptr, data.data(), data.size());
    for (size_t count : {size_t{1}, size_t{2}, size_t{20}, kParts}) {
        SCOPED_TRACE(count);
        fill(q, there, 0);
        std::vector<mti_copy_t> copies;
        for (size_t i = 0; i < count; i++) { // backwards, odd sizes, every seventh empty
            size_t at = (count - 1 - i) * 64;
            copies.push_back(
                {mti_place_at(there, at), mti_place_at(from, at), i % 7 == 3 ? 0 : i % 64 + 1});
        }
        uint64_t seq = 0, before = device()->stats.submits;
        ASSERT_OK(mti_queue_copy_batch(q, copies.data(), count, MTI_OP_RECORD, &seq));
        EXPECT_EQ(before + 1, device()->stats.submits);
        std::fill(copies.begin(), copies.end(), mti_copy_t{}); // borrowed for the call only
        await(q, seq);
        std::vector<uint8_t> got = read(q, there, 0, kParts * 64);
        for (size_t i = 0; i < count; i++) {
            size_t at = (count - 1 - i) * 64, size = i % 7 == 3 ? 0 : i % 64 + 1;
            ASSERT_EQ(0, memcmp(&got[at], &data[at], size)) << i;
            if (size < 64) {
                ASSERT_EQ(0, got[at + size]) << i;
            }
        }
    }
}

TEST_P(Cts, TwoDimensionsKeepTheirPitches)
{
    NEED(MTI_CAP_COPY_2D);
    mti_queue_t *q = queue();
    std::vector<uint8_t> data = noise(64 * 40, 3);
    mti_memory_t *from = host(64 * 40), *there = memory(48 * 40), *to = host(32 * 40);
    memcpy(from->ptr, data.data(), data.size());
    memset(to->ptr, 0xee, 32 * 40);
    fill(q, there, 0x55);
    const size_t kWidth = 31, kRows = 37;
    mti_copy_2d_t in = {mti_place_at(there, 1), mti_place_at(from, 2), 48, 64, kWidth, kRows};
    mti_copy_2d_t out = {mti_place_at(to, 0), mti_place_at(there, 1), 32, 48, kWidth, kRows};
    ASSERT_OK(mti_queue_copy_2d(q, &in, 0, nullptr));
    ASSERT_OK(mti_queue_copy_2d(q, &out, 0, nullptr));
    finish(q);
    for (size_t row = 0; row < kRows; row++) {
        ASSERT_EQ(0, memcmp(bytes(to) + row * 32, &data[row * 64 + 2], kWidth)) << row;
        ASSERT_EQ(0xee, bytes(to)[row * 32 + kWidth]) << row;
    }
    EXPECT_EQ(0x55, read(q, there, 1 + kWidth, 1)[0]);
    in.rows = 0;
    EXPECT_OK(mti_queue_copy_2d(q, &in, 0, nullptr));
    finish(q);
}

TEST_P(Cts, FillsWriteTheirPattern)
{
    mti_queue_t *q = queue();
    mti_memory_t *there = memory(1 << 16);
    for (uint32_t pattern_bytes : {1u, 2u, 4u}) {
        for (size_t size : {size_t{4}, size_t{12}, size_t{4096}, size_t{65000}}) {
            SCOPED_TRACE(size);
            fill(q, there, 0xcc);
            ASSERT_OK(mti_queue_fill(q, mti_place_at(there, 8), size, 0x04030201, pattern_bytes, 0,
                                     nullptr));
            std::vector<uint8_t> got = read(q, there, 4, size + 8);
            EXPECT_EQ(0xcc, got[3]);
            EXPECT_EQ(0xcc, got[size + 4]);
            for (size_t i = 0; i < size; i++)
                ASSERT_EQ(i % pattern_bytes + 1, got[i + 4]) << i;
        }
    }
}

TEST_P(Cts, RegisteredMemoryIsCopiedLikePinnedMemory)
{
    NEED(MTI_CAP_HOST_REGISTER);
    size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE)), size = 4 * page;
    void *mine = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(MAP_FAILED, mine);
    memset(mine, 0x77, size);
    mti_queue_t *q = queue();
    mti_memory_t *registered = nullptr, *there = memory(size), *none = nullptr;
    ASSERT_OK(mti_memory_register(device(), mine, size, &registered));
    EXPECT_EQ(mine, registered->ptr);
    copy(q, there, 0, registered, 0, size);
    fill(q, there, 0x66);
    copy(q, registered, page, there, page, page);
    finish(q);
    EXPECT_EQ(0x77, static_cast<uint8_t *>(mine)[page - 1]);
    EXPECT_EQ(0x66, static_cast<uint8_t *>(mine)[page]);
    EXPECT_EQ(0x77, static_cast<uint8_t *>(mine)[2 * page]);

    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT,
                  mti_memory_register(device(), static_cast<char *>(mine) + page, page, &none));
    EXPECT_MESSAGE("overlap");
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT,
                  mti_memory_register(device(), static_cast<char *>(mine) + 8, page, &none));
    EXPECT_MESSAGE("whole pages");
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_memory_register(device(), mine, 8, &none));
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_memory_register(device(), nullptr, page, &none));
    mti_memory_free(registered);
    EXPECT_OK(mti_memory_register(device(), mine, size, &registered));
    mti_memory_free(registered);
    munmap(mine, size);
}

TEST_P(Cts, HostMemoryOfOneDeviceIsGoodForTheOthers)
{
    NEED(MTI_CAP_CROSS_WAIT); // devices that are alone share nothing
    ASSERT_GE(devices_.size(), 2u);
    mti_queue_t *far = queue(second());
    mti_memory_t *mine = host(1000, device()), *there = memory(1000, second());
    memset(mine->ptr, 9, 1000);
    copy(far, there, 0, mine, 0, 1000);
    fill(far, there, 8);
    copy(far, mine, 0, there, 0, 500);
    finish(far);
    EXPECT_EQ(8, bytes(mine)[499]);
    EXPECT_EQ(9, bytes(mine)[500]);
}

TEST_P(Cts, PageableMemoryIsRefusedOrCopied)
{
    mti_queue_t *q = queue();
    mti_memory_t *there = memory(100);
    std::vector<uint8_t> mine = noise(100, 4);
    mti_copy_t in = {mti_place_at(there, 0), mti_place_pageable(mine.data()), 100};
    if (!has(MTI_CAP_PAGEABLE)) {
        EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_queue_copy(q, &in, 0, nullptr));
        EXPECT_MESSAGE("the source is host memory that is not pinned");
        return;
    }
    ASSERT_OK(mti_queue_copy(q, &in, 0, nullptr));
    EXPECT_EQ(mine, read(q, there, 0, 100));
    in.src.ptr = nullptr;
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_queue_copy(q, &in, 0, nullptr));
}

TEST_P(Cts, ABadCopyIsRefusedAndTakesNoNumber)
{
    mti_queue_t *q = queue();
    mti_memory_t *there = memory(100), *mine = host(100);
    auto refused = [&](mti_place_t dst, mti_place_t src, size_t size, const char *why) {
        mti_copy_t copies[2] = {{mti_place_at(there, 0), mti_place_at(mine, 0), 1},
                                {dst, src, size}};
        EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_queue_copy(q, &copies[1], 0, nullptr));
        EXPECT_MESSAGE(why);
        EXPECT_MESSAGE(device()->name);
        EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_queue_copy_batch(q, copies, 2, 0, nullptr));
    };
    refused(mti_place_at(there, 0), mti_place_at(mine, 0), 101,
            "the destination, 101 bytes at offset 0, is not inside its 100 bytes");
    refused(mti_place_at(there, 99), mti_place_at(mine, 0), 2, "offset 99");
    refused(mti_place_at(there, 0), mti_place_at(mine, 50), 51,
            "the source, 51 bytes at offset 50");
    refused(mti_place_at(there, 101), mti_place_at(mine, 0), 1, "offset 101");
    refused({static_cast<char *>(there->ptr) - 1, there}, mti_place_at(mine, 0), 1, "offset -1");
    refused(mti_place_at(there, 0), mti_place_at(mine, 0), SIZE_MAX, "not inside");
    refused(mti_place_at(there, 10), mti_place_at(there, 0), 11, "overlap");
    refused(mti_place_at(there, 0), mti_place_at(there, 0), 1, "overlap");
    EXPECT_EQ(0u, q->submitted);
    EXPECT_EQ(0u, device()->stats.submits);
}

TEST_P(Cts, ABadTwoDimensionalCopyIsRefused)
{
    NEED(MTI_CAP_COPY_2D);
    mti_queue_t *q = queue();
    mti_memory_t *there = memory(100), *mine = host(100);
    mti_copy_2d_t copy = {mti_place_at(there, 0), mti_place_at(mine, 0), 10, 10, 10, 10};
    EXPECT_OK(mti_queue_copy_2d(q, &copy, 0, nullptr));
    copy.width_bytes = 11;
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_queue_copy_2d(q, &copy, 0, nullptr));
    EXPECT_MESSAGE("pitch of 10 bytes is less than the width, 11");
    copy = {mti_place_at(there, 1), mti_place_at(mine, 0), 10, 10, 10, 10};
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_queue_copy_2d(q, &copy, 0, nullptr));
    copy = {mti_place_at(there, 0), mti_place_at(mine, 0), 10, 10, 10, 11};
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_queue_copy_2d(q, &copy, 0, nullptr));
    copy = {mti_place_at(there, 0), mti_place_at(mine, 0), SIZE_MAX / 2, 10, 10, 3};
    EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT, mti_queue_copy_2d(q, &copy, 0, nullptr));
    EXPECT_MESSAGE("more than there can be");
    finish(q);
}

TEST_P(Cts, ABadFillIsRefused)
{
    mti_queue_t *q = queue();
    mti_memory_t *there = memory(100), *mine = host(100);
    auto refused = [&](mti_place_t dst, size_t size, uint32_t pattern_bytes, const char *why) {
        EXPECT_STATUS(MANTA_ERR_INVALID_ARGUMENT,
                      mti_queue_fill(q, dst, size, 0, pattern_bytes, 0, nullptr));
        EXPECT_MESSAGE(why);
    };
    refused(mti_place_at(there, 0), 100, 3, "pattern of 3 bytes");
    refused(mti_place_at(there, 0), 100, 8, "pattern of 8 bytes");
    refused(mti_place_at(there, 2), 8, 4, "aligned");
    refused(mti_place_at(there, 0), 6, 4, "aligned");
    refused(mti_place_at(there, 0), 101, 1, "not inside");
    refused(mti_place_at(mine, 0), 100, 1, "not memory of this device");
    refused(mti_place_pageable(mine->ptr), 100, 1, "not memory of this device");
    if (devices_.size() < 2) return;
    refused(mti_place_at(memory(100, second()), 0), 100, 1, "not memory of this device");
}

} // namespace cts
