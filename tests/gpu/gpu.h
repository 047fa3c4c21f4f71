// What tests on devices have in common.
#ifndef TESTS_GPU_GPU_H
#define TESTS_GPU_GPU_H

// 0 if tasks can run on a GPU here, real or virtual; else 77, which ctest takes for "skipped", and
// the reason on stdout.
int gpu_missing(void);

// The same for a real one: for code that calls CUDA's libraries.
int gpu_cuda_missing(void);

#endif
