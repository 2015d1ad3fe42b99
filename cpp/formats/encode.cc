// The encoders, which the types' files define, and their table.
#include "formats/encode.h"

#include "formats/encode_blocks32.h"
#include "formats/encode_k_affine.h"
#include "formats/encode_k_signed.h"
#include "formats/encode_levels.h"
#include "formats/encode_search.h"  // SKV_ENCODER: the definitions below have their encoders
// clang-format off
#include "formats/decode.h"
// clang-format on

namespace spectralkv {
namespace {

template <class Block, EncodeFn encoder>
constexpr EncodeFn encoder_of() {
  if constexpr (Block::kForm.read_only)
    return nullptr;
  else
    return encoder;
}

}  // namespace

#define X(name, ...) encoder_of<skv_block_##name, encode_##name>(),
const EncodeFn kEncode[] = {
#include "formats/list.def"
};
#undef X

}  // namespace spectralkv
