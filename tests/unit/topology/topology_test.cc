// Discovery and the queries over it, on machines that are described and on the one that runs this.
#include "topology/topology.h"

#include "topology_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <numeric>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <sys/single_threaded.h>

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

namespace
{

std::vector<int> StealOrder(const mti_topology_t *topology, int core)
{
    std::vector<int> order(static_cast<size_t>(mti_topology_core_count(topology)));
    order.resize(mti_topology_steal_order(topology, core, order.data()));
    return order;
}

std::vector<int> NodeCores(const mti_topology_t *topology, int index)
{
    const mti_node_t *node = mti_topology_node(topology, index);
    return std::vector<int>(node->cores, node->cores + node->core_count);
}

std::vector<int> CorePus(const mti_topology_t *topology, int index)
{
    const mti_core_t *core = mti_topology_core(topology, index);
    return std::vector<int>(core->pus, core->pus + core->smt_count);
}

std::string Format(const mti_topology_t *topology)
{
    std::string text(static_cast<size_t>(mti_topology_format(topology, nullptr, 0)), ' ');
    mti_topology_format(topology, &text[0], text.size() + 1);
    return text;
}

// What must hold for every machine.
void ExpectSound(const mti_topology_t *topology)
{
    int cores = mti_topology_core_count(topology), nodes = mti_topology_node_count(topology);
    ASSERT_GE(cores, 1);
    ASSERT_GE(nodes, 1);
    ASSERT_GE(mti_topology_package_count(topology), 1);
    EXPECT_GE(mti_topology_cpu_limit(topology), 1);
    EXPECT_LE(mti_topology_cpu_limit(topology), cores);
    EXPECT_EQ(mti_topology_core(topology, -1), nullptr);
    EXPECT_EQ(mti_topology_core(topology, cores), nullptr);
    EXPECT_EQ(mti_topology_node(topology, -1), nullptr);
    EXPECT_EQ(mti_topology_node(topology, nodes), nullptr);

    std::set<int> pus, cores_in_nodes;
    for (int i = 0; i < cores; i++) {
        const mti_core_t *core = mti_topology_core(topology, i);
        EXPECT_EQ(core->core, i);
        ASSERT_GE(core->smt_count, 1);
        EXPECT_EQ(core->pu, core->pus[0]);
        for (int k = 0; k < core->smt_count; k++) {
            EXPECT_TRUE(pus.insert(core->pus[k]).second) << "a processor in two cores";
            EXPECT_EQ(mti_topology_core_of_pu(topology, core->pus[k]), i);
        }
        EXPECT_GE(core->node, 0);
        EXPECT_LT(core->node, nodes);
        EXPECT_GE(core->package, 0);
        EXPECT_LT(core->package, mti_topology_package_count(topology));
        EXPECT_GE(core->l2, -1);
        EXPECT_LT(core->l2, mti_topology_l2_count(topology));
        EXPECT_GE(core->l3, -1);
        EXPECT_LT(core->l3, mti_topology_l3_count(topology));
    }
    EXPECT_EQ(pus.size(), static_cast<size_t>(mti_topology_pu_count(topology)));

    for (int i = 0; i < nodes; i++) {
        EXPECT_EQ(mti_topology_node(topology, i)->node, i);
        for (int core : NodeCores(topology, i)) {
            EXPECT_EQ(mti_topology_core(topology, core)->node, i);
            EXPECT_TRUE(cores_in_nodes.insert(core).second) << "a core in two nodes";
        }
    }
    EXPECT_EQ(cores_in_nodes.size(), static_cast<size_t>(cores)) << "a core without a node";
    EXPECT_GT(mti_topology_format(topology, nullptr, 0), 0);
}

void ExpectSoundStealOrder(const mti_topology_t *topology)
{
    int cores = mti_topology_core_count(topology);
    for (int core = 0; core < cores; core++) {
        std::vector<int> order = StealOrder(topology, core);
        std::vector<int> all = order;
        all.push_back(core);
        std::sort(all.begin(), all.end());
        std::vector<int> expected(static_cast<size_t>(cores));
        std::iota(expected.begin(), expected.end(), 0);
        EXPECT_EQ(all, expected) << "not all other cores, once each, for core " << core;
        for (size_t i = 1; i < order.size(); i++)
            EXPECT_LE(mti_topology_distance(topology, core, order[i - 1]),
                      mti_topology_distance(topology, core, order[i]));
        for (int other = 0; other < cores; other++) {
            EXPECT_EQ(mti_topology_distance(topology, core, other),
                      mti_topology_distance(topology, other, core));
            EXPECT_EQ(mti_topology_distance(topology, core, other) == MTI_DISTANCE_SAME,
                      core == other);
        }
    }
}

manta_status_t CreateFails(const mti_topology_options_t &options, bool quiet = true)
{
    mti_topology_t *const untouched = reinterpret_cast<mti_topology_t *>(0x10);
    mti_topology_t *topology = untouched;
    testing::internal::CaptureStderr();
    manta_status_t status = mti_topology_create(&options, &topology);
    std::string printed = testing::internal::GetCapturedStderr();
    EXPECT_TRUE(!quiet || printed.empty()) << "hwloc talks to the user's terminal: " << printed;
    EXPECT_EQ(topology, untouched) << "an output written on failure";
    return status;
}

// Tests must not depend on what the caller of ctest has in the environment.
class TopologyTest : public testing::Test
{
    ScopedEnvironment xml_{"HWLOC_XMLFILE", nullptr};
    ScopedEnvironment synthetic_{"HWLOC_SYNTHETIC", nullptr};
    ScopedEnvironment this_system_{"HWLOC_THISSYSTEM", nullptr};
    ScopedEnvironment hide_errors_{"HWLOC_HIDE_ERRORS", nullptr};
};

} // namespace

