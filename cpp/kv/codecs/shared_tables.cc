// The tables behind shared_tables.h.
#include "kv/codecs/shared_tables.h"

#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "simd/dispatch.h"

namespace spectralkv {
namespace {

// One value a key, made at the first call and never moved (a map's nodes stay where they are).
template <class Key, class Value>
class Kept {
 public:
  template <class Make>
  const Value& get(const Key& key, Make make) {
    const std::lock_guard lock(mutex_);
    const auto it = values_.find(key);
    return it != values_.end() ? it->second : values_.emplace(key, make()).first->second;
  }

 private:
  std::mutex mutex_;
  std::map<Key, Value> values_;
};

}  // namespace

void multiply_rows(ConstMatrix x, const float* matrix, Matrix out) {
  for (std::int64_t r = 0; r < out.rows; ++r)
    std::memset(out.row(r), 0, static_cast<std::size_t>(out.cols) * sizeof(float));
  kernels().mix_f32(x.data, x.stride, x.rows, matrix, x.cols, x.cols, out.cols, out.data, out.stride);
}

CacheRotation::CacheRotation(RotationKind kind, int dim) : rotation_(kind, dim, kCacheRotationSeed) {
  if (kind != RotationKind::haar) return;
  rows_ = rotation_.matrix();
  const auto d = static_cast<std::size_t>(dim);
  columns_ = Buffer<float>(d * d);
  for (std::size_t i = 0; i < d; ++i)
    for (std::size_t j = 0; j < d; ++j) columns_[j * d + i] = rows_[i * d + j];
}

void CacheRotation::enter(ConstMatrix x, Matrix out) const {
  if (rows_.empty()) return rotation_.apply(x, out);
  multiply_rows(x, columns_.data(), out);
}

void CacheRotation::leave(ConstMatrix x, Matrix out) const {
  if (rows_.empty()) return rotation_.apply_transpose(x, out);
  multiply_rows(x, rows_.data(), out);
}

const CacheRotation& shared_rotation(RotationKind kind, int dim) {
  static Kept<std::pair<RotationKind, int>, CacheRotation> kept;
  return kept.get({kind, dim}, [&] { return CacheRotation(kind, dim); });
}

const Codebook& shared_unit_codebook(int dim, int bits) {
  static Kept<std::pair<int, int>, Codebook> kept;
  return kept.get({dim, bits}, [&] { return unit_vector_codebook(dim, bits); });
}

const Codebook& shared_gaussian_codebook(int bits) {
  static Kept<int, Codebook> kept;
  return kept.get(bits, [&] { return gaussian_codebook(bits); });
}

RotationKind usable_rotation(RotationKind kind, int dim) {
  return rotation_supports(kind, dim) ? kind : RotationKind::haar;
}

}  // namespace spectralkv
