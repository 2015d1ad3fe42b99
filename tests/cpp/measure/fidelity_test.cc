// Fidelity against direct sums in double: rows read through a backend of our own, codecs called by hand,
// softmax written out.
#include "measure/fidelity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/half.h"
#include "measure/fidelity_layer.h"
#include "measure/tap.h"
#include "model/model.h"
#include "spectral/eoptshrink.h"
#include "support/tiny_model.h"

namespace spectralkv {
namespace {

const test::TinyModel kTiny{.n_embd = 256};  // head dim 64
constexpr std::int64_t kTokens = 200, kQueries = 24, kContext = kTokens - kQueries;
constexpr std::int64_t kBlock = 48, kSink = 4, kHeadDim = 64, kHeads = 4, kKvHeads = 2;
const std::string kSpec = "eoptshrinkq:2,block=48,sink=4,window=0";

// Every row of one layer, as one forward pass over the whole text shows them.
struct Rows {
  std::vector<float> q, k, v;
};

class Fidelity : public testing::Test {
 protected:
  Rows rows_of(std::int64_t layer) {
    Rows rows;
    TapBackend tap(engine_.backend(), [&](Step, std::int64_t l, const AttentionShape&, ConstMatrix q,
                                          ConstMatrix k, ConstMatrix v) {
      if (l != layer) return;
      rows.q.assign(q.data, q.data + q.rows * q.cols);
      rows.k.assign(k.data, k.data + k.rows * k.cols);
      rows.v.assign(v.data, v.data + v.rows * v.cols);
    });
    const ModelConfig& c = engine_.config();
    Scratch scratch(engine_.backend(), c, kTokens, 1);
    const auto cache =
        tap.make_cache(std::make_shared<const CacheFormat>(c.cache_shape(), "f32", "f32"), kTokens);
    const std::vector<Token> text = kTiny.text(kTokens);
    const StepPart part{cache.get(), text, 0};
    engine_.model().forward(tap, scratch, {&part, 1});
    return rows;
  }
  FidelityResult measure(const FidelityOptions& o) {
    return measure_fidelity(engine_, kTiny.text(kTokens), o, {});
  }
  static FidelityOptions options() {
    FidelityOptions o;
    o.n_queries = kQueries, o.n_batch = 64, o.n_threads = 2;
    o.type_k = o.type_v = kSpec;
    return o;
  }

