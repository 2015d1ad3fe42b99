// A backend that shows what attention is given: how measurements see keys, values and queries of any
// architecture.
#pragma once

#include <functional>

#include "backend/forwarding.h"

namespace spectralkv {

class TapBackend final : public ForwardingBackend {
 public:
  // What `attend` was called with, before the caches take it: q [n, n_heads * head_dim], k and v [n,
  // n_kv_heads * head_dim] of the step's n tokens, q and k after RoPE, in the inner backend's memory. What it
  // throws ends the forward pass.
  using Look = std::function<void(Step step, std::int64_t layer, const AttentionShape& shape, ConstMatrix q,
                                  ConstMatrix k, ConstMatrix v)>;

  // Everything goes to `inner`, which must outlive this.
  TapBackend(Backend& inner, Look look) : ForwardingBackend(inner), look_(std::move(look)) {}

  void attend(Step step, std::int64_t layer, const AttentionShape& shape, ConstMatrix q, ConstMatrix k,
              ConstMatrix v, Matrix out) override {
    look_(step, layer, shape, q, k, v);
    ForwardingBackend::attend(step, layer, shape, q, k, v, out);
  }

 private:
  Look look_;
};

}  // namespace spectralkv
