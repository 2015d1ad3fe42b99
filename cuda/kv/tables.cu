// Rotations and codebooks behind tables.h.
#include "cuda/kv/tables.h"

#include "base/error.h"
#include "cuda/codecs/codecs.cuh"
#include "kv/codec.h"
#include "kv/codecs/shared_tables.h"

namespace spectralkv::device_kv {

const std::byte* CodecTables::keep_bytes(const std::string& name, std::span<const std::byte> values,
                                         device::Stream stream) {
  const auto it = kept_.find(name);
  if (it != kept_.end()) return it->second.data();
  device::DeviceBuffer<std::byte>& buffer = kept_[name] =
      device::DeviceBuffer<std::byte>(values.size_bytes());
  buffer.write(values, stream);
  device::synchronize(stream);  // the values may be gone afterwards
  return buffer.data();
}

CodecView CodecTables::view(const Codec& codec, const std::string& text, KvSide side, device::Stream stream) {
  const CodecForm form = codec.form();
  const int d = static_cast<int>(codec.head_dim());
  check(d % 16 == 0 && d <= kMostHeadDim, "cuda", "a head dim of ", d,
        ": the GPU takes multiples of 16 up to ", kMostHeadDim);
  CodecView view{};
  view.kind = form.kind;
  check(fill_view(view, d, form, side, *this, stream), "cuda", "cache type '", text,
        "' does not run on the GPU");
  if (form.rotated) {
    const std::string name = concat("rotation ", rotation_kind_name(form.rotation), " of ", d);
    const Buffer<float> rows = Rotation(form.rotation, d, kCacheRotationSeed).matrix();
    Buffer<float> columns(rows.size());
    const auto size = static_cast<std::size_t>(d);
    for (std::size_t i = 0; i < size; ++i)
      for (std::size_t j = 0; j < size; ++j) columns[j * size + i] = rows[i * size + j];
    view.enter = keep<float>(name + " columns", columns.span(), stream);
    view.leave = keep<float>(name + " rows", rows.span(), stream);
  }
  return view;
}

std::int64_t CodecTables::bytes() const {
  std::size_t sum = 0;
  for (const auto& [name, buffer] : kept_) sum += buffer.bytes();
  return static_cast<std::int64_t>(sum);
}

}  // namespace spectralkv::device_kv
