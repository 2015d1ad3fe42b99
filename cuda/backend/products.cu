// Chooses the way of each product.
#include "cuda/backend/products.h"

#include <algorithm>
#include <utility>

#include "cuda/ops/elementwise.cuh"
#include "cuda/weights/dequantise.cuh"
#include "cuda/weights/gemv.cuh"

namespace spectralkv::cuda {
namespace {

// Up to so many tokens weights are not expanded: that moves some 4.6 bytes for a weight of 4 bits, where
// reading it is 0.6. By an estimate of what both products reach, not by a measurement.
constexpr std::int64_t kMmaTokens = 256;
constexpr std::size_t kTileBytes = std::size_t{128} << 20;

bool same(ConstMatrix a, ConstMatrix b) {
  return a.data == b.data && a.rows == b.rows && a.cols == b.cols && a.stride == b.stride;
}
bool in_fours(ConstMatrix x) {
  return x.cols % 4 == 0 && x.stride % 4 == 0 && reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0;
}

}  // namespace

void Products::run(std::span<const MatmulJob> jobs) {
  for (std::size_t i = 0; i < jobs.size();) {
    settle();
    const MatmulJob& first = jobs[i];
    const DeviceWeight& w = device_weight(*first.w);
    if (first.x.rows > kFewTokens || (exact_ && w.quantised())) {
      many(first);
      ++i;
      continue;
    }
    Waiting group;
    static_assert(std::tuple_size_v<decltype(group.jobs)> == kGemvJobs);
    for (; i < jobs.size() && group.n < group.jobs.size(); ++i, ++group.n) {
      const MatmulJob& job = jobs[i];
      if (job.x.data != first.x.data || device_weight(*job.w).type() != w.type()) break;
      group.jobs[group.n] = {&device_weight(*job.w), job.bias, job.y};
    }
    group.x = first.x;
    if (w.quantised()) group.quantised = activations_.quantised(first.x);
    waiting_ = group;
  }
  for (const MatmulJob& job : jobs) activations_.written(job.y);
}

void Products::launch(const GemvTail& tail) {
  const Waiting group = std::exchange(waiting_, {});
  if (group.n > 0) gemv(std::span(group.jobs).first(group.n), group.x, group.quantised, tail, stream_);
}

bool Products::can_norm(ConstMatrix x, ConstMatrix y, ConstMatrix out) const {
  // One block after all others: of several rows, whose norms have a block each, the launch is worth more.
  return waiting_.n > 0 && y.rows == 1 && same(waiting_.jobs[waiting_.n - 1].y, y) && in_fours(x) &&
         in_fours(y) && in_fours(out);
}
void Products::settle_with_norm(NormArgs args) {
  launch({args, arrived_.data(), false, {}});
}

bool Products::can_pair(ConstMatrix gate, ConstMatrix up) const {
  return waiting_.n == 2 && same(waiting_.jobs[0].y, gate) && same(waiting_.jobs[1].y, up) &&
         gate.cols == up.cols && gate.cols % 32 == 0;
}
void Products::settle_with_pairs(const QuantRows& rounded) {
  launch({{}, nullptr, true, rounded});
}

bool Products::kernels_alone(std::int64_t n, bool quantised, bool dense) const {
  if (exact_ && quantised) return false;
  return n <= kFewTokens || (n <= kMmaTokens && !dense);
}

void Products::many(const MatmulJob& job) {
  const DeviceWeight& w = device_weight(*job.w);
  if (!exact_ && w.quantised() && job.x.rows <= kMmaTokens)
    return mma({&w, job.bias, job.y}, job.x.rows, activations_.quantised(job.x), stream_);
  if (exact_ || w.type() == DType::f32) {
    by_tiles(job, GemmType::f32, job.x.data, job.x.stride, exact_tile_);
  } else {
    const bool bf16 = w.type() == DType::bf16;
    by_tiles(job, bf16 ? GemmType::bf16 : GemmType::f16,
             activations_.narrow(job.x, bf16 ? Narrow::bf16 : Narrow::f16), job.x.cols, tile_);
  }
  if (job.bias == nullptr) return;
  constexpr unsigned kThreads = 256;
  const auto blocks = static_cast<unsigned>((job.y.rows * job.y.cols + kThreads - 1) / kThreads);
  device::launch(add_bias_kernel<0>, dim3(blocks), dim3(kThreads), 0, stream_, job.y.data, job.y.rows,
                 job.y.cols, job.y.stride, job.bias);
}

template <class Value>
void Products::by_tiles(const MatmulJob& job, GemmType type, const Value* x, std::int64_t x_stride,
                        device::DeviceBuffer<Value>& tile) {
  const DeviceWeight& w = device_weight(*job.w);
  const Planes& planes = w.planes();
  const std::int64_t n = job.x.rows, cols = planes.cols;
  const bool as_it_is = type == GemmType::f32   ? w.type() == DType::f32
                        : type == GemmType::f16 ? w.type() == DType::f16
                                                : true;  // bf16 comes from bf16 alone
  if (as_it_is) {
    gemm_.run(type, planes.rows, n, cols, planes.main, planes.stride, x, x_stride, job.y.data, job.y.stride);
    return;
  }
  const auto row_bytes = static_cast<std::size_t>(cols) * sizeof(Value);
  const std::int64_t most =
      std::clamp<std::int64_t>(static_cast<std::int64_t>(kTileBytes / row_bytes), 1, planes.rows);
  tile.reserve(static_cast<std::size_t>(most * cols));
  for (std::int64_t first = 0; first < planes.rows; first += most) {
    const std::int64_t count = std::min(most, planes.rows - first);
    w.rows(RowChoice{first, count, nullptr}, tile.data(), cols, stream_);
    gemm_.run(type, count, n, cols, tile.data(), cols, x, x_stride, job.y.data + first, job.y.stride);
  }
}

}  // namespace spectralkv::cuda
