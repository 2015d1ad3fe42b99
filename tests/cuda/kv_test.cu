// The device cache's tests on a device; they skip where there is none.
#include <cuda_runtime.h>

#include "tests/cpp/cuda/device_cache_test.cc"

namespace {

class NeedsDevice : public testing::Environment {
 public:
  void SetUp() override {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) GTEST_SKIP() << "there is no CUDA device";
  }
};

[[maybe_unused]] const auto* const registered = testing::AddGlobalTestEnvironment(new NeedsDevice);

}  // namespace
