// The backend that runs everything on the CPU.
#pragma once

#include <memory>

#include "backend/backends.h"

namespace spectralkv {

std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options);
// For a load that checks names and shapes and computes nothing: takes weights without reading them.
std::unique_ptr<Backend> make_backend_without_weights();

}  // namespace spectralkv
