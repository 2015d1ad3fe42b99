// Metric, mean queries, and what the codec's errors do to the output of attention.
#include "engine/head_measure.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kv/codecs.h"
#include "kv/drawn_rows.h"
#include "simd/dispatch.h"
#include "spectral/eoptshrink.h"
#include "spectral/metric.h"

namespace spectralkv {
namespace {

constexpr double kRidge = 0.05;  // of the mean second moment
constexpr double kSpan = 4096;   // tokens that a query may be away from its key

// The covariance of what keys leave behind their low-rank part, [d, d], and its blocks' layout.
std::vector<double> residual_moments(ConstMatrix keys, const CacheLayout& layout) {
  const std::int64_t d = keys.cols;
  std::vector<double> sum(static_cast<std::size_t>(d * d));
  GramSolver solver;
  Buffer<float> memory(static_cast<std::size_t>(layout.block * d));
  for (std::int64_t b = 0; b < layout.complete_blocks(keys.rows); ++b) {
    const ConstMatrix block = keys.rows_range(layout.block_begin(b), layout.block_tokens(b));
    const Matrix rest(memory.data(), block.rows, d);
    low_rank_part(eoptshrink(block, Loss::truncate, solver), rest);
    for (std::int64_t t = 0; t < block.rows; ++t)
      for (std::int64_t c = 0; c < d; ++c) rest(t, c) = block(t, c) - rest(t, c);
    for (std::int64_t t = 0; t < block.rows; ++t)
      for (std::int64_t i = 0; i < d; ++i) {
        const double x = static_cast<double>(rest(t, i));
        double* const row = sum.data() + i * d;
        for (std::int64_t j = 0; j < d; ++j) row[j] += x * static_cast<double>(rest(t, j));
      }
  }
  return sum;
}

// Rows of a side with its blocks as they come back from a codec, [n, heads * d].
void rebuild(const LayerRows& rows, KvSide side, std::span<const HeadCalibration> heads, ThreadPool& pool,
             Matrix out) {
  const ConstMatrix own = side == KvSide::keys ? rows.k : rows.v;
  const std::int64_t d = rows.shape.head_dim, n_heads = std::ssize(heads);
  for (std::int64_t t = 0; t < own.rows; ++t)
    std::memcpy(out.row(t), own.row(t), static_cast<std::size_t>(own.cols) * sizeof(float));
  std::vector<BuiltCodec> codecs;
  for (const HeadCalibration& head : heads) codecs.push_back(build_measured_codec({d, side, &head, 0}));
  const CacheLayout& layout = codecs[0].layout;
  const std::int64_t n_blocks = layout.sealed_for(rows.n_context());
  pool.for_each(n_heads * n_blocks, [&](std::int64_t i, int) {
    const std::int64_t h = i / n_blocks, b = i % n_blocks, n = layout.block_tokens(b);
    const auto part = [&](auto whole) {
      return whole.rows_range(layout.block_begin(b), n).cols_range(h * d, d);
    };
    const HeadCalibration& head = heads[static_cast<std::size_t>(h)];
    const ConstMatrix queries(head.queries.data(), std::ssize(head.queries.span()) / d, d);
    const DrawnRows drawn(part(rows.k), queries);
    const Codec& codec = *codecs[static_cast<std::size_t>(h)].codec;
    CodecWork work;
    std::vector<std::byte> bytes(static_cast<std::size_t>(codec.max_bytes(n)));
    SealContext context{rows.layer, h, layout.block_begin(b), side, drawn.rows()};
    codec.encode(part(own), context, bytes.data(), work);
    Buffer<float> decoded(static_cast<std::size_t>(n * d));
    codec.decode(bytes.data(), n, {decoded.data(), n, d});
    codec.leave(ConstMatrix(decoded.data(), n, d), part(out));
  });
}

// |W_h (a - b)|^2 for the columns W_h of each KV head, over all rows.
std::vector<double> errors_in_stream(ConstMatrix a, ConstMatrix b, const Buffer<float>& output,
                                     std::int64_t n_embd, std::int64_t n_heads, ThreadPool& pool) {
  const std::int64_t m = a.rows, width = a.cols / n_heads;
  Buffer<float> memory(static_cast<std::size_t>(m * a.cols));
  const Matrix difference(memory.data(), m, a.cols);
  for (std::int64_t t = 0; t < m; ++t)
    for (std::int64_t c = 0; c < a.cols; ++c) difference(t, c) = a(t, c) - b(t, c);
  std::vector<double> sums(static_cast<std::size_t>(n_heads));
  pool.for_each(n_heads, [&](std::int64_t h, int) {
    Buffer<float> y(static_cast<std::size_t>(m * n_embd)),
        work(static_cast<std::size_t>(simd::matmul_work(width)));
    kernels().matmul[static_cast<std::size_t>(DType::f32)](output.data() + h * width, a.cols * 4, n_embd,
                                                           width, difference.data + h * width, a.cols, m,
                                                           y.data(), n_embd, work.data());
    double sum = 0;
    for (const float x : y.span()) sum += static_cast<double>(x) * static_cast<double>(x);
    sums[static_cast<std::size_t>(h)] = sum;
  });
  return sums;
}

}  // namespace

HeadSums::HeadSums(std::int64_t heads, std::int64_t group_size, std::int64_t head_dim)
    : group(group_size),
      d(head_dim),
      moments(static_cast<std::size_t>(heads), std::vector<float>(static_cast<std::size_t>(d * d))),
      means(static_cast<std::size_t>(heads), std::vector<double>(static_cast<std::size_t>(group * d))) {}

void HeadSums::add(std::int64_t head, ConstMatrix q, double scale) {
  const auto h = static_cast<std::size_t>(head);
  std::vector<float> columns(static_cast<std::size_t>(d * q.rows));
  for (std::int64_t g = 0; g < group; ++g) {
    double* const mean = means[h].data() + g * d;
    for (std::int64_t t = 0; t < q.rows; ++t)
      for (std::int64_t c = 0; c < d; ++c) {
        const float x = q(t, g * d + c) * static_cast<float>(scale);
        columns[static_cast<std::size_t>(c * q.rows + t)] = x;
        mean[c] += static_cast<double>(x);
      }
    kernels().mix_f32(columns.data(), q.rows, d, q.data + g * d, q.stride, q.rows, d, moments[h].data(), d);
  }
  if (head == 0) n += q.rows;
}

std::vector<HeadCalibration> measure_heads(const LayerRows& rows, const HeadSums& sums,
                                           std::span<const double> angles, const WeightView& output,
                                           ThreadPool& pool) {
  const std::int64_t d = rows.shape.head_dim, n_heads = rows.shape.n_kv_heads;
  const auto size = static_cast<std::size_t>(d * d);
  const BuiltCodec measured = build_measured_codec({d, KvSide::keys});
  const CacheLayout& layout = measured.layout;
  std::vector<HeadCalibration> heads(static_cast<std::size_t>(n_heads));
  pool.for_each(n_heads, [&](std::int64_t h, int) {
    HeadCalibration& head = heads[static_cast<std::size_t>(h)];
    const std::vector<float>& m = sums.moments[static_cast<std::size_t>(h)];
    std::vector<double> moments(m.begin(), m.end());
    average_over_turns(moments, angles, kSpan);
    head.metric = Buffer<float>(size);
    query_metric(moments, residual_moments(rows.k.cols_range(h * d, d), layout), kRidge,
                 {head.metric.data(), d, d});
    const std::vector<double>& means = sums.means[static_cast<std::size_t>(h)];
    head.queries = Buffer<float>(means.size());
    for (std::size_t i = 0; i < means.size(); ++i)
      head.queries[i] = static_cast<float>(means[i] / static_cast<double>(sums.n));
  });

  Buffer<float> weight(static_cast<std::size_t>(output.rows * output.cols));
  for (std::int64_t r = 0; r < output.rows; ++r)
    kernels().decode[static_cast<std::size_t>(output.type)](output.row(r), weight.data() + r * output.cols,
                                                            output.cols);
  Buffer<float> exact_memory(static_cast<std::size_t>(rows.q.rows * rows.q.cols)),
      memory(exact_memory.size()), rebuilt_memory(static_cast<std::size_t>(rows.k.rows * rows.k.cols));
  const Matrix exact(exact_memory.data(), rows.q.rows, rows.q.cols),
      out(memory.data(), exact.rows, exact.cols), rebuilt(rebuilt_memory.data(), rows.k.rows, rows.k.cols);
  attend_to(rows, rows.k, rows.v, pool, exact);
  const double distortion = measured.distortion[static_cast<std::size_t>(measured.mean_bits)];
  for (const KvSide side : {KvSide::keys, KvSide::values}) {
    rebuild(rows, side, heads, pool, rebuilt);
    const bool keys = side == KvSide::keys;
    attend_to(rows, keys ? ConstMatrix(rebuilt) : rows.k, keys ? rows.v : ConstMatrix(rebuilt), pool, out);
    const auto errors = errors_in_stream(out, exact, weight, output.rows, n_heads, pool);
    for (std::size_t h = 0; h < errors.size(); ++h)
      heads[h].harm[keys ? 0 : 1] = static_cast<float>(errors[h] / distortion);
  }
  return heads;
}

}  // namespace spectralkv
