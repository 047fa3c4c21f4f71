// The same kernels for the fake driver, so that the benches run, if not fast, where there is no GPU; and something
// that takes the place of device code where there was no nvcc.
#include "bench/gpu/bench_gpu.h"

#include "fakes/libcuda/fake_cuda.h"

#include <manta/kernel.h>

#include <cstdlib>

#include <dlfcn.h>

#ifdef BENCH_HAS_IMAGE
extern "C" const unsigned char mti_bench_gpu_kernels_image[];
#else
// The fake takes a text that names the kernels for device code.
static const char fake_image[] =
    ".version 8.0 .entry bench_step bench_leaf bench_join bench_ends bench_stamp";
#endif

namespace gpu_bench
{

namespace
{

// What the library that takes the driver's place calls |name|; NULL: it does not, or there is none.
void *symbol_of(const char *name)
{
    const char *path = getenv("MANTA_CUDA_LIBRARY");
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
    return library ? dlsym(library, name) : nullptr;
}

uint64_t *words(void *const *args, int i)
{
    return *static_cast<uint64_t **>(args[i]);
}

uint64_t number(void *const *args, int i)
{
    return *static_cast<uint64_t *>(args[i]);
}

void step(const fake_cuda_shape_t *, void *const *args)
{
    words(args, 0)[0] += 1;
}

void leaf(const fake_cuda_shape_t *, void *const *args)
{
    const uint64_t *in = words(args, 0);
    words(args, 1)[0] = in ? in[0] + 1 : 0;
}

void join(const fake_cuda_shape_t *, void *const *args)
{
    const auto *leaves = static_cast<const uint64_t *const *>(args[0]);
    uint64_t sum = 0;
    for (size_t i = 0; i < kLeaves; i++)
        sum += leaves[i][0];
    words(args, 1)[0] = sum - 7 * leaves[0][0] + 1;
}

void ends(const fake_cuda_shape_t *, void *const *args)
{
    words(args, 0)[0] = words(args, 0)[number(args, 1) - 1] = number(args, 2);
}

void stamp(const fake_cuda_shape_t *, void *const *args)
{
    const auto now = [] { return static_cast<uint64_t>(bench::now_ns()); };
    words(args, 0)[0] = now();
    words(args, 0)[1] = now();
    // release: who has seen the flag may look at the times
    if (words(args, 2)) __atomic_store_n(words(args, 2), number(args, 3), __ATOMIC_RELEASE);
}

struct Kernel {
    const char *name;
    void (*twin)(const fake_cuda_shape_t *, void *const *);
    std::vector<uint32_t> bytes;
    std::vector<uint8_t> access;
};

constexpr uint8_t kNone = FAKE_CUDA_NONE, kRead = FAKE_CUDA_READ, kWrite = FAKE_CUDA_WRITE,
                  kBoth = FAKE_CUDA_READ | FAKE_CUDA_WRITE;

const Kernel kernels[] = {
    {"bench_step", step, {8}, {kBoth}},
    {"bench_leaf", leaf, {8, 8}, {kRead, kWrite}},
    {"bench_join", join, {8 * kLeaves, 8}, {kRead, kWrite}},
    {"bench_ends", ends, {8, 8, 8}, {kWrite | FAKE_CUDA_WHOLE, kNone, kNone}},
    {"bench_stamp", stamp, {8, 8, 8, 8}, {kWrite, kNone, kWrite, kNone}},
};

bool takes_text; // as device code: the fake, and the null driver

} // namespace

const void *device_image()
{
#ifdef BENCH_HAS_IMAGE
    return mti_bench_gpu_kernels_image;
#else
    return takes_text ? fake_image : nullptr;
#endif
}

void fake_add_kernels()
{
    void *control = symbol_of("fake_cuda_control");
    takes_text = control || symbol_of("null_cuda");
    for (const Kernel &at : kernels) {
        fake_cuda_kernel_t kernel = {};
        kernel.name = at.name;
        kernel.param_count = static_cast<uint32_t>(at.bytes.size());
        kernel.param_bytes = at.bytes.data();
        kernel.param_access = at.access.data();
        kernel.twin = at.twin;
        if (control) reinterpret_cast<fake_cuda_control_fn_t>(control)()->kernel_add(&kernel);
    }
#ifndef BENCH_HAS_IMAGE
    if (!takes_text) return;
    static manta_kernel_t rows[sizeof kernels / sizeof kernels[0]];
    static manta_code_t code = {};
    for (manta_kernel_t &row : rows) {
        const Kernel &at = kernels[&row - rows];
        row.name = at.name;
        row.arg_bytes = at.bytes.data();
        row.arg_count = static_cast<uint32_t>(at.bytes.size());
    }
    code.name = "bench_gpu";
    code.image = fake_image;
    code.image_bytes = sizeof fake_image;
    code.kernels = rows;
    code.kernel_count = sizeof rows / sizeof rows[0];
    manta_code_register(&code);
#endif
}

} // namespace gpu_bench
