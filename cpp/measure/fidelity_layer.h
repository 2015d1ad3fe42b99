// The measurements of `fidelity` on the rows of one layer.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/threads.h"
#include "kv/layer_rows.h"
#include "measure/fidelity.h"

namespace spectralkv {

// The tokens of a sealed block: [begin, begin + n).
struct BlockRange {
  std::int64_t begin = 0, n = 0;
};

// The blocks of a layer that are sealed once n_context tokens have been read.
std::vector<BlockRange> sealed_ranges(const CacheLayout& layout, std::int64_t n_context);

// Spectra of each KV head of `side` [n, n_kv_heads * head_dim]; at least one block. The low-rank part is that
// of truncation, as the codec's default.
std::vector<HeadSpectrum> measure_spectra(ConstMatrix side, std::int64_t head_dim,
                                          std::span<const BlockRange> blocks, ThreadPool& pool);

// Encodes the context with the codecs that the specs have for this layer and measures what comes back.
// calibration: of the model, or null. attended: attend_to of the layer's own rows.
CodecFidelity measure_codec(const LayerRows& rows, const std::string& type_k, const std::string& type_v,
                            std::shared_ptr<const Calibration> calibration, ConstMatrix attended,
                            ThreadPool& pool);

}  // namespace spectralkv
