// Opens a model: one file, or all the parts of a split one.
#include "gguf/gguf.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <system_error>
#include <utility>

#include "gguf/name_index.h"
#include "gguf/not_gguf.h"
#include "gguf/part.h"
#include "gguf/split.h"

namespace spectralkv {

std::int64_t GgufTensor::n_values() const {
  std::int64_t n = 1;  // the reader saw to it that this fits
  for (const std::int64_t dim : dims) n *= dim;
  return n;
}

std::string_view GgufTensor::type_name() const {
  return foreign_type.empty() ? dtype_info(type).name : std::string_view(foreign_type);
}

// Takes the head and the metadata of the model's first part.
void Gguf::take_head(GgufPart& part) {
  version_ = part.version;
  alignment_ = part.alignment;
  metadata_ = std::move(part.metadata);
  key_index_ = std::move(part.key_index);
}

// Appends a part's tensors; n_bytes is the size of its file.
void Gguf::take_tensors(GgufPart& part, int file, std::size_t n_bytes) {
  for (GgufTensor& tensor : part.tensors) {
    tensor.file = file;
    tensors_.push_back(std::move(tensor));
  }
  file_bytes_ += static_cast<std::int64_t>(n_bytes);
}

void Gguf::set(GgufEntry entry) {
  const auto same = [&](const GgufEntry& other) { return other.key == entry.key; };
  const auto at = std::find_if(metadata_.begin(), metadata_.end(), same);
  if (at != metadata_.end())
    *at = std::move(entry);
  else
    metadata_.push_back(std::move(entry));
  key_index_ = sort_by_name(metadata_, &GgufEntry::key);
}

void Gguf::index_tensors() {
  tensor_index_ = sort_by_name(tensors_, &GgufTensor::name);
  if (const GgufTensor* twice = find_duplicate(tensors_, tensor_index_, &GgufTensor::name))
    fail(ErrorKind::value, "gguf", "'", path_, "': tensor '", printable(twice->name), "' occurs twice");
}

Gguf::Gguf(const std::string& path, Types types) : path_(path) {
  std::error_code unknown;
  if (std::filesystem::is_directory(path, unknown))
    fail(ErrorKind::os, "gguf", "'", path, "' ", about_folder(path));
  MappedFile file(path);
  GgufPart part = parse_part(file.bytes(), path, types);
  const SplitInfo split = split_info(part, path);
  if (split.count > 1) {
    open_split(split, types);
  } else {
    take_head(part);
    take_tensors(part, 0, file.bytes().size());
    files_.push_back(std::move(file));
  }
  index_tensors();
}

// Opens the parts in order, whichever of them path_ names; the first gives the metadata.
void Gguf::open_split(const SplitInfo& named, Types types) {
  for (std::int64_t no = 0; no < named.count; ++no) {
    const std::string path = split_path(path_, named, no);
    if (!std::filesystem::exists(path))
      fail(ErrorKind::file_not_found, "gguf", "'", path_, "': part ", no + 1, " of ", named.count,
           " is missing: no such file: '", path, "'");
    MappedFile file(path);
    GgufPart part = parse_part(file.bytes(), path, types);
    const SplitInfo split = split_info(part, path);
    check(split.count == named.count && split.no == no, "gguf", "'", path, "': says it is part ",
          split.no + 1, " of ", split.count, ", expected part ", no + 1, " of ", named.count);
    check(split.n_tensors == named.n_tensors, "gguf", "'", path, "': split.tensors.count is ",
          split.n_tensors.value_or(-1), ", but '", path_, "' has ", named.n_tensors.value_or(-1),
          " (-1: missing)");
    if (no == 0) take_head(part);
    take_tensors(part, static_cast<int>(no), file.bytes().size());
    files_.push_back(std::move(file));
  }
  const auto found = static_cast<std::int64_t>(tensors_.size());
  check(found == named.n_tensors.value_or(found), "gguf", "'", path_, "': the ", named.count, " parts hold ",
        found, " tensors, but split.tensors.count is ", named.n_tensors.value_or(0));
}

Gguf Gguf::from_bytes(std::span<const std::byte> bytes, const std::string& name, Types types) {
  Gguf result;
  result.path_ = name;
  GgufPart part = parse_part(bytes, name, types);
  const SplitInfo split = split_info(part, name);
  check(split.count == 1, "gguf", "'", name, "': is part ", split.no + 1, " of ", split.count,
        ": a split model must be opened by its path");
  result.take_head(part);
  result.take_tensors(part, 0, bytes.size());
  result.index_tensors();
  return result;
}

}  // namespace spectralkv
