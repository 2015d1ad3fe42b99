// What a launch of products makes of them besides.
#pragma once

#include "cuda/ops/elementwise.cuh"

namespace spectralkv::cuda {

struct GemvTail {
  // Of what the last job gives, norm.y, unless norm.x is null: by the last block of threads, that `arrived`
  // counts, 0 between launches.
  NormArgs norm{};
  unsigned* arrived = nullptr;
  // The two jobs are gate and up, of as many rows, a multiple of 32: what is gate's becomes silu(gate) * up,
  // and where `rounded` has memory also in 8 bits; its rows have no gaps then.
  bool paired = false;
  QuantRows rounded{};
};

}  // namespace spectralkv::cuda
