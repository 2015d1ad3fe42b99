// The tables and the JSON object of `fidelity`.
#include "cli/fidelity_output.h"

#include <cmath>
#include <cstdio>

#include "cli/json.h"
#include "cli/log.h"

namespace spectralkv {
namespace {

// A number in so many columns, right-aligned: four digits that count.
std::string column(double value, int width) {
  char text[40];
  std::snprintf(text, sizeof text, "%#*.4g", width, value);
  return text;
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
    "layer  side   rank  width   bits   rows   gain       edge   rel. MSE  logit err logit bias   attn err  "
    "with K, V max|r|/|r| "
    "  paper  honest\n";

// "-" for what there is none of.
std::string or_dash(double value) {
  return right(value > 0 ? fixed(value, 2) : "-", 7);
}

std::string line(const Row& r) {
  const auto of_keys = [&](double value) { return r.keys ? column(value, 11) : right("-", 11); };
  return right(r.name, 5) + right(r.side, 6) + right(fixed(r.spectrum.rank, 2), 7) +
         or_dash(r.error.factor_width) + or_dash(r.error.residual_bits) + or_dash(r.error.second_rows) +
         or_dash(r.error.metric_gain) + column(r.spectrum.edge, 11) + column(r.error.relative_mse, 11) +
         of_keys(r.error.ip_error) + of_keys(r.error.ip_bias) + column(r.error.attention_error, 11) +
         column(r.attention_error, 11) + right(fixed(r.spectrum.delocalisation, 4), 11) +
         right(fixed(r.error.bits_paper, 3), 8) + right(fixed(r.error.bits_honest, 3), 8) + "\n";
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
    out += left(result.all_codecs[i], 14).substr(0, 14) + column(means.k.bits_honest, 11) +
           column(means.k.relative_mse, 11) + column(means.k.ip_error, 11) +
           column(means.k.attention_error, 11) + column(means.v.bits_honest, 11) +
           column(means.v.relative_mse, 11) + column(means.v.attention_error, 11) +
           column(means.attention_error, 11) + "\n";
  }
  return out;
}

// Singular values in six digits: there are many, and more says nothing.
std::string short_number(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.6g", value);
  return std::isfinite(value) ? text : "null";
}

template <class T>
std::string list_of(const std::vector<T>& values) {
  JsonWriter out("[]");
  for (const T value : values) out.push_raw(short_number(value));
  return out.compact();
}

void add_spectrum(JsonWriter& out, const HeadSpectrum& s) {
  out.add("rank", s.rank);
  out.add("edge", s.edge);
  out.add("delocalisation", s.delocalisation);
  out.add("delocalisation_raw", s.raw_delocalisation);
}

// Logits belong to keys: null for values.
void add_error(JsonWriter& out, const HeadError& e, bool keys) {
  out.add("relative_mse", e.relative_mse);
  out.add_raw("ip_error", keys ? json_number(e.ip_error) : "null");
  out.add_raw("ip_bias", keys ? json_number(e.ip_bias) : "null");
  out.add("attention_error", e.attention_error);
  out.add("factor_width", e.factor_width);
  out.add("residual_bits", e.residual_bits);
  out.add("second_rows", e.second_rows);
  out.add_raw("metric_gain", keys && e.metric_gain > 0 ? json_number(e.metric_gain) : "null");
  out.add("bits_paper", e.bits_paper);
  out.add("bits_honest", e.bits_honest);
}

std::string head_json(std::size_t head, const HeadSpectrum& spectrum, const HeadError& error, bool keys) {
  JsonWriter shown("{}"), out("{}");
  shown.add("block", spectrum.shown.block);
  shown.add("rank", std::int64_t{spectrum.shown.rank});
  shown.add("edge", spectrum.shown.edge);
  shown.add_raw("singular_values", list_of(spectrum.shown.singular_values));
  out.add("head", static_cast<std::int64_t>(head));
  add_spectrum(out, spectrum);
  add_error(out, error, keys);
  out.add_raw("ranks", list_of(spectrum.ranks));
  out.add_raw("spectrum", shown.compact());
  return out.compact();
}

std::string side_json(const std::string& codec, const std::vector<HeadSpectrum>& spectra,
                      const std::vector<HeadError>& errors, bool keys) {
  JsonWriter out("{}"), heads("[]");
  out.add("codec", codec);
  add_spectrum(out, head_mean(spectra));
  add_error(out, head_mean(errors), keys);
  for (std::size_t h = 0; h < errors.size(); ++h) heads.push_raw(head_json(h, spectra[h], errors[h], keys));
  out.add_raw("heads", heads.lines());
  return out.lines();
}

std::string layer_json(const LayerFidelity& layer) {
  JsonWriter out("{}");
  out.add("layer", layer.layer);
  out.add("n_blocks", layer.n_blocks);
  out.add("block", layer.layout.block);
  out.add("sink", layer.layout.sink);
  out.add("window", layer.layout.window);
  out.add("attention_error", head_mean(layer.types.attention_error));
  out.add_raw("attention_error_heads", list_of(layer.types.attention_error));
  out.add_raw("k", side_json(layer.types.codec_k, layer.spectrum_k, layer.types.k, true));
  out.add_raw("v", side_json(layer.types.codec_v, layer.spectrum_v, layer.types.v, false));
  return out.lines();
}

std::string means_json(const CodecMeans& means, JsonWriter out) {
  JsonWriter k("{}"), v("{}");
  add_error(k, means.k, true);
  add_error(v, means.v, false);
  out.add("attention_error", means.attention_error);
  out.add_raw("k", k.compact());
  out.add_raw("v", v.compact());
  return out.lines();
}

std::string codec_json(const FidelityResult& result, std::size_t codec) {
  JsonWriter out("{}"), layers("[]");
  out.add("spec", result.all_codecs[codec]);
  for (const LayerFidelity& layer : result.layers) {
    JsonWriter one("{}");
    one.add("layer", layer.layer);
    layers.push_raw(means_json(codec_means(layer.all[codec]), std::move(one)));
  }
  out.add_raw("layers", layers.lines());
  return means_json(codec_means(result, codec), std::move(out));
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

std::string fidelity_json(const FidelityResult& result, const std::string& model, const std::string& text) {
  JsonWriter out("{}"), layers("[]"), codecs("[]");
  out.add("model", model);
  out.add("text", text);
  out.add("n_tokens", result.n_tokens);
  out.add("n_queries", result.n_queries);
  out.add("n_kv_heads", result.n_kv_heads);
  out.add("head_dim", result.head_dim);
  out.add("type_k", result.type_k);
  out.add("type_v", result.type_v);
  out.add("delocalisation_random", result.random_delocalisation);
  out.add_raw("mean", means_json(type_means(result), JsonWriter("{}")));
  for (const LayerFidelity& layer : result.layers) layers.push_raw(layer_json(layer));
  out.add_raw("layers", layers.lines());
  for (std::size_t i = 0; i < result.all_codecs.size(); ++i) codecs.push_raw(codec_json(result, i));
  out.add_raw("codecs", codecs.lines());
  return out.lines() + "\n";
}

}  // namespace spectralkv
