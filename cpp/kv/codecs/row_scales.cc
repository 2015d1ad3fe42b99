// f16, or bytes in units of the largest.
#include "kv/codecs/row_scales.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"
#include "formats/row_scales.h"
#include "simd/dispatch.h"

namespace spectralkv {
namespace {

const std::uint8_t* bytes_of(const std::byte* residual) {
  return reinterpret_cast<const std::uint8_t*>(residual);
}

}  // namespace

RowScales take_row_scales(CodecSpec& spec, const ResidualRow::Wish& wish, SpecText& text) {
  std::array<std::string_view, kAllRowScales.size()> names;
  std::transform(kAllRowScales.begin(), kAllRowScales.end(), names.begin(), row_scale_name);
  const bool ours = wish.factored && !wish.paper;
  const RowScales usual{ours ? RowScale::length : RowScale::norm, ours};
  const auto width = [](bool in_bytes) { return in_bytes ? "8" : "16"; };
  RowScales scales;
  scales.kind = row_scale_from_name(spec.take_choice("scale", row_scale_name(usual.kind), names));
  scales.in_bytes = spec.take_choice("scale_bits", width(usual.in_bytes),
                                     std::array<std::string_view, 2>{"8", "16"}) == "8";
  if (scales.kind != usual.kind) text.add(concat(",scale=", row_scale_name(scales.kind)));
  if (scales.in_bytes != usual.in_bytes) text.add(concat(",scale_bits=", width(scales.in_bytes)));
  return scales;
}

std::int64_t store_row_scales(std::span<const std::uint16_t> scales, bool in_bytes, std::byte* residual) {
  auto* const out = reinterpret_cast<std::uint8_t*>(residual);
  const auto bytes = static_cast<std::int64_t>(skv_byte_scales_bytes(scales.size()));
  if (!in_bytes || skv_byte_scales_pay(scales.size()) == 0) {
    std::memcpy(out, scales.data(), scales.size_bytes());
    return std::ssize(scales) * 2;
  }
  std::memset(out, 0, static_cast<std::size_t>(bytes));
  const std::uint16_t largest = *std::max_element(scales.begin(), scales.end()),
                      marked = largest | static_cast<std::uint16_t>(kSkvByteScales);
  std::memcpy(out, &marked, 2);
  for (std::size_t t = 0; t < scales.size(); ++t)
    out[2 + t] = skv_scale_byte(skv_f16_to_f32(scales[t]), skv_f16_to_f32(largest));
  return bytes;
}

void read_row_scales(const std::byte* residual, std::int64_t n, float unit, float* out) {
  if (skv_has_byte_scales(bytes_of(residual)) != 0)
    kernels().from_square_bytes(bytes_of(residual) + 2, unit * skv_byte_scale_unit(bytes_of(residual)), out,
                                n);
  else
    kernels().from_f16(reinterpret_cast<const std::uint16_t*>(residual), unit, out, n);
}

std::int64_t row_scale_bytes(const std::byte* residual, std::int64_t n) {
  return static_cast<std::int64_t>(skv_scale_bytes(bytes_of(residual), static_cast<std::size_t>(n)));
}

std::int64_t most_row_scale_bytes(std::int64_t n) {
  return 2 * n;
}

bool holds_row_scales(const std::byte* residual, std::int64_t n, std::int64_t codes, std::int64_t bytes) {
  return bytes >= 2 && bytes == row_scale_bytes(residual, n) + codes;
}

}  // namespace spectralkv
