// Drawn keys and queries of the layers with the largest biases.
#include "engine/cache_check.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <utility>
#include <vector>

#include "base/buffer.h"
#include "base/random.h"
#include "formats/formats.h"
#include "model/graph_parts.h"

namespace spectralkv {
namespace {

constexpr std::int64_t kCheckKeys = 128, kCheckQueries = 16;
constexpr std::size_t kLayers = 4;     // that are looked at
constexpr double kLeastBias = 8;       // below it, a bias is one among other parts of a key
constexpr double kMostDivergence = 1;  // nats

std::vector<float> decoded(const WeightView& w, std::int64_t row = 0) {
  std::vector<float> values(static_cast<std::size_t>(w.cols));
  kDecode[static_cast<std::size_t>(w.type)](w.row(row), values.data(), w.cols);
  return values;
}

double largest(const std::vector<float>& values) {
  double most = 0;
  for (const float value : values) most = std::max(most, std::abs(static_cast<double>(value)));
  return most;
}

// What the rows of a head are drawn from: of each dimension mean and deviation.
struct HeadRows {
  std::vector<double> mean, deviation;
};

class Draw {
 public:
  Draw(const Gguf& file, const ModelConfig& config, std::int64_t layer)
      : file_(file),
        config_(config),
        prefix_("blk." + std::to_string(layer) + "."),
        gain_(decoded(file.weight(prefix_ + "attn_norm.weight"))) {}

  // Rows [n, head_dim] of a head of attn_q or attn_k at positions from `first` on, before anything turns
  // them.
  void fill(const char* name, std::int64_t head, std::uint64_t seed, Matrix out) const {
    const HeadRows of = rows_of(name, head);
    std::uint64_t counter = 0;
    for (std::int64_t t = 0; t < out.rows; ++t)
      for (std::int64_t i = 0; i < out.cols; ++i) {
        const auto at = static_cast<std::size_t>(i);
        out(t, i) = static_cast<float>(of.mean[at] + of.deviation[at] * random_normal(seed, counter++));
      }
  }

 private:
  // The norm's output is taken for noise of deviation 1, times its gain.
  HeadRows rows_of(const std::string& name, std::int64_t head) const {
    const WeightView w = file_.weight(prefix_ + name + ".weight");
    const std::string bias_name = prefix_ + name + ".bias";
    const std::vector<float> bias =
        file_.find_tensor(bias_name) != nullptr ? decoded(file_.weight(bias_name)) : std::vector<float>();
    HeadRows out;
    for (std::int64_t i = 0; i < config_.head_dim; ++i) {
      const std::int64_t row = head * config_.head_dim + i;
      const std::vector<float> values = decoded(w, row);
      double squares = 0;
      for (std::size_t j = 0; j < values.size(); ++j) {
        const double value = static_cast<double>(values[j]) * static_cast<double>(gain_[j]);
        squares += value * value;
      }
      out.deviation.push_back(std::sqrt(squares));
      out.mean.push_back(bias.empty() ? 0 : static_cast<double>(bias[static_cast<std::size_t>(row)]));
    }
    return out;
  }

