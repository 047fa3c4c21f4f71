// In the place of CUDA's: emulated_test.cc says what is needed of it.
