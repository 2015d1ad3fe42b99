// Activations as products take them: in 8 bits or in 16, made once for all products that share them.
#pragma once

#include <cstdint>

#include "cuda/device/memory.h"
#include "cuda/ops/activations.cuh"
#include "tensor/matrix.h"

namespace spectralkv::cuda {

// Up to so many tokens products go straight from the planes, row by row, and other kernels round activations
// to 8 bits for them. Memory for that many is held from the first on, so that it never moves under a recorded
// graph.
inline constexpr std::int64_t kFewTokens = 4;

class Activations {
 public:
  explicit Activations(device::Stream stream) : stream_(stream) {}

  // Memory for the 8-bit form of rows that a kernel is about to write at x (n at most kFewTokens, cols a
  // multiple of 32); until `written` names that memory again, `quantised` knows it. What `quantised` gave
  // last can still be read by that kernel.
  QuantRows will_quantise(const float* x, std::int64_t n, std::int64_t cols);
  // Whether that needs no new memory.
  bool has_room(std::int64_t n, std::int64_t cols) const;
  // x [n, cols] in 8 bits, cols a multiple of 32.
  QuantRows quantised(ConstMatrix x);
  // x [n, cols] as f16 or bf16, rows without gaps.
  const std::uint16_t* narrow(ConstMatrix x, Narrow kind);
  // A kernel writes x [n, cols]: what was made of that memory no longer holds.
  void written(ConstMatrix x);
  void forget();

  std::int64_t bytes() const {
    std::size_t sum = narrow_.bytes();
    for (const Rounded& held : rounded_) sum += held.codes.bytes() + held.scales.bytes();
    return static_cast<std::int64_t>(sum);
  }

 private:
  struct Source {  // the f32 rows that a form was made of; of none while data is null
    const float* data = nullptr;
    std::int64_t rows = 0, cols = 0, stride = 0;
    bool holds(ConstMatrix x) const {
      return data == x.data && rows >= x.rows && cols == x.cols && (stride == x.stride || x.rows == 1);
    }
    bool overlaps(ConstMatrix x) const {
      return data != nullptr && x.data < data + rows * stride && data < x.data + x.rows * x.stride;
    }
  };
  // The other memory than that of what was rounded last.
  QuantRows room(std::int64_t rows, std::int64_t cols);
  QuantRows held() const { return {rounded_[turn_].codes.data(), rounded_[turn_].scales.data()}; }

  device::Stream stream_;
  // In turn: a launch can read one of them while it makes the next.
  struct Rounded {
    device::DeviceBuffer<std::int8_t> codes;
    device::DeviceBuffer<GroupScale> scales;
  };
  Rounded rounded_[2];
  int turn_ = 0;
  device::DeviceBuffer<std::uint16_t> narrow_;
  Source quantised_of_, narrow_of_;
  Narrow narrow_kind_ = Narrow::f16;
};

}  // namespace spectralkv::cuda
