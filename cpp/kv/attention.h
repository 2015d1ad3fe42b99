// Attention over a cache: reads sealed blocks in codec space and the exact tokens as they are, never a dense
// context.
#pragma once

#include <cstdint>

#include "kv/layer_store.h"
#include "kv/step.h"
#include "tensor/matrix.h"

namespace spectralkv {

// out[t][h] = softmax(scale q K^T) V for the tokens of a step. q, out: [n, n_heads * head_dim]. The same bits
// for any step that brings these tokens and any number of threads. work: that of `rows`.
void attend(const Appended& rows, const AttentionShape& shape, ConstMatrix q, Matrix out, CacheWork& work);

}  // namespace spectralkv
