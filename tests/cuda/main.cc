// Runs the tests on the GPU, or skips all of them and says why.
#include <gtest/gtest.h>

#include "base/error.h"
#include "cuda/device/find_device.h"

namespace {

class NeedsDevice : public testing::Environment {
 public:
  void SetUp() override {
    try {
      std::printf("GPU: %s\n", spectralkv::device::require_device().c_str());
    } catch (const spectralkv::Error& e) {
      GTEST_SKIP() << e.what();
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  testing::AddGlobalTestEnvironment(new NeedsDevice);  // GoogleTest owns it
  return RUN_ALL_TESTS();
}
