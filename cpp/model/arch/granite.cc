// Granite 3 (IBM), dense: Llama with factors on embedded tokens, on attention, on what attention and
// feed-forward add to the residual stream, and on logits.
#include "base/error.h"
#include "model/architectures.h"
#include "model/decoder.h"

namespace spectralkv::arch {
namespace {

ModelConfig read_config(const Gguf& file, const std::string& prefix) {
  ModelConfig config = read_dense_decoder(file, prefix);
  check(file.get_bool(prefix + "rope.scaling.finetuned", true), "model", "'", file.path(), "': '", prefix,
        "rope.scaling.finetuned' is false: attention without positions is not supported");
  config.attention_scale = read_factor(file, prefix + "attention.scale", 0);
  config.embedding_scale = read_factor(file, prefix + "embedding_scale", 1);
  config.residual_scale = read_factor(file, prefix + "residual_scale", 1);
  config.logit_scale = file.get_float(prefix + "logit_scale");
  check(config.logit_scale > 1e-6 && config.logit_scale < 1e6, "model", "'", file.path(), "': '", prefix,
        "logit_scale' is ", config.logit_scale, ", expected a divisor from 1e-6 to 1e6");
  return config;
}

class Graph final : public Decoder {
 public:
  using Decoder::Decoder;

 private:
  void begin(const Pass& pass) const override {
    Decoder::begin(pass);
    pass.backend.scale(pass.scratch.x.rows(pass.n), static_cast<float>(config().embedding_scale));
  }
  void leave(const Pass& pass) const override {
    pass.backend.scale(pass.scratch.normed.rows(pass.n), static_cast<float>(config().residual_scale));
  }
  void finish(const Pass& pass) const override {
    Decoder::finish(pass);
    if (pass.n_logits > 0)
      pass.backend.scale(pass.scratch.logits.rows(pass.n_logits),
                         1 / static_cast<float>(config().logit_scale));
  }
};

}  // namespace

extern const Architecture granite = {"granite", "Granite", read_config,
                                     load_decoder<load_llama_layer, Graph>};

}  // namespace spectralkv::arch
