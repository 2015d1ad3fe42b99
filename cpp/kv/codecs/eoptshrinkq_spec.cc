// Specs of turboquant, eoptshrinkq and what is like them.
//
// `paper` sets everything as [E] has it: Frobenius shrinkage, the residual of the exact factors (open loop),
// Haar rotation, row norms, 4 bits a factor entry, no sinks, no window. Options beside it still hold, so that
// one thing can be changed at a time. The canonical text names what differs from the defaults, or from
// `paper` where that is given.
#include <array>

#include "base/error.h"
#include "kv/codecs/eoptshrinkq.h"
#include "kv/codecs/options.h"
#include "kv/codecs/residual_choice.h"
#include "kv/codecs/scalar_residual.h"
#include "kv/codecs/shared_tables.h"

namespace spectralkv {
namespace {

struct Settings {
  EOptShrinkQOptions codec;
  CacheLayout layout;
};

// The one place that holds the defaults.
Settings defaults(bool factor, bool paper, std::int64_t head_dim) {
  Settings s;
  s.codec.factor = factor;
  if (factor && !paper) {
    s.codec.rotation = usable_rotation(RotationKind::hadamard, static_cast<int>(head_dim));
    s.codec.factor_bits = 0;
    s.layout.sink = 4;
    s.layout.window = 128;
  }
  if (paper) {
    s.codec.loss = Loss::frobenius;
    s.codec.closed_loop = false;
  }
  return s;
}

template <class List, class Name>
auto names_of(const List& list, Name name) {
  std::array<std::string_view, std::tuple_size_v<List>> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = name(list[i]);
  return names;
}

}  // namespace

BuiltCodec build_factored(CodecSpec& spec, std::int64_t head_dim, KvSide side, bool factor,
                          const ResidualRow& residual) {
  check_head_dim(spec, head_dim);
  if (!spec.bits()) spec.refuse(concat("it needs bits per entry, as in '", spec.name(), ":2'"));
  if (*spec.bits() < 1 || *spec.bits() > kMaxCodeBits)
    spec.refuse(concat("bits must be 1 to ", kMaxCodeBits, ", got ", *spec.bits()));

  const bool paper = spec.take_flag("paper");
  const Settings base = defaults(factor, paper, head_dim);
  Settings s = base;
  std::string known = concat("rotation=haar|hadamard, ", residual.options, ", ");
  if (factor) {
    constexpr std::string_view kLoops[] = {"closed", "open"};
    s.codec.loss =
        loss_from_name(spec.take_choice("loss", loss_name(base.codec.loss), names_of(kAllLosses, loss_name)));
    s.codec.closed_loop =
        spec.take_choice("loop", base.codec.closed_loop ? "closed" : "open", kLoops) == "closed";
    s.codec.factor_bits =
        static_cast<int>(spec.take_int_or("factor_bits", "auto", 0, base.codec.factor_bits, 1, kMaxCodeBits));
    known = "loss=frobenius|operator|nuclear|truncate, loop=closed|open, factor_bits=auto|1...8, " + known;
  }
  const RotationKind asked = rotation_kind_from_name(spec.take_choice(
      "rotation", rotation_kind_name(base.codec.rotation), names_of(kAllRotationKinds, rotation_kind_name)));
  s.codec.rotation = usable_rotation(asked, static_cast<int>(head_dim));
  std::string residual_text;
  auto quantiser =
      residual.build(spec, {head_dim, static_cast<int>(*spec.bits()), side, factor, paper}, residual_text);
  s.layout = take_layout(spec, base.layout);
  spec.finish(known + kLayoutOptions + ", paper");

  std::string text = concat(spec.name(), ":", *spec.bits(), paper ? ",paper" : "");
  if (s.codec.loss != base.codec.loss) text += concat(",loss=", loss_name(s.codec.loss));
  if (s.codec.closed_loop != base.codec.closed_loop)
    text += s.codec.closed_loop ? ",loop=closed" : ",loop=open";
  if (s.codec.factor_bits != base.codec.factor_bits)
    text += s.codec.factor_bits == 0 ? ",factor_bits=auto" : concat(",factor_bits=", s.codec.factor_bits);
  if (s.codec.rotation != base.codec.rotation)
    text += concat(",rotation=", rotation_kind_name(s.codec.rotation));
  text += residual_text + layout_text(s.layout, base.layout);
  return {make_eoptshrinkq_codec(head_dim, s.codec, std::move(quantiser), text), true, s.layout, text};
}

BuiltCodec build_turboquant(CodecSpec& spec, std::int64_t head_dim, KvSide side) {
  return build_factored(spec, head_dim, side, false, kScalarResidual);
}

BuiltCodec build_eoptshrinkq(CodecSpec& spec, std::int64_t head_dim, KvSide side) {
  return build_factored(spec, head_dim, side, true, kChosenResidual);
}

}  // namespace spectralkv
