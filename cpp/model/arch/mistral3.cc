// Ministral 3 and Devstral 2 (Mistral AI): Llama with YaRN whose attention factor has a divisor of its own,
// and with queries that grow with their position.
#include <cmath>
#include <vector>

#include "base/error.h"
#include "kv/cache.h"
#include "model/architectures.h"
#include "model/decoder.h"

namespace spectralkv::arch {
namespace {

ModelConfig read_config(const Gguf& file, const std::string& prefix) {
  ModelConfig config = read_dense_decoder(file, prefix);
  RopeConfig& rope = config.rope;
  const double divisor = read_factor(file, prefix + "rope.scaling.yarn_log_multiplier", 0);
  if (rope.scaling == RopeScaling::yarn && rope.ext_factor != 0 && rope.factor > 1)
    rope.attn_factor /= 1 + 0.1 * divisor * std::log(rope.factor);
  config.temperature_scale = read_factor(file, prefix + "attention.temperature_scale", 0);
  if (config.temperature_scale != 0)
    config.temperature_length = file.get_int(prefix + "rope.scaling.original_context_length", 1,
                                             std::int64_t{1} << 40, config.context_length);
  return config;
}

class Graph final : public Decoder {
 public:
  using Decoder::Decoder;

 private:
  void begin(const Pass& pass) const override {
    Decoder::begin(pass);
    std::vector<float> scales;
    for (const StepPart& part : pass.step)
      for (std::int64_t t = 0; t < part.n(); ++t) scales.push_back(query_scale(part.cache->n_tokens() + t));
    pass.backend.write(scales, pass.scratch.q_scale.rows(pass.n).data);
  }
  void turn(const Pass& pass, std::int64_t l) const override {
    Decoder::turn(pass, l);
    if (config().temperature_scale != 0)
      pass.backend.scale_rows(pass.scratch.q.rows(pass.n), pass.scratch.q_scale.rows(pass.n).data);
  }
  float query_scale(std::int64_t position) const {
    if (config().temperature_scale == 0) return 1;
    const auto stretches = static_cast<double>(position / config().temperature_length);
    return static_cast<float>(1 + config().temperature_scale * std::log1p(stretches));
  }
};

}  // namespace

extern const Architecture mistral3 = {"mistral3", "Ministral 3 and Devstral 2", read_config,
                                      load_decoder<load_llama_layer, Graph>};

}  // namespace spectralkv::arch
