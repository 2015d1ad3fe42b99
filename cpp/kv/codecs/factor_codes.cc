// Codes and columns of factor_codes.h. How widths are chosen: quant/factor_math.h.
#include "kv/codecs/factor_codes.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "base/half.h"
#include "kv/codecs/shared_tables.h"
#include "quant/code_math.h"
#include "quant/factors.h"
#include "simd/dispatch.h"

namespace spectralkv {
namespace {

constexpr int kMostRank = 64;  // edge_window of any head dim is at most its square root

// The value of the code 1 above the middle.
constexpr float whole_unit(int width) {
  return 1.0f / static_cast<float>(1 << (width - 1));
}

float largest(std::span<const float> column) {
  float top = 0;
  for (const float x : column) top = std::max(top, std::fabs(x));
  return top;
}

void round_column(std::span<const float> column, double unit, int width, std::vector<std::uint16_t>& codes) {
  codes.resize(column.size());
  for (std::size_t i = 0; i < column.size(); ++i) codes[i] = whole_code(column[i], unit, width);
}

}  // namespace

FactorCodes::FactorCodes(int bits)
    : own_widths_(bits == 0), plain_width_(bits == 0 ? kLeastFactorWidth : bits) {
  for (int width = 1; width <= kMaxCodeBits; ++width)
    if (width == plain_width_ || (knows_width(width) && width < kSkvWholeWidth))
      books_[static_cast<std::size_t>(width)] = &shared_gaussian_codebook(width);
}

bool FactorCodes::knows_width(int width) const {
  int known = kLeastFactorWidth;
  while (known < width && known < kMostFactorWidth) known = wider_factor(known);
  return own_widths_ && width == known;
}

CodedFactor FactorCodes::encode(std::span<const float> left, std::span<const float> right, double size,
                                double allowed) const {
  CodedFactor coded;
  const auto by_codebook = [&](int width) {  // returns the columns' errors
    const Codebook& book = *books_[static_cast<std::size_t>(width)];
    const QuantizedColumn a = quantize_factor(left, book, coded.left),
                          b = quantize_factor(right, book, coded.right);
    coded.width = width;
    coded.share = saturating_f16(size * static_cast<double>(skv_f16_to_f32(a.scale)) *
                                 static_cast<double>(skv_f16_to_f32(b.scale)));
    return a.error + b.error;
  };
  if (!own_widths_) {
    by_codebook(plain_width_);
    return coded;
  }
  const double energy = size * size;
  const auto distortion = [this](int width) { return books_[static_cast<std::size_t>(width)]->distortion; };
  if (codebook_width(energy, allowed, distortion, by_codebook) != 0) return coded;
  const auto top_left = static_cast<double>(largest(left)), top_right = static_cast<double>(largest(right));
  coded.whole = true;
  coded.width = whole_width(energy, allowed, top_left, static_cast<int>(left.size()), top_right,
                            static_cast<int>(right.size()));
  const WholeComponent whole = whole_component(size, top_left, top_right, coded.width);
  coded.share = whole.share;
  round_column(left, whole.unit_left, coded.width, coded.left);
  round_column(right, whole.unit_right, coded.width, coded.right);
  return coded;
}

void FactorCodes::decode(SkvFactors factors, const std::uint8_t* codes, std::size_t bytes, std::int64_t d,
                         const std::uint16_t* shares, float unit, float* out) const {
  std::array<simd::CodeRow, kMostRank> rows;
  assert(factors.rank <= kMostRank);
  for (int i = 0; i < factors.rank; ++i) {
    const int width = skv_factor_width(factors, i);
    float scale = unit * (shares == nullptr ? 1.0f : skv_f16_to_f32(shares[i]));
    const float* levels = nullptr;
    if (skv_factor_is_whole(factors, i))
      scale *= whole_unit(width);
    else
      levels = books_[static_cast<std::size_t>(width)]->levels.data();
    rows[static_cast<std::size_t>(i)] = {codes, levels, scale, width};
    codes += bytes * static_cast<std::size_t>(width);
  }
  kernels().decode_rows(rows.data(), factors.rank, d, out);
}

}  // namespace spectralkv
