// A model: immutable weights and the forward pass of its architecture.
#pragma once

#include <memory>
#include <span>

#include "model/scratch.h"

namespace spectralkv {

class Model {
 public:
  virtual ~Model() = default;
  // Reads tokens (1 to n_batch of them) at the positions that follow cache.n_tokens() and commits them. The
  // last `n_logits` of them get logits, in scratch.logits [n_logits, n_vocab].
  virtual void forward(Backend& backend, Scratch& scratch, KvCache& cache,
                       std::span<const std::int32_t> tokens, std::int64_t n_logits) const = 0;
};

// Makes the model of the file's architecture; config: read_config of the file.
std::unique_ptr<Model> load_model(const Gguf& file, const ModelConfig& config, Backend& backend);

}  // namespace spectralkv
