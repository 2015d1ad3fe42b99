// A batch is one store a sequence; a long prompt goes in block by block, so that nothing but its compressed
// form stays in memory.
#include "kv/layer_batch.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace spectralkv {
namespace {

constexpr std::int64_t kContext = std::numeric_limits<std::int64_t>::max();  // none

// Positions [first, first + out.rows) of sequence s. out: [n, heads * head_dim].
void gather(const BatchRows& rows, std::int64_t s, std::int64_t first, std::int64_t head_dim, Matrix out) {
  const auto& [of_sequence, of_head, of_position, of_entry] = rows.strides;
  for (std::int64_t t = 0; t < out.rows; ++t)
    for (std::int64_t h = 0; h < out.cols / head_dim; ++h) {
      const float* from = rows.data + s * of_sequence + h * of_head + (first + t) * of_position;
      for (std::int64_t c = 0; c < head_dim; ++c) out(t, h * head_dim + c) = from[c * of_entry];
    }
}

void check_shape(const LayerBatch::Shape& shape) {
  check(shape.n_sequences >= 1 && shape.n_kv_heads >= 1 && shape.head_dim >= 1, "kv",
        "a batch needs sequences, KV heads and a head dim, got ", shape.n_sequences, ", ", shape.n_kv_heads,
        " and ", shape.head_dim);
  check(shape.layer >= 0 && shape.layer < shape.n_layers, "kv", "layer ", shape.layer, " is not within 0 to ",
        shape.n_layers - 1);
}

// Of the layer alone.
std::shared_ptr<const CacheFormat> format_of(const LayerBatch::Shape& shape, const std::string& type_k,
                                             const std::string& type_v) {
  check_shape(shape);
  const auto layer = static_cast<std::size_t>(shape.layer);
  const std::string k = split_layers(type_k, shape.n_layers)[layer];
  const std::string v = split_layers(type_v, shape.n_layers)[layer];
  return std::make_shared<const CacheFormat>(CacheShape{1, shape.n_kv_heads, shape.head_dim, shape.layer}, k,
                                             v);
}

}  // namespace

LayerBatch::LayerBatch(const Shape& shape, const std::string& type_k, const std::string& type_v,
                       const std::vector<std::int64_t>& padding, ThreadPool& pool)
    : LayerBatch(shape, format_of(shape, type_k, type_v), padding, pool) {}

LayerBatch::LayerBatch(const Shape& shape, std::shared_ptr<const CacheFormat> format,
                       const std::vector<std::int64_t>& padding, ThreadPool& pool)
    : shape_(shape), padding_(padding), pool_(pool), format_(std::move(format)) {
  check_shape(shape);
  const CacheShape& of = format_->shape();
  check(of.n_kv_heads == shape.n_kv_heads && of.head_dim == shape.head_dim &&
            (of.n_layers == 1 ? of.first_layer == shape.layer : of.n_layers == shape.n_layers),
        "kv", "layer ", shape.layer, ": the calibration is of another model: it has ", of.n_layers,
        " layers of ", of.n_kv_heads, " KV heads of ", of.head_dim, ", expected ", shape.n_layers, " of ",
        shape.n_kv_heads, " of ", shape.head_dim);
  if (padding_.empty()) padding_.resize(static_cast<std::size_t>(shape.n_sequences));
  check(std::ssize(padding_) == shape.n_sequences, "kv", "padding is given for ", padding_.size(),
        " sequences, the batch has ", shape.n_sequences);
  for (const std::int64_t n : padding_) check(n >= 0, "kv", "padding of ", n, " positions");
  for (std::int64_t s = 0; s < shape.n_sequences; ++s) sequences_.emplace_back(layer(), kContext);
}

// Rows of sequence s, head h in an output of `total` positions: [total, head_dim].
Matrix LayerBatch::plane(float* out, std::size_t s, std::int64_t h, std::int64_t total) const {
  const std::int64_t d = shape_.head_dim;
  return {out + (static_cast<std::int64_t>(s) * shape_.n_kv_heads + h) * total * d, total, d};
}

// Positions before n_positions_ of outputs that have room for `total`.
void LayerBatch::read_into(float* k_out, float* v_out, std::int64_t total) const {
  pool_.for_each(shape_.n_sequences * shape_.n_kv_heads, [&](std::int64_t item, int) {
    const auto s = static_cast<std::size_t>(item / shape_.n_kv_heads);
    const std::int64_t h = item % shape_.n_kv_heads, n = sequences_[s].n_tokens, pad = n_positions_ - n;
    const Matrix k = plane(k_out, s, h, total), v = plane(v_out, s, h, total);
    std::fill_n(k.data, pad * k.cols, 0.0f);
    std::fill_n(v.data, pad * v.cols, 0.0f);
    sequences_[s].read_head(h, 0, k.rows_range(pad, n), v.rows_range(pad, n));
  });
}

void LayerBatch::read(float* k_out, float* v_out) const {
  read_into(k_out, v_out, n_positions_);
}

