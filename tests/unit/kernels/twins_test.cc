// The CPU twins of manta's kernels against references that know nothing of them: written from the
// definition, element by element, in long double where there is rounding.
#include <manta/kernels.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

namespace
{

// Zero, one, primes, just around tiles, and more than one of them.
const int sizes[] = {0, 1, 2, 3, 7, 31, 32, 33, 64, 65, 97, 131};

std::mt19937_64 rng(20260101);

template <class T> std::vector<T> random_vector(size_t n)
{
    std::uniform_real_distribution<double> any(-1, 1);
    std::vector<T> v(n);
    for (T &x : v)
        x = static_cast<T>(any(rng));
    return v;
}

std::vector<uint8_t> random_bytes(size_t n, int most = 255)
{
    std::uniform_int_distribution<int> any(0, most);
    std::vector<uint8_t> v(n);
    for (uint8_t &x : v)
        x = static_cast<uint8_t>(any(rng));
    return v;
}

size_t at(int i, int j, int ld)
{
    return static_cast<size_t>(j) * static_cast<size_t>(ld) + static_cast<size_t>(i);
}
size_t area(int ld, int columns)
{
    return static_cast<size_t>(ld) * static_cast<size_t>(columns);
}

// A matrix with room below each column, filled with a value that must survive.
struct matrix {
    int rows, columns, ld;
    std::vector<double> data;
    matrix(int rows_, int columns_, int room = 3)
        : rows(rows_), columns(columns_), ld(rows_ + room), data(area(ld, columns_), canary)
    {
        std::uniform_real_distribution<double> any(-1, 1);
        for (int j = 0; j < columns; j++) {
            for (int i = 0; i < rows; i++)
                (*this)(i, j) = any(rng);
        }
    }
    double &operator()(int i, int j) { return data[at(i, j, ld)]; }
    double operator()(int i, int j) const { return data[at(i, j, ld)]; }
    bool margins_are_untouched() const
    {
        for (int j = 0; j < columns; j++) {
            for (int i = rows; i < ld; i++) {
                if (data[at(i, j, ld)] != canary) return false;
            }
        }
        return true;
    }
    static constexpr double canary = 12345.5;
};

template <class T> double eps(int terms)
{
    return 4.0 * (terms + 1) * static_cast<double>(std::numeric_limits<T>::epsilon());
}

// ---- vectors ---------------------------------------------------------------------------------

template <class T, class F> void check_fill(F run, T value)
{
    for (size_t n : {size_t{0}, size_t{1}, size_t{255}, size_t{256}, size_t{257}, size_t{10007}}) {
        std::vector<T> x(n + 1, T(9));
        ASSERT_EQ(run(manta_vector_grid(n), n, value, x.data()), MANTA_OK);
        EXPECT_EQ(std::count(x.begin(), x.end() - 1, value), static_cast<long>(n));
        EXPECT_EQ(x[n], T(9));
    }
}

TEST(TwinTest, FillWritesAllAndNoMore)
{
    check_fill<uint8_t>(manta_fill_u8_run, 200);
    check_fill<uint32_t>(manta_fill_u32_run, 4000000000u);
    check_fill<float>(manta_fill_f32_run, -1.25f);
    check_fill<double>(manta_fill_f64_run, 1e300);
}

TEST(TwinTest, AxpyRoundsTheProductFirst)
{
    for (size_t n : {size_t{0}, size_t{1}, size_t{31}, size_t{1009}}) {
        std::vector<float> x = random_vector<float>(n), y = random_vector<float>(n), y0 = y;
        std::vector<double> xd = random_vector<double>(n), yd = random_vector<double>(n), yd0 = yd;
        ASSERT_EQ(manta_axpy_f32_run(manta_vector_grid(n), n, 1.7f, x.data(), y.data()), MANTA_OK);
        ASSERT_EQ(manta_axpy_f64_run(manta_vector_grid(n), n, -0.3, xd.data(), yd.data()),
                  MANTA_OK);
        for (size_t i = 0; i < n; i++) {
            volatile float product = 1.7f * x[i]; // not fused
            EXPECT_EQ(y[i], y0[i] + product);
            volatile double product_d = -0.3 * xd[i];
            EXPECT_EQ(yd[i], yd0[i] + product_d);
        }
    }
}

template <class T, class F> T reduced(F run, const std::vector<T> &x)
{
    manta_grid_t grid = manta_reduce_grid(x.size());
    std::vector<T> partial(grid.grid[0], T(77));
    T result = T(77);
    EXPECT_EQ(run(grid, x.size(), x.data(), partial.data()), MANTA_OK);
    EXPECT_EQ(run(manta_reduce_grid_last(), size_t{grid.grid[0]}, partial.data(), &result),
              MANTA_OK);
    return result;
}

template <class T, class S, class L, class G> void check_reduce(S sum, L least, G greatest)
{
    const T inf = std::numeric_limits<T>::infinity();
    for (size_t n : {size_t{0}, size_t{1}, size_t{2}, size_t{255}, size_t{257}, size_t{1023},
                     size_t{65537}, size_t{300007}}) {
        std::vector<T> x = random_vector<T>(n);
        long double exact = 0;
        for (T value : x)
            exact += value;
        EXPECT_NEAR(static_cast<double>(reduced<T>(sum, x)), static_cast<double>(exact),
                    eps<T>(40) * std::sqrt(static_cast<double>(n) + 1));
        EXPECT_EQ(reduced<T>(least, x), n ? *std::min_element(x.begin(), x.end()) : inf);
        EXPECT_EQ(reduced<T>(greatest, x), n ? *std::max_element(x.begin(), x.end()) : -inf);
    }
}

TEST(TwinTest, ReductionsOfAnySize)
{
    check_reduce<float>(manta_sum_f32_run, manta_min_f32_run, manta_max_f32_run);
    check_reduce<double>(manta_sum_f64_run, manta_min_f64_run, manta_max_f64_run);
}

TEST(TwinTest, LeastAndGreatestPassOverNaN)
{
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const double inf = std::numeric_limits<double>::infinity();
    std::vector<double> x = {nan, 3, nan, -2, nan};
    EXPECT_EQ(reduced<double>(manta_min_f64_run, x), -2);
    EXPECT_EQ(reduced<double>(manta_max_f64_run, x), 3);
    EXPECT_TRUE(std::isnan(reduced<double>(manta_sum_f64_run, x)));
    x.assign(700, nan);
    EXPECT_EQ(reduced<double>(manta_min_f64_run, x), inf);
    EXPECT_EQ(reduced<double>(manta_max_f64_run, x), -inf);
}

// Each block has its own elements, whatever the block's size: powers of two or not.
TEST(TwinTest, ReductionsFollowTheGrid)
{
    for (uint32_t threads : {1u, 3u, 32u, 100u, 1024u}) {
        for (uint32_t blocks : {1u, 2u, 7u}) {
            const size_t n = 5003;
            std::vector<double> x(n), partial(blocks, -1);
            std::iota(x.begin(), x.end(), 1.0); // whole numbers: exact in any order
            manta_grid_t grid = {{blocks, 1, 1}, {threads, 1, 1}, 0};
            ASSERT_EQ(manta_sum_f64_run(grid, n, x.data(), partial.data()), MANTA_OK);
            std::vector<double> expected(blocks, 0);
            for (size_t i = 0; i < n; i++)
                expected[i / threads % blocks] += x[i];
            EXPECT_EQ(partial, expected) << threads << " threads";
        }
    }
}

// ---- matrices --------------------------------------------------------------------------------

TEST(TwinTest, TransposeOfAnyShape)
{
    for (int rows : sizes) {
        for (int columns : sizes) {
            matrix a(rows, columns), b(columns, rows, 5);
            ASSERT_EQ(manta_transpose_f64_run(manta_transpose_grid(rows, columns), rows, columns,
                                              a.data.data(), a.ld, b.data.data(), b.ld),
                      MANTA_OK);
            for (int j = 0; j < columns; j++) {
                for (int i = 0; i < rows; i++)
                    ASSERT_EQ(b(j, i), a(i, j));
            }
            ASSERT_TRUE(b.margins_are_untouched());
        }
    }
    std::vector<float> a = random_vector<float>(37 * 41), b(41 * 37);
    ASSERT_EQ(manta_transpose_f32_run(manta_transpose_grid(37, 41), 37, 41, a.data(), 37, b.data(),
                                      41),
              MANTA_OK);
    for (int j = 0; j < 41; j++) {
        for (int i = 0; i < 37; i++)
            ASSERT_EQ(b[at(j, i, 41)], a[at(i, j, 37)]);
    }
}

// c = alpha op(a) op(b) + beta c
void naive_gemm(bool ta, bool tb, int k, double alpha, const matrix &a, const matrix &b,
                double beta, matrix *c)
{
    for (int j = 0; j < c->columns; j++) {
        for (int i = 0; i < c->rows; i++) {
            long double sum = 0;
            for (int l = 0; l < k; l++)
                sum += static_cast<long double>(ta ? a(l, i) : a(i, l)) *
                       static_cast<long double>(tb ? b(j, l) : b(l, j));
            (*c)(i, j) = static_cast<double>(alpha * sum + (beta == 0 ? 0 : beta * (*c)(i, j)));
        }
    }
}

void expect_near(const matrix &a, const matrix &b, double tolerance, bool lower = false)
{
    for (int j = 0; j < a.columns; j++) {
        for (int i = lower ? j : 0; i < a.rows; i++)
            ASSERT_NEAR(a(i, j), b(i, j), tolerance) << i << ", " << j;
    }
    ASSERT_TRUE(a.margins_are_untouched());
}

TEST(TwinTest, GemmInAllFourForms)
{
    const int shapes[][3] = {{1, 1, 1},   {3, 5, 7},    {64, 64, 16}, {65, 63, 17}, {0, 4, 4},
                             {4, 0, 4},   {4, 4, 0},    {300, 9, 33}, {7, 130, 97}, {131, 67, 8},
                             {257, 2, 64}};
    for (const int *shape : shapes) {
        const int m = shape[0], n = shape[1], k = shape[2];
        for (int form = 0; form < 4; form++) {
            const int ta = form & 1, tb = form >> 1;
            matrix a(ta ? k : m, ta ? m : k), b(tb ? n : k, tb ? k : n), c(m, n, 2), expected = c;
            naive_gemm(ta, tb, k, 1.5, a, b, -0.5, &expected);
            ASSERT_EQ(manta_gemm_f64_run(manta_gemm_grid(m, n), ta, tb, m, n, k, 1.5,
                                         a.data.data(), a.ld, b.data.data(), b.ld, -0.5,
                                         c.data.data(), c.ld),
                      MANTA_OK);
            expect_near(c, expected, eps<double>(k));
        }
    }
}

TEST(TwinTest, GemmWithBetaZeroDoesNotReadC)
{
    matrix a(33, 20), b(20, 35), c(33, 35), expected(33, 35);
    naive_gemm(false, false, 20, 1, a, b, 0, &expected);
    for (int j = 0; j < c.columns; j++) {
        for (int i = 0; i < c.rows; i++)
            c(i, j) = std::numeric_limits<double>::quiet_NaN();
    }
    ASSERT_EQ(manta_gemm_f64_run(manta_gemm_grid(33, 35), 0, 0, 33, 35, 20, 1.0, a.data.data(),
                                 a.ld, b.data.data(), b.ld, 0.0, c.data.data(), c.ld),
              MANTA_OK);
    expect_near(c, expected, eps<double>(20));
}

TEST(TwinTest, GemmInSinglePrecision)
{
    const int m = 67, n = 45, k = 130;
    std::vector<float> a = random_vector<float>(area(k, m)), b = random_vector<float>(area(k, n));
    std::vector<float> c = random_vector<float>(area(m, n)), c0 = c;
    ASSERT_EQ(manta_gemm_f32_run(manta_gemm_grid(m, n), 1, 0, m, n, k, 2.0f, a.data(), k, b.data(),
                                 k, 0.25f, c.data(), m),
              MANTA_OK);
    for (int j = 0; j < n; j++) {
        for (int i = 0; i < m; i++) {
            double sum = 0;
            for (int l = 0; l < k; l++)
                sum += static_cast<double>(a[at(l, i, k)]) * static_cast<double>(b[at(l, j, k)]);
            ASSERT_NEAR(c[at(i, j, m)], 2 * sum + 0.25 * static_cast<double>(c0[at(i, j, m)]),
                        eps<float>(k));
        }
    }
}

TEST(TwinTest, SyrkLeavesTheUpperTriangleAlone)
{
    for (int n : sizes) {
        for (int k : {0, 1, 31, 65}) {
            matrix a(n, k), c(n, n), expected = c, before = c;
            naive_gemm(false, true, k, -1, a, a, 0.75, &expected);
            ASSERT_EQ(manta_syrk_f64_run(manta_gemm_grid(n, n), n, k, -1.0, a.data.data(), a.ld,
                                         0.75, c.data.data(), c.ld),
                      MANTA_OK);
            expect_near(c, expected, eps<double>(k), true);
            for (int j = 0; j < n; j++) {
                for (int i = 0; i < j; i++)
                    ASSERT_EQ(c(i, j), before(i, j));
            }
        }
    }
}

TEST(TwinTest, GramTile)
{
    for (int m : {0, 1, 31, 65}) {
        for (int n : {0, 1, 33, 64}) {
            const int d = 19;
            matrix x(d, m), y(d, n), tile(m, n, 4);
            std::vector<double> xn(static_cast<size_t>(m) + 1, 7),
                yn(static_cast<size_t>(n) + 1, 7);
            ASSERT_EQ(manta_norms_f64_run(manta_vector_grid(static_cast<size_t>(m)), d, m,
                                          x.data.data(), x.ld, xn.data()),
                      MANTA_OK);
            ASSERT_EQ(manta_norms_f64_run(manta_vector_grid(static_cast<size_t>(n)), d, n,
                                          y.data.data(), y.ld, yn.data()),
                      MANTA_OK);
            EXPECT_EQ(xn.back(), 7);
            EXPECT_EQ(yn.back(), 7);
            ASSERT_EQ(manta_rbf_f64_run(manta_gemm_grid(m, n), m, n, d, 0.3, 0.5, x.data.data(),
                                        x.ld, xn.data(), y.data.data(), y.ld, yn.data(),
                                        tile.data.data(), tile.ld),
                      MANTA_OK);
            for (int j = 0; j < n; j++) {
                for (int i = 0; i < m; i++) {
                    long double distance = 0;
                    for (int l = 0; l < d; l++)
                        distance += static_cast<long double>(x(l, i) - y(l, j)) *
                                    static_cast<long double>(x(l, i) - y(l, j));
                    const long double value = std::exp(-0.3L * distance) + (i == j ? 0.5L : 0);
                    ASSERT_NEAR(tile(i, j), static_cast<double>(value), eps<double>(d));
                }
            }
            ASSERT_TRUE(tile.margins_are_untouched());
        }
    }
}

// The distance of an item to itself is never below zero, though its parts are rounded.
TEST(TwinTest, SimilarityNeverExceedsOne)
{
    const int d = 64, n = 50;
    matrix x(d, n), tile(n, n);
    for (double &value : x.data)
        value *= 1e8;
    std::vector<double> norms(n);
    ASSERT_EQ(manta_norms_f64_run(manta_vector_grid(n), d, n, x.data.data(), x.ld, norms.data()),
              MANTA_OK);
    ASSERT_EQ(manta_rbf_f64_run(manta_gemm_grid(n, n), n, n, d, 1.0, 0.0, x.data.data(), x.ld,
                                norms.data(), x.data.data(), x.ld, norms.data(), tile.data.data(),
                                tile.ld),
              MANTA_OK);
    for (int i = 0; i < n; i++)
        EXPECT_LE(tile(i, i), 1);
}

// ---- Cholesky --------------------------------------------------------------------------------

matrix positive(int n)
{
    matrix half(n, n + 3), a(n, n);
    naive_gemm(false, true, n + 3, 1, half, half, 0, &a);
    for (int i = 0; i < n; i++)
        a(i, i) += 1;
    return a;
}

TEST(TwinTest, PotrfFactorsAndLeavesTheUpperTriangleAlone)
{
    for (int n : sizes) {
        matrix a = positive(n), before = a;
        for (int j = 0; j < n; j++) {
            for (int i = 0; i < j; i++)
                a(i, j) = -7;
        }
        int info = -1;
        ASSERT_EQ(manta_potrf_f64_run(manta_potrf_grid(), n, a.data.data(), a.ld, &info), MANTA_OK);
        ASSERT_EQ(info, 0);
        for (int j = 0; j < n; j++) {
            for (int i = 0; i < n; i++) {
                if (i < j) {
                    ASSERT_EQ(a(i, j), -7);
                    continue;
                }
                long double sum = 0;
                for (int l = 0; l <= j; l++)
                    sum += static_cast<long double>(a(i, l)) * static_cast<long double>(a(j, l));
                ASSERT_NEAR(static_cast<double>(sum), before(i, j), eps<double>(n) * (n + 1));
            }
        }
        ASSERT_TRUE(a.margins_are_untouched());
    }
}

TEST(TwinTest, PotrfSaysWhichPivotIsNotPositive)
{
    for (double bad : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN()}) {
        for (int column : {0, 1, 31, 32, 40}) {
            matrix a = positive(41);
            a(column, column) = bad - (bad == 0 ? 1e6 : 0);
            int info = 0;
            ASSERT_EQ(manta_potrf_f64_run(manta_potrf_grid(), 41, a.data.data(), a.ld, &info),
                      MANTA_OK);
            EXPECT_EQ(info, column + 1);
        }
    }
}

