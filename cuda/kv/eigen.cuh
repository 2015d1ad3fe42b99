// Symmetric eigenproblems, a block of threads each: Householder's tridiagonal form, all eigenvalues by
// bisection, and of the largest ones vectors by inverse iteration, made orthogonal as they come.
#pragma once

#include "cuda/codecs/codec_view.h"
#include "cuda/device/reduce.cuh"
#include "cuda/kv/eigen.h"

namespace spectralkv::device_kv {

constexpr int kEigenThreads = 256, kEigenWarps = kEigenThreads / 32;
constexpr int kEigenChunks = kMostHeadDim / 32;  // of a row, a value a lane
constexpr double kDoubleEps = 2.220446049250313e-16;

// Shared memory in doubles: of eigen_values, of eigen_vectors.
SKV_HD inline int eigen_values_shared(int p) {
  return (4 + kEigenWarps) * p + kEigenWarps;
}
SKV_HD inline int eigen_vectors_shared(int p) {
  return (2 + kMostRank) * p;
}

// x[i] -> sum over rows j of matrix a [m, m], apart `stride`, of a[j, i] v[j], by warps: partial [warps, m].
__device__ inline void multiply_rows(const double* a, int stride, int m, const double* v, double* partial) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  double sum[kEigenChunks] = {};
  for (int j = warp; j < m; j += kEigenWarps) {
    SKV_UNROLL
    for (int c = 0; c < kEigenChunks; ++c)
      if (32 * c + lane < m) sum[c] += a[j * stride + 32 * c + lane] * v[j];
  }
  SKV_UNROLL
  for (int c = 0; c < kEigenChunks; ++c)
    if (32 * c + lane < m) partial[warp * m + 32 * c + lane] = sum[c];
}

// Of a tridiagonal matrix, how many eigenvalues are below x. squares: of what stands beside the diagonal.
__device__ inline int eigenvalues_below(const double* diagonal, const double* squares, int p, double least,
                                        double x) {
  int below = 0;
  double pivot = 1;
  for (int i = 0; i < p; ++i) {
    pivot = diagonal[i] - x - (i > 0 ? squares[i - 1] / pivot : 0);
    if (fabs(pivot) < least) pivot = -least;
    below += pivot < 0;
  }
  return below;
}

// The matrix becomes reflectors, row k that of column k behind the diagonal; fills tridiagonal and values.
// Grid: matrices.
template <int kUnused>
__global__ void __launch_bounds__(kEigenThreads) eigen_values(const SKV_GRID_CONSTANT EigenArgs args) {
  const int p = args.p, thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const std::int64_t item = args.number(blockIdx.x);
  double* const a = args.matrices + item * p * p;
  double* const v = device::dynamic_shared<double>();  // [p]
  double* const w = v + p;                             // [p]
  double* const diagonal = w + p;                      // [p]
  double* const squares = diagonal + p;                // [p]
  double* const partial = squares + p;                 // [warps, p]
  double* const scratch = partial + kEigenWarps * p;   // [warps]
  double* const kept = args.tridiagonal + item * 3 * p;
  for (int k = 0; k < p; ++k) {
    const int m = p - k - 1;
    double* const row = a + k * p + k + 1;
    double rest = 0;
    for (int i = 1 + thread; i < m; i += kEigenThreads) rest += row[i] * row[i];
    rest = device::block_sum(rest, scratch);
    const double first = m > 0 ? row[0] : 0;
    double beside = first, tau = 0;
    if (rest > 0) {
      beside = -copysign(sqrt(first * first + rest), first);
      tau = (beside - first) / beside;
    }
    __syncthreads();
    if (thread == 0) {
      diagonal[k] = kept[k] = a[k * p + k];
      kept[p + k] = beside;
      kept[2 * p + k] = tau;
      squares[k] = beside * beside;
    }
    if (!(rest > 0)) continue;
    for (int i = thread; i < m; i += kEigenThreads) row[i] = v[i] = i == 0 ? 1 : row[i] / (first - beside);
    __syncthreads();
    double* const minor = a + (k + 1) * p + k + 1;
    multiply_rows(minor, p, m, v, partial);
    __syncthreads();
    double along = 0;
    for (int i = thread; i < m; i += kEigenThreads) {
      double sum = 0;
      for (int other = 0; other < kEigenWarps; ++other) sum += partial[other * m + i];
      w[i] = tau * sum;
      along += w[i] * v[i];
    }
    along = device::block_sum(along, scratch);
    for (int i = thread; i < m; i += kEigenThreads) w[i] -= 0.5 * tau * along * v[i];
    __syncthreads();
    for (int j = warp; j < m; j += kEigenWarps)
      for (int i = lane; i < m; i += 32) minor[j * p + i] -= v[j] * w[i] + w[j] * v[i];
    __syncthreads();
  }
  __syncthreads();
  double top = 0;  // of the circles that hold all eigenvalues
  for (int i = thread; i < p; i += kEigenThreads)
    top = device::larger(top, fabs(diagonal[i]) + (i > 0 ? sqrt(squares[i - 1]) : 0) + sqrt(squares[i]));
  top = device::block_max(top, scratch);
  const double least = device::larger(kDoubleEps * kDoubleEps * top * top, 1e-300);
  for (int i = thread; i < p; i += kEigenThreads) {
    double low = -top, high = top;
    for (int turn = 0; turn < 64; ++turn) {
      const double middle = 0.5 * (low + high);
      if (!(low < middle && middle < high)) break;
      if (eigenvalues_below(diagonal, squares, p, least, middle) > i)
        high = middle;
      else
        low = middle;
    }
    args.values[item * p + i] = 0.5 * (low + high);
  }
}

