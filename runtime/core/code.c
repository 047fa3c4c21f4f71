// Code objects and kernels by name: a list that only grows. It starts with manta's own kernels.
//
// Writers hold the lock; readers don't. A code object is whole before it is published as the head of
// the list, and its |next| never changes. What changes later are two fields of a row: |twin|, from NULL
// to the twin that another object brought, and |row|, from NULL to where a launch must look instead.
#include "core/code.h"

#include "base/mutex.h"
#include "base/status.h"
#include "kernels/kernels.h"

#include <string.h>

static struct {
    mti_mutex_t lock; // writers
    manta_code_t *first;
    uint32_t count; // guarded by lock
} the_code = {MTI_MUTEX_INIT(MTI_RANK_CODE), &mti_kernels_code, 1};

// What |row| of a row says. A handle's |row| is the row that it found, NULL if it has not looked.
//   NULL         launches use this row
//   itself       ambiguous: two objects brought it
//   another row  that one has the device code
static manta_kernel_t *row_forward(const manta_kernel_t *row)
{
    return __atomic_load_n(&row->row, __ATOMIC_ACQUIRE); // acquire: the row that it points to
}

const manta_code_t *mti_code_first(void)
{
    // acquire: publishes the code object; pairs with the release in manta_code_register
    return __atomic_load_n(&the_code.first, __ATOMIC_ACQUIRE);
}

static manta_kernel_t *code_row(const manta_code_t *code, const char *name)
{
    for (uint32_t i = 0; i < code->kernel_count; i++) {
        if (strcmp(code->kernels[i].name, name) == 0) return &code->kernels[i];
    }
    return NULL;
}

// The row that launches of |name| use, or that says that they cannot.
static manta_kernel_t *code_find(const char *name)
{
    for (const manta_code_t *code = mti_code_first(); code; code = code->next) {
        manta_kernel_t *row = code_row(code, name);
        if (!row) continue;
        manta_kernel_t *other = row_forward(row);
        return other ? other : row;
    }
    return NULL;
}

const manta_kernel_t *mti_code_find(const char *name)
{
    return name ? code_find(name) : NULL;
}

static bool same_parameters(const manta_kernel_t *a, const manta_kernel_t *b)
{
    if (!a->arg_bytes || !b->arg_bytes) return true;
    return a->arg_count == b->arg_count &&
           (a->arg_count == 0 ||
            memcmp(a->arg_bytes, b->arg_bytes, a->arg_count * sizeof *a->arg_bytes) == 0);
}

static void row_forward_to(manta_kernel_t *row, manta_kernel_t *other)
{
    __atomic_store_n(&row->row, other, __ATOMIC_RELEASE); // release: |other| is filled in
}

// |row|, of an object that is about to be published, meets |old|, which launches of its name use.
static void row_join(manta_kernel_t *row, manta_kernel_t *old)
{
    bool both = row->code->image && old->code->image;
    if (both || row_forward(old) == old || !same_parameters(row, old)) {
        row_forward_to(row, old);
        row_forward_to(old, old);
    } else if (row->code->image) {
        if (!row->twin) row->twin = old->twin;
        row_forward_to(old, row);
    } else {
        row_forward_to(row, old);
        // release: code; pairs with the acquire in mti_code_resolve
        if (!old->twin) __atomic_store_n(&old->twin, row->twin, __ATOMIC_RELEASE);
    }
}

static bool code_is_known(const manta_code_t *code)
{
    for (const manta_code_t *c = mti_code_first(); c; c = c->next) {
        if (c == code) return true;
    }
    return false;
}

void manta_code_register(manta_code_t *code)
{
    if (!code) return;
    mti_mutex_lock(&the_code.lock);
    if (!code_is_known(code)) {
        for (uint32_t i = 0; i < code->kernel_count; i++) {
            manta_kernel_t *row = &code->kernels[i];
            row->code = code;
            row->row = NULL;
            manta_kernel_t *old = code_find(row->name);
            if (old) row_join(row, old);
        }
        code->index = the_code.count++;
        code->next = the_code.first;
        // release: publishes the object and its rows; pairs with mti_code_first
        __atomic_store_n(&the_code.first, code, __ATOMIC_RELEASE);
    }
    mti_mutex_unlock(&the_code.lock);
}

