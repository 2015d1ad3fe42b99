// A row of head_dim values is head_dim / g groups back to back, g = 32 where it divides head_dim (then a row
// is a row of GGUF's type, bit for bit) and 16 otherwise (head dims 80, 112). Rows follow each other.
//
//   q8_0 group: d (f16), then g signed bytes q.       value i = d q[i],          d = max|x| / 127
//   q4_0 group: d (f16), then g / 2 bytes. Byte i holds the code of value i in its low half and that of value
//               i + g / 2 in its high half.           value = d (code - 8),      d = -(x of largest |x|) / 8
#include "kv/codecs/block_quant.h"

#include "base/error.h"
#include "kv/codecs/options.h"
#include "kv/codecs/quant_groups.h"
#include "kv/codecs/shared_tables.h"
#include "simd/dispatch.h"

namespace spectralkv {
namespace {

template <class Group>
class BlockQuantCodec final : public Codec {
 public:
  // rotation: null for none.
  BlockQuantCodec(std::int64_t head_dim, const CacheRotation* rotation, RotationKind kind, std::string text)
      : Codec(head_dim),
        group_(quant_group(static_cast<int>(head_dim))),
        rotation_(rotation),
        kind_(kind),
        text_(std::move(text)) {}

  std::string spec() const override { return text_; }
  CodecForm form() const override {
    CodecForm form;
    form.kind = Group::kBits == 8 ? CodecForm::Kind::q8_0 : CodecForm::Kind::q4_0;
    form.rotated = rotation_ != nullptr;
    form.rotation = kind_;
    return form;
  }
  std::int64_t max_bytes(std::int64_t n) const override { return n * (head_dim() / group_) * group_bytes(); }
  double paper_bits(const std::byte*, std::int64_t n, std::int64_t) const override {
    return static_cast<double>(n * head_dim() * Group::kBits);
  }

  std::int64_t encode(ConstMatrix block, const SealContext&, std::byte* out, CodecWork& work) const override {
    ConstMatrix rows = block;
    if (rotation_ != nullptr) {
      const Matrix turned(work.floats(3, block.rows * head_dim()), block.rows, head_dim());
      rotation_->enter(block, turned);
      rows = turned;
    }
    auto* to = reinterpret_cast<std::uint8_t*>(out);
    for (std::int64_t r = 0; r < rows.rows; ++r)
      for (std::int64_t c = 0; c < head_dim(); c += group_, to += group_bytes())
        Group::encode(rows.row(r) + c, group_, to);
    return max_bytes(block.rows);
  }

  void decode(const std::byte* in, std::int64_t n, Matrix out) const override {
    const auto* from = reinterpret_cast<const std::uint8_t*>(in);
    for (std::int64_t r = 0; r < n; ++r) {
      if (group_ == 32) {
        kernels().decode[kType](in + r * max_bytes(1), out.row(r), head_dim());
        continue;
      }
      for (std::int64_t c = 0; c < head_dim(); c += group_, from += group_bytes())
        for (int i = 0; i < group_; ++i) out.row(r)[c + i] = Group::value(from, group_, i);
    }
  }

  void score(const std::byte* in, std::int64_t n, const Queries& queries, Matrix s,
             CodecWork& work) const override {
    const ConstMatrix q = queries.rows;
    if (group_ != 32) return Codec::score(in, n, queries, s, work);
    kernels().matmul[kType](in, max_bytes(1), n, head_dim(), q.data, q.stride, q.rows, s.data, s.stride,
                            work.floats(1, simd::matmul_work(head_dim())));
  }

  void mix(const std::byte* in, std::int64_t n, ConstMatrix p, Matrix acc, CodecWork& work) const override {
    constexpr std::int64_t kFew = 8;  // more share rows that are decoded once
    if (group_ != 32 || p.rows > kFew) return Codec::mix(in, n, p, acc, work);
    const auto kernel = Group::kBits == 8 ? kernels().mix_q8_0 : kernels().mix_q4_0;
    kernel(p.data, p.stride, p.rows, in, max_bytes(1), n, head_dim(), acc.data, acc.stride);
  }

  void enter(ConstMatrix x, Matrix out) const override {
    rotation_ == nullptr ? Codec::enter(x, out) : rotation_->enter(x, out);
  }
  void leave(ConstMatrix x, Matrix out) const override {
    rotation_ == nullptr ? Codec::leave(x, out) : rotation_->leave(x, out);
  }

 private:
  static constexpr auto kType = static_cast<std::size_t>(Group::kBits == 8 ? DType::q8_0 : DType::q4_0);
  std::int64_t group_bytes() const { return Group::bytes(group_); }

  int group_;
  const CacheRotation* rotation_;
  RotationKind kind_;  // of the rotation, if there is one
  std::string text_;
};

template <class Group>
BuiltCodec build(CodecSpec& spec, const CodecPlace& place) {
  constexpr std::string_view kRotations[] = {"none", "hadamard", "haar"};
  if (spec.bits()) spec.refuse("it takes no bits");
  const std::string rotation = spec.take_choice("rotation", "none", kRotations);
  const CacheLayout layout = take_layout(spec, CacheLayout{});
  spec.finish(kBlockQuantOptions);
  check_head_dim(spec, place.head_dim);

  std::string text = spec.name();
  const CacheRotation* turn = nullptr;
  RotationKind kind = RotationKind::haar;
  if (rotation != "none") {
    const int d = static_cast<int>(place.head_dim);
    kind = usable_rotation(rotation_kind_from_name(rotation), d);
    turn = &shared_rotation(kind, d);
    text += concat(",rotation=", rotation_kind_name(kind));
  }
  text += layout_text(layout, CacheLayout{});
  return {std::make_unique<BlockQuantCodec<Group>>(place.head_dim, turn, kind, text), true, layout, text};
}

}  // namespace

BuiltCodec build_q8_0(CodecSpec& spec, const CodecPlace& place) {
  return build<Q8Group>(spec, place);
}

BuiltCodec build_q4_0(CodecSpec& spec, const CodecPlace& place) {
  return build<Q4Group>(spec, place);
}

}  // namespace spectralkv
