// Encoding of weight rows: for every type of list.def the codes and scales that lose least.
//
// Every encoder minimises the squared error of what skv_decode_x gives back, weighted: a grid of scales, each
// followed by the least-squares scale for its codes, then codes, scales and the block's factors in turn,
// always with the factors as rounded to f16. The input is finite and at most 65504 in magnitude
// (kLargestEncoded), what an f16 scale can hold.
#pragma once

#include <stdint.h>

namespace spectralkv {

// A row encoder: n values, a multiple of the type's block, from `in` to `row`. weights [n]: how much the
// square of a value's error counts, positive and finite; floats are rounded whatever they weigh. A block's
// bytes depend on its values and weights alone, and with weights of 1 on its values.
typedef void (*EncodeFn)(const float* in, const float* weights, void* row, int64_t n);

constexpr float kLargestEncoded = 65504;

// One encoder a type, in list.def's order (which is DType's); null where a type is read only (form.h).
extern const EncodeFn kEncode[];

#define X(name, ...) void encode_##name(const float* in, const float* weights, void* row, int64_t n);
#include "formats/list.def"
#undef X

}  // namespace spectralkv
