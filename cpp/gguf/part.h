// One GGUF file parsed: the whole of a model, or one part of a split one.
//
// The file (all numbers little endian; a text is a u64 length and that many bytes):
//   "GGUF", u32 version, u64 number of tensors, u64 number of metadata entries;
//   for each entry: key (text), u32 value type, value;
//   for each tensor: name (text), u32 number of dimensions, that many u64 dimensions with the row length
//   first, u32 weight type, u64 offset into the data section; zero bytes up to a multiple of the alignment,
//   which is the entry general.alignment or 32; the data section: tensors at their offsets, each a multiple
//   of the alignment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "gguf/cursor.h"
#include "gguf/gguf.h"

namespace spectralkv {

struct GgufPart {
  std::uint32_t version = 0, alignment = 32;
  std::vector<GgufEntry> metadata;
  std::vector<std::size_t> key_index;  // of metadata, see name_index.h
  std::vector<GgufTensor> tensors;     // their data points into the bytes that were parsed
};

// Parses and checks everything but what split parts have to do with each other. `bytes` must outlive the
// result; `path` names the file in errors.
GgufPart parse_part(std::span<const std::byte> bytes, const std::string& path, Gguf::Types types);

// The steps of parse_part.
std::vector<GgufEntry> read_metadata(Cursor& in, std::uint64_t n_entries);
std::vector<GgufTensor> read_tensors(Cursor& in, std::uint64_t n_tensors, std::uint32_t alignment,
                                     Gguf::Types types);

}  // namespace spectralkv
