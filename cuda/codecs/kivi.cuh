// kivi on a device: codes between a minimum and a maximum (kv/codecs/kivi_groups.h).
#pragma once

#include "cuda/codecs/policy.cuh"
#include "kv/codecs/kivi_groups.h"

namespace spectralkv::device_kv {

struct KiviPolicy : EntryByEntry {
  static constexpr bool kScaled = false;
  static void fill(CodecView& view, int d, const CodecForm& form, KvSide side, CodecTables&, device::Stream) {
    view.kivi = kivi_format(d, form.bits, side);
  }
  __device__ static void open(RowReader&) {}

  __device__ static void load8(const RowReader& reader, int row, int channel, float (&x)[8]) {
    for (int i = 0; i < 8; ++i) x[i] = reader.codec->kivi.value(reader.base, reader.n, row, channel + i);
  }

  __device__ static std::uint32_t encode(const SealArgs& args, int item, std::uint8_t* slot) {
    const KiviFormat& format = args.codec_of(item).kivi;
    const int n = args.n, d = format.d, thread = static_cast<int>(threadIdx.x);
    const float* const rows = args.rows_of(item);
    std::uint8_t* const groups = slot + n * format.row_bytes();
    for (int g = thread; g < format.groups(n); g += kThreads) format.take_range(rows, d, n, g, groups);
    __syncthreads();
    std::uint8_t* const codes = args.codes_of(item);
    for (int t = thread; t < n; t += kThreads) {
      for (int c = 0; c < d; ++c)
        codes[t * d + c] = format.code(format.range_of(groups, format.group_of(t, c)), rows[t * d + c]);
      skv_pack_codes(codes + t * d, d, format.bits, slot + t * format.row_bytes());
    }
    return static_cast<std::uint32_t>(format.bytes(n));
  }

  SKV_HD static std::uint64_t aligned_at(const CodecView&, int, const std::uint8_t*) { return 0; }
  SKV_HD static std::uint64_t paper_bits(const CodecView& view, int d, int n, const std::uint8_t*,
                                         std::uint32_t) {
    return static_cast<std::uint64_t>(n) * static_cast<unsigned>(d) * static_cast<unsigned>(view.kivi.bits);
  }
};

}  // namespace spectralkv::device_kv
