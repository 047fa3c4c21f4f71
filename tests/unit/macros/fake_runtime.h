// What the fake runtime saw last, for tests of how generated code calls the library.
#ifndef TESTS_UNIT_MACROS_FAKE_RUNTIME_H
#define TESTS_UNIT_MACROS_FAKE_RUNTIME_H

#include <manta/task.h>

#include <vector>

struct fake_last_t {
    const manta_task_def_t *task = nullptr;
    bool has_options = false;
    manta_task_options_t options = {};
    std::vector<unsigned char> args;
    size_t result_count = 0;
    size_t count = 0; // of a range
    size_t grain = 0;
    int scopes = 0; // entered and not left
};
extern fake_last_t fake_last;

#endif
