// Which experts a token goes to: host and device, no STL.
#pragma once

#include <math.h>

#include "base/host_device.h"

namespace spectralkv {

struct Route {
  int expert;
  float weight;
};

// The `used` largest of logits [n_experts], of equal ones the first, and the softmax over these alone. NaN
// counts as the smallest, so that what is chosen are always experts that there are.
SKV_HD inline void choose_experts(const float* logits, int n_experts, int used, Route* out) {
  int last = -1;
  float last_logit = INFINITY;
  for (int j = 0; j < used; ++j) {
    Route best{-1, 0.0f};
    for (int e = 0; e < n_experts; ++e) {
      const float logit = logits[e] == logits[e] ? logits[e] : -INFINITY;
      const bool chosen = logit > last_logit || (logit == last_logit && e <= last);
      if (!chosen && (best.expert < 0 || logit > best.weight)) best = {e, logit};
    }
    out[j] = best;
    last = best.expert;
    last_logit = best.weight;
  }
  const float most = out[0].weight;
  float sum = 0;
  for (int j = 0; j < used; ++j) sum += out[j].weight = expf(out[j].weight - most);
  for (int j = 0; j < used; ++j) out[j].weight /= sum;
}

}  // namespace spectralkv
