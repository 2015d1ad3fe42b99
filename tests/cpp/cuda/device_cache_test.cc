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
};

// Rows with a common direction, a few strong ones and noise, so that blocks have low-rank parts.
std::vector<float> rows_of(std::uint64_t seed, std::int64_t n, std::int64_t width) {
  auto x = normals(seed, static_cast<std::size_t>(n * width));
  const auto common = normals(seed + 100, static_cast<std::size_t>(width));
  const auto second = normals(seed + 101, static_cast<std::size_t>(width));
  const auto along = normals(seed + 102, static_cast<std::size_t>(n));
  for (std::int64_t t = 0; t < n; ++t)
    for (std::int64_t c = 0; c < width; ++c)
      x[static_cast<std::size_t>(t * width + c)] +=
          2 * common[static_cast<std::size_t>(c)] +
          3 * along[static_cast<std::size_t>(t)] * second[static_cast<std::size_t>(c)];
  return x;
}

struct Inputs {
  explicit Inputs(const Case& c)
      : q(normals(1, static_cast<std::size_t>(c.n * c.heads * c.d))),
        k(rows_of(2, c.n, c.kv_heads * c.d)),
        v(rows_of(3, c.n, c.kv_heads * c.d)) {}
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

// The device reads what the CPU has sealed, byte for byte: then only the rounding of attention differs. The
// CPU rounds a query to 8 bits and weights to 16 where codes are whole numbers; the norm of a logit's error
// is that of the query's, half a step of 1 / 127 of its largest entry.
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
    const auto expected = cpu.step(c, in, from, from + n), got = device_step(cache, c, in, from, from + n);
    EXPECT_LT(distance(got, expected), 4e-3);
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
    EXPECT_LT(distance(got, expected), 5e-3) << "tokens " << at << " to " << to;
    at = to;
  }
  const CacheReport a = cpu.cache.report(), b = cache.report();
  EXPECT_EQ(a.k.codec, b.k.codec);
  EXPECT_EQ(a.k.sealed_entries, b.k.sealed_entries);
  EXPECT_DOUBLE_EQ(a.k.paper_bits, b.k.paper_bits);
  EXPECT_DOUBLE_EQ(a.v.paper_bits, b.v.paper_bits);
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
                    Case{3, 1, 96, 300, "turboquant:3,block=48", "eoptshrinkq:2,block=48,window=10,sink=3"},
                    Case{2, 1, 112, 280, "q8_0", "q4_0,rotation=haar"},
                    Case{9, 1, 256, 270, "turboquant:2", "f16"}, Case{2, 2, 64, 300, "f16", "f16", 100},
                    Case{2, 2, 64, 300, "f32", "q8_0"},
                    Case{4, 2, 64, 270, "eoptshrinkq:2", "eoptshrinkq:2", 60},
                    Case{5, 1, 64, 200, "eoptshrinkq:2,block=16,sink=15,window=1", "f16"}));

}  // namespace
}  // namespace spectralkv
