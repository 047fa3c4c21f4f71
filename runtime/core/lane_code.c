// Kernels on a device: code objects are loaded when the device is opened, later ones when a launch asks.
#include "core/lane_impl.h"

#include <manta/kernel.h>

#include <stdio.h>

static_assert(sizeof(manta_grid_t) == sizeof(mti_launch_shape_t) &&
                  offsetof(manta_grid_t, block) == offsetof(mti_launch_shape_t, block) &&
                  offsetof(manta_grid_t, shared_bytes) ==
                      offsetof(mti_launch_shape_t, shared_bytes),
              "a twin gets the one for the other");

// Loads what |code| brings to the device: every kernel that launches look up there.
static manta_status_t code_load(mti_lane_t *lane, const manta_code_t *code)
{
    bool runs_twins = mti_device_can(lane->device, MTI_CAP_HOST_FN);
    if (!code->image && !runs_twins) return MANTA_OK;
    size_t bytes = sizeof(mti_lane_code_t) +
                   code->kernel_count * (sizeof(mti_kernel_desc_t) + sizeof(manta_kernel_t *));
    mti_lane_code_t *loaded = mti_alloc_zeroed(&lane->lanes->allocator, bytes, 16);
    if (!loaded) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "no memory for the code %s", code->name);
    loaded->bytes = bytes;
    loaded->rows = (const manta_kernel_t **)(void *)&loaded->kernels[code->kernel_count];
    uint32_t n = 0;
    for (uint32_t i = 0; i < code->kernel_count; i++) {
        const manta_kernel_t *row = &code->kernels[i];
        // acquire: pairs with the registration that made another row the one to use
        if (__atomic_load_n(&row->row, __ATOMIC_ACQUIRE)) continue;
        if (mti_device_kernel(lane->device, row->name)) continue; // with its twin, before
        loaded->rows[n] = row;
        loaded->kernels[n++] =
            (mti_kernel_desc_t){.name = row->name,
                                .symbol = row->symbol,
                                .param_bytes = row->arg_bytes,
                                .param_count = row->arg_count,
                                .max_block_threads = row->max_block_threads,
                                // The one for the other: same layout, asserted above.
                                .twin = (mti_kernel_twin_fn_t)(void (*)(void))__atomic_load_n(
                                    &row->twin, __ATOMIC_ACQUIRE)};
    }
    loaded->code = (mti_code_t){.name = code->name,
                                .blob = code->image,
                                .blob_bytes = code->image_bytes,
                                .kernels = loaded->kernels,
                                .kernel_count = n};
    manta_status_t status = n ? mti_device_code_load(lane->device, &loaded->code) : MANTA_OK;
    if (status != MANTA_OK || n == 0) {
        mti_free(&lane->lanes->allocator, loaded, bytes);
        return status;
    }
    loaded->next = lane->loaded;
    lane->loaded = loaded;
    return MANTA_OK;
}

// |code| could not be loaded, as this thread's message says. Without memory for that only the reason is forgotten.
static void code_note(mti_lane_t *lane, const manta_code_t *code, manta_status_t status)
{
    mti_lane_unloaded_t *note = mti_alloc(&lane->lanes->allocator, sizeof *note, 16);
    if (!note) return;
    *note = (mti_lane_unloaded_t){.next = lane->unloaded, .code = code, .status = status};
    snprintf(note->text, sizeof note->text, "%s", manta_error_message());
    lane->unloaded = note;
}

void mti_lane_load_code(mti_lane_t *lane)
{
    const manta_code_t *first = mti_code_first();
    uint32_t seen = lane->code_seen;
    for (const manta_code_t *code = first; code && code->index >= seen; code = code->next) {
        manta_status_t status = code_load(lane, code);
        if (status != MANTA_OK) code_note(lane, code, status);
    }
    if (first) lane->code_seen = first->index + 1;
}

// |code| is not on the device. Says why, or loads it if it was memory that was missing.
static manta_status_t code_again(mti_lane_t *lane, const manta_code_t *code)
{
    mti_lane_unloaded_t **at = &lane->unloaded;
    while (*at && (*at)->code != code)
        at = &(*at)->next;
    mti_lane_unloaded_t *note = *at;
    if (!note) return MANTA_OK;
    manta_status_t status = note->status;
    bool again = status == MANTA_ERR_OUT_OF_MEMORY || status == MANTA_ERR_RESOURCE_EXHAUSTED;
    if (!again) return mti_fail(status, "%s", note->text);
    status = code_load(lane, code);
    if (status != MANTA_OK) return status;
    *at = note->next;
    mti_free(&lane->lanes->allocator, note, sizeof *note);
    return MANTA_OK;
}

manta_status_t mti_lane_kernel(mti_lane_t *lane, const manta_kernel_t *row, manta_twin_fn_t twin,
                               const mti_kernel_t **out_kernel)
{
    manta_status_t status = MANTA_OK;
    const manta_code_t *first = mti_code_first();
    if (first && first->index >= lane->code_seen) mti_lane_load_code(lane);
    const mti_kernel_t *kernel = mti_device_kernel(lane->device, row->name);
    if (!kernel) {
        status = code_again(lane, row->code);
        if (status == MANTA_OK) kernel = mti_device_kernel(lane->device, row->name);
    }
    *out_kernel = kernel;
    if (!kernel && status == MANTA_OK) {
        status = mti_fail(MANTA_ERR_NOT_FOUND, "%s has none for device %s", row->code->name,
                          lane->device->name);
    }
    // A twin that was registered after the code was loaded.
    for (mti_lane_code_t *loaded = lane->loaded; kernel && twin && !kernel->desc->twin && loaded;
         loaded = loaded->next) {
        for (uint32_t i = 0; i < loaded->code.kernel_count; i++)
            if (&loaded->kernels[i] == kernel->desc)
                loaded->kernels[i].twin = (mti_kernel_twin_fn_t)(void (*)(void))twin;
    }
    return kernel ? MANTA_OK : mti_fail_note(status, "kernel %s", row->name);
}

void mti_lane_forget_code(mti_lane_t *lane)
{
    for (mti_lane_code_t *loaded; (loaded = lane->loaded) != NULL;) {
        lane->loaded = loaded->next;
        mti_free(&lane->lanes->allocator, loaded, loaded->bytes);
    }
    for (mti_lane_unloaded_t *note; (note = lane->unloaded) != NULL;) {
        lane->unloaded = note->next;
        mti_free(&lane->lanes->allocator, note, sizeof *note);
    }
}