TEST(TwinTest, TrsmSolvesFromTheRight)
{
    for (int n : sizes) {
        for (int m : {0, 1, 63, 64, 67}) {
            matrix l = positive(n), a(m, n), before = a;
            int info;
            ASSERT_EQ(manta_potrf_f64_run(manta_potrf_grid(), n, l.data.data(), l.ld, &info),
                      MANTA_OK);
            ASSERT_EQ(manta_trsm_f64_run(manta_trsm_grid(m), m, n, l.data.data(), l.ld,
                                         a.data.data(), a.ld),
                      MANTA_OK);
            for (int j = 0; j < n; j++) { // a L^T is what a was
                for (int i = 0; i < m; i++) {
                    long double sum = 0;
                    for (int k = 0; k <= j; k++)
                        sum +=
                            static_cast<long double>(a(i, k)) * static_cast<long double>(l(j, k));
                    ASSERT_NEAR(static_cast<double>(sum), before(i, j), eps<double>(n) * 10);
                }
            }
            ASSERT_TRUE(a.margins_are_untouched());
        }
    }
}

TEST(TwinTest, TrsmSolvesFromTheLeftAndTransposed)
{
    for (int transposed = 0; transposed < 2; transposed++) {
        for (int n : sizes) {
            for (int columns : {0, 1, 10}) {
                matrix l = positive(n), b(n, columns), before = b;
                int info;
                ASSERT_EQ(manta_potrf_f64_run(manta_potrf_grid(), n, l.data.data(), l.ld, &info),
                          MANTA_OK);
                ASSERT_EQ(manta_trsm_left_f64_run(manta_trsm_left_grid(columns), transposed, n,
                                                  columns, l.data.data(), l.ld, b.data.data(),
                                                  b.ld),
                          MANTA_OK);
                for (int j = 0; j < columns; j++) {
                    for (int i = 0; i < n; i++) {
                        long double sum = 0;
                        for (int k = 0; k < n; k++) {
                            const bool below = transposed ? k >= i : k <= i;
                            if (below)
                                sum += static_cast<long double>(transposed ? l(k, i) : l(i, k)) *
                                       static_cast<long double>(b(k, j));
                        }
                        ASSERT_NEAR(static_cast<double>(sum), before(i, j), eps<double>(n) * 10);
                    }
                }
                ASSERT_TRUE(b.margins_are_untouched());
            }
        }
    }
}

