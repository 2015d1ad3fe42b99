// A weight matrix in device memory, and the products with it.
#pragma once

#include <span>

#include "backend/route.h"
#include "cuda/device/memory.h"
#include "cuda/linalg/gemm.h"
#include "cuda/ops/activations.cuh"
#include "cuda/weights/gemv_tail.h"
#include "cuda/weights/planes.h"
#include "tensor/matrix.h"

namespace spectralkv::cuda {

struct RowChoice;

class DeviceWeight final : public UploadedWeight {
 public:
  // Copies w from the host and takes its blocks apart (planes.h). staging: memory for a piece of the file,
  // grown as needed.
  DeviceWeight(const WeightView& w, device::DeviceBuffer<std::uint8_t>& staging, device::Stream stream);

  DType type() const { return type_; }
  const Planes& planes() const { return planes_; }
  bool quantised() const;
  std::int64_t bytes() const { return static_cast<std::int64_t>(memory_.bytes()); }

  // Rows as f32 or f16, out [rows.n, stride].
  void rows(const RowChoice& rows, float* out, std::int64_t stride, device::Stream stream) const;
  void rows(const RowChoice& rows, std::uint16_t* out, std::int64_t stride, device::Stream stream) const;

 private:
  DType type_;
  Planes planes_;
  device::DeviceBuffer<std::uint8_t> memory_;
};

// That of w, which this backend uploaded.
inline const DeviceWeight& device_weight(const WeightView& w) {
  return static_cast<const DeviceWeight&>(*w.uploaded);
}

// y[t][r] = sum_c w[r][c] x[t][c] + bias[r], as MatmulJob has it, for a few tokens.
struct DeviceJob {
  const DeviceWeight* w;
  const float* bias;  // or null
  Matrix y;
};

// At most three jobs of one weight type in one launch. x [n, cols]: `quantised` of it for quantised weights.
void gemv(std::span<const DeviceJob> jobs, ConstMatrix x, const QuantRows& quantised, const GemvTail& tail,
          device::Stream stream);

// The same of one job for many tokens, of quantised weights (mma_product.cuh).
void mma(const DeviceJob& job, std::int64_t n, const QuantRows& quantised, device::Stream stream);

// y[s][r] = sum_c w[e][r][c] x[s / share][c] for each row s of y, e = routes[s].expert, with f32 activations.
// All of [y.cols, x.cols], on the device; routes [y.rows]; x and y without gaps.
void expert_gemv(std::span<const WeightView> experts, const Route* routes, ConstMatrix x, std::int64_t share,
                 Matrix y, device::Stream stream);

}  // namespace spectralkv::cuda
