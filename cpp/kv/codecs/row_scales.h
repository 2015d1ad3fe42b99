// Scales of a residual's rows: which of them a spec wants, and how they are written and read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "kv/codecs/residual_quantiser.h"
#include "quant/turboquant.h"

namespace spectralkv {

struct RowScales {
  RowScale kind = RowScale::norm;
  bool in_bytes = false;  // with one for all that the others count in (formats/coded_block.h), or f16
};

// Takes `scale` and `scale_bits` out of the spec and adds to `text` those that are not the default.
#define SKV_ROW_SCALE_OPTIONS "scale=norm|least_squares|unbiased|length, scale_bits=8|16"
RowScales take_row_scales(CodecSpec& spec, const ResidualRow::Wish& wish, SpecText& text);

// scales: f16 bits, none negative. Returns the bytes written, an even number and at most 2 [scales].
std::int64_t store_row_scales(std::span<const std::uint16_t> scales, bool in_bytes, std::byte* residual);
// Of n tokens, [n] times unit.
void read_row_scales(const std::byte* residual, std::int64_t n, float unit, float* out);
// Bytes that they take; and most of any n.
std::int64_t row_scale_bytes(const std::byte* residual, std::int64_t n);
std::int64_t most_row_scale_bytes(std::int64_t n);
// Whether `bytes` bytes are the scales of n tokens and `codes` bytes more.
bool holds_row_scales(const std::byte* residual, std::int64_t n, std::int64_t codes, std::int64_t bytes);

}  // namespace spectralkv
