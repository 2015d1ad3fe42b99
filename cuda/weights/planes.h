// How a weight matrix lies in device memory: codes, scales and minimums in planes of their own, so that a
// warp reads each of them side by side. Host and device, no STL.
//
// A quantised matrix [rows, cols] of b-bit codes has, row after row:
//
//     main   the low 8, 4 or 2 bits (Form::kMain) of 32 values after the other, in 32, 16 or 8 bytes
//     high   the remaining 2 or 1 bits (Form::kHigh), in 8 or 4 bytes for 32 values; none where kHigh is 0
//     coarse, fine   what formats/form.h's skv_scales gives of a block of 32 or 256 values (Form::kSuper)
//
// 32 values are eight quads. Quad s (values 4 s to 4 s + 3) is, byte by byte, in the bits from 4 (s % 2) of
// the 32-bit word s / 2 of 4-bit main, from 2 (s % 4) of word s / 4 of 2-bit main or high, from s of the only
// word of 1-bit high; and word s of 8-bit main. So one shift and one mask make what a byte product takes.
//
// Codes that are places in a table of levels take four bits of main each, in the order of their values: quad
// s has the 16 bits from 16 (s % 2) of word s / 2, so that they choose bytes of the table as they stand.
//
// The code of 8-bit types is signed, and so are levels. A value is scale * (code - offset) - minimum, with
// scale = coarse * fine and minimum alike. Only a type's own file in formats/ knows how blocks hold codes;
// nothing is rounded here.
//
// A matrix of f32, f16 or bf16 keeps its values in `main`, with rows padded to a multiple of 16 bytes.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/device/device.h"
#include "formats/decode.h"

