// Looks tensors up by the names that GGUF gives them.
#include "model/weights.h"

#include <cstring>
#include <utility>

#include "base/error.h"
#include "formats/formats.h"
#include "tensor/shape_check.h"

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

class Loader {
 public:
  Loader(const Gguf& file, const ModelConfig& c, Backend& backend)
      : file_(file), backend_(backend), shape_(file.path()) {
    shape_.set('v', c.n_vocab);
    shape_.set('e', c.n_embd);
    shape_.set('q', c.n_heads * c.head_dim);
    shape_.set('k', c.n_kv_heads * c.head_dim);
    shape_.set('f', c.n_ff);
  }

  // name.weight [shape], and name.bias where it exists.
  Linear linear(const std::string& name, std::string_view shape) const {
    Linear result{matrix(name + ".weight", shape), nullptr};
    if (file_.find_tensor(name + ".bias") != nullptr)
      result.bias = vector(name + ".bias", shape.substr(0, 1));
    return result;
  }
  WeightView matrix(const std::string& name, std::string_view shape,
                    Backend::Use use = Backend::Use::matmul) const {
    const WeightView w = find(name, shape);
    const WeightView uploaded = backend_.upload(w, use);
    if (is_copied(uploaded)) file_.forget(w);
    return uploaded;
  }
  const float* vector(const std::string& name, std::string_view shape) const {
    return backend_.upload_vector(find(name, shape));
  }

  // As `linear`, with the rows of each head turned into pairs. Bytes that the backend still needs go to
  // `kept`.
  Linear turned(const std::string& name, std::string_view shape, const ModelConfig& c,
                std::vector<Buffer<std::byte>>& kept) const {
    const WeightView w = find(name + ".weight", shape);
    WeightView pairs = w;
    Buffer<std::byte> bytes = pair_rows(w.data, w.rows, w.row_bytes(), c.head_dim, c.rope.dims);
    file_.forget(w);
    pairs.data = bytes.data();
    Linear result{backend_.upload(pairs, Backend::Use::matmul), nullptr};
    if (is_copied(result.w))
      result.w.data = nullptr;
    else
      kept.push_back(std::move(bytes));

    if (file_.find_tensor(name + ".bias") == nullptr) return result;
    WeightView bias = find(name + ".bias", shape.substr(0, 1));
    Buffer<float> plain(static_cast<std::size_t>(bias.cols));  // in some types a value is not a whole byte
    kDecode[static_cast<std::size_t>(bias.type)](bias.data, plain.data(), bias.cols);
    const Buffer<std::byte> values = pair_rows(reinterpret_cast<const std::byte*>(plain.data()), bias.cols,
                                               sizeof(float), c.head_dim, c.rope.dims);
    bias.type = DType::f32;
    bias.data = values.data();
    result.bias = backend_.upload_vector(bias);
    return result;
  }

  void require(const std::string& name) const {
    check(file_.find_tensor(name) != nullptr, "model", "'", file_.path(), "': tensor '", name,
          "' is missing");
  }

 private:
  WeightView find(const std::string& name, std::string_view shape) const {
    WeightView w = file_.weight(name);
    shape_(w, shape);
    return w;
  }
  // The backend computes with memory of its own.
  static bool is_copied(const WeightView& w) { return w.uploaded != nullptr; }

  const Gguf& file_;
  Backend& backend_;
  ShapeCheck shape_;
};

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

Weights load_weights(const Gguf& file, const ModelConfig& config, Backend& backend,
                     const WeightLayout& layout) {
  const Loader load(file, config, backend);
  Weights weights;
  const auto rotated = [&](const std::string& name, std::string_view shape) {
    return layout.rope_rows == RopeRows::pairs ? load.linear(name, shape)
                                               : load.turned(name, shape, config, weights.turned);
  };
  weights.embedding = load.matrix("token_embd.weight", "ve", Backend::Use::table);
  weights.norm = load.vector("output_norm.weight", "e");
  if (file.find_tensor("output.weight") != nullptr)
    weights.head = load.linear("output", "ve");
  else
    weights.head.w = load.matrix("token_embd.weight", "ve");
  for (std::int64_t l = 0; l < config.n_layers; ++l) {
    const std::string prefix = "blk." + std::to_string(l) + ".";
    LayerWeights& layer = weights.layers.emplace_back();
    layer.attn_norm = load.vector(prefix + "attn_norm.weight", "e");
    if (layout.qkv_bias == QkvBias::required)
      for (const char* part : {"attn_q", "attn_k", "attn_v"}) load.require(prefix + part + ".bias");
    layer.q = rotated(prefix + "attn_q", "qe");
    layer.k = rotated(prefix + "attn_k", "ke");
    layer.v = load.linear(prefix + "attn_v", "ke");
    layer.o = load.linear(prefix + "attn_output", "eq");
    layer.ffn_norm = load.vector(prefix + "ffn_norm.weight", "e");
    layer.gate = load.linear(prefix + "ffn_gate", "fe");
    layer.up = load.linear(prefix + "ffn_up", "fe");
    layer.down = load.linear(prefix + "ffn_down", "ef");
  }
  weights.rope_factors = read_rope_factors(file, config);
  return weights;
}

}  // namespace spectralkv
