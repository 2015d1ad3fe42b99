// The device cache under the host executor against the CPU's cache and attention.
#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <vector>

#include "cpp/cuda/cache_cases.h"
#include "cpp/cuda/cache_reference.h"
#include "formats/coded_block.h"
#include "kv/codecs.h"
#include "kv/codecs/factor_codes.h"

namespace spectralkv {
namespace {

using namespace cache_cases;
using testing_support::normals;

class DeviceCacheTest : public testing::TestWithParam<Case> {};

// The device reads what the CPU has sealed, byte for byte.
TEST_P(DeviceCacheTest, ReadsTheCpusState) {
  const Case& c = GetParam();
  const Inputs in(c);
  Cpu cpu(c);
  const std::int64_t held = c.n - 3;
  cpu.step(c, in, 0, held);
  const test::TempFolder folder;
  const std::string path = save(cpu.cache, folder, "cpu");
  DeviceCache cache = device_cache(c, c.n);
  const std::vector<bool> bytes = in_bytes(cache.format().layer(0));
  const bool any_bytes = std::find(bytes.begin(), bytes.end(), true) != bytes.end();
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
    Reference expected = reference(c, in, cpu.cache);
    // Where codes are multiplied as whole numbers, the device does it with the CPU's numbers; it differs in
    // the narrow components, and in the weights, which it has in 16 bits and the CPU in 8.
    for (std::int64_t h = 0; h < c.heads; ++h)
      if (bytes[static_cast<std::size_t>(h / (c.heads / c.kv_heads))])
        std::copy_n(by_cpu.begin() + h * c.d, c.d, expected.out.begin() + h * c.d);
    const double error = distance(got, expected.out);
    const double tolerance =
        expected.tolerance + (any_bytes ? expected.f16_rounding + expected.weight_rounding : 0);
    EXPECT_LT(error, tolerance);
    RecordProperty("error", std::to_string(error) + " of " + std::to_string(tolerance));
  }
}

// Codes of left columns behind the last token, of which a block's bytes have some.
void expect_zeros_behind_factors(const LayerStore& layer) {
  for (const bool keys : {true, false}) {
    const SideFormat& format = keys ? layer.format->k : layer.format->v;
    const auto& blocks = (keys ? layer.k : layer.v).blocks;
    for (std::size_t b = 0; b < blocks.size(); ++b)
      for (std::int64_t h = 0; h < layer.format->n_kv_heads; ++h) {
        const Codec& codec = format.codec(h);
        const CodecForm form = codec.form();
        if (!form.factor) continue;
        const auto n = static_cast<int>(layer.format->layout.block_tokens(static_cast<std::int64_t>(b)));
        const auto* const block =
            reinterpret_cast<const std::uint8_t*>(blocks[b].head(static_cast<std::size_t>(h)).data());
        const SkvFactors factors = skv_factors(FactorCodes(form.factor_bits).plain_width(), block);
        const SkvLowRankPart at =
            skv_low_rank_part(static_cast<int>(codec.head_dim()), static_cast<std::size_t>(n), factors);
        for (int i = 0; i < factors.rank; ++i) {
          const std::uint8_t* const column =
              block + at.left + at.left_bit * skv_factor_bits_before(factors, i);
          for (int t = n; t < (n + 15) / 16 * 16; ++t)
            ASSERT_EQ(skv_packed_code(column, (n + 15) / 16 * 16, skv_factor_width(factors, i), t), 0U)
                << "component " << i << " of block " << b;
        }
      }
  }
}

// What the device seals is what the CPU seals, but for values that lie at a boundary between two codes.
TEST_P(DeviceCacheTest, SealsAsTheCpu) {
  const Case& c = GetParam();
  const Inputs in(c);
  Cpu cpu(c);
  DeviceCache cache = device_cache(c, c.n);
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
  EXPECT_EQ(cache.exact_bytes(), b.k.exact_bytes + b.v.exact_bytes);
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
  const std::string saved = save(cache, folder, "device"), x = contents(save(cpu.cache, folder, "cpu")),
                    y = contents(saved);
  ASSERT_EQ(x.size(), y.size());
  std::size_t differ = 0;
  for (std::size_t i = 0; i < x.size(); ++i) differ += x[i] != y[i];
  // Behind components of 1000 times the noise f32 leaves a residual with errors of some 1e-4 of itself: of a
  // search's points, 40 to a deviation, one in a hundred is rounded the other way, and its path may be
  // another one for some steps.
  const LayerFormat& layer = *cpu.cache.layer(0).format;
  const auto searches = [&](const SideFormat& side, Rows rows) {
    bool some = false;
    for (std::int64_t h = 0; h < c.kv_heads; ++h)
      some |= side.codec(h).form().kind == CodecForm::Kind::trellis;
    return some && rows != Rows::usual;
  };
  const bool far = searches(layer.k, c.keys) || searches(layer.v, c.values);
  EXPECT_LT(static_cast<double>(differ), (far ? 0.008 : 0.002) * static_cast<double>(x.size()) + 16)
      << "of " << x.size() << " bytes";
  Cpu again(c);
  StateReader reader(saved);
  again.cache.load(reader, c.n);
  expect_zeros_behind_factors(again.cache.layer(0));
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

constexpr const char* kTrellis = "eoptshrinkq:2,quantiser=trellis";

INSTANTIATE_TEST_SUITE_P(
    Trellis, DeviceCacheTest,
    testing::Values(Case{4, 1, 128, 420, kTrellis, kTrellis}, Case{3, 3, 64, 300, kTrellis, kTrellis},
                    Case{2, 1, 80, 290, kTrellis, "turboquant:2"},
                    Case{2, 1, 112, 290, "eoptshrinkq:3", kTrellis}, Case{4, 2, 256, 280, kTrellis, kTrellis},
                    Case{3, 1, 96, 310, "eoptshrinkq:2,block=48,quantiser=trellis",
                         "eoptshrinkq:2,block=48,window=10,sink=3,quantiser=trellis"},
                    Case{11, 1, 96, 600, "eoptshrinkq:2,block=256,quantiser=trellis",
                         "eoptshrinkq:2,block=256,quantiser=trellis", 60},
                    Case{5, 1, 64, 200, "eoptshrinkq:2,block=16,sink=15,window=1,quantiser=trellis",
                         "eoptshrinkq:2,block=16,sink=15,window=1,quantiser=trellis"},
                    Case{3, 1, 64, 280, "eoptshrinkq:2,factor_bits=3,sink=3,quantiser=trellis,scale=norm",
                         "eoptshrinkq:2,factor_bits=2,sink=3,quantiser=trellis,scale=least_squares"},
                    Case{2, 1, 128, 290, kTrellis, "eoptshrinkq:2,quantiser=trellis,loop=open", 0, 2,
                         Rows::mixed, Rows::constant},
                    // By the plain kernel:
                    Case{1, 1, 64, 280, "q8_0", kTrellis}, Case{2, 1, 48, 280, kTrellis, kTrellis},
                    Case{1, 1, 96, 280, "eoptshrinkq:2,sink=3,quantiser=trellis", "eoptshrinkq:1,sink=3"},
                    of_heads({6, 3, 64, 300, "eoptshrinkq:2.5,quantiser=trellis",
                              "eoptshrinkq:2,quantiser=trellis"}),
                    of_heads({2, 1, 128, 290, "eoptshrinkq:2,allot=even,rows=8,quantiser=trellis",
                              "eoptshrinkq:2,allot=even,rows=7,quantiser=trellis"})));

// Low-rank parts that hold nearly all of a block. Values of the usual kind show what is lost of scores.
INSTANTIATE_TEST_SUITE_P(
    Wide, DeviceCacheTest,
    testing::Values(
        Case{4, 1, 128, 420, "eoptshrinkq:2", "eoptshrinkq:2", 0, 2, Rows::constant},
        Case{3, 3, 64, 300, "eoptshrinkq:3,window=0", "eoptshrinkq:4", 0, 2, Rows::constant, Rows::constant},
        Case{2, 1, 80, 290, "eoptshrinkq:4", "eoptshrinkq:2", 0, 2, Rows::constant, Rows::mixed},
        Case{8, 1, 112, 280, "eoptshrinkq:3,factor_bits=8", "eoptshrinkq:2", 0, 2, Rows::usual,
             Rows::constant},
        Case{2, 1, 128, 290, "eoptshrinkq:2", "eoptshrinkq:2", 0, 2, Rows::turning, Rows::turning},
        Case{3, 1, 96, 310, "eoptshrinkq:3,block=48", "eoptshrinkq:2,block=48,window=10,sink=3", 70, 2,
             Rows::turning},
        Case{2, 1, 64, 300, "eoptshrinkq:4,block=256,window=0", "eoptshrinkq:2,block=256,window=0", 0, 2,
             Rows::turning, Rows::constant},
        Case{2, 2, 256, 280, "eoptshrinkq:2", "eoptshrinkq:3", 0, 2, Rows::turning},
        Case{2, 1, 128, 290, "eoptshrinkq:2", "eoptshrinkq:2", 0, 2, Rows::mixed},
        Case{3, 1, 128, 290, "eoptshrinkq:3", "eoptshrinkq:2", 0, 2, Rows::usual, Rows::mixed},
        Case{4, 2, 256, 280, "eoptshrinkq:4", "eoptshrinkq:3,rotation=haar", 0, 2, Rows::mixed},
        Case{2, 1, 112, 280, "eoptshrinkq:3,paper,factor_bits=auto", "eoptshrinkq:2,loop=open", 0, 2,
             Rows::mixed},
        Case{2, 1, 96, 280, "eoptshrinkq:2,factor_bits=5", "eoptshrinkq:2,factor_bits=7"},
        // By the plain kernel:
        Case{2, 1, 128, 290, "eoptshrinkq:1", "eoptshrinkq:5", 0, 2, Rows::mixed, Rows::mixed},
        Case{2, 1, 80, 290, "eoptshrinkq:6", "f16", 0, 2, Rows::constant},
        Case{1, 1, 64, 280, "q8_0", "eoptshrinkq:2", 0, 2, Rows::usual, Rows::turning}));

const Case kEveryWidth{
    10, 5, 64, 420, "eoptshrinkq:4.25,quantiser=scalar", "eoptshrinkq:2.5,quantiser=scalar"};

INSTANTIATE_TEST_SUITE_P(
    Heads, DeviceCacheTest,
    testing::Values(
        of_heads(kEveryWidth), of_heads({6, 3, 128, 300, "eoptshrinkq:2.5", "eoptshrinkq:2"}),
        of_heads({4, 2, 256, 290, "eoptshrinkq:3,rows=8", "eoptshrinkq:2.25"}),
        of_heads({4, 2, 80, 290, "eoptshrinkq:2,block=48,window=10", "eoptshrinkq:3,block=48,window=10"}),
        of_heads({3, 1, 96, 300, "eoptshrinkq:2,paper,rows=4,metric=on", "eoptshrinkq:3,paper,rows=3"}),
        of_heads({2, 2, 112, 280, "eoptshrinkq:4", "q8_0"}),
        of_heads({2, 1, 64, 430, "eoptshrinkq:2,block=256", "eoptshrinkq:3,block=256,rows=8"}),
        of_heads({4, 2, 128, 300, "f16", "eoptshrinkq:2", 100}),
        of_heads({4, 2, 64, 300, "eoptshrinkq:2,metric=off,window=0", "eoptshrinkq:2,rows=0,window=0"}),
        of_heads({2, 1, 64, 300, "eoptshrinkq:6", "turboquant:3"}),
        of_heads({6, 3, 48, 300, "eoptshrinkq:3", "eoptshrinkq:3"}),
        of_heads({4, 4, 64, 300, "eoptshrinkq:3,allot=even", "eoptshrinkq:2,allot=even"}, Rows::constant),
        of_heads({4, 2, 128, 300, "eoptshrinkq:3", "eoptshrinkq:2"}, Rows::mixed, Rows::mixed),
        of_heads({4, 2, 64, 300, "eoptshrinkq:2,loop=open", "eoptshrinkq:3,loop=open"}, Rows::turning,
                 Rows::constant),
        // By the tensor cores alone:
        of_heads({4, 2, 128, 300, "eoptshrinkq:3,allot=even", "eoptshrinkq:2,allot=even"}),
        of_heads({9, 1, 256, 290, "eoptshrinkq:4,allot=even,rows=8", "eoptshrinkq:2,allot=even,rows=7"}),
        of_heads({2, 1, 80, 290, "eoptshrinkq:2,allot=even,factor_bits=4", "eoptshrinkq:3,allot=even"}),
        of_heads({4, 1, 112, 290, "eoptshrinkq:4,allot=even,block=48", "eoptshrinkq:4,allot=even,block=48"}),
        of_heads({2, 1, 128, 430, "eoptshrinkq:2,allot=even,block=256,rows=8",
                  "eoptshrinkq:3,allot=even,block=256,rows=8"}),
        of_heads({4, 2, 128, 300, "eoptshrinkq:3,allot=even", "eoptshrinkq:2,allot=even"}, Rows::mixed,
                 Rows::mixed),
        // Widths of their own, and nothing else:
        Case{6, 3, 64, 300, "eoptshrinkq:2.5", "eoptshrinkq:3.75"}));

// The cases have what they are made for.
TEST(DeviceCacheCases, HaveHeadsOfEveryWidthAndDrawnRows) {
  const Case c = of_heads(kEveryWidth);
  Cpu cpu(c);
  cpu.step(c, Inputs(c), 0, c.n);
  const LayerStore& layer = cpu.cache.layer(0);
  std::set<int> widths, rows;
  for (std::int64_t h = 0; h < c.kv_heads; ++h)
    for (const bool keys : {true, false}) {
      const SideFormat& side = keys ? layer.format->k : layer.format->v;
      widths.insert(side.codec(h).form().bits);
      EXPECT_EQ(side.codec(h).form().place.data != nullptr, keys);
      for (const SealedBlock& block : (keys ? layer.k : layer.v).blocks) {
        const auto* const bytes =
            reinterpret_cast<const std::uint8_t*>(block.head(static_cast<std::size_t>(h)).data());
        rows.insert(skv_factors(0, bytes).second_rows);
      }
    }
  EXPECT_EQ(widths, (std::set<int>{1, 2, 3, 4, 5}));
  const std::vector<bool> bytes = in_bytes(*layer.format);
  EXPECT_EQ(std::set<bool>(bytes.begin(), bytes.end()).size(), 2u) << "both kernels have heads";
  EXPECT_GT(rows.size(), 2u) << "blocks have different numbers of drawn rows";
  EXPECT_TRUE(rows.contains(4)) << "as many as there may be";
}

TEST(DeviceCacheCases, HaveEveryWidthInOneBlockAndOddRanks) {
  std::set<std::set<int>> widths;  // of a block each
  std::set<int> odd, even;
  for (const Rows rows : {Rows::constant, Rows::turning, Rows::mixed}) {
    const Case c{1, 1, 128, 290, "eoptshrinkq:2", "eoptshrinkq:2", 0, 2, rows, rows};
    Cpu cpu(c);
    cpu.step(c, Inputs(c), 0, c.n);
    for (const SideStore* side : {&cpu.cache.layer(0).k, &cpu.cache.layer(0).v})
      for (const SealedBlock& block : side->blocks) {
        const auto head = block.head(0);
        const int rank = static_cast<int>(head[0]) & kSkvRankMask;
        ASSERT_EQ(static_cast<int>(head[0]), rank | kSkvOwnWidths) << "a block without widths";
        (rank % 2 == 1 ? odd : even).insert(rank);
        std::set<int> all;
        for (int i = 0; i < rank; ++i)
          all.insert(static_cast<int>(head[static_cast<std::size_t>(2 + 2 * rank + i)]));
        widths.insert(all);
      }
  }
  EXPECT_TRUE(widths.contains({2, 3, 4, 5, 6, 8, 10, 12, 16}));
  EXPECT_FALSE(odd.empty());
  EXPECT_FALSE(even.empty());
}

// Going back and reading on gives what reading straight does, as far as the CPU's cache can go back.
TEST(DeviceCacheTruncation, GoesBackWhereTheCpuDoes) {
  for (const Case& c :
       {Case{1, 1, 64, 420, "f16", "f16"}, Case{1, 1, 64, 420, "eoptshrinkq:2", "eoptshrinkq:2"},
        Case{1, 1, 64, 420, "turboquant:2", "turboquant:2"},
        Case{1, 1, 64, 420, "q8_0,window=20", "q8_0,window=20"},
        of_heads({4, 2, 64, 420, "eoptshrinkq:3", "eoptshrinkq:3"})}) {
    const char* const type = c.k;
    const Inputs in(c);
    Cpu cpu(c);
    cpu.step(c, in, 0, 410);
    DeviceCache turned = device_cache(c, 420);
    device_step(turned, c, in, 0, 410);
    for (const std::int64_t keep : {399, 290, 128, 1, 0}) {
      ASSERT_EQ(turned.nearest_below(keep), cpu.cache.nearest_below(keep)) << type << ", " << keep;
      if (turned.nearest_below(keep) != keep) {
        EXPECT_THROW(turned.truncate(keep), Error) << type << ", " << keep;
        continue;
      }
      turned.truncate(keep);
      EXPECT_EQ(turned.n_tokens(), keep);
      DeviceCache straight = device_cache(c, 420);
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
  DeviceCache cache = device_cache({1, 1, 64}, 300, c.k, c.v);
  const auto first = device_step(cache, c, in, 0, 300);
  cache.reset();
  EXPECT_EQ(cache.n_tokens(), 0);
  EXPECT_EQ(device_step(cache, c, in, 0, 300), first);
}

// A fork reads the original's blocks and goes on as it would; neither sees what the other does then, cutting
// back included.
TEST(DeviceCacheFork, GoesOnAsTheOriginal) {
  for (const Case& c : {Case{1, 1, 64, 560, "f16", "f16"},
                        Case{1, 1, 64, 560, "eoptshrinkq:2,window=0", "eoptshrinkq:2,window=0"},
                        Case{1, 1, 64, 560, "q8_0,window=20", "q8_0,window=20"},
                        of_heads({4, 2, 64, 560, "eoptshrinkq:3", "eoptshrinkq:3"})}) {
    const char* const type = c.k;
    const Inputs in(c);
    DeviceCache original = device_cache(c, 560), straight = device_cache(c, 560);
    device_step(original, c, in, 0, 400);
    const auto forked = original.fork(900);
    auto& fork = static_cast<DeviceCache&>(*forked);
    EXPECT_EQ(fork.n_tokens(), 400);
    // The original goes back into what both share, and writes there anew.
    original.truncate(original.nearest_below(256));
    const std::int64_t back = original.n_tokens();
    if (back > 0) device_step(straight, c, in, 0, back);
    EXPECT_EQ(device_step(original, c, in, back, 530), device_step(straight, c, in, back, 530)) << type;
    straight.reset();
    device_step(straight, c, in, 0, 400);
    EXPECT_EQ(device_step(fork, c, in, 400, 520), device_step(straight, c, in, 400, 520)) << type;
    const auto again = fork.fork(560);
    fork.reset();
    EXPECT_EQ(device_step(static_cast<DeviceCache&>(*again), c, in, 520, 560),
              device_step(straight, c, in, 520, 560))
        << type;
    const std::int64_t width = c.kv_heads * c.d;
    std::vector<float> k(static_cast<std::size_t>(400 * width)), v(k.size());
    Cpu cpu(c);
    cpu.step(c, in, 0, 560);
    std::vector<float> k_cpu(k.size()), v_cpu(k.size());
    again->read(0, 100, {k.data(), 400, width}, {v.data(), 400, width});
    cpu.cache.read(0, 100, {k_cpu.data(), 400, width}, {v_cpu.data(), 400, width});
    EXPECT_LT(distance(k, k_cpu), 1e-3) << type;
    EXPECT_LT(distance(v, v_cpu), 1e-3) << type;
  }
}

// Pages fill up: blocks stay where they are.
TEST(DeviceCacheGrowth, ReadsBlocksOfManyPages) {
  const Case plain{1, 1, 256, 1300, "f32", "f32"};
  const Inputs in(plain);
  Cpu cpu(plain);
  DeviceCache cache = device_cache({1, 1, 256}, 1300, plain.k, plain.v);
  cpu.step(plain, in, 0, 1290);
  device_step(cache, plain, in, 0, 1290);
  const auto expected = cpu.step(plain, in, 1290, 1291);
  EXPECT_LT(distance(device_step(cache, plain, in, 1290, 1291), expected), 1e-5);
  EXPECT_GT(cache.report().k.sealed_bytes, 1 << 20);
}

// The next page is begun while the last one is still being filled, and going back gives both up.
TEST(DeviceCacheGrowth, FillsPagesWithBlocksMuchSmallerThanTheLargest) {
  const Case c{2, 2, 256, 2700, "eoptshrinkq:8", "eoptshrinkq:8", 0, 2, Rows::constant, Rows::turning};
  const Inputs in(c);
  const std::int64_t width = c.kv_heads * c.d;
  Cpu cpu(c);
  DeviceCache cache = device_cache({1, c.kv_heads, c.d}, c.n, c.k, c.v);
  device::DeviceBuffer<float> k(in.k.size()), v(in.v.size());
  k.write(in.k, nullptr);
  v.write(in.v, nullptr);
  const auto take = [&](std::int64_t from, std::int64_t to) {
    cache.prepare(to - from);
    take_rows(cache, 0, {k.data() + from * width, to - from, width},
              {v.data() + from * width, to - from, width});
    cache.commit(to - from);
  };
  for (std::int64_t at = 0; at < c.n; at += 300) {
    take(at, at + 300);
    if (at == 1500) {
      cache.truncate(cache.nearest_below(1700));
      take(cache.n_tokens(), at + 300);
    }
    cpu.held.append(0, {in.k.data() + at * width, 300, width}, {in.v.data() + at * width, 300, width});
  }
  EXPECT_GT(cache.report().k.sealed_bytes, 1 << 20);
  const test::TempFolder folder;
  const std::string x = contents(save(cpu.cache, folder, "cpu")), y = contents(save(cache, folder, "device"));
  ASSERT_EQ(x.size(), y.size());
  std::size_t differ = 0;
  for (std::size_t i = 0; i < x.size(); ++i) differ += x[i] != y[i];
  EXPECT_LT(static_cast<double>(differ), 0.002 * static_cast<double>(x.size()));
}

std::string refusal(const char* k, const char* v, std::int64_t d) {
  try {
    DeviceCache cache = device_cache({1, 1, d}, 128, k, v);
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

// Every codec that says what a device has to know of it runs here, whatever the pair; others are named, and
// there are none.
TEST(DeviceCacheRefusal, RefusesOnlyWhatRunsOnTheCpuAlone) {
  std::vector<std::string> types = {"eoptshrinkq:2,quantiser=trellis"};
  for (const CodecRow& row : codec_table())
    for (int bits = row.min_bits; bits <= row.max_bits; ++bits)
      types.push_back(bits == 0 ? std::string(row.name) : concat(row.name, ":", bits));
  for (const std::int64_t d : {64, 80, 96, 112, 128, 256})
    for (const std::string& type : types) {
      const std::string of_k = refusal(type.c_str(), "f16", d), of_v = refusal("q8_0", type.c_str(), d);
      if (build_codec(type, d).codec->form().kind != CodecForm::Kind::other) {
        EXPECT_EQ(of_k, "none");
        EXPECT_EQ(of_v, "none");
      } else {
        EXPECT_NE(of_k.find(concat("'", type, "' does not run on the GPU")), std::string::npos) << of_k;
        EXPECT_NE(of_v.find(concat("'", type, "' does not run on the GPU")), std::string::npos) << of_v;
      }
    }
}

TEST(DeviceCacheRows, NamesARowThatDoesNotFit) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), 7e4f}) {
    const Case c{2, 2, 64, 10, "f16", "f16"};
    Inputs in(c);
    in.v[5 * 128 + 70] = bad;
    DeviceCache cache = device_cache({1, 2, 64}, 10, c.k, c.v);
    device_step(cache, c, in, 0, 10);
    try {
      cache.check_rows();
      FAIL() << "nothing was found";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("layer 0, KV head 1: the value of token 5"), std::string::npos)
          << error.what();
    }
    EXPECT_THROW(cache.report(), Error);
    // Every step says so, once it has been waited for.
    DeviceCache next = device_cache({1, 2, 64}, 12, c.k, c.v);
    device::DeviceBuffer<float> rows(128);
    const std::vector<float> bads(128, bad);
    rows.write(bads, nullptr);
    next.prepare(1);
    take_rows(next, 0, {rows.data(), 1, 128}, {rows.data(), 1, 128});
    const auto fault = next.commit(1);
    device::synchronize(nullptr);
    EXPECT_THROW(fault->check(), Error);
  }
}

}  // namespace
}  // namespace spectralkv
