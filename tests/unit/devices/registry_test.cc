// Which devices there are, by options and by the environment; and a virtual machine as a whole.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

extern "C" {
#include "devices/device.h"
#include "devices/registry.h"
}
#include "unit/failing.h"

#include <gtest/gtest.h>

namespace
{

class RegistryTest : public ::testing::Test
{
  protected:
    void SetUp() override
    {
        unsetenv("MANTA_SIM_GPUS");
        unsetenv("MANTA_SIM_MACHINE");
        options_.no_cuda = true;
    }
    void TearDown() override
    {
        unsetenv("MANTA_SIM_GPUS");
        unsetenv("MANTA_SIM_MACHINE");
        close();
    }
    manta_status_t create() { return mti_devices_create(&options_, &set_); }
    void close()
    {
        EXPECT_EQ(MANTA_OK, mti_devices_destroy(set_, INT64_MAX)) << manta_error_message();
        set_ = nullptr;
    }
    void machine(const std::string &text)
    {
        text_ = text;
        options_.sim_machine = text_.data();
        options_.sim_machine_bytes = text_.size();
    }

    mti_devices_options_t options_ = {};
    mti_devices_t *set_ = nullptr;
    std::string text_;
};

TEST_F(RegistryTest, NothingIsANormalState)
{
    ASSERT_EQ(MANTA_OK, create());
    EXPECT_EQ(0u, mti_devices_count(set_));
    EXPECT_EQ(0u, mti_devices_gpu_count(set_));
    EXPECT_EQ(nullptr, mti_devices_at(set_, 0));
    EXPECT_EQ(nullptr, mti_devices_gpu(set_, 0));
    EXPECT_EQ(nullptr, mti_devices_find(set_, "sim:0"));
    EXPECT_FALSE(mti_devices_has_virtual_clock(set_));
    close();
    EXPECT_EQ(MANTA_OK, mti_devices_destroy(nullptr, 0));
}

TEST_F(RegistryTest, TheEnvironmentGivesVirtualGpus)
{
    setenv("MANTA_SIM_GPUS", "4", 1);
    ASSERT_EQ(MANTA_OK, create());
    EXPECT_EQ(4u, mti_devices_gpu_count(set_));
    EXPECT_STREQ("sim:3", mti_devices_gpu(set_, 3)->name);
    EXPECT_EQ(MTI_DEVICE_CLOSED, mti_device_state(mti_devices_gpu(set_, 3)));
    close();
    options_.no_environment = true;
    ASSERT_EQ(MANTA_OK, create());
    EXPECT_EQ(0u, mti_devices_count(set_));
    close();
    options_.no_environment = false;
    options_.sim_gpus = MTI_SIM_GPUS_NONE;
    ASSERT_EQ(MANTA_OK, create());
    EXPECT_EQ(0u, mti_devices_count(set_));
    close();
    options_.sim_gpus = 2; // the option is nearer than the environment
    ASSERT_EQ(MANTA_OK, create());
    EXPECT_EQ(2u, mti_devices_count(set_));
}

TEST_F(RegistryTest, AnEnvironmentThatMakesNoSenseIsAnError)
{
    for (const char *text : {"four", "-1", "65", "4x", " 4", "99999999999999999999"}) {
        setenv("MANTA_SIM_GPUS", text, 1);
        EXPECT_EQ(MANTA_ERR_INVALID_ARGUMENT, create()) << text;
        EXPECT_NE(std::string::npos, std::string(manta_error_message()).find("MANTA_SIM_GPUS"));
    }
    setenv("MANTA_SIM_GPUS", "", 1);
    EXPECT_EQ(MANTA_OK, create());
    close();
    setenv("MANTA_SIM_MACHINE", "/nowhere/at/all", 1);
    EXPECT_EQ(MANTA_ERR_IO, create());
    options_.sim_gpus = 65;
    EXPECT_EQ(MANTA_ERR_INVALID_ARGUMENT, create());
    options_.sim_gpus = -2;
    EXPECT_EQ(MANTA_ERR_INVALID_ARGUMENT, create());
}

TEST_F(RegistryTest, AMachineFileComesFromTheEnvironmentToo)
{
    std::string path = ::testing::TempDir() + "manta_registry_test";
    FILE *file = fopen(path.c_str(), "w");
    ASSERT_NE(nullptr, file);
    fputs("gpus 3 memory=1MiB\n", file);
    fclose(file);
    setenv("MANTA_SIM_MACHINE", path.c_str(), 1);
    setenv("MANTA_SIM_GPUS", "1", 1);
    ASSERT_EQ(MANTA_OK, create()) << manta_error_message();
    EXPECT_EQ(3u, mti_devices_count(set_));
    EXPECT_EQ(1u << 20, mti_devices_gpu(set_, 2)->info.memory_bytes);
    remove(path.c_str());
}

TEST_F(RegistryTest, HostNodesComeBeforeGpus)
{
    static const int nodes[] = {0, 4};
    options_.host_nodes = 2;
    options_.host_node_os_indices = nodes;
    options_.sim_gpus = 1;
    ASSERT_EQ(MANTA_OK, create());
    ASSERT_EQ(3u, mti_devices_count(set_));
    EXPECT_STREQ("host:1", mti_devices_at(set_, 1)->name);
    EXPECT_EQ(4, mti_devices_at(set_, 1)->info.node);
    EXPECT_EQ(MTI_DEVICE_HOST, mti_devices_at(set_, 1)->info.kind);
    EXPECT_EQ(1u, mti_devices_gpu_count(set_));
    EXPECT_EQ(2u, mti_devices_gpu(set_, 0)->index);
    EXPECT_TRUE(mti_device_reaches(mti_devices_at(set_, 0), mti_devices_gpu(set_, 0)));
}

TEST_F(RegistryTest, InfoIsWhatTheMachineFileSays)
{
    machine(
        "gpus 3 memory=1GiB cc=8.0 queues=5\nlink 0 2 none\nlink 0 1 speed=9GB/s latency=9us\n");
    ASSERT_EQ(MANTA_OK, create());
    const mti_device_info_t &info = mti_devices_gpu(set_, 0)->info;
    EXPECT_EQ(1u << 30, info.memory_bytes);
    EXPECT_EQ(8, info.cc_major);
    EXPECT_EQ(5u, info.limits.max_queues);
    ASSERT_EQ(3u, info.peer_count);
    EXPECT_EQ(9000000000u, info.peers[1].bytes_per_s);
    EXPECT_EQ(9000, info.peers[1].latency_ns);
    EXPECT_FALSE(info.peers[2].direct);
    EXPECT_TRUE(mti_devices_gpu(set_, 1)->info.peers[2].direct);
}

TEST_F(RegistryTest, EveryFailingAllocationIsAStatus)
{
    options_.host_nodes = 2;
    options_.null_devices = 2;
    options_.sim_gpus = 3;
    int failed = 0;
    for (long nth = 1;; nth++) {
        FailingAlloc failing(nth);
        manta_status_t status = create();
        if (status == MANTA_OK && FailingAlloc::seen() < nth) break;
        if (status != MANTA_OK) {
            EXPECT_EQ(MANTA_ERR_OUT_OF_MEMORY, status);
            failed++;
        } else {
            close();
        }
        ASSERT_LT(nth, 1000);
    }
    EXPECT_GT(failed, 20);
}

// ---- A virtual machine as a whole ----

class VirtualMachineTest : public RegistryTest
{
  protected:
    mti_queue_t *queue(uint32_t gpu, mti_queue_kind_t kind = MTI_QUEUE_COMPUTE)
    {
        mti_queue_options_t options = {kind, false};
        mti_queue_t *queue = nullptr;
        mti_device_t *device = mti_devices_gpu(set_, gpu);
        EXPECT_EQ(MANTA_OK, mti_device_open(device));
        EXPECT_EQ(MANTA_OK, mti_queue_create(device, &options, &queue));
        return queue;
    }
    mti_memory_t *memory(uint32_t gpu, size_t size)
    {
        mti_memory_t *memory = nullptr;
        EXPECT_EQ(MANTA_OK, mti_memory_alloc(mti_devices_gpu(set_, gpu), size, &memory));
        return memory;
    }
    mti_memory_t *host(size_t size)
    {
        mti_memory_t *memory = nullptr;
        EXPECT_EQ(MANTA_OK, mti_memory_alloc_host(mti_devices_gpu(set_, 0), size, -1, &memory));
        return memory;
    }
    void copy(mti_queue_t *queue, mti_memory_t *dst, mti_memory_t *src)
    {
        mti_copy_t copy = {mti_place_at(dst, 0), mti_place_at(src, 0), dst->size_bytes};
        EXPECT_EQ(MANTA_OK, mti_queue_copy(queue, &copy, 0, nullptr)) << manta_error_message();
    }
    int64_t drain()
    {
        for (uint32_t i = 0; i < mti_devices_gpu_count(set_); i++)
            EXPECT_EQ(MANTA_OK, mti_device_drain(mti_devices_gpu(set_, i), INT64_MAX));
        return mti_device_now_ns(mti_devices_gpu(set_, 0));
    }
};

TEST_F(VirtualMachineTest, CopiesTakeWhatLinksSay)
{
    machine("clock virtual\ngpus 3 in=10GB/s out=5GB/s latency=1us speed=100GB/s\n"
            "link 0 1 speed=50GB/s latency=2us\nlink 0 2 none\n");
    ASSERT_EQ(MANTA_OK, create()) << manta_error_message();
    EXPECT_TRUE(mti_devices_has_virtual_clock(set_));
    mti_queue_t *q = queue(0);
    (void)queue(1);
    (void)queue(2);
    mti_memory_t *mine = host(1000000), *a = memory(0, 1000000), *a2 = memory(0, 1000000),
                 *b = memory(1, 1000000), *c = memory(2, 1000000);
    int64_t at = drain();
    auto takes = [&](mti_memory_t *dst, mti_memory_t *src) {
        copy(q, dst, src);
        int64_t before = at;
        at = drain();
        return at - before;
    };
    EXPECT_EQ(1000 + 100000, takes(a, mine));
    EXPECT_EQ(1000 + 200000, takes(mine, a));
    EXPECT_EQ(10000, takes(a2, a));
    EXPECT_EQ(2000 + 20000, takes(b, a));
    EXPECT_NEAR(2000 + 300000, static_cast<double>(takes(c, a)), 10); // up and down again
}

TEST_F(VirtualMachineTest, CopyEnginesOverlapByDirectionOnly)
{
    machine("clock virtual\ngpu in=10GB/s out=10GB/s latency=0ns\n");
    ASSERT_EQ(MANTA_OK, create());
    mti_queue_t *a = queue(0), *b = queue(0);
    mti_memory_t *mine = host(1000000), *other = host(1000000), *x = memory(0, 1000000),
                 *y = memory(0, 1000000);
    copy(a, x, mine);
    copy(b, other, y);
    EXPECT_EQ(100000, drain()); // in beside out
    copy(a, x, mine);
    copy(b, y, other);
    EXPECT_EQ(300000, drain()); // in after in
}

// Kernels of two queues update one cell without a wait between them: the seed decides who is last, and
// the same seed decides the same.
TEST_F(VirtualMachineTest, OneSeedIsOneExecution)
{
    auto last_of = [&](uint64_t seed) {
        options_.sim_gpus = 1;
        options_.sim_virtual_clock = true;
        options_.sim_seed = seed;
        EXPECT_EQ(MANTA_OK, create());
        mti_queue_t *a = queue(0), *b = queue(0);
        mti_memory_t *cell = memory(0, 1), *mine = host(1);
        for (uint32_t i = 0; i < 8; i++)
            EXPECT_EQ(MANTA_OK,
                      mti_queue_fill(i % 2 ? b : a, mti_place_at(cell, 0), 1, i, 1, 0, nullptr));
        drain();
        copy(a, mine, cell);
        drain();
        int last = *static_cast<unsigned char *>(mine->ptr);
        close();
        return last;
    };
    int sixes = 0, sevens = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        int last = last_of(seed);
        EXPECT_EQ(last, last_of(seed)) << seed;
        sixes += last == 6;
        sevens += last == 7;
    }
    EXPECT_EQ(20, sixes + sevens);
    EXPECT_GT(sixes, 0);
    EXPECT_GT(sevens, 0);
}

