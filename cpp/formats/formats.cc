// Builds the decoder table from list.def.
#include "formats/formats.h"

namespace spectralkv {

#define X(name, id, values, bytes) skv_decode_##name,
const skv_decode_fn kDecode[] = {
#include "formats/list.def"
};
#undef X

const int kDecodeCount = (int)(sizeof(kDecode) / sizeof(kDecode[0]));

// A line of list.def must agree with the struct that its .inl declares.
#define X(name, id, values, bytes) static_assert(sizeof(struct skv_block_##name) == (bytes), #name " block");
#include "formats/list.def"
#undef X

}  // namespace spectralkv
