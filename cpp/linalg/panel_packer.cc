// Packs codes four at a time: a step's word of a row keeps its place in every plane.
#include "linalg/panel_packer.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "formats/bitpack.h"
#include "formats/formats.h"

namespace spectralkv {
namespace {

using simd::kPanelRows;
constexpr auto kRows = static_cast<std::size_t>(kPanelRows);

const Unpacking& unpacking_of(DType type) {
  return kUnpack[static_cast<std::size_t>(type)];
}

// Bytes between rows of codes: rows a power of two apart would meet in one set of the cache.
std::int64_t pitch(std::int64_t cols) {
  return cols + 64;
}

template <class T>
void at_least(Buffer<T>& buffer, std::int64_t n) {
  if (buffer.size() < static_cast<std::size_t>(n)) buffer = Buffer<T>::zeros(static_cast<std::size_t>(n));
}

// Four values at a time, on every machine: compilers make its own registers of them.
typedef float Floats __attribute__((vector_size(16)));
typedef std::int32_t Ints __attribute__((vector_size(16)));
typedef std::uint32_t Words __attribute__((vector_size(16)));
constexpr std::int64_t kLanes = 4;

template <class T>
T load(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

Ints select(Ints mask, Ints yes, Ints no) {
  return (mask & yes) | (~mask & no);
}

// The largest bit pattern of n magnitudes, n a multiple of kLanes: patterns have the order of the numbers.
std::int32_t largest(const float* values, std::int64_t n) {
  Ints most{};
  for (std::int64_t i = 0; i < n; i += kLanes) {
    const Ints magnitude = load<Ints>(values + i) & 0x7fffffff;
    most = select(magnitude > most, magnitude, most);
  }
  return std::max({most[0], most[1], most[2], most[3]});
}

// A power of two that brings the largest scale or minimum of a row into [2^13, 2^14).
float unit_of(std::int32_t largest_bits) {
  const float most = skv_bits_to_f32(static_cast<std::uint32_t>(largest_bits));
  int exponent = 0;
  if (most > 0 && std::isfinite(most)) std::frexp(most, &exponent);
  return std::ldexp(1.0f, std::clamp(exponent - 14, -120, 120));
}

// to[i] = skv_f32_to_f16(from[i] * factor), n a multiple of kLanes; factor: a power of two, so that only f16
// rounds.
void to_halves(const float* from, std::int64_t n, float factor, std::uint16_t* to) {
  for (std::int64_t i = 0; i < n; i += kLanes) {
    const Floats values = load<Floats>(from + i) * factor;
    const Ints bits = load<Ints>(&values), magnitude = bits & 0x7fffffff;
    const Floats shifted = load<Floats>(&magnitude) + 0.5f;  // the adder rounds at 2^-24
    const Ints subnormal = load<Ints>(&shifted) - 0x3f000000;
    Ints half = (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13;
    half = select(magnitude < 0x38800000, subnormal, half);
    half = select(magnitude >= 0x477ff000, Ints{} + 0x7c00, half);
    half = select(magnitude > 0x7f800000, Ints{} + 0x7e00, half);
    half |= bits >> 16 & 0x8000;
    for (int lane = 0; lane < kLanes; ++lane) to[i + lane] = static_cast<std::uint16_t>(half[lane]);
  }
}

constexpr std::size_t kQuarter = kRows / kLanes;

// The codes of a group: words [step][16] are what its steps hold.
template <int group>
struct Steps {
  static constexpr std::size_t kSteps = group / 4;
  Words of[kSteps][kQuarter];

  // Rows of codes `pitch` apart.
  Steps(const std::uint8_t* codes, std::int64_t pitch, int step_columns) {
    if (step_columns == 8)
      eight_columns(codes, pitch);
    else
      four_columns(codes, pitch);
  }

  // Word [step][row] has the four columns of that step.
  void four_columns(const std::uint8_t* codes, std::int64_t pitch) {
    for (std::size_t quarter = 0; quarter < kQuarter; ++quarter, codes += 4 * pitch)
      for (std::size_t step = 0; step < kSteps; step += 4) {
        Words row[4];
        for (std::size_t r = 0; r < 4; ++r)
          std::memcpy(&row[r], codes + static_cast<std::int64_t>(r) * pitch + 4 * step, sizeof row[r]);
        const Words low01 = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5);
        const Words low23 = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5);
        const Words high01 = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7);
        const Words high23 = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
        of[step][quarter] = __builtin_shufflevector(low01, low23, 0, 1, 4, 5);
        of[step + 1][quarter] = __builtin_shufflevector(low01, low23, 2, 3, 6, 7);
        of[step + 2][quarter] = __builtin_shufflevector(high01, high23, 0, 1, 4, 5);
        of[step + 3][quarter] = __builtin_shufflevector(high01, high23, 2, 3, 6, 7);
      }
  }

