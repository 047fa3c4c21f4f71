#include "in_c.h"
#include "tasks.h"

#include <complex.h>
#include <string.h>

#define CHECK(c)                                                                                   \
    do {                                                                                           \
        if (!(c)) return __LINE__;                                                                 \
    } while (0)

int in_c_example(void)
{
    MANTA_SCOPE();
    float xs[3] = {1, 2, 3}, ys[3] = {10, 20, 30};
    manta_ref_t x = manta_put(xs, sizeof xs), y = manta_put(ys, sizeof ys);
    y = tm_axpy_remote(2.0f, x, y);
    y = tm_axpy_with(MANTA_OPTIONS(.name = "again"), 3.0f, x, y);
    manta_view_t v;
    CHECK(manta_get(y, &v, MANTA_FOREVER) == MANTA_OK);
    const float want[3] = {15, 30, 45};
    CHECK(v.count == 3 && memcmp(v.data, want, sizeof want) == 0);
    CHECK(v.dtype == MANTA_DTYPE(MANTA_F32, 4));
    manta_view_release(&v);
    return 0;
}

int in_c_no_parameters(void)
{
    MANTA_SCOPE();
    manta_view_t v;
    CHECK(manta_get(tm_nothing_remote(), &v, MANTA_FOREVER) == MANTA_OK);
    CHECK(v.size_bytes == 0);
    manta_view_release(&v);
    CHECK(manta_get(tm_nothing_with(MANTA_OPTIONS()), &v, MANTA_FOREVER) == MANTA_OK);
    manta_view_release(&v);
    CHECK(tm_nothing_go() == MANTA_OK);
    CHECK(tm_nothing_go_with(MANTA_OPTIONS(.name = "go")) == MANTA_OK);
    CHECK(tm_nothing_task.args_bytes == 0 && tm_nothing_task.param_count == 0);
    return 0;
}

int in_c_sixteen(void)
{
    MANTA_SCOPE();
    double sum = 0;
    struct tm_pair n = {14000, 28000};
    manta_ref_t done =
        tm_sixteen_remote(-1, 2, -3, 4, -5, 6, -7, 8, -9, 10, 0.5f, 0.25, true, n, TM_BLUE, &sum);
    manta_view_t v;
    CHECK(manta_get(done, &v, MANTA_FOREVER) == MANTA_OK);
    manta_view_release(&v);
    CHECK(sum == 5 + 0.75 + 1 + 42000 + 2);
    return 0;
}

static int is_filled(manta_ref_t ref, int n)
{
    int got[16] = {0};
    CHECK(manta_read(ref, got, (size_t)n * sizeof *got, MANTA_FOREVER) == MANTA_OK);
    for (int i = 0; i < n; i++)
        CHECK(got[i] == n);
    return 0;
}

int in_c_results(void)
{
    MANTA_SCOPE();
    tm_results_out_t r = tm_results_remote();
    const manta_ref_t all[] = {r.r1, r.r2,  r.r3,  r.r4,  r.r5,  r.r6,  r.r7,  r.r8,
                               r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.r16};
    for (int i = 0; i < 16; i++)
        CHECK(is_filled(all[i], i + 1) == 0);
    return 0;
}

int in_c_every(void)
{
    MANTA_SCOPE();
    const float a[] = {1, 2, 3}, b[] = {10};
    manta_ref_t parts[3] = {manta_put(a, sizeof a), manta_put(b, sizeof b), manta_put(a, 0)};
    int cs[2] = {5, 6};
    const short bs[2] = {-1, -2};
    struct tm_pair scale = {2, 0.5};
    tm_every_out_t out = tm_every_remote(parts, 3, manta_put(cs, sizeof cs), scale,
                                         manta_put(bs, sizeof bs), "note");
    double total;
    float joined[5];
    char grown[6];
    CHECK(manta_read(out.total, &total, sizeof total, MANTA_FOREVER) == MANTA_OK);
    CHECK(total == 0.5 + 12 + 20);
    CHECK(manta_read(out.counters, cs, sizeof cs, MANTA_FOREVER) == MANTA_OK);
    CHECK(cs[0] == 6 && cs[1] == 7);
    CHECK(manta_read(out.grown, grown, sizeof grown, MANTA_FOREVER) == MANTA_OK);
    CHECK(strcmp(grown, "xnote") == 0);
    CHECK(manta_read(out.joined, joined, sizeof joined, MANTA_FOREVER) == MANTA_OK);
    const float want[5] = {12, 20, 0, -1, -2};
    CHECK(memcmp(joined, want, sizeof want) == 0);
    return 0;
}

