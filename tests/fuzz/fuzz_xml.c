// Machine files. hwloc 2.9 itself crashes on sets that contradict each other (topology.h), so this one is
// for runs by hand; what crashes in hwloc is not ours.
#define _GNU_SOURCE
#include "fuzz_topology.h"

#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = memfd_create("machine", 0);
    if (fd < 0) return 0;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (write(fd, data, size) == (ssize_t)size) {
        mti_topology_options_t options = {.xml_path = path};
        fuzz_topology(&options);
    }
    close(fd);
    return 0;
}
