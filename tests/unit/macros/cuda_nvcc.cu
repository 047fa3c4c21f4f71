// The tasks of cuda_cc.cc through nvcc; launches by name go by the function there.
#include <manta/manta.h>
#undef MTI_LAUNCH
#define MTI_LAUNCH(kernel, ...) kernel##_launch(__VA_ARGS__)
#include "cuda_cc.cc"
