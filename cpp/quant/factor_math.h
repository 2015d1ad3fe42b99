// What the host and a CUDA device share of storing the columns of a low-rank part: how wide a component is,
// and its whole numbers.
//
// A component's columns at b bits err by D_b of their energy each, so the stored low-rank part misses about
// size^2 2 D_b, which the residual has to carry. A bit more for the component costs n + d bits, a bit more
// for the residual n d: for a given size the error is least where size^2 2 D_b equals the residual's energy
// times (n + d) / (n d). `allowed` says so, and the width is the first that gets there.
#pragma once

#include <cmath>
#include <cstdint>

#include "base/half.h"
#include "base/host_device.h"
#include "formats/coded_block.h"
#include "quant/code_math.h"

namespace spectralkv {

// The widths that a component of its own width may have: Gaussian codebooks, from kSkvWholeWidth on whole
// numbers.
inline constexpr int kLeastFactorWidth = 2, kMostFactorWidth = 16;
// Of blocks whose components need no other: they name no widths, and are what version 0.1.0 wrote.
inline constexpr int kPlainFactorWidth = 3;
SKV_HD constexpr int wider_factor(int width) {  // 2, 3, 4, 5, 6, 8, 10, 12, 16
  return width < 6 ? width + 1 : width < 12 ? width + 2 : kMostFactorWidth;
}

// What a component's columns may miss: twice the optimum, so that widths, which rise by a bit or more, lie
// around it. residual: the energy of what the low-rank part leaves, or in an open loop, where nothing takes
// up what columns miss, of the residual's own error.
SKV_HD inline double allowed_factor_error(double residual, double n, double d) {
  return 2 * residual * (n + d) / (n * d);
}

struct QuantizedColumn {
  std::uint16_t scale = 0;  // f16, saturating; 0 for a column of zeros
  double error = 0;         // |column - scale levels|^2, with a scale that is not rounded
};
// Of a column whose codes are chosen: its squares, its product with their levels, and the levels' squares.
SKV_HD inline QuantizedColumn quantized_column(double squares, double along, double length) {
  const double error = squares - along * along / length;
  return {saturating_f16(along / length), error > 0 ? error : 0.0};
}

// The first width with a codebook at which a component of that energy errs by at most `allowed`; 0: none.
// distortion(width): the codebook's; quantise(width): both columns, returns the sum of their errors.
template <class Distortion, class Quantise>
SKV_HD inline int codebook_width(double energy, double allowed, const Distortion& distortion,
                                 const Quantise& quantise) {
  for (int width = kLeastFactorWidth; width < kSkvWholeWidth; width = wider_factor(width)) {
    // Two columns of normal numbers err by twice this: a half of it is out of reach.
    if (energy * distortion(width) > allowed) continue;
    if (energy * quantise(width) <= allowed) return width;
  }
  return 0;
}

// What whole numbers of a width lie within.
SKV_HD constexpr int largest_whole(int width) {
  return (1 << (width - 1)) - 1;
}
// |column - stored|^2 where a column of n / unit is rounded to whole numbers: uniform errors in a step.
SKV_HD inline double rounding_error(double unit, int n) {
  return unit * unit / 12 * static_cast<double>(n);
}

// The first width of whole numbers at which a component errs by at most `allowed`, the largest if none does.
// top: the largest magnitudes of its columns of n and of d.
SKV_HD inline int whole_width(double energy, double allowed, double top_left, int n, double top_right,
                              int d) {
  int width = kSkvWholeWidth;
  while (width < kMostFactorWidth) {
    const double most = largest_whole(width);
    if (energy * (rounding_error(top_left / most, n) + rounding_error(top_right / most, d)) <= allowed) break;
    width = wider_factor(width);
  }
  return width;
}

// A component in whole numbers: the columns' units, and what their product is to be multiplied with.
struct WholeComponent {
  std::uint16_t share;  // f16
  double unit_left, unit_right;
};
// The share is rounded up; the left column's unit takes back what that adds, so that the product is as exact
// as the codes are.
SKV_HD inline WholeComponent whole_component(double size, double top_left, double top_right, int width) {
  const double most = largest_whole(width), middle = 1 << (width - 1);
  WholeComponent whole;
  whole.unit_right = top_right / most;
  const double wanted = size * (top_left / most) * whole.unit_right * middle * middle;
  whole.share = saturating_f16(wanted);
  if (static_cast<double>(skv_f16_to_f32(whole.share)) < wanted && whole.share < 0x7bff) ++whole.share;
  const double shared = size * whole.unit_right * middle * middle;
  whole.unit_left = shared > 0 ? static_cast<double>(skv_f16_to_f32(whole.share)) / shared : 0;
  return whole;
}
SKV_HD inline std::uint16_t whole_code(float value, double unit, int width) {
  const int middle = 1 << (width - 1), most = largest_whole(width);
  const int whole = unit > 0 ? static_cast<int>(nearbyint(static_cast<double>(value) / unit)) : 0;
  return static_cast<std::uint16_t>(middle + (whole < -most ? -most : most < whole ? most : whole));
}

}  // namespace spectralkv
