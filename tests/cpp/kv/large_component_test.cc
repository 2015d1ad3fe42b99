// Keys of which one direction is a thousand times the rest, as biases of real models make them: constant, or
// in few channels that RoPE turns. What every codec makes of them is bounded by what its quantiser can do,
// and attention over the default cache stays near the exact one.
#include <gtest/gtest.h>

#include <cmath>

#include "base/half.h"
#include "cpp/kv/codec_cases.h"
#include "kv/codecs/shared_tables.h"
#include "spectral/edge.h"
#include "support/host_cache.h"

namespace spectralkv {
namespace {

using testing_support::HostCache;
using testing_support::normals;

constexpr double kOffset = 1000;  // of noise of deviation 1

enum class Kind { constant, turning };

// [n, d], as f16 holds them: noise, and kOffset in every channel, or in three pairs of channels that turn
// with the frequencies of RoPE.
std::vector<float> keys(Kind kind, std::int64_t n, std::int64_t d, std::uint64_t seed) {
  auto rows = normals(seed, static_cast<std::size_t>(n * d));
  const auto signs = normals(seed + 1, static_cast<std::size_t>(d));
  for (std::int64_t t = 0; t < n; ++t)
    for (std::int64_t c = 0; c < d; ++c) {
      const std::int64_t pair = c / 2;
      double offset = 0;
      if (kind == Kind::constant)
        offset = std::copysign(kOffset, static_cast<double>(signs[static_cast<std::size_t>(c)]));
      if (kind == Kind::turning && (pair == d / 16 || pair == d / 8 || pair == d / 4)) {
        const double angle =
            static_cast<double>(t) * std::pow(1e6, -2.0 * static_cast<double>(pair) / static_cast<double>(d));
        offset = kOffset * (c % 2 == 0 ? std::cos(angle) : std::sin(angle));
      }
      float& x = rows[static_cast<std::size_t>(t * d + c)];
      x = skv_f16_to_f32(skv_f32_to_f16(x + static_cast<float>(offset)));
    }
  return rows;
}

double squares(const std::vector<float>& rows) {
  double sum = 0;
  for (const float x : rows) sum += static_cast<double>(x) * static_cast<double>(x);
  return sum;
}

// A codebook's error where decoded rows have the length of the row: 2 (1 - sqrt(1 - D)); D itself is less.
double distortion(std::int64_t d, int bits) {
  return 2 * (1 - std::sqrt(1 - shared_unit_codebook(static_cast<int>(d), bits).distortion));
}

// Bits of an entry as the codec itself counts them.
double nominal_bits(const std::string& text, const std::vector<float>& rows, std::int64_t n, std::int64_t d) {
  const BuiltCodec built = build_codec(text, d);
  CodecWork work;
  const auto coded = testing_support::code(*built.codec, {rows.data(), n, d}, work);
  return built.codec->paper_bits(coded.bytes.data(), n, static_cast<std::int64_t>(coded.bytes.size())) /
         static_cast<double>(n * d);
}

// The most that the mean square error of an entry may be. A codec that has no line of its own must do what
// its bits do when they are spread evenly between the largest entries of either sign.
double error_bound(const std::string& text, const std::vector<float>& rows, std::int64_t n, std::int64_t d) {
  CodecSpec spec(text);
  const double all = squares(rows) / static_cast<double>(n * d);
  const double noise = 1 + std::pow(kOffset * 0x1p-11, 2) / 3;  // and what rounding to f16 has added
  double row = 0, entry = 0;                                    // the longest row, the largest entry
  for (std::int64_t t = 0; t < n; ++t) {
    double sum = 0;
    for (std::int64_t c = 0; c < d; ++c) {
      const auto x = static_cast<double>(rows[static_cast<std::size_t>(t * d + c)]);
      sum += x * x;
      entry = std::max(entry, std::fabs(x));
    }
    row = std::max(row, std::sqrt(sum));
  }
  const bool turned = text.find("rotation=hadamard") != std::string::npos;
  const double top = turned ? row : entry;  // no entry of a turned row is larger than the row is long
  const int bits = spec.mean_bits() ? static_cast<int>(*spec.mean_bits()) : 0;
  if (spec.name() == "f32") return 0;
  if (spec.name() == "f16") return 0;  // the rows are f16
  if (spec.name() == "q8_0") return std::pow(top / 127 * (0.5 + 127 * 0x1p-11), 2);
  if (spec.name() == "q4_0")
    return std::pow(top / 8 * (1 + 8 * 0x1p-11), 2);  // -8 to 7: up to a step is cut off
  if (spec.name() == "kivi")  // half a step of the range within a group of tokens, and f16 ends of the range
    return std::pow(2 * entry / ((1 << bits) - 1) / 2 + entry * 0x1p-10, 2);
  // The rows are nearly one: d errors, whose squares deviate by about their mean and a half, and not n d.
  const double dims = static_cast<double>(d), tokens = static_cast<double>(n);
  if (spec.name() == "turboquant")
    return (1 + 4 * 1.5 / std::sqrt(dims)) * distortion(d, bits) / (1 - distortion(d, bits)) * all;
  if (spec.name() != "eoptshrinkq" && spec.name() != "default")
    return std::pow(2 * entry / (std::exp2(nominal_bits(text, rows, n, d)) - 1) / 2 + entry * 0x1p-10, 2);
  const int residual = bits == 0 ? 2 : bits;
  const double share = distortion(d, residual) / (1 - distortion(d, residual));
  const std::size_t at = text.find("factor_bits=");
  const bool paper = text.find("paper") != std::string::npos;
  const double rank = edge_window(static_cast<int>(d));
  if (at == std::string::npos && !paper)  // components of their own width: kv/codecs/factor_codes.cc
    return 1.1 * share * noise * (1 + 2 * rank * (tokens + dims) / (tokens * dims));
  const int width = at == std::string::npos ? 4 : text[at + 12] - '0';
  // Of columns that are anything but normal nothing is known but that a least-squares scale does no harm.
  const double lost = 2 * all * (width == 1 ? 1 : 0.5);
  const bool open = paper || text.find("loop=open") != std::string::npos;
  return 1.1 * (open ? share * noise + lost : share * (noise + lost));
}

TEST(LargeComponent, EveryCodecsErrorIsBounded) {
  const std::int64_t n = 128;
  for (const std::int64_t d : {64, 80, 128, 256})
    for (const Kind kind : {Kind::constant, Kind::turning}) {
      const auto rows = keys(kind, n, d, 11);
      for (const std::string& text : testing_support::all_specs()) {
        const double error =
            testing_support::relative_error(text, n, d, rows) * squares(rows) / static_cast<double>(n * d);
        EXPECT_LE(error, error_bound(text, rows, n, d))
            << text << ", d=" << d << (kind == Kind::constant ? ", constant" : ", turning");
      }
    }
}

// Attention of `n` tokens over the cache, one query a token behind the first half.
std::vector<double> attend(const std::string& type_k, Kind kind, std::int64_t n, std::int64_t d, int batch) {
  const std::int64_t heads = 4;
  ThreadPool pool(2);
  HostCache cache({1, 1, d}, n, type_k, "f32", pool);
  const auto k = keys(kind, n, d, 21), v = normals(23, static_cast<std::size_t>(n * d)),
             q = normals(24, static_cast<std::size_t>(n * heads * d));
  std::vector<float> out(static_cast<std::size_t>(n * heads * d));
  for (std::int64_t t = 0; t < n; t += batch) {
    const std::int64_t m = std::min<std::int64_t>(batch, n - t);
    cache.attend(0, {heads, 1 / std::sqrt(static_cast<float>(d)), 0},
                 {q.data() + t * heads * d, m, heads * d}, {k.data() + t * d, m, d}, {v.data() + t * d, m, d},
                 {out.data() + t * heads * d, m, heads * d});
  }
  return {out.begin() + n / 2 * heads * d, out.end()};
}

double relative(const std::vector<double>& exact, const std::vector<double>& got) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    error += std::pow(exact[i] - got[i], 2);
    size += exact[i] * exact[i];
  }
  return error / size;
}

// Logits are a common part of up to thousands and noise of deviation 1, which decides. A logit's error of
// variance D changes a probability by a factor e^x: (e^D - 1) of the output's square, when all tokens take
// part.
TEST(LargeComponent, AttentionStaysNearTheExactOne) {
  for (const std::int64_t d : {64, 128})
    for (const Kind kind : {Kind::constant, Kind::turning}) {
      const std::int64_t n = 1024;
      const auto exact = attend("f16", kind, n, d, 512);
      const double variance = error_bound("default", keys(kind, n, d, 21), 128, d);
      for (const int batch : {512, 1}) {
        const double error = relative(exact, attend("default", kind, n, d, batch));
        EXPECT_LT(error, 2 * std::expm1(variance)) << "d=" << d << ", batches of " << batch;
      }
      // What it is for: at one width for all components the output has little to do with the exact one.
      EXPECT_GT(relative(exact, attend("eoptshrinkq:2,factor_bits=3", kind, n, d, 512)), 0.5) << "d=" << d;
    }
}

}  // namespace
}  // namespace spectralkv
