// The macros as users meet them. Everything here goes through public calls only, so that it runs over
// the library as well as over the fake in fake_runtime.cc.
#include "in_c.h"
#include "tasks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <complex>
#include <stdexcept>
#include <string>
#include <vector>

extern "C" const manta_variant_t tm_cc_scale_cpu_variant;

namespace
{

template <class T> std::vector<T> read(manta_ref_t ref)
{
    manta_view_t v;
    manta_status_t status = manta_get(ref, &v, MANTA_FOREVER);
    EXPECT_EQ(MANTA_OK, status);
    if (status != MANTA_OK) return {};
    const T *data = static_cast<const T *>(v.data);
    std::vector<T> all(data, data + v.size_bytes / sizeof(T));
    manta_view_release(&v);
    return all;
}

manta_status_t status_of(manta_ref_t ref)
{
    manta_view_t v;
    manta_status_t status = manta_get(ref, &v, MANTA_FOREVER);
    if (status == MANTA_OK) manta_view_release(&v);
    return status;
}

std::string error_text(manta_ref_t ref)
{
    const manta_error_t *error = manta_ref_error(ref);
    std::string text = manta_error_text(error);
    manta_error_release(error);
    return text;
}

template <class T> manta::ref<T> put(const std::vector<T> &v)
{
    return manta_put(v.data(), v.size() * sizeof(T));
}

typedef std::vector<float> floats;

} // namespace

// ---- C ------------------------------------------------------------------------------------------

TEST(MacrosInCTest, ExampleOfTheManualWorks)
{
    EXPECT_EQ(0, in_c_example());
}
TEST(MacrosInCTest, TaskWithoutParametersGivesCompletion)
{
    EXPECT_EQ(0, in_c_no_parameters());
}
TEST(MacrosInCTest, SixteenParametersArriveInOrder)
{
    EXPECT_EQ(0, in_c_sixteen());
}
TEST(MacrosInCTest, SixteenResultsComeBackByName)
{
    EXPECT_EQ(0, in_c_results());
}
TEST(MacrosInCTest, AllKindsMixInAnyOrder)
{
    EXPECT_EQ(0, in_c_every());
}
TEST(MacrosInCTest, ListsTakeNoneOneAndManyRefs)
{
    EXPECT_EQ(0, in_c_lists());
}
TEST(MacrosInCTest, RangeRunsTheBodyForEveryIndex)
{
    EXPECT_EQ(0, in_c_range());
}
TEST(MacrosInCTest, UserCodeReachesTheReader)
{
    EXPECT_EQ(0, in_c_fail());
}
TEST(MacrosInCTest, TaskSubmitsItselfAndWaits)
{
    EXPECT_EQ(0, in_c_own_task());
}
TEST(MacrosInCTest, WrongElementTypeIsRefusedAtSubmit)
{
    EXPECT_EQ(0, in_c_type_mismatch());
}
TEST(MacrosInCTest, BodyMayBeInCxx)
{
    EXPECT_EQ(0, in_c_body_in_cc());
}
TEST(MacrosInCTest, ElementTypesHaveTheirCodes)
{
    EXPECT_EQ(0, in_c_dtypes());
}
TEST(MacrosInCTest, PutTakesElementTypeFromPointer)
{
    EXPECT_EQ(0, in_c_put());
}
TEST(MacrosInCTest, OptionsTakeFieldsInAnyOrder)
{
    EXPECT_EQ(0, in_c_options());
}

TEST(MacrosInCTest, ScopeReleasesHoweverTheBlockIsLeft)
{
    for (int way = 0; way < IN_C_WAYS; way++) {
        manta_ref_t ref = {0};
        ASSERT_EQ(0, in_c_scope(way, &ref)) << way;
        if (way == IN_C_KEEP) {
            EXPECT_EQ(MANTA_OK, manta_release(ref)) << way;
        }
        EXPECT_EQ(MANTA_ERR_STALE_REF, manta_ref_status(ref)) << way;
    }
}

// ---- C++ ----------------------------------------------------------------------------------------

