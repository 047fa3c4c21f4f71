// Device code for kernels that only have CPU twins, so that programs of the public API run on the fake CUDA
// driver: a code object whose image the fake takes for one, and kernels of the same names in the fake, which run the
// twins and say which memory they use.
#ifndef TESTS_FAKES_FAKE_KERNELS_H
#define TESTS_FAKES_FAKE_KERNELS_H

#include <manta/kernel.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "fakes/fake_test.h"

namespace manta_testing
{

// Whether this process has the fake driver in the place of CUDA's.
inline bool has_fake_cuda()
{
    static const bool has = [] {
        const char *path = getenv("MANTA_CUDA_LIBRARY");
        void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
        return library && dlsym(library, "fake_cuda_control") != nullptr;
    }();
    return has;
}

struct FakeKernel {
    const manta_kernel_t *kernel; // of MANTA_KERNEL: name and parameters
    manta_twin_fn_t twin;
    std::vector<uint8_t> access; // of each parameter, FAKE_CUDA_*
    // Bytes that parameter |i| is used for.
    size_t (*extent)(uint32_t i, const fake_cuda_shape_t *shape, void *const *args);
};

// To be a static object of the test program. Does nothing where there is no fake.
class FakeCode
{
  public:
    FakeCode(const char *name, std::initializer_list<FakeKernel> kernels)
        : kernels_(kernels), image_(".version 8.0 .entry")
    {
        if (!has_fake_cuda()) return;
        for (FakeKernel &at : kernels_) {
            image_ += std::string(" ") + at.kernel->name;
            manta_kernel_t row = {};
            row.name = at.kernel->name;
            row.arg_bytes = at.kernel->arg_bytes;
            row.arg_count = at.kernel->arg_count;
            rows_.push_back(row);
            fake_cuda_kernel_t kernel = {};
            kernel.name = at.kernel->name;
            kernel.param_count = at.kernel->arg_count;
            kernel.param_bytes = at.kernel->arg_bytes;
            kernel.param_access = at.access.data();
            kernel.extent = at.extent;
            kernel.twin = reinterpret_cast<decltype(kernel.twin)>(at.twin); // the same layout
            fake_cuda()->kernel_add(&kernel);
        }
        code_.name = name;
        code_.image = image_.c_str();
        code_.image_bytes = image_.size() + 1;
        code_.kernels = rows_.data();
        code_.kernel_count = static_cast<uint32_t>(rows_.size());
        manta_code_register(&code_);
    }
    FakeCode(const FakeCode &) = delete;
    FakeCode &operator=(const FakeCode &) = delete;

  private:
    std::vector<FakeKernel> kernels_;
    std::vector<manta_kernel_t> rows_;
    std::string image_;
    manta_code_t code_ = {};
};

} // namespace manta_testing

#endif
