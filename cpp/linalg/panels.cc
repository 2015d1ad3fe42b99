// Packs codes four at a time: a step's word of a row keeps its place in every plane.
#include "linalg/panels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/half.h"
#include "formats/bitpack.h"
#include "formats/formats.h"
#include "simd/panel_layout.h"

namespace spectralkv {
namespace {

using simd::kPanelRows;
constexpr auto kRows = static_cast<std::size_t>(kPanelRows);

// Sixteen rows taken apart; rows behind the last are zeros.
struct Rows {
  std::int64_t cols, blocks;
  std::size_t row_fine;               // whole numbers of a row
  std::vector<std::uint8_t> codes;    // [16, cols]
  std::vector<float> scale, minimum;  // [16, blocks]
  std::vector<std::int8_t> fine;      // [16, row_fine]

  Rows(std::int64_t n, const simd::PanelForm& form)
      : cols(n),
        blocks(n / form.block_columns()),
        row_fine(form.has_fine ? static_cast<std::size_t>(n / form.group * (form.has_minimum ? 2 : 1)) : 0),
        codes(kRows * static_cast<std::size_t>(n)),
        scale(kRows * static_cast<std::size_t>(blocks)),
        minimum(scale.size()),
        fine(kRows * row_fine) {}

  void load(const WeightView& w, skv_unpack_fn unpack, std::int64_t first) {
    for (std::int64_t r = 0; r < kPanelRows; ++r) {
      std::uint8_t* to = codes.data() + r * cols;
      float *s = scale.data() + r * blocks, *m = minimum.data() + r * blocks;
      if (first + r < w.rows) {
        unpack(w.row(first + r), cols, to, s, m, fine.data() + static_cast<std::size_t>(r) * row_fine);
      } else {
        std::memset(to, 0, static_cast<std::size_t>(cols));
        std::fill(s, s + blocks, 0.0f);
        std::fill(m, m + blocks, 0.0f);
      }
    }
  }
  // A power of two that brings the row's largest scale or minimum into [2^13, 2^14).
  float unit(std::int64_t r) const {
    float most = 0;
    for (std::int64_t i = r * blocks; i < (r + 1) * blocks; ++i) {
      const auto at = static_cast<std::size_t>(i);
      most = std::max({most, std::fabs(scale[at]), std::fabs(minimum[at])});
    }
    int exponent = 0;
    if (most > 0 && std::isfinite(most)) std::frexp(most, &exponent);
    return std::ldexp(1.0f, std::clamp(exponent - 14, -120, 120));
  }
  std::uint32_t word(std::int64_t r, std::int64_t column) const {
    std::uint32_t w = 0;
    std::memcpy(&w, codes.data() + r * cols + column, 4);
    return w;
  }
};

void put(std::uint8_t*& out, std::uint32_t w) {
  std::memcpy(out, &w, 4);
  out += 4;
}

// The plane of `width` bits from bit `low` of the codes of columns [column, column + group).
void pack_plane(const Rows& rows, std::int64_t column, int group, int low, int width, std::uint8_t*& out) {
  if (width == 1) {
    for (std::int64_t c = column; c < column + group; c += 4)
      for (std::int64_t r = 0; r < kPanelRows; r += 2) {
        const auto nibble = [&](std::int64_t row) {  // the four bits side by side
          return ((rows.word(row, c) >> low & 0x01010101u) * 0x01020408u) >> 24 & 15u;
        };
        *out++ = static_cast<std::uint8_t>(nibble(r) | nibble(r + 1) << 4);
      }
    return;
  }
  const std::uint32_t mask = 0x01010101u * ((1u << width) - 1u);
  const int together = 8 / width;  // steps in one byte
  for (std::int64_t c = column; c < column + group; c += 4 * together)
    for (std::int64_t r = 0; r < kPanelRows; ++r) {
      std::uint32_t w = 0;
      for (int s = 0; s < together; ++s) w |= (rows.word(r, c + 4 * s) >> low & mask) << (s * width);
      put(out, w);
    }
}

void pack(const Rows& rows, const skv_form& form, const simd::PanelForm& panel, std::uint8_t* out) {
  float units[kRows];
  for (std::int64_t r = 0; r < kPanelRows; ++r) units[r] = rows.unit(r);
  std::memcpy(out, units, sizeof units);
  out += sizeof units;
  for (int i = 0; form.has_levels && i < 64; ++i)
    *out++ = static_cast<std::uint8_t>(form.levels[i % 16] + form.offset);
  const auto halves = [&](const std::vector<float>& of, std::int64_t block) {
    for (std::int64_t r = 0; r < kPanelRows; ++r, out += 2) {
      const std::uint16_t half =
          skv_f32_to_f16(of[static_cast<std::size_t>(r * rows.blocks + block)] / units[r]);
      std::memcpy(out, &half, 2);
    }
  };
  const std::size_t block_fine = rows.row_fine / static_cast<std::size_t>(rows.blocks);
  for (std::int64_t block = 0; block < rows.blocks; ++block) {
    halves(rows.scale, block);
    if (form.has_minimum) halves(rows.minimum, block);
    for (std::size_t i = 0; i < block_fine; ++i)
      for (std::size_t r = 0; r < kRows; ++r)
        *out++ = static_cast<std::uint8_t>(
            rows.fine[r * rows.row_fine + static_cast<std::size_t>(block) * block_fine + i]);
    const std::int64_t columns = panel.block_columns();
    for (std::int64_t column = block * columns; column < (block + 1) * columns; column += form.group)
      for (int low = 0; low < form.bits;) {
        const int width = skv_plane_width(form.bits, low);
        pack_plane(rows, column, form.group, low, width, out);
        low += width;
      }
  }
}

const Unpacking& unpacking_of(DType type) {
  return kUnpack[static_cast<std::size_t>(type)];
}

}  // namespace

bool Panels::possible(DType type) {
  return unpacking_of(type).unpack != nullptr;
}

Panels::Panels(const WeightView& w, ThreadPool& pool) {
  const Unpacking& kind = unpacking_of(w.type);  // named parts would be no captures for clang before 16
  const auto& form = kind.form;
  const auto unpack = kind.unpack;
  assert(unpack != nullptr);
  const simd::PanelForm panel{form.bits, form.group, form.has_minimum, form.has_levels, kind.has_fine};
  offset_ = form.offset;
  count_ = (w.rows + kPanelRows - 1) / kPanelRows;
  panel_bytes_ = panel.bytes(w.cols);
  data_ = Buffer<std::uint8_t>(static_cast<std::size_t>(count_ * panel_bytes_));
  advise_huge_pages(data_.data(), data_.bytes());
  pool.for_range(count_, [&](std::int64_t begin, std::int64_t end, int) {
    Rows rows(w.cols, panel);
    for (std::int64_t i = begin; i < end; ++i) {
      rows.load(w, unpack, i * kPanelRows);
      pack(rows, form, panel, data_.data() + i * panel_bytes_);
    }
  });
}

}  // namespace spectralkv