TEST_F(VirtualMachineTest, DestroyGivesUpWhenWorkIsHeldAndCanBeCalledAgain)
{
    options_.sim_gpus = 2;
    ASSERT_EQ(MANTA_OK, create());
    mti_queue_t *q = queue(1);
    mti_device_t *device = mti_devices_gpu(set_, 1);
    mti_fault_t fault = {MTI_FAULT_HOLD_QUEUE, 0, MANTA_OK, q};
    ASSERT_EQ(MANTA_OK, mti_device_inject(device, &fault));
    ASSERT_EQ(MANTA_OK, mti_queue_empty(q, MTI_OP_RECORD, nullptr));
    EXPECT_EQ(MANTA_ERR_TIMEOUT, mti_devices_destroy(set_, 1000000));
    fault.kind = MTI_FAULT_RELEASE_QUEUE;
    ASSERT_EQ(MANTA_OK, mti_device_inject(device, &fault));
}

TEST_F(VirtualMachineTest, AVirtualMachineThatIsHeldIsADeadlock)
{
    options_.sim_gpus = 1;
    options_.sim_virtual_clock = true;
    ASSERT_EQ(MANTA_OK, create());
    mti_queue_t *q = queue(0);
    mti_device_t *device = mti_devices_gpu(set_, 0);
    mti_fault_t fault = {MTI_FAULT_HOLD_QUEUE, 0, MANTA_OK, q};
    ASSERT_EQ(MANTA_OK, mti_device_inject(device, &fault));
    ASSERT_EQ(MANTA_OK, mti_queue_empty(q, MTI_OP_RECORD, nullptr));
    EXPECT_EQ(MANTA_ERR_DEADLOCK, mti_devices_destroy(set_, INT64_MAX));
    fault.kind = MTI_FAULT_RELEASE_QUEUE;
    ASSERT_EQ(MANTA_OK, mti_device_inject(device, &fault));
}

} // namespace
