// eOptShrinkQ ([E], arXiv 2605.02905): a block's low-rank part as quantised factors, and what those leave by
// a quantiser of its own (residual_quantiser.h). TurboQuant ([T], arXiv 2504.19874) is the same codec at rank
// 0.
#pragma once

#include "kv/codecs.h"
#include "kv/codecs/residual_quantiser.h"
#include "quant/rotation.h"
#include "spectral/loss.h"

namespace spectralkv {

struct EOptShrinkQOptions {
  bool factor = true;   // false: TurboQuant
  int factor_bits = 4;  // an entry of u and v, 1..8 (the paper has 4); 0: as many as a component needs
  Loss loss = Loss::truncate;
  bool closed_loop = true;  // the residual is what the stored factors leave; else what the exact ones leave
  RotationKind rotation = RotationKind::haar;
  int bits = 0;         // an entry of the residual
  int second_rows = 0;  // of a block, at most, that have a second stage (kv/drawn_rows.h)
};

// metric: of the head (CodecSpace); null data: none.
std::unique_ptr<Codec> make_eoptshrinkq_codec(std::int64_t head_dim, const EOptShrinkQOptions& options,
                                              ConstMatrix metric,
                                              std::unique_ptr<const ResidualQuantiser> residual,
                                              std::string text);

// A codec of a spec "name:B,options" whose residual is stored as `residual` says. factor: with a low-rank
// part.
BuiltCodec build_factored(CodecSpec& spec, const CodecPlace& place, bool factor, const ResidualRow& residual);

BuiltCodec build_turboquant(CodecSpec& spec, const CodecPlace& place);
BuiltCodec build_eoptshrinkq(CodecSpec& spec, const CodecPlace& place);

}  // namespace spectralkv
