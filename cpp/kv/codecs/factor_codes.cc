// Codes and columns of factor_codes.h. How widths are chosen: quant/factor_math.h.
#include "kv/codecs/factor_codes.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "kv/codecs/shared_tables.h"
#include "quant/code_math.h"
#include "quant/factors.h"
#include "simd/dispatch.h"

namespace spectralkv {
namespace {

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
    : own_widths_(bits == 0), plain_width_(bits == 0 ? kPlainFactorWidth : bits) {
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

FactorRuns FactorCodes::runs(SkvFactors factors) const {
  FactorRuns runs;
  for (int i = 0; i < factors.rank;) {
    FactorRuns::Run& run = runs.list[static_cast<std::size_t>(runs.n++)];
    run = {i, 1, skv_factor_width(factors, i), 0, nullptr};
    if (factors.widths == nullptr) run.count = factors.rank;
    while (i + run.count < factors.rank && skv_factor_width(factors, i + run.count) == run.width) ++run.count;
    if (!skv_factor_is_whole(factors, i)) {
      run.kernel = static_cast<std::size_t>(run.width - 1);
      run.levels = books_[static_cast<std::size_t>(run.width)]->levels.data();
    } else {
      run.kernel = run.width == 8    ? simd::kWhole8
                   : run.width == 10 ? simd::kWhole10
                   : run.width == 12 ? simd::kWhole12
                                     : simd::kWhole16;
    }
    i += run.count;
  }
  return runs;
}

// Calls take(run, its first column) for all of them.
template <class Take>
static void in_runs(const FactorRuns& runs, const std::uint8_t* codes, std::int64_t d, Take take) {
  for (int r = 0; r < runs.n; ++r) {
    const FactorRuns::Run& run = runs.list[static_cast<std::size_t>(r)];
    take(run, codes);
    codes += d / 8 * run.width * run.count;
  }
}

void FactorRuns::multiply(const std::uint8_t* codes, ConstMatrix x, Matrix along) const {
  in_runs(*this, codes, x.cols, [&](const Run& run, const std::uint8_t* from) {
    kernels().score_codes[run.kernel](from, run.count, x.cols, run.levels, x.data, x.stride, x.rows,
                                      along.data + run.first, along.stride);
  });
}

void FactorRuns::mix(const std::uint8_t* codes, ConstMatrix along, Matrix out) const {
  in_runs(*this, codes, out.cols, [&](const Run& run, const std::uint8_t* from) {
    kernels().mix_codes[run.kernel](along.data + run.first, along.stride, along.rows, from, run.count,
                                    out.cols, run.levels, out.data, out.stride);
  });
}

void FactorRuns::decode(const std::uint8_t* codes, Matrix out) const {
  in_runs(*this, codes, out.cols, [&](const Run& run, const std::uint8_t* from) {
    for (int i = 0; i < run.count; ++i, from += out.cols / 8 * run.width)
      kernels().decode_codes[run.kernel](from, out.cols, run.levels, 1, out.row(run.first + i));
  });
}

void factor_scales(SkvFactors factors, const std::uint16_t* shares, float unit, float* out) {
  for (int i = 0; i < factors.rank; ++i) {
    out[i] = skv_f16_to_f32(shares[i]) * unit;
    if (skv_factor_is_whole(factors, i))  // both columns are in units of 2^-(width - 1)
      out[i] *= std::ldexp(1.0f, -2 * (skv_factor_width(factors, i) - 1));
  }
}

}  // namespace spectralkv
