// Everything that a user of manta needs, but for CUDA interop (cuda.h).
#ifndef MANTA_MANTA_H
#define MANTA_MANTA_H

#include <manta/actor.h>
#include <manta/detail/actor.h>
#include <manta/detail/generator.h>
#include <manta/device.h>
#include <manta/kernel.h>
#include <manta/macros.h>
#include <manta/object.h>
#include <manta/runtime.h>
#include <manta/status.h>
#include <manta/task.h>
#include <manta/topology.h>
#include <manta/version.h>

#endif
