// A quantised weight matrix times the activations of some tokens in 8 bits, on the tensor cores and straight
// from its planes: nothing is expanded in memory.
//
// A block of threads takes a tile of rows and tokens (MmaTile). Pieces of kStepGroups groups of 32 values
// come into shared memory by copies that run beside the arithmetic. A group is one product of whole numbers
// (two of half its depth where scales are for 16 values), whose sums are then scaled into f32: the weights'
// scale by row, the activations' by token.
#pragma once

#include "cuda/ops/activations.cuh"
#include "cuda/weights/dequantise.cuh"

namespace spectralkv::cuda {

inline constexpr int kStepGroups = 4, kMmaStages = 2;

// A block's tile, and of it a warp's: so many times 16 rows and 8 tokens.
template <int rows, int tokens, int row_tiles, int token_tiles>
struct MmaTile {
  static constexpr int kRows = rows, kTokens = tokens, kRowTiles = row_tiles, kTokenTiles = token_tiles;
  static constexpr int kAcross = tokens / 8 / token_tiles;  // warps side by side over the tokens
  static constexpr int kThreads = 32 * kAcross * (rows / 16 / row_tiles);
  static constexpr int kBlocks = 512 / kThreads;  // for a multiprocessor, at least
  static_assert(kThreads >= rows + tokens);       // each brings a row's pieces or a token's
};
// The large one brings each number less often; the small one makes more blocks.
using LargeTile = MmaTile<128, 128, 2, 8>;
using SmallTile = MmaTile<64, 32, 1, 4>;

// Sums of products start as this float's bits: then they are floats beyond it, whole numbers up to 2^22, and
// need no conversion.
inline constexpr std::uint32_t kWholeBits = 0x4b400000u;
inline constexpr float kWhole = 12582912.0f;

struct MmaJob {
  Planes w;
  const float* bias;  // or null
  QuantRows x;        // [n, w.cols]
  std::int64_t n;
  float* y;  // [n, w.rows], rows y_stride apart
  std::int64_t y_stride;
};

// Where a group's pieces lie in shared memory, in bytes: codes of a row 16 bytes at a time, so that the eight
// rows that a warp reads together are in different banks.
template <class F, class Tile>
struct MmaGroup {
  static constexpr int kTileRows = Tile::kRows, kTileTokens = Tile::kTokens;
  static constexpr int kMain = 4 * F::kMainWords, kPiece = kMain < 16 ? kMain : 16, kPieces = kMain / kPiece;
  static constexpr int kHigh = 4 * F::kHighWords, kCoarse = 2 * F::kCoarse;
  static constexpr int kHighAt = kTileRows * kMain, kCoarseAt = kHighAt + kTileRows * kHigh,
                       kFineAt = kCoarseAt + kTileRows * 4, kCodesAt = kFineAt + kTileRows * 4,
                       kScalesAt = kCodesAt + kTileTokens * 32, kBytes = kScalesAt + kTileTokens * 8;
  static constexpr int kStage = kStepGroups * kBytes;

  // The first threads bring a row each, the others a token. Scales of less than 4 bytes come with their
  // neighbours.
  __device__ __forceinline__ static void fetch(std::uint8_t* to, const MmaJob& job, std::int64_t first_row,
                                               std::int64_t first_token, int group) {
    const int thread = static_cast<int>(threadIdx.x);
    if (thread < kTileRows) {
      const int i = thread;
      const Planes& w = job.w;
      const std::int64_t row = first_row + i < w.rows ? first_row + i : w.rows - 1,
                         chunk = row * (w.cols / 32) + group, super = chunk / (F::kSuper / 32);
#pragma unroll
      for (int p = 0; p < kPieces; ++p)
        device::copy_async<kPiece>(to + (p * kTileRows + i) * kPiece,
                                   w.main + chunk * F::kMainWords + p * kPiece / 4);
      if constexpr (kHigh > 0)
        device::copy_async<kHigh>(to + kHighAt + i * kHigh, w.high + chunk * F::kHighWords);
      device::copy_async<4>(to + kCoarseAt + i * 4,
                            reinterpret_cast<const std::uint32_t*>(w.coarse) + super * kCoarse / 4);
      if constexpr (F::kFineBytes > 0)
        device::copy_async<4>(to + kFineAt + i * 4,
                              reinterpret_cast<const std::uint32_t*>(w.fine) + chunk * F::kFineBytes / 4);
    } else if (thread < kTileRows + kTileTokens) {
      const int i = thread - kTileRows;
      const std::int64_t token = first_token + i < job.n ? first_token + i : job.n - 1;
      const std::int8_t* const codes = job.x.codes + token * job.w.cols + group * 32;
#pragma unroll
      for (int half = 0; half < 2; ++half)
        device::copy_async<16>(to + kCodesAt + (half * kTileTokens + i) * 16, codes + 16 * half);
      device::copy_async<8>(to + kScalesAt + i * 8, job.x.scales + token * (job.w.cols / 32) + group);
    }
  }

