// The device cache under the host executor against the CPU's cache and attention.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "cuda/device/memory.h"
#include "cuda/kv/device_cache.h"
#include "kv/state_file.h"
#include "support/compare.h"
#include "support/gguf_builder.h"

namespace spectralkv {
namespace {

using testing_support::Comparison;
using testing_support::normals;

struct Case {
  std::int64_t heads, kv_heads, d, n;
  const char *k, *v;
  std::int64_t sliding = 0;
  int directions = 2;  // strong ones: the rank that blocks have
};

// Rows with a common direction, a few strong ones and noise, so that blocks have low-rank parts.
std::vector<float> rows_of(std::uint64_t seed, std::int64_t n, std::int64_t width, int directions) {
  auto x = normals(seed, static_cast<std::size_t>(n * width));
  const auto common = normals(seed + 100, static_cast<std::size_t>(width));
  const auto second = normals(seed + 101, static_cast<std::size_t>(width));
  const auto along = normals(seed + 102, static_cast<std::size_t>(n));
  for (std::int64_t t = 0; t < n; ++t)
    for (std::int64_t c = 0; c < width; ++c)
      x[static_cast<std::size_t>(t * width + c)] +=
          2 * common[static_cast<std::size_t>(c)] +
          3 * along[static_cast<std::size_t>(t)] * second[static_cast<std::size_t>(c)];
  for (int more = 2; more < directions; ++more) {
    const auto s = static_cast<std::uint64_t>(more);
    const auto direction = normals(seed + 200 + s, static_cast<std::size_t>(width));
    const auto weight = normals(seed + 300 + s, static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < x.size(); ++i)
      x[i] += 2 * weight[i / direction.size()] * direction[i % direction.size()];
  }
  return x;
}

struct Inputs {
  explicit Inputs(const Case& c)
      : q(normals(1, static_cast<std::size_t>(c.n * c.heads * c.d))),
        k(rows_of(2, c.n, c.kv_heads * c.d, c.directions)),
        v(rows_of(3, c.n, c.kv_heads * c.d, c.directions)) {}
  std::vector<float> q, k, v;
};

AttentionShape shape_of(const Case& c) {
  return {c.heads, 1 / std::sqrt(static_cast<float>(c.d)), c.sliding};
}

// A cache of the CPU that steps as the device does.
struct Cpu {
  explicit Cpu(const Case& c) : cache({1, c.kv_heads, c.d, c.n}, c.k, c.v, pool) {}
  std::vector<float> step(const Case& c, const Inputs& in, std::int64_t from, std::int64_t to) {
    const std::int64_t qw = c.heads * c.d, kw = c.kv_heads * c.d, n = to - from;
    std::vector<float> out(static_cast<std::size_t>(n * qw));
    const auto staged = cache.append(0, {in.k.data() + from * kw, n, kw}, {in.v.data() + from * kw, n, kw});
    attention.run(cache, 0, staged, shape_of(c), {in.q.data() + from * qw, n, qw}, {out.data(), n, qw});
    cache.settle(0, n);
    cache.commit(n);
    return out;
  }
  ThreadPool pool{2};
  Cache cache;
  Attention attention{pool};
};

std::vector<float> device_step(DeviceCache& cache, const Case& c, const Inputs& in, std::int64_t from,
                               std::int64_t to) {
  const std::int64_t qw = c.heads * c.d, kw = c.kv_heads * c.d, n = to - from;
  const auto size = [](std::int64_t m) { return static_cast<std::size_t>(m); };
  device::DeviceBuffer<float> q(size(n * qw)), k(size(n * kw)), v(size(n * kw)), out(size(n * qw));
  q.write(std::span(in.q).subspan(size(from * qw), size(n * qw)), nullptr);
  k.write(std::span(in.k).subspan(size(from * kw), size(n * kw)), nullptr);
  v.write(std::span(in.v).subspan(size(from * kw), size(n * kw)), nullptr);
  cache.prepare(n, nullptr);
  attend(cache, 0, shape_of(c), {q.data(), n, qw}, {k.data(), n, kw}, {v.data(), n, kw}, {out.data(), n, qw},
         nullptr);
  cache.commit(n);
  std::vector<float> result(out.size());
  out.read(result, nullptr);
  device::synchronize(nullptr);
  return result;
}

double norm_of(const std::vector<float>& x) {
  double sum = 0;
  for (const float value : x) sum += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(sum);
}

// |a - b| / |b|.
double distance(const std::vector<float>& a, const std::vector<float>& b) {
  std::vector<float> difference(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) difference[i] = a[i] - b[i];
  return norm_of(difference) / norm_of(b);
}

std::string save(const KvCache& cache, const test::TempFolder& folder, const char* name) {
  const std::string path = folder.write(name, "");
  StateWriter out(path);
  cache.save(out);
  out.commit();
  return path;
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class DeviceCacheTest : public testing::TestWithParam<Case> {};

// Attention of the newest token in double over what the CPU's cache holds, decoded.
struct Reference {
  std::vector<float> out;
  double tolerance = 0;  // of |difference| / |out|: what single precision may lose
  // What 8-bit weights move at most: half a step for each sealed token, relative to the heaviest, in
  // directions that have nothing in common.
  double weight_rounding = 0;
};
Reference reference(const Case& c, const Inputs& in, const Cache& cache) {
  const CacheLayer& layer = cache.layer(0);
  const std::int64_t t = cache.n_tokens() - 1, d = c.d, sealed = layer.sealed_for(t);
  EXPECT_EQ(sealed, std::ssize(layer.k.blocks)) << "a case whose last tokens seal no block";
  Reference result;
  double k_top = 0, v_top = 0, q_top = 0, out_least = INFINITY;
  std::vector<float> rows(static_cast<std::size_t>(layer.layout.block * d + layer.tail_capacity() * d));
  for (std::int64_t h = 0; h < c.heads; ++h) {
    const auto kv = static_cast<std::size_t>(h / (c.heads / c.kv_heads));
    std::vector<float> q(in.q.begin() + (t * c.heads + h) * d, in.q.begin() + (t * c.heads + h + 1) * d),
        entered(q);
    layer.k.built.codec->enter({q.data(), 1, d}, {entered.data(), 1, d});
    q_top = std::max(q_top, norm_of(q));
    struct Token {
      double logit;
      std::vector<float> value;
      bool sealed;
    };
    std::vector<Token> tokens;
    const auto take = [&](const CacheSide& side, bool keys, const Codec& codec, const std::byte* bytes,
                          std::int64_t n, std::int64_t position, bool in_codec_space, std::size_t& at) {
      codec.decode(bytes, n, {rows.data(), n, d});
      static_cast<void>(side);
      for (std::int64_t i = 0; i < n; ++i) {
        if (c.sliding > 0 && position + i <= t - c.sliding) continue;
        const std::vector<float> row(rows.begin() + i * d, rows.begin() + (i + 1) * d);
        if (keys) {
          double dot = 0;
          const auto& x = in_codec_space ? entered : q;
          for (std::size_t j = 0; j < row.size(); ++j)
            dot += static_cast<double>(x[j]) * static_cast<double>(row[j]);
          tokens.push_back({dot / std::sqrt(static_cast<double>(d)), {}, in_codec_space});
          k_top = std::max(k_top, norm_of(row));
        } else {
          tokens[at++].value = row;
          v_top = std::max(v_top, norm_of(row));
        }
      }
    };
    for (const bool keys : {true, false}) {
      const CacheSide& side = keys ? layer.k : layer.v;
      std::size_t at = 0;
      for (std::int64_t b = 0; b < sealed; ++b) {
        const std::int64_t n = layer.block_tokens(b);
        take(side, keys, *side.built.codec, side.blocks[static_cast<std::size_t>(b)].head(kv).data(), n,
             (b + 1) * layer.layout.block - n, true, at);
      }
      const auto head = static_cast<std::int64_t>(kv);
      if (sealed > 0 && layer.layout.sink > 0)
        take(side, keys, *side.exact, side.sinks.data() + side.exact->max_bytes(head * layer.layout.sink),
             layer.layout.sink, 0, false, at);
      take(side, keys, *side.exact, side.tail.data() + side.exact->max_bytes(head * layer.tail_capacity()),
           t + 1 - sealed * layer.layout.block, sealed * layer.layout.block, false, at);
    }
    double top = -INFINITY, sum = 0, heaviest = 0, n_sealed = 0;
    for (const Token& token : tokens) top = std::max(top, token.logit);
    std::vector<double> mixed[2] = {std::vector<double>(static_cast<std::size_t>(d)),
                                    std::vector<double>(static_cast<std::size_t>(d))};
    for (const Token& token : tokens) {
      const double p = std::exp(token.logit - top);
      sum += p;
      n_sealed += token.sealed;
      if (token.sealed) heaviest = std::max(heaviest, p * norm_of(token.value));
      for (std::size_t j = 0; j < token.value.size(); ++j)
        mixed[token.sealed ? 0 : 1][j] += p * static_cast<double>(token.value[j]);
    }
    std::vector<float> coded(mixed[0].begin(), mixed[0].end()), left(coded.size());
    layer.v.built.codec->leave({coded.data(), 1, d}, {left.data(), 1, d});
    std::vector<float> head_out;
    for (std::size_t j = 0; j < left.size(); ++j)
      head_out.push_back(static_cast<float>((static_cast<double>(left[j]) + mixed[1][j]) / sum));
    out_least = std::min(out_least, norm_of(head_out));
    result.weight_rounding =
        std::max(result.weight_rounding, std::sqrt(n_sealed) * heaviest / (510 * sum * norm_of(head_out)));
    result.out.insert(result.out.end(), head_out.begin(), head_out.end());
  }
  // An error e of a logit moves the output by at most 2 e |v|; a logit is a sum of d products, after a
  // rotation of d more, whose roundings add up like a random walk's; the exponential errs by a few units of
  // its argument.
  const double size = q_top * k_top / std::sqrt(static_cast<double>(d)),
               count = static_cast<double>(t + 2 * d + 64);
  result.tolerance = (2 * (2 * std::sqrt(static_cast<double>(d)) + 4) * size + std::sqrt(count)) *
                     testing_support::kEps * v_top / out_least;
  return result;
}

// Both sides are codes of 2 to 4 bits, with factors of at most 4: queries are rounded to 8 bits then, here as
// on the CPU.
bool in_bytes(const Case& c) {
  const auto coded = [](std::string_view type) {
    const std::size_t colon = type.find(':'), factor = type.find("factor_bits=");
    if (factor != std::string_view::npos && type[factor + 12] > '4') return false;
    return colon != std::string_view::npos && !type.starts_with("kivi") && type[colon + 1] >= '2' &&
           type[colon + 1] <= '4';
  };
  return coded(c.k) && coded(c.v);
}

// The device reads what the CPU has sealed, byte for byte.
TEST_P(DeviceCacheTest, ReadsTheCpusState) {
  const Case& c = GetParam();
  const Inputs in(c);
  Cpu cpu(c);
  const std::int64_t held = c.n - 3;
  cpu.step(c, in, 0, held);
  const test::TempFolder folder;
  const std::string path = save(cpu.cache, folder, "cpu");
  DeviceCache cache({1, c.kv_heads, c.d, c.n}, c.k, c.v, nullptr);
  {
    StateReader reader(path);
    cache.load(reader, held);
    reader.finish();
  }
  EXPECT_EQ(contents(save(cache, folder, "device")), contents(path)) << "saved again";
  for (const std::int64_t n : {1, 2}) {
    const std::int64_t from = cpu.cache.n_tokens();
    auto by_cpu = cpu.step(c, in, from, from + n);
    by_cpu.erase(by_cpu.begin(), by_cpu.end() - c.heads * c.d);
    auto got = device_step(cache, c, in, from, from + n);
    got.erase(got.begin(), got.end() - c.heads * c.d);
    const Reference expected = reference(c, in, cpu.cache);
    // Where codes are multiplied as whole numbers, the device does it with the CPU's numbers; it differs in
    // the low-rank part, whose levels it has in f16, and in the weights, which it has in 16 bits and the CPU
    // in 8.
    const double error = distance(got, in_bytes(c) ? by_cpu : expected.out);
    const double tolerance = expected.tolerance + (in_bytes(c) ? 4 * 0x1p-12 + expected.weight_rounding : 0);
    EXPECT_LT(error, tolerance);
    RecordProperty("error", std::to_string(error) + " of " + std::to_string(tolerance));
  }
}

// What the device seals is what the CPU seals, but for values that lie at a boundary between two codes.
TEST_P(DeviceCacheTest, SealsAsTheCpu) {
  const Case& c = GetParam();
  const Inputs in(c);
  Cpu cpu(c);
  DeviceCache cache({1, c.kv_heads, c.d, c.n}, c.k, c.v, nullptr);
  std::vector<float> expected, got;
  for (std::int64_t at = 0; at < c.n;) {
    const std::int64_t to = std::min(c.n, at + (at % 3 == 0 ? 130 : 1));
    expected = cpu.step(c, in, at, to);
    got = device_step(cache, c, in, at, to);
    // The CPU rounds queries and weights to 8 bits: each half a 127th or a 255th of the largest, times what
    // errors of a logit and of a weight move.
    EXPECT_LT(distance(got, expected), 2e-2) << "tokens " << at << " to " << to;
    at = to;
  }
  const CacheReport a = cpu.cache.report(), b = cache.report();
  EXPECT_EQ(a.k.codec, b.k.codec);
  EXPECT_EQ(a.k.sealed_entries, b.k.sealed_entries);
  EXPECT_DOUBLE_EQ(a.k.paper_bits, b.k.paper_bits);
  EXPECT_DOUBLE_EQ(a.v.paper_bits, b.v.paper_bits);
  if (c.directions > 2) {  // the factors' bits: rank (n + d) 4 / (n d), and n is 128
    const double bits = c.k[12] - '0',
                 each = 4.0 * static_cast<double>(128 + c.d) / static_cast<double>(128 * c.d);
    EXPECT_GT((a.k.paper_bits - bits) / each, 8) << "the case has no more than eight ranks";
  }
  const test::TempFolder folder;
  const std::string x = contents(save(cpu.cache, folder, "cpu")), y = contents(save(cache, folder, "device"));
  ASSERT_EQ(x.size(), y.size());
  std::size_t differ = 0;
  for (std::size_t i = 0; i < x.size(); ++i) differ += x[i] != y[i];
  EXPECT_LT(static_cast<double>(differ), 0.002 * static_cast<double>(x.size()) + 16)
      << "of " << x.size() << " bytes";
}

INSTANTIATE_TEST_SUITE_P(
    Pairs, DeviceCacheTest,
    testing::Values(Case{4, 1, 128, 420, "eoptshrinkq:2", "eoptshrinkq:2"},
                    Case{3, 3, 64, 300, "eoptshrinkq:3,window=0", "eoptshrinkq:4,paper"},
                    Case{2, 1, 80, 290, "turboquant:4", "turboquant:2"},
                    Case{3, 1, 96, 310, "turboquant:3,block=48", "eoptshrinkq:2,block=48,window=10,sink=3"},
                    Case{4, 2, 256, 280, "eoptshrinkq:4", "eoptshrinkq:3,rotation=haar"},
                    Case{8, 1, 112, 280, "eoptshrinkq:3,factor_bits=8", "eoptshrinkq:2,factor_bits=1"},
                    Case{11, 1, 96, 300, "turboquant:3,block=256", "turboquant:4,block=256"},
                    Case{2, 1, 128, 281, "turboquant:3,scale=unbiased",
                         "eoptshrinkq:3,scale=least_squares,loss=nuclear,window=0"},
                    Case{2, 1, 112, 280, "q8_0", "q4_0,rotation=haar"},
                    Case{9, 1, 256, 270, "turboquant:2", "f16"}, Case{2, 2, 64, 300, "f16", "f16", 100},
                    Case{2, 2, 64, 300, "f32", "q8_0"},
                    Case{4, 2, 64, 270, "eoptshrinkq:2", "eoptshrinkq:2", 60},
                    Case{5, 1, 64, 200, "eoptshrinkq:2,block=16,sink=15,window=1", "f16"},
                    Case{3, 1, 64, 280, "eoptshrinkq:2,factor_bits=3,sink=3",
                         "eoptshrinkq:2,factor_bits=2,sink=3"},
                    // More ranks than are multiplied together:
                    Case{2, 1, 256, 290, "eoptshrinkq:3", "eoptshrinkq:2", 0, 13},
                    // By the plain kernel alone:
                    Case{2, 1, 64, 300, "kivi:2", "kivi:2"}, Case{3, 1, 80, 290, "kivi:8", "kivi:3"},
                    Case{1, 1, 96, 280, "kivi:5,block=48,sink=3", "kivi:7,block=48,sink=3"},
                    Case{1, 1, 112, 280, "kivi:3", "turboquant:8"},
                    Case{4, 1, 128, 300, "eoptshrinkq:1", "eoptshrinkq:5"},
                    Case{1, 1, 256, 270, "kivi:4", "eoptshrinkq:6"},
                    Case{2, 2, 80, 300, "turboquant:1,block=48", "turboquant:7,block=48"},
                    Case{1, 1, 96, 280, "eoptshrinkq:8,sink=3", "eoptshrinkq:2,sink=3"},
                    Case{1, 1, 112, 280, "turboquant:6", "turboquant:5"},
                    Case{1, 1, 256, 270, "eoptshrinkq:7", "eoptshrinkq:1"},
                    Case{2, 1, 64, 290, "eoptshrinkq:5", "turboquant:6"}));

// Going back and reading on gives what reading straight does, as far as the CPU's cache can go back.
TEST(DeviceCacheTruncation, GoesBackWhereTheCpuDoes) {
  for (const char* type : {"f16", "eoptshrinkq:2", "turboquant:2", "q8_0,window=20"}) {
    const Case c{1, 1, 64, 420, type, type};
    const Inputs in(c);
    Cpu cpu(c);
    cpu.step(c, in, 0, 400);
    for (const std::int64_t keep : {0, 1, 128, 290, 399}) {
      DeviceCache straight({1, 1, 64, 420}, type, type, nullptr),
          turned({1, 1, 64, 420}, type, type, nullptr);
      device_step(turned, c, in, 0, 400);
      ASSERT_EQ(turned.nearest_below(keep), cpu.cache.nearest_below(keep)) << type << ", " << keep;
      if (turned.nearest_below(keep) != keep) {
        EXPECT_THROW(turned.truncate(keep), Error) << type << ", " << keep;
        continue;
      }
      turned.truncate(keep);
      EXPECT_EQ(turned.n_tokens(), keep);
      if (keep > 0) device_step(straight, c, in, 0, keep);
      EXPECT_EQ(device_step(turned, c, in, keep, 410), device_step(straight, c, in, keep, 410))
          << type << ", " << keep;
      const test::TempFolder folder;
      EXPECT_EQ(contents(save(turned, folder, "turned")), contents(save(straight, folder, "straight")));
    }
  }
}

TEST(DeviceCacheReset, ForgetsEverything) {
  const Case c{2, 1, 64, 300, "eoptshrinkq:2", "eoptshrinkq:2"};
  const Inputs in(c);
  DeviceCache cache({1, 1, 64, 300}, c.k, c.v, nullptr);
  const auto first = device_step(cache, c, in, 0, 300);
  cache.reset();
  EXPECT_EQ(cache.n_tokens(), 0);
  EXPECT_EQ(device_step(cache, c, in, 0, 300), first);
}

// Pages fill up: blocks stay where they are.
TEST(DeviceCacheGrowth, ReadsBlocksOfManyPages) {
  const Case plain{1, 1, 256, 1300, "f32", "f32"};
  const Inputs in(plain);
  Cpu cpu(plain);
  DeviceCache cache({1, 1, 256, 1300}, plain.k, plain.v, nullptr);
  cpu.step(plain, in, 0, 1290);
  device_step(cache, plain, in, 0, 1290);
  const auto expected = cpu.step(plain, in, 1290, 1291);
  EXPECT_LT(distance(device_step(cache, plain, in, 1290, 1291), expected), 1e-5);
  EXPECT_GT(cache.report().k.sealed_bytes, 1 << 20);
}

std::string refusal(const char* k, const char* v, std::int64_t d) {
  try {
    DeviceCache cache({1, 1, d, 128}, k, v, nullptr);
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

TEST(DeviceCacheRefusal, NamesWhatItDoesNotTake) {
  EXPECT_NE(refusal("f16", "f16", 40).find("head dim of 40"), std::string::npos);
  EXPECT_NE(refusal("f16", "f16", 512).find("head dim of 512"), std::string::npos);
  EXPECT_EQ(refusal("f16", "q4_0", 48), "none");
}

// What the command line accepts runs here, whatever the pair.
TEST(DeviceCacheRefusal, RefusesNoTypeOfTheCpus) {
  std::vector<std::string> types{"f32", "f16", "q8_0", "q4_0"};
  for (int bits = 1; bits <= 8; ++bits)
    for (const char* codec : {"turboquant:", "eoptshrinkq:", "kivi:"})
      if (bits > 1 || std::string_view(codec) != "kivi:") types.push_back(codec + std::to_string(bits));
  for (const std::int64_t d : {64, 80, 96, 112, 128, 256})
    for (const std::string& type : types) {
      EXPECT_EQ(refusal(type.c_str(), "f16", d), "none");
      EXPECT_EQ(refusal("q8_0", type.c_str(), d), "none");
    }
}

TEST(DeviceCacheRows, NamesARowThatDoesNotFit) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), 7e4f}) {
    const Case c{2, 2, 64, 10, "f16", "f16"};
    Inputs in(c);
    in.v[5 * 128 + 70] = bad;
    DeviceCache cache({1, 2, 64, 10}, c.k, c.v, nullptr);
    device_step(cache, c, in, 0, 10);
    try {
      cache.check_rows(nullptr);
      FAIL() << "nothing was found";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("layer 0, KV head 1: the value of token 5"), std::string::npos)
          << error.what();
    }
    EXPECT_THROW(cache.report(), Error);
  }
}

}  // namespace
}  // namespace spectralkv
