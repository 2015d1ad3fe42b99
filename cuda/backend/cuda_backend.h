// The backend that runs everything on one GPU.
#pragma once

#include <memory>

#include "backend/backends.h"

namespace spectralkv::cuda {

// A value error says why there is no GPU that can be used (device/find_device.h).
std::unique_ptr<Backend> make_backend(const BackendOptions& options);

}  // namespace spectralkv::cuda
