// Codebooks and rotations behind tables.h.
#include "cuda/kv/tables.h"

#include <cstring>

#include "base/error.h"
#include "kv/codecs/kivi.h"
#include "kv/codecs/residual_codes.h"
#include "kv/codecs/shared_tables.h"
#include "spectral/edge.h"

namespace spectralkv::device_kv {

const float* CodecTables::keep(const std::string& name, std::span<const float> values,
                               device::Stream stream) {
  const auto it = kept_.find(name);
  if (it != kept_.end()) return it->second.data();
  device::DeviceBuffer<float>& buffer = kept_[name] = device::DeviceBuffer<float>(values.size());
  buffer.write(values, stream);
  device::synchronize(stream);  // the values may be gone afterwards
  return buffer.data();
}

CodecView CodecTables::view(const Codec& codec, const std::string& text, KvSide side, device::Stream stream) {
  const CodecForm form = codec.form();
  const int d = static_cast<int>(codec.head_dim());
  check(form.kind != CodecForm::Kind::other, "cuda", "cache type '", text, "' does not run on the GPU");
  check(d % 16 == 0 && d <= kMostHeadDim, "cuda", "a head dim of ", d,
        ": the GPU takes multiples of 16 up to ", kMostHeadDim);
  CodecView view{};
  view.kind = form.kind;
  if (form.rotated) {
    const std::string name = concat("rotation ", rotation_kind_name(form.rotation));
    const Buffer<float> rows = Rotation(form.rotation, d, kCacheRotationSeed).matrix();
    Buffer<float> columns(rows.size());
    const auto size = static_cast<std::size_t>(d);
    for (std::size_t i = 0; i < size; ++i)
      for (std::size_t j = 0; j < size; ++j) columns[j * size + i] = rows[i * size + j];
    view.enter = keep(name + " columns", columns.span(), stream);
    view.leave = keep(name + " rows", rows.span(), stream);
  }
  if (form.kind == CodecForm::Kind::kivi) view.kivi = kivi_format(d, form.bits, side);
  if (form.kind != CodecForm::Kind::codes) return view;
  view.coded = {d, form.bits, form.factor_bits, code_order(form.bits, side)};
  view.window = form.factor ? edge_window(d) : 0;
  view.loss = form.loss;
  view.scale = form.scale;
  view.closed_loop = form.closed_loop;
  const Codebook& codebook = shared_unit_codebook(d, form.bits);
  const Codebook& factors = shared_gaussian_codebook(form.factor_bits);
  view.distortion = static_cast<float>(codebook.distortion);
  view.levels = keep(concat("levels ", form.bits), codebook.levels, stream);
  view.boundaries = keep(concat("boundaries ", form.bits), codebook.boundaries, stream);
  view.factor_levels = keep(concat("factor levels ", form.factor_bits), factors.levels, stream);
  view.factor_boundaries = keep(concat("factor boundaries ", form.factor_bits), factors.boundaries, stream);
  view.tiles = view.coded.order != kSkvCodeRows && form.factor_bits <= 4;
  if (!view.tiles) return view;
  const ByteLevels bytes = byte_levels(codebook);
  std::memcpy(view.level_bytes, bytes.bytes, sizeof view.level_bytes);
  view.level_unit = bytes.unit;
  return view;
}

std::int64_t CodecTables::bytes() const {
  std::size_t sum = 0;
  for (const auto& [name, buffer] : kept_) sum += buffer.bytes();
  return static_cast<std::int64_t>(sum);
}

}  // namespace spectralkv::device_kv
