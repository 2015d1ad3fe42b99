// Each round leaves k of every 2048.
#include "cuda/backend/best.h"

#include <utility>
#include <vector>

#include "cuda/ops/best.cuh"

namespace spectralkv::cuda {

bool Best::find(const float* values, std::int64_t n, std::span<std::pair<float, std::int32_t>> out,
                device::Stream stream) {
  const auto k = static_cast<std::int64_t>(out.size());
  if (k < 1 || k > kMostBest || k > n) return false;
  const auto stretches = [](std::int64_t count) { return (count + kBestStretch - 1) / kBestStretch; };
  const std::size_t shared = kBestStretch * sizeof(std::uint64_t);
  keys_[0].reserve(static_cast<std::size_t>(stretches(n) * k));
  keys_[1].reserve(static_cast<std::size_t>(stretches(stretches(n) * k) * k));
  not_finite_.reserve(1);
  device::fill_bytes(not_finite_.data(), 0, sizeof(std::uint32_t), stream);

  const auto launch = [&](auto kernel, const float* from, const std::uint64_t* keys, std::int64_t count,
                          std::uint64_t* to) {
    device::launch(kernel, dim3(static_cast<unsigned>(stretches(count))), dim3(kBestThreads), shared, stream,
                   from, keys, count, static_cast<int>(k), to, not_finite_.data());
    return stretches(count) * k;
  };
  std::int64_t left = launch(best_kernel<true>, values, nullptr, n, keys_[0].data());
  std::size_t at = 0;
  for (; left > k; at = 1 - at)
    left = launch(best_kernel<false>, nullptr, keys_[at].data(), left, keys_[1 - at].data());

  std::vector<std::uint64_t> keys(static_cast<std::size_t>(k));
  std::uint32_t not_finite = 0;
  keys_[at].read(keys, stream);
  not_finite_.read({&not_finite, 1}, stream);
  device::synchronize(stream);
  if (not_finite != 0) return false;
  for (std::size_t i = 0; i < keys.size(); ++i) out[i] = {key_value(keys[i]), key_place(keys[i])};
  return true;
}

}  // namespace spectralkv::cuda
