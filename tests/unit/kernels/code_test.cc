// Code objects: finding kernels by name, and what launches are told when they can't.
#include "core/code.h"
#include "kernels/kernels.h"

#include <manta/kernels.h>

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace
{

const unsigned char image[4] = {1, 2, 3, 4}; // never loaded here

std::string message()
{
    return manta_error_message();
}

void twin_one(const manta_grid_t *, void *const *args)
{
    **static_cast<int **>(args[0]) = 1;
}
void twin_two(const manta_grid_t *, void *const *args)
{
    **static_cast<int **>(args[0]) = 2;
}

const uint32_t bytes_8[] = {8, 0};
const uint32_t bytes_4[] = {4, 0};

manta_kernel_t row(const char *name, const uint32_t *bytes, manta_twin_fn_t twin)
{
    return {name, nullptr, bytes, 1, 0, twin, nullptr, nullptr};
}
manta_code_t code_of(const char *name, const void *bytes, manta_kernel_t *rows, uint32_t count)
{
    return {name, bytes, bytes ? 4u : 0u, rows, count, 0, nullptr};
}

int run(manta_kernel_t *kernel, manta_status_t expected = MANTA_OK)
{
    int result = 0, *where = &result;
    void *args[] = {&where};
    EXPECT_EQ(manta_run_twin(kernel, manta_grid_1d(1, 1), args, 1), expected) << message();
    return result;
}

MANTA_KERNEL(ct_unknown, int *);
MANTA_KERNEL(ct_with_twin, int *);
void with_twin(const manta_grid_t *grid, void *const *args)
{
    **static_cast<int **>(args[0]) += static_cast<int>(grid->grid[0]);
}
MANTA_KERNEL_TWIN(ct_with_twin, with_twin);

MANTA_KERNEL(ct_nothing);
void nothing(const manta_grid_t *, void *const *)
{
}
MANTA_KERNEL_TWIN(ct_nothing, nothing);

typedef struct {
    double a, b;
} ct_pair_t;
MANTA_KERNEL(ct_all, char, short, float, double, ct_pair_t, const char *, int, int, int, int, int,
             int, int, int, int, int, int, int, int, int, int, int, int, int);

TEST(CodeTest, OwnKernelsAreThere)
{
    const manta_kernel_t *found = mti_code_find("manta/gemm_f64");
    ASSERT_NE(found, nullptr);
    EXPECT_STREQ(found->symbol, "manta_gemm_f64");
    EXPECT_EQ(found->code, &mti_kernels_code);
    EXPECT_EQ(found->arg_count, 13u);
    EXPECT_NE(found->twin, nullptr);
    for (uint32_t i = 0; i < mti_kernels_code.kernel_count; i++) {
        const manta_kernel_t *kernel = &mti_kernels_code.kernels[i];
        EXPECT_EQ(mti_code_find(kernel->name), kernel);
        EXPECT_EQ(std::string("manta/") + (kernel->symbol + strlen("manta_")), kernel->name);
        EXPECT_NE(kernel->twin, nullptr) << kernel->name;
    }
}

TEST(CodeTest, TypedLaunchesKnowTheirParameters)
{
    EXPECT_EQ(ct_nothing_kernel.arg_count, 0u);
    EXPECT_EQ(ct_all_kernel.arg_count, 24u);
    EXPECT_EQ(ct_all_kernel.arg_bytes[0], 1u);
    EXPECT_EQ(ct_all_kernel.arg_bytes[4], 16u);
    EXPECT_EQ(ct_all_kernel.arg_bytes[5], 8u);
    EXPECT_EQ(ct_all_kernel.arg_bytes[23], 4u);
}

TEST(CodeTest, TwinRunsByName)
{
    int value = 40;
    EXPECT_EQ(ct_with_twin_run(manta_grid_1d(512, 256), &value), MANTA_OK);
    EXPECT_EQ(value, 42);
    EXPECT_EQ(ct_nothing_run(manta_grid_1d(1, 1)), MANTA_OK);
}

TEST(CodeTest, AnEmptyGridDoesNothing)
{
    int value = 40;
    EXPECT_EQ(ct_with_twin_run(manta_grid_1d(0, 256), &value), MANTA_OK);
    EXPECT_EQ(ct_with_twin_run(manta_grid_2d(5, 0, 8, 8), &value), MANTA_OK);
    EXPECT_EQ(value, 40);
}

TEST(CodeTest, ABlockWithoutThreadsIsAnError)
{
    int value = 0;
    EXPECT_EQ(ct_with_twin_run(manta_grid_1d(10, 0), &value), MANTA_ERR_OUT_OF_RANGE);
    EXPECT_NE(message().find("ct_with_twin"), std::string::npos) << message();
    EXPECT_NE(message().find("0 x 1 x 1"), std::string::npos) << message();
}

TEST(CodeTest, GridsCoverWhatTheyAreAskedFor)
{
    EXPECT_EQ(manta_grid_1d(1, 256).grid[0], 1u);
    EXPECT_EQ(manta_grid_1d(256, 256).grid[0], 1u);
    EXPECT_EQ(manta_grid_1d(257, 256).grid[0], 2u);
    EXPECT_EQ(manta_grid_1d(SIZE_MAX, 1).grid[0], UINT32_MAX); // and not 0
    EXPECT_EQ(manta_grid_1d(SIZE_MAX, 256).grid[0], UINT32_MAX);
    manta_grid_t g = manta_grid_3d(10, 20, 30, 4, 5, 7);
    EXPECT_EQ(g.grid[0], 3u);
    EXPECT_EQ(g.grid[1], 4u);
    EXPECT_EQ(g.grid[2], 5u);
    EXPECT_EQ(g.block[2], 7u);
    EXPECT_EQ(g.shared_bytes, 0u);
}

TEST(CodeTest, UnknownKernel)
{
    int value;
    EXPECT_EQ(ct_unknown_run(manta_grid_1d(1, 1), &value), MANTA_ERR_NOT_FOUND);
    EXPECT_NE(message().find("ct_unknown"), std::string::npos) << message();
}

TEST(CodeTest, LaunchOutsideACudaBody)
{
    int value = 0;
    EXPECT_EQ(ct_with_twin_launch(manta_grid_1d(1, 1), &value), MANTA_ERR_NOT_ALLOWED_HERE);
    EXPECT_NE(message().find("ct_with_twin"), std::string::npos) << message();
    EXPECT_EQ(MANTA_LAUNCH(ct_with_twin, manta_grid_1d(1, 1), &value), MANTA_ERR_NOT_ALLOWED_HERE);
}

TEST(CodeTest, NoKernelNoNameNoArguments)
{
    EXPECT_EQ(manta_run_twin(nullptr, manta_grid_1d(1, 1), nullptr, 0), MANTA_ERR_INVALID_ARGUMENT);
    static manta_kernel_t nameless = {};
    EXPECT_EQ(manta_run_twin(&nameless, manta_grid_1d(1, 1), nullptr, 0),
              MANTA_ERR_INVALID_ARGUMENT);
    EXPECT_EQ(manta_run_twin(&ct_with_twin_kernel, manta_grid_1d(1, 1), nullptr, 1),
              MANTA_ERR_INVALID_ARGUMENT);
    EXPECT_EQ(manta_run_twin(&ct_with_twin_kernel, manta_grid_1d(1, 1), nullptr, 2),
              MANTA_ERR_TYPE_MISMATCH);
    manta_code_register(nullptr);
}

TEST(CodeTest, ParametersAreHeldAgainstTheCodeObject)
{
    static manta_kernel_t rows[] = {row("ct_typed", bytes_8, twin_one)};
    static manta_code_t code = code_of("typed", nullptr, rows, 1);
    manta_code_register(&code);
    manta_kernel_t as_4 = row("ct_typed", bytes_4, nullptr);
    EXPECT_EQ(run(&as_4, MANTA_ERR_TYPE_MISMATCH), 0);
    EXPECT_NE(message().find("parameter 1"), std::string::npos) << message();
    EXPECT_NE(message().find("4 bytes"), std::string::npos) << message();
    EXPECT_NE(message().find("typed"), std::string::npos) << message();
    manta_kernel_t as_two = row("ct_typed", bytes_8, nullptr);
    as_two.arg_count = 2;
    void *args[2] = {};
    EXPECT_EQ(manta_run_twin(&as_two, manta_grid_1d(1, 1), args, 2), MANTA_ERR_TYPE_MISMATCH);
    manta_kernel_t right = row("ct_typed", bytes_8, nullptr);
    EXPECT_EQ(run(&right), 1);
}

// Whatever comes first, code or twin, and although launches have looked before.
TEST(CodeTest, TwinAndDeviceCodeOfOneNameMeet)
{
    static manta_kernel_t twins[] = {row("ct_meet_1", bytes_8, twin_one),
                                     row("ct_meet_2", bytes_8, twin_two)};
    static manta_kernel_t first[] = {row("ct_meet_1", bytes_8, nullptr)};
    static manta_kernel_t second[] = {row("ct_meet_2", bytes_8, nullptr)};
    static manta_code_t twin_code = code_of("twins", nullptr, twins, 2);
    static manta_code_t first_code = code_of("first", image, first, 1);
    static manta_code_t second_code = code_of("second", image, second, 1);
    manta_kernel_t handle_1 = row("ct_meet_1", bytes_8, nullptr);
    manta_kernel_t handle_2 = row("ct_meet_2", bytes_8, nullptr);

    manta_code_register(&first_code);
    EXPECT_EQ(run(&handle_1, MANTA_ERR_NOT_FOUND), 0); // no twin yet
    manta_code_register(&twin_code);
    EXPECT_EQ(run(&handle_1), 1);
    EXPECT_EQ(run(&handle_2), 2);
    EXPECT_EQ(mti_code_find("ct_meet_2")->code, &twin_code);
    manta_code_register(&second_code);
    EXPECT_EQ(mti_code_find("ct_meet_1")->code, &first_code);
    EXPECT_EQ(mti_code_find("ct_meet_2")->code, &second_code);
    EXPECT_EQ(run(&handle_2), 2);
    const manta_kernel_t *found;
    manta_twin_fn_t twin;
    ASSERT_EQ(mti_code_resolve(&handle_2, 1, &found, &twin), MANTA_OK);
    EXPECT_EQ(found, &second[0]);
    EXPECT_EQ(twin, twin_two);
}

TEST(CodeTest, DeviceCodeFromTwoObjectsIsAmbiguous)
{
    static manta_kernel_t a[] = {row("ct_twice", bytes_8, twin_one)};
    static manta_kernel_t b[] = {row("ct_twice", bytes_8, twin_one)};
    static manta_kernel_t c[] = {row("ct_twice", bytes_8, twin_one)};
    static manta_code_t code_a = code_of("a.fatbin", image, a, 1);
    static manta_code_t code_b = code_of("b.fatbin", image, b, 1);
    static manta_code_t code_c = code_of("c", nullptr, c, 1);
    manta_kernel_t handle = row("ct_twice", bytes_8, nullptr);
    manta_code_register(&code_a);
    EXPECT_EQ(run(&handle), 1);
    manta_code_register(&code_b);
    EXPECT_EQ(run(&handle, MANTA_ERR_ALREADY_EXISTS), 0); // also for who had looked before
    EXPECT_NE(message().find("a.fatbin"), std::string::npos) << message();
    manta_code_register(&code_c);
    EXPECT_EQ(run(&handle, MANTA_ERR_ALREADY_EXISTS), 0);
}

TEST(CodeTest, TwinWithOtherParametersIsNotTaken)
{
    static manta_kernel_t a[] = {row("ct_other", bytes_8, nullptr)};
    static manta_kernel_t b[] = {row("ct_other", bytes_4, twin_one)};
    static manta_code_t code_a = code_of("a.fatbin", image, a, 1);
    static manta_code_t code_b = code_of("b", nullptr, b, 1);
    manta_code_register(&code_a);
    manta_code_register(&code_b);
    manta_kernel_t handle = row("ct_other", bytes_8, nullptr);
    EXPECT_EQ(run(&handle, MANTA_ERR_ALREADY_EXISTS), 0);
}

TEST(CodeTest, RegisteringTwiceIsOnce)
{
    static manta_kernel_t a[] = {row("ct_again", bytes_8, twin_two)};
    static manta_code_t code = code_of("again", image, a, 1);
    manta_code_register(&code);
    uint32_t index = code.index;
    manta_code_register(&code);
    EXPECT_EQ(code.index, index);
    manta_kernel_t handle = row("ct_again", bytes_8, nullptr);
    EXPECT_EQ(run(&handle), 2);
    size_t seen = 0, all = 0;
    for (const manta_code_t *c = mti_code_first(); c; c = c->next, all++)
        seen += c == &code;
    EXPECT_EQ(seen, 1u);
    EXPECT_LT(code.index, all);
}

// Threads that register meet threads that look: a name is found whole or not at all, and indices are
// given once.
TEST(CodeTest, ManyThreadsRegisterAndLook)
{
    enum { THREADS = 4, CODES = 50 };
    static std::string names[THREADS][CODES];
    static manta_kernel_t rows[THREADS][CODES];
    static manta_code_t codes[THREADS][CODES];
    std::atomic<bool> go{false};
    std::vector<std::thread> threads;
    for (int t = 0; t < THREADS; t++) {
        for (int i = 0; i < CODES; i++) {
            names[t][i] = "ct_many_" + std::to_string(t) + "_" + std::to_string(i);
            rows[t][i] = row(names[t][i].c_str(), bytes_8, twin_one);
            codes[t][i] = code_of(names[t][i].c_str(), i % 2 ? image : nullptr, &rows[t][i], 1);
        }
    }
    for (int t = 0; t < THREADS; t++) {
        threads.emplace_back([t, &go] {
            while (!go)
                std::this_thread::yield();
            for (int i = 0; i < CODES; i++) {
                manta_code_register(&codes[t][i]);
                manta_kernel_t mine = row(names[t][i].c_str(), bytes_8, nullptr);
                EXPECT_EQ(run(&mine), 1);
                manta_kernel_t others =
                    row(names[(t + 1) % THREADS][i].c_str(), bytes_8, nullptr);
                int result = 0, *where = &result;
                void *args[] = {&where};
                manta_status_t status =
                    manta_run_twin(&others, manta_grid_1d(1, 1), args, 1);
                EXPECT_TRUE(status == MANTA_ERR_NOT_FOUND || (status == MANTA_OK && result == 1));
            }
        });
    }
    go = true;
    for (std::thread &thread : threads)
        thread.join();
    std::vector<uint32_t> indices;
    for (const manta_code_t *c = mti_code_first(); c; c = c->next)
        indices.push_back(c->index);
    for (size_t i = 0; i < indices.size(); i++)
        EXPECT_EQ(indices[i], indices.size() - 1 - i);
}

#ifdef MTI_KERNELS_TABLE
// As nvcc sees them.
#include MTI_KERNELS_TABLE
TEST(CodeTest, TableAgreesWithTheCompiledKernels)
{
    EXPECT_NE(mti_kernels_code.image, nullptr);
    EXPECT_GT(mti_kernels_code.image_bytes, 1000u);
    EXPECT_EQ(sizeof kernels / sizeof *kernels, mti_kernels_code.kernel_count);
    for (const manta_kernel_t &compiled : kernels) {
        const manta_kernel_t *ours = nullptr;
        for (uint32_t i = 0; i < mti_kernels_code.kernel_count; i++) {
            if (!strcmp(mti_kernels_code.kernels[i].symbol, compiled.name))
                ours = &mti_kernels_code.kernels[i];
        }
        ASSERT_NE(ours, nullptr) << compiled.name;
        EXPECT_EQ(ours->max_block_threads, compiled.max_block_threads) << compiled.name;
        ASSERT_EQ(ours->arg_count, compiled.arg_count) << compiled.name;
        for (uint32_t i = 0; i < ours->arg_count; i++)
            EXPECT_EQ(ours->arg_bytes[i], compiled.arg_bytes[i]) << compiled.name << " " << i;
    }
}
#else
TEST(CodeTest, WithoutNvccThereIsNoImage)
{
    EXPECT_EQ(mti_kernels_code.image, nullptr);
}
#endif

} // namespace
