// Every activation of a forward pass, by name, for up to n_batch tokens.
#pragma once

#include "backend/backend.h"
#include "model/config.h"

namespace spectralkv {

class Scratch {
 public:
  // logit_rows: most rows of logits in one pass.
  Scratch(Backend& backend, const ModelConfig& c, std::int64_t n_batch, std::int64_t logit_rows)
      : x(backend, n_batch, c.n_embd),
        normed(backend, n_batch, c.n_embd),
        q(backend, n_batch, c.n_heads * c.head_dim),
        k(backend, n_batch, c.n_kv_heads * c.head_dim),
        v(backend, n_batch, c.n_kv_heads * c.head_dim),
        attended(backend, n_batch, c.n_heads * c.head_dim),
        gate(backend, n_batch * c.feed_forwards(), c.n_ff),
        up(backend, n_batch * c.feed_forwards(), c.n_ff),
        cos_sin(backend, n_batch, c.rope.dims),
        q_scale(backend, n_batch, 1),
        router(backend, n_batch, c.n_experts),
        expert_rows(backend, n_batch * c.n_experts_used, c.n_embd),
        logits(backend, logit_rows, c.n_vocab) {}

  // [n_batch, cols] of which a pass uses the first n rows.
  class Activation {
   public:
    Activation(Backend& backend, std::int64_t rows, std::int64_t cols)
        : memory_(backend.allocate(rows * cols)), rows_(rows), cols_(cols) {}
    std::int64_t most_rows() const { return rows_; }
    Matrix rows(std::int64_t n) const { return Matrix(memory_.get(), rows_, cols_).rows_range(0, n); }

   private:
    FloatMemory memory_;
    std::int64_t rows_, cols_;
  };

  Activation x;            // residual stream [n, n_embd]
  Activation normed;       // [n, n_embd], also what o and down give
  Activation q, k, v;      // [n, heads * head_dim]
  Activation attended;     // [n, n_heads * head_dim]
  Activation gate, up;     // [n, n_ff], or of each expert of a row: [n * n_experts_used, n_ff]
  Activation cos_sin;      // [n, rope dims]
  Activation q_scale;      // [n, 1], factors on queries by their position
  Activation router;       // [n, n_experts]
  Activation expert_rows;  // [n * n_experts_used, n_embd]
  Activation logits;       // [logit rows, n_vocab]
};

}  // namespace spectralkv
