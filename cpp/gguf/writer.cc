// The layout of a GGUF file: magic, counts, metadata, table of tensors, their data.
#include "gguf/writer.h"

#include <type_traits>

#include "base/atomic_file.h"

namespace spectralkv {
namespace {

constexpr std::size_t kAlignment = 32;
enum : std::uint32_t { kU32 = 4, kString = 8, kU64 = 10 };  // types of values

template <class T>
requires std::is_arithmetic_v<T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string& out, std::string_view text) {
  put(out, std::uint64_t{text.size()});
  out.append(text);
}

std::size_t aligned(std::size_t n) {
  return (n + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

void GgufWriter::add(std::string_view key, std::uint32_t value) {
  put_text(metadata_, key);
  put(metadata_, kU32 + 0u);
  put(metadata_, value);
  ++n_keys_;
}

void GgufWriter::add(std::string_view key, std::uint64_t value) {
  put_text(metadata_, key);
  put(metadata_, kU64 + 0u);
  put(metadata_, value);
  ++n_keys_;
}

void GgufWriter::add(std::string_view key, std::string_view text) {
  put_text(metadata_, key);
  put(metadata_, kString + 0u);
  put_text(metadata_, text);
  ++n_keys_;
}

void GgufWriter::add_tensor(std::string_view name, std::vector<std::int64_t> dims, DType type,
                            std::span<const std::byte> data) {
  tensors_.push_back({std::string(name), std::move(dims), type, data});
}

void GgufWriter::save(const std::string& path) const {
  std::string head = "GGUF";
  put(head, std::uint32_t{3});
  put(head, std::uint64_t{tensors_.size()});
  put(head, n_keys_);
  head += metadata_;
  std::uint64_t at = 0;
  for (const Tensor& tensor : tensors_) {
    put_text(head, tensor.name);
    put(head, static_cast<std::uint32_t>(tensor.dims.size()));
    for (const std::int64_t dim : tensor.dims) put(head, static_cast<std::uint64_t>(dim));
    put(head, dtype_info(tensor.type).gguf_id);
    put(head, at);
    at += aligned(tensor.data.size());
  }
  head.resize(aligned(head.size()));
  AtomicFile file(path, "gguf");
  file.write(std::as_bytes(std::span(head)));
  const std::string padding(kAlignment, '\0');
  for (const Tensor& tensor : tensors_) {
    file.write(tensor.data);
    file.write(std::as_bytes(std::span(padding)).first(aligned(tensor.data.size()) - tensor.data.size()));
  }
  file.commit();
}

}  // namespace spectralkv
