#include "tasks.h"

#include <string.h>

MANTA_TASK(tm_axpy)
{
    if (x.count != y.count) return manta_fail(task, MANTA_ERR_USER + 1, "%zu elements", x.count);
    for (size_t i = 0; i < y.count; i++)
        y.data[i] += a * x.data[i];
    return MANTA_OK;
}

MANTA_TASK(tm_minmax)
{
    lo.data[0] = hi.data[0] = x.data[0];
    for (size_t i = 0; i < x.count; i++) {
        if (x.data[i] < lo.data[0]) lo.data[0] = x.data[i];
        if (x.data[i] > hi.data[0]) hi.data[0] = x.data[i];
    }
    return MANTA_OK;
}

MANTA_TASK(tm_nothing)
{
    return MANTA_OK;
}

MANTA_TASK(tm_sixteen)
{
    *sum = a + b + c + d + e + f + (double)g + (double)h + (double)i + (double)j + k + l + m + n.x +
           n.y + o;
    return MANTA_OK;
}

#define FILL(r)                                                                                    \
    for (size_t i = 0; i < r.count; i++)                                                           \
    r.data[i] = (int)r.count
MANTA_TASK(tm_results)
{
    FILL(r1);
    FILL(r2);
    FILL(r3);
    FILL(r4);
    FILL(r5);
    FILL(r6);
    FILL(r7);
    FILL(r8);
    FILL(r9);
    FILL(r10);
    FILL(r11);
    FILL(r12);
    FILL(r13);
    FILL(r14);
    FILL(r15);
    FILL(r16);
    return MANTA_OK;
}

MANTA_TASK(tm_every)
{
    total.data[0] = scale.y;
    for (size_t i = 0; i < parts.count; i++) {
        joined.data[i] = 0;
        for (size_t k = 0; k < parts.items[i].count; k++)
            joined.data[i] += parts.items[i].data[k] * scale.x;
        total.data[0] += joined.data[i];
    }
    for (size_t i = 0; i < bias.count; i++)
        joined.data[parts.count + i] = bias.data[i];
    for (size_t i = 0; i < counters.count; i++)
        counters.data[i]++;

    // Grows twice: what is there stays.
    manta_status_t status = manta_out_resize(grown, 1);
    if (status != MANTA_OK) return status;
    grown.data[0] = 'x';
    status = manta_out_resize(grown, strlen(note) + 2);
    if (status != MANTA_OK) return status;
    if (grown.count != strlen(note) + 2 || grown.data[0] != 'x')
        return manta_fail(task, MANTA_ERR_USER, "resize lost its bytes");
    memcpy(grown.data + 1, note, strlen(note) + 1);
    return MANTA_OK;
}

MANTA_TASK(tm_lists)
{
    memset(n.data, 0, n.count * sizeof *n.data);
    n.data[0] = a.count;
    n.data[2] = b.count;
    for (size_t i = 0; i < a.count; i++)
        n.data[1] += a.items[i].count;
    for (size_t i = 0; i < b.count; i++)
        n.data[3] += b.items[i].count;
    return MANTA_OK;
}

MANTA_TASK(tm_mark)
{
    slots[manta_task_index(task)] += by;
    return MANTA_OK;
}

MANTA_TASK(tm_fail)
{
    r.data[0] = 0;
    return manta_fail(task, code, "told to");
}
