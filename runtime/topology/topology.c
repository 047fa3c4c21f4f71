// The snapshot: hwloc's tree made flat once, and the queries over it.
#include "topology/topology_impl.h"

#include "base/alloc.h"
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- Making it flat ------------------------------------------------------------------------------

static const char *topology_find_model(hwloc_topology_t hwloc)
{
    hwloc_obj_t package = hwloc_get_obj_by_type(hwloc, HWLOC_OBJ_PACKAGE, 0);
    hwloc_obj_t holder = package ? package : hwloc_get_root_obj(hwloc);
    const char *model = hwloc_obj_get_info_by_name(holder, "CPUModel");
    return model ? model : "";
}

// Allocates the block for as much as |machine| can have; what is not usable leaves its room unused.
static mti_topology_t *topology_alloc_block(const manta_allocator_t *allocator,
                                            const mti_machine_t *machine)
{
    size_t pus = (size_t)hwloc_get_nbobjs_by_type(machine->hwloc, HWLOC_OBJ_PU);
    size_t nodes = (size_t)hwloc_get_nbobjs_by_type(machine->hwloc, HWLOC_OBJ_NUMANODE);
    const char *model = topology_find_model(machine->hwloc);
    size_t model_bytes = strlen(model) + 1, source_bytes = strlen(machine->source) + 1;
    // No overflow: hwloc holds several hundred bytes for each processor and node already.
    size_t size_bytes = sizeof(mti_topology_t) + nodes * sizeof(mti_node_t) +
                        pus * (sizeof(mti_core_t) + 2 * sizeof(int)) + model_bytes + source_bytes;

    mti_topology_t *topology =
        mti_alloc_zeroed(allocator, size_bytes, _Alignof(struct mti_topology));
    if (!topology) return NULL;
    // From the strictest alignment to the least.
    topology->cores = (mti_core_t *)(topology + 1);
    topology->nodes = (mti_node_t *)(topology->cores + pus);
    topology->pus = (int *)(topology->nodes + nodes);
    topology->node_cores = topology->pus + pus;
    char *text = (char *)(topology->node_cores + pus);
    topology->model = memcpy(text, model, model_bytes);
    topology->source = memcpy(text + model_bytes, machine->source, source_bytes);
    topology->allocator = *allocator;
    topology->block_size_bytes = size_bytes;
    topology->hwloc = machine->hwloc;
    topology->this_machine = machine->this_machine;
    return topology;
}

// The node whose memory |pu| is nearest to: of those whose set holds it the smallest set. Where two
// kinds of memory hang on the same cores (HBM, CXL) the kernel numbers the ordinary one first.
static hwloc_obj_t topology_find_home(hwloc_topology_t hwloc, hwloc_obj_t pu)
{
    hwloc_obj_t home = NULL, node = NULL;
    int home_weight = 0;
    while ((node = hwloc_get_next_obj_by_type(hwloc, HWLOC_OBJ_NUMANODE, node))) {
        if (!hwloc_bitmap_isset(node->cpuset, pu->os_index)) continue;
        int weight = hwloc_bitmap_weight(node->cpuset);
        bool better = !home || weight < home_weight ||
                      (weight == home_weight && node->os_index < home->os_index);
        if (!better) continue;
        home = node;
        home_weight = weight;
    }
    return home ? home : hwloc_get_obj_by_type(hwloc, HWLOC_OBJ_NUMANODE, 0);
}

// Gives objects dense numbers in the order in which they are first seen. hwloc walks the machine in
// order, so an object is either the one that was seen last or a new one.
typedef struct topology_numbering {
    hwloc_obj_t last;
    int count;
} topology_numbering_t;

static int topology_number(topology_numbering_t *numbering, hwloc_obj_t object)
{
    if (!object) return -1;
    if (object != numbering->last) {
        numbering->last = object;
        numbering->count++;
    }
    return numbering->count - 1;
}

// Nodes are numbered before cores ask for them; this looks one up, and adds it if |pu| is its first.
static int topology_find_node(mti_topology_t *topology, hwloc_obj_t object)
{
    for (int i = topology->node_count; i-- > 0;)
        if (topology->nodes[i].os_index == (int)object->os_index) return i;
    int index = topology->node_count++;
    topology->nodes[index] = (mti_node_t){.node = index,
                                          .os_index = (int)object->os_index,
                                          .package = -1,
                                          .memory_bytes = object->attr->numanode.local_memory};
    return index;
}

