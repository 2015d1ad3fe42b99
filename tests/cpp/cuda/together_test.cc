// Steps over many sequences: what each gets is bit for bit what it gets alone.
#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cpp/cuda/cache_cases.h"
#include "cuda/kv/attend.h"

namespace spectralkv {
namespace {

using namespace cache_cases;

std::size_t size_of(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

// A sequence with `begun` tokens, to which a step brings `n` more.
struct Started {
  Started(const Case& c, std::shared_ptr<const CacheFormat> format, std::int64_t before, std::int64_t n_ctx)
      : begun(before), cache(std::make_unique<DeviceCache>(std::move(format), n_ctx, device_work())) {
    if (begun == 0) return;
    Case shorter = c;
    shorter.n = begun;
    const Inputs in(shorter);
    device::DeviceBuffer<float> k(in.k.size()), v(in.v.size());
    k.write(in.k, nullptr);
    v.write(in.v, nullptr);
    const std::int64_t width = c.kv_heads * c.d;
    cache->prepare(begun);
    take_rows(*cache, 0, {k.data(), begun, width}, {v.data(), begun, width});
    cache->commit(begun);
  }
  std::int64_t begun, n = 1;
  std::unique_ptr<DeviceCache> cache;
};

// Rows of a step; with gaps between them, as no model has them but matrices may.
struct GappedRows {
  GappedRows(std::uint64_t seed, std::int64_t rows, std::int64_t width, std::int64_t gap = 16)
      : n(rows),
        cols(width),
        stride(width + gap),
        host(normals(seed, size_of(n * stride))),
        device(host.size()) {
    device.write(host, nullptr);
  }
  Matrix all() const { return {device.data(), n, cols, stride}; }
  std::vector<float> read(std::int64_t first, std::int64_t count) const {
    std::vector<float> values(host.size()), part;
    device.read(values, nullptr);
    device::synchronize(nullptr);
    for (std::int64_t t = first; t < first + count; ++t)
      part.insert(part.end(), values.begin() + t * stride, values.begin() + t * stride + cols);
    return part;
  }
  std::int64_t n, cols, stride;
  std::vector<float> host;
  device::DeviceBuffer<float> device;
};

// What attention gives: rows, and the same in 8 bits.
struct Attended {
  Attended(std::uint64_t seed, std::int64_t n, std::int64_t cols)
      : rows(seed, n, cols, 0), codes(size_of(n * cols)), scales(codes.size() / 32) {}
  std::vector<std::int8_t> read_codes(std::int64_t first, std::int64_t count) const {
    std::vector<std::int8_t> part(size_of(count * rows.cols));
    codes.read(part, nullptr, size_of(first * rows.cols));
    device::synchronize(nullptr);
    return part;
  }
  GappedRows rows;
  device::DeviceBuffer<std::int8_t> codes;
  device::DeviceBuffer<cuda::GroupScale> scales;
};

// turns: queries and keys come before RoPE.
void expect_as_alone(const Case& c, std::span<Started> sequences, bool turns) {
  std::vector<std::unique_ptr<KvCache>> alone;
  std::vector<CachePart> parts;
  std::int64_t n = 0;
  for (Started& s : sequences) {
    alone.push_back(s.cache->fork(s.cache->n_ctx()));
    parts.push_back({s.cache.get(), n, s.n});
    n += s.n;
  }
  const GappedRows q(1, n, c.heads * c.d), k(2, n, c.kv_heads * c.d), v(3, n, c.kv_heads * c.d);
  device::DeviceBuffer<float> angles(size_of(n * c.d));
  angles.write(normals(4, angles.size()), nullptr);
  const auto step = [&](const Attended& to) {
    return StepMatrices{q.all(),
                        k.all(),
                        v.all(),
                        to.rows.all(),
                        turns ? ConstMatrix(angles.data(), n, c.d) : ConstMatrix{},
                        {to.codes.data(), to.scales.data()}};
  };
  const Attended together(5, n, c.heads * c.d), one_by_one(6, n, c.heads * c.d);
  prepare(parts);
  attend(parts, 0, shape_of(c), step(together));
  commit(parts);
  for (std::size_t s = 0; s < parts.size(); ++s) {
    CachePart part = parts[s];
    part.cache = static_cast<DeviceCache*>(alone[s].get());
    part.cache->prepare(part.n);
    attend({&part, 1}, 0, shape_of(c), step(one_by_one));
    part.cache->commit(part.n);
    EXPECT_EQ(together.rows.read(part.first, part.n), one_by_one.rows.read(part.first, part.n))
        << "sequence " << s << ", of " << sequences[s].begun << " tokens";
    EXPECT_EQ(together.read_codes(part.first, part.n), one_by_one.read_codes(part.first, part.n));
  }
}

struct Types {
  const char *k, *v;
};
class Together : public testing::TestWithParam<Types> {};

// Sequences of every length: an empty one, some without sealed blocks, some with, in contexts of other
// lengths. Before RoPE and behind it, in sliding windows, and beside pieces of prompts.
TEST_P(Together, EachIsAsAlone) {
  Case c{4, 2, 64, 0, GetParam().k, GetParam().v};
  const auto format = std::make_shared<const CacheFormat>(CacheShape{1, c.kv_heads, c.d}, c.k, c.v);
  std::vector<Started> all;
  for (const std::int64_t begun : {150, 0, 1, 290, 60, 127, 17, 144})
    all.emplace_back(c, format, begun, begun + 100 + begun % 7 * 100);
  for (const bool turns : {true, false}) expect_as_alone(c, all, turns);
  c.sliding = 100;
  expect_as_alone(c, all, true);
  c.sliding = 0;
  all[2].n = 40;
  all[3].n = 3;
  expect_as_alone(c, all, false);
}

INSTANTIATE_TEST_SUITE_P(
    Caches, Together,
    testing::Values(Types{"eoptshrinkq:2,window=16", "eoptshrinkq:2,window=16"},
                    Types{"turboquant:3,window=16,sink=3", "turboquant:4,window=16,sink=3"},
                    Types{"eoptshrinkq:5,window=16", "q8_0,window=16"}, Types{"f16", "f16"},
                    Types{"q8_0,window=16", "q8_0,window=16"}, Types{"f32", "f32"}));

// Caches of several formats in one step, and more of one than go in one launch.
TEST(TogetherFormats, EachGoesWithItsOwn) {
  const Case c{2, 1, 64, 0, "f16", "f16"};
  const CacheShape shape{1, 1, 64};
  const auto exact = std::make_shared<const CacheFormat>(shape, "f16", "f16"),
             coded = std::make_shared<const CacheFormat>(shape, "eoptshrinkq:2,window=0",
                                                         "turboquant:2,window=0");
  std::vector<Started> all;
  for (std::int64_t i = 0; i < device_kv::kMostParts + 3; ++i) {
    all.emplace_back(c, exact, i, 140 + i);
    if (i % 7 == 0) all.emplace_back(c, coded, 130 + i, 200);
  }
  expect_as_alone(c, all, true);
}

// A fork's blocks lie in the pages of the sequence that it was made of.
TEST(TogetherForks, ShareTheirPages) {
  const Case c{2, 1, 64, 300, "eoptshrinkq:2,window=0", "eoptshrinkq:2,window=0"};
  std::vector<Started> all;
  const auto format = std::make_shared<const CacheFormat>(CacheShape{1, 1, 64}, c.k, c.v);
  all.emplace_back(c, format, 300, 500);
  const std::int64_t before = device_work().pages->in_use();
  std::vector<std::unique_ptr<KvCache>> forks;
  for (int i = 0; i < 3; ++i) forks.push_back(all[0].cache->fork(400));
  EXPECT_EQ(device_work().pages->in_use(), before);
  std::vector<Started> forked;
  for (auto& fork : forks) {
    forked.emplace_back(c, format, 0, 1);
    forked.back().cache.reset(static_cast<DeviceCache*>(fork.release()));
  }
  expect_as_alone(c, forked, true);
}

}  // namespace
}  // namespace spectralkv
