// Builds the tables from list.def.
#include "formats/formats.h"

namespace spectralkv {
namespace {

template <class Block>
constexpr Unpacking unpacking() {
  if constexpr (Block::kForm.bits == 0)
    return {Block::kForm, false, nullptr};
  else
    return {Block::kForm, skv_has_fine<Block>, skv_unpack<Block>};
}

}  // namespace

#define X(name, ...) skv_decode_##name,
const skv_decode_fn kDecode[] = {
#include "formats/list.def"
};
#undef X

#define X(name, ...) unpacking<skv_block_##name>(),
const Unpacking kUnpack[] = {
#include "formats/list.def"
};
#undef X

}  // namespace spectralkv
