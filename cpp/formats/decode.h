// The definitions of all GGUF weight types, in plain code that each instruction set compiles for itself.
// STL-free, internal linkage: instruction-set specific objects include this.
#pragma once

#include <stdint.h>

#include "formats/decode_codes.h"
#include "formats/form.h"

// A row decoder: n values, a multiple of the type's block, from `row` to `out`.
typedef void (*skv_decode_fn)(const void* row, float* out, int64_t n);

#include "formats/list.def"

#define X(name, id, values, bytes, ...)                                      \
  static_assert(sizeof(struct skv_block_##name) == (bytes), #name " block"); \
  template <>                                                                \
  struct skv_block_values<skv_block_##name> {                                \
    enum { k = values };                                                     \
  };
#include "formats/list.def"
#undef X
