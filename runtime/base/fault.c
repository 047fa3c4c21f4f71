#include "base/fault.h"

bool (*mti_fault_hook)(mti_fault_t what);
