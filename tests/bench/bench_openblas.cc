// OpenBLAS's own threads over the matrix of the sample digits --augment: what its tiled Cholesky
// factorisation in tasks is held beside. No manta runtime is alive in this process.
#include "harness.h"

extern "C" {
#include "../../samples/digits/data.h"
#include "../../samples/digits/rbf.h"
}

#include <cblas.h>

#include <cmath>
#include <cstring>

extern "C" void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);

namespace
{

using bench::Run;

// The images that the sample trains with.
struct Images {
    digits_set_t all{}, augmented{}, train{};

    Images(Run &run)
    {
        if (!digits_load(DIGITS_DATA, &all)) {
            run.fail("no images in " DIGITS_DATA);
            return;
        }
        train = digits_part(&all, 0, run.quick ? 200 : all.count / 2);
        if (run.quick) return;
        if (!digits_augment(&train, &augmented)) run.fail("no memory for the images");
        train = augmented;
    }
    Images(const Images &) = delete;
    Images &operator=(const Images &) = delete;
    ~Images()
    {
        digits_free(&augmented);
        digits_free(&all);
    }
};

// The Gram matrix with the sample's gamma and lambda.
void fill(const digits_set_t &images, std::vector<double> &matrix)
{
    const size_t n = images.count;
    const int rows = static_cast<int>(n);
    std::vector<double> norms(n);
    for (size_t i = 0; i < n; i++) {
        const double *image = images.pixels + i * DIGITS_PIXELS;
        norms[i] = cblas_ddot(DIGITS_PIXELS, image, 1, image, 1);
    }
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, rows, DIGITS_PIXELS, 1.0,
                images.pixels, DIGITS_PIXELS, images.pixels, DIGITS_PIXELS, 0.0, matrix.data(),
                rows);
    rbf_apply(0.001, norms.data(), n, norms.data(), n, matrix.data());
    for (size_t i = 0; i < n; i++)
        matrix[i * n + i] += 0.01;
}

// ns that dpotrf takes; its threads and the first pages of the matrix are warm.
double factorise(Run &run, const digits_set_t &images, std::vector<double> &matrix)
{
    fill(images, matrix);
    const int n = static_cast<int>(images.count);
    int info = 0;
    const double start = bench::now_ns();
    dpotrf_("L", &n, matrix.data(), &n, &info);
    const double spent = bench::now_ns() - start;
    if (info != 0) run.fail("dpotrf: the matrix is not positive definite");
    return spent;
}

void cholesky(Run &run)
{
    const Images images(run);
    if (run.failed()) return;
    const size_t n = images.train.count;
    std::vector<double> matrix(n * n);
    const double flops = std::pow(static_cast<double>(n), 3) / 3;
    run.value(flops / factorise(run, images.train, matrix));
}

} // namespace

void bench::register_scenarios()
{
    Scenario scenario{"cholesky-openblas", "GFLOP/s", cholesky, ""};
    scenario.better = Better::higher;
    scenario.contract = Contract::floor; // no tasks, no objects
    scenario.workers = {openblas_get_num_threads()};
    add(scenario);
}