// ---- Synthetic machines --------------------------------------------------------------------------

TEST_F(TopologyTest, SyntheticMachineHasItsCoresNodesAndPackages)
{
    Topology topology = MakeSynthetic("pack:2 numa:2 core:4 pu:2");
    ASSERT_TRUE(topology);
    ExpectSound(topology.get());
    EXPECT_EQ(mti_topology_package_count(topology.get()), 2);
    EXPECT_EQ(mti_topology_node_count(topology.get()), 4);
    EXPECT_EQ(mti_topology_core_count(topology.get()), 16);
    EXPECT_EQ(mti_topology_pu_count(topology.get()), 32);
    EXPECT_EQ(mti_topology_cpu_limit(topology.get()), 16);
    EXPECT_FALSE(mti_topology_is_this_machine(topology.get()));
    EXPECT_FALSE(mti_topology_is_quota_limited(topology.get()));

    const mti_core_t *core = mti_topology_core(topology.get(), 5);
    EXPECT_EQ(core->pu, 10);
    EXPECT_THAT(CorePus(topology.get(), 5), ElementsAre(10, 11));
    EXPECT_EQ(core->node, 1);
    EXPECT_EQ(core->package, 0);
    EXPECT_EQ(core->l2, -1);
    EXPECT_EQ(core->l3, -1);
    EXPECT_THAT(NodeCores(topology.get(), 3), ElementsAre(12, 13, 14, 15));
    EXPECT_EQ(mti_topology_node(topology.get(), 3)->package, 1);
}

TEST_F(TopologyTest, ProcessorsWithoutCoresCountAsCores)
{
    Topology topology = MakeSynthetic("pu:4");
    ASSERT_TRUE(topology);
    ExpectSound(topology.get());
    EXPECT_EQ(mti_topology_core_count(topology.get()), 4);
    EXPECT_EQ(mti_topology_pu_count(topology.get()), 4);
    EXPECT_EQ(mti_topology_package_count(topology.get()), 1);
    EXPECT_EQ(mti_topology_node_count(topology.get()), 1);
    EXPECT_EQ(mti_topology_distance(topology.get(), 0, 3), MTI_DISTANCE_NODE);
}

TEST_F(TopologyTest, OneProcessorIsAMachine)
{
    Topology topology = MakeSynthetic("pu:1");
    ASSERT_TRUE(topology);
    ExpectSound(topology.get());
    EXPECT_EQ(mti_topology_core_count(topology.get()), 1);
    EXPECT_THAT(StealOrder(topology.get(), 0), ElementsAre());
}

