// The graph of Llama, and of every architecture that differs from it in its weights or in a part.
#pragma once

#include <memory>
#include <utility>

#include "model/graph_parts.h"
#include "model/model.h"
#include "model/weights.h"

namespace spectralkv {

// Norm, attention, norm, gated feed-forward; x stays in the residual stream. An architecture that does a part
// in another way overrides it.
class Decoder : public Model {
 public:
  Decoder(const ModelConfig& config, Weights weights);
  void forward(Backend& backend, Scratch& scratch, Step step) const final;

 protected:
  const ModelConfig& config() const { return config_; }
  const LayerWeights& layer(std::int64_t l) const { return weights_.layers[static_cast<std::size_t>(l)]; }

  // Before the layers: embedded tokens into x, and all that depends on positions. Never part of a recording.
  virtual void begin(const Pass& pass) const;
  // Of q and k, on their way to the cache: RoPE.
  virtual void turn(const Pass& pass, std::int64_t l) const;
  // From normed to normed.
  virtual void feed_forward(const Pass& pass, std::int64_t l) const;
  // Of normed, which attention or the feed-forward has left there for x.
  virtual void leave(const Pass& pass) const;
  // From normed to logits.
  virtual void finish(const Pass& pass) const;

 private:
  void layers(const Pass& pass) const;

  ModelConfig config_;
  Weights weights_;
  Rope rope_;
};

// An architecture's `load`, from how it loads a layer and from its graph.
template <LayerWeights (*load_layer)(WeightLoader&, const std::string& prefix), class Graph = Decoder>
std::unique_ptr<Model> load_decoder(const Gguf& file, const ModelConfig& config, Backend& backend) {
  return std::make_unique<Graph>(config, load_weights(file, config, backend, load_layer));
}

}  // namespace spectralkv
