// The rows of the codec table.
#include "kv/codecs.h"

#include <array>

#include "base/error.h"
#include "kv/codecs/block_quant.h"
#include "kv/codecs/eoptshrinkq.h"
#include "kv/codecs/exact.h"
#include "kv/codecs/kivi.h"

namespace spectralkv {
namespace {

template <std::unique_ptr<Codec> (*make)(std::int64_t)>
BuiltCodec build_exact(CodecSpec& spec, const CodecPlace& place) {
  if (spec.bits()) spec.refuse("it takes no bits");
  spec.finish("none");
  return {make(place.head_dim), false, CacheLayout{}, spec.name()};
}

BuiltCodec build_default(CodecSpec& spec, const CodecPlace& place) {
  if (spec.bits()) spec.refuse("it takes no bits");
  spec.finish("none");
  return build_codec(place.head_dim % 16 == 0 ? kDefaultCodec : "f16", place);
}

constexpr std::array kTable = {
    CodecRow{"default", "default: eoptshrinkq:2, or f16 where the head dim is no multiple of 16", 0, 0,
             build_default},
    CodecRow{"f32", "f32: exact, 32 bits per entry", 0, 0, build_exact<make_f32_codec>},
    CodecRow{"f16", "f16: half precision, 16 bits per entry", 0, 0, build_exact<make_f16_codec>},
    CodecRow{"q8_0", "q8_0: groups of 32 at 8 bits; rotation, sink, window, block", 0, 0, build_q8_0},
    CodecRow{"q4_0", "q4_0: groups of 32 at 4 bits; rotation, sink, window, block", 0, 0, build_q4_0},
    CodecRow{"turboquant",
             "turboquant:B: rotated rows at B bits; rotation, scale, sink, window, block, paper", 1,
             kMaxCodeBits, build_turboquant},
    CodecRow{"eoptshrinkq",
             "eoptshrinkq:B: low-rank factors, the rest at B bits on the mean over heads (any B from 1 to "
             "5); metric, "
             "rows, allot, loss, loop, factor_bits, rotation, scale, quantiser, sink, window, block, paper",
             1, kMaxCodeBits, build_eoptshrinkq},
    CodecRow{"kivi", "kivi:B: keys by channel, values by token, groups of 32 at B bits; sink, window, block",
             kLeastKiviBits, kMaxCodeBits, build_kivi},
};

}  // namespace

std::span<const CodecRow> codec_table() {
  return kTable;
}

std::string codec_list() {
  std::string names;
  for (const CodecRow& row : kTable) names += (names.empty() ? "" : ", ") + std::string(row.name);
  return names;
}

std::string codec_help() {
  std::string text;
  for (const CodecRow& row : kTable) text += (text.empty() ? "" : ". ") + std::string(row.help);
  return text;
}

BuiltCodec build_measured_codec(const CodecPlace& place) {
  return build_codec(with_scalar_residuals(kDefaultCodec), place);  // so that files stay what they are
}

std::string with_scalar_residuals(std::string_view spec) {
  std::string all;
  while (true) {
    const std::size_t end = std::min(spec.find(';'), spec.size());
    std::string part(spec.substr(0, end));
    if (part.ends_with("default")) part.replace(part.size() - 7, 7, kDefaultCodec);
    all += part;
    const auto has = [&](std::string_view word) { return part.find(word) != std::string_view::npos; };
    if (has("eoptshrinkq:") && !has("quantiser=")) all += ",quantiser=scalar";
    if (end == spec.size()) return all;
    all += ';';
    spec.remove_prefix(end + 1);
  }
}

BuiltCodec build_codec(std::string_view codec_text, const CodecPlace& place) {
  CodecSpec spec(codec_text);
  for (const CodecRow& row : kTable)
    if (row.name == spec.name()) {
      BuiltCodec built = row.build(spec, place);
      if (built.in_states.empty()) built.in_states = built.text;
      return built;
    }
  fail(ErrorKind::value, "kv", "cache type '", codec_text, "': there is no '", spec.name(), "'; there are ",
       codec_list());
}

}  // namespace spectralkv
