// Rotations and codebooks behind tables.h.
#include "cuda/kv/tables.h"

#include <algorithm>
#include <cassert>

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
  return view;
}

const float* CodecTables::keep_matrices(const std::string& name, std::span<const ConstMatrix> matrices,
                                        device::Stream stream) {
  if (!kept_.contains(name)) {
    std::vector<float> all;
    for (const ConstMatrix& matrix : matrices)
      all.insert(all.end(), matrix.data, matrix.data + matrix.rows * matrix.cols);
    keep<float>(name, all, stream);
  }
  return reinterpret_cast<const float*>(kept_.at(name).data());
}

std::vector<std::uint8_t> CodecTables::fill(SideView& view, const SideFormat& format, KvSide side,
                                            const std::string& name, device::Stream stream) {
  std::vector<int> widths;
  std::vector<std::uint8_t> codec_of;
  std::vector<ConstMatrix> place, enter;
  for (const BuiltCodec& head : format.heads) {
    const CodecForm form = head.codec->form();
    const auto at = std::find(widths.begin(), widths.end(), form.bits) - widths.begin();
    if (at == std::ssize(widths)) {
      assert(at < kMostCodecs);
      widths.push_back(form.bits);
      view.codecs[at] = this->view(*head.codec, head.text, side, stream);
    }
    codec_of.push_back(static_cast<std::uint8_t>(at));
    if (form.place.data != nullptr) place.push_back(form.place), enter.push_back(form.enter);
  }
  if (widths.size() > 1) {
    std::string which = "codecs";
    for (const std::uint8_t one : codec_of) which += concat(" ", static_cast<int>(one));
    view.codec_of = keep<std::uint8_t>(which, codec_of, stream);
  } else {
    codec_of.clear();
  }
  const CodecForm form = format.codec(0).form();
  if (!form.rotated) return codec_of;
  const auto d = static_cast<std::size_t>(format.codec(0).head_dim());
  const std::string rotation = concat("rotation ", rotation_kind_name(form.rotation), " of ", d);
  if (!place.empty()) {  // keys alone: nothing leaves their space on a device
    assert(side == KvSide::keys && place.size() == format.heads.size());
    const auto apart = static_cast<std::int64_t>(d * d);
    view.place = {keep_matrices(concat("place, ", rotation, ", ", name), place, stream), apart};
    view.enter = {keep_matrices(concat("enter, ", rotation, ", ", name), enter, stream), apart};
    return codec_of;
  }
  const Buffer<float> rows = Rotation(form.rotation, static_cast<int>(d), kCacheRotationSeed).matrix();
  Buffer<float> columns(rows.size());
  for (std::size_t i = 0; i < d; ++i)
    for (std::size_t j = 0; j < d; ++j) columns[j * d + i] = rows[i * d + j];
  view.enter = view.place = {keep<float>(rotation + " columns", columns.span(), stream), 0};
  view.leave = {keep<float>(rotation + " rows", rows.span(), stream), 0};
  return codec_of;
}

std::int64_t CodecTables::bytes() const {
  std::size_t sum = 0;
  for (const auto& [name, buffer] : kept_) sum += buffer.bytes();
  return static_cast<std::int64_t>(sum);
}

}  // namespace spectralkv::device_kv
