// What a calibration finds of the KV heads of one layer.
#pragma once

#include <span>
#include <vector>

#include "base/threads.h"
#include "kv/calibration.h"
#include "kv/layer_rows.h"
#include "tensor/matrix.h"

namespace spectralkv {

// Sums over the queries of a layer, for each KV head over its group.
struct HeadSums {
  std::int64_t group = 0, d = 0, n = 0;
  std::vector<std::vector<float>> moments;  // [heads] of [d, d]: q q^T
  std::vector<std::vector<double>> means;   // [heads] of [group, d]

  HeadSums() = default;
  HeadSums(std::int64_t heads, std::int64_t group_size, std::int64_t head_dim);
  // q [n, group * d], times `scale`. Heads may be added to by several threads.
  void add(std::int64_t head, ConstMatrix q, double scale);
};

// rows: of a layer of the model, keys and values of a whole text and its last queries. angles [d / 2]: how
// far a position turns each pair of dimensions. output: the layer's attn_output.weight [n_embd, n_heads d].
// harm is what errors do to what the layer adds to the residual stream, squares added up over the queries.
std::vector<HeadCalibration> measure_heads(const LayerRows& rows, const HeadSums& sums,
                                           std::span<const double> angles, const WeightView& output,
                                           ThreadPool& pool);

}  // namespace spectralkv
