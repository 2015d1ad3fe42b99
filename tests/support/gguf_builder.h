// Builds the bytes of small GGUF files for tests, right ones and, on request, wrong ones.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace spectralkv::test {

// Little-endian bytes of a number.
template <class T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

// A GGUF text: u64 length and the bytes.
inline std::string raw_text(std::string_view text) {
  return raw(static_cast<std::uint64_t>(text.size())) + std::string(text);
}

// GGUF's numbers for value types.
enum class Kind : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, str, arr, u64, i64, f64 };

class GgufBuilder {
 public:
  // What the head declares; counts default to the truth.
  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::optional<std::uint64_t> n_tensors, n_entries;
  // Used to lay out the data; write `u32("general.alignment", ...)` as well unless it is 32.
  std::uint64_t alignment = 32;

  struct Tensor {
    std::string name;
    std::vector<std::uint64_t> dims;  // row length first
    std::uint32_t type = 0;           // ggml's number
    std::string data;
    std::optional<std::uint32_t> n_dims;  // declared in place of dims.size()
    std::optional<std::uint64_t> offset;  // declared in place of the right one
  };

  // A metadata entry with any value type and payload.
  GgufBuilder& entry(std::string_view key, std::uint32_t type, std::string_view payload) {
    metadata_ += raw_text(key) + raw(type) + std::string(payload);
    ++entries_;
    return *this;
  }
  GgufBuilder& entry(std::string_view key, Kind type, std::string_view payload) {
    return entry(key, static_cast<std::uint32_t>(type), payload);
  }
  GgufBuilder& u8(std::string_view key, std::uint8_t v) { return entry(key, Kind::u8, raw(v)); }
  GgufBuilder& u16(std::string_view key, std::uint16_t v) { return entry(key, Kind::u16, raw(v)); }
  GgufBuilder& u32(std::string_view key, std::uint32_t v) { return entry(key, Kind::u32, raw(v)); }
  GgufBuilder& i32(std::string_view key, std::int32_t v) { return entry(key, Kind::i32, raw(v)); }
  GgufBuilder& u64(std::string_view key, std::uint64_t v) { return entry(key, Kind::u64, raw(v)); }
  GgufBuilder& f32(std::string_view key, float v) { return entry(key, Kind::f32, raw(v)); }
  GgufBuilder& boolean(std::string_view key, bool v) {
    return entry(key, Kind::boolean, raw(static_cast<std::uint8_t>(v)));
  }
  GgufBuilder& str(std::string_view key, std::string_view v) { return entry(key, Kind::str, raw_text(v)); }

  // An array of `n` elements whose bytes are `payload`.
  GgufBuilder& array(std::string_view key, Kind element, std::uint64_t n, std::string_view payload) {
    return entry(key, Kind::arr, raw(static_cast<std::uint32_t>(element)) + raw(n) + std::string(payload));
  }
  template <class T>
  GgufBuilder& numbers(std::string_view key, Kind element, const std::vector<T>& values) {
    std::string payload;
    for (const T value : values) payload += raw(value);
    return array(key, element, values.size(), payload);
  }
  GgufBuilder& strings(std::string_view key, const std::vector<std::string>& values) {
    std::string payload;
    for (const std::string& value : values) payload += raw_text(value);
    return array(key, Kind::str, values.size(), payload);
  }

  GgufBuilder& tensor(Tensor t) {
    tensors_.push_back(std::move(t));
    return *this;
  }
  // Those so far, to be spoiled.
  std::vector<Tensor>& tensors() { return tensors_; }
  GgufBuilder& f32_tensor(std::string_view name, const std::vector<std::uint64_t>& dims,
                          const std::vector<float>& values) {
    std::string data(values.size() * sizeof(float), '\0');
    std::memcpy(data.data(), values.data(), data.size());
    return tensor({std::string(name), dims, 0, data, std::nullopt, std::nullopt});
  }

  std::string build() const {
    std::string file = magic + raw(version) + raw(n_tensors.value_or(tensors_.size())) +
                       raw(n_entries.value_or(entries_)) + metadata_;
    std::uint64_t offset = 0;
    for (const Tensor& t : tensors_) {
      file += raw_text(t.name) + raw(t.n_dims.value_or(static_cast<std::uint32_t>(t.dims.size())));
      for (const std::uint64_t dim : t.dims) file += raw(dim);
      file += raw(t.type) + raw(t.offset.value_or(offset));
      offset += padded(t.data.size());
    }
    file.resize(padded(file.size()), '\0');
    for (const Tensor& t : tensors_) {
      file += t.data;
      file.resize(file.size() + (padded(t.data.size()) - t.data.size()), '\0');
    }
    return file;
  }

 private:
  std::uint64_t padded(std::uint64_t n) const { return (n + alignment - 1) / alignment * alignment; }

  std::string metadata_;
  std::uint64_t entries_ = 0;
  std::vector<Tensor> tensors_;
};

// A folder of its own, removed at the end.
class TempFolder {
 public:
  TempFolder() {
    std::random_device random;
    do {
      path_ = std::filesystem::temp_directory_path() / ("spectralkv-test-" + std::to_string(random()));
    } while (!std::filesystem::create_directory(path_));
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  // Writes a file and returns its path.
  std::string write(const std::string& name, std::string_view bytes) const {
    const std::string path = (path_ / name).string();
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace spectralkv::test
