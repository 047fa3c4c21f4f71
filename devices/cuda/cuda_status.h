// What the CUDA driver says, as statuses of manta, at the line of the call and with the call's text.
#ifndef MTI_DEVICES_CUDA_STATUS_H
#define MTI_DEVICES_CUDA_STATUS_H

#include "devices/cuda/cuda_api.h"

// What a failed call leaves behind.
typedef enum mti_cu_severity {
    MTI_CU_NOTHING = 0, // CUDA_SUCCESS, or CUDA_ERROR_NOT_READY, which is an answer
    MTI_CU_CALL,        // this call did nothing; everything else goes on
    MTI_CU_LOST,        // the context is gone: every later call on the device fails the same way
} mti_cu_severity_t;
mti_cu_severity_t mti_cu_severity(CUresult result);

// The status that |result| is for users. Without a message.
manta_status_t mti_cu_code(CUresult result);

// Sets the thread's message to "|call|: CUDA_ERROR_X (n), what the driver says to that" and gives
// mti_cu_code(|result|) back. |result| is not CUDA_SUCCESS.
manta_status_t mti_cu_describe(const mti_cu_api_t *api, CUresult result, const char *call);

// MANTA_ERR_FORKED with its message.
manta_status_t mti_cu_fail_forked(void);

#endif