// One pass over the processors in hwloc's order, which keeps neighbours together.
static void topology_add_cores(mti_topology_t *topology, hwloc_const_bitmap_t usable)
{
    topology_numbering_t packages = {0}, l2s = {0}, l3s = {0};
    bool outside_packages = false; // some core has no package around it
    hwloc_obj_t pu = NULL, last_core = NULL;
    mti_core_t *core = NULL;
    while ((pu = hwloc_get_next_obj_by_type(topology->hwloc, HWLOC_OBJ_PU, pu))) {
        if (!hwloc_bitmap_isset(usable, pu->os_index)) continue;
        int *slot = &topology->pus[topology->pu_count++];
        *slot = (int)pu->os_index;

        hwloc_obj_t parent = hwloc_get_ancestor_obj_by_type(topology->hwloc, HWLOC_OBJ_CORE, pu);
        if (parent && parent == last_core) {
            core->smt_count++;
            continue;
        }
        last_core = parent;

        hwloc_obj_t l2 = hwloc_get_ancestor_obj_by_type(topology->hwloc, HWLOC_OBJ_L2CACHE, pu);
        hwloc_obj_t l3 = hwloc_get_ancestor_obj_by_type(topology->hwloc, HWLOC_OBJ_L3CACHE, pu);
        hwloc_obj_t package =
            hwloc_get_ancestor_obj_by_type(topology->hwloc, HWLOC_OBJ_PACKAGE, pu);
        outside_packages |= !package;

        int index = topology->core_count++;
        core = &topology->cores[index];
        *core = (mti_core_t){
            .core = index,
            .pu = (int)pu->os_index,
            .node = topology_find_node(topology, topology_find_home(topology->hwloc, pu)),
            .package = topology_number(&packages, package),
            .l2 = topology_number(&l2s, l2),
            .l3 = topology_number(&l3s, l3),
            .smt_count = 1,
            .pus = slot,
            .l2_size_bytes = l2 ? (size_t)l2->attr->cache.size : 0,
            .l3_size_bytes = l3 ? (size_t)l3->attr->cache.size : 0};
    }
    topology->l2_count = l2s.count;
    topology->l3_count = l3s.count;
    topology->package_count = packages.count + (outside_packages ? 1 : 0);
    // All cores without a package share one.
    for (int i = 0; i < topology->core_count; i++)
        if (topology->cores[i].package < 0) topology->cores[i].package = packages.count;
}

// Adds nodes that are no core's home but hold memory near our processors.
static void topology_add_memory_nodes(mti_topology_t *topology, hwloc_const_bitmap_t usable)
{
    hwloc_obj_t node = NULL;
    while ((node = hwloc_get_next_obj_by_type(topology->hwloc, HWLOC_OBJ_NUMANODE, node))) {
        bool near =
            hwloc_bitmap_iszero(node->cpuset) || hwloc_bitmap_intersects(node->cpuset, usable);
        if (near) topology_find_node(topology, node);
    }
}

// The package of all our cores that are near |node|, -1 if they are in several.
static int topology_find_package(const mti_topology_t *topology, const mti_node_t *node)
{
    hwloc_obj_t object =
        hwloc_get_numanode_obj_by_os_index(topology->hwloc, (unsigned)node->os_index);
    int package = -1;
    for (int c = 0; c < topology->core_count; c++) {
        const mti_core_t *core = &topology->cores[c];
        if (!hwloc_bitmap_isset(object->cpuset, (unsigned)core->pu)) continue;
        if (package >= 0 && package != core->package) return -1;
        package = core->package;
    }
    return package;
}

static void topology_fill_nodes(mti_topology_t *topology)
{
    int *next = topology->node_cores;
    for (int i = 0; i < topology->node_count; i++) {
        mti_node_t *node = &topology->nodes[i];
        node->package = topology_find_package(topology, node);
        node->cores = next;
        for (int c = 0; c < topology->core_count; c++)
            if (topology->cores[c].node == i) *next++ = c;
        node->core_count = (int)(next - node->cores);
    }
}

