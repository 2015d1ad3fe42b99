// What cuda/device/device.h takes where nvcc does not compile: the host executor.
#pragma once

#include "tests/cuda/host/instructions.h"
#include "tests/cuda/host/runtime_host.h"
