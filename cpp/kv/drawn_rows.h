// Rows of a block that queries look at more than at the others: in some layers a few tokens of a text (often
// delimiters) draw a tenth of every query's attention, and an error in them is most of what a block costs.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "tensor/matrix.h"

namespace spectralkv {

class DrawnRows {
 public:
  static constexpr int kMost = 8;
  static constexpr double kAbove = 3;

  DrawnRows() = default;
  // Rows of keys [n, d] whose logit with one of the mean queries [group, d] (Calibration::queries) is above
  // the block's median by more than `above`, the `most` largest of them.
  DrawnRows(ConstMatrix keys, ConstMatrix queries, int most = kMost, double above = kAbove);

  // The one that draws most first.
  std::span<const std::uint16_t> rows() const { return std::span(rows_).first(static_cast<std::size_t>(n_)); }

 private:
  int n_ = 0;
  std::array<std::uint16_t, kMost> rows_{};
};

}  // namespace spectralkv