TEST(MacrosTest, ExampleOfTheManualWorks)
{
    MANTA_SCOPE();
    float xs[3] = {1, 2, 3}, ys[3] = {10, 20, 30};
    manta_ref_t x = manta_put(xs, sizeof xs), y = manta_put(ys, sizeof ys);
    y = tm_axpy_remote(2.0f, x, y);
    y = tm_axpy_with(MANTA_OPTIONS(.name = "again"), 3.0f, x, y);
    EXPECT_EQ((floats{15, 30, 45}), read<float>(y));
}

TEST(MacrosTest, TypedRefsGoFromTaskToTask)
{
    MANTA_SCOPE();
    manta::ref<float> x = put(floats{1, 5, 3}), y = put(floats{0, 0, 0});
    y = tm_axpy_remote(-1, x, y);
    tm_minmax_out_t r = tm_minmax_remote(y);
    manta::ref<float> lo = r.lo;
    EXPECT_EQ(floats{-5}, read<float>(lo));
    EXPECT_EQ(floats{-1}, read<float>(r.hi));
}

TEST(MacrosTest, AllKindsMixInAnyOrder)
{
    MANTA_SCOPE();
    manta_ref_t parts[] = {put(floats{1, 2, 3}), put(floats{10})};
    tm_pair scale = {2, 0.5};
    tm_every_out_t out = tm_every_remote(parts, 2, put(std::vector<int>{5}), scale,
                                         put(std::vector<short>{-1}), "note");
    EXPECT_EQ(std::vector<double>{32.5}, read<double>(out.total));
    EXPECT_EQ(std::vector<int>{6}, read<int>(out.counters));
    EXPECT_EQ((floats{12, 20, -1}), read<float>(out.joined));
    EXPECT_STREQ("xnote", read<char>(out.grown).data());
}

TEST(MacrosTest, ListBodySeesElementsOfEachRef)
{
    MANTA_SCOPE();
    std::vector<manta_ref_t> parts;
    std::vector<int> want;
    for (int i = 0; i < 40; i++) {
        parts.push_back(put(std::vector<int>(i, i)));
        want.insert(want.end(), i, i);
    }
    EXPECT_EQ(want, read<int>(tm_cc_join_remote(parts.data(), parts.size())));
    EXPECT_EQ(std::vector<int>{}, read<int>(tm_cc_join_remote(nullptr, 0)));
}

MANTA_TASK(tm_local, MANTA_LOCAL(std::string *, text), MANTA_VAL(int, times))
{
    for (int i = 0; i < times; i++)
        *text += manta_task_name(task);
    return MANTA_OK;
}

TEST(MacrosTest, LocalPassesAPointer)
{
    MANTA_SCOPE();
    std::string text;
    EXPECT_EQ(MANTA_OK, status_of(tm_local_remote(&text, 2)));
    EXPECT_EQ("tm_localtm_local", text);
}

MANTA_TASK(tm_forget, MANTA_LOCAL(int *, seen), MANTA_IN(int, x))
{
    *seen = x[0];
    return MANTA_OK;
}

TEST(MacrosTest, GoRunsWithoutResult)
{
    MANTA_SCOPE();
    int seen = 0;
    const int one = 1, two = 2;
    ASSERT_EQ(MANTA_OK, tm_forget_go(&seen, manta_put(&one, sizeof one)));
    ASSERT_EQ(MANTA_OK, manta_drain(MANTA_FOREVER));
    EXPECT_EQ(1, seen);
    ASSERT_EQ(MANTA_OK,
              tm_forget_go_with(MANTA_OPTIONS(.name = "x"), &seen, manta_put(&two, sizeof two)));
    ASSERT_EQ(MANTA_OK, manta_drain(MANTA_FOREVER));
    EXPECT_EQ(2, seen);
    manta_ref_t stale = {UINT64_C(0x123456789abc)};
    EXPECT_EQ(MANTA_ERR_STALE_REF, tm_forget_go(&seen, stale));
}

MANTA_TASK(tm_two, MANTA_OUT(int, r, 2))
{
    r[0] = r[1] = 1;
    return MANTA_OK;
}

