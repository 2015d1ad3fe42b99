// How long the parts of forward passes took, and what they read.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace spectralkv {

// append: taking keys and values into the cache, sealing of blocks included.
enum class Stage { matmul, append, attention, elementwise };
inline constexpr std::array<const char*, 4> kStageNames = {"matmul", "append", "attention", "elementwise"};

struct Stages {
  std::array<double, kStageNames.size()> seconds{};
  std::int64_t weight_bytes =
      0;  // of all matmuls: a forward pass reads a weight once, however many its tokens

  // False: a backend whose parts run later than they are asked for, and side by side, has no times of them.
  bool timed() const {
    for (const double s : seconds)
      if (s > 0) return true;
    return false;
  }
  double& operator[](Stage stage) { return seconds[static_cast<std::size_t>(stage)]; }
};

// Adds the time from here to the end of its scope to a stage.
class StageClock {
 public:
  StageClock(Stages& stages, Stage stage) : seconds_(stages[stage]) {}
  ~StageClock() { seconds_ += std::chrono::duration<double>(Clock::now() - start_).count(); }
  StageClock(const StageClock&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  double& seconds_;
  Clock::time_point start_ = Clock::now();
};

}  // namespace spectralkv
