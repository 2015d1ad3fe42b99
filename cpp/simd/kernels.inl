// Written once, compiled once for each instruction set: include a vec_*.h first and define SKV_KERNELS as the
// name of the accessor. Everything has internal linkage.
#include "formats/decode.h"
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
#include "simd/panels.inl"
#include "simd/bytes.inl"
#include "simd/symmetric.inl"
// clang-format on

namespace spectralkv::simd {
namespace {

template <class Rows, skv_decode_fn decode>
constexpr MatmulFn kFused = matmul<Rows, decode, true>;
template <skv_decode_fn decode>
constexpr MatmulFn kDecoded = matmul<NoRows, decode, false>;

// In the order of formats/list.def.
constexpr Kernels kTable = {
    SKV_NAME,
    {kFused<F32Rows, skv_decode_f32>, kFused<F16Rows, skv_decode_f16>, kFused<Q4_0Rows, skv_decode_q4_0>,
     kFused<Q4_1Rows, skv_decode_q4_1>, kDecoded<skv_decode_q5_0>, kDecoded<skv_decode_q5_1>,
     kFused<Q8_0Rows, skv_decode_q8_0>, kDecoded<skv_decode_q2_k>, kDecoded<skv_decode_q3_k>,
     kDecoded<skv_decode_q4_k>, kDecoded<skv_decode_q5_k>, kDecoded<skv_decode_q6_k>,
     kFused<Bf16Rows, skv_decode_bf16>},
    {
#define X(name, id, values, bytes) skv_decode_##name,
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
    {add_tiles<2, ByteRows>, add_tiles<3, ByteRows>, add_tiles<4, ByteRows>},
    {add_tiles<2, WeightRows>, add_tiles<3, WeightRows>, add_tiles<4, WeightRows>},
    to_bytes,
    to_weight_bytes,
    rms_norm,
    silu_mul,
    add,
    scale,
    rope,
    max,
    exp_sum,
    to_f16,
    from_f16,
    hadamard,
#define X(bits, group, has_minimum) panel_matmul<bits, group, has_minimum>,
    {SKV_PANEL_KINDS(X)},
#undef X
    quantize_activations,
    kSymmetric,
};

}  // namespace

const Kernels* SKV_KERNELS() {
  return &kTable;
}

}  // namespace spectralkv::simd