  // Quad `quad` of row i; its scales, of group `chunk` of the matrix (the lowest bits of it count).
  __device__ __forceinline__ static std::uint32_t quad(const std::uint8_t* from, int i, int quad) {
    const auto* const high = reinterpret_cast<const std::uint32_t*>(from + kHighAt + i * kHigh);
    if constexpr (F::kMain == 8)
      return reinterpret_cast<const std::uint32_t*>(from + (quad / 4 * kTileRows + i) * 16)[quad % 4];
    return quad_codes<F>(reinterpret_cast<const std::uint32_t*>(from + i * kMain), high, quad);
  }
  __device__ __forceinline__ static RawScales scales(const std::uint8_t* from, int i, unsigned chunk) {
    RawScales raw{reinterpret_cast<const std::uint32_t*>(from + kCoarseAt)[i], 0};
    if constexpr (kCoarse == 2) raw.coarse >>= 16 * (chunk / (F::kSuper / 32) & 1);
    if constexpr (F::kFineBytes > 0)
      raw.fine = reinterpret_cast<const std::uint32_t*>(from + kFineAt)[i] >> 8 * (chunk * F::kFineBytes & 3);
    return raw;
  }
};

// Grid: tiles of rows, of tokens. Shared: kMmaStages of MmaGroup's kStage.
template <class F, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    mma_product(const SKV_GRID_CONSTANT MmaJob job) {
  using Group = MmaGroup<F, Tile>;
  constexpr int kHalves = F::kGroup == 16 ? 2 : 1, kRowTiles = Tile::kRowTiles,
                kTokenTiles = Tile::kTokenTiles;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int g = lane / 4, t = lane % 4;
  const int first_row = static_cast<int>(blockIdx.x) * Tile::kRows,
            first_token = static_cast<int>(blockIdx.y) * Tile::kTokens,
            groups = static_cast<int>(job.w.cols / 32);
  const int row = warp / Tile::kAcross * 16 * kRowTiles + g,  // of the tile
      token = warp % Tile::kAcross * 8 * kTokenTiles;
  std::uint8_t* const stages = device::dynamic_shared<std::uint8_t>();
  const auto stage_of = [&](int first) { return stages + first / kStepGroups % kMmaStages * Group::kStage; };
  const auto fetch = [&](int first) {  // places anew each time: what they are is not kept in registers
    const int of_rows = device::not_before(first_row), of_tokens = device::not_before(first_token);
    SKV_UNROLL_NOT
    for (int j = 0; j < kStepGroups && first + j < groups; ++j)
      Group::fetch(stage_of(first) + j * Group::kBytes, job, of_rows, of_tokens, first + j);
    device::commit_copies();
  };
  float sums[kRowTiles][kTokenTiles][4] = {};
  fetch(0);
  for (int first = 0; first < groups; first += kStepGroups) {
    fetch(first + kStepGroups);
    device::wait_for_copies<kMmaStages - 1>();
    __syncthreads();
    for (int j = 0; j < kStepGroups && first + j < groups; ++j) {
      const std::uint8_t* const from = stage_of(first) + j * Group::kBytes;
      std::uint32_t a[kRowTiles][4];
      Affine affine[kRowTiles][2][kHalves];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
        for (int eight = 0; eight < 2; ++eight) {
          const int i = row + 16 * m + 8 * eight;
          a[m][eight] = Group::quad(from, i, t);
          a[m][2 + eight] = Group::quad(from, i, t + 4);
          const RawScales raw =
              Group::scales(from, i,
                            static_cast<unsigned>(first_row + i) * static_cast<unsigned>(groups) +
                                static_cast<unsigned>(first + j));
#pragma unroll
          for (int half = 0; half < kHalves; ++half) affine[m][eight][half] = group_affine<F>(raw, half);
        }
#pragma unroll
      for (int tile = 0; tile < kTokenTiles; ++tile) {
        // Not all tiles' numbers at a time: there are no registers for them.
        const int column = device::not_before(token) + 8 * tile;
        std::uint32_t b[2];
#pragma unroll
        for (int half = 0; half < 2; ++half)
          b[half] = reinterpret_cast<const std::uint32_t*>(from + Group::kCodesAt +
                                                           (half * Tile::kTokens + column + g) * 16)[t];
        const auto* const scales =
            reinterpret_cast<const GroupScale*>(from + Group::kScalesAt) + column + 2 * t;
        const GroupScale of[2] = {scales[0], scales[1]};
#pragma unroll
        for (int half = 0; half < kHalves; ++half) {
          int start[2];
          float minimums[2] = {};
#pragma unroll
          for (int c = 0; c < 2; ++c) {
            const int low = static_cast<std::int16_t>(of[c].sums & 0xffffu),
                      high = static_cast<std::int16_t>(of[c].sums >> 16);
            const int sum = kHalves == 1 ? low + high : half == 0 ? low : high;
            start[c] = static_cast<int>(kWholeBits) - (F::kMinimum ? 0 : F::kOffset * sum);
            if constexpr (F::kMinimum) minimums[c] = of[c].scale * static_cast<float>(sum);
          }
#pragma unroll
          for (int m = 0; m < kRowTiles; ++m) {
            int product[4] = {start[0], start[1], start[0], start[1]};
            if constexpr (kHalves == 1)
              device::mma_s8(product, a[m], b);
            else
              device::mma_s8_half(product, {a[m][2 * half], a[m][2 * half + 1]}, b[half]);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const Affine& of_row = affine[m][i / 2][half];
              float& sum = sums[m][tile][i];
              sum += of_row.scale * of[i % 2].scale * (__int_as_float(product[i]) - kWhole);
              if constexpr (F::kMinimum) sum -= of_row.minimum * minimums[i % 2];
            }
          }
        }
      }
    }
    __syncthreads();
  }
  device::wait_for_copies<0>();
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
    for (int tile = 0; tile < kTokenTiles; ++tile)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int r = first_row + row + 16 * m + 8 * (i / 2),
                  at = first_token + token + 8 * tile + 2 * t + i % 2;
        if (r < job.w.rows && at < job.n)
          job.y[at * job.y_stride + r] = sums[m][tile][i] + (job.bias != nullptr ? job.bias[r] : 0.0f);
      }
}

}  // namespace spectralkv::cuda
