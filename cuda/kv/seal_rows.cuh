// The first half of sealing: exact rows into codec space, Gram matrices, and what their spectra say.
#pragma once

#include "cuda/codecs/codecs.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/kv/attend_ends.cuh"
#include "cuda/kv/seal.h"
#include "quant/factor_math.h"
#include "spectral/spectrum_math.h"

namespace spectralkv::device_kv {

// Value c of token `token` of the item's block, as the ring has it or will.
__device__ inline float exact_value(const SealArgs& args, int item, int token, int c) {
  const LayerView& layer = args.layer;
  const SideView& side = args.side_of(item);
  const int which = args.which_of(item), head = args.head_of(item);
  const std::int64_t t = (args.index + args.block_of(item) + 1) * layer.block - args.n + token;
  if (args.fresh.rows[which] != nullptr && t >= args.fresh.first) {
    const float value = args.fresh.rows[which][(t - args.fresh.first) * args.fresh.apart[which] +
                                               static_cast<std::int64_t>(head) * layer.d + c];
    return side.exact_f32 ? value : device::f16_to_f32(device::f32_to_f16(value));
  }
  const std::int64_t at = (head * args.store.ring_tokens + t % args.store.ring_tokens) * layer.d + c;
  const std::uint8_t* const ring = args.store.side[which].ring;
  return side.exact_f32 ? reinterpret_cast<const float*>(ring)[at]
                        : device::f16_to_f32(reinterpret_cast<const std::uint16_t*>(ring)[at]);
}

// The unit of n rows of d values, value(t, c): by the longest. All threads of a block call, all get it.
template <class Value>
__device__ inline int block_exponent_of(int n, int d, const Value& value, double* scratch) {
  double top = 0;
  for (int t = static_cast<int>(threadIdx.x) / 32; t < n; t += kWarps) {
    double squares = 0;
    for (int c = static_cast<int>(threadIdx.x) % 32; c < d; c += 32) {
      const double x = value(t, c);
      squares += x * x;
    }
    top = device::larger(top, sqrt(device::warp_sum(squares)));
  }
  top = device::block_max(top, scratch);
  return top < 1e300 ? block_exponent(top) : 0;  // a fault was recorded when a row is not finite
}

// Fills rows and exponents. Grid: items. Shared: doubles [kWarps], floats [d].
template <int kUnused>
__global__ void __launch_bounds__(kThreads) seal_rows(const SKV_GRID_CONSTANT SealArgs args) {
  const int item = static_cast<int>(blockIdx.x), d = args.layer.d, thread = static_cast<int>(threadIdx.x);
  const SideView& side = args.side_of(item);
  const float* const place = side.place.of(args.head_of(item));
  double* const scratch = device::dynamic_shared<double>();
  float* const x = reinterpret_cast<float*>(scratch + kWarps);
  float* const rows = args.rows_of(item);
  int exponent = 0;
  if (takes_scaled_rows(args.codec_of(item))) {
    exponent = block_exponent_of(
        args.n, d, [&](int t, int c) { return exact_value(args, item, t, c); }, scratch);
    if (thread == 0) args.exponents[item] = exponent;
  }
  const float down = ldexpf(1.0f, -exponent);
  for (int t = 0; t < args.n; ++t) {
    __syncthreads();
    for (int c = thread; c < d; c += kThreads) x[c] = exact_value(args, item, t, c) * down;
    __syncthreads();
    if (place == nullptr)
      for (int c = thread; c < d; c += kThreads) rows[t * d + c] = x[c];
    else
      rotate_row(x, place, d, [&](int c, float value) { rows[t * d + c] = value; });
  }
  // A rotation keeps lengths; what stretches does not.
  if (side.place.apart == 0) return;
  __syncthreads();
  const int more = block_exponent_of(
      args.n, d, [&](int t, int c) { return rows[t * d + c]; }, scratch);
  const float again = ldexpf(1.0f, -more);
  for (int i = thread; i < args.n * d; i += kThreads) rows[i] *= again;
  if (thread == 0) args.exponents[item] = exponent + more;
}

// Sums of products over the longer side, in double. Grid: items; 256 threads, each 4 x 4 sums of a tile
// of 64.
constexpr int kGramThreads = 256;
template <int kUnused>
__global__ void __launch_bounds__(kGramThreads) seal_gram(const SKV_GRID_CONSTANT SealArgs args) {
  const int item = static_cast<int>(blockIdx.x), d = args.layer.d, p = args.p;
  if (args.codec_of(item).window == 0) return;
  const bool transposed = args.n < d;  // then tokens are the shorter side
  const float* const rows = args.rows_of(item);
  const int step_short = transposed ? d : 1, step_long = transposed ? 1 : d;
  double* const gram = args.gram + static_cast<std::int64_t>(item) * p * p;
  const int ty = static_cast<int>(threadIdx.x) / 16, tx = static_cast<int>(threadIdx.x) % 16;
  for (int i0 = 0; i0 < p; i0 += 64)
    for (int j0 = 0; j0 <= i0; j0 += 64) {
      double sum[4][4] = {};
      for (int k = 0; k < args.longer; ++k) {
        double a[4], b[4];
        SKV_UNROLL
        for (int u = 0; u < 4; ++u) {
          const int i = i0 + ty + 16 * u, j = j0 + tx + 16 * u;
          a[u] = i < p ? rows[i * step_short + k * step_long] : 0;
          b[u] = j < p ? rows[j * step_short + k * step_long] : 0;
        }
        SKV_UNROLL
        for (int u = 0; u < 4; ++u)
          for (int w = 0; w < 4; ++w) sum[u][w] += a[u] * b[w];
      }
      for (int u = 0; u < 4; ++u)
        for (int w = 0; w < 4; ++w) {
          const int i = i0 + ty + 16 * u, j = j0 + tx + 16 * w;
          if (i >= p || j >= p) continue;
          gram[i * p + j] = sum[u][w];
          gram[j * p + i] = sum[u][w];
        }
    }
}

// Rank and shrunken singular values of each item, and what its columns may miss. Grid: items. Shared: doubles
// [kWarps], and [p], falling eigenvalues.
template <int kUnused>
__global__ void __launch_bounds__(kThreads) seal_spectrum(const SKV_GRID_CONSTANT SealArgs args) {
  const int item = static_cast<int>(blockIdx.x), p = args.p, thread = static_cast<int>(threadIdx.x);
  const CodecView& codec = args.codec_of(item);
  const int k = codec.window;
  if (k == 0 || p < 3 * k + 1) {
    if (thread == 0) args.ranks[item] = 0;
    return;
  }
  double* const scratch = device::dynamic_shared<double>();
  double* const values = scratch + kWarps;
  const double* const rising = args.eigenvalues + static_cast<std::int64_t>(item) * p;
  const double floor = eigenvalue_floor(rising[p - 1], p);
  for (int i = thread; i < p; i += kThreads) values[i] = rising[p - 1 - i] > floor ? rising[p - 1 - i] : 0;
  __syncthreads();
  const double edge = edge_of(values[k], values[2 * k]);
  const double threshold = outlier_threshold(edge, args.layer.d);
  int rank = 0;
  while (rank < kMostRank && values[rank] > threshold) ++rank;
  if (thread == 0) args.ranks[item] = rank;
  double shrunken = 0;
  if (thread < rank) {
    const double near = values[rank + k], far = values[rank + 2 * k];
    const bool cut = imputed_point(near, far, 1, k) >= values[rank - 1];
    const auto noise = [&](int i) {
      if (i >= k) return values[rank + i];
      const double point = imputed_point(near, far, i + 1, k);
      return cut && edge < point ? edge : point;
    };
    const double beta = static_cast<double>(p) / args.longer;
    const Outlier outlier = d_transform_of(noise, p - rank, beta, values[thread]);
    shrunken = shrunken_value(outlier, codec.loss);
    args.phi[item * kMostRank + thread] = shrunken;
  }
  double residual = 0;
  for (int i = thread; i < p; i += kThreads) {
    const double left = sqrt(values[i]) - (i == thread ? shrunken : 0.0);
    residual += left * left;
  }
  residual = device::block_sum(residual, scratch);
  if (!codec.closed_loop) residual *= codec.distortion;
  if (thread == 0) args.allowed[item] = allowed_factor_error(residual, args.n, args.layer.d);
}

}  // namespace spectralkv::device_kv
