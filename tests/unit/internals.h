// The runtime's own headers, which are C17, for tests in C++17.
#ifndef TESTS_UNIT_INTERNALS_H
#define TESTS_UNIT_INTERNALS_H

#include <cstddef>
#include <cstdint>
#include <cstdio>

#include <pthread.h>

#define _Alignas alignas
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
extern "C" {
#include "base/alloc.h"
#include "base/clock.h"
#include "base/fence.h"
#include "base/mutex.h"
#include "base/notify.h"
#include "base/status.h"
#include "base/thread.h"
#include "core/core.h"
#include "sched/sched.h"
#include "store/store.h"
}
#pragma GCC diagnostic pop
#undef _Alignas

#include "unit/failing.h"

#endif
