// eOptShrinkQ ([E], arXiv 2605.02905): a block's low-rank part as quantised factors, the residual as codes of
// TurboQuant ([T], arXiv 2504.19874). TurboQuant alone is the same codec at rank 0.
#pragma once

#include "kv/codecs.h"
#include "quant/rotation.h"
#include "quant/turboquant.h"
#include "spectral/loss.h"

namespace spectralkv {

struct EOptShrinkQOptions {
  bool factor = true;   // false: TurboQuant
  int bits = 2;         // a residual entry, 1..8
  int factor_bits = 4;  // an entry of u and v, 1..8 (the paper has 4); 0: as many as a component needs
  Loss loss = Loss::truncate;
  bool closed_loop = true;  // the residual is what the stored factors leave; else what the exact ones leave
  RotationKind rotation = RotationKind::haar;
  RowScale scale = RowScale::norm;
  bool operator==(const EOptShrinkQOptions&) const = default;
};

std::unique_ptr<Codec> make_eoptshrinkq_codec(std::int64_t head_dim, const EOptShrinkQOptions& options,
                                              KvSide side, std::string text);

BuiltCodec build_turboquant(CodecSpec& spec, std::int64_t head_dim, KvSide side);
BuiltCodec build_eoptshrinkq(CodecSpec& spec, std::int64_t head_dim, KvSide side);

}  // namespace spectralkv