// ---- pictures --------------------------------------------------------------------------------

struct picture {
    int width, height, channels;
};
const picture pictures[] = {{0, 0, 3}, {0, 5, 1},  {5, 0, 1},  {1, 1, 1},   {1, 1, 4},
                            {1, 7, 3}, {7, 1, 3},  {2, 2, 2},  {3, 3, 1},   {13, 11, 3},
                            {64, 4, 1}, {65, 5, 4}, {97, 31, 3}, {131, 67, 1}};

size_t elements(const picture &p)
{
    return static_cast<size_t>(p.width) * static_cast<size_t>(p.height) *
           static_cast<size_t>(p.channels);
}

template <class T>
float naive_conv(const picture &p, const std::vector<T> &src, const manta_conv3x3_t &filter, int x,
                 int y, int c)
{
    float sum = filter.bias;
    for (int dy = -1; dy <= 1; dy++) {
        for (int dx = -1; dx <= 1; dx++) {
            const int sx = std::clamp(x + dx, 0, p.width - 1);
            const int sy = std::clamp(y + dy, 0, p.height - 1);
            const size_t i = (static_cast<size_t>(sy) * static_cast<size_t>(p.width) +
                              static_cast<size_t>(sx)) *
                                 static_cast<size_t>(p.channels) +
                             static_cast<size_t>(c);
            volatile float product =
                filter.k[(dy + 1) * 3 + dx + 1] * static_cast<float>(src[i]); // not fused
            sum = sum + product;
        }
    }
    return sum;
}

