// The weight types as an enum with their facts, all from the rows of formats/list.def.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace spectralkv {

enum class DType : std::uint8_t {
#define X(name, ...) name,
#include "formats/list.def"
#undef X
};

struct DTypeInfo {
  DType type;
  std::string_view name;      // lower case, as in list.def: "q4_1"
  std::uint32_t gguf_id;      // ggml's type number
  std::int64_t block_values;  // a row's length is a multiple of this
  std::int64_t block_bytes;
  std::uint32_t file_type;  // general.file_type of a file that is mostly of this type
  DType in_its_place;       // where block_values does not divide a row
  bool read_only;           // no encoder

  std::int64_t row_bytes(std::int64_t n_values) const { return n_values / block_values * block_bytes; }
};

std::span<const DTypeInfo> all_dtypes();
const DTypeInfo& dtype_info(DType type);
std::optional<DType> dtype_from_gguf_id(std::uint32_t id);

}  // namespace spectralkv
