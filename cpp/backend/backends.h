// The table of backends.
#pragma once

#include <memory>

#include "backend/backend.h"

namespace spectralkv {

struct BackendOptions {
  int n_threads = 0;     // 0: all processors of this process
  int n_gpu_layers = 0;  // 0: CPU; -1 or at least the number of layers: CUDA
  // Quantised weights meet activations in f32, which is slow, instead of 8 bits.
  bool f32_activations = false;
};

// The CPU is the reference for every other backend.
std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options);

// n_gpu_layers 0: CPU; -1 or at least n_layers: CUDA, an error where there is none; anything between is
// refused.
std::unique_ptr<Backend> make_backend(const BackendOptions& options, std::int64_t n_layers);

}  // namespace spectralkv
