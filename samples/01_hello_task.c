// The first task: y = a * x + y, twice. Prints the result.
//
//     ./dev sample 01_hello_task

#include <manta/manta.h>

#include <stdio.h>

// Declares and defines the task. saxpy_remote() is a typed function that submits it.
MANTA_TASK(saxpy, MANTA_VAL(float, a), MANTA_IN(float, x), MANTA_INOUT(float, y))
{
    if (x.count != y.count)
        return manta_fail(task, MANTA_ERR_USER, "x has %zu elements, y %zu", x.count, y.count);
    for (size_t i = 0; i < y.count; i++)
        y.data[i] += a * x.data[i];
    return MANTA_OK;
}

int main(void)
{
    const float xs[4] = {1, 2, 3, 4};
    const float ys[4] = {10, 20, 30, 40};

    MANTA_SCOPE(); // refs and views made from here on are released where this block ends
    manta_ref_t x = manta_put(xs, sizeof xs);
    manta_ref_t y = manta_put(ys, sizeof ys);

    // INOUT takes the ref and gives the next version of y. Nothing waits here: the second call is
    // submitted while the first may still run, and starts when that is done.
    y = saxpy_remote(2.0f, x, y);
    y = saxpy_with(MANTA_OPTIONS(.name = "saxpy again"), 3.0f, x, y);

    // What went wrong in either of them shows here, with its cause.
    manta_view_t v;
    if (manta_get(y, &v, MANTA_FOREVER) != MANTA_OK) {
        manta_ref_print_error(y, stderr);
        return 1;
    }
    const float *result = v.data;
    bool right = true;
    for (size_t i = 0; i < v.count; i++) {
        printf("%g + 5 * %g = %g\n", ys[i], xs[i], result[i]);
        right = right && result[i] == ys[i] + 5 * xs[i];
    }
    return right ? 0 : 1;
}
