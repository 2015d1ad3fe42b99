// Trellis codes in tiles (formats/trellis.h) as a warp reads them (tiles.cuh): a lane's two tiles become
// tiles of 4-bit indices by the path bits of the six tiles before, which the three lanes before have.
#pragma once

#include "cuda/kv/tiles.cuh"

namespace spectralkv::device_kv {

// The path bits of two tiles as one: of the first at even bits, of the second at odd ones.
struct PathBits {
  static constexpr std::uint32_t kFirst = 0x55555555u;
  std::uint32_t words[4];
  __device__ __forceinline__ void take(const Tile<2> (&two)[2]) {
    SKV_UNROLL
    for (int w = 0; w < 4; ++w) words[w] = (two[0].words[w] & kFirst) | (two[1].words[w] & kFirst) << 1;
  }
};

// Reads a row of tiles eight at a time, from a multiple of eight on. All lanes of a warp.
class TrellisTiles {
 public:
  // tiles: of this lane's sixteen, `groups` in all; nothing is read unless `there`.
  __device__ __forceinline__ TrellisTiles(const std::uint8_t* tiles, int groups, int first, bool there)
      : lane_(device::not_before(static_cast<int>(threadIdx.x) % 32)) {
    Tile<2> two[2];
    SKV_UNROLL
    for (int i = 0; i < 2; ++i) {
      int at = first - 8 + 2 * (lane_ % 4) + i, turns = 0;
      for (; there && at < 0; at += groups) ++turns;  // before the first columns stand the columns one before
      two[i].load(tiles + 16 * at, there);
      SKV_UNROLL
      for (std::uint32_t& word : two[i].words)
        word = __funnelshift_l(word, word, static_cast<unsigned>(8 * turns));
    }
    before_.take(two);
  }

  // The next eight tiles, of which this lane brings two.
  __device__ __forceinline__ void expand(const Tile<2> (&two)[2], Tile<4> (&out)[2]) {
    constexpr std::uint32_t kFirst = PathBits::kFirst, kSecond = ~kFirst;
    constexpr std::uint32_t kPairs = 0x33333333u;
    const int t = lane_ % 4;
    PathBits path;
    path.take(two);
    SKV_UNROLL
    for (int w = 0; w < 4; ++w) {
      std::uint32_t back[4] = {path.words[w]};  // of the lanes that many places before
      SKV_UNROLL
      for (int k = 1; k < 4; ++k)
        back[k] =
            __shfl_sync(0xffffffffu, t + k < 4 ? path.words[w] : before_.words[w], lane_ - t + ((t - k) & 3));
      const auto odd = [&](int k) {  // the path bits 2 k - 1 tiles back
        return (back[k] >> 1 & kFirst) | (back[k - 1] & kFirst) << 1;
      };
      const std::uint32_t one = odd(1), three = odd(2), five = odd(3), four = back[2], six = back[3];
      const std::uint32_t common = one ^ three;
      const std::uint32_t sum0 = common ^ six, sum1 = common ^ four ^ five,
                          sum2 = common ^ back[0] ^ four ^ six;
      static_assert(kSkvTrellisSum0 == 0112 && kSkvTrellisSum1 == 072 && kSkvTrellisSum2 == 0133,
                    "which tiles back take part");
      const std::uint32_t low[2] = {(sum0 & kFirst) | (sum1 & kFirst) << 1,
                                    (sum0 >> 1 & kFirst) | (sum1 & kSecond)};
      const std::uint32_t high[2] = {(sum2 & kFirst) | (two[0].words[w] & kSecond),
                                     (sum2 >> 1 & kFirst) | (two[1].words[w] & kSecond)};
      SKV_UNROLL
      for (int i = 0; i < 2; ++i) {
        out[i].words[w] = (low[i] & kPairs) | (high[i] & kPairs) << 2;
        out[i].words[4 + w] = (low[i] >> 2 & kPairs) | (high[i] & ~kPairs);
      }
    }
    before_ = path;
  }

 private:
  int lane_;         // what follows from it need not be in registers between keys and values
  PathBits before_;  // of this lane's two tiles of the eight before
};

}  // namespace spectralkv::device_kv