TEST(MacrosTest, ResultIsOneElementOrMismatch)
{
    MANTA_SCOPE();
    int r = 0;
    EXPECT_EQ(MANTA_ERR_TYPE_MISMATCH, tm_two_result(tm_two_remote(), &r));
}

MANTA_TASK(tm_shrink, MANTA_OUT(int, r, 10))
{
    for (size_t i = 0; i < r.count; i++)
        r[i] = (int)i;
    return manta_out_resize(r, 3);
}

TEST(MacrosTest, OutCanShrink)
{
    MANTA_SCOPE();
    EXPECT_EQ((std::vector<int>{0, 1, 2}), read<int>(tm_shrink_remote()));
}

MANTA_TASK(tm_huge, MANTA_VAL(size_t, n), MANTA_VAL(bool, early),
           MANTA_OUT(double, r, early ? n : 0))
{
    return manta_out_resize(r, n);
}

TEST(MacrosTest, SizesThatOverflowAreOutOfRange)
{
    MANTA_SCOPE();
    EXPECT_EQ(MANTA_ERR_OUT_OF_RANGE, status_of(tm_huge_remote(SIZE_MAX / 8 + 2, true)));
    EXPECT_EQ(MANTA_ERR_OUT_OF_RANGE, status_of(tm_huge_remote(SIZE_MAX / 8 + 2, false)));
    EXPECT_EQ(MANTA_OK, status_of(tm_huge_remote(3, false)));
}

TEST(MacrosTest, ExceptionFailsTheTaskWithItsText)
{
    MANTA_SCOPE();
    manta_ref_t r = tm_cc_throw_remote(0);
    EXPECT_EQ(MANTA_ERR_EXCEPTION, status_of(r));
    EXPECT_EQ("boom", error_text(r));
    r = tm_cc_throw_remote(1);
    EXPECT_EQ(MANTA_ERR_EXCEPTION, status_of(r));
    r = tm_cc_throw_remote(2);
    EXPECT_EQ(MANTA_ERR_EXCEPTION, status_of(r));
    EXPECT_EQ("no size", error_text(r));
    EXPECT_EQ(MANTA_OK, status_of(tm_cc_throw_remote(3)));
}

namespace tm_space
{
struct inside {
    int i;
};
MANTA_TASK(tm_spaced, MANTA_VAL(inside, v), MANTA_OUT(inside, r, 1))
{
    r[0].i = v.i + 1;
    return MANTA_OK;
}
} // namespace tm_space

TEST(MacrosTest, TaskMayLiveInANamespace)
{
    MANTA_SCOPE();
    tm_space::inside r;
    ASSERT_EQ(MANTA_OK, tm_space::tm_spaced_result(tm_space::tm_spaced_remote({4}), &r));
    EXPECT_EQ(5, r.i);
}

struct tm_copied {
    std::complex<float> c;
};
MANTA_TASK(tm_complex, MANTA_IN(std::complex<float>, c), MANTA_VAL(tm_copied, by),
           MANTA_OUT(std::complex<float>, r, c.count))
{
    for (size_t i = 0; i < c.count; i++)
        r[i] = c[i] * by.c;
    return MANTA_OK;
}

TEST(MacrosTest, ComplexIsTheSameInBothLanguages)
{
    MANTA_SCOPE();
    std::complex<float> c(0, 1);
    manta::ref<std::complex<float>> ref = manta_put(&c, sizeof c);
    EXPECT_EQ(std::vector<std::complex<float>>{-1.0f},
              read<std::complex<float>>(tm_complex_remote(ref, tm_copied{c})));
    EXPECT_EQ(MANTA_DTYPE(MANTA_C64, 8), tm_complex_task.params[0].dtype);
}

enum class tm_level : unsigned char { LOW, HIGH };

