"""Adds a scratch weight type to a copy of the project, as CONTRIBUTING.md and docs/adding.md say, and tests the copy.

growth_weight_type.py [--cuda] [FOLDER]: the copy and its build stay in FOLDER; without it they go. The type has a table
of levels of its own.
"""

from __future__ import annotations

from pathlib import Path

from growth import check, insert_behind

NAME = "t4_0"

DEFINITION = """\
// t4_0: 32 values as places in a table of 16 levels under one f16 scale.
//
// Block of 18 bytes: d (f16), then 16 bytes of codes. Byte i holds the code of value i in its low half and that of
// value i + 16 in its high half. A value is d * level(code).
#ifdef X
X(t4_0, 999, 32, 18, 999, f16)
#else

struct __attribute__((packed)) skv_block_t4_0 {
  static constexpr skv_form kForm{
      .bits = 4,
      .group = 32,
      .offset = 127,
      .has_levels = true,
      .levels = {-127, -99, -79, -63, -48, -34, -21, -10, 0, 10, 21, 34, 48, 63, 82, 106}};
  uint16_t d;  // f16 scale
  uint8_t qs[16];
};

SKV_HD static inline void skv_codes(const skv_block_t4_0& block, uint8_t* __restrict codes) {
  skv_nibbles(block.qs, codes);
}

SKV_HD static inline void skv_scales(const skv_block_t4_0& block, uint16_t* coarse, uint8_t*) {
  coarse[0] = block.d;
}

SKV_HD static inline void skv_decode_t4_0(const void* row, float* __restrict out, int64_t n) {
  skv_decode_codes<skv_block_t4_0>(row, out, n);
}

#ifdef SKV_ENCODER
// Scales that lay the extreme value on each level or between two, of either sign; the one that loses least.
SKV_ENCODER void spectralkv::encode_t4_0(const float* in, const float* weights, void* row, int64_t n) {
  using namespace encode;
  auto* block = static_cast<skv_block_t4_0*>(row);
  for (; n > 0; n -= 32, in += 32, weights += 32, ++block) {
    float extreme = 0, least = INFINITY;
    for (int i = 0; i < 32; ++i) extreme = std::fmax(extreme, std::fabs(in[i]));
    for (int place = -140; place <= 140; place += 2) {
      const uint16_t half = place == 0 ? 0 : skv_f32_to_f16(extreme / static_cast<float>(place));
      const float d = skv_f16_to_f32(half);
      int codes[32];
      float error = 0;
      for (int i = 0; i < 32; ++i) {
        float best = INFINITY;
        for (int code = 0; code < 16; ++code) {
          const float miss = in[i] - d * static_cast<float>(skv_block_t4_0::kForm.levels[code]);
          if (miss * miss < best) best = miss * miss, codes[i] = code;
        }
        error += weights[i] * best;
      }
      if (!(error < least)) continue;
      least = error;
      block->d = half;
      pack_nibbles(codes, block->qs);
    }
  }
}
#endif
#endif
"""


def add_weight_type(tree: Path) -> None:
    """What somebody who adds it writes: its file, its line in the list, and what its encoder may lose."""
    (tree / "cpp/formats" / f"{NAME}.inl").write_text(DEFINITION)
    insert_behind(tree / "cpp/formats/list.def", r"^#include", f'#include "formats/{NAME}.inl"')
    insert_behind(tree / "tests/cpp/formats/encode_test.cc", r'^    \{"i?q\w+", ', f'    {{"{NAME}", 6.6e-3}},')


if __name__ == "__main__":
    tests = {
        "test_formats": "Encode.*:Formats.*",
        "test_simd": "*EveryKernel.*",
        "test_linalg": "QuantizeActivations.*:Panels.*:Matmul.*",
    }
    check("a GGUF weight type", NAME, add_weight_type, tests)
