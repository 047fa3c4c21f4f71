// Binding on this machine, as the kernel sees it, and the record of it on others.
#include "topology/topology.h"

#include "topology_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstddef>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <linux/filter.h>
#include <linux/mempolicy.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

using testing::HasSubstr;

namespace
{

std::set<int> KernelMask()
{
    cpu_set_t mask;
    EXPECT_EQ(sched_getaffinity(0, sizeof mask, &mask), 0);
    std::set<int> cpus;
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &mask)) cpus.insert(i);
    return cpus;
}

void SetKernelMask(const std::set<int> &cpus)
{
    cpu_set_t mask;
    CPU_ZERO(&mask);
    for (int cpu : cpus)
        CPU_SET(cpu, &mask);
    ASSERT_EQ(sched_setaffinity(0, sizeof mask, &mask), 0);
}

// Bodies run on a thread of their own: the mask of the test's thread is nobody's to change.
template <typename Body> void OnThread(Body body)
{
    std::thread(body).join();
}

// From now on |number| fails with EPERM on the calling thread, as it does in many containers.
bool RefuseSystemCall(unsigned number)
{
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog program = {sizeof code / sizeof code[0], code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// The policy of the calling thread, -1 if the kernel has none.
int MemoryPolicy()
{
    int policy = -1;
    return syscall(SYS_get_mempolicy, &policy, nullptr, 0ul, nullptr, 0ul) == 0 ? policy : -1;
}

class AffinityTest : public testing::Test
{
    ScopedEnvironment xml_{"HWLOC_XMLFILE", nullptr};
    ScopedEnvironment synthetic_{"HWLOC_SYNTHETIC", nullptr};
    ScopedEnvironment this_system_{"HWLOC_THISSYSTEM", nullptr};
};

} // namespace

TEST_F(AffinityTest, BoundThreadRunsOnItsCoreOnly)
{
    Topology topology = MakeTopology({});
    ASSERT_TRUE(topology);
    std::set<int> before = KernelMask();
    for (int i = 0; i < mti_topology_core_count(topology.get()); i++) {
        OnThread([&] {
            const mti_core_t *core = mti_topology_core(topology.get(), i);
            ASSERT_EQ(mti_affinity_bind_core(topology.get(), i), MANTA_OK) << manta_error_message();
            EXPECT_EQ(KernelMask(), std::set<int>{core->pu});
            EXPECT_EQ(sched_getcpu(), core->pu);
            mti_binding_t binding = mti_affinity_current(topology.get());
            EXPECT_EQ(binding.kind, MTI_BINDING_CORE);
            EXPECT_EQ(binding.core, i);
            EXPECT_EQ(binding.core_count, 1);
            EXPECT_EQ(binding.node, core->node);
            EXPECT_TRUE(binding.cpu_bound);
        });
    }
    EXPECT_EQ(KernelMask(), before) << "binding one thread moved another";
}

TEST_F(AffinityTest, RestoreGivesTheMaskBack)
{
    Topology topology = MakeTopology({});
    ASSERT_TRUE(topology);
    std::set<int> before = KernelMask();
    OnThread([&] {
        EXPECT_EQ(mti_affinity_restore(topology.get()), MANTA_OK) << "never bound";
        ASSERT_EQ(mti_affinity_bind_core(topology.get(), 0), MANTA_OK);
        ASSERT_EQ(mti_affinity_restore(topology.get()), MANTA_OK) << manta_error_message();
        EXPECT_EQ(KernelMask(), before);
        mti_binding_t binding = mti_affinity_current(topology.get());
        EXPECT_EQ(binding.kind, MTI_BINDING_NONE);
        EXPECT_EQ(binding.core, -1);
        EXPECT_EQ(binding.node, -1);
        EXPECT_FALSE(binding.cpu_bound);
    });
}

TEST_F(AffinityTest, SeveralCoresGiveTheirFirstProcessors)
{
    Topology topology = MakeTopology({});
    ASSERT_TRUE(topology);
    std::vector<int> cores;
    std::set<int> pus;
    for (int i = 0; i < mti_topology_core_count(topology.get()); i++) {
        cores.push_back(i);
        pus.insert(mti_topology_core(topology.get(), i)->pu);
    }
    OnThread([&] {
        ASSERT_EQ(mti_affinity_bind_cores(topology.get(), cores.data(), cores.size()), MANTA_OK);
        EXPECT_EQ(KernelMask(), pus);
        EXPECT_EQ(mti_affinity_current(topology.get()).kind, MTI_BINDING_CORES);
        EXPECT_EQ(mti_affinity_current(topology.get()).core_count, static_cast<int>(cores.size()));
        // What a library inside the body does: its threads inherit the mask.
        std::thread([&] { EXPECT_EQ(KernelMask(), pus); }).join();
    });
}

TEST_F(AffinityTest, NodeGivesAllProcessorsOfItsCores)
{
    Topology topology = MakeTopology({});
    ASSERT_TRUE(topology);
    int home = mti_topology_core(topology.get(), 0)->node;
    const mti_node_t *node = mti_topology_node(topology.get(), home);
    std::set<int> pus;
    for (int i = 0; i < node->core_count; i++) {
        const mti_core_t *core = mti_topology_core(topology.get(), node->cores[i]);
        pus.insert(core->pus, core->pus + core->smt_count);
    }
    OnThread([&] {
        ASSERT_EQ(mti_affinity_bind_node(topology.get(), home), MANTA_OK);
        EXPECT_EQ(KernelMask(), pus);
        EXPECT_EQ(mti_affinity_current(topology.get()).kind, MTI_BINDING_NODE);
        EXPECT_EQ(mti_affinity_current(topology.get()).node, home);
    });
}

TEST_F(AffinityTest, MaskOfTheCreatorCapsTheWorkers)
{
    std::set<int> all = KernelMask();
    if (all.size() < 2) GTEST_SKIP() << "one processor is all there is";
    int last = *all.rbegin();
    OnThread([&] {
        SetKernelMask({last});
        Topology topology = MakeTopology({});
        ASSERT_TRUE(topology);
        EXPECT_EQ(mti_topology_core_count(topology.get()), 1);
        EXPECT_EQ(mti_topology_cpu_limit(topology.get()), 1);
        EXPECT_EQ(mti_topology_core(topology.get(), 0)->pu, last);
        ASSERT_EQ(mti_affinity_bind_core(topology.get(), 0), MANTA_OK);
        ASSERT_EQ(mti_affinity_restore(topology.get()), MANTA_OK);
        EXPECT_EQ(KernelMask(), std::set<int>{last}) << "restored beyond what the user allowed";
    });
}

TEST_F(AffinityTest, CpusetOutsideTheMaskIsRefused)
{
    std::set<int> all = KernelMask();
    if (all.size() < 2) GTEST_SKIP() << "one processor is all there is";
    OnThread([&] {
        SetKernelMask({*all.begin()});
        std::string other = std::to_string(*all.rbegin());
        mti_topology_options_t options = {};
        options.cpuset = other.c_str();
        mti_topology_t *topology = nullptr;
        EXPECT_EQ(mti_topology_create(&options, &topology), MANTA_ERR_INVALID_ARGUMENT);
        EXPECT_THAT(manta_error_message(), HasSubstr("\"" + other + "\""));
    });
}

TEST_F(AffinityTest, CpusetOptionIsNoLimitForRestore)
{
    std::set<int> all = KernelMask();
    std::string first = std::to_string(*all.begin());
    mti_topology_options_t options = {};
    options.cpuset = first.c_str();
    Topology topology = MakeTopology(options);
    ASSERT_TRUE(topology);
    EXPECT_EQ(mti_topology_core_count(topology.get()), 1);
    OnThread([&] {
        ASSERT_EQ(mti_affinity_bind_node(topology.get(), 0), MANTA_OK);
        EXPECT_EQ(KernelMask(), std::set<int>{*all.begin()});
        ASSERT_EQ(mti_affinity_restore(topology.get()), MANTA_OK);
        EXPECT_EQ(KernelMask(), all);
    });
}

TEST_F(AffinityTest, TopologyMadeOnABoundThreadSeesTheWholeMask)
{
    Topology outer = MakeTopology({});
    ASSERT_TRUE(outer);
    OnThread([&] {
        ASSERT_EQ(mti_affinity_bind_core(outer.get(), 0), MANTA_OK);
        Topology inner = MakeTopology({});
        ASSERT_TRUE(inner);
        EXPECT_EQ(mti_topology_core_count(inner.get()), mti_topology_core_count(outer.get()));
        EXPECT_EQ(mti_affinity_current(inner.get()).kind, MTI_BINDING_NONE);
        EXPECT_EQ(mti_affinity_current(outer.get()).kind, MTI_BINDING_CORE);
    });
}

TEST_F(AffinityTest, RecordsAreTheThreadsOwn)
{
    Topology topology = MakeSynthetic("pack:2 core:2 pu:1");
    ASSERT_TRUE(topology);
    OnThread([&] {
        ASSERT_EQ(mti_affinity_bind_core(topology.get(), 3), MANTA_OK);
        std::thread([&] {
            EXPECT_EQ(mti_affinity_current(topology.get()).kind, MTI_BINDING_NONE);
        }).join();
        EXPECT_EQ(mti_affinity_current(topology.get()).core, 3);
    });
}

TEST_F(AffinityTest, AnotherMachineIsRecordedAndNotBound)
{
    Topology topology = MakeSynthetic("pack:2 numa:2 core:64 pu:2");
    ASSERT_TRUE(topology);
    OnThread([&] {
        std::set<int> before = KernelMask();
        ASSERT_EQ(mti_affinity_bind_core(topology.get(), 200), MANTA_OK);
        mti_binding_t binding = mti_affinity_current(topology.get());
        EXPECT_EQ(binding.kind, MTI_BINDING_CORE);
        EXPECT_EQ(binding.core, 200);
        EXPECT_EQ(binding.node, 3);
        EXPECT_FALSE(binding.cpu_bound);
        EXPECT_FALSE(binding.memory_bound);

        std::vector<int> cores = {4, 5, 100};
        ASSERT_EQ(mti_affinity_bind_cores(topology.get(), cores.data(), cores.size()), MANTA_OK);
        binding = mti_affinity_current(topology.get());
        EXPECT_EQ(binding.kind, MTI_BINDING_CORES);
        EXPECT_EQ(binding.core, 4);
        EXPECT_EQ(binding.core_count, 3);

        ASSERT_EQ(mti_affinity_bind_node(topology.get(), 2), MANTA_OK);
        binding = mti_affinity_current(topology.get());
        EXPECT_EQ(binding.kind, MTI_BINDING_NODE);
        EXPECT_EQ(binding.node, 2);
        EXPECT_EQ(binding.core_count, 64);

        ASSERT_EQ(mti_affinity_restore(topology.get()), MANTA_OK);
        EXPECT_EQ(mti_affinity_current(topology.get()).kind, MTI_BINDING_NONE);
        EXPECT_EQ(KernelMask(), before);
    });
}

TEST_F(AffinityTest, NodeWithoutCoresGivesThoseNearIt)
{
    Topology topology = MakeXml(FixturePath("cxl-2x2.xml"));
    ASSERT_TRUE(topology);
    OnThread([&] {
        ASSERT_EQ(mti_affinity_bind_node(topology.get(), 2), MANTA_OK);
        EXPECT_EQ(mti_affinity_current(topology.get()).core_count, 2);
        ASSERT_EQ(mti_affinity_restore(topology.get()), MANTA_OK);
    });
}

TEST_F(AffinityTest, PlacesThatDoNotExistAreRefusedAndChangeNothing)
{
    Topology topology = MakeSynthetic("pack:1 core:4 pu:1");
    ASSERT_TRUE(topology);
    OnThread([&] {
        ASSERT_EQ(mti_affinity_bind_core(topology.get(), 1), MANTA_OK);
        int bad[] = {0, 4};
        EXPECT_EQ(mti_affinity_bind_core(topology.get(), -1), MANTA_ERR_OUT_OF_RANGE);
        EXPECT_EQ(mti_affinity_bind_core(topology.get(), 4), MANTA_ERR_OUT_OF_RANGE);
        EXPECT_THAT(manta_error_message(), HasSubstr("core 4 of 4"));
        EXPECT_EQ(mti_affinity_bind_cores(topology.get(), bad, 2), MANTA_ERR_OUT_OF_RANGE);
        EXPECT_EQ(mti_affinity_bind_cores(topology.get(), bad, 0), MANTA_ERR_INVALID_ARGUMENT);
        EXPECT_EQ(mti_affinity_bind_node(topology.get(), 1), MANTA_ERR_OUT_OF_RANGE);
        EXPECT_EQ(mti_affinity_current(topology.get()).core, 1);
        ASSERT_EQ(mti_affinity_restore(topology.get()), MANTA_OK);
    });
}

TEST_F(AffinityTest, ProcessorsThatAreNotThereAreNotOurs)
{
    // A machine that claims to be this one, but is larger.
    ScopedEnvironment this_system("HWLOC_THISSYSTEM", "1");
    std::set<int> all = KernelMask();
    ASSERT_LT(*all.rbegin(), 1000);
    Topology topology = MakeSynthetic("core:1000 pu:1");
    ASSERT_TRUE(topology);
    EXPECT_EQ(mti_topology_core_count(topology.get()), static_cast<int>(all.size()));
}

// ---- A kernel that says no -----------------------------------------------------------------------

TEST_F(AffinityTest, RefusedMaskIsASystemErrorAndRecordsNothing)
{
    Topology topology = MakeTopology({});
    ASSERT_TRUE(topology);
    OnThread([&] {
        if (!RefuseSystemCall(SYS_sched_setaffinity)) GTEST_SKIP() << "no seccomp here";
        std::set<int> before = KernelMask();
        EXPECT_EQ(mti_affinity_bind_core(topology.get(), 0), MANTA_ERR_SYSTEM);
        EXPECT_THAT(manta_error_message(), HasSubstr("Operation not permitted"));
        EXPECT_EQ(mti_affinity_bind_node(topology.get(), 0), MANTA_ERR_SYSTEM);
        EXPECT_EQ(mti_affinity_current(topology.get()).kind, MTI_BINDING_NONE);
        EXPECT_EQ(KernelMask(), before);
    });
}

TEST_F(AffinityTest, MemoryPrefersTheNodeOfTheCore)
{
    // Two nodes that claim to be this machine's, so that there is something to prefer.
    ScopedEnvironment this_system("HWLOC_THISSYSTEM", "1");
    if (KernelMask().count(0) == 0) GTEST_SKIP() << "processor 0 is not ours";
    if (MemoryPolicy() != MPOL_DEFAULT) GTEST_SKIP() << "no memory policies here, or one is set";
    Topology topology = MakeSynthetic("numa:2 core:1 pu:1");
    ASSERT_TRUE(topology);
    OnThread([&] {
        ASSERT_EQ(mti_affinity_bind_core(topology.get(), 0), MANTA_OK);
        EXPECT_TRUE(mti_affinity_current(topology.get()).memory_bound);
        EXPECT_NE(MemoryPolicy(), MPOL_DEFAULT);
        EXPECT_NE(MemoryPolicy(), MPOL_BIND) << "a full node would kill the process";
        ASSERT_EQ(mti_affinity_restore(topology.get()), MANTA_OK);
        EXPECT_EQ(MemoryPolicy(), MPOL_DEFAULT);
    });
}

TEST_F(AffinityTest, RefusedMemoryPolicyIsNoError)
{
    ScopedEnvironment this_system("HWLOC_THISSYSTEM", "1");
    if (KernelMask().count(0) == 0) GTEST_SKIP() << "processor 0 is not ours";
    Topology topology = MakeSynthetic("numa:2 core:1 pu:1");
    ASSERT_TRUE(topology);
    OnThread([&] {
        if (!RefuseSystemCall(SYS_set_mempolicy)) GTEST_SKIP() << "no seccomp here";
        EXPECT_EQ(mti_affinity_bind_core(topology.get(), 0), MANTA_OK) << manta_error_message();
        EXPECT_TRUE(mti_affinity_current(topology.get()).cpu_bound);
        EXPECT_FALSE(mti_affinity_current(topology.get()).memory_bound);
        EXPECT_EQ(KernelMask(), std::set<int>{0});
    });
}

TEST_F(AffinityTest, MemoryPolicyOfTheUserIsLeftAlone)
{
    ScopedEnvironment this_system("HWLOC_THISSYSTEM", "1");
    if (KernelMask().count(0) == 0) GTEST_SKIP() << "processor 0 is not ours";
    OnThread([&] {
        unsigned long node_zero = 1;
        if (syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, &node_zero, 8 * sizeof node_zero) != 0)
            GTEST_SKIP() << "no memory policies here";
        Topology topology = MakeSynthetic("numa:2 core:1 pu:1");
        ASSERT_TRUE(topology);
        EXPECT_EQ(mti_affinity_bind_core(topology.get(), 0), MANTA_OK);
        EXPECT_FALSE(mti_affinity_current(topology.get()).memory_bound);
        EXPECT_EQ(MemoryPolicy(), MPOL_INTERLEAVE);
        EXPECT_EQ(mti_affinity_restore(topology.get()), MANTA_OK);
        EXPECT_EQ(MemoryPolicy(), MPOL_INTERLEAVE);
    });
}
