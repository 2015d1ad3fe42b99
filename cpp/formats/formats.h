// The weight types as tables, in list.def's order (which is DType's). The plain decoders are the reference
// that every faster path is tested against.
#pragma once

#include "formats/unpack.h"

namespace spectralkv {

// kDecode[type](row, out, n): `row` holds n values of the type, n a multiple of its block; `out` takes n f32
// values and must not overlap `row`. Neither needs alignment beyond its own type's.
extern const skv_decode_fn kDecode[];

// Of each type its form (bits is 0 where it is not quantised), whether a block has several groups, and what
// takes its rows apart, null where it has no codes.
struct Unpacking {
  skv_form form;
  bool has_fine;
  skv_unpack_fn unpack;
};
extern const Unpacking kUnpack[];

}  // namespace spectralkv