// ---- What may be used ----------------------------------------------------------------------------

// Text of |set| for a message; the caller frees it. NULL if memory ran out.
static char *topology_set_text(hwloc_const_bitmap_t set)
{
    char *text = NULL;
    return hwloc_bitmap_list_asprintf(&text, set) < 0 ? NULL : text;
}

static manta_status_t topology_fail_sets(void)
{
    return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for a set of processors");
}

static manta_status_t topology_fail_empty(const mti_machine_t *machine, hwloc_const_bitmap_t usable,
                                          const char *cpuset)
{
    char *text = topology_set_text(usable);
    manta_status_t status =
        mti_fail(MANTA_ERR_INVALID_ARGUMENT, "cpuset \"%s\" has none of the processors %s of %s",
                 cpuset, text ? text : "?", machine->source);
    free(text);
    return status;
}

// The affinity mask of this process: the calling thread's, or if that is a thread that a topology
// of ours has bound, the one from before. Inside a task the mask is one core, which is no limit that
// the user set.
static bool topology_get_mask(hwloc_topology_t hwloc, hwloc_bitmap_t out_mask)
{
    const mti_topology_t *owner = mti_affinity_owner();
    if (owner && owner->original_mask)
        return hwloc_bitmap_copy(out_mask, owner->original_mask) == 0;
    return hwloc_get_cpubind(hwloc, out_mask, HWLOC_CPUBIND_THREAD) == 0;
}

// Leaves in |out_usable| the processors that the machine, the mask and |cpuset| have in common.
// |out_mask| is the mask, the whole machine if there is none that counts.
static manta_status_t topology_find_usable(const mti_machine_t *machine, const char *cpuset,
                                           hwloc_bitmap_t out_usable, hwloc_bitmap_t out_mask)
{
    hwloc_const_bitmap_t complete = hwloc_topology_get_complete_cpuset(machine->hwloc);
    if (hwloc_bitmap_copy(out_usable, hwloc_topology_get_allowed_cpuset(machine->hwloc)) != 0 ||
        hwloc_bitmap_copy(out_mask, complete) != 0)
        return topology_fail_sets();
    if (machine->this_machine && topology_get_mask(machine->hwloc, out_mask)) {
        // An XML file that claims to be this machine (HWLOC_THISSYSTEM) may share nothing with it.
        if (!hwloc_bitmap_intersects(out_usable, out_mask))
            return mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                            "the affinity mask has none of the processors of %s", machine->source);
        if (hwloc_bitmap_and(out_usable, out_usable, out_mask) != 0) return topology_fail_sets();
    }
    if (!cpuset) return MANTA_OK;

    hwloc_bitmap_t wanted = hwloc_bitmap_alloc();
    if (!wanted) return topology_fail_sets();
    manta_status_t status = MANTA_OK;
    if (!mti_cpuset_parse(cpuset, wanted))
        status = mti_fail(MANTA_ERR_INVALID_ARGUMENT,
                          "cpuset \"%s\" is not a list of processors like \"0-3,8\"", cpuset);
    else if (!hwloc_bitmap_intersects(out_usable, wanted))
        status = topology_fail_empty(machine, out_usable, cpuset);
    else if (hwloc_bitmap_and(out_usable, out_usable, wanted) != 0)
        status = topology_fail_sets();
    hwloc_bitmap_free(wanted);
    return status;
}

// A policy that the user chose (numactl) may forbid the very node that a worker would prefer.
static bool topology_may_bind_memory(const mti_topology_t *topology)
{
    if (!topology->this_machine) return false;
    const mti_topology_t *owner = mti_affinity_owner();
    if (owner) return owner->binds_memory; // the policy that this thread has is ours
    if (hwloc_get_nbobjs_by_type(topology->hwloc, HWLOC_OBJ_NUMANODE) < 2) return false;

    hwloc_bitmap_t nodes = hwloc_bitmap_alloc();
    if (!nodes) return false;
    hwloc_membind_policy_t policy = HWLOC_MEMBIND_DEFAULT;
    int result = hwloc_get_membind(topology->hwloc, nodes, &policy,
                                   HWLOC_MEMBIND_THREAD | HWLOC_MEMBIND_BYNODESET);
    hwloc_bitmap_free(nodes);
    return result == 0 && (policy == HWLOC_MEMBIND_DEFAULT || policy == HWLOC_MEMBIND_FIRSTTOUCH);
}