  // Words [step][2 i] and behind have the eight columns of row i, or of row 8 + i in odd steps.
  void eight_columns(const std::uint8_t* codes, std::int64_t pitch) {
    constexpr std::size_t kHalf = kRows / 2;
    for (std::size_t r = 0; r < kRows; ++r, codes += pitch)
      for (std::size_t step = 0; step < kSteps; step += 2)
        std::memcpy(reinterpret_cast<std::uint8_t*>(of[step + r / kHalf]) + 8 * (r % kHalf), codes + 4 * step,
                    8);
  }

  // The plane of `width` bits from bit `low` of the codes.
  template <int width>
  std::uint8_t* plane(int low, std::uint8_t* out) const {
    constexpr std::uint32_t mask = 0x01010101u * ((1u << width) - 1u);
    constexpr std::size_t together = 8 / width;  // steps in one byte
    for (std::size_t step = 0; step < kSteps; step += together)
      for (std::size_t quarter = 0; quarter < kQuarter; ++quarter, out += sizeof(Words)) {
        Words w = of[step][quarter] >> low & mask;
        for (std::size_t s = 1; s < together; ++s)
          w |= (of[step + s][quarter] >> low & mask) << (static_cast<int>(s) * width);
        std::memcpy(out, &w, sizeof w);
      }
    return out;
  }

