// Typed access to metadata and tensors.
#include <cmath>
#include <limits>

#include "gguf/cursor.h"
#include "gguf/gguf.h"
#include "gguf/name_index.h"

namespace spectralkv {
namespace {

[[noreturn]] void wrong_kind(const std::string& path, const GgufEntry& entry, const char* expected) {
  fail(ErrorKind::value, "gguf", "'", path, "': metadata key '", printable(entry.key), "' has type ",
       entry.type_name, ", expected ", expected);
}

template <class T>
[[noreturn]] void out_of_range(const std::string& path, const GgufEntry& entry, T found, std::int64_t min,
                               std::int64_t max) {
  fail(ErrorKind::value, "gguf", "'", path, "': metadata key '", printable(entry.key), "' is ", found,
       ", expected ", min, " to ", max);
}

std::int64_t as_int(const std::string& path, const GgufEntry& entry, std::int64_t min, std::int64_t max) {
  std::int64_t value = 0;
  if (const auto* u = std::get_if<std::uint64_t>(&entry.value)) {
    if (*u > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      out_of_range(path, entry, *u, min, max);
    value = static_cast<std::int64_t>(*u);
  } else if (const auto* i = std::get_if<std::int64_t>(&entry.value)) {
    value = *i;
  } else {
    wrong_kind(path, entry, "an integer");
  }
  if (value < min || value > max) out_of_range(path, entry, value, min, max);
  return value;
}

double as_float(const std::string& path, const GgufEntry& entry) {
  if (const auto* u = std::get_if<std::uint64_t>(&entry.value)) return static_cast<double>(*u);
  if (const auto* i = std::get_if<std::int64_t>(&entry.value)) return static_cast<double>(*i);
  const auto* const value = std::get_if<double>(&entry.value);
  if (value == nullptr) wrong_kind(path, entry, "a number");
  check(std::isfinite(*value), "gguf", "'", path, "': metadata key '", printable(entry.key), "' is ", *value,
        ", expected a finite number");
  return *value;
}

template <class T>
const T& as(const std::string& path, const GgufEntry& entry, const char* expected) {
  const T* const value = std::get_if<T>(&entry.value);
  if (value == nullptr) wrong_kind(path, entry, expected);
  return *value;
}

}  // namespace

const GgufEntry* Gguf::find_entry(std::string_view key) const {
  return find_by_name(metadata_, key_index_, &GgufEntry::key, key);
}

const GgufEntry& Gguf::need_entry(std::string_view key, const char* expected) const {
  const GgufEntry* const entry = find_entry(key);
  if (entry == nullptr)
    fail(ErrorKind::value, "gguf", "'", path_, "': metadata key '", printable(key), "' is missing, expected ",
         expected);
  return *entry;
}

const GgufValue* Gguf::find_value(std::string_view key) const {
  const GgufEntry* const entry = find_entry(key);
  return entry == nullptr ? nullptr : &entry->value;
}

std::int64_t Gguf::get_int(std::string_view key, std::int64_t min, std::int64_t max) const {
  return as_int(path_, need_entry(key, "an integer"), min, max);
}

std::int64_t Gguf::get_int(std::string_view key, std::int64_t min, std::int64_t max,
                           std::int64_t fallback) const {
  const GgufEntry* const entry = find_entry(key);
  return entry == nullptr ? fallback : as_int(path_, *entry, min, max);
}

double Gguf::get_float(std::string_view key) const {
  return as_float(path_, need_entry(key, "a number"));
}

double Gguf::get_float(std::string_view key, double fallback) const {
  const GgufEntry* const entry = find_entry(key);
  return entry == nullptr ? fallback : as_float(path_, *entry);
}

bool Gguf::get_bool(std::string_view key, bool fallback) const {
  const GgufEntry* const entry = find_entry(key);
  return entry == nullptr ? fallback : as<bool>(path_, *entry, "a bool");
}

const std::string& Gguf::get_string(std::string_view key) const {
  return as<std::string>(path_, need_entry(key, "a string"), "a string");
}

std::string Gguf::get_string(std::string_view key, std::string_view fallback) const {
  const GgufEntry* const entry = find_entry(key);
  return entry == nullptr ? std::string(fallback) : as<std::string>(path_, *entry, "a string");
}

const std::vector<std::string>& Gguf::get_strings(std::string_view key) const {
  const char* const expected = "an array of strings";
  return as<std::vector<std::string>>(path_, need_entry(key, expected), expected);
}

std::vector<double> Gguf::get_floats(std::string_view key) const {
  const char* const expected = "an array of numbers";
  const GgufEntry& entry = need_entry(key, expected);
  if (const auto* ints = std::get_if<std::vector<std::int64_t>>(&entry.value)) {
    std::vector<double> values;
    values.reserve(ints->size());
    for (const std::int64_t i : *ints) values.push_back(static_cast<double>(i));
    return values;
  }
  return as<std::vector<double>>(path_, entry, expected);
}

std::vector<std::int64_t> Gguf::get_ints(std::string_view key) const {
  const char* const expected = "an array of integers";
  return as<std::vector<std::int64_t>>(path_, need_entry(key, expected), expected);
}

const GgufTensor* Gguf::find_tensor(std::string_view name) const {
  return find_by_name(tensors_, tensor_index_, &GgufTensor::name, name);
}

WeightView Gguf::first_matrix(const GgufTensor& tensor) const {
  WeightView view;
  view.type = tensor.type;
  view.data = tensor.data;
  view.rows = tensor.dims.size() >= 2 ? tensor.dims[1] : 1;
  view.cols = tensor.dims[0];
  view.name = tensor.name;
  for (const MappedFile& file : files_)
    if (file.has(tensor.data)) view.file = &file;
  return view;
}

const GgufTensor& Gguf::need_tensor(std::string_view name, std::size_t most_dims,
                                    const char* expected) const {
  const GgufTensor* const tensor = find_tensor(name);
  if (tensor == nullptr)
    fail(ErrorKind::value, "gguf", "'", path_, "': tensor '", printable(name), "' is missing");
  check(tensor->dims.size() <= most_dims, "gguf", "'", path_, "': tensor '", printable(name), "' has ",
        tensor->dims.size(), " dimensions, expected ", expected);
  check(tensor->foreign_type.empty(), "gguf", "'", path_, "': tensor '", printable(name),
        "' has weight type ", tensor->foreign_type, ", which is not supported",
        tensor->foreign_type == "F64" ? ": convert the model anew in f32" : "");
  return *tensor;
}

WeightView Gguf::weight(std::string_view name) const {
  return first_matrix(need_tensor(name, 2, "1 or 2"));
}

std::vector<WeightView> Gguf::matrices(std::string_view name, std::int64_t n, const char* of_what) const {
  const GgufTensor& tensor = need_tensor(name, 3, "1 to 3");
  const std::int64_t found = tensor.dims.size() == 3 ? tensor.dims[2] : 1;
  check(found == n, "gguf", "'", path_, "': tensor '", printable(name), "' has ", found,
        " matrices, expected one for each of ", n, " ", of_what);
  WeightView view = first_matrix(tensor);
  std::vector<WeightView> views;
  for (std::int64_t left = n; left > 0; --left) {
    views.push_back(view);
    view.data += view.bytes();
  }
  return views;
}

}  // namespace spectralkv
