// 64 bytes and 16 sums of 32 bits in plain code: the meaning of the other panel_*.h files.
#pragma once

#include <math.h>
#include <stdint.h>

#include "simd/vec_scalar.h"

namespace {

constexpr int kPanelTokens = 4;  // tokens that share a step's codes in registers
constexpr int kStepColumns = 4;  // Kernels::step_columns

struct Bytes {
  uint8_t v[64];
};
struct Sums {
  int32_t v[16];
};

inline Bytes bytes_load(const uint8_t* p) {
  Bytes r;
  __builtin_memcpy(r.v, p, 64);
  return r;
}
// (byte >> shift) & mask.
template <int shift, int mask>
inline Bytes bytes_field(Bytes x) {
  for (uint8_t& byte : x.v) byte = (uint8_t)(byte >> shift & mask);
  return x;
}
// Byte i with `value` added where bit i of the 8 bytes at p is set.
template <int value>
inline Bytes bytes_add_bits(Bytes x, const uint8_t* p) {
  for (int i = 0; i < 64; ++i) x.v[i] = (uint8_t)(x.v[i] + (p[i / 8] >> i % 8 & 1) * value);
  return x;
}
inline Bytes bytes_or_shifted4(Bytes x, Bytes high) {
  for (int i = 0; i < 64; ++i) x.v[i] = (uint8_t)(x.v[i] | high.v[i] << 4);
  return x;
}
// What a group of codes of so many bits begins with, q: its activations, 32 where codes have 8 bits. Sums may
// leave out what this adds.
template <int bits>
inline Sums sums_start(const int8_t*) {
  return {};
}
// Adds to lane i the sum of codes 4i to 4i + 3, of at most `bits` bits, times the four bytes at q; step: the
// calls before this one since sums_start.
template <int bits>
inline void sums_dot(Sums& acc, Bytes codes, const int8_t* q, int /*step*/) {
  for (int i = 0; i < 64; ++i) acc.v[i / 4] += (int)codes.v[i] * q[i % 4];
}
// 64 bytes as places in a table of 16; p: 64 bytes, the table four times.
struct ByteTable {
  uint8_t v[16];
};
inline ByteTable byte_table_load(const uint8_t* p) {
  ByteTable r;
  __builtin_memcpy(r.v, p, 16);
  return r;
}
inline Bytes bytes_lookup(const ByteTable& table, Bytes places) {
  for (uint8_t& byte : places.v) byte = table.v[byte];
  return places;
}
template <int bits>
inline Vec sums_to_vec(Sums x) {
  return vec_make([&](int i) { return (float)x.v[i]; });
}
// a * b + c in one rounding, on every instruction set.
inline Vec vec_fused(Vec a, Vec b, Vec c) {
  return vec_make([&](int i) { return fmaf(a.v[i], b.v[i], c.v[i]); });
}
inline void vec_store_i8(int8_t* p, Vec x) {
  for (int i = 0; i < 16; ++i) p[i] = (int8_t)x.v[i];
}

}  // namespace
