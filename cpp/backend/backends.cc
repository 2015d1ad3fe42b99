// Chooses a backend.
#include "backend/backends.h"

#include "backend/cuda_library.h"
#include "base/error.h"

namespace spectralkv {

std::unique_ptr<Backend> make_backend(const BackendOptions& options, std::int64_t n_layers) {
  if (options.n_gpu_layers == 0) return make_cpu_backend(options);
  check(options.n_gpu_layers < 0 || options.n_gpu_layers >= n_layers, "backend",
        "n_gpu_layers = ", options.n_gpu_layers,
        ": a part of the layers on the GPU is not supported; use 0 for none, -1 (any negative number) or ",
        n_layers, " for all");
  return load_cuda_backend(options);
}

}  // namespace spectralkv