static void topology_set_limit(mti_topology_t *topology, const char *cgroup_root)
{
    topology->cpu_limit = topology->core_count;
    if (!topology->this_machine) return;
    int64_t quota_milli = mti_cgroup_quota_milli(cgroup_root);
    int64_t quota = quota_milli / 1000 + (quota_milli % 1000 != 0);
    if (quota >= topology->core_count) return;
    topology->quota_limited = true;
    topology->cpu_limit = quota < 1 ? 1 : (int)quota;
}

// ---- Create and destroy --------------------------------------------------------------------------

manta_status_t mti_topology_create(const mti_topology_options_t *options,
                                   mti_topology_t **out_topology)
{
    static const mti_topology_options_t defaults = {0};
    if (!options) options = &defaults;

    mti_machine_t machine;
    manta_status_t status = mti_machine_load(options, &machine);
    if (status != MANTA_OK) return status;

    mti_topology_t *topology = NULL;
    hwloc_bitmap_t usable = hwloc_bitmap_alloc(), mask = hwloc_bitmap_alloc();
    if (!usable || !mask) {
        status = topology_fail_sets();
        goto fail;
    }
    status = topology_find_usable(&machine, options->cpuset, usable, mask);
    if (status != MANTA_OK) goto fail;

    topology = topology_alloc_block(&options->allocator, &machine);
    if (!topology) {
        status =
            mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for the topology of %s", machine.source);
        goto fail;
    }
    topology_add_cores(topology, usable);
    if (topology->core_count == 0) { // a file whose sets name processors that it doesn't describe
        status =
            mti_fail(MANTA_ERR_INVALID_ARGUMENT, "no processor of %s may be used", machine.source);
        goto fail;
    }
    topology_add_memory_nodes(topology, usable);
    topology_fill_nodes(topology);
    topology->binds_memory = topology_may_bind_memory(topology);
    topology_set_limit(topology, options->cgroup_root);
    topology->original_mask = mask;
    hwloc_bitmap_free(usable);
    *out_topology = topology;
    return MANTA_OK;

fail:
    if (topology) mti_free(&options->allocator, topology, topology->block_size_bytes);
    hwloc_bitmap_free(mask);
    hwloc_bitmap_free(usable);
    hwloc_topology_destroy(machine.hwloc);
    return status;
}

void mti_topology_destroy(mti_topology_t *topology)
{
    if (!topology) return;
    hwloc_bitmap_free(topology->original_mask);
    hwloc_topology_destroy(topology->hwloc);
    manta_allocator_t allocator = topology->allocator;
    mti_free(&allocator, topology, topology->block_size_bytes);
}

// ---- Queries -------------------------------------------------------------------------------------

int mti_topology_core_count(const mti_topology_t *topology)
{
    return topology->core_count;
}
int mti_topology_node_count(const mti_topology_t *topology)
{
    return topology->node_count;
}
int mti_topology_package_count(const mti_topology_t *topology)
{
    return topology->package_count;
}
int mti_topology_pu_count(const mti_topology_t *topology)
{
    return topology->pu_count;
}
int mti_topology_l2_count(const mti_topology_t *topology)
{
    return topology->l2_count;
}
int mti_topology_l3_count(const mti_topology_t *topology)
{
    return topology->l3_count;
}

const mti_core_t *mti_topology_core(const mti_topology_t *topology, int index)
{
    return index < 0 || index >= topology->core_count ? NULL : &topology->cores[index];
}

const mti_node_t *mti_topology_node(const mti_topology_t *topology, int index)
{
    return index < 0 || index >= topology->node_count ? NULL : &topology->nodes[index];
}

int mti_topology_core_of_pu(const mti_topology_t *topology, int pu)
{
    for (int i = 0; i < topology->core_count; i++)
        for (int k = 0; k < topology->cores[i].smt_count; k++)
            if (topology->cores[i].pus[k] == pu) return i;
    return -1;
}

