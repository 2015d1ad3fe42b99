// Packed codes against the definition of the layout, bit by bit, for every width and many row lengths.
#include "formats/bitpack.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/random.h"

namespace {

TEST(BitPack, RoundTripAndLayout) {
  for (int bits = 1; bits <= 8; ++bits)
    for (int d = 8; d <= 272; d += 8) {
      const auto n = static_cast<std::size_t>(d);
      std::vector<std::uint8_t> codes(n);
      for (std::size_t i = 0; i < n; ++i)
        codes[i] = static_cast<std::uint8_t>(spectralkv::random_bits(static_cast<std::uint64_t>(bits), i) >>
                                             (64 - bits));
      const std::size_t size = skv_packed_bytes(d, bits);
      EXPECT_EQ(size * 8, n * static_cast<std::size_t>(bits));
      std::vector<std::uint8_t> row(size + 1, 0xaa), expected(size, 0);
      skv_pack_codes(codes.data(), d, bits, row.data());
      EXPECT_EQ(row[size], 0xaa);  // not a byte more
      std::size_t plane_start = 0;
      int low = 0;
      for (const int width : {8, 4, 2, 1}) {  // the definition
        if ((bits & width) == 0) continue;
        for (std::size_t i = 0; i < n; ++i)
          for (int b = 0; b < width; ++b) {
            const std::size_t at =
                plane_start + i * static_cast<std::size_t>(width) + static_cast<std::size_t>(b);
            expected[at / 8] =
                static_cast<std::uint8_t>(expected[at / 8] | ((codes[i] >> (low + b) & 1) << (at % 8)));
          }
        plane_start += n * static_cast<std::size_t>(width);
        low += width;
      }
      for (std::size_t i = 0; i < size; ++i) ASSERT_EQ(row[i], expected[i]);
      for (int i = 0; i < d; ++i)
        ASSERT_EQ(skv_packed_code(row.data(), d, bits, i), codes[static_cast<std::size_t>(i)]);
    }
}

TEST(BitPack, WideCodesAreAByteAndTheRestAbove) {
  for (const int bits : {10, 12, 16})
    for (const int d : {8, 16, 80, 272}) {
      std::vector<std::uint16_t> codes(static_cast<std::size_t>(d));
      for (std::size_t i = 0; i < codes.size(); ++i)
        codes[i] = static_cast<std::uint16_t>(spectralkv::random_bits(static_cast<std::uint64_t>(bits), i) >>
                                              (64 - bits));
      const std::size_t size = skv_packed_bytes(d, bits), low = static_cast<std::size_t>(d);
      std::vector<std::uint8_t> row(size + 1, 0xaa), lower(low), upper(size - low);
      skv_pack_codes(codes.data(), d, bits, row.data());
      EXPECT_EQ(row[size], 0xaa);
      std::vector<std::uint8_t> low_codes, high_codes;
      for (const std::uint16_t code : codes) {
        low_codes.push_back(static_cast<std::uint8_t>(code & 255));
        high_codes.push_back(static_cast<std::uint8_t>(code >> 8));
      }
      skv_pack_codes(low_codes.data(), d, 8, lower.data());
      skv_pack_codes(high_codes.data(), d, bits - 8, upper.data());
      for (std::size_t i = 0; i < size; ++i) ASSERT_EQ(row[i], i < low ? lower[i] : upper[i - low]);
      for (int i = 0; i < d; ++i)
        ASSERT_EQ(skv_packed_code(row.data(), d, bits, i), codes[static_cast<std::size_t>(i)]);
    }
}

TEST(BitPack, ThreeBitsByHand) {
  const std::uint8_t codes[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  std::uint8_t row[3];
  skv_pack_codes(codes, 8, 3, row);
  EXPECT_EQ(row[0], 0b11100100);
  EXPECT_EQ(row[1], 0b11100100);
  EXPECT_EQ(row[2], 0b11110000);
}

}  // namespace
