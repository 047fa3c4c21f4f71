#include "support/kernel_cases.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

namespace
{

std::mt19937_64 rng(20260302);

template <class T> kernel_arg value(T v)
{
    kernel_arg arg;
    arg.scalar.resize(sizeof v);
    memcpy(arg.scalar.data(), &v, sizeof v);
    return arg;
}

// Builds one case: parameters in their order.
struct builder {
    kernel_case c;
    builder(std::string what, manta_kernel_t *kernel, manta_grid_t grid, double tolerance = 0)
    {
        c.what = std::string(kernel->name) + " " + what;
        c.kernel = kernel;
        c.grid = grid;
        c.tolerance = tolerance;
    }
    template <class T> builder &val(T v)
    {
        c.args.push_back(value(v));
        return *this;
    }
    builder &pointer(int buffer)
    {
        kernel_arg arg;
        arg.buffer = buffer;
        c.args.push_back(arg);
        return *this;
    }
    template <class T> builder &buf(const std::vector<T> &v, bool compared = true)
    {
        kernel_buffer b;
        b.bytes.resize(v.size() * sizeof(T));
        if (!v.empty()) memcpy(b.bytes.data(), v.data(), b.bytes.size());
        b.kind = std::is_same<T, float>::value    ? element_kind::f32
                 : std::is_same<T, double>::value ? element_kind::f64
                                                  : element_kind::bytes;
        b.compared = compared;
        c.buffers.push_back(b);
        return pointer(static_cast<int>(c.buffers.size()) - 1);
    }
};

size_t area(int ld, int columns)
{
    return static_cast<size_t>(ld) * static_cast<size_t>(columns);
}

template <class T> std::vector<T> floats(size_t n)
{
    std::uniform_real_distribution<double> any(-1, 1);
    std::vector<T> v(n);
    for (T &x : v)
        x = static_cast<T>(any(rng));
    return v;
}

std::vector<uint8_t> bytes(size_t n, unsigned most = 255)
{
    std::vector<uint8_t> v(n);
    for (uint8_t &x : v)
        x = static_cast<uint8_t>(rng() % (most + 1));
    return v;
}

std::string text(int a, int b = -1, int c = -1)
{
    std::string s = std::to_string(a);
    if (b >= 0) s += " x " + std::to_string(b);
    if (c >= 0) s += " x " + std::to_string(c);
    return s;
}

// |n| by |n|, positive definite, in a leading dimension of |ld|.
std::vector<double> positive(int n, int ld)
{
    std::vector<double> half = floats<double>(area(n, n)), a = floats<double>(area(ld, n));
    for (int j = 0; j < n; j++) {
        for (int i = 0; i < n; i++) {
            double sum = i == j ? n : 0;
            for (int l = 0; l < n; l++)
                sum += half[area(n, l) + static_cast<size_t>(i)] *
                       half[area(n, l) + static_cast<size_t>(j)];
            a[area(ld, j) + static_cast<size_t>(i)] = sum;
        }
    }
    return a;
}

// Lower triangular with a dominant diagonal; above it stands what must not be used.
std::vector<double> lower(int n, int ld)
{
    std::vector<double> l = floats<double>(area(ld, n));
    for (int j = 0; j < n; j++) {
        for (int i = 0; i < n; i++) {
            double &x = l[area(ld, j) + static_cast<size_t>(i)];
            if (i < j) x = std::numeric_limits<double>::quiet_NaN();
            if (i == j) x = 2 + x;
            if (i > j) x /= n;
        }
    }
    return l;
}

template <class T>
void reduce_cases(std::vector<kernel_case> *all, manta_kernel_t *kernel)
{
    for (size_t n : {size_t{0}, size_t{1}, size_t{255}, size_t{257}, size_t{9973}}) {
        for (uint32_t threads : {1u, 33u, 100u, 256u}) {
            manta_grid_t grid = {{3, 1, 1}, {threads, 1, 1}, 0};
            all->push_back(builder(text(static_cast<int>(n), static_cast<int>(threads)), kernel,
                                   grid)
                               .val(n)
                               .buf(floats<T>(n))
                               .buf(std::vector<T>(4, T(7)))
                               .c);
        }
    }
}

template <class T> void fill_case(std::vector<kernel_case> *all, manta_kernel_t *kernel, T v)
{
    for (size_t n : {size_t{0}, size_t{1}, size_t{997}}) {
        manta_grid_t grid = {{2, 1, 1}, {64, 1, 1}, 0}; // fewer threads than elements
        all->push_back(builder(text(static_cast<int>(n)), kernel, grid)
                           .val(n)
                           .val(v)
                           .buf(std::vector<T>(n + 1, T(1)))
                           .c);
    }
}

template <class T> void vector_cases(std::vector<kernel_case> *all, manta_kernel_t *axpy,
                                     manta_kernel_t *transpose)
{
    for (size_t n : {size_t{0}, size_t{1}, size_t{1009}}) {
        all->push_back(builder(text(static_cast<int>(n)), axpy, manta_vector_grid(n))
                           .val(n)
                           .val(T(1.7))
                           .buf(floats<T>(n))
                           .buf(floats<T>(n + 1))
                           .c);
    }
    for (int rows : {0, 1, 31, 33, 65}) {
        for (int columns : {0, 1, 32, 67}) {
            all->push_back(builder(text(rows, columns), transpose,
                                   manta_transpose_grid(rows, columns))
                               .val(rows)
                               .val(columns)
                               .buf(floats<T>(area(rows + 1, columns)))
                               .val(rows + 1)
                               .buf(floats<T>(area(columns + 2, rows)))
                               .val(columns + 2)
                               .c);
        }
    }
}

template <class T>
void gemm_case(std::vector<kernel_case> *all, manta_kernel_t *kernel, int form, int m, int n, int k,
               T alpha, T beta, double tolerance)
{
    const int ta = form & 1, tb = form >> 1;
    const int lda = (ta ? k : m) + 1, ldb = (tb ? n : k) + 2, ldc = m + 3;
    std::vector<T> c = floats<T>(area(ldc, n));
    if (beta == 0) std::fill(c.begin(), c.end(), std::numeric_limits<T>::quiet_NaN());
    all->push_back(builder(text(m, n, k) + " form " + text(form), kernel, manta_gemm_grid(m, n),
                           tolerance)
                       .val(ta)
                       .val(tb)
                       .val(m)
                       .val(n)
                       .val(k)
                       .val(alpha)
                       .buf(floats<T>(area(lda, ta ? m : k)))
                       .val(lda)
                       .buf(floats<T>(area(ldb, tb ? k : n)))
                       .val(ldb)
                       .val(beta)
                       .buf(c)
                       .val(ldc)
                       .c);
}

void matrix_cases(std::vector<kernel_case> *all)
{
    const int shapes[][3] = {{1, 1, 1}, {64, 64, 16}, {65, 63, 17}, {3, 130, 40}, {70, 5, 0},
                             {0, 4, 4}, {4, 0, 4}};
    for (const int *s : shapes) {
        for (int form = 0; form < 4; form++) {
            gemm_case<double>(all, &manta_gemm_f64_kernel, form, s[0], s[1], s[2], 1.5, -0.5,
                              1e-13);
            gemm_case<float>(all, &manta_gemm_f32_kernel, form, s[0], s[1], s[2], 0.5f, 0, 1e-5);
        }
    }
    for (int n : {0, 1, 63, 65, 130}) {
        for (int k : {0, 1, 33}) {
            all->push_back(builder(text(n, k), &manta_syrk_f64_kernel, manta_gemm_grid(n, n), 1e-13)
                               .val(n)
                               .val(k)
                               .val(-1.0)
                               .buf(floats<double>(area(n + 1, k)))
                               .val(n + 1)
                               .val(0.75)
                               .buf(floats<double>(area(n + 2, n)))
                               .val(n + 2)
                               .c);
        }
    }
    for (int n : {0, 1, 1000}) {
        all->push_back(builder(text(n), &manta_norms_f64_kernel,
                               manta_vector_grid(static_cast<size_t>(n)), 1e-13)
                           .val(13)
                           .val(n)
                           .buf(floats<double>(area(14, n)))
                           .val(14)
                           .buf(floats<double>(static_cast<size_t>(n) + 1))
                           .c);
    }
    for (int m : {0, 1, 65}) {
        for (int n : {1, 64, 67}) {
            all->push_back(builder(text(m, n), &manta_rbf_f64_kernel, manta_gemm_grid(m, n), 1e-12)
                               .val(m)
                               .val(n)
                               .val(19)
                               .val(0.25)
                               .val(0.5)
                               .buf(floats<double>(area(20, m)))
                               .val(20)
                               .buf(std::vector<double>(static_cast<size_t>(m), 4.5))
                               .buf(floats<double>(area(19, n)))
                               .val(19)
                               .buf(std::vector<double>(static_cast<size_t>(n), 5.5))
                               .buf(floats<double>(area(m + 1, n)))
                               .val(m + 1)
                               .c);
        }
    }
}

void cholesky_cases(std::vector<kernel_case> *all)
{
    for (int n : {0, 1, 2, 31, 32, 33, 64, 97}) {
        const int ld = n + 2;
        all->push_back(builder(text(n), &manta_potrf_f64_kernel, manta_potrf_grid(), 1e-12)
                           .val(n)
                           .buf(positive(n, ld))
                           .val(ld)
                           .buf(std::vector<int>{-1, -1})
                           .c);
    }
    for (int column : {0, 31, 32, 40}) {
        std::vector<double> a = positive(41, 41);
        a[area(41, column) + static_cast<size_t>(column)] =
            column == 31 ? std::numeric_limits<double>::quiet_NaN() : -1e6;
        all->push_back(builder("not positive in " + text(column), &manta_potrf_f64_kernel,
                               manta_potrf_grid())
                           .val(41)
                           .buf(a, false)
                           .val(41)
                           .buf(std::vector<int>{-1, -1})
                           .c);
    }
    for (int n : {0, 1, 31, 32, 33, 70}) {
        for (int m : {0, 1, 63, 67}) {
            all->push_back(builder(text(m, n), &manta_trsm_f64_kernel, manta_trsm_grid(m), 1e-12)
                               .val(m)
                               .val(n)
                               .buf(lower(n, n + 1), false)
                               .val(n + 1)
                               .buf(floats<double>(area(m + 3, n)))
                               .val(m + 3)
                               .c);
        }
        for (int transposed = 0; transposed < 2; transposed++) {
            for (int columns : {0, 1, 5}) {
                all->push_back(builder(text(transposed, n, columns), &manta_trsm_left_f64_kernel,
                                       manta_trsm_left_grid(columns), 1e-12)
                                   .val(transposed)
                                   .val(n)
                                   .val(columns)
                                   .buf(lower(n, n + 1), false)
                                   .val(n + 1)
                                   .buf(floats<double>(area(n + 2, columns)))
                                   .val(n + 2)
                                   .c);
            }
        }
    }
}

void picture_cases(std::vector<kernel_case> *all)
{
    const int shapes[][3] = {{0, 0, 3}, {1, 1, 1}, {1, 7, 3}, {7, 1, 4}, {33, 9, 3}, {65, 5, 1}};
    const manta_conv3x3_t filter = {{0.1f, -2, 0.7f, 3, -1.3f, 0.2f, 0.9f, -0.4f, 0.6f}, 17.25f};
    for (const int *s : shapes) {
        const size_t n = area(s[0], s[1]) * static_cast<size_t>(s[2]);
        all->push_back(builder(text(s[0], s[1], s[2]), &manta_conv3x3_u8_kernel,
                               manta_conv3x3_grid(s[0], s[1], s[2]))
                           .val(s[0])
                           .val(s[1])
                           .val(s[2])
                           .buf(bytes(n))
                           .buf(bytes(n + 1))
                           .val(filter)
                           .c);
        manta_grid_t few = {{1, 2, 1}, {16, 2, 1}, 0}; // fewer threads than elements, both ways
        all->push_back(builder(text(s[0], s[1], s[2]), &manta_conv3x3_f32_kernel, few)
                           .val(s[0])
                           .val(s[1])
                           .val(s[2])
                           .buf(floats<float>(n))
                           .buf(floats<float>(n + 1))
                           .val(filter)
                           .c);
    }
    for (int channels = 1; channels <= 4; channels++) {
        for (size_t pixels : {size_t{0}, size_t{1}, size_t{997}}) {
            const size_t n = pixels * static_cast<size_t>(channels);
            const std::string what = text(static_cast<int>(pixels), channels);
            all->push_back(builder(what, &manta_luma_u8_kernel, manta_vector_grid(pixels))
                               .val(pixels)
                               .val(channels)
                               .buf(bytes(n))
                               .buf(bytes(pixels + 1))
                               .c);
            all->push_back(builder(what, &manta_map_luma_u8_kernel, manta_vector_grid(pixels))
                               .val(pixels)
                               .val(channels)
                               .buf(bytes(n))
                               .buf(bytes(256))
                               .buf(bytes(n + 1))
                               .c);
            all->push_back(builder(what + " in place", &manta_map_luma_u8_kernel,
                                   manta_vector_grid(pixels))
                               .val(pixels)
                               .val(channels)
                               .buf(bytes(n))
                               .buf(bytes(256))
                               .pointer(0)
                               .c);
        }
    }
    for (size_t n : {size_t{0}, size_t{1}, size_t{9973}}) {
        all->push_back(builder(text(static_cast<int>(n)), &manta_histogram_u8_kernel,
                               manta_histogram_grid(n))
                           .val(n)
                           .buf(bytes(n, n == 1 ? 0 : 200))
                           .buf(std::vector<uint32_t>(256, 5))
                           .c);
    }
    std::vector<std::vector<uint32_t>> bins = {std::vector<uint32_t>(256, 0),
                                               std::vector<uint32_t>(256, 4000000000u)};
    for (size_t only : {size_t{0}, size_t{9}, size_t{255}}) {
        bins.emplace_back(256, 0);
        bins.back()[only] = 3;
    }
    bins.emplace_back(256, 0);
    for (size_t v = 17; v < 240; v += 1 + v % 3)
        bins.back()[v] = static_cast<uint32_t>(rng() % 1000);
    for (const std::vector<uint32_t> &b : bins) {
        all->push_back(builder("", &manta_equalize_map_u8_kernel, manta_equalize_map_grid())
                           .buf(b)
                           .buf(bytes(257))
                           .c);
    }
}

template <class T> double element(const kernel_buffer &b, size_t i)
{
    T v;
    memcpy(&v, b.bytes.data() + i * sizeof v, sizeof v);
    return static_cast<double>(v);
}

// NaNs are the same as each other.
bool close(double got, double expected, double tolerance)
{
    if (std::isnan(got) || std::isnan(expected)) return std::isnan(got) && std::isnan(expected);
    return std::fabs(got - expected) <= tolerance * (1 + std::fabs(expected)) || got == expected;
}

} // namespace

