// Reading rows of a block, eight values at a time, whatever its codec: the plain way.
#pragma once

#include "cuda/device/device.h"
#include "cuda/kv/views.h"
#include "kv/codecs/quant_groups.h"

namespace spectralkv::device_kv {

// What the codes of a component stand for.
struct FactorLevels {
  const float* levels;  // null: whole numbers
  float step;           // of those
  __device__ __forceinline__ FactorLevels(const CodecView& codec, int width, bool whole)
      : levels(whole ? nullptr : codec.factor_levels + factor_book(width)),
        step(1.0f / static_cast<float>(1 << (width - 1))) {}
  __device__ __forceinline__ FactorLevels(const CodecView& codec, SkvFactors factors, int r)
      : FactorLevels(codec, skv_factor_width(factors, r), skv_factor_is_whole(factors, r) != 0) {}
  __device__ __forceinline__ float at(unsigned code) const {
    if (levels != nullptr) return __ldg(levels + code);
    return static_cast<float>(code) * step - 1;  // exact: at most 16 bits
  }
};

// n rows of d values.
struct RowReader {
  CodecForm::Kind kind;
  const std::uint8_t* base;
  int n, d;
  const CodecView* codec = nullptr;  // of kivi and codes; of codes these too:
  SkvFactors factors{};
  int left_at = 0, right_at = 0, norms_at = 0, codes_at = 0;  // bytes from base
  float unit = 1;

  // x: channels [channel, channel + 8) of a row, channel a multiple of 8.
  __device__ void load8(int row, int channel, float (&x)[8]) const {
    if (kind == CodecForm::Kind::f16) {
      const uint4 words =
          *reinterpret_cast<const uint4*>(base + 2 * (static_cast<std::int64_t>(row) * d + channel));
      const unsigned pairs[4] = {words.x, words.y, words.z, words.w};
      for (int i = 0; i < 4; ++i) {
        const float2 pair = device::f16x2_to_f32x2(pairs[i]);
        x[2 * i] = pair.x;
        x[2 * i + 1] = pair.y;
      }
    } else if (kind == CodecForm::Kind::f32) {
      const auto* const at =
          reinterpret_cast<const float4*>(base + 4 * (static_cast<std::int64_t>(row) * d + channel));
      const float4 a = at[0], b = at[1];
      x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w;
      x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
    } else if (kind == CodecForm::Kind::q8_0) {
      load_group<Q8Group>(row, channel, x);
    } else if (kind == CodecForm::Kind::q4_0) {
      load_group<Q4Group>(row, channel, x);
    } else if (kind == CodecForm::Kind::kivi) {
      for (int i = 0; i < 8; ++i) x[i] = codec->kivi.value(base, n, row, channel + i);
    } else {
      load_codes(row, channel, x);
    }
  }

 private:
  template <class Group>
  __device__ void load_group(int row, int channel, float (&x)[8]) const {
    const int g = quant_group(d);
    const std::uint8_t* const group =
        base + (static_cast<std::int64_t>(row) * (d / g) + channel / g) * Group::bytes(g);
    for (int i = 0; i < 8; ++i) x[i] = Group::value(group, g, channel % g + i);
  }

  __device__ float f16_at(int offset) const {
    return device::f16_to_f32(*reinterpret_cast<const std::uint16_t*>(base + offset));
  }

  __device__ void load_codes(int row, int channel, float (&x)[8]) const {
    const CodecView& c = *codec;
    const auto t = static_cast<std::size_t>(row);
    const float norm = f16_at(norms_at + 2 * row) * unit;
    for (int i = 0; i < 8; ++i)
      x[i] = norm * c.levels[skv_scalar_code(c.coded, base + codes_at, static_cast<std::size_t>(n), t,
                                             static_cast<std::size_t>(channel + i))];
    const std::uint8_t *left_codes = base + left_at, *right_codes = base + right_at;
    const int padded = (n + 15) / 16 * 16;
    for (int r = 0; r < factors.rank; ++r) {
      const int width = skv_factor_width(factors, r);
      const FactorLevels levels(c, factors, r);
      const float left =
          f16_at(2 + 2 * r) * unit * levels.at(skv_packed_code(left_codes, padded, width, row));
      for (int i = 0; i < 8; ++i)
        x[i] += left * levels.at(skv_packed_code(right_codes, d, width, channel + i));
      left_codes += padded / 8 * width;
      right_codes += d / 8 * width;
    }
  }
};

// A stored block of n tokens.
__device__ inline RowReader read_block(const CodecView& codec, const std::uint8_t* block, int n, int d) {
  RowReader reader{codec.kind, block, n, d};
  reader.codec = &codec;
  if (codec.kind == CodecForm::Kind::codes) {
    reader.factors = skv_factors(codec.plain_width, block);
    reader.unit = ldexpf(1.0f, static_cast<std::int8_t>(block[1]));
    const SkvLowRankPart parts = skv_low_rank_part(d, static_cast<std::size_t>(n), reader.factors);
    reader.left_at = static_cast<int>(parts.left);
    reader.right_at = static_cast<int>(parts.right);
    reader.norms_at = static_cast<int>(parts.residual);
    reader.codes_at = static_cast<int>(parts.residual + skv_norm_bytes(static_cast<std::size_t>(n)));
  }
  return reader;
}

// Exact rows.
__device__ inline RowReader read_exact(bool f32, const std::uint8_t* rows, int n, int d) {
  return {f32 ? CodecForm::Kind::f32 : CodecForm::Kind::f16, rows, n, d};
}

}  // namespace spectralkv::device_kv
