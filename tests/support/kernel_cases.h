// Calls of manta's kernels at awkward sizes, with all their memory: for whatever can run a kernel, to be
// held against the CPU twin.
#ifndef TESTS_SUPPORT_KERNEL_CASES_H
#define TESTS_SUPPORT_KERNEL_CASES_H

#include <manta/kernels.h>

#include <cstdint>
#include <string>
#include <vector>

enum class element_kind { bytes, f32, f64 };

struct kernel_buffer {
    std::vector<unsigned char> bytes;
    element_kind kind = element_kind::bytes;
    bool compared = true; // false: what is in it afterwards is open
};

// A parameter: a scalar by its bytes, or the address of a buffer.
struct kernel_arg {
    std::vector<unsigned char> scalar;
    int buffer = -1;
};

enum { KERNEL_BUFFERS = 5 };

struct kernel_case {
    std::string what;
    manta_kernel_t *kernel;
    manta_grid_t grid;
    std::vector<kernel_arg> args;
    std::vector<kernel_buffer> buffers; // at most KERNEL_BUFFERS
    double tolerance = 0;               // 0: the same bits as the twin
};

std::vector<kernel_case> kernel_cases();

// Pointers to the values of the parameters, as launches take them; |addresses| are those of the buffers.
// The pointers live as long as |storage|.
struct kernel_args {
    std::vector<void *> pointers;
    std::vector<void *> addresses;
};
kernel_args kernel_args_of(kernel_case *c, std::vector<void *> addresses);

// Runs the twin over the buffers of |c|.
manta_status_t kernel_case_run_twin(kernel_case *c);

// "" if all buffers of |got| are what |expected| has, else where and how they differ.
std::string kernel_case_difference(const kernel_case &got, const kernel_case &expected);

#endif
