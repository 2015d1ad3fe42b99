// The quantiser of KIVI (Liu et al. 2024, arXiv 2402.02750): each group of values has a minimum m and a step
// s in f16 and codes of B bits,
//     value = m + s code,    s = (maximum - minimum) / (2^B - 1).
// Keys, whose outliers keep to channels, are grouped by channel: 32 tokens of one channel. Values are grouped
// by token: 32 channels of one token (16 where 32 does not divide head_dim). Groups count from the block's
// first token; the last one of a channel may be shorter.
//
//   block := codes [n, head_dim], each row packed (formats/bitpack.h), then (m, s) of every group, 4 bytes:
//            keys [groups of tokens, head_dim], values [n, groups of channels]
//
// KIVI keeps the newest tokens exact: `window`.
#include "kv/codecs/kivi.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "formats/bitpack.h"
#include "kv/codecs/options.h"
#include "quant/lloyd_max.h"
#include "quant/row_math.h"

namespace spectralkv {
namespace {

constexpr std::int64_t kGroup = 32;

class KiviCodec final : public Codec {
 public:
  KiviCodec(std::int64_t head_dim, int bits, KvSide side, std::string text)
      : Codec(head_dim),
        bits_(bits),
        tokens_(side == KvSide::keys ? kGroup : 1),
        channels_(side == KvSide::keys     ? 1
                  : head_dim % kGroup == 0 ? kGroup
                                           : 16),
        text_(std::move(text)) {}

  std::string spec() const override { return text_; }
  std::int64_t max_bytes(std::int64_t n) const override { return n * row_bytes() + 4 * n_groups(n); }
  double paper_bits(const std::byte*, std::int64_t n, std::int64_t) const override {
    return static_cast<double>(n * head_dim() * bits_);
  }

  std::int64_t encode(ConstMatrix block, std::byte* out, CodecWork& work) const override {
    const std::int64_t n = block.rows, d = head_dim();
    std::byte* groups = out + n * row_bytes();
    float* low = work.floats(2, n_groups(n));
    float* step = work.floats(3, n_groups(n));
    for (std::int64_t g = 0; g < n_groups(n); ++g) take_range(block, g, groups + 4 * g, low[g], step[g]);
    const float top = static_cast<float>((1 << bits_) - 1);
    auto* codes = reinterpret_cast<std::uint8_t*>(work.bytes(4, d));
    for (std::int64_t r = 0; r < n; ++r) {
      for (std::int64_t c = 0; c < d; ++c) {
        const std::int64_t g = group_of(r, c);
        const float code = step[g] > 0 ? (block(r, c) - low[g]) / step[g] : 0.0f;
        codes[c] = static_cast<std::uint8_t>(std::clamp(code, 0.0f, top) + 0.5f);
      }
      skv_pack_codes(codes, static_cast<int>(d), bits_,
                     reinterpret_cast<std::uint8_t*>(out + r * row_bytes()));
    }
    return max_bytes(n);
  }

  void decode(const std::byte* in, std::int64_t n, Matrix out) const override {
    const std::byte* groups = in + n * row_bytes();
    for (std::int64_t r = 0; r < n; ++r) {
      const auto* codes = reinterpret_cast<const std::uint8_t*>(in + r * row_bytes());
      for (std::int64_t c = 0; c < head_dim(); ++c) {
        float low = 0, step = 0;
        read_range(groups + 4 * group_of(r, c), low, step);
        const auto code = skv_packed_code(codes, static_cast<int>(head_dim()), bits_, static_cast<int>(c));
        out(r, c) = low + step * static_cast<float>(code);
      }
    }
  }

 private:
  std::int64_t row_bytes() const { return head_dim() * bits_ / 8; }
  std::int64_t n_groups(std::int64_t n) const {
    return (n + tokens_ - 1) / tokens_ * (head_dim() / channels_);
  }
  std::int64_t group_of(std::int64_t token, std::int64_t channel) const {
    return token / tokens_ * (head_dim() / channels_) + channel / channels_;
  }

  static void read_range(const std::byte* in, float& low, float& step) {
    std::uint16_t halves[2];
    std::memcpy(halves, in, sizeof halves);
    low = skv_f16_to_f32(halves[0]);
    step = skv_f16_to_f32(halves[1]);
  }

  // Writes minimum and step of group g of a block [n, head_dim], and gives them as they will be read.
  void take_range(ConstMatrix block, std::int64_t g, std::byte* out, float& low, float& step) const {
    const std::int64_t across = head_dim() / channels_;
    const std::int64_t token = g / across * tokens_, channel = g % across * channels_;
    float least = std::numeric_limits<float>::infinity(), most = -least;
    for (std::int64_t r = token; r < std::min(block.rows, token + tokens_); ++r)
      for (std::int64_t c = channel; c < channel + channels_; ++c) {
        least = std::min(least, block(r, c));
        most = std::max(most, block(r, c));
      }
    const double range = static_cast<double>(most) - static_cast<double>(least);
    const std::uint16_t halves[2] = {saturating_f16(static_cast<double>(least)),
                                     saturating_f16(range / ((1 << bits_) - 1))};
    std::memcpy(out, halves, sizeof halves);
    read_range(out, low, step);
  }

  int bits_;
  std::int64_t tokens_, channels_;  // of a group
  std::string text_;
};

}  // namespace

BuiltCodec build_kivi(CodecSpec& spec, std::int64_t head_dim, KvSide side) {
  const std::int64_t bits = spec.bits().value_or(0);
  if (bits < kLeastKiviBits || bits > kMaxCodeBits)
    spec.refuse(concat("it needs ", kLeastKiviBits, " to ", kMaxCodeBits, " bits per entry, as in 'kivi:2'"));
  const CacheLayout layout = take_layout(spec, CacheLayout{});
  spec.finish(kLayoutOptions);
  check_head_dim(spec, head_dim);
  const std::string text = concat("kivi:", bits, layout_text(layout, CacheLayout{}));
  return {std::make_unique<KiviCodec>(head_dim, static_cast<int>(bits), side, text), true, layout, text};
}

}  // namespace spectralkv