int in_c_lists(void)
{
    MANTA_SCOPE();
    enum { MANY = 100 };
    static const float ones[MANY] = {1};
    manta_ref_t many[MANY];
    for (size_t i = 0; i < MANY; i++)
        many[i] = manta_put(ones, (i + 1) * sizeof *ones);
    struct tm_pair pair = {1, 2};
    manta_ref_t pairs = manta_put(&pair, sizeof pair);

    size_t n[4];
    CHECK(manta_read(tm_lists_remote(many, MANY, &pairs, 1), n, sizeof n, MANTA_FOREVER) ==
          MANTA_OK);
    CHECK(n[0] == MANY && n[1] == MANY * (MANY + 1) / 2 && n[2] == 1 && n[3] == 1);
    CHECK(manta_read(tm_lists_remote(NULL, 0, NULL, 0), n, sizeof n, MANTA_FOREVER) == MANTA_OK);
    CHECK(n[0] == 0 && n[1] == 0 && n[2] == 0 && n[3] == 0);
    return 0;
}

int in_c_range(void)
{
    MANTA_SCOPE();
    int slots[50] = {0};
    manta_view_t v;
    CHECK(manta_get(tm_mark_range(50, slots, 2), &v, MANTA_FOREVER) == MANTA_OK);
    manta_view_release(&v);
    for (int i = 0; i < 50; i++)
        CHECK(slots[i] == 2);
    CHECK(manta_get(tm_mark_range_with(MANTA_OPTIONS(.name = "r"), 20, 7, slots, 1), &v,
                    MANTA_FOREVER) == MANTA_OK);
    manta_view_release(&v);
    for (int i = 0; i < 50; i++)
        CHECK(slots[i] == (i < 20 ? 3 : 2));
    return 0;
}

int in_c_fail(void)
{
    MANTA_SCOPE();
    int r = 7;
    CHECK(tm_fail_result(tm_fail_remote(MANTA_ERR_USER + 3), &r) == MANTA_ERR_USER + 3);
    CHECK(r == 7);
    return 0;
}

MANTA_TASK(tm_own, MANTA_VAL(int, n), MANTA_OUT(long, sum, 1))
{
    sum.data[0] = n;
    if (n == 0) return MANTA_OK;
    MANTA_SCOPE();
    long rest;
    manta_status_t status = tm_own_result(tm_own_remote(n - 1), &rest);
    sum.data[0] += rest;
    return status;
}

MANTA_TASK(tm_counted)
{
    static int count;
    count++;
    return manta_task_name(task)[0] == 't' ? MANTA_OK : MANTA_ERR_USER;
}

int in_c_own_task(void)
{
    MANTA_SCOPE();
    long sum;
    CHECK(tm_own_result(tm_own_remote(10), &sum) == MANTA_OK);
    CHECK(sum == 55);
    manta_view_t v;
    CHECK(manta_get(tm_counted_remote(), &v, MANTA_FOREVER) == MANTA_OK);
    manta_view_release(&v);
    return 0;
}

int in_c_type_mismatch(void)
{
    MANTA_SCOPE();
    float ys[2] = {0};
    int is[2] = {1, 2};
    manta_ref_t wrong = tm_axpy_remote(1, manta_put(is, sizeof is), manta_put(ys, sizeof ys));
    float got[2];
    CHECK(manta_read(wrong, got, sizeof got, MANTA_FOREVER) == MANTA_ERR_TYPE_MISMATCH);
    // An untyped object fits.
    manta_ref_t right =
        tm_axpy_remote(1, (manta_put)(ys, sizeof ys), manta_put((void *)ys, sizeof ys));
    CHECK(manta_read(right, got, sizeof got, MANTA_FOREVER) == MANTA_OK);
    return 0;
}

int in_c_body_in_cc(void)
{
    MANTA_SCOPE();
    double v[2] = {1.5, -2};
    CHECK(manta_read(tm_cc_scale_remote(2, manta_put(v, sizeof v)), v, sizeof v, MANTA_FOREVER) ==
          MANTA_OK);
    CHECK(v[0] == 3 && v[1] == -4);
    int r;
    CHECK(tm_cc_throw_result(tm_cc_throw_remote(0), &r) == MANTA_ERR_EXCEPTION);
    return 0;
}

struct tm_opaque {
    char bytes[12];
};