TEST(TwinTest, ConvolutionOfBytes)
{
    const manta_conv3x3_t filters[] = {
        {{0, 0, 0, 0, 1, 0, 0, 0, 0}, 0},                                  // itself
        {{1 / 16.f, 2 / 16.f, 1 / 16.f, 2 / 16.f, 4 / 16.f, 2 / 16.f, 1 / 16.f, 2 / 16.f, 1 / 16.f},
         0},                                                               // blur
        {{-1, -1, -1, -1, 8, -1, -1, -1, -1}, 0},                          // edges, clamped
        {{0, 0, 0, 0, 0.5f, 0, 0, 0, 0}, 0},                               // ties
        {{0.1f, -2, 0.7f, 3, -1.3f, 0.2f, 0.9f, -0.4f, 0.6f}, 17.25f}};    // no symmetry
    for (const picture &p : pictures) {
        for (const manta_conv3x3_t &filter : filters) {
            std::vector<uint8_t> src = random_bytes(elements(p)), dst(elements(p) + 1, 99);
            ASSERT_EQ(manta_conv3x3_u8_run(manta_conv3x3_grid(p.width, p.height, p.channels),
                                           p.width, p.height, p.channels, src.data(), dst.data(),
                                           filter),
                      MANTA_OK);
            size_t i = 0;
            for (int y = 0; y < p.height; y++) {
                for (int x = 0; x < p.width; x++) {
                    for (int c = 0; c < p.channels; c++, i++) {
                        const float sum = naive_conv(p, src, filter, x, y, c);
                        const long rounded = std::lrint(sum);
                        ASSERT_EQ(dst[i], std::clamp(rounded, 0l, 255l)) << x << ", " << y;
                    }
                }
            }
            ASSERT_EQ(dst.back(), 99);
        }
    }
}