bool mti_topology_is_this_machine(const mti_topology_t *topology)
{
    return topology->this_machine;
}
int mti_topology_cpu_limit(const mti_topology_t *topology)
{
    return topology->cpu_limit;
}

bool mti_topology_is_quota_limited(const mti_topology_t *topology)
{
    return topology->quota_limited;
}

mti_distance_t mti_topology_distance(const mti_topology_t *topology, int core_a, int core_b)
{
    const mti_core_t *a = &topology->cores[core_a], *b = &topology->cores[core_b];
    if (core_a == core_b) return MTI_DISTANCE_SAME;
    if (a->l2 >= 0 && a->l2 == b->l2) return MTI_DISTANCE_L2;
    bool same_l3 = a->l3 >= 0 && a->l3 == b->l3;
    bool same_node = a->node == b->node;
    // First the package: with memory interleaved over packages by the BIOS they look like one node.
    if (a->package != b->package) return MTI_DISTANCE_MACHINE;
    if (same_l3 && same_node) return MTI_DISTANCE_L3;
    if (same_l3 || same_node) return MTI_DISTANCE_NODE;
    return MTI_DISTANCE_PACKAGE;
}

size_t mti_topology_steal_order(const mti_topology_t *topology, int core, int *out_cores)
{
    size_t count = 0;
    for (int distance = MTI_DISTANCE_L2; distance <= MTI_DISTANCE_MACHINE; distance++) {
        for (int step = 1; step < topology->core_count; step++) {
            int other = (core + step) % topology->core_count;
            if ((int)mti_topology_distance(topology, core, other) == distance)
                out_cores[count++] = other;
        }
    }
    return count;
}

// ---- Words for people ----------------------------------------------------------------------------

// A cursor over the caller's buffer that goes on counting when the room is used up.
typedef struct topology_text {
    char *buffer;
    size_t size;
    int length;
} topology_text_t;

__attribute__((format(printf, 2, 3))) static void topology_write(topology_text_t *text,
                                                                 const char *format, ...)
{
    size_t used = (size_t)text->length;
    bool room = used < text->size;
    va_list args;
    va_start(args, format);
    int written =
        vsnprintf(room ? text->buffer + used : NULL, room ? text->size - used : 0, format, args);
    va_end(args);
    if (written > 0) text->length += written;
}

static void topology_write_count(topology_text_t *text, int count, const char *noun)
{
    if (count > 0) topology_write(text, ", %d %s%s", count, noun, count == 1 ? "" : "s");
}

static void topology_write_bytes(topology_text_t *text, uint64_t bytes)
{
    if (bytes == 0) return;
    double gib = (double)bytes / (1024.0 * 1024.0 * 1024.0);
    if (gib >= 1024)
        topology_write(text, ", %.1f TiB", gib / 1024);
    else
        topology_write(text, ", %.1f GiB", gib);
}

int mti_topology_format(const mti_topology_t *topology, char *buffer, size_t size)
{
    topology_text_t text = {.buffer = buffer, .size = size};
    uint64_t memory_bytes = 0;
    for (int i = 0; i < topology->node_count; i++)
        memory_bytes += topology->nodes[i].memory_bytes;

    int model_length = (int)strlen(topology->model); // cpuid pads it with blanks
    while (model_length > 0 && topology->model[model_length - 1] == ' ')
        model_length--;
    if (model_length > 0) topology_write(&text, "%.*s: ", model_length, topology->model);
    topology_write(&text, "%d package%s", topology->package_count,
                   topology->package_count == 1 ? "" : "s");
    topology_write_count(&text, topology->node_count, "NUMA node");
    topology_write_count(&text, topology->l3_count, "L3 cache");
    topology_write_count(&text, topology->core_count, "core");
    if (topology->pu_count != topology->core_count)
        topology_write_count(&text, topology->pu_count, "hardware thread");
    topology_write_bytes(&text, memory_bytes);
    if (!topology->this_machine)
        topology_write(&text, "\nfrom %s, not this machine: nothing is bound", topology->source);
    if (topology->quota_limited)
        topology_write(&text, "\nat most %d worker%s: CPU quota of the control group",
                       topology->cpu_limit, topology->cpu_limit == 1 ? "" : "s");
    return text.length;
}