TEST_F(TopologyTest, CoreThatLiesInSeveralNodesGetsTheNodeOfItsProcessor)
{
    Topology topology = MakeSynthetic("core:2 numa:2 pu:2");
    ASSERT_TRUE(topology);
    ExpectSound(topology.get());
    EXPECT_EQ(mti_topology_core_count(topology.get()), 2);
    EXPECT_EQ(mti_topology_core(topology.get(), 0)->smt_count, 4);
    EXPECT_NE(mti_topology_core(topology.get(), 0)->node,
              mti_topology_core(topology.get(), 1)->node);
}

TEST_F(TopologyTest, OsIndicesAreKeptWhenTheyAreInterleaved)
{
    // As many real machines number them: second threads after all first ones.
    Topology topology = MakeSynthetic("pack:1 core:4 pu:2(indexes=0,4,1,5,2,6,3,7)");
    ASSERT_TRUE(topology);
    ExpectSound(topology.get());
    EXPECT_THAT(CorePus(topology.get(), 1), ElementsAre(1, 5));
    EXPECT_EQ(mti_topology_core_of_pu(topology.get(), 6), 2);
    EXPECT_EQ(mti_topology_core_of_pu(topology.get(), 8), -1);
}

TEST_F(TopologyTest, CachesAreGrouped)
{
    Topology topology = MakeSynthetic("pack:2 numa:2 l3:2 l2:2 core:2 pu:1");
    ASSERT_TRUE(topology);
    ExpectSound(topology.get());
    EXPECT_EQ(mti_topology_l3_count(topology.get()), 8);
    EXPECT_EQ(mti_topology_l2_count(topology.get()), 16);
    const mti_core_t *core = mti_topology_core(topology.get(), 6);
    EXPECT_EQ(core->l2, 3);
    EXPECT_EQ(core->l3, 1);
    EXPECT_GT(core->l2_size_bytes, 0u);
    EXPECT_GT(core->l3_size_bytes, 0u);
}

// ---- Distance and steal order --------------------------------------------------------------------

TEST_F(TopologyTest, DistanceGrowsThroughTheLevels)
{
    Topology topology = MakeSynthetic("pack:2 numa:2 l3:2 l2:2 core:2 pu:1");
    ASSERT_TRUE(topology);
    const mti_topology_t *t = topology.get();
    EXPECT_EQ(mti_topology_distance(t, 0, 0), MTI_DISTANCE_SAME);
    EXPECT_EQ(mti_topology_distance(t, 0, 1), MTI_DISTANCE_L2);
    EXPECT_EQ(mti_topology_distance(t, 0, 2), MTI_DISTANCE_L3);
    EXPECT_EQ(mti_topology_distance(t, 0, 4), MTI_DISTANCE_NODE);
    EXPECT_EQ(mti_topology_distance(t, 0, 8), MTI_DISTANCE_PACKAGE);
    EXPECT_EQ(mti_topology_distance(t, 0, 16), MTI_DISTANCE_MACHINE);
}

TEST_F(TopologyTest, NodeIsNearerThanTheOtherHalfOfAnL3)
{
    Topology topology = MakeSynthetic("pack:1 l3:1 numa:2 core:2 pu:1");
    ASSERT_TRUE(topology);
    EXPECT_EQ(mti_topology_distance(topology.get(), 0, 1), MTI_DISTANCE_L3);
    EXPECT_EQ(mti_topology_distance(topology.get(), 0, 2), MTI_DISTANCE_NODE);
    EXPECT_THAT(StealOrder(topology.get(), 1), ElementsAre(0, 2, 3));
}

TEST_F(TopologyTest, StealOrderStartsBehindTheThief)
{
    Topology topology = MakeSynthetic("pack:2 core:4 pu:1");
    ASSERT_TRUE(topology);
    EXPECT_THAT(StealOrder(topology.get(), 0), ElementsAre(1, 2, 3, 4, 5, 6, 7));
    EXPECT_THAT(StealOrder(topology.get(), 2), ElementsAre(3, 0, 1, 4, 5, 6, 7));
    EXPECT_THAT(StealOrder(topology.get(), 5), ElementsAre(6, 7, 4, 0, 1, 2, 3));
}

