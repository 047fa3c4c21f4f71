#include "gpu/gpu.h"

#include <manta/manta.h>

#include <cstdio>
#include <string>

#define gp_probe_PARAMS MANTA_OUT(int, device, 1), MANTA_OUT(int, real, 1)
MANTA_TASK_DECLARE(gp_probe);
MANTA_CUDA(gp_probe)
{
    // Enqueues nothing: what it leaves in its results does not count, that it ran does.
    (void)device, (void)real;
    return manta_task_device(task) >= 0 ? MANTA_OK : MANTA_ERR_INTERNAL;
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
    return missing(gp_probe_with(MANTA_OPTIONS(.where = MANTA_GPU)).device,
                   "no task runs on a GPU here");
}

int gpu_cuda_missing(void)
{
    if (gpu_missing()) return 77;
    MANTA_SCOPE();
    return missing(gp_stream_with(MANTA_OPTIONS(.where = MANTA_GPU)),
                   "no task has a CUDA stream here");
}
