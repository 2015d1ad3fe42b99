// Attention over rows in f16 on the device: the instructions that it is made of, and prompts and single
// tokens against attention in double over the same cache.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "cpp/cuda/cache_cases.h"
#include "cpp/cuda/cache_reference.h"
#include "cuda/device/memory.h"

namespace spectralkv {
namespace {

using namespace cache_cases;
using device::DeviceBuffer;

// from: [32, 8] f16, four matrices one below the other. out: [2, 4, 32], as they are and turned.
template <int kUnused>
__global__ void load_all(const std::uint16_t* from, std::uint32_t* out) {
  auto* const shared = device::dynamic_shared<std::uint16_t>();
  const int lane = static_cast<int>(threadIdx.x);
  device::copy16_async(shared + 8 * lane, from + 8 * lane, 16);
  device::commit_copies();
  device::wait_for_copies<0>();
  __syncwarp();
  std::uint32_t plain[4], turned[4];
  device::load_matrices(plain, shared + 8 * lane);
  device::load_matrices_turned(turned, shared + 8 * lane);
  for (int i = 0; i < 4; ++i) {
    out[32 * i + lane] = plain[i];
    out[128 + 32 * i + lane] = turned[i];
  }
}

TEST(Halves, MatricesComeAsTheirRowsAndTurned) {
  std::vector<std::uint16_t> rows(256);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::uint16_t>(257 * i + 3);
  std::vector<std::uint32_t> got(256);
  DeviceBuffer<std::uint16_t> in(rows.size());
  DeviceBuffer<std::uint32_t> out(got.size());
  in.write(rows, nullptr);
  device::launch(load_all<0>, dim3(1), dim3(32), 512, nullptr, in.data(), out.data());
  out.read(got, nullptr);
  device::synchronize(nullptr);
  for (std::size_t i = 0; i < 4; ++i)
    for (std::size_t lane = 0; lane < 32; ++lane) {
      const std::size_t g = lane / 4, t = lane % 4;
      const auto at = [&](std::size_t row, std::size_t column) {
        return static_cast<std::uint32_t>(rows[64 * i + 8 * row + column]);
      };
      EXPECT_EQ(got[32 * i + lane], at(g, 2 * t) | at(g, 2 * t + 1) << 16) << i << ", " << lane;
      EXPECT_EQ(got[128 + 32 * i + lane], at(2 * t, g) | at(2 * t + 1, g) << 16) << i << ", " << lane;
    }
}

// Two groups, of which the older one is waited for first; the last copy brings 6 bytes and zeros.
template <int kUnused>
__global__ void copy_some(const std::uint16_t* from, std::uint16_t* out) {
  auto* const shared = device::dynamic_shared<std::uint16_t>();
  device::copy16_async(shared, from, 16);
  device::commit_copies();
  device::copy16_async(shared + 8, from + 8, 16);
  device::copy16_async(shared + 16, from + 16, 6);
  device::commit_copies();
  device::wait_for_copies<1>();
  for (int i = 0; i < 8; ++i) out[i] = shared[i];
  device::wait_for_copies<0>();
  for (int i = 8; i < 24; ++i) out[i] = shared[i];
}

TEST(Halves, CopiesArriveInGroupsWithZerosBehind) {
  std::vector<std::uint16_t> rows(24), got(24);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::uint16_t>(1000 + i);
  DeviceBuffer<std::uint16_t> in(rows.size()), out(rows.size());
  in.write(rows, nullptr);
  device::launch(copy_some<0>, dim3(1), dim3(1), 48, nullptr, in.data(), out.data());
  out.read(got, nullptr);
  device::synchronize(nullptr);
  for (std::size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(got[i], i < 19 ? rows[i] : 0) << i;
}

// Attention in double of token t, query head h, over what `store` holds sealed and, of the newest tokens, the
// rows of `in` in f16; and what the device may be away from it.
struct Expected {
  std::vector<double> out;
  double tolerance;  // of |difference|
};
Expected expected_of(const Case& c, const Inputs& in, const LayerStore& store, std::int64_t t, std::int64_t h,
                     bool few) {
  const LayerFormat& layer = *store.format;
  const std::int64_t d = c.d, kv = h / (c.heads / c.kv_heads), sealed = layer.layout.sealed_for(t);
  const auto size = static_cast<std::size_t>(d);
  std::vector<float> q(in.q.begin() + (t * c.heads + h) * d, in.q.begin() + (t * c.heads + h + 1) * d),
      entered(q);
  layer.k.codec(kv).enter({q.data(), 1, d}, {entered.data(), 1, d});
  struct Token {
    double logit, scatter;  // what roundings of 1 in every factor of the logit add up to
    std::vector<float> value;
    bool sealed;
  };
  std::vector<Token> tokens;
  const auto take = [&](const float* key, const float* value, std::int64_t position, bool in_codec_space) {
    if (c.sliding > 0 && position <= t - c.sliding) return;
    const auto& x = in_codec_space ? entered : q;
    double dot = 0, squares = 0;
    for (std::size_t j = 0; j < size; ++j) {
      const double one = static_cast<double>(x[j]) * static_cast<double>(key[j]);
      dot += one;
      squares += one * one;
    }
    const double root = std::sqrt(static_cast<double>(d));
    tokens.push_back({dot / root, std::sqrt(squares) / root, {value, value + d}, in_codec_space});
  };
  std::vector<float> k(static_cast<std::size_t>(layer.layout.block * d)), v(k.size());
  for (std::int64_t b = 0; b < sealed; ++b) {
    const std::int64_t n = layer.layout.block_tokens(b);
    const auto head = [&](const SideStore& side) {
      return side.blocks[static_cast<std::size_t>(b)].head(static_cast<std::size_t>(kv)).data();
    };
    layer.k.codec(kv).decode(head(store.k), n, {k.data(), n, d});
    layer.v.codec(kv).decode(head(store.v), n, {v.data(), n, d});
    for (std::int64_t i = 0; i < n; ++i)
      take(k.data() + i * d, v.data() + i * d, layer.layout.block_begin(b) + i, true);
  }
  const auto take_exact = [&](std::int64_t from, std::int64_t to) {
    for (std::int64_t p = from; p < to; ++p) {
      std::vector<float> rows[2];
      for (const bool keys : {true, false})
        for (std::int64_t i = 0; i < d; ++i)
          rows[keys ? 0 : 1].push_back(skv_f16_to_f32(
              skv_f32_to_f16((keys ? in.k : in.v)[static_cast<std::size_t>((p * c.kv_heads + kv) * d + i)])));
      take(rows[0].data(), rows[1].data(), p, false);
    }
  };
  if (sealed > 0) take_exact(0, layer.layout.sink);
  take_exact(sealed * layer.layout.block, t + 1);

  double top = -INFINITY, sum = 0, scatter = 0, v_top = 0, logits = 0;
  for (const Token& token : tokens) top = std::max(top, token.logit);
  std::vector<double> mixed[2] = {std::vector<double>(size), std::vector<double>(size)};
  for (const Token& token : tokens) {
    const double p = std::exp(token.logit - top);
    sum += p;
    for (std::size_t j = 0; j < size; ++j)
      mixed[token.sealed ? 0 : 1][j] += p * static_cast<double>(token.value[j]);
  }
  std::vector<float> coded(mixed[0].begin(), mixed[0].end()), left(size);
  layer.v.codec(kv).leave({coded.data(), 1, d}, {left.data(), 1, d});
  Expected result{{}, 0};
  for (std::size_t j = 0; j < size; ++j)
    result.out.push_back((static_cast<double>(left[j]) + mixed[1][j]) / sum);
  std::vector<float> out(result.out.begin(), result.out.end()), out_in_codec(out);
  layer.v.codec(kv).enter({out.data(), 1, d}, {out_in_codec.data(), 1, d});
  // What errors of logits move together, at most; and what errors of weights that have nothing in common move
  // of the output, of logits and of values.
  double together = 0, of_logits = 0, of_values = 0;
  for (const Token& token : tokens) {
    std::vector<float> from(token.value);
    for (std::size_t j = 0; j < size; ++j) from[j] -= (token.sealed ? out_in_codec : out)[j];
    const double p = std::exp(token.logit - top) / sum;
    scatter = std::max(scatter, token.scatter);
    logits = std::max(logits, std::fabs(token.logit));
    v_top = std::max(v_top, norm_of(token.value));
    together += p * norm_of(from);
    of_logits += std::pow(p * norm_of(from), 2);
    of_values += std::pow(p * norm_of(token.value), 2);
  }
  of_logits = std::sqrt(of_logits);
  of_values = std::sqrt(of_values);
  // Single precision: logits behind a rotation, the exponential, sums.
  const double root = std::sqrt(static_cast<double>(d)), count = static_cast<double>(t + 2 * d + 64);
  const double single =
      testing_support::kEps * (((2 * root + 4) * scatter + logits) * together + std::sqrt(count) * v_top);
  // Half precision, of what is not f16 as it stands: queries and weights of `many`, sealed keys and values.
  // Each is rounded by up to kHalfEps, half of that as a rule; twice kHalfEps is hardly ever passed.
  const auto rounded = [&](const SideFormat& side) {
    return (few ? 0.0 : 1.0) + (sealed > 0 && side.codec(kv).form().kind != CodecForm::Kind::f16 ? 1.0 : 0.0);
  };
  result.tolerance = single + 2 * kHalfEps *
                                  (scatter * of_logits * std::sqrt(rounded(layer.k)) +
                                   of_values * std::sqrt(rounded(layer.v)));
  return result;
}

class HalvesTest : public testing::TestWithParam<Case> {
 protected:
  void TearDown() override { device_work().attention.most_expanded = kMost; }
  static constexpr std::int64_t kMost = std::int64_t{64} << 20;
};

// The state of a device's cache in one of the CPU, whose sealed blocks are the same bytes.
void copy_state(const DeviceCache& from, Cpu& to) {
  const test::TempFolder folder;
  StateReader reader(save(from, folder, "device"));
  to.cache.load(reader, from.n_tokens());
  reader.finish();
}

void expect_rows(const Case& c, const Inputs& in, const std::vector<float>& got, const LayerStore& store,
                 std::int64_t first, std::int64_t every, bool few) {
  const std::int64_t n = std::ssize(got) / (c.heads * c.d);
  double worst = 0;
  for (std::int64_t i = 0; i < n; i = i == n - 1 ? n : std::min(i + every, n - 1))
    for (std::int64_t h = 0; h < c.heads; ++h) {
      const Expected expected = expected_of(c, in, store, first + i, h, few);
      double squares = 0;
      for (std::int64_t j = 0; j < c.d; ++j)
        squares += std::pow(static_cast<double>(got[static_cast<std::size_t>((i * c.heads + h) * c.d + j)]) -
                                expected.out[static_cast<std::size_t>(j)],
                            2);
      ASSERT_LT(std::sqrt(squares), expected.tolerance) << "token " << first + i << ", head " << h;
      worst = std::max(worst, std::sqrt(squares) / expected.tolerance);
    }
  testing::Test::RecordProperty(concat("part from ", first), std::to_string(worst));
}

// A prompt, a prompt behind it, and single tokens.
TEST_P(HalvesTest, AttendsAsInDouble) {
  const Case& c = GetParam();
  const Inputs in(c);
  DeviceCache cache = device_cache(c, c.n);
  // Three blocks at once, or two of a side that is not f16 beside one that is.
  device_work().attention.most_expanded = 3 * 2 * 2 * c.kv_heads * c.d * cache.format().layer(0).layout.block;
  const std::int64_t first = c.n / 3, second = c.n - 2;
  const auto a = device_step(cache, c, in, 0, first), b = device_step(cache, c, in, first, second);
  {
    Cpu cpu(c);
    copy_state(cache, cpu);
    expect_rows(c, in, a, cpu.cache.layer(0), 0, 23, false);
    expect_rows(c, in, b, cpu.cache.layer(0), first, 23, false);
  }
  const auto next = device_step(cache, c, in, second, second + 1);
  Cpu cpu(c);
  copy_state(cache, cpu);
  const CodecForm::Kind kinds[] = {cpu.cache.layer(0).format->k.codec(0).form().kind,
                                   cpu.cache.layer(0).format->v.codec(0).form().kind};
  for (const CodecForm::Kind kind : kinds)
    if (kind != CodecForm::Kind::f16 && kind != CodecForm::Kind::q8_0) return;  // other kernels
  expect_rows(c, in, next, cpu.cache.layer(0), second, 1, true);
}

INSTANTIATE_TEST_SUITE_P(
    Pairs, HalvesTest,
    testing::Values(Case{4, 1, 128, 420, "f16", "f16"}, Case{2, 2, 64, 330, "f16", "f16", 100},
                    Case{3, 1, 80, 300, "q8_0,sink=3", "f16"}, Case{2, 1, 96, 290, "q8_0", "q8_0"},
                    Case{2, 1, 112, 300, "q8_0,window=40", "f16"}, Case{5, 1, 256, 290, "f16", "q8_0"},
                    Case{9, 1, 64, 200, "f16", "q8_0,block=48"}, Case{2, 1, 256, 280, "q8_0", "q8_0"},
                    Case{2, 1, 128, 280, "q8_0", "q8_0", 70},
                    Case{2, 1, 80, 300, "q8_0,block=16,sink=15,window=1", "q8_0,block=16,sink=15,window=1"},
                    Case{4, 1, 128, 600, "eoptshrinkq:2", "eoptshrinkq:2"},
                    Case{4, 2, 64, 700, "eoptshrinkq:3,sink=3", "turboquant:4,sink=3", 300},
                    Case{3, 1, 96, 310, "kivi:2", "kivi:4"}, Case{2, 1, 112, 300, "q4_0", "eoptshrinkq:5"},
                    Case{2, 1, 80, 430, "f16", "eoptshrinkq:2,block=48,window=10"},
                    Case{2, 1, 256, 400, "eoptshrinkq:4", "eoptshrinkq:2,rotation=haar"},
                    Case{2, 1, 128, 420, "eoptshrinkq:2,quantiser=trellis",
                         "eoptshrinkq:2,quantiser=trellis"},
                    Case{2, 1, 128, 420, "eoptshrinkq:2", "eoptshrinkq:2", 0, 2, Rows::constant},
                    Case{2, 1, 64, 420, "eoptshrinkq:2", "eoptshrinkq:3", 0, 2, Rows::mixed, Rows::mixed},
                    of_heads({4, 2, 64, 420, "eoptshrinkq:3", "eoptshrinkq:2.5"}),
                    of_heads({4, 2, 128, 420, "eoptshrinkq:3,rows=8", "eoptshrinkq:2"})));

// More tokens than read sealed blocks together.
TEST(Halves, ReadsALongStepInSpans) {
  const Case c{1, 1, 64, 2070, "f16", "f16"};
  const Inputs in(c);
  DeviceCache cache = device_cache(c, c.n);
  const auto got = device_step(cache, c, in, 0, c.n);
  Cpu cpu(c);
  copy_state(cache, cpu);
  expect_rows(c, in, got, cpu.cache.layer(0), 0, 211, false);
}

}  // namespace
}  // namespace spectralkv