  // The same for one bit, of which a step of a row is half a byte.
  std::uint8_t* bits(int low, std::uint8_t* out) const {
    for (const auto& step : of) {
      std::uint32_t four[kRows];
      for (std::size_t quarter = 0; quarter < kQuarter; ++quarter) {
        Words w = step[quarter] >> low & 0x01010101u;
        w |= w >> 7;  // the four bits side by side
        w |= w >> 14;
        std::memcpy(four + 4 * quarter, &w, sizeof w);
      }
      for (std::size_t r = 0; r < kRows; r += 2)
        *out++ = static_cast<std::uint8_t>((four[r] & 15) | (four[r + 1] & 15) << 4);
    }
    return out;
  }
};

// Of n whole numbers a row, the first of each row, the second of each, and so on; rows `pitch` apart.
std::uint8_t* pack_fine(const std::int8_t* fine, std::int64_t pitch, std::int64_t n, std::uint8_t* out) {
  typedef std::uint8_t Bytes __attribute__((vector_size(16)));
  std::int64_t i = 0;
  for (; i + kPanelRows <= n; i += kPanelRows, out += kRows * kRows) {
    Bytes rows[kRows], next[kRows];
    for (std::int64_t r = 0; r < kPanelRows; ++r) rows[r] = load<Bytes>(fine + i + r * pitch);
    for (int round = 0; round < 4; ++round) {  // each puts bytes of rows eight apart beside each other
      for (std::size_t r = 0; r < kRows / 2; ++r) {
        next[2 * r] = __builtin_shufflevector(rows[r], rows[r + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21,
                                              6, 22, 7, 23);
        next[2 * r + 1] = __builtin_shufflevector(rows[r], rows[r + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28,
                                                  13, 29, 14, 30, 15, 31);
      }
      std::memcpy(rows, next, sizeof rows);
    }
    std::memcpy(out, rows, sizeof rows);
  }
  for (; i < n; ++i)
    for (std::int64_t r = 0; r < kPanelRows; ++r) *out++ = static_cast<std::uint8_t>(fine[i + r * pitch]);
  return out;
}

template <int group>
std::uint8_t* pack_group(const std::uint8_t* codes, std::int64_t pitch, int step_columns, int bits,
                         std::uint8_t* out) {
  const Steps<group> steps(codes, pitch, step_columns);
  for (int low = 0; low < bits;) {
    const int width = skv_plane_width(bits, low);
    out = width == 8   ? steps.template plane<8>(low, out)
          : width == 4 ? steps.template plane<4>(low, out)
          : width == 2 ? steps.template plane<2>(low, out)
                       : steps.bits(low, out);
    low += width;
  }
  return out;
}

}  // namespace

simd::PanelForm panel_form_of(DType type) {
  const auto& [form, has_fine, unpack] = unpacking_of(type);
  return {form.bits, form.group, form.has_minimum, form.has_levels, has_fine};
}

void PanelPacker::pack(const WeightView& w, std::int64_t panel, int step_columns, std::uint8_t* out) {
  const Unpacking& kind = unpacking_of(w.type);
  const skv_form& form = kind.form;
  const simd::PanelForm shape = panel_form_of(w.type);
  assert(kind.unpack != nullptr && (form.group == 16 || form.group == 32));
  const std::int64_t columns = shape.block_columns(), blocks = w.cols / columns, step = pitch(w.cols);
  const std::int64_t scales = (blocks + kLanes - 1) / kLanes * kLanes;  // zeros behind a row's own
  const std::int64_t block_fine = shape.has_fine ? columns / form.group * (form.has_minimum ? 2 : 1) : 0;
  at_least(codes_, kPanelRows * step);
  at_least(scales_, scales);
  at_least(minimums_, scales);
  at_least(scale_halves_, kPanelRows * scales);
  at_least(minimum_halves_, kPanelRows * scales);
  at_least(fine_, kPanelRows * blocks * block_fine);

  float units[kRows];
  for (std::int64_t r = 0; r < kPanelRows; ++r) {
    std::uint8_t* const codes = codes_.data() + r * step;
    float *const scale = scales_.data(), *const minimum = minimums_.data();
    std::int8_t* const fine = fine_.data() + r * blocks * block_fine;
    if (panel * kPanelRows + r < w.rows) {
      kind.unpack(w.row(panel * kPanelRows + r), w.cols, codes, scale, minimum, fine);
    } else {  // rows behind the last are zeros
      std::memset(codes, 0, static_cast<std::size_t>(w.cols));
      std::fill(scale, scale + blocks, 0.0f);
      std::fill(minimum, minimum + blocks, 0.0f);
      std::fill(fine, fine + blocks * block_fine, std::int8_t{0});
    }
    std::fill(scale + blocks, scale + scales, 0.0f);
    std::fill(minimum + blocks, minimum + scales, 0.0f);
    units[r] = unit_of(std::max(largest(scale, scales), form.has_minimum ? largest(minimum, scales) : 0));
    to_halves(scale, scales, 1 / units[r], scale_halves_.data() + r * scales);
    if (form.has_minimum) to_halves(minimum, scales, 1 / units[r], minimum_halves_.data() + r * scales);
  }
  std::memcpy(out, units, sizeof units);
  out += sizeof units;
  for (int i = 0; form.has_levels && i < 64; ++i)
    *out++ = static_cast<std::uint8_t>(form.levels[i % 16] + form.offset);

  const auto halves = [&](const std::uint16_t* of) {
    for (std::int64_t r = 0; r < kPanelRows; ++r, out += 2) std::memcpy(out, of + r * scales, 2);
  };
  for (std::int64_t block = 0; block < blocks; ++block) {
    halves(scale_halves_.data() + block);
    if (form.has_minimum) halves(minimum_halves_.data() + block);
    out = pack_fine(fine_.data() + block * block_fine, blocks * block_fine, block_fine, out);
    for (std::int64_t c = block * columns; c < (block + 1) * columns; c += form.group) {
      const std::uint8_t* const codes = codes_.data() + c;
      out = form.group == 32 ? pack_group<32>(codes, step, step_columns, form.bits, out)
                             : pack_group<16>(codes, step, step_columns, form.bits, out);
    }
  }
}

std::int64_t PanelPacker::bytes() const {
  return static_cast<std::int64_t>(codes_.bytes() + scales_.bytes() + minimums_.bytes() + fine_.bytes() +
                                   scale_halves_.bytes() + minimum_halves_.bytes());
}

}  // namespace spectralkv
