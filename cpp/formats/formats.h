// The plain row decoders as a table: the reference that every faster path is tested against.
#pragma once

#include "formats/affine.h"
#include "formats/decode.h"

namespace spectralkv {

// One decoder a type, in list.def's order (which is DType's). kDecode[type](row, out, n): `row` holds n
// values of the type, n a multiple of its block; `out` takes n f32 values and must not overlap `row`. Neither
// needs alignment beyond its own type's.
extern const skv_decode_fn kDecode[];
extern const int kDecodeCount;
extern const struct skv_affine kAffine[];  // of the same types

}  // namespace spectralkv
