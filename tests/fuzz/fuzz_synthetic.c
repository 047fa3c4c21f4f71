// Synthetic machines, and a cpuset behind a newline. The description itself is hwloc's to parse.
#include "fuzz_topology.h"

// hwloc builds what is described, however big: counts are cut to a few digits in all.
static int digits(const char *text)
{
    int count = 0;
    for (; *text; text++)
        count += *text >= '1' && *text <= '9' ? 1 : 0;
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 200) return 0;
    fuzz_input_t input = {data, data + size};
    char *machine = fuzz_line(&input), *cpuset = fuzz_line(&input);
    size_t zeros = 0;
    for (const char *at = machine; *at; at++)
        zeros += *at == '0';
    if (digits(machine) <= 5 && zeros <= 1 && !strpbrk(machine, "xX")) {
        mti_topology_options_t options = {.synthetic = machine, .cpuset = *cpuset ? cpuset : NULL};
        fuzz_topology(&options);
    }
    free(machine);
    free(cpuset);
    return 0;
}
