// Sixteen rows of a quantised weight matrix, taken apart and packed as a panel (simd/panel_layout.h).
#pragma once

#include <cstdint>

#include "base/buffer.h"
#include "simd/panel_layout.h"
#include "tensor/matrix.h"

namespace spectralkv {

// What panels of a type are made of; its bits are 0 where the type has none.
simd::PanelForm panel_form_of(DType type);

// One thread's; its memory is kept from panel to panel.
class PanelPacker {
 public:
  // out: panel `panel` of w [rows, cols], panel_form_of(w.type).bytes(cols) bytes, for kernels whose steps
  // have so many columns (simd::Kernels::step_columns). Codes and whole numbers stay as they are, factors in
  // f16 become f16 under a power of two of their row.
  void pack(const WeightView& w, std::int64_t panel, int step_columns, std::uint8_t* out);
  std::int64_t bytes() const;

 private:
  Buffer<std::uint8_t> codes_;                           // [16, cols], rows pitch(cols) apart
  Buffer<float> scales_, minimums_;                      // [blocks], of one row
  Buffer<std::uint16_t> scale_halves_, minimum_halves_;  // [16, blocks], in units of their rows
  Buffer<std::int8_t> fine_;                             // [16, whole numbers of a row]
};

}  // namespace spectralkv
