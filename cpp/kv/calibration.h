// What is known of a model's heads before any sequence: where its queries look, and what errors cost. Made
// once from a text (engine/calibrate.h), good for any.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "kv/layout.h"
#include "tensor/matrix.h"

namespace spectralkv {

// Of one KV head of a layer.
struct HeadCalibration {
  // T [d, d], symmetric and positive: keys are stored as T k and read by T^-1 q, and an error that is the
  // same in all directions there costs logits least (spectral/metric.h).
  Buffer<float> metric;
  // The mean of each query head of the group, after RoPE and times the logits' scale, [group, d].
  Buffer<float> queries;
  // What a side's error does to the model where it is all of the rows' residual energy: K, V. Only their
  // proportions matter.
  std::array<float, 2> harm{};
};

class Calibration {
 public:
  // heads: [n_layers * n_kv_heads]; group: query heads to a KV head. model: the fingerprint of whose it is.
  // method: the number of the way in which it was made (engine/calibrate.h); 0: before they were numbered.
  Calibration(const CacheShape& shape, std::int64_t group, std::uint64_t model, std::int64_t method,
              std::vector<HeadCalibration> heads);

  const CacheShape& shape() const { return shape_; }
  std::int64_t group() const { return group_; }
  std::uint64_t model() const { return model_; }
  std::int64_t method() const { return method_; }
  const HeadCalibration& head(std::int64_t layer, std::int64_t h) const {
    return heads_[static_cast<std::size_t>(layer * shape_.n_kv_heads + h)];
  }
  ConstMatrix metric(std::int64_t layer, std::int64_t h) const {
    return {head(layer, h).metric.data(), shape_.head_dim, shape_.head_dim};
  }
  ConstMatrix queries(std::int64_t layer, std::int64_t h) const {
    return {head(layer, h).queries.data(), group_, shape_.head_dim};
  }
  // Of everything that it says of heads; never 0. Blocks that were sealed with another one mean something
  // else.
  std::uint64_t fingerprint() const { return fingerprint_; }

  // As a GGUF file (docs/method.md), atomically. OS errors name it.
  void save(const std::string& path) const;
  // A value error names what is wrong with the file.
  static Calibration load(const std::string& path);

 private:
  CacheShape shape_;
  std::int64_t group_;
  std::uint64_t model_;
  std::int64_t method_;
  std::vector<HeadCalibration> heads_;
  std::uint64_t fingerprint_;
};

}  // namespace spectralkv
