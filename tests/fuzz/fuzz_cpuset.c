// Lists of processors. What is accepted is what hwloc reads the same way, and comes back from its text.
#include "fuzz.h"

#include "topology/topology_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input_t input = {data, data + size};
    char *text = fuzz_line(&input);
    hwloc_bitmap_t set = hwloc_bitmap_alloc(), again = hwloc_bitmap_alloc();
    if (mti_cpuset_parse(text, set)) {
        char *list = NULL;
        FUZZ_CHECK(!hwloc_bitmap_iszero(set));
        FUZZ_CHECK(hwloc_bitmap_list_asprintf(&list, set) >= 0);
        FUZZ_CHECK(mti_cpuset_parse(list, again) && hwloc_bitmap_isequal(set, again));
        free(list);
        FUZZ_CHECK(strspn(text, "0123456789,-") == strlen(text));
    }
    hwloc_bitmap_free(set);
    hwloc_bitmap_free(again);
    free(text);
    return 0;
}