namespace spectralkv::cuda {

struct Planes {
  std::uint32_t* main = nullptr;
  std::uint32_t* high = nullptr;
  std::uint16_t* coarse = nullptr;
  std::uint8_t* fine = nullptr;
  std::int64_t rows = 0, cols = 0;
  std::int64_t stride = 0;  // values from one row to the next, of f32, f16 and bf16 alone
};

// What codes are places in, and how the coarse factor of a block is to be read.
struct NoLevels {
  static constexpr bool kAny = false, kBf16 = false;
  static constexpr int kExponent = 0;
};
template <std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d, int exponent, bool bf16>
struct Levels {
  static constexpr bool kAny = true, kBf16 = bf16;
  static constexpr int kExponent = exponent;  // a scale is 2^kExponent times what coarse and fine say
  static constexpr std::uint32_t kFirst[2] = {a, b}, kLast[2] = {c, d};  // a signed byte each
};

// A quantised type's form.
template <int main_bits, int high_bits, int group, int super, int offset, bool minimum,
          class TableOf = NoLevels>
struct Form {
  using Table = TableOf;
  static constexpr int kMain = main_bits, kHigh = high_bits, kGroup = group, kSuper = super;
  static constexpr int kOffset = offset;  // the code of zero, as an unsigned code
  static constexpr bool kMinimum = minimum, kFine = super > group;
  static constexpr int kBits = main_bits + high_bits;
  static constexpr int kMainWords = main_bits, kHighWords = high_bits;  // 32-bit words for 32 values
  static constexpr int kCoarse = minimum ? 2 : 1;
  static constexpr int kFineBytes = kFine ? 32 / group * kCoarse : 0;  // for 32 values
  static_assert(main_bits == 8 ? high_bits == 0 && offset == 0 : high_bits >= 0 && high_bits <= 2);
  static_assert((group == 16 || group == 32) && super % 32 == 0);
};

// That of a type, from its block: what formats/form.h says of its codes.
constexpr int main_width(int bits) {
  return bits == 8 ? 8 : bits >= 4 ? 4 : 2;
}
template <class Block>
constexpr std::uint32_t four_levels(int first) {
  std::uint32_t word = 0;
  for (int i = 0; i < 4; ++i)
    word |= static_cast<std::uint32_t>(static_cast<std::uint8_t>(Block::kForm.levels[first + i])) << (8 * i);
  return word;
}
template <class Block, bool has_levels = Block::kForm.has_levels>
struct FormFinder {
  using Type = Form<main_width(Block::kForm.bits), Block::kForm.bits - main_width(Block::kForm.bits),
                    Block::kForm.group, skv_block_values<Block>::k,
                    Block::kForm.bits == 8 ? Block::kForm.offset - 128 : Block::kForm.offset,
                    Block::kForm.has_minimum>;
};
template <class Block>
struct FormFinder<Block, true> {
  using Table = Levels<four_levels<Block>(0), four_levels<Block>(4), four_levels<Block>(8),
                       four_levels<Block>(12), Block::kForm.exponent, Block::kForm.coarse_bf16>;
  using Type = Form<4, 0, Block::kForm.group, skv_block_values<Block>::k, 0, false, Table>;
};
template <class Block>
using FormOf = typename FormFinder<Block>::Type;

// The table's entries that four places name, one a byte; place i in bits 4 i to 4 i + 3.
template <class Table>
__device__ __forceinline__ std::uint32_t levels_of(std::uint32_t places) {
  const std::uint32_t low = places & 0x7777u;  // the highest bit says which half of the table
  const std::uint32_t first = __byte_perm(Table::kFirst[0], Table::kFirst[1], low);
  const std::uint32_t last = __byte_perm(Table::kLast[0], Table::kLast[1], low);
  return __byte_perm(first, last, 0x3210u | (places & 0x8888u) >> 1);
}

// Four codes of a quad, one a byte. main, high: the words of the quad's 32 values.
template <class F>
__device__ __forceinline__ std::uint32_t quad_codes(const std::uint32_t* main, const std::uint32_t* high,
                                                    int quad) {
  if constexpr (F::Table::kAny) return levels_of<typename F::Table>(main[quad / 2] >> (16 * (quad % 2)));
  std::uint32_t codes = 0;
  if constexpr (F::kMain == 8) codes = main[quad];
  if constexpr (F::kMain == 4) codes = main[quad / 2] >> (4 * (quad % 2)) & 0x0f0f0f0fu;
  if constexpr (F::kMain == 2) codes = main[quad / 4] >> (2 * (quad % 4)) & 0x03030303u;
  if constexpr (F::kHigh == 2) codes |= (high[quad / 4] >> (2 * (quad % 4)) & 0x03030303u) << F::kMain;
  if constexpr (F::kHigh == 1) codes |= (high[0] >> quad & 0x01010101u) << F::kMain;
  return codes;
}

// The inverse, into words that were zero. codes: those of a quad as skv_codes gives them, one a byte.
template <class F>
__device__ __forceinline__ void put_quad(std::uint32_t codes, int quad, std::uint32_t* main,
                                         std::uint32_t* high) {
  if constexpr (F::Table::kAny) {
    const std::uint32_t pairs = (codes | codes >> 4) & 0x00ff00ffu;
    main[quad / 2] |= ((pairs | pairs >> 8) & 0xffffu) << (16 * (quad % 2));
    return;
  }
  if constexpr (F::kMain == 8) main[quad] = codes ^ 0x80808080u;
  if constexpr (F::kMain == 4) main[quad / 2] |= (codes & 0x0f0f0f0fu) << (4 * (quad % 2));
  if constexpr (F::kMain == 2) main[quad / 4] |= (codes & 0x03030303u) << (2 * (quad % 4));
  if constexpr (F::kHigh == 2) high[quad / 4] |= (codes >> F::kMain & 0x03030303u) << (2 * (quad % 4));
  if constexpr (F::kHigh == 1) high[0] |= (codes >> F::kMain & 0x01010101u) << quad;
}

// Scale and minimum of one group of a matrix; the minimum is to be subtracted.
struct Affine {
  float scale, minimum;
};

// What 32 values have of scales and minimums, as it was read: `coarse` holds one or two f16, `fine` the
// bytes.
struct RawScales {
  std::uint32_t coarse, fine;
};

template <int bytes>
using FineWord = std::conditional_t<bytes == 1, std::uint8_t,
                                    std::conditional_t<bytes == 2, std::uint16_t, std::uint32_t>>;

// chunk: which 32 values of the matrix, counted over all rows.
template <class F>
__device__ __forceinline__ RawScales read_scales(const Planes& w, std::int64_t chunk) {
  RawScales raw{};
  const std::int64_t at = chunk / (F::kSuper / 32);
  raw.coarse = F::kMinimum ? reinterpret_cast<const std::uint32_t*>(w.coarse)[at] : w.coarse[at];
  if constexpr (F::kFineBytes > 0) raw.fine = reinterpret_cast<const FineWord<F::kFineBytes>*>(w.fine)[chunk];
  return raw;
}

// half: which 16 of the 32 values; 0 where groups have 32.
template <class F>
__device__ __forceinline__ Affine group_affine(RawScales raw, int half) {
  const auto coarse = static_cast<std::uint16_t>(raw.coarse);
  Affine a{F::Table::kBf16 ? device::bf16_to_f32(coarse) : device::f16_to_f32(coarse), 0.0f};
  if constexpr (F::Table::kExponent < 0) a.scale *= 1.0f / static_cast<float>(1 << -F::Table::kExponent);
  if constexpr (F::kMinimum) a.minimum = device::f16_to_f32(static_cast<std::uint16_t>(raw.coarse >> 16));
  if constexpr (F::kFine) {
    const std::uint32_t fine = raw.fine >> (8 * F::kCoarse * half);
    if constexpr (F::kMinimum) {
      a.scale *= static_cast<float>(fine & 255u);
      a.minimum *= static_cast<float>(fine >> 8 & 255u);
    } else {
      a.scale *= static_cast<float>(static_cast<std::int8_t>(fine & 255u));
    }
  } else if constexpr (F::kMinimum) {
    a.minimum = -a.minimum;  // types without `fine` add theirs
  }
  return a;
}

}  // namespace spectralkv::cuda
