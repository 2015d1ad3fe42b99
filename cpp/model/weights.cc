// Looks tensors up by the names that GGUF gives them.
#include "model/weights.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "formats/formats.h"
#include "gguf/cursor.h"

namespace spectralkv {
namespace {

// Rows of row_bytes each: within the first `dims` of every head of head_dim, row i comes to 2i and row
// i + dims / 2 to 2i + 1.
Buffer<std::byte> pair_rows(const std::byte* from, std::int64_t n_rows, std::int64_t row_bytes,
                            std::int64_t head_dim, std::int64_t dims) {
  Buffer<std::byte> to(static_cast<std::size_t>(n_rows * row_bytes));
  for (std::int64_t row = 0; row < n_rows; ++row) {
    const std::int64_t in_head = row % head_dim;
    const std::int64_t source = in_head < dims ? in_head / 2 + in_head % 2 * (dims / 2) : in_head;
    std::memcpy(to.data() + row * row_bytes, from + (row - in_head + source) * row_bytes,
                static_cast<std::size_t>(row_bytes));
  }
  return to;
}

std::vector<float> read_rope_factors(const Gguf& file, const ModelConfig& config) {
  if (file.find_tensor("rope_freqs.weight") == nullptr) return {};
  const WeightView w = file.weight("rope_freqs.weight");
  check(w.type == DType::f32 && w.rows == 1 && w.cols == config.rope.dims / 2, "model", "'", file.path(),
        "': tensor 'rope_freqs.weight' must be f32 [", config.rope.dims / 2, "]");
  std::vector<float> factors(static_cast<std::size_t>(w.cols));
  __builtin_memcpy(factors.data(), w.data, factors.size() * sizeof(float));
  return factors;
}

}  // namespace

WeightLoader::WeightLoader(const Gguf& file, const ModelConfig& config, Backend& backend)
    : file_(file), config_(config), backend_(backend), shape_(file.path()) {
  shape_.set('v', config.n_vocab);
  shape_.set('e', config.n_embd);
  shape_.set('q', config.n_heads * config.head_dim);
  shape_.set('k', config.n_kv_heads * config.head_dim);
  shape_.set('d', config.head_dim);
  shape_.set('f', config.n_ff);
  shape_.set('x', config.n_experts);
}

WeightView WeightLoader::find(const std::string& tensor, std::string_view shape) const {
  WeightView w = file_.weight(tensor);
  shape_(w, shape);
  known_.insert(tensor);
  return w;
}

void WeightLoader::refuse_others() const {
  for (const GgufTensor& tensor : file_.tensors())
    check(known_.count(tensor.name) > 0 || tensor.name == "rope_freqs.weight", "model", "'", file_.path(),
          "': tensor '", printable(tensor.name), "' is not part of this kind of ", config_.arch, " model of ",
          config_.n_layers, " layers: without it the model would compute something else");
}

WeightView WeightLoader::matrix(const std::string& name, std::string_view shape, Backend::Use use) const {
  return uploaded(find(name + ".weight", shape), use);
}

WeightView WeightLoader::uploaded(const WeightView& w, Backend::Use use) const {
  WeightView there = backend_.upload(w, use);
  if (there.uploaded != nullptr) w.forget();
  return there;
}

std::vector<WeightView> WeightLoader::experts(const std::string& name, std::string_view shape) const {
  std::vector<WeightView> all;
  const std::string merged = name + "_exps.weight";
  std::vector<std::string> split;
  for (std::int64_t e = 0; e < config_.n_experts; ++e) split.push_back(name + "." + std::to_string(e));
  const auto is_there = [&](const std::string& one) { return has(one + ".weight"); };
  if (!has(merged) && std::any_of(split.begin(), split.end(), is_there)) {
    for (const std::string& one : split) all.push_back(matrix(one, shape));
    return all;
  }
  known_.insert(merged);
  for (const WeightView& w : file_.matrices(merged, config_.n_experts, "experts")) {
    shape_(w, shape);
    all.push_back(uploaded(w, Backend::Use::matmul));
  }
  return all;
}

const float* WeightLoader::vector(const std::string& name, std::string_view shape) const {
  return backend_.upload_vector(find(name + ".weight", shape));
}

Linear WeightLoader::linear(const std::string& name, std::string_view shape) const {
  Linear result{matrix(name, shape), nullptr};
  const std::string bias = name + ".bias";
  if (has(bias)) result.bias = backend_.upload_vector(find(bias, shape.substr(0, 1)));
  return result;
}

Linear WeightLoader::linear_of_halves(const std::string& name, std::string_view shape) {
  if (!backend_.reads_weights()) return linear(name, shape);
  const WeightView w = find(name + ".weight", shape);
  WeightView pairs = w;
  Buffer<std::byte> bytes = pair_rows(w.data, w.rows, w.row_bytes(), config_.head_dim, config_.rope.dims);
  w.forget();
  pairs.data = bytes.data();
  pairs.file = nullptr;
  Linear result{backend_.upload(pairs, Backend::Use::matmul), nullptr};
  if (result.w.uploaded != nullptr)
    result.w.data = nullptr;
  else
    turned_.push_back(std::move(bytes));
  const std::string bias = name + ".bias";
  if (has(bias)) result.bias = turned_vector(bias, shape.substr(0, 1));
  return result;
}

const float* WeightLoader::vector_of_halves(const std::string& name, std::string_view shape) const {
  return turned_vector(name + ".weight", shape);
}

const float* WeightLoader::turned_vector(const std::string& tensor, std::string_view shape) const {
  WeightView vector = find(tensor, shape);
  Buffer<float> plain(static_cast<std::size_t>(vector.cols));  // in some types a value is not a whole byte
  kDecode[static_cast<std::size_t>(vector.type)](vector.data, plain.data(), vector.cols);
  const Buffer<std::byte> values = pair_rows(reinterpret_cast<const std::byte*>(plain.data()), vector.cols,
                                             sizeof(float), config_.head_dim, config_.rope.dims);
  vector.type = DType::f32;
  vector.data = values.data();
  return backend_.upload_vector(vector);
}

void WeightLoader::require(const std::string& tensor) const {
  check(has(tensor), "model", "'", file_.path(), "': tensor '", tensor, "' is missing");
}

void load_attention(WeightLoader& from, const std::string& prefix, RopeRows rows, LayerWeights& layer) {
  const auto turned = [&](const char* name, const char* shape) {
    return rows == RopeRows::halves ? from.linear_of_halves(prefix + name, shape)
                                    : from.linear(prefix + name, shape);
  };
  layer.attn_norm = from.vector(prefix + "attn_norm", "e");
  layer.q = turned("attn_q", "qe");
  layer.k = turned("attn_k", "ke");
  layer.v = from.linear(prefix + "attn_v", "ke");
  layer.o = from.linear(prefix + "attn_output", "eq");
}

void load_gated_feed_forward(const WeightLoader& from, const std::string& prefix, LayerWeights& layer) {
  layer.ffn_norm = from.vector(prefix + "ffn_norm", "e");
  layer.gate = from.linear(prefix + "ffn_gate", "fe");
  layer.up = from.linear(prefix + "ffn_up", "fe");
  layer.down = from.linear(prefix + "ffn_down", "ef");
}

void load_experts(const WeightLoader& from, const std::string& prefix, LayerWeights& layer) {
  layer.ffn_norm = from.vector(prefix + "ffn_norm", "e");
  layer.router = from.linear(prefix + "ffn_gate_inp", "xe");
  layer.gate_experts = from.experts(prefix + "ffn_gate", "fe");
  layer.up_experts = from.experts(prefix + "ffn_up", "fe");
  layer.down_experts = from.experts(prefix + "ffn_down", "ef");
}

LayerWeights load_llama_layer(WeightLoader& from, const std::string& prefix) {
  LayerWeights layer;
  load_attention(from, prefix, RopeRows::pairs, layer);
  load_gated_feed_forward(from, prefix, layer);
  return layer;
}

Weights load_weights(const Gguf& file, const ModelConfig& config, Backend& backend,
                     LayerWeights (*load_layer)(WeightLoader&, const std::string& prefix)) {
  WeightLoader from(file, config, backend);
  Weights weights;
  weights.embedding = from.matrix("token_embd", "ve", Backend::Use::table);
  weights.norm = from.vector("output_norm", "e");
  if (from.has("output.weight"))
    weights.head = from.linear("output", "ve");
  else
    weights.head.w = from.matrix("token_embd", "ve");
  for (std::int64_t l = 0; l < config.n_layers; ++l)
    weights.layers.push_back(load_layer(from, "blk." + std::to_string(l) + "."));
  weights.rope_factors = read_rope_factors(file, config);
  from.refuse_others();
  weights.turned = from.take_turned();
  return weights;
}

}  // namespace spectralkv
