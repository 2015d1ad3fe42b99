// A quantised weight matrix rearranged for the 8-bit kernels (simd/panel_layout.h).
#pragma once

#include "base/buffer.h"
#include "base/threads.h"
#include "tensor/matrix.h"

namespace spectralkv {

class Panels final : public UploadedWeight {
 public:
  // Whether a weight type has panels: every quantised one.
  static bool possible(DType type);
  // Rearranges w [rows, cols]: codes and whole numbers stay as they are, factors in f16 become f16 under a
  // power of two of their row. Memory: the size of the weights, or a little more.
  Panels(const WeightView& w, ThreadPool& pool);

  std::int64_t count() const { return count_; }  // of 16 rows
  const std::uint8_t* panel(std::int64_t i) const { return data_.data() + i * panel_bytes_; }
  int offset() const { return offset_; }  // the code of zero, for types without minimums
  std::int64_t bytes() const { return static_cast<std::int64_t>(data_.bytes()); }

 private:
  Buffer<std::uint8_t> data_;
  std::int64_t count_ = 0, panel_bytes_ = 0;
  int offset_ = 0;
};

// Those of w, which a CPU backend uploaded; null where it has none.
inline const Panels* panels_of(const WeightView& w) {
  return static_cast<const Panels*>(w.uploaded);
}

}  // namespace spectralkv