#define CODE_OF(T) MANTA_DTYPE_CODE(MTI_DTYPE(T))
int in_c_dtypes(void)
{
    CHECK(CODE_OF(bool) == MANTA_BOOL && CODE_OF(char) == MANTA_I8);
    CHECK(CODE_OF(int8_t) == MANTA_I8 && CODE_OF(uint8_t) == MANTA_U8);
    CHECK(CODE_OF(int16_t) == MANTA_I16 && CODE_OF(uint16_t) == MANTA_U16);
    CHECK(CODE_OF(int32_t) == MANTA_I32 && CODE_OF(uint32_t) == MANTA_U32);
    CHECK(CODE_OF(int64_t) == MANTA_I64 && CODE_OF(uint64_t) == MANTA_U64);
    CHECK(CODE_OF(long long) == MANTA_I64 && CODE_OF(unsigned long long) == MANTA_U64);
    CHECK(CODE_OF(float) == MANTA_F32 && CODE_OF(double) == MANTA_F64);
#ifdef __FLT16_MAX__
    __extension__ typedef _Float16 half;
    CHECK(MTI_DTYPE(half) == MANTA_DTYPE(MANTA_F16, 2));
#endif
    CHECK(CODE_OF(float complex) == MANTA_C64 && CODE_OF(double complex) == MANTA_C128);
    CHECK(CODE_OF(tm_color_t) == MANTA_U32);
    CHECK(MTI_DTYPE(struct tm_opaque) == MANTA_DTYPE(MANTA_OPAQUE, 12));
    return 0;
}

static manta_dtype_t dtype_of(manta_ref_t ref)
{
    manta_view_t v = {0};
    if (manta_get(ref, &v, MANTA_FOREVER) != MANTA_OK) return UINT32_MAX;
    manta_dtype_t dtype = v.dtype;
    manta_view_release(&v);
    return dtype;
}

int in_c_put(void)
{
    MANTA_SCOPE();
    float f[2][3] = {{0}};
    const int i[2] = {1, 2};
    struct tm_opaque o = {{0}};
    CHECK(dtype_of(manta_put(f[0], sizeof f[0])) == MANTA_DTYPE(MANTA_F32, 4));
    CHECK(dtype_of(manta_put(f, sizeof f)) == 0);
    CHECK(dtype_of(manta_put(i, sizeof i)) == MANTA_DTYPE(MANTA_I32, 4));
    CHECK(dtype_of(manta_put(&i[1], sizeof *i)) == MANTA_DTYPE(MANTA_I32, 4));
    CHECK(dtype_of(manta_put(&o, sizeof o)) == MANTA_DTYPE(MANTA_OPAQUE, 12));
    CHECK(dtype_of(manta_put("text", 5)) == MANTA_DTYPE(MANTA_I8, 1));
    CHECK(dtype_of(manta_put((const void *)i, sizeof i)) == 0);
    CHECK(dtype_of((manta_put)(i, sizeof i)) == 0);
    // The pointer is evaluated once.
    const int *p = i;
    CHECK(manta_ref_status(manta_put(p++, sizeof *p)) == MANTA_OK);
    CHECK(p == i + 1);
    return 0;
}

int in_c_options(void)
{
    manta_task_options_t o = MANTA_OPTIONS();
    CHECK(o.struct_size == sizeof o && o.cpus == 0 && o.where == MANTA_ANY && o.name == NULL);
    o = MANTA_OPTIONS(.gpus = 0.5, .where = MANTA_GPU, .cpus = 2, .runtime.id = 9);
    CHECK(o.struct_size == sizeof o && o.gpus == 0.5 && o.where == MANTA_GPU && o.cpus == 2);
    CHECK(o.runtime.id == 9 && o.name == NULL);
    return 0;
}

int in_c_scope(int way, manta_ref_t *out_ref)
{
    int rounds = 0;
    const int one = 1;
    for (int i = 0; i < 3; i++) {
        MANTA_SCOPE();
        rounds++;
        *out_ref = manta_put(&one, sizeof one);
        {
            MANTA_SCOPE();
            manta_ref_t inner = manta_put(&one, sizeof one);
            if (way == IN_C_RETURN) return manta_ref_status(inner);
            if (way == IN_C_GOTO) goto out;
        }
        if (way == IN_C_BREAK) break;
        if (way == IN_C_CONTINUE) continue;
        if (way == IN_C_KEEP) *out_ref = manta_keep(*out_ref);
        if (way == IN_C_KEEP) break;
    }
out:
    return rounds == (way == IN_C_FALL || way == IN_C_CONTINUE ? 3 : 1) ? 0 : __LINE__;
}
