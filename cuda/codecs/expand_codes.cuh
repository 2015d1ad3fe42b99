// All rows of a stored block of codes with low-rank parts, by a block of threads: what rows have in common
// (levels, scales, the columns of the components) is looked up once and kept in shared memory.
#pragma once

#include "cuda/codecs/codes.cuh"
#include "cuda/codecs/trellis.cuh"

namespace spectralkv::device_kv {

// Shared memory, in floats: right columns [kMostRank, d], left ones times their shares [kMostRank, padded n],
// levels [256], scales of rows [padded n], and of each row which with a second stage it is [padded n].
SKV_HD inline int expand_codes_floats(int d, int n) {
  return kMostRank * (d + (n + 15) / 16 * 16) + 256 + 2 * ((n + 15) / 16 * 16);
}

struct ExpandCodes {
  const RowReader& reader;
  int d, padded;
  float *right, *left, *levels, *scales;
  int* second;

  __device__ ExpandCodes(const RowReader& r, float* shared)
      : reader(r),
        d(r.d),
        padded((r.n + 15) / 16 * 16),
        right(shared),
        left(right + kMostRank * d),
        levels(left + kMostRank * padded),
        scales(levels + 256),
        second(reinterpret_cast<int*>(scales + padded)) {}

  // All threads; the last thing is a barrier.
  __device__ void stage() const {
    const CodecView& codec = *reader.codec;
    const SkvFactors& factors = reader.factors;
    const int thread = static_cast<int>(threadIdx.x);
    const std::uint8_t* left_codes = reader.base + reader.left_at;
    const std::uint8_t* right_codes = reader.base + reader.right_at;
    const auto* const shares = reinterpret_cast<const std::uint16_t*>(reader.base + factors.shares_at);
    for (int r = 0; r < factors.rank; ++r) {
      const int width = skv_factor_width(factors, r);
      const FactorLevels of(codec, factors, r);
      const float share = device::f16_to_f32(shares[r]) * reader.unit;
      for (int i = thread; i < padded; i += kThreads)
        left[r * padded + i] = share * of.at(skv_packed_code(left_codes, padded, width, i));
      for (int i = thread; i < d; i += kThreads)
        right[r * d + i] = of.at(skv_packed_code(right_codes, d, width, i));
      left_codes += padded / 8 * width;
      right_codes += d / 8 * width;
    }
    for (int i = thread; i < reader.n; i += kThreads) {
      scales[i] = FactoredPolicy::scale_at(reader, i);
      second[i] = -1;
    }
    for (int i = thread; codec.levels != nullptr && i < 1 << codec.coded.bits; i += kThreads)
      levels[i] = codec.levels[i];
    __syncthreads();
    if (thread < factors.second_rows)
      second[SecondRow(reader.base + reader.second_at, factors.second_rows, thread, d).token] = thread;
    __syncthreads();
  }

  // The components and the second stage of a row into eight channels.
  __device__ void add(int row, int channel, float (&x)[8]) const {
    for (int r = 0; r < reader.factors.rank; ++r) {
      const float along = left[r * padded + row];
      const auto* const fours = reinterpret_cast<const float4*>(right + r * d + channel);
      const float4 a = fours[0], b = fours[1];
      x[0] = fmaf(along, a.x, x[0]), x[1] = fmaf(along, a.y, x[1]);
      x[2] = fmaf(along, a.z, x[2]), x[3] = fmaf(along, a.w, x[3]);
      x[4] = fmaf(along, b.x, x[4]), x[5] = fmaf(along, b.y, x[5]);
      x[6] = fmaf(along, b.z, x[6]), x[7] = fmaf(along, b.w, x[7]);
    }
    if (second[row] < 0) return;
    const SecondRow stage(reader.base + reader.second_at, reader.factors.second_rows, second[row], d);
    for (int i = 0; i < 8; ++i)
      x[i] += stage.scale * reader.unit *
              reader.codec->second_levels[skv_packed_code(stage.codes, d, kSkvSecondBits, channel + i)];
  }

