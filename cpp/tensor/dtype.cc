// The table behind dtype.h.
#include "tensor/dtype.h"

#include <array>

#include "formats/decode.h"

namespace spectralkv {
namespace {

constexpr std::array kTable = {
#define X(name, id, values, bytes, file_type, other)      \
  DTypeInfo{DType::name, #name,     id,           values, \
            bytes,       file_type, DType::other, skv_block_##name::kForm.read_only},
#include "formats/list.def"
#undef X
};

}  // namespace

std::span<const DTypeInfo> all_dtypes() {
  return kTable;
}

const DTypeInfo& dtype_info(DType type) {
  return kTable[static_cast<std::size_t>(type)];
}

std::optional<DType> dtype_from_gguf_id(std::uint32_t id) {
  for (const DTypeInfo& info : kTable)
    if (info.gguf_id == id) return info.type;
  return std::nullopt;
}

}  // namespace spectralkv
