// Manta's kernels on a device, launched by name from a CUDA body, against their CPU twins.
#include "gpu/gpu.h"
#include "support/kernel_cases.h"

#include <manta/manta.h>

#include <gtest/gtest.h>

#include <cstdio>

// One task for every kernel: the case has the scalars, the buffers come and go as bytes.
MANTA_TASK(gk_run, MANTA_LOCAL(kernel_case *, c), MANTA_INOUT(unsigned char, b0),
           MANTA_INOUT(unsigned char, b1), MANTA_INOUT(unsigned char, b2),
           MANTA_INOUT(unsigned char, b3), MANTA_INOUT(unsigned char, b4))
{
    kernel_args args = kernel_args_of(c, {b0.data, b1.data, b2.data, b3.data, b4.data});
    return manta_run_twin(c->kernel, c->grid, args.pointers.data(),
                          static_cast<uint32_t>(args.pointers.size()));
}
MANTA_CUDA(gk_run, MANTA_LOCAL(kernel_case *, c), MANTA_INOUT(unsigned char, b0),
           MANTA_INOUT(unsigned char, b1), MANTA_INOUT(unsigned char, b2),
           MANTA_INOUT(unsigned char, b3), MANTA_INOUT(unsigned char, b4))
{
    kernel_args args = kernel_args_of(c, {b0.data, b1.data, b2.data, b3.data, b4.data});
    return manta_launch_kernel(c->kernel, c->grid, args.pointers.data(),
                               static_cast<uint32_t>(args.pointers.size()));
}

static void run(kernel_case *c, manta_where_t where)
{
    MANTA_SCOPE();
    manta_ref_t refs[KERNEL_BUFFERS];
    for (size_t i = 0; i < KERNEL_BUFFERS; i++) {
        const bool there = i < c->buffers.size();
        refs[i] = manta_put(there ? c->buffers[i].bytes.data() : nullptr,
                            there ? c->buffers[i].bytes.size() : 0);
    }
    gk_run_out_t out = gk_run_with(MANTA_OPTIONS(.where = where), c, refs[0], refs[1], refs[2],
                                   refs[3], refs[4]);
    const manta_ref_t results[KERNEL_BUFFERS] = {out.b0, out.b1, out.b2, out.b3, out.b4};
    for (size_t i = 0; i < c->buffers.size(); i++) {
        std::vector<unsigned char> &bytes = c->buffers[i].bytes;
        ASSERT_EQ(manta_read(results[i], bytes.data(), bytes.size(), MANTA_FOREVER), MANTA_OK)
            << c->what << ": " << manta_error_message();
    }
    ASSERT_EQ(manta_wait(results, KERNEL_BUFFERS, KERNEL_BUFFERS, MANTA_FOREVER, nullptr, nullptr),
              MANTA_OK);
}

TEST(DeviceKernelTest, DoWhatTheirTwinsDo)
{
    size_t count = 0;
    for (kernel_case &c : kernel_cases()) {
        kernel_case expected = c;
        run(&expected, MANTA_CPU);
        run(&c, MANTA_GPU);
        if (testing::Test::HasFatalFailure()) return;
        EXPECT_EQ(kernel_case_difference(c, expected), "");
        count++;
    }
    std::printf("%zu launches\n", count);
}

int main(int argc, char **argv)
{
    testing::InitGoogleTest(&argc, argv);
    if (int skip = gpu_missing()) return skip;
    return RUN_ALL_TESTS();
}
