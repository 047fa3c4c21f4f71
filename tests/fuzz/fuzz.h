// What the fuzzers share: taking values off the input, and memory that counts.
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

typedef struct fuzz_input {
    const uint8_t *at, *end;
} fuzz_input_t;

static inline uint64_t fuzz_number(fuzz_input_t *input, size_t bytes)
{
    uint64_t value = 0;
    for (; bytes > 0 && input->at < input->end; bytes--)
        value = value << 8 | *input->at++;
    return value;
}

// Up to the next newline or zero, as a string of its own; the caller frees it.
static inline char *fuzz_line(fuzz_input_t *input)
{
    const uint8_t *from = input->at;
    while (input->at < input->end && *input->at != '\n' && *input->at != 0)
        input->at++;
    size_t length = (size_t)(input->at - from);
    if (input->at < input->end) input->at++;
    char *text = malloc(length + 1);
    memcpy(text, from, length);
    text[length] = 0;
    return text;
}

#endif
