// Names and widths of the quantisers of residuals.
#include "kv/codecs/residual_choice.h"

#include "base/error.h"
#include "kv/codecs/scalar_residual.h"
#include "kv/codecs/trellis_residual.h"

namespace spectralkv {
namespace {

std::unique_ptr<const ResidualQuantiser> build_chosen_residual(CodecSpec& spec, const ResidualRow::Wish& wish,
                                                               SpecText& text) {
  std::array<std::string_view, kAllQuantisers.size()> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = quantiser_name(kAllQuantisers[i]);
  const RowScales scales = take_row_scales(spec, wish, text);
  const bool usually_trellis = !wish.paper && (wish.by_head || has_width(Quantiser::trellis, wish.bits));
  const Quantiser usual = usually_trellis ? Quantiser::trellis : Quantiser::scalar;
  const std::string name = spec.take_choice("quantiser", quantiser_name(usual), names);
  Quantiser quantiser = usual;
  for (const Quantiser one : kAllQuantisers)
    if (quantiser_name(one) == name) quantiser = one;
  if (!wish.by_head && !has_width(quantiser, wish.bits)) {
    std::string widths;
    for (int bits = 1; bits <= kMaxCodeBits; ++bits)
      if (has_width(quantiser, bits)) widths += concat(widths.empty() ? "" : ", ", bits);
    spec.refuse(concat("quantiser=", name, " has ", widths, " bits per entry, not ", wish.bits));
  }
  const std::string named = concat(",quantiser=", name);
  if (quantiser != usual) text.now += named;
  if (quantiser != Quantiser::scalar) text.in_states += named;
  return make_residual(quantiser, wish.head_dim, wish.bits, scales, wish.side, wish.given_width);
}

}  // namespace

std::string_view quantiser_name(Quantiser quantiser) {
  return quantiser == Quantiser::scalar ? "scalar" : "trellis";
}

bool has_width(Quantiser quantiser, int bits) {
  return quantiser == Quantiser::scalar || trellis_has(bits);
}

std::unique_ptr<const ResidualQuantiser> make_residual(Quantiser quantiser, std::int64_t head_dim, int bits,
                                                       RowScales scales, KvSide side, bool given_width) {
  if (quantiser == Quantiser::trellis && has_width(quantiser, bits))
    return make_trellis_residual(head_dim, scales, side);
  return make_scalar_residual(head_dim, bits, scales, side, given_width);
}

const ResidualRow kChosenResidual = {SKV_ROW_SCALE_OPTIONS ", quantiser=scalar|trellis",
                                     build_chosen_residual};

}  // namespace spectralkv
