// Looks tensors up by the names that GGUF gives them.
#include "model/weights.h"

#include "base/error.h"
#include "tensor/shape_check.h"

namespace spectralkv {
namespace {

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
    const WeightView w = file_.weight(name);
    shape_(w, shape);
    const WeightView uploaded = backend_.upload(w, use);
    if (uploaded.panels != nullptr || uploaded.device != nullptr) file_.forget(w);
    return uploaded;
  }
  const float* vector(const std::string& name, std::string_view shape) const {
    const WeightView w = file_.weight(name);
    shape_(w, shape);
    return backend_.upload_vector(w);
  }

 private:
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

Weights load_llama_weights(const Gguf& file, const ModelConfig& config, Backend& backend) {
  const Loader load(file, config, backend);
  Weights weights;
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
    layer.q = load.linear(prefix + "attn_q", "qe");
    layer.k = load.linear(prefix + "attn_k", "ke");
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
