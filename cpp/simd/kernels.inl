// Written once, compiled once for each instruction set: include a vec_*.h first and define SKV_KERNELS as the
// name of the accessor. Everything has internal linkage.
#include "formats/unpack.h"
#include "simd/kernels.h"
// In front of a loop with a fixed count over an array of vectors: unrolled early, or the array lies in
// memory.
#define SKV_FLAT _Pragma("GCC unroll 8")
// clang-format off
#include "simd/rows.inl"
#include "simd/matmul.inl"
#include "simd/elementwise.inl"
#include "simd/mix_groups.inl"
#include "simd/codes.inl"
#include "simd/panel_products.inl"
#include "simd/bytes.inl"
#include "simd/trellis.inl"
#include "simd/symmetric.inl"
// clang-format on

namespace spectralkv::simd {
namespace {

// Of levels with the offset added.
constexpr int level_bits(const skv_form& form) {
  for (const int8_t level : form.levels)
    if (level + form.offset > 127) return 8;
  return 7;
}

template <class Block>
constexpr PanelForm panel_form = {Block::kForm.bits, Block::kForm.group, Block::kForm.has_minimum,
                                  Block::kForm.has_levels, skv_has_fine<Block>};

template <class Block>
constexpr PanelMatmulFn panel_matmul_of() {
  constexpr skv_form form = Block::kForm;
  static_assert(!skv_has_fine<Block> || skv_block_values<Block>::k == kFineColumns, "panel_layout.h");
  if constexpr (form.bits == 0)
    return nullptr;
  else if constexpr (form.has_levels) {
    static_assert(level_bits(form) < 8 || form.group == 32, "sums_start, and LevelCodes<8> of panel_avx2.h");
    return panel_matmul<LevelCodes<level_bits(form)>, panel_form<Block>>;
  } else {
    static_assert(form.bits < 8 || form.group == 32, "sums_start");
    return panel_matmul<PlainCodes<form.bits>, panel_form<Block>>;
  }
}

constexpr Kernels kTable = {
    SKV_NAME,
    {
#define X(name, ...) matmul<typename RowsOf<skv_block_##name>::Type, skv_decode_##name>,
#include "formats/list.def"
#undef X
    },
    {
#define X(name, ...) skv_decode_##name,
#include "formats/list.def"
#undef X
    },
    mix<float>,
    mix<uint16_t>,
    mix_groups<Q8_0Rows>,
    mix_groups<Q4_0Rows>,
#define EACH(f)                                                                                    \
  {                                                                                                \
    f<TableCodes<1>>, f<TableCodes<2>>, f<TableCodes<3>>, f<TableCodes<4>>, f<TableCodes<5>>,      \
        f<TableCodes<6>>, f<TableCodes<7>>, f<TableCodes<8>>, f<WholeCodes<8>>, f<WholeCodes<10>>, \
        f<WholeCodes<12>>, f<WholeCodes<16>>                                                       \
  }
    EACH(score_codes),
    EACH(mix_codes),
    EACH(decode_codes),
#undef EACH
    {add_tiles<1, ByteRows>, add_tiles<2, ByteRows>, add_tiles<3, ByteRows>, add_tiles<4, ByteRows>},
    {add_tiles<1, ProbabilityRows>, add_tiles<2, ProbabilityRows>, add_tiles<3, ProbabilityRows>,
     add_tiles<4, ProbabilityRows>},
    to_bytes,
    to_probability_bytes,
    expand_trellis,
    trellis_codes,
    rms_norm,
    silu_mul,
    add,
    scale,
    rope,
    max,
    exp_sum,
    to_f16,
    from_f16,
    from_square_bytes,
    hadamard,
    {
#define X(name, ...) panel_matmul_of<skv_block_##name>(),
#include "formats/list.def"
#undef X
    },
    kStepColumns,
    quantize_activations,
    kSymmetric,
};

}  // namespace

const Kernels* SKV_KERNELS() {
  return &kTable;
}

}  // namespace spectralkv::simd
