// What device_test does to the devices under the default runtime, from the inside. In a file of its own, because
// the runtime's headers and the macros for tasks don't go together.
#ifndef TESTS_FAULT_DEVICE_REACH_H
#define TESTS_FAULT_DEVICE_REACH_H

#include <cstdint>

#include <manta/status.h>

namespace fault
{

enum class Fault {
    kNone,      // takes back what is armed
    kMemory,    // the |nth| allocation of device memory from now on fails
    kOperation, // the |nth| operation that starts from now on fails with |code|
    kLose,      // the device is lost when the |nth| operation from now on starts
    kLoseNow,
    kOperations, // like kOperation, and so do all after it
};

// Only while nothing is under way on GPU |index|.
void inject(int index, Fault fault, uint32_t nth = 0, manta_status_t code = MANTA_ERR_IO);
// Keeps everybody from driving GPU |index| (on a virtual clock: any), or lets them again.
void hold_right(int index, bool held);
// Lets all queues of GPU |index| stand still, or go on.
void hold_queues(int index, bool held);
// How many tasks and fetches GPU |index| was given that are not complete.
uint32_t in_flight(int index);
// How many of them it was given that nobody has looked at yet.
uint32_t waiting(int index);

} // namespace fault

#endif
