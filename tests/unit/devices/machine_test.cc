// The machine file of `sim`: what it means, and that everything else is refused with its line.
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>

extern "C" {
#include "devices/sim/machine.h"
}
#include "unit/failing.h"

#include <gtest/gtest.h>

namespace
{

class MachineTest : public ::testing::Test
{
  protected:
    manta_status_t parse(const std::string &text)
    {
        // A copy that ends where the text ends, so that a sanitizer sees a byte too many.
        std::unique_ptr<char[]> copy(new char[text.size()]);
        if (!text.empty()) memcpy(copy.get(), text.data(), text.size());
        return mti_machine_parse(copy.get(), text.size(), &allocator_, machine_.get());
    }
    void refused(const std::string &text, const std::string &why)
    {
        memset(static_cast<void *>(machine_.get()), 0xa5, sizeof *machine_);
        EXPECT_EQ(MANTA_ERR_INVALID_ARGUMENT, parse(text)) << text;
        EXPECT_NE(std::string::npos, std::string(manta_error_message()).find(why))
            << text << "\n  says: " << manta_error_message();
        EXPECT_EQ(0xa5a5a5a5u, machine_->gpu_count) << "written though it failed";
    }

    manta_allocator_t allocator_ = {};
    std::unique_ptr<mti_machine_file_t> machine_{new mti_machine_file_t};
};

TEST_F(MachineTest, NothingIsAMachineWithoutGpus)
{
    for (const char *text : {"", "\n", "  \t\r\n# only words\n\n", "#"}) {
        ASSERT_EQ(MANTA_OK, parse(text)) << text;
        EXPECT_EQ(0u, machine_->gpu_count);
        EXPECT_EQ(MTI_MACHINE_CLOCK_THREADS, machine_->clock);
    }
}

TEST_F(MachineTest, EveryKeyArrives)
{
    ASSERT_EQ(MANTA_OK,
              parse("clock virtual  # and a comment\r\n"
                    "seed 18446744073709551615\n"
                    "\tjitter 5\n"
                    "gpu memory=80GiB node=1 cc=8.6 in=20GB/s out=10GB/s speed=2TB/s latency=3us "
                    "launch=4000ns slots=2 queues=9 name=A100-x\n"
                    "gpus 2 memory=512MB#tight\n"
                    "link 0 2 speed=300GB/s latency=7us\n"
                    "link 2 1 none"))
        << manta_error_message();
    EXPECT_EQ(MTI_MACHINE_CLOCK_VIRTUAL, machine_->clock);
    EXPECT_EQ(UINT64_MAX, machine_->seed);
    EXPECT_EQ(5u, machine_->jitter_percent);
    ASSERT_EQ(3u, machine_->gpu_count);
    const mti_machine_gpu_t &gpu = machine_->gpus[0];
    EXPECT_STREQ("A100-x", gpu.name);
    EXPECT_EQ(80ull << 30, gpu.memory_bytes);
    EXPECT_EQ(1, gpu.node);
    EXPECT_EQ(8, gpu.cc_major);
    EXPECT_EQ(6, gpu.cc_minor);
    EXPECT_EQ(20000000000u, gpu.in_bytes_per_s);
    EXPECT_EQ(10000000000u, gpu.out_bytes_per_s);
    EXPECT_EQ(2000000000000u, gpu.memory_bytes_per_s);
    EXPECT_EQ(3000, gpu.latency_ns);
    EXPECT_EQ(4000, gpu.launch_ns);
    EXPECT_EQ(2u, gpu.slots);
    EXPECT_EQ(9u, gpu.queues);
    EXPECT_EQ(512000000u, machine_->gpus[2].memory_bytes);
    EXPECT_EQ(-1, machine_->gpus[2].node);
    for (int i = 0; i < 2; i++) { // both ways
        const mti_machine_link_t &link = i ? machine_->links[2][0] : machine_->links[0][2];
        EXPECT_TRUE(link.direct);
        EXPECT_EQ(300000000000u, link.bytes_per_s);
        EXPECT_EQ(7000, link.latency_ns);
        EXPECT_FALSE(i ? machine_->links[1][2].direct : machine_->links[2][1].direct);
    }
    EXPECT_TRUE(machine_->links[0][1].direct);
}

TEST_F(MachineTest, LinksSetAllPairsAndOneLinkMakesItsPairDirectAgain)
{
    ASSERT_EQ(MANTA_OK, parse("gpus 4\nlinks none\nlink 1 3 speed=1GB/s\n"));
    EXPECT_FALSE(machine_->links[0][1].direct);
    EXPECT_TRUE(machine_->links[3][1].direct);
    EXPECT_EQ(1000000000u, machine_->links[1][3].bytes_per_s);
    ASSERT_EQ(MANTA_OK, parse("gpus 64\nlinks speed=5GB/s\n"));
    EXPECT_EQ(5000000000u, machine_->links[63][0].bytes_per_s);
}

TEST_F(MachineTest, WhatIsWrongIsRefusedWithItsLine)
{
    refused("gpux", "line 1: unknown word: 'gpux'");
    refused("\n\ngpu memory", "line 3: expected key=value: 'memory'");
    refused("gpu memory=1GiB memory=2GiB", "key stands twice: 'memory'");
    refused("gpu size=1GiB", "unknown key: 'size'");
    refused("gpu =1", "unknown key");
    refused("gpu memory=", "not a value");
    refused("gpu memory=0", "out of range: 'memory=0'");
    refused("gpu memory=99999999999TiB", "out of range");
    refused("gpu memory=99999999999999999999", "out of range");
    refused("gpu memory=18446744073709551615TiB", "out of range");
    refused("gpu memory=-1", "not a value");
    refused("gpu memory=1.5GiB", "not a value");
    refused("gpu memory=1gib", "not a value");
    refused("gpu memory=1GiBs", "not a value");
    refused("gpu in=5", "not a value"); // a speed needs its unit
    refused("gpu in=0GB/s", "out of range");
    refused("gpu latency=2", "not a value");
    refused("gpu latency=2h", "not a value");
    refused("gpu latency=3601s", "out of range");
    refused("gpu node=1024", "out of range");
    refused("gpu slots=0", "out of range");
    refused("gpu queues=257", "out of range");
    refused("gpu cc=9", "not major.minor: 'cc=9'");
    refused("gpu cc=9.10", "not major.minor");
    refused("gpu cc=9.0x", "not major.minor");
    refused("gpu cc=.5", "not major.minor");
    refused("gpu name=", "not a name");
    refused("gpu name=" + std::string(32, 'x'), "not a name");
    refused("gpu name=a\x01", "not a name");
    refused("gpus", "a number is missing");
    refused("gpus 0", "out of range: '0'");
    refused("gpus 65", "out of range");
    refused("gpus 4x", "not a number");
    refused("gpus memory=4GiB", "not a number");
    refused("gpus 60\ngpus 5", "line 2: more than 64 GPUs");
    refused("clock", "which one?");
    refused("clock fast", "threads, real or virtual, not: 'fast'");
    refused("clock real real", "one word too many: 'real'");
    refused("clock real\nclock real", "line 2: stands twice");
    refused("seed", "a number is missing");
    refused("seed 18446744073709551616", "not a number");
    refused("seed 1 2", "one word too many");
    refused("jitter 101", "out of range");
    refused("gpus 2\nlink 0", "line 2: a number is missing");
    refused("gpus 2\nlink 0 0", "to itself");
    refused("gpus 2\nlink 0 64", "out of range");
    refused("gpus 2\nlink 0 1\nlink 1 0", "line 3: this pair has a link already");
    refused("gpus 2\n\nlink 0 2 none\n\n", "line 3: a link to a GPU that there is not");
    refused("gpus 2\nlink 0 1 none speed=1GB/s", "'none' stands alone");
    refused("gpus 2\nlink 0 1 speed=1GB/s none", "'none' stands alone");
    refused("gpus 2\nlink 0 1 memory=1", "unknown key");
    refused("gpus 2\nlink 0 1\nlinks none", "line 3: 'links' stands before any 'link'");
    refused("links none\nlinks none", "line 2: stands twice");
    refused(std::string("gpu\0x", 5), "unknown word");
    refused(std::string(MTI_MACHINE_MAX_BYTES + 1, '\n'), "are more than");
}

TEST_F(MachineTest, AFileIsReadAndItsNameIsInMessages)
{
    std::string path = ::testing::TempDir() + "manta_machine_test";
    FILE *file = fopen(path.c_str(), "w");
    ASSERT_NE(nullptr, file);
    fputs("gpus 3\nclock never\n", file);
    fclose(file);
    EXPECT_EQ(MANTA_ERR_INVALID_ARGUMENT,
              mti_machine_read(path.c_str(), &allocator_, machine_.get()));
    EXPECT_NE(std::string::npos, std::string(manta_error_message()).find("manta_machine_test"));
    EXPECT_NE(std::string::npos, std::string(manta_error_message()).find("line 2"));
    remove(path.c_str());
    EXPECT_EQ(MANTA_ERR_IO, mti_machine_read(path.c_str(), &allocator_, machine_.get()));
    EXPECT_EQ(MANTA_ERR_IO, mti_machine_read("/", &allocator_, machine_.get()));
    FailingAlloc failing(1, kAll);
    EXPECT_EQ(MANTA_ERR_OUT_OF_MEMORY, mti_machine_read("/dev/null", &allocator_, machine_.get()));
    EXPECT_EQ(MANTA_ERR_OUT_OF_MEMORY, parse("gpus 1"));
}

// Damaged files: any answer is fine but a crash, and what is accepted is in range.
TEST_F(MachineTest, DamageIsNeverFatal)
{
    const std::string good =
        "clock virtual\nseed 7\njitter 5\ngpus 2 memory=80GiB node=0 cc=9.0 in=55GB/s\n"
        "gpu memory=1TiB slots=3 latency=2us\nlink 0 1 speed=370GB/s latency=2us\n"
        "link 0 2 none\n";
    std::mt19937 random(1);
    const std::string letters = " \n=#/.0123456789kKMGTiBsunlg\t\r\xff";
    int accepted = 0;
    for (int i = 0; i < 20000; i++) {
        std::string text = good;
        for (unsigned n = random() % 4; n < 4; n++) {
            size_t at = random() % text.size();
            switch (random() % 4) {
            case 0:
                text[at] = letters[random() % letters.size()];
                break;
            case 1:
                text.erase(at, random() % 9 + 1);
                break;
            case 2:
                text.insert(at, 1, letters[random() % letters.size()]);
                break;
            default:
                text.insert(at, text.substr(random() % text.size(), random() % 20));
                break;
            }
            if (text.empty()) text = "\n";
        }
        manta_status_t status = parse(text);
        if (status != MANTA_OK) {
            ASSERT_EQ(MANTA_ERR_INVALID_ARGUMENT, status) << text;
            continue;
        }
        accepted++;
        ASSERT_LE(machine_->gpu_count, uint32_t{MTI_MACHINE_MAX_GPUS});
        ASSERT_LE(machine_->jitter_percent, 100u);
        for (uint32_t gpu = 0; gpu < machine_->gpu_count; gpu++) {
            ASSERT_GT(machine_->gpus[gpu].memory_bytes, 0u);
            ASSERT_GT(machine_->gpus[gpu].slots, 0u);
            ASSERT_GT(machine_->gpus[gpu].in_bytes_per_s, 0u);
            ASSERT_GE(machine_->gpus[gpu].latency_ns, 0);
        }
    }
    EXPECT_GT(accepted, 10); // it is not all noise
}

} // namespace
