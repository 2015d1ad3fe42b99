// Groups of kivi:B (kivi.cc has the format), for the host and a CUDA device.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/host_device.h"
#include "formats/bitpack.h"
#include "kv/codec_form.h"
#include "quant/code_math.h"

namespace spectralkv {

// What a group's codes stand for: low + step code.
struct KiviRange {
  float low, step;
};

// Blocks [n, d]: codes in rows, then 4 bytes a group.
struct KiviFormat {
  int d, bits;
  int tokens, channels;  // of a group

  SKV_HD int row_bytes() const { return d * bits / 8; }
  SKV_HD int groups(int n) const { return (n + tokens - 1) / tokens * (d / channels); }
  SKV_HD int group_of(int token, int channel) const {
    return token / tokens * (d / channels) + channel / channels;
  }
  SKV_HD int bytes(int n) const { return n * row_bytes() + 4 * groups(n); }

  // rows: [n, d], stride values apart. Writes minimum and step of group g, and gives them as they will be
  // read. out: the groups' bytes.
  SKV_HD KiviRange take_range(const float* rows, std::int64_t stride, int n, int g, std::uint8_t* out) const {
    const int across = d / channels, token = g / across * tokens, channel = g % across * channels;
    const int end = token + tokens < n ? token + tokens : n;
    float least = rows[token * stride + channel], most = least;
    for (int r = token; r < end; ++r)
      for (int c = channel; c < channel + channels; ++c) {
        const float x = rows[r * stride + c];
        least = x < least ? x : least;
        most = most < x ? x : most;
      }
    const double range = static_cast<double>(most) - static_cast<double>(least);
    const std::uint16_t halves[2] = {saturating_f16(static_cast<double>(least)),
                                     saturating_f16(range / ((1 << bits) - 1))};
    memcpy(out + 4 * g, halves, sizeof halves);
    return range_of(out, g);
  }
  SKV_HD KiviRange range_of(const std::uint8_t* groups, int g) const {
    std::uint16_t halves[2];
    memcpy(halves, groups + 4 * g, sizeof halves);
    return {skv_f16_to_f32(halves[0]), skv_f16_to_f32(halves[1])};
  }

  SKV_HD std::uint8_t code(KiviRange range, float x) const {
    const float top = static_cast<float>((1 << bits) - 1);
    const float code = range.step > 0 ? (x - range.low) / range.step : 0.0f;
    return static_cast<std::uint8_t>((code < 0.0f ? 0.0f : top < code ? top : code) + 0.5f);
  }
  // Value c of token t of a block of n tokens.
  SKV_HD float value(const std::uint8_t* block, int n, int t, int c) const {
    const KiviRange range = range_of(block + n * row_bytes(), group_of(t, c));
    return range.low + range.step * static_cast<float>(skv_packed_code(block + t * row_bytes(), d, bits, c));
  }
};

// That of a side: keys by channel, values by token.
KiviFormat kivi_format(std::int64_t head_dim, int bits, KvSide side);

}  // namespace spectralkv
