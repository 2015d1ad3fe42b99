// Reads GGUF files (versions 2 and 3, little endian, split files). The file is untrusted: every count,
// length, offset and type is checked before anything is allocated or read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/mapped_file.h"
#include "tensor/matrix.h"

namespace spectralkv {

struct GgufPart;
struct SplitInfo;

// Metadata as read. Numbers of every width are widened: unsigned scalars to uint64_t, signed scalars and all
// integer arrays to int64_t, floats to double. Strings hold any bytes.
using GgufValue = std::variant<bool, std::int64_t, std::uint64_t, double, std::string, std::vector<bool>,
                               std::vector<std::int64_t>, std::vector<double>, std::vector<std::string>>;

struct GgufEntry {
  std::string key;
  std::string type_name;  // as the GGUF specification names it: "u32", "arr[str]"
  GgufValue value;
};

struct GgufTensor {
  std::string name;
  DType type = DType::f32;
  std::vector<std::int64_t> dims;  // ggml order: row length first; 1 to 4 of them, all >= 1
  const std::byte* data = nullptr;
  std::int64_t bytes = 0;
  int file = 0;  // index into files()
  // Of a type that formats/list.def lacks, ggml's name; `type` means nothing then, and `bytes` reach to the
  // next tensor. Empty, but where a file was opened with Types::any.
  std::string foreign_type;

  std::int64_t n_values() const;
  std::string_view type_name() const;  // "q4_1"
};

class Gguf {
 public:
  // Whether tensors of weight types that we cannot read are an error, or kept to be shown.
  enum class Types : std::uint8_t { ours, any };

  // Opens a file; if it is one part of a split model (split.count > 1) its siblings NAME-0000i-of-0000n.gguf
  // are opened as well, whichever part was named.
  explicit Gguf(const std::string& path, Types types = Types::ours);
  // Reads a whole file that already lies in memory; `bytes` must outlive the result, `name` stands for the
  // path in errors. Parts of a split model are refused.
  static Gguf from_bytes(std::span<const std::byte> bytes, const std::string& name,
                         Types types = Types::ours);

  // Puts an entry in the place of the file's, or beside what it has.
  void set(GgufEntry entry);

  const std::string& path() const { return path_; }
  std::uint32_t version() const { return version_; }
  std::uint32_t alignment() const { return alignment_; }
  const std::vector<MappedFile>& files() const { return files_; }
  const std::vector<GgufEntry>& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  std::int64_t file_bytes() const { return file_bytes_; }  // all parts

  bool has(std::string_view key) const { return find_value(key) != nullptr; }
  // Typed access. `get_x(key)` throws when the key is missing or of another kind, naming file, key, what was
  // found and what was expected; `get_x(key, fallback)` throws only for the wrong kind. Integers accept any
  // integer width whose value fits in [min, max].
  std::int64_t get_int(std::string_view key, std::int64_t min, std::int64_t max) const;
  std::int64_t get_int(std::string_view key, std::int64_t min, std::int64_t max, std::int64_t fallback) const;
  double get_float(std::string_view key) const;  // finite; integers convert
  double get_float(std::string_view key, double fallback) const;
  bool get_bool(std::string_view key, bool fallback) const;
  const std::string& get_string(std::string_view key) const;
  std::string get_string(std::string_view key, std::string_view fallback) const;
  const std::vector<std::string>& get_strings(std::string_view key) const;
  std::vector<double> get_floats(std::string_view key) const;      // arrays of ints convert
  std::vector<std::int64_t> get_ints(std::string_view key) const;  // arrays only

  const GgufTensor* find_tensor(std::string_view name) const;  // nullptr when absent
  // A tensor as a weight; throws when it is missing (naming it and the file), has more than 2 dimensions or a
  // type that we cannot read.
  WeightView weight(std::string_view name) const;
  // The n matrices of a tensor of up to 3 dimensions, one for each of_what ("experts"), each with the
  // tensor's name; another number throws before anything is made of it.
  std::vector<WeightView> matrices(std::string_view name, std::int64_t n, const char* of_what) const;

  const GgufValue* find_value(std::string_view key) const;

 private:
  Gguf() = default;
  void take_head(GgufPart& part);
  void take_tensors(GgufPart& part, int file, std::size_t n_bytes);
  void open_split(const SplitInfo& named, Types types);
  void index_tensors();
  const GgufEntry* find_entry(std::string_view key) const;
  const GgufEntry& need_entry(std::string_view key, const char* expected) const;
  WeightView first_matrix(const GgufTensor& tensor) const;
  const GgufTensor& need_tensor(std::string_view name, std::size_t most_dims, const char* expected) const;

  std::string path_;
  std::uint32_t version_ = 0, alignment_ = 32;
  std::int64_t file_bytes_ = 0;
  std::vector<MappedFile> files_;
  std::vector<GgufEntry> metadata_;
  std::vector<GgufTensor> tensors_;
  std::vector<std::size_t> key_index_, tensor_index_;  // positions sorted by name
};

}  // namespace spectralkv
