// The fake CUDA driver in a test program: loads it, puts it back to a known state around each test, and
// fails a test that leaves a violation behind.
#ifndef TESTS_FAKES_FAKE_TEST_H
#define TESTS_FAKES_FAKE_TEST_H

#include <string>
#include <vector>

#include <cstdlib>
#include <dlfcn.h>

#include <gtest/gtest.h>

#include "fakes/libcuda/fake_cuda.h"

namespace manta_testing
{

// The library that $MANTA_CUDA_LIBRARY names, the one that the CUDA driver of manta opens too.
inline const fake_cuda_controls_t *fake_cuda()
{
    static const fake_cuda_controls_t *controls = [] {
        const char *path = getenv("MANTA_CUDA_LIBRARY");
        void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
        void *symbol = library ? dlsym(library, "fake_cuda_control") : nullptr;
        if (!symbol) {
            fprintf(stderr, "MANTA_CUDA_LIBRARY does not name the fake driver: %s\n", dlerror());
            abort();
        }
        return reinterpret_cast<fake_cuda_control_fn_t>(symbol)();
    }();
    return controls;
}

// What the fake complained about since the last time, one complaint per entry.
inline std::vector<std::string> fake_lines(uint32_t (*take)(char *, size_t))
{
    std::vector<char> text(1 << 16);
    take(text.data(), text.size());
    std::vector<std::string> lines;
    std::string line;
    for (const char *c = text.data(); *c; c++) {
        if (*c != '\n') {
            line += *c;
            continue;
        }
        lines.push_back(line);
        line.clear();
    }
    return lines;
}
inline std::vector<std::string> fake_violations()
{
    return fake_lines(fake_cuda()->violations_take);
}
inline std::vector<std::string> fake_leaks()
{
    return fake_lines(fake_cuda()->leaks);
}

// A fresh fake for each test. What is left at the end fails the test, unless it took it before.
class FakeCudaTest : public ::testing::Test
{
  protected:
    void SetUp() override { fake_cuda()->reset(nullptr); }
    void TearDown() override
    {
        EXPECT_EQ(std::vector<std::string>(), fake_violations());
        if (!expects_leaks_) {
            EXPECT_EQ(std::vector<std::string>(), fake_leaks());
        }
    }
    bool expects_leaks_ = false; // say, because the device was lost
};

} // namespace manta_testing

#endif
