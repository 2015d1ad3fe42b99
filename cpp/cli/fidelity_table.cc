// The tables of `fidelity`.
#include <cstdio>

#include "base/error.h"
#include "cli/fidelity_output.h"
#include "cli/log.h"

namespace spectralkv {
namespace {

// A number in so many columns, right-aligned: four digits that count.
std::string column(double value, int width) {
  char text[40];
  std::snprintf(text, sizeof text, "%#*.4g", width, value);
  return text;
}

std::string words(const std::string& text, int width) {
  char out[160];
  std::snprintf(out, sizeof out, "%*s", width, text.c_str());
  return out;
}

struct Row {
  std::string name;  // of layer, or "mean"
  std::string side;  // "K", "V", with a head's number
  HeadSpectrum spectrum;
  HeadError error;
  bool keys = false;
  double attention_error = 0;  // with both sides decoded
};

const char* const kHeader =
    "layer  side   rank  width       edge   rel. MSE  logit err logit bias   attn err  with K, V max|r|/|r|  "
    " "
    "paper  honest\n";

std::string line(const Row& r) {
  const auto of_keys = [&](double value) { return r.keys ? column(value, 11) : words("-", 11); };
  return words(r.name, 5) + words(r.side, 6) + words(fixed(r.spectrum.rank, 2), 7) +
         words(r.error.factor_width > 0 ? fixed(r.error.factor_width, 2) : "-", 7) +
         column(r.spectrum.edge, 11) + column(r.error.relative_mse, 11) + of_keys(r.error.ip_error) +
         of_keys(r.error.ip_bias) + column(r.error.attention_error, 11) + column(r.attention_error, 11) +
         words(fixed(r.spectrum.delocalisation, 4), 11) + words(fixed(r.error.bits_paper, 3), 8) +
         words(fixed(r.error.bits_honest, 3), 8) + "\n";
}

// Both sides of a layer, its means or its heads.
void add_layer(const LayerFidelity& layer, bool heads, std::string& out) {
  const std::string name = std::to_string(layer.layer);
  for (const bool keys : {true, false}) {
    const auto& spectra = keys ? layer.spectrum_k : layer.spectrum_v;
    const auto& errors = keys ? layer.types.k : layer.types.v;
    const char* const side = keys ? "K" : "V";
    if (!heads) {
      out += line(
          {name, side, head_mean(spectra), head_mean(errors), keys, head_mean(layer.types.attention_error)});
      continue;
    }
    for (std::size_t h = 0; h < errors.size(); ++h)
      out += line({name, concat(side, h), spectra[h], errors[h], keys, layer.types.attention_error[h]});
  }
}

// The mean over all layers and heads of each side.
void add_means(const FidelityResult& result, std::string& out) {
  std::vector<HeadSpectrum> k, v;
  for (const LayerFidelity& layer : result.layers) {
    k.push_back(head_mean(layer.spectrum_k));
    v.push_back(head_mean(layer.spectrum_v));
  }
  const CodecMeans means = type_means(result);
  out += line({"mean", "K", head_mean(k), means.k, true, means.attention_error});
  out += line({"mean", "V", head_mean(v), means.v, false, means.attention_error});
}

std::string codec_table_text(const FidelityResult& result) {
  std::string out =
      "\ncodec          K: honest   rel. MSE  logit err   attn err  V: honest   rel. MSE   attn err  "
      "with K, V\n";
  for (std::size_t i = 0; i < result.all_codecs.size(); ++i) {
    const CodecMeans means = codec_means(result, i);
    std::string name = result.all_codecs[i];
    name.resize(14, ' ');
    out += name + column(means.k.bits_honest, 11) + column(means.k.relative_mse, 11) +
           column(means.k.ip_error, 11) + column(means.k.attention_error, 11) +
           column(means.v.bits_honest, 11) + column(means.v.relative_mse, 11) +
           column(means.v.attention_error, 11) + column(means.attention_error, 11) + "\n";
  }
  return out;
}

}  // namespace

std::string fidelity_table(const FidelityResult& result, bool heads) {
  std::string out = kHeader;
  for (const LayerFidelity& layer : result.layers) add_layer(layer, heads, out);
  if (result.layers.size() > 1) add_means(result, out);
  out += concat("max|r|/|r| of a random row: ", fixed(result.random_delocalisation, 4), "\n");
  if (!result.all_codecs.empty()) out += codec_table_text(result);
  return out;
}

}  // namespace spectralkv