  // Codes of eight channels of a row.
  __device__ void codes(int row, int channel, unsigned (&out)[8]) const {
    const SkvScalarFormat& format = reader.codec->coded;
    const std::uint8_t* const at = reader.base + reader.codes_at;
    if (format.order == kSkvTokenTiles && format.bits > 1) {
      const std::uint8_t* const tile = at + (row / 16 * (d / 4) + channel / 4) * skv_tile_bytes(format.bits);
      SKV_UNROLL
      for (int half = 0; half < 2; ++half) {
        const std::uint32_t four =
            row_of_tile(tile + half * skv_tile_bytes(format.bits), format.bits, row % 16);
        SKV_UNROLL
        for (int i = 0; i < 4; ++i) out[4 * half + i] = four >> 8 * i & 255u;
      }
      return;
    }
    if (format.order == kSkvChannelTiles && format.bits > 1) {
      const std::uint8_t* const tile =
          at + (channel / 16 * ((reader.n + 3) / 4) + row / 4) * skv_tile_bytes(format.bits);
      const int first = channel % 16, column = row % 4;  // 0 or 8
      const auto* const words = reinterpret_cast<const std::uint32_t*>(tile);
      const std::uint32_t third = format.bits == 3 ? words[4 + first / 8] : 0;
      SKV_UNROLL
      for (int i = 0; i < 8; ++i) {
        if (format.bits == 4)
          out[i] = words[i] >> (8 * column + first / 2) & 15u;
        else
          out[i] = (words[i % 4] >> (8 * column + (first + i) / 4 * 2) & 3u) |
                   (third >> (4 * i + column) & 1u) << 2;
      }
      return;
    }
    const auto n = static_cast<std::size_t>(reader.n), t = static_cast<std::size_t>(row);
    std::uint64_t all = 0;
    SKV_UNROLL_NOT
    for (int i = 0; i < 8; ++i)
      all |=
          static_cast<std::uint64_t>(skv_scalar_code(format, at, n, t, static_cast<std::size_t>(channel + i)))
          << 8 * i;
    SKV_UNROLL
    for (int i = 0; i < 8; ++i) out[i] = static_cast<unsigned>(all >> 8 * i) & 255u;
  }

 private:
  // Row i of a tile, a byte a column.
  __device__ static std::uint32_t row_of_tile(const std::uint8_t* tile, int bits, int i) {
    const auto* const words = reinterpret_cast<const std::uint32_t*>(tile);
    if (bits == 4) return words[i % 8] >> i / 8 * 4 & 0x0f0f0f0fu;
    const std::uint32_t low = words[i % 4] >> i / 4 * 2 & 0x03030303u;
    if (bits == 2) return low;
    const std::uint32_t third = tile[16 + i / 2] >> i % 2 * 4;
    return low | (third & 1u) << 2 | (third & 2u) << 9 | (third & 4u) << 16 | (third & 8u) << 23;
  }
};

// How a policy's stored blocks become rows: store(row, channel, x) with eight channels each. All threads of a
// block; shared: [expand_codes_floats].
template <class Policy>
struct Expansion {
  template <class Store>
  __device__ static void run(const RowReader& reader, float*, const Store& store) {
    const int eights = reader.d / 8;
    for (int i = static_cast<int>(threadIdx.x); i < reader.n * eights; i += kThreads) {
      float x[8];
      Policy::load8(reader, i / eights, i % eights * 8, x);
      store(i / eights, i % eights * 8, x);
    }
  }
};
// Codes and a low-rank part: residual(block, row, channel, x) gives eight channels of the former.
template <class Store, class Residual>
__device__ void expand_coded(const RowReader& reader, float* shared, const Store& store,
                             const Residual& residual) {
  const ExpandCodes block(reader, shared);
  block.stage();
  const int eights = reader.d / 8;
  for (int i = static_cast<int>(threadIdx.x); i < reader.n * eights; i += kThreads) {
    const int row = i / eights, channel = i % eights * 8;
    float x[8];
    residual(block, row, channel, x);
    block.add(row, channel, x);
    store(row, channel, x);
  }
}
template <>
struct Expansion<CodesPolicy> {
  template <class Store>
  __device__ static void run(const RowReader& reader, float* shared, const Store& store) {
    expand_coded(reader, shared, store, [](const ExpandCodes& block, int row, int channel, float(&x)[8]) {
      unsigned codes[8];
      block.codes(row, channel, codes);
      const float scale = block.scales[row];
      SKV_UNROLL
      for (int j = 0; j < 8; ++j) x[j] = scale * block.levels[codes[j]];
    });
  }
};
template <>
struct Expansion<TrellisPolicy> {
  template <class Store>
  __device__ static void run(const RowReader& reader, float* shared, const Store& store) {
    expand_coded(reader, shared, store, [&](const ExpandCodes& block, int row, int channel, float(&x)[8]) {
      TrellisPolicy::residual8(reader, row, channel, block.scales[row], x);
    });
  }
};

}  // namespace spectralkv::device_kv
