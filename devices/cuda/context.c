#include "devices/cuda/cuda_impl.h"

#include "base/status.h"

#include <stdio.h>
#include <string.h>

// The device that this thread is bound to: its context is current, and need not be looked at.
// Between rebind and the next user code that is so.
static __thread const cuda_device_t *bound_device;

manta_status_t cuda_failed(cuda_device_t *device, CUresult result, const char *call)
{
    manta_status_t status = mti_cu_describe(device->api, result, call);
    if (mti_cu_severity(result) == MTI_CU_LOST && !cuda_is_lost(device)) {
        snprintf(device->lost_text, sizeof device->lost_text, "%s", manta_error_message());
        // release: publishes the text; pairs with cuda_is_lost
        mti_atomic_u32_store_release(&device->lost, 1);
    }
    return status;
}

static manta_status_t context_enter(cuda_device_t *device, cuda_scope_t *out_scope)
{
    *out_scope = (cuda_scope_t){NULL, false};
    if (bound_device == device) return MANTA_OK;
    MTI_CU_TRY(device, cuCtxGetCurrent(&out_scope->previous));
    if (out_scope->previous == device->context) return MANTA_OK;
    MTI_CU_TRY(device, cuCtxSetCurrent(device->context));
    out_scope->is_set = true;
    return MANTA_OK;
}

manta_status_t cuda_enter(cuda_device_t *device, cuda_scope_t *out_scope)
{
    if (MTI_UNLIKELY(mti_cu_forked())) return mti_cu_fail_forked();
    if (MTI_UNLIKELY(cuda_is_lost(device)))
        return mti_fail(MANTA_ERR_DEVICE_LOST, "%s is lost: %s", device->base.name,
                        device->lost_text);
    return context_enter(device, out_scope);
}

void cuda_make_sure(cuda_device_t *device)
{
    if (bound_device == device) device->strayed = cuda_rebind(&device->base);
}

manta_status_t cuda_enter_making(cuda_device_t *device, cuda_scope_t *out_scope)
{
    cuda_make_sure(device);
    return cuda_enter(device, out_scope);
}

bool cuda_had_strayed(cuda_device_t *device, CUresult result)
{
    if (bound_device != device ||
        (result != CUDA_ERROR_INVALID_CONTEXT && result != CUDA_ERROR_INVALID_HANDLE &&
         result != CUDA_ERROR_CONTEXT_IS_DESTROYED))
        return false;
    bool strayed = cuda_rebind(&device->base);
    device->strayed = strayed; // for who asks next
    return strayed;
}

void cuda_leave(cuda_device_t *device, const cuda_scope_t *scope)
{
    if (scope->is_set) MTI_CU_NOTE(device, cuCtxSetCurrent(scope->previous));
}

// ---- Binding -------------------------------------------------------------------------------------

void cuda_bind(mti_device_t *base, mti_bound_t *out_bound)
{
    cuda_device_t *device = cuda_device(base);
    CUcontext previous = NULL;
    out_bound->previous[1] = (void *)(uintptr_t)bound_device;
    bound_device = NULL;
    if (mti_cu_forked() || cuda_is_lost(device)) {
        // Nothing is bound, so that every call says why it can't work.
        out_bound->previous[0] = NULL;
        return;
    }
    MTI_CU_NOTE(device, cuCtxGetCurrent(&previous));
    out_bound->previous[0] = previous;
    (void)cuda_rebind(base);
}

bool cuda_rebind(mti_device_t *base)
{
    cuda_device_t *device = cuda_device(base);
    CUcontext current = NULL;
    bound_device = NULL;
    if (mti_cu_forked() || cuda_is_lost(device)) return false;
    MTI_CU_NOTE(device, cuCtxGetCurrent(&current));
    bool strayed = current != device->context, is_noted = device->strayed;
    device->strayed = false;
    if (strayed) {
        CUresult result = device->api->cuCtxSetCurrent(device->context);
        if (result != CUDA_SUCCESS) {
            (void)cuda_failed(device, result, "cuCtxSetCurrent(device->context)");
            return true;
        }
    }
    bound_device = device;
    return strayed || is_noted;
}

bool cuda_unbind(mti_device_t *base, const mti_bound_t *bound)
{
    cuda_device_t *device = cuda_device(base);
    bound_device = (const cuda_device_t *)bound->previous[1];
    if (mti_cu_forked()) return false;
    // Also on a lost device: the thread goes on with other work.
    CUcontext current = NULL;
    MTI_CU_NOTE(device, cuCtxGetCurrent(&current));
    if (current != bound->previous[0])
        MTI_CU_NOTE(device, cuCtxSetCurrent((CUcontext)bound->previous[0]));
    bool is_noted = device->strayed;
    device->strayed = false;
    return current != device->context || is_noted;
}