TEST(MacrosTest, ElementTypesHaveTheirCodes)
{
    using manta::detail::dtype;
    EXPECT_EQ(MANTA_DTYPE(MANTA_BOOL, 1), dtype<bool>());
    EXPECT_EQ(MANTA_DTYPE(MANTA_I8, 1), dtype<char>());
    EXPECT_EQ(MANTA_DTYPE(MANTA_I8, 1), dtype<int8_t>());
    EXPECT_EQ(MANTA_DTYPE(MANTA_U8, 1), dtype<uint8_t>());
    EXPECT_EQ(MANTA_DTYPE(MANTA_I16, 2), dtype<int16_t>());
    EXPECT_EQ(MANTA_DTYPE(MANTA_U16, 2), dtype<uint16_t>());
    EXPECT_EQ(MANTA_DTYPE(MANTA_I32, 4), dtype<int32_t>());
    EXPECT_EQ(MANTA_DTYPE(MANTA_U32, 4), dtype<uint32_t>());
    EXPECT_EQ(MANTA_DTYPE(MANTA_I64, 8), dtype<long>());
    EXPECT_EQ(MANTA_DTYPE(MANTA_I64, 8), dtype<long long>());
    EXPECT_EQ(MANTA_DTYPE(MANTA_U64, 8), dtype<unsigned long long>());
    EXPECT_EQ(MANTA_DTYPE(MANTA_F32, 4), dtype<float>());
    EXPECT_EQ(MANTA_DTYPE(MANTA_F64, 8), dtype<double>());
    EXPECT_EQ(MANTA_DTYPE(MANTA_C128, 16), dtype<std::complex<double>>());
    EXPECT_EQ(MANTA_DTYPE(MANTA_U32, 4), dtype<tm_color_t>());
    EXPECT_EQ(MANTA_DTYPE(MANTA_U8, 1), dtype<tm_level>());
    EXPECT_EQ(MANTA_DTYPE(MANTA_OPAQUE, 16), dtype<tm_pair>());
}

TEST(MacrosTest, DefinitionDescribesTheParameters)
{
    const manta_task_def_t &def = tm_every_task;
    EXPECT_STREQ("tm_every", def.name);
    ASSERT_EQ(8u, def.param_count);
    EXPECT_EQ(sizeof(tm_every_args_t), def.args_bytes);
    EXPECT_NE(nullptr, def.cpu);
    EXPECT_EQ(nullptr, def.cuda);

    struct row {
        const char *name, *type_name;
        manta_param_kind_t kind;
        manta_dtype_t dtype;
        size_t size, align, offset;
    };
    const row want[] = {
        {"total", "double", MANTA_PARAM_OUT, MANTA_DTYPE(MANTA_F64, 8), 8, 8, 0},
        {"parts", "float", MANTA_PARAM_IN_LIST, MANTA_DTYPE(MANTA_F32, 4), 4, 4,
         offsetof(tm_every_args_t, parts)},
        {"counters", "int", MANTA_PARAM_INOUT, MANTA_DTYPE(MANTA_I32, 4), 4, 4,
         offsetof(tm_every_args_t, counters)},
        {"scale", "struct tm_pair", MANTA_PARAM_VAL, MANTA_DTYPE(MANTA_OPAQUE, 16), 16, 8,
         offsetof(tm_every_args_t, scale)},
        {"grown", "unsigned char", MANTA_PARAM_OUT, MANTA_DTYPE(MANTA_U8, 1), 1, 1, 0},
        {"bias", "short", MANTA_PARAM_IN, MANTA_DTYPE(MANTA_I16, 2), 2, 2,
         offsetof(tm_every_args_t, bias)},
        {"joined", "float", MANTA_PARAM_OUT, MANTA_DTYPE(MANTA_F32, 4), 4, 4, 0},
        {"note", "const char *", MANTA_PARAM_LOCAL, 0, sizeof(char *), alignof(char *),
         offsetof(tm_every_args_t, note)},
    };
    for (size_t i = 0; i < 8; i++) {
        const manta_param_t &p = def.params[i];
        EXPECT_STREQ(want[i].name, p.name);
        EXPECT_STREQ(want[i].type_name, p.type_name) << p.name;
        EXPECT_EQ(want[i].kind, p.kind) << p.name;
        EXPECT_EQ(want[i].dtype, p.dtype) << p.name;
        EXPECT_EQ(want[i].size, p.size_bytes) << p.name;
        EXPECT_EQ(want[i].align, p.align) << p.name;
        EXPECT_EQ(want[i].offset, p.offset) << p.name;
    }
}

