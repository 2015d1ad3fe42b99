// f32 and f16: head space, n * head_dim values without padding, so that rows can be appended in place.
#include "kv/codecs/exact.h"

#include "simd/dispatch.h"

namespace spectralkv {
namespace {

// Both differ only in the type of a value.
class ExactCodec final : public Codec {
 public:
  ExactCodec(std::int64_t head_dim, DType type) : Codec(head_dim), type_(type) {}

  std::string spec() const override { return std::string(dtype_info(type_).name); }
  CodecForm form() const override {
    CodecForm form;
    form.kind = type_ == DType::f16 ? CodecForm::Kind::f16 : CodecForm::Kind::f32;
    return form;
  }
  std::int64_t max_bytes(std::int64_t n) const override {
    return n * head_dim() * dtype_info(type_).block_bytes;
  }
  double paper_bits(const std::byte*, std::int64_t, std::int64_t bytes) const override {
    return 8.0 * static_cast<double>(bytes);
  }

  std::int64_t encode(ConstMatrix block, const SealContext&, std::byte* out, CodecWork&) const override {
    const std::int64_t row_bytes = max_bytes(1);
    for (std::int64_t r = 0; r < block.rows; ++r) {
      if (type_ == DType::f16)
        kernels().to_f16(block.row(r), reinterpret_cast<std::uint16_t*>(out + r * row_bytes), head_dim());
      else
        __builtin_memcpy(out + r * row_bytes, block.row(r), static_cast<std::size_t>(row_bytes));
    }
    return block.rows * row_bytes;
  }

  void decode(const std::byte* in, std::int64_t n, Matrix out) const override {
    for (std::int64_t r = 0; r < n; ++r) {
      const std::byte* row = in + r * max_bytes(1);
      if (type_ == DType::f16)
        kernels().from_f16(reinterpret_cast<const std::uint16_t*>(row), 1.0f, out.row(r), head_dim());
      else
        __builtin_memcpy(out.row(r), row, static_cast<std::size_t>(max_bytes(1)));
    }
  }

  void score(const std::byte* in, std::int64_t n, const Queries& queries, Matrix s,
             CodecWork& work) const override {
    const ConstMatrix q = queries.rows;
    kernels().matmul[static_cast<std::size_t>(type_)](in, max_bytes(1), n, head_dim(), q.data, q.stride,
                                                      q.rows, s.data, s.stride,
                                                      work.floats(1, simd::matmul_work(head_dim())));
  }

  void mix(const std::byte* in, std::int64_t n, ConstMatrix p, Matrix acc, CodecWork& work) const override {
    // Many rows of probabilities: one conversion serves them all.
    if (type_ == DType::f16 && p.rows > 4) return Codec::mix(in, n, p, acc, work);
    if (type_ == DType::f16)
      kernels().mix_f16(p.data, p.stride, p.rows, reinterpret_cast<const std::uint16_t*>(in), head_dim(), n,
                        head_dim(), acc.data, acc.stride);
    else
      kernels().mix_f32(p.data, p.stride, p.rows, reinterpret_cast<const float*>(in), head_dim(), n,
                        head_dim(), acc.data, acc.stride);
  }

 private:
  DType type_;
};

}  // namespace

std::unique_ptr<Codec> make_f32_codec(std::int64_t head_dim) {
  return std::make_unique<ExactCodec>(head_dim, DType::f32);
}

std::unique_ptr<Codec> make_f16_codec(std::int64_t head_dim) {
  return std::make_unique<ExactCodec>(head_dim, DType::f16);
}

}  // namespace spectralkv
