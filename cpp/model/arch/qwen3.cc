// Qwen3 (Yang et al., arXiv 2505.09388), dense: Llama with a norm of each head of q and k before RoPE, and
// with rows as Hugging Face keeps them.
#include "model/architectures.h"
#include "model/decoder.h"

namespace spectralkv::arch {
namespace {

LayerWeights load_layer(WeightLoader& from, const std::string& prefix) {
  LayerWeights layer;
  load_attention(from, prefix, RopeRows::halves, layer);
  load_gated_feed_forward(from, prefix, layer);
  layer.q_norm = from.vector_of_halves(prefix + "attn_q_norm", "d");
  layer.k_norm = from.vector_of_halves(prefix + "attn_k_norm", "d");
  return layer;
}

class Graph final : public Decoder {
 public:
  using Decoder::Decoder;

 private:
  void turn(const Pass& pass, std::int64_t l) const override {
    norm_heads(pass, pass.scratch.q.rows(pass.n), layer(l).q_norm);
    norm_heads(pass, pass.scratch.k.rows(pass.n), layer(l).k_norm);
    Decoder::turn(pass, l);
  }
  // Each head as a row of its own.
  void norm_heads(const Pass& pass, Matrix x, const float* gain) const {
    const Matrix heads(x.data, x.rows * x.cols / config().head_dim, config().head_dim);
    pass.backend.rms_norm(heads, gain, static_cast<float>(config().rms_eps), heads);
  }
};

}  // namespace

extern const Architecture qwen3 = {"qwen3", "Qwen3", read_dense_decoder, load_decoder<load_layer, Graph>};

}  // namespace spectralkv::arch