// Bodies are there before the first static initialiser runs, whatever the order of the files.
static const manta_variant_t *const variant_at_start = tm_cc_scale_task.cpu;

TEST(MacrosTest, BodiesAreRegisteredBeforeStaticInitialisers)
{
    EXPECT_NE(nullptr, variant_at_start);
    EXPECT_EQ(&tm_cc_scale_cpu_variant, variant_at_start);
}

TEST(MacrosTest, SizesAreAskedForOnlyWhereThereAreCounts)
{
    EXPECT_NE(nullptr, tm_minmax_task.cpu->sizes);
    EXPECT_EQ(nullptr, tm_axpy_task.cpu->sizes);
    EXPECT_EQ(nullptr, tm_cc_join_task.cpu->sizes);
}

TEST(MacrosTest, OptionsTakeFieldsInAnyOrder)
{
    manta_task_options_t o = MANTA_OPTIONS();
    EXPECT_EQ(sizeof o, o.struct_size);
    EXPECT_EQ(0, o.cpus);
    EXPECT_EQ(MANTA_ANY, o.where);
    int gpu = 3;
    o = MANTA_OPTIONS(.gpus = 0.5, .where = manta_gpu(gpu), .cpus = std::max(1.0, 2.0),
                      .runtime.id = 9);
    EXPECT_EQ(sizeof o, o.struct_size);
    EXPECT_EQ(0.5, o.gpus);
    EXPECT_EQ(manta_gpu(3), o.where);
    EXPECT_EQ(2, o.cpus);
    EXPECT_EQ(9u, o.runtime.id);
    EXPECT_EQ(nullptr, o.name);
}

TEST(MacrosTest, ScopeReleasesWhenAnExceptionPasses)
{
    manta_ref_t ref = {0};
    const int one = 1;
    try {
        MANTA_SCOPE();
        ref = manta_put(&one, sizeof one);
        EXPECT_EQ(MANTA_OK, manta_ref_status(ref));
        throw std::runtime_error("out");
    } catch (const std::runtime_error &) {
    }
    EXPECT_EQ(MANTA_ERR_STALE_REF, manta_ref_status(ref));
}

TEST(MacrosTest, ScopesOfOneBlockNest)
{
    MANTA_SCOPE();
    const int one = 1;
    manta_ref_t outer = manta_put(&one, sizeof one);
    {
        MANTA_SCOPE();
        MANTA_SCOPE();
        manta_ref_t inner = manta_put(&one, sizeof one);
        EXPECT_EQ(MANTA_OK, manta_ref_status(inner));
    }
    EXPECT_EQ(MANTA_OK, manta_ref_status(outer));
}

TEST(MacrosTest, PutTakesElementTypeFromPointer)
{
    MANTA_SCOPE();
    float f[2][3] = {};
    manta::ref<float> all = manta_put(f, sizeof f);
    manta_view_t v;
    ASSERT_EQ(MANTA_OK, manta_get(all, &v, MANTA_FOREVER));
    EXPECT_EQ(MANTA_DTYPE(MANTA_F32, 4), v.dtype);
    EXPECT_EQ(6u, v.count);
    manta_view_release(&v);
    manta_ref_t untyped = manta_put(static_cast<void *>(f), sizeof f);
    ASSERT_EQ(MANTA_OK, manta_get(untyped, &v, MANTA_FOREVER));
    EXPECT_EQ(0u, v.dtype);
    manta_view_release(&v);
}

static_assert(sizeof(manta::ref<int>) == sizeof(manta_ref_t), "a ref is a manta_ref_t");
static_assert(std::is_trivially_copyable<manta::ref<int>>::value, "and copied like one");
static_assert(std::is_convertible<manta_ref_t, manta::ref<int>>::value, "from untyped");
static_assert(std::is_convertible<manta::ref<int>, manta_ref_t>::value, "to untyped");
static_assert(!std::is_convertible<manta::ref<float>, manta::ref<int>>::value, "not to another");
static_assert(!std::is_convertible<int, manta::ref<int>>::value, "an int is no ref");
