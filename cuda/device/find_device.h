// Whether there is a GPU that the kernels run on.
#pragma once

#include <string>

namespace spectralkv::device {

// Names the first GPU, which is every thread's own (CUDA_VISIBLE_DEVICES chooses): "NVIDIA A100, 80 GiB". A
// value error says what is missing and what to do: driver, a newer driver, device, a newer device.
std::string require_device();

}  // namespace spectralkv::device
