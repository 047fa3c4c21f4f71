// The files that tell the CPU quota: the first byte of a line says in which file the rest stands. Opening
// files is taken over by the linker (--wrap=fopen), reading is the C library's.
#include "fuzz.h"

#include "topology/topology_impl.h"

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);

enum { FILES = 5 };
static const char *const names[FILES] = {"/proc/self/cgroup", "/proc/self/mountinfo", "/cpu.max",
                                         "/cpu.cfs_quota_us", "/cpu.cfs_period_us"};
static char *contents[FILES];
static size_t lengths[FILES];

FILE *__wrap_fopen(const char *path, const char *mode)
{
    if (strncmp(path, "/root/", 6) != 0) return __real_fopen(path, mode);
    size_t length = strlen(path);
    for (int i = 0; i < FILES; i++) {
        size_t tail = strlen(names[i]);
        if (length < tail || strcmp(path + length - tail, names[i]) != 0) continue;
        return lengths[i] ? fmemopen(contents[i], lengths[i], "r") : NULL;
    }
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 4096) return 0;
    for (int i = 0; i < FILES; i++) {
        contents[i] = malloc(size + 1);
        lengths[i] = 0;
    }
    // A line goes to the file that its first byte names.
    for (const uint8_t *at = data, *end = data + size; at < end;) {
        int file = *at++ % FILES;
        while (at < end) {
            contents[file][lengths[file]++] = (char)*at;
            if (*at++ == '\n') break;
        }
    }
    int64_t quota = mti_cgroup_quota_milli("/root");
    FUZZ_CHECK(quota > 0);
    for (int i = 0; i < FILES; i++)
        free(contents[i]);
    return 0;
}