TEST_F(TopologyTest, FirstVictimsSpreadOverEquallyNearCores)
{
    Topology topology = MakeSynthetic("pack:1 core:8 pu:1");
    ASSERT_TRUE(topology);
    std::set<int> first;
    for (int core = 0; core < 8; core++)
        first.insert(StealOrder(topology.get(), core)[0]);
    EXPECT_EQ(first.size(), 8u);
}

TEST_F(TopologyTest, StealOrderIsSoundOnManyMachines)
{
    for (const char *text :
         {"pu:1", "pu:7", "core:3 pu:2", "pack:2 numa:2 core:4 pu:2", "numa:3 l3:2 core:2 pu:1",
          "pack:3 l2:2 core:1 pu:4", "pack:2 l3:1 numa:2 l2:2 core:2 pu:2", "core:2 numa:2 pu:2",
          "group:2 pack:2 die:2 core:2 pu:1"}) {
        SCOPED_TRACE(text);
        Topology topology = MakeSynthetic(text);
        ASSERT_TRUE(topology);
        ExpectSound(topology.get());
        ExpectSoundStealOrder(topology.get());
    }
}

// ---- The cpuset option ---------------------------------------------------------------------------

TEST_F(TopologyTest, CpusetLeavesDenseIndices)
{
    Topology topology = MakeSynthetic("pack:2 numa:2 core:4 pu:2", "8-11,30");
    ASSERT_TRUE(topology);
    ExpectSound(topology.get());
    EXPECT_EQ(mti_topology_core_count(topology.get()), 3);
    EXPECT_EQ(mti_topology_pu_count(topology.get()), 5);
    EXPECT_EQ(mti_topology_node_count(topology.get()), 2) << "nodes without our cores are not ours";
    EXPECT_EQ(mti_topology_package_count(topology.get()), 2);
    EXPECT_THAT(CorePus(topology.get(), 0), ElementsAre(8, 9));
    EXPECT_THAT(CorePus(topology.get(), 2), ElementsAre(30));
    EXPECT_EQ(mti_topology_node(topology.get(), 0)->os_index, 1);
    EXPECT_EQ(mti_topology_node(topology.get(), 1)->os_index, 3);
    EXPECT_EQ(mti_topology_core_of_pu(topology.get(), 31), -1);
}

TEST_F(TopologyTest, CoreOfWhichOnlyTheSecondThreadIsAllowedUsesThat)
{
    Topology topology = MakeSynthetic("pack:1 core:2 pu:2", "1,2");
    ASSERT_TRUE(topology);
    EXPECT_EQ(mti_topology_core_count(topology.get()), 2);
    EXPECT_EQ(mti_topology_core(topology.get(), 0)->pu, 1);
    EXPECT_EQ(mti_topology_core(topology.get(), 1)->pu, 2);
    EXPECT_EQ(mti_topology_core(topology.get(), 0)->smt_count, 1);
}

TEST_F(TopologyTest, CpusetMayBeOpenOrLargerThanTheMachine)
{
    EXPECT_EQ(mti_topology_core_count(MakeSynthetic("core:8 pu:1", "6-").get()), 2);
    EXPECT_EQ(mti_topology_core_count(MakeSynthetic("core:8 pu:1", "7-900").get()), 1);
    EXPECT_EQ(mti_topology_core_count(MakeSynthetic("core:8 pu:1", "0-").get()), 8);
}

TEST_F(TopologyTest, CpusetThatIsNoListIsRefused)
{
    for (const char *cpuset : {"", ",", "1,", ",1", "a", "1-0", "1--2", "0x3", "1 2", "-1", "1-2-3",
                               "0-3;", "99999999999999999999"}) {
        SCOPED_TRACE(cpuset);
        mti_topology_options_t options = {};
        options.synthetic = "core:8 pu:1";
        options.cpuset = cpuset;
        EXPECT_EQ(CreateFails(options), MANTA_ERR_INVALID_ARGUMENT);
        EXPECT_THAT(manta_error_message(), HasSubstr("cpuset \"" + std::string(cpuset) + "\""));
    }
}

