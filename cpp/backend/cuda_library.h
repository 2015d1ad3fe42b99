// The CUDA backend's library: found and loaded when somebody asks for the GPU.
#pragma once

#include <memory>

#include "backend/backends.h"

namespace spectralkv {

// Whether there is libspectralkv_cuda.so: the file that the variable SPECTRALKV_CUDA_LIBRARY names, else the
// one beside the program or Python module that holds this function, else ../lib from there.
bool has_cuda_library();
// Loads it; it stays loaded. A value error says what is missing (built without CUDA, library, CUDA's own
// libraries, driver, device) and what to do about it.
std::unique_ptr<Backend> load_cuda_backend(const BackendOptions& options);

}  // namespace spectralkv
