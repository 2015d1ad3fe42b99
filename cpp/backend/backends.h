// The table of backends.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "backend/backend.h"

namespace spectralkv {

struct BackendOptions {
  int n_threads = 0;     // 0: one for each core of this process
  int n_gpu_layers = 0;  // 0: CPU; -1 or at least the number of layers: a GPU
  // Quantised weights meet activations in f32, which is slow, instead of 8 bits.
  bool f32_activations = false;
};

struct BackendRow {
  std::string_view name;  // Backend::description begins with it
  bool on_gpu;            // n_gpu_layers chooses
  // Whether this installation holds it; `make` may still find that the machine lacks what it needs.
  bool (*available)();
  // A value error says what is missing and what to do about it.
  std::unique_ptr<Backend> (*make)(const BackendOptions& options);
};

// The CPU, the reference for every other backend, comes first.
std::span<const BackendRow> backends();

// n_gpu_layers 0: the CPU; -1 or at least n_layers: the first one on a GPU that is available, an error where
// there is none; anything between is refused.
std::unique_ptr<Backend> make_backend(const BackendOptions& options, std::int64_t n_layers);

// For a load that checks names and shapes and computes nothing: takes weights without reading them.
std::unique_ptr<Backend> make_backend_without_weights();

}  // namespace spectralkv
