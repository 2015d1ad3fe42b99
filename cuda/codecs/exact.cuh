// f16 and f32 on a device: rows of values back to back.
#pragma once

#include <type_traits>

#include "cuda/codecs/policy.cuh"

namespace spectralkv::device_kv {

// T: std::uint16_t for f16, float.
template <class T>
struct ExactPolicy : EntryByEntry {
  static constexpr bool kScaled = false;
  static constexpr int kValueBytes = sizeof(T);
  static void fill(CodecView&, int, const CodecForm&, KvSide, CodecTables&, device::Stream) {}
  __device__ static void open(RowReader&) {}

  __device__ static void load8(const RowReader& reader, int row, int channel, float (&x)[8]) {
    const std::uint8_t* const at =
        reader.base + kValueBytes * (static_cast<std::int64_t>(row) * reader.d + channel);
    if constexpr (std::is_same_v<T, float>) {
      const auto* const fours = reinterpret_cast<const float4*>(at);
      const float4 a = fours[0], b = fours[1];
      x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w;
      x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
    } else {
      const uint4 words = *reinterpret_cast<const uint4*>(at);
      const unsigned pairs[4] = {words.x, words.y, words.z, words.w};
      for (int i = 0; i < 4; ++i) {
        const float2 pair = device::f16x2_to_f32x2(pairs[i]);
        x[2 * i] = pair.x;
        x[2 * i + 1] = pair.y;
      }
    }
  }

  __device__ static std::uint32_t encode(const SealArgs& args, int item, std::uint8_t* slot) {
    const int values = args.n * args.layer.d;
    const float* const rows = args.rows_of(item);
    for (int i = static_cast<int>(threadIdx.x); i < values; i += kThreads) {
      if constexpr (std::is_same_v<T, float>)
        reinterpret_cast<float*>(slot)[i] = rows[i];
      else
        reinterpret_cast<std::uint16_t*>(slot)[i] = device::f32_to_f16(rows[i]);
    }
    return static_cast<std::uint32_t>(values * kValueBytes);
  }

  SKV_HD static std::uint64_t aligned_at(const CodecView&, int, const std::uint8_t*) { return 0; }
  SKV_HD static std::uint64_t paper_bits(const CodecView&, int, int, const std::uint8_t*,
                                         std::uint32_t bytes) {
    return 8 * static_cast<std::uint64_t>(bytes);
  }
};

}  // namespace spectralkv::device_kv