TEST_F(TopologyTest, CpusetWithNothingOfTheMachineIsRefused)
{
    mti_topology_options_t options = {};
    options.synthetic = "core:4 pu:1";
    options.cpuset = "4-7";
    EXPECT_EQ(CreateFails(options), MANTA_ERR_INVALID_ARGUMENT);
    EXPECT_THAT(manta_error_message(), HasSubstr("4-7"));
    EXPECT_THAT(manta_error_message(), HasSubstr("0-3"));
}

// ---- Machines from files -------------------------------------------------------------------------

TEST_F(TopologyTest, HybridCoresHaveDifferentThreadsAndCaches)
{
    Topology topology = MakeXml(FixturePath("hybrid-2p4e.xml"));
    ASSERT_TRUE(topology);
    ExpectSound(topology.get());
    ExpectSoundStealOrder(topology.get());
    EXPECT_EQ(mti_topology_core_count(topology.get()), 6);
    EXPECT_EQ(mti_topology_pu_count(topology.get()), 8);
    EXPECT_EQ(mti_topology_core(topology.get(), 1)->smt_count, 2);
    EXPECT_EQ(mti_topology_core(topology.get(), 2)->smt_count, 1);
    EXPECT_EQ(mti_topology_core(topology.get(), 0)->l2_size_bytes, size_t{1280} << 10);
    EXPECT_EQ(mti_topology_core(topology.get(), 5)->l2_size_bytes, size_t{2} << 20);
    EXPECT_EQ(mti_topology_distance(topology.get(), 2, 5), MTI_DISTANCE_L2);
    EXPECT_EQ(mti_topology_distance(topology.get(), 0, 1), MTI_DISTANCE_L3);
}

TEST_F(TopologyTest, NodeOfMemoryOnlyIsANodeWithoutCores)
{
    Topology topology = MakeXml(FixturePath("cxl-2x2.xml"));
    ASSERT_TRUE(topology);
    ExpectSound(topology.get());
    ASSERT_EQ(mti_topology_node_count(topology.get()), 3);
    EXPECT_THAT(NodeCores(topology.get(), 0), ElementsAre(0, 1));
    EXPECT_THAT(NodeCores(topology.get(), 1), ElementsAre(2, 3));
    const mti_node_t *cxl = mti_topology_node(topology.get(), 2);
    EXPECT_EQ(cxl->core_count, 0);
    EXPECT_EQ(cxl->os_index, 2);
    EXPECT_EQ(cxl->package, 0);
    EXPECT_EQ(cxl->memory_bytes, uint64_t{128} << 30);
}

TEST_F(TopologyTest, OrdinaryMemoryIsHomeWhereHbmHangsOnTheSameCores)
{
    Topology topology = MakeXml(FixturePath("hbm-2x2.xml"));
    ASSERT_TRUE(topology);
    ExpectSound(topology.get());
    ASSERT_EQ(mti_topology_node_count(topology.get()), 4);
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(mti_topology_node(topology.get(), i)->os_index, i);
        EXPECT_EQ(mti_topology_node(topology.get(), i)->core_count, 2);
        EXPECT_EQ(mti_topology_node(topology.get(), i + 2)->os_index, i + 2);
        EXPECT_EQ(mti_topology_node(topology.get(), i + 2)->core_count, 0);
    }
}

TEST_F(TopologyTest, CpusetDropsMemoryThatIsNearOthers)
{
    Topology topology = MakeXml(FixturePath("cxl-2x2.xml"), "2-3");
    ASSERT_TRUE(topology);
    ExpectSound(topology.get());
    EXPECT_EQ(mti_topology_node_count(topology.get()), 1);
    EXPECT_EQ(mti_topology_node(topology.get(), 0)->os_index, 1);
}

TEST_F(TopologyTest, RecordedEpycWithEightNodes)
{
    std::string path = SharedPath("epyc-4xh200.xml");
    if (!std::ifstream(path)) GTEST_SKIP() << "no recorded machine at " << path;
    Topology topology = MakeXml(path);
    ASSERT_TRUE(topology);
    ExpectSound(topology.get());
    ExpectSoundStealOrder(topology.get());
    EXPECT_EQ(mti_topology_package_count(topology.get()), 2);
    EXPECT_EQ(mti_topology_node_count(topology.get()), 8);
    EXPECT_EQ(mti_topology_core_count(topology.get()), 128);
    EXPECT_EQ(mti_topology_pu_count(topology.get()), 256);
    for (int i = 0; i < 8; i++)
        EXPECT_EQ(mti_topology_node(topology.get(), i)->core_count, 16);
    EXPECT_EQ(mti_topology_core(topology.get(), 127)->smt_count, 2);
    EXPECT_THAT(Format(topology.get()), HasSubstr("8 NUMA nodes"));
}

