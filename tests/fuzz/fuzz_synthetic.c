// Synthetic machines, and a cpuset behind a newline. The description itself is hwloc's to parse.
#include "fuzz_topology.h"

#include <stdbool.h>

// hwloc builds what is described, however big, and takes its time: the numbers' product is bounded.
static bool small(const char *text)
{
    unsigned long product = 1;
    while (*text) {
        if (*text < '0' || *text > '9') {
            text++;
            continue;
        }
        char *end;
        unsigned long number = strtoul(text, &end, 0);
        if (number > 300) return false;
        if (number > 1) product *= number;
        if (product > 300) return false;
        text = end;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 200) return 0;
    fuzz_input_t input = {data, data + size};
    char *machine = fuzz_line(&input), *cpuset = fuzz_line(&input);
    if (small(machine)) {
        mti_topology_options_t options = {.synthetic = machine, .cpuset = *cpuset ? cpuset : NULL};
        fuzz_topology(&options);
    }
    free(machine);
    free(cpuset);
    return 0;
}
