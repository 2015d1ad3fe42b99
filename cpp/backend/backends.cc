// The rows, and the choice among them.
#include "backend/backends.h"

#include <array>

#include "backend/cpu/cpu_backend.h"
#include "backend/cuda_library.h"
#include "base/error.h"

namespace spectralkv {
namespace {

constexpr std::array kTable = {
    BackendRow{"cpu", false, [] { return true; }, make_cpu_backend},
    BackendRow{"cuda", true, has_cuda_library, load_cuda_backend},
};

// Where none is available, the first: it says why.
const BackendRow& chosen(bool on_gpu) {
  const BackendRow* first = nullptr;
  for (const BackendRow& row : kTable) {
    if (row.on_gpu != on_gpu) continue;
    if (row.available()) return row;
    if (first == nullptr) first = &row;
  }
  return *first;
}

}  // namespace

std::span<const BackendRow> backends() {
  return kTable;
}

std::unique_ptr<Backend> make_backend(const BackendOptions& options, std::int64_t n_layers) {
  const int n = options.n_gpu_layers;
  check(n <= 0 || n >= n_layers, "backend", "n_gpu_layers = ", n,
        ": a part of the layers on the GPU is not supported; use 0 for none, -1 (any negative number) or ",
        n_layers, " for all");
  return chosen(n != 0).make(options);
}

}  // namespace spectralkv