  const Gguf& file_;
  const ModelConfig& config_;
  std::string prefix_;
  std::vector<float> gain_;
};

// Turns rows i and i + dims / 2 of each head, as models with biases have them, into pairs.
void turn(const Rope& rope, std::int64_t first, Matrix rows) {
  const std::int64_t dims = rope.dims();
  Buffer<float> table(static_cast<std::size_t>(rows.rows * dims));
  std::vector<float> row(static_cast<std::size_t>(dims));
  const Matrix angles(table.data(), rows.rows, dims);
  rope.fill(first, angles);
  for (std::int64_t t = 0; t < rows.rows; ++t) {
    for (std::int64_t i = 0; i < dims / 2; ++i) {
      const float a = rows(t, i), b = rows(t, i + dims / 2), c = angles(t, 2 * i), s = angles(t, 2 * i + 1);
      row[static_cast<std::size_t>(2 * i)] = a * c - b * s;
      row[static_cast<std::size_t>(2 * i + 1)] = a * s + b * c;
    }
    std::copy(row.begin(), row.end(), rows.row(t));
  }
}

std::vector<double> softmax(const float* scores, std::int64_t n, double scale) {
  const double top = static_cast<double>(*std::max_element(scores, scores + n));
  std::vector<double> p;
  double sum = 0;
  for (std::int64_t j = 0; j < n; ++j) {
    p.push_back(std::exp((static_cast<double>(scores[j]) - top) * scale));
    sum += p.back();
  }
  for (double& value : p) value /= sum;
  return p;
}

double divergence(const std::vector<double>& p, const std::vector<double>& q) {
  constexpr double kLeast = 1e-30;
  double sum = 0;
  for (std::size_t j = 0; j < p.size(); ++j)
    if (p[j] > 0) sum += p[j] * (std::log(p[j]) - std::log(std::max(q[j], kLeast)));
  return sum;
}

// Of one KV head, the mean over drawn queries.
double head_loss(const Codec& codec, const SealContext& context, ConstMatrix keys, ConstMatrix queries,
                 double scale) {
  CodecWork work;
  const std::int64_t d = keys.cols;
  Buffer<std::byte> block(static_cast<std::size_t>(codec.max_bytes(keys.rows)));
  codec.encode(keys, context, block.data(), work);
  Buffer<float> entered(static_cast<std::size_t>(kCheckQueries * d)),
      scores(static_cast<std::size_t>(kCheckQueries * kCheckKeys)),
      exact(static_cast<std::size_t>(kCheckKeys));
  const Matrix in(entered.data(), kCheckQueries, d), found(scores.data(), kCheckQueries, kCheckKeys);
  codec.enter(queries, in);
  codec.score(block.data(), kCheckKeys, Queries(in), found, work);
  double sum = 0;
  for (std::int64_t m = 0; m < kCheckQueries; ++m) {
    for (std::int64_t j = 0; j < kCheckKeys; ++j) {
      double product = 0;
      for (std::int64_t i = 0; i < d; ++i)
        product += static_cast<double>(queries(m, i)) * static_cast<double>(keys(j, i));
      exact[static_cast<std::size_t>(j)] = static_cast<float>(product);
    }
    sum += divergence(softmax(exact.data(), kCheckKeys, scale), softmax(found.row(m), kCheckKeys, scale));
  }
  return sum / static_cast<double>(kCheckQueries);
}

double layer_loss(const Engine& engine, const LayerFormat& format, std::int64_t layer) {
  const ModelConfig& c = engine.config();
  const Draw draw(engine.file(), c, layer);
  const Rope rope = make_rope(c.rope, {});
  const double scale =
      c.attention_scale > 0 ? c.attention_scale : 1 / std::sqrt(static_cast<double>(c.head_dim));
  Buffer<float> k(static_cast<std::size_t>(kCheckKeys * c.head_dim)),
      q(static_cast<std::size_t>(kCheckQueries * c.head_dim));
  const Matrix keys(k.data(), kCheckKeys, c.head_dim), queries(q.data(), kCheckQueries, c.head_dim);
  double sum = 0;
  for (std::int64_t head = 0; head < c.n_kv_heads; ++head) {
    const auto seed = static_cast<std::uint64_t>(2 * (layer * c.n_kv_heads + head));
    draw.fill("attn_k", head, seed, keys);
    draw.fill("attn_q", head * c.group(), seed + 1, queries);
    turn(rope, 0, keys);
    turn(rope, 2 * kCheckKeys, queries);
    sum += head_loss(format.k.codec(head), {layer, head, 0, KvSide::keys, {}}, keys, queries, scale);
  }
  return sum / static_cast<double>(c.n_kv_heads);
}

// The layers with the largest biases of keys, the largest first.
std::vector<std::pair<double, std::int64_t>> biased_layers(const Engine& engine) {
  std::vector<std::pair<double, std::int64_t>> found;
  for (std::int64_t l = 0; l < engine.config().n_layers; ++l) {
    const std::string name = "blk." + std::to_string(l) + ".attn_k.bias";
    if (engine.file().find_tensor(name) == nullptr) continue;
    const double bias = largest(decoded(engine.file().weight(name)));
    if (bias >= kLeastBias) found.emplace_back(bias, l);
  }
  std::sort(found.rbegin(), found.rend());
  if (found.size() > kLayers) found.resize(kLayers);
  return found;
}

}  // namespace

KeyLoss estimate_key_loss(const Engine& engine, const CacheFormat& format) {
  KeyLoss most;
  for (const auto& [bias, layer] : biased_layers(engine)) {
    if (!format.layer(layer).lossy) continue;
    const double loss = layer_loss(engine, format.layer(layer), layer);
    if (loss > most.divergence) most = {loss, layer};
  }
  return most;
}

std::string cache_warning(const Engine& engine, const CacheFormat& format) {
  const KeyLoss loss = estimate_key_loss(engine, format);
  if (!(loss.divergence > kMostDivergence)) return "";
  std::ostringstream text;
  text.setf(std::ios::fixed);
  text.precision(1);
  text << "keys in '" << format.name_k()
       << "' lose this model: what all of its keys have in common is too large "
       << "for them (estimated divergence " << loss.divergence << " in layer " << loss.layer
       << "); f16 keeps it, and the default type or q8_0 lose less";
  return text.str();
}

}  // namespace spectralkv