std::vector<kernel_case> kernel_cases()
{
    rng.seed(20260302);
    std::vector<kernel_case> all;
    fill_case<uint8_t>(&all, &manta_fill_u8_kernel, 200);
    fill_case<uint32_t>(&all, &manta_fill_u32_kernel, 4000000000u);
    fill_case<float>(&all, &manta_fill_f32_kernel, -1.25f);
    fill_case<double>(&all, &manta_fill_f64_kernel, 1e300);
    vector_cases<float>(&all, &manta_axpy_f32_kernel, &manta_transpose_f32_kernel);
    vector_cases<double>(&all, &manta_axpy_f64_kernel, &manta_transpose_f64_kernel);
    reduce_cases<float>(&all, &manta_sum_f32_kernel);
    reduce_cases<double>(&all, &manta_sum_f64_kernel);
    reduce_cases<float>(&all, &manta_min_f32_kernel);
    reduce_cases<double>(&all, &manta_min_f64_kernel);
    reduce_cases<float>(&all, &manta_max_f32_kernel);
    reduce_cases<double>(&all, &manta_max_f64_kernel);
    matrix_cases(&all);
    cholesky_cases(&all);
    picture_cases(&all);
    return all;
}

kernel_args kernel_args_of(kernel_case *c, std::vector<void *> addresses)
{
    kernel_args args;
    args.addresses = addresses;
    for (kernel_arg &arg : c->args) {
        args.pointers.push_back(arg.buffer < 0
                                    ? static_cast<void *>(arg.scalar.data())
                                    : &args.addresses[static_cast<size_t>(arg.buffer)]);
    }
    return args;
}

