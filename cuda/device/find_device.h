// Whether there is a GPU that the kernels run on.
#pragma once

#include <string>

namespace spectralkv::device {

// Makes the first GPU (CUDA_VISIBLE_DEVICES chooses) this thread's, and names it: "NVIDIA H200, 139 GiB". A
// value error says what is missing and what to do: driver, a newer driver, device, a newer device.
std::string require_device();

// For each thread that works with the GPU: makes the same one its own.
void use_device();

}  // namespace spectralkv::device
