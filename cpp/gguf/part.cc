// The file's head, and the order in which its pieces are read.
#include "gguf/part.h"

#include "gguf/name_index.h"
#include "gguf/not_gguf.h"

namespace spectralkv {
namespace {

std::uint32_t swap_bytes(std::uint32_t v) {
  return v >> 24 | (v >> 8 & 0xff00u) | (v << 8 & 0xff0000u) | v << 24;
}

std::uint32_t read_version(Cursor& in, std::span<const std::byte> bytes, const std::string& path) {
  const char* const magic = reinterpret_cast<const char*>(in.take(4, "the magic 'GGUF'"));
  const std::string_view found(magic, 4);
  if (found != "GGUF") in.fault("gguf", about_file(bytes, path));
  const auto version = in.number<std::uint32_t>("the version");
  if (version == 1) in.fault("gguf", "GGUF version 1 is too old, expected version 2 or 3");
  if (version != 0 && (version & 0xffffu) == 0)
    in.fault("gguf", "is a big-endian GGUF file (version ", swap_bytes(version), "), expected little endian");
  if (version != 2 && version != 3)
    in.fault("gguf", "GGUF version ", version, " is unknown, expected 2 or 3");
  return version;
}

std::uint32_t read_alignment(const Cursor& in, const GgufPart& part) {
  constexpr std::uint64_t kLargest = 1u << 20;
  const GgufEntry* const entry =
      find_by_name(part.metadata, part.key_index, &GgufEntry::key, "general.alignment");
  if (entry == nullptr) return 32;
  if (entry->type_name != "u32")
    in.fault("gguf", "general.alignment has type ", entry->type_name, ", expected u32");
  const std::uint64_t value = std::get<std::uint64_t>(entry->value);
  if (value < 8 || value > kLargest || (value & (value - 1)) != 0)
    in.fault("gguf", "general.alignment is ", value, ", expected a power of two from 8 to ", kLargest);
  return static_cast<std::uint32_t>(value);
}

}  // namespace

GgufPart parse_part(std::span<const std::byte> bytes, const std::string& path, Gguf::Types types) {
  Cursor in(bytes, path);
  GgufPart part;
  part.version = read_version(in, bytes, path);
  const auto n_tensors = in.number<std::uint64_t>("the number of tensors");
  const auto n_entries = in.number<std::uint64_t>("the number of metadata entries");
  part.metadata = read_metadata(in, n_entries);
  in.about(nullptr, {});
  part.key_index = sort_by_name(part.metadata, &GgufEntry::key);
  if (const auto* twice = find_duplicate(part.metadata, part.key_index, &GgufEntry::key))
    in.fault("gguf", "metadata key '", printable(twice->key), "' occurs twice");
  part.alignment = read_alignment(in, part);
  part.tensors = read_tensors(in, n_tensors, part.alignment, types);
  return part;
}

}  // namespace spectralkv
