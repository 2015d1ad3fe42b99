// Keeps what was made of which memory.
#include "cuda/backend/activations.h"

#include <algorithm>

#include "cuda/device/device.h"

namespace spectralkv::cuda {
namespace {

constexpr unsigned kThreads = 256;

dim3 blocks_for(std::int64_t threads) {
  return dim3(static_cast<unsigned>((threads + kThreads - 1) / kThreads));
}

// That memory is held for.
std::size_t values_for(std::int64_t rows, std::int64_t cols) {
  return static_cast<std::size_t>(std::max(rows, kFewTokens) * cols);
}

}  // namespace

QuantRows Activations::room(std::int64_t rows, std::int64_t cols) {
  const std::size_t values = values_for(rows, cols);
  for (Rounded& of : rounded_) {  // both, whichever a record begins with
    of.codes.reserve(values);
    of.scales.reserve(values / 32);
  }
  turn_ ^= 1;
  return held();
}

bool Activations::has_room(std::int64_t n, std::int64_t cols) const {
  const std::size_t values = values_for(n, cols);
  return std::ranges::all_of(rounded_, [&](const Rounded& of) {
    return of.codes.size() >= values && of.scales.size() >= values / 32;
  });
}

QuantRows Activations::will_quantise(const float* x, std::int64_t n, std::int64_t cols) {
  const QuantRows to = room(n, cols);
  quantised_of_ = {x, n, cols, cols};
  return to;
}

QuantRows Activations::quantised(ConstMatrix x) {
  if (quantised_of_.holds(x)) return held();
  const QuantRows to = room(x.rows, x.cols);
  device::launch_early(quantise_kernel<0>, blocks_for(x.rows * x.cols), dim3(kThreads), 0, stream_, x.data,
                       x.rows, x.cols, x.stride, to);
  quantised_of_ = {x.data, x.rows, x.cols, x.stride};
  return to;
}

const std::uint16_t* Activations::narrow(ConstMatrix x, Narrow kind) {
  if (narrow_of_.holds(x) && narrow_kind_ == kind) return narrow_.data();
  narrow_.reserve(static_cast<std::size_t>(x.rows * x.cols));
  const bool f16 = kind == Narrow::f16;
  const bool wide =
      x.cols % 8 == 0 && x.stride % 4 == 0 && reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0;
  const auto wide_kernel = f16 ? narrow_kernel<Narrow::f16, true> : narrow_kernel<Narrow::bf16, true>;
  const auto any_kernel = f16 ? narrow_kernel<Narrow::f16, false> : narrow_kernel<Narrow::bf16, false>;
  device::launch(wide ? wide_kernel : any_kernel, blocks_for((x.rows * x.cols + 7) / 8), dim3(kThreads), 0,
                 stream_, x.data, x.rows, x.cols, x.stride, narrow_.data());
  narrow_of_ = {x.data, x.rows, x.cols, x.stride};
  narrow_kind_ = kind;
  return narrow_.data();
}

void Activations::written(ConstMatrix x) {
  if (quantised_of_.overlaps(x)) quantised_of_ = {};
  if (narrow_of_.overlaps(x)) narrow_of_ = {};
}

void Activations::forget() {
  quantised_of_ = narrow_of_ = {};
}

}  // namespace spectralkv::cuda