TEST(TwinTest, ConvolutionOfWhatIsNoNumberIsBlack)
{
    std::vector<uint8_t> src = {1, 2, 3, 4}, dst(4, 9);
    manta_conv3x3_t filter = {{0, 0, 0, 0, std::numeric_limits<float>::quiet_NaN(), 0, 0, 0, 0},
                              0};
    ASSERT_EQ(manta_conv3x3_u8_run(manta_conv3x3_grid(2, 2, 1), 2, 2, 1, src.data(), dst.data(),
                                   filter),
              MANTA_OK);
    EXPECT_EQ(dst, std::vector<uint8_t>(4, 0));
}

TEST(TwinTest, ConvolutionOfFloats)
{
    const manta_conv3x3_t filter = {{0.1f, -2, 0.7f, 3, -1.3f, 0.2f, 0.9f, -0.4f, 0.6f}, 17.25f};
    for (const picture &p : pictures) {
        std::vector<float> src = random_vector<float>(elements(p)), dst(elements(p) + 1, 99);
        ASSERT_EQ(manta_conv3x3_f32_run(manta_conv3x3_grid(p.width, p.height, p.channels), p.width,
                                        p.height, p.channels, src.data(), dst.data(), filter),
                  MANTA_OK);
        size_t i = 0;
        for (int y = 0; y < p.height; y++) {
            for (int x = 0; x < p.width; x++) {
                for (int c = 0; c < p.channels; c++, i++)
                    ASSERT_EQ(dst[i], naive_conv(p, src, filter, x, y, c));
            }
        }
        ASSERT_EQ(dst.back(), 99);
    }
}

