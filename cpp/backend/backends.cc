// Chooses a backend.
#include "backend/backends.h"

#include "base/error.h"

namespace spectralkv {

std::unique_ptr<Backend> make_backend(int n_threads, int n_gpu_layers, std::int64_t n_layers) {
  if (n_gpu_layers == 0) return make_cpu_backend(n_threads);
  check(n_gpu_layers == -1 || n_gpu_layers >= n_layers, "backend", "n_gpu_layers = ", n_gpu_layers,
        ": a part of the layers on the GPU is not supported; use 0, or -1 for all ", n_layers);
  fail(ErrorKind::value, "cuda", "built without CUDA: n_gpu_layers must be 0");
}

}  // namespace spectralkv
