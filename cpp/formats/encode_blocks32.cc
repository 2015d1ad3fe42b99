// The encoders of the types whose block is 32 values under one scale: q8_0, q4_0, q5_0, q4_1, q5_1.
#include <cmath>

#include "formats/decode.h"
#include "formats/encode.h"
#include "formats/encode_search.h"

namespace spectralkv {
namespace {

using namespace encode;

constexpr int kBlock = 32;

// Of a scale as rounded to f16 and its neighbours, the one that loses least with its own codes in [low,
// high].
uint16_t best_f16_scale(const float* x, float scale, float low, float high) {
  const uint16_t start = skv_f32_to_f16(scale);
  uint16_t best = start;
  float least = INFINITY;
  for (int step = -1; step <= 1; ++step) {
    const auto bits = static_cast<uint16_t>(start + step);
    const float value = skv_f16_to_f32(bits);
    if (!std::isfinite(value)) continue;
    const float error = grid_error<kBlock>(x, value, inverse(value), 0, low, high);
    if (error < least) least = error, best = bits;
  }
  return best;
}

struct AffineF16 {
  uint16_t scale, offset;
};

AffineF16 affine_f16(const float* x, float high) {
  const Affine fit = best_affine<kBlock>(x, high, kLargestEncoded);
  const float offset = clamped(fit.offset, -kLargestEncoded, kLargestEncoded);
  return {skv_f32_to_f16(fit.scale), skv_f32_to_f16(offset)};
}

// Codes as unsigned numbers from 0.
void write_codes(const float* x, float scale, float offset, float low, float high, int* codes) {
  float found[kBlock];
  codes_of<kBlock>(x, inverse(scale), offset, low, high, found);
  for (int i = 0; i < kBlock; ++i) codes[i] = static_cast<int>(found[i] - low);
}

void pack_nibbles(const int* codes, uint8_t* qs) {
  for (int i = 0; i < 16; ++i) qs[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[i + 16] & 15) << 4);
}

uint32_t fifth_bits(const int* codes) {
  uint32_t bits = 0;
  for (int i = 0; i < kBlock; ++i) bits |= static_cast<uint32_t>(codes[i] >> 4 & 1) << i;
  return bits;
}

}  // namespace

SKV_ENCODER void encode_q8_0(const float* in, void* row, int64_t n) {
  auto* block = static_cast<skv_block_q8_0*>(row);
  for (; n > 0; n -= kBlock, in += kBlock, ++block) {
    float extreme = 0;
    for (int i = 0; i < kBlock; ++i) extreme = std::fmax(extreme, std::fabs(in[i]));
    // 127 steps reach the extreme; a finer scale would cut it, which never pays at 8 bits.
    block->d = best_f16_scale(in, extreme / 127, -127, 127);
    const float inv = inverse(skv_f16_to_f32(block->d));
    for (int i = 0; i < kBlock; ++i)
      block->qs[i] = static_cast<int8_t>(clamped(nearest(in[i] * inv), -127, 127));
  }
}

SKV_ENCODER void encode_q4_0(const float* in, void* row, int64_t n) {
  auto* block = static_cast<skv_block_q4_0*>(row);
  int codes[kBlock];
  for (; n > 0; n -= kBlock, in += kBlock, ++block) {
    block->d = best_f16_scale(in, best_scale<kBlock>(in, -8, 7), -8, 7);
    write_codes(in, skv_f16_to_f32(block->d), 0, -8, 7, codes);
    pack_nibbles(codes, block->qs);
  }
}

SKV_ENCODER void encode_q5_0(const float* in, void* row, int64_t n) {
  auto* block = static_cast<skv_block_q5_0*>(row);
  int codes[kBlock];
  for (; n > 0; n -= kBlock, in += kBlock, ++block) {
    block->d = best_f16_scale(in, best_scale<kBlock>(in, -16, 15), -16, 15);
    write_codes(in, skv_f16_to_f32(block->d), 0, -16, 15, codes);
    pack_nibbles(codes, block->qs);
    block->qh = fifth_bits(codes);
  }
}

SKV_ENCODER void encode_q4_1(const float* in, void* row, int64_t n) {
  auto* block = static_cast<skv_block_q4_1*>(row);
  int codes[kBlock];
  for (; n > 0; n -= kBlock, in += kBlock, ++block) {
    const AffineF16 fit = affine_f16(in, 15);
    block->d = fit.scale;
    block->m = fit.offset;
    write_codes(in, skv_f16_to_f32(fit.scale), skv_f16_to_f32(fit.offset), 0, 15, codes);
    pack_nibbles(codes, block->qs);
  }
}

SKV_ENCODER void encode_q5_1(const float* in, void* row, int64_t n) {
  auto* block = static_cast<skv_block_q5_1*>(row);
  int codes[kBlock];
  for (; n > 0; n -= kBlock, in += kBlock, ++block) {
    const AffineF16 fit = affine_f16(in, 31);
    block->d = fit.scale;
    block->m = fit.offset;
    write_codes(in, skv_f16_to_f32(fit.scale), skv_f16_to_f32(fit.offset), 0, 31, codes);
    pack_nibbles(codes, block->qs);
    block->qh = fifth_bits(codes);
  }
}

}  // namespace spectralkv
