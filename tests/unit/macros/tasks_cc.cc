#include "tasks.h"

#include <algorithm>
#include <stdexcept>

MANTA_TASK(tm_cc_scale)
{
    for (double &d : v)
        d *= by;
    return MANTA_OK;
}

size_t tm_cc_count(int kind)
{
    if (kind == 2) throw std::runtime_error("no size");
    return 1;
}

MANTA_TASK(tm_cc_throw)
{
    r[0] = 0;
    if (kind == 0) throw std::runtime_error("boom");
    if (kind == 1) throw 17;
    return MANTA_OK;
}

MANTA_TASK(tm_cc_join)
{
    for (auto &part : parts) {
        size_t before = all.count;
        manta_status_t status = manta_out_resize(all, before + part.count);
        if (status != MANTA_OK) return status;
        std::copy(part.begin(), part.end(), all.begin() + before);
    }
    return MANTA_OK;
}
