// Writes small GGUF files: a few numbers and texts, and tensors of f32 and f16.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace spectralkv {

class GgufWriter {
 public:
  void add(std::string_view key, std::uint32_t value);
  void add(std::string_view key, std::uint64_t value);
  void add(std::string_view key, std::string_view text);
  // dims: ggml order, row length first. data: as many bytes as they take; must stay until `save`.
  void add_tensor(std::string_view name, std::vector<std::int64_t> dims, DType type,
                  std::span<const std::byte> data);
  // Version 3, alignment 32, as AtomicFile writes.
  void save(const std::string& path) const;

 private:
  struct Tensor {
    std::string name;
    std::vector<std::int64_t> dims;
    DType type;
    std::span<const std::byte> data;
  };
  std::string metadata_;
  std::uint64_t n_keys_ = 0;
  std::vector<Tensor> tensors_;
};

}  // namespace spectralkv
