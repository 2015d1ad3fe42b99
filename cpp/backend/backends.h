// The table of backends.
#pragma once

#include <memory>

#include "backend/backend.h"

namespace spectralkv {

// n_threads: 0 takes all processors. The CPU is the reference for every other backend.
std::unique_ptr<Backend> make_cpu_backend(int n_threads);

// n_gpu_layers 0: CPU; -1 or at least n_layers: CUDA, an error where there is none; anything between is
// refused.
std::unique_ptr<Backend> make_backend(int n_threads, int n_gpu_layers, std::int64_t n_layers);

}  // namespace spectralkv
