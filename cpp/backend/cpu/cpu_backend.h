// The backend that runs everything on the CPU.
#pragma once

#include <memory>

#include "backend/backends.h"

namespace spectralkv {

std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options);

}  // namespace spectralkv
