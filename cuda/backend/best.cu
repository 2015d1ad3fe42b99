// Each round leaves k of every 2048.
#include "cuda/backend/best.h"

#include <utility>

#include "cuda/ops/best.cuh"

namespace spectralkv::cuda {

bool Best::find(const float* values, std::int64_t n, std::span<std::pair<float, std::int32_t>> out,
                device::Stream stream) {
  const auto k = static_cast<std::int64_t>(out.size());
  if (k < 1 || k > kMostBest || k > n) return false;
  const auto stretches = [](std::int64_t count) { return (count + kBestStretch - 1) / kBestStretch; };
  const std::size_t shared = kBestStretch * sizeof(std::uint64_t), size = out.size();
  keys_[0].reserve(static_cast<std::size_t>(stretches(n) * k));
  keys_[1].reserve(static_cast<std::size_t>(stretches(stretches(n) * k) * k));
  result_.reserve(kMostBest + 1);
  auto* const not_finite = reinterpret_cast<std::uint32_t*>(result_.data() + size);
  device::fill_bytes(not_finite, 0, sizeof(std::uint64_t), stream);

  // Into the result once one stretch is left, else into the other keys.
  const auto launch = [&](auto kernel, const float* from, const std::uint64_t* keys, std::int64_t count,
                          std::uint64_t* to) {
    const std::int64_t blocks = stretches(count);
    device::launch(kernel, dim3(static_cast<unsigned>(blocks)), dim3(kBestThreads), shared, stream, from,
                   keys, count, static_cast<int>(k), blocks == 1 ? result_.data() : to, not_finite);
    return blocks * k;
  };
  std::int64_t left = launch(best_kernel<true>, values, nullptr, n, keys_[0].data());
  for (std::size_t at = 0; left > k; at = 1 - at)
    left = launch(best_kernel<false>, nullptr, keys_[at].data(), left, keys_[1 - at].data());

  result_.read(seen_.first(size + 1), stream);
  device::synchronize(stream);
  if (seen_[size] != 0) return false;
  for (std::size_t i = 0; i < size; ++i) out[i] = {key_value(seen_[i]), key_place(seen_[i])};
  return true;
}

}  // namespace spectralkv::cuda
