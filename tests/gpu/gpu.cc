#include "gpu/gpu.h"

#include <manta/kernels.h>
#include <manta/manta.h>

#include <cstdio>
#include <string>

#define gp_probe_PARAMS MANTA_OUT(uint32_t, word, 1)
MANTA_TASK_DECLARE(gp_probe);
MANTA_CUDA(gp_probe)
{
    return manta_fill_u32_launch(manta_vector_grid(1), 1, 7, word.data);
}

#define gp_stream_PARAMS MANTA_OUT(int, unused, 1)
MANTA_TASK_DECLARE(gp_stream);
MANTA_CUDA(gp_stream)
{
    (void)unused;
    return manta_cuda_stream(task) ? MANTA_OK : MANTA_ERR_NOT_SUPPORTED;
}

static int missing(manta_ref_t ref, const char *what)
{
    const std::string said = manta_error_message(); // of the submit, if that is what failed
    manta_status_t status = manta_wait(&ref, 1, 1, MANTA_FOREVER, nullptr, nullptr);
    if (status == MANTA_OK) status = manta_ref_status(ref);
    if (status == MANTA_OK) return 0;
    std::printf("skipped: %s: %s: %s\n", what, manta_status_name(status), said.c_str());
    manta_ref_print_error(ref, stdout);
    return 77;
}

int gpu_missing(void)
{
    MANTA_SCOPE();
    return missing(gp_probe_with(MANTA_OPTIONS(.where = MANTA_GPU)), "no task runs on a GPU here");
}

int gpu_cuda_missing(void)
{
    if (gpu_missing()) return 77;
    MANTA_SCOPE();
    return missing(gp_stream_with(MANTA_OPTIONS(.where = MANTA_GPU)),
                   "no task has a CUDA stream here");
}
