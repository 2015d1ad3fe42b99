// Means over heads and layers, and the list of codecs that are worth a comparison.
#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "measure/fidelity.h"

namespace spectralkv {
namespace {

constexpr int kMostComparedBits = 4;

// get(layer): the codec's part of a layer.
template <class Get>
CodecMeans over_layers(const FidelityResult& result, const Get& get) {
  std::vector<HeadError> k, v;
  std::vector<double> both;
  for (const LayerFidelity& layer : result.layers) {
    const CodecMeans means = codec_means(get(layer));
    k.push_back(means.k);
    v.push_back(means.v);
    both.push_back(means.attention_error);
  }
  return {head_mean(k), head_mean(v), head_mean(both)};
}

}  // namespace

CodecMeans codec_means(const CodecFidelity& layer) {
  return {head_mean(layer.k), head_mean(layer.v), head_mean(layer.attention_error)};
}

CodecMeans type_means(const FidelityResult& result) {
  return over_layers(result, [](const LayerFidelity& layer) -> const CodecFidelity& { return layer.types; });
}

CodecMeans codec_means(const FidelityResult& result, std::size_t codec) {
  return over_layers(
      result, [codec](const LayerFidelity& layer) -> const CodecFidelity& { return layer.all[codec]; });
}

std::vector<std::string> comparable_codecs(std::int64_t head_dim) {
  std::vector<std::string> specs;
  for (const CodecRow& row : codec_table()) {
    if (row.name == "f32") continue;
    if (row.max_bits == 0 && build_codec(row.name, head_dim).text == row.name) specs.emplace_back(row.name);
    for (int bits = row.min_bits; bits > 0 && bits <= std::min(row.max_bits, kMostComparedBits); ++bits)
      specs.push_back(concat(row.name, ":", bits));
  }
  return specs;
}

double head_mean(std::span<const double> heads) {
  return std::accumulate(heads.begin(), heads.end(), 0.0) / static_cast<double>(heads.size());
}

HeadError head_mean(std::span<const HeadError> heads) {
  HeadError mean;
  const auto n = static_cast<double>(heads.size());
  double with_factors = 0;
  for (const HeadError& h : heads) {
    mean.factor_width += h.factor_width;
    with_factors += h.factor_width > 0 ? 1 : 0;
    mean.residual_bits += h.residual_bits / n;
    mean.second_rows += h.second_rows / n;
    mean.metric_gain += h.metric_gain / n;
    mean.relative_mse += h.relative_mse / n;
    mean.ip_error += h.ip_error / n;
    mean.ip_bias += h.ip_bias / n;
    mean.attention_error += h.attention_error / n;
    mean.bits_paper += h.bits_paper / n;
    mean.bits_honest += h.bits_honest / n;
  }
  if (with_factors > 0) mean.factor_width /= with_factors;
  return mean;
}

HeadSpectrum head_mean(std::span<const HeadSpectrum> heads) {
  HeadSpectrum mean;
  const auto n = static_cast<double>(heads.size());
  for (const HeadSpectrum& h : heads) {
    mean.rank += h.rank / n;
    mean.edge += h.edge / n;
    mean.delocalisation += h.delocalisation / n;
    mean.raw_delocalisation += h.raw_delocalisation / n;
  }
  return mean;
}

}  // namespace spectralkv
