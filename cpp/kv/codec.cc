// The defaults: codec space is head space, and score and mix decode first.
#include "kv/codec.h"

#include <cstring>

#include "simd/dispatch.h"

namespace spectralkv {
namespace {

void copy_rows(ConstMatrix x, Matrix out) {
  for (std::int64_t r = 0; r < x.rows; ++r)
    std::memcpy(out.row(r), x.row(r), static_cast<std::size_t>(x.cols) * sizeof(float));
}

}  // namespace

std::byte* CodecWork::bytes(int slot, std::int64_t n) {
  auto& buffer = slots_[static_cast<std::size_t>(slot)];
  if (buffer.size() < static_cast<std::size_t>(n)) buffer = Buffer<std::byte>(static_cast<std::size_t>(n));
  return buffer.data();
}

std::int64_t CodecWork::held_bytes() const {
  std::size_t sum = 0;
  for (const auto& slot : slots_) sum += slot.size();
  return static_cast<std::int64_t>(sum) + (spectra_ ? spectra_->held_bytes() : 0);
}

GramLanes& CodecWork::spectra() {
  if (!spectra_) spectra_ = std::make_unique<GramLanes>();
  return *spectra_;
}

void Codec::encode_all(std::span<SealItem> items, CodecWork& work) const {
  for (SealItem& item : items) item.used = item.codec->encode(item.rows, item.context, item.out, work);
}

simd::ByteRows Queries::to_bytes(ConstMatrix rows, std::byte* memory) {
  const std::int64_t m = rows.rows, ld = (rows.cols + 63) / 64 * 64;
  auto* const steps = reinterpret_cast<float*>(memory);
  auto* const sums = reinterpret_cast<std::int32_t*>(steps + m);
  auto* const values = reinterpret_cast<std::int8_t*>(sums + m);
  kernels().to_bytes(rows.data, rows.stride, m, rows.cols, values, ld, steps, sums);
  return {values, ld, steps, sums, m};
}

bool Codec::valid(const std::byte*, std::int64_t n, std::int64_t bytes) const {
  return bytes == max_bytes(n);
}

void Codec::enter(ConstMatrix x, Matrix out) const {
  copy_rows(x, out);
}

void Codec::leave(ConstMatrix x, Matrix out) const {
  copy_rows(x, out);
}

void Codec::score(const std::byte* in, std::int64_t n, const Queries& queries, Matrix s,
                  CodecWork& work) const {
  const ConstMatrix q = queries.rows;
  const Matrix rows(work.floats(0, n * head_dim_), n, head_dim_);
  decode(in, n, rows);
  kernels().matmul[static_cast<std::size_t>(DType::f32)](rows.data, head_dim_ * 4, n, head_dim_, q.data,
                                                         q.stride, q.rows, s.data, s.stride,
                                                         work.floats(1, simd::matmul_work(head_dim_)));
}

void Codec::mix(const std::byte* in, std::int64_t n, ConstMatrix p, Matrix acc, CodecWork& work) const {
  const Matrix rows(work.floats(0, n * head_dim_), n, head_dim_);
  decode(in, n, rows);
  kernels().mix_f32(p.data, p.stride, p.rows, rows.data, rows.stride, n, head_dim_, acc.data, acc.stride);
}

}  // namespace spectralkv
