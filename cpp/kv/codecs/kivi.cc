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

#include "base/error.h"
#include "formats/bitpack.h"
#include "kv/codecs/kivi_groups.h"
#include "kv/codecs/options.h"
#include "quant/lloyd_max.h"

namespace spectralkv {
namespace {

class KiviCodec final : public Codec {
 public:
  KiviCodec(std::int64_t head_dim, int bits, KvSide side, std::string text)
      : Codec(head_dim), format_(kivi_format(head_dim, bits, side)), text_(std::move(text)) {}

  std::string spec() const override { return text_; }
  CodecForm form() const override {
    CodecForm form;
    form.kind = CodecForm::Kind::kivi;
    form.bits = format_.bits;
    return form;
  }
  std::int64_t max_bytes(std::int64_t n) const override { return format_.bytes(static_cast<int>(n)); }
  double paper_bits(const std::byte*, std::int64_t n, std::int64_t) const override {
    return static_cast<double>(n * head_dim() * format_.bits);
  }

  std::int64_t encode(ConstMatrix block, const SealContext&, std::byte* out, CodecWork& work) const override {
    const int n = static_cast<int>(block.rows), d = format_.d, n_groups = format_.groups(n);
    auto* const bytes = reinterpret_cast<std::uint8_t*>(out);
    std::uint8_t* const groups = bytes + n * format_.row_bytes();
    auto* ranges =
        reinterpret_cast<KiviRange*>(work.bytes(2, n_groups * static_cast<std::int64_t>(sizeof(KiviRange))));
    for (int g = 0; g < n_groups; ++g) ranges[g] = format_.take_range(block.data, block.stride, n, g, groups);
    auto* codes = reinterpret_cast<std::uint8_t*>(work.bytes(4, d));
    for (int r = 0; r < n; ++r) {
      for (int c = 0; c < d; ++c) codes[c] = format_.code(ranges[format_.group_of(r, c)], block(r, c));
      skv_pack_codes(codes, d, format_.bits, bytes + r * format_.row_bytes());
    }
    return max_bytes(n);
  }

  void decode(const std::byte* in, std::int64_t n, Matrix out) const override {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(in);
    for (int r = 0; r < n; ++r)
      for (int c = 0; c < format_.d; ++c) out(r, c) = format_.value(bytes, static_cast<int>(n), r, c);
  }

 private:
  KiviFormat format_;
  std::string text_;
};

}  // namespace

KiviFormat kivi_format(std::int64_t head_dim, int bits, KvSide side) {
  constexpr int kGroup = 32;
  const int d = static_cast<int>(head_dim);
  if (side == KvSide::keys) return {d, bits, kGroup, 1};
  return {d, bits, 1, d % kGroup == 0 ? kGroup : kGroup / 2};
}

BuiltCodec build_kivi(CodecSpec& spec, const CodecPlace& place) {
  const std::int64_t bits = spec.bits().value_or(0);
  if (bits < kLeastKiviBits || bits > kMaxCodeBits)
    spec.refuse(concat("it needs ", kLeastKiviBits, " to ", kMaxCodeBits, " bits per entry, as in 'kivi:2'"));
  const CacheLayout layout = take_layout(spec, CacheLayout{});
  spec.finish(kLayoutOptions);
  check_head_dim(spec, place.head_dim);
  const std::string text = concat("kivi:", bits, layout_text(layout, CacheLayout{}));
  return {std::make_unique<KiviCodec>(place.head_dim, static_cast<int>(bits), place.side, text), true, layout,
          text};
}

}  // namespace spectralkv
