// CPU quotas, over trees of files that look like /proc and /sys in containers.
#include "topology/topology_impl.h"

#include "topology_fixture.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace
{

namespace fs = std::filesystem;

class CgroupTest : public testing::Test
{
  protected:
    void SetUp() override
    {
        std::string name = testing::TempDir() + "manta_cgroup_XXXXXX";
        ASSERT_NE(mkdtemp(&name[0]), nullptr);
        root_ = name;
    }
    void TearDown() override { fs::remove_all(root_); }

    void Write(const std::string &path, const std::string &text)
    {
        fs::path file = root_ + path;
        fs::create_directories(file.parent_path());
        std::ofstream(file) << text;
    }
    void WriteV2(const std::string &group, const std::string &mount_root = "/")
    {
        Write("/proc/self/cgroup", "0::" + group + "\n");
        Write("/proc/self/mountinfo",
              "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
              "31 22 0:26 " +
                  mount_root +
                  " /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
    }
    void WriteV1(const std::string &group, const std::string &mount_root = "/")
    {
        Write("/proc/self/cgroup", "12:memory:/elsewhere\n4:cpu,cpuacct:" + group +
                                       "\n3:cpuset:/other\n1:name=systemd:/\n");
        Write("/proc/self/mountinfo",
              "40 31 0:33 " + mount_root +
                  " /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
                  "41 31 0:34 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n");
    }
    void WriteV1Quota(const std::string &folder, const std::string &quota,
                      const std::string &period)
    {
        Write("/sys/fs/cgroup/cpu,cpuacct" + folder + "/cpu.cfs_quota_us", quota + "\n");
        Write("/sys/fs/cgroup/cpu,cpuacct" + folder + "/cpu.cfs_period_us", period + "\n");
    }
    int64_t Quota() { return mti_cgroup_quota_milli(root_.c_str()); }

    std::string root_;
};

constexpr int64_t kNone = INT64_MAX;

} // namespace

TEST_F(CgroupTest, NothingThereIsNoLimit)
{
    EXPECT_EQ(Quota(), kNone);
    Write("/proc/self/mountinfo", "");
    EXPECT_EQ(Quota(), kNone);
}

TEST_F(CgroupTest, V2Quota)
{
    WriteV2("/user.slice/job");
    Write("/sys/fs/cgroup/user.slice/job/cpu.max", "150000 100000\n");
    EXPECT_EQ(Quota(), 1500);
}

TEST_F(CgroupTest, V2MaxIsNoLimit)
{
    WriteV2("/job");
    Write("/sys/fs/cgroup/job/cpu.max", "max 100000\n");
    EXPECT_EQ(Quota(), kNone);
}

TEST_F(CgroupTest, V2TightestLevelCounts)
{
    WriteV2("/a/b/c");
    Write("/sys/fs/cgroup/a/cpu.max", "800000 100000\n");
    Write("/sys/fs/cgroup/a/b/cpu.max", "100000 50000\n");
    Write("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
    EXPECT_EQ(Quota(), 2000);
    Write("/sys/fs/cgroup/a/cpu.max", "50000 100000\n");
    EXPECT_EQ(Quota(), 500) << "an outer group may be tighter";
}

TEST_F(CgroupTest, V2RootOfANamespaceIsRead)
{
    WriteV2("/");
    Write("/sys/fs/cgroup/cpu.max", "300000 100000\n");
    EXPECT_EQ(Quota(), 3000);
}

TEST_F(CgroupTest, V2SiblingsDoNotCount)
{
    WriteV2("/a/b");
    Write("/sys/fs/cgroup/a/b2/cpu.max", "1000 100000\n");
    Write("/sys/fs/cgroup/c/cpu.max", "1000 100000\n");
    EXPECT_EQ(Quota(), kNone);
}

TEST_F(CgroupTest, GroupOutsideTheNamespaceLeavesTheMount)
{
    WriteV2("/../../other");
    Write("/sys/fs/cgroup/cpu.max", "400000 100000\n");
    EXPECT_EQ(Quota(), 4000);
}

TEST_F(CgroupTest, FractionsRoundUp)
{
    WriteV2("/a");
    Write("/sys/fs/cgroup/a/cpu.max", "100001 100000\n");
    EXPECT_EQ(Quota(), 1001);
    Write("/sys/fs/cgroup/a/cpu.max", "1 1000000\n");
    EXPECT_EQ(Quota(), 1);
}

TEST_F(CgroupTest, NonsenseIsNoLimit)
{
    WriteV2("/a");
    for (const char *text : {"", "\n", "abc", "100000", "100000 0", "-5 100000", "0 100000",
                             "99999999999999999999999 1"}) {
        SCOPED_TRACE(text);
        Write("/sys/fs/cgroup/a/cpu.max", text);
        EXPECT_EQ(Quota(), kNone);
    }
}

TEST_F(CgroupTest, DamagedTablesAreNoLimit)
{
    Write("/proc/self/cgroup", "\n:\n0:\n0::\n4:cpu\n");
    Write("/proc/self/mountinfo", "\n - \n - cgroup2\n1 2 - cgroup2 x rw\n1 2 3 - cgroup c rw,cpu\n"
                                  "1 2 3 / - cgroup2 x rw\n");
    EXPECT_EQ(Quota(), kNone);
}

TEST_F(CgroupTest, V1Quota)
{
    WriteV1("/docker/abc");
    WriteV1Quota("/docker/abc", "250000", "100000");
    WriteV1Quota("/docker", "-1", "100000");
    EXPECT_EQ(Quota(), 2500);
}

TEST_F(CgroupTest, V1MinusOneIsNoLimit)
{
    WriteV1("/docker/abc");
    WriteV1Quota("/docker/abc", "-1", "100000");
    EXPECT_EQ(Quota(), kNone);
}

TEST_F(CgroupTest, V1OuterGroupIsRead)
{
    WriteV1("/kubepods/pod/box");
    WriteV1Quota("/kubepods/pod/box", "400000", "100000");
    WriteV1Quota("/kubepods/pod", "200000", "200000");
    EXPECT_EQ(Quota(), 1000);
}

TEST_F(CgroupTest, V1MountThatShowsAContainersGroupAsItsRoot)
{
    WriteV1("/docker/abc", "/docker/abc");
    WriteV1Quota("", "300000", "100000");
    WriteV1Quota("/docker/abc", "100000", "100000"); // not where the mount shows our group
    EXPECT_EQ(Quota(), 3000);
}

TEST_F(CgroupTest, MountRootMustEndAtALevel)
{
    // "/docker/ab" is no level above "/docker/abc".
    WriteV1("/docker/abc", "/docker/ab");
    WriteV1Quota("/c", "100000", "100000");
    WriteV1Quota("c", "100000", "100000");
    EXPECT_EQ(Quota(), kNone);
}

TEST_F(CgroupTest, HybridTakesTheTighterHierarchy)
{
    Write("/proc/self/cgroup", "2:cpu:/one\n0::/two\n");
    Write("/proc/self/mountinfo", "1 0 0:1 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
                                  "2 0 0:2 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    Write("/sys/fs/cgroup/cpu/one/cpu.cfs_quota_us", "500000\n");
    Write("/sys/fs/cgroup/cpu/one/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(Quota(), 5000);
    Write("/sys/fs/cgroup/unified/two/cpu.max", "200000 100000\n");
    EXPECT_EQ(Quota(), 2000);
}

TEST_F(CgroupTest, BlanksInMountPointsAreUnescaped)
{
    Write("/proc/self/cgroup", "0::/a\n");
    Write("/proc/self/mountinfo", "1 0 0:1 / /my\\040groups rw - cgroup2 none rw\n");
    Write("/my groups/a/cpu.max", "700000 100000\n");
    EXPECT_EQ(Quota(), 7000);
}

TEST_F(CgroupTest, ThisMachineCanBeRead)
{
    EXPECT_GT(mti_cgroup_quota_milli(nullptr), 0);
}

// ---- What becomes of it --------------------------------------------------------------------------

TEST_F(CgroupTest, QuotaCapsWorkersOfThisMachine)
{
    ScopedEnvironment xml("HWLOC_XMLFILE", nullptr), synthetic("HWLOC_SYNTHETIC", nullptr);
    WriteV2("/a");
    Write("/sys/fs/cgroup/a/cpu.max", "10000 100000\n");
    mti_topology_options_t options = {};
    options.cgroup_root = root_.c_str();
    Topology topology = MakeTopology(options);
    ASSERT_TRUE(topology);
    EXPECT_EQ(mti_topology_cpu_limit(topology.get()), 1) << "a tenth of a CPU is one worker";
    EXPECT_EQ(mti_topology_is_quota_limited(topology.get()),
              mti_topology_core_count(topology.get()) > 1);

    Write("/sys/fs/cgroup/a/cpu.max", "max 100000\n");
    topology = MakeTopology(options);
    ASSERT_TRUE(topology);
    EXPECT_EQ(mti_topology_cpu_limit(topology.get()), mti_topology_core_count(topology.get()));
    EXPECT_FALSE(mti_topology_is_quota_limited(topology.get()));
}

TEST_F(CgroupTest, QuotaRoundsUpToWholeWorkers)
{
    // A recorded machine that says that it is this one, so that its size doesn't depend on where
    // the test runs. Only cores that really exist survive the affinity mask.
    ScopedEnvironment this_system("HWLOC_THISSYSTEM", "1");
    WriteV2("/a");
    Write("/sys/fs/cgroup/a/cpu.max", "110000 100000\n");
    mti_topology_options_t options = {};
    options.synthetic = "core:64 pu:1";
    options.cgroup_root = root_.c_str();
    Topology topology = MakeTopology(options);
    ASSERT_TRUE(topology);
    ASSERT_TRUE(mti_topology_is_this_machine(topology.get()));
    int cores = mti_topology_core_count(topology.get());
    EXPECT_EQ(mti_topology_cpu_limit(topology.get()), cores < 2 ? cores : 2);
}

TEST_F(CgroupTest, QuotaDoesNotCapAnotherMachine)
{
    WriteV2("/a");
    Write("/sys/fs/cgroup/a/cpu.max", "100000 100000\n");
    mti_topology_options_t options = {};
    options.synthetic = "core:4 pu:1";
    options.cgroup_root = root_.c_str();
    Topology topology = MakeTopology(options);
    ASSERT_TRUE(topology);
    EXPECT_EQ(mti_topology_cpu_limit(topology.get()), 4);
}
