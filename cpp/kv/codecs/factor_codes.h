// How the columns of a block's low-rank part are stored: a width for each component, codes, and what they
// stand for.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "formats/coded_block.h"
#include "quant/factor_math.h"
#include "quant/lloyd_max.h"
#include "simd/kernels.h"
#include "tensor/matrix.h"

namespace spectralkv {

// One component, share * left * right^T.
struct CodedFactor {
  int width = 0;
  bool whole = false;
  std::uint16_t share = 0;                 // f16
  std::vector<std::uint16_t> left, right;  // codes, [n] and [d]
};

class FactorCodes {
 public:
  // bits: of every entry, 1 to 8; 0: each component as many as it needs.
  explicit FactorCodes(int bits);

  bool own_widths() const { return own_widths_; }
  // Of a block that names no widths. Where components have their own, blocks that need no other width than
  // this one name none, as those of version 0.1.0 did.
  int plain_width() const { return plain_width_; }
  int most_width() const { return own_widths_ ? kMostFactorWidth : plain_width_; }
  bool knows_width(int width) const;

  // size * left right^T, left [n] and right [d] unit vectors, as codes: of plain_width, or of the smallest
  // width whose error, size^2 (|left - stored|^2 + |right - stored|^2), is at most `allowed`, the largest if
  // none is.
  CodedFactor encode(std::span<const float> left, std::span<const float> right, double size,
                     double allowed) const;

  // Columns of stored components as rows: left [rank, n' or fewer], times their share and `unit`; right
  // [rank, d]. d: codes of a column, a multiple of 16; bytes: its bytes a bit of width; shares: f16 [rank],
  // or null.
  void decode(SkvFactors factors, const std::uint8_t* codes, std::size_t bytes, std::int64_t d,
              const std::uint16_t* shares, float unit, float* out) const;

 private:
  bool own_widths_;
  int plain_width_;
  std::array<const Codebook*, kMaxCodeBits + 1> books_{};  // by width, those that are used
};

}  // namespace spectralkv
