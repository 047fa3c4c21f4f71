#include "base/refusal.h"

bool (*mti_refusal_hook)(mti_refusal_t what);
