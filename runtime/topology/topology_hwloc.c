// Loading: which machine is meant, and as little discovery of it as the scheduler needs.
#include "topology/topology_impl.h"

#include "base/status.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#else
#define __libc_single_threaded 0
#endif

#include <hwloc/plugins.h> // hwloc_hide_errors

// Processors beyond this are a typo, not a machine; hwloc bitmaps take memory up to the highest bit.
#define CPUSET_MAX_INDEX (1 << 16)

// hwloc loads its plugins, shared objects for OpenCL, X11, PCI and libxml, with the first topology
// and unloads them with the last: 4 of 5 ms on a 2-core virtual machine with Debian 12's packages.
// One bare topology kept for good makes that a cost of the first runtime only. Never freed:
// reachable from here, and nobody knows when the last runtime was.
static hwloc_topology_t machine_keep_plugins;
static pthread_once_t machine_once = PTHREAD_ONCE_INIT;

static const char machine_this[] = "this machine";

static void machine_load_plugins(void)
{
    if (hwloc_topology_init(&machine_keep_plugins) != 0) machine_keep_plugins = NULL;
}

// hwloc writes a page to stderr about XML whose objects don't fit together, unless HWLOC_HIDE_ERRORS
// says 2 when it first looks. The variable is there only for that look, and only while no other
// thread can be inside getenv; otherwise the page stays. The machine itself is never read from here,
// so what hwloc has to say about a broken BIOS still comes through until a file has been read.
static void machine_hide_errors(void)
{
    static const char name[] = "HWLOC_HIDE_ERRORS";
    if (!__libc_single_threaded || getenv(name)) return;
    if (setenv(name, "2", 1) != 0) return;
    hwloc_hide_errors();
    unsetenv(name);
}

static bool cpuset_parse_number(const char **text, int *out_value)
{
    if (**text < '0' || **text > '9') return false;
    int value = 0;
    for (; **text >= '0' && **text <= '9'; (*text)++) {
        value = value * 10 + (**text - '0');
        if (value > CPUSET_MAX_INDEX) return false;
    }
    *out_value = value;
    return true;
}

// Not hwloc_bitmap_list_sscanf: that one takes "1-" and garbage behind a number without complaint.
bool mti_cpuset_parse(const char *text, hwloc_bitmap_t out_set)
{
    hwloc_bitmap_zero(out_set);
    for (;;) {
        int first, last;
        if (!cpuset_parse_number(&text, &first)) return false;
        last = first;
        if (*text == '-') {
            text++;
            if (*text == 0 || *text == ',')
                last = CPUSET_MAX_INDEX; // "8-": to the end
            else if (!cpuset_parse_number(&text, &last) || last < first)
                return false;
        }
        if (hwloc_bitmap_set_range(out_set, (unsigned)first, last) != 0) return false;
        if (*text == 0) return true;
        if (*text++ != ',') return false;
    }
}

static manta_status_t machine_set_xml(hwloc_topology_t hwloc, const char *path)
{
    // hwloc's two XML parsers report missing files differently, so look first.
    struct stat info;
    if (strcmp(path, "-") != 0) { // hwloc's word for the standard input
        if (stat(path, &info) != 0 || access(path, R_OK) != 0)
            return mti_fail(MANTA_ERR_IO, "topology file \"%s\": %s", path, strerror(errno));
        if (S_ISDIR(info.st_mode))
            return mti_fail(MANTA_ERR_IO, "topology file \"%s\": %s", path, strerror(EISDIR));
    }
    machine_hide_errors();
    if (hwloc_topology_set_xml(hwloc, path) != 0)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "topology file \"%s\" is not hwloc XML", path);
    return MANTA_OK;
}

static manta_status_t machine_set_synthetic(hwloc_topology_t hwloc, const char *text)
{
    if (hwloc_topology_set_synthetic(hwloc, text) != 0)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "\"%s\" is not an hwloc synthetic topology, like \"pack:2 core:4 pu:2\"",
                        text);
    return MANTA_OK;
}