int naive_luma(const uint8_t *p, int channels)
{
    return channels < 3 ? p[0] : (77 * p[0] + 150 * p[1] + 29 * p[2] + 128) / 256;
}

TEST(TwinTest, Luma)
{
    for (int channels = 1; channels <= 4; channels++) {
        for (size_t pixels : {size_t{0}, size_t{1}, size_t{97}, size_t{4099}}) {
            const size_t step = static_cast<size_t>(channels);
            std::vector<uint8_t> src = random_bytes(pixels * step), dst(pixels + 1, 3);
            ASSERT_EQ(manta_luma_u8_run(manta_vector_grid(pixels), pixels, channels, src.data(),
                                        dst.data()),
                      MANTA_OK);
            for (size_t i = 0; i < pixels; i++)
                ASSERT_EQ(dst[i], naive_luma(&src[i * step], channels));
            ASSERT_EQ(dst.back(), 3);
        }
    }
    std::vector<uint8_t> white = {255, 255, 255}, grey(1);
    ASSERT_EQ(manta_luma_u8_run(manta_vector_grid(1), 1, 3, white.data(), grey.data()), MANTA_OK);
    EXPECT_EQ(grey[0], 255);
}

TEST(TwinTest, HistogramAddsToTheBins)
{
    for (size_t n : {size_t{0}, size_t{1}, size_t{3}, size_t{255}, size_t{100003}}) {
        std::vector<uint8_t> x = random_bytes(n);
        std::vector<uint32_t> bins(256, 5), expected(256, 5);
        for (uint8_t value : x)
            expected[value]++;
        ASSERT_EQ(manta_histogram_u8_run(manta_histogram_grid(n), n, x.data(), bins.data()),
                  MANTA_OK);
        EXPECT_EQ(bins, expected);
    }
}

