// What a device does for a codec is a policy: a struct of static functions in a header of its own, and a row
// of list.def. Kernels call codecs.cuh, which finds the row of a kind.
//
//   struct SomePolicy {
//     // Where CodecView::searches: before `encode`, prepare_block and search_row of codecs.cuh.
//     __device__ static void prepare(const SealArgs& args, int item, std::uint8_t* slot);
//     __device__ static void search(const SealArgs& args, int item, int row, std::uint8_t* path);
//     // Rows come scaled by a power of two (SealArgs::exponents), so that the longest is in [2^12, 2^13).
//     static constexpr bool kScaled;
//     // Fills what is the codec's own in a view. On the host.
//     static void fill(CodecView& view, int d, const CodecForm& form, KvSide side, CodecTables& tables,
//                      device::Stream stream);
//     // Reads the head of a stored block, before rows are asked for.
//     __device__ static void open(RowReader& reader);
//     // x: channels [channel, channel + 8) of a row, channel a multiple of 8, in codec space.
//     __device__ static void load8(const RowReader& reader, int row, int channel, float (&x)[8]);
//     // Encodes an item's rows, which may be lost, into its slot; returns the bytes. All threads of a block.
//     __device__ static std::uint32_t encode(const SealArgs& args, int item, std::uint8_t* slot);
//     // The byte of a stored block of n tokens that kernels want at a multiple of 16.
//     SKV_HD static std::uint64_t aligned_at(const CodecView& view, int n, const std::uint8_t* block);
//     // As Codec::paper_bits.
//     SKV_HD static std::uint64_t paper_bits(const CodecView& view, int d, int n, const std::uint8_t* block,
//                                            std::uint32_t bytes);
//   };
#pragma once

#include "cuda/device/device.h"
#include "cuda/kv/seal.h"
#include "cuda/kv/tables.h"

namespace spectralkv::device_kv {

// A policy that searches for nothing: its `encode` is all.
struct EntryByEntry {
  __device__ static void prepare(const SealArgs&, int, std::uint8_t*) {}
  __device__ static void search(const SealArgs&, int, int, std::uint8_t*) {}
};

// n rows of d values: a stored block, or exact rows.
struct RowReader {
  CodecForm::Kind kind;
  const std::uint8_t* base;
  int n, d;
  const CodecView* codec = nullptr;  // of a stored block
  // Of codes:
  SkvFactors factors{};
  int left_at = 0, right_at = 0, second_at = 0, scales_at = 0, codes_at = 0;  // bytes from base
  float unit = 1;
};

}  // namespace spectralkv::device_kv
