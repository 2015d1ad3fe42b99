// A file's quantised blocks taken apart into planes, on the device.
#pragma once

#include "cuda/weights/planes.h"

namespace spectralkv::cuda {

// One thread a block. raw: n blocks of the file, the first of them block `first` of the matrix.
template <class Block>
__global__ void repack_kernel(const std::uint8_t* raw, std::int64_t n, std::int64_t first, Planes to) {
  using F = FormOf<Block>;
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const Block& block = reinterpret_cast<const Block*>(raw)[i];
  std::uint8_t codes[F::kSuper], fine[32];
  std::uint16_t coarse[2];
  skv_codes(block, codes);
  skv_scales(block, coarse, fine);
  const std::int64_t at = first + i;
  for (int c = 0; c < F::kCoarse; ++c) to.coarse[at * F::kCoarse + c] = coarse[c];
  for (int part = 0; part < F::kSuper / 32; ++part) {
    const std::int64_t chunk = at * (F::kSuper / 32) + part;
    std::uint32_t main[8] = {}, high[2] = {};
    for (int q = 0; q < 8; ++q) {
      const std::uint8_t* four = codes + 32 * part + 4 * q;
      const std::uint32_t packed = four[0] | static_cast<std::uint32_t>(four[1]) << 8 |
                                   static_cast<std::uint32_t>(four[2]) << 16 |
                                   static_cast<std::uint32_t>(four[3]) << 24;
      put_quad<F>(packed, q, main, high);
    }
    for (int w = 0; w < F::kMainWords; ++w) to.main[chunk * F::kMainWords + w] = main[w];
    for (int w = 0; w < F::kHighWords; ++w) to.high[chunk * F::kHighWords + w] = high[w];
    for (int b = 0; b < F::kFineBytes; ++b)
      to.fine[chunk * F::kFineBytes + b] = fine[part * F::kFineBytes + b];
  }
}

}  // namespace spectralkv::cuda
