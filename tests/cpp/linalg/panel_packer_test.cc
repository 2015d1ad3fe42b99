// Packed panels against panel_layout.h read word by word.
#include "linalg/panel_packer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/half.h"
#include "formats/bitpack.h"
#include "formats/formats.h"
#include "simd/kernels.h"
#include "support/random_rows.h"

namespace spectralkv {
namespace {

using testing_support::kFormats;
using testing_support::random_rows;

// The plain twin.
std::vector<std::uint8_t> plain_panel(const WeightView& w, std::int64_t panel, int step_columns) {
  const auto& [form, has_fine, unpack] = kUnpack[static_cast<std::size_t>(w.type)];
  const simd::PanelForm shape = panel_form_of(w.type);
  const auto cols = static_cast<std::size_t>(w.cols),
             columns = static_cast<std::size_t>(shape.block_columns());
  const auto blocks = cols / columns, group = static_cast<std::size_t>(form.group);
  const std::size_t block_fine = has_fine ? columns / group * (form.has_minimum ? 2 : 1) : 0;
  struct Row {
    std::vector<std::uint8_t> codes;
    std::vector<float> scale, minimum;
    std::vector<std::int8_t> fine;
    float unit;
  };
  std::vector<Row> rows;
  for (std::int64_t r = 0; r < 16; ++r) {
    Row row{std::vector<std::uint8_t>(cols), std::vector<float>(blocks), std::vector<float>(blocks),
            std::vector<std::int8_t>(blocks * block_fine), 1.0f};
    if (16 * panel + r < w.rows)
      unpack(w.row(16 * panel + r), w.cols, row.codes.data(), row.scale.data(), row.minimum.data(),
             row.fine.data());
    float most = 0;
    for (std::size_t b = 0; b < blocks; ++b)
      most = std::max({most, std::fabs(row.scale[b]), form.has_minimum ? std::fabs(row.minimum[b]) : 0.0f});
    row.unit = std::ldexp(1.0f, std::max(-120, (most > 0 ? std::ilogb(most) + 1 : 0) - 14));
    rows.push_back(row);
  }
  std::vector<std::uint8_t> out;
  const auto put = [&](const auto& value) {
    std::uint8_t bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    out.insert(out.end(), bytes, bytes + sizeof value);
  };
  for (const Row& row : rows) put(row.unit);
  for (int i = 0; form.has_levels && i < 64; ++i)
    put(static_cast<std::uint8_t>(form.levels[i % 16] + form.offset));
  for (std::size_t b = 0; b < blocks; ++b) {
    for (const Row& row : rows) put(skv_f32_to_f16(row.scale[b] / row.unit));
    for (std::size_t r = 0; form.has_minimum && r < 16; ++r)
      put(skv_f32_to_f16(rows[r].minimum[b] / rows[r].unit));
    for (std::size_t i = 0; i < block_fine; ++i)
      for (const Row& row : rows) put(row.fine[b * block_fine + i]);
    for (std::size_t first = b * columns; first < (b + 1) * columns; first += group)
      for (int low = 0; low < form.bits;) {
        const int width = skv_plane_width(form.bits, low);
        std::vector<std::uint8_t> plane(16 * group * static_cast<std::size_t>(width) / 8);
        for (std::size_t c = 0; c < group; ++c)
          for (std::size_t r = 0; r < 16; ++r) {
            const bool wide = step_columns == 8;
            const std::size_t step = wide ? c / 8 * 2 + r / 8 : c / 4;
            const std::size_t code = wide ? r % 8 * 8 + c % 8 : 4 * r + c % 4;  // of the step
            const std::size_t together = 8 / static_cast<std::size_t>(width);
            const unsigned bits = rows[r].codes[first + c] >> low & ((1u << width) - 1u);
            const std::size_t byte = width == 1 ? 8 * step + code / 8 : step / together * 64 + code;
            const std::size_t shift =
                width == 1 ? code % 8 : step % together * static_cast<std::size_t>(width);
            plane[byte] = static_cast<std::uint8_t>(plane[byte] | bits << shift);
          }
        out.insert(out.end(), plane.begin(), plane.end());
        low += width;
      }
  }
  return out;
}

TEST(PanelPacker, PacksWhatTheLayoutSays) {
  PanelPacker packer;  // one for all: what an earlier panel left must not show
  for (int type = 0; type < simd::kTypes; ++type) {
    const auto dtype = static_cast<DType>(type);
    if (kUnpack[type].unpack == nullptr) continue;
    for (const std::int64_t blocks : {5, 1, 3}) {
      const std::int64_t n = kFormats[type].values * blocks, rows = 35;
      const auto bytes = random_rows(kFormats[type], rows, n, 11);
      WeightView w;
      w.type = dtype;
      w.data = reinterpret_cast<const std::byte*>(bytes.data());
      w.rows = rows;
      w.cols = n;
      for (const int step_columns : {4, 8})
        for (std::int64_t panel = 0; panel < 3; ++panel) {
          const auto expected = plain_panel(w, panel, step_columns);
          ASSERT_EQ(static_cast<std::int64_t>(expected.size()), panel_form_of(dtype).bytes(n));
          std::vector<std::uint8_t> packed(expected.size(), 0xa5);
          packer.pack(w, panel, step_columns, packed.data());
          EXPECT_EQ(packed, expected) << kFormats[type].name << ", panel " << panel << ", blocks " << blocks
                                      << ", steps of " << step_columns << " columns";
        }
    }
  }
}

// Scales of every size in one row: f16 rounds some of them, and makes subnormal numbers and zeros of others.
TEST(PanelPacker, ScalesOfEverySize) {
  constexpr std::int64_t blocks = 64, n = 32 * blocks;
  for (const int top : {0x7bff, 0x3c01, 0x0003, 0x0000}) {
    std::vector<std::uint8_t> bytes(
        static_cast<std::size_t>(blocks * kFormats[static_cast<int>(DType::q4_1)].bytes));
    for (std::int64_t b = 0; b < blocks; ++b) {
      const auto scale = static_cast<std::uint16_t>(b == 7 ? top : (top >> b % 16) * 977 % (top + 1));
      const auto minimum = static_cast<std::uint16_t>(0x8000 | (top >> b / 4));
      std::memcpy(bytes.data() + b * 20, &scale, 2);
      std::memcpy(bytes.data() + b * 20 + 2, &minimum, 2);
    }
    WeightView w;
    w.type = DType::q4_1;
    w.data = reinterpret_cast<const std::byte*>(bytes.data());
    w.rows = 1;
    w.cols = n;
    const auto expected = plain_panel(w, 0, 4);
    std::vector<std::uint8_t> packed(expected.size());
    PanelPacker().pack(w, 0, 4, packed.data());
    EXPECT_EQ(packed, expected) << top;
  }
}

// What is no number stays none, and the rest of the panel what it is.
TEST(PanelPacker, ScalesThatAreNoNumbers) {
  constexpr std::int64_t n = 64;
  std::vector<std::uint8_t> bytes(2 * 40);
  const std::uint16_t infinite = 0x7c00, nan = 0x7e00, one = 0x3c00;
  std::memcpy(bytes.data(), &infinite, 2);
  std::memcpy(bytes.data() + 20, &nan, 2);
  std::memcpy(bytes.data() + 40, &one, 2);
  WeightView w;
  w.type = DType::q4_1;
  w.data = reinterpret_cast<const std::byte*>(bytes.data());
  w.rows = 2;
  w.cols = n;
  const simd::PanelForm shape = panel_form_of(w.type);
  std::vector<std::uint8_t> packed(static_cast<std::size_t>(shape.bytes(n)));
  PanelPacker().pack(w, 0, 4, packed.data());
  const auto scale = [&](std::int64_t row, std::int64_t block) {
    float unit = 0;
    std::uint16_t half = 0;
    std::memcpy(&unit, packed.data() + 4 * row, 4);
    std::memcpy(
        &half,
        packed.data() + shape.header_bytes() + block * (shape.scale_bytes() + shape.group_bytes()) + 2 * row,
        2);
    return unit * skv_f16_to_f32(half);
  };
  EXPECT_EQ(scale(0, 0), std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(scale(0, 1)));
  EXPECT_EQ(scale(1, 0), 1.0f);
  EXPECT_EQ(scale(1, 1), 0.0f);
}

}  // namespace
}  // namespace spectralkv