// ---- launches ------------------------------------------------------------------------------------

static manta_status_t check_parameters(const manta_kernel_t *kernel, const manta_kernel_t *row)
{
    if (!row->arg_bytes || !kernel->arg_bytes) return MANTA_OK;
    if (row->arg_count != kernel->arg_count) {
        return mti_fail(MANTA_ERR_TYPE_MISMATCH,
                        "kernel %s: launched with %u parameters, but %s has it with %u",
                        kernel->name, kernel->arg_count, row->code->name, row->arg_count);
    }
    for (uint32_t i = 0; i < row->arg_count; i++) {
        if (row->arg_bytes[i] == kernel->arg_bytes[i]) continue;
        return mti_fail(MANTA_ERR_TYPE_MISMATCH,
                        "kernel %s: parameter %u is launched with %u bytes, but %s has it with %u",
                        kernel->name, i + 1, kernel->arg_bytes[i], row->code->name,
                        row->arg_bytes[i]);
    }
    return MANTA_OK;
}

// The slow way, once per handle.
static manta_status_t resolve(manta_kernel_t *kernel, manta_kernel_t **out_row)
{
    manta_kernel_t *row = code_find(kernel->name);
    if (!row) {
        return mti_fail(MANTA_ERR_NOT_FOUND,
                        "kernel %s: none of the code objects of this program has it", kernel->name);
    }
    if (row_forward(row) == row) {
        return mti_fail(MANTA_ERR_ALREADY_EXISTS,
                        "kernel %s: several code objects bring it, %s is the first of them",
                        kernel->name, row->code->name);
    }
    manta_status_t status = check_parameters(kernel, row);
    if (status != MANTA_OK) return status;
    row_forward_to(kernel, row);
    *out_row = row;
    return MANTA_OK;
}

manta_status_t mti_code_resolve(manta_kernel_t *kernel, uint32_t arg_count,
                                const manta_kernel_t **out_row, manta_twin_fn_t *out_twin)
{
    if (!kernel || !kernel->name) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "a launch without a kernel, or its name");
    }
    if (arg_count != kernel->arg_count) {
        return mti_fail(MANTA_ERR_TYPE_MISMATCH, "kernel %s has %u parameters, and gets %u",
                        kernel->name, kernel->arg_count, arg_count);
    }
    manta_kernel_t *row = row_forward(kernel);
    if (!row || row_forward(row)) {
        manta_status_t status = resolve(kernel, &row);
        if (status != MANTA_OK) return status;
    }
    *out_row = row;
    *out_twin = __atomic_load_n(&row->twin, __ATOMIC_ACQUIRE); // acquire: its code, if just loaded
    return MANTA_OK;
}

manta_status_t manta_run_twin(manta_kernel_t *kernel, manta_grid_t grid, void *const *args,
                              uint32_t arg_count)
{
    const manta_kernel_t *row;
    manta_twin_fn_t twin;
    manta_status_t status = mti_code_resolve(kernel, arg_count, &row, &twin);
    if (status != MANTA_OK) return status;
    if (!args && arg_count) {
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "kernel %s: no arguments", kernel->name);
    }
    if (!twin) return mti_fail(MANTA_ERR_NOT_FOUND, "kernel %s has no CPU twin", kernel->name);
    if (grid.block[0] == 0 || grid.block[1] == 0 || grid.block[2] == 0) {
        return mti_fail(MANTA_ERR_OUT_OF_RANGE, "kernel %s: a block of %u x %u x %u threads",
                        kernel->name, grid.block[0], grid.block[1], grid.block[2]);
    }
    if (!mti_grid_is_empty(&grid)) twin(&grid, args);
    return MANTA_OK;
}