void LayerBatch::extend(const BatchRows& k, const BatchRows& v, float* k_out, float* v_out) {
  const std::int64_t d = shape_.head_dim, heads = shape_.n_kv_heads, total = n_positions_ + k.n;
  const std::int64_t most = std::min(k.n, layout().block);
  Buffer<float> memory(static_cast<std::size_t>(2 * most * heads * d));
  // Calls use(k, v, position behind n_positions_) with rows [n, heads * head_dim] of the tokens of sequence
  // s.
  const auto pieces = [&](std::size_t s, const auto& use) {
    const std::int64_t skipped = std::clamp<std::int64_t>(padding_[s] - n_positions_, 0, k.n);
    for (std::int64_t at = skipped; at < k.n; at += most) {
      const std::int64_t n = std::min(most, k.n - at);
      const Matrix k_rows(memory.data(), n, heads * d),
          v_rows(memory.data() + most * heads * d, n, heads * d);
      gather(k, static_cast<std::int64_t>(s), at, d, k_rows);
      gather(v, static_cast<std::int64_t>(s), at, d, v_rows);
      use(k_rows, v_rows, at);
    }
  };
  const LayerFormat& format = layer();
  for (std::size_t s = 0; s < sequences_.size(); ++s)
    pieces(s, [&](ConstMatrix k_rows, ConstMatrix v_rows, std::int64_t at) {
      check_rows(format, n_positions_ + at, k_rows, v_rows);
    });

  read_into(k_out, v_out, total);
  CacheWork work(pool_, blocks_);
  for (std::size_t s = 0; s < sequences_.size(); ++s) {
    LayerStore& store = sequences_[s];
    const std::int64_t new_padding = std::clamp<std::int64_t>(padding_[s] - n_positions_, 0, k.n);
    for (std::int64_t h = 0; h < heads; ++h)
      for (float* out : {k_out, v_out})
        std::fill_n(plane(out, s, h, total).row(n_positions_), new_padding * d, 0.0f);
    pieces(s, [&](ConstMatrix k_rows, ConstMatrix v_rows, std::int64_t at) {
      const Appended appended(store, k_rows, v_rows, work);
      const auto as_stored = [&](const ExactRows& rows, const Codec& exact, float* out) {
        for (std::int64_t h = 0; h < heads; ++h)
          exact.decode(rows.at(exact, h, store.n_tokens), k_rows.rows,
                       plane(out, s, h, total).rows_range(n_positions_ + at, k_rows.rows));
      };
      as_stored(appended.k, *format.k.exact, k_out);
      as_stored(appended.v, *format.v.exact, v_out);
    });
  }
  n_positions_ = total;
}

std::int64_t LayerBatch::nearest_below(std::int64_t n) const {
  for (std::size_t s = 0; s < sequences_.size();) {
    const std::int64_t tokens = tokens_of(s, n),
                       possible = layer().nearest_below(sequences_[s].n_tokens, tokens);
    if (possible == tokens) {
      ++s;
      continue;
    }
    n = possible == 0 ? 0 : padding_[s] + possible;
    s = 0;
  }
  return n;
}

void LayerBatch::truncate(std::int64_t n) {
  check(n >= 0 && n <= n_positions_, "kv", "truncate: ", n, " is not within 0 to ", n_positions_,
        " positions");
  const std::int64_t possible = nearest_below(n);
  check(possible == n, "kv", "layer ", shape_.layer, ": the cache cannot go back to ", n,
        " tokens: its blocks are sealed whole; the nearest length below is ", possible);
  for (std::size_t s = 0; s < sequences_.size(); ++s) sequences_[s].truncate(tokens_of(s, n));
  n_positions_ = n;
}

void LayerBatch::reset() {
  for (LayerStore& store : sequences_) store.reset();
  n_positions_ = 0;
}

std::unique_ptr<LayerBatch> LayerBatch::select(const std::vector<std::int64_t>& indices) const {
  Shape shape = shape_;
  shape.n_sequences = std::ssize(indices);
  std::vector<std::int64_t> padding;
  for (const std::int64_t i : indices) {
    check(i >= 0 && i < shape_.n_sequences, "kv", "sequence ", i, " is not within 0 to ",
          shape_.n_sequences - 1);
    padding.push_back(padding_[static_cast<std::size_t>(i)]);
  }
  auto chosen = std::make_unique<LayerBatch>(shape, format_, padding, pool_);
  chosen->n_positions_ = n_positions_;
  chosen->blocks_ = blocks_;
  for (std::size_t s = 0; s < indices.size(); ++s)
    chosen->sequences_[s] = sequences_[static_cast<std::size_t>(indices[s])].fork(kContext);
  return chosen;
}

std::vector<CacheReport> LayerBatch::reports() const {
  std::vector<CacheReport> all;
  for (const LayerStore& store : sequences_) {
    CacheReport& report = all.emplace_back(empty_report(layer(), kContext, store.n_tokens));
    SideCounter k(report.k), v(report.v);
    store.count(report.k, k, report.v, v);
  }
  return all;
}

}  // namespace spectralkv
