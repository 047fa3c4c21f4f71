// A library of CUDA's in a CUDA body: cuBLAS with a handle per queue, on the task's stream.
#include "gpu/gpu.h"

#include <manta/cuda.h>
#include <manta/manta.h>

#include <cublas_v2.h>

#include <gtest/gtest.h>

#include <vector>

static void *blas_make(manta_task_t *task)
{
    cublasHandle_t handle;
    if (cublasCreate(&handle) != CUBLAS_STATUS_SUCCESS) return nullptr;
    if (cublasSetStream(handle, manta_cuda_stream(task)) != CUBLAS_STATUS_SUCCESS) {
        cublasDestroy(handle);
        return nullptr;
    }
    return handle;
}

static void blas_destroy(void *handle)
{
    cublasDestroy(static_cast<cublasHandle_t>(handle));
}

static const char blas_key = 0;

// c = a b, all |n| by |n|, column by column.
#define cb_multiply_PARAMS                                                                         \
    MANTA_VAL(int, n), MANTA_IN(double, a), MANTA_IN(double, b), MANTA_OUT(double, c, a.count)
MANTA_TASK(cb_multiply, cb_multiply_PARAMS)
{
    for (int j = 0; j < n; j++) {
        for (int i = 0; i < n; i++) {
            double sum = 0;
            for (int l = 0; l < n; l++)
                sum += a[static_cast<size_t>(l * n + i)] * b[static_cast<size_t>(j * n + l)];
            c[static_cast<size_t>(j * n + i)] = sum;
        }
    }
    return MANTA_OK;
}
MANTA_CUDA(cb_multiply)
{
    void *local = manta_queue_local(task, &blas_key, blas_make, blas_destroy);
    if (!local) return MANTA_ERR_RESOURCE_EXHAUSTED;
    const double one = 1, zero = 0;
    cublasStatus_t status =
        cublasDgemm(static_cast<cublasHandle_t>(local), CUBLAS_OP_N, CUBLAS_OP_N, n, n, n, &one,
                    a.data, n, b.data, n, &zero, c.data, n);
    if (status != CUBLAS_STATUS_SUCCESS)
        return manta_fail(task, MANTA_ERR_USER, "cublasDgemm: %s", cublasGetStatusString(status));
    return MANTA_OK;
}

// A chain on the device: each product waits for the one before, on one queue or another.
TEST(CublasTest, ChainOfProducts)
{
    MANTA_SCOPE();
    const int n = 64;
    std::vector<double> a(n * n, 0), x(n * n);
    for (int i = 0; i < n; i++) {
        a[static_cast<size_t>(i * n + (i + 1) % n)] = 1; // a permutation: n of them are the identity
        for (int j = 0; j < n; j++)
            x[static_cast<size_t>(j * n + i)] = i + 1000 * j;
    }
    manta_ref_t step = manta_put(a.data(), a.size() * sizeof a[0]);
    manta_ref_t power = manta_put(x.data(), x.size() * sizeof x[0]);
    for (int k = 0; k < n; k++)
        power = cb_multiply_with(MANTA_OPTIONS(.where = MANTA_GPU), n, step, power);
    std::vector<double> y(n * n);
    ASSERT_EQ(manta_read(power, y.data(), y.size() * sizeof y[0], MANTA_FOREVER), MANTA_OK)
        << manta_error_message();
    EXPECT_EQ(x, y);
}

int main(int argc, char **argv)
{
    testing::InitGoogleTest(&argc, argv);
    if (int skip = gpu_cuda_missing()) return skip;
    return RUN_ALL_TESTS();
}
