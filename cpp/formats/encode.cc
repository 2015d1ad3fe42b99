// The encoders, which the types' files define, and their table.
#include "formats/encode.h"

#include "formats/encode_blocks32.h"
#include "formats/encode_k_affine.h"
#include "formats/encode_k_signed.h"
#include "formats/encode_search.h"  // SKV_ENCODER: the definitions below have their encoders
// clang-format off
#include "formats/decode.h"
// clang-format on

namespace spectralkv {

#define X(name, ...) encode_##name,
const EncodeFn kEncode[] = {
#include "formats/list.def"
};
#undef X

}  // namespace spectralkv