  test::TempFolder folder_;
  Engine engine_{folder_.write("tiny.gguf", kTiny.bytes()), EngineOptions{.n_threads = 2}};
};

// A side of one head with its blocks encoded and decoded, [kTokens, kHeadDim], and the bytes that they took.
struct Decoded {
  std::vector<float> own, rows;
  double bytes = 0, paper = 0, entries = 0, rank = 0, edge = 0;
};

Decoded decode_head(const std::vector<float>& side, std::int64_t head, KvSide which) {
  Decoded result;
  for (std::int64_t t = 0; t < kTokens; ++t)
    for (std::int64_t c = 0; c < kHeadDim; ++c)
      result.own.push_back(side[static_cast<std::size_t>((t * kKvHeads + head) * kHeadDim + c)]);
  result.rows = result.own;
  const BuiltCodec built = build_codec(kSpec, kHeadDim, which);
  CodecWork work;
  GramSolver solver;
  for (std::int64_t begin = kSink, end = kBlock; end <= kContext; begin = end, end += kBlock) {
    const std::int64_t n = end - begin;
    const ConstMatrix block(result.own.data() + begin * kHeadDim, n, kHeadDim);
    const auto low = eoptshrink(block, Loss::truncate, solver);
    result.rank += low.rank / 3.0;
    result.edge += low.edge / 3.0;
    std::vector<float> half(static_cast<std::size_t>(n * kHeadDim)), turned(half.size());
    for (std::size_t i = 0; i < half.size(); ++i)  // the cache's rows are f16 before they are sealed
      half[i] = skv_f16_to_f32(skv_f32_to_f16(block.data[i]));
    std::vector<std::byte> bytes(static_cast<std::size_t>(built.codec->max_bytes(n)));
    const std::int64_t used = built.codec->encode(ConstMatrix(half.data(), n, kHeadDim),
                                                  {0, head, begin, which}, bytes.data(), work);
    built.codec->decode(bytes.data(), n, Matrix(turned.data(), n, kHeadDim));
    built.codec->leave(ConstMatrix(turned.data(), n, kHeadDim),
                       Matrix(result.rows.data() + begin * kHeadDim, n, kHeadDim));
    result.bytes += static_cast<double>(used) + 4.0 * (kKvHeads + 1) / kKvHeads;
    result.paper += built.codec->paper_bits(bytes.data(), n, used);
    result.entries += static_cast<double>(n * kHeadDim);
  }
  return result;
}

double dot(const float* a, const float* b) {
  double sum = 0;
  for (std::int64_t c = 0; c < kHeadDim; ++c) sum += static_cast<double>(a[c]) * static_cast<double>(b[c]);
  return sum;
}

// Output of one query head at position t, in double.
std::vector<double> attend(const float* q, const std::vector<float>& k, const std::vector<float>& v,
                           std::int64_t t) {
  std::vector<double> out(kHeadDim);
  double total = 0;
  for (std::int64_t j = 0; j <= t; ++j) {
    const double w = std::exp(dot(q, k.data() + j * kHeadDim) / 8);
    total += w;
    for (std::int64_t c = 0; c < kHeadDim; ++c)
      out[static_cast<std::size_t>(c)] +=
          w * static_cast<double>(v[static_cast<std::size_t>(j * kHeadDim + c)]);
  }
  for (double& x : out) x /= total;
  return out;
}

double attention_error(const Rows& rows, std::int64_t kv_head, const Decoded& k, const Decoded& v,
                       bool decoded_k, bool decoded_v) {
  double error = 0, norm = 0;
  for (std::int64_t t = kContext; t < kTokens; ++t)
    for (std::int64_t h = kv_head * 2; h < kv_head * 2 + 2; ++h) {
      const float* q = rows.q.data() + (t * kHeads + h) * kHeadDim;
      const auto exact = attend(q, k.own, v.own, t);
      const auto got = attend(q, decoded_k ? k.rows : k.own, decoded_v ? v.rows : v.own, t);
      for (std::size_t c = 0; c < exact.size(); ++c) {
        error += (got[c] - exact[c]) * (got[c] - exact[c]);
        norm += exact[c] * exact[c];
      }
    }
  return error / norm;
}

TEST_F(Fidelity, AgreesWithDirectSums) {
  const FidelityResult result = measure(options());
  ASSERT_EQ(result.layers.size(), 2u);
  for (const LayerFidelity& layer : result.layers) {
    EXPECT_EQ(layer.n_blocks, 3);
    const Rows rows = rows_of(layer.layer);
    for (std::int64_t h = 0; h < kKvHeads; ++h) {
      const auto at = static_cast<std::size_t>(h);
      const Decoded k = decode_head(rows.k, h, KvSide::keys), v = decode_head(rows.v, h, KvSide::values);
      for (const bool keys : {true, false}) {
        const Decoded& want = keys ? k : v;
        const HeadError& got = keys ? layer.types.k[at] : layer.types.v[at];
        const HeadSpectrum& spectrum = keys ? layer.spectrum_k[at] : layer.spectrum_v[at];
        double error = 0, norm = 0;
        for (std::size_t i = kSink * kHeadDim; i < 3 * kBlock * kHeadDim; ++i) {
          const auto x = static_cast<double>(want.own[i]), e = static_cast<double>(want.rows[i]) - x;
          error += e * e;
          norm += x * x;
        }
        EXPECT_NEAR(got.relative_mse, error / norm, 1e-3 * error / norm);
        EXPECT_NEAR(got.attention_error, attention_error(rows, h, k, v, keys, !keys),
                    1e-3 * got.attention_error);
        EXPECT_DOUBLE_EQ(got.bits_honest, 8 * want.bytes / want.entries);
        EXPECT_DOUBLE_EQ(got.bits_paper, want.paper / want.entries);
        EXPECT_NEAR(spectrum.rank, want.rank, 1e-9);
        EXPECT_NEAR(spectrum.edge, want.edge, 1e-5 * want.edge);
        EXPECT_EQ(spectrum.shown.singular_values.size(), static_cast<std::size_t>(kBlock));
      }
      EXPECT_NEAR(layer.types.attention_error[at], attention_error(rows, h, k, v, true, true),
                  1e-3 * layer.types.attention_error[at]);

      double squares = 0, cross = 0, own = 0, n = 0;
      for (std::int64_t t = kContext; t < kTokens; ++t)
        for (std::int64_t g = h * 2; g < h * 2 + 2; ++g)
          for (std::int64_t j = kSink; j < 3 * kBlock; ++j) {
            const float* q = rows.q.data() + (t * kHeads + g) * kHeadDim;
            const double s = dot(q, k.own.data() + j * kHeadDim) / 8,
                         e = dot(q, k.rows.data() + j * kHeadDim) / 8 - s;
            squares += e * e, cross += e * s, own += s * s, n += 1;
          }
      EXPECT_NEAR(layer.types.k[at].ip_error, std::sqrt(squares / n), 1e-3 * std::sqrt(squares / n));
      EXPECT_NEAR(layer.types.k[at].ip_bias, cross / own, 1e-3);
      EXPECT_EQ(layer.types.v[at].ip_error, 0);
    }
  }
}

TEST_F(Fidelity, OfAnExactCacheIsNothing) {
  auto o = options();
  o.type_k = o.type_v = "f32";
  o.layers = {1};
  const FidelityResult result = measure(o);
  ASSERT_EQ(result.layers.size(), 1u);
  EXPECT_EQ(result.layers[0].layer, 1);
  EXPECT_EQ(result.layers[0].types.k[0].relative_mse, 0);
  EXPECT_EQ(result.layers[0].types.k[0].ip_error, 0);
  EXPECT_EQ(result.layers[0].types.attention_error[1], 0);
}

TEST_F(Fidelity, DoesNotDependOnThreadsAndBatches) {
  auto o = options();
  const FidelityResult a = measure(o);
  o.n_threads = 1, o.n_batch = 7;
  const FidelityResult b = measure(o);
  for (std::size_t l = 0; l < 2; ++l) {
    EXPECT_EQ(head_mean(a.layers[l].types.k).relative_mse, head_mean(b.layers[l].types.k).relative_mse);
    EXPECT_EQ(head_mean(a.layers[l].types.k).ip_bias, head_mean(b.layers[l].types.k).ip_bias);
    EXPECT_EQ(a.layers[l].types.attention_error, b.layers[l].types.attention_error);
    EXPECT_EQ(head_mean(a.layers[l].spectrum_v).delocalisation,
              head_mean(b.layers[l].spectrum_v).delocalisation);
  }
}

TEST_F(Fidelity, MeasuresEveryCodecOfTheTable) {
  auto o = options();
  o.all_codecs = true;
  const FidelityResult result = measure(o);
  EXPECT_EQ(result.all_codecs, comparable_codecs(kHeadDim));
  double last_bits = 0, last_error = 1;
  for (std::size_t i = 0; i < result.all_codecs.size(); ++i) {
    const CodecMeans means = codec_means(result, i);
    EXPECT_GT(means.k.bits_honest, 1) << result.all_codecs[i];
    EXPECT_LT(means.v.relative_mse, 0.5) << result.all_codecs[i];
    if (!result.all_codecs[i].starts_with("turboquant")) continue;
    EXPECT_GT(means.k.bits_honest, last_bits);
    EXPECT_LT(means.k.relative_mse, 0.4 * last_error);
    EXPECT_NEAR(means.k.ip_bias, -means.k.relative_mse, 0.35 * means.k.relative_mse) << "contraction 1 - D";
    last_bits = means.k.bits_honest, last_error = means.k.relative_mse;
  }
  EXPECT_GT(last_bits, 4);
}

TEST_F(Fidelity, RefusesWhatItCannotMeasure) {
  const auto refused = [&](auto&& change) {
    auto o = options();
    change(o);
    try {
      measure(o);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const auto has = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  EXPECT_TRUE(has(refused([](auto& o) { o.n_ctx = 201; }), "(-c), the text has 200"));
  EXPECT_TRUE(has(refused([](auto& o) { o.n_ctx = 71; }), "at least 72"));
  EXPECT_TRUE(has(refused([](auto& o) { o.layers = {2}; }), "layer 2 is not within 0 to 1"));
  EXPECT_TRUE(has(refused([](auto& o) { o.type_k = "q9"; }), "there is no 'q9'"));
  EXPECT_TRUE(has(refused([](auto& o) { o.type_v = "turboquant:2"; }), "they must agree"));
  const FidelityHooks stop{.progress = {}, .cancelled = [] { return true; }};
  EXPECT_THROW(measure_fidelity(engine_, kTiny.text(kTokens), options(), stop), Error);
}

}  // namespace
}  // namespace spectralkv
