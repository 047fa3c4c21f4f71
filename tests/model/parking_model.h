// Between parking_test.cc and parking_model.c.
#ifndef TESTS_MODEL_PARKING_MODEL_H
#define TESTS_MODEL_PARKING_MODEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

void parking_make(int workers, int pushers, uint32_t entries);
void parking_worker(int index); // until |entries| have run
void parking_push(int pusher, uint64_t entry);
void parking_push_job(uint64_t entry);
uint32_t parking_left(void);
// The test's.
void parking_ran(uint64_t entry);
void parking_name(const void *at, size_t bytes, const char *what);

#ifdef __cplusplus
}
#endif

#endif
