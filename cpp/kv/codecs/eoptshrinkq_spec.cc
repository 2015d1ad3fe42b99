// Specs of turboquant, eoptshrinkq and what is like them.
//
// `paper` sets everything as [E] has it: Frobenius shrinkage, the residual of the exact factors (open loop),
// Haar rotation, row norms, 4 bits a factor entry, no sinks, no window. Options beside it still hold, so that
// one thing can be changed at a time. The canonical text names what differs from the defaults, or from
// `paper` where that is given.
#include <array>
#include <cmath>

#include "base/error.h"
#include "kv/bits_by_head.h"
#include "kv/codecs/eoptshrinkq.h"
#include "kv/codecs/options.h"
#include "kv/codecs/residual_choice.h"
#include "kv/codecs/scalar_residual.h"
#include "kv/codecs/shared_tables.h"
#include "kv/drawn_rows.h"

namespace spectralkv {
namespace {

struct Settings {
  EOptShrinkQOptions codec;
  bool metric = false;  // of keys
  CacheLayout layout;
};

// The one place that holds the defaults.
Settings defaults(bool factor, bool paper, std::int64_t head_dim) {
  Settings s;
  s.codec.factor = factor;
  if (factor && !paper) {
    s.codec.second_rows = 4;
    s.metric = true;
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

BuiltCodec build_factored(CodecSpec& spec, const CodecPlace& place, bool factor,
                          const ResidualRow& residual) {
  const std::int64_t head_dim = place.head_dim;
  check_head_dim(spec, head_dim);
  const double mean = spec.mean_bits().value_or(0);
  const bool whole = mean == std::floor(mean);
  if (!spec.mean_bits()) spec.refuse(concat("it needs bits per entry, as in '", spec.name(), ":2'"));
  if (mean < 1 || mean > (whole ? kMaxCodeBits : kMostBitsByHead))
    spec.refuse(concat("bits must be 1 to ", kMaxCodeBits, factor ? ", or a mean of heads from 1 to 5" : "",
                       ", got ", mean));

  const bool paper = spec.take_flag("paper");
  const Settings base = defaults(factor, paper, head_dim);
  Settings s = base;
  std::string known = concat("rotation=haar|hadamard, ", residual.options, ", ");
  // Bits by head need nothing where no head is known to differ: then all have the mean.
  const bool usually_by_head = factor && !paper && mean <= kMostBitsByHead;
  bool by_head = usually_by_head;
  if (factor) {
    constexpr std::string_view kAllot[] = {"even", "head"};
    by_head = spec.take_choice("allot", usually_by_head ? "head" : "even", kAllot) == "head";
    if (by_head && mean > kMostBitsByHead) spec.refuse(concat("bits by head are 1 to 5, got ", mean));
    if (!by_head && !whole) spec.refuse("a mean that is no whole number needs allot=head");
    s.codec.second_rows =
        static_cast<int>(spec.take_int("rows", base.codec.second_rows, 0, DrawnRows::kMost));
    constexpr std::string_view kSwitch[] = {"on", "off"};
    s.metric = spec.take_choice("metric", base.metric ? "on" : "off", kSwitch) == "on";
    constexpr std::string_view kLoops[] = {"closed", "open"};
    s.codec.loss =
        loss_from_name(spec.take_choice("loss", loss_name(base.codec.loss), names_of(kAllLosses, loss_name)));
    s.codec.closed_loop =
        spec.take_choice("loop", base.codec.closed_loop ? "closed" : "open", kLoops) == "closed";
    s.codec.factor_bits =
        static_cast<int>(spec.take_int_or("factor_bits", "auto", 0, base.codec.factor_bits, 1, kMaxCodeBits));
    known =
        "metric=on|off, rows=0...8, allot=even|head, loss=frobenius|operator|nuclear|truncate, "
        "loop=closed|open, factor_bits=auto|1...8, " +
        known;
  }
  const RotationKind asked = rotation_kind_from_name(spec.take_choice(
      "rotation", rotation_kind_name(base.codec.rotation), names_of(kAllRotationKinds, rotation_kind_name)));
  s.codec.rotation = usable_rotation(asked, static_cast<int>(head_dim));
  SpecText residual_text;
  const int width = by_head && place.width > 0 ? place.width : static_cast<int>(mean);
  s.codec.bits = width;
  auto quantiser = residual.build(
      spec, {head_dim, width, place.side, factor, paper, by_head, by_head && place.width > 0}, residual_text);
  s.layout = take_layout(spec, base.layout);
  spec.finish(known + kLayoutOptions + ", paper");

  std::string text = concat(spec.name(), ":", mean, paper ? ",paper" : "");
  if (by_head != usually_by_head) text += by_head ? ",allot=head" : ",allot=even";
  if (s.codec.second_rows != base.codec.second_rows) text += concat(",rows=", s.codec.second_rows);
  if (s.metric != base.metric) text += s.metric ? ",metric=on" : ",metric=off";
  if (s.codec.loss != base.codec.loss) text += concat(",loss=", loss_name(s.codec.loss));
  if (s.codec.closed_loop != base.codec.closed_loop)
    text += s.codec.closed_loop ? ",loop=closed" : ",loop=open";
  if (s.codec.factor_bits != base.codec.factor_bits)
    text += s.codec.factor_bits == 0 ? ",factor_bits=auto" : concat(",factor_bits=", s.codec.factor_bits);
  if (s.codec.rotation != base.codec.rotation)
    text += concat(",rotation=", rotation_kind_name(s.codec.rotation));
  const std::string layout = layout_text(s.layout, base.layout);
  const std::string in_states = text + residual_text.in_states + layout;
  text += residual_text.now + layout;
  const bool stretched = s.metric && place.side == KvSide::keys && place.calibration != nullptr;
  const ConstMatrix metric =
      stretched ? ConstMatrix(place.calibration->metric.data(), head_dim, head_dim) : ConstMatrix{};
  BuiltCodec built{make_eoptshrinkq_codec(head_dim, s.codec, metric, std::move(quantiser), text), true,
                   s.layout, text};
  built.in_states = in_states;
  built.calibrated = s.codec.second_rows > 0 || by_head || (s.metric && place.side == KvSide::keys);
  built.mean_bits = by_head ? mean : 0;
  if (s.metric && place.side == KvSide::keys) built.without_metric = text + ",metric=off";
  for (int bits = kLeastBitsByHead; by_head && place.width == 0 && bits <= kMostBitsByHead; ++bits) {
    CodecSpec again(spec.text());
    SpecText text_again;
    built.distortion[static_cast<std::size_t>(bits)] =
        residual.build(again, {head_dim, bits, place.side, factor, paper, true}, text_again)->distortion();
  }
  return built;
}

BuiltCodec build_turboquant(CodecSpec& spec, const CodecPlace& place) {
  spec.bits();  // whole
  return build_factored(spec, place, false, kScalarResidual);
}

BuiltCodec build_eoptshrinkq(CodecSpec& spec, const CodecPlace& place) {
  return build_factored(spec, place, true, kChosenResidual);
}

}  // namespace spectralkv
