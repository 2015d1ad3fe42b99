// Pairs of caches for tests: what they hold, and the CPU's cache that steps as the device does.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <vector>

#include "cuda/device/memory.h"
#include "cuda/kv/device_cache.h"
#include "kv/drawn_rows.h"
#include "kv/state_file.h"
#include "quant/rotation.h"
#include "support/compare.h"
#include "support/gguf_builder.h"
#include "support/host_cache.h"

namespace spectralkv::cache_cases {

using testing_support::normals;

// What rows are made of, beside noise.
enum class Rows {
  usual,     // a common direction and a few strong ones: low-rank parts at the least width
  constant,  // one direction, nearly the same for all tokens, with 1000 times the noise in every channel
  turning,   // the same in two pairs of channels, as RoPE turns it: slow sinusoids
  mixed,     // nine directions, so that each of the widths that there are is some component's
};

struct Case {
  std::int64_t heads, kv_heads, d, n;
  const char *k, *v;
  std::int64_t sliding = 0;
  int directions = 2;  // strong ones of usual rows: the rank that blocks have
  Rows keys = Rows::usual, values = Rows::usual;
  bool calibrated = false;
};

// A case whose heads have what a calibration makes of them.
inline Case of_heads(Case c, Rows keys = Rows::usual, Rows values = Rows::usual) {
  c.calibrated = true;
  c.keys = keys;
  c.values = values;
  return c;
}

// Rows with a common direction, a few strong ones and noise, so that blocks have low-rank parts.
inline std::vector<float> usual_rows(std::uint64_t seed, std::int64_t n, std::int64_t width, int directions) {
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

// The pairs of channels of a head that `turning` rows have their offset in, and the size of everything but
// `usual` rows: so small that scores, and what single precision loses of them, stay moderate.
constexpr std::int64_t kTurningPairs[] = {3, 17};
constexpr double kNoise = 0.05;
// Singular values of a block of 128 tokens of `mixed` rows, in units of the noise, for the widths 2, 3,
// ... 16.
constexpr double kMixedSizes[] = {38, 55, 125, 240, 470, 1400, 5500, 20000, 90000};

// A direction of `mixed` rows: unit vectors of a head, one a line.
inline std::vector<float> mixed_direction(std::uint64_t seed, std::size_t which, std::int64_t d) {
  auto direction = normals(seed + 400 + which, static_cast<std::size_t>(d));
  double squares = 0;
  for (const float x : direction) squares += static_cast<double>(x) * static_cast<double>(x);
  for (float& x : direction) x = static_cast<float>(static_cast<double>(x) / std::sqrt(squares));
  return direction;
}

// What constant rows have in common, [KV heads, d].
inline std::vector<float> constant_offset(std::uint64_t seed, const Case& c) {
  return normals(seed + 100, static_cast<std::size_t>(c.kv_heads * c.d), 1000 * kNoise);
}

inline std::vector<float> rows_of(std::uint64_t seed, const Case& c, Rows rows) {
  const std::int64_t width = c.kv_heads * c.d;
  if (rows == Rows::usual) return usual_rows(seed, c.n, width, c.directions);
  auto x = normals(seed, static_cast<std::size_t>(c.n * width), kNoise);
  const auto at = [&](std::int64_t t, std::int64_t h, std::int64_t channel) -> float& {
    return x[static_cast<std::size_t>(t * width + h * c.d + channel)];
  };
  const auto offset = constant_offset(seed, c);
  const auto lean = normals(seed + 101, static_cast<std::size_t>(c.n), 0x1p-7);
  for (std::int64_t t = 0; t < c.n; ++t)
    for (std::int64_t h = 0; h < c.kv_heads; ++h) {
      if (rows == Rows::constant)
        for (std::int64_t i = 0; i < c.d; ++i)
          at(t, h, i) +=
              (1 + lean[static_cast<std::size_t>(t)]) * offset[static_cast<std::size_t>(h * c.d + i)];
      if (rows == Rows::turning)
        for (const std::int64_t pair : kTurningPairs) {
          const double angle = 0.002 * static_cast<double>(pair * t + h);
          at(t, h, 2 * pair) += static_cast<float>(1000 * kNoise * std::cos(angle));
          at(t, h, 2 * pair + 1) += static_cast<float>(1000 * kNoise * std::sin(angle));
        }
    }
  for (std::size_t i = 0; rows == Rows::mixed && i < std::size(kMixedSizes); ++i) {
    const auto direction = mixed_direction(seed, i, c.d);
    const auto along = normals(seed + 500 + i, static_cast<std::size_t>(c.n), kMixedSizes[i] * kNoise / 128);
    for (std::int64_t t = 0; t < c.n; ++t)
      for (std::int64_t h = 0; h < c.kv_heads; ++h)
        for (std::int64_t j = 0; j < c.d; ++j)
          at(t, h, j) += static_cast<float>(std::sqrt(128.0)) * along[static_cast<std::size_t>(t)] *
                         direction[static_cast<std::size_t>(j)];
  }
  return x;
}

// Takes what queries have of the directions of mixed keys out of them, which would make one token of each
// block the only one that counts. Step by step: the directions are not orthogonal.
inline void turn_away(std::vector<float>& q, std::uint64_t seed, std::int64_t d) {
  std::vector<std::vector<float>> directions;
  for (std::size_t i = 0; i < std::size(kMixedSizes); ++i) directions.push_back(mixed_direction(seed, i, d));
  const auto size = static_cast<std::size_t>(d);
  for (std::size_t at = 0; at < q.size(); at += size)
    for (int pass = 0; pass < 50; ++pass)
      for (const auto& direction : directions) {
        double along = 0;
        for (std::size_t j = 0; j < size; ++j)
          along += static_cast<double>(q[at + j]) * static_cast<double>(direction[j]);
        for (std::size_t j = 0; j < size; ++j) q[at + j] -= static_cast<float>(along) * direction[j];
      }
}

// A random stretch [d, d]: any directions, lengths within some factors of each other.
inline Buffer<float> random_stretch(std::uint64_t seed, std::int64_t d) {
  const auto size = static_cast<std::size_t>(d);
  const Buffer<float> turn = Rotation(RotationKind::haar, static_cast<int>(d), seed).matrix();
  const auto logs = normals(seed + 1, size, 0.5);
  std::vector<double> lengths;
  double squares = 0;
  for (const float x : logs) {
    lengths.push_back(std::exp(static_cast<double>(x)));
    squares += lengths.back() * lengths.back();
  }
  Buffer<float> stretch(size * size);
  for (std::size_t i = 0; i < size; ++i)
    for (std::size_t j = i; j < size; ++j) {
      double sum = 0;
      for (std::size_t r = 0; r < size; ++r)
        sum += lengths[r] * static_cast<double>(turn[r * size + i]) * static_cast<double>(turn[r * size + j]);
      stretch[i * size + j] = stretch[j * size + i] =
          static_cast<float>(sum * std::sqrt(static_cast<double>(d) / squares));
    }
  return stretch;
}

// For the keys of a case: mean queries that some rows of each hundred draw, and harm so different that heads
// have all widths, where their mean is 3.
inline std::shared_ptr<const Calibration> calibration_of(const Case& c) {
  if (!c.calibrated) return nullptr;
  const auto keys = rows_of(2, c, c.keys);
  const std::int64_t group = c.heads / c.kv_heads;
  std::vector<HeadCalibration> heads;
  for (std::int64_t h = 0; h < c.kv_heads; ++h) {
    const auto seed = static_cast<std::uint64_t>(600 + h);
    HeadCalibration head;
    head.metric = random_stretch(seed, c.d);
    head.queries = Buffer<float>(static_cast<std::size_t>(group * c.d));
    const auto directions = normals(seed + 50, head.queries.size());
    for (std::int64_t g = 0; g < group; ++g) {
      const float* const query = directions.data() + g * c.d;
      std::vector<double> logits;
      for (std::int64_t t = 0; t < c.n; ++t) {
        double sum = 0;
        for (std::int64_t i = 0; i < c.d; ++i)
          sum += static_cast<double>(query[i]) *
                 static_cast<double>(keys[static_cast<std::size_t>((t * c.kv_heads + h) * c.d + i)]);
        logits.push_back(sum);
      }
      std::sort(logits.begin(), logits.end());
      const double above = logits[logits.size() * 98 / 100] - logits[logits.size() / 2];
      for (std::int64_t i = 0; i < c.d; ++i)
        head.queries[static_cast<std::size_t>(g * c.d + i)] =
            static_cast<float>(static_cast<double>(query[i]) * DrawnRows::kAbove / above);
    }
    for (const std::size_t side : {0, 1})
      head.harm[side] = static_cast<float>(
          std::pow(4.0, static_cast<double>((3 * static_cast<std::size_t>(h) + 2 * side) % 5)));
    heads.push_back(std::move(head));
  }
  return std::make_shared<const Calibration>(CacheShape{1, c.kv_heads, c.d}, group, 1, 0, std::move(heads));
}

struct Inputs {
  explicit Inputs(const Case& c)
      : q(normals(1, static_cast<std::size_t>(c.n * c.heads * c.d))),
        k(rows_of(2, c, c.keys)),
        v(rows_of(3, c, c.values)) {
    if (c.keys == Rows::mixed) turn_away(q, 2, c.d);
    // Towards the keys: scores are in the hundreds, and tokens differ by some of them.
    const auto offset = constant_offset(2, c);
    for (std::size_t i = 0; c.keys == Rows::constant && i < q.size(); ++i) {
      const auto d = static_cast<std::size_t>(c.d), head = i / d % static_cast<std::size_t>(c.heads);
      q[i] += offset[head / static_cast<std::size_t>(c.heads / c.kv_heads) * d + i % d] /
              static_cast<float>(1000 * kNoise);
    }
    for (std::size_t at = 0; c.keys == Rows::turning && at < q.size(); at += static_cast<std::size_t>(c.d))
      for (const std::int64_t pair : kTurningPairs)
        for (const std::int64_t i : {2 * pair, 2 * pair + 1}) q[at + static_cast<std::size_t>(i)] *= 0.05f;
    if (const auto calibration = calibration_of(c)) {  // then what draws attention counts
      const auto width = static_cast<std::size_t>(c.heads * c.d),
                 group = static_cast<std::size_t>(c.heads / c.kv_heads * c.d);
      for (std::size_t i = 0; i < q.size(); ++i) {
        const std::size_t at = i % width;
        q[i] += std::sqrt(static_cast<float>(c.d)) *
                calibration->head(0, static_cast<std::int64_t>(at / group)).queries[at % group];
      }
    }
  }
  std::vector<float> q, k, v;
};

inline AttentionShape shape_of(const Case& c) {
  return {c.heads, 1 / std::sqrt(static_cast<float>(c.d)), c.sliding};
}

// A cache of the CPU that steps as the device does.
struct Cpu {
  explicit Cpu(const Case& c) : held({1, c.kv_heads, c.d}, c.n, c.k, c.v, pool, calibration_of(c)) {}
  std::vector<float> step(const Case& c, const Inputs& in, std::int64_t from, std::int64_t to) {
    const std::int64_t qw = c.heads * c.d, kw = c.kv_heads * c.d, n = to - from;
    std::vector<float> out(static_cast<std::size_t>(n * qw));
    held.attend(0, shape_of(c), {in.q.data() + from * qw, n, qw}, {in.k.data() + from * kw, n, kw},
                {in.v.data() + from * kw, n, kw}, {out.data(), n, qw});
    return out;
  }
  ThreadPool pool{2};
  testing_support::HostCache held;
  Cache& cache = held.cache;
};

// What the caches of these tests share.
inline device_kv::DeviceWork& device_work() {
  static device_kv::DeviceWork work(nullptr);
  return work;
}

inline DeviceCache device_cache(const CacheShape& shape, std::int64_t n_ctx, const std::string& k,
                                const std::string& v) {
  return DeviceCache(std::make_shared<const CacheFormat>(shape, k, v), n_ctx, device_work());
}

inline DeviceCache device_cache(const Case& c, std::int64_t n_ctx) {
  return DeviceCache(std::make_shared<const CacheFormat>(CacheShape{1, c.kv_heads, c.d}, c.k, c.v,
                                                         CacheLayout::kNowhere, calibration_of(c)),
                     n_ctx, device_work());
}

inline std::vector<float> device_step(DeviceCache& cache, const Case& c, const Inputs& in, std::int64_t from,
                                      std::int64_t to) {
  const std::int64_t qw = c.heads * c.d, kw = c.kv_heads * c.d, n = to - from;
  const auto size = [](std::int64_t m) { return static_cast<std::size_t>(m); };
  device::DeviceBuffer<float> q(size(n * qw)), k(size(n * kw)), v(size(n * kw)), out(size(n * qw));
  q.write(std::span(in.q).subspan(size(from * qw), size(n * qw)), nullptr);
  k.write(std::span(in.k).subspan(size(from * kw), size(n * kw)), nullptr);
  v.write(std::span(in.v).subspan(size(from * kw), size(n * kw)), nullptr);
  cache.prepare(n);
  const CachePart all{&cache, 0, n};
  attend({&all, 1}, 0, shape_of(c),
         {{q.data(), n, qw}, {k.data(), n, kw}, {v.data(), n, kw}, {out.data(), n, qw}, {}, {}});
  cache.commit(n);
  std::vector<float> result(out.size());
  out.read(result, nullptr);
  device::synchronize(nullptr);
  return result;
}

inline double norm_of(const std::vector<float>& x) {
  double sum = 0;
  for (const float value : x) sum += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(sum);
}

// |a - b| / |b|.
inline double distance(const std::vector<float>& a, const std::vector<float>& b) {
  std::vector<float> difference(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) difference[i] = a[i] - b[i];
  return norm_of(difference) / norm_of(b);
}

inline std::string save(const KvCache& cache, const test::TempFolder& folder, const char* name) {
  const std::string path = folder.write(name, "");
  StateWriter out(path);
  cache.save(out);
  out.commit();
  return path;
}

inline std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Of each KV head whether both sides are codes of 2 to 4 bits (trellis codes up to head dim 128), at a head
// dim of a kernel for such: queries are rounded to 8 bits then, here as on the CPU.
inline std::vector<bool> in_bytes(const LayerFormat& layer) {
  constexpr std::int64_t kDims[] = {64, 80, 96, 112, 128, 256};
  std::vector<bool> heads;
  for (std::int64_t h = 0; h < layer.n_kv_heads; ++h) {
    bool both = std::find(std::begin(kDims), std::end(kDims), layer.head_dim) != std::end(kDims);
    for (const SideFormat* side : {&layer.k, &layer.v}) {
      const CodecForm form = side->codec(h).form();
      both &= (form.kind == CodecForm::Kind::trellis && layer.head_dim <= 128) ||
              (form.kind == CodecForm::Kind::codes && form.bits >= 2 && form.bits <= 4);
    }
    heads.push_back(both);
  }
  return heads;
}

}  // namespace spectralkv::cache_cases
