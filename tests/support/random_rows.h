// Random rows of every weight type.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "base/random.h"
#include "support/compare.h"

namespace spectralkv::testing_support {

struct Format {
  const char* name;
  std::int64_t values, bytes;
};
constexpr Format kFormats[] = {
#define X(name, id, values, bytes, ...) {#name, values, bytes},
#include "formats/list.def"
#undef X
};

// Rows of random bytes whose f16 and f32 scales are small and finite: every 16-bit word gets a moderate
// exponent.
inline std::vector<std::uint8_t> random_rows(const Format& format, std::int64_t rows, std::int64_t n,
                                             std::uint64_t seed) {
  const std::int64_t bytes = rows * (n / format.values) * format.bytes;
  std::vector<std::uint8_t> data(static_cast<std::size_t>(bytes));
  if (std::strcmp(format.name, "f32") == 0) {
    const auto x = normals(seed, data.size() / 4);
    std::memcpy(data.data(), x.data(), data.size());
    return data;
  }
  for (std::size_t i = 0; i < data.size(); ++i) {
    const auto bits = random_bits(seed, i);
    data[i] =
        static_cast<std::uint8_t>(i % 2 == 0 ? bits : ((bits & 0x83u) | 0x28u));  // f16 exponents 10 and 11
  }
  if (std::strcmp(format.name, "bf16") == 0)
    for (std::size_t i = 1; i < data.size(); i += 2)
      data[i] = static_cast<std::uint8_t>((data[i] & 0x80u) | 0x3fu);
  if (std::strcmp(format.name, "mxfp4") == 0)  // exponents of a byte in front of each block of 17
    for (std::size_t i = 0; i < data.size(); i += 17) data[i] = static_cast<std::uint8_t>(112 + data[i] % 16);
  return data;
}

}  // namespace spectralkv::testing_support
