// Codebooks and rotations behind tables.h.
#include "cuda/kv/tables.h"

#include <cassert>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/half.h"
#include "kv/codecs/factor_codes.h"
#include "kv/codecs/kivi.h"
#include "kv/codecs/scalar_residual.h"
#include "kv/codecs/shared_tables.h"
#include "spectral/edge.h"

namespace spectralkv::device_kv {

namespace {

// The Gaussian codebooks as factor_book has them.
struct FactorBooks {
  std::vector<float> levels, boundaries;
  FactorBooks() {
    for (int bits = 1; bits <= kMaxCodeBits; ++bits) {
      assert(levels.size() == static_cast<std::size_t>(factor_book(bits)));
      const Codebook& book = shared_gaussian_codebook(bits);
      levels.insert(levels.end(), book.levels.begin(), book.levels.end());
      boundaries.insert(boundaries.end(), book.boundaries.begin(), book.boundaries.end());
      boundaries.push_back(0);  // as many as there are levels
    }
  }
};

// CodecView::factor_pairs of blocks whose own width, where it is narrow, is `plain`. A book has 16 places:
// levels of 2 bits stand in the upper half of that of 3 bits, whose codes do not reach there.
std::vector<std::uint32_t> factor_pairs(int plain) {
  const int bits[2] = {plain <= kNarrow ? plain : kNarrow, kNarrow};
  std::vector<std::uint32_t> pairs(kFactorPairs);
  const auto half = [&](std::size_t book, std::size_t code) {
    const auto& levels = shared_gaussian_codebook(bits[book] == 3 && code >= 8 ? 2 : bits[book]).levels;
    return static_cast<std::uint32_t>(skv_f32_to_f16(levels[code % levels.size()]));
  };
  for (std::size_t i = 0; i < pairs.size(); ++i)
    pairs[i] = half(i / kBookPairs % 2, i % 16) | half(i / kBookPairs / 2, i / 16 % 16) << 16;
  return pairs;
}

}  // namespace

template <class T>
const T* CodecTables::keep(const std::string& name, std::span<const T> values, device::Stream stream) {
  const auto it = kept_.find(name);
  if (it != kept_.end()) return reinterpret_cast<const T*>(it->second.data());
  device::DeviceBuffer<std::byte>& buffer = kept_[name] =
      device::DeviceBuffer<std::byte>(values.size_bytes());
  buffer.write(std::as_bytes(values), stream);
  device::synchronize(stream);  // the values may be gone afterwards
  return reinterpret_cast<const T*>(buffer.data());
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
    view.enter = keep<float>(name + " columns", columns.span(), stream);
    view.leave = keep<float>(name + " rows", rows.span(), stream);
  }
  if (form.kind == CodecForm::Kind::kivi) view.kivi = kivi_format(d, form.bits, side);
  if (form.kind != CodecForm::Kind::codes) return view;
  const FactorCodes factors(form.factor_bits);
  view.coded = {d, form.bits, code_order(form.bits, side)};
  view.plain_width = factors.plain_width();
  view.window = form.factor ? edge_window(d) : 0;
  view.loss = form.loss;
  view.scale = form.scale;
  view.closed_loop = form.closed_loop;
  view.own_widths = factors.own_widths();
  const Codebook& codebook = shared_unit_codebook(d, form.bits);
  const FactorBooks books;
  view.distortion = codebook.distortion;
  view.levels = keep<float>(concat("levels ", form.bits), codebook.levels, stream);
  view.boundaries = keep<float>(concat("boundaries ", form.bits), codebook.boundaries, stream);
  view.factor_levels = keep<float>("factor levels", books.levels, stream);
  view.factor_boundaries = keep<float>("factor boundaries", books.boundaries, stream);
  view.tiles = view.coded.order != kSkvCodeRows;
  if (!view.tiles) return view;
  view.factor_pairs =
      keep<std::uint32_t>(concat("factor pairs ", view.plain_width), factor_pairs(view.plain_width), stream);
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
