// q5_k: 256 values as 5-bit codes; groups of 32 have a 6-bit scale and a 6-bit minimum, the block an f16
// factor for each.
//
// Block of 176 bytes: d (f16), dmin (f16), 12 bytes of scales and minimums (k_scales.h), 32 bytes of high
// bits, 128 bytes of low halves. Bit g of qh[l] is the highest bit of value 32 g + l; the low four bits lie
// as in q4_k: byte l of the c-th run of 32 bytes has those of value 64 c + l in its low half and of value 64
// c + 32 + l in its high half. A value is (d * scale) * code - (dmin * minimum); all products are exact in
// f32, so only the difference rounds.
#ifdef X
X(q5_k, 13, 256, 176, 16, q5_1)
#else

#include "formats/k_scales.h"

struct __attribute__((packed)) skv_block_q5_k {
  static constexpr skv_form kForm{.bits = 5, .group = 32, .has_minimum = true};
  uint16_t d;     // f16 factor of the scales
  uint16_t dmin;  // f16 factor of the minimums
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};

SKV_HD static inline void skv_decode_q5_k(const void* row, float* __restrict out, int64_t n) {
  const struct skv_block_q5_k* block = (const struct skv_block_q5_k*)row;
  for (; n > 0; n -= 256, out += 256, ++block) {
    const float d = skv_f16_to_f32(block->d);
    const float dmin = skv_f16_to_f32(block->dmin);
    uint8_t scales[8], minimums[8];
    skv_unpack_k_scales(block->scales, scales, minimums);
    for (int group = 0; group < 8; ++group) {
      const float scale = d * (float)scales[group];
      const float minimum = dmin * (float)minimums[group];
      const uint8_t* qs = block->qs + group / 2 * 32;
      const int shift = group % 2 * 4;
      float* __restrict to = out + 32 * group;
      for (int i = 0; i < 32; ++i) {
        const int code = (qs[i] >> shift & 15) | (block->qh[i] >> group & 1) << 4;
        to[i] = scale * (float)code - minimum;
      }
    }
  }
}

SKV_HD static inline void skv_codes(const struct skv_block_q5_k& block, uint8_t* __restrict codes) {
  for (int group = 0; group < 8; ++group, codes += 32) {
    const uint8_t* qs = block.qs + group / 2 * 32;
    for (int i = 0; i < 32; ++i)
      codes[i] = (uint8_t)((qs[i] >> (group % 2 * 4) & 15) | (block.qh[i] >> group & 1) << 4);
  }
}

SKV_HD static inline void skv_scales(const struct skv_block_q5_k& block, uint16_t* coarse, uint8_t* fine) {
  coarse[0] = block.d;
  coarse[1] = block.dmin;
  skv_k_scales_in_pairs(block.scales, fine);
}

#ifdef SKV_ENCODER
SKV_ENCODER void spectralkv::encode_q5_k(const float* in, const float* weights, void* row, int64_t n) {
  using namespace encode;
  auto* block = static_cast<skv_block_q5_k*>(row);
  float code[32];
  for (; n > 0; n -= 256, in += 256, weights += 256, ++block) {
    const AffineBlock<32, 31, 63> found(in, weights);
    block->d = found.d_bits;
    block->dmin = found.dmin_bits;
    pack_k_scales(found.scale, found.minimum, block->scales);
    __builtin_memset(block->qh, 0, sizeof(block->qh));
    __builtin_memset(block->qs, 0, sizeof(block->qs));
    for (int group = 0; group < 8; ++group) {
      found.codes(group, code);
      for (int i = 0; i < 32; ++i) {
        const int c = static_cast<int>(code[i]);
        uint8_t& nibbles = block->qs[group / 2 * 32 + i];
        nibbles = static_cast<uint8_t>(nibbles | (c & 15) << group % 2 * 4);
        block->qh[i] = static_cast<uint8_t>(block->qh[i] | c >> 4 << group);
      }
    }
  }
}
#endif
#endif
