// A model: immutable weights and the forward pass of its architecture.
#pragma once

#include <memory>
#include <span>

#include "model/scratch.h"

namespace spectralkv {

class Model {
 public:
  virtual ~Model() = default;
  // Reads a step's tokens, 1 to n_batch of them together: they follow what their caches hold, and are in them
  // afterwards. The logits that are wanted come into scratch.logits [their number, n_vocab], in the step's
  // order. What a sequence gets does not depend on the others of its step: on the CPU not in a bit, on a GPU
  // but for the rounding of products, whose kernels go by the number of rows. A step that does not fit
  // changes nothing; after any other error some layers have taken some of the tokens, so reset all caches of
  // the step.
  virtual void forward(Backend& backend, Scratch& scratch, Step step) const = 0;
};

// Makes the model of the file's architecture; config: read_config of the file.
std::unique_ptr<Model> load_model(const Gguf& file, const ModelConfig& config, Backend& backend);

}  // namespace spectralkv
