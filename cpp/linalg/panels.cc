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
  std::int64_t cols, groups;
  std::vector<std::uint8_t> codes;    // [16, cols]
  std::vector<float> scale, minimum;  // [16, groups]

  Rows(std::int64_t n, std::int64_t g)
      : cols(n),
        groups(g),
        codes(kRows * static_cast<std::size_t>(n)),
        scale(kRows * static_cast<std::size_t>(g)),
        minimum(scale.size()) {}

  void load(const WeightView& w, skv_unpack_fn unpack, std::int64_t first) {
    for (std::int64_t r = 0; r < kPanelRows; ++r) {
      std::uint8_t* to = codes.data() + r * cols;
      float *s = scale.data() + r * groups, *m = minimum.data() + r * groups;
      if (first + r < w.rows) {
        unpack(w.row(first + r), cols, to, s, m);
      } else {
        std::memset(to, 0, static_cast<std::size_t>(cols));
        std::fill(s, s + groups, 0.0f);
        std::fill(m, m + groups, 0.0f);
      }
    }
  }
  // A power of two that brings the row's largest scale or minimum into [2^13, 2^14).
  float unit(std::int64_t r) const {
    float most = 0;
    for (std::int64_t g = r * groups; g < (r + 1) * groups; ++g) {
      const auto at = static_cast<std::size_t>(g);
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

void pack(const Rows& rows, const skv_form& form, std::uint8_t* out) {
  float units[kRows];
  for (std::int64_t r = 0; r < kPanelRows; ++r) units[r] = rows.unit(r);
  std::memcpy(out, units, sizeof units);
  out += sizeof units;
  for (int i = 0; form.has_levels && i < 64; ++i)
    *out++ = static_cast<std::uint8_t>(form.levels[i % 16] + form.offset);
  const auto halves = [&](const std::vector<float>& of, std::int64_t g) {
    for (std::int64_t r = 0; r < kPanelRows; ++r, out += 2) {
      const std::uint16_t half = skv_f32_to_f16(of[static_cast<std::size_t>(r * rows.groups + g)] / units[r]);
      std::memcpy(out, &half, 2);
    }
  };
  for (std::int64_t g = 0; g < rows.groups; ++g) {
    halves(rows.scale, g);
    if (form.has_minimum) halves(rows.minimum, g);
    for (int low = 0; low < form.bits;) {
      const int width = skv_plane_width(form.bits, low);
      pack_plane(rows, g * form.group, form.group, low, width, out);
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
  offset_ = form.offset;
  count_ = (w.rows + kPanelRows - 1) / kPanelRows;
  panel_bytes_ = simd::panel_bytes(form.bits, form.group, form.has_minimum, form.has_levels, w.cols);
  data_ = Buffer<std::uint8_t>(static_cast<std::size_t>(count_ * panel_bytes_));
  pool.for_range(count_, [&](std::int64_t begin, std::int64_t end, int) {
    Rows rows(w.cols, w.cols / form.group);
    for (std::int64_t i = begin; i < end; ++i) {
      rows.load(w, unpack, i * kPanelRows);
      pack(rows, form, data_.data() + i * panel_bytes_);
    }
  });
}

}  // namespace spectralkv
