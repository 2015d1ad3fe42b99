// How faithfully a cache would hold what a model computes over a text: spectra of its keys and values, and
// what a codec does to them, to the logits of attention and to its output, per layer and KV head.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "kv/codecs.h"

namespace spectralkv {

struct FidelityOptions {
  std::int64_t n_ctx = 0;        // tokens to read, the first ones of the text; 0: all that were given
  std::int64_t n_queries = 128;  // the last tokens of those: their queries read the blocks before them
  std::int64_t n_batch = 512;
  int n_threads = 0;                                   // for the measurement; 0: one a core
  std::string type_k = "default", type_v = "default";  // cache specs (kv/codecs.h)
  std::vector<std::int64_t> layers;                    // rising; empty: all
  bool all_codecs = false;                             // also every codec of the table, with the same layout
};

// The singular values of one block [n, d].
struct BlockSpectrum {
  std::int64_t block = 0;  // its number, from 0
  int rank = 0;
  double edge = 0;                      // bulk edge, a squared singular value
  std::vector<double> singular_values;  // [min(n, d)] descending
};

// What eOptShrink finds in the blocks of one KV head. Means are over its blocks, for delocalisation over
// their rows.
struct HeadSpectrum {
  double rank = 0;
  double edge = 0;  // bulk edge, a squared singular value in the unit of keys or values
  // max|r| / |r| of rows, in the model's own basis (no rotation): of the residual behind the low-rank part,
  // and of the rows as they are. A random row of d entries has about sqrt(2 log(d) / d).
  double delocalisation = 0, raw_delocalisation = 0;
  std::vector<int> ranks;  // of each block
  BlockSpectrum shown;     // of the block in the middle
};

// What a codec does to K or V of one KV head.
struct HeadError {
  double relative_mse = 0;  // |Y - decoded|^2 / |Y|^2, over all blocks together
  // Of logits q k / sqrt(d) between the queries and the blocks, K only: root mean square of the error e, and
  // its regression on the exact logit s, sum(e s) / sum(s^2). A contraction by 1 - D shows as a bias of -D.
  double ip_error = 0, ip_bias = 0;
  double attention_error = 0;  // |out - exact|^2 / |exact|^2 with only this side decoded, over the queries
  double factor_width = 0;     // bits an entry of the stored factors, 0 where there are none
  double residual_bits = 0;    // an entry of the residual, whole for a head; 0: the codec has none
  double second_rows = 0;      // of a block, with a second stage
  double metric_gain = 0;      // ip_error without the head's metric, over that with it; 0: it has none
  double bits_paper = 0, bits_honest = 0;  // per entry of the blocks
};

struct CodecFidelity {
  std::string codec_k, codec_v;         // canonical
  std::vector<HeadError> k, v;          // [n_kv_heads]
  std::vector<double> attention_error;  // [n_kv_heads], K and V decoded together
};

struct LayerFidelity {
  std::int64_t layer = 0, n_blocks = 0;
  CacheLayout layout;
  std::vector<HeadSpectrum> spectrum_k, spectrum_v;  // [n_kv_heads]
  CodecFidelity types;                               // type_k with type_v
  std::vector<CodecFidelity> all;                    // with all_codecs: each for K and V alike
};

struct FidelityResult {
  std::int64_t n_tokens = 0, n_queries = 0, n_kv_heads = 0, head_dim = 0;
  std::string type_k, type_v;           // canonical
  double random_delocalisation = 0;     // sqrt(2 log(d) / d)
  std::vector<std::string> all_codecs;  // names of LayerFidelity::all
  std::vector<LayerFidelity> layers;
};

struct FidelityHooks {
  // Now and then: tokens read, then measurements made ("tokens", "measurements"), of `total`.
  std::function<void(const char* unit, std::int64_t done, std::int64_t total)> progress;
  std::function<bool()> cancelled;
};

// Means over the heads of a layer; ranks and shown stay empty.
HeadError head_mean(std::span<const HeadError> heads);
HeadSpectrum head_mean(std::span<const HeadSpectrum> heads);
double head_mean(std::span<const double> heads);

// A codec's means over the heads of one layer, or over all that were measured.
struct CodecMeans {
  HeadError k, v;
  double attention_error = 0;  // with K and V decoded together
};
CodecMeans codec_means(const CodecFidelity& layer);
CodecMeans type_means(const FidelityResult& result);                      // of LayerFidelity::types
CodecMeans codec_means(const FidelityResult& result, std::size_t codec);  // of LayerFidelity::all[codec]

// The specs that all_codecs measures: each row of the codec table but f32 and those that stand for another
// one, with 1 to 4 bits where it takes bits.
std::vector<std::string> comparable_codecs(std::int64_t head_dim);

// Reads the text with an exact cache (f32). The first n_ctx - n_queries tokens are cut into blocks as the
// cache's layout says, sinks left out; each layer's blocks are encoded and decoded by its codecs, and the
// queries of the last n_queries tokens attend to the exact and to the decoded rows; what is no block stays
// exact. Memory: the exact cache (8 n_ctx n_layers n_kv_heads head_dim bytes), and one layer's rows a few
// times. A text too short for one block, tokens out of range, a bad spec, a layer that is not there and a
// backend other than the CPU are value errors.
FidelityResult measure_fidelity(Engine& engine, std::span<const Token> tokens, const FidelityOptions& options,
                                const FidelityHooks& hooks);

}  // namespace spectralkv
