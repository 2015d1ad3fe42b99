// q8_0 and q4_0 on a device: groups of values under a scale (kv/codecs/quant_groups.h).
#pragma once

#include "cuda/codecs/policy.cuh"
#include "kv/codecs/quant_groups.h"

namespace spectralkv::device_kv {

template <class Group>
struct GroupPolicy : EntryByEntry {
  static constexpr bool kScaled = false;
  static void fill(CodecView&, int, const CodecForm&, KvSide, CodecTables&, device::Stream) {}
  __device__ static void open(RowReader&) {}

  __device__ static void load8(const RowReader& reader, int row, int channel, float (&x)[8]) {
    const int g = quant_group(reader.d);
    const std::uint8_t* const group =
        reader.base + (static_cast<std::int64_t>(row) * (reader.d / g) + channel / g) * Group::bytes(g);
    for (int i = 0; i < 8; ++i) x[i] = Group::value(group, g, channel % g + i);
  }

  __device__ static std::uint32_t encode(const SealArgs& args, int item, std::uint8_t* slot) {
    const int d = args.layer.d, g = quant_group(d), groups = args.n * (d / g);
    for (int i = static_cast<int>(threadIdx.x); i < groups; i += kThreads)
      Group::encode(args.rows_of(item) + static_cast<std::int64_t>(i) * g, g, slot + i * Group::bytes(g));
    return static_cast<std::uint32_t>(groups * Group::bytes(g));
  }

  SKV_HD static std::uint64_t aligned_at(const CodecView&, int, const std::uint8_t*) { return 0; }
  SKV_HD static std::uint64_t paper_bits(const CodecView&, int d, int n, const std::uint8_t*, std::uint32_t) {
    return static_cast<std::uint64_t>(n) * static_cast<unsigned>(d) * Group::kBits;
  }
};

}  // namespace spectralkv::device_kv
