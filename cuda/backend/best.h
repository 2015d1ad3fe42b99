// The best of many values on the device (ops/best.cuh), round by round.
#pragma once

#include <cstdint>
#include <span>
#include <utility>

#include "cuda/device/memory.h"

namespace spectralkv::cuda {

inline constexpr int kMostBest = 256;  // of them; each round leaves an eighth of the values at most

class Best {
 public:
  // Fills `out` with the best of values [n] and their places, highest first, equal ones by place; false where
  // `out` asks for more than the kernels give (kMostBest, or all) or a value is not finite.
  bool find(const float* values, std::int64_t n, std::span<std::pair<float, std::int32_t>> out,
            device::Stream stream);

 private:
  device::DeviceBuffer<std::uint64_t> keys_[2];
  device::DeviceBuffer<std::uint64_t> result_;  // the best, and not 0 behind them where a value is not finite
  device::PinnedBuffer<std::uint64_t> seen_{kMostBest + 1};
};

}  // namespace spectralkv::cuda
