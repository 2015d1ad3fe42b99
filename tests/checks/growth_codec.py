"""Adds a scratch codec to a copy of the project, as CONTRIBUTING.md and docs/adding.md say, and tests the copy.

growth_codec.py [--cuda] [FOLDER]: the copy and its build stay in FOLDER; without it they go.
"""

from __future__ import annotations

from pathlib import Path

from growth import check, insert_behind

NAME = "scratch"

FILE = """\
// scratch: groups of 16 values, each a scale (f32, largest magnitude / 127) and 16 signed bytes. A row is its groups,
// rows follow each other.
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "kv/codecs/options.h"

namespace spectralkv {
namespace {

constexpr std::int64_t kGroup = 16, kGroupBytes = 4 + kGroup;

class ScratchCodec final : public Codec {
 public:
  ScratchCodec(std::int64_t head_dim, std::string text) : Codec(head_dim), text_(std::move(text)) {}

  std::string spec() const override { return text_; }
  std::int64_t max_bytes(std::int64_t n) const override { return n * head_dim() / kGroup * kGroupBytes; }
  double paper_bits(const std::byte*, std::int64_t n, std::int64_t) const override {
    return 8.0 * static_cast<double>(n * head_dim());
  }

  std::int64_t encode(ConstMatrix block, const SealContext&, std::byte* out, CodecWork&) const override {
    for (std::int64_t r = 0; r < block.rows; ++r)
      for (std::int64_t c = 0; c < block.cols; c += kGroup, out += kGroupBytes) {
        const float* const x = block.row(r) + c;
        float top = 0;
        for (int i = 0; i < kGroup; ++i) top = std::max(top, std::fabs(x[i]));
        const float scale = top / 127;
        std::int8_t codes[kGroup] = {};
        for (int i = 0; i < kGroup && scale > 0; ++i) codes[i] = static_cast<std::int8_t>(std::lround(x[i] / scale));
        std::memcpy(out, &scale, sizeof scale);
        std::memcpy(out + sizeof scale, codes, sizeof codes);
      }
    return max_bytes(block.rows);
  }

  void decode(const std::byte* in, std::int64_t n, Matrix out) const override {
    for (std::int64_t r = 0; r < n; ++r)
      for (std::int64_t c = 0; c < head_dim(); c += kGroup, in += kGroupBytes) {
        float scale;
        std::int8_t codes[kGroup];
        std::memcpy(&scale, in, sizeof scale);
        std::memcpy(codes, in + sizeof scale, sizeof codes);
        for (int i = 0; i < kGroup; ++i) out(r, c + i) = scale * static_cast<float>(codes[i]);
      }
  }

 private:
  std::string text_;
};

}  // namespace

BuiltCodec build_scratch(CodecSpec& spec, const CodecPlace& place) {
  if (spec.bits()) spec.refuse("it takes no bits");
  const CacheLayout layout = take_layout(spec, CacheLayout{});
  spec.finish(kLayoutOptions);
  check_head_dim(spec, place.head_dim);
  const std::string text = spec.name() + layout_text(layout, CacheLayout{});
  return {std::make_unique<ScratchCodec>(place.head_dim, text), true, layout, text};
}

}  // namespace spectralkv
"""
DECLARATION = "\nBuiltCodec build_scratch(CodecSpec& spec, const CodecPlace& place);  // codecs/scratch.cc"
ROW = '    CodecRow{"scratch", "scratch: groups of 16 at 8 bits; sink, window, block", 0, 0, build_scratch},'


def add_codec(tree: Path) -> None:
    """What somebody who adds it writes: its file, and its row with the builder's declaration."""
    (tree / "cpp/kv/codecs" / f"{NAME}.cc").write_text(FILE)
    table = tree / "cpp/kv/codecs.cc"
    insert_behind(table, r"^namespace spectralkv \{", DECLARATION)
    insert_behind(table, r"build_\w+\},$", ROW)


if __name__ == "__main__":
    rows = f"Codecs/*/{NAME}:Types/*/{NAME}:Shapes/Compressed.*"
    loops = "CodecQuality.Every*:LargeComponent.Every*:CompressedCache.*:Spec.*"
    check("a KV codec", NAME, add_codec, {"test_kv": f"{rows}:{loops}"})