// Solves (T - shift) x = y in place, T tridiagonal, with row exchanges; what would be a division by 0 is one
// by `least`. One thread. upper: three numbers a row, `apart` numbers from each other.
__device__ inline void solve_shifted(const double* diagonal, const double* beside, int p, double shift,
                                     double least, double* y, double* upper, int apart) {
  const auto keep = [&](int i, double x0, double x1, double x2) {
    upper[(3 * i) * apart] = fabs(x0) < least ? least : x0;
    upper[(3 * i + 1) * apart] = x1;
    upper[(3 * i + 2) * apart] = x2;
  };
  double here = diagonal[0] - shift, next = p > 1 ? beside[0] : 0;
  for (int i = 0; i + 1 < p; ++i) {
    const double below = beside[i], middle = diagonal[i + 1] - shift, behind = i + 2 < p ? beside[i + 1] : 0;
    if (fabs(here) >= fabs(below)) {
      const double factor = below / (fabs(here) < least ? least : here);
      keep(i, here, next, 0);
      y[i + 1] -= factor * y[i];
      here = middle - factor * next;
      next = behind;
    } else {
      const double factor = here / below, lower = y[i];
      keep(i, below, middle, behind);
      y[i] = y[i + 1];
      y[i + 1] = lower - factor * y[i];
      here = next - factor * middle;
      next = -factor * behind;
    }
  }
  keep(p - 1, here, 0, 0);
  for (int i = p - 1; i >= 0; --i) {
    double rest = y[i];
    if (i + 1 < p) rest -= upper[(3 * i + 1) * apart] * y[i + 1];
    if (i + 2 < p) rest -= upper[(3 * i + 2) * apart] * y[i + 2];
    y[i] = rest / upper[(3 * i) * apart];
  }
}

// A warp's <x, y> over p values.
__device__ inline double dot_of(const double* x, const double* y, int p) {
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x) % 32; i < p; i += 32) sum += x[i] * y[i];
  return device::warp_sum(sum);
}

// Vectors of the ranks[item] largest eigenvalues, the largest first. Grid: matrices.
template <int kUnused>
__global__ void __launch_bounds__(kEigenThreads)
    eigen_vectors(const SKV_GRID_CONSTANT EigenArgs args, const int* ranks) {
  const int p = args.p, thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const std::int64_t item = args.number(blockIdx.x);
  const int rank = ranks[item];
  double* const diagonal = device::dynamic_shared<double>();  // [p]
  double* const beside = diagonal + p;                        // [p]
  double* const y = beside + p;                               // [rank, p]
  const double* const kept = args.tridiagonal + item * 3 * p;
  const double* const values = args.values + item * p;
  for (int i = thread; i < p; i += kEigenThreads) {
    diagonal[i] = kept[i];
    beside[i] = kept[p + i];
    for (int r = 0; r < rank; ++r) {  // no direction that a vector could be orthogonal to
      const unsigned mixed =
          (static_cast<unsigned>(i) * 2654435761u) ^ (static_cast<unsigned>(r) * 40503u + 9u);
      y[r * p + i] = static_cast<double>(mixed * 2246822519u >> 8) * 0x1p-23 - 1;
    }
  }
  __syncthreads();
  const double top = device::larger(fabs(values[0]), fabs(values[p - 1])),
               least = top > 0 ? kDoubleEps * top : 1;
  for (int pass = 0; pass < 3; ++pass) {
    if (thread < rank) {
      double shift = values[p - 1];
      for (int r = 1; r <= thread; ++r) {  // equal ones are taken apart
        const double apart = shift - 4 * kDoubleEps * top, own = values[p - 1 - r];
        shift = own < apart ? own : apart;
      }
      solve_shifted(diagonal, beside, p, shift, least, y + thread * p,
                    args.work + item * 3 * p * kMostRank + thread, kMostRank);
    }
    __syncthreads();
    if (warp == 0) {
      for (int r = 0; r < rank; ++r) {
        double* const own = y + r * p;
        for (int turn = 0; turn < 2; ++turn) {
          const double scale = 1 / sqrt(dot_of(own, own, p));
          for (int i = lane; i < p; i += 32) own[i] *= scale;
          __syncwarp();
          for (int e = 0; e < r; ++e) {
            const double along = dot_of(own, y + e * p, p);
            for (int i = lane; i < p; i += 32) own[i] -= along * y[e * p + i];
            __syncwarp();
          }
        }
        const double scale = 1 / sqrt(dot_of(own, own, p));
        for (int i = lane; i < p; i += 32) own[i] *= scale;
        __syncwarp();
      }
    }
    __syncthreads();
  }
  const double* const a = args.matrices + item * p * p;
  for (int r = warp; r < rank; r += kEigenWarps) {  // back through the reflectors
    double* const own = y + r * p;
    for (int k = p - 2; k >= 0; --k) {
      const double tau = kept[2 * p + k];
      if (tau == 0) continue;
      const int m = p - k - 1;
      const double* const v = a + k * p + k + 1;
      const double along = tau * dot_of(v, own + k + 1, m);
      for (int i = lane; i < m; i += 32) own[k + 1 + i] -= along * v[i];
      __syncwarp();
    }
    double* const out = args.vectors + (item * kMostRank + r) * p;
    for (int i = lane; i < p; i += 32) out[i] = own[i];
  }
}

}  // namespace spectralkv::device_kv
