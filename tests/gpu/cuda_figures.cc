// What calls cost on this GPU: raw, and through the driver of manta, side by side. Prints a table; fails only
// if something does not work. The numbers belong into docs/gpu-verification.md. --quick: does it run at all?
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

extern "C" {
#include "base/clock.h"
#include "devices/cuda/cuda_api.h"
#include "devices/registry.h"
}

namespace
{

void must(manta_status_t status, const char *what)
{
    if (status == MANTA_OK) return;
    fprintf(stderr, "%s: %s: %s\n", what, manta_status_name(status), manta_error_message());
    exit(1);
}
#define MUST(call) must(call, #call)

void must_cu(CUresult result, const char *what)
{
    if (result == CUDA_SUCCESS) return;
    fprintf(stderr, "%s: CUDA error %d\n", what, static_cast<int>(result));
    exit(1);
}
#define MUST_CU(call) must_cu(call, #call)

// The median over |rounds| of what |body| takes for |n| of whatever it does.
template <class F> void figure(const char *what, int rounds, int n, F body)
{
    std::vector<double> times;
    for (int i = 0; i < rounds; i++) {
        int64_t start = mti_clock_ns();
        body();
        times.push_back(static_cast<double>(mti_clock_ns() - start) / n);
    }
    std::sort(times.begin(), times.end());
    printf("%-52s %10.0f ns\n", what, times[times.size() / 2]);
}

void finish(mti_queue_t *queue)
{
    uint64_t seq = 0;
    MUST(mti_queue_signal(queue, &seq));
    while (mti_queue_completed(queue) < seq) {
        mti_poll_t poll;
        mti_device_poll(queue->device, &poll);
        if (poll.lost) exit(1);
    }
}

} // namespace

int main(int argc, char **argv)
{
    const bool quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
    const int n = quick ? 20 : 200, rounds = quick ? 3 : 21;
    const size_t small = 4096, large = quick ? 1 << 20 : 64 << 20;
    mti_devices_t *set = nullptr;
    mti_devices_options_t options = {};
    options.sim_gpus = MTI_SIM_GPUS_NONE;
    MUST(mti_devices_create(&options, &set));
    if (mti_devices_gpu_count(set) == 0) {
        printf("skipped: there is no GPU here: %s\n", manta_error_message());
        MUST(mti_devices_destroy(set, 0));
        return 77;
    }
    const mti_cu_api_t *cu = nullptr;
    MUST(mti_cu_api_get(&cu));
    mti_device_t *device = mti_devices_gpu(set, 0);
    MUST(mti_device_open(device));
    printf("%s, driver %d; a large copy is of %zu MiB\n", device->info.name, cu->driver_version,
           large >> 20);

    mti_bound_t bound;
    mti_device_bind(device, &bound);
    mti_queue_t *queue = nullptr, *other = nullptr;
    MUST(mti_queue_create(device, nullptr, &queue));
    MUST(mti_queue_create(device, nullptr, &other));
    auto stream = static_cast<CUstream>(mti_queue_native(queue));
    mti_memory_t *there = nullptr, *here = nullptr;
    MUST(mti_memory_alloc(device, large, &there));
    MUST(mti_memory_alloc_host(device, large, device->info.node, &here));
    auto address = reinterpret_cast<CUdeviceptr>(there->ptr);

    figure("small fill, raw", rounds, n, [&] {
        for (int i = 0; i < n; i++)
            MUST_CU(cu->cuMemsetD8Async(address, 1, small, stream));
    });
    MUST(mti_queue_adopt(queue, nullptr));
    finish(queue);
    figure("small fill, bound", rounds, n, [&] {
        for (int i = 0; i < n; i++)
            MUST(mti_queue_fill(queue, mti_place_at(there, 0), small, 1, 1, 0, nullptr));
    });
    finish(queue);
    figure("small fill, bound, each recorded", rounds, n, [&] {
        for (int i = 0; i < n; i++) {
            while (mti_queue_fill(queue, mti_place_at(there, 0), small, 1, 1, MTI_OP_RECORD,
                                  nullptr) != MANTA_OK)
                finish(queue);
        }
    });
    finish(queue);
    figure("fill, wait of another queue, fill there", rounds, n, [&] {
        for (int i = 0; i < n; i++) {
            uint64_t seq;
            MUST(mti_queue_fill(queue, mti_place_at(there, 0), small, 1, 1, 0, &seq));
            MUST(mti_queue_wait(other, queue, seq));
            MUST(mti_queue_fill(other, mti_place_at(there, 0), small, 1, 1, 0, &seq));
            MUST(mti_queue_wait(queue, other, seq));
        }
    });
    finish(queue);
    finish(other);
    figure("small fill until the host has seen its end", rounds, n, [&] {
        for (int i = 0; i < n; i++) {
            MUST(mti_queue_fill(queue, mti_place_at(there, 0), small, 1, 1, 0, nullptr));
            finish(queue);
        }
    });
    mti_device_unbind(device, &bound);
    figure("small fill, not bound", rounds, n, [&] {
        for (int i = 0; i < n; i++)
            MUST(mti_queue_fill(queue, mti_place_at(there, 0), small, 1, 1, 0, nullptr));
    });
    finish(queue);
    figure("poll without news", rounds, n, [&] {
        for (int i = 0; i < n; i++) {
            mti_poll_t poll;
            mti_device_poll(device, &poll);
        }
    });
    figure("allocate and free 1 MiB", rounds, n, [&] {
        for (int i = 0; i < n; i++) {
            mti_memory_t *memory = nullptr;
            MUST(mti_memory_alloc(device, 1 << 20, &memory));
            mti_memory_free(memory);
        }
    });
    for (bool in : {true, false}) {
        mti_copy_t copy = {mti_place_at(in ? there : here, 0), mti_place_at(in ? here : there, 0),
                           large};
        figure(in ? "large copy, host to device" : "large copy, device to host", rounds, 1, [&] {
            MUST(mti_queue_copy(queue, &copy, 0, nullptr));
            finish(queue);
        });
    }
    MUST(mti_devices_destroy(set, INT64_C(10000000000)));
    return 0;
}