// Leaves what the scheduler reads: packages, cores, L2 and L3; nodes and processors always stay.
static void machine_set_filters(hwloc_topology_t hwloc, bool probe_with_cpuid)
{
    static const hwloc_obj_type_t kept[] = {HWLOC_OBJ_PACKAGE, HWLOC_OBJ_CORE, HWLOC_OBJ_L2CACHE,
                                            HWLOC_OBJ_L3CACHE};
    hwloc_topology_set_all_types_filter(hwloc, HWLOC_TYPE_FILTER_KEEP_NONE);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        hwloc_topology_set_type_filter(hwloc, kept[i], HWLOC_TYPE_FILTER_KEEP_ALL);
    // Nodes that are smaller than a package hang on a group; without one hwloc widens them.
    hwloc_topology_set_type_filter(hwloc, HWLOC_OBJ_GROUP, HWLOC_TYPE_FILTER_KEEP_STRUCTURE);

    unsigned long flags = 0;
#if HWLOC_API_VERSION >= 0x00020800
    flags |= HWLOC_TOPOLOGY_FLAG_NO_CPUKINDS; // two files per processor that nobody reads
#endif
#if HWLOC_API_VERSION >= 0x00020500
    // cpuid has to be asked on each processor in turn: slow, and it moves the user's thread around.
    if (!probe_with_cpuid) flags |= HWLOC_TOPOLOGY_FLAG_DONT_CHANGE_BINDING;
#else
    (void)probe_with_cpuid;
#endif
    hwloc_topology_set_flags(hwloc, flags);
}

static const char *machine_environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

// Picks the source. The environment is read here and not left to hwloc, which goes on silently with
// this machine when it can't use what is there.
static manta_status_t machine_select(hwloc_topology_t hwloc, const mti_topology_options_t *options,
                                     const char **out_source)
{
    const char *xml = options->xml_path, *synthetic = options->synthetic;
    if (xml && synthetic)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                        "both a topology file (\"%s\") and a synthetic topology (\"%s\") are given",
                        xml, synthetic);
    if (!xml && !synthetic) synthetic = machine_environment("HWLOC_SYNTHETIC");
    if (!xml && !synthetic) xml = machine_environment("HWLOC_XMLFILE");

    *out_source = xml ? xml : synthetic ? synthetic : machine_this;
    if (xml) return machine_set_xml(hwloc, xml);
    if (synthetic) return machine_set_synthetic(hwloc, synthetic);
    return MANTA_OK;
}

static manta_status_t machine_load_once(const mti_topology_options_t *options,
                                        bool probe_with_cpuid, mti_machine_t *out_machine)
{
    hwloc_topology_t hwloc;
    if (hwloc_topology_init(&hwloc) != 0)
        return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "hwloc_topology_init: %s", strerror(errno));
    machine_set_filters(hwloc, probe_with_cpuid);

    const char *source = machine_this;
    manta_status_t status = machine_select(hwloc, options, &source);
    if (status != MANTA_OK) goto destroy_hwloc;

    errno = 0;
    if (hwloc_topology_load(hwloc) != 0) {
        if (source != machine_this)
            status = mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                              "topology \"%s\" describes no machine that hwloc accepts", source);
        else
            status = mti_fail(MANTA_ERR_SYSTEM, "hwloc_topology_load: %s", strerror(errno));
        goto destroy_hwloc;
    }
    *out_machine = (mti_machine_t){
        .hwloc = hwloc, .source = source, .this_machine = hwloc_topology_is_thissystem(hwloc) != 0};
    return MANTA_OK;

destroy_hwloc:
    hwloc_topology_destroy(hwloc);
    return status;
}

manta_status_t mti_machine_load(const mti_topology_options_t *options, mti_machine_t *out_machine)
{
    pthread_once(&machine_once, machine_load_plugins);

    mti_machine_t machine;
    manta_status_t status = machine_load_once(options, false, &machine);
    if (status != MANTA_OK) return status;

    // Some sandboxes show processors but no cores in sysfs; there cpuid is the only one to know
    // which processors share a core.
    bool blind =
        machine.this_machine && hwloc_get_nbobjs_by_type(machine.hwloc, HWLOC_OBJ_CORE) <= 0;
    if (blind) {
        hwloc_topology_destroy(machine.hwloc);
        status = machine_load_once(options, true, &machine);
        if (status != MANTA_OK) return status;
    }
    *out_machine = machine;
    return MANTA_OK;
}
