// What the tests of the topology module share.
#ifndef MTI_TESTS_UNIT_TOPOLOGY_FIXTURE_H
#define MTI_TESTS_UNIT_TOPOLOGY_FIXTURE_H

#include "topology/topology.h"

#include <manta/status.h>

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>

struct TopologyDeleter {
    void operator()(mti_topology_t *topology) const { mti_topology_destroy(topology); }
};
using Topology = std::unique_ptr<mti_topology_t, TopologyDeleter>;

// NULL, with a test failure that says why, if the topology can't be made.
inline Topology MakeTopology(const mti_topology_options_t &options)
{
    mti_topology_t *topology = nullptr;
    manta_status_t status = mti_topology_create(&options, &topology);
    EXPECT_EQ(status, MANTA_OK) << manta_error_message();
    return Topology(topology);
}

inline Topology MakeSynthetic(const char *text, const char *cpuset = nullptr)
{
    mti_topology_options_t options = {};
    options.synthetic = text;
    options.cpuset = cpuset;
    return MakeTopology(options);
}

inline Topology MakeXml(const std::string &path, const char *cpuset = nullptr)
{
    mti_topology_options_t options = {};
    options.xml_path = path.c_str();
    options.cpuset = cpuset;
    return MakeTopology(options);
}

inline std::string FixturePath(const std::string &name)
{
    return std::string(MANTA_SOURCE_DIR) + "/tests/fixtures/topologies/" + name;
}

// Machines recorded elsewhere, which not every clone has beside it.
inline std::string SharedPath(const std::string &name)
{
    const char *folder = std::getenv("MANTA_SHARED_TOPOLOGIES");
    std::string base = folder ? folder : std::string(MANTA_SOURCE_DIR) + "/../shared/topologies";
    return base + "/" + name;
}

// Sets an environment variable (nullptr: unsets it) until the end of the block.
class ScopedEnvironment
{
  public:
    ScopedEnvironment(const char *name, const char *value) : name_(name)
    {
        const char *old = std::getenv(name);
        had_ = old != nullptr;
        if (had_) old_ = old;
        Set(value);
    }
    ~ScopedEnvironment() { Set(had_ ? old_.c_str() : nullptr); }
    ScopedEnvironment(const ScopedEnvironment &) = delete;
    ScopedEnvironment &operator=(const ScopedEnvironment &) = delete;

  private:
    void Set(const char *value)
    {
        if (value)
            setenv(name_.c_str(), value, 1);
        else
            unsetenv(name_.c_str());
    }
    std::string name_, old_;
    bool had_ = false;
};

#endif