TEST_F(TopologyTest, RecordedDgx2)
{
    std::string path = SharedPath("dgx2-16xv100.xml");
    if (!std::ifstream(path)) GTEST_SKIP() << "no recorded machine at " << path;
    Topology topology = MakeXml(path);
    ASSERT_TRUE(topology);
    ExpectSound(topology.get());
    ExpectSoundStealOrder(topology.get());
    EXPECT_EQ(mti_topology_package_count(topology.get()), 2);
    EXPECT_EQ(mti_topology_node_count(topology.get()), 2);
    EXPECT_EQ(mti_topology_pu_count(topology.get()), 4);
}

// ---- Bad descriptions ----------------------------------------------------------------------------

TEST_F(TopologyTest, FileThatCantBeReadIsAnIoErrorThatNamesIt)
{
    for (const std::string &path : {std::string("/no/such/machine.xml"), FixturePath("")}) {
        mti_topology_options_t options = {};
        options.xml_path = path.c_str();
        EXPECT_EQ(CreateFails(options), MANTA_ERR_IO);
        EXPECT_THAT(manta_error_message(), HasSubstr(path));
    }
}

TEST_F(TopologyTest, FileThatIsNoMachineIsRefused)
{
    std::ifstream whole_file(FixturePath("cxl-2x2.xml"));
    std::string whole((std::istreambuf_iterator<char>(whole_file)), {});
    ASSERT_GT(whole.size(), 1000u);
    std::string path = testing::TempDir() + "manta_bad_machine.xml";
    for (const std::string &text :
         {std::string(), std::string("core:2 pu:2"), std::string("<broken"),
          std::string("<?xml version=\"1.0\"?><topology version=\"2.0\"></topology>"),
          std::string("<?xml version=\"1.0\"?><html></html>"),
          std::string("<?xml version=\"1.0\"?><topology version=\"2.0\"><object type=\"Foo\"/>"
                      "</topology>"),
          whole.substr(0, whole.size() / 2)}) {
        SCOPED_TRACE(text.substr(0, 60));
        std::ofstream(path) << text;
        mti_topology_options_t options = {};
        options.xml_path = path.c_str();
        EXPECT_EQ(CreateFails(options), MANTA_ERR_INVALID_ARGUMENT);
        EXPECT_THAT(manta_error_message(), HasSubstr(path));
    }
    std::remove(path.c_str());
}

namespace
{
std::string Replaced(std::string text, const std::string &from, const std::string &to)
{
    size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return at == std::string::npos ? text : text.replace(at, from.size(), to);
}
} // namespace

TEST_F(TopologyTest, FileWhosePartsDoNotFitIsRefusedQuietly)
{
    // With more threads about, the environment can't be touched and hwloc is not told to be quiet.
    bool quiet = __libc_single_threaded;
    std::ifstream whole_file(FixturePath("hybrid-2p4e.xml"));
    std::string whole((std::istreambuf_iterator<char>(whole_file)), {});
    std::string path = testing::TempDir() + "manta_odd_machine.xml";
    size_t node = whole.find("<object type=\"NUMANode\"");
    ASSERT_NE(node, std::string::npos);
    std::string no_node = whole;
    no_node.erase(node, no_node.find("/>", node) + 2 - node);
    for (const std::string &text :
         {no_node, Replaced(whole, "allowed_cpuset=\"0x000000ff\"", "allowed_cpuset=\"0x0\"")}) {
        std::ofstream(path) << text;
        mti_topology_options_t options = {};
        options.xml_path = path.c_str();
        EXPECT_EQ(CreateFails(options, quiet), MANTA_ERR_INVALID_ARGUMENT);
        EXPECT_THAT(manta_error_message(), HasSubstr(path));
    }
    std::remove(path.c_str());
    EXPECT_EQ(std::getenv("HWLOC_HIDE_ERRORS"), nullptr) << "the user's environment was changed";
}

