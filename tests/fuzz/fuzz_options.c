// Options of runtimes with any value in any field, and the environment beside them. A runtime starts and
// runs a task, or says why not.
#define _GNU_SOURCE
#include "fuzz.h"

#include <manta/manta.h>

#include <pthread.h>

bool fuzz_thread_allowed(void);

static int threads_left;
extern bool (*mti_thread_create_hook)(void);
bool fuzz_thread_allowed(void)
{
    return threads_left-- > 0;
}

MANTA_TASK(fuzz_double, MANTA_VAL(int, a), MANTA_OUT(int, twice, 1))
{
    (void)task;
    twice.data[0] = 2 * a;
    return MANTA_OK;
}

static void quiet(void *user, manta_status_t code, const char *message)
{
    (void)user;
    (void)code;
    (void)message;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mti_thread_create_hook = fuzz_thread_allowed;
    fuzz_input_t input = {data, data + size};
    uint64_t which = fuzz_number(&input, 2);
    manta_runtime_options_t options;
    manta_runtime_options_init(&options);
    options.log = quiet;
    options.topology_synthetic = "core:2 pu:1";
    if (which & 1) options.workers = (int)(int32_t)fuzz_number(&input, which & 2 ? 4 : 1);
    if (which & 4) options.bind = (int)(int32_t)fuzz_number(&input, 4);
    if (which & 8) options.spin_ns = (int64_t)(fuzz_number(&input, 8) % 1000000);
    if (which & 16) options.max_threads = (int)(int32_t)fuzz_number(&input, which & 2 ? 4 : 1);
    if (which & 32) options.struct_size = (size_t)fuzz_number(&input, which & 2 ? 8 : 1);
    options.measure_busy = which & 64;
    options.report_leaks = which & 128;
    char *name = fuzz_line(&input), *cpuset = fuzz_line(&input), *workers = fuzz_line(&input);
    char *log = fuzz_line(&input);
    if (which & 256) options.name = name;
    if (which & 512) options.cpuset = cpuset;
    unsetenv("MANTA_WORKERS");
    unsetenv("MANTA_LOG");
    setenv("HWLOC_SYNTHETIC", "core:2 pu:1", 1); // if the struct is cut before the topology
    if (which & 1024) setenv("MANTA_WORKERS", workers, 1);
    if (which & 2048) setenv("MANTA_LOG", log, 1);
    threads_left = 4;
    manta_runtime_t runtime = {0};
    manta_status_t status = manta_runtime_create(&options, &runtime);
    if (status == MANTA_OK) {
        manta_task_options_t where = MANTA_OPTIONS(.runtime = runtime);
        manta_ref_t twice = fuzz_double_with(where, 21);
        int value = 0;
        FUZZ_CHECK(manta_read(twice, &value, sizeof value, MANTA_FOREVER) == MANTA_OK);
        FUZZ_CHECK(value == 42);
        FUZZ_CHECK(manta_release(twice) == MANTA_OK);
        FUZZ_CHECK(manta_runtime_shutdown(runtime, MANTA_SHUTDOWN_DRAIN, MANTA_FOREVER) ==
                   MANTA_OK);
    } else {
        FUZZ_CHECK(manta_error_message()[0] != 0);
    }
    free(name);
    free(cpuset);
    free(workers);
    free(log);
    return 0;
}
