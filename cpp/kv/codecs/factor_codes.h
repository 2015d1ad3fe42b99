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
#include "tensor/matrix.h"

namespace spectralkv {

inline constexpr std::size_t kMostComponents = 64;  // edge_window of any head dim is at most its square root

// One component, share * left * right^T.
struct CodedFactor {
  int width = 0;
  bool whole = false;
  std::uint16_t share = 0;                 // f16
  std::vector<std::uint16_t> left, right;  // codes, [n] and [d]
};

// The columns of a block by neighbours of one width, and products with the left ones or the right ones: each
// [d], d a multiple of 16, one behind the other from `codes` on. Levels and whole numbers are taken as they
// are; what a component stands for is factor_scales times the product of its two.
struct FactorRuns {
  struct Run {
    int first, count, width;
    std::size_t kernel;   // of simd::Kernels
    const float* levels;  // [2^width], null for whole numbers
  };
  int n = 0;
  std::array<Run, kMostComponents> list;  // n of them

  // along [m, rank] = x [m, d] times the columns.
  void multiply(const std::uint8_t* codes, ConstMatrix x, Matrix along) const;
  // out [m, d] += along [m, rank] times the columns.
  void mix(const std::uint8_t* codes, ConstMatrix along, Matrix out) const;
  // out [rank, d]: the columns as rows.
  void decode(const std::uint8_t* codes, Matrix out) const;
};

// out [rank]. shares: f16 [rank]; unit: of the block.
void factor_scales(SkvFactors factors, const std::uint16_t* shares, float unit, float* out);

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

  FactorRuns runs(SkvFactors factors) const;

 private:
  bool own_widths_;
  int plain_width_;
  std::array<const Codebook*, kMaxCodeBits + 1> books_{};  // by width, those that are used
};

}  // namespace spectralkv