manta_status_t kernel_case_run_twin(kernel_case *c)
{
    std::vector<void *> addresses;
    for (kernel_buffer &b : c->buffers)
        addresses.push_back(b.bytes.data());
    kernel_args args = kernel_args_of(c, addresses);
    return manta_run_twin(c->kernel, c->grid, args.pointers.data(),
                          static_cast<uint32_t>(args.pointers.size()));
}

std::string kernel_case_difference(const kernel_case &got, const kernel_case &expected)
{
    for (size_t k = 0; k < got.buffers.size(); k++) {
        const kernel_buffer &g = got.buffers[k], &e = expected.buffers[k];
        if (!g.compared || g.bytes == e.bytes) continue;
        const size_t size = g.kind == element_kind::f32   ? sizeof(float)
                            : g.kind == element_kind::f64 ? sizeof(double)
                                                          : 1;
        for (size_t i = 0; i < g.bytes.size() / size; i++) {
            const double a = size == 4   ? element<float>(g, i)
                             : size == 8 ? element<double>(g, i)
                                         : element<uint8_t>(g, i);
            const double b = size == 4   ? element<float>(e, i)
                             : size == 8 ? element<double>(e, i)
                                         : element<uint8_t>(e, i);
            if (close(a, b, got.tolerance)) continue;
            return got.what + ": buffer " + std::to_string(k) + ", element " + std::to_string(i) +
                   " is " + std::to_string(a) + " and should be " + std::to_string(b);
        }
    }
    return "";
}