TEST_F(TopologyTest, SyntheticStringThatIsNoMachineIsRefused)
{
    for (const char *text : {"", "foo", "pack:2 core:x", "pack:0 pu:1", "numa:2 core:2", "pu:-1",
                             "pu:2 core:2", "core:2 pu:2 trailing"}) {
        SCOPED_TRACE(text);
        mti_topology_options_t options = {};
        options.synthetic = text;
        EXPECT_EQ(CreateFails(options), MANTA_ERR_INVALID_ARGUMENT);
        EXPECT_THAT(manta_error_message(), HasSubstr("\"" + std::string(text) + "\""));
    }
}

TEST_F(TopologyTest, FileAndSyntheticStringTogetherAreRefused)
{
    std::string path = FixturePath("cxl-2x2.xml");
    mti_topology_options_t options = {};
    options.synthetic = "pu:2";
    options.xml_path = path.c_str();
    EXPECT_EQ(CreateFails(options), MANTA_ERR_INVALID_ARGUMENT);
}

// ---- The environment -----------------------------------------------------------------------------

TEST_F(TopologyTest, EnvironmentReplacesTheMachine)
{
    {
        ScopedEnvironment synthetic("HWLOC_SYNTHETIC", "pack:3 core:3 pu:1");
        Topology topology = MakeTopology({});
        ASSERT_TRUE(topology);
        EXPECT_EQ(mti_topology_core_count(topology.get()), 9);
        EXPECT_FALSE(mti_topology_is_this_machine(topology.get()));
    }
    ScopedEnvironment xml("HWLOC_XMLFILE", FixturePath("hybrid-2p4e.xml").c_str());
    Topology topology = MakeTopology({});
    ASSERT_TRUE(topology);
    EXPECT_EQ(mti_topology_core_count(topology.get()), 6);
    EXPECT_FALSE(mti_topology_is_this_machine(topology.get()));
}

TEST_F(TopologyTest, OptionsWinOverTheEnvironment)
{
    ScopedEnvironment synthetic("HWLOC_SYNTHETIC", "pack:3 core:3 pu:1");
    Topology topology = MakeXml(FixturePath("hybrid-2p4e.xml"));
    ASSERT_TRUE(topology);
    EXPECT_EQ(mti_topology_core_count(topology.get()), 6);
}

TEST_F(TopologyTest, BadEnvironmentIsAnErrorAndNotAnotherMachine)
{
    {
        ScopedEnvironment synthetic("HWLOC_SYNTHETIC", "nonsense");
        EXPECT_EQ(CreateFails({}), MANTA_ERR_INVALID_ARGUMENT);
        EXPECT_THAT(manta_error_message(), HasSubstr("nonsense"));
    }
    ScopedEnvironment xml("HWLOC_XMLFILE", "/no/such/machine.xml");
    EXPECT_EQ(CreateFails({}), MANTA_ERR_IO);
    EXPECT_THAT(manta_error_message(), HasSubstr("/no/such/machine.xml"));
}

TEST_F(TopologyTest, EmptyVariablesMeanThisMachine)
{
    ScopedEnvironment xml("HWLOC_XMLFILE", "");
    ScopedEnvironment synthetic("HWLOC_SYNTHETIC", "");
    Topology topology = MakeTopology({});
    ASSERT_TRUE(topology);
    EXPECT_TRUE(mti_topology_is_this_machine(topology.get()));
}

// ---- This machine --------------------------------------------------------------------------------

TEST_F(TopologyTest, ThisMachineIsSound)
{
    Topology topology = MakeTopology({});
    ASSERT_TRUE(topology);
    EXPECT_TRUE(mti_topology_is_this_machine(topology.get()));
    ExpectSound(topology.get());
    ExpectSoundStealOrder(topology.get());
}

TEST_F(TopologyTest, NoOptionsAreDefaults)
{
    mti_topology_t *topology = nullptr;
    ASSERT_EQ(mti_topology_create(nullptr, &topology), MANTA_OK) << manta_error_message();
    EXPECT_TRUE(mti_topology_is_this_machine(topology));
    mti_topology_destroy(topology);
    mti_topology_destroy(nullptr);
}

