// One block of each weight type, built byte by byte and worked out by hand.
#include "formats/formats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace spectralkv {
namespace {

constexpr std::uint16_t kHalf = 0x3800, kOne = 0x3c00, kTwo = 0x4000, kMinusOne = 0xbc00;  // as f16

using Bytes = std::vector<std::uint8_t>;

void put_u16(Bytes& block, std::size_t at, std::uint16_t value) {
  block[at] = static_cast<std::uint8_t>(value & 255);
  block[at + 1] = static_cast<std::uint8_t>(value >> 8);
}

// Decodes from an odd address: rows need no alignment.
std::vector<float> decode(skv_decode_fn decoder, const Bytes& bytes, std::int64_t n) {
  Bytes shifted(bytes.size() + 1);
  std::memcpy(shifted.data() + 1, bytes.data(), bytes.size());
  std::vector<float> out(static_cast<std::size_t>(n), NAN);
  decoder(shifted.data() + 1, out.data(), n);
  return out;
}

TEST(Formats, F32) {
  EXPECT_EQ(decode(skv_decode_f32, {0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0}, 2),
            (std::vector<float>{1.0f, -2.5f}));
}

TEST(Formats, F16) {
  const auto out = decode(skv_decode_f16, {0x00, 0x3e, 0x01, 0x80, 0x00, 0xfc, 0x00, 0x80}, 4);
  EXPECT_EQ(out[0], 1.5f);
  EXPECT_EQ(out[1], -0x1p-24f);  // the smallest subnormal
  EXPECT_EQ(out[2], -INFINITY);
  EXPECT_TRUE(out[3] == 0.0f && std::signbit(out[3]));
}

TEST(Formats, Bf16) {
  EXPECT_EQ(decode(skv_decode_bf16, {0x80, 0x3f, 0x20, 0xc0}, 2), (std::vector<float>{1.0f, -2.5f}));
}

TEST(Formats, Q8_0) {
  Bytes block(34, 0);
  put_u16(block, 0, kHalf);
  block[2] = 4;          // value 0
  block[2 + 31] = 0x80;  // value 31: -128
  const auto out = decode(skv_decode_q8_0, block, 32);
  for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(out[i], i == 0 ? 2.0f : i == 31 ? -64.0f : 0.0f) << i;
}

TEST(Formats, Q4_0) {
  Bytes block(18, 0x88);  // code 8 is zero
  put_u16(block, 0, kHalf);
  block[2 + 3] = 0x0f;  // value 3: 15 - 8, value 19: 0 - 8
  const auto out = decode(skv_decode_q4_0, block, 32);
  for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(out[i], i == 3 ? 3.5f : i == 19 ? -4.0f : 0.0f) << i;
}

TEST(Formats, Q4_1) {
  Bytes block(20, 0);
  put_u16(block, 0, kHalf);
  put_u16(block, 2, kMinusOne);
  block[4 + 3] = 0xa1;  // value 3: code 1, value 19: code 10
  const auto out = decode(skv_decode_q4_1, block, 32);
  for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(out[i], i == 3 ? -0.5f : i == 19 ? 4.0f : -1.0f) << i;
}

TEST(Formats, Q5_0) {
  Bytes block(22, 0);
  put_u16(block, 0, kHalf);
  block[2] = 0x08;      // bit 3: value 3
  block[5] = 0x80;      // bit 31: value 31
  block[6 + 3] = 0x25;  // value 3: low bits 5, value 19: 2
  const auto out = decode(skv_decode_q5_0, block, 32);
  // Codes: value 3: 21, value 19: 2, value 31: 16, all others 0.
  for (std::size_t i = 0; i < 32; ++i)
    EXPECT_EQ(out[i], i == 3 ? 2.5f : i == 19 ? -7.0f : i == 31 ? 0.0f : -8.0f) << i;
}

TEST(Formats, Q5_1) {
  Bytes block(24, 0);
  put_u16(block, 0, kHalf);
  put_u16(block, 2, kOne);
  block[4] = 0x08;      // bit 3: value 3
  block[7] = 0x80;      // bit 31: value 31
  block[8 + 3] = 0x25;  // value 3: low bits 5, value 19: 2
  const auto out = decode(skv_decode_q5_1, block, 32);
  for (std::size_t i = 0; i < 32; ++i)
    EXPECT_EQ(out[i], i == 3 ? 11.5f : i == 19 ? 2.0f : i == 31 ? 9.0f : 1.0f) << i;
}

TEST(Formats, Q2K) {
  Bytes block(84, 0);
  put_u16(block, 80, kHalf);
  put_u16(block, 82, kTwo);
  block[0] = 0x16;           // group 0: scale 6, minimum 1
  block[13] = 0x0f;          // group 13: scale 15, minimum 0
  block[16 + 5] = 0x02;      // value 5: code 2
  block[16 + 32 + 18] = 48;  // second half, byte 18, pair 2: value 128 + 64 + 18 = 210 (group 13): code 3
  const auto out = decode(skv_decode_q2_k, block, 256);
  for (std::size_t i = 0; i < 256; ++i)
    EXPECT_EQ(out[i], i == 5 ? 4.0f : i < 16 ? -2.0f : i == 210 ? 22.5f : 0.0f) << i;
}

TEST(Formats, Q3K) {
  Bytes block(110, 0);
  for (std::size_t i = 0; i < 32; ++i) block[i] = 0xff;  // high bits set: a low pair of 0 is code 0
  put_u16(block, 108, kHalf);
  // Stored scales default to 0, which is -32. Group 2: low half of byte 2 is 5, upper pair 0 of byte 8 + 2 is
  // 3: 53 - 32.
  block[96 + 2] = 0x05;
  block[96 + 8 + 2] = 0x03;
  // Group 13: high half of byte 5 is 9, pair 3 of byte 8 + 1 is 2: 41 - 32.
  block[96 + 5] = 0x90;
  block[96 + 8 + 1] = 0x80;
  block[32 + 4] = 0x08;  // value 36 (group 2): low pair 2, high bit set: 2
  block[32 + 32 + 20] =
      16;  // second half, byte 20, pair 2: value 128 + 64 + 20 = 212 (group 13): low pair 1 ...
  block[20] = 0xff ^ 0x40;  // ... and high bit 6 clear: 1 - 4 = -3
  block[32 + 0] = 0x01;     // value 0 (group 0, scale -32): 1
  const auto out = decode(skv_decode_q3_k, block, 256);
  for (std::size_t i = 0; i < 256; ++i)
    EXPECT_EQ(out[i], i == 0 ? -16.0f : i == 36 ? 21.0f : i == 212 ? -13.5f : 0.0f) << i;
}

// Writes scales and minimums into the 12 bytes at `at`: group 1 has scale 33 and minimum 2, group 6 scale 50,
// minimum 19.
void put_k_scales(Bytes& block, std::size_t at) {
  block[at + 1] = 33;
  block[at + 5] = 2;
  block[at + 2] = 3 << 6;       // scale 6: upper bits 3 ...
  block[at + 6] = 1 << 6;       // minimum 6: upper bits 1 ...
  block[at + 10] = 2 | 3 << 4;  // ... low bits 2 and 3
}

TEST(Formats, Q4K) {
  Bytes block(144, 0);
  put_u16(block, 0, kHalf);
  put_u16(block, 2, kTwo);
  put_k_scales(block, 4);
  block[16 + 7] = 0x40;       // value 32 + 7 (group 1): code 4
  block[16 + 96 + 9] = 0x0b;  // value 192 + 9 (group 6): code 11
  const auto out = decode(skv_decode_q4_k, block, 256);
  for (std::size_t i = 0; i < 256; ++i) {
    const float base = i / 32 == 1 ? -4.0f : i / 32 == 6 ? -38.0f : 0.0f;
    EXPECT_EQ(out[i], i == 39 ? 62.0f : i == 201 ? 237.0f : base) << i;
  }
}

TEST(Formats, Q5K) {
  Bytes block(176, 0);
  put_u16(block, 0, kHalf);
  put_u16(block, 2, kTwo);
  put_k_scales(block, 4);
  block[48 + 7] = 0x40;       // value 39 (group 1): low bits 4
  block[48 + 96 + 9] = 0x0b;  // value 201 (group 6): low bits 11 ...
  block[16 + 9] = 0x40;       // ... and the high bit: code 27
  const auto out = decode(skv_decode_q5_k, block, 256);
  for (std::size_t i = 0; i < 256; ++i) {
    const float base = i / 32 == 1 ? -4.0f : i / 32 == 6 ? -38.0f : 0.0f;
    EXPECT_EQ(out[i], i == 39 ? 62.0f : i == 201 ? 637.0f : base) << i;
  }
}

TEST(Formats, Q6K) {
  Bytes block(210, 0);
  put_u16(block, 208, kHalf);
  block[192 + 2] = 4;      // group 2: scale 4
  block[192 + 13] = 0xfe;  // group 13: scale -2
  block[32 + 3] = 0x05;    // value 32 + 3 (group 2): low bits 5 ...
  block[128 + 3] = 0x0c;   // ... upper pair 3: code 53
  block[64 + 20] = 0x70;   // second half: value 128 + 64 + 20 = 212 (group 13): low bits 7, pair 0: code 7
  const auto out = decode(skv_decode_q6_k, block, 256);
  for (std::size_t i = 0; i < 256; ++i) {
    const float base = i / 16 == 2 ? -64.0f : i / 16 == 13 ? 32.0f : 0.0f;  // code 0 is -32
    EXPECT_EQ(out[i], i == 35 ? 42.0f : i == 212 ? 25.0f : base) << i;
  }
}

// Every line of list.def: the table has its decoder, rows of several blocks advance by the right bytes, and
// nothing is written behind the last value.
TEST(Formats, TableFollowsTheList) {
  struct Line {
    const char* name;
    skv_decode_fn decoder;
    std::size_t values, bytes;
  };
#define X(name, id, values, bytes, ...) Line{#name, skv_decode_##name, values, bytes},
  const std::vector<Line> lines = {
#include "formats/list.def"
  };
#undef X
  for (std::size_t t = 0; t < lines.size(); ++t) {
    const auto& [name, decoder, values, bytes] = lines[t];
    Bytes three(3 * bytes);
    for (std::size_t i = 0; i < three.size(); ++i) three[i] = static_cast<std::uint8_t>((i * 37 + 11) % 59);
    std::vector<float> whole(3 * values + 1, 123.0f), last(values);
    kDecode[t](three.data(), whole.data(), static_cast<std::int64_t>(3 * values));
    decoder(three.data() + 2 * bytes, last.data(), static_cast<std::int64_t>(values));
    EXPECT_EQ(std::memcmp(whole.data() + 2 * values, last.data(), values * sizeof(float)), 0) << name;
    EXPECT_EQ(whole.back(), 123.0f) << name;
  }
}

}  // namespace
}  // namespace spectralkv
