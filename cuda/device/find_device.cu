// Asks the driver. The host's twin is tests/cuda/host/find_device_host.cc.
#include "cuda/device/find_device.h"

#include <cuda_runtime.h>

#include "base/error.h"
#include "cuda/device/device.h"

namespace spectralkv::device {
namespace {

constexpr const char* kOtherwise = ", or stay on the CPU (-ngl 0, n_gpu_layers=0)";
constexpr int kOldest = 80;  // compute capability 8.0: Ampere

std::string version_text(int version) {
  return concat(version / 1000, ".", version % 1000 / 10);
}

}  // namespace

std::string require_device() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  static_cast<void>(cudaGetLastError());
  int driver = 0, runtime = 0;
  static_cast<void>(cudaDriverGetVersion(&driver));
  static_cast<void>(cudaRuntimeGetVersion(&runtime));
  check(driver > 0, "cuda", "no NVIDIA driver was found (libcuda.so.1): install one for CUDA ",
        version_text(runtime), kOtherwise);
  check(status != cudaErrorInsufficientDriver, "cuda", "the NVIDIA driver is for CUDA ", version_text(driver),
        ", this was built with ", version_text(runtime), ": install a newer driver", kOtherwise);
  check(status != cudaErrorNoDevice && (status != cudaSuccess || count > 0), "cuda",
        "the driver sees no GPU: look at nvidia-smi and CUDA_VISIBLE_DEVICES", kOtherwise);
  check(status == cudaSuccess, "cuda", "the driver answers: ", cudaGetErrorString(status), kOtherwise);

  cudaDeviceProp device{};
  cuda_check(cudaGetDeviceProperties(&device, 0), "asking for the device's properties");
  check(device.major * 10 + device.minor >= kOldest, "cuda", device.name, " has compute capability ",
        device.major, ".", device.minor, ", 8.0 (Ampere) or newer is needed: choose another GPU by ",
        "CUDA_VISIBLE_DEVICES", kOtherwise);
  return concat(device.name, ", ", (device.totalGlobalMem + (std::size_t{1} << 29)) >> 30, " GiB");
}

}  // namespace spectralkv::device
