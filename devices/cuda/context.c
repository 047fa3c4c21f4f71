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

// Twice if need be: ours would stay behind on a thread that goes on with other work.
static void context_restore(cuda_device_t *device, CUcontext previous)
{
    if (device->api->cuCtxSetCurrent(previous) != CUDA_SUCCESS)
        MTI_CU_NOTE(device, cuCtxSetCurrent(previous));
}

void cuda_leave(cuda_device_t *device, const cuda_scope_t *scope)
{
    if (scope->is_set) context_restore(device, scope->previous);
}

// The current context; |fallback| if it can't be asked, and then |*out_known| is false.
static CUcontext context_current(cuda_device_t *device, CUcontext fallback, bool *out_known)
{
    CUcontext current = fallback;
    CUresult result = device->api->cuCtxGetCurrent(&current);
    *out_known = result == CUDA_SUCCESS;
    if (result == CUDA_SUCCESS) return current;
    (void)cuda_failed(device, result, "cuCtxGetCurrent(&current)");
    return fallback;
}

// ---- Binding -------------------------------------------------------------------------------------

void cuda_bind(mti_device_t *base, mti_bound_t *out_bound)
{
    cuda_device_t *device = cuda_device(base);
    bool is_known;
    out_bound->previous[1] = (void *)(uintptr_t)bound_device;
    bound_device = NULL;
    if (mti_cu_forked() || cuda_is_lost(device)) {
        // Nothing is bound, so that every call says why it can't work.
        out_bound->previous[0] = NULL;
        return;
    }
    out_bound->previous[0] = context_current(device, NULL, &is_known);
    (void)cuda_rebind(base);
}

bool cuda_rebind(mti_device_t *base)
{
    cuda_device_t *device = cuda_device(base);
    bool is_known;
    bound_device = NULL;
    if (mti_cu_forked() || cuda_is_lost(device)) return false;
    CUcontext current = context_current(device, device->context, &is_known);
    bool strayed = current != device->context, is_noted = device->strayed;
    device->strayed = false;
    if (!is_known || strayed) {
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
    // Also on a lost device: the thread goes on with other work. If it can't be asked the thread is set right, too.
    bool is_known;
    CUcontext current = context_current(device, device->context, &is_known);
    CUcontext previous = (CUcontext)bound->previous[0];
    if (!is_known || current != previous) context_restore(device, previous);
    bool is_noted = device->strayed;
    device->strayed = false;
    return current != device->context || is_noted;
}
