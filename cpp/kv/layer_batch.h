// One layer of a batch of sequences, for a runtime that computes keys, values and attention itself: it brings
// rows and gets back, dense, what its queries should read.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "kv/layer_store.h"

namespace spectralkv {

// Rows [n_sequences, n_kv_heads, n, head_dim] in any order: element (s, h, t, c) is at data[s strides[0] + h
// strides[1] + t strides[2] + c strides[3]].
struct BatchRows {
  const float* data = nullptr;
  std::int64_t n = 0;
  std::array<std::int64_t, 4> strides{};
};

class LayerBatch {
 public:
  struct Shape {
    std::int64_t layer = 0, n_layers = 1;  // of the model: cache specs may say which layers they mean
    std::int64_t n_sequences = 0, n_kv_heads = 0, head_dim = 0;
  };

  // padding: so many positions in front of each sequence hold no token, [n_sequences] or empty for none.
  // Blocks, sinks and window count from the first token. A value error names what is wrong.
  LayerBatch(const Shape& shape, const std::string& type_k, const std::string& type_v,
             const std::vector<std::int64_t>& padding, ThreadPool& pool);
  // format: of all layers of the model, which its batches share. That is what a calibration takes: it gives
  // bits out over all heads.
  LayerBatch(const Shape& shape, std::shared_ptr<const CacheFormat> format,
             const std::vector<std::int64_t>& padding, ThreadPool& pool);

  const Shape& shape() const { return shape_; }
  std::int64_t n_positions() const { return n_positions_; }  // padding included
  const CacheLayout& layout() const { return layer().layout; }

  // Takes the next k.n positions. k_out, v_out [n_sequences, n_kv_heads, n_positions(), head_dim], of the
  // length afterwards: what the first of these positions reads of those before it, and the new ones as the
  // exact type stores them; padding is 0. Nothing changes when a value is not finite or beyond the exact
  // type.
  void extend(const BatchRows& k, const BatchRows& v, float* k_out, float* v_out);
  // All positions, as the one that comes next reads them. k_out, v_out as above.
  void read(float* k_out, float* v_out) const;

  // The largest length up to n that `truncate` takes. 0 <= n <= n_positions().
  std::int64_t nearest_below(std::int64_t n) const;
  void truncate(std::int64_t n);
  void reset();
  // A batch of these sequences, which goes on apart; sealed blocks are shared. indices: each in [0,
  // n_sequences), at least one.
  std::unique_ptr<LayerBatch> select(const std::vector<std::int64_t>& indices) const;

  std::vector<CacheReport> reports() const;  // one a sequence

 private:
  const LayerFormat& layer() const { return format_->layer(shape_.layer - format_->shape().first_layer); }
  std::int64_t tokens_of(std::size_t s, std::int64_t positions) const {
    return std::max<std::int64_t>(0, positions - padding_[s]);
  }
  void read_into(float* k_out, float* v_out, std::int64_t total) const;
  Matrix plane(float* out, std::size_t s, std::int64_t h, std::int64_t total) const;

  Shape shape_;
  std::vector<std::int64_t> padding_;
  ThreadPool& pool_;
  BlockPool blocks_;
  std::shared_ptr<const CacheFormat> format_;  // of this layer alone, or of all
  std::int64_t n_positions_ = 0;
  std::vector<LayerStore> sequences_;
};

}  // namespace spectralkv
