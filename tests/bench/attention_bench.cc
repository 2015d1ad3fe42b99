// Times attention over caches of several types, every layer of a model shape, at one depth: a decode step and
// a prompt piece. Before it times a type, its outputs are compared with exact attention over the rows that
// its blocks decode to.
//
//   attention_bench [--depth 8000] [--layers 30] [--heads 9] [--kv-heads 3] [--dim 64] [--threads 2]
//                   [--repeat 20] [TYPE...]
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "bench/arguments.h"
#include "kv/attention.h"
#include "kv/cache.h"
#include "simd/dispatch.h"

namespace spectralkv {
namespace {

struct Shape {
  std::int64_t depth = 8000, layers = 30, heads = 9, kv_heads = 3, dim = 64, threads = 2, repeat = 20;
  std::vector<std::string> types;
};

std::vector<float> normals(std::uint64_t seed, std::size_t n) {
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(random_normal(seed, i));
  return x;
}

// [n, heads * d]: a few directions that tokens share, and noise.
std::vector<float> rows_like_keys(std::uint64_t seed, std::int64_t n, std::int64_t heads, std::int64_t d) {
  auto x = normals(seed, static_cast<std::size_t>(n * heads * d));
  for (std::uint64_t i = 0; i < 4; ++i) {
    const auto u = normals(seed + 10 + i, static_cast<std::size_t>(n)),
               v = normals(seed + 20 + i, static_cast<std::size_t>(heads * d));
    for (std::size_t t = 0; t < u.size(); ++t)
      for (std::size_t c = 0; c < v.size(); ++c) x[t * v.size() + c] += 1.2f * u[t] * v[c];
  }
  return x;
}

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Sealed blocks of a layer as they decode, exact tokens as they are; [n, heads * d] in head space.
std::vector<float> decoded(const SideFormat& format, const CacheLayout& layout, const SideStore& side,
                           const std::vector<float>& exact, const Shape& shape) {
  std::vector<float> rows = exact;
  const std::int64_t d = shape.dim, width = shape.kv_heads * d;
  for (std::size_t b = 0; b < side.blocks.size(); ++b) {
    const auto at = static_cast<std::int64_t>(b);
    const std::int64_t n = layout.block_tokens(at), first = layout.block_begin(at);
    std::vector<float> turned(static_cast<std::size_t>(n * d)), head(turned.size());
    for (std::int64_t h = 0; h < shape.kv_heads; ++h) {
      format.codec(h).decode(side.blocks[b].head(static_cast<std::size_t>(h)).data(), n,
                             {turned.data(), n, d});
      format.codec(h).leave({turned.data(), n, d}, {head.data(), n, d});
      for (std::int64_t t = 0; t < n; ++t)
        std::copy_n(head.data() + t * d, d, rows.data() + (first + t) * width + h * d);
    }
  }
  return rows;
}

struct Result {
  double decode_ms = 0, prompt_ms = 0, error = 0, megabytes = 0;
};

Result measure(const std::string& type, const Shape& shape) {
  constexpr std::int64_t kPrompt = 63;
  const std::int64_t d = shape.dim, width = shape.kv_heads * d, q_width = shape.heads * d;
  ThreadPool pool(static_cast<int>(shape.threads));
  CacheWork work(pool, BlockPool());
  const auto format =
      std::make_shared<const CacheFormat>(CacheShape{shape.layers, shape.kv_heads, d}, type, type);
  Cache cache(format, shape.depth + kPrompt, work.blocks);
  const auto k = rows_like_keys(100, shape.depth + kPrompt, shape.kv_heads, d),
             v = rows_like_keys(200, shape.depth + kPrompt, shape.kv_heads, d);
  const std::int64_t n_read = shape.depth / 128 * 128 - 1;  // the rest as a decode would bring it
  for (std::int64_t first = 0; first < shape.depth;) {
    const std::int64_t n = first < n_read ? n_read : shape.depth - first;
    for (std::int64_t l = 0; l < shape.layers; ++l)
      const Appended step(cache.layer(l), {k.data() + first * width, n, width},
                          {v.data() + first * width, n, width}, work);
    first += n;
  }

  const AttentionShape how{shape.heads, 1 / std::sqrt(static_cast<float>(d)), 0};
  const auto q = normals(300, static_cast<std::size_t>(kPrompt * q_width));
  std::vector<float> out(q.size());
  // The tokens go again: the depth stays.
  const auto run = [&](LayerStore& from, std::int64_t n, std::vector<float>& to) {
    const float *next_k = k.data() + shape.depth * width, *next_v = v.data() + shape.depth * width;
    double start = 0, end = 0;
    {
      const Appended step(from, {next_k, n, width}, {next_v, n, width}, work);
      start = seconds();
      attend(step, how, {q.data(), n, q_width}, {to.data(), n, q_width}, work);
      end = seconds();
    }
    from.truncate(shape.depth);
    return end - start;
  };

  Result result;
  {
    const LayerFormat& layer = format->layer(0);
    const LayerStore& store = cache.layer(0);
    const auto k_rows = decoded(layer.k, layer.layout, store.k, k, shape),
               v_rows = decoded(layer.v, layer.layout, store.v, v, shape);
    const CacheFormat f32({1, shape.kv_heads, d}, "f32", "f32");
    LayerStore exact(f32.layer(0), shape.depth + kPrompt);
    {
      const Appended context(exact, {k_rows.data(), shape.depth, width}, {v_rows.data(), shape.depth, width},
                             work);
    }
    std::vector<float> expected(out.size());
    for (const std::int64_t n : {std::int64_t{1}, kPrompt}) {
      run(cache.layer(0), n, out);
      run(exact, n, expected);
      double error = 0, size = 0;
      for (std::size_t i = 0; i < static_cast<std::size_t>(n * q_width); ++i) {
        const double e = static_cast<double>(expected[i]), x = static_cast<double>(out[i]) - e;
        error += x * x;
        size += e * e;
      }
      result.error = std::max(result.error, std::sqrt(error / size));
    }
    check(result.error < 0.02, "bench", type, ": the outputs are wrong, relative error ", result.error);
  }
  const auto all_layers = [&](std::int64_t n) {
    double sum = 0;
    for (std::int64_t l = 0; l < shape.layers; ++l) sum += run(cache.layer(l), n, out);
    return 1e3 * sum;
  };
  result.decode_ms = result.prompt_ms = 1e30;
  for (std::int64_t i = 0; i < shape.repeat; ++i)
    result.decode_ms = std::min(result.decode_ms, all_layers(1));
  for (std::int64_t i = 0; i < std::clamp<std::int64_t>(shape.repeat / 10, 1, 200); ++i)
    result.prompt_ms = std::min(result.prompt_ms, all_layers(kPrompt) / kPrompt);
  const CacheReport report = cache.report();
  result.megabytes = static_cast<double>(report.k.sealed_bytes + report.v.sealed_bytes) / 1e6;
  return result;
}

int main_of(int argc, char** argv) {
  Shape shape;
  shape.types = bench::read_arguments(argc, argv,
                                      {{"--depth", &shape.depth},
                                       {"--layers", &shape.layers},
                                       {"--heads", &shape.heads},
                                       {"--kv-heads", &shape.kv_heads},
                                       {"--dim", &shape.dim},
                                       {"--threads", &shape.threads},
                                       {"--repeat", &shape.repeat}});
  if (shape.types.empty()) shape.types = {"f16", "eoptshrinkq:2"};
  std::printf("%s, %lld layers of %lld/%lld heads of %lld, depth %lld, %lld threads; best of %lld\n",
              kernels().name, static_cast<long long>(shape.layers), static_cast<long long>(shape.heads),
              static_cast<long long>(shape.kv_heads), static_cast<long long>(shape.dim),
              static_cast<long long>(shape.depth), static_cast<long long>(shape.threads),
              static_cast<long long>(shape.repeat));
  std::printf("%-28s %10s %12s %8s %10s\n", "type", "decode ms", "prompt ms/t", "MB", "error");
  for (const auto& type : shape.types) {
    const Result r = measure(type, shape);
    std::printf("%-28s %10.3f %12.3f %8.1f %10.2e\n", type.c_str(), r.decode_ms, r.prompt_ms, r.megabytes,
                r.error);
  }
  return 0;
}

}  // namespace
}  // namespace spectralkv

int main(int argc, char** argv) {
  return spectralkv::bench::run(spectralkv::main_of, argc, argv);
}
