// Which policy a codec has: the only place that asks for its kind. A kind without a row of list.def gets no
// view (CodecTables::view), so that none comes to the others.
#pragma once

#include "cuda/codecs/codes.cuh"
#include "cuda/codecs/exact.cuh"
#include "cuda/codecs/expand_codes.cuh"
#include "cuda/codecs/groups.cuh"
#include "cuda/codecs/kivi.cuh"
#include "cuda/codecs/trellis.cuh"

namespace spectralkv::device_kv {

// False: the kind does not run on a device. On the host.
inline bool fill_view(CodecView& view, int d, const CodecForm& form, KvSide side, CodecTables& tables,
                      device::Stream stream) {
#define SKV_DEVICE_CODEC(name, Policy) \
  if (form.kind == CodecForm::Kind::name) return Policy::fill(view, d, form, side, tables, stream), true;
#include "cuda/codecs/list.def"
  return false;
}

// Whether rows come scaled to `encode_block`.
SKV_HD inline bool takes_scaled_rows(const CodecView& codec) {
#define SKV_DEVICE_CODEC(name, Policy) \
  if (codec.kind == CodecForm::Kind::name) return Policy::kScaled;
#include "cuda/codecs/list.def"
  __builtin_unreachable();
}

// Before the search: an item's rows become what is searched for, and its slot what stands before. All
// threads.
__device__ inline void prepare_block(const SealArgs& args, int item, std::uint8_t* slot) {
  const CodecForm::Kind kind = args.codec_of(item).kind;
#define SKV_DEVICE_CODEC(name, Policy) \
  if (kind == CodecForm::Kind::name) Policy::prepare(args, item, slot);
#include "cuda/codecs/list.def"
}
// One row of codes. path: [search_bytes] in shared memory. A warp.
__device__ inline void search_row(const SealArgs& args, int item, int row, std::uint8_t* path) {
  const CodecForm::Kind kind = args.codec_of(item).kind;
#define SKV_DEVICE_CODEC(name, Policy) \
  if (kind == CodecForm::Kind::name) Policy::search(args, item, row, path);
#include "cuda/codecs/list.def"
}

// An item's rows into its slot; returns the bytes. All threads of a block call.
__device__ inline std::uint32_t encode_block(const SealArgs& args, int item, std::uint8_t* slot) {
  const CodecForm::Kind kind = args.codec_of(item).kind;
#define SKV_DEVICE_CODEC(name, Policy) \
  if (kind == CodecForm::Kind::name) return Policy::encode(args, item, slot);
#include "cuda/codecs/list.def"
  __builtin_unreachable();
}

// Where a block of n tokens begins in a page that is used up to `used`, so that kernels load 16 bytes at
// once.
SKV_HD inline std::uint64_t aligned_at(const CodecView& codec, int n, const std::uint8_t* block) {
#define SKV_DEVICE_CODEC(name, Policy) \
  if (codec.kind == CodecForm::Kind::name) return Policy::aligned_at(codec, n, block);
#include "cuda/codecs/list.def"
  __builtin_unreachable();
}
SKV_HD inline std::uint64_t place_of(const CodecView& codec, int n, const std::uint8_t* block,
                                     std::uint64_t used) {
  const std::uint64_t at = aligned_at(codec, n, block);
  return (used + at + 15) / 16 * 16 - at;
}

// As Codec::paper_bits of a stored block of n tokens.
SKV_HD inline std::uint64_t paper_bits(const CodecView& codec, int d, int n, const std::uint8_t* block,
                                       std::uint32_t bytes) {
#define SKV_DEVICE_CODEC(name, Policy) \
  if (codec.kind == CodecForm::Kind::name) return Policy::paper_bits(codec, d, n, block, bytes);
#include "cuda/codecs/list.def"
  __builtin_unreachable();
}

// x: channels [channel, channel + 8) of a row, channel a multiple of 8.
__device__ inline void load8(const RowReader& reader, int row, int channel, float (&x)[8]) {
#define SKV_DEVICE_CODEC(name, Policy) \
  if (reader.kind == CodecForm::Kind::name) return Policy::load8(reader, row, channel, x);
#include "cuda/codecs/list.def"
  __builtin_unreachable();
}

// A stored block of n tokens.
__device__ inline void open_block(RowReader& reader) {
#define SKV_DEVICE_CODEC(name, Policy) \
  if (reader.kind == CodecForm::Kind::name) return Policy::open(reader);
#include "cuda/codecs/list.def"
  __builtin_unreachable();
}
__device__ inline RowReader read_block(const CodecView& codec, const std::uint8_t* block, int n, int d) {
  RowReader reader{codec.kind, block, n, d};
  reader.codec = &codec;
  open_block(reader);
  return reader;
}

// All rows of a stored block: Expansion's `run`.
template <class Store>
__device__ inline void expand_block(const RowReader& reader, float* shared, const Store& store) {
#define SKV_DEVICE_CODEC(name, Policy) \
  if (reader.kind == CodecForm::Kind::name) return Expansion<Policy>::run(reader, shared, store);
#include "cuda/codecs/list.def"
  __builtin_unreachable();
}

// Exact rows.
__device__ inline RowReader read_exact(bool f32, const std::uint8_t* rows, int n, int d) {
  return {f32 ? CodecForm::Kind::f32 : CodecForm::Kind::f16, rows, n, d};
}

}  // namespace spectralkv::device_kv