// From the definition: the share of elements at or below a value, without those of the lowest.
TEST(TwinTest, EqualisationMap)
{
    std::vector<std::vector<uint32_t>> cases = {std::vector<uint32_t>(256, 0),
                                                std::vector<uint32_t>(256, 1),
                                                std::vector<uint32_t>(256, 4000000000u)};
    for (int only : {0, 7, 255}) {
        cases.emplace_back(256, 0);
        cases.back()[static_cast<size_t>(only)] = 12;
    }
    for (int k = 0; k < 20; k++) {
        cases.emplace_back(256, 0);
        for (int v = 20; v < 240; v += 1 + k)
            cases.back()[static_cast<size_t>(v)] = static_cast<uint32_t>(rng() % 1000);
    }
    for (const std::vector<uint32_t> &bins : cases) {
        std::vector<uint8_t> map(256, 1);
        ASSERT_EQ(manta_equalize_map_u8_run(manta_equalize_map_grid(), bins.data(), map.data()),
                  MANTA_OK);
        const uint64_t total = std::accumulate(bins.begin(), bins.end(), uint64_t{0});
        uint64_t lowest = 0;
        for (size_t v = 256; v-- > 0;) {
            if (bins[v]) lowest = bins[v];
        }
        uint64_t below = 0;
        for (size_t v = 0; v < 256; v++) {
            below += bins[v];
            if (total == lowest) {
                ASSERT_EQ(map[v], v);
            } else if (below < lowest) {
                ASSERT_EQ(map[v], 0);
            } else {
                const long double share =
                    static_cast<long double>(below - lowest) / static_cast<long double>(total - lowest);
                ASSERT_EQ(map[v], static_cast<int>(std::floor(share * 255 + 0.5L))) << v;
            }
        }
    }
}

TEST(TwinTest, MapMovesLumaAndKeepsAlpha)
{
    std::vector<uint8_t> map = random_bytes(256);
    for (int channels = 1; channels <= 4; channels++) {
        const size_t step = static_cast<size_t>(channels), pixels = 1013;
        std::vector<uint8_t> src = random_bytes(pixels * step), dst(pixels * step + 1, 3);
        ASSERT_EQ(manta_map_luma_u8_run(manta_vector_grid(pixels), pixels, channels, src.data(),
                                        map.data(), dst.data()),
                  MANTA_OK);
        for (size_t i = 0; i < pixels; i++) {
            const int y = naive_luma(&src[i * step], channels);
            const int moved = map[static_cast<size_t>(y)] - y;
            for (int c = 0; c < channels; c++) {
                const bool alpha = c == (channels < 3 ? 1 : 3);
                const int old = src[i * step + static_cast<size_t>(c)];
                ASSERT_EQ(dst[i * step + static_cast<size_t>(c)],
                          alpha ? old : std::clamp(old + moved, 0, 255));
            }
        }
        ASSERT_EQ(dst.back(), 3);
        std::vector<uint8_t> in_place = src; // the same memory for both
        ASSERT_EQ(manta_map_luma_u8_run(manta_vector_grid(pixels), pixels, channels,
                                        in_place.data(), map.data(), in_place.data()),
                  MANTA_OK);
        EXPECT_TRUE(std::equal(in_place.begin(), in_place.end(), dst.begin()));
    }
}

} // namespace
