// A file's quantised blocks taken apart into planes, on the device. Codes come from formats/affine.h; how a
// block holds its scales is read here, because affine.h gives them multiplied.
#pragma once

#include "cuda/weights/planes.h"
#include "formats/affine.h"

namespace spectralkv::cuda {

// What the kernel needs of a type: its form, its block, affine.h's function, and its scales as they lie in
// the planes. fine: [kFineBytes] for each 32 values of the block.
template <class B, class F, void (*unpack)(const void*, std::int64_t, std::uint8_t*, float*, float*)>
struct SimpleFile {  // one factor (and minimum) for 32 values
  using Block = B;
  using Planes = F;
  static constexpr auto kUnpack = unpack;
  static constexpr int kValues = 32;
  __device__ static void scales(const B& block, std::uint16_t* coarse, std::uint8_t*) {
    coarse[0] = block.d;
    if constexpr (F::kMinimum) coarse[1] = block.m;
  }
};

using FileQ4_0 = SimpleFile<skv_block_q4_0, FormQ4_0, skv_affine_q4_0>;
using FileQ4_1 = SimpleFile<skv_block_q4_1, FormQ4_1, skv_affine_q4_1>;
using FileQ5_0 = SimpleFile<skv_block_q5_0, FormQ5_0, skv_affine_q5_0>;
using FileQ5_1 = SimpleFile<skv_block_q5_1, FormQ5_1, skv_affine_q5_1>;
using FileQ8_0 = SimpleFile<skv_block_q8_0, FormQ8_0, skv_affine_q8_0>;

template <class B, class F, void (*unpack)(const void*, std::int64_t, std::uint8_t*, float*, float*)>
struct ScaledFile {  // q4_k and q5_k: 6-bit scales and minimums of 32 values
  using Block = B;
  using Planes = F;
  static constexpr auto kUnpack = unpack;
  static constexpr int kValues = 256;
  __device__ static void scales(const B& block, std::uint16_t* coarse, std::uint8_t* fine) {
    coarse[0] = block.d;
    coarse[1] = block.dmin;
    std::uint8_t scale[8], minimum[8];
    skv_unpack_k_scales(block.scales, scale, minimum);
    for (int g = 0; g < 8; ++g) {
      fine[2 * g] = scale[g];
      fine[2 * g + 1] = minimum[g];
    }
  }
};

using FileQ4_K = ScaledFile<skv_block_q4_k, FormQ4_K, skv_affine_q4_k>;
using FileQ5_K = ScaledFile<skv_block_q5_k, FormQ5_K, skv_affine_q5_k>;

struct FileQ2_K {
  using Block = skv_block_q2_k;
  using Planes = FormQ2_K;
  static constexpr auto kUnpack = skv_affine_q2_k;
  static constexpr int kValues = 256;
  __device__ static void scales(const Block& block, std::uint16_t* coarse, std::uint8_t* fine) {
    coarse[0] = block.d;
    coarse[1] = block.dmin;
    for (int g = 0; g < 16; ++g) {
      fine[2 * g] = block.scales[g] & 15;
      fine[2 * g + 1] = block.scales[g] >> 4;
    }
  }
};

struct FileQ3_K {
  using Block = skv_block_q3_k;
  using Planes = FormQ3_K;
  static constexpr auto kUnpack = skv_affine_q3_k;
  static constexpr int kValues = 256;
  __device__ static void scales(const Block& block, std::uint16_t* coarse, std::uint8_t* fine) {
    coarse[0] = block.d;
    std::int8_t scale[16];
    skv_unpack_q3_k_scales(block.scales, scale);
    for (int g = 0; g < 16; ++g) fine[g] = static_cast<std::uint8_t>(scale[g]);
  }
};

struct FileQ6_K {
  using Block = skv_block_q6_k;
  using Planes = FormQ6_K;
  static constexpr auto kUnpack = skv_affine_q6_k;
  static constexpr int kValues = 256;
  __device__ static void scales(const Block& block, std::uint16_t* coarse, std::uint8_t* fine) {
    coarse[0] = block.d;
    for (int g = 0; g < 16; ++g) fine[g] = static_cast<std::uint8_t>(block.scales[g]);
  }
};

// One thread a block. raw: n blocks of the file, the first of them block `first` of the matrix.
template <class File>
__global__ void repack_kernel(const std::uint8_t* raw, std::int64_t n, std::int64_t first, Planes to) {
  using F = typename File::Planes;
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const auto& block = reinterpret_cast<const typename File::Block*>(raw)[i];
  std::uint8_t codes[File::kValues], fine[32];
  float scale[16], minimum[16];
  std::uint16_t coarse[2];
  File::kUnpack(&block, File::kValues, codes, scale, minimum);
  File::scales(block, coarse, fine);
  const std::int64_t at = first + i;
  for (int c = 0; c < F::kCoarse; ++c) to.coarse[at * F::kCoarse + c] = coarse[c];
  for (int part = 0; part < File::kValues / 32; ++part) {
    const std::int64_t chunk = at * (File::kValues / 32) + part;
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