TEST_F(TopologyTest, SeveralThreadsMayCreateAtOnce)
{
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++) {
        threads.emplace_back([i] {
            for (int round = 0; round < 3; round++) {
                Topology topology = i % 2 ? MakeTopology({}) : MakeSynthetic("pack:2 core:2 pu:2");
                ASSERT_TRUE(topology);
                EXPECT_EQ(mti_topology_is_this_machine(topology.get()), i % 2 != 0);
            }
        });
    }
    for (std::thread &thread : threads)
        thread.join();
}

// ---- Words and memory ----------------------------------------------------------------------------

TEST_F(TopologyTest, FormatCountsAndSaysThatNothingIsBound)
{
    Topology topology = MakeSynthetic("pack:2 numa:1 l3:2 core:2 pu:2");
    ASSERT_TRUE(topology);
    std::string text = Format(topology.get());
    EXPECT_THAT(text, HasSubstr("2 packages, 2 NUMA nodes, 4 L3 caches, 8 cores, "
                                "16 hardware threads"));
    EXPECT_THAT(text, HasSubstr("pack:2 numa:1 l3:2 core:2 pu:2, not this machine"));
    EXPECT_THAT(Format(MakeSynthetic("pu:1").get()), HasSubstr("1 package, 1 NUMA node, 1 core"));
    EXPECT_THAT(Format(MakeSynthetic("pu:1").get()), Not(HasSubstr("hardware thread")));
    EXPECT_THAT(Format(MakeXml(FixturePath("hybrid-2p4e.xml")).get()),
                HasSubstr("A hybrid laptop: 1 package"));
}

TEST_F(TopologyTest, FormatCutsAtTheBufferAndReturnsWhatItNeeds)
{
    Topology topology = MakeSynthetic("pack:2 core:2 pu:2");
    ASSERT_TRUE(topology);
    std::string whole = Format(topology.get());
    char buffer[16];
    for (size_t size = 1; size <= sizeof buffer; size++) {
        std::fill(buffer, buffer + sizeof buffer, '#');
        int needed = mti_topology_format(topology.get(), buffer, size);
        EXPECT_EQ(static_cast<size_t>(needed), whole.size());
        EXPECT_EQ(std::string(buffer), whole.substr(0, size - 1));
        EXPECT_TRUE(size == sizeof buffer || buffer[size] == '#') << "written behind the end";
    }
}

namespace
{
struct CountingAllocator {
    size_t live_bytes = 0, blocks = 0;
    bool refuse = false;

    static void *Alloc(void *user, size_t size_bytes, size_t align)
    {
        auto *self = static_cast<CountingAllocator *>(user);
        if (self->refuse) return nullptr;
        EXPECT_LE(align, alignof(std::max_align_t));
        self->live_bytes += size_bytes;
        self->blocks++;
        return std::malloc(size_bytes);
    }
    static void Free(void *user, void *ptr, size_t size_bytes)
    {
        static_cast<CountingAllocator *>(user)->live_bytes -= size_bytes;
        std::free(ptr);
    }
    manta_allocator_t Hooks() { return {Alloc, Free, this}; }
};
} // namespace

TEST_F(TopologyTest, MemoryComesFromTheAllocatorAndGoesBack)
{
    CountingAllocator allocator;
    mti_topology_options_t options = {};
    options.synthetic = "pack:2 core:4 pu:2";
    options.allocator = allocator.Hooks();
    Topology topology = MakeTopology(options);
    ASSERT_TRUE(topology);
    EXPECT_GT(allocator.blocks, 0u);
    EXPECT_GT(allocator.live_bytes, 0u);
    topology.reset();
    EXPECT_EQ(allocator.live_bytes, 0u);
}

TEST_F(TopologyTest, NoMemoryIsAnErrorAndNothingStays)
{
    CountingAllocator allocator;
    allocator.refuse = true;
    mti_topology_options_t options = {};
    options.synthetic = "pack:2 core:4 pu:2";
    options.allocator = allocator.Hooks();
    EXPECT_EQ(CreateFails(options), MANTA_ERR_OUT_OF_MEMORY);
    EXPECT_EQ(allocator.live_bytes, 0u);
}
